//! `image`.

mod archive;
mod life;
mod pack;
mod replicate;
mod show;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use fog::task::ImageType;
use readable::Size;

use super::Places;
use super::client::Client;
use crate::api::{ImageAdd, ImageShown, ImageUpdate, ReplicaState, RootQuery};
use crate::clock;
use crate::domain::image::{ImageName, NewImage};
use crate::imagestore::{self, Examined, MissingStreams, Packing, Purpose, Verdict, Wanted};
use crate::keys;
use crate::output;
use crate::text;

/// Images.
#[derive(Debug, clap::Subcommand)]
pub(super) enum ImageCommand {
    /// Register an image: every stream is read, hashed and decoded to its end
    Add {
        /// Display name
        #[arg(value_parser = super::image)]
        name: String,
        /// Directory below the image directory [default: the name]
        #[arg(long, value_name = "DIRNAME")]
        path: Option<String>,
        /// Operating system, FOG's number: 9 Windows 10, 10 Windows 11, 50 Linux, 99 other
        #[arg(long, value_name = "N", default_value_t = 50,
            value_parser = super::number::<i64>)]
        os: i64,
        /// What it holds: mps one disk as it is, n one disk that is fitted to the target, mpa several
        /// disks as they are, dd a whole disk as one stream
        #[arg(long = "type", value_name = "TYPE", default_value = "mps")]
        image_type: ImageType,
        /// Do not decode the streams; only hash them and look at their headers
        #[arg(long)]
        no_verify: bool,
        /// Take an image although partitions that hold data have no file: clients get them without
        /// content
        #[arg(long)]
        allow_missing: bool,
    },
    /// Read, hash and decode an image again, and compare with what is known of it; the same of its pack, if it has one
    #[command(visible_alias = "check")]
    Verify {
        /// Name or number
        #[arg(value_parser = super::image)]
        image: String,
    },
    /// Verify an image whose files were changed, and take what is there now
    Update {
        /// Name or number
        #[arg(value_parser = super::image)]
        image: String,
        /// Do not decode the streams; only hash them and look at their headers
        #[arg(long)]
        no_verify: bool,
        /// As with image add
        #[arg(long)]
        allow_missing: bool,
    },
    /// Make a pack of an image: its data in chunks that are compressed, hashed and listed one by one, with a signed
    /// manifest; fos-agent restore writes it with all processors
    Pack(pack::MakePack),
    /// Make the pack of an image anew, for example with a higher level
    Repack(pack::MakePack),
    /// Sign the pack of an image
    Sign(pack::Sign),
    /// Write an image to one file, a tar, with its name and what is known of it; every byte is compared with what was
    /// verified
    Export(archive::Export),
    /// Take an image from such a file, or from a tar of an image directory: its files are written, verified, and
    /// registered
    Import(archive::Import),
    /// Show an image: partitions, file systems, sizes, used space, the least disk that it fits on, hashes, and what is
    /// wrong with it
    Show(show::Show),
    /// List the versions of an image: the present one, and those that captures have replaced
    Versions(life::Versions),
    /// Bring a former version of an image back; the present one becomes a version
    Revert(life::Revert),
    /// Call an image otherwise
    Rename(life::Rename),
    /// Say something of an image; the page shows it
    Note(life::Note),
    /// Forget an image, and remove its files and its versions for good
    Delete(life::Delete),
    /// Copy an image from a server that has it to those with the same MariaDB that lack it
    Replicate(replicate::Replicate),
    /// List the images
    List {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Forget an image; its files stay
    Remove {
        /// Name or number
        #[arg(value_parser = super::image)]
        image: String,
    },
}

