//! Packs of images (native protocol, section 3): made while an image is read, found again by what they were made of, and
//! verified.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use ::pack::{
    ChunkError, ImageHead, Manifest, ManifestError, NewPack, OpenPack, Pack, PackError, PackWriter,
    ReadError, Root, SecretKey, Signature, SourceFile, Store, StoreError, StreamWriter,
    WriterOptions,
};
use deploy_plan::SmallFiles;
use fos_api::StreamFacts;
use image::{Geometry, Sink, SinkError};
use imaging::Target;

use crate::domain::image::{Facts, StoredFile};

/// A pack that is made while the streams of an image are read. Dropped before it is [kept](Self::keep), it leaves
/// nothing behind.
pub struct Packing {
    writer: PackWriter<File>,
    // Behind the writer, which still has the file when both are dropped.
    new: NewPack,
    streams: Vec<::pack::StreamFacts>,
    failure: Option<PackError>,
    needed: u64,
    dir: PathBuf,
    purpose: Purpose,
}

/// What an image is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// For its pack alone: without one, reading ends.
    Pack,
    /// To be verified; a pack is made by the way.
    Verify,
}

/// Why there is no pack.
#[derive(Debug, thiserror::Error)]
pub enum PackingError {
    /// There is no room for it.
    #[error("no room: {needed} bytes needed, {free} free in {}", .dir.display())]
    NoRoom {
        /// About how many bytes it needs.
        needed: u64,
        /// How many it may have.
        free: u64,
        /// Where packs are.
        dir: PathBuf,
    },
    /// It could not be made.
    #[error(transparent)]
    Pack(PackError),
    /// It could not be stored.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for PackingError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoRoom { needed, free, dir } => Self::NoRoom { needed, free, dir },
            other => Self::Store(other),
        }
    }
}

impl Packing {
    /// Begins a pack of an image of `needed` stored bytes, of which packs may have `quota` together.
    ///
    /// # Errors
    /// There is no room, or another program makes a pack.
    pub fn start(
        store: &Store,
        needed: u64,
        quota: Option<u64>,
        level: i32,
        purpose: Purpose,
    ) -> Result<Self, PackingError> {
        let new = store.create(needed, quota)?;
        let options = WriterOptions {
            level,
            max_len: new.max_len(),
            ..WriterOptions::usual()
        };
        let writer = PackWriter::start(new.frames()?, &options).map_err(PackingError::Pack)?;
        Ok(Self {
            writer,
            new,
            streams: Vec::new(),
            failure: None,
            needed,
            dir: store.dir().to_owned(),
            purpose,
        })
    }

    /// Where the next stream's data goes.
    pub(super) fn stream(&mut self) -> PackSink<'_> {
        let goes_on = self.failure.is_none();
        PackSink {
            stream: goes_on.then(|| self.writer.stream()),
            failure: &mut self.failure,
            purpose: self.purpose,
        }
    }

    /// What was found out about the stream that was read last.
    pub(super) fn add(&mut self, facts: &StreamFacts, sources: Vec<SourceFile>) {
        self.streams.push(::pack::StreamFacts {
            name: facts.name.clone(),
            stored_len: facts.stored_len,
            blake3: facts.blake3,
            sources,
            facts: facts.image.clone(),
        });
    }

    /// Why nothing more goes into it, if that is so.
    pub fn failure(&mut self) -> Option<PackingError> {
        let failure = self.failure.take()?;
        Some(self.explained(failure))
    }

    /// Gives the pack its place, signed by `key`.
    ///
    /// # Errors
    /// It could not be made. Nothing is left of it.
    pub fn keep(
        mut self,
        image: ImageHead,
        small: &SmallFiles,
        key: Option<&SecretKey>,
    ) -> Result<Pack, PackingError> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        let small = small
            .iter()
            .map(|(name, bytes)| (name.clone(), bytes.clone()));
        let small: Vec<(String, Vec<u8>)> = small.collect();
        let (needed, dir) = (self.needed, self.dir);
        let written = self.writer.finish(image, self.streams, &small);
        let written = written.map_err(|error| explained(error, needed, &dir))?;
        let signature = key.map(|key| Signature::sign(&written.root, key));
        Ok(self.new.keep(written, signature.as_ref())?)
    }

    fn explained(&self, error: PackError) -> PackingError {
        explained(error, self.needed, &self.dir)
    }
}

