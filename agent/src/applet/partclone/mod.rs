//! Programs of the partclone family: restoring, checking and showing images.

pub(in crate::applet) mod figures;
mod inspect;
mod options;
mod progress;
mod restore;
pub(in crate::applet) mod status;

use std::ffi::OsString;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use image::Geometry;

pub(crate) use self::inspect::{partclone_chkimg, partclone_info};
use self::options::{Options, Program, Request};
use self::progress::amount;
pub(crate) use self::restore::{partclone_filesystem, partclone_restore};
use super::messages::say;

/// Exit status of a wrong command line.
const USAGE: u8 = 2;

/// Reads the command line; what is done with that, or wrong, is told, and the status given.
fn start(program: Program, args: &[OsString]) -> Result<Box<Options>, ExitCode> {
    let name = program.name();
    match options::parse(program, args) {
        Ok(Request::Work(options)) => Ok(options),
        Ok(Request::Help) => {
            say(program.help());
            Err(ExitCode::SUCCESS)
        }
        Ok(Request::Version) => {
            say(&format!(
                "{name} of fos-agent {}",
                env!("CARGO_PKG_VERSION")
            ));
            Err(ExitCode::SUCCESS)
        }
        Err(error) => {
            say(&format!("{name}: {error}; --help lists the options"));
            Err(ExitCode::from(USAGE))
        }
    }
}

/// Says what the image is, in the lines of the original.
fn announce(geometry: &Geometry, log: &mut Log) {
    let block_size = u64::from(geometry.block_size);
    let blocks = geometry.total_blocks;
    let free = blocks.saturating_sub(geometry.used_blocks);
    let in_all = |count: u64| amount(count.saturating_mul(block_size));
    log.tell(&format!("File system:  {}", geometry.filesystem));
    for (what, len, count) in [
        ("Device size:", in_all(blocks), blocks),
        (
            "Space in use:",
            in_all(geometry.used_blocks),
            geometry.used_blocks,
        ),
        ("Free Space:", in_all(free), free),
    ] {
        log.tell(&format!("{what:13} {len:>8} = {count} Blocks"));
    }
    log.tell(&format!("Block size:   {block_size} Byte"));
}

fn name(path: Option<&Path>) -> String {
    path.map_or_else(|| "-".to_owned(), |path| path.display().to_string())
}

/// The log file beside standard error. That it cannot be written is no reason to fail.
struct Log(Option<File>);

impl Log {
    fn open(path: &Path) -> Self {
        Self(File::create(path).ok())
    }

    fn tell(&mut self, line: &str) {
        say(line);
        if let Some(file) = &mut self.0
            && writeln!(file, "{line}").is_err()
        {
            self.0 = None;
        }
    }
}
