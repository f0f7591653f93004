//! `/metrics`: figures for Prometheus.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use fos_api::Stage;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::api::authority::Viewer;
use crate::api::{Api as _, ApiError, ApiErrorKind, SessionStatus};
use crate::clock;
use crate::domain::Timestamp;
use crate::ops::{Ops, UnicastStatus};

/// What is counted as it happens; the rest is looked up when it is asked for.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    times: Family<Area, Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    area: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Area {
    area: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStage {
    stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSession {
    session: i64,
    image: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfNode {
    node: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Hosts {
    session: i64,
    image: String,
    state: &'static str,
}

type FloatGauge = Gauge<f64, AtomicU64>;

impl Metrics {
    pub(super) fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("fos");
        let requests = Family::<Answered, Counter>::default();
        let times = Family::<Area, Histogram>::new_with_constructor(|| Histogram::new(TIMES));
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        registry.register("server", "Version of the server", Info::new(version));
        let help = "Requests that were answered";
        registry.register("http_requests", help, requests.clone());
        registry.register_with_unit(
            "http_answer",
            "Time until an answer began; check-ins of waiting clients may be held back",
            Unit::Seconds,
            times.clone(),
        );
        Arc::new(Self {
            registry,
            requests,
            times,
        })
    }
}

const TIMES: [f64; 10] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0];

/// Counts a request.
pub(super) async fn count(
    State(metrics): State<Arc<Metrics>>,
    request: Request,
    next: Next,
) -> Response {
    let area = area(request.uri().path());
    let begin = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16();
    let took = begin.elapsed().as_secs_f64();
    let requests = &metrics.requests;
    requests.get_or_create(&Answered { area, status }).inc();
    metrics.times.get_or_create(&Area { area }).observe(took);
    response
}

/// Part of the server: only these, whatever is asked for.
fn area(path: &str) -> &'static str {
    let of = |prefix: &str| {
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match () {
        () if of("/fog") => "clients",
        () if of("/api") => "api",
        () if of("/metrics") => "metrics",
        () => "page",
    }
}

/// All figures in Prometheus' text format.
pub(super) async fn metrics(
    _: Viewer,
    State(ops): State<Arc<Ops>>,
    Extension(metrics): Extension<Arc<Metrics>>,
) -> Result<Response, ApiError> {
    let mut now = Registry::with_prefix("fos");
    let begin = Instant::now();
    let status = ops.status(None).await;
    let queue = ops.unicast_status(0).await;
    let took = begin.elapsed().as_secs_f64();
    let (up, sessions, queue) = match (status, queue) {
        (Ok(status), Ok(queue)) => (1, status.sessions, queue),
        // A database that fails is a figure, too.
        _ => (0, Vec::new(), UnicastStatus::default()),
    };
    add_store(&mut now, up, took);
    add_sessions(&mut now, &sessions);
    add_queue(&mut now, &queue, clock::now());
    let mut body = String::new();
    let encoded = text::encode_registry(&mut body, &metrics.registry)
        .and_then(|()| text::encode_registry(&mut body, &now))
        .and_then(|()| text::encode_eof(&mut body));
    encoded.map_err(|error| ApiError::new(ApiErrorKind::Internal, error))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, kind)], body).into_response())
}

fn add_store(registry: &mut Registry, up: i64, took: f64) {
    let is_up: Gauge = Gauge::default();
    is_up.set(up);
    let help = "Whether the database could be read for this answer";
    registry.register("store_up", help, is_up);
    let time = FloatGauge::default();
    time.set(took);
    let help = "Time to read the sessions for this answer";
    registry.register_with_unit("store_read", help, Unit::Seconds, time);
}

