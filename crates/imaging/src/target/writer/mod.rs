//! The thread that writes through the page cache, so that decoding goes on meanwhile.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use conveyor::{Loader, Unloader, conveyor};
use image::SinkError;

use super::trace::Trace;

/// What takes the data.
pub(super) enum Medium {
    File(File),
    /// Standard output, and how far it is.
    StandardOutput(u64),
}

impl Medium {
    fn write(&mut self, position: u64, data: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write_all_at(data, position),
            Self::StandardOutput(at) => {
                if position < *at {
                    let text = format!("the stream is at byte {at} and cannot go back");
                    return Err(io::Error::new(io::ErrorKind::NotSeekable, text));
                }
                let mut output = io::stdout().lock();
                let written =
                    zeroes(&mut output, position - *at).and_then(|()| output.write_all(data));
                *at = position + data.len() as u64;
                written
            }
        }
    }

    /// Brings standard output to its length.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn end(&mut self, len: u64) -> io::Result<()> {
        if let Self::StandardOutput(at) = self {
            let mut output = io::stdout().lock();
            zeroes(&mut output, len.saturating_sub(*at))?;
            output.flush()?;
            *at = len.max(*at);
        }
        Ok(())
    }
}

fn zeroes(output: &mut impl io::Write, count: u64) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), count), output).map(drop)
}

/// Joins neighbouring data and hands it to its thread. Dropped, it waits for what was handed over.
pub(super) struct Writer {
    /// What is being joined.
    open: Option<Block>,
    jobs: Option<Loader<Block, Vec<u8>>>,
    thread: Option<JoinHandle<Written>>,
    has_failed: Arc<AtomicBool>,
    /// The failure that has been reported, for further calls.
    reported: Option<String>,
}

/// Data for one place of the output, [`BLOCK_LEN`] bytes at most.
struct Block {
    position: u64,
    data: Vec<u8>,
}

/// What the thread leaves.
pub(super) struct Written {
    pub(super) medium: Medium,
    /// Writes that failed and were passed over.
    pub(super) skipped: u64,
    /// The first that failed otherwise. Nothing was written after it.
    failure: Option<String>,
}

/// Bytes written at once, at most.
const BLOCK_LEN: usize = 1 << 20;
const BLOCKS: usize = 4;

impl Writer {
    /// Starts the thread. With `skip` it goes on after failures, and reports them to that; `trace` reports what
    /// was written to `name`.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(
        medium: Medium,
        name: String,
        skip: Option<fn(&str)>,
        trace: &Trace,
    ) -> Result<Self, SinkError> {
        let blocks = std::iter::repeat_with(|| Vec::with_capacity(BLOCK_LEN));
        let (jobs, todo) = conveyor(blocks.take(BLOCKS));
        let has_failed: Arc<AtomicBool> = Arc::default();
        let flag = Arc::clone(&has_failed);
        let trace = trace.clone();
        let work = move || work(medium, &name, skip, &trace, &flag, todo);
        let thread = thread::Builder::new().name("writer".into()).spawn(work)?;
        Ok(Self {
            open: None,
            jobs: Some(jobs),
            thread: Some(thread),
            has_failed,
            reported: None,
        })
    }

    /// Takes data for `position`. The caller has checked that its end can be expressed.
    ///
    /// # Errors
    /// What failed before.
    pub(super) fn write(&mut self, position: u64, data: &[u8]) -> Result<(), SinkError> {
        if self.has_failed.load(Ordering::Acquire) {
            return Err(self.failure());
        }
        let (mut position, mut rest) = (position, data);
        while !rest.is_empty() {
            let mut block = match self.open.take() {
                Some(block) if block.position + block.data.len() as u64 == position => block,
                Some(block) => {
                    self.submit(block)?;
                    self.begin(position)?
                }
                None => self.begin(position)?,
            };
            let room = BLOCK_LEN - block.data.len();
            let (now, later) = rest.split_at(room.min(rest.len()));
            block.data.extend_from_slice(now);
            position += now.len() as u64;
            rest = later;
            if block.data.len() == BLOCK_LEN {
                self.submit(block)?;
            } else {
                self.open = Some(block);
            }
        }
        Ok(())
    }

    /// Waits until everything has been written; it may not be on the medium yet.
    ///
    /// # Errors
    /// What failed.
    pub(super) fn finish(mut self) -> Result<Written, SinkError> {
        if let Some(block) = self.open.take() {
            self.submit(block)?;
        }
        match self.end() {
            Some(written) if written.failure.is_none() => Ok(written),
            ended => Err(self.report(ended)),
        }
    }

    fn begin(&mut self, position: u64) -> Result<Block, SinkError> {
        let Some(Ok(mut data)) = self.jobs.as_ref().map(Loader::buffer) else {
            return Err(self.failure());
        };
        data.clear();
        Ok(Block { position, data })
    }

    fn submit(&mut self, block: Block) -> Result<(), SinkError> {
        let sent = self.jobs.as_ref().map(|jobs| jobs.put(block));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(self.failure()),
        }
    }

    fn failure(&mut self) -> SinkError {
        let ended = self.end();
        self.report(ended)
    }

    /// The first failure, however often it is asked for.
    fn report(&mut self, ended: Option<Written>) -> SinkError {
        let failure = ended.and_then(|written| written.failure);
        let reported = self
            .reported
            .get_or_insert_with(|| failure.unwrap_or_else(|| DEFECT.to_owned()));
        reported.as_str().into()
    }

    /// Hangs up; `None` if the thread has ended before, or panicked.
    fn end(&mut self) -> Option<Written> {
        if let Some(jobs) = self.jobs.take() {
            // A thread that is gone has left its reason.
            jobs.end().ok();
        }
        self.thread.take()?.join().ok()
    }
}

const DEFECT: &str = "the writing thread stopped by a programming error";

impl Drop for Writer {
    fn drop(&mut self) {
        // There is a failure that came first.
        drop(self.end());
    }
}

fn work(
    mut medium: Medium,
    name: &str,
    skip: Option<fn(&str)>,
    trace: &Trace,
    has_failed: &AtomicBool,
    mut todo: Unloader<Block, Vec<u8>>,
) -> Written {
    let (mut skipped, mut failure) = (0, None);
    while let Ok(Some(Block { position, data })) = todo.take() {
        let len = data.len();
        if failure.is_none() {
            trace.touch();
            if let Err(error) = medium.write(position, &data) {
                let text = format!("{name}: write error at byte {position} ({len} bytes): {error}");
                if let Some(report) = skip {
                    skipped += 1;
                    report(&format!("{text}; skipped"));
                } else {
                    failure = Some(text);
                    has_failed.store(true, Ordering::Release);
                }
            } else {
                trace.wrote(len);
            }
        }
        todo.give_back(data);
    }
    Written {
        medium,
        skipped,
        failure,
    }
}

#[cfg(test)]
mod tests;
