//! `fos/data`: the bytes of a stream of the image, for one machine alone. It says from which byte on it wants them, so
//! that a connection that breaks is no new beginning.

use std::io::{self, SeekFrom};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum_range::{KnownSize, Ranged};
use fog::store::StreamName;
use fos_api::{FIELD_PART, FIELD_STREAM};
use headers::{HeaderMapExt as _, Range};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tokio::sync::OwnedSemaphorePermit;

use super::error::HttpError;
use super::plain;
use super::request::Form;
use crate::ops::{DataFile, Ops};

/// Answers a part of a stream, from any byte on (`Range`). 404: the stream has no such part.
pub(super) async fn data(
    State(ops): State<Arc<Ops>>,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, HttpError> {
    let known = form.known(&ops).await.map_err(HttpError::native)?;
    let stream = StreamName::of_file(form.get(FIELD_STREAM));
    let Ok(part) = form.get(FIELD_PART).parse() else {
        return Err(HttpError::Unreadable {
            status: StatusCode::BAD_REQUEST,
            text: format!("{FIELD_PART} is no number"),
        });
    };
    let found = ops.data_file(&known, &stream, part).await;
    let found = found.map_err(|error| HttpError::from(error).native())?;
    let Some(DataFile { file, len, place }) = found else {
        let text = "the image of this machine's task has no such part of a stream";
        return Ok((StatusCode::NOT_FOUND, plain(text)).into_response());
    };
    let found = DataFile { file, len, place };
    Ok(send(found, headers.typed_get::<Range>()))
}

/// Answers a file, or a part of it.
pub(super) fn send(found: DataFile, range: Option<Range>) -> Response {
    let source = Source {
        file: File::from_std(found.file),
        _place: found.place,
    };
    let ranged = Ranged::new(range, KnownSize::sized(source, found.len));
    let mut response = ranged.into_response();
    let kind = header::HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A file that is being sent, and the place that it takes.
struct Source {
    file: File,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_read(cx, buffer)
    }
}

impl AsyncSeek for Source {
    fn start_seek(mut self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.file).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.file).poll_complete(cx)
    }
}
