//! The completion report, `Post_Stage3.php`.

use std::time::{Duration, Instant};

use fog::encoding::{printable, unescape_html};

use fog::KernelArgs;

use super::backoff::Backoff;
use super::http::CALL_TIMEOUT;
use super::{Server, answer, boot_script};
use crate::screen::Board;

/// How often and how long completion is reported.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Between the first two tries; doubles up to `longest_pause`.
    pub(crate) pause: Duration,
    pub(crate) longest_pause: Duration,
    /// Tries that must be answered with a text before it counts as the server's last word. FOG's own
    /// client makes 11. As long as the server says that the task goes on, none of them counts.
    pub(crate) refusals: u32,
    /// How long a server that does not answer is waited for.
    pub(crate) silence: Duration,
    /// From the first try to the last one, whatever the server says.
    pub(crate) limit: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            pause: Duration::from_secs(2),
            longest_pause: Duration::from_secs(15),
            refusals: 11,
            silence: Duration::from_secs(600),
            limit: Duration::from_secs(3600),
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
    /// The server has another task for this machine by now: it would take the report for that one. What it is.
    Replaced(String),
    /// The server did not answer for too long (the last error).
    Unanswered(String),
}

/// Reports completion until the server says `##`: nothing else means that it is stored. `is_live`
/// answers whether the server says that this machine's task goes on.
///
/// One of FOG's own servers takes a report for whatever task the host has: before each one it is asked whether that
/// still is `own`.
pub(crate) async fn report(
    server: &Server,
    own: &KernelArgs,
    board: &Board,
    patience: Patience,
    is_live: impl Fn() -> bool,
) -> Completion {
    let mut refusals = 0;
    let mut backoff = Backoff::new(patience.pause, patience.longest_pause);
    let start = Instant::now();
    let mut last_answer = start;
    let (endpoint, good) = match own.is_capture() {
        true => ("Post_Stage2.php", CAPTURED),
        false => ("Post_Stage3.php", GOOD),
    };
    let mut fields = vec![("type", if own.is_capture() { "up" } else { "down" })];
    // FOG's contract has it for captures alone.
    let os_id = own.value("osid").filter(|_| own.is_capture());
    fields.extend(os_id.map(|os_id| ("osid", os_id)));
    loop {
        let answer = match answer(board, WHAT, task(server, own)).await {
            Task::Own => {
                let report = server.post(endpoint, &fields, CALL_TIMEOUT);
                answer(board, WHAT, report).await
            }
            Task::Nothing => Ok("there is no task for this machine any more".to_owned()),
            Task::Other(text) => {
                board.go_on();
                return Completion::Replaced(text);
            }
        };
        let is_late = start.elapsed() >= patience.limit;
        let advice = match answer {
            Ok(body) if fog::checkin::is_done(&body) => {
                board.go_on();
                return Completion::Accepted;
            }
            Ok(body) => {
                let text = printable(&unescape_html(&body), 400);
                last_answer = Instant::now();
                refusals = if is_live() { 0 } else { refusals + 1 };
                if refusals >= patience.refusals || is_late {
                    return Completion::Refused(text);
                }
                format!("the server says: {text}")
            }
            Err(error) => {
                if last_answer.elapsed() >= patience.silence || is_late {
                    return Completion::Unanswered(error.to_string());
                }
                error.to_string()
            }
        };
        board.wait_for(WHAT, vec![advice, good.into()]);
        tokio::time::sleep(backoff.pause()).await;
    }
}

/// What the server has for this machine, as far as is known.
enum Task {
    Own,
    Nothing,
    Other(String),
}

async fn task(server: &Server, own: &KernelArgs) -> Task {
    if !server.is_stock() {
        return Task::Own;
    }
    match boot_script::job(server).await {
        Ok(Some(now)) => match boot_script::replaced(own, &now) {
            Some(over) => Task::Other(over.text),
            None => Task::Own,
        },
        Ok(None) => Task::Nothing,
        // It says nothing of the task.
        Err(_) => Task::Own,
    }
}

