use std::net::Ipv4Addr;
use std::time::Duration;

use dhcp::Reply;

use super::*;
use crate::checks::{Area, Verdict, checks};
use crate::evidence::*;
use crate::firmware::{Boot, BootDisk, EfiPartition, PartitionId};
use crate::health::Health;

const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn offer(server: [u8; 4]) -> Reply {
    Reply {
        kind: dhcp::ReplyKind::Offer,
        server: server.into(),
        address: OWN,
        mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
        routers: vec![ROUTER],
        name_servers: Vec::new(),
        domain: None,
        mtu: None,
        next_server: Some(SERVER),
        boot_file: Some("undionly.kpxe".into()),
        lease: None,
    }
}

fn through(card: &str, next: NextHop) -> Look<Route> {
    Ok(Route::Through {
        card: card.into(),
        own: OWN,
        next,
    })
}

/// A machine that receives.
fn healthy() -> Evidence {
    let before = Counters {
        received: 1000,
        sent: 500,
        link_changes: 2,
        ..Counters::default()
    };
    Evidence {
        cards: Ok(vec![Card {
            name: "eth0".into(),
            mac: "02:00:00:00:00:07".into(),
            has_link: true,
            speed: Some(1000),
            duplex: Duplex::Full,
            mtu: 1500,
        }]),
        used: Some("eth0".into()),
        wanted: Some("eth0".into()),
        traffic: Ok(Traffic {
            before,
            after: Counters {
                received: 1100,
                sent: 520,
                ..before
            },
            over: seconds(4),
        }),
        first_answer: Some(FirstAnswer::SinceLink(seconds(3))),
        offers: Ok(vec![offer([10, 0, 0, 1])]),
        offers_awaited: seconds(3),
        addresses: Ok(vec![Address {
            address: OWN,
            prefix_len: 24,
        }]),
        server: Ok(ServerLook {
            url: "http://10.0.0.5/fog/".into(),
            host: "10.0.0.5".into(),
            port: 80,
            resolution: Resolution::Address(SERVER),
            route: through("eth0", NextHop::Direct),
            reach: Ok(Reach::Open),
            answer: Ok(WebAnswer::Fog { is_native: true }),
            store: Err(Skipped::NotAsked),
        }),
        multicast: Ok(Multicast {
            sender: SERVER,
            port: 63100,
            groups: vec![Ipv4Addr::new(233, 254, 0, 5)],
            listened: seconds(3),
            announcements: 0,
            data: 2000,
            requests: 3,
            querier: None,
            sending: Sending::Now,
            rendezvous: Rendezvous::Silent,
            acknowledged: Some(0),
            route: through("eth0", NextHop::Direct),
        }),
        path: Ok(PathLook {
            to: SERVER,
            tried: 1500,
            passed: Some(1500),
        }),
        clock: Ok(Clock { ahead: -3600 }),
        disks: Ok(vec![DiskLook {
            name: "/dev/sda".into(),
            is_live: true,
            commands: Some((4, 2000)),
            read: Ok(ReadTest {
                bytes: 32 << 20,
                time: Duration::from_millis(200),
            }),
            health: Ok(Health::Nvme {
                warning: 0,
                used_percent: 3,
                media_errors: 0,
            }),
        }]),
        boot: Ok(boot(Some(true))),
        memory: Ok(Memory {
            total: 8_000_000_000,
            available: 7_000_000_000,
            errors: Some(0),
        }),
    }
}

/// A machine of UEFI without an entry for its disk.
fn boot(has_default: Option<bool>) -> Boot {
    Boot {
        entries: Vec::new(),
        disks: vec![BootDisk {
            name: "/dev/sda".into(),
            partitions: vec![EfiPartition {
                number: 1,
                id: PartitionId::Gpt([1; 16]),
                has_default,
            }],
        }],
        default: r"\EFI\BOOT\BOOTX64.EFI",
    }
}

fn codes(evidence: &Evidence) -> Vec<&'static str> {
    let found = diagnose(evidence);
    for cause in &found {
        assert!(!cause.evidence().is_empty() && !cause.advice().is_empty());
    }
    found.iter().map(Cause::code).collect()
}

