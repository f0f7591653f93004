//! The agent as the first process, in namespaces of its own.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use fos_tests::need;
use fos_tests::site::program;

/// The kernel ends a PID namespace whose first process reboots with SIGHUP, on power-off and halt
/// with SIGINT (reboot(2)); by itself the agent would reboot here.
#[test]
fn poweroff_and_reboot_are_obeyed() {
    if !need::root_and_tools(&["unshare", "pgrep"]) {
        return;
    }
    for (signal, expected) in [("TERM", 1), ("USR2", 2), ("USR1", 2)] {
        let mut outside = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child"])
            .arg(program("fos-agent"))
            .env_clear()
            .env("PATH", fos_tests::site::search_path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // There is no /init in this root, so it cannot go on, and says so when it is at work.
        let mut lines = BufReader::new(outside.stdout.take().unwrap()).lines();
        let said = lines.by_ref().map(Result::unwrap);
        let mut heard = Vec::new();
        for line in said {
            let is_ready = line.starts_with("FAILED: ");
            heard.push(line);
            if is_ready {
                break;
            }
        }
        assert!(
            heard.last().is_some_and(|line| line.contains("/init")),
            "{heard:?}"
        );
        let child = Command::new("pgrep")
            .args(["-P", &outside.id().to_string()])
            .output()
            .unwrap();
        let child = String::from_utf8(child.stdout).unwrap();
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), child.trim()])
            .status()
            .unwrap();
        assert!(sent.success());
        drop(lines);
        let status = outside.wait().unwrap();
        // `unshare` dies of the signal that its child died of.
        assert_eq!(status.signal(), Some(expected), "{signal}: {status}");
    }
}
