//! A double of the server's end of a capture, for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use fos_api::capture::{
    CAPTURE_ABANDON_PATH, CAPTURE_DATA_PATH, CAPTURE_END_PATH, CAPTURE_PATH, CaptureEnd,
    CaptureOffer, CaptureStage, CaptureTerms, CaptureView, FIELD_BLAKE3, FIELD_NAME, FIELD_OFFSET,
    FIELD_UPLOAD, PieceStored,
};
use serde::Serialize;

use crate::control::test_server::{Reply, Request};

/// What has arrived.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    pub(super) offer: Option<CaptureOffer>,
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) end: Option<CaptureEnd>,
    pub(super) abandoned: Option<String>,
    /// Looks until the image is published.
    pub(super) looks: u32,
}

/// What the double does to a request instead of serving it.
pub(super) type Fault = Box<dyn FnMut(&Request, &mut Arrived) -> Option<Reply> + Send>;

/// The server's end.
#[derive(Clone)]
pub(super) struct Double {
    pub(super) arrived: Arc<Mutex<Arrived>>,
    fault: Arc<Mutex<Fault>>,
    piece: u32,
}

impl Double {
    pub(super) fn new(piece: u32) -> Self {
        Self::with(piece, Box::new(|_, _| None))
    }

    pub(super) fn with(piece: u32, fault: Fault) -> Self {
        Self {
            arrived: Arc::default(),
            fault: Arc::new(Mutex::new(fault)),
            piece,
        }
    }

    /// `None`: it is no request of a capture.
    pub(super) fn answer(&self, request: &Request) -> Option<Reply> {
        let path = request.path.strip_prefix("/fog/")?;
        let mut arrived = self.arrived.lock().unwrap();
        let is_ours = [
            CAPTURE_PATH,
            CAPTURE_DATA_PATH,
            CAPTURE_END_PATH,
            CAPTURE_ABANDON_PATH,
        ]
        .contains(&path);
        if !is_ours {
            return None;
        }
        if let Some(reply) = (self.fault.lock().unwrap())(request, &mut arrived) {
            return Some(reply);
        }
        let is_offer = path == CAPTURE_PATH && request.method == "POST";
        if !is_offer {
            assert_eq!(request.field(FIELD_UPLOAD).as_deref(), Some("secret"));
        }
        Some(match (path, request.method.as_str()) {
            (CAPTURE_PATH, "POST") => {
                arrived.offer = Some(serde_json::from_slice(&request.body).unwrap());
                json(&CaptureTerms {
                    upload: "secret".into(),
                    zstd_level: 1,
                    piece: self.piece,
                })
            }
            (CAPTURE_DATA_PATH, "PUT") => put(request, &mut arrived, self.piece),
            (CAPTURE_END_PATH, "POST") => {
                let end: CaptureEnd = serde_json::from_slice(&request.body).unwrap();
                for file in &end.files {
                    let bytes = &arrived.files[&file.name];
                    assert_eq!(bytes.len() as u64, file.len, "{}", file.name);
                    assert_eq!(file.blake3, blake3::hash(bytes).into());
                }
                assert_eq!(end.files.len(), arrived.files.len());
                arrived.end = Some(end);
                view(&CaptureStage::Verifying)
            }
            (CAPTURE_PATH, "GET") => {
                arrived.looks += 1;
                match arrived.looks {
                    _ if arrived.end.is_none() => view(&CaptureStage::Receiving),
                    ..3 => view(&CaptureStage::Verifying),
                    _ => view(&CaptureStage::Published),
                }
            }
            (CAPTURE_ABANDON_PATH, "POST") => {
                arrived.abandoned = request.field("detail");
                Reply::text("{}")
            }
            (path, method) => panic!("{method} {path}"),
        })
    }
}

/// Stores a piece.
pub(super) fn put(request: &Request, arrived: &mut Arrived, piece: u32) -> Reply {
    assert!(request.body.len() <= usize::try_from(piece).unwrap());
    let hash = blake3::hash(&request.body).to_string();
    assert_eq!(request.field(FIELD_BLAKE3), Some(hash));
    let offset: usize = request.field(FIELD_OFFSET).unwrap().parse().unwrap();
    let file = arrived.files.entry(request.field(FIELD_NAME).unwrap());
    let file = file.or_default();
    let end = offset + request.body.len();
    if offset > file.len() {
        return stored(409, file.len());
    }
    if end > file.len() {
        file.truncate(offset);
        file.extend_from_slice(&request.body);
    }
    stored(200, end)
}

/// An answer to a piece.
pub(super) fn stored(status: u16, len: usize) -> Reply {
    let stored = PieceStored { stored: len as u64 };
    Reply::status(status, &serde_json::to_string(&stored).unwrap())
}

/// An answer to a look.
pub(super) fn view(stage: &CaptureStage) -> Reply {
    json(&CaptureView {
        stage: stage.clone(),
        done: 1,
        total: 2,
        text: "as a test".into(),
    })
}

fn json(value: &impl Serialize) -> Reply {
    Reply::text(&serde_json::to_string(value).unwrap())
}
