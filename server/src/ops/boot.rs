//! What a machine is told that boots from the network.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fog::Mac;

use super::clients::{ClientError, ClientResult, Known};
use super::{Ops, blocking, jobs, unicast};
use crate::clock;
use crate::domain::handout::{Arguments, Job, Ticket};
use crate::domain::handouts::News;
use crate::domain::host::{Host, TargetDisk};
use crate::domain::image::Image;
use crate::domain::reason::BrokenRow;
use crate::domain::session::{SeatStatus, Session};
use crate::domain::unicast::{TaskKind, UnicastTask};
use crate::domain::{BootGiven, Reason, Refusal, follow_up};
use crate::store::StoreError;

/// The answer to a boot loader.
#[derive(Debug)]
pub enum BootAnswer {
    /// Boot this.
    Job(Box<BootJob>),
    /// There is nothing to boot; why, and how the host's last session ended.
    Nothing(Refusal),
    /// The image of its session does not exist any more.
    NoImage(Box<Session>),
    /// The image of its session was changed since the session began.
    OtherImage(Box<Session>),
    /// A file that it would boot is missing.
    MissingFile(PathBuf),
    /// The directory of these files does not answer.
    FilesHang(PathBuf),
}

/// What there is of the files that a machine boots.
pub(super) enum BootFiles {
    Complete,
    /// The first that is not there.
    Missing(PathBuf),
    /// This directory does not answer.
    Hang(PathBuf),
}

/// What there is for a machine that boots without a task.
#[derive(Debug)]
pub enum DebugBoot {
    /// Everything, from this address of ours.
    From(Ipv4Addr),
    /// Not this file.
    MissingFile(PathBuf),
    /// The directory of the files does not answer.
    FilesHang(PathBuf),
}

/// A job for a machine.
#[derive(Debug)]
pub struct BootJob {
    /// Host.
    pub host: Arc<Host>,
    /// Address of the card that it boots with.
    pub mac: Mac,
    /// Base port of its session; `None` if it is deployed alone.
    pub port: Option<i64>,
    /// Whether its disk is captured.
    pub is_capture: bool,
    /// Whether it is switched off afterwards.
    pub is_shutdown: bool,
    /// Whether it boots to a shell.
    pub is_debug: bool,
    /// The image.
    pub image: Image,
    /// What only it is told.
    pub ticket: Ticket,
    /// Our address as it reaches us.
    pub address: Ipv4Addr,
    /// Whether the client is to change the computer name early.
    pub is_name_changed_early: bool,
}

/// What a job tells besides image and host.
struct Way {
    port: Option<i64>,
    is_capture: bool,
    is_shutdown: bool,
    is_debug: bool,
}

impl Ops {
    /// What a host is to boot with these files. What it is told is stored before it is told.
    ///
    /// # Errors
    /// If the database or the network fails.
    pub async fn boot(&self, known: &Known, files: [&str; 2]) -> ClientResult<BootAnswer> {
        let answer = self.boot_answer(known, files).await;
        self.sessions.askers().changed([known.host.id]);
        if let Some(handle) = self.sessions.of_host(known.host.id) {
            handle.asked_to_boot(known.host.id, given(&answer));
        }
        answer
    }

    /// Whether a machine can boot these files without a task.
    ///
    /// # Errors
    /// If the network fails.
    pub async fn debug_boot(&self, client: IpAddr, files: [&str; 2]) -> ClientResult<DebugBoot> {
        match self.missing_file(files).await {
            BootFiles::Complete => {}
            BootFiles::Missing(path) => return Ok(DebugBoot::MissingFile(path)),
            BootFiles::Hang(dir) => return Ok(DebugBoot::FilesHang(dir)),
        }
        let sender = &*self.sessions.around().sender;
        let address = self.config.address_for(sender, client);
        address.map(DebugBoot::From).map_err(ClientError::Internal)
    }

