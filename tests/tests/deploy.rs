//! Whole deploys: the real server, real agents, stock tools in place of stock clients, on hosts of
//! a network of namespaces; what goes wrong in the field goes wrong here.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

use fos_tests::netns::{Running, wait_for};
use fos_tests::site::{
    DISK_LEN, PARTITIONS, Site, assert_deployed, assert_does_not_boot, assert_untouched, failed,
    source,
};

#[test]
fn two_clients_receive_one_image() {
    let Some(site) = Site::new(2) else { return };
    let session = site.deploy(&["pc1", "pc2"], &[]);
    let disks = [
        site.empty_disk("a.raw", DISK_LEN),
        site.empty_disk("b.raw", DISK_LEN + (64 << 20)),
    ];
    let mut agents = [
        site.start_agent(1, &disks[0]),
        site.start_agent(2, &disks[1]),
    ];
    for (agent, disk) in agents.iter_mut().zip(&disks) {
        agent.succeed();
        assert_deployed(disk);
    }
    site.wait_for_state(&session, "complete");
    for host in ["pc1", "pc2"] {
        assert_eq!(site.host_status(&session, host).0, "complete");
    }
}

#[test]
fn a_host_that_never_comes_is_left_behind() {
    let Some(site) = Site::new(2) else { return };
    let session = site.deploy(&["pc1", "pc2"], &["--max-wait", "2s"]);
    let disk = site.empty_disk("a.raw", DISK_LEN);
    site.start_agent(1, &disk).succeed();
    assert_deployed(&disk);
    wait_for("the end of the session", || {
        site.status(&session)["stage"] == "ended"
    });
    assert_eq!(site.host_status(&session, "pc1").0, "complete");
    let (state, text) = site.host_status(&session, "pc2");
    assert_ne!(state, "complete");
    assert!(!text.is_empty());
}

#[test]
fn a_killed_client_does_not_keep_the_other() {
    let Some(mut site) = Site::without_image(2) else {
        return;
    };
    site.start_server_with(&["--max-bitrate", "20m", "--drop-after", "2", "--grace", "5"]);
    site.cli(&["image", "add", "small"]).succeed();
    let session = site.deploy(&["pc1", "pc2"], &[]);
    let disks = [
        site.empty_disk("a.raw", DISK_LEN),
        site.empty_disk("b.raw", DISK_LEN),
    ];
    let mut survivor = site.start_agent(1, &disks[0]);
    let mut victim = site.start_agent(2, &disks[1]);
    wait_for("data to flow", || {
        site.status(&session)["stream"]["acked"].as_u64() > Some(0)
    });
    victim.kill();
    survivor.succeed();
    assert_deployed(&disks[0]);
    wait_for("the end of the session", || {
        site.status(&session)["stage"] == "ended"
    });
    assert_eq!(site.host_status(&session, "pc1").0, "complete");
    let (state, text) = site.host_status(&session, "pc2");
    assert_eq!(state, "failed", "{text}");
    assert!(site.logs().contains("pc2"));
}

#[test]
fn a_damaged_image_is_never_reported_done() {
    let Some(site) = Site::new(1) else { return };
    damage(&site.stored("d1p2.img"));
    let session = site.deploy(&["pc1"], &[]);
    let disk = site.patterned_disk("a.raw", DISK_LEN);
    let agent = site.start_agent(1, &disk);
    let said = failed(agent);
    assert!(said.contains("d1p2.img"), "{said}");
    assert_does_not_boot(&disk);
    let (state, text) = site.host_status(&session, "pc1");
    assert_eq!(state, "failed");
    assert!(text.contains("d1p2.img"), "{text}");
    assert!(site.logs().contains("d1p2.img"));
}

#[test]
fn an_image_changed_after_registration_is_not_sent() {
    let Some(site) = Site::new(1) else { return };
    let session = site.deploy(&["pc1"], &[]);
    let arguments = site.kernel_arguments(1);
    let image = site.stored("d1p1.img");
    fs::write(&image, b"captured anew").unwrap();
    let disk = site.patterned_disk("a.raw", DISK_LEN);
    let said = failed(site.start_agent_with(1, &disk, &arguments));
    assert!(said.contains("d1p1.img"), "{said}");
    assert_untouched(&disk);
    let text = site.wait_for_state(&session, "failed");
    assert!(text.contains("d1p1.img"), "{text}");
}

