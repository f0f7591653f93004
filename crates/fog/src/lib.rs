//! What FOG's client and server say to each other, as types.
//!
//! Both ends of this project use the same definitions, so that neither can drift from the
//! other: kernel arguments, check-in answers, the progress line, the names and the order of
//! an image's streams, the record in front of a stream. Our own additions, which stock FOG clients and
//! servers ignore, are in the crate `fos-api`. The crate does no input or output.

#![warn(missing_docs)]

pub mod args;
pub mod checkin;
pub mod encoding;
pub mod form;
pub mod hostinfo;
pub mod lvm;
pub mod mac;
pub mod record;
pub mod status;
pub mod store;
pub mod task;

pub use args::KernelArgs;
pub use mac::Mac;
