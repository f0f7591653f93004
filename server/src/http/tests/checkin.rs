//! Check-ins, and what a session makes of them.

use std::time::Duration;

use fog::task::State;
use fos_api::Stage;

use super::assert_refused;
use crate::domain::session::core::{Phase, StopKind};
use crate::domain::{Reason, Refusal, SessionId, TaskId};
use crate::sender::SenderEvent;
use crate::testing::{Bench, Order, bench, ip, mac, name, wait_for};
use crate::text;

#[tokio::test]
async fn a_check_in_without_host_or_task_says_why() {
    let bench = bench().await;
    let known: fog::Mac = mac(1).parse().unwrap();
    for (body, refusal) in [
        ("", Refusal::NoMac),
        ("mac=", Refusal::NoMac),
        ("mac=00:00:00:00:00:00", Refusal::NoMac),
        ("mac=ff:ff:ff:ff:ff:ff|01:00:5e:00:00:01", Refusal::NoMac),
        (
            "mac=00:1b:21:00:00:09",
            Refusal::Unknown(mac(9).parse().unwrap()),
        ),
        (
            "mac=00:1b:21:00:00:01&type=down",
            Refusal::NoTask {
                host: name(1),
                mac: known,
                last: None,
            },
        ),
    ] {
        for path in ["mc_checkin.php", "Pre_Stage1.php"] {
            let text = bench.post(ip(1), path, body).await;
            assert_refused(&text, &refusal);
        }
    }
}

#[tokio::test]
async fn a_machine_that_was_booted_for_something_else_is_not_told_to_go() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    let body = format!("mac={}&type=up", mac(1));
    let found = "up".to_owned();
    let text = bench.post(ip(1), "mc_checkin.php", body).await;
    assert_refused(&text, &Refusal::OtherType { found });
    assert_eq!(bench.member(id, 1).await.state, State::Queued);
    assert_eq!(bench.check_in(1).await, "##@GO");
}

#[tokio::test]
async fn a_task_without_a_session_is_told() {
    let bench = bench().await;
    bench
        .sql(
            "INSERT INTO tasks (taskName, taskCreateTime, taskCheckIn, taskStateID, taskHostID, \
             taskImageID, taskTypeID, taskCreateBy) VALUES ('t', '2026-01-01 00:00:00', \
             '2026-01-01 00:00:00', 1, 1, 1, 8, 'fog')",
        )
        .await;
    let text = bench.check_in(1).await;
    assert_refused(&text, &Refusal::NoSession(TaskId(1)));
}

#[tokio::test]
async fn two_hosts_are_deployed() {
    let bench = bench().await;
    let id = bench.deploy(&[1, 2]).await;
    assert_eq!(bench.check_in(1).await, "##@GO");
    assert_eq!(bench.check_in(1).await, "##@GO");
    assert_eq!(bench.check_in(2).await, "##@GO");
    let view = bench.view(1).await;
    assert_eq!((view.expected, view.checked_in, view.records), (2, 2, None));
    assert_eq!(view.your_stream, Some(1));
    assert_eq!(bench.sender.admitted(), [ip(1), ip(2)]);
    let sessions = "FROM multicastSessions";
    assert_eq!(
        bench.number(&format!("SELECT msClients {sessions}")).await,
        2
    );
    assert_eq!(bench.number(&format!("SELECT msState {sessions}")).await, 3);

    let dir = bench.config.images.join("img");
    for (index, file) in ["d1p1.img", "d1p2.img"].iter().enumerate() {
        let bytes = bench.send_stream(index, &[1, 2]).await;
        let (record, image) = bytes.split_at(fog::record::RECORD_LEN);
        let stream = fog::store::StreamName::of_file(file);
        assert_eq!(
            fog::record::check(record, &stream, true),
            Ok(fog::record::RECORD_LEN)
        );
        assert_eq!(image, std::fs::read(dir.join(file)).unwrap());
    }
    assert_eq!(bench.complete(1).await, "##");
    assert_eq!(bench.complete(2).await, "##");
    let session = bench.ended(id).await;
    assert_eq!(session.state, State::Complete);
    let Some(Reason::Summary(summary)) = &session.reason else {
        panic!("{:?}", session.reason);
    };
    assert_eq!((summary.complete, summary.total), (2, 2));
    assert!(session.members.iter().all(|member| member.streams_done == 2
        && member.state == State::Complete
        && member.reason == Some(Reason::Written)));
    // The answer was lost: asked again, accepted again.
    assert_eq!(bench.complete(1).await, "##");
    assert_eq!(
        bench
            .number("SELECT COUNT(*) FROM tasks WHERE taskStateID = 4 AND taskPCT = 100")
            .await,
        2
    );
    let (hosts, _) = bench.store.hosts().await.unwrap();
    assert!(hosts.iter().all(|host| host.last_deploy.is_some()));
}

