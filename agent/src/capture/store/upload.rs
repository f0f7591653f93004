//! An image on its way to `fos-server`: files in pieces, each kept until the server has it on its disk.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use conveyor::{Gone, Loader, Unloader, conveyor};
use fos_api::capture::{
    CaptureEnd, CaptureOffer, CaptureStage, CaptureTerms, CaptureView, MAX_PIECE,
};
use readable::{Size, Time};
use tokio::runtime::Handle;

use super::super::stream::Sinking;
use crate::control::Server;
use crate::control::backoff::Backoff;
use crate::control::capture::{self, NotTaken, Piece};

/// What the upload has to say, for people: what is waited for and why, or `None` once it goes on.
pub(crate) type Told = Arc<dyn Fn(Option<(&str, String)>) + Send + Sync>;

/// A capture that a server has agreed to.
#[derive(Clone)]
pub(crate) struct Remote(Arc<Shared>);

struct Shared {
    server: Server,
    /// Where calls are made: they are waited for by threads of their own.
    runtime: Handle,
    /// The image, where no task names it.
    image: Option<String>,
    terms: CaptureTerms,
    told: Told,
    patience: Patience,
}

/// How long a server that does not answer is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Between the first two tries; doubles up to `longest_pause`.
    pub(crate) pause: Duration,
    pub(crate) longest_pause: Duration,
    /// From the first try of a call to its last one.
    pub(crate) limit: Duration,
    /// Between two looks at a server that verifies.
    pub(crate) look: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(15),
            limit: Duration::from_secs(1800),
            look: Duration::from_secs(1),
        }
    }
}

impl Remote {
    /// Offers an image to the server.
    ///
    /// # Errors
    /// The server does not take it; the text says why.
    pub(crate) fn offer(
        server: Server,
        image: Option<String>,
        offer: &CaptureOffer,
        told: Told,
        patience: Patience,
    ) -> anyhow::Result<Self> {
        let runtime = Handle::current();
        let calls = Calls {
            runtime: &runtime,
            told: &told,
            patience,
        };
        let terms = calls.until_answered("the server's terms", || {
            capture::offer(&server, image.as_deref(), offer)
        });
        let terms = terms
            .map_err(anyhow::Error::from)
            .context("offering the image to the server")?;
        Ok(Self(Arc::new(Shared {
            server,
            runtime,
            image,
            terms,
            told,
            patience,
        })))
    }

    /// Level of zstd that the server wants.
    pub(crate) fn zstd_level(&self) -> i32 {
        self.0.terms.zstd_level.clamp(1, 19)
    }

    pub(super) fn file(&self, name: &str) -> anyhow::Result<Box<dyn Sinking>> {
        let wanted = self.0.terms.piece.clamp(PIECE_MIN, MAX_PIECE);
        let piece = usize::try_from(wanted).unwrap_or(1 << 20);
        let (loader, unloader) = conveyor(std::iter::repeat_with(Vec::new).take(PIECES));
        let sender = Sender {
            shared: Arc::clone(&self.0),
            name: name.to_owned(),
            failure: Arc::default(),
        };
        let failure = Arc::clone(&sender.failure);
        let thread = std::thread::Builder::new()
            .name("upload".into())
            .spawn(move || sender.run(unloader))
            .context("starting a thread")?;
        Ok(Box::new(Upload {
            loader: Some(loader),
            buffer: None,
            piece,
            thread: Some(thread),
            failure,
        }))
    }

    /// All files are sent: waits until the server has verified and published them.
    ///
    /// # Errors
    /// They are not published; or that is not known, which [`Unsure`] in the error says.
    pub(super) fn publish(self, end: &CaptureEnd) -> anyhow::Result<()> {
        let shared = &*self.0;
        let calls = shared.calls();
        let id = shared.id();
        let ended = calls.until_answered("the server to take the end of the image", || {
            capture::end(&shared.server, id, end)
        });
        let mut view = match ended {
            Ok(view) => view,
            Err(error) => self.what_became_of_it(error)?,
        };
        loop {
            match view.stage {
                CaptureStage::Published => {
                    (shared.told)(None);
                    return Ok(());
                }
                CaptureStage::Failed => {
                    bail!("the server does not publish the image: {}", view.text)
                }
                CaptureStage::Receiving | CaptureStage::Verifying | CaptureStage::Unknown(_) => {}
            }
            (shared.told)(Some(("the server to verify the image", progress(&view))));
            std::thread::sleep(shared.patience.look);
            view = calls
                .until_answered("the server to verify the image", || {
                    capture::look(&shared.server, id)
                })
                .map_err(anyhow::Error::from)
                .context("asking what became of the image")
                .context(Unsure)?;
        }
    }

