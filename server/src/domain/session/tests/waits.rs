//! What is waited for, and for how long.

use super::*;

#[test]
fn max_wait_counts_from_the_first_connection() {
    let mut bench = bench(3, &["d1p1.img"]);
    bench.wait(1000, &[]);
    assert_eq!(
        bench.actions(),
        [],
        "nothing runs before the first check-in"
    );
    bench.check_in(1);
    bench.wait(CONNECT_WAIT - 1, &[]);
    bench.join(1);
    bench.check_in(2);
    bench.wait(MAX_WAIT - 1, &[]);
    assert!(!is_started(&bench.actions()));
    let snapshot = bench.core.snapshot(bench.now);
    assert_eq!(snapshot.missing, ["LAB-02", "LAB-03"]);
    assert_eq!(snapshot.starts_in, Some(seconds(1)));
    bench.wait(1, &[]);
    let actions = bench.actions();
    let missing = vec!["LAB-02".to_owned(), "LAB-03".to_owned()];
    let seconds = MAX_WAIT;
    assert_eq!(
        notes(&actions),
        [(None, Note::StartingWithout { seconds, missing })]
    );
    assert!(is_started(&actions));
    bench.core.transfer_started(bench.now);
    let actions = bench.actions();
    assert_eq!(host_end(&actions, 2), failed(Reason::NotConnected));
    assert_eq!(
        host_end(&actions, 3),
        Some((State::Cancelled, Reason::Missing))
    );
    bench.ended(&[(1, Completed)]);
    bench.complete(1);
    let (state, sum) = summary_of(end_of(&bench.actions()));
    assert_eq!((state, sum.complete, sum.total), (State::Failed, 1, 3));
    assert_eq!(sum.troubles.len(), 2, "a missing host is a trouble");
}

#[test]
fn without_a_connection_the_session_fails() {
    let mut bench = bench(2, &["d1p1.img"]);
    bench.check_in(1);
    bench.wait(CONNECT_WAIT - 1, &[1]);
    assert_eq!(end_of(&bench.actions()), None);
    let snapshot = bench.core.snapshot(bench.now);
    assert_eq!(snapshot.starts_in, Some(seconds(1)));
    bench.wait(1, &[1]);
    let actions = bench.actions();
    assert_eq!(stops(&actions), [StopKind::Plain]);
    let reason = Reason::NobodyConnected {
        seconds: CONNECT_WAIT,
        missing: vec!["LAB-01".into(), "LAB-02".into()],
    };
    assert_eq!(end_of(&actions), failed(reason.clone()));
    let because = Reason::SessionFailed(Box::new(reason));
    assert_eq!(host_end(&actions, 2), failed(because));
}

#[test]
fn a_stranger_alone_does_not_begin_after_the_wait() {
    let mut bench = bench(1, &["d1p1.img"]);
    bench.check_in(1);
    bench.core.joined(bench.now, Ipv4Addr::new(192, 168, 0, 9));
    bench.wait(MAX_WAIT, &[1]);
    let actions = bench.actions();
    assert!(!is_started(&actions));
    let end = end_of(&actions).unwrap().1;
    assert!(matches!(end, Reason::NobodyConnected { .. }), "{end:?}");
}

#[test]
fn a_connection_that_is_lost_for_a_moment_fails_no_session() {
    let mut bench = bench(2, &["d1p1.img"]);
    bench.check_in(1);
    bench.join(1);
    bench.wait(CONNECT_WAIT + 50, &[1]);
    bench.leave(1);
    bench.actions();
    bench.wait(CONNECT_WAIT - 1, &[1]);
    assert_eq!(bench.actions(), []);
    // It had waited for the others for long enough before.
    bench.join(1);
    bench.wait(1, &[1]);
    assert!(is_started(&bench.actions()));
}

#[test]
fn the_wait_does_not_count_from_a_host_that_is_out() {
    let mut bench = bench(3, &["d1p1.img"]);
    bench.check_in(1);
    bench.check_in(2);
    bench.join(1);
    bench.wait(100, &[1, 2]);
    bench.join(2);
    bench.fail(1, "no disk");
    bench.actions();
    bench.wait(MAX_WAIT - 1, &[2]);
    assert_eq!(bench.actions(), []);
    bench.wait(1, &[2]);
    assert!(is_started(&bench.actions()));
}

#[test]
fn a_wait_without_limit_is_no_overflow() {
    let mut plan = plan(2, &["d1p1.img"]);
    plan.max_wait = Duration::MAX;
    let now = epoch();
    let core = Core::new(plan, now);
    let mut bench = Bench { core, now };
    bench.check_in(1);
    bench.join(1);
    bench.wait(10_000, &[1]);
    let left = bench.core.snapshot(bench.now).starts_in;
    assert_eq!(left, Some(Duration::MAX - seconds(10_000)));
}

#[test]
fn between_streams_known_receivers_are_waited_for() {
    let mut bench = Bench::started(2, &["d1p1.img", "d1p2.img"]);
    bench.ended(&[(1, Completed), (2, Completed)]);
    bench.join(1);
    bench.actions();
    bench.wait(STREAM_WAIT - 1, &[1, 2]);
    assert_eq!(bench.actions(), []);
    bench.wait(1, &[1, 2]);
    let actions = bench.actions();
    let reason = Reason::NotConnectedFor {
        stream: d1p2(),
        seconds: Some(STREAM_WAIT),
    };
    assert_eq!(host_end(&actions, 2), failed(reason));
    assert!(is_started(&actions));
}

