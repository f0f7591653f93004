//! Images, and what was found out about their files when they were verified.

use std::fmt;

use fog::task::ImageType;
use fos_api::StreamFacts;
use serde::{Deserialize, Serialize};

use super::{ImageId, Timestamp};

/// An image as FOG knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Number.
    pub id: ImageId,
    /// Display name.
    pub name: String,
    /// Directory below the image root.
    pub path: String,
    /// What it holds.
    pub image_type: ImageType,
    /// Operating system, FOG's number.
    pub os_id: i64,
    /// `imgFormat`: 0 gzip, 3 plain, 5 zstd; 2, 4, 6 the same in chunks; 1 partimage.
    pub format: u8,
    /// Bytes in the store.
    pub stored_size: u64,
    /// What people say of it (`imageDesc`).
    pub note: String,
    /// Level of compression of its next capture (`imageCompress`), if somebody said one.
    pub compression: Option<u8>,
}

impl Image {
    /// What of it decides what clients write.
    #[must_use]
    pub fn settings(&self) -> ImageSettings {
        ImageSettings {
            path: self.path.clone(),
            image_type: self.image_type,
            os_id: self.os_id,
            format: self.format,
        }
    }
}

/// What of an image's row decides what clients write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSettings {
    /// Directory below the image root.
    pub path: String,
    /// What it holds.
    pub image_type: ImageType,
    /// Operating system.
    pub os_id: i64,
    /// `imgFormat`.
    pub format: u8,
}

impl ImageSettings {
    /// The first that is another one in `now`.
    #[must_use]
    pub fn difference(&self, now: &Self) -> Option<SettingChanged> {
        let changed = |what, old: &dyn fmt::Display, new: &dyn fmt::Display| SettingChanged {
            what,
            old: old.to_string(),
            new: new.to_string(),
        };
        if self.path != now.path {
            let shown = |path: &str| fog::encoding::printable(path, 80);
            return Some(changed("directory", &shown(&self.path), &shown(&now.path)));
        }
        if self.image_type != now.image_type {
            return Some(changed("type", &self.image_type, &now.image_type));
        }
        if self.os_id != now.os_id {
            return Some(changed("operating system", &self.os_id, &now.os_id));
        }
        (self.format != now.format).then(|| changed("format", &self.format, &now.format))
    }
}

/// A setting of an image that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its {what} is {new}, it was {old}")]
pub struct SettingChanged {
    /// Its name.
    pub what: &'static str,
    /// Then.
    pub old: String,
    /// Now.
    pub new: String,
}

/// What a new image is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewImage {
    /// Display name.
    pub name: ImageName,
    /// Directory below the image root.
    pub path: String,
    /// What it holds.
    pub image_type: ImageType,
    /// Operating system.
    pub os_id: i64,
    /// `imgFormat`.
    pub format: u8,
}

/// A display name: 1 to 40 printable characters without blanks around.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName(String);

/// Why a text is no image name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot be an image name: 1 to 40 printable characters are needed, without a slash and \
     without blanks around them"
)]
pub struct BadImageName(String);

impl ImageName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for ImageName {
    type Err = BadImageName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = (1..=40).contains(&text.chars().count())
            && fog::encoding::printable(text, 40) == text
            && !text.contains('/');
        if is_name {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadImageName(fog::encoding::printable(text, 60)))
        }
    }
}

impl TryFrom<String> for ImageName {
    type Error = BadImageName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.0
    }
}

/// Whether a character means nothing to iPXE and to the shell of FOG's client: clients get the
/// directory of their image in a boot script, where it must be the same.
#[must_use]
pub fn is_safe_in_boot_script(c: char) -> bool {
    c.is_ascii_graphic() && !"${}&|;\\#\"'`".contains(c)
}

/// A file of an image when it was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Name in the image directory.
    pub name: String,
    /// Stream and position in it; `None` for files that are not sent.
    pub place: Option<Place>,
    /// Length in bytes.
    pub size: u64,
    /// Last change, nanoseconds since 1970.
    pub mtime: i64,
    /// BLAKE3 of a small file, in hexadecimal digits; empty if not known.
    pub blake3: String,
}

