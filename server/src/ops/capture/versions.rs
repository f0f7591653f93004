//! Former versions of images, and the end of an image.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::publish::{Coming, PlaceError};
use crate::clock;
use crate::domain::capture::Origin;
use crate::domain::image::{Facts, Image, ImageName};
use crate::domain::{ImageId, Timestamp};
use crate::imagestore::arrivals::{self, FileFailed, Record, Swap, Version};
use crate::imagestore::{ChangedError, check_unchanged, image_path, remove_packs};
use crate::logs::{Level, Subject};
use crate::ops::{Ops, blocking};
use crate::store::{ChangeError, DescribeError, StoreError};

/// A version of an image.
#[derive(Debug, Clone)]
pub struct ImageVersion {
    /// Number; `None` for the present one.
    pub number: Option<u32>,
    /// What is known of its files.
    pub facts: Option<Facts>,
    /// Where it comes from, if that is known.
    pub origin: Option<Origin>,
    /// When another one took its place.
    pub replaced_at: Option<Timestamp>,
}

/// Why an image is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RevertError {
    /// No such version.
    #[error("image {image} has no version {version}; fos-server image versions {image} shows them")]
    NoVersion {
        /// Name.
        image: String,
        /// Number.
        version: u32,
    },
    /// Nobody looked at its files.
    #[error(
        "version {version} of image {image} was never verified, so nobody could deploy it; move its files by hand and \
         verify them with fos-server image update {image}"
    )]
    NotVerified {
        /// Name.
        image: String,
        /// Number.
        version: u32,
    },
    /// Its files are not as they were.
    #[error("the version is not what it was: {0}")]
    Changed(ChangedError),
    /// An upload into the image runs.
    #[error("image {0} is being captured; cancel that, or wait for its end")]
    Captured(String),
    /// Its files are another image's, too.
    #[error("{0}")]
    Shared(Sharer),
    /// It is in use, or gone.
    #[error("{0}")]
    Change(#[from] ChangeError),
    /// This server does nothing of that kind.
    #[error("{0}")]
    NotHere(String),
    /// The disk.
    #[error(transparent)]
    File(#[from] FileFailed),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A programming error.
    #[error("internal error: {0}")]
    Internal(#[from] tokio::task::JoinError),
}

/// An image that has the directory of another one.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "image {name} has the same directory {path}, and would be changed with it; give each a directory of its own, or \
     forget one of them (fos-server image remove)"
)]
pub struct Sharer {
    /// Its name.
    pub name: String,
    /// The directory, below the image root.
    pub path: String,
}

impl From<PlaceError> for RevertError {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::InUse(error) => Self::Change(error),
            PlaceError::Never(text) => Self::NotHere(text),
            PlaceError::Store(error) => Self::Store(error),
            PlaceError::Swap(arrivals::SwapError::File(failed)) => Self::File(failed),
            PlaceError::Swap(error) => Self::NotHere(error.to_string()),
            PlaceError::Internal(error) => Self::Internal(error),
        }
    }
}

