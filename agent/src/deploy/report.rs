//! The report of the completion, and the streams that a server which lost its memory sends again.

use std::convert::Infallible;
use std::time::Instant;

use fos_api::Stage;

use super::transfer::{Task, Transfer};
use super::{SESSION_PAUSE, Told, resume};
use crate::control::completion::{self, Completion};
use crate::control::session::{self, News};
use crate::control::{Server, progress};

impl Transfer<'_> {
    /// Reports completion; whatever becomes of that, the disk is good.
    pub(super) async fn report(&self) -> Told {
        let news = News::new();
        let repeats = if self.server.is_stock() {
            // It does not say which stream it sends.
            0
        } else {
            MAX_REPEATS
        };
        for _ in 0..repeats {
            self.board.activity("report", "reporting completion");
            let patience = self.job.patience;
            let own = &self.job.args;
            let report = completion::report(self.server, own, self.board, patience, || {
                news.latest().is_live()
            });
            let first = tokio::select! {
                done = report => return told(done),
                first = wanted_again(self.server, &news) => first,
            };
            self.board.say(format!(
                "the server does not know yet that stream {} has arrived here and sends it again; it \
                 is received once more, but not written",
                first + 1
            ));
            let reports = progress::report(self.server, self.board, progress::Rhythm::default());
            let repeated = tokio::select! {
                done = self.run(Task::Repeat(first)) => done,
                () = reports => Ok(()),
            };
            if let Err(failure) = repeated {
                self.board.warn(format!(
                    "everything is written and verified, but a stream did not come a second time for \
                     the server: {}",
                    failure.text
                ));
            }
        }
        self.board.activity("report", "reporting completion");
        let (own, patience) = (&self.job.args, self.job.patience);
        told(completion::report(self.server, own, self.board, patience, || false).await)
    }
}

fn told(completion: Completion) -> Told {
    match completion {
        Completion::Accepted => Told::Yes,
        // The disk is good, so neither is a failure: as one, the server would hear of it as such.
        // Servers that end the session before slow clients have reported answer "no active task",
        // in any language.
        Completion::Refused(text) => Told::No(format!(
            "everything is written and verified, but the server does not take the completion \
             report; it says: {text}"
        )),
        Completion::Replaced(text) => Told::No(format!(
            "everything is written and verified, but the completion report came too late: {text}"
        )),
        Completion::Unanswered(error) => Told::No(format!(
            "everything is written and verified, but the server has not stored the report, so it may \
             start the task again: {error}"
        )),
    }
}

/// Waits until the server gathers receivers for a stream that it still expects this machine to
/// receive, though all have come; answers its index.
async fn wanted_again(server: &Server, news: &News) -> usize {
    let follow = async {
        let mut before: Option<(resume::Run, Instant)> = None;
        loop {
            let latest = news.latest();
            let wanted = latest
                .view
                .as_ref()
                .filter(|view| latest.error.is_none() && view.stage == Stage::Gathering)
                .and_then(resume::wanted);
            let wanted = wanted.zip(latest.asked);
            // Said twice, as the server's word may be a little behind what it has sent.
            if let (Some((now, asked)), Some((run, at))) = (wanted, before)
                && now == run
                && asked > at
                && let Some(index) = usize::try_from(run.number)
                    .ok()
                    .and_then(|n| n.checked_sub(1))
            {
                return index;
            }
            before = wanted;
            tokio::time::sleep(SESSION_PAUSE).await;
        }
    };
    let watch = async {
        // Who reports hears of an end by the answer.
        session::watch(server, news, SESSION_PAUSE).await;
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        index = follow => index,
        never = watch => match never {},
    }
}

/// How often streams are received again for the sake of a server that was restarted.
const MAX_REPEATS: u32 = 5;
