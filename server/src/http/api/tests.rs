//! The API as programs use it.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::domain::account::{NewPassword, Role};
use crate::testing::{Bench, bench, bench_with, ip, mac, text};

/// A program with a token of this role.
async fn token(bench: &Bench, role: Role) -> String {
    let name = format!("t-{role}").parse().unwrap();
    bench.ops.add_token(name, role).await.unwrap()
}

struct Asked {
    status: StatusCode,
    kind: String,
    body: Value,
    headers: axum::http::HeaderMap,
}

async fn send(bench: &Bench, request: Request<Body>) -> Asked {
    let router = crate::http::router(Arc::clone(&bench.ops));
    let response = router.oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.map_or(String::new(), |kind| kind.to_str().unwrap().to_owned());
    let body = text(response).await;
    Asked {
        status,
        kind,
        body: serde_json::from_str(&body).unwrap_or(Value::String(body)),
        headers,
    }
}

fn request(token: &str, method: &Method, path: &str, body: Option<Value>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if !token.is_empty() {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    match body {
        Some(body) => request
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_string())),
        None => request.body(Body::empty()),
    }
    .unwrap()
}

async fn call(
    bench: &Bench,
    token: &str,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Asked {
    let path = format!("/api/v1{path}");
    send(bench, request(token, &method, &path, body)).await
}

#[track_caller]
fn assert_problem(asked: &Asked, status: u16, code: &str) {
    assert_eq!(asked.status, status, "{}", asked.body);
    assert_eq!(asked.kind, "application/problem+json", "{}", asked.body);
    assert_eq!(asked.body["status"], status, "{}", asked.body);
    assert_eq!(asked.body["code"], code, "{}", asked.body);
    assert!(!asked.body["detail"].as_str().unwrap().is_empty());
}

/// Each operation of the description, with something in the places of its path.
fn operations() -> Vec<(Method, String, Role)> {
    let document: Value = serde_json::from_str(document()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let about = operation["description"].as_str().unwrap();
            let (_, role) = about.rsplit_once("Role: ").unwrap();
            let role = Role::from_code(role.trim_end_matches('.')).unwrap();
            let path = path.replace("{session}", "77").replace("{task}", "77");
            let path = path.replace("{host}", "x").replace("{image}", "x");
            let path = path.replace("{user}", "x").replace("{token}", "x");
            let path = path
                .replace("{mac}", "00:1b:21:00:00:63")
                .replace("{group}", "x");
            let path = path.replace("{schedule}", "77");
            assert!(!path.contains('{'), "{path}");
            operations.push((method, path, role));
        }
    }
    operations
}

#[tokio::test]
async fn every_operation_is_for_its_role_alone() {
    let bench = bench().await;
    let mut tokens = Vec::new();
    for role in Role::ALL {
        tokens.push((role, token(&bench, role).await));
    }
    for (method, path, needed) in operations() {
        for wrong in ["", "fos_0123", "x"] {
            let asked = send(&bench, request(wrong, &method, &path, None)).await;
            assert_problem(&asked, 401, "unauthenticated");
            assert_eq!(asked.headers[header::WWW_AUTHENTICATE], "Bearer");
        }
        for (role, token) in &tokens {
            // A body that is none: what is let in gets as far as that, and changes nothing.
            let asked = send(&bench, request(token, &method, &path, None)).await;
            match *role >= needed {
                true => assert!(
                    ![401, 403].contains(&asked.status.as_u16()) && !asked.status.is_server_error(),
                    "{role} {method} {path}: {}",
                    asked.body
                ),
                false => assert_problem(&asked, 403, "forbidden"),
            }
        }
    }
}

