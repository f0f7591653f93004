//! Servers whose copy of an image is not what was verified: for a while they are not asked for it again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::domain::{ImageId, Timestamp};

/// What came from servers and was not what was verified: some 100 bytes for each image and server.
#[derive(Debug, Default)]
pub(super) struct Rotten(BTreeMap<ImageId, Of>);

/// Of one image, in one version.
#[derive(Debug)]
struct Of {
    checked_at: Timestamp,
    servers: BTreeMap<String, Bad>,
}

#[derive(Debug, Clone, Copy)]
struct Bad {
    times: u32,
    until: Instant,
}

impl Rotten {
    /// Bytes of this server were wrong: how long it is not asked again, twice as long each time.
    pub(super) fn note(
        &mut self,
        now: Instant,
        image: ImageId,
        checked_at: Timestamp,
        server: &str,
    ) -> Duration {
        let fresh = || Of {
            checked_at,
            servers: BTreeMap::new(),
        };
        let of = self.0.entry(image).or_insert_with(fresh);
        if of.checked_at != checked_at {
            *of = fresh();
        }
        let times = of.servers.get(server).map_or(0, |bad| bad.times);
        let rest = SHORTEST.saturating_mul(1 << times.min(16)).min(LONGEST);
        let bad = Bad {
            times: times.saturating_add(1),
            until: now + rest,
        };
        of.servers.insert(server.to_owned(), bad);
        rest
    }

    /// Whether this server is to be left alone for now.
    pub(super) fn has(
        &self,
        now: Instant,
        image: ImageId,
        checked_at: Timestamp,
        server: &str,
    ) -> bool {
        let of = self.0.get(&image).filter(|of| of.checked_at == checked_at);
        let bad = of.and_then(|of| of.servers.get(server));
        bad.is_some_and(|bad| now < bad.until)
    }

    /// Somebody has looked after the copies.
    pub(super) fn forget(&mut self, image: ImageId) {
        self.0.remove(&image);
    }
}

/// After the first time.
const SHORTEST: Duration = Duration::from_secs(600);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_rests_longer_each_time_and_for_this_image_alone() {
        let mut rotten = Rotten::default();
        let (image, at, start) = (ImageId(1), Timestamp(5), Instant::now());
        let mut now = start;
        let mut rests = Vec::new();
        for _ in 0..20 {
            let rest = rotten.note(now, image, at, "a");
            assert!(rotten.has(now + rest - Duration::from_secs(1), image, at, "a"));
            now += rest;
            assert!(!rotten.has(now, image, at, "a"));
            rests.push(rest);
        }
        assert_eq!(rests[..3], [SHORTEST, SHORTEST * 2, SHORTEST * 4]);
        assert_eq!(rests.last(), Some(&LONGEST));
        rotten.note(now, image, at, "a");
        assert!(!rotten.has(now, image, at, "b"));
        assert!(!rotten.has(now, ImageId(2), at, "a"));
        // Another version of the image has other bytes.
        assert!(!rotten.has(now, image, Timestamp(6), "a"));
        assert_eq!(rotten.note(now, image, Timestamp(6), "b"), SHORTEST);
        assert!(!rotten.has(now, image, at, "a"), "of a former version");
        rotten.forget(image);
        assert!(!rotten.has(now, image, Timestamp(6), "b"));
    }
}
