//! Our own additions to FOG's HTTP interface; stock clients never ask for them.
//!
//! All live below `{web}service/fos/` and exist where `getversion.php?caps=1` lists
//! [`NATIVE`](crate::checkin::caps::NATIVE). Unknown JSON fields are ignored by both ends.

use serde::{Deserialize, Serialize};

use crate::store::StreamName;
use crate::task::{ImageType, State};

/// `GET fos/manifest?mac=M` answers a [`Manifest`] of the image in the host's active task.
pub const MANIFEST_PATH: &str = "service/fos/manifest";
/// `GET fos/file?mac=M&name=d1.mbr` answers a small file of that image.
pub const FILE_PATH: &str = "service/fos/file";
/// `GET fos/session?mac=M` answers a [`SessionView`].
pub const SESSION_PATH: &str = "service/fos/session";

/// Extra field of `mc_checkin.php`: program and version of the client, as
/// `fos-agent/0.1.0`.
pub const FIELD_AGENT: &str = "agent";
/// Extra field of `mc_checkin.php`: IPv4 address of the client on the interface that leads to the
/// server. A server that sees another one is behind a proxy or an address translation.
pub const FIELD_ADDRESS: &str = "address";
/// Extra field of every request for a host: the [ticket](crate::KernelArgs::ticket) of the boot.
pub const FIELD_TICKET: &str = "ticket";
/// Extra field of `progress.php`: what the client is doing, one word.
pub const FIELD_PHASE: &str = "phase";
/// Extra field of `progress.php`: name of the stream in work.
pub const FIELD_STREAM: &str = "stream";
/// Extra field of `progress.php`: a sentence for people.
pub const FIELD_DETAIL: &str = "detail";

/// Largest small file that is served or accepted, in bytes: boot areas are at most 1 MiB.
pub const MAX_SMALL_FILE: u64 = 4 << 20;

/// Everything a client needs to know of an image before it touches a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// FOG's number of the image.
    pub image_id: i64,
    /// Display name.
    pub image_name: String,
    /// Directory below the image root.
    pub image_path: String,
    /// What the image holds.
    pub image_type: ImageType,
    /// FOG's number of the operating system.
    pub os_id: i64,
    /// Files that are fetched over HTTP: tables, boot areas, lists.
    pub files: Vec<SmallFile>,
    /// The streams in the order of sending.
    pub streams: Vec<StreamFacts>,
}

/// A file that is not sent by multicast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmallFile {
    /// Name in the image directory.
    pub name: String,
    /// Length in bytes.
    pub len: u64,
    /// BLAKE3 of its bytes, 64 hexadecimal digits; `None` if the server does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
}

/// One stream and what must come out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamFacts {
    /// Name, for example `d1p1.img`.
    pub name: StreamName,
    /// Stored bytes (compressed, without stream record).
    pub stored_len: u64,
    /// BLAKE3 of the stored bytes, 64 hexadecimal digits.
    pub blake3: String,
    /// What the image header says.
    pub image: ImageFacts,
}

/// Header of a partition image, as the server found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// Format and version, for example `partclone 0002`.
    pub format: String,
    /// Compression around it: `zstd`, `gzip` or `none`.
    pub compression: String,
    /// File system name in the header, for display.
    pub filesystem: String,
    /// Size of the source device in bytes: what the target must hold.
    pub device_size: u64,
    /// Block size in bytes.
    pub block_size: u32,
    /// Blocks of the file system.
    pub total_blocks: u64,
    /// Blocks stored in the image, counted; `None` if only the header was read.
    pub used_blocks: Option<u64>,
}

/// A multicast session as its clients see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionView {
    /// FOG's number of the session.
    pub session: i64,
    /// State of the session.
    pub state: State,
    /// What the session does now.
    pub stage: Stage,
    /// Hosts that belong to it.
    pub expected: u32,
    /// Hosts that checked in.
    pub checked_in: u32,
    /// Receivers that joined the rendezvous of the present stream.
    pub connected: u32,
    /// Names of hosts still missing at this stage; at most 50.
    pub missing: Vec<String>,
    /// The stream waited for, sent, or last sent.
    pub stream: Option<StreamNow>,
    /// Whether streams begin with a record; `None` until that is decided.
    pub records: Option<bool>,
    /// Seconds since the stage began.
    pub stage_seconds: u64,
    /// Seconds until the wait for missing hosts ends, if one runs.
    pub starts_in_seconds: Option<u64>,
    /// State of the asking host's task.
    pub your_task: State,
    /// A sentence for people: what is going on or why it ended.
    pub text: String,
    /// Number (from 1) of the stream that the asking host is to receive next, or is receiving. After a
    /// restart of the server it may be smaller than the host thinks: its last acknowledgement was not
    /// stored. `None`: nothing is left to receive, or the server does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub your_stream: Option<u32>,
    /// Why the asking host must stop, if it must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
}

/// Why a host is not served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs, for example [`RESTART`](Self::RESTART); others may come.
    pub code: String,
    /// For people.
    pub text: String,
}

impl Refusal {
    /// The kernel arguments are of another job: only a restart fetches the present ones.
    pub const RESTART: &str = "restart";
}

/// Stages of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Receivers of a stream are awaited.
    Gathering,
    /// A stream is being sent.
    Sending,
    /// All streams are sent; clients finish.
    Finishing,
    /// Over.
    Ended,
}

/// Which stream of how many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamNow {
    /// Counted from 1.
    pub number: u32,
    /// Streams in all.
    pub count: u32,
    /// Its name.
    pub name: StreamName,
    /// Bytes that every receiver has acknowledged.
    pub acked: u64,
    /// Bytes in all.
    pub len: u64,
    /// Number of the attempt to send it, 0 for the first. It grows when the stream is begun again.
    #[serde(default)]
    pub run: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_are_ignored() {
        let facts = StreamFacts {
            name: StreamName::of_file("d1p1.img"),
            stored_len: 7,
            blake3: "00".repeat(32),
            image: ImageFacts {
                format: "partclone 0002".into(),
                compression: "zstd".into(),
                filesystem: "EXTFS".into(),
                device_size: 4096,
                block_size: 4096,
                total_blocks: 1,
                used_blocks: None,
            },
        };
        let mut json = serde_json::to_value(&facts).unwrap();
        json["later"] = 1.into();
        assert_eq!(serde_json::from_value::<StreamFacts>(json).unwrap(), facts);
    }
    #[test]
    fn a_view_of_an_older_server_is_read() {
        let view: SessionView = serde_json::from_str(
            r#"{"session":3,"state":"in-progress","stage":"gathering","expected":3,"checked_in":3,
                "connected":2,"missing":[],"stream":{"number":1,"count":3,"name":"d1p1.img",
                "acked":0,"len":100},"records":true,"stage_seconds":12,"starts_in_seconds":null,
                "your_task":"in-progress","text":"waiting"}"#,
        )
        .unwrap();
        assert_eq!(view.stream.unwrap().run, 0);
        assert_eq!((view.your_stream, view.refusal), (None, None));
    }
}
