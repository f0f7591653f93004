//! What an arriving image is, as it is kept beside its files.

use fog::task::ImageType;
use fos_api::capture::{CaptureOffer, SentFile};
use serde::{Deserialize, Serialize};

use crate::domain::capture::Origin;
use crate::domain::image::Facts;
use crate::domain::{ImageId, TaskId, Timestamp};

/// An arriving image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Image.
    pub image: ImageId,
    /// Its name when the capture began.
    pub image_name: String,
    /// Its directory below the image root.
    pub path: String,
    /// What it holds.
    pub image_type: ImageType,
    /// Operating system, FOG's number.
    pub os_id: i64,
    /// Who may send it.
    pub owner: Owner,
    /// What was offered.
    pub offer: CaptureOffer,
    /// Where it comes from.
    pub origin: Origin,
    /// How far it is.
    pub stage: Stage,
    /// Inode of the directory of its files; `None` in records of earlier versions.
    #[serde(default)]
    pub inode: Option<u64>,
}

/// Who sends an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// The machine of a task, with the ticket that it alone has.
    Task {
        /// Task.
        task: TaskId,
        /// Its ticket, in hexadecimal digits.
        ticket: String,
    },
    /// Who has this token.
    Token {
        /// Its name.
        name: String,
    },
}

impl Owner {
    /// The task that it is done for.
    #[must_use]
    pub fn task(&self) -> Option<TaskId> {
        match self {
            Self::Task { task, .. } => Some(*task),
            Self::Token { .. } => None,
        }
    }
}

/// How far an arriving image is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Its files arrive.
    Receiving,
    /// All are here.
    Sent {
        /// What the client says that it sent.
        files: Vec<SentFile>,
    },
    /// They are good.
    Good {
        /// What was found out about them.
        facts: Box<Facts>,
    },
    /// It is published.
    Published {
        /// When.
        at: Timestamp,
    },
    /// It cannot be used.
    Failed {
        /// When.
        at: Timestamp,
        /// Why, for people.
        text: String,
        /// Whether its task fails with it; not if its client, or a person, has ended it.
        #[serde(default)]
        fails_task: bool,
    },
}

impl Stage {
    /// Whether nothing more becomes of it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Published { .. } | Self::Failed { .. })
    }
}
