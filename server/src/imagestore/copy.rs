//! A copy of an image that another server has: its files come one after the other, are compared with what was verified
//! there, and get their name together.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::statvfs::statvfs;
use readable::Size;

use super::dir::shown;
use super::{ScanError, image_path};
use crate::domain::image::{Facts, Place, StoredFile};

/// Why an image was not copied. What is right of it is kept for the next attempt.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The directory of the image has no name that a directory here can have.
    #[error(transparent)]
    Path(#[from] ScanError),
    /// A file has such a name.
    #[error("{0} is no name of a file of an image")]
    Name(String),
    /// There is something else here.
    #[error(
        "{} is here, and is not what was verified; look at it, and let it be replaced (fos-server image replicate \
         --replace), or take it (fos-server image update)",
        shown(.0)
    )]
    Exists(PathBuf),
    /// The disk is too small.
    #[error("{} needs {} more, and {} are free there", shown(.path), Size(*.needed), Size(*.free))]
    NoRoom {
        /// Where.
        path: PathBuf,
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// The disk fails.
    #[error("{}: {cause}", shown(.path))]
    Io {
        /// What cannot be used.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Other bytes have come than were verified. These files, which are one stream or a small file, are removed.
    #[error("{} has not the bytes that were verified", fog::encoding::printable(.0.first().map_or("", String::as_str), 80))]
    Bytes(Vec<String>),
}

/// Whether what is here and is not the image may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// It stays, and there is no copy.
    Never,
    /// It goes when the copy is complete.
    Other,
}

/// A copy that is being made. It stays when this is dropped, and is gone on with later.
#[derive(Debug)]
pub struct Copying {
    root: PathBuf,
    dir: PathBuf,
    partial: PathBuf,
}

