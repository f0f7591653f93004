//! Where the labels of an earlier life survive: RAID, LVM, ZFS, caches, encryption, file systems.
//!
//! A stream writes the used blocks of its file system and nothing else, so a RAID superblock in the
//! last sectors of a partition outlives a deploy, and the next start assembles the array instead of
//! mounting the file system. Such labels are at either end of a device, of which there are many kinds
//! and more with every year. So they are not looked for: both ends are zeroed, further than any label
//! that libblkid reads, while nothing of the new content is there yet.

use std::ops::Range;

/// How much of the front of a disk or partition is zeroed. Furthest in is the last place of a
/// LUKS2 header's copy, at 4 MiB, which is recognised by its first sector; VMFS is at 2 MiB, ZFS ends
/// at 512 KiB, btrfs and the rest begin in front of 128 KiB.
pub const FRONT_LEN: u64 = 5 << 20;
/// How much of the end is zeroed. Furthest from the end is Promise's RAID, 3087 sectors of 512 bytes;
/// ZFS needs 768 KiB, MD 128 KiB, the others less.
pub const BACK_LEN: u64 = 2 << 20;

/// The ranges of a disk that old labels may be in, as bytes from its start: both ends of the disk and of
/// each of its new partitions. Ascending, apart, and within the disk.
///
/// They cover what lies in front of a first partition too, and all of a small one: it is for a disk on
/// which nothing new has been written.
#[must_use]
pub fn label_ranges(
    size: u64,
    partitions: impl IntoIterator<Item = Range<u64>>,
) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = partitions
        .into_iter()
        .chain(std::iter::once(0..size))
        .map(|device| device.start.min(size)..device.end.min(size))
        .flat_map(ends)
        .filter(|range| !range.is_empty())
        .collect();
    ranges.sort_by_key(|range| range.start);
    let mut apart: Vec<Range<u64>> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match apart.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => apart.push(range),
        }
    }
    apart
}

/// The two ends of a device, which overlap if it is small.
pub(crate) fn ends(device: Range<u64>) -> [Range<u64>; 2] {
    let front = device.start.saturating_add(FRONT_LEN).min(device.end);
    let back = device.end.saturating_sub(BACK_LEN).max(device.start);
    [device.start..front, back..device.end]
}

/// What of `range` is outside of all `places`.
pub(crate) fn outside(range: Range<u64>, places: &[Range<u64>]) -> Vec<Range<u64>> {
    places.iter().fold(Vec::from_iter([range]), |parts, place| {
        let parts = parts.into_iter().flat_map(|part| {
            [
                part.start..part.end.min(place.start),
                part.start.max(place.end)..part.end,
            ]
        });
        parts.filter(|part| !part.is_empty()).collect()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn both_ends_of_disk_and_partitions_are_covered() {
        let ranges = label_ranges(100 * MIB, [MIB..40 * MIB, 40 * MIB..60 * MIB]);
        let mib = |range: &Range<u64>| (range.start / MIB, range.end / MIB);
        let ranges: Vec<_> = ranges.iter().map(mib).collect();
        assert_eq!(ranges, [(0, 6), (38, 45), (58, 60), (98, 100)]);
    }

    #[test]
    fn small_and_absent_things_are_taken_as_they_are() {
        assert_eq!(label_ranges(512, []), vec![0..512]);
        assert_eq!(label_ranges(0, std::iter::once(0..512)), vec![]);
        // Behind the end of the disk, and turned round.
        let reversed = Range {
            start: 30 * MIB,
            end: 20 * MIB,
        };
        let ranges = label_ranges(50 * MIB, [60 * MIB..70 * MIB, reversed]);
        assert_eq!(ranges, vec![0..5 * MIB, 48 * MIB..50 * MIB]);
    }

    #[test]
    fn places_are_cut_out() {
        assert_eq!(outside(10..30, &[]), vec![10..30]);
        assert_eq!(outside(10..30, &[0..10, 30..40]), vec![10..30]);
        let cut = [8..12, 14..15, 25..26, 29..31];
        assert_eq!(outside(10..30, &cut), [12..14, 15..25, 26..29]);
        assert_eq!(outside(10..30, &[0..20, 20..50]), vec![]);
    }

    proptest! {
        #[test]
        fn ranges_hold_the_ends_and_only_them(
            size in 0..60_u64,
            ends in prop::collection::vec((0..70_u64, 0..70_u64), 0..5),
        ) {
            let unit = MIB / 2;
            let devices: Vec<Range<u64>> =
                ends.iter().map(|(a, b)| a * unit..(a + b) * unit).collect();
            let ranges = label_ranges(size * unit, devices.clone());
            for pair in ranges.windows(2) {
                prop_assert!(pair[0].end < pair[1].start);
            }
            for byte in (0..size * unit).step_by(usize::try_from(unit).unwrap()) {
                let is_at_an_end = devices.iter().chain([&(0..size * unit)]).any(|device| {
                    let end = device.end.min(size * unit);
                    (device.start..end).contains(&byte)
                        && (byte < device.start + FRONT_LEN || byte + BACK_LEN >= end)
                });
                let is_covered = ranges.iter().any(|range| range.contains(&byte));
                prop_assert_eq!(is_at_an_end, is_covered, "{}", byte / unit);
            }
        }
    }
}