impl Ops {
    /// The present version of an image and the former ones, the newest first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub async fn versions_of(
        &self,
        image: &Image,
        facts: Option<Facts>,
    ) -> Result<Vec<ImageVersion>, RevertError> {
        let (root, path) = (self.config.images.clone(), image.path.clone());
        let at = facts.as_ref().map(|facts| facts.checked_at);
        let read = blocking(&self.readers, move || {
            // A directory that FOG calls otherwise has no versions here.
            if image_path(&path).is_err() {
                return Ok((Vec::new(), None));
            }
            let origin = at.and_then(|at| arrivals::origin(&root, &path, at));
            arrivals::versions(&root, &path).map(|versions| (versions, origin))
        });
        let (former, origin) = read.await??;
        let present = ImageVersion {
            number: None,
            facts,
            origin,
            replaced_at: None,
        };
        let former = former.into_iter().rev().map(|version| ImageVersion {
            number: Some(version.number),
            facts: version.about.facts,
            origin: version.about.origin,
            replaced_at: Some(version.about.replaced_at),
        });
        Ok(std::iter::once(present).chain(former).collect())
    }

    /// Brings a former version of an image back; the present one becomes a version.
    ///
    /// # Errors
    /// If that is not possible; the image is as it was.
    pub async fn revert_image(&self, image: &Image, number: u32) -> Result<(), RevertError> {
        let name = fog::encoding::printable(&image.name, 60);
        let _turn = self.captures.turn.lock().await;
        if let Err(error) = self.captures_are_ours().await {
            return Err(RevertError::NotHere(readable::chain(error.as_ref())));
        }
        super::plain_path(&image.path).map_err(RevertError::NotHere)?;
        self.finish_noted(Some(&image.path)).await?;
        self.check_no_upload(&image.name, &image.path).await?;
        if let Some(other) = self.sharer_of(image.id, &image.path).await? {
            return Err(RevertError::Shared(other));
        }
        let (root, path) = (self.config.images.clone(), image.path.clone());
        let read = blocking(&self.readers, move || arrivals::versions(&root, &path));
        let mut versions = read.await??.into_iter();
        let version = versions.find(|version| version.number == number);
        let version = version.ok_or_else(|| RevertError::NoVersion {
            image: name.clone(),
            version: number,
        })?;
        let Version { dir, about, .. } = version;
        let facts = about.facts.filter(|facts| facts.settings.is_some());
        let mut facts = facts.ok_or_else(|| RevertError::NotVerified {
            image: name.clone(),
            version: number,
        })?;
        if let Some(settings) = &mut facts.settings {
            settings.path.clone_from(&image.path);
        }
        let (files, looked) = (arrivals::files(&dir), facts.clone());
        let unchanged = blocking(&self.readers, move || check_unchanged(&files, &looked));
        unchanged.await?.map_err(RevertError::Changed)?;
        let coming = Coming {
            dir,
            image: image.id,
            name: image.name.clone(),
            facts,
            origin: about.origin,
            task: None,
        };
        // It may be half done, also if this is dropped: it is finished, or given up, as soon as that is possible.
        let was_stuck = self.captures.is_stuck.swap(true, Ordering::SeqCst);
        self.bring(coming).await?;
        self.captures.is_stuck.store(was_stuck, Ordering::SeqCst);
        let line = format!("image {name} is version {number} again");
        self.log.service(clock::now(), &line);
        Ok(())
    }

    /// Goes on with what a server, or a command, began that was killed. What cannot be finished is tried again later.
    pub(super) async fn finish_reverts(&self) -> Result<(), PlaceError> {
        let _turn = self.captures.turn.lock().await;
        self.finish_noted(None).await
    }

    /// Finishes what was noted of versions, and not done: if the database has the version, its files are brought to
    /// their place. Call it in a turn, before the directory of an image is changed otherwise.
    ///
    /// # Errors
    /// If it is not known what was noted, or not finished for the image in the directory `needed`. What is not
    /// finished of others is reported, and tried again later.
    pub(super) async fn finish_noted(&self, needed: Option<&str>) -> Result<(), PlaceError> {
        let root = self.config.images.clone();
        let is_stuck = &self.captures.is_stuck;
        // Until all is done, and also if this is dropped before.
        is_stuck.store(true, Ordering::SeqCst);
        let found = blocking(&self.readers, move || arrivals::interrupted(&root)).await??;
        let mut first = Ok(());
        let mut is_done = true;
        for (dir, swap) in found {
            // Those of uploads are part of their steps.
            if is_upload(&dir) {
                continue;
            }
            let path = swap.path.clone();
            let Err(error) = self.finish_one(dir, swap).await else {
                continue;
            };
            is_done = false;
            if needed == Some(path.as_str()) {
                first = first.and(Err(error));
                continue;
            }
            let path = fog::encoding::printable(&path, 60);
            let line = format!(
                "a version of the image in {path} is half on its way to its place: {error}; trying again"
            );
            let what = "versions on their way";
            let (now, subject) = (clock::now(), Subject::Server);
            self.log.repeated(now, Level::Warn, &subject, what, &line);
        }
        is_stuck.store(!is_done, Ordering::SeqCst);
        first
    }

    async fn finish_one(&self, dir: PathBuf, swap: Swap) -> Result<(), PlaceError> {
        let known = self.store.facts(swap.image).await?;
        let is_stored = known.is_some_and(|known| known.is_same(&swap.facts));
        let look = {
            let (root, dir, swap) = (self.config.images.clone(), dir.clone(), swap.clone());
            move || arrivals::is_begun(&root, &dir, &swap)
        };
        // What was verified since is at its place already.
        if is_stored || blocking(&self.readers, look).await?? {
            return self.swap(dir, swap).await;
        }
        Ok(blocking(&self.readers, move || arrivals::forget(&dir)).await??)
    }

    /// Another image whose directory is this one, as rows of other programs may have it: what is done to the files of
    /// one would be done to the other's.
    pub(in crate::ops) async fn sharer_of(
        &self,
        image: ImageId,
        path: &str,
    ) -> Result<Option<Sharer>, StoreError> {
        let others = self.store.images().await?.into_iter();
        let mut others = others.filter(|other| other.id != image);
        let other = others.find(|other| image_path(&other.path).is_ok_and(|other| other == path));
        Ok(other.map(|other| Sharer {
            name: fog::encoding::printable(&other.name, 60),
            path: path.to_owned(),
        }))
    }

    /// Forgets an image, and removes its files and its versions.
    ///
    /// # Errors
    /// If something uses it: nothing is removed then. Once it is forgotten, what cannot be removed is named.
    pub async fn delete_image(&self, image: &Image) -> Result<(), RevertError> {
        let _turn = self.captures.turn.lock().await;
        if let Err(error) = self.captures_are_ours().await {
            return Err(RevertError::NotHere(readable::chain(error.as_ref())));
        }
        let path =
            image_path(&image.path).map_err(|error| RevertError::NotHere(error.to_string()))?;
        self.finish_noted(Some(&path)).await?;
        self.check_no_upload(&image.name, &path).await?;
        if let Some(other) = self.sharer_of(image.id, &path).await? {
            return Err(RevertError::Shared(other));
        }
        let (root, place) = (self.config.images.clone(), path.clone());
        let look = move || arrivals::check_place(&root, &place);
        let looked = blocking(&self.captures.writers, look).await?;
        looked.map_err(RevertError::NotHere)?;
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).map_err(|error| RevertError::NotHere(error.to_string()))?;
        self.store.remove_image(image.id).await?;
        let id = format!("removed-{:016x}", u64::from_le_bytes(bytes));
        let root = self.config.images.clone();
        blocking(&self.captures.writers, move || {
            arrivals::discard(&root, &path, &id)
        })
        .await??;
        let (data, place) = (self.config.data.clone(), image.path.clone());
        let removed = blocking(&self.captures.writers, move || remove_packs(&data, &place));
        if let Err(error) = removed.await? {
            tracing::warn!("packs: {}", readable::chain(&error));
        }
        let name = fog::encoding::printable(&image.name, 60);
        let line = format!("image {name} is deleted with its files and versions");
        self.log.service(clock::now(), &line);
        Ok(())
    }

    /// Changes what people call an image, and what they say of it.
    ///
    /// # Errors
    /// If the name is taken.
    pub async fn describe_image(
        &self,
        image: &Image,
        name: Option<ImageName>,
        note: Option<String>,
    ) -> Result<(), DescribeError> {
        self.store.describe_image(image.id, name, note).await
    }

    /// Whether an upload into a directory is under way, as the disk has it: this process may be a command beside a
    /// server that is off. Call it in a turn.
    async fn check_no_upload(&self, image: &str, path: &str) -> Result<(), RevertError> {
        let root = self.config.images.clone();
        let listed = blocking(&self.readers, move || arrivals::list(&root)).await??;
        let is_arriving = |(id, record): &(String, Record)| {
            // A note that could not be stored is in memory alone.
            let known = self.captures.find(id);
            let is_over = known.is_some_and(|upload| upload.record().stage.is_over());
            record.path == path && !record.stage.is_over() && !is_over
        };
        match listed.iter().any(is_arriving) {
            true => Err(RevertError::Captured(fog::encoding::printable(image, 60))),
            false => Ok(()),
        }
    }
}

fn is_upload(dir: &Path) -> bool {
    let parent = dir.parent().and_then(|parent| parent.file_name());
    parent.is_some_and(|parent| parent == "arriving")
}
