//! Why an image did not arrive.

use std::io;

use image::ImageError;

/// Why an image did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no thread to be had.
    #[error("starting a thread")]
    Thread(#[source] io::Error),
    /// The source failed.
    #[error("reading")]
    Read(#[source] io::Error),
    /// The image is bad, or the target refused its data.
    #[error("{0}")]
    Image(#[source] ImageError),
    /// A chunk of a pack is not to be had.
    #[error(transparent)]
    Chunk(pack::ChunkError),
    /// A pack holds an image of a later format.
    #[error(transparent)]
    Format(pack::UnknownFormat),
    /// [`Watch::goes_on`](crate::Watch::goes_on) said no.
    #[error("it was given up")]
    GivenUp,
    /// A thread is gone without a reason.
    #[error("the reader stopped by a programming error")]
    Panic,
    /// The image is good, but is not on the medium.
    #[error("{}", readable::chain(.0.as_ref()))]
    Commit(anyhow::Error),
    /// All is on the medium, but the source did not end well.
    #[error("{}", readable::chain(.0.as_ref()))]
    Confirm(anyhow::Error),
}

impl Failure {
    /// With its causes as they are, so that they can be told apart.
    #[must_use]
    pub fn into_error(self) -> anyhow::Error {
        match self {
            Self::Image(error) => error.into(),
            Self::Commit(error) | Self::Confirm(error) => error,
            Self::Chunk(error) => error.into(),
            other => other.into(),
        }
    }
}
