//! What is asked of a session, and its answers.

use std::net::IpAddr;
use std::time::Instant;

use cast_net::Interface;
use fog::status::ReceivedStatus;
use tokio::sync::oneshot;

use super::Driver;
use super::files::Files;
use crate::domain::session::core::{Completion, NotStarted, Peer};
use crate::domain::session::{Client, Session};
use crate::domain::{BootGiven, HostId, Refusal};
use crate::session::journal::Stored;
use crate::session::live::{Boot, ClientReport};

/// An accepted request: the promise counts when everything it rests on is stored.
pub(crate) type Promise = oneshot::Receiver<Stored>;

/// Answer to a request that promises something.
pub(crate) type Reply = oneshot::Sender<Result<Promise, Refusal>>;

/// A request to a session.
#[derive(Debug)]
pub(crate) enum Command {
    /// A check-in.
    CheckIn(CheckIn),
    /// A completion report; answered when the sender has seen the end.
    Complete {
        host: HostId,
        peer: Peer,
        reply: Reply,
    },
    /// A progress report.
    Progress {
        host: HostId,
        peer: Peer,
        report: ClientReport,
        status: Option<ReceivedStatus>,
    },
    /// A check-in was refused before it came here.
    Refused {
        host: HostId,
        address: IpAddr,
        why: Refusal,
    },
    /// A machine asked what to boot.
    Boot { host: HostId, given: BootGiven },
    /// Any other request.
    Contact { host: HostId, peer: Peer },
    /// A failure, or a warning.
    Failed {
        host: HostId,
        peer: Peer,
        text: String,
        is_warning: bool,
        reply: Reply,
    },
    /// The client cannot use the image share.
    Blamed {
        host: HostId,
        peer: Peer,
        reply: Reply,
    },
    /// Any other request, if it comes from the host's machine.
    Recognise {
        host: HostId,
        peer: Peer,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// A person cancels the session, or one host of it.
    Cancel {
        host: Option<HostId>,
        reply: oneshot::Sender<Promise>,
    },
    /// A person does not want to wait any longer; answered when it has been stored.
    Start {
        reply: oneshot::Sender<Result<Promise, NotStarted>>,
    },
    /// What is stored of the session, as another program may have changed it.
    Compare(Option<Box<Session>>),
}

/// A check-in.
#[derive(Debug)]
pub(crate) struct CheckIn {
    pub(crate) host: HostId,
    pub(crate) peer: Peer,
    pub(crate) agent: Client,
    /// The card that leads to the client; `None` if it is known from an earlier check-in.
    pub(crate) interface: Option<Interface>,
    pub(crate) reply: Reply,
}

/// A completion report that waits for the end of the last stream.
pub(super) struct Waiting {
    host: HostId,
    peer: Peer,
    reply: Reply,
}

impl Driver {
    /// Serves a request; answers whether everybody should see at once what follows from it.
    pub(super) fn command(&mut self, command: Command) -> bool {
        let now = Instant::now();
        self.is_dirty = true;
        match command {
            Command::CheckIn(check_in) => {
                if !self.core.awaits_check_ins() {
                    return self.check_in(check_in);
                }
                self.check_files();
                if let Files::Checking { waiting, .. } = &mut self.files {
                    // Whoever has gone asks again.
                    waiting.retain(|other| !other.reply.is_closed());
                    waiting.push(check_in);
                }
                return false;
            }
            Command::Complete { host, peer, reply } => self.complete(now, host, peer, reply),
            Command::Progress {
                host,
                peer,
                report,
                status,
            } => {
                if self.core.recognise(host, &peer).is_ok() {
                    self.core.contact(now, host);
                    self.take_report(host, report, status);
                }
                return false;
            }
            Command::Refused { host, address, why } => self.core.refused(host, address, &why),
            Command::Boot { host, given } => {
                // One for each host of the session, not more.
                if self.core.has(host) {
                    let count = self.boots.get(&host).map_or(0, |boot| boot.count);
                    let count = count.saturating_add(1);
                    self.boots.insert(
                        host,
                        Boot {
                            at: now,
                            given,
                            count,
                        },
                    );
                    self.core.came_late(now, host);
                }
            }
            Command::Contact { host, peer } => {
                if self.core.recognise(host, &peer).is_ok() {
                    self.core.contact(now, host);
                }
                return false;
            }
            Command::Failed {
                host,
                peer,
                text,
                is_warning,
                reply,
            } => {
                let result = match is_warning {
                    true => self.core.client_warned(now, host, &peer, &text),
                    false => self.core.client_failed(now, host, &peer, &text),
                };
                self.answer(reply, result);
            }
            Command::Blamed { host, peer, reply } => {
                let result = self.core.client_blamed(now, host, &peer);
                self.answer(reply, result);
            }
            Command::Recognise { host, peer, reply } => {
                let result = self.core.recognise(host, &peer);
                if result.is_ok() {
                    self.core.contact(now, host);
                }
                drop(reply.send(result));
                return false;
            }
            Command::Cancel { host, reply } => {
                match host {
                    Some(host) => self.core.host_cancelled(now, host),
                    None => self.core.cancelled(now),
                }
                self.carry_out();
                drop(reply.send(self.promise()));
            }
            Command::Start { reply } => {
                let started = self.core.start_now(now);
                self.carry_out();
                drop(reply.send(started.map(|()| self.promise())));
            }
            Command::Compare(stored) => self.compare(stored.as_deref()),
        }
        true
    }

