//! An image directory, read into what a server would say of it: FOG's layout, or Clonezilla's.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use deploy_plan::{Refusal, SmallFiles};
use disk::Dump;
use fog::encoding::printable;
use fog::store::{self, Sidecars, StoreError, Stream, StreamName, is_legacy_name, is_small_file};
use fog::task::ImageType;
use fos_api::{ImageFacts, MANIFEST_VERSION, MAX_STREAMS, Manifest, SmallFile, StreamFacts};
use image::{Content, ErrorKind, Options, PEEK_LEN};
use imaging::target::Nowhere;
use imaging::{Job, Source};

mod clonezilla;
mod files;
#[cfg(test)]
mod tests;

use files::{bad, open, read_into, small_file};

/// Most entries of a directory; the names are kept in memory.
const MAX_ENTRIES: usize = 65_536;

/// What an image directory holds.
pub(crate) struct ImageDirectory {
    pub(crate) manifest: Manifest,
    pub(crate) files: SmallFiles,
    /// The files of each stream, in the order of the manifest's.
    pub(crate) sources: Vec<Vec<PathBuf>>,
}

/// Why there is no plan.
pub(crate) enum Stop {
    /// A deploy would refuse it.
    Refused(Reason),
    /// It could not be found out.
    Failed(anyhow::Error),
}

/// Why a deploy would refuse an image or a disk.
pub(crate) struct Reason {
    pub(crate) code: &'static str,
    /// Whether another disk could make it possible.
    pub(crate) is_about_disk: bool,
    pub(crate) text: String,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Reason {
            code: refusal.code(),
            is_about_disk: refusal.is_about_disk_size(),
            text: refusal.to_string(),
        })
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Refused(Reason {
            code: "incomplete",
            is_about_disk: false,
            text: error.to_string(),
        })
    }
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl ImageDirectory {
    /// Whether there are files with the data of partitions.
    pub(crate) fn has_data(&self) -> bool {
        !self.manifest.streams.is_empty()
    }

    /// The disk with this number that the image was captured from, as its dump names it.
    pub(crate) fn device(&self, number: u32) -> Option<String> {
        let endings = ["partitions", "original.partitions"];
        let names = endings.map(|ending| format!("d{number}.{ending}"));
        let bytes = names.iter().find_map(|name| self.files.get(name))?;
        let device = Dump::parse(str::from_utf8(bytes).ok()?).ok()?.device?;
        Some(printable(&device, 80))
    }
}

/// FOG's numbers of operating systems: the last one whose images may have names of their own, and a later one.
const WINDOWS_7: i64 = 5;
const WINDOWS_10: i64 = 9;

/// How much of the data is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// The header of each stream.
    Headers,
    /// Besides, all of what has no header: only its end says how long it is.
    All,
}

