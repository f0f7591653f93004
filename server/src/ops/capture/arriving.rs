//! What clients ask that send an image.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fos_api::Blake3;
use fos_api::capture::{
    CaptureEnd, CaptureOffer, CaptureRefusal, CaptureRefusalCode, CaptureTerms, CaptureView,
    PieceStored,
};
use tokio::sync::OwnedSemaphorePermit;

use super::{ArrivingFile, Upload, lock, plain_path};
use crate::clock;
use crate::domain::capture::{self, Origin};
use crate::domain::handout::Ticket;
use crate::domain::image::ImageName;
use crate::domain::refusal::AskAgain;
use crate::domain::unicast::{TaskKind, UnicastTask};
use crate::domain::{ImageId, Refusal, TaskId};
use crate::imagestore::arrivals::{
    self, FileFailed, Owner, Piece, PieceError, Place, Record, Stage,
};
use crate::imagestore::image_path;
use crate::ops::clients::{ClientError, Known};
use crate::ops::{Caller, Ops, blocking};
use crate::store::StoreError;

/// Who sends an image.
#[derive(Debug)]
pub enum Sender {
    /// A machine with a task.
    Machine(Known),
    /// Somebody with a token, from this address.
    Token(Caller, std::net::IpAddr),
}

/// Why a request of a capture came to nothing.
#[derive(Debug)]
pub enum CaptureError {
    /// As in every request of a client.
    Client(ClientError),
    /// It is not taken.
    Refused(CaptureRefusalCode, String),
    /// A piece is behind what is stored.
    Behind(PieceStored),
    /// The request makes no sense.
    Invalid(String),
    /// Too much at a time: ask again.
    Busy,
}

impl From<ClientError> for CaptureError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<Refusal> for CaptureError {
    fn from(refusal: Refusal) -> Self {
        Self::Client(refusal.into())
    }
}

impl From<StoreError> for CaptureError {
    fn from(error: StoreError) -> Self {
        Self::Client(error.into())
    }
}

impl CaptureError {
    /// For people and programs.
    #[must_use]
    pub fn refusal(code: CaptureRefusalCode, text: String) -> CaptureRefusal {
        CaptureRefusal { code, text }
    }

    fn internal(error: impl Into<anyhow::Error>) -> Self {
        Self::Client(ClientError::Internal(error.into()))
    }

    fn unsupported(text: impl ToString) -> Self {
        Self::Refused(CaptureRefusalCode::Unsupported, text.to_string())
    }

    fn gone() -> Self {
        let text = "this upload is not known any more: it was cancelled, given up, or removed because nothing came; \
            begin again";
        Self::Refused(CaptureRefusalCode::Gone, text.to_owned())
    }
}

type CaptureResult<T> = Result<T, CaptureError>;

/// A place for a piece in memory, before its bytes are read.
#[derive(Debug)]
pub struct Arrival {
    upload: Arc<Upload>,
    name: String,
    coming: Coming,
    places: [OwnedSemaphorePermit; 2],
}

/// A piece that is being read: those behind it wait for it.
#[derive(Debug)]
struct Coming {
    file: Arc<ArrivingFile>,
    offset: u64,
}

impl Coming {
    fn new(file: Arc<ArrivingFile>, offset: u64) -> Self {
        lock(&file.coming).push(offset);
        Self { file, offset }
    }

    /// Waits for the pieces before it, if there are any on their way that would close the gap.
    async fn turn(&self) -> tokio::sync::OwnedMutexGuard<()> {
        loop {
            let moved = self.file.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            let turn = Arc::clone(&self.file.turn).lock_owned().await;
            let has_gap = self.offset > self.file.stored.load(Ordering::SeqCst);
            let is_coming = lock(&self.file.coming)
                .iter()
                .any(|other| *other < self.offset);
            if !has_gap || !is_coming {
                return turn;
            }
            drop(turn);
            moved.await;
        }
    }
}

