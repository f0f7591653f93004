//! Disks and memory. Nothing is written.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use diagnosis::{
    Boot, DiskLook, Health, Look, Memory, ReadTest, SCSI_EXCEPTIONS, SCSI_READ_ERRORS,
    SCSI_WRITE_ERRORS, Skipped,
};
use nix::fcntl::OFlag;

use crate::firmware;

/// Which disks are looked at.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    /// Those of the machine that could be deployed to.
    All,
    /// These disks, or files.
    These(Vec<PathBuf>),
    /// None: they are at work.
    Nothing,
}

pub(super) fn disks(wish: &Wish) -> Look<Vec<DiskLook>> {
    match wish {
        Wish::Nothing => Err(Skipped::NotAsked),
        Wish::These(paths) => Ok(paths.iter().map(|path| look(path, None)).collect()),
        Wish::All => {
            let disks = disk::probe().map_err(|error| Skipped::Failed(readable::chain(&error)))?;
            let fixed = disks
                .iter()
                .filter(|disk| !disk.is_removable && disk.size > 0);
            let looks = fixed.map(|disk| look(&disk.path, disk.model.as_deref()));
            Ok(looks.collect())
        }
    }
}

/// What the firmware would start of the disks that are looked at.
pub(super) fn boot(wish: &Wish) -> Look<Boot> {
    let paths: Vec<PathBuf> = match wish {
        Wish::Nothing => return Err(Skipped::NotAsked),
        Wish::These(paths) => paths.clone(),
        Wish::All => {
            let disks = disk::probe().map_err(|error| Skipped::Failed(readable::chain(&error)))?;
            let filled = disks.into_iter().filter(|disk| disk.size > 0);
            filled.map(|disk| disk.path).collect()
        }
    };
    firmware::look(paths.iter().map(PathBuf::as_path))
}

fn look(path: &Path, model: Option<&str>) -> DiskLook {
    let mut name = path.display().to_string();
    if let Some(model) = model {
        name += &format!(" ({})", fog::encoding::printable(model, 60));
    }
    let device = path
        .file_name()
        .map(|name| Path::new("/sys/class/block").join(name).join("device"));
    DiskLook {
        name,
        is_live: device.as_deref().is_none_or(is_live),
        commands: device.as_deref().and_then(commands),
        read: read(path).map_err(|error| error.to_string()),
        health: health(path, device.as_deref()),
    }
}

/// How a disk is asked for its health.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Nvme,
    /// SMART.
    Ata,
    /// SMART, behind something that says that it passes ATA commands on, as bridges on USB do.
    Bridge,
    /// The log pages of SCSI and SAS.
    Scsi,
}

/// What the disk says of itself.
fn health(path: &Path, device: Option<&Path>) -> Look<Health> {
    let name = path.file_name().and_then(|name| name.to_str());
    let way = way(name.unwrap_or_default(), device).map_err(|why| Skipped::Failed(why.into()))?;
    let failed = |error: io::Error| Skipped::Failed(error.to_string());
    let open = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path);
    let device = open.map_err(failed)?;
    let health = match way {
        Way::Nvme => Health::of_nvme(&disk::nvme_health(&device).map_err(failed)?),
        Way::Ata => ata(&device).map_err(failed)?,
        Way::Bridge => match ata(&device) {
            Ok(Some(health)) => Some(health),
            // It says more than it keeps.
            Ok(None) | Err(_) => scsi(&device).map_err(failed)?,
        },
        Way::Scsi => scsi(&device).map_err(failed)?,
    };
    health.ok_or_else(|| Skipped::Failed("the disk does not say".into()))
}

fn ata(device: &File) -> io::Result<Option<Health>> {
    let sense = disk::ata_smart_status(device)?;
    let data = disk::ata_smart_data(device).ok();
    let data = data.as_ref().map(<[u8; _]>::as_slice);
    Ok(Health::of_ata(Some(&sense), data))
}

fn scsi(device: &File) -> io::Result<Option<Health>> {
    let page = |code| disk::scsi_log_page(device, code);
    let exceptions = page(SCSI_EXCEPTIONS);
    let (writes, reads) = (page(SCSI_WRITE_ERRORS).ok(), page(SCSI_READ_ERRORS).ok());
    let pages = (
        exceptions.as_deref().ok(),
        writes.as_deref(),
        reads.as_deref(),
    );
    match (Health::of_scsi(pages.0, pages.1, pages.2), exceptions) {
        (None, Err(error)) => Err(error),
        (known, _) => Ok(known),
    }
}

