//! What to do about a stream whose sender has vanished or was begun again: pure decisions.
//!
//! After a restart the server begins the stream again that was under way. It says which one it expects
//! this machine to receive ([`SessionView::your_stream`]) and the how manieth attempt that is
//! ([`StreamNow::run`](fos_api::StreamNow::run)); its word counts, ours may be ahead of it.

use std::time::Duration;

use fos_api::{SessionView, Stage};

/// A stream and the attempt to send it, by the server's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Of the stream, from 1.
    pub(crate) number: u32,
    pub(crate) run: u32,
}

/// One receiver and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// Of the stream that it is for, from 1.
    pub(crate) number: u32,
    /// What the server said that it was sending while data came.
    pub(crate) under: Option<Run>,
    pub(crate) progress: Progress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// No data has come: a sender that is begun again finds this receiver as well as the first one did.
    Waiting,
    /// Data has come, and for so long no more.
    Receiving { stalled: Duration },
    /// The whole stream has come.
    Complete,
    /// It failed so long ago, or what came is of no use.
    Failed { cause: Cause, since: Duration },
}

/// Where a failure of a stream comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The transfer ended early.
    Transfer,
    /// The bytes are not the ones that are due.
    Content,
    /// This machine, most likely its disk: another attempt would not help.
    Machine,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing new: go on, or ask again later.
    Stay,
    /// Leave this receiver, and receive the stream with this number from its first byte.
    Begin(Run),
    /// It stays failed.
    Fail,
}

/// Decides by a view that was asked for after what `attempt` describes. Whether the task is over is
/// not its matter.
pub(crate) fn what_next(attempt: &Attempt, view: &SessionView) -> Next {
    match attempt.progress {
        Progress::Waiting | Progress::Complete => Next::Stay,
        Progress::Receiving { stalled } => match wanted(view) {
            Some(wanted) if is_newer(attempt, wanted) => Next::Begin(wanted),
            // What it came from is not known. A server that gathers sends nothing, though its word
            // may lag behind its first data.
            Some(wanted)
                if attempt.under.is_none()
                    && view.stage == Stage::Gathering
                    && wanted.number <= attempt.number
                    && stalled >= LAG =>
            {
                Next::Begin(wanted)
            }
            _ => Next::Stay,
        },
        Progress::Failed { cause, since } => {
            let wanted = wanted(view).filter(|wanted| wanted.number <= attempt.number);
            match (cause, wanted) {
                (Cause::Machine, _) => Next::Fail,
                (_, Some(wanted))
                    if view.stage == Stage::Gathering || is_newer(attempt, wanted) =>
                {
                    Next::Begin(wanted)
                }
                // The server may be about to notice, or to begin again.
                (Cause::Transfer, _) if since < GRACE => Next::Stay,
                _ => Next::Fail,
            }
        }
    }
}

/// The stream that the server is at and expects this machine to receive.
pub(crate) fn wanted(view: &SessionView) -> Option<Run> {
    let stream = view.stream.as_ref()?;
    let is_open = matches!(view.stage, Stage::Gathering | Stage::Sending);
    (is_open && view.your_stream == Some(stream.number)).then_some(Run {
        number: stream.number,
        run: stream.run,
    })
}

/// Whether that is certainly not what the data of this attempt came from.
fn is_newer(attempt: &Attempt, wanted: Run) -> bool {
    attempt.under.is_some_and(|under| {
        wanted.number < under.number || (wanted.number == under.number && wanted.run > under.run)
    })
}

/// How far the server's word may be behind its sender.
const LAG: Duration = Duration::from_secs(5);
/// How long a server takes to notice that a sender has failed, and to begin again.
const GRACE: Duration = Duration::from_secs(8);

#[cfg(test)]
pub(super) mod tests {
    use fog::store::StreamName;
    use fog::task::State;
    use fos_api::StreamNow;

    use super::*;

    /// A session that is at this attempt to send a stream.
    pub(crate) fn view(
        stage: Stage,
        number: u32,
        run: u32,
        your_stream: Option<u32>,
    ) -> SessionView {
        SessionView {
            session: 1,
            state: State::InProgress,
            stage,
            expected: 1,
            checked_in: 1,
            connected: 0,
            missing: Vec::new(),
            stream: Some(StreamNow {
                number,
                count: 2,
                name: StreamName::of_file(&format!("d1p{number}.img")),
                acked: 0,
                len: 1,
                run,
            }),
            records: None,
            stage_seconds: 0,
            starts_in_seconds: None,
            ask_again_seconds: None,
            site: None,
            your_task: State::InProgress,
            text: String::new(),
            your_stream,
            refusal: None,
        }
    }

    /// Any session that goes on.
    pub(crate) fn any_view() -> SessionView {
        view(Stage::Gathering, 1, 0, Some(1))
    }

    fn run(number: u32, run: u32) -> Run {
        Run { number, run }
    }

    /// A receiver of stream 2.
    fn attempt(under: Option<Run>, progress: Progress) -> Attempt {
        Attempt {
            number: 2,
            under,
            progress,
        }
    }

    const SECOND: Duration = Duration::from_secs(1);
    const FLOWING: Progress = Progress::Receiving {
        stalled: Duration::ZERO,
    };
    const STALLED: Progress = Progress::Receiving { stalled: LAG };

