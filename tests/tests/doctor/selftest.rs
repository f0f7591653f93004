//! `fos-agent selftest` and `fos-server selftest`: what each side says of a way that works, and of one that does not.

use fos_tests::netns::Running;
use fos_tests::site::program;
use serde_json::Value;

use super::{Clinic, check, codes, native, report};

/// The sender on host 1.
#[track_caller]
fn send(clinic: &Clinic, options: &[&str]) -> Running {
    let mut command = clinic.lab.host(1).command(program("fos-server"));
    command.args(["selftest", "--json", "--size", "4", "--data"]);
    command.arg(clinic.path("data")).args(options);
    Running::start("sender", &mut command, &clinic.path("sent"))
}

/// The receiver on host 2.
#[track_caller]
fn receive(clinic: &Clinic, options: &[&str]) -> Running {
    let mut command = clinic.lab.host(2).command(program("fos-agent"));
    command
        .args(["selftest", "10.99.0.1", "--json"])
        .args(options);
    Running::start("receiver", &mut command, &clinic.path("received"))
}

/// What sender and receiver say.
#[track_caller]
fn test(clinic: &Clinic, sender: &[&str], receiver: &[&str]) -> (Value, Value) {
    let mut sender = send(clinic, sender);
    let mut receiver = receive(clinic, receiver);
    let received = report(&mut receiver);
    (report(&mut sender), received)
}

/// What both say of the two ends together, which is the same.
#[track_caller]
fn together(sent: &Value, received: &Value) -> Vec<String> {
    assert_eq!(sent["together"], received["together"]);
    let lines = sent["together"]["lines"].as_array();
    let lines = lines.unwrap_or_else(|| panic!("lines in {sent:#}"));
    lines
        .iter()
        .map(|line| line.as_str().unwrap().to_owned())
        .collect()
}

#[track_caller]
fn result(report: &Value, name: &str) -> String {
    check(report, name).0
}

#[test]
fn a_way_that_works_is_said_to_work_for_the_original_receiver_too() {
    let Some(clinic) = Clinic::with(native) else {
        return;
    };
    let mut original = clinic.lab.host(3).command("udp-receiver");
    let mut original = Running::start(
        "original",
        original.arg("--nokbd"),
        &clinic.path("original"),
    );
    let (sent, received) = test(&clinic, &["--receivers", "2"], &[]);
    assert!(original.wait().success());
    assert!(original.output_len() >= 4_000_000);
    for (report, first) in [(&sent, "rendezvous"), (&received, "server")] {
        assert_eq!(codes(report), [""; 0], "{report:#}");
        for name in [
            first,
            "rendezvous",
            "small",
            "large",
            "content",
            "loss",
            "rate",
        ] {
            assert_eq!(result(report, name), "fine", "{name} in {report:#}");
        }
    }
    // No server runs there.
    assert_eq!(result(&sent, "web"), "skipped");
    let (_, content) = check(&sent, "content");
    assert!(content.starts_with("2 of 2 "), "{content}");
    let lines = together(&sent, &received);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    let of = |address: &str| lines.iter().find(|line| line.starts_with(address)).unwrap();
    assert!(
        lines[0].starts_with("eth0 (10.99.0.1) sends to "),
        "{lines:#?}"
    );
    assert!(
        of("10.99.0.2: ").ends_with("came, every byte as sent"),
        "{lines:#?}"
    );
    assert!(
        of("10.99.0.2: ").contains(" datagrams of 1500 bytes came; "),
        "{lines:#?}"
    );
    let original =
        "10.99.0.3: it has acknowledged the end; its program does not say what it has seen";
    assert_eq!(of("10.99.0.3: "), original);
}

