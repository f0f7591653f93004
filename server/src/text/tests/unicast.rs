//! Machines that are deployed alone.

use super::*;

fn machine() -> Machine {
    Machine {
        address: ADDRESS,
        ticket: None,
        client: AGENT.into(),
    }
}

fn task(state: State) -> UnicastTask {
    let has_asked = !matches!(state, State::New | State::Queued);
    UnicastTask {
        id: TaskId(7),
        kind: TaskKind::Deploy,
        host: HostId(1),
        host_name: "LAB-01".into(),
        image: ImageId(1),
        image_name: "win11".into(),
        node: NodeId(1),
        state,
        is_forced: false,
        is_shutdown: false,
        is_debug: false,
        created_at: Timestamp(0),
        place: 3,
        entered_at: has_asked.then_some(Timestamp(86400)),
        went_at: (state == State::InProgress).then_some(Timestamp(86460)),
        ended_at: None,
        reason: None,
        machine: has_asked.then(machine),
        percent: 0,
    }
}

#[test]
fn each_task_says_what_it_waits_for_and_since_when() {
    let lost = UnicastTask {
        state: State::Queued,
        ..task(State::InProgress)
    };
    let left = UnicastTask {
        state: State::Queued,
        ..task(State::CheckedIn)
    };
    let over = UnicastTask {
        reason: Some(Reason::TaskCancelled),
        ..task(State::Cancelled)
    };
    for (task, in_front, expected) in [
        (
            task(State::Queued),
            None,
            "waiting for the machine to check in; boot it from the network. This wait has no limit",
        ),
        (
            task(State::CheckedIn),
            Some(0),
            "waiting for a slot since 1970-01-02 00:00:00 (UTC), the next one",
        ),
        (
            task(State::CheckedIn),
            Some(1),
            "waiting for a slot since 1970-01-02 00:00:00 (UTC), 1 machine before it",
        ),
        (
            task(State::CheckedIn),
            Some(12),
            "waiting for a slot since 1970-01-02 00:00:00 (UTC), 12 machines before it",
        ),
        (
            task(State::InProgress),
            None,
            "has a slot since 1970-01-02 00:01:00 (UTC)",
        ),
        (
            lost,
            None,
            "not heard any more; it had a slot since 1970-01-02 00:01:00 (UTC), which is free for others. If it is switched off, boot it from the network: it gets in line again",
        ),
        (
            left,
            None,
            "not heard any more, and out of the line; boot it from the network: it gets in line again",
        ),
        (over, None, "cancelled: its task was cancelled"),
        (task(State::Complete), None, "complete"),
    ] {
        assert_eq!(unicast_task(&task, in_front), expected);
    }
}

#[test]
fn what_becomes_of_a_task_has_words() {
    for (fact, expected) in [
        (
            UnicastFact::Entered {
                place: 3,
                machine: machine(),
            },
            "the machine at 10.0.0.7 gets in line, place 3",
        ),
        (
            UnicastFact::Went { machine: machine() },
            "the machine at 10.0.0.7 (fos-agent/0.1.0) is told to go",
        ),
        (
            UnicastFact::Left,
            "the machine has neither a place in line nor a slot any more",
        ),
        (UnicastFact::Resumed, "the machine is at work again"),
        (
            UnicastFact::Ended {
                state: State::Complete,
                reason: Reason::Written,
            },
            "complete: the client reported that all is written",
        ),
    ] {
        assert_eq!(unicast_fact(&fact), expected);
    }
}
