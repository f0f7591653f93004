//! Completion reports.

use std::time::Duration;

use fog::task::State;

use super::assert_refused;
use crate::domain::session::core::Phase;
use crate::domain::session::{Fact, Session};
use crate::domain::{HostId, Reason, Refusal, SessionId};
use crate::testing::{Bench, Order, bench, bench_with, ip, mac, name, wait_for};
use crate::{clock, text};

fn no_task(host: u8, session: SessionId, reason: Reason) -> Refusal {
    Refusal::NoTask {
        host: name(host),
        mac: mac(host).parse().unwrap(),
        last: Some((session, reason)),
    }
}

#[tokio::test]
async fn completion_waits_for_the_end_of_the_last_stream() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    bench.send_stream(0, &[1]).await;
    bench.start_stream(1, &[1]).await;
    bench
        .until(id, |live| {
            live.snapshot.phase == Phase::Sending { stream: 1 }
        })
        .await;
    let log = bench.log_of(id);
    let heard = wait_for("the report in the log", async || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains("LAB-01 reports its end; waiting")
            .then_some(())
    });
    let mut answer = std::pin::pin!(bench.complete(1));
    tokio::select! {
        answer = &mut answer => panic!("answered before the end: {answer}"),
        () = heard => {}
    }
    bench.end_stream(&[1]);
    assert_eq!(answer.await, "##");
    assert_eq!(bench.ended(id).await.state, State::Complete);
}

#[tokio::test]
async fn a_completion_that_cannot_be_is_refused() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    assert_refused(&bench.complete(1).await, &Refusal::NothingSent);
    bench.send_stream(0, &[1]).await;
    bench.ordered(&Order::Open(1)).await;
    let reason = Reason::Incomplete { done: 1, total: 2 };
    let text = bench.complete(1).await;
    assert_refused(&text, &Refusal::Over(reason.clone()));
    assert_eq!(bench.ended(id).await.state, State::Failed);
    let text = bench.complete(1).await;
    assert_refused(&text, &no_task(1, id, reason));
}

/// A host whose report was not heard in time.
async fn overdue(bench: &Bench, host: u8) -> (SessionId, Session) {
    let id = bench.deploy(&[host]).await;
    bench.check_in(host).await;
    bench.send_stream(0, &[host]).await;
    bench.send_stream(1, &[host]).await;
    let session = bench.ended(id).await;
    assert_eq!(session.state, State::Failed);
    let reason = session.members[0].reason.clone();
    assert_eq!(reason, Some(Reason::Overdue { seconds: 0 }));
    (id, session)
}

#[tokio::test]
async fn a_completion_after_the_time_of_grace_still_counts() {
    let bench = bench_with(|config| config.timing.grace = Duration::ZERO).await;
    let (id, _) = overdue(&bench, 1).await;
    assert_eq!(bench.complete(1).await, "##");
    let session = bench.session(id).await;
    assert_eq!(session.state, State::Complete);
    assert_eq!(session.members[0].state, State::Complete);
    assert_eq!(session.members[0].reason, Some(Reason::WrittenLate));
    assert_eq!(bench.complete(1).await, "##");
}

#[tokio::test]
async fn a_completion_after_the_time_of_grace_counts_in_a_session_that_still_runs() {
    let bench = bench().await;
    let id = bench.deploy(&[1, 2]).await;
    for host in [1, 2] {
        bench.check_in(host).await;
    }
    for index in [0, 1] {
        bench.send_stream(index, &[1, 2]).await;
    }
    bench
        .until(id, |live| live.snapshot.phase == Phase::Finishing)
        .await;
    bench.ops.sessions().shut_down().await;
    let facts = vec![Fact::MemberEnded {
        host: HostId(1),
        state: State::Failed,
        reason: Reason::Overdue { seconds: 600 },
    }];
    assert_eq!(
        bench.store.apply(clock::now(), id, facts).await.unwrap(),
        []
    );
    let bench = bench.restart().await;
    assert_eq!(bench.complete(1).await, "##");
    assert_eq!(bench.complete(2).await, "##");
    let session = bench.ended(id).await;
    assert_eq!(session.state, State::Complete);
    assert_eq!(bench.member(id, 1).await.reason, Some(Reason::WrittenLate));
}

/// The driver of its session is not there yet, as the server has just started.
#[tokio::test]
async fn a_completion_starts_the_session_that_it_belongs_to() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    for index in [0, 1] {
        bench.send_stream(index, &[1]).await;
    }
    bench
        .until(id, |live| live.snapshot.phase == Phase::Finishing)
        .await;
    let bench = bench.restart_without_supervisor().await;
    assert!(bench.ops.sessions().running(id).is_none());
    assert_eq!(bench.complete(1).await, "##");
    assert_eq!(bench.ended(id).await.state, State::Complete);
}

#[tokio::test]
async fn reports_at_the_end_of_the_server_are_asked_again() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    for index in [0, 1] {
        bench.send_stream(index, &[1]).await;
    }
    bench
        .until(id, |live| live.snapshot.phase == Phase::Finishing)
        .await;
    bench.ops.sessions().shut_down().await;
    for path in [
        "mc_checkin.php",
        "Post_Stage3.php",
        "taskerror.php",
        "progress.php",
        "blame.php",
        "inventory.php",
    ] {
        let body = format!("mac={}&type=down&text=x", mac(1));
        let (status, answer) = bench.send(ip(1), path, body).await;
        assert_eq!(status, 503, "{path}: {answer}");
    }
    assert!(bench.member(id, 1).await.state.is_active());
}

#[tokio::test]
async fn a_repeated_report_is_accepted_though_the_host_has_a_new_task() {
    let bench = bench().await;
    let first = bench.deploy(&[1]).await;
    bench.boot(1).await;
    bench.check_in_stock(1).await;
    for index in [0, 1] {
        bench.send_stream(index, &[1]).await;
    }
    assert_eq!(bench.complete(1).await, "##");
    bench.ended(first).await;
    let second = bench.deploy_image("other image", &[1], None).await.session;
    assert_eq!(bench.complete(1).await, "##");
    assert_eq!(bench.member(second, 1).await.state, State::Queued);
}

#[tokio::test]
async fn the_reason_of_the_end_is_told_to_the_next_boot() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    bench.fail(1, "disk%20full").await;
    bench.ended(id).await;
    let script = bench.boot(1).await;
    let reason = bench.member(id, 1).await.reason.unwrap();
    assert!(script.contains("disk full"), "{script}");
    assert!(text::reason(&reason).contains("disk full"));
}

/// It comes after the time of grace, and its host has another session by now.
#[tokio::test]
async fn a_late_report_counts_though_the_host_has_a_new_task() {
    let bench = bench_with(|config| config.timing.grace = Duration::ZERO).await;
    let first = bench.deploy(&[1]).await;
    bench.boot(1).await;
    bench.check_in_stock(1).await;
    for index in [0, 1] {
        bench.send_stream(index, &[1]).await;
    }
    assert_eq!(bench.ended(first).await.state, State::Failed);
    let second = bench.deploy_image("other image", &[1], None).await.session;
    assert_ne!(bench.complete_from(ip(66), 1).await, "##");
    assert_eq!(bench.member(first, 1).await.state, State::Failed);
    for _ in 0..2 {
        assert_eq!(bench.complete(1).await, "##");
    }
    let member = bench.member(first, 1).await;
    assert_eq!(member.reason, Some(Reason::WrittenLate));
    assert_eq!(bench.session(first).await.state, State::Complete);
    assert_eq!(bench.member(second, 1).await.state, State::Queued);
}
