//! A database or an image store that fails or hangs: nothing is promised that is not stored, everybody
//! is told, and what was decided is stored afterwards.

use std::sync::mpsc;

use axum::http::StatusCode;
use fog::task::State;

use super::assert_refused;
use super::boot::ticket;
use crate::domain::reason::Defect;
use crate::domain::session::core::Phase;
use crate::domain::{Reason, Refusal, SessionId};
use crate::ops::{CancelError, DeployError, DeployRequest};
use crate::sender::SenderEvent;
use crate::session::Wait;
use crate::store::{Change, StoreError};
use crate::testing::{Bench, DEADLINE, Order, bench, ip, mac, wait_for};

async fn asked(bench: &Bench, host: u8, path: &str) -> (StatusCode, String) {
    let body = format!(
        "mac={}&type=down&agent=fos-agent/0.1.0&text=broken",
        mac(host)
    );
    bench.send(ip(host), path, body).await
}

/// The answer is 503 and promises nothing.
async fn assert_asked_again(bench: &Bench, host: u8, path: &str) {
    let (status, text) = asked(bench, host, path).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {text}");
    assert!(!text.contains("##"), "{path}: {text}");
}

fn waits_for_database(live: &crate::session::Live) -> bool {
    let mut waits = live.waits.iter();
    waits.any(|wait| matches!(wait, Wait::Database { .. }))
}

async fn sent(bench: &Bench, id: SessionId, hosts: &[u8]) {
    for index in [0, 1] {
        bench.send_stream(index, hosts).await;
    }
    bench
        .until(id, |live| live.snapshot.phase == Phase::Finishing)
        .await;
}

#[tokio::test]
async fn nothing_is_promised_that_cannot_be_stored() {
    let bench = bench().await;
    let id = bench.deploy(&[1, 2]).await;
    bench.faults.fail();
    assert_asked_again(&bench, 1, "mc_checkin.php").await;
    assert_eq!(bench.member(id, 1).await.state, State::Queued);
    bench.until(id, waits_for_database).await;
    let status = bench.status(Some(id)).await;
    let text = &status.sessions[0].text;
    assert!(text.contains("told to fail"), "{text}");

    bench.faults.release();
    for host in [1, 2] {
        wait_for("the check-in", async || {
            let (status, text) = asked(&bench, host, "mc_checkin.php").await;
            (status == StatusCode::OK && text == "##@GO").then_some(())
        })
        .await;
        assert_eq!(bench.member(id, host).await.state, State::InProgress);
    }
    bench.until(id, |live| !waits_for_database(live)).await;
    sent(&bench, id, &[1, 2]).await;

    bench.faults.fail();
    assert_asked_again(&bench, 1, "Post_Stage3.php").await;
    assert_asked_again(&bench, 1, "Post_Stage3.php").await;
    assert_asked_again(&bench, 2, "taskerror.php").await;
    for host in [1, 2] {
        assert_eq!(bench.member(id, host).await.state, State::InProgress);
    }
    assert!(bench.session(id).await.state.is_active());
    bench.faults.release();
    // Decided once, stored at last, whether they ask again or not.
    let session = bench.ended(id).await;
    assert_eq!(session.state, State::Failed);
    let states: Vec<_> = session.members.iter().map(|member| member.state).collect();
    assert_eq!(states, [State::Complete, State::Failed]);
    assert_eq!(bench.complete(1).await, "##");
    assert_eq!(bench.fail(2, "broken").await, "##");
}

#[tokio::test]
async fn no_byte_is_sent_before_its_start_is_stored() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    bench.ordered(&Order::Open(0)).await;
    bench.faults.fail();
    bench.sender.tell(SenderEvent::Joined(ip(1)));
    bench.until(id, waits_for_database).await;
    assert!(!bench.sender.orders().contains(&Order::Start));
    bench.faults.release();
    bench.ordered(&Order::Start).await;
    assert_eq!(bench.session(id).await.runs, 1);
}

