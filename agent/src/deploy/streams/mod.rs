//! The data path: network, hash, decoder, disk; one stream after the other.
//!
//! Per stream a reader takes bytes from the network, checks the record in front and hashes them; a
//! decoder thread turns them into extents for the disk's own writer thread. When a stream has ended on the
//! wire the next one is opened at once, and buffers while the previous one is still being written:
//! a receiver that opens late would miss the start.
//!
//! A stream may have to be begun again, because its sender vanished with the server. Nothing of the
//! earlier attempt is used: receiver, hash and decoder are new, and the region is written again from
//! its start. A stream that was verified and synced before is only received and verified again.

mod decoding;
mod error;
mod promised;
mod reader;
mod running;
mod source;

use std::io;
use std::sync::Arc;
use std::thread::Scope;

use deploy_plan::DeployPlan;
use fog::record::{self, Found, RECORD_LEN};
use imaging::tap::meter::Flow;
use readable::chain;

use super::disks::Disks;
use crate::screen::{Board, Phase};
pub(crate) use error::StreamError;
pub(super) use promised::bitmap_memory;
use reader::Reader;
use running::Running;
pub(crate) use source::{DeploySources, Source, Sources};

/// What all streams share.
pub(crate) struct Pipeline<'a> {
    pub(crate) plan: &'a DeployPlan,
    pub(crate) disks: &'a Disks<'a>,
    pub(crate) flow: Arc<Flow>,
    pub(crate) board: Board,
    /// log2 of the largest decompression window that the memory allows.
    pub(crate) window_log_max: u32,
    /// So many streams, from the first one, are verified and on the disk: they are not written again.
    pub(crate) done: usize,
    /// The first bytes of each stream's files, where these are known and the server knows no hashes.
    pub(crate) starts: Option<&'a [Vec<u8>]>,
}

/// How far a [`Pipeline`] has come.
struct Course<'scope, 'env> {
    /// The stream to be received next.
    next: usize,
    /// As [`Pipeline::done`].
    done: usize,
    /// Has ended on the wire, not on the disk.
    previous: Option<Running<'scope, 'env>>,
    /// Opened, but nothing of it was read.
    source: Option<Box<dyn Source>>,
    /// Until the first data.
    wait: Option<Phase>,
}

/// A stream that failed.
struct Failed {
    index: usize,
    error: StreamError,
    /// Where it came from, if that is still open: who leaves a transfer has to say why before.
    source: Option<Box<dyn Source>>,
}

