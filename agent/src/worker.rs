//! The worker: one task from the kernel arguments to the report, with its own console.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use fog::KernelArgs;

use crate::capture;
use crate::control::completion::Patience;
use crate::control::{Identity, Server, Trust};
use crate::control::{trouble, usb};
use crate::deploy::{self, Failure, Job, Told};
use crate::doctor::Attendant;
use crate::exit::{Ending, FailureNote, NO_MEMORY, PROGRAMMING_ERROR};
use crate::memory;
use crate::net;
use crate::panics;
use crate::screen::{self, Board, Console, Keys, Outcome, Screen, done, one_line};
use crate::stay::{self, Rhythm, Why};

/// How far a worker goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// To the server.
    Network,
    /// Through the task.
    Task,
}

/// Whether somebody wants to let each step go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Steady,
    Steps,
}

/// The kernel arguments of this boot.
pub(crate) fn booted_cmdline() -> String {
    std::fs::read_to_string("/proc/cmdline").unwrap_or_default()
}

/// The worker of a booted machine.
pub(crate) fn run(cmdline: &str, goal: Goal, pace: Pace) -> Ending {
    let note = FailureNote::of_boot();
    note.clear();
    let of_panic = note.clone();
    panics::before_end(move |text| of_panic.leave(text));
    let mut args = KernelArgs::parse(cmdline);
    let console = Stage::new();
    let board = &console.board;
    let _attendant = Attendant::start(board, &args, None);
    if goal == Goal::Task {
        Keys::offer_shell(board, &args);
        screen::follow_kernel(board);
    }
    console.keep(pace);
    let rhythm = Rhythm::of(&args, board);
    let mut reach = Reach::default();
    let result = console.block_on(boot(&mut args, goal, board, &mut reach));
    let done = if args.is_shutdown() {
        Ending::PowerOff
    } else {
        Ending::Reboot
    };
    match result {
        Ok(_) if goal == Goal::Network => Ending::Reboot,
        Ok(Told::No(text)) => {
            note.leave(&text);
            console.show_result(&Outcome::DoneUnreported(text));
            let why = console.block_on(async {
                let mut keys = Keys::of_console();
                match &reach.server {
                    Some(server) => {
                        stay::after_success(server, &args, board, &mut keys, rhythm).await
                    }
                    None => Why::Settled,
                }
            });
            match why {
                Why::Enter => Ending::DoneUnreported,
                Why::OtherJob => Ending::Reboot,
                Why::Settled | Why::TimeIsUp => done,
            }
        }
        Ok(Told::Yes) => {
            console.show_result(&Outcome::Done);
            // Somebody's shell goes on.
            if nix::unistd::getppid().as_raw() == 1 {
                console.count_down(done);
            }
            done
        }
        Err(failure) => {
            note.leave(&failure.text);
            say_failed(board, &failure.text);
            console.show_result(&Outcome::Failed(failure.text.clone()));
            if failure.needs_restart && !failure.is_touched {
                return Ending::Restart;
            }
            if goal == Goal::Network {
                return Ending::FailedUnreported;
            }
            console.stay(reach.server.as_ref(), &args, &failure, rhythm)
        }
    }
}

/// What a deploy does not have to find out.
pub(crate) struct Given {
    /// Disks or files, in the order of the image's disks.
    pub(crate) targets: Vec<PathBuf>,
    pub(crate) interface: Option<String>,
    /// Where the image share is mounted.
    pub(crate) share: Option<PathBuf>,
    /// Those of the share.
    pub(crate) runs_scripts: bool,
    pub(crate) pace: Pace,
}