/// What is found in a healthy machine after a change.
#[track_caller]
fn found(change: impl FnOnce(&mut Evidence)) -> Vec<&'static str> {
    let mut evidence = healthy();
    change(&mut evidence);
    codes(&evidence)
}

fn server(evidence: &mut Evidence) -> &mut ServerLook {
    evidence.server.as_mut().unwrap()
}

fn heard(evidence: &mut Evidence) -> &mut Multicast {
    evidence.multicast.as_mut().unwrap()
}

fn silence(evidence: &mut Evidence) {
    let multicast = heard(evidence);
    (multicast.data, multicast.requests) = (0, 0);
}

fn card(evidence: &mut Evidence) -> &mut Card {
    &mut evidence.cards.as_mut().unwrap()[0]
}

fn deafen(evidence: &mut Evidence) {
    let traffic = evidence.traffic.as_mut().unwrap();
    traffic.after.received = traffic.before.received;
}

#[test]
fn nothing_is_named_when_all_is_well_or_nothing_was_looked_at() {
    assert_eq!(codes(&healthy()), [""; 0]);
    let nothing = Evidence::default();
    assert_eq!(codes(&nothing), [""; 0]);
    let skipped = checks(&nothing, &[]);
    assert!(
        skipped
            .iter()
            .all(|check| check.verdict == Verdict::Skipped)
    );
    let seen = checks(&healthy(), &[]);
    for check in &seen {
        let expected = match check.area {
            Area::Store => Verdict::Skipped,
            _ => Verdict::Fine,
        };
        assert_eq!(check.verdict, expected, "{check:?}");
    }
    // What is usual, and no trouble.
    assert_eq!(
        found(|evidence| {
            silence(evidence);
            heard(evidence).sending = Sending::Waits;
            heard(evidence).rendezvous = Rendezvous::Refused;
        }),
        [""; 0]
    );
    assert_eq!(
        found(|evidence| evidence.offers.as_mut().unwrap().push(offer([10, 0, 0, 2]))),
        [""; 0]
    );
    assert_eq!(
        found(|evidence| evidence.path.as_mut().unwrap().passed = None),
        [""; 0]
    );
    // A static address needs no DHCP server.
    assert_eq!(found(|evidence| evidence.offers = Ok(Vec::new())), [""; 0]);
}

#[test]
fn the_first_break_explains_the_rest() {
    fn unreached(evidence: &mut Evidence) {
        evidence.addresses = Ok(Vec::new());
        server(evidence).route = Ok(Route::Missing);
        silence(evidence);
    }
    assert_eq!(
        found(|evidence| {
            unreached(evidence);
            evidence.cards = Ok(Vec::new());
        }),
        ["no-card"]
    );
    assert_eq!(
        found(|evidence| {
            unreached(evidence);
            card(evidence).has_link = false;
            card(evidence).speed = Some(10);
        }),
        ["no-link"]
    );
    assert_eq!(
        found(|evidence| {
            unreached(evidence);
            evidence.offers = Ok(Vec::new());
            deafen(evidence);
        }),
        ["silent-port"]
    );
    assert_eq!(
        found(|evidence| {
            unreached(evidence);
            evidence.offers = Ok(Vec::new());
        }),
        ["no-dhcp"]
    );
    // A switch that says what it is.
    assert_eq!(
        found(|evidence| {
            unreached(evidence);
            evidence.offers = Ok(Vec::new());
            deafen(evidence);
            let after = &mut evidence.traffic.as_mut().unwrap().after;
            (after.received, after.multicast) = (after.received + 3, after.multicast + 3);
        }),
        ["silent-port"]
    );
    // What is still known of a machine says nothing.
    assert_eq!(
        found(|evidence| {
            deafen(evidence);
            server(evidence).reach = Ok(Reach::Silent(Neighbour::Answers));
        }),
        ["silent-port"]
    );
    assert_eq!(found(unreached), ["no-address"]);
    assert_eq!(
        found(|evidence| {
            silence(evidence);
            server(evidence).route = Ok(Route::Missing);
        }),
        ["no-route"]
    );
    assert_eq!(
        found(|evidence| {
            silence(evidence);
            server(evidence).reach = Ok(Reach::Silent(Neighbour::Silent));
        }),
        ["no-server"]
    );
    assert_eq!(
        found(|evidence| {
            silence(evidence);
            server(evidence).route = through("eth0", NextHop::Router(ROUTER));
            server(evidence).reach = Ok(Reach::Silent(Neighbour::Silent));
        }),
        ["no-router"]
    );
    // A link-local address is none.
    assert_eq!(
        found(|evidence| {
            evidence.addresses.as_mut().unwrap()[0].address = Ipv4Addr::new(169, 254, 1, 1);
            evidence.offers = Ok(Vec::new());
        }),
        ["no-dhcp"]
    );
}

