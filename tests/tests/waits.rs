//! What our programs say while they can do nothing but wait.

use std::fs;

use fos_tests::netns::{Lab, Running};
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
