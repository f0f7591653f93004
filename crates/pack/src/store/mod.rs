//! Packs in a directory (3.3): ROOT.frames, ROOT.manifest and, if it is signed, ROOT.signature.
//!
//! A pack is there when its manifest is, which is renamed last. Who reads a pack has a shared lock on its manifest: it
//! is not evicted meanwhile. When a pack was last used is the time of change of its manifest.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::{Builder, NamedTempFile};

use crate::manifest::MAX_MANIFEST_LEN;
use crate::root::{Root, Signature};
use crate::writer::Written;

/// A directory of packs.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

/// A pack in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pack {
    /// Its name.
    pub root: Root,
    /// Bytes of its files.
    pub len: u64,
    /// When it was last used.
    pub used: SystemTime,
}

/// Why something is not stored, or not found.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file or the directory cannot be used.
    #[error("{what} {}", .path.display())]
    Io {
        /// What was done.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// The file system, or what packs may have of it, is too small.
    #[error("{needed} bytes needed, {free} free in {}", .dir.display())]
    NoRoom {
        /// Bytes that the pack needs.
        needed: u64,
        /// Bytes that there are, when all that may go is gone.
        free: u64,
        /// Where.
        dir: PathBuf,
    },
    /// Two packs are not made at a time.
    #[error("another program makes a pack in {}; wait until it is done", .0.display())]
    Busy(PathBuf),
    /// There is no manifest that could be one.
    #[error("{} has {len} bytes, which is too much for a manifest", .path.display())]
    Manifest {
        /// Which.
        path: PathBuf,
        /// Its length.
        len: u64,
    },
    /// A file is not what its name says.
    #[error("{} is not the manifest that its name says: it was changed, or renamed", .0.display())]
    OtherRoot(PathBuf),
    /// A signature file has another length.
    #[error("{} is no signature: it has to have {} bytes", .0.display(), Signature::LEN)]
    Signature(PathBuf),
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |cause| StoreError::Io { what, path, cause }
}

/// A pack that is opened. It is not evicted until this is dropped.
#[derive(Debug)]
pub struct OpenPack {
    /// Its name.
    pub root: Root,
    /// The bytes of its manifest, whose root it is.
    pub manifest: Vec<u8>,
    /// Who says that it counts.
    pub signature: Option<Signature>,
    /// Its frames.
    pub frames: File,
    /// Its manifest, with a lock.
    lock: File,
}

impl OpenPack {
    /// Opens a pack by the name of its manifest, wherever it is; frames and signature are beside it. A name that is a
    /// root has to be the right one.
    ///
    /// # Errors
    /// A file cannot be read, or is not what its name says.
    pub fn at(path: &Path) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(failed("opening the manifest", path))?;
        // On a file system without locks nothing evicts either.
        drop(file.try_lock_shared());
        let len = file.metadata().map_err(failed("looking at", path))?.len();
        if len > MAX_MANIFEST_LEN {
            return Err(StoreError::Manifest {
                path: path.to_owned(),
                len,
            });
        }
        let mut manifest = Vec::new();
        let mut reader = (&file).take(MAX_MANIFEST_LEN);
        reader
            .read_to_end(&mut manifest)
            .map_err(failed("reading", path))?;
        let root = Root::of(&manifest);
        let named = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse::<Root>().ok());
        if named.is_some_and(|named| named != root) {
            return Err(StoreError::OtherRoot(path.to_owned()));
        }
        let frames = path.with_extension(FRAMES);
        Ok(Self {
            root,
            manifest,
            signature: signature(&path.with_extension(SIGNATURE))?,
            frames: File::open(&frames).map_err(failed("opening the frames", &frames))?,
            lock: file,
        })
    }
}

fn signature(path: &Path) -> Result<Option<Signature>, StoreError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed("opening the signature", path))?,
    };
    let mut bytes = Vec::new();
    let mut reader = file.take(Signature::LEN as u64 + 1);
    reader
        .read_to_end(&mut bytes)
        .map_err(failed("reading", path))?;
    let signature = Signature::parse(&bytes);
    signature
        .map(Some)
        .ok_or_else(|| StoreError::Signature(path.to_owned()))
}

const FRAMES: &str = "frames";
const MANIFEST: &str = "manifest";
const SIGNATURE: &str = "signature";
const ENDINGS: [&str; 3] = [MANIFEST, FRAMES, SIGNATURE];
/// What a file that is being written begins with.
const NEW: &str = ".new-";
const LOCK: &str = ".lock";

