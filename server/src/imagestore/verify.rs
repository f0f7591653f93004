//! Reads every stream of an image: hash, header facts, and the whole image decoded.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ::pack::SourceFile;
use deploy_plan::SmallFiles;
use fog::store::Stream;
use fog::task::ImageType;
use fos_api::{ImageFacts, ImageFormat, StreamFacts};
use image::{Content, Decoder, ErrorKind, Geometry, ImageError, Options, PEEK_LEN};
use imaging::tap::{Hash, Tap};
use imaging::target::Nowhere;
use imaging::{Failure, Job, PIECE_LEN, Piece, Pieces, Tapped, Target, Watch};

use super::check::{ChangedError, read_listed};
use super::dir::{FileError, ImageDir, mtime_nanos, shown};
use super::packs::Packing;
use super::scan::Listing;
use crate::domain::image::StoredFile;

/// What was found out about the streams.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// Facts in sending order.
    pub streams: Vec<StreamFacts>,
    /// The files of the listing; the small ones with their hashes.
    pub files: Vec<StoredFile>,
    /// The bytes of the small files.
    pub small: SmallFiles,
    /// FOG's `imgFormat`: 0 gzip, 3 plain, 5 zstd; 2, 4, 6 the same in chunks; 1 partimage.
    pub format: u8,
}

/// Why an image is not good.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is not what was listed a moment ago.
    #[error(transparent)]
    Changed(#[from] ChangedError),
    /// A file cannot be read.
    #[error("reading {}: {cause}", shown(.path))]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The image in it is damaged or unknown.
    #[error("{}: {cause}", shown(.path))]
    Image {
        /// Which stream, by its first file.
        path: PathBuf,
        /// What and where.
        cause: Box<ImageError>,
    },
    /// The stream ends before its image's header does.
    #[error("{}: the file is too short to be an image", shown(.0))]
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
    /// FOG has no number for this, so no client could be told, and none could restore it.
    #[error(
        "{stream} is stored as {format}, for which FOG has no image format; store partclone images \
         with zstd, gzip or uncompressed, partimage images with gzip"
    )]
    NoNumber {
        /// A stream.
        stream: String,
        /// How it is stored.
        format: String,
    },
    /// A stream's name does not fit into a record.
    #[error(transparent)]
    Name(#[from] fog::record::RecordError),
}

/// Reads all streams; with `is_full` every one is decoded to its end. Blocks, for as long as reading
/// takes.
///
/// `progress` is called with the stream's name and the bytes read and to be read of all streams.
///
/// # Errors
/// At the first stream that is not good.
pub fn inspect(
    listing: &Listing,
    is_full: bool,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<Inspection, VerifyError> {
    inspect_and_pack(listing, is_full, None, progress)
}

/// The same, and what the streams hold goes into a pack, too, if every one is decoded.
///
/// # Errors
/// At the first stream that is not good. What keeps a pack from being made is no error here.
pub(super) fn inspect_and_pack(
    listing: &Listing,
    is_full: bool,
    mut packing: Option<&mut Packing>,
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
        let packing = packing.as_deref_mut();
        streams.push(inspect_stream(
            listing,
            stream,
            is_full,
            packing,
            &mut report,
        )?);
    }
    let format = common_format(&listing.streams, &streams)?;
    let mut files = listing.files.clone();
    let mut small = SmallFiles::new();
    for file in files.iter_mut().filter(|file| file.place.is_none()) {
        let bytes = read_listed(&listing.dir, file)?;
        file.blake3 = blake3::hash(&bytes).to_hex().to_string();
        small.insert(file.name.clone(), bytes);
    }
    Ok(Inspection {
        streams,
        files,
        small,
        format,
    })
}

