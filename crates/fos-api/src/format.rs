//! How an image is stored. Both sets of names are open: a newer server may know more of them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An enum of known texts, and any other text as it came.
macro_rules! open_names {
    (
        $(#[$meta:meta])*
        $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum $name {
            $($(#[$doc])* $variant,)*
            /// A name that this version does not know. Comes from the peer as it is: show it with
            /// `fog::encoding::printable` only.
            Unknown(String),
        }

        impl $name {
            /// The name on the wire and on the screen.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Unknown(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $($text => Self::$variant,)*
                    _ => Self::Unknown(text.to_owned()),
                }
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::from(text.as_str())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use open_names;

open_names! {
    /// Format of an image and its version.
    ImageFormat {
        /// partclone before 0.3.0.
        Partclone0001 = "partclone 0001",
        /// partclone 0.3.0 and later.
        Partclone0002 = "partclone 0002",
        /// partimage 0.6.
        Partimage06 = "partimage 0.6",
        /// No format: a disk or partition as it is.
        Raw = "raw",
    }
}

impl ImageFormat {
    /// Whether an image of this format says how long it is, so that a part of it never looks whole.
    #[must_use]
    pub fn tells_its_length(&self) -> bool {
        match self {
            Self::Partclone0001 | Self::Partclone0002 | Self::Partimage06 => true,
            Self::Raw | Self::Unknown(_) => false,
        }
    }
}

open_names! {
    /// Compression around an image.
    Compression {
        /// The image as it was written.
        Plain = "none",
        /// gzip (RFC 1952).
        Gzip = "gzip",
        /// zstd (RFC 8878).
        Zstd = "zstd",
        /// xz.
        Xz = "xz",
        /// bzip2.
        Bzip2 = "bzip2",
        /// LZ4 frames.
        Lz4 = "lz4",
    }
}

impl ImageFormat {
    /// Whether it is a partclone image that this version reads.
    #[must_use]
    pub fn is_partclone(&self) -> bool {
        matches!(self, Self::Partclone0001 | Self::Partclone0002)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_texts_of_the_wire_and_strangers_are_kept() {
        let format = |text: &str| serde_json::from_value::<ImageFormat>(text.into()).unwrap();
        let compression = |text: &str| serde_json::from_value::<Compression>(text.into()).unwrap();
        assert_eq!(format("partclone 0002"), ImageFormat::Partclone0002);
        assert_eq!(compression("none"), Compression::Plain);
        for text in [
            "partclone 0001",
            "partclone 0002",
            "partimage 0.6",
            "raw",
            "partclone 0003",
        ] {
            assert_eq!(serde_json::to_value(format(text)).unwrap(), text);
        }
        for text in ["none", "gzip", "zstd", "xz", "bzip2", "lz4", "brotli", ""] {
            assert_eq!(serde_json::to_value(compression(text)).unwrap(), text);
        }
        let stranger = format("partclone 0003");
        assert_eq!(stranger, ImageFormat::Unknown("partclone 0003".into()));
        assert!(!stranger.is_partclone());
        assert!(matches!(compression("brotli"), Compression::Unknown(_)));
    }
}
