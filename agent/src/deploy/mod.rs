//! A deploy: from the server's word to the report.
//!
//! Control runs on tokio in this thread; the data has threads of its own. Nothing is written before
//! everything that can be checked has been checked, and what makes the disk bootable is written
//! last.

mod description;
mod disks;
mod ending;
mod evidence;
mod failure;
mod follow;
mod grow;
mod host_name;
mod in_memory;
mod ntfs;
mod pulse;
mod receive;
mod resume;
mod scripts;
mod streams;
mod swap;
mod target;
mod unicast;
mod volumes;

#[cfg(test)]
mod run_tests;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod stock_tests;
#[cfg(test)]
mod test_room;

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use deploy_plan::{DeployPlan, Refusal, SmallFiles, Warning};
use diagnosis::Cause;
use disk::Target;
use fog::KernelArgs;
use fog::checkin::caps;
use fog::store::PartitionId;
use fog::task::ImageType;
use fos_api::{ImageFormat, Manifest, Stage, StreamFacts};
use imaging::tap::meter::{DiskStep, Flow};
use readable::{NAMED_AFTER, Size, Time};
use tokio::sync::{mpsc, oneshot};

use crate::control::completion::{self, Completion, Patience};
use crate::control::features::{self, Features};
use crate::control::session::{self, News, Over, OverKind};
use crate::control::trouble::{self, Severity};
use crate::control::{Kind, Server, boot_script, checkin, inventory, progress};
use crate::firmware;
use crate::screen::Board;
use crate::share::SharedImage;
use description::Described;
pub(crate) use disks::{Disks, Finish};
pub(crate) use ending::Ending;
pub(crate) use failure::Failure;
use failure::Touched;
use follow::{Follower, Totals};
use grow::AtWork;
pub(crate) use grow::Tools;
pub(crate) use receive::options as receive_options;
use receive::{Current, NetworkSources, ResumePatience};
use scripts::{Scripts, When};
use streams::{DeploySources, Pipeline};
pub(crate) use target::TargetChoice;
use target::{Chosen, Wanted};
use unicast::{FileSources, SharePatience};
use volumes::Head;
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
    if features.kind() == Kind::Own {
        deploy_plan::check_multicast(&job.args)
            .map_err(|error| Failure::new("arguments", error))?;
    }
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

/// Everything that is known before the first byte.
struct Prepared {
    /// The disks, in the order of the plan's.
    chosen: Vec<Chosen>,
    targets: Vec<Target>,
    plan: DeployPlan,
    tools: Tools,
    /// What is in front of the volumes of each group.
    heads: Vec<Head>,
    window_log_max: u32,
    /// Those of the image share that are run.
    scripts: Option<Scripts>,
    /// What the image share says of the streams, in the plan's order; `None` where the server says more.
    stored: Option<Stored>,
    /// What turned out to be left undone only when it was due.
    late_warnings: Mutex<Vec<Warning>>,
}

impl Prepared {
    /// The data do not come by multicast.
    fn is_read_from_share(&self) -> bool {
        self.stored
            .as_ref()
            .is_some_and(|stored| stored.files.is_some())
    }
}

/// The streams as they are in the image share.
struct Stored {
    /// First bytes of each.
    starts: Vec<Vec<u8>>,
    /// For a deploy to this machine alone: the files of each.
    files: Option<Vec<Vec<PathBuf>>>,
    /// The share, where it must stay.
    share: Option<SharedImage>,
}

