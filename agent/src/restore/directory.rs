//! `restore` of a whole image, from its directory or a pack of it: partition tables, partitions, swap spaces, all that a
//! deploy does, from local files.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail, ensure};
use deploy_plan::{DeployPlan, Destination, PlannedStream, SmallFiles, Warning};
use disk::Target;
use fos_api::{ImageFormat, Manifest};
use image::{Content, Geometry, SinkError, Verify};
use imaging::target::Nowhere;
use imaging::{Source, Trace};
use pack::Authenticity;
use readable::{Size, Time};
use serde_json::{Value, json};

use super::display::Display;
use super::engine::{Report, View, run_packed_to, run_to};
use super::packed::Packed;
use super::report::{Outcome, image_facts, milliseconds};
use super::{CommonArgs, OnSignal, SHOW_PERIOD, conclude, tell};
use crate::deploy::{Disks, Ending, Finish, Tools, heads};
use crate::image_dir::{self, Depth, Stop};
use crate::trust;

/// What a whole image is stored as.
pub(super) enum Stored<'a> {
    /// The directory of an image, in FOG's layout or Clonezilla's.
    Directory(&'a Path),
    /// The manifest of a pack, and the keys that count; without any, those of this machine.
    Pack(&'a Path, &'a [PathBuf]),
}

/// Runs `restore` with a directory or a pack. The same ends as of an image.
pub(super) fn restore(common: &CommonArgs, stored: &Stored<'_>, targets: &[PathBuf]) -> ExitCode {
    if common.raw || common.create || common.discard {
        return crate::usage::complain(
            "a whole image says itself what it holds, and its disks have to exist: leave out --raw, --create and \
             --discard",
        );
    }
    if common.check != targets.is_empty() {
        return crate::usage::complain(
            "the directory of an image, or a pack, and its disk are needed, or --check and the directory or pack",
        );
    }
    if common.ignore_crc && matches!(stored, Stored::Pack(..)) {
        return crate::usage::complain(
            "each chunk of a pack has to be right before it is written: leave out --ignore-crc",
        );
    }
    let names: Vec<String> = targets
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    let target = (!names.is_empty()).then(|| names.join(", "));
    conclude(common, target, OnSignal::EndNow, |trace, _| {
        let begin = Instant::now();
        let image = stored.read()?;
        if let Some(authenticity) = image.authenticity()
            && !common.quiet
        {
            tell(
                &mut std::io::stderr(),
                &format!("{}: {authenticity}", image.name),
            );
        }
        let (reports, warnings) = match targets {
            [] => (check(common, &image)?, Vec::new()),
            _ => write(common, &image, targets, trace)?,
        };
        Ok(Restored {
            source: image.name.clone(),
            authenticity: image.authenticity(),
            targets: names.clone(),
            reports,
            warnings,
            elapsed: begin.elapsed(),
        })
    })
}

/// A whole image that can be written.
struct Image {
    name: String,
    manifest: Manifest,
    files: SmallFiles,
    data: Data,
}

/// The data of its streams.
enum Data {
    /// The files of each stream, in the order of the manifest's.
    Files(Vec<Vec<PathBuf>>),
    Pack(Box<Packed>),
}

impl Stored<'_> {
    fn read(&self) -> anyhow::Result<Image> {
        match self {
            Self::Directory(path) => {
                let image = image_dir::read(path, None, None, Depth::All);
                let image = image.map_err(|stop| match stop {
                    Stop::Refused(reason) => anyhow!("{}", reason.text),
                    Stop::Failed(error) => error,
                })?;
                let name = path.display().to_string();
                ensure!(
                    image.has_data(),
                    "{name} has no files with data (d1p1.img, ...)"
                );
                Ok(Image {
                    name,
                    manifest: image.manifest,
                    files: image.files,
                    data: Data::Files(image.sources),
                })
            }
            Self::Pack(path, keys) => {
                let packed = Packed::open(path, &trust::load(keys)?)?;
                let manifest = packed.manifest.head().to_manifest();
                deploy_plan::check_manifest(&manifest)?;
                Ok(Image {
                    name: path.display().to_string(),
                    manifest,
                    files: packed.manifest.files().clone(),
                    data: Data::Pack(Box::new(packed)),
                })
            }
        }
    }
}

impl Image {
    fn authenticity(&self) -> Option<Authenticity> {
        match &self.data {
            Data::Files(_) => None,
            Data::Pack(packed) => Some(packed.authenticity),
        }
    }

