//! Scripts of the original programs.

use std::path::Path;
use std::process::Command;

use crate::site::search_path;

/// Output of a script of `bash`, run in a directory.
///
/// # Panics
/// It fails.
#[track_caller]
pub fn sh(directory: &Path, script: &str) -> String {
    run(directory, Command::new("bash"), script)
}

/// The same by root, in a mount namespace of its own: its mounts are gone with it, and no process that another test
/// starts meanwhile in a namespace takes them along and keeps them.
///
/// # Panics
/// It fails.
#[track_caller]
pub fn sh_with_mounts(directory: &Path, script: &str) -> String {
    let mut command = Command::new("unshare");
    command.args(["--mount", "bash"]);
    run(directory, command, script)
}

#[track_caller]
fn run(directory: &Path, mut bash: Command, script: &str) -> String {
    let output = bash
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(directory)
        .env("PATH", search_path())
        .env("TERM", "xterm")
        .output()
        .expect("bash starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
    String::from_utf8(output.stdout).expect("a script prints text")
}