#[tokio::test]
async fn a_stock_client_in_the_session_means_no_records() {
    let bench = bench().await;
    bench.deploy(&[1, 2]).await;
    bench.check_in(1).await;
    assert_eq!(bench.check_in_stock(2).await, "##@GO");
    let bytes = bench.send_stream(0, &[1, 2]).await;
    assert_eq!(
        bytes,
        std::fs::read(bench.config.images.join("img/d1p1.img")).unwrap()
    );
    assert_eq!(bench.view(1).await.records, Some(false));
}

#[tokio::test]
async fn records_are_decided_anew_after_a_start_without_anybody() {
    let bench = bench().await;
    let id = bench.deploy(&[1, 2]).await;
    bench.check_in(1).await;
    bench.check_in_stock(2).await;
    for host in [1, 2] {
        bench.sender.tell(SenderEvent::Joined(ip(host)));
    }
    bench.ordered(&Order::Start).await;
    // All had left at that moment.
    bench.sender.tell(SenderEvent::Ended(Vec::new()));
    bench.fail(2, "x").await;
    bench.until(id, |live| live.snapshot.connected == 0).await;
    bench.send_stream(0, &[1]).await;
    assert_eq!(bench.view(1).await.records, Some(true));
}

#[tokio::test]
async fn a_changed_image_fails_the_session_at_the_first_check_in() {
    let bench = bench().await;
    let id = bench.deploy(&[1, 2]).await;
    std::fs::write(bench.config.images.join("img/d1p2.img"), b"other").unwrap();
    let answer = bench.check_in(1).await;
    let session = bench.ended(id).await;
    assert_eq!(session.state, State::Failed);
    let Some(Reason::ImageChanged { text: words }) = &session.reason else {
        panic!("{:?}", session.reason);
    };
    assert!(words.contains("d1p2.img was changed"), "{words}");
    let over = Reason::SessionFailed(Box::new(session.reason.clone().unwrap()));
    assert_refused(&answer, &Refusal::Over(over.clone()));
    assert_eq!(bench.sender.orders(), []);
    let view = bench.view(2).await;
    assert_eq!((view.stage, view.your_task), (Stage::Ended, State::Failed));
    assert_eq!(
        view.text,
        text::stored_member(&bench.member(id, 2).await, true)
    );
    assert_eq!(bench.member(id, 2).await.reason, Some(over));
}

#[tokio::test]
async fn a_check_in_after_the_last_stream_does_not_look_at_the_files() {
    let bench = bench().await;
    let id = bench.deploy(&[1, 2]).await;
    bench.check_in(1).await;
    bench.check_in(2).await;
    bench.send_stream(0, &[1, 2]).await;
    bench.send_stream(1, &[1, 2]).await;
    bench
        .until(id, |live| live.snapshot.phase == Phase::Finishing)
        .await;
    std::fs::remove_file(bench.config.images.join("img/d1p1.img")).unwrap();
    let text = bench.check_in(1).await;
    let reason = wait_for("the reason", async || bench.member(id, 1).await.reason).await;
    assert!(matches!(reason, Reason::Restarted { .. }), "{reason:?}");
    assert_refused(&text, &Refusal::Over(reason));
    assert_eq!(bench.complete(2).await, "##");
    let session = bench.ended(id).await;
    assert!(
        matches!(&session.reason, Some(Reason::Summary(summary)) if summary.complete == 1),
        "{:?}",
        session.reason
    );
}

#[tokio::test]
async fn a_session_that_another_program_cancelled_stops_its_sender() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    bench.ordered(&Order::Open(0)).await;
    bench.sql("UPDATE multicastSessions SET msState = 5").await;
    bench.sql("UPDATE tasks SET taskStateID = 5").await;
    // The start of the stream is compared before it is set.
    bench.sender.tell(SenderEvent::Joined(ip(1)));
    bench.ordered(&Order::Stop(StopKind::Plain)).await;
    assert!(!bench.sender.orders().contains(&Order::Start));
    assert_eq!(bench.ended(id).await.state, State::Cancelled);
    let text = bench.check_in(1).await;
    assert!(text.starts_with("No active task"), "{text}");
}

#[tokio::test]
async fn one_cancelled_task_leaves_the_session() {
    let bench = bench().await;
    let id = bench.deploy(&[1, 2]).await;
    bench.check_in(1).await;
    bench.ordered(&Order::Open(0)).await;
    bench
        .sql("UPDATE tasks SET taskStateID = 5 WHERE taskHostID = 2")
        .await;
    let body = format!("mac={}&type=down", mac(2));
    let (_, text) = bench.send(ip(2), "mc_checkin.php", body).await;
    assert!(!text.contains("##"), "{text}");
    bench.send_stream(0, &[1]).await;
    bench.send_stream(1, &[1]).await;
    assert_eq!(bench.complete(1).await, "##");
    let session = bench.ended(id).await;
    let Some(Reason::Summary(summary)) = session.reason else {
        panic!("{:?}", session.reason);
    };
    assert_eq!(
        (summary.complete, summary.total, summary.cancelled),
        (1, 2, 1)
    );
}

