//! Hosts that fail, fall silent, leave or hinder the others, and senders that fail.

use super::*;
use crate::domain::reason::{Evidence, Standstill};

fn dropped(seconds: u64, evidence: Evidence) -> Reason {
    Reason::Dropped {
        stream: d1p1(),
        seconds,
        evidence,
    }
}

#[test]
fn a_dropped_host_does_not_hold_the_others() {
    let mut bench = Bench::started(2, &["d1p1.img", "d1p2.img"]);
    bench.wait(20, &[1]);
    bench.drop(2, 17, SILENT);
    let actions = bench.actions();
    assert_eq!(host_end(&actions, 2), failed(dropped(17, Evidence::Gone)));
    bench.ended(&[(1, Completed), (2, Dropped)]);
    bench.join(1);
    assert!(is_started(&bench.actions()));
    // What is left of it cannot come back.
    bench.join(2);
    assert_eq!(bench.actions(), [Action::Remove(ip(2))]);
}

#[test]
fn a_dropped_receiver_has_all_the_evidence() {
    let silent = |has_acknowledged| DropCause::Silent { has_acknowledged };
    let no_progress = |has_data| DropCause::NoProgress { has_data };
    for (heard, cause, expected) in [
        (&[1][..], silent(true), Evidence::Gone),
        (&[1][..], silent(false), Evidence::Gone),
        (&[1, 2][..], silent(true), Evidence::HeardByHttp),
        (&[1, 2][..], silent(false), Evidence::HeardByHttpNeverData),
        (&[1, 2][..], DropCause::NotListening, Evidence::NotListening),
        (&[1][..], DropCause::NotListening, Evidence::NotListening),
        (
            &[1, 2][..],
            no_progress(false),
            Evidence::AnswersWithoutData,
        ),
        (&[1][..], no_progress(true), Evidence::AnswersWithLoss),
        (
            &[1, 2][..],
            DropCause::DiskStandsStill,
            Evidence::DiskStandsStill,
        ),
    ] {
        let mut bench = Bench::started(2, &["d1p1.img"]);
        bench.wait(20, heard);
        bench.drop(2, 16, cause);
        let end = host_end(&bench.actions(), 2);
        assert_eq!(end, failed(dropped(16, expected)), "{heard:?} {cause:?}");
    }
}

#[test]
fn one_that_is_left_behind_has_the_figures() {
    let mut bench = Bench::started(2, &["d1p1.img"]);
    bench.wait(20, &[1, 2]);
    let slow = DropCause::Slow {
        bytes_per_second: 4_800_000,
        waited_percent: 90,
    };
    bench.drop(2, 1, slow);
    let reason = Reason::LeftBehind {
        stream: d1p1(),
        bytes_per_second: 4_800_000,
        waited_percent: 90,
    };
    assert_eq!(host_end(&bench.actions(), 2), failed(reason));
}

#[test]
fn who_is_silent_while_others_are_heard_is_dropped() {
    let mut bench = Bench::started(2, &["d1p1.img"]);
    let limit = seconds(15);
    let slow = |bench: &mut Bench, silent| {
        bench
            .core
            .slow(bench.now, ip(2), seconds(silent), limit, false);
        host_end(&bench.actions(), 2)
    };
    bench.wait(20, &[1]);
    assert_eq!(slow(&mut bench, 14), None);
    // No host is heard for a while: the network.
    bench.wait(40, &[]);
    assert_eq!(slow(&mut bench, 60), None);
    bench.wait(15, &[1]);
    let end = slow(&mut bench, 74);
    assert_eq!(end, None, "it has as long as the others had before");
    bench.wait(1, &[1]);
    assert_eq!(slow(&mut bench, 76), failed(dropped(76, Evidence::Gone)));
    let mut bench = Bench::started(2, &["d1p1.img"]);
    bench.wait(20, &[1, 2]);
    assert_eq!(
        slow(&mut bench, 16),
        failed(dropped(16, Evidence::HeardByHttpNeverData))
    );
}

