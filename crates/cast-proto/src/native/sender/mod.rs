//! A sender (8, 9): what is sent when, for whatever number of receivers.
//!
//! It knows of symbols only their numbers. Whoever runs it holds the frames: [`Sender::poll_frame`] says which one is
//! wanted soon, [`Sender::handle_frame`] that it is there. [`endpoint`](super::endpoint) does that with
//! sealed datagrams; the simulator can leave the bytes out.

mod burst;
mod clients;
mod frames;
mod pacer;
mod parity;
mod plan;
mod purse;
mod rate;
mod repair;
mod state;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use super::chance::Chance;
use super::geometry::{CABLE_OVERHEAD, ChunkId, DATA_ON_CABLE, K_MAX, Slot, Table};
use super::units::{frame_rate, millis, round_u16};
use super::wire::{
    Beacon, BeaconFlags, ClientNo, DataHeader, EpochId, Lacks, Need, NeedBody, Plan as ShownPlan,
    SenderState, Status, Tag,
};
use crate::timers::{TimerKind, TimerTable};
use burst::{Burst, RepairCounter, Turns};
pub use clients::CLIENTS_MAX;
use clients::Clients;
pub use frames::FrameRequest;
use frames::Frames;
use pacer::Pacer;
use parity::Parity;
use plan::{Kappa, Plan};
use purse::Purse;
use rate::RateControl;
pub use rate::RateLimits;
use repair::{Answer, Means, Repairs};

/// What a sender has to know.
#[derive(Clone, Debug)]
pub struct SenderConfig {
    /// Parts of the manifest that go by multicast, and all chunks.
    pub table: Table,
    /// Which sender of the session.
    pub sender: u8,
    /// Of its datagrams.
    pub tag: Tag,
    /// Its life.
    pub epoch: Epoch,
    /// When it begins.
    pub start: Start,
    /// Of the rate.
    pub limits: RateLimits,
    /// The share of the clients that the rate must suit: 0.9 for policy `most`, 1.0 for `all`, 0.5 for `fast` (9.1).
    pub share: f64,
    /// The round trip, of which T depends: the greatest that clients measured at join.
    pub round_trip: Duration,
    /// Chunks in turn at most: a fifth of the frames that the pool of nine in ten clients holds, and 16 (8.6).
    pub interleave_max: usize,
    /// How long ago the session began.
    pub session_age: Duration,
    /// Spreads the first repair symbols.
    pub seed: u64,
}

/// One life of a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Greater than any before.
    pub id: EpochId,
    /// Random.
    pub salt: [u8; 16],
    /// Differs from that of the epoch before: it counts up (5.2).
    pub byte: u8,
}

/// When sending begins (8.1, 8.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// When so many clients have joined, or `gather` after the first one.
    Gather {
        /// Clients that are expected.
        expected: usize,
        /// How long others are waited for.
        gather: Duration,
    },
    /// At once, and with nothing planned: the sender was away, and clients say what they lack.
    Again,
}

/// A datagram that is to be sent to the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A symbol. Its frame is there.
    Data(DataHeader),
    /// The state.
    Beacon(Box<Beacon>),
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Symbols that were sent.
    pub symbols: u64,
    /// Of them, those of bursts of repair.
    pub repair: u64,
    /// Instances that were sent.
    pub instances: u64,
    /// Beacons that were sent.
    pub beacons: u64,
    /// NEEDs that were taken in.
    pub needs: u64,
    /// LACKs that were taken in.
    pub lacks: u64,
    /// Needs that were deferred.
    pub deferred: u64,
    /// Chunks that receivers reported as wrong.
    pub polluted: u64,
}

/// Timers of a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// The next beacon.
    Beacon,
    /// An epoch of the rate control.
    Rate,
    /// The state may change.
    State,
}

impl TimerKind for Timer {
    const ALL: &'static [Self] = &[Self::State, Self::Rate, Self::Beacon];

    fn index(self) -> usize {
        self as usize
    }
}

/// What is known of each chunk in this epoch.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    last_burst: Option<u8>,
    class: u8,
    repair: RepairCounter,
    last_instance: Option<Instant>,
}

