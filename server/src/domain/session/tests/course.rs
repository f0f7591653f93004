//! Sessions that go their way: check-ins, starts, ends, reports, cancels.

use super::*;

fn checked_in(host: i64, count: u32) -> Action {
    Action::Store(Fact::CheckedIn {
        host: HostId(host),
        address: ip(host),
        ticket: ticket(host),
        agent: AGENT.into(),
        count,
    })
}

fn starting(stream: usize) -> [Action; 2] {
    let has_record = true;
    [
        Action::Store(Fact::StreamStarting {
            stream,
            run: 0,
            has_records: has_record,
        }),
        Action::StartTransfer { has_record },
    ]
}

#[test]
fn a_session_goes_its_way() {
    let mut bench = bench(2, &["d1p1.img", "d1p2.img"]);
    bench.check_in(1);
    let opened = [
        checked_in(1, 1),
        Action::OpenStream(0),
        Action::Admit(vec![ip(1)]),
    ];
    assert_eq!(bench.actions(), opened);
    bench.join(1);
    assert_eq!(bench.actions(), []);
    bench.check_in(2);
    let joined = [checked_in(2, 2), Action::Admit(vec![ip(1), ip(2)])];
    assert_eq!(bench.actions(), joined);
    bench.join(2);
    assert_eq!(bench.actions(), starting(0), "stored before it is sent");
    assert_eq!(bench.core.phase, Phase::Starting { stream: 0 });
    bench.core.transfer_started(bench.now);
    assert_eq!(bench.core.phase, Phase::Sending { stream: 0 });
    assert_eq!(bench.actions(), []);
    bench.ended(&[(1, Completed), (2, Completed)]);
    let done = |host, count| {
        Action::Store(Fact::StreamsDone {
            host: HostId(host),
            count,
        })
    };
    let next = [
        done(1, 1),
        done(2, 1),
        Action::OpenStream(1),
        Action::Admit(vec![ip(1), ip(2)]),
    ];
    assert_eq!(bench.actions(), next);
    bench.join(2);
    bench.join(1);
    assert_eq!(bench.actions(), starting(1));
    bench.core.transfer_started(bench.now);
    assert_eq!(bench.complete(1), Completion::NotYet);
    bench.ended(&[(1, Completed), (2, Completed)]);
    assert_eq!(bench.actions(), [done(1, 2), done(2, 2)]);
    assert_eq!(bench.core.phase, Phase::Finishing);
    for host in [1, 1, 2] {
        assert_eq!(bench.complete(host), Completion::Accepted);
    }
    let actions = bench.actions();
    assert_eq!(
        host_end(&actions, 1),
        Some((State::Complete, Reason::Written))
    );
    let (state, sum) = summary_of(end_of(&actions));
    assert_eq!((state, sum.complete, sum.total), (State::Complete, 2, 2));
    assert_eq!(facts(&actions).count(), 3, "no result is stored twice");
}

#[test]
fn every_start_is_stored_before_it_is_ordered() {
    let mut bench = bench(2, &["d1p1.img", "d1p2.img"]);
    let mut starts = 0;
    let mut check = |actions: Vec<Action>| {
        for pair in actions.windows(2) {
            if let Action::StartTransfer { has_record } = pair[1] {
                let Action::Store(Fact::StreamStarting { has_records, .. }) = pair[0] else {
                    panic!("{pair:?}");
                };
                assert_eq!(has_records, has_record);
                starts += 1;
            }
        }
    };
    bench.check_in(1);
    bench.check_in_as(2, STOCK);
    for _ in 0..2 {
        bench.join(1);
        bench.join(2);
        check(bench.actions());
        // All leave before the sender begins: it begins anew.
        bench.leave(1);
        bench.leave(2);
        bench.ended(&[]);
    }
    bench.join(1);
    bench.wait(MAX_WAIT, &[1, 2]);
    check(bench.actions());
    bench.core.transfer_started(bench.now);
    bench.ended(&[(1, Completed)]);
    bench.actions();
    bench.join(1);
    check(bench.actions());
    assert_eq!(starts, 4);
}

