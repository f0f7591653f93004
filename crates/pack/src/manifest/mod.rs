//! The manifest file (3.6), and every check of it (3.8).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use fos_api::{Blake3, MAX_FILES, MAX_FILES_LEN, MAX_SMALL_FILE, MAX_STREAMS};
use image::{BitmapMode, ChecksumMode, Compression, Geometry, Header, ImageFormat};

use crate::error::ManifestError;
use crate::extents::{self, Extent};
use crate::frame::Unpacker;
use crate::head::{Head, PackStream};
use crate::{CHUNK_RAW, FRAME_MAX, MAX_CHUNKS, MAX_HEAD, SYMBOL, UNIT_MAX};

/// A manifest that was found right.
#[derive(Debug, Clone)]
pub struct Manifest {
    head: Head,
    chunks: Vec<Chunk>,
    extents: Vec<u8>,
    files: BTreeMap<String, Vec<u8>>,
    frames_len: u64,
    /// For each stream its chunks, and where its data ends.
    places: Vec<(Range<usize>, u64)>,
}

/// One chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where its frame begins in the frames file.
    pub frame_at: u64,
    /// Bytes of the frame, 1 to [`FRAME_MAX`].
    pub frame_len: u32,
    /// Bytes of its data, 1 to [`CHUNK_RAW`].
    pub raw_len: u32,
    /// Its stream, from 0.
    pub stream: u16,
    /// BLAKE3 of the frame.
    pub frame_hash: [u8; 32],
    /// BLAKE3 of the data.
    pub raw_hash: [u8; 32],
    /// Where its extents begin in their table.
    pub(crate) extents_at: u32,
}

impl Chunk {
    /// Symbols of the frame: K of the code, at least 1.
    #[must_use]
    pub fn symbols(&self) -> u32 {
        self.frame_len.div_ceil(SYMBOL)
    }
}

/// Largest manifest that is read, in bytes: more than 20 TB of data have. It is in memory as a whole.
pub const MAX_MANIFEST_LEN: u64 = 256 << 20;

pub(crate) const MAGIC: [u8; 8] = *b"FOSPACK1";
/// Bytes before the head.
pub(crate) const FIXED: usize = 32;
/// Bytes of a chunk's record.
pub(crate) const RECORD: usize = 80;

/// A manifest of an image in a format that this version cannot name to a target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the image is stored as {}, which this program does not know", fog::encoding::printable(.0, 80))]
pub struct UnknownFormat(pub String);

impl Manifest {
    /// Reads the bytes of a manifest file. That somebody vouches for them is checked
    /// [before](crate::Trust::check).
    ///
    /// # Errors
    /// Anything in it is not as section 3.8 demands.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let parts = Parts::cut(bytes)?;
        let head: Head = parse_head(parts.head)?;
        check_streams(&head)?;
        let (chunks, places) = chunks(&parts, &head)?;
        let files = files(&head, parts.files)?;
        Ok(Self {
            head,
            chunks,
            extents: parts.extents.to_owned(),
            files,
            frames_len: parts.frames_len,
            places,
        })
    }

    /// What the image is.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// All chunks, those of the first stream first.
    #[must_use]
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Which chunks a stream has. Empty for one without data.
    ///
    /// # Panics
    /// There is no such stream.
    #[must_use]
    pub fn chunks_of(&self, stream: usize) -> Range<usize> {
        let place = self.places.get(stream);
        place.expect("callers count the streams").0.clone()
    }

    /// Where the data of a chunk goes, in its order, on its stream's target.
    pub fn extents(&self, chunk: &Chunk) -> impl Iterator<Item = Extent> + '_ {
        let at = usize::try_from(chunk.extents_at).unwrap_or(usize::MAX);
        let stream = self.head.streams.get(usize::from(chunk.stream));
        let taken = self.extents.get(at..).zip(stream);
        let taken = taken.and_then(|(table, stream)| extents::take(table, stream.unit));
        taken.into_iter().flatten().flatten()
    }

    /// The small files by their names.
    #[must_use]
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }

    /// Bytes of the frames file.
    #[must_use]
    pub fn frames_len(&self) -> u64 {
        self.frames_len
    }

    /// What a target is told of a stream before its data.
    ///
    /// # Errors
    /// The image's format has no name here.
    ///
    /// # Panics
    /// There is no such stream.
    pub fn geometry(&self, stream: usize) -> Result<Geometry, UnknownFormat> {
        let facts = self.head.streams.get(stream).zip(self.places.get(stream));
        let (stream, (_, data_end)) = facts.expect("callers count the streams");
        geometry(stream, *data_end)
    }
}

