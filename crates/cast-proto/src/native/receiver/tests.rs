use super::*;
use crate::native::wire::{
    Announced, BeaconFlags, DataHeader, Ended, Need, PlanRun, Priority, Run, Tag,
};

const K: u16 = 100;

fn len() -> FrameLen {
    FrameLen::new(u32::from(K) * 1408).unwrap()
}

struct Bench {
    receiver: Receiver,
    now: Instant,
    counter: u32,
    seq: u32,
}

fn beacon() -> Beacon {
    Beacon {
        epoch: EpochId(1),
        counter: 0,
        sender: 0,
        state: SenderState::Sending,
        flags: BeaconFlags::default(),
        salt: [0; 16],
        next_seq: 0,
        rate: 125_000,
        unfinished: 1,
        clients: 1,
        window_ms: 30,
        usual_need: 10,
        cap: 50,
        status_interval: 10,
        session_ms: 0,
        planned: 0,
        announced: Vec::new(),
        ended: Vec::new(),
        plan: None,
        text: None,
        senders: Vec::new(),
        is_beyond_us: false,
    }
}

/// All of `count` chunks are planned with the highest priority.
fn full_plan(count: u32) -> Option<Plan> {
    let run = Run { first: 0, count };
    let priority = Priority::HIGHEST;
    Some(Plan {
        from: 0,
        count,
        runs: vec![PlanRun { run, priority }],
    })
}

impl Bench {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do; only differences count"
    )]
    fn new(chunks: usize, frames_in_pool: usize) -> Self {
        let now = Instant::now();
        let config = ReceiverConfig {
            table: Table::new(Vec::new(), vec![len(); chunks]),
            sender: 0,
            pool_len: frames_in_pool * len().buffer_len(),
            link: 10,
            seed: 1,
        };
        let mut bench = Self {
            receiver: Receiver::new(config, now),
            now,
            counter: 0,
            seq: 0,
        };
        let count = u32::try_from(chunks).unwrap();
        bench.beacon(|beacon| beacon.plan = full_plan(count));
        bench.run(Duration::from_millis(30));
        bench
    }

    fn beacon(&mut self, change: impl FnOnce(&mut Beacon)) -> bool {
        self.counter += 1;
        let mut beacon = beacon();
        beacon.counter = self.counter;
        beacon.next_seq = self.seq;
        change(&mut beacon);
        self.receiver.handle_beacon(self.now, &beacon)
    }

    /// Symbol `symbol` of burst `burst` of a chunk; whether it was kept.
    fn data(&mut self, chunk: u32, burst: u8, symbol: u16, left: u16) -> bool {
        let header = DataHeader {
            epoch: 1,
            class: 0,
            is_sealed: false,
            burst,
            tag: Tag([0; 4]),
            seq: self.seq,
            chunk: ChunkId::chunk(chunk),
            symbol,
            left,
        };
        self.seq += 1;
        self.receiver.wants(self.now, &header)
            && self.receiver.handle_data(self.now, &header) == Taken::Kept
    }

    /// An instance without the symbols that `lost` names.
    fn instance(&mut self, chunk: u32, lost: impl Fn(u16) -> bool) {
        for symbol in (0..K).filter(|symbol| !lost(*symbol)) {
            self.data(chunk, 0, symbol, K - 1 - symbol);
        }
    }

    /// What is said until then.
    fn run(&mut self, time: Duration) -> Vec<Feedback> {
        let end = self.now + time;
        let mut said = Vec::new();
        loop {
            said.extend(std::iter::from_fn(|| self.receiver.poll_feedback()));
            match self.receiver.poll_timeout() {
                Some(at) if at <= end => {
                    self.now = self.now.max(at);
                    self.receiver.handle_timeout(self.now);
                }
                _ => {
                    self.now = end;
                    return said;
                }
            }
        }
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.receiver.poll_event()).collect()
    }
}

fn needs(said: &[Feedback]) -> Vec<Need> {
    let needs = said.iter().filter_map(|feedback| match feedback {
        Feedback::Need(body) => Some(body.needs.clone()),
        Feedback::Status(_) => None,
    });
    needs.flatten().collect()
}

