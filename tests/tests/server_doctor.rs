//! `fos-server doctor`: causes that are provoked in a network of namespaces are named, and nothing else is; `senders --end`
//! ends what it names.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::net::Ipv4Addr;

use fos_tests::netns::{Running, wait_for};
use fos_tests::site::{Site, program};
use serde_json::Value;

/// The findings of a doctor on the server's host.
#[track_caller]
fn examine(site: &Site, options: &[&str]) -> (bool, Vec<Value>) {
    let mut command = site.lab().host(1).command(program("fos-server"));
    command.arg("--data").arg(site.path("data"));
    command.args(["doctor", "--json"]).args(options);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    let is_ok = report["ok"].as_bool().unwrap();
    assert_eq!(
        output.status.code(),
        Some(if is_ok { 0 } else { 3 }),
        "{said}"
    );
    (is_ok, report["findings"].as_array().unwrap().clone())
}

fn codes(findings: &[Value]) -> Vec<&str> {
    findings
        .iter()
        .map(|finding| finding["code"].as_str().unwrap())
        .collect()
}

/// Exactly one cause, with evidence and advice.
#[track_caller]
fn only(site: &Site, code: &str) -> Value {
    let (is_ok, findings) = examine(site, &["--no-dhcp"]);
    assert!(!is_ok);
    assert_eq!(codes(&findings), [code], "{findings:#?}");
    assert!(!findings[0]["evidence"].as_array().unwrap().is_empty());
    assert!(!findings[0]["advice"].as_str().unwrap().is_empty());
    findings[0].clone()
}

#[track_caller]
fn well(site: &Site) {
    let (is_ok, findings) = examine(site, &["--no-dhcp"]);
    assert!(is_ok && findings.is_empty(), "{findings:#?}");
}

#[test]
fn a_server_that_is_well_has_no_causes_and_its_places_are_watched() {
    let Some(mut site) = Site::without_image(1) else {
        return;
    };
    site.start_server();
    well(&site);

    // The boot directory.
    let (kernel, away) = (site.path("boot/bzImage"), site.path("bzImage"));
    fs::rename(&kernel, &away).unwrap();
    only(&site, "boot-files");
    fs::rename(&away, &kernel).unwrap();

    // The image directory.
    let (images, away) = (site.path("images"), site.path("away"));
    fs::rename(&images, &away).unwrap();
    let found = only(&site, "images-unusable");
    let text = found["text"].as_str().unwrap();
    assert!(text.contains("does not exist"), "{text}");
    fs::rename(&away, &images).unwrap();

    // A packet filter that lets nothing out to groups.
    let host = site.lab().host(1);
    host.nft("add table inet d; add chain inet d o { type filter hook output priority 0; }; add rule inet d o ip daddr 224.0.0.0/4 drop");
    only(&site, "no-multicast");
    host.nft("delete table inet d");

    well(&site);
}

#[test]
fn programs_in_the_way_are_named_and_senders_are_ended() {
    let Some(mut site) = Site::without_image(1) else {
        return;
    };
    site.start_server();
    let mut command = site.lab().host(1).command("udp-sender");
    command
        .args([
            "--interface",
            "eth0",
            "--portbase",
            "63100",
            "--nokbd",
            "--min-receivers",
            "9",
        ])
        .arg("--file")
        .arg(site.path("boot/init.xz"));
    let mut sender = Running::start("udp-sender", &mut command, &site.path("sender.out"));
    wait_for("the port of the sender", || {
        site.lab().host(1).has_port(63101)
    });
    let found = only(&site, "leftover-senders");
    let evidence = found["evidence"][0].as_str().unwrap();
    assert!(evidence.contains("init.xz"), "{evidence}");
    let pid = sender.id().to_string();
    assert!(evidence.contains(&pid), "{evidence}");
    let ended = site.cli(&["senders", "--end"]).succeed();
    assert!(ended.contains("init.xz"), "{ended}");
    assert!(!sender.wait().success());
    well(&site);

    // Another program on a port of the sessions.
    let mut command = site.lab().host(1).command("udp-receiver");
    command.args(["--interface", "eth0", "--portbase", "63110", "--nokbd"]);
    command.args(["--mcast-rdv-address", "224.0.0.1"]);
    let holder = Running::start("udp-receiver", &mut command, &site.path("receiver.out"));
    wait_for("its port", || site.lab().host(1).has_port(63110));
    let found = only(&site, "session-ports-taken");
    assert!(found["evidence"][0].as_str().unwrap().contains("63110"));
    drop(holder);

    // The server is away, and another one has its port.
    site.server().signal("TERM");
    site.server().wait();
    only(&site, "server-not-running");
    let mut command = site.lab().host(1).command("busybox");
    command.args(["httpd", "-f", "-p", "10.99.0.1:80", "-h"]);
    command.arg(site.path("boot"));
    let _other = Running::start("httpd", &mut command, &site.path("httpd.out"));
    wait_for("the other server", || {
        let mut curl = site.lab().host(2).command("curl");
        let fetched = curl.args(["-sf", "http://10.99.0.1/bzImage"]).output();
        fetched.unwrap().status.success()
    });
    only(&site, "http-port-taken");
}

