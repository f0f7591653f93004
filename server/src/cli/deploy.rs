//! `deploy`.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use fog::task::State;
use fos_api::Stage;
use tokio::signal::unix::{SignalKind, signal};

use super::Places;
use super::client::Client;
use super::status;
use crate::api::{
    self, Api, ApiErrorKind, ApiResult, Deployed, EventLine, EventsQuery, ServerStatus,
    SessionStatus, StatusQuery,
};
use crate::output;

/// A multicast session.
#[derive(Debug, clap::Args)]
pub(super) struct Deploy {
    /// Image, by name or number
    image: String,
    /// Hosts, by name
    #[arg(required = true)]
    hosts: Vec<String>,
    /// Name of the session [default: the image's]
    #[arg(long)]
    name: Option<String>,
    /// How long to wait for missing hosts after the first has connected; minutes, or seconds
    /// with an s [default: the setting FOG_UDPCAST_MAXWAIT, 10 minutes]
    #[arg(long, value_name = "MINUTES", value_parser = wait_seconds)]
    max_wait: Option<u64>,
    /// Switch the machines off at the end instead of restarting them
    #[arg(long)]
    shutdown: bool,
    /// Stay until the session is over, show its progress, and fail if it failed
    #[arg(long)]
    wait: bool,
}

impl Deploy {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let client = Client::connect(places).await?;
        // From here on Ctrl-C is answered with what there is by then.
        let interrupt = self.wait.then(|| signal(SignalKind::interrupt()));
        let interrupt = interrupt.transpose().context("waiting for signals")?;
        let request = api::Deploy {
            image: self.image.clone(),
            hosts: self.hosts.clone(),
            name: self.name.clone(),
            max_wait_seconds: self.max_wait,
            is_shutdown: self.shutdown,
        };
        let deployed = client.api().deploy(request).await;
        let is_running = client.is_remote();
        client.close().await;
        let deployed = deployed?;
        output::result(&deployed.session.to_string());
        self.explain(&deployed, is_running);
        let Some(mut interrupt) = interrupt else {
            return Ok(true);
        };
        let id = deployed.session;
        tokio::select! {
            done = follow(places, id) => done,
            _ = interrupt.recv() => {
                output::explain(&format!(
                    "The session goes on without this command. fos-server status {id} shows how it \
                     goes, fos-server cancel {id} ends it."
                ));
                Ok(false)
            }
        }
    }

    /// What happens next.
    fn explain(&self, deployed: &Deployed, is_running: bool) {
        for warning in &deployed.warnings {
            output::explain(&format!("warning: {warning}"));
        }
        let hosts = match deployed.hosts {
            1 => "1 host".to_owned(),
            more => format!("{more} hosts"),
        };
        output::explain(&format!(
            "session {} \"{}\" for {hosts}, UDP ports {} and {}. Boot the hosts from the network. It \
             starts when all are connected, or {} after the first has connected.",
            deployed.session,
            deployed.name,
            deployed.port,
            deployed.port + 1,
            crate::text::seconds(deployed.max_wait_seconds)
        ));
        if !is_running {
            output::explain("No server is running; start it with fos-server serve.");
        } else if !self.wait {
            output::explain(&format!(
                "fos-server status {} shows how it goes.",
                deployed.session
            ));
        }
    }
}

