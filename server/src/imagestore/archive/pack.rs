//! From an image directory to an archive.

use std::io::{Read, Write};

use fos_api::StreamFacts;
use tar::{Builder, EntryType, Header};

use super::{ABOUT, About, FileError, Path, PathBuf, Progress, ScanError, io, shown};
use crate::domain::image::{Place, StoredFile};
use crate::imagestore::dir::ImageDir;
use crate::imagestore::scan;

/// Why an image was not written to an archive. What was written of it is not whole.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The directory is no image.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file cannot be read, or the archive cannot be written.
    #[error("{}: {cause}", shown(.path))]
    Io {
        /// Which file of the image.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Something is not what was verified.
    #[error(
        "{0} does not have the bytes that were there when the image was verified; look at it with fos-server image \
         verify, and take what is there now with fos-server image update"
    )]
    OtherBytes(String),
    /// The archive cannot be written.
    #[error("writing the archive: {0}")]
    Write(io::Error),
}

/// Writes the image that `about` describes, below `root`, as an archive, and flushes it. Every byte is compared by its hash with
/// what was verified, as far as that is known. Blocks.
///
/// # Errors
/// At the first thing that is not good.
pub fn pack(
    root: &Path,
    about: &About,
    to: &mut dyn Write,
    progress: Progress<'_>,
) -> Result<(), PackError> {
    let mut listing = scan(root, &about.path, about.image_type, about.os_id)?;
    // Small files first; the parts of a stream one after the other, so that they can be hashed together.
    listing.files.sort_by_key(|file| file.place);
    let total = listing.files.iter().map(|file| file.size).sum();
    let mut archive = Builder::new(to);
    let json = serde_json::to_vec_pretty(about).map_err(|error| PackError::Write(error.into()))?;
    let mut header = header_of(json.len() as u64, 0);
    archive
        .append_data(&mut header, ABOUT, json.as_slice())
        .map_err(PackError::Write)?;
    let mut packing = Packing {
        dir: &listing.dir,
        path: &listing.path,
        done: 0,
        total,
        progress,
    };
    let mut stream: Option<(u32, blake3::Hasher)> = None;
    for file in &listing.files {
        let mut hasher = match (file.place, stream.take()) {
            (Some(place), Some((number, hasher))) if number == place.stream => hasher,
            (_, ended) => {
                check_stream(about, ended)?;
                blake3::Hasher::new()
            }
        };
        packing.file(&mut archive, file, &mut hasher)?;
        match file.place {
            Some(Place { stream: number, .. }) => stream = Some((number, hasher)),
            None => check_small(about, &file.name, &hasher)?,
        }
    }
    check_stream(about, stream)?;
    let to = archive.into_inner().map_err(PackError::Write)?;
    to.flush().map_err(PackError::Write)
}

/// A member that everybody may read.
fn header_of(size: u64, mtime: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(mtime);
    header
}

struct Packing<'a> {
    dir: &'a ImageDir,
    path: &'a str,
    done: u64,
    total: u64,
    progress: Progress<'a>,
}

impl Packing<'_> {
    fn file(
        &mut self,
        archive: &mut Builder<&mut dyn Write>,
        file: &StoredFile,
        hasher: &mut blake3::Hasher,
    ) -> Result<(), PackError> {
        let path = self.dir.path().join(&file.name);
        let (opened, _) = self.dir.file(&file.name)?;
        let seconds = file.mtime.div_euclid(1_000_000_000);
        let mut header = header_of(file.size, u64::try_from(seconds).unwrap_or(0));
        let member = format!("{}/{}", self.path, file.name);
        let reader = Exactly {
            inner: opened,
            left: file.size,
            hasher,
            name: &file.name,
            packing: self,
        };
        archive
            .append_data(&mut header, member, reader)
            .map_err(|cause| PackError::Io { path, cause })
    }
}

/// A file of a known length: a member's header was written before its bytes.
struct Exactly<'a, 'b, R> {
    inner: R,
    left: u64,
    hasher: &'a mut blake3::Hasher,
    name: &'a str,
    packing: &'a mut Packing<'b>,
}

impl<R: Read> Read for Exactly<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let len = buffer.len().min(most);
        let Some(room) = buffer.get_mut(..len) else {
            return Ok(0);
        };
        let read = self.inner.read(room)?;
        if read == 0 && len > 0 {
            let text = format!(
                "it became shorter while it was read, by {} bytes",
                self.left
            );
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        self.hasher.update(room.get(..read).unwrap_or_default());
        self.left -= read as u64;
        self.packing.done += read as u64;
        (self.packing.progress)(self.name, self.packing.done, self.packing.total);
        Ok(read)
    }
}

fn check_stream(about: &About, ended: Option<(u32, blake3::Hasher)>) -> Result<(), PackError> {
    let (Some(facts), Some((number, hasher))) = (&about.facts, ended) else {
        return Ok(());
    };
    let index = usize::try_from(number).unwrap_or(usize::MAX);
    let known: Option<&StreamFacts> = facts.streams.get(index);
    match known {
        Some(known) if blake3::Hash::from(known.blake3) == hasher.finalize() => Ok(()),
        Some(known) => Err(PackError::OtherBytes(known.name.to_string())),
        None => Err(PackError::OtherBytes(format!("stream {}", number + 1))),
    }
}

fn check_small(about: &About, name: &str, hasher: &blake3::Hasher) -> Result<(), PackError> {
    let Some(facts) = &about.facts else {
        return Ok(());
    };
    let known = facts.files.iter().find(|known| known.name == name);
    let is_same = known.is_some_and(|known| {
        known.blake3.is_empty() || known.blake3 == hasher.finalize().to_hex().as_str()
    });
    match is_same {
        true => Ok(()),
        false => Err(PackError::OtherBytes(fog::encoding::printable(name, 80))),
    }
}
