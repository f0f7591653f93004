//! Lists an image directory and sorts its files.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use deploy_plan::{Refusal, SmallFiles};
use fog::store::{
    PartitionId, Sidecars, StoreError, Stream, StreamName, is_legacy_name, is_small_file,
};
use fog::task::ImageType;
use fos_api::MAX_SMALL_FILE;

use super::dir::{FileError, ImageDir, mtime_nanos, shown};
use crate::domain::image::{Place, StoredFile};

/// Longest name of an image directory, in bytes: file systems take no longer ones.
const MAX_PATH: usize = 255;
/// Most entries of an image directory. The largest images have a few thousand chunks; each entry takes
/// some 300 bytes of memory while the directory is listed.
pub const MAX_ENTRIES: usize = 65_536;
/// Most bytes of all small files together, which are held in memory.
pub const MAX_SMALL_FILES: u64 = 64 << 20;
/// Most names of files that nobody needs.
pub const MAX_IGNORED: usize = 20;

/// The files of an image.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The open directory.
    pub dir: Arc<ImageDir>,
    /// Name of the directory below the image root, as it is to be stored.
    pub path: String,
    /// What the image holds.
    pub image_type: ImageType,
    /// FOG's number of the operating system.
    pub os_id: i64,
    /// Streams in sending order.
    pub streams: Vec<Stream>,
    /// Files of the streams and the small files that clients need.
    pub files: Vec<StoredFile>,
    /// Printable names of files that nobody needs, at most [`MAX_IGNORED`].
    pub ignored: Vec<String>,
    /// How many there are of these.
    pub ignored_count: usize,
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
    #[error("cannot read the image directory {}: {cause}", shown(.path))]
    Directory {
        /// Where.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// One of FOG's first images, which were a file.
    #[error(
        "{} is a file, not a directory: FOG's first images (Windows XP) were the file of one partition. Write it with \
         fos-agent restore to a partition that exists, and capture it again", shown(.0)
    )]
    OneFile(PathBuf),
    /// No image has so many files.
    #[error(
        "{} has more than {limit} entries; is it the directory of one image?", shown(.path)
    )]
    TooMany {
        /// Where.
        path: PathBuf,
        /// Most entries.
        limit: usize,
    },
    /// A file that clients need cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// What the image says of logical volumes cannot be used.
    #[error(transparent)]
    Volumes(#[from] Refusal),
    /// The streams are not complete.
    #[error("{}: {cause}", shown(.path))]
    Streams {
        /// Where.
        path: PathBuf,
        /// What is missing.
        cause: StoreError,
    },
    /// An early Windows image that is added as something else.
    #[error(
        "{} has the file names of FOG's early Windows images (sys.img, rec.img); add it with the type and \
         the operating system that it was captured with (for example --type n --os 5)", shown(.0)
    )]
    Legacy(PathBuf),
    /// A file of a stream is empty.
    #[error("{} is empty: the capture failed or the copy was interrupted", shown(.0))]
    Empty(PathBuf),
    /// The table of a disk is missing.
    #[error(
        "{} is missing: without it the partition table cannot be restored; capture or copy the \
         image completely", shown(.0)
    )]
    NoTable(PathBuf),
    /// A table is too large to be one.
    #[error("{} has {size} bytes; at most {MAX_SMALL_FILE} are possible for such a file", shown(.path))]
    TooLarge {
        /// Which.
        path: PathBuf,
        /// Its size.
        size: u64,
    },
    /// All tables together are too large.
    #[error(
        "the small files in {} have more than {MAX_SMALL_FILES} bytes together; is it the directory \
         of one image?", shown(.0)
    )]
    TooLargeTogether(PathBuf),
}

/// The name of an image directory, from what a person typed: `./lab//` means `lab`.
///
/// # Errors
/// If it is no name of a directory directly below the image root, or one that a boot script cannot
/// carry.
pub fn image_path(typed: &str) -> Result<String, ScanError> {
    let mut path = typed.trim_end_matches('/');
    while let Some(rest) = path.strip_prefix("./") {
        path = rest.trim_start_matches('/');
    }
    let is_plain = !path.is_empty()
        && !path.starts_with('.')
        && path.len() <= MAX_PATH
        // Clients get it in their boot script, where it must be the same.
        && path.chars().all(|c| c != '/' && crate::domain::image::is_safe_in_boot_script(c));
    if is_plain {
        Ok(path.to_owned())
    } else {
        Err(ScanError::Path(typed.chars().take(80).collect()))
    }
}

