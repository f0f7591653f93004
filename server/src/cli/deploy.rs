//! `deploy`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use fog::task::State;
use fos_api::Stage;
use tokio::signal::unix::{SignalKind, signal};

use super::client::Client;
use super::status;
use super::{Outcome, Places};
use crate::api::{
    self, Api, ApiErrorKind, ApiResult, Deployed, EventLine, EventsQuery, ScheduleAdd, ScheduleRow,
    ServerStatus, SessionStatus,
};
use crate::output;
use crate::store::MAX_JOINED;

/// A multicast session.
#[derive(Debug, clap::Args)]
pub(super) struct Deploy {
    /// Image, by name or number
    #[arg(value_parser = super::image)]
    image: String,
    /// Hosts, by name; @NAME stands for all hosts of a group
    #[arg(required_unless_present = "join")]
    hosts: Vec<String>,
    /// Machines join the session by its name (--name), from the boot menu: it waits for so many hosts, those that are
    /// named among them
    #[arg(long, value_name = "N", requires = "name", conflicts_with_all = ["unicast", "at", "cron"],
        value_parser = joiners)]
    join: Option<u32>,
    /// Hosts that come late, are left behind or dropped are deployed once more when the session has ended, all of them
    /// together, so many times at most [default: that of fos-server serve --follow-ups]
    #[arg(long, value_name = "N", conflicts_with = "unicast", value_parser = super::follow_ups)]
    follow_ups: Option<u32>,
    /// Send the image to each host on its own, without a session: a host waits for a slot of its storage node, and
    /// those that boot first go first
    #[arg(long, conflicts_with_all = ["max_wait", "wait"])]
    unicast: bool,
    /// With --unicast: the hosts need not wait for a slot
    #[arg(long, requires = "unicast")]
    force: bool,
    /// Name of the session [default: the image's]
    #[arg(long)]
    name: Option<String>,
    /// How long to wait for missing hosts after the first has connected; seconds, as of udp-sender, or
    /// minutes with an m [default: the setting FOG_UDPCAST_MAXWAIT, 10 minutes]
    #[arg(long, value_name = "SECONDS", value_parser = super::wait_seconds)]
    max_wait: Option<u64>,
    /// Switch the machines off at the end instead of restarting them
    #[arg(long)]
    shutdown: bool,
    /// Boot the machines to a shell with the network up; fos-agent run, or run --step, starts the task there
    #[arg(long)]
    debug: bool,
    /// Switch the machines on (Wake-on-LAN)
    #[arg(long)]
    wake: bool,
    /// Begin later, at this time on the clock of the zone, for example "2026-12-01 18:00"; the machines are switched on
    /// then (Wake-on-LAN)
    #[arg(long, value_name = "TIME", group = "later", conflicts_with = "wait")]
    at: Option<String>,
    /// Begin again and again: minute, hour, day of the month, month, day of the week, for example "0 18 * * 5" for
    /// Fridays at six in the evening; the machines are switched on then (Wake-on-LAN)
    #[arg(long, value_name = "FIELDS", group = "later", conflicts_with = "wait")]
    cron: Option<String>,
    /// Time zone of --at or --cron, for example Europe/Berlin [default: the server's]
    #[arg(long, value_name = "ZONE", requires = "later")]
    zone: Option<String>,
    /// Stay until the session is over, show its progress, and fail if it failed. Ctrl-C ends this
    /// command with status 3; the session goes on
    #[arg(long)]
    wait: bool,
}

impl Deploy {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<Outcome> {
        let client = Client::connect(places).await?;
        if self.unicast {
            return self.run_alone(client).await;
        }
        // From here on Ctrl-C is answered with what there is by then.
        let interrupt = self.wait.then(|| signal(SignalKind::interrupt()));
        let interrupt = interrupt.transpose().context("waiting for signals")?;
        let request = api::Deploy {
            image: self.image.clone(),
            hosts: self.hosts.clone(),
            name: self.name.clone(),
            max_wait_seconds: self.max_wait,
            is_shutdown: self.shutdown,
            is_debug: self.debug,
            is_woken: self.wake,
            expected: self.join.unwrap_or(0),
            follow_ups: self.follow_ups,
        };
        if self.at.is_some() || self.cron.is_some() {
            let request = ScheduleAdd {
                deploy: request,
                at: self.at,
                cron: self.cron,
                zone: self.zone,
            };
            let added = client.api().schedule_add(request).await;
            let is_running = client.is_remote();
            client.close().await;
            later(&added?, is_running);
            return Ok(Outcome::Done);
        }
        let deployed = client.api().deploy(request).await;
        let is_running = client.is_remote();
        client.close().await;
        let deployed = deployed?;
        output::result(&deployed.session.to_string());
        self.explain(&deployed, is_running);
        let Some(mut interrupt) = interrupt else {
            return Ok(Outcome::Done);
        };
        let id = deployed.session;
        tokio::select! {
            done = follow(places, id) => done.map(Outcome::from),
            _ = interrupt.recv() => {
                output::explain(&format!(
                    "The session goes on without this command. fos-server status {id} shows how it \
                     goes, fos-server cancel {id} ends it."
                ));
                Ok(Outcome::Interrupted)
            }
        }
    }