/// A deploy on a machine whose network is up, to given targets. Never reboots.
pub(crate) fn deploy(cmdline: &str, given: Given) -> ExitCode {
    let mut args = KernelArgs::parse(cmdline);
    report_lack_of_memory(cmdline);
    report_panics(cmdline);
    let console = Stage::new();
    let board = &console.board;
    let _attendant = Attendant::start(board, &args, given.interface.as_deref());
    console.keep(given.pace);
    let outcome = console.block_on(async {
        let server = server(&args, &[])
            .map_err(|error| Failure::new("arguments", error))
            .inspect_err(|failure| say_failed(board, &failure.text))?;
        greet(board, &args, &server);
        let asked = ask_for_job(&mut args, &server, board).await;
        asked.inspect_err(|failure| say_failed(board, &failure.text))?;
        let job = Job {
            args: args.clone(),
            target: deploy::TargetChoice::Paths(given.targets),
            interface: given.interface,
            share: given.share,
            runs_scripts: given.runs_scripts,
            patience: Patience::default(),
        };
        let result = deploy::run(job, &server, board).await;
        if let Err(failure) = &result {
            say_failed(board, &failure.text);
            tell(&server, failure, board).await;
        }
        result
    });
    match outcome {
        Ok(Told::No(text)) => {
            console.show_result(&Outcome::DoneUnreported(text));
            Ending::DoneUnreported.into()
        }
        Ok(Told::Yes) => {
            console.show_result(&Outcome::Done);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            console.show_result(&Outcome::Failed(failure.text));
            ExitCode::FAILURE
        }
    }
}

/// Without PID 1 the process itself has to report that it has run out of memory: as another one, which
/// ends with 1 as this one would have.
fn report_lack_of_memory(cmdline: &str) {
    let text = format!("{NO_MEMORY}; the disk may be partly written");
    let words = successor(cmdline, &text);
    memory::succeed_by(OWN_PROGRAM.as_ref(), &words.map(OsStr::new));
}

/// The same for a programming error.
fn report_panics(cmdline: &str) {
    let cmdline = cmdline.to_owned();
    panics::before_end(move |text| {
        let text = format!("{PROGRAMMING_ERROR}: {text}; the disk may be partly written");
        let [name, arguments @ ..] = successor(&cmdline, &text);
        // Where that fails, the text that was printed and the exit code are all there is.
        drop(Command::new(OWN_PROGRAM).arg0(name).args(arguments).exec());
    });
}

/// The name and the arguments of the process that reports a failure instead of this one.
fn successor<'a>(cmdline: &'a str, text: &'a str) -> [&'a str; 7] {
    [
        "fos-agent",
        "report-failure",
        "--failed",
        "--cmdline",
        cmdline,
        "--text",
        text,
    ]
}

const OWN_PROGRAM: &str = "/proc/self/exe";

/// After a worker that died without a word: reports its failure, and shows it as the worker would have.
pub(crate) fn stay(cmdline: &str, text: &str) -> Ending {
    let args = KernelArgs::parse(cmdline);
    let console = Stage::new();
    let mut failure = Failure::new("worker", anyhow::anyhow!("{text}"));
    // As far as anybody knows.
    failure.is_touched = true;
    say_failed(&console.board, &failure.text);
    let server = server(&args, &net::cards_now()).ok();
    Keys::offer_shell(&console.board, &args);
    let rhythm = Rhythm::of(&args, &console.board);
    console.stay(server.as_ref(), &args, &failure, rhythm)
}

/// Reports the failure of a deploy that could not do so itself, and ends as it would have.
pub(crate) fn end_failed(cmdline: &str, text: &str) -> ExitCode {
    let console = Stage::new();
    say_failed(&console.board, text);
    drop(console);
    // It says itself if that fails.
    let _reported = report_failure(cmdline, text);
    let console = Stage::new();
    console.show_result(&Outcome::Failed(text.to_owned()));
    ExitCode::FAILURE
}

/// Reports to the server that the task has failed.
pub(crate) fn report_failure(cmdline: &str, text: &str) -> ExitCode {
    let args = KernelArgs::parse(cmdline);
    let console = Stage::new();
    let told = console.block_on(async {
        let cards = net::cards_now();
        let server = server(&args, &cards)?;
        let patience = trouble::Patience::default();
        trouble::tell_failure(&server, &console.board, text, "worker", patience).await?;
        anyhow::Ok(())
    });
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console.board.say(format!(
                "the server has not stored the report: {}",
                readable::chain(error.as_ref())
            ));
            ExitCode::FAILURE
        }
    }
}

/// What a boot has reached: it is needed after a failure, too.
#[derive(Default)]
struct Reach {
    server: Option<Server>,
    uplink: Option<net::Uplink>,
}

