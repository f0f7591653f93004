//! `kill -9` at random moments.

use std::time::Duration;

use crate::random::{Random, rounds, seed};
use crate::world::World;
use crate::{clients, ledger};

const MACHINES: u8 = 4;

#[test]
fn a_killed_server_keeps_what_it_promised() {
    let Some(mut world) = World::new(MACHINES, &["--max-bitrate", "80m"]) else {
        return;
    };
    let mut random = Random::new(seed());
    world.start();
    world.site.cli(&["image", "add", "small"]).succeed();
    clients::start(&mut world, MACHINES, 2, &mut random);
    for round in 1..=rounds(15) {
        // No wait for anything: the moment is what is drawn.
        std::thread::sleep(Duration::from_millis(random.below(2500)));
        world.kill();
        if random.percent(30) {
            world.launch(&[]);
            std::thread::sleep(Duration::from_millis(random.below(150)));
            world.kill();
        }
        let shared = std::sync::Arc::clone(&world.shared);
        let quiet = shared.pause();
        world.start();
        let broken = world.compare(&shared.ledger.entries(), 12);
        assert!(broken.is_empty(), "round {round}: {broken:#?}");
        drop(quiet);
    }
    world.finish();
    let entries = world.shared.ledger.entries();
    let broken = world.compare(&entries, usize::MAX);
    assert!(broken.is_empty(), "at the end: {broken:#?}");
    assert_eq!(
        world.udp_ports(),
        Vec::<String>::new(),
        "all sessions are over"
    );
    let promises = world.shared.ledger.promises();
    let complete = entries
        .iter()
        .filter(|entry| entry.is_promised && matches!(entry.deed, ledger::Deed::Complete { .. }))
        .count();
    eprintln!(
        "{promises} promises kept, {complete} of them for complete machines, {} sessions",
        ledger::sessions(&entries, usize::MAX).len()
    );
    world.terminate();
}