/// A browser sends its cookie whatever page made the request.
#[tokio::test]
async fn a_login_changes_nothing_without_the_key_of_its_forms() {
    let bench = bench().await;
    let password = NewPassword::try_from("correct horse".to_owned()).unwrap();
    let added = bench
        .ops
        .add_user("ann".parse().unwrap(), Role::Admin, password);
    added.await.unwrap();
    let log_in = |last| bench.ops.log_in(ip(last).into(), "ann", "correct horse");
    let cookie = log_in(1).await.unwrap();
    let other = log_in(2).await.unwrap();
    let with = |method: &Method, path: &str, key: Option<&str>| {
        let mut request = request("", method, path, None);
        let value = format!("{}={}", authority::COOKIE, cookie.0);
        let headers = request.headers_mut();
        headers.insert(header::COOKIE, value.parse().unwrap());
        if let Some(key) = key {
            headers.insert("x-form-key", key.parse().unwrap());
        }
        request
    };
    let asked = send(&bench, with(&Method::GET, "/api/v1/me", None)).await;
    assert_eq!(
        (asked.status, &asked.body["who"]),
        (StatusCode::OK, &json!("user ann"))
    );
    for (method, path, _) in operations() {
        if method == Method::GET {
            continue;
        }
        for wrong in [None, Some(""), Some(other.form_key().as_str())] {
            let asked = send(&bench, with(&method, &path, wrong)).await;
            assert_problem(&asked, 403, "forbidden");
        }
        let asked = send(&bench, with(&method, &path, Some(&cookie.form_key()))).await;
        assert_ne!(asked.status, StatusCode::FORBIDDEN, "{method} {path}");
    }
    bench.ops.log_out(&cookie);
    let asked = send(&bench, with(&Method::GET, "/api/v1/me", None)).await;
    assert_problem(&asked, 401, "unauthenticated");
}

