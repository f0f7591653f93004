//! Verifying an image that is known: all of it is read, which may take long, so it goes on by itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Ops;
use crate::clock;
use crate::domain::image::{Facts, Image};
use crate::domain::{ImageId, Timestamp};
use crate::imagestore::{self, MissingStreams, Verdict, Wanted};
use crate::store::StoreError;
use crate::text;

/// How the verification of an image goes, or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// When it was begun.
    pub began_at: Timestamp,
    /// How far it is.
    pub stage: VerifyStage,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VerifyStage {
    /// Its files are read.
    Reading {
        /// The present stream.
        stream: String,
        /// Bytes of all streams that were read.
        done: u64,
        /// Bytes of all streams.
        total: u64,
    },
    /// It is over.
    Ended {
        /// When.
        at: Timestamp,
        /// What the image is; why it is not good.
        outcome: Result<Verdict, String>,
        /// What is not as it was, and what people should know.
        details: Vec<String>,
    },
}

/// Why a verification was not begun.
#[derive(Debug, thiserror::Error)]
pub enum VerifyRefused {
    /// No such image.
    #[error("there is no image {0}; fos-server image list shows them")]
    NoImage(String),
    /// Another one is read: two at a time would only take longer.
    #[error("image {0} is being verified; wait for its end")]
    Busy(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The last verification of each image, some kilobytes each; not kept over a restart of the server.
#[derive(Debug, Default)]
pub(super) struct Verifications(Mutex<BTreeMap<ImageId, Verification>>);

impl Verifications {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ImageId, Verification>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lines about one verification that are kept.
const MAX_DETAILS: usize = 50;

impl Ops {
    /// Begins to read and decode all of an image, and to compare it with what was added; answers its name.
    ///
    /// # Errors
    /// If there is no such image, or one is being read.
    pub async fn begin_verification(
        self: &Arc<Self>,
        wanted: &str,
    ) -> Result<String, VerifyRefused> {
        let found = self.find_image(wanted).await?;
        let (image, facts) =
            found.ok_or_else(|| VerifyRefused::NoImage(fog::encoding::printable(wanted, 60)))?;
        let images = self.store.images().await?;
        {
            let mut all = self.verifications.lock();
            // Of images that are gone nobody asks.
            all.retain(|id, _| images.iter().any(|image| image.id == *id));
            let mut reading = all.iter().filter(|(_, verification)| {
                matches!(verification.stage, VerifyStage::Reading { .. })
            });
            if let Some((id, _)) = reading.next() {
                let name = images.iter().find(|image| image.id == *id);
                let name = name.map_or_else(|| id.to_string(), |image| image.name.clone());
                return Err(VerifyRefused::Busy(fog::encoding::printable(&name, 60)));
            }
            let stage = VerifyStage::Reading {
                stream: String::new(),
                done: 0,
                total: 0,
            };
            let began_at = clock::now();
            all.insert(image.id, Verification { began_at, stage });
        }
        let name = image.name.clone();
        let ops = Arc::clone(self);
        // On a thread of its own: it reads for minutes, or for ever on a file system that hangs.
        tokio::task::spawn_blocking(move || {
            // Whatever happens, somebody may try again.
            let end = Ending {
                verifications: &ops.verifications,
                image: image.id,
            };
            let (outcome, details) = ops.verify(&image, facts.as_ref());
            let line = match &outcome {
                Ok(verdict) => text::verdict(&image.name, verdict),
                Err(text) => format!("image {} is not good: {text}", image.name),
            };
            ops.log().service(clock::now(), &line);
            end.with(outcome, details);
        });
        Ok(name)
    }

    /// How the last verification of an image goes, or went; `None` if there was none since the server was started.
    #[must_use]
    pub fn verification(&self, image: ImageId) -> Option<Verification> {
        self.verifications.lock().get(&image).cloned()
    }

    fn verify(
        &self,
        image: &Image,
        known: Option<&Facts>,
    ) -> (Result<Verdict, String>, Vec<String>) {
        let wanted = Wanted {
            path: image.path.clone(),
            os_id: image.os_id,
            image_type: image.image_type,
            is_full: true,
            // Judged below, as it depends on whether anything has changed.
            missing: MissingStreams::Allow,
        };
        let mut progress = |stream: &str, done: u64, total: u64| {
            if let Some(found) = self.verifications.lock().get_mut(&image.id) {
                let stream = stream.to_owned();
                found.stage = VerifyStage::Reading {
                    stream,
                    done,
                    total,
                };
            }
        };
        let root = &self.config.images;
        let examined = imagestore::examine(root, &wanted, clock::now(), &mut progress);
        let found = match examined {
            Ok(found) => found.known_as(&image.path),
            Err(error) => return (Err(readable::chain(&error)), Vec::new()),
        };
        let judged = imagestore::judge(known, &found);
        let differences = judged.differences.iter().map(ToString::to_string);
        let warnings = found.warnings.iter();
        let warnings = warnings.map(|warning| format!("warning: {warning}"));
        let details = differences.chain(warnings).take(MAX_DETAILS).collect();
        let outcome = judged.verdict.map_err(|refused| refused.to_string());
        (outcome, details)
    }
}

/// Notes the end of a verification, also of one that panics.
struct Ending<'a> {
    verifications: &'a Verifications,
    image: ImageId,
}

impl Ending<'_> {
    fn with(self, outcome: Result<Verdict, String>, details: Vec<String>) {
        self.note(outcome, details);
    }

    fn note(&self, outcome: Result<Verdict, String>, details: Vec<String>) {
        if let Some(found) = self.verifications.lock().get_mut(&self.image)
            && matches!(found.stage, VerifyStage::Reading { .. })
        {
            let at = clock::now();
            found.stage = VerifyStage::Ended {
                at,
                outcome,
                details,
            };
        }
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let text = "the server met an internal error; its log has the cause".to_owned();
        self.note(Err(text), Vec::new());
    }
}
