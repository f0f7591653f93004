//! The program as people run it.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use image::writer::Recipe;

struct Server {
    dir: tempfile::TempDir,
}

impl Server {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_image(&dir.path().join("data/images/lab"));
        Self { dir }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fos-server"));
        command.arg("--data").arg(self.dir.path().join("data"));
        command
            .env_remove("FOS_SERVER_IMAGES")
            .env_remove("RUST_LOG");
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    /// Runs a command that must succeed; answers its standard output.
    #[track_caller]
    fn good(&self, arguments: &[&str]) -> String {
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
    fn bad(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{arguments:?}: {}",
            text(&output.stdout)
        );
        text(&output.stderr)
    }

    fn serve(&self) -> Running {
        let mut command = self.command();
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let file = self.dir.path().join("data/server.json");
        wait_until("the server runs", || file.exists());
        Running(child)
    }
}

/// A server process, ended with the test.
struct Running(Child);

impl Running {
    fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn write_image(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let recipe = Recipe::v2(512, (0..64).map(|block| block % 3 != 0).collect());
    std::fs::write(dir.join("d1p1.img"), recipe.write(|_| vec![7; 512])).unwrap();
    std::fs::write(dir.join("d1.mbr"), boot_area(&[(2048, 2048)])).unwrap();
}

/// An MBR with these partitions: first sector, sectors.
fn boot_area(partitions: &[(u32, u32)]) -> Vec<u8> {
    let mut sector = vec![0; 512];
    for (entry, (start, len)) in sector[446..510].chunks_mut(16).zip(partitions) {
        entry[4] = 0x83;
        entry[8..12].copy_from_slice(&start.to_le_bytes());
        entry[12..].copy_from_slice(&len.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn hosts_are_added_listed_and_removed() {
    let server = Server::new();
    server.good(&[
        "host",
        "add",
        "LAB-01",
        "00-1B-21-AA-BB-CC",
        "00:1b:21:aa:bb:cd",
    ]);
    assert!(
        server
            .bad(&["host", "add", "lab-01", "00:1b:21:aa:bb:ce"])
            .contains("already a host")
    );
    let error = server.bad(&["host", "add", "LAB-02", "00:1b:21:aa:bb:cd"]);
    assert!(error.contains("already belongs to host LAB-01"), "{error}");
    let list = server.good(&["host", "list"]);
    assert!(
        list.contains("00:1b:21:aa:bb:cc 00:1b:21:aa:bb:cd"),
        "{list}"
    );
    server.good(&["host", "remove", "LAB-01"]);
    assert!(
        server
            .bad(&["host", "remove", "LAB-01"])
            .contains("no host LAB-01")
    );
    let usage = server.run(&["host", "add", "LAB-01", "nonsense"]);
    assert_eq!(usage.status.code(), Some(2));
    assert!(text(&usage.stderr).contains("is not a MAC address"));
}

#[test]
fn images_are_verified_before_they_are_added() {
    let server = Server::new();
    let file = server.dir.path().join("data/images/lab/d1p1.img");
    let good = std::fs::read(&file).unwrap();
    let mut damaged = good.clone();
    let middle = good.len() / 2;
    damaged[middle] ^= 1;
    std::fs::write(&file, damaged).unwrap();
    let error = server.bad(&["image", "add", "lab"]);
    assert!(
        error.contains("d1p1.img") && error.contains("checksum error"),
        "{error}"
    );
    std::fs::write(&file, good).unwrap();
    assert_eq!(server.good(&["image", "add", "lab"]), "image 1: lab\n");
    assert!(server.good(&["image", "list"]).contains("verified"));
    assert!(
        server
            .bad(&["image", "add", "lab"])
            .contains("already an image")
    );
    assert!(
        server
            .bad(&["image", "add", "other"])
            .contains("images/other")
    );
    server.good(&["image", "remove", "1"]);
}

#[test]
fn what_clients_would_refuse_is_not_added() {
    let server = Server::new();
    let dir = server.dir.path().join("data/images/lab");
    let refused = |arguments: &[&str], expected: &str| {
        let error = server.bad(&[&["image", "add", "lab"], arguments].concat());
        assert_eq!(error.matches(expected).count(), 1, "{error}");
        assert!(!server.good(&["image", "list"]).contains("lab"));
    };
    refused(
        &["--type", "n", "--os", "99"],
        "cannot have the operating system number 99",
    );
    let mbr = dir.join("d1.mbr");
    std::fs::write(&mbr, [1; 512]).unwrap();
    refused(&[], "the image's partition table cannot be used");
    std::fs::write(&mbr, boot_area(&[(2048, 32)])).unwrap();
    refused(
        &[],
        "partition 1 has 16.0 KiB in the image's partition table",
    );
    std::fs::write(&mbr, boot_area(&[(2048, 2048), (4096, 2048)])).unwrap();
    refused(&[], "partition 2 of disk 1 (83 Linux, 1.0 MiB)");
    let swap = dir.join("d1.original.swapuuids");
    std::fs::write(&swap, "\u{feff}2 11111111-2222-3333-4444-555555555555\n").unwrap();
    refused(&["--allow-missing"], "swapuuids");
    std::fs::remove_file(&swap).unwrap();
    // A partition without content is the one thing that may be meant.
    let added = server.run(&["image", "add", "lab", "--path", "lab/", "--allow-missing"]);
    assert!(added.status.success());
    assert!(text(&added.stderr).contains("there is no image file for partition 2"));
    assert!(server.good(&["image", "list"]).contains("  lab  "));
}

#[test]
fn files_that_lead_elsewhere_are_not_added() {
    let server = Server::new();
    let dir = server.dir.path().join("data/images/lab");
    let link = |name: &str, to: &str| {
        let path = dir.join(name);
        std::os::unix::fs::symlink(to, &path).unwrap();
        let error = server.bad(&["image", "add", "lab"]);
        assert!(
            error.contains(name) && error.contains("leads out"),
            "{error}"
        );
        std::fs::remove_file(path).unwrap();
    };
    link("d1.partitions", "/etc/passwd");
    link("d1p2.img", "/dev/zero");
    link("d1p2.img", "../other/d1p1.img");
    let made = Command::new("mkfifo").arg(dir.join("d1p2.img")).status();
    assert!(made.unwrap().success());
    let error = server.bad(&["image", "add", "lab"]);
    assert!(error.contains("d1p2.img is a FIFO"), "{error}");
}

#[test]
fn a_session_is_created_shown_and_cancelled_without_a_server() {
    let server = Server::new();
    server.good(&["image", "add", "lab", "--type", "n"]);
    for host in ["1", "2"] {
        server.good(&[
            "host",
            "add",
            &format!("LAB-0{host}"),
            &format!("00:1b:21:00:00:0{host}"),
        ]);
    }
    assert!(
        server
            .bad(&["deploy", "nothing", "LAB-01"])
            .contains("no image nothing")
    );
    assert!(
        server
            .bad(&["deploy", "lab", "LAB-09"])
            .contains("no host LAB-09")
    );
    assert_eq!(
        server.good(&["deploy", "lab", "LAB-01", "lab-01", "--max-wait", "90s"]),
        "1\n"
    );
    let error = server.bad(&["deploy", "lab", "LAB-02", "LAB-01"]);
    assert!(error.contains("fos-server cancel 1"), "{error}");
    assert!(
        server
            .bad(&["image", "remove", "lab"])
            .contains("session 1")
    );
    assert!(
        server
            .bad(&["host", "remove", "LAB-01"])
            .contains("session 1")
    );
    let status: serde_json::Value =
        serde_json::from_str(&server.good(&["status", "--json"])).unwrap();
    assert_eq!(status["sessions"][0]["expected"], 1);
    assert_eq!(status["sessions"][0]["port"], 63100);
    server.good(&["cancel", "1"]);
    assert!(
        server
            .bad(&["cancel", "1"])
            .contains("already over: cancelled")
    );
    assert!(server.bad(&["cancel", "7"]).contains("no session 7"));
    assert!(server.bad(&["status", "7"]).contains("no session 7"));
    assert_eq!(server.good(&["deploy", "lab", "LAB-01"]), "2\n");
    let file = server.dir.path().join("data/images/lab/d1p1.img");
    std::fs::write(file, b"changed").unwrap();
    assert!(
        server
            .bad(&["deploy", "lab", "LAB-02"])
            .contains("was changed")
    );
}

#[test]
fn a_server_serves_alone_and_ends_when_asked() {
    let server = Server::new();
    let mut running = server.serve();
    let error = server.bad(&["serve", "--listen", "127.0.0.1:0"]);
    assert!(
        error.contains("another fos-server already serves"),
        "{error}"
    );
    let status: serde_json::Value =
        serde_json::from_str(&server.good(&["status", "--json"])).unwrap();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    running.signal("-TERM");
    assert!(running.0.wait().unwrap().success());
    assert!(!server.dir.path().join("data/server.json").exists());
    // A server that was killed leaves its file; the commands find out.
    drop(server.serve());
    let output = server.run(&["status"]);
    assert!(output.status.success());
    assert!(text(&output.stderr).contains("No server answers"));
}

#[test]
fn a_cancelled_deploy_ends_its_waiter() {
    let server = Server::new();
    server.good(&["image", "add", "lab"]);
    server.good(&["host", "add", "LAB-01", "00:1b:21:00:00:01"]);
    let _running = server.serve();
    let mut command = server.command();
    command
        .args(["deploy", "lab", "LAB-01", "--wait"])
        .stderr(Stdio::piped());
    let waiter = command.stdout(Stdio::null()).spawn().unwrap();
    wait_until("the session is there", || {
        server.run(&["status", "1"]).status.success()
    });
    server.good(&["cancel", "1"]);
    let output = waiter.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("cancelled"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_busy_port_and_an_unknown_interface_are_named() {
    let server = Server::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = server.bad(&["serve", "--listen", &address]);
    assert!(
        error.contains(&address) && error.contains("--listen"),
        "{error}"
    );
    let error = server.bad(&["serve", "--listen", "127.0.0.1:0", "--interface", "nosuch0"]);
    assert!(error.contains("nosuch0"), "{error}");
}
