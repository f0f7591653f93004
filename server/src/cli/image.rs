//! `image`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use fog::task::ImageType;

use super::Places;
use crate::clock::Timestamp;
use crate::imagestore::{self, MissingStreams};
use crate::output;
use crate::store::images::{self, Facts, NewImage};
use crate::store::sessions;

/// Images.
#[derive(Debug, clap::Subcommand)]
pub(super) enum ImageCommand {
    /// Register an image: every stream is read, hashed and decoded to its end
    Add {
        /// Display name
        name: String,
        /// Directory below the image directory [default: the name]
        #[arg(long, value_name = "DIRNAME")]
        path: Option<String>,
        /// Operating system, FOG's number: 9 Windows 10, 10 Windows 11, 50 Linux, 99 other
        #[arg(long, value_name = "N", default_value_t = 50)]
        os: i64,
        /// What it holds: mps one disk as it is, n one disk that is fitted to the target, mpa all
        /// disks (for FOG's own client only); dd, a raw disk, is refused
        #[arg(long = "type", value_name = "TYPE", default_value = "mps")]
        image_type: ImageType,
        /// Do not decode the streams; only hash them and look at their headers
        #[arg(long)]
        no_verify: bool,
        /// Add it even if a partition has no image file: clients get that partition without content
        #[arg(long)]
        allow_missing: bool,
    },
    /// List the images
    List,
    /// Forget an image; its files stay
    Remove {
        /// Name or number
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
                let path = path.unwrap_or_else(|| name.clone());
                let missing = if allow_missing {
                    MissingStreams::Allow
                } else {
                    MissingStreams::Refuse
                };
                add(places, &name, &path, os, image_type, !no_verify, missing).await?;
            }
            Self::List => list(places).await?,
            Self::Remove { image } => remove(places, &image).await?,
        }
        Ok(true)
    }
}

async fn add(
    places: &Places,
    name: &str,
    path: &str,
    os_id: i64,
    image_type: ImageType,
    is_full: bool,
    missing: MissingStreams,
) -> anyhow::Result<()> {
    let store = places.store().await?;
    let root = places.image_root(&store).await?;
    let mut conn = store.conn().await?;
    images::check_name(&mut conn, name).await?;
    drop(conn);
    let typed = path.to_owned();
    let work = move || {
        let listing = imagestore::scan(&root, &typed, image_type, os_id)?;
        let inspected = imagestore::inspect(&listing, is_full, &mut Progress::new().reporter());
        let inspection = inspected.context("the image is not good and was not added")?;
        let warnings = imagestore::check_plan(&listing, &inspection, missing)
            .context("the image was not added")?;
        let facts = Facts {
            checked_at: Timestamp::now(),
            is_verified: is_full,
            files: inspection.files,
            streams: inspection.streams,
        };
        // A file that was written while it was read shows now.
        imagestore::check_unchanged(listing.dir.path(), &facts)?;
        anyhow::Ok((listing.path, inspection.format, facts, warnings))
    };
    let (path, format, facts, warnings) = tokio::task::spawn_blocking(work).await??;
    let image = NewImage {
        name,
        path: &path,
        image_type,
        os_id,
        format,
    };
    let mut conn = store.begin().await?;
    let id = images::add(&mut conn, &image, &facts).await?;
    conn.commit().await?;
    output::result(&format!("image {id}: {name}"));
    for stream in &facts.streams {
        let used = match stream.image.used_blocks {
            Some(used) => {
                let used = used.saturating_mul(u64::from(stream.image.block_size));
                format!(", {} used", output::size(used))
            }
            None => String::new(),
        };
        output::explain(&format!(
            "  {}: {} {}, {} in a partition of {}{used}, stored {}",
            stream.name,
            stream.image.format,
            stream.image.compression,
            stream.image.filesystem,
            output::size(stream.image.device_size),
            output::size(stream.stored_len),
        ));
    }
    for warning in &warnings {
        output::explain(&format!("  warning: {warning}"));
    }
    if !is_full {
        output::explain("  not verified: damage inside the streams would show only on the clients");
    }
    store.close().await;
    Ok(())
}

async fn list(places: &Places) -> anyhow::Result<()> {
    let store = places.store().await?;
    let mut conn = store.conn().await?;
    let mut rows = Vec::new();
    for image in images::all(&mut conn).await? {
        let facts = images::facts(&mut conn, image.id).await?;
        let (streams, checked) = match facts {
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
            output::size(image.stored_size),
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
    drop(conn);
    store.close().await;
    Ok(())
}

async fn remove(places: &Places, wanted: &str) -> anyhow::Result<()> {
    let store = places.store().await?;
    let mut conn = store.begin().await?;
    let Some(image) = images::find(&mut conn, wanted).await? else {
        bail!("there is no image {wanted}; fos-server image list shows them");
    };
    if let Some(session) = sessions::uses_image(&mut conn, image.id).await? {
        bail!(
            "session {session} sends image {}; cancel it first",
            image.name
        );
    }
    images::remove(&mut conn, image.id).await?;
    conn.commit().await?;
    output::result(&format!(
        "image {} is forgotten; its files are still there",
        image.name
    ));
    store.close().await;
    Ok(())
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
            let percent = u128::from(done) * 100 / u128::from(total.max(1));
            output::explain(&format!(
                "{name}: {percent} % of all, {}/s",
                output::size(rate)
            ));
        }
    }
}

const PROGRESS_PERIOD: Duration = Duration::from_secs(2);
