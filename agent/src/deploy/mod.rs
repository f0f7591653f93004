//! A deploy: from the server's word to the report.
//!
//! Control runs on tokio in this thread; the data has threads of its own. Nothing is written before
//! everything that can be checked has been checked, and what makes the disk bootable is written
//! last.

mod alone;
mod description;
mod disks;
mod ending;
mod evidence;
mod failure;
mod follow;
mod grow;
mod host_name;
mod in_memory;
mod memory;
mod ntfs;
mod outcome;
mod prepare;
mod pulse;
mod receive;
mod report;
mod resume;
mod scripts;
mod served;
mod streams;
mod swap;
mod target;
mod transfer;
mod unicast;
mod volumes;

#[cfg(test)]
pub(crate) use self::resume::tests::any_view as tests_view;

#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod stock_tests;
#[cfg(test)]
mod test_room;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use disk::Target;
use fog::KernelArgs;

use crate::control::completion::Patience;
use crate::control::features;
use crate::control::trouble::{self, Severity};
use crate::control::{Server, checkin, inventory, progress};
use crate::screen::Board;
pub(crate) use disks::{Disks, Finish};
pub(crate) use ending::Ending;
pub(crate) use failure::Failure;
use failure::Touched;
pub(crate) use grow::{Said, Tools, alone};
use prepare::prepare;
pub(crate) use pulse::{HANGS_AFTER, Waiting, attend_reading, attend_working};
pub(crate) use receive::options as receive_options;
use target::Chosen;
pub(crate) use target::{TargetChoice, Wanted, choose};
use transfer::{Task, Transfer};
pub(crate) use volumes::heads;

/// What is to be done, and with what.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) args: KernelArgs,
    pub(crate) target: TargetChoice,
    /// To receive on, by name or address; by the route to the sender if not given.
    pub(crate) interface: Option<String>,
    /// The image share of one of FOG's own servers, where it is mounted already.
    pub(crate) share: Option<PathBuf>,
    /// Whether the scripts of the share are run, where that is possible.
    pub(crate) runs_scripts: bool,
    /// With the report at the end.
    pub(crate) patience: Patience,
}

/// Whether the server knows that everything is written and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// It does, or there is nobody to tell.
    Yes,
    /// It did not answer, and why.
    No(String),
}

/// Runs the whole deploy. `Ok` means that the disk is complete and verified, whatever the server
/// knows of it.
///
/// # Errors
/// The first thing that went wrong, and that nothing was written if so. Else the disk has no partition
/// table.
pub(crate) async fn run(job: Job, server: &Server, board: &Board) -> Result<Told, Failure> {
    let touched = Touched::default();
    let done = carry_out(&job, server, board, &touched).await;
    done.map_err(|mut failure| {
        if !failure.tells_of_disk {
            failure.text = touched.complete(&failure.text);
        }
        failure.is_touched = touched.is_touched();
        failure
    })
}

async fn carry_out(
    job: &Job,
    server: &Server,
    board: &Board,
    touched: &Touched,
) -> Result<Told, Failure> {
    deploy_plan::check_arguments(&job.args).map_err(|error| Failure::new("arguments", error))?;
    board.activity("checkin", "asking the server for its features");
    let features = features::ask(server, board)
        .await
        .map_err(|error| Failure::new("capabilities", error))?;
    if !job.args.is_unregistered() {
        board.step("check in").await;
        let _phase = board.phase("checkin");
        board.activity("checkin", "checking in");
        let let_in = checkin::let_in(server, &job.args, board, checkin::Rhythm::default()).await;
        let_in.map_err(|over| Failure::known("checkin", over))?;
    }
    board
        .step("read the image's description and check the disk")
        .await;
    let prepared = {
        let _phase = board.phase("prepare");
        board.activity(
            "prepare",
            "reading the image's description and checking the disk",
        );
        prepare(job, server, &features, board).await?
    };
    let targets = prepared.targets.iter();
    touched.follow(targets.map(Target::touched).collect());
    let overwrites = prepared
        .chosen
        .iter()
        .filter_map(|disk| disk.overwrites.as_ref());
    tell_warnings(server, board, overwrites).await;
    tell_warnings(server, board, &prepared.plan.warnings).await;
    let mut transfer = Transfer {
        job,
        server,
        board,
        touched,
        features: &features,
        prepared: Arc::new(prepared),
    };
    let first = transfer.prepared.chosen.first();
    let machine = first.map(Chosen::inventory).unwrap_or_default();
    board
        .step("receive the image and write it to the disk")
        .await;
    {
        let reports = progress::report(server, board, progress::Rhythm::default());
        let machine = inventory::send(server, board, &machine, inventory::PAUSE);
        tokio::select! {
            done = transfer.run(Task::Deploy) => done?,
            // Neither ends before the work does.
            () = async { tokio::join!(reports, machine); } => {}
        }
    }
    let late = std::mem::take(&mut *lock(&transfer.prepared.late_warnings));
    tell_warnings(server, board, &late).await;
    tell_warnings(server, board, transfer.boot_problem()).await;
    transfer.run_script().await?;
    if job.args.is_unregistered() {
        return Ok(Told::Yes);
    }
    board.step("report the completion").await;
    let _phase = board.phase("report");
    let told = transfer.report().await;
    if let Told::No(text) = &told {
        board.warn(text.clone());
    }
    Ok(told)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows warnings and tells the server; that it cannot be told is no further trouble.
async fn tell_warnings(
    server: &Server,
    board: &Board,
    warnings: impl IntoIterator<Item = impl std::fmt::Display>,
) {
    for warning in warnings {
        let warning = warning.to_string();
        board.warn(warning.clone());
        if trouble::tell(server, Severity::Warning, &warning, "prepare")
            .await
            .is_err()
        {
            // The endpoint is missing or the server busy: the screen has it.
            return;
        }
    }
}

/// While data comes.
const ACTIVITY: &str = "receiving and writing";
const SESSION_PAUSE: Duration = Duration::from_secs(2);
