//! Lists an image directory and sorts its files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use fog::store::{StoreError, Stream};
use fog::task::ImageType;
use fos_api::MAX_SMALL_FILE;

use crate::domain::image::{Place, StoredFile};
use crate::imagestore::source::mtime_nanos;

/// Longest name of an image directory, in bytes: file systems take no longer ones.
const MAX_PATH: usize = 255;

/// The files of an image.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Streams in sending order.
    pub streams: Vec<Stream>,
    /// Files of the streams and the small files that clients need.
    pub files: Vec<StoredFile>,
    /// Names of files that nobody needs.
    pub ignored: Vec<String>,
    /// Partitions that should have data and have no file, as `partition 3 of disk 1`.
    pub bare: Vec<String>,
}

/// Why a directory is no image.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The name could lead anywhere.
    #[error(
        "{0:?} is not a directory name below the image root that clients can be told: use letters, \
         digits, - _ . + and the like"
    )]
    Path(String),
    /// It cannot be read.
    #[error("cannot read the image directory {path}: {cause}")]
    Directory {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file cannot be looked at.
    #[error("cannot look at {path}: {cause}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The streams are not complete.
    #[error("{path}: {cause}")]
    Streams {
        /// Where.
        path: PathBuf,
        /// What is missing.
        cause: StoreError,
    },
    /// A file of a stream is empty.
    #[error("{0} is empty: the capture failed or the copy was interrupted")]
    Empty(PathBuf),
    /// The table of a disk is missing.
    #[error(
        "{0} is missing: without it the partition table cannot be restored; capture or copy the \
         image completely"
    )]
    NoTable(PathBuf),
    /// A table is too large to be one.
    #[error("{path} has {size} bytes; at most {MAX_SMALL_FILE} are possible for such a file")]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// Its size.
        size: u64,
    },
    /// A stream has no partition.
    #[error(
        "{stream} has no partition of number {number} in {table}: clients would not know where to \
         write it. Remove the file or capture the image again"
    )]
    NoPartition {
        /// Which stream.
        stream: String,
        /// Its partition.
        number: u32,
        /// The table.
        table: PathBuf,
    },
    /// Not one of the kinds that can be deployed.
    #[error("raw disk images (type dd) cannot be deployed yet; capture as n or mps")]
    Raw,
}

/// Looks through the directory `path` below `root`.
///
/// # Errors
/// If it is not a complete image.
pub fn scan(
    root: &Path,
    path: &str,
    image_type: ImageType,
    os_id: i64,
) -> Result<Listing, ScanError> {
    let is_plain = !path.is_empty()
        && !path.starts_with('.')
        && path.len() <= MAX_PATH
        // Clients get it in their boot script, where it must be the same.
        && path.chars().all(|c| c != '/' && crate::domain::image::is_safe_in_boot_script(c));
    if !is_plain {
        return Err(ScanError::Path(path.chars().take(80).collect()));
    }
    if image_type == ImageType::Raw {
        return Err(ScanError::Raw);
    }
    let dir = root.join(path);
    let found = list(&dir)?;
    let names: Vec<&str> = found.iter().map(|file| file.name.as_str()).collect();
    let streams =
        fog::store::streams(&names, image_type, os_id).map_err(|cause| ScanError::Streams {
            path: dir.clone(),
            cause,
        })?;
    let mut listing = Listing {
        streams,
        files: Vec::new(),
        ignored: Vec::new(),
        bare: Vec::new(),
    };
    for mut file in found {
        file.place = place_of(&listing.streams, &file.name);
        if file.place.is_some() {
            if file.size == 0 {
                return Err(ScanError::Empty(dir.join(file.name)));
            }
        } else if !is_small_file(&file.name) {
            listing.ignored.push(file.name);
            continue;
        } else if file.size > MAX_SMALL_FILE {
            return Err(ScanError::TooLarge {
                path: dir.join(&file.name),
                size: file.size,
            });
        }
        listing.files.push(file);
    }
    listing.bare = check_tables(&dir, &listing)?;
    Ok(listing)
}