    async fn boot_answer(&self, known: &Known, files: [&str; 2]) -> ClientResult<BootAnswer> {
        if let Some(task) = self.alone(known.host.id).await? {
            return self.boot_alone(known, files, &task).await;
        }
        let handle = match self.session_of(known).await {
            Ok(handle) => handle,
            Err(ClientError::Refused(refusal)) => return Ok(BootAnswer::Nothing(refusal)),
            Err(error) => return Err(error),
        };
        let id = known.host.id;
        if let Some((member, _)) = handle.live().member(id)
            && !member.state().is_active()
        {
            // Its part is over, the session is not.
            if let SeatStatus::Ended(_, over) = &member.status
                && handle.is_followed
                && (follow_up::has_missed(over) || *over == Reason::Missing)
            {
                return Ok(BootAnswer::Nothing(Refusal::FollowUp {
                    session: handle.job.session,
                    over: over.clone(),
                }));
            }
            let refusal = self.no_task(known).await?;
            return Ok(BootAnswer::Nothing(refusal));
        }
        let session = self.store.session(handle.job.session).await?;
        let Some(session) = session else {
            return Ok(BootAnswer::Nothing(self.no_task(known).await?));
        };
        let Some(image) = self.store.image(session.image).await? else {
            return Ok(BootAnswer::NoImage(Box::new(session)));
        };
        let told = Job {
            arguments: Arguments::new(&image.settings(), session.is_shutdown),
            ..handle.job
        };
        // Also where the row could not be read when the session was started.
        if told != handle.job {
            return Ok(BootAnswer::OtherImage(Box::new(session)));
        }
        let way = Way {
            port: Some(session.port),
            is_capture: false,
            is_shutdown: session.is_shutdown,
            is_debug: session.is_debug,
        };
        self.boot_job(known, files, told, image, way).await
    }

    /// The same for a machine that is deployed alone.
    async fn boot_alone(
        &self,
        known: &Known,
        files: [&str; 2],
        task: &UnicastTask,
    ) -> ClientResult<BootAnswer> {
        let Some(image) = self.store.image(task.image).await? else {
            return Ok(BootAnswer::Nothing(Refusal::NoImage(task.image)));
        };
        let way = Way {
            port: None,
            is_capture: task.kind == TaskKind::Capture,
            is_shutdown: task.is_shutdown,
            is_debug: task.is_debug,
        };
        let told = unicast::base_job(task, &image);
        self.boot_job(known, files, told, image, way).await
    }

    async fn boot_job(
        &self,
        known: &Known,
        files: [&str; 2],
        told: Job,
        image: Image,
        way: Way,
    ) -> ClientResult<BootAnswer> {
        check_disk(&known.host)?;
        match self.missing_file(files).await {
            BootFiles::Complete => {}
            BootFiles::Missing(path) => return Ok(BootAnswer::MissingFile(path)),
            BootFiles::Hang(dir) => return Ok(BootAnswer::FilesHang(dir)),
        }
        let is_name_changed_early = self.is_name_changed_early().await?;
        let sender = &*self.sessions.around().sender;
        let address = self.config.address_for(sender, known.request.address);
        let address = address.map_err(ClientError::Internal)?;
        let arguments = self.arguments(&jobs::Of {
            host: &known.host,
            session: told,
            is_name_changed_early,
        });
        let job = Job { arguments, ..told };
        let Some(ticket) = self.ticket(known, job).await? else {
            return Ok(BootAnswer::Nothing(Refusal::TooManyMachines));
        };
        let Way {
            port,
            is_capture,
            is_shutdown,
            is_debug,
        } = way;
        Ok(BootAnswer::Job(Box::new(BootJob {
            host: Arc::clone(&known.host),
            mac: known.mac,
            port,
            is_capture,
            is_shutdown,
            is_debug,
            image,
            ticket,
            address,
            is_name_changed_early,
        })))
    }

