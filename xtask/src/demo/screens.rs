//! `cargo xtask screens`: what a client's screen looks like while it is deployed to, in pictures.
//!
//! A person looks at them. That the right characters are in the right cells is what the agent's own tests see to.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    IMAGE,
    client::{Client, Firmware},
    run_dir::RunDir,
    shell::Room,
    terminal::Monitor,
};
use crate::{paths, signals, toolchain::BuildOptions};

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Firmware: a BIOS has a screen of 80x25 characters, a UEFI one of 160x50
    #[arg(long, value_enum, default_value_t = Firmware::Bios)]
    firmware: Firmware,
    /// Let the disk fail in the middle
    #[arg(long)]
    bad_disk: bool,
    /// Directory for the pictures
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    build: BuildOptions,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut demo = super::Options::of_build(options.build.clone());
    demo.firmware = options.firmware;
    let (programs, source) = super::prepare(&demo)?;
    let mut run_dir = RunDir::new(false)?;
    // The last console is the one that the agent writes on.
    let kernel_args = "console=ttyS0 console=tty0 quiet panic=-1 no_timer_check fosshell=yes";
    let mut room = Room::open(
        &programs,
        &source,
        run_dir.path(),
        kernel_args,
        Some("60M"),
        options.firmware,
    )?;
    let mut client = Client::new(1, source.disk_len, run_dir.path())?.with_sockets(run_dir.path());
    client.is_bad = options.bad_disk;
    let host = ["host", "add", "LAB-01", &client.mac, "--image", IMAGE];
    room.server.command(&host)?;
    // It is never switched on: the first one waits for it.
    room.server
        .command(&["host", "add", "LAB-02", "52:54:00:f0:05:99"])?;
    room.server
        .command(&["deploy", IMAGE, "LAB-01", "LAB-02", "--max-wait", "15s"])?;
    let out = options
        .out
        .clone()
        .unwrap_or_else(|| paths::target().join("screens"));
    fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
    let mut machine = client.boot(&mut room.lab, options.firmware, run_dir.path())?;
    let sockets = client.sockets.as_ref().context("a machine with sockets")?;
    let mut monitor = Monitor::connect(&sockets.monitor)?;
    let begin = Instant::now();
    let mut asks_for_shell = true;
    // A machine that has failed stays.
    while begin.elapsed() < LIMIT && machine.ended()?.is_none() {
        signals::check()?;
        let seconds = begin.elapsed().as_secs();
        picture(&mut monitor, &out, seconds)?;
        if asks_for_shell && begin.elapsed() > SHELL_AT {
            asks_for_shell = false;
            for key in ["s", "ret", "l", "s", "ret"] {
                monitor.key(key)?;
            }
            std::thread::sleep(PERIOD);
            picture(&mut monitor, &out, seconds + 1)?;
            for key in ["e", "x", "i", "t", "ret"] {
                monitor.key(key)?;
            }
        }
        std::thread::sleep(PERIOD);
    }
    println!("==> the pictures are in {}", out.display());
    run_dir.succeeded();
    Ok(())
}

fn picture(monitor: &mut Monitor, out: &Path, seconds: u64) -> Result<()> {
    let file = out.join(format!("{seconds:03}.png"));
    match monitor.screenshot(&file) {
        // It ends between two pictures.
        Err(_) if !file.exists() => Ok(()),
        done => done,
    }
}

const PERIOD: Duration = Duration::from_secs(2);
/// When the machine has begun to receive.
const SHELL_AT: Duration = Duration::from_secs(50);
const LIMIT: Duration = Duration::from_secs(150);
