//! The first page: the sessions, and a new one.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use readable::Size;

use super::layout::{Place, key, page};
use super::live::{self, Live, Parts, Source};
use super::tasks;
use super::visitor::{PageError, Posted, Visitor};
use crate::api::{
    Api, Deploy, DeployAlone, GroupRow, HostRow, ImageShown, ScheduleAdd, ScheduleRow,
    ServerStatus, SessionStatus, TaskList,
};
use crate::domain::account::Role;
use crate::domain::follow_up::MAX_FOLLOW_UPS;
use crate::ops::Ops;
use crate::store::MAX_JOINED;

/// The page.
pub(super) async fn show(
    visitor: Visitor,
    State(ops): State<Arc<Ops>>,
) -> Result<Html<String>, PageError> {
    let status = ops.status(None).await?;
    let tasks = ops.tasks().await?;
    let shown = view(&status, &tasks);
    let schedules = ops.schedule_list().await?;
    let deploy = match visitor.may(Role::Operator) {
        true => {
            let (images, hosts) = (ops.image_list().await?, ops.host_list().await?);
            let groups = ops.group_list().await?;
            html! {
                (tasks::cancel_form(&visitor, &tasks))
                (deploy_form(&visitor, &images, &hosts, &groups))
            }
        }
        false => html! {},
    };
    let body = html! {
        div data-live=(shown.address("/live")) {}
        (shown.slot("sessions"))
        (shown.slot("tasks"))
        @if visitor.may(Role::Operator) && has_active(&status, &tasks) { (end_form(&visitor)) }
        @if !schedules.is_empty() { (schedule_table(&visitor, &schedules)) }
        (deploy)
    };
    Ok(page("Sessions", &visitor, Place::Sessions, &body))
}

/// What of it changes.
pub(super) async fn live(State(ops): State<Arc<Ops>>, watcher: live::Watcher) -> Response {
    watcher.follow(ops, Source::Overview)
}

/// What of the first page changes.
pub(super) fn view(status: &ServerStatus, tasks: &TaskList) -> Live {
    let mut parts = Parts::default();
    parts.add("sessions", &table(&status.sessions));
    parts.add("tasks", &tasks::table(tasks));
    // Whether there is anything to be ended.
    let is_active = has_active(status, tasks);
    Live::new(parts, if is_active { "active" } else { "" })
}

fn has_active(status: &ServerStatus, tasks: &TaskList) -> bool {
    let mut sessions = status.sessions.iter().map(|session| session.state);
    let mut tasks = tasks.tasks.iter().map(|task| task.state);
    sessions.any(fog::task::State::is_active) || tasks.any(fog::task::State::is_active)
}

fn end_form(visitor: &Visitor) -> Markup {
    html! {
        details {
            summary { "Cancel everything …" }
            form method="post" action="/cancel-all" {
                (key(visitor))
                p { "Every session and every task of a host deployed alone: whatever is sent ends. Hosts whose disk is partly written will not boot until they are deployed again." }
                button.danger type="submit" { "Cancel everything" }
            }
        }
    }
}

/// Ends all of them.
pub(super) async fn cancel_all(
    State(ops): State<Arc<Ops>>,
    form: Posted,
) -> Result<Response, PageError> {
    form.by(Role::Operator)?;
    Api::cancel_all(&*ops).await?;
    Ok(Redirect::to("/").into_response())
}

fn table(sessions: &[SessionStatus]) -> Markup {
    if sessions.is_empty() {
        return html! { p { "There is no session yet." } };
    }
    html! {
        div.wide role="region" aria-label="Sessions" tabindex="0" {
            table {
                thead { tr {
                    th scope="col" { "Session" }
                    th scope="col" { "Image" }
                    th scope="col" { "State" }
                    th scope="col" { "Hosts" }
                    th scope="col" { "Progress" }
                    th scope="col" { "Rate" }
                    th scope="col" { "What" }
                } }
                tbody { @for session in sessions { (row(session)) } }
            }
        }
    }
}

fn row(session: &SessionStatus) -> Markup {
    let number = session.session;
    let percent = percent(session);
    html! {
        tr class=(state_class(session)) {
            th scope="row" {
                a id={ "session-" (number) } href={ "/sessions/" (number) } {
                    (number) @if !session.name.is_empty() { " " (session.name) }
                }
            }
            td { (session.image) }
            td { (session.state) }
            td {
                @if session.state.is_active() {
                    (session.connected) " of " (session.expected) " connected"
                } @else { (session.hosts.len()) }
            }
            td {
                @if session.state.is_active() {
                    progress max="100" value=(percent) aria-label={ "Session " (number) } {}
                    " " (percent) " %"
                }
            }
            td { @if session.rate > 0 { (Size(session.rate)) "/s" } }
            td { (session.text) }
        }
    }
}

