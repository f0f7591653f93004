//! What a capture reads of a disk, how, and into which files of FOG's image store.
//!
//! A [`CapturePlan`] is a pure function of what was found on disks ([`SurveyedDisk`]). File systems are read by
//! the programs that know them, everything else as it is; swap spaces are kept by their UUID alone. What an image
//! could not bring back, or what is not in order now, is refused before anything is read. Nothing here reads or writes
//! a file.

#![warn(missing_docs)]

mod condition;
mod content;
mod overlay;
mod plan;
mod raw;
mod refusal;
mod shrink;
mod unreadable;
mod warning;

pub use condition::{Condition, ext_state, is_hibernation};
pub use content::{Content, FileSystem, Group, GroupVolume, RawCause};
pub use overlay::{Base, Full, Overlay};
pub use plan::{
    CapturePlan, Method, PlannedStream, Request, SurveyedDisk, SurveyedPartition, compressed_bound,
    plan,
};
pub use raw::{RawHead, raw_block};
pub use refusal::Refusal;
pub use shrink::{Shrinkable, Shrunken, shrunken_len};
pub use unreadable::Unreadables;
pub use warning::Warning;
