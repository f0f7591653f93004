//! An image as one file: a tar, which every tar opens. Its first member says what the image is; then come the files
//! of the image in a directory, as they are in the image store.

mod pack;
mod unpack;

use std::io;
use std::path::{Path, PathBuf};

use fog::task::ImageType;
use serde::{Deserialize, Serialize};

use super::dir::shown;
use super::{FileError, ScanError};
use crate::domain::image::{Facts, ImageName};

pub use pack::{PackError, pack};
pub use unpack::{UnpackError, Unpacked, unpack};

/// The member that says what the image is. No image has a file of this name.
const ABOUT: &str = "fos-image.json";

/// Most bytes of it: the facts of an image of very many files.
const MAX_ABOUT: u64 = 64 << 20;

/// What an image is, beside its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Of the archive's format: [`VERSION`].
    pub version: u32,
    /// Display name.
    pub name: ImageName,
    /// Directory below the image root.
    pub path: String,
    /// What it holds.
    pub image_type: ImageType,
    /// Operating system, FOG's number.
    pub os_id: i64,
    /// What was known of its files; `None` if it was never verified.
    pub facts: Option<Facts>,
}

/// The version that is written, and the only one that is read.
pub const VERSION: u32 = 1;

/// How far it is: the present file, bytes that are done, bytes of all (0 if that is not known).
type Progress<'a> = &'a mut dyn FnMut(&str, u64, u64);

#[cfg(test)]
mod tests;
