//! The page as a browser without script uses it.

use axum::body::{Body, BodyDataStream};
use axum::http::{Request, Response, StatusCode};
use futures_util::StreamExt as _;
use tower::ServiceExt as _;

use super::*;
use crate::domain::SessionId;
use crate::domain::account::{NewPassword, Role};
use crate::http::api::authority::COOKIE;
use crate::ops::Cookie;
use crate::testing::{Bench, bench, bench_with, ip, text};

async fn send(bench: &Bench, request: Request<Body>) -> Response<Body> {
    let router = crate::http::router(Arc::clone(&bench.ops));
    router.oneshot(request).await.unwrap()
}

/// Somebody with this role who is logged in.
async fn log_in(bench: &Bench, role: Role) -> Cookie {
    let password = || NewPassword::try_from("correct horse".to_owned()).unwrap();
    let name = format!("u-{role}");
    let added = bench.ops.add_user(name.parse().unwrap(), role, password());
    added.await.unwrap();
    let from = ip(200).into();
    bench
        .ops
        .log_in(from, &name, "correct horse")
        .await
        .unwrap()
}

fn get_of(cookie: Option<&Cookie>, path: &str) -> Request<Body> {
    let mut request = Request::get(path);
    if let Some(cookie) = cookie {
        request = request.header(header::COOKIE, format!("{COOKIE}={}", cookie.0));
    }
    request.body(Body::empty()).unwrap()
}

