//! `image pack`, `image repack` and `image sign`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use pack::{ImageHead, Manifest, Pack, SecretKey, Signature, Store};
use readable::Size;

use super::super::Places;
use super::{Progress, known};
use crate::api::ImageShown;
use crate::clock;
use crate::domain::image::Facts;
use crate::imagestore::{
    self, Difference, Examined, MissingStreams, Packing, PackingError, Purpose, Wanted,
};
use crate::keys;
use crate::output;
use crate::text;

/// A pack of an image.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct MakePack {
    /// Name or number
    #[arg(value_parser = super::super::image)]
    image: String,
    /// Level of compression, 1 to 19 [default: that of --pack-level]
    #[arg(long, value_name = "N", value_parser = super::super::packs::level)]
    level: Option<i32>,
}

/// Whether a pack that is there already is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    IfNeeded,
    Always,
}

impl MakePack {
    pub(super) async fn run(self, places: &Places, again: Again) -> anyhow::Result<bool> {
        let (root, shown) = known(places, &self.image).await?;
        let level = self.level.unwrap_or(places.pack.pack_level);
        let places = places.clone();
        let work = move || {
            let maker = Maker {
                places: &places,
                root: &root,
                shown: &shown,
                level,
            };
            maker.run(again)
        };
        let (name, pack, is_new) = tokio::task::spawn_blocking(work).await??;
        describe(&name, &pack.1, &pack.0, is_new);
        Ok(true)
    }
}

/// A pack and where its manifest is.
type Placed = (PathBuf, Pack);

fn describe(name: &str, pack: &Pack, path: &Path, is_new: bool) {
    let has = if is_new {
        "has a new pack"
    } else {
        "has its pack already"
    };
    output::result(&format!(
        "image {name} {has}: {} in {}",
        Size(pack.len),
        path.display()
    ));
}

struct Maker<'a> {
    places: &'a Places,
    root: &'a Path,
    shown: &'a ImageShown,
    level: i32,
}

impl Maker<'_> {
    fn run(&self, again: Again) -> anyhow::Result<(String, Placed, bool)> {
        let name = self.shown.name.clone();
        let facts = self.facts()?;
        // A pack of files that were changed since is void (3.2), though nothing is known of it yet.
        let directory = imagestore::image_path(&self.shown.path)?;
        imagestore::check_unchanged(&self.root.join(directory), facts)?;
        let store = self.places.packs()?;
        let found = imagestore::find_packs(&store, facts)?;
        for root in &found.void {
            store.remove(root)?;
        }
        if let Some(pack) = found.current
            && again == Again::IfNeeded
        {
            // As if it were used: it was asked for.
            drop(store.open_pack(&pack.root)?);
            return Ok((name, (store.manifest(&pack.root), pack), false));
        }
        let key = keys::server_key(&self.places.data)?;
        let made = self.make(&store, facts, &key);
        let pack = made.with_context(|| format!("the image {name} has no new pack"))?;
        if let Some(old) = found.current
            && old.root != pack.root
        {
            store.remove(&old.root)?;
        }
        Ok((name, (store.manifest(&pack.root), pack), true))
    }

    fn facts(&self) -> anyhow::Result<&Facts> {
        let facts = self.shown.facts.as_ref().filter(|facts| facts.is_verified);
        let name = &self.shown.name;
        facts.with_context(|| {
            format!("nothing is known of the data of image {name}; verify it first: fos-server image update {name}")
        })
    }

    fn make(&self, store: &Store, facts: &Facts, key: &SecretKey) -> anyhow::Result<Pack> {
        let wanted = Wanted {
            path: self.shown.path.clone(),
            os_id: self.shown.os_id,
            image_type: self.shown.image_type,
            is_full: true,
            // It was decided when the image was added.
            missing: MissingStreams::Allow,
        };
        let needed = facts.streams.iter().map(|stream| stream.stored_len).sum();
        let quota = self.places.pack.pack_quota;
        let told = |error| explained(&self.shown.name, error);
        let mut packing =
            Packing::start(store, needed, quota, self.level, Purpose::Pack).map_err(told)?;
        let mut progress = Progress::new().reporter();
        let now = clock::now();
        let read =
            imagestore::examine_and_pack(self.root, &wanted, now, &mut packing, &mut progress);
        if let Some(failure) = packing.failure() {
            return Err(told(failure));
        }
        let found = read?.known_as(&self.shown.path);
        let differences = imagestore::compare(facts, &found.facts);
        if let Some(other) = differences.iter().find(|other| is_other(other)) {
            bail!(
                "{other}; take what is there now with fos-server image update {}",
                self.shown.name
            );
        }
        let head = head(self.root, self.shown.id, &self.shown.name, &found);
        packing.keep(head, &found.small, Some(key)).map_err(told)
    }
}

