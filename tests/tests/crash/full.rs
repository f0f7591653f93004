//! The disk of the database is full while machines work, and has room again later.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fos_tests::netns::wait_for;

use crate::clients;
use crate::random::{Random, seed};
use crate::world::World;

const MACHINES: u8 = 4;

#[test]
fn a_full_disk_promises_nothing_and_loses_nothing() {
    let Some(mut world) = World::new(MACHINES, &["--max-bitrate", "80m"]) else {
        return;
    };
    let mut random = Random::new(seed());
    let data = world.shared.data.clone();
    fs::remove_dir_all(&data).unwrap();
    fs::create_dir(&data).unwrap();
    let _small = SmallDisk::at(&data);
    world.start();
    world.register_machines(MACHINES);
    world.site.cli(&["image", "add", "small"]).succeed();
    clients::start(&mut world, MACHINES, 2, &mut random);
    let shared = Arc::clone(&world.shared);
    for is_killed in [false, true] {
        let before = shared.ledger.promises();
        wait_for("some promises", || shared.ledger.promises() > before + 4);
        let refused = shared.ledger.refused();
        let filler = data.join("filler");
        let mut file = File::create(&filler).unwrap();
        wait_for("a refusal, as nothing can be stored", || {
            fill(&mut file);
            shared.ledger.refused() > refused
        });
        wait_for("status to say why", || {
            fill(&mut file);
            let status = shared.asked("/sessions");
            let sessions = status["sessions"].as_array().unwrap().iter();
            let mut texts = sessions.map(|session| session["text"].as_str().unwrap());
            texts.any(|text| text.contains("full"))
        });
        drop(file);
        // What was promised while it was full counts as much as anything else.
        let quiet = shared.pause();
        if is_killed {
            world.kill();
        }
        fs::remove_file(&filler).unwrap();
        if is_killed {
            world.start();
        }
        let broken = world.compare(&shared.ledger.entries(), 12);
        assert!(broken.is_empty(), "{broken:#?}");
        drop(quiet);
    }
    world.finish();
    let broken = world.compare(&shared.ledger.entries(), usize::MAX);
    assert!(broken.is_empty(), "at the end: {broken:#?}");
    world.terminate();
}

/// Takes all the room that there is at this moment.
fn fill(file: &mut File) {
    for len in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![1; len]).is_ok() {}
    }
}

/// A file system of 8 MiB, in memory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(path: &Path) -> Self {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(path)
            .status();
        assert!(mounted.unwrap().success());
        Self(path.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The server may use it until the world is gone, a moment later.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}
