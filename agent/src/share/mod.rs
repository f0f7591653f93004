//! The image share of FOG's own servers: an NFS export that has the small files of every image, and the data
//! for deploys to one machine.

mod mount;
mod starts;

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

use fog::KernelArgs;
use fog::task::ImageType;
use nix::errno::Errno;
use readable::Time;
use tokio::sync::oneshot;

use self::mount::{MountError, Mounted};
use crate::image_dir::{self, Depth, ImageDirectory, Stop};
use crate::screen::Board;

/// The share, as long as it is needed.
#[derive(Debug)]
pub(crate) struct Share {
    /// Its root.
    root: PathBuf,
    /// As people know it.
    shown: String,
    /// Unmounts it; `None` if it was there before.
    _mounted: Option<Mounted>,
}

/// An image in the share.
pub(crate) struct SharedImage {
    /// What its directory holds.
    pub(crate) image: ImageDirectory,
    /// The first bytes of each stream, in the order of the manifest's: all of it, or as many as are enough to know it
    /// by.
    pub(crate) starts: Vec<Vec<u8>>,
    share: Share,
}

impl SharedImage {
    /// Where the share is, as long as this lives.
    pub(crate) fn root(&self) -> &Path {
        &self.share.root
    }

    /// The share, as people know it.
    pub(crate) fn shown(&self) -> &str {
        &self.share.shown
    }
}

/// Why the image is not available.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShareError {
    /// An argument leads to no share or image.
    #[error(transparent)]
    Argument(#[from] fog::args::ArgsError),
    /// The type in `imgType` is no type of FOG's.
    #[error("kernel argument imgType={0:?} is not a type of image: n, mps, mpa or dd")]
    Type(String),
    #[error(transparent)]
    Mount(MountError),
    /// A share without its mark may be an empty directory below the mount point of a disk.
    #[error(
        "{share} has no file .mntcheck: it is not the directory with the images, or the disk with the images is not \
         mounted on the server"
    )]
    NoMark { share: String },
    #[error(
        "{share} has no directory {name}: the image was deleted, renamed, or is on another storage node"
    )]
    NoImage { share: String, name: String },
    /// It is there, and cannot be read.
    #[error(
        "{share}: {what} cannot be read: {source}; check the disk of the NFS server, its log, and the network"
    )]
    Unreadable {
        share: String,
        what: String,
        source: io::Error,
    },
    /// What is there cannot be deployed.
    #[error("image {name} in {share}: {text}")]
    Image {
        share: String,
        name: String,
        text: String,
    },
    /// No answer of the server's NFS.
    #[error(
        "{share} does not answer: {what} takes longer than {}; check the NFS server and the network", Time(*.limit)
    )]
    Hangs {
        share: String,
        what: &'static str,
        limit: Duration,
    },
    #[error("a thread could not be started: {0}")]
    Thread(io::Error),
    #[error("{0} stopped by a programming error")]
    Panic(&'static str),
}

impl ShareError {
    /// Whether the storage node is to blame, so that the server shall choose another one.
    pub(crate) fn is_of_node(&self) -> bool {
        matches!(
            self,
            Self::Mount(_) | Self::NoMark { .. } | Self::Unreadable { .. } | Self::Hangs { .. }
        )
    }
}

/// How long the share is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For one step.
    pub(crate) step: Duration,
    /// For a server that may still be starting.
    pub(crate) tries: Duration,
    /// Between two tries.
    pub(crate) pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            step: Duration::from_secs(150),
            tries: Duration::from_secs(120),
            pause: Duration::from_secs(5),
        }
    }
}

