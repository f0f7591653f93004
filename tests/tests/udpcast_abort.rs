//! A stream that our sender ends early, at the original receiver: it exits by itself, and what reads its
//! output fails.

#![expect(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fos_tests::netns::{Lab, Running};
use fos_tests::stream::payload;

const TOOLS: [&str; 4] = ["bash", "nft", "udp-receiver", "zstd"];

/// What the client of FOG runs; tells both statuses on standard output.
const PIPE: &str = "udp-receiver --nokbd 2>/dev/null | zstd -dc >/dev/null; echo ${PIPESTATUS[*]}";

/// The sender is host 1; original receivers that decompress are on the hosts behind it, and the last
/// receiver is ours.
struct Scene {
    lab: Lab,
    directory: tempfile::TempDir,
    hosts: usize,
    count: usize,
}

impl Scene {
    fn new(originals: u8) -> Option<Self> {
        let lab = Lab::new(originals + 2, &TOOLS)?;
        let scene = Self {
            lab,
            directory: tempfile::tempdir().unwrap(),
            hosts: usize::from(originals) + 2,
            count: 0,
        };
        fs::write(scene.path("plain"), payload(16_000_000)).unwrap();
        let status = Command::new("zstd")
            .args(["-q", "plain"])
            .current_dir(scene.directory.path())
            .stdin(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        Some(scene)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// One transfer that is aborted; answers the status of our sender and what each pipe had.
    fn transfer(&mut self, options: &str) -> (Option<i32>, Vec<String>) {
        self.count += 1;
        let number = self.count;
        let mut pipes: Vec<Running> = (2..self.hosts)
            .map(|host| {
                let mut command = self.lab.host(host).command("bash");
                command.args(["-c", PIPE]);
                let name = format!("pipe{number}-{host}");
                Running::start(&name, &mut command, &self.path(&name))
            })
            .collect();
        let cast = Path::new(env!("CARGO_BIN_EXE_cast"));
        let mut command = self.lab.host(self.hosts).command(cast);
        let name = format!("ours{number}");
        let mut ours = Running::start(&name, command.arg("receive"), &self.path(&name));
        for host in 2..=self.hosts {
            self.lab.host(host).wait_for_port(9000);
        }
        let mut command = self.lab.host(1).command(cast);
        command
            .args(["send", "--routing", "multicast", "--file"])
            .arg(self.path("plain.zst"))
            .args(options.split_whitespace());
        let name = format!("sender{number}");
        let mut sender = Running::start(&name, &mut command, &self.path(&name));
        let status = sender.wait().code();
        ours.wait();
        let statuses = pipes.iter_mut().map(|pipe| {
            pipe.wait();
            pipe.output().trim().to_owned()
        });
        let whole = fs::metadata(self.path("plain.zst")).unwrap().len();
        assert!(ours.output_len() < whole, "{}", sender.messages());
        (status, statuses.collect())
    }
}

#[test]
fn the_pipe_of_an_original_receiver_fails_when_the_stream_is_aborted() {
    let Some(mut scene) = Scene::new(2) else {
        return;
    };
    for duplex in ["", "--half-duplex", "--fec", "--half-duplex --fec"] {
        for source in ["", "--block-at 8000000"] {
            let options = format!(
                "--min-receivers 3 --max-bitrate 80000000 --abort-at 4000000 {duplex} {source}"
            );
            let (status, pipes) = scene.transfer(&options);
            assert_eq!(status, Some(3), "{options}");
            assert_eq!(pipes, ["0 1", "0 1"], "{options}");
        }
    }
}

#[test]
fn receivers_that_wait_for_the_start_end_too() {
    let Some(mut scene) = Scene::new(2) else {
        return;
    };
    let (status, pipes) = scene.transfer("--min-receivers 4 --abort-joined 3");
    assert_eq!(status, Some(3));
    assert_eq!(pipes, ["0 1", "0 1"]);
}

/// It has not got the slice before the early end, and would wait for it for ever.
#[test]
fn an_original_receiver_that_lacks_a_slice_ends_too() {
    let Some(mut scene) = Scene::new(2) else {
        return;
    };
    scene.lab.host(3).nft(
        "add table inet hole
         add chain inet hole in { type filter hook input priority 0; }
         add rule inet hole in udp dport 9000 ip length > 1400 drop",
    );
    for duplex in ["", "--half-duplex"] {
        let options = format!("--min-receivers 3 --abort-repeated 500 {duplex}");
        let (status, pipes) = scene.transfer(&options);
        assert_eq!(status, Some(3));
        assert_eq!(pipes, ["1 1", "1 1"], "{duplex}");
    }
}
