//! The program of `--pipe`, between the file and the network.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A program and its arguments: the option's text, split at spaces, nothing quoted.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    text: String,
    words: Vec<OsString>,
}

/// Most words of a line, as in udpcast.
const MOST_WORDS: usize = 255;

/// The pipe program did not do its work.
#[derive(Debug, thiserror::Error)]
#[error("the pipe program \"{line}\" failed: {status}")]
pub(crate) struct Failed {
    line: String,
    pub(crate) status: ExitStatus,
}

impl Line {
    /// # Errors
    /// No program in it, or too many words.
    pub(crate) fn new(text: &OsStr) -> anyhow::Result<Self> {
        let words: Vec<OsString> = text
            .as_bytes()
            .split(|byte| *byte == b' ')
            .filter(|word| !word.is_empty())
            .map(|word| OsStr::from_bytes(word).to_owned())
            .collect();
        anyhow::ensure!(!words.is_empty(), "--pipe names no program");
        anyhow::ensure!(
            words.len() <= MOST_WORDS,
            "--pipe has more than {MOST_WORDS} words"
        );
        let text = text.to_string_lossy().into_owned();
        Ok(Self { text, words })
    }

    /// Whether there is such a program.
    ///
    /// # Errors
    /// There is none in the search path, or at the path given.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let program = &self.words[0];
        let is_path = program.as_bytes().contains(&b'/');
        let is_there = match is_path {
            true => std::path::Path::new(program).is_file(),
            false => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                path.is_empty()
                    || std::env::split_paths(&path).any(|place| place.join(program).is_file())
            }
        };
        anyhow::ensure!(
            is_there,
            "there is no pipe program {}",
            program.to_string_lossy()
        );
        Ok(())
    }

    fn start(&self, input: Stdio, output: Stdio) -> io::Result<Child> {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]).stdin(input).stdout(output);
        let child = command.spawn().map_err(|error| {
            let text = format!("starting the pipe program \"{}\": {error}", self.text);
            io::Error::new(error.kind(), text)
        })?;
        *running() = Some(pid(&child));
        Ok(child)
    }
}

/// What comes out of a program that reads a file: the stream to be sent.
#[derive(Debug)]
pub(crate) struct Filtered {
    line: Line,
    child: Child,
    output: ChildStdout,
}

impl Filtered {
    /// # Errors
    /// The program cannot be started.
    pub(crate) fn start(line: &Line, input: File) -> io::Result<Self> {
        let mut child = line.start(input.into(), Stdio::piped())?;
        let Some(output) = child.stdout.take() else {
            return Err(io::Error::other("a pipe program without output"));
        };
        let line = line.clone();
        Ok(Self {
            line,
            child,
            output,
        })
    }
}

/// The end is only the end if the program succeeded.
impl Read for Filtered {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.output.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            judge(&self.line, &mut self.child)?;
        }
        Ok(count)
    }
}

impl Drop for Filtered {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A program that takes the received stream.
#[derive(Debug)]
pub(crate) struct Filter {
    line: Line,
    child: Child,
    input: Option<ChildStdin>,
}

impl Filter {
    /// # Errors
    /// The program cannot be started.
    pub(crate) fn start(line: &Line, output: File) -> io::Result<Self> {
        let mut child = line.start(Stdio::piped(), output.into())?;
        let input = child.stdin.take();
        let line = line.clone();
        Ok(Self { line, child, input })
    }

    /// # Errors
    /// The program has closed its input; if it has also failed, how.
    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(input) = &mut self.input else {
            return Err(io::Error::other("the pipe program has been given its end"));
        };
        match input.write_all(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                // Its own reason says more, and gives the status.
                let deadline = Instant::now() + PATIENCE;
                while self.child.try_wait()?.is_none() && Instant::now() < deadline {
                    std::thread::sleep(LOOK_PERIOD);
                }
                if self.child.try_wait()?.is_some() {
                    judge(&self.line, &mut self.child)?;
                }
                Err(io::Error::other(format!(
                    "the pipe program \"{}\" ended before the stream did",
                    self.line.text
                )))
            }
            result => result,
        }
    }

    /// Tells the program that the stream is complete, and waits for it.
    ///
    /// # Errors
    /// It failed.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.input = None;
        judge(&self.line, &mut self.child)
    }
}

