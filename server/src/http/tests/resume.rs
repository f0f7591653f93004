//! A server that was killed or ended goes on where its database says.

use fog::task::State;
use fos_api::{SessionView, Stage};

use crate::domain::session::core::{Phase, StopKind};
use crate::domain::{Reason, SessionId};
use crate::sender::SenderEvent;
use crate::session::{Live, Wait};
use crate::testing::{Bench, Order, bench, bench_with, card, ip, mac, wait_for};

fn stream(view: &SessionView) -> (u32, u32) {
    let stream = view.stream.as_ref().unwrap();
    (stream.number, stream.run)
}

/// Waits until a host sees what an agent waits for after a restart: its stream is gathered for again.
async fn gathers_again(bench: &Bench, host: u8, number: u32, run: u32) {
    wait_for("the session to go on", async || {
        let path = format!("/fog/service/fos/session?mac={}", mac(host));
        let (_, text) = bench.get(ip(host), &path).await;
        let view: SessionView = serde_json::from_str(&text).ok()?;
        let is_so = view.stage == Stage::Gathering
            && view.your_stream == Some(number)
            && view.stream.as_ref()?.number == number
            && view.stream.as_ref()?.run == run;
        is_so.then_some(())
    })
    .await;
}

/// A session of two agents in the middle of a stream.
async fn in_the_middle(bench: &Bench, index: usize) -> SessionId {
    let id = bench.deploy(&[1, 2]).await;
    for host in [1, 2] {
        assert_eq!(bench.check_in(host).await, "##@GO");
    }
    for before in 0..index {
        bench.send_stream(before, &[1, 2]).await;
    }
    bench.start_stream(index, &[1, 2]).await;
    bench
        .until(id, |live| {
            live.snapshot.phase == Phase::Sending { stream: index }
        })
        .await;
    id
}

async fn completes(bench: &Bench, id: SessionId, from: usize) {
    for index in from..2 {
        bench.send_stream(index, &[1, 2]).await;
    }
    for host in [1, 2] {
        assert_eq!(bench.complete(host).await, "##");
    }
    let session = bench.ended(id).await;
    assert_eq!(session.state, State::Complete);
    assert!(
        session
            .members
            .iter()
            .all(|member| member.streams_done == 2)
    );
}

/// Between what is stored and its driver there is a moment, which is none without a server.
#[tokio::test]
async fn a_session_whose_driver_is_not_there_yet_is_not_one_without_a_server() {
    for is_sent in [false, true] {
        let bench = bench().await;
        let id = match is_sent {
            false => bench.deploy(&[1, 2]).await,
            true => in_the_middle(&bench, 0).await,
        };
        let bench = bench.restart_without_supervisor().await;
        assert!(bench.ops.sessions().running(id).is_none());
        let status = bench.status(Some(id)).await;
        let text = &status.sessions[0].text;
        let view = bench.view(1).await.text;
        // The view has it running, as it was asked for by a host.
        for text in [text, &view] {
            let is_wrong = text.contains("no server") || text.contains("not running");
            assert!(!is_wrong, "{text}");
        }
        assert!(status.sessions[0].state.is_active());
        // A server that ends leaves it to the next one.
        bench.ops.sessions().shut_down().await;
        let text = &bench.status(Some(id)).await.sessions[0].text;
        assert!(text.contains("server"), "{text}");
    }
}

#[tokio::test]
async fn agents_go_on_after_the_server_was_killed_or_ended() {
    for index in [0, 1] {
        for is_killed in [false, true] {
            let bench = bench().await;
            let id = in_the_middle(&bench, index).await;
            let number = u32::try_from(index).unwrap() + 1;
            assert_eq!(stream(&bench.view(1).await), (number, 0));
            let bench = match is_killed {
                true => bench.crash().await,
                false => bench.restart().await,
            };
            for host in [1, 2] {
                gathers_again(&bench, host, number, 1).await;
            }
            completes(&bench, id, index).await;
        }
    }
}

#[tokio::test]
async fn it_goes_on_as_often_as_needed() {
    let bench = bench().await;
    let id = in_the_middle(&bench, 0).await;
    let bench = bench.crash().await;
    gathers_again(&bench, 1, 1, 1).await;
    bench.start_stream(0, &[1, 2]).await;
    let bench = bench.crash().await;
    gathers_again(&bench, 2, 1, 2).await;
    completes(&bench, id, 0).await;
}