/// Looks through the directory `path` below `root`. Blocks.
///
/// # Errors
/// If it is not a complete image.
pub fn scan(
    root: &Path,
    path: &str,
    image_type: ImageType,
    os_id: i64,
) -> Result<Listing, ScanError> {
    let path = image_path(path)?;
    let full = root.join(&path);
    scan_at(full, path, image_type, os_id)
}

/// Looks through the directory `full` of an image whose directory is, or is to be, called `path`. Blocks.
///
/// # Errors
/// If it is not a complete image.
pub(super) fn scan_at(
    full: PathBuf,
    path: String,
    image_type: ImageType,
    os_id: i64,
) -> Result<Listing, ScanError> {
    let unreadable = |cause: io::Error| match cause.kind() {
        io::ErrorKind::NotADirectory => ScanError::OneFile(full.clone()),
        _ => ScanError::Directory {
            path: full.clone(),
            cause,
        },
    };
    let dir = ImageDir::open(&full).map_err(unreadable)?;
    let names = names(&dir, MAX_ENTRIES)?;
    let sidecars = sidecars(&dir, &names.found)?;
    let streams = fog::store::streams(&names.found, &sidecars, image_type, os_id);
    let streams = streams.map_err(|cause| {
        let path = full.clone();
        let mut found = names.found.iter();
        match cause {
            StoreError::NoStreams { .. } if found.any(|name| is_legacy_name(name)) => {
                ScanError::Legacy(path)
            }
            cause => ScanError::Streams { path, cause },
        }
    })?;
    let mut listing = Listing {
        dir: Arc::new(dir),
        path,
        image_type,
        os_id,
        streams,
        files: Vec::new(),
        ignored: names.unreadable,
        ignored_count: names.unreadable_count,
    };
    let places = places(&listing.streams);
    let mut small_len: u64 = 0;
    for name in names.found {
        let place = places.get(&name).copied();
        if place.is_none() && !is_small_file(&name) {
            listing.ignore(&name);
            continue;
        }
        let metadata = listing.dir.metadata(&name)?;
        let size = metadata.len();
        if place.is_some() {
            if size == 0 {
                return Err(ScanError::Empty(full.join(name)));
            }
        } else {
            if size > MAX_SMALL_FILE {
                return Err(ScanError::TooLarge {
                    path: full.join(name),
                    size,
                });
            }
            small_len = small_len.saturating_add(size);
        }
        listing.files.push(StoredFile {
            name,
            place,
            size,
            mtime: mtime_nanos(&metadata),
            blake3: String::new(),
        });
    }
    if small_len > MAX_SMALL_FILES {
        return Err(ScanError::TooLargeTogether(full));
    }
    check_tables(&full, &listing)?;
    Ok(listing)
}

impl Listing {
    fn ignore(&mut self, name: &str) {
        self.ignored_count += 1;
        if self.ignored.len() < MAX_IGNORED {
            self.ignored.push(fog::encoding::printable(name, 80));
        }
    }
}

/// Which partitions were captured volume by volume, and what their volumes are.
fn sidecars(dir: &ImageDir, names: &[String]) -> Result<Sidecars, ScanError> {
    let mut files = SmallFiles::new();
    let named = names
        .iter()
        .filter(|name| PartitionId::of_sidecar(name).is_some());
    for name in named.take(MAX_SIDECARS) {
        let (file, metadata) = dir.file(name)?;
        let path = dir.path().join(name);
        let mut bytes = Vec::new();
        let read = file.take(MAX_SIDECAR + 1).read_to_end(&mut bytes);
        read.map_err(|cause| ScanError::Directory {
            path: path.clone(),
            cause,
        })?;
        if u64::try_from(bytes.len()).is_ok_and(|len| len > MAX_SIDECAR) {
            let size = metadata.len();
            return Err(ScanError::TooLarge { path, size });
        }
        files.insert(name.clone(), bytes);
    }
    Ok(deploy_plan::sidecars(&files)?)
}

