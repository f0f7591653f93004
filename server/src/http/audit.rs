//! Who changed what: a line of the log for each request of a person or program that was to change something.

use std::sync::{Arc, OnceLock};

use axum::extract::{Request, State};
use axum::http::Extensions;
use axum::middleware::Next;
use axum::response::Response;

use super::request::peer;
use crate::clock;
use crate::logs::Subject;
use crate::ops::{Caller, Ops, Who};

/// Who asks: an extension of each request that is to change something, filled when that is known.
#[derive(Debug, Clone, Default)]
struct Asker(Arc<OnceLock<Who>>);

/// Notes who makes this request.
pub(super) fn caller_is(extensions: &Extensions, caller: &Caller) {
    if let Some(Asker(who)) = extensions.get() {
        // The first one counts; there is no second one.
        drop(who.set(caller.who.clone()));
    }
}

/// Serves a request, and logs it if it was to change something and somebody known has sent it: strangers are
/// counted elsewhere.
pub(super) async fn log(State(ops): State<Arc<Ops>>, mut request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let asker = Asker::default();
    request.extensions_mut().insert(asker.clone());
    let path = fog::encoding::printable(request.uri().path(), 200);
    let method = request.method().clone();
    let from = peer(request.extensions());
    let response = next.run(request).await;
    if let Some(who) = asker.0.get() {
        let subject = match who {
            Who::Local => Subject::Server,
            Who::User(_) | Who::Token(_) => Subject::Host(from.to_string()),
        };
        let line = format!("{who}: {method} {path}: {}", response.status().as_u16());
        ops.log().info(clock::now(), &subject, &line);
    }
    response
}
