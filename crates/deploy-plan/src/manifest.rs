//! What can be judged of an image without a disk.

use std::collections::{BTreeSet, HashSet};

use fog::encoding::printable;
use fog::store::StreamName;
use fog::task::ImageType;
use fos_api::{
    ImageFormat, MAX_FILES, MAX_FILES_LEN, MAX_SMALL_FILE, MAX_STREAMS, Manifest, StreamFacts,
};

use crate::{Contradiction, Refusal, SmallFiles, legacy};

/// Most disks of an image. Each one is held open, with a partition table in memory.
pub const MAX_DISKS: usize = 32;

/// Checks the manifest as far as no disk is needed for it.
///
/// # Errors
/// What no disk could make possible.
pub fn check_manifest(manifest: &Manifest) -> Result<(), Refusal> {
    check_system(manifest.image_type, manifest.os_id)?;
    check_amounts(manifest)?;
    if manifest.streams.is_empty() {
        return Err(Refusal::NoStreams);
    }
    if manifest.image_type == ImageType::Raw && manifest.streams.len() > 1 {
        return Err(Refusal::SeveralRaw {
            count: manifest.streams.len(),
        });
    }
    legacy::check(manifest)?;
    let mut names = HashSet::new();
    for stream in &manifest.streams {
        let name = &stream.name;
        check_name(manifest.image_type, name)?;
        if !names.insert(name) {
            return Err(Refusal::Twice { name: name.clone() });
        }
        if !is_supported(manifest.image_type, &stream.image.format) {
            return Err(Refusal::Format {
                name: name.clone(),
                format: printable(stream.image.format.as_str(), 64),
            });
        }
        check_stream(stream)?;
    }
    Ok(())
}

fn check_stream(stream: &StreamFacts) -> Result<(), Refusal> {
    Contradiction::check(stream).map_err(|what| Refusal::Contradiction {
        name: stream.name.clone(),
        what,
    })
}

/// Whether a stream of this name has a place in an image of this type.
fn check_name(image_type: ImageType, name: &StreamName) -> Result<(), Refusal> {
    let id = name.partition().or_else(|| name.volume());
    let has_place = match image_type {
        // The name is shown.
        ImageType::Raw => !name.to_string().contains(char::is_control),
        ImageType::AllDisks => {
            if let Some(id) = id.filter(|id| !is_disk_number(id.disk)) {
                return Err(Refusal::DiskNumber { number: id.disk });
            }
            id.is_some()
        }
        ImageType::SingleDisk => id.is_some_and(|id| id.disk == 1),
        ImageType::Resizable => id.is_some_and(|id| id.disk == 1) || legacy::is_name(name),
    };
    if has_place {
        Ok(())
    } else {
        Err(Refusal::Stream { name: name.clone() })
    }
}

fn is_disk_number(number: u32) -> bool {
    usize::try_from(number).is_ok_and(|number| (1..=MAX_DISKS).contains(&number))
}

/// Whether a deploy can restore a stream of this format. Only a whole disk is ever stored without one.
fn is_supported(image_type: ImageType, format: &ImageFormat) -> bool {
    match format {
        ImageFormat::Partclone0001 | ImageFormat::Partclone0002 => true,
        ImageFormat::Partimage06 => image_type != ImageType::Raw,
        ImageFormat::Raw => image_type == ImageType::Raw,
        ImageFormat::Unknown(_) => false,
    }
}

/// Whether a client has the memory for all that is listed: for the files as such and as their sum.
fn check_amounts(manifest: &Manifest) -> Result<(), Refusal> {
    let counts = [
        ("files", manifest.files.len(), MAX_FILES),
        ("streams", manifest.streams.len(), MAX_STREAMS),
    ];
    for (what, found, limit) in counts {
        if found > limit {
            return Err(too_much(what, wide(found), wide(limit)));
        }
    }
    if let Some(file) = manifest.files.iter().find(|file| file.len > MAX_SMALL_FILE) {
        return Err(Refusal::LargeFile {
            name: printable(&file.name, 64),
            len: file.len,
            limit: MAX_SMALL_FILE,
        });
    }
    let lens = manifest.files.iter().map(|file| file.len);
    let all = lens.fold(0, u64::saturating_add);
    if all > MAX_FILES_LEN {
        return Err(too_much("bytes of files", all, MAX_FILES_LEN));
    }
    Ok(())
}

