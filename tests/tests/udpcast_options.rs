//! Every option of `udp-sender` and `udp-receiver`, in every way that it can be written, given to the
//! original program and to ours: both take a line, or both refuse it, but for the lines that are named
//! here with the reason.
//!
//! Every program runs in a network namespace of its own that has nothing but loopback.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use fos_tests::need::root_and_tools;
use fos_tests::site::program;

const TOOLS: [&str; 4] = ["udp-sender", "udp-receiver", "unshare", "timeout"];

/// How a line is to be met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// By both, which means that the program goes to work.
    Taken,
    /// By neither: status 1.
    Refused,
    /// By neither: status 255.
    RefusedAs255,
    /// By both, with status 0 and without going to work.
    Answered,
    /// The original takes it for something else than what is written, or starts work that it cannot
    /// do; ours says what is wrong.
    OnlyOursRefuses,
    /// The original has no such value or option.
    OnlyOursTakes,
}
use Verdict::{Answered, OnlyOursRefuses, OnlyOursTakes, Refused, RefusedAs255, Taken};

/// Lines are separated by `;`, words by spaces; `{payload}`, `{log}` and `{none}` stand for files.
type Table = [(Verdict, &'static str)];

const SENDER: &Table = &[
    (
        Taken,
        "--file {payload}; --file={payload}; --fi {payload}; -f{payload}; -f {payload}; {payload}; {payload} more",
    ),
    (Refused, "--file; -f"),
    (OnlyOursRefuses, "--file {none}; --file="),
    (Taken, "--pipe cat; --pipe=cat; -p cat; -pcat; --pip cat"),
    (Refused, "--pipe; -p; --pi cat"),
    (OnlyOursRefuses, "--pipe there-is-no-such-program"),
    (
        Taken,
        "--portbase 9002; --port 9002; --portbase=9002; --por 9002; -P9002; -P 9002; --portbase 9001; --portbase 65534",
    ),
    (Refused, "--portbase; -P"),
    // Read as 0, as far as it goes, or modulo 65536.
    (
        OnlyOursRefuses,
        "--portbase 0; --portbase x; --portbase 9000x; --portbase -1; --portbase 65535; --portbase 65536",
    ),
    (
        Taken,
        "--interface lo; --interface 127.0.0.1; --interface l; -ilo; -i lo; --int lo; --interface=lo",
    ),
    (Refused, "--interface; -i; --interface none7"),
    (
        Taken,
        "--ttl 32; --ttl=32; -t32; -t 2; --tt 2; --ttl 0; --ttl 255",
    ),
    (Refused, "--ttl; -t"),
    (
        OnlyOursRefuses,
        "--ttl x; --ttl 256; --ttl -1; --ttl= 3; --ttl --nokbd",
    ),
    (
        Taken,
        "--mcast-rdv-address 239.1.1.1; --mcast_rdv_address 239.1.1.1; --mcast-all-address 239.1.1.1; \
         --mcast_all_address=239.1.1.1; -M 239.1.1.1; -M239.1.1.1; --mcast-r 239.1.1.1; -M 10.0.1",
    ),
    (Refused, "--mcast 239.1.1.1; --mcast-rdv-address; -M"),
    (RefusedAs255, "--mcast-rdv-address host..invalid"),
    (
        Taken,
        "--mcast-data-address 239.1.1.1; --mcast_data_address 239.1.1.1; --mcast-address 239.1.1.1; \
         --mcast_address 239.1.1.1; -m 239.1.1.1; --mcast-d 239.1.1.1",
    ),
    (Refused, "--mcast-data-address; -m"),
    (RefusedAs255, "--mcast-data-address host.name"),
    (
        Taken,
        "--pointopoint; --point-to-point; --point_to_point; -1; --pointo; --nopointopoint; --nopoint-to-point; \
         --nopoint_to_point; -2; --nopointo",
    ),
    (
        Refused,
        "--pointopoint=1; --pointopoint --nopointopoint; -1 -2; -12; -21; --nop=1",
    ),
    (Taken, "--broadcast; -B; --broad"),
    (
        Taken,
        "--full-duplex; -d; --full; --half-duplex; -c; --half; --h; -c -d; -dc; --full-duplex --half-duplex",
    ),
    (
        Taken,
        "--blocksize 1024; --blocksize=1024; --block 1024; -b1024; -b 4; --blocksize 1457; --blocksize 8000; \
         --blocksize 0x200; --blocksize 02000",
    ),
    (
        Refused,
        "--blocksize; -b; --blocksize 0; --blocksize 3; --blocksize x; --blocksize -5",
    ),
    // A HELLO has no room for it.
    (OnlyOursRefuses, "--blocksize 65536"),
    (
        Taken,
        "--min-slice-size 16; --min-slice-size=0; --min-slice-size 1024; --min-sl 4; --slice-size 64; \
         --default-slice-size 64; --slice-size 0; --sl 20; --max-slice-size 64; --max-slice-size 1024; \
         --max-slice-size 0; --max-s 64; --max-slice-size 5 --min-slice-size 20",
    ),
    (
        Refused,
        "--min-slice-size; --slice-size; --max-slice-size; --min-slice-size 1025; --max-slice-size 1025",
    ),
    (OnlyOursRefuses, "--min-slice-size x; --slice-size x"),
    (
        Taken,
        "--async --max-bitrate 100m; -a -r 100m; -ar100m; --as --max-bitrate 100m; --async --autorate; \
         --async --pointopoint --mcast-data-address 239.1.1.1 --max-bitrate 100m",
    ),
    (RefusedAs255, "--async --pointopoint --max-bitrate 100m"),
    // Later versions refuse it, too.
    (OnlyOursRefuses, "--async"),
    (
        Taken,
        "--fec 8x2/64; --fec 8x2; --fec 2/64; --fec=2; -F2; -F 8x2; --fec 16x1/128; --fec 8x2/129",
    ),
    (Refused, "--fec; -F; --fec 8y2; --fec 8x2/64x"),
    // Not this many, or none at all.
    (
        OnlyOursRefuses,
        "--fec x; --fec 0; --fec 8x0/64; --fec 0x2/64; --fec 8x2/0; --fec 8x2/; --fec 257x1; --fec 8x129; --fec 128x64/8",
    ),
    (
        Taken,
        "--max-bitrate 10m; --max_bitrate 10m; --max-bitrate=10M; --max-bitrate 900k; --max-bitrate 10000000; \
         --max-b 10m; -r10m; -r 10K",
    ),
    (
        Refused,
        "--max-bitrate; -r; --max-bitrate 10x; --max-bitrate x",
    ),
    // The original ends by a division by zero; takes -5.
    (OnlyOursRefuses, "--max-bitrate 0; --max-bitrate -5"),
    // As later versions do.
    (OnlyOursTakes, "--max-bitrate 1g; --max-bitrate 1G"),
    (Taken, "--autorate; -A; --autor"),
    (
        Refused,
        "--auto; --rate-governor none.so:x; --rate-governor none.so; --rate-governor; -g none.so:x; -g",
    ),
    (
        Taken,
        "--rexmit-hello-interval 50; --rexmit 50; -H50; -H 50",
    ),
    (Refused, "--rexmit-hello-interval; -H"),
    (
        OnlyOursRefuses,
        "--rexmit-hello-interval x; --rexmit-hello-interval -1",
    ),
    (Taken, "--autostart 2; --autos 1; -S1; -S 2"),
    (Refused, "--autostart; -S"),
    (
        Taken,
        "--min-receivers 0; --min-clients 0; --min-rec=0; -C0; -C 7; --min-receivers 1025; --min-wait 1; --min-w 1; \
         -w1; --max-wait 1; --max-w 1; -W1; --start-timeout 5; --start 5; -T5",
    ),
    (
        Refused,
        "--min 1; --max 1; --min-receivers; -C; --min-wait; -w; --max-wait; -W; --start-timeout; -T",
    ),
    (
        OnlyOursRefuses,
        "--min-receivers x; --min-receivers -1; --min-wait x; --max-wait x; --start-timeout x",
    ),
    (Taken, "--nokbd; -k; --nok"),
    (Refused, "--no; --nokbd=1"),
    (
        Taken,
        "--retries-until-drop 5; --retriesUntilDrop 5; --retries 5; -R5; --retries-until-drop 0",
    ),
    (Refused, "--retries-until-drop; -R"),
    (OnlyOursRefuses, "--retries-until-drop x"),
    (Taken, "--streaming; --stream; -Z; -Y 20; -Y20"),
    (Refused, "-Y"),
    // The original has this name without value, and ends by a segmentation fault.
    (OnlyOursTakes, "--rehello-offset 20"),
    (OnlyOursRefuses, "-Y x"),
    (
        Taken,
        "--sendbuf 64k; --sendbuf 1m; --sendbuf 65536; --sendb 64k; -s64k; --sendbuf 0",
    ),
    (Refused, "--sendbuf; -s; --sendbuf 64q; --sendbuf x"),
    (
        Taken,
        "--log {log}; --log={log}; --lo {log}; -l{log}; -l {log}; --log /none/log",
    ),
    (Refused, "--log; -l; --l {log}"),
    (Taken, "--bw-period 1; --bw 1; -I1"),
    (Refused, "--bw-period; -I"),
    (OnlyOursRefuses, "--bw-period x"),
    (
        Taken,
        "--no-progress; --no-pro; --stat-period 100; --statistics-period 100; --stat 100; -z100",
    ),
    (Refused, "--no-progress=1; --stat-period; -z"),
    (OnlyOursRefuses, "--stat-period x"),
    (
        Taken,
        "--print-uncompressed-position 1; --print-uncompressed-position=0; --print-u 1; -x1; -x 0",
    ),
    (Refused, "--print-uncompressed-position; -x"),
    (OnlyOursRefuses, "--print-uncompressed-position x"),
    (Taken, "--pid-file {none}; --pid {none}"),
    (Refused, "--pid-file; --kill; -K; --kill --pid-file {none}"),
    (RefusedAs255, "--kill --pid-file {payload}"),
    (Answered, "--license; --lic; -L; -kL"),
    // Everybody looks for it.
    (OnlyOursTakes, "--help"),
    (
        Refused,
        "--print-seed; --version; -V; -?; -j; --nonsense; -ck?",
    ),
    // Letters together, the last of them with its value.
    (
        Taken,
        "-kc; -ckt2; -kct 2; -kcP9002; -kcP 9002; -ck1; -1kt5; -cdBAkZ; --; -- {payload}",
    ),
];

const RECEIVER: &Table = &[
    (
        Taken,
        "--file {log}; --file={log}; --fi {log}; -f{log}; -f {log}; extra; extra more; --; -- extra; -",
    ),
    (Refused, "--file; -f"),
    (
        OnlyOursRefuses,
        "--file /none/file; --pipe there-is-no-such-program",
    ),
    (Taken, "--pipe cat; --pi cat; -pcat; -p cat"),
    (Refused, "--pipe; -p"),
    (
        Taken,
        "--portbase 9002; --port 9002; --portbase=9001; --po 9002; -P9002; -P 65534",
    ),
    (Refused, "--portbase; -P"),
    (
        OnlyOursRefuses,
        "--portbase 0; --portbase x; --portbase -1; --portbase 65535; --portbase 65536",
    ),
    (
        Taken,
        "--interface lo; --interface 127.0.0.1; -ilo; --int lo",
    ),
    (Refused, "--interface; -i; --interface none7"),
    (Taken, "--ttl 32; --ttl=32; -t2; -t 2; --ttl 0"),
    (Refused, "--ttl; -t"),
    (OnlyOursRefuses, "--ttl x; --ttl 256"),
    (
        Taken,
        "--mcast-rdv-address 239.1.1.1; --mcast_rdv_address 239.1.1.1; --mcast-all-address 239.1.1.1; \
         --mcast_all_address=239.1.1.1; -M 239.1.1.1; -M239.1.1.1; --mcast 239.1.1.1; -M 127.1",
    ),
    (Refused, "--mcast-rdv-address; -M"),
    (RefusedAs255, "--mcast-rdv-address host..invalid"),
    (
        Taken,
        "--passive; -d; --pass; --nosync; -n; --nos; --sync; -y; --sy; --sync --nosync; -yn; -ny",
    ),
    (
        Taken,
        "--rcvbuf 64k; --rcvbuf=1m; --rcv 64k; -b64k; -b 65536; --rcvbuf 0",
    ),
    (Refused, "--rcvbuf; -b; --rcvbuf 64q; --rcvbuf x"),
    (Taken, "--nokbd; -k; --nok"),
    (Refused, "--nokbd=1; --no"),
    (
        Taken,
        "--exit-wait 10; --exitWait 10; --exit 10; -w10; -w 10; --start-timeout 1; -s1; --start 1; \
         --receive-timeout 5; --rec 5",
    ),
    (
        Refused,
        "--exit-wait; -w; --start-timeout; -s; --s 1; --receive-timeout; --r 5",
    ),
    (OnlyOursRefuses, "--exit-wait x; --receive-timeout x"),
    (
        Taken,
        "--log {log}; --log={log}; -l{log}; -l {log}; --log /none/log; --no-progress",
    ),
    (Refused, "--log; -l"),
    (
        Taken,
        "--print-uncompressed-position 1; --print 0; -x1; -x 0; --stat-period 100; --statistics-period 100; --stat 100; -z100",
    ),
    (
        Refused,
        "--print-uncompressed-position; -x; --stat-period; -z",
    ),
    (OnlyOursRefuses, "--print-uncompressed-position x"),
    (Taken, "--ignore-lost-data; --ign; -Z"),
    (Answered, "--license; --lic; -L"),
    (OnlyOursTakes, "--help"),
    (Refused, "--version; -?; --nonsense; -j; -kyq"),
    (Taken, "-ynk; -kyn -t2; -kP9002; -kZP 9002; -kyt2"),
];

#[test]
fn every_option_is_taken_or_refused_as_by_the_original() {
    if !root_and_tools(&TOOLS) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("payload"), "some bytes").unwrap();
    let mut work = Vec::new();
    for (role, table) in [("udp-sender", SENDER), ("udp-receiver", RECEIVER)] {
        for (verdict, lines) in table {
            for line in lines.split(';') {
                work.push((role, *verdict, line.trim()));
            }
        }
    }
    let agent = program("fos-agent");
    let (work, wrong) = (Mutex::new(work), Mutex::new(Vec::new()));
    // Receivers wait a second for a sender that never comes.
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                loop {
                    let Some((role, verdict, line)) = work.lock().unwrap().pop() else {
                        return;
                    };
                    let original = Met::of(Path::new(role), None, role, line, directory.path());
                    let ours = Met::of(&agent, Some(role), role, line, directory.path());
                    if !(original.fits(verdict, false) && ours.fits(verdict, true)) {
                        wrong.lock().unwrap().push(format!(
                            "{role} {line}: {verdict:?}\n original: {original:?}\n ours: {ours:?}"
                        ));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How a program met a line.
#[derive(Debug)]
struct Met {
    /// `None`: it was ended by a signal, or had to be.
    code: Option<i32>,
    /// It got as far as its network.
    is_at_work: bool,
    said: String,
}

impl Met {
    fn of(program: &Path, first: Option<&str>, role: &str, line: &str, place: &Path) -> Self {
        let file = |name: &str| place.join(name).display().to_string();
        let base = match role {
            "udp-sender" => "--file {payload} --nokbd --autostart 1 -H 20",
            _ => "--nokbd --start-timeout 1",
        };
        // A log of its own for every line: it says where the program got.
        let log = tempfile::NamedTempFile::new_in(place).unwrap();
        // What waits for ever here was taken, too.
        let mut command = Command::new("timeout");
        command.args(["--preserve-status", "--kill-after=1", "20"]);
        command.args([
            "unshare",
            "-n",
            "sh",
            "-c",
            "ip link set lo up; exec \"$@\"",
            "sh",
        ]);
        command.arg(program).args(first);
        for word in base.split_whitespace().chain(line.split_whitespace()) {
            let word = word
                .replace("{payload}", &file("payload"))
                .replace("{none}", &file("none"))
                .replace("{log}", &log.path().display().to_string());
            command.arg(word);
        }
        let output = command
            .current_dir(place)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .output()
            .unwrap();
        let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
        said += &String::from_utf8_lossy(&std::fs::read(log.path()).unwrap());
        Self {
            code: output.status.code(),
            is_at_work: said.contains("UDP sender for") || said.contains("UDP receiver for"),
            said,
        }
    }

    fn fits(&self, verdict: Verdict, is_ours: bool) -> bool {
        let verdict = match (verdict, is_ours) {
            (OnlyOursRefuses, true) | (OnlyOursTakes, false) => Refused,
            (OnlyOursRefuses, false) => Taken,
            (OnlyOursTakes, true) => Taken,
            (same, _) => same,
        };
        match verdict {
            Taken => self.is_at_work || self.said.contains("Usage: "),
            // A crash is no way to take a line.
            Refused => !self.is_at_work && matches!(self.code, Some(1 | 139) | None),
            RefusedAs255 => !self.is_at_work && self.code == Some(255),
            Answered => !self.is_at_work && self.code == Some(0) && !self.said.is_empty(),
            OnlyOursRefuses | OnlyOursTakes => false,
        }
    }
}
