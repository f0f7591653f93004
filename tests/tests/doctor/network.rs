//! From the link to the address.

use fos_tests::netns::{Running, wait_for};

use super::{Clinic, WEB, check, codes, native, report};

#[test]
fn nothing_is_named_when_all_is_well() {
    let Some(clinic) = Clinic::with(native) else {
        return;
    };
    let report = clinic.examine(WEB, &[]);
    assert_eq!(codes(&report), [""; 0], "{report:#}");
    for name in [
        "link", "counters", "dhcp", "address", "server", "path", "clock", "disks", "memory",
    ] {
        assert_eq!(check(&report, name).0, "fine", "{report:#}");
    }
    let (_, path) = check(&report, "path");
    assert!(path.contains("1500 bytes"), "{path}");
    let (_, server) = check(&report, "server");
    assert!(
        server.contains("directly by eth0") && server.contains("a fos-server"),
        "{server}"
    );
    // Without the name of a server there is less to look at, and nothing wrong either.
    let report = clinic.examine("", &["--interface", "eth0"]);
    assert_eq!(codes(&report), [""; 0], "{report:#}");
    assert_eq!(check(&report, "server").0, "skipped", "{report:#}");
}

#[test]
fn a_cable_that_is_out_is_named_alone() {
    let Some(clinic) = Clinic::with(native) else {
        return;
    };
    clinic.lab.host(2).plug(false);
    let found = clinic.find(WEB, &["--interface", "eth0"]);
    assert_eq!(found, ["no-link"]);
    clinic.lab.host(2).plug(true);
    assert_eq!(clinic.find(WEB, &["--interface", "eth0"]), [""; 0]);
}

#[test]
fn a_cable_that_was_moved_often_is_named() {
    let Some(clinic) = Clinic::with(native) else {
        return;
    };
    let host = clinic.lab.host(2);
    let changes = || {
        let path = "/sys/class/net/eth0/carrier_changes";
        let output = host.command("cat").arg(path).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.trim().parse::<u32>().unwrap()
    };
    // The kernel may take two changes that are close for none.
    wait_for("20 changes of the link", || {
        for is_in in [false, true] {
            let before = changes();
            host.plug(is_in);
            wait_for("a change of the link", || changes() > before);
        }
        changes() >= 20
    });
    assert_eq!(
        clinic.find(WEB, &["--interface", "eth0"]),
        ["unsteady-link"]
    );
}

#[test]
fn a_port_that_passes_nothing_is_named_whatever_else_fails() {
    let Some(mut clinic) = Clinic::with(native) else {
        return;
    };
    clinic.chatter();
    clinic.lab.host(2).set_port("state 0");
    assert_eq!(clinic.find(WEB, &[]), ["silent-port"]);
    clinic.lab.host(2).ip("addr flush dev eth0\n");
    let found = clinic.find(WEB, &["--interface", "eth0"]);
    assert_eq!(found, ["silent-port"]);
}

#[test]
fn a_card_that_sends_nothing_is_told_from_a_silent_port() {
    let Some(clinic) = Clinic::with(native) else {
        return;
    };
    clinic.lab.host(2).set_port("state 0");
    // It takes frames and sends none.
    clinic.lab.host(2).nft(
        "add table netdev hang
         add chain netdev hang e { type filter hook egress device eth0 priority 0; }
         add rule netdev hang e drop\n",
    );
    assert_eq!(clinic.find(WEB, &[]), ["hung-card"]);
}

#[test]
fn a_port_that_passes_something_only_later_is_spanning_tree() {
    let Some(mut clinic) = Clinic::with(native) else {
        return;
    };
    clinic.chatter();
    // It forwards nothing.
    clinic.lab.host(2).set_port("state 0");
    let disk = clinic.path("disk").display().to_string();
    let mut command = clinic.command(WEB, &["--patience", "80", "--disk", &disk]);
    let mut doctor = Running::start("doctor", &mut command, &clinic.path("report"));
    doctor.wait_for_message("looking again");
    // It forwards.
    clinic.lab.host(2).set_port("state 3");
    let report = report(&mut doctor);
    assert_eq!(codes(&report), ["late-answer"], "{report:#}");
}

#[test]
fn a_network_without_dhcp_is_named() {
    let Some(mut clinic) = Clinic::with(native) else {
        return;
    };
    clinic.chatter();
    clinic.lab.host(2).ip("addr flush dev eth0\n");
    assert_eq!(clinic.find(WEB, &["--interface", "eth0"]), ["no-dhcp"]);
    // An address of the machine's own invention.
    clinic.lab.host(2).ip("addr add 169.254.7.7/16 dev eth0\n");
    assert_eq!(clinic.find(WEB, &["--interface", "eth0"]), ["no-dhcp"]);
}

/// A DHCP server on host `number` that gives addresses from `first` on.
fn serve_dhcp(clinic: &mut Clinic, number: usize, first: &str, router: &str) {
    let leases = clinic.path(&format!("leases{number}"));
    let range = format!("{first},{}9,255.255.255.0,1h", first);
    let mut command = clinic.lab.host(number).command("dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0"]);
    command.args([
        "--interface=eth0",
        "--no-ping",
        "--log-facility=-",
        "--user=root",
    ]);
    command.args(["--pid-file=", "--leasefile-ro"]);
    command.arg(format!("--dhcp-leasefile={}", leases.display()));
    command.arg(format!("--dhcp-range={range}"));
    command.arg(format!("--dhcp-option=option:router,{router}"));
    clinic.run(&format!("dnsmasq{number}"), &mut command);
    clinic.lab.host(number).wait_for_port(67);
}

#[test]
fn a_second_dhcp_server_is_named_if_it_contradicts_the_first() {
    let Some(mut clinic) = Clinic::with(native) else {
        return;
    };
    serve_dhcp(&mut clinic, 1, "10.99.0.10", "10.99.0.1");
    let report = clinic.examine(WEB, &[]);
    assert_eq!(codes(&report), [""; 0], "{report:#}");
    let (_, offers) = check(&report, "dhcp");
    assert!(
        offers.starts_with("DHCP server 10.99.0.1 offers 10.99.0."),
        "{offers}"
    );
    // A machine that did not take what it is offered.
    clinic.lab.host(2).ip("addr flush dev eth0\n");
    assert_eq!(clinic.find(WEB, &["--interface", "eth0"]), ["no-address"]);
    clinic
        .lab
        .host(2)
        .ip("addr add 10.99.0.2/24 brd + dev eth0\n");

    // A pair that agrees is one service.
    serve_dhcp(&mut clinic, 3, "10.99.0.11", "10.99.0.1");
    let report = clinic.examine(WEB, &[]);
    assert_eq!(codes(&report), [""; 0], "{report:#}");
    let (_, offers) = check(&report, "dhcp");
    assert!(offers.contains("DHCP server 10.99.0.3"), "{offers}");

    clinic.running.pop();
    clinic
        .lab
        .host(3)
        .ip("addr add 192.168.1.1/24 brd + dev eth0\naddr del 10.99.0.3/24 dev eth0\n");
    serve_dhcp(&mut clinic, 3, "192.168.1.10", "192.168.1.1");
    let report = clinic.examine(WEB, &[]);
    assert_eq!(codes(&report), ["second-dhcp"], "{report:#}");
    let seen = report["findings"][0]["evidence"].to_string();
    assert!(
        seen.contains("10.99.0.1 offers") && seen.contains("192.168.1.1 offers"),
        "{seen}"
    );
}
