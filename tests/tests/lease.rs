//! The script that sets up what a DHCP server gives, with a stand-in for busybox.
//!
//! Not among the agent's own tests: a process that is being started holds open files of all threads
//! for a moment, and with them the locks that those tests are about.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::process::Command;

const SCRIPT_TEXT: &str = include_str!("../../initramfs/skeleton/etc/udhcpc.script");

/// Runs the script in a directory of its own, with a program in place of busybox that only
/// touches files and fails to set the address `192.0.2.66`. Answers lease and troubles.
fn bound(ip: &str, mask: &str) -> (Option<String>, Option<String>) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let stub = "#!/bin/sh\ncase \"$*\" in\n\
        'ip addr replace 192.0.2.66'*) echo 'RTNETLINK answers: no' >&2; exit 2 ;;\n\
        ip*) exit 0 ;;\n*) exec \"$@\" ;;\nesac\n";
    fs::write(at("busybox"), stub).unwrap();
    let script = SCRIPT_TEXT
        .replace(
            "\nbusybox=/bin/busybox\n",
            &format!("\nbusybox='sh {}'\n", at("busybox")),
        )
        .replace("/run/fos-agent", &at("state"))
        .replace("/etc/resolv.conf", &at("resolv.conf"))
        .replace("/dev/kmsg", &at("kmsg"));
    fs::write(at("script"), script).unwrap();
    let status = Command::new("sh")
        .arg(at("script"))
        .arg("bound")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .envs([("interface", "eth0"), ("ip", ip), ("mask", mask)])
        .status()
        .unwrap();
    assert!(status.success());
    let read = |name: &str| fs::read_to_string(dir.path().join("state").join(name)).ok();
    let troubles = read("trouble.eth0");
    if troubles.is_some() {
        let kmsg = fs::read_to_string(at("kmsg")).unwrap();
        assert!(kmsg.starts_with("udhcpc.script: eth0: "), "{kmsg}");
    }
    (read("lease.eth0"), troubles)
}

#[test]
fn the_script_leaves_a_lease_only_for_an_address_that_is_set() {
    let (lease, troubles) = bound("192.0.2.7", "23");
    let lease = lease.unwrap();
    assert!(lease.starts_with("ip=192.0.2.7\nmask=23\n"), "{lease}");
    assert_eq!(troubles, None);

    let (lease, troubles) = bound("192.0.2.66", "24");
    assert_eq!(lease, None);
    let troubles = troubles.unwrap();
    assert!(
        troubles.contains("192.0.2.66/24 cannot be set: RTNETLINK"),
        "{troubles}"
    );

    for mask in ["0", "33", "255.255.255.0", "24 dev lo", "-1"] {
        let (lease, troubles) = bound("192.0.2.7", mask);
        assert_eq!(lease, None, "{mask}");
        assert!(troubles.unwrap().contains(mask), "{mask}");
    }
}

#[test]
fn a_mask_that_is_missing_follows_from_the_address() {
    for (ip, expected) in [
        ("9.0.0.1", 8),
        ("10.0.0.7", 8),
        ("126.1.1.1", 8),
        ("128.0.0.1", 16),
        ("172.16.0.9", 16),
        ("191.255.0.1", 16),
        ("192.168.1.2", 24),
        ("203.0.113.1", 24),
    ] {
        let (lease, troubles) = bound(ip, "");
        let expected = format!("ip={ip}\nmask={expected}\n");
        assert!(lease.unwrap().starts_with(&expected), "{ip}");
        assert!(troubles.unwrap().contains("no network mask"));
    }
}