impl Drop for Coming {
    fn drop(&mut self) {
        let mut coming = lock(&self.file.coming);
        if let Some(own) = coming.iter().position(|offset| *offset == self.offset) {
            coming.swap_remove(own);
        }
        drop(coming);
        self.file.moved.notify_waiters();
    }
}

/// An image that is to be sent.
struct Target {
    image: ImageId,
    name: String,
    path: String,
    os_id: i64,
    is_known: bool,
    level: i32,
    owner: Owner,
    origin: Origin,
}

impl Ops {
    /// Somebody would send an image. When this returns, the upload is stored.
    ///
    /// # Errors
    /// If it is not taken.
    pub async fn offer_capture(
        self: &Arc<Self>,
        sender: &Sender,
        image: &str,
        offer: CaptureOffer,
    ) -> CaptureResult<CaptureTerms> {
        let offer = capture::harmless(offer);
        let target = match sender {
            Sender::Machine(known) => self.target_of_machine(known, &offer).await?,
            Sender::Token(caller, address) => {
                let target = self.target_of_token(caller, image, &offer).await?;
                Target {
                    origin: Origin {
                        address: address.to_string(),
                        ..target.origin
                    },
                    ..target
                }
            }
        };
        // What is begun is finished, though its client hangs up.
        let ops = Arc::clone(self);
        let begun = tokio::spawn(async move { ops.begin_upload(target, offer).await });
        begun.await.map_err(CaptureError::internal)?
    }

    /// The capture that a machine was told to make, and the ticket that it alone has.
    async fn task_of_machine(&self, known: &Known) -> CaptureResult<(Arc<UnicastTask>, Ticket)> {
        let task = self.own_alone(known).await?;
        let task = task.filter(|task| task.kind == TaskKind::Capture && task.has_gone());
        let task = task.ok_or(Refusal::NotCheckedIn)?;
        let ticket = known.request.ticket.ok_or(Refusal::NotCheckedIn)?;
        Ok((task, ticket))
    }

    async fn target_of_machine(
        &self,
        known: &Known,
        offer: &CaptureOffer,
    ) -> CaptureResult<Target> {
        let (task, ticket) = self.task_of_machine(known).await?;
        let image = self.store.image(task.image).await?;
        let image = image.ok_or(Refusal::NoImage(task.image))?;
        capture::check(offer, &image.name, image.image_type).map_err(CaptureError::unsupported)?;
        Ok(Target {
            image: image.id,
            is_known: true,
            level: level(image.compression),
            owner: Owner::Task {
                task: task.id,
                ticket: ticket.to_string(),
            },
            origin: Origin {
                host: known.host.name.clone(),
                address: known.request.address.to_string(),
                ..Origin::default()
            },
            name: image.name,
            path: image.path,
            os_id: image.os_id,
        })
    }

    async fn target_of_token(
        &self,
        caller: &Caller,
        wanted: &str,
        offer: &CaptureOffer,
    ) -> CaptureResult<Target> {
        let name: ImageName = wanted.parse().map_err(CaptureError::unsupported)?;
        let who = caller.who.to_string();
        let owner = Owner::Token { name: who.clone() };
        let origin = Origin {
            account: who,
            ..Origin::default()
        };
        let found = self.store.find_image(name.as_str()).await?;
        if let Some(image) = found.filter(|image| image.name == name.as_str()) {
            capture::check(offer, &image.name, image.image_type)
                .map_err(CaptureError::unsupported)?;
            return Ok(Target {
                image: image.id,
                is_known: true,
                level: level(image.compression),
                owner,
                origin,
                name: image.name,
                path: image.path,
                os_id: image.os_id,
            });
        }
        capture::check(offer, name.as_str(), offer.image_type)
            .map_err(CaptureError::unsupported)?;
        let path = image_path(name.as_str()).map_err(CaptureError::unsupported)?;
        Ok(Target {
            image: NEW,
            is_known: false,
            level: level(None),
            owner,
            origin,
            name: name.into(),
            path,
            os_id: OTHER_SYSTEM,
        })
    }

