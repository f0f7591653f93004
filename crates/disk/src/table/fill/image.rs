//! What an image says of its partitions, from both of its dumps.

use super::{FillError, sum};
use crate::table::dump::{Dump, DumpLabel, MAX_PARTITIONS};

/// Parses `d1.fixed_size_partitions`: numbers joined by colons, empty elements allowed.
pub(in crate::table) fn parse_fixed(text: &str) -> Result<Vec<u32>, FillError> {
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

/// What is known of a partition before it is laid out. All numbers are sectors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input {
    pub(super) number: u32,
    pub(super) start: u64,
    pub(super) size: u64,
    pub(super) minimum: u64,
    pub(super) role: Role,
    /// Inside the container of an MBR.
    pub(super) is_logical: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Keeps its size.
    Fixed,
    /// Shares what is left.
    Variable,
    /// Container of logical partitions; its size follows from theirs.
    Extended,
}

impl Input {
    /// What it must get: a sector at least, or it would be none.
    pub(super) fn needed(&self) -> u64 {
        match self.role {
            Role::Variable => self.minimum.max(1),
            Role::Fixed | Role::Extended => self.size,
        }
    }
}

/// Both dumps as one.
#[derive(Debug)]
pub(super) struct Image {
    /// In ascending order of numbers.
    pub(super) inputs: Vec<Input>,
    /// Where the first partition starts, and what is left free in front of each logical one.
    pub(super) min_start: u64,
    /// Free sectors at the end of the disk: the copy of a GPT.
    pub(super) tail: u64,
    /// What a GPT takes of the room that is shared. Only where the dump names both ends of its disk.
    pub(super) reserved: u64,
}

impl Image {
    pub(super) fn of(original: &Dump, least: &Dump, fixed: &[u32]) -> Result<Self, FillError> {
        let label = original.label.or(least.label).unwrap_or(DumpLabel::Dos);
        let first_lba = original.first_lba.or(least.first_lba).unwrap_or(0);
        let has_end = original.last_lba.or(least.last_lba).is_some();
        let min_start = least
            .partitions
            .iter()
            .map(|p| p.start)
            .filter(|start| *start > 0)
            .min()
            .ok_or(FillError::Empty)?;
        let tail = match label {
            DumpLabel::Gpt => first_lba,
            DumpLabel::Dos => 0,
        };
        Ok(Self {
            inputs: inputs(original, least, fixed, label),
            min_start,
            tail,
            reserved: if has_end { tail } else { 0 },
        })
    }
}

/// Minimum from the first mention of a number, all else from the last.
fn inputs(original: &Dump, least: &Dump, fixed: &[u32], label: DumpLabel) -> Vec<Input> {
    let is_mbr = label == DumpLabel::Dos;
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
                is_logical: is_mbr && partition.number >= 5,
            }),
        }
    }
    inputs.sort_by_key(|input| input.number);
    inputs
}

/// What is needed and what is shared, in sectors.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Demand {
    /// Fixed partitions, and what lies between and behind partitions.
    pub(super) reserve: u64,
    /// Original sizes of the variable partitions.
    pub(super) variable: u64,
    /// What the variable partitions need.
    pub(super) least: u64,
}

impl Image {
    pub(super) fn demand(&self) -> Result<Demand, FillError> {
        let mut demand = Demand {
            reserve: sum([self.min_start, self.reserved])?,
            ..Demand::default()
        };
        for input in &self.inputs {
            match input.role {
                Role::Fixed => demand.reserve = sum([demand.reserve, input.size])?,
                Role::Extended => demand.reserve = sum([demand.reserve, self.min_start])?,
                Role::Variable => {
                    demand.variable = sum([demand.variable, input.size])?;
                    demand.least = sum([demand.least, input.minimum])?;
                }
            }
            if input.is_logical {
                demand.reserve = sum([demand.reserve, self.min_start])?;
            }
        }
        Ok(demand)
    }
}
