//! `partclone.restore`: writes a partclone image to a block device, a file or standard output.
//!
//! Takes the command lines of the original, and images that are still compressed. Where the original
//! can be told to call damage a success (`--force`), this program cannot.

use std::ffi::OsString;
use std::fs::File;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context;

use image::{Decoder, Sink, Summary, Verify};

use super::options::{Options, Program};
use super::progress::{Progress, amount};
use super::target::Target;
use super::{Log, announce, name, start};
use crate::pieces::{self, ReadAhead};
use crate::restore::Trace;

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
            log.tell(&format!("partclone.restore: {error:#}"));
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
    let mut target = Target::open(options, trace)
        .with_context(|| format!("opening the target {target_name}"))?;
    let begin = Instant::now();
    let size = target.size_to_check(options);
    let summary = decode(source, options, size, &mut target, log)
        .with_context(|| format!("restoring {source_name} to {target_name}"))?;
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
    target
        .finish(&summary.geometry)
        .with_context(|| format!("writing {target_name}"))?;
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

/// The image that `options` name.
pub(super) fn source(options: &Options) -> anyhow::Result<File> {
    let Some(path) = &options.source else {
        return pieces::standard_input().context("opening standard input");
    };
    File::open(path).with_context(|| format!("opening the image {}", path.display()))
}

/// Reads a whole image, with progress. One thread reads, this one decodes.
pub(super) fn decode(
    source: File,
    options: &Options,
    target_size: Option<u64>,
    target: &mut dyn Sink,
    log: &mut Log,
) -> anyhow::Result<Summary> {
    let mut decoder = Decoder::new(image::Options {
        verify: if options.is_crc_ignored {
            Verify::Warn
        } else {
            Verify::Enforce
        },
        target_size,
        check_size: !options.is_size_unchecked,
        window_log_max: WINDOW_LOG,
        ..image::Options::default()
    });
    let mut progress =
        (!options.is_quiet).then(|| Progress::new(options.interval, options.has_block_detail));
    let mut is_announced = false;
    let mut reader = ReadAhead::start(source).context("starting a thread")?;
    while let Some(piece) = reader.next() {
        let piece = piece.context("reading the image")?;
        let pushed = decoder.push(&piece, target);
        reader.give_back(piece);
        if let Some(geometry) = decoder.geometry() {
            if !is_announced {
                is_announced = true;
                announce(geometry, log);
            }
            if let Some(progress) = &mut progress {
                progress.show(&decoder.progress(), geometry, false);
            }
        }
        pushed.inspect_err(|_| end(progress.as_mut()))?;
    }
    if let (Some(progress), Some(geometry)) = (&mut progress, decoder.geometry()) {
        progress.show(&decoder.progress(), geometry, true);
    }
    let summary = decoder
        .finish(target)
        .inspect_err(|_| end(progress.as_mut()))?;
    if !is_announced {
        announce(&summary.geometry, log);
    }
    end(progress.as_mut());
    Ok(summary)
}

/// Leaves the progress lines standing.
fn end(progress: Option<&mut Progress>) {
    if let Some(progress) = progress {
        progress.end();
    }
}

#[cfg(test)]
mod tests;
