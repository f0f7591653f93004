//! The operations for people, as the command line asks for them.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::http::local_router;
use crate::testing::{Bench, bench, text};

async fn ask(bench: &Bench, method: Method, path: &str, request: Value) -> (StatusCode, Value) {
    let request = Request::builder()
        .method(method)
        .uri(format!("/api/v1{path}"))
        .header("content-type", "application/json")
        .body(Body::from(request.to_string()))
        .unwrap();
    let router = local_router(Arc::clone(&bench.ops));
    let response = router.oneshot(request).await.unwrap();
    let status = response.status();
    let body = text(response).await;
    let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
    (status, body)
}

async fn post(bench: &Bench, path: &str, request: Value) -> (StatusCode, Value) {
    ask(bench, Method::POST, path, request).await
}

#[tokio::test]
async fn errors_have_a_status_and_a_code() {
    let bench = bench().await;
    let deploy = |image: &str, host: &str| json!({ "image": image, "hosts": [host] });
    let (post_, get, delete) = (Method::POST, Method::GET, Method::DELETE);
    for (method, path, request, status, code) in [
        (
            &post_,
            "/sessions",
            deploy("nosuch", "LAB-01"),
            404,
            "not-found",
        ),
        (
            &post_,
            "/sessions",
            deploy("lab image", "LAB-09"),
            404,
            "not-found",
        ),
        (&post_, "/sessions/7/cancel", json!({}), 404, "not-found"),
        (&delete, "/hosts/x", json!({}), 404, "not-found"),
        (&get, "/images/x", json!({}), 404, "not-found"),
        (
            &post_,
            "/hosts",
            json!({ "name": "LAB-09", "macs": ["ff:ff:ff:ff:ff:ff"] }),
            422,
            "invalid",
        ),
        (
            &post_,
            "/hosts",
            json!({ "name": "LAB-01", "macs": ["00:1b:21:00:00:77"] }),
            409,
            "conflict",
        ),
    ] {
        let (found, body) = ask(&bench, method.clone(), path, request).await;
        assert_eq!(found, status, "{path}: {body}");
        assert_eq!(body["code"], code, "{path}: {body}");
        assert!(!body["detail"].as_str().unwrap().is_empty());
    }
    let (status, session) = post(&bench, "/sessions", deploy("lab image", "LAB-01")).await;
    assert_eq!(
        (status, &session["port"]),
        (StatusCode::CREATED, &json!(63100))
    );
    let (status, body) = post(&bench, "/sessions", deploy("lab image", "LAB-01")).await;
    assert_eq!(
        (status, &body["code"]),
        (StatusCode::CONFLICT, &json!("conflict"))
    );
    bench.faults.fail();
    let (status, body) = post(&bench, "/sessions", deploy("lab image", "LAB-02")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["code"], "unavailable");
}

#[tokio::test]
async fn who_has_the_socket_may_do_everything() {
    let bench = bench().await;
    let (_, me) = ask(&bench, Method::GET, "/me", json!({})).await;
    assert_eq!(me, json!({ "who": "the command line", "role": "admin" }));
    let (status, _) = post(&bench, "/tokens", json!({ "name": "x", "role": "admin" })).await;
    assert_eq!(status, StatusCode::CREATED);
    // What clients ask is not here.
    let (status, _) = ask(
        &bench,
        Method::GET,
        "/../fog/service/getversion.php",
        json!({}),
    )
    .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn events_are_told_once_and_waited_for() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    let events = async |after: i64, wait: u64| {
        let path = format!("/sessions/{id}/events?after={after}&wait_seconds={wait}");
        ask(&bench, Method::GET, &path, json!({})).await.1
    };
    let first = events(0, 0).await;
    let first = first.as_array().unwrap().clone();
    let last = first.last().unwrap()["id"].as_i64().unwrap();
    assert_eq!(events(last, 0).await, json!([]));
    let cancel = async {
        let path = format!("/sessions/{id}/cancel");
        let (status, _) = post(&bench, &path, json!({})).await;
        assert_eq!(status, StatusCode::OK);
    };
    let (next, ()) = tokio::join!(events(last, 20), cancel);
    let next = next.as_array().unwrap();
    assert!(!next.is_empty());
    assert!(
        next.iter()
            .all(|event| event["id"].as_i64().unwrap() > last)
    );
}
