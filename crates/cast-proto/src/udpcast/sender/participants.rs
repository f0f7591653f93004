//! Who takes or took part.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::{Evidence, Outcome, Participant};
use crate::bitmap::Bitmap;
use crate::udpcast::wire::{Capabilities, ConnectReq};
use crate::udpcast::{ClientNo, SliceNo};

/// Participants by address. At most 1024 at a time; those who left after the start are kept, and
/// no new ones come then. (An ordered map, so that the machine behaves the same in every run.)
#[derive(Default)]
pub(super) struct Participants {
    members: BTreeMap<Ipv4Addr, Member>,
    /// Numbers of those that still take part.
    active: Bitmap,
}

pub(super) struct Member {
    pub(super) addr: Ipv4Addr,
    pub(super) client: ClientNo,
    pub(super) capabilities: Capabilities,
    /// Receive buffer it has told, in bytes.
    pub(super) rcvbuf: u32,
    /// It answers whatever its output does, and makes use of repair blocks.
    pub(super) is_attentive: bool,
    /// What it has come to; `Connected` while it takes part, until the end is acknowledged.
    pub(super) outcome: Outcome,
    pub(super) last_slice: Option<SliceNo>,
    pub(super) repeats_asked: u64,
    pub(super) evidence: Evidence,
    pub(super) last_heard: Instant,
    /// Its host says that nobody listens there any more.
    pub(super) reachability: Reachability,
    /// When it was last probed for that. If it has been heard since, the answer means nothing.
    pub(super) probed: Option<Instant>,
    /// That was while it lived, to see if the answers mean anything.
    pub(super) is_baseline: bool,
    /// It has answered a request at least once, so it has got its place.
    pub(super) has_answered: bool,
    /// It said DISCONNECT, or its place is taken away.
    pub(super) is_gone: bool,
    /// It said DISCONNECT then, in this round of the end slice, but its OK may have been lost.
    pub(super) leaving_since: Option<(Instant, u32)>,
}

/// What the answers of a participant's host tell of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reachability {
    Unknown,
    /// The host refused the probe of this time, and nothing has been heard of the participant since.
    Refused(Instant),
    /// It refused a later one too: nobody listens there.
    Gone,
    /// It said so while the participant was alive: a packet filter's answer means nothing.
    Untold,
}

impl Member {
    /// It is about to be probed while it lives: what its host says then is worth nothing later.
    pub(super) fn begin_baseline(&mut self, now: Instant) {
        self.probed = Some(now);
        self.is_baseline = true;
    }

    /// How long nothing has come from it while it was being asked, since `asked_since`.
    pub(super) fn silence(&self, now: Instant, asked_since: Instant) -> Duration {
        now.saturating_duration_since(self.last_heard.max(asked_since))
    }
}

impl Participants {
    /// Gives `addr` the lowest free number. `None` if there is none below `limit`.
    pub(super) fn join(
        &mut self,
        now: Instant,
        addr: Ipv4Addr,
        request: &ConnectReq,
        limit: u16,
    ) -> Option<ClientNo> {
        let client = ClientNo(
            self.active
                .lowest_absent()
                .filter(|number| *number < limit)?,
        );
        self.active.insert(client.0);
        let member = Member {
            addr,
            client,
            capabilities: request.capabilities | Capabilities::BIG_ENDIAN,
            rcvbuf: request.rcvbuf,
            is_attentive: request.is_attentive(),
            outcome: Outcome::Connected,
            last_slice: None,
            repeats_asked: 0,
            evidence: Evidence::default(),
            last_heard: now,
            reachability: Reachability::Unknown,
            probed: None,
            is_baseline: false,
            has_answered: false,
            is_gone: false,
            leaving_since: None,
        };
        self.members.insert(addr, member);
        Some(client)
    }

    /// Before the start: as if it had never been there.
    pub(super) fn forget(&mut self, addr: Ipv4Addr) -> bool {
        let Some(member) = self.members.remove(&addr) else {
            return false;
        };
        self.active.remove(member.client.0);
        true
    }

    /// After the start: it takes part no longer, and this is what came of it.
    pub(super) fn leave(&mut self, addr: Ipv4Addr, outcome: Outcome) {
        if let Some(member) = self.members.get_mut(&addr) {
            member.outcome = outcome;
            member.is_gone = true;
            self.active.remove(member.client.0);
        }
    }

    /// Numbers of those that still take part.
    pub(super) fn active(&self) -> &Bitmap {
        &self.active
    }

    /// Of these, those that are not attentive.
    pub(super) fn originals(&self) -> Bitmap {
        let mut originals = Bitmap::new();
        for member in self.members.values() {
            if !member.is_gone && !member.is_attentive {
                originals.insert(member.client.0);
            }
        }
        originals
    }

    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    pub(super) fn count(&self) -> u16 {
        self.active.count()
    }

    /// Past and present.
    pub(super) fn get(&self, addr: Ipv4Addr) -> Option<&Member> {
        self.members.get(&addr)
    }

    /// One that still takes part.
    pub(super) fn present(&mut self, addr: Ipv4Addr) -> Option<&mut Member> {
        self.members.get_mut(&addr).filter(|member| !member.is_gone)
    }

    /// Those that still take part, by address.
    pub(super) fn all_present_mut(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.values_mut().filter(|member| !member.is_gone)
    }

    /// Past and present, by address.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    /// Those that still take part, by address.
    pub(super) fn all_present(&self) -> impl Iterator<Item = &Member> {
        self.iter().filter(|member| !member.is_gone)
    }

    /// Time in which this process did not run is not held against anybody.
    pub(super) fn excuse(&mut self, now: Instant, lost: Duration) {
        for member in self.members.values_mut() {
            member.last_heard = (member.last_heard + lost).min(now);
        }
    }

    pub(super) fn views(&self) -> impl Iterator<Item = Participant> {
        self.iter().map(|member| Participant {
            addr: member.addr,
            client: member.client,
            capabilities: member.capabilities,
            outcome: member.outcome,
            last_slice: member.last_slice,
            repeats_asked: member.repeats_asked,
            last_heard: member.last_heard,
            evidence: member.evidence,
        })
    }
}
