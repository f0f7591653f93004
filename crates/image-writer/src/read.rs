//! Decoding from a reader, for tests: the product has a loop of its own, with threads.

use std::io::{ErrorKind, Read};

use image::{Decoder, Geometry, ImageError, Options, Sink, SinkError, Summary};

/// Bytes read at once.
const PIECE: usize = 256 << 10;

/// Decodes everything that `reader` gives, to its end, into `sink`.
///
/// # Errors
/// As [`Decoder`] says; [`ImageError::Read`] when reading fails.
pub fn decode(
    mut reader: impl Read,
    options: Options,
    sink: &mut dyn Sink,
) -> Result<Summary, ImageError> {
    let mut decoder = Decoder::new(options);
    let mut buffer = vec![0; PIECE];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return decoder.finish(sink),
            Ok(len) => decoder.push(buffer.get(..len).unwrap_or_default(), sink)?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(ImageError::Read(error)),
        }
    }
}

/// Checks the image that `reader` gives, to its end, and writes nothing.
///
/// # Errors
/// As [`decode`].
pub fn verify(reader: impl Read) -> Result<Summary, ImageError> {
    decode(reader, Options::default(), &mut Nowhere)
}

/// Forgets what it is given.
struct Nowhere;

impl Sink for Nowhere {
    fn begin(&mut self, _geometry: &Geometry) -> Result<(), SinkError> {
        Ok(())
    }

    fn extent(&mut self, _offset: u64, _data: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }
}