/// Where a file's bytes are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Position of the stream in sending order, from 0.
    pub stream: u32,
    /// Position of the file in the stream, from 0.
    pub part: u32,
}

/// All that was found out about an image when it was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// When.
    pub checked_at: Timestamp,
    /// Whether every stream was decoded to its end.
    pub is_verified: bool,
    /// The image's settings with which its files make sense; `None` if an older version looked at them.
    #[serde(default)]
    pub settings: Option<ImageSettings>,
    /// All files.
    pub files: Vec<StoredFile>,
    /// The streams in sending order.
    pub streams: Vec<StreamFacts>,
}

impl Facts {
    /// Whether both say the same; the order of the files, which databases have as they like, says nothing.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let sorted = |facts: &Self| {
            let mut facts = facts.clone();
            facts.files.sort_by(|a, b| a.name.cmp(&b.name));
            facts
        };
        sorted(self) == sorted(other)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use fog::store::StreamName;
    use fos_api::{Compression, ImageFacts, ImageFormat};

    use super::*;

    /// An image with a small file and these streams.
    pub(crate) fn sample_facts(names: &[&str]) -> Facts {
        let mut files = vec![StoredFile {
            name: "d1.mbr".into(),
            place: None,
            size: 1000,
            mtime: 1_790_000_000_000_000_001,
            blake3: "ab".repeat(32),
        }];
        files.extend((0..).zip(names).map(|(stream, name)| StoredFile {
            name: (*name).to_owned(),
            place: Some(Place { stream, part: 0 }),
            size: 1000,
            mtime: 1_790_000_000_000_000_002,
            blake3: String::new(),
        }));
        let stream = |name: &&str| StreamFacts {
            name: StreamName::of_file(name),
            stored_len: 1000,
            blake3: "0".repeat(64).parse().unwrap(),
            image: ImageFacts {
                format: ImageFormat::Partclone0002,
                compression: Compression::Zstd,
                filesystem: "EXTFS".into(),
                device_size: 1 << 20,
                block_size: 4096,
                total_blocks: 256,
                used_blocks: Some(10),
            },
        };
        Facts {
            checked_at: Timestamp(1_790_000_000),
            is_verified: true,
            settings: Some(ImageSettings {
                path: "img".into(),
                image_type: ImageType::SingleDisk,
                os_id: 50,
                format: 5,
            }),
            files,
            streams: names.iter().map(stream).collect(),
        }
    }

    #[test]
    fn a_setting_that_changed_is_named() {
        let Some(old) = sample_facts(&[]).settings else {
            panic!("it has some");
        };
        assert_eq!(old.difference(&old), None);
        let with = |change: fn(&mut ImageSettings)| {
            let mut new = old.clone();
            change(&mut new);
            old.difference(&new).unwrap().to_string()
        };
        assert_eq!(
            with(|new| new.path = "other".into()),
            "its directory is other, it was img"
        );
        assert_eq!(
            with(|new| new.image_type = ImageType::Raw),
            "its type is dd, it was mps"
        );
        assert_eq!(
            with(|new| new.os_id = 9),
            "its operating system is 9, it was 50"
        );
        assert_eq!(with(|new| new.format = 0), "its format is 0, it was 5");
    }

    #[test]
    fn the_order_of_files_says_nothing() {
        let facts = sample_facts(&["d1p2.img", "d1p10.img"]);
        let mut other = facts.clone();
        other.files.reverse();
        assert!(facts.is_same(&other));
        other.files[0].size += 1;
        assert!(!facts.is_same(&other));
    }

    #[test]
    fn names_are_checked() {
        for name in ["a", "win 11", "ä", &"x".repeat(40)] {
            assert!(name.parse::<ImageName>().is_ok(), "{name}");
        }
        for name in ["", " a", "a\n", "a/", "a\u{202e}b", &"x".repeat(41)] {
            assert!(name.parse::<ImageName>().is_err(), "{name}");
        }
    }
}
