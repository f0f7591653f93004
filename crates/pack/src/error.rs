//! What can be wrong with a manifest.

/// Why a manifest is refused (3.8).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is the file of something else, or of another version.
    #[error("it does not begin as the manifest of a pack does")]
    Magic,
    /// It ends before it should, or goes on.
    #[error("it has {found} bytes, by its own lengths {expected}")]
    Length {
        /// Bytes that there are.
        found: u64,
        /// Bytes that there should be.
        expected: u64,
    },
    /// A number is larger than the format allows.
    #[error("{what}: {found}, at most {limit} are allowed")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How many.
        found: u64,
        /// How many may be.
        limit: u64,
    },
    /// The head is no JSON of ours.
    #[error("the description of the image in it cannot be read: {0}")]
    Head(String),
    /// Something of a stream makes no sense.
    #[error("stream {stream}: {what}")]
    Stream {
        /// Which, from 0.
        stream: usize,
        /// What.
        what: &'static str,
    },
    /// Something of a chunk makes no sense.
    #[error("chunk {chunk}: {what}")]
    Chunk {
        /// Which, from 0.
        chunk: usize,
        /// What.
        what: &'static str,
    },
    /// The extent table goes on behind the last chunk's.
    #[error("{0} bytes behind the extents of the last chunk")]
    ExtentsLeft(usize),
    /// The frames together are of another length.
    #[error("its frames have {found} bytes together, it says {expected}")]
    FramesLen {
        /// Sum of the chunks'.
        found: u64,
        /// What the header says.
        expected: u64,
    },
    /// The small files cannot be unpacked, or have other lengths.
    #[error("its small files cannot be unpacked: {0}")]
    Files(&'static str),
    /// A small file has other bytes than the head says.
    #[error("its file {} has other bytes than it should", fog::encoding::printable(.0, 80))]
    FileHash(String),
    /// Two small files, or two streams, have one name.
    #[error("it has {} twice", fog::encoding::printable(.0, 80))]
    Twice(String),
}