/// Reads names, small files, and the headers of the images. The small files alone are enough. Without `image_type` and
/// `os_id` (FOG's number of the operating system) the names decide.
pub(crate) fn read(
    path: &Path,
    image_type: Option<ImageType>,
    os_id: Option<i64>,
    depth: Depth,
) -> Result<ImageDirectory, Stop> {
    let names = names(path)?;
    let clonezilla = clonezilla::look(path, &names)?;
    let image_type = match &clonezilla {
        // It captures partitions as they are.
        Some(found) => found.image_type(image_type)?,
        None => image_type.unwrap_or_else(|| type_by_names(&names)),
    };
    let os_id = os_id.unwrap_or_else(|| match names.iter().any(|name| is_legacy_name(name)) {
        true => WINDOWS_7,
        false => WINDOWS_10,
    });
    let name = path.file_name().unwrap_or(path.as_os_str());
    let mut manifest = Manifest {
        version: MANIFEST_VERSION,
        image_id: 0,
        image_name: printable(&name.to_string_lossy(), 64),
        image_path: name.to_string_lossy().into_owned(),
        image_type,
        os_id,
        scripts: match clonezilla {
            Some(_) => Vec::new(),
            None => scripts(path),
        },
        files: Vec::new(),
        streams: Vec::new(),
    };
    let (small, made) = match clonezilla {
        Some(found) => (Small::Read(found.files), Some(found.streams)),
        None => {
            let small = names.iter().filter(|name| is_small_file(name));
            (Small::Named(small.cloned().collect()), None)
        }
    };
    manifest.files = small.list(path)?;
    // Before anything is read into memory.
    match deploy_plan::check_manifest(&manifest) {
        Ok(()) | Err(Refusal::NoStreams) => {}
        Err(refusal) => return Err(refusal.into()),
    }
    let files = small.read(path, &manifest.files)?;
    let streams = match made {
        Some(streams) => streams,
        None => streams(&names, &deploy_plan::sidecars(&files)?, image_type, os_id)?,
    };
    if streams.len() > MAX_STREAMS {
        return Err(Refusal::TooMuch {
            what: "streams",
            found: u64::try_from(streams.len()).unwrap_or(u64::MAX),
            limit: u64::try_from(MAX_STREAMS).unwrap_or(u64::MAX),
        }
        .into());
    }
    let mut sources = Vec::new();
    for stream in &streams {
        let paths: Vec<PathBuf> = stream.files.iter().map(|name| path.join(name)).collect();
        let facts = facts(stream, &paths, image_type, depth)?;
        manifest.streams.push(facts);
        sources.push(paths);
    }
    if !manifest.streams.is_empty() {
        deploy_plan::check_manifest(&manifest)?;
    }
    Ok(ImageDirectory {
        manifest,
        files,
        sources,
    })
}

/// The small files.
enum Small {
    /// In the directory.
    Named(Vec<String>),
    /// Made of others, which were read.
    Read(SmallFiles),
}

impl Small {
    fn list(&self, path: &Path) -> anyhow::Result<Vec<SmallFile>> {
        let file = |name: &String, len| SmallFile {
            name: name.clone(),
            len,
            blake3: None,
        };
        match self {
            Self::Named(names) => {
                let files = names.iter();
                files
                    .map(|name| Ok(file(name, open(&path.join(name))?.1)))
                    .collect()
            }
            Self::Read(files) => {
                let len = |bytes: &Vec<u8>| u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                let files = files.iter();
                Ok(files.map(|(name, bytes)| file(name, len(bytes))).collect())
            }
        }
    }

    fn read(self, path: &Path, listed: &[SmallFile]) -> anyhow::Result<SmallFiles> {
        match self {
            Self::Read(files) => Ok(files),
            Self::Named(_) => {
                let files = listed.iter();
                files
                    .map(|file| {
                        let bytes = small_file(&path.join(&file.name), file.len)?;
                        Ok((file.name.clone(), bytes))
                    })
                    .collect()
            }
        }
    }
}

