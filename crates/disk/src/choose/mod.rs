//! Which disk is overwritten.
//!
//! Pure: it sees the probed disks and the wish, and has only the resolution of symbolic links handed
//! to it. The rules are FOG's (`fdrive`, `largesize`, `smallsize`), with additions that keep
//! other people's data alive: removable and USB disks are only taken when named, disks in use are never
//! taken, a named disk that is not there is never replaced by another one, and a disk that is taken for its
//! place among several is looked at before.

mod by_id;

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::labels::DiskLabel;
use crate::probe::Disk;

mod several;

pub use several::choose_several;

/// What the server (or the operator) asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The kernel argument `fdrive`: comma-separated; each element a device path (symbolic links
    /// allowed, also those that udev would make), a size in bytes, a WWN, a serial number, or the UUID of
    /// the file system of the whole disk ([`Disk::labels`]).
    pub fdrive: Option<String>,
    /// `largesize`: the largest disk.
    pub largest: bool,
    /// `smallsize`: the smallest disk.
    pub smallest: bool,
    /// What becomes of a disk that was not named and has labels.
    pub labelled: Labelled,
}

/// What becomes of a disk that was not named, and holds a file system without a partition table or is part of an
/// array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Labelled {
    /// It is taken; if it is one of several, with a warning.
    #[default]
    Warn,
    /// It is refused.
    Refuse,
}

/// The chosen disk and why it was chosen.
#[derive(Clone, Debug)]
pub struct Choice<'a> {
    /// The disk to overwrite.
    pub disk: &'a Disk,
    /// Why this one, in a phrase such as `the first of 2 disks`.
    pub reason: String,
    /// What an operator should know although the choice stands.
    pub warnings: Vec<String>,
    /// It was not named, but is one of several.
    pub is_one_of_several: bool,
    /// What it holds, which its owner may miss: not of a disk that was named, nor of the only one.
    pub overwrites: Option<Overwrites>,
}

/// What is on a disk that is going to be overwritten for its place among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overwrites {
    path: PathBuf,
    reason: String,
    labels: Vec<DiskLabel>,
}

impl fmt::Display for Overwrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is overwritten although it holds {}: it was not named, but is {}. With the kernel argument \
             foslabelled=refuse such a disk is left alone unless it is named",
            self.path.display(),
            listed(&self.labels),
            self.reason
        )
    }
}

fn listed(labels: &[DiskLabel]) -> String {
    let shown: Vec<String> = labels.iter().take(3).map(ToString::to_string).collect();
    let more = labels.len().saturating_sub(shown.len());
    let rest = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{rest}", shown.join(", "))
}

/// Why no disk was chosen. Every variant lists the disks that were found.
#[derive(Debug, Error)]
pub enum ChooseError {
    /// There is no disk that may be chosen without being named.
    #[error("no disk to write to{hint}: {found}")]
    NoCandidate {
        /// How one of them could be used all the same.
        hint: Hint,
        /// The disks found, with the reason why each is left out.
        found: Candidates,
    },
    /// No element of `fdrive` names a disk that is present.
    #[error(
        "no disk matches \"{wanted}\" (path, size in bytes, WWN, serial number, or UUID of a file \
         system on the whole disk); correct the host's primary disk; {found}"
    )]
    NoMatch {
        /// The `fdrive` value.
        wanted: String,
        /// The disks found.
        found: Candidates,
    },
    /// One element of `fdrive` matches several disks, so that it does not name one.
    #[error(
        "\"{element}\" matches {count} disks; name the disk by path, WWN or serial number; {found}"
    )]
    Ambiguous {
        /// The element of `fdrive`.
        element: String,
        /// How many disks it matches.
        count: usize,
        /// The disks found.
        found: Candidates,
    },
    /// The disk was not named, holds something, and such a disk is to be refused.
    #[error(
        "{path} is {reason} and holds {}, and the kernel arguments say that such a disk is refused \
         unless it is named; name it as the host's primary disk, or clear it; {found}",
        listed(.labels)
    )]
    Labelled {
        /// The disk's device node.
        path: PathBuf,
        /// Why it would have been taken.
        reason: String,
        /// What it holds.
        labels: Vec<DiskLabel>,
        /// The disks found.
        found: Candidates,
    },
    /// An image of several disks, and a machine with fewer.
    #[error(
        "the image needs {needed} disks, this machine has {usable} that may be written to; {found}"
    )]
    TooFew {
        /// How many disks the image needs.
        needed: usize,
        /// How many there are.
        usable: usize,
        /// The disks found.
        found: Candidates,
    },
    /// The named disk must not be written to.
    #[error("{path} was asked for but cannot be used: {reason}; {found}")]
    Refused {
        /// The disk's device node.
        path: PathBuf,
        /// Why not.
        reason: String,
        /// The disks found.
        found: Candidates,
    },
}

