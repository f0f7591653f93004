//! GUID partition tables (UEFI specification 2.10, section 5.3).

use thiserror::Error;
use uuid::{Uuid, uuid};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::Shape;

mod backup;

use backup::BACKUP_SECTOR;
pub(super) use backup::{GptBackup, is_backup};

/// First octets of a header.
pub(super) const SIGNATURE: &[u8; 8] = b"EFI PART";
const HEADER_LEN: usize = 92;
const ENTRY_LEN: usize = 128;
/// Bound on the entries of one table. 128 entries of 128 octets are usual; this allows 64 times more.
const MAX_ENTRIES_LEN: usize = 1 << 20;

pub(super) const LINUX_SWAP: Uuid = uuid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f");
/// Space that Windows keeps free for itself: there is nothing in it.
pub(super) const MICROSOFT_RESERVED: Uuid = uuid!("e3c9e316-0b5c-4db8-817d-f92df00215ae");
/// Where UEFI firmware looks for boot loaders.
pub(super) const EFI_SYSTEM: Uuid = uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
const NAMES: [(Uuid, &str); 11] = [
    (EFI_SYSTEM, "EFI system"),
    (MICROSOFT_RESERVED, "Microsoft reserved"),
    (uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"), "basic data"),
    (
        uuid!("de94bba4-06d1-4d40-a16a-bfd50179d6ac"),
        "Windows recovery",
    ),
    (
        uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4"),
        "Linux file system",
    ),
    (LINUX_SWAP, "Linux swap"),
    (uuid!("e6d6d379-f507-44c2-a23c-238f2a3df928"), "Linux LVM"),
    (uuid!("a19d880f-05fc-4d3b-a006-743f0f84911e"), "Linux RAID"),
    (
        uuid!("4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),
        "Linux root (x86-64)",
    ),
    (uuid!("21686148-6449-6e6f-744e-656564454649"), "BIOS boot"),
    (uuid!("48465300-0000-11aa-aa11-00306543ecac"), "Apple HFS+"),
];

/// What people call a partition type.
pub(super) fn type_name(guid: &Uuid) -> Option<&'static str> {
    NAMES
        .iter()
        .find(|(known, _)| known == guid)
        .map(|(_, name)| *name)
}

/// Why octets are not a GPT.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum GptError {
    /// There are fewer octets than the header promises.
    #[error("it ends after {len} bytes, {needed} are needed; the file is truncated")]
    Truncated {
        /// Octets there are.
        len: usize,
        /// Octets needed.
        needed: usize,
    },
    /// A header without signature, or of a version that is not known.
    #[error("the {which} header is none: {what}")]
    Header {
        /// `primary` or `backup`.
        which: &'static str,
        /// What is wrong.
        what: String,
    },
    /// A checksum does not match.
    #[error(
        "the checksum of the {what} is {found:08x}, it should be {expected:08x}; the file is damaged"
    )]
    Checksum {
        /// Which part.
        what: &'static str,
        /// As recorded.
        expected: u32,
        /// As computed.
        found: u32,
    },
    /// Primary and backup header contradict one another.
    #[error("primary and backup header differ in the {0}")]
    Differ(&'static str),
    /// An entry whose end is in front of its start.
    #[error("partition {number} goes from sector {first} to {last}")]
    Entry {
        /// Its number.
        number: u32,
        /// First sector.
        first: u64,
        /// Last sector.
        last: u64,
    },
}

/// The header's defined part: 92 octets (table 5-5), the rest of its sector is zero.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct HeaderView {
    signature: [u8; 8],
    revision: U32,
    header_len: U32,
    header_crc: U32,
    reserved: U32,
    my_lba: U64,
    alternate_lba: U64,
    first_usable: U64,
    last_usable: U64,
    disk_guid: [u8; 16],
    entries_lba: U64,
    entry_count: U32,
    entry_len: U32,
    entries_crc: U32,
}

/// The first 128 octets of an entry (table 5-6); longer entries exist.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct EntryView {
    kind: [u8; 16],
    guid: [u8; 16],
    first: U64,
    last: U64,
    attributes: U64,
    name: [U16; 36],
}

