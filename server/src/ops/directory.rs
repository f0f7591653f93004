//! The registered hosts by address, in memory: clients ask hundreds of times a second.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use fog::Mac;

use crate::domain::HostId;
use crate::domain::host::Host;

/// All hosts.
#[derive(Debug, Default)]
pub struct Directory(RwLock<Arc<Index>>);

#[derive(Debug, Default)]
struct Index {
    by_mac: HashMap<Mac, Arc<Host>>,
    by_id: HashMap<HostId, Arc<Host>>,
}

impl Directory {
    pub(super) fn replace(&self, hosts: Vec<Host>) {
        let mut index = Index::default();
        for host in hosts {
            let host = Arc::new(host);
            for mac in &host.macs {
                index.by_mac.insert(*mac, Arc::clone(&host));
            }
            index.by_id.insert(host.id, host);
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(index);
    }

    fn index(&self) -> Arc<Index> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The host that owns one of the addresses, and that address: the first with an owner decides.
    #[must_use]
    pub fn find(&self, macs: &[Mac]) -> Option<(Arc<Host>, Mac)> {
        let index = self.index();
        let found = |mac: &Mac| Some((Arc::clone(index.by_mac.get(mac)?), *mac));
        macs.iter().find_map(found)
    }

    /// The host of this number.
    #[must_use]
    pub fn host(&self, id: HostId) -> Option<Arc<Host>> {
        self.index().by_id.get(&id).cloned()
    }

    /// The host of this name; letter case does not matter.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<Arc<Host>> {
        let index = self.index();
        let mut hosts = index.by_id.values();
        hosts
            .find(|host| host.name.eq_ignore_ascii_case(name))
            .cloned()
    }

    /// All hosts in natural order of their names.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Host>> {
        let mut hosts: Vec<_> = self.index().by_id.values().cloned().collect();
        hosts.sort_by(|a, b| fog::store::natural_cmp(&a.name, &b.name));
        hosts
    }
}

/// Addresses that were seen a moment ago.
#[derive(Debug, Default)]
pub(super) struct Seen(HashMap<Mac, (Instant, IpAddr)>);

impl Seen {
    /// How long an address is no news.
    const PERIOD: Duration = Duration::from_secs(60);
    /// Addresses that are kept, some 70 bytes each. Beyond, new ones are no news until some are old.
    const MAX: usize = 1000;
    /// Of these, those that came from one sender: it does not make the others unheard.
    const MAX_OF_SENDER: usize = 100;

    pub(super) fn is_news(&mut self, now: Instant, mac: Mac, sender: IpAddr) -> bool {
        if let Some((at, _)) = self.0.get(&mac)
            && now.duration_since(*at) < Self::PERIOD
        {
            return false;
        }
        let is_new = |at: &Instant| now.duration_since(*at) < Self::PERIOD;
        if self.0.len() >= Self::MAX {
            self.0.retain(|_, (at, _)| is_new(at));
        }
        let senders = self.0.values();
        let of_sender = senders.filter(|(at, from)| *from == sender && is_new(at));
        let has_place = self.0.len() < Self::MAX && of_sender.count() < Self::MAX_OF_SENDER;
        if has_place {
            self.0.insert(mac, (now, sender));
        }
        has_place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sender_does_not_make_the_others_unheard() {
        let mut seen = Seen::default();
        let now = Instant::now();
        let [loud, other] = [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
        let mac = |n: u16| Mac([2, 0, 0, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
        let news = (1..5000).filter(|n| seen.is_news(now, mac(*n), loud));
        assert_eq!(news.count(), Seen::MAX_OF_SENDER);
        assert!(seen.is_news(now, mac(6000), other));
        // Later, its news count again.
        assert!(seen.is_news(now + Seen::PERIOD, mac(6001), loud));
    }

    #[test]
    fn an_address_is_news_once_a_minute_and_their_number_is_bounded() {
        let mut seen = Seen::default();
        let now = Instant::now();
        let mac = |n: u32| {
            let [a, b, c, d] = n.to_be_bytes();
            Mac([2, 0, a, b, c, d])
        };
        let from = |n: u32| IpAddr::from([10, 0, 0, u8::try_from(n % 20).unwrap()]);
        assert!(seen.is_news(now, mac(0), from(0)));
        assert!(!seen.is_news(now + Duration::from_secs(59), mac(0), from(0)));
        assert!(seen.is_news(now + Duration::from_secs(60), mac(0), from(0)));
        let news = (1..5000).filter(|n| seen.is_news(now, mac(*n), from(*n)));
        assert_eq!(news.count(), Seen::MAX - 1);
        assert!(seen.is_news(now + Duration::from_secs(121), mac(9999), from(0)));
    }
}
