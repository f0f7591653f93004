//! The program in a data directory of its own, for tests.

#![allow(
    clippy::disallowed_methods,
    reason = "a test waits for a process, by the clock"
)]
#![expect(clippy::unwrap_used, reason = "a test may fail")]
#![allow(dead_code, reason = "each test program uses a part")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use image_writer::Recipe;
use socket2::{Domain, Socket, Type};

/// Whatever takes longer than this has failed.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    pub dir: tempfile::TempDir,
    /// Variables that the program finds in its environment.
    pub environment: Vec<(&'static str, String)>,
}

impl Server {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_image(&dir.path().join("data/images/lab"));
        let boot = dir.path().join("data/boot");
        std::fs::create_dir_all(&boot).unwrap();
        for file in ["bzImage", "init.xz"] {
            std::fs::write(boot.join(file), file).unwrap();
        }
        Self {
            dir,
            environment: Vec::new(),
        }
    }

    /// With the image and these hosts.
    pub(crate) fn with_hosts(hosts: u8) -> Self {
        let server = Self::new();
        server.good(&["image", "add", "lab"]);
        for host in 1..=hosts {
            server.good(&["host", "add", &name(host), &mac(host)]);
        }
        server
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub(crate) fn command(&self) -> Command {
        self.command_as(&[env!("CARGO_BIN_EXE_fos-server")])
    }

    /// The program behind others that run it: `ip netns exec`, for example.
    pub(crate) fn command_as(&self, program: &[&str]) -> Command {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]);
        command.arg("--data").arg(self.data());
        command
            .env_remove("FOS_SERVER_IMAGES")
            .env_remove("FOS_SERVER_DATABASE")
            .env_remove("FOS_DATABASE_PASSWORD")
            .env_remove("RUST_LOG")
            .envs(self.environment.iter().cloned());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// Runs a command that must succeed; answers its standard output.
    #[track_caller]
    pub(crate) fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        text(&output.stdout)
    }

    /// Runs a command that must fail; answers what it says.
    #[track_caller]
    pub(crate) fn bad(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{arguments:?}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stderr)
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.good(&["status", "--json"])).unwrap()
    }

    pub(crate) fn serve(&self) -> Running {
        self.serve_with(&[])
    }

    pub(crate) fn serve_with(&self, arguments: &[&str]) -> Running {
        let mut command = self.command();
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command.args(arguments);
        self.start(command)
    }

    /// Starts a server and waits until it can be asked.
    pub(crate) fn start(&self, command: Command) -> Running {
        self.start_saying(command, Stdio::null())
    }

    /// The same; what it says goes to `stderr`.
    pub(crate) fn start_saying(&self, mut command: Command, stderr: Stdio) -> Running {
        let file = self.data().join("server.json");
        drop(std::fs::remove_file(&file));
        let child = command.stderr(stderr).spawn().unwrap();
        let mut running = Running { child };
        wait_until("the server runs", || {
            assert!(running.is_running(), "the server has ended");
            file.exists()
        });
        running
    }

    /// Where the running server is asked by clients.
    pub(crate) fn address(&self) -> SocketAddr {
        let file = std::fs::read(self.data().join("server.json")).unwrap();
        let running: serde_json::Value = serde_json::from_slice(&file).unwrap();
        let url = running["url"].as_str().unwrap();
        let rest = url.strip_prefix("http://").unwrap();
        rest.split('/').next().unwrap().parse().unwrap()
    }

    /// Posts a form as the first host; answers status and body.
    pub(crate) fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.post_from(1, path, body)
    }

    /// Posts a form from the address of a host; answers status and body.
    pub(crate) fn post_from(&self, host: u8, path: &str, body: &str) -> (u16, String) {
        answer(self.send_from(host, path, body))
    }

    /// Asks from the address of a host; answers status and body.
    pub(crate) fn get_from(&self, host: u8, path: &str) -> (u16, String) {
        let mut stream = self.connect_from(host);
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let head =
            format!("GET /fog/service/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        answer(stream)
    }

    /// Posts a form and does not wait for the answer.
    pub(crate) fn send_from(&self, host: u8, path: &str, body: &str) -> TcpStream {
        let mut stream = self.connect_from(host);
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = format!(
            "POST /fog/service/{path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        stream
    }

    /// A connection from an address that this host alone has.
    pub(crate) fn connect_from(&self, host: u8) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let own = SocketAddr::from(([127, 0, 0, 100 + host], 0));
        socket.bind(&own.into()).unwrap();
        socket.connect(&self.address().into()).unwrap();
        socket.into()
    }

    pub(crate) fn check_in(&self, host: u8) -> (u16, String) {
        self.post_from(
            host,
            "mc_checkin.php",
            &format!("mac={}&type=down", mac(host)),
        )
    }
}

/// Status and body of what comes until the end.
fn answer(mut stream: TcpStream) -> (u16, String) {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = text(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split_whitespace().nth(1).unwrap_or("0");
    (status.parse().unwrap(), body.to_owned())
}

pub(crate) fn name(host: u8) -> String {
    format!("LAB-{host:02}")
}

pub(crate) fn mac(host: u8) -> String {
    format!("00:1b:21:00:00:{host:02x}")
}

/// A server process, killed with the test.
pub(crate) struct Running {
    pub(crate) child: Child,
}

impl Running {
    pub(crate) fn signal(&self, signal: &str) {
        send_signal(&self.child, signal);
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends SIGTERM and waits; a server that has not ended after 10 s never does.
    #[track_caller]
    pub(crate) fn end(mut self) {
        self.signal("-TERM");
        let deadline = Instant::now() + SHUTDOWN_LIMIT;
        while self.is_running() {
            assert!(Instant::now() < deadline, "the server does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(self.child.wait().unwrap().success());
    }
}

/// What `serve` promises, and some seconds for a machine that is busy with other tests.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(10 + 10);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn send_signal(child: &Child, signal: &str) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args([signal, &pid]).status();
    assert!(sent.unwrap().success());
}

pub(crate) fn write_image(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    write_partition(&dir.join("d1p1.img"));
    std::fs::write(dir.join("d1.mbr"), boot_area(&[(2048, 2048)])).unwrap();
}

pub(crate) fn write_partition(file: &Path) {
    let recipe = Recipe::v2(512, (0..64).map(|block| block % 3 != 0).collect());
    std::fs::write(file, recipe.write(|_| vec![7; 512])).unwrap();
}

/// An MBR with these partitions: first sector, sectors.
pub(crate) fn boot_area(partitions: &[(u32, u32)]) -> Vec<u8> {
    let mut sector = vec![0; 512];
    for (entry, (start, len)) in sector[446..510].chunks_mut(16).zip(partitions) {
        entry[4] = 0x83;
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..].copy_from_slice(&len.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// Prints why the calling test does not run here. Where nothing may be skipped, it fails.
#[expect(
    clippy::print_stderr,
    reason = "the reason is for whoever runs the tests"
)]
#[track_caller]
pub(crate) fn skip(reason: &str) {
    let is_strict = std::env::var_os("FOS_TEST_REQUIRE_ALL").is_some_and(|value| value != "0");
    assert!(!is_strict, "nothing may be skipped here: {reason}");
    eprintln!("SKIPPED: {reason}");
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