/// How much of all streams every host has.
pub(super) fn percent(session: &SessionStatus) -> u64 {
    let Some(stream) = &session.stream else {
        return 0;
    };
    let part = u128::from(stream.acked) * 100 / u128::from(stream.len.max(1));
    let done = u128::from(stream.number.saturating_sub(1)) * 100 + part.min(100);
    let percent = done / u128::from(stream.count.max(1));
    u64::try_from(percent.min(100)).unwrap_or(100)
}

pub(super) fn state_class(session: &SessionStatus) -> &'static str {
    match session.state {
        state if state.is_active() => "active",
        fog::task::State::Complete => "complete",
        fog::task::State::Failed => "failed",
        _ => "cancelled",
    }
}

fn schedule_table(visitor: &Visitor, schedules: &[ScheduleRow]) -> Markup {
    let steers = visitor.may(Role::Operator);
    html! {
        h2 { "Deploys that begin later" }
        div.wide role="region" aria-label="Deploys that begin later" tabindex="0" { table {
            thead { tr {
                th scope="col" { "Deploy" }
                th scope="col" { "Image" }
                th scope="col" { "Hosts" }
                th scope="col" { "When" }
                th scope="col" { "Next (UTC)" }
                th scope="col" { "Last (UTC)" }
                @if steers { th scope="col" { "Remove" } }
            } }
            tbody { @for schedule in schedules { tr {
                th scope="row" { (schedule.id) }
                td { (schedule.image) }
                td { (schedule.hosts.join(" ")) }
                td { (schedule.when) }
                td { (schedule.next_at.as_deref().unwrap_or("-")) }
                td { @match schedule.session {
                    Some(session) => a href={ "/sessions/" (session) } { (schedule.last) },
                    None => (schedule.last),
                } }
                @if steers { td { form method="post" action="/schedules/remove" {
                    (key(visitor))
                    input type="hidden" name="schedule" value=(schedule.id);
                    button type="submit" aria-label={ "Remove deploy " (schedule.id) } { "Remove" }
                } } }
            } } }
        } }
    }
}

fn deploy_form(
    visitor: &Visitor,
    images: &[ImageShown],
    hosts: &[HostRow],
    groups: &[GroupRow],
) -> Markup {
    html! {
        h2 id="deploy" { "Deploy an image" }
        @if images.is_empty() || hosts.is_empty() {
            p { "An image and a host are needed first: " code { "fos-server image add" } ", "
                a href="/hosts" { "hosts" } "." }
        } @else {
            form.stack method="post" action="/deploy" aria-labelledby="deploy" {
                (key(visitor))
                label for="image" { "Image" }
                select id="image" name="image" required {
                    @for image in images { option value=(image.name) { (image.name) } }
                }
                @if !groups.is_empty() { fieldset {
                    legend { "Groups" }
                    ul.checks { @for (number, group) in groups.iter().enumerate() { li {
                        @let id = format!("group-{number}");
                        input id=(id) type="checkbox" name="hosts" value={ "@" (group.name) }
                            disabled[group.hosts.is_empty()];
                        label for=(id) { (group.name) " (" (group.hosts.len()) ")" }
                    } } }
                } }
                fieldset data-all="hosts" {
                    legend { "Hosts" }
                    ul.checks { @for host in hosts { li {
                        @let id = format!("host-{}", host.id);
                        input id=(id) type="checkbox" name="hosts" value=(host.name)
                            disabled[host.session.is_some()];
                        label for=(id) { (host.name)
                            @if let Some(session) = host.session { " (in session " (session) ")" }
                        }
                    } } }
                }
                p.check {
                    input id="alone" type="checkbox" name="alone" value="1";
                    label for="alone" { "Send to each host on its own, without a session (unicast)" }
                }
                label for="minutes" { "Wait for missing hosts, in minutes; empty for the setting" }
                input id="minutes" name="minutes" type="number" min="1" max="1440" inputmode="numeric";
                label for="expected" {
                    "Hosts that join by the name of the session, from the boot menu; empty if it is for those above alone"
                }
                input id="expected" name="expected" type="number" min="1" max="2000" inputmode="numeric";
                label for="follow-ups" {
                    "How often hosts that come late or are dropped are deployed once more; empty for the setting"
                }
                input id="follow-ups" name="follow-ups" type="number" min="0" max="9" inputmode="numeric";
                label for="session-name" { "Name of the session; empty for that of the image" }
                input id="session-name" name="name" maxlength="100";
                p.check {
                    input id="shutdown" type="checkbox" name="shutdown" value="1";
                    label for="shutdown" { "Switch the machines off at the end" }
                }
                p.check {
                    input id="wake" type="checkbox" name="wake" value="1";
                    label for="wake" { "Switch the machines on now (Wake-on-LAN)" }
                }
                details {
                    summary { "Begin later …" }
                    label for="at" { "Once, at this time on the clock of the server" }
                    input id="at" name="at" type="datetime-local";
                    label for="cron" {
                        "Or again and again: minute, hour, day, month, day of the week, as cron has them"
                    }
                    input id="cron" name="cron" maxlength="100" placeholder="0 18 * * 5";
                }
                button type="submit" { "Deploy" }
            }
        }
    }
}

