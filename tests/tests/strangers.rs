//! What a receiver of ours says, and does, when something is wrong with the network: other senders on its
//! port, a path for small datagrams only, a packet filter, a sender that is started again.

#![expect(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fos_tests::netns::{Lab, Running};
use fos_tests::site::program;
use fos_tests::stream::{assert_same, payload};

/// The two commands that receive, apart from a deploy.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// `fos-agent receive --raw`.
    Receive,
    /// `fos-agent udp-receiver`.
    DropIn,
}

use Kind::{DropIn, Receive};

/// The sender is host 1, the receiver host 2.
struct Scene {
    lab: Lab,
    directory: tempfile::TempDir,
    count: usize,
}

impl Scene {
    /// `None`: skipped, and reported so.
    fn new(hosts: u8, tools: &[&str]) -> Option<Self> {
        Some(Self {
            lab: Lab::new(hosts, tools)?,
            directory: tempfile::tempdir().unwrap(),
            count: 0,
        })
    }

    fn path(&mut self, what: &str) -> PathBuf {
        self.count += 1;
        self.directory.path().join(format!("{}-{what}", self.count))
    }

    fn start(&mut self, host: usize, program: &Path, arguments: &[&str]) -> Running {
        let output = self.path("output");
        let mut command: Command = self.lab.host(host).command(program);
        Running::start(arguments[0], command.args(arguments), &output)
    }

    /// Answers the receiver on that host, and where the stream goes.
    fn receiver(&mut self, kind: Kind, host: usize, options: &[&str]) -> (Running, PathBuf) {
        let target = self.path("target");
        let file = target.to_str().unwrap();
        let arguments = match kind {
            Receive => vec!["receive", "--raw", "--create", file],
            DropIn => vec!["udp-receiver", "--nokbd", "--no-progress", "--file", file],
        };
        let arguments = [&arguments, options].concat();
        let receiver = self.start(host, &program("fos-agent"), &arguments);
        self.lab.host(host).wait_for_port(9000);
        (receiver, target)
    }

    /// Our sender on that host, which waits for so many receivers.
    fn sender(&mut self, host: usize, file: &Path, receivers: &str, options: &[&str]) -> Running {
        let file = file.to_str().unwrap();
        let arguments = [
            &["udp-sender", "--nokbd", "--no-progress"],
            &["--rexmit-hello-interval", "200"][..],
            &["--min-receivers", receivers, "--file", file],
            options,
        ];
        self.start(host, &program("fos-agent"), &arguments.concat())
    }

    fn file(&mut self, len: usize, first: u8) -> PathBuf {
        let path = self.path("stream");
        let mut bytes = payload(len);
        bytes[0] = first;
        fs::write(&path, bytes).unwrap();
        path
    }

    fn addr(&self, host: usize) -> String {
        self.lab.host(host).addr().to_string()
    }
}

#[track_caller]
fn assert_arrived(target: &Path, file: &Path, receiver: &Running) {
    assert_same(
        &fs::read(target).unwrap(),
        &fs::read(file).unwrap(),
        receiver,
    );
}

#[test]
fn where_the_sender_is_known_no_other_one_is_heard() {
    let Some(mut scene) = Scene::new(3, &[]) else {
        return;
    };
    let (right, wrong) = (scene.file(1_000_000, 1), scene.file(1_000_000, 2));
    let (server, stranger) = (scene.addr(1), scene.addr(3));
    for kind in [Receive, DropIn] {
        let rendezvous = match kind {
            Receive => "--rdv",
            DropIn => "--mcast-rdv-address",
        };
        let (mut receiver, target) = scene.receiver(kind, 2, &[rendezvous, &server]);
        // One that would let it in, then one that refuses everybody.
        let mut other = scene.sender(3, &wrong, "1", &[]);
        receiver.wait_for_message(&format!("another sender, {stranger}:9001, uses this port"));
        receiver.wait_for_message(&format!("name it: --sender {stranger}"));
        other.kill();
        let cast = Path::new(env!("CARGO_BIN_EXE_cast"));
        let mut refusing = scene.start(3, cast, &["refuse"]);
        refusing.wait_for_message("refused 20 times");
        let mut sender = scene.sender(1, &right, "1", &[]);
        receiver.succeed();
        sender.succeed();
        assert_arrived(&target, &right, &receiver);
    }
}

