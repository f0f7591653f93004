//! Faults of the network between server and clients, with the real programs: who is refused, who is
//! dropped and why, and that the others are deployed all the same.

use fos_tests::netns::{Running, wait_for};
use fos_tests::site::{DISK_LEN, Site, assert_deployed, assert_untouched, failed, mac};

/// Slow enough that a test can act while data flows.
const SLOW: [&str; 2] = ["--max-bitrate", "20m"];

/// A site whose server has these options.
fn site_with(clients: u8, options: &[&str]) -> Option<Site> {
    let mut site = Site::without_image(clients)?;
    site.start_server_with(options);
    site.cli(&["image", "add", "small"]).succeed();
    Some(site)
}

fn wait_for_output(agent: &Running, words: &str) {
    wait_for(&format!("an agent to say \"{words}\""), || {
        agent.output().contains(words)
    });
}

#[test]
fn a_second_machine_with_the_same_mac_is_refused_and_the_first_goes_on() {
    let Some(site) = site_with(2, &SLOW) else {
        return;
    };
    let session = site.deploy(&["pc1"], &[]);
    let arguments = site.kernel_arguments(1);
    let (disk, other_disk) = (
        site.empty_disk("a.raw", DISK_LEN),
        site.patterned_disk("b.raw", DISK_LEN),
    );
    let mut first = site.start_agent_with(1, &disk, &arguments);
    site.wait_for_data(&session, 1, 1);
    let second = site.start_agent_with(2, &other_disk, &arguments);
    wait_for_output(&second, "A machine at 10.99.0.2 already takes part");
    first.succeed();
    assert_deployed(&disk);
    assert_untouched(&other_disk);
    site.wait_for_state(&session, "complete");
    assert_eq!(site.host_reason(&session, "pc1"), "written");
}

#[test]
fn two_machines_with_one_mac_are_told_apart_before_the_start() {
    let Some(site) = site_with(3, &[]) else {
        return;
    };
    let session = site.deploy(&["pc1", "pc2"], &[]);
    let arguments = site.kernel_arguments(1);
    let disks = ["a.raw", "b.raw"].map(|name| site.empty_disk(name, DISK_LEN));
    let other_disk = site.patterned_disk("c.raw", DISK_LEN);
    let mut first = site.start_agent_with(1, &disks[0], &arguments);
    wait_for("the first to be connected", || {
        site.status(&session)["connected"] == 1
    });
    let second = site.start_agent_with(3, &other_disk, &arguments);
    wait_for_output(&second, "A machine at 10.99.0.2 already takes part");
    let mut last = site.start_agent(2, &disks[1]);
    first.succeed();
    last.succeed();
    disks.iter().for_each(|disk| assert_deployed(disk));
    assert_untouched(&other_disk);
    site.wait_for_state(&session, "complete");
}

#[test]
fn the_address_of_listen_is_the_one_that_is_announced() {
    let Some(mut site) = Site::without_image(1) else {
        return;
    };
    let server = site.lab().host(1);
    server.ip("addr add 10.99.0.200/24 dev eth0\n");
    site.start_server_at("10.99.0.200", &["--listen", "10.99.0.200:80"]);
    site.cli(&["image", "add", "small"]).succeed();
    let session = site.deploy(&["pc1"], &[]);
    let arguments = site.kernel_arguments(1);
    assert!(
        arguments.contains("web=http://10.99.0.200/fog/"),
        "{arguments}"
    );
    assert!(arguments.contains("storageip=10.99.0.200"), "{arguments}");
    let disk = site.empty_disk("a.raw", DISK_LEN);
    site.start_agent_with(1, &disk, &arguments).succeed();
    assert_deployed(&disk);
    site.wait_for_state(&session, "complete");
}