#[test]
fn at_the_rendezvous_silence_is_no_departure() {
    let mut bench = bench(2, &["d1p1.img"]);
    bench.check_in(1);
    bench.join(1);
    bench.wait(20, &[1]);
    bench.actions();
    let long = seconds(20);
    bench.core.slow(bench.now, ip(1), long, long, false);
    assert_eq!(bench.actions(), []);
}

#[test]
fn a_failure_report_ends_only_that_host() {
    let mut bench = Bench::started(2, &["d1p1.img", "d1p2.img"]);
    bench.ended(&[(1, Completed), (2, Completed)]);
    bench.join(1);
    bench.actions();
    bench.fail(2, "disk full");
    let actions = bench.actions();
    assert_eq!(host_end(&actions, 2), failed(reported("disk full", None)));
    assert!(
        is_started(&actions),
        "the other one was waiting only for it"
    );
}

#[test]
fn all_hosts_failing_ends_the_session() {
    let mut bench = Bench::started(2, &["d1p1.img"]);
    for host in [1, 2] {
        bench.fail(host, "checksum error");
    }
    let actions = bench.actions();
    assert_eq!(stops(&actions), [StopKind::Plain]);
    assert_eq!(end_of(&actions).unwrap().0, State::Failed);
    assert!(bench.core.is_ended());
}

#[test]
fn a_failing_sender_ends_the_session_with_its_reason() {
    let mut bench = Bench::started(1, &["d1p1.img"]);
    bench.core.sender_failed(bench.now, "I/O error");
    let actions = bench.actions();
    let reason = Reason::SenderFailed {
        stream: d1p1(),
        text: "I/O error".into(),
    };
    assert_eq!(end_of(&actions), failed(reason.clone()));
    let because = Reason::SessionFailed(Box::new(reason));
    assert_eq!(host_end(&actions, 1), failed(because));
}

#[test]
fn a_client_without_share_may_try_again_a_few_times() {
    let mut bench = bench(1, &["d1p1.img"]);
    let blame = |bench: &mut Bench| {
        let blamed = bench.core.client_blamed(bench.now, HostId(1), &own(1));
        assert_eq!(blamed, Ok(()));
    };
    for _ in 0..2 {
        bench.check_in(1);
        blame(&mut bench);
        assert!(!bench.core.is_ended());
    }
    bench.check_in(1);
    bench.actions();
    blame(&mut bench);
    let end = host_end(&bench.actions(), 1);
    assert_eq!(end, failed(Reason::ShareUnusable));
    assert!(bench.core.is_ended());
}

#[test]
fn who_restarts_for_the_share_is_not_let_in_until_it_is_back() {
    let mut bench = bench(2, &["d1p1.img"]);
    bench.check_in(1);
    bench.check_in(2);
    bench.join(1);
    bench.join(2);
    bench.leave(2);
    bench.ended(&[]);
    bench.join(1);
    bench.actions();
    let blamed = bench.core.client_blamed(bench.now, HostId(1), &own(1));
    assert_eq!(blamed, Ok(()));
    let actions = bench.actions();
    assert_eq!(actions[0], Action::Remove(ip(1)));
    assert_eq!(admitted(&actions), Some(&[ip(2)][..]));
    assert_eq!(notes(&actions), [(Some(1), Note::ShareUnusable)]);
    // Its receiver had asked before.
    bench.join(1);
    bench.join(2);
    assert_eq!(bench.actions(), [Action::Remove(ip(1))]);
    bench.check_in(1);
    assert_eq!(admitted(&bench.actions()), Some(&[ip(1), ip(2)][..]));
}

#[test]
fn who_blames_the_share_in_mid_stream_has_restarted() {
    let mut bench = Bench::started(2, &["d1p1.img"]);
    let blamed = bench.core.client_blamed(bench.now, HostId(1), &own(1));
    assert_eq!(blamed, Ok(()));
    let restarted = Reason::Restarted { stream: d1p1() };
    assert_eq!(host_end(&bench.actions(), 1), failed(restarted));
}

