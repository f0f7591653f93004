//! What the server knows of the session: who is missing, and whether it still exists.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fog::encoding::printable;
use fog::native::{SESSION_PATH, SessionView, Stage};
use fog::task::State;

use super::Server;

/// The latest news; shared between the poller and whoever has something to explain.
#[derive(Debug, Clone)]
pub(crate) struct News(Arc<Mutex<Latest>>);

/// A copy of the latest news.
#[derive(Debug, Clone)]
pub(crate) struct Latest {
    /// The last answer.
    pub(crate) view: Option<SessionView>,
    /// When the server answered last, or when polling began.
    pub(crate) answered: Instant,
    /// Why the last call failed, if it did.
    pub(crate) error: Option<String>,
}

impl News {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Latest {
            view: None,
            answered: Instant::now(),
            error: None,
        })))
    }

    pub(crate) fn latest(&self) -> Latest {
        self.with(|latest| latest.clone())
    }

    fn with<T>(&self, access: impl FnOnce(&mut Latest) -> T) -> T {
        access(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Polls until the session gives this machine up; answers the reason.
pub(crate) async fn watch(server: &Server, news: &News, pause: Duration) -> String {
    loop {
        match server.json::<SessionView>(SESSION_PATH).await {
            Ok(view) => {
                let reason = given_up(&view);
                news.with(|latest| {
                    *latest = Latest {
                        view: Some(view),
                        answered: Instant::now(),
                        error: None,
                    };
                });
                if let Some(reason) = reason {
                    return reason;
                }
            }
            Err(error) => news.with(|latest| latest.error = Some(error.to_string())),
        }
        tokio::time::sleep(pause).await;
    }
}

/// Why this machine must stop, if it must: its task or the whole session is over without success.
pub(crate) fn given_up(view: &SessionView) -> Option<String> {
    let text = printable(&view.text, 400);
    let because = if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    };
    for (what, state) in [
        ("this machine's task", view.your_task),
        ("the multicast session", view.state),
    ] {
        let word = match state {
            State::Cancelled => "was cancelled",
            State::Failed => "has failed",
            _ => continue,
        };
        return Some(format!("{what} {word} on the server{because}"));
    }
    None
}

/// Why the stream numbered `wanted` (from 1) will never come, if it will not.
pub(crate) fn left_behind(view: &SessionView, wanted: usize) -> Option<String> {
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
    use fog::native::StreamNow;
    use fog::store::StreamName;

    use super::super::test_server::{Reply, TestServer};
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
                acked: 0,
                len: 100,
                run: 0,
            }),
            records: Some(true),
            stage_seconds: 12,
            starts_in_seconds: None,
            your_task: State::InProgress,
            text: "waiting for receivers".into(),
            your_stream: None,
            refusal: None,
        }
    }

    #[test]
    fn the_wait_names_who_is_missing() {
        let now = Instant::now();
        let mut latest = Latest {
            view: Some(view()),
            answered: now,
            error: None,
        };
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
        assert_eq!(given_up(&view()), None);
        let mut ended = view();
        ended.state = State::Cancelled;
        ended.text = "cancelled by\x07admin".into();
        assert_eq!(
            given_up(&ended).unwrap(),
            "the multicast session was cancelled on the server: cancelled by admin"
        );
        let mut dropped = view();
        dropped.your_task = State::Failed;
        assert!(
            given_up(&dropped)
                .unwrap()
                .contains("this machine's task has failed")
        );
        let mut done = view();
        done.state = State::Complete;
        assert_eq!(given_up(&done), None);
    }

    #[test]
    fn a_missed_stream_is_noticed() {
        let mut later = view();
        assert_eq!(left_behind(&later, 1), None);
        later.stream.as_mut().unwrap().number = 2;
        assert!(left_behind(&later, 1).unwrap().contains("missed stream 1"));
        assert_eq!(left_behind(&later, 2), None);
        later.stage = Stage::Ended;
        assert!(
            left_behind(&later, 2)
                .unwrap()
                .contains("did not get stream 2")
        );
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
        assert!(reason.ends_with("image file vanished"), "{reason}");
        assert_eq!(news.latest().view.unwrap(), ended);
    }
}
