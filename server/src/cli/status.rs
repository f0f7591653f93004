//! `status`.

use anyhow::bail;
use fos_api::Stage;
use readable::Size;

use super::Places;
use super::client::Client;
use super::image::copies;
use crate::api::{
    EventLine, EventsQuery, HostStatus, ImageShown, ServerStatus, SessionStatus, TaskList,
    TaskStatus,
};
use crate::output;
use crate::session::ClientReport;

/// Sessions.
#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// Number of a session [default: the active ones and the last]
    #[arg(value_parser = super::session_number)]
    session: Option<i64>,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let client = Client::connect(places).await?;
        let found = self.ask(&client).await;
        let is_running = client.is_remote();
        if !self.json {
            client.explain_if_idle();
        }
        client.close().await;
        let Found {
            mut status,
            tasks,
            events,
            images,
        } = found?;
        if let Some(id) = self.session
            && status.sessions.is_empty()
        {
            bail!("there is no session {id}; fos-server status lists them");
        }
        if !is_running {
            status.version.clear();
        }
        if self.json {
            let mut whole = serde_json::to_value(&status)?;
            if let Some(fields) = whole.as_object_mut() {
                fields.insert("tasks".to_owned(), serde_json::to_value(&tasks.tasks)?);
                fields.insert("nodes".to_owned(), serde_json::to_value(&tasks.nodes)?);
                let copies = images.iter().filter_map(|image| {
                    let copy = serde_json::to_value(image.copy.as_ref()?).ok()?;
                    Some((image.name.clone(), copy))
                });
                let copies: serde_json::Map<_, _> = copies.collect();
                fields.insert("copies".to_owned(), copies.into());
            }
            output::result(&serde_json::to_string_pretty(&whole)?);
            return Ok(true);
        }
        if self.session.is_none() {
            let newest = status.sessions.first().map(|session| session.session);
            status
                .sessions
                .retain(|s| s.state.is_active() || Some(s.session) == newest);
            if status.sessions.is_empty() {
                output::result("no sessions");
            }
            if let Some(text) = describe_tasks(&tasks) {
                output::result(&text);
            }
            for line in copies(&images) {
                output::result(&line);
            }
        }
        for session in &status.sessions {
            output::result(&describe(session, is_running));
        }
        for event in events {
            output::result(&format!("  {} {}", event.at, event.text));
        }
        Ok(true)
    }

    async fn ask(&self, client: &Client) -> anyhow::Result<Found> {
        let session = self.session;
        let status = client.api().status(session).await?;
        let tasks = match session {
            Some(_) => TaskList::default(),
            None => client.api().tasks().await?,
        };
        let events = match session {
            Some(session) => {
                let query = EventsQuery {
                    after: 0,
                    limit: EVENTS_SHOWN,
                    wait_seconds: 0,
                };
                client.api().events(session, query).await?
            }
            None => Vec::new(),
        };
        // Only a server copies images. The sessions are worth more.
        let images = match session {
            None if client.is_remote() => client.api().image_list().await.unwrap_or_default(),
            _ => Vec::new(),
        };
        Ok(Found {
            status,
            tasks,
            events,
            images,
        })
    }
}

/// What is shown.
struct Found {
    status: ServerStatus,
    tasks: TaskList,
    events: Vec<EventLine>,
    images: Vec<ImageShown>,
}

/// The hosts that are deployed alone: those at work and in line, and the newest of the others.
fn describe_tasks(list: &TaskList) -> Option<String> {
    let newest = list.tasks.first().map(|task| task.task);
    let shown = list.tasks.iter();
    let shown = shown.filter(|task| task.state.is_active() || Some(task.task) == newest);
    let mut shown: Vec<&TaskStatus> = shown.collect();
    if shown.is_empty() {
        return None;
    }
    // Those that have a slot, then the line, in its order.
    shown.sort_by_key(|task| {
        let is_served = task.state == fog::task::State::InProgress;
        (!is_served, task.in_front.unwrap_or(u32::MAX), task.task)
    });
    let mut lines: Vec<String> = list
        .nodes
        .iter()
        .map(|node| {
            format!(
                "storage node {}: {} of {} slots in use, {} waiting",
                node.node, node.used, node.slots, node.waiting
            )
        })
        .collect();
    let rows: Vec<Vec<String>> = shown.into_iter().map(task_row).collect();
    let head = [
        "  TASK", "HOST", "IMAGE", "ADDRESS", "STATE", "DONE", "WHAT",
    ];
    lines.push(output::table(&head, &rows));
    Some(lines.join("\n"))
}