/// One sender.
#[derive(Debug)]
pub struct Sender {
    config: SenderConfig,
    state: SenderState,
    entries: Vec<Entry>,
    plan: Plan,
    repairs: Repairs,
    parity: Parity,
    turns: Turns,
    interleave: usize,
    /// Since when losses are, or are not, wider than chance makes them (8.6).
    wide: (bool, Instant),
    frames: Frames,
    clients: Clients,
    common: Purse,
    cap: u16,
    /// When so much had been sent that reports of peaks count.
    learnt_at: Option<Instant>,
    is_cap_learnt: bool,
    rate: RateControl,
    pacer: Pacer,
    /// Something is to be sent, but not before then.
    blocked_until: Option<Instant>,
    next_seq: u32,
    beacon_counter: u32,
    last_beacon: Option<Instant>,
    /// Where the next PLAN begins to show.
    plan_from: u32,
    /// Beacons that are still to come in state Ended.
    last_words: u8,
    last_wanted: Instant,
    counts: Counts,
    chance: Chance,
    timers: TimerTable<Timer, 3>,
    start: Instant,
}

/// The greatest K that there can be of what the table has, for purses and for cap while nothing is known.
fn greatest_source_count(table: &Table) -> u16 {
    let counts = table
        .slots()
        .map(|slot| table.frame_len(slot).source_count());
    counts.max().unwrap_or(1).min(K_MAX)
}

/// T is at least this (2.2).
const WINDOW_MIN: Duration = Duration::from_millis(30);

/// Least distance of two beacons (2.2).
const GAP: Duration = Duration::from_millis(5);

/// Parts of the manifest are sent again at most so often (8.1).
const PARTS_AGAIN: Duration = Duration::from_secs(2);

/// Cap is a guess for so many chunks (8.5).
const CAP_LEARNT_AFTER: u64 = 8;

/// The last chunks of a plan have more repair in advance, as a round trip costs more there (8.2).
const LAST_CHUNKS: usize = 4;

/// No DATA has this number or a greater one: a new epoch begins before (5.2).
const SEQ_END: u32 = u32::MAX;

/// From here on a new epoch is asked for.
const SEQ_OLD: u32 = 0xf000_0000;

impl Sender {
    /// One that begins to send beacons.
    #[must_use]
    pub fn new(config: SenderConfig, now: Instant) -> Self {
        let is_again = config.start == Start::Again;
        let rate = RateControl::new(config.limits);
        let source_count = greatest_source_count(&config.table);
        let mut timers = TimerTable::default();
        timers.set(Timer::Beacon, now);
        timers.set(Timer::Rate, now + rate::EPOCH);
        let mut sender = Self {
            state: if is_again {
                SenderState::Draining
            } else {
                SenderState::Gathering
            },
            entries: Vec::new(),
            plan: Plan::new(&config.table, !is_again),
            repairs: Repairs::default(),
            parity: Parity::default(),
            turns: Turns::default(),
            interleave: 1,
            wide: (false, now),
            frames: Frames::default(),
            clients: Clients::default(),
            common: Purse::common(source_count, 0),
            cap: source_count / 6,
            learnt_at: None,
            is_cap_learnt: false,
            pacer: Pacer::new(now, rate.rate(None)),
            rate,
            blocked_until: None,
            next_seq: 0,
            beacon_counter: 0,
            last_beacon: None,
            plan_from: 0,
            last_words: 0,
            last_wanted: now,
            counts: Counts::default(),
            chance: Chance::new(config.seed),
            timers,
            start: now,
            config,
        };
        sender.reset_entries();
        if is_again {
            sender.timers.set(Timer::State, now + sender.quiet());
        }
        sender
    }

    /// A client joined (13.2). Whether there is room for it.
    pub fn join(&mut self, now: Instant, client: ClientNo) -> bool {
        let sent = self.counts.symbols;
        let purse = Purse::of_client(greatest_source_count(&self.config.table), sent);
        if !self.clients.join(now, client, purse, sent) {
            return false;
        }
        self.on_join(now);
        true
    }

    /// A client that was there before a restart: nothing begins because of it.
    pub fn join_again(&mut self, now: Instant, client: ClientNo) -> bool {
        let purse = Purse::of_client(greatest_source_count(&self.config.table), 0);
        self.clients.join(now, client, purse, 0)
    }

    /// Takes in a NEED of a client whose key opened it. Unknown clients, and those that speak too often, are not heard.
    pub fn handle_need(&mut self, now: Instant, client: ClientNo, body: &NeedBody) {
        if self.clients.heard(now, client).is_none() {
            return;
        }
        self.counts.polluted += body.polluted.len() as u64;
        for need in &body.needs {
            self.on_need(now, client, *need);
        }
        for lacks in &body.lacks {
            self.on_lacks(now, client, lacks);
        }
    }

