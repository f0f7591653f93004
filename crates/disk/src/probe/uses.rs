//! Who uses a disk: mounts, swap, and devices stacked on it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{ProbeError, parse_device_number};

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
        }
    }
}

/// The mounts and swap spaces of the machine.
#[derive(Debug, Default)]
pub(super) struct Mounted {
    /// Device number and mount point.
    mounts: Vec<((u32, u32), PathBuf)>,
    /// Last path component of each swap device.
    swaps: Vec<String>,
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
        let swaps = swaps.lines().skip(1).filter_map(parse_swap).collect();
        Ok(Self { mounts, swaps })
    }
}

/// Uses of the disk in `dir`, of its partitions and of what is stacked on either.
pub(super) fn of_disk(dir: &Path, name: &str, number: (u32, u32), mounted: &Mounted) -> Vec<InUse> {
    let mut uses = of_device(dir, name, number, mounted);
    let mut partitions: Vec<_> = dir
        .read_dir()
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().join("partition").exists())
        .collect();
    partitions.sort_by_key(std::fs::DirEntry::file_name);
    for entry in partitions {
        let path = entry.path();
        let Some(number) = super::optional(&path.join("dev"))
            .as_deref()
            .and_then(parse_device_number)
        else {
            continue;
        };
        let name = entry.file_name().to_string_lossy().into_owned();
        uses.extend(of_device(&path, &name, number, mounted));
    }
    uses
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

/// `/dev/sda2  partition  1048572 0 -2`; files used as swap are of type `file`.
fn parse_swap(line: &str) -> Option<String> {
    let mut fields = line.split_whitespace();
    let path = fields.next()?;
    if fields.next()? != "partition" {
        return None;
    }
    Some(unescape(path.strip_prefix("/dev/")?).replace('/', "!"))
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
        assert_eq!(
            parse_swap("/dev/sda2   partition 1048572 0 -2").as_deref(),
            Some("sda2")
        );
        assert_eq!(
            parse_swap("/dev/cciss/c0d0p2 partition 1 0 -2").as_deref(),
            Some("cciss!c0d0p2")
        );
        assert_eq!(parse_swap("/swapfile file 1048572 0 -2"), None);
    }
}
