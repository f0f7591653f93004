//! Images of other servers of the site: those that are missing here are copied from a server that has them, one at a time.

mod fetch;
mod peers;
mod rotten;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use self::fetch::{Senders, Source};
pub use self::peers::{PeerError, PeerState, ReplicateError};
use self::rotten::Rotten;
use super::Ops;
use crate::clock;
use crate::domain::image::{Facts, Image};
use crate::domain::peer::SiteSecret;
use crate::domain::{ImageId, Timestamp};
use crate::imagestore::{self, CopyError, Copying, Replace};
use crate::logs::{Level, Subject};

/// How the copy of an image goes, or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replication {
    /// The image's name; empty before it was looked at.
    pub name: String,
    /// When it was asked for.
    pub began_at: Timestamp,
    /// Since when it is there.
    pub since: Timestamp,
    /// How far it is.
    pub stage: ReplicaStage,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaStage {
    /// Another one is copied.
    Waiting,
    /// No server that was asked has given all of it; they are asked again.
    Asking {
        /// What the last one said, or why there is no other one.
        why: String,
    },
    /// Its files come.
    Copying {
        /// The server that they come from.
        from: String,
        /// The present file.
        file: String,
        /// Bytes that are here.
        done: u64,
        /// Bytes of all files.
        total: u64,
    },
    /// What has come is compared with what was verified.
    Comparing {
        /// Bytes that were compared.
        done: u64,
        /// Bytes of all files.
        total: u64,
    },
    /// It is over.
    Ended {
        /// Why the image is not here.
        outcome: Result<(), String>,
    },
}

/// The last copy of each image, some 200 bytes each, and which are to be made.
#[derive(Debug, Default)]
pub(super) struct Replications {
    all: Mutex<BTreeMap<ImageId, Replication>>,
    wanted: Mutex<BTreeMap<ImageId, Replace>>,
    news: Notify,
    rotten: Mutex<Rotten>,
    /// What all servers of the site know; not there where there can be no others.
    secret: std::sync::OnceLock<SiteSecret>,
}

impl Replications {
    fn all(&self) -> MutexGuard<'_, BTreeMap<ImageId, Replication>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wanted(&self) -> MutexGuard<'_, BTreeMap<ImageId, Replace>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rotten(&self) -> MutexGuard<'_, Rotten> {
        self.rotten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn know(&self, secret: SiteSecret) {
        // It is the same for good.
        self.secret.set(secret).ok();
    }

    fn note(&self, image: ImageId, stage: ReplicaStage) {
        if let Some(found) = self.all().get_mut(&image) {
            if !found.stage.is_same(&stage) {
                found.since = clock::now();
            }
            found.stage = stage;
        }
    }

    /// The image that is copied at present.
    fn present(&self) -> Option<String> {
        let all = self.all();
        let mut present = all.values().filter(|found| match found.stage {
            ReplicaStage::Waiting | ReplicaStage::Ended { .. } => false,
            ReplicaStage::Asking { .. }
            | ReplicaStage::Copying { .. }
            | ReplicaStage::Comparing { .. } => true,
        });
        present.next().map(|found| found.name.clone())
    }

    /// Whether an image is waited for, or copied.
    fn is_at_work(&self, image: ImageId) -> bool {
        let all = self.all();
        let found = all.get(&image);
        found.is_some_and(|found| !matches!(found.stage, ReplicaStage::Ended { .. }))
    }
}

impl ReplicaStage {
    /// Whether it is this one, however far it is.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Copying { from: one, .. }, Self::Copying { from: other, .. }) => one == other,
            (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
        }
    }
}

impl Ops {
    /// Copies an image to this server as soon as those before it are copied, because somebody has asked for it. One that
    /// is waited for already is copied once.
    pub(crate) fn want_copy(&self, image: ImageId, replace: Replace) {
        // A copy that was not good may have been mended.
        self.replications.rotten().forget(image);
        self.queue_copy(image, replace);
    }

    fn queue_copy(&self, image: ImageId, replace: Replace) {
        let replications = &self.replications;
        if replications.is_at_work(image) {
            return;
        }
        let now = clock::now();
        let waiting = Replication {
            name: String::new(),
            began_at: now,
            since: now,
            stage: ReplicaStage::Waiting,
        };
        replications.all().insert(image, waiting);
        replications.wanted().insert(image, replace);
        replications.news.notify_one();
    }