    async fn begin_upload(
        self: &Arc<Self>,
        target: Target,
        offer: CaptureOffer,
    ) -> CaptureResult<CaptureTerms> {
        plain_path(&target.path).map_err(CaptureError::unsupported)?;
        self.captures.are_known()?;
        let turn = tokio::time::timeout(TURN_LIMIT, self.captures.turn.lock()).await;
        let _turn = turn.map_err(|_| CaptureError::Busy)?;
        if let Err(error) = self.captures_are_ours().await {
            let text = readable::chain(error.as_ref());
            return Err(Refusal::NoCaptures { text }.into());
        }
        self.make_way(&target).await?;
        if target.is_known
            && let Some(other) = self.sharer_of(target.image, &target.path).await?
        {
            return Err(CaptureError::unsupported(other));
        }
        let root = self.config.images.clone();
        let path = target.path.clone();
        let looked = blocking(&self.readers, move || {
            let place = arrivals::check_place(&root, &path);
            (place, arrivals::free(&root))
        });
        let looked = tokio::time::timeout(READ_LIMIT, looked).await;
        let looked = looked.map_err(|_| ClientError::from(AskAgain::ImageStore))?;
        let (place, free) = looked.map_err(CaptureError::internal)?;
        let place = place.map_err(CaptureError::unsupported)?;
        if place == Place::Directory && !target.is_known {
            let text = format!(
                "there is a directory {}, and no image of that name; add it with fos-server image add, or capture \
                 into another image",
                self.config.images.join(&target.path).display()
            );
            return Err(CaptureError::unsupported(text));
        }
        self.check_room(&offer, free)?;
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(CaptureError::internal)?;
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut record = Record {
            image: target.image,
            image_name: target.name,
            path: target.path,
            image_type: offer.image_type,
            os_id: target.os_id,
            owner: target.owner,
            origin: Origin {
                system: offer.system.clone(),
                disks: offer.disks.clone(),
                began_at: clock::now(),
                ..target.origin
            },
            offer,
            stage: Stage::Receiving,
            inode: None,
        };
        let (root, name) = (self.config.images.clone(), id.clone());
        let made = blocking(&self.readers, move || {
            let dir = arrivals::begin(&root, &name, &mut record)?;
            Ok::<_, FileFailed>((dir, record))
        });
        let made = made.await.map_err(CaptureError::internal)?;
        let (dir, record) = made.map_err(|failed| match failed.is_full() {
            true => room(failed.to_string()),
            false => CaptureError::internal(failed),
        })?;
        let line = format!(
            "capture of image {} begins, from {} {}",
            fog::encoding::printable(&record.image_name, 60),
            record.origin.host,
            record.origin.address
        );
        let upload = Upload::new(id.clone(), dir, record, [].into(), Duration::ZERO);
        let mut held = self.captures.held();
        held.uploads.insert(id.clone(), Arc::new(upload));
        drop(held);
        self.log.service(clock::now(), &line);
        Ok(CaptureTerms {
            upload: id,
            zstd_level: target.level,
            piece: PIECE,
        })
    }

    /// Ends a former upload of the same sender into the image.
    ///
    /// # Errors
    /// If another one runs.
    async fn make_way(&self, target: &Target) -> CaptureResult<()> {
        for other in self.captures.all() {
            let (stage, owner, origin) = {
                let record = other.record();
                if record.path != target.path || record.stage.is_over() {
                    continue;
                }
                let owner = record.owner.clone();
                (record.stage.clone(), owner, record.origin.clone())
            };
            // Whoever asks has proved to be the task's machine, perhaps with another ticket than before.
            let is_own = match (&owner, &target.owner) {
                (Owner::Task { task, .. }, Owner::Task { task: asking, .. }) => task == asking,
                (owner, target) => owner == target,
            };
            let is_given_up = match owner {
                // The machine was restarted, or it never heard the answer.
                Owner::Task { .. } => is_own,
                Owner::Token { .. } => {
                    is_own && (other.stored() == 0 || other.silence() >= SILENT_TOKEN)
                }
            };
            if matches!(stage, Stage::Receiving) && is_given_up {
                let removed = async {
                    self.fail_upload(&other, "its client has begun again")
                        .await?;
                    self.forget_upload(&other).await
                };
                removed.await.map_err(ClientError::Internal)?;
                continue;
            }
            let what = match stage {
                Stage::Receiving => "is being captured",
                _ => "has arrived from another capture, and is being verified",
            };
            let text = format!(
                "image {} {what}, from {} {} since {} (UTC); wait for its end, or cancel it",
                fog::encoding::printable(&target.name, 60),
                origin.host,
                origin.address,
                origin.began_at
            );
            return Err(CaptureError::Refused(CaptureRefusalCode::Busy, text));
        }
        Ok(())
    }

