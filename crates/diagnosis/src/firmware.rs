//! What UEFI firmware starts: its boot entries (UEFI specification 2.10, sections 3.1.3 and 10.3), and whether one of them,
//! or the file that it starts without any, leads to a disk.

use std::fmt;

/// A boot entry, `Boot####`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootEntry {
    /// Its number.
    pub number: u16,
    /// As people see it. The firmware may have anything there: to be made printable.
    pub name: String,
    /// Whether the firmware tries it by itself.
    pub is_active: bool,
    /// The partition that it leads to, if it names one.
    pub partition: Option<PartitionId>,
}

impl fmt::Display for BootEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X} {}", self.number, self.name)?;
        match self.is_active {
            true => Ok(()),
            false => f.write_str(" (off)"),
        }
    }
}

/// By what the firmware knows a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PartitionId {
    /// The GUID of the entry in a GPT, as it is there.
    Gpt([u8; 16]),
    /// The signature of the disk, and the number of the partition.
    Mbr(u32, u32),
}

/// A partition that firmware looks for boot loaders in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EfiPartition {
    /// Its number.
    pub number: u32,
    /// How entries name it.
    pub id: PartitionId,
    /// Whether it has the file that firmware starts where no entry leads to the disk; `None`: it could not be read.
    pub has_default: Option<bool>,
}

/// A disk with a partition table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootDisk {
    /// Its path.
    pub name: String,
    /// Its EFI system partitions.
    pub partitions: Vec<EfiPartition>,
}

/// What a machine that was started by UEFI has to start from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// Those that the firmware tries, in its order.
    pub entries: Vec<BootEntry>,
    /// The disks that have a partition table.
    pub disks: Vec<BootDisk>,
    /// Where the file is that firmware starts without an entry: `\EFI\BOOT\BOOTX64.EFI`.
    pub default: &'static str,
}

/// Why it would not start from any disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoBoot {
    /// No disk has a partition for UEFI; this one has others.
    NoEfiPartition {
        /// Its path.
        disk: String,
    },
    /// There is one, and nothing leads to it.
    NoEntry {
        /// Path of the disk.
        disk: String,
        /// Number of the partition.
        partition: u32,
    },
}

impl Boot {
    /// Why the firmware would find nothing to start, as far as that can be known. A machine without any partition table
    /// was not deployed yet.
    #[must_use]
    pub fn problem(&self) -> Option<NoBoot> {
        let all = || {
            let disks = self.disks.iter();
            disks.flat_map(|disk| {
                disk.partitions
                    .iter()
                    .map(move |partition| (disk, partition))
            })
        };
        let is_reached = |partition: &EfiPartition| {
            let mut entries = self.entries.iter();
            entries.any(|entry| entry.is_active && entry.partition == Some(partition.id))
        };
        // What could not be read may be there.
        if all().any(|(_, partition)| partition.has_default != Some(false) || is_reached(partition))
        {
            return None;
        }
        match all().next() {
            Some((disk, partition)) => Some(NoBoot::NoEntry {
                disk: disk.name.clone(),
                partition: partition.number,
            }),
            None => self.disks.first().map(|disk| NoBoot::NoEfiPartition {
                disk: disk.name.clone(),
            }),
        }
    }
}

/// The numbers in the variable `BootOrder`, as Linux shows it: behind four bytes of attributes.
#[must_use]
pub fn boot_order(variable: &[u8]) -> Option<Vec<u16>> {
    let (numbers, rest) = variable.get(4..)?.as_chunks::<2>();
    let numbers = numbers.iter().map(|bytes| u16::from_le_bytes(*bytes));
    rest.is_empty().then(|| numbers.collect())
}

/// Reads the variable `Boot####` of this number, as Linux shows it. `None`: it makes no sense.
#[must_use]
pub fn boot_entry(number: u16, variable: &[u8]) -> Option<BootEntry> {
    let option = variable.get(4..)?;
    let attributes = option.first_chunk::<4>()?;
    let paths_len = usize::from(u16::from_le_bytes(*option.get(4..)?.first_chunk()?));
    let (units, _) = option.get(6..)?.as_chunks::<2>();
    let units = units.iter().map(|bytes| u16::from_le_bytes(*bytes));
    let name: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    let paths = option.get(6 + 2 * (name.len() + 1)..)?.get(..paths_len)?;
    Some(BootEntry {
        number,
        name: String::from_utf16_lossy(&name),
        is_active: u32::from_le_bytes(*attributes) & ACTIVE != 0,
        partition: partition(paths),
    })
}

/// The partition that a list of device paths names: a node has a type, a subtype and its length in front.
fn partition(mut paths: &[u8]) -> Option<PartitionId> {
    while let [kind, sub, low, high, ..] = *paths {
        let len = usize::from(u16::from_le_bytes([low, high]));
        let node = paths.get(..len).filter(|_| len >= 4)?;
        if (kind, sub) == HARD_DRIVE {
            let number = u32::from_le_bytes(*node.get(4..)?.first_chunk()?);
            let signature: [u8; 16] = *node.get(24..)?.first_chunk()?;
            return match node.get(41)? {
                1 => {
                    let disk = u32::from_le_bytes(*signature.first_chunk()?);
                    Some(PartitionId::Mbr(disk, number))
                }
                2 => Some(PartitionId::Gpt(signature)),
                _ => None,
            };
        }
        // The end of all of them.
        if kind == END && sub == 0xff {
            return None;
        }
        paths = paths.get(len..)?;
    }
    None
}