#[test]
fn a_transfer_that_was_not_ordered_is_not_begun() {
    let mut bench = bench(2, &["d1p1.img"]);
    bench.check_in(1);
    bench.join(1);
    bench.core.transfer_started(bench.now);
    assert_eq!(bench.core.phase, Phase::Gathering { stream: 0 });
}

#[test]
fn a_repeated_check_in_is_accepted_and_counted_once() {
    let mut bench = bench(2, &["d1p1.img"]);
    for _ in 0..3 {
        bench.check_in(1);
    }
    assert_eq!(bench.actions().len(), 3);
    // It had joined: it restarted, and its old place must not start the session.
    bench.join(1);
    bench.check_in(1);
    assert_eq!(bench.actions(), [Action::Remove(ip(1))]);
    bench.check_in(2);
    bench.join(2);
    assert!(!is_started(&bench.actions()));
    bench.join(1);
    assert!(is_started(&bench.actions()));
}

#[test]
fn late_and_restarted_hosts_are_refused_with_the_reason() {
    let mut bench = bench(3, &["d1p1.img", "d1p2.img"]);
    bench.check_in(1);
    bench.check_in(2);
    bench.join(1);
    bench.join(2);
    bench.wait(MAX_WAIT, &[]);
    bench.begin();
    assert_eq!(
        host_end(&bench.actions(), 3),
        Some((State::Cancelled, Reason::Missing))
    );
    assert_eq!(bench.refused(3), Refusal::Over(Reason::Missing));
    let restarted = Reason::Restarted { stream: d1p1() };
    assert_eq!(bench.refused(2), Refusal::Over(restarted.clone()));
    let actions = bench.actions();
    assert!(actions.contains(&Action::Remove(ip(2))));
    assert_eq!(host_end(&actions, 2), failed(restarted));
    // The other one is not disturbed.
    bench.ended(&[(1, Completed), (2, Left)]);
    bench.join(1);
    assert!(is_started(&bench.actions()));
}

/// It may have written the partition table: of who is missing or late it is said that nothing was written.
#[test]
fn a_stock_client_that_was_told_to_go_is_neither_missing_nor_late() {
    for is_back in [false, true] {
        let mut bench = bench(2, &["d1p1.img"]);
        bench.check_in_as(1, STOCK);
        bench.check_in(2);
        bench.join(2);
        if !is_back {
            let blamed = bench.core.client_blamed(bench.now, HostId(1), &own(1));
            assert_eq!(blamed, Ok(()));
        }
        bench.wait(MAX_WAIT, &[2]);
        let mut actions = bench.actions();
        assert!(is_started(&actions));
        if is_back {
            assert_eq!(bench.refused(1), Refusal::Over(Reason::NotConnected));
        }
        bench.core.transfer_started(bench.now);
        actions.extend(bench.actions());
        assert_eq!(host_end(&actions, 1), failed(Reason::NotConnected));
    }
}

/// It comes to a rendezvous that is closed, perhaps when the session is over.
#[test]
fn a_stock_client_that_is_slow_to_connect_is_still_to_come() {
    for (agent, is_to_come) in [(STOCK, true), (AGENT, false)] {
        let mut bench = bench(2, &["d1p1.img"]);
        bench.check_in_as(1, agent);
        bench.check_in(2);
        bench.join(2);
        bench.wait(MAX_WAIT, &[1, 2]);
        bench.core.transfer_started(bench.now);
        assert_eq!(host_end(&bench.actions(), 1), failed(Reason::NotConnected));
        assert_eq!(bench.core.has_latecomers(), is_to_come, "{agent}");
    }
}