#[test]
fn bad_images_are_refused_at_registration() {
    let Some(site) = Site::without_image(1) else {
        return;
    };
    let image = site.stored("d1p2.img");
    let good = fs::read(&image).unwrap();
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("truncated", good[..good.len() / 2].to_vec()),
        (
            "of an unknown format",
            b"PK\x03\x04 not an image".repeat(20),
        ),
    ] {
        fs::write(&image, bytes).unwrap();
        let said = site.cli(&["image", "add", "small"]).fail();
        assert!(said.contains("d1p2.img"), "{what}: {said}");
    }
    fs::write(&image, &good).unwrap();
    fs::remove_file(site.stored("d1.mbr")).unwrap();
    let said = site.cli(&["image", "add", "small"]).fail();
    assert!(said.contains("d1.mbr"), "{said}");
}

#[test]
fn a_missing_file_fails_the_session_with_its_name() {
    let Some(site) = Site::new(1) else { return };
    let session = site.deploy(&["pc1"], &[]);
    let arguments = site.kernel_arguments(1);
    fs::remove_file(site.stored("d1p1.img")).unwrap();
    let disk = site.patterned_disk("a.raw", DISK_LEN);
    let said = failed(site.start_agent_with(1, &disk, &arguments));
    assert!(said.contains("d1p1.img"), "{said}");
    assert_untouched(&disk);
    let text = site.wait_for_state(&session, "failed");
    assert!(text.contains("d1p1.img"), "{text}");
}

#[test]
fn a_disk_that_is_too_small_is_refused_untouched() {
    let Some(site) = Site::new(2) else { return };
    let session = site.deploy(&["pc1", "pc2"], &[]);
    let (small, large) = (
        site.patterned_disk("small.raw", 30 << 20),
        site.empty_disk("large.raw", DISK_LEN),
    );
    let refused = site.start_agent(1, &small);
    let mut other = site.start_agent(2, &large);
    let said = failed(refused);
    assert!(said.contains("small.raw"), "{said}");
    assert_untouched(&small);
    // The rest of the room is not held up.
    other.succeed();
    assert_deployed(&large);
    assert_eq!(site.host_status(&session, "pc1").0, "failed");
    assert_eq!(site.host_status(&session, "pc2").0, "complete");
}

#[test]
fn a_full_disk_is_an_error_of_the_write() {
    let Some(site) = Site::new(1) else { return };
    let session = site.deploy(&["pc1"], &[]);
    let mount = Mount::tmpfs(&site.path("full"), "12m");
    let disk = mount.path.join("disk.raw");
    File::create(&disk).unwrap().set_len(DISK_LEN).unwrap();
    let said = failed(site.start_agent(1, &disk));
    assert!(said.contains("No space left on device"), "{said}");
    assert_does_not_boot(&disk);
    let (state, text) = site.host_status(&session, "pc1");
    assert_eq!(state, "failed");
    assert!(text.contains("No space left"), "{text}");
}

#[test]
fn a_stream_out_of_order_is_refused() {
    let Some(site) = Site::new(1) else { return };
    let session = site.deploy(&["pc1"], &[]);
    // The original sender stands in for a leftover of an earlier session, with the wrong stream.
    let arguments = site.kernel_arguments(1).replace("port=63100", "port=50000");
    assert!(arguments.contains("port=50000"), "{arguments}");
    let mut command = site.lab().host(1).command("udp-sender");
    command
        .args(["--interface", "eth0", "--portbase", "50000", "--nokbd"])
        .args(["--ttl", "32", "--nopointopoint", "--min-receivers", "1"])
        .arg("--file")
        .arg(site.stored("d1p2.img"));
    let _sender = Running::start("udp-sender", &mut command, &site.path("sender.out"));
    let disk = site.patterned_disk("a.raw", DISK_LEN);
    let agent = site.start_agent_with(1, &disk, &arguments);
    wait_for("the agent to say what came", || {
        agent.output().contains("d1p1.img: the stream has more")
    });
    assert_untouched(&disk);
    // The server has not begun yet, so the right stream is waited for.
    wait_for("the agent to ask again", || {
        agent.output().contains("receiving it again")
    });
    site.cli(&["cancel", &session]).succeed();
    failed(agent);
    assert_untouched(&disk);
}

#[test]
fn an_unknown_host_is_told_how_to_register() {
    let Some(site) = Site::new(1) else { return };
    let script = site
        .get(2, "service/ipxe/boot.php?mac0=02:00:00:00:00:99")
        .unwrap();
    assert!(script.starts_with("#!ipxe"), "{script}");
    for words in ["02:00:00:00:00:99", "host add"] {
        assert!(script.contains(words), "{script}");
    }
    let form = "mac=02:00:00:00:00:99&type=down";
    let answer = site.post(1, "service/mc_checkin.php", form);
    assert!(!answer.contains("##"), "{answer}");
    let said = site.cli(&["deploy", "small", "nobody"]).fail();
    assert!(said.contains("nobody"), "{said}");
}

