//! What an image is.

use std::path::Path;

use readable::Size;

use super::foreign;
use crate::imagestore::Verdict;

/// Why an image has no pack (native protocol, 14, E10).
#[must_use]
pub fn no_room_for_pack(name: &str, needed: u64, free: u64, dir: &Path) -> String {
    format!(
        "no room for the pack of {}: {} needed, {} free in {}; sending by udpcast",
        foreign(name),
        Size(needed),
        Size(free),
        dir.display()
    )
}

/// What an image is, and what to do.
#[must_use]
pub fn verdict(name: &str, verdict: &Verdict) -> String {
    let name = foreign(name);
    match verdict {
        Verdict::Unchanged => format!("image {name} is good and unchanged"),
        Verdict::DecodedFirst => format!(
            "image {name} is good and unchanged; fos-server image update {name} notes that it is verified"
        ),
        Verdict::SameBytes {
            has_other_dates: true,
        } => format!(
            "image {name} is good, with the bytes that were added; the server compares dates, so clients get it \
             again after fos-server image update {name}"
        ),
        Verdict::SameBytes {
            has_other_dates: false,
        } => format!(
            "image {name} is good, with the bytes that were added; what is known of them now is stored with \
             fos-server image update {name}"
        ),
        Verdict::Unknown => format!(
            "image {name} is good; it was added by another program, take it over with fos-server image update"
        ),
        Verdict::OtherContent => format!(
            "image {name} can be read completely, but is not what was added; if that is meant, take it with \
             fos-server image update {name}"
        ),
    }
}