#[test]
fn a_check_in_while_the_start_is_ordered_is_too_late() {
    let mut bench = bench(2, &["d1p1.img"]);
    bench.check_in(1);
    bench.join(1);
    bench.wait(MAX_WAIT, &[1]);
    assert_eq!(bench.core.phase, Phase::Starting { stream: 0 });
    let late = Reason::Late { stream: d1p1() };
    assert_eq!(bench.refused(2), Refusal::Over(late.clone()));
    assert_eq!(host_end(&bench.actions(), 2), failed(late));
}

#[test]
fn completion_must_agree_with_what_the_sender_saw() {
    let mut bench = Bench::started(2, &["d1p1.img", "d1p2.img"]);
    let incomplete = Reason::Incomplete { done: 0, total: 2 };
    assert_eq!(
        bench.complete(1),
        Completion::Refused(Refusal::Over(incomplete.clone()))
    );
    assert_eq!(host_end(&bench.actions(), 1), failed(incomplete));
    bench.ended(&[(2, Completed)]);
    bench.join(2);
    bench.core.transfer_started(bench.now);
    bench.ended(&[(2, Left)]);
    bench.wait(10, &[]);
    let actions = bench.actions();
    let left = Reason::Left { stream: d1p2() };
    assert_eq!(host_end(&actions, 2), failed(left.clone()));
    assert_eq!(bench.complete(2), Completion::Refused(Refusal::Over(left)));
    assert_eq!(end_of(&actions).unwrap().0, State::Failed);
}

#[test]
fn a_report_before_anything_was_sent_ends_nothing() {
    let mut bench = bench(2, &["d1p1.img"]);
    bench.check_in(1);
    bench.join(1);
    bench.actions();
    let nothing = Completion::Refused(Refusal::NothingSent);
    assert_eq!(bench.complete(1), nothing);
    let refused = Completion::Refused(Refusal::NotCheckedIn);
    assert_eq!(bench.complete(2), refused);
    assert_eq!(bench.actions(), []);
}

#[test]
fn a_late_report_still_counts() {
    let mut bench = Bench::started(2, &["d1p1.img"]);
    bench.ended(&[(1, Completed), (2, Completed)]);
    bench.wait(GRACE, &[1]);
    let overdue = Reason::Overdue { seconds: GRACE };
    assert_eq!(host_end(&bench.actions(), 2), failed(overdue));
    assert_eq!(bench.complete(2), Completion::Accepted);
    assert_eq!(
        host_end(&bench.actions(), 2),
        Some((State::Complete, Reason::WrittenLate))
    );
    assert_eq!(bench.complete(1), Completion::Accepted);
    let (state, sum) = summary_of(end_of(&bench.actions()));
    assert_eq!((state, sum.complete), (State::Complete, 2));
}

#[test]
fn a_report_that_never_came_is_a_failure() {
    let mut bench = Bench::started(1, &["d1p1.img"]);
    bench.ended(&[(1, Completed)]);
    bench.wait(GRACE, &[]);
    assert_eq!(end_of(&bench.actions()).unwrap().0, State::Failed);
    assert_eq!(bench.complete(1), Completion::NotYet);
    assert_eq!(bench.actions(), [], "nothing follows the end");
}

#[test]
fn a_failure_after_the_completion_is_believed() {
    let mut bench = Bench::started(2, &["d1p1.img"]);
    bench.ended(&[(1, Completed), (2, Completed)]);
    assert_eq!(bench.complete(1), Completion::Accepted);
    bench.actions();
    bench.fail(1, "the boot loader cannot be written");
    let reason = reported("the boot loader cannot be written", Some(Reason::Written));
    assert_eq!(host_end(&bench.actions(), 1), failed(reason.clone()));
    assert_eq!(
        bench.complete(1),
        Completion::Refused(Refusal::Over(reason.clone())),
        "it cannot be taken back"
    );
    bench.fail(1, "and more");
    assert_eq!(bench.actions(), [], "the first report counts");
    assert_eq!(bench.complete(2), Completion::Accepted);
    let (state, sum) = summary_of(end_of(&bench.actions()));
    assert_eq!((state, sum.complete), (State::Failed, 1));
    assert_eq!(sum.troubles, [("LAB-01".to_owned(), Box::new(reason))]);
}

