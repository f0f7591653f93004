//! The disks of this machine, from sysfs and procfs alone.
//!
//! No udev: an initramfs has none. Everything the choice of a disk needs is in `/sys/class/block`
//! (kernel `Documentation/ABI/stable/sysfs-block`), in `/proc/self/mountinfo` and in `/proc/swaps`.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use readable::Size;
use thiserror::Error;

use crate::labels::{self, DiskLabel};
use crate::table::Shape;

mod uses;

pub use uses::InUse;
pub(crate) use uses::of_target;

/// A whole disk as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Device node, for example `/dev/sda`.
    pub path: PathBuf,
    /// The kernel's name, for example `sda`.
    pub name: String,
    /// Major device number.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
    /// Capacity in bytes; 0 for a card reader without a card.
    pub size: u64,
    /// Logical sector size in bytes: the unit of every LBA.
    pub logical_sector: u32,
    /// Physical sector size in bytes: the unit the medium writes.
    pub physical_sector: u32,
    /// Removable medium, or attached by USB or in a card slot: never chosen unless named.
    pub is_removable: bool,
    /// The kernel refuses writes.
    pub is_read_only: bool,
    /// How the disk is attached.
    pub transport: Transport,
    /// Vendor and model, as far as the disk tells.
    pub model: Option<String>,
    /// Serial number, as far as the disk tells.
    pub serial: Option<String>,
    /// Serial number of the USB device that the disk is in, where that is another one.
    pub usb_serial: Option<String>,
    /// World wide name as `lsblk` prints it: `0x5000...`, `eui....`, `nvme....`.
    pub wwn: Option<String>,
    /// Who uses the disk or one of its partitions; empty for a disk that is free.
    pub in_use: Vec<InUse>,
    /// What is on it: empty until [`Disk::look_for_labels`].
    pub labels: Vec<DiskLabel>,
}

impl Disk {
    /// What a partition table for this disk depends on.
    #[must_use]
    pub fn shape(&self) -> Shape {
        Shape {
            size: self.size,
            logical_sector: self.logical_sector,
        }
    }

    /// Every serial number that names it.
    pub fn serials(&self) -> impl Iterator<Item = &str> {
        let serials = [&self.serial, &self.usb_serial];
        serials.into_iter().filter_map(Option::as_deref)
    }

    /// Reads what the disk is part of, or holds: [`Disk::labels`]. A disk that cannot be read has none.
    pub fn look_for_labels(&mut self) {
        let Ok(file) = File::open(&self.path) else {
            return;
        };
        let mut read = |offset, len| {
            let mut bytes = vec![0; len];
            file.read_exact_at(&mut bytes, offset).ok()?;
            Some(bytes)
        };
        self.labels = labels::of_disk(&self.shape(), &mut read);
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}, serial {}, {:#}, {}",
            self.path.display(),
            self.model.as_deref().unwrap_or("unknown model"),
            self.serials().next().unwrap_or("unknown"),
            Size(self.size),
            self.transport
        )?;
        if self.logical_sector != 512 {
            write!(f, ", {}-byte sectors", self.logical_sector)?;
        }
        Ok(())
    }
}

/// How a disk is attached, told from the path of its device in sysfs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// SATA or PATA.
    Ata,
    /// SCSI, SAS or a hardware RAID.
    Scsi,
    /// NVMe.
    Nvme,
    /// Soldered flash (eMMC).
    Emmc,
    /// A card in an SD slot.
    Sd,
    /// USB, whatever is behind it.
    Usb,
    /// A virtio disk of a virtual machine.
    Virtio,
    /// Linux software RAID.
    Md,
    /// Something else (Xen, old IDE, ...).
    Other,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ata => "ATA",
            Self::Scsi => "SCSI",
            Self::Nvme => "NVMe",
            Self::Emmc => "eMMC",
            Self::Sd => "SD card",
            Self::Usb => "USB",
            Self::Virtio => "virtio",
            Self::Md => "software RAID",
            Self::Other => "other bus",
        })
    }
}

/// Where the kernel's views of the machine are; tests put trees of their own here.
#[derive(Clone, Debug)]
pub struct Roots {
    /// Normally `/sys`.
    pub sys: PathBuf,
    /// Normally `/proc`.
    pub proc: PathBuf,
    /// Normally `/dev`; only used to form [`Disk::path`].
    pub dev: PathBuf,
}

impl Default for Roots {
    fn default() -> Self {
        Self {
            sys: "/sys".into(),
            proc: "/proc".into(),
            dev: "/dev".into(),
        }
    }
}

