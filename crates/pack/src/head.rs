//! The head of a manifest: what the image is, in JSON (3.6). Unknown fields are ignored.

use fog::store::StreamName;
use fog::task::ImageType;
use fos_api::{Blake3, ImageFacts, MANIFEST_VERSION, Manifest, SmallFile, StreamFacts};
use serde::{Deserialize, Serialize};

/// The head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The image.
    pub image: ImageHead,
    /// Its streams in sending order.
    pub streams: Vec<PackStream>,
    /// The small files that the manifest has in itself, in their order there.
    pub files: Vec<PackFile>,
}

/// What the image is: the fields of [`Manifest`] that belong to all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageHead {
    /// FOG's number of the image.
    pub image_id: i64,
    /// Display name when the pack was made.
    pub image_name: String,
    /// Directory below the image root.
    pub image_path: String,
    /// What the image holds.
    pub image_type: ImageType,
    /// FOG's number of the operating system.
    pub os_id: i64,
    /// Scripts of the image store that have commands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scripts: Vec<String>,
}

/// A stream, and what must come out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackStream {
    /// Name, for example `d1p1.img`.
    pub name: StreamName,
    /// Bytes that the extents of its chunks are counted in: a power of two, at most 4096.
    pub unit: u32,
    /// Bytes that the target must have; no extent ends beyond.
    pub device_size: u64,
    /// Bytes of all its chunks, raw.
    pub used: u64,
    /// Stored bytes that it was made from (compressed, without stream record).
    pub stored_len: u64,
    /// Hash of these bytes.
    pub blake3: Blake3,
    /// The files that it was made from, in their order.
    pub sources: Vec<SourceFile>,
    /// What the image's header says.
    pub facts: ImageFacts,
}

/// A stored file that a stream was made from. If it changes, the pack is void.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// Name in the image directory.
    pub name: String,
    /// Length in bytes.
    pub size: u64,
    /// Last change, nanoseconds since 1970.
    pub mtime: i64,
    /// Hash of its bytes.
    pub blake3: Blake3,
}

/// A small file that the manifest has in itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackFile {
    /// Name in the image directory.
    pub name: String,
    /// Length in bytes.
    pub len: u64,
    /// Hash of its bytes.
    pub blake3: Blake3,
}

impl Head {
    /// The same in the terms of a deploy by other protocols, from which its plan is made.
    #[must_use]
    pub fn to_manifest(&self) -> Manifest {
        let image = self.image.clone();
        let files = self.files.iter().map(|file| SmallFile {
            name: file.name.clone(),
            len: file.len,
            blake3: Some(file.blake3),
        });
        let streams = self.streams.iter().map(|stream| StreamFacts {
            name: stream.name.clone(),
            stored_len: stream.stored_len,
            blake3: stream.blake3,
            image: stream.facts.clone(),
        });
        Manifest {
            version: MANIFEST_VERSION,
            image_id: image.image_id,
            image_name: image.image_name,
            image_path: image.image_path,
            image_type: image.image_type,
            os_id: image.os_id,
            scripts: image.scripts,
            files: files.collect(),
            streams: streams.collect(),
        }
    }
}