impl Copying {
    /// Begins a copy of the image in the directory `path` below `root`, or goes on with one. Blocks.
    ///
    /// # Errors
    /// If there is no room for it, or something else is there.
    pub fn begin(
        root: &Path,
        path: &str,
        facts: &Facts,
        replace: Replace,
    ) -> Result<Self, CopyError> {
        let path = image_path(path)?;
        let copying = Self {
            root: root.to_owned(),
            dir: root.join(&path),
            partial: root.join(format!("{path}{SUFFIX}")),
        };
        if replace == Replace::Never && copying.dir.symlink_metadata().is_ok() {
            return Err(CopyError::Exists(copying.dir));
        }
        for file in &facts.files {
            if !is_plain(&file.name) {
                return Err(CopyError::Name(fog::encoding::printable(&file.name, 80)));
            }
        }
        let made = DirBuilder::new().mode(0o755).create(&copying.partial);
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(fault(&copying.partial, error));
            }
            _ => {}
        }
        copying.remove_others(facts)?;
        let mut needed: u64 = 0;
        for file in &facts.files {
            needed = needed.saturating_add(file.size - copying.have(file)?);
        }
        copying.check_room(needed)?;
        Ok(copying)
    }

    /// Bytes of a file that are here.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn have(&self, file: &StoredFile) -> Result<u64, CopyError> {
        let path = self.partial.join(&file.name);
        match path.symlink_metadata() {
            Ok(metadata) => Ok(metadata.len().min(file.size)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(fault(&path, error)),
        }
    }

    /// A file, to be written on at its end.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn open(&self, file: &StoredFile) -> Result<File, CopyError> {
        let path = self.partial.join(&file.name);
        let mut options = OpenOptions::new();
        let options = options.create(true).append(true).mode(0o644);
        // The name is of the database: no link leads elsewhere.
        let opened = options.custom_flags(nix::libc::O_NOFOLLOW).open(&path);
        opened.map_err(|error| fault(&path, error))
    }

    /// Compares every byte with what was verified, and gives the image its name. Blocks.
    ///
    /// # Errors
    /// If something is missing or wrong: a wrong file is removed, so that it is copied again.
    pub fn finish(
        self,
        facts: &Facts,
        replace: Replace,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), CopyError> {
        let mut done = 0;
        let mut files: Vec<&StoredFile> = facts.files.iter().collect();
        // The parts of a stream one after the other, so that they can be hashed together.
        files.sort_by_key(|file| file.place);
        let mut at = 0;
        while let Some(first) = files.get(at) {
            let stream = first.place.map(|place: Place| place.stream);
            let rest = files.get(at..).unwrap_or_default();
            let same = |file: &&&StoredFile| {
                stream.is_some() && file.place.map(|place| place.stream) == stream
            };
            let count = rest.iter().take_while(same).count().max(1);
            let group = rest.get(..count).unwrap_or_default();
            self.compare(group, known(facts, first), &mut done, progress)?;
            at += count;
        }
        for file in &files {
            let path = self.partial.join(&file.name);
            let finished = File::options().write(true).open(&path).and_then(|opened| {
                opened.set_modified(time_of(file.mtime))?;
                opened.sync_all()
            });
            finished.map_err(|error| fault(&path, error))?;
        }
        self.sync(&self.partial)?;
        self.publish(replace)
    }

    fn compare(
        &self,
        group: &[&StoredFile],
        known: Option<blake3::Hash>,
        done: &mut u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), CopyError> {
        let mut hasher = blake3::Hasher::new();
        let mut is_whole = true;
        for file in group {
            let path = self.partial.join(&file.name);
            let mut opened = File::open(&path).map_err(|error| fault(&path, error))?;
            let mut counted = Counted {
                hasher: &mut hasher,
                done,
                progress,
            };
            let len = io::copy(&mut opened, &mut counted);
            is_whole &= len.map_err(|error| fault(&path, error))? == file.size;
        }
        if is_whole && known.is_none_or(|known| known == hasher.finalize()) {
            return Ok(());
        }
        for file in group {
            let path = self.partial.join(&file.name);
            std::fs::remove_file(&path).map_err(|error| fault(&path, error))?;
        }
        let names = group.iter().map(|file| file.name.clone());
        Err(CopyError::Bytes(names.collect()))
    }

    fn publish(&self, replace: Replace) -> Result<(), CopyError> {
        let former = self.partial.with_extension("former");
        let rename =
            |from: &Path, to: &Path| std::fs::rename(from, to).map_err(|error| fault(to, error));
        let has_other = self.dir.symlink_metadata().is_ok();
        if has_other && replace == Replace::Never {
            return Err(CopyError::Exists(self.dir.clone()));
        }
        if has_other {
            rename(&self.dir, &former)?;
        }
        rename(&self.partial, &self.dir)?;
        self.sync(&self.root)?;
        if has_other && let Err(error) = std::fs::remove_dir_all(&former) {
            tracing::warn!("removing {}: {error}; remove it by hand", former.display());
        }
        Ok(())
    }

    /// Removes what is no file of the image, or too long for it.
    fn remove_others(&self, facts: &Facts) -> Result<(), CopyError> {
        let entries = std::fs::read_dir(&self.partial);
        for entry in entries.map_err(|error| fault(&self.partial, error))? {
            let entry = entry.map_err(|error| fault(&self.partial, error))?;
            let path = entry.path();
            let name = entry.file_name();
            let file = facts.files.iter().find(|file| *file.name == *name);
            let metadata = path.symlink_metadata();
            let metadata = metadata.map_err(|error| fault(&path, error))?;
            let is_good =
                metadata.is_file() && file.is_some_and(|file| metadata.len() <= file.size);
            if is_good {
                continue;
            }
            let removed = match metadata.is_dir() {
                true => std::fs::remove_dir_all(&path),
                false => std::fs::remove_file(&path),
            };
            removed.map_err(|error| fault(&path, error))?;
        }
        Ok(())
    }

    fn check_room(&self, needed: u64) -> Result<(), CopyError> {
        let Ok(found) = statvfs(&self.partial) else {
            return Ok(());
        };
        let blocks: u64 = found.blocks_available();
        let free = blocks.saturating_mul(found.fragment_size());
        match needed <= free {
            true => Ok(()),
            false => Err(CopyError::NoRoom {
                path: self.partial.clone(),
                needed,
                free,
            }),
        }
    }

    fn sync(&self, dir: &Path) -> Result<(), CopyError> {
        let synced = File::open(dir).and_then(|opened| opened.sync_all());
        synced.map_err(|error| fault(dir, error))
    }
}

