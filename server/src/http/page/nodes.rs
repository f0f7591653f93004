//! Servers and storage nodes: who serves whom, and since when.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, Response};
use maud::{Markup, html};

use super::layout::{Place, page};
use super::live::{self, Live, Parts, Source};
use super::visitor::{PageError, Visitor};
use crate::api::{Api as _, NodeList, NodeRow, ServerRow, SlotRow};
use crate::ops::Ops;
use crate::text;

/// The page.
pub(super) async fn show(
    visitor: Visitor,
    State(ops): State<Arc<Ops>>,
) -> Result<Html<String>, PageError> {
    let shown = view(&ops.node_list().await?);
    let body = html! {
        div data-live=(shown.address("/nodes/live")) {}
        (shown.slot("servers"))
        (shown.slot("nodes"))
        (shown.slot("failures"))
    };
    Ok(page("Nodes", &visitor, Place::Nodes, &body))
}

/// What of it changes.
pub(super) async fn live(State(ops): State<Arc<Ops>>, watcher: live::Watcher) -> Response {
    watcher.follow(ops, Source::Nodes)
}

/// What of the page changes.
pub(super) fn view(list: &NodeList) -> Live {
    let mut parts = Parts::default();
    parts.add("servers", &servers(&list.servers));
    parts.add(
        "nodes",
        &html! { @for node in &list.nodes { (storage(node)) } },
    );
    parts.add("failures", &failures(list));
    Live::new(parts, "")
}

fn servers(servers: &[ServerRow]) -> Markup {
    html! {
        h2 { "Servers" }
        div.wide role="region" aria-label="Servers" tabindex="0" { table {
            thead { tr {
                th scope="col" { "Server" }
                th scope="col" { "Address" }
                th scope="col" { "State" }
                th scope="col" { "Sessions" }
            } }
            tbody { @for server in servers { tr class=(if server.is_alive { "complete" } else { "failed" }) {
                th scope="row" { (server.name) @if server.is_this { " (this one)" } }
                td { (address(server)) }
                td { (text::server_alive(server.alive_since.as_deref(), server.is_alive, server.silent_seconds)) }
                td { @if server.sessions.is_empty() { "-" }
                    @for session in &server.sessions {
                        a href={ "/sessions/" (session) } { "session " (session) } " "
                    }
                }
            } } }
        } }
    }
}

/// Host and port; nothing of the page is elsewhere, and no text of it looks so.
fn address(server: &ServerRow) -> &str {
    let address = server.url.split_once("://").map_or("", |(_, rest)| rest);
    match address.split('/').next() {
        None | Some("") => "-",
        Some(address) => address,
    }
}

fn storage(node: &NodeRow) -> Markup {
    let used = node.served.len();
    let name = match node.name.as_str() {
        "" => "removed",
        name => name,
    };
    html! {
        section {
            h2 { "Storage node " (node.node) ": " (name) }
            dl.numbers {
                div { dt { "Group" } dd { @if node.group_name.is_empty() { "-" } @else { (node.group_name) } } }
                div { dt { "Address" } dd { @if node.address.is_empty() { "this server" } @else { (node.address) } } }
                div { dt { "Kind" } dd { (text::node_kind(node.name.is_empty(), node.is_enabled, node.is_master)) } }
                div { dt { "Slots" } dd {
                    meter min="0" max=(node.slots.max(1)) value=(used) aria-label={ "Slots of " (name) } {}
                    " " (used) " of " (node.slots) " in use"
                } }
                div { dt { "In line" } dd { (node.waiting.len()) } }
            }
            @if !node.served.is_empty() || !node.waiting.is_empty() { (slots(node, name)) }
        }
    }
}

fn slots(node: &NodeRow, name: &str) -> Markup {
    let row = |slot: &SlotRow, what: &str| {
        html! {
            tr {
                th scope="row" { (slot.host) }
                td { (slot.image) }
                td { (what) }
                td { (slot.since.as_deref().unwrap_or("-")) }
                td { (slot.percent) " %" }
                td { (slot.task) }
            }
        }
    };
    html! {
        div.wide role="region" aria-label={ "Slots of " (name) } tabindex="0" { table {
            thead { tr {
                th scope="col" { "Host" }
                th scope="col" { "Image" }
                th scope="col" { "State" }
                th scope="col" { "Since (UTC)" }
                th scope="col" { "Done" }
                th scope="col" { "Task" }
            } }
            tbody {
                @for slot in &node.served { (row(slot, "has a slot")) }
                @for (place, slot) in node.waiting.iter().enumerate() {
                    (row(slot, &format!("waits, {place} before it")))
                }
            }
        } }
    }
}

fn failures(list: &NodeList) -> Markup {
    if list.failures.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Nodes that machines could not use" }
        div.wide role="region" aria-label="Nodes that machines could not use" tabindex="0" { table {
            thead { tr {
                th scope="col" { "Node" }
                th scope="col" { "Host" }
                th scope="col" { "Task" }
                th scope="col" { "When (UTC)" }
            } }
            tbody { @for failure in &list.failures { tr.failed {
                th scope="row" { (failure.node) }
                td { @if failure.host.is_empty() { "-" } @else { (failure.host) } }
                td { (failure.task) }
                td { (failure.at) }
            } } }
        } }
    }
}
