//! Our own endpoints for our own client: manifest, small files, session.

use std::sync::Arc;

use axum::Json;
use axum::extract::State as AppState;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use fog::task::State;
use fos_api::{MANIFEST_VERSION, Manifest, SmallFile};

use super::request::Form;
use super::{App, Failure, plain};
use crate::imagestore;
use crate::session::status::SessionStatus;
use crate::store::images::{Facts, Image};
use crate::store::{HostId, SessionId, images, session_hosts, sessions, tasks};

/// As [`Failure`], with a status by which our client knows that asking again may help.
pub(super) struct NativeFailure(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for NativeFailure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for NativeFailure {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, Failure(self.0)).into_response()
    }
}

/// A text and a status: our own endpoints have real ones.
fn refuse(status: StatusCode, text: impl Into<String>) -> Response {
    (status, plain(text)).into_response()
}

/// `fos/manifest`: everything about the image of the host's task.
pub(super) async fn manifest(
    AppState(app): AppState<App>,
    form: Form,
) -> Result<Response, NativeFailure> {
    let (image, facts) = match image_of(&app, form).await? {
        Ok(found) => found,
        Err(refusal) => return Ok(refusal),
    };
    let small = facts.files.iter().filter(|file| file.place.is_none());
    Ok(Json(Manifest {
        version: MANIFEST_VERSION,
        image_id: image.id.0,
        image_name: image.name,
        image_path: image.path,
        image_type: image.image_type,
        os_id: image.os_id,
        files: small
            .map(|file| SmallFile {
                name: file.name.clone(),
                len: file.size,
                blake3: file.blake3.parse().ok(),
            })
            .collect(),
        streams: facts.streams,
    })
    .into_response())
}

/// `fos/file`: a small file of that image. Only names that were listed when the image was added
/// are served, so no name leads elsewhere.
pub(super) async fn file(
    AppState(app): AppState<App>,
    form: Form,
) -> Result<Response, NativeFailure> {
    let name = form.get("name").to_owned();
    let (image, facts) = match image_of(&app, form).await? {
        Ok(found) => found,
        Err(refusal) => return Ok(refusal),
    };
    let file = facts
        .files
        .into_iter()
        .find(|file| file.name == name && file.place.is_none());
    let Some(file) = file else {
        let name: String = fog::encoding::printable(&name, 80);
        let text = format!("image {} has no small file {name:?}", image.name);
        return Ok(refuse(StatusCode::NOT_FOUND, text));
    };
    let dir = app.config.images.join(&image.path);
    let read = tokio::task::spawn_blocking(move || imagestore::read_small(&dir, &file));
    match read.await? {
        Ok(bytes) => {
            let headers = [(header::CONTENT_TYPE, "application/octet-stream")];
            Ok((headers, bytes).into_response())
        }
        Err(error) => {
            tracing::error!("serving a file of image {}: {error}", image.name);
            let text = "the file was changed or cannot be read; the server's log has the cause";
            Ok(refuse(StatusCode::CONFLICT, text))
        }
    }
}

/// `fos/session`: the session of the host's task, or the last one that it was in.
pub(super) async fn session(
    AppState(app): AppState<App>,
    form: Form,
) -> Result<Response, NativeFailure> {
    let known = match app.host(form).await? {
        Ok(known) => known,
        Err(text) => return Ok(refuse(StatusCode::NOT_FOUND, text)),
    };
    let host = known.host.id;
    let mut conn = app.store.conn().await?;
    let last = session_hosts::newest_of_host(&mut conn, host).await?;
    drop(conn);
    let Some(last) = last else {
        let text = format!("host {} was never in a session", known.host.name);
        return Ok(refuse(StatusCode::NOT_FOUND, text));
    };
    if let Some(handle) = app.sessions.handle(last.session).await? {
        handle.contact(host).await;
    }
    let Some(status) = app.session_status(last.session).await? else {
        let text = format!("session {} does not exist any more", last.session);
        return Ok(refuse(StatusCode::NOT_FOUND, text));
    };
    Ok(Json(view_for(&status, host)).into_response())
}

/// The view of one host: where its own part is over, that is what it is told.
fn view_for(status: &SessionStatus, host: HostId) -> fos_api::SessionView {
    let own = status.hosts.iter().find(|own| own.host == host.0);
    let state = own.map_or(State::Cancelled, |own| own.state);
    let mut view = status.to_view(state);
    if let Some(own) = own.filter(|own| !own.state.is_active()) {
        view.text.clone_from(&own.text);
    }
    view
}

impl App {
    /// State of a session: live if it runs, else from the database.
    pub(super) async fn session_status(
        &self,
        id: SessionId,
    ) -> anyhow::Result<Option<Arc<SessionStatus>>> {
        if let Some(handle) = self.sessions.handle(id).await? {
            return Ok(Some(handle.status()));
        }
        let mut conn = self.store.conn().await?;
        let Some(session) = sessions::by_id(&mut conn, id).await? else {
            return Ok(None);
        };
        let image = images::by_id(&mut conn, session.image).await?;
        let rows = session_hosts::of_session(&mut conn, id).await?;
        let name = image.map_or_else(String::new, |image| image.name);
        let status = SessionStatus::from_rows(&session, &name, &rows);
        Ok(Some(Arc::new(status)))
    }
}

async fn image_of(app: &App, form: Form) -> anyhow::Result<Result<(Image, Facts), Response>> {
    let known = match app.host(form).await? {
        Ok(known) => known,
        Err(text) => return Ok(Err(refuse(StatusCode::NOT_FOUND, text))),
    };
    let mut conn = app.store.conn().await?;
    let Some(task) = tasks::active_of_host(&mut conn, known.host.id).await? else {
        drop(conn);
        let text = super::checkin::no_task(app, &known).await?;
        return Ok(Err(refuse(StatusCode::NOT_FOUND, text)));
    };
    // For a multicast the image is that of the session.
    let session = match tasks::session_of(&mut conn, task.id).await? {
        Some(id) => sessions::by_id(&mut conn, id).await?,
        None => None,
    };
    let id = session.map_or(task.image, |session| session.image);
    let image = images::by_id(&mut conn, id).await?;
    let facts = images::facts(&mut conn, id).await?;
    Ok(match (image, facts) {
        (Some(image), Some(facts)) => Ok((image, facts)),
        _ => {
            let text = format!("image {id} is not known; add it with fos-server image add");
            Err(refuse(StatusCode::NOT_FOUND, text))
        }
    })
}