impl ImageCommand {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        match self {
            Self::Add {
                name,
                path,
                os,
                image_type,
                no_verify,
                allow_missing,
            } => {
                let wanted = Wanted {
                    path: path.unwrap_or_else(|| name.clone()),
                    os_id: os,
                    image_type,
                    is_full: !no_verify,
                    missing: missing(allow_missing),
                };
                add(places, &name, wanted).await
            }
            Self::Verify { image } => verify(places, &image).await,
            Self::Update {
                image,
                no_verify,
                allow_missing,
            } => update(places, &image, !no_verify, missing(allow_missing)).await,
            Self::Pack(make) => make.run(places, pack::Again::IfNeeded).await,
            Self::Repack(make) => make.run(places, pack::Again::Always).await,
            Self::Sign(sign) => sign.run(places).await,
            Self::Export(export) => export.run(places).await,
            Self::Import(import) => import.run(places).await,
            Self::Versions(versions) => versions.run(places).await,
            Self::Revert(revert) => revert.run(places).await,
            Self::Rename(rename) => rename.run(places).await,
            Self::Note(note) => note.run(places).await,
            Self::Delete(delete) => delete.run(places).await,
            Self::Show(show) => show.run(places).await,
            Self::List { json } => list(places, json).await,
            Self::Replicate(replicate) => replicate.run(places).await,
            Self::Remove { image } => {
                let client = Client::connect(places).await?;
                let removed = client.api().image_remove(&image).await;
                client.close().await;
                let name = removed?.name;
                output::result(&format!(
                    "image {name} is forgotten; its files are still there"
                ));
                Ok(true)
            }
        }
    }
}

fn missing(is_allowed: bool) -> MissingStreams {
    match is_allowed {
        true => MissingStreams::Allow,
        false => MissingStreams::Refuse,
    }
}

async fn add(places: &Places, name: &str, wanted: Wanted) -> anyhow::Result<bool> {
    let name: ImageName = name.parse()?;
    let client = Client::connect_or_create(places).await?;
    let root = root(places, &client).await;
    let taken = client.api().image_show(name.as_str()).await;
    let taken = taken.is_ok_and(|found| found.name == name.as_str());
    client.close().await;
    let root = root?;
    if taken {
        bail!(
            "there is already an image called {}; choose another name, remove that image first, or \
             take its files as they are now with fos-server image update",
            name.as_str()
        );
    }
    let (found, packing) = read_and_pack(places, name.as_str(), &root, &wanted)
        .await
        .context("the image was not added")?;
    let image = NewImage {
        name: name.clone(),
        path: found.path.clone(),
        image_type: wanted.image_type,
        os_id: wanted.os_id,
        format: found.format,
    };
    let facts = found.facts.clone();
    let client = Client::connect(places).await?;
    let added = client.api().image_add(ImageAdd { image, facts }).await;
    client.close().await;
    let added = added?;
    output::result(&format!("image {}: {}", added.id, name.as_str()));
    describe(&wanted, &found);
    keep(places, &root, added.id, name.as_str(), &found, packing).await?;
    Ok(true)
}

async fn root(places: &Places, client: &Client) -> anyhow::Result<PathBuf> {
    let request = RootQuery {
        given: places.given_root()?,
    };
    Ok(client.api().image_root(request).await?.path.into())
}

/// Reads all files of an image. No server and no database is needed meanwhile.
async fn read(root: &Path, wanted: &Wanted) -> anyhow::Result<Examined> {
    let (root, wanted) = (root.to_owned(), wanted.clone());
    let work = move || {
        let mut progress = Progress::new().reporter();
        imagestore::examine(&root, &wanted, clock::now(), &mut progress)
    };
    Ok(tokio::task::spawn_blocking(work).await??)
}

