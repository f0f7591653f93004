//! The form in which the native protocol sends an image: independent chunks, and a signed manifest of their hashes.
//!
//! A *pack* is two files. `ROOT.frames` has the frames (chunks, compressed) one after the other; `ROOT.manifest` says
//! where each belongs and what its hashes are; ROOT is the hash of the manifest. `docs/native-protocol.md`, sections 3
//! and 4, is the reference; numbers in comments and tests are its sections.
//!
//! [`PackWriter`] makes one of extents, [`Manifest::parse`] reads what somebody else made, [`decode_stream`] gets the
//! data back on all cores, [`Trust`] says whose manifests count, and [`Store`] keeps packs in a directory.

#![warn(missing_docs)]
#![warn(clippy::indexing_slicing)]

mod chunker;
mod error;
mod extents;
mod frame;
mod head;
pub mod keys;
mod leb128;
mod manifest;
mod reader;
mod root;
mod store;
mod trust;
mod writer;

pub use chunker::NotAscending;
pub use error::ManifestError;
pub use extents::Extent;
pub use head::{Head, ImageHead, PackFile, PackStream, SourceFile};
pub use keys::{KeyId, PublicKey, Role, Roles, SecretKey, Succession, TrustedKey};
pub use manifest::{Chunk, MAX_MANIFEST_LEN, Manifest, UnknownFormat};
pub use reader::{ChunkError, Damage, Decoded, Frames, ReadError, decode_stream};
pub use root::{NotRoot, Root, Signature};
pub use store::{NewPack, OpenPack, Pack, Store, StoreError};
pub use trust::{Authenticity, Mode, Trust, TrustError, UnknownMode};
pub use writer::{PackError, PackWriter, StreamFacts, StreamWriter, WriterOptions, Written};

/// Bytes of a frame that one datagram carries (2.2).
pub const SYMBOL: u32 = 1408;
/// Most symbols of a frame (2.2).
pub const K_MAX: u32 = 3072;
/// Largest frame in bytes (3.4).
pub const FRAME_MAX: u32 = K_MAX * SYMBOL;
/// Most raw bytes of a chunk (2.2).
pub const CHUNK_RAW: u32 = 8 << 20;
/// Largest unit of a stream's extents in bytes (3.6).
pub const UNIT_MAX: u32 = 4096;
/// Most chunks of a pack (3.6).
pub const MAX_CHUNKS: u32 = 1 << 24;
/// Largest head in bytes (3.6).
pub const MAX_HEAD: u32 = 4 << 20;
/// Most extents of a pack: a writer has 16 bytes of memory for each.
pub const MAX_EXTENTS: usize = 4 << 20;
/// Level of compression where nobody says another (3.5).
pub const LEVEL: i32 = 3;

#[cfg(test)]
mod testing;
