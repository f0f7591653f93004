//! FOG's early Windows images: `rec.img.000`, `rec.img.001` and `sys.img`, a boot area, and no list of partitions.
//!
//! The reserved partitions come first and keep their sizes, the system's is the last one and fills the disk.

use disk::{Kind, Shape, Table, TableFiles};
use fog::store::StreamName;
use fog::task::ImageType;
use fos_api::Manifest;

use crate::{Refusal, SmallFiles};

/// Whether a stream is of this layout.
pub(crate) fn is_name(name: &StreamName) -> bool {
    name.as_str() == SYSTEM || name.as_str().starts_with(RESERVED)
}

/// Whether the image is of this layout. FOG has it for resizable images alone.
pub(crate) fn is_legacy(manifest: &Manifest) -> bool {
    let mut streams = manifest.streams.iter();
    manifest.image_type == ImageType::Resizable && streams.any(|stream| is_name(&stream.name))
}

/// Checks that the streams of such an image are one for each partition.
///
/// # Errors
/// If they are not.
pub(crate) fn check(manifest: &Manifest) -> Result<(), Refusal> {
    let stranger = manifest
        .streams
        .iter()
        .find(|stream| !is_name(&stream.name));
    match stranger {
        _ if !is_legacy(manifest) => Ok(()),
        Some(stream) => Err(Refusal::Stream {
            name: stream.name.clone(),
        }),
        None => numbers(manifest).map(drop),
    }
}

/// The names in the order of their partitions.
fn numbers(manifest: &Manifest) -> Result<Vec<&StreamName>, Refusal> {
    let names = manifest.streams.iter().map(|stream| &stream.name);
    let (system, reserved): (Vec<_>, Vec<_>) = names.partition(|name| name.as_str() == SYSTEM);
    let is_in_order = reserved
        .iter()
        .enumerate()
        .all(|(at, name)| name.as_str() == format!("{RESERVED}{at:03}"));
    if system.len() != 1 || reserved.len() > MAX_RESERVED || !is_in_order {
        let streams = manifest.streams.iter();
        let names: Vec<_> = streams.take(8).map(|s| s.name.to_string()).collect();
        return Err(Refusal::Legacy {
            found: fog::encoding::printable(&names.join(", "), 200),
        });
    }
    Ok(reserved.into_iter().chain(system).collect())
}

/// The number of the partition that a stream belongs to.
pub(crate) fn partition(manifest: &Manifest, name: &StreamName) -> Option<u32> {
    let names = numbers(manifest).ok()?;
    let at = names.into_iter().position(|found| found == name)?;
    u32::try_from(at + 1).ok()
}

/// What takes the place of the files that such an image does not have.
pub(crate) struct Substitute {
    original: String,
    minimum: String,
    fixed: String,
}

impl Substitute {
    /// Reads the boot area. The system's partition is laid out anew from its start, and needs what its stream does.
    ///
    /// # Errors
    /// If there is no boot area, or it has not one partition for each stream.
    pub(crate) fn new(manifest: &Manifest, files: &SmallFiles) -> Result<Self, Refusal> {
        let area = files.get(BOOT_AREA).ok_or_else(|| Refusal::MissingFile {
            name: BOOT_AREA.into(),
        })?;
        let table = table(area)?;
        let partitions = table.map(|table| table.partitions).unwrap_or_default();
        let names = numbers(manifest)?;
        let is_one_each = partitions.len() == names.len()
            && (1..).zip(&partitions).all(|(number, partition)| {
                let is_plain = matches!(partition.kind, Kind::Mbr(_)) && !partition.is_extended;
                partition.number == number && is_plain
            });
        if !is_one_each {
            return Err(Refusal::LegacyTable {
                partitions: partitions.len(),
                streams: names.len(),
            });
        }
        let needed = manifest.streams.iter();
        let needed = needed.filter(|stream| stream.name.as_str() == SYSTEM);
        let needed = needed.map(|stream| stream.image.device_size).max();
        let needed = needed.unwrap_or_default().div_ceil(SECTOR);
        let dump = |last_size: Option<u64>| {
            let mut text = "label: dos\nunit: sectors\nsector-size: 512\n\n".to_owned();
            for (at, partition) in (1..).zip(&partitions) {
                let Kind::Mbr(kind) = partition.kind else {
                    continue;
                };
                let size = last_size.filter(|_| at == partitions.len());
                let line = format!(
                    "/dev/sda{} : start={}, size={}, type={kind:x}{}\n",
                    partition.number,
                    partition.offset / SECTOR,
                    size.unwrap_or(partition.len / SECTOR),
                    if partition.is_bootable {
                        ", bootable"
                    } else {
                        ""
                    }
                );
                text.push_str(&line);
            }
            text
        };
        let fixed: Vec<String> = (1..partitions.len()).map(|n| n.to_string()).collect();
        Ok(Self {
            original: dump(None),
            minimum: dump(Some(needed.max(1))),
            fixed: fixed.join(":"),
        })
    }

    /// The image's files with these in place of what is missing.
    pub(crate) fn complete<'a>(&'a self, files: TableFiles<'a>) -> TableFiles<'a> {
        TableFiles {
            partitions: Some(&self.original),
            minimum: Some(&self.minimum),
            fixed: Some(&self.fixed),
            ..files
        }
    }
}

/// The table in a boot area, wherever its partitions end.
fn table(area: &[u8]) -> Result<Option<Table>, Refusal> {
    let shape = Shape {
        size: u64::from(u32::MAX) * 2 * SECTOR,
        logical_sector: 512,
    };
    disk::read_table(&shape, &mut |offset, len| {
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(area.len());
        let mut bytes: Vec<u8> = area.iter().skip(start).take(len).copied().collect();
        bytes.resize(len, 0);
        Ok::<_, disk::PlanError>(bytes)
    })
    .map_err(Refusal::from)
}

const BOOT_AREA: &str = "d1.mbr";
const SYSTEM: &str = "sys.img";
const RESERVED: &str = "rec.img.";
/// Windows has had two of them at most.
const MAX_RESERVED: usize = 2;
/// Such images are older than disks with other sectors.
const SECTOR: u64 = 512;
