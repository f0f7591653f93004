//! A power cut: what the server wrote into its data directory is recorded, and written again up to a
//! random moment, without a part of what was not synced by then.

use std::fs;
use std::process::Command;
use std::time::Duration;

use fos_tests::need;

use crate::clients;
use crate::random::{Random, rounds, seed};
use crate::replay::Disk;
use crate::trace::Trace;
use crate::world::World;

const MACHINES: u8 = 4;

/// What reaches the disk, what is asked, and what is answered. Memory that is mapped is that of
/// SQLite's index, which is made anew at every start.
const CALLS: &str = "trace=openat,creat,close,write,pwrite64,writev,pwritev,ftruncate,fallocate,fsync,\
    fdatasync,sync_file_range,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,recvfrom,sendto";

#[test]
fn what_was_promised_survives_a_power_cut() {
    if !is_strace_usable() {
        return;
    }
    let Some(mut world) = World::new(MACHINES, &["--max-bitrate", "80m"]) else {
        return;
    };
    let mut random = Random::new(seed());
    // The very first start makes the directory, which is a promise too.
    fs::remove_dir_all(&world.shared.data).unwrap();
    let recording = world.site.path("trace");
    let file = recording.display().to_string();
    let strace = [
        "strace",
        "-f",
        "-ttt",
        "-y",
        "-xx",
        "-s",
        "4000000",
        "--seccomp-bpf",
        "-e",
        CALLS,
        "-o",
        &file,
    ];
    world.launch(&strace);
    world.wait_until_up();
    world.register_machines(MACHINES);
    world.site.cli(&["image", "add", "small"]).succeed();
    clients::start(&mut world, MACHINES, 2, &mut random);
    std::thread::sleep(Duration::from_secs(8));
    world.stop();
    world.kill_traced();

    let trace = Trace::read(&recording);
    let entries = world.shared.ledger.entries();
    let promised = entries.iter().filter(|entry| entry.is_promised).count();
    eprintln!("{} calls recorded, {promised} promises", trace.calls.len());
    assert!(promised > 0, "nothing was promised");
    let mut cuts: Vec<usize> = (0..rounds(12))
        .map(|_| usize::try_from(random.below(trace.calls.len() as u64)).unwrap())
        .collect();
    cuts.sort_unstable();
    let root = world.shared.data.parent().unwrap().to_owned();
    let mut disk = Disk::new(&root);
    let mut done = 0;
    for cut in cuts {
        for call in &trace.calls[done..cut] {
            disk.apply(call);
        }
        done = cut;
        let kept: Vec<_> = entries
            .iter()
            .enumerate()
            .map(|(index, entry)| {
                let mut entry = entry.clone();
                let number = index as u64 + 1;
                entry.is_promised &= trace.is_answered(number, cut, entry.at);
                entry
            })
            .collect();
        let counted = kept.iter().filter(|entry| entry.is_promised).count();
        fs::remove_dir_all(&world.shared.data).ok();
        disk.cut(&mut random);
        world.start();
        let broken = world.compare(&kept, usize::MAX);
        assert!(
            broken.is_empty(),
            "power cut before call {cut}, {counted} promises before: {broken:#?}; not synced: {}",
            disk.unsynced()
        );
        world.kill();
    }
}

/// Whether processes may be traced here.
fn is_strace_usable() -> bool {
    if !need::root_and_tools(&["strace"]) {
        return false;
    }
    let tried = Command::new("strace")
        .args(["-f", "--seccomp-bpf", "-o", "/dev/null", "true"])
        .output()
        .unwrap();
    if tried.status.success() {
        return true;
    }
    let said = String::from_utf8_lossy(&tried.stderr).into_owned();
    need::skip(&format!("strace cannot run: {}", said.trim()))
}
