//! Images as people have them, and the image of a host's task.

use super::Ops;
use super::clients::{ClientResult, Known};
use crate::domain::image::{Facts, Image, NewImage};
use crate::domain::{ImageId, Refusal};
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
        let handle = self.session_of(known).await?;
        // What is told here is for the machine that runs this job.
        self.contact(known).await?;
        let id = handle.job.image;
        match (self.store.image(id).await?, self.store.facts(id).await?) {
            (Some(image), Some(facts)) => Ok(TaskImage { image, facts }),
            _ => Err(Refusal::NoImage(id).into()),
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