#[tokio::test]
async fn a_session_is_made_shown_followed_and_ended() {
    let bench = bench().await;
    let token = token(&bench, Role::Operator).await;
    let ask = |method, path: &'static str, body| call(&bench, &token, method, path, body);
    let (get, post) = (Method::GET, Method::POST);
    let deploy = json!({ "image": "lab image", "hosts": ["LAB-01", "LAB-02"] });
    let made = ask(post.clone(), "/sessions", Some(deploy.clone())).await;
    assert_eq!(
        (made.status, &made.body["session"]),
        (StatusCode::CREATED, &json!(1))
    );
    let busy = ask(post.clone(), "/sessions", Some(deploy)).await;
    assert_problem(&busy, 409, "conflict");

    bench.check_in(1).await;
    let shown = ask(get.clone(), "/sessions/1", None).await;
    let session = &shown.body["sessions"][0];
    assert_eq!(
        (&session["checked_in"], &session["stage"]),
        (&json!(1), &json!("gathering"))
    );
    assert_eq!(session["missing"], json!(["LAB-01", "LAB-02"]));
    let all = ask(get.clone(), "/sessions", None).await;
    assert_eq!(all.body["sessions"].as_array().unwrap().len(), 1);
    let events = ask(get.clone(), "/sessions/1/events", None).await;
    let codes = |events: &Value| -> Vec<String> {
        let events = events.as_array().unwrap().iter();
        events
            .map(|e| e["code"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(codes(&events.body), ["created", "checked-in"]);
    let last = ask(get.clone(), "/sessions/1/events?limit=1", None).await;
    assert_eq!(codes(&last.body), ["checked-in"]);

    let early = ask(post.clone(), "/sessions/1/start", None).await;
    assert_problem(&early, 409, "conflict");
    let dropped = ask(post.clone(), "/sessions/1/hosts/lab-02/drop", None).await;
    assert_eq!(dropped.status, StatusCode::OK, "{}", dropped.body);
    let again = ask(post.clone(), "/sessions/1/hosts/lab-02/drop", None).await;
    assert_problem(&again, 409, "conflict");
    let cancelled = ask(post.clone(), "/sessions/1/cancel", None).await;
    assert_eq!(cancelled.status, StatusCode::OK, "{}", cancelled.body);
    for path in ["/sessions/1/cancel", "/sessions/1/start"] {
        assert_problem(&ask(post.clone(), path, None).await, 409, "conflict");
    }
    for path in ["/sessions/9/cancel", "/sessions/9/start"] {
        assert_problem(&ask(post.clone(), path, None).await, 404, "not-found");
    }
    assert_problem(&ask(get, "/sessions/9", None).await, 404, "not-found");
}

#[tokio::test]
async fn hosts_are_added_edited_and_removed() {
    let bench = bench().await;
    let token = token(&bench, Role::Operator).await;
    let ask = |method, path: &'static str, body| call(&bench, &token, method, path, body);
    let host = |name: &str, mac: &str| json!({ "name": name, "macs": [mac] });
    let added = ask(
        Method::POST,
        "/hosts",
        Some(host("LAB-99", "00:1b:21:00:00:99")),
    )
    .await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.body);
    let edit = json!({ "name": "NEW-99", "macs": ["00:1b:21:00:00:98"], "image": "lab image", "device": "/dev/vdb" });
    let edited = ask(Method::PUT, "/hosts/lab-99", Some(edit)).await;
    assert_eq!(
        (edited.status, &edited.body["name"]),
        (StatusCode::OK, &json!("NEW-99"))
    );
    let list = ask(Method::GET, "/hosts", None).await;
    let found = list.body.as_array().unwrap().iter();
    let found = found.clone().find(|host| host["name"] == "NEW-99").unwrap();
    assert_eq!(found["macs"], json!(["00:1b:21:00:00:98"]));
    assert_eq!(
        (&found["device"], &found["session"]),
        (&json!("/dev/vdb"), &Value::Null)
    );
    // Clients are known by what is new.
    let (_, told) = bench
        .get(ip(9), "/fog/service/fos/session?mac=00:1b:21:00:00:98")
        .await;
    assert!(told.contains("NEW-99"), "{told}");
    let taken = ask(
        Method::PUT,
        "/hosts/NEW-99",
        Some(host("LAB-01", "00:1b:21:00:00:98")),
    )
    .await;
    assert_problem(&taken, 409, "conflict");
    let group = ask(
        Method::PUT,
        "/hosts/NEW-99",
        Some(host("LAB-98", "ff:ff:ff:ff:ff:ff")),
    )
    .await;
    assert_problem(&group, 422, "invalid");
    let none = ask(
        Method::POST,
        "/hosts",
        Some(json!({ "name": "LAB-98", "macs": [] })),
    )
    .await;
    assert_problem(&none, 422, "invalid");
    bench.deploy(&[1]).await;
    let busy = ask(
        Method::PUT,
        "/hosts/LAB-01",
        Some(host("LAB-97", "00:1b:21:00:00:97")),
    )
    .await;
    assert_problem(&busy, 409, "conflict");
    let removed = ask(Method::DELETE, "/hosts/NEW-99", None).await;
    assert_eq!(removed.status, StatusCode::OK, "{}", removed.body);
    for (method, path) in [
        (Method::DELETE, "/hosts/NEW-99"),
        (Method::POST, "/hosts/NEW-99/forget"),
        (Method::DELETE, "/hosts/%1b%5b2J%27%20OR%201=1"),
    ] {
        let asked = ask(method, path, None).await;
        assert_problem(&asked, 404, "not-found");
        assert!(
            !asked.body.to_string().contains("\\u001b"),
            "{}",
            asked.body
        );
    }
}

#[tokio::test]
async fn who_serves_whom_is_shown_by_node() {
    let bench = bench_with(|config| config.slots = Some(1)).await;
    let token = token(&bench, Role::Operator).await;
    let ask = |method, path: &'static str, body| call(&bench, &token, method, path, body);
    let deploy = json!({ "image": "lab image", "hosts": ["LAB-01", "LAB-02"] });
    let made = ask(Method::POST, "/tasks", Some(deploy)).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    for host in [2, 1] {
        let form = format!("sysuuid=&mac={}&type=down", mac(host));
        bench.post(ip(host), "Pre_Stage1.php", form).await;
    }
    let list = ask(Method::GET, "/nodes", None).await;
    assert_eq!(list.status, StatusCode::OK, "{}", list.body);
    let node = &list.body["nodes"][0];
    assert_eq!((&node["node"], &node["slots"]), (&json!(1), &json!(1)));
    assert_eq!(node["served"][0]["host"], "LAB-02", "{node}");
    assert!(node["served"][0]["since"].is_string(), "{node}");
    assert_eq!(node["waiting"][0]["host"], "LAB-01", "{node}");
    assert!(node["waiting"][0]["since"].is_string(), "{node}");
    let server = &list.body["servers"][0];
    assert_eq!(server["is_this"], true, "{server}");
    assert!(server["alive_since"].is_string(), "{server}");
    assert_eq!(list.body["failures"], json!([]));
}

#[tokio::test]
async fn images_are_shown_and_checked() {
    let bench = bench().await;
    let token = token(&bench, Role::Operator).await;
    let ask = |method, path: &'static str| call(&bench, &token, method, path, None);
    let list = ask(Method::GET, "/images").await;
    assert_eq!(list.body[0]["name"], "lab image");
    let shown = ask(Method::GET, "/images/lab%20image").await;
    assert!(shown.body["facts"]["streams"].is_array(), "{}", shown.body);
    let good = ask(Method::POST, "/images/lab%20image/check").await;
    assert_eq!(good.status, StatusCode::OK, "{}", good.body);
    let looked = ask(Method::GET, "/images/lab%20image/inspection").await;
    assert_eq!(looked.status, StatusCode::OK, "{}", looked.body);
    let stream = &looked.body["streams"][0];
    assert_eq!(stream["name"], "d1p1.img", "{stream}");
    assert_eq!(stream["blake3"].as_str().map(str::len), Some(64));
    assert!(stream["used_size"].as_u64().unwrap() > 0, "{stream}");
    assert_eq!(looked.body["problems"].as_array().unwrap().len(), 1);
    assert_problem(
        &ask(Method::GET, "/images/x/inspection").await,
        404,
        "not-found",
    );
    assert_problem(
        &ask(Method::GET, "/images/lab%20image/verification").await,
        404,
        "not-found",
    );
    // Its partition table is none.
    let verified = verify(&bench, &token).await;
    assert_eq!(verified["state"], "damaged", "{verified}");
    assert!(verified["ended_at"].is_string(), "{verified}");
    let path = shown.body["path"].as_str().unwrap();
    let dir = bench.config.images.join(path);
    let stream = shown.body["facts"]["streams"][0]["name"].as_str().unwrap();
    std::fs::write(dir.join(stream), "other").unwrap();
    assert_problem(
        &ask(Method::POST, "/images/lab%20image/check").await,
        422,
        "invalid",
    );
    assert_problem(
        &ask(Method::POST, "/images/x/check").await,
        404,
        "not-found",
    );
    let root = ask(Method::GET, "/image-root?given=%2Fother").await;
    assert_problem(&root, 409, "conflict");
}

/// Verifies the image and waits for the end of that.
async fn verify(bench: &Bench, token: &str) -> Value {
    let path = "/images/lab%20image/verification";
    let begun = call(bench, token, Method::POST, path, None).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{}", begun.body);
    crate::testing::wait_for("the end of the verification", async || {
        let found = call(bench, token, Method::GET, path, None).await.body;
        (found["state"] != "reading").then_some(found)
    })
    .await
}

#[tokio::test]
async fn accounts_are_made_changed_and_removed() {
    let bench = bench().await;
    let token = token(&bench, Role::Admin).await;
    let ask = |method, path: &'static str, body| call(&bench, &token, method, path, body);
    let user = |name: &str, role: &str, password: &str| {
        Some(json!({ "name": name, "role": role, "password": password }))
    };
    let added = ask(
        Method::POST,
        "/users",
        user("ann", "operator", "correct horse"),
    )
    .await;
    assert_eq!(added.status, StatusCode::CREATED, "{}", added.body);
    for (name, role, password, status) in [
        ("ann", "viewer", "correct horse", 409),
        ("Ann", "viewer", "correct horse", 422),
        ("bob", "root", "correct horse", 422),
        ("bob", "viewer", "short", 422),
    ] {
        let refused = ask(Method::POST, "/users", user(name, role, password)).await;
        assert_eq!(refused.status, status, "{}", refused.body);
        assert!(!refused.body.to_string().contains("correct horse"));
    }
    let changed = ask(Method::PUT, "/users/ann", Some(json!({ "role": "viewer" }))).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    let users = ask(Method::GET, "/users", None).await;
    assert_eq!(users.body[0]["role"], "viewer");
    assert!(!users.body.to_string().contains("argon2"), "{}", users.body);
    let removed = ask(Method::DELETE, "/users/ann", None).await;
    assert_eq!(removed.status, StatusCode::OK);
    assert_problem(
        &ask(Method::DELETE, "/users/ann", None).await,
        404,
        "not-found",
    );
    let made = ask(
        Method::POST,
        "/tokens",
        Some(json!({ "name": "x", "role": "viewer" })),
    )
    .await;
    assert_eq!(made.status, StatusCode::CREATED);
    let secret = made.body["token"].as_str().unwrap();
    let me = call(&bench, secret, Method::GET, "/me", None).await;
    assert_eq!(me.body, json!({ "who": "token x", "role": "viewer" }));
    let tokens = ask(Method::GET, "/tokens", None).await;
    assert!(!tokens.body.to_string().contains(secret));
    assert_eq!(
        ask(Method::DELETE, "/tokens/x", None).await.status,
        StatusCode::OK
    );
    let me = call(&bench, secret, Method::GET, "/me", None).await;
    assert_problem(&me, 401, "unauthenticated");
}

#[tokio::test]
async fn whatever_cannot_be_read_is_a_problem() {
    let bench = bench().await;
    let token = token(&bench, Role::Admin).await;
    let ask = |method, path: &'static str, body| call(&bench, &token, method, path, body);
    let (get, post) = (Method::GET, Method::POST);
    assert_problem(&ask(get.clone(), "/nosuch", None).await, 404, "not-found");
    assert_problem(&ask(get.clone(), "/sessions/x", None).await, 422, "invalid");
    assert_problem(
        &ask(get.clone(), "/sessions/99999999999999999999", None).await,
        422,
        "invalid",
    );
    assert_problem(
        &ask(get.clone(), "/sessions/1/events?limit=-1", None).await,
        422,
        "invalid",
    );
    assert_problem(
        &ask(Method::DELETE, "/sessions", None).await,
        405,
        "method-not-allowed",
    );
    assert_problem(
        &ask(post.clone(), "/sessions", None).await,
        415,
        "unsupported-media-type",
    );
    for body in [
        json!({}),
        json!(7),
        json!([]),
        json!({ "image": 7, "hosts": "x" }),
    ] {
        assert_problem(
            &ask(post.clone(), "/sessions", Some(body)).await,
            422,
            "invalid",
        );
    }
    let deploy = |seconds: u64| {
        Some(json!({ "image": "lab image", "hosts": ["LAB-01"], "max_wait_seconds": seconds }))
    };
    for seconds in [0, 86_401, u64::MAX] {
        let asked = ask(post.clone(), "/sessions", deploy(seconds)).await;
        assert_problem(&asked, 422, "invalid");
    }
    let nobody = json!({ "image": "lab image", "hosts": [] });
    assert_problem(
        &ask(post.clone(), "/sessions", Some(nobody)).await,
        422,
        "invalid",
    );
    let huge = json!({ "image": "x".repeat(100_000), "hosts": ["x"] });
    assert_problem(
        &ask(post.clone(), "/sessions", Some(huge)).await,
        413,
        "too-large",
    );
    let escapes = json!({ "image": "\u{1b}[2J\u{7}", "hosts": ["LAB-01"] });
    let asked = ask(post.clone(), "/sessions", Some(escapes)).await;
    assert_problem(&asked, 404, "not-found");
    assert!(
        !asked.body.to_string().contains("\\u001b"),
        "{}",
        asked.body
    );
    bench.faults.fail();
    let asked = ask(post, "/sessions", deploy(60)).await;
    assert_problem(&asked, 503, "unavailable");
}

#[tokio::test]
async fn the_log_is_read_on_from_where_it_was() {
    let bench = bench().await;
    let token = token(&bench, Role::Operator).await;
    let read = async |after: &str| {
        let path = format!("/log{after}");
        call(&bench, &token, Method::GET, &path, None).await.body
    };
    bench
        .ops
        .log()
        .service(crate::clock::now(), "the first line");
    let first = crate::testing::wait_for("the line", async || {
        let found = read("").await;
        found["lines"]
            .to_string()
            .contains("the first line")
            .then_some(found)
    });
    let first = first.await;
    bench
        .ops
        .log()
        .service(crate::clock::now(), "the second line");
    let after = format!("?after={}", first["next"]);
    let next = crate::testing::wait_for("the next line", async || {
        let found = read(&after).await;
        found["lines"]
            .to_string()
            .contains("the second line")
            .then_some(found)
    });
    assert!(!next.await["lines"].to_string().contains("the first line"));
}

#[tokio::test]
async fn the_description_is_served_to_everybody() {
    let bench = bench().await;
    let asked = send(&bench, request("", &Method::GET, "/api/openapi.json", None)).await;
    assert_eq!(
        (asked.status, asked.kind.as_str()),
        (StatusCode::OK, "application/json")
    );
    assert_eq!(asked.body["info"]["title"], "fos-server");
}

#[test]
fn every_kind_of_trouble_has_a_status_of_its_own() {
    let mut statuses: Vec<u16> = ApiErrorKind::ALL.iter().map(|kind| kind.status()).collect();
    statuses.sort_unstable();
    statuses.dedup();
    assert_eq!(statuses.len(), ApiErrorKind::ALL.len());
}

/// What a caller that does not know better may send, drawn from the description: of the right kind and of wrong ones.
struct Drawn(u64);

impl Drawn {
    fn below(&mut self, bound: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    fn text(&mut self) -> String {
        const TEXTS: [&str; 16] = [
            "",
            "LAB-01",
            "LAB-02",
            "lab image",
            "1",
            "-1",
            "0",
            "admin",
            "operator",
            "correct horse",
            "00:1b:21:00:00:31",
            "\u{1b}[2J\u{0}",
            "' OR 1=1; --",
            "../../etc/passwd",
            "\u{202e}\u{fffd}ä",
            "9223372036854775808",
        ];
        match self.below(20) {
            0 => "x".repeat(3000),
            number => TEXTS[usize::try_from(number).unwrap() % TEXTS.len()].to_owned(),
        }
    }

    fn number(&mut self) -> Value {
        match self.below(8) {
            0 => json!(i64::MIN),
            1 => json!(i64::MAX),
            2 => json!(u64::MAX),
            3 => json!(-1),
            4 => json!(0.5),
            _ => json!(self.below(5)),
        }
    }

    fn value(&mut self, document: &Value, schema: &Value) -> Value {
        if self.below(12) == 0 {
            // Of any kind.
            return match self.below(6) {
                0 => Value::Null,
                1 => json!(self.text()),
                2 => self.number(),
                3 => json!([]),
                4 => json!({}),
                _ => json!([[[{ "a": [true] }]]]),
            };
        }
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap();
            return self.value(document, &document["components"]["schemas"][name]);
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) if self.below(2) == 0 => kinds[kinds.len() - 1].clone(),
            Value::Array(kinds) => kinds[0].clone(),
            kind => kind.clone(),
        };
        match kind.as_str() {
            Some("string") => json!(self.text()),
            Some("integer" | "number") => self.number(),
            Some("boolean") => json!(self.below(2) == 0),
            Some("array") => {
                let count = self.below(4);
                (0..count)
                    .map(|_| self.value(document, &schema["items"]))
                    .collect()
            }
            Some("object") => {
                let mut object = serde_json::Map::new();
                for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                    if self.below(10) > 0 {
                        object.insert(name.clone(), self.value(document, schema));
                    }
                }
                object.into()
            }
            _ => Value::Null,
        }
    }
}