#[tokio::test]
async fn a_ticket_is_stored_before_it_is_told() {
    let bench = bench().await;
    bench.deploy(&[1]).await;
    bench.faults.fail();
    let script = bench.boot(1).await;
    assert!(!script.contains("fosticket"), "{script}");
    assert!(script.ends_with("exit\n"), "{script}");
    bench.faults.release();
    let own = ticket(&bench.boot(1).await);
    assert_eq!(ticket(&bench.boot(1).await), own);
    let bench = bench.crash().await;
    assert_eq!(ticket(&bench.boot(1).await), own);
}

#[tokio::test]
async fn a_cancel_that_is_not_stored_is_no_success_and_holds_all_the_same() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    bench.ordered(&Order::Open(0)).await;
    bench.faults.fail();
    let cancelled = bench.ops.cancel(id, None).await;
    assert!(
        matches!(cancelled, Err(CancelError::NotStored(found)) if found == id),
        "{cancelled:?}"
    );
    let status = bench.status(Some(id)).await;
    assert_eq!(status.sessions[0].state, State::Cancelled);
    assert_refused(
        &bench.check_in(1).await,
        &Refusal::Over(Reason::SessionCancelled),
    );
    bench.faults.release();
    assert_eq!(bench.ended(id).await.state, State::Cancelled);
}

#[tokio::test]
async fn a_cancel_that_comes_too_late_is_no_success() {
    // One host of several, and the last one: then the session is over too.
    for hosts in [&[1, 2][..], &[1]] {
        let bench = bench().await;
        let id = bench.deploy(hosts).await;
        for host in hosts {
            bench.check_in(*host).await;
        }
        sent(&bench, id, hosts).await;
        bench.faults.hang();
        let cancel = async {
            // The session has accepted the report, the database does not know it.
            wait_for("the report", async || {
                let live = bench.ops.sessions().running(id)?.live();
                let mut members = live.snapshot.members.iter();
                let is_complete = members.any(|member| member.state() == State::Complete);
                is_complete.then_some(())
            })
            .await;
            let host = crate::testing::name(1);
            let one = bench.ops.cancel(id, Some(&host));
            let all = async {
                match hosts {
                    [_] => Some(bench.ops.cancel(id, None).await),
                    _ => None,
                }
            };
            let release = async {
                for _ in 0..1000 {
                    // Both are asked by now.
                    tokio::task::yield_now().await;
                }
                bench.faults.release();
            };
            let (one, all, ()) = tokio::join!(one, all, release);
            (one, all)
        };
        let (answer, (one, all)) = tokio::join!(bench.complete(1), cancel);
        assert_eq!(answer, "##");
        assert_eq!(bench.member(id, 1).await.state, State::Complete);
        assert!(
            matches!(
                one,
                Err(CancelError::HostOver(_, _, State::Complete)
                    | CancelError::Over(_, State::Complete))
            ),
            "{one:?}"
        );
        let is_over = matches!(all, None | Some(Err(CancelError::Over(_, State::Complete))));
        assert!(is_over, "{all:?}");
    }
}

#[tokio::test]
async fn a_database_that_hangs_holds_neither_status_nor_the_senders() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    bench.start_stream(0, &[1]).await;
    bench.faults.hang();
    bench.end_stream(&[1]);
    // The next rendezvous opens: nothing is promised by it.
    bench.ordered(&Order::Open(1)).await;
    bench.sender.tell(SenderEvent::Joined(ip(1)));
    bench.until(id, |live| live.snapshot.connected == 1).await;
    let status = bench.status(Some(id)).await;
    assert_eq!(status.sessions[0].connected, 1);
    let starts = |bench: &Bench| {
        let orders = bench.sender.orders().into_iter();
        orders.filter(|order| *order == Order::Start).count()
    };
    assert_eq!(starts(&bench), 1);
    bench.faults.release();
    wait_for("the second stream", async || {
        (starts(&bench) == 2).then_some(())
    })
    .await;
}

