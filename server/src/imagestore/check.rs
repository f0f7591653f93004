//! Whether an image is still what was added.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::dir::{FileError, ImageDir, mtime_nanos, shown};
use crate::domain::image::{Facts, StoredFile};

/// What is not as it was.
#[derive(Debug, thiserror::Error)]
pub enum ChangedError {
    /// The image directory cannot be opened.
    #[error("{}: {cause}; restore the directory, or take what is there now with fos-server image update", shown(.path))]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file cannot be used.
    #[error("{0}; restore the file, or take what is there now with fos-server image update")]
    // Not as the source: the text has it already.
    File(FileError),
    /// A file has another size or date.
    #[error(
        "{} was changed after the image was verified ({}); verify it anew with fos-server image \
         update",
        shown(.path),
        if size == expected {
            format!("it still has {size} bytes, but another date")
        } else {
            format!("it has {size} bytes, had {expected}")
        }
    )]
    Changed {
        /// Which.
        path: PathBuf,
        /// Size now.
        size: u64,
        /// Size then.
        expected: u64,
    },
    /// A file cannot be read.
    #[error("reading {}: {cause}", shown(.path))]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file has other bytes.
    #[error(
        "the bytes of {} are not those that were there when the image was added (BLAKE3 differs); \
         restore the file, or take what is there now with fos-server image update", shown(.0)
    )]
    Bytes(PathBuf),
}

impl From<FileError> for ChangedError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// Compares size and date of every file with those at the time when the image was added. Blocks.
///
/// # Errors
/// At the first file that differs.
pub fn check_unchanged(dir: &Path, facts: &Facts) -> Result<(), ChangedError> {
    let dir = open(dir)?;
    for file in &facts.files {
        let metadata = dir.metadata(&file.name)?;
        check_metadata(&dir, file, &metadata)?;
    }
    Ok(())
}

/// The bytes of a small file, if they are those that were added. Blocks.
///
/// # Errors
/// If the file cannot be read or is not what it was.
pub fn read_small(dir: &Path, file: &StoredFile) -> Result<Vec<u8>, ChangedError> {
    let bytes = read_listed(&open(dir)?, file)?;
    let is_same = file.blake3.is_empty() || *blake3::hash(&bytes).to_hex() == file.blake3;
    if is_same {
        Ok(bytes)
    } else {
        Err(ChangedError::Bytes(dir.join(&file.name)))
    }
}

/// A file of an image, open for reading, if it is by size and date the one that was added. Blocks.
///
/// # Errors
/// If it cannot be opened or is not what it was.
pub fn open_listed(dir: &Path, file: &StoredFile) -> Result<std::fs::File, ChangedError> {
    let dir = open(dir)?;
    let (opened, metadata) = dir.file(&file.name)?;
    check_metadata(&dir, file, &metadata)?;
    Ok(opened)
}

/// The bytes of a file that is no larger than it was when it was listed.
pub(super) fn read_listed(dir: &ImageDir, file: &StoredFile) -> Result<Vec<u8>, ChangedError> {
    let (opened, metadata) = dir.file(&file.name)?;
    check_metadata(dir, file, &metadata)?;
    let path = || dir.path().join(&file.name);
    let mut bytes = Vec::new();
    opened
        .take(file.size.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|cause| ChangedError::Read {
            path: path(),
            cause,
        })?;
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if size == file.size {
        Ok(bytes)
    } else {
        Err(ChangedError::Changed {
            path: path(),
            size,
            expected: file.size,
        })
    }
}

fn open(dir: &Path) -> Result<ImageDir, ChangedError> {
    ImageDir::open(dir).map_err(|cause| ChangedError::Directory {
        path: dir.to_owned(),
        cause,
    })
}

fn check_metadata(
    dir: &ImageDir,
    file: &StoredFile,
    metadata: &std::fs::Metadata,
) -> Result<(), ChangedError> {
    if metadata.len() == file.size && mtime_nanos(metadata) == file.mtime {
        return Ok(());
    }
    Err(ChangedError::Changed {
        path: dir.path().join(&file.name),
        size: metadata.len(),
        expected: file.size,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use fog::task::ImageType;

    use super::*;
    use crate::domain::image::tests::sample_facts;
    use crate::imagestore::scan;
    use crate::imagestore::scan::tests::directory;

    fn added(root: &Path) -> Facts {
        let listing = scan(root, "img", ImageType::Resizable, 50).unwrap();
        let mut facts = sample_facts(&["d1p1.img"]);
        facts.files = listing.files;
        facts
    }

    #[test]
    fn a_changed_or_lost_file_is_named() {
        let root = directory(&[("d1.mbr", b"x"), ("d1p1.img", b"content")]);
        let facts = added(root.path());
        let dir = root.path().join("img");
        check_unchanged(&dir, &facts).unwrap();
        fs::write(dir.join("d1p1.img"), b"longer content").unwrap();
        let error = check_unchanged(&dir, &facts).unwrap_err().to_string();
        assert!(error.contains("d1p1.img was changed"), "{error}");
        assert!(error.contains("14 bytes, had 7"), "{error}");
        fs::write(dir.join("d1p1.img"), b"CONTENT").unwrap();
        let error = check_unchanged(&dir, &facts).unwrap_err().to_string();
        assert!(error.contains("another date"), "{error}");
        fs::remove_file(dir.join("d1p1.img")).unwrap();
        let error = check_unchanged(&dir, &facts).unwrap_err().to_string();
        assert!(
            error.contains("d1p1.img") && error.contains("No such file"),
            "{error}"
        );
        fs::remove_dir_all(&dir).unwrap();
        let error = check_unchanged(&dir, &facts).unwrap_err();
        assert!(matches!(error, ChangedError::Directory { .. }), "{error}");
    }

    #[test]
    fn a_small_file_is_what_was_added_or_is_not_handed_out() {
        let root = directory(&[("d1.mbr", b"table"), ("d1p1.img", b"content")]);
        let facts = added(root.path());
        let dir = root.path().join("img");
        let mut file = facts.files[0].clone();
        assert_eq!(file.name, "d1.mbr");
        assert_eq!(read_small(&dir, &file).unwrap(), b"table");
        file.blake3 = blake3::hash(b"table").to_hex().to_string();
        assert_eq!(read_small(&dir, &file).unwrap(), b"table");
        file.blake3 = blake3::hash(b"other").to_hex().to_string();
        let error = read_small(&dir, &file).unwrap_err();
        assert!(matches!(error, ChangedError::Bytes(_)), "{error}");

        // The same size and date, but elsewhere.
        let outside = root.path().join("outside");
        fs::rename(dir.join("d1.mbr"), &outside).unwrap();
        symlink(&outside, dir.join("d1.mbr")).unwrap();
        for error in [
            read_small(&dir, &file).unwrap_err(),
            check_unchanged(&dir, &facts).unwrap_err(),
        ] {
            assert!(
                matches!(error, ChangedError::File(FileError::LeadsOut { .. })),
                "{error}"
            );
        }
    }
}
