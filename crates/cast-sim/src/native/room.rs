//! A sender and its receivers on one network, without payload.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use cast_proto::native::geometry::{DATA_ON_CABLE, FrameLen, Table};
use cast_proto::native::receiver::Feedback;
use cast_proto::native::sender::{self, Epoch, Outgoing, RateLimits, Sender, SenderConfig, Start};
use cast_proto::native::wire::{ClientNo, EpochId, Tag};

use super::report::{End, Report};
use super::station::{Running, Station};
use crate::Rng;

/// 1 GbE, in kB/s.
pub const GIGABIT: u32 = 125_000;

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Room {
    /// All chance comes from it.
    pub seed: u64,
    /// Lengths of the frames.
    pub frames: Vec<FrameLen>,
    /// The receivers.
    pub stations: Vec<Station>,
    /// Speed of the link in kB/s.
    pub rate: u32,
    /// From one end to the other.
    pub delay: Duration,
    /// Share of the datagrams that nobody gets.
    pub common_loss: f64,
    /// The sender is killed at the first time, and another one begins after the second.
    pub restarts: Vec<(Duration, Duration)>,
    /// The policy's share of the clients.
    pub share: f64,
    /// Chunks in turn at most.
    pub interleave_max: usize,
}

impl Room {
    /// `chunks` chunks of `source_count` symbols each over 1 GbE, for receivers that are all alike.
    ///
    /// # Panics
    /// If no frame has so many symbols.
    #[must_use]
    pub fn new(chunks: usize, source_count: u16, stations: Vec<Station>) -> Self {
        let len = FrameLen::new(u32::from(source_count) * 1408).expect("1 to 3072 symbols");
        Self {
            seed: 1,
            frames: vec![len; chunks],
            stations,
            rate: GIGABIT,
            delay: Duration::from_micros(500),
            common_loss: 0.0,
            restarts: Vec::new(),
            share: 0.9,
            interleave_max: 4,
        }
    }

    /// How long every source symbol takes once, at the rate of the link.
    #[must_use]
    pub fn ideal(&self) -> Duration {
        let symbols = Table::new(Vec::new(), self.frames.clone()).source_symbols();
        Duration::from_nanos(symbols * DATA_ON_CABLE * 1_000_000 / u64::from(self.rate))
    }

    /// Runs until all receivers have everything and the sender has closed the session.
    ///
    /// # Panics
    /// If nothing happens any more while a receiver misses something, or virtual time passes 24 hours.
    #[must_use]
    pub fn run(&self) -> Report {
        let mut run = Run::new(self);
        while run.step() {}
        run.report()
    }
}

struct Run<'a> {
    room: &'a Room,
    table: Table,
    rng: Rng,
    start: Instant,
    now: Instant,
    sender: Option<Sender>,
    lives: u8,
    former: sender::Counts,
    /// When the sender dies and begins again.
    restarts: VecDeque<(Instant, Instant)>,
    waiting: Vec<(Instant, ClientNo, Station)>,
    running: Vec<Running>,
    dead: Vec<(ClientNo, End)>,
    to_group: VecDeque<(Instant, Outgoing)>,
    to_sender: VecDeque<(Instant, ClientNo, Feedback)>,
    feedback: u64,
    feedback_seconds: BTreeMap<u64, u64>,
    control_bytes: u64,
    data_bytes: u64,
    closed_at: Option<Duration>,
}

/// Head, tag and cable of NEED and STATUS, and of a BEACON with its signature.
const FEEDBACK_ON_CABLE: u64 = 16 + 16 + 66;
const BEACON_ON_CABLE: u64 = 20 + 64 + 16 + 66;

impl<'a> Run<'a> {
    fn new(room: &'a Room) -> Self {
        let start = crate::epoch();
        let table = Table::new(Vec::new(), room.frames.clone());
        let waiting = room.stations.iter().zip(0..);
        let waiting = waiting
            .map(|(station, no)| (start + station.joins_at, ClientNo(no), station.clone()))
            .collect();
        let restarts = room.restarts.iter();
        let restarts = restarts
            .map(|(at, down)| (start + *at, start + *at + *down))
            .collect();
        let mut run = Self {
            room,
            table,
            rng: Rng(room.seed),
            start,
            now: start,
            sender: None,
            lives: 0,
            former: sender::Counts::default(),
            restarts,
            waiting,
            running: Vec::new(),
            dead: Vec::new(),
            to_group: VecDeque::new(),
            to_sender: VecDeque::new(),
            feedback: 0,
            feedback_seconds: BTreeMap::new(),
            control_bytes: 0,
            data_bytes: 0,
            closed_at: None,
        };
        run.begin_sender();
        run
    }

