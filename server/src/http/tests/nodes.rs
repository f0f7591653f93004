//! Several servers with one database: who runs a session, and what the others answer.

use axum::http::StatusCode;
use fog::task::State;
use fos_api::FIELD_TICKET;

use super::boot::ticket;
use crate::domain::SessionId;
use crate::domain::session::core::StopKind;
use crate::store::{Location, mariadb_of_tests};
use crate::testing::{Bench, Order, Several, ip, mac, wait_for};

/// Databases of both kinds, each with two servers of which the first has hosts and an image.
async fn in_both(server: &mariadb_of_tests::Server) -> Vec<(Location, Bench, Bench)> {
    let mut found = Vec::new();
    for location in [server.empty().await, server.fogs("").await] {
        let several = Several::new(location.clone());
        let first = several.server("first").await;
        first.fill().await;
        let second = several.server("second").await;
        found.push((location, first, second));
    }
    found
}

async fn runs(bench: &Bench, id: SessionId) {
    wait_for("the session to run here", async || {
        bench.ops.sessions().running(id).map(drop)
    })
    .await;
}

/// The second server has read the hosts that the first one has added.
async fn knows_hosts(bench: &Bench) {
    wait_for("the hosts of the other server", async || {
        let (status, text) = bench
            .get(ip(1), "/fog/service/fos/session?mac=00:1b:21:00:00:01")
            .await;
        (status != StatusCode::NOT_FOUND || !text.contains("not registered")).then_some(())
    })
    .await;
}

async fn sends(bench: &Bench, id: SessionId) {
    runs(bench, id).await;
    assert_eq!(bench.check_in(1).await, "##@GO");
    assert_eq!(bench.check_in(2).await, "##@GO");
    bench.start_stream(0, &[1, 2]).await;
}

/// Clients that were let in by another server come to the rendezvous again by themselves.
async fn goes_on(bench: &Bench, id: SessionId) {
    runs(bench, id).await;
    bench.start_stream(0, &[1, 2]).await;
}

async fn finish(bench: &Bench, id: SessionId) {
    bench.end_stream(&[1, 2]);
    bench.send_stream(1, &[1, 2]).await;
    for host in [1, 2] {
        assert_eq!(bench.complete(host).await, "##");
    }
    let session = bench.ended(id).await;
    assert_eq!(session.state, State::Complete);
}

#[tokio::test]
async fn a_session_whose_server_dies_in_mid_stream_goes_on_at_another_one() {
    let Some(server) = mariadb_of_tests::server() else {
        return;
    };
    for (location, first, second) in in_both(&server).await {
        knows_hosts(&second).await;
        let id = first.deploy(&[1, 2]).await;
        runs(&first, id).await;
        // Booted by the first: their tickets are known to the second when it runs the session.
        let scripts = [first.boot(1).await, first.boot(2).await];
        let tickets = scripts.map(|script| ticket(&script));
        let check_in = async |bench: &Bench, host: u8| {
            let ticket = &tickets[usize::from(host) - 1];
            let body = format!(
                "mac={}&type=down&agent=fos-agent/0.1.0&{FIELD_TICKET}={ticket}",
                mac(host)
            );
            bench.send(ip(host), "mc_checkin.php", body).await
        };
        for host in [1, 2] {
            assert_eq!(check_in(&first, host).await.1, "##@GO");
        }
        first.start_stream(0, &[1, 2]).await;
        let (status, text) = check_in(&second, 1).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
        assert!(text.contains("is run by another server, first"), "{text}");
        let status = second.status(Some(id)).await;
        assert!(status.sessions[0].text.contains("another server, first"));
        let script = second.boot(1).await;
        assert!(
            script.contains("chain --replace http://127.0.0.1/fog/"),
            "{script}"
        );
        first.die();
        server.end_leases(&location).await;
        goes_on(&second, id).await;
        let session = second.session(id).await;
        assert_eq!(session.runs, 2);
        second.end_stream(&[1, 2]);
        second.send_stream(1, &[1, 2]).await;
        for host in [1, 2] {
            let ticket = &tickets[usize::from(host) - 1];
            let body = format!("mac={}&type=down&{FIELD_TICKET}={ticket}", mac(host));
            let (_, text) = second.send(ip(host), "Post_Stage3.php", body).await;
            assert_eq!(text, "##");
        }
        let session = second.ended(id).await;
        assert_eq!(session.state, State::Complete);
    }
}