const _: () = assert!(size_of::<HeaderView>() == HEADER_LEN && size_of::<EntryView>() == ENTRY_LEN);

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) number: u32,
    pub(super) kind: Uuid,
    pub(super) guid: Uuid,
    pub(super) first: u64,
    /// Inclusive, as on disk.
    pub(super) last: u64,
    pub(super) attributes: u64,
    pub(super) name: String,
}

/// A table with all its entries, used and unused.
///
/// Invariants: `entry_len` is 128 times a power of two, and `entries` is `entry_len` times some number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gpt {
    pub(super) disk_guid: Uuid,
    pub(super) first_usable: u64,
    /// Where the primary copy's entries begin; 2 unless somebody made room for a boot loader.
    pub(super) entries_lba: u64,
    pub(super) entry_len: usize,
    entries: Vec<u8>,
}

/// A header whose own checksum is right and whose figures are bounded.
struct Header {
    view: HeaderView,
    entry_len: usize,
    entries_len: usize,
}

impl Header {
    /// `sector` is the header's sector, or at least its first 512 octets.
    fn parse(sector: &[u8], which: &'static str) -> Result<Self, GptError> {
        let bad = |what: String| GptError::Header { which, what };
        let (view, _) = HeaderView::read_from_prefix(sector)
            .map_err(|_| bad("shorter than a header".to_owned()))?;
        if &view.signature != SIGNATURE {
            return Err(bad("no \"EFI PART\" signature".to_owned()));
        }
        if view.revision.get() >> 16 != 1 {
            return Err(bad(format!("revision {:#010x}", view.revision.get())));
        }
        let header_len = view.header_len.get() as usize;
        let header = sector
            .get(..header_len)
            .filter(|header| header.len() >= HEADER_LEN)
            .ok_or_else(|| bad(format!("a length of {header_len}")))?;
        let mut blanked = view;
        blanked.header_crc = U32::ZERO;
        let mut crc = crc32fast::Hasher::new();
        crc.update(blanked.as_bytes());
        crc.update(header.get(HEADER_LEN..).unwrap_or_default());
        check(
            view.header_crc.get(),
            crc.finalize(),
            match which {
                "primary" => "primary header",
                _ => "backup header",
            },
        )?;
        let entry_len = view.entry_len.get() as usize;
        let entries_len = (view.entry_count.get() as usize)
            .checked_mul(entry_len)
            .filter(|len| (1..=MAX_ENTRIES_LEN).contains(len));
        let is_multiple =
            entry_len.is_multiple_of(ENTRY_LEN) && (entry_len / ENTRY_LEN).is_power_of_two();
        match entries_len {
            Some(entries_len) if is_multiple => Ok(Self {
                view,
                entry_len,
                entries_len,
            }),
            _ => Err(bad(format!(
                "{} entries of {entry_len} octets",
                view.entry_count.get()
            ))),
        }
    }

    fn with_entries(&self, entries: &[u8]) -> Result<Gpt, GptError> {
        check(
            self.view.entries_crc.get(),
            crc32fast::hash(entries),
            "partition entries",
        )?;
        let gpt = Gpt {
            disk_guid: Uuid::from_bytes_le(self.view.disk_guid),
            first_usable: self.view.first_usable.get(),
            entries_lba: self.view.entries_lba.get(),
            entry_len: self.entry_len,
            entries: entries.to_vec(),
        };
        for entry in gpt.entries() {
            if entry.first > entry.last || entry.last == u64::MAX {
                return Err(GptError::Entry {
                    number: entry.number,
                    first: entry.first,
                    last: entry.last,
                });
            }
        }
        Ok(gpt)
    }
}

fn check(expected: u32, found: u32, what: &'static str) -> Result<(), GptError> {
    if expected == found {
        Ok(())
    } else {
        Err(GptError::Checksum {
            what,
            expected,
            found,
        })
    }
}

/// Where the parts of a table are on a disk; all in logical sectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placement {
    pub(super) first_usable: u64,
    pub(super) last_usable: u64,
    entries_sectors: u64,
    entries_lba: u64,
    backup_entries_lba: u64,
    last_lba: u64,
}