    fn begin_sender(&mut self) {
        self.lives += 1;
        let at_once = self.room.stations.iter();
        let expected = at_once.filter(|one| one.joins_at.is_zero()).count().max(1);
        let config = SenderConfig {
            table: self.table.clone(),
            sender: 0,
            tag: Tag([0; 4]),
            epoch: Epoch {
                id: EpochId(u64::from(self.lives)),
                salt: [self.lives; 16],
                byte: self.lives,
            },
            start: if self.lives == 1 {
                Start::Gather {
                    expected,
                    gather: Duration::from_secs(5),
                }
            } else {
                Start::Again
            },
            limits: RateLimits {
                max: self.room.rate,
                is_known: true,
            },
            share: self.room.share,
            round_trip: self.room.delay * 2,
            interleave_max: self.room.interleave_max,
            session_age: self.now - self.start,
            seed: self.rng.next_u64(),
        };
        let mut sender = Sender::new(config, self.now);
        for running in &self.running {
            sender.join_again(self.now, running.client);
        }
        self.sender = Some(sender);
    }

    /// To the next moment at which something happens. False at the end.
    fn step(&mut self) -> bool {
        let is_closed = self.sender.as_ref().is_some_and(Sender::is_closed);
        let is_done = self.waiting.is_empty()
            && (self.running.iter()).all(|one| one.ended.is_some() && one.receiver.is_finished());
        if is_done && (is_closed || self.running.is_empty()) {
            self.closed_at = Some(self.now - self.start);
            return false;
        }
        let Some(next) = self.next() else {
            panic!("seed {}: nothing happens any more", self.room.seed);
        };
        self.now = self.now.max(next);
        let age = self.now - self.start;
        assert!(age < Duration::from_secs(86_400), "seed {}", self.room.seed);
        self.come_and_go();
        self.arrive();
        let now = self.now;
        for running in &mut self.running {
            if running.timeout.is_some_and(|at| at <= now) {
                running.serve(now);
            }
        }
        self.serve_sender();
        self.settle();
        true
    }

    fn next(&self) -> Option<Instant> {
        let receivers = self.running.iter().filter_map(|one| one.timeout).min();
        let dies = |one: &Running| one.station.dies_at.map(|at| self.start + at);
        let deaths = self.running.iter().filter_map(dies).min();
        let restart = self.restarts.front().map(|(dies, begins)| {
            if self.sender.is_some() {
                *dies
            } else {
                *begins
            }
        });
        let times = [
            self.sender.as_ref().and_then(Sender::poll_timeout),
            receivers,
            deaths,
            restart,
            self.to_group.front().map(|(at, _)| *at),
            self.to_sender.front().map(|(at, ..)| *at),
            // Nobody can join while there is no sender.
            (self.waiting.iter().map(|(at, ..)| *at).min()).filter(|_| self.sender.is_some()),
        ];
        times.into_iter().flatten().min()
    }

    fn come_and_go(&mut self) {
        let now = self.now;
        if let Some((dies, begins)) = self.restarts.front().copied() {
            if dies <= now
                && let Some(sender) = self.sender.take()
            {
                add(&mut self.former, sender.counts());
            }
            if begins <= now && self.sender.is_none() {
                self.restarts.pop_front();
                self.begin_sender();
            }
        }
        if self.sender.is_some() {
            let joins: Vec<_> = self.waiting.extract_if(.., |(at, ..)| *at <= now).collect();
            for (_, client, station) in joins {
                let running = Running::new(
                    now,
                    self.start,
                    client,
                    station,
                    &self.table,
                    self.room.seed,
                );
                self.running.push(running);
                if let Some(sender) = &mut self.sender {
                    assert!(sender.join(now, client));
                }
            }
        }
        let start = self.start;
        let dies = |one: &mut Running| {
            let at = one.station.dies_at.map(|at| start + at);
            at.is_some_and(|at| at <= now)
        };
        for gone in self.running.extract_if(.., dies) {
            let end = End {
                own_time: None,
                at: None,
                by_unicast: gone.by_unicast,
                counts: gone.receiver.counts(),
            };
            self.dead.push((gone.client, end));
        }
    }