/// Both orders of two requests, of which the first is still being stored.
#[tokio::test]
async fn a_check_in_that_waited_for_the_database_does_not_revive_a_cancelled_session() {
    for is_check_in_first in [true, false] {
        let bench = bench().await;
        let id = bench.deploy(&[1]).await;
        bench.until(id, |_| true).await;
        let writes = bench.faults.writes();
        bench.faults.hang();
        let check_in = asked(&bench, 1, "mc_checkin.php");
        let cancel = bench.ops.cancel(id, None);
        let waiting = wait_for("the first write", async || {
            (bench.faults.writes() > writes).then_some(())
        });
        let release = async {
            waiting.await;
            // Both are at the session by now, or will be: the order is that of the queue.
            bench
                .until(id, |live| {
                    matches!(live.snapshot.phase, Phase::Ended { .. })
                })
                .await;
            bench.faults.release();
        };
        let (cancelled, (status, text)) = match is_check_in_first {
            true => {
                let (answer, cancelled, ()) = tokio::join!(biased_first(check_in), cancel, release);
                (cancelled, answer)
            }
            false => {
                let (cancelled, answer, ()) = tokio::join!(biased_first(cancel), check_in, release);
                (cancelled, answer)
            }
        };
        cancelled.unwrap();
        assert!(status.is_success() || status == 503, "{status}: {text}");
        assert_eq!(bench.ended(id).await.state, State::Cancelled);
        assert_eq!(bench.member(id, 1).await.state, State::Cancelled);
        assert_eq!(
            bench
                .number("SELECT COUNT(*) FROM tasks WHERE taskStateID < 4")
                .await,
            0
        );
        // The host is free for the next one.
        let next = bench.deploy(&[1]).await;
        assert_eq!(bench.check_in(1).await, "##@GO");
        assert_eq!(bench.member(next, 1).await.state, State::InProgress);
    }
}

/// `join!` polls in its order: a name for that.
fn biased_first<T>(future: T) -> T {
    future
}

const ODD_VALUES: [(&str, &str); 8] = [
    ("fos_sessionHosts", "streamsDone = -1"),
    ("fos_sessionHosts", "ip = 'nonsense'"),
    ("fos_sessionHosts", "ticket = 'short'"),
    ("fos_sessions", "runs = -3"),
    ("fos_sessions", "startedAt = 'yesterday'"),
    ("multicastSessions", "msState = 77"),
    ("multicastSessions", "msImage = 'img'"),
    ("tasks", "taskStateID = 99"),
];

#[tokio::test]
async fn one_odd_value_harms_its_session_alone() {
    for (table, value) in ODD_VALUES {
        let bench = bench().await;
        let broken = bench.deploy(&[1]).await;
        let good = bench.deploy(&[2]).await;
        bench.check_in(1).await;
        let bench = bench.restart_without_supervisor().await;
        let condition = match table {
            "tasks" => "taskHostID = 1".to_owned(),
            _ => format!("msID = {broken}"),
        };
        let statement = format!("UPDATE {table} SET {value} WHERE {condition}");
        bench.sql(&statement).await;
        // It is told, with its place.
        let status = bench.status(None).await;
        assert_eq!(status.sessions.len(), 2, "{value}");
        let text = &status.sessions[1].text;
        let column = value.split(' ').next().unwrap();
        assert!(text.contains(column), "{value}: {text}");
        let bench = bench.restart().await;
        assert_eq!(bench.check_in(2).await, "##@GO");
        bench.send_stream(0, &[2]).await;
        let (_, answer) = asked(&bench, 1, "mc_checkin.php").await;
        assert!(!answer.contains("##"), "{value}: {answer}");
        // It fails, and its host is free.
        wait_for("the end of the broken session", async || {
            let query =
                "SELECT COUNT(*) FROM tasks WHERE taskHostID = 1 AND taskStateID IN (4, 5, 6)";
            (bench.number(query).await == 1).then_some(())
        })
        .await;
        assert_eq!(
            bench
                .number(&format!(
                    "SELECT msState FROM multicastSessions WHERE msID = {broken}"
                ))
                .await,
            6,
            "{value}"
        );
        assert!(bench.session(good).await.state.is_active());
        // Once: the supervisor follows changes, so a failure that announces itself would go round for ever.
        let sessions = bench.ops.sessions();
        assert!(sessions.handle(broken).await.unwrap().is_none());
        let mut changes = bench.store.changes();
        assert!(sessions.handle(broken).await.unwrap().is_none());
        let is_announced = std::iter::from_fn(|| changes.try_recv().ok())
            .any(|change| change == Change::Session(broken));
        assert!(!is_announced, "{value}");
        let next = bench.deploy(&[1]).await;
        bench.boot(1).await;
        assert_eq!(bench.check_in_stock(1).await, "##@GO", "{value}");
        assert!(bench.session(next).await.state.is_active());
    }
}