    /// Answers whether anything has changed: a waiting client of FOG checks in again and again.
    pub(super) fn check_in(&mut self, check_in: CheckIn) -> bool {
        let CheckIn {
            host,
            peer,
            agent,
            interface,
            reply,
        } = check_in;
        if let Some(client) = interface
            && let Err(refusal) = self.check_network(client)
        {
            self.core.refused(host, peer.address.into(), &refusal);
            drop(reply.send(Err(refusal)));
            return true;
        }
        let result = self.core.check_in(Instant::now(), host, &peer, agent);
        let has_changed = self.core.has_actions();
        self.answer(reply, result);
        has_changed
    }

    /// A session sends on one card: that of the configuration, else that of its first client. Whoever
    /// is behind another one would wait for nothing.
    fn check_network(&mut self, client: Interface) -> Result<(), Refusal> {
        let is_free = !self.core.is_sender_open();
        let session = match (&self.interface, self.around.config.known_interface()) {
            (Some(session), _) if !is_free => session.clone(),
            (_, Ok(Some(known))) => known,
            (_, Ok(None)) => client.clone(),
            (_, Err(error)) => {
                let text = readable::chain(error.as_ref());
                return Err(Refusal::NoNetwork { text });
            }
        };
        if client.index != session.index {
            return Err(Refusal::OtherNetwork {
                client: client.to_string(),
                session: session.to_string(),
            });
        }
        if !session.is_up {
            let text = format!("{session} is down");
            return Err(Refusal::NoNetwork { text });
        }
        self.interface = Some(session);
        Ok(())
    }

    fn complete(&mut self, now: Instant, host: HostId, peer: Peer, reply: Reply) {
        match self.core.complete(now, host, &peer) {
            Completion::NotYet => {
                // Whoever has gone meanwhile asks again.
                self.completions.retain(|other| !other.reply.is_closed());
                let name = self.live.borrow().member(host).map(|(m, _)| m.name.clone());
                self.detail(&format!(
                    "{} reports its end; waiting for the last acknowledgements",
                    name.unwrap_or_default()
                ));
                self.completions.push(Waiting { host, peer, reply });
            }
            Completion::Accepted => self.answer(reply, Ok(())),
            Completion::Refused(refusal) => self.answer(reply, Err(refusal)),
        }
    }

    /// The last stream has ended: those who reported before have their answers.
    pub(super) fn answer_completions(&mut self, now: Instant) {
        for Waiting { host, peer, reply } in std::mem::take(&mut self.completions) {
            match self.core.complete(now, host, &peer) {
                // It is told to ask again when it hears nothing.
                Completion::NotYet => drop(reply),
                Completion::Accepted => self.answer(reply, Ok(())),
                Completion::Refused(refusal) => self.answer(reply, Err(refusal)),
            }
        }
    }

    /// Answers once everything that was decided so far is stored.
    fn answer(&mut self, reply: Reply, result: Result<(), Refusal>) {
        self.carry_out();
        let answer = result.map(|()| self.promise());
        // Whoever asked may have gone; it asks again.
        drop(reply.send(answer));
    }

    fn promise(&mut self) -> Promise {
        let (stored, promise) = oneshot::channel();
        self.journal.answer_when_stored(stored);
        promise
    }

    fn take_report(&mut self, host: HostId, report: ClientReport, status: Option<ReceivedStatus>) {
        if !self.core.has(host) {
            return;
        }
        let kept = self.reports.entry(host).or_default();
        if !report.phase.is_empty() {
            (kept.phase, kept.stream, kept.detail) = (report.phase, report.stream, report.detail);
        }
        if !report.rate.is_empty() {
            (kept.percent, kept.rate) = (report.percent, report.rate);
        }
        if let Some(status) = status {
            self.progress.insert(host, status);
        }
    }
}