    /// Whether there is room for an image besides those that arrive.
    fn check_room(&self, offer: &CaptureOffer, free: Option<u64>) -> CaptureResult<()> {
        // Who cannot ask will see when it is full.
        let Some(free) = free else {
            return Ok(());
        };
        let reserved = self.captures.all().iter().fold(0_u64, |sum, upload| {
            let most = {
                let record = upload.record();
                match record.stage {
                    Stage::Receiving => record.offer.at_most,
                    _ => 0,
                }
            };
            sum.saturating_add(most.saturating_sub(upload.stored()))
        });
        let needed = offer.at_most.saturating_add(MARGIN);
        if needed <= free.saturating_sub(reserved) {
            return Ok(());
        }
        let mut text = format!(
            "the image may take {}, and {} are free in {}",
            readable::Size(offer.at_most),
            readable::Size(free),
            self.config.images.display()
        );
        if reserved > 0 {
            text.push_str(&format!(
                ", of which {} are for other captures",
                readable::Size(reserved)
            ));
        }
        text.push_str(
            "; make room there, or remove versions of images (fos-server image versions)",
        );
        Err(room(text))
    }

    /// An upload of this sender.
    fn upload_of(&self, sender: &Sender, id: &str) -> CaptureResult<Arc<Upload>> {
        let Some(upload) = self.captures.find(id) else {
            self.captures.are_known()?;
            return Err(CaptureError::gone());
        };
        let is_own = match (&upload.record().owner, sender) {
            (Owner::Task { ticket, .. }, Sender::Machine(known)) => {
                let shown = known.request.ticket.map(|ticket| ticket.to_string());
                shown.as_ref() == Some(ticket)
            }
            (Owner::Token { name }, Sender::Token(caller, _)) => *name == caller.who.to_string(),
            _ => false,
        };
        if !is_own {
            return Err(CaptureError::gone());
        }
        upload.is_heard();
        self.machine_is_heard(upload.task());
        Ok(upload)
    }

    /// A sign of life of the machine of a task. If others hold the queue, the next one will do.
    fn machine_is_heard(&self, task: Option<TaskId>) {
        if let Some(task) = task {
            self.heard_alone(Instant::now(), task);
        }
    }

    /// Whether more may arrive.
    async fn receiving(&self, sender: &Sender, upload: &Arc<Upload>) -> CaptureResult<()> {
        // Its task ends with it, and an answer may have been lost.
        if matches!(upload.record().stage, Stage::Published { .. }) {
            return Ok(());
        }
        if let (Some(task), Sender::Machine(known)) = (upload.task(), sender) {
            let own = self.alone(known.host.id).await?;
            if own.is_none_or(|own| own.id != task) {
                // Cancelled, or failed: what is here is removed soon.
                return Err(CaptureError::gone());
            }
        }
        Ok(())
    }