/// Without [`Filter::finish`] the stream is not whole: the program must not take the closed pipe for
/// its end, so it is ended first.
impl Drop for Filter {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Ends the program that runs now, when this process itself is about to end.
pub(crate) fn terminate_running() {
    if let Some(pid) = running().take() {
        // It may have ended by itself.
        kill(pid, Signal::SIGKILL).ok();
    }
}

/// The program that runs now, until it has been waited for.
static RUNNING: Mutex<Option<Pid>> = Mutex::new(None);
/// How long a program may take to end when told to.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK_PERIOD: Duration = Duration::from_millis(10);

fn running() -> std::sync::MutexGuard<'static, Option<Pid>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn pid(child: &Child) -> Pid {
    // The kernel's numbers are positive and fit.
    Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX))
}

fn judge(line: &Line, child: &mut Child) -> io::Result<()> {
    let status = child.wait()?;
    *running() = None;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other(Failed {
            line: line.text.clone(),
            status,
        })),
    }
}

/// Asks first, then insists.
fn end(child: &mut Child) {
    let deadline = Instant::now() + PATIENCE;
    if matches!(child.try_wait(), Ok(None)) {
        kill(pid(child), Signal::SIGTERM).ok();
    }
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() >= deadline {
            drop(child.kill());
            drop(child.wait());
        }
        std::thread::sleep(LOOK_PERIOD);
    }
    let mut running = running();
    if *running == Some(pid(child)) {
        *running = None;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Seek;

    use super::*;

    fn line(text: &str) -> Line {
        Line::new(OsStr::new(text)).unwrap()
    }

    fn file(content: &str) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        file.rewind().unwrap();
        file
    }

    #[test]
    fn a_line_is_split_at_spaces_only() {
        assert_eq!(
            line("  tr  'a b' x ").words,
            ["tr", "'a", "b'", "x"].map(OsString::from)
        );
        Line::new(OsStr::new("   ")).unwrap_err();
        Line::new(OsStr::new(&"x ".repeat(256))).unwrap_err();
    }

    #[test]
    fn a_missing_program_is_noticed_before_it_is_needed() {
        line("cat").check().unwrap();
        line("there-is-no-such-program").check().unwrap_err();
        line("/there/is/no/such/program").check().unwrap_err();
    }

    #[test]
    fn what_a_program_makes_of_the_file_is_sent() {
        let mut sent = String::new();
        let mut source = Filtered::start(&line("tr a-z A-Z"), file("small")).unwrap();
        source.read_to_string(&mut sent).unwrap();
        assert_eq!(sent, "SMALL");
    }

    #[test]
    fn a_failed_program_is_no_end_of_the_stream() {
        let mut source = Filtered::start(&line("false"), file("")).unwrap();
        let error = source.read(&mut [0; 10]).unwrap_err();
        assert!(error.to_string().contains("\"false\" failed"), "{error}");
    }

    #[test]
    fn a_program_that_ends_early_or_fails_is_told() {
        let mut filter = Filter::start(&line("false"), file("")).unwrap();
        let error = std::iter::repeat_with(|| filter.write_all(&[0; 65536]))
            .find_map(Result::err)
            .unwrap();
        assert!(
            error.get_ref().is_some_and(|inner| inner.is::<Failed>()),
            "{error}"
        );
        let mut filter = Filter::start(&line("true"), file("")).unwrap();
        let error = std::iter::repeat_with(|| filter.write_all(&[0; 65536]))
            .find_map(Result::err)
            .unwrap();
        assert!(error.to_string().contains("before the stream"), "{error}");
    }
}
