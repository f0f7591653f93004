//! The description of an image.

use fog::store::StreamName;
use fog::task::ImageType;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Blake3, Compression, ImageFormat};

/// Version of [`Manifest`] that this crate writes, and the newest that it reads. It grows when a
/// reader that does not know the change would do something wrong; a new optional field is no new
/// version.
pub const MANIFEST_VERSION: u32 = 1;

/// Everything a client needs to know of an image before it touches a disk.
///
/// Reading one of a newer version fails with [`NewerManifest`], whatever else is in it.
// `remote` derives `Self::serialize` and `Self::deserialize`; the traits below add the version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Manifest {
    /// [`MANIFEST_VERSION`] of the server; 1 where the server does not say it.
    #[serde(default = "first_version")]
    pub version: u32,
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
    /// Scripts of the image store that have commands, which FOG's client would run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scripts: Vec<String>,
    /// Files that are fetched over HTTP: tables, boot areas, lists.
    pub files: Vec<SmallFile>,
    /// The streams in the order of sending.
    pub streams: Vec<StreamFacts>,
}

fn first_version() -> u32 {
    1
}

/// A manifest that this program is too old for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the server describes the image in version {found} of the manifest, this program understands \
     versions up to {MANIFEST_VERSION}: boot the fos-agent that belongs to this server"
)]
pub struct NewerManifest {
    /// The server's version.
    pub found: u64,
}

impl Serialize for Manifest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Manifest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The version first: the other fields of a newer one may have other types.
        let value = serde_json::Value::deserialize(deserializer)?;
        let version = value.get("version").and_then(serde_json::Value::as_u64);
        if let Some(found) = version.filter(|found| *found > u64::from(MANIFEST_VERSION)) {
            return Err(D::Error::custom(NewerManifest { found }));
        }
        Self::deserialize(value).map_err(D::Error::custom)
    }
}

/// A file that is not sent by multicast.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmallFile {
    /// Name in the image directory.
    pub name: String,
    /// Length in bytes.
    pub len: u64,
    /// Hash of its bytes; `None` if the server does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<Blake3>,
}

/// One stream and what must come out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamFacts {
    /// Name, for example `d1p1.img`.
    pub name: StreamName,
    /// Stored bytes (compressed, without stream record).
    pub stored_len: u64,
    /// Hash of the stored bytes.
    pub blake3: Blake3,
    /// What the image header says.
    pub image: ImageFacts,
}

/// Header of a partition image, as the server found it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// Format and version, for example `partclone 0002`.
    pub format: ImageFormat,
    /// Compression around it: `zstd`, `gzip` or `none`.
    pub compression: Compression,
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            version: MANIFEST_VERSION,
            image_id: 7,
            image_name: "lab".into(),
            image_path: "lab".into(),
            image_type: ImageType::SingleDisk,
            os_id: 50,
            scripts: Vec::new(),
            files: vec![SmallFile {
                name: "d1.mbr".into(),
                len: 512,
                blake3: None,
            }],
            streams: vec![StreamFacts {
                name: StreamName::of_file("d1p1.img"),
                stored_len: 7,
                blake3: "00".repeat(32).parse().unwrap(),
                image: ImageFacts {
                    format: ImageFormat::Partclone0002,
                    compression: Compression::Zstd,
                    filesystem: "EXTFS".into(),
                    device_size: 4096,
                    block_size: 4096,
                    total_blocks: 1,
                    used_blocks: None,
                },
            }],
        }
    }

    #[test]
    fn the_json_is_that_of_the_first_release() {
        let json = json!({
            "image_id": 7, "image_name": "lab", "image_path": "lab", "image_type": "single-disk",
            "os_id": 50, "files": [{ "name": "d1.mbr", "len": 512 }],
            "streams": [{
                "name": "d1p1.img", "stored_len": 7, "blake3": "00".repeat(32),
                "image": {
                    "format": "partclone 0002", "compression": "zstd", "filesystem": "EXTFS",
                    "device_size": 4096, "block_size": 4096, "total_blocks": 1, "used_blocks": null,
                },
            }],
        });
        let read: Manifest = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(read, manifest());
        let mut written = serde_json::to_value(manifest()).unwrap();
        let version = written.as_object_mut().unwrap().remove("version");
        assert_eq!(version, Some(1.into()));
        assert_eq!(written, json);
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let mut json = serde_json::to_value(manifest()).unwrap();
        json["later"] = 1.into();
        json["streams"][0]["later"] = 1.into();
        json["streams"][0]["image"]["later"] = 1.into();
        let read: Manifest = serde_json::from_value(json).unwrap();
        assert_eq!(read, manifest());
    }

    #[test]
    fn a_newer_version_is_refused_before_anything_else() {
        let text = r#"{"streams": {"other": "type"}, "version": 2}"#;
        let error = serde_json::from_str::<Manifest>(text).unwrap_err();
        assert!(error.to_string().contains("in version 2"), "{error}");
        let text = format!(r#"{{"version": {}}}"#, u64::MAX);
        let error = serde_json::from_str::<Manifest>(&text).unwrap_err();
        assert!(error.to_string().contains("boot the fos-agent"), "{error}");
        for version in [json!("1"), json!(-1), json!(1.5), json!(null)] {
            let mut json = serde_json::to_value(manifest()).unwrap();
            json["version"] = version;
            serde_json::from_value::<Manifest>(json).unwrap_err();
        }
    }

    #[test]
    fn a_hash_that_is_none_is_refused() {
        let mut json = serde_json::to_value(manifest()).unwrap();
        json["streams"][0]["blake3"] = "xyz".into();
        let error = serde_json::from_value::<Manifest>(json).unwrap_err();
        assert!(error.to_string().contains("not a BLAKE3 hash"), "{error}");
    }
}