fn explained(error: PackError, needed: u64, dir: &Path) -> PackingError {
    let no_room = |needed, free| PackingError::NoRoom {
        needed,
        free,
        dir: dir.to_owned(),
    };
    match error {
        PackError::TooLarge(limit) => no_room(needed.max(limit.saturating_add(1)), limit),
        PackError::Write(cause) if cause.kind() == io::ErrorKind::StorageFull => no_room(needed, 0),
        other => PackingError::Pack(other),
    }
}

/// Takes one stream for a pack.
pub(super) struct PackSink<'a> {
    /// `None` when nothing more goes into the pack.
    stream: Option<StreamWriter<'a, File>>,
    failure: &'a mut Option<PackError>,
    purpose: Purpose,
}

impl PackSink<'_> {
    /// What a failure of the pack means for reading the image.
    fn checked(&mut self, done: Result<(), SinkError>) -> Result<(), SinkError> {
        let Err(error) = done else { return Ok(()) };
        self.stream = None;
        let error = match error.downcast::<PackError>() {
            Ok(error) => *error,
            Err(other) => PackError::Compress(io::Error::other(other)),
        };
        *self.failure = Some(error);
        match self.purpose {
            Purpose::Verify => Ok(()),
            Purpose::Pack => Err("the pack cannot be made".into()),
        }
    }
}

impl Sink for PackSink<'_> {
    fn begin(&mut self, geometry: &Geometry) -> Result<(), SinkError> {
        let done = self.stream.as_mut().map(|stream| stream.begin(geometry));
        self.checked(done.unwrap_or(Ok(())))
    }

    fn extent(&mut self, offset: u64, data: &[u8]) -> Result<(), SinkError> {
        let done = self
            .stream
            .as_mut()
            .map(|stream| stream.extent(offset, data));
        self.checked(done.unwrap_or(Ok(())))
    }
}

impl Target for PackSink<'_> {
    fn commit(mut self, _: &Geometry) -> anyhow::Result<Vec<String>> {
        let done = self.stream.take().map(StreamWriter::finish);
        let done = done.unwrap_or(Ok(())).map_err(Into::into);
        self.checked(done).map_err(anyhow::Error::from_boxed)?;
        Ok(Vec::new())
    }
}

/// The packs of an image.
#[derive(Debug, Default)]
pub struct FoundPacks {
    /// One of the files as they were verified.
    pub current: Option<Pack>,
    /// Those of other files in the same directory: they are void (3.2).
    pub void: Vec<Root>,
}

/// Looks for packs of an image. Blocks.
///
/// # Errors
/// The directory cannot be read.
pub fn find_packs(store: &Store, facts: &Facts) -> Result<FoundPacks, StoreError> {
    let mut found = FoundPacks::default();
    for pack in store.list()? {
        let path = store.manifest(&pack.root);
        let manifest = OpenPack::at(&path).map(|opened| Manifest::parse(&opened.manifest));
        let manifest = match manifest {
            Ok(Ok(manifest)) => manifest,
            Ok(Err(error)) => {
                tracing::warn!("packs: {} is damaged: {error}", path.display());
                continue;
            }
            Err(error) => {
                tracing::warn!("packs: {}", readable::chain(&error));
                continue;
            }
        };
        let is_here = facts
            .settings
            .as_ref()
            .is_some_and(|settings| settings.path == manifest.head().image.image_path);
        if is_made_of(&manifest, facts) {
            found.current = Some(pack);
        } else if is_here {
            found.void.push(pack.root);
        }
    }
    Ok(found)
}