/// The machine's disks could not be listed.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// A file of the kernel's could not be read.
    #[error("reading {path}: {source}; are /proc and /sys mounted?")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file of the kernel's holds what it should not.
    #[error("{path} holds \"{text}\", expected {expected}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What it holds.
        text: String,
        /// What was expected, in words.
        expected: &'static str,
    },
}

/// Lists the disks of this machine in the order of their device numbers.
///
/// Listed are whole disks of the kinds that FOG deploys to (IDE, SCSI and SATA, MD, MMC, Xen, virtio,
/// NVMe), with and without a medium. Hidden multipath members and the boot areas of eMMC chips are
/// not disks in this sense.
///
/// # Errors
///
/// [`ProbeError`] when the list or the table of mounts cannot be read. A disk that vanishes while it is
/// looked at is left out.
pub fn probe() -> Result<Vec<Disk>, ProbeError> {
    probe_in(&Roots::default())
}

/// [`probe`] below other roots.
///
/// # Errors
///
/// As [`probe`].
pub fn probe_in(roots: &Roots) -> Result<Vec<Disk>, ProbeError> {
    let class = roots.sys.join("class/block");
    let mounted = uses::Mounted::read(&roots.proc)?;
    let read = |source| ProbeError::Read {
        path: class.clone(),
        source,
    };
    let mut disks = Vec::new();
    for entry in class.read_dir().map_err(read)? {
        let entry = entry.map_err(read)?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        match probe_one(roots, &class, &name, &mounted) {
            Ok(Some(disk)) => disks.push(disk),
            Ok(None) => {}
            // Unplugged between the listing and the look.
            Err(_) if !entry.path().join("dev").exists() => {}
            Err(error) => return Err(error),
        }
    }
    disks.sort_by_key(|disk| (disk.major, disk.minor));
    Ok(disks)
}

fn probe_one(
    roots: &Roots,
    class: &Path,
    name: &str,
    mounted: &uses::Mounted,
) -> Result<Option<Disk>, ProbeError> {
    let dir = class.join(name);
    if dir.join("partition").exists() || optional(&dir.join("hidden")).as_deref() == Some("1") {
        return Ok(None);
    }
    let (major, minor) = device_number(&dir.join("dev"))?;
    if !is_candidate(&dir, name, major) {
        return Ok(None);
    }
    let transport = transport(&dir, name, major);
    let flag = |file: &str| optional(&dir.join(file)).as_deref() == Some("1");
    // `size` counts 512-byte units whatever the logical sector is.
    let size = number(&dir.join("size"))?;
    let size = size
        .checked_mul(512)
        .ok_or_else(|| content(&dir.join("size"), size.to_string(), "a capacity"))?;
    let sector = |file: &str| -> Result<u32, ProbeError> {
        let path = dir.join("queue").join(file);
        let value = number(&path)?;
        u32::try_from(value)
            .ok()
            .filter(|size| size.is_power_of_two() && *size >= 512)
            .ok_or_else(|| content(&path, value.to_string(), "a sector size"))
    };
    let serial = serial(&dir);
    Ok(Some(Disk {
        path: roots.dev.join(name.replace('!', "/")),
        name: name.to_owned(),
        major,
        minor,
        size,
        logical_sector: sector("logical_block_size")?,
        physical_sector: sector("physical_block_size")?,
        is_removable: flag("removable") || matches!(transport, Transport::Usb | Transport::Sd),
        is_read_only: flag("ro"),
        transport,
        model: model(&dir),
        usb_serial: usb_serial(&dir).filter(|usb| Some(usb) != serial.as_ref()),
        serial,
        wwn: wwn(&dir),
        in_use: uses::of_disk(&dir, name, (major, minor), mounted),
        labels: Vec::new(),
    }))
}

/// FOG's majors: IDE, SCSI, MD, MMC, Xen, virtio (as one kernel numbers it) and NVMe. Majors from 234
/// to 254 are handed out as drivers load (kernel `Documentation/admin-guide/devices.txt`), so virtio
/// disks are told by their bus, and device mapper or zram with virtio's usual number are not disks.
fn is_candidate(dir: &Path, name: &str, major: u32) -> bool {
    match major {
        3 | 8 | 9 | 202 | 259 => true,
        // mmcblk0boot0, mmcblk0boot1, mmcblk0rpmb, mmcblk0gp0: the chip's own areas, not the disk.
        179 => name
            .strip_prefix("mmcblk")
            .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit())),
        _ => subsystem(dir).as_deref() == Some("virtio"),
    }
}

