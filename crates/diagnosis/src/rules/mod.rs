//! From evidence to causes.

mod card;
mod machine;
mod multicast;
mod network;

#[cfg(test)]
mod tests;

use crate::cause::Cause;
use crate::evidence::Evidence;
pub(crate) use machine::rate;
pub(crate) use multicast::undelivered;
pub use network::is_cut_off;

/// The causes that the evidence shows, the one that explains the others first. What is explained by another one
/// is not named: without a link, a server that does not answer says nothing.
#[must_use]
pub fn diagnose(evidence: &Evidence) -> Vec<Cause> {
    let mut found = network::look(evidence);
    let is_cut = found
        .iter()
        .any(|cause| matches!(cause, Cause::NoCard | Cause::NoLink { .. }));
    if !is_cut {
        if !is_cut_off(&found) {
            found.extend(multicast::look(evidence));
        }
        found.extend(card::look(evidence));
    }
    found.extend(machine::look(evidence));
    found
}
