//! The data and the partition table: what comes, the threads that write it, and what is followed meanwhile.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use deploy_plan::Warning;
use diagnosis::Cause;
use disk::Target;
use fog::checkin::caps;
use imaging::tap::meter::{DiskStep, Flow};
use readable::NAMED_AFTER;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::disks::{Disks, Finish};
use super::failure::Touched;
use super::follow::{Follower, Totals};
use super::grow::AtWork;
use super::outcome::Outcomes;
use super::prepare::Prepared;
use super::receive::{self, Current, NetworkSources, ResumePatience};
use super::scripts::{self, When};
use super::served::ServedSources;
use super::streams::{DeploySources, Pipeline};
use super::target::Chosen;
use super::unicast::{FileSources, SharePatience};
use super::{ACTIVITY, Failure, Job, SESSION_PAUSE, lock};
use crate::control::features::Features;
use crate::control::session::{self, News};
use crate::control::{Server, boot_script};
use crate::firmware;
use crate::screen::Board;

/// What the data threads do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Everything: the streams, and then the partition table.
    Deploy,
    /// Only the streams from this one on, counted from 0. All is on the disk, and nothing is written;
    /// but a server that does not know of it waits for this machine.
    Repeat(usize),
}

/// The data and the partition table, and the report.
pub(super) struct Transfer<'a> {
    pub(super) job: &'a Job,
    pub(super) server: &'a Server,
    pub(super) board: &'a Board,
    pub(super) touched: &'a Touched,
    pub(super) features: &'a Features,
    pub(super) prepared: Arc<Prepared>,
}

