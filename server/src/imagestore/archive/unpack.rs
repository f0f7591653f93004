//! From an archive to an image directory. Archives come from anywhere.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Component;

use nix::sys::statvfs::statvfs;
use readable::Size;
use tar::{Archive, Entry, EntryType};

use super::{ABOUT, About, MAX_ABOUT, Path, PathBuf, Progress, ScanError, VERSION, io, shown};
use crate::imagestore::{MAX_ENTRIES, image_path};

/// Why an archive was not unpacked. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// It cannot be read.
    #[error("reading the archive: {0}; is it whole, and a tar without compression?")]
    Archive(io::Error),
    /// What it says of itself makes no sense.
    #[error("{ABOUT} in the archive cannot be used: {0}")]
    About(String),
    /// It was written by a later version of this program.
    #[error(
        "the archive is of version {0}, and this program reads version {VERSION}; import it with the version that wrote it"
    )]
    Version(u32),
    /// A member that has no place in an image.
    #[error(
        "{0} in the archive is {1}; an image is one directory of regular files (tar cf IMAGE.tar -C /images IMAGE)"
    )]
    Member(String, &'static str),
    /// There are too many.
    #[error("the archive has more than {MAX_ENTRIES} files; is it one image?")]
    TooMany,
    /// There is nothing in it.
    #[error("there is no file of an image in the archive")]
    Empty,
    /// The name cannot be that of an image directory.
    #[error(transparent)]
    Path(#[from] ScanError),
    /// The place is taken.
    #[error("{} exists; choose another directory with --path", shown(.0))]
    Exists(PathBuf),
    /// Another import has the place.
    #[error(
        "{} exists: another import is at work, or one was cut off. If none is at work, remove that directory",
        shown(.0)
    )]
    InWork(PathBuf),
    /// The disk is too small.
    #[error("{} needs {}, and {} are free there", shown(.path), Size(*.needed), Size(*.free))]
    NoRoom {
        /// Where.
        path: PathBuf,
        /// Bytes.
        needed: u64,
        /// Bytes.
        free: u64,
    },
    /// A file cannot be written.
    #[error("{}: {cause}", shown(.path))]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// An image whose files are on the disk, in a directory that no image has. Removed when dropped.
#[derive(Debug)]
pub struct Unpacked {
    /// What the archive says of it, if it says anything.
    pub about: Option<About>,
    /// Directory below the image root that it is to have.
    pub path: String,
    root: PathBuf,
    /// Directory below the image root in which it is.
    partial: Option<String>,
}

impl Unpacked {
    /// Directory below the image root in which it is.
    #[must_use]
    pub fn partial(&self) -> &str {
        self.partial.as_deref().unwrap_or(&self.path)
    }

    /// Gives it its name. It stays from now on.
    ///
    /// # Errors
    /// If there is something of that name.
    pub fn keep(mut self) -> Result<(), UnpackError> {
        let (from, to) = (self.root.join(self.partial()), self.root.join(&self.path));
        if to.symlink_metadata().is_ok() {
            return Err(UnpackError::Exists(to));
        }
        let failed = |cause| UnpackError::Write {
            path: to.clone(),
            cause,
        };
        // Fails if something that is not empty has come there meanwhile.
        std::fs::rename(&from, &to).map_err(failed)?;
        self.partial = None;
        sync(&self.root)
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            drop(std::fs::remove_dir_all(self.root.join(partial)));
        }
    }
}

/// Writes the files of an archive below `root`, synced, in a directory with a name of its own until [`Unpacked::keep`].
/// `path` is where the image shall be: as in the archive if absent. Blocks.
///
/// # Errors
/// If the archive holds anything but one image, or the files cannot be written.
pub fn unpack(
    from: impl Read,
    root: &Path,
    path: Option<&str>,
    progress: Progress<'_>,
) -> Result<Unpacked, UnpackError> {
    let mut archive = Archive::new(from);
    let mut unpacking = Unpacking {
        root,
        wanted: path,
        unpacked: None,
        about: None,
        dir: None,
        names: BTreeSet::new(),
        done: 0,
        total: 0,
        progress,
    };
    for entry in archive.entries().map_err(UnpackError::Archive)? {
        unpacking.member(entry.map_err(UnpackError::Archive)?)?;
    }
    let mut unpacked = unpacking.unpacked.ok_or(UnpackError::Empty)?;
    unpacked.about = unpacking.about;
    sync(&root.join(unpacked.partial()))?;
    Ok(unpacked)
}

