//! Stores what a session decides, in order, in a task of its own: the driver never waits for the
//! database, and no answer leaves before what it promises is stored.

use std::time::Duration;

use fog::task::State;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::clock;
use crate::domain::session::Fact;
use crate::domain::{HostId, Reason, SessionId};
use crate::store::{Found, SharedStore, StoreError};

/// What became of an entry and all entries before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// Stored.
    Yes,
    /// Not yet; it will be tried again. Nothing may be promised on it.
    NotYet,
}

/// What the driver gives to its journal.
enum Item {
    Fact(Fact),
    /// An answer to a client, which may be sent when everything before is stored.
    Answer(oneshot::Sender<Stored>),
    /// Told to the driver when everything before is stored.
    Mark(u64),
}

/// What the journal tells its driver.
#[derive(Debug)]
pub(super) enum News {
    /// Everything before this mark is stored.
    Reached(u64),
    /// Another program had ended the task: what was decided of this host does not hold.
    Overruled { host: HostId, found: Option<State> },
    /// Another server has claimed the session.
    TakenOver,
    /// Another program had ended the session, or removed it.
    Over { found: Option<State> },
    /// Nothing can be stored at present.
    Failing(String),
    /// It can again.
    Recovered,
    /// Nothing of the session can be stored, now or later: it cannot go on.
    Lost(Reason),
}

/// The driver's end of its journal.
pub(super) struct Journal {
    // What waits is bounded by the state machine: some facts for each host, and notes, of which the
    // driver counts how many there may be.
    entries: mpsc::UnboundedSender<Item>,
    marks: u64,
}

impl Journal {
    /// Starts the journal of a session. It ends when everything is stored after its driver is gone,
    /// or after [`LAST_TRIES`].
    pub(super) fn start(
        store: SharedStore,
        session: SessionId,
    ) -> (
        Self,
        mpsc::UnboundedReceiver<News>,
        tokio::task::JoinHandle<()>,
    ) {
        let (entries, queue) = mpsc::unbounded_channel();
        let (tell, news) = mpsc::unbounded_channel();
        let writer = Writer {
            store,
            session,
            queue,
            tell,
            batch: Batch::default(),
            is_failing: false,
            refused: 0,
            lost: None,
        };
        let task = tokio::spawn(writer.run());
        let journal = Self { entries, marks: 0 };
        (journal, news, task)
    }

    pub(super) fn store(&self, fact: Fact) {
        self.send(Item::Fact(fact));
    }

    /// Answers `reply` when everything so far is stored, or at once if nothing can be stored.
    pub(super) fn answer_when_stored(&self, reply: oneshot::Sender<Stored>) {
        self.send(Item::Answer(reply));
    }

    /// A mark behind everything so far; [`News::Reached`] tells when that is stored.
    pub(super) fn mark(&mut self) -> u64 {
        self.marks += 1;
        self.send(Item::Mark(self.marks));
        self.marks
    }

    fn send(&self, entry: Item) {
        if self.entries.send(entry).is_err() {
            tracing::error!("server: a session's journal has ended before its session");
        }
    }
}

struct Writer {
    store: SharedStore,
    session: SessionId,
    queue: mpsc::UnboundedReceiver<Item>,
    tell: mpsc::UnboundedSender<News>,
    batch: Batch,
    is_failing: bool,
    /// Tries in a row that met an error of ours.
    refused: u32,
    /// Why nothing of this session can be stored but its failure.
    lost: Option<Reason>,
}

/// What is not stored yet.
#[derive(Default)]
struct Batch {
    facts: Vec<Fact>,
    /// Answers that wait for these facts.
    answers: Vec<oneshot::Sender<Stored>>,
    mark: Option<u64>,
}

impl Writer {
    async fn run(mut self) {
        let mut last_tries = None;
        loop {
            if self.batch.is_empty() {
                let Some(entry) = self.queue.recv().await else {
                    return;
                };
                self.batch.push(entry);
            }
            // Whatever has come meanwhile is stored with it, in one go.
            while let Ok(entry) = self.queue.try_recv() {
                self.batch.push(entry);
            }
            if self.store().await {
                continue;
            }
            if self.queue.is_closed() {
                let end = *last_tries.get_or_insert_with(|| Instant::now() + LAST_TRIES);
                if Instant::now() >= end {
                    let lost = self.batch.facts.len();
                    let session = self.session.0;
                    tracing::error!(session, "{lost} facts could not be stored until the end");
                    return;
                }
            }
            self.pause().await;
        }
    }

