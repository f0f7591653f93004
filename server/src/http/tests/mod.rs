//! The endpoints, asked as clients ask. Where a sentence is compared, it is the one that
//! [`crate::text`] makes of the typed reason.

mod authority;
mod boot;
mod bounds;
mod capture;
mod checkin;
mod completion;
mod dropped;
mod faults;
mod follow_ups;
mod hosts;
mod joining;
mod local;
mod native;
mod networks;
mod nodes;
mod reports;
mod resume;
mod settings;
mod unicast;
mod waiting;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};

use crate::config::StreamRecords;
use crate::domain::Refusal;
use crate::testing::{bench, bench_with, ip, mac};
use crate::text;

#[tokio::test]
async fn the_network_probe_is_answered() {
    let bench = bench().await;
    for method in [Method::HEAD, Method::GET] {
        for path in [
            "/fog//index.php",
            "/fog/index.php",
            "//fog///index.php",
            "/fog/",
        ] {
            let request = Request::builder().method(method.clone()).uri(path);
            let response = bench
                .request(ip(1), request.body(Body::empty()).unwrap())
                .await;
            assert_eq!(response.status(), StatusCode::OK, "{method} {path}");
        }
    }
}

/// A client's shell sources what it is answered: whatever is not served is a comment.
#[tokio::test]
async fn what_is_not_served_is_a_comment_for_a_shell() {
    let bench = bench().await;
    for path in [
        "/fog/management/index.php",
        "/fog/service/hostinfo.php",
        "/fog/service/hostgetkey.php",
        "/fog/status/hostgetkey.php",
        "/fog/service/hostinfo.php?mac=00:1b:21:00:00:01",
        "/fog/service/nosuch.php%0areboot",
        "/nosuch",
    ] {
        let (status, text) = bench.get(ip(1), path).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}");
        let is_comment = text.lines().all(|line| line.starts_with('#'));
        assert!(is_comment && !text.is_empty(), "{path}: {text}");
        // These say what to do.
        let is_known = path.contains("hostgetkey") || path.contains("hostinfo");
        assert_eq!(text.contains("boot from the network"), is_known, "{path}");
    }
    let request = Request::post("/fog/service/hostinfo.php").body(Body::empty());
    let response = bench.request(ip(1), request.unwrap()).await;
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn capabilities_say_what_is_true_for_every_client() {
    for (mode, words) in [
        (StreamRecords::Auto, "fosnative1 mclvm"),
        (StreamRecords::Always, "fosnative1 mclvm mcstreamid"),
        (StreamRecords::Never, "fosnative1 mclvm"),
    ] {
        let bench = bench_with(|config| config.stream_records = mode).await;
        let (_, text) = bench.get(ip(1), "/fog/service/getversion.php?caps=1").await;
        assert_eq!(text, words);
        let (_, text) = bench.get(ip(1), "/fog/service/getversion.php").await;
        assert!(text.starts_with("fos-server "), "{text}");
    }
}

#[tokio::test]
async fn oversized_bodies_are_refused() {
    let bench = bench().await;
    // As many as there are connections may be on their way at a time.
    for len in [100_000, super::MAX_BODY] {
        let body = format!("mac={}&status={}", mac(1), "A".repeat(len));
        let (status, _) = bench.send(ip(1), "progress.php", body).await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{len}");
    }
}

/// The refusal in the answer to a client: FOG's endpoints tell it as a text.
#[track_caller]
fn assert_refused(answer: &str, refusal: &Refusal) {
    assert_eq!(answer, text::refusal(refusal));
}
