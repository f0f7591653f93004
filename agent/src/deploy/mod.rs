//! A multicast deploy: from the server's word to the report.
//!
//! Control runs on tokio in this thread; the data has threads of its own. Nothing is written before
//! everything that can be checked has been checked, and what makes the disk bootable is written
//! last.

mod failure;
pub(crate) mod flow;
mod follow;
mod plan;
mod receive;
mod streams;
mod swap;
mod target;

#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod samples;

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use cast_net::Stop;
use disk::Target;
use fog::checkin::caps;
use fog::native::Manifest;
use fog::{KernelArgs, Mac};
use tokio::sync::{mpsc, oneshot};

use crate::control::completion::{self, Completion, Patience};
use crate::control::trouble::{self, Severity};
use crate::control::{Server, checkin, image, inventory, progress, session};
use crate::screen::Board;
pub(crate) use failure::Failure;
use flow::{DiskStep, Flow};
use follow::{Follower, Totals};
use plan::DeployPlan;
use receive::{Current, NetworkSources};
use streams::Pipeline;
use target::Chosen;
pub(crate) use target::TargetChoice;

/// What is to be done, and with what.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) args: KernelArgs,
    pub(crate) target: TargetChoice,
    /// To receive on, by name or address; by the route to the sender if not given.
    pub(crate) interface: Option<String>,
    /// Addresses of all cards, for the inventory.
    pub(crate) cards: Vec<Mac>,
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
/// The first thing that went wrong. The disk then has no partition table, unless nothing had been
/// written yet.
pub(crate) async fn run(job: Job, server: &Server, board: &Board) -> Result<Told, Failure> {
    plan::check_arguments(&job.args).map_err(|error| Failure::new("arguments", error))?;
    let capabilities = capabilities(server, board).await?;
    if !job.args.is_unregistered() {
        let _phase = board.phase("checkin");
        board.activity("checkin", "checking in");
        // A task that is over will never be let in; only our own server can tell.
        let news = session::News::new();
        tokio::select! {
            () = checkin::check_in(server, board, checkin::PAUSE) => {}
            reason = session::watch(server, &news, checkin::PAUSE) => {
                return Err(Failure::known("checkin", reason));
            }
        }
    }
    let prepared = {
        let _phase = board.phase("prepare");
        board.activity(
            "prepare",
            "reading the image's description and checking the disk",
        );
        prepare(&job, server, board).await?
    };
    tell_warnings(server, board, &prepared.plan.warnings).await;
    {
        let reports = progress::report(server, board, progress::Rhythm::default());
        let machine = prepared.chosen.inventory();
        let machine = inventory::send(server, &job.cards, &machine);
        let work = transfer(&job, server, board, prepared, &capabilities);
        tokio::select! {
            done = work => done?,
            // Neither ends before the work does.
            () = async { tokio::join!(reports, machine); } => {}
        }
    }
    if job.args.is_unregistered() {
        return Ok(Told::Yes);
    }
    let _phase = board.phase("report");
    board.activity("report", "reporting completion");
    match completion::report(server, board, job.patience, || false).await {
        Completion::Accepted => Ok(Told::Yes),
        // The disk is good, so neither is a failure: as one, the server would hear of it as such.
        // Servers that end the session before slow clients have reported answer "no active task",
        // in any language.
        Completion::Refused(text) => {
            let text = format!(
                "everything is written and verified, but the server does not take the completion \
                 report; it says: {text}"
            );
            board.warn(text.clone());
            Ok(Told::No(text))
        }
        Completion::Unanswered(error) => {
            let text = format!(
                "everything is written and verified, but the server could not be told, so it may \
                 start the task again: {error}"
            );
            board.warn(text.clone());
            Ok(Told::No(text))
        }
    }
}

/// Asks what the server can; only our own server has what a deploy needs beside the streams.
async fn capabilities(server: &Server, board: &Board) -> Result<String, Failure> {
    board.activity("checkin", "asking the server for its features");
    let list = image::persist(board, "the server's list of features", PATIENCE, || {
        server.capabilities()
    })
    .await
    .map_err(|error| Failure::new("capabilities", error))?;
    if !receive::has_capability(&list, caps::NATIVE) {
        let said = fog::encoding::printable(&list, 80);
        return Err(Failure::new(
            "capabilities",
            anyhow::anyhow!(
                "the server at {} is not fos-server (its feature list is {said:?}). A stock FOG \
                 server hands out partition tables by NFS, which this version of fos-agent does \
                 not support: use fos-server, or boot FOG's own client for this host",
                server.web()
            ),
        ));
    }
    Ok(list)
}

/// Everything that is known before the first byte.
struct Prepared {
    chosen: Chosen,
    target: Target,
    plan: DeployPlan,
    window_log_max: u32,
}

