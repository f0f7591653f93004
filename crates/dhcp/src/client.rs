//! A client that takes the offer of one server only, where others take the first one that comes.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use fog::Mac;

use crate::message::{Reply, ReplyKind, discover, parse, renewal, request};

/// The exchange with the server, and the lease.
#[derive(Debug)]
pub struct ChosenServer {
    mac: Mac,
    server: Ipv4Addr,
    xid: u32,
    state: State,
    /// When something is to be done without an answer.
    due: Instant,
}

#[derive(Debug)]
enum State {
    Selecting,
    Requesting { offer: Box<Reply>, tries: u32 },
    Bound(Lease),
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    address: Ipv4Addr,
    time: Duration,
    end: Instant,
}

/// What the caller does.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// To all, from a card that may have no address.
    Broadcast(Vec<u8>),
    /// To the server, from this machine's address.
    ToServer(Vec<u8>),
    /// The address may be used, or further.
    Apply(Box<Reply>),
    /// It must not be used any more.
    Forget,
}

impl ChosenServer {
    /// `xid` is drawn at random.
    #[must_use]
    pub fn new(mac: Mac, server: Ipv4Addr, xid: u32, now: Instant) -> Self {
        Self {
            mac,
            server,
            xid,
            state: State::Selecting,
            due: now,
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.due
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Action> {
        if now < self.due {
            return None;
        }
        self.due = now + RETRY;
        match &mut self.state {
            // The same exchange: a slow server may answer the question before.
            State::Selecting => Some(Action::Broadcast(discover(self.xid, self.mac))),
            State::Requesting { tries, .. } if *tries >= TRIES => {
                self.begin(now);
                self.handle_timeout(now)
            }
            State::Requesting { offer, tries } => {
                *tries += 1;
                Some(Action::Broadcast(request(self.xid, self.mac, offer)))
            }
            State::Bound(lease) if now >= lease.end => {
                self.begin(now);
                Some(Action::Forget)
            }
            State::Bound(lease) => {
                // Half of what is left, as RFC 2131 has it (section 4.4.5); of a short lease more than once.
                let left = lease.end.saturating_duration_since(now);
                let least = (lease.time / 8).clamp(RENEWAL_PAUSE.0, RENEWAL_PAUSE.1);
                self.due = now + (left / 2).max(least).min(left);
                let bytes = renewal(self.xid, self.mac, lease.address);
                // In the last eighth any server may answer; only this one is heard.
                Some(match left > lease.time / 8 {
                    true => Action::ToServer(bytes),
                    false => Action::Broadcast(bytes),
                })
            }
        }
    }

    /// Takes a datagram; `from`: who sent it. After it [`poll_timeout`](Self::poll_timeout) may be another.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: Ipv4Addr,
        bytes: &[u8],
    ) -> Option<Action> {
        let reply =
            parse(bytes, self.xid, self.mac, from).filter(|reply| reply.server == self.server)?;
        match (&self.state, reply.kind) {
            (State::Selecting, ReplyKind::Offer) => {
                self.state = State::Requesting {
                    offer: Box::new(reply),
                    tries: 0,
                };
                self.due = now;
                self.handle_timeout(now)
            }
            (State::Requesting { .. } | State::Bound(_), ReplyKind::Ack) => {
                // Without a time it is for ever; a year is as good.
                let time = reply.lease.unwrap_or(LONGEST).min(LONGEST);
                // However short it is: behind its end another machine may get the address.
                if time.is_zero() {
                    return self.refused(now);
                }
                self.state = State::Bound(Lease {
                    address: reply.address,
                    time,
                    end: now + time,
                });
                self.due = now + time / 2;
                Some(Action::Apply(Box::new(reply)))
            }
            (State::Requesting { .. } | State::Bound(_), ReplyKind::Nak) => self.refused(now),
            _ => None,
        }
    }

    /// A server that refuses what it has offered is not asked without a pause.
    fn refused(&mut self, now: Instant) -> Option<Action> {
        let is_bound = matches!(self.state, State::Bound(_));
        self.begin(now + RETRY);
        is_bound.then_some(Action::Forget)
    }

    /// Another exchange, from then on.
    fn begin(&mut self, at: Instant) {
        self.state = State::Selecting;
        self.xid = self.xid.wrapping_add(1);
        self.due = at;
    }
}

const RETRY: Duration = Duration::from_secs(3);
const TRIES: u32 = 4;
/// Limits of the least time between two renewals, which is an eighth of the lease.
const RENEWAL_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::{answer, answer_with, mac};

