//! What these machines ask and report.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fog::status::ReceivedStatus;
use fog::store::StreamName;
use fog::task::State;
use fos_api::{SessionView, Stage};
use tokio::sync::OwnedSemaphorePermit;

use super::{Behind, Held};
use crate::clock;
use crate::domain::handout::{Arguments, Job};
use crate::domain::host::Host;
use crate::domain::image::{Facts, Image};
use crate::domain::queue::{Answer, Decision, NodeFailure, Step};
use crate::domain::refusal::{AskAgain, Line};
use crate::domain::session::core::Peer;
use crate::domain::session::{Client, Note};
use crate::domain::unicast::{Machine, TaskKind, UnicastFact, UnicastTask};
use crate::domain::{HostId, ImageId, Reason, Refusal, SessionId, TaskId, Timestamp};
use crate::imagestore;
use crate::ops::clients::{CheckInRequest, ClientError, ClientResult, Known};
use crate::ops::{Ops, TaskImage, blocking};
use crate::session::ClientReport;
use crate::store::{Decided, StoreError, UnicastQuery};
use crate::text;

/// A file of an image that is sent to one machine.
#[derive(Debug)]
pub struct DataFile {
    /// Open for reading, from its first byte.
    pub file: std::fs::File,
    /// Bytes in it.
    pub len: u64,
    /// Given back when it is sent.
    pub place: OwnedSemaphorePermit,
}

impl Ops {
    /// What a boot script of this task tells its host.
    pub(in crate::ops) async fn job_alone(
        &self,
        host: &Arc<Host>,
        task: &UnicastTask,
    ) -> ClientResult<Job> {
        let known = {
            let held = self.unicasts().await?;
            held.tasks.get(&task.id).and_then(|task| task.job)
        };
        let job = match known {
            Some(job) => job,
            None => {
                let image = self.store.image(task.image).await?;
                let image = image.ok_or(Refusal::NoImage(task.image))?;
                let job = base_job(task, &image);
                let mut held = self.unicasts().await?;
                if let Some(task) = held.tasks.get_mut(&task.id) {
                    task.job = Some(job);
                }
                job
            }
        };
        Ok(self.job_for(host, job))
    }

    /// A sign of life of the machine of a task. If others hold the queue, the next one will do.
    pub(in crate::ops) fn heard_alone(&self, now: Instant, task: TaskId) {
        if let Ok(mut held) = self.unicasts.held.try_lock() {
            held.queue.heard(now, task);
        }
    }

    /// The server itself ends a task. When this returns, it is stored.
    pub(in crate::ops) async fn end_alone(
        &self,
        task: TaskId,
        ended: UnicastFact,
    ) -> ClientResult<()> {
        let mut held = self.unicasts().await?;
        let mut facts = Vec::new();
        let is_to = |state| matches!(&ended, UnicastFact::Ended { state: to, .. } if *to == state);
        if let Some(own) = held.tasks.get(&task)
            && is_to(State::Complete)
            && own.is.state != State::InProgress
        {
            // Its machine was silent while all of it was here.
            if own.is.state == State::CheckedIn {
                facts.push((task, UnicastFact::Left));
            }
            facts.push((task, UnicastFact::Resumed));
        }
        facts.push((task, ended));
        self.store_unicast(&mut held, facts, &[]).await
    }

    /// Whether this machine may do what its task is: it was booted for that, and its program can.
    pub(in crate::ops) fn check_kind(
        known: &Known,
        asked: &CheckInRequest,
        task: &UnicastTask,
    ) -> Result<(), Refusal> {
        let is_agent = Client::from(asked.agent.as_str()).is_agent();
        let found = || fog::encoding::printable(&asked.job_type, 40);
        match (task.kind, asked.job_type.as_str()) {
            (TaskKind::Deploy, "" | "down") => Ok(()),
            (TaskKind::Deploy, _) => Err(Refusal::OtherType { found: found() }),
            (TaskKind::Capture, "" | "up") if is_agent && known.request.ticket.is_some() => Ok(()),
            (TaskKind::Capture, "" | "up") => Err(Refusal::CaptureNeedsAgent),
            (TaskKind::Capture, _) => Err(Refusal::CaptureNow { found: found() }),
        }
    }

