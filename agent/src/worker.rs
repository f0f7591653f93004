//! The worker: one task from the kernel arguments to the report, with its own console.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use fog::KernelArgs;

use crate::control::completion::Patience;
use crate::control::trouble;
use crate::control::{Identity, Server};
use crate::deploy::{self, Failure, Job, Told};
use crate::exit::{Ending, FailureNote};
use crate::net;
use crate::screen::{Board, Console, Outcome, Screen};

/// How far a worker goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// To the server.
    Network,
    /// Through the task.
    Task,
}

/// The kernel arguments of this boot.
pub(crate) fn booted_cmdline() -> String {
    std::fs::read_to_string("/proc/cmdline").unwrap_or_default()
}

/// The worker of a booted machine.
pub(crate) fn run(cmdline: &str, goal: Goal) -> Ending {
    let note = FailureNote::of_boot();
    note.clear();
    note_panics(note.clone());
    let args = KernelArgs::parse(cmdline);
    let console = Stage::new();
    let mut told_by = None;
    let result = console.block_on(boot(&args, goal, &console.board, &mut told_by));
    match result {
        Ok(_) if goal == Goal::Network => Ending::Reboot,
        Ok(Told::No(text)) => {
            note.leave(&text);
            console.show_result(&Outcome::DoneUnreported(text));
            Ending::DoneUnreported
        }
        Ok(Told::Yes) => {
            console.show_result(&Outcome::Done);
            if args.is_shutdown() {
                Ending::PowerOff
            } else {
                Ending::Reboot
            }
        }
        Err(failure) => {
            note.leave(&failure.text);
            say_failed(&console.board, &failure.text);
            let is_told = match &told_by {
                Some(server) if goal == Goal::Task => {
                    console.block_on(tell(server, &failure, &console.board))
                }
                _ => false,
            };
            console.show_result(&Outcome::Failed(failure.text));
            if failure.needs_restart {
                Ending::Restart
            } else if is_told {
                Ending::FailedReported
            } else {
                Ending::FailedUnreported
            }
        }
    }
}

/// A deploy on a machine whose network is up, to a given target. Never reboots.
pub(crate) fn deploy(cmdline: &str, target: PathBuf, interface: Option<String>) -> ExitCode {
    let args = KernelArgs::parse(cmdline);
    let console = Stage::new();
    let board = &console.board;
    let outcome = console.block_on(async {
        let server = server(&args, &[])
            .map_err(|error| Failure::new("arguments", error))
            .inspect_err(|failure| say_failed(board, &failure.text))?;
        greet(board, &args, &server);
        let job = Job {
            args: args.clone(),
            target: deploy::TargetChoice::Path(target),
            interface,
            cards: args.macs(),
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

/// Tells the server that the task has failed, after the worker died without a word.
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
            console
                .board
                .say(format!("the server could not be told: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// `told_by` gets the server as soon as there is one to tell of a failure.
async fn boot(
    args: &KernelArgs,
    goal: Goal,
    board: &Board,
    told_by: &mut Option<Server>,
) -> Result<Told, Failure> {
    let phase = board.phase("network");
    board.activity("network", "connecting to the network");
    let no_network = |error| Failure::new("network", anyhow::Error::from(error));
    let cards = net::find_cards(board).await.map_err(no_network)?;
    let macs: Vec<fog::Mac> = cards.iter().map(|card| card.mac).collect();
    let server = server(args, &macs).map_err(|error| Failure::new("arguments", error))?;
    *told_by = Some(server.clone());
    greet(board, args, &server);
    let uplink = net::bring_up(board, args, &server)
        .await
        .map_err(no_network)?;
    drop(phase);
    if goal == Goal::Network {
        // The address stays; only nobody renews it.
        return Ok(Told::Yes);
    }
    let job = Job {
        args: args.clone(),
        target: deploy::TargetChoice::ByArguments,
        interface: Some(uplink.card.clone()),
        cards: uplink.cards.clone(),
        patience: Patience::default(),
    };
    deploy::run(job, &server, board).await
}

fn server(args: &KernelArgs, cards: &[fog::Mac]) -> anyhow::Result<Server> {
    let web = args.web()?;
    let identity = Identity::new(args, cards);
    Server::new(web, identity).context("preparing calls to the server")
}

fn greet(board: &Board, args: &KernelArgs, server: &Server) {
    board.update(|state| {
        let name = args.value("hostname").unwrap_or(&server.identity().mac);
        state.host = fog::encoding::printable(name, 64);
        state.server = server.web().to_owned();
    });
    if server.is_https() {
        board.warn(
            "the server's certificate is not checked (there is no list of authorities in a boot \
             image); whoever controls the network could pose as the server",
        );
    }
}

/// Shows a failure at once: to report it may take minutes.
fn say_failed(board: &Board, text: &str) {
    let text = text.replace('\n', "; ");
    board.say(format!("FAILED: {text}"));
    board.update(|state| state.result = Some(Outcome::Failed(text)));
}

/// Tells the server unless it knows; answers whether it knows now.
async fn tell(server: &Server, failure: &Failure, board: &Board) -> bool {
    if failure.is_known_to_server {
        return true;
    }
    board.activity("report", "telling the server about the failure");
    let patience = if failure.part == "network" {
        trouble::Patience::brief()
    } else {
        trouble::Patience::default()
    };
    match trouble::tell_failure(server, board, &failure.text, failure.part, patience).await {
        Ok(()) => true,
        Err(error) => {
            board.warn(format!("the server could not be told: {error}"));
            false
        }
    }
}

/// Leaves the text of a panic where PID 1 finds it.
fn note_panics(note: FailureNote) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        note.leave(&info.to_string().replace('\n', " "));
        usual(info);
    }));
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

    /// The last lines: peak memory and the result, for people and programs.
    fn show_result(&self, result: &Outcome) {
        if let Some(peak) = peak_memory() {
            self.board.say(format!("fos-agent: memory peak={peak}"));
        }
        let text = match result {
            Outcome::Done => "ok".to_owned(),
            // The warning has the reason.
            Outcome::DoneUnreported(_) => "ok, but the server could not be told".to_owned(),
            Outcome::Failed(text) => {
                // The line with FAILED was printed before it was reported.
                format!("failed: {}", text.replace('\n', "; "))
            }
        };
        self.board.say(format!("fos-agent: result {text}"));
        self.board.update(|state| {
            state.wait = None;
            state.result = Some(result.clone());
        });
    }
}

/// The largest resident size so far in KiB (`VmHWM` in `/proc/self/status`).
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
