//! The image store: what is in an image directory, whether clients can deploy it, whether it is still
//! the same, and its bytes as streams.
//!
//! Everything here blocks on the disk, so it runs on threads that may block, never on the runtime's.

mod archive;
pub mod arrivals;
mod check;
mod compare;
mod copy;
mod dir;
mod examine;
mod layout;
mod packs;
mod plan;
mod scan;
mod source;
mod verify;

pub use archive::{
    About, PackError, UnpackError, Unpacked, VERSION as ARCHIVE_VERSION, pack, unpack,
};
pub use check::{ChangedError, check_unchanged, open_listed, read_small};
pub use compare::{Difference, compare};
pub use copy::{CopyError, Copying, Replace};
pub use dir::{FileError, FileKind, ImageDir, mtime_nanos};
pub use examine::{
    ExamineError, Examined, Judged, Verdict, Wanted, examine, examine_and_pack, judge, stored_len,
};
pub use layout::{DiskLayout, Layout, LayoutError, PlaceLayout, layout};
pub use packs::{
    FoundPacks, PackDamaged, Packing, PackingError, Purpose, find_packs, packs_dir, remove_packs,
    verify_pack,
};
pub use plan::{
    MissingPartition, MissingStreams, PlanRefused, Warning, check_plan, missing_partitions,
};
pub use scan::{Listing, MAX_ENTRIES, MAX_IGNORED, MAX_SMALL_FILES, ScanError, image_path, scan};
#[cfg(test)]
pub(crate) use source::tests::prepared;
pub use source::{Gate, Source, SourceError};
pub use verify::{Inspection, VerifyError, inspect};
