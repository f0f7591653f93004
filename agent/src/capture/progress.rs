//! How far a capture is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use capture::CapturePlan;
use imaging::tap::meter::{Bottleneck, Flow, Meter, Reading};
use readable::{Rate, Size, Time};

/// What is counted, by the threads that work.
pub(super) struct Progress {
    /// Name and bytes of each stream, before they are compressed.
    streams: Vec<(String, u64)>,
    /// The one in work.
    index: AtomicUsize,
    /// Bytes of all streams that came, before they were compressed.
    pub(super) image_done: AtomicU64,
    pub(super) flow: Arc<Flow>,
    begin: Instant,
}

/// A look at it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look<'a> {
    /// Name and bytes of all streams.
    pub(crate) streams: &'a [(String, u64)],
    /// The one in work.
    pub(crate) index: usize,
    /// Bytes that came, before they were compressed.
    pub(crate) done: u64,
    pub(crate) total: u64,
    /// Rates of the last seconds.
    pub(crate) reading: Reading,
    pub(crate) elapsed: Duration,
    /// For how long the disk has given nothing.
    pub(crate) silence: Option<Duration>,
}

impl Progress {
    pub(super) fn new(plan: &CapturePlan, lens: &[u64]) -> Self {
        let names = plan.streams.iter().map(|stream| stream.name.to_string());
        Self {
            streams: names.zip(lens.iter().copied()).collect(),
            index: AtomicUsize::new(0),
            image_done: AtomicU64::new(0),
            flow: Arc::default(),
            begin: Instant::now(),
        }
    }

    pub(super) fn begin(&self, index: usize) {
        self.index.store(index, Ordering::Relaxed);
    }

    pub(super) fn look(&self, meter: &mut Meter, now: Instant) -> Look<'_> {
        let lens = self.streams.iter().map(|(_, len)| *len);
        Look {
            streams: &self.streams,
            index: self.index.load(Ordering::Relaxed),
            done: self.image_done.load(Ordering::Relaxed),
            total: lens.fold(0, u64::saturating_add),
            reading: meter.read(now, self.flow.sample()),
            elapsed: now.saturating_duration_since(self.begin),
            silence: self
                .flow
                .source_wait()
                .filter(|wait| *wait >= readable::NAMED_AFTER),
        }
    }
}

impl Look<'_> {
    pub(crate) fn name(&self) -> &str {
        self.streams.get(self.index).map_or("", |(name, _)| name)
    }

    /// At the average rate so far.
    #[expect(clippy::cast_precision_loss, reason = "an estimate for display")]
    pub(crate) fn left(&self) -> Option<Duration> {
        if self.done == 0 || self.done > self.total {
            return None;
        }
        let share = self.done as f64 / self.total.max(1) as f64;
        let seconds = self.elapsed.as_secs_f64() / share * (1.0 - share);
        Duration::try_from_secs_f64(seconds).ok()
    }

    #[expect(clippy::cast_precision_loss, reason = "a share for display")]
    fn percent(&self) -> f64 {
        (self.done as f64 / self.total.max(1) as f64 * 100.0).min(100.0)
    }

    /// One line for people.
    pub(super) fn line(&self) -> String {
        let mut text = format!(
            "{:5.1} %  {}: {} of {} read",
            self.percent(),
            self.name(),
            Size(self.done),
            Size(self.total)
        );
        if let Some(silence) = self.silence {
            return text + &format!(", nothing from the disk for {}", Time(silence));
        }
        text += &format!(
            ", {}, {} stored",
            Rate(self.reading.stored_rate),
            Rate(self.reading.used_rate)
        );
        if let Some(left) = self.left() {
            text += &format!(", {} left", Time(left));
        }
        if let Some(bottleneck) = self.reading.bottleneck {
            text += &format!(", bottleneck: {}", word(bottleneck));
        }
        text
    }
}

/// Who is waited for: the pipeline of a capture begins at the disk.
pub(crate) fn word(bottleneck: Bottleneck) -> &'static str {
    match bottleneck {
        Bottleneck::Network => "disk",
        Bottleneck::Cpu => "CPU",
        Bottleneck::Disk => "target",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_how_fast_and_how_long_still() {
        let streams = [
            ("d1p1.img".to_owned(), 1_000_000),
            ("d1p2.img".to_owned(), 3_000_000),
        ];
        let mut look = Look {
            streams: &streams,
            index: 1,
            done: 1_000_000,
            total: 4_000_000,
            reading: Reading {
                used_rate: 2000.0,
                stored_rate: 4000.0,
                bottleneck: Some(Bottleneck::Cpu),
            },
            elapsed: Duration::from_secs(20),
            silence: None,
        };
        assert_eq!(
            look.line(),
            " 25.0 %  d1p2.img: 1.0 MB of 4.0 MB read, 4.0 kB/s, 2.0 kB/s stored, 1 min left, bottleneck: CPU"
        );
        look.silence = Some(Duration::from_secs(3));
        assert_eq!(
            look.line(),
            " 25.0 %  d1p2.img: 1.0 MB of 4.0 MB read, nothing from the disk for 3 s"
        );
        look.done = 0;
        assert_eq!(look.left(), None);
    }
}
