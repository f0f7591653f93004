//! Looks on while the clients work: shows how far they are, notices when one dies, and kills one where
//! that is the experiment.

use std::{
    cell::RefCell,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::{
    Expectation,
    client::Client,
    phases::Story,
    report::Column,
    services::{Dnsmasq, Server},
};
use crate::{
    process::{Running, tail},
    signals,
};

/// How a client ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Ended by itself, with no failure on its console.
    Succeeded,
    /// Said on its console why it failed, or ended with an error.
    Failed,
    /// Killed by us.
    Killed,
    /// The boot loader did not start the kernel, because of its signature.
    KernelRefused,
}

/// What Debian's GRUB says of a kernel that shim does not let through.
pub(crate) const BAD_SIGNATURE: &str = "bad shim signature";

/// A client that runs or has run.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) client: Client,
    process: Running,
    started: Instant,
    /// From power-on to the agent's first phase.
    boot: Option<Duration>,
    /// What its disk held before power-on.
    held: u64,
    /// From power-on to the first byte on its disk.
    first_write: Option<Duration>,
    ended: Option<(Outcome, Duration)>,
    pub(crate) verdict: RefCell<String>,
}

impl Machine {
    pub(crate) fn new(client: Client, process: Running) -> Self {
        Self {
            // It boots for seconds before it can write.
            held: client.written(),
            client,
            process,
            started: Instant::now(),
            boot: None,
            first_write: None,
            ended: None,
            verdict: RefCell::new("-".to_owned()),
        }
    }

    pub(crate) fn story(&self) -> Story {
        Story::read(&self.client.log)
    }

    /// Fails, and says what it was instead, if the client did not end this way.
    pub(crate) fn must_have(&self, outcome: Outcome) -> Result<()> {
        match self.ended {
            Some((real, _)) if real == outcome => Ok(()),
            Some((real, _)) => {
                let story = self.story();
                bail!("{real:?}, not {outcome:?}: {}", story.failures.join("; "))
            }
            None => bail!("it has not ended"),
        }
    }

    pub(crate) fn column(&self) -> Column {
        Column {
            title: self.client.name.clone(),
            boot: self.boot,
            first_write: self.first_write,
            story: self.story(),
            total: self.ended.map(|(_, total)| total),
            verdict: self.verdict.borrow().clone(),
        }
    }

    /// Notes what has changed.
    fn look(&mut self, is_refusal_expected: bool) -> Result<()> {
        if self.ended.is_some() {
            return Ok(());
        }
        // Asked before the console is read: what it said before its end is there then.
        let status = self.process.ended()?;
        let story = self.story();
        if self.boot.is_none() && !story.phases.is_empty() {
            self.boot = Some(self.started.elapsed());
        }
        if self.first_write.is_none() && self.client.written() > self.held {
            self.first_write = Some(self.started.elapsed());
        }
        if story.has_nothing_to_boot {
            bail!(
                "{} got no kernel from the server\n{}",
                self.client.name,
                tail(&self.client.log)
            );
        }
        let has_failed = !story.failures.is_empty();
        let outcome = match status {
            // A virtual machine ends with 0 whatever happened in it.
            Some(status) if status.success() && !has_failed => Outcome::Succeeded,
            Some(status) if !has_failed => bail!(
                "{} ended without saying why: {status}\n{}",
                self.client.name,
                self.process.log_tail()
            ),
            Some(_) => Outcome::Failed,
            // A machine that failed shows its text for a while before it reboots.
            None if has_failed && is_refusal_expected => Outcome::Failed,
            None if has_failed => bail!(
                "{} failed: {}\n{}",
                self.client.name,
                story.failures.join("; "),
                tail(&self.client.log)
            ),
            None => return Ok(()),
        };
        self.ended = Some((outcome, self.started.elapsed()));
        if outcome == Outcome::Succeeded && story.phases.is_empty() {
            bail!(
                "{} ended without a word from the agent\n{}",
                self.client.name,
                tail(&self.client.log)
            );
        }
        Ok(())
    }

    /// Whether its boot loader has refused the kernel.
    fn is_kernel_refused(&self) -> Result<bool> {
        if self.ended.is_some() {
            return Ok(false);
        }
        if !self.story().phases.is_empty() {
            bail!("{}: the kernel was started", self.client.name);
        }
        let console = fs::read(&self.client.log).unwrap_or_default();
        Ok(String::from_utf8_lossy(&console).contains(BAD_SIGNATURE))
    }

    /// Whether it is in the middle of a stream that it has really received much of.
    fn is_in_the_middle(&self) -> bool {
        const MUCH: u64 = 24 << 20;
        let story = self.story();
        let is_receiving = story
            .current()
            .is_some_and(|phase| phase.name.contains("d1p2"));
        is_receiving && self.client.written() > MUCH
    }

    fn describe(&self) -> String {
        let name = &self.client.name;
        if let Some((outcome, after)) = self.ended {
            return format!("{name}: {outcome:?} after {} s", after.as_secs());
        }
        let story = self.story();
        match story.current() {
            Some(phase) => format!(
                "{name}: {} ({} MB written)",
                phase.name,
                self.client.written() / 1_000_000
            ),
            None if story.phases.is_empty() => {
                let line: String = story.last_line.chars().take(40).collect();
                format!("{name}: booting ({line})")
            }
            None => format!("{name}: between phases"),
        }
    }
}

