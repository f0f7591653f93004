//! All words that people read of hosts and sessions. Decisions are made on types; here they become
//! English, and nowhere else. Whatever came from outside is made printable on the way.

mod certificate;
pub mod dhcp;
pub mod doctor;
mod duration;
mod image;
mod note;
mod origin;
mod reason;
mod refusal;
mod session;
mod site;
#[cfg(test)]
mod tests;
mod unicast;
mod wait;

pub use certificate::{certificate_advice, certificate_fault, certificate_worry};
pub use duration::{duration, seconds};
pub use image::{no_room_for_pack, verdict};
pub use note::{event, note};
pub use origin::origin;
pub use reason::{broken_row, reason};
pub use refusal::{not_here, refusal, refusal_code};
pub use session::{
    asks_again, boot_given, held_up_by, holds_up, member, member_end, phase, starting_session,
    stored_member, stored_session,
};
pub use site::{node_kind, server_alive};
pub use unicast::{unicast_fact, unicast_task};
pub use wait::{waits_for_database, waits_for_image_store, waits_for_network};

/// A text from outside: no control characters, and not longer than a screen.
fn foreign(text: impl AsRef<str>) -> String {
    fog::encoding::printable(text.as_ref(), MAX_FOREIGN)
}

/// The first few names of a list.
fn names<S: AsRef<str>>(names: &[S]) -> String {
    let shown: Vec<String> = names.iter().take(MAX_NAMES).map(foreign).collect();
    let shown = shown.join(", ");
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// `1 host`, `2 hosts`.
fn count(items: usize, one: &str, more: &str) -> String {
    format!("{items} {}", if items == 1 { one } else { more })
}

/// Characters of a text from outside that are shown.
const MAX_FOREIGN: usize = 1000;

/// Names of a list that are shown.
const MAX_NAMES: usize = 10;
