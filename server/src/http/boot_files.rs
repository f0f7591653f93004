//! Kernel and initramfs, for iPXE.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;

use super::answer::{Fault, ask_again};
use super::boot_script::BOOT_FILES;
use super::boot_script::menu::MEMORY_TESTS;
use super::plain;
use crate::logs::{Level, Subject};
use crate::ops::{BootFile, BootFileError, Ops};

/// Streams a boot file with its length. No other file is ever served from here.
pub(super) async fn file(State(ops): State<Arc<Ops>>, Path(name): Path<String>) -> Response {
    let is_known = BOOT_FILES
        .iter()
        .any(|files| files.kernel == name || files.init == name)
        || MEMORY_TESTS.contains(&name.as_str());
    if !is_known {
        return (StatusCode::NOT_FOUND, plain("no such boot file")).into_response();
    }
    let error = match ops.boot_file(&name).await {
        Ok(file) => return streamed(ops, name, file),
        Err(error) => error,
    };
    match error {
        BootFileError::Missing(_) | BootFileError::NotRegular(_) => {
            let line = format!("{error}, and was asked for");
            let what = "requests for missing boot files";
            let now = crate::clock::now();
            ops.log()
                .repeated(now, Level::Error, &Subject::Server, what, &line);
            let text = match error {
                BootFileError::NotRegular(_) => {
                    format!("{name} in the server's boot directory is not a regular file")
                }
                _ => format!("{name} is missing in the server's boot directory"),
            };
            (StatusCode::NOT_FOUND, plain(text)).into_response()
        }
        BootFileError::Io { .. } => {
            let text = format!("{name} cannot be read; the server's log has the cause");
            let response = (StatusCode::INTERNAL_SERVER_ERROR, plain(text)).into_response();
            fault(&error).add_to(response)
        }
        BootFileError::Hangs(_) => {
            let text = "The server's boot directory does not answer; its log has the cause.";
            fault(&error).add_to(ask_again(text))
        }
    }
}

fn fault(error: &BootFileError) -> Fault {
    Fault {
        what: "requests for boot files that cannot be read",
        text: error.to_string(),
    }
}

fn streamed(ops: Arc<Ops>, name: String, file: BootFile) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, file.len().to_string()),
    ];
    let chunks = stream::try_unfold(file, move |file| {
        let (ops, name) = (Arc::clone(&ops), name.clone());
        async move {
            file.next().await.inspect_err(|error| {
                let line = format!("sending {name} broke off, reading it failed: {error}");
                let what = "downloads of boot files that broke off";
                let now = crate::clock::now();
                ops.log()
                    .repeated(now, Level::Error, &Subject::Server, what, &line);
            })
        }
    });
    (headers, Body::from_stream(chunks)).into_response()
}