    /// A machine asks whether it may begin. When this returns, it is stored.
    pub(in crate::ops) async fn check_in_alone(
        &self,
        known: &Known,
        asked: &CheckInRequest,
        task: &UnicastTask,
    ) -> ClientResult<()> {
        Self::check_kind(known, asked, task)?;
        let job = self.job_alone(&known.host, task).await?;
        let peer = self.peer_alone(known, job)?;
        // Who cannot be remembered is not let in.
        self.to_remember(known, peer, job)?;
        let name = fog::encoding::printable(&asked.agent, 80);
        let machine = Machine {
            address: peer.address,
            ticket: peer.ticket,
            client: Client::from(name.as_str()),
        };
        // What is captured replaces them.
        let mut are_files_good = task.kind == TaskKind::Capture;
        let mut tries = 0..DECIDED_AGAIN;
        let answer = loop {
            let mut held = self.unicasts().await?;
            let now = Instant::now();
            let decision = self.decide(&held, now, known, peer, task)?;
            let goes = decision
                .steps
                .iter()
                .any(|step| matches!(step, Step::Went { .. }));
            if goes && !are_files_good {
                // Others need not wait for the disk. Clients write the partition table as soon as they get GO.
                drop(held);
                self.check_image_alone(task).await?;
                are_files_good = true;
                continue;
            }
            held.queue.heard(now, task.id);
            let own = held.tasks.get(&task.id).map(|task| Arc::clone(&task.is));
            let facts = facts_of(&decision, own.as_deref(), &machine, task);
            let decided = match decision.steps.is_empty() {
                true => Decided::ByTask,
                false => Decided::In(held.turn),
            };
            let stored = self.store_decided(&mut held, decided, facts, &decision.steps);
            if let Err(Behind) = stored.await? {
                tries.next().ok_or(AskAgain::NotStored)?;
                continue;
            }
            break match decision.answer {
                Answer::Go => None,
                Answer::NoSlot { in_front } => Some(line(&held, task, in_front, 0)),
                Answer::Behind { in_front, open } => Some(line(&held, task, in_front, open)),
            };
        };
        self.remember_check_in(known, peer, job).await?;
        match answer {
            None => Ok(()),
            Some(line) => Err(Refusal::InLine(line).into()),
        }
    }

    /// What the queue says, if this machine may act for the host.
    fn decide(
        &self,
        held: &Held,
        now: Instant,
        known: &Known,
        peer: Peer,
        task: &UnicastTask,
    ) -> ClientResult<Decision> {
        let gone = || {
            let (host, mac) = (known.host.name.clone(), known.mac);
            ClientError::from(Refusal::NoTask {
                host,
                mac,
                last: None,
            })
        };
        let own = held.tasks.get(&task.id).ok_or_else(gone)?;
        if let Some(machine) = &own.is.machine
            && (machine.address, machine.ticket) != (peer.address, peer.ticket)
        {
            let heard = held.queue.last_heard(task.id);
            let is_gone = heard.is_none_or(|heard| {
                now.saturating_duration_since(heard) >= self.config.timing.rebind_after
            });
            // A machine whose kernel arguments are proved takes the place of one whose are not.
            let yields = peer.is_proved && machine.ticket.is_none();
            if !is_gone && !yields {
                let address = machine.address;
                return Err(Refusal::AnotherMachine { address }.into());
            }
        }
        let key = (own.is.node, known.host.id);
        if !own.is.is_forced
            && let Some(until) = held.failures.get(&key).copied()
            && until > clock::now()
        {
            let node = own.is.node;
            return Err(Refusal::NodeFailed { node, until }.into());
        }
        held.queue.check_in(now, task.id).ok_or_else(gone)
    }

    /// # Errors
    /// If its kernel arguments are of another task.
    fn peer_alone(&self, known: &Known, job: Job) -> Result<Peer, Refusal> {
        self.check_origin(known, job)?;
        // A ticket is for one task; without one only what it was told matters.
        let has_ticket = known.request.ticket.is_some();
        self.peer_if(known, job, |told| match has_ticket {
            true => told.is_still(&job),
            false => told.is_good_for(&job),
        })
    }

