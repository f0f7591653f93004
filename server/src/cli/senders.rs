//! `senders`: single senders that run on this machine, as FOG's manager or a person started them.

use std::time::Duration;

use fog::encoding::printable;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::output;
use crate::processes::{self, Process};

/// List the programs udp-sender that run here; the sessions of this server are no such programs
#[derive(Debug, clap::Args)]
pub(super) struct Senders {
    /// End them, as `killall udp-sender` does; waits until they have ended
    #[arg(long)]
    end: bool,
}

/// Between two signals: a sender that has its orderly end needs less.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

impl Senders {
    pub(super) async fn run(&self) -> anyhow::Result<bool> {
        let found = senders();
        if found.is_empty() {
            output::explain(
                "no udp-sender runs here; fos-server status shows the sessions of the server",
            );
            return Ok(true);
        }
        let rows: Vec<Vec<String>> = found.iter().map(row).collect();
        output::result(&output::table(&["PID", "FILE"], &rows));
        if !self.end {
            return Ok(true);
        }
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            send(signal, &found);
            let end = tokio::time::Instant::now() + PATIENCE;
            loop {
                let left = senders();
                let left = left
                    .iter()
                    .filter(|process| found.contains(process))
                    .count();
                if left == 0 {
                    output::explain(&format!("{} ended", found.len()));
                    return Ok(true);
                }
                if tokio::time::Instant::now() >= end {
                    break;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        output::explain("some are still there; only root can end those of other users");
        Ok(false)
    }
}

fn senders() -> Vec<Process> {
    let mut all = processes::in_this_network();
    all.retain(Process::is_single_sender);
    all
}

fn row(process: &Process) -> Vec<String> {
    let file = process.file();
    let file = file.map_or_else(
        || "standard input".to_owned(),
        |file| printable(&file.to_string_lossy(), 200),
    );
    vec![process.pid.to_string(), file]
}

fn send(signal: Signal, to: &[Process]) {
    for process in to {
        match kill(Pid::from_raw(process.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => output::explain(&format!("{}: {}", process.pid, error.desc())),
        }
    }
}
