//! Logging in and out, and the first account.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::layout::open_page;
use super::visitor::{OpenForm, PageError, Posted};
use crate::api::ApiError;
use crate::domain::account::{NewPassword, Role};
use crate::http::api::authority::{Address, COOKIE, SECURE_COOKIE, cookie_of};
use crate::http::encrypted::Encrypted;
use crate::ops::{Cookie, LoginError, Ops};

/// The form.
pub(super) async fn show() -> Html<String> {
    open_page("Log in", &form(None))
}

fn form(error: Option<&LoginError>) -> Markup {
    html! {
        @if let Some(error) = error { p role="alert" { (error) "." } }
        form.stack method="post" action="/login" {
            label for="name" { "Name" }
            input id="name" name="name" autocomplete="username" required maxlength="40" autofocus;
            label for="password" { "Password" }
            input id="password" name="password" type="password" autocomplete="current-password"
                required maxlength="200";
            button type="submit" { "Log in" }
        }
        p.note { "Accounts are made with " code { "fos-server user add" } " on the server." }
    }
}

/// What was typed into it.
pub(super) async fn log_in(
    State(ops): State<Arc<Ops>>,
    Address(from): Address,
    way: Way,
    OpenForm(fields): OpenForm,
) -> Result<Response, PageError> {
    let (name, password) = (fields.get("name"), fields.exact("password"));
    match ops.log_in(from, name, &password).await {
        Ok(cookie) => Ok(entered(&cookie, way)),
        Err(error @ (LoginError::Wrong | LoginError::Wait(_))) => {
            let page = open_page("Log in", &form(Some(&error)));
            let error = ApiError::from(error);
            let status = StatusCode::from_u16(error.kind.status());
            let mut response = (status.unwrap_or(StatusCode::UNAUTHORIZED), page).into_response();
            if let Some(seconds) = error.retry_after {
                let seconds = HeaderValue::from(seconds);
                response.headers_mut().insert(header::RETRY_AFTER, seconds);
            }
            Ok(response)
        }
        Err(error) => Err(error.into()),
    }
}

/// Ends the login.
pub(super) async fn log_out(
    State(ops): State<Arc<Ops>>,
    headers: HeaderMap,
    way: Way,
    form: Posted,
) -> Result<Response, PageError> {
    form.by(Role::Viewer)?;
    if let Some(cookie) = cookie_of(&headers) {
        ops.log_out(&cookie);
    }
    let response = Redirect::to("/login").into_response();
    Ok(with_cookie(response, "", 0, way))
}

fn entered(cookie: &Cookie, way: Way) -> Response {
    let seconds = Cookie::LONGEST.as_secs();
    with_cookie(Redirect::to("/").into_response(), &cookie.0, seconds, way)
}

/// What the browser speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Http,
    /// To this server, or to a proxy, which says so. Whoever lies about it changes a cookie of its own.
    Https,
}

impl<S: Sync> FromRequestParts<S> for Way {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let is_forwarded = parts
            .headers
            .get("x-forwarded-proto")
            .is_some_and(|scheme| scheme.as_bytes().eq_ignore_ascii_case(b"https"));
        let is_https = is_forwarded || parts.extensions.get::<Encrypted>().is_some();
        Ok(if is_https { Self::Https } else { Self::Http })
    }
}

/// No script can read it, and no other page's request has it. What came over HTTPS never goes over HTTP.
fn with_cookie(mut response: Response, value: &str, seconds: u64, way: Way) -> Response {
    // Cookies do not know ports: with one name, whoever logged in over HTTPS could not do so over HTTP.
    let (name, secure) = match way {
        Way::Https => (SECURE_COOKIE, "; Secure"),
        Way::Http => (COOKIE, ""),
    };
    let cookie =
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    // Hexadecimal digits and what stands here.
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// What the link for the first account has in it.
#[derive(Debug, Deserialize)]
pub(super) struct Setup {
    #[serde(default)]
    code: String,
}

/// The form for the first account.
pub(super) async fn show_setup(
    State(ops): State<Arc<Ops>>,
    Query(Setup { code }): Query<Setup>,
) -> Result<Html<String>, PageError> {
    if !ops.is_setup(&code).await? {
        return Err(LoginError::NoSetup.into());
    }
    Ok(open_page("The first account", &setup_form(&code)))
}

fn setup_form(code: &str) -> Markup {
    html! {
        p { "This account may do everything. It makes the others." }
        form.stack method="post" action="/setup" {
            input type="hidden" name="code" value=(code);
            label for="name" { "Name" }
            input id="name" name="name" autocomplete="username" required maxlength="40"
                aria-describedby="name-hint" autofocus;
            p.note id="name-hint" { "Small letters, digits, or the signs . _ - @" }
            label for="password" { "Password" }
            input id="password" name="password" type="password" autocomplete="new-password"
                required minlength=(NewPassword::LEN_MIN) maxlength=(NewPassword::LEN_MAX)
                aria-describedby="password-hint";
            p.note id="password-hint" { "At least " (NewPassword::LEN_MIN) " characters" }
            label for="again" { "The same password again" }
            input id="again" name="again" type="password" autocomplete="new-password" required;
            button type="submit" { "Make the account" }
        }
    }
}

/// Makes the first account.
pub(super) async fn set_up(
    State(ops): State<Arc<Ops>>,
    way: Way,
    OpenForm(fields): OpenForm,
) -> Result<Response, PageError> {
    let name = fields.get("name").parse().map_err(PageError::invalid)?;
    let password = fields.exact("password");
    if password != fields.exact("again") {
        return Err(PageError::invalid(
            "the two passwords differ; go back and type them again",
        ));
    }
    let password = NewPassword::try_from(password).map_err(PageError::invalid)?;
    let cookie = ops.set_up(fields.get("code"), name, password).await?;
    Ok(entered(&cookie, way))
}