fn too_much(what: &'static str, found: u64, limit: u64) -> Refusal {
    Refusal::TooMuch { what, found, limit }
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// The numbers of the disks that an image is of, ascending. The disk with number `N` is the machine's `N`th.
///
/// # Errors
/// A number that no machine's disk has.
pub fn image_disks(manifest: &Manifest) -> Result<Vec<u32>, Refusal> {
    if manifest.image_type != ImageType::AllDisks {
        return Ok(vec![1]);
    }
    let streams = manifest.streams.iter();
    let streams = streams.filter_map(|stream| {
        let id = stream.name.partition().or_else(|| stream.name.volume());
        Some(id?.disk)
    });
    let tables = manifest.files.iter();
    let tables = tables.filter_map(|file| disk_number(&file.name, ".mbr"));
    let numbers: BTreeSet<u32> = streams.chain(tables).collect();
    if let Some(&number) = numbers.iter().find(|number| !is_disk_number(**number)) {
        return Err(Refusal::DiskNumber { number });
    }
    Ok(numbers.into_iter().collect())
}

/// The sizes in bytes that the disks had, as `dN.size` records them (contract: one line `N:bytes`), in the order
/// of `disks`.
///
/// # Errors
/// A file that says something else.
pub fn recorded_sizes(disks: &[u32], files: &SmallFiles) -> Result<Vec<Option<u64>>, Refusal> {
    let size = |number: &u32| {
        let name = format!("d{number}.size");
        let Some(bytes) = files.get(&name) else {
            return Ok(None);
        };
        let text = str::from_utf8(bytes).unwrap_or_default();
        let found = text.trim().split_once(':').and_then(|(disk, size)| {
            let is_this = disk.trim().parse() == Ok(*number);
            let size: u64 = size.trim().parse().ok()?;
            (is_this && size > 0).then_some(size)
        });
        found.map(Some).ok_or(Refusal::SizeFile { name })
    };
    disks.iter().map(size).collect()
}

/// The `N` of `dN` with this ending.
fn disk_number(name: &str, ending: &str) -> Option<u32> {
    let digits = name.strip_prefix('d')?.strip_suffix(ending)?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    digits.parse().ok().filter(|_| is_plain)
}

/// Whether an image of this type may have this operating system, FOG's number.
///
/// # Errors
/// It may not.
pub fn check_system(image_type: ImageType, os_id: i64) -> Result<(), Refusal> {
    match image_type == ImageType::Resizable && !RESIZABLE_SYSTEMS.contains(&os_id) {
        true => Err(Refusal::OsId { os_id }),
        false => Ok(()),
    }
}

/// FOG's operating systems whose images may be of type `n`.
const RESIZABLE_SYSTEMS: [i64; 11] = [1, 2, 4, 5, 6, 7, 9, 10, 11, 50, 51];

#[cfg(test)]
mod tests {
    use fos_api::SmallFile;

    use super::*;
    use crate::samples;

    #[test]
    fn disks_are_counted_by_their_files() {
        let mut manifest = samples::manifest();
        assert_eq!(image_disks(&manifest).unwrap(), [1]);
        manifest.image_type = ImageType::AllDisks;
        manifest.streams[1].name = StreamName::of_file("d3p1.img");
        for name in ["d2.mbr", "d02.mbr", "d4.mbr.old", "d5.partitions", "d.mbr"] {
            manifest.files.push(SmallFile {
                name: name.into(),
                len: 512,
                blake3: None,
            });
        }
        assert_eq!(image_disks(&manifest).unwrap(), [1, 2, 3]);
        check_manifest(&manifest).unwrap();
        manifest.streams[1].name = StreamName::of_file("d33p1.img");
        for refused in [image_disks(&manifest).map(drop), check_manifest(&manifest)] {
            let refused = refused.unwrap_err();
            assert!(matches!(refused, Refusal::DiskNumber { number: 33 }));
        }
        manifest.image_type = ImageType::SingleDisk;
        assert_eq!(image_disks(&manifest).unwrap(), [1]);
    }

    #[test]
    fn sizes_are_read_or_refused() {
        let sizes = |text: &str| {
            let files = SmallFiles::from([("d2.size".to_owned(), text.as_bytes().to_vec())]);
            recorded_sizes(&[1, 2], &files)
        };
        assert_eq!(
            sizes("2:64023257088\n").unwrap(),
            [None, Some(64_023_257_088)]
        );
        for text in [
            "",
            "1:64023257088",
            "2:0",
            "2:-1",
            "2",
            "2:99999999999999999999",
        ] {
            let refused = sizes(text).unwrap_err();
            assert!(refused.to_string().contains("d2.size"), "{refused}");
        }
    }
}
