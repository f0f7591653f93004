//! The hosts that are deployed alone: who has a slot, who waits, and since when.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};

use super::layout::key;
use super::visitor::{PageError, Posted, Visitor};
use crate::api::{Api, TaskList, TaskStatus};
use crate::domain::account::Role;
use crate::ops::Ops;

/// Nodes and tasks; nothing if there never was a task.
pub(super) fn table(list: &TaskList) -> Markup {
    if list.tasks.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Hosts deployed alone, or captured" }
        p.note { a href="/nodes" { "Storage nodes" } " shows who has a slot and who waits for one." }
        @for node in &list.nodes { p {
            "Storage node " (node.node) ": " (node.used) " of " (node.slots) " slots in use, " (node.waiting) " waiting."
        } }
        div.wide role="region" aria-label="Hosts deployed alone, or captured" tabindex="0" { table {
            thead { tr {
                th scope="col" { "Task" }
                th scope="col" { "Host" }
                th scope="col" { "Image" }
                th scope="col" { "State" }
                th scope="col" { "Since (UTC)" }
                th scope="col" { "Progress" }
                th scope="col" { "What" }
            } }
            tbody { @for task in &list.tasks { (row(task)) } }
        } }
    }
}

fn row(task: &TaskStatus) -> Markup {
    let class = match task.state {
        state if state.is_active() => "active",
        fog::task::State::Complete => "complete",
        fog::task::State::Failed => "failed",
        _ => "cancelled",
    };
    html! {
        tr class=(class) {
            th scope="row" { (task.task) }
            td { (task.host) }
            td { (task.image) @if task.is_capture { " (capture)" } }
            td { (task.state) }
            td { (since(task).unwrap_or("-")) }
            td {
                @if task.state == fog::task::State::InProgress {
                    progress max="100" value=(task.percent) aria-label={ "Task " (task.task) } {}
                    " " (task.percent) " %"
                }
            }
            td { (task.text)
                @if task.state.is_active() && !task.client.detail.is_empty() { "; " (task.client.detail) }
            }
        }
    }
}

/// Since when it has its slot, or waits in line.
fn since(task: &TaskStatus) -> Option<&str> {
    match task.state {
        fog::task::State::InProgress => task.slot_since.as_deref(),
        fog::task::State::CheckedIn => task.in_line_since.as_deref(),
        _ => None,
    }
}

/// Ends a task by its number.
pub(super) fn cancel_form(visitor: &Visitor, list: &TaskList) -> Markup {
    if !list.tasks.iter().any(|task| task.state.is_active()) {
        return html! {};
    }
    html! {
        form.row method="post" action="/tasks/cancel" {
            (key(visitor))
            label for="task" { "Task" }
            select id="task" name="task" {
                @for task in list.tasks.iter().filter(|task| task.state.is_active()) {
                    option value=(task.task) { (task.task) " (" (task.host) ")" }
                }
            }
            button.danger type="submit" { "Cancel task" }
        }
    }
}

/// Ends it.
pub(super) async fn cancel(
    State(ops): State<Arc<Ops>>,
    form: Posted,
) -> Result<Response, PageError> {
    let (_, fields) = form.by(Role::Operator)?;
    let Ok(task) = fields.get("task").parse() else {
        return Err(PageError::invalid(
            "no task was chosen; go back and choose one",
        ));
    };
    Api::cancel_task(&*ops, task).await?;
    Ok(Redirect::to("/").into_response())
}
