//! What this project's two ends say to each other, beyond FOG's own contract (crate `fog`).
//!
//! All paths live below `{web}service/fos/` and exist where `getversion.php?caps=1` lists
//! [`CAPABILITY`]. Stock clients never ask for them, stock servers ignore the extra fields. Both ends
//! ignore unknown JSON fields, and a field that came later has a default. The crate does no input
//! or output.

#![warn(missing_docs)]

mod format;
mod hash;
mod manifest;
pub mod room;
mod session;
mod trial;

pub use format::{Compression, ImageFormat};
pub use hash::{Blake3, NotBlake3};
pub use manifest::{ImageFacts, MANIFEST_VERSION, Manifest, NewerManifest, SmallFile, StreamFacts};
pub use session::{Refusal, RefusalCode, SessionView, Site, Stage, StreamNow};
pub use trial::{Mismatch, TestCheck, TestStream};

/// Token of `getversion.php?caps=1`: the paths below exist.
pub const CAPABILITY: &str = "fosnative1";

/// `GET fos/manifest?mac=M` answers a [`Manifest`] of the image in the host's active task.
pub const MANIFEST_PATH: &str = "service/fos/manifest";
/// `GET fos/file?mac=M&name=d1.mbr` answers a small file of that image.
pub const FILE_PATH: &str = "service/fos/file";
/// `GET fos/data?mac=M&ticket=T&stream=d1p1.img&part=0` answers the stored bytes of a part of a stream of that image
/// (a stream has several parts where it is several files), for a machine that is deployed alone and was told to go.
/// `Range: bytes=N-` is answered with 206, a part that the stream does not have with 404.
pub const DATA_PATH: &str = "service/fos/data";
/// `GET fos/session?mac=M` answers a [`SessionView`].
pub const SESSION_PATH: &str = "service/fos/session";

/// Field of every request of a host: the value of the kernel argument `fosticket`, which the boot
/// script gave to this host alone. Absent where there is no such argument.
pub const FIELD_TICKET: &str = "ticket";
/// Extra field of `mc_checkin.php`: program and version of the client, as
/// `fos-agent/0.1.0`.
pub const FIELD_AGENT: &str = "agent";
/// Extra field of `mc_checkin.php`: the client's own IPv4 address on the interface that leads to
/// the server. Where the TCP peer has another one, a proxy or NAT is between.
pub const FIELD_ADDRESS: &str = "address";
/// Extra field of `progress.php`: what the client is doing, one word.
pub const FIELD_PHASE: &str = "phase";
/// Extra field of `progress.php`: name of the stream in work. Field of [`DATA_PATH`]: the stream that is wanted.
pub const FIELD_STREAM: &str = "stream";
/// Field of [`DATA_PATH`]: which part of the stream, from 0.
pub const FIELD_PART: &str = "part";
/// Extra field of `progress.php`: a sentence for people.
pub const FIELD_DETAIL: &str = "detail";

/// Largest small file that is served or accepted, in bytes: boot areas are at most 1 MiB.
pub const MAX_SMALL_FILE: u64 = 4 << 20;

/// Most small files that an image may have. A disk has one for each logical partition and some ten more.
pub const MAX_FILES: usize = 512;

/// Most bytes of all small files together: a client keeps them in memory until the disk is planned.
pub const MAX_FILES_LEN: u64 = 16 << 20;

/// Most streams that an image may have: partitions of a disk. A client keeps a few hundred bytes for each.
pub const MAX_STREAMS: usize = 512;

/// Largest [`Manifest`] as JSON, in bytes; [`MAX_FILES`] and [`MAX_STREAMS`] of them have a third of it.
/// A client needs up to twenty times as much for a moment to read it.
pub const MAX_MANIFEST: u64 = 1 << 20;

/// Largest [`SessionView`] as JSON, in bytes.
pub const MAX_SESSION_VIEW: u64 = 64 << 10;
