//! The completion report, `Post_Stage3.php`.

use std::time::{Duration, Instant};

use fog::encoding::{printable, unescape_html};

use super::Server;
use super::http::CALL_TIMEOUT;
use crate::screen::Board;

/// How often and how long completion is reported.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Between two tries.
    pub(crate) pause: Duration,
    /// Tries that must be answered with a text before it counts as the server's last word. FOG's own
    /// client makes 11.
    pub(crate) refusals: u32,
    /// How long a server that does not answer is waited for.
    pub(crate) silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            pause: Duration::from_secs(5),
            refusals: 11,
            silence: Duration::from_secs(600),
        }
    }
}

/// How the report was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Completion {
    /// The server knows.
    Accepted,
    /// The server answered, but kept saying something else (its last text).
    Refused(String),
    /// The server did not answer for too long (the last error).
    Unanswered(String),
}

/// Reports completion until the server says `##`.
pub(crate) async fn report(server: &Server, board: &Board, patience: Patience) -> Completion {
    let mut refusals = 0;
    let mut last_answer = Instant::now();
    loop {
        let answer = server
            .post("Post_Stage3.php", &[("type", "down")], CALL_TIMEOUT)
            .await;
        match answer {
            Ok(body) if fog::checkin::is_done(&body) => {
                board.go_on();
                return Completion::Accepted;
            }
            Ok(body) => {
                let text = printable(&unescape_html(&body), 400);
                refusals += 1;
                last_answer = Instant::now();
                if refusals >= patience.refusals {
                    return Completion::Refused(text);
                }
                board.wait_for(WHAT, vec![format!("the server says: {text}")]);
            }
            Err(error) => {
                if last_answer.elapsed() >= patience.silence {
                    return Completion::Unanswered(error.to_string());
                }
                board.wait_for(
                    WHAT,
                    vec![
                        error.to_string(),
                        "all data is on the disk; only the report is missing".into(),
                    ],
                );
            }
        }
        tokio::time::sleep(patience.pause).await;
    }
}

const WHAT: &str = "the server to take the completion report";

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::test_server::{Reply, TestServer};
    use super::*;

    const QUICK: Patience = Patience {
        pause: Duration::from_millis(1),
        refusals: 11,
        silence: Duration::ZERO,
    };

    #[tokio::test]
    async fn the_report_is_repeated_until_it_is_taken() {
        let count = AtomicU32::new(0);
        let server = TestServer::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0..=8 => Reply::text("Failed to update task"),
            9 => Reply::text("## "),
            _ => Reply::text("##\n"),
        });
        let done = report(&server.client(), &Board::default(), QUICK).await;
        assert_eq!(done, Completion::Accepted);
        let requests = server.requests();
        assert_eq!(requests.len(), 11);
        assert_eq!(requests[0].path, "/fog/service/Post_Stage3.php");
        assert_eq!(requests[0].field("type").as_deref(), Some("down"));
    }

    #[tokio::test]
    async fn a_server_that_keeps_refusing_is_told_from_one_that_is_silent() {
        let server = TestServer::start(|_| Reply::text("No active task for LAB-01"));
        let done = report(&server.client(), &Board::default(), QUICK).await;
        assert_eq!(
            done,
            Completion::Refused("No active task for LAB-01".into())
        );
        assert_eq!(server.requests().len(), 11);

        let done = report(&TestServer::dead_client(), &Board::default(), QUICK).await;
        assert!(matches!(done, Completion::Unanswered(_)), "{done:?}");
    }
}
