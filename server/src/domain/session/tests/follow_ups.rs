//! What is decided at the end for hosts that missed the session, and hosts that join.

use super::*;

fn followed(hosts: i64) -> Bench {
    let now = epoch();
    let plan = Plan {
        is_followed: true,
        ..plan(hosts, &["a"])
    };
    Bench {
        core: Core::new(plan, now),
        now,
    }
}

fn facts(core: &mut Core) -> Vec<Fact> {
    let actions = std::iter::from_fn(|| core.poll_action());
    let facts = actions.filter_map(|action| match action {
        Action::Store(fact) => Some(fact),
        _ => None,
    });
    facts.collect()
}

/// Whether it is due, and comes before the end.
fn is_due(facts: &[Fact]) -> bool {
    let due = facts.iter().position(|fact| *fact == Fact::FollowUpDue);
    let end = facts
        .iter()
        .position(|fact| matches!(fact, Fact::Ended { .. }));
    let end = end.expect("an end");
    due.inspect(|due| assert!(*due < end)).is_some()
}

#[test]
fn an_end_that_somebody_missed_says_so_before_it() {
    let peer = |id: u8| Peer {
        address: Ipv4Addr::new(10, 0, 0, id),
        ticket: None,
        is_proved: false,
    };
    // Nobody is connected: the one that was let in comes too late for the end.
    let mut bench = followed(2);
    let now = bench.now;
    bench
        .core
        .check_in(now, HostId(1), &peer(1), AGENT)
        .unwrap();
    bench.core.cancelled(now);
    assert!(!is_due(&facts(&mut bench.core)));

    for is_followed in [true, false] {
        let mut bench = followed(2);
        bench.core.plan.is_followed = is_followed;
        let now = bench.now;
        for host in [1, 2] {
            bench
                .core
                .check_in(now, HostId(host.into()), &peer(host), AGENT)
                .unwrap();
        }
        bench.core.joined(now, peer(1).address);
        bench.core.start_now(now).unwrap();
        bench.core.transfer_started(now);
        // The second one was let in, and was not there.
        bench.core.fail(now, Reason::AllCancelled);
        assert_eq!(is_due(&facts(&mut bench.core)), is_followed);
    }
}

/// A host that was not there at the start is only late once its machine comes.
#[test]
fn a_missing_host_is_late_when_it_comes() {
    let mut bench = followed(2);
    let now = bench.now;
    let peer = Peer {
        address: Ipv4Addr::new(10, 0, 0, 1),
        ticket: None,
        is_proved: false,
    };
    bench.core.check_in(now, HostId(1), &peer, AGENT).unwrap();
    bench.core.joined(now, peer.address);
    bench.core.came_late(now, HostId(2));
    bench.core.start_now(now).unwrap();
    bench.core.transfer_started(now);
    drop(facts(&mut bench.core));
    bench.core.came_late(now, HostId(2));
    bench.core.came_late(now, HostId(2));
    bench.core.came_late(now, HostId(1));
    let told = facts(&mut bench.core);
    let [
        Fact::MemberEnded {
            host,
            state,
            reason,
        },
    ] = &told[..]
    else {
        panic!("{told:?}");
    };
    assert_eq!((*host, *state), (HostId(2), State::Cancelled));
    assert!(matches!(reason, Reason::Late { .. }), "{reason:?}");
}
