//! Addresses, cards and ports.

use std::net::Ipv4Addr;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};

use super::assert_refused;
use crate::domain::Refusal;
use crate::ops::{DeployError, DeployRequest, DeployWarning};
use crate::sender::SenderEvent;
use crate::testing::{Order, bench, bench_with, card, ip, mac, name, text};

#[tokio::test]
async fn the_address_that_is_listened_on_is_announced() {
    let bench = bench_with(|config| {
        config.address = None;
        config.listen = ([127, 0, 0, 1], 8080).into();
    })
    .await;
    // Packets to this client would leave from another address.
    bench.sender.route(ip(1), card(1));
    bench.deploy(&[1]).await;
    let script = bench.boot(1).await;
    for part in [
        "web=http://127.0.0.1:8080/fog/ ",
        "storageip=127.0.0.1 ",
        "ftp=127.0.0.1 ",
    ] {
        assert!(script.contains(part), "{part}: {script}");
    }
}

#[tokio::test]
async fn else_the_address_of_the_card_that_leads_to_the_client_is() {
    let bench = bench_with(|config| config.address = None).await;
    bench.sender.route(ip(1), card(1));
    bench.sender.route(ip(2), card(2));
    bench.deploy(&[1, 2]).await;
    for host in [1, 2] {
        let script = bench.boot(host).await;
        let part = format!("web=http://{}/fog/ ", card(host).addr);
        assert!(script.contains(&part), "{script}");
    }
}

#[tokio::test]
async fn a_client_behind_another_card_is_refused_at_once() {
    let bench = bench_with(|config| config.address = None).await;
    bench.sender.route(ip(1), card(1));
    bench.sender.route(ip(2), card(2));
    bench.deploy(&[1, 2]).await;
    assert_eq!(bench.check_in(1).await, "##@GO");
    let refusal = Refusal::OtherNetwork {
        client: card(2).to_string(),
        session: card(1).to_string(),
    };
    assert_refused(&bench.check_in(2).await, &refusal);
    bench.ordered(&Order::Open(0)).await;
    assert_eq!(bench.sender.interface(), Some(card(1)));
    assert_eq!(bench.sender.admitted(), [ip(1)]);
    // It was moved to the right network.
    bench.sender.route(ip(2), card(1));
    assert_eq!(bench.check_in(2).await, "##@GO");
}

#[tokio::test]
async fn a_client_that_the_chosen_card_does_not_reach_is_refused() {
    let bench = bench().await;
    bench.sender.route(ip(1), card(1));
    bench.deploy(&[1]).await;
    assert_refused(
        &bench.check_in(1).await,
        &Refusal::OtherNetwork {
            client: card(1).to_string(),
            session: crate::testing::loopback().to_string(),
        },
    );
    assert_eq!(bench.sender.orders(), []);
}

#[tokio::test]
async fn a_card_that_is_down_is_told_at_the_check_in() {
    let bench = bench_with(|config| config.address = None).await;
    let mut down = card(1);
    down.is_up = false;
    bench.sender.route(ip(1), down);
    bench.deploy(&[1]).await;
    let text = bench.check_in(1).await;
    assert_refused(
        &text,
        &Refusal::NoNetwork {
            text: format!("{} is down", card(1)),
        },
    );
    // Its cable was put in.
    bench.sender.route(ip(1), card(1));
    assert_eq!(bench.check_in(1).await, "##@GO");
}

