//! Carries out what the state machine decides.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use fog::task::State;

use super::{Driver, OpenStream};
use crate::clock::Timestamp;
use crate::config::StreamRecords;
use crate::imagestore::source::{Gate, Source};
use crate::session::core::Action;
use crate::session::persist::{self, Fact, Record, Subject};
use crate::session::rate::Rate;
use crate::session::transmit::{Job, SharedCounters};

impl Driver {
    pub(super) async fn carry_out(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::OpenStream(index) => self.open_stream(index).await,
                Action::Admit(addresses) => {
                    if let Some(open) = &self.open {
                        open.transmission.admit(addresses);
                    }
                }
                Action::StartTransfer => self.start_transfer(),
                Action::Remove(address) => {
                    if let Some(open) = &self.open {
                        open.transmission.remove(address);
                    }
                }
                Action::StopSender => self.open = None,
                action => self.record(action),
            }
        }
    }

    async fn open_stream(&mut self, index: usize) {
        let now = Instant::now();
        let address = self.core.addresses().first().copied();
        let peer = IpAddr::V4(address.unwrap_or(Ipv4Addr::UNSPECIFIED));
        if let Err(error) = self.try_open(index, peer) {
            self.core.sender_failed(now, &format!("{error:#}"));
        }
    }

    fn try_open(&mut self, index: usize, peer: IpAddr) -> anyhow::Result<()> {
        let config = &self.around.config;
        let interface = config.interface_for(peer)?;
        let gate = Gate::default();
        let source = Source::new(&self.dir(), &self.subjects.facts, index, gate.clone())?;
        let bytes_read = source.bytes_read();
        let timing = config.timing;
        let job = Job {
            index,
            port: self.subjects.session.port,
            interface,
            source,
            admitted: self.core.addresses(),
            silence_limit: timing.drop_agents.max(timing.drop_others),
            max_bitrate: config.max_bitrate,
        };
        self.counters = SharedCounters::default();
        self.rate = Rate::default();
        self.slow.clear();
        let port = job.port;
        let transmission =
            self.around
                .transmitter
                .open(job, self.events_in.clone(), self.counters.clone())?;
        self.open = Some(OpenStream {
            index,
            gate,
            bytes_read,
            transmission,
        });
        if index == 0 {
            self.state = State::InProgress;
            self.log(&format!("sending on base port {port}"));
        }
        Ok(())
    }

    fn start_transfer(&mut self) {
        // Decided anew until data flows: a start that found nobody left is no decision.
        if self.around.config.stream_records == StreamRecords::Auto && !self.core.has_started() {
            self.records = Some(self.core.are_all_agents());
        }
        let has_records = self.records.unwrap_or(false);
        if let Some(open) = &self.open {
            open.gate.open(has_records);
            open.transmission.start();
        }
    }

    /// Logs an action and puts it on the list of what is to be stored.
    fn record(&mut self, action: Action) {
        let fact = match action {
            Action::CheckedIn { host, count } => {
                let Some(member) = self.member(host) else {
                    return;
                };
                let address = self.address(host).unwrap_or(Ipv4Addr::UNSPECIFIED);
                let total = self.subjects.members.len();
                self.log(&format!(
                    "host {} checked in from {address} ({count} of {total})",
                    member.name
                ));
                let agent = self
                    .reports
                    .get(&host)
                    .map(|r| r.agent.clone())
                    .unwrap_or_default();
                Fact::CheckedIn {
                    host,
                    member,
                    address,
                    agent,
                    count,
                }
            }
            Action::Started => {
                self.log("has started");
                Fact::Started {
                    has_records: self.records.unwrap_or(false),
                }
            }
            Action::StreamsDone { host, count } => Fact::StreamsDone { host, count },
            Action::HostEnded { host, state, text } => {
                let Some(member) = self.member(host) else {
                    return;
                };
                self.log(&format!("host {}: {state}: {text}", member.name));
                let address = self
                    .address(host)
                    .map(|ip| ip.to_string())
                    .unwrap_or_default();
                Fact::HostEnded {
                    host,
                    member,
                    address,
                    state,
                    text,
                }
            }
            Action::End { state, text } => {
                self.state = state;
                self.log(&format!("is now {state}: {text}"));
                Fact::Ended { state, text }
            }
            Action::Note(text) => {
                if self.details_left == 0 {
                    return;
                }
                self.details_left -= 1;
                self.log(&text);
                Fact::Note(text)
            }
            Action::OpenStream(_)
            | Action::Admit(_)
            | Action::StartTransfer
            | Action::Remove(_)
            | Action::StopSender => return,
        };
        self.unsaved.push_back(Record {
            at: Timestamp::now(),
            fact,
        });
    }

    /// Stores what is to be stored. What fails stays on the list for the next time.
    pub(super) async fn save(&mut self) {
        let subject = Subject {
            session: self.subjects.session.id,
            image: self.subjects.session.image,
            image_name: self.subjects.image_name.clone(),
        };
        while let Some(record) = self.unsaved.front() {
            if let Err(error) = persist::store(&self.around.store, &subject, record).await {
                if !self.is_save_failing {
                    self.is_save_failing = true;
                    let text = "storing the session's state fails; trying again";
                    tracing::error!(session = self.id(), "{text}: {error}");
                }
                return;
            }
            self.is_save_failing = false;
            self.unsaved.pop_front();
        }
    }
}
