//! FOG's fill algorithm: the partitions of a resizable image share a disk of another size.
//!
//! A pure function of two dumps, a list and a disk. It differs from FOG's in what it refuses: where FOG
//! silently cuts the last partition or goes below a minimum, this returns an error, because the
//! image's data would not fit in what is left.

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
        "the disk is too small: partition {number} needs {needed} sectors and would get {got}; the \
         disk has {disk} sectors, about {required} are needed"
    )]
    TooSmall {
        /// The partition.
        number: u32,
        /// Sectors it needs.
        needed: u64,
        /// Sectors it would get.
        got: u64,
        /// Sectors of the disk.
        disk: u64,
        /// Sectors that a disk needs for this image.
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

impl Input {
    /// Whether it is in an extended partition, if the table is an MBR.
    fn is_logical(&self) -> bool {
        self.number >= 5
    }
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
    let inputs = inputs(original, least, fixed, label == DumpLabel::Dos);
    let frame = Frame::new(original, least, label, &inputs, disk)?;
    let mut placed: Vec<FillPartition> = inputs
        .iter()
        .map(|input| FillPartition {
            number: input.number,
            start: input.start,
            size: frame.wanted(input),
        })
        .collect();
    let logical_end = frame.place(&inputs, &mut placed)?;
    frame.size_containers(&inputs, &mut placed, logical_end)?;
    Ok(placed)
}

/// What the partitions share. All numbers but `is_mbr` and `total` are sectors.
struct Frame {
    is_mbr: bool,
    /// Sectors of the disk.
    sectors: u64,
    /// Partitions end here at the latest.
    limit: u64,
    /// Where the first partition begins; as much is in front of each logical one.
    min_start: u64,
    /// Multiple of which sizes are made.
    quantum: u64,
    /// What is left for the partitions that vary.
    room: u64,
    /// Sizes of those in the dump, together.
    total: u64,
    /// What a disk must have.
    required: u64,
}

impl Frame {
    fn new(
        original: &Dump,
        least: &Dump,
        label: DumpLabel,
        inputs: &[Input],
        disk: &Shape,
    ) -> Result<Self, FillError> {
        let is_mbr = label == DumpLabel::Dos;
        let sectors = disk.sectors();
        let starts = least.partitions.iter().map(|p| p.start);
        let min_start = starts.filter(|start| *start > 0).min();
        let min_start = min_start.ok_or(FillError::Empty)?;
        let first_lba = original.first_lba.or(least.first_lba);
        let both_ends = match (label, first_lba, original.last_lba.or(least.last_lba)) {
            (DumpLabel::Gpt, Some(first), Some(_)) => first,
            _ => 0,
        };
        let limit = match label {
            DumpLabel::Gpt => sectors.saturating_sub(first_lba.unwrap_or(0)),
            DumpLabel::Dos => sectors,
        };
        let mut reserve = sum([min_start, both_ends])?;
        let mut total: u64 = 0;
        let mut least_total: u64 = 0;
        for input in inputs {
            match input.role {
                Role::Fixed => reserve = sum([reserve, input.size])?,
                Role::Extended => reserve = sum([reserve, min_start])?,
                Role::Variable => {
                    total = sum([total, input.size])?;
                    least_total = sum([least_total, input.minimum])?;
                }
            }
            if is_mbr && input.is_logical() {
                reserve = sum([reserve, min_start])?;
            }
        }
        Ok(Self {
            is_mbr,
            sectors,
            limit,
            min_start,
            quantum: (QUANTUM / u64::from(disk.logical_sector.max(1))).max(1),
            room: sectors.saturating_sub(reserve),
            total,
            required: sum([reserve, least_total])?,
        })
    }

    /// The size that a partition gets if nothing is in the way.
    fn wanted(&self, input: &Input) -> u64 {
        match input.role {
            Role::Fixed | Role::Extended => input.size,
            Role::Variable => share(input, self.room, self.total, self.quantum),
        }
    }

    /// Puts one partition behind the other, in the order of the dump. Answers with the end of the last
    /// logical one.
    fn place(
        &self,
        inputs: &[Input],
        placed: &mut [FillPartition],
    ) -> Result<Option<u64>, FillError> {
        let mut in_order: Vec<_> = inputs.iter().zip(placed).collect();
        in_order.sort_by_key(|(input, _)| input.start);
        let mut pos = self.min_start;
        let mut previous_end = 0;
        let mut logical_end = None;
        let mut is_first_logical = true;
        for (input, out) in in_order {
            if input.role == Role::Extended {
                // Two sectors in front of the first logical partition.
                pos = sum([pos, self.min_start.saturating_sub(2)])?;
                out.start = pos;
                pos = sum([pos, 2])?;
                continue;
            }
            if input.size == 0 {
                continue;
            }
            let is_logical = self.is_mbr && input.is_logical();
            if is_logical {
                if !is_first_logical {
                    pos = sum([pos, self.min_start])?;
                }
                is_first_logical = false;
            }
            out.start = pos.max(previous_end);
            if sum([out.start, out.size])? > self.limit {
                out.size = cut(input, out.start, self.limit, self.quantum);
            }
            self.check(input.number, needed(input), out.size)?;
            previous_end = out.start + out.size;
            pos = sum([pos, out.size])?.max(previous_end);
            if is_logical {
                logical_end = logical_end.max(Some(previous_end));
            }
        }
        Ok(logical_end)
    }

    /// An extended partition is as long as what is in it.
    fn size_containers(
        &self,
        inputs: &[Input],
        placed: &mut [FillPartition],
        logical_end: Option<u64>,
    ) -> Result<(), FillError> {
        let starts: Vec<u64> = placed.iter().map(|out| out.start).collect();
        for (input, out) in inputs.iter().zip(placed) {
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
                    let end = next.map_or(self.limit, |next| self.limit.min(*next));
                    input.size.min(end.saturating_sub(out.start))
                }
            };
            self.check(number, 1, out.size)?;
        }
        Ok(())
    }

    fn check(&self, number: u32, needed: u64, got: u64) -> Result<(), FillError> {
        if got >= needed {
            return Ok(());
        }
        Err(FillError::TooSmall {
            number,
            needed,
            got,
            disk: self.sectors,
            required: self.required,
        })
    }
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