#[test]
fn a_silent_agent_is_given_up_between_streams() {
    let mut bench = Bench::started(2, &["d1p1.img", "d1p2.img"]);
    bench.ended(&[(1, Completed), (2, Completed)]);
    bench.join(1);
    bench.actions();
    bench.wait(AGENT_SILENCE - 1, &[1]);
    assert_eq!(bench.actions(), []);
    bench.wait(1, &[1]);
    let actions = bench.actions();
    let reason = Reason::SilentBefore {
        stream: d1p2(),
        seconds: AGENT_SILENCE,
    };
    assert_eq!(host_end(&actions, 2), failed(reason));
    assert!(is_started(&actions));
}

#[test]
fn silence_of_all_is_not_held_against_one() {
    let mut bench = Bench::started(2, &["d1p1.img", "d1p2.img"]);
    bench.ended(&[(1, Completed), (2, Completed)]);
    bench.join(1);
    bench.actions();
    // The network is gone: no host is heard. Host 1 was heard last.
    bench.wait(5, &[1]);
    bench.wait(2 * AGENT_SILENCE, &[]);
    assert_eq!(bench.actions(), []);
    bench.wait(AGENT_SILENCE - 1, &[1]);
    assert_eq!(bench.actions(), []);
    // The process was stopped for an hour.
    bench.now += seconds(30);
    bench.core.tick(bench.now);
    bench.wait(30, &[1]);
    assert_eq!(bench.actions(), []);
    bench.core.contact(bench.now, HostId(2));
    bench.join(2);
    assert!(is_started(&bench.actions()));
}

#[test]
fn the_time_of_grace_counts_from_the_last_sign() {
    let mut bench = Bench::started(2, &["d1p1.img"]);
    bench.ended(&[(1, Completed), (2, Completed)]);
    bench.actions();
    bench.wait(5000, &[1, 2]);
    assert_eq!(bench.actions(), []);
    bench.wait(GRACE - 1, &[1]);
    assert_eq!(bench.actions(), []);
    let left = bench.core.snapshot(bench.now).gives_up_in;
    assert_eq!(left, Some(seconds(1)));
    bench.wait(1, &[1]);
    let overdue = Reason::Overdue { seconds: GRACE };
    assert_eq!(host_end(&bench.actions(), 2), failed(overdue));
}

#[test]
fn a_client_that_calls_itself_otherwise_is_no_news() {
    let mut bench = bench(2, &["d1p1.img"]);
    bench.check_in(1);
    bench.actions();
    for version in 0..9 {
        bench.check_in_as(1, &format!("fos-agent/{version}"));
        assert_eq!(bench.actions(), []);
    }
    // Whether it can begin a stream again is.
    bench.check_in_as(1, STOCK);
    assert_eq!(facts(&bench.actions()).count(), 1);
}

#[test]
fn a_start_that_is_not_stored_yet_does_not_stand_still() {
    let mut bench = bench(1, &["d1p1.img"]);
    bench.check_in(1);
    bench.join(1);
    assert!(is_started(&bench.actions()));
    for _ in 0..2 * STALL_LIMIT {
        bench.core.start_waits(bench.now);
        bench.wait(1, &[1]);
    }
    assert_eq!(bench.actions(), []);
    bench.wait(STALL_LIMIT, &[1]);
    let end = end_of(&bench.actions()).unwrap().1;
    assert!(matches!(end, Reason::StoodStill { .. }), "{end:?}");
}

#[test]
fn hosts_are_waited_for_from_the_moment_that_they_can_connect() {
    let mut bench = bench(1, &["d1p1.img"]);
    bench.check_in(1);
    bench.actions();
    for _ in 0..2 * CONNECT_WAIT {
        bench.core.sender_waits(bench.now);
        bench.wait(1, &[1]);
    }
    assert_eq!(bench.actions(), []);
    bench.wait(CONNECT_WAIT, &[1]);
    let end = end_of(&bench.actions()).unwrap().1;
    assert!(matches!(end, Reason::NobodyConnected { .. }), "{end:?}");
}

#[test]
fn a_person_may_start_without_those_that_are_missing() {
    let mut bench = bench(3, &["d1p1.img"]);
    assert_eq!(
        bench.core.start_now(bench.now),
        Err(NotStarted::NobodyConnected)
    );
    bench.check_in(1);
    assert_eq!(
        bench.core.start_now(bench.now),
        Err(NotStarted::NobodyConnected)
    );
    bench.join(1);
    bench.check_in(2);
    bench.actions();
    assert_eq!(bench.core.start_now(bench.now), Ok(()));
    let actions = bench.actions();
    let missing = vec!["LAB-02".to_owned(), "LAB-03".to_owned()];
    assert_eq!(notes(&actions), [(None, Note::StartedByHand { missing })]);
    assert!(is_started(&actions));
    assert_eq!(bench.core.start_now(bench.now), Err(NotStarted::Started));
    bench.core.transfer_started(bench.now);
    let actions = bench.actions();
    assert_eq!(host_end(&actions, 2), failed(Reason::NotConnected));
    bench.ended(&[(1, Completed)]);
    bench.complete(1);
    assert!(bench.core.is_ended());
    assert_eq!(bench.core.start_now(bench.now), Err(NotStarted::Over));
}
