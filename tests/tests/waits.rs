//! What our programs say while they can do nothing but wait.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::fs;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use fos_tests::netns::{Lab, Running, wait_for};
use fos_tests::site::program;

#[test]
fn a_receiver_says_that_no_sender_answers_and_that_its_cable_is_out() {
    let Some(lab) = Lab::new(2, &[]) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let sender = lab.host(1).addr().to_string();
    for options in [
        &["receive", "--check", "--rdv", &sender][..],
        &["udp-receiver", "--nokbd", "--mcast-rdv-address", &sender],
    ] {
        let mut command = lab.host(2).command(program("fos-agent"));
        command.args(options);
        let mut receiver = Running::start(options[0], &mut command, &directory.path().join("out"));
        receiver.wait_for_message("no sender answers");
        lab.host(2).plug(false);
        receiver.wait_for_message("the link of eth0 is down: check the cable");
        lab.host(2).plug(true);
        receiver.wait_for_message("the link of eth0 is up again");
        receiver.kill();

        // From the start, and not only after the wait.
        lab.host(2).plug(false);
        let mut receiver = Running::start(options[0], &mut command, &directory.path().join("out"));
        receiver.wait_for_message("the link of eth0 is down: check the cable");
        let said = receiver.messages();
        let at = |words| said.find(words).unwrap_or(usize::MAX);
        assert!(at("link of eth0") < at("waiting for"), "{said}");
        receiver.kill();
        lab.host(2).plug(true);
    }
}

#[test]
fn a_sender_says_how_many_receivers_of_how_many_are_in() {
    let Some(lab) = Lab::new(2, &[]) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("stream"), [7; 100_000]).unwrap();
    let mut command = lab.host(1).command(program("fos-agent"));
    command
        .args(["udp-sender", "--nokbd", "--min-receivers", "2", "--file"])
        .arg(path("stream"));
    let mut sender = Running::start("udp-sender", &mut command, &path("sent"));
    sender.wait_for_message("0 of 2 receivers, waiting for");
    let mut command = lab.host(2).command(program("fos-agent"));
    command.args(["udp-receiver", "--nokbd"]);
    let mut receiver = Running::start("udp-receiver", &mut command, &path("received"));
    receiver.wait_for_message("which has not started yet");
    lab.host(1).plug(false);
    sender.wait_for_message("the link of eth0 is down");
    receiver.kill();
    sender.kill();
    // From the start, and not only after the wait.
    let mut command = lab.host(1).command(program("fos-agent"));
    command
        .args(["udp-sender", "--nokbd", "--min-receivers", "2", "--file"])
        .arg(path("stream"));
    let mut sender = Running::start("udp-sender", &mut command, &path("sent-later"));
    sender.wait_for_message("the link of eth0 is down");
    let said = sender.messages();
    let at = |words| said.find(words).unwrap_or(usize::MAX);
    assert!(at("link of eth0") < at("waiting for"), "{said}");
    sender.kill();
}

const STREAM_LEN: usize = 4_000_000;

/// Two receivers that ask, and the command of a sender of a megabyte a second.
fn two_receivers(lab: &Lab, directory: &Path) -> (Command, Vec<Running>) {
    let path = |name: &str| directory.join(name);
    let mut receivers = Vec::new();
    for host in [2, 3] {
        let mut command = lab.host(host).command(program("fos-agent"));
        command.args(["udp-receiver", "--nokbd"]);
        let name = format!("receiver{host}");
        receivers.push(Running::start(&name, &mut command, &path(&name)));
        lab.host(host).wait_for_port(9000);
    }
    let mut command = lab.host(1).command(program("fos-agent"));
    command.args([
        "udp-sender",
        "--nokbd",
        "--min-receivers",
        "2",
        "--max-bitrate",
        "8m",
    ]);
    (command, receivers)
}

#[test]
fn a_silence_in_mid_stream_is_named_by_the_other_side() {
    let Some(lab) = Lab::new(3, &[]) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let (mut command, mut receivers) = two_receivers(&lab, directory.path());
    command.args(["--retries-until-drop", "1000"]);
    let (source, pipe) = io::pipe().unwrap();
    let flow = Flow::into(pipe);
    let sent = directory.path().join("sent");
    let mut sender = Running::start_fed("udp-sender", &mut command, source, &sent);
    drop(command);
    wait_for("the first bytes", || {
        receivers.iter().all(|receiver| receiver.output_len() > 0)
    });
    receivers[0].signal("STOP");
    sender.wait_for_message("(10.99.0.2), silent for ");
    receivers[0].signal("CONT");
    sender.signal("STOP");
    receivers[1].wait_for_message("nothing from 10.99.0.1 for ");
    sender.signal("CONT");
    let len = flow.end();
    for receiver in &mut receivers {
        assert_eq!(receiver.succeed().len(), len);
    }
    sender.succeed();
}

/// A stream without end.
struct Flow {
    is_over: Arc<AtomicBool>,
    writer: JoinHandle<usize>,
}

impl Flow {
    fn into(mut pipe: PipeWriter) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let writer = thread::spawn(move || {
            let block = [7; 4096];
            let mut len = 0;
            // It fails if nobody reads any more.
            while !over.load(Ordering::Relaxed) && pipe.write_all(&block).is_ok() {
                len += block.len();
            }
            len
        });
        Self { is_over, writer }
    }

    /// Ends it. Its length.
    fn end(self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        self.writer.join().unwrap()
    }
}

/// A pipe that takes nothing more.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while writer.write(&[b' '; 512]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    (reader, writer)
}

#[test]
fn a_reader_of_json_that_stands_still_holds_no_receiver_up() {
    let Some(lab) = Lab::new(3, &[]) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let (mut command, mut receivers) = two_receivers(&lab, directory.path());
    let (reader, writer) = full_pipe();
    let stream = directory.path().join("stream");
    fs::write(&stream, vec![7; STREAM_LEN]).unwrap();
    command.args(["--json", "--file"]).arg(stream);
    command.stdin(Stdio::null());
    let sender = command.stdout(writer).stderr(Stdio::piped());
    let sender = sender.spawn().unwrap();
    // Its copy of the pipe's end.
    drop(command);
    for receiver in &mut receivers {
        assert_eq!(receiver.succeed().len(), STREAM_LEN);
    }
    let ended = sender.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    assert!(said.contains("lines of JSON that wait are lost"), "{said}");
    drop(reader);
}
