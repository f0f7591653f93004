//! Images and captures, as they are asked for and shown.

use fog::task::ImageType;
use readable::Size;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::domain::image::{Facts, ImageName, NewImage};

/// Where somebody thinks that the images are.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct RootQuery {
    /// An absolute path; the answer is a conflict if they are elsewhere.
    #[serde(default)]
    pub given: Option<String>,
}

/// Where the images are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageRoot {
    /// An absolute path on the server.
    pub path: String,
}

/// A new image.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ImageAdd {
    /// The image.
    #[schema(value_type = Object)]
    pub image: NewImage,
    /// What was found out.
    #[schema(value_type = Object)]
    pub facts: Facts,
}

/// An image that was verified again.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ImageUpdate {
    /// `imgFormat`.
    pub format: u8,
    /// What was found out.
    #[schema(value_type = Object)]
    pub facts: Facts,
}

/// An image.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ImageShown {
    /// Number.
    pub id: i64,
    /// Name.
    pub name: String,
    /// Directory below the image root.
    pub path: String,
    /// What it holds.
    #[schema(value_type = String)]
    pub image_type: ImageType,
    /// Operating system.
    pub os_id: i64,
    /// Bytes in the store.
    pub stored_size: u64,
    /// What people say of it.
    #[serde(default)]
    pub note: String,
    /// What is known of its files; `None` if it was added by another program.
    #[schema(value_type = Option<Object>)]
    pub facts: Option<Facts>,
    /// How its last copy from another server to the one that answers goes, or went; `None` if there was none since that
    /// was started.
    #[serde(default)]
    pub copy: Option<ImageCopy>,
}

/// The copy of an image from another server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageCopy {
    /// How far it is: waiting, copying, comparing, held or failed.
    pub state: ReplicaState,
    /// Name of the server that the files come from, while they do.
    pub from: Option<String>,
    /// Bytes that are here, or were compared.
    pub done: u64,
    /// Bytes of all files.
    pub total: u64,
    /// When it was asked for, UTC.
    pub began_at: String,
    /// Since when it is in this state, UTC.
    pub since: String,
    /// A sentence: what is going on, why it waits, or why it was not made.
    pub text: String,
}

impl ImageCopy {
    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        let of = format!("{} of {}", Size(self.done), Size(self.total));
        let Self { text, since, .. } = self;
        match self.state {
            ReplicaState::Copying => format!("is copied, {of}: {text}; since {since} UTC"),
            ReplicaState::Comparing => {
                format!("is copied, {of} compared: {text}; since {since} UTC")
            }
            ReplicaState::Waiting => format!("is to be copied: {text}; since {since} UTC"),
            ReplicaState::Failed => format!("was not copied: {text}; since {since} UTC"),
            _ => format!("{text}, at {since} UTC"),
        }
    }
}

/// What changes of an image.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct ImageDescribe {
    /// Its new name, 1 to 40 characters.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub name: Option<ImageName>,
    /// What people say of it, at most 1000 characters.
    #[serde(default)]
    pub note: Option<String>,
}

/// Which version of an image is wanted.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub struct ImageRevert {
    /// Its number.
    pub version: u32,
}

/// A version of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VersionRow {
    /// Number; `None` for the present one.
    pub version: Option<u32>,
    /// When its files were verified, UTC; `None` if they never were.
    pub verified_at: Option<String>,
    /// Bytes of its files, if they were looked at.
    pub stored_size: u64,
    /// A sentence: what it was captured from, and when; empty if that is not known.
    pub origin: String,
    /// When another one took its place, UTC.
    pub replaced_at: Option<String>,
}

/// A capture of the disk of a host.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Capture {
    /// Host, by name.
    pub host: String,
    /// Image, by name or number; one of a new name is made.
    pub image: String,
    /// What it is to hold: n, mps, mpa or dd; that of the image, or mps for a new one, if not given.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "mps", pattern = "^(n|mps|mpa|dd)$")]
    pub image_type: Option<ImageType>,
    /// Operating system, FOG's number; that of the image, or 99 for a new one, if not given.
    #[serde(default)]
    pub os_id: Option<i64>,
    /// Level of zstd, 1 to 19, kept for later captures; that of the image, or 3, if not given.
    #[serde(default)]
    pub zstd_level: Option<u8>,
    /// Whether the machine is switched off afterwards.
    #[serde(default)]
    pub is_shutdown: bool,
    /// Whether the machine boots to a shell, in which a person starts the task.
    #[serde(default)]
    pub is_debug: bool,
}

/// To which servers an image is to be copied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Replicate {
    /// Name of the server; without it all that lack the image.
    #[serde(default)]
    pub to: Option<String>,
    /// Replace files that are there and are not what was verified.
    #[serde(default)]
    pub replace: bool,
}

/// An image at one of the servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplicaStatus {
    /// Name of the server; empty where there can be no others.
    pub node: String,
    /// Whether the image is there.
    pub state: ReplicaState,
    /// How much of the present work is done, in percent.
    pub percent: u64,
    /// A sentence.
    pub text: String,
    /// How its last copy there goes, or went; `None` if there was none since that server was started.
    #[serde(default)]
    pub copy: Option<ImageCopy>,
}

/// Whether an image is at a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReplicaState {
    /// It is what was verified, by size and date.
    Held,
    /// It is not there.
    Absent,
    /// Something else is there.
    Other,
    /// It waits until another image is copied.
    Waiting,
    /// Its files come from another server.
    Copying,
    /// What has come is compared with what was verified.
    Comparing,
    /// The last copy was not made.
    Failed,
    /// The server cannot be asked.
    Unreachable,
}

impl ReplicaState {
    /// Whether it will be another one soon.
    #[must_use]
    pub fn is_at_work(self) -> bool {
        matches!(self, Self::Waiting | Self::Copying | Self::Comparing)
    }
}

/// How the verification of an image goes, or went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageVerification {
    /// Name of the image.
    pub image: String,
    /// How far it is, or what the image is.
    pub state: VerificationState,
    /// How much of all streams was read, in percent.
    pub percent: u64,
    /// When it was begun, UTC.
    pub began_at: String,
    /// When it ended, UTC.
    pub ended_at: Option<String>,
    /// A sentence: what is going on, or what the image is and what to do.
    pub text: String,
    /// What is not as it was, and what people should know.
    pub details: Vec<String>,
}

/// How far a verification is, or what the image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VerificationState {
    /// Its files are read.
    Reading,
    /// It is good, and has the bytes that were added.
    Good,
    /// It can be read completely, and is not what was added, or nothing was known of it.
    Other,
    /// It is damaged, or cannot be read.
    Damaged,
}