async fn prepare(
    job: &Job,
    server: &Server,
    features: &Features,
    board: &Board,
) -> Result<Prepared, Failure> {
    let failed = |error: anyhow::Error| Failure::new("prepare", error);
    let Described {
        manifest,
        files,
        shared,
    } = description::of(job, server, board).await?;
    check_volumes(job, server, features, &files)?;
    let tools = Tools::installed();
    let (scripts, not_run) = match scripts_of(job, &manifest, shared.as_ref(), &tools) {
        Ok(scripts) => (scripts, Vec::new()),
        Err(why) => (None, deploy_plan::scripts(&manifest, why)),
    };
    if let Some(scripts) = &scripts {
        board.activity("prepare", "running the post-init script of the image store");
        run_script(scripts, When::Init, Vec::new(), board)
            .await
            .map_err(|error| Failure::new("script", error))?;
    }
    board.update(|state| state.image = fog::encoding::printable(&manifest.image_name, 64));
    let window_log_max = memory_for_windows(&manifest).map_err(failed)?;
    let wanted = wanted_disks(&manifest, &files).map_err(|error| failed(error.into()))?;
    let chosen = target::choose(&job.target, &job.args, &wanted, board)
        .await
        .map_err(failed)?;
    let names = target::names(&chosen);
    board.update(|state| state.disk.clone_from(&names));
    let shapes: Vec<_> = chosen.iter().map(|chosen| chosen.shape).collect();
    let mut plan = deploy_plan::plan(&manifest, &files, &shapes)
        .with_context(|| format!("image {} on {names}", manifest.image_name))
        .map_err(failed)?;
    match deploy_plan::computer_name(&job.args, manifest.os_id) {
        Ok(name) => plan.computer_name = name,
        Err(warning) => plan.warnings.push(warning),
    }
    plan.warnings.extend(not_run);
    plan.warnings.extend(tools.warnings(&plan));
    plan.warnings.extend(host_name::warning(&plan, &tools));
    if !plan.groups.is_empty() {
        board.activity("prepare", "laying out the volume groups");
    }
    // Programs run, for seconds at most: what else is to be done here goes on meanwhile.
    let heads = {
        let (plan, tools) = (plan.clone(), tools.clone());
        tokio::task::spawn_blocking(move || heads(&plan, &tools))
    };
    let heads = heads.await.map_err(|error| failed(error.into()))?;
    let heads = heads.map_err(|error| failed(error.into()))?;
    for disk in &plan.disks {
        if !disk.which.is_only {
            board.say(format!("{}: {}", disk.which, chosen[disk.which.index]));
        }
        let table = disk.table.iter().map(ToString::to_string);
        for line in table.collect::<String>().lines() {
            board.say(line);
        }
    }
    let stored = shared.map(|shared| Stored::of(&plan, shared, &job.args, scripts.is_some()));
    let stored = stored.transpose().map_err(failed)?;
    // Exclusive from here on; nothing is written yet. A disk that is there twice is refused here.
    let targets = chosen.iter().map(Chosen::open).collect::<Result<_, _>>();
    let targets = targets.map_err(|error| failed(error.into()))?;
    Ok(Prepared {
        stored,
        chosen,
        targets,
        plan,
        tools,
        heads,
        window_log_max,
        scripts,
        late_warnings: Mutex::default(),
    })
}

/// What runs the scripts of the share; `None`: it has none.
///
/// # Errors
/// Why those that it has are not run, in a phrase.
fn scripts_of(
    job: &Job,
    manifest: &Manifest,
    shared: Option<&SharedImage>,
    tools: &Tools,
) -> Result<Option<Scripts>, &'static str> {
    let names = &manifest.scripts;
    if names.is_empty() {
        return Ok(None);
    }
    let shared =
        shared.ok_or("clients of fos-server do not mount the image share that it needs")?;
    if !job.runs_scripts {
        return Err("`deploy` runs it only with --scripts");
    }
    let bash = tools.find("bash");
    let bash = bash.ok_or(
        "this boot image has no bash; `cargo xtask initramfs --scripts` makes one that has",
    )?;
    let root = shared.root().to_owned();
    Ok(Some(Scripts::new(
        bash,
        root,
        names,
        &job.args,
        is_client(),
    )))
}

/// Whether this machine has booted this program: then all of it is for the deploy.
fn is_client() -> bool {
    let program = |process: &str| std::fs::read_link(format!("/proc/{process}/exe")).ok();
    program("1").is_some_and(|first| Some(first) == program("self"))
}

async fn run_script(
    scripts: &Scripts,
    when: When,
    disks: Vec<PathBuf>,
    board: &Board,
) -> anyhow::Result<()> {
    let (scripts, board) = (scripts.clone(), board.clone());
    let run = move || scripts.run(when, &disks, &board);
    tokio::task::spawn_blocking(run).await?
}

/// FOG's servers before 1.6 do not send the images of logical volumes.
fn check_volumes(
    job: &Job,
    server: &Server,
    features: &Features,
    files: &SmallFiles,
) -> Result<(), Failure> {
    let is_sent = !server.is_stock() || !job.args.is_multicast_deploy() || features.has(caps::LVM);
    let has_volumes = files
        .keys()
        .any(|name| PartitionId::of_sidecar(name).is_some());
    if is_sent || !has_volumes {
        return Ok(());
    }
    let text = "the image has logical volumes, which this FOG server does not send by multicast (it does not announce \
                mclvm): deploy it to one machine, or update the server to FOG 1.6";
    Err(Failure::new("capabilities", anyhow::anyhow!("{text}")))
}

