//! An image directory, read into what a server would say of it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Take};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use deploy_plan::{Refusal, SmallFiles};
use disk::Dump;
use fog::encoding::printable;
use fog::store::{self, StoreError, Stream, StreamName, is_legacy_name, is_small_file};
use fog::task::ImageType;
use fos_api::{MANIFEST_VERSION, MAX_STREAMS, Manifest, SmallFile, StreamFacts};
use image::PEEK_LEN;
use nix::fcntl::OFlag;

use super::{Reason, Stop};

/// Most entries of a directory; the names are kept in memory.
const MAX_ENTRIES: usize = 65_536;

/// What an image directory holds.
pub(crate) struct ImageDirectory {
    pub(crate) manifest: Manifest,
    pub(crate) files: SmallFiles,
    /// The files of each stream, in the order of the manifest's.
    pub(crate) sources: Vec<Vec<PathBuf>>,
}

impl ImageDirectory {
    /// Whether there are files with the data of partitions.
    pub(super) fn has_data(&self) -> bool {
        !self.manifest.streams.is_empty()
    }

    /// The disk that the image was captured from, as its dump names it.
    pub(super) fn device(&self) -> Option<String> {
        let names = ["d1.partitions", "d1.original.partitions"];
        let bytes = names.iter().find_map(|name| self.files.get(*name))?;
        let device = Dump::parse(str::from_utf8(bytes).ok()?).ok()?.device?;
        Some(printable(&device, 80))
    }
}

/// Reads names, small files, and the headers of the images. The small files alone are enough.
pub(crate) fn read(
    path: &Path,
    image_type: Option<ImageType>,
    os_id: i64,
) -> Result<ImageDirectory, Stop> {
    let names = names(path)?;
    let image_type = image_type.unwrap_or_else(|| type_by_names(&names));
    let name = path.file_name().unwrap_or(path.as_os_str());
    let mut manifest = Manifest {
        version: MANIFEST_VERSION,
        image_id: 0,
        image_name: printable(&name.to_string_lossy(), 64),
        image_path: name.to_string_lossy().into_owned(),
        image_type,
        os_id,
        files: Vec::new(),
        streams: Vec::new(),
    };
    for name in names.iter().filter(|name| is_small_file(name)) {
        let (_, len) = open(&path.join(name))?;
        manifest.files.push(SmallFile {
            name: name.clone(),
            len,
            blake3: None,
        });
    }
    // Before anything is read into memory.
    match deploy_plan::check_manifest(&manifest) {
        Ok(()) | Err(Refusal::NoStreams) => {}
        Err(refusal) => return Err(refusal.into()),
    }
    let mut files = SmallFiles::new();
    for file in &manifest.files {
        files.insert(
            file.name.clone(),
            small_file(&path.join(&file.name), file.len)?,
        );
    }
    let mut sources = Vec::new();
    for stream in streams(&names, image_type, os_id)? {
        let paths: Vec<PathBuf> = stream.files.iter().map(|name| path.join(name)).collect();
        manifest.streams.push(facts(&stream, &paths)?);
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

fn names(path: &Path) -> anyhow::Result<Vec<String>> {
    let context = || format!("reading the image directory {}", path.display());
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
pub(super) fn type_by_names(names: &[String]) -> ImageType {
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
    } else {
        ImageType::SingleDisk
    }
}

/// Opens a regular file, whatever else is there, and answers its length.
fn open(path: &Path) -> anyhow::Result<(File, u64)> {
    // Without waiting, should it be a FIFO.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .with_context(|| format!("opening {}", path.display()))?;
    let metadata = file
        .metadata()
        .with_context(|| format!("looking at {}", path.display()))?;
    if !metadata.is_file() {
        bail!("{} is not a regular file", path.display());
    }
    Ok((file, metadata.len()))
}

/// The bytes of a file that is no longer than it was.
fn small_file(path: &Path, len: u64) -> anyhow::Result<Vec<u8>> {
    let (file, _) = open(path)?;
    let mut bytes = Vec::new();
    read_into((&file).take(len), path, &mut bytes)?;
    Ok(bytes)
}

fn read_into(mut file: Take<&File>, path: &Path, bytes: &mut Vec<u8>) -> anyhow::Result<()> {
    file.read_to_end(bytes)
        .map(drop)
        .with_context(|| format!("reading {}", path.display()))
}

fn streams(names: &[String], image_type: ImageType, os_id: i64) -> Result<Vec<Stream>, Stop> {
    let streams = match store::streams(names, image_type, os_id) {
        Err(StoreError::NoStreams { .. }) => return Ok(Vec::new()),
        found => found?,
    };
    if streams.len() > MAX_STREAMS {
        return Err(Refusal::TooMuch {
            what: "streams",
            found: u64::try_from(streams.len()).unwrap_or(u64::MAX),
            limit: u64::try_from(MAX_STREAMS).unwrap_or(u64::MAX),
        }
        .into());
    }
    Ok(streams)
}

/// What the header of a stream says. Its bytes are neither counted nor compared with a hash.
fn facts(stream: &Stream, paths: &[PathBuf]) -> Result<StreamFacts, Stop> {
    let mut stored_len: u64 = 0;
    for path in paths {
        let (_, len) = open(path)?;
        stored_len = stored_len.saturating_add(len);
    }
    let first = paths
        .first()
        .map_or_else(|| Path::new(""), PathBuf::as_path);
    // A whole room may read this from one file server, so no more than is needed.
    let mut prefix = Vec::new();
    let mut rest = paths.iter();
    let mut current: Option<(File, &PathBuf)> = None;
    let mut header = None;
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
        header = image::peek(&prefix).map_err(|cause| bad(first, &cause.to_string()))?;
        if header.is_some() {
            break;
        }
    }
    let header = header.ok_or_else(|| bad(first, "the file is too short to be an image"))?;
    Ok(StreamFacts {
        name: stream.name.clone(),
        stored_len,
        blake3: NOT_HASHED.into(),
        image: imaging::facts(&header, None),
    })
}

/// Bytes that have the header of nearly every image.
const FIRST_LOOK: usize = 256 << 10;

fn bad(path: &Path, cause: &str) -> Stop {
    Stop::Refused(Reason {
        code: "image",
        is_about_disk: false,
        text: format!("{}: {cause}", PathBuf::from(path).display()),
    })
}

/// A plan depends on no hash.
const NOT_HASHED: blake3::Hash = blake3::Hash::from_bytes([0; 32]);