impl Pipeline<'_> {
    /// Receives, verifies and writes the streams from `first` on.
    ///
    /// The old partition table is destroyed just before the first byte of data is written, not
    /// earlier: as long as no good header has come, the disk is as it was.
    ///
    /// # Errors
    /// The first failure. The disk then has no partition table, or the old one if nothing was written.
    pub(crate) fn run(&self, first: usize, sources: &mut dyn Sources) -> Result<(), StreamError> {
        std::thread::scope(|scope| {
            let mut course = Course {
                next: first,
                done: self.done,
                previous: None,
                source: None,
                wait: Some(self.board.phase("wait")),
            };
            loop {
                let failed = match self.step(scope, sources, &mut course) {
                    Ok(true) => continue,
                    Ok(false) => return Ok(()),
                    Err(failed) => failed,
                };
                let Some(next) = sources.resume(failed.index, failed.error.cause()) else {
                    sources.leaving(&failed.error);
                    // Leaves the transfer, so that nobody waits for us.
                    drop(failed.source);
                    return Err(failed.error);
                };
                // It did not stop this machine, but people should see what came.
                self.board.say(chain(&failed.error));
                // The old transfer is left before the new one is asked for.
                drop(failed.source);
                course.next = next;
            }
        })
    }

    /// Receives one stream, while the previous one is written to its end; false if there is none left
    /// of either.
    fn step<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        sources: &mut dyn Sources,
        course: &mut Course<'scope, 'env>,
    ) -> Result<bool, Failed> {
        let due = course.next;
        if due < self.plan.streams.len() && course.source.is_none() {
            let opened = sources.open(due);
            course.source = Some(opened.map_err(|error| self.failed(due, error))?);
        }
        // The new stream buffers meanwhile. If the previous one fails, it is kept: a sender that begins
        // again finds it as well as any other.
        if let Some(running) = course.previous.take() {
            let index = running.index;
            running.finish().map_err(|error| Failed {
                index,
                error,
                source: None,
            })?;
            course.done = course.done.max(index + 1);
        }
        let Some(mut source) = course.source.take() else {
            return Ok(false);
        };
        let mut index = due;
        match self.receive(scope, sources, course, &mut *source, &mut index) {
            Ok(running) => {
                course.previous = Some(running);
                course.next = index + 1;
            }
            Err(error) => {
                let source = Some(source);
                return Err(Failed {
                    index,
                    error,
                    source,
                });
            }
        }
        source.close().map_err(|error| self.failed(index, error))?;
        Ok(true)
    }

    fn failed(&self, index: usize, source: io::Error) -> Failed {
        Failed {
            index,
            error: StreamError::Receive {
                name: self.plan.streams[index].name.clone(),
                bytes: 0,
                source,
            },
            source: None,
        }
    }

    /// Reads a stream to its end. `index` is the one that is due, and then the one that has come.
    fn receive<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        sources: &mut dyn Sources,
        course: &mut Course<'scope, 'env>,
        source: &mut dyn Source,
        index: &mut usize,
    ) -> Result<Running<'scope, 'env>, StreamError> {
        let due = &self.plan.streams[*index];
        let mut reader = Reader {
            pipeline: self,
            stream: due,
            received: 0,
        };
        let start = reader.read_start(source, &mut course.wait)?;
        let is_promised = sources.is_record_promised();
        *index = self.identify(&start, is_promised, sources, *index);
        sources.carries(*index);
        let stream = &self.plan.streams[*index];
        let strip = record::check(&start, &stream.name, is_promised).map_err(|source| {
            StreamError::Record {
                name: stream.name.clone(),
                source,
            }
        })?;
        self.check_start(*index, start.get(strip..).unwrap_or_default())?;
        let is_done = *index < course.done;
        let mut running = Running::start(scope, self, *index, is_done, reader.received)?;
        match running.receive(source, start, strip) {
            Ok(()) => running.check_decoder(),
            Err(error) => running.abandon().and(Err(error)),
        }
    }

    /// Which stream begins like this. One before the one that is due comes again if the server does not
    /// know that this machine has it.
    fn identify(
        &self,
        start: &[u8],
        is_promised: bool,
        sources: &mut dyn Sources,
        due: usize,
    ) -> usize {
        let streams = &self.plan.streams;
        let found = match record::look(start) {
            Found::Record(name) => streams
                .iter()
                .position(|stream| stream.name.as_str() == name),
            Found::None if self.starts.is_some() => self.find_start(due, start),
            Found::None if !is_promised => Some(sources.confirm(due)),
            _ => None,
        };
        found.filter(|found| *found < due).unwrap_or(due)
    }

    /// The stream that begins like this: the one that is due if it is among them.
    fn find_start(&self, due: usize, image_start: &[u8]) -> Option<usize> {
        let starts = self.starts?;
        let is_like = |expected: &Vec<u8>| image_start.starts_with(expected);
        if starts.get(due).is_some_and(is_like) {
            return Some(due);
        }
        starts.iter().position(is_like)
    }

    /// Refuses a stream that does not begin like its file, where that is known.
    fn check_start(&self, index: usize, image_start: &[u8]) -> Result<(), StreamError> {
        let found = match self.starts {
            None => return Ok(()),
            Some(_) => self.find_start(index, image_start),
        };
        if found == Some(index) {
            return Ok(());
        }
        let name_of = |index: usize| Some(self.plan.streams.get(index)?.name.clone());
        Err(StreamError::Start {
            name: self.plan.streams[index].name.clone(),
            found: found.and_then(name_of),
        })
    }

    /// How much of a stream is read before anything is made of it.
    fn start_len(&self) -> usize {
        let starts = self.starts.unwrap_or_default().iter();
        RECORD_LEN + starts.map(Vec::len).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