#[test]
fn a_failure_after_the_end_changes_the_result_of_the_session() {
    let mut bench = Bench::started(1, &["d1p1.img"]);
    bench.ended(&[(1, Completed)]);
    bench.complete(1);
    assert_eq!(end_of(&bench.actions()).unwrap().0, State::Complete);
    bench.fail(1, "trouble");
    let actions = bench.actions();
    let reason = reported("trouble", Some(Reason::Written));
    assert_eq!(host_end(&actions, 1), failed(reason));
    assert_eq!(end_of(&actions).unwrap().0, State::Failed);
    assert_eq!(stops(&actions), []);
    assert!(bench.core.is_ended());
    // What a person decided stays.
    let mut bench = Bench::started(2, &["d1p1.img"]);
    bench.fail(1, "trouble");
    bench.core.cancelled(bench.now);
    bench.actions();
    bench.fail(2, "trouble");
    assert_eq!(bench.actions(), []);
}

#[test]
fn a_completion_after_a_failure_is_refused() {
    let mut bench = Bench::started(2, &["d1p1.img"]);
    bench.ended(&[(1, Completed), (2, Completed)]);
    bench.fail(1, "disk full");
    let reason = reported("disk full", None);
    assert_eq!(
        bench.complete(1),
        Completion::Refused(Refusal::Over(reason))
    );
    // Overdue, then failed: the report of its end comes too late.
    bench.wait(GRACE, &[]);
    bench.actions();
    let mut bench = Bench::started(2, &["d1p1.img"]);
    bench.ended(&[(1, Completed), (2, Completed)]);
    bench.wait(GRACE, &[2]);
    bench.fail(1, "disk full");
    let overdue = Reason::Overdue { seconds: GRACE };
    let reason = reported("disk full", Some(overdue));
    assert_eq!(host_end(&bench.actions(), 1), failed(reason.clone()));
    assert_eq!(
        bench.complete(1),
        Completion::Refused(Refusal::Over(reason))
    );
}

#[test]
fn cancelling_one_host_leaves_the_rest() {
    let mut bench = bench(2, &["d1p1.img"]);
    bench.check_in(1);
    bench.join(1);
    bench.actions();
    bench.core.host_cancelled(bench.now, HostId(2));
    let actions = bench.actions();
    let cancelled = Some((State::Cancelled, Reason::TaskCancelled));
    assert_eq!(host_end(&actions, 2), cancelled);
    assert!(is_started(&actions));
    bench.core.transfer_started(bench.now);
    bench.ended(&[(1, Completed)]);
    bench.complete(1);
    let (state, sum) = summary_of(end_of(&bench.actions()));
    assert_eq!(state, State::Complete);
    assert_eq!((sum.complete, sum.total, sum.cancelled), (1, 2, 1));
}

#[test]
fn cancelling_the_session_stops_the_sender() {
    let mut bench = Bench::started(2, &["d1p1.img"]);
    bench.core.cancelled(bench.now);
    let actions = bench.actions();
    assert_eq!(stops(&actions), [StopKind::Plain]);
    let cancelled = (State::Cancelled, Reason::SessionCancelled);
    assert_eq!(end_of(&actions), Some(cancelled));
    assert_eq!(bench.refused(1), Refusal::Over(Reason::SessionCancelled));
    bench.core.cancelled(bench.now);
    bench.core.sender_failed(bench.now, "stopped");
    bench.join(1);
    assert_eq!(bench.actions(), []);
}