fn post_of(cookie: Option<&Cookie>, path: &str, body: &str) -> Request<Body> {
    let mut request = Request::post(path).header(header::CONTENT_TYPE, FORM);
    if let Some(cookie) = cookie {
        request = request.header(header::COOKIE, format!("{COOKIE}={}", cookie.0));
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

const FORM: &str = "application/x-www-form-urlencoded";

/// A page; answers it with its status.
async fn get(bench: &Bench, cookie: &Cookie, path: &str) -> (StatusCode, String) {
    let response = send(bench, get_of(Some(cookie), path)).await;
    (response.status(), text(response).await)
}

/// A form with the key of the login; answers status and where it leads, or the page.
async fn post(bench: &Bench, cookie: &Cookie, path: &str, body: &str) -> (StatusCode, String) {
    let body = format!("key={}&{body}", cookie.form_key());
    let response = send(bench, post_of(Some(cookie), path, &body)).await;
    let status = response.status();
    let place = response.headers().get(header::LOCATION).cloned();
    match place {
        Some(place) => (status, place.to_str().unwrap().to_owned()),
        None => (status, text(response).await),
    }
}

const PAGES: [&str; 9] = [
    "/",
    "/sessions/1",
    "/hosts",
    "/hosts/LAB-01",
    "/images",
    "/images/lab%20image",
    "/nodes",
    "/log",
    "/accounts",
];

/// Forms, and who may send them.
const FORMS: [(&str, Role); 22] = [
    ("/cancel-all", Role::Operator),
    ("/deploy", Role::Operator),
    ("/tasks/cancel", Role::Operator),
    ("/sessions/1/start", Role::Operator),
    ("/sessions/1/cancel", Role::Operator),
    ("/sessions/1/drop", Role::Operator),
    ("/hosts", Role::Operator),
    ("/groups", Role::Operator),
    ("/pending/accept", Role::Operator),
    ("/pending/forget", Role::Operator),
    ("/schedules/remove", Role::Operator),
    ("/hosts/LAB-01", Role::Operator),
    ("/hosts/LAB-01/remove", Role::Operator),
    ("/hosts/LAB-01/forget", Role::Operator),
    ("/images/x/check", Role::Operator),
    ("/images/x/verify", Role::Operator),
    ("/images/x/revert", Role::Admin),
    ("/images/x/describe", Role::Admin),
    ("/capture", Role::Admin),
    ("/accounts/users", Role::Admin),
    ("/accounts/tokens", Role::Admin),
    ("/accounts/remove", Role::Admin),
];

#[tokio::test]
async fn without_a_login_there_is_nothing_but_the_login() {
    let bench = bench().await;
    bench.deploy(&[1]).await;
    let other = Cookie("0".repeat(64));
    for cookie in [None, Some(&other)] {
        let live = [
            "/live",
            "/sessions/1/live",
            "/images/live",
            "/nodes/live",
            "/log/live",
        ];
        for path in PAGES.into_iter().chain(live) {
            let response = send(&bench, get_of(cookie, path)).await;
            assert_eq!(response.status(), StatusCode::SEE_OTHER, "{path}");
            assert_eq!(response.headers()[header::LOCATION], "/login");
        }
        let forms = FORMS.into_iter().map(|(path, _)| path);
        for path in forms.chain(["/logout"]) {
            let response = send(&bench, post_of(cookie, path, "key=")).await;
            assert_eq!(response.status(), StatusCode::SEE_OTHER, "{path}");
            assert_eq!(response.headers()[header::LOCATION], "/login");
        }
    }
}

#[tokio::test]
async fn a_form_is_for_its_role_and_of_its_login() {
    let bench = bench().await;
    bench.deploy(&[1]).await;
    let hosts = bench.ops.hosts().await.unwrap().len();
    let admin = log_in(&bench, Role::Admin).await;
    let logins = [
        (Role::Viewer, log_in(&bench, Role::Viewer).await),
        (Role::Operator, log_in(&bench, Role::Operator).await),
    ];
    for (path, needed) in FORMS {
        for body in ["", "key=", &format!("key={}", logins[0].1.form_key())] {
            let response = send(&bench, post_of(Some(&admin), path, body)).await;
            assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path} {body}");
        }
        for (role, cookie) in &logins {
            if *role < needed {
                let (status, _) = post(&bench, cookie, path, "").await;
                assert_eq!(status, StatusCode::FORBIDDEN, "{role} {path}");
            }
        }
    }
    let body = format!("key={}", admin.form_key());
    let mut foreign = post_of(Some(&admin), "/sessions/1/cancel", &body);
    let headers = foreign.headers_mut();
    headers.insert("sec-fetch-site", "cross-site".parse().unwrap());
    assert_eq!(send(&bench, foreign).await.status(), StatusCode::FORBIDDEN);
    // Nothing of all that was done.
    let status = bench.status(Some(SessionId(1))).await;
    assert!(status.sessions[0].state.is_active());
    assert_eq!(bench.ops.hosts().await.unwrap().len(), hosts);
    for (path, expected) in [
        ("/hosts/LAB-01", 403),
        ("/log", 403),
        ("/log/live", 403),
        ("/accounts", 403),
        ("/hosts", 200),
    ] {
        let (status, _) = get(&bench, &logins[0].1, path).await;
        assert_eq!(status, expected, "{path}");
    }
}

#[tokio::test]
async fn hosts_are_deployed_alone_shown_and_cancelled_without_script() {
    let bench = bench().await;
    let cookie = log_in(&bench, Role::Operator).await;
    let (_, page) = get(&bench, &cookie, "/").await;
    assert!(!page.contains("Hosts deployed alone") && !page.contains("Cancel task"));
    let body = "image=lab+image&hosts=LAB-01&hosts=LAB-02&alone=1";
    let (status, place) = post(&bench, &cookie, "/deploy", body).await;
    assert_eq!((status, place.as_str()), (StatusCode::SEE_OTHER, "/"));
    bench.check_in(1).await;
    let (_, page) = get(&bench, &cookie, "/").await;
    let parts = [
        "Hosts deployed alone",
        "1 of 10 slots in use, 0 waiting",
        "has a slot since",
    ];
    for part in parts {
        assert!(page.contains(part), "{part}: {page}");
    }
    for (body, expected) in [
        ("task=1", StatusCode::SEE_OTHER),
        ("task=1", StatusCode::CONFLICT),
        ("task=x", StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let (status, page) = post(&bench, &cookie, "/tasks/cancel", body).await;
        assert_eq!(status, expected, "{body}: {page}");
    }
    let (_, page) = get(&bench, &cookie, "/").await;
    assert!(
        page.contains("cancelled") && page.contains("2 (LAB-02)"),
        "{page}"
    );
}

#[tokio::test]
async fn a_disk_is_captured_and_an_image_described_without_script() {
    let bench = bench().await;
    let operator = log_in(&bench, Role::Operator).await;
    let (_, page) = get(&bench, &operator, "/images").await;
    assert!(!page.contains("Capture a disk"), "{page}");
    let body = "host=LAB-01&image=fresh&type=mps";
    let (status, _) = post(&bench, &operator, "/capture", body).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let cookie = log_in(&bench, Role::Admin).await;
    let (_, page) = get(&bench, &cookie, "/images").await;
    assert!(page.contains("Capture a disk"), "{page}");
    for (body, expected) in [
        (body, StatusCode::SEE_OTHER),
        (body, StatusCode::CONFLICT),
        ("host=LAB-02&image=fresh&type=", StatusCode::CONFLICT),
        (
            "host=LAB-02&image=new&type=x",
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        ("host=nobody&image=new", StatusCode::NOT_FOUND),
        // A fitted image has an operating system.
        (
            "host=LAB-02&image=new&type=n&os=",
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            "host=LAB-02&image=new&type=n&os=x",
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        ("host=LAB-02&image=new&type=n&os=50", StatusCode::SEE_OTHER),
    ] {
        let (status, page) = post(&bench, &cookie, "/capture", body).await;
        assert_eq!(status, expected, "{body}: {page}");
    }
    let (_, page) = get(&bench, &cookie, "/").await;
    assert!(page.contains("fresh (capture)"), "{page}");
    let path = "/images/lab%20image/describe";
    for (body, expected) in [
        ("name=room&note=%3Cscript%3Ex", StatusCode::SEE_OTHER),
        ("name=room&note=x", StatusCode::NOT_FOUND),
    ] {
        let (status, page) = post(&bench, &cookie, path, body).await;
        assert_eq!(status, expected, "{body}: {page}");
    }
    let (_, page) = get(&bench, &cookie, "/images").await;
    assert!(
        page.contains("&lt;script&gt;x") && !page.contains("<script>x"),
        "{page}"
    );
    for (body, expected) in [
        ("version=7", StatusCode::NOT_FOUND),
        ("version=x", StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        let (status, page) = post(&bench, &cookie, "/images/room/revert", body).await;
        assert_eq!(status, expected, "{body}: {page}");
    }
}

#[tokio::test]
async fn an_image_is_deployed_followed_and_ended_without_script() {
    let bench = bench().await;
    let cookie = log_in(&bench, Role::Operator).await;
    let (status, page) = get(&bench, &cookie, "/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("There is no session yet"), "{page}");
    let body = "image=lab+image&hosts=LAB-01&hosts=LAB-02&minutes=5&name=%3Cscript%3Ex";
    let (status, place) = post(&bench, &cookie, "/deploy", body).await;
    assert_eq!(
        (status, place.as_str()),
        (StatusCode::SEE_OTHER, "/sessions/1")
    );
    bench.check_in(1).await;
    let (_, page) = get(&bench, &cookie, &place).await;
    for part in [
        "LAB-01",
        "LAB-02",
        "Start now",
        "Cancel session 1",
        "checked in from",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let (status, _) = post(&bench, &cookie, "/sessions/1/start", "").await;
    assert_eq!(status, StatusCode::CONFLICT);
    let (status, place) = post(&bench, &cookie, "/sessions/1/drop", "host=LAB-02").await;
    assert_eq!(
        (status, place.as_str()),
        (StatusCode::SEE_OTHER, "/sessions/1")
    );
    let (_, page) = get(&bench, &cookie, "/").await;
    assert!(
        page.contains("&lt;script&gt;x") && !page.contains("<script>x"),
        "{page}"
    );
    let (status, _) = post(&bench, &cookie, "/sessions/1/cancel", "").await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    bench.ended(SessionId(1)).await;
    let (_, page) = get(&bench, &cookie, "/sessions/1").await;
    assert!(
        !page.contains("Start now") && !page.contains("Drop"),
        "{page}"
    );
    for (body, part) in [
        ("image=lab+image", "no host was chosen"),
        ("image=nosuch&hosts=LAB-01", "there is no image"),
        ("image=lab+image&hosts=LAB-01&minutes=0", "1 to 1440"),
        ("image=lab+image&hosts=%1b%5b2J", "there is no host"),
    ] {
        let (status, page) = post(&bench, &cookie, "/deploy", body).await;
        assert!(
            status.is_client_error() && page.contains(part),
            "{body}: {page}"
        );
        assert!(!page.contains('\u{1b}'), "{page}");
    }
}

#[tokio::test]
async fn hosts_and_accounts_are_kept_by_forms() {
    let bench = bench().await;
    let cookie = log_in(&bench, Role::Admin).await;
    bench.boot(9).await;
    let (_, page) = get(&bench, &cookie, "/hosts").await;
    assert!(page.contains("00:1b:21:00:00:09"), "{page}");
    let body = "name=NEW-09&macs=00:1b:21:00:00:09%0D%0A00:1b:21:00:01:09&image=&device=";
    let (status, _) = post(&bench, &cookie, "/hosts", body).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let (_, page) = get(&bench, &cookie, "/hosts").await;
    assert!(
        page.contains("00:1b:21:00:01:09") && page.contains("None."),
        "{page}"
    );
    let body = "name=NEW-10&macs=00:1b:21:00:00:09&image=lab+image&device=%2Fdev%2Fvdb";
    let (status, place) = post(&bench, &cookie, "/hosts/NEW-09", body).await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{place}");
    let (_, page) = get(&bench, &cookie, "/hosts/NEW-10").await;
    assert!(
        page.contains("/dev/vdb") && page.contains("selected"),
        "{page}"
    );
    let (status, _) = post(&bench, &cookie, "/hosts/NEW-10/remove", "").await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let (status, _) = get(&bench, &cookie, "/hosts/NEW-10").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    for body in [
        "name=a+b&macs=00:1b:21:00:00:09",
        "name=LAB-77&macs=x",
        "name=LAB-77&macs=",
    ] {
        let (status, page) = post(&bench, &cookie, "/hosts", body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{page}");
    }

    let body = "name=bob&role=viewer&password=correct+horse";
    let (status, _) = post(&bench, &cookie, "/accounts/users", body).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let (_, page) = post(
        &bench,
        &cookie,
        "/accounts/tokens",
        "name=grafana&role=viewer",
    )
    .await;
    let token = page
        .split("fos_")
        .nth(1)
        .unwrap()
        .split('<')
        .next()
        .unwrap();
    let caller = bench.ops.caller_by_token(&format!("fos_{token}")).await;
    assert_eq!(caller.unwrap().unwrap().role, Role::Viewer);
    let (_, page) = get(&bench, &cookie, "/accounts").await;
    assert!(
        page.contains("bob") && page.contains("grafana") && !page.contains(token),
        "{page}"
    );
    for body in ["kind=user&name=bob", "kind=token&name=grafana"] {
        let (status, _) = post(&bench, &cookie, "/accounts/remove", body).await;
        assert_eq!(status, StatusCode::SEE_OTHER);
        let (status, _) = post(&bench, &cookie, "/accounts/remove", body).await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
    let (status, page) = post(&bench, &cookie, "/images/lab%20image/check", "").await;
    assert_eq!(status, StatusCode::OK, "{page}");
}

/// Who serves whom, and since when; and what an image is.
#[tokio::test]
async fn nodes_and_images_are_looked_at_by_a_viewer() {
    let bench = bench_with(|config| config.slots = Some(1)).await;
    let cookie = log_in(&bench, Role::Viewer).await;
    let (status, page) = get(&bench, &cookie, "/nodes").await;
    assert_eq!(status, StatusCode::OK, "{page}");
    assert!(
        page.contains("alive since") || page.contains("since "),
        "{page}"
    );
    assert!(page.contains("0 of 1 in use"), "{page}");
    assert!(!page.contains("has a slot"), "{page}");
    let session = bench.deploy(&[1]).await;
    let operator = log_in(&bench, Role::Operator).await;
    let body = "image=lab+image&hosts=LAB-02&alone=1";
    let (status, _) = post(&bench, &operator, "/deploy", body).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let form = format!("sysuuid=&mac={}&type=down", crate::testing::mac(2));
    assert_eq!(bench.post(ip(2), "Pre_Stage1.php", form).await, "##@GO");
    crate::testing::wait_for("the session to run", async || {
        bench.ops.sessions().running(session).map(drop)
    })
    .await;
    let (_, page) = get(&bench, &cookie, "/nodes").await;
    for part in ["1 of 1 in use", "LAB-02", "has a slot", "/sessions/1"] {
        assert!(page.contains(part), "{part}: {page}");
    }

    let (status, page) = get(&bench, &cookie, "/images/lab%20image").await;
    assert_eq!(status, StatusCode::OK, "{page}");
    // Its table is none, which is said; what was verified is shown all the same.
    for part in ["clients would refuse it", "d1p1.img", "d1.mbr", "BLAKE3"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("Read and verify"), "{page}");
    let (status, _) = get(&bench, &cookie, "/images/x%1b").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

/// As the server was told: people are led away from HTTP, and nothing of theirs is taken there.
#[tokio::test]
async fn people_are_led_to_https_and_clients_are_not() {
    let bench = bench_with(|config| {
        let source = crate::https::Source::Own {
            directory: config.data.join("https"),
        };
        config.https = Some(crate::https::Https {
            listen: "0.0.0.0:8443".parse().unwrap(),
            is_for_clients: false,
            is_for_people: true,
            identity: Arc::new(crate::https::Identity::new(source, Vec::new())),
        });
    })
    .await;
    let cookie = log_in(&bench, Role::Admin).await;
    for (host, place) in [
        (
            Some("deploy.example"),
            "https://deploy.example:8443/hosts?a=b",
        ),
        (
            Some("deploy.example:8080"),
            "https://deploy.example:8443/hosts?a=b",
        ),
        (
            Some("[2001:db8::1]:80"),
            "https://[2001:db8::1]:8443/hosts?a=b",
        ),
        (None, "https://127.0.0.1:8443/hosts?a=b"),
    ] {
        let mut request = get_of(Some(&cookie), "/hosts?a=b");
        if let Some(host) = host {
            let headers = request.headers_mut();
            headers.insert(header::HOST, host.parse().unwrap());
        }
        let response = send(&bench, request).await;
        assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(response.headers()[header::LOCATION], place, "{host:?}");
    }
    let (status, _) = post(&bench, &cookie, "/cancel-all", "").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let response = send(&bench, get_of(None, "/api/v1/me")).await;
    assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
    // What came over TLS is served.
    let request = crate::http::encrypted(get_of(Some(&cookie), "/hosts"));
    assert_eq!(send(&bench, request).await.status(), StatusCode::OK);
    let body = "name=u-admin&password=correct+horse";
    let request = crate::http::encrypted(post_of(None, "/login", body));
    let response = send(&bench, request).await;
    let set = response.headers()[header::SET_COOKIE].to_str().unwrap();
    assert!(set.starts_with("__Host-fos_login="), "{set}");
    assert!(
        set.contains("; Secure") && set.contains("; Path=/;"),
        "{set}"
    );
    // Clients and boot loaders are as before.
    let (status, _) = bench.get(ip(1), "/fog/service/getversion.php").await;
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test]
async fn every_session_is_ended_with_one_button() {
    let bench = bench().await;
    bench.add_host(3).await;
    let cookie = log_in(&bench, Role::Operator).await;
    let (_, page) = get(&bench, &cookie, "/").await;
    assert!(!page.contains("Cancel everything"), "{page}");
    for host in [1, 2] {
        bench.deploy(&[host]).await;
    }
    let body = "image=lab+image&hosts=LAB-03&alone=1";
    let (status, _) = post(&bench, &cookie, "/deploy", body).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let (_, page) = get(&bench, &cookie, "/").await;
    assert!(page.contains("Cancel everything"), "{page}");
    for _ in 0..2 {
        let (status, _) = post(&bench, &cookie, "/cancel-all", "").await;
        assert_eq!(status, StatusCode::SEE_OTHER);
        let status = bench.status(None).await;
        assert_eq!(status.sessions.len(), 2);
        assert!(status.sessions.iter().all(|one| !one.state.is_active()));
        let tasks = crate::api::Api::tasks(&*bench.ops).await.unwrap().tasks;
        assert!(tasks.iter().all(|task| !task.state.is_active()));
        assert_eq!(tasks.len(), 1);
    }
}

/// Who loses what is sent is named, with how much; who holds all others up is named before that.
#[tokio::test]
async fn the_slowest_host_is_named_with_what_it_lost() {
    let bench = bench().await;
    let cookie = log_in(&bench, Role::Viewer).await;
    bench.deploy(&[1, 2]).await;
    for host in [1, 2] {
        bench.check_in(host).await;
    }
    bench.start_stream(0, &[1, 2]).await;
    let counters = crate::sender::Counters {
        bytes_acked: 10,
        blocks_sent: 1050,
        blocks_repeated: 50,
    };
    bench.sender.count(counters, &[(ip(1), 0), (ip(2), 123)]);
    // What happens is published at once or half a second later.
    crate::testing::wait_for("the losses to be seen", async || {
        bench
            .sender
            .tell(crate::sender::SenderEvent::Note("x".into()));
        let status = bench.status(Some(SessionId(1))).await;
        status.sessions[0].slowest.clone()
    })
    .await;
    let (_, page) = get(&bench, &cookie, "/sessions/1").await;
    let told =
        "<strong>LAB-02</strong>: it asked for 123 blocks again, 12.3 % of the stream so far";
    assert!(page.contains(told), "{page}");
    assert!(page.contains("12.3 %") && page.contains("0.0 %"), "{page}");
    assert_eq!(page.matches(">slowest<").count(), 1, "{page}");
    let slow = crate::sender::SlowReceiver {
        address: ip(1),
        silent: std::time::Duration::from_secs(5),
        has_acknowledged: true,
    };
    bench
        .sender
        .tell(crate::sender::SenderEvent::Slow(vec![slow]));
    crate::testing::wait_for("who holds the others up", async || {
        let status = bench.status(Some(SessionId(1))).await;
        let slowest = status.sessions[0].slowest.clone();
        slowest.filter(|slowest| slowest.name == "LAB-01")
    })
    .await;
}

#[tokio::test]
async fn the_log_says_who_changed_what() {
    let bench = bench().await;
    let cookie = log_in(&bench, Role::Operator).await;
    let body = "image=lab+image&hosts=LAB-01";
    let (status, _) = post(&bench, &cookie, "/deploy", body).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let (status, _) = post(&bench, &cookie, "/accounts/remove", "kind=user&name=x").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    drop(send(&bench, post_of(None, "/deploy", body)).await);
    drop(get(&bench, &cookie, "/hosts").await);
    let tail = bench.ops.log_tail(None).await.unwrap();
    let lines = tail.lines.iter().filter(|line| line.contains("POST /"));
    let lines: Vec<&String> = lines.collect();
    let [deploy, remove] = lines.as_slice() else {
        panic!("{lines:?}");
    };
    assert!(
        deploy.ends_with("user u-operator: POST /deploy: 303"),
        "{deploy}"
    );
    assert!(
        remove.ends_with("user u-operator: POST /accounts/remove: 403"),
        "{remove}"
    );
}

#[tokio::test]
async fn a_cookie_that_came_over_https_never_goes_over_http() {
    let bench = bench().await;
    drop(log_in(&bench, Role::Viewer).await);
    let body = "name=u-viewer&password=correct+horse";
    for (scheme, is_secure) in [(None, false), (Some("http"), false), (Some("HTTPS"), true)] {
        let mut request = post_of(None, "/login", body);
        if let Some(scheme) = scheme {
            let headers = request.headers_mut();
            headers.insert("x-forwarded-proto", scheme.parse().unwrap());
        }
        let response = send(&bench, request).await;
        let set = response.headers()[header::SET_COOKIE].to_str().unwrap();
        assert_eq!(set.contains("; Secure"), is_secure, "{scheme:?}: {set}");
    }
}

#[tokio::test]
async fn an_open_page_does_not_keep_a_login_and_one_person_has_some_pages_only() {
    let bench = bench().await;
    let cookie = log_in(&bench, Role::Viewer).await;
    let mut open = Vec::new();
    let refused = loop {
        let response = send(&bench, get_of(Some(&cookie), "/live")).await;
        match response.status() {
            StatusCode::OK => open.push(response),
            status => break status,
        }
        assert!(open.len() < 100);
    };
    assert_eq!(refused, StatusCode::TOO_MANY_REQUESTS);
    let other = log_in(&bench, Role::Operator).await;
    let response = send(&bench, get_of(Some(&other), "/live")).await;
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_login_begins_and_ends_in_the_browser() {
    let bench = bench().await;
    let code = bench.ops.begin_setup().await.unwrap().unwrap();
    let (path, none) = (format!("/setup?code={code}"), "/setup?code=x");
    assert_eq!(
        send(&bench, get_of(None, none)).await.status(),
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        send(&bench, get_of(None, &path)).await.status(),
        StatusCode::OK
    );
    let differing = format!("code={code}&name=ann&password=correct+horse&again=other");
    let response = send(&bench, post_of(None, "/setup", &differing)).await;
    assert_eq!(response.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let body = format!("code={code}&name=ann&password=correct+horse&again=correct+horse");
    let response = send(&bench, post_of(None, "/setup", &body)).await;
    assert_eq!(
        response.status(),
        StatusCode::SEE_OTHER,
        "{}",
        text(response).await
    );
    let again = send(&bench, post_of(None, "/setup", &body)).await;
    assert_eq!(again.status(), StatusCode::UNAUTHORIZED);

    let wrong = "name=ann&password=%3Cb%3Ewrong";
    let response = send(&bench, post_of(None, "/login", wrong)).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    let page = text(response).await;
    assert!(
        page.contains("name or password is wrong") && !page.contains("<b>wrong"),
        "{page}"
    );
    let right = "name=ann&password=correct+horse";
    let response = send(&bench, post_of(None, "/login", right)).await;
    let set = response.headers()[header::SET_COOKIE]
        .to_str()
        .unwrap()
        .to_owned();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=86400"] {
        assert!(set.contains(part), "{set}");
    }
    let value = set.split(['=', ';']).nth(1).unwrap();
    let cookie = Cookie(value.to_owned());
    assert_eq!(get(&bench, &cookie, "/").await.0, StatusCode::OK);
    let (status, place) = post(&bench, &cookie, "/logout", "").await;
    assert_eq!((status, place.as_str()), (StatusCode::SEE_OTHER, "/login"));
    assert_eq!(get(&bench, &cookie, "/").await.0, StatusCode::SEE_OTHER);
    // Too often wrong.
    let mut last = StatusCode::OK;
    for _ in 0..7 {
        last = send(&bench, post_of(None, "/login", wrong)).await.status();
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn nothing_comes_from_elsewhere_and_no_script_is_in_a_page() {
    let bench = bench().await;
    bench.deploy(&[1, 2]).await;
    let cookie = log_in(&bench, Role::Admin).await;
    for path in PAGES.into_iter().chain(["/login"]) {
        let response = send(&bench, get_of(Some(&cookie), path)).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let headers = response.headers().clone();
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        let page = text(response).await;
        for wrong in [
            "http://",
            "https://",
            " style=",
            " onclick=",
            "javascript:",
            "<style",
        ] {
            assert!(!page.contains(wrong), "{path}: {wrong}");
        }
        assert_eq!(page.matches("<script").count(), 1, "{path}");
        assert!(
            page.contains("<script src=\"/assets/app.js\" defer></script>"),
            "{path}"
        );
    }
    for path in ["/assets/app.js", "/assets/style.css"] {
        let response = send(&bench, get_of(None, path)).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let text = text(response).await;
        assert!(!text.contains("http") && !text.contains("url("), "{path}");
    }
}

/// The next event of a kind: its data.
async fn next_event(stream: &mut BodyDataStream, held: &mut String, kind: &str) -> String {
    let marker = format!("event: {kind}\n");
    let wait = async {
        loop {
            while let Some((event, rest)) = held.split_once("\n\n") {
                let (event, rest) = (event.to_owned() + "\n", rest.to_owned());
                *held = rest;
                if event.contains(&marker) {
                    let data = event.lines().find_map(|line| line.strip_prefix("data: "));
                    return data.unwrap_or_default().to_owned();
                }
            }
            let piece = stream.next().await.expect("the stream has ended").unwrap();
            held.push_str(str::from_utf8(&piece).unwrap());
        }
    };
    tokio::time::timeout(crate::testing::DEADLINE, wait)
        .await
        .unwrap()
}

#[tokio::test]
async fn what_changes_is_told_until_the_login_is_over() {
    let bench = bench().await;
    let id = bench.deploy(&[1, 2]).await;
    let cookie = log_in(&bench, Role::Viewer).await;
    let (_, page) = get(&bench, &cookie, "/sessions/1").await;
    let address = page.split("data-live=\"").nth(1).unwrap();
    let address = address.split('"').next().unwrap().replace("&amp;", "&");
    let response = send(&bench, get_of(Some(&cookie), &address)).await;
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/event-stream"
    );
    let mut stream = response.into_body().into_data_stream();
    let held = &mut String::new();
    let first = next_event(&mut stream, held, "parts").await;
    assert!(first.contains("LAB-01"), "{first}");
    bench.check_in(1).await;
    let line = next_event(&mut stream, held, "log").await;
    assert!(line.contains("LAB-01: checked in from 10.0.0.1"), "{line}");
    // Its buttons are others now.
    bench.ops.cancel(id, Some("LAB-02")).await.unwrap();
    next_event(&mut stream, held, "reload").await;
    bench.ops.log_out(&cookie);
    let rest = async { while stream.next().await.is_some() {} };
    tokio::time::timeout(crate::testing::DEADLINE, rest)
        .await
        .unwrap();
}

#[tokio::test]
async fn machines_rooms_and_later_deploys_are_steered() {
    let bench = bench().await;
    let operator = log_in(&bench, Role::Operator).await;
    let body = "mac0=00:1b:21:00:00:63&register=1&product=%3Cscript%3Ex";
    bench.post(ip(99), "ipxe/boot.php", body).await;
    let (_, page) = get(&bench, &operator, "/hosts").await;
    assert!(page.contains("wants to be registered"), "{page}");
    assert!(page.contains("&lt;script&gt;x"), "{page}");
    assert!(page.contains("placeholder=\"001b21000063\""), "{page}");
    let form = "mac=00:1b:21:00:00:63&name=LAB-99";
    let done = post(&bench, &operator, "/pending/accept", form).await;
    assert_eq!(done, (StatusCode::SEE_OTHER, "/hosts".to_owned()));
    let (status, _) = post(&bench, &operator, "/pending/accept", form).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let done = post(&bench, &operator, "/pending/forget", "").await;
    assert_eq!(done.0, StatusCode::SEE_OTHER);

    let form = "group=Room+101&hosts=LAB-99%0d%0aLAB-01&what=add";
    let done = post(&bench, &operator, "/groups", form).await;
    assert_eq!(done, (StatusCode::SEE_OTHER, "/hosts".to_owned()));
    let (_, page) = get(&bench, &operator, "/hosts").await;
    assert!(page.contains("LAB-99 LAB-01"), "{page}");
    let (_, page) = get(&bench, &operator, "/").await;
    assert!(page.contains("value=\"@Room 101\""), "{page}");
    let form = "image=lab+image&hosts=%40Room+101&at=2099-12-01T18:00";
    let done = post(&bench, &operator, "/deploy", form).await;
    assert_eq!(done, (StatusCode::SEE_OTHER, "/".to_owned()));
    assert!(bench.status(None).await.sessions.is_empty());
    let (_, page) = get(&bench, &operator, "/").await;
    assert!(page.contains("2099-12-01"), "{page}");
    let viewer = log_in(&bench, Role::Viewer).await;
    let (_, page) = get(&bench, &viewer, "/").await;
    assert!(
        page.contains("2099-12-01") && !page.contains("/schedules/remove"),
        "{page}"
    );
    let done = post(&bench, &operator, "/schedules/remove", "schedule=1").await;
    assert_eq!(done, (StatusCode::SEE_OTHER, "/".to_owned()));
    let (status, _) = post(&bench, &operator, "/schedules/remove", "schedule=1").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let done = post(&bench, &operator, "/groups", "group=room+101&what=remove").await;
    assert_eq!(done.0, StatusCode::SEE_OTHER);
    assert!(bench.ops.groups().await.unwrap().is_empty());
}
