//! The pipeline.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use image::{Decoder, Geometry, Sink, SinkError, Summary};

use crate::failure::Failure;
use crate::piece::{Piece, Pieces};
use crate::supply::{ReadAhead, Supply};
use crate::tap::meter::{DiskStep, Flow};
use crate::target::Target;

/// What is to be done.
pub struct Job<S, T> {
    /// Where the bytes come from.
    pub source: S,
    /// What is expected of them.
    pub image: image::Options,
    /// Where they go.
    pub target: T,
    /// Counts what flows.
    pub flow: Arc<Flow>,
}

/// Everything went well.
#[derive(Debug)]
pub struct Done {
    /// What the image was.
    pub summary: Summary,
    /// What the target has to say.
    pub warnings: Vec<String>,
}

/// Looks on from the decoder's thread.
pub trait Watch {
    /// Before each piece: whether there is still a point in it.
    fn goes_on(&mut self) -> bool {
        true
    }

    /// After each piece, good or not.
    fn look(&mut self, _decoder: &Decoder) {}

    /// After the last piece, before it is known whether the image is complete.
    fn ended(&mut self, _decoder: &Decoder) {}

    /// The image was complete and good. It is not committed yet.
    fn decoded(&mut self, _summary: &Summary) {}
}

/// Does not look.
impl Watch for () {}

/// From the first byte to the last acknowledgement.
///
/// # Errors
/// The first thing that went wrong. A target that was begun is left without what makes it bootable, and
/// a sender is not told that its stream was taken.
pub fn run<S: Pieces, T: Target>(job: Job<S, T>, watch: &mut dyn Watch) -> Result<Done, Failure> {
    let (flow, mut target) = (job.flow, job.target);
    let stopper = job.source.stopper();
    let source = Metered(job.source, Arc::clone(&flow));
    let mut pieces = ReadAhead::start(source).map_err(Failure::Thread)?;
    let decoded = decode(&mut pieces, job.image, &mut target, &flow, watch);
    let summary = match decoded {
        Ok(summary) => summary,
        Err(failure) => {
            // A transfer is left properly. No other read is waited for: it might never end.
            if let Some(stop) = stopper {
                stop.stop();
                // What it says comes of being stopped.
                drop(pieces.join());
            }
            return Err(failure);
        }
    };
    let Metered(source, _) = pieces.join().ok_or(Failure::Panic)?;
    watch.decoded(&summary);
    let warnings = flow
        .on_disk(DiskStep::Sync, || target.commit(&summary.geometry))
        .map_err(Failure::Commit)?;
    // A sender may take this for success, so it comes last.
    source.confirm().map_err(Failure::Confirm)?;
    Ok(Done { summary, warnings })
}

/// The half behind the reader: pieces in, extents out, until the image is complete and good.
///
/// # Errors
/// What is wrong with the source, the image or the sink.
pub fn decode(
    pieces: &mut dyn Supply,
    options: image::Options,
    sink: &mut dyn Sink,
    flow: &Flow,
    watch: &mut dyn Watch,
) -> Result<Summary, Failure> {
    let sink = &mut MeteredSink { sink, flow };
    let mut decoder = Decoder::new(options);
    loop {
        if !watch.goes_on() {
            return Err(Failure::GivenUp);
        }
        let Some(piece) = pieces.next()? else { break };
        let pushed = decoder.push(&piece, sink);
        pieces.give_back(piece);
        watch.look(&decoder);
        pushed.map_err(Failure::Image)?;
    }
    watch.ended(&decoder);
    decoder.finish(sink).map_err(Failure::Image)
}

/// Reads a source to its end for the sake of its taps; `each` gets the lengths of the pieces.
///
/// # Errors
/// The source failed.
pub fn pass<S: Pieces>(source: S, each: &mut dyn FnMut(u64)) -> Result<(), Failure> {
    let mut pieces = ReadAhead::start(source).map_err(Failure::Thread)?;
    while let Some(piece) = pieces.next()? {
        each(piece.len() as u64);
        pieces.give_back(piece);
    }
    let source = pieces.join().ok_or(Failure::Panic)?;
    source.confirm().map_err(Failure::Confirm)
}

/// A source, and how much comes from it.
struct Metered<S>(S, Arc<Flow>);

impl<S: Pieces> Pieces for Metered<S> {
    fn next(&mut self, spare: Vec<u8>) -> io::Result<Piece> {
        let Self(source, flow) = self;
        flow.on_source(|| source.next(spare))
    }
}

/// A sink, and how much goes there.
pub(crate) struct MeteredSink<'a> {
    pub(crate) sink: &'a mut dyn Sink,
    pub(crate) flow: &'a Flow,
}

impl Sink for MeteredSink<'_> {
    fn begin(&mut self, geometry: &Geometry) -> Result<(), SinkError> {
        // It may clear a disk, and have to wait for it.
        let sink = &mut self.sink;
        self.flow.on_disk(DiskStep::Write, || sink.begin(geometry))
    }

    fn extent(&mut self, offset: u64, data: &[u8]) -> Result<(), SinkError> {
        let sink = &mut self.sink;
        self.flow
            .on_disk(DiskStep::Write, || sink.extent(offset, data))?;
        self.flow.used(data.len(), Duration::ZERO);
        Ok(())
    }
}
