//! `capture`: an image of a disk, in FOG's layout, into a directory or to `fos-server`.
//!
//! What is read how is decided by the crate `capture`. partclone's programs read file systems, out of views
//! that this process shows them ([`view`]); everything else is done here. The disk is opened for reading alone.

mod command;
#[cfg(test)]
mod double;
mod job;
mod look;
mod program;
mod progress;
mod shrink;
mod store;
mod stream;
mod task;
mod view;

pub(crate) use command::{CaptureArgs, run};
pub(crate) use task::run as task;
