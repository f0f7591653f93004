//! Clonezilla's layout of an image directory, as that of FOG.
//!
//! `disk` and `parts` name the captured disks and partitions (`sda`, `sda1`). Of each disk there are `sda-pt.sf` (a dump
//! of sfdisk), `sda-mbr` with `sda-hidden-data-after-mbr`, or `sda-gpt.gdisk` (a backup of sgdisk); of each partition
//! `sda1.ext4-ptcl-img.gz.aa`, `.ab`, ... or one file; of each swap space `swappt-sda3.info` with its UUID. Logical
//! volumes, encrypted partitions and images of other programs than partclone and partimage are refused.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use deploy_plan::{MAX_DISKS, Refusal, SmallFiles};
use fog::encoding::printable;
use fog::store::{Stream, StreamName};
use fog::task::ImageType;
use fos_api::{MAX_FILES, MAX_SMALL_FILE};

use super::files::{open, small_file};
use super::{Reason, Stop};

/// An image of Clonezilla.
#[derive(Debug)]
pub(super) struct Clonezilla {
    disk_count: usize,
    /// Under the names that FOG has for them.
    pub(super) files: SmallFiles,
    /// With the names that FOG has for them, and the files as they are called.
    pub(super) streams: Vec<Stream>,
}

impl Clonezilla {
    /// The type of the image; it may be asked for.
    pub(super) fn image_type(&self, asked: Option<ImageType>) -> Result<ImageType, Stop> {
        let own = match self.disk_count {
            1 => ImageType::SingleDisk,
            _ => ImageType::AllDisks,
        };
        match asked {
            Some(asked) if asked != own => Err(refused(format!(
                "an image of Clonezilla is laid out as it was captured: its type is {own}, not {asked}"
            ))),
            _ => Ok(own),
        }
    }
}

/// Reads the directory if its layout is Clonezilla's.
///
/// # Errors
/// It is, and it cannot be read or restored.
pub(super) fn look(path: &Path, names: &[String]) -> Result<Option<Clonezilla>, Stop> {
    let has = |name: &str| names.iter().any(|other| other == name);
    let has_table = names.iter().any(|name| name.ends_with(TABLE));
    if !has(PARTS) || has("d1.mbr") || !(has_table || has(DISK)) {
        return Ok(None);
    }
    if let Some((name, what)) = UNSUPPORTED.into_iter().find(|(name, _)| has(name)) {
        return Err(refused(format!(
            "the image has {what} ({name}), which this version cannot restore"
        )));
    }
    let directory = Directory { path, names };
    let disks = directory.words(DISK)?;
    let parts = directory.words(PARTS)?;
    if disks.is_empty() || disks.len() > MAX_DISKS || parts.len() > MAX_FILES {
        return Err(refused(format!(
            "the file {DISK} names {} disks, and {PARTS} {} partitions; 1 to {MAX_DISKS} disks are possible",
            disks.len(),
            parts.len()
        )));
    }
    if let Some(twice) = (1..disks.len()).find(|at| disks[..*at].contains(&disks[*at])) {
        return Err(refused(format!(
            "the file {DISK} names the disk {} twice",
            printable(&disks[twice], 40)
        )));
    }
    let mut files = SmallFiles::new();
    let mut swaps: BTreeMap<usize, String> = BTreeMap::new();
    for (number, disk) in (1..).zip(&disks) {
        files.insert(
            format!("d{number}.partitions"),
            directory.read(&format!("{disk}{TABLE}"))?,
        );
        files.insert(format!("d{number}.mbr"), directory.boot_area(disk)?);
    }
    for name in names {
        let part = name
            .strip_prefix(SWAP)
            .and_then(|rest| rest.strip_suffix(SWAP_END));
        let Some((disk, number)) = part.and_then(|part| place(&disks, part)) else {
            continue;
        };
        if let Some(uuid) = uuid(&directory.read(name)?) {
            let line = format!("{number} {uuid}\n");
            swaps.entry(disk).or_default().push_str(&line);
        }
    }
    for (disk, lines) in swaps {
        files.insert(format!("d{disk}.original.swapuuids"), lines.into_bytes());
    }
    let mut streams = Vec::new();
    for part in &parts {
        if has(&format!("{SWAP}{part}{SWAP_END}")) {
            continue;
        }
        let Some((disk, number)) = place(&disks, part) else {
            return Err(refused(format!(
                "the file {PARTS} names the partition {}, but the file {DISK} does not name its disk",
                printable(part, 40)
            )));
        };
        let name = StreamName::of_file(&format!("d{disk}p{number}.img"));
        let files = directory.pieces(part)?;
        streams.push((disk, number, Stream { name, files }));
    }
    streams.sort_by_key(|(disk, number, _)| (*disk, *number));
    Ok(Some(Clonezilla {
        disk_count: disks.len(),
        files,
        streams: streams.into_iter().map(|(_, _, stream)| stream).collect(),
    }))
}