fn inspect_stream(
    listing: &Listing,
    stream: &Stream,
    is_full: bool,
    packing: Option<&mut Packing>,
    report: &mut dyn FnMut(u64),
) -> Result<StreamFacts, VerifyError> {
    let first = listing
        .dir
        .path()
        .join(stream.files.first().map_or("", String::as_str));
    let bad = |cause: ImageError| VerifyError::Image {
        path: first.clone(),
        cause: Box::new(cause),
    };
    let hash = Hash::default();
    let prefix = Prefix::default();
    let read = packing.is_some().then(ReadFiles::default);
    let source = Stored {
        dir: Arc::clone(&listing.dir),
        files: stream.files.clone().into(),
        current: None,
        read: read.clone(),
    };
    let source = Tapped::new(Tapped::new(source, hash.clone()), prefix.clone());
    let failed = |failure| match failure {
        Failure::Image(cause) => bad(cause),
        Failure::Read(cause) => read_error(cause, &first),
        other => read_error(io::Error::other(other), &first),
    };
    let mut used_blocks = None;
    let content = content(listing, stream)?;
    // How long raw data is can only be counted.
    let is_decoded = is_full || content != Content::Image;
    let mut raw = None;
    match packing {
        Some(packing) if is_full => {
            let sink = packing.stream();
            let geometry = decode(source, content, sink, report).map_err(failed)?;
            used_blocks = Some(geometry.used_blocks);
            let facts = found_facts(stream, &geometry, used_blocks, &hash);
            packing.add(&facts, read.unwrap_or_default().found());
            raw = Some(facts);
        }
        _ if is_decoded => {
            let geometry = decode(source, content, Nowhere, report).map_err(failed)?;
            used_blocks = Some(geometry.used_blocks);
            raw = Some(found_facts(stream, &geometry, used_blocks, &hash));
        }
        _ => imaging::pass(source, report).map_err(failed)?,
    }
    if content != Content::Image
        && let Some(facts) = raw
    {
        return Ok(facts);
    }
    let (stored_len, blake3) = hash.found();
    let prefix = prefix.found();
    let header = image::peek(&prefix)
        .map_err(bad)?
        .ok_or_else(|| VerifyError::TooShort(first.clone()))?;
    Ok(StreamFacts {
        name: stream.name.clone(),
        stored_len,
        blake3: blake3.into(),
        image: imaging::facts(&header, used_blocks),
    })
}

/// Decodes a stream to its end.
fn decode<S: Pieces, T: Target>(
    source: S,
    content: Content,
    target: T,
    report: &mut dyn FnMut(u64),
) -> Result<Geometry, Failure> {
    let job = Job {
        source,
        image: Options {
            content,
            ..Options::default()
        },
        target,
        flow: Arc::default(),
    };
    let mut progress = Reporting { report, done: 0 };
    let done = imaging::run(job, &mut progress)?;
    Ok(done.summary.geometry)
}

/// Of a stream that was read to its end.
fn found_facts(
    stream: &Stream,
    geometry: &Geometry,
    used_blocks: Option<u64>,
    hash: &Hash,
) -> StreamFacts {
    let (stored_len, blake3) = hash.found();
    StreamFacts {
        name: stream.name.clone(),
        stored_len,
        blake3: blake3.into(),
        image: imaging::facts(geometry, used_blocks),
    }
}

/// What a stream holds. An image of a whole disk may be the disk as it is; one that has the format of an image is that.
fn content(listing: &Listing, stream: &Stream) -> Result<Content, VerifyError> {
    if listing.image_type != ImageType::Raw {
        return Ok(Content::Image);
    }
    let mut prefix = Vec::new();
    for name in &stream.files {
        let missing = PEEK_LEN.saturating_sub(prefix.len());
        if missing == 0 {
            break;
        }
        let (file, _) = listing.dir.file(name)?;
        let read = file.take(missing as u64).read_to_end(&mut prefix);
        read.map_err(|cause| VerifyError::Read {
            path: listing.dir.path().join(name),
            cause,
        })?;
    }
    Ok(match image::peek(&prefix) {
        Err(error) if error.kind() == ErrorKind::BadMagic => Content::Raw { len: None },
        _ => Content::Image,
    })
}

/// The files of a stream, one after the other.
struct Stored {
    dir: Arc<ImageDir>,
    files: VecDeque<String>,
    current: Option<Current>,
    /// Where it is noted what was read.
    read: Option<ReadFiles>,
}

/// A file that is being read.
struct Current {
    name: String,
    file: io::Take<File>,
    size: u64,
    mtime: i64,
    hasher: blake3::Hasher,
}

