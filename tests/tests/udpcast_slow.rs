//! One receiver that is not like the others: its port is slow, or its program ends.
//!
//! What was on the wire is counted by the sender's own interface; no test looks at the time.

#![expect(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use fos_tests::netns::{Lab, Running};
use fos_tests::site::program;
use fos_tests::stream::{assert_same, payload};

const TOOLS: [&str; 2] = ["tc", "udp-receiver"];

/// The one with the slow port is the last.
const RECEIVERS: u8 = 4;
const LAST: usize = 1 + RECEIVERS as usize;

/// An original receiver that misses every datagram of a slice ends with this.
const OWN_FAILURE: &str = "Previous slice size not known";
/// So many times in a row is no accident any more.
const ATTEMPTS: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Original,
    Ours,
}

/// A sender of ours on host 1, receivers on the others.
struct Room {
    lab: Lab,
    directory: tempfile::TempDir,
    payload: Vec<u8>,
    count: usize,
}

/// A transfer under way.
struct Transfer {
    sender: Running,
    receivers: Vec<Running>,
    sent_before: u64,
}

impl Room {
    /// `None`: skipped, and reported so.
    fn new(payload_len: usize) -> Option<Self> {
        let room = Self {
            lab: Lab::new(RECEIVERS + 1, &TOOLS)?,
            directory: tempfile::tempdir().unwrap(),
            payload: payload(payload_len),
            count: 0,
        };
        fs::write(room.path("payload"), &room.payload).unwrap();
        Some(room)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn start(&mut self, kind: Kind, options: &str) -> Transfer {
        self.count += 1;
        let count = self.count;
        let agent = program("fos-agent");
        let mut receivers = Vec::new();
        for host in 2..=LAST {
            let mut command = match kind {
                Kind::Original => self.lab.host(host).command("udp-receiver"),
                Kind::Ours => {
                    let mut command = self.lab.host(host).command(&agent);
                    command.arg("udp-receiver");
                    command
                }
            };
            command.arg("--nokbd");
            let name = format!("receiver{count}-{host}");
            receivers.push(Running::start(&name, &mut command, &self.path(&name)));
            self.lab.host(host).wait_for_port(9000);
        }
        let sent_before = self.lab.host(1).sent_bytes();
        let mut command = self.lab.host(1).command(&agent);
        command
            .args(["udp-sender", "--nokbd", "--json", "--full-duplex"])
            .args(["--min-receivers", &RECEIVERS.to_string(), "--file"])
            .arg(self.path("payload"))
            .args(options.split_whitespace());
        let name = format!("sender{count}");
        Transfer {
            sender: Running::start(&name, &mut command, &self.path(&name)),
            receivers,
            sent_before,
        }
    }

    #[track_caller]
    fn must_have_all(&self, receiver: &mut Running) {
        let got = receiver.succeed();
        assert_same(&got, &self.payload, receiver);
    }

    /// Bytes that left the sender's interface, for each byte of the stream.
    fn cost(&self, transfer: &Transfer) -> f64 {
        let sent = self.lab.host(1).sent_bytes() - transfer.sent_before;
        sent as f64 / self.payload.len() as f64
    }
}

impl Transfer {
    /// What the sender has reported of `host`.
    fn reported(&self, host: &str) -> Vec<Value> {
        let text = self.sender.output();
        let lines = text.lines().map(|line| {
            serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{line}: {error}"))
        });
        lines.filter(|line| line["receiver"] == host).collect()
    }

    #[track_caller]
    fn must_have_reported(&self, host: usize, event: &str, reason: Option<&str>) -> Value {
        let lines = self.reported(&format!("10.99.0.{host}"));
        let found = lines.iter().find(|line| {
            line["event"] == event && reason.is_none_or(|reason| line["reason"] == reason)
        });
        let found = found.unwrap_or_else(|| panic!("no {event} {reason:?} in {lines:#?}"));
        found.clone()
    }
}

#[test]
fn the_pace_follows_a_slow_port() {
    for kind in [Kind::Ours, Kind::Original] {
        let Some(mut room) = Room::new(24 << 20) else {
            return;
        };
        room.lab.host(LAST).limit("40mbit");
        for attempt in 1..=ATTEMPTS {
            let mut transfer = room.start(kind, "");
            let ended: Vec<bool> = transfer
                .receivers
                .iter_mut()
                .map(|receiver| receiver.wait().success())
                .collect();
            let has_failed_by_itself = transfer
                .receivers
                .iter()
                .any(|receiver| receiver.messages().contains(OWN_FAILURE));
            if kind == Kind::Original && has_failed_by_itself && attempt < ATTEMPTS {
                println!("{kind:?}, attempt {attempt}: {ended:?}, again");
                continue;
            }
            for receiver in &mut transfer.receivers {
                room.must_have_all(receiver);
            }
            transfer.sender.succeed();
            let cost = room.cost(&transfer);
            println!("{kind:?}: {cost:.2} bytes on the wire for each of the stream");
            assert!(cost <= 1.3, "{kind:?}: {cost:.2}");
            transfer.must_have_reported(LAST, "slow", None);
            break;
        }
    }
}

#[test]
fn a_slow_port_is_left_behind_if_so_asked() {
    let Some(mut room) = Room::new(24 << 20) else {
        return;
    };
    room.lab.host(LAST).limit("40mbit");
    let mut transfer = room.start(Kind::Ours, "--slow leave");
    transfer.sender.succeed();
    let mut last = transfer.receivers.pop().unwrap();
    for receiver in &mut transfer.receivers {
        room.must_have_all(receiver);
    }
    assert!(!last.wait().success(), "it must not take a part for all");
    let dropped = transfer.must_have_reported(LAST, "dropped", Some("slow"));
    assert!(
        dropped["rate_bytes_per_second"].as_u64() > Some(0),
        "{dropped}"
    );
    let result = transfer.must_have_reported(LAST, "result", None);
    assert_eq!(result["outcome"], "dropped");
    for host in 2..LAST {
        let result = transfer.must_have_reported(host, "result", None);
        assert_eq!(result["outcome"], "completed");
    }
}

#[test]
fn a_program_that_ends_is_found_out_by_its_port() {
    for kind in [Kind::Ours, Kind::Original] {
        let Some(mut room) = Room::new(24 << 20) else {
            return;
        };
        // So that it is under way when the program ends.
        let mut transfer = room.start(kind, "--max-bitrate 50m");
        let mut last = transfer.receivers.pop().unwrap();
        fos_tests::netns::wait_for("a quarter", || last.output_len() > 6 << 20);
        last.kill();
        for receiver in &mut transfer.receivers {
            room.must_have_all(receiver);
        }
        transfer.sender.succeed();
        let dropped = transfer.must_have_reported(LAST, "dropped", Some("not-listening"));
        println!("{kind:?}: {dropped}");
    }
}
