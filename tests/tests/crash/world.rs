//! A server that is killed and started again, the machines around it, and the ledger.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use fos_tests::netns::{PATIENCE, Running, wait_for};
use fos_tests::site::{Site, mac, program};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use crate::http::{self, Answer};
use crate::ledger::{self, Entry, Ledger, Seen};

/// What all threads of a test share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) data: PathBuf,
    pub(crate) ledger: Ledger,
    /// Read for each request, written while the ledger is compared.
    pause: RwLock<()>,
    stage: AtomicU8,
}

const WORKING: u8 = 0;
const ENDING: u8 = 1;
const OVER: u8 = 2;

impl Shared {
    /// For the time of a request and of noting its answer.
    pub(crate) fn step(&self) -> RwLockReadGuard<'_, ()> {
        self.pause.read().unwrap()
    }

    /// Nobody asks while this is held, and every answer is in the ledger.
    pub(crate) fn pause(&self) -> RwLockWriteGuard<'_, ()> {
        self.pause.write().unwrap()
    }

    /// No new sessions.
    pub(crate) fn end(&self) {
        self.stage.store(ENDING, Ordering::SeqCst);
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.stage.load(Ordering::SeqCst) >= ENDING
    }

    pub(crate) fn is_over(&self) -> bool {
        self.stage.load(Ordering::SeqCst) == OVER
    }

    /// An answer of the server's own socket that is good.
    pub(crate) fn asked(&self, path: &str) -> Value {
        let answer = self.ask(&format!("GET {path}"), 0, &json!({}));
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    pub(crate) fn ask(
        &self,
        operation: &str,
        mark: u64,
        request: &Value,
    ) -> std::io::Result<Answer> {
        http::ask(&self.data, operation, mark, request)
    }
}

/// The server and its network.
#[derive(Debug)]
pub(crate) struct World {
    /// Ended first.
    server: Option<Running>,
    threads: Vec<std::thread::JoinHandle<()>>,
    pub(crate) site: Site,
    pub(crate) shared: Arc<Shared>,
    options: Vec<String>,
}

impl World {
    /// A network with a server's host and machines, the image's files in place; no server runs and
    /// nothing is registered but the machines. `None` if this machine cannot do that.
    pub(crate) fn new(machines: u8, options: &[&str]) -> Option<Self> {
        let site = Site::without_image(machines)?;
        let shared = Shared {
            data: site.path("data"),
            ledger: Ledger::default(),
            pause: RwLock::default(),
            stage: AtomicU8::new(WORKING),
        };
        Some(Self {
            server: None,
            threads: Vec::new(),
            site,
            shared: Arc::new(shared),
            options: options.iter().map(|text| (*text).to_owned()).collect(),
        })
    }

    /// Starts the server behind a program that runs it, and does not wait.
    pub(crate) fn launch(&mut self, wrapper: &[&str]) {
        let program = program("fos-server");
        let host = self.site.lab().host(1);
        let mut command = match wrapper.split_first() {
            None => host.command(&program),
            Some((first, rest)) => {
                let mut command = host.command(first);
                command.args(rest).arg(&program);
                command
            }
        };
        command
            .arg("--data")
            .arg(&self.shared.data)
            .args(["serve", "--listen", "10.99.0.1:80", "--interface", "eth0"])
            .arg("--images")
            .arg(self.site.path("images"))
            .arg("--boot")
            .arg(self.site.path("boot"))
            .args(["--stream-records", "never"])
            .args(&self.options);
        let output = self.site.path("server.out");
        self.server = Some(Running::start("fos-server", &mut command, &output));
    }

    pub(crate) fn start(&mut self) {
        self.launch(&[]);
        self.wait_until_up();
    }

    #[track_caller]
    pub(crate) fn wait_until_up(&mut self) {
        let shared = Arc::clone(&self.shared);
        wait_for("the server to answer", || {
            let answer = shared.ask("GET /sessions", 0, &json!({}));
            answer.is_ok_and(|answer| answer.status == 200)
        });
    }

    pub(crate) fn server(&mut self) -> &mut Running {
        self.server.as_mut().unwrap()
    }

