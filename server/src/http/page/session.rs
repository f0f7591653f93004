//! One session: the room, its hosts, what happened.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use fog::task::State as TaskState;
use fos_api::Stage;
use maud::{Markup, html};
use readable::Size;

use super::layout::{Place, key, page};
use super::live::{self, Live, Parts, Source};
use super::overview::{percent, state_class};
use super::plot;
use super::visitor::{At, PageError, Posted, Visitor};
use crate::api::{Api, ApiError, ApiErrorKind, EventLine, EventsQuery, HostStatus, SessionStatus};
use crate::domain::account::Role;
use crate::ops::Ops;

/// The page.
pub(super) async fn show(
    visitor: Visitor,
    State(ops): State<Arc<Ops>>,
    At(number): At<i64>,
) -> Result<Html<String>, PageError> {
    let session = ops.status(Some(number)).await?.sessions.into_iter().next();
    let session = session.ok_or_else(|| no_session(number))?;
    let query = EventsQuery {
        after: 0,
        limit: EVENTS,
        wait_seconds: 0,
    };
    let events = Api::events(&*ops, number, query).await?;
    let last = events.last().map_or(0, |event| event.id);
    let shown = view(&session);
    let address = shown.address(&format!("/sessions/{number}/live"));
    let body = html! {
        div data-live={ (address) "&after=" (last) } {}
        div class={ "headline " (state_class(&session)) } { (shown.slot("headline")) }
        (shown.slot("numbers"))
        @if visitor.may(Role::Operator) { (steering(&visitor, &session)) }
        (shown.slot("course"))
        h2 { "Room" }
        ul.room { @for host in &session.hosts {
            li.tile { (shown.slot(&format!("t{}", host.host))) }
        } }
        h2 { "Hosts" }
        (hosts(&visitor, &session, &shown))
        h2 id="log-title" { "What happened" }
        div.log role="log" aria-labelledby="log-title" tabindex="0" {
            ol id="log" { @for event in &events { (line(event)) } }
        }
    };
    let title = format!("Session {number}");
    Ok(page(&title, &visitor, Place::Sessions, &body))
}

/// The last events that are shown.
const EVENTS: u32 = 200;

pub(super) fn no_session(number: i64) -> ApiError {
    let text = format!("there is no session {number}");
    ApiError::new(ApiErrorKind::NotFound, text)
}

/// What of it changes.
pub(super) async fn live(
    State(ops): State<Arc<Ops>>,
    At(number): At<i64>,
    watcher: live::Watcher,
) -> Response {
    watcher.follow(ops, Source::Session(number))
}

/// An event as a line of the list.
pub(super) fn line(event: &EventLine) -> Markup {
    html! { li { time { (event.at) } " " (event.text) } }
}

/// What of the page changes.
pub(super) fn view(session: &SessionStatus) -> Live {
    let mut parts = Parts::default();
    parts.add("headline", &html! { (session.text) });
    parts.add("numbers", &numbers(session));
    parts.add("course", &plot::plot(&session.course));
    for host in &session.hosts {
        parts.add(&format!("t{}", host.host), &tile(session, host));
        parts.add(&format!("s{}", host.host), &html! { (host.state) });
        parts.add(&format!("p{}", host.host), &progress(session, host));
        parts.add(&format!("r{}", host.host), &rate(host));
        parts.add(&format!("a{}", host.host), &again(host));
        parts.add(&format!("w{}", host.host), &what(host));
    }
    // Which buttons there are, and for whom.
    let open = session.hosts.iter().filter(|host| host.state.is_active());
    let open: Vec<String> = open.map(|host| host.host.to_string()).collect();
    let is_waiting = session.stage == Stage::Gathering;
    let structure = format!("{} {is_waiting} {}", state_class(session), open.join(" "));
    Live::new(parts, &structure)
}

