//! The states of tasks and sessions, and which may follow which.

use fog::task::State;

/// The states from which a task or session may get into `to`. What is not listed here never
/// happens: the store compares before it sets.
#[must_use]
pub fn sources(to: State) -> &'static [State] {
    use State::{Cancelled, CheckedIn, Complete, Failed, InProgress, New, Queued};
    match to {
        New => &[],
        Queued => &[New],
        CheckedIn => &[New, Queued, CheckedIn],
        InProgress => &[New, Queued, CheckedIn, InProgress],
        // From `Failed`: the report of a host came after its time of grace.
        Complete => &[InProgress, Failed],
        Cancelled => &[New, Queued, CheckedIn, InProgress],
        // From `Complete`: a failure that is reported after the end is never ignored.
        Failed => &[New, Queued, CheckedIn, InProgress, Complete],
    }
}

/// As [`sources`], for a session: all its tasks may have been completed by another program before it
/// began, or while no server ran.
#[must_use]
pub fn session_sources(to: State) -> &'static [State] {
    use State::{CheckedIn, Complete, Failed, InProgress, New, Queued};
    match to {
        Complete => &[New, Queued, CheckedIn, InProgress, Failed],
        to => sources(to),
    }
}

/// Whether a session may get from one state into another.
#[must_use]
pub fn session_may_become(from: State, to: State) -> bool {
    session_sources(to).contains(&from)
}

/// Whether a task may get from one state into another.
#[must_use]
pub fn may_become(from: State, to: State) -> bool {
    sources(to).contains(&from)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [State; 7] = [
        State::New,
        State::Queued,
        State::CheckedIn,
        State::InProgress,
        State::Complete,
        State::Cancelled,
        State::Failed,
    ];

    #[test]
    fn what_is_cancelled_never_comes_back() {
        for to in ALL {
            assert!(!may_become(State::Cancelled, to), "{to}");
            assert!(!session_may_become(State::Cancelled, to), "{to}");
        }
    }

    #[test]
    fn any_session_that_is_active_can_end_in_any_way() {
        for from in ALL.into_iter().filter(|state| state.is_active()) {
            for to in ALL.into_iter().filter(|state| !state.is_active()) {
                assert!(session_may_become(from, to), "{from} to {to}");
            }
        }
    }

    #[test]
    fn what_is_over_never_becomes_active() {
        for from in ALL.into_iter().filter(|state| !state.is_active()) {
            for to in ALL.into_iter().filter(|state| state.is_active()) {
                assert!(!may_become(from, to), "{from} to {to}");
                assert!(!session_may_become(from, to), "{from} to {to}");
            }
        }
    }
}