    /// Ends it as a power failure would, and looks whether anything is left of it.
    pub(crate) fn kill(&mut self) {
        self.server().kill();
        self.server = None;
        self.assert_nothing_left();
    }

    /// Registers the machines in a data directory that was made anew.
    pub(crate) fn register_machines(&self, machines: u8) {
        for number in 1..=machines {
            let name = format!("pc{number}");
            let added = self.site.cli(&["host", "add", &name, &mac(number)]);
            added.succeed();
        }
    }

    /// Ends a server that is traced, and waits for the tracer's last line.
    pub(crate) fn kill_traced(&mut self) {
        let namespace = self.site.lab().host(1).namespace();
        let listed = Command::new("ip")
            .args(["netns", "pids", namespace])
            .output()
            .unwrap();
        let tracer = self.server().id();
        let processes = String::from_utf8_lossy(&listed.stdout).into_owned();
        for process in processes.split_whitespace() {
            let process = process.parse().unwrap();
            if process != tracer {
                signal("KILL", process);
            }
        }
        self.server().wait();
        self.server = None;
        self.assert_nothing_left();
    }

    /// SIGTERM; the server promises to end within 10 s.
    #[track_caller]
    pub(crate) fn terminate(&mut self) {
        let server = self.server();
        let begin = Instant::now();
        signal("TERM", server.id());
        let status = server.wait();
        let took = begin.elapsed();
        assert!(took < END_LIMIT, "it ended after {took:?}");
        assert!(status.success(), "{status}: {}", server.messages());
        self.server = None;
        self.assert_nothing_left();
    }

    /// No process and no UDP port is left on the server's host.
    #[track_caller]
    pub(crate) fn assert_nothing_left(&self) {
        let namespace = self.site.lab().host(1).namespace();
        let listed = Command::new("ip")
            .args(["netns", "pids", namespace])
            .output()
            .unwrap();
        let processes = String::from_utf8_lossy(&listed.stdout).into_owned();
        assert_eq!(processes.trim(), "", "processes that are left");
        assert_eq!(self.udp_ports(), Vec::<String>::new(), "ports");
    }

    /// UDP ports that are open on the server's host.
    pub(crate) fn udp_ports(&self) -> Vec<String> {
        let host = self.site.lab().host(1);
        let listed = host.command("cat").arg("/proc/net/udp").output().unwrap();
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        let ports = text.lines().skip(1).filter_map(|line| {
            let local = line.split_whitespace().nth(1)?;
            let (_, port) = local.split_once(':')?;
            Some(port.to_owned())
        });
        ports.collect()
    }

