//! Who looks at the page, and what that one sends.

use std::sync::Arc;

use axum::extract::{Form, FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::de::DeserializeOwned;

use super::layout;
use crate::api::{ApiError, ApiErrorKind};
use crate::domain::account::Role;
use crate::http::api::authority::cookie_of;
use crate::http::audit;
use crate::ops::{Caller, Cookie, Ops};

/// Somebody who is logged in.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    pub(super) caller: Caller,
    pub(super) cookie: Cookie,
}

impl Visitor {
    pub(super) fn may(&self, role: Role) -> bool {
        self.caller.role >= role
    }

    pub(super) fn needs(&self, role: Role) -> Result<(), PageError> {
        if self.may(role) {
            return Ok(());
        }
        let text = format!(
            "this needs the role {role}, and you have the role {}; an administrator can change that",
            self.caller.role
        );
        Err(ApiError::new(ApiErrorKind::Forbidden, text).into())
    }

    /// What each form has in it.
    pub(super) fn key(&self) -> String {
        self.cookie.form_key()
    }
}

impl Visitor {
    /// Whoever has this page open, before it or not.
    pub(super) async fn watching(parts: &Parts, ops: &Ops) -> Result<Self, PageError> {
        let cookie = cookie_of(&parts.headers).ok_or(PageError::LogIn)?;
        let caller = ops.watcher_by_cookie(&cookie).await?;
        let caller = caller.ok_or(PageError::LogIn)?;
        Ok(Self { caller, cookie })
    }
}

impl FromRequestParts<Arc<Ops>> for Visitor {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, ops: &Arc<Ops>) -> Result<Self, PageError> {
        let cookie = cookie_of(&parts.headers).ok_or(PageError::LogIn)?;
        let caller = ops.caller_by_cookie(&cookie).await?;
        let caller = caller.ok_or(PageError::LogIn)?;
        audit::caller_is(&parts.extensions, &caller);
        Ok(Self { caller, cookie })
    }
}

/// A form that somebody sent who is logged in, from our own page. Its fields are for a role: [`Self::by`].
#[derive(Debug)]
pub(super) struct Posted {
    visitor: Visitor,
    fields: Fields,
}

/// The fields of a form.
#[derive(Debug)]
pub(super) struct Fields(Vec<(String, String)>);

impl Posted {
    /// The fields, if who sent them has this role.
    pub(super) fn by(self, role: Role) -> Result<(Visitor, Fields), PageError> {
        self.visitor.needs(role)?;
        Ok((self.visitor, self.fields))
    }
}

impl Fields {
    /// A field without blanks around it; empty if absent.
    pub(super) fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(found, _)| found == name);
        found.map_or("", |(_, value)| value.trim())
    }

    /// A field as it was typed.
    pub(super) fn exact(&self, name: &str) -> String {
        let found = self.0.iter().find(|(found, _)| found == name);
        found.map_or_else(String::new, |(_, value)| value.clone())
    }

    /// All fields of a name.
    pub(super) fn all(&self, name: &str) -> Vec<String> {
        let found = self.0.iter().filter(|(found, _)| found == name);
        found.map(|(_, value)| value.clone()).collect()
    }

    /// A field that may be empty.
    pub(super) fn optional(&self, name: &str) -> Option<String> {
        let value = self.get(name);
        (!value.is_empty()).then(|| value.to_owned())
    }
}

impl FromRequest<Arc<Ops>> for Posted {
    type Rejection = PageError;

    async fn from_request(request: Request, ops: &Arc<Ops>) -> Result<Self, PageError> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, ops).await?;
        let request = Request::from_parts(parts, body);
        let OpenForm(fields) = OpenForm::from_request(request, ops).await?;
        if !visitor.cookie.is_form_key(fields.get(KEY)) {
            let text = "the form is of an earlier login; go back, load the page again, and send it once more";
            return Err(ApiError::new(ApiErrorKind::Forbidden, text).into());
        }
        Ok(Self { visitor, fields })
    }
}

/// The field with the key of a login's forms.
pub(super) const KEY: &str = "key";

/// A form of our own page that somebody sent who need not be logged in.
#[derive(Debug)]
pub(super) struct OpenForm(pub(super) Fields);

impl<S: Send + Sync> FromRequest<S> for OpenForm {
    type Rejection = PageError;

    async fn from_request(request: Request, state: &S) -> Result<Self, PageError> {
        if is_foreign(request.headers()) {
            let text = "the form was sent by another page; open this server's own page, and send it from there";
            return Err(ApiError::new(ApiErrorKind::Forbidden, text).into());
        }
        match Form::<Vec<(String, String)>>::from_request(request, state).await {
            Ok(Form(fields)) => Ok(Self(Fields(fields))),
            Err(rejection) => {
                let text = fog::encoding::printable(&rejection.body_text(), 200);
                let text = format!("the form cannot be read: {text}");
                Err(ApiError::new(ApiErrorKind::Invalid, text).into())
            }
        }
    }
}

/// Whether a browser says that another page made the request.
fn is_foreign(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site != "same-origin" && site != "none";
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match (text(header::ORIGIN), text(header::HOST)) {
        (Some(origin), Some(host)) => {
            origin.split_once("://").map(|(_, origin)| origin) != Some(host)
        }
        (Some(_), None) => true,
        (None, _) => false,
    }
}

/// A part of the path.
#[derive(Debug)]
pub(super) struct At<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, PageError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(part)) => Ok(Self(part)),
            Err(_) => {
                let path = fog::encoding::printable(parts.uri.path(), 200);
                let text = format!("there is no page {path}");
                Err(ApiError::new(ApiErrorKind::NotFound, text).into())
            }
        }
    }
}

/// Why there is no page.
#[derive(Debug)]
pub(super) enum PageError {
    /// Nobody is logged in.
    LogIn,
    /// Something else.
    Problem(ApiError),
}

impl<E: Into<ApiError>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self::Problem(error.into())
    }
}

impl PageError {
    /// Of what was typed.
    pub(super) fn invalid(text: impl ToString) -> Self {
        Self::Problem(ApiError::new(ApiErrorKind::Invalid, text))
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        match self {
            Self::LogIn => Redirect::to("/login").into_response(),
            Self::Problem(error) => layout::problem(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_of_another_page_is_known() {
        let of = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().unwrap());
            }
            is_foreign(&headers)
        };
        assert!(!of(&[]));
        assert!(!of(&[
            ("sec-fetch-site", "same-origin"),
            ("origin", "http://x")
        ]));
        assert!(!of(&[("sec-fetch-site", "none")]));
        assert!(of(&[("sec-fetch-site", "cross-site")]));
        assert!(of(&[("sec-fetch-site", "same-site")]));
        assert!(!of(&[
            ("origin", "http://10.0.0.5:8080"),
            ("host", "10.0.0.5:8080")
        ]));
        assert!(of(&[("origin", "http://evil"), ("host", "10.0.0.5")]));
        assert!(of(&[("origin", "null"), ("host", "10.0.0.5")]));
        assert!(of(&[("origin", "http://evil")]));
    }
}
