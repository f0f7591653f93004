//! From the address to an answer of the server.

use fos_tests::netns::Running;

use super::web::{Answer, Web};
use super::{Clinic, WEB, check, codes, native, stock};

#[test]
fn the_way_to_the_server_is_broken_at_one_place() {
    let Some(mut clinic) = Clinic::with(native) else {
        return;
    };
    clinic.chatter();
    let found = |web: &str| clinic.find(&format!("web={web} mac="), &["--interface", "eth0"]);
    assert_eq!(found("http://fog.invalid/fog/"), ["no-name"]);
    assert_eq!(found("http://10.77.0.1/fog/"), ["no-route"]);
    assert_eq!(found("http://10.99.0.77/fog/"), ["no-server"]);
    assert_eq!(found("http://10.99.0.1:81/fog/"), ["no-web-server"]);
    clinic.lab.host(2).ip("route add default via 10.99.0.78\n");
    assert_eq!(found("http://10.77.0.1/fog/"), ["no-router"]);
}

#[test]
fn a_server_that_was_there_a_moment_ago_is_named() {
    let Some(mut clinic) = Clinic::with(native) else {
        return;
    };
    clinic.chatter();
    assert_eq!(clinic.find(WEB, &[]), [""; 0]);
    clinic.lab.host(1).plug(false);
    // As long as its address is known to be in use, no more can be said.
    let found = clinic.find(WEB, &[]);
    assert!(
        found == ["server-silent"] || found == ["no-server"],
        "{found:?}"
    );
}

#[test]
fn a_firewall_before_the_web_server_is_named() {
    for verdict in ["drop", "reject with icmp admin-prohibited"] {
        let Some(clinic) = Clinic::with(native) else {
            return;
        };
        clinic.lab.host(1).nft(&format!(
            "add table inet b
             add chain inet b i {{ type filter hook input priority 0; }}
             add rule inet b i tcp dport 80 {verdict}\n"
        ));
        assert_eq!(clinic.find(WEB, &[]), ["web-blocked"], "{verdict}");
    }
}

#[test]
fn what_is_no_fog_server_is_named_by_what_it_answers() {
    for (answer, expected) in [
        (Answer::redirect("https://login.example/"), "redirect"),
        (Answer::status(404), "not-fog"),
        (Answer::text("<html>Welcome</html>"), "not-fog"),
        (Answer::status(503), "server-fails"),
        (
            native("/fog/service/getversion.php").at("Sat, 01 Jan 2000 00:00:00 GMT"),
            "clock-off",
        ),
    ] {
        let Some(clinic) = Clinic::with(move |_| answer.clone()) else {
            return;
        };
        assert_eq!(clinic.find(WEB, &[]), [expected]);
    }
}

#[test]
fn a_stock_server_needs_its_store() {
    let Some(clinic) = Clinic::with(stock) else {
        return;
    };
    let cmdline = format!("{WEB} storageip=10.99.0.1");
    assert_eq!(clinic.find(&cmdline, &[]), ["no-store"]);
    // Whatever accepts there.
    let _store = Web::start(clinic.lab.host(1).namespace(), 2049, stock);
    let report = clinic.examine(&cmdline, &[]);
    assert_eq!(codes(&report), [""; 0], "{report:#}");
    assert_eq!(check(&report, "store").0, "fine", "{report:#}");
}

#[test]
fn a_card_that_does_not_lead_to_the_server_is_named() {
    let Some(mut clinic) = Clinic::with(native) else {
        return;
    };
    clinic.lab.move_to_second_network(3);
    clinic.lab.host(2).ip(
        "link add veth7 type veth peer name veth8\naddr add 10.96.0.1/24 dev veth7\n\
         link set veth7 up\nlink set veth8 up\n",
    );
    let found = clinic.find(WEB, &["--interface", "veth7"]);
    assert_eq!(found, ["wrong-card"]);
    let mut command = clinic.command(WEB, &["--interface", "eth9"]);
    let mut doctor = Running::start("doctor", &mut command, &clinic.path("report"));
    assert_eq!(doctor.wait().code(), Some(1));
    assert!(doctor.messages().contains("eth9"), "{}", doctor.messages());
}

#[test]
fn a_path_that_loses_large_datagrams_is_named_with_its_size() {
    let Some(clinic) = Clinic::with(native) else {
        return;
    };
    clinic.lab.host(2).nft(
        "add table inet b
         add chain inet b i { type filter hook input priority 0; }
         add rule inet b i ip length gt 1400 drop\n",
    );
    let report = clinic.examine(WEB, &[]);
    assert_eq!(codes(&report), ["mtu-black-hole"], "{report:#}");
    let text = report["findings"][0]["text"].as_str().unwrap();
    let passed = text
        .split_whitespace()
        .find_map(|word| word.parse::<u32>().ok());
    assert!((1396..=1400).contains(&passed.unwrap()), "{text}");
}

#[test]
fn a_card_with_a_small_mtu_is_named() {
    let Some(clinic) = Clinic::with(native) else {
        return;
    };
    clinic.lab.host(2).ip("link set eth0 mtu 1400\n");
    assert_eq!(clinic.find(WEB, &[]), ["small-mtu"]);
}
