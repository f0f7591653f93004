//! Progress reports: at most every 3 s, at least every 30 s, never in the way of the data.

use std::time::{Duration, Instant};

use base64::Engine as _;
use fog::encoding::{printable, unescape_html};
use fog::status::StatusLine;
use fos_api::{FIELD_DETAIL, FIELD_PHASE, FIELD_STREAM};

use super::Server;
use crate::screen::{Board, State, Transfer, summary};

/// When reports are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rhythm {
    /// Shortest time between two.
    pub(crate) at_most_every: Duration,
    /// Longest time between two, even if nothing changed.
    pub(crate) at_least_every: Duration,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self {
            at_most_every: Duration::from_secs(3),
            at_least_every: Duration::from_secs(30),
        }
    }
}

/// Reports what the screen shows until dropped. A failed call does not matter, as the next one says
/// more; but if all of them fail, the server shows nothing of this machine, and the screen says so.
pub(crate) async fn report(server: &Server, board: &Board, rhythm: Rhythm) {
    let mut last: Option<(Report, Instant)> = None;
    let mut failures = 0_u32;
    loop {
        let now = Instant::now();
        let report = board.read(Report::of);
        let is_due = last.as_ref().is_none_or(|(sent, at)| {
            *sent != report || now.saturating_duration_since(*at) >= rhythm.at_least_every
        });
        if is_due {
            match send(server, &report).await {
                Ok(()) if failures >= WORTH_A_LINE => {
                    board.say("the server takes the progress of this machine again");
                    failures = 0;
                }
                Ok(()) => failures = 0,
                Err(why) => {
                    failures = failures.saturating_add(1);
                    if failures == WORTH_A_LINE {
                        board.say(format!(
                            "the server does not take the progress of this machine, so it shows none; {why}"
                        ));
                    }
                }
            }
            last = Some((report, now));
        }
        tokio::time::sleep(rhythm.at_most_every).await;
    }
}

/// The error is for people.
async fn send(server: &Server, report: &Report) -> Result<(), String> {
    let status = base64::engine::general_purpose::STANDARD.encode(format!("{}\n", report.status));
    let fields = [
        ("status", status.as_str()),
        (FIELD_PHASE, report.phase),
        (FIELD_STREAM, &report.stream),
        (FIELD_DETAIL, &report.detail),
    ];
    match server.post("progress.php", &fields, TIMEOUT).await {
        // The contract has no text for success.
        Ok(answer) if answer.trim().is_empty() => Ok(()),
        Ok(answer) => Err(format!(
            "it says: {}",
            printable(&unescape_html(&answer), 200)
        )),
        Err(error) => Err(error.to_string()),
    }
}

/// What one call says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Report {
    status: String,
    phase: &'static str,
    stream: String,
    detail: String,
}

impl Report {
    fn of(state: &State) -> Self {
        let status = state.transfer.as_ref().map_or(NOTHING_YET, status_line);
        Self {
            status: status.to_string(),
            phase: state.phase,
            stream: state
                .transfer
                .as_ref()
                .map(|transfer| transfer.name.clone())
                .unwrap_or_default(),
            detail: summary(state),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for display")]
fn status_line(transfer: &Transfer) -> StatusLine {
    let seconds = transfer.elapsed.as_secs_f64();
    StatusLine {
        rate: if seconds > 0.0 {
            transfer.copied as f64 / seconds
        } else {
            0.0
        },
        elapsed: transfer.elapsed,
        remaining: transfer.remaining.unwrap_or_default(),
        copied: transfer.copied,
        total: transfer.total,
    }
}

/// Before the first byte. A total of 0 would read as 100 %.
const NOTHING_YET: StatusLine = StatusLine {
    rate: 0.0,
    elapsed: Duration::ZERO,
    remaining: Duration::ZERO,
    copied: 0,
    total: 1,
};

/// So many failed reports in a row are no accident.
const WORTH_A_LINE: u32 = 5;
const TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::test_server::{Reply, TestServer};
    use super::*;

    #[tokio::test]
    async fn a_report_is_a_status_line_and_our_fields() {
        let server = TestServer::start(|_| Reply::text(""));
        let board = Board::default();
        board.update(|state| {
            state.phase = "receive";
            state.transfer = Some(Transfer {
                stream: 2,
                streams: 3,
                name: "d1p2.img".into(),
                copied: 50 << 20,
                total: 100 << 20,
                rate: 1.0,
                wire_rate: 1.0,
                elapsed: Duration::from_secs(60),
                at: Instant::now(),
                is_done: false,
                remaining: Some(Duration::from_secs(60)),
                bottleneck: None,
            });
        });
        let rhythm = Rhythm {
            at_most_every: Duration::from_millis(1),
            at_least_every: Duration::from_secs(3600),
        };
        let client = server.client();
        let sent = async {
            while server.requests().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = report(&client, &board, rhythm) => {}
            () = sent => {}
        }
        let request = server.requests().remove(0);
        assert_eq!(request.path, "/fog/service/progress.php");
        let line = fog::encoding::decode_base64_text(&request.field("status").unwrap()).unwrap();
        assert_eq!(
            line,
            " 52.43MB/min@00:01:00@00:01:00@50.00 MiB@100.00 MiB@ 50.00@"
        );
        assert_eq!(request.field("phase").as_deref(), Some("receive"));
        assert_eq!(request.field("stream").as_deref(), Some("d1p2.img"));
        assert!(request.field("detail").unwrap().contains("50.0 %"));
    }

    #[tokio::test]
    async fn reports_that_are_not_taken_are_shown_once_and_their_end_too() {
        let count = AtomicU32::new(0);
        let server = TestServer::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0..4 => Reply::status(403, ""),
            4 => Reply::text(""),
            5..12 => Reply::redirect("/fog/management/index.php"),
            12..20 => Reply::text("<html>"),
            _ => Reply::text(""),
        });
        let board = Board::default();
        let rhythm = Rhythm {
            at_most_every: Duration::from_millis(1),
            at_least_every: Duration::ZERO,
        };
        let client = server.client();
        let sent = async {
            while board.said().len() < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = report(&client, &board, rhythm) => {}
            () = sent => {}
        }
        let said = board.said();
        assert!(said[0].contains("does not take the progress"), "{said:?}");
        assert!(said[1].contains("again"), "{said:?}");
    }

    #[test]
    fn waiting_is_zero_percent_and_says_for_what() {
        let mut state = State {
            phase: "wait",
            ..State::default()
        };
        state.wait_for(Instant::now(), "the sender", Vec::new());
        let report = Report::of(&state);
        let read = fog::status::parse(&report.status).unwrap();
        assert_eq!(read.percent, 0);
        assert_eq!(report.detail, "waiting for the sender");
    }
}
