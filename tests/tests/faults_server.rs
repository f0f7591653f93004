//! Faults of the server's own machine, with the real programs: it is killed in mid-session, clients
//! are killed while it answers them, its files and its socket are not what they should be.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fos_tests::netns::{Running, wait_for};
use fos_tests::site::{DISK_LEN, Site, assert_deployed, mac, program};

/// The first stream takes about 9 s so.
const SLOWEST: [&str; 2] = ["--max-bitrate", "100k"];
/// The second stream takes about 4 s so.
const SLOW: [&str; 2] = ["--max-bitrate", "20m"];

fn site_with(clients: u8, options: &[&str]) -> Option<Site> {
    let mut site = Site::without_image(clients)?;
    site.start_server_with(options);
    site.cli(&["image", "add", "small"]).succeed();
    Some(site)
}

#[test]
fn a_session_goes_on_when_its_server_is_killed_in_each_stream() {
    let Some(mut site) = site_with(2, &SLOWEST) else {
        return;
    };
    let session = site.deploy(&["pc1", "pc2"], &[]);
    let disks = ["a.raw", "b.raw"].map(|name| site.empty_disk(name, DISK_LEN));
    let mut agents = [
        site.start_agent(1, &disks[0]),
        site.start_agent(2, &disks[1]),
    ];
    wait_for("the first stream", || {
        site.status(&session)["stage"] != "gathering"
    });
    let stream = &site.status(&session)["stream"];
    assert_eq!((&stream["number"], &stream["run"]), (&1.into(), &0.into()));
    site.server().kill();
    site.start_server_with(&SLOW);
    site.wait_for_data(&session, 2, 1 << 20);
    let stream = &site.status(&session)["stream"];
    assert_eq!(stream["number"], 2);
    site.server().kill();
    site.start_server_with(&[]);
    for (agent, disk) in agents.iter_mut().zip(&disks) {
        agent.succeed();
        assert_deployed(disk);
    }
    site.wait_for_state(&session, "complete");
    for host in ["pc1", "pc2"] {
        assert_eq!(site.host_reason(&session, host), "written");
    }
    let report = site.report(&session);
    assert!(report.contains("the server was restarted"), "{report}");
}

#[test]
fn a_stock_client_fails_with_its_server_and_the_agent_beside_it_goes_on() {
    let Some(mut site) = site_with(2, &SLOW) else {
        return;
    };
    let session = site.deploy(&["pc1", "pc2"], &[]);
    let disk = site.empty_disk("a.raw", DISK_LEN);
    let mut agent = site.start_agent(1, &disk);
    // Without a sender it waits for ever, as the original does.
    let _stock = site.start_stock_client(2);
    site.wait_for_data(&session, 2, 1 << 20);
    site.server().kill();
    site.start_server_with(&[]);
    agent.succeed();
    assert_deployed(&disk);
    wait_for("the end of the session", || {
        site.status(&session)["stage"] == "ended"
    });
    assert_eq!(site.host_reason(&session, "pc1"), "written");
    assert_eq!(site.host_reason(&session, "pc2"), "server-stopped");
    assert_eq!(site.host_status(&session, "pc2").0, "failed");
}

#[test]
fn a_session_goes_on_when_its_server_is_killed_before_the_start_and_at_the_reports() {
    let Some(mut site) = site_with(2, &SLOW) else {
        return;
    };
    let session = site.deploy(&["pc1", "pc2"], &[]);
    let disks = ["a.raw", "b.raw"].map(|name| site.empty_disk(name, DISK_LEN));
    let mut first = site.start_agent(1, &disks[0]);
    wait_for("the first to be connected", || {
        site.status(&session)["connected"] == 1
    });
    site.server().kill();
    site.start_server_with(&SLOW);
    assert_eq!(site.status(&session)["checked_in"], 1);
    let mut second = site.start_agent(2, &disks[1]);
    // From the end of the last stream until the completion is stored there are some milliseconds.
    wait_for("an agent to write the table", || {
        first.output().contains("phase table") || second.output().contains("phase table")
    });
    site.server().kill();
    site.start_server_with(&[]);
    first.succeed();
    second.succeed();
    disks.iter().for_each(|disk| assert_deployed(disk));
    site.wait_for_state(&session, "complete");
}

