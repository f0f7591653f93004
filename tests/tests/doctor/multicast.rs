//! Whether the session's data comes.

use std::fs::{self, File};

use fos_tests::netns::{Running, wait_for};
use fos_tests::site::{self, Site, program};
use serde_json::Value;

use super::{Clinic, DISK_LEN, WEB, check, codes, native, report};

/// The machine has a multicast job at the port base 9000.
fn job() -> String {
    format!("{WEB} type=down mc=yes port=9000 storageip=10.99.0.1")
}

/// Host 1 sends to host 3, slowly.
fn send(clinic: &mut Clinic) {
    let stream = clinic.path("stream");
    File::create(&stream).unwrap().set_len(1 << 30).unwrap();
    let mut sender = clinic.lab.host(1).command(program("fos-agent"));
    sender
        .args([
            "udp-sender",
            "--nokbd",
            "--interface",
            "eth0",
            "--min-receivers",
            "1",
        ])
        .args(["--nopointopoint", "--max-bitrate", "5m", "--file"])
        .arg(&stream);
    clinic.run("sender", &mut sender);
    clinic.lab.host(1).wait_for_port(9001);
    let mut receiver = clinic.lab.host(3).command(program("fos-agent"));
    receiver.args([
        "udp-receiver",
        "--nokbd",
        "--mcast-rdv-address",
        "10.99.0.1",
        "--file",
        "/dev/null",
    ]);
    let received = clinic.lab.host(3);
    received.count("udp dport 9000");
    clinic.run("receiver", &mut receiver);
    wait_for("data to flow", || clinic.lab.host(3).counted() > 50);
}

/// What is found while the sender sends.
#[track_caller]
fn found(clinic: &Clinic) -> Vec<String> {
    clinic.find(&job(), &["--sending"])
}

#[test]
fn data_that_comes_is_nothing_to_be_named() {
    let Some(mut clinic) = Clinic::with(native) else {
        return;
    };
    // No sender is there yet, which is as it should be before a session.
    assert_eq!(clinic.find(&job(), &[]), [""; 0]);
    send(&mut clinic);
    let report = clinic.examine(&job(), &["--sending"]);
    assert_eq!(codes(&report), [""; 0], "{report:#}");
    let (result, seen) = check(&report, "multicast");
    assert!(
        result == "fine" && seen.contains("no IGMP querier"),
        "{seen}"
    );
    assert!(!seen.contains(" 0 datagrams with data"), "{seen}");
    clinic.lab.set_switch("mcast_snooping 1 mcast_querier 1");
    let report = clinic.examine(&job(), &["--sending"]);
    assert_eq!(codes(&report), [""; 0], "{report:#}");
    let (_, seen) = check(&report, "multicast");
    assert!(
        seen.contains("IGMP querier 0.0.0.0") || seen.contains("IGMP querier 10."),
        "{seen}"
    );
}

#[test]
fn snooping_without_a_querier_is_told_from_a_filter() {
    let Some(mut clinic) = Clinic::with(native) else {
        return;
    };
    send(&mut clinic);
    // As a switch that knows of no member: what is not asked for does not go to this port.
    clinic.lab.host(2).set_port("mcast_flood off");
    assert_eq!(found(&clinic), ["no-querier"]);
    // What the doctor says is to be done.
    clinic
        .lab
        .set_switch("mcast_snooping 1 mcast_query_response_interval 100 mcast_querier 1");
    wait_for("the switch to learn its members", || {
        found(&clinic).is_empty()
    });
    clinic.lab.host(2).nft(
        "add table inet b
         add chain inet b i { type filter hook input priority 0; }
         add rule inet b i udp dport 9000 drop\n",
    );
    assert_eq!(found(&clinic), ["multicast-filtered"]);
}

#[test]
fn a_sender_in_another_network_is_named() {
    let Some(mut clinic) = Clinic::with(native) else {
        return;
    };
    send(&mut clinic);
    clinic.lab.move_to_second_network(2);
    clinic.lab.host(2).ip("route add default via 10.98.0.1\n");
    assert_eq!(found(&clinic), ["multicast-not-routed"]);
}

#[test]
fn a_firewall_before_the_rendezvous_is_named() {
    let Some(mut clinic) = Clinic::with(native) else {
        return;
    };
    send(&mut clinic);
    clinic.lab.host(1).nft(
        "add table inet b
         add chain inet b i { type filter hook input priority 0; }
         add rule inet b i ip saddr 10.99.0.2 udp dport 9001 reject with icmp admin-prohibited\n",
    );
    assert_eq!(found(&clinic), ["rendezvous-blocked"]);
}

#[test]
fn a_sender_that_is_gone_is_named_only_where_it_should_be() {
    let Some(clinic) = Clinic::with(native) else {
        return;
    };
    assert_eq!(clinic.find(&job(), &[]), [""; 0]);
    assert_eq!(found(&clinic), ["no-sender"]);
}

/// The doctor on pc1, with the kernel arguments of its job.
#[track_caller]
fn examine(site: &Site, arguments: &str) -> Value {
    let mut command = site.lab().host(2).command(program("fos-agent"));
    command.args([
        "doctor",
        "--json",
        "--patience",
        "0",
        "--cmdline",
        arguments,
        "--disk",
    ]);
    let disk = site.path("disk");
    fs::write(&disk, vec![7; DISK_LEN]).unwrap();
    command.arg(disk);
    report(&mut Running::start(
        "doctor",
        &mut command,
        &site.path("report"),
    ))
}

#[test]
fn a_session_of_the_real_server_is_understood() {
    let Some(mut site) = Site::without_image(2) else {
        return;
    };
    site.start_server_with(&["--max-bitrate", "2m"]);
    site.cli(&["image", "add", "small"]).succeed();
    let session = site.deploy(&["pc1", "pc2"], &[]);
    let arguments = site.kernel_arguments(1);
    // The session waits for its hosts.
    let report = examine(&site, &arguments);
    assert_eq!(codes(&report), [""; 0], "{report:#}");
    let disks = ["a.raw", "b.raw"].map(|name| site.empty_disk(name, site::DISK_LEN));
    let _agents = [1, 2].map(|number| site.start_agent(number, &disks[usize::from(number) - 1]));
    wait_for("data to flow", || {
        site.status(&session)["stage"] == "sending"
    });
    let report = examine(&site, &arguments);
    assert_eq!(codes(&report), [""; 0], "{report:#}");
    let (_, seen) = check(&report, "multicast");
    assert!(seen.contains("it is sending"), "{seen}");
    assert!(!seen.contains(" 0 datagrams with data"), "{seen}");
    // The switch forgets the machine in the midst of it.
    site.lab().host(2).set_port("mcast_flood off");
    let report = examine(&site, &arguments);
    assert_eq!(codes(&report), ["no-querier"], "{report:#}");
}
