//! Sender and receivers in a simulated network.

use std::fmt::Write as _;
use std::net::SocketAddrV4;
use std::time::Duration;

use cast_proto::bitmap::Bitmap;
use cast_proto::udpcast::SliceNo;
use cast_proto::udpcast::fec::FecParams;
use cast_proto::udpcast::sender::{
    DataRouting, DropCause, DropPolicy, Duplex, GiveUpReason, Outcome, StartRule,
};
use cast_proto::udpcast::wire::{Message, Retransmit};
use cast_sim::udpcast::any::{any_network, forged};
use cast_sim::udpcast::{
    Action, Confirm, GROUP, Goal, PORT, Reader, Report, SENDER, Scenario, receiver_addr,
};
use cast_sim::{Link, Rng, seeds};

const BLOCK: usize = 100;
const SLICE: usize = 112 * BLOCK;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[track_caller]
fn assert_all_completed(report: &Report) {
    let seed = report.seed;
    assert_eq!(report.gave_up, None, "seed {seed}");
    for (addr, outcome) in &report.outcomes {
        assert_eq!(*outcome, Outcome::Completed, "{addr}, seed {seed}");
    }
}

#[test]
fn every_size_arrives_without_a_repetition_if_nothing_is_lost() {
    for duplex in [Duplex::Full, Duplex::Half] {
        for receivers in [1, 2, 8] {
            for len in [
                0,
                1,
                BLOCK - 1,
                BLOCK,
                BLOCK + 1,
                SLICE,
                130 * BLOCK,
                10 * SLICE + 7,
            ] {
                let mut scenario = Scenario::new(1, len, receivers);
                scenario.sender.duplex = duplex;
                let report = scenario.run();
                assert_all_completed(&report);
                assert_eq!(report.outcomes.len(), receivers);
                assert_eq!(report.sender.bytes_acked, len as u64);
                assert_eq!(report.sender.blocks_repeated, 0);
                assert_eq!(report.sender.blocks_sent, len.div_ceil(BLOCK) as u64);
                assert!(
                    report.elapsed < Duration::from_secs(2),
                    "{:?}",
                    report.elapsed
                );
            }
        }
    }
}

#[test]
fn any_network_delivers_the_stream() {
    for seed in seeds(2000) {
        let report = any_network(seed).run();
        assert_all_completed(&report);
    }
}

