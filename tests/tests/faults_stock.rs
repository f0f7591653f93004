//! Who may speak for a host, and how the original programs end when a session ends under them.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::os::unix::fs::FileExt as _;

use fos_tests::netns::{Running, wait_for};
use fos_tests::site::{DISK_LEN, PARTITIONS, Site, assert_deployed, mac, source};

/// Slow enough that a test can act while data flows.
const SLOW: [&str; 2] = ["--max-bitrate", "20m"];

fn slow_site(clients: u8) -> Option<Site> {
    site_with(clients, &SLOW)
}

fn site_with(clients: u8, options: &[&str]) -> Option<Site> {
    let mut site = Site::without_image(clients)?;
    site.start_server_with(options);
    site.cli(&["image", "add", "small"]).succeed();
    Some(site)
}

/// What FOG's client sends, with the MAC address of `host`, from the machine of `client`.
fn ask(site: &Site, client: u8, host: u8, endpoint: &str, more: &str) -> String {
    let form = format!("sysuuid=&mac={}{more}", mac(host));
    site.post(client, &format!("service/{endpoint}"), &form)
}

fn ticket(arguments: &str) -> String {
    let found = arguments
        .split(' ')
        .find_map(|word| word.strip_prefix("fosticket="));
    format!("&ticket={}", found.unwrap())
}

#[test]
fn a_client_in_its_check_in_loop_does_not_get_another_image() {
    let Some(site) = Site::new(1) else { return };
    let other = site.path("images/other");
    fs::create_dir(&other).unwrap();
    for file in fs::read_dir(site.path("images/small")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), other.join(file.file_name())).unwrap();
    }
    site.cli(&["image", "add", "other"]).succeed();
    let wrong = site.deploy(&["pc1"], &[]);
    let _arguments = site.kernel_arguments(1);
    site.cli(&["cancel", &wrong]).succeed();
    let check_in = || ask(&site, 1, 1, "mc_checkin.php", "&type=down");
    let said = check_in();
    assert!(said.contains("cancelled"), "{said}");

    let right = site.cli(&["deploy", "other", "pc1"]).succeed();
    let right = right.trim();
    for _ in 0..2 {
        let said = check_in();
        assert!(said.starts_with("Restart this machine"), "{said}");
    }
    assert_eq!(site.status(right)["checked_in"], 0);
    // A restart fetches the present boot script.
    let _arguments = site.kernel_arguments(1);
    assert_eq!(check_in(), "##@GO");
    assert_eq!(site.status(right)["checked_in"], 1);
}

/// A stock client's pipeline that is cut off in mid-stream fails by itself.
fn ends_by_itself(mut stock: Running) {
    let status = stock.wait();
    assert!(!status.success(), "{status}: {}", stock.messages());
}

#[test]
fn stock_clients_of_a_cancelled_session_fail_and_do_not_hang() {
    let Some(site) = slow_site(2) else { return };
    let session = site.deploy(&["pc1", "pc2"], &[]);
    let stock = site.start_stock_client(1);
    let disk = site.empty_disk("b.raw", DISK_LEN);
    let agent = site.start_agent(2, &disk);
    site.wait_for_data(&session, 2, 1);
    site.cli(&["cancel", &session]).succeed();
    ends_by_itself(stock);
    let said = fos_tests::site::failed(agent);
    assert!(said.to_lowercase().contains("cancel"), "{said}");
    site.wait_for_state(&session, "cancelled");
    for host in ["pc1", "pc2"] {
        assert_eq!(site.host_status(&session, host).0, "cancelled");
    }
    // Nothing of the session is left on the network: the next one gets its ports.
    wait_for("the ports to be free", || {
        !site.lab().host(1).has_port(63100) && !site.lab().host(1).has_port(63101)
    });
}

