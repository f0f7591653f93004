//! What all answers have in common: a time limit, a line in the log if the server is at fault, and a bound
//! of the memory that large ones hold until they are sent.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::body::{Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::error::HttpError;
use super::plain;
use super::request::peer;
use crate::clock;
use crate::logs::{Level, Subject};
use crate::ops::Ops;

/// Longest time until an answer begins.
const LIMIT: Duration = Duration::from_secs(60);

/// Why the server could not answer, for its log: an extension of the response.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    /// What such requests are called where they are counted.
    pub(super) what: &'static str,
    pub(super) text: String,
}

impl Fault {
    pub(super) fn add_to(self, mut response: Response) -> Response {
        response.extensions_mut().insert(self);
        response
    }
}

/// Serves a request within the time limit, and logs the server's own faults: the same ones are counted,
/// as anybody can ask without end.
pub(super) async fn guard(State(ops): State<Arc<Ops>>, request: Request, next: Next) -> Response {
    let path = fog::encoding::printable(request.uri().path(), 80);
    let answered = tokio::time::timeout(LIMIT, next.run(request)).await;
    let response = answered.unwrap_or_else(|_| {
        let seconds = LIMIT.as_secs();
        let fault = Fault {
            what: "requests that took too long",
            text: format!("{path} had no answer after {seconds} s"),
        };
        fault.add_to(ask_again(
            "# The server takes too long to answer; asking again helps. Its log has the cause.",
        ))
    });
    if let Some(Fault { what, text }) = response.extensions().get() {
        let line = format!("answering a request: {text}");
        ops.log()
            .repeated(clock::now(), Level::Error, &Subject::Server, what, &line);
    }
    response
}

/// A status by which clients know that nothing is decided, and when to ask again.
pub(super) fn ask_again(text: impl Into<String>) -> Response {
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, plain(text)).into_response();
    let seconds = HeaderValue::from(RETRY_AFTER.as_secs());
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}

const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What large answers share: an extension of each request.
#[derive(Debug)]
pub(super) struct Answers {
    budget: Arc<Budget>,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self {
            budget: Budget::new(BUDGET, BUDGET_EACH),
        }
    }

    pub(super) fn keep(&self, client: IpAddr, bytes: Vec<u8>) -> Result<Bytes, HttpError> {
        self.budget.take(client, bytes).ok_or(HttpError::Full)
    }

    pub(super) fn json(
        &self,
        client: IpAddr,
        value: &impl Serialize,
    ) -> Result<Response, HttpError> {
        let bytes = serde_json::to_vec(value).map_err(|error| HttpError::Internal(error.into()))?;
        let headers = [(header::CONTENT_TYPE, "application/json")];
        Ok((headers, self.keep(client, bytes)?).into_response())
    }
}

/// Answers to people, of any size, within the same bound. What is written piece by piece has none.
pub(super) async fn bounded(
    Extension(answers): Extension<Arc<Answers>>,
    request: Request,
    next: Next,
) -> Response {
    let client = peer(request.extensions());
    let (parts, body) = next.run(request).await.into_parts();
    let len = HttpBody::size_hint(&body).exact();
    if len.is_none_or(|len| len <= SMALL as u64) {
        return Response::from_parts(parts, body);
    }
    // It is whole already, so nothing is waited for.
    let kept = match axum::body::to_bytes(body, usize::MAX).await {
        Ok(bytes) => answers.budget.take(client, bytes),
        Err(_) => None,
    };
    match kept {
        Some(bytes) => Response::from_parts(parts, bytes.into()),
        None => ask_again("too many large answers are on their way; ask again in a moment\n"),
    }
}

/// Bytes of large answers on their way, in all and for each address. A room of agents asks for small
/// files of some kilobytes, which do not count.
const BUDGET: usize = 64 << 20;
const BUDGET_EACH: usize = 16 << 20;

