//! The check-in loop: asks until the server says go, and never gives up by itself.

use std::time::Duration;

use fog::checkin::CheckinAnswer;
use fos_api::{FIELD_ADDRESS, FIELD_AGENT};
use tokio::sync::Notify;

use super::http::{AGENT, CALL_TIMEOUT};
use super::session::{self, News, Over, OverKind};
use super::{CallError, Server};
use crate::screen::Board;

/// FOG's rhythm.
pub(crate) const PAUSE: Duration = Duration::from_secs(5);

/// Waits until this machine is let in. A task that is over will never be, but only our own server can tell
/// that, and what it says of a session counts only once it has not let this machine in: a check-in without
/// a ticket may be the beginning of another session.
///
/// # Errors
/// Why it will never be.
pub(crate) async fn let_in(server: &Server, board: &Board, pause: Duration) -> Result<(), Over> {
    let news = News::new();
    let refused = Notify::new();
    let over = async {
        refused.notified().await;
        tokio::select! {
            over = session::watch(server, &news, pause) => over,
            over = never(&news, NEVER) => over,
        }
    };
    tokio::select! {
        () = check_in(server, board, pause, &refused) => Ok(()),
        over = over => Err(over),
    }
}

/// Asks every `pause` until the answer is `##@GO`. Whatever else the server says is shown, and `refused` is
/// told of it.
async fn check_in(server: &Server, board: &Board, pause: Duration, refused: &Notify) {
    loop {
        match ask(server).await {
            Ok(CheckinAnswer::Go) => break,
            Ok(CheckinAnswer::Wait(text)) => {
                refused.notify_one();
                let said = if text.is_empty() {
                    "the server answered with an empty text; look into its error log".to_owned()
                } else {
                    format!("the server says: {text}")
                };
                board.wait_for(WHAT, vec![said]);
            }
            Err(error) => board.wait_for(WHAT, vec![error.to_string(), hint(&error)]),
        }
        tokio::time::sleep(pause).await;
    }
    board.go_on();
}