/// The disks that the image is of.
fn wanted_disks(manifest: &Manifest, files: &SmallFiles) -> Result<Wanted, Refusal> {
    let numbers = deploy_plan::image_disks(manifest)?;
    if manifest.image_type != ImageType::AllDisks {
        return Ok(Wanted::One);
    }
    let sizes = deploy_plan::recorded_sizes(&numbers, files)?;
    Ok(Wanted::Numbered(numbers.into_iter().zip(sizes).collect()))
}

impl Stored {
    /// # Errors
    /// If a stream of the plan is not in the share.
    fn of(
        plan: &DeployPlan,
        shared: SharedImage,
        args: &KernelArgs,
        has_scripts: bool,
    ) -> anyhow::Result<Self> {
        let (mut starts, mut files) = (Vec::new(), Vec::new());
        let known = shared.image.manifest.streams.iter();
        let known = known.zip(shared.starts.iter().zip(&shared.image.sources));
        for planned in &plan.streams {
            let (_, (start, sources)) = known
                .clone()
                .find(|(stream, _)| stream.name == planned.name)
                .with_context(|| format!("{} is not in the image", planned.name))?;
            starts.push(start.clone());
            files.push(sources.clone());
        }
        let is_alone = !args.is_multicast_deploy();
        Ok(Self {
            starts,
            files: is_alone.then_some(files),
            share: (is_alone || has_scripts).then_some(shared),
        })
    }
}

/// The largest decompression window that the memory allows, as a power of two.
fn memory_for_windows(manifest: &Manifest) -> anyhow::Result<u32> {
    let info = std::fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    window_log(&info, decoder_memory(manifest))
}

/// Most bytes that the decoder of a stream takes beside its window: the bitmap, and what it must see
/// together.
fn decoder_memory(manifest: &Manifest) -> u64 {
    let memory = |stream: &StreamFacts| {
        let facts = &stream.image;
        let together = match facts.format {
            ImageFormat::Raw => 0,
            // A block of any size, with its checksum.
            ImageFormat::Partclone0001 => u64::from(facts.block_size).saturating_add(16),
            _ => ::image::STRIP_BUFFER as u64,
        };
        streams::bitmap_memory(facts).saturating_add(together)
    };
    manifest.streams.iter().map(memory).max().unwrap_or(0)
}

fn window_log(meminfo: &str, decoder: u64) -> anyhow::Result<u32> {
    let kib: u64 = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .context("/proc/meminfo has no MemAvailable")?;
    let available = kib.saturating_mul(1024);
    let needed = MEMORY_BESIDE.saturating_add(decoder);
    let left = available.saturating_sub(needed);
    if left < 1 << WINDOW_LOG_MIN {
        anyhow::bail!(
            "this machine has too little memory: {} are available, {} needed at least; FOG's \
             minimum is 512 MB",
            Size(available),
            Size(needed.saturating_add(1 << WINDOW_LOG_MIN))
        );
    }
    Ok(left.ilog2().min(WINDOW_LOG_MAX))
}

/// What the data threads do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    /// Everything: the streams, and then the partition table.
    Deploy,
    /// Only the streams from this one on, counted from 0. All is on the disk, and nothing is written;
    /// but a server that does not know of it waits for this machine.
    Repeat(usize),
}

/// The data and the partition table, and the report.
struct Transfer<'a> {
    job: &'a Job,
    server: &'a Server,
    board: &'a Board,
    touched: &'a Touched,
    features: &'a Features,
    prepared: Arc<Prepared>,
}

