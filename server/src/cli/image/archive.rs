//! `image export` and `image import`.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal as _, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use fog::task::ImageType;

use super::super::Places;
use super::super::client::Client;
use super::{Progress, known, missing, root};
use crate::api::{ImageAdd, ImageShown};
use crate::domain::image::{ImageName, NewImage};
use crate::imagestore::{self, ARCHIVE_VERSION, About, Difference, Examined, Unpacked, Wanted};
use crate::output;

/// An image as one file.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Export {
    /// Name or number
    #[arg(value_parser = super::super::image)]
    image: String,
    /// The file, or - for standard output
    file: PathBuf,
}

/// An image out of one file.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Import {
    /// The file, or - for standard input
    file: PathBuf,
    /// Display name [default: as in the archive, else that of the directory in it]
    #[arg(long, value_name = "NAME", value_parser = super::super::image)]
    name: Option<String>,
    /// Directory below the image directory [default: as in the archive]
    #[arg(long, value_name = "DIRNAME")]
    path: Option<String>,
    /// As with image add [default: as in the archive, else 50]
    #[arg(long, value_name = "N", value_parser = super::super::number::<i64>)]
    os: Option<i64>,
    /// As with image add [default: as in the archive, else mps]
    #[arg(long = "type", value_name = "TYPE")]
    image_type: Option<ImageType>,
    /// As with image add
    #[arg(long)]
    allow_missing: bool,
}

/// Standard input or output.
const STREAM: &str = "-";

impl Export {
    pub(in crate::cli) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let (root, shown) = known(places, &self.image).await?;
        let about = About {
            version: ARCHIVE_VERSION,
            name: shown.name.parse().with_context(|| {
                format!(
                    "image {} has a name that no archive can have; give it another one",
                    shown.name
                )
            })?,
            path: shown.path.clone(),
            image_type: shown.image_type,
            os_id: shown.os_id,
            facts: shown.facts.clone(),
        };
        let file = self.file.clone();
        let work = move || match file.as_os_str() == STREAM {
            true => to_stdout(&root, &about),
            false => to_file(&root, &about, &file),
        };
        let packed = tokio::task::spawn_blocking(work).await?;
        packed.with_context(|| format!("image {} was not exported", shown.name))?;
        output::explain(&said(&shown, &self.file));
        Ok(true)
    }
}

fn said(shown: &ImageShown, file: &Path) -> String {
    let what = match &shown.facts {
        Some(_) => "with the bytes that were verified",
        None => "as it is: it was never verified",
    };
    let name = &shown.name;
    match file.as_os_str() == STREAM {
        true => format!("image {name} is exported, {what}"),
        false => format!("image {name} is exported to {}, {what}", file.display()),
    }
}

fn to_stdout(root: &Path, about: &About) -> anyhow::Result<()> {
    if io::stdout().is_terminal() {
        bail!("an archive is nothing for a terminal; name a file, or lead standard output to one");
    }
    let mut to = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    Ok(imagestore::pack(
        root,
        about,
        &mut to,
        &mut Progress::new().reporter(),
    )?)
}

/// The file has its name when it is whole and on the disk.
fn to_file(root: &Path, about: &About, file: &Path) -> anyhow::Result<()> {
    let dir = match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let begun = tempfile::Builder::new()
        .prefix(".fos-export-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(dir);
    let begun = begun.with_context(|| format!("making a file in {}", dir.display()))?;
    let mut to = BufWriter::with_capacity(BUFFER, begun.as_file());
    imagestore::pack(root, about, &mut to, &mut Progress::new().reporter())?;
    drop(to);
    let synced = begun.as_file().sync_all();
    synced.with_context(|| format!("writing {}", file.display()))?;
    let kept = begun.persist_noclobber(file);
    kept.with_context(|| format!("giving the archive its name {}", file.display()))?;
    Ok(())
}

/// What a read and a write take at a time.
const BUFFER: usize = 1 << 20;

impl Import {
    pub(in crate::cli) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let client = Client::connect_or_create(places).await?;
        let root = root(places, &client).await;
        let given = match &self.name {
            Some(name) => client.api().image_show(name).await.ok(),
            None => None,
        };
        client.close().await;
        let root = root?;
        // Before minutes are spent on it.
        if let Some(taken) = given {
            bail!(
                "there is already an image called {}; choose another name",
                taken.name
            );
        }
        let (file, path, at) = (self.file.clone(), self.path.clone(), root.clone());
        let work = move || {
            let from: Box<dyn Read> = match file.as_os_str() == STREAM {
                true => Box::new(io::stdin().lock()),
                false => Box::new(File::open(&file)?),
            };
            let from = io::BufReader::with_capacity(BUFFER, from);
            let mut progress = Progress::new().reporter();
            let unpacked = imagestore::unpack(from, &at, path.as_deref(), &mut progress)?;
            anyhow::Ok(unpacked)
        };
        let unpacked = tokio::task::spawn_blocking(work).await?;
        let unpacked =
            unpacked.with_context(|| format!("{} was not imported", self.file.display()))?;
        self.register(places, &root, unpacked).await
    }

    /// Verifies what was unpacked as if it were added, and as what was exported.
    async fn register(
        &self,
        places: &Places,
        root: &Path,
        unpacked: Unpacked,
    ) -> anyhow::Result<bool> {
        let about = unpacked.about.clone();
        let path = unpacked.path.clone();
        let of_archive = about.as_ref().map(|about| about.name.as_str());
        let name = self.name.as_deref().or(of_archive).unwrap_or(&path);
        let name: ImageName = name.parse()?;
        let wanted = Wanted {
            path: unpacked.partial().to_owned(),
            os_id: self
                .os
                .or_else(|| about.as_ref().map(|about| about.os_id))
                .unwrap_or(50),
            image_type: self
                .image_type
                .or_else(|| about.as_ref().map(|about| about.image_type))
                .unwrap_or(ImageType::SingleDisk),
            is_full: true,
            missing: missing(self.allow_missing),
        };
        let found = super::read(root, &wanted)
            .await
            .with_context(|| format!("{} was not imported", self.file.display()))?
            .known_as(&path);
        if let Some(about) = &about {
            compare(about, &found)?;
        }
        unpacked.keep()?;
        let image = NewImage {
            name: name.clone(),
            path: path.clone(),
            image_type: wanted.image_type,
            os_id: wanted.os_id,
            format: found.format,
        };
        let facts = found.facts.clone();
        let client = Client::connect(places).await?;
        let added = client.api().image_add(ImageAdd { image, facts }).await;
        client.close().await;
        let added = added.with_context(|| {
            format!(
                "the files are in {}, but the image is not registered; fos-server image add does that",
                root.join(&path).display()
            )
        })?;
        output::result(&format!("image {}: {}", added.id, name.as_str()));
        super::describe(&wanted, &found);
        Ok(true)
    }
}

/// Whether the streams are those that were exported, whatever they are called and taken for here.
fn compare(about: &About, found: &Examined) -> anyhow::Result<()> {
    let Some(exported) = &about.facts else {
        return Ok(());
    };
    let differences = imagestore::compare(exported, &found.facts);
    let is_other = |difference: &&Difference| {
        difference.is_content() && !matches!(difference, Difference::Setting(_))
    };
    match differences.iter().find(is_other) {
        None => Ok(()),
        Some(difference) => bail!(
            "the archive does not hold what was exported: {difference}; copy it again, or export the image again"
        ),
    }
}
