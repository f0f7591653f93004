//! A receiver (7): which symbols it takes, what it asks for and when.
//!
//! It knows of symbols only their numbers. Whoever runs it holds the bytes, and says when a frame was found right and
//! when it is written. [`endpoint`](super::endpoint) does that with sealed datagrams; the simulator can leave
//! the bytes out.

mod ask;
mod chunk;
mod collect;
mod drain;
mod lacks;
mod loss;
mod status;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::chance::Chance;
use super::geometry::{ChunkId, FrameLen, Slot, Table};
use super::units::millis;
use super::wire::{Announcement, Beacon, EpochId, NeedBody, Plan, Priority, SenderState, Status};
use crate::timers::{TimerKind, TimerTable};
use chunk::{Entry, Progress};
pub use collect::Taken;
use drain::Drain;
use loss::LossMeter;

/// What a receiver has to know.
#[derive(Clone, Debug)]
pub struct ReceiverConfig {
    /// Parts of the manifest, and the chunks if the manifest is there already.
    pub table: Table,
    /// Which sender of the session it listens to.
    pub sender: u8,
    /// Bytes for frames that are in part, or whole and not written yet.
    pub pool_len: usize,
    /// Speed of the link in 100 Mb/s, for STATUS.
    pub link: u8,
    /// Spreads timers.
    pub seed: u64,
}

/// What a receiver says to its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Feedback {
    /// NEED.
    Need(NeedBody),
    /// STATUS.
    Status(Status),
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// There are K symbols of a chunk: decode, compare the hash, and call [`Receiver::frame_right`] or
    /// [`Receiver::frame_wrong`].
    Whole(ChunkId),
    /// The symbols of a chunk are of no more use.
    Dropped(ChunkId),
    /// Every chunk is written. Sync, read back, and call [`Receiver::finish`].
    AllWritten,
    /// No beacon for 3 s, and again each 30 s: leave the group and join it again (7.9).
    Rejoin,
    /// No beacon for 6 s: multicast does not arrive (11.2).
    MulticastBroken,
    /// No beacon for 10 min.
    SenderGone,
    /// The sender has nothing more to send, and what was said three times brought nothing: what is
    /// [missing](Receiver::missing) has to come by unicast (11.2, 12.4).
    NothingComes,
    /// The sender says something that this version must understand and does not: go on by unicast (5.4).
    BeyondUs,
    /// The sender ended the session.
    SessionEnded,
}

/// Timers of a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// LACK may be due.
    Lacks,
    /// STATUS is due.
    Status,
    /// No beacon for too long.
    Silence,
}

impl TimerKind for Timer {
    const ALL: &'static [Self] = &[Self::Silence, Self::Lacks, Self::Status];

    fn index(self) -> usize {
        self as usize
    }
}

/// What of the last beacon counts until the next.
#[derive(Clone, Debug)]
struct Heard {
    at: Instant,
    epoch: EpochId,
    counter: u32,
    state: SenderState,
    /// R, in kB/s of the cable.
    rate: u32,
    unfinished: u32,
    /// T.
    window: Duration,
    usual_need: u16,
    status_interval: Duration,
    announced: Vec<Announcement>,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// Chunks are missing.
    Receiving,
    /// Every chunk is written.
    Written,
    /// So many STATUS that say so are still to be sent.
    Finished(u8),
}

/// One receiver.
#[derive(Debug)]
pub struct Receiver {
    config: ReceiverConfig,
    /// One for each slot of the table.
    entries: Vec<Entry>,
    /// Slots in part: few.
    in_part: Vec<Slot>,
    /// Bytes of the pool that are used.
    pool_used: usize,
    unwritten: usize,
    has_manifest: bool,
    heard: Option<Heard>,
    /// When the last DATA of any chunk was taken.
    last_data: Option<Instant>,
    /// Nested classes below it are taken (7.7).
    level: u8,
    drain: Drain,
    loss: LossMeter,
    /// The most symbols of one instance that were lost, in 1/256 (8.5).
    peak: u32,
    polluted: Vec<ChunkId>,
    counts: Counts,
    ending: Ending,
    /// Times that something was asked for in vain while the sender had nothing to send.
    in_vain: u8,
    silence: Silence,
    chance: Chance,
    timers: TimerTable<Timer, 3>,
    outbox: VecDeque<Feedback>,
    events: VecDeque<Event>,
    start: Instant,
}