    /// The ticket of a machine, made and stored if it has none; `None` if there is no place for more.
    async fn ticket(&self, known: &Known, job: Job) -> ClientResult<Option<Ticket>> {
        let address = known.request.address;
        let macs = &known.host.macs;
        if let Some(ticket) = self.ticket_again(macs, address, job) {
            return Ok(Some(ticket));
        }
        let turn = self.turn_to_remember().await?;
        if let Some(ticket) = self.ticket_again(macs, address, job) {
            return Ok(Some(ticket));
        }
        let is_crowded = self.handouts().is_crowded(macs);
        let holder = match is_crowded {
            true => self.holder(known.host.id).await?,
            false => None,
        };
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| ClientError::Internal(error.into()))?;
        let news = News {
            host: known.host.id,
            address,
            job,
            ticket: Some(Ticket(bytes)),
            at: clock::now(),
            holder,
        };
        let Ok(change) = self.handouts().remember(macs, news) else {
            return Ok(None);
        };
        self.remember(turn, change).await?;
        Ok(Some(Ticket(bytes)))
    }

    fn ticket_again(&self, macs: &[Mac], address: IpAddr, job: Job) -> Option<Ticket> {
        let mut handouts = self.handouts();
        let ticket = handouts.ticket(macs, address, job)?;
        handouts.told_again(macs, address);
        Some(ticket)
    }

    /// A setting.
    pub(super) async fn is_name_changed_early(&self) -> Result<bool, StoreError> {
        Ok(self.settings().await?.is_name_changed_early)
    }

    /// Whether there is a boot file of this name.
    pub(crate) async fn has_boot_file(&self, name: &str) -> bool {
        matches!(self.missing_file([name, name]).await, BootFiles::Complete)
    }

    /// Looks for boot files.
    pub(super) async fn missing_file(&self, files: [&str; 2]) -> BootFiles {
        let paths = files.map(|name| self.config.boot.join(name));
        let look = move || paths.into_iter().find(|path| !path.is_file());
        let looked = blocking(&self.boot_readers, look);
        match tokio::time::timeout(BOOT_LIMIT, looked).await {
            Ok(Ok(None)) => BootFiles::Complete,
            Ok(Ok(Some(path))) => BootFiles::Missing(path),
            Ok(Err(_)) | Err(_) => BootFiles::Hang(self.config.boot.clone()),
        }
    }
}

/// FOG takes any text for the name of a disk. One that would be changed on its way to the client could name
/// another disk, or none, and then the first one would be overwritten.
fn check_disk(host: &Host) -> ClientResult<()> {
    let Err(error) = host.device.parse::<TargetDisk>() else {
        return Ok(());
    };
    Err(ClientError::Store(StoreError::Broken(Box::new(
        BrokenRow {
            table: "hosts".to_owned(),
            row: host.name.clone(),
            column: "hostDevice".to_owned(),
            value: fog::encoding::printable(&host.device, 80),
            expected: format!("the name of a disk ({error})"),
        },
    ))))
}

/// The answer as people see it.
fn given(answer: &ClientResult<BootAnswer>) -> BootGiven {
    match answer {
        Ok(BootAnswer::Job(_)) => BootGiven::Kernel,
        Ok(BootAnswer::NoImage(_)) => BootGiven::NoImage,
        Ok(BootAnswer::OtherImage(_)) => BootGiven::OtherImage,
        Ok(BootAnswer::MissingFile(path)) => BootGiven::NoFile(path.clone()),
        Ok(BootAnswer::FilesHang(dir)) => BootGiven::Hang(dir.clone()),
        Ok(BootAnswer::Nothing(refusal)) | Err(ClientError::Refused(refusal)) => {
            BootGiven::Refused(refusal.clone())
        }
        Err(ClientError::Store(error)) => BootGiven::Failed(error.to_string()),
        Err(ClientError::Internal(error)) => BootGiven::Failed(readable::chain(error.as_ref())),
    }
}

/// How long the boot directory may take to show its files.
pub(super) const BOOT_LIMIT: Duration = Duration::from_secs(10);

/// Looks at the boot directory at a time, also for downloads, a thread each: if it hangs, it holds no more.
pub(super) const BOOT_READERS: usize = 16;