/// `LOAD_OPTION_ACTIVE`.
const ACTIVE: u32 = 1;
/// Media device path, hard drive.
const HARD_DRIVE: (u8, u8) = (4, 1);
const END: u8 = 0x7f;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GUID: [u8; 16] = [7; 16];

    fn node(kind: u8, sub: u8, content: &[u8]) -> Vec<u8> {
        let len = u16::try_from(4 + content.len()).unwrap().to_le_bytes();
        [&[kind, sub, len[0], len[1]], content].concat()
    }

    fn hard_drive(number: u32, signature: [u8; 16], kind: u8) -> Vec<u8> {
        let mut content = number.to_le_bytes().to_vec();
        content.extend(2048_u64.to_le_bytes());
        content.extend(131_072_u64.to_le_bytes());
        content.extend(signature);
        content.extend([2, kind]);
        node(4, 1, &content)
    }

    fn variable(attributes: u32, name: &str, paths: &[u8]) -> Vec<u8> {
        let mut bytes = vec![7, 0, 0, 0];
        bytes.extend(attributes.to_le_bytes());
        bytes.extend(u16::try_from(paths.len()).unwrap().to_le_bytes());
        bytes.extend(name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
        bytes.extend_from_slice(paths);
        bytes
    }

    #[test]
    fn entries_are_read() {
        assert_eq!(
            boot_order(&[7, 0, 0, 0, 1, 0, 0, 0x20]),
            Some(vec![1, 0x2000])
        );
        assert_eq!(boot_order(&[7, 0, 0, 0, 1]), None);
        let end = node(0x7f, 0xff, &[]);
        let file = node(4, 4, b"\\\0x\0\0\0");
        let paths = [hard_drive(1, GUID, 2), file, end.clone()].concat();
        let mut bytes = variable(1, "Windows Boot Manager", &paths);
        // Data for the boot loader.
        bytes.extend([9; 100]);
        let entry = boot_entry(3, &bytes).unwrap();
        assert_eq!(entry.name, "Windows Boot Manager");
        assert!(entry.is_active);
        assert_eq!(entry.partition, Some(PartitionId::Gpt(GUID)));
        // A disk with its controller in front, in an MBR; switched off.
        let mut signature = [0; 16];
        signature[..4].copy_from_slice(&0x1234_5678_u32.to_le_bytes());
        let pci = [
            node(2, 1, &[0; 8]),
            node(1, 1, &[0; 2]),
            hard_drive(3, signature, 1),
            end.clone(),
        ];
        let entry = boot_entry(4, &variable(0, "x", &pci.concat())).unwrap();
        assert!(!entry.is_active);
        assert_eq!(entry.partition, Some(PartitionId::Mbr(0x1234_5678, 3)));
        // The network.
        let network = [node(3, 11, &[0; 33]), end].concat();
        assert_eq!(
            boot_entry(5, &variable(1, "PXE", &network))
                .unwrap()
                .partition,
            None
        );
        for cut in 0..30 {
            assert_eq!(boot_entry(3, &bytes[..cut]), None, "{cut}");
        }
    }

    fn boot(entries: &[(bool, [u8; 16])], partitions: &[Option<bool>]) -> Boot {
        let entries = entries.iter().map(|&(is_active, guid)| BootEntry {
            number: 1,
            name: String::new(),
            is_active,
            partition: Some(PartitionId::Gpt(guid)),
        });
        let partitions = partitions.iter().map(|&has_default| EfiPartition {
            number: 2,
            id: PartitionId::Gpt(GUID),
            has_default,
        });
        let disk = |name: &str, partitions| BootDisk {
            name: name.to_owned(),
            partitions,
        };
        Boot {
            entries: entries.collect(),
            disks: vec![
                disk("/dev/sda", Vec::new()),
                disk("/dev/sdb", partitions.collect()),
            ],
            default: "",
        }
    }

    #[test]
    fn a_disk_that_nothing_leads_to_is_named() {
        let other = [8; 16];
        let missing = NoBoot::NoEntry {
            disk: "/dev/sdb".into(),
            partition: 2,
        };
        for entries in [&[][..], &[(true, other)], &[(false, GUID)]] {
            assert_eq!(
                boot(entries, &[Some(false)]).problem(),
                Some(missing.clone())
            );
            for has_default in [Some(true), None] {
                assert_eq!(boot(entries, &[has_default]).problem(), None);
            }
        }
        assert_eq!(
            boot(&[(true, other), (true, GUID)], &[Some(false)]).problem(),
            None
        );
        let without = NoBoot::NoEfiPartition {
            disk: "/dev/sda".into(),
        };
        assert_eq!(boot(&[(true, GUID)], &[]).problem(), Some(without));
        let empty = Boot {
            disks: Vec::new(),
            ..boot(&[], &[])
        };
        assert_eq!(empty.problem(), None, "it was not deployed yet");
    }

    proptest! {
        #[test]
        fn no_variable_does_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200),
                                 paths in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = (boot_order(&bytes), boot_entry(1, &bytes));
            drop(boot_entry(1, &variable(1, "x", &paths)));
        }
    }
}
