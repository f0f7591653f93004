//! What is remembered of what machines were told.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OwnedMutexGuard;

use super::Ops;
use super::clients::{ClientResult, Known};
use crate::clock;
use crate::domain::handout::Job;
use crate::domain::handouts::{Change, Handouts, Holder, News, TooMany};
use crate::domain::host::Host;
use crate::domain::node::Fence;
use crate::domain::refusal::AskAgain;
use crate::domain::session::core::Peer;
use crate::domain::{HostId, Refusal, SessionId};
use crate::session::Handle;
use crate::store::{SharedStore, StoreError};

/// In memory as in the store.
#[derive(Debug)]
pub(super) struct Memory {
    handouts: Arc<Mutex<Handouts>>,
    /// One change after the other, so that one machine gets one ticket.
    turns: Arc<tokio::sync::Mutex<()>>,
    /// Claims of sessions for which it was read what other servers told machines.
    read: Mutex<BTreeSet<(SessionId, Fence)>>,
}

impl Memory {
    /// Reads what is stored. `server` is the number of this one, if there are others.
    pub(super) async fn load(store: &SharedStore, server: Option<i64>) -> Result<Self, StoreError> {
        let handouts = Handouts::new(store.handouts().await?, Instant::now()).of_server(server);
        Ok(Self {
            handouts: Arc::new(Mutex::new(handouts)),
            turns: Arc::default(),
            read: Mutex::default(),
        })
    }
}

/// The right to change what is remembered.
pub(super) type Turn = OwnedMutexGuard<()>;

impl Ops {
    pub(super) fn handouts(&self) -> MutexGuard<'_, Handouts> {
        lock(&self.memory.handouts)
    }

    /// Machines of a session were told something by the server that ran it before: that is read once for each claim.
    pub(super) async fn remember_those_of(&self, handle: &Handle) -> ClientResult<()> {
        let Some(fence) = handle.fence else {
            return Ok(());
        };
        let claim = (handle.job.session, fence);
        let is_read = || locked(&self.memory.read).contains(&claim);
        if is_read() {
            return Ok(());
        }
        let _turn = self.turn_to_remember().await?;
        if is_read() {
            return Ok(());
        }
        let rows = self.store.handouts().await?;
        self.handouts().merge(rows, Instant::now());
        let mut read = locked(&self.memory.read);
        read.retain(|(session, _)| {
            *session != claim.0 && self.sessions.running(*session).is_some()
        });
        read.insert(claim);
        Ok(())
    }

    /// A machine checks in.
    pub(super) fn heard(&self, known: &Known) {
        let restart_takes = self.config.timing.restart_takes;
        let (macs, address) = (known.macs(), known.request.address);
        let mut handouts = self.handouts();
        handouts.heard(&macs, address, Instant::now(), restart_takes);
    }

    /// Its question was held back or took its time, or it reports.
    pub(super) fn still_there(&self, known: &Known) {
        // A ticket tells what its machine runs.
        if known.request.ticket.is_none() {
            let (macs, address) = (known.macs(), known.request.address);
            self.handouts().still_there(&macs, address, Instant::now());
        }
    }

    /// Behind a database that hangs others wait in line: a boot loader has less patience than they would take
    /// together.
    pub(super) async fn turn_to_remember(&self) -> ClientResult<Turn> {
        let turn = Arc::clone(&self.memory.turns).lock_owned();
        let turn = tokio::time::timeout(TURN_LIMIT, turn).await;
        Ok(turn.map_err(|_| AskAgain::NotStored)?)
    }

    /// Stores a change, then carries it out. Whoever asked may go away meanwhile: both are done, or neither is.
    pub(super) async fn remember(&self, turn: Turn, change: Change) -> Result<(), StoreError> {
        let store = Arc::clone(&self.store);
        let handouts = Arc::clone(&self.memory.handouts);
        let work = async move {
            let _turn = turn;
            store.hand_out(change.clone()).await?;
            lock(&handouts).apply(&change, Instant::now());
            Ok::<(), StoreError>(())
        };
        let done = tokio::spawn(work).await;
        done.unwrap_or_else(|error| Err(StoreError::Internal(error.to_string())))
    }

    /// The machine that has a host's place, as it is stored: also if its session does not run yet. Call it in a
    /// turn, so that it is of the same time as what is decided by it.
    pub(super) async fn holder(&self, host: HostId) -> Result<Option<Holder>, StoreError> {
        let session = match self.store.active_task(host).await? {
            Some((_, Some(session))) => session,
            Some((_, None)) => {
                return Ok(self.machine_alone(host).map(|machine| Holder {
                    address: machine.address.into(),
                    ticket: machine.ticket,
                }));
            }
            None => return Ok(None),
        };
        let session = self.store.session(session).await?;
        let mut members = session.into_iter().flat_map(|session| session.members);
        let member = members.find(|member| member.host == host);
        Ok(member.and_then(|member| {
            Some(Holder {
                address: member.address?.into(),
                ticket: member.ticket,
            })
        }))
    }

    /// Forgets what machines of a host were told, but for the one that has its place.
    pub(super) async fn forget(&self, host: &Host) -> Result<(), StoreError> {
        let turn = Arc::clone(&self.memory.turns).lock_owned().await;
        let holder = self.holder(host.id).await?;
        let change = self.handouts().forget(&host.macs, holder);
        self.remember(turn, change).await
    }

    /// A machine without a ticket keeps the job that it checked in for: one that boots by other means, one whose
    /// boot loader had another address, and one that was let into another session than it was booted for. A
    /// ticket is known wherever its machine is.
    ///
    /// # Errors
    /// If there is no place to remember it.
    pub(super) fn to_remember(
        &self,
        known: &Known,
        peer: Peer,
        job: Job,
    ) -> Result<Option<Change>, Refusal> {
        let address = IpAddr::V4(peer.address);
        let handouts = self.handouts();
        let own = handouts.at(&known.macs(), address);
        let is_known = own.is_some_and(|own| match own.ticket {
            Some(_) => own.job.is_same_task(&job),
            None => own.job.is_still(&job),
        });
        if peer.ticket.is_some() || is_known {
            return Ok(None);
        }
        let news = News {
            host: known.host.id,
            address,
            job,
            ticket: None,
            at: clock::now(),
            holder: Some(Holder {
                address,
                ticket: peer.ticket,
            }),
        };
        match handouts.remember(&known.host.macs, news) {
            Ok(change) => Ok(Some(change)),
            Err(TooMany) => Err(Refusal::TooManyMachines),
        }
    }

    /// The same, stored.
    pub(super) async fn remember_check_in(
        &self,
        known: &Known,
        peer: Peer,
        job: Job,
    ) -> ClientResult<()> {
        if self.to_remember(known, peer, job)?.is_none() {
            return Ok(());
        }
        let turn = self.turn_to_remember().await?;
        match self.to_remember(known, peer, job)? {
            Some(change) => Ok(self.remember(turn, change).await?),
            None => Ok(()),
        }
    }
}

fn lock(handouts: &Mutex<Handouts>) -> MutexGuard<'_, Handouts> {
    locked(handouts)
}

fn locked<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a machine waits until what others are told is stored.
const TURN_LIMIT: Duration = Duration::from_secs(8);