#[test]
fn stock_clients_of_a_failed_sender_fail_and_do_not_hang() {
    let Some(site) = slow_site(1) else { return };
    let session = site.deploy(&["pc1"], &[]);
    let stock = site.start_stock_client(1);
    site.wait_for_data(&session, 2, 1);
    let image = site.stored("d1p2.img");
    let file = fs::File::options().write(true).open(image).unwrap();
    file.set_len(4 << 20).unwrap();
    ends_by_itself(stock);
    let text = site.wait_for_state(&session, "failed");
    assert!(text.contains("d1p2.img"), "{text}");
    let (state, text) = site.host_status(&session, "pc1");
    assert_eq!(state, "failed", "{text}");
}

/// A receiver that is connected waits for ever for the start, as FOG gives it no time-out.
#[test]
fn stock_clients_at_the_rendezvous_of_a_cancelled_session_fail_and_do_not_hang() {
    let Some(site) = Site::new(2) else { return };
    let session = site.deploy(&["pc1", "pc2"], &[]);
    let stock = site.start_stock_client(1);
    wait_for("the stock client to be connected", || {
        site.status(&session)["connected"] == 1
    });
    site.cli(&["cancel", &session]).succeed();
    ends_by_itself(stock);
    let (state, text) = site.host_status(&session, "pc1");
    assert_eq!(state, "cancelled");
    assert!(text.contains("may not be complete"), "{text}");
    wait_for("the ports to be free", || {
        !site.lab().host(1).has_port(63100) && !site.lab().host(1).has_port(63101)
    });
}

/// It has no time-out, and must not be taken along when the others start.
#[test]
fn one_stock_client_that_is_cancelled_at_the_rendezvous_fails_alone() {
    let Some(site) = Site::new(2) else { return };
    let session = site.deploy(&["pc1", "pc2"], &[]);
    let cancelled = site.start_stock_client(1);
    wait_for("the stock client to be connected", || {
        site.status(&session)["connected"] == 1
    });
    site.cli(&["cancel", &session, "--host", "pc1"]).succeed();
    ends_by_itself(cancelled);
    site.start_stock_client(2).succeed();
    assert_eq!(site.host_status(&session, "pc1").0, "cancelled");
    let taken = fs::read(site.path("pc1-stock1.raw")).unwrap();
    assert!(taken.iter().all(|byte| *byte == 0), "its disk was written");
}

#[test]
fn one_stock_client_that_is_cancelled_in_mid_stream_fails_alone() {
    // The command has to come before the last byte, also on a busy machine.
    let Some(site) = site_with(2, &["--max-bitrate", "6m"]) else {
        return;
    };
    let session = site.deploy(&["pc1", "pc2"], &[]);
    let cancelled = site.start_stock_client(1);
    let mut other = site.start_stock_client(2);
    site.wait_for_data(&session, 2, 1);
    site.cli(&["cancel", &session, "--host", "pc1"]).succeed();
    ends_by_itself(cancelled);
    other.succeed();
    assert_eq!(site.host_status(&session, "pc1").0, "cancelled");
    let (start, len) = PARTITIONS[1];
    let mut expected = vec![0; usize::try_from(len * 512).unwrap()];
    let disk = fs::File::open(source().join("disk.raw")).unwrap();
    disk.read_exact_at(&mut expected, start * 512).unwrap();
    let whole = fs::read(site.path("pc2-stock2.raw")).unwrap();
    assert!(whole == expected, "the other one is not as the source");
}

/// FOG's client writes the partition table between the answer to its check-in and the rendezvous, and has no
/// time-out there.
#[test]
fn a_stock_client_that_comes_after_the_end_fails_and_keeps_no_port() {
    let Some(site) = Site::new(1) else { return };
    let session = site.deploy(&["pc1"], &[]);
    let _arguments = site.kernel_arguments(1);
    assert_eq!(ask(&site, 1, 1, "mc_checkin.php", "&type=down"), "##@GO");
    site.cli(&["cancel", &session]).succeed();
    let receive = || {
        let mut command = site.lab().host(2).command("udp-receiver");
        command.args(["--nokbd", "--portbase", "63100", "--ttl", "32"]);
        command.args(["--mcast-rdv-address", "10.99.0.1", "--file"]);
        command.arg(site.path("received"));
        Running::start("udp-receiver", &mut command, &site.path("receiver.out"))
    };
    ends_by_itself(receive());
    // The next session has the port at once.
    let next = site.deploy(&["pc1"], &[]);
    assert_eq!(site.status(&next)["port"], 63100);
    let stock = site.start_stock_client(1);
    site.wait_for_state(&next, "complete");
    drop(stock);
}

