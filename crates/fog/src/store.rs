//! The image store: file names, and which files make which stream in which order.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::lvm::Sidecar;
use crate::task::ImageType;

/// Name of a stream: the base name of its file, chunk suffix of a split image removed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StreamName(String);

impl StreamName {
    /// The stream that a file belongs to. Takes a path or a name, also with a trailing `*`.
    #[must_use]
    pub fn of_file(path: &str) -> Self {
        let base = path.rsplit('/').next().unwrap_or_default();
        let base = base.strip_suffix('*').unwrap_or(base);
        let base = base.strip_suffix('.').unwrap_or(base);
        let stem = match split_chunk(base) {
            // Each rec.img.NNN is a stream of its own.
            Some((stem, _)) if stem != "rec.img" => stem,
            _ => base,
        };
        Self(stem.to_owned())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Disk and partition number of a `dNpM.img` stream, both counted from 1.
    #[must_use]
    pub fn partition(&self) -> Option<PartitionId> {
        PartitionId::of_name(&self.0)
    }

    /// The partition of a volume whose stream this is (`dNpM.NAME.img`).
    #[must_use]
    pub fn volume(&self) -> Option<PartitionId> {
        PartitionId::of_volume(&self.0)
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which partition of which disk, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId {
    /// Disk number.
    pub disk: u32,
    /// Partition number, as in the partition table.
    pub partition: u32,
}

impl PartitionId {
    fn of_name(name: &str) -> Option<Self> {
        Self::of_stem(name.strip_suffix(".img")?)
    }

    /// Of `dNpM.NAME.img`, the image of a logical volume.
    #[must_use]
    pub fn of_volume(name: &str) -> Option<Self> {
        let (stem, volume) = name.strip_suffix(".img")?.split_once('.')?;
        let is_plain = !volume.is_empty() && !volume.contains('/');
        Self::of_stem(stem).filter(|_| is_plain)
    }

    /// Of `dNpM.lvm`, which says what a physical volume holds.
    #[must_use]
    pub fn of_sidecar(name: &str) -> Option<Self> {
        Self::of_stem(name.strip_suffix(".lvm")?)
    }

    fn of_stem(stem: &str) -> Option<Self> {
        let (disk, partition) = stem.strip_prefix('d')?.split_once('p')?;
        Some(Self {
            disk: counting_number(disk)?,
            partition: counting_number(partition)?,
        })
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "d{}p{}", self.disk, self.partition)
    }
}

fn counting_number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| is_plain)
}

/// One multicast stream: its name and the stored files whose bytes it carries, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// Name.
    pub name: StreamName,
    /// File names in the image directory; several for a split image.
    pub files: Vec<String>,
}

/// Why an image directory cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No file that would be sent.
    #[error(
        "no partition images found (expected names like {expected}); was the capture complete?"
    )]
    NoStreams {
        /// A pattern.
        expected: &'static str,
    },
    /// A chunk of a split image is missing.
    #[error(
        "chunk {missing} of {stream} is missing (found {found}); restore the file or capture the image again"
    )]
    Gap {
        /// The stream.
        stream: String,
        /// Name of the missing chunk.
        missing: String,
        /// The chunk that was found in its place.
        found: String,
    },
    /// A volume's image is missing.
    #[error(
        "{volume} is missing, which {partition}.lvm names; restore the file or capture the image again"
    )]
    Volume {
        /// The stream.
        volume: String,
        /// The partition.
        partition: PartitionId,
    },
    /// A partition was captured in both ways.
    #[error(
        "{partition} is there as a partition ({partition}.img) and volume by volume ({partition}.lvm): remove the files \
         of the earlier capture"
    )]
    Both {
        /// The partition.
        partition: PartitionId,
    },
    /// A whole-disk image of several files, which FOG would send as several streams.
    #[error("a raw disk image must be one file or numbered chunks of one; found {0}")]
    SeveralRaw(String),
}