    const OURS: [u8; 4] = [10, 0, 0, 5];
    const ADDRESS: [u8; 4] = [10, 0, 0, 77];
    const OFFER: u8 = 2;
    const ACK: u8 = 5;
    const NAK: u8 = 6;
    const LEASE: u8 = 51;
    const FROM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

    #[expect(clippy::disallowed_methods, reason = "any time will do")]
    fn epoch() -> Instant {
        Instant::now()
    }

    fn client(now: Instant) -> ChosenServer {
        ChosenServer::new(mac(), OURS.into(), 100, now)
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    /// One that has its lease of an hour since `now`.
    fn bound(now: Instant) -> ChosenServer {
        let mut client = client(now);
        client.handle_timeout(now).unwrap();
        let xid = client.xid;
        client
            .handle_datagram(now, FROM, &answer(xid, OFFER, OURS, ADDRESS))
            .unwrap();
        let action = client.handle_datagram(now, FROM, &answer(xid, ACK, OURS, ADDRESS));
        let Some(Action::Apply(reply)) = action else {
            panic!("{action:?}");
        };
        assert_eq!(reply.address.octets(), ADDRESS);
        client
    }

    #[test]
    fn only_the_chosen_server_is_heard() {
        let start = epoch();
        let mut client = client(start);
        let first = client.handle_timeout(start);
        assert_eq!(first, Some(Action::Broadcast(discover(100, mac()))));
        let other = [10, 0, 0, 66];
        let offer = answer(100, OFFER, other, [10, 66, 0, 7]);
        assert_eq!(client.handle_datagram(start, FROM, &offer), None);
        let offer = answer(100, OFFER, OURS, ADDRESS);
        let taken = client.handle_datagram(start, FROM, &offer);
        let expected = request(100, mac(), &parse(&offer, 100, mac(), FROM).unwrap());
        assert_eq!(taken, Some(Action::Broadcast(expected)));
        let ack = answer(100, ACK, other, [10, 66, 0, 7]);
        assert_eq!(client.handle_datagram(start, FROM, &ack), None);
        // An offer that comes twice changes nothing.
        assert_eq!(client.handle_datagram(start, FROM, &offer), None);
    }

    #[test]
    fn silence_is_asked_again_and_a_refusal_begins_anew() {
        let start = epoch();
        let mut client = client(start);
        client.handle_timeout(start).unwrap();
        assert_eq!(client.handle_timeout(start), None, "not due");
        let again = client.handle_timeout(after(start, 3));
        assert_eq!(again, Some(Action::Broadcast(discover(100, mac()))));
        let offer = answer(100, OFFER, OURS, ADDRESS);
        client
            .handle_datagram(after(start, 4), FROM, &offer)
            .unwrap();
        for count in 1..TRIES {
            let action = client.handle_timeout(after(start, 4 + 3 * u64::from(count)));
            assert!(matches!(action, Some(Action::Broadcast(_))), "{action:?}");
        }
        let given_up = client.handle_timeout(after(start, 60));
        assert_eq!(given_up, Some(Action::Broadcast(discover(101, mac()))));
        client
            .handle_datagram(after(start, 60), FROM, &answer(101, OFFER, OURS, ADDRESS))
            .unwrap();
        let refused =
            client.handle_datagram(after(start, 61), FROM, &answer(101, NAK, OURS, [0; 4]));
        assert_eq!(refused, None);
        let anew = client.handle_timeout(client.poll_timeout());
        assert_eq!(anew, Some(Action::Broadcast(discover(102, mac()))));
    }

    #[test]
    fn a_lease_is_renewed_at_half_its_time_and_forgotten_at_its_end() {
        let start = epoch();
        let mut client = bound(start);
        assert_eq!(client.poll_timeout(), after(start, 1800));
        let renew = renewal(client.xid, mac(), ADDRESS.into());
        let action = client.handle_timeout(after(start, 1800));
        assert_eq!(action, Some(Action::ToServer(renew.clone())));
        let xid = client.xid;
        let action =
            client.handle_datagram(after(start, 1801), FROM, &answer(xid, ACK, OURS, ADDRESS));
        assert!(matches!(action, Some(Action::Apply(_))));
        assert_eq!(client.poll_timeout(), after(start, 3601));
        // The server is gone: it is asked, at last by broadcast, and the address is given up in time.
        let mut actions = Vec::new();
        while actions.last() != Some(&Action::Forget) {
            actions.extend(client.handle_timeout(client.poll_timeout()));
            assert!(actions.len() < 100);
        }
        assert_eq!(actions[0], Action::ToServer(renew.clone()));
        assert!(actions.contains(&Action::Broadcast(renew)));
        assert_eq!(client.poll_timeout(), after(start, 1801 + 3600));
        let action = client.handle_timeout(client.poll_timeout());
        assert_eq!(action, Some(Action::Broadcast(discover(101, mac()))));
    }

    #[test]
    fn an_address_that_is_taken_back_is_forgotten() {
        let start = epoch();
        let mut client = bound(start);
        client.handle_timeout(after(start, 1800)).unwrap();
        let nak = answer(client.xid, NAK, OURS, [0; 4]);
        assert_eq!(
            client.handle_datagram(after(start, 1801), FROM, &nak),
            Some(Action::Forget)
        );
    }

    /// Answers to the offer with a lease of this many seconds.
    fn leased(now: Instant, seconds: u32) -> (ChosenServer, Option<Action>) {
        let mut client = client(now);
        client.handle_timeout(now).unwrap();
        let offer = answer(client.xid, OFFER, OURS, ADDRESS);
        client.handle_datagram(now, FROM, &offer).unwrap();
        let time = seconds.to_be_bytes();
        let ack = answer_with(client.xid, ACK, OURS, ADDRESS, &[(LEASE, &time)]);
        let action = client.handle_datagram(now, FROM, &ack);
        (client, action)
    }

    #[test]
    fn a_short_lease_is_not_used_beyond_its_end() {
        let start = epoch();
        for seconds in [1, 2, 10, 30, 59, 61] {
            let (mut client, action) = leased(start, seconds);
            assert!(matches!(action, Some(Action::Apply(_))), "{action:?}");
            assert_eq!(
                client.poll_timeout() - start,
                Duration::from_secs(seconds.into()) / 2
            );
            let mut renewals = 0;
            let end = loop {
                let at = client.poll_timeout();
                match client.handle_timeout(at) {
                    Some(Action::Forget) => break at,
                    Some(_) => renewals += 1,
                    None => panic!("{seconds}: nothing was due"),
                }
                assert!(renewals < 10, "{seconds}");
            };
            assert_eq!(end, after(start, seconds.into()));
            // One lost datagram does not cost the address, where there is time for two.
            assert!(renewals >= if seconds < 4 { 1 } else { 2 }, "{seconds}");
        }
    }

    #[test]
    fn a_lease_of_no_time_is_a_refusal() {
        let start = epoch();
        let (client, action) = leased(start, 0);
        assert_eq!(action, None);
        assert_eq!(client.poll_timeout(), after(start, RETRY.as_secs()));
        let mut client = bound(start);
        let ack = answer_with(client.xid, ACK, OURS, ADDRESS, &[(LEASE, &[0; 4])]);
        let action = client.handle_datagram(after(start, 1800), FROM, &ack);
        assert_eq!(action, Some(Action::Forget));
    }
}
