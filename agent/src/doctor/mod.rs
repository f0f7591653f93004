//! `doctor`: finds out what keeps this machine from being deployed. The rules are those of [`diagnosis`]; here
//! are the probes that gather the evidence.

mod attend;
mod cards;
mod gather;
mod machine;
mod multicast;
mod offers;
mod path;
mod route;
mod server;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use diagnosis::{Cause, Evidence, FirstAnswer, checks, diagnose, report};
use fog::KernelArgs;
use readable::Time;

use crate::worker;
pub(crate) use attend::Attendant;
pub(crate) use gather::{Situation, network};
pub(crate) use machine::Wish;
pub(crate) use multicast::{ask, listen};
pub(crate) use route::towards;

/// What `--help` says last.
const AFTER_HELP: &str = "It takes about 5 s, and longer where nothing answers. It writes to no disk, takes no \
    address and takes part in no session. It needs root.\n\
    Exit status: 0 no cause was found, 1 it could not look, 2 wrong usage, 3 causes were found.\n\
    --json prints one object: \"ok\" (whether no cause was found), \"findings\" (code, text, evidence, advice; the \
    one that explains the others first) and \"checks\" (check, result: fine, problem or skipped, text).";

/// `fos-agent doctor`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct DoctorArgs {
    /// Kernel arguments to use instead of /proc/cmdline
    #[arg(long, value_name = "ARGUMENTS")]
    cmdline: Option<String>,
    /// Network card that is to receive, by name or address (default: by the route to the server)
    #[arg(long, value_name = "INTERFACE")]
    interface: Option<String>,
    /// A disk, or a file, to look at; may be repeated (default: all disks of this machine)
    #[arg(long = "disk", value_name = "DISK|FILE")]
    disks: Vec<PathBuf>,
    /// The sender sends now by multicast (to two or more), so that silence has a cause; a fos-server says so by
    /// itself
    #[arg(long)]
    sending: bool,
    /// How long to look again where nothing answers: a switch port may need half a minute
    #[arg(long, value_name = "SECONDS", default_value_t = 40, value_parser = clap::value_parser!(u64).range(..=600))]
    patience: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs `doctor`.
pub(crate) fn run(args: &DoctorArgs) -> ExitCode {
    let cmdline = args.cmdline.clone();
    let situation = Situation {
        args: KernelArgs::parse(&cmdline.unwrap_or_else(worker::booted_cmdline)),
        interface: args.interface.clone(),
        is_sending: args.sending,
        disks: match args.disks.as_slice() {
            [] => Wish::All,
            disks => Wish::These(disks.to_vec()),
        },
    };
    tell("looking at link, network, server and disks; this takes some seconds");
    let (evidence, causes) = match examine(&situation, Duration::from_secs(args.patience)) {
        Ok(found) => found,
        Err(error) => {
            tell(&format!("error: {error:#}"));
            return ExitCode::FAILURE;
        }
    };
    let checks = checks(&evidence, &causes);
    let text = match args.json {
        true => format!("{}\n", report::json(&checks, &causes)),
        false => report::text(&checks, &causes),
    };
    conclude(&text, &causes)
}

/// Prints a report and turns it into an exit status.
pub(crate) fn conclude(text: &str, causes: &[Cause]) -> ExitCode {
    let mut stdout = io::stdout();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match (written, causes.is_empty()) {
        (Err(_), _) => ExitCode::FAILURE,
        (Ok(()), true) => ExitCode::SUCCESS,
        (Ok(()), false) => ExitCode::from(FOUND),
    }
}

/// Looks, and again for up to `patience` while nothing at all answers.
fn examine(situation: &Situation, patience: Duration) -> anyhow::Result<(Evidence, Vec<Cause>)> {
    let begin = Instant::now();
    let mut evidence = gather::machine(situation);
    network(situation, &mut evidence)?;
    let mut causes = diagnose(&evidence);
    let mut was_silent = false;
    while let Some(silence) = causes.iter().find(|cause| cause.is_silence())
        && begin.elapsed() < patience
    {
        // What gets an offer has a port that forwards.
        let has_offer = evidence
            .offers
            .as_ref()
            .is_ok_and(|offers| !offers.is_empty());
        was_silent |= !has_offer;
        let left = Time(patience.saturating_sub(begin.elapsed()));
        tell(&format!(
            "{silence}; looking again for up to {left}, as a switch port may need half a minute"
        ));
        network(situation, &mut evidence)?;
        causes = diagnose(&evidence);
    }
    let is_silent = causes.iter().any(Cause::is_silence);
    if was_silent && !is_silent {
        evidence.first_answer = Some(FirstAnswer::Watched(begin.elapsed()));
        causes = diagnose(&evidence);
    }
    Ok((evidence, causes))
}

/// Nothing has come in one turn.
fn is_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// A closed standard error is no reason to fail.
pub(crate) fn tell(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// Causes were found.
const FOUND: u8 = 3;
