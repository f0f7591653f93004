//! The same as a store, by the simplest means: maps in memory.

use std::collections::BTreeMap;

use super::*;
use crate::domain::follow_up::FollowUp;
use crate::domain::host::{About, Stranger};
use crate::domain::session::{Client, Member};
use crate::domain::task::{may_become, session_may_become};

/// An event without its number.
pub(super) type Told = (Timestamp, Option<HostId>, String, Note);

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) hosts: BTreeMap<HostId, Host>,
    pub(super) images: BTreeMap<ImageId, (Image, Facts)>,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) events: BTreeMap<SessionId, Vec<Told>>,
    /// The last one that asked first.
    pub(super) strangers: Vec<Stranger>,
    /// The oldest first.
    pub(super) handouts: Vec<HandoutRow>,
    pub(super) root: Option<String>,
}

impl Model {
    pub(super) fn check_host(&self, new: &NewHost) -> std::result::Result<(), AddHostError> {
        let name = new.name.as_str();
        let mut hosts = self.hosts.values();
        if let Some(host) = hosts.find(|host| host.name.eq_ignore_ascii_case(name)) {
            return Err(AddHostError::NameTaken(host.name.clone()));
        }
        for mac in &new.macs {
            let owner = self
                .hosts
                .values()
                .find(|host| host.macs.contains(&mac.mac()));
            if let Some(owner) = owner {
                return Err(AddHostError::MacTaken {
                    mac: mac.mac(),
                    host: owner.name.clone(),
                });
            }
        }
        match new.image {
            Some(image) if !self.images.contains_key(&image) => Err(AddHostError::NoImage(image)),
            _ => Ok(()),
        }
    }

    pub(super) fn add_host(&mut self, id: HostId, new: NewHost) {
        let macs: Vec<Mac> = new.macs.iter().map(|mac| mac.mac()).collect();
        self.strangers
            .retain(|stranger| !macs.contains(&stranger.mac));
        let host = Host {
            id,
            name: new.name.to_string(),
            macs,
            image: new.image,
            kernel_args: String::new(),
            device: new.device,
            last_deploy: None,
        };
        self.hosts.insert(id, host);
    }

    pub(super) fn remove_host(&mut self, host: HostId) -> std::result::Result<(), ChangeError> {
        if !self.hosts.contains_key(&host) {
            return Err(ChangeError::Gone);
        }
        if let Some((_, session)) = self.active_task(host) {
            return Err(ChangeError::InUse(session));
        }
        self.hosts.remove(&host);
        Ok(())
    }

    pub(super) fn check_image(&self, new: &NewImage) -> std::result::Result<(), AddImageError> {
        let name = new.name.as_str();
        match self.images.values().any(|(image, _)| image.name == name) {
            true => Err(AddImageError::NameTaken(name.to_owned())),
            false => Ok(()),
        }
    }

    pub(super) fn add_image(&mut self, id: ImageId, new: NewImage, facts: Facts) {
        let image = Image {
            id,
            name: new.name.as_str().to_owned(),
            path: new.path,
            image_type: new.image_type,
            os_id: new.os_id,
            format: new.format,
            stored_size: facts.files.iter().map(|file| file.size).sum(),
            note: String::new(),
            compression: None,
        };
        self.images.insert(id, (image, facts));
    }

    fn check_unused(&self, image: ImageId) -> std::result::Result<(), ChangeError> {
        if !self.images.contains_key(&image) {
            return Err(ChangeError::Gone);
        }
        let user = self.active().find(|session| session.image == image);
        user.map_or(Ok(()), |session| Err(ChangeError::InUse(session.id)))
    }

    pub(super) fn update_image(
        &mut self,
        image: ImageId,
        format: u8,
        facts: Facts,
    ) -> std::result::Result<(), ChangeError> {
        self.check_unused(image)?;
        let (known, old) = self.images.get_mut(&image).unwrap();
        known.format = format;
        known.stored_size = facts.files.iter().map(|file| file.size).sum();
        *old = facts;
        Ok(())
    }

