//! Our own endpoints for our own client: manifest, small files, session.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use fos_api::{MANIFEST_VERSION, Manifest, SmallFile};

use super::answer::Answers;
use super::error::HttpError;
use super::request::Form;
use crate::api::agent_view;
use crate::ops::{ClientError, Ops};

/// `fos/manifest`: everything about the image of the host's task.
pub(super) async fn manifest(
    State(ops): State<Arc<Ops>>,
    Extension(answers): Extension<Arc<Answers>>,
    form: Form,
) -> Result<Response, HttpError> {
    let known = form.known(&ops).await.map_err(HttpError::native)?;
    let found = ops.task_image(&known).await;
    let found = found.map_err(|error| HttpError::from(error).native())?;
    let small = found.facts.files.iter().filter(|file| file.place.is_none());
    let scripts = ops.scripts().await;
    let scripts = scripts.map_err(|error| HttpError::from(error).native())?;
    let manifest = Manifest {
        version: MANIFEST_VERSION,
        image_id: found.image.id.0,
        image_name: found.image.name,
        image_path: found.image.path,
        image_type: found.image.image_type,
        os_id: found.image.os_id,
        scripts,
        files: small
            .map(|file| SmallFile {
                name: file.name.clone(),
                len: file.size,
                blake3: file.blake3.parse().ok(),
            })
            .collect(),
        streams: found.facts.streams,
    };
    answers.json(form.client, &manifest)
}

/// `fos/file`: a small file of that image. Only names that were listed when the image was added are
/// served, so no name leads elsewhere.
pub(super) async fn file(
    State(ops): State<Arc<Ops>>,
    Extension(answers): Extension<Arc<Answers>>,
    form: Form,
) -> Result<Response, HttpError> {
    let known = form.known(&ops).await.map_err(HttpError::native)?;
    let found = ops.task_image(&known).await;
    let found = found.map_err(|error| HttpError::from(error).native())?;
    let name = form.get("name");
    let mut small = found.facts.files.into_iter();
    let file = small.find(|file| file.name == name && file.place.is_none());
    let Some(file) = file else {
        let name = fog::encoding::printable(name, 80);
        let text = format!("image {} has no small file {name:?}", found.image.name);
        return Err(HttpError::NotFound(text));
    };
    let read = ops.small_file(&found.image, file).await;
    let bytes = read.map_err(|error| HttpError::from(error).native())?;
    let bytes = bytes.ok_or(HttpError::Changed)?;
    let bytes = answers.keep(form.client, bytes)?;
    let headers = [(header::CONTENT_TYPE, "application/octet-stream")];
    Ok((headers, bytes).into_response())
}

/// `fos/session`: the session of the host's task, or the last one that it was in.
pub(super) async fn session(
    State(ops): State<Arc<Ops>>,
    form: Form,
) -> Result<Response, HttpError> {
    let known = form.known(&ops).await.map_err(HttpError::native)?;
    let alone = ops.view_alone(&known).await;
    if let Some(view) = alone.map_err(|error| HttpError::from(error).native())? {
        return Ok(Json(view).into_response());
    }
    let refusal = match ops.contact(&known).await {
        Ok(()) => None,
        Err(ClientError::Refused(refusal)) => Some(refusal),
        Err(error) => return Err(HttpError::from(error).native()),
    };
    let state = ops.session_of_host(known.host.id).await;
    let Some(state) = state.map_err(|error| HttpError::from(error).native())? else {
        let text = format!("host {} was never in a session", known.host.name);
        return Err(HttpError::NotFound(text));
    };
    let site = ops.site(&state);
    Ok(Json(agent_view(&state, known.host.id, refusal.as_ref(), site)).into_response())
}