/// Memory for answers that wait until their clients have read them.
#[derive(Debug)]
struct Budget {
    held: Mutex<Held>,
    most: usize,
    most_each: usize,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    /// Only addresses that hold something.
    by_address: HashMap<IpAddr, usize>,
}

impl Budget {
    fn new(most: usize, most_each: usize) -> Arc<Self> {
        Arc::new(Self {
            held: Mutex::default(),
            most,
            most_each,
        })
    }

    /// The same bytes, which take their place until they are sent; `None` if there is none. A single
    /// answer of any size has place where nothing else waits.
    fn take(self: &Arc<Self>, client: IpAddr, bytes: impl Into<Bytes>) -> Option<Bytes> {
        let bytes = bytes.into();
        if bytes.len() <= SMALL {
            return Some(bytes);
        }
        let mut held = self.held();
        let own = held.by_address.get(&client).copied().unwrap_or_default();
        let is_free = |taken: usize, most| taken == 0 || taken.saturating_add(bytes.len()) <= most;
        if !is_free(held.bytes, self.most) || !is_free(own, self.most_each) {
            return None;
        }
        held.bytes += bytes.len();
        *held.by_address.entry(client).or_default() += bytes.len();
        drop(held);
        Some(Bytes::from_owner(Kept {
            bytes,
            client,
            budget: Arc::clone(self),
        }))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Not counted: a connection's buffers are as large.
const SMALL: usize = 64 << 10;

struct Kept {
    bytes: Bytes,
    client: IpAddr,
    budget: Arc<Budget>,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut held = self.budget.held();
        let len = self.bytes.len();
        held.bytes = held.bytes.saturating_sub(len);
        if let Some(own) = held.by_address.get_mut(&self.client) {
            *own = own.saturating_sub(len);
            if *own == 0 {
                held.by_address.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[tokio::test]
    async fn large_answers_to_people_have_the_same_bound() {
        use axum::routing::get;
        use tower::ServiceExt as _;

        let answers = Arc::new(Answers {
            budget: Budget::new(5 << 20, 2 << 20),
        });
        let router = axum::Router::<()>::new()
            .route("/large", get(|| async { vec![7_u8; 1 << 20] }))
            .route("/small", get(|| async { "x" }))
            .layer(axum::middleware::from_fn(bounded))
            .layer(Extension(answers));
        let get = async |path: &str| {
            let request = Request::get(path).body(axum::body::Body::empty());
            router.clone().oneshot(request.unwrap()).await.unwrap()
        };
        let held = [get("/large").await, get("/large").await];
        assert!(held.iter().all(|response| response.status().is_success()));
        let refused = get("/large").await;
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(get("/small").await.status().is_success());
        let [one, other] = held;
        let bytes = axum::body::to_bytes(one.into_body(), usize::MAX).await;
        assert_eq!(bytes.unwrap().len(), 1 << 20);
        assert!(get("/large").await.status().is_success());
        drop(other);
    }

    #[test]
    fn large_answers_have_a_bound_for_each_address_and_in_all() {
        let budget = Budget::new(5 << 20, 2 << 20);
        let large = || vec![7; 1 << 20];
        let first = budget.take(client(1), large()).unwrap();
        let second = budget.take(client(1), large()).unwrap();
        assert!(budget.take(client(1), large()).is_none());
        assert!(budget.take(client(1), vec![0; SMALL]).is_some());
        let others: Vec<_> = (2..=4)
            .map(|last| budget.take(client(last), large()).unwrap())
            .collect();
        assert!(budget.take(client(5), large()).is_none());
        // A piece of it holds all of it.
        let piece = first.slice(..10);
        drop(first);
        assert!(budget.take(client(5), large()).is_none());
        drop(piece);
        drop(budget.take(client(5), large()).unwrap());
        drop((second, others));
        assert!(budget.held().by_address.is_empty());
        assert_eq!(budget.held().bytes, 0);
        // Larger than the bound, but alone.
        assert!(budget.take(client(1), vec![0; 6 << 20]).is_some());
    }
}
