//! File systems of resizable images are shrunk by their own programs, on a view of their partition: what they change is
//! in memory, and the disk stays as it is.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail, ensure};
use capture::{Overlay, Shrinkable, shrunken_len};
use disk::SourceDisk;
use readable::Time;

use super::view::{Manner, Shown, shown};
use crate::deploy::{HANGS_AFTER, Said, Tools, attend_working};

/// How a partition may be shrunk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Room that is left in a file system, in percent of what it needs.
    pub(super) percent: u32,
    /// Bytes of memory for what is changed.
    pub(super) memory: u64,
}

/// A partition, as it is captured.
pub(super) struct Resized {
    /// Cut to the new size.
    pub(super) view: Shown,
    /// Bytes of memory that the changes take.
    pub(super) memory: u64,
    /// Why it kept its size, if it did.
    pub(super) kept: Option<String>,
}

/// Shrinks the file system of a partition at `place` (offset and length of its pieces in bytes), as far as there is memory for it: with
/// less room it is shrunk less, and at last not at all.
///
/// # Errors
/// A program fails for another reason; the file system may be damaged.
pub(super) fn shrink(
    disk: &Arc<SourceDisk>,
    place: &[(u64, u64)],
    kind: Shrinkable,
    manner: Manner,
    limits: Limits,
    tools: &Tools,
) -> anyhow::Result<Resized> {
    let whole = |kept: String| Resized {
        view: Shown::new(disk, place, manner, None),
        memory: 0,
        kept: Some(kept),
    };
    if let Some(lacking) = programs(kind)
        .iter()
        .find(|name| tools.find(name).is_none())
    {
        return Ok(whole(format!("this machine has no program {lacking}")));
    }
    let len = place.iter().map(|(_, len)| *len).sum();
    // What lies behind the new end has to be moved. The less is cut off, the less that is.
    for share in SHARES {
        let overlay = Overlay::new(len, limits.memory);
        let view = Shown::new(disk, place, manner, Some(overlay));
        let done = shown(&view, |path| resize(kind, path, len, limits, share, tools))?;
        // A program may go on over a write or a read that failed, and say that all is well.
        let is_full = view.is_full();
        let unreadable = view.unreadable();
        ensure!(
            manner == Manner::Rescue || unreadable.is_empty(),
            "the disk has places that cannot be read: {unreadable}"
        );
        match done {
            _ if is_full => {}
            Ok(Done::Repaired) => {
                let cause = "it has faults that e2fsck would mend: run e2fsck -f on it, or start the system that it belongs to";
                return Ok(whole(cause.to_owned()));
            }
            Ok(Done::Resized(new)) if new >= len => {
                let cause = "with the room that is left in it, it would not become smaller";
                return Ok(whole(cause.to_owned()));
            }
            Ok(Done::Resized(new)) => {
                let memory = view.changed();
                return Ok(Resized {
                    view: view.shorter(new),
                    memory,
                    kept: None,
                });
            }
            Err(error) => {
                return Err(error.context(format!("making a smaller copy of the {kind} in memory")));
            }
        }
    }
    Ok(whole(format!(
        "what would have to be moved does not fit in {} of memory (--shrink-memory)",
        readable::Size(limits.memory)
    )))
}

/// Parts of what could be cut off, in percent.
const SHARES: [u64; 3] = [100, 50, 20];

fn programs(kind: Shrinkable) -> &'static [&'static str] {
    match kind {
        Shrinkable::Ntfs => &["ntfsresize", "ntfsfix"],
        Shrinkable::Ext => &["e2fsck", "resize2fs"],
    }
}

/// What became of a file system.
enum Done {
    /// Its new length in bytes, which is the former one if nothing was done.
    Resized(u64),
    /// It was not in order, though it says so: what the programs would make of it is not what the disk holds.
    Repaired,
}

