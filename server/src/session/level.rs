//! How much an event of a session matters in the server's log.

use crate::domain::session::Note;
use crate::logs::Level;

/// A warning is what somebody should look at while the session goes on.
pub(super) fn level_of(note: &Note) -> Level {
    match note {
        Note::StartRevoked { .. }
        | Note::StartingWithout { .. }
        | Note::ShareUnusable
        | Note::Warning { .. }
        | Note::ForeignReport { .. }
        | Note::Refused { .. }
        | Note::NotFollowed { .. }
        | Note::PortHeld { .. } => Level::Warn,
        Note::Created { .. }
        | Note::CheckedIn { .. }
        | Note::StreamStarting { .. }
        | Note::StartedByHand { .. }
        | Note::MemberEnded { .. }
        | Note::Ended { .. }
        | Note::LeftRendezvous { .. }
        | Note::Resumed { .. }
        | Note::Follows { .. }
        | Note::FollowedBy { .. }
        | Note::Joined { .. }
        | Note::Words { .. }
        | Note::Unknown { .. } => Level::Info,
    }
}