#[test]
fn stock_clients_see_the_stream_end_when_they_are_cancelled() {
    let is_removed = |actions: &[Action]| {
        let mut actions = actions.iter();
        actions.any(|action| matches!(action, Action::Remove(_)))
    };
    for (agents, expected) in [
        ([STOCK, STOCK], StopKind::EndStream),
        ([AGENT, STOCK], StopKind::EndStream),
        ([AGENT, AGENT], StopKind::Plain),
    ] {
        let started = || Bench::started_as(&agents, &["d1p1.img"]);
        let mut bench = started();
        bench.core.cancelled(bench.now);
        let actions = bench.actions();
        assert_eq!(stops(&actions), [expected], "{agents:?}");
        assert!(
            !is_removed(&actions),
            "who is removed does not see the end of the stream"
        );
        // The same by a failure of the server.
        let mut bench = started();
        let text = "trouble".to_owned();
        bench.core.fail(bench.now, Reason::Internal { text });
        let actions = bench.actions();
        assert_eq!(stops(&actions), [expected], "{agents:?}");
        assert!(!is_removed(&actions));
        // Host by host.
        let mut bench = started();
        bench.core.host_cancelled(bench.now, HostId(1));
        assert!(is_removed(&bench.actions()));
        bench.core.host_cancelled(bench.now, HostId(2));
        let actions = bench.actions();
        assert_eq!(stops(&actions), [expected], "{agents:?}");
        assert!(!is_removed(&actions));
    }
    // Before the start, and between two streams, they wait at the rendezvous for ever.
    for (agent, is_connected, expected) in [
        (STOCK, true, StopKind::EndStream),
        (STOCK, false, StopKind::Plain),
        (AGENT, true, StopKind::Plain),
    ] {
        let mut waiting = bench(2, &["d1p1.img"]);
        waiting.check_in_as(1, agent);
        let mut between = Bench::started_as(&[agent, AGENT], &["d1p1.img", "d1p2.img"]);
        between.ended(&[(1, Completed), (2, Completed)]);
        for mut bench in [waiting, between] {
            if is_connected {
                bench.join(1);
            }
            bench.actions();
            bench.core.cancelled(bench.now);
            let actions = bench.actions();
            assert_eq!(stops(&actions), [expected], "{agent:?}");
            assert!(!is_removed(&actions));
            let is_to_come = agent == STOCK && !is_connected;
            assert_eq!(bench.core.has_latecomers(), is_to_come, "{agent:?}");
        }
    }
    // No client is cut off that failed by itself.
    let mut bench = Bench::started_as(&[STOCK], &["d1p1.img"]);
    bench.fail(1, "trouble");
    assert_eq!(stops(&bench.actions()), [StopKind::Plain]);
}

#[test]
fn what_other_programs_cancel_is_cancelled_at_once() {
    let mut bench = bench(3, &["d1p1.img"]);
    let mut stored = model::Stored::new(&bench.core.plan);
    bench.check_in(1);
    bench.join(1);
    stored.apply_all(&bench.actions());
    bench.core.compare(bench.now, Some(&stored.session));
    assert_eq!(bench.actions(), []);
    for host in [2, 3] {
        stored.member(host).state = State::Cancelled;
    }
    bench.core.compare(bench.now, Some(&stored.session));
    let actions = bench.actions();
    let cancelled = Some((State::Cancelled, Reason::TaskCancelled));
    assert_eq!(host_end(&actions, 2), cancelled);
    assert_eq!(host_end(&actions, 3), cancelled);
    assert!(is_started(&actions), "no other is missing");
    stored.session.state = State::Cancelled;
    bench.core.compare(bench.now, Some(&stored.session));
    assert_eq!(end_of(&bench.actions()).unwrap().0, State::Cancelled);
}