/// Between its start and its first look at the database a session knew nothing of the cancel.
#[tokio::test]
async fn a_session_that_is_cancelled_while_it_is_started_does_not_run() {
    let bench = bench().await;
    for _ in 0..50 {
        let id = bench.deploy(&[1]).await;
        let (check_in, cancelled) = tokio::join!(
            bench.send(ip(1), "mc_checkin.php", format!("mac={}", mac(1))),
            bench.ops.cancel(id, None)
        );
        cancelled.unwrap();
        drop(check_in);
        let gone = async || bench.ops.sessions().running(id).is_none().then_some(());
        // Not only when it is compared with the database, twice a minute.
        let limit = Duration::from_secs(20);
        tokio::time::timeout(limit, wait_for("its end", gone))
            .await
            .unwrap();
        assert_eq!(bench.session(id).await.state, State::Cancelled);
    }
}

#[tokio::test]
async fn a_session_whose_driver_panics_has_failed_and_is_not_begun_again() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.sender.panic_at_open();
    let body = format!("mac={}&type=down", mac(1));
    let (status, _) = bench.send(ip(1), "mc_checkin.php", body).await;
    assert_eq!(status, 503);
    let session = bench.ended(id).await;
    assert_eq!(session.state, State::Failed);
    assert!(
        matches!(session.reason, Some(Reason::Internal { .. })),
        "{:?}",
        session.reason
    );
    let text = bench.check_in(1).await;
    assert!(text.starts_with("No active task"), "{text}");
}

#[tokio::test]
async fn a_session_whose_driver_panicked_is_not_begun_before_its_failure_is_stored() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.faults.hang_at("fail_broken");
    bench.sender.panic_at_open();
    let body = format!("mac={}&type=down", mac(1));
    bench.send(ip(1), "mc_checkin.php", body).await;
    wait_for("its failure", async || {
        (bench.faults.calls("fail_broken") > 0).then_some(())
    })
    .await;
    assert!(bench.ops.sessions().running(id).is_some());
    bench.faults.release();
    assert_eq!(bench.ended(id).await.state, State::Failed);
    assert_eq!(bench.faults.calls("fail_broken"), 1);
}

/// The small files are written over with others of the same length and new dates.
fn change_table(bench: &Bench) {
    let dir = bench.config.images.join("img");
    for name in ["d1.mbr", "d1.partitions"] {
        let path = dir.join(name);
        let len = std::fs::metadata(&path).unwrap().len();
        let later = std::time::SystemTime::now() + Duration::from_secs(60);
        std::fs::write(&path, vec![b'#'; usize::try_from(len).unwrap()]).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(later).unwrap();
    }
}

async fn fails_for_its_image(bench: &Bench, id: SessionId) {
    let session = bench.ended(id).await;
    assert!(
        matches!(session.reason, Some(Reason::ImageChanged { .. })),
        "{:?}",
        session.reason
    );
}

/// A stock client that is told to go writes the table of the image at once.
#[tokio::test]
async fn an_image_that_was_changed_while_no_server_ran_is_detected_before_the_next_go() {
    let bench = bench().await;
    let id = bench.deploy(&[1, 2]).await;
    assert_eq!(bench.check_in_stock(1).await, "##@GO");
    let bench = bench.restart().await;
    change_table(&bench);
    assert_ne!(bench.check_in_stock(2).await, "##@GO");
    fails_for_its_image(&bench, id).await;
}

#[tokio::test]
async fn an_image_that_is_changed_during_the_wait_is_detected_before_the_next_go() {
    let bench = bench().await;
    let id = bench.deploy(&[1, 2]).await;
    assert_eq!(bench.check_in_stock(1).await, "##@GO");
    change_table(&bench);
    assert_ne!(bench.check_in_stock(2).await, "##@GO");
    fails_for_its_image(&bench, id).await;
}

#[tokio::test]
async fn an_image_that_is_changed_before_the_start_is_not_sent() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    assert_eq!(bench.check_in_stock(1).await, "##@GO");
    bench.ordered(&Order::Open(0)).await;
    change_table(&bench);
    bench.sender.tell(SenderEvent::Joined(ip(1)));
    fails_for_its_image(&bench, id).await;
    assert!(!bench.sender.orders().contains(&Order::Start));
}

/// Between the boot script and its receiver a stock client sends nothing but its inventory.
#[tokio::test]
async fn an_inventory_is_a_sign_of_life() {
    let bench = bench().await;
    let id = bench.deploy(&[1, 2]).await;
    for host in [1, 2] {
        bench.check_in_stock(host).await;
    }
    let heard = |host: usize| {
        let live = bench.ops.sessions().running(id).unwrap().live();
        live.at - live.snapshot.members[host].silent.unwrap()
    };
    let before = heard(0);
    let inventory = format!("mac={}&sysman=WA==", mac(1));
    bench.post(ip(1), "inventory.php", inventory).await;
    // What came before has been served when this shows.
    let of_two = heard(1);
    bench.view(2).await;
    wait_for("the sign of life of the other", async || {
        (heard(1) > of_two).then_some(())
    })
    .await;
    assert!(heard(0) > before);
}
