//! Failures and warnings for the server, `taskerror.php` (FOG 1.6 and ours; 404 elsewhere).

use std::time::{Duration, Instant};

use fog::encoding::{printable, unescape_html};

use super::backoff::Backoff;
use super::{CallError, Server, answer};
use crate::screen::Board;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The task has failed.
    Error,
    /// It goes on, but somebody should know.
    Warning,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Why a report is not stored at the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotStored {
    #[error(transparent)]
    Call(#[from] CallError),
    /// Only `##` means that it is stored.
    #[error("the server did not store the report; it says: {0}")]
    Refused(String),
}

impl NotStored {
    /// What to do about it.
    fn advice(&self) -> &'static str {
        match self {
            Self::Call(error) if error.denies() => MISSING,
            _ => WHY,
        }
    }
}

/// Reports to the server; one try, as the contract has it.
///
/// # Errors
/// If the server did not say that it has stored the report.
pub(crate) async fn tell(
    server: &Server,
    severity: Severity,
    text: &str,
    part: &str,
) -> Result<(), NotStored> {
    // The server keeps 8192 bytes; cut at a character.
    let cut = text.floor_char_boundary(8000);
    let fields = [
        ("type", severity.word()),
        ("text", &text[..cut]),
        ("script", part),
    ];
    let body = server.post("taskerror.php", &fields, TIMEOUT).await?;
    if fog::checkin::is_done(&body) {
        return Ok(());
    }
    Err(NotStored::Refused(printable(&unescape_html(&body), 400)))
}

/// How long a report of a failure is repeated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Between the first two tries; doubles up to `longest_pause`.
    pub(crate) pause: Duration,
    pub(crate) longest_pause: Duration,
    /// Answers that do not store the report, in a row, until that is the server's last word.
    pub(crate) refusals: u32,
    /// From the first try to the last one.
    pub(crate) limit: Duration,
}

impl Default for Patience {
    /// Long enough for a server that is restarted.
    fn default() -> Self {
        Self {
            pause: Duration::from_secs(2),
            longest_pause: Duration::from_secs(15),
            refusals: 8,
            limit: Duration::from_secs(300),
        }
    }
}

/// Reports a failure until it is stored: one that the server does not know is started again.
///
/// # Errors
/// The last error, once the patience is over or another try cannot help.
pub(crate) async fn tell_failure(
    server: &Server,
    board: &Board,
    text: &str,
    part: &str,
    patience: Patience,
) -> Result<(), NotStored> {
    let start = Instant::now();
    let mut backoff = Backoff::new(patience.pause, patience.longest_pause);
    let mut refusals = 0;
    loop {
        let error = match answer(board, WHAT, tell(server, Severity::Error, text, part)).await {
            Ok(()) => {
                board.go_on();
                return Ok(());
            }
            Err(error) => error,
        };
        let may_help = match &error {
            NotStored::Call(call) => {
                refusals = 0;
                call.is_temporary()
            }
            NotStored::Refused(_) => {
                refusals += 1;
                refusals < patience.refusals
            }
        };
        if !may_help || start.elapsed() >= patience.limit {
            board.go_on();
            return Err(error);
        }
        board.wait_for(WHAT, vec![error.to_string(), error.advice().into()]);
        tokio::time::sleep(backoff.pause()).await;
    }
}

/// Reports a failure until it is stored, whatever the server says meanwhile: for a machine that has
/// nothing else to do, and somebody may mend the server.
pub(crate) async fn tell_until_stored(
    server: &Server,
    board: &Board,
    text: &str,
    part: &str,
    mut pauses: Backoff,
) {
    while let Err(error) = answer(board, WHAT, tell(server, Severity::Error, text, part)).await {
        let advice = error.advice().into();
        board.wait_for(WHAT, vec![error.to_string(), advice, ENTER.into()]);
        tokio::time::sleep(pauses.pause()).await;
    }
    board.go_on();
}

const ENTER: &str = "Enter restarts this machine without the report";
const WHAT: &str = "the server to take the report of the failure";
const WHY: &str = "a server that does not know of it may start the task again; check that the \
                   server runs";
const MISSING: &str = "FOG takes reports of failures since version 1.6 only: cancel this machine's task on the \
                       server, or it is started again";
const TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::test_server::{Reply, TestServer};
    use super::*;

    const QUICK: Patience = Patience {
        pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(1),
        refusals: 8,
        limit: Duration::from_secs(300),
    };

    async fn report(server: &Server, patience: Patience) -> Result<(), NotStored> {
        tell_failure(server, &Board::default(), "it broke", "streams", patience).await
    }

    #[tokio::test]
    async fn failures_are_told_in_fogs_fields() {
        let server = TestServer::start(|_| Reply::text("##"));
        let long = "ä".repeat(6000);
        let client = server.client();
        tell_failure(&client, &Board::default(), &long, "streams", QUICK)
            .await
            .unwrap();
        let request = server.requests().remove(0);
        assert_eq!(request.path, "/fog/service/taskerror.php");
        assert_eq!(request.field("type").as_deref(), Some("error"));
        assert_eq!(request.field("script").as_deref(), Some("streams"));
        assert_eq!(request.field("text").unwrap(), "ä".repeat(4000));
    }

    #[tokio::test]
    async fn only_a_stored_report_counts() {
        let count = AtomicU32::new(0);
        let server = TestServer::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::status(503, "starting"),
            1 => Reply::text("the database is locked"),
            2 => Reply::text(""),
            3 => Reply::text("## "),
            _ => Reply::text("##\n"),
        });
        report(&server.client(), QUICK).await.unwrap();
        assert_eq!(server.requests().len(), 5);
    }

    #[tokio::test]
    async fn a_server_that_is_restarted_is_waited_for_and_that_is_shown() {
        let client = TestServer::dead_client();
        let board = Board::default();
        let shown = async {
            loop {
                if let Some(wait) = board.read(|state| state.wait.clone()) {
                    break wait;
                }
                tokio::task::yield_now().await;
            }
        };
        let wait = tokio::select! {
            done = tell_failure(&client, &board, "x", "y", QUICK) => panic!("{done:?}"),
            wait = shown => wait,
        };
        assert!(wait.what.contains("report of the failure"), "{wait:?}");
        assert!(wait.advice[0].contains("cannot be reached"), "{wait:?}");
    }

    #[tokio::test]
    async fn patience_has_an_end() {
        let none = Patience {
            limit: Duration::ZERO,
            ..QUICK
        };
        let error = report(&TestServer::dead_client(), none).await.unwrap_err();
        assert!(matches!(error, NotStored::Call(_)), "{error}");

        let server = TestServer::start(|_| Reply::text("No active task"));
        let error = report(&server.client(), QUICK).await.unwrap_err();
        assert_eq!(error, NotStored::Refused("No active task".into()));
        assert_eq!(server.requests().len(), 8);
    }

    #[tokio::test]
    async fn a_server_without_the_endpoint_is_asked_once() {
        for reply in [
            Reply::status(404, "not here"),
            Reply::status(403, ""),
            Reply::redirect("http://198.51.100.5/fog/management/index.php"),
        ] {
            let server = TestServer::start(move |_| reply.clone());
            let error = report(&server.client(), QUICK).await.unwrap_err();
            assert_eq!(server.requests().len(), 1);
            assert!(error.advice().contains("cancel this machine's task"));
        }
    }
}
