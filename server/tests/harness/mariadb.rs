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
        let mut process = Self::installed();
        process.start();
        process
    }

    /// A new and empty one that was not started yet.
    pub(crate) fn installed() -> Self {
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
        Self { dir, running: None }
    }

    /// One with the same files as this one, which does not run.
    fn copy(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("tmp")).unwrap();
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(self.dir.path().join("data"));
        let copied = copy.arg(dir.path().join("data")).status().unwrap();
        assert!(copied.success());
        Self { dir, running: None }
    }

    /// Starts it, and waits until it takes connections.
    pub(crate) fn start(&mut self) {
        self.start_with(&[], &["--skip-networking".to_owned()]);
    }

    /// The same by another program, `before` (with arguments), and with further options.
    pub(crate) fn start_with(&mut self, before: &[String], options: &[String]) {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let log = std::fs::File::create(self.log()).unwrap();
        let mut shell = Command::new("sh");
        shell.args(["-c", UNTIL_LEFT, "sh"]).args(before);
        shell.args(["mariadbd", "--no-defaults"]);
        shell.args([
            format!("--datadir={}", path("data")),
            format!("--socket={}", self.socket().display()),
            format!("--pid-file={}", path("pid")),
            format!("--tmpdir={}", path("tmp")),
            // What is stored has to outlive the server, not the machine.
            "--innodb-flush-log-at-trx-commit=2".to_owned(),
            "--innodb-buffer-pool-size=16M".to_owned(),
            "--innodb-log-file-size=8M".to_owned(),
            "--skip-log-bin".to_owned(),
            // Nothing may depend on these.
            "--default-time-zone=+05:00".to_owned(),
            "--sql-mode=".to_owned(),
        ]);
        shell.args(options);
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

    /// Ends it in order, so that its files are whole.
    fn end(&mut self) {
        let Some(mut child) = self.running.take() else {
            return;
        };
        let mut kill = Command::new("kill");
        assert!(kill.arg(self.number()).status().unwrap().success());
        let end = Instant::now() + START_LIMIT;
        while self.dir.path().join("pid").exists() {
            assert!(Instant::now() < end, "mariadbd does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    /// Runs statements as MariaDB's own client does; answers their rows, or what it complains of.
    pub(crate) fn sql(&self, sql: &str) -> Result<String, String> {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "-u", "root", "-N", "-B", "-S"]);
        client.arg(self.socket()).args(["-e", sql]);
        let output = client.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
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

/// Galera, as Debian has it.
const GALERA: &str = "/usr/lib/galera/libgalera_smm.so";

/// Whether MariaDB is installed with what makes a cluster of it.
pub(crate) fn has_galera() -> bool {
    is_installed() && Path::new(GALERA).exists()
}

/// Where a node of a cluster runs.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// What starts its program, for example in a namespace.
    pub(crate) before: Vec<String>,
    /// The address by which the nodes know each other, with a port; the next port is used, too.
    pub(crate) address: String,
    /// Further options.
    pub(crate) options: Vec<String>,
}

/// A Galera cluster of processes, all of which begin with the same files. A node that was killed does not come again.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Process>,
    programs: tempfile::TempDir,
    places: Vec<Place>,
}

impl Cluster {
    /// A new one, with a node at each of these places, all of which take something.
    pub(crate) fn new(places: Vec<Place>) -> Self {
        let programs = tempfile::tempdir().unwrap();
        let joins = programs.path().join("wsrep_sst_given");
        std::fs::write(&joins, JOINS).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&joins, mode).unwrap();
        let mut cluster = Self {
            nodes: vec![Process::installed()],
            programs,
            places,
        };
        // The first one makes the cluster; then all have the files that know it.
        cluster.start(0, true);
        cluster.nodes[0].end();
        for _ in 1..cluster.places.len() {
            let copy = cluster.nodes[0].copy();
            cluster.nodes.push(copy);
        }
        for at in 0..cluster.places.len() {
            cluster.start(at, at == 0);
        }
        cluster
    }

    /// Runs statements at the first node; returns when every node has what they did.
    pub(crate) fn sql(&self, sql: &str) -> Result<String, String> {
        let said = self.nodes[0].sql(sql)?;
        for node in &self.nodes {
            node.sql("SET SESSION wsrep_sync_wait = 7; SELECT COUNT(*) FROM mysql.db")?;
        }
        Ok(said)
    }

    fn start(&mut self, at: usize, is_first: bool) {
        let addresses: Vec<&str> = self
            .places
            .iter()
            .map(|place| place.address.as_str())
            .collect();
        let place = &self.places[at];
        let (host, port) = place.address.rsplit_once(':').unwrap();
        let next = port.parse::<u16>().unwrap() + 1;
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("PATH={}:{path}", self.programs.path().display());
        let before = [place.before.as_slice(), &["env".to_owned(), path]].concat();
        let mut options = vec![
            "--binlog-format=ROW".to_owned(),
            "--innodb-autoinc-lock-mode=2".to_owned(),
            "--wsrep-on=ON".to_owned(),
            format!("--wsrep-provider={GALERA}"),
            format!("--wsrep-cluster-address=gcomm://{}", addresses.join(",")),
            format!("--wsrep-node-address={}", place.address),
            format!("--wsrep-node-name=node{at}"),
            format!(
                "--wsrep-provider-options=gmcast.listen_addr=tcp://{};ist.recv_addr={host}:{next};gcache.size=16M",
                place.address
            ),
            "--wsrep-sst-method=given".to_owned(),
        ];
        options.extend(place.options.iter().cloned());
        if is_first {
            options.push("--wsrep-new-cluster".to_owned());
        }
        let node = &mut self.nodes[at];
        node.start_with(&before, &options);
        let end = Instant::now() + START_LIMIT;
        while !node
            .sql("SHOW STATUS LIKE 'wsrep_ready'")
            .is_ok_and(|said| said.contains("ON"))
        {
            assert!(Instant::now() < end, "node {at} does not join the cluster");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// How a node joins others that have had the same files from the beginning: it gets what came since. What is asked for
/// and answered is the interface of MariaDB for such programs.
const JOINS: &str = r#"#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in
        --role) role=$2; shift ;;
        --address) address=$2; shift ;;
        --gtid) gtid=$2; shift ;;
        --bypass) bypass=yes ;;
    esac
    shift
done
case $role in
    joiner)
        dir=$(mktemp -d) && mkfifo "$dir/position" || exit 1
        echo "ready $dir/position"
        read -r position <"$dir/position"
        rm -r "$dir"
        echo "$position" ;;
    donor)
        [ -n "$bypass" ] || exit 22
        echo "$gtid" >"$address"
        echo "done $gtid" ;;
esac
"#;

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