    /// A place for a piece; its bytes are to be read after this.
    ///
    /// # Errors
    /// If the upload is not known, or the file is none of it.
    pub async fn expect_piece(
        &self,
        sender: &Sender,
        id: &str,
        name: &str,
        offset: u64,
    ) -> CaptureResult<Arrival> {
        let upload = self.upload_of(sender, id)?;
        self.receiving(sender, &upload).await?;
        {
            let record = upload.record();
            if let Stage::Failed { .. } = record.stage {
                return Err(CaptureError::gone());
            }
            if !capture::is_name(name, record.image_type, record.offer.disks.len()) {
                let name = fog::encoding::printable(name, 80);
                let text = format!("{name:?} is not the name of a file of such an image");
                return Err(CaptureError::Invalid(text));
            }
        }
        let places = async {
            let own = Arc::clone(&upload.pieces).acquire_owned().await;
            let all = Arc::clone(&self.captures.pieces).acquire_owned().await;
            Ok::<_, tokio::sync::AcquireError>([own?, all?])
        };
        let places = tokio::time::timeout(PLACE_LIMIT, places).await;
        let places = places.map_err(|_| CaptureError::Busy)?;
        let places = places.map_err(CaptureError::internal)?;
        let coming = Coming::new(file_of(&upload, name)?, offset);
        Ok(Arrival {
            name: name.to_owned(),
            coming,
            places,
            upload,
        })
    }

    /// Stores a piece. When this returns, it is on the disk.
    ///
    /// # Errors
    /// If it is not what it should be, does not fit, or cannot be written.
    pub async fn store_piece(
        self: &Arc<Self>,
        arrival: Arrival,
        bytes: Vec<u8>,
        hash: Blake3,
    ) -> CaptureResult<PieceStored> {
        // What is being written is written, though its client hangs up.
        let ops = Arc::clone(self);
        let stored = tokio::spawn(async move { ops.write_piece(arrival, bytes, hash).await });
        stored.await.map_err(CaptureError::internal)?
    }

    async fn write_piece(
        self: &Arc<Self>,
        arrival: Arrival,
        bytes: Vec<u8>,
        hash: Blake3,
    ) -> CaptureResult<PieceStored> {
        let (bytes, found) = blocking(&self.captures.writers, move || {
            let found = blake3::hash(&bytes);
            (bytes, found)
        })
        .await
        .map_err(CaptureError::internal)?;
        if Blake3::from(found) != hash {
            let text =
                "the piece is not what its hash says; it was changed on its way. Send it again"
                    .to_owned();
            return Err(CaptureError::Invalid(text));
        }
        let Arrival {
            upload,
            name,
            coming,
            places,
        } = arrival;
        let turn = coming.turn().await;
        // From here on its stage does not change until the piece is stored.
        let gate = Arc::clone(&upload.gate).read_owned().await;
        let (file, offset) = (Arc::clone(&coming.file), coming.offset);
        let stored = file.stored.load(Ordering::SeqCst);
        let end = offset.saturating_add(bytes.len() as u64);
        if offset > stored {
            return Err(CaptureError::Behind(PieceStored { stored }));
        }
        {
            let record = upload.record();
            match record.stage {
                Stage::Receiving => {}
                // It comes late, or once more. What was verified is not changed.
                Stage::Sent { .. } | Stage::Good { .. } | Stage::Published { .. } => {
                    return Ok(PieceStored { stored });
                }
                Stage::Failed { .. } => return Err(CaptureError::gone()),
            }
            let most = capture::most_of(&record.offer, &name);
            if end > most {
                let text = format!(
                    "{name} would have {end} bytes, and at most {most} were offered; the capture cannot go on"
                );
                return Err(CaptureError::unsupported(text));
            }
            let most = record.offer.at_most;
            drop(record);
            let others = upload.stored().saturating_sub(stored);
            if others.saturating_add(end) > most {
                let text = format!(
                    "all files together would have more than the {most} bytes that were offered; the capture cannot \
                     go on"
                );
                return Err(CaptureError::unsupported(text));
            }
        }
        let piece = Piece {
            name,
            offset,
            bytes,
        };
        let dir = upload.dir.clone();
        let is_over = self.captures.is_over();
        let work = move || {
            let (_places, _turn, _coming, _gate) = (places, turn, coming, gate);
            if is_over {
                return Err(PieceError::Gap);
            }
            let now = arrivals::store_piece(&dir, &piece, stored)?;
            file.stored.store(now, Ordering::SeqCst);
            Ok(now)
        };
        let written = blocking(&self.captures.writers, work).await;
        match written.map_err(CaptureError::internal)? {
            Ok(stored) => Ok(PieceStored { stored }),
            Err(PieceError::Gap) => Err(CaptureError::Behind(PieceStored { stored })),
            Err(PieceError::File(failed)) if failed.is_full() => Err(room(format!(
                "{failed}; make room in {}",
                self.config.images.display()
            ))),
            Err(PieceError::File(failed)) => Err(CaptureError::internal(failed)),
        }
    }