#[tokio::test]
async fn stock_clients_cannot_begin_a_stream_again_and_fail_with_the_reason() {
    let bench = bench().await;
    let id = bench.deploy(&[1, 2]).await;
    bench.check_in(1).await;
    bench.check_in_stock(2).await;
    bench.start_stream(0, &[1, 2]).await;
    bench
        .until(id, |live| {
            live.snapshot.phase == Phase::Sending { stream: 0 }
        })
        .await;
    let bench = bench.crash().await;
    let reason = wait_for("the failure", async || bench.member(id, 2).await.reason).await;
    assert!(
        matches!(&reason, Reason::ServerStopped { stream } if stream.as_str() == "d1p1.img"),
        "{reason:?}"
    );
    assert_eq!(bench.member(id, 2).await.state, State::Failed);
    // The agent goes on alone.
    for index in [0, 1] {
        bench.send_stream(index, &[1]).await;
    }
    assert_eq!(bench.complete(1).await, "##");
    let session = bench.ended(id).await;
    assert!(
        matches!(&session.reason, Some(Reason::Summary(summary)) if summary.complete == 1),
        "{:?}",
        session.reason
    );
}

#[tokio::test]
async fn a_session_that_waits_goes_on_without_a_new_check_in() {
    let bench = bench().await;
    let id = bench.deploy(&[1, 2]).await;
    for host in [1, 2] {
        bench.check_in(host).await;
    }
    let bench = bench.crash().await;
    bench.ordered(&Order::Open(0)).await;
    assert_eq!(bench.sender.admitted(), [ip(1), ip(2)]);
    completes(&bench, id, 0).await;
}

#[tokio::test]
async fn an_acknowledgement_that_was_not_stored_is_received_again() {
    let bench = bench().await;
    let id = in_the_middle(&bench, 0).await;
    bench.faults.hang();
    bench.end_stream(&[1, 2]);
    bench.ordered(&Order::Open(1)).await;
    let bench = bench.crash().await;
    for host in [1, 2] {
        gathers_again(&bench, host, 1, 1).await;
    }
    completes(&bench, id, 0).await;
}

#[tokio::test]
async fn only_hosts_that_lack_a_stream_receive_it_again() {
    let bench = bench().await;
    let id = in_the_middle(&bench, 0).await;
    bench.end_stream(&[1, 2]);
    wait_for("the acknowledgements", async || {
        (bench.member(id, 2).await.streams_done == 1).then_some(())
    })
    .await;
    let bench = bench.restart_without_supervisor().await;
    // That of the second host was not stored.
    bench
        .sql("UPDATE fos_sessionHosts SET streamsDone = 0 WHERE hostID = 2")
        .await;
    let bench = bench.restart().await;
    bench.ordered(&Order::Open(0)).await;
    assert_eq!(bench.sender.admitted(), [ip(2)]);
    let view = bench.view(1).await;
    assert_eq!(view.your_stream, Some(2));
    bench.send_stream(0, &[2]).await;
    completes(&bench, id, 1).await;
}

#[tokio::test]
async fn what_was_promised_survives() {
    let bench = bench().await;
    let id = bench.deploy(&[1, 2]).await;
    for host in [1, 2] {
        bench.check_in(host).await;
    }
    for index in [0, 1] {
        bench.send_stream(index, &[1, 2]).await;
    }
    assert_eq!(bench.complete(1).await, "##");
    let bench = bench.crash().await;
    assert_eq!(bench.member(id, 1).await.state, State::Complete);
    assert_eq!(bench.fail(2, "write%20error").await, "##");
    let bench = bench.crash().await;
    assert_eq!(bench.member(id, 2).await.state, State::Failed);
    let session = bench.ended(id).await;
    assert!(
        matches!(&session.reason, Some(Reason::Summary(summary)) if summary.complete == 1),
        "{:?}",
        session.reason
    );
}

#[tokio::test]
async fn nothing_is_started_after_the_end() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    bench.ordered(&Order::Open(0)).await;
    bench.ops.sessions().shut_down().await;
    assert!(matches!(bench.sender.orders().last(), Some(Order::Stop(_))));
    let handle = bench.ops.sessions().handle(id).await.unwrap();
    assert!(handle.is_none());
    assert!(bench.session(id).await.state.is_active());
}

fn waits_for_network(live: &Live) -> bool {
    let mut waits = live.waits.iter();
    waits.any(|wait| matches!(wait, Wait::Network { .. }))
}