/// Waits until every client has ended.
///
/// # Errors
///
/// A client fails that should not, server or dnsmasq ends, the overall limit is over, or a signal.
pub(crate) fn until_the_end(
    machines: &mut [Machine],
    server: &mut Server,
    mut dnsmasq: Option<&mut Dnsmasq>,
    expectation: Expectation,
    what: Watched,
) -> Result<()> {
    let begin = Instant::now();
    let mut shown = begin;
    let mut has_killed = false;
    loop {
        signals::check()?;
        server.process.must_run()?;
        if let Some(dnsmasq) = dnsmasq.as_deref_mut() {
            dnsmasq.process.must_run()?;
        }
        for machine in machines.iter_mut() {
            let is_victim = expectation == Expectation::OneKilled(machine.client.number);
            if is_victim && !has_killed && machine.is_in_the_middle() {
                println!("==> killing {}", machine.client.name);
                machine.process.kill()?;
                machine.ended = Some((Outcome::Killed, machine.started.elapsed()));
                has_killed = true;
            }
            if expectation == Expectation::KernelRefused && machine.is_kernel_refused()? {
                machine.process.kill()?;
                machine.ended = Some((Outcome::KernelRefused, machine.started.elapsed()));
            }
            machine.look(expectation.is_failure(machine.client.number))?;
        }
        if machines.iter().all(|machine| machine.ended.is_some()) {
            print_progress(begin, machines, server, what);
            return Ok(());
        }
        if shown.elapsed() >= SHOW {
            shown = Instant::now();
            print_progress(begin, machines, server, what);
        }
        if begin.elapsed() > LIMIT {
            bail!(
                "after {} minutes the clients have still not ended",
                LIMIT.as_secs() / 60
            );
        }
        std::thread::sleep(signals::POLL);
    }
}

fn print_progress(begin: Instant, machines: &[Machine], server: &Server, what: Watched) {
    let clients: Vec<String> = machines.iter().map(Machine::describe).collect();
    let text = match what {
        Watched::Session => session(server).map(|session| session.text),
        Watched::Capture => task(server).map(|task| {
            let detail = task.client.detail;
            let percent = task.percent;
            format!(
                "{} ({percent} %{}{detail})",
                task.text,
                match detail.is_empty() {
                    true => "",
                    false => "; client: ",
                }
            )
        }),
    };
    let session = text.unwrap_or_else(|error| format!("no status: {error:#}"));
    println!(
        "[{:4} s] {} | server: {session}",
        begin.elapsed().as_secs(),
        clients.join(" | ")
    );
}

/// What the server says of it meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    /// A multicast session.
    Session,
    /// The capture of a disk.
    Capture,
}

/// The one task of the run, as the server tells it.
#[derive(Debug, Deserialize)]
pub(crate) struct Task {
    pub(crate) state: String,
    pub(crate) text: String,
    percent: u8,
    client: TaskClient,
}

#[derive(Debug, Deserialize)]
struct TaskClient {
    #[serde(default)]
    detail: String,
}

fn task(server: &Server) -> Result<Task> {
    #[derive(Deserialize)]
    struct Status {
        tasks: Vec<Task>,
    }
    let status: Status = serde_json::from_value(server.status()?)
        .context("reading the answer of `fos-server status --json`")?;
    let task = status.tasks.into_iter().next();
    task.context("the server knows no task")
}

/// Waits until the server has come to its own end of the task.
pub(crate) fn final_task(server: &Server) -> Result<Task> {
    signals::wait_for("the server to end the task", SESSION_END, || {
        let task = task(server)?;
        let is_over = matches!(task.state.as_str(), "complete" | "cancelled" | "failed");
        Ok(is_over.then_some(task))
    })
}

/// The one session of the run, as the server tells it.
#[derive(Debug, Deserialize)]
pub(crate) struct Session {
    pub(crate) state: String,
    pub(crate) text: String,
    #[serde(default)]
    hosts: Vec<SessionHost>,
}

#[derive(Debug, Deserialize)]
struct SessionHost {
    name: String,
    state: String,
}

impl Session {
    /// The state of a host's task.
    pub(crate) fn state_of(&self, host: &str) -> &str {
        self.hosts
            .iter()
            .find(|one| one.name == host)
            .map_or("unknown", |one| &one.state)
    }

    fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "complete" | "cancelled" | "failed")
    }
}

fn session(server: &Server) -> Result<Session> {
    #[derive(Deserialize)]
    struct Status {
        sessions: Vec<Session>,
    }
    let status: Status = serde_json::from_value(server.status()?)
        .context("reading the answer of `fos-server status --json`")?;
    status
        .sessions
        .into_iter()
        .next()
        .context("the server knows no session")
}

/// Waits until the server has come to its own end of the session.
pub(crate) fn final_session(server: &Server) -> Result<Session> {
    signals::wait_for("the server to end the session", SESSION_END, || {
        let session = session(server)?;
        Ok(session.is_over().then_some(session))
    })
}

/// How often the progress is printed.
const SHOW: Duration = Duration::from_secs(2);
/// Far more than a deployment takes here; a hang must end somewhere.
const LIMIT: Duration = Duration::from_secs(20 * 60);
/// A killed client's task ends when the server has heard nothing of it for a while.
const SESSION_END: Duration = Duration::from_secs(5 * 60);