    /// Whether the files of the image are those that were verified.
    async fn check_image_alone(&self, task: &UnicastTask) -> ClientResult<()> {
        let (image, facts) = self.usable_image(task.image).await?;
        let dir = self.config.images.join(&image.path);
        let look = blocking(&self.readers, move || {
            imagestore::check_unchanged(&dir, &facts)
        });
        match tokio::time::timeout(READ_LIMIT, look).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(changed))) => {
                let text = readable::chain(&changed);
                Err(Refusal::ImageUnusable { text }.into())
            }
            Ok(Err(error)) => Err(ClientError::Internal(error.into())),
            Err(_) => Err(AskAgain::ImageStore.into()),
        }
    }

    /// An image and what is known of its files, if that was found out for its present settings.
    async fn usable_image(&self, id: ImageId) -> ClientResult<(Image, Facts)> {
        let image = self.store.image(id).await?;
        let image = image.ok_or(Refusal::NoImage(id))?;
        let name = fog::encoding::printable(&image.name, 60);
        let Some(facts) = self.store.facts(id).await? else {
            let text = format!(
                "image {name} was never verified; read and verify it with fos-server image update {name}"
            );
            return Err(Refusal::ImageUnusable { text }.into());
        };
        let verified = facts.settings.as_ref();
        if let Some(changed) = verified.and_then(|then| then.difference(&image.settings())) {
            let text = format!(
                "image {name} was changed after it was verified: {changed}; verify it as it is now with \
                 fos-server image update {name}"
            );
            return Err(Refusal::ImageUnusable { text }.into());
        }
        Ok((image, facts))
    }

    /// The active task of the very machine that asks.
    pub(in crate::ops) async fn own_alone(
        &self,
        known: &Known,
    ) -> ClientResult<Option<Arc<UnicastTask>>> {
        let task = self.alone(known.host.id).await?;
        Ok(task.filter(|task| is_own(task, known)))
    }

    /// The last task that this very machine had, if it is over and nothing came after it.
    pub(in crate::ops) async fn past_alone(
        &self,
        known: &Known,
    ) -> ClientResult<Option<UnicastTask>> {
        let IpAddr::V4(address) = known.request.address else {
            return Ok(None);
        };
        let (host, ticket) = (known.host.id, known.request.ticket);
        let running = self.sessions.of_host(host);
        if running.is_some_and(|session| session.is_active(host)) {
            return Ok(None);
        }
        let query = UnicastQuery::OfMachine {
            host,
            address,
            ticket,
        };
        let found = self.store.unicast(query).await?.into_iter().next();
        let now = clock::now();
        let found = found.filter(|task| {
            let ended_at = task.ended_at.filter(|_| !task.state.is_active());
            ended_at.is_some_and(|at| now.seconds_since(at) <= ANSWERED_AGAIN)
        });
        let Some(task) = found else {
            return Ok(None);
        };
        if ticket.is_some() {
            return Ok(Some(task));
        }
        // Without a ticket the newer one counts.
        let session = self.store.session_of_machine(host, address, None).await?;
        let members = session.into_iter().flat_map(|session| session.members);
        let newer = members
            .filter(|member| member.host == host)
            .filter_map(|member| member.checked_in_at)
            .any(|at| Some(at) > task.entered_at);
        Ok(Some(task).filter(|_| !newer))
    }

    /// A machine reports its end; `false` if that is not a matter of a task of its own.
    pub(in crate::ops) async fn complete_alone(&self, known: &Known) -> ClientResult<bool> {
        let Some(task) = self.own_alone(known).await? else {
            return match self.past_alone(known).await? {
                // The answer was lost.
                Some(task) if task.state == State::Complete => Ok(true),
                Some(task) => {
                    let reason = task.reason.unwrap_or(Reason::TaskCancelled);
                    Err(Refusal::Over(reason).into())
                }
                None => Ok(false),
            };
        };
        if task.kind == TaskKind::Capture {
            // Its image would have ended it.
            return Err(Refusal::NotCaptured.into());
        }
        let mut held = self.unicasts().await?;
        let Some(own) = held.tasks.get(&task.id) else {
            return Err(AskAgain::NotStored.into());
        };
        if !own.is.has_gone() {
            return Err(Refusal::NothingSent.into());
        }
        let mut facts = Vec::new();
        if own.is.state != State::InProgress {
            facts.push((task.id, UnicastFact::Resumed));
        }
        let ended = UnicastFact::Ended {
            state: State::Complete,
            reason: Reason::Written,
        };
        facts.push((task.id, ended));
        self.store_unicast(&mut held, facts, &[]).await?;
        Ok(true)
    }

    /// A machine reports a failure or a warning; `false` if that is not a matter of a task of its own.
    pub(in crate::ops) async fn failed_alone(
        &self,
        known: &Known,
        text: &str,
        is_warning: bool,
    ) -> ClientResult<bool> {
        let host = Some(known.host.id);
        let note = || Note::Warning {
            text: text.to_owned(),
        };
        let ended = || UnicastFact::Ended {
            state: State::Failed,
            reason: Reason::ClientFailed {
                text: text.to_owned(),
                before: None,
            },
        };
        let at = clock::now();
        match self.own_alone(known).await? {
            Some(_) if is_warning => self.store.add_event(at, None, host, note()).await?,
            Some(task) => {
                let mut held = self.unicasts().await?;
                let facts = vec![(task.id, ended())];
                self.store_unicast(&mut held, facts, &[]).await?;
            }
            None => match self.past_alone(known).await? {
                None => return Ok(false),
                // A failure that comes after a completion is never ignored.
                Some(task) if !is_warning && task.state == State::Complete => {
                    let conflicts = self.store.apply_unicast(at, vec![(task.id, ended())]);
                    if !conflicts.await?.is_empty() {
                        return Err(AskAgain::NotStored.into());
                    }
                }
                Some(_) => self.store.add_event(at, None, host, note()).await?,
            },
        }
        Ok(true)
    }

    /// A machine tells how far it is; `false` if it has no task of its own.
    pub(in crate::ops) async fn progress_alone(
        &self,
        known: &Known,
        report: &ClientReport,
        status: Option<&ReceivedStatus>,
    ) -> ClientResult<bool> {
        let Some(task) = self.own_alone(known).await? else {
            return Ok(false);
        };
        let now = Instant::now();
        let mut held = self.unicasts().await?;
        self.at_work(&mut held, now, &task).await?;
        let Some(own) = held.tasks.get_mut(&task.id) else {
            return Ok(true);
        };
        own.report = report.clone();
        let is_due = own
            .stored
            .is_none_or(|at| now.saturating_duration_since(at) >= STORE_PERIOD);
        let Some(status) = status.filter(|_| is_due) else {
            return Ok(true);
        };
        own.stored = Some(now);
        Arc::make_mut(&mut own.is).percent = status.percent;
        drop(held);
        self.store
            .store_unicast_progress(task.id, status.clone())
            .await?;
        Ok(true)
    }

    /// A machine does what it was told to do: it has a slot, whatever became of it before.
    async fn at_work(&self, held: &mut Held, now: Instant, task: &UnicastTask) -> ClientResult<()> {
        held.queue.heard(now, task.id);
        let has_gone = held
            .tasks
            .get(&task.id)
            .is_some_and(|own| own.is.has_gone());
        let Some(step) = held.queue.at_work(task.id).filter(|_| has_gone) else {
            return Ok(());
        };
        let facts = vec![(task.id, UnicastFact::Resumed)];
        self.store_unicast(held, facts, &[step]).await
    }

    /// A machine cannot use the image share: it gets in line again after its restart.
    pub(in crate::ops) async fn blamed_alone(&self, known: &Known) -> ClientResult<bool> {
        let Some(task) = self.own_alone(known).await? else {
            return Ok(false);
        };
        let mut held = self.unicasts().await?;
        let facts = vec![(task.id, UnicastFact::Left)];
        let step = Step::Left { task: task.id };
        if task.state != State::Queued {
            self.store_unicast(&mut held, facts, &[step]).await?;
        }
        if let Some(failure) = self.note_node_failure(task.id).await? {
            let key = (failure.node, failure.host);
            held.failures.insert(key, failure.until);
        }
        drop(held);
        let note = Note::Warning {
            text: "it could not use the image share; its storage node is not asked again for 5 min"
                .to_owned(),
        };
        let host = Some(known.host.id);
        self.store.add_event(clock::now(), None, host, note).await?;
        Ok(true)
    }

    /// As FOG keeps it, for whoever picks a node.
    pub(in crate::ops) async fn note_node_failure(
        &self,
        task: TaskId,
    ) -> Result<Option<NodeFailure>, StoreError> {
        let until = Timestamp(clock::now().0.saturating_add(NodeFailure::SECONDS));
        self.store.note_node_failure(task, until).await
    }

    /// A sign of life; `false` if the host has no task of its own.
    pub(in crate::ops) async fn contact_alone(&self, known: &Known) -> ClientResult<bool> {
        let Some(task) = self.alone(known.host.id).await? else {
            return Ok(false);
        };
        if is_own(&task, known) {
            let mut held = self.unicasts().await?;
            held.queue.heard(Instant::now(), task.id);
            return Ok(true);
        }
        let job = self.job_alone(&known.host, &task).await?;
        let peer = self.peer_alone(known, job)?;
        match &task.machine {
            Some(machine) if machine.address != peer.address => {
                let address = machine.address;
                Err(Refusal::AnotherMachine { address }.into())
            }
            _ => Ok(true),
        }
    }

    /// The image of a machine's own task; `None` if the host has none.
    pub(in crate::ops) async fn image_alone(
        &self,
        known: &Known,
    ) -> ClientResult<Option<TaskImage>> {
        if !self.contact_alone(known).await? {
            return Ok(None);
        }
        let Some(task) = self.alone(known.host.id).await? else {
            return Ok(None);
        };
        let (image, facts) = self.usable_image(task.image).await?;
        Ok(Some(TaskImage { image, facts }))
    }

    /// A part of a stream of the image, for the machine that was told to go, and for it alone: it has to know its
    /// ticket. `None` if the stream has no such part.
    ///
    /// # Errors
    /// If it is another machine, has no slot, or the file is not what was verified.
    pub async fn data_file(
        &self,
        known: &Known,
        stream: &StreamName,
        part: u32,
    ) -> ClientResult<Option<DataFile>> {
        let task = self.own_alone(known).await?;
        let task =
            task.filter(|task| task.kind == TaskKind::Deploy && known.request.ticket.is_some());
        let task = task.ok_or(Refusal::NotCheckedIn)?;
        {
            let mut held = self.unicasts().await?;
            self.at_work(&mut held, Instant::now(), &task).await?;
            let is_going = held
                .tasks
                .get(&task.id)
                .is_some_and(|own| own.is.state == State::InProgress);
            if !is_going {
                return Err(Refusal::NotCheckedIn.into());
            }
        }
        let (image, facts) = self.usable_image(task.image).await?;
        let number = facts.streams.iter().position(|known| known.name == *stream);
        let number = number.and_then(|number| u32::try_from(number).ok());
        let mut files = facts.files.into_iter();
        let file = files.find(|file| {
            file.place
                .is_some_and(|place| Some(place.stream) == number && place.part == part)
        });
        let Some(file) = file else {
            return Ok(None);
        };
        let streams = Arc::clone(&self.unicasts.streams);
        let Ok(place) = streams.try_acquire_owned() else {
            return Err(AskAgain::ImageStore.into());
        };
        let dir = self.config.images.join(&image.path);
        let len = file.size;
        let open = blocking(&self.readers, move || imagestore::open_listed(&dir, &file));
        match tokio::time::timeout(READ_LIMIT, open).await {
            Ok(Ok(Ok(file))) => Ok(Some(DataFile { file, len, place })),
            Ok(Ok(Err(changed))) => {
                let text = readable::chain(&changed);
                Err(Refusal::ImageUnusable { text }.into())
            }
            Ok(Err(error)) => Err(ClientError::Internal(error.into())),
            Err(_) => Err(AskAgain::ImageStore.into()),
        }
    }

    /// The task of a machine as the machine sees it; `None` if that is not a matter of a task of its own.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn view_alone(&self, known: &Known) -> ClientResult<Option<SessionView>> {
        let host = known.host.id;
        let running = self.sessions.of_host(host);
        if running.is_some_and(|session| session.is_active(host)) {
            return Ok(None);
        }
        let contact = self.contact_alone(known).await;
        let refusal = match contact {
            Ok(_) => None,
            Err(ClientError::Refused(again @ Refusal::AskAgain(_))) => return Err(again.into()),
            Err(ClientError::Refused(refusal)) => Some(refusal),
            Err(error) => return Err(error),
        };
        let task = match self.alone(known.host.id).await? {
            Some(task) => UnicastTask::clone(&task),
            None => match self.past_alone(known).await? {
                Some(task) => task,
                None => return Ok(None),
            },
        };
        let in_front = self.unicasts().await?.queue.in_front(task.id);
        let mut view = view(&task, in_front);
        view.refusal = refusal.map(|refusal| fos_api::Refusal {
            code: text::refusal_code(&refusal).into(),
            text: text::refusal(&refusal),
        });
        Ok(Some(view))
    }

    /// The machine that a host's task has.
    pub(in crate::ops) fn machine_alone(&self, host: HostId) -> Option<Machine> {
        let of_host = self.unicasts.of_host();
        of_host.get(&host).and_then(|task| task.machine.clone())
    }
}

