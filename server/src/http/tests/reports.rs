//! What clients tell besides: progress, inventory, errors, an unusable share.

use fog::task::State;

use super::assert_refused;
use crate::domain::session::Note;
use crate::domain::{Reason, Refusal};
use crate::sender::SenderEvent;
use crate::store::MAX_EVENTS_OF_HOST;
use crate::testing::{Order, bench, ip, mac, wait_for};

#[tokio::test]
async fn progress_is_stored_raw_or_escaped_and_never_an_error() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    let raw = "MTA4LjUzTUIvbWluQDAwOjAxOjIzQDAwOjA0OjE3QDEyLjUwIEdpQkA0NC4yMCBHaUJAIDI4LjI4\n\
        QDQ3NDU4OTEwMjA4Cg==";
    let escaped = raw.replace('\n', "%0A").replace('=', "%3D");
    for status in [raw, &escaped, "", "!", "Cg=="] {
        let body = format!(
            "mac={}&status={status}&phase=receive&stream=d1p1.img&detail=x\x07y",
            mac(1)
        );
        assert_eq!(bench.post(ip(1), "progress.php", body).await, "");
    }
    wait_for("the progress in the database", async || {
        let found = bench
            .words("SELECT taskPCT || ' ' || taskBPM FROM tasks")
            .await;
        (found == ["28 108.53MB"]).then_some(())
    })
    .await;
    bench
        .until(id, |live| !live.members[0].report.phase.is_empty())
        .await;
    let live = bench.ops.sessions().running(id).unwrap().live();
    let report = &live.members[0].report;
    assert_eq!(
        (report.phase.as_str(), report.stream.as_str()),
        ("receive", "d1p1.img")
    );
    assert_eq!((report.percent, report.detail.as_str()), (28, "x y"));
    assert_eq!(live.snapshot.members[0].agent.name, "fos-agent/0.1.0");
}

#[tokio::test]
async fn inventory_is_decoded_and_answered_with_a_word() {
    let bench = bench().await;
    bench.deploy(&[1]).await;
    bench.boot(1).await;
    bench.check_in_stock(1).await;
    let b64 = fog::encoding::encode_base64_line;
    let body = format!(
        "mac={}&sysman={}&hdinfo={}&hostName={}",
        b64(&mac(1)),
        b64("QEMU ~~>>??"),
        b64("Model=QEMU HARDDISK, FwRev=2.5+, SerialNo=QM00001"),
        b64("x'; DROP TABLE hosts")
    );
    assert_eq!(bench.post(ip(1), "inventory.php", body).await, "Done");
    let row = "SELECT iSysman || '|' || iHdmodel || '|' || iHdserial FROM inventory";
    assert_eq!(
        bench.words(&format!("{row} WHERE iHostID = 1")).await,
        ["QEMU ~~>>??|QEMU HARDDISK|QM00001"]
    );
}

#[tokio::test]
async fn an_error_report_ends_the_host_and_not_the_other() {
    let bench = bench().await;
    let id = bench.deploy(&[1, 2]).await;
    bench.check_in(1).await;
    bench.check_in(2).await;
    bench.ordered(&Order::Open(0)).await;
    let body = format!("mac={}&type=warning&text=fan%20loud", mac(1));
    assert_eq!(bench.post(ip(1), "taskerror.php", body).await, "##");
    let text = "disk%20full%1b%5B2J&script=writer";
    assert_eq!(bench.fail(1, text).await, "##");
    bench.ordered(&Order::Remove(ip(1))).await;
    bench.send_stream(0, &[2]).await;
    bench.send_stream(1, &[2]).await;
    assert_eq!(bench.complete(2).await, "##");
    let session = bench.ended(id).await;
    assert_eq!(session.state, State::Failed);
    let failed = Reason::ClientFailed {
        text: "disk full [2J (in writer)".into(),
        before: None,
    };
    let Some(Reason::Summary(summary)) = &session.reason else {
        panic!("{:?}", session.reason);
    };
    assert_eq!((summary.complete, summary.total), (1, 2));
    assert_eq!(
        summary.troubles,
        [("LAB-01".to_owned(), Box::new(failed.clone()))]
    );
    let member = bench.member(id, 1).await;
    assert_eq!((member.state, member.reason), (State::Failed, Some(failed)));
    let notes = bench.events(id).await.into_iter().map(|event| event.note);
    assert!(
        notes
            .clone()
            .any(|note| matches!(note, Note::Warning { text } if text == "fan loud"))
    );
    assert_refused(
        &bench.post(ip(1), "taskerror.php", "mac=x&text=y").await,
        &Refusal::NoMac,
    );
}

