//! A receiver with its network and its disk.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use cast_proto::native::geometry::{ChunkId, Table};
use cast_proto::native::receiver::{Event, Feedback, Receiver, ReceiverConfig};
use cast_proto::native::sender::Outgoing;
use cast_proto::native::wire::ClientNo;

use crate::Rng;

/// What a receiver is like.
#[derive(Clone, Debug)]
pub struct Station {
    /// When it joins, from the beginning.
    pub joins_at: Duration,
    /// When it dies.
    pub dies_at: Option<Duration>,
    /// Share of the datagrams to and from it that are lost, each by itself.
    pub loss: f64,
    /// It hears and says nothing from the first time for the second.
    pub outages: Vec<(Duration, Duration)>,
    /// For so long in each second it hears nothing, at a time of its own.
    pub hole: Duration,
    /// Frame bytes that its disk takes, in kB/s; `None`: any number.
    pub disk: Option<u32>,
    /// Bytes of its pool.
    pub pool_len: usize,
    /// Share of the datagrams to it that come up to 1 ms late, and so after others.
    pub late: f64,
    /// Share of the datagrams to it that come twice.
    pub twice: f64,
}

impl Default for Station {
    fn default() -> Self {
        Self {
            joins_at: Duration::ZERO,
            dies_at: None,
            loss: 0.0,
            outages: Vec::new(),
            hole: Duration::ZERO,
            disk: None,
            pool_len: 96 << 20,
            late: 0.0,
            twice: 0.0,
        }
    }
}

/// One that runs.
pub(super) struct Running {
    pub(super) client: ClientNo,
    pub(super) station: Station,
    pub(super) receiver: Receiver,
    table: Table,
    rng: Rng,
    /// Datagrams until the next one is lost.
    until_loss: u64,
    hole_at: Duration,
    /// Copies that are under way: late ones, and second ones.
    late: Vec<(Instant, Outgoing)>,
    /// Frames that are written, and when.
    writing: VecDeque<(Instant, ChunkId)>,
    disk_free: Instant,
    start: Instant,
    joined: Instant,
    pub(super) ended: Option<Instant>,
    /// Chunks that came in another way, as the sender did not send them any more.
    pub(super) by_unicast: usize,
    pub(super) timeout: Option<Instant>,
    pub(super) is_touched: bool,
}

impl Running {
    pub(super) fn new(
        now: Instant,
        start: Instant,
        client: ClientNo,
        station: Station,
        table: &Table,
        seed: u64,
    ) -> Self {
        let mut rng = Rng(seed ^ u64::from(client.0) << 32);
        let config = ReceiverConfig {
            table: table.clone(),
            sender: 0,
            pool_len: station.pool_len,
            link: 10,
            seed: rng.next_u64(),
        };
        let receiver = Receiver::new(config, now);
        let hole_at = Duration::from_secs(1).mul_f64(rng.unit());
        let mut running = Self {
            client,
            receiver,
            table: table.clone(),
            until_loss: 0,
            hole_at,
            late: Vec::new(),
            writing: VecDeque::new(),
            disk_free: now,
            start,
            joined: now,
            ended: None,
            by_unicast: 0,
            timeout: None,
            is_touched: true,
            rng,
            station,
        };
        running.until_loss = running.gap();
        running
    }

    /// How long it took from its own join.
    pub(super) fn own_time(&self) -> Option<Duration> {
        self.ended.map(|at| at - self.joined)
    }

    /// Whether a datagram gets through now.
    pub(super) fn gets(&mut self, now: Instant) -> bool {
        if self.until_loss == 0 {
            self.until_loss = self.gap();
            return false;
        }
        self.until_loss -= 1;
        self.is_connected(now)
    }

    fn is_connected(&self, now: Instant) -> bool {
        let at = now.saturating_duration_since(self.start);
        let out = |(from, len): &(Duration, Duration)| at >= *from && at < *from + *len;
        if self.station.outages.iter().any(out) {
            return false;
        }
        if self.station.hole.is_zero() {
            return true;
        }
        let second = Duration::from_nanos(u64::from((at + self.hole_at).subsec_nanos()));
        second >= self.station.hole
    }

