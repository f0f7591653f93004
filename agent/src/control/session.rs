//! What the server knows of the session: who is missing, and whether it still exists.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fog::encoding::printable;
use fog::task::State;
use fos_api::{MAX_SESSION_VIEW, RefusalCode, SESSION_PATH, SessionView, Stage};
use tokio::sync::Notify;

use super::{CallError, Server};

/// The latest news; shared between the poller and whoever has something to explain.
#[derive(Debug, Clone)]
pub(crate) struct News(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    latest: Mutex<Latest>,
    changed: Condvar,
    /// Somebody cannot wait for the next turn.
    wanted: Notify,
}

/// A copy of the latest news.
#[derive(Debug, Clone)]
pub(crate) struct Latest {
    /// The last answer.
    pub(crate) view: Option<SessionView>,
    /// When the last answer was asked for: it is of this time or later.
    pub(crate) asked: Option<Instant>,
    /// When the server answered last, or when polling began.
    pub(crate) answered: Instant,
    /// Since when no call has failed.
    pub(crate) back_since: Instant,
    /// Since when the server has said that there is no session for this machine, if it does.
    pub(crate) denied_since: Option<Instant>,
    /// Why the last call failed, if it did.
    pub(crate) error: Option<String>,
}

impl Latest {
    /// Before the first answer.
    fn none(now: Instant) -> Self {
        Self {
            view: None,
            asked: None,
            answered: now,
            back_since: now,
            denied_since: None,
            error: None,
        }
    }

    /// The view, if it was asked for after `then` and nothing has failed since.
    pub(crate) fn view_after(&self, then: Instant) -> Option<&SessionView> {
        let is_newer = self.error.is_none() && self.asked? > then;
        self.view.as_ref().filter(|_| is_newer)
    }

    /// Whether the server says that this machine's task goes on.
    pub(crate) fn is_live(&self) -> bool {
        self.error.is_none()
            && self.view.as_ref().is_some_and(|view| {
                view.your_task.is_active() && view.state.is_active() && view.refusal.is_none()
            })
    }

    fn note(&mut self, asked: Instant, answer: Result<SessionView, CallError>) {
        let now = Instant::now();
        match answer {
            Ok(view) => {
                if self.error.is_some() {
                    self.back_since = now;
                }
                *self = Self {
                    view: Some(view),
                    asked: Some(asked),
                    answered: now,
                    back_since: self.back_since,
                    denied_since: None,
                    error: None,
                };
            }
            Err(error) => {
                let is_denied = |_: &Instant| error.denies();
                self.denied_since = self.denied_since.or(Some(now)).filter(is_denied);
                self.error = Some(error.to_string());
            }
        }
    }
}

impl News {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared {
            latest: Mutex::new(Latest::none(Instant::now())),
            changed: Condvar::new(),
            wanted: Notify::new(),
        }))
    }

    pub(crate) fn latest(&self) -> Latest {
        self.with(|latest| latest.clone())
    }

    /// Has the server asked at once, if somebody [watches](watch).
    pub(crate) fn ask(&self) {
        self.0.wanted.notify_one();
    }

    /// Waits for a view that was asked for after `then`, but no longer than `limit`. Not for
    /// asynchronous code.
    pub(crate) fn wait_for_view(&self, then: Instant, limit: Duration) -> Latest {
        let latest = self.0.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let is_older = |latest: &mut Latest| latest.view_after(then).is_none();
        let (latest, _) = self
            .0
            .changed
            .wait_timeout_while(latest, limit, is_older)
            .unwrap_or_else(PoisonError::into_inner);
        latest.clone()
    }

    fn with<T>(&self, access: impl FnOnce(&mut Latest) -> T) -> T {
        let mut latest = self.0.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let result = access(&mut latest);
        drop(latest);
        self.0.changed.notify_all();
        result
    }

    /// As if the server had answered just now.
    #[cfg(test)]
    pub(crate) fn put(&self, view: SessionView) {
        self.with(|latest| latest.note(Instant::now(), Ok(view)));
    }

    /// As if a call to the server had failed just now.
    #[cfg(test)]
    pub(crate) fn fail(&self, error: CallError) {
        self.with(|latest| latest.note(Instant::now(), Err(error)));
    }
}