/// What belongs to task and image alone.
pub(in crate::ops) fn base_job(task: &UnicastTask, image: &Image) -> Job {
    Job {
        session: SessionId(0),
        task: Some(task.id),
        image: task.image,
        port: 0,
        arguments: match task.kind {
            TaskKind::Deploy => Arguments::new(&image.settings(), task.is_shutdown),
            TaskKind::Capture => Arguments::capture(&image.settings(), task.is_shutdown),
        },
    }
}

fn is_own(task: &UnicastTask, known: &Known) -> bool {
    let machine = task.machine.as_ref();
    machine.is_some_and(|machine| Ops::is_own(Some(machine.address), machine.ticket, known))
}

/// What is to be stored of a decision for the machine that asked.
fn facts_of(
    decision: &Decision,
    own: Option<&UnicastTask>,
    machine: &Machine,
    task: &UnicastTask,
) -> Vec<(TaskId, UnicastFact)> {
    let steps = decision.steps.iter();
    let mut facts: Vec<_> = steps
        .map(|step| (step.task(), UnicastFact::of_step(step, machine)))
        .collect();
    let has_own = facts.iter().any(|(id, _)| *id == task.id);
    if let Some(own) = own
        && !has_own
        && own.machine.as_ref() != Some(machine)
    {
        // Another machine, or the same one with another program.
        let fact = match own.state {
            State::InProgress => UnicastFact::Went {
                machine: machine.clone(),
            },
            _ => UnicastFact::Entered {
                place: own.place,
                machine: machine.clone(),
            },
        };
        facts.push((task.id, fact));
    }
    facts
}

