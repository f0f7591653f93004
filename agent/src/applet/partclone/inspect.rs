//! `partclone.chkimg`, which verifies an image and writes nothing, and `partclone.info`, which shows
//! what the header says.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;

use image::{BitmapMode, ChecksumMode, Decoder, Geometry, ImageFormat, Summary};
use imaging::tap::meter::Flow;
use imaging::target::Nowhere;
use imaging::{Direct, Piece, Pieces, Watch};

use super::options::{Options, Program};
use super::restore::{carry_out, read_error, source};
use super::{Log, announce, name, start};

/// Runs `partclone.chkimg` with `args` (without the program's name). Ends with 0 when the image is good,
/// 1 when it is not, 2 on wrong usage.
pub(crate) fn partclone_chkimg(args: &[OsString]) -> ExitCode {
    run(Program::Check, args, check)
}

/// Runs `partclone.info` with `args`. Ends with 0 when header and bitmap are good, 1 when they are not,
/// 2 on wrong usage.
pub(crate) fn partclone_info(args: &[OsString]) -> ExitCode {
    run(Program::Info, args, info)
}

fn run(
    program: Program,
    args: &[OsString],
    work: fn(&Options, &mut Log) -> anyhow::Result<()>,
) -> ExitCode {
    let options = match start(program, args) {
        Ok(options) => options,
        Err(status) => return status,
    };
    let mut log = Log::open(&options.log);
    log.tell(&format!(
        "{} of fos-agent {}",
        program.name(),
        env!("CARGO_PKG_VERSION")
    ));
    match work(&options, &mut log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.tell(&format!(
                "{}: {}",
                program.name(),
                readable::chain(error.as_ref())
            ));
            ExitCode::FAILURE
        }
    }
}

fn check(options: &Options, log: &mut Log) -> anyhow::Result<()> {
    let name = name(options.source.as_deref());
    log.tell(&format!("checking ({name})"));
    if let Some(note) = &options.note {
        log.tell(&format!("note: {note}"));
    }
    let told = |_: &mut Log, _: &Summary| {};
    let summary = carry_out(source(options)?, options, None, Nowhere, log, &told)
        .map_err(|failure| read_error(failure).context(format!("checking {name}")))?;
    for warning in &summary.warnings {
        log.tell(&format!("warning: {warning}"));
    }
    if summary.checksum_errors > 0 {
        log.tell(&format!(
            "WARNING: {} checksums of the image are wrong and ignored as asked: the data is damaged",
            summary.checksum_errors
        ));
    }
    log.tell(&match summary.checksums {
        0 => format!("({name}) is complete; it has no checksums inside"),
        count => format!("({name}) is complete; {count} checksums compared"),
    });
    // The one line that the original prints there.
    writeln!(io::stdout(), "Checked successfully.").context("writing to standard output")
}

fn info(options: &Options, log: &mut Log) -> anyhow::Result<()> {
    let name = name(options.source.as_deref());
    log.tell(&format!("showing ({name})"));
    let geometry = geometry(options).with_context(|| format!("reading {name}"))?;
    announce(&geometry, log);
    log.tell("");
    for (what, value) in facts(&geometry) {
        log.tell(&format!("{what:16} {value}"));
    }
    Ok(())
}

/// Header and bitmap of the image, both verified.
fn geometry(options: &Options) -> anyhow::Result<Geometry> {
    let mut pieces = Direct::new(Small(source(options)?));
    let mut found = Found(None);
    let flow = Flow::default();
    let options = image::Options::default();
    let decoded = imaging::decode(&mut pieces, options, &mut Nowhere, &flow, &mut found);
    // Damage behind the bitmap is not what is asked for.
    match (found.0, decoded) {
        (Some(geometry), _) => Ok(geometry),
        (None, Ok(summary)) => Ok(summary.geometry),
        (None, Err(failure)) => Err(read_error(failure)),
    }
}

/// What the image is, once that is known.
struct Found(Option<Geometry>);

impl Watch for Found {
    fn goes_on(&mut self) -> bool {
        self.0.is_none()
    }

    fn look(&mut self, decoder: &Decoder) {
        self.0 = decoder.geometry().cloned();
    }
}

/// No more is read than is needed.
struct Small(File);

impl Pieces for Small {
    fn next(&mut self, spare: Vec<u8>) -> io::Result<Piece> {
        Piece::read(&mut self.0, spare, PIECE)
    }
}

/// Bytes read at once.
const PIECE: usize = 4 << 10;

/// The lines about the format, as the original has them.
fn facts(geometry: &Geometry) -> Vec<(&'static str, String)> {
    let none = || "n/a".to_owned();
    let has_sums = geometry.checksum != ChecksumMode::None;
    let sums = |value: String| if has_sums { value } else { none() };
    let is_0001 = geometry.format == ImageFormat::Partclone0001;
    let bits = geometry.word_bits;
    vec![
        (
            "image format:",
            match geometry.format {
                ImageFormat::Partclone0001 => "0001".to_owned(),
                ImageFormat::Partclone0002 => "0002".to_owned(),
                other => other.to_string(),
            },
        ),
        (
            "created on a:",
            bits.map_or_else(none, |bits| format!("{bits} bits platform")),
        ),
        (
            "with partclone:",
            geometry
                .writer
                .as_ref()
                .map_or_else(none, |version| format!("v{version}")),
        ),
        (
            "bitmap mode:",
            match geometry.bitmap {
                BitmapMode::None => "NONE",
                BitmapMode::Bit => "BIT",
                BitmapMode::Byte => "BYTE",
            }
            .to_owned(),
        ),
        (
            "checksum algo:",
            match geometry.checksum {
                ChecksumMode::None => "NONE".to_owned(),
                ChecksumMode::Crc32FirstByte => "CRC32_0001".to_owned(),
                other => other.to_string(),
            },
        ),
        ("checksum size:", sums(geometry.checksum.size().to_string())),
        (
            "blocks/checksum:",
            sums(match geometry.strip_blocks {
                0 => none(),
                count => count.to_string(),
            }),
        ),
        (
            "reseed checksum:",
            sums(if geometry.is_reseeded && !is_0001 {
                "yes".to_owned()
            } else {
                "no".to_owned()
            }),
        ),
    ]
}
