//! Behaviour of the whole decoder, by topic.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod early;
mod hostile;
mod malformed;
mod partimage;
mod peek;
mod raw;
mod round_trip;
mod strips;
mod wrapped;

use image::{Decoder, Geometry, ImageError, Options, Sink, SinkError, Summary, Verify};
use image_writer::Recipe;

/// A target in memory, and what happened to it.
struct Recorder {
    target: Vec<u8>,
    begun: Vec<Geometry>,
    /// Where the last extent ended.
    end: u64,
    extents: usize,
}

const FILL: u8 = 0xA5;

impl Recorder {
    fn new(size: usize) -> Self {
        Self {
            target: vec![FILL; size],
            begun: Vec::new(),
            end: 0,
            extents: 0,
        }
    }
}

impl Sink for Recorder {
    fn begin(&mut self, geometry: &Geometry) -> Result<(), SinkError> {
        assert!(self.begun.is_empty(), "begin is called once");
        self.begun.push(geometry.clone());
        Ok(())
    }

    fn extent(&mut self, offset: u64, data: &[u8]) -> Result<(), SinkError> {
        let geometry = self.begun.first().expect("begin comes first");
        assert!(!data.is_empty(), "extents are not empty");
        assert!(offset >= self.end, "extents ascend");
        self.end = offset + data.len() as u64;
        assert!(self.end <= geometry.data_end, "no extent beyond data_end");
        self.extents += 1;
        let start = usize::try_from(offset).unwrap();
        let place = self
            .target
            .get_mut(start..start + data.len())
            .expect("no extent beyond the target");
        place.copy_from_slice(data);
        Ok(())
    }
}

/// Decodes `image` given in pieces of these lengths, the last one repeated.
fn decode_pieces(
    image: &[u8],
    pieces: &[usize],
    options: Options,
    sink: &mut Recorder,
) -> Result<Summary, ImageError> {
    let mut decoder = Decoder::new(options);
    let (mut rest, mut at) = (image, 0);
    while !rest.is_empty() {
        let len = pieces[at.min(pieces.len() - 1)].min(rest.len());
        at += 1;
        let (now, later) = rest.split_at(len);
        decoder.push(now, sink)?;
        rest = later;
    }
    decoder.finish(sink)
}

/// Decodes in one piece onto a target of `size` bytes, which the decoder knows.
fn decode(image: &[u8], size: usize, verify: Verify) -> (Result<Summary, ImageError>, Recorder) {
    let mut sink = Recorder::new(size);
    let options = Options {
        verify,
        target_size: Some(size as u64),
        ..Options::default()
    };
    let result = decode_pieces(image, &[usize::MAX], options, &mut sink);
    (result, sink)
}

/// Bytes of a block that are the same in every run and differ between blocks and positions.
fn block(block_size: usize) -> impl Fn(u64) -> Vec<u8> + Copy {
    move |number| {
        let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        (0..block_size)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()[3]
            })
            .collect()
    }
}

/// A small image: 40 blocks of 64 bytes in several runs, strips of 5.
fn small() -> Recipe {
    let used = (0..40)
        .map(|n| n % 7 != 2 && !(20..26).contains(&n))
        .collect();
    Recipe {
        strip_blocks: 5,
        ..Recipe::v2(64, used)
    }
}
