//! Sessions that come by themselves and sessions that are joined, with the real server, real agents and the original
//! receiver.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use fos_tests::netns::wait_for;
use fos_tests::site::{DISK_LEN, Site, assert_deployed, mac};

/// The number of the session that follows this one.
fn follower(site: &Site, session: &str) -> String {
    let mut next = None;
    wait_for("a session that follows", || {
        next = site.status(session)["followed_by"].as_i64();
        next.is_some()
    });
    next.unwrap().to_string()
}

/// One host is killed in mid-stream, another one is switched on too late; the server is killed between the end of the
/// session and what follows it.
#[test]
fn who_was_dropped_and_who_came_late_are_deployed_together_after_the_session() {
    let Some(mut site) = Site::without_image(3) else {
        return;
    };
    let options = [
        "--max-bitrate",
        "20m",
        "--drop-after",
        "2",
        "--grace",
        "5",
        "--follow-ups",
        "1",
    ];
    site.start_server_with(&options);
    site.cli(&["image", "add", "small"]).succeed();
    let session = site.deploy(&["pc1", "pc2", "pc3"], &["--max-wait", "2"]);
    let disks = ["a.raw", "b.raw", "c.raw"].map(|name| site.empty_disk(name, DISK_LEN));
    let mut survivor = site.start_agent(1, &disks[0]);
    let mut victim = site.start_agent(2, &disks[1]);
    site.wait_for_data(&session, 1, 1);
    victim.kill();
    let path = format!("service/ipxe/boot.php?mac0={}&arch=x86_64", mac(3));
    let script = site.get(4, &path).unwrap();
    assert!(script.contains("Another session follows"), "{script}");
    survivor.succeed();
    assert_deployed(&disks[0]);
    site.wait_for_state(&session, "failed");
    site.server().kill();
    site.start_server_with(&options);

    let next = follower(&site, &session);
    let status = site.status(&next);
    assert_eq!(status["follows"].to_string(), session, "{status}");
    let hosts = status["hosts"].as_array().unwrap();
    let names: Vec<_> = hosts
        .iter()
        .map(|host| host["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["pc2", "pc3"]);
    let mut agents = [
        site.start_agent(2, &disks[1]),
        site.start_agent(3, &disks[2]),
    ];
    for (agent, disk) in agents.iter_mut().zip(&disks[1..]) {
        agent.succeed();
        assert_deployed(disk);
    }
    site.wait_for_state(&next, "complete");
    let report = site.report(&next);
    assert!(
        report.contains(&format!("follows session {session}")),
        "{report}"
    );
}

/// One agent and one client of FOG type the name; the data go to a group of its own, in half duplex.
#[test]
fn an_agent_and_a_stock_client_join_a_session_by_its_name() {
    let Some(mut site) = Site::without_image(2) else {
        return;
    };
    site.start_server_with(&["--multicast-address", "239.77.1.0", "--duplex", "half"]);
    site.cli(&["image", "add", "small"]).succeed();
    let line = ["deploy", "small", "--join", "2", "--name", "room101"];
    let session = site.cli(&line).succeed().trim().to_owned();
    let join = |client: u8, name: &str| {
        let path = format!(
            "service/ipxe/boot.php?mac0={}&arch=x86_64&sessionJoin=1&sessname={name}",
            mac(client)
        );
        site.get(usize::from(client) + 1, &path).unwrap()
    };
    let wrong = join(1, "room102");
    assert!(wrong.contains("There are: room101"), "{wrong}");
    assert!(join(1, "room101").contains("kernel bzImage"));
    let disk = site.empty_disk("a.raw", DISK_LEN);
    let mut agent = site.start_agent(1, &disk);
    wait_for("the first one to wait", || {
        site.status(&session)["connected"] == 1
    });
    assert!(join(2, "room101").contains("kernel bzImage"));
    let mut stock = site.start_stock_client(2);
    agent.succeed();
    assert_deployed(&disk);
    stock.succeed();
    site.wait_for_state(&session, "complete");
    let logs = site.logs();
    assert!(logs.contains("group 239.77.1.1"), "{logs}");
}