fn names(path: &Path) -> anyhow::Result<Vec<String>> {
    let context = || format!("reading the image directory {}", path.display());
    if path.is_file() {
        bail!(
            "{} is a file; an image is a directory. A file with one partition is written by fos-agent restore",
            path.display()
        );
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(path).with_context(context)? {
        if names.len() >= MAX_ENTRIES {
            bail!(
                "{} has more than {MAX_ENTRIES} entries; is it the directory of one image?",
                path.display()
            );
        }
        // FOG's names are plain; another one is not FOG's.
        if let Ok(name) = entry.with_context(context)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_by(|a, b| store::natural_cmp(a, b));
    Ok(names)
}

/// The type that an image with these files was captured as.
pub(crate) fn type_by_names(names: &[String]) -> ImageType {
    let is_shrunken = |name: &String| {
        matches!(
            name.as_str(),
            "d1.minimum.partitions" | "d1.shrunken.partitions" | "d1.fixed_size_partitions"
        )
    };
    let is_second_disk = |name: &String| {
        let id = StreamName::of_file(name).partition();
        name == "d2.mbr" || id.is_some_and(|id| id.disk > 1)
    };
    if names
        .iter()
        .any(|name| is_shrunken(name) || is_legacy_name(name))
    {
        ImageType::Resizable
    } else if names.iter().any(is_second_disk) {
        ImageType::AllDisks
    } else if is_whole_disk(names) {
        ImageType::Raw
    } else {
        ImageType::SingleDisk
    }
}

/// Whether the files are the pieces of one, and of no partition.
fn is_whole_disk(names: &[String]) -> bool {
    let is_of_partitions = |name: &String| is_small_file(name) || is_data(name);
    !names.iter().any(is_of_partitions)
        && store::streams(names, &Sidecars::new(), ImageType::Raw, 0).is_ok()
}

/// Whether the file has data of a partition, or of a volume.
fn is_data(name: &str) -> bool {
    let name = StreamName::of_file(name);
    name.partition().or_else(|| name.volume()).is_some()
}

fn streams(
    names: &[String],
    sidecars: &Sidecars,
    image_type: ImageType,
    os_id: i64,
) -> Result<Vec<Stream>, Stop> {
    match store::streams(names, sidecars, image_type, os_id) {
        Err(StoreError::NoStreams { .. }) => Ok(Vec::new()),
        // The small files alone.
        Err(StoreError::Volume { .. }) if !names.iter().any(|name| is_data(name)) => Ok(Vec::new()),
        found => Ok(found?),
    }
}

/// What the header of a stream says. Its bytes are not compared with a hash. They are counted only where nothing else
/// says how long the image is.
fn facts(
    stream: &Stream,
    paths: &[PathBuf],
    image_type: ImageType,
    depth: Depth,
) -> Result<StreamFacts, Stop> {
    let mut stored_len: u64 = 0;
    for path in paths {
        stored_len = stored_len.saturating_add(open(path)?.1);
    }
    let first = paths
        .first()
        .map_or_else(|| Path::new(""), PathBuf::as_path);
    // A whole room may read this from one file server: no more than is needed.
    let (mut prefix, mut header) = (Vec::new(), Ok(None));
    let mut rest = paths.iter();
    let mut current: Option<(File, &PathBuf)> = None;
    for wanted in [FIRST_LOOK, PEEK_LEN] {
        while prefix.len() < wanted {
            let missing = wanted.saturating_sub(prefix.len()) as u64;
            if let Some((file, path)) = &current {
                read_into(file.take(missing), path, &mut prefix)?;
            }
            if prefix.len() < wanted {
                let Some(path) = rest.next() else { break };
                current = Some((open(path)?.0, path));
            }
        }
        header = image::peek(&prefix);
        if !matches!(header, Ok(None)) {
            break;
        }
    }
    let image = match header {
        Err(error) if error.kind() == ErrorKind::BadMagic && image_type == ImageType::Raw => {
            if depth == Depth::Headers {
                let text = "a disk as it is, without a header of partclone: how long it is would be known only when \
                            all of it had been read from the server's share. Deploy it with fos-server, or by hand: \
                            fos-agent restore --raw";
                return Err(bad(first, text));
            }
            raw_facts(paths).map_err(|cause| bad(first, &format!("{cause:#}")))?
        }
        found => {
            let header = found.map_err(|cause| bad(first, &cause.to_string()))?;
            let header =
                header.ok_or_else(|| bad(first, "the file is too short to be an image"))?;
            imaging::facts(&header, None)
        }
    };
    Ok(StreamFacts {
        name: stream.name.clone(),
        stored_len,
        blake3: NOT_HASHED.into(),
        image,
    })
}

/// Bytes that have the header of nearly every image.
const FIRST_LOOK: usize = 256 << 10;

/// Of a disk as it is, which is read to its end.
fn raw_facts(paths: &[PathBuf]) -> anyhow::Result<ImageFacts> {
    let job = Job {
        source: Source::open(paths)?,
        image: Options {
            content: Content::Raw { len: None },
            ..Options::default()
        },
        target: Nowhere,
        flow: Arc::default(),
    };
    let done = imaging::run(job, &mut ())?;
    let geometry = done.summary.geometry;
    Ok(imaging::facts(&geometry, Some(geometry.used_blocks)))
}

/// The scripts of the image store around the directory, which FOG's client would run.
fn scripts(path: &Path) -> Vec<String> {
    let path = path.canonicalize().ok();
    let root = path.as_deref().and_then(Path::parent);
    root.map(imaging::scripts).unwrap_or_default()
}

/// A plan depends on no hash.
const NOT_HASHED: blake3::Hash = blake3::Hash::from_bytes([0; 32]);