/// Whether the pack would not be found by what is known of the image.
fn is_other(difference: &Difference) -> bool {
    difference.is_content() || matches!(difference, Difference::Date(_))
}

/// What the manifest says of the image.
pub(super) fn head(root: &Path, id: i64, name: &str, found: &Examined) -> ImageHead {
    let settings = found.facts.settings.as_ref();
    ImageHead {
        image_id: id,
        image_name: name.to_owned(),
        image_path: settings.map_or_else(|| found.path.clone(), |settings| settings.path.clone()),
        image_type: settings.map_or(fog::task::ImageType::SingleDisk, |settings| {
            settings.image_type
        }),
        os_id: settings.map_or(0, |settings| settings.os_id),
        scripts: imaging::scripts(root),
    }
}

/// What people read of a pack that is not made (14, E10).
pub(super) fn explained(name: &str, error: PackingError) -> anyhow::Error {
    match error {
        PackingError::NoRoom { needed, free, dir } => {
            anyhow::anyhow!("{}", text::no_room_for_pack(name, needed, free, &dir))
        }
        other => other.into(),
    }
}

/// A signature for a pack.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Sign {
    /// Name or number
    #[arg(value_parser = super::super::image)]
    image: String,
    /// The secret key: ed25519 in PEM, as openssl genpkey -algorithm ed25519 writes it [default: the server's own,
    /// DATA/keys/server.key]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Sign {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let (_, shown) = known(places, &self.image).await?;
        let places = places.clone();
        let work = move || sign(&places, &shown, self.key.as_deref());
        let said = tokio::task::spawn_blocking(work).await??;
        output::result(&said);
        Ok(true)
    }
}

fn sign(places: &Places, shown: &ImageShown, key: Option<&Path>) -> anyhow::Result<String> {
    let key = match key {
        Some(path) => keys::read(path)?,
        None => keys::server_key(&places.data)?,
    };
    let store = places.packs()?;
    let facts = shown.facts.as_ref();
    let found = facts.map(|facts| imagestore::find_packs(&store, facts));
    let found = found.transpose()?.unwrap_or_default();
    let Some(pack) = found.current else {
        bail!(
            "the image {0} has no pack of its present files; make one with fos-server image pack {0}",
            shown.name
        );
    };
    // What is signed was read: a name proves nothing.
    let opened = store.open_pack(&pack.root)?;
    Manifest::parse(&opened.manifest).context("the manifest of the pack is damaged")?;
    let signature = Signature::sign(&opened.root, &key);
    store.sign(&opened.root, &signature)?;
    Ok(format!(
        "the pack of image {} is signed by the key {}",
        shown.name, signature.key
    ))
}

/// Reads the pack of an image, if it has one. `false` if it is damaged; that was said.
pub(super) fn verify(places: &Places, shown: &ImageShown) -> anyhow::Result<bool> {
    let Some(facts) = shown.facts.as_ref().filter(|_| places.packs_dir().is_dir()) else {
        return Ok(true);
    };
    let store = places.packs()?;
    let found = imagestore::find_packs(&store, facts)?;
    let Some(pack) = found.current else {
        return Ok(true);
    };
    let mut progress = Progress::new().reporter();
    let name = &shown.name;
    match imagestore::verify_pack(&store, &pack.root, &mut progress) {
        Ok(()) => {
            output::explain(&format!("  its pack is good: {}", pack.root));
            Ok(true)
        }
        Err(error) => {
            output::explain(&format!(
                "  its pack {} is damaged: {}; make it again with fos-server image repack {name}",
                pack.root,
                readable::chain(&error)
            ));
            Ok(false)
        }
    }
}