#[test]
fn cards_and_files_of_others_are_named() {
    let Some(mut site) = Site::without_image(1) else {
        return;
    };
    site.start_server();
    site.server().signal("TERM");
    site.server().wait();
    let expect = |wanted: &[&str]| {
        let (_, findings) = examine(&site, &["--no-dhcp"]);
        assert_eq!(codes(&findings), wanted, "{findings:#?}");
    };
    expect(&["server-not-running"]);

    // A command of root made a file before the service ran.
    let data = site.path("data");
    std::os::unix::fs::chown(&data, Some(990), Some(990)).unwrap();
    let (_, findings) = examine(&site, &["--no-dhcp"]);
    // Nor can the service write where the images are.
    let found = ["server-not-running", "foreign-files", "images-read-only"];
    assert_eq!(codes(&findings), found);
    std::os::unix::fs::chown(&data, Some(0), Some(0)).unwrap();

    // The server was told to use this card and this address.
    let host = site.lab().host(1);
    host.ip("link set eth0 down\n");
    expect(&["card-down", "server-not-running"]);
    host.ip("link set eth0 up\n");
    host.ip("addr flush dev eth0\n");
    expect(&["card-missing", "server-not-running"]);
    host.ip("addr add 10.99.0.77/24 dev eth0\n");
    expect(&["address-foreign", "server-not-running"]);
}

#[test]
fn dhcp_servers_are_counted() {
    let Some(mut site) = Site::without_image(2) else {
        return;
    };
    site.start_server();
    let (_, findings) = examine(&site, &[]);
    assert_eq!(codes(&findings), ["no-dhcp"], "{findings:#?}");
    let serve = |number: usize, first: Ipv4Addr, more: &str| {
        let host = site.lab().host(number);
        let file = site.path(&format!("dhcp{number}.conf"));
        let leases = site.path(&format!("dhcp{number}.leases"));
        let text = format!(
            "port=0\ninterface=eth0\nbind-interfaces\nno-ping\nuser=root\npid-file=\ndhcp-authoritative\n\
             dhcp-range={first},{first},1h\ndhcp-leasefile={}\n{more}\n",
            leases.display()
        );
        fs::write(&file, text).unwrap();
        let mut command = host.command("dnsmasq");
        command.args(["--keep-in-foreground", "--log-facility=-"]);
        command.arg(format!("--conf-file={}", file.display()));
        let name = format!("dnsmasq{number}");
        let running = Running::start(&name, &mut command, &site.path(&name));
        host.wait_for_port(67);
        running
    };
    let first = serve(2, Ipv4Addr::new(10, 99, 0, 100), "dhcp-boot=x,,10.99.0.1");
    let (is_ok, findings) = examine(&site, &[]);
    assert!(is_ok, "{findings:#?}");
    let _second = serve(3, Ipv4Addr::new(10, 99, 0, 200), "dhcp-boot=x,,10.99.0.9");
    let (_, findings) = examine(&site, &[]);
    assert_eq!(codes(&findings), ["several-dhcp"], "{findings:#?}");
    drop(first);
    let (_, findings) = examine(&site, &[]);
    assert_eq!(codes(&findings), ["boot-elsewhere"], "{findings:#?}");
}
