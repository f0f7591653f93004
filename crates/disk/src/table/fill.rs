//! FOG's fill algorithm: the partitions of a resizable image share a disk of another size.
//!
//! A pure function of two dumps, a list and a disk. It differs from FOG's in what it refuses: where FOG
//! silently cuts the last partition or goes below a minimum, this returns an error, because the
//! image's data would not fit in what is left.

use readable::Size;
use thiserror::Error;

use super::Shape;
use super::dump::{Dump, DumpLabel, MAX_PARTITIONS};

/// Multiple of which sizes are made, in bytes.
const QUANTUM: u64 = 256 << 10;

/// One partition as laid out. All numbers are logical sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FillPartition {
    /// Number in the table.
    pub number: u32,
    /// First sector.
    pub start: u64,
    /// Length in sectors.
    pub size: u64,
}

/// Why the partitions cannot be laid out on a disk.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FillError {
    /// Neither dump has a partition.
    #[error("the image's dump (dN.partitions) lists no partition")]
    Empty,
    /// `d1.fixed_size_partitions` holds something else than numbers.
    #[error(
        "the list of fixed partitions (d1.fixed_size_partitions) holds {0:?}, not numbers joined by colons"
    )]
    FixedList(String),
    /// A partition would be smaller than what has to go into it.
    #[error(
        "the disk is too small: partition {number} needs {:#} and would get {:#}; the disk has {:#}, \
         about {} are needed",
        Size(*.needed), Size(*.got), Size(*.disk), Size(*.required)
    )]
    TooSmall {
        /// The partition.
        number: u32,
        /// Bytes it needs.
        needed: u64,
        /// Bytes it would get.
        got: u64,
        /// Bytes of the disk.
        disk: u64,
        /// Bytes that a disk needs for this image.
        required: u64,
    },
    /// Logical partitions that are in front of the extended partition that should hold them.
    #[error(
        "the dump's logical partitions are not inside its extended partition {number}; it is damaged"
    )]
    Container {
        /// The extended partition.
        number: u32,
    },
    /// Figures so large that no disk can be meant.
    #[error("the dump's figures are larger than any disk")]
    Overflow,
}

/// Parses `d1.fixed_size_partitions`: numbers joined by colons, empty elements allowed.
pub(super) fn parse_fixed(text: &str) -> Result<Vec<u32>, FillError> {
    let bad = || FillError::FixedList(text.trim().chars().take(80).collect());
    let mut fixed = Vec::new();
    let elements = text.trim().split(':').map(str::trim);
    for element in elements.filter(|element| !element.is_empty()) {
        if fixed.len() >= MAX_PARTITIONS {
            return Err(bad());
        }
        fixed.push(element.parse().map_err(|_| bad())?);
    }
    Ok(fixed)
}

/// What is known of a partition before it is laid out.
#[derive(Clone, Copy, Debug)]
struct Input {
    number: u32,
    start: u64,
    size: u64,
    minimum: u64,
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Keeps its size.
    Fixed,
    /// Shares what is left.
    Variable,
    /// Container of logical partitions; its size follows from theirs.
    Extended,
}