impl Transfer<'_> {
    async fn run(&self, task: Task) -> Result<(), Failure> {
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
            } else {
                let options = receive::options(&self.job.args, interface).map_err(failed)?;
                let rendezvous = format!("{}:{}", options.control_address(), options.port_base);
                let interface = options.interface.clone();
                board.say(format!("receiving on {interface}, rendezvous {rendezvous}"));
                let sources = NetworkSources {
                    options,
                    current: current.clone(),
                    news: news.clone(),
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
    fn boot_problem(&self) -> Option<String> {
        if !is_client() {
            return None;
        }
        let chosen = self.prepared.chosen.iter();
        let boot = firmware::look(chosen.map(Chosen::path)).ok()?;
        let cause = Cause::of_boot(&boot)?;
        let seen = cause.evidence().join("; ");
        Some(format!("{cause}: {seen}. Do this: {}", cause.advice()))
    }

    /// Runs the post-download script of the share, if there is one. All is written and verified.
    async fn run_script(&mut self) -> Result<(), Failure> {
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
                run_script(&scripts, When::Download, disks, board).await
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

    /// Reports completion; whatever becomes of that, the disk is good.
    async fn report(&self) -> Told {
        let news = News::new();
        let repeats = if self.server.is_stock() {
            // It does not say which stream it sends.
            0
        } else {
            MAX_REPEATS
        };
        for _ in 0..repeats {
            self.board.activity("report", "reporting completion");
            let patience = self.job.patience;
            let own = &self.job.args;
            let report = completion::report(self.server, own, self.board, patience, || {
                news.latest().is_live()
            });
            let first = tokio::select! {
                done = report => return told(done),
                first = wanted_again(self.server, &news) => first,
            };
            self.board.say(format!(
                "the server does not know yet that stream {} has arrived here and sends it again; it \
                 is received once more, but not written",
                first + 1
            ));
            let reports = progress::report(self.server, self.board, progress::Rhythm::default());
            let repeated = tokio::select! {
                done = self.run(Task::Repeat(first)) => done,
                () = reports => Ok(()),
            };
            if let Err(failure) = repeated {
                self.board.warn(format!(
                    "everything is written and verified, but a stream did not come a second time for \
                     the server: {}",
                    failure.text
                ));
            }
        }
        self.board.activity("report", "reporting completion");
        let (own, patience) = (&self.job.args, self.job.patience);
        told(completion::report(self.server, own, self.board, patience, || false).await)
    }
}

fn told(completion: Completion) -> Told {
    match completion {
        Completion::Accepted => Told::Yes,
        // The disk is good, so neither is a failure: as one, the server would hear of it as such.
        // Servers that end the session before slow clients have reported answer "no active task",
        // in any language.
        Completion::Refused(text) => Told::No(format!(
            "everything is written and verified, but the server does not take the completion \
             report; it says: {text}"
        )),
        Completion::Replaced(text) => Told::No(format!(
            "everything is written and verified, but the completion report came too late: {text}"
        )),
        Completion::Unanswered(error) => Told::No(format!(
            "everything is written and verified, but the server has not stored the report, so it may \
             start the task again: {error}"
        )),
    }
}

/// Waits until the server gathers receivers for a stream that it still expects this machine to
/// receive, though all have come; answers its index.
async fn wanted_again(server: &Server, news: &News) -> usize {
    let follow = async {
        let mut before: Option<(resume::Run, Instant)> = None;
        loop {
            let latest = news.latest();
            let wanted = latest
                .view
                .as_ref()
                .filter(|view| latest.error.is_none() && view.stage == Stage::Gathering)
                .and_then(resume::wanted);
            let wanted = wanted.zip(latest.asked);
            // Said twice, as the server's word may be a little behind what it has sent.
            if let (Some((now, asked)), Some((run, at))) = (wanted, before)
                && now == run
                && asked > at
                && let Some(index) = usize::try_from(run.number)
                    .ok()
                    .and_then(|n| n.checked_sub(1))
            {
                return index;
            }
            before = wanted;
            tokio::time::sleep(SESSION_PAUSE).await;
        }
    };
    let watch = async {
        // Who reports hears of an end by the answer.
        session::watch(server, news, SESSION_PAUSE).await;
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        index = follow => index,
        never = watch => match never {},
    }
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
        current: &Current,
        watch: impl Future<Output = Over>,
        follow: impl Future<Output = String>,
    ) -> Result<(), Failure> {
        let mut watch = pin!(watch);
        let mut follow = pin!(follow);
        let given_up = tokio::select! {
            result = &mut self.done => return ended(result),
            Some(farewell) = self.farewells.recv() => {
                return self.leave(server, board, farewell).await;
            }
            over = &mut watch => Failure::known("session", last_word(over, current, board)),
            reason = &mut follow => Failure::new("streams", anyhow::anyhow!("{reason}")),
        };
        drop(self.farewells);
        if !current.give_up() {
            board.activity("table", "waiting for the partition table to be written");
            return ended(self.done.await);
        }
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
                        "the disk has not answered for {}; it may be defective",
                        Time(self.patience)
                    ));
                    let mut failure = Failure::new("streams", anyhow::anyhow!("{text}"));
                    failure.is_known_to_server = is_told;
                    failure.tells_of_disk = true;
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

/// The reason for the end, from all that is known. Of a machine that it does not hear any more, the
/// server can only guess what became of it.
fn last_word(over: Over, current: &Current, board: &Board) -> Over {
    let evidence = (over.kind == OverKind::GivenUp)
        .then(|| current.evidence_at_the_end(Instant::now()))
        .flatten();
    let Some(evidence) = evidence else {
        return over;
    };
    board.say(format!("the server says: {}", over.text));
    let text = format!(
        "{evidence}; {}, so the server went on without this machine",
        evidence.last_word()
    );
    // Not the server's text any more: what became of the disk is still to be said.
    Over {
        text,
        kind: OverKind::Ended,
        tells_of_disk: false,
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
/// How often streams are received again for the sake of a server that was restarted.
const MAX_REPEATS: u32 = 5;
const STOP_PATIENCE: Duration = Duration::from_secs(30);
/// Buffers of network, decoder and disk: 12 + 15 + 8 MiB, rounded up generously.
const MEMORY_BESIDE: u64 = 40 << 20;
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
        let watch = std::future::pending::<Over>();
        let follow = std::future::pending::<String>();
        let failure = outcomes
            .wait(&server.client(), &board, &Current::default(), watch, follow)
            .await
            .unwrap_err();
        assert_eq!(failure.text, "d1p1.img: the stream ended early");
        assert!(failure.is_known_to_server && answer.recv().unwrap());
        assert!(board.read(|state| state.activity.contains("waiting for the last writes")));
    }

    /// Ends a deploy from outside, and answers what became of it. `at_work` is the data thread.
    async fn ended_from_outside(
        current: &Current,
        at_work: impl AsyncFnOnce(&Board, oneshot::Sender<Result<(), Failure>>),
    ) -> Result<(), Failure> {
        let server = TestServer::start(|_| Reply::text("##"));
        let (say, done) = oneshot::channel();
        let (_farewell, farewells) = mpsc::unbounded_channel();
        let outcomes = Outcomes {
            done,
            farewells,
            patience: Duration::ZERO,
        };
        let board = Board::default();
        let client = server.client();
        let watch = std::future::pending::<Over>();
        let follow = std::future::ready("the sender is lost".to_owned());
        let waiting = outcomes.wait(&client, &board, current, watch, follow);
        let (result, ()) = tokio::join!(waiting, at_work(&board, say));
        result
    }

    #[tokio::test]
    async fn a_failure_that_was_reported_leaves_no_table() {
        let current = Current::default();
        let mut still_at_work = None;
        let failure = ended_from_outside(&current, async |_, say| still_at_work = Some(say)).await;
        assert_eq!(failure.unwrap_err().text, "the sender is lost");
        assert!(!current.ending.begin_table(), "the data thread goes on");
    }

    #[tokio::test]
    async fn a_table_that_is_being_written_decides_what_became_of_the_deploy() {
        let spoiled = || Failure::new("table", anyhow::anyhow!("writing the partition table"));
        for is_good in [true, false] {
            let current = Current::default();
            assert!(current.ending.begin_table());
            let result = ended_from_outside(&current, async |board, say| {
                while !board.read(|state| state.activity.contains("partition table")) {
                    tokio::task::yield_now().await;
                }
                say.send(if is_good { Ok(()) } else { Err(spoiled()) })
                    .unwrap();
            })
            .await;
            assert_eq!(
                result.map_err(|failure| failure.part),
                if is_good { Ok(()) } else { Err("table") }
            );
        }
    }

    #[test]
    fn large_blocks_count() {
        let mut manifest = samples::manifest();
        let strip = decoder_memory(&manifest);
        assert!(strip >= 8 << 20, "{strip}");
        let facts = &mut manifest.streams[0].image;
        facts.format = ImageFormat::Partclone0001;
        facts.block_size = 64 << 20;
        let block = decoder_memory(&manifest);
        assert!(block >= 64 << 20, "{block}");
    }

    #[test]
    fn the_window_is_what_the_memory_allows() {
        let log = |mib: u64| window_log(&format!("MemAvailable: {} kB\n", mib << 10), 0);
        assert_eq!(log(4096).unwrap(), 27);
        assert_eq!(log(40 + 70).unwrap(), 26);
        assert_eq!(log(40 + 8).unwrap(), 23);
        let text = log(40 + 7).unwrap_err().to_string();
        assert!(text.contains("too little memory"), "{text}");
        assert!(window_log("", 0).is_err());
        assert!(window_log("MemAvailable: 100000 kB\n", 1 << 40).is_err());
    }
}