    /// A task for each host.
    async fn run_alone(self, client: Client) -> anyhow::Result<Outcome> {
        let request = api::DeployAlone {
            image: self.image,
            hosts: self.hosts,
            name: self.name,
            is_shutdown: self.shutdown,
            is_debug: self.debug,
            is_forced: self.force,
            is_woken: self.wake,
        };
        let created = client.api().deploy_alone(request).await;
        let is_running = client.is_remote();
        client.close().await;
        let created = created?;
        for task in &created.tasks {
            output::result(&task.to_string());
        }
        for warning in &created.warnings {
            output::explain(&format!("warning: {warning}"));
        }
        output::explain(
            "Boot the hosts from the network: each gets the image when its storage node has a slot for it.",
        );
        output::explain(match is_running {
            true => "fos-server status shows how it goes.",
            false => "No server is running; start it with fos-server serve.",
        });
        Ok(Outcome::Done)
    }

    /// What happens next.
    fn explain(&self, deployed: &Deployed, is_running: bool) {
        for warning in &deployed.warnings {
            output::explain(&format!("warning: {warning}"));
        }
        let count = |hosts: usize| match hosts {
            1 => "1 host".to_owned(),
            more => format!("{more} hosts"),
        };
        if let Some(expected) = self.join {
            let expected = usize::try_from(expected).unwrap_or(usize::MAX);
            output::explain(&format!(
                "session {} \"{}\" for {} that join it by this name, UDP ports {} and {}. Boot the hosts from the \
                 network, press m there, and type the name. It starts when all are connected, or {} after the first \
                 has connected.",
                deployed.session,
                deployed.name,
                count(expected.max(deployed.hosts)),
                deployed.port,
                deployed.port + 1,
                crate::text::seconds(deployed.max_wait_seconds)
            ));
            self.explain_where_to_look(deployed, is_running);
            return;
        }
        let hosts = count(deployed.hosts);
        output::explain(&format!(
            "session {} \"{}\" for {hosts}, UDP ports {} and {}. Boot the hosts from the network. It \
             starts when all are connected, or {} after the first has connected.",
            deployed.session,
            deployed.name,
            deployed.port,
            deployed.port + 1,
            crate::text::seconds(deployed.max_wait_seconds)
        ));
        self.explain_where_to_look(deployed, is_running);
    }