fn resize(
    kind: Shrinkable,
    path: &Path,
    len: u64,
    limits: Limits,
    share: u64,
    tools: &Tools,
) -> anyhow::Result<Done> {
    let minimum = match kind {
        Shrinkable::Ntfs => {
            let said = run(
                tools,
                "ntfsresize",
                &["-f", "-f", "-i", "-P"],
                path,
                None,
                &[0],
            )?;
            match ntfs_minimum(&said) {
                Some(minimum) => minimum,
                // It has said what it thinks, and is content.
                None => return Ok(Done::Resized(len)),
            }
        }
        Shrinkable::Ext => {
            let is_good = |how| run(tools, "e2fsck", &["-f", how], path, None, &[0]).is_ok();
            // Only the second one leaves the date that resize2fs wants.
            if !is_good("-n") || !is_good("-y") {
                return Ok(Done::Repaired);
            }
            let said = run(tools, "resize2fs", &["-P"], path, None, &[0])?;
            let blocks = ext_minimum(&said);
            let blocks = blocks.with_context(|| format!("resize2fs -P said: {said}"))?;
            blocks.saturating_mul(ext_block(path)?)
        }
    };
    let least = shrunken_len(kind, minimum, len, limits.percent);
    let cut = (len - least) / 100 * share;
    let new = len
        .saturating_sub(cut)
        .checked_next_multiple_of(UNIT)
        .unwrap_or(len);
    if new >= len {
        return Ok(Done::Resized(len));
    }
    match kind {
        Shrinkable::Ntfs => {
            let size = new.to_string();
            let args = ["-f", "-f", "-b", "-P", "-s", &size];
            run(tools, "ntfsresize", &args, path, None, &[0])?;
            // It asks Windows for a check, which nothing needs.
            run(tools, "ntfsfix", &["-b", "-d"], path, None, &[0])?;
        }
        Shrinkable::Ext => {
            let size = format!("{}K", new / 1024);
            run(tools, "resize2fs", &[], path, Some(&size), &[0])?;
            run(tools, "e2fsck", &["-f", "-n"], path, None, &[0])?;
        }
    }
    Ok(Done::Resized(new))
}

/// `You might resize at 6336512 bytes or 7 MB (freeing 262 MB).`
fn ntfs_minimum(said: &str) -> Option<u64> {
    let (_, rest) = said.split_once("You might resize at ")?;
    rest.split(' ').next()?.parse().ok()
}

/// `Estimated minimum size of the filesystem: 1824`
fn ext_minimum(said: &str) -> Option<u64> {
    let (_, rest) = said.split_once("minimum size of the filesystem: ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Bytes of a block, as the superblock has it.
fn ext_block(path: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::FileExt as _;

    let mut log = [0; 4];
    let file = std::fs::File::open(path).context("opening the view")?;
    file.read_exact_at(&mut log, 1024 + 24)
        .context("reading the superblock")?;
    let log = u32::from_le_bytes(log);
    1024_u64
        .checked_shl(log)
        .filter(|size| (1024..=1 << 16).contains(size))
        .with_context(|| format!("the superblock says blocks of 2^{log} KiB"))
}

/// Runs a program on a file; answers what it said.
fn run(
    tools: &Tools,
    program: &'static str,
    args: &[&str],
    path: &Path,
    last: Option<&str>,
    good: &[i32],
) -> anyhow::Result<String> {
    let found = tools.find(program);
    let found = found.with_context(|| format!("there is no program {program}"))?;
    let (mut output, input) = io::pipe().context("making a pipe")?;
    let mut command = Command::new(found);
    command
        .args(args)
        .arg(path)
        .args(last)
        .env("LC_ALL", "C")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(input.try_clone().context("making a pipe")?)
        .stderr(input);
    let child = command.spawn();
    let child = child.with_context(|| format!("starting {program}"))?;
    // Its copies of the pipe's end are closed with it.
    drop(command);
    let said = Said::default();
    let attended = attend_working(HANGS_AFTER, child, || said.read(&mut output));
    let attended = attended.with_context(|| format!("waiting for {program}"))?;
    let words = said.words();
    let ((), status) = attended.map_err(|silent| {
        let silent = Time(silent);
        anyhow!("{program} has shown no sign of work for {silent}, and was ended: {words}")
    })?;
    if status.code().is_some_and(|code| good.contains(&code)) {
        return Ok(words);
    }
    bail!("{program} failed ({status}): {words}")
}

const UNIT: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_say_of_sizes_is_understood() {
        let said =
            "Device name : /x; You might resize at 6336512 bytes or 7 MB (freeing 262 MB).; Please";
        assert_eq!(ntfs_minimum(said), Some(6_336_512));
        assert_eq!(ntfs_minimum("ERROR: NTFS is inconsistent"), None);
        let said = "resize2fs 1.47.0; Estimated minimum size of the filesystem: 1824";
        assert_eq!(ext_minimum(said), Some(1824));
        assert_eq!(ext_minimum("minimum size of the filesystem: x"), None);
    }
}
