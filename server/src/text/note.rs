//! Lines of the list of events.

use super::reason::unknown;
use super::{count, foreign, names, reason, refusal, seconds};
use crate::domain::session::{Event, Note};

/// What happened, without a subject.
#[must_use]
pub fn note(note: &Note) -> String {
    match note {
        Note::Created { image, hosts, port } => format!(
            "session created: image {} for {}, ports {port} and {}",
            foreign(image),
            count(*hosts, "host", "hosts"),
            port.saturating_add(1)
        ),
        Note::CheckedIn { address } => format!("checked in from {address}"),
        Note::StreamStarting { stream, run } => {
            let number = stream.saturating_add(1);
            match run {
                0 => format!("stream {number} begins"),
                run => format!("stream {number} begins (run {})", run.saturating_add(1)),
            }
        }
        Note::StartRevoked { stream, .. } => format!(
            "stream {} did not begin, because no receiver was left; the hosts are waited for again",
            stream.saturating_add(1)
        ),
        Note::MemberEnded { state, reason: why } => format!("{state}: {}", reason(why)),
        Note::Ended { state, reason: why } => format!("session {state}: {}", reason(why)),
        Note::StartingWithout {
            seconds: waited,
            missing,
        } => format!(
            "the wait of {} is over; starting without {}",
            seconds(*waited),
            names(missing)
        ),
        Note::StartedByHand { missing } if missing.is_empty() => "started by hand".into(),
        Note::StartedByHand { missing } => {
            format!("started by hand, without {}", names(missing))
        }
        Note::LeftRendezvous { address, stream } => format!(
            "left the rendezvous of {} (from {address}); it may come again",
            foreign(stream.as_str())
        ),
        Note::ShareUnusable => "could not use the image share and starts again".into(),
        Note::Resumed { stream } => format!(
            "the server was restarted; the session goes on with the beginning of {}",
            foreign(stream.as_str())
        ),
        Note::Warning { text } => format!("warning: {}", foreign(text)),
        Note::ForeignReport { address, text } => format!(
            "ignored a report from {address}, since this host did not check in there: {}",
            foreign(text)
        ),
        Note::Refused { address, why } => {
            format!("its check-in from {address} is refused: {}", refusal(why))
        }
        Note::Follows { session } => {
            format!("follows session {session}, for hosts that missed that one")
        }
        Note::FollowedBy { session } => {
            format!("session {session} follows, for hosts that missed this one")
        }
        Note::NotFollowed { text } => format!(
            "no session follows for the hosts that missed this one: {}; deploy them again by hand",
            foreign(text)
        ),
        Note::Joined { address } => {
            format!("joined the session by its name, at the machine ({address})")
        }
        Note::PortHeld { text } => format!("{}; the session has other ports", foreign(text)),
        Note::Words { text } => foreign(text),
        Note::Unknown { code, details } => unknown(code, details),
    }
}

/// The same with the host as its subject.
#[must_use]
pub fn event(event: &Event) -> String {
    let note = note(&event.note);
    match (event.host_name.as_str(), event.host) {
        ("", None) => note,
        ("", Some(id)) => format!("host {id}: {note}"),
        (name, _) => format!("{}: {note}", foreign(name)),
    }
}
