//! FOG's fill algorithm: the partitions of a resizable image share a disk of another size.
//!
//! A pure function of two dumps, a list and a disk. It differs from FOG's in what it refuses: where FOG
//! silently cuts the last partition or goes below a minimum, this returns an error, because the
//! image's data would not fit in what is left.

use readable::Size;
use thiserror::Error;

use super::Shape;
use super::dump::Dump;

mod image;
mod place;
mod share;

pub(super) use image::parse_fixed;
use image::{Image, Input, Role};
use place::PlaceError;

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
    let image = Image::of(original, minimum.unwrap_or(original), fixed)?;
    let sectors = disk.sectors();
    let quantum = (QUANTUM / u64::from(disk.logical_sector.max(1))).max(1);
    let bytes = |sectors: u64| sectors.saturating_mul(disk.logical_sector.into());
    lay_out(&image, sectors, quantum).map_err(|error| match error {
        PlaceError::Short {
            number,
            needed,
            got,
        } => FillError::TooSmall {
            number,
            needed: bytes(needed),
            got: bytes(got),
            disk: bytes(sectors),
            required: bytes(smallest_disk(&image, sectors, quantum)),
        },
        PlaceError::Other(error) => error,
    })
}

/// Sizes first, then places. All numbers are sectors.
fn lay_out(image: &Image, sectors: u64, quantum: u64) -> Result<Vec<FillPartition>, PlaceError> {
    let sizes = share::sizes(image, sectors, quantum)?;
    place::place(image, sizes, sectors, quantum)
}

/// Sectors of a disk that is large enough, where one of so many is not; near the smallest one.
///
/// The sum of what the partitions need is a lower bound only: those that get more than they need, in
/// proportion to their size, leave too little to others. Where the search has no end it is the answer.
fn smallest_disk(image: &Image, sectors: u64, quantum: u64) -> u64 {
    let fits = |sectors| lay_out(image, sectors, quantum).is_ok();
    let mut low = share::least_disk(image)
        .unwrap_or(sectors)
        .max(sectors.saturating_add(1));
    if fits(low) {
        return low;
    }
    let lower_bound = low;
    let mut step = quantum;
    let mut high = loop {
        let high = low.saturating_add(step);
        if high > LARGEST_DISK {
            return lower_bound;
        }
        if fits(high) {
            break high;
        }
        low = high;
        step = step.saturating_mul(2);
    };
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if fits(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

fn sum<const N: usize>(terms: [u64; N]) -> Result<u64, FillError> {
    terms
        .into_iter()
        .try_fold(0_u64, u64::checked_add)
        .ok_or(FillError::Overflow)
}

/// Multiple of which sizes are made, in bytes.
const QUANTUM: u64 = 256 << 10;
/// Sectors that no disk has.
const LARGEST_DISK: u64 = 1 << 50;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