#[tokio::test]
async fn whatever_is_asked_nothing_is_an_error_of_the_server() {
    let bench = bench().await;
    let token = token(&bench, Role::Admin).await;
    let document: Value = serde_json::from_str(document()).unwrap();
    let mut drawn = Drawn(0x5eed_0f05);
    let mut good = 0;
    for round in 0..30 {
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
                let mut place = String::new();
                for part in path.split('/').skip(1) {
                    let part = match part.starts_with('{') {
                        true => drawn.text(),
                        false => part.to_owned(),
                    };
                    let part = percent_encoding::utf8_percent_encode(
                        &part,
                        percent_encoding::NON_ALPHANUMERIC,
                    );
                    place.push_str(&format!("/{part}"));
                }
                let place = place.replace("%2D", "-");
                let query = operation["parameters"].as_array().into_iter().flatten();
                let query = query.filter(|parameter| parameter["in"] == "query");
                let query: Vec<String> = query
                    .map(|parameter| {
                        // Nobody waits here.
                        let name = parameter["name"].as_str().unwrap();
                        let value = match name {
                            "wait_seconds" => json!(0),
                            _ => drawn.value(&document, &parameter["schema"]),
                        };
                        let value = value.to_string();
                        let value = percent_encoding::utf8_percent_encode(
                            &value,
                            percent_encoding::NON_ALPHANUMERIC,
                        );
                        format!("{name}={value}")
                    })
                    .collect();
                let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
                let body = (!schema.is_null()).then(|| drawn.value(&document, schema));
                let place = format!("{place}?{}", query.join("&"));
                let asked = send(&bench, request(&token, &method, &place, body.clone())).await;
                let told = format!(
                    "round {round}: {method} {place} {body:?}: {} {}",
                    asked.status, asked.body
                );
                assert!(!asked.status.is_server_error(), "{told}");
                match asked.status.is_success() {
                    true => {
                        good += 1;
                        let status = asked.status.as_str();
                        let expected = &operation["responses"][status];
                        assert!(expected.is_object(), "{told}");
                        assert_eq!(asked.kind, "application/json", "{told}");
                    }
                    false => assert_problem(
                        &asked,
                        asked.status.as_u16(),
                        asked.body["code"].as_str().unwrap(),
                    ),
                }
            }
        }
    }
    // Not everything was refused at the door.
    assert!(good > 200, "{good}");
}
