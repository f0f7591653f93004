//! Working at a virtual machine: typing on its serial line, and pictures of its screen.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::signals::wait_for;

/// The other end of a serial line.
#[derive(Debug)]
pub(crate) struct Terminal {
    stream: UnixStream,
    seen: Vec<u8>,
    /// What was expected so far ends here.
    past: usize,
    commands: u32,
}

/// What a command on the other end came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) output: String,
    pub(crate) status: i32,
}

impl Terminal {
    /// Waits for the socket of a machine that has just been switched on.
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let stream = wait_for("QEMU's serial line", SHORT, || {
            Ok(UnixStream::connect(socket).ok())
        })?;
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream,
            seen: Vec::new(),
            past: 0,
            commands: 0,
        })
    }

    /// Waits until the other end shows `text` after whatever was waited for before; answers what came
    /// in between.
    pub(crate) fn expect(&mut self, text: &str, limit: Duration) -> Result<String> {
        let what = format!("{text:?} on the serial line");
        let found = wait_for(&what, limit, || {
            self.read()?;
            Ok(find(&self.seen[self.past..], text.as_bytes()))
        });
        let at = found.with_context(|| {
            let rest = String::from_utf8_lossy(&self.seen[self.past..]);
            format!("after {text:?} was expected there was:\n{rest}")
        })?;
        let between = &self.seen[self.past..self.past + at];
        let between = String::from_utf8_lossy(between).into_owned();
        self.past += at + text.len();
        Ok(between)
    }

    fn read(&mut self) -> Result<()> {
        let mut piece = [0; 4096];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => bail!("the machine is gone"),
                Ok(len) => self.seen.extend(&piece[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("reading the serial line"),
            }
        }
    }

    pub(crate) fn press(&mut self, keys: &str) -> Result<()> {
        let mut left = keys.as_bytes();
        wait_for("the serial line to take keys", SHORT, || {
            match self.stream.write(left) {
                Ok(len) => left = &left[len..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("typing on the serial line"),
            }
            Ok(left.is_empty().then_some(()))
        })
    }

    /// Types a line at a shell's prompt and waits until it has run and the next prompt is there.
    pub(crate) fn command(&mut self, line: &str, limit: Duration) -> Result<Ran> {
        self.commands += 1;
        // What the shell shows of the line itself has the sum, not its result.
        let number = self.commands;
        self.press(&format!("{line}; echo \"END $((1000+{number})) $?.\"\n"))?;
        let output = self.expect(&format!("END {} ", 1000 + number), limit)?;
        let status = self.expect(".", SHORT)?;
        self.expect(PROMPT, SHORT)?;
        Ok(Ran {
            output,
            status: status.trim().parse().context("the status of a command")?,
        })
    }

    /// The same for a line that must succeed.
    pub(crate) fn succeed(&mut self, line: &str, limit: Duration) -> Result<String> {
        let ran = self.command(line, limit)?;
        if ran.status != 0 {
            bail!("`{line}` ended with {}:\n{}", ran.status, ran.output);
        }
        Ok(ran.output)
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|part| part == wanted)
}

/// QEMU's monitor, which is worked with in lines.
#[derive(Debug)]
pub(crate) struct Monitor(UnixStream);

impl Monitor {
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let stream = wait_for("QEMU's monitor", SHORT, || {
            Ok(UnixStream::connect(socket).ok())
        })?;
        stream.set_read_timeout(Some(SHORT))?;
        let mut monitor = Self(stream);
        monitor.wait_for_prompt()?;
        Ok(monitor)
    }

    /// Writes a picture of the screen.
    pub(crate) fn screenshot(&mut self, file: &Path) -> Result<()> {
        self.command(&format!("screendump {} -f png", file.display()))
    }

    /// Presses and releases a key, by QEMU's name.
    pub(crate) fn key(&mut self, name: &str) -> Result<()> {
        self.command(&format!("sendkey {name}"))
    }

    fn command(&mut self, line: &str) -> Result<()> {
        self.0.write_all(line.as_bytes())?;
        self.0.write_all(b"\n")?;
        self.wait_for_prompt()
    }

    fn wait_for_prompt(&mut self) -> Result<()> {
        let mut said = Vec::new();
        let mut byte = [0];
        while !said.ends_with(b"(qemu) ") {
            if self.0.read(&mut byte).context("reading QEMU's monitor")? == 0 {
                bail!("QEMU has closed its monitor");
            }
            said.push(byte[0]);
        }
        Ok(())
    }
}

/// The end of the shell's prompt for root.
pub(crate) const PROMPT: &str = "# ";
/// For what takes no time.
const SHORT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_what_the_other_end_makes_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("serial");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let shell = std::thread::spawn(move || {
            let (mut line, _) = listener.accept().unwrap();
            let mut typed = [0; 4096];
            let len = line.read(&mut typed).unwrap();
            // It shows what is typed, as a terminal does.
            line.write_all(&typed[..len]).unwrap();
            line.write_all(b"\r\nno such file\r\nEND 1001 1.\r\n# ")
                .unwrap();
            line
        });
        let mut terminal = Terminal::connect(&socket).unwrap();
        let ran = terminal.command("ls /x", SHORT).unwrap();
        assert_eq!(ran.status, 1);
        assert!(ran.output.ends_with("\r\nno such file\r\n"), "{ran:?}");
        drop(shell.join().unwrap());
        let gone = terminal.expect("more", SHORT).unwrap_err();
        assert!(format!("{gone:#}").contains("the machine is gone"));
    }
}