fn numbers(session: &SessionStatus) -> Markup {
    let share = percent(session);
    html! {
        dl.numbers {
            div { dt { "Image" } dd { (session.image) } }
            @if let Some(former) = session.follows {
                div { dt { "Follows" } dd { a href={ "/sessions/" (former) } { "session " (former) } } }
            }
            @if let Some(next) = session.followed_by {
                div { dt { "Followed by" } dd { a href={ "/sessions/" (next) } { "session " (next) } } }
            }
            div { dt { "Hosts" } dd { (session.expected) " expected, " (session.checked_in) " checked in, "
                (session.connected) " connected" } }
            @if !session.missing.is_empty() {
                div { dt { "Missing" } dd { (names(&session.missing)) } }
            }
            @if let Some(stream) = &session.stream {
                div { dt { "Stream" } dd { (stream.number) " of " (stream.count) ", " (stream.name.as_str())
                    @if stream.len > 0 { ", " (Size(stream.acked)) " of " (Size(stream.len)) }
                } }
            }
            @if session.state.is_active() {
                div { dt { "Rate" } dd { (Size(session.rate)) "/s, "
                    (format!("{:.1}", session.repeated_percent)) " % sent again" } }
                @if let Some(slowest) = &session.slowest {
                    div { dt { "Slowest" } dd { strong { (slowest.name) } ": " (slowest.text) } }
                }
                @if let Some(seconds) = session.starts_in_seconds {
                    div { dt { "Starts in" } dd { (crate::text::seconds(seconds)) " at the latest" } }
                }
            }
            div { dt { "Ports" } dd { (session.port) " and " (session.port.saturating_add(1)) } }
            div { dt { "Made" } dd { (session.created_at) " UTC"
                @if let Some(ended) = &session.ended_at { ", ended " (ended) " UTC" } } }
        }
        @if session.state.is_active() {
            p { progress.whole max="100" value=(share) aria-label="All hosts" {} " " (share) " %" }
        }
    }
}

