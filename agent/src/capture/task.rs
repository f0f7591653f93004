//! A task of the server to capture this machine's disk (`type=up`): from the check-in to the report.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, anyhow, bail};
use disk::Disk;
use fog::KernelArgs;
use fog::encoding::printable;
use fog::task::ImageType;
use imaging::tap::meter::Bottleneck;

use super::job::{Audience, Captured, Job, Prepared};
use super::progress::Look;
use super::store::{Patience as Waiting, Remote, Store, Told as Says, Unsure};
use super::stream::Compression;
use super::view::Manner;
use crate::control::completion::{self, Completion, Patience};
use crate::control::{Kind, Server, checkin, features, inventory, progress};
use crate::deploy::{Failure, TargetChoice, Told, Wanted, choose};
use crate::screen::{Board, Part, Transfer};

/// Runs the whole task. `Ok` means that the image is published, whatever the server knows of the task.
///
/// # Errors
/// The first thing that went wrong. The disk is as it was in any case, and so is the former image.
pub(crate) async fn run(
    args: &KernelArgs,
    server: &Server,
    board: &Board,
    patience: Patience,
) -> Result<Told, Failure> {
    let done = carry_out(args, server, board, patience).await;
    done.map_err(|mut failure| {
        if !failure.tells_of_disk {
            let text = failure.text.trim_end_matches('.');
            failure.text = format!("{text}; the disk was not changed, and no image was published");
            failure.tells_of_disk = true;
        }
        failure
    })
}

async fn carry_out(
    args: &KernelArgs,
    server: &Server,
    board: &Board,
    patience: Patience,
) -> Result<Told, Failure> {
    let wish = Wish::of(args).map_err(|error| Failure::new("arguments", error))?;
    board.update(|state| {
        state.image.clone_from(&wish.image);
        state.is_capture = true;
    });
    board.activity("checkin", "asking the server for its features");
    let features = features::ask(server, board)
        .await
        .map_err(|error| Failure::new("capabilities", error))?;
    if features.kind() != Kind::Own {
        let text = "this is one of FOG's own servers, to which this client does not capture: capture with FOG's own \
                    client, or by hand into a directory (fos-agent capture DISK DIRECTORY)";
        return Err(Failure::new("capabilities", anyhow!("{text}")));
    }
    board.step("check in").await;
    {
        let _phase = board.phase("checkin");
        board.activity("checkin", "checking in");
        let let_in = checkin::let_capture(server, args, board, checkin::Rhythm::default()).await;
        let_in.map_err(|over| Failure::known("checkin", over))?;
    }
    board.step("look at the disk").await;
    let (job, machine) = {
        let _phase = board.phase("prepare");
        board.activity("prepare", "choosing the disk");
        wish.job(args, board)
            .await
            .map_err(|error| Failure::new("prepare", error))?
    };
    board.step("capture the disk").await;
    {
        let _phase = board.phase("stream:capture");
        let reports = progress::report(server, board, progress::Rhythm::default());
        let machine = inventory::send(server, board, &machine, inventory::PAUSE);
        tokio::select! {
            done = capture(job, server, board) => done?,
            // Neither ends before the work does.
            () = async { tokio::join!(reports, machine); } => {}
        }
    }
    board.step("report the completion").await;
    let _phase = board.phase("report");
    board.activity("report", "reporting completion");
    let told = told(completion::report(server, args, board, patience, || false).await);
    if let Told::No(text) = &told {
        board.warn(text.clone());
    }
    Ok(told)
}

/// Captures on a thread of its own, so that control goes on meanwhile.
async fn capture(job: Job, server: &Server, board: &Board) -> Result<(), Failure> {
    let (server, screen) = (server.clone(), board.clone());
    let work = move || -> anyhow::Result<Captured> {
        let audience = Screen(screen);
        let prepared = Prepared::new(&job, &audience)?;
        for warning in &prepared.warnings {
            audience.warns(&warning.to_string());
        }
        let says: Says = {
            let board = audience.0.clone();
            Arc::new(move |wait: Option<(&str, String)>| match wait {
                Some((what, why)) => board.wait_for(what, vec![why]),
                None => board.go_on(),
            })
        };
        audience.does("asking the server to take the image");
        let offer = prepared.offer(String::new());
        let remote = Remote::offer(server, None, &offer, says, Waiting::default())?;
        let compression = Compression::new(remote.zstd_level());
        prepared.carry_out(Store::Remote(remote), compression, &audience)
    };
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.unwrap_or_else(|_| Err(anyhow!("the capturing thread has panicked")));
    let captured = done.map_err(failed)?;
    board.update(|state| {
        if let Some(transfer) = &mut state.transfer {
            transfer.finish(Instant::now());
        }
    });
    if !captured.unreadable.is_empty() {
        board.warn("the image lacks places that could not be read");
    }
    Ok(())
}

fn failed(error: anyhow::Error) -> Failure {
    let is_unsure = error.is::<Unsure>();
    let mut failure = Failure::new("capture", error);
    if is_unsure {
        let text = failure.text.trim_end_matches('.');
        failure.text = format!("{text}; the disk was not changed");
        failure.tells_of_disk = true;
    }
    failure
}

fn told(completion: Completion) -> Told {
    match completion {
        Completion::Accepted => Told::Yes,
        Completion::Refused(text) => Told::No(format!(
            "the image is published, but the server does not take the completion report; it says: {text}"
        )),
        Completion::Replaced(text) => Told::No(format!(
            "the image is published, but the completion report came too late: {text}"
        )),
        Completion::Unanswered(error) => Told::No(format!(
            "the image is published, but the server has not stored the report, so it may start the task again: {error}"
        )),
    }
}