    /// Brings one stream to its place.
    fn run_to<T: imaging::Target>(
        &self,
        number: usize,
        options: image::Options,
        target: T,
        show: &mut (dyn FnMut(&View) + Send),
    ) -> anyhow::Result<Report> {
        match &self.data {
            Data::Files(sources) => {
                let files = sources.get(number).map_or(&[][..], Vec::as_slice);
                run_to(Source::open(files)?, options, target, SHOW_PERIOD, show)
            }
            Data::Pack(packed) => {
                let size = options.target_size;
                run_packed_to(packed, number, size, target, SHOW_PERIOD, show)
            }
        }
    }
}

/// What became of each stream, by its name.
type Reports = Vec<(String, Report)>;

/// Reads all streams to their ends.
fn check(common: &CommonArgs, image: &Image) -> anyhow::Result<Reports> {
    let streams = image.manifest.streams.iter().enumerate();
    streams
        .map(|(number, stream)| {
            let options = options(common, &stream.image.format, stream.image.device_size, None);
            let report = shown(common, |show| image.run_to(number, options, Nowhere, show))?;
            Ok((stream.name.to_string(), report))
        })
        .collect()
}

/// Goes through the steps of a deploy.
fn write(
    common: &CommonArgs,
    image: &Image,
    paths: &[PathBuf],
    trace: &Trace,
) -> anyhow::Result<(Reports, Vec<String>)> {
    let shapes = paths.iter().map(|path| {
        disk::shape_of(path).with_context(|| format!("looking at the disk {}", path.display()))
    });
    let shapes = shapes.collect::<anyhow::Result<Vec<_>>>()?;
    let plan = deploy_plan::plan(&image.manifest, &image.files, &shapes)?;
    let tools = Tools::installed();
    let mut warnings: Vec<Warning> = plan.warnings.clone();
    warnings.extend(tools.warnings(&plan));
    warnings.extend(deploy_plan::scripts(
        &image.manifest,
        "this command runs no scripts",
    ));
    let mut targets = Vec::new();
    for (path, shape) in paths.iter().zip(&shapes) {
        let target = Target::open(path, shape)?;
        if !common.whole_disk
            && let Some(old) = in_the_way(&target)?
        {
            bail!(
                "{} has {old}, which would be lost; give --whole-disk to overwrite all of the disk",
                path.display()
            );
        }
        trace.follow(&target);
        targets.push(target);
    }
    let heads = heads(&plan, &tools)?;
    let mut said: Vec<String> = warnings.iter().map(Warning::to_string).collect();
    for warning in &said {
        warn(warning);
    }
    let disks = Disks::new(&plan, &targets, Arc::default());
    let reports = streams(common, &plan, &disks, image)?;
    let late = Mutex::new(Vec::new());
    let keep = |text: String| {
        warn(&text);
        late.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text);
    };
    let shown = Mutex::new(None);
    let finish = Finish {
        disks: &disks,
        tools: &tools,
        heads: &heads,
        ending: &Ending::default(),
        activity: &|text: String| note(common, &text),
        running: &|what, running| {
            // It is heard of again and again; a line is due when it begins, when it falls silent, and when it goes on.
            let program = running.program.to_owned();
            let now = Some((program, running.silent.is_some()));
            let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
            if *shown == now {
                return;
            }
            *shown = now;
            match running.silent {
                Some(_) => note(common, &format!("waiting for {}", running.awaited(what))),
                None => note(common, &running.activity(what)),
            }
        },
        warn: &keep,
        late: &|warning: Warning| keep(warning.to_string()),
    };
    finish
        .run()
        .map_err(|failure| anyhow!("{}", failure.text))?;
    trace.complete();
    said.extend(late.into_inner().unwrap_or_else(PoisonError::into_inner));
    Ok((reports, said))
}

/// What is on a disk that nobody said is to be overwritten: a partition table, or what has no need of one.
fn in_the_way(target: &Target) -> anyhow::Result<Option<String>> {
    if let Some(old) = target.old_table()? {
        return Ok(Some(old.to_string()));
    }
    let labels = target.own_labels();
    Ok(labels.first().map(ToString::to_string))
}