async fn boot(
    args: &mut KernelArgs,
    goal: Goal,
    board: &Board,
    reach: &mut Reach,
) -> Result<Told, Failure> {
    board.step("connect to the network").await;
    let phase = board.phase("network");
    board.activity("network", "connecting to the network");
    let mut keys = None;
    while let Err(error) = connect(args, board, reach).await {
        let failure = match error {
            Unconnected::Arguments(error) => return Err(Failure::new("arguments", error)),
            Unconnected::Network(error) => Failure::new("network", error),
        };
        if goal == Goal::Network {
            return Err(failure);
        }
        // Nothing was written and nothing can be reported: whatever a restart would bring, another try
        // brings too, and the reason stays on the screen.
        board.say(format!("no network: {}; trying again", failure.text));
        board.wait_for(
            "another try to connect to the network",
            vec![failure.text, "Enter restarts this machine".into()],
        );
        tokio::select! {
            () = tokio::time::sleep(NETWORK_PAUSE) => {}
            () = keys.get_or_insert_with(Keys::of_console).enter() => {
                let text = anyhow::anyhow!("somebody has restarted this machine while it had no network");
                let mut failure = Failure::new("network", text);
                failure.needs_restart = true;
                return Err(failure);
            }
        }
        board.activity("network", "connecting to the network");
    }
    drop((phase, keys));
    if goal == Goal::Network {
        // The address stays, and is renewed.
        return Ok(Told::Yes);
    }
    let (Some(server), Some(uplink)) = (&reach.server, &reach.uplink) else {
        let error = anyhow::anyhow!("the network was lost by a programming error");
        return Err(Failure::new("network", error));
    };
    ask_for_job(args, server, board).await?;
    if args.is_capture() {
        return capture::task(args, server, board, Patience::default()).await;
    }
    let job = Job {
        args: args.clone(),
        target: deploy::TargetChoice::ByArguments,
        interface: Some(uplink.card.clone()),
        share: None,
        runs_scripts: true,
        patience: Patience::default(),
    };
    deploy::run(job, server, board).await
}

/// Completes the arguments of a machine that booted from USB, which only name the server.
async fn ask_for_job(args: &mut KernelArgs, server: &Server, board: &Board) -> Result<(), Failure> {
    if !args.must_ask_for_job() {
        return Ok(());
    }
    board.activity("network", "asking the server for the task of this machine");
    usb::ask(server, args, board, usb::PAUSE)
        .await
        .map_err(|error| Failure::new("arguments", error))?;
    if let Some(name) = args.value("hostname") {
        let name = fog::encoding::printable(name, 64);
        board.update(|state| state.host = name);
    }
    Ok(())
}

/// Why the server was not reached.
enum Unconnected {
    /// The kernel arguments do not say where it is.
    Arguments(anyhow::Error),
    Network(net::NetworkError),
}

async fn connect(args: &KernelArgs, board: &Board, reach: &mut Reach) -> Result<(), Unconnected> {
    let cards = net::find_cards(board).await.map_err(Unconnected::Network)?;
    let macs: Vec<fog::Mac> = cards.iter().map(|card| card.mac).collect();
    let server = server(args, &macs).map_err(Unconnected::Arguments)?;
    greet(board, args, &server);
    let vlan = net::Vlan::of(args).map_err(|error| Unconnected::Arguments(error.into()))?;
    let uplink = net::bring_up(board, args, vlan.as_ref(), &server)
        .await
        .map_err(Unconnected::Network)?;
    reach.server = Some(server);
    reach.uplink = Some(uplink);
    Ok(())
}

fn server(args: &KernelArgs, cards: &[fog::Mac]) -> anyhow::Result<Server> {
    let web = args.web()?;
    let identity = Identity::new(args, cards);
    let trust = Trust::of_boot(args)?;
    Server::new(web, identity, &trust).context("preparing calls to the server")
}

fn greet(board: &Board, args: &KernelArgs, server: &Server) {
    board.update(|state| {
        let name = args.value("hostname").unwrap_or(&server.identity().mac);
        state.host = fog::encoding::printable(name, 64);
        state.server = server.web().to_owned();
    });
    if args.value("fospin").is_some() && server.web().starts_with("http:") {
        board.warn("fospin= has no effect: web= is http://, where a server proves nothing");
    }
    if server.is_believed_unseen() {
        board.warn(
            "the server's certificate is not checked: there is neither fospin= among the kernel arguments nor an \
             authority in this boot image; whoever controls the network could pose as the server",
        );
    }
}

