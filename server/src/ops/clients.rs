//! Who asks, and whether it may begin.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fog::Mac;
use fog::args::{ArgsWriter, KernelArgs};
use fog::status::ReceivedStatus;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::hosts::{AcceptError, Accepted};
use super::{Ops, jobs};
use crate::clock;
use crate::config::Registration;
use crate::domain::handout::{Arguments, Job, Ticket};
use crate::domain::handouts::Origin;
use crate::domain::host::{About, Host, StationMac, Wish};
use crate::domain::refusal::AskAgain;
use crate::domain::session::Client;
use crate::domain::session::core::Peer;
use crate::domain::{HostId, Refusal, SessionId};
use crate::logs::Subject;
use crate::session::{ClientReport, Handle};
use crate::store::{InventoryFields, StoreError};

/// A request of a client.
#[derive(Debug, Clone)]
pub struct ClientRequest {
    /// Addresses of its cards, as it says.
    pub macs: Vec<Mac>,
    /// Where it came from.
    pub address: IpAddr,
    /// Its ticket.
    pub ticket: Option<Ticket>,
    /// Whether a proxy says that it passed the request on.
    pub is_forwarded: bool,
    /// What the machine says of itself.
    pub about: About,
}

impl ClientRequest {
    /// The first of its addresses that a card can have.
    #[must_use]
    pub fn station(&self) -> Option<StationMac> {
        let mut macs = self.macs.iter();
        macs.find_map(|mac| StationMac::try_from(*mac).ok())
    }
}

/// A request of a registered host.
#[derive(Debug, Clone)]
pub struct Known {
    /// The host.
    pub host: Arc<Host>,
    /// Its address that was asked with.
    pub mac: Mac,
    /// The request.
    pub request: ClientRequest,
}

impl Known {
    /// All addresses that it is known by.
    pub(super) fn macs(&self) -> Vec<Mac> {
        [&self.host.macs[..], &self.request.macs[..]].concat()
    }
}

/// What a check-in says besides.
#[derive(Debug, Clone, Default)]
pub struct CheckInRequest {
    /// What the client calls itself.
    pub agent: String,
    /// What it was booted for (`type=`); empty if it does not say.
    pub job_type: String,
    /// Its own address, if it says.
    pub own_address: Option<Ipv4Addr>,
}

/// Why a client's request came to nothing.
#[derive(Debug)]
pub enum ClientError {
    /// For a reason that the client is told.
    Refused(Refusal),
    /// The database.
    Store(StoreError),
    /// Anything else inside the server.
    Internal(anyhow::Error),
}

impl From<Refusal> for ClientError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for ClientError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<AskAgain> for ClientError {
    fn from(what: AskAgain) -> Self {
        Self::Refused(Refusal::AskAgain(what))
    }
}

/// Result of a client's request.
pub type ClientResult<T> = Result<T, ClientError>;

impl Ops {
    /// The registered host that sends a request.
    ///
    /// # Errors
    /// If none has one of its addresses.
    pub async fn identify(&self, request: ClientRequest) -> ClientResult<Known> {
        if let Some((host, mac)) = self.directory.find(&request.macs) {
            return Ok(Known { host, mac, request });
        }
        let Some(mac) = request.station() else {
            return Err(Refusal::NoMac.into());
        };
        let mac = mac.mac();
        self.remember_stranger(mac, request.address, request.about)
            .await;
        Err(Refusal::Unknown(mac).into())
    }

    /// Somebody at a machine wants it to be registered: a person at the server accepts it, unless the server was told to
    /// accept everything.
    ///
    /// # Errors
    /// If this server takes no such wishes, or it is not stored.
    pub async fn wish(&self, request: &ClientRequest) -> ClientResult<Wish> {
        let mac = request.station().ok_or(Refusal::NoMac)?;
        let now = clock::now();
        let (address, about) = (request.address, request.about.clone());
        if self.config.registration == Registration::Off {
            return Err(Refusal::Unknown(mac.mac()).into());
        }
        let wish = match self.is_news_of_wish(mac.mac(), address) {
            true => self.store.wish(now, mac, address, about).await?,
            // Asked again and again: nothing is written.
            false => {
                let pending = self.store.pending_hosts().await?;
                let is_kept = pending.iter().any(|host| host.macs.contains(&mac.mac()));
                match is_kept {
                    true => Wish::Known,
                    false => Wish::Crowded,
                }
            }
        };
        if wish == Wish::Kept {
            let subject = Subject::Host(mac.to_string());
            let line = format!("asks from {address} to be registered");
            self.log.info(now, &subject, &line);
        }
        match (wish, self.config.registration) {
            (Wish::Kept | Wish::Known, Registration::Accept) => {
                match self.accept_host(mac.mac(), Accepted::default()).await {
                    Ok(_) => Ok(Wish::Registered),
                    Err(AcceptError::Store(error)) => Err(error.into()),
                    // It waits for a person then.
                    Err(error) => {
                        tracing::warn!("host {mac}: registering it: {error}");
                        Ok(wish)
                    }
                }
            }
            _ => Ok(wish),
        }
    }

