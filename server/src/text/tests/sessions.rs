//! Sessions and their hosts, at work and stored.

use super::*;
use crate::domain::follow_up::FollowUp;

pub(super) fn snapshot(phase: Phase) -> Snapshot {
    Snapshot {
        phase,
        stream: 0,
        streams: 2,
        stream_name: stream(),
        run: 0,
        expected: 3,
        checked_in: 2,
        connected: 1,
        missing: Vec::new(),
        joiners: 0,
        has_check_in: true,
        age: Duration::from_secs(130),
        starts_in: None,
        gives_up_in: None,
        has_records: None,
        stands_still: Duration::ZERO,
        members: Vec::new(),
    }
}

pub(super) fn missing() -> Vec<String> {
    vec!["LAB-02".into(), "LAB-03".into()]
}

pub(super) fn sat(status: SeatStatus, streams_done: usize) -> MemberSnapshot {
    MemberSnapshot {
        host: HostId(1),
        name: "LAB-01".into(),
        address: Some(ADDRESS),
        agent: AGENT.into(),
        status,
        age: Duration::ZERO,
        has_received: true,
        may_have_written: true,
        streams_done,
        refused: None,
        silent: None,
    }
}

fn phases() -> Vec<(Snapshot, &'static str)> {
    let gathering = snapshot(Phase::Gathering { stream: 0 });
    let later = snapshot(Phase::Gathering { stream: 1 });
    let sending = snapshot(Phase::Sending { stream: 0 });
    let starts_in = Some(Duration::from_secs(70));
    vec![
        (
            Snapshot {
                has_check_in: false,
                expected: 1,
                missing: vec!["LAB-02".into()],
                ..gathering.clone()
            },
            "waiting for LAB-02 to check in, for 2 min 10 s; boot it from the network. This wait has no limit",
        ),
        (
            Snapshot {
                has_check_in: false,
                missing: missing(),
                ..gathering.clone()
            },
            "waiting for the first of 3 hosts to check in, for 2 min 10 s: LAB-02, LAB-03; boot them from the network. This wait has no limit",
        ),
        (
            Snapshot {
                missing: missing(),
                starts_in,
                ..gathering.clone()
            },
            "waiting for 2 of 3 hosts before d1p1.img (stream 1 of 2) for 2 min 10 s: LAB-02, LAB-03; it starts without them in 1 min 10 s",
        ),
        (
            Snapshot {
                missing: missing(),
                starts_in,
                connected: 0,
                ..gathering.clone()
            },
            "waiting for 2 of 3 hosts before d1p1.img (stream 1 of 2) for 2 min 10 s: LAB-02, LAB-03; the session fails in 1 min 10 s if no host connects",
        ),
        (gathering, "about to start d1p1.img (stream 1 of 2)"),
        (
            Snapshot {
                stream: 1,
                missing: missing(),
                starts_in,
                members: vec![sat(SeatStatus::Between, 1)],
                ..later
            },
            "waiting for 2 of 3 hosts before d1p1.img (stream 2 of 2) for 2 min 10 s: LAB-02, LAB-03; it goes on without them in 1 min 10 s",
        ),
        (
            snapshot(Phase::Starting { stream: 0 }),
            "starting d1p1.img (stream 1 of 2) for 2 min 10 s",
        ),
        (
            Snapshot {
                missing: missing(),
                ..snapshot(Phase::Starting { stream: 0 })
            },
            "starting d1p1.img (stream 1 of 2) for 2 min 10 s, without LAB-02, LAB-03",
        ),
        (
            Snapshot {
                stands_still: Duration::from_secs(12),
                ..sending.clone()
            },
            "sending d1p1.img (stream 1 of 2) to 1 host for 2 min 10 s; nothing has moved for 12 s",
        ),
        (
            sending,
            "sending d1p1.img (stream 1 of 2) to 1 host for 2 min 10 s",
        ),
        (
            Snapshot {
                members: vec![
                    sat(SeatStatus::Between, 2),
                    sat(SeatStatus::Ended(State::Complete, Reason::Written), 2),
                ],
                gives_up_in: Some(Duration::from_secs(600)),
                ..snapshot(Phase::Finishing)
            },
            "all is sent (2 streams); waiting for the report of 1 host for 2 min 10 s: LAB-01; a host that stays silent fails, the first in 10 min",
        ),
        (
            Snapshot {
                members: vec![sat(
                    SeatStatus::Leaving(Reason::Left { stream: stream() }),
                    0,
                )],
                ..snapshot(Phase::Finishing)
            },
            "the last receivers left; waiting for the report of 1 host for 2 min 10 s: LAB-01",
        ),
        (
            snapshot(Phase::Ended {
                state: State::Cancelled,
                reason: Reason::SessionCancelled,
            }),
            "cancelled: the session was cancelled",
        ),
    ]
}

