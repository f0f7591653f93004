//! DHCP with real servers: the client that takes the answers of one server alone, and the rules in the README.

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

/// Starts dnsmasq on a host with these lines in its configuration.
fn dnsmasq(host: &Host, dir: &Path, name: &str, lines: &str) -> Running {
    let config = dir.join(format!("{name}.conf"));
    let leases = dir.join(format!("{name}.leases"));
    let text = format!(
        "port=0\ninterface=eth0\nbind-interfaces\nno-resolv\nno-hosts\nno-ping\nuser=root\npid-file=\n\
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

/// Addresses of `eth0`.
fn addresses(host: &Host) -> Vec<Ipv4Addr> {
    let mut command = host.command("ip");
    let output = command
        .args(["-4", "-o", "addr", "show", "dev", "eth0"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    let inet = words.windows(2).filter(|pair| pair[0] == "inet");
    inet.filter_map(|pair| pair[1].split('/').next()?.parse().ok())
        .collect()
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
    let mac = client
        .command("cat")
        .arg("/sys/class/net/eth0/address")
        .output()
        .unwrap();
    let mac = String::from_utf8(mac.stdout).unwrap();
    client.ip("addr flush dev eth0\n");
    for (server, range) in [("10.99.0.2", 200..=210), ("10.99.0.1", 100..=110)] {
        // As in a boot image: the script, and nothing of this machine's own settings is touched.
        let line = format!(
            "mount -t tmpfs none /run && cp {SCRIPT} /run/script && mount -t tmpfs none /etc && cp /run/script /etc/udhcpc.script && \
             exec {} dhcp-client --interface eth0 --mac {} --server {server}",
            program("fos-agent").display(),
            mac.trim()
        );
        let mut command = client.command("sh");
        command.arg("-c").arg(line);
        let running = Running::start("dhcp-client", &mut command, &dir.path().join(server));
        wait_for(&format!("an address of {server}"), || {
            let found = addresses(client);
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
