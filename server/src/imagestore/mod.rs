//! Image directories: what is in them, whether it is complete, whether it is still the same.

mod check;
mod scan;
pub mod source;
mod verify;

pub use check::{ChangedError, check_unchanged};
pub use scan::{Listing, ScanError, scan};
pub use verify::{Inspection, VerifyError, inspect};