#[test]
fn a_client_behind_another_card_is_refused_with_both_names() {
    let Some(mut site) = Site::without_image(2) else {
        return;
    };
    site.lab_mut().move_to_second_network(3);
    site.start_server_at("10.99.0.1", &["--listen", "0.0.0.0:80"]);
    site.cli(&["image", "add", "small"]).succeed();
    let session = site.deploy(&["pc1", "pc2"], &[]);
    let disks = [
        site.empty_disk("a.raw", DISK_LEN),
        site.patterned_disk("b.raw", DISK_LEN),
    ];
    let arguments = site.kernel_arguments_at("10.98.0.1", 2);
    assert!(arguments.contains("web=http://10.98.0.1/"), "{arguments}");
    let mut first = site.start_agent(1, &disks[0]);
    wait_for("the first to be checked in", || {
        site.status(&session)["checked_in"] == 1
    });
    let second = site.start_agent_with(2, &disks[1], &arguments);
    wait_for_output(&second, "reached over eth1");
    assert!(
        second.output().contains("sends on eth0"),
        "{}",
        second.output()
    );
    // The administrator sees it as well.
    wait_for("a note of the refusal", || {
        let report = site.report(&session);
        report.contains("pc2") && report.contains("reached over eth1")
    });
    let (_, text) = site.host_status(&session, "pc2");
    assert!(text.contains("reached over eth1"), "{text}");
    // It may be plugged in elsewhere, and a stranger may ask in its name: a person decides whether it
    // is waited for. Without it the other one begins at once.
    site.cli(&["cancel", &session, "--host", "pc2"]).succeed();
    first.succeed();
    assert_deployed(&disks[0]);
    assert_untouched(&disks[1]);
    wait_for("the end of the session", || {
        site.status(&session)["stage"] == "ended"
    });
    assert_eq!(site.host_status(&session, "pc1").0, "complete");
    assert_eq!(site.host_status(&session, "pc2").0, "cancelled");
}

#[test]
fn a_client_behind_nat_or_a_proxy_is_refused_at_once() {
    let Some(site) = site_with(2, &[]) else {
        return;
    };
    let session = site.deploy(&["pc1"], &[]);
    // The second client's machine is the one in between.
    let between = site.lab().host(3);
    let set = between
        .command("sysctl")
        .args(["-qw", "net.ipv4.ip_forward=1"])
        .status();
    assert!(set.unwrap().success());
    between.nft(
        "add table ip nat
         add chain ip nat pre { type nat hook prerouting priority -100; }
         add chain ip nat post { type nat hook postrouting priority 100; }
         add rule ip nat pre tcp dport 80 dnat to 10.99.0.1
         add rule ip nat post tcp dport 80 masquerade\n",
    );
    let direct = site.kernel_arguments(1);
    let arguments = direct.replace("web=http://10.99.0.1/", "web=http://10.99.0.3/");
    let disk = site.patterned_disk("a.raw", DISK_LEN);
    let agent = site.start_agent_with(1, &disk, &arguments);
    wait_for_output(&agent, "an HTTP proxy or NAT is on the way");
    for address in ["10.99.0.2", "10.99.0.3"] {
        assert!(agent.output().contains(address), "{}", agent.output());
    }
    wait_for("a note of the refusal", || {
        site.report(&session).contains("HTTP proxy or NAT")
    });
    drop(agent);
    // A stock client does not say its address, but a proxy says that it is one.
    let output = site
        .lab()
        .host(2)
        .command("curl")
        .args(["-s", "-H", "Via: 1.1 cache", "--data-raw"])
        .arg(format!("mac={}&type=down", mac(1)))
        .arg("http://10.99.0.1/fog/service/mc_checkin.php")
        .output()
        .unwrap();
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(answer.contains("an HTTP proxy or NAT"), "{answer}");
    assert_untouched(&disk);
    let disk = site.empty_disk("b.raw", DISK_LEN);
    let mut agent = site.start_agent_with(1, &disk, &direct);
    agent.succeed();
    assert_deployed(&disk);
    site.wait_for_state(&session, "complete");
}