fn add_sessions(registry: &mut Registry, sessions: &[SessionStatus]) {
    let stages = Family::<OfStage, Gauge>::default();
    let hosts = Family::<Hosts, Gauge>::default();
    let rates = Family::<OfSession, Gauge>::default();
    let repeated = Family::<OfSession, FloatGauge>::default();
    let acked = Family::<OfSession, Gauge>::default();
    let lengths = Family::<OfSession, Gauge>::default();
    let streams = Family::<OfSession, Gauge>::default();
    for stage in [Stage::Gathering, Stage::Sending, Stage::Finishing] {
        stages.get_or_create(&OfStage { stage: name(stage) }).set(0);
    }
    for session in sessions.iter().filter(|session| session.state.is_active()) {
        let stage = OfStage {
            stage: name(session.stage),
        };
        stages.get_or_create(&stage).inc();
        let of = OfSession {
            session: session.session,
            image: session.image.clone(),
        };
        let figure = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        rates.get_or_create(&of).set(figure(session.rate));
        let ratio = session.repeated_percent / 100.0;
        repeated.get_or_create(&of).set(ratio);
        if let Some(stream) = &session.stream {
            acked.get_or_create(&of).set(figure(stream.acked));
            lengths.get_or_create(&of).set(figure(stream.len));
            streams.get_or_create(&of).set(stream.number.into());
        }
        for (state, count) in [
            ("expected", session.expected),
            ("checked-in", session.checked_in),
            ("connected", session.connected),
        ] {
            let of = Hosts {
                session: session.session,
                image: session.image.clone(),
                state,
            };
            hosts.get_or_create(&of).set(count.into());
        }
    }
    registry.register("sessions", "Active sessions by what they do", stages);
    let help =
        "Hosts of an active session: that are part of it, that checked in, that are connected";
    registry.register("session_hosts", help, hosts);
    let help = "Bytes a second that every receiver has acknowledged, the mean of 5 s";
    registry.register("session_rate_bytes_per_second", help, rates);
    let help = "Share of the blocks of the present stream that were sent again";
    registry.register_with_unit("session_repeated_blocks", help, Unit::Ratios, repeated);
    let help = "Bytes of the present stream that every receiver has acknowledged";
    registry.register_with_unit("session_stream_acknowledged", help, Unit::Bytes, acked);
    let help = "Length of the present stream";
    registry.register_with_unit("session_stream_length", help, Unit::Bytes, lengths);
    let help = "The present stream, counted from 1";
    registry.register("session_stream", help, streams);
}