/// The file, cut where its lengths say.
struct Parts<'a> {
    head: &'a [u8],
    records: &'a [u8],
    extents: &'a [u8],
    files: &'a [u8],
    frames_len: u64,
}

impl<'a> Parts<'a> {
    fn cut(bytes: &'a [u8]) -> Result<Self, ManifestError> {
        let Some((magic, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(ManifestError::Magic);
        };
        if *magic != MAGIC {
            return Err(ManifestError::Magic);
        }
        let found = bytes.len() as u64;
        let short = ManifestError::Length {
            found,
            expected: FIXED as u64,
        };
        let mut fields = Fields(rest);
        let lengths = fields.u32().zip(fields.u32()).zip(fields.u64());
        let lengths = lengths.zip(fields.u32()).zip(fields.u32());
        let ((((head, chunks), frames_len), extents), files) = lengths.ok_or(short)?;
        for (what, found, limit) in [
            ("bytes of the head", head, MAX_HEAD),
            ("chunks", chunks, MAX_CHUNKS),
        ] {
            if found > limit {
                return Err(ManifestError::TooMuch {
                    what,
                    found: found.into(),
                    limit: limit.into(),
                });
            }
        }
        let records = u64::from(chunks) * RECORD as u64;
        let lens = [head.into(), records, extents.into(), files.into()];
        let expected = FIXED as u64 + lens.iter().sum::<u64>();
        if expected != found {
            return Err(ManifestError::Length { found, expected });
        }
        let mut rest = fields.0;
        let mut part = |len: u64| {
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let (part, behind) = rest.split_at(len.min(rest.len()));
            rest = behind;
            part
        };
        Ok(Self {
            head: part(head.into()),
            records: part(records),
            extents: part(extents.into()),
            files: part(files.into()),
            frames_len,
        })
    }
}

/// Little-endian numbers, one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

fn parse_head(bytes: &[u8]) -> Result<Head, ManifestError> {
    serde_json::from_slice(bytes).map_err(|error| ManifestError::Head(error.to_string()))
}

fn check_streams(head: &Head) -> Result<(), ManifestError> {
    check_count("streams", head.streams.len(), MAX_STREAMS)?;
    let mut names = BTreeSet::new();
    for (stream, facts) in head.streams.iter().enumerate() {
        let bad = |what| Err(ManifestError::Stream { stream, what });
        if !facts.unit.is_power_of_two() || facts.unit > UNIT_MAX {
            return bad("its unit is no power of two up to 4096");
        }
        if facts.device_size != facts.facts.device_size {
            return bad("it has two different sizes");
        }
        if facts.facts.block_size == 0 {
            return bad("its blocks have no bytes");
        }
        if !names.insert(facts.name.as_str()) {
            return Err(ManifestError::Twice(facts.name.to_string()));
        }
    }
    Ok(())
}

fn check_count(what: &'static str, found: usize, limit: usize) -> Result<(), ManifestError> {
    let [found, limit] = [found, limit].map(|count| count as u64);
    match found > limit {
        true => Err(ManifestError::TooMuch { what, found, limit }),
        false => Ok(()),
    }
}

type Chunks = (Vec<Chunk>, Vec<(Range<usize>, u64)>);

fn chunks(parts: &Parts<'_>, head: &Head) -> Result<Chunks, ManifestError> {
    let mut walk = Walk {
        head,
        table: parts.extents,
        rest: parts.extents,
        frame_at: 0,
        used: 0,
        places: Vec::with_capacity(head.streams.len()),
        first: 0,
        end: 0,
    };
    let records = parts.records.chunks_exact(RECORD).enumerate();
    let chunks = records.map(|(index, record)| {
        let bad = |what| ManifestError::Chunk { chunk: index, what };
        walk.chunk(index, record).map_err(bad)?
    });
    let chunks = chunks.collect::<Result<Vec<Chunk>, _>>()?;
    while walk.places.len() < head.streams.len() {
        walk.close(chunks.len())?;
    }
    if !walk.rest.is_empty() {
        return Err(ManifestError::ExtentsLeft(walk.rest.len()));
    }
    if walk.frame_at != parts.frames_len {
        return Err(ManifestError::FramesLen {
            found: walk.frame_at,
            expected: parts.frames_len,
        });
    }
    Ok((chunks, walk.places))
}

/// The way through the records; all that one of them depends on of those before.
struct Walk<'a> {
    head: &'a Head,
    table: &'a [u8],
    rest: &'a [u8],
    frame_at: u64,
    /// The streams that are complete.
    places: Vec<(Range<usize>, u64)>,
    /// Of the stream in work: its first chunk, its bytes so far, and where they end.
    first: usize,
    used: u64,
    end: u64,
}

