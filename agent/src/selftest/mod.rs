//! `selftest`: receives a test stream as a deploy receives an image, and says what of the way from the server works.
//! The sender's side is `fos-server selftest`. No disk is touched, and no task of the server.

mod exchange;
mod target;
mod transfer;

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use diagnosis::trial::{End, Received, explained, received, together, together_json};
use diagnosis::{Cause, Evidence, Resolution, Route, diagnose, is_cut_off, report};
use fog::KernelArgs;
use fos_api::room::Seen;
use serde_json::Value;

use crate::doctor::{self, Situation, Wish, conclude, tell};
use crate::{usage, worker};
use exchange::Exchange;
use transfer::Plan;

/// What `--help` says last.
const AFTER_HELP: &str = "Start `fos-server selftest` on the server, and this on one or more clients, in any order. It \
    looks at link, address, name, web server and size of datagrams, asks the sender to be let in, and receives the test \
    by the way that images take. It ends by itself, and says at each wait what it waits for. It needs root.\n\
    Exit status: 0 all works, 1 it could not look, 2 wrong usage, 3 something does not work.\n\
    --json prints one object as `fos-agent doctor` does: \"ok\", \"findings\" (code, text, evidence, advice) and \
    \"checks\" (check, result: fine, problem or skipped, text); and \"together\" (lines, facts), what both ends have seen, \
    null if that is not known.";

/// `fos-agent selftest`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct SelftestArgs {
    /// Name, address or URL of the server (default: web= of the kernel arguments)
    server: Option<String>,
    /// Network card that is to receive, by name or address (default: by the route to the server)
    #[arg(long, short, value_name = "INTERFACE")]
    interface: Option<String>,
    /// UDP port of the receivers, the sender has the next; as at the sender. Sessions have 63100 and up
    #[arg(long, short = 'P', default_value_t = 9000, value_parser = clap::value_parser!(u16).range(1..65535))]
    port: u16,
    /// How long a sender, and then its data, is waited for
    #[arg(long, value_name = "SECONDS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs `selftest`.
pub(crate) fn run(args: &SelftestArgs) -> ExitCode {
    let web = match &args.server {
        Some(server) if server.contains("://") => server.clone(),
        Some(server) => format!("http://{server}/fog/"),
        None => match KernelArgs::parse(&worker::booted_cmdline()).web() {
            Ok(web) => web,
            Err(_) => {
                return usage::complain(
                    "the kernel arguments name no server; give its name or address",
                );
            }
        },
    };
    tell(&format!(
        "looking at link, address and the server at {web}; this takes some seconds"
    ));
    let evidence = match look(&web, args) {
        Ok(evidence) => evidence,
        Err(error) => {
            tell(&format!("error: {error:#}"));
            return ExitCode::FAILURE;
        }
    };
    let plan = reachable(&evidence).map(|sender| Plan {
        sender,
        port: args.port,
        interface: evidence.wanted.clone(),
        wait: Duration::from_secs(args.wait),
    });
    // The sender's port, by TCP.
    let exchange = plan
        .as_ref()
        .map(|plan| Exchange::begin(plan.sender, plan.port.saturating_add(1)));
    let test = plan.as_ref().zip(exchange.as_ref());
    let test = match test
        .map(|(plan, exchange)| transfer::receive(plan, exchange))
        .transpose()
    {
        Ok(test) => test,
        Err(error) => {
            tell(&format!("error: {error:#}"));
            return ExitCode::FAILURE;
        }
    };
    let (checks, mut causes) = received(&evidence, test.as_ref());
    let room = match (&test, exchange) {
        (Some(test), Some(exchange)) => exchange.conclude(seen(&evidence, test, &causes)),
        _ => Err("there was no test".to_owned()),
    };
    if let (Some(test), Ok(room)) = (&test, &room) {
        causes = explained(causes, test, room);
    }
    let text = match args.json {
        true => {
            let mut report = report::json(&checks, &causes);
            report["together"] = room.map_or(Value::Null, |room| together_json(&room));
            format!("{report}\n")
        }
        false => {
            let known = room.map(|room| together(&room));
            format!(
                "{}\n{}\n",
                report::text(&checks, &causes),
                report::together(known)
            )
        }
    };
    conclude(&text, &causes)
}

/// What the sender shall know of it.
fn seen(evidence: &Evidence, test: &Received, causes: &[Cause]) -> Seen {
    let path = evidence.path.as_ref().ok();
    Seen {
        is_let_in: test.group.is_some(),
        requests: test.requests,
        datagrams: test.data,
        datagram_len: test.datagram_len,
        path: path.and_then(|path| Some((path.passed?, path.tried))),
        lost: test.lost,
        bytes: test.bytes,
        millis: u64::try_from(test.time.as_millis()).unwrap_or(u64::MAX),
        is_whole: test.end == End::Whole,
        is_damaged: matches!(test.end, End::Damaged(_) | End::Foreign),
        causes: causes.iter().map(|cause| cause.code().to_owned()).collect(),
    }
}

/// What comes before a transfer.
fn look(web: &str, args: &SelftestArgs) -> anyhow::Result<Evidence> {
    let situation = Situation {
        args: KernelArgs::parse(&format!("web={web}")),
        interface: args.interface.clone(),
        is_sending: false,
        disks: Wish::Nothing,
    };
    let mut evidence = Evidence::default();
    doctor::network(&situation, &mut evidence)?;
    Ok(evidence)
}

/// The server's address, if a transfer has a chance.
fn reachable(evidence: &Evidence) -> Option<Ipv4Addr> {
    let server = evidence.server.as_ref().ok()?;
    let (Resolution::Address(address), Ok(Route::Through { .. })) =
        (&server.resolution, &server.route)
    else {
        return None;
    };
    (!is_cut_off(&diagnose(evidence))).then_some(*address)
}
