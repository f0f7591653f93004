//! Who asks, and whether that one may: a handler names the role that it needs as its first argument.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};

use crate::api::{ApiError, ApiErrorKind, ApiResult};
use crate::domain::account::Role;
use crate::http::audit;
use crate::http::request::peer;
use crate::ops::{Caller, Cookie, Ops, Who};

/// How a request came: an extension of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Way {
    /// By the server's own socket, which only root and its own user can open.
    Socket,
    /// By the network.
    Network,
}

macro_rules! roles {
    ($($(#[$doc:meta])* $name:ident = $role:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub(in crate::http) struct $name(
            #[allow(dead_code, reason = "most handlers need to know no more than the role")]
            pub(in crate::http) Caller,
        );

        impl FromRequestParts<Arc<Ops>> for $name {
            type Rejection = ApiError;

            async fn from_request_parts(
                parts: &mut Parts,
                ops: &Arc<Ops>,
            ) -> Result<Self, ApiError> {
                allowed(parts, ops, $role).await.map(Self)
            }
        }
    )*};
}

roles! {
    /// Somebody who may see everything.
    Viewer = Role::Viewer;
    /// Somebody who may deploy, cancel, and register hosts.
    Operator = Role::Operator;
    /// Somebody who may do everything.
    Admin = Role::Admin;
}

async fn allowed(parts: &Parts, ops: &Ops, needed: Role) -> ApiResult<Caller> {
    let caller = caller(parts, ops).await?;
    audit::caller_is(&parts.extensions, &caller);
    if caller.role >= needed {
        return Ok(caller);
    }
    let text = format!(
        "this needs the role {needed}, and {} has the role {}; an administrator can change that (fos-server \
         user change)",
        caller.who, caller.role
    );
    Err(ApiError::new(ApiErrorKind::Forbidden, text))
}

/// Who asks, of this way, token or login.
async fn caller(parts: &Parts, ops: &Ops) -> ApiResult<Caller> {
    // What is not said is the network.
    if parts.extensions.get() == Some(&Way::Socket) {
        return Ok(Caller {
            who: Who::Local,
            role: Role::Admin,
        });
    }
    if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
        let token = value.to_str().ok().and_then(bearer);
        let caller = match token {
            Some(token) => ops.caller_by_token(token).await?,
            None => None,
        };
        return caller.ok_or_else(|| {
            let text =
                "this token is not known; fos-server token add makes one, which is shown that once";
            ApiError::new(ApiErrorKind::Unauthenticated, text)
        });
    }
    let Some(cookie) = cookie_of(&parts.headers) else {
        return Err(not_logged_in());
    };
    let Some(caller) = ops.caller_by_cookie(&cookie).await? else {
        return Err(not_logged_in());
    };
    // A browser sends the cookie whatever page made the request; another page does not know the key.
    let key = parts
        .headers
        .get(FORM_KEY)
        .and_then(|key| key.to_str().ok());
    if !is_safe(&parts.method) && !key.is_some_and(|key| cookie.is_form_key(key)) {
        let text = format!(
            "a request that changes something and comes from a login needs the header {FORM_KEY}; programs \
             use a token instead"
        );
        return Err(ApiError::new(ApiErrorKind::Forbidden, text));
    }
    Ok(caller)
}

fn not_logged_in() -> ApiError {
    let text = "log in at /login, or send a token as \"Authorization: Bearer TOKEN\" (fos-server token add \
        makes one)";
    ApiError::new(ApiErrorKind::Unauthenticated, text)
}

/// The header with the key of a login's forms.
const FORM_KEY: &str = "x-form-key";

pub(in crate::http) fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// Methods that change nothing.
fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

/// The login that a browser shows.
pub(in crate::http) fn cookie_of(headers: &HeaderMap) -> Option<Cookie> {
    let of = |wanted: &str| {
        let lines = headers.get_all(header::COOKIE).iter();
        let pairs = lines.filter_map(|line| line.to_str().ok());
        let mut pairs = pairs.flat_map(|line| line.split(';'));
        pairs.find_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            let is_cookie = name == wanted && value.len() == COOKIE_LEN;
            is_cookie.then(|| Cookie(value.to_owned()))
        })
    };
    // Whoever comes over HTTPS shows both.
    of(SECURE_COOKIE).or_else(|| of(COOKIE))
}

/// Name of the cookie.
pub(in crate::http) const COOKIE: &str = "fos_login";

/// Its name over HTTPS: browsers let no page over HTTP, and no other host, set a cookie of such a name.
pub(in crate::http) const SECURE_COOKIE: &str = "__Host-fos_login";

const COOKIE_LEN: usize = 64;

/// From where a request comes.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Address(pub(in crate::http) IpAddr);

impl<S: Sync> FromRequestParts<S> for Address {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(peer(&parts.extensions)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_found_among_others_and_no_other_is_taken() {
        let long = "a".repeat(COOKIE_LEN);
        let of = |lines: &[String]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::COOKIE, line.parse().unwrap());
            }
            cookie_of(&headers).map(|cookie| cookie.0)
        };
        let ours = format!("{COOKIE}={long}");
        for lines in [
            &[ours.clone()][..],
            &[format!("a=b; {ours}; c=d")],
            &["a=b".into(), ours.clone()],
            &[format!("{COOKIE}=short; {ours}")],
            &[format!("{SECURE_COOKIE}={long}")],
            &[format!(
                "{COOKIE}={}; {SECURE_COOKIE}={long}",
                "b".repeat(COOKIE_LEN)
            )],
        ] {
            assert_eq!(of(lines).as_ref(), Some(&long), "{lines:?}");
        }
        for lines in [
            &[][..] as &[String],
            &[format!("x{ours}")],
            &[format!("{ours}a")],
            &[COOKIE.into()],
            &[";;=".into()],
        ] {
            assert_eq!(of(lines), None, "{lines:?}");
        }
    }

    #[test]
    fn a_token_has_its_scheme() {
        assert_eq!(bearer("Bearer fos_1"), Some("fos_1"));
        assert_eq!(bearer("bearer  fos_1 "), Some("fos_1"));
        for wrong in ["fos_1", "Basic fos_1", "", "Bearer"] {
            assert_eq!(bearer(wrong), None, "{wrong}");
        }
    }
}