    /// Stores the batch; `false` if it has to be tried again.
    async fn store(&mut self) -> bool {
        if self.batch.facts.is_empty() {
            self.finish(Stored::Yes);
            return true;
        }
        if let Some(reason) = self.lost.clone() {
            return self.fail_session(reason).await;
        }
        let facts = self.batch.facts.clone();
        match self.store.apply(clock::now(), self.session, facts).await {
            Ok(conflicts) => {
                self.recovered();
                self.refused = 0;
                let (mut over, mut is_taken_over) = (None, false);
                for conflict in &conflicts {
                    match conflict.found {
                        // The same for all of them.
                        Found::Session(found) => over = Some(found),
                        Found::OtherServer => is_taken_over = true,
                        Found::Task(found) => {
                            let fact = self.batch.facts.get(conflict.fact);
                            if let Some(host) = fact.and_then(host_of) {
                                self.say(News::Overruled { host, found });
                            }
                        }
                    }
                }
                if is_taken_over {
                    self.say(News::TakenOver);
                }
                if let Some(found) = over {
                    self.say(News::Over { found });
                }
                self.batch.facts.clear();
                // Whoever waits for a fact that does not hold asks again and gets the reason.
                let stored = match conflicts.is_empty() {
                    true => Stored::Yes,
                    false => Stored::NotYet,
                };
                self.finish(stored);
                true
            }
            Err(StoreError::Broken(row)) => self.lose(Reason::BrokenRow(row)).await,
            Err(StoreError::Internal(text)) if self.refused + 1 >= MAX_REFUSED => {
                tracing::error!(session = self.session.0, "the session is given up: {text}");
                self.lose(Reason::Internal { text }).await
            }
            Err(error) => {
                self.refused = match &error {
                    StoreError::Internal(_) => self.refused + 1,
                    _ => 0,
                };
                self.failing(&error);
                false
            }
        }
    }

    /// Nothing of the session is stored any more.
    async fn lose(&mut self, reason: Reason) -> bool {
        self.lost = Some(reason.clone());
        self.fail_session(reason).await
    }

    /// The session fails in the database too, else it would be run again from what is stored.
    async fn fail_session(&mut self, reason: Reason) -> bool {
        let failed = self
            .store
            .fail_broken(clock::now(), self.session, reason.clone())
            .await;
        if let Err(error) = failed {
            self.failing(&error);
            return false;
        }
        self.recovered();
        self.say(News::Lost(reason));
        self.batch.facts.clear();
        self.finish(Stored::NotYet);
        true
    }

    fn failing(&mut self, error: &StoreError) {
        if !std::mem::replace(&mut self.is_failing, true) {
            self.say(News::Failing(error.to_string()));
        }
        self.batch.refuse();
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.is_failing) {
            self.say(News::Recovered);
        }
    }

    /// Between two tries whoever asks is told at once.
    async fn pause(&mut self) {
        let end = Instant::now() + RETRY;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(end) => return,
                entry = self.queue.recv() => match entry {
                    Some(entry) => {
                        self.batch.push(entry);
                        self.batch.refuse();
                    }
                    None => {
                        tokio::time::sleep_until(end).await;
                        return;
                    }
                },
            }
        }
    }

    fn finish(&mut self, stored: Stored) {
        for answer in self.batch.answers.drain(..) {
            // Whoever asked may have gone; it asks again.
            answer.send(stored).ok();
        }
        if let Some(mark) = self.batch.mark.take() {
            self.say(News::Reached(mark));
        }
    }

    fn say(&self, news: News) {
        // A driver that is gone wants to know nothing more.
        drop(self.tell.send(news));
    }
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.facts.is_empty() && self.answers.is_empty() && self.mark.is_none()
    }

    fn push(&mut self, entry: Item) {
        match entry {
            Item::Fact(fact) => {
                // A client may check in again and again, each time a bit different: the last one counts.
                if let Fact::CheckedIn { host, .. } = &fact {
                    self.facts.retain(
                        |old| !matches!(old, Fact::CheckedIn { host: known, .. } if known == host),
                    );
                }
                self.facts.push(fact);
            }
            Item::Answer(answer) => self.answers.push(answer),
            Item::Mark(mark) => self.mark = Some(mark),
        }
    }

    fn refuse(&mut self) {
        for answer in self.answers.drain(..) {
            answer.send(Stored::NotYet).ok();
        }
    }
}

fn host_of(fact: &Fact) -> Option<HostId> {
    match fact {
        Fact::CheckedIn { host, .. } | Fact::MemberEnded { host, .. } => Some(*host),
        Fact::StreamStarting { .. }
        | Fact::StartRevoked { .. }
        | Fact::StreamsDone { .. }
        | Fact::FollowUpDue
        | Fact::Ended { .. }
        | Fact::Noted { .. } => None,
    }
}

/// Between two tries to store something.
const RETRY: Duration = Duration::from_secs(1);

/// Tries to store something that meet an error of ours, not of the disk: one more would meet it again.
const MAX_REFUSED: u32 = 5;

/// How long it is tried after the driver has ended; the server's shutdown waits less.
const LAST_TRIES: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_last_check_in_of_a_host_is_the_one_that_is_stored() {
        let mut batch = Batch::default();
        for count in 0..1000 {
            batch.push(Item::Fact(Fact::CheckedIn {
                host: HostId(i64::from(count % 2)),
                address: Ipv4Addr::LOCALHOST,
                ticket: None,
                agent: format!("client {count}").as_str().into(),
                count,
            }));
        }
        let counts: Vec<_> = batch
            .facts
            .iter()
            .map(|fact| match fact {
                Fact::CheckedIn { count, .. } => *count,
                fact => panic!("{fact:?}"),
            })
            .collect();
        assert_eq!(counts, [998, 999]);
    }
}