/// The files that were read to their ends, with their hashes.
#[derive(Debug, Clone, Default)]
struct ReadFiles(Arc<Mutex<Vec<SourceFile>>>);

impl ReadFiles {
    fn found(&self) -> Vec<SourceFile> {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut files)
    }

    fn note(&self, read: &Current) {
        let mut files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.push(SourceFile {
            name: read.name.clone(),
            size: read.size,
            mtime: read.mtime,
            blake3: read.hasher.finalize().into(),
        });
    }
}

impl Pieces for Stored {
    /// A failure holds a [`VerifyError`].
    fn next(&mut self, mut spare: Vec<u8>) -> io::Result<Piece> {
        loop {
            let Some(current) = &mut self.current else {
                let Some(name) = self.files.pop_front() else {
                    return Ok(Piece::end());
                };
                let opened = self.dir.file(&name);
                let (file, metadata) =
                    opened.map_err(|error| io::Error::other(VerifyError::from(error)))?;
                // No further than its present end, should it grow for ever; that it grew shows later.
                self.current = Some(Current {
                    name,
                    file: file.take(metadata.len()),
                    size: metadata.len(),
                    mtime: mtime_nanos(&metadata),
                    hasher: blake3::Hasher::new(),
                });
                continue;
            };
            let piece = Piece::read(&mut current.file, spare, PIECE_LEN).map_err(|cause| {
                let path = self.dir.path().join(&current.name);
                io::Error::other(VerifyError::Read { path, cause })
            })?;
            if !piece.is_empty() {
                if self.read.is_some() {
                    current.hasher.update(&piece);
                }
                return Ok(piece);
            }
            spare = piece.into_buffer();
            if let Some(read) = &self.read {
                read.note(current);
            }
            self.current = None;
        }
    }
}

/// What [`Stored`] says, or else what became of reading the stream that begins with the file `first`.
fn read_error(cause: io::Error, first: &Path) -> VerifyError {
    cause
        .downcast::<VerifyError>()
        .unwrap_or_else(|cause| VerifyError::Read {
            path: first.to_owned(),
            cause,
        })
}

/// Keeps the begin of a stream, in which its header is.
#[derive(Debug, Clone, Default)]
struct Prefix(Arc<Mutex<Vec<u8>>>);

impl Prefix {
    fn found(&self) -> Vec<u8> {
        let mut prefix = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut prefix)
    }
}

impl Tap for Prefix {
    fn pass(&mut self, bytes: &[u8]) {
        let mut prefix = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = PEEK_LEN.saturating_sub(prefix.len()).min(bytes.len());
        prefix.extend_from_slice(&bytes[..missing]);
    }
}

/// Reports how many bytes have been decoded.
struct Reporting<'a> {
    report: &'a mut dyn FnMut(u64),
    done: u64,
}

impl Watch for Reporting<'_> {
    fn look(&mut self, decoder: &Decoder) {
        let now = decoder.progress().input_len;
        (self.report)(now.saturating_sub(self.done));
        self.done = now;
    }
}

/// How a stream is stored, as far as FOG's numbers tell it apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Storage {
    is_partimage: bool,
    compression: fos_api::Compression,
    is_split: bool,
}

impl Storage {
    fn of(stream: &Stream, facts: &ImageFacts) -> Self {
        let is_partimage = facts.format == ImageFormat::Partimage06;
        Self {
            is_partimage,
            compression: facts.compression.clone(),
            // One number for partimage, whatever its files are called.
            is_split: !is_partimage
                && stream
                    .files
                    .iter()
                    .any(|file| *file != stream.name.as_str()),
        }
    }

    fn number(&self) -> Option<u8> {
        use fos_api::Compression::{Gzip, Plain, Zstd};
        Some(match (&self.compression, self.is_split) {
            (Gzip, _) if self.is_partimage => 1,
            _ if self.is_partimage => return None,
            (Gzip, false) => 0,
            (Gzip, true) => 2,
            (Plain, false) => 3,
            (Plain, true) => 4,
            (Zstd, false) => 5,
            (Zstd, true) => 6,
            _ => return None,
        })
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_partimage { "partimage, " } else { "" };
        let split = if self.is_split { " in chunks" } else { "" };
        write!(f, "{kind}{}{split}", self.compression)
    }
}