    /// The end of the image may have been taken, though its answer never came: the server's word for what it is now.
    ///
    /// # Errors
    /// It was not taken; or that is not known.
    fn what_became_of_it(&self, error: Unanswered) -> anyhow::Result<CaptureView> {
        let shared = &*self.0;
        let mut calls = shared.calls();
        if matches!(error, Unanswered::InVain { .. }) {
            // It was waited for long enough.
            calls.patience.limit = Duration::ZERO;
        }
        let view = calls.until_answered("the server to say what became of the image", || {
            capture::look(&shared.server, shared.id())
        });
        let error = anyhow::Error::from(error).context("ending the upload");
        match view {
            Ok(view) if view.stage == CaptureStage::Receiving => {
                // It comes to no other end from here on.
                let reason = readable::chain(&*error);
                let told = capture::abandon(&shared.server, shared.id(), &reason);
                match shared.runtime.block_on(told) {
                    Ok(()) => Err(error),
                    Err(_) => Err(error.context(Unsure)),
                }
            }
            Ok(view) => Ok(view),
            Err(_) => Err(error.context(Unsure)),
        }
    }

    /// One try: the server removes in any case what is never ended.
    pub(super) fn abandon(self, reason: &str) {
        let shared = &*self.0;
        let told = capture::abandon(&shared.server, shared.id(), reason);
        drop(shared.runtime.block_on(told));
    }
}

fn progress(view: &CaptureView) -> String {
    let text = fog::encoding::printable(&view.text, 200);
    match view.total {
        0 => text,
        total => format!("{} of {}: {text}", Size(view.done), Size(total)),
    }
}

impl Shared {
    fn id(&self) -> capture::Upload<'_> {
        capture::Upload {
            id: &self.terms.upload,
            image: self.image.as_deref(),
        }
    }

    fn calls(&self) -> Calls<'_> {
        Calls {
            runtime: &self.runtime,
            told: &self.told,
            patience: self.patience,
        }
    }
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    /// Asking again does not help.
    #[error(transparent)]
    Denied(NotTaken),
    /// Nobody answers any more.
    #[error("the server was waited for in vain for {}: {error}", Time(*.waited))]
    InVain { waited: Duration, error: NotTaken },
}

/// Part of the error of a capture whose end the server may have taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "all of the image was sent, and whether the server has published it is not known; look there (fos-server image \
     versions) before you capture again"
)]
pub(crate) struct Unsure;

/// Makes calls that are repeated until somebody answers.
struct Calls<'a> {
    runtime: &'a Handle,
    told: &'a Told,
    patience: Patience,
}

