//! `status`.

use anyhow::bail;
use fos_api::Stage;

use super::Places;
use crate::clock::Timestamp;
use crate::http::ServerStatus;
use crate::output;
use crate::runfile;
use crate::session::status::{HostStatus, SessionStatus};
use crate::store::{SessionId, Store, events, images, session_hosts, sessions};

/// Sessions.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// Number of a session [default: the active ones and the last]
    session: Option<i64>,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let store = places.store().await?;
        let wanted = self.session.map(SessionId);
        let mut status = collect(places, &store, wanted).await?;
        let events = match wanted {
            Some(id) => events::of_session(&mut *store.conn().await?, id, EVENTS_SHOWN).await?,
            None => Vec::new(),
        };
        store.close().await;
        if let Some(id) = wanted
            && status.sessions.is_empty()
        {
            bail!("there is no session {id}; fos-server status lists them");
        }
        if self.json {
            output::result(&serde_json::to_string_pretty(&status)?);
            return Ok(true);
        }
        if status.version.is_empty() {
            output::explain("No server answers; this is the state of the database.");
        }
        if wanted.is_none() {
            let newest = status.sessions.first().map(|session| session.session);
            status
                .sessions
                .retain(|s| s.state.is_active() || Some(s.session) == newest);
            if status.sessions.is_empty() {
                output::result("no sessions");
            }
        }
        for session in &status.sessions {
            output::result(&describe(session));
        }
        for event in events {
            output::result(&format!("  {} {}: {}", event.at, event.kind, event.text));
        }
        Ok(true)
    }
}

/// The last events of a session that are shown with it.
const EVENTS_SHOWN: u32 = 30;

/// The state: from the running server, else from the database.
pub(super) async fn collect(
    places: &Places,
    store: &Store,
    wanted: Option<SessionId>,
) -> anyhow::Result<ServerStatus> {
    if let Some(running) = runfile::running(&places.data) {
        let query = wanted.map_or_else(String::new, |id| format!("?session={id}"));
        let path = format!("service/fos/status{query}");
        let fetched = tokio::task::spawn_blocking(move || runfile::fetch(&running, &path)).await?;
        match fetched.and_then(|body| Ok(serde_json::from_slice(&body)?)) {
            Ok(status) => return Ok(status),
            Err(error) => output::explain(&format!("the server cannot be asked: {error:#}")),
        }
    }
    let mut conn = store.conn().await?;
    let rows = match wanted {
        Some(id) => sessions::by_id(&mut conn, id).await?.into_iter().collect(),
        None => sessions::newest(&mut conn, crate::http::MAX_SESSIONS).await?,
    };
    let mut found = Vec::new();
    for row in rows {
        let image = images::by_id(&mut conn, row.image).await?;
        let hosts = session_hosts::of_session(&mut conn, row.id).await?;
        let name = image.map_or_else(String::new, |image| image.name);
        found.push(SessionStatus::from_rows(&row, &name, &hosts));
    }
    Ok(ServerStatus {
        version: String::new(),
        now: Timestamp::now().to_string(),
        sessions: found,
    })
}

/// A session in one line.
pub(super) fn headline(session: &SessionStatus) -> String {
    let mut line = format!("session {}: {}", session.session, session.text);
    if session.stage == Stage::Sending
        && let Some(stream) = &session.stream
    {
        let percent = u128::from(stream.acked) * 100 / u128::from(stream.len.max(1));
        line.push_str(&format!(
            ", {percent} % of {}, {}/s, {:.1} % repeated",
            output::size(stream.len),
            output::size(session.rate),
            session.repeated_percent
        ));
    }
    line
}

fn describe(session: &SessionStatus) -> String {
    let mut lines = vec![headline(session)];
    let end = session
        .ended_at
        .as_ref()
        .map(|at| format!(", ended {at}"))
        .unwrap_or_default();
    lines.push(format!(
        "  name {}, image {}, ports {}-{}, created {}{end} (UTC)",
        session.name,
        session.image,
        session.port,
        session.port.saturating_add(1),
        session.created_at
    ));
    if session.state.is_active() {
        lines.push(format!(
            "  expected {}, checked in {}, connected {}, in this stage for {} s",
            session.expected, session.checked_in, session.connected, session.stage_seconds
        ));
    }
    let rows: Vec<Vec<String>> = session.hosts.iter().map(host_row).collect();
    let head = ["  HOST", "ADDRESS", "STATE", "STREAMS", "CLIENT", "WHAT"];
    lines.push(output::table(&head, &rows));
    lines.join("\n")
}

fn host_row(host: &HostStatus) -> Vec<String> {
    let client = &host.client;
    let mut says = client.phase.clone();
    if !client.stream.is_empty() {
        says.push_str(&format!(" {}", client.stream));
    }
    if !client.rate.is_empty() {
        says.push_str(&format!(" {} % {}", client.percent, client.rate));
    }
    let age = host
        .seconds
        .map(|seconds| format!(" (for {seconds} s)"))
        .unwrap_or_default();
    let detail = match client.detail.as_str() {
        "" => String::new(),
        detail => format!("; client: {detail}"),
    };
    vec![
        format!("  {}", host.name),
        host.ip.clone().unwrap_or_else(|| "-".into()),
        host.state.to_string(),
        host.streams_done.to_string(),
        if says.trim().is_empty() {
            "-".into()
        } else {
            says.trim().to_owned()
        },
        format!("{}{age}{detail}", host.text),
    ]
}