    /// The session of a host's task, started if it is to run.
    pub(super) async fn session_of(&self, known: &Known) -> ClientResult<Handle> {
        let running = self.sessions.of_host(known.host.id);
        if let Some(handle) = running
            .as_ref()
            .filter(|running| running.is_active(known.host.id))
        {
            self.remember_those_of(handle).await?;
            return Ok(handle.clone());
        }
        let (task, session) = match self.store.active_task(known.host.id).await? {
            Some((task, Some(session))) => (task, session),
            Some((task, None)) => return Err(Refusal::NoSession(task).into()),
            // Its part is over, the session may not be.
            None => match running {
                Some(handle) => return Ok(handle),
                None => return Err(self.no_task(known).await?.into()),
            },
        };
        match self.start(session).await? {
            Some(handle) => Ok(handle),
            // It ended just now, or could not be run.
            None => match self.store.active_task(known.host.id).await? {
                Some(_) => Err(Refusal::NoSession(task).into()),
                None => Err(self.no_task(known).await?.into()),
            },
        }
    }

    /// The active session that a host is in, though its own part may be over; started if it does not
    /// run yet. `None` if there is none.
    pub(super) async fn active_session_of(&self, host: HostId) -> ClientResult<Option<Handle>> {
        if let Some(handle) = self.sessions.of_host(host) {
            self.remember_those_of(&handle).await?;
            return Ok(Some(handle));
        }
        if let Some((_, Some(session))) = self.store.active_task(host).await? {
            return self.start(session).await;
        }
        match self.store.last_session(host).await? {
            Some(session) if session.state.is_active() => self.start(session.id).await,
            _ => Ok(None),
        }
    }

    /// An active session, started if it does not run yet.
    pub(super) async fn start(&self, session: SessionId) -> ClientResult<Option<Handle>> {
        let handle = self.sessions.handle(session).await?;
        match handle {
            // It goes on when the server runs again.
            None if self.sessions.is_ending() => Err(AskAgain::ShuttingDown.into()),
            None => match self.sessions.not_here(session) {
                // It may be over by now.
                Some(why) if self.is_active(session).await? => {
                    Err(AskAgain::NotHere(session, why).into())
                }
                _ => Ok(None),
            },
            Some(handle) => {
                self.remember_those_of(&handle).await?;
                Ok(Some(handle))
            }
        }
    }

    /// Whether a session is active as it is stored.
    async fn is_active(&self, session: SessionId) -> Result<bool, StoreError> {
        let found = self.store.session(session).await?;
        Ok(found.is_some_and(|session| session.state.is_active()))
    }

    /// Why a host has nothing to do.
    pub(super) async fn no_task(&self, known: &Known) -> Result<Refusal, StoreError> {
        let id = known.host.id;
        Ok(Refusal::NoTask {
            host: known.host.name.clone(),
            mac: known.mac,
            last: self.store.last_end(id).await?,
        })
    }

    /// What a boot script of this session tells the host.
    pub(super) fn job_of(&self, host: &Arc<Host>, session: &Handle) -> Job {
        self.job_for(host, session.job)
    }

    /// What a boot script tells the host of a job, of which this is the same for all hosts.
    pub(super) fn job_for(&self, host: &Arc<Host>, base: Job) -> Job {
        let is_name_changed_early = self.is_name_changed_early.load(Ordering::Relaxed);
        let of = jobs::Of {
            host,
            session: base,
            is_name_changed_early,
        };
        self.jobs.get(&of, || Job {
            arguments: self.arguments(&of),
            ..base
        })
    }

    /// What the boot script tells besides session, image and port.
    pub(super) fn arguments(&self, of: &jobs::Of<'_>) -> Arguments {
        let (config, host) = (&self.config, of.host);
        // Where a session may go on at another server, whatever its address is, that does not make it another job.
        let address = config.known_address();
        let address = address.filter(|_| self.store.node_name().is_none());
        let address = address.map(|address| address.to_string());
        let address = address.unwrap_or_default();
        let line = ArgsWriter::default()
            .raw(&config.kernel_args)
            .raw(&host.kernel_args)
            .set("storage", format!("{address}:{}/", config.images.display()))
            .set("fdrive", &host.device)
            .set("hostname", &host.name)
            .set("hostearly", u8::from(of.is_name_changed_early))
            .finish();
        of.session.arguments.with(&KernelArgs::parse(&line))
    }

