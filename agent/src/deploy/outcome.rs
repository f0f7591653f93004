//! How the data threads end, or why they are not waited for any more.

use std::pin::pin;
use std::time::{Duration, Instant};

use readable::Time;
use tokio::sync::{mpsc, oneshot};

use super::Failure;
use super::receive::{self, Current};
use crate::control::Server;
use crate::control::session::{Over, OverKind};
use crate::control::trouble::{self, Severity};
use crate::screen::Board;

/// What the data threads say.
pub(super) struct Outcomes {
    pub(super) done: oneshot::Receiver<Result<(), Failure>>,
    pub(super) farewells: mpsc::UnboundedReceiver<receive::Farewell>,
    /// How long they may take to end once the deploy is over.
    pub(super) patience: Duration,
}

impl Outcomes {
    /// Waits for the end of the deploy: the threads', or the reason that `watch` or `follow` gives.
    pub(super) async fn wait(
        mut self,
        server: &Server,
        board: &Board,
        current: &Current,
        watch: impl Future<Output = Over>,
        follow: impl Future<Output = String>,
    ) -> Result<(), Failure> {
        let mut watch = pin!(watch);
        let mut follow = pin!(follow);
        let given_up = tokio::select! {
            result = &mut self.done => return ended(result),
            Some(farewell) = self.farewells.recv() => {
                return self.leave(server, board, farewell).await;
            }
            over = &mut watch => Failure::known("session", last_word(over, current, board)),
            reason = &mut follow => Failure::new("streams", anyhow::anyhow!("{reason}")),
        };
        drop(self.farewells);
        if !current.give_up() {
            board.activity("table", "waiting for the partition table to be written");
            return ended(self.done.await);
        }
        board.activity(
            "receive",
            "given up; waiting for the last writes to the disk",
        );
        // The data thread leaves the transfer properly. A disk that hangs must not hang us.
        match tokio::time::timeout(self.patience, self.done).await {
            // It was quicker than the news: all is on the disk.
            Ok(Ok(Ok(()))) => Ok(()),
            _ => Err(given_up),
        }
    }

    /// After a failure of the data: tells the server, then waits for the threads. What the server
    /// says from now on is only the echo of this.
    async fn leave(
        self,
        server: &Server,
        board: &Board,
        farewell: receive::Farewell,
    ) -> Result<(), Failure> {
        let receive::Farewell { text, told } = farewell;
        let is_told = trouble::tell(server, Severity::Error, &text, "streams")
            .await
            .is_ok();
        // The data thread may have lost its patience.
        told.send(is_told).unwrap_or_default();
        board.activity("receive", "failed; waiting for the last writes to the disk");
        tokio::time::timeout(self.patience, self.done)
            .await
            .map_or_else(
                |_| {
                    board.warn(format!(
                        "the disk has not answered for {}; it may be defective",
                        Time(self.patience)
                    ));
                    let mut failure = Failure::new("streams", anyhow::anyhow!("{text}"));
                    failure.is_known_to_server = is_told;
                    failure.tells_of_disk = true;
                    Err(failure)
                },
                ended,
            )
    }
}

fn ended(result: Result<Result<(), Failure>, oneshot::error::RecvError>) -> Result<(), Failure> {
    result.unwrap_or_else(|_| {
        Err(Failure::new(
            "streams",
            anyhow::anyhow!("the data path stopped by a programming error"),
        ))
    })
}

/// The reason for the end, from all that is known. Of a machine that it does not hear any more, the
/// server can only guess what became of it.
fn last_word(over: Over, current: &Current, board: &Board) -> Over {
    let evidence = (over.kind == OverKind::GivenUp)
        .then(|| current.evidence_at_the_end(Instant::now()))
        .flatten();
    let Some(evidence) = evidence else {
        return over;
    };
    board.say(format!("the server says: {}", over.text));
    let text = format!(
        "{evidence}; {}, so the server went on without this machine",
        evidence.last_word()
    );
    // Not the server's text any more: what became of the disk is still to be said.
    Over {
        text,
        kind: OverKind::Ended,
        tells_of_disk: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::test_server::{Reply, TestServer};

    #[tokio::test]
    async fn a_disk_that_hangs_does_not_hang_a_deploy_that_has_failed() {
        let server = TestServer::start(|_| Reply::text("##"));
        let (_still_at_work, done) = oneshot::channel();
        let (farewell, farewells) = mpsc::unbounded_channel();
        let (told, answer) = std::sync::mpsc::channel();
        let text = "d1p1.img: the stream ended early".to_owned();
        farewell.send(receive::Farewell { text, told }).unwrap();
        let outcomes = Outcomes {
            done,
            farewells,
            patience: Duration::from_millis(1),
        };
        let board = Board::default();
        let watch = std::future::pending::<Over>();
        let follow = std::future::pending::<String>();
        let failure = outcomes
            .wait(&server.client(), &board, &Current::default(), watch, follow)
            .await
            .unwrap_err();
        assert_eq!(failure.text, "d1p1.img: the stream ended early");
        assert!(failure.is_known_to_server && answer.recv().unwrap());
        assert!(board.read(|state| state.activity.contains("waiting for the last writes")));
    }

    /// Ends a deploy from outside, and answers what became of it. `at_work` is the data thread.
    async fn ended_from_outside(
        current: &Current,
        at_work: impl AsyncFnOnce(&Board, oneshot::Sender<Result<(), Failure>>),
    ) -> Result<(), Failure> {
        let server = TestServer::start(|_| Reply::text("##"));
        let (say, done) = oneshot::channel();
        let (_farewell, farewells) = mpsc::unbounded_channel();
        let outcomes = Outcomes {
            done,
            farewells,
            patience: Duration::ZERO,
        };
        let board = Board::default();
        let client = server.client();
        let watch = std::future::pending::<Over>();
        let follow = std::future::ready("the sender is lost".to_owned());
        let waiting = outcomes.wait(&client, &board, current, watch, follow);
        let (result, ()) = tokio::join!(waiting, at_work(&board, say));
        result
    }

    #[tokio::test]
    async fn a_failure_that_was_reported_leaves_no_table() {
        let current = Current::default();
        let mut still_at_work = None;
        let failure = ended_from_outside(&current, async |_, say| still_at_work = Some(say)).await;
        assert_eq!(failure.unwrap_err().text, "the sender is lost");
        assert!(!current.ending.begin_table(), "the data thread goes on");
    }

    #[tokio::test]
    async fn a_table_that_is_being_written_decides_what_became_of_the_deploy() {
        let spoiled = || Failure::new("table", anyhow::anyhow!("writing the partition table"));
        for is_good in [true, false] {
            let current = Current::default();
            assert!(current.ending.begin_table());
            let result = ended_from_outside(&current, async |board, say| {
                while !board.read(|state| state.activity.contains("partition table")) {
                    tokio::task::yield_now().await;
                }
                say.send(if is_good { Ok(()) } else { Err(spoiled()) })
                    .unwrap();
            })
            .await;
            assert_eq!(
                result.map_err(|failure| failure.part),
                if is_good { Ok(()) } else { Err("table") }
            );
        }
    }
}
