//! One receiver that is not like the others.

use std::time::Duration;

use cast_proto::udpcast::sender::{DropCause, Duplex, Outcome, SlowPolicy};
use cast_sim::Link;
use cast_sim::udpcast::{Action, Goal, Report, Scenario, receiver_addr};

const BLOCK: u16 = 1456;

/// The rendezvous is not what is measured.
const RENDEZVOUS: Duration = Duration::from_secs(20);

/// A network of 1 Gbit/s; the ports of `slow` pass 40 Mbit/s, and hold so many octets.
fn scenario(
    duplex: Duplex,
    blocks: usize,
    receivers: usize,
    slow: &[usize],
    queue: u64,
) -> Scenario {
    let mut scenario = Scenario::new(7, blocks * usize::from(BLOCK), receivers);
    scenario.sender.block_size = BLOCK;
    scenario.sender.duplex = duplex;
    scenario.sender.start.min_wait = Some(RENDEZVOUS);
    for index in slow {
        scenario.receivers[*index].link = Link {
            rate: Some((40_000_000, queue)),
            ..Link::default()
        };
    }
    scenario
}

fn time(report: &Report) -> Duration {
    report.finished.expect("it has finished") - RENDEZVOUS
}

/// Datagrams with blocks, for each block of the stream.
fn cost(report: &Report, blocks: usize) -> f64 {
    (report.sender.blocks_sent + report.sender.fec_sent) as f64 / blocks as f64
}

#[test]
fn the_pace_follows_a_slow_port_and_nothing_is_sent_in_vain() {
    let blocks = 20_000;
    for (duplex, queue) in [
        (Duplex::Full, 16_000),
        (Duplex::Full, 64_000),
        (Duplex::Full, 256_000),
        (Duplex::Half, 16_000),
        (Duplex::Half, 64_000),
    ] {
        for is_attentive in [true, false] {
            let mut scenario = scenario(duplex, blocks, 4, &[3], queue);
            for receiver in &mut scenario.receivers {
                receiver.config.tell_attentive = is_attentive;
            }
            let report = scenario.run();
            let (cost, time) = (cost(&report, blocks), time(&report));
            assert!(cost <= 1.3, "{duplex:?}, queue of {queue}: {cost}");
            // The port alone needs 5.9 s.
            assert!(
                time <= Duration::from_secs(8),
                "{duplex:?}, queue of {queue}: {time:?}"
            );
        }
    }
}

/// Where the first guess of the pace was far too low, the queue before the port being full of other slices.
#[test]
fn the_pace_is_found_at_once_in_any_network_and_before_any_queue() {
    let blocks = 17_300;
    for rate in [1_000_000_000, 3_000_000_000, 10_000_000_000] {
        for queue in [16_000, 64_000, 80_000, 160_000] {
            let mut scenario = scenario(Duplex::Full, blocks, 4, &[3], queue);
            scenario.sender_rate = rate;
            let report = scenario.run();
            // With the headers of UDP, IP and Ethernet.
            let sent = report.sender.bytes_sent + 42 * report.sender.datagrams_sent;
            let cost = sent as f64 / (blocks as f64 * f64::from(BLOCK));
            assert!(cost <= 1.2, "{rate}, queue of {queue}: {cost}");
            // The port alone needs 5.1 s.
            let time = time(&report);
            assert!(
                time <= Duration::from_secs(6),
                "{rate}, queue of {queue}: {time:?}"
            );
        }
    }
}

/// A transfer of attentive receivers has such slices: what is sent in vain until the pace is found counts most.
#[test]
fn large_slices_are_not_repeated_in_vain() {
    let blocks = 17_300;
    for rate in [1_000_000_000, 3_000_000_000] {
        for queue in [16_000, 64_000, 256_000] {
            let mut scenario = scenario(Duplex::Full, blocks, 4, &[3], queue);
            scenario.sender_rate = rate;
            scenario.sender.slice.initial = Some(1024);
            let report = scenario.run();
            let sent = report.sender.bytes_sent + 42 * report.sender.datagrams_sent;
            let cost = sent as f64 / (blocks as f64 * f64::from(BLOCK));
            assert!(cost <= 1.3, "{rate}, queue of {queue}: {cost}");
        }
    }
}

