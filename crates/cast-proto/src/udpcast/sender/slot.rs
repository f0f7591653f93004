//! A slice under way: what has been sent of it, and who has it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Instant;

use super::pace::Sample;
use super::progress::{Moment, Progress, SAMPLE, is_held};
use super::repair::RepairQueue;
use crate::bitmap::Bitmap;
use crate::udpcast::fec::MAX_STRIPE_BLOCKS;
use crate::udpcast::wire::ReqAck;
use crate::udpcast::{BlockNo, ClientNo, SliceNo, block_count};

/// A slice with the state of its acknowledgement.
pub(super) struct Slot {
    pub(super) slice: SliceNo,
    /// Empty for the slice that ends the stream.
    pub(super) data: Vec<u8>,
    pub(super) slice_len: u32,
    pub(super) blocks: u16,
    /// Repair blocks behind the data blocks in the first pass.
    first_repairs: u16,
    /// Data and repair blocks sent in the first pass.
    sent: u16,
    /// HELLO_STREAMING of this slice is out.
    pub(super) is_announced: bool,
    /// Who said OK.
    pub(super) ready: Bitmap,
    /// Who answered in this round.
    answered: Bitmap,
    /// Who answered in any round.
    heard: Bitmap,
    /// Blocks to be repeated in this round.
    wanted: Bitmap,
    /// What each attentive participant that answered in this round lacks.
    needs: BTreeMap<u16, Bitmap>,
    /// There are needs that have not been planned for.
    is_unplanned: bool,
    /// On-demand repair blocks; made when first needed.
    repairs: Option<RepairQueue>,
    /// Blocks made up for by repair blocks in this round.
    repaired: Bitmap,
    /// Blocks repeated in this round.
    repeated: Bitmap,
    pub(super) round: u32,
    /// First round whose answers are still true: nothing has been repeated since it was asked,
    /// except what is in `repeated`.
    valid_since: u32,
    /// The round ends when what is due has been sent, whoever has not answered.
    is_closing: bool,
    /// REQACK of the present round has to be sent.
    pub(super) is_request_due: bool,
    /// It asks those that are ready, too.
    pub(super) is_roll_call: bool,
    /// When round 0 was asked.
    pub(super) asked_since: Instant,
    /// When it was last reported that it is not acknowledged.
    pub(super) slow_told: Option<Instant>,
    /// When the present round was asked.
    asked: Instant,
    /// How far those are that answer and do not have it.
    pub(super) progress: Progress,
    /// Whose OK came last.
    pub(super) last_ok: Option<Ipv4Addr>,
    pub(super) toll: Toll,
    /// Who has said that its output has no room for more.
    pub(super) held: Bitmap,
    /// Who was silent for long while it was asked, which an original receiver is when its output stands still.
    pub(super) stood_still: Bitmap,
    /// When each said OK.
    pub(super) ok_at: BTreeMap<u16, Instant>,
    /// When its first block was about to leave.
    pub(super) begun: Instant,
}

/// Loss in parts of 1000 that may be the reason for a receiver to be late.
const LOSSY: u32 = 100;

/// What became of the blocks that were sent last, at the receiver that got the fewest of them.
pub(super) struct Toll {
    /// What each that has answered lacked then.
    lacking: BTreeMap<u16, Bitmap>,
    /// Blocks that were sent: all, or those of the last repetition.
    sent: Bitmap,
    /// When they began to leave.
    since: Instant,
    is_first_pass: bool,
    /// Who has said what became of them.
    counted: Bitmap,
    worst: Option<Sample>,
    /// Who lost at least a tenth of what was sent.
    pub(super) lossy: Bitmap,
}

impl Toll {
    fn new(now: Instant, blocks: u16) -> Self {
        Self {
            lacking: BTreeMap::new(),
            sent: Bitmap::first(blocks),
            since: now,
            is_first_pass: true,
            counted: Bitmap::new(),
            worst: None,
            lossy: Bitmap::new(),
        }
    }

    /// Something is repeated from now on.
    fn on_repeated(&mut self, since: Instant, repeated: Bitmap) {
        self.sent = repeated;
        self.since = since;
        self.is_first_pass = false;
        self.counted = Bitmap::new();
    }

