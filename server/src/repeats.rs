//! The same thing said again and again: the first time at once, then a number once a window.
//!
//! Pure: it reads no clock and writes nothing.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Counts how often each key comes.
///
/// The first line of a key is written. Those that follow within the window are counted, and the number
/// is due when the window ends; after that the next window begins. A key that is quiet for a whole
/// window is forgotten.
#[derive(Debug)]
pub struct Repeats<K> {
    window: Duration,
    max_keys: usize,
    counts: HashMap<K, u64>,
    /// Each key of `counts` once, by the end of its window: all windows have one length.
    ends: VecDeque<(Instant, K)>,
    /// Lines of keys for which there was no room, and when that number is due.
    others: Option<(Instant, u64)>,
}

/// What was not written in a window that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated<K> {
    /// The key; `None` stands for all keys for which there was no room.
    pub key: Option<K>,
    /// Lines that were not written.
    pub count: u64,
}

impl<K: Clone + Eq + Hash> Repeats<K> {
    /// At most `max_keys` keys are known at a time, which costs their size twice and some 50 bytes each.
    ///
    /// The lines of further keys are only counted, all together. The oldest key does not make room for
    /// them: who can make many keys could then have a line for each.
    #[must_use]
    pub fn new(window: Duration, max_keys: usize) -> Self {
        Self {
            window,
            max_keys,
            counts: HashMap::new(),
            ends: VecDeque::new(),
            others: None,
        }
    }

    /// Whether a line of this key is to be written; if not, it was counted.
    ///
    /// `now` never goes back.
    #[must_use]
    pub fn is_first(&mut self, now: Instant, key: &K) -> bool {
        if let Some(count) = self.counts.get_mut(key) {
            *count += 1;
            return false;
        }
        if self.counts.len() >= self.max_keys {
            let (_, count) = self.others.get_or_insert((now + self.window, 0));
            *count += 1;
            return false;
        }
        self.counts.insert(key.clone(), 0);
        self.ends.push_back((now + self.window, key.clone()));
        true
    }

    /// When [`Self::ended`] has something to do next. Changes with every other call.
    #[must_use]
    pub fn next_end(&self) -> Option<Instant> {
        let keys = self.ends.front().map(|(end, _)| *end);
        let others = self.others.map(|(end, _)| end);
        keys.into_iter().chain(others).min()
    }

    /// The numbers of windows that have ended, and begins those that follow.
    #[must_use]
    pub fn ended(&mut self, now: Instant) -> Vec<Repeated<K>> {
        let mut ended = Vec::new();
        while let Some((end, key)) = self.ends.pop_front() {
            if end > now {
                self.ends.push_front((end, key));
                break;
            }
            match self.counts.get_mut(&key).map(std::mem::take) {
                None | Some(0) => {
                    self.counts.remove(&key);
                }
                Some(count) => {
                    self.ends.push_back((now + self.window, key.clone()));
                    ended.push(Repeated {
                        key: Some(key),
                        count,
                    });
                }
            }
        }
        if let Some((_, count)) = self.others.take_if(|(end, _)| *end <= now) {
            ended.push(Repeated { key: None, count });
        }
        ended
    }

    /// All numbers that are not written yet, before the end of the program. Forgets everything.
    #[must_use]
    pub fn finish(&mut self) -> Vec<Repeated<K>> {
        let mut rest = Vec::new();
        for (_, key) in self.ends.drain(..) {
            if let Some(count) = self.counts.remove(&key).filter(|count| *count > 0) {
                let key = Some(key);
                rest.push(Repeated { key, count });
            }
        }
        if let Some((_, count)) = self.others.take() {
            rest.push(Repeated { key: None, count });
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn repeated(key: &'static str, count: u64) -> Repeated<&'static str> {
        Repeated {
            key: Some(key),
            count,
        }
    }

    #[test]
    fn the_first_line_is_written_and_the_rest_is_a_number() {
        let mut repeats = Repeats::new(MINUTE, 10);
        let start = Instant::now();
        assert_eq!(repeats.next_end(), None);
        assert!(repeats.is_first(start, &"a"));
        for second in 1..=57 {
            assert!(!repeats.is_first(start + Duration::from_secs(second), &"a"));
        }
        assert!(repeats.is_first(start + Duration::from_secs(58), &"b"));
        assert_eq!(repeats.next_end(), Some(start + MINUTE));
        assert_eq!(repeats.ended(start + MINUTE - Duration::from_nanos(1)), []);
        assert_eq!(repeats.ended(start + MINUTE), [repeated("a", 57)]);
        // A flood that goes on is a line a minute, not two.
        assert!(!repeats.is_first(start + Duration::from_secs(61), &"a"));
        assert_eq!(repeats.ended(start + MINUTE * 2), [repeated("a", 1)]);
    }

    #[test]
    fn a_quiet_key_is_forgotten() {
        let mut repeats = Repeats::new(MINUTE, 10);
        let start = Instant::now();
        assert!(repeats.is_first(start, &"a"));
        assert_eq!(repeats.ended(start + MINUTE), []);
        assert_eq!(repeats.next_end(), None);
        assert!(repeats.is_first(start + MINUTE, &"a"));
    }

    #[test]
    fn many_keys_cost_neither_memory_nor_lines() {
        let mut repeats = Repeats::new(MINUTE, 3);
        let start = Instant::now();
        let written = (0..1000).filter(|key| repeats.is_first(start, key)).count();
        assert_eq!(written, 3);
        assert_eq!(repeats.counts.len(), 3);
        let others = Repeated {
            key: None,
            count: 997,
        };
        assert_eq!(repeats.ended(start + MINUTE), [others]);
        // There is room again.
        assert!(repeats.is_first(start + MINUTE, &999));
    }

    #[test]
    fn nothing_is_lost_at_the_end() {
        let mut repeats = Repeats::new(MINUTE, 1);
        let start = Instant::now();
        assert!(repeats.is_first(start, &"a"));
        assert!(!repeats.is_first(start, &"a"));
        assert!(!repeats.is_first(start, &"b"));
        let others = Repeated {
            key: None,
            count: 1,
        };
        assert_eq!(repeats.finish(), [repeated("a", 1), others]);
        assert_eq!(repeats.finish(), []);
        assert_eq!(repeats.next_end(), None);
    }
}