#[test]
fn who_leaves_is_asked_for_the_reason_and_holds_up_no_other() {
    let mut bench = Bench::started(2, &["d1p1.img", "d1p2.img"]);
    bench.leave(2);
    assert_eq!(bench.actions(), []);
    bench.ended(&[(1, Completed), (2, Left)]);
    bench.join(1);
    assert!(is_started(&bench.actions()));
    bench.wait(1, &[1]);
    bench.fail(2, "checksum error in d1p1.img");
    let left = Reason::Left { stream: d1p1() };
    assert_eq!(
        host_end(&bench.actions(), 2),
        failed(reported("checksum error in d1p1.img", Some(left)))
    );
}

#[test]
fn when_all_leave_their_reasons_come_before_the_end() {
    let mut bench = Bench::started(2, &["d1p1.img", "d1p2.img"]);
    bench.leave(1);
    bench.leave(2);
    bench.ended(&[(1, Left), (2, Left)]);
    assert_eq!(bench.actions(), [], "no further stream without hosts");
    bench.fail(1, "disk full");
    bench.wait(9, &[]);
    assert!(!bench.core.is_ended());
    bench.wait(1, &[]);
    let (state, sum) = summary_of(end_of(&bench.actions()));
    assert_eq!(state, State::Failed);
    let left = Reason::Left { stream: d1p1() };
    let troubles = [
        (
            "LAB-01".to_owned(),
            Box::new(reported("disk full", Some(left.clone()))),
        ),
        ("LAB-02".to_owned(), Box::new(left)),
    ];
    assert_eq!(sum.troubles, troubles);
}

#[test]
fn a_reason_that_comes_late_is_added() {
    let mut bench = Bench::started(2, &["d1p1.img"]);
    bench.wait(20, &[1]);
    bench.drop(2, 20, SILENT);
    bench.actions();
    for text in ["network cable pulled", "and more"] {
        bench.fail(2, text);
    }
    let actions = bench.actions();
    assert_eq!(actions.len(), 1);
    let before = dropped(20, Evidence::Gone);
    assert_eq!(
        host_end(&actions, 2),
        failed(reported("network cable pulled", Some(before)))
    );
}

#[test]
fn a_sender_that_ends_before_it_began_is_opened_again() {
    let mut bench = bench(1, &["d1p1.img"]);
    bench.check_in(1);
    bench.join(1);
    bench.actions();
    bench.leave(1);
    bench.ended(&[]);
    assert!(bench.actions().contains(&Action::OpenStream(0)));
    bench.join(1);
    bench.begin();
    assert_eq!(bench.core.phase, Phase::Sending { stream: 0 });
}

#[test]
fn a_start_that_finds_no_receiver_is_taken_back() {
    let mut bench = bench(2, &["d1p1.img"]);
    let mut stored = model::Stored::new(&bench.core.plan);
    bench.check_in(1);
    bench.join(1);
    bench.wait(MAX_WAIT, &[1]);
    let actions = bench.actions();
    assert!(is_started(&actions));
    stored.apply_all(&actions);
    bench.leave(1);
    bench.ended(&[]);
    stored.apply_all(&bench.actions());
    assert_eq!(stored.session.started_at, None);
    assert_eq!(stored.session.has_records, None);
    // No byte has flowed, so after a restart nobody is late.
    let again = stored.resume(bench.now);
    assert!(again.core.awaits_check_ins());
    let statuses = again.core.snapshot(again.now).members;
    assert_eq!(statuses[1].status, SeatStatus::Expected);
    // The next start is one of its own, with what is decided then.
    bench.check_in_as(2, STOCK);
    bench.join(1);
    bench.join(2);
    let actions = bench.actions();
    assert!(facts(&actions).any(|fact| *fact
        == Fact::StreamStarting {
            stream: 0,
            run: 1,
            has_records: false,
        }));
    stored.apply_all(&actions);
    // Between two streams the session has started.
    bench.core.transfer_started(bench.now);
    bench.actions();
    assert_eq!(stored.session.has_records, Some(false));
}

