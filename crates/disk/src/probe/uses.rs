//! Who uses a disk: mounts, swap, and devices stacked on it.

use std::fmt;
use std::fs::{Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{major, minor};

use super::{ProbeError, Roots, parse_device_number};

/// One use of a disk or of one of its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InUse {
    /// A file system on it is mounted.
    Mounted {
        /// Kernel name of the disk or partition.
        device: String,
        /// Where.
        at: PathBuf,
    },
    /// The system swaps to it.
    Swap {
        /// Kernel name of the disk or partition.
        device: String,
    },
    /// A loop device in use shows it, or a part of it.
    Loop {
        /// Kernel name of the loop device.
        device: String,
        /// What the loop device is used for, if known.
        by: Option<Box<Self>>,
    },
    /// Another block device is built on it (RAID, LVM, encryption).
    HeldBy {
        /// Kernel name of the disk or partition.
        device: String,
        /// Kernel name of the device built on it.
        holder: String,
    },
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mounted { device, at } => write!(f, "{device} is mounted on {}", at.display()),
            Self::Swap { device } => write!(f, "{device} is swap space"),
            Self::HeldBy { device, holder } => write!(f, "{device} is part of {holder}"),
            Self::Loop { device, by: None } => {
                write!(f, "the loop device {device} shows it and is in use")
            }
            Self::Loop {
                device,
                by: Some(by),
            } => write!(f, "the loop device {device} shows it, and {by}"),
        }
    }
}

/// The mounts and swap spaces of the machine.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    /// Device number and mount point.
    mounts: Vec<((u32, u32), PathBuf)>,
    /// Kernel name of each swap device.
    swaps: Vec<String>,
    /// Path of each swap file.
    swap_files: Vec<PathBuf>,
}

impl Mounted {
    pub(super) fn read(proc: &Path) -> Result<Self, ProbeError> {
        let path = proc.join("self/mountinfo");
        let text = std::fs::read(&path).map_err(|source| ProbeError::Read {
            path: path.clone(),
            source,
        })?;
        let text = String::from_utf8_lossy(&text);
        let mounts = text.lines().filter_map(parse_mount).collect();
        // A kernel without swap has no such file.
        let swaps = std::fs::read_to_string(proc.join("swaps")).unwrap_or_default();
        let mut mounted = Self {
            mounts,
            ..Self::default()
        };
        for swap in swaps.lines().skip(1).filter_map(parse_swap) {
            match swap {
                Swap::Device(name) => mounted.swaps.push(name),
                Swap::File(path) => mounted.swap_files.push(path),
            }
        }
        Ok(mounted)
    }
}

/// Uses of the disk in `dir`, of its partitions and of what is stacked on either.
pub(super) fn of_disk(dir: &Path, name: &str, number: (u32, u32), mounted: &Mounted) -> Vec<InUse> {
    let mut uses = of_device(dir, name, number, mounted);
    for path in partitions(dir) {
        let Some(number) = super::optional(&path.join("dev"))
            .as_deref()
            .and_then(parse_device_number)
        else {
            continue;
        };
        uses.extend(of_device(&path, &kernel_name(&path), number, mounted));
    }
    uses
}

/// Uses of a block device or file that is about to be overwritten: its own, those of its partitions, of
/// the disk that it is a partition of, and of loop devices that show any of them. Loop devices hold
/// what they show as any reader does, so opening it exclusively succeeds all the same.
pub(crate) fn of_target(roots: &Roots, target: &Metadata) -> Result<Vec<InUse>, ProbeError> {
    let mounted = match Mounted::read(&roots.proc) {
        // Nothing is known where /proc is not mounted.
        Err(ProbeError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Mounted::default()
        }
        read => read?,
    };
    let mut uses = Vec::new();
    let mut shown = vec![identity(target)];
    if let Identity::Device(major, minor) = identity(target) {
        let node = roots.sys.join(format!("dev/block/{major}:{minor}"));
        if let Ok(dir) = node.canonicalize() {
            let name = kernel_name(&dir);
            uses.extend(of_disk(&dir, &name, (major, minor), &mounted));
            let relatives = relatives(&dir);
            // Who has the disk as a whole, has this partition.
            for (dir, number) in relatives.iter().filter(|_| dir.join("partition").exists()) {
                uses.extend(of_device(dir, &kernel_name(dir), *number, &mounted));
            }
            let devices = relatives.iter().map(|(_, number)| *number);
            shown.extend(devices.map(|(major, minor)| Identity::Device(major, minor)));
        }
    }
    for path in &mounted.swap_files {
        if identity_of(path).is_some_and(|file| shown.contains(&file)) {
            uses.push(InUse::Swap {
                device: path.display().to_string(),
            });
        }
    }
    for dir in loop_devices(&roots.sys) {
        let backing = super::optional(&dir.join("loop/backing_file"));
        let backing = backing.and_then(|path| identity_of(Path::new(&path)));
        if backing.is_some_and(|backing| shown.contains(&backing)) {
            uses.extend(of_loop(roots, &dir, &mounted));
        }
    }
    Ok(uses)
}

/// What has a number of its own: a block device, or a file of a file system.
#[derive(Debug, PartialEq, Eq)]
enum Identity {
    Device(u32, u32),
    File(u64, u64),
}

fn identity(metadata: &Metadata) -> Identity {
    if metadata.file_type().is_block_device() {
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let rdev = metadata.rdev();
        Identity::Device(number(major(rdev)), number(minor(rdev)))
    } else {
        Identity::File(metadata.dev(), metadata.ino())
    }
}