/// By the disk's name and its directory `device` in sysfs; else why it is not asked.
fn way(name: &str, device: Option<&Path>) -> Result<Way, &'static str> {
    if name.starts_with("nvme") {
        return Ok(Way::Nvme);
    }
    let Some(device) = device.filter(|device| device.exists()) else {
        return Err("only disks are asked");
    };
    if name.starts_with("vd") || name.starts_with("xvd") {
        return Err("a virtual disk has none; ask those of its host");
    }
    if name.starts_with("mmcblk") {
        return Err("memory cards are not asked");
    }
    let Ok(vendor) = fs::read_to_string(device.join("vendor")) else {
        return Err("only NVMe, SATA, SCSI and SAS disks are asked");
    };
    // The kernel reads this page from disks that list it, and not from USB devices that may not bear the question
    // (SAT-4, "ATA Information VPD page").
    let is_behind_bridge = fs::metadata(device.join("vpd_pg89")).is_ok();
    if vendor.trim() == "ATA" {
        return Ok(Way::Ata);
    }
    if is_behind_bridge {
        return Ok(Way::Bridge);
    }
    let real = device.canonicalize().unwrap_or_default();
    let is_usb = real
        .components()
        .any(|part| part.as_os_str().to_string_lossy().starts_with("usb"));
    if is_usb {
        return Err(
            "its USB bridge does not say that it passes SMART commands on, and some hang when they are asked",
        );
    }
    Ok(Way::Scsi)
}

/// Of NVMe `state` is "live" or "connecting", "dead" and so on; of SCSI and SATA "running" or "offline" and so on.
fn is_live(device: &Path) -> bool {
    let state = fs::read_to_string(device.join("state")).ok();
    state.is_none_or(|state| {
        matches!(
            state.trim(),
            "live" | "running" | "created" | "new" | "resetting"
        )
    })
}

/// Commands that failed, and all, of SCSI and SATA disks.
fn commands(device: &Path) -> Option<(u64, u64)> {
    let count = |file| {
        let text = fs::read_to_string(device.join(file)).ok()?;
        u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
    };
    Some((count("ioerr_cnt")?, count("iodone_cnt")?))
}

/// Reads some of the begin, the middle and the end, past the page cache where that is possible.
fn read(path: &Path) -> io::Result<ReadTest> {
    let open = |flags: OFlag| {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .custom_flags((flags | OFlag::O_NONBLOCK).bits());
        options.open(path)
    };
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let file = open(OFlag::O_DIRECT).or_else(|error| match error.raw_os_error() {
        Some(nix::libc::EINVAL) => open(OFlag::empty()),
        _ => Err(error),
    })?;
    let len = len(&file)?;
    let mut memory = vec![0; PIECE + ALIGNMENT];
    let start = memory.as_ptr().align_offset(ALIGNMENT);
    let buffer = memory
        .get_mut(start..start.saturating_add(PIECE))
        .ok_or(io::ErrorKind::OutOfMemory)?;
    let mut test = ReadTest {
        bytes: 0,
        time: Duration::ZERO,
    };
    for at in places(len) {
        let mut part = 0;
        let begin = Instant::now();
        while part < PART && begin.elapsed() < PART_TIME {
            let count = file.read_at(buffer, at + part)?;
            part += u64::try_from(count).unwrap_or(u64::MAX);
            // Only the end gives less, and behind it no read would be aligned.
            if count < PIECE {
                break;
            }
        }
        test.bytes += part;
        test.time += begin.elapsed();
    }
    Ok(test)
}

fn len(file: &File) -> io::Result<u64> {
    // Of a device the length in its metadata is 0.
    let mut file = file;
    io::Seek::seek(&mut file, io::SeekFrom::End(0))
}

/// Where to read, each a multiple of the alignment; never twice the same.
fn places(len: u64) -> Vec<u64> {
    let alignment = u64::try_from(ALIGNMENT).unwrap_or(u64::MAX);
    let aligned = |at: u64| at / alignment * alignment;
    let mut places = vec![0, aligned(len / 2), aligned(len.saturating_sub(PART))];
    places.sort_unstable();
    let mut free = 0;
    places.retain(|&at| {
        let is_new = at >= free;
        if is_new {
            free = at + PART;
        }
        is_new
    });
    places
}

pub(super) fn memory(text: &str) -> Look<Memory> {
    let value = |wanted: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(wanted))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    match (value("MemTotal:"), value("MemAvailable:")) {
        (Some(total), Some(available)) => Ok(Memory {
            total,
            available,
            errors: None,
        }),
        _ => Err(Skipped::Failed("/proc/meminfo makes no sense".into())),
    }
}

/// Errors that memory with checksums could not mend (kernel: EDAC); `None` where nothing counts them.
pub(super) fn memory_errors(controllers: &Path) -> Option<u64> {
    let entries = fs::read_dir(controllers).ok()?;
    let counts = entries.flatten().filter_map(|controller| {
        let text = fs::read_to_string(controller.path().join("ue_count")).ok()?;
        text.trim().parse::<u64>().ok()
    });
    counts.reduce(u64::saturating_add)
}