/// Why this machine must stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Over {
    /// For people.
    pub(crate) text: String,
    pub(crate) kind: OverKind,
    /// Whether the text says already what has become of this machine's disk.
    pub(crate) tells_of_disk: bool,
}

/// What can be made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OverKind {
    /// The server has given this machine up: it may know less of the reason than the machine itself.
    GivenUp,
    /// The session is over, or somebody has ended the task.
    Ended,
    /// Only a restart helps.
    Restart,
}

/// Asks once.
///
/// # Errors
/// If the server cannot say.
pub(crate) async fn view(server: &Server) -> Result<SessionView, CallError> {
    server.json(SESSION_PATH, MAX_SESSION_VIEW).await
}

/// Polls until the session is over for this machine; answers the reason. Every `pause`, or less often
/// if the server wants that.
pub(crate) async fn watch(server: &Server, news: &News, pause: Duration) -> Over {
    loop {
        let asked = Instant::now();
        let answer = view(server).await;
        server.places().note(&answer);
        let reason = answer.as_ref().ok().and_then(over);
        let pause = answer.as_ref().map_or(pause, |view| rhythm(view, pause));
        news.with(|latest| latest.note(asked, answer));
        if let Some(reason) = reason {
            return reason;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = news.0.wanted.notified() => {}
        }
    }
}

/// After which time to ask again.
fn rhythm(view: &SessionView, pause: Duration) -> Duration {
    let wanted = view.ask_again_seconds.unwrap_or_default().into();
    pause.max(Duration::from_secs(wanted).min(LONGEST_PAUSE))
}

/// A server cannot ask for a longer one: its end would be noticed too late.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Why this machine must stop, if it must: it is refused, or its task or the whole session is over
/// without success.
pub(crate) fn over(view: &SessionView) -> Option<Over> {
    if let Some(refusal) = &view.refusal {
        let kind = if refusal.code == RefusalCode::Restart {
            OverKind::Restart
        } else {
            OverKind::Ended
        };
        let text = printable(&refusal.text, 400);
        return Some(Over {
            text,
            kind,
            tells_of_disk: false,
        });
    }
    let text = printable(&view.text, 400);
    let because = if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    };
    if view.your_task == State::Complete {
        return None;
    }
    let (what, state) = if view.your_task.is_active() {
        ("the multicast session", view.state)
    } else {
        ("this machine's task", view.your_task)
    };
    let (kind, verb) = match state {
        State::Cancelled => (OverKind::Ended, "was cancelled"),
        State::Failed if view.your_task == State::Failed => (OverKind::GivenUp, "has failed"),
        State::Failed => (OverKind::Ended, "has failed"),
        _ => return None,
    };
    let text = format!("{what} {verb} on the server{because}");
    Some(Over {
        text,
        kind,
        // Of a task that has ended our server says what is known of its disk, of a session nothing.
        tells_of_disk: !view.your_task.is_active(),
    })
}

/// Why the stream numbered `wanted` (from 1) will never come, if it will not.
pub(crate) fn left_behind(view: &SessionView, wanted: usize) -> Option<String> {
    let due = view.your_stream.and_then(|due| usize::try_from(due).ok());
    if due.is_some_and(|due| due <= wanted) {
        return None;
    }
    let text = printable(&view.text, 400);
    if view.stage == Stage::Ended || view.stage == Stage::Finishing {
        return Some(format!(
            "the session has sent everything, but this machine did not get stream {wanted}; \
             deploy it again ({text})"
        ));
    }
    let now = view.stream.as_ref()?;
    let number = usize::try_from(now.number).unwrap_or(usize::MAX);
    let is_missed = number > wanted;
    is_missed.then(|| {
        format!(
            "this machine missed stream {wanted}: the session is at stream {number} of {} ({}); \
             deploy it again",
            now.count, now.name
        )
    })
}