/// The streams of an image in the order in which FOG sends them.
///
/// `files` are the names in the image directory; `os_id` is FOG's number of the operating
/// system, which selects the old Windows layouts. Natural order: `d1p2` before `d1p10`. A partition with one of
/// `sidecars` has a stream for each image that it names, in its order.
///
/// # Errors
/// If nothing is to be sent, a chunk of a split image is missing, or the image of a volume.
pub fn streams<S: AsRef<str>>(
    files: &[S],
    sidecars: &Sidecars,
    image_type: ImageType,
    os_id: i64,
) -> Result<Vec<Stream>, StoreError> {
    let names = files.iter().map(AsRef::as_ref);
    let is_old_windows = |name: &&str| {
        matches!(os_id, 1 | 2 | 5 | 6 | 7)
            && matches!(split_chunk(name), Some(("sys.img" | "rec.img", _)))
    };
    let is_partition = |name: &&str, any_disk: bool| {
        let id = StreamName::of_file(name).partition();
        id.is_some_and(|id| any_disk || id.disk == 1)
    };
    let chosen: Vec<&str> = match image_type {
        ImageType::Resizable => {
            let old: Vec<&str> = names.clone().filter(is_old_windows).collect();
            if old.is_empty() {
                names.filter(|name| is_partition(name, false)).collect()
            } else {
                old
            }
        }
        ImageType::SingleDisk => names.filter(|name| is_partition(name, false)).collect(),
        ImageType::AllDisks => names.filter(|name| is_partition(name, true)).collect(),
        ImageType::Raw => names.filter(|name| !name.starts_with('.')).collect(),
    };
    let mut streams = group(&chosen)?;
    if image_type != ImageType::Raw && !chosen.iter().any(is_old_windows) {
        let names: Vec<&str> = files.iter().map(AsRef::as_ref).collect();
        let any_disk = image_type == ImageType::AllDisks;
        let sidecars = sidecars.iter().filter(|(id, _)| any_disk || id.disk == 1);
        for (&id, sidecar) in sidecars {
            add_volumes(&mut streams, &names, id, sidecar)?;
        }
    }
    match (image_type, streams.len()) {
        (ImageType::Raw, 2..) => Err(StoreError::SeveralRaw(
            chosen.join(", ").chars().take(200).collect(),
        )),
        (ImageType::Raw, 0) => Err(StoreError::NoStreams {
            expected: "any single file",
        }),
        (_, 0) => Err(StoreError::NoStreams {
            expected: "d1p1.img",
        }),
        _ => Ok(streams),
    }
}

/// What was captured volume by volume, by partition.
pub type Sidecars = BTreeMap<PartitionId, Sidecar>;

/// Puts the streams of a partition's volumes at their place among the others, which are in order.
fn add_volumes(
    streams: &mut Vec<Stream>,
    names: &[&str],
    partition: PartitionId,
    sidecar: &Sidecar,
) -> Result<(), StoreError> {
    let owner = |stream: &Stream| stream.name.partition().or_else(|| stream.name.volume());
    if streams
        .iter()
        .any(|stream| owner(stream) == Some(partition))
    {
        return Err(StoreError::Both { partition });
    }
    let mut volumes = Vec::new();
    for image in sidecar.images() {
        let files = names
            .iter()
            .filter(|name| StreamName::of_file(name).0 == image);
        let files: Vec<&str> = files.copied().collect();
        let mut found = group(&files)?;
        let found = found.pop().ok_or_else(|| StoreError::Volume {
            volume: image.to_owned(),
            partition,
        })?;
        volumes.push(found);
    }
    let behind = streams
        .iter()
        .position(|stream| owner(stream) > Some(partition));
    let at = behind.unwrap_or(streams.len());
    streams.splice(at..at, volumes);
    Ok(())
}

/// Names of the two partitions of FOG's early Windows images, with or without a chunk number.
#[must_use]
pub fn is_legacy_name(name: &str) -> bool {
    matches!(name.get(..7), Some("sys.img" | "rec.img"))
}

