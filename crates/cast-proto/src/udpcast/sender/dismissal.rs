//! Sending single receivers away, while the others go on.
//!
//! An original receiver that takes part no longer does not know it: it waits for the start for ever, or
//! reads the stream on, and comes to its end as if nothing had happened. But it exits when it hears of a
//! slice further ahead than a sender can be: at the rendezvous at once, in mid-stream at the end of its stream
//! at the latest. So it hears of one, from us and to it alone.
//!
//! Announcing an early end to it alone would be no better: in mid-stream original receivers often pass over
//! that, too, and one that takes it ends with success, with a part of the stream.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use super::{Member, Outgoing, Sender};
use crate::bitmap::Bitmap;
use crate::udpcast::SliceNo;
use crate::udpcast::wire::{Message, ReqAck};

/// How often one is sent away at once: in a second even half of a bad network gets one through.
const TIMES: u32 = 20;
const INTERVAL: Duration = Duration::from_millis(50);

/// Afterwards: one whose output is held up reads nothing meanwhile.
const LATER: Duration = Duration::from_secs(1);

/// So long after the last sign of life it is over: what is started at this address later is not meant.
const LONGEST: Duration = Duration::from_secs(60);

/// Further ahead than any receiver can be.
const FAR: u32 = 1 << 16;

/// Those who are sent away, at most as many as took part; some 60 bytes each.
#[derive(Default)]
pub(super) struct Dismissals(BTreeMap<Ipv4Addr, Dismissal>);

struct Dismissal {
    sent: u32,
    /// When the last one went.
    last: Option<Instant>,
    due: Instant,
    /// When it was dropped, or heard later.
    alive: Instant,
}

impl Dismissals {
    /// Sends it away from now on. One of this project is left alone: it looks further than at its
    /// transfer, and could not tell this from a fault.
    pub(super) fn add(&mut self, now: Instant, member: &Member) {
        if !member.is_attentive {
            self.0.entry(member.addr).or_insert(Dismissal {
                sent: 0,
                last: None,
                due: now,
                alive: now,
            });
        }
    }

    /// It is gone, or let in again.
    pub(super) fn remove(&mut self, addr: Ipv4Addr) {
        self.0.remove(&addr);
    }

    /// It still speaks, so it reads.
    pub(super) fn on_heard(&mut self, now: Instant, addr: Ipv4Addr) {
        if let Some(dismissal) = self.0.get_mut(&addr) {
            let soonest = dismissal.last.map_or(now, |last| last + INTERVAL);
            dismissal.due = dismissal.due.min(soonest.max(now));
            dismissal.alive = now;
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(|dismissal| dismissal.due).min()
    }

    /// Whether each was sent away as often as it must.
    pub(super) fn are_done(&self) -> bool {
        self.0.values().all(|dismissal| dismissal.sent >= TIMES)
    }

    fn take_due(&mut self, now: Instant) -> Vec<Ipv4Addr> {
        self.0
            .retain(|_, it| it.sent < TIMES || now.saturating_duration_since(it.alive) < LONGEST);
        let due = self.0.iter_mut().filter(|(_, it)| it.due <= now);
        due.map(|(addr, dismissal)| {
            dismissal.sent = dismissal.sent.saturating_add(1);
            dismissal.last = Some(now);
            let is_urgent = dismissal.sent < TIMES;
            dismissal.due = now + if is_urgent { INTERVAL } else { LATER };
            *addr
        })
        .collect()
    }
}

impl Sender {
    /// Queues what is due.
    pub(super) fn send_members_away(&mut self, now: Instant) {
        for addr in self.sent_away.take_due(now) {
            let to = SocketAddrV4::new(addr, self.config.receiver_port);
            self.queue(Outgoing::Dismissal { to });
        }
    }

    pub(super) fn emit_dismissal(&self, buf: &mut Vec<u8>) {
        let far = self.stream.next_slice.0.saturating_add(FAR);
        // Original programs take the number as signed in places.
        let far = SliceNo(far.min(i32::MAX.unsigned_abs()));
        Message::ReqAck(ReqAck::new(far, 0, 0, Bitmap::new())).emit(buf);
    }
}
