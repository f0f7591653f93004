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
    let output = Command::new("bash")
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
