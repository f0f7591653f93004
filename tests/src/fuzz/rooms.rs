//! The state machines of the native protocol: messages of anybody who has a key, in any order with everything else that
//! a driver may do.

use std::time::{Duration, Instant};

use cast_proto::native::geometry::{ChunkId, FrameLen, Table};
use cast_proto::native::receiver::{Event, Receiver, ReceiverConfig};
use cast_proto::native::sender::{Epoch, Outgoing, RateLimits, Sender, SenderConfig, Start};
use cast_proto::native::wire::{
    Announced, Announcement, Beacon, BeaconFlags, ClientNo, DataHeader, Ended, EpochId, Lacks,
    Need, NeedBody, Plan, PlanRun, Priority, Run, Runs, SenderState, Status, Tag,
};

use super::feed::Feed;
use super::udpcast::epoch;

/// Operations on one machine.
const OPERATIONS: usize = 400;

/// A receiver keeps within its pool, and its timers lead somewhere.
pub fn native_receiver(data: &[u8]) {
    let mut feed = Feed(data);
    let mut now = epoch();
    let flags = feed.byte();
    let lens = lens(&mut feed);
    let parts = if flags & 1 != 0 {
        lens.iter().copied().take(2).collect()
    } else {
        Vec::new()
    };
    let chunks = if flags & 2 != 0 {
        lens.clone()
    } else {
        Vec::new()
    };
    let pool_len = usize::from(feed.byte()) * 2000;
    let config = ReceiverConfig {
        table: Table::new(parts, chunks),
        sender: 0,
        pool_len,
        link: 10,
        seed: 1,
    };
    let mut receiver = Receiver::new(config, now);
    let mut counter = 0;
    for _ in 0..OPERATIONS {
        if feed.is_empty() {
            break;
        }
        match feed.byte() % 8 {
            0..=2 => {
                let header = header(&mut feed);
                if receiver.wants(now, &header) {
                    let _kept = receiver.handle_data(now, &header);
                }
            }
            3 => {
                counter += u32::from(feed.flag());
                receiver.handle_beacon(now, &beacon(&mut feed, counter));
            }
            4 => {
                now = receiver.poll_timeout().map_or(now, |at| at.max(now));
                receiver.handle_timeout(now);
                assert!(receiver.poll_timeout().is_none_or(|at| at > now));
            }
            5 => now += pass(&mut feed),
            6 => {
                let chunk = chunk(&mut feed);
                match feed.byte() % 4 {
                    0 => receiver.frame_wrong(now, chunk),
                    1 => receiver.frame_right(chunk, true),
                    2 => receiver.unwritten(now, chunk),
                    _ => receiver.written(now, chunk),
                }
            }
            _ => {
                if feed.flag() {
                    receiver.finish(now);
                } else {
                    receiver.handle_manifest(now, lens.clone(), |number| number % 5 == 4);
                }
            }
        }
        while let Some(event) = receiver.poll_event() {
            if let Event::Whole(chunk) = event
                && feed.flag()
            {
                receiver.written(now, chunk);
            }
        }
        while receiver.poll_feedback().is_some() {}
        assert!(receiver.pool_used() <= pool_len);
    }
    let missing = receiver.missing().count();
    assert!(!receiver.is_finished() || missing == 0);
}

/// A sender numbers what it sends, keeps to its chunks, and its timers lead somewhere.
pub fn native_sender(data: &[u8]) {
    let mut feed = Feed(data);
    let mut now = epoch();
    let flags = feed.byte();
    let table = Table::new(Vec::new(), lens(&mut feed));
    let config = SenderConfig {
        table: table.clone(),
        sender: 0,
        tag: Tag([0; 4]),
        epoch: Epoch {
            id: EpochId(1),
            salt: [0; 16],
            byte: 0,
        },
        start: if flags & 1 != 0 {
            Start::Again
        } else {
            Start::Gather {
                expected: 2,
                gather: Duration::from_secs(5),
            }
        },
        limits: RateLimits {
            max: 125_000,
            is_known: flags & 2 != 0,
        },
        share: 0.9,
        round_trip: Duration::from_millis(u64::from(feed.byte())),
        interleave_max: usize::from(feed.byte() % 20),
        session_age: Duration::ZERO,
        seed: 1,
    };
    let mut sender = Sender::new(config, now);
    let mut next_seq = 0;
    let mut next_epoch = 1_u8;
    for _ in 0..OPERATIONS {
        if feed.is_empty() {
            break;
        }
        let client = ClientNo(u32::from(feed.byte() % 3));
        match feed.byte() % 8 {
            0 => {
                sender.join(now, client);
            }
            1 => {
                sender.join_again(now, client);
            }
            2 | 3 => {
                let body = need(&mut feed);
                sender.handle_need(now, client, &body);
            }
            4 => {
                let mut status = Status {
                    loss_ppm: feed.u32(),
                    peak: feed.u16(),
                    ..Status::default()
                };
                status.drain = feed.flag().then(|| feed.u32());
                status.flags.is_done = feed.flag();
                status.flags.is_leaving = feed.flag();
                sender.handle_status(now, client, &status);
            }
            5 => now += pass(&mut feed),
            6 => {
                now = sender.poll_timeout().map_or(now, |at| at.max(now));
                sender.handle_timeout(now);
                settle(&mut sender, now, &table, &mut next_seq);
                assert!(sender.poll_timeout().is_none_or(|at| at > now));
            }
            _ => {
                if feed.byte() == 0 && next_epoch < 200 {
                    let epoch = Epoch {
                        id: EpochId(1 + u64::from(next_epoch)),
                        salt: [next_epoch; 16],
                        byte: next_epoch,
                    };
                    next_epoch += 1;
                    next_seq = 0;
                    sender.begin_epoch(now, epoch);
                }
            }
        }
        settle(&mut sender, now, &table, &mut next_seq);
    }
}