#[test]
fn where_it_is_not_the_first_one_is_shown_and_a_second_one_reported() {
    let Some(mut scene) = Scene::new(3, &[]) else {
        return;
    };
    let (right, wrong) = (scene.file(1_000_000, 1), scene.file(1_000_000, 2));
    let (server, stranger) = (scene.addr(1), scene.addr(3));
    for kind in [Receive, DropIn] {
        let (mut receiver, target) = scene.receiver(kind, 2, &[]);
        let options = ["--min-wait", "3600"];
        let mut first = scene.sender(1, &right, "1", &options);
        receiver.wait_for_message(&format!("the sender is {server}, the first one"));
        let mut second = scene.sender(3, &wrong, "1", &[]);
        receiver.wait_for_message(&format!("another sender, {stranger}:9001, uses this port"));
        receiver.wait_for_message(&format!("name it: --sender {stranger}"));
        first.kill();
        // The receiver knows its sender by the address, and takes it again when it comes back.
        let mut first = scene.sender(1, &right, "1", &[]);
        receiver.succeed();
        first.succeed();
        assert_arrived(&target, &right, &receiver);
        second.kill();
    }
}

#[test]
fn a_named_sender_is_taken_at_any_address() {
    let Some(mut scene) = Scene::new(3, &[]) else {
        return;
    };
    let right = scene.file(1_000_000, 1);
    let (server, other) = (scene.addr(1), scene.addr(3));
    for (kind, rendezvous) in [(Receive, "--rdv"), (DropIn, "--mcast-rdv-address")] {
        for named in [server.as_str(), "any"] {
            // The rendezvous address leads elsewhere, as with a server that has several addresses.
            let options = [rendezvous, other.as_str(), "--sender", named];
            let (mut receiver, target) = scene.receiver(kind, 2, &options);
            let mut sender = scene.sender(1, &right, "1", &[]);
            receiver.succeed();
            sender.succeed();
            assert_arrived(&target, &right, &receiver);
        }
    }
}

#[test]
fn a_path_for_small_datagrams_only_is_named() {
    let Some(mut scene) = Scene::new(4, &["nft"]) else {
        return;
    };
    let file = scene.file(20_000_000, 1);
    for host in [2, 3] {
        scene.lab.host(host).nft(
            "add table inet b
             add chain inet b i { type filter hook input priority 0; }
             add rule inet b i ip protocol udp ip length gt 1400 drop\n",
        );
    }
    let (mut receive, _) = scene.receiver(Receive, 2, &[]);
    let (mut drop_in, _) = scene.receiver(DropIn, 3, &[]);
    let (mut healthy, target) = scene.receiver(DropIn, 4, &[]);
    let mut sender = scene.sender(1, &file, "3", &[]);
    for receiver in [&mut receive, &mut drop_in] {
        receiver.wait_for_message("does not carry datagrams of 1500 bytes");
    }
    // Before the sender, which goes on without them after 12 s.
    assert!(
        !sender.messages().contains("dropped"),
        "{}",
        sender.messages()
    );
    healthy.succeed();
    sender.wait();
    assert_arrived(&target, &file, &healthy);
}

#[test]
fn a_receiver_whose_datagrams_cannot_leave_says_so() {
    let Some(mut scene) = Scene::new(2, &["nft"]) else {
        return;
    };
    let file = scene.file(1_000_000, 1);
    for kind in [Receive, DropIn] {
        scene.lab.host(2).nft(
            "add table inet b
             add chain inet b o { type filter hook output priority 0; }
             add rule inet b o udp dport 9001 drop\n",
        );
        let (mut receiver, target) = scene.receiver(kind, 2, &[]);
        receiver.wait_for_message("a packet filter of this host rejects it");
        scene.lab.host(2).nft("delete table inet b\n");
        let mut sender = scene.sender(1, &file, "1", &[]);
        receiver.succeed();
        sender.succeed();
        assert!(
            receiver
                .messages()
                .contains("datagrams leave this host again")
        );
        assert_arrived(&target, &file, &receiver);
    }
}

#[test]
fn a_sender_that_is_started_again_ends_the_transfer_that_it_left() {
    let Some(mut scene) = Scene::new(3, &[]) else {
        return;
    };
    let file = scene.file(20_000_000, 1);
    let (mut receive, _) = scene.receiver(Receive, 2, &[]);
    let (mut drop_in, target) = scene.receiver(DropIn, 3, &[]);
    let mut sender = scene.sender(1, &file, "2", &["--max-bitrate", "10m"]);
    fos_tests::netns::wait_for("data", || {
        fs::metadata(&target).is_ok_and(|file| file.len() > 3_000_000)
    });
    sender.kill();
    let _again = scene.sender(1, &file, "2", &[]);
    for receiver in [&mut receive, &mut drop_in] {
        let status = receiver.wait();
        assert_eq!(status.code(), Some(1), "{}", receiver.messages());
        let messages = receiver.messages();
        assert!(messages.contains("was started again"), "{messages}");
    }
}