#[test]
fn the_server_is_told_from_its_web_server_and_that_from_fog() {
    let reached = |reach| found(|evidence| server(evidence).reach = Ok(reach));
    assert_eq!(reached(Reach::Refused), ["no-web-server"]);
    assert_eq!(reached(Reach::Prohibited), ["web-blocked"]);
    assert_eq!(reached(Reach::Silent(Neighbour::Answers)), ["web-blocked"]);
    assert_eq!(
        found(|evidence| {
            server(evidence).reach = Ok(Reach::Silent(Neighbour::Answers));
            evidence.path.as_mut().unwrap().passed = None;
        }),
        ["server-silent"]
    );
    // Without the right to send echoes nothing is said of them.
    assert_eq!(
        found(|evidence| {
            server(evidence).reach = Ok(Reach::Silent(Neighbour::Answers));
            evidence.path = Err(Skipped::Failed("not permitted".into()));
        }),
        ["web-blocked"]
    );
    let answered = |answer| found(|evidence| server(evidence).answer = Ok(answer));
    let to = "http://10.0.0.5/login".to_owned();
    assert_eq!(answered(WebAnswer::Redirect { to }), ["redirect"]);
    assert_eq!(answered(WebAnswer::Status(503)), ["server-fails"]);
    assert_eq!(answered(WebAnswer::Status(404)), ["not-fog"]);
    assert_eq!(answered(WebAnswer::NoVersion), ["not-fog"]);
    assert_eq!(
        found(|evidence| {
            server(evidence).resolution = Resolution::Unknown {
                name_servers: Vec::new(),
                error: "no answer".into(),
            };
        }),
        ["no-name"]
    );
    assert_eq!(
        found(|evidence| server(evidence).store = Ok((SERVER, Reach::Refused))),
        ["no-store"]
    );
}

#[test]
fn silence_of_multicast_is_explained_only_while_the_sender_sends() {
    assert_eq!(found(silence), ["no-querier"]);
    assert_eq!(
        found(|evidence| {
            silence(evidence);
            heard(evidence).querier = Some(Querier { address: ROUTER });
        }),
        ["multicast-filtered"]
    );
    assert_eq!(
        found(|evidence| {
            silence(evidence);
            heard(evidence).route = through("eth0", NextHop::Router(ROUTER));
        }),
        ["multicast-not-routed"]
    );
    assert_eq!(
        found(|evidence| {
            silence(evidence);
            heard(evidence).route = through("eth1", NextHop::Direct);
        }),
        ["wrong-card"]
    );
    assert_eq!(
        found(|evidence| {
            silence(evidence);
            heard(evidence).rendezvous = Rendezvous::Refused;
        }),
        ["no-sender"]
    );
    assert_eq!(
        found(|evidence| heard(evidence).rendezvous = Rendezvous::Prohibited),
        ["rendezvous-blocked"]
    );
    assert_eq!(
        found(|evidence| {
            silence(evidence);
            heard(evidence).sending = Sending::Unknown;
        }),
        [""; 0]
    );
    assert_eq!(
        found(|evidence| heard(evidence).data = 0),
        ["small-datagrams-only"]
    );
    // It may wait for a slow disk.
    assert_eq!(
        found(|evidence| {
            heard(evidence).data = 0;
            heard(evidence).acknowledged = Some(1);
        }),
        [""; 0]
    );
    assert_eq!(
        found(|evidence| {
            silence(evidence);
            server(evidence).route = through("eth1", NextHop::Direct);
        }),
        ["wrong-card"]
    );
    // The size says more.
    assert_eq!(
        found(|evidence| {
            heard(evidence).data = 0;
            evidence.path.as_mut().unwrap().passed = Some(1400);
        }),
        ["mtu-black-hole"]
    );
}