    /// `has_data`: it has had blocks before.
    fn on_answer(&mut self, client: u16, missing: &Bitmap, has_data: bool) {
        if !self.counted.insert(client) {
            return;
        }
        let before = self.lacking.insert(client, *missing);
        let sent = before.map_or(self.sent, |before| before.intersection(&self.sent));
        let sample = Sample {
            is_first_pass: self.is_first_pass,
            sent: sent.count(),
            lost: sent.intersection(missing).count(),
            since: self.since,
            client: Some(client),
        };
        if sample.lost > 1 && sample.loss() >= LOSSY {
            self.lossy.insert(client);
        }
        if sample.lost == sample.sent && !has_data {
            // Nothing arrives, at whatever rate. Else a queue is full.
            return;
        }
        let is_worse = |worst: Sample| {
            u32::from(sample.lost) * u32::from(worst.sent)
                > u32::from(worst.lost) * u32::from(sample.sent)
        };
        if self.worst.is_none_or(is_worse) {
            self.worst = Some(sample);
        }
    }

    /// The round is over.
    pub(super) fn take(&mut self) -> Option<Sample> {
        self.worst.take()
    }

    /// Everybody has the slice; `None` if the first pass did not do.
    pub(super) fn on_done(&mut self) -> Option<Sample> {
        let clean = || Sample {
            is_first_pass: true,
            sent: self.sent.count(),
            lost: 0,
            since: self.since,
            client: None,
        };
        self.worst.take().or_else(|| self.is_first_pass.then(clean))
    }
}

/// How the data blocks of a slice are spread over stripes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    /// Number of stripes, if the configuration gives it.
    pub(super) stripes: Option<u16>,
    /// Rows sent in the first pass.
    pub(super) used_rows: u16,
}

impl Shape {
    /// As few stripes as the code allows: the longer they are, the more a repair block can do.
    fn stripes(self, blocks: u16) -> u16 {
        self.stripes
            .unwrap_or_else(|| blocks.div_ceil(MAX_STRIPE_BLOCKS).max(1))
    }
}

/// What an answer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// It is the first of this participant in this round, or an OK.
    Counted,
    /// It changes what the participant told in this round; the wait for others goes on.
    Again,
    /// It came too late, or twice.
    Stale,
    /// It answers a round that has not been asked.
    Impossible,
}

/// What comes next in the first pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Data(BlockNo),
    Repair(BlockNo),
}

impl Slot {
    pub(super) fn new(
        now: Instant,
        slice: SliceNo,
        data: Vec<u8>,
        block_size: u16,
        first_repairs: u16,
    ) -> Self {
        let slice_len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let blocks = u16::try_from(block_count(slice_len, block_size)).unwrap_or(u16::MAX);
        Self {
            slice,
            data,
            slice_len,
            blocks,
            first_repairs,
            sent: 0,
            is_announced: false,
            ready: Bitmap::new(),
            answered: Bitmap::new(),
            heard: Bitmap::new(),
            wanted: Bitmap::new(),
            needs: BTreeMap::new(),
            is_unplanned: false,
            repairs: None,
            repaired: Bitmap::new(),
            repeated: Bitmap::new(),
            round: 0,
            valid_since: 0,
            is_closing: false,
            is_request_due: false,
            is_roll_call: false,
            asked_since: now,
            slow_told: None,
            asked: now,
            progress: Progress::default(),
            last_ok: None,
            toll: Toll::new(now, blocks),
            held: Bitmap::new(),
            stood_still: Bitmap::new(),
            ok_at: BTreeMap::new(),
            begun: now,
        }
    }

    pub(super) fn is_end(&self) -> bool {
        self.slice_len == 0
    }

    /// The next block of the first pass.
    pub(super) fn peek(&self) -> Option<Next> {
        match self.sent.checked_sub(self.blocks) {
            None => Some(Next::Data(BlockNo(self.sent))),
            Some(repair) if repair < self.first_repairs => Some(Next::Repair(BlockNo(repair))),
            Some(_) => None,
        }
    }

    /// The block last peeked at is sent.
    pub(super) fn advance(&mut self) {
        self.sent += 1;
    }

    /// Some of its blocks are out.
    pub(super) fn is_begun(&self) -> bool {
        self.sent > 0
    }

    pub(super) fn is_sent(&self) -> bool {
        self.peek().is_none()
    }