#[tokio::test]
async fn a_value_that_turns_odd_while_a_session_runs_fails_it_alone() {
    let bench = bench().await;
    let broken = bench.deploy(&[1]).await;
    let good = bench.deploy(&[2]).await;
    bench.check_in(1).await;
    bench.check_in(2).await;
    bench
        .sql(&format!(
            "UPDATE fos_sessions SET runs = 'many' WHERE msID = {broken}"
        ))
        .await;
    bench
        .sql("UPDATE tasks SET taskStateID = 99 WHERE taskHostID = 1")
        .await;
    assert_asked_again(&bench, 1, "taskerror.php").await;
    wait_for("the end of the broken session", async || {
        bench.ops.sessions().running(broken).is_none().then_some(())
    })
    .await;
    let state = format!("SELECT msState FROM multicastSessions WHERE msID = {broken}");
    assert_eq!(bench.number(&state).await, 6);
    assert!(bench.session(good).await.state.is_active());
    assert_eq!(bench.check_in(2).await, "##@GO");
}

#[tokio::test]
async fn a_broken_host_leaves_the_others_alone() {
    let bench = bench().await;
    bench
        .sql("UPDATE hostMAC SET hmMAC = 'nonsense' WHERE hmHostID = 1")
        .await;
    let bench = bench.restart().await;
    bench.deploy(&[2]).await;
    assert_eq!(bench.check_in(2).await, "##@GO");
    let (_, text) = asked(&bench, 1, "mc_checkin.php").await;
    assert_refused(&text, &Refusal::Unknown(mac(1).parse().unwrap()));
}

/// Files are looked at on threads of their own: here there is one, and it hangs.
#[test]
fn an_image_store_that_hangs_holds_neither_status_nor_cancel_nor_the_end() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (release, released) = mpsc::channel::<()>();
    runtime.block_on(async {
        let bench = bench().await;
        let cancelled = bench.deploy(&[1]).await;
        let other = bench.deploy(&[2]).await;
        tokio::task::spawn_blocking(move || released.recv().is_ok());
        let looks = |live: &crate::session::Live| live.is_looking_at_files();
        let ended = async {
            bench.until(cancelled, looks).await;
            bench.until(other, looks).await;
            let status = bench.status(Some(cancelled)).await;
            assert_eq!(status.sessions[0].state, State::New);
            bench.ops.cancel(cancelled, None).await.unwrap();
            assert_eq!(bench.ended(cancelled).await.state, State::Cancelled);
            let end = bench.ops.sessions().shut_down();
            tokio::time::timeout(DEADLINE, end).await.unwrap();
        };
        // Whoever waits is told to ask again.
        let ((first, _), (second, text), ()) = tokio::join!(
            asked(&bench, 1, "mc_checkin.php"),
            asked(&bench, 2, "mc_checkin.php"),
            ended
        );
        assert_eq!(
            (first, second),
            (
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::SERVICE_UNAVAILABLE
            ),
            "{text}"
        );
        assert!(bench.session(other).await.state.is_active());
        drop(release);
        bench.store.close().await;
    });
    runtime.shutdown_background();
}