#[test]
fn a_second_dhcp_server_is_one_that_says_something_else() {
    for change in [
        |offer: &mut Reply| offer.routers.clear(),
        |offer: &mut Reply| offer.address = Ipv4Addr::new(192, 168, 1, 9),
        |offer: &mut Reply| offer.next_server = None,
        |offer: &mut Reply| offer.boot_file = None,
    ] {
        let mut other = offer([192, 168, 1, 1]);
        change(&mut other);
        let offers = vec![offer([10, 0, 0, 1]), other.clone(), other];
        let mut evidence = healthy();
        evidence.offers = Ok(offers);
        let found = diagnose(&evidence);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].evidence().len(), 2, "{found:?}");
        assert_eq!(found[0].code(), "second-dhcp");
    }
}

#[test]
fn a_late_first_answer_is_spanning_tree_only_if_there_is_one() {
    let late = |first| found(|evidence| evidence.first_answer = Some(first));
    assert_eq!(late(FirstAnswer::SinceLink(seconds(31))), ["late-answer"]);
    assert_eq!(late(FirstAnswer::SinceLink(seconds(5))), [""; 0]);
    assert_eq!(late(FirstAnswer::Watched(seconds(1))), ["late-answer"]);
    assert_eq!(
        found(|evidence| {
            evidence.first_answer = Some(FirstAnswer::SinceLink(seconds(31)));
            card(evidence).has_link = false;
        }),
        ["no-link"]
    );
}

#[test]
fn the_card_is_known_by_what_it_counts() {
    assert_eq!(
        found(|evidence| card(evidence).duplex = Duplex::Half),
        ["half-duplex"]
    );
    assert_eq!(
        found(|evidence| card(evidence).speed = Some(10)),
        ["slow-link"]
    );
    assert_eq!(found(|evidence| card(evidence).speed = Some(100)), [""; 0]);
    assert_eq!(found(|evidence| card(evidence).mtu = 1400), ["small-mtu"]);
    let counted = |change: fn(&mut Counters)| {
        found(|evidence| change(&mut evidence.traffic.as_mut().unwrap().after))
    };
    assert_eq!(counted(|after| after.receive_errors = 19), [""; 0]);
    assert_eq!(counted(|after| after.receive_errors = 20), ["card-errors"]);
    assert_eq!(counted(|after| after.send_errors = 20), ["card-errors"]);
    assert_eq!(counted(|after| after.link_changes = 3), ["unsteady-link"]);
    // Old errors count by their share.
    let old = |frames| {
        found(|evidence| {
            let traffic = evidence.traffic.as_mut().unwrap();
            traffic.before.receive_errors = 20;
            traffic.after.receive_errors = 20;
            traffic.after.received = frames;
        })
    };
    assert_eq!(old(10_000), ["card-errors"]);
    assert_eq!(old(30_000), [""; 0]);
    // A card that was plugged in again counts from 0.
    assert_eq!(
        counted(|after| *after = Counters {
            received: 1,
            ..Counters::default()
        }),
        [""; 0]
    );
}

