//! A machine that cannot go on by itself stays: it shows why, and reports until the server has stored it.
//!
//! To restart would bring the same job back, as the server does not know of the failure, and would take
//! the reason off the screen. A person ends it with Enter, and the server by giving the machine another
//! job.

use std::time::{Duration, Instant};

use fog::KernelArgs;
use readable::Time;

use crate::control::backoff::Backoff;
use crate::control::boot_script::End;
use crate::control::completion::{self, Completion};
use crate::control::session::{self, News, Over, OverKind};
use crate::control::{Kind, Server, boot_script, features, trouble};
use crate::deploy::Failure;
use crate::screen::{Board, Keys};

/// How the stay after a failure went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stayed {
    /// The server knows of the failure.
    pub(crate) is_reported: bool,
    pub(crate) why: Why,
}

/// Why the machine goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// Somebody pressed Enter.
    Enter,
    /// The server has another job for this machine.
    OtherJob,
    /// Nothing was written, so the machine is as good as before, and its users wait for it.
    TimeIsUp,
    /// The server has taken the report, or says that the task is over.
    Settled,
}

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rhythm {
    /// Between the first two reports; doubles up to `longest_pause`.
    pub(crate) pause: Duration,
    pub(crate) longest_pause: Duration,
    /// Between two questions for another job.
    pub(crate) look: Duration,
    /// The same at FOG's own servers, where a task that was made anew between two questions looks like the old one.
    pub(crate) look_at_stock: Duration,
    /// How long a failure is shown that has been reported, if nothing was written.
    pub(crate) untouched: Duration,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self {
            pause: Duration::from_secs(2),
            longest_pause: Duration::from_secs(30),
            look: Duration::from_secs(15),
            look_at_stock: Duration::from_secs(5),
            untouched: HOLD,
        }
    }
}

/// How long a failure is held on the screen where nothing was written.
const HOLD: Duration = Duration::from_secs(15 * 60);
/// The longest that can be asked for, in minutes: a week.
const LONGEST_HOLD: u32 = 7 * 24 * 60;
/// The kernel argument that says how long, in minutes.
const HOLD_ARGUMENT: &str = "foshold";

impl Rhythm {
    /// With the time that the kernel arguments say. One that makes no sense is told, and changes nothing.
    pub(crate) fn of(args: &KernelArgs, board: &Board) -> Self {
        let mut rhythm = Self::default();
        let Some(text) = args.value(HOLD_ARGUMENT) else {
            return rhythm;
        };
        match text.parse::<u32>() {
            Ok(minutes) if minutes <= LONGEST_HOLD => {
                rhythm.untouched = Duration::from_secs(u64::from(minutes) * 60);
            }
            _ => board.warn(format!(
                "the kernel argument {HOLD_ARGUMENT}={} is not a number of minutes from 0 to {LONGEST_HOLD}: a \
                 failure before the first write is shown for {}",
                fog::encoding::printable(text, 20),
                Time(HOLD)
            )),
        }
        rhythm
    }
}

/// After a failure: reports it until it is stored, and shows it.
///
/// `server`: `None` if the machine does not know it; then nothing but Enter helps. `own` is the task that has failed.
pub(crate) async fn after_failure(
    server: Option<&Server>,
    own: &KernelArgs,
    failure: &Failure,
    board: &Board,
    keys: &mut Keys,
    rhythm: Rhythm,
) -> Stayed {
    let Some(server) = server else {
        board.activity(STAYING, ENTER);
        keys.enter().await;
        return Stayed {
            is_reported: false,
            why: Why::Enter,
        };
    };
    if !failure.is_known_to_server {
        board.activity("report", "reporting the failure to the server");
        let pauses = Backoff::new(rhythm.pause, rhythm.longest_pause);
        let report = trouble::tell_until_stored(server, board, &failure.text, failure.part, pauses);
        tokio::select! {
            () = report => board.say("the server has stored the report of the failure"),
            over = task_over(server, own, rhythm) => {
                if over.kind == OverKind::Restart && !failure.is_touched {
                    return Stayed { is_reported: false, why: Why::OtherJob };
                }
                // It does not wait for the report any more.
                board.say(format!("the server says: {}", over.text));
            }
            () = keys.enter() => return Stayed { is_reported: false, why: Why::Enter },
        }
    }
    let why = tokio::select! {
        () = keys.enter() => Why::Enter,
        () = other_job(server, own, rhythm, failure.is_touched) => Why::OtherJob,
        why = show(board, failure.is_touched, rhythm.untouched) => why,
    };
    Stayed {
        is_reported: true,
        why,
    }
}

