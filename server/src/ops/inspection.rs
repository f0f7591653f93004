//! An image looked at: what is known of it, what it is on a disk, and what is wrong with it.

use std::time::Duration;

use super::{Ops, Verification, blocking};
use crate::domain::image::{Facts, Image};
use crate::imagestore::{self, Layout};
use crate::store::StoreError;

/// What there is to say of an image.
#[derive(Debug, Clone)]
pub struct ImageState {
    /// It.
    pub image: Image,
    /// What was found out when its files were read; `None` if nobody has read them.
    pub facts: Option<Facts>,
    /// Its disks; `None` if that cannot be found out.
    pub layout: Option<Layout>,
    /// What is wrong with it now, and what to do.
    pub problems: Vec<String>,
    /// Its last verification since the server was started.
    pub verification: Option<Verification>,
}

impl Ops {
    /// Looks at an image that is known; its large files are not read. `None` if there is none of this name or number.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn inspect_image(&self, wanted: &str) -> Result<Option<ImageState>, StoreError> {
        let Some((image, facts)) = self.find_image(wanted).await? else {
            return Ok(None);
        };
        let verification = self.verification(image.id);
        let Some(facts) = facts else {
            let problem =
                "its files were never read here: fos-server image update reads and verifies them";
            return Ok(Some(ImageState {
                image,
                facts: None,
                layout: None,
                problems: vec![problem.to_owned()],
                verification,
            }));
        };
        let mut problems = Vec::new();
        if !facts.is_verified {
            problems.push(
                "only the headers of its streams were read: damage inside them would show on the clients alone; \
                 fos-server image verify reads all"
                    .to_owned(),
            );
        }
        let settings = image.settings();
        if let Some(verified) = &facts.settings
            && let Some(changed) = verified.difference(&settings)
        {
            problems.push(format!(
                "{changed} when its files were verified: fos-server image update takes them as they are now"
            ));
        }
        let dir = self.config.images.join(&image.path);
        let looked = {
            let facts = facts.clone();
            blocking(&self.readers, move || {
                let changed = imagestore::check_unchanged(&dir, &facts);
                let layout = imagestore::layout(&dir, &settings, &facts);
                (changed, layout)
            })
        };
        let mut layout = None;
        match tokio::time::timeout(LOOK_LIMIT, looked).await {
            Ok(Ok((changed, found))) => {
                let changed = changed.err().map(|error| readable::chain(&error));
                match found {
                    Ok(found) => layout = Some(found),
                    Err(error) => {
                        let error = readable::chain(&error);
                        // One file that is not what it was is one problem.
                        if changed.as_ref() != Some(&error) {
                            problems.push(error);
                        }
                    }
                }
                problems.extend(changed);
            }
            Ok(Err(_)) => problems.push("looking at it failed; the server's log has the cause".to_owned()),
            Err(_) => problems.push(format!(
                "its directory does not answer for {} s: look at the disk or the network file system",
                LOOK_LIMIT.as_secs()
            )),
        }
        Ok(Some(ImageState {
            image,
            facts: Some(facts),
            layout,
            problems,
            verification,
        }))
    }
}

/// How long somebody waits for the directory of an image.
const LOOK_LIMIT: Duration = Duration::from_secs(10);