struct Directory<'a> {
    path: &'a Path,
    names: &'a [String],
}

impl Directory<'_> {
    /// A file that has to be there, and small.
    fn read(&self, name: &str) -> Result<Vec<u8>, Stop> {
        if !self.names.iter().any(|other| other == name) {
            return Err(Refusal::MissingFile {
                name: printable(name, 80),
            }
            .into());
        }
        let path = self.path.join(name);
        let (_, len) = open(&path)?;
        if len > MAX_SMALL_FILE {
            let name = printable(name, 80);
            let limit = MAX_SMALL_FILE;
            return Err(Refusal::LargeFile { name, len, limit }.into());
        }
        Ok(small_file(&path, len)?)
    }

    /// The names in a file of names.
    fn words(&self, name: &str) -> Result<Vec<String>, Stop> {
        let bytes = self.read(name)?;
        let text = str::from_utf8(&bytes).with_context(|| format!("reading {name}"))?;
        let words = text.split_whitespace();
        let words: Vec<String> = words.map(str::to_owned).collect();
        let is_plain = |word: &String| {
            let mut chars = word.chars();
            word.len() <= MAX_NAME
                && chars.all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        };
        match words.iter().find(|word| !is_plain(word)) {
            Some(word) => Err(refused(format!(
                "the file {name} has {:?}, which is no name of a disk or partition",
                printable(word, 40)
            ))),
            None => Ok(words),
        }
    }

    /// What FOG has as `dN.mbr`.
    fn boot_area(&self, disk: &str) -> Result<Vec<u8>, Stop> {
        let has = |name: &String| self.names.contains(name);
        let backup = format!("{disk}-gpt.gdisk");
        if has(&backup) {
            return self.read(&backup);
        }
        let mut area = self.read(&format!("{disk}-mbr"))?;
        area.truncate(SECTOR);
        let hidden = format!("{disk}-hidden-data-after-mbr");
        if area.len() == SECTOR && has(&hidden) {
            area.extend(self.read(&hidden)?);
        }
        Ok(area)
    }

    /// The files with the data of a partition, in their order.
    fn pieces(&self, part: &str) -> Result<Vec<String>, Stop> {
        let mut stems: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let of_part = self.names.iter().filter_map(|name| {
            let rest = name.strip_prefix(part)?.strip_prefix('.')?;
            is_data(rest).then_some(name.as_str())
        });
        let of_part: Vec<&str> = of_part.collect();
        for name in &of_part {
            let stem = name.rsplit_once('.').filter(|(stem, suffix)| {
                // gz and xz are two letters, too.
                is_piece(suffix) && of_part.contains(&format!("{stem}.aa").as_str())
            });
            stems
                .entry(stem.map_or(*name, |(stem, _)| stem))
                .or_default()
                .push(name);
        }
        let mut found = stems.into_iter();
        let (Some((stem, mut names)), None) = (found.next(), found.next()) else {
            return Err(refused(match of_part.first() {
                None => format!("there is no file with the data of {part} ({part}.*-ptcl-img.*)"),
                Some(name) => format!(
                    "there are several images of {part}, one of them is {}",
                    printable(name, 80)
                ),
            }));
        };
        if let Some(program) = other_program(stem.strip_prefix(part).unwrap_or(stem)) {
            return Err(refused(format!(
                "{} is an image of {program}, which this version cannot restore; restore it with Clonezilla",
                printable(stem, 80)
            )));
        }
        names.sort_unstable();
        if names != [stem] {
            for (name, suffix) in names.iter().zip(suffixes()) {
                let expected = format!("{stem}.{suffix}");
                if **name != expected {
                    return Err(Stop::Refused(Reason {
                        code: "incomplete",
                        is_about_disk: false,
                        text: format!("the piece {} is missing", printable(&expected, 80)),
                    }));
                }
            }
        }
        Ok(names.into_iter().map(str::to_owned).collect())
    }
}

