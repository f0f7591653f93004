//! What is asked of a target.

use std::path::PathBuf;

/// Where an image goes.
#[derive(Debug, Clone)]
pub enum Place {
    /// Nothing is written.
    Nowhere,
    /// Standard output; zeroes take the place of what the image does not hold.
    StandardOutput,
    /// A block device, or a file.
    Path {
        /// Where it is.
        path: PathBuf,
        /// What becomes of a file, and of one that does not exist.
        creation: Creation,
        /// The device is told first that its old content is of no more use.
        is_discarded: bool,
        /// What is done besides.
        manner: Manner,
    },
}

/// Which files are made. A device is never made, and none is emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Creation {
    /// The file must exist.
    Never,
    /// A file that does not exist is made as long as the image's source was, when the image's header is good.
    WhenNeeded,
    /// A file is made at once if it does not exist, and grows with what is written.
    AtOnce,
    /// The same, and a file must not exist.
    OnlyNew,
    /// A file is made or emptied at once. A device is refused.
    Emptied,
}

/// What is done beside writing what the image holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Nothing, as the original programs.
    Original,
    /// Labels of earlier uses are cleared at both ends of the target, so that they do not win over the
    /// image's content; an NTFS gets the copies of its boot sector, which no image has.
    Complete {
        /// A partition table in the target may be overwritten; else it is refused.
        may_destroy_table: bool,
    },
}

/// How the data is written. The default is what one expects.
#[derive(Debug, Clone, Copy, Default)]
pub struct Demands {
    /// Bytes added to every position.
    pub offset: u64,
    /// A file system with too little free space for a file that is [emptied](Creation::Emptied) is no reason to
    /// refuse, nor is a file that is shorter than the image's source.
    pub is_size_unchecked: bool,
    /// Writes that fail are passed over and reported by this function; at the end they are a failure.
    pub skip: Option<fn(&str)>,
}