/// What STATUS counts, and the report after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Symbols that were of use.
    pub taken: u64,
    /// Symbols of chunks that were there already, or that were there themselves.
    pub duplicate: u64,
    /// Symbols of chunks that were passed by.
    pub passed_by: u64,
    /// Chunks whose hash was wrong.
    pub refused: u32,
    /// Chunks of which source symbols were missing.
    pub repaired: u32,
    /// The most frames that were in part at a time.
    pub most_in_part: usize,
    /// NEEDs that were sent.
    pub needs: u64,
    /// LACKs that were sent.
    pub lacks: u64,
}

/// How long nothing was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    Short,
    Rejoined,
    Broken { since: Instant },
}

const REJOIN_AFTER: Duration = Duration::from_secs(3);
const BROKEN_AFTER: Duration = Duration::from_secs(6);
const PROBE_EVERY: Duration = Duration::from_secs(30);
const GONE_AFTER: Duration = Duration::from_secs(600);

/// STATUS at the end, which may be lost (7.9).
const DONE_STATUSES: u8 = 3;
const DONE_STATUS_EVERY: Duration = Duration::from_millis(100);

/// Least and greatest T that a beacon may say.
const WINDOW_MIN: Duration = Duration::from_millis(1);

impl Receiver {
    /// One that begins to listen.
    #[must_use]
    pub fn new(config: ReceiverConfig, now: Instant) -> Self {
        let mut timers = TimerTable::default();
        timers.set(Timer::Silence, now + REJOIN_AFTER);
        let has_manifest = config.table.chunk_count() > 0;
        Self {
            entries: config.table.slots().map(|_| Entry::default()).collect(),
            unwritten: config.table.len(),
            in_part: Vec::new(),
            pool_used: 0,
            has_manifest,
            heard: None,
            last_data: None,
            level: LEVEL_MAX,
            drain: Drain::default(),
            loss: LossMeter::default(),
            peak: 0,
            polluted: Vec::new(),
            counts: Counts::default(),
            ending: Ending::Receiving,
            in_vain: 0,
            silence: Silence::Short,
            chance: Chance::new(config.seed),
            timers,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            start: now,
            config,
        }
    }

    /// Takes in a beacon whose signature was found right. Whether it is a new one: others are dropped (5.3).
    pub fn handle_beacon(&mut self, now: Instant, beacon: &Beacon) -> bool {
        let last = self
            .heard
            .as_ref()
            .map(|heard| (heard.epoch, heard.counter));
        if beacon.sender != self.config.sender
            || last.is_some_and(|last| (beacon.epoch, beacon.counter) <= last)
        {
            return false;
        }
        if beacon.is_beyond_us {
            self.events.push_back(Event::BeyondUs);
        }
        self.silence = Silence::Short;
        self.timers.set(Timer::Silence, now + REJOIN_AFTER);
        let is_new_epoch = last.is_none_or(|(epoch, _)| beacon.epoch > epoch);
        let was_ended = self.is_session_ended();
        self.heard = Some(Heard {
            at: now,
            epoch: beacon.epoch,
            counter: beacon.counter,
            state: beacon.state,
            rate: beacon.rate,
            unfinished: beacon.unfinished,
            window: Duration::from_millis(u64::from(beacon.window_ms)).max(WINDOW_MIN),
            usual_need: beacon.usual_need.max(1),
            status_interval: Duration::from_millis(u64::from(beacon.status_interval.max(1)) * 100),
            announced: beacon.announced.clone(),
        });
        if is_new_epoch {
            self.on_epoch(now);
        }
        self.loss.beacon(beacon.next_seq);
        if let Some(plan) = &beacon.plan {
            self.on_plan(now, plan);
        }
        self.on_announced(now);
        for ended in &beacon.ended {
            self.on_ended(now, ended.chunk, ended.burst);
        }
        if beacon.flags.asks {
            self.end_all_bursts(now);
        }
        self.level = self.compute_level(now);
        if beacon.flags.asks || beacon.flags.is_near_end {
            self.hasten_lacks(now);
        }
        if self.timers.get(Timer::Status).is_none() {
            self.schedule_status(now);
        }
        if self.is_session_ended() && !was_ended {
            self.events.push_back(Event::SessionEnded);
        }
        true
    }

