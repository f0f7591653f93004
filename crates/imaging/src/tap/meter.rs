//! How much has flowed where, and who waits for whom.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Counters of the data path, written by its threads, read by everybody.
#[derive(Debug, Default)]
pub struct Flow {
    /// Bytes taken from the network, over all streams.
    stored: AtomicU64,
    /// Bytes of used blocks handed to the disk, over all streams.
    used: AtomicU64,
    /// Of both, what has to come again, or has come before.
    stored_in_vain: AtomicU64,
    used_in_vain: AtomicU64,
    /// Time the reader spent waiting for the network, in nanoseconds.
    network_wait: AtomicU64,
    /// Time the decoder spent waiting for the disk, in nanoseconds.
    disk_wait: AtomicU64,
    /// Since when the source has been read in vain, if it is being read.
    on_source: Mutex<Option<Instant>>,
    /// The call of the disk that has not returned yet. There is one thread that makes them.
    on_disk: Mutex<Option<(DiskStep, Instant)>>,
}

/// What the disk is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskStep {
    /// It takes data.
    Write,
    /// It takes the rest of a stream and puts it on the medium.
    Sync,
    /// It takes the partition table.
    Table,
    /// A program grows a file system on it.
    Grow,
}

/// A look at a [`Flow`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// Bytes taken from the source.
    pub stored: u64,
    /// Bytes handed to the target.
    pub used: u64,
    /// Time spent waiting for the source.
    pub network_wait: Duration,
    /// Time spent waiting for the target.
    pub disk_wait: Duration,
}

impl Flow {
    /// So many bytes came from the source, after so long.
    pub fn stored(&self, bytes: usize, waited: Duration) {
        add(&self.stored, bytes);
        add_time(&self.network_wait, waited);
    }

    /// Reads a piece of the source, which may have to be waited for; who looks meanwhile sees that.
    ///
    /// # Errors
    /// As `read` says.
    pub fn on_source<T: Deref<Target = [u8]>, E>(
        &self,
        read: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.reading(read, |piece| piece.len())
    }

    /// The same for what has its length in bytes elsewhere.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn reading<T, E>(
        &self,
        read: impl FnOnce() -> Result<T, E>,
        len: impl FnOnce(&T) -> usize,
    ) -> Result<T, E> {
        let begin = now();
        *lock(&self.on_source) = Some(begin);
        let piece = read();
        let mut on_source = lock(&self.on_source);
        *on_source = None;
        if let Ok(piece) = &piece {
            self.stored(len(piece), begin.elapsed());
        }
        piece
    }

    /// So many bytes were handed to the target, after so long.
    pub fn used(&self, bytes: usize, waited: Duration) {
        add(&self.used, bytes);
        add_time(&self.disk_wait, waited);
    }

    /// So much of what was counted belongs to an attempt that does not count any more.
    pub fn take_back(&self, stored: u64, used: u64) {
        self.stored_in_vain.fetch_add(stored, Ordering::Relaxed);
        self.used_in_vain.fetch_add(used, Ordering::Relaxed);
    }

    /// Bytes from the network, and bytes of used blocks, that need not come again.
    pub fn progress(&self) -> (u64, u64) {
        let net = |all: &AtomicU64, vain: &AtomicU64| {
            // In this order: what is taken back was counted before.
            let vain = vain.load(Ordering::Relaxed);
            all.load(Ordering::Relaxed).saturating_sub(vain)
        };
        (
            net(&self.stored, &self.stored_in_vain),
            net(&self.used, &self.used_in_vain),
        )
    }

    /// Does something that may have to wait for the disk, and counts the time. What is a part of another
    /// such thing counts with that.
    pub fn on_disk<T>(&self, step: DiskStep, work: impl FnOnce() -> T) -> T {
        let begin = now();
        {
            let mut on_disk = lock(&self.on_disk);
            if on_disk.is_some() {
                drop(on_disk);
                return work();
            }
            *on_disk = Some((step, begin));
        }
        let done = work();
        let mut on_disk = lock(&self.on_disk);
        *on_disk = None;
        add_time(&self.disk_wait, begin.elapsed());
        done
    }

    /// What the disk is doing, and since when.
    pub fn disk_step(&self) -> Option<(DiskStep, Instant)> {
        *lock(&self.on_disk)
    }

    /// For how long the source has been read in vain, if it is being read.
    pub fn source_wait(&self) -> Option<Duration> {
        lock(&self.on_source).map(|since| since.elapsed())
    }

    /// Waits that are not over count as far as they have come.
    pub fn sample(&self) -> Sample {
        let time = |counter: &AtomicU64| Duration::from_nanos(counter.load(Ordering::Relaxed));
        let elapsed = |since: Option<Instant>| since.map_or(Duration::ZERO, |at| at.elapsed());
        // Locked until the counters have been read: a wait that ends now is seen once.
        let on_source = lock(&self.on_source);
        let network_wait = time(&self.network_wait) + elapsed(*on_source);
        drop(on_source);
        let on_disk = lock(&self.on_disk);
        let disk_wait = time(&self.disk_wait) + elapsed(on_disk.map(|(_, since)| since));
        drop(on_disk);
        Sample {
            stored: self.stored.load(Ordering::Relaxed),
            used: self.used.load(Ordering::Relaxed),
            network_wait,
            disk_wait,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a flow measures how long its own calls take"
)]
fn now() -> Instant {
    Instant::now()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn add(counter: &AtomicU64, bytes: usize) {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    counter.fetch_add(bytes, Ordering::Relaxed);
}

fn add_time(counter: &AtomicU64, time: Duration) {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    counter.fetch_add(nanos, Ordering::Relaxed);
}

/// The part of the pipeline that the others wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bottleneck {
    /// Where the bytes come from.
    Network,
    /// The decoder.
    Cpu,
    /// Where the bytes go.
    Disk,
}