#[test]
fn phases_have_words() {
    for (value, text) in phases() {
        assert_eq!(phase(&value), text, "{value:?}");
    }
}

fn members() -> Vec<(MemberSnapshot, &'static str)> {
    let failed = |reason| SeatStatus::Ended(State::Failed, reason);
    let cancelled = || SeatStatus::Ended(State::Cancelled, Reason::TaskCancelled);
    let untouched = |status| MemberSnapshot {
        has_received: false,
        may_have_written: false,
        ..sat(status, 0)
    };
    let never_data = || dropped(Evidence::HeardByHttpNeverData);
    vec![
        (sat(SeatStatus::Expected, 0), "not checked in"),
        (
            MemberSnapshot {
                refused: Some((
                    ADDRESS.into(),
                    Refusal::OtherNetwork {
                        client: "eth1".into(),
                        session: "eth0".into(),
                    },
                )),
                ..untouched(SeatStatus::Expected)
            },
            "not checked in: its check-in from 10.0.0.7 is refused: This machine is reached over eth1, \
             the session sends on eth0. Deploy the hosts of each network in a session of their own, or \
             connect the machine to the network of eth0.",
        ),
        (
            sat(SeatStatus::CheckedIn, 0),
            "checked in; not yet connected to the sender",
        ),
        (sat(SeatStatus::Connected, 1), "connected for d1p2.img"),
        (sat(SeatStatus::Receiving, 1), "receiving d1p2.img"),
        (
            sat(SeatStatus::Between, 1),
            "not yet connected for d1p2.img",
        ),
        (
            sat(SeatStatus::Between, 2),
            "has d1p2.img already; waiting for the others",
        ),
        (
            sat(SeatStatus::Between, 3),
            "received everything; has not reported its end",
        ),
        (
            sat(SeatStatus::Leaving(Reason::Left { stream: stream() }), 1),
            "left during d1p1.img, before its end; waiting for its report of the reason",
        ),
        (
            sat(SeatStatus::Ended(State::Complete, Reason::Written), 3),
            "the client reported that all is written",
        ),
        (
            sat(failed(client_failed(Some(Reason::Written))), 3),
            "the client first reported that all is written, then that it failed: no space on /dev/sda. Check this machine before it is used",
        ),
        (
            sat(
                failed(client_failed(Some(Reason::Left { stream: stream() }))),
                1,
            ),
            "the client reports: no space on /dev/sda (left during d1p1.img, before its end, and gave no reason; its disk is not complete)",
        ),
        (
            untouched(failed(client_failed(None))),
            "the client reports: no space on /dev/sda; nothing was written",
        ),
        (
            sat(failed(client_failed(None)), 0),
            "the client reports: no space on /dev/sda",
        ),
        (
            sat(failed(client_failed(None)), 1),
            "the client reports: no space on /dev/sda; its disk is not complete",
        ),
        (
            sat(failed(client_failed(None)), 3),
            "the client reports: no space on /dev/sda",
        ),
        (
            untouched(failed(session_failed(Reason::SenderFailed {
                stream: stream(),
                text: "trouble".into(),
            }))),
            "the session failed: the sender failed in d1p1.img: trouble; nothing was written",
        ),
        (
            sat(failed(never_data()), 0),
            "dropped in d1p1.img after 16 s of silence: the machine runs and asks over HTTP, but multicast does not reach it; nothing was written. Check the switches: one filters multicast (IGMP snooping without a querier?)",
        ),
        (
            sat(failed(never_data()), 1),
            "dropped in d1p1.img after 16 s of silence: the machine runs and asks over HTTP, but multicast does not reach it; its disk is not complete. Check the switches: one filters multicast (IGMP snooping without a querier?)",
        ),
        (
            untouched(cancelled()),
            "its task was cancelled; nothing was written",
        ),
        (
            sat(cancelled(), 0),
            "its task was cancelled; its disk may not be complete",
        ),
        (
            sat(cancelled(), 2),
            "its task was cancelled; its disk is not complete",
        ),
        (
            sat(failed(Reason::Overdue { seconds: 600 }), 3),
            "received all streams, but did not report its end within 10 min; its disk may not be complete. Look at its screen; a late report is still accepted",
        ),
        (
            untouched(SeatStatus::Ended(State::Cancelled, Reason::Missing)),
            "did not check in before the session started; nothing was written",
        ),
    ]
}

