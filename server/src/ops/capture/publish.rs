//! What becomes of an image that has arrived: it is verified, brought to its place, and its task ends.
//!
//! Each step is stored before the next one begins, so that a server that is killed goes on with the step at which it
//! was.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use fog::task::State;
use fos_api::capture::SentFile;

use super::arriving::NEW;
use super::{MAX_TEXT, Upload, lock};
use crate::clock;
use crate::domain::image::{Facts, ImageName, NewImage};
use crate::domain::unicast::UnicastFact;
use crate::domain::{ImageId, Reason, TaskId, Timestamp};
use crate::imagestore::arrivals::{
    self, FileFailed, Prepared, Record, Stage, Swap, SwapError, VersionAbout, Way,
};
use crate::imagestore::{Examined, MissingStreams, Wanted};
use crate::ops::{Ops, blocking};
use crate::store::{AddImageError, ChangeError, StoreError};

/// Why an image is not at its place yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlaceError {
    /// It is in use, and may be free later.
    #[error("{0}")]
    InUse(ChangeError),
    /// Nothing helps.
    #[error("{0}")]
    Never(String),
    /// The database does not say whether it is stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk.
    #[error(transparent)]
    Swap(#[from] SwapError),
    /// A programming error.
    #[error("internal error: {0}")]
    Internal(#[from] tokio::task::JoinError),
}

impl From<FileFailed> for PlaceError {
    fn from(failed: FileFailed) -> Self {
        Self::Swap(failed.into())
    }
}

/// What is to be brought to the place of an image.
pub(super) struct Coming {
    /// Where its files are.
    pub(super) dir: PathBuf,
    /// Image; [`NEW`] if it is not registered yet.
    pub(super) image: ImageId,
    /// Its name.
    pub(super) name: String,
    /// What is known of the files; with settings.
    pub(super) facts: Facts,
    /// Where they come from.
    pub(super) origin: Option<crate::domain::capture::Origin>,
    /// The task that it is done for.
    pub(super) task: Option<TaskId>,
}

impl Ops {
    /// Goes on with an upload of which all is sent, in a task of its own.
    pub(super) fn carry_on(self: &Arc<Self>, upload: &Arc<Upload>) {
        let (ops, upload) = (Arc::clone(self), Arc::clone(upload));
        tokio::spawn(async move {
            while !ops.captures.is_over() {
                match ops.step(&upload).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        let text = format!("{error:#}");
                        upload.says(format!("waiting: {text}; it is tried again all the time"));
                        let name = upload.record().image_name.clone();
                        let line = format!("capture of image {name}: {text}; trying again");
                        let what = "captures that wait";
                        let (now, subject) = (clock::now(), crate::logs::Subject::Server);
                        let level = crate::logs::Level::Warn;
                        ops.log.repeated(now, level, &subject, what, &line);
                        tokio::time::sleep(ops.config.timing.capture_again).await;
                    }
                }
            }
        });
    }

    /// The next step; whether there is another one.
    async fn step(&self, upload: &Arc<Upload>) -> anyhow::Result<bool> {
        let record = upload.record().clone();
        match record.stage.clone() {
            Stage::Receiving => Ok(false),
            Stage::Sent { files } => {
                self.verify_arrived(upload, &record, files).await?;
                Ok(true)
            }
            Stage::Good { facts } => {
                self.publish(upload, record, *facts).await?;
                Ok(true)
            }
            Stage::Published { .. } => {
                self.conclude(upload, &record).await?;
                Ok(false)
            }
            Stage::Failed {
                text, fails_task, ..
            } => {
                let (dir, root) = (upload.dir.clone(), self.config.images.clone());
                let noted = record.clone();
                let removed = move || arrivals::remove_files(&root, &dir, &noted, clock::now());
                blocking(&self.captures.writers, removed).await??;
                // Nobody begins another one meanwhile.
                let _turn = self.captures.turn.lock().await;
                if fails_task && !self.captures.has_successor(upload) {
                    let reason = Reason::CaptureFailed { text };
                    self.end_task(record.owner.task(), State::Failed, reason)
                        .await?;
                }
                Ok(false)
            }
        }
    }

    /// Reads and decodes all of it, as for `image add`.
    async fn verify_arrived(
        &self,
        upload: &Arc<Upload>,
        record: &Record,
        sent: Vec<SentFile>,
    ) -> anyhow::Result<()> {
        upload.says("waiting for another image that is verified");
        let _turn = self.captures.verifying.acquire().await?;
        upload.says("");
        let wanted = Wanted {
            path: record.path.clone(),
            os_id: record.os_id,
            image_type: record.image_type,
            is_full: true,
            missing: MissingStreams::Refuse,
        };
        let known = match record.image {
            NEW => None,
            image => self.store.facts(image).await?,
        };
        let (worker, raw) = (Arc::clone(upload), record.origin.unreadable.len());
        let examined = tokio::task::spawn_blocking(move || {
            let mut progress = |_: &str, done, total| {
                let mut progress = lock(&worker.progress);
                (progress.done, progress.total) = (done, total);
            };
            let now = clock::now();
            let found = arrivals::examine(&worker.dir, &wanted, now, &mut progress);
            let found = found.map_err(|error| readable::chain(&error))?;
            check_sent(&worker.dir, &sent, &found)?;
            Ok::<_, String>(found)
        });
        let stage = match examined.await {
            Ok(Ok(found)) => {
                for warning in &found.warnings {
                    let line = format!("capture of image {}: {warning}", record.image_name);
                    self.log.service(clock::now(), &line);
                }
                let mut facts = found.facts;
                // What is deployed is known by this time: it must be another one than that of the former files.
                let former = known.map_or(Timestamp(0), |known| known.checked_at);
                facts.checked_at = facts.checked_at.max(Timestamp(former.0 + 1));
                Stage::Good {
                    facts: Box::new(facts),
                }
            }
            Ok(Err(text)) => Stage::Failed {
                at: clock::now(),
                text: fog::encoding::printable(&text, MAX_TEXT),
                fails_task: true,
            },
            Err(_) => Stage::Failed {
                at: clock::now(),
                text: "the server met an internal error while it verified the image; its log has the cause"
                    .to_owned(),
                fails_task: true,
            },
        };
        let outcome = match &stage {
            Stage::Failed { text, .. } => format!("it is not good: {text}"),
            _ if raw > 0 => format!("it is good, but {raw} places of its source were not readable"),
            _ => "it is good".to_owned(),
        };
        let line = format!("capture of image {}: {outcome}", record.image_name);
        self.log.service(clock::now(), &line);
        self.becomes(upload, stage).await
    }

    /// Stores the next stage, unless the upload was ended meanwhile.
    async fn becomes(&self, upload: &Arc<Upload>, stage: Stage) -> anyhow::Result<()> {
        let _gate = upload.gate.write().await;
        let (dir, record) = {
            let now = upload.record();
            if now.stage.is_over() {
                return Ok(());
            }
            let record = Record {
                stage,
                ..now.clone()
            };
            (upload.dir.clone(), record)
        };
        if self.captures.is_over() {
            anyhow::bail!("the server ends");
        }
        let noted = record.clone();
        blocking(&self.captures.writers, move || arrivals::note(&dir, &noted)).await??;
        *upload.record() = record;
        Ok(())
    }

    async fn publish(
        &self,
        upload: &Arc<Upload>,
        record: Record,
        facts: Facts,
    ) -> anyhow::Result<()> {
        let origin = crate::domain::capture::Origin {
            published_at: clock::now(),
            ..record.origin.clone()
        };
        let coming = Coming {
            dir: upload.dir.clone(),
            image: record.image,
            name: record.image_name.clone(),
            facts,
            origin: Some(origin),
            task: record.owner.task(),
        };
        let _turn = self.captures.turn.lock().await;
        self.finish_noted(Some(&record.path)).await?;
        let stage = match self.bring(coming).await {
            Ok(()) => Stage::Published { at: clock::now() },
            Err(PlaceError::Never(text)) => Stage::Failed {
                at: clock::now(),
                text,
                fails_task: true,
            },
            Err(error) => return Err(error.into()),
        };
        self.becomes(upload, stage).await
    }

    /// Brings an image to its place: first the database says what it is, then its files go there. Call it in a turn.
    pub(super) async fn bring(&self, coming: Coming) -> Result<(), PlaceError> {
        let root = self.config.images.clone();
        let settings = coming.facts.settings.clone();
        let settings =
            settings.ok_or_else(|| PlaceError::Never("its settings are not known".to_owned()))?;
        let dir = coming.dir.clone();
        let noted = blocking(&self.captures.writers, move || arrivals::noted(&dir)).await??;
        let image = match coming.image {
            // A name may be the number of another one.
            NEW => {
                let found = self.store.find_image(&coming.name).await?;
                found.filter(|found| found.name == coming.name)
            }
            image => self.store.image(image).await?,
        };
        let known = match &image {
            Some(image) => self.store.facts(image.id).await?,
            None => None,
        };
        let is_stored = known
            .as_ref()
            .is_some_and(|known| known.is_same(&coming.facts));
        if is_stored && noted.is_none() {
            let files = arrivals::files(&coming.dir);
            // All was done, and the server ended before it could say so.
            if !blocking(&self.captures.writers, move || files.exists()).await? {
                return Ok(());
            }
        }
        // There is no way back then, whatever was verified since: what was there becomes a version.
        let is_begun = match &noted {
            Some(swap) => {
                let (root, dir, swap) = (root.clone(), coming.dir.clone(), swap.clone());
                let look = move || arrivals::is_begun(&root, &dir, &swap);
                blocking(&self.captures.writers, look).await??
            }
            None => false,
        };
        if !is_stored && !is_begun {
            let own = image.as_ref().map_or(coming.image, |image| image.id);
            if let Some(other) = self.sharer_of(own, &settings.path).await? {
                let dir = coming.dir.clone();
                blocking(&self.captures.writers, move || arrivals::forget(&dir)).await??;
                return Err(PlaceError::Never(other.to_string()));
            }
        }
        let swap = match noted {
            Some(swap) => swap,
            None => {
                let place = {
                    let (root, path) = (root.clone(), settings.path.clone());
                    let look = move || arrivals::check_place(&root, &path);
                    blocking(&self.captures.writers, look).await?
                };
                let place = place.map_err(PlaceError::Never)?;
                let former = match place {
                    arrivals::Place::Free => None,
                    arrivals::Place::Directory if image.is_none() => {
                        let place = root.join(&settings.path);
                        return Err(PlaceError::Never(SwapError::Taken(place).to_string()));
                    }
                    arrivals::Place::Directory => {
                        let (root, path) = (root.clone(), settings.path.clone());
                        let at = known.as_ref().map(|known| known.checked_at);
                        let look = move || at.and_then(|at| arrivals::origin(&root, &path, at));
                        Some(VersionAbout {
                            origin: blocking(&self.captures.writers, look).await?,
                            facts: known,
                            replaced_at: clock::now(),
                        })
                    }
                };
                let prepared = Prepared {
                    image: coming.image,
                    path: settings.path.clone(),
                    facts: coming.facts.clone(),
                    origin: coming.origin.clone(),
                    former,
                    task: coming.task,
                };
                let dir = coming.dir.clone();
                blocking(&self.captures.writers, move || {
                    arrivals::prepare(&dir, prepared)
                })
                .await??
            }
        };
        if !is_stored && !is_begun {
            let stored = match (coming.image, image) {
                (NEW, None) => {
                    let new = NewImage {
                        name: coming
                            .name
                            .parse::<ImageName>()
                            .map_err(|error| PlaceError::Never(error.to_string()))?,
                        path: settings.path.clone(),
                        image_type: settings.image_type,
                        os_id: settings.os_id,
                        format: settings.format,
                    };
                    match self.store.add_image(new, coming.facts.clone()).await {
                        Ok(_) => Ok(()),
                        Err(AddImageError::Store(error)) => Err(PlaceError::Store(error)),
                        Err(error) => Err(PlaceError::Never(error.to_string())),
                    }
                }
                (NEW, Some(_)) => Err(PlaceError::Never(format!(
                    "there is an image {} by now",
                    coming.name
                ))),
                (image, _) => {
                    let facts = coming.facts.clone();
                    let replaced = self.store.replace_image(image, facts, coming.task).await;
                    replaced.map_err(|error| match error {
                        ChangeError::Store(error) => PlaceError::Store(error),
                        error @ (ChangeError::InUse(_) | ChangeError::InTask(_)) => {
                            PlaceError::InUse(error)
                        }
                        error @ (ChangeError::Gone | ChangeError::TaskOver(_)) => {
                            PlaceError::Never(error.to_string())
                        }
                    })
                }
            };
            if let Err(error) = stored {
                // Whether it is stored is not known if the database says nothing.
                if !matches!(error, PlaceError::Store(_)) {
                    let dir = coming.dir.clone();
                    blocking(&self.captures.writers, move || arrivals::forget(&dir)).await??;
                }
                return Err(error);
            }
        }
        self.swap(coming.dir, swap).await
    }

    /// Exchanges the directories, after the database has said so.
    pub(super) async fn swap(&self, dir: PathBuf, swap: Swap) -> Result<(), PlaceError> {
        let root = self.config.images.clone();
        let most = arrivals::Most {
            count: self.config.image_versions,
            size: self.config.image_versions_size,
        };
        if self.captures.is_over() {
            return Err(PlaceError::Never("the server ends".to_owned()));
        }
        let work = move || -> Result<(), SwapError> {
            arrivals::exchange(&root, &dir, &swap, Way::AtOnce)?;
            arrivals::finish(&root, &dir, &swap)?;
            if let Err(error) = arrivals::keep_only(&root, &swap.path, most) {
                tracing::warn!(
                    "captures: removing former versions of {}: {error}",
                    swap.path
                );
            }
            Ok(())
        };
        blocking(&self.captures.writers, work).await??;
        Ok(())
    }

    /// An upload is published: its task ends.
    async fn conclude(&self, upload: &Arc<Upload>, record: &Record) -> anyhow::Result<()> {
        self.end_task(record.owner.task(), State::Complete, Reason::Captured)
            .await?;
        let name = fog::encoding::printable(&record.image_name, 60);
        let line = format!("image {name} is captured and published");
        self.log.service(clock::now(), &line);
        upload.says("");
        Ok(())
    }

    /// Ends the task of a capture, if it is active.
    async fn end_task(
        &self,
        task: Option<TaskId>,
        state: State,
        reason: Reason,
    ) -> anyhow::Result<()> {
        let Some(task) = task else {
            return Ok(());
        };
        if !self.is_task_active(task).await? {
            return Ok(());
        }
        if self.captures.is_over() {
            anyhow::bail!("the server ends");
        }
        self.end_alone(task, UnicastFact::Ended { state, reason })
            .await
            .map_err(|error| anyhow::anyhow!("the end of task {task} is not stored: {error:?}"))
    }
}

