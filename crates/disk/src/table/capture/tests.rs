use super::super::gpt::tests::backup;
use super::super::mbr::tests::boot_sector;
use super::super::{Layout, TableFiles, plan_table};
use super::*;

/// A disk of 64 MiB with a plan's table on it.
fn disk(mbr: &[u8], partitions: Option<&str>) -> (Shape, Vec<u8>) {
    let shape = Shape {
        size: 64 << 20,
        logical_sector: 512,
    };
    let files = TableFiles {
        mbr,
        partitions,
        ..TableFiles::default()
    };
    let plan = plan_table(&files, &shape, Layout::Keep).unwrap();
    let mut bytes = vec![0; 64 << 20];
    for write in plan.writes() {
        let at = usize::try_from(write.offset).unwrap();
        bytes[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
    }
    (shape, bytes)
}

fn capture(shape: &Shape, bytes: &[u8]) -> CapturedTable {
    let mut read = |offset: u64, len: usize| -> Result<Vec<u8>, PlanError> {
        let offset = usize::try_from(offset).unwrap();
        Ok(bytes[offset..offset + len].to_vec())
    };
    let captured = CapturedTable::read(shape, "/dev/sda", &mut read).unwrap();
    captured.expect("the disk has a table")
}

/// The writes of a deploy of what was captured, on the same disk.
fn deployed(shape: &Shape, captured: &CapturedTable) -> Vec<u8> {
    let dump = captured.dump().to_string();
    let mbr = captured.mbr();
    let files = TableFiles {
        mbr: &mbr,
        grub_mbr: captured.grub_mbr(),
        partitions: Some(&dump),
        ebrs: captured
            .ebrs()
            .iter()
            .map(|(number, bytes)| (*number, bytes.as_slice()))
            .collect(),
        ..TableFiles::default()
    };
    let plan = plan_table(&files, shape, Layout::Keep).unwrap();
    assert_eq!(plan.warnings, []);
    let mut bytes = vec![0; 64 << 20];
    for write in plan.writes() {
        let at = usize::try_from(write.offset).unwrap();
        bytes[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
    }
    bytes
}

#[test]
fn a_gpt_comes_back_as_it_was_with_and_without_grub() {
    let shape = Shape {
        size: 64 << 20,
        logical_sector: 512,
    };
    let (shape, mut bytes) = disk(&backup(&shape, &[(2048, 4095), (8192, 99_999)]), None);
    let captured = capture(&shape, &bytes);
    assert_eq!(captured.mbr().len(), 1 << 20, "padded like FOG's");
    assert_eq!(captured.grub_mbr(), None);
    assert!(deployed(&shape, &captured) == bytes);
    // Boot code, and a second stage behind the table.
    bytes[100..104].copy_from_slice(b"GRUB");
    bytes[40_000..40_004].copy_from_slice(b"code");
    let captured = capture(&shape, &bytes);
    assert_eq!(captured.mbr().len(), 3 * 512 + 128 * 128);
    assert_eq!(captured.grub_mbr().unwrap().len(), 1 << 20);
    assert!(deployed(&shape, &captured) == bytes);
    // The primary copy is damaged: the other one counts.
    let mut broken = bytes.clone();
    broken[512 + 56] ^= 1;
    let other = capture(&shape, &broken);
    assert_eq!(other.mbr(), captured.mbr());
}

#[test]
fn an_mbr_with_logical_partitions_comes_back_as_it_was() {
    let mbr = boot_sector(&[(0x80, 7, 2048, 8192), (0, 5, 10_240, 40_000)]);
    let dump = "label: dos\nsector-size: 512\n\n/dev/sda1 : start=2048, size=8192, type=7, bootable\n\
        /dev/sda2 : start=10240, size=40000, type=5\n/dev/sda5 : start=12288, size=8192, type=83\n\
        /dev/sda6 : start=22528, size=8192, type=82\n";
    let (shape, mut bytes) = disk(&mbr, Some(dump));
    bytes[12_288 * 512] = 9;
    bytes[1000] = 3;
    let captured = capture(&shape, &bytes);
    let lengths: Vec<_> = captured
        .ebrs()
        .iter()
        .map(|(number, bytes)| (*number, bytes.len()))
        .collect();
    assert_eq!(lengths, [(2, 0), (5, 512), (6, 512)]);
    assert_eq!(captured.ebrs()[1].1[0], 9);
    let mut expected = bytes.clone();
    expected[12_288 * 512] = 0;
    assert!(deployed(&shape, &captured) == expected);
    let lines = captured.dump().to_string();
    assert!(
        lines.contains("/dev/sda1 : start=        2048, size=        8192, type=7, bootable\n")
    );
    assert!(lines.ends_with("/dev/sda6 : start=       22528, size=        8192, type=82\n"));
    // Boot code of the container is kept.
    bytes[10_240 * 512] = 0xeb;
    let captured = capture(&shape, &bytes);
    assert_eq!(captured.ebrs()[0].1.len(), 512);
    expected[10_240 * 512] = 0xeb;
    assert!(deployed(&shape, &captured) == expected);
}

#[test]
fn only_the_table_is_kept_of_a_disk_without_a_gap_for_boot_loaders() {
    for (start, grub, len) in [
        (63, false, 512),
        (63, true, 63 * 512),
        (8, false, 512),
        (64, false, 64 * 512),
        (2048, false, 1 << 20),
        (8192, false, 1 << 20),
    ] {
        let (shape, mut bytes) = disk(&boot_sector(&[(0x80, 7, start, 8192)]), None);
        if grub {
            bytes[300..304].copy_from_slice(b"GRUB");
        }
        let captured = capture(&shape, &bytes);
        assert_eq!(captured.mbr().len(), len, "{start} {grub}");
        assert_eq!(captured.has_grub(), grub);
        assert_eq!(captured.grub_mbr(), None);
    }
}

#[test]
fn partitions_at_other_places_are_in_all_files() {
    let shape = Shape {
        size: 64 << 20,
        logical_sector: 512,
    };
    let (shape, bytes) = disk(&backup(&shape, &[(2048, 40_959), (50_000, 99_999)]), None);
    let captured = capture(&shape, &bytes);
    let places = [
        Placed {
            number: 1,
            start: 2048,
            size: 1000,
        },
        Placed {
            number: 2,
            start: 4096,
            size: 777,
        },
    ];
    let small = captured.with_places(&places).unwrap();
    let (mbr, dump) = (small.mbr(), small.dump().to_string());
    let files = TableFiles {
        mbr: &mbr,
        partitions: Some(&dump),
        ..TableFiles::default()
    };
    let plan = plan_table(&files, &shape, Layout::Keep).unwrap();
    assert_eq!(plan.warnings, []);
    let found: Vec<_> = plan
        .partitions
        .iter()
        .map(|p| (p.offset / 512, p.len / 512))
        .collect();
    assert_eq!(found, [(2048, 1000), (4096, 777)]);
    assert_eq!(small.dump().first_lba, captured.dump().first_lba);
    let (shape, bytes) = disk(&boot_sector(&[(0x80, 7, 2048, 8192)]), None);
    let captured = capture(&shape, &bytes);
    let small = captured.with_places(&places[..1]).unwrap();
    assert_eq!(small.mbr()[446 + 12..446 + 16], 1000_u32.to_le_bytes());
    assert_eq!(small.dump().partitions[0].size, 1000);
}