#[tokio::test]
async fn a_server_that_cannot_renew_its_claims_stops_sending() {
    let Some(server) = mariadb_of_tests::server() else {
        return;
    };
    let several = Several::new(server.empty().await);
    let first = several.server("first").await;
    first.fill().await;
    let second = several.server("second").await;
    let id = first.deploy(&[1, 2]).await;
    sends(&first, id).await;
    assert!(second.ops.sessions().running(id).is_none());
    first.faults.fail();
    first.ordered(&Order::Stop(StopKind::Plain)).await;
    let sends_again = first.sender.orders().last() == Some(&Order::Start);
    assert!(!sends_again);
}

#[tokio::test]
async fn a_server_whose_session_was_claimed_by_another_one_stops_and_stores_nothing() {
    let Some(server) = mariadb_of_tests::server() else {
        return;
    };
    for (location, first, second) in in_both(&server).await {
        knows_hosts(&second).await;
        let id = first.deploy(&[1, 2]).await;
        sends(&first, id).await;
        // It renews nothing, and does not know it yet.
        first.faults.hang_at("renew");
        server.end_leases(&location).await;
        runs(&second, id).await;
        let (status, _) = first
            .send(
                ip(1),
                "taskerror.php",
                format!("mac={}&type=error&text=broken", mac(1)),
            )
            .await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        first.ordered(&Order::Stop(StopKind::Plain)).await;
        let session = second.session(id).await;
        assert!(
            session
                .members
                .iter()
                .all(|member| member.state.is_active())
        );
        goes_on(&second, id).await;
        finish(&second, id).await;
    }
}

#[tokio::test]
async fn a_server_that_ends_leaves_its_sessions_to_others_at_once() {
    let Some(server) = mariadb_of_tests::server() else {
        return;
    };
    for (_, first, second) in in_both(&server).await {
        knows_hosts(&second).await;
        let id = first.deploy(&[1, 2]).await;
        sends(&first, id).await;
        first.ops.sessions().shut_down().await;
        goes_on(&second, id).await;
        finish(&second, id).await;
    }
}

#[tokio::test]
async fn what_is_cancelled_at_another_server_ends() {
    let Some(server) = mariadb_of_tests::server() else {
        return;
    };
    for (_, first, second) in in_both(&server).await {
        let id = first.deploy(&[1, 2]).await;
        sends(&first, id).await;
        second.ops.cancel(id, None).await.unwrap();
        let session = first.ended(id).await;
        assert_eq!(session.state, State::Cancelled);
        assert!(
            first
                .sender
                .orders()
                .iter()
                .any(|order| matches!(order, Order::Stop(_)))
        );
    }
}

#[tokio::test]
async fn a_server_without_the_image_leaves_a_session_to_others() {
    let Some(server) = mariadb_of_tests::server() else {
        return;
    };
    let location = server.empty().await;
    let several = Several::new(location.clone());
    let first = several.server("first").await;
    first.fill().await;
    let without = Several::new(location.clone());
    let second = without.server("second").await;
    let id = first.deploy(&[1, 2]).await;
    runs(&first, id).await;
    first.die();
    server.end_leases(&location).await;
    let text = wait_for("a reason", async || {
        let status = second.status(Some(id)).await;
        let text = status.sessions[0].text.clone();
        text.contains("does not run").then_some(text)
    })
    .await;
    assert!(
        text.contains("was changed after the image was verified"),
        "{text}"
    );
    let third = several.server("third").await;
    sends(&third, id).await;
    finish(&third, id).await;
}

#[tokio::test]
async fn a_server_beside_fogs_own_manager_begins_nothing() {
    let Some(server) = mariadb_of_tests::server() else {
        return;
    };
    let several = Several::new(server.fogs("").await);
    let bench = several.server("first").await;
    bench.fill().await;
    let sessions = bench.ops.sessions();
    sessions.hold(Some("FOG's own manager runs here".into()));
    let id = bench.deploy(&[1, 2]).await;
    let (status, text) = bench
        .send(ip(1), "mc_checkin.php", format!("mac={}&type=down", mac(1)))
        .await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
    assert!(text.contains("FOG's own manager runs here"), "{text}");
    let status = bench.status(Some(id)).await;
    assert!(
        status.sessions[0]
            .text
            .contains("FOG's own manager runs here")
    );
    sessions.hold(None);
    assert_eq!(bench.check_in(1).await, "##@GO");
}