/// After a deploy whose completion the server has not taken: reports on, until it has, says that the
/// task is over, or somebody presses Enter.
pub(crate) async fn after_success(
    server: &Server,
    own: &KernelArgs,
    board: &Board,
    keys: &mut Keys,
    rhythm: Rhythm,
) -> Why {
    board.activity("report", format!("reporting completion; {ENTER}"));
    let patience = completion::Patience {
        pause: rhythm.pause,
        longest_pause: rhythm.longest_pause,
        ..completion::Patience::default()
    };
    let report = async {
        loop {
            match completion::report(server, own, board, patience, || true).await {
                Completion::Accepted => return Why::Settled,
                Completion::Replaced(_) => return Why::OtherJob,
                Completion::Refused(_) | Completion::Unanswered(_) => {}
            }
        }
    };
    tokio::select! {
        why = report => why,
        why = settled(server, own, rhythm) => why,
        () = keys.enter() => Why::Enter,
    }
}

/// Shows the failure, for as long as nothing else ends it.
async fn show(board: &Board, is_touched: bool, limit: Duration) -> Why {
    if is_touched {
        board.activity(
            STAYING,
            format!(
                "the disk is partly written: deploy this machine again (it restarts by itself for the new \
                 task), or {ENTER}"
            ),
        );
        return std::future::pending().await;
    }
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Why::TimeIsUp;
        }
        // In steps: each line costs time on a serial console.
        let step = if left > MINUTE { MINUTE } else { STEP };
        board.count_down("nothing was written: this machine restarts", end, ENTER);
        tokio::time::sleep(left.min(step)).await;
    }
}

/// Returns when the server says that this machine's task is over, or that it has another one.
async fn task_over(server: &Server, own: &KernelArgs, rhythm: Rhythm) -> Over {
    if features::kind(server, rhythm.look).await == Kind::Stock {
        let over: Over = boot_script::over(server, own, rhythm.look_at_stock)
            .await
            .into();
        // The reason of the failure stays on the screen.
        return Over {
            kind: OverKind::Ended,
            ..over
        };
    }
    tokio::time::sleep(rhythm.look).await;
    session::watch(server, &News::new(), rhythm.look).await
}

/// Returns when the server has another job for this machine. A machine whose disk is partly written has to be sure
/// that it will be written again: its ticket may only be unknown to a server whose database is an older one.
async fn other_job(server: &Server, own: &KernelArgs, rhythm: Rhythm, is_touched: bool) {
    if features::kind(server, rhythm.look).await == Kind::Stock {
        return boot_script::new_task(server, own, rhythm.look_at_stock).await;
    }
    loop {
        tokio::time::sleep(rhythm.look).await;
        if session::watch(server, &News::new(), rhythm.look).await.kind != OverKind::Restart {
            continue;
        }
        if !is_touched || matches!(boot_script::job(server).await, Ok(Some(_))) {
            return;
        }
    }
}

/// Returns when the server says that it would not start this machine's task again.
async fn settled(server: &Server, own: &KernelArgs, rhythm: Rhythm) -> Why {
    if features::kind(server, rhythm.look).await == Kind::Stock {
        return match boot_script::over(server, own, rhythm.look_at_stock).await {
            End::Gone => Why::Settled,
            End::Replaced(_) => Why::OtherJob,
        };
    }
    loop {
        tokio::time::sleep(rhythm.look).await;
        if let Ok(view) = session::view(server).await {
            if session::over(&view).is_some_and(|over| over.kind == OverKind::Restart) {
                return Why::OtherJob;
            }
            if !view.your_task.is_active() {
                return Why::Settled;
            }
        }
    }
}