#[test]
fn multicast_that_is_filtered_is_named_by_both() {
    let Some(clinic) = Clinic::with(native) else {
        return;
    };
    clinic.lab.host(2).set_port("mcast_flood off");
    let (sent, received) = test(&clinic, &[], &["--wait", "6"]);
    assert_eq!(codes(&received), ["no-querier"], "{received:#}");
    assert_eq!(codes(&sent), ["group-unheard"], "{sent:#}");
    assert_eq!(result(&received, "rendezvous"), "fine");
    assert_eq!(result(&received, "small"), "problem");
    let lines = together(&sent, &received);
    assert!(
        lines[1].starts_with("10.99.0.2: no request came; no datagram of 1500 bytes came"),
        "{lines:#?}"
    );
    assert!(lines[1].ends_with(" (no-querier)"), "{lines:#?}");
    let deaf = "nothing of what was sent to the group is heard by 10.99.0.2";
    assert_eq!(lines[2..], [deaf]);
}

#[test]
fn large_datagrams_that_are_lost_are_named_by_both() {
    let Some(clinic) = Clinic::with(native) else {
        return;
    };
    clinic.lab.host(2).nft(
        "add table inet b
         add chain inet b i { type filter hook input priority 0; }
         add rule inet b i ip length gt 1400 drop\n",
    );
    let (sent, received) = test(&clinic, &[], &[]);
    assert_eq!(codes(&received), ["mtu-black-hole"], "{received:#}");
    assert_eq!(codes(&sent), ["large-lost"], "{sent:#}");
    for report in [&sent, &received] {
        assert_eq!(result(report, "small"), "fine", "{report:#}");
        assert_eq!(result(report, "large"), "problem", "{report:#}");
    }
    let lines = together(&sent, &received);
    let holes = [
        "no datagram of 1500 bytes came, datagrams pass up to ",
        " of 1500 bytes; ",
    ];
    assert!(
        holes.iter().all(|part| lines[1].contains(part)),
        "{lines:#?}"
    );
}

#[test]
fn a_web_server_that_is_closed_keeps_nobody_from_testing_multicast() {
    let Some(clinic) = Clinic::without_web() else {
        return;
    };
    let (sent, received) = test(&clinic, &[], &[]);
    assert_eq!(codes(&received), ["no-web-server"], "{received:#}");
    assert_eq!(result(&received, "content"), "fine", "{received:#}");
    assert_eq!(codes(&sent), [""; 0], "{sent:#}");
}

#[test]
fn a_sender_on_the_wrong_card_is_named_and_one_without_a_card_finds_the_right_one() {
    let Some(mut clinic) = Clinic::with(native) else {
        return;
    };
    clinic.lab.move_to_second_network(3);
    let (sent, received) = test(&clinic, &["--interface", "eth1", "--wait", "15"], &[]);
    assert_eq!(codes(&sent), ["other-card"], "{sent:#}");
    assert_eq!(codes(&received), ["other-card"], "{received:#}");
    let lines = together(&sent, &received);
    let elsewhere = "10.99.0.2: it asks at eth0 (10.99.0.1), where nothing is sent";
    assert_eq!(lines[1..], [elsewhere]);
    let (sent, received) = test(&clinic, &[], &[]);
    assert_eq!(codes(&sent), [""; 0], "{sent:#}");
    assert_eq!(codes(&received), [""; 0], "{received:#}");
    let (_, card) = check(&sent, "rendezvous");
    assert!(card.contains("eth0 (10.99.0.1)"), "{card}");
}

#[test]
fn a_closed_port_and_a_missing_sender_are_told_apart() {
    let Some(clinic) = Clinic::with(native) else {
        return;
    };
    let mut alone = receive(&clinic, &["--wait", "2"]);
    let received = report(&mut alone);
    assert_eq!(codes(&received), ["no-test-sender"], "{received:#}");
    assert!(received["together"].is_null(), "{received:#}");
    clinic.lab.host(1).nft(
        "add table inet b
         add chain inet b i { type filter hook input priority 0; }
         add rule inet b i udp dport 9001 drop\n",
    );
    let (sent, received) = test(&clinic, &["--wait", "12"], &["--wait", "3"]);
    assert_eq!(codes(&received), ["requests-lost"], "{received:#}");
    assert_eq!(codes(&sent), ["no-receiver"], "{sent:#}");
    let lines = together(&sent, &received);
    assert_eq!(
        lines[1..],
        ["10.99.0.2: its requests do not come to the sender"]
    );
}
