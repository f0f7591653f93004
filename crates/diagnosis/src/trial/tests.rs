use std::net::Ipv4Addr;
use std::time::Duration;

use fos_api::room::{Room, Seat};

use super::*;
use crate::evidence::{Evidence, NextHop, PathLook};

const SENDER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);
const GROUP: Ipv4Addr = Ipv4Addr::new(232, 0, 0, 5);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A test that came whole.
fn whole() -> Received {
    Received {
        sender: SENDER,
        port: 9000,
        card: "eth0".into(),
        route: Ok(Route::Through {
            card: "eth0".into(),
            own: OWN,
            next: NextHop::Direct,
        }),
        asked: seconds(1),
        is_heard: true,
        rendezvous: Rendezvous::Silent,
        group: Some(GROUP),
        listened: seconds(1),
        requests: 100,
        data: 70_000,
        datagram_len: Some(1500),
        lost: 700,
        bytes: 100_000_000,
        time: seconds(1),
        querier: None,
        end: End::Whole,
    }
}

fn seen(test: &Received) -> (Vec<(&'static str, Verdict)>, Vec<&'static str>) {
    let (checks, causes) = received(&Evidence::default(), Some(test));
    for cause in &causes {
        assert!(!cause.evidence().is_empty() && !cause.to_string().is_empty());
    }
    let steps = checks.iter().skip(4);
    (
        steps
            .map(|check| (check.area.name(), check.verdict))
            .collect(),
        causes.iter().map(Cause::code).collect(),
    )
}

#[test]
fn nothing_is_named_when_all_is_well() {
    let (steps, causes) = seen(&whole());
    assert!(
        steps.iter().all(|(_, verdict)| *verdict == Verdict::Fine),
        "{steps:?}"
    );
    let names: Vec<&str> = steps.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        ["rendezvous", "small", "large", "content", "loss", "rate"]
    );
    assert_eq!(causes, [""; 0]);
    // Over before a request was due.
    let short = Received {
        requests: 0,
        data: 10,
        lost: 9,
        bytes: 12_000,
        time: seconds(1),
        ..whole()
    };
    assert_eq!(seen(&short).1, [""; 0]);
}

#[test]
fn the_link_that_fails_is_named_at_the_receiver() {
    let not_let_in = |rendezvous, is_heard| Received {
        rendezvous,
        is_heard,
        group: None,
        requests: 0,
        data: 0,
        bytes: 0,
        lost: 0,
        end: End::NotLetIn,
        ..whole()
    };
    let no_data = |requests, querier| Received {
        requests,
        querier,
        data: 0,
        bytes: 0,
        lost: 0,
        end: End::NoData,
        ..whole()
    };
    let querier = Some(Querier { address: SENDER });
    let routed = Received {
        route: Ok(Route::Through {
            card: "eth0".into(),
            own: OWN,
            next: NextHop::Router(OWN),
        }),
        ..no_data(0, querier)
    };
    let ended = |end| Received { end, ..whole() };
    for (test, step, code) in [
        (
            not_let_in(Rendezvous::Refused, false),
            "rendezvous",
            "no-test-sender",
        ),
        (
            not_let_in(Rendezvous::Prohibited, false),
            "rendezvous",
            "rendezvous-blocked",
        ),
        (
            not_let_in(Rendezvous::Silent, true),
            "rendezvous",
            "requests-lost",
        ),
        (
            not_let_in(Rendezvous::Silent, false),
            "rendezvous",
            "no-test-answer",
        ),
        (no_data(0, None), "small", "no-querier"),
        (no_data(0, querier), "small", "multicast-filtered"),
        (routed, "small", "multicast-not-routed"),
        (no_data(5, None), "large", "small-datagrams-only"),
        (
            ended(End::StoodStill(seconds(14))),
            "content",
            "test-stood-still",
        ),
        (ended(End::Cut), "content", "test-cut"),
        (ended(End::Foreign), "content", "foreign-stream"),
        (ended(End::Damaged(4096)), "content", "test-damaged"),
        (
            Received {
                lost: 3000,
                ..whole()
            },
            "loss",
            "high-loss",
        ),
        (
            Received {
                time: seconds(60),
                ..whole()
            },
            "rate",
            "slow-transfer",
        ),
    ] {
        let (steps, causes) = seen(&test);
        let first = steps
            .iter()
            .find(|(_, verdict)| *verdict == Verdict::Problem);
        assert_eq!(
            first.map(|(name, _)| *name),
            Some(step),
            "{code}: {steps:?}"
        );
        assert_eq!(causes, [code]);
    }
    assert_eq!(seen(&ended(End::Refused)).1, ["test-refused"]);
}

#[test]
fn a_receiver_at_the_wrong_card_learns_that_from_the_sender() {
    let test = Received {
        rendezvous: Rendezvous::Silent,
        is_heard: false,
        group: None,
        requests: 0,
        data: 0,
        end: End::NotLetIn,
        ..whole()
    };
    let (_, causes) = received(&Evidence::default(), Some(&test));
    let seat = |address, elsewhere: Option<&str>| Seat {
        address,
        sent: None,
        elsewhere: elsewhere.map(str::to_owned),
        seen: None,
    };
    let room = |seats| Room {
        card: "eth1".into(),
        sender: Some(Ipv4Addr::new(10, 1, 0, 5)),
        seats,
        ..Room::default()
    };
    let codes = |test: &Received, room: &Room| -> Vec<&'static str> {
        let causes = explained(causes.clone(), test, room);
        causes.iter().map(Cause::code).collect()
    };
    let elsewhere = room(vec![seat(OWN, Some("eth0 (10.0.0.5)"))]);
    assert_eq!(codes(&test, &elsewhere), ["other-card"]);
    let other = room(vec![seat(SENDER, Some("eth0")), seat(OWN, None)]);
    assert_eq!(codes(&test, &other), ["no-test-answer"]);
    let whole = whole();
    assert_eq!(codes(&whole, &elsewhere), ["no-test-answer"]);
}