    #[test]
    fn a_receiver_at_work_is_left_only_for_a_newer_run() {
        use Stage::{Ended, Finishing, Gathering, Sending};
        let first = Some(run(2, 0));
        let again = Next::Begin(run(2, 1));
        for (under, progress, view, expected) in [
            // All is well.
            (first, FLOWING, view(Sending, 2, 0, Some(2)), Next::Stay),
            (first, STALLED, view(Sending, 2, 0, Some(2)), Next::Stay),
            (None, STALLED, view(Sending, 2, 0, Some(2)), Next::Stay),
            // The server's word lags behind its data.
            (first, FLOWING, view(Gathering, 2, 0, Some(2)), Next::Stay),
            (None, FLOWING, view(Gathering, 2, 0, Some(2)), Next::Stay),
            // All has come but the end of file; the server is further.
            (first, FLOWING, view(Gathering, 3, 0, Some(3)), Next::Stay),
            (first, STALLED, view(Finishing, 2, 0, None), Next::Stay),
            (first, STALLED, view(Ended, 2, 0, None), Next::Stay),
            // The server was restarted.
            (first, FLOWING, view(Gathering, 2, 1, Some(2)), again),
            (first, STALLED, view(Gathering, 2, 1, Some(2)), again),
            // It sends already; whether it lets us in is its matter.
            (first, STALLED, view(Sending, 2, 1, Some(2)), again),
            // Twice in a row.
            (
                Some(run(2, 1)),
                STALLED,
                view(Gathering, 2, 2, Some(2)),
                Next::Begin(run(2, 2)),
            ),
            // What was received under is not known, but nothing comes any more.
            (None, STALLED, view(Gathering, 2, 1, Some(2)), again),
            (
                None,
                STALLED,
                view(Gathering, 2, 0, Some(2)),
                Next::Begin(run(2, 0)),
            ),
            (None, FLOWING, view(Gathering, 2, 1, Some(2)), Next::Stay),
            (None, STALLED, view(Gathering, 3, 0, Some(3)), Next::Stay),
            // The last acknowledgement of stream 1 was lost.
            (
                first,
                STALLED,
                view(Gathering, 1, 4, Some(1)),
                Next::Begin(run(1, 4)),
            ),
            // The session is at a stream that this machine need not receive.
            (first, STALLED, view(Gathering, 1, 4, Some(2)), Next::Stay),
            (first, STALLED, view(Gathering, 2, 1, None), Next::Stay),
        ] {
            let found = what_next(&attempt(under, progress), &view);
            assert_eq!(found, expected, "{under:?} {progress:?} {view:?}");
        }
    }

    #[test]
    fn a_receiver_without_data_and_one_with_all_stay() {
        for progress in [Progress::Waiting, Progress::Complete] {
            for (number, run) in [(1, 1), (2, 0), (2, 5)] {
                let view = view(Stage::Gathering, number, run, Some(number));
                assert_eq!(what_next(&attempt(None, progress), &view), Next::Stay);
            }
        }
    }

    #[test]
    fn a_failed_stream_is_begun_again_where_the_server_waits_for_us() {
        use Cause::{Content, Machine, Transfer};
        use Stage::{Ended, Finishing, Gathering, Sending};
        let first = Some(run(2, 0));
        let again = |number, attempt| Next::Begin(run(number, attempt));
        for (under, cause, since, view, expected) in [
            // It gathers for the stream that failed, or for the one before.
            (
                first,
                Transfer,
                SECOND,
                view(Gathering, 2, 1, Some(2)),
                again(2, 1),
            ),
            (
                first,
                Content,
                SECOND,
                view(Gathering, 2, 1, Some(2)),
                again(2, 1),
            ),
            (
                None,
                Transfer,
                GRACE,
                view(Gathering, 2, 0, Some(2)),
                again(2, 0),
            ),
            (
                first,
                Transfer,
                GRACE,
                view(Gathering, 1, 1, Some(1)),
                again(1, 1),
            ),
            (
                first,
                Transfer,
                SECOND,
                view(Sending, 2, 1, Some(2)),
                again(2, 1),
            ),
            // The disk is no better the second time.
            (
                first,
                Machine,
                SECOND,
                view(Gathering, 2, 1, Some(2)),
                Next::Fail,
            ),
            // The server may not have noticed yet that its sender has failed.
            (
                first,
                Transfer,
                SECOND,
                view(Sending, 2, 0, Some(2)),
                Next::Stay,
            ),
            (
                first,
                Transfer,
                GRACE,
                view(Sending, 2, 0, Some(2)),
                Next::Fail,
            ),
            (
                first,
                Transfer,
                SECOND,
                view(Finishing, 2, 0, None),
                Next::Stay,
            ),
            (first, Transfer, GRACE, view(Ended, 2, 0, None), Next::Fail),
            // Others wait for a machine that receives what it does not want.
            (
                first,
                Content,
                SECOND,
                view(Sending, 2, 0, Some(2)),
                Next::Fail,
            ),
            // The server takes it for received: it was damaged, not cut off.
            (
                first,
                Content,
                SECOND,
                view(Gathering, 3, 0, Some(3)),
                Next::Fail,
            ),
            // A server that cannot say what it expects.
            (
                first,
                Content,
                SECOND,
                view(Gathering, 2, 0, None),
                Next::Fail,
            ),
        ] {
            let attempt = attempt(under, Progress::Failed { cause, since });
            assert_eq!(what_next(&attempt, &view), expected, "{attempt:?} {view:?}");
        }
    }
}