#[test]
fn members_have_words() {
    let session = Snapshot {
        stream: 1,
        stream_name: StreamName::of_file("d1p2.img"),
        streams: 3,
        ..snapshot(Phase::Sending { stream: 1 })
    };
    for (value, text) in members() {
        assert_eq!(member(&value, &session), text, "{value:?}");
    }
}

/// A client of FOG writes the partition table after it was told to go, before its first receiver.
#[test]
fn of_a_stock_client_that_was_told_to_go_it_is_never_said_that_nothing_was_written() {
    let lost = [
        Reason::NotConnected,
        session_failed(nobody_connected()),
        Reason::SessionCancelled,
        Reason::TaskCancelled,
        dropped(Evidence::HeardByHttpNeverData),
    ];
    for why in lost {
        let status = SeatStatus::Ended(State::Failed, why.clone());
        let stock = MemberSnapshot {
            agent: Client::default(),
            has_received: false,
            ..sat(status, 0)
        };
        let agent = MemberSnapshot {
            agent: AGENT.into(),
            may_have_written: false,
            ..stock.clone()
        };
        let text = |seat: &MemberSnapshot| member(seat, &snapshot(Phase::Finishing));
        assert!(
            text(&stock).contains("; its disk may not be complete"),
            "{why:?}"
        );
        assert!(text(&agent).contains("; nothing was written"), "{why:?}");
    }
    for why in [Reason::NotConnected, session_failed(nobody_connected())] {
        let stock = Member {
            state: State::Failed,
            reason: Some(why),
            ..stored_host()
        };
        let agent = Member {
            agent: AGENT.into(),
            ..stock.clone()
        };
        assert!(stored_member(&stock, true).contains("; its disk may not be complete"));
        assert!(stored_member(&agent, true).contains("; nothing was written"));
    }
}

#[test]
fn those_who_hold_up_the_others_are_named() {
    let second = Duration::from_secs(1);
    assert_eq!(held_up_by(&[]), "");
    assert_eq!(
        held_up_by(&[("LAB-01", 12 * second), ("LAB-02", 90 * second)]),
        "held up by LAB-01 (12 s), LAB-02 (1 min 30 s)"
    );
    assert_eq!(
        holds_up(second, 40 * second, false),
        "the others wait for it: it answers, but took no data for 40 s"
    );
    assert_eq!(
        holds_up(40 * second, 40 * second, false),
        "the others wait for it: silent for 40 s"
    );
    assert_eq!(
        holds_up(40 * second, 40 * second, true),
        "the stream waits for it: silent for 40 s"
    );
}

fn stored_host() -> Member {
    Member {
        host: HostId(1),
        task: TaskId(1),
        name: "LAB-01".into(),
        address: Some(ADDRESS),
        ticket: None,
        agent: Client::default(),
        checked_in_at: Some(Timestamp(0)),
        streams_done: 0,
        state: State::InProgress,
        reason: None,
    }
}