    /// The first pass is over: ask.
    pub(super) fn begin_asking(&mut self, now: Instant) {
        self.asked_since = now;
        self.is_request_due = true;
    }

    /// A new round: ask again those that are not ready. Returns the blocks that were repeated, or
    /// made up for, in the old one.
    pub(super) fn next_round(&mut self) -> Bitmap {
        let repeated = std::mem::take(&mut self.repeated);
        let repaired = std::mem::take(&mut self.repaired);
        let has_repaired = self.repairs.as_mut().is_some_and(RepairQueue::next_round);
        self.round = self.round.saturating_add(1);
        if !repeated.is_empty() || has_repaired {
            self.valid_since = self.round;
        }
        if !repeated.is_empty() {
            self.toll.on_repeated(self.asked, repeated);
        }
        self.wanted = Bitmap::new();
        self.needs.clear();
        (self.is_unplanned, self.is_closing) = (false, false);
        self.answered = self.ready;
        self.is_request_due = true;
        let repeated = repeated.union(&repaired);
        self.progress.on_repeated(&repeated);
        repeated
    }

    /// Decides how the needs told so far are met; says whether that gives something to send.
    /// `is_last`: the round ends then, without the answers that are still out.
    ///
    /// Nothing is repaired before all `originals` have the slice. They say OK as soon as repair blocks
    /// would do, and exit if two more slices come before they have done so: their arithmetic runs on a
    /// thread of its own, which on a busy machine is late. Until then those that are attentive
    /// profit from what is repeated for them, and are asked again.
    pub(super) fn plan(
        &mut self,
        active: &Bitmap,
        originals: &Bitmap,
        shape: Shape,
        is_last: bool,
    ) -> bool {
        self.is_closing |= is_last;
        if !std::mem::take(&mut self.is_unplanned) {
            return false;
        }
        let behind = originals.without(&self.ready);
        let is_only_resting = behind.without(&self.progress.resting()).is_empty();
        if !behind.is_empty() && is_only_resting {
            // For these hardly anything is repeated that others could profit from.
            let needs = self.needs.values();
            self.wanted = needs.fold(self.wanted, |all, need| all.union(need));
            return self.is_repeat_due();
        }
        if !behind.is_empty() {
            return false;
        }
        let served = self.wanted.union(&self.repeated);
        self.needs.retain(|client, _| active.contains(*client));
        let needs: Vec<Bitmap> = self
            .needs
            .values()
            .map(|need| need.without(&served))
            .collect();
        let blocks = self.blocks;
        let repairs = self.repairs.get_or_insert_with(|| {
            RepairQueue::new(blocks, shape.stripes(blocks), shape.used_rows)
        });
        let plan = repairs.plan(&needs);
        self.wanted = self.wanted.union(&plan.repeat);
        self.repaired = self.repaired.union(&plan.repaired);
        self.is_repeat_due()
    }

    /// Blocks or repair blocks are to be sent in this round.
    pub(super) fn is_repeat_due(&self) -> bool {
        self.next_repeat().is_some() || self.repairs.as_ref().is_some_and(RepairQueue::is_due)
    }

    /// The round may end: all have answered, or are not waited for.
    pub(super) fn is_round_over(&self, active: &Bitmap) -> bool {
        !self.is_request_due && (self.is_closing || self.is_answered(active))
    }

    /// The next repair block to send, and the number of stripes; it counts as sent.
    pub(super) fn take_repair(&mut self) -> Option<(BlockNo, u16)> {
        self.repairs.as_mut()?.take()
    }

    pub(super) fn request(&mut self, now: Instant) -> ReqAck {
        self.is_request_due = false;
        self.asked = now;
        let ready = if std::mem::take(&mut self.is_roll_call) {
            Bitmap::new()
        } else {
            self.ready
        };
        ReqAck::new(self.slice, self.slice_len, self.round, ready)
    }

    pub(super) fn on_ok(&mut self, client: ClientNo, from: Ipv4Addr) -> Answered {
        self.heard.insert(client.0);
        self.answered.insert(client.0);
        if !self.ready.insert(client.0) {
            return Answered::Stale;
        }
        self.last_ok = Some(from);
        self.needs.remove(&client.0);
        self.progress.forget(client.0);
        Answered::Counted
    }