impl Transfer<'_> {
    pub(super) async fn run(&self, task: Task) -> Result<(), Failure> {
        let failed = |error: anyhow::Error| Failure::new("streams", error);
        let (server, board, prepared) = (self.server, self.board, &self.prepared);
        board.activity("receive", ACTIVITY);
        let totals = Totals::of(&prepared.plan);
        board.update(|state| state.parts = totals.parts(&prepared.plan));
        let news = News::new();
        let current = Current::default();
        let flow = Arc::new(Flow::default());
        let (farewell, farewells) = mpsc::unbounded_channel::<receive::Farewell>();
        let interface = self.job.interface.as_deref();
        let files = prepared.stored.as_ref().and_then(|stored| {
            let (files, share) = stored.files.as_ref().zip(stored.share.as_ref())?;
            Some((files.clone(), share.shown().to_owned()))
        });
        let (mut sources, interface, rendezvous): (Box<dyn DeploySources + Send>, _, _) =
            if let Some((files, share)) = files {
                let interface = receive::interface(interface, self.node()).map_err(failed)?;
                board.say(format!(
                    "reading the image's data from {share} on {interface}"
                ));
                let sources = FileSources {
                    files,
                    current: current.clone(),
                    farewells: farewell,
                    touched: self.touched.clone(),
                    is_server_told: false,
                    patience: SharePatience::default(),
                };
                (Box::new(sources), interface, share)
            } else if !self.job.args.is_multicast_deploy() {
                let interface = receive::interface(interface, self.node()).map_err(failed)?;
                let from = server.web().to_owned();
                board.say(format!(
                    "reading the image's data from {from} on {interface}"
                ));
                let streams = prepared.plan.streams.iter();
                let sources = ServedSources {
                    server: server.clone(),
                    runtime: Handle::current(),
                    streams: streams
                        .map(|stream| (stream.name.to_string(), stream.stored_len))
                        .collect(),
                    current: current.clone(),
                    farewells: farewell,
                    touched: self.touched.clone(),
                    is_server_told: false,
                    patience: SharePatience::default(),
                };
                (Box::new(sources), interface, from)
            } else {
                let options = receive::options(&self.job.args, interface).map_err(failed)?;
                let rendezvous = format!("{}:{}", options.control_address(), options.port_base);
                let interface = options.interface.clone();
                board.say(format!("receiving on {interface}, rendezvous {rendezvous}"));
                let sources = NetworkSources {
                    options,
                    current: current.clone(),
                    news: news.clone(),
                    server: server.clone(),
                    board: board.clone(),
                    has_record_capability: self.features.has(caps::STREAM_RECORD),
                    is_stock: server.is_stock(),
                    farewells: farewell,
                    is_server_told: false,
                    touched: self.touched.clone(),
                    patience: ResumePatience::default(),
                    begun: None,
                    last: None,
                };
                (Box::new(sources), interface, rendezvous)
            };
        let at_work = AtWork::default();
        let follower = Follower {
            board: board.clone(),
            flow: Arc::clone(&flow),
            current: current.clone(),
            news: news.clone(),
            server: server.clone(),
            is_stock: server.is_stock(),
            interface,
            rendezvous,
            names: prepared
                .plan
                .streams
                .iter()
                .map(|stream| stream.name.to_string())
                .collect(),
            totals,
            written: prepared.targets.iter().map(Target::bytes_written).collect(),
            is_repeat: task != Task::Deploy,
            at_work: at_work.clone(),
        };
        let data_board = board.clone();
        let data_flow = Arc::clone(&flow);
        let data_prepared = Arc::clone(prepared);
        let (say, done) = oneshot::channel();
        std::thread::Builder::new()
            .name("deploy".into())
            .spawn(move || {
                let (flow, board) = (&data_flow, &data_board);
                let result = work(&mut *sources, &data_prepared, task, flow, &at_work, board);
                // Who hears of the end may want to close the disks.
                drop(data_prepared);
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
        let watch = async {
            if server.is_stock() {
                // It says nothing of a session that goes on, but whether there still is a task.
                let (own, look) = (&self.job.args, boot_script::LOOK);
                let data_come = || {
                    let is_share_silent = self.prepared.is_read_from_share()
                        && flow.source_wait().is_some_and(|wait| wait >= NAMED_AFTER);
                    let is_program = matches!(flow.disk_step(), Some((DiskStep::Grow, _)));
                    self.touched.is_touched() && !is_share_silent && !is_program
                };
                let end = boot_script::over_while_idle(server, own, look, data_come).await;
                return end.into();
            }
            session::watch(server, &news, SESSION_PAUSE).await
        };
        outcome
            .wait(server, board, &current, watch, follower.follow())
            .await?;
        follower.finish();
        Ok(())
    }

    /// What would keep the firmware from starting what was deployed, if the disk stays in this machine.
    pub(super) fn boot_problem(&self) -> Option<String> {
        if !scripts::is_client() {
            return None;
        }
        let chosen = self.prepared.chosen.iter();
        let boot = firmware::look(chosen.map(Chosen::path)).ok()?;
        let cause = Cause::of_boot(&boot)?;
        let seen = cause.evidence().join("; ");
        Some(format!("{cause}: {seen}. Do this: {}", cause.advice()))
    }

    /// Runs the post-download script of the share, if there is one. All is written and verified.
    pub(super) async fn run_script(&mut self) -> Result<(), Failure> {
        let board = self.board;
        let scripts = self.prepared.scripts.clone();
        let Some(scripts) = scripts.filter(|scripts| scripts.has(When::Download)) else {
            return Ok(());
        };
        board.step("run the post-download script").await;
        let _phase = board.phase("script");
        board.activity(
            "script",
            "running the post-download script of the image store",
        );
        let done = match Arc::get_mut(&mut self.prepared) {
            // While the disk is held, the kernel mounts nothing of it.
            Some(prepared) => {
                prepared.targets.clear();
                let chosen = prepared.chosen.iter();
                let disks = chosen.map(|chosen| chosen.path().to_owned()).collect();
                scripts::run(&scripts, When::Download, disks, board).await
            }
            None => Err(anyhow::anyhow!(
                "the disk is still in use by a programming error"
            )),
        };
        done.map_err(|error| {
            // FOG's client does not report completion either.
            let text = format!("everything is written and verified, but {error:#}");
            let mut failure = Failure::new("script", anyhow::anyhow!("{text}"));
            failure.tells_of_disk = true;
            failure
        })
    }

    /// Where the image share is, as far as it takes to find the card.
    fn node(&self) -> Ipv4Addr {
        let named = self.job.args.storage().ok();
        let named = named.and_then(|export| export.host.parse().ok());
        let node = named.or_else(|| self.server.address());
        node.unwrap_or(Ipv4Addr::UNSPECIFIED)
    }
}

/// The data thread: all streams, then the partition table.
fn work(
    sources: &mut dyn DeploySources,
    prepared: &Prepared,
    task: Task,
    flow: &Arc<Flow>,
    at_work: &AtWork,
    board: &Board,
) -> Result<(), Failure> {
    let Prepared { targets, plan, .. } = prepared;
    let (first, done) = match task {
        Task::Deploy => (0, 0),
        Task::Repeat(first) => (first.min(plan.streams.len()), plan.streams.len()),
    };
    let disks = Disks::new(plan, targets, Arc::clone(flow));
    let pipeline = Pipeline {
        plan,
        disks: &disks,
        flow: Arc::clone(flow),
        board: board.clone(),
        window_log_max: prepared.window_log_max,
        done,
        starts: prepared
            .stored
            .as_ref()
            .map(|stored| stored.starts.as_slice()),
    };
    if let Err(error) = pipeline.run(first, sources) {
        let text = sources.explain(&error);
        let mut failure = Failure::new("streams", anyhow::anyhow!("{text}"));
        failure.is_known_to_server = sources.is_server_told();
        return Err(failure);
    }
    if task != Task::Deploy {
        return Ok(());
    }
    board.step_blocking("write the partition table");
    let ending = sources.ending();
    let _phase = board.phase("table");
    let finish = Finish {
        disks: &disks,
        tools: &prepared.tools,
        heads: &prepared.heads,
        ending: &ending,
        activity: &|text: String| board.update(|state| state.activity = text.clone()),
        running: &|what, running| {
            // Whether it is silent is the follower's to show.
            at_work.set(what, running);
            board.update(|state| state.activity = running.activity(what));
        },
        warn: &|text: String| board.warn(text),
        late: &|warning: Warning| lock(&prepared.late_warnings).push(warning),
    };
    finish.run()
}

/// For the threads, once the deploy is over.
const STOP_PATIENCE: Duration = Duration::from_secs(30);
