//! DHCP with real servers: the client that takes the answers of one server alone, the rules in the README, and the
//! network of a booted client with slow ports and several cards.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use fos_tests::netns::{Host, Lab, Running, wait_for};
use fos_tests::site::program;

const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../initramfs/skeleton/etc/udhcpc.script"
);

/// Starts dnsmasq on a card of a host, with these lines in its configuration.
fn dnsmasq_on(card: &str, host: &Host, dir: &Path, name: &str, lines: &str) -> Running {
    let config = dir.join(format!("{name}.conf"));
    let leases = dir.join(format!("{name}.leases"));
    let text = format!(
        "port=0\ninterface={card}\nbind-interfaces\nno-resolv\nno-hosts\nno-ping\nuser=root\npid-file=\n\
         dhcp-authoritative\ndhcp-leasefile={}\n{lines}\n",
        leases.display()
    );
    fs::write(&config, text).unwrap();
    let mut command = host.command("dnsmasq");
    command.arg("--keep-in-foreground").arg("--log-facility=-");
    command.arg(format!("--conf-file={}", config.display()));
    let running = Running::start(name, &mut command, &dir.join(name));
    host.wait_for_port(67);
    running
}

/// The same on its first card.
fn dnsmasq(host: &Host, dir: &Path, name: &str, lines: &str) -> Running {
    dnsmasq_on("eth0", host, dir, name, lines)
}

/// Addresses of a card.
fn addresses(host: &Host, card: &str) -> Vec<Ipv4Addr> {
    let mut command = host.command("ip");
    let output = command
        .args(["-4", "-o", "addr", "show", "dev", card])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    let inet = words.windows(2).filter(|pair| pair[0] == "inet");
    inet.filter_map(|pair| pair[1].split('/').next()?.parse().ok())
        .collect()
}