    /// Takes in which blocks a participant no longer needs; returns how many it asks for. What an attentive one
    /// lacks is met once the others have been heard, as one repair block may serve them all.
    pub(super) fn on_retransmit(
        &mut self,
        client: ClientNo,
        is_attentive: bool,
        round: u32,
        received: &Bitmap,
        has_data: bool,
    ) -> (Answered, u16) {
        if round > self.round {
            return (Answered::Impossible, 0);
        }
        self.heard.insert(client.0);
        if round < self.valid_since || self.ready.contains(client.0) {
            return (Answered::Stale, 0);
        }
        let missing = Bitmap::first(self.blocks).without(received);
        self.toll.on_answer(client.0, &missing, has_data);
        let repeat = if self.progress.stalled().contains(client.0) {
            lowest(&missing, SAMPLE)
        } else {
            missing
        };
        let is_first = self.answered.insert(client.0);
        let is_news = if is_attentive {
            let is_news = self.needs.insert(client.0, repeat) != Some(repeat);
            self.is_unplanned |= is_news;
            is_news
        } else {
            let wanted = self.wanted.union(&repeat);
            std::mem::replace(&mut self.wanted, wanted) != wanted
        };
        let answered = match (is_first, is_news) {
            (true, _) => Answered::Counted,
            (false, true) => Answered::Again,
            (false, false) => Answered::Stale,
        };
        (answered, missing.count())
    }

    /// Something came from a participant that takes part: what it said of which blocks of this slice it has,
    /// or nothing about it.
    pub(super) fn note(
        &mut self,
        now: Instant,
        client: ClientNo,
        active: &Bitmap,
        received: Option<&Bitmap>,
    ) -> Moment {
        let at = Moment {
            now,
            blocks: self.blocks,
            round: self.round,
            is_contended: !self.ready.intersection(active).is_empty(),
        };
        if !self.ready.contains(client.0) {
            let missing = received.map(|received| Bitmap::first(self.blocks).without(received));
            self.progress.note(at, client.0, missing.as_ref());
            if missing.is_some_and(|missing| is_held(&missing, self.blocks)) {
                self.held.insert(client.0);
            }
        }
        at
    }

    /// All whose answer is wanted get no further.
    pub(super) fn is_stalled(&self, active: &Bitmap) -> bool {
        let waiting = active.without(&self.ready);
        !waiting.is_empty() && waiting.without(self.progress.stalled()).is_empty()
    }

    /// When to ask again, if that has to wait.
    pub(super) fn paused_until(&self, now: Instant, active: &Bitmap) -> Option<Instant> {
        if !self.is_stalled(active) {
            return None;
        }
        let pause = self.progress.pause(&active.without(&self.ready));
        Some(self.asked + pause).filter(|until| *until > now)
    }

    /// The next block to repeat in this round; it counts as repeated.
    pub(super) fn take_repeat(&mut self) -> Option<BlockNo> {
        let block = self.next_repeat()?;
        self.repeated.insert(block);
        Some(BlockNo(block))
    }

    pub(super) fn next_repeat(&self) -> Option<u16> {
        self.wanted.without(&self.repeated).lowest()
    }

    pub(super) fn is_ready(&self, active: &Bitmap) -> bool {
        active.without(&self.ready).is_empty()
    }

    pub(super) fn is_answered(&self, active: &Bitmap) -> bool {
        active.without(&self.answered).is_empty()
    }

    /// All have been heard about this slice at least once.
    pub(super) fn is_heard(&self, active: &Bitmap) -> bool {
        active.without(&self.heard).is_empty()
    }

    pub(super) fn has_answered(&self, client: ClientNo) -> bool {
        self.answered.contains(client.0)
    }

    /// A block's bytes.
    pub(super) fn block(&self, block: BlockNo, block_size: u16) -> &[u8] {
        let from = usize::from(block.0) * usize::from(block_size);
        let to = self.data.len().min(from + usize::from(block_size));
        self.data.get(from..to).unwrap_or(&[])
    }
}