/// The scripts in an image store that FOG's client runs: when it has started, and behind the data.
pub const SCRIPTS: [&str; 2] = [
    "dev/postinitscripts/fog.postinit",
    "postdownloadscripts/fog.postdownload",
];

/// Whether a script of a shell does anything. FOG's installer makes them with comments only.
#[must_use]
pub fn has_commands(script: &[u8]) -> bool {
    script.split(|byte| *byte == b'\n').any(|line| {
        let line = line.trim_ascii();
        !line.is_empty() && !line.starts_with(b"#")
    })
}

/// Whether clients may need the file: tables, boot areas, lists, never partition data.
#[must_use]
pub fn is_small_file(name: &str) -> bool {
    let Some(rest) = name.strip_prefix('d') else {
        return false;
    };
    let Some((number, suffix)) = rest.split_once('.') else {
        return false;
    };
    let is_number = |text: &str| {
        (1..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    match number.split_once('p') {
        Some((disk, partition)) => {
            is_number(disk) && is_number(partition) && matches!(suffix, "ebr" | "lvm" | "lvm.vgcfg")
        }
        None => {
            is_number(number)
                && matches!(
                    suffix,
                    "mbr"
                        | "grub.mbr"
                        | "has_grub"
                        | "partitions"
                        | "original.partitions"
                        | "minimum.partitions"
                        | "shrunken.partitions"
                        | "fixed_size_partitions"
                        | "original.fstypes"
                        | "original.swapuuids"
                        | "original.uuids"
                        | "size"
                )
        }
    }
}

/// Puts chunks together and checks that none is missing.
fn group(names: &[&str]) -> Result<Vec<Stream>, StoreError> {
    let mut by_stream: BTreeMap<NaturalKey, Stream> = BTreeMap::new();
    for name in names {
        let stream = StreamName::of_file(name);
        by_stream
            .entry(NaturalKey(stream.0.clone()))
            .or_insert_with(|| Stream {
                name: stream,
                files: Vec::new(),
            })
            .files
            .push((*name).to_owned());
    }
    let mut streams: Vec<Stream> = by_stream.into_values().collect();
    for Stream { name, files } in &mut streams {
        files.sort_by(|a, b| natural_cmp(a, b));
        check_chunks(name, files)?;
    }
    Ok(streams)
}

/// Chunks are counted from `.000`, or from the bare name followed by `.001`.
fn check_chunks(name: &StreamName, files: &[String]) -> Result<(), StoreError> {
    // Also rec.img.NNN: streams of one file each, with any number.
    if files.len() == 1 && files[0] == name.0 {
        return Ok(());
    }
    for (number, file) in (0_u32..).zip(files) {
        let expected = format!("{name}.{number:03}");
        let is_expected = *file == expected || (number == 0 && *file == name.0);
        if !is_expected {
            return Err(StoreError::Gap {
                stream: name.to_string(),
                missing: expected,
                found: file.clone(),
            });
        }
    }
    Ok(())
}

/// Splits `stem.NNN` (three digits or more).
fn split_chunk(name: &str) -> Option<(&str, u32)> {
    let (stem, number) = name.rsplit_once('.')?;
    let is_number = number.len() >= 3 && number.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || stem.is_empty() {
        return None;
    }
    Some((stem, number.parse().ok()?))
}

#[derive(PartialEq, Eq)]
struct NaturalKey(String);

impl Ord for NaturalKey {
    fn cmp(&self, other: &Self) -> Ordering {
        natural_cmp(&self.0, &other.0)
    }
}

impl PartialOrd for NaturalKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Natural order, case-insensitive: runs of digits compare as numbers, so `d1p2` comes before
/// `d1p10`. A total order: names that differ only in case or leading zeros compare by bytes.
#[must_use]
pub fn natural_cmp(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a.as_bytes(), b.as_bytes());
    loop {
        let (Some(&first), Some(&second)) = (x.first(), y.first()) else {
            break x.len().cmp(&y.len());
        };
        let ordering = if first.is_ascii_digit() && second.is_ascii_digit() {
            let (left, right) = (take_digits(&mut x), take_digits(&mut y));
            left.len().cmp(&right.len()).then_with(|| left.cmp(right))
        } else {
            (x, y) = (&x[1..], &y[1..]);
            first.to_ascii_lowercase().cmp(&second.to_ascii_lowercase())
        };
        if ordering.is_ne() {
            return ordering;
        }
    }
    .then_with(|| a.cmp(b))
}

/// Takes a run of digits off the front; leading zeros do not count.
fn take_digits<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(len);
    *text = rest;
    let zeros = digits.iter().take_while(|&&byte| byte == b'0').count();
    &digits[zeros..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(streams: &[Stream]) -> Vec<(&str, Vec<&str>)> {
        streams
            .iter()
            .map(|stream| {
                let files = stream.files.iter().map(String::as_str).collect();
                (stream.name.as_str(), files)
            })
            .collect()
    }

    #[test]
    fn partitions_are_sent_in_natural_order() {
        let files = [
            "d1p1.img",
            "d1p10.img",
            "d1p2.img",
            "d1.mbr",
            "d1p3.ebr",
            "D1P4.img",
            "d2p1.img",
        ];
        let found = streams(&files, &Sidecars::new(), ImageType::SingleDisk, 9).unwrap();
        assert_eq!(
            names(&found),
            [
                ("d1p1.img", vec!["d1p1.img"]),
                ("d1p2.img", vec!["d1p2.img"]),
                ("d1p10.img", vec!["d1p10.img"]),
            ]
        );
        let all = streams(&files, &Sidecars::new(), ImageType::AllDisks, 9).unwrap();
        assert_eq!(all.last().unwrap().name.as_str(), "d2p1.img");
    }

    #[test]
    fn old_windows_layout_is_sent_as_fog_does() {
        let files = ["rec.img.001", "sys.img.001", "rec.img.000", "sys.img.000"];
        let found = streams(&files, &Sidecars::new(), ImageType::Resizable, 5).unwrap();
        assert_eq!(
            names(&found),
            [
                ("rec.img.000", vec!["rec.img.000"]),
                ("rec.img.001", vec!["rec.img.001"]),
                ("sys.img", vec!["sys.img.000", "sys.img.001"]),
            ]
        );
        assert!(streams(&files, &Sidecars::new(), ImageType::Resizable, 9).is_err());
    }

    #[test]
    fn split_images_are_one_stream_and_gaps_are_found() {
        for files in [
            &["d1p1.img.001", "d1p1.img"][..],
            &["d1p1.img.000", "d1p1.img.001"],
            &["d1p1.img.000"],
        ] {
            let found = streams(files, &Sidecars::new(), ImageType::SingleDisk, 9).unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].name.as_str(), "d1p1.img");
            assert_eq!(found[0].files.len(), files.len());
        }
        for files in [
            &["d1p1.img", "d1p1.img.002"][..],
            &["d1p1.img.001"],
            &["d1p1.img", "d1p1.img.000"],
            &["d1p1.img.000", "d1p1.img.001", "d1p1.img.003"],
        ] {
            let error = streams(files, &Sidecars::new(), ImageType::SingleDisk, 9).unwrap_err();
            assert!(matches!(error, StoreError::Gap { .. }), "{files:?}");
        }
    }

    #[test]
    fn small_files_are_known_by_their_names() {
        for name in [
            "d1.mbr",
            "d12.partitions",
            "d1.fixed_size_partitions",
            "d2.size",
            "d1p5.ebr",
            "d1p2.lvm.vgcfg",
        ] {
            assert!(is_small_file(name), "{name}");
        }
        for name in [
            "d1p1.img",
            "d.mbr",
            "d1000.mbr",
            "d1p5.mbr",
            "D1.mbr",
            "d1.mbr.old",
            "x",
        ] {
            assert!(!is_small_file(name), "{name}");
        }
        assert!(is_legacy_name("sys.img.000") && is_legacy_name("rec.img"));
        assert!(!is_legacy_name("d1p1.img") && !is_legacy_name("sys"));
    }

    #[test]
    fn a_script_of_comments_does_nothing() {
        for script in ["", "#!/bin/bash\n\n  # x\n\t\r\n", "## y"] {
            assert!(!has_commands(script.as_bytes()), "{script:?}");
        }
        for script in ["#!/bin/sh\n. ${postdownpath}x", "x # y", "\u{fffd}"] {
            assert!(has_commands(script.as_bytes()), "{script:?}");
        }
    }

    #[test]
    fn raw_images_are_one_stream() {
        let found = streams(
            &["disk.000", "disk.001"],
            &Sidecars::new(),
            ImageType::Raw,
            9,
        )
        .unwrap();
        assert_eq!(names(&found), [("disk", vec!["disk.000", "disk.001"])]);
        assert!(streams(&["a", "b"], &Sidecars::new(), ImageType::Raw, 9).is_err());
        assert!(streams::<&str>(&[], &Sidecars::new(), ImageType::Raw, 9).is_err());
    }

    #[test]
    fn volumes_are_sent_in_the_order_of_their_sidecar() {
        let id = PartitionId {
            disk: 1,
            partition: 3,
        };
        let text = "LVMFORMAT 1\nPV a /dev/sda3 2048\nVG g b 8\nLV z c 16 ext4 d1p3.z.img -\n\
                    LV s d 16 swap - -\nLV a e 16 xfs d1p3.a.img -\n";
        let sidecars = Sidecars::from([(id, Sidecar::parse(id, text).unwrap())]);
        let mut files = vec![
            "d1p1.img",
            "d1p10.img",
            "d1p3.a.img.000",
            "d1p3.a.img.001",
            "d1p3.lvm",
            "d1p3.z.img",
            "d2p1.img",
        ];
        for (image_type, count) in [(ImageType::SingleDisk, 4), (ImageType::AllDisks, 5)] {
            let found = streams(&files, &sidecars, image_type, 50).unwrap();
            assert_eq!(
                names(&found)[..4],
                [
                    ("d1p1.img", vec!["d1p1.img"]),
                    ("d1p3.z.img", vec!["d1p3.z.img"]),
                    ("d1p3.a.img", vec!["d1p3.a.img.000", "d1p3.a.img.001"]),
                    ("d1p10.img", vec!["d1p10.img"]),
                ]
            );
            assert_eq!(found.len(), count);
        }
        let found = |files: &[&str]| streams(files, &sidecars, ImageType::SingleDisk, 50);
        files.push("d1p3.img");
        assert_eq!(found(&files), Err(StoreError::Both { partition: id }));
        let missing = found(&files[..5]).unwrap_err();
        assert!(
            missing.to_string().contains("d1p3.z.img is missing"),
            "{missing}"
        );
    }

    #[test]
    fn names_give_disk_and_partition() {
        let id = |name| StreamName::of_file(name).partition();
        assert_eq!(
            id("/images/x/d2p13.img*"),
            Some(PartitionId {
                disk: 2,
                partition: 13
            })
        );
        for name in [
            "d1.img",
            "d1p0.img",
            "d01p1.img",
            "dp.img",
            "d1p+1.img",
            "sys.img",
            "d1p99999999999.img",
        ] {
            assert_eq!(id(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn natural_order_is_total(a in "[aA0-2.]{0,6}", b in "[aA0-2.]{0,6}", c in "[aA0-2.]{0,6}") {
            prop_assert_eq!(natural_cmp(&a, &b), natural_cmp(&b, &a).reverse());
            prop_assert_eq!(natural_cmp(&a, &b).is_eq(), a == b);
            if natural_cmp(&a, &b).is_le() && natural_cmp(&b, &c).is_le() {
                prop_assert!(natural_cmp(&a, &c).is_le());
            }
        }
    }
}
