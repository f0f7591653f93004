use super::*;
use crate::native::geometry::FrameLen;
use crate::native::wire::{Announced, Runs};

pub(super) fn frame_len(source_count: u32) -> FrameLen {
    FrameLen::new(source_count * 1408).unwrap()
}

const RATE: u32 = 125_000;

fn config(chunks: usize) -> SenderConfig {
    SenderConfig {
        table: Table::new(Vec::new(), vec![frame_len(100); chunks]),
        sender: 0,
        tag: Tag([1; 4]),
        epoch: Epoch {
            id: EpochId(1),
            salt: [0; 16],
            byte: 1,
        },
        start: Start::Gather {
            expected: 2,
            gather: Duration::from_secs(5),
        },
        limits: RateLimits {
            max: RATE,
            is_known: true,
        },
        share: 0.9,
        round_trip: Duration::from_millis(1),
        interleave_max: 4,
        session_age: Duration::ZERO,
        seed: 1,
    }
}

/// A sender whose frames are there at once.
struct Bench {
    sender: Sender,
    now: Instant,
}

impl Bench {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do; only differences count"
    )]
    fn new(config: SenderConfig) -> Self {
        let now = Instant::now();
        Self {
            sender: Sender::new(config, now),
            now,
        }
    }

    /// All that is sent until `until`.
    fn run(&mut self, until: Duration) -> Vec<Outgoing> {
        let end = self.now + until;
        let mut sent = Vec::new();
        loop {
            while let Some(request) = self.sender.poll_frame() {
                self.sender.handle_frame(request);
            }
            if let Some(message) = self.sender.poll_message(self.now) {
                sent.push(message);
                continue;
            }
            if let Some(request) = self.sender.poll_frame() {
                self.sender.handle_frame(request);
                continue;
            }
            match self.sender.poll_timeout() {
                Some(at) if at <= end => {
                    self.now = self.now.max(at);
                    self.sender.handle_timeout(self.now);
                }
                _ => {
                    self.now = end;
                    return sent;
                }
            }
        }
    }

    fn need(&mut self, client: u32, chunk: u32, burst: u8, need: u16) {
        let chunk = ChunkId::chunk(chunk);
        let body = NeedBody {
            needs: vec![Need { chunk, burst, need }],
            ..NeedBody::default()
        };
        self.sender.handle_need(self.now, ClientNo(client), &body);
    }

    fn lack(&mut self, client: u32, drain: Option<u32>, chunks: &[u32]) {
        let body = NeedBody {
            lacks: vec![Lacks {
                drain,
                chunks: Runs::of(chunks.iter().copied()),
            }],
            ..NeedBody::default()
        };
        self.sender.handle_need(self.now, ClientNo(client), &body);
    }

    fn done(&mut self, client: u32) {
        let mut status = Status::default();
        status.flags.is_done = true;
        self.sender
            .handle_status(self.now, ClientNo(client), &status);
    }
}

fn data(sent: &[Outgoing]) -> Vec<DataHeader> {
    let data = sent.iter().filter_map(|message| match message {
        Outgoing::Data(header) => Some(*header),
        Outgoing::Beacon(_) => None,
    });
    data.collect()
}