impl Walk<'_> {
    /// The inner error is that of a stream.
    fn chunk(
        &mut self,
        index: usize,
        record: &[u8],
    ) -> Result<Result<Chunk, ManifestError>, &'static str> {
        let mut chunk = record_of(record, self.frame_at).ok_or("its flags are not 0")?;
        if chunk.frame_len == 0 || chunk.frame_len > FRAME_MAX {
            return Err("its frame is empty, or too long");
        }
        if chunk.raw_len == 0 || chunk.raw_len > CHUNK_RAW {
            return Err("its data is empty, or too long");
        }
        let stream = usize::from(chunk.stream);
        let Some(facts) = self.head.streams.get(stream) else {
            return Err("there is no such stream");
        };
        if stream < self.places.len() {
            return Err("its stream is over");
        }
        while self.places.len() < stream {
            if let Err(error) = self.close(index) {
                return Ok(Err(error));
            }
        }
        if self.table.len() - self.rest.len()
            != usize::try_from(chunk.extents_at).unwrap_or(usize::MAX)
        {
            return Err("its extents do not begin where those of the chunk before end");
        }
        let malformed = "its extents are malformed";
        let mut taken = extents::take(self.rest, facts.unit).ok_or(malformed)?;
        let mut len = 0_u64;
        for extent in taken.by_ref() {
            let extent = extent.ok_or(malformed)?;
            if extent.len == 0 {
                return Err("an extent has no bytes");
            }
            if extent.offset < self.end {
                return Err("its extents do not ascend");
            }
            if extent.end() > facts.device_size {
                return Err("an extent ends beyond the device");
            }
            self.end = extent.end();
            len += extent.len;
        }
        if len != u64::from(chunk.raw_len) {
            return Err("its extents have more or fewer bytes than its data");
        }
        self.rest = taken.rest;
        chunk.frame_at = self.frame_at;
        self.frame_at += u64::from(chunk.frame_len);
        self.used += len;
        Ok(Ok(chunk))
    }

    /// The stream in work has its last chunk before `next`.
    fn close(&mut self, next: usize) -> Result<(), ManifestError> {
        let stream = self.places.len();
        let facts = self.head.streams.get(stream);
        if facts.is_some_and(|facts| facts.used != self.used) {
            let what = "its chunks have more or fewer bytes than it says";
            return Err(ManifestError::Stream { stream, what });
        }
        self.places.push((self.first..next, self.end));
        (self.first, self.used, self.end) = (next, 0, 0);
        Ok(())
    }
}