/// Whether what has arrived is what the client sent.
fn check_sent(dir: &std::path::Path, sent: &[SentFile], found: &Examined) -> Result<(), String> {
    let mut hashes: BTreeMap<&str, String> = BTreeMap::new();
    let mut parts: BTreeMap<u32, u32> = BTreeMap::new();
    for file in &found.facts.files {
        if let Some(place) = file.place {
            *parts.entry(place.stream).or_default() += 1;
        }
    }
    for file in &found.facts.files {
        let hash = match file.place {
            None => file.blake3.clone(),
            // The hash of a stream is that of its only file.
            Some(place) if parts.get(&place.stream) == Some(&1) => {
                let stream = usize::try_from(place.stream).unwrap_or(usize::MAX);
                let stream = found.facts.streams.get(stream);
                stream.map_or_else(String::new, |stream| stream.blake3.to_string())
            }
            Some(_) => String::new(),
        };
        hashes.insert(&file.name, hash);
    }
    for file in sent {
        let name = fog::encoding::printable(&file.name, 80);
        let hash = match hashes.get(file.name.as_str()) {
            Some(hash) if !hash.is_empty() => hash.clone(),
            Some(_) => hash_of(dir, &file.name)?,
            None => {
                return Err(format!(
                    "{name} was sent, and an image of this type has no such file: nobody would deploy it"
                ));
            }
        };
        if hash != file.blake3.to_string() {
            return Err(format!(
                "{name} is not what the client read of its disk: the hashes differ. Capture it again"
            ));
        }
    }
    Ok(())
}

fn hash_of(dir: &std::path::Path, name: &str) -> Result<String, String> {
    let path = arrivals::files(dir).join(name);
    let mut hasher = blake3::Hasher::new();
    let hashed = std::fs::File::open(&path).and_then(|file| {
        let mut file = std::io::BufReader::with_capacity(1 << 20, file);
        std::io::copy(&mut file, &mut hasher)
    });
    match hashed {
        Ok(_) => Ok(hasher.finalize().to_hex().to_string()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}
