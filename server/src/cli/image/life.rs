//! `image versions`, `revert`, `rename`, `note`, `delete`.

use anyhow::bail;
use readable::Size;

use crate::api::{ImageDescribe, VersionRow};
use crate::cli::Places;
use crate::cli::client::Client;
use crate::domain::image::ImageName;
use crate::output;

/// An image and its versions.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Versions {
    /// Name or number
    #[arg(value_parser = crate::cli::image)]
    image: String,
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

impl Versions {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let client = Client::connect(places).await?;
        let versions = client.api().image_versions(&self.image).await;
        client.close().await;
        let versions = versions?;
        if self.json {
            output::result(&serde_json::to_string_pretty(&versions)?);
            return Ok(true);
        }
        let rows: Vec<_> = versions.iter().map(row).collect();
        let head = ["VERSION", "VERIFIED", "REPLACED", "STORED", "FROM"];
        output::result(&output::table(&head, &rows));
        Ok(true)
    }
}

fn row(version: &VersionRow) -> Vec<String> {
    let time = |at: &Option<String>| at.clone().unwrap_or_else(|| "-".to_owned());
    let origin = match version.origin.as_str() {
        "" => "-",
        origin => origin,
    };
    vec![
        version
            .version
            .map_or_else(|| "present".to_owned(), |number| number.to_string()),
        time(&version.verified_at),
        time(&version.replaced_at),
        Size(version.stored_size).to_string(),
        origin.to_owned(),
    ]
}

/// A version that is to be the present one.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Revert {
    /// Name or number
    #[arg(value_parser = crate::cli::image)]
    image: String,
    /// Number of the version, as image versions shows it
    #[arg(value_parser = crate::cli::number::<u32>)]
    version: u32,
}

impl Revert {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let client = Client::connect(places).await?;
        let reverted = client.api().image_revert(&self.image, self.version).await;
        client.close().await;
        let name = reverted?.name;
        output::result(&format!(
            "image {name} is version {} again; what was there before is a version now",
            self.version
        ));
        Ok(true)
    }
}

/// Another name.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Rename {
    /// Name or number
    #[arg(value_parser = crate::cli::image)]
    image: String,
    /// Its new name; its directory stays as it is
    #[arg(value_parser = crate::cli::image)]
    name: String,
}

impl Rename {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let name: ImageName = self.name.parse()?;
        let request = ImageDescribe {
            name: Some(name),
            note: None,
        };
        let named = describe(places, &self.image, request).await?;
        output::result(&format!("the image is called {named} now"));
        Ok(true)
    }
}

/// What people say of an image.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Note {
    /// Name or number
    #[arg(value_parser = crate::cli::image)]
    image: String,
    /// The note; empty to remove it
    text: String,
}

impl Note {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let request = ImageDescribe {
            name: None,
            note: Some(self.text),
        };
        let named = describe(places, &self.image, request).await?;
        output::result(&format!("the note of image {named} is stored"));
        Ok(true)
    }
}

async fn describe(places: &Places, image: &str, request: ImageDescribe) -> anyhow::Result<String> {
    let client = Client::connect(places).await?;
    let described = client.api().image_describe(image, request).await;
    client.close().await;
    Ok(described?.name)
}

/// An image of which nothing is to be left.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Delete {
    /// Name or number
    #[arg(value_parser = crate::cli::image)]
    image: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

impl Delete {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let client = Client::connect(places).await?;
        let shown = client.api().image_show(&self.image).await;
        let shown = match shown {
            Ok(shown) => shown,
            Err(error) => {
                client.close().await;
                return Err(error.into());
            }
        };
        client.close().await;
        if !self.yes && !confirmed(&shown.name, shown.stored_size)? {
            bail!("image {} is as it was", shown.name);
        }
        let client = Client::connect(places).await?;
        let deleted = client.api().image_delete(&shown.name).await;
        client.close().await;
        let name = deleted?.name;
        output::result(&format!(
            "image {name} is deleted, with its files and its versions"
        ));
        Ok(true)
    }
}

/// Whether the person at the terminal types the name.
fn confirmed(name: &str, size: u64) -> anyhow::Result<bool> {
    use std::io::IsTerminal as _;

    if !std::io::stdin().is_terminal() {
        bail!(
            "this removes the files of image {name} for good; say --yes where nobody can be asked"
        );
    }
    output::ask(&format!(
        "This removes image {name} with {} of files, and its versions, for good. Type its name to go on: ",
        Size(size)
    ));
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim() == name)
}