struct Unpacking<'a> {
    root: &'a Path,
    wanted: Option<&'a str>,
    about: Option<About>,
    /// Begun with the first file.
    unpacked: Option<Unpacked>,
    /// Name of the directory in the archive.
    dir: Option<String>,
    names: BTreeSet<String>,
    done: u64,
    total: u64,
    progress: Progress<'a>,
}

/// Where a member belongs.
enum Member {
    About,
    /// Of the directory itself.
    Directory,
    File {
        dir: String,
        name: String,
    },
}

impl Unpacking<'_> {
    fn member(&mut self, entry: Entry<'_, impl Read>) -> Result<(), UnpackError> {
        match member(&entry)? {
            Member::Directory => Ok(()),
            Member::About => self.about(entry),
            Member::File { dir, name } => self.file(entry, dir, name),
        }
    }

    fn about(&mut self, entry: Entry<'_, impl Read>) -> Result<(), UnpackError> {
        if self.about.is_some() || self.unpacked.is_some() {
            let text = "it is there twice, or not the first member".to_owned();
            return Err(UnpackError::About(text));
        }
        if entry.size() > MAX_ABOUT {
            let text = format!("it has {}", Size(entry.size()));
            return Err(UnpackError::About(text));
        }
        let size = entry.size();
        let mut bytes = Vec::new();
        let mut entry = entry.take(MAX_ABOUT);
        entry
            .read_to_end(&mut bytes)
            .map_err(UnpackError::Archive)?;
        if bytes.len() as u64 != size {
            let cause = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(UnpackError::Archive(cause));
        }
        let of = |error: serde_json::Error| UnpackError::About(error.to_string());
        let version: Versioned = serde_json::from_slice(&bytes).map_err(of)?;
        if version.version != VERSION {
            return Err(UnpackError::Version(version.version));
        }
        let about: About = serde_json::from_slice(&bytes).map_err(of)?;
        if let Some(facts) = &about.facts {
            let sizes = facts.files.iter().map(|file| file.size);
            self.total = sizes.fold(0, u64::saturating_add);
        }
        self.about = Some(about);
        Ok(())
    }

    fn file(
        &mut self,
        mut entry: Entry<'_, impl Read>,
        dir: String,
        name: String,
    ) -> Result<(), UnpackError> {
        let full = format!("{dir}/{name}");
        if self.dir.get_or_insert_with(|| dir.clone()) != &dir {
            return Err(refused(
                &full,
                "of another directory than the file before it",
            ));
        }
        if self.names.len() >= MAX_ENTRIES {
            return Err(UnpackError::TooMany);
        }
        if !self.names.insert(name.clone()) {
            return Err(refused(&full, "there twice"));
        }
        let partial = self.begin(&dir)?;
        let path = partial.join(&name);
        let size = entry.size();
        self.check_room(&partial, size)?;
        let failed = |cause| UnpackError::Write {
            path: path.clone(),
            cause,
        };
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(failed)?;
        let before = self.done;
        let mut reader = Told {
            inner: &mut entry,
            name: &name,
            done: &mut self.done,
            total: self.total,
            progress: self.progress,
            failure: None,
        };
        let copied = io::copy(&mut reader, &mut file);
        let failure = reader.failure.take();
        match (copied, failure) {
            (_, Some(cause)) => Err(UnpackError::Archive(cause)),
            (Err(cause), None) => Err(failed(cause)),
            (Ok(_), None) if self.done - before != size => {
                let cause = io::Error::from(io::ErrorKind::UnexpectedEof);
                Err(UnpackError::Archive(cause))
            }
            (Ok(_), None) => file.sync_all().map_err(failed),
        }
    }

    /// The directory for the files, made with the first one.
    fn begin(&mut self, dir: &str) -> Result<PathBuf, UnpackError> {
        if let Some(unpacked) = &self.unpacked {
            return Ok(self.root.join(unpacked.partial()));
        }
        let about = self.about.as_ref().map(|about| about.path.as_str());
        let path = image_path(self.wanted.or(about).unwrap_or(dir))?;
        let to = self.root.join(&path);
        if to.symlink_metadata().is_ok() {
            return Err(UnpackError::Exists(to));
        }
        let name = image_path(&format!("{path}{PARTIAL}"))?;
        let partial = self.root.join(&name);
        match DirBuilder::new().mode(0o755).create(&partial) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(UnpackError::InWork(partial));
            }
            Err(cause) => {
                return Err(UnpackError::Write {
                    path: partial,
                    cause,
                });
            }
        }
        self.unpacked = Some(Unpacked {
            about: None,
            path,
            root: self.root.to_owned(),
            partial: Some(name),
        });
        let left = self.total;
        self.check_room(&partial, left)?;
        Ok(partial)
    }

    fn check_room(&self, dir: &Path, needed: u64) -> Result<(), UnpackError> {
        // Who cannot ask will see when it is full.
        let Ok(found) = statvfs(dir) else {
            return Ok(());
        };
        let blocks: u64 = found.blocks_available();
        let free = blocks.saturating_mul(found.fragment_size());
        match needed <= free {
            true => Ok(()),
            false => Err(UnpackError::NoRoom {
                path: dir.to_owned(),
                needed,
                free,
            }),
        }
    }
}

