//! Which disk is overwritten.
//!
//! Pure: it sees the probed disks and the wish, and has only the resolution of symbolic links handed
//! to it. The rules are FOG's (`fdrive`, `largesize`, `smallsize`), with three additions that keep
//! other people's data alive: removable and USB disks are only taken when named, disks in use are never
//! taken, and a named disk that is not there is never replaced by another one.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::probe::Disk;

mod several;

pub use several::choose_several;

/// What the server (or the operator) asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The kernel argument `fdrive`: comma-separated; each element a device path (symbolic links
    /// allowed), a size in bytes, a WWN or a serial number.
    pub fdrive: Option<String>,
    /// `largesize`: the largest disk.
    pub largest: bool,
    /// `smallsize`: the smallest disk.
    pub smallest: bool,
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
}

/// Why no disk was chosen. Every variant lists the disks that were found.
#[derive(Debug, Error)]
pub enum ChooseError {
    /// There is no disk that may be chosen without being named.
    #[error("no disk to write to: {found}")]
    NoCandidate {
        /// The disks found, with the reason why each is left out.
        found: Candidates,
    },
    /// No element of `fdrive` names a disk that is present.
    #[error(
        "no disk matches \"{wanted}\" (path, size in bytes, WWN or serial number); correct the \
         host's primary disk; {found}"
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
    for element in wanted.split(',').map(str::trim).filter(|e| !e.is_empty()) {
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
        return disk.path == path || resolve(path).is_some_and(|real| disk.path == real);
    }
    let is_same = |known: &Option<String>| {
        known
            .as_deref()
            .is_some_and(|known| known.eq_ignore_ascii_case(element))
    };
    is_same(&disk.wwn)
        || is_same(&disk.serial)
        || element.parse::<u64>().is_ok_and(|size| size == disk.size)
        || element == disk.name
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
            found: candidates(disks),
        });
    };
    let reason = match count {
        1 => "the only disk".to_owned(),
        _ => format!("the {rule} of {count} disks"),
    };
    Ok(Choice {
        disk,
        reason,
        warnings,
    })
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