/// Lays the partitions of `original` out on a disk. Sizes in `minimum` (after shrinking; `original`
/// where it is missing) bound from below; `fixed` lists the partitions that keep their size.
///
/// The result is in ascending order of numbers, all of it on the disk. Partitions that have size 0 in
/// the dump are of size 0 in it too, at the place that the dump names; no other one is.
///
/// # Errors
///
/// [`FillError`]; in particular [`FillError::TooSmall`] where a partition would end up smaller than
/// its minimum, or a fixed one smaller than it is.
pub fn fill(
    original: &Dump,
    minimum: Option<&Dump>,
    fixed: &[u32],
    disk: &Shape,
) -> Result<Vec<FillPartition>, FillError> {
    let least = minimum.unwrap_or(original);
    let label = original.label.or(least.label).unwrap_or(DumpLabel::Dos);
    let is_mbr = label == DumpLabel::Dos;
    let quantum = (QUANTUM / u64::from(disk.logical_sector.max(1))).max(1);
    let sectors = disk.sectors();
    let inputs = inputs(original, least, fixed, is_mbr);
    let min_start = least
        .partitions
        .iter()
        .map(|p| p.start)
        .filter(|start| *start > 0)
        .min()
        .ok_or(FillError::Empty)?;
    let is_logical = |p: &Input| is_mbr && p.number >= 5;

    let both_ends = match (
        label,
        original.first_lba.or(least.first_lba),
        original.last_lba.or(least.last_lba),
    ) {
        (DumpLabel::Gpt, Some(first), Some(_)) => first,
        _ => 0,
    };
    let mut reserve = sum([min_start, both_ends])?;
    let mut total: u64 = 0;
    let mut least_total: u64 = 0;
    for input in &inputs {
        match input.role {
            Role::Fixed => reserve = sum([reserve, input.size])?,
            Role::Extended => reserve = sum([reserve, min_start])?,
            Role::Variable => {
                total = sum([total, input.size])?;
                least_total = sum([least_total, input.minimum])?;
            }
        }
        if is_logical(input) {
            reserve = sum([reserve, min_start])?;
        }
    }
    let room = sectors.saturating_sub(reserve);
    let required = sum([reserve, least_total])?;
    let bytes = |sectors: u64| sectors.saturating_mul(disk.logical_sector.into());
    let too_small = |number, needed, got| FillError::TooSmall {
        number,
        needed: bytes(needed),
        got: bytes(got),
        disk: bytes(sectors),
        required: bytes(required),
    };

    let mut placed: Vec<FillPartition> = inputs
        .iter()
        .map(|input| FillPartition {
            number: input.number,
            start: input.start,
            size: match input.role {
                Role::Fixed | Role::Extended => input.size,
                Role::Variable => share(input, room, total, quantum),
            },
        })
        .collect();

    let limit = match label {
        DumpLabel::Gpt => {
            sectors.saturating_sub(original.first_lba.or(least.first_lba).unwrap_or(0))
        }
        DumpLabel::Dos => sectors,
    };
    let mut order: Vec<usize> = (0..inputs.len()).collect();
    order.sort_by_key(|&index| inputs.get(index).map(|input| input.start));
    let mut pos = min_start;
    let mut previous_end = 0;
    let mut logical_end = None;
    let mut is_first_logical = true;
    for index in order {
        let (Some(input), Some(out)) = (inputs.get(index), placed.get_mut(index)) else {
            continue;
        };
        if input.role == Role::Extended {
            // Two sectors in front of the first logical partition.
            pos = sum([pos, min_start.saturating_sub(2)])?;
            out.start = pos;
            pos = sum([pos, 2])?;
            continue;
        }
        if input.size == 0 {
            continue;
        }
        if is_logical(input) {
            if !is_first_logical {
                pos = sum([pos, min_start])?;
            }
            is_first_logical = false;
        }
        out.start = pos.max(previous_end);
        if sum([out.start, out.size])? > limit {
            out.size = cut(input, out.start, limit, quantum);
        }
        let needed = needed(input);
        if out.size < needed {
            return Err(too_small(input.number, needed, out.size));
        }
        previous_end = out.start + out.size;
        pos = sum([pos, out.size])?.max(previous_end);
        if is_logical(input) {
            logical_end = logical_end.max(Some(previous_end));
        }
    }
    let starts: Vec<u64> = placed.iter().map(|out| out.start).collect();
    for (input, out) in inputs.iter().zip(&mut placed) {
        if input.role != Role::Extended || input.size == 0 {
            continue;
        }
        let number = input.number;
        out.size = match logical_end {
            Some(end) => end
                .checked_sub(out.start)
                .filter(|size| *size > 0)
                .ok_or(FillError::Container { number })?,
            // Nothing is in it: it ends where the next one begins.
            None => {
                let next = starts.iter().filter(|start| **start > out.start).min();
                let end = next.map_or(limit, |next| limit.min(*next));
                input.size.min(end.saturating_sub(out.start))
            }
        };
        if out.size == 0 {
            return Err(too_small(number, 1, 0));
        }
    }
    Ok(placed)
}

/// Both dumps as one: minimum from the first mention of a number, all else from the last.
fn inputs(original: &Dump, least: &Dump, fixed: &[u32], is_mbr: bool) -> Vec<Input> {
    let mut inputs: Vec<Input> = Vec::new();
    for partition in least.partitions.iter().chain(&original.partitions) {
        let kind = partition.kind.as_str();
        let is_kept = partition.size == 0 || kind == "82" || fixed.contains(&partition.number);
        let role = match partition.mbr_kind() {
            Some(0x05 | 0x0f | 0x85) if is_mbr => Role::Extended,
            _ if is_kept => Role::Fixed,
            _ => Role::Variable,
        };
        match inputs.iter_mut().find(|p| p.number == partition.number) {
            Some(known) => {
                known.start = partition.start;
                known.size = partition.size;
                known.role = role;
            }
            None => inputs.push(Input {
                number: partition.number,
                start: partition.start,
                size: partition.size,
                minimum: partition.size,
                role,
            }),
        }
    }
    inputs.sort_by_key(|input| input.number);
    inputs
}

/// A variable partition's part of the room, in proportion to its original size. FOG rounds a minimum
/// that is no multiple of the quantum down, below the minimum; this rounds it up.
fn share(input: &Input, room: u64, total: u64, quantum: u64) -> u64 {
    let rounded = input.size - input.size % quantum;
    let part = u128::from(room) * u128::from(rounded) / u128::from(total.max(1));
    // No larger than the room, for rounded <= total.
    let part = u64::try_from(part).unwrap_or(room);
    let part = part - part % quantum;
    if part < input.minimum {
        input
            .minimum
            .checked_next_multiple_of(quantum)
            .unwrap_or(input.minimum)
    } else {
        part
    }
}

/// What a partition must get: a sector at least, or it would be none.
fn needed(input: &Input) -> u64 {
    match input.role {
        Role::Variable => input.minimum.max(1),
        _ => input.size,
    }
}

/// The size of a partition that would end behind the limit: whole quanta, unless its exact need fits.
fn cut(input: &Input, start: u64, limit: u64, quantum: u64) -> u64 {
    let rest = limit.saturating_sub(start);
    let whole = rest - rest % quantum;
    let needed = needed(input);
    if whole < needed && needed <= rest {
        needed
    } else {
        whole
    }
}

fn sum<const N: usize>(terms: [u64; N]) -> Result<u64, FillError> {
    terms
        .into_iter()
        .try_fold(0_u64, u64::checked_add)
        .ok_or(FillError::Overflow)
}

#[cfg(test)]
mod tests;
