//! What `udp-sender` and `udp-receiver` say, on standard error, in their log and in the machine's log:
//! the original program and ours in the same part of the same transfer.
//!
//! The words are one's own where no script reads them, so lines are compared by occasion and by the
//! facts in them.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use fos_tests::netns::{Lab, Running, wait_for};
use fos_tests::{need, site};

const TOOLS: [&str; 2] = ["udp-sender", "udp-receiver"];

/// Which program plays the part that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Original,
    Ours,
}
use Kind::{Original, Ours};

/// The sender is host 1.
struct Scene {
    lab: Lab,
    directory: tempfile::TempDir,
    count: usize,
}

/// What a sender did to end, and said.
struct Said {
    code: Option<i32>,
    stderr: String,
    log: String,
}

impl Scene {
    fn new(receivers: u8, payload_len: usize) -> Option<Self> {
        let lab = Lab::new(receivers + 1, &TOOLS)?;
        let directory = tempfile::tempdir().unwrap();
        let payload: Vec<u8> = (0..payload_len)
            .map(|n| (n % 251 + n / 1000).to_le_bytes()[0])
            .collect();
        fs::write(directory.path().join("payload"), payload).unwrap();
        Some(Self {
            lab,
            directory,
            count: 0,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A program on a host; `before` is what it is run by.
    fn start(
        &mut self,
        kind: Kind,
        host: usize,
        role: &str,
        line: &str,
        before: &[&str],
    ) -> Running {
        self.count += 1;
        let name = format!("{}-{role}-{kind:?}-{host}", self.count);
        let agent = site::program("fos-agent");
        let mut words: Vec<String> = before.iter().map(|&word| word.to_owned()).collect();
        if kind == Ours {
            words.push(agent.display().to_string());
        }
        words.push(role.to_owned());
        words.extend(line.split_whitespace().map(str::to_owned));
        let mut command = self.lab.host(host).command(&words[0]);
        command.args(&words[1..]).current_dir(self.directory.path());
        Running::start(&name, &mut command, &self.path(&name))
    }

    fn receiver(&mut self, kind: Kind, host: usize, line: &str) -> Running {
        let receiver = self.start(kind, host, "udp-receiver", &format!("--nokbd {line}"), &[]);
        self.lab.host(host).wait_for_port(9000);
        receiver
    }

    /// Ends, and what has been said.
    fn said(&self, running: &mut Running) -> Said {
        let code = running.wait().code();
        let log = self.path("log");
        let said = Said {
            code,
            stderr: running.messages(),
            log: fs::read_to_string(&log).unwrap_or_default(),
        };
        drop(fs::remove_file(log));
        said
    }
}

/// Where something was said, and what.
type Occasion = (&'static str, String);

impl Said {
    /// In no order, each once: when the end is told and when a participant goes depends on who is
    /// faster.
    fn occasions(&self) -> Vec<Occasion> {
        let mut all = Vec::new();
        let lines = || self.stderr.split(['\n', '\r']);
        all.extend(
            lines()
                .rev()
                .find_map(progress)
                .map(|what| ("stderr", what)),
        );
        for line in lines() {
            all.extend(occasion(line).map(|what| ("stderr", what)));
        }
        for line in self.log.lines() {
            // The time, in front of each line of both.
            let (time, text) = line.split_once(' ').unwrap_or((line, ""));
            let shape: Vec<&str> = time.split([':', '.']).collect();
            assert_eq!(shape.len(), 4, "a time in {line:?}");
            // A bell makes no sense in a file.
            let text = text.trim_end_matches('\x07');
            all.extend(occasion(text).map(|what| ("log", what)));
        }
        all.sort();
        all.dedup();
        all
    }
}

/// The occasion of a line, with the facts that both programs tell; `None`: of no consequence.
fn occasion(line: &str) -> Option<String> {
    /// Beginning of the original's line, of ours, occasion; a number of words behind it is compared.
    const KNOWN: [(&str, &str, &str, usize); 17] = [
        ("Udp-sender ", "Udp-sender ", "start", 0),
        ("Udp-receiver ", "Udp-receiver ", "start", 0),
        ("stripes=", "stripes=", "fec", 3),
        (
            "Using full duplex",
            "the network card is full duplex",
            "duplex",
            0,
        ),
        // The rules for the group are those of different versions.
        ("Using mcast address ", "data goes to group ", "group", 0),
        ("UDP sender for ", "UDP sender for ", "ready", 5),
        ("UDP receiver for ", "UDP receiver for ", "ready", 5),
        (
            "Compressed UDP sender for ",
            "Compressed UDP sender for ",
            "ready, pipe",
            5,
        ),
        (
            "Compressed UDP receiver for ",
            "Compressed UDP receiver for ",
            "ready, pipe",
            5,
        ),
        ("Broadcasting control to ", "announcing at ", "control", 1),
        ("New connection from ", "New connection from ", "joined", 3),
        ("Starting transfer: ", "Starting transfer: ", "data", 1),
        ("Dropping client ", "Dropping client ", "dropped", 1),
        ("Disconnecting ", "Disconnecting ", "gone", 2),
        (
            "received message, cap=",
            "received message, cap=",
            "reply",
            1,
        ),
        ("Connected as ", "Connected as ", "connected", 3),
        (
            "Listening to multicast on ",
            "Listening to group ",
            "listening",
            1,
        ),
    ];
    if line.contains("Transfer complete.") {
        let bell = if line.ends_with('\x07') { ", bell" } else { "" };
        return Some(format!("complete{bell}"));
    }
    let (text, what, count) = KNOWN.iter().find_map(|(original, ours, what, count)| {
        let rest = line
            .strip_prefix(original)
            .or_else(|| line.strip_prefix(ours));
        Some((rest?, what, *count))
    })?;
    let facts: Vec<&str> = text
        .split_whitespace()
        .take(count)
        .map(|word| word.trim_end_matches([',', ':']))
        .collect();
    Some(format!("{what} {}", facts.join(" ")).trim_end().to_owned())
}

/// Bytes and position (if it is shown) of a progress line of either role, with the blanks of the
/// original.
fn progress(line: &str) -> Option<String> {
    let rest = line.strip_prefix("bytes=")?;
    let (bytes, position) = match rest.split_once("re-xmits=") {
        Some((bytes, rest)) => {
            let (repeats, rest) = rest.split_once("%) slice=")?;
            assert_eq!(repeats.len(), "0000000 (  0.0".len(), "{line:?}");
            let (_, rest) = rest.split_at_checked(5)?;
            let (position, client) = rest.split_once("- ")?;
            assert_eq!(client.len(), 3, "{line:?}");
            (bytes, position)
        }
        None => {
            let (bytes, rest) = rest.split_once('(')?;
            let (rate, position) = rest.split_once(" Mbps)")?;
            assert_eq!(rate.rfind('.'), Some(rate.len() - 3), "{line:?}");
            (bytes, position)
        }
    };
    Some(format!("progress {bytes:?} {position:?}"))
}

/// Of `occasions`, whether there is one of this beginning.
#[track_caller]
fn assert_has(occasions: &[Occasion], place: &str, what: &str) {
    let has = occasions
        .iter()
        .any(|(at, text)| *at == place && text.starts_with(what));
    assert!(has, "{what} on {place} in {occasions:#?}");
}

#[test]
fn senders_tell_the_same_on_the_same_occasions() {
    let Some(mut scene) = Scene::new(1, 300_000) else {
        return;
    };
    let ready = "--nokbd --min-receivers 1 --rexmit-hello-interval 200 --file payload";
    let one_way = "--nokbd --async --max-bitrate 16m --autostart 1 --rexmit-hello-interval 200 --file payload";
    for (line, expected) in [
        (
            ready.to_owned(),
            ("stderr", "joined 10.99.0.2 (#0) 00000009"),
        ),
        (format!("{ready} --log log"), ("log", "complete")),
        (
            format!("{ready} --half-duplex --log=log --nopointopoint"),
            ("log", "data 00000009"),
        ),
        (
            format!("{ready} --full-duplex --mcast-data-address 239.7.7.7"),
            ("stderr", "complete, bell"),
        ),
        (
            format!("{ready} --pointopoint --no-progress"),
            ("stderr", "gone #0 (10.99.0.2)"),
        ),
        (
            format!("{ready} --pipe cat"),
            ("stderr", "progress \"     300 000  \" \"     300 000 \""),
        ),
        (
            format!("{ready} --fec 4x2/16 --ttl 3"),
            ("stderr", "fec 4 redund=2 stripesize=16"),
        ),
        (
            format!("{one_way} --fec 8x2/16"),
            ("stderr", "data 00000029"),
        ),
    ] {
        let both = [Original, Ours].map(|kind| {
            let receive = if line.contains("--ttl") {
                "--ttl 3"
            } else {
                "--rcvbuf 4m"
            };
            let mut receiver = scene.receiver(Original, 2, receive);
            let mut sender = scene.start(kind, 1, "udp-sender", &line, &[]);
            receiver.succeed();
            let said = scene.said(&mut sender);
            assert_eq!(said.code, Some(0), "{kind:?} {line}: {}", said.stderr);
            let is_judged = said.stderr.contains("10.99.0.2: has everything");
            assert_eq!(
                is_judged,
                kind == Ours && !line.contains("--async"),
                "a result: {}",
                said.stderr
            );
            said.occasions()
        });
        assert_eq!(both[0], both[1], "original, ours: {line}");
        assert_has(&both[1], expected.0, expected.1);
    }
}

/// One of two is killed: the other gets everything, and what became of each is told.
#[test]
fn senders_tell_who_was_given_up() {
    let Some(mut scene) = Scene::new(2, 3_000_000) else {
        return;
    };
    let both = [Original, Ours].map(|kind| {
        let mut victim = scene.receiver(Original, 2, "");
        let mut sender = scene.start(
            kind,
            1,
            "udp-sender",
            "--nokbd --min-receivers 2 --rexmit-hello-interval 200 --max-bitrate 16m --retries-until-drop 13 --file payload",
            &[],
        );
        sender.wait_for_message("New connection from 10.99.0.2");
        let mut other = scene.receiver(Original, 3, "");
        wait_for("the first bytes", || victim.output_len() > 0);
        victim.kill();
        other.succeed();
        let said = scene.said(&mut sender);
        // Some have it: that is a success, as far as the status can tell.
        assert_eq!(said.code, Some(0), "{kind:?}: {}", said.stderr);
        if kind == Ours {
            assert!(said.stderr.contains("10.99.0.2: given up"), "{}", said.stderr);
            assert!(said.stderr.contains("10.99.0.3: has everything"), "{}", said.stderr);
        }
        let occasions = said.occasions();
        assert_has(&occasions, "stderr", "dropped #0");
        assert_has(&occasions, "stderr", "gone #1 (10.99.0.3)");
        // Who was dropped is disconnected by the original as well, in a line of its own.
        let gone = "gone #0 (10.99.0.2)";
        occasions.into_iter().filter(|(_, what)| what != gone).collect::<Vec<_>>()
    });
    assert_eq!(both[0], both[1]);
}

#[test]
fn receivers_tell_the_same_on_the_same_occasions() {
    let Some(mut scene) = Scene::new(1, 300_000) else {
        return;
    };
    let ready = "--nokbd --min-receivers 1 --file payload";
    let one_way = "--nokbd --async --fec 8x2/16 --max-bitrate 16m --autostart 1 --rexmit-hello-interval 200 --file payload";
    for (receive, send, expected) in [
        ("", ready.to_owned(), ("stderr", "reply 00000009")),
        (
            "--log log",
            format!("{ready} --nopointopoint"),
            ("log", "connected #0 to 10.99.0.1"),
        ),
        (
            "--file got --no-progress",
            format!("{ready} --pointopoint"),
            ("stderr", "ready got at 10.99.0.2 on eth0"),
        ),
        (
            "--pipe cat --log=log",
            ready.to_owned(),
            ("log", "ready, pipe (stdout) at 10.99.0.2 on eth0"),
        ),
        (
            "--rcvbuf 4m",
            one_way.to_owned(),
            ("stderr", "complete, bell"),
        ),
        (
            "--ttl 3",
            format!("{ready} --ttl 3 --mcast-data-address 239.7.7.7"),
            ("stderr", "listening 239.7.7.7"),
        ),
    ] {
        let both = [Original, Ours].map(|kind| {
            let mut receiver = scene.receiver(kind, 2, receive);
            let mut sender = scene.start(Ours, 1, "udp-sender", &send, &[]);
            sender.succeed();
            let said = scene.said(&mut receiver);
            assert_eq!(said.code, Some(0), "{kind:?} {receive}: {}", said.stderr);
            said.occasions()
        });
        assert_eq!(both[0], both[1], "original, ours: {receive}");
        assert_has(&both[1], expected.0, expected.1);
    }
}

/// Nothing is ever written on standard output but the stream.
#[test]
fn failures_are_told_on_standard_error_also_with_a_log() {
    let Some(mut scene) = Scene::new(1, 1000) else {
        return;
    };
    for kind in [Original, Ours] {
        for (role, line) in [
            ("udp-receiver", "--nokbd --start-timeout 1 --log log"),
            (
                "udp-sender",
                "--nokbd --file none --log log --autostart 1 --rexmit-hello-interval 100",
            ),
            (
                "udp-sender",
                "--nokbd --file payload --log log --autostart 1 --rexmit-hello-interval 100",
            ),
        ] {
            let mut running = scene.start(kind, 1, role, line, &[]);
            let said = scene.said(&mut running);
            let lines = said.stderr.lines().count();
            assert!(lines >= 2, "{kind:?} {line}: {}", said.stderr);
            assert_eq!(running.output_len(), 0);
        }
    }
}

/// Only the sender tells something there.
#[test]
fn the_log_of_the_machine_gets_the_same_lines() {
    if !need::root_and_tools(&["unshare", "mount"]) {
        return;
    }
    let Some(mut scene) = Scene::new(1, 300_000) else {
        return;
    };
    let device = scene.path("dev");
    fs::create_dir(&device).unwrap();
    let log = UnixDatagram::bind(device.join("log")).unwrap();
    log.set_nonblocking(true).unwrap();
    // Others of this machine do not see it.
    let script = format!("mount --bind {} /dev && exec \"$@\"", device.display());
    let before = ["unshare", "-m", "sh", "-c", &script, "sh"];
    let hello = "--nokbd --rexmit-hello-interval 200 --file payload";
    fs::write(scene.path("large"), vec![7; 20_000_000]).unwrap();
    for (send, receive, count) in [
        (format!("{hello} --min-receivers 1 --log log"), "--nokbd", 6),
        (
            format!("{hello} --min-receivers 3 --max-wait 1 --pipe cat"),
            "--nokbd",
            6,
        ),
        (format!("{hello} --autostart 2"), "--nokbd", 4),
        // The end of its standard input is a key.
        (format!("{hello} --min-receivers 3 --min-wait 9"), "", 5),
        (
            // The receiver dies of a signal, but not before it has read what it can hold.
            format!("{hello} --min-receivers 1 --retries-until-drop 13")
                .replace("payload", "large"),
            "--nokbd --pipe true",
            7,
        ),
    ] {
        let is_dropped = receive.contains("true");
        let both = [Original, Ours].map(|kind| {
            let mut receiver = scene.start(Original, 2, "udp-receiver", receive, &[]);
            scene.lab.host(2).wait_for_port(9000);
            let mut sender = scene.start(kind, 1, "udp-sender", &send, &before);
            sender.wait();
            receiver.wait();
            let mut lines = Vec::new();
            let mut buffer = [0; 2000];
            while let Ok(len) = log.recv(&mut buffer) {
                let line = String::from_utf8_lossy(&buffer[..len]).into_owned();
                assert!(line.starts_with("<46>"), "{line}");
                let (front, text) = line.split_once("]: ").unwrap();
                assert!(front.contains("udpcast["), "{line}");
                lines.push(text.trim_end().to_owned());
            }
            // Who tells first, the one who goes or the one who ends, is open.
            lines.sort();
            lines
        });
        let [original, mut ours] = both;
        assert_eq!(original.len(), count, "{send}: {original:#?}");
        if is_dropped {
            // Nobody has anything: ours does not call that complete. Who was dropped, was not there to
            // be disconnected.
            ours.push("Transfer complete.".into());
            ours.push("Disconnecting #0 (10.99.0.2)".into());
            ours.sort();
        }
        assert_eq!(original, ours, "{send}");
    }
}

#[test]
fn occasions_are_told_apart() {
    let line = "bytes=     300 000  (  3.14 Mbps)     200 000 ";
    let shown = "progress \"     300 000  \" \"     200 000 \"";
    assert_eq!(progress(line), Some(shown.into()));
    let line = "bytes=     300 000  re-xmits=0000000 (  0.0%) slice=0112 -   0";
    let shown = "progress \"     300 000  \" \"\"";
    assert_eq!(progress(line), Some(shown.into()));
    assert_eq!(
        occasion("Transfer complete.\x07"),
        Some("complete, bell".into())
    );
    assert_eq!(
        occasion("Starting transfer: 00000009, to 10.0.0.1:9000"),
        Some("data 00000009".into())
    );
    assert_eq!(occasion("10.99.0.2: has everything"), None);
}