/// That removable disks have to be named, where there are only such.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hint(Option<String>);

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => Ok(()),
            Some(name) => write!(
                f,
                "; a USB disk or memory card is only used if it is named: to use this one, make it the \
                 host's primary disk (fos-server host add --device {name}; in FOG: Host Primary Disk, \
                 kernel argument fdrive={name})"
            ),
        }
    }
}

/// The disks that were found, for error texts: a line each with model, serial number and size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates(Vec<String>);

impl fmt::Display for Candidates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no disk was found at all; a driver may be missing");
        }
        f.write_str("found:")?;
        for line in &self.0 {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

/// Chooses the disk that is to be overwritten.
///
/// `resolve` follows symbolic links (see [`resolve_link`]); it is only asked for elements of `fdrive`
/// that begin with `/`. Disks without a size are not candidates at all.
///
/// # Errors
///
/// [`ChooseError`], each with the list of what was found.
pub fn choose<'a>(
    disks: &'a [Disk],
    wish: &Wish,
    resolve: &dyn Fn(&Path) -> Option<PathBuf>,
) -> Result<Choice<'a>, ChooseError> {
    let sized: Vec<&Disk> = disks.iter().filter(|disk| disk.size > 0).collect();
    match wish.fdrive.as_deref().map(str::trim) {
        Some(wanted) if !wanted.is_empty() => named(disks, &sized, wanted, resolve),
        _ => automatic(disks, &sized, wish),
    }
}

/// Whether each element of `fdrive` names a disk. One that does not may be the UUID of a file system, and labels were not
/// read yet ([`Disk::look_for_labels`]).
#[must_use]
pub fn knows_all_names(
    disks: &[Disk],
    wish: &Wish,
    resolve: &dyn Fn(&Path) -> Option<PathBuf>,
) -> bool {
    elements(wish.fdrive.as_deref().unwrap_or_default())
        .all(|element| disks.iter().any(|disk| names(element, disk, resolve)))
}

fn elements(wanted: &str) -> impl Iterator<Item = &str> {
    wanted
        .split(',')
        .map(str::trim)
        .filter(|element| !element.is_empty())
}

/// Follows symbolic links in the running system; `None` when the path leads nowhere.
#[must_use]
pub fn resolve_link(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

fn named<'a>(
    disks: &[Disk],
    sized: &[&'a Disk],
    wanted: &str,
    resolve: &dyn Fn(&Path) -> Option<PathBuf>,
) -> Result<Choice<'a>, ChooseError> {
    let mut warnings = Vec::new();
    for element in elements(wanted) {
        let matching: Vec<&'a Disk> = sized
            .iter()
            .copied()
            .filter(|disk| names(element, disk, resolve))
            .collect();
        match matching.as_slice() {
            [] => warnings.push(format!("\"{element}\" matches no disk")),
            [disk] => {
                if let Some(reason) = refusal(disk) {
                    return Err(ChooseError::Refused {
                        path: disk.path.clone(),
                        reason,
                        found: candidates(disks),
                    });
                }
                if disk.is_removable {
                    warnings.push(format!(
                        "{} is removable; it is used because it was named",
                        disk.path.display()
                    ));
                }
                return Ok(Choice {
                    disk,
                    reason: format!("named by \"{element}\""),
                    warnings,
                    is_one_of_several: false,
                    overwrites: None,
                });
            }
            several => {
                return Err(ChooseError::Ambiguous {
                    element: element.to_owned(),
                    count: several.len(),
                    found: candidates(disks),
                });
            }
        }
    }
    Err(ChooseError::NoMatch {
        wanted: wanted.to_owned(),
        found: candidates(disks),
    })
}

/// Whether one element of `fdrive` means this disk.
fn names(element: &str, disk: &Disk, resolve: &dyn Fn(&Path) -> Option<PathBuf>) -> bool {
    if element.starts_with('/') {
        let path = Path::new(element);
        if disk.path == path {
            return true;
        }
        return match resolve(path) {
            Some(real) => disk.path == real,
            None => has_link(path, disk),
        };
    }
    disk.wwn
        .as_deref()
        .is_some_and(|wwn| wwn.eq_ignore_ascii_case(element))
        || disk
            .serials()
            .any(|serial| serial.eq_ignore_ascii_case(element))
        || element.parse::<u64>().is_ok_and(|size| size == disk.size)
        || element == disk.name
        || has_uuid(element, disk)
}

/// Whether udev would make this link to the disk. Its links to partitions name no disk.
fn has_link(path: &Path, disk: &Disk) -> bool {
    let below = |dir: &str| path.strip_prefix(dir).ok()?.to_str();
    match (below("/dev/disk/by-id"), below("/dev/disk/by-uuid")) {
        (Some(name), _) => by_id::means(name, disk),
        (None, Some(uuid)) => has_uuid(uuid, disk),
        (None, None) => false,
    }
}

