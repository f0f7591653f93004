//! The server's log.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, Response};
use maud::{Markup, html};

use super::layout::{Place, page};
use super::live::{self, Live, Parts, Source};
use super::visitor::{PageError, Visitor};
use crate::domain::account::Role;
use crate::ops::Ops;

/// The page.
pub(super) async fn show(
    visitor: Visitor,
    State(ops): State<Arc<Ops>>,
) -> Result<Html<String>, PageError> {
    visitor.needs(Role::Operator)?;
    let tail = ops.log_tail(None).await?;
    let address = Live::new(Parts::default(), "").address("/log/live");
    let body = html! {
        div data-live={ (address) "&after=" (tail.next) } {}
        div.log.long role="log" aria-label="Log of the server" tabindex="0" {
            ol id="log" { @for text in &tail.lines { (line(text)) } }
        }
    };
    Ok(page("Log", &visitor, Place::Log, &body))
}

/// Further lines.
pub(super) async fn live(
    State(ops): State<Arc<Ops>>,
    watcher: live::Watcher,
) -> Result<Response, PageError> {
    watcher.visitor.needs(Role::Operator)?;
    Ok(watcher.follow(ops, Source::Log))
}

/// A line of it.
pub(super) fn line(text: &str) -> Markup {
    html! { li { (text) } }
}
