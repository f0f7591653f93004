//! `fos/capture`: an image that a client captured, on its way to the server. The contract is `fos_api::capture`.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{post, put};
use fog::form::Fields;
use fos_api::capture::{
    CaptureEnd, CaptureOffer, CaptureRefusalCode, FIELD_BLAKE3, FIELD_IMAGE, FIELD_NAME,
    FIELD_OFFSET, FIELD_UPLOAD, MAX_CAPTURE_JSON, MAX_PIECE,
};
use fos_api::{Blake3, FIELD_DETAIL};
use serde::de::DeserializeOwned;

use super::answer::ask_again;
use super::api::authority::bearer;
use super::error::HttpError;
use super::plain;
use super::request::Form;
use crate::domain::account::Role;
use crate::ops::{CaptureError, CaptureSender, Ops};

/// The endpoints, below `service`. Their bodies are read by the handlers, each of which has a place for that first.
pub(super) fn routes() -> Router<Arc<Ops>> {
    Router::new()
        .route("/fos/capture", post(offer).get(view))
        .route("/fos/capture/data", put(data))
        .route("/fos/capture/end", post(end))
        .route("/fos/capture/abandon", post(abandon))
}

/// Who sends, and the fields of the address.
struct Asked {
    sender: CaptureSender,
    form: Form,
}

impl Asked {
    fn get(&self, name: &str) -> &str {
        self.form.get(name)
    }
}

impl FromRequestParts<Arc<Ops>> for Asked {
    type Rejection = Failed;

    async fn from_request_parts(parts: &mut Parts, ops: &Arc<Ops>) -> Result<Self, Failed> {
        let form = Form::of_parts(parts);
        if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
            let token = value.to_str().ok().and_then(bearer);
            let caller = match token {
                Some(token) => ops.caller_by_token(token).await.map_err(HttpError::from)?,
                None => None,
            };
            let Some(caller) = caller else {
                let text = "this token is not known; fos-server token add makes one, which is shown that once";
                return Err(Failed::Told(StatusCode::UNAUTHORIZED, text.to_owned()));
            };
            if caller.role < Role::Admin {
                let text = format!(
                    "to send an image needs the role {}, and {} has the role {}",
                    Role::Admin,
                    caller.who,
                    caller.role
                );
                return Err(Failed::Told(StatusCode::FORBIDDEN, text));
            }
            let address = form.client;
            let sender = CaptureSender::Token(caller, address);
            return Ok(Self { sender, form });
        }
        let known = form.known(ops).await.map_err(HttpError::native)?;
        let sender = CaptureSender::Machine(known);
        Ok(Self { sender, form })
    }
}

/// Why there is no other answer.
enum Failed {
    Http(HttpError),
    Capture(CaptureError),
    Told(StatusCode, String),
}

impl From<HttpError> for Failed {
    fn from(error: HttpError) -> Self {
        Self::Http(error.native())
    }
}

impl From<CaptureError> for Failed {
    fn from(error: CaptureError) -> Self {
        Self::Capture(error)
    }
}

impl axum::response::IntoResponse for Failed {
    fn into_response(self) -> Response {
        match self {
            Self::Http(error) => error.into_response(),
            Self::Told(status, text) => (status, plain(text)).into_response(),
            Self::Capture(CaptureError::Client(error)) => {
                HttpError::from(error).native().into_response()
            }
            Self::Capture(CaptureError::Refused(code, text)) => {
                let status = match code {
                    CaptureRefusalCode::Room => StatusCode::INSUFFICIENT_STORAGE,
                    _ => StatusCode::CONFLICT,
                };
                let refusal = CaptureError::refusal(code, text);
                (status, Json(refusal)).into_response()
            }
            Self::Capture(CaptureError::Behind(stored)) => {
                (StatusCode::CONFLICT, Json(stored)).into_response()
            }
            Self::Capture(CaptureError::Invalid(text)) => {
                (StatusCode::BAD_REQUEST, plain(text)).into_response()
            }
            Self::Capture(CaptureError::Busy) => ask_again(
                "The server takes as many pieces at a time as it has memory for; asking again helps.",
            ),
        }
    }
}