async fn prepare(job: &Job, server: &Server, board: &Board) -> Result<Prepared, Failure> {
    let failed = |error: anyhow::Error| Failure::new("prepare", error);
    let manifest = image::manifest(server, board)
        .await
        .context("asking for the image's description")
        .map_err(failed)?;
    board.update(|state| state.image = fog::encoding::printable(&manifest.image_name, 64));
    plan::check_manifest(&job.args, &manifest).map_err(|error| failed(error.into()))?;
    let files = image::small_files(server, board, &manifest)
        .await
        .context("fetching the image's small files")
        .map_err(failed)?;
    let window_log_max = memory_for_windows(&manifest).map_err(failed)?;
    let chosen = target::choose(&job.target, &job.args, board)
        .await
        .map_err(failed)?;
    board.update(|state| state.disk = chosen.to_string());
    let mut plan = plan::plan(&manifest, &files, &chosen.shape)
        .with_context(|| format!("image {} on {chosen}", manifest.image_name))
        .map_err(failed)?;
    plan.warnings
        .extend(plan::computer_name(&job.args, manifest.os_id));
    for line in plan.table.to_string().lines() {
        board.say(line);
    }
    // Exclusive from here on; nothing is written yet.
    let target = chosen.open().map_err(|error| failed(error.into()))?;
    Ok(Prepared {
        chosen,
        target,
        plan,
        window_log_max,
    })
}

/// The largest decompression window that the memory allows, as a power of two.
fn memory_for_windows(manifest: &Manifest) -> anyhow::Result<u32> {
    let info = std::fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let bitmap = manifest
        .streams
        .iter()
        .map(|stream| streams::bitmap_memory(stream.image.total_blocks))
        .max();
    window_log(&info, bitmap.unwrap_or_default())
}

fn window_log(meminfo: &str, bitmap: u64) -> anyhow::Result<u32> {
    let kib: u64 = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .context("/proc/meminfo has no MemAvailable")?;
    let available = kib.saturating_mul(1024);
    let needed = MEMORY_BESIDE.saturating_add(bitmap);
    let left = available.saturating_sub(needed);
    if left < 1 << WINDOW_LOG_MIN {
        anyhow::bail!(
            "this machine has too little memory: {} are available, {} needed at least; FOG's \
             minimum is 512 MB",
            crate::screen::size(available),
            crate::screen::size(needed.saturating_add(1 << WINDOW_LOG_MIN))
        );
    }
    Ok(left.ilog2().min(WINDOW_LOG_MAX))
}

/// The data and the partition table.
async fn transfer(
    job: &Job,
    server: &Server,
    board: &Board,
    prepared: Prepared,
    capabilities: &str,
) -> Result<(), Failure> {
    let failed = |error: anyhow::Error| Failure::new("streams", error);
    board.activity("receive", ACTIVITY);
    let options = receive::options(&job.args, job.interface.as_deref()).map_err(failed)?;
    let rendezvous = format!("{}:{}", options.control_address(), options.port_base);
    board.say(format!(
        "receiving on {}, rendezvous {rendezvous}",
        options.interface
    ));
    let stop = Stop::new()
        .context("preparing to receive")
        .map_err(failed)?;
    let news = session::News::new();
    let current = Current::default();
    let flow = Arc::new(Flow::default());
    let follower = Follower {
        board: board.clone(),
        flow: Arc::clone(&flow),
        current: current.clone(),
        news: news.clone(),
        rendezvous,
        names: prepared
            .plan
            .streams
            .iter()
            .map(|stream| stream.name.to_string())
            .collect(),
        totals: Totals::of(&prepared.plan),
        written: prepared.target.bytes_written(),
    };
    let (farewell, farewells) = mpsc::unbounded_channel::<receive::Farewell>();
    let mut sources = NetworkSources {
        options,
        stop: stop.clone(),
        current,
        news: news.clone(),
        has_record_capability: receive::promises_records(capabilities),
        farewells: farewell,
        is_server_told: false,
    };
    let data_board = board.clone();
    let (say, done) = oneshot::channel();
    std::thread::Builder::new()
        .name("deploy".into())
        .spawn(move || {
            let result = write_disk(&mut sources, prepared, flow, &data_board);
            // Nobody listens any more only if the program ends.
            drop(say.send(result));
        })
        .context("starting the data thread")
        .map_err(failed)?;
    let outcome = Outcomes {
        done,
        farewells,
        patience: STOP_PATIENCE,
    };
    let watch = session::watch(server, &news, SESSION_PAUSE);
    outcome
        .wait(server, board, &stop, watch, follower.follow())
        .await
}

