//! A whole site: many sessions that wait, all their machines at work, and the server on one processor.

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use super::{
    Case, Goal, Options, Server, Setup, Verdict,
    load::{Habit, Host, Style},
};
use crate::{
    process::{Cmd, Running},
    signals::wait_for,
};

/// Machines and sessions.
const HOSTS: u16 = 2000;
const SESSIONS: usize = 64;

/// The processor of the server and its database; what asks has the others.
const CORE: usize = 0;

pub(super) fn measure(options: &Options, program: &Path, store: &Path) -> Result<()> {
    leave_core().context("leaving a processor to the server")?;
    let mut missed = Vec::new();
    for kind in [Kind::Sqlite, Kind::MariaDb] {
        println!("==> {}", kind.name());
        let directory = crate::bench::directory_in_memory()?;
        let database = match kind {
            Kind::Sqlite => None,
            Kind::MariaDb => Some(MariaDb::start(directory.path())?),
        };
        let setup = Setup {
            core: Some(CORE),
            database: database.as_ref().map(MariaDb::url),
        };
        let server = Server::start(program, directory.path(), store, &setup)?;
        if one(&server, options, directory.path())? == Verdict::Missed {
            missed.push(kind.name());
        }
        drop((server, database));
    }
    match missed.as_slice() {
        [] => Ok(()),
        missed => bail!("goals that were missed with {}", missed.join(" and ")),
    }
}

fn one(server: &Server, options: &Options, directory: &Path) -> Result<Verdict> {
    let mut hosts: Vec<Host> = (0..HOSTS).map(Host::new).collect();
    println!("==> registering {HOSTS} hosts, and beginning {SESSIONS} sessions");
    let list = directory.join("hosts.csv");
    let lines = hosts
        .iter()
        .map(|host| format!("{},{}\n", host.name, host.mac));
    let text: String = ["name,mac\n".to_owned()].into_iter().chain(lines).collect();
    fs::write(&list, text).context("writing the list of hosts")?;
    server.command(&["host", "import", &list.display().to_string()])?;
    let len = hosts.len();
    let mut rest = hosts.as_mut_slice();
    for session in 0..SESSIONS {
        let share = len * (session + 1) / SESSIONS - len * session / SESSIONS;
        let (now, later) = rest.split_at_mut(share);
        server.deploy(now)?;
        rest = later;
    }
    let case = Case {
        title: format!(
            "{HOSTS} hosts of {SESSIONS} sessions check in every 5 s, report every 3 s; the server has one core"
        ),
        style: Style::Agent,
        habits: &[Habit::CHECK_IN, Habit::PROGRESS],
        goal: Goal {
            share: 100.0,
            p99: Some(Duration::from_millis(100)),
        },
    };
    let verdict = server.load(&hosts, &case, options)?;
    let lost = lost_updates(server, &hosts)?;
    println!("    {lost} of {HOSTS} last reports are lost, or not the last");
    Ok(match lost {
        0 => verdict,
        _ => Verdict::Missed,
    })
}

/// Each host says something last; the server has to show all of it.
fn lost_updates(server: &Server, hosts: &[Host]) -> Result<usize> {
    for host in hosts {
        host.say(server.address, &word(host))
            .with_context(|| format!("the last report of {}", host.name))?;
    }
    let status = server.command(&["status", "--json"])?;
    let status: serde_json::Value = serde_json::from_str(&status).context("the status")?;
    let sessions = status["sessions"].as_array().map_or(&[][..], Vec::as_slice);
    let shown = |host: &Host| {
        let mut members = sessions
            .iter()
            .flat_map(|session| session["hosts"].as_array().map_or(&[][..], Vec::as_slice));
        members.any(|member| {
            member["name"] == host.name.as_str()
                && member["client"]["detail"] == word(host).as_str()
        })
    };
    ensure!(
        sessions.len() == SESSIONS,
        "{} sessions are shown",
        sessions.len()
    );
    Ok(hosts.iter().filter(|host| !shown(host)).count())
}

fn word(host: &Host) -> String {
    format!("the last word of {}", host.name)
}

#[derive(Clone, Copy)]
enum Kind {
    Sqlite,
    MariaDb,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::MariaDb => "MariaDB",
        }
    }
}

/// This process, and what it starts, runs on the other processors.
fn leave_core() -> Result<()> {
    let count = std::thread::available_parallelism()?.get();
    ensure!(count > 1, "this machine has one processor");
    let mut others = CpuSet::new();
    for core in (0..count).filter(|core| *core != CORE) {
        others.set(core)?;
    }
    Ok(sched_setaffinity(Pid::from_raw(0), &others)?)
}

/// A MariaDB of our own.
struct MariaDb {
    _process: Running,
    socket: PathBuf,
}

impl MariaDb {
    fn start(directory: &Path) -> Result<Self> {
        let [data, socket, log] =
            ["mariadb", "mariadb.sock", "mariadb.log"].map(|name| directory.join(name));
        Cmd::new("mariadb-install-db")
            .args([
                "--no-defaults",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--user=root",
            ])
            .arg(format!("--datadir={}", data.display()))
            .quiet()?;
        let mut process = Cmd::new("taskset")
            .args([
                "-c",
                &CORE.to_string(),
                "mariadbd",
                "--no-defaults",
                "--user=root",
                "--skip-networking",
            ])
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", socket.display()))
            .spawn("mariadbd", &log)?;
        wait_for("mariadbd to answer", Duration::from_secs(60), || {
            process.must_run()?;
            Ok(UnixStream::connect(&socket).is_ok().then_some(()))
        })
        .with_context(|| process.log_tail())?;
        Cmd::new("mariadb")
            .args(["--no-defaults", "-u", "root", "-S"])
            .arg(&socket)
            .args(["-e", "CREATE DATABASE fos; CREATE USER fos@localhost; GRANT ALL ON fos.* TO fos@localhost"])
            .quiet()?;
        Ok(Self {
            _process: process,
            socket,
        })
    }

    fn url(&self) -> String {
        format!("mysql://fos@localhost/fos?socket={}", self.socket.display())
    }
}