/// Rates over the last seconds.
#[derive(Debug, Default)]
pub struct Meter(VecDeque<(Instant, Sample)>);

/// What a [`Meter`] shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// Bytes of used blocks per second.
    pub used_rate: f64,
    /// Bytes from the network per second.
    pub stored_rate: f64,
    /// Who is waited for, once that is known.
    pub bottleneck: Option<Bottleneck>,
}

impl Meter {
    /// Takes a sample and reads the rates over the window that ends with it.
    #[expect(clippy::cast_precision_loss, reason = "rates for display")]
    pub fn read(&mut self, now: Instant, sample: Sample) -> Reading {
        while let Some((at, _)) = self.0.front() {
            let is_old = now.saturating_duration_since(*at) > WINDOW;
            if !(is_old && self.0.len() > 1) {
                break;
            }
            self.0.pop_front();
        }
        self.0.push_back((now, sample));
        let (start, first) = self.0.front().copied().unwrap_or((now, sample));
        let time = now.saturating_duration_since(start);
        let seconds = time.as_secs_f64();
        let rate = |now: u64, then: u64| {
            if seconds > 0.0 {
                now.saturating_sub(then) as f64 / seconds
            } else {
                0.0
            }
        };
        // A source that gives nothing is waited for, too, and a disk that takes nothing.
        let has_moved = sample.stored > first.stored
            || sample.network_wait > first.network_wait
            || sample.disk_wait > first.disk_wait;
        let is_enough = time >= Duration::from_secs(1) && has_moved;
        Reading {
            used_rate: rate(sample.used, first.used),
            stored_rate: rate(sample.stored, first.stored),
            bottleneck: is_enough.then(|| {
                bottleneck(
                    time,
                    sample.network_wait.saturating_sub(first.network_wait),
                    sample.disk_wait.saturating_sub(first.disk_wait),
                )
            }),
        }
    }
}

/// A reader that mostly waits has nothing to do: the network is slow. Else the decoder holds it up,
/// which either computes or waits for the disk.
fn bottleneck(time: Duration, network_wait: Duration, disk_wait: Duration) -> Bottleneck {
    if network_wait > time / 2 {
        Bottleneck::Network
    } else if disk_wait > time / 2 {
        Bottleneck::Disk
    } else {
        Bottleneck::Cpu
    }
}

