//! An open image directory. Its files are opened relative to it and never lead out of it.
//!
//! What a client asks for is served from here, and whoever may write into the image store decides what
//! lies in the directory. So a link that leads out of it would hand any file of the server to
//! strangers, and opening a FIFO or a device would block or do harm.

use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use fog::encoding::printable;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, OpenHow, ResolveFlag, fcntl, openat, openat2};
use nix::sys::stat::Mode;

/// An image directory that is open.
///
/// All calls block on the disk; they belong on a thread that may block.
#[derive(Debug)]
pub struct ImageDir {
    fd: OwnedFd,
    path: PathBuf,
    lookup: Lookup,
}

/// How a name is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lookup {
    /// `openat2` with `RESOLVE_BENEATH`: links within the directory are followed (Linux 5.6).
    Beneath,
    /// No link is followed, because the kernel cannot say where it leads.
    NoFollow,
}

/// Why a file of an image is not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be opened or looked at.
    #[error("{}: {cause}", shown(.path))]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The name has a directory in it, or is none.
    #[error("{:?} is not the name of a file in the image directory {}", shown(Path::new(.name)), shown(.dir))]
    Name {
        /// The name.
        name: String,
        /// The directory.
        dir: PathBuf,
    },
    /// A symbolic link to somewhere else.
    #[error(
        "{} is a link that leads out of the image directory, or back to itself; put the file itself \
         there", shown(.path)
    )]
    LeadsOut {
        /// Which.
        path: PathBuf,
    },
    /// A symbolic link, and a kernel that cannot keep it inside.
    #[error(
        "{} is a link, and this kernel (before Linux 5.6) cannot check where it leads; put the file \
         itself there", shown(.path)
    )]
    Link {
        /// Which.
        path: PathBuf,
    },
    /// Something else than a file.
    #[error("{} is {kind}, not a regular file", shown(.path))]
    NotRegular {
        /// Which.
        path: PathBuf,
        /// What it is.
        kind: FileKind,
    },
}

impl FileError {
    /// Whether there is nothing of that name.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { cause, .. } if cause.kind() == io::ErrorKind::NotFound)
    }
}

/// What is no regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
    /// A block or character device.
    Device,
    /// Anything else.
    Other,
}

impl FileKind {
    fn of(metadata: &Metadata) -> Self {
        let kind = metadata.file_type();
        if kind.is_dir() {
            Self::Directory
        } else if kind.is_fifo() {
            Self::Fifo
        } else if kind.is_socket() {
            Self::Socket
        } else if kind.is_block_device() || kind.is_char_device() {
            Self::Device
        } else {
            Self::Other
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Directory => "a directory",
            Self::Fifo => "a FIFO (named pipe)",
            Self::Socket => "a socket",
            Self::Device => "a device",
            Self::Other => "something special",
        })
    }
}