/// What the data threads say.
struct Outcomes {
    done: oneshot::Receiver<Result<(), Failure>>,
    farewells: mpsc::UnboundedReceiver<receive::Farewell>,
    /// How long they may take to end once the deploy is over.
    patience: Duration,
}

impl Outcomes {
    /// Waits for the end of the deploy: the threads', or the reason that `watch` or `follow` gives.
    async fn wait(
        mut self,
        server: &Server,
        board: &Board,
        stop: &Stop,
        watch: impl Future<Output = String>,
        follow: impl Future<Output = String>,
    ) -> Result<(), Failure> {
        let mut watch = pin!(watch);
        let mut follow = pin!(follow);
        let given_up = tokio::select! {
            result = &mut self.done => return ended(result),
            Some(farewell) = self.farewells.recv() => {
                return self.leave(server, board, farewell).await;
            }
            reason = &mut watch => Failure::known("session", reason),
            reason = &mut follow => Failure::new("streams", anyhow::anyhow!("{reason}")),
        };
        drop(self.farewells);
        stop.stop();
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
                        "the disk has not answered for {} s; it may be defective",
                        self.patience.as_secs()
                    ));
                    let mut failure = Failure::new("streams", anyhow::anyhow!("{text}"));
                    failure.is_known_to_server = is_told;
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

/// The data thread: all streams, then the partition table.
fn write_disk(
    sources: &mut NetworkSources,
    prepared: Prepared,
    flow: Arc<Flow>,
    board: &Board,
) -> Result<(), Failure> {
    let Prepared {
        target,
        plan,
        window_log_max,
        ..
    } = prepared;
    let pipeline = Pipeline {
        plan: &plan,
        target: &target,
        flow: Arc::clone(&flow),
        board: board.clone(),
        window_log_max,
        is_table_gone: Mutex::new(false),
    };
    if let Err(error) = pipeline.run(sources) {
        let mut failure = Failure::new("streams", error);
        failure.is_known_to_server = sources.is_server_told;
        return Err(failure);
    }
    if sources.stop.is_stopped() {
        // Given up while the last writes were under way: the disk stays as it is, without a table.
        let stopped = anyhow::anyhow!("the deploy was given up before the partition table");
        return Err(Failure::new("table", stopped));
    }
    let _phase = board.phase("table");
    board.update(|state| state.activity = "writing the partition table".into());
    // Still there if no stream goes to a partition.
    pipeline
        .remove_old_table()
        .context("removing the old partition table")
        .map_err(|error| Failure::new("table", error))?;
    swap::create(&plan, &target).map_err(|error| Failure::new("swap", error))?;
    let report = flow
        .on_disk(DiskStep::Table, || target.make_bootable(&plan.table))
        .context("writing the partition table")
        .map_err(|error| Failure::new("table", error))?;
    for warning in report.warnings {
        board.warn(warning);
    }
    Ok(())
}

/// Shows warnings and tells the server; that it cannot be told is no further trouble.
async fn tell_warnings(server: &Server, board: &Board, warnings: &[String]) {
    for warning in warnings {
        board.warn(warning.clone());
        if trouble::tell(server, Severity::Warning, warning, "prepare")
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
const PATIENCE: Duration = Duration::from_secs(300);
const SESSION_PAUSE: Duration = Duration::from_secs(2);
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// Buffers of network, decoder and disk: 12 + 3 + 16 MiB, rounded up generously.
const MEMORY_BESIDE: u64 = 48 << 20;
/// zstd's default window at FOG's levels is at most 8 MiB, `--ultra` has 128 MiB.
const WINDOW_LOG_MIN: u32 = 23;
const WINDOW_LOG_MAX: u32 = 27;

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
        let never = std::future::pending::<String>;
        let failure = outcomes
            .wait(
                &server.client(),
                &board,
                &Stop::new().unwrap(),
                never(),
                never(),
            )
            .await
            .unwrap_err();
        assert_eq!(failure.text, "d1p1.img: the stream ended early");
        assert!(failure.is_known_to_server && answer.recv().unwrap());
        assert!(board.read(|state| state.activity.contains("waiting for the last writes")));
    }

    #[test]
    fn the_window_is_what_the_memory_allows() {
        let log = |mib: u64| window_log(&format!("MemAvailable: {} kB\n", mib << 10), 0);
        assert_eq!(log(4096).unwrap(), 27);
        assert_eq!(log(48 + 70).unwrap(), 26);
        assert_eq!(log(48 + 8).unwrap(), 23);
        let text = log(48 + 7).unwrap_err().to_string();
        assert!(text.contains("too little memory"), "{text}");
        assert!(window_log("", 0).is_err());
        assert!(window_log("MemAvailable: 100000 kB\n", 1 << 40).is_err());
    }
}
