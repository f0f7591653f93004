//! Who is let in.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use fog::task::State;

use super::{Action, Core, Peer, is_ticket};
use crate::domain::session::client::Client;
use crate::domain::session::record::{Fact, Note};
use crate::domain::session::seat::SeatStatus;
use crate::domain::{HostId, Reason, Refusal};

impl Core {
    /// A host asks to begin.
    ///
    /// # Errors
    /// If it may not, or not any more. A refusal of another machine changes nothing.
    pub fn check_in(
        &mut self,
        now: Instant,
        id: HostId,
        peer: &Peer,
        agent: impl Into<Client>,
    ) -> Result<(), Refusal> {
        let result = self.let_in(now, id, peer, &agent.into());
        match &result {
            Ok(()) => {
                if let Some(seat) = self.seats.get_mut(&id) {
                    seat.refused = None;
                }
            }
            Err(why) => self.refused(id, peer.address.into(), why),
        }
        result
    }

    /// A check-in of a host was refused. People see why; the same again is no news.
    pub fn refused(&mut self, id: HostId, address: IpAddr, why: &Refusal) {
        let Some(seat) = self.seats.get_mut(&id).filter(|_| why.needs_a_person()) else {
            return;
        };
        let refused = Some((address, why.clone()));
        if seat.refused == refused {
            return;
        }
        seat.refused = refused;
        if seat.refusals < MAX_REFUSALS {
            seat.refusals += 1;
            let why = Box::new(why.clone());
            self.note(Some(id), Note::Refused { address, why });
        }
    }

    fn let_in(
        &mut self,
        now: Instant,
        id: HostId,
        peer: &Peer,
        agent: &Client,
    ) -> Result<(), Refusal> {
        let awaits = self.awaits_check_ins();
        let seat = self.seats.get(&id).ok_or(Refusal::NotCheckedIn)?;
        let rebind_after = self.plan.rebind_after(seat);
        let is_other = seat
            .address
            .is_some_and(|at| at != peer.address || !is_ticket(seat, peer));
        // A machine whose kernel arguments are proved takes the place of one whose are not.
        let yields = peer.is_proved && !seat.is_proved;
        if is_other && !(awaits && (yields || seat.is_gone(now, rebind_after))) {
            let address = seat.address.unwrap_or(peer.address);
            return Err(Refusal::AnotherMachine { address });
        }
        if let SeatStatus::Ended(_, reason) = &seat.status {
            return Err(Refusal::Over(reason.clone()));
        }
        if !awaits {
            self.contact(now, id);
            return Err(self.refuse_late(now, id));
        }
        self.vacate(now, id, peer.address)?;
        self.contact(now, id);
        let Some(seat) = self.seats.get_mut(&id) else {
            return Err(Refusal::NotCheckedIn);
        };
        let is_known = seat.is_checked_in()
            && seat.address == Some(peer.address)
            && seat.ticket == peer.ticket
            && seat.agent.kind == agent.kind;
        if let Some(old) = seat.address.filter(|_| seat.is_connected()) {
            // It joined and begins anew: a restart. Its place in the rendezvous is void.
            self.actions.push_back(Action::Remove(old));
        }
        seat.set_status(now, SeatStatus::CheckedIn);
        if is_other {
            seat.first_connected = None;
        }
        seat.address = Some(peer.address);
        seat.ticket = peer.ticket;
        seat.is_proved = peer.is_proved;
        seat.agent.clone_from(agent);
        seat.has_gone |= !seat.is_agent();
        if !is_known {
            let count = self.checked_in_count();
            self.store(Fact::CheckedIn {
                host: id,
                address: peer.address,
                ticket: peer.ticket,
                agent: agent.clone(),
                count,
            });
        }
        self.first_check_in.get_or_insert(now);
        if !self.is_sender_open {
            (self.since, self.before) = (now, Duration::ZERO);
            self.open_stream(0);
        } else if !is_known {
            self.admit();
        }
        Ok(())
    }

    /// A receiver is known by nothing but its address, so no two hosts can have the same: whoever had
    /// it before must be gone.
    fn vacate(&mut self, now: Instant, id: HostId, address: Ipv4Addr) -> Result<(), Refusal> {
        for (other, seat) in &mut self.seats {
            if *other == id || !seat.is_live() || seat.address != Some(address) {
                continue;
            }
            if !seat.is_gone(now, self.plan.rebind_after(seat)) {
                return Err(Refusal::AnotherMachine { address });
            }
            seat.unbind(now);
        }
        Ok(())
    }

    /// A check-in after the start: the host rebooted, or was left behind.
    fn refuse_late(&mut self, now: Instant, id: HostId) -> Refusal {
        let stream = self.stream_name();
        let seat = self.seats.get(&id);
        let reason = if seat.is_some_and(|seat| seat.has_received) {
            Reason::Restarted { stream }
        } else if seat.is_some_and(|seat| seat.has_gone) {
            Reason::NotConnected
        } else {
            Reason::Late { stream }
        };
        self.end_seat(now, id, State::Failed, reason.clone());
        self.settle(now);
        Refusal::Over(reason)
    }
}

/// Notes of refused check-ins of a host, some 300 bytes each: two machines that ask in turn are news
/// every time.
const MAX_REFUSALS: u32 = 6;