/// What to say while waiting since `since`: who is in, who is missing, how long it can take. Older
/// news are of another wait.
pub(crate) fn explain(latest: &Latest, since: Instant, now: Instant) -> Vec<String> {
    let view = latest.view.as_ref().filter(|_| latest.answered >= since);
    view.map(explain_view)
        .into_iter()
        .chain(explain_silence(latest, now))
        .collect()
}

/// What to say when the web server does not answer.
pub(crate) fn explain_silence(latest: &Latest, now: Instant) -> Option<String> {
    let error = latest.error.as_ref()?;
    let silent = now.saturating_duration_since(latest.answered);
    Some(format!(
        "the web server has not answered for {}: {error}",
        roughly(silent)
    ))
}

/// A time that does not change with every look: a new text is a new line on a serial console.
fn roughly(time: Duration) -> String {
    match time.as_secs() {
        0..30 => "some seconds".to_owned(),
        30..90 => "about a minute".to_owned(),
        seconds => format!("about {} minutes", (seconds + 30) / 60),
    }
}

fn explain_view(view: &SessionView) -> String {
    let in_now = match view.stage {
        Stage::Gathering => view.connected,
        _ => view.checked_in,
    };
    let mut text = format!("{in_now} of {} clients are in", view.expected);
    if !view.missing.is_empty() {
        let names: Vec<String> = view
            .missing
            .iter()
            .take(8)
            .map(|name| printable(name, 40))
            .collect();
        text.push_str(&format!("; missing: {}", names.join(", ")));
        let more = view.missing.len().saturating_sub(names.len());
        if more > 0 {
            text.push_str(&format!(" and {more} more"));
        }
    }
    if let Some(seconds) = view.starts_in_seconds {
        let left = roughly(Duration::from_secs(seconds));
        text.push_str(&format!("; starts without them in {left}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use fog::store::StreamName;
    use fos_api::StreamNow;

    use super::super::test_server::{Reply, TestServer};
    use fos_api::Refusal;

    use super::*;

    fn view() -> SessionView {
        SessionView {
            session: 3,
            state: State::InProgress,
            stage: Stage::Gathering,
            expected: 3,
            checked_in: 3,
            connected: 2,
            missing: vec!["LAB-03".into()],
            stream: Some(StreamNow {
                number: 1,
                count: 3,
                name: StreamName::of_file("d1p1.img"),
                run: 0,
                acked: 0,
                len: 100,
            }),
            your_stream: None,
            records: Some(true),
            stage_seconds: 12,
            starts_in_seconds: None,
            ask_again_seconds: None,
            site: None,
            your_task: State::InProgress,
            text: "waiting for receivers".into(),
            refusal: None,
        }
    }

    #[test]
    fn the_wait_names_who_is_missing() {
        let now = Instant::now();
        let mut latest = Latest::none(now);
        latest.view = Some(view());
        assert_eq!(
            explain(&latest, now, now),
            ["2 of 3 clients are in; missing: LAB-03"]
        );
        latest.view.as_mut().unwrap().starts_in_seconds = Some(583);
        assert!(
            explain(&latest, now, now)[0].ends_with("; starts without them in about 10 minutes")
        );
        latest.error = Some("connection refused".into());
        let lines = explain(&latest, now, now + Duration::from_secs(34));
        assert!(explain(&latest, now + Duration::from_secs(1), now).len() == 1);
        assert_eq!(
            lines[1],
            "the web server has not answered for about a minute: connection refused"
        );
    }

    #[test]
    fn a_cancelled_or_failed_session_ends_the_wait() {
        assert_eq!(over(&view()), None);
        let mut ended = view();
        ended.state = State::Cancelled;
        ended.text = "cancelled by\x07admin".into();
        let found = over(&ended).unwrap();
        assert_eq!(
            found.text,
            "the multicast session was cancelled on the server: cancelled by admin"
        );
        assert_eq!((found.kind, found.tells_of_disk), (OverKind::Ended, false));
        let mut task = ended.clone();
        task.your_task = State::Cancelled;
        let found = over(&task).unwrap();
        assert_eq!((found.kind, found.tells_of_disk), (OverKind::Ended, true));
        let mut dropped = view();
        dropped.your_task = State::Failed;
        let found = over(&dropped).unwrap();
        assert!(found.text.contains("this machine's task has failed"));
        assert_eq!((found.kind, found.tells_of_disk), (OverKind::GivenUp, true));
        let mut done = view();
        done.state = State::Complete;
        assert_eq!(over(&done), None);
        // Its own part went well.
        let mut done = view();
        done.your_task = State::Complete;
        done.state = State::Failed;
        assert_eq!(over(&done), None);
    }

    #[test]
    fn a_refusal_says_whether_a_restart_helps() {
        let mut refused = view();
        for (code, kind) in [("restart", OverKind::Restart), ("later", OverKind::Ended)] {
            refused.refusal = Some(Refusal {
                code: code.into(),
                text: "these kernel arguments are of\x07session 2".into(),
            });
            let found = over(&refused).unwrap();
            assert_eq!((found.kind, found.tells_of_disk), (kind, false));
            assert_eq!(found.text, "these kernel arguments are of session 2");
        }
    }

    #[test]
    fn news_are_as_old_as_their_question() {
        let news = News::new();
        let start = Instant::now();
        assert_eq!(news.latest().view_after(start), None);
        news.put(view());
        let latest = news.wait_for_view(start, Duration::from_secs(60));
        assert_eq!(latest.view_after(start), Some(&view()));
        assert!(latest.is_live());
        assert_eq!(latest.view_after(Instant::now()), None);
        let url = String::new();
        let unreachable = CallError::Unreachable {
            url: url.clone(),
            cause: "refused".into(),
        };
        news.fail(unreachable);
        let latest = news.wait_for_view(start, Duration::ZERO);
        assert_eq!(latest.view_after(start), None);
        assert!(!latest.is_live() && latest.denied_since.is_none());
        let denied = CallError::Status {
            url,
            status: 404,
            text: "no session".into(),
        };
        news.fail(denied.clone());
        let since = news.latest().denied_since.unwrap();
        news.fail(denied);
        assert_eq!(news.latest().denied_since, Some(since));
        let back = Instant::now();
        news.put(view());
        let latest = news.latest();
        assert!(latest.denied_since.is_none() && latest.back_since >= back);
    }

    #[test]
    fn a_missed_stream_is_noticed() {
        let mut later = view();
        assert_eq!(left_behind(&later, 1), None);
        later.stream.as_mut().unwrap().number = 2;
        assert!(left_behind(&later, 1).unwrap().contains("missed stream 1"));
        assert_eq!(left_behind(&later, 2), None);
        // The server itself has the last word on what this machine still needs.
        later.your_stream = Some(1);
        assert_eq!(left_behind(&later, 1), None);
        later.your_stream = Some(2);
        assert!(left_behind(&later, 1).is_some());
        later.stage = Stage::Ended;
        later.your_stream = None;
        assert!(
            left_behind(&later, 2)
                .unwrap()
                .contains("did not get stream 2")
        );
    }

    #[test]
    fn a_server_with_a_large_room_is_asked_less_often() {
        let own = Duration::from_secs(2);
        let mut large = view();
        for (wanted, expected) in [
            (None, 2),
            (Some(0), 2),
            (Some(1), 2),
            (Some(5), 5),
            (Some(u32::MAX), 10),
        ] {
            large.ask_again_seconds = wanted;
            assert_eq!(rhythm(&large, own), Duration::from_secs(expected));
        }
    }

    #[tokio::test]
    async fn the_watch_ends_with_the_reason() {
        let mut ended = view();
        ended.state = State::Failed;
        ended.text = "image file vanished".into();
        let json = serde_json::to_string(&ended).unwrap();
        let server = TestServer::start(move |_| Reply::text(&json));
        let news = News::new();
        let reason = watch(&server.client(), &news, Duration::from_millis(1)).await;
        assert!(reason.text.ends_with("image file vanished"), "{reason:?}");
        assert_eq!(news.latest().view.unwrap(), ended);
    }
}
