//! Why a stream is not on the disk.

use std::io;

use disk::WriteError;
use fog::record::RecordError;
use fog::store::StreamName;
use fos_api::Blake3;
use image::ImageError;
use readable::{Count, Size};

use crate::deploy::resume::Cause;

/// Why a stream is not on the disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    #[error("{name}: receiving failed after {}: {source}", Size(*.bytes))]
    Receive {
        name: StreamName,
        bytes: u64,
        source: io::Error,
    },
    #[error("{name}: {source}")]
    Record {
        name: StreamName,
        source: RecordError,
    },
    #[error(
        "{name}: out of step: what comes does not begin like the file of this name in the image share{}; nothing \
         of it was written. A client that missed a stream cannot catch up in this session: deploy it again",
        begins_like(.found.as_ref())
    )]
    Start {
        name: StreamName,
        found: Option<StreamName>,
    },
    #[error(
        "{name}: the stream has more than the {:#} of the manifest; was the image changed while it \
         was sent?", Size(*.expected)
    )]
    TooLong { name: StreamName, expected: u64 },
    #[error(
        "{name}: the stream ended after {:#} of {:#}; was the sender stopped, or the image changed while \
         it was sent?", Size(*.found), Size(*.expected)
    )]
    TooShort {
        name: StreamName,
        found: u64,
        expected: u64,
    },
    #[error(
        "{name}: the bytes received are not the ones of the server's image (BLAKE3 {found}, expected \
         {expected}); the image was changed while it was sent, or damaged on the way"
    )]
    Hash {
        name: StreamName,
        found: Blake3,
        expected: Blake3,
    },
    #[error("{name}: {source}")]
    Image {
        name: StreamName,
        source: Box<ImageError>,
    },
    #[error(
        "{name}: out of step: the stream has an image whose bitmap does not fit into {} ({} of the \
         file system), but due is one of {}; nothing of it was written. A client that missed a stream \
         cannot catch up in this session: deploy it again",
        Size(*.limit), Count(*.found, "block"), Count(*.expected, "block")
    )]
    Bitmap {
        name: StreamName,
        found: u64,
        expected: u64,
        limit: u64,
    },
    #[error("{name}: {source}")]
    Write {
        name: StreamName,
        source: WriteError,
    },
    #[error("{name}: a thread could not be started: {source}")]
    Thread { name: StreamName, source: io::Error },
    #[error("{name}: the decoder stopped by a programming error")]
    Panic { name: StreamName },
}

impl StreamError {
    pub(crate) fn name(&self) -> &StreamName {
        match self {
            Self::Receive { name, .. }
            | Self::Record { name, .. }
            | Self::Start { name, .. }
            | Self::TooLong { name, .. }
            | Self::TooShort { name, .. }
            | Self::Hash { name, .. }
            | Self::Image { name, .. }
            | Self::Bitmap { name, .. }
            | Self::Write { name, .. }
            | Self::Thread { name, .. }
            | Self::Panic { name } => name,
        }
    }

    pub(crate) fn cause(&self) -> Cause {
        match self {
            Self::Receive { .. } | Self::TooShort { .. } => Cause::Transfer,
            Self::Image { source, .. } => match &**source {
                ImageError::Sink(error) if error.is::<WriteError>() => Cause::Machine,
                _ => Cause::Content,
            },
            Self::Record { .. }
            | Self::Start { .. }
            | Self::TooLong { .. }
            | Self::Hash { .. }
            | Self::Bitmap { .. } => Cause::Content,
            Self::Write { .. } | Self::Thread { .. } | Self::Panic { .. } => Cause::Machine,
        }
    }
}

fn begins_like(found: Option<&StreamName>) -> String {
    found
        .map(|name| format!(", but like {name}"))
        .unwrap_or_default()
}
