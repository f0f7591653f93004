//! Which DHCP servers there are: asks for an address, takes none, and collects the offers.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use fog::Mac;

use crate::message::{Reply, ReplyKind, discover, parse};

/// A survey of a network by one card.
#[derive(Debug)]
pub struct Survey {
    mac: Mac,
    xid: u32,
    ask_at: Instant,
    end: Instant,
    offers: Vec<Reply>,
}

impl Survey {
    /// One that lasts `time`. `xid` is drawn at random.
    #[must_use]
    pub fn new(mac: Mac, xid: u32, now: Instant, time: Duration) -> Self {
        Self {
            mac,
            xid,
            ask_at: now,
            end: now + time,
            offers: Vec::new(),
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called; `None` when it is over.
    #[must_use]
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        (now < self.end).then_some(self.end.min(self.ask_at))
    }

    /// What is to be sent to all now.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Vec<u8>> {
        if now < self.ask_at || now >= self.end {
            return None;
        }
        self.ask_at = now + ASK_AGAIN;
        Some(discover(self.xid, self.mac))
    }

    /// Takes a datagram; `from`: who sent it.
    pub fn handle_datagram(&mut self, from: Ipv4Addr, bytes: &[u8]) {
        let reply = parse(bytes, self.xid, self.mac, from);
        if let Some(reply) = reply.filter(|reply| reply.kind == ReplyKind::Offer)
            && self.offers.len() < SERVERS_MAX
            && self.offers.iter().all(|known| known.server != reply.server)
        {
            self.offers.push(reply);
        }
    }

    /// The offers until now, of each server the first one.
    #[must_use]
    pub fn offers(&self) -> &[Reply] {
        &self.offers
    }

    /// The offers, of each server the first one.
    #[must_use]
    pub fn into_offers(self) -> Vec<Reply> {
        self.offers
    }
}

/// The first question may be lost.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// In one network segment; whoever floods is one of them. A few hundred bytes each.
const SERVERS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::{answer, mac};

    const FROM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

    #[expect(clippy::disallowed_methods, reason = "any time will do")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn every_server_counts_once_and_only_offers_of_this_exchange() {
        let now = start();
        let mut survey = Survey::new(mac(), 7, now, Duration::from_secs(5));
        for datagram in [
            answer(7, 2, [10, 66, 0, 1], [10, 66, 0, 7]),
            answer(7, 2, [10, 0, 0, 5], [10, 0, 0, 77]),
            answer(7, 2, [10, 0, 0, 5], [10, 0, 0, 78]),
            // Of another exchange, and no offer.
            answer(8, 2, [10, 0, 0, 8], [10, 0, 0, 79]),
            answer(7, 6, [10, 0, 0, 9], [0; 4]),
            b"noise".to_vec(),
        ] {
            survey.handle_datagram(FROM, &datagram);
        }
        for other in 0..2 * u8::try_from(SERVERS_MAX).unwrap() {
            survey.handle_datagram(FROM, &answer(7, 2, [10, 1, 0, other], [10, 1, 1, 1]));
        }
        assert_eq!(survey.offers().len(), SERVERS_MAX);
        let offers = survey.into_offers();
        assert_eq!(offers.len(), SERVERS_MAX);
        let seen: Vec<_> = offers.iter().map(|offer| offer.address.octets()).collect();
        assert_eq!(seen[..2], [[10, 66, 0, 7], [10, 0, 0, 77]]);
    }

    #[test]
    fn it_asks_again_and_ends() {
        let now = start();
        let mut survey = Survey::new(mac(), 7, now, Duration::from_secs(3));
        let mut asked = Vec::new();
        let mut at = now;
        while let Some(next) = survey.poll_timeout(at) {
            at = next;
            if let Some(bytes) = survey.handle_timeout(at) {
                assert_eq!(bytes, discover(7, mac()));
                assert_eq!(survey.handle_timeout(at), None);
                asked.push(at - now);
            }
        }
        assert_eq!(asked, [Duration::ZERO, ASK_AGAIN]);
        assert_eq!(at - now, Duration::from_secs(3));
    }
}