fn stored() -> Session {
    Session {
        id: SessionId(3),
        name: "lab".into(),
        image: ImageId(1),
        image_name: "win11".into(),
        path: "win11".into(),
        port: 63100,
        state: State::InProgress,
        max_wait: Duration::from_secs(600),
        is_shutdown: false,
        is_debug: false,
        created_at: Timestamp(0),
        started_at: None,
        ended_at: None,
        has_records: None,
        runs: 0,
        reason: None,
        expected: 0,
        follows: None,
        follow_ups: None,
        follow_up: FollowUp::None,
        members: vec![stored_host()],
    }
}

#[test]
fn stored_sessions_have_words() {
    let over = Session {
        state: State::Failed,
        reason: Some(Reason::SenderFailed {
            stream: stream(),
            text: "no route".into(),
        }),
        ..stored()
    };
    let foreign = Session {
        state: State::Cancelled,
        ..stored()
    };
    let started = Session {
        started_at: Some(Timestamp(0)),
        ..stored()
    };
    for (value, text) in [
        (
            stored(),
            "waiting (1 of 1 host checked in); no server is running that could send it",
        ),
        (
            started,
            "started at 1970-01-01 00:00:00 (UTC); the server that sent it is not running. It goes on when a server is started",
        ),
        (over, "failed: the sender failed in d1p1.img: no route"),
        (foreign, "cancelled"),
    ] {
        assert_eq!(stored_session(&value), text);
    }
}

#[test]
fn stored_members_have_words() {
    let ended = |state, reason: Reason, streams_done| Member {
        state,
        reason: Some(reason),
        streams_done,
        ..stored_host()
    };
    for (value, text) in [
        (stored_host(), "checked in at 1970-01-01 00:00:00 (UTC)"),
        (
            Member {
                streams_done: 2,
                ..stored_host()
            },
            "checked in at 1970-01-01 00:00:00 (UTC); received 2 streams",
        ),
        (
            Member {
                checked_in_at: None,
                state: State::Queued,
                ..stored_host()
            },
            "not checked in",
        ),
        (
            Member {
                state: State::Cancelled,
                ..stored_host()
            },
            "cancelled",
        ),
        (
            ended(State::Complete, Reason::Written, 2),
            "the client reported that all is written",
        ),
        (
            ended(State::Failed, client_failed(None), 1),
            "the client reports: no space on /dev/sda; its disk is not complete",
        ),
        (
            ended(State::Failed, Reason::Overdue { seconds: 600 }, 1),
            "received all streams, but did not report its end within 10 min; its disk may not be complete. Look at its screen; a late report is still accepted",
        ),
        (
            ended(State::Cancelled, Reason::TaskCancelled, 0),
            "its task was cancelled; its disk may not be complete",
        ),
        (
            Member {
                address: None,
                checked_in_at: None,
                ..ended(State::Cancelled, Reason::TaskCancelled, 0)
            },
            "its task was cancelled; nothing was written",
        ),
    ] {
        assert_eq!(stored_member(&value, true), text, "{value:?}");
    }
}

/// The driver's view of a host that ended, and what is stored of it.
#[test]
fn what_runs_and_what_is_stored_have_the_same_words() {
    let reasons = [
        Reason::NotConnected,
        Reason::SessionCancelled,
        Reason::TaskCancelled,
        session_failed(nobody_connected()),
        session_failed(Reason::ImageChanged { text: "x".into() }),
        dropped(Evidence::HeardByHttpNeverData),
        dropped(Evidence::Gone),
        Reason::ServerStopped { stream: stream() },
        client_failed(None),
    ];
    for why in reasons {
        for (agent, has_started) in [("", false), ("", true), (AGENT, false), (AGENT, true)] {
            let has_connected =
                !matches!(&why, Reason::NotConnected) && why != session_failed(nobody_connected());
            let live = MemberSnapshot {
                agent: agent.into(),
                has_received: has_started && has_connected,
                may_have_written: agent.is_empty() || (has_started && has_connected),
                ..sat(SeatStatus::Ended(State::Failed, why.clone()), 0)
            };
            let stored = Member {
                agent: agent.into(),
                state: State::Failed,
                reason: Some(why.clone()),
                ..stored_host()
            };
            assert_eq!(
                stored_member(&stored, has_started),
                member_end(&live, 2, &why),
                "{agent:?} {has_started}"
            );
        }
    }
}