    /// Runs `work` beside the test until [`Self::finish`].
    pub(crate) fn spawn(&mut self, name: &str, work: impl FnOnce() + Send + 'static) {
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)
            .unwrap();
        self.threads.push(thread);
    }

    /// Lets all sessions come to their end and all threads stop; the server runs.
    #[track_caller]
    pub(crate) fn finish(&mut self) {
        self.shared.end();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.shared.asked("/sessions");
            let sessions = status["sessions"].as_array().unwrap().iter();
            let active: Vec<_> = sessions.filter(|session| is_active(session)).collect();
            if active.is_empty() {
                break;
            }
            assert!(Instant::now() < deadline, "these do not end: {active:#?}");
            std::thread::sleep(Duration::from_millis(100));
        }
        self.stop();
    }

    /// Stops all threads, whatever the sessions do.
    pub(crate) fn stop(&mut self) {
        self.shared.stage.store(OVER, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }

    /// What does not agree between a part of the ledger and the server.
    pub(crate) fn compare(&self, entries: &[Entry], newest: usize) -> Vec<String> {
        let looked_at = ledger::sessions(entries, newest);
        let seen = look(&self.shared, &looked_at);
        let mut found = ledger::broken(entries, &looked_at, &seen);
        found.extend(self.shared.ledger.violations());
        // A session that goes on after a start may be storing its end just now.
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let torn = torn(&self.shared.data);
            if torn.is_empty() {
                return found;
            }
            if Instant::now() > deadline {
                found.extend(torn);
                return found;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shared.stage.store(OVER, Ordering::SeqCst);
        drop(self.server.take());
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

/// 10 s, and as much again for a machine that has other things to do.
const END_LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn signal(signal: &str, process: u32) {
    let sent = Command::new("kill")
        .args([&format!("-{signal}"), &process.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

pub(crate) fn is_active(session: &Value) -> bool {
    let state = session["state"].as_str().unwrap_or_default();
    !matches!(state, "complete" | "cancelled" | "failed")
}

fn look(shared: &Shared, sessions: &[i64]) -> Seen {
    let names = |path: &str| -> BTreeSet<String> {
        let rows = shared.asked(path);
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| row["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut seen = Seen {
        hosts: names("/hosts"),
        images: names("/images"),
        ..Seen::default()
    };
    for session in sessions {
        let path = format!("/sessions/{session}");
        let status = shared.ask(&format!("GET {path}"), 0, &json!({}));
        if let Some(found) = status.unwrap().json()["sessions"].get(0) {
            seen.sessions.insert(*session, found.clone());
        }
        let events = shared.asked(&format!("{path}/events"));
        let events = events.as_array().unwrap().iter();
        let texts = events.map(|event| event["text"].as_str().unwrap().to_owned());
        seen.events.insert(*session, texts.collect());
    }
    for row in rows(&shared.data, INVENTORY) {
        seen.inventory.insert(row[0].clone(), row[1].clone());
    }
    for row in rows(&shared.data, TICKETS) {
        seen.tickets.insert((row[0].clone(), row[1].clone()));
    }
    seen
}

/// Tasks and sessions that are neither over nor active.
fn torn(data: &Path) -> Vec<String> {
    let kinds = [
        ("active task without an active session", LOST_TASKS),
        ("active session without an active task", LOST_SESSIONS),
        ("task and host of a session differ", DIFFERING),
        (
            "integrity",
            "SELECT * FROM pragma_integrity_check WHERE integrity_check <> 'ok'",
        ),
    ];
    let found = kinds.into_iter().flat_map(|(what, query)| {
        let rows = rows(data, query).into_iter();
        rows.map(move |row| format!("{what}: {row:?}"))
    });
    found.collect()
}

/// All columns as texts.
fn rows(data: &Path, query: &'static str) -> Vec<Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let options = SqliteConnectOptions::new().filename(data.join("fos.sqlite"));
        let mut connection = options.connect().await.unwrap();
        let found = sqlx::query(query).fetch_all(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let texts = |row: &sqlx::sqlite::SqliteRow| {
            let columns = 0..row.len();
            columns.map(|column| row.get_unchecked(column)).collect()
        };
        found.iter().map(texts).collect()
    })
}

const INVENTORY: &str = "SELECT hostName, iSysserial FROM inventory JOIN hosts ON hostID = iHostID";

const TICKETS: &str = "SELECT hostName, ticket FROM fos_handouts JOIN hosts USING (hostID)";

const LOST_TASKS: &str = "SELECT CAST(taskID AS TEXT) FROM tasks
    WHERE taskStateID IN (0, 1, 2, 3) AND NOT EXISTS (
        SELECT 1 FROM multicastSessionsAssoc AS a JOIN multicastSessions AS s USING (msID)
        WHERE a.tID = taskID AND s.msState IN (0, 1, 2, 3))";

const LOST_SESSIONS: &str = "SELECT CAST(s.msID AS TEXT) FROM multicastSessions AS s
    WHERE s.msState IN (0, 1, 2, 3) AND NOT EXISTS (
        SELECT 1 FROM multicastSessionsAssoc AS a JOIN tasks ON tID = taskID
        WHERE a.msID = s.msID AND taskStateID IN (0, 1, 2, 3))";

const DIFFERING: &str = "SELECT CAST(msID AS TEXT), hostName, CAST(state AS TEXT),
        CAST(taskStateID AS TEXT)
    FROM fos_sessionHosts JOIN tasks USING (taskID) WHERE state <> taskStateID";
