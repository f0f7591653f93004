//! Images that are captured: who may send one, what has arrived, and how it gets to its place.
//!
//! What is stored beside the files decides (`imagestore::arrivals`): a restart of the server goes on from there. Here
//! is only what runs.

mod arriving;
mod boot_programs;
mod people;
mod publish;
mod versions;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use fos_api::capture::{CaptureStage, CaptureView};
use tokio::sync::{Notify, Semaphore};

pub use self::arriving::{Arrival, CaptureError, Sender};
pub use self::boot_programs::CaptureWarning;
pub use self::people::{CaptureRequest, CaptureTaskError};
pub use self::versions::{ImageVersion, RevertError, Sharer};
use super::{ClientError, Ops, blocking};
use crate::clock;
use crate::config::Origin;
use crate::domain::TaskId;
use crate::domain::refusal::AskAgain;
use crate::imagestore::arrivals::{self, FileFailed, Lock, Record, Stage};
use crate::imagestore::image_path;
use crate::logs::{Level, Subject};
use crate::store::UnicastQuery;

/// The captures of this server.
#[derive(Debug)]
pub(super) struct Captures {
    held: Mutex<Held>,
    /// One at a time begins an upload, or brings an image to its place.
    turn: tokio::sync::Mutex<()>,
    /// Places for pieces in memory.
    pieces: Arc<Semaphore>,
    /// Places for those who write what arrives.
    writers: Arc<Semaphore>,
    /// Places for offers and lists of files in memory.
    lists: Arc<Semaphore>,
    /// Whoever decodes an image needs all of the disk.
    verifying: Semaphore,
    /// A version may be half on its way to its place. Written in a turn alone.
    is_stuck: AtomicBool,
    /// What arrived before the server was started is not known yet.
    is_reading: AtomicBool,
    /// Nothing is done any more.
    is_over: AtomicBool,
}

#[derive(Debug, Default)]
struct Held {
    /// Had from the first capture on.
    lock: Option<Lock>,
    /// Some kilobytes each.
    uploads: HashMap<String, Arc<Upload>>,
}

impl Captures {
    /// # Errors
    /// If what arrived before the server was started is not known yet.
    fn are_known(&self) -> Result<(), ClientError> {
        match self.is_reading.load(Ordering::SeqCst) {
            true => Err(AskAgain::ImageStore.into()),
            false => Ok(()),
        }
    }

    /// While it is had, nobody else changes which directory is at the place of an image.
    pub(super) async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }
}

/// An image that arrives.
#[derive(Debug)]
struct Upload {
    /// Its name in requests; a secret.
    id: String,
    dir: PathBuf,
    record: Mutex<Record>,
    files: Mutex<BTreeMap<String, Arc<ArrivingFile>>>,
    /// How far its verification is, and what it waits for.
    progress: Mutex<Progress>,
    heard: Mutex<Instant>,
    /// Had by all who write its files, together, or by one who changes its stage. Taken after the turn of the captures
    /// and that of a file.
    gate: Arc<tokio::sync::RwLock<()>>,
    /// Pieces of it that are in memory.
    pieces: Arc<Semaphore>,
}

/// A file of it.
#[derive(Debug, Default)]
struct ArrivingFile {
    /// Its pieces are stored one after the other.
    turn: Arc<tokio::sync::Mutex<()>>,
    stored: AtomicU64,
    /// Where the pieces begin that are being read, or wait for those before them.
    coming: Mutex<Vec<u64>>,
    /// One of these is done with.
    moved: Notify,
}

#[derive(Debug, Default, Clone)]
struct Progress {
    done: u64,
    total: u64,
    text: String,
}

impl Default for Captures {
    fn default() -> Self {
        Self {
            held: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            pieces: Arc::new(Semaphore::new(PIECES)),
            writers: Arc::new(Semaphore::new(WRITERS as usize)),
            lists: Arc::new(Semaphore::new(LISTS)),
            verifying: Semaphore::new(1),
            is_stuck: AtomicBool::new(false),
            is_reading: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        }
    }
}