impl Gpt {
    /// The used entries in order of their numbers.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.entries
            .chunks_exact(self.entry_len)
            .zip(1_u32..)
            .filter_map(|(bytes, number)| {
                let (view, _) = EntryView::read_from_prefix(bytes).ok()?;
                (view.kind != [0; 16]).then(|| Entry {
                    number,
                    kind: Uuid::from_bytes_le(view.kind),
                    guid: Uuid::from_bytes_le(view.guid),
                    first: view.first.get(),
                    last: view.last.get(),
                    attributes: view.attributes.get(),
                    name: char::decode_utf16(view.name.iter().map(|unit| unit.get()))
                        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
                        .take_while(|c| *c != '\0')
                        .collect(),
                })
            })
    }

    /// Changes place, type and GUID of a used entry; everything else in it stays. False if there is no
    /// such entry.
    pub(super) fn set_entry(&mut self, entry: &Entry) -> bool {
        let bytes = (entry.number as usize)
            .checked_sub(1)
            .and_then(|index| self.entries.chunks_exact_mut(self.entry_len).nth(index));
        let Some(Ok((view, _))) = bytes.map(EntryView::mut_from_prefix) else {
            return false;
        };
        if view.kind == [0; 16] {
            return false;
        }
        view.kind = entry.kind.to_bytes_le();
        view.guid = entry.guid.to_bytes_le();
        view.first = entry.first.into();
        view.last = entry.last.into();
        true
    }

    /// Sectors of the smallest disk that has room for the partitions where they are and for the backup
    /// copy behind them.
    pub(super) fn sectors_needed(&self, logical_sector: u32) -> u64 {
        let entries_sectors = self.entries.len().div_ceil(logical_sector as usize) as u64;
        let last_used = self.entries().map(|entry| entry.last).max();
        last_used
            .unwrap_or_default()
            .saturating_add(entries_sectors)
            .saturating_add(2)
    }

    /// Where this table goes on a disk: primary copy as it was, backup at the end. `None` if the disk is
    /// too small for the table alone.
    pub(super) fn place(&self, disk: &Shape) -> Option<Placement> {
        let sector = disk.logical_sector as usize;
        let entries_sectors = self.entries.len().div_ceil(sector) as u64;
        let entries_lba = self.entries_lba.max(2);
        let last_lba = disk.sectors().checked_sub(1)?;
        let backup_entries_lba = last_lba.checked_sub(entries_sectors)?;
        let entries_end = entries_lba.checked_add(entries_sectors)?;
        let first_used = self.entries().map(|entry| entry.first).min();
        let first_usable = self
            .first_usable
            .min(first_used.unwrap_or(u64::MAX))
            .max(entries_end);
        let last_usable = backup_entries_lba.checked_sub(1)?;
        (first_usable <= last_usable).then_some(Placement {
            first_usable,
            last_usable,
            entries_sectors,
            entries_lba,
            backup_entries_lba,
            last_lba,
        })
    }

    /// The four parts with their sectors, whole sectors each: backup entries, backup header, primary
    /// entries, primary header.
    pub(super) fn emit(&self, at: &Placement, disk: &Shape) -> [(&'static str, u64, Vec<u8>); 4] {
        let sector = disk.logical_sector as usize;
        let mut entries = self.entries.clone();
        entries.resize(entries.len().next_multiple_of(sector), 0);
        let header = |my_lba, alternate_lba, entries_lba| {
            let mut bytes = self.header(at, my_lba, alternate_lba, entries_lba);
            bytes.resize(sector, 0);
            bytes
        };
        let backup = header(at.last_lba, 1, at.backup_entries_lba);
        let primary = header(1, at.last_lba, at.entries_lba);
        [
            ("backup GPT entries", at.backup_entries_lba, entries.clone()),
            ("backup GPT header", at.last_lba, backup),
            ("primary GPT entries", at.entries_lba, entries),
            ("primary GPT header", 1, primary),
        ]
    }

    /// The table as gdisk saves it: protective MBR, primary header, backup header, entries; the first three have 512
    /// octets each, whatever the disk's sectors are.
    pub(super) fn backup_file(&self, mbr: &[u8], at: &Placement) -> Vec<u8> {
        let mut bytes = mbr.to_vec();
        bytes.resize(BACKUP_SECTOR, 0);
        for (own, other, entries) in [
            (1, at.last_lba, at.entries_lba),
            (at.last_lba, 1, at.backup_entries_lba),
        ] {
            let end = bytes.len() + BACKUP_SECTOR;
            bytes.extend(self.header(at, own, other, entries));
            bytes.resize(end, 0);
        }
        bytes.extend_from_slice(&self.entries);
        bytes
    }

    fn header(&self, at: &Placement, my_lba: u64, alternate_lba: u64, entries_lba: u64) -> Vec<u8> {
        let count = self.entries.len() / self.entry_len;
        let small = |n: usize| u32::try_from(n).expect("bounded by MAX_ENTRIES_LEN").into();
        let mut view = HeaderView {
            signature: *SIGNATURE,
            revision: 0x0001_0000.into(),
            header_len: small(HEADER_LEN),
            header_crc: U32::ZERO,
            reserved: U32::ZERO,
            my_lba: my_lba.into(),
            alternate_lba: alternate_lba.into(),
            first_usable: at.first_usable.into(),
            last_usable: at.last_usable.into(),
            disk_guid: self.disk_guid.to_bytes_le(),
            entries_lba: entries_lba.into(),
            entry_count: small(count),
            entry_len: small(self.entry_len),
            entries_crc: crc32fast::hash(&self.entries).into(),
        };
        view.header_crc = crc32fast::hash(view.as_bytes()).into();
        view.as_bytes().to_vec()
    }
}

