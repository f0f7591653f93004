//! Images as people have them, and the image of a host's task.

use std::time::Duration;

use super::clients::{ClientError, ClientResult, Known};
use super::{Ops, blocking};
use crate::clock;
use crate::domain::image::{Facts, Image, NewImage, StoredFile};
use crate::domain::refusal::AskAgain;
use crate::domain::{ImageId, Refusal};
use crate::imagestore;
use crate::logs::{Level, Subject};
use crate::store::{AddImageError, ChangeError, StoreError};

/// The image of a host's task.
#[derive(Debug, Clone)]
pub struct TaskImage {
    /// The image.
    pub image: Image,
    /// What is known of its files.
    pub facts: Facts,
}

impl Ops {
    /// The image of the session of a host's task.
    ///
    /// # Errors
    /// If the host has no task, or its image is gone.
    pub async fn task_image(&self, known: &Known) -> ClientResult<TaskImage> {
        if let Some(image) = self.image_alone(known).await? {
            return Ok(image);
        }
        let handle = self.session_of(known).await?;
        // What is told here is for the machine that runs this job.
        self.contact(known).await?;
        let id = handle.job.image;
        let found = (self.store.image(id).await?, self.store.facts(id).await?);
        let (Some(image), Some(facts)) = found else {
            return Err(Refusal::NoImage(id).into());
        };
        // All machines of a session are to restore the same in the same way.
        let settings = handle.settings.as_deref();
        if settings.is_some_and(|settings| *settings != image.settings()) {
            return Err(Refusal::OtherImage(handle.job.session).into());
        }
        Ok(TaskImage { image, facts })
    }

    /// The bytes of a small file of an image; `None` if they are not those that were verified.
    ///
    /// # Errors
    /// If the image store hangs: the client is to ask again.
    pub async fn small_file(
        &self,
        image: &Image,
        file: StoredFile,
    ) -> ClientResult<Option<Vec<u8>>> {
        let dir = self.config.images.join(&image.path);
        let read = blocking(&self.readers, move || imagestore::read_small(&dir, &file));
        match tokio::time::timeout(READ_LIMIT, read).await {
            Ok(Ok(Ok(bytes))) => Ok(Some(bytes)),
            Ok(Ok(Err(error))) => {
                let line = format!("serving a file of image {}: {error}", image.name);
                let what = "requests for files of images that are not what they were";
                let now = clock::now();
                self.log
                    .repeated(now, Level::Error, &Subject::Server, what, &line);
                Ok(None)
            }
            Ok(Err(error)) => Err(ClientError::Internal(error.into())),
            Err(_) => Err(AskAgain::ImageStore.into()),
        }
    }

    /// Names of the scripts in the image store that FOG's clients run.
    ///
    /// # Errors
    /// If the image store hangs: the client is to ask again.
    pub async fn scripts(&self) -> ClientResult<Vec<String>> {
        let root = self.config.images.clone();
        let read = blocking(&self.readers, move || imaging::scripts(&root));
        match tokio::time::timeout(READ_LIMIT, read).await {
            Ok(Ok(names)) => Ok(names),
            Ok(Err(error)) => Err(ClientError::Internal(error.into())),
            Err(_) => Err(AskAgain::ImageStore.into()),
        }
    }

    /// Adds an image that was verified.
    ///
    /// # Errors
    /// If its name is taken.
    pub async fn add_image(&self, image: NewImage, facts: Facts) -> Result<ImageId, AddImageError> {
        self.store.add_image(image, facts).await
    }

    /// Replaces what is known of an image's files.
    ///
    /// # Errors
    /// If an active session sends it.
    pub async fn update_image(
        &self,
        image: ImageId,
        format: u8,
        facts: Facts,
    ) -> Result<(), ChangeError> {
        self.store.update_image(image, format, facts).await
    }

    /// Forgets an image.
    ///
    /// # Errors
    /// If an active session sends it.
    pub async fn remove_image(&self, image: ImageId) -> Result<(), ChangeError> {
        self.store.remove_image(image).await
    }

    /// The image that a person means, with what is known of its files.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn find_image(
        &self,
        wanted: &str,
    ) -> Result<Option<(Image, Option<Facts>)>, StoreError> {
        match self.store.find_image(wanted).await? {
            Some(image) => {
                let facts = self.store.facts(image.id).await?;
                Ok(Some((image, facts)))
            }
            None => Ok(None),
        }
    }

    /// All images with what is known of their files.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn images(&self) -> Result<Vec<(Image, Option<Facts>)>, StoreError> {
        let mut found = Vec::new();
        for image in self.store.images().await? {
            let facts = self.store.facts(image.id).await?;
            found.push((image, facts));
        }
        Ok(found)
    }
}

/// How long a client waits for a small file.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// Images that are looked at and small files that are read at a time, a thread each: a store that hangs holds no more of them, so that
/// the rest of the server has threads.
pub(super) const READERS: usize = 32;
