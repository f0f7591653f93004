//! What a table must fulfil before a single octet of it is written.

use super::read::{gpt_table, read_gpt, read_table};
use super::{Label, PlanError, PlannedPartition, Table, TablePlan};

/// Every partition lies between the table and the usable end, and no two share a sector.
pub(super) fn check_partitions(
    partitions: &[PlannedPartition],
    table_end: u64,
    limit: u64,
) -> Result<(), PlanError> {
    // Reported is the one that ends last: it says how large a disk must be.
    if let Some(last) = partitions.iter().max_by_key(|partition| partition.end())
        && last.end() > limit
    {
        return Err(PlanError::DoesNotFit {
            number: last.number,
            end: last.end(),
            limit,
        });
    }
    let mut sorted: Vec<_> = partitions.iter().collect();
    sorted.sort_by_key(|partition| partition.offset);
    if let Some(first) = sorted.first()
        && first.offset < table_end
    {
        return Err(PlanError::InTable {
            number: first.number,
            offset: first.offset,
            limit: table_end,
        });
    }
    for (first, second) in sorted.iter().zip(sorted.iter().skip(1)) {
        if first.end() > second.offset {
            return Err(PlanError::Overlap {
                first: first.number,
                second: second.number,
            });
        }
    }
    Ok(())
}

/// Reads back what would be written and compares it with the plan.
pub(super) fn self_check(plan: &TablePlan) -> Result<(), PlanError> {
    let bad = |what: String| PlanError::SelfCheck(what);
    let mut ranges: Vec<_> = Vec::new();
    for write in &plan.writes {
        let range = write.offset..write.offset.saturating_add(write.bytes.len() as u64);
        if range.end > plan.shape.size {
            return Err(bad(format!("the {} is not on the disk", write.what)));
        }
        let is_hit =
            |p: &&PlannedPartition| !p.is_extended && p.offset < range.end && range.start < p.end();
        if let Some(partition) = plan.partitions.iter().find(is_hit) {
            let number = partition.number;
            return Err(bad(format!("the {} is in partition {number}", write.what)));
        }
        ranges.push(range);
    }
    ranges.sort_by_key(|range| range.start);
    if ranges
        .iter()
        .zip(ranges.iter().skip(1))
        .any(|(a, b)| a.end > b.start)
    {
        return Err(bad("two parts of it overlap".to_owned()));
    }
    if plan.writes.last().is_none_or(|write| write.offset != 0) {
        return Err(bad("sector 0 is not the last write".to_owned()));
    }
    let mut read = |offset: u64, len: usize| Ok::<_, PlanError>(plan.read_back(offset, len));
    let table = read_table(&plan.shape, &mut read)?.ok_or_else(|| bad("no table".to_owned()))?;
    compare(plan, &table)?;
    if let Label::Gpt { .. } = plan.label {
        let last = plan.shape.sectors() - 1;
        for (lba, other) in [(1, last), (last, 1)] {
            let copy = read_gpt(&plan.shape, &mut read, lba)?
                .ok_or_else(|| bad(format!("no GPT header in sector {lba}")))?;
            if copy.alternate_lba != other || copy.last_usable >= last {
                return Err(bad(format!("the GPT header in sector {lba} is wrong")));
            }
            compare(plan, &gpt_table(&copy.gpt, &plan.shape))?;
        }
    }
    Ok(())
}

fn compare(plan: &TablePlan, table: &Table) -> Result<(), PlanError> {
    let plain = |partition: &PlannedPartition| PlannedPartition {
        original_len: partition.len,
        is_swap: false,
        swap_uuid: None,
        ..partition.clone()
    };
    let is_same = table.label == plan.label
        && table.partitions.len() == plan.partitions.len()
        && table
            .partitions
            .iter()
            .zip(&plan.partitions)
            .all(|(found, planned)| *found == plain(planned));
    if is_same {
        Ok(())
    } else {
        Err(PlanError::SelfCheck("it reads back differently".to_owned()))
    }
}

impl TablePlan {
    /// What a wiped disk would give at this place after the plan was carried out.
    pub(super) fn read_back(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        for write in &self.writes {
            // At most one of the two is not zero.
            let skip_out = write.offset.saturating_sub(offset);
            let skip_in = offset.saturating_sub(write.offset);
            let (Ok(skip_out), Ok(skip_in)) = (usize::try_from(skip_out), usize::try_from(skip_in))
            else {
                continue;
            };
            let to = out.get_mut(skip_out..).unwrap_or_default();
            let from = write.bytes.get(skip_in..).unwrap_or_default();
            for (to, from) in to.iter_mut().zip(from) {
                *to = *from;
            }
        }
        out
    }
}