/// Regular files of a directory by name.
fn list(dir: &Path) -> Result<Vec<StoredFile>, ScanError> {
    let unreadable = |cause| ScanError::Directory {
        path: dir.to_owned(),
        cause,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        // A name that is no text is none of FOG's.
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let path = entry.path();
        let metadata = fs::metadata(&path).map_err(|cause| ScanError::File { path, cause })?;
        if metadata.is_file() {
            files.push(StoredFile {
                name,
                place: None,
                size: metadata.len(),
                mtime: mtime_nanos(&metadata),
                blake3: String::new(),
            });
        }
    }
    files.sort_by(|a, b| fog::store::natural_cmp(&a.name, &b.name));
    Ok(files)
}

fn place_of(streams: &[Stream], name: &str) -> Option<Place> {
    (0..).zip(streams).find_map(|(stream, found)| {
        let part = found.files.iter().position(|file| file == name)?;
        Some(Place {
            stream,
            part: u32::try_from(part).ok()?,
        })
    })
}

/// Whether clients may need the file: tables, boot areas, lists, never partition data.
fn is_small_file(name: &str) -> bool {
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

/// Every disk needs its boot area, and every stream a partition in the table, where there is one.
/// Answers the other way round the partitions that no stream fills although they hold data.
fn check_tables(dir: &Path, listing: &Listing) -> Result<Vec<String>, ScanError> {
    let ids: Vec<_> = listing
        .streams
        .iter()
        .filter_map(|stream| Some((stream, stream.name.partition()?)))
        .collect();
    let mut disks: Vec<u32> = ids.iter().map(|(_, id)| id.disk).collect();
    disks.sort_unstable();
    disks.dedup();
    let mut bare = Vec::new();
    for disk in disks {
        let find = |name: String| listing.files.iter().find(|file| file.name == name);
        let boot_area = format!("d{disk}.mbr");
        if find(boot_area.clone()).is_none_or(|file| file.size == 0) {
            return Err(ScanError::NoTable(dir.join(boot_area)));
        }
        let dump = find(format!("d{disk}.partitions"))
            .or_else(|| find(format!("d{disk}.original.partitions")));
        let Some(dump) = dump.filter(|dump| dump.size > 0) else {
            continue;
        };
        let table = dir.join(&dump.name);
        let text = fs::read(&table).map_err(|cause| ScanError::File {
            path: table.clone(),
            cause,
        })?;
        let text = String::from_utf8_lossy(&text);
        let rows: Vec<(u32, bool)> = text.lines().filter_map(row).collect();
        let streams = || ids.iter().filter(|(_, id)| id.disk == disk);
        for (stream, id) in streams() {
            if !rows.iter().any(|(number, _)| *number == id.partition) {
                return Err(ScanError::NoPartition {
                    stream: stream.name.to_string(),
                    number: id.partition,
                    table,
                });
            }
        }
        let unfilled = rows.iter().filter(|(number, has_data)| {
            *has_data && !streams().any(|(_, id)| id.partition == *number)
        });
        bare.extend(unfilled.map(|(number, _)| format!("partition {number} of disk {disk}")));
    }
    Ok(bare)
}

/// A partition in a line of an `sfdisk -d` dump: its number, and whether its type holds data.
fn row(line: &str) -> Option<(u32, bool)> {
    let (device, fields) = line.split_once(':')?;
    if !fields.contains("start=") {
        return None;
    }
    let device = device.trim();
    let digits = device.len() - device.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let number = device[device.len() - digits..].parse().ok()?;
    // Older versions write `Id=`.
    let kind = fields.split(',').find_map(|field| {
        let (name, value) = field.split_once('=')?;
        matches!(name.trim(), "type" | "Id").then(|| value.trim())
    });
    let is_empty = kind.is_some_and(|kind| {
        WITHOUT_DATA
            .iter()
            .any(|known| kind.eq_ignore_ascii_case(known))
    });
    Some((number, !is_empty))
}

/// Types of partitions that never have a file: extended, swap, and Microsoft's reserved.
const WITHOUT_DATA: [&str; 6] = [
    "5",
    "f",
    "85",
    "82",
    "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
    "E3C9E316-0B5C-4DB8-817D-F92DF00215AE",
];

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const DUMP: &str = "label: gpt\ndevice: /dev/sda\nunit: sectors\n\n\
        /dev/sda1 : start=        2048, size=       65536, type=C12A7328\n\
        /dev/sda2 : start=       67584, size=      131072, type=0FC63DAF\n";

    pub(crate) fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("img")).unwrap();
        for (name, bytes) in files {
            fs::write(root.path().join("img").join(name), bytes).unwrap();
        }
        root
    }

    fn scanned(files: &[(&str, &[u8])]) -> Result<Listing, ScanError> {
        let root = directory(files);
        scan(root.path(), "img", ImageType::Resizable, 50)
    }

    #[test]
    fn files_find_their_places() {
        let listing = scanned(&[
            ("d1.mbr", b"x"),
            ("d1.partitions", DUMP.as_bytes()),
            ("d1p2.img", b"x"),
            ("d1p1.img.001", b"x"),
            ("d1p1.img.000", b"x"),
            ("d1.fixed_size_partitions", b""),
            ("README", b"x"),
        ])
        .unwrap();
        let place = |name: &str| {
            let file = listing.files.iter().find(|file| file.name == name).unwrap();
            file.place.map(|place| (place.stream, place.part))
        };
        assert_eq!(place("d1p1.img.000"), Some((0, 0)));
        assert_eq!(place("d1p1.img.001"), Some((0, 1)));
        assert_eq!(place("d1p2.img"), Some((1, 0)));
        assert_eq!(place("d1.fixed_size_partitions"), None);
        assert_eq!(listing.ignored, ["README"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let mbr = ("d1.mbr", &b"x"[..]);
        for (files, expected) in [
            (vec![mbr], "d1p1.img"),
            (vec![mbr, ("d1p1.img", b"")], "d1p1.img is empty"),
            (vec![("d1p1.img", b"x")], "d1.mbr is missing"),
            (
                vec![mbr, ("d1p1.img.000", b"x"), ("d1p1.img.002", b"x")],
                "d1p1.img.001",
            ),
            (
                vec![mbr, ("d1p3.img", b"x"), ("d1.partitions", DUMP.as_bytes())],
                "no partition of number 3",
            ),
        ] {
            let error = scanned(&files).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn partitions_without_a_file_are_named() {
        let files = |dump: &'static str| {
            [
                ("d1.mbr", &b"x"[..]),
                ("d1.partitions", dump.as_bytes()),
                ("d1p1.img", b"x"),
            ]
        };
        let listing = scanned(&files(DUMP)).unwrap();
        assert_eq!(listing.bare, ["partition 2 of disk 1"]);
        let others = "label: dos\nunit: sectors\n\n\
            /dev/nvme0n1p1 : start= 2048, size= 2048, type=83, bootable\n\
            /dev/nvme0n1p2 : start= 4096, size= 2048, type=f\n\
            /dev/nvme0n1p3 : start= 8192, size= 2048, type=E3C9E316-0B5C-4DB8-817D-F92DF00215AE\n\
            /dev/nvme0n1p5 : start= 5000, size= 1000, Id=82\n";
        assert_eq!(scanned(&files(others)).unwrap().bare, [""; 0]);
    }

    #[test]
    fn paths_stay_below_the_root() {
        for path in [
            "", "..", ".", "a/b", "/etc", ".hidden", "a b", "a\\b", "a#b", "ä", "${x}",
        ] {
            let refused = scan(Path::new("/nowhere"), path, ImageType::Resizable, 50);
            assert!(matches!(refused, Err(ScanError::Path(_))), "{path}");
        }
    }

    #[test]
    fn partition_data_is_never_a_small_file() {
        for name in [
            "d1p1.img",
            "d1p1.img.000",
            "../d1.mbr",
            "d1.mbr/x",
            "x",
            "d.mbr",
            "d1.img",
            "d1234.mbr",
        ] {
            assert!(!is_small_file(name), "{name}");
        }
        for name in [
            "d1.mbr",
            "d1p5.ebr",
            "d12.minimum.partitions",
            "d1p3.lvm.vgcfg",
        ] {
            assert!(is_small_file(name), "{name}");
        }
    }
}