/// How far rates look back.
const WINDOW: Duration = Duration::from_secs(6);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_last_seconds() {
        let start = now();
        let mut meter = Meter::default();
        let mut reading = None;
        for second in 0..=20_u64 {
            // Fast for ten seconds, then slow.
            let used = if second <= 10 {
                second * 100
            } else {
                1000 + (second - 10) * 10
            };
            let sample = Sample {
                used,
                stored: used / 2,
                ..Sample::default()
            };
            reading = Some(meter.read(start + Duration::from_secs(second), sample));
        }
        let reading = reading.unwrap();
        assert!((9.0..=11.0).contains(&reading.used_rate), "{reading:?}");
        assert!((4.0..=6.0).contains(&reading.stored_rate), "{reading:?}");
    }

    #[test]
    fn the_bottleneck_is_the_one_that_is_waited_for() {
        let start = now();
        let read = |network_ms, disk_ms| {
            let mut meter = Meter::default();
            meter.read(start, Sample::default());
            let sample = Sample {
                stored: 1,
                used: 1,
                network_wait: Duration::from_millis(network_ms),
                disk_wait: Duration::from_millis(disk_ms),
            };
            meter
                .read(start + Duration::from_secs(2), sample)
                .bottleneck
        };
        assert_eq!(read(1900, 0), Some(Bottleneck::Network));
        assert_eq!(read(100, 1800), Some(Bottleneck::Disk));
        assert_eq!(read(100, 100), Some(Bottleneck::Cpu));
        assert_eq!(
            Meter::default().read(start, Sample::default()).bottleneck,
            None
        );
    }

    #[test]
    fn a_source_that_stands_still_is_seen() {
        let flow = Flow::default();
        let mut meter = Meter::default();
        let start = now();
        meter.read(start, flow.sample());
        assert_eq!(flow.source_wait(), None);
        let stuck = flow.on_source(|| {
            assert!(flow.source_wait().is_some());
            let mut sample = flow.sample();
            while sample.network_wait.is_zero() {
                sample = flow.sample();
            }
            // As if it went on.
            sample.network_wait = Duration::from_secs(2);
            let reading = meter.read(start + Duration::from_secs(2), sample);
            assert_eq!(reading.bottleneck, Some(Bottleneck::Network));
            Err::<Vec<u8>, _>("gone")
        });
        assert_eq!(stuck, Err("gone"));
        assert_eq!(flow.source_wait(), None);
        // What was waited for in vain is no longer waited for.
        assert_eq!(flow.sample(), Sample::default());
        let read = flow.on_source(|| Ok::<_, ()>(vec![0; 5]));
        assert_eq!((read, flow.sample().stored), (Ok(vec![0; 5]), 5));
    }

    #[test]
    fn a_disk_that_stands_still_is_seen() {
        let flow = Flow::default();
        let mut meter = Meter::default();
        let start = now();
        meter.read(start, flow.sample());
        flow.on_disk(DiskStep::Write, || {
            let mut sample = flow.sample();
            while sample.disk_wait.is_zero() {
                sample = flow.sample();
            }
            // As if it went on.
            sample.disk_wait = Duration::from_secs(2);
            let reading = meter.read(start + Duration::from_secs(2), sample);
            assert_eq!(reading.bottleneck, Some(Bottleneck::Disk));
        });
        assert_eq!(flow.disk_step(), None);
        assert!(!flow.sample().disk_wait.is_zero(), "and stays counted");
    }

    #[test]
    fn what_is_taken_back_counts_for_rates_only() {
        let flow = Flow::default();
        flow.stored(100, Duration::ZERO);
        flow.used(300, Duration::ZERO);
        flow.take_back(40, 120);
        assert_eq!(flow.progress(), (60, 180));
        let sample = flow.sample();
        assert_eq!((sample.stored, sample.used), (100, 300));
        flow.take_back(100, 300);
        assert_eq!(flow.progress(), (0, 0));
    }

    #[test]
    fn counters_add_up() {
        let flow = Flow::default();
        flow.stored(5, Duration::from_secs(1));
        flow.stored(6, Duration::from_secs(1));
        assert_eq!(flow.disk_step(), None);
        flow.on_disk(DiskStep::Sync, || {
            assert_eq!(flow.disk_step().unwrap().0, DiskStep::Sync);
        });
        assert_eq!(flow.disk_step(), None);
        flow.used(7, Duration::ZERO);
        let disk_wait = flow.sample().disk_wait;
        assert_eq!(
            flow.sample(),
            Sample {
                stored: 11,
                used: 7,
                network_wait: Duration::from_secs(2),
                disk_wait,
            }
        );
    }
}