/// Brings all streams to their places.
fn streams(
    common: &CommonArgs,
    plan: &DeployPlan,
    disks: &Disks<'_>,
    image: &Image,
) -> anyhow::Result<Reports> {
    let mut reports = Vec::new();
    for (number, stream) in plan.streams.iter().enumerate() {
        note(common, &format!("{}: {}", stream.name, place(stream)));
        let len = match stream.destination {
            Destination::Partition { len, .. }
            | Destination::Volume { len, .. }
            | Destination::Disk { len, .. } => Some(len),
            Destination::Nowhere => None,
        };
        let facts = &stream.facts;
        let options = options(common, &facts.format, facts.device_size, len);
        let gate = |geometry: &Geometry| -> Result<(), SinkError> {
            // It was read a moment ago, and the plan is for that.
            if geometry.device_size != facts.device_size {
                return Err("the file was changed while the image was restored".into());
            }
            Ok(disks.remove_old_tables()?)
        };
        let part = disks.part(stream.destination, Box::new(gate));
        let report = shown(common, |show| match part {
            Some(part) => image.run_to(number, options, part, show),
            None => image.run_to(number, options, Nowhere, show),
        })?;
        reports.push((stream.name.to_string(), report));
    }
    Ok(reports)
}

/// Where a stream goes, for people.
fn place(stream: &PlannedStream) -> String {
    match stream.destination {
        Destination::Partition { which, len, .. } => format!("to {which} of {}", Size(len)),
        Destination::Volume { which, len, .. } => {
            format!("to its volume of {} on {which}", Size(len))
        }
        Destination::Disk { which, len } => format!("to {which} of {}", Size(len)),
        Destination::Nowhere => "a container of partitions: verified, and not written".into(),
    }
}

fn options(
    common: &CommonArgs,
    format: &ImageFormat,
    device_size: u64,
    target_size: Option<u64>,
) -> image::Options {
    image::Options {
        content: match format {
            ImageFormat::Raw => Content::Raw {
                len: Some(device_size),
            },
            _ => Content::Image,
        },
        verify: match common.ignore_crc {
            true => Verify::Warn,
            false => Verify::Enforce,
        },
        target_size,
        window_log_max: common.window_log,
        ..image::Options::default()
    }
}

/// Runs a job and shows how far it is.
fn shown<T>(
    common: &CommonArgs,
    work: impl FnOnce(&mut (dyn FnMut(&View) + Send)) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut display = Display::new(common.quiet);
    work(&mut |view| display.show(view))
}

fn note(common: &CommonArgs, text: &str) {
    if !common.quiet {
        tell(&mut std::io::stderr(), text);
    }
}

/// At once: the end may be hours away.
fn warn(text: &str) {
    tell(&mut std::io::stderr(), &format!("warning: {text}"));
}

/// A directory that was restored, or checked.
struct Restored {
    source: String,
    /// Of a pack.
    authenticity: Option<Authenticity>,
    /// The disks; none if it was only checked.
    targets: Vec<String>,
    reports: Reports,
    warnings: Vec<String>,
    elapsed: Duration,
}

impl Outcome for Restored {
    fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(Authenticity::NotAuthenticated(_)) = self.authenticity {
            lines.push(format!(
                "warning: {}: not authenticated: no key was given that could say who made it",
                self.source
            ));
        }
        let mut written = 0_u64;
        for (name, report) in &self.reports {
            let summary = &report.summary;
            written = written.saturating_add(summary.output_len);
            let warnings = report.warnings.iter();
            lines.extend(warnings.map(|warning| format!("warning: {name}: {warning}")));
            if summary.checksum_errors > 0 {
                lines.push(format!(
                    "WARNING: {name}: {} checksums were wrong and ignored as asked: its data is damaged",
                    summary.checksum_errors
                ));
            }
        }
        let (source, time) = (&self.source, format!("{:.1}", Time(self.elapsed)));
        lines.push(match self.targets.is_empty() {
            true => format!("{source} is complete: {} verified in {time}", Size(written)),
            false => format!(
                "{source} restored to {}: {} and the partition table written and synced in {time}",
                self.targets.join(", "),
                Size(written)
            ),
        });
        lines
    }

    fn json(&self) -> Value {
        let streams = self.reports.iter().map(|(name, report)| {
            json!({
                "name": name,
                "source": report.source,
                "image": image_facts(&report.summary.geometry),
                "written_bytes": report.summary.output_len,
                "checksum_errors": report.summary.checksum_errors,
                "warnings": report.warnings,
            })
        });
        let mut report = json!({
            "ok": true,
            "source": self.source,
            "target": (!self.targets.is_empty()).then(|| self.targets.join(", ")),
            "streams": streams.collect::<Vec<_>>(),
            "warnings": self.warnings,
            "elapsed_ms": milliseconds(self.elapsed),
        });
        if let Some(authenticity) = self.authenticity {
            let by = match authenticity {
                Authenticity::Signed(key) => Some(key.to_string()),
                Authenticity::NotAuthenticated(_) => None,
            };
            report["authenticated"] = by.is_some().into();
            report["signed_by"] = by.into();
        }
        report
    }
}