#[test]
fn what_other_programs_ended_is_seen_as_they_ended_it() {
    let broken = Reason::Internal { text: "x".into() };
    for (state, reason, expected) in [
        (State::Failed, Some(broken.clone()), broken.clone()),
        (State::Cancelled, None, Reason::SessionCancelled),
        (State::Complete, None, Reason::Written),
    ] {
        let mut bench = Bench::started(2, &["d1p1.img"]);
        let mut stored = model::Stored::new(&bench.core.plan);
        // One host's task alone.
        stored.member(1).state = State::Complete;
        bench.core.compare(bench.now, Some(&stored.session));
        let end = host_end(&bench.actions(), 1);
        assert_eq!(end, Some((State::Complete, Reason::Written)));
        // And the session with what is left of it.
        stored.session.state = state;
        stored.session.reason = reason;
        bench.core.compare(bench.now, Some(&stored.session));
        let actions = bench.actions();
        assert_eq!(end_of(&actions), Some((state, expected)), "{state}");
        assert_eq!(stops(&actions), [StopKind::Plain]);
        assert!(host_end(&actions, 2).is_some());
    }
}

#[test]
fn what_other_programs_stored_first_counts() {
    let ended = |state, reason| Some((state, reason));
    for (found, expected) in [
        (None, ended(State::Cancelled, Reason::TaskCancelled)),
        (
            Some(State::Cancelled),
            ended(State::Cancelled, Reason::TaskCancelled),
        ),
        (
            Some(State::Complete),
            ended(State::Complete, Reason::Written),
        ),
    ] {
        // While it receives: it is put out, and nothing is stored of it.
        let mut bench = Bench::started(2, &["d1p1.img"]);
        bench.core.overruled(bench.now, HostId(1), found);
        let actions = bench.actions();
        assert_eq!(facts(&actions).count(), 0);
        let status = bench.core.snapshot(bench.now).members[0].status.clone();
        let SeatStatus::Ended(state, reason) = status else {
            panic!("{status:?}");
        };
        assert_eq!(Some((state, reason)), expected);
        bench.core.overruled(bench.now, HostId(2), found);
        let actions = bench.actions();
        assert_eq!(stops(&actions), [StopKind::Plain]);
        assert_eq!(facts(&actions).count(), 1, "the end of the session");
    }
    let mut bench = Bench::started_as(&[STOCK, STOCK], &["d1p1.img"]);
    let cancelled = Some(State::Cancelled);
    bench.core.overruled(bench.now, HostId(1), cancelled);
    assert_eq!(bench.actions(), [Action::Remove(ip(1))]);
    bench.core.overruled(bench.now, HostId(2), cancelled);
    assert_eq!(stops(&bench.actions()), [StopKind::EndStream]);
    // After the end.
    let mut bench = Bench::started(2, &["d1p1.img"]);
    bench.ended(&[(1, Completed), (2, Completed)]);
    bench.complete(1);
    bench.complete(2);
    bench.actions();
    bench.core.overruled(bench.now, HostId(1), cancelled);
    let (state, sum) = summary_of(end_of(&bench.actions()));
    assert_eq!((state, sum.complete), (State::Complete, 1));
    bench
        .core
        .overruled(bench.now, HostId(2), Some(State::Failed));
    let (state, sum) = summary_of(end_of(&bench.actions()));
    assert_eq!((state, sum.troubles.len()), (State::Failed, 1));
}

#[test]
fn a_stranger_starts_nothing_and_stands_for_no_host() {
    let stranger = Ipv4Addr::new(192, 168, 0, 9);
    let mut bench = bench(2, &["d1p1.img"]);
    bench.check_in(1);
    bench.join(1);
    bench.check_in(2);
    bench.actions();
    // It had asked before the sender was told whom to let in.
    bench.core.joined(bench.now, stranger);
    assert_eq!(bench.actions(), [Action::Remove(stranger)]);
    assert_eq!(bench.core.snapshot(bench.now).connected, 1);
    bench.wait(MAX_WAIT, &[1, 2]);
    bench.begin();
    assert_eq!(host_end(&bench.actions(), 2), failed(Reason::NotConnected));
    bench
        .core
        .stream_ended(bench.now, &[(ip(1), Completed), (stranger, Completed)]);
    assert!(matches!(bench.complete(2), Completion::Refused(_)));
    assert_eq!(bench.complete(1), Completion::Accepted);
    assert_eq!(end_of(&bench.actions()).unwrap().0, State::Failed);
}

