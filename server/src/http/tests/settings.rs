//! The settings of FOG's page "multicast", as sessions have them.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::api::{Api, Deploy};
use crate::domain::SessionId;
use crate::domain::multicast::Duplex;
use crate::testing::{Bench, Order, bench, bench_with, name};

async fn deploy(bench: &Bench, host: u8) -> crate::api::Deployed {
    let wanted = Deploy {
        image: "lab image".into(),
        hosts: vec![name(host)],
        name: None,
        max_wait_seconds: None,
        is_shutdown: false,
        is_debug: false,
        is_woken: false,
        expected: 0,
        follow_ups: None,
    };
    Api::deploy(&*bench.ops, wanted).await.unwrap()
}

async fn set(bench: &Bench, key: &str, value: &str) {
    let sql = format!(
        "INSERT INTO globalSettings (settingKey, settingValue) VALUES ('{key}', '{value}')"
    );
    bench.sql(&sql).await;
}

#[tokio::test]
async fn sessions_have_the_settings_of_the_database() {
    let bench = bench().await;
    set(&bench, "FOG_UDPCAST_STARTINGPORT", "15000").await;
    set(&bench, "FOG_MULTICAST_ADDRESS", "239.9.8.0").await;
    set(&bench, "FOG_MULTICAST_DUPLEX", "--half-duplex").await;
    set(&bench, "FOG_UDPCAST_MAXWAIT", "3").await;
    let done = deploy(&bench, 1).await;
    assert_eq!((done.port, done.max_wait_seconds), (15000, 180));
    assert!(done.warnings.is_empty(), "{:?}", done.warnings);
    assert_eq!(bench.check_in(1).await, "##@GO");
    bench.ordered(&Order::Open(0)).await;
    let network = bench.sender.network().unwrap();
    assert_eq!(network, (Some(Ipv4Addr::new(239, 9, 8, 1)), Duplex::Half));

    set(&bench, "FOG_MULTICAST_PORT_OVERRIDE", "14000 14010").await;
    set(&bench, "FOG_MULTICAST_MAX_SESSIONS", "2").await;
    assert_eq!(deploy(&bench, 2).await.port, 14000);
    bench.add_host(3).await;
    let wanted = crate::ops::DeployRequest {
        image: "lab image".into(),
        hosts: vec![name(3)],
        name: None,
        max_wait: None,
        is_shutdown: false,
        is_debug: false,
        is_woken: false,
        expected: 0,
        follow_ups: None,
    };
    let refused = bench.ops.deploy(&wanted).await.unwrap_err().to_string();
    assert!(refused.contains("allows 2"), "{refused}");
}

#[tokio::test]
async fn what_makes_no_sense_is_said_and_the_default_counts() {
    let bench = bench().await;
    set(&bench, "FOG_UDPCAST_STARTINGPORT", "63101").await;
    set(&bench, "FOG_MULTICAST_ADDRESS", "10.0.0.1").await;
    let done = deploy(&bench, 1).await;
    assert_eq!(done.port, 63100);
    let said = done.warnings.join(" ");
    for part in ["FOG_UDPCAST_STARTINGPORT", "63101", "FOG_MULTICAST_ADDRESS"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(bench.check_in(1).await, "##@GO");
    bench.ordered(&Order::Open(0)).await;
    assert_eq!(bench.sender.network(), Some((None, Duplex::Full)));
    let look = bench.ops.look().await;
    assert_eq!(look.odd_settings.len(), 2);
}

#[tokio::test]
async fn what_the_server_was_told_goes_before_the_database() {
    let bench = bench_with(|config| {
        config.port_override = vec![14500];
        config.max_sessions = Some(0);
        config.max_wait = Some(Duration::from_secs(77));
        config.multicast_address = Some(Ipv4Addr::new(239, 1, 1, 0));
        config.duplex = Some(Duplex::Half);
    })
    .await;
    set(&bench, "FOG_MULTICAST_PORT_OVERRIDE", "14000").await;
    set(&bench, "FOG_MULTICAST_MAX_SESSIONS", "1").await;
    set(&bench, "FOG_MULTICAST_DUPLEX", "--full-duplex").await;
    let done = deploy(&bench, 1).await;
    assert_eq!((done.port, done.max_wait_seconds), (14500, 77));
    let session = bench.session(SessionId(done.session)).await;
    assert_eq!(session.max_wait, Duration::from_secs(77));
    assert_eq!(bench.check_in(1).await, "##@GO");
    bench.ordered(&Order::Open(0)).await;
    let group = Some(Ipv4Addr::new(239, 1, 1, 1));
    assert_eq!(bench.sender.network(), Some((group, Duplex::Half)));
}
