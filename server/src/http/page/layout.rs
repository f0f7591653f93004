//! What all pages have in common.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Response};
use maud::{DOCTYPE, Markup, html};

use super::visitor::{KEY, Visitor};
use crate::api::ApiError;
use crate::domain::account::Role;
use crate::http::api::fault;

/// Where a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Sessions,
    Hosts,
    Images,
    Nodes,
    Log,
    Accounts,
}

/// A page for somebody who is logged in.
pub(super) fn page(title: &str, visitor: &Visitor, place: Place, body: &Markup) -> Html<String> {
    let link = |of: Place, path: &str, name: &str| {
        let current = (of == place).then_some("page");
        html! { li { a href=(path) aria-current=[current] { (name) } } }
    };
    let head = html! {
        nav aria-label="Pages" {
            ul {
                (link(Place::Sessions, "/", "Sessions"))
                (link(Place::Hosts, "/hosts", "Hosts"))
                (link(Place::Images, "/images", "Images"))
                (link(Place::Nodes, "/nodes", "Nodes"))
                @if visitor.may(Role::Operator) { (link(Place::Log, "/log", "Log")) }
                @if visitor.may(Role::Admin) { (link(Place::Accounts, "/accounts", "Accounts")) }
            }
        }
        form.logout method="post" action="/logout" {
            (key(visitor))
            span { (visitor.caller.who) ", " (visitor.caller.role) }
            button type="submit" { "Log out" }
        }
    };
    document(title, &head, body)
}

/// A page for everybody.
pub(super) fn open_page(title: &str, body: &Markup) -> Html<String> {
    document(title, &html! {}, body)
}

fn document(title: &str, head: &Markup, body: &Markup) -> Html<String> {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " – fos-server" }
                link rel="stylesheet" href="/assets/style.css";
                script src="/assets/app.js" defer {}
            }
            body {
                a.skip href="#main" { "To the content" }
                header { p.brand { "fos-server" } (head) }
                main id="main" tabindex="-1" { h1 { (title) } (body) }
            }
        }
    };
    Html(document.into_string())
}

/// The field that says that a form is of this login.
pub(super) fn key(visitor: &Visitor) -> Markup {
    html! { input type="hidden" name=(KEY) value=(visitor.key()); }
}

/// A page that says why something was not done.
pub(super) fn problem(error: &ApiError) -> Response {
    let body = html! {
        p role="alert" { (error.text) "." }
        p { a href="/" { "To the sessions" } }
    };
    let status = StatusCode::from_u16(error.kind.status());
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, open_page("Not done", &body)).into_response();
    if let Some(seconds) = error.retry_after {
        let seconds = HeaderValue::from(seconds);
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    match fault(error) {
        Some(fault) => fault.add_to(response),
        None => response,
    }
}