#[tokio::test]
async fn a_reason_after_the_end_is_added_to_the_result() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    bench.send_stream(0, &[1]).await;
    bench.ordered(&Order::Open(1)).await;
    bench.sender.tell(SenderEvent::Failed("no route".into()));
    let session = bench.ended(id).await;
    assert!(
        matches!(&session.reason, Some(Reason::SenderFailed { stream, text })
            if stream.as_str() == "d1p2.img" && text == "no route"),
        "{:?}",
        session.reason
    );
    let before = bench.member(id, 1).await.reason.map(Box::new);
    assert_eq!(bench.fail(1, "gave%20up%20waiting").await, "##");
    let reason = Reason::ClientFailed {
        text: "gave up waiting".into(),
        before,
    };
    assert_eq!(bench.member(id, 1).await.reason, Some(reason));
    // Only its first report counts.
    assert_eq!(bench.fail(1, "again").await, "##");
    let reason = bench.member(id, 1).await.reason;
    assert!(
        matches!(&reason, Some(Reason::ClientFailed { text, .. }) if text == "gave up waiting"),
        "{reason:?}"
    );
}

#[tokio::test]
async fn a_host_cannot_fill_the_database_with_reports() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    let rows = async || {
        let events = bench.events(id).await.into_iter();
        events.filter(|event| event.host.is_some()).count()
    };
    let enough = usize::try_from(MAX_EVENTS_OF_HOST).unwrap();
    for _ in 0..enough + 5 {
        let body = format!("mac={}&type=warning&text=x", mac(1));
        assert_eq!(bench.post(ip(1), "taskerror.php", body).await, "##");
    }
    assert_eq!(rows().await, enough);
    // What ends its part is stored all the same.
    assert_eq!(bench.fail(1, "disk%20full").await, "##");
    bench.ended(id).await;
    let reason = bench.member(id, 1).await.reason;
    assert!(
        matches!(&reason, Some(Reason::ClientFailed { text, .. }) if text == "disk full"),
        "{reason:?}"
    );
    assert_eq!(bench.fail(1, "y").await, "##");
    assert_eq!(rows().await, enough);
}

#[tokio::test]
async fn a_report_long_after_the_session_changes_nothing() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    for index in [0, 1] {
        bench.send_stream(index, &[1]).await;
    }
    assert_eq!(bench.complete(1).await, "##");
    bench.ended(id).await;
    bench
        .sql("UPDATE multicastSessions SET msCompleteDateTime = '2001-01-01 00:00:00'")
        .await;
    let before = (bench.session(id).await, bench.events(id).await);
    assert_eq!(bench.fail(1, "a%20new%20disk").await, "##");
    assert_eq!((bench.session(id).await, bench.events(id).await), before);
    // It is kept, but as one of no session.
    let kept = "SELECT details FROM fos_events WHERE msID = 0";
    assert!(bench.words(kept).await[0].contains("a new disk"));
}

#[tokio::test]
async fn blame_is_answered_and_the_host_expected_again() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    let body = format!("mac={}&type=down", mac(1));
    assert_eq!(bench.post(ip(1), "blame.php", body.as_str()).await, "##");
    assert_eq!(bench.check_in(1).await, "##@GO");
    for _ in 0..2 {
        assert_eq!(bench.post(ip(1), "blame.php", body.as_str()).await, "##");
    }
    bench.ended(id).await;
    assert_eq!(
        bench.member(id, 1).await.reason,
        Some(Reason::ShareUnusable)
    );
    let text = bench.post(ip(1), "blame.php", body).await;
    assert!(text.starts_with("No active task"), "{text}");
}