/// Mounts the share of `args`, or takes the one that is at `given`, and reads the image's directory.
///
/// # Errors
/// What is wrong with the share or the image.
pub(crate) async fn open(
    args: &KernelArgs,
    given: Option<&Path>,
    board: &Board,
    patience: Patience,
) -> Result<SharedImage, ShareError> {
    let directory = args.image_directory()?.to_owned();
    let image_type = image_type(args)?;
    let os_id = args
        .value("osid")
        .and_then(|id| id.parse().ok())
        .unwrap_or_default();
    let share = match given {
        Some(root) => Share {
            root: root.to_owned(),
            shown: root.display().to_string(),
            _mounted: None,
        },
        None => {
            let mounted = mount(args, board, patience).await;
            board.go_on();
            mounted?
        }
    };
    board.say(format!("the image's files are in {}", share.shown));
    let shown = share.shown.clone();
    let hangs = |what| {
        let share = shown.clone();
        move || ShareError::Hangs {
            share,
            what,
            limit: patience.step,
        }
    };
    let what = "reading the image's small files";
    // Of a record in front of each stream nothing is known here.
    let is_sent_to_many = args.is_multicast_deploy();
    let read = aside(board, &shown, what, patience.step, hangs(what), move || {
        read(share, &directory, image_type, os_id, is_sent_to_many)
    });
    let read = read.await;
    board.go_on();
    read?
}

async fn mount(args: &KernelArgs, board: &Board, patience: Patience) -> Result<Share, ShareError> {
    let export = args.storage()?;
    let shown = export.to_string();
    let start = Instant::now();
    loop {
        let export = export.clone();
        let hangs = || ShareError::Hangs {
            share: shown.clone(),
            what: MOUNTING,
            limit: patience.step,
        };
        let mounted = aside(board, &shown, MOUNTING, patience.step, hangs, move || {
            let point = format!("{POINT}-{}", std::process::id());
            mount::mount_read_only(&export, Path::new(&point))
        });
        let error = match mounted.await? {
            Ok(mounted) => {
                return Ok(Share {
                    root: mounted.path.clone(),
                    shown,
                    _mounted: Some(mounted),
                });
            }
            Err(error) => error,
        };
        if !error.is_temporary() || start.elapsed() >= patience.tries {
            return Err(ShareError::Mount(error));
        }
        board.wait_for(waiting_for(&shown), vec![error.to_string()]);
        tokio::time::sleep(patience.pause).await;
    }
}

fn read(
    share: Share,
    name: &str,
    image_type: Option<ImageType>,
    os_id: i64,
    is_sent_to_many: bool,
) -> Result<SharedImage, ShareError> {
    let shown = || share.shown.clone();
    let unreadable = |what: &str, source| ShareError::Unreadable {
        share: shown(),
        what: what.to_owned(),
        source,
    };
    if look_for(&share.root.join(MARK))
        .map_err(|error| unreadable(MARK, error))?
        .is_none()
    {
        return Err(ShareError::NoMark { share: shown() });
    }
    let path = share.root.join(name);
    let found = look_for(&path).map_err(|error| unreadable(name, error))?;
    if !found.is_some_and(|facts| facts.is_dir()) {
        return Err(ShareError::NoImage {
            share: shown(),
            name: name.to_owned(),
        });
    }
    let bad = |text: String| ShareError::Image {
        share: shown(),
        name: name.to_owned(),
        text,
    };
    let image = image_dir::read(&path, image_type, Some(os_id), Depth::Headers).map_err(
        |stop| match stop {
            Stop::Refused(reason) => bad(reason.text),
            Stop::Failed(error) => match of_server(&error) {
                Some(source) => unreadable(name, source),
                None => bad(readable::chain(&*error)),
            },
        },
    )?;
    let starts = starts::read(&image.sources, is_sent_to_many).map_err(|error| match error {
        starts::StartError::Read(error) if is_of_server(&error) => unreadable(name, error),
        error => bad(error.to_string()),
    })?;
    Ok(SharedImage {
        image,
        starts,
        share,
    })
}

