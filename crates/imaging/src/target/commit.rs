//! What a target is.

use image::{Geometry, Sink};

/// Takes an image, and what it means that it was good.
pub trait Target: Sink {
    /// The image is complete and good: puts on the medium what has been handed over, and last of all what
    /// makes it bootable. Answers with what is to be reported beside success.
    ///
    /// # Errors
    /// A write or the sync failed.
    fn commit(self, geometry: &Geometry) -> anyhow::Result<Vec<String>>;
}