#[test]
fn stock_clients_of_a_server_that_ends_fail_and_do_not_hang() {
    let Some(mut site) = slow_site(1) else { return };
    let session = site.deploy(&["pc1"], &[]);
    let stock = site.start_stock_client(1);
    site.wait_for_data(&session, 2, 1);
    site.server().signal("TERM");
    let status = site.server().wait();
    assert!(status.success(), "{status}");
    ends_by_itself(stock);
    site.start_server_with(&[]);
    let text = site.wait_for_state(&session, "failed");
    assert!(text.contains("the server stopped"), "{text}");
    assert_eq!(site.host_reason(&session, "pc1"), "server-stopped");
}

#[test]
fn strangers_change_nothing_of_a_running_session() {
    let Some(site) = slow_site(2) else { return };
    let session = site.deploy(&["pc1"], &[]);
    let arguments = site.kernel_arguments(1);
    let disk = site.empty_disk("a.raw", DISK_LEN);
    let mut agent = site.start_agent_with(1, &disk, &arguments);
    site.wait_for_data(&session, 2, 1);
    // Without the ticket, and with it: neither is the machine that checked in.
    for ticket in [String::new(), ticket(&arguments)] {
        for (endpoint, more) in [
            ("Post_Stage3.php", "&type=down"),
            ("taskerror.php", "&type=error&text=forged"),
            ("blame.php", ""),
            ("mc_checkin.php", "&type=down"),
        ] {
            let said = ask(&site, 2, 1, endpoint, &format!("{more}{ticket}"));
            assert!(!said.contains("##"), "{endpoint}: {said}");
            assert_eq!(
                site.host_status(&session, "pc1").0,
                "in-progress",
                "{endpoint}"
            );
        }
    }
    let report = site.report(&session);
    assert!(
        report.contains("ignored a report from 10.99.0.3"),
        "{report}"
    );
    assert!(report.contains("forged"), "{report}");
    agent.succeed();
    assert_deployed(&disk);
    site.wait_for_state(&session, "complete");
    assert_eq!(site.host_reason(&session, "pc1"), "written");
}

#[test]
fn a_failure_that_is_reported_after_the_completion_counts() {
    let Some(site) = Site::new(2) else { return };
    let session = site.deploy(&["pc1"], &[]);
    let arguments = site.kernel_arguments(1);
    let disk = site.empty_disk("a.raw", DISK_LEN);
    site.start_agent_with(1, &disk, &arguments).succeed();
    site.wait_for_state(&session, "complete");
    let failure = "&type=error&text=the+disk+does+not+boot";
    // Not from elsewhere, not even with its ticket.
    let forged = format!("{failure}{}", ticket(&arguments));
    let said = ask(&site, 2, 1, "taskerror.php", &forged);
    assert!(said.contains("already takes part"), "{said}");
    assert_eq!(site.host_status(&session, "pc1").0, "complete");
    let said = ask(
        &site,
        1,
        1,
        "taskerror.php",
        &format!("{failure}{}", ticket(&arguments)),
    );
    assert_eq!(said, "##");
    let text = site.wait_for_state(&session, "failed");
    assert!(text.contains("does not boot"), "{text}");
    let (state, text) = site.host_status(&session, "pc1");
    assert_eq!(state, "failed");
    assert!(
        text.contains("first reported that all is written"),
        "{text}"
    );
}