fn fault(path: &Path, cause: io::Error) -> CopyError {
    let path = path.to_owned();
    CopyError::Io { path, cause }
}

/// What is known of the bytes of a file: of a stream with all of its parts.
fn known(facts: &Facts, file: &StoredFile) -> Option<blake3::Hash> {
    match file.place {
        Some(place) => {
            let index = usize::try_from(place.stream).ok()?;
            let stream = facts.streams.get(index)?;
            Some(blake3::Hash::from(stream.blake3))
        }
        None => blake3::Hash::from_hex(&file.blake3).ok(),
    }
}

/// A name in a directory, and no way elsewhere.
fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!(components.next(), Some(Component::Normal(only)) if only == name)
        && components.next().is_none()
}

fn time_of(nanos: i64) -> SystemTime {
    let size = Duration::from_nanos(nanos.unsigned_abs());
    match nanos < 0 {
        true => SystemTime::UNIX_EPOCH - size,
        false => SystemTime::UNIX_EPOCH + size,
    }
}

struct Counted<'a> {
    hasher: &'a mut blake3::Hasher,
    done: &'a mut u64,
    progress: &'a mut dyn FnMut(u64),
}

impl io::Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        *self.done += bytes.len() as u64;
        (self.progress)(*self.done);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the directory of a copy is called until it is complete. No image can be meant by it: FOG makes no such names.
