//! How a session ended, from how its hosts ended.

use fog::task::State;

use crate::domain::Reason;
use crate::domain::reason::Summary;

/// State and reason of a session whose hosts all have their results: complete only if every host
/// that no person took out is complete.
#[must_use]
pub fn summary<'a>(
    endings: impl IntoIterator<Item = (&'a str, State, &'a Reason)>,
) -> (State, Reason) {
    let mut sum = Summary::default();
    for (name, state, reason) in endings {
        sum.total += 1;
        if state == State::Complete {
            sum.complete += 1;
        } else if reason.is_wish() {
            sum.cancelled += 1;
        } else if sum.troubles.len() < Summary::MAX_TROUBLES {
            let reason = Box::new(reason.clone());
            sum.troubles.push((name.to_owned(), reason));
        } else {
            sum.more += 1;
        }
    }
    if sum.troubles.is_empty() && sum.complete == 0 {
        return (State::Cancelled, Reason::AllCancelled);
    }
    let state = if sum.troubles.is_empty() {
        State::Complete
    } else {
        State::Failed
    };
    (state, Reason::Summary(sum))
}
