//! The client: PID 1 of a boot image, the worker that writes a disk, and drop-in tools.
//!
//! One binary with several names. As PID 1 (or called `init`) it runs the machine; called
//! `udp-receiver`, `udp-sender` or `partclone.restore` it is that tool; else the first argument
//! chooses.

mod applet;
mod capture;
mod cli;
mod control;
mod deploy;
mod doctor;
mod exit;
mod firmware;
mod image_dir;
mod init;
#[cfg(all(target_arch = "x86_64", any(target_env = "musl", test)))]
mod memmove;
mod memory;
mod net;
mod panics;
mod plan;
mod restore;
mod screen;
mod selftest;
mod share;
mod stay;
mod trust;
mod usage;
mod worker;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// musl's own allocator is very slow with threads.
#[global_allocator]
static ALLOCATOR: memory::Watched<mimalloc::MiMalloc> = memory::Watched(mimalloc::MiMalloc);

fn main() -> ExitCode {
    memory::watch();
    panics::end_process();
    let args: Vec<OsString> = std::env::args_os().collect();
    if std::process::id() == 1 {
        init::main();
    }
    let called = args.first().map(Path::new).and_then(Path::file_name);
    if args.len() == 1 && called.is_some_and(|name| name == "init") {
        return usage::complain("only the first process of the machine can be init");
    }
    cli::dispatch(&args)
}