#[test]
fn only_hosts_of_the_session_are_let_in_at_their_present_address() {
    let mut bench = bench(3, &["d1p1.img", "d1p2.img"]);
    bench.check_in(1);
    assert_eq!(admitted(&bench.actions()), Some(&[ip(1)][..]));
    bench.check_in(2);
    assert_eq!(admitted(&bench.actions()), Some(&[ip(1), ip(2)][..]));
    bench.wait(REBIND_AFTER, &[1]);
    let moved = bench.core.check_in(bench.now, HostId(2), &twin(2), AGENT);
    assert_eq!(moved, Ok(()));
    assert_eq!(admitted(&bench.actions()), Some(&[ip(1), ip(102)][..]));
    let failed = bench
        .core
        .client_failed(bench.now, HostId(2), &twin(2), "no disk");
    assert_eq!(failed, Ok(()));
    assert_eq!(admitted(&bench.actions()), Some(&[ip(1)][..]));
    bench.check_in(3);
    bench.join(1);
    bench.join(3);
    bench.begin();
    bench.leave(3);
    bench.ended(&[(1, Completed), (3, Left)]);
    assert_eq!(admitted(&bench.actions()), Some(&[ip(1)][..]));
}

#[test]
fn records_need_clients_that_know_them() {
    let mut bench = bench(2, &["d1p1.img"]);
    assert!(!bench.core.are_all_agents());
    bench.check_in(1);
    assert!(bench.core.are_all_agents());
    bench.check_in_as(2, STOCK);
    assert!(!bench.core.are_all_agents());
}

#[test]
fn records_are_decided_by_those_who_receive_the_first_stream() {
    let mut bench = bench(2, &["d1p1.img", "d1p2.img"]);
    bench.check_in(1);
    bench.check_in_as(2, STOCK);
    bench.join(1);
    bench.join(2);
    let start = |has_record| Action::StartTransfer { has_record };
    assert!(bench.actions().contains(&start(false)));
    // Both leave before it begins; a client of ours is booted instead of the other one.
    bench.leave(1);
    bench.leave(2);
    bench.ended(&[]);
    bench.wait(REBIND_AFTER, &[1]);
    assert_eq!(
        bench.core.check_in(bench.now, HostId(2), &twin(2), AGENT),
        Ok(())
    );
    bench.join(1);
    bench.core.joined(bench.now, twin(2).address);
    assert!(bench.actions().contains(&start(true)));
    bench.core.transfer_started(bench.now);
    bench
        .core
        .stream_ended(bench.now, &[(ip(1), Completed), (ip(102), Completed)]);
    bench.join(1);
    bench.core.joined(bench.now, twin(2).address);
    assert!(bench.actions().contains(&start(true)));
}

#[test]
fn a_session_that_another_program_ended_is_seen_as_it_is_stored() {
    for found in [None, Some(State::Cancelled), Some(State::Failed)] {
        let stored = found.unwrap_or(State::Cancelled);
        // While it sends: nothing of it goes on.
        let mut bench = Bench::started(2, &["d1p1.img"]);
        bench.core.session_overruled(bench.now, found);
        assert_eq!(end_of(&bench.actions()).unwrap().0, stored);
        // Its end was decided otherwise: that is not stored.
        let mut bench = Bench::started(1, &["d1p1.img"]);
        bench.ended(&[(1, Completed)]);
        bench.complete(1);
        assert_eq!(end_of(&bench.actions()).unwrap().0, State::Complete);
        bench.core.session_overruled(bench.now, found);
        assert_eq!(bench.actions(), []);
        let phase = bench.core.snapshot(bench.now).phase;
        assert!(
            matches!(phase, Phase::Ended { state, .. } if state == stored),
            "{phase:?}"
        );
    }
}
