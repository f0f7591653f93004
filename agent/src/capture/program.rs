//! partclone's programs, which read file systems: started, followed, and judged when they end.

use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, bail};
use capture::FileSystem;
use imaging::{PIECE_LEN, Piece, Pieces};
use nix::fcntl::{FcntlArg, fcntl};

use crate::deploy::{Said, Tools};

/// A program that writes an image to its standard output.
pub(super) struct Cloning {
    program: &'static str,
    child: Child,
    /// Until nobody wants more of it.
    output: Option<ChildStdout>,
    said: Arc<Said>,
    /// Reads what it says.
    listener: Option<JoinHandle<()>>,
}

impl Cloning {
    /// Starts the program of a file system on a partition that is shown at `path`.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(tools: &Tools, kind: FileSystem, path: &Path) -> anyhow::Result<Self> {
        let program = kind.program();
        let found = tools.find(program);
        let found = found.with_context(|| format!("there is no program {program}"))?;
        let mut command = Command::new(found);
        command
            // No checksums, as FOG's images have it: the compression has its own, and servers hash.
            .args(["-c", "-a", "0", "-q", "-L", "/dev/null", "-O", "-", "-s"])
            .arg(path)
            .env("LC_ALL", "C")
            .env("TERM", "dumb")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("starting {program}"))?;
        let (Some(output), Some(mut errors)) = (child.stdout.take(), child.stderr.take()) else {
            bail!("{program} was started without its pipes");
        };
        // The usual 64 KiB let both ends wait for each other more often. It is no matter if that is refused.
        fcntl(&output, FcntlArg::F_SETPIPE_SZ(PIPE_LEN)).unwrap_or_default();
        let said = Arc::new(Said::default());
        let listener = {
            let said = Arc::clone(&said);
            std::thread::Builder::new()
                .name("listener".into())
                .spawn(move || said.read(&mut errors))
                .context("starting a thread")?
        };
        Ok(Self {
            program,
            child,
            output: Some(output),
            said,
            listener: Some(listener),
        })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It was not content, with the last that it said.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        // One that nobody listens to would wait for ever.
        self.output = None;
        let status = self.child.wait();
        let status = status.with_context(|| format!("waiting for {}", self.program))?;
        self.hear_out();
        if status.success() {
            return Ok(());
        }
        bail!("{}", self.failure(status))
    }

    /// What to say of a failure of it, whatever was noticed of that first.
    fn failure(&self, status: ExitStatus) -> String {
        format!("{} failed ({status}): {}", self.program, self.said.words())
    }

    fn hear_out(&mut self) {
        if let Some(listener) = self.listener.take() {
            // It does nothing that could panic.
            listener.join().unwrap_or_default();
        }
    }
}

impl Read for Cloning {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.output
            .as_mut()
            .map_or(Ok(0), |output| output.read(buffer))
    }
}

impl Pieces for Cloning {
    fn next(&mut self, spare: Vec<u8>) -> io::Result<Piece> {
        Piece::read(self, spare, PIECE_LEN)
    }

    fn confirm(self) -> anyhow::Result<()> {
        self.finish()
    }
}

impl Drop for Cloning {
    fn drop(&mut self) {
        // One that has ended is not killed again: it is not reaped before this.
        drop(self.child.kill());
        drop(self.child.wait());
        self.hear_out();
    }
}

/// Bytes that a program may be ahead of its reader.
const PIPE_LEN: i32 = 1 << 20;
