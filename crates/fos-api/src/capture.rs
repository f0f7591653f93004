//! A captured image on its way to the server.
//!
//! The client offers what it read of the disk, the server says its terms; then files arrive in pieces, each file in
//! order, several files at once if the client likes. A piece whose answer was lost is sent again. At the end the
//! client says the length and hash of every file; the server decodes and verifies all of them and publishes the
//! image, and is asked meanwhile how far it is. Every request carries either the host's `mac` and
//! [`FIELD_TICKET`](crate::FIELD_TICKET), or, from a shell, an API token (`Authorization: Bearer`) and [`FIELD_IMAGE`].

use std::fmt;

use fog::task::ImageType;
use serde::{Deserialize, Serialize};

use crate::Blake3;
use crate::format::open_names;

/// `POST fos/capture` with a [`CaptureOffer`] as JSON answers [`CaptureTerms`], or 409 or 507 with a
/// [`CaptureRefusal`]. `GET` with [`FIELD_UPLOAD`] answers a [`CaptureView`].
pub const CAPTURE_PATH: &str = "service/fos/capture";
/// `PUT fos/capture/data` with [`FIELD_UPLOAD`], [`FIELD_NAME`], [`FIELD_OFFSET`] and [`FIELD_BLAKE3`] (of the body)
/// stores a piece and answers [`PieceStored`] when it is on the disk. 409 with a [`PieceStored`]: the offset is beyond what is
/// stored; go on from there. A piece that is stored already is answered like the first time.
pub const CAPTURE_DATA_PATH: &str = "service/fos/capture/data";
/// `POST fos/capture/end` with [`FIELD_UPLOAD`] and a [`CaptureEnd`] as JSON: all is sent. Answers a [`CaptureView`];
/// may be sent again.
pub const CAPTURE_END_PATH: &str = "service/fos/capture/end";
/// `POST fos/capture/abandon` with [`FIELD_UPLOAD`] and [`FIELD_DETAIL`](crate::FIELD_DETAIL), a sentence for people: the client gives up. What
/// arrived is removed.
pub const CAPTURE_ABANDON_PATH: &str = "service/fos/capture/abandon";

/// Field: name of the image, where no task names it.
pub const FIELD_IMAGE: &str = "image";
/// Field: [`CaptureTerms::upload`].
pub const FIELD_UPLOAD: &str = "upload";
/// Field: name of the file in the image directory.
pub const FIELD_NAME: &str = "name";
/// Field: offset of the piece in its file, in bytes.
pub const FIELD_OFFSET: &str = "offset";
/// Field: hash of the piece, in hexadecimal.
pub const FIELD_BLAKE3: &str = "blake3";

/// Largest piece, in bytes. A client keeps a few of them for each file that it sends.
pub const MAX_PIECE: u32 = 8 << 20;
/// Largest [`CaptureOffer`] and [`CaptureEnd`] as JSON, in bytes.
pub const MAX_CAPTURE_JSON: u64 = 1 << 20;

/// What a client would send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureOffer {
    /// What the image will hold.
    pub image_type: ImageType,
    /// The disks that it comes from, in FOG's order: the first is `d1`.
    pub disks: Vec<CapturedDisk>,
    /// Names of all files that are known beforehand, with the most that each can have.
    pub files: Vec<OfferedFile>,
    /// Upper bound of all files together, in bytes: the server needs this much room.
    pub at_most: u64,
    /// The client's word for the captured system, for people; empty where it does not know.
    #[serde(default)]
    pub system: String,
}

/// A disk that is captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapturedDisk {
    /// Size in bytes.
    pub size: u64,
    /// Logical sector size in bytes.
    pub sector_size: u32,
    /// Model as the disk says it; may be empty.
    #[serde(default)]
    pub model: String,
    /// Serial number as the disk says it; may be empty.
    #[serde(default)]
    pub serial: String,
}

/// A file that a client would send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedFile {
    /// Name in the image directory.
    pub name: String,
    /// Most bytes that it can have.
    pub at_most: u64,
}

/// How the server wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureTerms {
    /// Names this upload in all requests that follow; a secret.
    pub upload: String,
    /// Level of zstd for streams, 1 to 19.
    pub zstd_level: i32,
    /// Largest piece, in bytes, at most [`MAX_PIECE`].
    pub piece: u32,
}

/// Why the server does not take a capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureRefusal {
    /// What to decide by.
    pub code: CaptureRefusalCode,
    /// For people: what, where, what to do.
    pub text: String,
}

open_names! {
    /// What kept the server. A client that does not know the code stops and shows the text.
    CaptureRefusalCode {
        /// Too little room: for this client nothing changes by itself.
        Room = "room",
        /// Another capture into this image runs.
        Busy = "busy",
        /// What is offered cannot be deployed later, or not in this image.
        Unsupported = "unsupported",
        /// The upload is not known any more: begin again.
        Gone = "gone",
    }
}

/// A piece is on the server's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceStored {
    /// Bytes of the file that are stored: where the next piece begins.
    pub stored: u64,
}

/// All is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureEnd {
    /// Every file of the image, with what the client sent.
    pub files: Vec<SentFile>,
    /// Places of the source that could not be read and are zero in the image; empty unless the client was told to
    /// go on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<Unreadable>,
}

/// A file that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentFile {
    /// Name in the image directory.
    pub name: String,
    /// Length in bytes.
    pub len: u64,
    /// Hash of all its bytes.
    pub blake3: Blake3,
}

/// A place of the source that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// The file of the image that would hold it.
    pub file: String,
    /// Offset on the captured device, in bytes.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// How far a capture is at the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureView {
    /// What happens now.
    pub stage: CaptureStage,
    /// Bytes received, or verified.
    pub done: u64,
    /// Bytes in all; 0 where that is not known.
    pub total: u64,
    /// A sentence for people.
    pub text: String,
}

open_names! {
    /// Stages of a capture at the server.
    CaptureStage {
        /// Files arrive.
        Receiving = "receiving",
        /// All is there and is decoded and verified.
        Verifying = "verifying",
        /// The image is published: the capture has succeeded.
        Published = "published",
        /// It failed; the former image, if there is one, is as it was.
        Failed = "failed",
    }
}