    /// How the copy of an image goes, or went; `None` if there was none since the server was started.
    #[must_use]
    pub fn replication(&self, image: ImageId) -> Option<Replication> {
        self.replications.all().get(&image).cloned()
    }

    /// Copies what is wanted, and by itself what is missing here if the server was told to; ends with the server.
    pub async fn follow_replications(self: &Arc<Self>) {
        let mut tick = tokio::time::interval(LOOK_PERIOD);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut refused = BTreeSet::new();
        loop {
            tokio::select! {
                () = self.replications.news.notified() => {}
                _ = tick.tick(), if self.config.replicate => self.want_missing(&mut refused).await,
            }
            while let Some((image, replace)) = self.next_wanted() {
                self.copy(image, replace).await;
            }
        }
    }

    fn next_wanted(&self) -> Option<(ImageId, Replace)> {
        self.replications.wanted().pop_first()
    }

    /// Wants what no directory is there for. What is there and is something else is a person's matter, and is told once.
    async fn want_missing(&self, refused: &mut BTreeSet<(ImageId, Timestamp)>) {
        let images = match self.images().await {
            Ok(images) => images,
            Err(error) => {
                tracing::debug!("looking for images that are missing here: {error}");
                return;
            }
        };
        for (image, facts) in images {
            let Some(facts) = facts else { continue };
            let dir = self.config.images.join(&image.path);
            let look = super::blocking(&self.readers, {
                let facts = facts.clone();
                move || {
                    let is_there = dir.symlink_metadata().is_ok();
                    is_there.then(|| imagestore::check_unchanged(&dir, &facts))
                }
            });
            match tokio::time::timeout(DISK_LIMIT, look).await {
                Ok(Ok(None)) if self.has_good_source(image.id, &facts).await => {
                    self.queue_copy(image.id, Replace::Never);
                }
                Ok(Ok(Some(Err(changed)))) if refused.insert((image.id, facts.checked_at)) => {
                    let line = format!(
                        "image {} is not copied from another server by itself: {}",
                        fog::encoding::printable(&image.name, 60),
                        readable::chain(&changed)
                    );
                    self.log
                        .line(clock::now(), Level::Warn, &Subject::Server, &line);
                }
                _ => {}
            }
        }
    }

    /// Whether it makes sense to ask for an image: not while every server that could have it is known for wrong bytes,
    /// which was told then.
    async fn has_good_source(&self, image: ImageId, facts: &Facts) -> bool {
        let Ok(peers) = self.store.peers().await else {
            return true;
        };
        let (now, rotten) = (Instant::now(), self.replications.rotten());
        let is_bad = |name: &str| rotten.has(now, image, facts.checked_at, name);
        let mut there = peers.iter().filter(|peer| peer.is_there);
        !there.clone().any(|peer| is_bad(&peer.name)) || there.any(|peer| !is_bad(&peer.name))
    }

    /// Copies an image, and notes what became of it.
    async fn copy(self: &Arc<Self>, id: ImageId, replace: Replace) {
        let copied = self.try_copy(id, replace).await;
        let (level, line) = match &copied {
            Ok(Some(name)) => (Level::Info, format!("image {name} is here now")),
            Ok(None) => (Level::Info, String::new()),
            Err(text) => (
                Level::Warn,
                format!("image {id} was not copied to this server: {text}"),
            ),
        };
        if !line.is_empty() {
            self.log.line(clock::now(), level, &Subject::Server, &line);
        }
        let outcome = copied.map(drop);
        self.replications.note(id, ReplicaStage::Ended { outcome });
    }