fn hardware_address(host: &Host, card: &str) -> String {
    let path = format!("/sys/class/net/{card}/address");
    let output = host.command("cat").arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Two servers give addresses of the same network; whichever answers first, the chosen one counts.
#[test]
fn the_address_comes_from_the_chosen_server() {
    let Some(lab) = Lab::new(3, &["dnsmasq", "busybox"]) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let _first = dnsmasq(
        lab.host(1),
        dir.path(),
        "first",
        "dhcp-range=10.99.0.100,10.99.0.110,1h",
    );
    let _second = dnsmasq(
        lab.host(2),
        dir.path(),
        "second",
        "dhcp-range=10.99.0.200,10.99.0.210,1h",
    );
    let client = lab.host(3);
    let mac = hardware_address(client, "eth0");
    client.ip("addr flush dev eth0\n");
    for (server, range) in [("10.99.0.2", 200..=210), ("10.99.0.1", 100..=110)] {
        // As in a boot image: the script, and nothing of this machine's own settings is touched.
        let line = format!(
            "mount -t tmpfs none /run && cp {SCRIPT} /run/script && mount -t tmpfs none /etc && cp /run/script /etc/udhcpc.script && \
             exec {} dhcp-client --interface eth0 --mac {} --server {server}",
            program("fos-agent").display(),
            mac
        );
        let mut command = client.command("sh");
        command.arg("-c").arg(line);
        let running = Running::start("dhcp-client", &mut command, &dir.path().join(server));
        wait_for(&format!("an address of {server}"), || {
            let found = addresses(client, "eth0");
            found.len() == 1 && range.contains(&found[0].octets()[3])
        });
        drop(running);
    }
}

/// What each kind of firmware gets by the rules of the README: PXE clients say which they are with option 93
/// (RFC 4578), iPXE with its own option 175.
#[test]
fn the_rules_of_the_readme_give_each_firmware_its_own_file() {
    let Some(lab) = Lab::new(2, &["dnsmasq", "busybox"]) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let readme = include_str!("../../README.md");
    let (_, rules) = readme.split_once("    enable-tftp\n").unwrap();
    let (rules, _) = rules.split_once("\n\n").unwrap();
    let rules: Vec<&str> = rules.lines().map(str::trim).collect();
    assert!(
        rules.iter().any(|rule| rule.starts_with("dhcp-boot=")),
        "{rules:?}"
    );
    // The files are not fetched here.
    let rules = rules.iter().filter(|rule| !rule.starts_with("tftp-root="));
    let lines: Vec<String> = rules
        .map(|rule| rule.replace("10.0.0.", "10.99.0."))
        .collect();
    let _server = dnsmasq(lab.host(1), dir.path(), "server", &lines.join("\n"));

    let script = dir.path().join("script");
    let told = dir.path().join("told");
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = bound ] && echo \"file=$boot_file$bootfile\" > {}\nexit 0\n",
        told.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let client = lab.host(2);
    let file = |arch: &str, is_ipxe: bool| {
        let mut command = client.command("busybox");
        command.args(["udhcpc", "-f", "-q", "-n", "-i", "eth0", "-s"]);
        command.arg(&script).args(["-x", &format!("0x5d:{arch}")]);
        if is_ipxe {
            command.args(["-x", "0xaf:0101"]);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        fs::read_to_string(&told).unwrap().trim().to_owned()
    };
    for (arch, is_ipxe, expected) in [
        ("0000", false, "file=undionly.kpxe"),
        ("0007", false, "file=snponly.efi"),
        ("0009", false, "file=snponly.efi"),
        // UEFI of 64 bits over HTTP, and ARM: nothing here is for them.
        ("0010", false, "file="),
        ("000b", false, "file="),
        ("0000", true, "file=default.ipxe"),
        ("0007", true, "file=default.ipxe"),
    ] {
        assert_eq!(file(arch, is_ipxe), expected, "{arch}");
    }
}

/// A web server that has FOG's first page, on all addresses of a host.
fn web(host: &Host, dir: &Path) -> Running {
    let root = dir.join("www");
    fs::create_dir_all(root.join("fog")).unwrap();
    fs::write(root.join("fog/index.php"), "FOG\n").unwrap();
    let mut command = host.command("busybox");
    command.args(["httpd", "-f", "-p", "80", "-h"]).arg(&root);
    let running = Running::start("httpd", &mut command, &dir.join("httpd"));
    wait_for("the web server", || {
        let mut command = host.command("cat");
        let output = command.args(["/proc/net/tcp", "/proc/net/tcp6"]).output();
        // Port 80, and its state is "listening".
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        text.lines().any(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.get(1).is_some_and(|local| local.ends_with(":0050"))
                && words.get(3) == Some(&"0A")
        })
    });
    running
}

/// The network of a booted client, with these of the host's interfaces as its cards. The interfaces of a namespace have
/// no device, so the files of sysfs are given one.
fn bring_up(host: &Host, dir: &Path, cards: &str, arguments: &str) -> Running {
    let line = format!(
        "set -e
         mount -t tmpfs none /run
         cp {SCRIPT} /run/script
         mount -t tmpfs none /etc
         cp /run/script /etc/udhcpc.script
         mkdir /run/sys
         mount -t sysfs none /run/sys
         for card in {cards}; do
             mkdir -p /run/net/$card/device
             for file in type address ifindex carrier; do
                 ln -s /run/sys/class/net/$card/$file /run/net/$card/$file
             done
         done
         mount --bind /run/net /sys/class/net
         exec {} run --network-only --cmdline '{arguments}'",
        program("fos-agent").display()
    );
    let mut command = host.command("sh");
    command.arg("-c").arg(line);
    Running::start("run", &mut command, &dir.join("run"))
}

const WEB: &str = "web=http://10.99.0.1/fog/";

/// What it has said, when it has reached the server.
#[track_caller]
fn reached(client: &mut Running) -> String {
    let status = client.wait();
    let said = client.output();
    assert!(status.success(), "{status}:\n{said}");
    said
}