#[test]
fn loss_by_chance_sets_no_pace() {
    let blocks = 20_000;
    for loss_per_mille in [10, 50, 200] {
        let mut scenario = scenario(Duplex::Full, blocks, 2, &[], 0);
        for receiver in &mut scenario.receivers {
            receiver.link.loss_per_mille = loss_per_mille;
        }
        let report = scenario.run();
        // A quarter of the rate of the network at least.
        assert!(
            time(&report) < Duration::from_secs(1),
            "{loss_per_mille}: {:?}",
            time(&report)
        );
    }
}

#[test]
fn a_slow_receiver_is_left_behind_and_the_others_lose_a_second() {
    let blocks = 20_000;
    for (duplex, queue) in [
        (Duplex::Full, 16_000),
        (Duplex::Full, 256_000),
        (Duplex::Half, 64_000),
    ] {
        let undisturbed = time(&scenario(duplex, blocks, 4, &[], 0).run());
        let mut scenario = scenario(duplex, blocks, 4, &[3], queue);
        scenario.sender.slow = SlowPolicy::Leave;
        scenario.receivers[3].goal = Goal::Fail;
        let report = scenario.run();
        for index in 0..3 {
            let outcome = report.outcomes[receiver_addr(index).ip()];
            assert_eq!(outcome, Outcome::Completed);
        }
        let outcome = report.outcomes[receiver_addr(3).ip()];
        let Outcome::Dropped {
            cause:
                DropCause::Slow {
                    bytes_per_second,
                    waited_percent,
                },
            ..
        } = outcome
        else {
            panic!("{duplex:?}, queue of {queue}: {outcome:?}");
        };
        assert!(
            (3_500_000..=5_000_000).contains(&bytes_per_second),
            "{bytes_per_second}"
        );
        assert!(waited_percent >= 50, "{waited_percent}");
        let cost = time(&report).saturating_sub(undisturbed);
        assert!(cost < Duration::from_millis(2500), "{cost:?}");
    }
}

#[test]
fn where_most_are_slow_nobody_is_left_behind_and_the_pace_follows() {
    let blocks = 20_000;
    let mut scenario = scenario(Duplex::Full, blocks, 3, &[1, 2], 64_000);
    scenario.sender.slow = SlowPolicy::Leave;
    let report = scenario.run();
    assert!(report.outcomes.values().all(|it| *it == Outcome::Completed));
    let cost = cost(&report, blocks);
    // Two seconds pass before it is known that nobody is to be left behind.
    assert!(cost <= 2.0, "{cost}");
}

#[test]
fn a_program_that_ends_costs_the_others_half_a_second_at_most() {
    let blocks = 20_000;
    for (duplex, loss_per_mille, is_attentive) in [
        (Duplex::Full, 0, true),
        (Duplex::Full, 20, true),
        (Duplex::Half, 20, true),
        (Duplex::Full, 0, false),
        (Duplex::Half, 20, false),
    ] {
        let scenario = || {
            let mut scenario = scenario(duplex, blocks, 4, &[], 0);
            for receiver in &mut scenario.receivers {
                receiver.link.loss_per_mille = loss_per_mille;
                receiver.config.tell_attentive = is_attentive;
            }
            scenario
        };
        let undisturbed = time(&scenario().run());
        let mut scenario = scenario();
        scenario.receivers[2].goal = Goal::Die;
        let at = RENDEZVOUS + Duration::from_millis(100);
        scenario.actions.push((at, Action::End(2)));
        let report = scenario.run();
        for (addr, outcome) in &report.outcomes {
            if addr == receiver_addr(2).ip() {
                let cause = match outcome {
                    Outcome::Dropped { cause, .. } => Some(*cause),
                    _ => None,
                };
                assert_eq!(cause, Some(DropCause::Unreachable));
            } else {
                assert_eq!(*outcome, Outcome::Completed);
            }
        }
        let cost = time(&report).saturating_sub(undisturbed);
        assert!(
            cost < Duration::from_millis(500),
            "{duplex:?}, {loss_per_mille}, {is_attentive}: {cost:?}"
        );
    }
}