#[test]
fn a_hole_with_a_size_explains_that_large_datagrams_do_not_come() {
    let evidence = Evidence {
        cards: Ok(vec![crate::evidence::Card {
            name: "eth0".into(),
            mac: "02:00:00:00:00:07".into(),
            has_link: true,
            speed: None,
            duplex: crate::evidence::Duplex::Unknown,
            mtu: 1500,
        }]),
        used: Some("eth0".into()),
        path: Ok(PathLook {
            to: SENDER,
            tried: 1500,
            passed: Some(1400),
        }),
        ..Evidence::default()
    };
    let test = Received {
        data: 0,
        bytes: 0,
        lost: 0,
        end: End::NoData,
        ..whole()
    };
    let (checks, causes) = received(&evidence, Some(&test));
    let codes: Vec<&str> = causes.iter().map(Cause::code).collect();
    assert_eq!(codes, ["mtu-black-hole"]);
    let large = checks.iter().find(|check| check.area == Area::Large);
    assert_eq!(large.map(|check| check.verdict), Some(Verdict::Problem));
    // Without a transfer its steps are there all the same.
    let (checks, _) = received(&evidence, None);
    assert_eq!(checks.len(), 10);
    assert!(
        checks
            .iter()
            .skip(4)
            .all(|check| check.verdict == Verdict::Skipped)
    );
}

fn receiver(last: u8) -> Receiver {
    Receiver {
        address: Ipv4Addr::new(10, 0, 0, last),
        has_answered: true,
        has_data: true,
        has_all: true,
        bytes: 100_000_000,
    }
}

/// A test that all have.
fn good() -> Sent {
    Sent {
        card: "eth0".into(),
        own: SENDER,
        port: 9000,
        group: GROUP,
        wanted: 2,
        waited: seconds(5),
        receivers: vec![receiver(7), receiver(8)],
        elsewhere: Vec::new(),
        web: Ok(Ok("http://10.0.0.5/fog/".into())),
        datagram_len: 1500,
        bytes: 100_000_000,
        blocks: 70_000,
        repeated: 700,
        time: seconds(1),
        failure: None,
    }
}

#[test]
fn the_link_that_fails_is_named_at_the_sender() {
    let codes = |test: &Sent| -> Vec<&'static str> {
        let (checks, causes) = sent(test);
        assert_eq!(checks.len(), 7);
        let is_well = checks.iter().all(|check| check.verdict != Verdict::Problem);
        assert_eq!(is_well, causes.is_empty(), "{checks:?}");
        for cause in &causes {
            assert!(!cause.evidence().is_empty() && !cause.advice().is_empty());
        }
        causes.iter().map(Cause::code).collect()
    };
    assert_eq!(codes(&good()), [""; 0]);
    let no_web = Sent {
        web: Err(Skipped::NotAsked),
        ..good()
    };
    assert_eq!(codes(&no_web), [""; 0]);
    let closed = Ok(Err(("http://10.0.0.5/fog/".into(), "refused".into())));
    assert_eq!(
        codes(&Sent {
            web: closed,
            ..good()
        }),
        ["own-web"]
    );

    let nobody = Sent {
        receivers: Vec::new(),
        ..good()
    };
    assert_eq!(codes(&nobody), ["no-receiver"]);
    let (checks, _) = sent(&nobody);
    let small = checks
        .iter()
        .find(|check| check.area == Area::Small)
        .unwrap();
    assert_eq!(small.text, Skipped::Unreached.to_string());
    let elsewhere = Sent {
        elsewhere: vec![(OWN, "eth1 (10.1.0.1)".into())],
        ..nobody
    };
    assert_eq!(codes(&elsewhere), ["other-card"]);
    let one = Sent {
        receivers: vec![receiver(7)],
        ..good()
    };
    assert_eq!(codes(&one), ["few-receivers"]);

    let with = |second| Sent {
        receivers: vec![receiver(7), second],
        ..good()
    };
    let unheard = Receiver {
        has_answered: false,
        has_data: false,
        has_all: false,
        bytes: 0,
        ..receiver(8)
    };
    let small = Receiver {
        has_answered: true,
        ..unheard.clone()
    };
    let left = Receiver {
        has_data: true,
        ..small.clone()
    };
    assert_eq!(codes(&with(unheard)), ["group-unheard"]);
    assert_eq!(codes(&with(small)), ["large-lost"]);
    assert_eq!(codes(&with(left)), ["receivers-left"]);
    assert_eq!(
        codes(&Sent {
            repeated: 7000,
            ..good()
        }),
        ["high-loss"]
    );
    assert_eq!(
        codes(&Sent {
            time: seconds(60),
            ..good()
        }),
        ["slow-transfer"]
    );
    let failed = Sent {
        failure: Some("port 9001 is in use".into()),
        receivers: Vec::new(),
        ..good()
    };
    let (_, causes) = sent(&failed);
    assert_eq!(
        causes.iter().map(Cause::code).collect::<Vec<_>>(),
        ["test-failed"]
    );
}