/// Polls until there is nothing more to send at this moment.
fn settle(sender: &mut Sender, now: Instant, table: &Table, next_seq: &mut u32) {
    // A burst of pacing, and a beacon.
    for _ in 0..200 {
        let mut is_any = false;
        while let Some(request) = sender.poll_frame() {
            assert!(table.slot(request.chunk).is_some());
            sender.handle_frame(request);
            is_any = true;
        }
        match sender.poll_message(now) {
            Some(Outgoing::Data(header)) => {
                assert_eq!(header.seq, *next_seq);
                *next_seq += 1;
                let slot = table.slot(header.chunk).expect("a chunk of the table");
                let len = table.frame_len(slot);
                assert!(header.symbol < len.source_count() + len.repair_count());
            }
            Some(Outgoing::Beacon(beacon)) => assert_eq!(beacon.next_seq, *next_seq),
            None if is_any => {}
            None => return,
        }
    }
    panic!("more is sent in one moment than pacing allows");
}

fn need(feed: &mut Feed<'_>) -> NeedBody {
    let needs = (0..feed.byte() % 4).map(|_| Need {
        chunk: chunk(feed),
        burst: feed.byte() % 4,
        need: feed.u16() % 200 + 1,
    });
    let needs = needs.collect();
    let drain = feed.flag().then(|| feed.u32());
    let mut at = 0_u32;
    let numbers = (0..feed.byte() % 4).map(|_| {
        at = at.saturating_add(feed.number());
        at
    });
    let chunks = Runs::of(numbers);
    NeedBody {
        needs,
        lacks: vec![Lacks { drain, chunks }],
        polluted: Vec::new(),
    }
}

fn header(feed: &mut Feed<'_>) -> DataHeader {
    DataHeader {
        epoch: 0,
        class: feed.byte() % 64,
        is_sealed: false,
        burst: feed.byte(),
        tag: Tag([0; 4]),
        seq: feed.number(),
        chunk: chunk(feed),
        symbol: feed.u16() % 80,
        left: feed.u16() % 80,
    }
}

fn beacon(feed: &mut Feed<'_>, counter: u32) -> Beacon {
    let chunk_and_burst = (chunk(feed), feed.byte());
    let first = feed.number();
    let state = feed.one_of(&[
        SenderState::Gathering,
        SenderState::Sending,
        SenderState::Draining,
        SenderState::Idle,
        SenderState::Ended,
    ]);
    Beacon {
        epoch: EpochId(u64::from(feed.byte() % 3)),
        counter,
        sender: 0,
        state,
        flags: BeaconFlags {
            is_sealed: false,
            asks: feed.flag(),
            is_near_end: feed.flag(),
        },
        salt: [0; 16],
        next_seq: feed.u32(),
        rate: feed.u32(),
        unfinished: feed.u32(),
        clients: feed.u32(),
        window_ms: feed.u16(),
        usual_need: feed.u16(),
        cap: feed.u16(),
        status_interval: feed.u16(),
        session_ms: 0,
        planned: 0,
        announced: vec![Announcement {
            chunk: chunk_and_burst.0,
            burst: chunk_and_burst.1,
            state: feed.one_of(&[Announced::Asked, Announced::Queued, Announced::Deferred]),
            need: feed.u16(),
        }],
        ended: vec![Ended {
            chunk: chunk(feed),
            burst: feed.byte(),
        }],
        plan: feed.flag().then(|| Plan {
            from: 0,
            count: 12,
            runs: vec![PlanRun {
                run: Run { first, count: 3 },
                priority: Priority(feed.byte()),
            }],
        }),
        text: None,
        senders: Vec::new(),
        is_beyond_us: feed.byte() == 255,
    }
}

fn chunk(feed: &mut Feed<'_>) -> ChunkId {
    let number = feed.number();
    if feed.byte() == 255 {
        ChunkId::part(number)
    } else {
        ChunkId::chunk(number)
    }
}

/// Up to seven short frames.
fn lens(feed: &mut Feed<'_>) -> Vec<FrameLen> {
    let count = feed.byte() % 8;
    let lens = (0..count).filter_map(|_| FrameLen::new(u32::from(feed.u16() % 20_000) + 1));
    lens.collect()
}

/// Some time, from a moment to minutes.
fn pass(feed: &mut Feed<'_>) -> Duration {
    let unit = feed.one_of(&[1, 1_000, 100_000, 1_000_000]);
    Duration::from_micros(u64::from(feed.byte()) * unit)
}
