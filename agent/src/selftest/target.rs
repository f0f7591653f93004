//! What a test stream is written to: nothing. It is compared with what was sent.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use fos_api::{Mismatch, TestCheck};
use image::{Geometry, Sink, SinkError};
use imaging::Target;

/// What has come; shared with who follows the transfer.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts(Arc<Mutex<Seen>>);

#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// When the first and the last bytes came.
    pub(super) span: Option<(Instant, Instant)>,
    /// Bytes that were as sent.
    pub(super) bytes: u64,
    pub(super) mismatch: Option<Mismatch>,
}

impl Facts {
    pub(super) fn seen(&self) -> Seen {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Compares.
#[derive(Debug, Default)]
pub(super) struct Compared {
    check: TestCheck,
    facts: Facts,
}

impl Compared {
    pub(super) fn new(facts: Facts) -> Self {
        Self {
            check: TestCheck::default(),
            facts,
        }
    }

    fn note<T>(&self, result: Result<T, Mismatch>) -> Result<T, Mismatch> {
        if let Err(mismatch) = &result {
            self.facts.lock().mismatch = Some(*mismatch);
        }
        result
    }
}

impl Sink for Compared {
    fn begin(&mut self, _geometry: &Geometry) -> Result<(), SinkError> {
        Ok(())
    }

    /// They come in their order: the stream is no image.
    fn extent(&mut self, _offset: u64, data: &[u8]) -> Result<(), SinkError> {
        let pushed = self.check.push(data);
        self.note(pushed)?;
        let now = Instant::now();
        let mut seen = self.facts.lock();
        let (first, _) = seen.span.unwrap_or((now, now));
        seen.span = Some((first, now));
        seen.bytes += data.len() as u64;
        Ok(())
    }
}

impl Target for Compared {
    fn commit(self, _geometry: &Geometry) -> anyhow::Result<Vec<String>> {
        self.note(self.check.finish())?;
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read as _};

    use fos_api::TestStream;
    use imaging::tap::meter::Flow;
    use imaging::{Direct, Piece, Pieces};

    use super::*;

    struct Bytes(Vec<u8>);

    impl Pieces for Bytes {
        fn next(&mut self, _spare: Vec<u8>) -> io::Result<Piece> {
            let rest = self.0.split_off(self.0.len().min(10_000));
            Ok(Piece::from(std::mem::replace(&mut self.0, rest)))
        }
    }

    /// Through the decoder, as in a transfer.
    fn compare(bytes: &[u8]) -> Seen {
        let facts = Facts::default();
        let mut target = Compared::new(facts.clone());
        let options = super::super::transfer::content();
        let mut pieces = Direct::new(Bytes(bytes.to_vec()));
        let flow = Flow::default();
        let decoded = imaging::decode(&mut pieces, options, &mut target, &flow, &mut ());
        if let Ok(summary) = decoded {
            drop(target.commit(&summary.geometry));
        }
        facts.seen()
    }

    #[test]
    fn every_byte_is_compared_and_the_end_must_have_come() {
        let mut bytes = Vec::new();
        TestStream::new(1, 300_000, Arc::default())
            .read_to_end(&mut bytes)
            .unwrap();
        let seen = compare(&bytes);
        assert_eq!((seen.mismatch, seen.bytes), (None, bytes.len() as u64));
        let cut = bytes.len() - 4096;
        let expected = Mismatch::Cut { len: cut as u64 };
        assert_eq!(compare(&bytes[..cut]).mismatch, Some(expected));
        bytes[200_000] ^= 1;
        let offset = 200_000 / 4096 * 4096;
        let expected = Mismatch::Damaged { offset };
        assert_eq!(compare(&bytes).mismatch, Some(expected));
        // An image, and a whole disk.
        for other in [&b"partclone-image"[..], &[0; 9000]] {
            assert_eq!(compare(other).mismatch, Some(Mismatch::Foreign));
        }
    }
}