/// The machines that are deployed alone, by storage node; nothing while there are none.
fn add_queue(registry: &mut Registry, queue: &UnicastStatus, now: Timestamp) {
    let slots = Family::<OfNode, Gauge>::default();
    let used = Family::<OfNode, Gauge>::default();
    let waiting = Family::<OfNode, Gauge>::default();
    let longest = Family::<OfNode, Gauge>::default();
    for (node, of_node) in &queue.nodes {
        let of = OfNode { node: node.0 };
        slots.get_or_create(&of).set(of_node.slots.into());
        used.get_or_create(&of).set(of_node.used.into());
        waiting.get_or_create(&of).set(of_node.waiting.into());
        let line = queue
            .tasks
            .iter()
            .filter(|state| state.task.node == *node && state.in_front.is_some());
        let since = line.filter_map(|state| state.task.entered_at).min();
        let wait = since.map_or(0, |since| now.seconds_since(since));
        let wait = i64::try_from(wait).unwrap_or(i64::MAX);
        longest.get_or_create(&of).set(wait);
    }
    let help = "Machines that a storage node serves alone at a time";
    registry.register("queue_slots", help, slots);
    let help = "Machines that it serves alone now; more than slots where some were forced";
    registry.register("queue_slots_used", help, used);
    let help = "Machines that wait for a slot";
    registry.register("queue_waiting", help, waiting);
    let help = "How long the machine has waited that has waited longest";
    registry.register_with_unit("queue_longest_wait", help, Unit::Seconds, longest);
}

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Gathering => "gathering",
        Stage::Sending => "sending",
        Stage::Finishing => "finishing",
        Stage::Ended => "ended",
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;
    use crate::api::{Api, DeployAlone};
    use crate::domain::account::Role;
    use crate::testing::{Bench, bench_with, ip, mac, name as name_of, text};

    #[test]
    fn areas_are_few_whatever_is_asked_for() {
        for (path, expected) in [
            ("/fog/service/mc_checkin.php", "clients"),
            ("/api/v1/hosts", "api"),
            ("/metrics", "metrics"),
            ("/", "page"),
            ("/foggy", "page"),
            ("/\u{0}x", "page"),
        ] {
            assert_eq!(area(path), expected, "{path}");
        }
    }

    /// One machine has the only slot, another one waits.
    async fn queue(bench: &Bench) {
        for host in [3, 4] {
            bench.add_host(host).await;
        }
        let wanted = DeployAlone {
            image: "lab image".into(),
            hosts: vec![name_of(3), name_of(4)],
            name: None,
            is_shutdown: false,
            is_debug: false,
            is_forced: false,
            is_woken: false,
        };
        Api::deploy_alone(&*bench.ops, wanted).await.unwrap();
        for host in [3, 4] {
            let body = format!("mac={}&type=down&agent=fos-agent/0.1.0", mac(host));
            bench.post(ip(host), "Pre_Stage1.php", body).await;
        }
        let an_hour_ago = Timestamp(clock::now().0 - 3600);
        let sql = format!("UPDATE fos_tasks SET enteredAt = '{an_hour_ago}'");
        bench.sql(&sql).await;
    }

    #[tokio::test]
    async fn sessions_requests_and_the_store_are_figures() {
        let bench = bench_with(|config| config.slots = Some(1)).await;
        let token = bench
            .ops
            .add_token("prometheus".parse().unwrap(), Role::Viewer);
        let token = token.await.unwrap();
        bench.deploy(&[1, 2]).await;
        bench.check_in(1).await;
        queue(&bench).await;
        let router = crate::http::router(Arc::clone(&bench.ops));
        let ask = async |path: &str, token: &str| {
            let request = Request::get(path)
                .header(header::AUTHORIZATION, format!("Bearer {token}"))
                .body(Body::empty())
                .unwrap();
            router.clone().oneshot(request).await.unwrap()
        };
        assert_eq!(
            ask("/metrics", "x").await.status(),
            StatusCode::UNAUTHORIZED
        );
        ask("/fog/service/getversion.php", "").await;
        ask("/nosuch", "").await;
        let answer = ask("/metrics", &token).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let figures = text(answer).await;
        for line in [
            "fos_sessions{stage=\"gathering\"} 1",
            "fos_sessions{stage=\"sending\"} 0",
            "fos_session_hosts{session=\"1\",image=\"lab image\",state=\"expected\"} 2",
            "fos_session_hosts{session=\"1\",image=\"lab image\",state=\"checked-in\"} 1",
            "fos_session_rate_bytes_per_second{session=\"1\",image=\"lab image\"} 0",
            "fos_http_requests_total{area=\"clients\",status=\"200\"} 1",
            "fos_http_requests_total{area=\"metrics\",status=\"401\"} 1",
            "fos_http_answer_seconds_count{area=\"metrics\"} 1",
            "fos_store_up 1",
            "fos_queue_slots{node=\"1\"} 1",
            "fos_queue_slots_used{node=\"1\"} 1",
            "fos_queue_waiting{node=\"1\"} 1",
            "# EOF",
        ] {
            assert!(
                figures.lines().any(|found| found == line),
                "{line}\n{figures}"
            );
        }
        // It got in line an hour ago, and perhaps some seconds.
        let wait = figures
            .lines()
            .find_map(|line| line.strip_prefix("fos_queue_longest_wait_seconds{node=\"1\"} "));
        let wait: i64 = wait.expect("a wait").parse().unwrap();
        assert!((3600..4000).contains(&wait), "{wait}");
        // What the dashboard asks for is there.
        let dashboard = include_str!("../../../docs/grafana.json");
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let words = dashboard.split(|c| !is_name(c));
        let names: Vec<_> = words.filter(|word| word.starts_with("fos_")).collect();
        assert!(names.len() > 8, "{names:?}");
        for name in names {
            assert!(
                figures.contains(&format!("{name}{{")) || figures.contains(&format!("{name} ")),
                "{name}\n{figures}"
            );
        }
        // Nothing of what is over.
        bench
            .ops
            .cancel(crate::domain::SessionId(1), None)
            .await
            .unwrap();
        bench.ended(crate::domain::SessionId(1)).await;
        let figures = text(ask("/metrics", &token).await).await;
        assert!(!figures.contains("session=\"1\""), "{figures}");
    }
}