const CAPTURED: &str = "the image is published; only the report is missing";
const GOOD: &str = "all data is on the disk; only the report is missing";
const WHAT: &str = "the server to take the completion report";

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::test_server::{Reply, TestServer};
    use super::*;

    const QUICK: Patience = Patience {
        pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(1),
        refusals: 11,
        silence: Duration::ZERO,
        limit: Duration::from_secs(3600),
    };

    fn gone() -> bool {
        false
    }

    fn own() -> KernelArgs {
        KernelArgs::parse("img=lab imgid=1 port=63100 type=down mc=yes")
    }

    #[tokio::test]
    async fn a_task_that_came_after_it_is_not_completed() {
        let count = AtomicU32::new(0);
        let server = TestServer::start(move |request| {
            if request.path.ends_with("Post_Stage3.php") {
                return Reply::text("not yet");
            }
            let image = match count.fetch_add(1, Ordering::SeqCst) {
                0..4 => "lab",
                4 => return Reply::text("#!ipxe\nmenu\n"),
                5 => return Reply::status(500, ""),
                _ => "other",
            };
            Reply::text(&format!(
                "#!ipxe\nkernel bzImage img={image} imgid=1 port=63100 type=down mc=yes\nboot\n"
            ))
        });
        let client = server.client();
        client.learn(super::super::Kind::Stock);
        let done = report(&client, &own(), &Board::default(), QUICK, || true).await;
        assert!(matches!(done, Completion::Replaced(_)), "{done:?}");
        let requests = server.requests();
        let posts = requests
            .iter()
            .filter(|request| request.path.ends_with("Post_Stage3.php"));
        assert_eq!(posts.count(), 5);
    }

    #[tokio::test]
    async fn a_capture_is_reported_as_fogs_client_does() {
        let server = TestServer::start(|_| Reply::text("##"));
        let own = KernelArgs::parse("img=lab osid=50 type=up");
        let done = report(&server.client(), &own, &Board::default(), QUICK, gone).await;
        assert_eq!(done, Completion::Accepted);
        let request = server.requests().remove(0);
        assert_eq!(request.path, "/fog/service/Post_Stage2.php");
        assert_eq!(request.field("type").as_deref(), Some("up"));
        assert_eq!(request.field("osid").as_deref(), Some("50"));
    }

    #[tokio::test]
    async fn the_report_is_repeated_until_it_is_taken() {
        let count = AtomicU32::new(0);
        let server = TestServer::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0..=8 => Reply::text("Failed to update task"),
            9 => Reply::text("## "),
            _ => Reply::text("##\n"),
        });
        let done = report(&server.client(), &own(), &Board::default(), QUICK, gone).await;
        assert_eq!(done, Completion::Accepted);
        let requests = server.requests();
        assert_eq!(requests.len(), 11);
        assert_eq!(requests[0].path, "/fog/service/Post_Stage3.php");
        assert_eq!(requests[0].field("type").as_deref(), Some("down"));
    }

    #[tokio::test]
    async fn a_server_that_keeps_refusing_is_told_from_one_that_is_silent() {
        let server = TestServer::start(|_| Reply::text("No active task for LAB-01"));
        let done = report(&server.client(), &own(), &Board::default(), QUICK, gone).await;
        assert_eq!(
            done,
            Completion::Refused("No active task for LAB-01".into())
        );
        assert_eq!(server.requests().len(), 11);

        let done = report(
            &TestServer::dead_client(),
            &own(),
            &Board::default(),
            QUICK,
            gone,
        )
        .await;
        assert!(matches!(done, Completion::Unanswered(_)), "{done:?}");
    }

    #[tokio::test]
    async fn a_server_that_is_not_ready_yet_is_asked_on() {
        // Far more often than a refusal is asked again: starting, an error, and "not yet".
        let count = AtomicU32::new(0);
        let server = TestServer::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0..20 => Reply::text("the sender has not yet seen the end of the last stream"),
            20..25 => Reply::status(503, "starting"),
            _ => Reply::text("##"),
        });
        let patience = Patience {
            silence: Duration::from_secs(3600),
            ..QUICK
        };
        let done = report(
            &server.client(),
            &own(),
            &Board::default(),
            patience,
            || true,
        )
        .await;
        assert_eq!(done, Completion::Accepted);
        assert_eq!(server.requests().len(), 26);
    }

    #[tokio::test]
    async fn even_a_server_that_promises_is_not_asked_for_ever() {
        let server = TestServer::start(|_| Reply::text("not yet"));
        let patience = Patience {
            limit: Duration::ZERO,
            ..QUICK
        };
        let done = report(
            &server.client(),
            &own(),
            &Board::default(),
            patience,
            || true,
        )
        .await;
        assert_eq!(done, Completion::Refused("not yet".into()));
    }
}