    pub(super) fn remove_image(&mut self, image: ImageId) -> std::result::Result<(), ChangeError> {
        self.check_unused(image)?;
        self.images.remove(&image);
        for host in self.hosts.values_mut() {
            host.image = host.image.filter(|of_host| *of_host != image);
        }
        for session in self
            .sessions
            .values_mut()
            .filter(|session| session.image == image)
        {
            session.image_name.clear();
        }
        Ok(())
    }

    pub(super) fn active(&self) -> impl Iterator<Item = &Session> {
        self.sessions
            .values()
            .filter(|session| session.state.is_active())
    }

    pub(super) fn active_task(&self, host: HostId) -> Option<(TaskId, SessionId)> {
        let of_session = |session: &Session| {
            let member = session.members.iter().find(|member| member.host == host)?;
            member
                .state
                .is_active()
                .then_some((member.task, session.id))
        };
        self.sessions.values().find_map(of_session)
    }

    pub(super) fn last_session(&self, host: HostId) -> Option<&Session> {
        let mut newest = self.sessions.values().rev();
        newest.find(|session| session.members.iter().any(|member| member.host == host))
    }

    pub(super) fn activity(&self, host: HostId) -> HostActivity {
        if let Some((task, session)) = self.active_task(host) {
            return HostActivity::Task {
                task,
                session: Some(session),
            };
        }
        let Some(last) = self.last_session(host) else {
            return HostActivity::Idle;
        };
        let member = last.members.iter().find(|member| member.host == host);
        HostActivity::Last {
            session: last.id,
            reason: member.unwrap().reason.clone(),
        }
    }

    pub(super) fn check_session(&self, new: &NewSession) -> std::result::Result<(), CreateError> {
        let image = self.images.get(&new.image);
        if image.is_none_or(|(_, facts)| facts.checked_at != new.checked_at) {
            return Err(CreateError::NoImage(new.image));
        }
        for host in &new.hosts {
            let Some(known) = self.hosts.get(host) else {
                return Err(CreateError::NoHost(*host));
            };
            if let Some((task, session)) = self.active_task(*host) {
                return Err(CreateError::HostBusy {
                    host: known.name.clone(),
                    task,
                    session: Some(session),
                });
            }
        }
        let active = u32::try_from(self.active().count()).unwrap();
        if new.max_sessions != 0 && active >= new.max_sessions {
            return Err(CreateError::TooMany {
                active,
                limit: new.max_sessions,
            });
        }
        match self
            .active()
            .any(|session| session.port == i64::from(new.port))
        {
            true => Err(CreateError::PortTaken(new.port)),
            false => Ok(()),
        }
    }

    /// The numbers of the tasks are the store's own: they are taken from what it says.
    pub(super) fn create_session(&mut self, now: Timestamp, new: NewSession, stored: &Session) {
        let task = |host: HostId| {
            let member = stored.members.iter().find(|member| member.host == host);
            member.unwrap().task
        };
        let (image, _) = &self.images[&new.image];
        let mut members: Vec<Member> = new
            .hosts
            .iter()
            .map(|host| Member {
                host: *host,
                task: task(*host),
                name: self.hosts[host].name.clone(),
                address: None,
                ticket: None,
                agent: Client::default(),
                checked_in_at: None,
                streams_done: 0,
                state: State::Queued,
                reason: None,
            })
            .collect();
        members.sort_by_key(|member| member.name.clone());
        let note = Note::Created {
            image: image.name.clone(),
            hosts: members.len(),
            port: new.port,
        };
        let session = Session {
            id: stored.id,
            name: new.name,
            image: new.image,
            image_name: image.name.clone(),
            path: image.path.clone(),
            port: new.port.into(),
            state: State::New,
            max_wait: new.max_wait,
            is_shutdown: new.is_shutdown,
            is_debug: new.is_debug,
            created_at: now,
            started_at: None,
            ended_at: None,
            has_records: None,
            runs: 0,
            reason: None,
            expected: new.expected,
            follows: new.follows,
            follow_ups: new.follow_ups,
            follow_up: FollowUp::None,
            members,
        };
        self.sessions.insert(stored.id, session);
        self.tell(now, stored.id, None, note);
    }

