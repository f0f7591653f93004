//! Programs on a terminal, and hands to press keys.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::netns::{Host, wait_for};

/// A shell on a terminal of its own (the program `script`); it is killed when this is dropped.
#[derive(Debug)]
pub struct Typist {
    script: Child,
    log: PathBuf,
}

impl Typist {
    /// Runs a shell's line on a host. When it has ended, the screen shows `status` with the line's
    /// status and `TERMINAL` with the state of the terminal, in the words of `stty`. `log` takes what
    /// is on the screen.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    #[track_caller]
    pub fn start(host: &Host, line: &str, log: PathBuf) -> Self {
        Self::by(host.command("script"), line, log)
    }

    /// The same on no host but here.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    #[track_caller]
    pub fn here(line: &str, log: PathBuf) -> Self {
        Self::by(Command::new("script"), line, log)
    }

    #[track_caller]
    fn by(mut script: Command, line: &str, log: PathBuf) -> Self {
        // What an earlier one has said is not for this one.
        drop(fs::remove_file(&log));
        // The words of stty with a minus are what the terminal does not do.
        let line = format!(
            "trap : INT; {line}; echo \"status $?\"; \
             stty -a | tr ' ;' '\\n\\n' | grep -x -e icanon -e echo | sort -r | xargs echo TERMINAL"
        );
        let script = script
            .args(["-q", "-f", "-c", &line])
            .arg(&log)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { script, log }
    }

    /// What is on the screen.
    #[must_use]
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until `words` are on the screen.
    ///
    /// # Panics
    /// They do not come.
    #[track_caller]
    pub fn wait_for(&mut self, words: &str) {
        wait_for(&format!("\"{words}\" on the screen"), || {
            let screen = self.screen();
            let has_ended = self.script.try_wait().unwrap().is_some();
            let is_there = screen.contains(words);
            assert!(
                is_there || !has_ended || self.screen().contains(words),
                "\"{words}\" never came on the screen:\n{screen}"
            );
            is_there
        });
    }

    /// # Panics
    /// The terminal is gone.
    pub fn press(&mut self, keys: &str) {
        let hands = self.script.stdin.as_mut().unwrap();
        hands.write_all(keys.as_bytes()).unwrap();
        hands.flush().unwrap();
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        drop(self.script.kill());
        drop(self.script.wait());
    }
}