/// The same, and a pack is begun of what is read, if the settings say so.
async fn read_and_pack(
    places: &Places,
    name: &str,
    root: &Path,
    wanted: &Wanted,
) -> anyhow::Result<(Examined, Option<Packing>)> {
    if !places.pack.packs || !wanted.is_full {
        return Ok((read(root, wanted).await?, None));
    }
    let (places, name) = (places.clone(), name.to_owned());
    let (root, wanted) = (root.to_owned(), wanted.clone());
    let work = move || -> anyhow::Result<(Examined, Option<Packing>)> {
        let mut progress = Progress::new().reporter();
        let needed = imagestore::stored_len(&root, &wanted)?;
        let (quota, level) = (places.pack.pack_quota, places.pack.pack_level);
        let started = Packing::start(&places.packs()?, needed, quota, level, Purpose::Verify);
        let mut packing = match started {
            Ok(packing) => packing,
            Err(error) => {
                warn_of_pack(pack::explained(&name, error));
                let found = imagestore::examine(&root, &wanted, clock::now(), &mut progress)?;
                return Ok((found, None));
            }
        };
        let now = clock::now();
        let found = imagestore::examine_and_pack(&root, &wanted, now, &mut packing, &mut progress)?;
        Ok((found, Some(packing)))
    };
    tokio::task::spawn_blocking(work).await?
}

/// Gives a pack its place. That there is none is no failure of what the image was read for.
async fn keep(
    places: &Places,
    root: &Path,
    id: i64,
    name: &str,
    found: &Examined,
    packing: Option<Packing>,
) -> anyhow::Result<()> {
    let Some(packing) = packing else {
        return Ok(());
    };
    let head = pack::head(root, id, name, found);
    let (small, data, name) = (found.small.clone(), places.data.clone(), name.to_owned());
    let work = move || -> anyhow::Result<u64> {
        let key = keys::server_key(&data)?;
        let kept = packing.keep(head, &small, Some(&key));
        Ok(kept.map_err(|error| pack::explained(&name, error))?.len)
    };
    match tokio::task::spawn_blocking(work).await? {
        Ok(len) => output::explain(&format!("  its pack has {}", Size(len))),
        Err(error) => warn_of_pack(error),
    }
    Ok(())
}

fn warn_of_pack(error: anyhow::Error) {
    output::explain(&format!(
        "  warning: no pack: {}",
        readable::chain(error.as_ref())
    ));
}

fn describe(wanted: &Wanted, found: &Examined) {
    for stream in &found.facts.streams {
        let used = match stream.image.used_blocks {
            Some(used) => {
                let used = used.saturating_mul(u64::from(stream.image.block_size));
                format!(", {} used", Size(used))
            }
            None => String::new(),
        };
        output::explain(&format!(
            "  {}: {} {}, {} of {}{used}, stored {}",
            stream.name,
            stream.image.format,
            stream.image.compression,
            match wanted.image_type {
                ImageType::Raw => "a disk".to_owned(),
                _ => format!("{} in a partition", stream.image.filesystem),
            },
            Size(stream.image.device_size),
            Size(stream.stored_len),
        ));
    }
    for warning in &found.warnings {
        output::explain(&format!("  warning: {warning}"));
    }
    if !wanted.is_full {
        output::explain("  not verified: damage inside the streams would show only on the clients");
    }
}

/// The image that is meant, where it is, and what is known of it.
async fn known(places: &Places, image: &str) -> anyhow::Result<(PathBuf, ImageShown)> {
    let client = Client::connect(places).await?;
    let root = root(places, &client).await;
    let shown = client.api().image_show(image).await;
    client.close().await;
    Ok((root?, shown?))
}

async fn verify(places: &Places, image: &str) -> anyhow::Result<bool> {
    let (root, shown) = known(places, image).await?;
    let wanted = Wanted {
        path: shown.path.clone(),
        os_id: shown.os_id,
        image_type: shown.image_type,
        is_full: true,
        // Judged below, as it depends on whether anything has changed.
        missing: MissingStreams::Allow,
    };
    let found = read(&root, &wanted)
        .await
        .with_context(|| format!("image {} is not good", shown.name))?
        .known_as(&shown.path);
    let judged = imagestore::judge(shown.facts.as_ref(), &found);
    for difference in &judged.differences {
        output::explain(&format!("  {difference}"));
    }
    let verdict = judged
        .verdict
        .with_context(|| format!("image {} is not good", shown.name))?;
    for warning in &found.warnings {
        output::explain(&format!("  warning: {warning}"));
    }
    output::result(&text::verdict(&shown.name, &verdict));
    if verdict == Verdict::OtherContent {
        return Ok(false);
    }
    let places = places.clone();
    tokio::task::spawn_blocking(move || pack::verify(&places, &shown)).await?
}

