//! Where the data of a chunk belongs, and how the manifest says it (3.6).

use crate::leb128;

/// A run of bytes of a stream's target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Bytes; never 0.
    pub len: u64,
}

impl Extent {
    /// First byte behind it.
    ///
    /// # Panics
    /// It ends beyond 2^64, which no extent of this crate does.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset
            .checked_add(self.len)
            .expect("an extent ends below 2^64")
    }
}

/// Appends the extents of a chunk, in units of `unit` bytes.
pub(crate) fn put(extents: &[Extent], unit: u32, out: &mut Vec<u8>) {
    let unit = u64::from(unit);
    leb128::put(extents.len() as u64, out);
    let mut end = 0;
    for extent in extents {
        leb128::put((extent.offset - end) / unit, out);
        leb128::put(extent.len / unit, out);
        end = extent.end();
    }
}

/// Takes the extents of a chunk from the front of `table`. Each yields `None`, and is the last, if it is malformed or
/// ends beyond 2^64; [`Taken::rest`] is where the next chunk's begin.
pub(crate) fn take(table: &[u8], unit: u32) -> Option<Taken<'_>> {
    let mut rest = table;
    let count = leb128::take(&mut rest)?;
    Some(Taken {
        rest,
        left: count,
        unit: unit.into(),
        end: 0,
    })
}

/// The extents of a chunk, one after the other.
pub(crate) struct Taken<'a> {
    pub(crate) rest: &'a [u8],
    left: u64,
    unit: u64,
    end: u64,
}

impl Iterator for Taken<'_> {
    type Item = Option<Extent>;

    fn next(&mut self) -> Option<Option<Extent>> {
        self.left = self.left.checked_sub(1)?;
        let extent = self.extent();
        if extent.is_none() {
            self.left = 0;
        }
        Some(extent)
    }
}

impl Taken<'_> {
    fn extent(&mut self) -> Option<Extent> {
        let gap = leb128::take(&mut self.rest)?.checked_mul(self.unit)?;
        let len = leb128::take(&mut self.rest)?.checked_mul(self.unit)?;
        let offset = self.end.checked_add(gap)?;
        self.end = offset.checked_add(len)?;
        Some(Extent { offset, len })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_come_back_in_units_of_their_stream() {
        let extents =
            [(0, 4096), (8192, 12288), (20480, 4096)].map(|(offset, len)| Extent { offset, len });
        for (unit, len) in [(4096, 7), (1, 11)] {
            let mut table = Vec::new();
            put(&extents, unit, &mut table);
            assert_eq!(table.len(), len);
            table.push(9);
            let mut taken = take(&table, unit).unwrap();
            let found: Option<Vec<Extent>> = taken.by_ref().collect();
            assert_eq!(found.unwrap(), extents);
            assert_eq!(taken.rest, [9]);
        }
    }

    #[test]
    fn an_end_beyond_everything_ends_the_list() {
        let mut table = vec![2];
        for number in [u64::MAX / 4096, 2, 0, 1] {
            leb128::put(number, &mut table);
        }
        let found: Vec<_> = take(&table, 4096).unwrap().collect();
        assert_eq!(found, [None]);
        assert!(take(&[0x80], 1).is_none());
    }
}