    /// Datagrams until the next loss: geometrically distributed.
    fn gap(&mut self) -> u64 {
        if self.station.loss <= 0.0 {
            return u64::MAX;
        }
        let gap = (1.0 - self.rng.unit()).ln() / (1.0 - self.station.loss).ln();
        Duration::try_from_secs_f64(gap).map_or(u64::MAX, |gap| gap.as_secs())
    }

    /// A datagram that got through the common part of the network.
    pub(super) fn hear(&mut self, now: Instant, message: &Outgoing) {
        if !self.gets(now) {
            return;
        }
        self.is_touched = true;
        if self.station.late > 0.0 && self.rng.unit() < self.station.late {
            let after = Duration::from_millis(1).mul_f64(self.rng.unit());
            self.late.push((now + after, message.clone()));
            return;
        }
        if self.station.twice > 0.0 && self.rng.unit() < self.station.twice {
            let after = Duration::from_millis(1).mul_f64(self.rng.unit());
            self.late.push((now + after, message.clone()));
        }
        self.take_in(now, message);
    }

    fn take_in(&mut self, now: Instant, message: &Outgoing) {
        match message {
            Outgoing::Data(header) => {
                if self.receiver.wants(now, header) {
                    let _kept = self.receiver.handle_data(now, header);
                }
            }
            Outgoing::Beacon(beacon) => {
                self.receiver.handle_beacon(now, beacon);
            }
        }
    }

    /// What is due: late copies, writes, timers.
    pub(super) fn serve(&mut self, now: Instant) {
        let due: Vec<Outgoing> = self
            .late
            .extract_if(.., |(at, _)| *at <= now)
            .map(|(_, message)| message)
            .collect();
        for message in due {
            self.take_in(now, &message);
            self.is_touched = true;
        }
        while let Some((_, chunk)) = self.writing.pop_front_if(|(at, _)| *at <= now) {
            self.receiver.written(now, chunk);
            self.is_touched = true;
        }
        if self.receiver.poll_timeout().is_some_and(|at| at <= now) {
            self.receiver.handle_timeout(now);
            self.is_touched = true;
        }
    }

    /// Looks at what happened; what it says.
    pub(super) fn settle(&mut self, now: Instant) -> Vec<Feedback> {
        self.is_touched = false;
        while let Some(event) = self.receiver.poll_event() {
            match event {
                Event::Whole(chunk) => self.write(now, chunk),
                Event::AllWritten => {
                    self.ended = Some(now);
                    self.receiver.finish(now);
                    self.receiver.handle_timeout(now);
                }
                Event::NothingComes => {
                    let missing: Vec<ChunkId> = self.receiver.missing().collect();
                    self.by_unicast += missing.len();
                    for chunk in missing {
                        self.receiver.written(now, chunk);
                    }
                }
                _ => {}
            }
        }
        let said = std::iter::from_fn(|| self.receiver.poll_feedback()).collect();
        let late = self.late.iter().map(|(at, _)| *at).min();
        let written = self.writing.front().map(|(at, _)| *at);
        let times = [self.receiver.poll_timeout(), late, written];
        self.timeout = times.into_iter().flatten().min();
        said
    }

    fn write(&mut self, now: Instant, chunk: ChunkId) {
        self.receiver.frame_right(chunk, false);
        let Some(disk) = self.station.disk else {
            self.receiver.written(now, chunk);
            return;
        };
        let slot = self.table.slot(chunk).expect("a chunk of the table");
        let len = u64::from(self.table.frame_len(slot).get());
        let took = Duration::from_nanos(len * 1_000_000 / u64::from(disk));
        self.disk_free = self.disk_free.max(now) + took;
        self.writing.push_back((self.disk_free, chunk));
    }
}
