//! Task states and types, image types: FOG's numbers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// State of a task or a multicast session (`taskStates`); 0 is a session not yet looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// 0: a new multicast session.
    New,
    /// 1: created, the host has not reported.
    Queued,
    /// 2: the host reported and waits.
    CheckedIn,
    /// 3: the host was told to go.
    InProgress,
    /// 4: done.
    Complete,
    /// 5: stopped by a person or by the server.
    Cancelled,
    /// 6: failed (FOG 1.6, and ours).
    Failed,
}

impl State {
    /// FOG's number, or `None` for one that FOG does not have.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        Some(match number {
            0 => Self::New,
            1 => Self::Queued,
            2 => Self::CheckedIn,
            3 => Self::InProgress,
            4 => Self::Complete,
            5 => Self::Cancelled,
            6 => Self::Failed,
            _ => return None,
        })
    }

    /// FOG's number.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::New => 0,
            Self::Queued => 1,
            Self::CheckedIn => 2,
            Self::InProgress => 3,
            Self::Complete => 4,
            Self::Cancelled => 5,
            Self::Failed => 6,
        }
    }

    /// Whether a task in this state is still to be worked on (states 0 to 3).
    #[must_use]
    pub fn is_active(self) -> bool {
        self.number() <= 3
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::New => "new",
            Self::Queued => "queued",
            Self::CheckedIn => "checked in",
            Self::InProgress => "in progress",
            Self::Complete => "complete",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        })
    }
}

/// Task type of a multicast deploy (`taskTypes`).
pub const TASK_TYPE_MULTICAST: i64 = 8;

/// What an image holds (`imageTypes`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageType {
    /// 1, `n`: one disk; partitions may be resized to the target.
    Resizable,
    /// 2, `mps`: the partitions of one disk, as they are.
    SingleDisk,
    /// 3, `mpa`: the partitions of all disks, as they are.
    AllDisks,
    /// 4, `dd`: the whole disk as one raw stream.
    Raw,
}

impl ImageType {
    /// FOG's number (`imageTypeID`).
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::Resizable => 1,
            Self::SingleDisk => 2,
            Self::AllDisks => 3,
            Self::Raw => 4,
        }
    }

    /// The type of FOG's number.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        [Self::Resizable, Self::SingleDisk, Self::AllDisks, Self::Raw]
            .into_iter()
            .find(|kind| kind.number() == number)
    }

    /// The word in kernel arguments (`imgType=`).
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Resizable => "n",
            Self::SingleDisk => "mps",
            Self::AllDisks => "mpa",
            Self::Raw => "dd",
        }
    }
}

/// Why a word names no image type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an image type (expected n, mps, mpa or dd)")]
pub struct UnknownImageType(String);

impl FromStr for ImageType {
    type Err = UnknownImageType;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::Resizable, Self::SingleDisk, Self::AllDisks, Self::Raw]
            .into_iter()
            .find(|kind| kind.word() == word)
            .ok_or_else(|| UnknownImageType(word.chars().take(40).collect()))
    }
}

impl fmt::Display for ImageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_round_trip() {
        for number in 0..=6 {
            assert_eq!(State::from_number(number).unwrap().number(), number);
        }
        assert_eq!(State::from_number(7), None);
        for number in 1..=4 {
            let kind = ImageType::from_number(number).unwrap();
            assert_eq!(kind.number(), number);
            assert_eq!(kind.word().parse(), Ok(kind));
        }
        assert!("raw".parse::<ImageType>().is_err());
    }
}