impl ImageDir {
    /// Opens the directory. It may be a link itself: that is the administrator's choice.
    ///
    /// # Errors
    /// If it cannot be opened or is no directory.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let fd = nix::fcntl::open(path, flags, Mode::empty())?;
        let mut dir = Self {
            fd,
            path: path.to_owned(),
            lookup: Lookup::Beneath,
        };
        match dir.lookup(Path::new("."), OFlag::O_PATH) {
            Ok(_) => {}
            // EPERM: filters of system calls answer so for one they do not know.
            Err(Errno::ENOSYS | Errno::EPERM) => dir.lookup = Lookup::NoFollow,
            Err(errno) => return Err(errno.into()),
        }
        Ok(dir)
    }

    /// Where it is, for texts.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names in it, in any order.
    pub(super) fn names(&self) -> io::Result<impl Iterator<Item = io::Result<Entry>>> {
        // Of its own position: this may be called again.
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let dir = Dir::openat(&self.fd, ".", flags, Mode::empty())?;
        Ok(dir.into_iter().filter_map(|entry| {
            let entry = match entry {
                Ok(entry) => entry,
                Err(errno) => return Some(Err(errno.into())),
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                return None;
            }
            Some(Ok(Entry {
                name: name.to_str().map(ToOwned::to_owned).map_err(|_| {
                    // For people: what it is called as far as that can be shown.
                    name.to_string_lossy().into_owned()
                }),
                is_directory: entry.file_type() == Some(nix::dir::Type::Directory),
            }))
        }))
    }

    /// Size and date of a regular file, which is not opened for it.
    ///
    /// # Errors
    /// If it is not there or no regular file.
    pub fn metadata(&self, name: &str) -> Result<Metadata, FileError> {
        let file = self.open_as(name, OFlag::O_PATH)?;
        self.regular(name, &file)
    }

    /// Opens a regular file for reading.
    ///
    /// # Errors
    /// If it is not there or no regular file.
    pub fn file(&self, name: &str) -> Result<(File, Metadata), FileError> {
        // Looked at first: opening a device may already do something.
        self.metadata(name)?;
        // Without waiting, should it have become a FIFO meanwhile.
        let file = self.open_as(name, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
        let metadata = self.regular(name, &file)?;
        fcntl(&file, FcntlArg::F_SETFL(OFlag::empty())).map_err(|errno| self.io(name, errno))?;
        Ok((file, metadata))
    }

    fn open_as(&self, name: &str, flags: OFlag) -> Result<File, FileError> {
        let path = Path::new(name);
        let is_name = path.file_name() == Some(path.as_os_str()) && !name.contains('\0');
        if !is_name {
            return Err(FileError::Name {
                name: name.to_owned(),
                dir: self.path.clone(),
            });
        }
        match self.lookup(path, flags) {
            Ok(fd) => Ok(File::from(fd)),
            Err(Errno::EXDEV | Errno::ELOOP) if self.lookup == Lookup::Beneath => {
                Err(FileError::LeadsOut {
                    path: self.path.join(name),
                })
            }
            Err(Errno::ELOOP) => Err(FileError::Link {
                path: self.path.join(name),
            }),
            Err(errno) => Err(self.io(name, errno)),
        }
    }

    fn lookup(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        let flags = flags | OFlag::O_CLOEXEC;
        if self.lookup == Lookup::NoFollow {
            return openat(&self.fd, path, flags | OFlag::O_NOFOLLOW, Mode::empty());
        }
        let how = OpenHow::new()
            .flags(flags)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        // EAGAIN: something was renamed meanwhile, so that `..` in a link could not be judged.
        for _ in 0..RENAME_RETRIES {
            match openat2(self.fd.as_fd(), path, how) {
                Err(Errno::EAGAIN) => {}
                done => return done,
            }
        }
        openat2(self.fd.as_fd(), path, how)
    }

    fn regular(&self, name: &str, file: &File) -> Result<Metadata, FileError> {
        let metadata = file.metadata().map_err(|cause| FileError::Io {
            path: self.path.join(name),
            cause,
        })?;
        if metadata.is_file() {
            return Ok(metadata);
        }
        let path = self.path.join(name);
        // Opened as such, a link shows itself: with `O_PATH` it is no error.
        if metadata.is_symlink() {
            return Err(FileError::Link { path });
        }
        Err(FileError::NotRegular {
            path,
            kind: FileKind::of(&metadata),
        })
    }

    fn io(&self, name: &str, errno: Errno) -> FileError {
        FileError::Io {
            path: self.path.join(name),
            cause: errno.into(),
        }
    }
}

/// Something in the directory.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its name; `Err` with what can be shown of a name that is no UTF-8.
    pub(super) name: Result<String, String>,
    /// Whether the directory says that it is a directory.
    pub(super) is_directory: bool,
}

/// A path for people: whoever may write into the store chooses the names in it.
pub(super) fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy(), MAX_SHOWN)
}

/// Last change of a file in nanoseconds since 1970; 0 where the file system does not tell.
#[must_use]
pub fn mtime_nanos(metadata: &Metadata) -> i64 {
    let modified = metadata.modified().ok();
    let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since
        .and_then(|age| i64::try_from(age.as_nanos()).ok())
        .unwrap_or(0)
}

const RENAME_RETRIES: u32 = 16;
/// Characters of a path in a text.
const MAX_SHOWN: usize = 512;

