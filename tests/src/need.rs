//! What a test needs of the machine. What is missing is told, never passed over in silence.

use std::path::Path;
use std::process::Command;

/// Whether this process is root and all `tools` are installed; prints the reason when not.
///
/// # Panics
/// Something is missing and `FOS_TEST_REQUIRE_ALL` is set: then nothing may be skipped.
#[track_caller]
#[must_use]
pub fn root_and_tools(tools: &[&str]) -> bool {
    if !is_root() {
        return skip("needs root, for network namespaces and devices");
    }
    match tools.iter().find(|tool| !is_installed(tool)) {
        Some(missing) => skip(&format!("needs the program {missing}")),
        None => true,
    }
}

/// Prints why the calling test does not run; answers false.
///
/// # Panics
/// `FOS_TEST_REQUIRE_ALL` is set.
#[expect(
    clippy::print_stderr,
    reason = "the reason is for whoever runs the tests"
)]
#[track_caller]
#[must_use]
pub fn skip(reason: &str) -> bool {
    let is_strict = std::env::var_os("FOS_TEST_REQUIRE_ALL").is_some_and(|value| value != "0");
    assert!(!is_strict, "nothing may be skipped here: {reason}");
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    eprintln!("SKIPPED {test}: {reason}");
    false
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Looks where root's programs are too, whatever `PATH` says.
fn is_installed(tool: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    let places = path
        .split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"]);
    places
        .into_iter()
        .any(|place| Path::new(place).join(tool).is_file())
}