/// Bytes of a sidecar, which has a line for each volume.
const MAX_SIDECAR: u64 = 1 << 20;
/// Most sidecars that are read; more partitions with volumes are not planned for.
const MAX_SIDECARS: usize = 64;

/// What is called how in a directory.
struct Names {
    /// In natural order; directories that clients do not need left out.
    found: Vec<String>,
    /// What can be shown of those that are no text: FOG has no such names.
    unreadable: Vec<String>,
    unreadable_count: usize,
}

fn names(dir: &ImageDir, limit: usize) -> Result<Names, ScanError> {
    let unreadable = |cause| ScanError::Directory {
        path: dir.path().to_owned(),
        cause,
    };
    let mut names = Names {
        found: Vec::new(),
        unreadable: Vec::new(),
        unreadable_count: 0,
    };
    for (count, entry) in dir.names().map_err(unreadable)?.enumerate() {
        if count >= limit {
            return Err(ScanError::TooMany {
                path: dir.path().to_owned(),
                limit,
            });
        }
        let entry = entry.map_err(unreadable)?;
        match entry.name {
            Ok(name) => {
                if !entry.is_directory || is_expected(&name) {
                    names.found.push(name);
                }
            }
            Err(shown) => {
                names.unreadable_count += 1;
                if names.unreadable.len() < MAX_IGNORED {
                    names.unreadable.push(fog::encoding::printable(&shown, 80));
                }
            }
        }
    }
    names.found.sort_by(|a, b| fog::store::natural_cmp(a, b));
    Ok(names)
}

fn places(streams: &[Stream]) -> HashMap<String, Place> {
    let mut places = HashMap::new();
    for (stream, found) in (0..).zip(streams) {
        for (part, file) in (0..).zip(&found.files) {
            places.insert(file.clone(), Place { stream, part });
        }
    }
    places
}

/// Whether a directory of this name stands where a file should be.
fn is_expected(name: &str) -> bool {
    is_small_file(name)
        || StreamName::of_file(name).partition().is_some()
        || StreamName::of_file(name).volume().is_some()
        || is_legacy_name(name)
}

/// Every disk needs its boot area.
fn check_tables(dir: &Path, listing: &Listing) -> Result<(), ScanError> {
    for disk in listing.disks() {
        let name = format!("d{disk}.mbr");
        let file = listing.files.iter().find(|file| file.name == name);
        if file.is_none_or(|file| file.size == 0) {
            return Err(ScanError::NoTable(dir.join(name)));
        }
    }
    Ok(())
}

impl Listing {
    /// Numbers of the disks that have streams.
    pub(super) fn disks(&self) -> Vec<u32> {
        let ids = self
            .streams
            .iter()
            .filter_map(|stream| stream.name.partition().or_else(|| stream.name.volume()));
        let mut disks: Vec<u32> = ids.map(|id| id.disk).collect();
        disks.sort_unstable();
        disks.dedup();
        disks
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::super::dir::FileKind;
    use super::*;

    pub(crate) fn directory(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("img")).unwrap();
        for (name, bytes) in files {
            fs::write(root.path().join("img").join(name), bytes).unwrap();
        }
        root
    }

    fn scanned(files: &[(&str, &[u8])]) -> Result<Listing, ScanError> {
        scan_in(&directory(files))
    }

    fn scan_in(root: &tempfile::TempDir) -> Result<Listing, ScanError> {
        scan(root.path(), "img", ImageType::Resizable, 50)
    }