#[test]
fn the_machine_itself_is_looked_at_even_without_a_network() {
    let machine = |change: fn(&mut Evidence)| {
        found(|evidence| {
            card(evidence).has_link = false;
            change(evidence);
        })
    };
    assert_eq!(
        machine(|evidence| evidence.clock = Ok(Clock {
            ahead: -86_400 * 365
        })),
        ["no-link", "clock-off"]
    );
    // Local time in the machine's clock.
    assert_eq!(
        machine(|evidence| evidence.clock = Ok(Clock { ahead: 14 * 3600 })),
        ["no-link"]
    );
    assert_eq!(
        machine(|evidence| evidence.disks = Ok(Vec::new())),
        ["no-link", "no-disk"]
    );
    assert_eq!(
        machine(|evidence| evidence.memory.as_mut().unwrap().total = 256 << 20),
        ["no-link", "little-memory"]
    );
    let disk = |change: fn(&mut DiskLook)| {
        found(|evidence| change(&mut evidence.disks.as_mut().unwrap()[0]))
    };
    assert_eq!(disk(|disk| disk.is_live = false), ["disk-gone"]);
    assert_eq!(
        disk(|disk| disk.read = Err("I/O error".into())),
        ["disk-unreadable"]
    );
    assert_eq!(
        disk(|disk| disk.commands = Some((51, 5000))),
        ["disk-errors"]
    );
    assert_eq!(disk(|disk| disk.commands = Some((51, 9000))), [""; 0]);
    let read = |bytes, millis| {
        let read = Ok(ReadTest {
            bytes,
            time: Duration::from_millis(millis),
        });
        found(|evidence| evidence.disks.as_mut().unwrap()[0].read = read)
    };
    assert_eq!(read(5_000_000, 1000), ["slow-disk"]);
    assert_eq!(read(20_000_000, 1000), [""; 0]);
    // Too little to say.
    assert_eq!(read(512, 1000), [""; 0]);
    assert_eq!(read(0, 0), [""; 0]);
}

#[test]
fn a_card_that_hangs_is_told_from_a_silent_port() {
    let stuck = |evidence: &mut Evidence| {
        deafen(evidence);
        let traffic = evidence.traffic.as_mut().unwrap();
        traffic.after.sent = traffic.before.sent;
        evidence.addresses = Ok(Vec::new());
        evidence.offers = Ok(Vec::new());
    };
    assert_eq!(found(stuck), ["hung-card"]);
    // What was not asked could not be sent.
    let unasked = |evidence: &mut Evidence| {
        stuck(evidence);
        evidence.offers = Err(Skipped::NotAsked);
    };
    assert_eq!(found(unasked), ["no-address"]);
    let restarted = |evidence: &mut Evidence| {
        evidence.traffic.as_mut().unwrap().after.timeouts = 2;
    };
    assert_eq!(found(restarted), ["hung-card"]);
}

#[test]
fn what_disks_and_memory_say_of_themselves_counts() {
    fn disk(evidence: &mut Evidence) -> &mut DiskLook {
        &mut evidence.disks.as_mut().unwrap()[0]
    }
    let unreliable = Health::Nvme {
        warning: 4,
        used_percent: 99,
        media_errors: 3,
    };
    assert_eq!(
        found(|it| disk(it).health = Ok(unreliable)),
        ["disk-failing"]
    );
    let worn = Health::Nvme {
        warning: 0,
        used_percent: 120,
        media_errors: 0,
    };
    assert_eq!(found(|it| disk(it).health = Ok(worn)), [""; 0]);
    // What is not said is no trouble, and is said.
    let mut evidence = healthy();
    disk(&mut evidence).health = Err(Skipped::Failed("a USB disk".into()));
    assert_eq!(codes(&evidence), [""; 0]);
    let seen = checks(&evidence, &[]);
    let disks = seen.iter().find(|check| check.area == Area::Disks).unwrap();
    assert!(
        disks.text.contains("health not available (a USB disk)"),
        "{}",
        disks.text
    );
    let memory =
        |errors| move |evidence: &mut Evidence| evidence.memory.as_mut().unwrap().errors = errors;
    assert_eq!(found(memory(Some(1))), ["memory-errors"]);
    assert_eq!(found(memory(None)), [""; 0]);
}

#[test]
fn a_disk_that_the_firmware_does_not_start_from_is_named() {
    let mut evidence = healthy();
    evidence.boot = Ok(boot(Some(false)));
    assert_eq!(codes(&evidence), ["no-boot-entry"]);
    assert!(!diagnose(&evidence)[0].can_block());
    evidence.boot = Ok(Boot {
        disks: vec![BootDisk {
            name: "/dev/sda".into(),
            partitions: Vec::new(),
        }],
        ..boot(None)
    });
    assert_eq!(codes(&evidence), ["no-efi-partition"]);
    evidence.boot = Ok(boot(None));
    assert_eq!(codes(&evidence), [""; 0]);
}
