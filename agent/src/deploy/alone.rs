//! What deploys to this machine alone have in common, wherever their bytes come from. Nobody else waits: a stream has
//! no record, and is not sent again. A source that stops to answer is waited for: what has come is on the disk, and
//! the rest is as good as it was before.

use std::io;
use std::time::{Duration, Instant};

use readable::chain;
use tokio::sync::mpsc;

use super::ending::Ending;
use super::failure::Touched;
use super::receive::{Current, Farewell};
use super::resume::Cause;
use super::streams::{DeploySources, Source, Sources, StreamError};

/// Where streams come from.
pub(crate) trait Origin {
    /// Opens the stream of this place in the plan.
    fn open(&self, index: usize, patient: Patient) -> Box<dyn Source>;
}

/// Opens one stream after the other.
pub(crate) struct AloneSources<O> {
    pub(crate) origin: O,
    pub(crate) current: Current,
    pub(crate) farewells: mpsc::UnboundedSender<Farewell>,
    pub(crate) touched: Touched,
    pub(crate) is_server_told: bool,
    pub(crate) patience: Patience,
}

impl<O: Origin> Sources for AloneSources<O> {
    fn open(&mut self, index: usize) -> io::Result<Box<dyn Source>> {
        self.current.set_read(index);
        let patient = Patient::new(self.current.clone(), self.patience);
        Ok(self.origin.open(index, patient))
    }

    fn is_record_promised(&self) -> bool {
        false
    }

    fn confirm(&mut self, index: usize) -> usize {
        index
    }

    fn carries(&mut self, index: usize) {
        self.current.set_read(index);
    }

    fn resume(&mut self, _index: usize, _cause: Cause) -> Option<usize> {
        None
    }

    fn leaving(&mut self, error: &StreamError) {
        let text = self.touched.complete(&chain(error));
        self.is_server_told = Farewell::send(&self.farewells, text);
    }
}

impl<O: Origin> DeploySources for AloneSources<O> {
    fn explain(&self, error: &StreamError) -> String {
        chain(error)
    }

    fn is_server_told(&self) -> bool {
        self.is_server_told
    }

    fn ending(&self) -> Ending {
        self.current.ending.clone()
    }
}

/// How long a source that has stopped to answer is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Without a byte.
    pub(crate) limit: Duration,
    /// Between two tries.
    pub(crate) pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            limit: SILENCE_LIMIT,
            pause: Duration::from_secs(2),
        }
    }
}

/// Waits for a source, and says on screen for what.
pub(crate) struct Patient {
    current: Current,
    patience: Patience,
    /// Since when the source does not answer.
    lost_since: Option<Instant>,
}

impl Patient {
    pub(crate) fn new(current: Current, patience: Patience) -> Self {
        Self {
            current,
            patience,
            lost_since: None,
        }
    }

    /// # Errors
    /// If the deploy has been given up.
    pub(crate) fn check(&self) -> io::Result<()> {
        match self.current.is_given_up() {
            true => Err(io::Error::other("given up")),
            false => Ok(()),
        }
    }

    /// The source answers.
    pub(crate) fn answered(&mut self) {
        if self.lost_since.take().is_some() {
            self.current.set_share_trouble(None);
        }
    }

    /// The source did not answer, now or just before.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost_since.is_some()
    }

    /// The source does not answer. For how long that has been so, and whether it is too long.
    pub(crate) fn lost(&mut self) -> (Duration, bool) {
        let since = *self.lost_since.get_or_insert_with(Instant::now);
        let lost = since.elapsed();
        (lost, lost >= self.patience.limit)
    }

    /// Until the next try, or until all is given up.
    pub(crate) fn pause(&self, trouble: String) {
        self.current.set_share_trouble(Some(trouble));
        let end = Instant::now() + self.patience.pause;
        while !self.current.is_given_up() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(LOOK));
        }
    }
}

/// Length of a piece, in bytes.
pub(crate) const PIECE_LEN: usize = 256 << 10;
/// As long as the sender of a multicast session.
pub(crate) const SILENCE_LIMIT: Duration = Duration::from_secs(600);
/// How often a pause looks whether all is given up.
const LOOK: Duration = Duration::from_millis(250);
