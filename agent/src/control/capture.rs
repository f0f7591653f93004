//! Calls of a capture to `fos-server` ([`fos_api::capture`]).

use std::time::Duration;

use fog::encoding::printable;
use fos_api::capture::{
    CAPTURE_ABANDON_PATH, CAPTURE_DATA_PATH, CAPTURE_END_PATH, CAPTURE_PATH, CaptureEnd,
    CaptureOffer, CaptureRefusal, CaptureTerms, CaptureView, FIELD_BLAKE3, FIELD_IMAGE, FIELD_NAME,
    FIELD_OFFSET, FIELD_UPLOAD, MAX_CAPTURE_JSON, PieceStored,
};
use fos_api::{Blake3, FIELD_DETAIL};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::http::{Asked, Content};
use super::{CallError, Server};

/// Why the server did not take something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotTaken {
    #[error(transparent)]
    Call(#[from] CallError),
    /// It says why.
    #[error("the server refuses it: {}", printable(&.0.text, 400))]
    Refused(CaptureRefusal),
}

impl NotTaken {
    /// Whether asking again later can help without anybody doing anything.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Call(error) => error.is_temporary(),
            Self::Refused(_) => false,
        }
    }
}

/// What a capture is called in all requests after its offer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Upload<'a> {
    /// As the server has named it.
    pub(crate) id: &'a str,
    /// The image, where no task names it.
    pub(crate) image: Option<&'a str>,
}

impl<'a> Upload<'a> {
    fn fields(self) -> Vec<(&'a str, &'a str)> {
        let mut fields = vec![(FIELD_UPLOAD, self.id)];
        fields.extend(self.image.map(|image| (FIELD_IMAGE, image)));
        fields
    }
}

/// Bytes of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Piece<'a> {
    pub(crate) name: &'a str,
    pub(crate) offset: u64,
    pub(crate) bytes: &'a [u8],
    pub(crate) blake3: Blake3,
}

/// Offers an image.
pub(crate) async fn offer(
    server: &Server,
    image: Option<&str>,
    offer: &CaptureOffer,
) -> Result<CaptureTerms, NotTaken> {
    let query: Vec<_> = image
        .map(|image| (FIELD_IMAGE, image))
        .into_iter()
        .collect();
    ask(server, CAPTURE_PATH, &query, Content::Json(json(offer)?)).await
}

/// Sends a piece; answers how many bytes of the file are on the server's disk.
pub(crate) async fn put(
    server: &Server,
    upload: Upload<'_>,
    piece: &Piece<'_>,
) -> Result<u64, NotTaken> {
    let (offset, hash) = (piece.offset.to_string(), piece.blake3.to_string());
    let mut query = upload.fields();
    query.extend([
        (FIELD_NAME, piece.name),
        (FIELD_OFFSET, offset.as_str()),
        (FIELD_BLAKE3, hash.as_str()),
    ]);
    let content = Content::Bytes(piece.bytes.to_vec());
    let answer = server
        .ask_own(
            CAPTURE_DATA_PATH,
            &query,
            content,
            PIECE_TIMEOUT,
            MAX_CAPTURE_JSON,
        )
        .await?;
    if answer.status == CONFLICT
        && let Ok(stored) = serde_json::from_slice::<PieceStored>(&answer.body)
    {
        return Ok(stored.stored);
    }
    let stored: PieceStored = read(answer)?;
    Ok(stored.stored)
}

/// All is sent.
pub(crate) async fn end(
    server: &Server,
    upload: Upload<'_>,
    end: &CaptureEnd,
) -> Result<CaptureView, NotTaken> {
    let content = Content::Json(json(end)?);
    ask(server, CAPTURE_END_PATH, &upload.fields(), content).await
}

/// How far the server is.
pub(crate) async fn look(server: &Server, upload: Upload<'_>) -> Result<CaptureView, NotTaken> {
    ask(server, CAPTURE_PATH, &upload.fields(), Content::Nothing).await
}

/// Gives up; the reason is for people.
pub(crate) async fn abandon(
    server: &Server,
    upload: Upload<'_>,
    reason: &str,
) -> Result<(), NotTaken> {
    let cut = reason.floor_char_boundary(2000);
    let mut query = upload.fields();
    query.push((FIELD_DETAIL, &reason[..cut]));
    let answer = server
        .ask_own(
            CAPTURE_ABANDON_PATH,
            &query,
            Content::Order,
            TIMEOUT,
            MAX_CAPTURE_JSON,
        )
        .await?;
    good(answer).map(drop)
}

async fn ask<T: DeserializeOwned>(
    server: &Server,
    path: &str,
    query: &[(&str, &str)],
    content: Content,
) -> Result<T, NotTaken> {
    let answer = server
        .ask_own(path, query, content, TIMEOUT, MAX_CAPTURE_JSON)
        .await?;
    read(answer)
}

fn read<T: DeserializeOwned>(answer: Asked) -> Result<T, NotTaken> {
    let answer = good(answer)?;
    let read = serde_json::from_slice(&answer.body);
    read.map_err(|error| {
        NotTaken::Call(CallError::Unexpected {
            url: answer.url,
            detail: error.to_string(),
        })
    })
}

/// An answer that is no refusal.
fn good(answer: Asked) -> Result<Asked, NotTaken> {
    if answer.is_success() {
        return Ok(answer);
    }
    match serde_json::from_slice::<CaptureRefusal>(&answer.body) {
        Ok(refusal) => Err(NotTaken::Refused(refusal)),
        Err(_) => Err(NotTaken::Call(answer.into_error())),
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, NotTaken> {
    serde_json::to_vec(value).map_err(|error| {
        NotTaken::Call(CallError::Unexpected {
            url: "this program".into(),
            detail: error.to_string(),
        })
    })
}

/// There is something else already.
const CONFLICT: u16 = 409;
/// The server may look for room, and remove what is old.
const TIMEOUT: Duration = Duration::from_secs(60);
/// A piece on a slow line, and a disk that writes it.
const PIECE_TIMEOUT: Duration = Duration::from_secs(300);
