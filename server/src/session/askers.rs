//! Clients of FOG that ask again and again whether they may begin.
//!
//! FOG's client connects anew every 5 s for as long as it is not let in. Where many do, an answer that
//! brings nothing new is held back for some seconds; whatever changes for a host answers its client at once.
//! Who was let in and asks again has lost the answer, and gets it at once, but not for ever.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::domain::HostId;
use crate::domain::handout::Ticket;

/// What is known of clients that ask: an entry of 100 bytes for each registered host, at most.
#[derive(Debug, Default)]
pub(crate) struct Askers(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    of_host: HashMap<HostId, Asker>,
    next: u64,
    /// Hosts that ask again and again, and when they were counted.
    waiting: usize,
    counted: Option<Instant>,
}

#[derive(Debug)]
struct Asker {
    caller: Caller,
    /// The request that made this entry.
    turn: u64,
    at: Instant,
    state: Asking,
    /// Whether it had an answer before, and nothing had changed since.
    is_again: bool,
}

#[derive(Debug)]
enum Asking {
    /// Its request is held, or being answered.
    Now(Arc<Notify>),
    /// It is not let in, and was told why.
    Refused,
    /// It was let in so many times.
    LetIn(u32),
}

/// A machine.
pub(crate) type Caller = (IpAddr, Option<Ticket>);

impl Askers {
    /// A client asks. The answer says how long it is to be held.
    pub(crate) fn ask(
        &self,
        now: Instant,
        host: HostId,
        caller: Caller,
        longest: Duration,
    ) -> Turn<'_> {
        let mut inner = self.lock();
        inner.count(now);
        inner.next += 1;
        let turn = inner.next;
        let news = Arc::new(Notify::new());
        let asker = Asker {
            caller,
            turn,
            at: now,
            state: Asking::Now(Arc::clone(&news)),
            is_again: false,
        };
        let before = inner.of_host.insert(host, asker);
        if let Some(before) = &before {
            before.wake();
        }
        let before = before.filter(|before| before.caller == caller);
        let (is_again, let_in) = match before.map(|before| before.state) {
            // Who asks while its own request is held has given that one up, or is another machine.
            None | Some(Asking::Now(_)) => (false, 0),
            Some(Asking::Refused) => (true, 0),
            Some(Asking::LetIn(times)) => (times >= ANSWERS_LOST, times),
        };
        if let Some(asker) = inner.of_host.get_mut(&host) {
            asker.is_again = is_again;
        }
        let hold = match is_again {
            true => hold(inner.waiting).min(longest),
            false => Duration::ZERO,
        };
        Turn {
            askers: self,
            host,
            turn,
            until: now + hold,
            news,
            let_in,
            is_answered: false,
        }
    }

    /// Something has changed for these hosts: what their clients were answered says nothing any more.
    pub(crate) fn changed(&self, hosts: impl IntoIterator<Item = HostId>) {
        let mut inner = self.lock();
        for host in hosts {
            if let Some(asker) = inner.of_host.remove(&host) {
                asker.wake();
            }
        }
    }

    /// The same for all.
    pub(crate) fn all_changed(&self) {
        for (_, asker) in self.lock().of_host.drain() {
            asker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asker {
    fn wake(&self) {
        if let Asking::Now(news) = &self.state {
            news.notify_one();
        }
    }
}

impl Inner {
    /// Forgets those that ask no more, and counts; once a second, as it looks at all.
    fn count(&mut self, now: Instant) {
        let is_soon = |at| now.duration_since(at) < COUNT_PERIOD;
        if self.counted.is_some_and(is_soon) {
            return;
        }
        self.counted = Some(now);
        self.of_host.retain(|_, asker| {
            let is_asking = matches!(asker.state, Asking::Now(_));
            is_asking || now.duration_since(asker.at) < FORGOTTEN
        });
        let asks_again = |asker: &&Asker| asker.is_again;
        self.waiting = self.of_host.values().filter(asks_again).count();
    }
}

/// How long to hold the answer to each of so many that wait: nothing in rooms of usual size, and 15 s for
/// 1,000 hosts, of which then 50 ask in a second.
fn hold(waiting: usize) -> Duration {
    let many = u64::try_from(waiting.saturating_sub(FEW)).unwrap_or(u64::MAX);
    Duration::from_millis(many.saturating_mul(HOLD_EACH_MS))
}

/// A request that is to be answered.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    askers: &'a Askers,
    host: HostId,
    turn: u64,
    until: Instant,
    news: Arc<Notify>,
    /// How often it was let in before, without a change since.
    let_in: u32,
    is_answered: bool,
}

impl Turn<'_> {
    /// Returns when the request is to be answered.
    pub(crate) async fn wait(&self) {
        if self.until > Instant::now() {
            // News or none: it is answered.
            drop(tokio::time::timeout_at(self.until, self.news.notified()).await);
        }
    }

    /// The client is told why it is not let in, which will be the same until something changes.
    pub(crate) fn refused(self, now: Instant) {
        self.answered(now, Asking::Refused);
    }

    /// The client is let in.
    pub(crate) fn let_in(self, now: Instant) {
        let times = self.let_in.saturating_add(1);
        self.answered(now, Asking::LetIn(times));
    }

    fn answered(mut self, now: Instant, state: Asking) {
        self.is_answered = true;
        let mut inner = self.askers.lock();
        // If something changed meanwhile, the entry is gone: the answer may be of before.
        let asker = inner.of_host.get_mut(&self.host);
        if let Some(asker) = asker.filter(|asker| asker.turn == self.turn) {
            asker.state = state;
            asker.at = now;
        }
    }
}