fn beacons(sent: &[Outgoing]) -> Vec<&Beacon> {
    let beacons = sent.iter().filter_map(|message| match message {
        Outgoing::Beacon(beacon) => Some(&**beacon),
        Outgoing::Data(_) => None,
    });
    beacons.collect()
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Both clients are there, and everything was sent once.
fn sent_once(chunks: usize) -> (Bench, Vec<Outgoing>) {
    let mut bench = Bench::new(config(chunks));
    assert!(bench.sender.join(bench.now, ClientNo(0)));
    assert!(bench.sender.join(bench.now, ClientNo(1)));
    let sent = bench.run(millis(20));
    assert_eq!(bench.sender.state(), SenderState::Draining);
    (bench, sent)
}

#[test]
fn sending_begins_when_all_have_joined_or_the_time_to_gather_is_over() {
    // 8.1
    let mut bench = Bench::new(config(2));
    assert!(data(&bench.run(Duration::from_secs(60))).is_empty());
    assert!(bench.sender.join(bench.now, ClientNo(0)));
    let waiting = bench.run(millis(4999));
    assert!(data(&waiting).is_empty());
    // Two beacons a second, and one when the client joined.
    assert!((10..=12).contains(&beacons(&waiting).len()));
    assert!(!data(&bench.run(millis(5))).is_empty());
    let mut bench = Bench::new(config(2));
    bench.sender.join(bench.now, ClientNo(0));
    bench.sender.join(bench.now, ClientNo(1));
    assert!(!data(&bench.run(millis(1))).is_empty());
}

#[test]
fn everything_is_sent_once_in_ascending_order_with_numbers_that_count_up() {
    // 5.2, 8.3
    let (_, sent) = sent_once(3);
    let data = data(&sent);
    let seqs: Vec<u32> = data.iter().map(|header| header.seq).collect();
    assert_eq!(
        seqs,
        (0..u32::try_from(seqs.len()).unwrap()).collect::<Vec<_>>()
    );
    let chunks: Vec<u32> = data.iter().map(|header| header.chunk.number()).collect();
    assert!(chunks.is_sorted());
    // The last chunks have a little repair in advance (8.2).
    assert_eq!(data.len(), 3 * 104);
    for header in &data {
        assert_eq!((header.burst, header.epoch), (0, 1));
        assert!(header.symbol < 164);
    }
    let classes: Vec<u8> = data
        .iter()
        .step_by(104)
        .map(|header| header.class)
        .collect();
    assert_eq!(classes, [0, 32, 16]);
}

#[test]
fn beacons_come_first_keep_their_distance_and_show_the_plan() {
    // 5.3, 8.9
    let mut bench = Bench::new(config(20));
    bench.sender.join(bench.now, ClientNo(0));
    bench.sender.join(bench.now, ClientNo(1));
    let sent = bench.run(millis(200));
    assert!(matches!(sent[0], Outgoing::Beacon(_)));
    let beacons = beacons(&sent);
    let counters: Vec<u32> = beacons.iter().map(|beacon| beacon.counter).collect();
    assert_eq!(
        counters,
        (1..=u32::try_from(counters.len()).unwrap()).collect::<Vec<_>>()
    );
    let plan = beacons[0].plan.as_ref().unwrap();
    assert_eq!((plan.from, plan.count, plan.runs.len()), (0, 20, 1));
    assert_eq!(plan.runs[0].run.count, 20);
    assert_eq!(beacons[0].window_ms, 30);
    let last = beacons.last().unwrap();
    assert_eq!(last.planned, 0);
    assert!(last.flags.asks || last.state == SenderState::Idle);
}

#[test]
fn a_need_is_announced_held_and_repaired() {
    // 8.5
    let (mut bench, _) = sent_once(3);
    bench.need(0, 1, 0, 7);
    bench.need(1, 1, 0, 9);
    let sent = bench.run(millis(40));
    let announced = &beacons(&sent)[0].announced;
    assert_eq!(announced.len(), 1);
    assert_eq!(
        (announced[0].state, announced[0].need),
        (Announced::Asked, 9)
    );
    let repair = data(&sent);
    // 9, a twentieth of it, and 6 more as nothing is planned.
    assert_eq!(repair.len(), 9 + 1 + 6);
    for (header, left) in repair.iter().zip((0..16).rev()) {
        assert_eq!((header.chunk, header.burst), (ChunkId::chunk(1), 1));
        assert_eq!(header.left, left);
        assert!((100..164).contains(&header.symbol));
    }
    let ended = beacons(&sent).iter().any(|beacon| {
        beacon
            .ended
            .iter()
            .any(|ended| ended.chunk == ChunkId::chunk(1) && ended.burst == 1)
    });
    assert!(ended);
}

#[test]
fn needs_of_strangers_of_older_bursts_and_of_chunks_that_there_are_not_do_nothing() {
    // 8.5, 12.1
    let (mut bench, _) = sent_once(3);
    bench.need(7, 1, 0, 5);
    bench.need(0, 99, 0, 5);
    bench.need(0, 1, 3, 5);
    bench.need(0, 1, 0, 101);
    assert!(data(&bench.run(millis(40))).is_empty());
}

#[test]
fn a_lack_is_sent_again_and_the_fast_come_first() {
    // 8.3
    let (mut bench, _) = sent_once(3);
    bench.lack(0, Some(10_000), &[0, 1]);
    bench.lack(1, None, &[2]);
    let chunks: Vec<u32> = data(&bench.run(millis(20)))
        .iter()
        .filter(|header| header.symbol == 0)
        .map(|header| header.chunk.number())
        .collect();
    assert_eq!(chunks, [2, 0, 1]);
}

#[test]
fn a_need_beyond_cap_and_purse_is_deferred_and_planned_later() {
    // 8.5: cap is K/6 at first, a purse K/2.
    let (mut bench, _) = sent_once(3);
    bench.need(0, 0, 0, 60);
    let sent = bench.run(millis(60));
    let states: Vec<Announced> = beacons(&sent)[0]
        .announced
        .iter()
        .map(|one| one.state)
        .collect();
    assert_eq!(states, [Announced::Asked]);
    // The purse is empty now.
    bench.need(0, 1, 0, 60);
    let sent = bench.run(millis(100));
    assert_eq!(beacons(&sent)[0].announced[0].state, Announced::Deferred);
    assert_eq!(bench.sender.counts().deferred, 1);
    // The whole chunk comes again.
    let again = data(&sent);
    assert!(again.len() >= 100 && again.iter().all(|header| header.chunk == ChunkId::chunk(1)));
}

#[test]
fn the_session_ends_when_all_are_done() {
    // 8.9
    let (mut bench, _) = sent_once(1);
    bench.done(0);
    let sent = bench.run(Duration::from_secs(5));
    assert!(beacons(&sent).iter().any(|beacon| beacon.flags.asks));
    assert_eq!(bench.sender.state(), SenderState::Idle);
    bench.done(1);
    let sent = bench.run(Duration::from_secs(5));
    let ended = beacons(&sent)
        .iter()
        .filter(|one| one.state == SenderState::Ended)
        .count();
    assert_eq!(ended, 5);
    assert!(bench.sender.is_closed());
    assert_eq!(bench.sender.poll_timeout(), None);
}

#[test]
fn a_client_that_is_silent_for_a_minute_is_not_waited_for() {
    // 8.9
    let (mut bench, _) = sent_once(1);
    bench.done(0);
    bench.run(Duration::from_secs(59));
    assert_eq!(bench.sender.state(), SenderState::Idle);
    bench.run(Duration::from_secs(3));
    assert!(bench.sender.is_closed());
}

#[test]
fn who_still_lacks_something_brings_a_sender_back() {
    // 8.9
    let (mut bench, _) = sent_once(2);
    bench.done(0);
    bench.run(Duration::from_secs(3));
    assert_eq!(bench.sender.state(), SenderState::Idle);
    bench.lack(1, None, &[1]);
    let sent = data(&bench.run(millis(50)));
    assert!(sent.len() >= 100 && sent.iter().all(|header| header.chunk == ChunkId::chunk(1)));
}

#[test]
fn a_sender_that_begins_again_has_an_empty_plan_and_asks() {
    // 8.8
    let mut again = config(3);
    again.start = Start::Again;
    let mut bench = Bench::new(again);
    assert!(bench.sender.join_again(bench.now, ClientNo(0)));
    let sent = bench.run(millis(50));
    assert!(data(&sent).is_empty());
    let first = beacons(&sent)[0];
    assert!(first.flags.asks && first.planned == 0);
    // A need for burst 0 of a chunk that this epoch has not sent is served.
    bench.need(0, 2, 0, 5);
    let repair = data(&bench.run(millis(50)));
    assert_eq!((repair.len(), repair[0].burst), (5 + 1 + 6, 0));
}

#[test]
fn an_epoch_begins_before_the_numbers_run_out() {
    // 5.2
    let (mut bench, _) = sent_once(2);
    assert!(!bench.sender.needs_epoch());
    bench.sender.next_seq = SEQ_END - 3;
    assert!(bench.sender.needs_epoch());
    bench.lack(0, None, &[0, 1]);
    let sent = data(&bench.run(millis(20)));
    let seqs: Vec<u32> = sent.iter().map(|header| header.seq).collect();
    assert_eq!(seqs, [SEQ_END - 3, SEQ_END - 2, SEQ_END - 1]);
    let epoch = Epoch {
        id: EpochId(2),
        salt: [1; 16],
        byte: 2,
    };
    bench.sender.begin_epoch(bench.now, epoch);
    let sent = bench.run(millis(50));
    assert_eq!(beacons(&sent)[0].epoch, EpochId(2));
    assert_eq!(beacons(&sent)[0].next_seq, 0);
    let data = data(&sent);
    assert_eq!((data[0].seq, data[0].epoch, data[0].burst), (0, 2, 0));
    let chunks: Vec<u32> = data.iter().map(|header| header.chunk.number()).collect();
    assert!(chunks.contains(&0) && chunks.contains(&1));
}

#[test]
fn lacks_of_a_client_are_served_up_to_three_times_the_image() {
    // 12.4
    let (mut bench, _) = sent_once(2);
    let mut served = 0;
    for _ in 0..10 {
        bench.lack(0, None, &[0, 1]);
        served += usize::from(!data(&bench.run(millis(20))).is_empty());
    }
    assert!((2..=3).contains(&served), "{served}");
}

#[test]
fn parts_of_the_manifest_go_first_and_again_after_two_seconds_at_the_earliest() {
    // 8.1
    let mut with_parts = config(0);
    with_parts.table = Table::new(vec![frame_len(5)], vec![frame_len(100)]);
    let mut bench = Bench::new(with_parts);
    bench.sender.join(bench.now, ClientNo(0));
    bench.sender.join(bench.now, ClientNo(1));
    let sent = data(&bench.run(millis(20)));
    assert_eq!(sent[0].chunk, ChunkId::part(0));
    assert_eq!(sent[0].chunk.to_wire() >> 31, 1);
    let part = ChunkId::part(0).to_wire();
    bench.lack(0, None, &[part]);
    assert!(data(&bench.run(millis(1500))).is_empty());
    bench.run(millis(500));
    bench.lack(0, None, &[part]);
    let again = data(&bench.run(millis(50)));
    assert!(!again.is_empty() && again.iter().all(|header| header.chunk.is_part()));
}
