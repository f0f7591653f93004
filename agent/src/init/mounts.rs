//! The file systems that an initramfs starts without.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

/// One mount of the early system.
struct Early {
    kind: &'static str,
    at: &'static str,
    flags: MsFlags,
    options: &'static str,
}

/// Mounts `/proc`, `/sys`, `/dev`, `/run` and `/tmp`; returns what went wrong, for people.
///
/// What is mounted already stays. The kernel mounts devtmpfs by itself only over a root disk, never
/// over an initramfs.
pub(super) fn mount_early() -> Vec<String> {
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let early = [
        Early {
            kind: "proc",
            at: "/proc",
            flags: safe | MsFlags::MS_NOEXEC,
            options: "",
        },
        Early {
            kind: "sysfs",
            at: "/sys",
            flags: safe | MsFlags::MS_NOEXEC,
            options: "",
        },
        Early {
            kind: "devtmpfs",
            at: "/dev",
            flags: MsFlags::MS_NOSUID,
            options: "mode=0755",
        },
        Early {
            kind: "tmpfs",
            at: "/run",
            flags: safe,
            options: "mode=0755,size=16m",
        },
        Early {
            kind: "tmpfs",
            at: "/tmp",
            flags: safe,
            options: "mode=1777,size=64m",
        },
    ];
    early
        .iter()
        .filter_map(|early| attach(early).err())
        .collect()
}

/// Shows the variables of the firmware, once its driver is there. Where it is no UEFI, there is no place for them.
pub(super) fn mount_firmware() {
    let at = crate::firmware::variables();
    if !at.is_dir() {
        return;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    let none = None::<&Path>;
    // Without them a deploy is the same: only what the firmware would start is not known, and that is said then.
    mount(Some("efivarfs"), &at, Some("efivarfs"), flags, none).unwrap_or_default();
}

fn attach(early: &Early) -> Result<(), String> {
    let fail = |error: String| format!("cannot mount {} on {}: {error}", early.kind, early.at);
    if !Path::new(early.at).is_dir() {
        fs::create_dir(early.at).map_err(|error| fail(error.to_string()))?;
    }
    let done = mount(
        Some(early.kind),
        early.at,
        Some(early.kind),
        early.flags,
        Some(early.options),
    );
    match done {
        // Mounted before us, by whoever tests this or by the kernel.
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(errno) => Err(fail(errno.desc().to_owned())),
    }
}