#[cfg(test)]
pub(super) mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    fn opened(path: &Path, lookup: Lookup) -> ImageDir {
        let mut dir = ImageDir::open(path).unwrap();
        assert_eq!(dir.lookup, Lookup::Beneath, "the kernel has openat2");
        dir.lookup = lookup;
        dir
    }

    fn both(path: &Path) -> [ImageDir; 2] {
        [Lookup::Beneath, Lookup::NoFollow].map(|lookup| opened(path, lookup))
    }

    #[test]
    fn regular_files_are_read() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("d1.mbr"), b"content").unwrap();
        let real = root.path().join("real");
        std::fs::create_dir(&real).unwrap();
        std::fs::write(real.join("d1.mbr"), b"content").unwrap();
        symlink(&real, root.path().join("link")).unwrap();
        for path in [root.path(), &root.path().join("link")] {
            for dir in both(path) {
                let (mut file, metadata) = dir.file("d1.mbr").unwrap();
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).unwrap();
                assert_eq!((&bytes[..], metadata.len()), (&b"content"[..], 7));
                let flags = fcntl(&file, FcntlArg::F_GETFL).unwrap();
                assert!(!OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK));
                assert!(dir.metadata("other").unwrap_err().is_not_found());
            }
        }
        ImageDir::open(&root.path().join("d1.mbr")).unwrap_err();
        ImageDir::open(&root.path().join("nothing")).unwrap_err();
    }

    #[test]
    fn links_stay_inside() {
        let root = tempfile::tempdir().unwrap();
        let inside = root.path().join("img");
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(root.path().join("secret"), b"x").unwrap();
        std::fs::write(inside.join("file"), b"x").unwrap();
        symlink("file", inside.join("good")).unwrap();
        symlink("../img/file", inside.join("out-and-in")).unwrap();
        symlink("../secret", inside.join("up")).unwrap();
        symlink(root.path().join("secret"), inside.join("absolute")).unwrap();
        symlink("/proc/self/exe", inside.join("magic")).unwrap();
        symlink("/dev/null", inside.join("device")).unwrap();
        symlink("loop", inside.join("loop")).unwrap();
        let [beneath, no_follow] = both(&inside);
        beneath.file("good").unwrap();
        for name in ["out-and-in", "up", "absolute", "magic", "device", "loop"] {
            for result in [
                beneath.file(name).map(drop),
                beneath.metadata(name).map(drop),
            ] {
                let error = result.unwrap_err();
                assert!(
                    matches!(error, FileError::LeadsOut { .. }),
                    "{name}: {error}"
                );
                assert!(error.to_string().contains(name), "{error}");
            }
        }
        for name in ["good", "up", "absolute", "magic", "loop"] {
            let error = no_follow.file(name).unwrap_err();
            assert!(matches!(error, FileError::Link { .. }), "{name}: {error}");
        }
        symlink("gone", inside.join("dangling")).unwrap();
        assert!(beneath.file("dangling").unwrap_err().is_not_found());
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        nix::unistd::mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
        let _listener = UnixListener::bind(path("socket")).unwrap();
        std::fs::create_dir(path("directory")).unwrap();
        let device = nix::sys::stat::mknod(
            &path("device"),
            nix::sys::stat::SFlag::S_IFCHR,
            Mode::S_IRWXU,
            nix::sys::stat::makedev(1, 3),
        );
        let mut expected = vec![
            ("fifo", FileKind::Fifo),
            ("socket", FileKind::Socket),
            ("directory", FileKind::Directory),
        ];
        // Only root may make one.
        if device.is_ok() {
            expected.push(("device", FileKind::Device));
        }
        for dir in both(root.path()) {
            for (name, kind) in &expected {
                match dir.file(name).unwrap_err() {
                    FileError::NotRegular { kind: found, .. } => assert_eq!(found, *kind),
                    other => panic!("{name}: {other}"),
                }
            }
        }
    }

    #[test]
    fn only_names_are_looked_up() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("sub")).unwrap();
        std::fs::write(root.path().join("sub/file"), b"x").unwrap();
        for dir in both(root.path()) {
            for name in ["", ".", "..", "sub/file", "/etc/passwd", "sub/", "a\0b"] {
                let error = dir.file(name).unwrap_err();
                assert!(matches!(error, FileError::Name { .. }), "{name}: {error}");
            }
            let long = "x".repeat(300);
            assert!(matches!(dir.file(&long), Err(FileError::Io { .. })));
        }
    }
}