/// The number of the disk, counted from 1, and of its partition that this name means.
fn place(disks: &[String], part: &str) -> Option<(usize, u32)> {
    (1..).zip(disks).find_map(|(number, disk)| {
        let rest = part.strip_prefix(disk.as_str())?;
        // sda1, but nvme0n1p1.
        let ends_with_digit = disk.ends_with(|c: char| c.is_ascii_digit());
        let digits = match ends_with_digit {
            true => rest.strip_prefix('p')?,
            false => rest,
        };
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
        let partition = digits.parse().ok().filter(|_| is_plain)?;
        Some((number, partition))
    })
}

/// Whether the part of a file's name behind that of its partition is that of data.
fn is_data(rest: &str) -> bool {
    let is_image = rest.ends_with("-img") || rest.contains("-img.");
    // Of partimage.
    is_image || is_piece(rest) || (rest.len() == 3 && rest.bytes().all(|b| b.is_ascii_digit()))
}

fn is_piece(suffix: &str) -> bool {
    suffix.len() == 2 && suffix.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// `aa`, `ab`, and so on.
fn suffixes() -> impl Iterator<Item = String> {
    let letters = || 'a'..='z';
    letters().flat_map(move |first| letters().map(move |second| format!("{first}{second}")))
}

/// The program whose images have such a name, if it is one whose images cannot be read.
fn other_program(rest: &str) -> Option<&'static str> {
    let is = |kind: &str| rest.contains(kind);
    if is(".ntfs-img") {
        Some("ntfsclone")
    } else if is(".dd-img") {
        Some("dd")
    } else {
        None
    }
}

/// The UUID in what `blkid` says of a swap space.
fn uuid(info: &[u8]) -> Option<disk::Uuid> {
    let text = str::from_utf8(info).ok()?;
    let value = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix("UUID="))?;
    disk::Uuid::try_parse(value.trim_matches('"')).ok()
}

fn refused(text: String) -> Stop {
    Stop::Refused(Reason {
        code: "clonezilla",
        is_about_disk: false,
        text,
    })
}