#[tokio::test]
async fn a_stream_that_cannot_tell_its_end_is_not_ended_early() {
    use crate::domain::session::core::StopKind;
    // Format as stored, and how the sender of a stock client's stream is stopped.
    for (format, kind) in [
        ("partclone 0002", StopKind::EndStream),
        ("something 7", StopKind::Plain),
    ] {
        let bench = bench().await;
        let facts = format!(
            "UPDATE fos_imageStreams SET facts = REPLACE(facts, 'partclone 0002', '{format}')"
        );
        bench.sql(&facts).await;
        let id = bench.deploy(&[1]).await;
        bench.check_in_stock(1).await;
        bench.start_stream(0, &[1]).await;
        bench
            .until(id, |live| {
                live.snapshot.phase == Phase::Sending { stream: 0 }
            })
            .await;
        bench.ops.cancel(id, None).await.unwrap();
        bench.ordered(&Order::Stop(kind)).await;
    }
    // Our agents hear of it otherwise.
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    bench.start_stream(0, &[1]).await;
    bench
        .until(id, |live| {
            live.snapshot.phase == Phase::Sending { stream: 0 }
        })
        .await;
    bench.ops.cancel(id, None).await.unwrap();
    bench.ordered(&Order::Stop(StopKind::Plain)).await;
}

#[tokio::test]
async fn a_deploy_that_cannot_be_stored_creates_nothing() {
    let bench = bench().await;
    bench.faults.fail();
    let wanted = DeployRequest {
        image: "lab image".into(),
        hosts: vec!["LAB-01".into()],
        name: None,
        max_wait: None,
        is_shutdown: false,
        is_debug: false,
        is_woken: false,
        expected: 0,
        follow_ups: None,
    };
    let refused = bench.ops.deploy(&wanted).await.unwrap_err();
    let is_store = matches!(
        &refused,
        DeployError::Create(crate::store::CreateError::Store(StoreError::Unavailable(_)))
    );
    assert!(is_store, "{refused:?}");
    assert_eq!(bench.store.newest_sessions(9).await.unwrap(), []);
    bench.faults.release();
    assert_eq!(bench.ops.deploy(&wanted).await.unwrap().port, 63100);
}

#[tokio::test]
async fn a_source_that_was_never_let_go_ends_with_its_stream() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in_stock(1).await;
    bench.ordered(&Order::Open(0)).await;
    bench.faults.fail();
    bench.sender.tell(SenderEvent::Joined(ip(1)));
    bench.until(id, waits_for_database).await;
    drop(bench.ops.cancel(id, None).await);
    let kind = crate::domain::session::core::StopKind::EndStream;
    bench.ordered(&Order::Stop(kind)).await;
    let read = tokio::time::timeout(DEADLINE, bench.sender.bytes()).await;
    assert!(read.expect("it is let go").is_err());
}

#[tokio::test]
async fn a_start_that_cannot_be_stored_is_no_fault_of_the_sender() {
    let bench = crate::testing::bench_with(|config| {
        config.timing.stall_limit = std::time::Duration::from_secs(1);
    })
    .await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    bench.ordered(&Order::Open(0)).await;
    bench.faults.fail();
    bench.sender.tell(SenderEvent::Joined(ip(1)));
    bench.until(id, waits_for_database).await;
    // It is tried once a second.
    let tries = bench.faults.calls("apply");
    wait_for("more tries", async || {
        (bench.faults.calls("apply") > tries + 2).then_some(())
    })
    .await;
    bench.faults.release();
    bench.ordered(&Order::Start).await;
}

#[tokio::test]
async fn a_session_that_the_database_layer_cannot_store_fails() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.faults.break_at("apply");
    assert_asked_again(&bench, 1, "mc_checkin.php").await;
    let session = bench.ended(id).await;
    assert_eq!(session.state, State::Failed);
    assert!(
        matches!(&session.reason, Some(Reason::Internal { text }) if text == "told to break"),
        "{:?}",
        session.reason
    );
    assert_eq!(bench.member(id, 1).await.state, State::Failed);
}

#[tokio::test]
async fn an_end_that_is_not_stored_has_one_time() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    bench.faults.fail();
    drop(bench.ops.cancel(id, None).await);
    let ended = async || bench.status(Some(id)).await.sessions[0].ended_at.clone();
    let first = ended().await.expect("it has ended");
    wait_for("the next second", async || {
        (crate::clock::now().to_string() != first).then_some(())
    })
    .await;
    assert_eq!(ended().await.as_ref(), Some(&first));
}