/// The first few of many names.
fn names(all: &[String]) -> String {
    let shown = all.iter().take(MAX_NAMES).map(String::as_str);
    let shown = shown.collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

const MAX_NAMES: usize = 20;

/// A host of the room: filled by as much as it has.
fn tile(session: &SessionStatus, host: &HostStatus) -> Markup {
    let slowest = session.slowest.as_ref();
    let is_slowest = slowest.is_some_and(|slowest| slowest.host == host.host);
    let share = share(session, host);
    let class = match host.state {
        TaskState::Complete => "complete",
        TaskState::Failed => "failed",
        TaskState::Cancelled => "cancelled",
        _ if host.ip.is_none() => "missing",
        _ => "active",
    };
    html! {
        span class={ "fill " (class) } {
            progress max="100" value=(share) aria-label=(host.name) {}
            strong { (host.name) }
            span { (host.state) @if host.state.is_active() { ", " (share) " %" } }
            @if is_slowest { span.slow { "slowest" } }
        }
    }
}

/// How much of the image a host has, in percent.
fn share(session: &SessionStatus, host: &HostStatus) -> u64 {
    if host.state == TaskState::Complete {
        return 100;
    }
    let count = session.stream.as_ref().map_or(0, |stream| stream.count);
    if count == 0 {
        return 0;
    }
    let now = match host.streams_done < count {
        true => u64::from(host.client.percent.min(100)),
        false => 0,
    };
    let done = u64::from(host.streams_done.min(count)) * 100 + now;
    (done / u64::from(count)).min(100)
}

fn progress(session: &SessionStatus, host: &HostStatus) -> Markup {
    let share = share(session, host);
    html! {
        @if host.state.is_active() {
            progress max="100" value=(share) aria-label={ "Progress of " (host.name) } {}
            " " (share) " %"
        } @else if host.state == TaskState::Complete { "100 %" } @else { "-" }
    }
}

/// As the client says it.
fn rate(host: &HostStatus) -> Markup {
    let rate = match host.state.is_active() {
        true => host.client.rate.as_str(),
        false => "",
    };
    html! { @if rate.is_empty() { "-" } @else { (rate) } }
}

/// Blocks that it has lost on the way.
fn again(host: &HostStatus) -> Markup {
    html! { @match host.again_percent { Some(percent) => (format!("{percent:.1} %")), None => "-" } }
}

fn what(host: &HostStatus) -> Markup {
    html! {
        (host.text)
        @if let Some(seconds) = host.seconds { " (for " (crate::text::seconds(seconds)) ")" }
        @if let Some(boot) = &host.boot {
            "; asked to boot " (crate::text::seconds(boot.seconds)) " ago, " (boot.text)
        }
        @if host.state.is_active() && !host.client.phase.is_empty() {
            "; " (host.client.phase) " " (host.client.stream) " " (host.client.detail)
        }
    }
}

fn hosts(visitor: &Visitor, session: &SessionStatus, shown: &Live) -> Markup {
    let steers = visitor.may(Role::Operator) && session.state.is_active();
    html! {
        div.wide role="region" aria-label="Hosts" tabindex="0" { table {
            thead { tr {
                th scope="col" { "Host" }
                th scope="col" { "State" }
                th scope="col" { "Progress" }
                th scope="col" { "Rate" }
                th scope="col" { "Asked again" }
                th scope="col" { "What" }
                th scope="col" { "Address" }
                @if steers { th scope="col" { "Steer" } }
            } }
            tbody { @for host in &session.hosts { tr {
                th scope="row" { (host.name) }
                td { (shown.slot(&format!("s{}", host.host))) }
                td { (shown.slot(&format!("p{}", host.host))) }
                td { (shown.slot(&format!("r{}", host.host))) }
                td { (shown.slot(&format!("a{}", host.host))) }
                td { (shown.slot(&format!("w{}", host.host))) }
                td { @match host.ip { Some(ip) => (ip.to_string()), None => "-" } }
                @if steers { td { @if host.state.is_active() {
                    form method="post" action={ "/sessions/" (session.session) "/drop" } {
                        (key(visitor))
                        input type="hidden" name="host" value=(host.name);
                        button type="submit" { "Drop " span.hidden { (host.name) } }
                    }
                } } }
            } } }
        } }
    }
}

fn steering(visitor: &Visitor, session: &SessionStatus) -> Markup {
    if !session.state.is_active() {
        return html! {};
    }
    let number = session.session;
    html! {
        div.steer {
            @if session.stage == Stage::Gathering {
                form method="post" action={ "/sessions/" (number) "/start" } {
                    (key(visitor))
                    button type="submit" { "Start now" }
                }
            }
            details {
                summary { "Cancel session …" }
                form method="post" action={ "/sessions/" (number) "/cancel" } {
                    (key(visitor))
                    p { "Hosts whose disk is partly written will not boot until they are deployed again." }
                    button.danger type="submit" { "Cancel session " (number) }
                }
            }
        }
    }
}

/// Starts it without those that are missing.
pub(super) async fn start(
    State(ops): State<Arc<Ops>>,
    At(number): At<i64>,
    form: Posted,
) -> Result<Response, PageError> {
    form.by(Role::Operator)?;
    Api::start(&*ops, number).await?;
    Ok(back(number))
}

/// Ends it.
pub(super) async fn cancel(
    State(ops): State<Arc<Ops>>,
    At(number): At<i64>,
    form: Posted,
) -> Result<Response, PageError> {
    form.by(Role::Operator)?;
    Api::cancel(&*ops, number, None).await?;
    Ok(back(number))
}

/// Takes a host out of it.
pub(super) async fn drop_host(
    State(ops): State<Arc<Ops>>,
    At(number): At<i64>,
    form: Posted,
) -> Result<Response, PageError> {
    let (_, fields) = form.by(Role::Operator)?;
    Api::cancel(&*ops, number, Some(fields.get("host"))).await?;
    Ok(back(number))
}

fn back(number: i64) -> Response {
    Redirect::to(&format!("/sessions/{number}")).into_response()
}