#[test]
fn who_is_cancelled_while_the_start_is_ordered_holds_up_no_other() {
    let mut bench = Bench::started(2, &["d1p1.img", "d1p2.img"]);
    bench.ended(&[(1, Completed), (2, Completed)]);
    bench.join(1);
    bench.join(2);
    bench.core.host_cancelled(bench.now, HostId(1));
    bench.leave(2);
    bench.actions();
    bench.ended(&[]);
    assert_eq!(admitted(&bench.actions()), Some(&[ip(2)][..]));
    bench.join(2);
    assert!(is_started(&bench.actions()));
}

fn acked(bytes: u64) -> Movement {
    Movement {
        acked: bytes,
        ..Movement::default()
    }
}

#[test]
fn who_answers_but_takes_no_data_is_dropped_for_the_others() {
    let mut bench = Bench::started(3, &["d1p1.img"]);
    for bytes in 1..=3 {
        bench.core.moved(bench.now, acked(bytes));
        bench.core.behind([ip(1), ip(2)]);
        bench.wait(STALL_LIMIT - 1, &[1, 2, 3]);
        assert_eq!(bench.actions(), [], "it still moves");
    }
    bench.core.behind([ip(2)]);
    bench.wait(1, &[1, 2, 3]);
    let actions = bench.actions();
    let stalled = Reason::Stalled {
        stream: d1p1(),
        seconds: STALL_LIMIT,
    };
    assert_eq!(host_end(&actions, 2), failed(stalled));
    assert!(actions.contains(&Action::Remove(ip(2))));
    assert_eq!(end_of(&actions), None);
    // The others have their own time.
    bench.wait(STALL_LIMIT - 1, &[1, 3]);
    assert_eq!(bench.actions(), []);
}

#[test]
fn a_stream_that_stands_still_fails_with_the_cause() {
    for (behind, cause) in [
        (vec![], Standstill::ImageStore),
        (vec![ip(1), ip(2)], Standstill::Receivers),
    ] {
        let mut bench = Bench::started(2, &["d1p1.img"]);
        bench.core.moved(bench.now, acked(7));
        bench.core.behind(behind);
        bench.wait(STALL_LIMIT - 1, &[1, 2]);
        assert_eq!(bench.actions(), []);
        bench.wait(1, &[1, 2]);
        let actions = bench.actions();
        let reason = Reason::StoodStill {
            stream: d1p1(),
            seconds: STALL_LIMIT,
            cause,
        };
        assert_eq!(end_of(&actions), failed(reason));
        assert_eq!(stops(&actions), [StopKind::Plain]);
    }
}

#[test]
fn a_sender_that_does_not_begin_is_no_fault_of_a_host() {
    let mut bench = Bench::started(2, &["d1p1.img", "d1p2.img"]);
    // At the end of the first stream one was behind.
    bench.core.behind([ip(2)]);
    bench.ended(&[(1, Completed), (2, Completed)]);
    bench.join(1);
    bench.join(2);
    bench.wait(STALL_LIMIT, &[1, 2]);
    let reason = Reason::StoodStill {
        stream: d1p2(),
        seconds: STALL_LIMIT,
        cause: Standstill::Sender,
    };
    assert_eq!(end_of(&bench.actions()), failed(reason));
}

#[test]
fn a_start_that_waits_for_the_files_fails_for_the_image_store() {
    let mut bench = bench(1, &["d1p1.img"]);
    bench.check_in(1);
    bench.join(1);
    assert!(is_started(&bench.actions()));
    bench.core.start_waits_for_files(true);
    bench.wait(STALL_LIMIT, &[1]);
    let Some((_, Reason::StoodStill { cause, .. })) = end_of(&bench.actions()) else {
        panic!("it fails");
    };
    assert_eq!(cause, Standstill::ImageStore);
}

#[test]
fn a_stop_of_the_server_is_no_standstill() {
    let mut bench = Bench::started(1, &["d1p1.img"]);
    bench.now += seconds(3 * STALL_LIMIT);
    bench.wait(STALL_LIMIT - 1, &[1]);
    assert_eq!(bench.actions(), []);
}