    /// The sender of a report, as its session is to see it.
    ///
    /// # Errors
    /// If its kernel arguments are of another session, or it has no IPv4 address.
    pub(super) fn peer(&self, known: &Known, job: Job) -> Result<Peer, Refusal> {
        self.peer_if(known, job, |told| told.is_same_task(&job))
    }

    /// What is known of the kernel arguments of the machine that asks for a job.
    fn origin(&self, known: &Known, job: Job) -> Origin {
        let request = &known.request;
        self.handouts()
            .origin(&known.macs(), request.address, request.ticket, job)
    }

    /// # Errors
    /// If it has a ticket that no machine was told, or it is not known any more what it was told: nothing but
    /// a restart helps it.
    pub(super) fn check_origin(&self, known: &Known, job: Job) -> Result<(), Refusal> {
        match self.origin(known, job) {
            Origin::UnknownTicket => Err(Refusal::UnknownTicket),
            Origin::Unreadable(row) => Err(Refusal::UnknownJob(Box::new((*row).clone()))),
            Origin::Unknown | Origin::Told { .. } => Ok(()),
        }
    }

    pub(super) fn peer_if(
        &self,
        known: &Known,
        job: Job,
        is_good: impl FnOnce(&Job) -> bool,
    ) -> Result<Peer, Refusal> {
        let request = &known.request;
        let IpAddr::V4(address) = request.address else {
            return Err(Refusal::Ipv6(request.address));
        };
        let ticket = request.ticket;
        let is_proved = match self.origin(known, job) {
            // Its session knows the ticket or the address, or refuses it.
            Origin::Unknown | Origin::UnknownTicket | Origin::Unreadable(_) => false,
            Origin::Told {
                job: told,
                is_proved,
            } if is_good(&told) => is_proved,
            Origin::Told { job: told, .. } if told.task.is_some() || job.task.is_some() => {
                return Err(Refusal::OtherTask { now: job.task });
            }
            Origin::Told { job: told, .. } => {
                return Err(Refusal::OtherJob {
                    told: told.session,
                    now: job.session,
                });
            }
        };
        Ok(Peer {
            address,
            ticket,
            is_proved,
        })
    }

    /// A client asks whether it may begin. If many do so again and again, and nothing has changed for
    /// this one since its last answer, the answer waits, for `longest` at most, until something does.
    ///
    /// # Errors
    /// If it may not.
    pub async fn ask_to_begin(
        &self,
        known: &Known,
        asked: &CheckInRequest,
        longest: Duration,
        ending: &CancellationToken,
    ) -> ClientResult<()> {
        if Client::from(asked.agent.as_str()).is_agent() {
            return self.check_in(known, asked).await;
        }
        self.heard(known);
        let request = &known.request;
        let caller = (request.address, request.ticket);
        let turn = self
            .sessions
            .askers()
            .ask(Instant::now(), known.host.id, caller, longest);
        tokio::select! {
            () = turn.wait() => {}
            () = ending.cancelled() => {}
        }
        self.still_there(known);
        // Its host may have been changed meanwhile.
        let known = self.identify(request.clone()).await?;
        let result = self.answer_check_in(&known, asked).await;
        match &result {
            Ok(()) => turn.let_in(Instant::now()),
            // These do not last.
            Err(ClientError::Refused(Refusal::AskAgain(_)))
            | Err(ClientError::Store(_) | ClientError::Internal(_)) => drop(turn),
            Err(ClientError::Refused(_)) => turn.refused(Instant::now()),
        }
        result
    }

    /// A host asks to begin. When this returns, it is stored.
    ///
    /// # Errors
    /// If it may not.
    pub async fn check_in(&self, known: &Known, asked: &CheckInRequest) -> ClientResult<()> {
        self.heard(known);
        self.answer_check_in(known, asked).await
    }

    async fn answer_check_in(&self, known: &Known, asked: &CheckInRequest) -> ClientResult<()> {
        let result = self.try_check_in(known, asked).await;
        self.still_there(known);
        if let Err(ClientError::Refused(refusal)) = &result {
            self.note_refusal(known, refusal).await;
        }
        result
    }

    /// People see at once why a machine is not let in: it may ask for ever.
    async fn note_refusal(&self, known: &Known, refusal: &Refusal) {
        let (host, address) = (known.host.id, known.request.address);
        if refusal.needs_a_person()
            && let Some(handle) = self.sessions.of_host(host)
        {
            handle.refused(host, address, refusal.clone()).await;
        }
    }

