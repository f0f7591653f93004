//! The state of a session for `fos-server status`: the same from a running server and from the
//! database alone.

use fog::native::{SessionView, Stage, StreamNow};
use fog::task::State;
use serde::{Deserialize, Serialize};

use crate::store::session_hosts::SessionHost;
use crate::store::sessions::Session;

/// A session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// Number.
    pub session: i64,
    /// Name.
    pub name: String,
    /// Name of the image.
    pub image: String,
    /// State in FOG's words.
    pub state: State,
    /// What it does now.
    pub stage: Stage,
    /// Base port.
    pub port: u16,
    /// Hosts that are still part of it.
    pub expected: u32,
    /// Of these, hosts that checked in.
    pub checked_in: u32,
    /// Of these, hosts at the rendezvous or receiving.
    pub connected: u32,
    /// Names of hosts that are waited for.
    pub missing: Vec<String>,
    /// The stream waited for, sent or last sent.
    pub stream: Option<StreamNow>,
    /// Bytes per second, acknowledged by all.
    pub rate: u64,
    /// Share of blocks sent again, in percent.
    pub repeated_percent: f64,
    /// Whether streams begin with a record; `None` until decided.
    pub records: Option<bool>,
    /// Seconds since the stage began.
    pub stage_seconds: u64,
    /// Seconds until the wait for missing hosts ends.
    pub starts_in_seconds: Option<u64>,
    /// A sentence: what is going on or why it ended.
    pub text: String,
    /// Creation, UTC.
    pub created_at: String,
    /// End, UTC; `None` while active.
    pub ended_at: Option<String>,
    /// The hosts by name.
    pub hosts: Vec<HostStatus>,
}

/// A host in a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Number.
    pub host: i64,
    /// Name.
    pub name: String,
    /// Address that it checked in from.
    pub ip: Option<String>,
    /// State of its task.
    pub state: State,
    /// What it does or waits for, or why it ended.
    pub text: String,
    /// Seconds since that began.
    pub seconds: Option<u64>,
    /// Streams acknowledged to the end.
    pub streams_done: u32,
    /// What the client says of itself: program, phase, stream, percent, rate.
    pub client: ClientReport,
    /// Seconds since its last request.
    pub silent_seconds: Option<u64>,
}

/// What a client last said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientReport {
    /// Program and version; empty for stock clients.
    pub agent: String,
    /// Phase, one word.
    pub phase: String,
    /// Stream in work.
    pub stream: String,
    /// A sentence.
    pub detail: String,
    /// Percent of the present partition.
    pub percent: u8,
    /// Rate in its own words.
    pub rate: String,
}

impl SessionStatus {
    /// What is known from the database alone.
    #[must_use]
    pub fn from_rows(session: &Session, image: &str, hosts: &[SessionHost]) -> Self {
        let is_over = !session.state.is_active();
        let text = match (is_over, &session.started_at) {
            (true, _) => format!("{}: {}", session.state, session.result),
            (false, None) => "waiting; no server is running that could send it".to_owned(),
            (false, Some(at)) => format!("started at {at}; the server that sent it is not running"),
        };
        let checked_in = hosts
            .iter()
            .filter(|host| host.checked_in_at.is_some())
            .count();
        Self {
            session: session.id.0,
            name: session.name.clone(),
            image: image.to_owned(),
            state: session.state,
            stage: if is_over {
                Stage::Ended
            } else {
                Stage::Gathering
            },
            port: session.port,
            expected: u32::try_from(hosts.len()).unwrap_or(u32::MAX),
            checked_in: u32::try_from(checked_in).unwrap_or(u32::MAX),
            connected: 0,
            missing: Vec::new(),
            stream: None,
            rate: 0,
            repeated_percent: 0.0,
            records: None,
            stage_seconds: 0,
            starts_in_seconds: None,
            text,
            created_at: session.created_at.clone(),
            ended_at: is_over.then(|| session.ended_at.clone()),
            hosts: hosts.iter().map(HostStatus::from_row).collect(),
        }
    }

    /// In place of a session whose rows cannot be read.
    #[must_use]
    pub fn unreadable(session: i64, problem: &str) -> Self {
        Self {
            session,
            name: String::new(),
            image: String::new(),
            state: State::Failed,
            stage: Stage::Ended,
            port: 0,
            expected: 0,
            checked_in: 0,
            connected: 0,
            missing: Vec::new(),
            stream: None,
            rate: 0,
            repeated_percent: 0.0,
            records: None,
            stage_seconds: 0,
            starts_in_seconds: None,
            text: format!("its state cannot be read: {problem}"),
            created_at: String::new(),
            ended_at: None,
            hosts: Vec::new(),
        }
    }

    /// The view of a client.
    #[must_use]
    pub fn to_view(&self, your_task: State) -> SessionView {
        SessionView {
            session: self.session,
            state: self.state,
            stage: self.stage,
            expected: self.expected,
            checked_in: self.checked_in,
            connected: self.connected,
            missing: self.missing.iter().take(50).cloned().collect(),
            stream: self.stream.clone(),
            records: self.records,
            stage_seconds: self.stage_seconds,
            starts_in_seconds: self.starts_in_seconds,
            your_task,
            text: self.text.clone(),
            your_stream: None,
            refusal: None,
        }
    }
}

impl HostStatus {
    fn from_row(row: &SessionHost) -> Self {
        let state = [State::Complete, State::Cancelled, State::Failed]
            .into_iter()
            .find(|state| state.to_string() == row.state);
        let text = match (&state, &row.checked_in_at) {
            (Some(_), _) => row.result.clone(),
            (None, Some(at)) => format!("checked in at {at}"),
            (None, None) => "not checked in".to_owned(),
        };
        Self {
            host: row.host.0,
            name: row.name.clone(),
            ip: Some(row.ip.clone()).filter(|ip| !ip.is_empty()),
            state: state.unwrap_or(match row.checked_in_at {
                Some(_) => State::InProgress,
                None => State::Queued,
            }),
            text,
            seconds: None,
            streams_done: row.streams_done,
            client: ClientReport {
                agent: row.agent.clone(),
                ..ClientReport::default()
            },
            silent_seconds: None,
        }
    }
}