    /// All is sent. When this returns, that is stored.
    ///
    /// # Errors
    /// If something of it is not here.
    pub async fn end_capture(
        self: &Arc<Self>,
        sender: &Sender,
        id: &str,
        end: CaptureEnd,
    ) -> CaptureResult<CaptureView> {
        let upload = self.upload_of(sender, id)?;
        if !matches!(upload.record().stage, Stage::Receiving) {
            return Ok(upload.view());
        }
        self.receiving(sender, &upload).await?;
        let ops = Arc::clone(self);
        let ended = tokio::spawn(async move { ops.end_upload(&upload, end).await });
        ended.await.map_err(CaptureError::internal)?
    }

    async fn end_upload(
        self: &Arc<Self>,
        upload: &Arc<Upload>,
        end: CaptureEnd,
    ) -> CaptureResult<CaptureView> {
        let _turn = self.captures.turn.lock().await;
        // No piece is written any more from here on.
        let _gate = upload.gate.write().await;
        // Only one of several that end it.
        if !matches!(upload.record().stage, Stage::Receiving) {
            return Ok(upload.view());
        }
        let mut empty = Vec::new();
        let mut record = upload.record().clone();
        {
            let files = lock(&upload.files);
            let missing = |text: String| Err(CaptureError::Invalid(text));
            if end.files.is_empty() || end.files.len() > capture::MAX_FILES {
                return missing(format!("the list has {} files", end.files.len()));
            }
            let mut names = std::collections::BTreeSet::new();
            for sent in &end.files {
                let name = fog::encoding::printable(&sent.name, 80);
                if !capture::is_name(&sent.name, record.image_type, record.offer.disks.len())
                    || !names.insert(sent.name.as_str())
                {
                    return missing(format!("{name:?} is no file of the image, or there twice"));
                }
                let here = files.get(&sent.name);
                let here = here.map(|file| file.stored.load(Ordering::SeqCst));
                match here {
                    Some(0) | None if sent.len == 0 => empty.push(sent.name.clone()),
                    Some(here) if here == sent.len => {}
                    here => {
                        let here = here.unwrap_or(0);
                        return missing(format!(
                            "of {name} {here} bytes are here, and {} were sent",
                            sent.len
                        ));
                    }
                }
            }
            let mut there = files
                .iter()
                .filter(|(_, file)| file.stored.load(Ordering::SeqCst) > 0);
            if let Some((other, _)) = there.find(|(name, _)| !names.contains(name.as_str())) {
                let other = fog::encoding::printable(other, 80);
                return missing(format!("{other} was sent and is not in the list"));
            }
        }
        record.origin.unreadable = capture::unreadable(end.unreadable);
        record.stage = Stage::Sent { files: end.files };
        let (dir, noted) = (upload.dir.clone(), record.clone());
        let stored = blocking(&self.captures.writers, move || {
            for name in &empty {
                arrivals::make_empty(&dir, name)?;
            }
            arrivals::note(&dir, &noted)
        });
        let stored = stored.await.map_err(CaptureError::internal)?;
        stored.map_err(|failed| match failed.is_full() {
            true => room(failed.to_string()),
            false => CaptureError::internal(failed),
        })?;
        *upload.record() = record;
        self.carry_on(upload);
        Ok(upload.view())
    }

    /// How far an upload is.
    ///
    /// # Errors
    /// If it is not known.
    pub async fn capture_view(&self, sender: &Sender, id: &str) -> CaptureResult<CaptureView> {
        let upload = self.upload_of(sender, id)?;
        if let Sender::Machine(known) = sender
            && !upload.record().stage.is_over()
        {
            // It waits, and has its task all the while.
            self.contact_alone(known).await?;
        }
        Ok(upload.view())
    }

