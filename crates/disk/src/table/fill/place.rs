//! Where each partition begins.

use super::{FillError, FillPartition, Image, Input, Role, sum};

/// Why partitions of such sizes have no place on a disk.
#[derive(Debug)]
pub(super) enum PlaceError {
    /// One of them would get less than it needs.
    Short { number: u32, needed: u64, got: u64 },
    /// More room would not help.
    Other(FillError),
}

impl From<FillError> for PlaceError {
    fn from(error: FillError) -> Self {
        Self::Other(error)
    }
}

/// Puts the partitions one behind the other in the order of their original starts. A partition that
/// would end behind the end of the disk is cut to what it needs at least.
pub(super) fn place(
    image: &Image,
    sizes: Vec<u64>,
    sectors: u64,
    quantum: u64,
) -> Result<Vec<FillPartition>, PlaceError> {
    let inputs = &image.inputs;
    let limit = sectors.saturating_sub(image.tail);
    let placed = inputs.iter().zip(sizes);
    let mut placed: Vec<FillPartition> = placed
        .map(|(input, size)| FillPartition {
            number: input.number,
            start: input.start,
            size,
        })
        .collect();
    let logical_end = place_data(image, &mut placed, limit, quantum)?;
    size_containers(inputs, &mut placed, logical_end, limit)?;
    Ok(placed)
}

/// Places all partitions and cuts those that hold data. Returns the end of the last logical one.
fn place_data(
    image: &Image,
    placed: &mut [FillPartition],
    limit: u64,
    quantum: u64,
) -> Result<Option<u64>, PlaceError> {
    let (inputs, min_start) = (&image.inputs, image.min_start);
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
        if input.is_logical {
            if !is_first_logical {
                pos = sum([pos, min_start])?;
            }
            is_first_logical = false;
        }
        out.start = pos.max(previous_end);
        if sum([out.start, out.size])? > limit {
            out.size = cut(input, out.start, limit, quantum);
        }
        let needed = input.needed();
        if out.size < needed {
            return Err(PlaceError::Short {
                number: input.number,
                needed,
                got: out.size,
            });
        }
        previous_end = out.start + out.size;
        pos = sum([pos, out.size])?.max(previous_end);
        if input.is_logical {
            logical_end = logical_end.max(Some(previous_end));
        }
    }
    Ok(logical_end)
}

/// The size of a partition that would end behind the limit: whole quanta, unless its exact need fits.
fn cut(input: &Input, start: u64, limit: u64, quantum: u64) -> u64 {
    let rest = limit.saturating_sub(start);
    let whole = rest - rest % quantum;
    let needed = input.needed();
    if whole < needed && needed <= rest {
        needed
    } else {
        whole
    }
}

/// Containers end with the last logical partition; an empty one ends where the next partition begins.
fn size_containers(
    inputs: &[Input],
    placed: &mut [FillPartition],
    logical_end: Option<u64>,
    limit: u64,
) -> Result<(), PlaceError> {
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
            None => {
                let next = starts.iter().filter(|start| **start > out.start).min();
                let end = next.map_or(limit, |next| limit.min(*next));
                input.size.min(end.saturating_sub(out.start))
            }
        };
        if out.size == 0 {
            return Err(PlaceError::Short {
                number,
                needed: 1,
                got: 0,
            });
        }
    }
    Ok(())
}