#[tokio::test]
async fn sessions_wait_for_a_network_that_comes_up_after_the_server() {
    for index in [0, 1] {
        let bench = bench_with(|config| config.address = None).await;
        let id = in_the_middle(&bench, index).await;
        let bench = bench.crash().await;
        bench.sender.unplug(true);
        bench.until(id, waits_for_network).await;
        let text = bench.status(Some(id)).await.sessions[0].text.clone();
        assert!(text.contains("no route leads to 10.0.0.1"), "{text}");
        assert_eq!(bench.sender.orders(), []);
        bench.sender.unplug(false);
        bench.ordered(&Order::Open(index)).await;
        assert_eq!(bench.sender.admitted(), [ip(1), ip(2)]);
        completes(&bench, id, index).await;
    }
}

#[tokio::test]
async fn a_stream_is_opened_again_on_the_card_that_is_there_then() {
    let bench = bench_with(|config| config.address = None).await;
    bench.sender.route(ip(1), card(1));
    let id = bench.deploy(&[1]).await;
    assert_eq!(bench.check_in(1).await, "##@GO");
    bench.ordered(&Order::Open(0)).await;
    let mut down = card(1);
    down.is_up = false;
    bench.sender.route(ip(1), down);
    let lost = SenderEvent::NotOpened("no such address".into());
    bench.sender.tell(lost);
    bench.until(id, waits_for_network).await;
    wait_for("the second try", async || {
        let text = bench.status(Some(id)).await.sessions[0].text.clone();
        text.contains("is down").then_some(())
    })
    .await;
    assert_eq!(bench.sender.orders(), [Order::Open(0)]);
    let mut moved = card(1);
    moved.addr = ip(99);
    bench.sender.route(ip(1), moved.clone());
    wait_for("the card", async || {
        (bench.sender.interface() == Some(moved.clone())).then_some(())
    })
    .await;
    bench.sender.tell(SenderEvent::Joined(ip(1)));
    bench.until(id, |live| !waits_for_network(live)).await;
    bench.ordered(&Order::Start).await;
}

#[tokio::test]
async fn a_network_that_does_not_come_ends_the_session() {
    let bench = bench_with(|config| {
        config.address = None;
        config.timing.connect_wait = std::time::Duration::ZERO;
    })
    .await;
    let wait = Some(std::time::Duration::from_secs(1));
    let id = bench.deploy_image("lab image", &[1], wait).await.session;
    assert_eq!(bench.check_in(1).await, "##@GO");
    let bench = bench.crash().await;
    bench.sender.unplug(true);
    let session = bench.ended(id).await;
    assert!(
        matches!(&session.reason, Some(Reason::SenderFailed { text, .. })
            if text.contains("no route")),
        "{:?}",
        session.reason
    );
}

#[tokio::test]
async fn a_session_that_another_program_completed_is_over_after_a_restart() {
    let bench = bench().await;
    let id = bench.deploy(&[1, 2]).await;
    let bench = bench.restart_without_supervisor().await;
    bench.sql("UPDATE tasks SET taskStateID = 4").await;
    let bench = bench.restart().await;
    let session = bench.ended(id).await;
    assert_eq!(session.state, State::Complete);
    assert!(session.ended_at.is_some());
    // It is not begun again.
    assert_eq!(bench.store.active_sessions().await.unwrap(), []);
}

#[tokio::test]
async fn the_state_of_a_session_is_not_taken_for_that_of_its_hosts() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.until(id, |_| true).await;
    bench
        .sql("UPDATE multicastSessions SET msState = 4, msClients = 0")
        .await;
    let body = format!("mac={}&type=down", mac(1));
    bench.send(ip(1), "mc_checkin.php", body).await;
    assert_eq!(bench.ended(id).await.state, State::Complete);
    // It has received nothing.
    assert_eq!(bench.member(id, 1).await.state, State::Cancelled);
}

/// Clients of FOG cannot begin the stream again: they see its end, where they would wait for ever. Ours would
/// take that for a failure.
#[tokio::test]
async fn an_orderly_end_of_the_server_ends_the_stream_of_stock_clients() {
    for (is_stock, expected) in [(true, StopKind::EndStream), (false, StopKind::Plain)] {
        let bench = bench().await;
        let id = bench.deploy(&[1]).await;
        match is_stock {
            true => bench.check_in_stock(1).await,
            false => bench.check_in(1).await,
        };
        bench.start_stream(0, &[1]).await;
        bench
            .until(id, |live| {
                live.snapshot.phase == Phase::Sending { stream: 0 }
            })
            .await;
        let sender = bench.sender.clone();
        let end = async {
            bench.ordered(&Order::Stop(expected)).await;
            if is_stock {
                // It takes a moment, and the server waits for it.
                sender.tell(SenderEvent::Failed("it was stopped".into()));
            }
        };
        tokio::join!(bench.ops.sessions().shut_down(), end);
    }
}