#[tokio::test]
async fn a_session_of_which_a_row_is_broken_can_be_cancelled() {
    for is_running in [true, false] {
        let mut bench = bench().await;
        let id = bench.deploy(&[1]).await;
        bench.until(id, |_| true).await;
        if !is_running {
            bench = bench.restart_without_supervisor().await;
        }
        let sql = format!("UPDATE fos_sessions SET runs = 'many' WHERE msID = {id}");
        bench.sql(&sql).await;
        let cancelled = bench.ops.cancel(id, Some("LAB-01")).await;
        assert!(
            matches!(&cancelled, Err(CancelError::BrokenHosts(found, row))
                if *found == id && row.column == "runs"),
            "{cancelled:?}"
        );
        bench.ops.cancel(id, None).await.unwrap();
        let active = bench.store.active_sessions().await.unwrap();
        assert!(active.is_empty(), "{active:?}");
        let cancelled = bench.ops.cancel(id, None).await;
        let broken = matches!(cancelled, Err(CancelError::Store(StoreError::Broken(_))));
        assert!(broken, "{cancelled:?}");
    }
}

#[tokio::test]
async fn a_row_that_makes_no_sense_is_named_and_nobody_is_asked_to_ask_again() {
    let bench = bench().await;
    bench.deploy(&[1]).await;
    assert_eq!(bench.check_in(1).await, "##@GO");
    bench.sql("UPDATE images SET imageOSID = 'odd'").await;
    let path = format!("/fog/service/fos/manifest?mac={}", mac(1));
    let (status, told) = bench.get(ip(1), &path).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR, "{told}");
    assert!(
        told.contains("images") && told.contains("imageOSID"),
        "{told}"
    );
    let script = bench.boot(1).await;
    assert!(script.contains("imageOSID"), "{script}");
    assert!(!script.contains("chain"), "{script}");
}

/// Kernel arguments would tell of another image than the session sends.
#[tokio::test]
async fn an_image_row_that_was_changed_boots_nobody_into_its_session() {
    for change in ["imagePath = 'elsewhere'", "imageOSID = 9"] {
        let bench = bench().await;
        bench.deploy(&[1]).await;
        assert!(bench.boot(1).await.contains("kernel"));
        bench.sql(&format!("UPDATE images SET {change}")).await;
        let script = bench.boot(1).await;
        assert!(
            script.contains("was changed since the session began") && script.contains("deploy"),
            "{script}"
        );
        assert!(!script.contains("kernel"), "{script}");
    }
}

/// They would take the small files of the one, and the streams of the other.
#[tokio::test]
async fn a_session_whose_image_has_another_directory_does_not_go_on_after_a_restart() {
    let bench = bench().await;
    let session = bench.deploy(&[1]).await;
    assert_eq!(bench.check_in_stock(1).await, "##@GO");
    bench.sql("UPDATE images SET imagePath = 'elsewhere'").await;
    let bench = bench.restart().await;
    let ended = bench.ended(session).await;
    assert_eq!(
        ended.reason,
        Some(Reason::Unusable(Defect::OtherDirectory)),
        "{ended:?}"
    );
    assert!(ended.ended_at.is_some(), "{ended:?}");
    // The client was told to go: without an answer its receiver would wait for ever.
    let rejects = async || (!bench.sender.rejecting().is_empty()).then_some(());
    wait_for("the rendezvous that rejects", rejects).await;
    assert_eq!(bench.sender.rejecting(), [63100]);
}