impl Placement {
    /// The same with other bounds for partitions: those that the disk has.
    pub(super) fn with_usable(self, first_usable: u64, last_usable: u64) -> Self {
        Self {
            first_usable,
            last_usable,
            ..self
        }
    }

    /// First sector that the table itself does not need.
    pub(super) fn table_end(&self) -> u64 {
        self.entries_lba + self.entries_sectors
    }
}

/// A copy of a table read from a disk, with the sector of its other copy.
pub(super) struct GptCopy {
    pub(super) gpt: Gpt,
    pub(super) last_usable: u64,
    pub(super) alternate_lba: u64,
}

/// Reads the copy whose header is at `lba`; `Ok(None)` if there is no signature, or no such sector.
pub(super) fn read_copy<E: From<GptError>>(
    read: &mut dyn FnMut(u64, usize) -> Result<Vec<u8>, E>,
    lba: u64,
    disk: &Shape,
) -> Result<Option<GptCopy>, E> {
    let sector = u64::from(disk.logical_sector);
    let which = if lba == 1 { "primary" } else { "backup" };
    if lba >= disk.sectors() {
        return Ok(None);
    }
    let bytes = read(lba * sector, disk.logical_sector as usize)?;
    if bytes.get(..8) != Some(SIGNATURE) {
        return Ok(None);
    }
    let header = Header::parse(&bytes, which)?;
    let bad = |what: &str| GptError::Header {
        which,
        what: what.to_owned(),
    };
    if header.view.my_lba.get() != lba {
        return Err(bad("it belongs to another sector").into());
    }
    let offset = header
        .view
        .entries_lba
        .get()
        .checked_mul(sector)
        .filter(|offset| *offset < disk.size && disk.size - *offset >= header.entries_len as u64)
        .ok_or_else(|| bad("its entries are not on the disk"))?;
    let gpt = header.with_entries(&read(offset, header.entries_len)?)?;
    Ok(Some(GptCopy {
        gpt,
        last_usable: header.view.last_usable.get(),
        alternate_lba: header.view.alternate_lba.get(),
    }))
}

/// Where the primary headers in the first sectors of a disk say that their backups are, in bytes from
/// the start of the disk. Looked for at both sector sizes, since the disk may have been formatted
/// anew; a header with a wrong checksum counts too, for this only decides where to look.
pub(crate) fn backup_headers(front: &[u8]) -> Vec<u64> {
    [512_usize, 4096]
        .into_iter()
        .filter_map(|sector| {
            let (view, _) = HeaderView::read_from_prefix(front.get(sector..)?).ok()?;
            (&view.signature == SIGNATURE)
                .then(|| view.alternate_lba.get().checked_mul(sector as u64))?
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests;
