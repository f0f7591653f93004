//! Everything that is decided, and refused, before the first write of a deploy.
//!
//! A plan is a pure function of what the server says of an image (manifest and small files) and of the
//! shapes of disks. The client plans for its disks. The server plans, when an image is added, for
//! disks as large as those that were captured ([`plan_for_source`]), so that an image which every client
//! would refuse is refused there, with the same text. Nothing here reads or writes a file.

#![warn(missing_docs)]

use std::collections::BTreeMap;

mod arguments;
mod files;
mod growth;
mod lacks;
mod legacy;
mod manifest;
mod plan;
mod refusal;
mod steps;
mod volumes;
mod warning;
mod which;

pub use arguments::{ComputerName, check_arguments, check_same_image, computer_name};
pub use growth::Growable;
pub use manifest::{MAX_DISKS, check_manifest, check_system, image_disks, recorded_sizes};
pub use plan::{
    DeployPlan, Destination, DiskPlan, Place, PlannedStream, plan, plan_for_source, source_shapes,
};
pub use refusal::{Contradiction, Quantity, Refusal};
pub use steps::Step;
pub use volumes::{PlannedGroup, PlannedVolume, VolumesError, sidecars};
pub use warning::{Warning, scripts};
pub use which::{WhichDisk, WhichPartition, WhichPlace};

/// The small files of an image by name.
pub type SmallFiles = BTreeMap<String, Vec<u8>>;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
