//! Which disks are overwritten by an image of several.

use std::path::{Path, PathBuf};

use super::{
    Choice, ChooseError, Wish, candidates, elements, exclusion, names, overwritten, refusal,
};
use crate::probe::Disk;

/// Chooses the disks that are overwritten by an image of several.
///
/// `wanted` has, for each disk of the image, its number (counted from 1, ascending) and the size in bytes that it had, if
/// that is recorded. The rules are FOG's: `fdrive` names disks in their order, and the others come behind them; without it
/// recorded sizes decide where each one is that of exactly one disk; else the order of the disks. Two rules are stricter:
/// every element of `fdrive` has to name a disk, because a missing one would shift the others; and disks that are
/// removable or in use are only taken, or refused, where they are named.
///
/// # Errors
///
/// [`ChooseError`], each with the list of what was found.
pub fn choose_several<'a>(
    disks: &'a [Disk],
    wish: &Wish,
    wanted: &[(u32, Option<u64>)],
    resolve: &dyn Fn(&Path) -> Option<PathBuf>,
) -> Result<Vec<Choice<'a>>, ChooseError> {
    let sized = || disks.iter().filter(|disk| disk.size > 0);
    let mut order: Vec<Choice<'a>> = Vec::new();
    let named = wish.fdrive.as_deref().unwrap_or_default();
    for element in elements(named) {
        let choice = named_disk(disks, element, resolve)?;
        if order
            .iter()
            .all(|taken| taken.disk.path != choice.disk.path)
        {
            order.push(choice);
        }
    }
    let is_named = !order.is_empty();
    let mut warnings = Vec::new();
    for disk in sized() {
        if order.iter().any(|taken| taken.disk.path == disk.path) {
            continue;
        }
        match exclusion(disk) {
            None => order.push(Choice {
                disk,
                reason: String::new(),
                warnings: Vec::new(),
                is_one_of_several: false,
                overwrites: None,
            }),
            Some(reason) => warnings.push(format!("{} left out: {reason}", disk.path.display())),
        }
    }
    let needed = wanted.iter().map(|(number, _)| *number).max();
    let needed = usize::try_from(needed.unwrap_or(0)).unwrap_or(usize::MAX);
    if order.len() < needed {
        return Err(ChooseError::TooFew {
            needed,
            usable: order.len(),
            found: candidates(disks),
        });
    }
    let by_size = if is_named {
        None
    } else {
        by_size(&order, wanted, &mut warnings)
    };
    let count = order.len();
    let mut chosen: Vec<Choice<'a>> = Vec::new();
    for (at, (number, _)) in wanted.iter().enumerate() {
        let position = usize::try_from(*number).unwrap_or(usize::MAX);
        let (index, rule) = match &by_size {
            Some(found) => (found[at], "the one of the recorded size".to_owned()),
            None => (
                position.saturating_sub(1),
                format!("number {number} of {count}"),
            ),
        };
        let Some(choice) = order.get(index) else {
            return Err(ChooseError::TooFew {
                needed: position,
                usable: count,
                found: candidates(disks),
            });
        };
        let mut choice = choice.clone();
        if choice.reason.is_empty() {
            choice.overwrites = overwritten(disks, wish, choice.disk, &rule, true)?;
            choice.is_one_of_several = true;
            choice.reason = rule;
        }
        chosen.push(choice);
    }
    if let Some(first) = chosen.first_mut() {
        first.warnings.splice(0..0, warnings);
    }
    Ok(chosen)
}

/// The one disk that an element of `fdrive` means.
fn named_disk<'a>(
    disks: &'a [Disk],
    element: &str,
    resolve: &dyn Fn(&Path) -> Option<PathBuf>,
) -> Result<Choice<'a>, ChooseError> {
    let sized = disks.iter().filter(|disk| disk.size > 0);
    let matching: Vec<&Disk> = sized.filter(|disk| names(element, disk, resolve)).collect();
    let disk = match matching.as_slice() {
        [] => {
            return Err(ChooseError::NoMatch {
                wanted: element.to_owned(),
                found: candidates(disks),
            });
        }
        [disk] => *disk,
        several => {
            return Err(ChooseError::Ambiguous {
                element: element.to_owned(),
                count: several.len(),
                found: candidates(disks),
            });
        }
    };
    if let Some(reason) = refusal(disk) {
        return Err(ChooseError::Refused {
            path: disk.path.clone(),
            reason,
            found: candidates(disks),
        });
    }
    let warning = disk.is_removable.then(|| {
        format!(
            "{} is removable; it is used because it was named",
            disk.path.display()
        )
    });
    Ok(Choice {
        disk,
        reason: format!("named by \"{element}\""),
        warnings: warning.into_iter().collect(),
        is_one_of_several: false,
        overwrites: None,
    })
}

/// Where in `order` the disks of the recorded sizes are. `None` if none is recorded, or if they do not decide it, of
/// which there is a warning then.
fn by_size(
    order: &[Choice<'_>],
    wanted: &[(u32, Option<u64>)],
    warnings: &mut Vec<String>,
) -> Option<Vec<usize>> {
    if wanted.iter().all(|(_, size)| size.is_none()) {
        return None;
    }
    let mut found = Vec::new();
    for (number, size) in wanted {
        let fitting = order
            .iter()
            .enumerate()
            .filter(|(_, choice)| Some(choice.disk.size) == *size)
            .map(|(index, _)| index);
        let fitting: Vec<usize> = fitting.collect();
        match fitting.as_slice() {
            [index] if !found.contains(index) => found.push(*index),
            _ => {
                warnings.push(format!(
                    "{} for disk {number} of the image; the disks are taken in their order",
                    match size {
                        None => "no size is recorded".to_owned(),
                        Some(size) => format!(
                            "{} disks have the recorded size of {size} bytes",
                            fitting.len()
                        ),
                    }
                ));
                return None;
            }
        }
    }
    Some(found)
}
