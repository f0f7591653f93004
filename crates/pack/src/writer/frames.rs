//! Compresses chunks on threads, and writes their frames in order on another one.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};

use super::{Collected, PackError};
use crate::FRAME_MAX;
use crate::chunker::{RawChunk, halve};
use crate::extents::Extent;
use crate::frame::Packer;

/// A chunk to be compressed.
pub(super) struct Job {
    /// Counts all of them from 0.
    pub(super) number: u64,
    pub(super) stream: u16,
    /// Where extents are split.
    pub(super) granule: u64,
    pub(super) chunk: RawChunk,
}

/// A chunk whose frame is written.
pub(super) struct Framed {
    pub(super) stream: u16,
    pub(super) extents: Vec<Extent>,
    pub(super) raw_len: u32,
    pub(super) frame_len: u32,
    pub(super) frame_hash: [u8; 32],
    pub(super) raw_hash: [u8; 32],
}

/// What became of a chunk: its frames (more than one if it had to be halved), or why there are none; and its buffer.
pub(super) struct Outcome {
    number: u64,
    frames: io::Result<Vec<(Framed, Vec<u8>)>>,
    buffer: Vec<u8>,
}

/// Compresses what comes until nothing more can.
pub(super) fn compress_all(level: i32, jobs: &Mutex<Receiver<Job>>, results: &SyncSender<Outcome>) {
    let mut packer = Packer::new(level);
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let RawChunk { extents, data } = job.chunk;
        let mut frames = Vec::new();
        let made = match &mut packer {
            Ok(packer) => {
                let work = Halving {
                    stream: job.stream,
                    granule: job.granule,
                    packer,
                };
                work.frames(extents, &data, &mut frames)
            }
            Err(error) => Err(io::Error::other(error.to_string())),
        };
        let result = Outcome {
            number: job.number,
            frames: made.map(|()| frames),
            buffer: data,
        };
        if results.send(result).is_err() {
            return;
        }
    }
}

struct Halving<'a> {
    stream: u16,
    granule: u64,
    packer: &'a mut Packer,
}

impl Halving<'_> {
    /// One frame, or those of both halves if it is too long (3.4).
    fn frames(
        self,
        extents: Vec<Extent>,
        data: &[u8],
        frames: &mut Vec<(Framed, Vec<u8>)>,
    ) -> io::Result<()> {
        let mut waiting = vec![(extents, data)];
        while let Some((extents, data)) = waiting.pop() {
            let frame = self.packer.pack(data)?;
            let frame_len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
            if frame_len <= FRAME_MAX {
                frames.push((self.framed(extents, data, frame_len, &frame), frame));
                continue;
            }
            let (first, second) = halve(&extents, self.granule);
            let len: u64 = first.iter().map(|extent| extent.len).sum();
            let cut = usize::try_from(len).unwrap_or(usize::MAX);
            let (before, behind) = data.split_at(cut.min(data.len()));
            if before.is_empty() || behind.is_empty() {
                return Err(io::Error::other("a piece of a chunk cannot be halved"));
            }
            waiting.push((second, behind));
            waiting.push((first, before));
        }
        Ok(())
    }

    fn framed(&self, extents: Vec<Extent>, data: &[u8], frame_len: u32, frame: &[u8]) -> Framed {
        Framed {
            stream: self.stream,
            extents,
            raw_len: u32::try_from(data.len()).unwrap_or(u32::MAX),
            frame_len,
            frame_hash: *blake3::hash(frame).as_bytes(),
            raw_hash: *blake3::hash(data).as_bytes(),
        }
    }
}

/// Brings frames into their order.
pub(super) struct Collector<W> {
    out: W,
    max_len: u64,
    len: u64,
    framed: Vec<Framed>,
    /// Results that others have to come before; no more than there are buffers.
    early: BTreeMap<u64, Outcome>,
    next: u64,
}

impl<W: Write> Collector<W> {
    pub(super) fn new(out: W, max_len: u64) -> Self {
        Self {
            out,
            max_len,
            len: 0,
            framed: Vec::new(),
            early: BTreeMap::new(),
            next: 0,
        }
    }

    /// Until no more results can come.
    pub(super) fn run(
        mut self,
        results: &Receiver<Outcome>,
        spare: &SyncSender<Vec<u8>>,
    ) -> Collected<W> {
        while let Ok(result) = results.recv() {
            self.early.insert(result.number, result);
            while let Some(result) = self.early.remove(&self.next) {
                self.next += 1;
                for (framed, frame) in result.frames.map_err(PackError::Compress)? {
                    self.write(&frame)?;
                    self.framed.push(framed);
                }
                // The last ones are waited for by nobody.
                drop(spare.try_send(result.buffer));
            }
        }
        match self.early.is_empty() {
            true => Ok((self.out, self.framed)),
            false => Err(PackError::Panic),
        }
    }

    fn write(&mut self, frame: &[u8]) -> Result<(), PackError> {
        self.len = self.len.saturating_add(frame.len() as u64);
        if self.len > self.max_len {
            return Err(PackError::TooLarge(self.max_len));
        }
        self.out.write_all(frame).map_err(PackError::Write)
    }
}