impl Captures {
    fn held(&self) -> MutexGuard<'_, Held> {
        lock(&self.held)
    }

    fn find(&self, id: &str) -> Option<Arc<Upload>> {
        self.held().uploads.get(id).cloned()
    }

    fn all(&self) -> Vec<Arc<Upload>> {
        self.held().uploads.values().cloned().collect()
    }

    /// Whether another upload of the same task counts in place of this one.
    fn has_successor(&self, upload: &Upload) -> bool {
        let (task, began_at) = {
            let record = upload.record();
            (record.owner.task(), record.origin.began_at)
        };
        self.all().into_iter().any(|other| {
            let record = other.record();
            other.id != upload.id
                && task.is_some()
                && record.owner.task() == task
                && (!record.stage.is_over() || record.origin.began_at > began_at)
        })
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    #[cfg(test)]
    fn die(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        *self.held() = Held::default();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Upload {
    fn new(
        id: String,
        dir: PathBuf,
        record: Record,
        lengths: BTreeMap<String, u64>,
        silence: Duration,
    ) -> Self {
        let file = |stored| {
            Arc::new(ArrivingFile {
                stored: AtomicU64::new(stored),
                ..ArrivingFile::default()
            })
        };
        let now = Instant::now();
        let files = lengths.into_iter().map(|(name, len)| (name, file(len)));
        Self {
            id,
            dir,
            record: Mutex::new(record),
            files: Mutex::new(files.collect()),
            progress: Mutex::default(),
            heard: Mutex::new(now.checked_sub(silence).unwrap_or(now)),
            gate: Arc::default(),
            pieces: Arc::new(Semaphore::new(PIECES_OF_ONE)),
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }

    fn is_heard(&self) {
        *lock(&self.heard) = Instant::now();
    }

    fn silence(&self) -> Duration {
        lock(&self.heard).elapsed()
    }

    fn task(&self) -> Option<TaskId> {
        self.record().owner.task()
    }

    /// Bytes of all files.
    fn stored(&self) -> u64 {
        let files = lock(&self.files);
        let stored = files
            .values()
            .map(|file| file.stored.load(Ordering::SeqCst));
        stored.fold(0, u64::saturating_add)
    }

    fn says(&self, text: impl Into<String>) {
        lock(&self.progress).text = text.into();
    }

    /// How far it is, for its client.
    fn view(&self) -> CaptureView {
        let progress = lock(&self.progress).clone();
        let record = self.record();
        let name = fog::encoding::printable(&record.image_name, 60);
        let said = |default: String| match progress.text.as_str() {
            "" => default,
            text => text.to_owned(),
        };
        let (stage, done, total, text) = match &record.stage {
            Stage::Receiving => {
                let total = record.offer.at_most;
                drop(record);
                let text = format!("the files of image {name} arrive");
                let stored = self.stored();
                return CaptureView {
                    stage: CaptureStage::Receiving,
                    done: stored,
                    total,
                    text,
                };
            }
            Stage::Sent { .. } => (
                CaptureStage::Verifying,
                progress.done,
                progress.total,
                said(format!("image {name} is read and decoded")),
            ),
            Stage::Good { .. } => (
                CaptureStage::Verifying,
                progress.total,
                progress.total,
                said(format!("image {name} is good and is brought to its place")),
            ),
            Stage::Published { at } => {
                let text = format!("image {name} is published since {at} (UTC)");
                (CaptureStage::Published, 0, 0, text)
            }
            Stage::Failed { text, .. } => (CaptureStage::Failed, 0, 0, text.clone()),
        };
        CaptureView {
            stage,
            done,
            total,
            text,
        }
    }
}

#[cfg(test)]
impl Ops {
    /// As if the process were gone.
    pub(crate) fn end_captures(&self) {
        self.captures.die();
    }

    /// Places for those who write what arrives: whoever has all of them holds it up.
    pub(crate) fn capture_writers(&self) -> Arc<Semaphore> {
        Arc::clone(&self.captures.writers)
    }

    /// Number of [`Self::capture_writers`].
    pub(crate) const CAPTURE_WRITERS: u32 = WRITERS;
}

impl Ops {
    /// Whoever sends is asked to wait until [`Ops::follow_captures`] knows what arrived before.
    pub fn expect_captures(&self) {
        self.captures.is_reading.store(true, Ordering::SeqCst);
    }

    /// Goes on with what arrived before the server was started, and looks after it until the server ends: what was
    /// cancelled and what nobody sends any more is removed.
    pub async fn follow_captures(self: &Arc<Self>) {
        let mut is_begun = false;
        let mut tick = tokio::time::interval(LOOK_PERIOD);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let looked = async {
                if !is_begun {
                    self.begin_captures().await?;
                    self.captures.is_reading.store(false, Ordering::SeqCst);
                    is_begun = true;
                }
                self.sweep_captures().await
            };
            if let Err(error) = looked.await {
                let what = "looks after the captures";
                let line = format!("looking after the captures: {error:#}; trying again");
                let now = clock::now();
                self.log
                    .repeated(now, Level::Warn, &Subject::Server, what, &line);
            }
        }
    }

    /// Goes on with what arrived before the server was started.
    ///
    /// # Errors
    /// If it cannot be read, or the database fails.
    pub(crate) async fn begin_captures(self: &Arc<Self>) -> anyhow::Result<()> {
        let root = self.config.images.clone();
        let hidden = root.join(arrivals::HIDDEN);
        let is_there = blocking(&self.readers, move || hidden.is_dir()).await?;
        if !is_there || self.config.origin != Origin::Running {
            return Ok(());
        }
        self.captures_are_ours().await?;
        self.finish_reverts().await?;
        let found = blocking(&self.readers, move || -> Result<Vec<_>, FileFailed> {
            let listed = arrivals::list(&root)?.into_iter();
            Ok(listed
                .map(|(id, record)| arrived(&root, id, record))
                .collect())
        });
        let mut begun = Vec::new();
        for found in found.await?? {
            match found {
                Ok(upload) => {
                    let upload = Arc::new(upload);
                    let id = upload.id.clone();
                    let mut held = self.captures.held();
                    held.uploads.insert(id, Arc::clone(&upload));
                    begun.push(upload);
                }
                Err((name, failed)) => {
                    let name = fog::encoding::printable(&name, 60);
                    let line = format!(
                        "capture of image {name}: what has arrived cannot be read, and stays as it is: {failed}; \
                         when the disk is well, restart the server, or remove it by hand"
                    );
                    self.log
                        .line(clock::now(), Level::Error, &Subject::Server, &line);
                }
            }
        }
        // Each sees all the others.
        for upload in begun {
            let is_receiving = matches!(upload.record().stage, Stage::Receiving);
            if !is_receiving {
                self.carry_on(&upload);
            }
        }
        Ok(())
    }

    /// Takes the right to take captures, if this server does not have it.
    async fn captures_are_ours(&self) -> anyhow::Result<()> {
        if self.captures.held().lock.is_some() {
            return Ok(());
        }
        let root = self.config.images.clone();
        let taken = blocking(&self.readers, move || Lock::take(&root)).await??;
        let Some(lock) = taken else {
            anyhow::bail!(
                "another server takes the captures of the images in {}",
                self.config.images.display()
            );
        };
        let mut held = self.captures.held();
        if held.lock.is_none() && !self.captures.is_over() {
            held.lock = Some(lock);
        }
        Ok(())
    }

    /// Removes what was cancelled, and what nobody sends any more.
    pub(crate) async fn sweep_captures(&self) -> anyhow::Result<()> {
        if self.captures.is_stuck.load(Ordering::SeqCst) {
            self.finish_reverts().await?;
        }
        for upload in self.captures.all() {
            let (stage, task) = {
                let record = upload.record();
                (record.stage.clone(), record.owner.task())
            };
            match stage {
                Stage::Receiving | Stage::Sent { .. } => {
                    let over = match task {
                        Some(task) => !self.is_task_active(task).await?,
                        None => false,
                    };
                    if over {
                        self.fail_upload(&upload, "its task is over").await?;
                    } else if matches!(stage, Stage::Receiving)
                        && upload.silence() >= self.config.capture_keep
                    {
                        let hours = self.config.capture_keep.as_secs() / 3600;
                        let text = format!("nothing of it has come for {hours} hours");
                        self.fail_upload(&upload, &text).await?;
                    }
                }
                Stage::Published { at } | Stage::Failed { at, .. } => {
                    if clock::now().seconds_since(at) > ANSWERED_AGAIN {
                        self.forget_upload(&upload).await?;
                    }
                }
                Stage::Good { .. } => {}
            }
        }
        Ok(())
    }

    async fn is_task_active(&self, task: TaskId) -> anyhow::Result<bool> {
        let found = self.store.unicast(UnicastQuery::One(task)).await?;
        Ok(found.iter().any(|task| task.state.is_active()))
    }

    /// Nothing more becomes of an upload that is not good yet; its files go.
    async fn fail_upload(&self, upload: &Arc<Upload>, text: &str) -> anyhow::Result<()> {
        // What is written is written before its directory goes.
        let gate = Arc::clone(&upload.gate).write_owned().await;
        let record = {
            let mut record = upload.record();
            if !matches!(record.stage, Stage::Receiving | Stage::Sent { .. }) {
                return Ok(());
            }
            record.stage = Stage::Failed {
                at: clock::now(),
                text: fog::encoding::printable(text, MAX_TEXT),
                fails_task: false,
            };
            record.clone()
        };
        let name = fog::encoding::printable(&record.image_name, 60);
        let line = format!("capture of image {name}: {text}; what has arrived is removed");
        self.log.service(clock::now(), &line);
        let (dir, root) = (upload.dir.clone(), self.config.images.clone());
        let stored = blocking(&self.readers, move || {
            let _gate = gate;
            // A disk may be full just of these files: they go first, and whatever becomes of the note.
            let removed = arrivals::remove_files(&root, &dir, &record, clock::now());
            arrivals::note(&dir, &record)?;
            removed
        });
        Ok(stored.await??)
    }

    /// Removes an upload with all that is left of it.
    async fn forget_upload(&self, upload: &Arc<Upload>) -> anyhow::Result<()> {
        let gate = Arc::clone(&upload.gate).write_owned().await;
        let record = upload.record().clone();
        let (dir, root) = (upload.dir.clone(), self.config.images.clone());
        let removed = blocking(&self.readers, move || {
            let _gate = gate;
            arrivals::remove_files(&root, &dir, &record, clock::now())?;
            arrivals::remove(&dir)
        });
        removed.await??;
        self.captures.held().uploads.remove(&upload.id);
        Ok(())
    }
}

/// The directory of an image, if its row names one below the image root and nothing else: other programs write rows.
fn plain_path(path: &str) -> Result<&str, String> {
    match image_path(path) {
        Ok(plain) if plain == path => Ok(path),
        Ok(plain) => Err(format!(
            "its directory is called {path:?} in the database; call it {plain:?}"
        )),
        Err(error) => Err(error.to_string()),
    }
}

/// An upload that was there before the server was started; else the name of its image, and why it cannot be read.
fn arrived(root: &Path, id: String, record: Record) -> Result<Upload, (String, FileFailed)> {
    let dir = arrivals::arriving(root, &id);
    let lengths = match record.stage {
        Stage::Receiving | Stage::Sent { .. } => arrivals::lengths(&dir),
        _ => Ok(BTreeMap::new()),
    };
    let silence = age(&dir);
    match lengths {
        Ok(lengths) => Ok(Upload::new(id, dir, record, lengths, silence)),
        // The server ended while they were removed.
        Err(failed) if failed.is_absent() => {
            let stage = Stage::Failed {
                at: clock::now(),
                text: "the server was ended while the capture was given up".to_owned(),
                fails_task: false,
            };
            let record = Record { stage, ..record };
            match arrivals::note(&dir, &record) {
                Ok(()) => Ok(Upload::new(id, dir, record, BTreeMap::new(), silence)),
                Err(failed) => Err((record.image_name, failed)),
            }
        }
        Err(failed) => Err((record.image_name, failed)),
    }
}

/// When the files of an arriving image were written last.
fn age(dir: &Path) -> Duration {
    let newest = std::fs::read_dir(arrivals::files(dir)).ok();
    let newest = newest.and_then(|entries| {
        let times = entries.filter_map(|entry| entry.ok()?.metadata().ok()?.modified().ok());
        times.max()
    });
    let now = SystemTime::now();
    newest
        .and_then(|newest| now.duration_since(newest).ok())
        .unwrap_or_default()
}

/// Pieces in memory at a time, of all uploads and of one: at most 8 MiB each.
const PIECES: usize = 16;
const PIECES_OF_ONE: usize = 8;

/// Threads that write what arrives.
const WRITERS: u32 = 16;

/// Offers and lists of files in memory at a time: at most 1 MiB each.
const LISTS: usize = 8;

/// Between two looks at what arrives.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

/// Seconds after its end in which a client is told what became of its image: a day.
const ANSWERED_AGAIN: u64 = 24 * 3600;

/// Characters of a text about an upload.
const MAX_TEXT: usize = 2000;
