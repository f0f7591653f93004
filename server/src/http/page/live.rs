//! What of a page changes, as server-sent events: pieces of the page by the names of their places.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts as RequestParts;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use maud::{Markup, PreEscaped, html};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::places::{PLACES, Place};
use super::visitor::{PageError, Visitor};
use super::{images, log, nodes, overview, session};
use crate::api::{Api, ApiError, ApiErrorKind, EventsQuery};
use crate::domain::account::Role;
use crate::http::listener::Patience;
use crate::ops::Ops;

/// Pieces of a page, by the names of their places.
#[derive(Debug, Default)]
pub(super) struct Parts(BTreeMap<String, String>);

impl Parts {
    pub(super) fn add(&mut self, id: &str, part: &Markup) {
        self.0.insert(id.to_owned(), part.0.clone());
    }
}

/// What of a page changes, and what it is made for.
#[derive(Debug)]
pub(super) struct Live {
    parts: Parts,
    /// If that is another one, the page as a whole has to be loaded again.
    structure: String,
}

impl Live {
    pub(super) fn new(parts: Parts, structure: &str) -> Self {
        let hash = blake3::hash(structure.as_bytes()).to_hex();
        Self {
            parts,
            structure: hash.as_str().chars().take(16).collect(),
        }
    }

    /// A piece in its place.
    pub(super) fn slot(&self, id: &str) -> Markup {
        let part = self.parts.0.get(id).map_or("", String::as_str);
        html! { div.live id=(id) { (PreEscaped(part)) } }
    }

    /// Where its changes are followed.
    pub(super) fn address(&self, path: &str) -> String {
        format!("{path}?seen={}", self.structure)
    }
}

/// Which page.
#[derive(Debug, Clone, Copy)]
pub(super) enum Source {
    Overview,
    Session(i64),
    Images,
    Nodes,
    Log,
}

impl Source {
    fn needs(self) -> Role {
        match self {
            Self::Overview | Self::Session(_) | Self::Images | Self::Nodes => Role::Viewer,
            Self::Log => Role::Operator,
        }
    }
}

/// Somebody who keeps a page open. That is no use of the login, which ends by itself.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) visitor: Visitor,
    seen: Seen,
    ending: CancellationToken,
    _place: Place,
}

#[derive(Debug, Deserialize)]
struct Seen {
    #[serde(default)]
    seen: String,
    /// The last event that the page has.
    #[serde(default)]
    after: i64,
}

impl FromRequestParts<Arc<Ops>> for Watcher {
    type Rejection = PageError;

    async fn from_request_parts(
        parts: &mut RequestParts,
        ops: &Arc<Ops>,
    ) -> Result<Self, PageError> {
        let visitor = Visitor::watching(parts, ops).await?;
        let seen = Query::<Seen>::from_request_parts(parts, ops).await;
        let Query(seen) = seen.map_err(|_| PageError::invalid("after has to be a number"))?;
        let place = PLACES.take(&visitor.caller.who).ok_or_else(|| {
            let text = "too many pages are followed; this one is as it was when it was loaded";
            ApiError::new(ApiErrorKind::TooMany, text)
        })?;
        let patience = parts.extensions.get::<Patience>();
        let ending = patience.map(|patience| patience.ending().clone());
        Ok(Self {
            visitor,
            seen,
            ending: ending.unwrap_or_default(),
            _place: place,
        })
    }
}

impl Watcher {
    /// Tells what changes, until the server ends, the login is over, or an hour has passed: then the browser asks
    /// again.
    pub(super) fn follow(self, ops: Arc<Ops>, source: Source) -> Response {
        let mut timer = tokio::time::interval(PERIOD);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let follower = Follower {
            ops,
            source,
            watcher: self,
            timer,
            looks: 0,
            known: BTreeMap::new(),
            queue: VecDeque::new(),
        };
        let events = futures_util::stream::unfold(follower, |mut follower| async move {
            let event = follower.next().await?;
            Some((Ok::<_, Infallible>(event), follower))
        });
        Sse::new(events)
            .keep_alive(KeepAlive::default())
            .into_response()
    }
}

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);

const LOOKS: u32 = 3600;

struct Follower {
    ops: Arc<Ops>,
    source: Source,
    watcher: Watcher,
    timer: tokio::time::Interval,
    looks: u32,
    /// What the page shows.
    known: BTreeMap<String, String>,
    queue: VecDeque<Event>,
}

impl Follower {
    /// The next event; `None` if that is all.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            if self.looks >= LOOKS {
                return None;
            }
            self.looks += 1;
            tokio::select! {
                () = self.watcher.ending.cancelled() => return None,
                _ = self.timer.tick() => {}
            }
            // Whoever may see it no more is told no more.
            let caller = self.ops.watcher_by_cookie(&self.watcher.visitor.cookie);
            let caller = caller.await;
            match caller {
                Ok(Some(caller)) if caller.role >= self.source.needs() => {}
                Ok(_) => return None,
                Err(_) => continue,
            }
            // A database that fails now may work a second later.
            let Ok(Some(live)) = self.look().await else {
                continue;
            };
            if live.structure != self.watcher.seen.seen {
                self.watcher.seen.seen.clone_from(&live.structure);
                self.queue
                    .push_back(Event::default().event("reload").data("1"));
            }
            let changed = live.parts.0.into_iter();
            let changed = changed.filter(|(id, part)| self.known.get(id) != Some(part));
            let changed: Vec<_> = changed.collect();
            if !changed.is_empty()
                && let Ok(data) = serde_json::to_string(&changed)
            {
                self.queue
                    .push_back(Event::default().event("parts").data(data));
            }
            self.known.extend(changed);
        }
    }

    async fn look(&mut self) -> Result<Option<Live>, ApiError> {
        match self.source {
            Source::Overview => {
                let status = self.ops.status(None).await?;
                let tasks = self.ops.tasks().await?;
                Ok(Some(overview::view(&status, &tasks)))
            }
            Source::Images => {
                let images = self.ops.image_list().await?;
                Ok(Some(images::view(&self.ops, &images)))
            }
            Source::Nodes => Ok(Some(nodes::view(&self.ops.node_list().await?))),
            Source::Log => {
                let after = u64::try_from(self.watcher.seen.after).ok();
                let tail = self.ops.log_tail(after).await?;
                self.watcher.seen.after = i64::try_from(tail.next).unwrap_or(i64::MAX);
                let lines = tail.lines.iter().map(|line| log::line(line));
                self.lines(lines);
                Ok(None)
            }
            Source::Session(number) => {
                let status = self.ops.status(Some(number)).await?;
                let query = EventsQuery {
                    after: self.watcher.seen.after,
                    limit: 200,
                    wait_seconds: 0,
                };
                let events = Api::events(&*self.ops, number, query).await?;
                if let Some(last) = events.last() {
                    self.watcher.seen.after = last.id;
                    self.lines(events.iter().map(session::line));
                }
                Ok(status.sessions.first().map(session::view))
            }
        }
    }

    /// Further lines of a list.
    fn lines(&mut self, lines: impl Iterator<Item = Markup>) {
        let lines: Vec<String> = lines.map(|line| line.0).collect();
        if !lines.is_empty()
            && let Ok(data) = serde_json::to_string(&lines)
        {
            self.queue
                .push_back(Event::default().event("log").data(data));
        }
    }
}