/// For the machine-readable part of the progress.
const STAYING: &str = "failed";
const ENTER: &str = "press Enter to restart this machine";
const MINUTE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::io::{BufReader, PipeWriter, Write as _};
    use std::sync::atomic::{AtomicU32, Ordering};

    use fog::task::State;
    use fos_api::{Refusal, RefusalCode, SessionView, Stage};

    use super::*;
    use crate::control::test_server::{Reply, Request, TestServer};

    const QUICK: Rhythm = Rhythm {
        pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(1),
        look: Duration::from_millis(1),
        look_at_stock: Duration::from_millis(1),
        untouched: Duration::from_millis(1),
    };

    fn failure(is_touched: bool) -> Failure {
        let mut failure = Failure::new("streams", anyhow::anyhow!("the disk is broken"));
        failure.is_touched = is_touched;
        failure
    }

    fn own() -> KernelArgs {
        KernelArgs::parse("img=lab type=down mc=yes")
    }

    /// A machine at our own server, as far as it knows.
    fn client_of(server: &TestServer) -> Server {
        let client = server.client();
        client.learn(Kind::Own);
        client
    }

    fn keyboard() -> (Keys, PipeWriter) {
        let (input, typist) = std::io::pipe().unwrap();
        (Keys::of(BufReader::new(input)), typist)
    }

    fn is_report(request: &Request) -> bool {
        request.path.ends_with("taskerror.php")
    }

    /// What a server says of a machine whose task is in this state.
    fn view(your_task: State, is_other: bool) -> String {
        let refusal = is_other.then(|| Refusal {
            code: RefusalCode::Restart,
            text: "restart it".into(),
        });
        let view = SessionView {
            session: 1,
            state: State::InProgress,
            stage: Stage::Sending,
            expected: 1,
            checked_in: 1,
            connected: 1,
            missing: Vec::new(),
            stream: None,
            your_stream: None,
            records: None,
            stage_seconds: 0,
            starts_in_seconds: None,
            ask_again_seconds: None,
            site: None,
            your_task,
            text: String::new(),
            refusal,
        };
        serde_json::to_string(&view).unwrap()
    }

    /// Waits until so many reports have come, and presses Enter.
    async fn enter_after(server: &TestServer, reports: usize, typist: &mut PipeWriter) {
        while server.requests().len() < reports {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        typist.write_all(b"\n").unwrap();
    }

    #[test]
    fn the_kernel_arguments_say_how_long_a_failure_is_held() {
        let of = |line: &str| {
            let board = Board::default();
            let rhythm = Rhythm::of(&KernelArgs::parse(line), &board);
            let is_warned = board.read(|state| !state.warnings.is_empty());
            (rhythm.untouched.as_secs() / 60, is_warned)
        };
        assert_eq!(of("type=down"), (15, false));
        assert_eq!(of("foshold=3"), (3, false));
        assert_eq!(of("foshold=0"), (0, false));
        for bad in ["-1", "99999", "4294967296", "for\x1bever"] {
            assert_eq!(of(&format!("foshold={bad}")), (15, true), "{bad}");
        }
    }

    #[tokio::test]
    async fn no_other_answer_than_the_one_ends_the_reports() {
        // What a FOG server without the endpoint says, one that is locked, and one that is broken.
        for answer in [
            || Reply::redirect("/fog/management/index.php"),
            || Reply::status(403, ""),
            || Reply::status(404, ""),
            || Reply::text("<html>welcome</html>"),
            || Reply::text(""),
            || Reply::status(500, "##"),
        ] {
            let server = TestServer::start(move |_| answer());
            let (mut keys, mut typist) = keyboard();
            let (client, board, failure) = (client_of(&server), Board::default(), failure(false));
            let own = own();
            let stay = after_failure(Some(&client), &own, &failure, &board, &mut keys, QUICK);
            let (stayed, ()) = tokio::join!(stay, enter_after(&server, 20, &mut typist));
            assert_eq!(
                stayed,
                Stayed {
                    is_reported: false,
                    why: Why::Enter
                }
            );
            assert!(server.requests().iter().any(is_report));
        }
    }

    #[tokio::test]
    async fn a_report_that_is_stored_late_ends_them() {
        let count = AtomicU32::new(0);
        let server = TestServer::start(move |request| {
            if !is_report(request) {
                return Reply::text(&view(State::InProgress, false));
            }
            match count.fetch_add(1, Ordering::SeqCst) {
                0..30 => Reply::status(403, ""),
                _ => Reply::text("##"),
            }
        });
        let (mut keys, _typist) = keyboard();
        let (client, board) = (client_of(&server), Board::default());
        let stayed = after_failure(
            Some(&client),
            &own(),
            &failure(false),
            &board,
            &mut keys,
            QUICK,
        )
        .await;
        assert_eq!(
            stayed,
            Stayed {
                is_reported: true,
                why: Why::TimeIsUp
            }
        );
        let reports = server.requests();
        assert_eq!(reports.iter().filter(|it| is_report(it)).count(), 31);
    }

    #[tokio::test]
    async fn a_disk_that_is_partly_written_stays_on_the_screen_until_there_is_another_job() {
        let (count, boots) = (AtomicU32::new(0), AtomicU32::new(0));
        let server = TestServer::start(move |request| {
            if is_report(request) {
                return Reply::text("##");
            }
            if request.path.ends_with("boot.php") {
                // A refused ticket alone is no other job.
                return Reply::text(match boots.fetch_add(1, Ordering::SeqCst) {
                    0..3 => "#!ipxe\nmenu\n",
                    _ => "#!ipxe\nkernel bzImage type=down mc=yes img=lab port=63100\nboot\n",
                });
            }
            let is_other = count.fetch_add(1, Ordering::SeqCst) >= 20;
            Reply::text(&view(State::Failed, is_other))
        });
        let (mut keys, _typist) = keyboard();
        let (client, board) = (client_of(&server), Board::default());
        let stayed = after_failure(
            Some(&client),
            &own(),
            &failure(true),
            &board,
            &mut keys,
            QUICK,
        )
        .await;
        assert_eq!(
            stayed,
            Stayed {
                is_reported: true,
                why: Why::OtherJob
            }
        );
        assert!(server.requests().len() >= 26);
        board.read(|state| assert!(state.activity.contains("Enter"), "{state:?}"));
    }

    /// Before its check-in our own server does not take the word of a machine.
    #[tokio::test]
    async fn a_machine_whose_reports_are_refused_is_free_for_another_job_and_when_its_task_is_over()
    {
        for (state, is_other, is_reported, why) in [
            (State::InProgress, true, false, Why::OtherJob),
            (State::Cancelled, false, true, Why::TimeIsUp),
        ] {
            let count = AtomicU32::new(0);
            let server = TestServer::start(move |request| match is_report(request) {
                true => Reply::text("not checked in"),
                false if count.fetch_add(1, Ordering::SeqCst) < 10 => {
                    Reply::text(&view(State::InProgress, false))
                }
                false => Reply::text(&view(state, is_other)),
            });
            let (mut keys, _typist) = keyboard();
            let (client, board) = (client_of(&server), Board::default());
            let stayed = after_failure(
                Some(&client),
                &own(),
                &failure(false),
                &board,
                &mut keys,
                QUICK,
            )
            .await;
            assert_eq!(stayed, Stayed { is_reported, why });
        }
    }

    /// One of FOG's own servers, which says with its boot script whether there is a task, and takes no failures.
    fn stock(has_task: impl Fn(u32) -> bool + Send + 'static, report: &'static str) -> TestServer {
        let count = AtomicU32::new(0);
        TestServer::start(move |request| {
            if request.path.ends_with("Post_Stage3.php") {
                return Reply::text(report);
            }
            if request.path.ends_with("getversion.php") {
                return Reply::text("1.5.8");
            }
            if !request.path.ends_with("boot.php") {
                return Reply::redirect("/fog/management/index.php");
            }
            Reply::text(if has_task(count.fetch_add(1, Ordering::SeqCst)) {
                "#!ipxe\nkernel bzImage img=lab type=down mc=yes\nboot\n"
            } else {
                "#!ipxe\nmenu\n"
            })
        })
    }

    #[tokio::test]
    async fn at_a_server_that_takes_no_failures_a_cancelled_task_ends_the_reports_not_the_screen() {
        // Cancelled, and created anew.
        let server = stock(|asked| !(3..8).contains(&asked), "");
        // It has died and begun again: which program the server is, it has to ask.
        let client = server.client();
        let (mut keys, _typist) = keyboard();
        let board = Board::default();
        let own = own();
        let stayed = after_failure(
            Some(&client),
            &own,
            &failure(true),
            &board,
            &mut keys,
            QUICK,
        )
        .await;
        assert_eq!(stayed.why, Why::OtherJob);
        assert_eq!(client.kind(), Some(Kind::Stock));
        let said = board.said();
        assert!(
            said.iter()
                .any(|line| line.contains("no task for this machine")),
            "{said:?}"
        );
    }

    /// FOG before 1.6 completes the tasks of a whole room with its first machine.
    #[tokio::test]
    async fn at_a_server_that_has_forgotten_the_task_a_good_machine_does_not_stay() {
        let server = stock(|asked| asked < 2, "No Active Task found for Host: LAB-01");
        let client = server.client();
        client.learn(Kind::Stock);
        let (mut keys, _typist) = keyboard();
        let own = KernelArgs::parse("img=lab type=down mc=yes");
        let board = Board::default();
        let why = after_success(&client, &own, &board, &mut keys, QUICK).await;
        assert_eq!(why, Why::Settled);
        // The room's next task is not completed by the end of this one.
        let other = KernelArgs::parse("img=before type=down mc=yes");
        let server = stock(|_| true, "##");
        let client = server.client();
        client.learn(Kind::Stock);
        let why = after_success(&client, &other, &board, &mut keys, QUICK).await;
        assert_eq!(why, Why::OtherJob);
        let requests = server.requests();
        assert!(
            requests
                .iter()
                .all(|request| request.path.ends_with("boot.php"))
        );
    }

    #[tokio::test]
    async fn without_a_server_only_a_person_can_help() {
        let (mut keys, mut typist) = keyboard();
        let board = Board::default();
        let (own, failure) = (own(), failure(false));
        let mut stay = std::pin::pin!(after_failure(
            None, &own, &failure, &board, &mut keys, QUICK
        ));
        tokio::select! {
            biased;
            stayed = &mut stay => panic!("{stayed:?}"),
            () = tokio::task::yield_now() => {}
        }
        typist.write_all(b"\n").unwrap();
        assert_eq!(stay.await.why, Why::Enter);
    }

    #[tokio::test]
    async fn completion_is_reported_until_it_is_taken_or_the_task_is_over() {
        let count = AtomicU32::new(0);
        let server = TestServer::start(move |request| {
            if !request.path.ends_with("Post_Stage3.php") {
                return Reply::text(&view(State::InProgress, false));
            }
            match count.fetch_add(1, Ordering::SeqCst) {
                0..20 => Reply::status(403, ""),
                20..40 => Reply::redirect("/fog/management/index.php"),
                _ => Reply::text("##"),
            }
        });
        let (mut keys, mut typist) = keyboard();
        let board = Board::default();
        let why = after_success(
            &client_of(&server),
            &KernelArgs::default(),
            &board,
            &mut keys,
            QUICK,
        )
        .await;
        assert_eq!(why, Why::Settled);

        let server = TestServer::start(|request| {
            if request.path.ends_with("Post_Stage3.php") {
                Reply::text("no active task")
            } else {
                Reply::text(&view(State::Complete, false))
            }
        });
        let why = after_success(
            &client_of(&server),
            &KernelArgs::default(),
            &board,
            &mut keys,
            QUICK,
        )
        .await;
        assert_eq!(why, Why::Settled);

        typist.write_all(b"\n").unwrap();
        let client = TestServer::dead_client();
        let why = after_success(&client, &KernelArgs::default(), &board, &mut keys, QUICK).await;
        assert_eq!(why, Why::Enter);
    }
}