/// Where the packs of a server are.
#[must_use]
pub fn packs_dir(data: &Path) -> PathBuf {
    data.join("packs")
}

/// Removes the packs of an image whose files are gone, from its directory below the image root. Blocks.
///
/// # Errors
/// A file cannot be removed.
pub fn remove_packs(data: &Path, image_path: &str) -> Result<(), StoreError> {
    let dir = packs_dir(data);
    if !dir.is_dir() {
        return Ok(());
    }
    let store = Store::open(&dir)?;
    for pack in store.list()? {
        let opened = OpenPack::at(&store.manifest(&pack.root));
        let manifest = opened.ok().map(|opened| Manifest::parse(&opened.manifest));
        let is_of = |manifest: &Manifest| manifest.head().image.image_path == image_path;
        if manifest
            .and_then(Result::ok)
            .is_some_and(|manifest| is_of(&manifest))
        {
            store.remove(&pack.root)?;
        }
    }
    Ok(())
}

/// Whether a pack was made of these files, with the same settings.
fn is_made_of(manifest: &Manifest, facts: &Facts) -> bool {
    let head = manifest.head();
    let Some(settings) = &facts.settings else {
        return false;
    };
    let has_settings = head.image.image_path == settings.path
        && head.image.image_type == settings.image_type
        && head.image.os_id == settings.os_id;
    let mut small: Vec<(&str, u64, String)> = Vec::new();
    let mut sent: Vec<&StoredFile> = Vec::new();
    for file in &facts.files {
        match file.place {
            Some(_) => sent.push(file),
            None => small.push((&file.name, file.size, file.blake3.clone())),
        }
    }
    sent.sort_by_key(|file| file.place);
    small.sort();
    let packed = head.files.iter();
    let packed = packed.map(|file| (file.name.as_str(), file.len, file.blake3.to_string()));
    let mut packed: Vec<(&str, u64, String)> = packed.collect();
    packed.sort();
    let sources = head.streams.iter().flat_map(|stream| &stream.sources);
    let sources = sources.map(|source| (source.name.as_str(), source.size, source.mtime));
    let sent = sent
        .into_iter()
        .map(|file| (file.name.as_str(), file.size, file.mtime));
    let streams = head
        .streams
        .iter()
        .map(|stream| (&stream.name, stream.blake3));
    let verified = facts
        .streams
        .iter()
        .map(|stream| (&stream.name, stream.blake3));
    has_settings && small == packed && sources.eq(sent) && streams.eq(verified)
}

/// What is wrong with a pack.
#[derive(Debug, thiserror::Error)]
pub enum PackDamaged {
    /// A file of it cannot be read, or is another one.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its manifest.
    #[error("its manifest: {0}")]
    Manifest(#[from] ManifestError),
    /// A chunk.
    #[error("{}", readable::chain(.0))]
    Chunk(ChunkError),
}

/// Reads and decodes all of a pack. Blocks. `progress` as that of [`inspect`](super::inspect).
///
/// # Errors
/// At the first thing that is not right.
pub fn verify_pack(
    store: &Store,
    root: &Root,
    progress: &mut dyn FnMut(&str, u64, u64),
) -> Result<(), PackDamaged> {
    let pack = store.open_pack(root)?;
    let manifest = Manifest::parse(&pack.manifest)?;
    let threads = WriterOptions::usual().threads;
    let mut done = 0;
    for (number, stream) in manifest.head().streams.iter().enumerate() {
        let mut each = |decoded: ::pack::Decoded<'_>| -> Result<(), ()> {
            done += u64::from(decoded.chunk.frame_len);
            progress(stream.name.as_str(), done, manifest.frames_len());
            Ok(())
        };
        let decoded = ::pack::decode_stream(&manifest, &pack.frames, number, threads, &mut each);
        match decoded {
            Ok(()) | Err(ReadError::Sink(())) => {}
            Err(ReadError::Chunk(error)) => return Err(PackDamaged::Chunk(error)),
        }
    }
    Ok(())
}