    fn arrive(&mut self) {
        let now = self.now;
        while let Some((_, message)) = self.to_group.pop_front_if(|(at, _)| *at <= now) {
            if self.room.common_loss > 0.0 && self.rng.unit() < self.room.common_loss {
                continue;
            }
            for running in &mut self.running {
                running.hear(now, &message);
            }
        }
        while let Some((_, client, feedback)) = self.to_sender.pop_front_if(|(at, ..)| *at <= now) {
            match (&mut self.sender, feedback) {
                (Some(sender), Feedback::Need(need)) => sender.handle_need(now, client, &need),
                (Some(sender), Feedback::Status(status)) => {
                    sender.handle_status(now, client, &status);
                }
                (None, _) => {}
            }
        }
    }

    fn serve_sender(&mut self) {
        let now = self.now;
        let Some(sender) = &mut self.sender else {
            return;
        };
        if sender.poll_timeout().is_some_and(|at| at <= now) {
            sender.handle_timeout(now);
        }
        loop {
            while let Some(request) = sender.poll_frame() {
                sender.handle_frame(request);
            }
            let Some(message) = sender.poll_message(now) else {
                // What is wanted only now is there at once.
                match sender.poll_frame() {
                    Some(request) => sender.handle_frame(request),
                    None => break,
                }
                continue;
            };
            match &message {
                Outgoing::Data(_) => self.data_bytes += DATA_ON_CABLE,
                Outgoing::Beacon(beacon) => {
                    let mut body = Vec::new();
                    beacon.emit(&mut body);
                    self.control_bytes += BEACON_ON_CABLE + body.len() as u64;
                }
            }
            self.to_group.push_back((now + self.room.delay, message));
        }
    }

    fn settle(&mut self) {
        let now = self.now;
        for running in &mut self.running {
            if !running.is_touched {
                continue;
            }
            for feedback in running.settle(now) {
                if let Feedback::Need(need) = &feedback {
                    let mut body = Vec::new();
                    need.emit(&mut body);
                    self.control_bytes += FEEDBACK_ON_CABLE + body.len() as u64;
                    self.feedback += 1;
                    let second = (now - self.start).as_secs();
                    *self.feedback_seconds.entry(second).or_default() += 1;
                }
                if running.gets(now) {
                    self.to_sender
                        .push_back((now + self.room.delay, running.client, feedback));
                }
            }
        }
    }

    fn report(mut self) -> Report {
        if let Some(sender) = &self.sender {
            add(&mut self.former, sender.counts());
        }
        let mut ends: BTreeMap<ClientNo, End> = self.dead.into_iter().collect();
        for running in &self.running {
            let end = End {
                own_time: running.own_time(),
                at: running.ended.map(|at| at - self.start),
                by_unicast: running.by_unicast,
                counts: running.receiver.counts(),
            };
            ends.insert(running.client, end);
        }
        let source_symbols = self.table.source_symbols();
        Report {
            ideal: self.room.ideal(),
            source_symbols,
            sender: self.former,
            ends: ends.into_values().collect(),
            feedback: self.feedback,
            feedback_peak: self.feedback_seconds.values().copied().max().unwrap_or(0),
            control_bytes: self.control_bytes,
            data_bytes: self.data_bytes,
            closed_at: self.closed_at,
        }
    }
}

fn add(sum: &mut sender::Counts, counts: sender::Counts) {
    sum.symbols += counts.symbols;
    sum.repair += counts.repair;
    sum.instances += counts.instances;
    sum.beacons += counts.beacons;
    sum.needs += counts.needs;
    sum.lacks += counts.lacks;
    sum.deferred += counts.deferred;
    sum.polluted += counts.polluted;
}
