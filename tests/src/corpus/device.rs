//! Files as block devices.

use std::path::Path;
use std::process::Command;

use super::{succeed, tool};
use crate::need;

/// A loop device; it goes when this is dropped.
#[derive(Debug)]
pub struct LoopDevice {
    path: String,
}

impl LoopDevice {
    /// The file as a device; `None` where the machine has no loop devices, which has been told.
    ///
    /// # Panics
    /// There are none and nothing may be skipped.
    #[must_use]
    #[track_caller]
    pub fn new(file: &Path) -> Option<Self> {
        let output = tool(Command::new("losetup").args(["-f", "--show"]).arg(file)).output();
        let output = output.expect("losetup runs");
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr).into_owned();
            let _told = need::skip(&format!("no loop device: {}", reason.trim()));
            return None;
        }
        let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Some(Self { path })
    }

    /// The device node.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Brings what was written to the file.
    pub fn flush(&self) {
        succeed(Command::new("blockdev").arg("--flushbufs").arg(&self.path));
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // A failure shows in the machine's list of loop devices; there is nobody to tell here.
        drop(tool(Command::new("losetup").args(["-d", &self.path])).status());
    }
}