    /// The manifest is there: the lengths of all chunks, and which of them need not come. Only the first call counts.
    pub fn handle_manifest(
        &mut self,
        now: Instant,
        chunks: Vec<FrameLen>,
        is_done: impl Fn(u32) -> bool,
    ) {
        if self.has_manifest {
            return;
        }
        self.has_manifest = true;
        for slot in self.config.table.slots() {
            self.forget(slot, Progress::Written);
        }
        self.config.table = self.config.table.with_chunks(chunks);
        let added = self.config.table.len() - self.entries.len();
        self.entries.extend((0..added).map(|_| Entry::default()));
        self.unwritten += added;
        for number in 0..u32::try_from(added).unwrap_or(u32::MAX) {
            if is_done(number)
                && let Some(slot) = self.config.table.slot(ChunkId::chunk(number))
            {
                self.forget(slot, Progress::Written);
            }
        }
        self.check_all_written();
        if self.heard.is_some() {
            self.schedule_first_lacks(now);
        }
    }

    /// The frame of [`Event::Whole`] has the signed hash. `is_repaired`: source symbols were missing.
    pub fn frame_right(&mut self, chunk: ChunkId, is_repaired: bool) {
        if self.config.table.slot(chunk).is_some() {
            self.counts.repaired += u32::from(is_repaired);
        }
    }

    /// The frame of [`Event::Whole`] has another hash, or does not decode: somebody sends wrong data (12.3). The chunk is
    /// a lack again.
    pub fn frame_wrong(&mut self, now: Instant, chunk: ChunkId) {
        let Some(slot) = self.config.table.slot(chunk) else {
            return;
        };
        if !matches!(self.entry(slot).progress, Progress::Whole) {
            return;
        }
        self.counts.refused += 1;
        if self.polluted.len() < super::wire::POLLUTED_MAX && !self.polluted.contains(&chunk) {
            self.polluted.push(chunk);
        }
        self.drain.forget();
        self.forget(slot, Progress::Lack);
        self.entry_mut(slot).lack_since = self.millis(now);
        self.hasten_lacks(now);
    }

    /// A chunk is written, however it came: by multicast, by unicast, or it was on the disk already.
    pub fn written(&mut self, now: Instant, chunk: ChunkId) {
        let Some(slot) = self.config.table.slot(chunk) else {
            return;
        };
        match self.entry(slot).progress {
            Progress::Written => return,
            Progress::Whole => {
                let len = self.config.table.frame_len(slot).get();
                self.drain.finish(now, len);
            }
            Progress::Part(_) => self.events.push_back(Event::Dropped(chunk)),
            Progress::Lack => {}
        }
        self.forget(slot, Progress::Written);
        self.level = self.compute_level(now);
        self.check_all_written();
    }

    /// What was written is wrong after all: a chunk that was claimed (10.3), or read back wrong (7.9).
    pub fn unwritten(&mut self, now: Instant, chunk: ChunkId) {
        let Some(slot) = self.config.table.slot(chunk) else {
            return;
        };
        if !matches!(self.entry(slot).progress, Progress::Written) {
            return;
        }
        let since = self.millis(now);
        let entry = self.entry_mut(slot);
        entry.progress = Progress::Lack;
        entry.lack_since = since;
        self.unwritten += 1;
        self.ending = Ending::Receiving;
        self.hasten_lacks(now);
    }

    /// All is on the disk and counts: says so three times.
    pub fn finish(&mut self, now: Instant) {
        if self.ending == Ending::Written {
            self.ending = Ending::Finished(DONE_STATUSES);
            self.timers.set(Timer::Status, now);
        }
    }

