//! Nobody tries many passwords: after some wrong ones there is a pause before each further one.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Tries by their key, for example an address; some 100 bytes each.
#[derive(Debug)]
pub(super) struct Brake<K> {
    tries: HashMap<K, Tries>,
    longest: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Tries {
    /// Those that were not right, or are not decided yet.
    wrong: u32,
    last: Instant,
}

/// Tries without a pause.
pub(super) const FREE: u32 = 5;

/// As long ago, and it is forgotten.
const MEMORY: Duration = Duration::from_secs(15 * 60);

/// Keys that are remembered.
const MOST: usize = 10_000;

impl<K: Eq + Hash + Clone> Brake<K> {
    /// A pause never takes longer than this.
    pub(super) fn new(longest: Duration) -> Self {
        Self {
            tries: HashMap::new(),
            longest,
        }
    }

    /// How long this key has to wait until it may try; `None` if it may now.
    pub(super) fn wait(&self, now: Instant, key: &K) -> Option<Duration> {
        let tries = self.tries.get(key)?;
        let passed = now.saturating_duration_since(tries.last);
        if passed >= MEMORY {
            return None;
        }
        let over = tries.wrong.checked_sub(FREE)?;
        let pause = Duration::from_secs(1 << over.min(20)).min(self.longest);
        pause.checked_sub(passed).filter(|left| !left.is_zero())
    }

    /// It tries. That counts as wrong until [`Self::right`]: many that begin at the same moment are many.
    pub(super) fn tries(&mut self, now: Instant, key: &K) {
        if self.tries.len() >= MOST && !self.tries.contains_key(key) {
            self.make_room(now);
        }
        let tries = self.tries.entry(key.clone()).or_insert(Tries {
            wrong: 0,
            last: now,
        });
        if now.saturating_duration_since(tries.last) >= MEMORY {
            tries.wrong = 0;
        }
        tries.wrong = tries.wrong.saturating_add(1);
        tries.last = now;
    }

    /// It was right.
    pub(super) fn right(&mut self, key: &K) {
        self.tries.remove(key);
    }

    fn make_room(&mut self, now: Instant) {
        self.tries
            .retain(|_, tries| now.saturating_duration_since(tries.last) < MEMORY);
        if self.tries.len() >= MOST {
            let oldest = self.tries.iter().min_by_key(|(_, tries)| tries.last);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.tries.remove(&oldest);
            }
        }
    }
}

/// Keys that were right before, some 100 bytes each; a restart forgets them.
#[derive(Debug)]
pub(super) struct Familiar<K>(VecDeque<K>);

impl<K> Default for Familiar<K> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K: PartialEq> Familiar<K> {
    const MOST: usize = 1000;

    /// It was right. The one that was so longest ago makes room.
    pub(super) fn add(&mut self, key: K) {
        self.0.retain(|known| *known != key);
        if self.0.len() >= Self::MOST {
            self.0.pop_front();
        }
        self.0.push_back(key);
    }

    pub(super) fn has(&self, key: &K) -> bool {
        self.0.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_end_with_the_right_one() {
        let mut brake = Brake::new(Duration::from_secs(60));
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..14 {
            let pause = brake.wait(now, &1).unwrap_or_default();
            pauses.push(pause.as_secs());
            now += pause;
            assert_eq!(brake.wait(now, &1), None);
            brake.tries(now, &1);
        }
        assert_eq!(pauses, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        // Not that of another one.
        assert_eq!(brake.wait(now, &2), None);
        brake.right(&1);
        assert_eq!(brake.wait(now, &1), None);
    }

    #[test]
    fn the_last_that_were_right_are_known() {
        let mut familiar = Familiar::default();
        for key in 0..3000 {
            familiar.add(key);
            familiar.add(2);
        }
        assert_eq!(familiar.0.len(), Familiar::<i32>::MOST);
        assert!(familiar.has(&2999) && familiar.has(&2) && !familiar.has(&3));
    }

    #[test]
    fn it_is_forgotten_and_bounded() {
        let mut brake = Brake::new(Duration::from_secs(60));
        let start = Instant::now();
        for _ in 0..20 {
            brake.tries(start, &0);
        }
        assert!(brake.wait(start, &0).is_some());
        let later = start + MEMORY;
        assert_eq!(brake.wait(later, &0), None);
        brake.tries(later, &0);
        assert_eq!(brake.wait(later, &0), None);
        for key in 1..30_000 {
            brake.tries(later, &key);
        }
        assert!(brake.tries.len() <= MOST);
        // The newest are those that are kept.
        assert!(brake.tries.contains_key(&29_999));
    }
}