/// With a server that cannot read the row nobody boots, and later nobody boots into something else.
#[tokio::test]
async fn an_image_row_that_was_corrected_boots_nobody_into_another_image() {
    for is_verified_by_older_version in [false, true] {
        let bench = bench().await;
        bench.deploy(&[1]).await;
        if is_verified_by_older_version {
            bench.sql("UPDATE fos_images SET settings = ''").await;
        }
        bench.sql("UPDATE images SET imageFormat = 'odd'").await;
        let bench = bench.restart().await;
        let script = bench.boot(1).await;
        assert!(script.contains("imageFormat"), "{script}");
        let corrected = "UPDATE images SET imageFormat = '0', imagePath = 'other'";
        bench.sql(corrected).await;
        let script = bench.boot(1).await;
        assert!(
            script.contains("was changed since the session began"),
            "{script}"
        );
        assert!(!script.contains("kernel"), "{script}");
    }
}

/// Some machines of the room would be restored in one way, the others in another.
#[tokio::test]
async fn an_image_row_that_was_changed_is_not_told_to_agents_that_run() {
    let bench = bench().await;
    bench.deploy(&[1]).await;
    assert_eq!(bench.check_in(1).await, "##@GO");
    let path = format!("/fog/service/fos/manifest?mac={}", mac(1));
    let (status, told) = bench.get(ip(1), &path).await;
    assert_eq!(status, StatusCode::OK, "{told}");
    bench.sql("UPDATE images SET imageTypeID = 1").await;
    let (status, told) = bench.get(ip(1), &path).await;
    assert_eq!(status, StatusCode::FORBIDDEN, "{told}");
    assert!(
        told.contains("was changed since the session began"),
        "{told}"
    );
}

/// A client of FOG would write the stream of a partition over the whole disk, and report success.
#[tokio::test]
async fn an_image_whose_row_was_changed_since_it_was_verified_is_not_deployed() {
    for change in [
        "imageTypeID = 4",
        "imageOSID = 9",
        "imageFormat = '9'",
        "imagePath = 'other'",
    ] {
        let bench = bench().await;
        let of_lab = "WHERE imageName = 'lab image'";
        bench
            .sql(&format!("UPDATE images SET {change} {of_lab}"))
            .await;
        let refused = bench
            .ops
            .deploy(&DeployRequest {
                image: "lab image".into(),
                hosts: vec!["LAB-01".into()],
                name: None,
                max_wait: None,
                is_shutdown: false,
                is_debug: false,
                is_woken: false,
                expected: 0,
                follow_ups: None,
            })
            .await;
        assert!(
            matches!(&refused, Err(DeployError::OtherSettings { .. })),
            "{change}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn clients_of_fog_that_are_still_to_come_are_rejected_after_the_end() {
    for (is_stock, expected) in [(true, vec![63100]), (false, Vec::new())] {
        let bench = bench().await;
        let session = bench.deploy(&[1]).await;
        match is_stock {
            true => bench.check_in_stock(1).await,
            false => bench.check_in(1).await,
        };
        bench.ops.cancel(session, None).await.unwrap();
        bench.ended(session).await;
        assert_eq!(bench.sender.rejecting(), expected);
    }
}

/// The rendezvous that rejects them ends with the server, and is there again for the rest of its time.
#[tokio::test]
async fn clients_of_fog_that_are_still_to_come_are_rejected_after_a_restart() {
    for (is_stock, is_recent, expected) in [
        (true, true, vec![63100]),
        (true, false, Vec::new()),
        (false, true, Vec::new()),
    ] {
        let bench = bench().await;
        let session = bench.deploy(&[1]).await;
        match is_stock {
            true => bench.check_in_stock(1).await,
            false => bench.check_in(1).await,
        };
        bench.ops.cancel(session, None).await.unwrap();
        bench.ended(session).await;
        if !is_recent {
            let old = "UPDATE multicastSessions SET msCompleteDateTime = '2020-01-01 00:00:00'";
            bench.sql(old).await;
        }
        let bench = bench.restart().await;
        if expected.is_empty() {
            // It looks for them before it runs another session.
            let next = bench.deploy(&[2]).await;
            bench.until(next, |_| true).await;
        } else {
            let rejects = async || (!bench.sender.rejecting().is_empty()).then_some(());
            wait_for("the rendezvous that rejects", rejects).await;
        }
        assert_eq!(bench.sender.rejecting(), expected, "{is_stock} {is_recent}");
    }
}