    /// The name of the image if it was copied; `None` if it was here.
    async fn try_copy(
        self: &Arc<Self>,
        id: ImageId,
        replace: Replace,
    ) -> Result<Option<String>, String> {
        let told = |error: &(dyn std::error::Error + 'static)| readable::chain(error);
        let image = self.store.image(id).await.map_err(|error| told(&error))?;
        let image = image.ok_or("it does not exist any more")?;
        if let Some(found) = self.replications.all().get_mut(&id) {
            found.name = fog::encoding::printable(&image.name, 60);
        }
        let facts = self.store.facts(id).await.map_err(|error| told(&error))?;
        let facts = facts.ok_or("it was never verified (fos-server image update)")?;
        let settings = facts.settings.as_ref();
        if let Some(changed) = settings.and_then(|then| then.difference(&image.settings())) {
            return Err(format!(
                "{changed}; verify it where its files are (fos-server image update)"
            ));
        }
        let dir = self.config.images.join(&image.path);
        let check = {
            let (dir, facts) = (dir.clone(), facts.clone());
            move || imagestore::check_unchanged(&dir, &facts).is_ok()
        };
        if self.on_disk(check).await? {
            return Ok(None);
        }
        if replace == Replace::Other
            && let Some(other) = self
                .sharer_of(id, &image.path)
                .await
                .map_err(|error| told(&error))?
        {
            return Err(other.to_string());
        }
        let mut senders = Senders::new();
        loop {
            let begin = {
                let (root, path, facts) = (
                    self.config.images.clone(),
                    image.path.clone(),
                    facts.clone(),
                );
                move || Copying::begin(&root, &path, &facts, replace)
            };
            let copying = Arc::new(self.on_disk(begin).await?.map_err(|error| told(&error))?);
            self.fetch(&image, &facts, &copying, &mut senders).await?;
            let copying = Arc::into_inner(copying).ok_or("its files are still being written")?;
            match self.finish(&image, &facts, copying, replace).await? {
                Ok(()) => return Ok(Some(fog::encoding::printable(&image.name, 60))),
                // Each time there are fewer servers to ask.
                Err(CopyError::Bytes(files))
                    if self.distrust(&image, &facts, &files, &mut senders) => {}
                Err(error) => return Err(told(&error)),
            }
        }
    }

    /// Files had wrong bytes: whoever sent them is left alone for a while. Answers whether that is known.
    fn distrust(
        &self,
        image: &Image,
        facts: &Facts,
        files: &[String],
        senders: &mut Senders,
    ) -> bool {
        let shown = |name: &str| fog::encoding::printable(name, 60);
        let sent = files.iter().filter_map(|file| senders.remove(file));
        let servers: BTreeSet<String> = sent.flatten().collect();
        for server in &servers {
            let mut rotten = self.replications.rotten();
            let rest = rotten.note(Instant::now(), image.id, facts.checked_at, server);
            drop(rotten);
            let line = format!(
                "image {}: what came from server {} of {} is not what was verified; for {} it is not asked for this image \
                 again. Verify the image there (fos-server image verify)",
                shown(&image.name),
                shown(server),
                shown(files.first().map_or("", String::as_str)),
                readable::Time(rest)
            );
            self.log
                .line(clock::now(), Level::Warn, &Subject::Server, &line);
        }
        !servers.is_empty()
    }

    async fn fetch(
        self: &Arc<Self>,
        image: &Image,
        facts: &Facts,
        copying: &Arc<Copying>,
        senders: &mut Senders,
    ) -> Result<(), String> {
        let secret = self.replications.secret.get();
        let secret = secret.ok_or("there are no other servers: the database is a file here")?;
        let total = facts.files.iter().map(|file| file.size).sum();
        let mut failures = 0;
        let mut why = String::new();
        while failures < TRIES {
            let peers = self.store.peers().await;
            let peers = peers.map_err(|error| readable::chain(&error))?;
            if peers.is_empty() {
                return Err(
                    "no other server has said where it is reached (--peer-address)".to_owned(),
                );
            }
            let there: Vec<_> = peers.into_iter().filter(|peer| peer.is_there).collect();
            let is_good = |name: &str| {
                let rotten = self.replications.rotten();
                !rotten.has(Instant::now(), image.id, facts.checked_at, name)
            };
            if !there.is_empty() && !there.iter().any(|peer| is_good(&peer.name)) {
                let names: Vec<&str> = there.iter().map(|peer| peer.name.as_str()).collect();
                return Err(format!(
                    "what came from {} was not what was verified; verify the image there (fos-server image verify), \
                     and copy it again",
                    names.join(", ")
                ));
            }
            for peer in there.into_iter().filter(|peer| is_good(&peer.name)) {
                let mut source = Source {
                    ops: self,
                    secret,
                    peer: &peer,
                    image: image.id,
                    total,
                    senders: &mut *senders,
                };
                match source.files(facts, copying).await {
                    Ok(()) => return Ok(()),
                    Err(error) => why = format!("{}: {error}", peer.name),
                }
            }
            failures += 1;
            let asking = ReplicaStage::Asking {
                why: match why.is_empty() {
                    true => NOBODY_SEEN.to_owned(),
                    false => why.clone(),
                },
            };
            self.replications.note(image.id, asking);
            tokio::time::sleep(AGAIN).await;
        }
        match why.is_empty() {
            true => Err(NOBODY_SEEN.to_owned()),
            false => Err(why),
        }
    }

    async fn finish(
        self: &Arc<Self>,
        image: &Image,
        facts: &Facts,
        copying: Copying,
        replace: Replace,
    ) -> Result<Result<(), CopyError>, String> {
        // Captures replace directories, too.
        let _turn = self.captures.turn().await;
        let now = self.store.facts(image.id).await;
        let now = now.map_err(|error| readable::chain(&error))?;
        if !now.is_some_and(|now| now.is_same(facts)) {
            return Err(
                "the image was captured or verified anew meanwhile; copy it again".to_owned(),
            );
        }
        let total: u64 = facts.files.iter().map(|file| file.size).sum();
        let (ops, id, facts) = (Arc::clone(self), image.id, facts.clone());
        let finished = tokio::task::spawn_blocking(move || {
            let mut progress = |done| {
                let stage = ReplicaStage::Comparing { done, total };
                ops.replications.note(id, stage);
            };
            copying.finish(&facts, replace, &mut progress)
        });
        finished.await.map_err(|error| error.to_string())
    }

    /// Work with the disk, which may hang.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let done = tokio::time::timeout(DISK_LIMIT, super::blocking(&self.readers, work)).await;
        match done {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!(
                "the image directory {} does not answer for {} s",
                self.config.images.display(),
                DISK_LIMIT.as_secs()
            )),
        }
    }
}

