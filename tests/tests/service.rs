//! `fos-server` as a service: it is configured by a file, and the service manager hears how it is.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use fos_tests::netns::{Running, wait_for};
use fos_tests::site::{Site, program};

/// The next message that begins so; others are left out.
#[track_caller]
fn heard(manager: &UnixDatagram, wanted: &str) -> String {
    let mut bytes = [0; 500];
    loop {
        let len = manager.recv(&mut bytes).expect(wanted);
        let text = String::from_utf8(bytes[..len].to_vec()).unwrap();
        if text.starts_with(wanted) {
            return text;
        }
    }
}

#[test]
fn the_manager_hears_of_a_server_that_is_configured_by_a_file() {
    let Some(site) = Site::without_image(1) else {
        return;
    };
    let manager = UnixDatagram::bind(site.path("notify")).unwrap();
    manager
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let path = |name: &str| site.path(name).display().to_string();
    let config = site.path("config.toml");
    let text = format!(
        "data = \"{}\"\nimages = \"{}\"\nboot = \"{}\"\nlog = \"{}\"\nlisten = \"10.99.0.1:8080\"\n\
         interface = \"eth0\"\nhttp-connections = 77\n",
        path("data"),
        path("images"),
        path("boot"),
        path("log"),
    );
    fs::write(&config, &text).unwrap();
    let mut command = site.lab().host(1).command(program("fos-server"));
    command
        .arg("serve")
        .arg("--config")
        .arg(&config)
        .env("NOTIFY_SOCKET", site.path("notify"))
        .env("WATCHDOG_USEC", "200000");
    let mut server = Running::start("fos-server", &mut command, &site.path("server.out"));
    let ready = heard(&manager, "READY=1");
    assert!(ready.contains("http://10.99.0.1:8080/"), "{ready}");
    // It answers by then, and says so again and again.
    let mut get = site.lab().host(2).command("curl");
    get.args(["-sf", "http://10.99.0.1:8080/fog/index.php"]);
    assert!(get.output().unwrap().status.success());
    heard(&manager, "WATCHDOG=1");
    heard(&manager, "WATCHDOG=1");
    let log = site.path("log/multicast.log");
    wait_for("the log where the file says", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("at most 77 connections"))
    });
    // Other commands find the server by the same file.
    let mut status = site.lab().host(1).command(program("fos-server"));
    let status = status.arg("status").env("FOS_SERVER_CONFIG", &config);
    let status = status.output().unwrap();
    assert!(status.status.success(), "{status:?}");
    let said = String::from_utf8_lossy(&status.stderr).into_owned();
    assert!(!said.contains("No server is running"), "{said}");
    server.signal("TERM");
    heard(&manager, "STOPPING=1");
    assert!(server.wait().success());

    // A mistake in it ends the server with the status for wrong usage, after which it is not started again.
    fs::write(&config, text + "intreface = 1\n").unwrap();
    let mut command = site.lab().host(1).command(program("fos-server"));
    let output = command
        .arg("serve")
        .arg("--config")
        .arg(&config)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("line 8") && said.contains("interface?"),
        "{said}"
    );
}

/// The dnsmasq of a server, by the file that it reads.
fn dnsmasq_of(site: &Site) -> Option<i32> {
    let wanted = format!(
        "--conf-file={}",
        site.path("data/proxy-dhcp/dnsmasq.conf").display()
    );
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .find(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            words
                .next()
                .is_some_and(|program| program.ends_with(b"dnsmasq"))
                && words.any(|word| word == wanted.as_bytes())
        })
}

/// It answers a PXE client, gives it no address, serves what is next by TFTP, comes again when it is killed, and ends with
/// the server.
#[test]
fn proxy_dhcp_is_a_child_that_comes_again_and_ends_with_the_server() {
    let Some(mut site) = Site::without_image(1) else {
        return;
    };
    site.start_server_with(&["--proxy-dhcp"]);
    wait_for("dnsmasq", || dnsmasq_of(&site).is_some());
    let first = dnsmasq_of(&site).unwrap();
    let fetch = |name: &str| {
        let mut curl = site.lab().host(2).command("curl");
        curl.args(["-s", "--max-time", "20"]);
        let output = curl
            .arg(format!("tftp://10.99.0.1/{name}"))
            .output()
            .unwrap();
        output.status.success().then_some(output.stdout)
    };
    wait_for("the script by TFTP", || fetch("default.ipxe").is_some());
    let script = String::from_utf8(fetch("default.ipxe").unwrap()).unwrap();
    assert!(
        script.contains("chain http://10.99.0.1/fog/service/ipxe/boot.php?mac0="),
        "{script}"
    );
    let loader = fs::read("/usr/lib/ipxe/undionly.kpxe").unwrap();
    assert_eq!(fetch("undionly.kpxe").unwrap(), loader);

    // A PXE client of a BIOS asks; busybox takes no answer without an address.
    let mut client = site.lab().host(2).command("busybox");
    client.args([
        "udhcpc",
        "-f",
        "-n",
        "-q",
        "-i",
        "eth0",
        "-t",
        "2",
        "-T",
        "1",
        "-s",
        "/bin/true",
    ]);
    client.args(["-V", "PXEClient:Arch:00000:UNDI:002001", "-x", "0x5d:0000"]);
    assert!(!client.output().unwrap().status.success());
    site.server().wait_for_message("PXE(eth0)");

    nix::sys::signal::kill(nix::unistd::Pid::from_raw(first), nix::sys::signal::SIGKILL).unwrap();
    wait_for("another dnsmasq", || {
        dnsmasq_of(&site).is_some_and(|now| now != first)
    });
    site.server().signal("TERM");
    assert!(site.server().wait().success());
    wait_for("the end of dnsmasq", || dnsmasq_of(&site).is_none());
}