    fn explain_where_to_look(&self, deployed: &Deployed, is_running: bool) {
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

fn joiners(text: &str) -> Result<u32, String> {
    let hosts = super::number::<u32>(text).ok();
    let hosts = hosts.filter(|hosts| (1..=MAX_JOINED).contains(hosts));
    hosts.ok_or_else(|| format!("expected a number of hosts, 1 to {MAX_JOINED}"))
}

/// What happens next with a deploy that begins later.
fn later(schedule: &ScheduleRow, is_running: bool) {
    output::result(&schedule.id.to_string());
    if let Some(next) = &schedule.next_at {
        output::explain(&format!(
            "It begins at {next} (UTC), if the server runs then or at most 15 minutes later. fos-server schedule list \
             shows it, fos-server schedule remove {} ends it.",
            schedule.id
        ));
    }
    if !is_running {
        output::explain("No server is running; start it with fos-server serve.");
    }
}

/// Follows the session to its end: each event once, and how the streams get on.
async fn follow(places: &Places, session: i64) -> anyhow::Result<bool> {
    let mut shown = Shown::default();
    loop {
        let client = match Client::connect(places).await {
            Ok(client) => client,
            // Only root and the server's own user may ask; that does not change.
            Err(error) if is_forbidden(&error) => return Err(error),
            Err(error) => {
                shown.trouble(Instant::now(), &readable::chain(error.as_ref()));
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let is_running = client.is_remote();
        let query = EventsQuery {
            after: shown.last_event,
            limit: 1000,
            wait_seconds: if is_running { 1 } else { 0 },
        };
        let asked = ask(client.api(), session, query, &mut shown).await;
        client.close().await;
        let status = match asked {
            Ok(found) => found,
            Err(error) if error.kind == ApiErrorKind::Unavailable => {
                shown.trouble(Instant::now(), &error.text);
                tokio::time::sleep(RETRY).await;
                continue;
            }
            // Asking again would be answered the same.
            Err(error) => return Err(error.into()),
        };
        let Some(status) = status.sessions.into_iter().next() else {
            bail!("session {session} does not exist any more");
        };
        if is_running {
            shown.answered(Instant::now());
            shown.print();
        }
        if !status.state.is_active() {
            for host in &status.hosts {
                output::explain(&format!("  {}: {}: {}", host.name, host.state, host.text));
            }
            output::explain(&status::headline(&status));
            return Ok(status.state == State::Complete);
        }
        if is_running {
            shown.progress(Instant::now(), &status);
        } else {
            shown.missed(Instant::now());
            tokio::time::sleep(RETRY).await;
        }
        shown.print();
    }
}

/// Shows what happened since, and answers how the session is. What happened before its end is shown
/// completely: it is asked for once more after the state.
async fn ask(
    api: &dyn Api,
    session: i64,
    query: EventsQuery,
    shown: &mut Shown,
) -> ApiResult<ServerStatus> {
    let events = api.events(session, query).await?;
    shown.events(Instant::now(), &events);
    shown.print();
    let status = api.status(Some(session)).await?;
    let is_over = |found: &SessionStatus| !found.state.is_active();
    if status.sessions.first().is_some_and(is_over) {
        loop {
            let after = shown.last_event;
            let rest = EventsQuery {
                after,
                wait_seconds: 0,
                ..query
            };
            let events = api.events(session, rest).await?;
            shown.events(Instant::now(), &events);
            shown.print();
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

/// What the person has seen, and the lines that are to be shown next.
#[derive(Default)]
struct Shown {
    lines: Vec<String>,
    /// When the last line came.
    said: Option<Instant>,
    last_event: i64,
    stage: Option<(Stage, Option<u32>, Vec<String>)>,
    progress: Option<(Instant, u64)>,
    /// What each host was answered when it asked to boot: how often a kernel, and the last text.
    boots: BTreeMap<i64, (u32, String)>,
    /// Why the server cannot be asked.
    trouble: Option<String>,
}

impl Shown {
    fn say(&mut self, now: Instant, line: String) {
        self.said = Some(now);
        self.lines.push(line);
    }

    fn print(&mut self) {
        for line in self.lines.drain(..) {
            output::explain(&line);
        }
    }

    /// Something that may pass, shown once, and again after a while.
    fn trouble(&mut self, now: Instant, text: &str) {
        if self.trouble.as_deref() != Some(text) || self.is_quiet(now) {
            self.say(now, format!("{text}; trying again"));
            self.trouble = Some(text.to_owned());
        }
        self.print();
    }

    /// No server runs.
    fn missed(&mut self, now: Instant) {
        if self.trouble.as_deref() != Some(NO_SERVER) || self.is_quiet(now) {
            self.say(now, NO_SERVER.to_owned());
            self.trouble = Some(NO_SERVER.to_owned());
        }
    }

    /// A server has answered.
    fn answered(&mut self, now: Instant) {
        if self.trouble.take().is_some() {
            self.say(now, "The server answers again.".to_owned());
        }
    }

    fn events(&mut self, now: Instant, events: &[EventLine]) {
        for event in events {
            self.say(now, format!("{} {}", event.at, event.text));
            self.last_event = self.last_event.max(event.id);
        }
    }

    /// What is new: a stage, an answer to a host that boots. In the same stage only what has changed,
    /// and not too often; a wait is said again after a while.
    fn progress(&mut self, now: Instant, session: &SessionStatus) {
        for host in &session.hosts {
            let Some(boot) = &host.boot else {
                continue;
            };
            // One that is turned away asks every few seconds.
            let kernels = if boot.is_given { boot.count } else { 0 };
            let news = (kernels, boot.text.clone());
            if self.boots.get(&host.host) != Some(&news) {
                self.say(now, format!("{}: asked to boot, {}", host.name, boot.text));
                self.boots.insert(host.host, news);
            }
        }
        let stream = session.stream.as_ref();
        let number = stream.map(|stream| stream.number);
        let stage = (session.stage, number, session.missing.clone());
        let acked = stream.map_or(0, |stream| stream.acked);
        let is_news = self.stage.as_ref() != Some(&stage);
        let is_progress = self.progress.is_none_or(|(at, before)| {
            now.duration_since(at) >= PROGRESS_PERIOD && before != acked
        });
        if is_news || is_progress || self.is_quiet(now) {
            self.say(now, status::headline(session));
            self.stage = Some(stage);
            self.progress = Some((now, acked));
        }
    }

    fn is_quiet(&self, now: Instant) -> bool {
        self.said
            .is_none_or(|said| now.duration_since(said) >= SIGN_PERIOD)
    }
}

const NO_SERVER: &str = "No server is running; waiting for one (fos-server serve).";

/// How often a wait is shown in which nothing happens.
const SIGN_PERIOD: Duration = Duration::from_secs(30);

const RETRY: Duration = Duration::from_secs(1);

/// How often progress in the same stream is shown.
const PROGRESS_PERIOD: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::BootStatus;
    use crate::session::ClientReport;

    fn waiting(boot: Option<BootStatus>) -> SessionStatus {
        let host = serde_json::json!({
            "host": 7, "name": "LAB-07", "ip": null, "agent": "", "state": "queued", "reason": "",
            "text": "not checked in", "seconds": 1, "boot": boot, "streams_done": 0,
            "client": ClientReport::default(), "silent_seconds": null,
        });
        serde_json::from_value(serde_json::json!({
            "session": 3, "name": "", "image": "", "state": "new", "stage": "gathering", "port": 63100,
            "expected": 1, "checked_in": 0, "connected": 0, "missing": ["LAB-07"], "stream": null,
            "rate": 0, "repeated_percent": 0.0, "records": null, "stage_seconds": 0,
            "starts_in_seconds": null, "reason": "", "text": "waiting for LAB-07", "created_at": "",
            "ended_at": null, "hosts": [host],
        }))
        .unwrap()
    }

    fn boot(count: u32, is_given: bool) -> Option<BootStatus> {
        let text = if is_given {
            "was given the kernel"
        } else {
            "turned away: no kernel"
        };
        Some(BootStatus {
            seconds: 0,
            count,
            is_given,
            text: text.to_owned(),
        })
    }

    fn lines(shown: &mut Shown) -> Vec<String> {
        std::mem::take(&mut shown.lines)
    }

    #[test]
    fn a_wait_without_news_is_shown_twice_a_minute() {
        let mut shown = Shown::default();
        let start = Instant::now();
        let mut at = Vec::new();
        for second in 0..=70 {
            shown.progress(start + Duration::from_secs(second), &waiting(None));
            for line in lines(&mut shown) {
                assert_eq!(line, "session 3: waiting for LAB-07");
                at.push(second);
            }
        }
        assert_eq!(at, [0, 30, 60]);
    }

    #[test]
    fn what_a_host_is_answered_that_boots_is_shown_when_it_changes() {
        let mut shown = Shown::default();
        let now = Instant::now();
        shown.progress(now, &waiting(None));
        lines(&mut shown);
        shown.progress(now, &waiting(boot(1, false)));
        assert_eq!(
            lines(&mut shown),
            ["LAB-07: asked to boot, turned away: no kernel"]
        );
        shown.progress(now, &waiting(boot(2, false)));
        assert_eq!(lines(&mut shown), [""; 0]);
        for count in [3, 4] {
            shown.progress(now, &waiting(boot(count, true)));
            assert_eq!(
                lines(&mut shown),
                ["LAB-07: asked to boot, was given the kernel"]
            );
        }
    }

    #[test]
    fn a_server_that_went_and_came_is_shown_once_each() {
        let mut shown = Shown::default();
        let now = Instant::now();
        shown.answered(now);
        for _ in 0..3 {
            shown.missed(now);
        }
        shown.answered(now);
        shown.answered(now);
        assert_eq!(lines(&mut shown), [NO_SERVER, "The server answers again."]);
    }

    #[test]
    fn waits_are_seconds_or_minutes() {
        for (text, seconds) in [("10", 10), ("1m", 60), ("90s", 90)] {
            assert_eq!(super::super::wait_seconds(text), Ok(seconds));
        }
        for text in ["", "0", "s", "-1", "1h", "99999999999"] {
            assert!(super::super::wait_seconds(text).is_err(), "{text}");
        }
    }
}