fn line(held: &Held, task: &UnicastTask, in_front: u32, open: u32) -> Line {
    let uses = held.queue.uses();
    let entered = held.tasks.get(&task.id).and_then(|task| task.is.entered_at);
    Line {
        node: task.node,
        in_front,
        open,
        slots: uses.get(&task.node).map_or(0, |of_node| of_node.slots),
        since: entered.unwrap_or_else(clock::now),
    }
}

fn view(task: &UnicastTask, in_front: Option<u32>) -> SessionView {
    let stage = match task.state {
        State::InProgress => Stage::Sending,
        state if state.is_active() => Stage::Gathering,
        _ => Stage::Ended,
    };
    let since = match task.state {
        State::InProgress => task.went_at,
        state if state.is_active() => task.entered_at,
        _ => task.ended_at,
    };
    let seconds = since.map_or(0, |since| clock::now().seconds_since(since));
    SessionView {
        session: 0,
        state: task.state,
        stage,
        expected: 1,
        checked_in: u32::from(matches!(task.state, State::CheckedIn | State::InProgress)),
        connected: u32::from(task.state == State::InProgress),
        missing: Vec::new(),
        stream: None,
        your_stream: None,
        records: Some(false),
        stage_seconds: seconds,
        starts_in_seconds: None,
        ask_again_seconds: None,
        site: None,
        your_task: task.state,
        text: text::unicast_task(task, in_front),
        refusal: None,
    }
}

/// Seconds after the end of a task in which its machine is told how it ended: a day, as FOG 1.6.
const ANSWERED_AGAIN: u64 = 24 * 3600;

/// How often it is decided again what a machine is told, because another server was faster.
const DECIDED_AGAIN: u32 = 4;

/// How long a client waits for a look at files.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// Between two times that the progress of a machine is stored.
const STORE_PERIOD: Duration = Duration::from_secs(10);