const PARTS: &str = "parts";
const DISK: &str = "disk";
const TABLE: &str = "-pt.sf";
const SWAP: &str = "swappt-";
const SWAP_END: &str = ".info";
const SECTOR: usize = 512;
/// Longest name of a disk or partition.
const MAX_NAME: usize = 64;
/// Files that show what cannot be restored.
const UNSUPPORTED: [(&str, &str); 3] = [
    ("lvm_vg_dev.list", "logical volumes"),
    ("luks-dev.list", "encrypted partitions"),
    ("ecryptfs.info", "encrypted directories"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Result<Option<Clonezilla>, Stop> {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let names: Vec<String> = files.iter().map(|(name, _)| (*name).to_owned()).collect();
        look(directory.path(), &names)
    }

    fn refusal(files: &[(&str, &str)]) -> String {
        match found(files) {
            Err(Stop::Refused(reason)) => reason.text,
            Err(Stop::Failed(error)) => panic!("{error:#}"),
            Ok(found) => panic!("{found:?}"),
        }
    }

    const BASE: [(&str, &str); 5] = [
        ("disk", "sda\n"),
        ("parts", "sda1 sda2 sda3\n"),
        ("sda-pt.sf", "label: gpt\n"),
        ("sda-gpt.gdisk", "backup"),
        (
            "swappt-sda2.info",
            "UUID=\"0c0ffee0-0000-4000-8000-00000000abcd\"\nLABEL=\"\"\n",
        ),
    ];

    fn with(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
        [&BASE[..], more].concat()
    }

    #[test]
    fn the_files_get_the_names_that_fog_has() {
        let image = found(&with(&[
            ("sda1.vfat-ptcl-img.gz.aa", "x"),
            ("sda3.ext4-ptcl-img.zst.ab", "y"),
            ("sda3.ext4-ptcl-img.zst.aa", "x"),
            ("sda3.info", "not data"),
        ]));
        let image = image.ok().flatten().unwrap();
        assert_eq!(image.files["d1.partitions"], b"label: gpt\n");
        assert_eq!(image.files["d1.mbr"], b"backup");
        let swap = "2 0c0ffee0-0000-4000-8000-00000000abcd\n";
        assert_eq!(image.files["d1.original.swapuuids"], swap.as_bytes());
        let streams: Vec<_> = image
            .streams
            .iter()
            .map(|stream| (stream.name.as_str(), stream.files.len()))
            .collect();
        assert_eq!(streams, [("d1p1.img", 1), ("d1p3.img", 2)]);
        assert_eq!(image.streams[1].files[0], "sda3.ext4-ptcl-img.zst.aa");
        assert!(image.image_type(None).ok() == Some(ImageType::SingleDisk));
        assert!(image.image_type(Some(ImageType::Resizable)).is_err());
    }

    #[test]
    fn a_boot_area_is_put_together() {
        let sector = "m".repeat(512);
        let image = found(&[
            ("disk", "sda nvme0n1"),
            ("parts", "nvme0n1p10\nsda1"),
            ("sda-pt.sf", ""),
            ("sda-mbr", &sector),
            ("sda-hidden-data-after-mbr", "grub"),
            ("nvme0n1-pt.sf", ""),
            ("nvme0n1-mbr", &sector),
            ("sda1.ext4-ptcl-img.gz", "x"),
            ("nvme0n1p10.ntfs-ptcl-img.xz", "x"),
        ]);
        let image = image.ok().flatten().unwrap();
        assert_eq!(image.files["d1.mbr"], format!("{sector}grub").as_bytes());
        assert_eq!(image.files["d2.mbr"], sector.as_bytes());
        let streams: Vec<_> = image
            .streams
            .iter()
            .map(|stream| stream.name.as_str())
            .collect();
        assert_eq!(streams, ["d1p1.img", "d2p10.img"]);
        assert!(image.image_type(None).ok() == Some(ImageType::AllDisks));
    }

    #[test]
    fn what_cannot_be_restored_is_refused_with_its_name() {
        let first = ("sda1.vfat-ptcl-img.gz.aa", "x");
        for (more, expected) in [
            (&[first][..], "data of sda3"),
            (&[first, ("sda3.ntfs-img.aa", "x")], "ntfsclone"),
            (&[first, ("sda3.dd-img.aa", "x")], "image of dd"),
            (
                &[first, ("sda3.a-img", "x"), ("sda3.b-img", "x")],
                "several images",
            ),
            (
                &[
                    first,
                    ("sda3.e-ptcl-img.gz.aa", "x"),
                    ("sda3.e-ptcl-img.gz.ac", "x"),
                ],
                "sda3.e-ptcl-img.gz.ab is missing",
            ),
            (&[("lvm_vg_dev.list", "x")], "logical volumes"),
            (&[("luks-dev.list", "x")], "encrypted"),
        ] {
            let text = refusal(&with(more));
            assert!(text.contains(expected), "{text}");
        }
        let data = ("sda1.ext4-ptcl-img.gz", "x");
        for (files, expected) in [
            (
                vec![
                    ("disk", "sda"),
                    ("parts", "md0"),
                    ("sda-pt.sf", ""),
                    ("sda-mbr", "x"),
                ],
                "md0",
            ),
            (
                vec![("disk", "../x"), ("parts", "sda1")],
                "no name of a disk",
            ),
            (vec![("disk", ""), ("parts", "sda1")], "0 disks"),
            (vec![("disk", "sda"), ("parts", "sda1"), data], "sda-pt.sf"),
            (
                vec![("disk", "sda"), ("parts", "sda1"), ("sda-pt.sf", ""), data],
                "sda-mbr",
            ),
            (vec![("parts", "sda1"), ("sda-pt.sf", ""), data], "disk"),
        ] {
            let text = refusal(&files);
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn other_directories_are_not_clonezillas() {
        for files in [
            &[("parts", "x")][..],
            &[("d1.mbr", "x"), ("parts", "x"), ("disk", "x")],
            &[("disk", "x"), ("sda-pt.sf", "x")],
        ] {
            assert!(matches!(found(files), Ok(None)));
        }
    }
}