/// FOG's number for how the streams are stored.
fn common_format(streams: &[Stream], facts: &[StreamFacts]) -> Result<u8, VerifyError> {
    let mut found = streams
        .iter()
        .zip(facts)
        .map(|(stream, facts)| (&stream.name, Storage::of(stream, &facts.image)));
    let Some((first, format)) = found.next() else {
        return Ok(5);
    };
    if let Some((other, other_format)) = found.find(|(_, other)| *other != format) {
        return Err(VerifyError::Mixed {
            first: first.to_string(),
            first_format: format.to_string(),
            other: other.to_string(),
            other_format: other_format.to_string(),
        });
    }
    format.number().ok_or_else(|| VerifyError::NoNumber {
        stream: first.to_string(),
        format: format.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use fog::task::ImageType;

    use super::*;
    use crate::imagestore::scan;
    use crate::testing::write_image;

    fn inspected(root: &Path, is_full: bool) -> Result<Inspection, VerifyError> {
        let listing = scan(root, "img", ImageType::SingleDisk, 50).unwrap();
        inspect(&listing, is_full, &mut |_, _, _| {})
    }

    #[test]
    fn streams_are_hashed_and_counted() {
        let root = tempfile::tempdir().unwrap();
        write_image(&root.path().join("img"));
        let full = inspected(root.path(), true).unwrap();
        assert_eq!(full.format, 5);
        let facts = &full.streams[0];
        assert_eq!(
            (facts.image.total_blocks, facts.image.used_blocks),
            (64, Some(42))
        );
        assert_eq!(
            (facts.image.block_size, facts.image.device_size),
            (512, 32768)
        );
        let quick = inspected(root.path(), false).unwrap();
        assert_eq!(quick.streams[1].blake3, full.streams[1].blake3);
        assert_eq!(quick.streams[1].image.used_blocks, None);
    }

    #[test]
    fn a_stream_whose_name_fits_no_record_is_refused() {
        for (len, fits) in [(120, true), (121, false)] {
            let root = tempfile::tempdir().unwrap();
            let dir = root.path().join("img");
            std::fs::create_dir(&dir).unwrap();
            std::fs::write(dir.join("x".repeat(len)), [7; 4096]).unwrap();
            let listing = scan(root.path(), "img", ImageType::Raw, 50).unwrap();
            let found = inspect(&listing, false, &mut |_, _, _| {});
            let is_refused = matches!(found, Err(VerifyError::Name(_)));
            assert_eq!(is_refused, !fits, "{len}");
        }
    }

    #[test]
    fn every_format_has_its_name_on_the_wire() {
        for format in [
            image::ImageFormat::Partclone0001,
            image::ImageFormat::Partclone0002,
            image::ImageFormat::Partimage06,
            image::ImageFormat::Raw,
        ] {
            let name = ImageFormat::from(format.to_string());
            assert!(!matches!(name, ImageFormat::Unknown(_)), "{format}");
        }
        for compression in [
            image::Compression::Gzip,
            image::Compression::Zstd,
            image::Compression::Xz,
            image::Compression::Bzip2,
            image::Compression::Lz4,
        ] {
            let name = fos_api::Compression::from(compression.to_string());
            assert!(
                !matches!(name, fos_api::Compression::Unknown(_)),
                "{compression}"
            );
        }
    }

    #[test]
    fn small_files_come_with_their_bytes_and_hashes() {
        let root = tempfile::tempdir().unwrap();
        write_image(&root.path().join("img"));
        let found = inspected(root.path(), true).unwrap();
        for file in found.files.iter().filter(|file| file.place.is_none()) {
            let bytes = &found.small[&file.name];
            assert_eq!(*blake3::hash(bytes).to_hex(), file.blake3);
        }
        assert!(found.small.contains_key("d1.mbr"));
    }

    #[test]
    fn damage_is_found_with_file_and_offset() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("img");
        write_image(&dir);
        let path = dir.join("d1p2.img");
        let plain = zstd::decode_all(File::open(&path).unwrap()).unwrap();
        let mut flipped = plain.clone();
        let last = flipped.len() - 100;
        flipped[last] ^= 1;
        let half = &plain[..plain.len() / 2];
        for (bytes, expected) in [
            (
                zstd::encode_all(&flipped[..], 3).unwrap(),
                "checksum error in",
            ),
            (zstd::encode_all(half, 3).unwrap(), "incomplete"),
            (
                b"MZ is not an image, whatever it says".to_vec(),
                "not a partclone",
            ),
            (b"MZ".to_vec(), "d1p2.img"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let error = inspected(root.path(), true).unwrap_err().to_string();
            assert!(
                error.contains("d1p2.img") && error.contains(expected),
                "{error}"
            );
        }
        // Without decoding only the header is judged.
        std::fs::write(&path, zstd::encode_all(&flipped[..], 3).unwrap()).unwrap();
        inspected(root.path(), false).unwrap();
    }

    #[test]
    fn every_way_of_storing_has_its_number_or_is_refused() {
        let format = |stored: &[(&str, &str, &[&str])]| {
            let names: Vec<String> = (1..=stored.len()).map(|n| format!("d1p{n}.img")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let mut facts = crate::domain::image::tests::sample_facts(&names).streams;
            let mut streams = Vec::new();
            for (facts, (kind, compression, suffixes)) in facts.iter_mut().zip(stored) {
                facts.image.format = (*kind).into();
                facts.image.compression = (*compression).into();
                streams.push(Stream {
                    name: facts.name.clone(),
                    files: suffixes
                        .iter()
                        .map(|suffix| format!("{}{suffix}", facts.name))
                        .collect(),
                });
            }
            common_format(&streams, &facts).map_err(|error| error.to_string())
        };
        let (partclone, partimage) = ("partclone 0002", "partimage 0.6");
        for (kind, compression, suffix, number) in [
            (partclone, "gzip", "", 0),
            (partclone, "gzip", ".000", 2),
            (partclone, "none", "", 3),
            (partclone, "none", ".000", 4),
            (partclone, "zstd", "", 5),
            (partclone, "zstd", ".000", 6),
            (partimage, "gzip", "", 1),
            (partimage, "gzip", ".000", 1),
        ] {
            assert_eq!(format(&[(kind, compression, &[suffix])]), Ok(number));
        }
        let mixed = [
            (partimage, "gzip", &[".000"][..]),
            (partimage, "gzip", &[""]),
        ];
        assert_eq!(format(&mixed), Ok(1), "one number for both namings");
        for (kind, compression) in [
            (partclone, "xz"),
            (partclone, "lz4"),
            (partclone, "bzip2"),
            (partimage, "none"),
            (partimage, "zstd"),
        ] {
            let error = format(&[(kind, compression, &[""])]).unwrap_err();
            assert!(error.contains("FOG has no image format"), "{error}");
        }
        let error = format(&[(partclone, "gzip", &[""]), (partimage, "gzip", &[""])]).unwrap_err();
        assert!(
            error.contains("stored as gzip and d1p2.img as partimage, gzip"),
            "{error}"
        );
    }

    #[test]
    fn one_image_has_one_format() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("img");
        write_image(&dir);
        let plain = zstd::decode_all(File::open(dir.join("d1p1.img")).unwrap()).unwrap();
        std::fs::write(dir.join("d1p1.img"), &plain).unwrap();
        let error = inspected(root.path(), true).unwrap_err().to_string();
        assert!(
            error.contains("d1p1.img is stored as none and d1p2.img as zstd"),
            "{error}"
        );
        std::fs::remove_file(dir.join("d1p2.img")).unwrap();
        assert_eq!(inspected(root.path(), true).unwrap().format, 3);
        std::fs::remove_file(dir.join("d1p1.img")).unwrap();
        let (a, b) = plain.split_at(1000);
        std::fs::write(dir.join("d1p1.img.000"), a).unwrap();
        std::fs::write(dir.join("d1p1.img.001"), b).unwrap();
        let split = inspected(root.path(), true).unwrap();
        assert_eq!((split.format, split.streams.len()), (4, 1));
        assert_eq!(split.streams[0].stored_len, plain.len() as u64);
    }
}
