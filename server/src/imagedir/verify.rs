//! Reads every stream of an image: hash, header facts, and the whole image decoded.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fog::native::{ImageFacts, StreamFacts};
use fog::store::Stream;
use image::{
    Compression, Decoder, Geometry, Header, ImageError, Options, PEEK_LEN, Sink, SinkError,
};

use super::scan::Listing;

/// What was found out about the streams.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Facts in sending order.
    pub streams: Vec<StreamFacts>,
    /// FOG's `imgFormat`: 0 gzip, 3 plain, 5 zstd; 2, 4, 6 the same in chunks.
    pub format: u8,
}

/// Why an image is not good.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file cannot be read.
    #[error("reading {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The image in it is damaged or unknown.
    #[error("{path}: {source}")]
    Image {
        /// Which stream, by its first file.
        path: PathBuf,
        /// What and where.
        source: ImageError,
    },
    /// The stream ends before its image's header does.
    #[error("{0}: the file is too short to be an image")]
    TooShort(PathBuf),
    /// The streams are packed in different ways, which no `imgFormat` can express.
    #[error(
        "{first} is stored as {first_format} and {other} as {other_format}; FOG has one format \
         for all partitions of an image"
    )]
    Mixed {
        /// A stream.
        first: String,
        /// Its format.
        first_format: String,
        /// Another one.
        other: String,
        /// Its format.
        other_format: String,
    },
    /// A stream's name does not fit into a record.
    #[error(transparent)]
    Name(#[from] fog::record::RecordError),
}

/// Reads all streams in `dir`; with `is_full` every one is decoded to its end.
///
/// `progress` is called with the stream's name and the bytes read and to be read of all streams.
///
/// # Errors
/// At the first stream that is not good.
pub fn inspect(
    dir: &Path,
    listing: &Listing,
    is_full: bool,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Inspection, VerifyError> {
    let total: u64 = listing
        .files
        .iter()
        .filter(|f| f.place.is_some())
        .map(|f| f.size)
        .sum();
    let mut done = 0;
    let mut streams = Vec::new();
    for stream in &listing.streams {
        fog::record::emit(&stream.name)?;
        let name = stream.name.as_str();
        let mut report = |bytes: u64| {
            done += bytes;
            progress(name, done, total);
        };
        streams.push(inspect_stream(dir, stream, is_full, &mut report)?);
    }
    let format = common_format(&listing.streams, &streams)?;
    Ok(Inspection { streams, format })
}

fn inspect_stream(
    dir: &Path,
    stream: &Stream,
    is_full: bool,
    report: &mut dyn FnMut(u64),
) -> Result<StreamFacts, VerifyError> {
    let first = dir.join(stream.files.first().map_or("", String::as_str));
    let bad = |source| VerifyError::Image {
        path: first.clone(),
        source,
    };
    let mut hasher = blake3::Hasher::new();
    let mut stored_len = 0;
    let mut decoder = is_full.then(|| Decoder::new(Options::default()));
    let mut counted = Counted::default();
    let mut prefix = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    for file in &stream.files {
        let path = dir.join(file);
        let failed = |source| VerifyError::Read {
            path: path.clone(),
            source,
        };
        let mut file = File::open(&path).map_err(failed)?;
        loop {
            let count = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(error)),
            };
            let bytes = &buffer[..count];
            let length = u64::try_from(count).unwrap_or(0);
            stored_len += length;
            hasher.update(bytes);
            let missing = PEEK_LEN.saturating_sub(prefix.len()).min(count);
            prefix.extend_from_slice(&bytes[..missing]);
            if let Some(decoder) = &mut decoder {
                decoder.push(bytes, &mut counted).map_err(bad)?;
            }
            report(length);
        }
    }
    if let Some(mut decoder) = decoder {
        // The summary repeats what the sink was told.
        drop(decoder.finish(&mut counted).map_err(bad)?);
    }
    let header = image::peek(&prefix)
        .map_err(bad)?
        .ok_or_else(|| VerifyError::TooShort(first.clone()))?;
    Ok(StreamFacts {
        name: stream.name.clone(),
        stored_len,
        blake3: hasher.finalize().to_hex().to_string(),
        image: facts(&header, counted.used_blocks),
    })
}

fn facts(header: &Header, used_blocks: Option<u64>) -> ImageFacts {
    ImageFacts {
        format: header.format.to_string(),
        compression: match header.compression {
            Compression::Plain => "none".to_owned(),
            other => other.to_string(),
        },
        filesystem: header.filesystem.clone(),
        device_size: header.device_size,
        block_size: header.block_size,
        total_blocks: header.total_blocks,
        used_blocks,
    }
}

/// Counts and forgets.
#[derive(Default)]
struct Counted {
    used_blocks: Option<u64>,
}

impl Sink for Counted {
    fn begin(&mut self, geometry: &Geometry) -> Result<(), SinkError> {
        self.used_blocks = Some(geometry.used_blocks);
        Ok(())
    }

    fn extent(&mut self, _offset: u64, _data: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }
}

/// FOG's number for how the streams are stored.
fn common_format(streams: &[Stream], facts: &[StreamFacts]) -> Result<u8, VerifyError> {
    let describe = |stream: &Stream, facts: &StreamFacts| {
        let is_split = stream.files.iter().any(|file| !file.ends_with(".img"));
        (facts.image.compression.clone(), is_split)
    };
    let mut formats = streams
        .iter()
        .zip(facts)
        .map(|(stream, facts)| (stream, describe(stream, facts)));
    let Some((first, format)) = formats.next() else {
        return Ok(5);
    };
    let words = |(compression, is_split): &(String, bool)| {
        format!("{compression}{}", if *is_split { " in chunks" } else { "" })
    };
    for (other, other_format) in formats {
        if other_format != format {
            return Err(VerifyError::Mixed {
                first: first.name.to_string(),
                first_format: words(&format),
                other: other.name.to_string(),
                other_format: words(&other_format),
            });
        }
    }
    Ok(match (format.0.as_str(), format.1) {
        ("gzip", false) => 0,
        ("gzip", true) => 2,
        ("none", false) => 3,
        ("none", true) => 4,
        (_, false) => 5,
        (_, true) => 6,
    })
}
