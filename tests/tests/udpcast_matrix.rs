//! The command lines of udpcast, option by option and role by role, ours and the original programs
//! mixed, in network namespaces.
//!
//! Every transfer compares the bytes that arrived. Ours are `fos-agent udp-sender` and
//! `fos-agent udp-receiver` as they are typed in the field.

#![expect(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use fos_tests::netns::{Lab, Running, wait_for};
use fos_tests::site;
use fos_tests::stream::{assert_same, payload};
use fos_tests::terminal::Typist;

const TOOLS: [&str; 3] = ["nft", "udp-sender", "udp-receiver"];

/// Which program plays a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Original,
    Ours,
}
use Kind::{Original, Ours};

/// Sender and receiver; two originals prove nothing of ours.
const MIXED: [(Kind, Kind); 3] = [(Original, Ours), (Ours, Original), (Ours, Ours)];
const BOTH: [Kind; 2] = [Original, Ours];

/// A network, a payload and a place for outputs. The sender is host 1.
struct Scene {
    lab: Lab,
    directory: tempfile::TempDir,
    payload: Vec<u8>,
    count: usize,
}

impl Scene {
    /// `None`: skipped, and told so.
    fn new(receivers: u8, payload_len: usize) -> Option<Self> {
        let lab = Lab::new(receivers + 1, &TOOLS)?;
        let directory = tempfile::tempdir().unwrap();
        let payload = payload(payload_len);
        fs::write(directory.path().join("payload"), &payload).unwrap();
        Some(Self {
            lab,
            directory,
            payload,
            count: 0,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A program of udpcast on a host; `line` is split at spaces, `{pipe}` stands for one argument
    /// with spaces.
    fn command(&self, kind: Kind, host: usize, role: &str, line: &str) -> Command {
        let mut command = match kind {
            Original => self.lab.host(host).command(role),
            Ours => {
                let mut command = self.lab.host(host).command(site::program("fos-agent"));
                command.arg(role);
                command
            }
        };
        command.args(line.split_whitespace().map(|word| word.replace('_', " ")));
        command
    }

    fn start(&mut self, kind: Kind, host: usize, role: &str, line: &str) -> Running {
        self.count += 1;
        let name = format!("{}-{role}-{kind:?}-{host}", self.count);
        let mut command = self.command(kind, host, role, line);
        Running::start(&name, &mut command, &self.path(&name))
    }

    /// A sender of the payload without keyboard.
    fn sender(&mut self, kind: Kind, line: &str) -> Running {
        let line = format!("--file {} --nokbd {line}", self.text("payload"));
        self.start(kind, 1, "udp-sender", &line)
    }

    /// A receiver without keyboard that waits for its sender.
    fn receiver(&mut self, kind: Kind, host: usize, line: &str) -> Running {
        let receiver = self.start(kind, host, "udp-receiver", &format!("--nokbd {line}"));
        self.lab.host(host).wait_for_port(9000);
        receiver
    }

    #[track_caller]
    fn check(&self, receiver: &mut Running) {
        let got = receiver.succeed();
        assert_same(&got, &self.payload, receiver);
    }

    /// One transfer from start to end.
    #[track_caller]
    fn transfer(&mut self, kinds: (Kind, Kind), send: &str, receive: &str) {
        let mut receiver = self.receiver(kinds.1, 2, receive);
        let mut sender = self.sender(kinds.0, send);
        self.check(&mut receiver);
        sender.succeed();
    }

    /// The status that a program ends with, and its messages.
    #[track_caller]
    fn status(&mut self, kind: Kind, host: usize, role: &str, line: &str) -> (Option<i32>, String) {
        let mut running = self.start(kind, host, role, line);
        (running.wait().code(), running.messages())
    }
}

/// Options that must not change what arrives. The originals repeat no HELLO by themselves, so they
/// are told to.
#[test]
fn every_way_of_sending_delivers_the_same_bytes() {
    let Some(mut scene) = Scene::new(1, 700_001) else {
        return;
    };
    let ready = "--min-receivers 1 --rexmit-hello-interval 200";
    for kinds in MIXED {
        for (send, receive) in [
            ("--half-duplex", ""),
            ("--full-duplex --nopointopoint", "--sync"),
            ("--pointopoint", "--rcvbuf 64k"),
            ("--broadcast", "--exit-wait 10"),
            ("--blocksize 512 --half-duplex", ""),
            ("--blocksize 0x200 --full-duplex", ""),
            ("--slice-size 20 --min-slice-size 8 --max-slice-size 40", ""),
            ("--max-slice-size 16 --half-duplex --nopointopoint", ""),
            ("--max-bitrate 40m", "--stat-period 50"),
            ("--sendbuf 32k --autorate --no-progress", "--no-progress"),
            ("--mcast-data-address 239.7.7.7 --nopointopoint", ""),
            (
                "--mcast-rdv-address 239.8.8.8 --ttl 3",
                "--mcast-rdv-address 239.8.8.8 --ttl 3",
            ),
            ("--fec 4x2/16 --nopointopoint", ""),
            ("--fec 2/16 --half-duplex", ""),
            (
                "--portbase 9000 --retries-until-drop 300",
                "--receive-timeout 30",
            ),
        ] {
            scene.transfer(kinds, &format!("{ready} {send}"), receive);
        }
    }
}

/// What is lost without a return channel stays lost: a receiver that does not run for a while, on a
/// busy machine, needs room.
const PATIENT: &str = "--rcvbuf 4m";

/// Without a return channel the sender goes on whatever happens: only listening is needed.
#[test]
fn asynchronous_transfers_arrive_with_and_without_repair_blocks() {
    let Some(mut scene) = Scene::new(1, 500_000) else {
        return;
    };
    let start = "--async --max-bitrate 16m --autostart 1 --rexmit-hello-interval 200";
    for kinds in MIXED {
        scene.transfer(kinds, start, PATIENT);
        scene.transfer(kinds, &format!("{start} --fec 8x2/16"), PATIENT);
        scene.transfer(kinds, start, &format!("{PATIENT} --passive"));
    }
}

#[test]
fn repair_blocks_make_up_for_what_is_lost_without_return_channel() {
    let Some(mut scene) = Scene::new(1, 1_500_000) else {
        return;
    };
    // Two or three blocks of every slice of 128 are missing. The filter is to see single datagrams,
    // not what the kernel sends as one.
    let mut link = scene.lab.host(1).command("ip");
    let link = link.args(["link", "set", "eth0", "gso_max_segs", "1"]);
    assert!(link.status().unwrap().success());
    scene.lab.host(2).nft(
        "add table inet loss
         add chain inet loss in { type filter hook input priority 0; }
         add rule inet loss in udp dport 9000 @th,64,16 8 numgen inc mod 61 == 7 counter drop\n",
    );
    let start = "--async --max-bitrate 16m --autostart 1 --rexmit-hello-interval 200 --fec 8x4/16";
    for kinds in MIXED {
        scene.transfer(kinds, start, PATIENT);
    }
    assert!(scene.lab.host(2).lost() > 10);
}

/// A receiver that comes late gets the rest of the stream, from a slice on.
#[test]
fn a_late_receiver_of_a_streaming_transfer_gets_the_rest() {
    let Some(mut scene) = Scene::new(2, 6_000_000) else {
        return;
    };
    for kinds in MIXED {
        let mut first = scene.receiver(Ours, 3, PATIENT);
        let mut sender = scene.sender(
            kinds.0,
            "--async --streaming --max-bitrate 16m --slice-size 64 --autostart 1 --rexmit-hello-interval 200",
        );
        wait_for("the first bytes", || first.output_len() > 0);
        let mut late = scene.receiver(kinds.1, 2, PATIENT);
        scene.check(&mut first);
        sender.succeed();
        let got = late.succeed();
        assert!(!got.is_empty() && got.len() < scene.payload.len());
        let rest = &scene.payload[scene.payload.len() - got.len()..];
        assert_same(&got, rest, &late);
    }
}

/// `_` stands for a space within an argument.
#[test]
fn pipe_programs_stand_between_file_and_network_on_both_sides() {
    let Some(mut scene) = Scene::new(1, 300_000) else {
        return;
    };
    for kinds in MIXED {
        scene.transfer(
            kinds,
            "--min-receivers 1 --rexmit-hello-interval 200 --pipe gzip_-c",
            "--pipe gzip_-dc",
        );
    }
}

#[test]
fn a_failed_pipe_program_is_a_failure() {
    // More than receivers hold in memory.
    let Some(mut scene) = Scene::new(1, 20_000_000) else {
        return;
    };
    // At the receiver: its status, as with the original.
    for kind in BOTH {
        let fails = scene.path("fails");
        fs::write(&fails, "cat > /dev/null; exit 7").unwrap();
        let line = format!("--pipe sh_{}", fails.display());
        let mut receiver = scene.receiver(kind, 2, &line);
        let mut sender = scene.sender(Ours, "--min-receivers 1");
        assert_eq!(receiver.wait().code(), Some(7), "{kind:?}");
        // Ours acknowledges the end when the program has taken it; the original has done so before.
        match kind {
            Ours => assert_eq!(sender.wait().code(), Some(1)),
            Original => {
                sender.succeed();
            }
        }
    }
    // One that ends early: the original dies of a signal and keeps the sender waiting for minutes.
    let mut receiver = scene.receiver(Ours, 2, "--pipe true");
    let mut sender = scene.sender(Ours, "--min-receivers 1");
    assert_eq!(receiver.wait().code(), Some(1));
    assert!(receiver.messages().contains("\"true\" ended before"));
    assert_eq!(sender.wait().code(), Some(1), "nobody has the stream");
    // At the sender: never an empty stream that looks complete.
    let mut receiver = scene.receiver(Ours, 2, "--receive-timeout 2 --start-timeout 2");
    let mut sender = scene.sender(Ours, "--min-receivers 1 --pipe false");
    assert_eq!(sender.wait().code(), Some(1));
    assert!(sender.messages().contains("\"false\" failed"));
    assert!(!receiver.wait().success());
}

#[test]
fn the_transfer_starts_by_the_rules_of_waiting() {
    let Some(mut scene) = Scene::new(2, 100_000) else {
        return;
    };
    for receivers in BOTH {
        for sender in [Ours, Original] {
            if (sender, receivers) == (Original, Original) {
                continue;
            }
            // One of three is there: the longest wait ends it.
            let hello = "--rexmit-hello-interval 200";
            let line = format!("--min-receivers 3 --max-wait 1 {hello}");
            scene.transfer((sender, receivers), &line, "");
            let line = format!("--min-receivers 1 --min-wait 1 {hello}");
            scene.transfer((sender, receivers), &line, "");
            scene.transfer((sender, receivers), &format!("--autostart 2 {hello}"), "");
            // The second one starts it.
            let mut first = scene.receiver(receivers, 2, "");
            let mut second = scene.receiver(Ours, 3, "");
            let mut sender = scene.sender(sender, &format!("--min-receivers 2 {hello}"));
            scene.check(&mut first);
            scene.check(&mut second);
            sender.succeed();
        }
    }
}

/// Statuses of failures, side by side with the original. The third is ours, where it is better.
#[test]
fn exit_statuses_are_those_of_the_original() {
    let Some(mut scene) = Scene::new(1, 1000) else {
        return;
    };
    let payload = scene.text("payload");
    let missing = scene.text("missing");
    let senders = [
        ("--nonsense".to_owned(), 1, 1),
        ("--portbase".into(), 1, 1),
        ("--pointopoint --nopointopoint".into(), 1, 1),
        ("--mcast-rdv-address host.name".into(), 255, 255),
        ("--async --pointopoint --max-bitrate 1m".into(), 255, 255),
        ("--interface none7".into(), 1, 1),
        ("--blocksize 3".into(), 1, 1),
        ("--min-slice-size 1025".into(), 1, 1),
        ("--rate-governor /nowhere.so:x".into(), 1, 1),
        ("--license".into(), 0, 0),
        ("--kill".into(), 1, 1),
        (format!("--kill --pid-file {missing}"), 1, 1),
        (format!("--kill --pid-file {payload}"), 255, 255),
        // 20120424 calls this a success.
        (
            format!("--file {payload} --nokbd --autostart 1 --rexmit-hello-interval 100"),
            0,
            1,
        ),
        (format!("--file {payload} --nokbd --start-timeout 1"), 0, 1),
        // The end of standard input is a key.
        (format!("--file {payload}"), 0, 1),
        // The original goes on without a limit, by mistake.
        (
            format!("--file {missing} --async --nokbd --autostart 1"),
            1,
            1,
        ),
    ];
    for (line, original, ours) in senders {
        for (kind, expected) in [(Original, original), (Ours, ours)] {
            let (status, said) = scene.status(kind, 1, "udp-sender", &line);
            assert_eq!(status, Some(expected), "{kind:?} {line}: {said}");
        }
    }
    let receivers = [
        ("--nonsense".to_owned(), 1),
        ("--mcast-rdv-address host.name".into(), 255),
        ("--interface none7".into(), 1),
        ("--license".into(), 0),
        ("--nokbd --start-timeout 1".into(), 255),
    ];
    for (line, expected) in receivers {
        for kind in BOTH {
            let (status, said) = scene.status(kind, 2, "udp-receiver", &line);
            assert_eq!(status, Some(expected), "{kind:?} {line}: {said}");
        }
    }
    let (status, said) = scene.status(Ours, 1, "udp-sender", "--wrong");
    assert_eq!(status, Some(1));
    assert!(said.contains("Usage: udp-sender"), "{said}");
}

/// A receiver that is refused, one without data, one that cannot write.
#[test]
fn failures_of_a_receiver_have_their_statuses() {
    let Some(mut scene) = Scene::new(2, 300_000) else {
        return;
    };
    for kind in BOTH {
        // Announcements of ours would start the receiver's clock anew.
        let mut sender = scene.sender(Original, "--pointopoint");
        scene.lab.host(1).wait_for_port(9001);
        let mut first = scene.receiver(kind, 2, "--start-timeout 2");
        sender.wait_for_message("New connection");
        let refused = scene.status(Ours, 3, "udp-receiver", "--nokbd");
        assert_eq!(refused.0, Some(1), "{}", refused.1);
        // The original calls an empty file a success.
        let expected = if kind == Ours { 1 } else { 0 };
        assert_eq!(first.wait().code(), Some(expected), "{}", first.messages());
        sender.kill();
    }
    for kind in BOTH {
        let mut receiver = scene.receiver(kind, 2, "--file /dev/full");
        let mut sender = scene.sender(Ours, "--min-receivers 1");
        assert_eq!(receiver.wait().code(), Some(1), "{kind:?}");
        sender.kill();
    }
}

/// UDP datagrams that the receiver's host has handed to programs.
fn datagrams_in(scene: &Scene) -> u64 {
    let mut command = scene.lab.host(2).command("cat");
    let output = command.arg("/proc/net/snmp").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let values = lines.nth(1).expect("names, then values");
    values.split(' ').next().unwrap().parse().unwrap()
}

/// Side by side with the original, whose status is the first; the second is ours.
#[test]
fn what_goes_wrong_on_the_way_has_its_status() {
    let Some(mut scene) = Scene::new(1, 300_000) else {
        return;
    };
    let fails = scene.text("fails");
    fs::write(&fails, "cat > /dev/null; kill -9 $$").unwrap();
    let slow = "--min-receivers 1 --max-bitrate 100k";
    for (kind, is_ours) in [(Original, false), (Ours, true)] {
        // The port is taken.
        let mut holder = scene.sender(Ours, "--min-receivers 1");
        scene.lab.host(1).wait_for_port(9001);
        let line = format!("--file {} --nokbd --autostart 1", scene.text("payload"));
        let (status, said) = scene.status(kind, 1, "udp-sender", &line);
        assert_eq!(status, Some(1), "{kind:?}: {said}");
        // May be over before its port can be seen.
        let mut other = scene.start(kind, 2, "udp-receiver", "--nokbd");
        holder.succeed();
        scene.check(&mut other);

        // What cannot be read. The original finds out when receivers are there, and leaves them alone.
        for input in ["/proc", "/proc/self/mem"] {
            let mut receiver = scene.receiver(Ours, 2, "--start-timeout 2 --receive-timeout 2");
            let hello = "--rexmit-hello-interval 200";
            let line = format!("--file {input} --nokbd --min-receivers 1 {hello}");
            let (status, said) = scene.status(kind, 1, "udp-sender", &line);
            assert_eq!(status, Some(1), "{kind:?} {input}: {said}");
            assert!(matches!(receiver.wait().code(), Some(1 | 255)));
        }

        // The sender vanishes.
        let mut receiver = scene.receiver(kind, 2, "--receive-timeout 1");
        let mut sender = scene.sender(Ours, slow);
        sender.wait_for_message("Starting transfer");
        // The original's time-out runs from the first data on.
        let before = datagrams_in(&scene);
        wait_for("data", || datagrams_in(&scene) > before + 10);
        sender.kill();
        assert_eq!(
            receiver.wait().code(),
            Some(1),
            "{kind:?}: {}",
            receiver.messages()
        );

        // Nowhere to write to. The original finds out when it is connected.
        let mut sender = scene.sender(Ours, "--max-wait 60 --min-receivers 2");
        scene.lab.host(1).wait_for_port(9001);
        let line = "--nokbd --file /none/file";
        let (status, said) = scene.status(kind, 2, "udp-receiver", line);
        assert_eq!(status, Some(1), "{kind:?}: {said}");
        sender.kill();

        // The program behind it is killed.
        let mut receiver = scene.receiver(kind, 2, &format!("--pipe sh_{fails}"));
        let mut sender = scene.sender(Ours, "--min-receivers 1");
        assert_eq!(
            receiver.wait().code(),
            Some(1),
            "{kind:?}: {}",
            receiver.messages()
        );
        match kind {
            // It has not acknowledged what it could not hand on.
            Ours => assert_eq!(sender.wait().code(), Some(1)),
            Original => {
                sender.succeed();
            }
        }

        // The end of standard input is a key, with nobody there.
        let line = format!("--file {}", scene.text("payload"));
        let (status, said) = scene.status(kind, 1, "udp-sender", &line);
        assert_eq!(status, Some(i32::from(is_ours)), "{kind:?}: {said}");
    }
}

/// The original receiver ends on the first of them.
#[test]
fn strays_are_ignored_and_told() {
    let Some(mut scene) = Scene::new(1, 300_000) else {
        return;
    };
    // REQACK, GO, DISCONNECT and nonsense from ports that have no part in this.
    let say = |scene: &Scene, from: usize, to: &str| {
        let script = "for bytes in '\\0\\6' '\\0\\2\\0\\0' '\\0\\4\\0\\0' 'x' '\\377\\377\\377\\377'; do \
                      printf \"$bytes\" > /dev/udp/$0; done";
        let mut command = scene.lab.host(from).command("bash");
        assert!(command.args(["-c", script, to]).status().unwrap().success());
    };
    let mut lonely = scene.receiver(Original, 2, "");
    say(&scene, 1, "10.99.0.2/9000");
    assert_eq!(lonely.wait().code(), Some(1), "{}", lonely.messages());
    let mut lonely = scene.receiver(Ours, 2, "--start-timeout 1");
    say(&scene, 1, "10.99.0.2/9000");
    assert_eq!(lonely.wait().code(), Some(255));
    let said = lonely.messages();
    assert!(
        said.contains("5 datagrams were heard that meant nothing"),
        "{said}"
    );
    for kinds in MIXED {
        let mut sender = scene.sender(
            kinds.0,
            "--min-receivers 2 --max-wait 3 --rexmit-hello-interval 200",
        );
        scene.lab.host(1).wait_for_port(9001);
        say(&scene, 2, "10.99.0.1/9001");
        let mut receiver = scene.receiver(kinds.1, 2, "");
        sender.wait_for_message("New connection");
        if kinds.1 == Ours {
            say(&scene, 1, "10.99.0.2/9000");
        }
        scene.check(&mut receiver);
        sender.succeed();
        for (kind, said) in [(kinds.0, sender.messages()), (kinds.1, receiver.messages())] {
            let is_told = said.contains("ignored stray datagrams: ");
            assert_eq!(is_told, kind == Ours, "{said}");
        }
    }
}

/// Where the original of this version forgets it, as the rendezvous address is no group.
#[test]
fn data_has_the_ttl_that_was_asked_for_whatever_the_rendezvous_address() {
    let Some(mut scene) = Scene::new(1, 200_000) else {
        return;
    };
    scene.lab.host(2).nft(
        "add table inet ttl
         add chain inet ttl in { type filter hook input priority 0; }
         add rule inet ttl in ip daddr 224.0.0.0/4 ip ttl < 32 udp dport 9000 drop\n",
    );
    for receiver in BOTH {
        for rendezvous in [
            "--mcast-rdv-address 10.99.0.2",
            "--mcast-rdv-address 239.8.8.8",
            "",
        ] {
            let receive = match rendezvous.contains("10.") {
                true => "--ttl 32 --mcast-rdv-address 10.99.0.1".to_owned(),
                false => format!("--ttl 32 {rendezvous}"),
            };
            let send = format!("--ttl 32 --nopointopoint --min-receivers 1 {rendezvous}");
            scene.transfer((Ours, receiver), &send, &receive);
        }
    }
}

/// The log has the messages and their times; what is for the terminal stays there.
#[test]
fn a_log_takes_the_messages_and_the_results() {
    let Some(mut scene) = Scene::new(2, 2_000_000) else {
        return;
    };
    let log = scene.text("log");
    let mut receiver = scene.receiver(Ours, 2, &format!("--log {log}.r"));
    let mut other = scene.receiver(Original, 3, "");
    scene.lab.host(3).lose("udp dport 9000", 20);
    let mut sender = scene.sender(
        Ours,
        &format!("--log {log}.s --min-receivers 2 --max-bitrate 8m --bw-period 1"),
    );
    scene.check(&mut receiver);
    scene.check(&mut other);
    sender.succeed();
    let said = sender.messages();
    for words in ["Udp-sender ", "New connection from 10.99.0.2", "bytes="] {
        assert!(said.contains(words), "{words} in {said}");
    }
    assert!(said.contains("10.99.0.2: has everything"), "{said}");
    let log = |name: &str| fs::read_to_string(scene.path(name)).unwrap();
    for (name, words) in [
        ("log.s", "10.99.0.2: has everything"),
        ("log.s", "RETX "),
        ("log.s", "Inst BW="),
        ("log.r", "Connected as #"),
    ] {
        let log = log(name);
        let line = log.lines().find(|line| line.contains(words));
        let line = line.unwrap_or_else(|| panic!("{words} in {log}"));
        let time: Vec<char> = line.chars().take(15).collect();
        assert!(
            time[2] == ':' && time[5] == ':' && time[8] == '.',
            "a time in {line}"
        );
    }
}

#[test]
fn signals_end_a_receiver_with_a_goodbye() {
    let Some(mut scene) = Scene::new(2, 8_000_000) else {
        return;
    };
    for (signal, status) in [("INT", 2), ("TERM", 15)] {
        let mut receiver = scene.receiver(Ours, 2, "");
        let mut other = scene.receiver(Ours, 3, "");
        let mut sender = scene.sender(Ours, "--min-receivers 2 --max-bitrate 40m");
        wait_for("the first bytes", || receiver.output_len() > 0);
        kill(&receiver, signal);
        assert_eq!(signal_of(&mut receiver), Some(status));
        scene.check(&mut other);
        sender.succeed();
        let said = sender.messages();
        assert!(said.contains("10.99.0.2: left"), "{said}");
        assert!(said.contains("10.99.0.3: has everything"), "{said}");
    }
}

#[test]
fn a_termination_waits_for_the_end_of_a_transfer_that_has_begun() {
    let Some(mut scene) = Scene::new(1, 3_000_000) else {
        return;
    };
    for kind in BOTH {
        let mut idle = scene.sender(kind, "--min-receivers 1");
        scene.lab.host(1).wait_for_port(9001);
        idle_until_ready(&mut idle);
        kill(&idle, "TERM");
        assert_eq!(signal_of(&mut idle), Some(15), "{kind:?}");

        let mut receiver = scene.receiver(Ours, 2, "");
        let line = "--min-receivers 1 --max-bitrate 16m --rexmit-hello-interval 200";
        let mut sender = scene.sender(kind, line);
        wait_for("the first bytes", || receiver.output_len() > 0);
        kill(&sender, "TERM");
        scene.check(&mut receiver);
        assert_eq!(signal_of(&mut sender), Some(15), "{kind:?}");
    }
}

/// In the background until it is told to end.
#[test]
fn a_daemon_serves_one_transfer_after_the_other_and_is_ended_by_its_pid_file() {
    let Some(mut scene) = Scene::new(2, 200_000) else {
        return;
    };
    let pid_file = scene.text("pid");
    let line = format!("-D -D --pid-file {pid_file} --min-receivers 1");
    scene.sender(Ours, &line).succeed();
    wait_for("the number in the pid file", || {
        fs::read_to_string(&pid_file).is_ok_and(|text| text.trim().parse::<u32>().is_ok())
    });
    for (kind, host) in [(Ours, 2), (Original, 3), (Ours, 2)] {
        scene.lab.host(1).wait_for_port(9001);
        // May be over before its port can be seen.
        let mut receiver = scene.start(kind, host, "udp-receiver", "--nokbd");
        scene.check(&mut receiver);
    }
    let line = format!("--kill --pid-file {pid_file}");
    scene.start(Ours, 1, "udp-sender", &line).succeed();
    wait_for("the end of the daemon", || {
        !PathBuf::from(&pid_file).exists() && !scene.lab.host(1).has_port(9001)
    });
}

/// The line of the field, and then a key at the sender.
#[test]
fn a_key_at_the_sender_starts_the_transfer() {
    let Some(mut scene) = Scene::with_script(1, 300_000) else {
        return;
    };
    for kind in BOTH {
        let (payload, log) = (scene.text("payload"), scene.text("log"));
        let mut receiver = scene.receiver(kind, 2, "");
        let mut sender = scene.type_on(
            1,
            &format!(
                "udp-sender --file {payload} --log {log} --ttl 1 --nopointopoint --portbase 9000"
            ),
        );
        sender.wait_for("Press any key");
        assert!(
            !sender.screen().contains("status 0"),
            "it waits for the key"
        );
        sender.press("x");
        scene.check(&mut receiver);
        sender.wait_for("status 0");
        // As it was before: lines, and what is typed can be seen.
        sender.wait_for("TERMINAL icanon echo");
        fs::remove_file(log).unwrap();
    }
}

#[test]
fn a_key_at_the_receiver_starts_the_transfer_and_q_ends_either() {
    let Some(mut scene) = Scene::with_script(1, 300_000) else {
        return;
    };
    for kind in BOTH {
        let mut sender = scene.sender(kind, "--rexmit-hello-interval 200");
        let output = scene.text("got");
        let mut receiver = scene.type_on(2, &format!("udp-receiver --portbase 9000 -f {output}"));
        receiver.wait_for("Press any key");
        receiver.press(" ");
        receiver.wait_for("status 0");
        receiver.wait_for("TERMINAL icanon echo");
        sender.succeed();
        assert!(fs::read(output).unwrap() == scene.payload);
    }
    let mut sender = scene.sender(Ours, "");
    let mut receiver = scene.type_on(2, "udp-receiver");
    receiver.wait_for("Press any key");
    receiver.press("q");
    receiver.wait_for("status 1");
    receiver.wait_for("TERMINAL icanon echo");
    sender.kill();

    let payload = scene.text("payload");
    let mut receiver = scene.receiver(Ours, 2, "");
    let mut sender = scene.type_on(1, &format!("udp-sender {payload}"));
    sender.wait_for("Press any key");
    sender.press("q");
    sender.wait_for("status 1");
    sender.wait_for("TERMINAL icanon echo");
    receiver.kill();
}

/// ^C, which the terminal turns into SIGINT.
#[test]
fn an_interrupt_gives_the_terminal_back() {
    let Some(mut scene) = Scene::with_script(1, 1000) else {
        return;
    };
    let mut sender = scene.sender(Ours, "");
    let mut receiver = scene.type_on(2, "udp-receiver");
    receiver.wait_for("Press any key");
    receiver.press("\x03");
    receiver.wait_for("status 130");
    receiver.wait_for("TERMINAL icanon echo");
    sender.wait_for_message("Disconnecting #0 (10.99.0.2)");
    sender.kill();
}

/// Compressed input, as typed where images are kept compressed; the keyboard is the terminal, of
/// which there is none here.
#[test]
fn a_stream_from_a_pipe_works_as_typed_in_the_field() {
    let Some(mut scene) = Scene::new(2, 500_000) else {
        return;
    };
    let image = scene.path("F.img");
    let packed = Command::new("gzip")
        .args(["-c", &scene.text("payload")])
        .output()
        .unwrap();
    fs::write(&image, packed.stdout).unwrap();
    let mut first = scene.receiver(Original, 2, "--ttl 32");
    let mut second = scene.receiver(Ours, 3, "--ttl 32 --mcast-rdv-address 10.99.0.1");
    let line = format!(
        "gunzip -S .img -c {} | {} udp-sender --min-receivers 2 --portbase 9000 --interface eth0 \
         --half-duplex --ttl 32",
        image.display(),
        site::program("fos-agent").display()
    );
    let mut command = scene.lab.host(1).command("setsid");
    command.args(["--wait", "sh", "-c", &line]);
    let mut sender = Running::start("sender", &mut command, &scene.path("sender"));
    scene.check(&mut first);
    scene.check(&mut second);
    sender.succeed();
    assert!(sender.messages().contains("no keyboard"));
}

/// The server's own binary has the sender, too.
#[test]
fn the_server_is_a_sender_by_name() {
    let Some(mut scene) = Scene::new(1, 300_000) else {
        return;
    };
    let mut receiver = scene.receiver(Original, 2, "");
    let payload = scene.text("payload");
    let mut command = scene.lab.host(1).command(site::program("fos-server"));
    command.args(["udp-sender", "--file", &payload, "--nokbd", "-C", "1"]);
    let mut sender = Running::start("sender", &mut command, &scene.path("sender"));
    scene.check(&mut receiver);
    sender.succeed();
}

impl Scene {
    /// With a terminal for the keys.
    fn with_script(receivers: u8, payload_len: usize) -> Option<Self> {
        if !fos_tests::need::root_and_tools(&["script", "stty"]) {
            return None;
        }
        Self::new(receivers, payload_len)
    }

    /// One of our programs on a terminal of a host.
    fn type_on(&self, host: usize, line: &str) -> Typist {
        let line = format!("{} {line}", site::program("fos-agent").display());
        let log = self.path(&format!("screen-{host}"));
        Typist::start(self.lab.host(host), &line, log)
    }
}

/// The sender has opened its sockets; the original takes a moment more until it waits.
fn idle_until_ready(sender: &mut Running) {
    sender.wait_for_message("dp-sender");
}

#[track_caller]
fn kill(running: &Running, signal: &str) {
    // `ip netns exec` becomes the program itself.
    let status = Command::new("kill")
        .args([format!("-{signal}"), running.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

fn signal_of(running: &mut Running) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt;
    running.wait().signal()
}
