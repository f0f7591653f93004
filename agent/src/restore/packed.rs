//! A pack on this machine: found, checked, and ready to be decoded.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context as _, bail};
use pack::{Authenticity, Manifest, OpenPack, Trust};

/// A pack that counts.
pub(super) struct Packed {
    /// For people.
    pub(super) name: String,
    pub(super) manifest: Manifest,
    pub(super) frames: File,
    pub(super) authenticity: Authenticity,
    /// How many threads decode.
    pub(super) threads: usize,
}

/// What each thread has in memory is some 20 MB.
const MAX_THREADS: usize = 16;

impl Packed {
    /// Opens a pack by its manifest. Signature, manifest and the length of the frames are checked; the frames are when
    /// they are decoded.
    ///
    /// # Errors
    /// Something of it cannot be read, does not count, or is not right.
    pub(super) fn open(path: &Path, trust: &Trust) -> anyhow::Result<Self> {
        let name = path.display().to_string();
        let pack = OpenPack::at(path)?;
        let authenticity = trust
            .check(&pack.root, pack.signature.as_ref())
            .with_context(|| name.clone())?;
        let manifest = Manifest::parse(&pack.manifest)
            .with_context(|| format!("the manifest {name} is damaged"))?;
        let len = pack
            .frames
            .metadata()
            .context("looking at the frames")?
            .len();
        if len != manifest.frames_len() {
            bail!(
                "the frames of {name} have {len} bytes instead of {}: copy them again",
                manifest.frames_len()
            );
        }
        let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Ok(Self {
            name,
            manifest,
            frames: pack.frames,
            authenticity,
            threads: threads.min(MAX_THREADS),
        })
    }

    /// Bytes of all frames of a stream.
    pub(super) fn stored_len(&self, stream: usize) -> u64 {
        let range = self.manifest.chunks_of(stream);
        let chunks = self.manifest.chunks().get(range).unwrap_or_default();
        chunks.iter().map(|chunk| u64::from(chunk.frame_len)).sum()
    }
}

/// The manifest of the pack that a path names: itself, or the one in a directory. `None` if it names something else.
///
/// # Errors
/// A directory has several packs.
pub(super) fn find(path: &Path) -> anyhow::Result<Option<PathBuf>> {
    if is_manifest(path) && path.is_file() {
        return Ok(Some(path.to_owned()));
    }
    let Ok(entries) = path.read_dir() else {
        return Ok(None);
    };
    let entries = entries.filter_map(|entry| Some(entry.ok()?.path()));
    // Of an image no file is called like this.
    let mut found: Vec<PathBuf> = entries.filter(|path| is_manifest(path)).collect();
    found.sort();
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.clone())),
        [first, ..] => bail!(
            "{} has {} packs; name the manifest of one, for example {}",
            path.display(),
            found.len(),
            first.display()
        ),
    }
}

fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "manifest")
}
