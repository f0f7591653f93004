//! The sessions on a terminal of the server's machine, as FOG's service shows its own.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::OFlag;

use crate::api::{Api as _, ServerStatus};
use crate::clock;
use crate::logs::{Level, Subject};
use crate::ops::Ops;
use crate::output;

/// Shows the sessions there for as long as it runs. A terminal that takes nothing, or that does not exist, keeps
/// nothing else from its work.
pub async fn show(ops: Arc<Ops>, device: PathBuf) {
    let mut shown = String::new();
    loop {
        let text = match ops.status(None).await {
            Ok(status) => page(&status),
            Err(error) => output::harmless(&format!("{error}\n")).into_owned(),
        };
        if text != shown {
            let (to, page) = (device.clone(), text.clone());
            let written = tokio::task::spawn_blocking(move || write(&to, &page)).await;
            match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok(()) => shown = text,
                Err(error) => {
                    let line = format!(
                        "the sessions cannot be shown on {}: {error}",
                        device.display()
                    );
                    ops.log().repeated(
                        clock::now(),
                        Level::Warn,
                        &Subject::Server,
                        "the sessions cannot be shown on the terminal",
                        &line,
                    );
                }
            }
        }
        tokio::time::sleep(PERIOD).await;
    }
}

const PERIOD: Duration = Duration::from_secs(2);

/// Lines that fit a terminal of 80x25.
const MOST_LINES: usize = 23;
const MOST_COLUMNS: usize = 79;

/// The active sessions, else the last one, and when this was so.
fn page(status: &ServerStatus) -> String {
    let active = status.sessions.iter().filter(|one| one.state.is_active());
    let mut sessions: Vec<_> = active.collect();
    if sessions.is_empty() {
        sessions.extend(status.sessions.first());
    }
    let mut lines = vec![format!("fos-server {}, {} UTC", status.version, status.now)];
    if sessions.is_empty() {
        lines.push("no sessions".to_owned());
    }
    for session in sessions {
        let line = format!(
            "session {} ({}): {}",
            session.session, session.image, session.text
        );
        lines.extend(wrapped(&line));
    }
    if lines.len() > MOST_LINES {
        lines.truncate(MOST_LINES - 1);
        lines.push("and more: fos-server status".to_owned());
    }
    output::harmless(&lines.join("\n")).into_owned()
}

/// The line in pieces that fit, the further ones indented.
fn wrapped(line: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        match lines.last_mut() {
            Some(last) if last.chars().count() + 1 + word.chars().count() <= MOST_COLUMNS => {
                last.push(' ');
                last.push_str(word);
            }
            Some(_) => lines.push(format!("    {word}")),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// From the top left, in place of what is there. Without waiting: somebody may have stopped the terminal.
fn write(device: &Path, page: &str) -> io::Result<()> {
    let mut terminal = open(device)?;
    let lines = page.replace('\n', "\r\n");
    terminal.write_all(format!("\x1b[H\x1b[2J{lines}").as_bytes())
}

fn open(device: &Path) -> io::Result<File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    OpenOptions::new()
        .write(true)
        .custom_flags(flags.bits())
        .open(device)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use nix::pty::openpty;

    use super::*;
    use crate::testing::{bench, wait_for};

    #[tokio::test]
    async fn the_sessions_are_shown_and_no_name_commands_the_terminal() {
        let bench = bench().await;
        let status = bench.status(None).await;
        assert!(page(&status).ends_with("no sessions"), "{}", page(&status));
        let id = bench.deploy(&[1, 2]).await;
        let mut status = bench.status(None).await;
        let shown = page(&status);
        assert!(shown.contains(&format!("session {}", id.0)), "{shown}");
        assert!(
            shown.lines().all(|line| line.chars().count() <= 80),
            "{shown}"
        );
        let mut odd = status.sessions[0].clone();
        odd.text = "\u{1b}[31m".repeat(2000);
        status.sessions = vec![odd; 30];
        let shown = page(&status);
        assert_eq!(shown.lines().count(), MOST_LINES);
        assert!(!shown.contains('\u{1b}'));
    }

    #[tokio::test]
    async fn a_terminal_shows_what_is_new() {
        let bench = bench().await;
        let pair = openpty(None, None).unwrap();
        let device = nix::unistd::ttyname(&pair.slave).unwrap();
        let task = tokio::spawn(show(Arc::clone(&bench.ops), device));
        let (sent, received) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut terminal = File::from(pair.master);
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = terminal.read(&mut buffer) {
                if sent.send(buffer[..read].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut seen = Vec::new();
        let mut saw = |text: &str| {
            seen.extend(received.try_iter().flatten());
            String::from_utf8_lossy(&seen).contains(text)
        };
        wait_for("the empty page", async || saw("no sessions").then_some(())).await;
        bench.deploy(&[1]).await;
        wait_for("the session", async || saw("session 1 (").then_some(())).await;
        task.abort();
        drop(pair.slave);
    }

    #[test]
    fn what_is_no_terminal_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(write(&dir.path().join("none"), "x").is_err());
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // Nobody reads it: no wait.
        assert!(write(&fifo, "x").is_err());
    }
}