#[test]
fn agents_that_are_killed_while_they_report_lock_nothing() {
    let Some(mut site) = site_with(2, &SLOW) else {
        return;
    };
    for round in 0..8 {
        let session = site.deploy(&["pc1", "pc2"], &[]);
        let disk = site.empty_disk(&format!("{round}.raw"), DISK_LEN);
        let mut agent = site.start_agent(1, &disk);
        wait_for("a first sign of it", || {
            agent.output().contains("phase checkin")
        });
        // Somewhere in check-in, inventory and the first reports.
        std::thread::sleep(Duration::from_millis(3 * round));
        agent.kill();
        let name = format!("new{round}");
        let address = format!("02:00:00:00:01:{round:02x}");
        site.cli(&["host", "add", &name, &address]).succeed();
        site.cli(&["cancel", &session]).succeed();
        fs::remove_file(disk).unwrap();
    }
    let server = site.server();
    server.signal("TERM");
    assert!(server.wait().success(), "{}", server.messages());
}

#[test]
fn image_files_that_lead_out_or_are_pipes_are_refused() {
    let Some(site) = Site::new(1) else { return };
    let secret = site.path("secret");
    fs::create_dir(&secret).unwrap();
    for file in fs::read_dir(site.path("images/small")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), secret.join(file.file_name())).unwrap();
    }
    let copy = |name: &str| {
        let directory = site.path(&format!("images/{name}"));
        fs::create_dir(&directory).unwrap();
        for file in fs::read_dir(&secret).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), directory.join(file.file_name())).unwrap();
        }
        directory
    };
    for name in ["d1.mbr", "d1p1.img"] {
        let directory = copy(&format!("link-{name}"));
        replace_by_link(&directory.join(name), &secret.join(name));
        let said = site.cli(&["image", "add", &format!("link-{name}")]).fail();
        assert!(said.contains(name), "{said}");
        let directory = copy(&format!("pipe-{name}"));
        replace_by_pipe(&directory.join(name));
        let said = site.cli(&["image", "add", &format!("pipe-{name}")]).fail();
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn files_that_are_replaced_after_image_add_are_not_served() {
    let Some(site) = Site::new(1) else { return };
    let session = site.deploy(&["pc1"], &[]);
    let _arguments = site.kernel_arguments(1);
    let path = format!("service/fos/file?mac={}&name=d1.mbr", mac(1));
    assert!(site.get(2, &path).is_some());
    // The very same file, but elsewhere.
    let secret = site.path("secret");
    fs::rename(site.stored("d1.mbr"), &secret).unwrap();
    symlink(&secret, site.stored("d1.mbr")).unwrap();
    assert_eq!(site.get(2, &path), None);
    replace_by_pipe(&site.stored("d1.mbr"));
    assert_eq!(site.get(2, &path), None);
    // Nor does a session begin with them, and nothing hangs.
    fs::remove_file(site.stored("d1.mbr")).unwrap();
    fs::rename(&secret, site.stored("d1.mbr")).unwrap();
    replace_by_pipe(&site.stored("d1p1.img"));
    let form = format!("sysuuid=&mac={}&type=down", mac(1));
    let said = site.post(1, "service/mc_checkin.php", &form);
    assert!(!said.contains("##"), "{said}");
    let text = site.wait_for_state(&session, "failed");
    assert!(text.contains("d1p1.img"), "{text}");
    assert!(text.contains("named pipe"), "{text}");
}

fn replace_by_link(path: &Path, target: &Path) {
    fs::remove_file(path).unwrap();
    symlink(target, path).unwrap();
}

fn replace_by_pipe(path: &Path) {
    fs::remove_file(path).unwrap();
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

/// `fos-server status` on a data directory.
fn status(directory: &Path) -> Running {
    run(directory, &["status"])
}

fn run(directory: &Path, arguments: &[&str]) -> Running {
    let mut command = Command::new(program("fos-server"));
    command.arg("--data").arg(directory).args(arguments);
    let output = directory.join("command.out");
    Running::start("fos-server", &mut command, &output)
}

#[test]
fn a_socket_that_nobody_listens_on_is_no_server() {
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), &["host", "add", "pc1", &mac(1)]).succeed();
    drop(UnixListener::bind(directory.path().join("server.sock")).unwrap());
    let mut status = status(directory.path());
    status.succeed();
    let said = status.messages();
    assert!(said.contains("No server is running"), "{said}");
}

#[test]
fn a_program_that_never_answers_on_the_socket_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("server.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut status = status(directory.path());
    let taken = listener.accept().unwrap();
    // And the next one, if it asks again.
    std::thread::spawn(move || {
        let others: Vec<_> = listener.incoming().take(4).collect();
        std::thread::sleep(Duration::from_secs(600));
        drop(others);
    });
    assert_eq!(status.wait().code(), Some(1));
    drop(taken);
    let said = status.messages();
    assert!(said.contains("server.sock"), "{said}");
    assert!(said.contains("no answer within"), "{said}");
}
