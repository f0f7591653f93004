//! What the UEFI firmware of this machine would start. Nothing is written.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use diagnosis::{
    Boot, BootDisk, BootEntry, EfiPartition, Look, PartitionId, Skipped, boot_entry, boot_order,
};
use disk::{Label, PlanError, PlannedPartition, Shape};
use fog::encoding::printable;

/// What it finds of these disks, if it is UEFI that has started this machine.
pub(crate) fn look<'a>(disks: impl IntoIterator<Item = &'a Path>) -> Look<Boot> {
    look_at(Path::new(EFI), disks)
}

fn look_at<'a>(efi: &Path, disks: impl IntoIterator<Item = &'a Path>) -> Look<Boot> {
    if !efi.exists() {
        return Err(Skipped::Failed(
            "this machine was not started by UEFI".into(),
        ));
    }
    let entries = entries(&efi.join(VARIABLES)).map_err(|error| {
        Skipped::Failed(format!(
            "the boot entries of the firmware cannot be read: {error}"
        ))
    })?;
    Ok(Boot {
        entries,
        disks: disks.into_iter().filter_map(boot_disk).collect(),
        default: DEFAULT.shown,
    })
}

/// Those that the firmware tries, in its order.
fn entries(variables: &Path) -> io::Result<Vec<BootEntry>> {
    // Where nothing is mounted, there is an empty directory.
    if fs::read_dir(variables)?.next().is_none() {
        return Err(io::Error::other(format!(
            "nothing is mounted on {}",
            variables.display()
        )));
    }
    let order = match variable(variables, "BootOrder") {
        Ok(bytes) => boot_order(&bytes).ok_or(io::ErrorKind::InvalidData)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let known = order.into_iter().take(ENTRIES_MAX).filter_map(|number| {
        let bytes = variable(variables, &format!("Boot{number:04X}")).ok()?;
        let mut entry = boot_entry(number, &bytes)?;
        entry.name = printable(&entry.name, 40);
        Some(entry)
    });
    Ok(known.collect())
}

fn variable(variables: &Path, name: &str) -> io::Result<Vec<u8>> {
    let file = File::open(variables.join(format!("{name}-{GLOBAL}")))?;
    let mut bytes = Vec::new();
    file.take(VARIABLE_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A disk that has a partition table. What cannot be read is not judged.
fn boot_disk(path: &Path) -> Option<BootDisk> {
    let shape = disk::shape_of(path).ok()?;
    let file = File::open(path).ok()?;
    let mut read = |offset, len| read_at(&file, &shape, offset, len).map_err(|_| Unreadable);
    let table = disk::read_table::<Unreadable>(&shape, &mut read).ok()??;
    let found = table
        .partitions
        .iter()
        .filter(|partition| partition.kind.is_efi_system());
    let partitions = found.take(PARTITIONS_MAX).filter_map(|partition| {
        let id = match (table.label, partition.guid) {
            (Label::Gpt { .. }, Some(guid)) => PartitionId::Gpt(guid.to_bytes_le()),
            (Label::Mbr { disk_id }, _) => PartitionId::Mbr(disk_id, partition.number),
            (Label::Gpt { .. }, None) => return None,
        };
        Some(EfiPartition {
            number: partition.number,
            id,
            has_default: has_default(&file, &shape, partition),
        })
    });
    Some(BootDisk {
        name: path.display().to_string(),
        partitions: partitions.collect(),
    })
}

/// Whether the file is there that firmware starts without an entry; `None`: it cannot be read.
fn has_default(file: &File, shape: &Shape, partition: &PlannedPartition) -> Option<bool> {
    let mut read = |offset: u64, len: usize| {
        let end = u64::try_from(len)
            .ok()
            .and_then(|len| offset.checked_add(len));
        if end.is_none_or(|end| end > partition.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read_at(file, shape, partition.offset.saturating_add(offset), len)
    };
    // One that is no FAT has nothing that firmware could start.
    let found = disk::fat_has_file(&DEFAULT.path, &mut read).ok()?;
    Some(found.unwrap_or(false))
}

fn read_at(file: &File, shape: &Shape, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let left = usize::try_from(shape.size.saturating_sub(offset)).unwrap_or(usize::MAX);
    if len > left {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// A table that cannot be read, or is damaged.
struct Unreadable;

impl From<PlanError> for Unreadable {
    fn from(_: PlanError) -> Self {
        Self
    }
}

/// Where the kernel shows the variables of the firmware, once that is mounted.
pub(crate) fn variables() -> PathBuf {
    Path::new(EFI).join(VARIABLES)
}

const EFI: &str = "/sys/firmware/efi";
const VARIABLES: &str = "efivars";
/// Of the variables that the UEFI specification itself has.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Bytes of a variable that are read; real ones have less than one thousand.
const VARIABLE_MAX: u64 = 64 << 10;
const ENTRIES_MAX: usize = 64;
const PARTITIONS_MAX: usize = 8;

/// The file that firmware of this architecture starts where no entry leads to the disk (UEFI specification, 3.5.1.1).
struct Loader {
    path: [&'static str; 3],
    shown: &'static str,
}

#[cfg(target_arch = "aarch64")]
const DEFAULT: Loader = Loader {
    path: ["EFI", "BOOT", "BOOTAA64.EFI"],
    shown: r"\EFI\BOOT\BOOTAA64.EFI",
};
#[cfg(not(target_arch = "aarch64"))]
const DEFAULT: Loader = Loader {
    path: ["EFI", "BOOT", "BOOTX64.EFI"],
    shown: r"\EFI\BOOT\BOOTX64.EFI",
};

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;
    use std::process::Command;

    use diagnosis::{Cause, NoBoot};

    use super::*;

    /// Runs a script in a directory of its own; `None` where a program is missing.
    fn made(script: &str, programs: &[&str]) -> Option<tempfile::TempDir> {
        let path = "/usr/sbin:/sbin:/usr/bin:/bin";
        let has = |program: &&str| {
            path.split(':')
                .any(|dir| Path::new(dir).join(program).exists())
        };
        if !programs.iter().all(has) {
            let is_strict = std::env::var_os("FOS_TEST_REQUIRE_ALL").is_some_and(|v| v != "0");
            assert!(!is_strict, "needs {programs:?}");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let output = Command::new("sh")
            .args(["-ec", script])
            .env("PATH", path)
            .current_dir(&dir)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        Some(dir)
    }

    /// Variables of a firmware with these entries: the content of each behind its attributes.
    fn firmware(dir: &Path, entries: &[Vec<u8>]) {
        let variables = dir.join("efi/efivars");
        fs::create_dir_all(&variables).unwrap();
        let mut order = vec![7, 0, 0, 0];
        for (number, entry) in (1_u16..).zip(entries) {
            order.extend(number.to_le_bytes());
            let name = format!("Boot{number:04X}-{GLOBAL}");
            fs::write(
                variables.join(name),
                [&[7, 0, 0, 0], entry.as_slice()].concat(),
            )
            .unwrap();
        }
        fs::write(variables.join(format!("BootOrder-{GLOBAL}")), order).unwrap();
        fs::write(
            variables.join(format!("SecureBoot-{GLOBAL}")),
            [6, 0, 0, 0, 0],
        )
        .unwrap();
    }

    /// An active entry for a partition of a GPT.
    fn entry(name: &str, guid: [u8; 16]) -> Vec<u8> {
        let mut node = vec![4, 1, 42, 0, 1, 0, 0, 0];
        node.extend([0; 16]);
        node.extend(guid);
        node.extend([2, 2, 0x7f, 0xff, 4, 0]);
        let mut bytes = vec![1, 0, 0, 0, 46, 0];
        bytes.extend(name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        bytes.extend(node);
        bytes
    }

    const DISKS: &str = "\
        truncate -s 64M esp.raw; mkfs.vfat -F 32 -s 1 esp.raw > log\n\
        mmd -i esp.raw ::EFI ::EFI/Microsoft\n\
        truncate -s 80M without.raw\n\
        printf 'label: gpt\\nsize=64M, type=U, uuid=00112233-4455-6677-8899-AABBCCDDEEFF\\ntype=L\\n' | \
            sfdisk -q without.raw\n\
        dd if=esp.raw of=without.raw bs=1M seek=1 conv=notrunc status=none\n\
        cp without.raw with.raw; mmd -i esp.raw ::EFI/BOOT; echo MZ > x\n\
        mcopy -i esp.raw x ::EFI/BOOT/bootx64.efi\n\
        dd if=esp.raw of=with.raw bs=1M seek=1 conv=notrunc status=none\n\
        truncate -s 80M bios.raw; printf 'label: dos\\ntype=7\\n' | sfdisk -q bios.raw\n\
        truncate -s 80M empty.raw\n";
    /// As it is in the table.
    const GUID: [u8; 16] = [
        0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee,
        0xff,
    ];

    #[cfg(not(target_arch = "aarch64"))]
    #[test]
    fn disks_that_the_firmware_does_not_start_from_are_named() {
        let Some(dir) = made(DISKS, &["mkfs.vfat", "mmd", "mcopy", "sfdisk", "dd"]) else {
            return;
        };
        let look = |disks: &[&str]| {
            let paths: Vec<PathBuf> = disks.iter().map(|disk| dir.path().join(disk)).collect();
            look_at(&dir.path().join("efi"), paths.iter().map(PathBuf::as_path))
        };
        let problem = |disks: &[&str]| look(disks).unwrap().problem();
        assert!(
            look(&["without.raw"]).is_err(),
            "it was not started by UEFI"
        );
        fs::create_dir_all(dir.path().join("efi/efivars")).unwrap();
        assert!(look(&["without.raw"]).is_err(), "nothing is mounted");

        let other = entry("PXE", [9; 16]);
        firmware(dir.path(), std::slice::from_ref(&other));
        let disk = dir.path().join("without.raw").display().to_string();
        let missing = NoBoot::NoEntry { disk, partition: 1 };
        assert_eq!(problem(&["without.raw"]), Some(missing.clone()));
        assert_eq!(problem(&["empty.raw", "without.raw"]), Some(missing));
        assert_eq!(problem(&["with.raw"]), None);
        assert_eq!(problem(&["without.raw", "with.raw"]), None);
        assert_eq!(problem(&["empty.raw"]), None);
        let bios = problem(&["bios.raw"]);
        assert!(
            matches!(bios, Some(NoBoot::NoEfiPartition { .. })),
            "{bios:?}"
        );

        let cause = Cause::of_boot(&look(&["without.raw"]).unwrap()).unwrap();
        assert_eq!(cause.code(), "no-boot-entry");
        let seen = cause.evidence().join("; ");
        assert!(
            seen.contains("0001 PXE") && seen.contains(r"\EFI\BOOT\BOOTX64.EFI"),
            "{seen}"
        );

        firmware(dir.path(), &[other, entry("Windows\n", GUID)]);
        assert_eq!(problem(&["without.raw"]), None);
        assert_eq!(look(&["without.raw"]).unwrap().entries[1].name, "Windows");
        // Only looked at.
        let size = dir.path().join("without.raw").metadata().unwrap().size();
        assert_eq!(size, 80 << 20);
    }
}