    async fn try_check_in(&self, known: &Known, asked: &CheckInRequest) -> ClientResult<()> {
        if !matches!(asked.job_type.as_str(), "" | "down") {
            let found = fog::encoding::printable(&asked.job_type, 40);
            return Err(Refusal::OtherType { found }.into());
        }
        if let Some(task) = self.alone(known.host.id).await? {
            return self.check_in_alone(known, asked, &task).await;
        }
        let handle = self.session_of(known).await?;
        let host = known.host.id;
        let job = self.job_of(&known.host, &handle);
        self.check_origin(known, job)?;
        // A ticket is for one session; without one only what it was told matters.
        let has_ticket = known.request.ticket.is_some();
        let peer = self.peer_if(known, job, |told| match has_ticket {
            true => told.is_still(&job),
            false => told.is_good_for(&job),
        })?;
        let is_known = handle.live().address_of(host) == Some(peer.address);
        let interface = match is_known {
            true => None,
            false => Some(self.network_of(known, peer, asked)?),
        };
        let agent = Client::from(fog::encoding::printable(&asked.agent, 80).as_str());
        // Who cannot be remembered is not let in.
        self.to_remember(known, peer, job)?;
        handle.check_in(host, peer, agent, interface).await?;
        self.remember_check_in(known, peer, job).await
    }

    /// The card that leads to a client, if its receiver will be known by the address of this request.
    fn network_of(
        &self,
        known: &Known,
        peer: Peer,
        asked: &CheckInRequest,
    ) -> Result<cast_net::Interface, Refusal> {
        let is_other = asked.own_address.is_some_and(|own| own != peer.address);
        if known.request.is_forwarded || is_other {
            return Err(Refusal::Proxied {
                peer: known.request.address,
                own: asked.own_address,
            });
        }
        let route = self
            .sessions
            .around()
            .sender
            .route_to(known.request.address);
        route.map_err(|error| Refusal::NoNetwork {
            text: readable::chain(error.as_ref()),
        })
    }

    /// A sign of life. It counts if it comes from the host's machine.
    ///
    /// # Errors
    /// If this machine has to stop: it was booted for another job, or another one has the host's place.
    pub async fn contact(&self, known: &Known) -> ClientResult<()> {
        self.still_there(known);
        let running = self.sessions.of_host(known.host.id);
        // A room of agents asks this: what is in a session has no task of its own.
        let is_in_session = running
            .as_ref()
            .is_some_and(|handle| handle.is_active(known.host.id));
        if !is_in_session && self.contact_alone(known).await? {
            return Ok(());
        }
        let Some(handle) = running else {
            return Ok(());
        };
        if self.remember_those_of(&handle).await.is_err() {
            return Err(AskAgain::NotStored.into());
        }
        let job = self.job_of(&known.host, &handle);
        self.check_origin(known, job)?;
        let at = handle.live().address_of(known.host.id);
        // One that was let in goes on. Another one is still to be.
        let peer = match at.map(IpAddr::V4) == Some(known.request.address) {
            true => self.peer(known, job)?,
            false => self.peer_if(known, job, |told| told.is_still(&job))?,
        };
        match at {
            Some(address) if address != peer.address => {
                Err(Refusal::AnotherMachine { address }.into())
            }
            _ => {
                handle.contact(known.host.id, peer).await;
                Ok(())
            }
        }
    }

    /// A progress report. It counts if it comes from the host's machine.
    ///
    /// # Errors
    /// If the host has nothing to do.
    pub async fn progress(
        &self,
        known: &Known,
        report: ClientReport,
        status: Option<ReceivedStatus>,
    ) -> ClientResult<()> {
        self.still_there(known);
        if self.progress_alone(known, &report, status.as_ref()).await? {
            return Ok(());
        }
        let handle = self.session_of(known).await?;
        let peer = self.peer(known, self.job_of(&known.host, &handle))?;
        handle.progress(known.host.id, peer, report, status).await;
        Ok(())
    }

    /// Fields of the host's inventory, from its own machine.
    ///
    /// # Errors
    /// If another machine sends them, or the host has nothing to do.
    pub async fn inventory(&self, known: &Known, fields: InventoryFields) -> ClientResult<()> {
        if self.own_alone(known).await?.is_some() {
            self.store
                .store_inventory(clock::now(), known.host.id, fields)
                .await?;
            return Ok(());
        }
        let handle = self.session_of(known).await?;
        let peer = self.peer(known, self.job_of(&known.host, &handle))?;
        handle.recognise(known.host.id, peer).await?;
        self.store
            .store_inventory(clock::now(), known.host.id, fields)
            .await?;
        Ok(())
    }

    /// Whether the request of a host comes from the machine that has its task.
    pub(super) fn is_own(address: Option<Ipv4Addr>, ticket: Option<Ticket>, known: &Known) -> bool {
        address.is_some_and(|own| IpAddr::V4(own) == known.request.address)
            && (ticket.is_none() || ticket == known.request.ticket)
    }
}
