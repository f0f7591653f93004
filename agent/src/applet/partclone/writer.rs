//! The thread that writes, so that decoding goes on meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use conveyor::{Loader, Unloader, conveyor};
use image::SinkError;
use imaging::Trace;

use super::super::messages::say;
use super::target::Output;

/// Joins neighbouring data and hands it to its thread. Dropped, it waits for what was handed over.
pub(super) struct Writer {
    /// What is being joined.
    open: Option<Block>,
    jobs: Option<Loader<Block, Vec<u8>>>,
    thread: Option<JoinHandle<Written>>,
    has_failed: Arc<AtomicBool>,
    /// What has been told, to be told again.
    told: Option<String>,
}

/// Data for one place of the output, [`BLOCK_LEN`] bytes at most.
struct Block {
    position: u64,
    data: Vec<u8>,
}

/// What the thread leaves.
pub(super) struct Written {
    pub(super) output: Output,
    /// Writes that failed and were passed over.
    pub(super) skipped: u64,
    /// The first that failed otherwise. Nothing was written after it.
    failure: Option<String>,
}

/// Bytes written at once, at most.
const BLOCK_LEN: usize = 1 << 20;
const BLOCKS: usize = 4;

impl Writer {
    /// Starts the thread. It goes on after failures if `is_skipping_errors`, and tells them; `trace`
    /// tells what was written.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(super) fn start(
        output: Output,
        is_skipping_errors: bool,
        trace: &Trace,
    ) -> Result<Self, SinkError> {
        let blocks = std::iter::repeat_with(|| Vec::with_capacity(BLOCK_LEN));
        let (jobs, todo) = conveyor(blocks.take(BLOCKS));
        let has_failed: Arc<AtomicBool> = Arc::default();
        let flag = Arc::clone(&has_failed);
        let trace = trace.clone();
        let work = move || work(output, is_skipping_errors, &trace, &flag, todo);
        let thread = thread::Builder::new().name("writer".into()).spawn(work)?;
        Ok(Self {
            open: None,
            jobs: Some(jobs),
            thread: Some(thread),
            has_failed,
            told: None,
        })
    }

    /// Takes data for `position`. The caller has seen to it that its end can be told.
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
            ended => Err(self.tell(ended)),
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
        self.tell(ended)
    }

    /// The first failure, however often it is asked for.
    fn tell(&mut self, ended: Option<Written>) -> SinkError {
        let failure = ended.and_then(|written| written.failure);
        let told = self
            .told
            .get_or_insert_with(|| failure.unwrap_or_else(|| DEFECT.to_owned()));
        told.as_str().into()
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
        // Whoever drops it has a failure to tell that came first.
        drop(self.end());
    }
}

fn work(
    mut output: Output,
    is_skipping_errors: bool,
    trace: &Trace,
    has_failed: &AtomicBool,
    mut todo: Unloader<Block, Vec<u8>>,
) -> Written {
    let (mut skipped, mut failure) = (0, None);
    while let Ok(Some(Block { position, data })) = todo.take() {
        let len = data.len();
        if failure.is_none() {
            trace.touch();
            if let Err(error) = output.write(position, &data) {
                let text = format!("write error at byte {position} ({len} bytes): {error}");
                if is_skipping_errors {
                    skipped += 1;
                    say(&format!("{text}; skipped"));
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
        output,
        skipped,
        failure,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn started(path: &std::path::Path, is_skipping_errors: bool) -> Writer {
        let file = fs::OpenOptions::new().write(true).open(path).unwrap();
        Writer::start(Output::File(file, 0), is_skipping_errors, &Trace::default()).unwrap()
    }

    #[test]
    fn data_lands_where_it_belongs_however_it_comes() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let mut writer = started(&path, false);
        let mut expected = vec![0; 12 << 20];
        // Neighbours, gaps, pieces longer than a block, and more than all blocks hold.
        let mut at = 0;
        for (number, len) in [1, 512, 700_000, 3 << 20, 5, 0, 4 << 20, 1 << 20, 77]
            .into_iter()
            .enumerate()
        {
            let data = vec![u8::try_from(number).unwrap() + 1; len];
            expected[at..at + len].copy_from_slice(&data);
            writer.write(at as u64, &data).unwrap();
            at += len + number % 3 * 1000;
        }
        let written = writer.finish().unwrap();
        assert_eq!(written.skipped, 0);
        drop(written.output);
        expected.truncate(fs::metadata(&path).unwrap().len().try_into().unwrap());
        assert!(expected.len() > 8 << 20);
        assert!(fs::read(&path).unwrap() == expected);
    }

    #[test]
    fn the_first_failure_is_told_and_nothing_waits_for_ever() {
        let full = std::path::Path::new("/dev/full");
        let mut writer = started(full, false);
        let data = vec![1; BLOCK_LEN];
        let failed = (0..1000).find_map(|n| writer.write(n << 21, &data).err());
        let text = failed.unwrap().to_string();
        assert!(text.contains("write error at byte 0"), "{text}");
        // Once told, it is told again.
        assert_eq!(writer.write(0, &data).unwrap_err().to_string(), text);
        assert_eq!(writer.write(9, &[]).unwrap_err().to_string(), text);
        assert_eq!(writer.finish().err().unwrap().to_string(), text);

        let mut writer = started(full, true);
        for n in 0..20 {
            writer.write(n << 21, &data).unwrap();
        }
        assert_eq!(writer.finish().unwrap().skipped, 20);
    }
}
