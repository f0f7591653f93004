//! The files of an image over HTTP, from another server: each from the byte on that is not here yet.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use futures_util::StreamExt as _;

use super::{Ops, ReplicaStage};
use crate::domain::ImageId;
use crate::domain::image::{Facts, StoredFile};
use crate::domain::peer::{Peer, SiteSecret};
use crate::imagestore::Copying;
use crate::peer_client::{Asking, ask};

/// A server that an image is copied from.
pub(super) struct Source<'a> {
    pub(super) ops: &'a Arc<Ops>,
    pub(super) secret: &'a SiteSecret,
    pub(super) peer: &'a Peer,
    pub(super) image: ImageId,
    /// Bytes of all files.
    pub(super) total: u64,
    /// Which servers have sent bytes of which file.
    pub(super) senders: &'a mut Senders,
}

/// The servers that have sent bytes of a file, by its name.
pub(super) type Senders = BTreeMap<String, BTreeSet<String>>;

impl Source<'_> {
    /// All files that are not whole yet.
    pub(super) async fn files(
        &mut self,
        facts: &Facts,
        copying: &Arc<Copying>,
    ) -> Result<(), String> {
        let mut done = 0;
        let mut pace = Pace::new(self.ops.config().replicate_rate);
        for file in &facts.files {
            self.file(file, copying, &mut done, &mut pace).await?;
        }
        Ok(())
    }

    async fn file(
        &mut self,
        file: &StoredFile,
        copying: &Arc<Copying>,
        done: &mut u64,
        pace: &mut Pace,
    ) -> Result<(), String> {
        let opened = {
            let (copying, file) = (Arc::clone(copying), file.clone());
            let open = move || {
                let have = copying.have(&file)?;
                Ok::<_, crate::imagestore::CopyError>((copying.open(&file)?, have))
            };
            self.ops.on_disk(open).await?
        };
        let (opened, have) = opened.map_err(|error| readable::chain(&error))?;
        *done += have;
        self.note(file, *done);
        // An empty one is whole once it is there.
        if have >= file.size {
            return Ok(());
        }
        let name =
            percent_encoding::utf8_percent_encode(&file.name, percent_encoding::NON_ALPHANUMERIC);
        let path = format!("/peer/file?image={}&name={name}", self.image);
        let asking = Asking {
            secret: self.secret,
            url: &self.peer.url,
            method: Method::GET,
            path: &path,
            from: (have > 0).then_some(have),
        };
        let answer = ask(asking).await?;
        let expected = match have {
            0 => StatusCode::OK,
            _ => StatusCode::PARTIAL_CONTENT,
        };
        if answer.status() != expected {
            return Err(answer.complaint().await);
        }
        let mut bytes = answer.into_body().into_data_stream();
        let mut file_left = file.size - have;
        let mut opened = Some(opened);
        while file_left > 0 {
            let next = tokio::time::timeout(SILENCE, bytes.next()).await;
            let next = next.map_err(|_| format!("it was silent for {} s", SILENCE.as_secs()))?;
            let piece = match next {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Err(readable::chain(&error)),
                None => return Err(format!("{} ended early", shown(&file.name))),
            };
            let len = piece.len() as u64;
            let senders = self.senders.entry(file.name.clone()).or_default();
            senders.insert(self.peer.name.clone());
            if len > file_left {
                return Err(format!("{} is longer there", shown(&file.name)));
            }
            let mut target = opened.take().ok_or("the file is in use")?;
            let written = self
                .ops
                .on_disk(move || target.write_all(&piece).map(|()| target))
                .await?;
            opened = Some(written.map_err(|error| format!("{}: {error}", shown(&file.name)))?);
            file_left -= len;
            *done += len;
            self.note(file, *done);
            pace.sent(len).await;
        }
        Ok(())
    }

    fn note(&self, file: &StoredFile, done: u64) {
        let stage = ReplicaStage::Copying {
            from: self.peer.name.clone(),
            file: shown(&file.name),
            done,
            total: self.total,
        };
        self.ops.replications.note(self.image, stage);
    }
}

fn shown(name: &str) -> String {
    fog::encoding::printable(name, 80)
}

/// Keeps to a rate.
struct Pace {
    /// Bytes per second.
    rate: Option<f64>,
    next: tokio::time::Instant,
}

impl Pace {
    /// `rate` in bits per second; none without it.
    fn new(rate: Option<u64>) -> Self {
        let rate = rate.map(|rate| (rate.max(8) as f64) / 8.0);
        Self {
            rate,
            next: tokio::time::Instant::now(),
        }
    }

    /// Waits for as long as so many bytes take.
    async fn sent(&mut self, len: u64) {
        let Some(rate) = self.rate else { return };
        let takes = Duration::from_secs_f64(len as f64 / rate);
        // What was not used is not saved up.
        self.next = self.next.max(tokio::time::Instant::now()) + takes;
        tokio::time::sleep_until(self.next).await;
    }
}

/// How long a server may send nothing.
const SILENCE: Duration = Duration::from_secs(20);
