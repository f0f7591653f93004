//! What a failed call of a disk means. The kernel's own words ("No space left on device" of a disk that was pulled
//! out, "No data available" of a bad sector) lead people astray.

use std::fmt;

use nix::errno::Errno;
use readable::Size;

/// What is wrong with a disk, as far as a failed call and a look at the disk say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not there any more.
    Gone,
    /// It has become smaller than it was when it was opened.
    Smaller {
        /// In bytes, when it was opened.
        was: u64,
        /// In bytes now.
        is: u64,
    },
    /// A place of the medium cannot be read or written.
    Medium,
    /// It did not answer in time.
    Timeout,
    /// The path to it failed: cable, controller, or the network of a storage.
    Link,
    /// It, or its controller, reported an error without a reason.
    Unnamed,
    /// It takes no writes.
    ReadOnly,
    /// Another machine has reserved it.
    Reserved,
    /// What it gave and the checksum beside it differ.
    Integrity,
    /// It is thinly provided, and the storage behind it is full.
    Full,
    /// Nothing that points to the disk.
    Other,
}

/// What a look at the device shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// In bytes, when it was opened.
    pub(super) was: u64,
    /// In bytes now; `None` if it does not answer.
    pub(super) is: Option<u64>,
    /// The kernel lists it.
    pub(super) is_listed: bool,
}

impl Fault {
    /// From the error number of a call, and a look at the device after it.
    pub(super) fn of(errno: Option<i32>, look: Look) -> Self {
        match look.is {
            _ if !look.is_listed => return Self::Gone,
            None | Some(0) => return Self::Gone,
            Some(is) if is < look.was => return Self::Smaller { was: look.was, is },
            Some(_) => {}
        }
        // The kernel's table is in block/blk-core.c, blk_errors.
        match errno.map(Errno::from_raw) {
            Some(Errno::ENODEV | Errno::ENXIO | Errno::ENOMEDIUM | Errno::ESHUTDOWN) => Self::Gone,
            Some(Errno::ENODATA) => Self::Medium,
            Some(Errno::ETIMEDOUT) => Self::Timeout,
            Some(Errno::ENOLINK) => Self::Link,
            Some(Errno::EIO | Errno::EREMOTEIO) => Self::Unnamed,
            Some(Errno::EROFS | Errno::EPERM) => Self::ReadOnly,
            Some(Errno::EBADE) => Self::Reserved,
            Some(Errno::EILSEQ) => Self::Integrity,
            Some(Errno::ENOSPC) => Self::Full,
            _ => Self::Other,
        }
    }

    /// Whether there is something to say.
    pub(super) fn is_known(self) -> bool {
        self != Self::Other
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => {
                "the disk is gone: it was pulled out, lost its power or cable, or has failed; check it"
            }
            Self::Smaller { was, is } => {
                return write!(
                    f,
                    "the disk has become smaller: it had {:#} and has {:#} now; check it, or who changes it",
                    Size(*was),
                    Size(*is)
                );
            }
            Self::Medium => "the disk is defective: it cannot use this place of its medium; replace it",
            Self::Timeout => {
                "the disk did not answer in time; check its power and cable, and replace it if that does \
                 not help"
            }
            Self::Link => "the connection to the disk failed; check its cable and controller",
            Self::Unnamed => {
                "the disk or its controller reports an error: it is probably defective, or its cable is; \
                 the kernel's messages (dmesg) have more"
            }
            Self::ReadOnly => "the disk takes no writes: it is write-protected, or has protected itself",
            Self::Reserved => "another machine has reserved the disk; release it there",
            Self::Integrity => {
                "the disk's data and their checksums differ: the disk or its controller is defective"
            }
            Self::Full => "the storage behind the disk is full; it promises more space than it has",
            Self::Other => "the call failed",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WELL: Look = Look {
        was: 1000,
        is: Some(1000),
        is_listed: true,
    };

    #[track_caller]
    fn fault(errno: Errno, look: Look) -> Fault {
        Fault::of(Some(errno as i32), look)
    }

    #[test]
    fn a_disk_that_was_pulled_out_is_not_full() {
        for look in [
            Look {
                is: Some(0),
                ..WELL
            },
            Look { is: None, ..WELL },
            Look {
                is_listed: false,
                ..WELL
            },
        ] {
            for errno in [Errno::ENOSPC, Errno::EIO, Errno::ENODEV] {
                assert_eq!(fault(errno, look), Fault::Gone, "{errno} {look:?}");
            }
            // What reads short has no number.
            assert_eq!(Fault::of(None, look), Fault::Gone);
        }
        assert_eq!(fault(Errno::ENODEV, WELL), Fault::Gone);
        assert_eq!(fault(Errno::ENOSPC, WELL), Fault::Full);
        assert!(Fault::Gone.to_string().starts_with("the disk is gone"));
    }

    #[test]
    fn a_smaller_disk_is_named_with_both_sizes() {
        let look = Look {
            is: Some(400),
            ..WELL
        };
        let found = fault(Errno::ENOSPC, look);
        assert_eq!(found, Fault::Smaller { was: 1000, is: 400 });
        let text = found.to_string();
        assert!(
            text.contains("1000 bytes") && text.contains("400 bytes"),
            "{text}"
        );
        let larger = Look {
            is: Some(2000),
            ..WELL
        };
        assert_eq!(fault(Errno::EIO, larger), Fault::Unnamed);
    }

    #[test]
    fn a_bad_place_is_a_defect_and_not_an_absence_of_data() {
        assert_eq!(fault(Errno::ENODATA, WELL), Fault::Medium);
        assert!(Fault::Medium.to_string().contains("defective"));
        assert_eq!(fault(Errno::EIO, WELL), Fault::Unnamed);
        assert_eq!(fault(Errno::ETIMEDOUT, WELL), Fault::Timeout);
        for errno in [Errno::EINVAL, Errno::EBADF, Errno::ENOMEM] {
            assert!(!fault(errno, WELL).is_known(), "{errno}");
        }
    }
}
