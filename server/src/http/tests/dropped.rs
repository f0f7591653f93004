//! A client may hang up at any moment: its request is dropped at whatever await it has come to.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::Poll;

use axum::http::StatusCode;
use fog::task::State;

use super::boot::ticket;
use crate::domain::SessionId;
use crate::domain::host::About;
use crate::domain::session::core::Phase;
use crate::testing::{Bench, bench, ip, mac, wait_for};

/// Polls a future this often, lets everything else run in between, and drops it; whether it was done.
pub(super) async fn polled(times: u32, future: impl Future<Output = (StatusCode, String)>) -> bool {
    let mut future = pin!(future);
    for _ in 0..times {
        let poll = std::future::poll_fn(|context| {
            Poll::Ready(Pin::as_mut(&mut future).poll(context).is_ready())
        });
        if poll.await {
            return true;
        }
        rest().await;
    }
    false
}

/// Until something woke the request, or a moment has passed: either way the next poll is another await.
async fn rest() {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
}

/// A session in which every host may report everything.
async fn ready(bench: &Bench, path: &str) -> SessionId {
    let id = bench.deploy(&[1, 2]).await;
    ticket(&bench.boot(1).await);
    bench.check_in_stock(2).await;
    let is_at_the_end = matches!(path, "Post_Stage3.php" | "progress.php");
    if is_at_the_end || matches!(path, "taskerror.php" | "blame.php" | "inventory.php") {
        bench.check_in_stock(1).await;
    }
    if is_at_the_end {
        for index in [0, 1] {
            bench.send_stream(index, &[1, 2]).await;
        }
        bench
            .until(id, |live| live.snapshot.phase == Phase::Finishing)
            .await;
    }
    id
}

#[tokio::test]
async fn a_request_that_is_dropped_at_any_await_leaves_everything_in_order() {
    for path in [
        "mc_checkin.php",
        "Post_Stage3.php",
        "taskerror.php",
        "blame.php",
        "inventory.php",
        "progress.php",
        "ipxe/boot.php",
        "fos/manifest",
        "fos/file",
        "fos/session",
        "getversion.php",
        "ipxe/bzImage",
    ] {
        let bench = bench().await;
        let id = ready(&bench, path).await;
        let fields = format!(
            "mac={}&type=down&text=x&sysman=WA==&name=d1.mbr&phase=write",
            mac(1)
        );
        for times in 0..MOST {
            let url = format!("/fog/service/{path}?{fields}");
            let request = async {
                match path.starts_with("fos/")
                    || path.ends_with("bzImage")
                    || path == "getversion.php"
                {
                    true => bench.get(ip(1), &url).await,
                    false => bench.send(ip(1), path, fields.clone()).await,
                }
            };
            let is_done = polled(times, request).await;
            assert_all_is_well(&bench, id, path).await;
            if is_done {
                break;
            }
            assert!(times + 1 < MOST, "{path} never ends");
        }
        finish(&bench, id, path).await;
    }
}

/// Most polls that a request needs.
pub(super) const MOST: u32 = 500;

/// The database can be written, and the session answers.
async fn assert_all_is_well(bench: &Bench, id: SessionId, path: &str) {
    let well = async {
        bench
            .store
            .remember_stranger(
                crate::clock::now(),
                mac(9).parse().unwrap(),
                ip(9).into(),
                About::default(),
            )
            .await
            .unwrap();
        assert_eq!(bench.status(Some(id)).await.sessions.len(), 1);
        let fields = format!("mac={}&type=warning&text=still%20here", mac(2));
        bench.send(ip(2), "taskerror.php", fields).await
    };
    let (status, text) = tokio::time::timeout(crate::testing::DEADLINE, well)
        .await
        .unwrap_or_else(|_| panic!("{path}: all hangs"));
    assert_eq!((status, text.as_str()), (StatusCode::OK, "##"), "{path}");
}

/// The request at last, answered: what it promises is stored.
async fn finish(bench: &Bench, id: SessionId, path: &str) {
    let member = async || bench.member(id, 1).await;
    match path {
        "mc_checkin.php" => {
            assert_eq!(bench.check_in_stock(1).await, "##@GO");
            assert_eq!(member().await.state, State::InProgress);
        }
        "Post_Stage3.php" => {
            assert_eq!(bench.complete(1).await, "##");
            assert_eq!(member().await.state, State::Complete);
            assert_eq!(bench.complete(2).await, "##");
            assert_eq!(bench.ended(id).await.state, State::Complete);
        }
        "taskerror.php" => {
            assert_eq!(bench.fail(1, "x").await, "##");
            assert_eq!(member().await.state, State::Failed);
        }
        "inventory.php" => {
            let rows = "SELECT COUNT(*) FROM inventory WHERE iSysman = 'X'";
            assert_eq!(bench.number(rows).await, 1);
        }
        _ => {}
    }
    // A request that was never answered may have been carried out, but once.
    let counts = bench
        .number(&format!(
            "SELECT COUNT(*) FROM fos_events WHERE msID = {id} AND hostID = 1 AND code = 'member-ended'"
        ))
        .await;
    assert!(counts <= 1, "{path}: {counts}");
}

/// The same for the requests of people.
#[tokio::test]
async fn a_cancel_and_a_deploy_that_are_dropped_are_done_or_not_begun() {
    let bench = bench().await;
    for times in 0..MOST {
        let wanted = crate::ops::DeployRequest {
            image: "lab image".into(),
            hosts: vec!["LAB-01".into(), "LAB-02".into()],
            name: None,
            max_wait: None,
            is_shutdown: false,
            is_debug: false,
            is_woken: false,
            expected: 0,
            follow_ups: None,
        };
        let deploy = async {
            let done = bench.ops.deploy(&wanted).await;
            (StatusCode::OK, format!("{done:?}"))
        };
        let is_deployed = polled(times, deploy).await;
        // An operation that was begun is finished.
        let active = wait_for("what was begun", async || {
            bench.store.strangers().await.unwrap();
            let active = bench.store.active_sessions().await.unwrap();
            (active.len() <= 1).then_some(active)
        })
        .await;
        if let [id] = active[..] {
            assert_eq!(bench.session(id).await.members.len(), 2);
            let cancel = async {
                let done = bench.ops.cancel(id, None).await;
                (StatusCode::OK, format!("{done:?}"))
            };
            polled(times, cancel).await;
            match bench.ops.cancel(id, None).await {
                Ok(()) | Err(crate::ops::CancelError::Over(..)) => {}
                Err(error) => panic!("{error}"),
            }
            assert_eq!(bench.ended(id).await.state, State::Cancelled);
        }
        if is_deployed {
            return;
        }
    }
    panic!("a deploy never ends");
}