impl Drop for Turn<'_> {
    /// A client that hung up, or was not really answered, is answered at once the next time.
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let mut inner = self.askers.lock();
        let asker = inner.of_host.get(&self.host);
        if asker.is_some_and(|asker| asker.turn == self.turn) {
            inner.of_host.remove(&self.host);
        }
    }
}

/// So many that wait cost little: half of what the server may cost with ten times as many.
const FEW: usize = 500;

/// What each further one that waits adds for all.
const HOLD_EACH_MS: u64 = 30;

/// So many answers may be lost one after the other, and are given again at once.
const ANSWERS_LOST: u32 = 3;

/// Longer than a client pauses.
const FORGOTTEN: Duration = Duration::from_secs(30);

const COUNT_PERIOD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// As FOG's clients wait after an answer.
    const PAUSE: Duration = Duration::from_secs(5);
    const LONGEST: Duration = Duration::from_secs(15);

    fn caller(last: u8) -> Caller {
        (Ipv4Addr::new(10, 0, 0, last).into(), None)
    }

    fn ask(askers: &Askers, host: i64) -> Turn<'_> {
        askers.ask(Instant::now(), HostId(host), caller(1), LONGEST)
    }

    /// So many hosts have asked and were answered, three times.
    async fn waiting(hosts: i64) -> Arc<Askers> {
        let askers = Arc::new(Askers::default());
        for _ in 0..3 {
            for host in 0..hosts {
                ask(&askers, host).refused(Instant::now());
            }
            tokio::time::sleep(PAUSE).await;
        }
        askers
    }

    async fn held(turn: &Turn<'_>) -> Duration {
        let began = Instant::now();
        turn.wait().await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn only_where_many_wait_answers_are_held() {
        for (hosts, seconds) in [(30, 0), (500, 0), (700, 6), (1000, 15), (4000, 15)] {
            let askers = waiting(hosts).await;
            let turn = ask(&askers, 0);
            assert_eq!(held(&turn).await, Duration::from_secs(seconds), "{hosts}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_first_question_and_one_of_another_machine_are_answered_at_once() {
        let askers = waiting(1000).await;
        assert_eq!(held(&ask(&askers, 5000)).await, Duration::ZERO);
        let other = askers.ask(Instant::now(), HostId(1), caller(2), LONGEST);
        assert_eq!(held(&other).await, Duration::ZERO);
        other.refused(Instant::now());
        assert_eq!(held(&ask(&askers, 1)).await, Duration::ZERO, "in turn");
        let busy = askers.ask(Instant::now(), HostId(2), caller(1), Duration::ZERO);
        assert_eq!(held(&busy).await, Duration::ZERO, "no connections left");
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_let_in_gets_a_lost_answer_again_but_not_for_ever() {
        let askers = waiting(1000).await;
        askers.changed([HostId(1)]);
        for times in 1..=3 {
            let turn = ask(&askers, 1);
            assert_eq!(held(&turn).await, Duration::ZERO, "{times}");
            turn.let_in(Instant::now());
            tokio::time::sleep(PAUSE).await;
        }
        let turn = ask(&askers, 1);
        assert_ne!(held(&turn).await, Duration::ZERO);
        turn.let_in(Instant::now());
        askers.changed([HostId(1)]);
        assert_eq!(held(&ask(&askers, 1)).await, Duration::ZERO, "news");
    }

    #[tokio::test(start_paused = true)]
    async fn news_of_a_host_answer_its_client_and_no_other_at_once() {
        let askers = waiting(1000).await;
        let (mine, other) = (ask(&askers, 1), ask(&askers, 2));
        askers.changed([HostId(1), HostId(7000)]);
        assert_eq!(held(&mine).await, Duration::ZERO);
        // Its answer may be of before the change, which is not known.
        mine.refused(Instant::now());
        assert_eq!(held(&ask(&askers, 1)).await, Duration::ZERO);
        let began = Instant::now();
        let all = async {
            tokio::time::sleep(PAUSE).await;
            askers.all_changed();
        };
        tokio::join!(other.wait(), all);
        assert_eq!(began.elapsed(), PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_of_a_host_is_held_at_a_time() {
        let askers = waiting(1000).await;
        let first = ask(&askers, 1);
        let second = ask(&askers, 1);
        assert_eq!(held(&first).await, Duration::ZERO, "given up");
        assert_eq!(held(&second).await, Duration::ZERO);
        first.refused(Instant::now());
        drop(second);
        assert_eq!(held(&ask(&askers, 1)).await, Duration::ZERO, "hung up");
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_no_more_is_forgotten() {
        let askers = waiting(1000).await;
        tokio::time::sleep(FORGOTTEN).await;
        ask(&askers, 1).refused(Instant::now());
        assert_eq!(askers.lock().of_host.len(), 1);
        assert_eq!(askers.lock().waiting, 0);
    }
}
