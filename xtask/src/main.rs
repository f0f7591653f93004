//! `cargo xtask`: builds, packs, demonstrates and checks this workspace.
//!
//! One file for each subcommand. What several of them share: [`paths`], [`process`] (child processes
//! that never outlive us), [`programs`] (agent and server, built), [`signals`] (Ctrl-C ends a wait, not the cleaning up), [`toolchain`].

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool: printing is its job"
)]

mod axe;
mod bench;
mod ci;
mod codegen;
mod deb;
mod debian;
mod demo;
mod foreign;
mod fuzz;
mod initramfs;
mod mutants;
mod paths;
mod process;
mod programs;
mod setup;
mod signals;
mod steps;
mod test;
mod toolchain;
mod tools;

use std::process::ExitCode;

use clap::Parser;

/// Build, pack, demonstrate and check this workspace.
#[derive(Debug, Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
enum Task {
    /// Install the Debian packages that the other commands need (only what is missing; root)
    Setup(setup::Options),
    /// Build the static agent and pack it with busybox and kernel modules into an initramfs
    Initramfs(initramfs::Options),
    /// Pack what is shipped for Debian's kernels, write docs/sizes.md, and fail if a client would fetch too much
    Sizes(initramfs::sizes::Options),
    /// Build Debian's package of the server, with agent and all that makes boot files of it
    Deb(deb::Options),
    /// Deploy a real disk image by multicast to PXE booted virtual machines, and compare every byte
    Demo(demo::Options),
    /// Boot a virtual machine to a shell, and type there what FOG's wiki says
    Shell(demo::shell::Options),
    /// Make pictures of a client's screen while it is deployed to
    Screens(demo::screens::Options),
    /// Measure our programs and the originals alternately, and write docs/benchmarks.md
    Bench(bench::Options),
    /// Send many short streams through a bad network: does each arrive, and does no program hang?
    Soak(bench::soak::Options),
    /// Run every test and every check, beside each other: what must pass before a change is taken
    Test(test::Options),
    /// Build what is shipped, for the virtual machines of tests
    #[command(hide = true)]
    Shipped(test::shipped::Options),
    /// Run the checks alone: format, clippy, documentation, generated files, unused dependencies, licences, fuzzing
    /// for some minutes
    Ci(ci::Options),
    /// Run the fuzz targets, each for a while from the committed corpus
    Fuzz(fuzz::Options),
    /// Break the code that a change touches, and look whether a test notices (cargo-mutants)
    Mutants(mutants::Options),
    /// Make the generated source files afresh, or check that they are fresh
    Codegen(codegen::Options),
}

fn main() -> ExitCode {
    let task = Task::parse();
    let result = signals::install().and_then(|()| match task {
        Task::Setup(options) => setup::run(&options),
        Task::Initramfs(options) => initramfs::run(&options),
        Task::Sizes(options) => initramfs::sizes::run(&options),
        Task::Deb(options) => deb::run(&options),
        Task::Demo(options) => demo::run(&options),
        Task::Shell(options) => demo::shell::run(&options),
        Task::Screens(options) => demo::screens::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Soak(options) => bench::soak::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Shipped(options) => test::shipped::run(&options),
        Task::Ci(options) => ci::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::Mutants(options) => mutants::run(&options),
        Task::Codegen(options) => codegen::run(&options),
    });
    match (result, signals::caught()) {
        (Ok(()), None) => ExitCode::SUCCESS,
        (result, Some(signal)) => {
            if let Err(error) = result {
                eprintln!("xtask: {error:#}");
            }
            // The shell's convention for a program ended by a signal.
            ExitCode::from(u8::try_from(128 + signal).unwrap_or(u8::MAX))
        }
        (Err(error), None) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
