//! A MariaDB of the tests' own: a temporary directory, a socket, nothing else. For the tests of the store, too.

#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(
    clippy::disallowed_methods,
    reason = "a test waits for a process, by the clock"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// FOG's tables at step 268.
pub(crate) const FOG_268: &str = include_str!("../../src/store/mariadb/testdata/fog-268.sql");

/// Rows without which it is no FOG. It is in Berlin.
pub(crate) const FOG_268_ROWS: &str = "
    INSERT INTO schemaVersion VALUES (1, 268);
    INSERT INTO taskStates VALUES (1, 'Queued', '', 1, ''), (2, 'Checked In', '', 2, ''),
        (3, 'In-Progress', '', 3, ''), (4, 'Complete', '', 4, ''), (5, 'Cancelled', '', 5, '');
    INSERT INTO globalSettings (settingKey, settingDesc, settingValue, settingCategory)
        VALUES ('FOG_TZ_INFO', '', 'Europe/Berlin', 'General Settings')";

/// Whether MariaDB is installed.
pub(crate) fn is_installed() -> bool {
    let mut asked = Command::new("mariadbd");
    let asked = asked.arg("--version").stdout(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// The server. It ends with this value, and with the process that has it.
pub(crate) struct Process {
    dir: tempfile::TempDir,
    running: Option<Child>,
}

impl Process {
    /// A new and empty one, started.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Several take each other's files from a directory that they share.
        std::fs::create_dir(dir.path().join("tmp")).unwrap();
        let mut install = Command::new("mariadb-install-db");
        install
            .args(["--no-defaults", "--auth-root-authentication-method=normal"])
            .arg("--skip-test-db")
            .arg(format!("--tmpdir={}", dir.path().join("tmp").display()))
            .arg(format!("--datadir={}", dir.path().join("data").display()));
        let output = as_root(&mut install).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "mariadb-install-db: {text}");
        let mut process = Self { dir, running: None };
        process.start();
        process
    }

    /// Starts it, and waits until it takes connections.
    pub(crate) fn start(&mut self) {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let log = std::fs::File::create(self.log()).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", UNTIL_LEFT, "sh", "mariadbd", "--no-defaults"]);
        shell.args([
            format!("--datadir={}", path("data")),
            format!("--socket={}", self.socket().display()),
            format!("--pid-file={}", path("pid")),
            format!("--tmpdir={}", path("tmp")),
            // What is stored has to outlive the server, not the machine.
            "--innodb-flush-log-at-trx-commit=2".to_owned(),
            "--innodb-buffer-pool-size=16M".to_owned(),
            "--innodb-log-file-size=8M".to_owned(),
            "--skip-networking".to_owned(),
            "--skip-log-bin".to_owned(),
            // Nothing may depend on these.
            "--default-time-zone=+05:00".to_owned(),
            "--sql-mode=".to_owned(),
        ]);
        let child = as_root(&mut shell)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log);
        self.running = Some(child.spawn().unwrap());
        let end = Instant::now() + START_LIMIT;
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            let text = std::fs::read_to_string(self.log()).unwrap_or_default();
            let has_failed = text.contains("[ERROR] Aborting") || Instant::now() >= end;
            assert!(!has_failed, "mariadbd does not start: {text}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills it.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.running.take() {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
    }

    /// The number of the server's process.
    pub(crate) fn number(&self) -> String {
        let text = std::fs::read_to_string(self.dir.path().join("pid")).unwrap();
        text.trim().to_owned()
    }

    /// Where it takes connections.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    /// A directory for other files of the test.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How long it may take to start, on a machine that has much else to do.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Kills the server as soon as nobody holds the other end of its standard input.
const UNTIL_LEFT: &str = r#""$@" & child=$!; read -r _; kill -9 "$child"; wait"#;

/// MariaDB refuses to run as root unless it is told to.
fn as_root(command: &mut Command) -> &mut Command {
    if nix::unistd::geteuid().is_root() {
        command.arg("--user=root");
    }
    command
}
