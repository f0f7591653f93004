//! What is known of an image before its data come: from our own server over HTTP, else from the image share.

use anyhow::Context as _;
use deploy_plan::SmallFiles;
use fos_api::Manifest;

use super::{Failure, Job};
use crate::control::{Server, blame, image};
use crate::screen::Board;
use crate::share::{self, SharedImage};

/// The description of an image.
pub(super) struct Described {
    pub(super) manifest: Manifest,
    pub(super) files: SmallFiles,
    /// Where it came from, if that is the image share of one of FOG's own servers.
    pub(super) shared: Option<SharedImage>,
}

/// Asks our own server, or reads the share of FOG's own.
pub(super) async fn of(job: &Job, server: &Server, board: &Board) -> Result<Described, Failure> {
    let described = if server.is_stock() {
        of_share(job, server, board).await?
    } else {
        of_server(server, board).await?
    };
    deploy_plan::check_same_image(&job.args, &described.manifest)
        .map_err(|error| failed(error.into()))?;
    Ok(described)
}

async fn of_server(server: &Server, board: &Board) -> Result<Described, Failure> {
    let manifest = image::manifest(server, board)
        .await
        .context("asking for the image's description")
        .map_err(failed)?;
    deploy_plan::check_manifest(&manifest).map_err(|error| failed(error.into()))?;
    let files = image::small_files(server, board, &manifest)
        .await
        .context("fetching the image's small files")
        .map_err(failed)?;
    Ok(Described {
        manifest,
        files,
        shared: None,
    })
}

async fn of_share(job: &Job, server: &Server, board: &Board) -> Result<Described, Failure> {
    board.activity("prepare", "reading the image's small files from its share");
    let patience = share::Patience::default();
    let opened = share::open(&job.args, job.share.as_deref(), board, patience).await;
    let mut shared = match opened {
        Ok(shared) => shared,
        Err(error) => {
            let is_of_node = error.is_of_node() && !job.args.is_unregistered();
            let mut failure = failed(error.into());
            // As FOG's client: the server then takes another storage node for this host, if it has one.
            if is_of_node && blame::report(server, board, blame::PAUSE).await {
                failure
                    .text
                    .push_str("; the server was asked to use another storage node after a restart of this machine");
                failure.is_known_to_server = true;
            }
            return Err(failure);
        }
    };
    // As for the manifest of our own server; it was not checked if there are no streams.
    deploy_plan::check_manifest(&shared.image.manifest).map_err(|error| failed(error.into()))?;
    Ok(Described {
        manifest: shared.image.manifest.clone(),
        files: std::mem::take(&mut shared.image.files),
        shared: Some(shared),
    })
}

fn failed(error: anyhow::Error) -> Failure {
    Failure::new("prepare", error)
}
