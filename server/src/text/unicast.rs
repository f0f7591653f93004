//! Machines that are deployed alone, or whose disk is captured.

use fog::task::State;

use super::{count, foreign, reason};
use crate::domain::unicast::{TaskKind, UnicastFact, UnicastTask};

/// What a task does or waits for; `in_front` is how many wait before its machine.
#[must_use]
pub fn unicast_task(task: &UnicastTask, in_front: Option<u32>) -> String {
    let since = |at: Option<crate::domain::Timestamp>| {
        at.map_or_else(String::new, |at| format!(" since {at} (UTC)"))
    };
    match task.state {
        State::New | State::Queued if task.kind == TaskKind::Capture && task.machine.is_some() => {
            "capture: not heard any more; boot it from the network, and it begins again".to_owned()
        }
        State::New | State::Queued if task.kind == TaskKind::Capture => {
            "capture: waiting for the machine to check in; boot it from the network. This wait has no limit".to_owned()
        }
        State::InProgress if task.kind == TaskKind::Capture => {
            format!("its disk is captured{}", since(task.went_at))
        }
        State::New | State::Queued if task.went_at.is_some() => format!(
            "not heard any more; it had a slot{}, which is free for others. If it is switched off, boot it from \
             the network: it gets in line again",
            since(task.went_at)
        ),
        State::New | State::Queued if task.machine.is_some() => {
            "not heard any more, and out of the line; boot it from the network: it gets in line again".to_owned()
        }
        State::New | State::Queued => {
            "waiting for the machine to check in; boot it from the network. This wait has no limit".to_owned()
        }
        State::CheckedIn => {
            let before = match in_front {
                None => String::new(),
                Some(0) => ", the next one".to_owned(),
                Some(others) => {
                    let others = usize::try_from(others).unwrap_or(usize::MAX);
                    format!(", {} before it", count(others, "machine", "machines"))
                }
            };
            format!("waiting for a slot{}{before}", since(task.entered_at))
        }
        State::InProgress => format!("has a slot{}", since(task.went_at)),
        state => match &task.reason {
            Some(why) => format!("{state}: {}", reason(why)),
            None => state.to_string(),
        },
    }
}

/// What became of a task, for the log.
#[must_use]
pub fn unicast_fact(fact: &UnicastFact) -> String {
    match fact {
        UnicastFact::Entered { place, machine } => {
            format!(
                "the machine at {} gets in line, place {place}",
                machine.address
            )
        }
        UnicastFact::Went { machine } => {
            let client = match machine.client.name.as_str() {
                "" => String::new(),
                name => format!(" ({})", foreign(name)),
            };
            format!("the machine at {}{client} is told to go", machine.address)
        }
        UnicastFact::Left => {
            "the machine has neither a place in line nor a slot any more".to_owned()
        }
        UnicastFact::Resumed => "the machine is at work again".to_owned(),
        UnicastFact::Ended { state, reason: why } => format!("{state}: {}", reason(why)),
    }
}
