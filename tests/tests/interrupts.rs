//! Ctrl-C at either end: the other end does not wait, and whoever pressed it sees what became of the target.

#![expect(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use fos_tests::netns::{Lab, Running, wait_for};
use fos_tests::site::program;

const SIGINT: i32 = 2;

/// More than is sent in any of these tests, at [`RATE`].
const STREAM_LEN: u64 = 200 << 20;
const RATE: &str = "8m";

/// `udp-sender` of ours, or the original, on host 1.
fn sender(lab: &Lab, is_original: bool, receivers: usize, directory: &Path) -> Running {
    let stream = directory.join("stream");
    File::create(&stream).unwrap().set_len(STREAM_LEN).unwrap();
    let mut command = if is_original {
        lab.host(1).command("udp-sender")
    } else {
        let mut command = lab.host(1).command(program("fos-agent"));
        command.arg("udp-sender");
        command
    };
    command
        .args(["--nokbd", "--max-bitrate", RATE])
        .args(["--rexmit-hello-interval", "200"])
        .args(["--min-receivers", &receivers.to_string(), "--file"])
        .arg(stream);
    Running::start("udp-sender", &mut command, &directory.join("sent"))
}

#[track_caller]
fn wait_for_bytes(path: &Path) {
    wait_for("bytes on the target", || {
        fs::metadata(path).is_ok_and(|found| found.len() > 100_000)
    });
}

#[test]
fn an_interrupted_receiver_says_what_became_of_its_target_and_lets_no_sender_wait() {
    let Some(lab) = Lab::new(2, &["udp-sender"]) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let rdv = lab.host(1).addr().to_string();
    for is_original in [true, false] {
        let target = directory.path().join(format!("target-{is_original}"));
        let mut command = lab.host(2).command(program("fos-agent"));
        command
            .args(["receive", "--rdv", &rdv, "--raw", "--create"])
            .arg(&target);
        let output = directory.path().join("received");
        let mut receiver = Running::start("receive", &mut command, &output);
        lab.host(2).wait_for_port(9000);
        let mut sender = sender(&lab, is_original, 1, directory.path());
        wait_for_bytes(&target);
        receiver.signal("INT");
        assert_eq!(receiver.wait().signal(), Some(SIGINT));
        let said = receiver.messages();
        assert!(said.contains("interrupted (SIGINT)"), "{said}");
        let fate = format!("{} is partly overwritten: ", target.display());
        assert_eq!(said.matches(&fate).count(), 1, "{said}");
        // It has much more to send, and nobody to send it to.
        sender.wait();
        assert!(!lab.host(1).has_port(9001));
    }
}

#[test]
fn an_interrupted_receiver_without_a_sender_has_written_nothing() {
    let Some(lab) = Lab::new(2, &[]) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("target");
    fs::write(&target, [7; 100_000]).unwrap();
    let mut command = lab.host(2).command(program("fos-agent"));
    command.args(["receive", "--raw"]).arg(&target);
    let mut receiver = Running::start("receive", &mut command, &directory.path().join("out"));
    lab.host(2).wait_for_port(9000);
    receiver.signal("TERM");
    assert!(receiver.wait().signal().is_some());
    let said = receiver.messages();
    let fate = format!("nothing was written to {}", target.display());
    assert!(said.contains(&fate), "{said}");
    assert_eq!(fs::read(&target).unwrap(), [7; 100_000]);
}

#[test]
fn an_interrupted_restore_says_what_became_of_its_target() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (
        directory.path().join("fifo"),
        directory.path().join("target"),
    );
    let made = Command::new("mkfifo").arg(&source).status().unwrap();
    assert!(made.success());
    let mut command = Command::new(program("fos-agent"));
    command
        .args(["restore", "--raw", "--create"])
        .args([&source, &target]);
    let mut restore = Running::start("restore", &mut command, &directory.path().join("out"));
    // Open until the end, so that no end of the image comes.
    let mut image = File::create(&source).unwrap();
    image.write_all(&vec![7; 20 << 20]).unwrap();
    wait_for_bytes(&target);
    restore.signal("INT");
    assert_eq!(restore.wait().signal(), Some(SIGINT));
    let said = restore.messages();
    let fate = format!("{} is partly overwritten: ", target.display());
    assert!(
        said.contains("interrupted (SIGINT)") && said.contains(&fate),
        "{said}"
    );
}

#[test]
fn an_interrupted_sender_lets_no_receiver_wait() {
    let Some(lab) = Lab::new(4, &["udp-receiver"]) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { directory.path().join(name) };
    let target = path("target");
    let commands = [
        &["receive", "--raw", "--create", "--receive-timeout", "0"][..],
        &["udp-receiver", "--nokbd", "--file"],
        &["udp-receiver", "--nokbd", "--file"],
    ];
    let mut receivers = Vec::new();
    for (host, arguments) in (2..).zip(commands) {
        let is_original = host == 4;
        let mut command = if is_original {
            lab.host(host).command("udp-receiver")
        } else {
            let mut command = lab.host(host).command(program("fos-agent"));
            command.arg(arguments[0]);
            command
        };
        let file = if host == 2 {
            target.clone()
        } else {
            path(&format!("file-{host}"))
        };
        command.args(&arguments[1..]).arg(file);
        let output = path(&format!("out-{host}"));
        receivers.push(Running::start(arguments[0], &mut command, &output));
        lab.host(host).wait_for_port(9000);
    }
    let mut sender = sender(&lab, false, receivers.len(), directory.path());
    wait_for_bytes(&target);
    sender.signal("INT");
    assert_eq!(sender.wait().signal(), Some(SIGINT));
    // Each of them waits without a limit where nothing is said.
    for receiver in &mut receivers {
        let status = receiver.wait();
        assert!(!status.success(), "{status}: {}", receiver.messages());
    }
    for receiver in &receivers[..2] {
        let said = receiver.messages();
        assert!(said.contains("has ended the transfer"), "{said}");
    }
}

#[test]
fn a_sender_whose_pipe_program_fails_lets_no_receiver_wait() {
    let Some(lab) = Lab::new(3, &["udp-receiver"]) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { directory.path().join(name) };
    let mut receivers = Vec::new();
    for host in [2, 3] {
        let mut command = if host == 3 {
            lab.host(host).command("udp-receiver")
        } else {
            let mut command = lab.host(host).command(program("fos-agent"));
            command.arg("udp-receiver");
            command
        };
        command
            .args(["--nokbd", "--file"])
            .arg(path(&format!("file-{host}")));
        let output = path(&format!("out-{host}"));
        receivers.push(Running::start("udp-receiver", &mut command, &output));
        lab.host(host).wait_for_port(9000);
    }
    fs::write(path("fails.sh"), "head -c 3000000\nexit 3\n").unwrap();
    fs::write(path("stream"), vec![7; 8_000_000]).unwrap();
    let mut command = lab.host(1).command(program("fos-agent"));
    command
        .args(["udp-sender", "--nokbd", "--max-bitrate", RATE])
        .args(["--min-receivers", "2", "--pipe"])
        .arg(format!("sh {}", path("fails.sh").display()))
        .arg("--file")
        .arg(path("stream"));
    let mut sender = Running::start("udp-sender", &mut command, &path("sent"));
    assert_eq!(sender.wait().code(), Some(1), "{}", sender.messages());
    for receiver in &mut receivers {
        let status = receiver.wait();
        assert!(!status.success(), "{status}: {}", receiver.messages());
    }
}