const SUFFIX: &str = ".replicating";

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::domain::image::tests::sample_facts;
    use crate::imagestore::check_unchanged;

    /// Files with these contents, and what is known of them: a small one, and a stream in two parts.
    fn image() -> (Facts, Vec<(&'static str, &'static [u8])>) {
        let contents: Vec<(&str, &[u8])> = vec![
            ("d1.mbr", b"table"),
            ("d1p1.img.000", b"first "),
            ("d1p1.img.001", b"second"),
        ];
        let mut facts = sample_facts(&["d1p1.img"]);
        facts.files = contents
            .iter()
            .map(|(name, bytes)| StoredFile {
                name: (*name).to_owned(),
                place: name.strip_prefix("d1p1.img.").map(|part| Place {
                    stream: 0,
                    part: part.parse().unwrap(),
                }),
                size: bytes.len() as u64,
                mtime: 1_700_000_000_123_456_789,
                blake3: match name.starts_with("d1p1") {
                    true => String::new(),
                    false => blake3::hash(bytes).to_hex().to_string(),
                },
            })
            .collect();
        let hash = blake3::hash(b"first second").to_hex();
        facts.streams[0].blake3 = hash.parse().unwrap();
        (facts, contents)
    }

    fn fill(copying: &Copying, facts: &Facts, contents: &[(&str, &[u8])]) {
        for (file, (_, bytes)) in facts.files.iter().zip(contents) {
            let have = usize::try_from(copying.have(file).unwrap()).unwrap();
            let mut opened = copying.open(file).unwrap();
            opened.write_all(&bytes[have..]).unwrap();
        }
    }

    fn begin(root: &Path, facts: &Facts) -> Copying {
        Copying::begin(root, "lab", facts, Replace::Never).unwrap()
    }

    fn finish(copying: Copying, facts: &Facts) -> Result<(), CopyError> {
        copying.finish(facts, Replace::Never, &mut |_| {})
    }

    #[test]
    fn a_copy_gets_its_name_when_all_of_it_is_right_and_is_what_was_verified() {
        let root = tempfile::tempdir().unwrap();
        let (facts, contents) = image();
        let copying = begin(root.path(), &facts);
        fill(&copying, &facts, &contents);
        assert!(!root.path().join("lab").exists());
        finish(copying, &facts).unwrap();
        check_unchanged(&root.path().join("lab"), &facts).unwrap();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
        let again = Copying::begin(root.path(), "lab", &facts, Replace::Never);
        assert!(matches!(again.unwrap_err(), CopyError::Exists(_)));
    }

    #[test]
    fn a_copy_that_was_cut_off_goes_on_where_it_was() {
        let root = tempfile::tempdir().unwrap();
        let (facts, contents) = image();
        let copying = begin(root.path(), &facts);
        copying
            .open(&facts.files[1])
            .unwrap()
            .write_all(b"fir")
            .unwrap();
        // A stranger, and a file that is longer than it can be.
        std::fs::write(root.path().join("lab.replicating/other"), "x").unwrap();
        copying
            .open(&facts.files[2])
            .unwrap()
            .write_all(b"much too long")
            .unwrap();
        let copying = begin(root.path(), &facts);
        let have = facts.files.iter().map(|file| copying.have(file).unwrap());
        assert_eq!(have.collect::<Vec<u64>>(), [0, 3, 0]);
        assert!(!root.path().join("lab.replicating/other").exists());
        fill(&copying, &facts, &contents);
        finish(copying, &facts).unwrap();
    }

    #[test]
    fn a_copy_with_a_wrong_byte_anywhere_gets_no_name_and_the_file_is_copied_again() {
        let (facts, contents) = image();
        for wrong in 0..contents.len() {
            let root = tempfile::tempdir().unwrap();
            let copying = begin(root.path(), &facts);
            fill(&copying, &facts, &contents);
            let path = root.path().join("lab.replicating").join(contents[wrong].0);
            let mut bytes = contents[wrong].1.to_vec();
            bytes[1] ^= 1;
            std::fs::write(path, bytes).unwrap();
            let error = finish(copying, &facts).unwrap_err();
            assert!(matches!(error, CopyError::Bytes(_)), "{error}");
            assert!(!root.path().join("lab").exists());
            let copying = begin(root.path(), &facts);
            assert_eq!(copying.have(&facts.files[wrong]).unwrap(), 0);
            fill(&copying, &facts, &contents);
            finish(copying, &facts).unwrap();
        }
    }

    #[test]
    fn a_copy_that_is_not_whole_gets_no_name() {
        let root = tempfile::tempdir().unwrap();
        let (facts, contents) = image();
        let copying = begin(root.path(), &facts);
        fill(&copying, &facts, &contents[..2]);
        finish(copying, &facts).unwrap_err();
        assert!(!root.path().join("lab").exists());
    }

    #[test]
    fn what_is_there_is_replaced_only_if_it_may_be() {
        let root = tempfile::tempdir().unwrap();
        let (facts, contents) = image();
        std::fs::create_dir(root.path().join("lab")).unwrap();
        std::fs::write(root.path().join("lab/old"), "x").unwrap();
        let refused = Copying::begin(root.path(), "lab", &facts, Replace::Never);
        assert!(matches!(refused.unwrap_err(), CopyError::Exists(_)));
        let copying = Copying::begin(root.path(), "lab", &facts, Replace::Other).unwrap();
        fill(&copying, &facts, &contents);
        copying.finish(&facts, Replace::Other, &mut |_| {}).unwrap();
        check_unchanged(&root.path().join("lab"), &facts).unwrap();
        assert!(!root.path().join("lab/old").exists());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn names_lead_nowhere_else() {
        let root = tempfile::tempdir().unwrap();
        let (facts, _) = image();
        for name in ["../x", "/etc/passwd", "a/b", "", ".", "..", "a/"] {
            let mut facts = facts.clone();
            facts.files[0].name = name.to_owned();
            let error = Copying::begin(root.path(), "lab", &facts, Replace::Never);
            assert!(matches!(error.unwrap_err(), CopyError::Name(_)), "{name:?}");
        }
        for path in ["../lab", "/lab", "a/b", ""] {
            let error = Copying::begin(root.path(), path, &facts, Replace::Never);
            assert!(matches!(error.unwrap_err(), CopyError::Path(_)), "{path:?}");
        }
        // A link in the place of a file is no file of the image.
        let copying = begin(root.path(), &facts);
        let link = root.path().join("lab.replicating/d1.mbr");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(copying.open(&facts.files[0]).is_err());
        begin(root.path(), &facts);
        assert!(link.symlink_metadata().is_err());
    }
}
