//! Lines on their way to a thread that writes them.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A bounded queue. Whoever has a line never waits: if there is no room, the line is counted instead.
#[derive(Debug)]
pub(super) struct Queue<T> {
    limits: QueueLimits,
    inner: Mutex<Inner<T>>,
    /// Something is there for the writer.
    filled: Condvar,
    /// The writer has ended.
    ended: Condvar,
}

/// What a queue may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueLimits {
    /// Lines that wait at a time; each costs its length and some 50 bytes.
    pub(super) lines: usize,
    /// Lines taken in a minute; each costs its length on the disk.
    pub(super) lines_a_minute: u64,
}

#[derive(Debug)]
struct Inner<T> {
    lines: VecDeque<T>,
    /// Lines lost since the writer was told of it.
    dropped: u64,
    /// The present minute, and the lines in it.
    minute: Option<(Instant, u64)>,
    is_closed: bool,
    has_ended: bool,
}

/// What the writer has to do.
#[derive(Debug)]
pub(super) struct Work<T> {
    pub(super) lines: Vec<T>,
    /// Lines that got lost before these.
    pub(super) dropped: u64,
    /// Nothing will follow.
    pub(super) is_last: bool,
}

impl<T> Queue<T> {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            inner: Mutex::new(Inner {
                lines: VecDeque::new(),
                dropped: 0,
                minute: None,
                is_closed: false,
                has_ended: false,
            }),
            filled: Condvar::new(),
            ended: Condvar::new(),
        }
    }

    /// Hands a line over; lines after [`Self::close`] are lost.
    pub(super) fn push(&self, now: Instant, line: T) {
        let mut inner = self.lock();
        let in_minute = match &mut inner.minute {
            Some((start, count)) if now.saturating_duration_since(*start) < MINUTE => {
                *count += 1;
                *count
            }
            minute => {
                *minute = Some((now, 1));
                1
            }
        };
        let has_room = inner.lines.len() < self.limits.lines;
        if has_room && in_minute <= self.limits.lines_a_minute && !inner.is_closed {
            inner.lines.push_back(line);
        } else {
            inner.dropped += 1;
        }
        drop(inner);
        self.filled.notify_one();
    }

    /// Adds to the number of lines that got lost.
    pub(super) fn lose(&self, count: u64) {
        self.lock().dropped += count;
    }

    /// Waits for lines, or until a time.
    pub(super) fn take(&self, until: Option<Instant>) -> Work<T> {
        let mut inner = self.lock();
        while inner.lines.is_empty() && !inner.is_closed {
            let Some(until) = until else {
                inner = self
                    .filled
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.filled.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let count = inner.lines.len().min(BATCH);
        Work {
            lines: inner.lines.drain(..count).collect(),
            dropped: std::mem::take(&mut inner.dropped),
            is_last: inner.is_closed && inner.lines.is_empty(),
        }
    }

    /// The writer says that it ends.
    pub(super) fn end(&self) {
        self.lock().has_ended = true;
        self.ended.notify_all();
    }

    /// Takes nothing more, and waits until all is written; answers whether it is.
    pub(super) fn close(&self, wait: Duration) -> bool {
        let mut inner = self.lock();
        inner.is_closed = true;
        self.filled.notify_one();
        let until = Instant::now() + wait;
        while !inner.has_ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.ended.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// Lines that are written at a time.
const BATCH: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: QueueLimits = QueueLimits {
        lines: 3,
        lines_a_minute: 5,
    };

    #[test]
    fn lines_without_room_are_counted() {
        let queue = Queue::new(LIMITS);
        let now = Instant::now();
        for line in 0..5 {
            queue.push(now, line);
        }
        let work = queue.take(None);
        assert_eq!((work.lines, work.dropped), (vec![0, 1, 2], 2));
        assert!(!work.is_last);
    }

    #[test]
    fn a_minute_has_its_limit_and_the_next_one_begins_anew() {
        let queue = Queue::new(LIMITS);
        let now = Instant::now();
        let mut taken = 0;
        for line in 0..10 {
            queue.push(now, line);
            taken += queue.take(Some(now)).lines.len();
        }
        assert_eq!(taken, 5);
        queue.push(now + MINUTE, 10);
        assert_eq!(queue.take(None).lines, [10]);
    }

    #[test]
    fn closing_is_bounded_and_leaves_nothing() {
        let queue = Queue::new(LIMITS);
        queue.push(Instant::now(), 1);
        // No writer: it cannot end.
        assert!(!queue.close(Duration::ZERO));
        queue.push(Instant::now(), 2);
        let work = queue.take(None);
        assert_eq!((work.lines, work.dropped, work.is_last), (vec![1], 1, true));
        queue.end();
        assert!(queue.close(Duration::ZERO));
    }
}