    /// Whether there is nothing more to say or to wait for.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.ending == Ending::Finished(0)
    }

    /// Whether every chunk is written.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.ending != Ending::Receiving
    }

    /// Chunks and parts of which nothing or not enough is there.
    pub fn missing(&self) -> impl Iterator<Item = ChunkId> {
        let slots = self.entries.iter().zip(self.config.table.slots());
        let missing =
            slots.filter(|(entry, _)| matches!(entry.progress, Progress::Lack | Progress::Part(_)));
        missing.map(|(_, slot)| self.config.table.id(slot))
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes of frames in the pool: at most [`ReceiverConfig::pool_len`].
    #[must_use]
    pub fn pool_used(&self) -> usize {
        self.pool_used
    }

    /// What all chunks are: the parts alone, as long as there is no manifest.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.config.table
    }

    /// Serves the timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.end_silent_bursts(now);
        self.ask(now);
        while let Some(timer) = self.timers.expire(now) {
            match timer {
                Timer::Silence => self.on_silence(now),
                Timer::Lacks => self.on_lacks(now),
                Timer::Status => self.on_status(now),
            }
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout). Its answer may change with every call of another method.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_finished() {
            return None;
        }
        let asks = self.next_ask();
        let bursts = self.next_silent_burst();
        let timers = [self.timers.next(), asks, bursts];
        timers.into_iter().flatten().min()
    }

    /// The next thing to say to the sender.
    pub fn poll_feedback(&mut self) -> Option<Feedback> {
        self.outbox.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// A sender that starts anew has no plan and counts bursts anew; what is held in part stays (8.8).
    fn on_epoch(&mut self, now: Instant) {
        self.loss.new_epoch();
        for entry in &mut self.entries {
            entry.planned = None;
            entry.passed = None;
        }
        let slots = self.in_part.clone();
        for slot in slots {
            if let Progress::Part(part) = &mut self.entry_mut(slot).progress {
                part.burst = None;
                part.is_over = false;
                part.tries = 0;
                part.ask_at = None;
            }
            self.end_burst(now, slot);
        }
        self.schedule_first_lacks(now);
    }

    fn on_plan(&mut self, now: Instant, plan: &Plan) {
        let at = self.millis(now);
        let table = &self.config.table;
        for (entry, slot) in self.entries.iter_mut().zip(table.slots()) {
            let number = u64::from(table.id(slot).to_wire());
            if number < u64::from(plan.from) || number >= plan.end() {
                continue;
            }
            let next = plan.runs.partition_point(|run| run.run.end() <= number);
            let run = plan.runs.get(next);
            let run = run.filter(|run| u64::from(run.run.first) <= number);
            entry.planned = Some((at, run.map(|run| run.priority)));
        }
    }

    fn on_silence(&mut self, now: Instant) {
        let heard = self.heard.as_ref().map_or(self.start, |heard| heard.at);
        let next = match self.silence {
            Silence::Short => {
                self.events.push_back(Event::Rejoin);
                self.silence = Silence::Rejoined;
                heard + BROKEN_AFTER
            }
            Silence::Rejoined => {
                self.events.push_back(Event::MulticastBroken);
                self.silence = Silence::Broken { since: heard };
                now + PROBE_EVERY
            }
            Silence::Broken { since } => {
                if now >= since + GONE_AFTER {
                    self.events.push_back(Event::SenderGone);
                } else {
                    self.events.push_back(Event::Rejoin);
                }
                now + PROBE_EVERY
            }
        };
        self.timers.set(Timer::Silence, next);
    }

    /// Something is asked for.
    fn say(&mut self, body: NeedBody) {
        let heard = self.heard.as_ref();
        if heard.is_some_and(|heard| !matches!(heard.state, SenderState::Sending)) {
            self.in_vain += 1;
            if self.in_vain >= IN_VAIN_MAX {
                self.in_vain = 0;
                self.events.push_back(Event::NothingComes);
            }
        }
        self.outbox.push_back(Feedback::Need(body));
    }

    fn is_session_ended(&self) -> bool {
        let heard = self.heard.as_ref();
        heard.is_some_and(|heard| heard.state == SenderState::Ended)
    }

    fn check_all_written(&mut self) {
        if self.has_manifest && self.unwritten == 0 && self.ending == Ending::Receiving {
            self.ending = Ending::Written;
            self.timers.stop(Timer::Lacks);
            self.events.push_back(Event::AllWritten);
        }
    }

    /// Takes a slot out of the pool, and gives it another state.
    fn forget(&mut self, slot: Slot, progress: Progress) {
        let was_written = matches!(self.entry(slot).progress, Progress::Written);
        match self.entry(slot).progress {
            Progress::Part(_) => {
                self.in_part.retain(|other| *other != slot);
                self.pool_used -= self.config.table.frame_len(slot).buffer_len();
            }
            Progress::Whole => {
                self.pool_used -= self.config.table.frame_len(slot).buffer_len();
            }
            Progress::Lack | Progress::Written => {}
        }
        if matches!(progress, Progress::Written) && !was_written {
            self.unwritten -= 1;
        }
        self.entry_mut(slot).progress = progress;
    }

    fn entry(&self, slot: Slot) -> &Entry {
        self.entries.get(slot.0).expect("an entry for each slot")
    }

    fn entry_mut(&mut self, slot: Slot) -> &mut Entry {
        self.entries
            .get_mut(slot.0)
            .expect("an entry for each slot")
    }

    fn millis(&self, now: Instant) -> u32 {
        millis(now.saturating_duration_since(self.start))
    }
}

/// What was said so often brought nothing.
const IN_VAIN_MAX: u8 = 3;

/// All classes (8.4).
const LEVEL_MAX: u8 = 64;
