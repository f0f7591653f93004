use std::fs;
use std::os::unix::fs::FileExt as _;

use tempfile::NamedTempFile;

use super::*;
use crate::table::{Layout, Shape, TableFiles, plan_table, test_backup, test_boot_sector};

const MIB: u64 = 1 << 20;
const SHAPE: Shape = Shape {
    size: 64 * MIB,
    logical_sector: 512,
};
/// In sectors: 15 MiB each, right behind one another.
const PARTITIONS: [(u64, u64); 3] = [(2048, 32_767), (32_768, 63_487), (63_488, 94_207)];

fn plan(partitions: &[(u64, u64)]) -> TablePlan {
    let image = test_backup(&SHAPE, partitions);
    let files = TableFiles {
        mbr: &image,
        ..TableFiles::default()
    };
    plan_table(&files, &SHAPE, Layout::Keep).unwrap()
}

fn octets(file: &NamedTempFile, place: &Range<u64>) -> Vec<u8> {
    let index = |at: u64| usize::try_from(at).unwrap();
    fs::read(file.path()).unwrap()[index(place.start)..index(place.end)].to_vec()
}

fn places(plan: &TablePlan) -> Vec<Range<u64>> {
    plan.partitions.iter().map(|p| p.offset..p.end()).collect()
}

/// A disk full of ones with the table of a plan.
fn disk(plan: &TablePlan) -> (NamedTempFile, Target) {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), vec![0xff; 64 << 20]).unwrap();
    let target = Target::open(file.path(), &SHAPE).unwrap();
    target.make_unbootable(plan, &[]).unwrap();
    target.make_bootable(plan).unwrap();
    for place in places(plan) {
        let mut writer = target.writer(place.start, place.end - place.start).unwrap();
        let len = usize::try_from(place.end - place.start).unwrap();
        writer.write_at(0, &vec![0xff; len]).unwrap();
        writer.finish().unwrap();
    }
    (file, target)
}

fn is_kept(file: &NamedTempFile, place: &Range<u64>) -> bool {
    let found = octets(file, place);
    let is_kept = found.iter().all(|octet| *octet == 0xff);
    let back = found.len() - (2 << 20);
    let is_cleared = found[..5 << 20]
        .iter()
        .chain(&found[back..])
        .all(|octet| *octet == 0);
    assert!(is_kept || is_cleared, "all of it, or nothing");
    is_kept
}

#[test]
fn a_partition_without_an_image_keeps_its_content_if_it_stays() {
    let plan = plan(&PARTITIONS);
    let all = places(&plan);
    for unwritten in [&[][..], &[1], &[2, 3], &[1, 2, 3]] {
        let (file, target) = disk(&plan);
        target.make_unbootable(&plan, unwritten).unwrap();
        assert!(target.table().unwrap().is_none());
        assert_eq!(
            read_note(&target.device).unwrap_or_default().len(),
            unwritten.len()
        );
        // As a second attempt: the table is gone.
        target.make_unbootable(&plan, unwritten).unwrap();
        for (place, number) in all.iter().zip(1..) {
            assert_eq!(
                is_kept(&file, place),
                unwritten.contains(&number),
                "{unwritten:?} {number}"
            );
        }
        target.make_bootable(&plan).unwrap();
        for (place, number) in all.iter().zip(1..) {
            assert_eq!(is_kept(&file, place), unwritten.contains(&number));
        }
        assert!(read_note(&target.device).is_none());
    }
}

#[test]
fn a_backup_header_inside_a_kept_partition_is_its_content() {
    let plan = plan(&PARTITIONS);
    // As of a disk of 24 MiB that was copied here: its last sector is inside partition 2.
    let small = Shape {
        size: 24 * MIB,
        ..SHAPE
    };
    let image = test_backup(&small, &[]);
    let (header, backup) = (&image[512..1024], &image[1024..1536]);
    let place = small.size - 512..small.size;
    for unwritten in [&[2][..], &[]] {
        let (file, target) = disk(&plan);
        target.device.write(512, header).unwrap();
        target.device.write(place.start, backup).unwrap();
        target.make_unbootable(&plan, unwritten).unwrap();
        let is_kept = octets(&file, &place) == backup;
        assert_eq!(is_kept, !unwritten.is_empty());
    }
}