/// Somebody would send an image.
async fn offer(
    State(ops): State<Arc<Ops>>,
    asked: Asked,
    request: Request,
) -> Result<Response, Failed> {
    let _place = ops.expect_offer(&asked.sender).await?;
    let offer: CaptureOffer = json(request).await?;
    let image = asked.get(FIELD_IMAGE);
    let terms = ops.offer_capture(&asked.sender, image, offer).await?;
    Ok(Json(terms).into_response())
}

/// How far it is.
async fn view(State(ops): State<Arc<Ops>>, asked: Asked) -> Result<Response, Failed> {
    let view = ops
        .capture_view(&asked.sender, asked.get(FIELD_UPLOAD))
        .await?;
    Ok(Json(view).into_response())
}

/// A piece of a file.
async fn data(
    State(ops): State<Arc<Ops>>,
    asked: Asked,
    request: Request,
) -> Result<Response, Failed> {
    let invalid = |text: &str| Failed::Told(StatusCode::BAD_REQUEST, text.to_owned());
    let offset = asked.get(FIELD_OFFSET).parse::<u64>();
    let offset = offset.map_err(|_| invalid("offset is no number of bytes"))?;
    let hash = asked.get(FIELD_BLAKE3).parse::<Blake3>();
    let hash = hash.map_err(|_| invalid("blake3 is no hash of 64 hexadecimal digits"))?;
    let (upload, name) = (asked.get(FIELD_UPLOAD), asked.get(FIELD_NAME));
    let most = usize::try_from(MAX_PIECE).unwrap_or(usize::MAX);
    check_len(request.headers(), most)?;
    let arrival = ops
        .expect_piece(&asked.sender, upload, name, offset)
        .await?;
    let bytes = body(request.into_body(), most).await?;
    let stored = ops.store_piece(arrival, bytes, hash).await?;
    Ok(Json(stored).into_response())
}

/// All is sent.
async fn end(
    State(ops): State<Arc<Ops>>,
    asked: Asked,
    request: Request,
) -> Result<Response, Failed> {
    let upload = asked.get(FIELD_UPLOAD);
    let _place = ops.expect_end(&asked.sender, upload).await?;
    let end: CaptureEnd = json(request).await?;
    let view = ops.end_capture(&asked.sender, upload, end).await?;
    Ok(Json(view).into_response())
}

/// The client gives up. What it says may be in the address or in the body.
async fn abandon(
    State(ops): State<Arc<Ops>>,
    asked: Asked,
    request: Request,
) -> Result<Response, Failed> {
    let bytes = body(request.into_body(), MAX_FORM).await?;
    let fields = Fields::parse("", &bytes);
    let field = |name| match asked.get(name) {
        "" => fields.get(name),
        found => found,
    };
    let view = ops
        .abandon_capture(&asked.sender, field(FIELD_UPLOAD), field(FIELD_DETAIL))
        .await?;
    Ok(Json(view).into_response())
}

async fn json<T: DeserializeOwned>(request: Request) -> Result<T, Failed> {
    let most = usize::try_from(MAX_CAPTURE_JSON).unwrap_or(usize::MAX);
    check_len(request.headers(), most)?;
    let bytes = body(request.into_body(), most).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let text = format!("the request cannot be read: {error}");
        Failed::Told(StatusCode::BAD_REQUEST, text)
    })
}

/// What is too long by its own word is not read.
fn check_len(headers: &HeaderMap, most: usize) -> Result<(), Failed> {
    let len = headers.get(header::CONTENT_LENGTH);
    let len = len.and_then(|len| len.to_str().ok()?.parse::<usize>().ok());
    match len {
        Some(len) if len > most => Err(too_long(most)),
        _ => Ok(()),
    }
}

async fn body(body: Body, most: usize) -> Result<Vec<u8>, Failed> {
    let bytes = axum::body::to_bytes(body, most).await;
    bytes.map(Vec::from).map_err(|_| too_long(most))
}

fn too_long(most: usize) -> Failed {
    let text = format!("the body is not whole, or has more than {most} bytes");
    Failed::Told(StatusCode::PAYLOAD_TOO_LARGE, text)
}

/// Bytes of a form.
const MAX_FORM: usize = 16 << 10;