/// What the name of a directory ends with while an archive is unpacked in it.
const PARTIAL: &str = ".importing";

#[derive(serde::Deserialize)]
struct Versioned {
    version: u32,
}

fn refused(member: &str, what: &'static str) -> UnpackError {
    UnpackError::Member(fog::encoding::printable(member, 120), what)
}

fn member(entry: &Entry<'_, impl Read>) -> Result<Member, UnpackError> {
    let bytes = entry.path_bytes();
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return Err(refused(
            &String::from_utf8_lossy(&bytes),
            "no text in UTF-8",
        ));
    };
    let kind = entry.header().entry_type();
    let is_directory = match kind {
        EntryType::Directory => true,
        EntryType::Regular | EntryType::Continuous => false,
        EntryType::Link | EntryType::Symlink => return Err(refused(text, "a link")),
        EntryType::GNUSparse => {
            return Err(refused(text, "a sparse file (pack it without --sparse)"));
        }
        EntryType::Char | EntryType::Block | EntryType::Fifo => {
            return Err(refused(text, "a device or a FIFO"));
        }
        _ => return Err(refused(text, "no file")),
    };
    let mut names = Vec::new();
    for part in Path::new(text).components() {
        match part {
            Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_str().unwrap_or_default()),
            Component::Prefix(_) | Component::RootDir | Component::ParentDir => {
                return Err(refused(text, "a path that leads out of the archive"));
            }
        }
    }
    match (is_directory, names.as_slice()) {
        (true, [] | [_]) => Ok(Member::Directory),
        (false, [ABOUT]) => Ok(Member::About),
        (false, [dir, name]) => Ok(Member::File {
            dir: (*dir).to_owned(),
            name: (*name).to_owned(),
        }),
        _ => Err(refused(text, "not in the directory of the image")),
    }
}

/// Makes names last.
fn sync(dir: &Path) -> Result<(), UnpackError> {
    let synced = File::open(dir).and_then(|opened| opened.sync_all());
    synced.map_err(|cause| UnpackError::Write {
        path: dir.to_owned(),
        cause,
    })
}

/// The bytes of a member; what goes wrong here is no fault of the file that is written.
struct Told<'a, R> {
    inner: R,
    name: &'a str,
    done: &'a mut u64,
    total: u64,
    progress: &'a mut dyn FnMut(&str, u64, u64),
    failure: Option<io::Error>,
}

impl<R: Read> Read for Told<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(read) => {
                *self.done += read as u64;
                (self.progress)(self.name, *self.done, self.total);
                Ok(read)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let kind = error.kind();
                self.failure = Some(error);
                Err(kind.into())
            }
        }
    }
}
