//! Who gets a follow-up session: hosts that missed a multicast session, or fell out of it, though nothing is wrong
//! with their disks and nobody took them out.

use fog::task::State;

use super::session::Session;
use super::{HostId, Reason};

/// Whether a host whose part ended like this is deployed once more by itself.
#[must_use]
pub fn is_due(state: State, reason: &Reason) -> bool {
    state != State::Complete && has_missed(reason)
}

/// Whether a host that failed for this reason missed its session.
#[must_use]
pub fn has_missed(reason: &Reason) -> bool {
    match reason {
        Reason::Restarted { .. }
        | Reason::Late { .. }
        | Reason::NotConnected
        | Reason::NotConnectedFor { .. }
        | Reason::Incomplete { .. }
        | Reason::Dropped { .. }
        | Reason::LeftBehind { .. }
        | Reason::Left { .. }
        | Reason::TookNoPart { .. }
        | Reason::SilentBefore { .. }
        | Reason::ServerStopped { .. } => true,
        // A client that is dropped reports that its stream broke off. What it reports by itself may be its disk.
        Reason::ClientFailed { before, .. } => before.as_deref().is_some_and(has_missed),
        // It was never switched on, or a person, its disk, or the server was in its way: that would be so again.
        Reason::Written
        | Reason::Captured
        | Reason::CaptureFailed { .. }
        | Reason::WrittenLate
        | Reason::Missing
        | Reason::ShareUnusable
        | Reason::Stalled { .. }
        | Reason::Overdue { .. }
        | Reason::SessionFailed(_)
        | Reason::SessionCancelled
        | Reason::TaskCancelled
        | Reason::Summary(_)
        | Reason::AllCancelled
        | Reason::NobodyConnected { .. }
        | Reason::SenderFailed { .. }
        | Reason::StoodStill { .. }
        | Reason::ImageChanged { .. }
        | Reason::Unusable(_)
        | Reason::BrokenRow(_)
        | Reason::Internal { .. }
        | Reason::Words { .. }
        | Reason::Unknown { .. } => false,
    }
}

/// The hosts of a session for which there is to be a follow-up, by name.
#[must_use]
pub fn hosts(session: &Session) -> Vec<HostId> {
    let members = session.members.iter();
    let due = members.filter(|member| {
        let reason = member.reason.as_ref();
        reason.is_some_and(|reason| is_due(member.state, reason))
    });
    due.map(|member| member.host).collect()
}

/// The follow-up of a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FollowUp {
    /// There is none, and there will be none.
    #[default]
    None,
    /// It is to be made when the session has ended.
    Due,
    /// This one.
    Made(super::SessionId),
}

/// Follow-up sessions that one deploy may have.
pub const MAX_FOLLOW_UPS: u32 = 9;

#[cfg(test)]
mod tests {
    use fog::store::StreamName;

    use super::*;

    #[test]
    fn whoever_missed_the_session_is_due_and_nobody_else() {
        let stream = || StreamName::of_file("d1p1.img");
        let dropped = Reason::LeftBehind {
            stream: stream(),
            bytes_per_second: 1,
            waited_percent: 90,
        };
        let reported = |before: Option<Reason>| Reason::ClientFailed {
            text: "x".into(),
            before: before.map(Box::new),
        };
        let late = || Reason::Late { stream: stream() };
        for due in [late(), dropped.clone(), reported(Some(dropped))] {
            assert!(is_due(State::Failed, &due), "{due:?}");
            // It was not there at the start, and came then.
            assert!(is_due(State::Cancelled, &due), "{due:?}");
            assert!(!is_due(State::Complete, &due), "{due:?}");
        }
        for other in [
            reported(None),
            Reason::Missing,
            Reason::TaskCancelled,
            Reason::Stalled {
                stream: stream(),
                seconds: 300,
            },
            Reason::SessionFailed(Box::new(late())),
        ] {
            assert!(!is_due(State::Failed, &other), "{other:?}");
        }
    }
}