/// Whether this is the UUID of the file system on the whole disk. That of an array belongs to all its disks.
fn has_uuid(uuid: &str, disk: &Disk) -> bool {
    disk.labels
        .iter()
        .filter(|label| label.partition.is_none() && !label.kind.is_member())
        .filter_map(|label| label.uuid.as_deref())
        .any(|known| known.eq_ignore_ascii_case(uuid))
}

fn automatic<'a>(
    disks: &[Disk],
    sized: &[&'a Disk],
    wish: &Wish,
) -> Result<Choice<'a>, ChooseError> {
    let mut warnings = Vec::new();
    let mut eligible: Vec<&'a Disk> = Vec::new();
    for &disk in sized {
        match exclusion(disk) {
            None => eligible.push(disk),
            Some(reason) => warnings.push(format!("{} left out: {reason}", disk.path.display())),
        }
    }
    let count = eligible.len();
    // Of equal sizes the first counts; max_by_key would take the last.
    let (disk, rule) = if wish.largest {
        let size = eligible.iter().map(|disk| disk.size).max();
        (first_of_size(&eligible, size), "largest")
    } else if wish.smallest {
        let size = eligible.iter().map(|disk| disk.size).min();
        (first_of_size(&eligible, size), "smallest")
    } else {
        (eligible.first().copied(), "first")
    };
    let Some(disk) = disk else {
        return Err(ChooseError::NoCandidate {
            hint: hint(sized),
            found: candidates(disks),
        });
    };
    let reason = match count {
        1 => "the only disk".to_owned(),
        _ => format!("the {rule} of {count} disks"),
    };
    let overwrites = overwritten(disks, wish, disk, &reason, count > 1)?;
    Ok(Choice {
        disk,
        reason,
        warnings,
        is_one_of_several: count > 1,
        overwrites,
    })
}

/// What is on a disk that was not named.
///
/// # Errors
///
/// If such a disk is to be refused.
fn overwritten(
    disks: &[Disk],
    wish: &Wish,
    disk: &Disk,
    reason: &str,
    is_one_of_several: bool,
) -> Result<Option<Overwrites>, ChooseError> {
    let (path, labels) = (&disk.path, &disk.labels);
    if wish.labelled == Labelled::Refuse && !labels.is_empty() {
        return Err(ChooseError::Labelled {
            path: path.clone(),
            reason: reason.to_owned(),
            labels: labels.clone(),
            found: candidates(disks),
        });
    }
    let is_worth_saying = is_one_of_several && !labels.is_empty();
    Ok(is_worth_saying.then(|| Overwrites {
        path: path.clone(),
        reason: reason.to_owned(),
        labels: labels.clone(),
    }))
}

/// How the first disk that is left out only for being removable is named: by what goes with it wherever it is
/// plugged in, if that can stand in a kernel argument.
fn hint(sized: &[&Disk]) -> Hint {
    let mut usable = sized.iter().filter(|disk| refusal(disk).is_none());
    Hint(usable.find(|disk| disk.is_removable).map(|disk| {
        let is_plain = |name: &&str| {
            name.bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
        };
        let known = disk.serials().chain(disk.wwn.as_deref()).find(is_plain);
        known.map_or_else(|| disk.path.display().to_string(), str::to_owned)
    }))
}

fn first_of_size<'a>(disks: &[&'a Disk], size: Option<u64>) -> Option<&'a Disk> {
    disks.iter().copied().find(|disk| Some(disk.size) == size)
}

/// Why a disk must not be written to even when it is named.
fn refusal(disk: &Disk) -> Option<String> {
    if disk.is_read_only {
        return Some("it is read-only".to_owned());
    }
    if disk.in_use.is_empty() {
        return None;
    }
    let uses: Vec<String> = disk.in_use.iter().map(ToString::to_string).collect();
    Some(format!("it is in use ({})", uses.join(", ")))
}

/// Why a disk is not taken by itself.
fn exclusion(disk: &Disk) -> Option<String> {
    refusal(disk).or_else(|| {
        disk.is_removable
            .then(|| format!("it is removable ({})", disk.transport))
    })
}

fn candidates(disks: &[Disk]) -> Candidates {
    Candidates(
        disks
            .iter()
            .map(|disk| {
                let note = match exclusion(disk) {
                    _ if disk.size == 0 => Some("it has no size".to_owned()),
                    other => other,
                };
                match note {
                    None => disk.to_string(),
                    Some(note) => format!("{disk} [left out: {note}]"),
                }
            })
            .collect(),
    )
}

#[cfg(test)]
mod tests;
