//! What people should know although it can be captured.

use std::fmt;

use deploy_plan::WhichPlace;
use readable::Size;

use crate::RawCause;

/// Something that is captured, and perhaps not as somebody expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// All of a large partition is read.
    ReadWhole {
        /// Which partition or volume.
        which: WhichPlace,
        /// Its bytes.
        len: u64,
        /// Why.
        cause: RawCause,
    },
    /// An NTFS with a list of bad places.
    BadClusters {
        /// Which partition or volume.
        which: WhichPlace,
    },
    /// An NTFS in which a Windows may sleep.
    HibernationUnknown {
        /// Which partition or volume.
        which: WhichPlace,
    },
    /// A swap space without a UUID.
    SwapWithoutUuid {
        /// Which partition or volume.
        which: WhichPlace,
    },
    /// A partition with space behind its file system that nothing says why it keeps its size.
    KeepsSize {
        /// Which partition or volume.
        which: WhichPlace,
        /// Why.
        cause: String,
    },
    /// What a deploy of it would warn of.
    Deploy(String),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadWhole { which, len, cause } => {
                let cause = match cause {
                    RawCause::Unknown => "it holds no file system that is known".to_owned(),
                    RawCause::NoProgram(name) => format!("no program reads {name}"),
                    RawCause::Lvm(why) => format!("it is a physical volume of LVM, and {why}"),
                    RawCause::Several(names) => format!("it has signs of {names}"),
                };
                write!(
                    f,
                    "all {} of {which} are read as they are: {cause}",
                    Size(*len)
                )
            }
            Self::BadClusters { which } => write!(
                f,
                "the NTFS of {which} has a list of bad places: the disk may be defective"
            ),
            Self::HibernationUnknown { which } => write!(
                f,
                "whether a Windows of {which} hibernates, or was shut down with Fast Startup, is not known, as this \
                 machine has no program ntfscat (ntfs-3g): such an image does not start well; switch Fast Startup off"
            ),
            Self::SwapWithoutUuid { which } => write!(
                f,
                "the swap space of {which} has no UUID, so each deployed machine gets one of its own"
            ),
            Self::KeepsSize { which, cause } => write!(
                f,
                "{which} is not made smaller, so the image needs a disk with as much room for it: {cause}"
            ),
            Self::Deploy(text) => f.write_str(text),
        }
    }
}