/// Makes a session.
pub(super) async fn deploy(
    State(ops): State<Arc<Ops>>,
    form: Posted,
) -> Result<Response, PageError> {
    let (visitor, fields) = form.by(Role::Operator)?;
    let hosts = fields.all("hosts");
    let number = |name: &str, most: u32| match fields.get(name) {
        "" => Ok(None),
        text => match text.parse::<u32>() {
            Ok(number) if number <= most => Ok(Some(number)),
            _ => Err(PageError::invalid("a number is too large, or none")),
        },
    };
    let expected = number("expected", MAX_JOINED)?.unwrap_or(0);
    let follow_ups = number("follow-ups", MAX_FOLLOW_UPS)?;
    if hosts.is_empty() && expected == 0 {
        return Err(PageError::invalid(
            "no host was chosen; go back and choose one at least",
        ));
    }
    if fields.get("alone") == "1" {
        let request = DeployAlone {
            image: fields.get("image").to_owned(),
            hosts,
            name: fields.optional("name"),
            is_shutdown: fields.get("shutdown") == "1",
            is_debug: false,
            is_forced: false,
            is_woken: fields.get("wake") == "1",
        };
        let created = Api::deploy_alone(&*ops, request).await?;
        if created.warnings.is_empty() {
            return Ok(Redirect::to("/").into_response());
        }
        let made = "The tasks are made.";
        return Ok(warned(
            &visitor,
            (WARNED, made),
            &created.warnings,
            ("/", "To the tasks"),
        )
        .into_response());
    }
    let minutes = match fields.get("minutes") {
        "" => None,
        text => match text.parse::<u64>() {
            Ok(minutes @ 1..=1440) => Some(minutes),
            _ => return Err(PageError::invalid("the wait has to be 1 to 1440 minutes")),
        },
    };
    let request = Deploy {
        image: fields.get("image").to_owned(),
        hosts,
        name: fields.optional("name"),
        max_wait_seconds: minutes.map(|minutes| minutes * 60),
        is_shutdown: fields.get("shutdown") == "1",
        is_debug: false,
        is_woken: fields.get("wake") == "1",
        expected,
        follow_ups,
    };
    let (at, cron) = (fields.optional("at"), fields.optional("cron"));
    if at.is_some() || cron.is_some() {
        let request = ScheduleAdd {
            deploy: request,
            at,
            cron,
            zone: None,
        };
        ops.schedule_add(request).await?;
        return Ok(Redirect::to("/").into_response());
    }
    let deployed = Api::deploy(&*ops, request).await?;
    let place = format!("/sessions/{}", deployed.session);
    if deployed.warnings.is_empty() {
        return Ok(Redirect::to(&place).into_response());
    }
    let made = format!("Session {} is made.", deployed.session);
    let to = format!("To session {}", deployed.session);
    let on = (place.as_str(), to.as_str());
    Ok(warned(&visitor, (WARNED, &made), &deployed.warnings, on).into_response())
}

/// Removes a deploy that begins later.
pub(super) async fn remove_schedule(
    State(ops): State<Arc<Ops>>,
    form: Posted,
) -> Result<Response, PageError> {
    let (_, fields) = form.by(Role::Operator)?;
    let schedule = fields.get("schedule").parse();
    let schedule = schedule.map_err(|_| PageError::invalid("say which deploy"))?;
    ops.schedule_remove(schedule).await?;
    Ok(Redirect::to("/").into_response())
}

/// Title of a deploy's warnings.
const WARNED: &str = "Deployed, with warnings";

/// What was made, and what people should know of it.
pub(super) fn warned(
    visitor: &Visitor,
    (title, made): (&str, &str),
    warnings: &[String],
    (place, to): (&str, &str),
) -> Html<String> {
    let body = html! {
        p { (made) " Mind this:" }
        ul { @for warning in warnings { li { (warning) "." } } }
        p { a href=(place) { (to) } }
    };
    page(title, visitor, Place::Sessions, &body)
}