#[test]
fn a_port_pair_of_a_left_over_sender_is_passed_over_and_its_holder_named() {
    let Some(site) = Site::new(1) else { return };
    let mut command = site.lab().host(1).command("udp-sender");
    command
        .args(["--nokbd", "--portbase", "63100", "--interface", "eth0"])
        .args(["--min-receivers", "5", "--file"])
        .arg(site.stored("d1p2.img"));
    let _sender = Running::start("udp-sender", &mut command, &site.path("sender.out"));
    site.lab().host(1).wait_for_port(63101);
    let (session, said) = site.cli(&["deploy", "small", "pc1"]).both();
    assert!(said.contains("63101"), "{said}");
    assert!(said.contains("udp-sender"), "{said}");
    let session = session.trim();
    assert_eq!(site.status(session)["port"], 63102);
    let report = site.report(session);
    assert!(
        report.contains("63101") && report.contains("udp-sender"),
        "{report}"
    );
    let disk = site.empty_disk("a.raw", DISK_LEN);
    site.start_agent(1, &disk).succeed();
    assert_deployed(&disk);
    site.wait_for_state(session, "complete");
}

#[test]
fn a_client_that_large_datagrams_do_not_reach_does_not_hold_up_the_others() {
    let Some(site) = Site::new(2) else { return };
    site.lab().host(3).nft(
        "add table inet b
         add chain inet b i { type filter hook input priority 0; }
         add rule inet b i ip protocol udp ip length gt 1400 drop\n",
    );
    let session = site.deploy(&["pc1", "pc2"], &[]);
    let disks = [
        site.empty_disk("a.raw", DISK_LEN),
        site.patterned_disk("b.raw", DISK_LEN),
    ];
    let mut healthy = site.start_agent(1, &disks[0]);
    let other = site.start_agent(2, &disks[1]);
    healthy.succeed();
    assert_deployed(&disks[0]);
    wait_for("the end of the session", || {
        site.status(&session)["stage"] == "ended"
    });
    assert_eq!(site.host_status(&session, "pc1").0, "complete");
    let (state, text) = site.host_status(&session, "pc2");
    assert_eq!(state, "failed");
    let report = site.report(&session);
    assert!(
        report.contains("it answers, but no data block reaches it"),
        "{report}"
    );
    assert!(text.contains("MTU"), "{text}");
    assert!(!text.contains("switched off"), "{text}");
    let said = failed(other);
    assert!(said.contains("MTU"), "{said}");
    assert_untouched(&disks[1]);
}

#[test]
fn a_client_that_multicast_does_not_reach_is_told_so_in_its_last_word() {
    let Some(site) = Site::new(2) else { return };
    site.lab().host(3).nft(
        "add table inet b
         add chain inet b i { type filter hook input priority 0; }
         add rule inet b i ip daddr 224.0.0.0/4 drop\n",
    );
    let session = site.deploy(&["pc1", "pc2"], &[]);
    let disks = [
        site.empty_disk("a.raw", DISK_LEN),
        site.patterned_disk("b.raw", DISK_LEN),
    ];
    let mut healthy = site.start_agent(1, &disks[0]);
    let other = site.start_agent(2, &disks[1]);
    healthy.succeed();
    assert_deployed(&disks[0]);
    let said = failed(other);
    wait_for("the end of the session", || {
        site.status(&session)["stage"] == "ended"
    });
    let (state, text) = site.host_status(&session, "pc2");
    assert_eq!(state, "failed");
    let last = said
        .lines()
        .rev()
        .find(|line| line.contains("failed"))
        .unwrap();
    for words in [text.as_str(), last] {
        assert!(words.contains("multicast"), "{words}");
        assert!(words.contains("nothing was written"), "{words}");
        assert!(!words.contains("switched off"), "{words}");
    }
    assert_untouched(&disks[1]);
}

#[test]
fn a_cable_that_is_pulled_out_is_named_and_the_deploy_goes_on_when_it_is_back() {
    let Some(site) = site_with(1, &SLOW) else {
        return;
    };
    let session = site.deploy(&["pc1"], &[]);
    let disk = site.empty_disk("a.raw", DISK_LEN);
    let mut agent = site.start_agent(1, &disk);
    site.wait_for_data(&session, 1, 1);
    let client = site.lab().host(2);
    client.plug(false);
    wait_for_output(&agent, "waiting for the link of eth0, which is down");
    client.plug(true);
    wait_for_output(&agent, "the link of eth0 is up again");
    agent.succeed();
    assert_deployed(&disk);
}
