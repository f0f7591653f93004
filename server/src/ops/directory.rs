//! The registered hosts by address, in memory: clients ask hundreds of times a second.

use std::collections::HashMap;
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
pub(super) struct Seen(HashMap<Mac, Instant>);

impl Seen {
    /// How long an address is no news.
    const PERIOD: Duration = Duration::from_secs(60);
    /// Addresses that are kept, some 50 bytes each. Beyond, new ones are no news until some are old.
    const MAX: usize = 1000;

    pub(super) fn is_news(&mut self, now: Instant, mac: Mac) -> bool {
        if self.0.len() >= Self::MAX {
            self.0
                .retain(|_, at| now.duration_since(*at) < Self::PERIOD);
        }
        if let Some(at) = self.0.get(&mac)
            && now.duration_since(*at) < Self::PERIOD
        {
            return false;
        }
        let has_place = self.0.len() < Self::MAX;
        if has_place {
            self.0.insert(mac, now);
        }
        has_place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_news_once_a_minute_and_their_number_is_bounded() {
        let mut seen = Seen::default();
        let now = Instant::now();
        let mac = |n: u32| {
            let [a, b, c, d] = n.to_be_bytes();
            Mac([2, 0, a, b, c, d])
        };
        assert!(seen.is_news(now, mac(0)));
        assert!(!seen.is_news(now + Duration::from_secs(59), mac(0)));
        assert!(seen.is_news(now + Duration::from_secs(60), mac(0)));
        let news = (1..5000).filter(|n| seen.is_news(now, mac(*n))).count();
        assert_eq!(news, Seen::MAX - 1);
        assert!(seen.is_news(now + Duration::from_secs(121), mac(9999)));
    }
}
