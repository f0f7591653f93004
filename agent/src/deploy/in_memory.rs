//! Files of memory that programs can open.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use nix::sys::memfd::{MFdFlags, memfd_create};

/// A file of memory, of which only what is written takes any. The initramfs has no other place for large files: what is
/// mounted there is small.
pub(super) struct InMemory(pub(super) File);

impl InMemory {
    pub(super) fn new(len: u64) -> io::Result<Self> {
        let file = File::from(memfd_create("fos-agent", MFdFlags::MFD_CLOEXEC)?);
        file.set_len(len)?;
        Ok(Self(file))
    }

    /// For this process and those that it starts.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }
}