/// Waits until the server has denied for `limit` that this machine has a session: then its kernel
/// arguments are of a job that is no more, and nothing but a restart brings others.
async fn never(news: &News, limit: Duration) -> Over {
    loop {
        let latest = news.latest();
        if let (Some(since), Some(error)) = (latest.denied_since, latest.error)
            && since.elapsed() >= limit
        {
            return Over {
                text: format!("the server has no session for this machine: {error}"),
                kind: OverKind::Restart,
                tells_of_disk: false,
            };
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn ask(server: &Server) -> Result<CheckinAnswer, CallError> {
    let address = server.own_address().map(|address| address.to_string());
    let mut fields = vec![("type", "down"), (FIELD_AGENT, AGENT)];
    if let Some(address) = &address {
        fields.push((FIELD_ADDRESS, address));
    }
    let body = server.post("mc_checkin.php", &fields, CALL_TIMEOUT).await?;
    Ok(CheckinAnswer::parse(&body))
}

fn hint(error: &CallError) -> String {
    match error {
        CallError::Unreachable { .. } => {
            "check that the server runs and that nothing blocks the way to its web port".into()
        }
        _ => "look into the server's error log".into(),
    }
}

/// Longer than a server needs to set up a session.
const NEVER: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(500);
/// Does not change while waiting, so that the clock on the screen is the time in line.
const WHAT: &str = "the server's go-ahead";

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use fog::task::State;
    use fos_api::{Refusal, RefusalCode, SessionView, Stage};

    use super::super::test_server::{Reply, TestServer};
    use super::*;

    const QUICK: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn only_the_exact_token_ends_the_loop() {
        let count = AtomicUsize::new(0);
        let server = TestServer::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::text("No open slots, There&#039;s one before me"),
            1 => Reply::text("#!@GO"),
            2 => Reply::status(500, "<html>oops</html>"),
            3 => Reply::text(""),
            4 => Reply::text("##@GO later"),
            _ => Reply::text("##@GO\n"),
        });
        let board = Board::default();
        check_in(&server.client(), &board, QUICK, &Notify::new()).await;
        let requests = server.requests();
        assert_eq!(requests.len(), 6);
        for request in requests {
            assert_eq!(request.path, "/fog/service/mc_checkin.php");
            assert_eq!(request.field("type").as_deref(), Some("down"));
            assert_eq!(request.field("agent").as_deref(), Some(AGENT));
        }
        board.read(|state| assert_eq!(state.wait, None));
    }

    /// A machine whose kernel arguments have no ticket, booted for a session that is over: the same image is
    /// deployed again. The server lets it in, and refuses it for as long as it has not asked.
    #[tokio::test]
    async fn only_a_machine_that_was_not_let_in_is_told_to_restart() {
        for (answer, is_let_in) in [("##@GO", true), ("Restart this machine", false)] {
            let view = serde_json::to_string(&refused()).unwrap();
            let server =
                TestServer::start(
                    move |request| match request.path.ends_with("mc_checkin.php") {
                        true => Reply::text(answer),
                        false => Reply::text(&view),
                    },
                );
            let let_in = let_in(&server.client(), &Board::default(), QUICK).await;
            let kind = let_in.map_err(|over| over.kind);
            let expected = is_let_in.then_some(()).ok_or(OverKind::Restart);
            assert_eq!(kind, expected, "{answer}");
        }
    }

    fn refused() -> SessionView {
        SessionView {
            session: 2,
            state: State::New,
            stage: Stage::Gathering,
            expected: 1,
            checked_in: 0,
            connected: 0,
            missing: Vec::new(),
            stream: None,
            your_stream: None,
            records: None,
            stage_seconds: 0,
            starts_in_seconds: None,
            ask_again_seconds: None,
            your_task: State::Queued,
            text: String::new(),
            refusal: Some(Refusal {
                code: RefusalCode::Restart,
                text: "it was booted for session 1".into(),
            }),
        }
    }

    #[tokio::test]
    async fn a_session_that_is_denied_for_long_needs_a_restart() {
        let news = News::new();
        let unreachable = CallError::Unreachable {
            url: "http://10.0.0.5/".into(),
            cause: "connection refused".into(),
        };
        news.fail(unreachable);
        let denied = CallError::Status {
            url: "http://10.0.0.5/fog/service/fos/session".into(),
            status: 404,
            text: "host LAB-01 was never in a session".into(),
        };
        let deny = async {
            tokio::task::yield_now().await;
            news.fail(denied);
        };
        let (over, ()) = tokio::join!(never(&news, Duration::ZERO), deny);
        assert_eq!(over.kind, OverKind::Restart);
        assert!(over.text.contains("never in a session"), "{over:?}");
    }

    #[tokio::test]
    async fn the_own_address_is_said_once_it_is_known() {
        let server = TestServer::start(|request| {
            let is_checkin = request.path.ends_with("mc_checkin.php");
            Reply::text(if is_checkin { "##@GO" } else { "fosnative1" })
        });
        let client = server.client();
        client.capabilities().await.unwrap();
        check_in(&client, &Board::default(), QUICK, &Notify::new()).await;
        let request = server.requests().remove(1);
        assert_eq!(request.field("address").as_deref(), Some("127.0.0.1"));
    }

    #[tokio::test]
    async fn every_other_answer_is_shown_unescaped() {
        let server = TestServer::start(|_| Reply::text("There&#039;s no slot"));
        let board = Board::default();
        let shown = async {
            loop {
                if let Some(wait) = board.read(|state| state.wait.clone()) {
                    break wait;
                }
                tokio::task::yield_now().await;
            }
        };
        let client = server.client();
        let never_heard = Notify::new();
        let wait = tokio::select! {
            () = check_in(&client, &board, QUICK, &never_heard) => panic!("no go was given"),
            wait = shown => wait,
        };
        assert_eq!(wait.what, "the server's go-ahead");
        assert_eq!(wait.advice, ["the server says: There's no slot"]);
    }

    #[tokio::test]
    async fn a_dead_server_is_not_an_answer() {
        let board = Board::default();
        let shown = async {
            loop {
                if let Some(wait) = board.read(|state| state.wait.clone()) {
                    break wait;
                }
                tokio::task::yield_now().await;
            }
        };
        let client = TestServer::dead_client();
        let never_heard = Notify::new();
        let wait = tokio::select! {
            () = check_in(&client, &board, QUICK, &never_heard) => panic!("no go was given"),
            wait = shown => wait,
        };
        assert!(wait.advice[0].contains("cannot be reached"), "{wait:?}");
    }
}
