//! Everything that is found out, checked and decided before the first byte.

use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::Context as _;
use deploy_plan::{DeployPlan, Refusal, SmallFiles, Warning};
use disk::Target;
use fog::KernelArgs;
use fog::checkin::caps;
use fog::store::PartitionId;
use fog::task::ImageType;
use fos_api::Manifest;

use super::description::{self, Described};
use super::grow::Tools;
use super::memory::memory_for_windows;
use super::scripts::{self, Scripts, When};
use super::target::{self, Chosen, Wanted};
use super::volumes::{Head, heads};
use super::{Failure, Job, host_name};
use crate::control::Server;
use crate::control::features::Features;
use crate::screen::Board;
use crate::share::SharedImage;

/// Everything that is known before the first byte.
pub(super) struct Prepared {
    /// The disks, in the order of the plan's.
    pub(super) chosen: Vec<Chosen>,
    pub(super) targets: Vec<Target>,
    pub(super) plan: DeployPlan,
    pub(super) tools: Tools,
    /// What is in front of the volumes of each group.
    pub(super) heads: Vec<Head>,
    pub(super) window_log_max: u32,
    /// Those of the image share that are run.
    pub(super) scripts: Option<Scripts>,
    /// What the image share says of the streams, in the plan's order; `None` where the server says more.
    pub(super) stored: Option<Stored>,
    /// What turned out to be left undone only when it was due.
    pub(super) late_warnings: Mutex<Vec<Warning>>,
}

impl Prepared {
    /// The data do not come by multicast.
    pub(super) fn is_read_from_share(&self) -> bool {
        self.stored
            .as_ref()
            .is_some_and(|stored| stored.files.is_some())
    }
}

/// The streams as they are in the image share.
pub(super) struct Stored {
    /// First bytes of each.
    pub(super) starts: Vec<Vec<u8>>,
    /// For a deploy to this machine alone: the files of each.
    pub(super) files: Option<Vec<Vec<PathBuf>>>,
    /// The share, where it must stay.
    pub(super) share: Option<SharedImage>,
}

pub(super) async fn prepare(
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
        scripts::run(scripts, When::Init, Vec::new(), board)
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
        scripts::is_client(),
    )))
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