/// Follows the session to its end: each event once, and how the streams get on.
async fn follow(places: &Places, session: i64) -> anyhow::Result<bool> {
    let mut shown = Shown::default();
    let mut is_server_missed = false;
    loop {
        let client = match Client::connect(places).await {
            Ok(client) => client,
            // Only root and the server's own user may ask; that does not change.
            Err(error) if is_forbidden(&error) => return Err(error),
            Err(error) => {
                shown.trouble(&format!("{error:#}"));
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let is_running = client.is_remote();
        let query = EventsQuery {
            session,
            after: shown.last_event,
            limit: 1000,
            wait_seconds: if is_running { 1 } else { 0 },
        };
        let asked = ask(client.api(), query, &mut shown).await;
        client.close().await;
        let status = match asked {
            Ok(found) => found,
            Err(error) if error.kind == ApiErrorKind::Unavailable => {
                shown.trouble(&error.text);
                tokio::time::sleep(RETRY).await;
                continue;
            }
            // Asking again would be answered the same.
            Err(error) => return Err(error.into()),
        };
        let Some(status) = status.sessions.into_iter().next() else {
            bail!("session {session} does not exist any more");
        };
        shown.trouble = None;
        if !status.state.is_active() {
            for host in &status.hosts {
                output::explain(&format!("  {}: {}: {}", host.name, host.state, host.text));
            }
            output::explain(&status::headline(&status));
            return Ok(status.state == State::Complete);
        }
        if is_running {
            shown.progress(&status);
        } else if !std::mem::replace(&mut is_server_missed, true) {
            output::explain("No server is running; waiting for one (fos-server serve).");
        }
        if !is_running {
            tokio::time::sleep(RETRY).await;
        } else {
            is_server_missed = false;
        }
    }
}

/// Shows what happened since, and answers how the session is. What happened before its end is shown
/// completely: it is asked for once more after the state.
async fn ask(api: &dyn Api, query: EventsQuery, shown: &mut Shown) -> ApiResult<ServerStatus> {
    let session = Some(query.session);
    shown.events(&api.events(query).await?);
    let status = api.status(StatusQuery { session }).await?;
    let is_over = |found: &SessionStatus| !found.state.is_active();
    if status.sessions.first().is_some_and(is_over) {
        loop {
            let after = shown.last_event;
            let rest = EventsQuery {
                after,
                wait_seconds: 0,
                ..query
            };
            shown.events(&api.events(rest).await?);
            if shown.last_event == after {
                break;
            }
        }
    }
    Ok(status)
}

/// Whether the way to the server is closed to this user.
fn is_forbidden(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|cause| cause.kind() == std::io::ErrorKind::PermissionDenied)
}

/// What the person has seen.
#[derive(Default)]
struct Shown {
    last_event: i64,
    stage: Option<(Stage, Option<u32>, Vec<String>)>,
    progress: Option<(Instant, u64)>,
    trouble: Option<String>,
}

impl Shown {
    /// Something that may pass, told once.
    fn trouble(&mut self, text: &str) {
        if self.trouble.as_deref() != Some(text) {
            output::explain(&format!("{text}; trying again"));
            self.trouble = Some(text.to_owned());
        }
    }

    fn events(&mut self, events: &[EventLine]) {
        for event in events {
            output::explain(&format!("{} {}", event.at, event.text));
            self.last_event = self.last_event.max(event.id);
        }
    }

    /// A new stage at once; in the same one only what has changed, and not too often.
    fn progress(&mut self, session: &SessionStatus) {
        let stream = session.stream.as_ref();
        let number = stream.map(|stream| stream.number);
        let stage = (session.stage, number, session.missing.clone());
        let acked = stream.map_or(0, |stream| stream.acked);
        let is_news = self.stage.as_ref() != Some(&stage);
        let is_progress = self
            .progress
            .is_none_or(|(at, before)| at.elapsed() >= PROGRESS_PERIOD && before != acked);
        if is_news || is_progress {
            output::explain(&status::headline(session));
            self.stage = Some(stage);
            self.progress = Some((Instant::now(), acked));
        }
    }
}

const RETRY: Duration = Duration::from_secs(1);

/// How often progress in the same stream is shown.
const PROGRESS_PERIOD: Duration = Duration::from_secs(5);

/// Minutes, or seconds with an `s`.
fn wait_seconds(text: &str) -> Result<u64, String> {
    let seconds = match text.strip_suffix('s') {
        Some(seconds) => seconds.parse::<u64>().ok(),
        None => text
            .strip_suffix('m')
            .unwrap_or(text)
            .parse::<u64>()
            .ok()
            .and_then(|m| m.checked_mul(60)),
    };
    seconds
        .filter(|seconds| (1..=86400).contains(seconds))
        .ok_or_else(|| {
            "expected minutes such as 10, or seconds such as 90s, up to a day".to_owned()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_minutes_or_seconds() {
        for (text, seconds) in [("10", 600), ("1m", 60), ("90s", 90)] {
            assert_eq!(wait_seconds(text), Ok(seconds));
        }
        for text in ["", "0", "s", "-1", "1h", "99999999999"] {
            assert!(wait_seconds(text).is_err(), "{text}");
        }
    }
}
