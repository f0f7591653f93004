//! A session as it is stored, and what happens to it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use fog::store::StreamName;
use fog::task::State;
use serde::{Deserialize, Serialize};

use super::client::Client;
use crate::domain::code;
use crate::domain::follow_up::FollowUp;
use crate::domain::handout::Ticket;
use crate::domain::{HostId, ImageId, Reason, Refusal, SessionId, TaskId, Timestamp};

/// A multicast session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Number.
    pub id: SessionId,
    /// Name; FOG empties it at the end, this one stays.
    pub name: String,
    /// Image.
    pub image: ImageId,
    /// Display name of the image; empty if it is not in the database any more.
    pub image_name: String,
    /// Image directory below the root.
    pub path: String,
    /// Base port, as stored.
    pub port: i64,
    /// How far it is.
    pub state: State,
    /// From the first connection until the first stream starts without the missing hosts.
    pub max_wait: Duration,
    /// Whether the machines are switched off afterwards.
    pub is_shutdown: bool,
    /// Whether the machines boot to a shell, in which a person starts the task. As FOG has it, the tasks
    /// have it: a session without any does not.
    pub is_debug: bool,
    /// Creation.
    pub created_at: Timestamp,
    /// Time of the first byte sent.
    pub started_at: Option<Timestamp>,
    /// End.
    pub ended_at: Option<Timestamp>,
    /// Whether its streams begin with a record; `None` until the first one started.
    pub has_records: Option<bool>,
    /// One more than the highest number of an attempt to send a stream so far; 0 before the first one.
    /// The next attempt may have this number: no client received anything under it.
    pub runs: u32,
    /// Why it ended as it did.
    pub reason: Option<Reason>,
    /// Hosts that join it by name: its first stream waits for so many. 0 for a session whose hosts are known.
    pub expected: u32,
    /// The session whose hosts it is for, that missed that one.
    pub follows: Option<SessionId>,
    /// Follow-up sessions that may still come of it; `None` if nobody said.
    pub follow_ups: Option<u32>,
    /// The session for hosts that missed this one.
    pub follow_up: FollowUp,
    /// Its hosts by name.
    pub members: Vec<Member>,
}

impl Session {
    /// Whether nobody has joined it yet by its name: there is nothing to run.
    #[must_use]
    pub fn is_unjoined(&self) -> bool {
        self.expected > 0 && self.members.is_empty()
    }

    /// Where a client of FOG may still come from after the end, if one may: it was told to go, and waits for
    /// ever where nobody answers. Whether it was connected at the end is not stored.
    #[must_use]
    pub fn latecomer(&self) -> Option<Ipv4Addr> {
        if self.state.is_active() {
            return None;
        }
        let mut late = self.members.iter().filter(|member| {
            let is_unaware = member.reason.as_ref().is_some_and(Reason::leaves_unaware);
            is_unaware && member.checked_in_at.is_some() && !member.agent.is_agent()
        });
        late.find_map(|member| member.address)
    }
}

/// A host in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Host.
    pub host: HostId,
    /// Its task.
    pub task: TaskId,
    /// Its name when the session was created.
    pub name: String,
    /// Where it checked in from.
    pub address: Option<Ipv4Addr>,
    /// The ticket that it checked in with.
    pub ticket: Option<Ticket>,
    /// Which client it runs.
    pub agent: Client,
    /// Time of the accepted check-in.
    pub checked_in_at: Option<Timestamp>,
    /// Streams that it acknowledged to the end.
    pub streams_done: u32,
    /// State of its task.
    pub state: State,
    /// Why its part ended as it did.
    pub reason: Option<Reason>,
}

/// Something that a session decided and that is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A check-in was accepted for the first time, or with another address.
    CheckedIn {
        /// Host.
        host: HostId,
        /// Where from.
        address: Ipv4Addr,
        /// With which ticket.
        ticket: Option<Ticket>,
        /// Which client it runs.
        agent: Client,
        /// Hosts that have checked in by now.
        count: u32,
    },
    /// A stream is about to begin: stored before its first byte is sent.
    StreamStarting {
        /// Its position in sending order, from 0.
        stream: usize,
        /// The number of this attempt.
        run: u32,
        /// Whether it begins with a record.
        has_records: bool,
    },
    /// A stream that was about to begin found no receiver: no byte of it was sent. The next attempt has the
    /// next number.
    StartRevoked {
        /// Its position in sending order, from 0.
        stream: usize,
        /// The number of the attempt.
        run: u32,
        /// Whether no stream had begun before: then the session has not started.
        is_first: bool,
    },
    /// A host acknowledged this many streams to their ends.
    StreamsDone {
        /// Host.
        host: HostId,
        /// Streams.
        count: u32,
    },
    /// A host's part is over, or its end is seen in another light.
    MemberEnded {
        /// Host.
        host: HostId,
        /// State of its task.
        state: State,
        /// Why.
        reason: Reason,
    },
    /// When the session has ended, its hosts that missed it get another one.
    FollowUpDue,
    /// The session is over, or its end is seen in another light.
    Ended {
        /// Its state.
        state: State,
        /// Why.
        reason: Reason,
    },
    /// Something worth a line.
    Noted {
        /// Whom it is about.
        host: Option<HostId>,
        /// What.
        note: Note,
    },
}