#[test]
fn a_server_that_comes_late_is_waited_for() {
    let Some(mut site) = Site::new(1) else { return };
    let session = site.deploy(&["pc1"], &[]);
    let arguments = site.kernel_arguments(1);
    site.server().kill();
    let disk = site.empty_disk("a.raw", DISK_LEN);
    let mut agent = site.start_agent_with(1, &disk, &arguments);
    wait_for("the agent to say what it waits for", || {
        agent.output().contains("10.99.0.1")
    });
    site.start_server();
    agent.succeed();
    assert_deployed(&disk);
    site.wait_for_state(&session, "complete");
}

#[test]
fn a_server_that_stands_still_is_waited_for() {
    let Some(mut site) = Site::without_image(1) else {
        return;
    };
    site.start_server_with(&["--max-bitrate", "20m"]);
    site.cli(&["image", "add", "small"]).succeed();
    let session = site.deploy(&["pc1"], &[]);
    let disk = site.empty_disk("a.raw", DISK_LEN);
    let mut agent = site.start_agent(1, &disk);
    wait_for("data to flow", || {
        site.status(&session)["stream"]["acked"].as_u64() > Some(0)
    });
    let server = site.server().id();
    signal("-STOP", server);
    wait_for("the agent to say that it waits for more data", || {
        agent.output().contains("more data from")
    });
    signal("-CONT", server);
    agent.succeed();
    assert_deployed(&disk);
    site.wait_for_state(&session, "complete");
}

#[test]
fn a_cancelled_session_ends_its_clients() {
    let Some(mut site) = Site::without_image(2) else {
        return;
    };
    site.start_server();
    site.cli(&["image", "add", "small"]).succeed();
    let session = site.deploy(&["pc1", "pc2"], &[]);
    let disk = site.patterned_disk("a.raw", DISK_LEN);
    let agent = site.start_agent(1, &disk);
    wait_for("the client to be connected", || {
        site.status(&session)["connected"] == 1
    });
    site.cli(&["cancel", &session]).succeed();
    let said = failed(agent);
    assert!(said.to_lowercase().contains("cancel"), "{said}");
    assert_untouched(&disk);
    site.wait_for_state(&session, "cancelled");
}

#[test]
fn a_stock_client_is_served_beside_ours() {
    let Some(site) = Site::new(2) else { return };
    let session = site.deploy(&["pc1", "pc2"], &[]);
    let disk = site.empty_disk("a.raw", DISK_LEN);
    let mut ours = site.start_agent(1, &disk);
    let mut stock = site.start_stock_client(2);
    ours.succeed();
    assert_deployed(&disk);
    stock.succeed();
    for (number, (start, len)) in (1..).zip(PARTITIONS) {
        let found = fs::read(site.path(&format!("pc2-stock{number}.raw"))).unwrap();
        let mut expected = vec![0; usize::try_from(len * 512).unwrap()];
        let disk = File::open(source().join("disk.raw")).unwrap();
        disk.read_exact_at(&mut expected, start * 512).unwrap();
        assert!(found == expected, "partition {number} of the stock client");
    }
    site.wait_for_state(&session, "complete");
    assert_eq!(site.host_status(&session, "pc2").0, "complete");
}

/// Changes octets in the middle of a file behind the server's back: size and time stay.
fn damage(path: &Path) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let metadata = file.metadata().unwrap();
    let mut bytes = [0; 16];
    let middle = metadata.len() / 2;
    file.read_exact_at(&mut bytes, middle).unwrap();
    file.write_all_at(&bytes.map(|byte| !byte), middle).unwrap();
    file.set_modified(metadata.modified().unwrap()).unwrap();
}

fn signal(signal: &str, process: u32) {
    let status = Command::new("kill")
        .args([signal, &process.to_string()])
        .status();
    assert!(status.unwrap().success());
}

struct Mount {
    path: std::path::PathBuf,
}

impl Mount {
    fn tmpfs(path: &Path, size: &str) -> Self {
        fs::create_dir(path).unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(path)
            .status();
        assert!(status.unwrap().success());
        Self {
            path: path.to_owned(),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmounted = Command::new("umount")
            .arg(&self.path)
            .stderr(Stdio::inherit())
            .status();
        drop(unmounted);
    }
}