/// What is at `path`, if anything is.
fn look_for(path: &Path) -> io::Result<Option<Metadata>> {
    match std::fs::metadata(path) {
        Ok(facts) => Ok(Some(facts)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether an error of a file on the share is the server's or the network's, so that it may be over later: a soft
/// mount ends each call to a server that is gone with one of these.
pub(crate) fn is_of_server(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw);
    number.is_some_and(|errno| {
        matches!(
            errno,
            Errno::EIO
                | Errno::ETIMEDOUT
                | Errno::ESTALE
                | Errno::ECONNREFUSED
                | Errno::ECONNRESET
                | Errno::ECONNABORTED
                | Errno::ENOTCONN
                | Errno::EPIPE
                | Errno::EHOSTUNREACH
                | Errno::EHOSTDOWN
                | Errno::ENETUNREACH
                | Errno::ENETDOWN
                | Errno::EREMOTEIO
        )
    })
}

/// The error of the server among the causes of `error`.
fn of_server(error: &anyhow::Error) -> Option<io::Error> {
    let errors = error.chain().filter_map(|cause| cause.downcast_ref());
    let mut errors = errors.filter(|error| is_of_server(error));
    errors.find_map(|error| Some(io::Error::from_raw_os_error(error.raw_os_error()?)))
}

fn image_type(args: &KernelArgs) -> Result<Option<ImageType>, ShareError> {
    let Some(value) = args.value("imgType") else {
        return Ok(None);
    };
    let parsed = value.parse();
    parsed
        .map(Some)
        .map_err(|_| ShareError::Type(value.chars().take(40).collect()))
}

fn waiting_for(shown: &str) -> String {
    format!("the image share {shown}")
}

/// Does `work` in a thread of its own, which is left to itself after `limit`: a call to a file server that is gone
/// cannot be ended. `shown` is the share, `what` is being done there.
async fn aside<T: Send + 'static>(
    board: &Board,
    shown: &str,
    what: &'static str,
    limit: Duration,
    late: impl FnOnce() -> ShareError,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ShareError> {
    let (say, done) = oneshot::channel();
    std::thread::Builder::new()
        .name("share".into())
        .spawn(move || {
            // After the limit the result is of no use.
            drop(say.send(work()));
        })
        .map_err(ShareError::Thread)?;
    let mut done = pin!(tokio::time::timeout(limit, done));
    let done = tokio::select! {
        done = &mut done => done,
        () = tokio::time::sleep(SHOWN) => {
            // The reason of the last failure is worth more.
            if board.read(|state| state.wait.is_none()) {
                board.wait_for(waiting_for(shown), vec![format!("{what} takes long")]);
            }
            done.await
        }
    };
    match done {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) => Err(ShareError::Panic(what)),
        Err(_) => Err(late()),
    }
}

/// A share that is well answers within this time.
const SHOWN: Duration = Duration::from_secs(2);
const MOUNTING: &str = "mounting it";
const MARK: &str = ".mntcheck";
/// With the number of this process.
const POINT: &str = "/run/fos-agent/images";

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Patience = Patience {
        step: Duration::from_secs(60),
        tries: Duration::ZERO,
        pause: Duration::ZERO,
    };

    async fn opened(args: &str, root: &Path) -> Result<SharedImage, ShareError> {
        let args = KernelArgs::parse(args);
        open(&args, Some(root), &Board::default(), QUICK).await
    }

    #[tokio::test]
    async fn a_directory_that_is_no_share_is_named() {
        let root = tempfile::tempdir().unwrap();
        let error = opened("img=lab imgType=mps", root.path())
            .await
            .err()
            .unwrap();
        assert!(matches!(error, ShareError::NoMark { .. }), "{error}");
        assert!(error.is_of_node());
        std::fs::write(root.path().join(".mntcheck"), "").unwrap();
        let error = opened("img=lab imgType=mps", root.path())
            .await
            .err()
            .unwrap();
        assert!(matches!(error, ShareError::NoImage { .. }), "{error}");
        assert!(!error.is_of_node());
        // A file in its place is no image either.
        std::fs::write(root.path().join("lab"), "x").unwrap();
        let error = opened("img=lab imgType=mps", root.path())
            .await
            .err()
            .unwrap();
        assert!(matches!(error, ShareError::NoImage { .. }), "{error}");
        for bad in ["imgType=n", "img=../x", "img=lab imgType=x"] {
            opened(bad, root.path()).await.err().unwrap();
        }
    }

    #[tokio::test]
    async fn a_share_that_hangs_is_left() {
        let (_never, forever) = std::sync::mpsc::channel::<()>();
        let late = || ShareError::Hangs {
            share: "x".into(),
            what: MOUNTING,
            limit: Duration::ZERO,
        };
        let board = Board::default();
        let done = aside(&board, "x", MOUNTING, Duration::ZERO, late, move || {
            forever.recv().unwrap_err();
        });
        let error = done.await.unwrap_err();
        assert!(error.to_string().contains("does not answer"), "{error}");
    }
}