impl Calls<'_> {
    fn until_answered<T, F>(&self, what: &str, call: impl Fn() -> F) -> Result<T, Unanswered>
    where
        F: Future<Output = Result<T, NotTaken>>,
    {
        let start = Instant::now();
        let mut backoff = Backoff::new(self.patience.pause, self.patience.longest_pause);
        let mut has_waited = false;
        loop {
            let error = match self.runtime.block_on(call()) {
                Ok(answer) => {
                    if has_waited {
                        (self.told)(None);
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            if !error.is_temporary() {
                return Err(Unanswered::Denied(error));
            }
            let waited = start.elapsed();
            if waited >= self.patience.limit {
                return Err(Unanswered::InVain { waited, error });
            }
            has_waited = true;
            (self.told)(Some((what, error.to_string())));
            std::thread::sleep(backoff.pause());
        }
    }
}

/// A file on its way, as its writer sees it.
struct Upload {
    loader: Option<Loader<Vec<u8>, Vec<u8>>>,
    /// Being filled.
    buffer: Option<Vec<u8>>,
    /// Bytes of a full one.
    piece: usize,
    thread: Option<JoinHandle<()>>,
    failure: Failure,
}

/// Why the sending thread has ended early.
type Failure = Arc<Mutex<Option<anyhow::Error>>>;

impl Upload {
    fn loader(&self) -> io::Result<&Loader<Vec<u8>, Vec<u8>>> {
        self.loader
            .as_ref()
            .ok_or_else(|| io::Error::other("the upload has ended"))
    }

    fn put(&mut self) -> io::Result<()> {
        let Some(buffer) = self.buffer.take() else {
            return Ok(());
        };
        let put = self.loader()?.put(buffer);
        put.map_err(|gone| self.why(gone))
    }

    /// What the thread has failed at.
    fn why(&mut self, gone: Gone) -> io::Error {
        self.loader = None;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap_or_default();
        }
        let failure = self.failure.lock();
        let failure = failure.unwrap_or_else(PoisonError::into_inner).take();
        match failure {
            Some(error) => io::Error::other(readable::chain(&*error)),
            None => io::Error::other(gone),
        }
    }
}

impl Write for Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut buffer = match self.buffer.take() {
            Some(buffer) => buffer,
            None => {
                let empty = self.loader()?.buffer();
                let mut buffer = empty.map_err(|gone| self.why(gone))?;
                buffer.clear();
                buffer
            }
        };
        let room = self.piece.saturating_sub(buffer.len());
        let count = room.min(bytes.len());
        buffer.extend_from_slice(&bytes[..count]);
        let is_full = buffer.len() >= self.piece;
        self.buffer = Some(buffer);
        if is_full {
            self.put()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sinking for Upload {
    fn finish(mut self: Box<Self>) -> anyhow::Result<()> {
        if self
            .buffer
            .as_ref()
            .is_some_and(|buffer| !buffer.is_empty())
        {
            self.put()?;
        }
        if let Some(loader) = self.loader.take()
            && let Err(gone) = loader.end()
        {
            return Err(self.why(gone).into());
        }
        if let Some(thread) = self.thread.take() {
            thread
                .join()
                .map_err(|_| anyhow!("the sending thread has panicked"))?;
        }
        let failure = self.failure.lock();
        let failure = failure.unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or(Ok(()), Err)
    }
}

/// Sends the pieces of a file.
struct Sender {
    shared: Arc<Shared>,
    name: String,
    failure: Failure,
}

impl Sender {
    fn run(self, mut pieces: Unloader<Vec<u8>, Vec<u8>>) {
        let mut offset = 0_u64;
        let mut is_any = false;
        let failed = loop {
            let piece = match pieces.take() {
                Ok(Some(piece)) => piece,
                Ok(None) if is_any => return,
                // The file is there all the same.
                Ok(None) => Vec::new(),
                // The writer has given up, and says why.
                Err(Gone) => return,
            };
            let is_last = piece.is_empty();
            if let Err(error) = self.send(offset, &piece) {
                break error.context(format!("sending {}", self.name));
            }
            if is_last {
                return;
            }
            is_any = true;
            offset = offset.saturating_add(piece.len() as u64);
            pieces.give_back(piece);
        };
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failed);
    }

    /// Until all of the piece is on the server's disk.
    fn send(&self, offset: u64, bytes: &[u8]) -> anyhow::Result<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        let mut from = offset;
        loop {
            let at = usize::try_from(from.saturating_sub(offset)).unwrap_or(usize::MAX);
            let rest = bytes.get(at..).unwrap_or_default();
            let piece = Piece {
                name: &self.name,
                offset: from,
                bytes: rest,
                blake3: blake3::hash(rest).into(),
            };
            let shared = &*self.shared;
            let stored = shared
                .calls()
                .until_answered("the server to take data", || {
                    capture::put(&shared.server, shared.id(), &piece)
                })?;
            if stored >= end {
                return Ok(());
            }
            // It says where to go on. A server that stays there would be sent the same for ever.
            if stored < offset || (stored <= from && !rest.is_empty()) {
                bail!(
                    "the server has only {} of what it had stored before ({}): begin the capture again",
                    Size(stored),
                    Size(offset)
                );
            }
            from = stored;
        }
    }
}

/// Pieces of a file in memory: one that is filled, one that waits, one on its way.
const PIECES: usize = 3;
const PIECE_MIN: u32 = 4096;