/// What the next attempt finds on a disk: the partition is known, and whole.
#[track_caller]
fn assert_spared(file: &NamedTempFile, plan: &TablePlan, number: u32, when: &str) {
    let target = Target::open(file.path(), &SHAPE).unwrap();
    let partition = plan.partitions.iter().find(|p| p.number == number).unwrap();
    let place = partition.offset..partition.end();
    let kept = target.kept(plan, &[number], 34 * 512);
    assert_eq!(kept, std::slice::from_ref(&place), "{when}");
    let found = octets(file, &place);
    assert!(found.iter().all(|octet| *octet == 0xff), "{when}");
}

/// MBR with a boot loader behind it, as GRUB has it, and GPT: both use sector 1.
#[test]
fn a_power_cut_at_any_write_leaves_the_table_or_the_note() {
    let gpt = plan(&PARTITIONS);
    let mut area = vec![0xff; 1 << 20];
    let entries = PARTITIONS.map(|(start, end)| {
        let index = |n: u64| u32::try_from(n).unwrap();
        (0, 7, index(start), index(end + 1 - start))
    });
    area[..512].copy_from_slice(&test_boot_sector(&entries));
    let files = TableFiles {
        mbr: &area,
        ..TableFiles::default()
    };
    let mbr = plan_table(&files, &SHAPE, Layout::Keep).unwrap();
    assert!(mbr.writes().len() > 1, "a boot loader");
    for plan in [gpt, mbr] {
        let (file, target) = disk(&plan);
        let before = fs::read(file.path()).unwrap();
        target.device.journal.lock().unwrap().clear();
        target.make_unbootable(&plan, &[2]).unwrap();
        target.make_bootable(&plan).unwrap();
        let journal = std::mem::take(&mut *target.device.journal.lock().unwrap());
        drop(target);
        // Everything is on the medium up to a write; or only what was synced, and that write.
        let (all, synced) = (NamedTempFile::new().unwrap(), NamedTempFile::new().unwrap());
        for file in [&all, &synced] {
            fs::write(file.path(), &before).unwrap();
        }
        let put = |file: &NamedTempFile, at: u64, octets: &[u8]| {
            file.as_file().write_all_at(octets, at).unwrap();
        };
        let mut pending: Vec<&(u64, Vec<u8>)> = Vec::new();
        for (index, event) in journal.iter().enumerate() {
            let Some(write) = event else {
                for (at, octets) in pending.drain(..) {
                    put(&synced, *at, octets);
                }
                continue;
            };
            let (at, octets) = write;
            let when = format!("write {index} at {at}");
            put(&all, *at, octets);
            assert_spared(&all, &plan, 2, &when);
            let mut old = vec![0; octets.len()];
            synced.as_file().read_exact_at(&mut old, *at).unwrap();
            put(&synced, *at, octets);
            assert_spared(&synced, &plan, 2, &format!("{when} alone"));
            put(&synced, *at, &old);
            pending.push(write);
        }
        assert!(pending.is_empty(), "all is synced at the end");
    }
}

#[test]
fn a_partition_that_moves_or_changes_is_cleared() {
    let [first, second, (start, end)] = PARTITIONS;
    for third in [(start, end - 1), (start + 2048, end)] {
        let old = plan(&[first, second, third]);
        let new = plan(&PARTITIONS);
        let (file, target) = disk(&old);
        target.make_unbootable(&new, &[2, 3]).unwrap();
        assert!(is_kept(&file, &places(&new)[1]));
        let end = octets(&file, &places(&new)[2]);
        assert!(end[end.len() - 512..].iter().all(|octet| *octet == 0));
    }
}

#[test]
fn of_a_disk_without_a_table_nothing_is_kept() {
    let plan = plan(&PARTITIONS);
    let (file, target) = disk(&plan);
    // Both copies.
    target.make_unbootable(&plan, &[2]).unwrap();
    target.device.write(0, &[0xff; 34 * 512]).unwrap();
    target.make_unbootable(&plan, &[2]).unwrap();
    assert!(!is_kept(&file, &places(&plan)[1]));
}

#[test]
fn a_note_is_read_as_it_was_written() {
    let ranges: Vec<_> = (0..30).map(|n| n..n + 7).collect();
    for kept in [&ranges[..1], &ranges] {
        assert_eq!(parse(&note(kept)).unwrap(), kept);
    }
    assert_eq!(parse(&note(&[])), None);
    for at in [0, 16, 20, 300, 504, 510, 511] {
        let mut bad = note(&ranges);
        bad[at] ^= 1;
        assert_eq!(parse(&bad), None, "{at}");
    }
    assert_eq!(parse(&note(&ranges)[..511]), None);
}