fn lacks(said: &[Feedback]) -> Vec<Run> {
    let lacks = said.iter().filter_map(|feedback| match feedback {
        Feedback::Need(body) => Some(&body.lacks),
        Feedback::Status(_) => None,
    });
    lacks
        .flatten()
        .flat_map(|lacks| lacks.chunks.as_slice().to_vec())
        .collect()
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn k_symbols_of_any_kind_make_a_chunk_whole_and_more_are_not_wanted() {
    // 6.4
    let mut bench = Bench::new(1, 4);
    for symbol in 0..K - 1 {
        assert!(bench.data(0, 0, symbol, K - symbol));
        assert!(!bench.data(0, 0, symbol, K - symbol), "twice");
    }
    assert_eq!(bench.events(), []);
    assert!(bench.data(0, 0, K + 63, 0));
    assert_eq!(bench.events(), [Event::Whole(ChunkId::chunk(0))]);
    assert!(!bench.data(0, 0, K, 0));
    bench.receiver.frame_right(ChunkId::chunk(0), true);
    bench.receiver.written(bench.now, ChunkId::chunk(0));
    assert_eq!(bench.events(), [Event::AllWritten]);
    assert_eq!(bench.receiver.pool_used(), 0);
}

#[test]
fn symbols_that_there_are_not_are_not_taken() {
    let mut bench = Bench::new(1, 4);
    assert!(!bench.data(1, 0, 0, K - 1));
    assert!(!bench.data(0, 0, K + 64, K));
    assert!(bench.data(0, 0, 0, K));
    assert!(!bench.data(0, 0, K + 64, K));
}

#[test]
fn a_chunk_of_which_too_little_can_still_come_is_passed_by() {
    // 7.2
    let mut bench = Bench::new(2, 4);
    assert!(!bench.data(0, 0, K / 2, K / 2 - 1));
    assert!(bench.data(0, 0, K / 2 - 1, K / 2));
    assert!(bench.data(1, 0, K + 5, K / 2));
}

#[test]
fn what_is_missing_after_a_burst_is_asked_for_within_t() {
    // 7.3
    let mut bench = Bench::new(2, 4);
    bench.instance(0, |symbol| symbol % 10 == 3);
    let said = bench.run(millis(30));
    let need = Need {
        chunk: ChunkId::chunk(0),
        burst: 0,
        need: 10,
    };
    assert_eq!(needs(&said), [need]);
    // No answer within 4 T + 50 ms: again, and then after twice the time.
    assert_eq!(needs(&bench.run(millis(139))), []);
    let again = needs(&bench.run(millis(31)));
    assert_eq!(again, [need]);
    bench.beacon(|_| ());
    assert_eq!(needs(&bench.run(millis(300))), []);
    assert_eq!(needs(&bench.run(millis(70))), [need]);
}

#[test]
fn a_need_that_the_sender_announces_is_not_said_again() {
    // 7.3
    let announce = |state, burst, need| {
        let mut bench = Bench::new(2, 4);
        bench.instance(0, |symbol| symbol % 10 == 3);
        bench.beacon(|beacon| {
            beacon.announced = vec![Announcement {
                chunk: ChunkId::chunk(0),
                burst,
                state,
                need,
            }];
        });
        needs(&bench.run(millis(30))).len()
    };
    assert_eq!(announce(Announced::Asked, 0, 10), 0);
    assert_eq!(announce(Announced::Asked, 0, 9), 1);
    assert_eq!(announce(Announced::Queued, 0, 1), 0);
    assert_eq!(announce(Announced::Deferred, 0, 11), 1);
}

#[test]
fn a_burst_ends_with_its_last_symbol_a_later_one_its_end_in_a_beacon_or_silence() {
    // 7.3
    let last = |end: &dyn Fn(&mut Bench)| {
        let mut bench = Bench::new(2, 4);
        // The last symbols are lost.
        bench.instance(0, |symbol| symbol >= K - 10);
        assert_eq!(needs(&bench.run(millis(100))), []);
        end(&mut bench);
        needs(&bench.run(millis(60)))
    };
    let need = |burst, need| Need {
        chunk: ChunkId::chunk(0),
        burst,
        need,
    };
    // Silence, while others come.
    let silent = last(&|bench| {
        bench.data(1, 0, 0, K - 1);
    });
    assert_eq!(silent, [need(0, 10)]);
    let ended = last(&|bench| {
        bench.beacon(|beacon| {
            beacon.ended = vec![Ended {
                chunk: ChunkId::chunk(0),
                burst: 0,
            }];
        });
    });
    assert_eq!(ended, [need(0, 10)]);
    // All of a later burst was lost.
    let later = last(&|bench| {
        bench.beacon(|beacon| {
            beacon.ended = vec![Ended {
                chunk: ChunkId::chunk(0),
                burst: 1,
            }];
        });
    });
    assert_eq!(later, [need(1, 10)]);
    let repair = last(&|bench| {
        bench.data(0, 1, K, 0);
    });
    assert_eq!(repair, [need(1, 9)]);
    let asks = last(&|bench| {
        bench.beacon(|beacon| beacon.flags.asks = true);
    });
    assert_eq!(asks, [need(0, 10)]);
}

#[test]
fn after_an_instance_of_which_half_is_missing_a_chunk_is_a_lack() {
    // 7.3
    let mut bench = Bench::new(2, 4);
    bench.instance(0, |symbol| symbol > 20 && symbol < 80);
    assert_eq!(bench.events(), [Event::Dropped(ChunkId::chunk(0))]);
    assert_eq!(bench.receiver.pool_used(), 0);
    assert_eq!(needs(&bench.run(millis(100))), []);
}

#[test]
fn a_deferred_chunk_is_dropped_and_lacked_with_half_the_rate() {
    // 7.5
    let mut bench = Bench::new(2, 4);
    bench.instance(0, |symbol| symbol % 10 == 3);
    bench.beacon(|beacon| {
        beacon.announced = vec![Announcement {
            chunk: ChunkId::chunk(0),
            burst: 0,
            state: Announced::Deferred,
            need: 10,
        }];
    });
    assert_eq!(bench.events(), [Event::Dropped(ChunkId::chunk(0))]);
    let mut said = Vec::new();
    for _ in 0..30 {
        bench.beacon(|_| ());
        said.extend(bench.run(millis(50)));
    }
    let mut drains = said.iter().filter_map(|feedback| match feedback {
        Feedback::Need(body) => body.lacks.first().map(|lacks| lacks.drain),
        Feedback::Status(_) => None,
    });
    // 125 MB/s carry 116.556 MB/s of frames.
    assert_eq!(drains.next(), Some(Some(116_556 / 2)));
}

#[test]
fn the_pool_is_never_exceeded_and_the_neediest_makes_room() {
    // 7.2
    let mut bench = Bench::new(4, 2);
    bench.instance(0, |symbol| symbol % 3 == 1);
    bench.instance(1, |symbol| symbol % 10 == 3);
    assert_eq!(bench.receiver.pool_used(), 2 * len().buffer_len());
    // The first one lacks over a quarter.
    assert!(bench.data(2, 0, 0, K - 1));
    assert_eq!(bench.events(), [Event::Dropped(ChunkId::chunk(0))]);
    // The others are in work.
    assert!(!bench.data(3, 0, 0, K - 1));
    assert_eq!(bench.receiver.pool_used(), 2 * len().buffer_len());
}

#[test]
fn lacks_are_said_only_if_the_plan_does_not_show_them() {
    // 7.6
    let mut bench = Bench::new(3, 4);
    // All are planned.
    for _ in 0..60 {
        bench.beacon(|beacon| beacon.plan = full_plan(3));
        assert_eq!(lacks(&bench.run(millis(50))), []);
    }
    // None is.
    let mut said = Vec::new();
    for _ in 0..40 {
        bench.beacon(|beacon| {
            beacon.plan = Some(Plan {
                from: 0,
                count: 3,
                runs: Vec::new(),
            });
        });
        said.extend(lacks(&bench.run(millis(50))));
    }
    assert!(said.len() == 1 || said.len() == 2, "{said:?}");
    assert_eq!(said[0], Run { first: 0, count: 3 });
    // And without beacons nothing is said.
    bench.run(Duration::from_secs(1));
    assert_eq!(lacks(&bench.run(Duration::from_secs(10))).len(), 0);
}

#[test]
fn a_join_without_a_plan_says_its_lacks_after_2_to_22_ms() {
    // 7.6
    let mut bench = Bench::new(3, 4);
    // A new epoch, and nothing planned.
    bench.beacon(|beacon| beacon.epoch = EpochId(2));
    assert_eq!(lacks(&bench.run(millis(2))), []);
    assert_eq!(lacks(&bench.run(millis(20))), [Run { first: 0, count: 3 }]);
}

#[test]
fn in_a_new_epoch_what_is_held_in_part_is_asked_for_as_burst_0() {
    // 8.8
    let mut bench = Bench::new(1, 4);
    bench.instance(0, |symbol| symbol % 10 == 3);
    bench.run(millis(30));
    assert!(
        !bench.beacon(|beacon| beacon.epoch = EpochId(0)),
        "an older epoch"
    );
    assert!(bench.beacon(|beacon| beacon.epoch = EpochId(2)));
    let need = Need {
        chunk: ChunkId::chunk(0),
        burst: 0,
        need: 10,
    };
    assert_eq!(needs(&bench.run(millis(31))), [need]);
}

#[test]
fn a_beacon_that_is_not_newer_is_dropped() {
    // 5.3
    let mut bench = Bench::new(1, 4);
    let counter = bench.counter;
    assert!(!bench.beacon(|beacon| beacon.counter = counter));
    assert!(bench.beacon(|_| ()));
    assert!(!bench.beacon(|beacon| beacon.sender = 1));
}

#[test]
fn silence_is_named_after_3_and_6_seconds_and_tried_again() {
    // 7.9, 11.2
    let mut bench = Bench::new(1, 4);
    bench.beacon(|_| ());
    bench.run(millis(2999));
    assert_eq!(bench.events(), []);
    bench.run(millis(1));
    assert_eq!(bench.events(), [Event::Rejoin]);
    bench.run(millis(3000));
    assert_eq!(bench.events(), [Event::MulticastBroken]);
    bench.run(millis(30_000));
    assert_eq!(bench.events(), [Event::Rejoin]);
    bench.run(Duration::from_secs(600));
    assert_eq!(bench.events().last(), Some(&Event::SenderGone));
}

#[test]
fn a_wrong_frame_is_reported_and_lacked() {
    // 12.3
    let mut bench = Bench::new(2, 4);
    bench.instance(0, |_| false);
    bench.events();
    bench.receiver.frame_wrong(bench.now, ChunkId::chunk(0));
    assert_eq!(bench.receiver.pool_used(), 0);
    bench.beacon(|_| ());
    let said = bench.run(millis(300));
    let Some(Feedback::Need(body)) = said.first() else {
        panic!("{said:?}");
    };
    assert_eq!(body.polluted, [ChunkId::chunk(0)]);
    assert_eq!(
        body.lacks[0].chunks.as_slice()[0],
        Run { first: 0, count: 1 }
    );
}

#[test]
fn the_end_is_said_three_times() {
    // 7.9
    let mut bench = Bench::new(1, 4);
    bench.instance(0, |_| false);
    bench.receiver.written(bench.now, ChunkId::chunk(0));
    assert_eq!(bench.events().last(), Some(&Event::AllWritten));
    bench.receiver.finish(bench.now);
    let said = bench.run(Duration::from_secs(60));
    assert_eq!(said.len(), 3);
    for feedback in said {
        let Feedback::Status(status) = feedback else {
            panic!("{feedback:?}");
        };
        assert!(status.flags.is_done);
        assert_eq!((status.chunks_done, status.chunks_all), (1, 1));
    }
    assert!(bench.receiver.is_finished());
    assert_eq!(bench.receiver.poll_timeout(), None);
}

#[test]
fn a_slow_disk_lowers_the_level_and_classes_above_it_are_passed_by() {
    // 7.7, 8.4
    let mut bench = Bench::new(64, 40);
    for chunk in 0..30 {
        bench.instance(chunk, |_| false);
    }
    assert_eq!(bench.receiver.level, 64);
    // 140,800 bytes each 0.1 s: 1.4 MB/s of 116.6.
    for chunk in 0..25 {
        bench.beacon(|_| ());
        bench.run(millis(100));
        bench.receiver.written(bench.now, ChunkId::chunk(chunk));
    }
    bench.beacon(|_| ());
    assert_eq!(bench.receiver.level, 1);
    let mut class = |class, is_first| {
        let header = DataHeader {
            epoch: 1,
            class,
            is_sealed: false,
            burst: class,
            tag: Tag([0; 4]),
            seq: bench.seq,
            chunk: ChunkId::chunk(40),
            symbol: 0,
            left: K - 1,
        };
        let is_wanted = bench.receiver.wants(bench.now, &header);
        if is_wanted && is_first {
            let taken = bench.receiver.handle_data(bench.now, &header);
            assert_eq!(taken == Taken::Kept, class == 0);
        }
        is_wanted
    };
    // The first one is opened, so that it is certain that the burst is to be passed by.
    assert!(class(1, true) && !class(1, false) && class(0, true));
    let said = bench.run(Duration::from_secs(2));
    let drains = said.iter().filter_map(|feedback| match feedback {
        Feedback::Status(status) => status.drain,
        Feedback::Need(_) => None,
    });
    assert_eq!(drains.max(), Some(1408));
}

#[test]
fn the_most_that_an_instance_lost_is_reported_as_peak() {
    // 8.5
    let mut bench = Bench::new(2, 4);
    bench.instance(0, |symbol| symbol % 10 == 3);
    assert_eq!(bench.receiver.peak / 256, 10);
    // More than half is no loss of the network's, but an outage.
    bench.instance(1, |symbol| symbol > 20 && symbol < 90);
    assert_eq!(bench.receiver.peak / 256, 9);
}

#[test]
fn chunks_are_not_taken_before_the_manifest_and_those_that_are_there_never() {
    // 5.2, 10
    let mut bench = Bench::new(0, 4);
    assert!(!bench.data(0, 0, 0, K - 1));
    bench
        .receiver
        .handle_manifest(bench.now, vec![len(); 2], |number| number == 1);
    assert!(bench.data(0, 0, 0, K - 1));
    assert!(!bench.data(1, 0, 0, K - 1));
    // It was not right after all.
    bench.receiver.unwritten(bench.now, ChunkId::chunk(1));
    assert!(bench.data(1, 0, 0, K - 1));
}

#[test]
fn what_is_asked_for_three_times_in_vain_has_to_come_by_unicast() {
    // 11.2, 12.4
    let mut bench = Bench::new(3, 4);
    bench.instance(0, |symbol| symbol % 10 == 3);
    bench.events();
    let mut asked = 0;
    while bench.events() != [Event::NothingComes] {
        bench.beacon(|beacon| beacon.state = SenderState::Draining);
        asked += needs(&bench.run(Duration::from_millis(50))).len();
        assert!(asked <= 3);
    }
    assert_eq!(asked, 3);
    let missing: Vec<u32> = bench.receiver.missing().map(ChunkId::number).collect();
    assert_eq!(missing, [0, 1, 2]);
}

#[test]
fn a_burst_that_is_passed_by_is_not_begun_in_its_middle() {
    // 7.2
    let mut bench = Bench::new(2, 1);
    bench.instance(0, |_| false);
    assert!(!bench.data(1, 0, 0, K - 1));
    bench.receiver.written(bench.now, ChunkId::chunk(0));
    assert!(!bench.data(1, 0, 10, K - 11));
    assert_eq!(bench.receiver.pool_used(), 0);
    assert!(bench.data(1, 1, 10, K - 11));
}
