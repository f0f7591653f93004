//! Reading a source: the time that it takes, and the bytes that come.

use std::io;

use deploy_plan::PlannedStream;
use fog::record::RECORD_LEN;

use super::{Pipeline, Source, StreamError};
use crate::screen::Phase;

/// Reads a source, and counts the time and the bytes.
pub(super) struct Reader<'env> {
    pub(super) pipeline: &'env Pipeline<'env>,
    pub(super) stream: &'env PlannedStream,
    pub(super) received: u64,
}

impl Reader<'_> {
    /// Reads as many bytes as a stream is known by, or all if there are fewer.
    pub(super) fn read_start(
        &mut self,
        source: &mut dyn Source,
        wait: &mut Option<Phase>,
    ) -> Result<Vec<u8>, StreamError> {
        let mut start = vec![0; self.pipeline.start_len()];
        let mut filled = 0;
        while filled < start.len() {
            let len = self.timed(|| source.read(&mut start[filled..]), |len| *len)?;
            if len == 0 {
                break;
            }
            drop(wait.take());
            filled += len;
        }
        start.truncate(filled);
        let found = u64::try_from(start.len()).unwrap_or(u64::MAX);
        if start.len() < RECORD_LEN && found < self.stream.stored_len {
            // Too short to tell what it is; the sender was stopped.
            return Err(StreamError::TooShort {
                name: self.stream.name.clone(),
                found,
                expected: self.stream.stored_len,
            });
        }
        Ok(start)
    }

    pub(super) fn timed<T>(
        &mut self,
        mut read: impl FnMut() -> io::Result<T>,
        len: impl Fn(&T) -> usize,
    ) -> Result<T, StreamError> {
        let read = || loop {
            match read() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => break done,
            }
        };
        let read = self.pipeline.flow.reading(read, &len);
        let read = read.map_err(|source| StreamError::Receive {
            name: self.stream.name.clone(),
            bytes: self.received,
            source,
        })?;
        self.received += u64::try_from(len(&read)).unwrap_or(u64::MAX);
        Ok(read)
    }
}