/// What the kernel arguments ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wish {
    image: String,
    image_type: ImageType,
    os_id: Option<i64>,
    percent: u32,
    manner: Manner,
}

impl Wish {
    fn of(args: &KernelArgs) -> anyhow::Result<Self> {
        args.web()?;
        let image_type = args.value("imgType").unwrap_or("n");
        let image_type = image_type.parse().map_err(|_| {
            anyhow!(
                "imgType={} is no type of an image",
                printable(image_type, 40)
            )
        })?;
        match args.value("imgPartitionType") {
            None | Some("all") => {}
            Some(other) => bail!(
                "imgPartitionType={}: single partitions are not captured; set the image to all partitions",
                printable(other, 40)
            ),
        }
        let number = |name: &str| -> anyhow::Result<Option<i64>> {
            let value = args.value(name);
            value
                .map(|value| {
                    value
                        .parse()
                        .with_context(|| format!("{name}= is no number"))
                })
                .transpose()
        };
        let percent = number("pct")?.unwrap_or(SHRINK_ROOM);
        Ok(Self {
            image: args.image_directory()?.to_owned(),
            image_type,
            os_id: number("osid")?,
            percent: u32::try_from(percent.clamp(0, 1000)).unwrap_or(0),
            manner: match args.value("fosrescue") {
                Some("yes") => Manner::Rescue,
                _ => Manner::Strict,
            },
        })
    }

    /// Chooses the disks; answers the first one in the form of FOG's inventory, too.
    async fn job(self, args: &KernelArgs, board: &Board) -> anyhow::Result<(Job, String)> {
        let (disks, machine) = match self.image_type {
            ImageType::AllDisks => all_disks(args)?,
            _ => {
                let chosen = choose(&TargetChoice::ByArguments, args, &Wanted::One, board).await?;
                let paths = chosen.iter().map(|chosen| chosen.path().to_owned());
                let machine = chosen.first().map(|chosen| chosen.inventory());
                (paths.collect(), machine.unwrap_or_default())
            }
        };
        let names: Vec<String> = disks
            .iter()
            .map(|path: &PathBuf| path.display().to_string())
            .collect();
        board.update(|state| state.disk = names.join(", "));
        let job = Job {
            disks,
            image_type: self.image_type,
            image: self.image,
            os_id: self.os_id,
            manner: self.manner,
            percent: self.percent,
            shrink_memory: shrink_memory(),
        };
        Ok((job, machine))
    }
}

/// The fixed disks of this machine, in their order.
fn all_disks(args: &KernelArgs) -> anyhow::Result<(Vec<PathBuf>, String)> {
    if args.value("fdrive").is_some() {
        bail!(
            "fdrive= names one disk, and an image of the type mpa is of all disks: leave out the host's primary disk"
        );
    }
    let disks = disk::probe().context("looking for disks")?;
    let is_fixed = |disk: &&Disk| !disk.is_removable && disk.size > 0;
    let disks: Vec<PathBuf> = disks
        .iter()
        .filter(is_fixed)
        .map(|disk| disk.path.clone())
        .collect();
    if disks.is_empty() {
        bail!("this machine has no fixed disk");
    }
    Ok((disks, String::new()))
}

/// Half of the memory that is free: nothing else runs here.
fn shrink_memory() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = info.lines().find_map(|line| {
        let rest = line.strip_prefix("MemAvailable:")?;
        rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    free.map_or(SHRINK_MEMORY, |kib| kib.saturating_mul(1024) / 2)
}

/// The screen of this machine.
struct Screen(Board);

impl Audience for Screen {
    fn does(&self, what: &str) {
        self.0.activity("prepare", what);
        self.0.say(what);
    }

    fn looks(&self, look: &Look<'_>) {
        self.0.update(|state| {
            if state.parts.is_empty() {
                let streams = look.streams.iter();
                state.parts = streams
                    .map(|(name, len)| Part {
                        name: name.clone(),
                        len: *len,
                    })
                    .collect();
            }
            state.phase = "stream:capture";
            state.transfer = Some(Transfer {
                stream: look.index.saturating_add(1),
                streams: look.streams.len(),
                name: look.name().to_owned(),
                copied: look.done.min(look.total),
                total: look.total,
                rate: look.reading.stored_rate,
                wire_rate: look.reading.used_rate,
                elapsed: look.elapsed,
                at: Instant::now(),
                is_done: false,
                remaining: look.left(),
                bottleneck: look.reading.bottleneck.map(as_in_a_deploy),
            });
        });
    }

    fn warns(&self, text: &str) {
        self.0.warn(text);
    }
}

/// The pipeline of a capture begins at the disk, that of a deploy ends there; the screen has words for the latter.
fn as_in_a_deploy(bottleneck: Bottleneck) -> Bottleneck {
    match bottleneck {
        Bottleneck::Network => Bottleneck::Disk,
        Bottleneck::Cpu => Bottleneck::Cpu,
        Bottleneck::Disk => Bottleneck::Network,
    }
}

/// FOG's own default, in percent.
const SHRINK_ROOM: i64 = 5;
/// Where the kernel does not say how much is free, in bytes.
const SHRINK_MEMORY: u64 = 256 << 20;

#[cfg(test)]
mod tests;