#[test]
fn any_network_delivers_the_stream_to_those_who_do_not_crash() {
    for seed in seeds(300) {
        let mut scenario = any_network(seed);
        let mut rng = Rng(!seed);
        let victim = rng.below(scenario.receivers.len() as u64 + 1);
        match usize::try_from(victim).unwrap() {
            // The sender.
            0 => {
                let at = Duration::from_micros(rng.below(2_000_000));
                let hour = Duration::from_secs(3600);
                scenario.actions.push((at, Action::Stall(None, hour)));
                for receiver in &mut scenario.receivers {
                    receiver.goal = Goal::End;
                    receiver.config.start_timeout = Some(Duration::from_secs(600));
                    receiver.config.receive_timeout = Some(Duration::from_secs(600));
                }
                scenario.run();
            }
            number => {
                let at = Duration::from_micros(rng.below(200_000));
                scenario.receivers[number - 1].goal = Goal::Die;
                scenario.actions.push((at, Action::Kill(number - 1)));
                scenario.sender.start.max_wait = Some(Duration::from_secs(300));
                scenario.sender.start.start_timeout = Some(Duration::from_secs(600));
                let report = scenario.run();
                for (addr, outcome) in &report.outcomes {
                    if addr != receiver_addr(number - 1).ip() {
                        assert_eq!(*outcome, Outcome::Completed, "seed {seed}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_receiver_that_dies_costs_the_others_less_than_five_seconds() {
    for (duplex, loss_per_mille) in [(Duplex::Full, 0), (Duplex::Full, 20), (Duplex::Half, 20)] {
        let scenario = || {
            let link = Link {
                loss_per_mille,
                ..Link::default()
            };
            let mut scenario = Scenario::new(1, 400 * SLICE, 4).links(link);
            scenario.sender.duplex = duplex;
            scenario
        };
        let undisturbed = scenario().run().elapsed;
        let mut scenario = scenario();
        scenario.receivers[2].goal = Goal::Die;
        scenario.actions.push((millis(15), Action::Kill(2)));
        let report = scenario.run();
        for (addr, outcome) in &report.outcomes {
            if addr == receiver_addr(2).ip() {
                assert!(matches!(outcome, Outcome::Dropped { .. }), "{outcome:?}");
            } else {
                assert_eq!(*outcome, Outcome::Completed);
            }
        }
        let cost = report.elapsed.saturating_sub(undisturbed);
        assert!(cost < Duration::from_secs(5), "{cost:?}");
    }
}

#[test]
fn a_network_that_is_down_for_a_while_drops_nobody() {
    for seconds in [5, 40] {
        for receivers in [1, 3] {
            let mut scenario = Scenario::new(1, 400 * SLICE, receivers);
            let outage = Duration::from_secs(seconds);
            for receiver in 0..receivers {
                let stall = Action::Stall(Some(receiver), outage);
                scenario.actions.push((millis(15), stall));
            }
            assert_all_completed(&scenario.run());
        }
    }
}

#[test]
fn an_original_receiver_that_falls_silent_has_a_minute() {
    for (silence, outcome) in [
        (55, Outcome::Completed),
        (
            80,
            Outcome::Dropped {
                last_slice: None,
                cause: DropCause::Silent,
            },
        ),
    ] {
        let mut scenario = Scenario::new(1, 40 * SLICE, 2);
        scenario.receivers[1].config.tell_attentive = false;
        scenario.receivers[1].config.start_timeout = Some(Duration::from_secs(300));
        scenario.receivers[1].goal = if silence < 60 {
            Goal::Complete
        } else {
            Goal::End
        };
        let stall = Action::Stall(Some(1), Duration::from_secs(silence));
        scenario.actions.push((Duration::from_micros(150), stall));
        let report = scenario.run();
        assert_eq!(report.outcomes[receiver_addr(0).ip()], Outcome::Completed);
        assert_eq!(report.outcomes[receiver_addr(1).ip()], outcome);
    }
}

#[test]
fn the_last_receiver_to_die_ends_the_transfer() {
    let mut scenario = Scenario::new(1, 40 * SLICE, 1);
    scenario.receivers[0].goal = Goal::Die;
    scenario.actions.push((millis(5), Action::Kill(0)));
    let report = scenario.run();
    assert_eq!(report.gave_up, Some(GiveUpReason::AllGone));
}

#[test]
fn a_silent_receiver_is_dropped_after_retries_plus_one_rounds() {
    for retries in [3, 13, 200] {
        let mut scenario = Scenario::new(1, 10 * BLOCK, 1);
        scenario.sender.drop = DropPolicy {
            retries,
            silence: Duration::ZERO,
            ..DropPolicy::default()
        };
        scenario.sender.drop_attentive = scenario.sender.drop;
        scenario.receivers[0].goal = Goal::Die;
        // After CONNECT_REPLY, before the first block.
        scenario
            .actions
            .push((Duration::from_micros(150), Action::Kill(0)));
        let report = scenario.run();
        assert_eq!(report.gave_up, Some(GiveUpReason::AllGone));
        assert_eq!(
            report.sender.rounds,
            u64::from(retries) + 2,
            "rounds 0 to retries + 1"
        );
    }
}

#[test]
fn a_vanished_sender_is_noticed_after_the_receive_timeout() {
    let mut scenario = Scenario::new(1, 400 * SLICE, 1);
    scenario.receivers[0].goal = Goal::Fail;
    scenario.receivers[0].config.receive_timeout = Some(Duration::from_secs(20));
    scenario
        .actions
        .push((millis(5), Action::Stall(None, Duration::from_secs(3600))));
    let report = scenario.run();
    let failure = report.receivers[0].failure.clone().unwrap();
    assert!(
        failure.contains("10.0.0.1:9001 fell silent for 20 s in slice"),
        "{failure}"
    );
}

#[test]
fn a_receiver_without_a_sender_asks_and_then_fails() {
    let mut scenario = Scenario::new(1, 1, 1);
    scenario.receivers[0].goal = Goal::Fail;
    scenario.receivers[0].link.loss_per_mille = 1000;
    scenario.receivers[0].config.start_timeout = Some(Duration::from_secs(60));
    scenario.sender.start.start_timeout = Some(Duration::from_secs(60));
    let report = scenario.run();
    assert_eq!(report.gave_up, Some(GiveUpReason::StartTimeout));
    let failure = report.receivers[0].failure.clone().unwrap();
    // After 0, 1, 3, 7, 15, 25, 35, 45 and 55 seconds.
    assert_eq!(
        failure,
        "no sender was heard for 1 min; 9 requests were sent"
    );
}

#[test]
fn a_receiver_that_comes_before_the_start_takes_part() {
    let mut scenario = Scenario::new(1, 3 * SLICE, 3);
    scenario
        .actions
        .push((Duration::from_secs(7), Action::SwitchOn(1)));
    let report = scenario.run();
    assert_all_completed(&report);
    assert_eq!(report.outcomes.len(), 3);
}

#[test]
fn max_wait_starts_without_those_missing() {
    let mut scenario = Scenario::new(1, 3 * SLICE, 3);
    scenario.sender.start.max_wait = Some(Duration::from_secs(5));
    scenario.receivers[1].goal = Goal::Fail;
    scenario.receivers[1].config.start_timeout = Some(Duration::from_secs(30));
    scenario
        .actions
        .push((Duration::from_secs(60), Action::SwitchOn(1)));
    let report = scenario.run();
    assert_all_completed(&report);
    assert_eq!(report.outcomes.len(), 2);
}

#[test]
fn a_receiver_that_comes_after_the_start_is_refused_and_says_so() {
    let mut scenario = Scenario::new(1, 200 * SLICE, 3);
    scenario.sender.start = StartRule {
        min_receivers: 2,
        ..StartRule::default()
    };
    scenario.sender.max_bitrate = Some(10_000_000);
    scenario.receivers[2].goal = Goal::Fail;
    scenario.actions.push((millis(500), Action::SwitchOn(2)));
    let report = scenario.run();
    assert_all_completed(&report);
    assert_eq!(report.outcomes.len(), 2);
    let failure = report.receivers[2].failure.clone().unwrap();
    assert!(failure.contains("refused us"), "{failure}");
}

#[test]
fn a_receiver_started_anew_in_the_middle_leaves_at_once() {
    let mut scenario = Scenario::new(1, 200 * SLICE, 2);
    scenario.sender.max_bitrate = Some(10_000_000);
    scenario.receivers[1].goal = Goal::Fail;
    scenario.actions.push((millis(499), Action::Kill(1)));
    scenario.actions.push((millis(500), Action::SwitchOn(1)));
    // Not switched on late, but anew.
    scenario.actions.push((Duration::ZERO, Action::SwitchOn(1)));
    let report = scenario.run();
    assert_eq!(report.outcomes[receiver_addr(0).ip()], Outcome::Completed);
    assert!(matches!(
        report.outcomes[receiver_addr(1).ip()],
        Outcome::Left { .. }
    ));
    assert!(
        report.elapsed < Duration::from_secs(10),
        "{:?}",
        report.elapsed
    );
}

#[test]
fn a_slow_reader_holds_the_sender_and_loses_nothing() {
    for duplex in [Duplex::Full, Duplex::Half] {
        for reader in [
            Reader::Every(millis(400)),
            Reader::After(Duration::from_secs(300)),
        ] {
            let mut scenario = Scenario::new(1, 120 * SLICE, 2);
            scenario.sender.duplex = duplex;
            // Far shorter than the hold.
            scenario.sender.drop = DropPolicy {
                retries: 12,
                silence: Duration::from_secs(3),
                ..DropPolicy::default()
            };
            scenario.sender.drop_attentive = scenario.sender.drop;
            scenario.receivers[1].reader = reader;
            scenario.receivers[1].config.window_blocks = 3072;
            let report = scenario.run();
            assert_all_completed(&report);
            assert!(report.receivers[1].most_waiting <= 3072 - 1024);
            assert!(report.receivers[1].statistics.held > 0);
            assert_eq!(report.receivers[1].statistics.ignored.no_room, 0);
            assert_eq!(report.receivers[1].statistics.lost_blocks, 0);
            let share = report.sender.blocks_repeated * 100 / report.sender.blocks_sent;
            assert!(share < 20, "{share} % repeated");
        }
    }
}

/// Two receivers of which the second one's reader says when all is safe, in both modes of the sender, for
/// an attentive receiver and one that counts as original.
fn confirmed(confirm: Confirm) -> impl Iterator<Item = Scenario> {
    let ways = [Duplex::Full, Duplex::Half].map(|duplex| [(duplex, true), (duplex, false)]);
    ways.into_iter()
        .flatten()
        .map(move |(duplex, is_attentive)| {
            let link = Link {
                loss_per_mille: 20,
                ..Link::default()
            };
            let mut scenario = Scenario::new(1, 5 * SLICE, 2).links(link);
            scenario.sender.duplex = duplex;
            let receiver = &mut scenario.receivers[1];
            receiver.config.is_confirmed_by_reader = true;
            receiver.config.tell_attentive = is_attentive;
            receiver.confirm = confirm;
            scenario
        })
}

#[test]
fn an_end_that_is_confirmed_late_is_waited_for() {
    let minutes = Duration::from_secs(600);
    for scenario in confirmed(Confirm::After(minutes)) {
        let report = scenario.run();
        assert_all_completed(&report);
        assert!(report.receivers[1].is_confirmed);
        assert!(report.finished.unwrap() >= minutes);
        let others = report.receivers[0].statistics;
        assert_eq!(
            others.held, 0,
            "only the one that is not safe is waited for"
        );
    }
}

#[test]
fn a_reader_that_fails_behind_the_last_byte_is_no_success() {
    for wait in [Duration::ZERO, millis(3), Duration::from_secs(100)] {
        for mut scenario in confirmed(Confirm::Fail(wait)) {
            scenario.receivers[1].goal = Goal::Fail;
            let report = scenario.run();
            assert_eq!(report.gave_up, None);
            assert_eq!(report.outcomes[receiver_addr(0).ip()], Outcome::Completed);
            let outcome = report.outcomes[receiver_addr(1).ip()];
            assert!(matches!(outcome, Outcome::Left { .. }), "{outcome:?}");
        }
    }
}

#[test]
fn a_machine_that_dies_while_it_writes_the_end_is_no_success() {
    for mut scenario in confirmed(Confirm::Never) {
        scenario.receivers[1].goal = Goal::Die;
        let at = Duration::from_secs(1000);
        scenario.actions.push((at, Action::Kill(1)));
        let report = scenario.run();
        assert_eq!(report.outcomes[receiver_addr(0).ip()], Outcome::Completed);
        let outcome = report.outcomes[receiver_addr(1).ip()];
        assert!(matches!(outcome, Outcome::Dropped { .. }), "{outcome:?}");
        assert!(
            report.finished.unwrap() > at,
            "it was waited for until then"
        );
    }
}

#[test]
fn a_process_that_stood_still_for_a_minute_drops_nobody() {
    for stalled in [vec![None], vec![Some(0)], vec![None, Some(0), Some(1)]] {
        for at in [millis(2), millis(20), millis(1001)] {
            let link = Link {
                loss_per_mille: 30,
                ..Link::default()
            };
            let mut scenario = Scenario::new(1, 40 * SLICE, 2).links(link);
            scenario.sender.max_bitrate = Some(20_000_000);
            let is_receiver_only = stalled == [Some(0)];
            // A receiver that stands still is silent in truth; the limit must allow for that.
            let silence = Duration::from_secs(if is_receiver_only { 90 } else { 5 });
            scenario.sender.drop = DropPolicy {
                retries: 3,
                silence,
                ..DropPolicy::default()
            };
            scenario.sender.drop_attentive = scenario.sender.drop;
            for receiver in &mut scenario.receivers {
                receiver.config.receive_timeout = Some(Duration::from_secs(5));
                if stalled.len() < 3 {
                    receiver.config.receive_timeout = Some(Duration::from_secs(90));
                }
            }
            for node in &stalled {
                scenario
                    .actions
                    .push((at, Action::Stall(*node, Duration::from_secs(60))));
            }
            assert_all_completed(&scenario.run());
        }
    }
}

#[test]
fn strays_and_hostile_datagrams_change_nothing() {
    for seed in seeds(20) {
        let mut rng = Rng(seed);
        let link = Link {
            loss_per_mille: 20,
            jitter: millis(1),
            ..Link::default()
        };
        let mut scenario = Scenario::new(seed, 40 * SLICE, 3).links(link);
        scenario.sender.max_bitrate = Some(30_000_000);
        // A forged GO of a participant would be as good as a real one.
        scenario.sender.start.accept_go = false;
        for receiver in &mut scenario.receivers {
            receiver.config.sender = Some(*SENDER.ip());
        }
        let stranger = SocketAddrV4::new([10, 0, 3, 9].into(), rng.pick(&[PORT, PORT + 1, 4711]));
        for _ in 0..600 {
            let at = Duration::from_micros(rng.below(200_000));
            let garbage: Vec<u8> = (0..rng.below(200))
                .map(|_| u8::try_from(rng.below(256)).unwrap())
                .collect();
            let bytes = forged(&mut rng);
            let target = if rng.chance(500) {
                SENDER
            } else {
                SocketAddrV4::new(GROUP, PORT)
            };
            scenario.actions.push((
                at,
                Action::Inject {
                    from: stranger,
                    to: target,
                    bytes,
                },
            ));

            // From a participant or from the sender itself: what says nothing true or false about
            // data, and what is broken.
            let mut bytes = garbage.clone();
            if let Some(first) = bytes.first_chunk_mut() {
                *first = rng
                    .pick(&[2_u16, 3, 5, 6, 7, 10, 11, 0x0500, 999])
                    .to_be_bytes();
            }
            bytes.truncate(11);
            let (from, to) = if rng.chance(500) {
                (receiver_addr(1), SENDER)
            } else {
                (SENDER, SocketAddrV4::new(GROUP, PORT))
            };
            scenario
                .actions
                .push((at, Action::Inject { from, to, bytes }));
        }
        let report = scenario.run();
        assert_all_completed(&report);
        assert_eq!(report.outcomes.len(), 3, "the stranger did not come in");
        assert!(report.sender.ignored.total() > 0);
    }
}

#[test]
fn the_start_timeout_does_not_end_a_transfer_under_way() {
    let mut scenario = Scenario::new(1, 1000 * SLICE, 2);
    scenario.sender.max_bitrate = Some(10_000_000);
    scenario.sender.start.start_timeout = Some(Duration::from_secs(3));
    for receiver in &mut scenario.receivers {
        receiver.config.start_timeout = Some(Duration::from_secs(3));
    }
    let report = scenario.run();
    assert_all_completed(&report);
    assert!(report.elapsed > Duration::from_secs(10));
}

#[test]
fn only_expected_receivers_come_in() {
    let mut scenario = Scenario::new(1, 3 * SLICE, 3);
    scenario.sender.start = StartRule {
        expected: vec![*receiver_addr(0).ip(), *receiver_addr(2).ip()],
        only_expected: true,
        ..StartRule::default()
    };
    scenario.receivers[1].goal = Goal::Fail;
    let report = scenario.run();
    assert_all_completed(&report);
    assert_eq!(report.outcomes.len(), 2);
}

#[test]
fn point_to_point_takes_one_and_refuses_the_second() {
    let mut scenario = Scenario::new(1, 3 * SLICE, 2);
    scenario.sender.routing = DataRouting::PointToPoint;
    scenario.sender.start = StartRule {
        min_wait: Some(Duration::from_secs(3)),
        ..StartRule::default()
    };
    scenario.receivers[1].goal = Goal::Fail;
    scenario.actions.push((millis(1200), Action::SwitchOn(1)));
    let report = scenario.run();
    assert_all_completed(&report);
    assert_eq!(report.outcomes.len(), 1);
}

#[test]
fn an_operator_starts_with_those_who_are_there() {
    let mut scenario = Scenario::new(1, 3 * SLICE, 2);
    scenario.sender.start = StartRule::default();
    scenario
        .actions
        .push((Duration::from_secs(2), Action::Start));
    assert_all_completed(&scenario.run());
}

/// Large datagrams do not reach receiver 1, of three.
fn black_hole(duplex: Duplex, is_attentive: bool) -> Scenario {
    let mut scenario = Scenario::new(1, 400 * SLICE, 3);
    scenario.sender.duplex = duplex;
    scenario.sender.block_size = 1000;
    scenario.sender_rate = 100_000_000;
    scenario.receivers[1].link.longest = 900;
    scenario.receivers[1].config.tell_attentive = is_attentive;
    scenario.receivers[1].goal = Goal::Fail;
    scenario
}

#[test]
fn a_receiver_that_no_block_reaches_is_dropped_and_costs_little() {
    for duplex in [Duplex::Full, Duplex::Half] {
        for is_attentive in [true, false] {
            for loss_per_mille in [0, 50] {
                let mut scenario = black_hole(duplex, is_attentive);
                for receiver in &mut scenario.receivers {
                    receiver.link.loss_per_mille = loss_per_mille;
                }
                let report = scenario.run();
                for (addr, outcome) in &report.outcomes {
                    if addr == receiver_addr(1).ip() {
                        let Outcome::Dropped {
                            last_slice: None,
                            cause: DropCause::NoProgress { missing, blocks },
                        } = *outcome
                        else {
                            panic!("{outcome:?}")
                        };
                        assert_eq!(missing, blocks, "no block at all");
                    } else {
                        assert_eq!(*outcome, Outcome::Completed);
                    }
                }
                let time = report.finished.unwrap();
                assert!(time < Duration::from_secs(15), "{time:?}");
                // At full rate, in the first second, 12000 blocks; 140000 in 12 s.
                let repeated = report.sender.blocks_repeated;
                assert!(repeated < 15_000, "{repeated}");
            }
        }
    }
}

#[test]
fn where_no_block_reaches_anybody_nobody_is_dropped() {
    for duplex in [Duplex::Full, Duplex::Half] {
        let mut scenario = black_hole(duplex, true);
        for index in 0..3 {
            scenario.receivers[index].link.longest = 900;
            scenario.receivers[index].goal = Goal::Complete;
            let minutes = Duration::from_secs(300);
            scenario.actions.push((minutes, Action::Heal(index)));
        }
        let report = scenario.run();
        assert_all_completed(&report);
        let repeated = report.sender.blocks_repeated;
        assert!(repeated < 20_000, "{repeated}");
        assert!(report.elapsed < Duration::from_secs(305), "found at once");
    }
}

#[test]
fn a_receiver_that_takes_nothing_for_minutes_is_dropped_at_last() {
    let mut scenario = Scenario::new(1, 120 * SLICE, 2);
    scenario.receivers[1].reader = Reader::After(Duration::from_secs(3600));
    scenario.receivers[1].config.window_blocks = 3072;
    scenario.receivers[1].goal = Goal::Fail;
    let report = scenario.run();
    assert_eq!(report.outcomes[receiver_addr(0).ip()], Outcome::Completed);
    let outcome = report.outcomes[receiver_addr(1).ip()];
    let cause = match outcome {
        Outcome::Dropped { cause, .. } => Some(cause),
        _ => None,
    };
    assert_eq!(cause, Some(DropCause::Holding), "{outcome:?}");
    let time = report.finished.unwrap();
    assert!(time < Duration::from_secs(620), "{time:?}");
}

#[test]
fn a_receiver_that_answers_anything_but_what_is_asked_is_dropped() {
    let everything = Message::Retransmit(Retransmit {
        slice: SliceNo(3),
        round: 7,
        received: Bitmap::new(),
    });
    for answer in [
        Message::Ok(SliceNo(0)),
        Message::Ok(SliceNo(9999)),
        everything,
    ] {
        let mut bytes = Vec::new();
        answer.emit(&mut bytes);
        let mut scenario = Scenario::new(1, 400 * SLICE, 3);
        scenario.receivers[1].goal = Goal::Die;
        scenario.actions.push((millis(15), Action::Kill(1)));
        for step in 0..1000 {
            let inject = Action::Inject {
                from: receiver_addr(1),
                to: SENDER,
                bytes: bytes.clone(),
            };
            scenario.actions.push((millis(20 + 100 * step), inject));
        }
        let report = scenario.run();
        for index in [0, 2] {
            let outcome = report.outcomes[receiver_addr(index).ip()];
            assert_eq!(outcome, Outcome::Completed);
        }
        let outcome = report.outcomes[receiver_addr(1).ip()];
        assert!(
            matches!(
                outcome,
                Outcome::Dropped {
                    cause: DropCause::NoProgress { .. },
                    ..
                }
            ),
            "{outcome:?}"
        );
        let time = report.finished.unwrap();
        assert!(time < Duration::from_secs(15), "{time:?}");
    }
}

#[test]
fn a_receiver_that_gets_a_block_now_and_then_is_kept() {
    for duplex in [Duplex::Full, Duplex::Half] {
        let mut scenario = Scenario::new(5, 10 * SLICE, 3);
        scenario.sender.duplex = duplex;
        scenario.receivers[1].link.loss_per_mille = 500;
        scenario.sender.drop_attentive = DropPolicy::default();
        let report = scenario.run();
        assert_all_completed(&report);
    }
}

/// Aborts that make the stream shorter, at a time when much of it is still to come.
fn aborted(mut scenario: Scenario, at: Duration) -> Report {
    for receiver in &mut scenario.receivers {
        receiver.goal = Goal::Less;
        receiver.config.receive_timeout = None;
    }
    scenario.actions.push((at, Action::Abort));
    let report = scenario.run();
    let ended = Some(GiveUpReason::Aborted { ended: true });
    assert_eq!(report.gave_up, ended, "seed {}", report.seed);
    for outcome in report.outcomes.values() {
        assert!(matches!(outcome, Outcome::Removed { .. }), "{outcome:?}");
    }
    report
}

#[test]
fn an_interrupted_sender_lets_nobody_wait() {
    for duplex in [Duplex::Full, Duplex::Half] {
        for loss_per_mille in [0, 50, 200] {
            for at in [3, 7, 20, 50, 80].map(millis) {
                let link = Link {
                    loss_per_mille,
                    ..Link::default()
                };
                let mut scenario = Scenario::new(7, 1000 * SLICE, 3).links(link);
                scenario.sender.duplex = duplex;
                scenario.receivers[1].config.tell_attentive = false;
                for receiver in &mut scenario.receivers {
                    receiver.goal = Goal::End;
                    // They give up by themselves after much longer.
                    receiver.config.start_timeout = Some(Duration::from_secs(3600));
                    receiver.config.receive_timeout = Some(Duration::from_secs(3600));
                }
                // All of them take part, and something is still to come.
                scenario.sender.start.min_wait = Some(Duration::from_secs(20));
                let at = Duration::from_secs(20) + at;
                scenario.actions.push((at, Action::Interrupt));
                let report = scenario.run();
                let ended = Some(GiveUpReason::Aborted { ended: true });
                assert_eq!(report.gave_up, ended);
                for receiver in &report.receivers {
                    let failure = receiver.failure.as_deref().unwrap_or_default();
                    assert!(failure.contains("has ended the transfer"), "{failure:?}");
                }
                assert!(
                    report.elapsed < at + Duration::from_secs(4),
                    "{:?}",
                    report.elapsed
                );
            }
        }
    }
}

#[test]
fn a_sender_that_is_interrupted_behind_the_end_takes_nothing_back() {
    // All that is left is to wait for the receiver that says so late.
    let mut scenario = Scenario::new(1, 5 * SLICE, 2);
    scenario.receivers[1].config.is_confirmed_by_reader = true;
    scenario.receivers[1].confirm = Confirm::After(Duration::from_secs(60));
    let at = Duration::from_secs(30);
    scenario.actions.push((at, Action::Interrupt));
    let report = scenario.run();
    let ended = Some(GiveUpReason::Aborted { ended: true });
    assert_eq!(report.gave_up, ended);
    assert_eq!(report.outcomes[receiver_addr(0).ip()], Outcome::Completed);
    let outcome = report.outcomes[receiver_addr(1).ip()];
    assert!(matches!(outcome, Outcome::Removed { .. }), "{outcome:?}");
    assert!(
        report
            .receivers
            .iter()
            .all(|receiver| receiver.failure.is_none())
    );
}

#[test]
fn an_aborted_stream_ends_early_for_all() {
    for duplex in [Duplex::Full, Duplex::Half] {
        for fec in [None, FecParams::new(4, 2, 16)] {
            for loss_per_mille in [0, 50] {
                for at in [1, 2, 20, 50].map(millis) {
                    let link = Link {
                        loss_per_mille,
                        ..Link::default()
                    };
                    let mut scenario = Scenario::new(7, 1000 * SLICE, 3).links(link);
                    scenario.sender.duplex = duplex;
                    scenario.sender.fec = fec;
                    scenario.receivers[1].config.tell_attentive = false;
                    let report = aborted(scenario, at);
                    // Nobody had to be waited for.
                    assert!(
                        report.elapsed < Duration::from_secs(5),
                        "{:?}",
                        report.elapsed
                    );
                }
            }
        }
    }
}

#[test]
fn an_abort_before_the_start_ends_those_who_wait() {
    let mut scenario = Scenario::new(1, 5 * SLICE, 2);
    scenario.sender.start.min_receivers = 9;
    let report = aborted(scenario, Duration::from_secs(2));
    assert!(report.receivers.iter().all(|r| r.complete == Some(0)));

    let mut scenario = Scenario::new(1, 5 * SLICE, 0);
    scenario.sender.start.min_receivers = 9;
    let at = Duration::from_secs(2);
    scenario.actions.push((at, Action::Abort));
    let report = scenario.run();
    let stopped = GiveUpReason::Aborted { ended: false };
    assert_eq!(report.gave_up, Some(stopped), "nobody was there");
}

#[test]
fn an_abort_without_a_return_channel_ends_the_stream() {
    for fec in [None, FecParams::new(8, 4, 8)] {
        let mut scenario = Scenario::new(1, 200 * SLICE, 2);
        scenario.sender.asynchronous = true;
        scenario.sender.fec = fec;
        scenario.sender.max_bitrate = Some(20_000_000);
        scenario.sender.start = StartRule {
            autostart: Some(1),
            ..StartRule::default()
        };
        let report = aborted(scenario, millis(2200));
        assert!(report.receivers.iter().all(|r| r.complete > Some(0)));
    }
}

#[test]
fn a_receiver_without_a_slice_does_not_keep_others_from_their_end() {
    for duplex in [Duplex::Full, Duplex::Half] {
        let mut scenario = Scenario::new(1, 400 * SLICE, 3);
        scenario.sender.duplex = duplex;
        scenario.receivers[2].link.longest = 150;
        scenario.sender.block_size = 200;
        for receiver in &mut scenario.receivers {
            receiver.goal = Goal::Fail;
        }
        scenario.actions.push((millis(500), Action::Abort));
        let report = scenario.run();
        let ended = GiveUpReason::Aborted { ended: true };
        assert_eq!(report.gave_up, Some(ended));
        assert!(
            report.elapsed < Duration::from_secs(15),
            "{:?}",
            report.elapsed
        );
    }
}

/// Whenever it is aborted: what has been ended early looks whole to nobody.
#[test]
fn an_early_end_never_looks_whole() {
    let mut both = [0, 0];
    for seed in seeds(400) {
        let mut scenario = any_network(seed);
        let mut rng = Rng(!seed);
        let at = Duration::from_micros(rng.below(rng.clone().pick(&[30_000, 300_000])));
        scenario.actions.push((at, Action::Abort));
        for receiver in &mut scenario.receivers {
            receiver.goal = Goal::Any;
            receiver.config.start_timeout = Some(Duration::from_secs(60));
            receiver.config.receive_timeout = Some(Duration::from_secs(60));
        }
        let len = scenario.len as u64;
        let report = scenario.run();
        let Some(GiveUpReason::Aborted { ended }) = report.gave_up else {
            assert_all_completed(&report);
            continue;
        };
        both[usize::from(ended)] += 1;
        for receiver in &report.receivers {
            let is_whole = receiver.complete == Some(len);
            assert!(!ended || !is_whole, "seed {seed}");
            assert!(
                ended || is_whole || receiver.complete.is_none(),
                "seed {seed}"
            );
        }
        let is_completed = |outcome: &Outcome| *outcome == Outcome::Completed;
        let has_completed = report.outcomes.values().any(is_completed);
        assert!(!ended || !has_completed, "seed {seed}");
    }
    assert!(
        seeds(2).end == 1 || both.iter().all(|count| *count > 20),
        "{both:?}"
    );
}

#[test]
fn repair_blocks_make_up_for_loss_without_a_return_channel() {
    for seed in seeds(10) {
        let link = Link {
            loss_per_mille: 20,
            jitter: Duration::from_micros(50),
            ..Link::default()
        };
        let mut scenario = Scenario::new(seed, 20 * SLICE, 2).links(link);
        scenario.sender.asynchronous = true;
        scenario.sender.fec = FecParams::new(8, 4, 8);
        scenario.sender.max_bitrate = Some(20_000_000);
        scenario.sender.start = StartRule {
            autostart: Some(3),
            ..StartRule::default()
        };
        let report = scenario.run();
        assert_eq!(report.sender.blocks_repeated, 0);
        assert!(
            report
                .receivers
                .iter()
                .all(|r| r.statistics.rebuilt_blocks > 0)
        );
    }
}

#[test]
fn without_a_return_channel_a_perfect_network_needs_no_repair() {
    let mut scenario = Scenario::new(1, 20 * SLICE + 5, 2);
    scenario.sender.asynchronous = true;
    scenario.sender.streaming = Some(50);
    scenario.sender.max_bitrate = Some(20_000_000);
    scenario.sender.start = StartRule {
        autostart: Some(1),
        ..StartRule::default()
    };
    let report = scenario.run();
    assert_eq!(report.sender.rounds, 2, "the end is told twice");
}

/// They say OK too early when they need repair blocks; so they have the slice when those come.
#[test]
fn original_receivers_are_served_by_repeats_alone() {
    for (duplex, seed) in [(Duplex::Full, 1), (Duplex::Half, 2)] {
        let link = Link {
            loss_per_mille: 50,
            ..Link::default()
        };
        let mut scenario = Scenario::new(seed, 40 * SLICE, 4).links(link);
        scenario.sender.duplex = duplex;
        scenario.receivers[3].config.tell_attentive = false;
        let report = scenario.run();
        assert_all_completed(&report);
        let rebuilt: Vec<u64> = report
            .receivers
            .iter()
            .map(|receiver| receiver.statistics.rebuilt_blocks)
            .collect();
        assert!(rebuilt[..3].iter().all(|count| *count > 0), "{rebuilt:?}");
        assert_eq!(rebuilt[3], 0, "{duplex:?}");
    }
}

#[test]
fn the_cost_of_loss_is_as_written_down() {
    let mut table = String::from(
        "Blocks repeated and repair blocks per 100 blocks of the stream, and virtual time, for 8000\n\
         blocks of 1456 bytes at 1 Gbit/s and 100 us delay, by size of the slices in blocks, loss\n\
         per mille and number of receivers.\n\n\
         duplex  slices  loss  receivers  repeated  repairs    time\n",
    );
    let ways = [
        (Duplex::Full, 1024),
        (Duplex::Full, 112),
        (Duplex::Half, 1024),
    ];
    for (duplex, slices) in ways {
        for loss_per_mille in [0, 1, 10, 50, 200] {
            for receivers in [1, 2, 8] {
                let link = Link {
                    loss_per_mille,
                    ..Link::default()
                };
                let mut scenario = Scenario::new(7, 8000 * 1456, receivers).links(link);
                scenario.sender.block_size = 1456;
                scenario.sender.duplex = duplex;
                scenario.sender.slice.max = slices;
                for receiver in &mut scenario.receivers {
                    receiver.config.rcvbuf = 16 << 20;
                }
                // The rendezvous is not what is measured.
                scenario.sender.start.min_wait = Some(Duration::from_secs(20));
                let report = scenario.run();
                assert_all_completed(&report);
                let share = report.sender.blocks_repeated as f64 / 80.0;
                let repairs = report.sender.repairs_sent as f64 / 80.0;
                let time = (report.finished.unwrap() - Duration::from_secs(20)).as_millis();
                let duplex = format!("{duplex:?}").to_lowercase();
                writeln!(
                    table,
                    "{duplex:6} {slices:7} {loss_per_mille:5} {receivers:10} {share:9.1} {repairs:8.1} \
                     {time:5} ms"
                )
                .unwrap();
            }
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cost-of-loss.txt");
    if std::env::var_os("FOS_UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == table,
        "{path} differs (FOS_UPDATE_SNAPSHOTS=1 rewrites it):\n{table}"
    );
}