/// Spanning tree as a switch has it: listening and learning, each for 4 s here.
#[test]
fn a_port_that_forwards_only_later_is_waited_for() {
    let Some(lab) = Lab::new(2, &["dnsmasq", "busybox"]) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let _web = web(lab.host(1), dir.path());
    let range = "dhcp-range=10.99.0.100,10.99.0.109,1h";
    let _dhcp = dnsmasq(lab.host(1), dir.path(), "first", range);
    let client = lab.host(2);
    client.ip("addr flush dev eth0\n");
    client.plug(false);
    lab.set_switch("stp_state 1 forward_delay 400");
    let mut running = bring_up(client, dir.path(), "eth0", WEB);
    wait_for("a wait for the link", || {
        running.output().contains("a link on eth0")
    });
    client.plug(true);
    wait_for("the link", || running.output().contains("link is up"));
    let state = lab.port_state(2);
    assert!(
        ["listening", "learning"].contains(&state.as_str()),
        "{state}"
    );
    let said = reached(&mut running);
    assert!(
        said.contains("eth0: address 10.99.0.10") && said.contains("from DHCP server 10.99.0.1"),
        "{said}"
    );
    assert_eq!(lab.port_state(2), "forwarding");
}

/// The card that leads to the server becomes the last one, and none has an address.
fn rename_cards(client: &Host) {
    client.ip(
        "addr flush dev eth0\nlink set eth0 down\nlink set eth1 down\n\
         link set eth0 name lan9\nlink set eth1 name lan1\n",
    );
}

/// Two cards have a link and an answer by DHCP; that of the first one does not lead to the server.
#[test]
fn the_card_that_leads_to_the_server_is_found() {
    let Some(lab) = Lab::new(3, &["dnsmasq", "busybox"]) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let _web = web(lab.host(1), dir.path());
    // Another network, whose router knows no way to the server.
    lab.add_cable(2, "eth1", "br1");
    lab.add_cable(3, "eth1", "br1");
    lab.host(3)
        .ip("addr flush dev eth0\naddr add 10.77.0.1/24 dev eth1\nlink set eth1 up\n");
    let wrong = "dhcp-range=10.77.0.100,10.77.0.110,1h";
    let _wrong = dnsmasq_on("eth1", lab.host(3), dir.path(), "wrong", wrong);
    let client = lab.host(2);
    rename_cards(client);
    let mut running = bring_up(client, dir.path(), "lan1 lan9", WEB);
    // The right one answers only when the wrong one has its turn.
    wait_for("an address of the wrong network", || {
        addresses(client, "lan1").len() == 1
    });
    let right = "dhcp-range=10.99.0.100,10.99.0.110,1h";
    let _right = dnsmasq(lab.host(1), dir.path(), "right", right);
    let said = reached(&mut running);
    assert!(
        said.contains("lan1: with its address the server was not reached"),
        "{said}"
    );
    assert!(said.contains("lan9: address 10.99.0.1"), "{said}");
    // Its address is not left behind.
    assert_eq!(addresses(client, "lan1"), [Ipv4Addr::UNSPECIFIED; 0]);
    assert_eq!(addresses(client, "lan9").len(), 1);
}

/// A card with a link where nobody answers does not keep the other one; and FOG 1.5 names the first card as the one that
/// is to have the address of the task.
#[test]
fn a_silent_card_keeps_nobody_and_no_address_is_changed_by_setmacto() {
    let Some(lab) = Lab::new(2, &["dnsmasq", "busybox"]) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let _web = web(lab.host(1), dir.path());
    let range = "dhcp-range=10.99.0.100,10.99.0.110,1h";
    let _dhcp = dnsmasq(lab.host(1), dir.path(), "right", range);
    lab.add_cable(2, "eth1", "br1");
    let client = lab.host(2);
    rename_cards(client);
    let [silent, right] = ["lan1", "lan9"].map(|card| hardware_address(client, card));
    let arguments = format!("{WEB} mac={silent} setmacto={silent}");
    let said = reached(&mut bring_up(client, dir.path(), "lan1 lan9", &arguments));
    assert!(said.contains("lan1: no DHCP answer in"), "{said}");
    assert!(said.contains("lan9: address 10.99.0.1"), "{said}");
    let note = format!("lan9: setmacto={silent} belongs to another card; {right} stays");
    assert!(said.contains(&note), "{said}");
    assert_eq!(hardware_address(client, "lan9"), right);
    assert_eq!(hardware_address(client, "lan1"), silent);
}