/// Something that is worth a line in the list of events.
///
/// Codes are stored; see [`Reason`] for what may change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", content = "details", rename_all = "kebab-case")]
pub enum Note {
    /// The session was created.
    Created {
        /// Image.
        image: String,
        /// Hosts.
        hosts: usize,
        /// Base port.
        port: u16,
    },
    /// A host checked in.
    CheckedIn {
        /// From.
        address: Ipv4Addr,
    },
    /// A stream begins.
    StreamStarting {
        /// Its position in sending order, from 0.
        stream: usize,
        /// The number of the attempt, from 0.
        run: u32,
    },
    /// A stream that was to begin found no receiver; it is gathered for again.
    StartRevoked {
        /// Its position in sending order, from 0.
        stream: usize,
        /// The number of the attempt, from 0.
        run: u32,
    },
    /// A host's part is over.
    MemberEnded {
        /// State of its task.
        state: State,
        /// Why.
        reason: Reason,
    },
    /// The session is over.
    Ended {
        /// Its state.
        state: State,
        /// Why.
        reason: Reason,
    },
    /// The first stream starts although hosts are missing.
    StartingWithout {
        /// How long they were waited for, in seconds.
        seconds: u64,
        /// Their names.
        missing: Vec<String>,
    },
    /// A person starts the first stream although hosts are missing.
    StartedByHand {
        /// Their names.
        missing: Vec<String>,
    },
    /// A host went away from the rendezvous of a stream; it may come again.
    LeftRendezvous {
        /// From.
        address: Ipv4Addr,
        /// Of which.
        stream: StreamName,
    },
    /// A host could not use the image share and starts again.
    ShareUnusable,
    /// A restarted server goes on with the session.
    Resumed {
        /// The stream that is begun again.
        stream: StreamName,
    },
    /// A client warns.
    Warning {
        /// Its words.
        text: String,
    },
    /// A report came from where the host did not check in. Nothing follows from it.
    ForeignReport {
        /// From.
        address: IpAddr,
        /// Its words.
        text: String,
    },
    /// A check-in was refused for a reason that a person has to do something about.
    Refused {
        /// From.
        address: IpAddr,
        /// Why.
        why: Box<Refusal>,
    },
    /// The session is for hosts that missed this one.
    Follows {
        /// That one.
        session: SessionId,
    },
    /// Hosts that missed the session are deployed once more.
    FollowedBy {
        /// The session that they are in.
        session: SessionId,
    },
    /// Hosts that missed the session are not deployed once more.
    NotFollowed {
        /// Why.
        text: String,
    },
    /// A host has joined the session by its name.
    Joined {
        /// From.
        address: IpAddr,
    },
    /// Ports that the session did not get, as another program holds them.
    PortHeld {
        /// Which and by whom, as the system says.
        text: String,
    },
    /// What an older version stored.
    Words {
        /// Kind and text.
        text: String,
    },
    /// A code of another version.
    Unknown {
        /// The code.
        code: String,
        /// Its details, JSON.
        details: String,
    },
}

impl Note {
    /// Code and details for a database.
    #[must_use]
    pub fn to_parts(&self) -> (String, String) {
        if let Self::Unknown { code, details } = self {
            return (code.clone(), details.clone());
        }
        code::to_parts(self)
    }

    /// What a database holds.
    #[must_use]
    pub fn from_parts(code: &str, details: &str) -> Self {
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(details).is_ok();
        if !is_json && !details.is_empty() {
            // Older versions stored a word and a sentence.
            return Self::Words {
                text: format!("{code}: {details}"),
            };
        }
        code::from_parts(code, details).unwrap_or_else(|| Self::Unknown {
            code: code.to_owned(),
            details: details.to_owned(),
        })
    }
}

/// An event as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Number; grows.
    pub id: i64,
    /// Time.
    pub at: Timestamp,
    /// Session, if it belongs to one.
    pub session: Option<SessionId>,
    /// Host, if it is about one.
    pub host: Option<HostId>,
    /// Its name at that time; empty if it is about none.
    pub host_name: String,
    /// What happened.
    pub note: Note,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back() {
        for note in [
            Note::ShareUnusable,
            Note::Follows {
                session: SessionId(12),
            },
            Note::NotFollowed { text: "x".into() },
            Note::StartRevoked { stream: 1, run: 2 },
            Note::Created {
                image: "a".into(),
                hosts: 3,
                port: 63100,
            },
            Note::MemberEnded {
                state: State::Failed,
                reason: Reason::Overdue { seconds: 7 },
            },
            Note::Refused {
                address: Ipv4Addr::LOCALHOST.into(),
                why: Box::new(Refusal::OtherNetwork {
                    client: "eth1".into(),
                    session: "eth0".into(),
                }),
            },
            Note::Unknown {
                code: "later".into(),
                details: "{}".into(),
            },
        ] {
            let (code, details) = note.to_parts();
            assert_eq!(Note::from_parts(&code, &details), note);
        }
        assert_eq!(
            Note::from_parts("check-in", "pc1 checked in from 10.0.0.1"),
            Note::Words {
                text: "check-in: pc1 checked in from 10.0.0.1".into()
            }
        );
    }
}
