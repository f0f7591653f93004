//! Whether an image is still what was added.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::image::Facts;
use crate::imagestore::source::mtime_nanos;

/// What is not as it was.
#[derive(Debug, thiserror::Error)]
pub enum ChangedError {
    /// A file cannot be looked at.
    #[error("{path}: {cause}; restore the file or add the image again")]
    Missing {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// A file has another size or date.
    #[error(
        "{path} was changed after the image was added ({}); remove the image and add it again, so \
         that it is verified",
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
}

/// Compares size and date of every file with those at the time when the image was added.
///
/// # Errors
/// At the first file that differs.
pub fn check_unchanged(dir: &Path, facts: &Facts) -> Result<(), ChangedError> {
    for file in &facts.files {
        let path = dir.join(&file.name);
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(cause) => return Err(ChangedError::Missing { path, cause }),
        };
        let is_same = metadata.is_file()
            && metadata.len() == file.size
            && mtime_nanos(&metadata) == file.mtime;
        if !is_same {
            return Err(ChangedError::Changed {
                path,
                size: metadata.len(),
                expected: file.size,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fog::task::ImageType;

    use super::*;
    use crate::domain::image::tests::sample_facts;
    use crate::imagestore::scan;
    use crate::imagestore::scan::tests::directory;

    #[test]
    fn a_changed_or_lost_file_is_named() {
        let root = directory(&[("d1.mbr", b"x"), ("d1p1.img", b"content")]);
        let listing = scan(root.path(), "img", ImageType::Resizable, 50).unwrap();
        let mut facts = sample_facts(&["d1p1.img"]);
        facts.files = listing.files;
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
    }
}
