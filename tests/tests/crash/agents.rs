//! `kill -9` in the middle of a stream, with real agents and a real image.

use std::time::Duration;

use fos_tests::netns::{Running, wait_for};
use fos_tests::site::{DISK_LEN, assert_deployed};

use crate::random::{Random, rounds, seed};
use crate::world::World;

#[test]
fn a_session_goes_on_when_its_server_is_killed_in_mid_stream() {
    let Some(mut world) = World::new(2, &["--max-bitrate", "40m"]) else {
        return;
    };
    let mut random = Random::new(seed());
    world.start();
    world.site.cli(&["image", "add", "small"]).succeed();
    for round in 1..=rounds(3) {
        let session = world.site.deploy(&["pc1", "pc2"], &[]);
        let disks = [1, 2].map(|pc| {
            world
                .site
                .empty_disk(&format!("{round}-{pc}.raw"), DISK_LEN)
        });
        let mut agents: Vec<Running> = (1..)
            .zip(&disks)
            .map(|(pc, disk)| world.site.start_agent(pc, disk))
            .collect();
        let shared = std::sync::Arc::clone(&world.shared);
        let number: i64 = session.parse().unwrap();
        wait_for("data to flow", || {
            let status = shared.asked(&format!("/sessions/{number}"));
            let session = &status["sessions"][0];
            session["stream"]["acked"].as_u64() > Some(0) || session["state"] == "complete"
        });
        // The moment is what is drawn: in a stream, between two, after the last.
        std::thread::sleep(Duration::from_millis(random.below(2500)));
        world.kill();
        world.start();
        for (agent, disk) in agents.iter_mut().zip(&disks) {
            agent.succeed();
            assert_deployed(disk);
            std::fs::remove_file(disk).unwrap();
        }
        world.site.wait_for_state(&session, "complete");
        eprintln!("round {round}: both disks are right");
    }
    world.terminate();
}
