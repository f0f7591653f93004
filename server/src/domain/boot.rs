//! What the machine of a host was answered when it asked what to boot.

use std::path::PathBuf;

use super::Refusal;

/// The answer to a boot loader, for people who look at its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootGiven {
    /// Kernel and initramfs of the session's job.
    Kernel,
    /// This file is missing, so there is nothing to boot.
    NoFile(PathBuf),
    /// This directory does not answer; it asks again.
    Hang(PathBuf),
    /// The session's image does not exist any more.
    NoImage,
    /// The session's image was changed since the session began.
    OtherImage,
    /// It was refused.
    Refused(Refusal),
    /// The server failed: what the log says.
    Failed(String),
}