fn transport(dir: &Path, name: &str, major: u32) -> Transport {
    let real = dir.canonicalize().unwrap_or_default();
    let passes = |prefix: &[u8]| {
        real.components()
            .any(|part| part.as_os_str().as_bytes().starts_with(prefix))
    };
    // A USB disk is SCSI too, and so is an ATA disk: the outer bus decides.
    if passes(b"usb") {
        return Transport::Usb;
    }
    if major == 179 {
        return match optional(&dir.join("device/type")).as_deref() {
            Some("MMC") => Transport::Emmc,
            _ => Transport::Sd,
        };
    }
    if major == 9 {
        return Transport::Md;
    }
    if name.starts_with("nvme") {
        return Transport::Nvme;
    }
    if passes(b"ata") {
        return Transport::Ata;
    }
    match subsystem(dir).as_deref() {
        Some("virtio") => Transport::Virtio,
        Some("scsi") => Transport::Scsi,
        _ => Transport::Other,
    }
}

/// Name of the bus of the disk's device.
fn subsystem(dir: &Path) -> Option<String> {
    let link = dir.join("device/subsystem").read_link().ok()?;
    Some(link.file_name()?.to_str()?.to_owned())
}

fn model(dir: &Path) -> Option<String> {
    let model = optional(&dir.join("device/model")).or_else(|| optional(&dir.join("device/name")));
    // "ATA" is what libata answers for the vendor of every disk.
    let vendor = optional(&dir.join("device/vendor"))
        .filter(|vendor| vendor != "ATA" && !vendor.starts_with("0x"));
    match (vendor, model) {
        (Some(vendor), Some(model)) => Some(format!("{vendor} {model}")),
        (vendor, model) => model.or(vendor),
    }
}

/// The serial number. virtio has it on the disk, NVMe and MMC on the device; SCSI and ATA only in the
/// vital product data page 0x80: four header octets (the last two a length), then the text.
fn serial(dir: &Path) -> Option<String> {
    if let Some(serial) =
        optional(&dir.join("serial")).or_else(|| optional(&dir.join("device/serial")))
    {
        return Some(serial);
    }
    let page = std::fs::read(dir.join("device/vpd_pg80")).ok()?;
    let (header, rest) = page.split_at_checked(4)?;
    let &[_, 0x80, high, low] = header else {
        return None;
    };
    let len = usize::from(u16::from_be_bytes([high, low])).min(rest.len());
    let text: String = rest
        .get(..len)?
        .iter()
        .map(|&b| {
            if b.is_ascii_graphic() {
                char::from(b)
            } else {
                ' '
            }
        })
        .collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// The serial number of the USB device that the disk is a part of. Many sticks and cases have no vital product
/// data, and this is what is printed on them and what `lsblk` shows.
fn usb_serial(dir: &Path) -> Option<String> {
    let real = dir.canonicalize().ok()?;
    // An interface, a hub and a controller are on the way, too: only devices have an identity, and the first
    // one is the disk's.
    let device = real
        .ancestors()
        .find(|place| place.join("idVendor").exists())?;
    optional(&device.join("serial"))
}

/// The world wide name in `lsblk`'s spelling: the kernel says `naa.5000...` where `lsblk` has `0x5000...`.
fn wwn(dir: &Path) -> Option<String> {
    let wwn = optional(&dir.join("wwid")).or_else(|| optional(&dir.join("device/wwid")))?;
    match wwn.strip_prefix("naa.") {
        Some(digits) => Some(format!("0x{digits}")),
        // `t10.ATA     VENDOR...` is made of model and serial number; lsblk shows no WWN then.
        None if wwn.starts_with("t10.") => None,
        None => Some(wwn),
    }
}

/// Who uses a block device or a file, or what is built on it. [`Target::open`](crate::Target::open) asks
/// this itself; it is for what is opened in another way.
///
/// # Errors
///
/// [`ProbeError`] when `path` or the lists of the kernel cannot be read.
pub fn uses_of(path: &Path) -> Result<Vec<InUse>, ProbeError> {
    let metadata = path.metadata().map_err(|source| ProbeError::Read {
        path: path.to_owned(),
        source,
    })?;
    of_target(&Roots::default(), &metadata)
}

fn device_number(path: &Path) -> Result<(u32, u32), ProbeError> {
    let text = required(path)?;
    parse_device_number(&text).ok_or_else(|| content(path, text, "a device number"))
}

fn parse_device_number(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

fn number(path: &Path) -> Result<u64, ProbeError> {
    let text = required(path)?;
    text.parse().map_err(|_| content(path, text, "a number"))
}

fn content(path: &Path, text: String, expected: &'static str) -> ProbeError {
    ProbeError::Content {
        path: path.to_owned(),
        text,
        expected,
    }
}

fn required(path: &Path) -> Result<String, ProbeError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).trim().to_owned()),
        Err(source) => Err(ProbeError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The trimmed text of an attribute; `None` when it is absent, unreadable or empty.
fn optional(path: &Path) -> Option<String> {
    let text = required(path).ok()?;
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
