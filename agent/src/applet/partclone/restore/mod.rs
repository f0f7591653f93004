//! `partclone.restore`: writes a partclone image to a block device, a file or standard output.
//!
//! Takes the command lines of the original, and images that are still compressed. Where the original
//! can be told to call damage a success (`--force`), this program cannot.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;

use image::{Decoder, Summary, Verify};
use imaging::source::standard_input;
use imaging::{Creation, Demands, Failure, Manner, Output, Place, Trace, Watch};

use super::super::messages::say;
use super::options::{Options, Program, TargetName};
use super::progress::{Progress, amount};
use super::{Log, announce, name, start};

/// log2 of the largest decompression window: the one that `zstd --ultra -22` needs.
const WINDOW_LOG: u32 = 27;

/// Runs `partclone.restore` with `args` (without the program's name). Ends with 0 when everything was
/// written and synced, 1 when anything failed, 2 on wrong usage.
pub(crate) fn partclone_restore(args: &[OsString]) -> ExitCode {
    run(Program::Restore, args)
}

/// Runs `partclone.ext4` and its kin, which restore when told `-r`. With the same ends.
pub(crate) fn partclone_filesystem(args: &[OsString]) -> ExitCode {
    run(Program::FileSystem, args)
}

fn run(program: Program, args: &[OsString]) -> ExitCode {
    let options = match start(program, args) {
        Ok(options) => options,
        Err(status) => return status,
    };
    let mut log = Log::open(&options.log);
    let trace = Trace::default();
    match restore(&options, &mut log, &trace) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.tell(&format!(
                "partclone.restore: {}",
                readable::chain(error.as_ref())
            ));
            if options.is_forced {
                log.tell("--force does not turn a failure into a success");
            }
            let fate = trace.line(&name(options.target.path()));
            log.tell(&format!("partclone.restore failed: {fate}"));
            ExitCode::FAILURE
        }
    }
}

const VERSION: &str = concat!("partclone.restore of fos-agent ", env!("CARGO_PKG_VERSION"));

fn restore(options: &Options, log: &mut Log, trace: &Trace) -> anyhow::Result<()> {
    let source_name = name(options.source.as_deref());
    let target_name = name(options.target.path());
    log.tell(VERSION);
    log.tell(&format!("restoring ({source_name}) to ({target_name})"));
    if let Some(note) = &options.note {
        log.tell(&format!("note: {note}"));
    }
    let source = source(options)?;
    let (place, demands) = asked_for(options);
    let target = Output::open(&place, &demands, trace)?;
    let begin = Instant::now();
    let size = target.size();
    let told = |log: &mut Log, summary: &Summary| {
        for warning in &summary.warnings {
            log.tell(&format!("warning: {warning}"));
        }
        if summary.checksum_errors > 0 {
            log.tell(&format!(
                "WARNING: {} checksums of the image were wrong and ignored as asked: the target holds \
                 damaged blocks",
                summary.checksum_errors
            ));
        }
    };
    let summary =
        carry_out(source, options, size, target, log, &told).map_err(|failure| match failure {
            Failure::Commit(error) => error.context(format!("writing {target_name}")),
            other => read_error(other).context(format!("restoring {source_name} to {target_name}")),
        })?;
    let elapsed = begin.elapsed();
    log.tell(&format!(
        "restored ({source_name}) to ({target_name}): {} written and synced in {}.{} s, {}",
        amount(summary.output_len),
        elapsed.as_secs(),
        elapsed.subsec_millis() / 100,
        if summary.checksums > 0 {
            format!("{} checksums compared", summary.checksums)
        } else {
            "the image has no checksums".to_owned()
        },
    ));
    Ok(())
}

/// The target that `options` name.
fn asked_for(options: &Options) -> (Place, Demands) {
    let path = |path: &Path, creation| Place::Path {
        path: path.to_owned(),
        creation,
        is_discarded: false,
        manner: Manner::Original,
    };
    let place = match &options.target {
        TargetName::New(name) => path(name, Creation::OnlyNew),
        TargetName::Existing(name) => path(name, Creation::AtOnce),
        TargetName::Plain(name) => path(name, Creation::Emptied),
        TargetName::StandardOutput => Place::StandardOutput,
    };
    let demands = Demands {
        offset: options.offset,
        is_size_unchecked: options.is_size_unchecked,
        skip: options.is_skipping_write_errors.then_some(say),
    };
    (place, demands)
}

/// The image that `options` name.
pub(super) fn source(options: &Options) -> anyhow::Result<File> {
    let Some(path) = &options.source else {
        return standard_input().context("opening standard input");
    };
    File::open(path).with_context(|| format!("opening the image {}", path.display()))
}

/// Reads a whole image, with progress. `told` says what there is to say of it before the target is
/// complete.
pub(super) fn carry_out(
    source: File,
    options: &Options,
    target_size: Option<u64>,
    target: impl imaging::Target,
    log: &mut Log,
    told: &dyn Fn(&mut Log, &Summary),
) -> Result<Summary, Failure> {
    let image = image::Options {
        verify: if options.is_crc_ignored {
            Verify::Warn
        } else {
            Verify::Enforce
        },
        target_size,
        check_size: !options.is_size_unchecked,
        window_log_max: WINDOW_LOG,
        ..image::Options::default()
    };
    let mut narrator = Narrator {
        progress: (!options.is_quiet)
            .then(|| Progress::new(options.interval, options.has_block_detail)),
        is_announced: false,
        log,
        told,
    };
    let job = imaging::Job {
        source,
        image,
        target,
        flow: Arc::default(),
    };
    let done = imaging::run(job, &mut narrator);
    done.map(|done| done.summary)
        .inspect_err(|_| end(narrator.progress.as_mut()))
}

/// A failure in the words of this program.
pub(super) fn read_error(failure: Failure) -> anyhow::Error {
    match failure {
        Failure::Read(error) => anyhow::Error::new(error).context("reading the image"),
        other => other.into_error(),
    }
}

/// Says what the image is, and how far it is.
struct Narrator<'a> {
    progress: Option<Progress>,
    is_announced: bool,
    log: &'a mut Log,
    told: &'a dyn Fn(&mut Log, &Summary),
}

impl Watch for Narrator<'_> {
    fn look(&mut self, decoder: &Decoder) {
        let Some(geometry) = decoder.geometry() else {
            return;
        };
        if !self.is_announced {
            self.is_announced = true;
            announce(geometry, self.log);
        }
        if let Some(progress) = &mut self.progress {
            progress.show(&decoder.progress(), geometry, false);
        }
    }

    fn ended(&mut self, decoder: &Decoder) {
        if let (Some(progress), Some(geometry)) = (&mut self.progress, decoder.geometry()) {
            progress.show(&decoder.progress(), geometry, true);
        }
    }

    fn decoded(&mut self, summary: &Summary) {
        if !self.is_announced {
            announce(&summary.geometry, self.log);
        }
        end(self.progress.as_mut());
        (self.told)(self.log, summary);
    }
}

/// Leaves the progress lines standing.
fn end(progress: Option<&mut Progress>) {
    if let Some(progress) = progress {
        progress.end();
    }
}

#[cfg(test)]
mod tests;