#[tokio::test]
async fn a_client_behind_a_proxy_is_refused() {
    let bench = bench().await;
    bench.deploy(&[1]).await;
    let path = "/fog/service/mc_checkin.php";
    for header in ["Via", "Forwarded", "X-Forwarded-For"] {
        let request = Request::post(path)
            .header(header, "1.1 squid")
            .body(Body::from(format!("mac={}&type=down", mac(1))));
        let response = bench.request(ip(1), request.unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK);
        let peer = ip(1).into();
        assert_refused(&text(response).await, &Refusal::Proxied { peer, own: None });
    }
    let with_own = |own: Ipv4Addr| format!("mac={}&type=down&address={own}", mac(1));
    let own = Ipv4Addr::new(192, 168, 7, 7);
    let answer = bench.post(ip(1), "mc_checkin.php", with_own(own)).await;
    assert_refused(
        &answer,
        &Refusal::Proxied {
            peer: ip(1).into(),
            own: Some(own),
        },
    );
    assert_eq!(bench.sender.orders(), []);
    let answer = bench.post(ip(1), "mc_checkin.php", with_own(ip(1))).await;
    assert_eq!(answer, "##@GO");
}

#[tokio::test]
async fn a_held_port_pair_is_passed_over_and_its_holder_named() {
    let bench = bench().await;
    bench
        .sender
        .hold(63100, "UDP port 63101 is held by another");
    let deployed = bench.deploy_image("lab image", &[1], None).await;
    assert_eq!(deployed.port, 63102);
    assert!(
        matches!(&deployed.warnings[..], [DeployWarning::PortHeld(holder)] if holder.contains("held by another")),
        "{:?}",
        deployed.warnings
    );
    let deployed = bench.deploy_image("lab image", &[2], None).await;
    assert_eq!(deployed.port, 63104);
}

#[tokio::test]
async fn the_ports_of_the_command_line_count_before_fogs() {
    let bench = bench_with(|config| config.ports = Some("15000-15003".parse().unwrap())).await;
    bench.add_host(3).await;
    assert_eq!(
        bench.deploy_image("lab image", &[1], None).await.port,
        15000
    );
    bench.sender.hold(15002, "UDP port 15002 is held by sleep");
    let wanted = DeployRequest {
        image: "lab image".into(),
        hosts: vec![name(2)],
        name: None,
        max_wait: None,
        is_shutdown: false,
        is_debug: false,
        is_woken: false,
        expected: 0,
        follow_ups: None,
    };
    let refused = bench.ops.deploy(&wanted).await.unwrap_err();
    let DeployError::NoPort { first, pairs, held } = &refused else {
        panic!("{refused:?}");
    };
    assert_eq!((*first, *pairs), (15000, 2));
    assert_eq!(held[..], ["UDP port 15002 is held by sleep"]);
}

/// As udpcast counts: a host that is slow to boot does not shorten the others' time to connect.
#[tokio::test]
async fn the_wait_for_missing_hosts_begins_with_the_first_connection() {
    let bench = bench().await;
    let second = Duration::from_secs(1);
    let id = bench
        .deploy_image("lab image", &[1, 2], Some(second))
        .await
        .session;
    bench.check_in(1).await;
    let left = bench.view(1).await.starts_in_seconds.unwrap();
    assert!(
        left > 60,
        "{left}: the time to connect, not the wait for others"
    );
    bench.sender.tell(SenderEvent::Joined(ip(1)));
    bench
        .until(id, |live| {
            live.snapshot.starts_in.is_some_and(|left| left <= second)
        })
        .await;
    bench.ordered(&Order::Start).await;
    bench.sender.tell(SenderEvent::Started);
    bench.until(id, |live| live.snapshot.expected == 1).await;
}

#[tokio::test]
async fn a_refusal_is_forgotten_when_its_cause_is_gone() {
    let bench = bench_with(|config| config.address = None).await;
    let mut down = card(1);
    down.is_up = false;
    bench.sender.route(ip(1), down);
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    bench
        .until(id, |live| live.snapshot.members[0].refused.is_some())
        .await;
    bench.sender.route(ip(1), card(1));
    assert_eq!(bench.check_in(1).await, "##@GO");
    bench.until(id, |live| live.snapshot.checked_in == 1).await;
    let live = bench.ops.sessions().running(id).unwrap().live();
    assert_eq!(live.snapshot.members[0].refused, None);
}