fn task_row(task: &TaskStatus) -> Vec<String> {
    let detail = match task.client.detail.as_str() {
        detail if task.state.is_active() && !detail.is_empty() => format!("; client: {detail}"),
        _ => String::new(),
    };
    vec![
        format!("  {}", task.task),
        task.host.clone(),
        task.image.clone(),
        task.ip.map_or_else(|| "-".into(), |ip| ip.to_string()),
        task.state.to_string(),
        format!("{} %", task.percent),
        format!("{}{detail}", task.text),
    ]
}

/// The last events of a session that are shown with it.
const EVENTS_SHOWN: u32 = 30;

/// A session in one line.
pub(super) fn headline(session: &SessionStatus) -> String {
    let mut line = format!("session {}: {}", session.session, session.text);
    if session.stage == Stage::Sending
        && let Some(stream) = &session.stream
    {
        let percent = u128::from(stream.acked) * 100 / u128::from(stream.len.max(1));
        line.push_str(&format!(
            ", {percent} % of {}, {}, {:.1} % repeated",
            Size(stream.len),
            format_args!("{}/s", Size(session.rate)),
            session.repeated_percent
        ));
    }
    line
}

fn describe(session: &SessionStatus, is_running: bool) -> String {
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
    if let Some(former) = session.follows {
        lines.push(format!(
            "  follows session {former}, for hosts that missed it"
        ));
    }
    if session.state.is_active() {
        // Without a server nothing is timed.
        let age = match is_running {
            true => format!(
                ", in this stage for {}",
                crate::text::seconds(session.stage_seconds)
            ),
            false => String::new(),
        };
        lines.push(format!(
            "  expected {}, checked in {}, connected {}{age}",
            session.expected, session.checked_in, session.connected,
        ));
    }
    let rows: Vec<Vec<String>> = session.hosts.iter().map(host_row).collect();
    let head = ["  HOST", "ADDRESS", "STATE", "STREAMS", "CLIENT", "WHAT"];
    lines.push(output::table(&head, &rows));
    lines.join("\n")
}

fn host_row(host: &HostStatus) -> Vec<String> {
    // What it said before its end is not what it does.
    let silent = ClientReport::default();
    let client = match host.state.is_active() {
        true => &host.client,
        false => &silent,
    };
    let mut says = client.phase.clone();
    if !client.stream.is_empty() {
        says.push_str(&format!(" {}", client.stream));
    }
    if !client.rate.is_empty() {
        says.push_str(&format!(" {} % {}", client.percent, client.rate));
    }
    let age = host
        .seconds
        .map(|seconds| format!(" (for {})", crate::text::seconds(seconds)))
        .unwrap_or_default();
    let boot = match &host.boot {
        None => String::new(),
        Some(boot) => format!(
            "; asked to boot {} ago, {}",
            crate::text::seconds(boot.seconds),
            boot.text
        ),
    };
    let detail = match client.detail.as_str() {
        "" => String::new(),
        detail => format!("; client: {detail}"),
    };
    vec![
        format!("  {}", host.name),
        host.ip.map_or_else(|| "-".into(), |ip| ip.to_string()),
        host.state.to_string(),
        host.streams_done.to_string(),
        if says.trim().is_empty() {
            "-".into()
        } else {
            says.trim().to_owned()
        },
        format!("{}{age}{boot}{detail}", host.text),
    ]
}