    #[test]
    fn files_find_their_places() {
        let listing = scanned(&[
            ("d1.mbr", b"x"),
            ("d1.partitions", b"x"),
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
        assert_eq!(listing.ignored_count, 1);
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
            (vec![("sys.img.000", b"x"), mbr], "--type n --os 5"),
        ] {
            let error = scanned(&files).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_image_of_one_file_is_refused_with_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("img"), b"x").unwrap();
        let error = scan_in(&root).unwrap_err();
        assert!(matches!(error, ScanError::OneFile(_)), "{error}");
        assert!(error.to_string().contains("fos-agent restore"), "{error}");
    }

    #[test]
    fn paths_stay_below_the_root() {
        for path in [
            "", "..", ".", "a/b", "/etc", ".hidden", "a b", "a\\b", "a#b", "ä", "${x}", "/", "//",
            "./", "a//b", "../lab", "lab/..", "./.lab",
        ] {
            let refused = scan(Path::new("/nowhere"), path, ImageType::Resizable, 50);
            assert!(matches!(refused, Err(ScanError::Path(_))), "{path}");
        }
        for path in ["lab", "lab/", "lab//", "./lab", ".//lab/", "././lab"] {
            assert_eq!(image_path(path).unwrap(), "lab", "{path}");
        }
        assert!(image_path(&"x".repeat(255)).is_ok());
        assert!(image_path(&"x".repeat(256)).is_err());
        let root = directory(&[("d1.mbr", b"x"), ("d1p1.img", b"x")]);
        let listing = scan(root.path(), "img/", ImageType::Resizable, 50).unwrap();
        assert_eq!(listing.path, "img");
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

    #[test]
    fn what_clients_get_is_a_file_of_the_image_itself() {
        for name in ["d1.partitions", "d1p2.img", "d1p1.img.001"] {
            let root = directory(&[("d1.mbr", b"x"), ("d1p1.img", b"x")]);
            symlink("/etc/passwd", root.path().join("img").join(name)).unwrap();
            let error = scan_in(&root).unwrap_err();
            let is_named = error.to_string().contains(name);
            assert!(
                is_named && matches!(error, ScanError::File(FileError::LeadsOut { .. })),
                "{error}"
            );
        }
        for name in ["d1.partitions", "d1p2.img"] {
            let root = directory(&[("d1.mbr", b"x"), ("d1p1.img", b"x")]);
            fs::create_dir(root.path().join("img").join(name)).unwrap();
            let error = scan_in(&root).unwrap_err();
            let ScanError::File(FileError::NotRegular { kind, .. }) = error else {
                panic!("{error}");
            };
            assert_eq!(kind, FileKind::Directory);
        }
        // What nobody needs is not touched.
        let root = directory(&[("d1.mbr", b"x"), ("d1p1.img", b"x")]);
        let img = root.path().join("img");
        symlink("/nowhere", img.join("dangling")).unwrap();
        fs::create_dir(img.join("lost+found")).unwrap();
        nix::unistd::mkfifo(&img.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(scan_in(&root).unwrap().ignored, ["dangling", "pipe"]);
    }

    #[test]
    fn strange_names_are_counted_and_shown_harmlessly() {
        let root = directory(&[("d1.mbr", b"x"), ("d1p1.img", b"x")]);
        let img = root.path().join("img");
        let long = "y".repeat(255);
        for name in [&b"d1p2\xff.img"[..], b"a\x1b[31m\nb", long.as_bytes()] {
            fs::write(img.join(OsStr::from_bytes(name)), b"x").unwrap();
        }
        for number in 0..100 {
            fs::write(img.join(format!("z{number}")), b"x").unwrap();
        }
        let listing = scan_in(&root).unwrap();
        assert_eq!(listing.ignored_count, 103);
        assert_eq!(listing.ignored.len(), MAX_IGNORED);
        for name in &listing.ignored {
            assert!(!name.chars().any(char::is_control), "{name:?}");
            assert!(name.chars().count() <= 81, "{name}");
        }
        assert!(listing.ignored[0].starts_with("d1p2"));
    }

    #[test]
    fn a_directory_of_far_too_many_files_is_refused() {
        let root = directory(&[("d1.mbr", b"x"), ("d1p1.img", b"x"), ("x", b"")]);
        let dir = ImageDir::open(&root.path().join("img")).unwrap();
        assert_eq!(names(&dir, 3).map(|names| names.found.len()).unwrap(), 3);
        assert!(matches!(
            names(&dir, 2).map(drop),
            Err(ScanError::TooMany { limit: 2, .. })
        ));
    }

    #[test]
    fn small_files_are_small_together() {
        let root = directory(&[("d1.mbr", b"x"), ("d1p1.img", b"x")]);
        for number in 1..=17 {
            let path = root.path().join(format!("img/d1p{number}.ebr"));
            fs::File::create(path).unwrap().set_len(4 << 20).unwrap();
        }
        let error = scan_in(&root).unwrap_err();
        assert!(matches!(error, ScanError::TooLargeTogether(_)), "{error}");
    }
}
