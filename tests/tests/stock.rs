//! The agent at FOG's own servers: a double answers over HTTP, the original sender sends, the image share is a
//! directory.

use std::fs;
use std::path::Path;

use fos_tests::netns::{Running, wait_for};
use fos_tests::site::{assert_deployed, assert_untouched, failed, mac, program};
use fos_tests::stock::{Reply, Room, SECRET, STREAMS, Version, job};

fn room(version: Version) -> Option<Room> {
    Room::new(2, &[], version, &job("mc=yes"))
}

/// The agent on host 2, for the task of these kernel arguments.
fn start_agent(room: &Room, arguments: &str, disk: &Path) -> Running {
    let mut command = room.lab().host(2).command(program("fos-agent"));
    command
        .args(["deploy", "--no-reboot", "--cmdline", arguments, "--target"])
        .arg(disk)
        .arg("--share")
        .arg(room.share());
    Running::start("agent", &mut command, &disk.with_extension("out"))
}

#[test]
fn a_machine_is_deployed_by_each_version() {
    let Some(room) = room(Version::Old) else {
        return;
    };
    for version in Version::ALL {
        room.server().change(version, &job("mc=yes"));
        let disk = room.empty_disk(&format!("{version:?}.raw"));
        let chain = room.start_chain(&STREAMS, version.has_records());
        let mut agent = start_agent(&room, &job("mc=yes"), &disk);
        agent.succeed();
        drop(chain);
        assert_deployed(&disk);
        assert!(room.server().is_complete(), "{version:?}");
        // Nothing was asked that only our own server has.
        let requests = room.server().requests();
        assert!(
            requests
                .iter()
                .all(|request| !request.path.contains("/fos/"))
        );
        assert_eq!(room.server().image_size(), [""; 0], "{version:?}");
        assert_eq!(room.server().count("service/inventory.php"), 1);
        assert_eq!(room.server().count("service/Post_Stage3.php"), 1);
    }
}

#[test]
fn the_queue_is_shown_and_whatever_else_the_server_says() {
    let Some(room) = room(Version::Stable) else {
        return;
    };
    room.server().script(
        "service/mc_checkin.php",
        [
            Reply::text("No open slots, There are 2 before me on this node."),
            Reply::Half("##@GO".into()),
            Reply::text("##@GO"),
        ],
    );
    let disk = room.empty_disk("queue.raw");
    let mut agent = start_agent(&room, &job("mc=yes"), &disk);
    for words in ["There are 2 before me", "cannot be reached"] {
        wait_for(words, || agent.output().contains(words));
    }
    let _chain = room.start_chain(&STREAMS, false);
    agent.succeed();
    assert_deployed(&disk);
    assert_eq!(room.server().count("service/mc_checkin.php"), 3);
}

/// The manager starts its chain up to 10 s after GO, and again from the first stream while the session is not
/// complete.
#[test]
fn a_sender_that_comes_late_and_begins_again_is_followed() {
    let Some(room) = room(Version::Old) else {
        return;
    };
    let disk = room.empty_disk("late.raw");
    let mut agent = start_agent(&room, &job("mc=yes"), &disk);
    wait_for("the agent to wait for the sender", || {
        agent.output().contains("the sender at 10.99.0.1:63100")
    });
    let _chain = room.start_chain(&["d1p1.img", "d1p1.img", "d1p2.img"], false);
    agent.succeed();
    assert_deployed(&disk);
    assert!(room.server().is_complete());
}

#[test]
fn a_machine_that_missed_a_stream_writes_nothing() {
    let Some(room) = room(Version::Late) else {
        return;
    };
    let disk = room.patterned_disk("missed.raw");
    let _chain = room.start_chain(&["d1p2.img"], false);
    let said = failed(start_agent(&room, &job("mc=yes"), &disk));
    assert!(said.contains("but like d1p2.img"), "{said}");
    assert!(said.contains("has not stored the report"), "{said}");
    assert_untouched(&disk);
    assert!(!room.server().is_complete());
}

#[test]
fn a_machine_that_booted_from_usb_gets_its_job_from_the_server() {
    let Some(room) = room(Version::Old) else {
        return;
    };
    let arguments = format!("web=http://10.99.0.1/fog/ mac={}", mac(1));
    for version in [Version::Old, Version::Late] {
        room.server().change(version, &job("mc=yes"));
        room.server().cancel();
        let disk = room.empty_disk(&format!("usb-{version:?}.raw"));
        let mut agent = start_agent(&room, &arguments, &disk);
        wait_for("the agent to wait for its task", || {
            agent.output().contains("which booted from USB")
        });
        room.server().change(version, &job("mc=yes"));
        let _chain = room.start_chain(&STREAMS, false);
        agent.succeed();
        assert_deployed(&disk);
        let said = agent.output() + &agent.messages();
        assert!(!said.contains("s-secret"), "{SECRET} in {said}");
        assert!(room.server().is_complete());
    }
}

#[test]
fn one_machine_is_deployed_from_the_share() {
    let Some(room) = room(Version::Old) else {
        return;
    };
    room.server().change(Version::Old, &job("deployed=1"));
    room.server().script(
        "service/Pre_Stage1.php",
        [
            Reply::text("There are open slots, but 1 before me on this node."),
            Reply::text("##@GO"),
        ],
    );
    let disk = room.empty_disk("alone.raw");
    let mut agent = start_agent(&room, &job("deployed=1"), &disk);
    wait_for("the place in the queue", || {
        agent.output().contains("but 1 before me on this node")
    });
    agent.succeed();
    assert_deployed(&disk);
    assert!(room.server().is_complete());
    assert_eq!(room.server().count("service/mc_checkin.php"), 0);
}

#[test]
fn a_report_counts_when_the_body_says_so() {
    let Some(room) = room(Version::Stable) else {
        return;
    };
    room.server().script(
        "service/Post_Stage3.php",
        [
            Reply::LoginPage,
            Reply::Half("##".into()),
            Reply::text("##"),
        ],
    );
    let disk = room.empty_disk("report.raw");
    let _chain = room.start_chain(&STREAMS, false);
    start_agent(&room, &job("mc=yes"), &disk).succeed();
    assert_deployed(&disk);
    assert_eq!(room.server().count("service/Post_Stage3.php"), 3);
}

#[test]
fn a_share_without_its_mark_is_reported() {
    let Some(room) = room(Version::Next) else {
        return;
    };
    fs::remove_file(room.path("images/.mntcheck")).unwrap();
    let disk = room.patterned_disk("unmarked.raw");
    let said = failed(start_agent(&room, &job("mc=yes"), &disk));
    assert!(said.contains("has no file .mntcheck"), "{said}");
    assert_untouched(&disk);
    assert_eq!(room.server().count("service/blame.php"), 1);
}