/// `None` if its flags are not 0.
fn record_of(record: &[u8], frame_at: u64) -> Option<Chunk> {
    let mut fields = Fields(record);
    let (frame_len, raw_len) = (fields.u32()?, fields.u32()?);
    let (extents_at, stream) = (fields.u32()?, fields.u16()?);
    let flags = fields.u16()?;
    let (frame_hash, raw_hash) = (fields.array()?, fields.array()?);
    (flags == 0).then_some(Chunk {
        frame_at,
        frame_len,
        raw_len,
        stream,
        frame_hash,
        raw_hash,
        extents_at,
    })
}

/// The record of a chunk.
pub(crate) fn put_record(chunk: &Chunk, out: &mut Vec<u8>) {
    for number in [chunk.frame_len, chunk.raw_len, chunk.extents_at] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&chunk.stream.to_le_bytes());
    out.extend_from_slice(&0_u16.to_le_bytes());
    out.extend_from_slice(&chunk.frame_hash);
    out.extend_from_slice(&chunk.raw_hash);
}

fn files(head: &Head, packed: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, ManifestError> {
    check_count("small files", head.files.len(), MAX_FILES)?;
    let mut all = 0_u64;
    for file in &head.files {
        for (what, found, limit) in [
            ("bytes of a small file", file.len, MAX_SMALL_FILE),
            (
                "bytes of all small files",
                all.saturating_add(file.len),
                MAX_FILES_LEN,
            ),
        ] {
            if found > limit {
                return Err(ManifestError::TooMuch { what, found, limit });
            }
        }
        all += file.len;
    }
    let len = usize::try_from(all).unwrap_or(usize::MAX);
    let mut unpacked = Vec::new();
    let mut unpacker = Unpacker::default();
    (unpacker.unpack(packed, len, &mut unpacked)).map_err(ManifestError::Files)?;
    let mut rest = unpacked.as_slice();
    let mut files = BTreeMap::new();
    for file in &head.files {
        let len = usize::try_from(file.len).unwrap_or(usize::MAX);
        let (bytes, behind) = rest.split_at(len.min(rest.len()));
        rest = behind;
        if Blake3::from(blake3::hash(bytes)) != file.blake3 {
            return Err(ManifestError::FileHash(file.name.clone()));
        }
        if files.insert(file.name.clone(), bytes.to_owned()).is_some() {
            return Err(ManifestError::Twice(file.name.clone()));
        }
    }
    Ok(files)
}

fn geometry(stream: &PackStream, data_end: u64) -> Result<Geometry, UnknownFormat> {
    use fos_api::{Compression as Around, ImageFormat as Format};

    let facts = &stream.facts;
    let format = match &facts.format {
        Format::Partclone0001 => ImageFormat::Partclone0001,
        Format::Partclone0002 => ImageFormat::Partclone0002,
        Format::Partimage06 => ImageFormat::Partimage06,
        Format::Raw => ImageFormat::Raw,
        Format::Unknown(name) => return Err(UnknownFormat(name.clone())),
    };
    let compression = match &facts.compression {
        Around::Gzip => Compression::Gzip,
        Around::Zstd => Compression::Zstd,
        Around::Xz => Compression::Xz,
        Around::Bzip2 => Compression::Bzip2,
        Around::Lz4 => Compression::Lz4,
        // Nothing depends on it any more.
        Around::Plain | Around::Unknown(_) => Compression::Plain,
    };
    let used_blocks = stream.used.div_ceil(facts.block_size.into());
    Ok(Geometry {
        header: Header {
            format,
            compression,
            writer: None,
            word_bits: None,
            filesystem: fog::encoding::printable(&facts.filesystem, 16),
            device_size: stream.device_size,
            block_size: facts.block_size,
            total_blocks: facts.total_blocks,
            claimed_used_blocks: used_blocks,
            // The hashes of the chunks take the place of the image's own checksums.
            checksum: ChecksumMode::None,
            strip_blocks: 0,
            is_reseeded: false,
            bitmap: BitmapMode::None,
        },
        used_blocks,
        data_end,
    })
}

#[cfg(test)]
mod tests;
