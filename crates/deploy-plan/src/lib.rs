//! Everything that is decided, and refused, before the first write of a deploy.
//!
//! A plan is a pure function of what the server says of an image (manifest and small files) and of the
//! shape of a disk. The client plans for its disk. The server plans, when an image is added, for a
//! disk as large as the one that was captured ([`plan_for_source`]), so that an image which every client
//! would refuse is refused there, with the same text. Nothing here reads or writes a file.

#![warn(missing_docs)]

use std::collections::BTreeMap;

mod arguments;
mod growth;
mod plan;
mod refusal;
mod steps;
mod warning;

pub use arguments::{check_arguments, check_multicast, check_same_image, computer_name};
pub use growth::Growable;
pub use plan::{
    DeployPlan, Destination, PlannedStream, check_manifest, plan, plan_for_source, source_shape,
};
pub use refusal::{Contradiction, Quantity, Refusal};
pub use steps::Step;
pub use warning::Warning;

/// The small files of an image by name.
pub type SmallFiles = BTreeMap<String, Vec<u8>>;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
