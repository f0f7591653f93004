//! The operations for people, as the command line asks for them.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::http::local_router;
use crate::testing::{Bench, bench, text};

async fn ask(bench: &Bench, path: &str, request: Value) -> (StatusCode, Value) {
    let request = Request::post(path)
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

#[tokio::test]
async fn errors_have_a_status_and_a_kind() {
    let bench = bench().await;
    let deploy =
        |image: &str, host: &str| json!({ "image": image, "hosts": [host], "is_shutdown": false });
    for (path, request, status, kind) in [
        ("/deploy", deploy("nosuch", "LAB-01"), 404, "not-found"),
        ("/deploy", deploy("lab image", "LAB-09"), 404, "not-found"),
        ("/cancel", json!({ "session": 7 }), 404, "not-found"),
        ("/host/remove", json!({ "name": "x" }), 404, "not-found"),
        ("/image/show", json!({ "name": "x" }), 404, "not-found"),
        (
            "/host/add",
            json!({ "name": "LAB-09", "macs": ["ff:ff:ff:ff:ff:ff"], "device": "" }),
            422,
            "invalid",
        ),
        (
            "/host/add",
            json!({ "name": "LAB-01", "macs": ["00:1b:21:00:00:77"], "device": "" }),
            409,
            "conflict",
        ),
    ] {
        let (found, body) = ask(&bench, path, request).await;
        assert_eq!(found, status, "{path}: {body}");
        assert_eq!(body["kind"], kind, "{path}: {body}");
        assert!(!body["text"].as_str().unwrap().is_empty());
    }
    let (status, session) = ask(&bench, "/deploy", deploy("lab image", "LAB-01")).await;
    assert_eq!((status, &session["port"]), (StatusCode::OK, &json!(63100)));
    let (status, body) = ask(&bench, "/deploy", deploy("lab image", "LAB-01")).await;
    assert_eq!(
        (status, &body["kind"]),
        (StatusCode::CONFLICT, &json!("conflict"))
    );
    bench.faults.fail();
    let (status, body) = ask(&bench, "/deploy", deploy("lab image", "LAB-02")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["kind"], "unavailable");
}

#[tokio::test]
async fn hostile_requests_are_refused() {
    let bench = bench().await;
    for request in [json!({}), json!(7), json!({ "session": "x" })] {
        let (status, _) = ask(&bench, "/cancel", request).await;
        assert!(status.is_client_error(), "{status}");
    }
    let (status, _) = ask(&bench, "/nosuch", json!({})).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    // What clients can reach is not here, and the other way round.
    let (status, _) = bench.get(crate::testing::ip(1), "/deploy").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn events_are_told_once_and_waited_for() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    let query = |after: i64, wait: u64| json!({ "session": id.0, "after": after, "limit": 1000, "wait_seconds": wait });
    let (_, first) = ask(&bench, "/events", query(0, 0)).await;
    let first = first.as_array().unwrap().clone();
    let last = first.last().unwrap()["id"].as_i64().unwrap();
    let (_, none) = ask(&bench, "/events", query(last, 0)).await;
    assert_eq!(none, json!([]));
    let cancel = async {
        let (status, _) = ask(&bench, "/cancel", json!({ "session": id.0 })).await;
        assert_eq!(status, StatusCode::OK);
    };
    let ((_, next), ()) = tokio::join!(ask(&bench, "/events", query(last, 20)), cancel);
    let next = next.as_array().unwrap();
    assert!(!next.is_empty());
    assert!(
        next.iter()
            .all(|event| event["id"].as_i64().unwrap() > last)
    );
}