const NOBODY_SEEN: &str = "no other server was seen in the last minutes";

/// Between two looks for images that are missing here.
const LOOK_PERIOD: Duration = Duration::from_secs(60);

/// How long the disk may take for a look.
const DISK_LIMIT: Duration = Duration::from_secs(30);

/// Times that all servers are asked for what is missing of an image; what has come is kept.
const TRIES: u32 = 3;

/// Between two of them.
const AGAIN: Duration = Duration::from_secs(2);

/// Files that other servers read at a time: a thread and 128 KiB each while it is read.
pub(super) const PEER_READERS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Api as _, ReplicaState};
    use crate::testing::bench;

    #[tokio::test]
    async fn a_copy_says_what_it_waits_for_and_since_when_it_is_where_it_is() {
        let bench = bench().await;
        let ops = &bench.ops;
        let image = ops.image_list().await.unwrap().remove(0);
        assert_eq!(image.copy, None);
        let (id, other) = (ImageId(image.id), ImageId(4711));
        let copy = || ops.image_copy(id, image.facts.as_ref()).unwrap();
        ops.want_copy(other, Replace::Never);
        ops.want_copy(id, Replace::Never);
        let total = copy().total;
        assert!(total > 0);
        assert_eq!((copy().state, copy().done), (ReplicaState::Waiting, 0));
        let copying = |from: &str, done| ReplicaStage::Copying {
            from: from.to_owned(),
            file: "d1p1.img".to_owned(),
            done,
            total,
        };
        ops.replications.note(other, copying("b", 1));
        ops.replications.all().get_mut(&other).unwrap().name = "big".to_owned();
        assert_eq!(copy().text, "it waits until image big is copied");
        let why = || "b: it was silent".to_owned();
        ops.replications
            .note(id, ReplicaStage::Asking { why: why() });
        let asking = copy();
        assert_eq!(asking.state, ReplicaState::Waiting);
        assert!(
            asking.text.ends_with("soon: b: it was silent"),
            "{asking:?}"
        );
        // The time is that of the server, not of the last byte.
        let long_ago = Timestamp(7);
        let backdate = || {
            let mut all = ops.replications.all();
            all.get_mut(&id).unwrap().since = long_ago;
        };
        ops.replications.note(id, copying("b", 1));
        backdate();
        ops.replications.note(id, copying("b", 2));
        let shown = ops.image_show(&image.name).await.unwrap().copy.unwrap();
        assert_eq!(shown.since, long_ago.to_string());
        assert_eq!((shown.state, shown.done), (ReplicaState::Copying, 2));
        assert_eq!(shown.from.as_deref(), Some("b"));
        ops.replications.note(id, copying("c", 2));
        assert_ne!(copy().since, long_ago.to_string());
        backdate();
        let outcome = Err(why());
        ops.replications.note(id, ReplicaStage::Ended { outcome });
        let failed = copy();
        assert_eq!((failed.state, failed.done), (ReplicaState::Failed, 0));
        assert_ne!(failed.since, long_ago.to_string());
        assert!(
            failed.line().starts_with("was not copied: b:"),
            "{failed:?}"
        );
    }
}
