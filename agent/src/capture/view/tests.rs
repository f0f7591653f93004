use std::io::{Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use super::*;

const MIB: u64 = 1 << 20;

/// A disk of 4 MiB whose bytes say where they are.
fn disk() -> (tempfile::NamedTempFile, Arc<SourceDisk>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..4 * MIB / 4)
        .flat_map(|word| u32::try_from(word).unwrap().to_le_bytes())
        .collect();
    fs::write(file.path(), bytes).unwrap();
    let disk = SourceDisk::open(file.path()).unwrap();
    (file, Arc::new(disk))
}

/// Whether this machine can show a partition.
fn is_possible() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    let is_root = id.stdout.trim_ascii() == b"0";
    let is_possible = is_root && Path::new(DEVICE).exists();
    let is_strict = std::env::var_os("FOS_TEST_REQUIRE_ALL").is_some_and(|v| v != "0");
    assert!(is_possible || !is_strict, "needs root and {DEVICE}");
    is_possible
}

#[test]
fn a_program_reads_the_partition_and_nothing_else() {
    if !is_possible() {
        return;
    }
    let (_file, disk) = disk();
    let view = Shown::new(&disk, &[(MIB, 2 * MIB)], Manner::Strict, None);
    let (read, written) = shown(&view, |path| {
        let read = Command::new("cat").arg(path).output().unwrap();
        let written = OpenOptions::new().write(true).open(path).map(drop);
        (read.stdout, written)
    })
    .unwrap();
    assert_eq!(read.len() as u64, 2 * MIB);
    assert_eq!(read[..4], (u32::try_from(MIB / 4).unwrap()).to_le_bytes());
    written.unwrap_err();
    assert!(view.unreadable().is_empty());
}

#[test]
fn what_a_program_writes_is_read_again_and_is_not_on_the_disk() {
    if !is_possible() {
        return;
    }
    let (file, disk) = disk();
    let before = fs::read(file.path()).unwrap();
    let overlay = Overlay::new(2 * MIB, 64 << 10);
    let view = Shown::new(&disk, &[(MIB, 2 * MIB)], Manner::Strict, Some(overlay));
    let found = shown(&view, |path| {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        file.write_all_at(b"changed", 5000).unwrap();
        file.sync_all().unwrap();
        let len = file.seek(SeekFrom::End(0)).unwrap();
        file.set_len(1).unwrap_err();
        file.write_all_at(&[0; 2], len - 1).unwrap_err();
        drop(file);
        Command::new("cat").arg(path).output().unwrap().stdout
    })
    .unwrap();
    let mib = usize::try_from(MIB).unwrap();
    let mut expected = before[mib..3 * mib].to_vec();
    expected[5000..5007].copy_from_slice(b"changed");
    assert!(found == expected);
    assert!(!view.is_full());
    assert!(fs::read(file.path()).unwrap() == before);
    // More than there is memory for.
    let failed = shown(&view, |path| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&vec![1; 1 << 20], 0).unwrap_err()
    });
    assert_eq!(failed.unwrap().raw_os_error(), Some(Errno::ENOSPC as i32));
    assert!(view.is_full());
    // The same content, cut.
    let view = view.shorter(6000);
    let found = shown(&view, |path| fs::read(path).unwrap()).unwrap();
    assert_eq!(found.len(), 6000);
}

#[test]
fn a_view_is_gone_when_its_work_is_done_or_panics() {
    if !is_possible() {
        return;
    }
    let (_file, disk) = disk();
    let view = Shown::new(&disk, &[(0, MIB)], Manner::Strict, None);
    let path = shown(&view, Path::to_owned).unwrap();
    assert!(!path.exists());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        drop(shown(&view, |_| panic!("as a test")));
    }));
    panicked.unwrap_err();
}

#[test]
fn places_that_cannot_be_read_are_errors_or_zeroes_and_are_listed() {
    let (file, disk) = disk();
    // The disk ends earlier than it did.
    file.as_file().set_len(2 * MIB + 4096).unwrap();
    let strict = Shown::new(&disk, &[(MIB, 2 * MIB)], Manner::Strict, None);
    let mut buffer = vec![9; 64 << 10];
    strict.read(0, &mut buffer).unwrap();
    strict.read(MIB - 4096, &mut buffer).unwrap_err();
    let lost = MIB + 4096..MIB - 4096 + (64 << 10);
    assert_eq!(strict.unreadable().places(), std::slice::from_ref(&lost));
    let rescue = Shown::new(&disk, &[(MIB, 2 * MIB)], Manner::Rescue, None);
    rescue.read(MIB - 4096, &mut buffer).unwrap();
    assert_eq!(rescue.unreadable().places(), [lost]);
    let word = u32::try_from((2 * MIB) / 4).unwrap().to_le_bytes();
    assert_eq!(buffer[4096..4100], word);
    assert!(buffer[8192..].iter().all(|octet| *octet == 0));
}

#[test]
fn pieces_of_a_volume_are_one_file() {
    let (file, disk) = disk();
    let runs = [(2 * MIB, 8192), (0, 4096), (MIB, 100)];
    let view = Shown::new(&disk, &runs, Manner::Strict, None);
    assert_eq!(view.len(), 12_388);
    let all = fs::read(file.path()).unwrap();
    let mib = usize::try_from(MIB).unwrap();
    let expected = [
        &all[2 * mib..2 * mib + 8192],
        &all[..4096],
        &all[mib..mib + 100],
    ]
    .concat();
    for (from, to) in [
        (0, 12_388),
        (8000, 8400),
        (8192, 8193),
        (12_287, 12_388),
        (5, 5),
    ] {
        let mut buffer = vec![0; to - from];
        view.read(from as u64, &mut buffer).unwrap();
        assert!(buffer == expected[from..to], "{from} {to}");
    }
    view.read(12_388, &mut [0]).unwrap_err();
}
