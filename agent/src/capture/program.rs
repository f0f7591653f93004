//! partclone's programs, which read file systems: started, followed, and judged when they end.

use std::io::{self, Read};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use capture::FileSystem;
use imaging::{PIECE_LEN, Piece, Pieces};
use nix::fcntl::{FcntlArg, fcntl};
use readable::Time;

use crate::deploy::{Ending, HANGS_AFTER, Said, Tools, Waiting, attend_reading};

/// A program that writes an image to its standard output.
pub(super) struct Cloning {
    program: &'static str,
    /// Until nobody wants more of it.
    output: Option<ChildStdout>,
    said: Arc<Said>,
    /// Ends it.
    ending: Ending,
    /// It rests while the image is waited for elsewhere.
    waiting: Waiting,
    /// Reads what it says, and waits for its end.
    listener: Option<JoinHandle<io::Result<Result<ExitStatus, Duration>>>>,
}

impl Cloning {
    /// Starts the program of a file system on a partition that is shown at `path`.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn start(tools: &Tools, kind: FileSystem, path: &Path) -> anyhow::Result<Self> {
        Self::start_for(HANGS_AFTER, tools, kind, path)
    }

    /// It is ended when it is waited for, and has shown no sign of work for so long.
    fn start_for(
        limit: Duration,
        tools: &Tools,
        kind: FileSystem,
        path: &Path,
    ) -> anyhow::Result<Self> {
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
        let (ending, waiting) = (Ending::default(), Waiting::default());
        let listener = {
            let (said, ending, waiting) = (Arc::clone(&said), ending.clone(), waiting.clone());
            let listen = move || {
                let work = || said.read(&mut errors);
                let attended = attend_reading(limit, &ending, &waiting, child, work)?;
                Ok(attended.map(|((), status)| status))
            };
            std::thread::Builder::new()
                .name("listener".into())
                .spawn(listen)
                .context("starting a thread")?
        };
        Ok(Self {
            program,
            output: Some(output),
            said,
            ending,
            waiting,
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
        self.waiting.begin();
        let program = self.program;
        let listener = self.listener.take();
        let listener = listener.context("it was waited for already")?;
        let ended = listener.join();
        let ended = ended.map_err(|_| anyhow!("the thread that hears {program} has panicked"))?;
        let words = self.said.words();
        match ended.with_context(|| format!("waiting for {program}"))? {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => bail!("{program} failed ({status}): {words}"),
            Err(silent) => bail!(
                "{program} has shown no sign of work for {}, and was ended: {words}",
                Time(silent)
            ),
        }
    }
}

impl Read for Cloning {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(output) = &mut self.output else {
            return Ok(0);
        };
        self.waiting.begin();
        let read = output.read(buffer);
        self.waiting.end();
        read
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
        if let Some(listener) = self.listener.take() {
            // Nothing else is given up with it.
            let _is_given_up = self.ending.give_up();
            drop(listener.join());
        }
    }
}

/// Bytes that a program may be ahead of its reader.
const PIPE_LEN: i32 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Programs that stand in for the real ones.
    fn tools(dir: &Path, script: &str) -> Tools {
        use std::os::unix::fs::PermissionsExt as _;

        let path = dir.join(FileSystem::Ext.program());
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Tools::with(dir)
    }

    #[test]
    fn a_program_that_shows_no_sign_of_work_is_ended_and_named() {
        let dir = tempfile::tempdir().unwrap();
        let tools = tools(dir.path(), "echo image; echo so far >&2; sleep infinity");
        let limit = Duration::from_millis(20);
        let mut cloning = Cloning::start_for(limit, &tools, FileSystem::Ext, dir.path()).unwrap();
        let mut image = Vec::new();
        cloning.read_to_end(&mut image).unwrap();
        assert_eq!(image, b"image\n");
        let error = format!("{:#}", cloning.confirm().unwrap_err());
        assert!(
            error.contains("no sign of work") && error.contains("so far"),
            "{error}"
        );
    }

    #[test]
    fn a_program_that_nobody_wants_more_of_goes_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let tools = tools(dir.path(), "sleep infinity & echo $!; wait");
        let mut cloning = Cloning::start(&tools, FileSystem::Ext, dir.path()).unwrap();
        let mut line = [0; 64];
        let count = cloning.read(&mut line).unwrap();
        let child = String::from_utf8_lossy(&line[..count]).trim().to_owned();
        drop(cloning);
        // Whoever reaps it may do that later.
        let is_gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat"));
            stat.map_or(true, |stat| stat.contains(") Z "))
        };
        let begin = std::time::Instant::now();
        while !is_gone() {
            assert!(begin.elapsed() < Duration::from_secs(60), "{child} goes on");
            std::thread::yield_now();
        }
    }
}
