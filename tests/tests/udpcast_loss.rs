//! Repair blocks on demand, over networks that really lose datagrams.
//!
//! They go to everybody in the group: to receivers of ours, which asked for them, and to original
//! ones, which know FEC but never told us that they could use it. Every transfer compares the bytes
//! that arrived, and is a failure without repair blocks.

#![expect(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]
#![expect(
    clippy::print_stdout,
    reason = "figures, and what was tried again, for whoever reads the log"
)]

use std::fs;
use std::path::{Path, PathBuf};

use fos_tests::netns::{Lab, Running};
use fos_tests::stream::{assert_same, payload};

/// What the receivers hear.
const TO_RECEIVERS: &str = "udp dport 9000";
/// FEC datagrams; without `--fec` all of them are repair blocks on demand.
const REPAIR_BLOCKS: &str = "udp dport 9000 @th,64,16 0x0009";

/// An original receiver that misses every datagram of a short slice ends with this; its own sender
/// makes it do so, too.
const OWN_FAILURE: &str = "Previous slice size not known";
/// So many times in a row is no accident any more.
const ATTEMPTS: usize = 4;

/// A sender of ours on host 1, receivers on the others.
struct Room {
    lab: Lab,
    directory: tempfile::TempDir,
    payload: Vec<u8>,
    receivers: usize,
    count: usize,
}

/// What became of a transfer.
struct Transfer {
    sender: Running,
    receivers: Vec<Running>,
}

impl Room {
    /// `None`: skipped, and told so.
    fn new(receivers: u8, payload_len: usize, tools: &[&str]) -> Option<Self> {
        let lab = Lab::new(receivers + 1, &[&["nft"], tools].concat())?;
        let room = Self {
            lab,
            directory: tempfile::tempdir().unwrap(),
            payload: payload(payload_len),
            receivers: receivers.into(),
            count: 0,
        };
        fs::write(room.path("payload"), &room.payload).unwrap();
        Some(room)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Each receiver loses so many of a thousand datagrams by itself.
    fn lose(&self, per_mille: u16) {
        for host in self.hosts() {
            self.lab.host(host).lose(TO_RECEIVERS, per_mille);
            self.lab.host(host).count(REPAIR_BLOCKS);
        }
    }

    fn hosts(&self) -> std::ops::Range<usize> {
        2..2 + self.receivers
    }

    /// Starts all: the receivers on the hosts in `originals` are `udp-receiver`.
    fn start(&mut self, originals: &[usize], options: &str) -> Transfer {
        self.count += 1;
        let count = self.count;
        let cast = Path::new(env!("CARGO_BIN_EXE_cast"));
        let mut receivers = Vec::new();
        for host in self.hosts() {
            let mut command = if originals.contains(&host) {
                let mut command = self.lab.host(host).command("udp-receiver");
                command.arg("--nokbd");
                command
            } else {
                let mut command = self.lab.host(host).command(cast);
                command.arg("receive");
                command
            };
            let name = format!("receiver{count}-{host}");
            receivers.push(Running::start(&name, &mut command, &self.path(&name)));
            self.lab.host(host).wait_for_port(9000);
        }
        let name = format!("sender{count}");
        let mut command = self.lab.host(1).command(cast);
        command
            .args(["send", "--routing", "multicast", "--min-receivers"])
            .arg(self.receivers.to_string())
            .arg("--file")
            .arg(self.path("payload"))
            .args(options.split_whitespace());
        Transfer {
            sender: Running::start(&name, &mut command, &self.path(&name)),
            receivers,
        }
    }

    #[track_caller]
    fn check(&self, receiver: &mut Running) {
        let got = receiver.succeed();
        assert_same(&got, &self.payload, receiver);
    }

    /// Receivers of ours alone; answers how many repair blocks were sent.
    #[track_caller]
    fn transfer_among_ours(&mut self, options: &str) -> u64 {
        let mut transfer = self.start(&[], options);
        for receiver in &mut transfer.receivers {
            self.check(receiver);
        }
        transfer.sender.succeed();
        self.must_have_repaired(&transfer.sender)
    }

    /// The last host has an original receiver.
    #[track_caller]
    fn transfer_with_original(&mut self, options: &str) {
        let original = 1 + self.receivers;
        for attempt in 1..=ATTEMPTS {
            let before = self.lab.host(original).counted();
            let mut transfer = self.start(&[original], options);
            let mut theirs = transfer.receivers.pop().unwrap();
            for receiver in &mut transfer.receivers {
                self.check(receiver);
            }
            let status = theirs.wait();
            let said = theirs.messages();
            if !status.success() && said.contains(OWN_FAILURE) && attempt < ATTEMPTS {
                // The sender takes the goodbye for what it is.
                assert_eq!(transfer.sender.wait().code(), Some(2));
                println!("attempt {attempt}: the original receiver failed by itself:\n{said}");
                continue;
            }
            self.check(&mut theirs);
            transfer.sender.succeed();
            let sent = self.must_have_repaired(&transfer.sender);
            let heard = self.lab.host(original).counted() - before;
            println!(
                "with an original receiver, {options:?}: {sent} repair blocks, {heard} of which it heard"
            );
            assert!(heard > 0, "the original receiver heard none of {sent}");
            return;
        }
    }

    /// Answers how many repair blocks `sender` has sent in place of repeats.
    #[track_caller]
    fn must_have_repaired(&self, sender: &Running) -> u64 {
        let said = sender.messages();
        let sent = number(&said, " repairs_sent: ");
        assert!(sent > 0, "nothing was repaired:\n{said}");
        assert_eq!(
            sent,
            number(&said, " fec_sent: "),
            "FEC in advance:\n{said}"
        );
        for host in self.hosts() {
            assert!(self.lab.host(host).lost() > 0, "no loss at host {host}");
        }
        sent
    }
}

/// The number that follows `key`.
#[track_caller]
fn number(text: &str, key: &str) -> u64 {
    let found = text.split_once(key).and_then(|(_, rest)| {
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    });
    found.unwrap_or_else(|| panic!("no number after {key:?} in:\n{text}"))
}

#[test]
fn an_original_receiver_stands_the_repair_blocks_of_others() {
    for options in ["", "--half-duplex"] {
        let Some(mut room) = Room::new(3, 20_000_003, &["udp-receiver"]) else {
            return;
        };
        room.lose(50);
        room.transfer_with_original(options);
    }
}

#[test]
fn eight_receivers_of_ours_are_repaired() {
    for per_mille in [10, 50] {
        for options in ["", "--half-duplex"] {
            let Some(mut room) = Room::new(8, 20_000_003, &[]) else {
                return;
            };
            room.lose(per_mille);
            let sent = room.transfer_among_ours(options);
            println!("eight of ours, {per_mille} of 1000 lost, {options:?}: {sent} repair blocks");
        }
    }
}