const PIECE: usize = 1 << 20;
/// Of all logical sectors that there are, up to 4 KiB.
const ALIGNMENT: usize = 4096;
/// At each place, in bytes, and at most for so long.
const PART: u64 = 16 << 20;
const PART_TIME: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let text = "MemTotal:        1000 kB\nMemFree:  5 kB\nMemAvailable:  10 kB\n";
        let expected = Memory {
            total: 1_024_000,
            available: 10_240,
            errors: None,
        };
        assert_eq!(memory(text), Ok(expected));
        for text in [
            "",
            "MemTotal: 1000 kB",
            "MemTotal: x kB\nMemAvailable: 1 kB",
        ] {
            assert!(matches!(memory(text), Err(Skipped::Failed(_))), "{text}");
        }
    }

    #[test]
    fn errors_of_memory_are_counted_where_something_counts_them() {
        let controllers = tempfile::tempdir().unwrap();
        assert_eq!(memory_errors(controllers.path()), None);
        assert_eq!(memory_errors(&controllers.path().join("none")), None);
        for (name, count) in [("mc0", "0\n"), ("mc1", "3\n"), ("power", "x")] {
            let dir = controllers.path().join(name);
            fs::create_dir(&dir).unwrap();
            fs::write(dir.join("ue_count"), count).unwrap();
        }
        assert_eq!(memory_errors(controllers.path()), Some(3));
    }

    #[test]
    fn places_are_aligned_and_do_not_overlap() {
        assert_eq!(places(0), [0]);
        assert_eq!(places(100), [0]);
        assert_eq!(places(PART), [0]);
        assert_eq!(places(3 * PART), [0, 3 * PART / 2]);
        for len in [5 * PART + 77, 1 << 40] {
            let places = places(len);
            assert_eq!(places.len(), 3, "{places:?}");
            assert!(places.iter().all(|at| at % 4096 == 0 && *at < len));
        }
    }

    #[test]
    fn a_disk_is_read_and_what_cannot_be_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        fs::write(&path, vec![1; 3 << 20]).unwrap();
        let seen = look(&path, None);
        assert!(matches!(seen.health, Err(Skipped::Failed(_))));
        assert_eq!(seen.read.unwrap().bytes, 3 << 20);
        assert!(look(&dir.path().join("none"), None).read.is_err());
        assert!(look(dir.path(), None).read.is_err());
    }

    #[test]
    fn a_disk_is_asked_the_way_that_it_bears() {
        let sys = tempfile::tempdir().unwrap();
        let disk = |path: &str, vendor: &str| {
            let dir = sys.path().join(path);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("vendor"), vendor).unwrap();
            dir
        };
        let sata = disk("pci0/ata1/host0/0:0:0:0", "ATA     \n");
        let sas = disk("pci0/host1/port-1:0/end_device-1:0/1:0:0:0", "SEAGATE \n");
        let usb = disk("pci0/usb2/2-1/2-1:1.0/host2/2:0:0:0", "WD      \n");
        assert_eq!(way("nvme0n1", None), Ok(Way::Nvme));
        assert_eq!(way("sda", Some(&sata)), Ok(Way::Ata));
        assert_eq!(way("sdb", Some(&sas)), Ok(Way::Scsi));
        assert!(way("sdc", Some(&usb)).unwrap_err().contains("USB bridge"));
        fs::write(usb.join("vpd_pg89"), [0, 0x89]).unwrap();
        assert_eq!(way("sdc", Some(&usb)), Ok(Way::Bridge));
        assert!(
            way("vda", Some(sys.path()))
                .unwrap_err()
                .contains("virtual")
        );
        assert!(way("mmcblk0", Some(sys.path())).is_err());
        assert!(way("loop0", Some(sys.path())).is_err());
        assert!(way("disk.raw", None).is_err());
    }

    #[test]
    fn a_disk_that_was_given_up_is_not_live() {
        let dir = tempfile::tempdir().unwrap();
        assert!(is_live(dir.path()) && commands(dir.path()).is_none());
        for (state, expected) in [
            ("running\n", true),
            ("live\n", true),
            ("offline\n", false),
            ("dead\n", false),
        ] {
            fs::write(dir.path().join("state"), state).unwrap();
            assert_eq!(is_live(dir.path()), expected, "{state}");
        }
        fs::write(dir.path().join("ioerr_cnt"), "0x10\n").unwrap();
        fs::write(dir.path().join("iodone_cnt"), "0x1000\n").unwrap();
        assert_eq!(commands(dir.path()), Some((16, 4096)));
    }
}