/// The lowest `count` of a set.
fn lowest(set: &Bitmap, count: u16) -> Bitmap {
    let mut lowest = Bitmap::new();
    for block in set.iter().take(count.into()) {
        lowest.insert(block);
    }
    lowest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do; only differences count"
    )]
    fn slot(blocks: u16) -> Slot {
        Slot::new(
            Instant::now(),
            SliceNo(0),
            vec![0; usize::from(blocks) * 4],
            4,
            0,
        )
    }

    fn all_but(blocks: u16, missing: &[u16]) -> Bitmap {
        let mut set = Bitmap::first(blocks);
        for block in missing {
            set.remove(*block);
        }
        set
    }

    #[test]
    fn a_block_is_repeated_once_a_round_whoever_asks() {
        let mut slot = slot(16);
        assert_eq!(
            slot.on_retransmit(ClientNo(0), false, 0, &all_but(16, &[1, 5]), true),
            (Answered::Counted, 2)
        );
        assert_eq!(slot.take_repeat(), Some(BlockNo(1)));
        assert_eq!(
            slot.on_retransmit(ClientNo(1), false, 0, &all_but(16, &[0, 1]), true),
            (Answered::Counted, 2)
        );
        assert_eq!(slot.take_repeat(), Some(BlockNo(0)));
        assert_eq!(slot.take_repeat(), Some(BlockNo(5)));
        assert_eq!(slot.take_repeat(), None);
        assert_eq!(slot.next_round().count(), 3);
        assert_eq!(
            slot.on_retransmit(ClientNo(0), false, 0, &all_but(16, &[1]), true)
                .0,
            Answered::Stale
        );
        assert_eq!(
            slot.take_repeat(),
            None,
            "the answer is from before the repetition"
        );
        assert_eq!(
            slot.on_retransmit(ClientNo(0), false, 1, &all_but(16, &[1]), true)
                .0,
            Answered::Counted
        );
        assert_eq!(slot.take_repeat(), Some(BlockNo(1)));
    }

    #[test]
    fn a_late_answer_counts_while_nothing_has_been_repeated_since() {
        let mut slot = slot(4);
        assert!(slot.next_round().is_empty());
        assert!(slot.next_round().is_empty());
        assert_eq!(
            slot.on_retransmit(ClientNo(0), false, 3, &all_but(4, &[2]), true)
                .0,
            Answered::Impossible
        );
        assert_eq!(
            slot.on_retransmit(ClientNo(0), false, 0, &all_but(4, &[2]), true)
                .0,
            Answered::Counted
        );
        assert_eq!(slot.take_repeat(), Some(BlockNo(2)));
    }

    #[test]
    fn bits_behind_the_slice_and_those_of_the_ready_want_nothing() {
        let mut slot = slot(4);
        assert_eq!(
            slot.on_retransmit(ClientNo(0), false, 0, &Bitmap::first(4), true),
            (Answered::Counted, 0)
        );
        assert_eq!(
            slot.on_ok(ClientNo(0), Ipv4Addr::LOCALHOST),
            Answered::Counted
        );
        assert_eq!(
            slot.on_ok(ClientNo(0), Ipv4Addr::LOCALHOST),
            Answered::Stale
        );
        assert_eq!(
            slot.on_retransmit(ClientNo(0), false, 0, &Bitmap::new(), true),
            (Answered::Stale, 0)
        );
        assert_eq!(slot.take_repeat(), None);
    }

    #[test]
    fn nothing_is_repaired_before_the_originals_have_the_slice() {
        let mut slot = slot(16);
        let shape = Shape {
            stripes: None,
            used_rows: 0,
        };
        let (active, mut originals) = (Bitmap::first(3), Bitmap::new());
        originals.insert(2);
        let ask = |slot: &mut Slot, round| {
            for (client, missing) in [(0, 1), (1, 5)] {
                let received = all_but(16, &[missing]);
                slot.on_retransmit(ClientNo(client), true, round, &received, true);
            }
        };

        ask(&mut slot, 0);
        slot.on_retransmit(ClientNo(2), false, 0, &all_but(16, &[7]), true);
        assert!(!slot.plan(&active, &originals, shape, false));
        assert_eq!(slot.take_repeat(), Some(BlockNo(7)));
        assert!(slot.take_repeat().is_none() && slot.take_repair().is_none());

        slot.next_round();
        ask(&mut slot, 1);
        slot.on_ok(ClientNo(2), Ipv4Addr::LOCALHOST);
        assert!(slot.plan(&active, &originals, shape, false));
        assert_eq!(slot.take_repeat(), None);
        assert_eq!(slot.take_repair(), Some((BlockNo(0), 1)));
        assert_eq!(slot.take_repair(), None);
    }
}