    /// Takes in a STATUS of a client whose key opened it.
    pub fn handle_status(&mut self, now: Instant, client: ClientNo, status: &Status) {
        if let Some(known) = self.clients.heard(now, client) {
            known.on_status(now, status);
            if status.flags.is_done {
                self.check_end(now);
            }
        }
    }

    /// The frame of a [`FrameRequest`] is there, with its repair symbols if they were asked for.
    pub fn handle_frame(&mut self, request: FrameRequest) {
        if let Some(slot) = self.config.table.slot(request.chunk) {
            self.frames.arrived(slot, request.with_repair);
        }
    }

    /// The next frame that is wanted soon. Its hash has to be checked before it is handed in (6.3).
    pub fn poll_frame(&mut self) -> Option<FrameRequest> {
        self.frames.poll(&self.config.table)
    }

    /// Whether the bytes of a frame are still of use.
    #[must_use]
    pub fn uses_frame(&self, chunk: ChunkId) -> bool {
        let slot = self.config.table.slot(chunk);
        slot.is_some_and(|slot| self.frames.uses(slot))
    }

    /// Serves the timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let lessons = self.repairs.tick(now, self.close());
        for lesson in lessons {
            let source_count = self.config.table.frame_len(lesson.slot).source_count();
            let need = lesson.first_need;
            self.parity
                .learn(source_count, lesson.beyond, lesson.advance, need);
        }
        for timer in [Timer::State, Timer::Rate] {
            if self.timers.get(timer).is_some_and(|at| at <= now) {
                self.timers.stop(timer);
                match timer {
                    Timer::State => self.on_state_timer(now),
                    Timer::Rate => self.on_rate_timer(now),
                    Timer::Beacon => {}
                }
            }
        }
        self.check_drained(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) and [`poll_message`](Self::poll_message). Ask after the latter
    /// has returned `None`.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_closed() {
            return None;
        }
        let repairs = self.repairs.next_tick(self.close());
        let times = [self.timers.next(), repairs, self.blocked_until];
        times.into_iter().flatten().min()
    }

    /// The next datagram to the group, if it may leave now.
    pub fn poll_message(&mut self, now: Instant) -> Option<Outgoing> {
        self.blocked_until = None;
        if self.is_closed() {
            return None;
        }
        if let Some(beacon) = self.due_beacon(now) {
            return Some(beacon);
        }
        if self.state != SenderState::Sending {
            return None;
        }
        self.fill_turns(now);
        if self.turns.is_empty() || self.next_seq == SEQ_END {
            // If that was the end, it is said at once.
            self.check_drained(now);
            return self.due_beacon(now);
        }
        if let Some(at) = self.pacer.wait_until(now) {
            self.blocked_until = Some(at);
            return None;
        }
        self.next_data(now).map(Outgoing::Data)
    }

    /// Whether the session is over and everything was said.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == SenderState::Ended && self.last_words == 0
    }

    /// What it does.
    #[must_use]
    pub fn state(&self) -> SenderState {
        self.state
    }

    /// Whether the numbers of DATA run out: [`begin_epoch`](Self::begin_epoch) has to be called before they do.
    #[must_use]
    pub fn needs_epoch(&self) -> bool {
        self.next_seq >= SEQ_OLD
    }

    /// Begins another epoch, with another key of DATA: numbers of DATA and bursts begin again (5.2, 8.8).
    ///
    /// # Panics
    /// If its id is not greater than the last, or its byte is the same.
    pub fn begin_epoch(&mut self, now: Instant, epoch: Epoch) {
        let last = self.config.epoch;
        assert!(
            epoch.id > last.id && epoch.byte != last.byte,
            "a later epoch"
        );
        self.config.epoch = epoch;
        while let Some(burst) = self.turns.take() {
            self.plan.add(burst.slot, Kappa::Anybody);
        }
        self.repairs.clear();
        self.next_seq = 0;
        self.beacon_counter = 0;
        self.reset_entries();
        self.timers.set(Timer::Beacon, now);
    }

    /// All that can be sent.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.config.table
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// R in kB/s of the cable.
    #[must_use]
    pub fn current_rate(&self, now: Instant) -> u32 {
        self.rate.rate(self.clients.greatest_drain(now))
    }

    /// Other limits of the rate, as other clients joined or left.
    pub fn set_limits(&mut self, limits: RateLimits) {
        self.rate.set_limits(limits);
    }

    fn reset_entries(&mut self) {
        let table = &self.config.table;
        self.entries.clear();
        for slot in table.slots() {
            let repair = u64::from(table.frame_len(slot).repair_count());
            let start = u16::try_from(self.chance.next_u64() % repair).unwrap_or(0);
            self.entries.push(Entry {
                repair: RepairCounter::new(start),
                ..Entry::default()
            });
        }
    }

    fn on_need(&mut self, now: Instant, client: ClientNo, need: Need) {
        let Some(slot) = self.config.table.slot(need.chunk) else {
            return;
        };
        let source_count = self.config.table.frame_len(slot).source_count();
        if need.need > source_count {
            return;
        }
        self.counts.needs += 1;
        let last = self.entries.get(slot.0).and_then(|entry| entry.last_burst);
        let times = (hold(self.config.round_trip), self.stale());
        let sent = self.counts.symbols;
        let Some(known) = self.clients.known(client) else {
            return;
        };
        known.wants_more();
        let own = &mut known.purse;
        let common = &mut self.common;
        let means = Means {
            cap: self.cap,
            held: own.held(sent).min(common.held(sent)),
            pay: &mut |due| {
                own.pay(due);
                common.pay(due);
            },
        };
        let what = (need.burst, need.need);
        match self.repairs.on_need(now, slot, what, last, times, means) {
            Answer::Dropped | Answer::Known => return,
            Answer::Heard => {}
            Answer::Deferred => {
                self.counts.deferred += 1;
                let half = frame_rate(self.current_rate(now)) / 2;
                self.plan.add(slot, Kappa::Slower(half));
            }
        }
        self.on_wanted(now);
    }

    fn on_lacks(&mut self, now: Instant, client: ClientNo, lacks: &Lacks) {
        let image = self.config.table.source_symbols();
        let sent = self.counts.symbols;
        let Some(known) = self.clients.known(client) else {
            return;
        };
        known.wants_more();
        if !known.is_served(sent, image) {
            return;
        }
        self.counts.lacks += 1;
        let kappa = Kappa::of(lacks.drain);
        let table = &self.config.table;
        let mut is_any = false;
        for run in lacks.chunks.as_slice() {
            for slot in table.slots_of(run.first, run.end()) {
                let last = self
                    .entries
                    .get(slot.0)
                    .and_then(|entry| entry.last_instance);
                let is_early = last.is_some_and(|last| now < last + PARTS_AGAIN);
                if !(table.is_part(slot) && is_early) {
                    self.plan.add(slot, kappa);
                    is_any = true;
                }
            }
        }
        if is_any {
            self.on_wanted(now);
        }
    }

    /// Fills the turns: repairs first, then what is planned. Asks for the frames of what follows.
    fn fill_turns(&mut self, now: Instant) {
        if self.turns.len() >= self.interleave {
            return;
        }
        loop {
            let repair = self.repairs.next_queued();
            let planned = self.plan.next(|slot| !self.turns.contains(slot));
            let advance = planned.map(|slot| self.advance(slot));
            self.frames.want(
                self.turns.slots(),
                repair,
                planned.map(|slot| (slot, advance.is_some_and(|count| count > 0))),
            );
            if self.turns.len() >= self.interleave {
                return;
            }
            if let Some(slot) = repair.filter(|slot| self.frames.is_ready(*slot, true)) {
                self.begin_repair(now, slot);
            } else if let (Some(slot), Some(advance)) = (planned, advance)
                && self.frames.is_ready(slot, advance > 0)
            {
                self.begin_instance(now, slot, advance);
            } else {
                return;
            }
        }
    }

    fn advance(&self, slot: Slot) -> u16 {
        let source_count = self.config.table.frame_len(slot).source_count();
        let advance = self.parity.advance(source_count, self.cap);
        if self.plan.len() <= LAST_CHUNKS {
            advance + advance / 3 + 4
        } else {
            advance
        }
    }

    fn begin_instance(&mut self, now: Instant, slot: Slot, advance: u16) {
        let class = self.plan.begin_instance();
        let rate = self.current_rate(now);
        let clients = &self.clients;
        // What is lacked from now on is lacked in spite of this instance.
        self.plan.sent(slot, class, frame_rate(rate), |class| {
            clients.is_lacked(now, class, rate)
        });
        let len = self.config.table.frame_len(slot);
        let Some(entry) = self.entries.get_mut(slot.0) else {
            return;
        };
        let number = next_burst(entry.last_burst);
        entry.last_burst = Some(number);
        entry.class = class;
        entry.last_instance = Some(now);
        self.repairs.begin_instance(now, slot, number, advance);
        self.turns
            .push(Burst::instance(slot, len, number, class, advance));
        self.counts.instances += 1;
        if self.counts.instances > CAP_LEARNT_AFTER && self.learnt_at.is_none() {
            self.learnt_at = Some(now);
        }
    }

    fn begin_repair(&mut self, now: Instant, slot: Slot) {
        let loss = self.clients.loss(now, self.config.share).unwrap_or(0.0);
        let Some(entry) = self.entries.get_mut(slot.0) else {
            return;
        };
        let number = next_burst(entry.last_burst);
        entry.last_burst = Some(number);
        let is_plan_empty = self.plan.is_empty();
        if let Some(count) = self.repairs.begin_repair(slot, number, loss, is_plan_empty) {
            let len = self.config.table.frame_len(slot);
            self.turns
                .push(Burst::repair(slot, len, number, entry.class, count));
        }
    }

    fn next_data(&mut self, now: Instant) -> Option<DataHeader> {
        let mut burst = self.turns.take()?;
        let len = self.config.table.frame_len(burst.slot);
        let entry = self.entries.get_mut(burst.slot.0)?;
        let symbol = burst.next_symbol(len, &mut entry.repair)?;
        let header = DataHeader {
            epoch: self.config.epoch.byte,
            class: burst.class,
            is_sealed: false,
            burst: burst.number,
            tag: self.config.tag,
            seq: self.next_seq,
            chunk: self.config.table.id(burst.slot),
            symbol,
            left: burst.left,
        };
        self.next_seq += 1;
        self.counts.symbols += 1;
        self.counts.repair += u64::from(!burst.is_instance);
        self.pacer.sent(DATA_ON_CABLE);
        if burst.left == 0 {
            self.repairs.end_burst(now, burst.slot);
        } else {
            self.turns.push(burst);
        }
        Some(header)
    }

    fn due_beacon(&mut self, now: Instant) -> Option<Outgoing> {
        let is_due = self.timers.get(Timer::Beacon).is_some_and(|at| at <= now);
        is_due.then(|| Outgoing::Beacon(Box::new(self.beacon(now))))
    }

    fn beacon(&mut self, now: Instant) -> Beacon {
        self.last_beacon = Some(now);
        self.beacon_counter += 1;
        self.counts.beacons += 1;
        self.schedule_beacon(now);
        if !self.is_cap_learnt {
            self.learn_cap(now);
        }
        let table = &self.config.table;
        let announced = self.repairs.announced(now, table);
        let ended = self.repairs.ended(now, table);
        let rate = self.current_rate(now);
        let clients = self.clients.len();
        // At most 0.03 % of the cable (15.1): bytes over kB/s are milliseconds.
        let interval = clients as u64 * 150 * 10_000 / 3 / u64::from(rate);
        let beacon = Beacon {
            epoch: self.config.epoch.id,
            counter: self.beacon_counter,
            sender: self.config.sender,
            state: self.state,
            flags: BeaconFlags {
                is_sealed: false,
                asks: self.state == SenderState::Draining,
                is_near_end: self.state == SenderState::Sending && self.plan.len() <= LAST_CHUNKS,
            },
            salt: self.config.epoch.salt,
            next_seq: self.next_seq,
            rate,
            unfinished: count_u32(self.clients.unfinished(now).count()),
            clients: count_u32(clients),
            window_ms: u16::try_from(self.window().as_millis()).unwrap_or(u16::MAX),
            usual_need: self.parity.usual_need(),
            cap: self.cap,
            status_interval: u16::try_from((interval / 100).max(10)).unwrap_or(u16::MAX),
            session_ms: millis(now.saturating_duration_since(self.start) + self.config.session_age),
            planned: count_u32(self.plan.len()),
            plan: Some(self.shown_plan(announced.len(), ended.len())),
            announced,
            ended,
            text: None,
            senders: Vec::new(),
            is_beyond_us: false,
        };
        self.pacer.sent(BEACON_ON_CABLE + CABLE_OVERHEAD);
        beacon
    }

    /// The part of the plan that the next beacon shows; the next beacon goes on where it ends.
    fn shown_plan(&mut self, announced: usize, ended: usize) -> ShownPlan {
        let table = &self.config.table;
        let room = Beacon::room_for_plan(announced, ended);
        let chunks = table.chunk_count();
        let parts = table.part_count();
        let from = self.plan_from;
        let is_of_parts = ChunkId::from_wire(from).is_part();
        let end = if is_of_parts {
            u64::from(ChunkId::part(0).to_wire()) + parts as u64
        } else {
            chunks as u64
        };
        let planned = self.plan.iter().filter_map(|(slot, priority)| {
            let number = table.id(slot).to_wire();
            (table.is_part(slot) == is_of_parts && number >= from).then_some((number, priority))
        });
        let shown = ShownPlan::of(from, end, planned, room);
        self.plan_from = match (shown.end() >= end, is_of_parts) {
            (false, _) => u32::try_from(shown.end()).unwrap_or(0),
            (true, false) if parts > 0 => ChunkId::part(0).to_wire(),
            (true, _) => 0,
        };
        shown
    }

    fn on_rate_timer(&mut self, now: Instant) {
        self.timers.set(Timer::Rate, now + rate::EPOCH);
        let loss = self.clients.loss(now, self.config.share);
        if self.state == SenderState::Sending {
            self.rate.on_epoch(now, loss);
        }
        let rate = self.current_rate(now);
        self.pacer.set_rate(now, rate);
        self.learn_cap(now);
        let source_count = greatest_source_count(&self.config.table);
        self.adapt_interleave(now, source_count, loss.unwrap_or(0.0));
    }

    /// Repair that all pay for: 1.25 times what is usually lost, and 8, once that is known (8.5).
    fn learn_cap(&mut self, now: Instant) {
        let since = self.learnt_at;
        let peak = since.and_then(|since| self.clients.usual_peak(now, since));
        if let Some(peak) = peak {
            self.cap = round_u16(1.25 * f64::from(peak)).saturating_add(8);
            self.is_cap_learnt = true;
        }
    }

    /// Sends more chunks in turn while losses come in holes (8.6).
    fn adapt_interleave(&mut self, now: Instant, source_count: u16, loss: f64) {
        let mean = f64::from(source_count) * loss;
        // The normal distribution's 99.9 % value.
        let usual = mean + 3.09 * (mean * (1.0 - loss)).sqrt() + 2.0;
        let is_wide = f64::from(self.cap) > 3.0 * usual.max(8.0);
        let (was_wide, since) = self.wide;
        if is_wide != was_wide || self.learnt_at.is_none() {
            self.wide = (is_wide, now);
            return;
        }
        let (after, changed) = if is_wide {
            (WIDE_FOR, self.interleave * 2)
        } else {
            (NARROW_FOR, self.interleave / 2)
        };
        if now >= since + after {
            self.interleave = changed.clamp(1, self.config.interleave_max.clamp(1, 16));
            self.wide = (is_wide, now);
        }
    }

    /// T.
    fn window(&self) -> Duration {
        window(self.config.round_trip)
    }

    /// When a chunk for which nothing comes teaches what it needed.
    fn close(&self) -> Duration {
        self.window() * 5 / 2 + self.config.round_trip * 2
    }

    /// When a receiver that still speaks of an older burst has lost all that would have told it.
    fn stale(&self) -> Duration {
        self.window() * 2 + self.config.round_trip * 2
    }
}

const WIDE_FOR: Duration = Duration::from_secs(5);
const NARROW_FOR: Duration = Duration::from_secs(30);

/// A usual beacon, for pacing.
const BEACON_ON_CABLE: u64 = 300;

/// T: max(30 ms, 12 round trips) (2.2).
fn window(round_trip: Duration) -> Duration {
    WINDOW_MIN.max(round_trip * 12)
}

/// HOLD: 0.4 T (2.2).
fn hold(round_trip: Duration) -> Duration {
    window(round_trip) * 2 / 5
}

/// Bursts of a chunk count from 0 and wrap.
fn next_burst(last: Option<u8>) -> u8 {
    last.map_or(0, |last| last.wrapping_add(1))
}

fn count_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