fn identity_of(path: &Path) -> Option<Identity> {
    path.metadata().ok().map(|metadata| identity(&metadata))
}

/// The disk of a partition, the partitions of a disk.
fn relatives(dir: &Path) -> Vec<(PathBuf, (u32, u32))> {
    let dirs: Vec<PathBuf> = if dir.join("partition").exists() {
        dir.parent().map(Path::to_owned).into_iter().collect()
    } else {
        partitions(dir)
    };
    let number = |dir: &PathBuf| {
        let text = super::optional(&dir.join("dev"))?;
        parse_device_number(&text)
    };
    dirs.into_iter()
        .filter_map(|dir| Some((dir.clone(), number(&dir)?)))
        .collect()
}

fn loop_devices(sys: &Path) -> Vec<PathBuf> {
    let entries = sys.join("class/block").read_dir().into_iter().flatten();
    let mut dirs: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("loop").exists())
        .collect();
    dirs.sort();
    dirs
}

/// Uses of a loop device, each of which is one of what it shows.
fn of_loop(roots: &Roots, dir: &Path, mounted: &Mounted) -> Vec<InUse> {
    let name = kernel_name(dir);
    let number = super::optional(&dir.join("dev"))
        .as_deref()
        .and_then(parse_device_number);
    let uses = number.map(|number| of_disk(dir, &name, number, mounted));
    let uses: Vec<InUse> = uses
        .unwrap_or_default()
        .into_iter()
        .map(|by| InUse::Loop {
            device: name.clone(),
            by: Some(Box::new(by)),
        })
        .collect();
    // File systems of several devices, and programs, are in none of the lists.
    if uses.is_empty() && is_held(&roots.dev.join(&name)) {
        return vec![InUse::Loop {
            device: name,
            by: None,
        }];
    }
    uses
}

/// Whether somebody has a block device exclusively. Opening it for a moment changes nothing.
fn is_held(device: &Path) -> bool {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_EXCL | OFlag::O_CLOEXEC).bits())
        .open(device);
    opened.is_err_and(|error| error.raw_os_error() == Some(Errno::EBUSY as i32))
}

fn kernel_name(dir: &Path) -> String {
    let name = dir.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// The partitions of the disk in `dir`.
fn partitions(dir: &Path) -> Vec<PathBuf> {
    let entries = dir.read_dir().into_iter().flatten();
    let mut partitions: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("partition").exists())
        .collect();
    partitions.sort();
    partitions
}

fn of_device(dir: &Path, name: &str, number: (u32, u32), mounted: &Mounted) -> Vec<InUse> {
    let device = || name.to_owned();
    let mut uses = Vec::new();
    for (mount, at) in &mounted.mounts {
        if *mount == number {
            uses.push(InUse::Mounted {
                device: device(),
                at: at.clone(),
            });
        }
    }
    if mounted.swaps.iter().any(|swap| swap == name) {
        uses.push(InUse::Swap { device: device() });
    }
    let mut holders: Vec<_> = dir
        .join("holders")
        .read_dir()
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    holders.sort();
    uses.extend(holders.into_iter().map(|holder| InUse::HeldBy {
        device: device(),
        holder,
    }));
    uses
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime ...`: device number third, mount point fifth (proc(5)).
fn parse_mount(line: &str) -> Option<((u32, u32), PathBuf)> {
    let mut fields = line.split(' ');
    let number = parse_device_number(fields.nth(2)?)?;
    let at = fields.nth(1)?;
    Some((number, unescape(at).into()))
}

/// A swap space of the system.
#[derive(Debug, PartialEq, Eq)]
enum Swap {
    /// The kernel's name of a block device.
    Device(String),
    /// Path of a file.
    File(PathBuf),
}

/// `/dev/sda2  partition  1048572 0 -2`; files used as swap are of type `file`.
fn parse_swap(line: &str) -> Option<Swap> {
    let mut fields = line.split_whitespace();
    let path = unescape(fields.next()?);
    Some(match fields.next()? {
        "partition" => Swap::Device(path.strip_prefix("/dev/")?.replace('/', "!")),
        "file" => Swap::File(path.into()),
        _ => return None,
    })
}

/// Undoes the kernel's octal escapes of blank, tab, newline and backslash.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        let code = after.get(..3).and_then(|d| u8::from_str_radix(d, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_lines_give_number_and_place() {
        assert_eq!(
            parse_mount("27 1 254:0 / / rw,relatime - ext4 /dev/vda rw"),
            Some(((254, 0), "/".into()))
        );
        assert_eq!(
            parse_mount("30 1 8:17 / /mnt/my\\040disk rw shared:1 - vfat /dev/sdb1 rw"),
            Some(((8, 17), "/mnt/my disk".into()))
        );
        assert_eq!(parse_mount("junk"), None);
    }

    #[test]
    fn swap_lines_give_the_kernel_name() {
        let device = |name: &str| Some(Swap::Device(name.to_owned()));
        assert_eq!(
            parse_swap("/dev/sda2   partition 1048572 0 -2"),
            device("sda2")
        );
        assert_eq!(
            parse_swap("/dev/cciss/c0d0p2 partition 1 0 -2"),
            device("cciss!c0d0p2")
        );
        assert_eq!(
            parse_swap("/swap\\040file file 1048572 0 -2"),
            Some(Swap::File("/swap file".into()))
        );
        assert_eq!(parse_swap("junk"), None);
    }
}
