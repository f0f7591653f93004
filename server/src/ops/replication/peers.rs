//! What servers of the site ask each other about images, and what people ask about all of them.

use std::sync::Arc;

use axum::http::Method;

use super::{DISK_LIMIT, Ops, ReplicaStage};
use crate::api::{ImageCopy, ReplicaState, ReplicaStatus};
use crate::clock;
use crate::domain::ImageId;
use crate::domain::image::{Facts, Image};
use crate::domain::peer::{Asked, Peer, TokenError};
use crate::imagestore::{self, Replace};
use crate::ops::{DataFile, blocking};
use crate::peer_client::{Asking, ask};
use crate::store::StoreError;

/// Why another server gets no file.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// There is no such image, or it was never verified.
    #[error("image {0} is not known here, or was never verified")]
    NoImage(ImageId),
    /// It has no such file.
    #[error("image {0} has no such file")]
    NoFile(ImageId),
    /// It is not here as it was verified.
    #[error("{0}")]
    NotHere(String),
    /// The disk, or too many who read.
    #[error("the image store is busy")]
    Busy,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why no copy was begun.
#[derive(Debug, thiserror::Error)]
pub enum ReplicateError {
    /// There is no such image.
    #[error("there is no image {0}; fos-server image list shows them")]
    NoImage(String),
    /// Nothing is known of its bytes.
    #[error(
        "image {0} was never verified, so no copy can be compared with it; fos-server image update {0} does that"
    )]
    NotVerified(String),
    /// The database is a file.
    #[error("there are no other servers: several have one database in MariaDB (--database)")]
    Alone,
    /// There is no such server.
    #[error("there is no server {wanted}; there {}", match known.as_slice() {
        [] => "is no other one that says where it is reached (--peer-address)".to_owned(),
        [only] => format!("is {only}"),
        many => format!("are {}", many.join(", ")),
    })]
    NoServer {
        /// What was asked for.
        wanted: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// A server did not take it.
    #[error("{server}: {why}")]
    Refused {
        /// Its name.
        server: String,
        /// Why.
        why: String,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An image at this server, for another one.
pub type PeerState = ReplicaStatus;

impl Ops {
    /// Where other servers reach this one, as it has told them.
    #[must_use]
    pub fn peer_url(&self) -> Option<String> {
        self.config.peer_url()
    }

    /// Whether a request is from another server of the site.
    ///
    /// # Errors
    /// If not.
    pub fn check_peer(&self, asked: Asked<'_>, token: &str) -> Result<(), TokenError> {
        let secret = self.replications.secret.get();
        let secret = secret.ok_or(TokenError::Unreadable)?;
        let now = u64::try_from(clock::now().0).unwrap_or(0);
        secret.check(asked, now, token)
    }

    /// A file of an image, if it is what was verified.
    ///
    /// # Errors
    /// If not, or the disk is busy.
    pub async fn peer_file(&self, id: ImageId, name: &str) -> Result<DataFile, PeerError> {
        let image = self.store.image(id).await?;
        let facts = self.store.facts(id).await?;
        let (Some(image), Some(facts)) = (image, facts) else {
            return Err(PeerError::NoImage(id));
        };
        let mut files = facts.files.into_iter();
        let file = files.find(|file| file.name == name);
        let file = file.ok_or(PeerError::NoFile(id))?;
        let places = Arc::clone(&self.peer_readers);
        let place = places.try_acquire_owned().map_err(|_| PeerError::Busy)?;
        let dir = self.config.images.join(&image.path);
        let len = file.size;
        let open = blocking(&self.readers, move || imagestore::open_listed(&dir, &file));
        match tokio::time::timeout(DISK_LIMIT, open).await {
            Ok(Ok(Ok(file))) => Ok(DataFile { file, len, place }),
            Ok(Ok(Err(changed))) => Err(PeerError::NotHere(readable::chain(&changed))),
            _ => Err(PeerError::Busy),
        }
    }

    /// An image at this server.
    ///
    /// # Errors
    /// If there is no such image, or the database fails.
    pub async fn replica_here(&self, id: ImageId) -> Result<PeerState, PeerError> {
        let image = self.store.image(id).await?;
        let facts = self.store.facts(id).await?;
        let image = image.ok_or(PeerError::NoImage(id))?;
        let node = self.store.node_name().unwrap_or_default();
        let copy = self.image_copy(image.id, facts.as_ref());
        let (state, percent, text) = match &copy {
            Some(copy) if copy.state.is_at_work() => {
                let percent = u128::from(copy.done) * 100 / u128::from(copy.total.max(1));
                let percent = u64::try_from(percent.min(100)).unwrap_or(100);
                (copy.state, percent, copy.text.clone())
            }
            _ => self.replica_state(&image, facts).await,
        };
        Ok(ReplicaStatus {
            node,
            state,
            percent,
            text,
            copy,
        })
    }

    /// How the copy of an image to this server goes, or went; `None` if there was none since the server was started.
    #[must_use]
    pub fn image_copy(&self, id: ImageId, facts: Option<&Facts>) -> Option<ImageCopy> {
        let found = self.replication(id)?;
        let files = facts.into_iter().flat_map(|facts| &facts.files);
        let all: u64 = files.map(|file| file.size).sum();
        let (state, from, done, total, text) = match found.stage {
            ReplicaStage::Waiting => {
                let text = match self.replications.present() {
                    Some(name) if !name.is_empty() => {
                        format!("it waits until image {name} is copied")
                    }
                    _ => "it waits until another image is copied".to_owned(),
                };
                (ReplicaState::Waiting, None, 0, all, text)
            }
            ReplicaStage::Asking { why } => {
                let text = format!("the other servers are asked again soon: {why}");
                (ReplicaState::Waiting, None, 0, all, text)
            }
            ReplicaStage::Copying {
                from,
                file,
                done,
                total,
            } => {
                let text = format!("{file} comes from {from}");
                (ReplicaState::Copying, Some(from), done, total, text)
            }
            ReplicaStage::Comparing { done, total } => {
                let text = "what has come is compared with what was verified".to_owned();
                (ReplicaState::Comparing, None, done, total, text)
            }
            ReplicaStage::Ended { outcome: Ok(()) } => {
                let text = "it was copied".to_owned();
                (ReplicaState::Held, None, all, all, text)
            }
            ReplicaStage::Ended { outcome: Err(why) } => (ReplicaState::Failed, None, 0, all, why),
        };
        Some(ImageCopy {
            state,
            from,
            done,
            total,
            began_at: found.began_at.to_string(),
            since: found.since.to_string(),
            text,
        })
    }

    /// What is at an image's place, while nothing is copied there.
    async fn replica_state(
        &self,
        image: &Image,
        facts: Option<Facts>,
    ) -> (ReplicaState, u64, String) {
        let last = self.replication(image.id).map(|found| found.stage);
        let dir = self.config.images.join(&image.path);
        let look = move || {
            let is_there = dir.symlink_metadata().is_ok();
            let found = facts.map(|facts| imagestore::check_unchanged(&dir, &facts));
            (is_there, found)
        };
        let why = match self.on_disk(look).await {
            Ok((_, Some(Ok(())))) => {
                let text = "it is what was verified".to_owned();
                return (ReplicaState::Held, 100, text);
            }
            Ok((true, Some(Err(changed)))) => {
                return (ReplicaState::Other, 0, readable::chain(&changed));
            }
            Ok((true, None)) => {
                let text = "its files are there, and were never verified".to_owned();
                return (ReplicaState::Other, 0, text);
            }
            Ok((false, _)) => None,
            Err(text) => Some(text),
        };
        match (why, last) {
            (Some(text), _)
            | (
                None,
                Some(ReplicaStage::Ended {
                    outcome: Err(text), ..
                }),
            ) => (ReplicaState::Failed, 0, text),
            _ => (ReplicaState::Absent, 0, "it is not there".to_owned()),
        }
    }

    /// Has an image copied to a server, or to all of them that lack it; its name.
    ///
    /// # Errors
    /// If a server cannot be asked. Those before it have begun.
    pub async fn replicate(
        &self,
        wanted: &str,
        to: Option<&str>,
        replace: Replace,
    ) -> Result<String, ReplicateError> {
        let shown = |text: &str| fog::encoding::printable(text, 60);
        let (image, facts) = self
            .find_image(wanted)
            .await?
            .ok_or_else(|| ReplicateError::NoImage(shown(wanted)))?;
        let name = shown(&image.name);
        if facts.is_none() {
            return Err(ReplicateError::NotVerified(name));
        }
        let own = self.store.node_name().ok_or(ReplicateError::Alone)?;
        let peers = self.store.peers().await?;
        let is_meant = |node: &str| to.is_none_or(|to| to == node);
        if !is_meant(&own) && !peers.iter().any(|peer| is_meant(&peer.name)) {
            let mut known = vec![own];
            known.extend(peers.into_iter().map(|peer| peer.name));
            return Err(ReplicateError::NoServer {
                wanted: shown(to.unwrap_or_default()),
                known,
            });
        }
        if is_meant(&own) {
            self.want_copy(image.id, replace);
        }
        // Without a name, servers that are gone are passed over: they are shown as such.
        let asked = peers
            .into_iter()
            .filter(|peer| is_meant(&peer.name) && (peer.is_there || to.is_some()));
        for peer in asked {
            let replaces = u8::from(replace == Replace::Other);
            let path = format!("/peer/copy?image={}&replace={replaces}", image.id);
            let answer = self.ask_peer(&peer, Method::POST, &path).await;
            if let Err(why) = answer {
                let server = peer.name;
                return Err(ReplicateError::Refused { server, why });
            }
        }
        Ok(name)
    }

    /// An image at all servers, this one first.
    ///
    /// # Errors
    /// If there is no such image, or the database fails.
    pub async fn replicas(&self, wanted: &str) -> Result<Vec<ReplicaStatus>, ReplicateError> {
        let found = self.find_image(wanted).await?;
        let no_image = || ReplicateError::NoImage(fog::encoding::printable(wanted, 60));
        let (image, _) = found.ok_or_else(no_image)?;
        let here = match self.replica_here(image.id).await {
            Ok(here) => here,
            Err(PeerError::Store(error)) => return Err(error.into()),
            Err(_) => return Err(no_image()),
        };
        let mut all = vec![here];
        if self.store.node_name().is_none() {
            return Ok(all);
        }
        let path = format!("/peer/state?image={}", image.id);
        let peers = self.store.peers().await?;
        let asked = peers.iter().map(|peer| self.state_of(peer, &path));
        all.extend(futures_util::future::join_all(asked).await);
        Ok(all)
    }

    async fn state_of(&self, peer: &Peer, path: &str) -> ReplicaStatus {
        let unknown = |text: String| ReplicaStatus {
            node: peer.name.clone(),
            state: ReplicaState::Unreachable,
            percent: 0,
            text,
            copy: None,
        };
        if !peer.is_there {
            return unknown("it was not seen for some minutes".to_owned());
        }
        let said = match self.ask_peer(peer, Method::GET, path).await {
            Ok(said) => said,
            Err(error) => return unknown(error),
        };
        match serde_json::from_slice::<ReplicaStatus>(&said) {
            Ok(found) => ReplicaStatus {
                node: peer.name.clone(),
                text: fog::encoding::printable(&found.text, 300),
                ..found
            },
            Err(error) => unknown(error.to_string()),
        }
    }

    async fn ask_peer(
        &self,
        peer: &Peer,
        method: Method,
        path: &str,
    ) -> Result<axum::body::Bytes, String> {
        let secret = self.replications.secret.get();
        let secret = secret.ok_or("there is no secret of the site")?;
        let asking = Asking {
            secret,
            url: &peer.url,
            method,
            path,
            from: None,
        };
        let answer = ask(asking).await?;
        match answer.status().is_success() {
            true => answer.bytes().await,
            false => Err(answer.complaint().await),
        }
    }
}