async fn update(
    places: &Places,
    image: &str,
    is_full: bool,
    missing: MissingStreams,
) -> anyhow::Result<bool> {
    let (root, shown) = known(places, image).await?;
    let wanted = Wanted {
        path: shown.path.clone(),
        os_id: shown.os_id,
        image_type: shown.image_type,
        is_full,
        missing,
    };
    let (found, packing) = read_and_pack(places, &shown.name, &root, &wanted)
        .await
        .with_context(|| format!("image {} was not updated", shown.name))?;
    let found = found.known_as(&shown.path);
    let request = ImageUpdate {
        format: found.format,
        facts: found.facts.clone(),
    };
    let client = Client::connect(places).await?;
    let updated = client.api().image_update(&shown.name, request).await;
    client.close().await;
    output::result(&format!("image {} is updated", updated?.name));
    for difference in shown
        .facts
        .iter()
        .flat_map(|old| imagestore::compare(old, &found.facts))
    {
        output::explain(&format!("  {difference}"));
    }
    describe(&wanted, &found);
    keep(places, &root, shown.id, &shown.name, &found, packing).await?;
    Ok(true)
}

async fn list(places: &Places, json: bool) -> anyhow::Result<bool> {
    let client = Client::connect(places).await?;
    let images = client.api().image_list().await;
    if !json {
        client.explain_if_idle();
    }
    client.close().await;
    let images = images?;
    if json {
        output::result(&serde_json::to_string_pretty(&images)?);
        return Ok(true);
    }
    let copies = copies(&images);
    let mut rows = Vec::new();
    for image in images {
        let (streams, checked) = match &image.facts {
            Some(facts) if facts.is_verified => (facts.streams.len(), "verified"),
            Some(facts) => (facts.streams.len(), "headers only"),
            None => (0, "unknown"),
        };
        rows.push(vec![
            image.id.to_string(),
            image.name,
            image.path,
            image.image_type.to_string(),
            image.os_id.to_string(),
            streams.to_string(),
            Size(image.stored_size).to_string(),
            checked.to_owned(),
        ]);
    }
    let head = [
        "ID",
        "NAME",
        "DIRECTORY",
        "TYPE",
        "OS",
        "STREAMS",
        "STORED",
        "CHECKED",
    ];
    output::result(&output::table(&head, &rows));
    copies.iter().for_each(|line| output::result(line));
    Ok(true)
}

/// Images that are copied from another server, or were to be and are not there, a line each.
pub(super) fn copies(images: &[ImageShown]) -> Vec<String> {
    let copies = images.iter().filter_map(|image| {
        let copy = image.copy.as_ref()?;
        let is_told = copy.state.is_at_work() || copy.state == ReplicaState::Failed;
        is_told.then(|| format!("image {} {}", image.name, copy.line()))
    });
    copies.collect()
}

/// Tells how far reading is, if it takes long.
struct Progress {
    began: Instant,
    told: Instant,
}

impl Progress {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            told: now,
        }
    }

    fn reporter(mut self) -> impl FnMut(&str, u64, u64) {
        move |name, done, total| {
            if self.told.elapsed() < PROGRESS_PERIOD {
                return;
            }
            self.told = Instant::now();
            let millis = self.began.elapsed().as_millis().max(1);
            let rate = u64::try_from(u128::from(done) * 1000 / millis).unwrap_or(0);
            let how_far = match total {
                0 => Size(done).to_string(),
                total => format!("{} % of all", u128::from(done) * 100 / u128::from(total)),
            };
            output::explain(&format!("{name}: {how_far}, {}/s", Size(rate)));
        }
    }
}

const PROGRESS_PERIOD: Duration = Duration::from_secs(2);