    /// The client gives up.
    ///
    /// # Errors
    /// If the upload is not known.
    pub async fn abandon_capture(
        self: &Arc<Self>,
        sender: &Sender,
        id: &str,
        why: &str,
    ) -> CaptureResult<CaptureView> {
        let upload = self.upload_of(sender, id)?;
        let text = match fog::encoding::printable(why, 500) {
            text if text.is_empty() => "its client has given up".to_owned(),
            text => format!("its client has given up: {text}"),
        };
        let ops = Arc::clone(self);
        let failed = tokio::spawn(async move {
            let failed = ops.fail_upload(&upload, &text).await;
            failed.map(|()| upload)
        });
        let failed = failed.await.map_err(CaptureError::internal)?;
        let upload = failed.map_err(ClientError::Internal)?;
        Ok(upload.view())
    }

    /// A place for an offer in memory; its bytes are to be read after this.
    ///
    /// # Errors
    /// If the sender may not make one, or there is no place for a while.
    pub async fn expect_offer(&self, sender: &Sender) -> CaptureResult<OwnedSemaphorePermit> {
        if let Sender::Machine(known) = sender {
            self.task_of_machine(known).await?;
        }
        self.list_place().await
    }

    /// A place for the end of an upload in memory; its bytes are to be read after this.
    ///
    /// # Errors
    /// If the sender has no such upload, or there is no place for a while.
    pub async fn expect_end(
        &self,
        sender: &Sender,
        id: &str,
    ) -> CaptureResult<OwnedSemaphorePermit> {
        self.upload_of(sender, id)?;
        self.list_place().await
    }

    /// A place for a list of a client in memory. Only for who may send one: others would take all of them.
    async fn list_place(&self) -> CaptureResult<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.captures.lists).acquire_owned();
        let place = tokio::time::timeout(PLACE_LIMIT, place).await;
        let place = place.map_err(|_| CaptureError::Busy)?;
        place.map_err(CaptureError::internal)
    }
}

/// The file of this name, which begins with its first piece.
fn file_of(upload: &Upload, name: &str) -> CaptureResult<Arc<ArrivingFile>> {
    let mut files = lock(&upload.files);
    if let Some(file) = files.get(name) {
        return Ok(Arc::clone(file));
    }
    if !matches!(upload.record().stage, Stage::Receiving) {
        return Err(CaptureError::gone());
    }
    if files.len() >= capture::MAX_FILES {
        let text = format!(
            "the image would have more than {} files",
            capture::MAX_FILES
        );
        return Err(CaptureError::unsupported(text));
    }
    Ok(Arc::clone(files.entry(name.to_owned()).or_default()))
}

fn room(text: String) -> CaptureError {
    CaptureError::Refused(CaptureRefusalCode::Room, text)
}

/// FOG has levels up to 22, and 0 for none.
fn level(compression: Option<u8>) -> i32 {
    let level = compression.filter(|level| *level > 0);
    level.map_or(DEFAULT_LEVEL, |level| i32::from(level.min(19)))
}

/// As zstd itself.
const DEFAULT_LEVEL: i32 = 3;

/// The number of an image that is registered when it is good.
pub(super) const NEW: ImageId = ImageId(0);

/// FOG's number of an operating system that is none of the others.
const OTHER_SYSTEM: i64 = 99;

/// Bytes of a piece: a network of 2 Mbit/s takes one within the time that a request may have.
const PIECE: u32 = 4 << 20;

/// Kept free besides what was offered.
const MARGIN: u64 = 64 << 20;

/// How long a client waits for those before it.
const TURN_LIMIT: Duration = Duration::from_secs(20);

/// How long a client waits for a place in memory.
const PLACE_LIMIT: Duration = Duration::from_secs(20);

/// How long a client waits for a look at the image store.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(10);

/// Silence after which somebody may begin again with the same token.
const SILENT_TOKEN: Duration = Duration::from_secs(120);