    pub(super) fn tell(
        &mut self,
        now: Timestamp,
        session: SessionId,
        host: Option<HostId>,
        note: Note,
    ) {
        let name = host.and_then(|host| {
            let members = &self.sessions.get(&session)?.members;
            let member = members.iter().find(|member| member.host == host);
            let known = || self.hosts.get(&host).map(|host| host.name.clone());
            member.map(|member| member.name.clone()).or_else(known)
        });
        let events = self.events.entry(session).or_default();
        events.push((now, host, name.unwrap_or_default(), note));
    }

    pub(super) fn apply(
        &mut self,
        now: Timestamp,
        id: SessionId,
        facts: Vec<Fact>,
    ) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        for (fact, what) in facts.into_iter().enumerate() {
            match self.store(now, id, what) {
                Ok(Some((host, note))) => self.tell(now, id, host, note),
                Ok(None) => {}
                Err(found) => conflicts.push(Conflict { fact, found }),
            }
        }
        conflicts
    }

    /// The event to be told, or what allows no such thing.
    fn store(
        &mut self,
        now: Timestamp,
        id: SessionId,
        fact: Fact,
    ) -> std::result::Result<Option<(Option<HostId>, Note)>, Found> {
        let session = self.sessions.get_mut(&id).ok_or(Found::Session(None))?;
        let member = |session: &mut Session, host: HostId| {
            let mut members = session.members.iter_mut();
            let position = members.position(|member| member.host == host);
            position.ok_or(Found::Task(None))
        };
        match fact {
            Fact::CheckedIn {
                host,
                address,
                ticket,
                agent,
                count: _,
            } => {
                if !session.state.is_active() {
                    return Err(Found::Session(Some(session.state)));
                }
                let position = member(session, host)?;
                let member = &mut session.members[position];
                if !may_become(member.state, State::InProgress) {
                    return Err(Found::Task(Some(member.state)));
                }
                let seen = (member.address, member.ticket, &member.agent, member.state);
                let is_known = seen == (Some(address), ticket, &agent, State::InProgress);
                session.state = State::InProgress;
                if is_known {
                    return Ok(None);
                }
                member.state = State::InProgress;
                member.address = Some(address);
                member.ticket = ticket;
                member.agent = agent;
                member.checked_in_at = Some(now);
                Ok(Some((Some(host), Note::CheckedIn { address })))
            }
            Fact::StreamStarting {
                stream,
                run,
                has_records,
            } => {
                if !session.state.is_active() {
                    return Err(Found::Session(Some(session.state)));
                }
                let note = Note::StreamStarting { stream, run };
                let told = self.events.get(&id).into_iter().flatten();
                if told.map(|(.., told)| told).any(|told| *told == note) {
                    return Ok(None);
                }
                session.started_at = session.started_at.or(Some(now));
                session.has_records = Some(has_records);
                session.runs = session.runs.max(run + 1);
                Ok(Some((None, note)))
            }
            Fact::StartRevoked {
                stream,
                run,
                is_first,
            } => {
                if !session.state.is_active() {
                    return Err(Found::Session(Some(session.state)));
                }
                let note = Note::StartRevoked { stream, run };
                let told = self.events.get(&id).into_iter().flatten();
                if told.map(|(.., told)| told).any(|told| *told == note) {
                    return Ok(None);
                }
                if is_first {
                    (session.started_at, session.has_records) = (None, None);
                }
                Ok(Some((None, note)))
            }
            Fact::StreamsDone { host, count } => {
                let position = member(session, host)?;
                let done = &mut session.members[position].streams_done;
                *done = count.max(*done);
                Ok(None)
            }
            Fact::MemberEnded {
                host,
                state,
                reason,
            } => {
                let position = member(session, host)?;
                let member = &mut session.members[position];
                if member.state == state && member.reason.as_ref() == Some(&reason) {
                    return Ok(None);
                }
                let is_missing = member.reason.as_ref().is_some_and(Reason::awaits_report);
                let is_too_late =
                    member.state == State::Failed && state == State::Complete && !is_missing;
                let is_allowed = member.state == state || may_become(member.state, state);
                if is_too_late || !is_allowed {
                    return Err(Found::Task(Some(member.state)));
                }
                if state == State::Complete
                    && member.state != state
                    && let Some(host) = self.hosts.get_mut(&host)
                {
                    host.last_deploy = Some(now);
                }
                member.state = state;
                member.reason = Some(reason.clone());
                Ok(Some((Some(host), Note::MemberEnded { state, reason })))
            }
            Fact::FollowUpDue if session.follow_up != FollowUp::None => Ok(None),
            Fact::FollowUpDue if !session.state.is_active() => {
                Err(Found::Session(Some(session.state)))
            }
            Fact::FollowUpDue => {
                session.follow_up = FollowUp::Due;
                Ok(None)
            }
            Fact::Ended { state, reason } => {
                if session.state == state && session.reason.as_ref() == Some(&reason) {
                    return Ok(None);
                }
                if session.state != state && !session_may_become(session.state, state) {
                    return Err(Found::Session(Some(session.state)));
                }
                if session.state.is_active() {
                    session.ended_at = Some(now);
                    let left_over = match state {
                        State::Failed => Some(Reason::SessionFailed(Box::new(reason.clone()))),
                        State::Cancelled => Some(Reason::SessionCancelled),
                        _ => None,
                    };
                    end_members(session, State::Cancelled, left_over);
                }
                session.state = state;
                session.reason = Some(reason.clone());
                Ok(Some((None, Note::Ended { state, reason })))
            }
            Fact::Noted { host, note } => Ok(Some((host, note))),
        }
    }

    pub(super) fn fail_broken(&mut self, now: Timestamp, id: SessionId, reason: Reason) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else {
            return false;
        };
        let of_member = Reason::SessionFailed(Box::new(reason.clone()));
        let members = session.members.iter();
        let was_active =
            session.state.is_active() || members.into_iter().any(|member| member.state.is_active());
        end_members(session, State::Failed, Some(of_member));
        if session.state.is_active() {
            session.state = State::Failed;
            session.ended_at = Some(now);
            session.reason = Some(reason.clone());
            let state = State::Failed;
            self.tell(now, id, None, Note::Ended { state, reason });
        }
        was_active
    }

    pub(super) fn hand_out(&mut self, change: &HandoutChange) {
        self.handouts.retain(|row| !change.drop.contains(&row.id));
        self.handouts.extend(&change.put);
    }

    pub(super) fn session_of_machine(
        &self,
        host: HostId,
        address: Ipv4Addr,
        ticket: Option<Ticket>,
    ) -> Option<&Session> {
        self.sessions.values().rev().find(|session| {
            let mut members = session.members.iter();
            members.any(|member| {
                let found = (member.host, member.address, member.ticket);
                found == (host, Some(address), ticket)
            })
        })
    }

    pub(super) fn remember_stranger(&mut self, now: Timestamp, mac: Mac, address: IpAddr) {
        let known = self.strangers.iter().position(|known| known.mac == mac);
        let mut stranger = match known {
            Some(position) => self.strangers.remove(position),
            None => Stranger {
                mac,
                address,
                first_at: now,
                last_at: now,
                requests: 0,
                about: About::default(),
            },
        };
        stranger.address = address;
        stranger.last_at = now;
        stranger.requests += 1;
        self.strangers.insert(0, stranger);
    }
}

fn end_members(session: &mut Session, state: State, reason: Option<Reason>) {
    for member in session
        .members
        .iter_mut()
        .filter(|member| member.state.is_active())
    {
        member.state = state;
        member.reason = member.reason.take().or_else(|| reason.clone());
    }
}