/// Shows a failure at once: to report it may take minutes.
fn say_failed(board: &Board, text: &str) {
    board.say_of_state(format!("FAILED: {}", one_line(text)));
    board.update(|state| state.result = Some(Outcome::Failed(text.to_owned())));
}

/// Tells the server unless it knows; answers whether it knows now.
async fn tell(server: &Server, failure: &Failure, board: &Board) -> bool {
    if failure.is_known_to_server {
        return true;
    }
    board.activity("report", "reporting the failure to the server");
    let patience = trouble::Patience::default();
    match trouble::tell_failure(server, board, &failure.text, failure.part, patience).await {
        Ok(()) => true,
        Err(error) => {
            board.warn(format!(
                "the server has not stored the report of the failure: {error}"
            ));
            false
        }
    }
}

/// A console and a runtime for one command.
struct Stage {
    board: Board,
    // Dropped before the process ends, so that everything is printed.
    _screen: Option<Screen>,
}

impl Stage {
    fn new() -> Self {
        let board = Board::default();
        // Without a thread for the screen the work can still be done.
        let screen = Screen::start(&board, Console::stdout()).ok();
        Self {
            board,
            _screen: screen,
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "without a runtime nothing can be done; PID 1 reports the panic"
    )]
    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("the kernel gives an event queue to the first process that asks")
            .block_on(work)
    }

    fn keep(&self, pace: Pace) {
        if pace == Pace::Steps {
            self.board.go_by_steps(Keys::of_console());
        }
    }

    /// Shows a failure until it may be left.
    fn stay(
        &self,
        server: Option<&Server>,
        own: &KernelArgs,
        failure: &Failure,
        rhythm: Rhythm,
    ) -> Ending {
        let stayed = self.block_on(async {
            let mut keys = Keys::of_console();
            stay::after_failure(server, own, failure, &self.board, &mut keys, rhythm).await
        });
        if stayed.is_reported {
            Ending::FailedReported
        } else {
            Ending::FailedUnreported
        }
    }

    /// Leaves the result on the screen for a moment.
    fn count_down(&self, ending: Ending) {
        let what = if ending == Ending::PowerOff {
            "done: this machine is switched off"
        } else {
            "done: this machine restarts"
        };
        let end = Instant::now() + SUCCESS_PAUSE;
        self.board.count_down(what, end, "");
        std::thread::sleep(SUCCESS_PAUSE);
    }

    /// The last lines: peak memory and the result, for people and programs.
    fn show_result(&self, result: &Outcome) {
        if let Some(peak) = peak_memory() {
            self.board.say(format!("fos-agent: memory peak={peak}"));
        }
        if matches!(result, Outcome::Done | Outcome::DoneUnreported(_)) {
            let done = self.board.read(done);
            self.board.say_of_state(done);
        }
        let text = match result {
            Outcome::Done => "ok".to_owned(),
            // The warning has the reason.
            Outcome::DoneUnreported(_) => "ok, but the server does not know of it".to_owned(),
            Outcome::Failed(text) => {
                // The line with FAILED was printed before it was reported.
                format!("failed: {}", one_line(text))
            }
        };
        self.board.say(format!("fos-agent: result {text}"));
        self.board.update(|state| {
            state.wait = None;
            state.result = Some(result.clone());
        });
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What follows would take the console from the shell that somebody works with.
        self.board.wait_until_shown();
    }
}

/// To read the result.
const SUCCESS_PAUSE: Duration = Duration::from_secs(10);
/// Between two tries to connect to the network, each of which takes minutes.
const NETWORK_PAUSE: Duration = Duration::from_secs(15);

/// The largest resident size so far in KiB (`VmHWM` in `/proc/self/status`).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::test_server::{Reply, TestServer};

    #[test]
    fn a_process_that_ran_out_of_memory_is_reported_by_its_successor() {
        let server = TestServer::start(|_| Reply::text("##"));
        let cmdline = format!("web={} mac=00:1b:21:aa:bb:cc type=down", server.web());
        assert_eq!(end_failed(&cmdline, NO_MEMORY), ExitCode::FAILURE);
        let requests = server.requests();
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].path, "/fog/service/taskerror.php");
        assert_eq!(requests[0].field("text").as_deref(), Some(NO_MEMORY));
    }
}