impl Store {
    /// The packs in `dir`, which is made where it is missing, for this user alone.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(dir);
        made.map_err(failed("making the directory", dir))?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// Where they are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All packs, the least recently used first.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn list(&self) -> Result<Vec<Pack>, StoreError> {
        let mut packs = Vec::new();
        for name in self.names()? {
            if name.ending == MANIFEST
                && let Some(pack) = self.look(name.root)?
            {
                packs.push(pack);
            }
        }
        packs.sort_by_key(|pack| (pack.used, *pack.root.as_bytes()));
        Ok(packs)
    }

    /// The manifest's name.
    #[must_use]
    pub fn manifest(&self, root: &Root) -> PathBuf {
        self.file(root, MANIFEST)
    }

    /// Opens a pack and notes that it is used.
    ///
    /// # Errors
    /// Of [`OpenPack::at`].
    pub fn open_pack(&self, root: &Root) -> Result<OpenPack, StoreError> {
        let pack = OpenPack::at(&self.manifest(root))?;
        // Where that is not allowed, it is evicted earlier.
        drop(pack.lock.set_modified(SystemTime::now()));
        Ok(pack)
    }

    /// Puts a signature beside a manifest.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn sign(&self, root: &Root, signature: &Signature) -> Result<(), StoreError> {
        let path = self.file(root, SIGNATURE);
        let file = self.written(&signature.to_bytes())?;
        persist(file, &path)?;
        self.sync()
    }

    /// Removes a pack that nobody uses: whether it is gone.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn remove(&self, root: &Root) -> Result<bool, StoreError> {
        let path = self.manifest(root);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            opened => opened.map_err(failed("opening the manifest", &path))?,
        };
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Ok(false);
        }
        for ending in ENDINGS {
            unlink(&self.file(root, ending))?;
        }
        Ok(true)
    }

    /// Begins a pack that will need about `needed` bytes, evicting others for it. All packs together may have `quota`
    /// bytes; without one, half of what is free without them. What an earlier program left unfinished is removed.
    ///
    /// # Errors
    /// There is no room, or another program makes a pack.
    pub fn create(&self, needed: u64, quota: Option<u64>) -> Result<NewPack, StoreError> {
        let path = self.dir.join(LOCK);
        let mut options = OpenOptions::new();
        let opened = options
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path);
        let lock = opened.map_err(failed("opening", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Busy(self.dir.clone())),
            Err(TryLockError::Error(cause)) => return Err(failed("locking", &path)(cause)),
        }
        self.sweep()?;
        let quota = match quota {
            Some(quota) => quota,
            None => {
                let packs: u64 = self.list()?.iter().map(|pack| pack.len).sum();
                self.free()?.saturating_add(packs) / 2
            }
        };
        let room = self.make_room(needed, quota)?;
        Ok(NewPack {
            store: self.clone(),
            frames: self.temporary()?,
            quota,
            max_len: room,
            _lock: lock,
        })
    }

    /// Evicts packs until `needed` bytes are left of `quota` and of the file system. Says how many there can be.
    fn make_room(&self, needed: u64, quota: u64) -> Result<u64, StoreError> {
        let mut packs = self.list()?;
        packs.reverse();
        let mut used: u64 = packs.iter().map(|pack| pack.len).sum();
        loop {
            let free = self.free()?.min(quota.saturating_sub(used));
            if free >= needed {
                break;
            }
            let Some(oldest) = packs.pop() else {
                return Err(StoreError::NoRoom {
                    needed,
                    free,
                    dir: self.dir.clone(),
                });
            };
            if self.remove(&oldest.root)? {
                used = used.saturating_sub(oldest.len);
            }
        }
        let packs = self.list()?;
        let pinned = packs.iter().filter(|pack| self.is_in_use(&pack.root));
        let pinned: u64 = pinned.map(|pack| pack.len).sum();
        Ok(quota.saturating_sub(pinned))
    }

    /// Whether somebody reads it at this moment.
    fn is_in_use(&self, root: &Root) -> bool {
        let file = File::open(self.manifest(root));
        file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
    }

    fn free(&self) -> Result<u64, StoreError> {
        let found = nix::sys::statvfs::statvfs(&self.dir);
        let found = found
            .map_err(|error| failed("looking at the file system of", &self.dir)(error.into()))?;
        Ok(found
            .blocks_available()
            .saturating_mul(found.fragment_size()))
    }

    fn look(&self, root: Root) -> Result<Option<Pack>, StoreError> {
        let mut pack = Pack {
            root,
            len: 0,
            used: SystemTime::UNIX_EPOCH,
        };
        for ending in ENDINGS {
            let is_manifest = ending == MANIFEST;
            let path = self.file(&root, ending);
            match fs::symlink_metadata(&path) {
                // Another program may remove it just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if is_manifest {
                        return Ok(None);
                    }
                }
                found => {
                    let found = found.map_err(failed("looking at", &path))?;
                    pack.len = pack.len.saturating_add(found.len());
                    if is_manifest {
                        let changed = found.modified();
                        pack.used = changed.map_err(failed("looking at", &path))?;
                    }
                }
            }
        }
        Ok(Some(pack))
    }

    /// Removes what was not finished.
    fn sweep(&self) -> Result<(), StoreError> {
        let read = failed("reading the directory", &self.dir);
        for entry in fs::read_dir(&self.dir).map_err(read)? {
            let entry = entry.map_err(failed("reading the directory", &self.dir))?;
            if entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(NEW.as_bytes())
            {
                unlink(&entry.path())?;
            }
        }
        for name in self.names()? {
            if name.ending != MANIFEST && !self.manifest(&name.root).exists() {
                unlink(&self.file(&name.root, name.ending))?;
            }
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<Name>, StoreError> {
        let mut names = Vec::new();
        let read = failed("reading the directory", &self.dir);
        for entry in fs::read_dir(&self.dir).map_err(read)? {
            let entry = entry.map_err(failed("reading the directory", &self.dir))?;
            names.extend(entry.file_name().to_str().and_then(Name::parse));
        }
        Ok(names)
    }

    fn file(&self, root: &Root, ending: &str) -> PathBuf {
        self.dir.join(format!("{root}.{ending}"))
    }

    fn temporary(&self) -> Result<NamedTempFile, StoreError> {
        let mut builder = Builder::new();
        let made = builder.prefix(NEW).tempfile_in(&self.dir);
        made.map_err(failed("making a file in", &self.dir))
    }

    /// A new file with these bytes, on the medium.
    fn written(&self, bytes: &[u8]) -> Result<NamedTempFile, StoreError> {
        let mut file = self.temporary()?;
        let written = file
            .write_all(bytes)
            .and_then(|()| file.as_file().sync_all());
        written.map_err(failed("writing", file.path()))?;
        Ok(file)
    }

    fn sync(&self) -> Result<(), StoreError> {
        let synced = File::open(&self.dir).and_then(|dir| dir.sync_all());
        synced.map_err(failed("syncing", &self.dir))
    }
}

/// The name of a file of a pack.
struct Name {
    root: Root,
    ending: &'static str,
}

impl Name {
    fn parse(name: &str) -> Option<Self> {
        let (root, ending) = name.split_once('.')?;
        let ending = ENDINGS.into_iter().find(|known| *known == ending)?;
        Some(Self {
            root: root.parse().ok()?,
            ending,
        })
    }
}

/// A pack that is being made. Dropped before it is [kept](Self::keep), it leaves nothing behind.
#[derive(Debug)]
pub struct NewPack {
    store: Store,
    frames: NamedTempFile,
    quota: u64,
    max_len: u64,
    _lock: File,
}

impl NewPack {
    /// What its frames are written to.
    ///
    /// # Errors
    /// The system has no more files.
    pub fn frames(&self) -> Result<File, StoreError> {
        let file = self.frames.as_file().try_clone();
        file.map_err(failed("opening", self.frames.path()))
    }

    /// Bytes that it may have, when all that may go is evicted.
    #[must_use]
    pub fn max_len(&self) -> u64 {
        self.max_len
    }

    /// It is complete: brings it to the medium, and gives it its name.
    ///
    /// # Errors
    /// There is no room for it after all, or something cannot be written. Then it is not there.
    pub fn keep(
        self,
        written: Written<File>,
        signature: Option<&Signature>,
    ) -> Result<Pack, StoreError> {
        let (store, root) = (&self.store, written.root);
        let len = written
            .frames_len
            .saturating_add(written.manifest.len() as u64);
        // A pack of the same bytes gives way to this one.
        if !store.remove(&root)? {
            // Somebody reads it: it is what was to be made.
            if let Some(pack) = store.look(root)? {
                return Ok(pack);
            }
        }
        // The frames have their place on the file system already.
        let others = self.quota.saturating_sub(len);
        let mut packs = store.list()?;
        packs.reverse();
        let mut used: u64 = packs.iter().map(|pack| pack.len).sum();
        while used > others {
            let Some(oldest) = packs.pop() else {
                return Err(StoreError::NoRoom {
                    needed: len,
                    free: self.quota.saturating_sub(used),
                    dir: store.dir.clone(),
                });
            };
            if store.remove(&oldest.root)? {
                used = used.saturating_sub(oldest.len);
            }
        }
        let synced = written.frames.sync_all();
        synced.map_err(failed("syncing", self.frames.path()))?;
        let manifest = store.written(&written.manifest)?;
        let signature = signature.map(|signature| store.written(&signature.to_bytes()));
        let signature = signature.transpose()?;
        persist(self.frames, &store.file(&root, FRAMES))?;
        if let Some(signature) = signature {
            persist(signature, &store.file(&root, SIGNATURE))?;
        }
        persist(manifest, &store.manifest(&root))?;
        store.sync()?;
        let path = store.manifest(&root);
        let gone = || failed("looking at", &path)(io::ErrorKind::NotFound.into());
        store.look(root)?.ok_or_else(gone)
    }
}

fn persist(file: NamedTempFile, path: &Path) -> Result<(), StoreError> {
    let kept = file.persist(path);
    kept.map_err(|error| failed("renaming to", path)(error.error))?;
    Ok(())
}

fn unlink(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(failed("removing", path)),
    }
}

#[cfg(test)]
mod tests;
