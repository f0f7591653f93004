//! Child processes: each in a process group of its own, described in words when it fails, and gone
//! with everything it started when its guard is dropped.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{Read as _, Seek as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};

use crate::signals;

/// A command to be run. Standard input is empty.
#[derive(Clone, Debug)]
pub(crate) struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    dir: Option<PathBuf>,
}

impl Cmd {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            dir: None,
        }
    }

    /// The cargo that runs us.
    pub(crate) fn cargo() -> Self {
        let cargo = Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .dir(crate::paths::root());
        // `cargo run` sets them for us. To build scripts that look at them (ring's does) they would be a
        // change, and what depends on those scripts would be compiled once more.
        std::env::vars_os()
            .filter(|(name, _)| {
                let name = name.to_string_lossy();
                name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
            })
            .fold(cargo, |cargo, (name, _)| cargo.without_env(name))
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    pub(crate) fn without_env(mut self, name: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), None));
        self
    }

    pub(crate) fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// The same command, started in the network namespace `name`.
    pub(crate) fn in_namespace(self, name: &str) -> Self {
        self.started_by("ip", &["netns", "exec", name])
    }

    /// The same command, which gets the processors only when nothing else wants them.
    pub(crate) fn in_background(self) -> Self {
        self.started_by("nice", &["-n", "19"])
    }

    fn started_by(mut self, program: &str, args: &[&str]) -> Self {
        let started = std::mem::replace(&mut self.program, program.into());
        let mut args: Vec<OsString> = args.iter().map(Into::into).collect();
        args.push(started);
        args.append(&mut self.args);
        self.args = args;
        self
    }

    /// Runs it to its end, with its output on ours.
    ///
    /// # Errors
    ///
    /// It cannot be started, does not end with 0, or a signal tells us to end.
    pub(crate) fn run(self) -> Result<()> {
        self.begin()?.finish()
    }

    /// Like [`Cmd::run`], but a signal to us does not end it: for what must not be left half done. `what` is
    /// waited for then, and completes "waiting until ".
    ///
    /// # Errors
    ///
    /// It cannot be started, does not end with 0, or a signal has told us to end meanwhile.
    pub(crate) fn run_whole(self, what: &str) -> Result<()> {
        let is_told_to_end = || signals::caught().is_some();
        self.begin()?.finish_whole(what, is_told_to_end)?;
        signals::check()
    }

    /// Starts it, with its output on ours, for [`Running::finish`].
    pub(crate) fn begin(self) -> Result<Running> {
        let mut running = self.start(&mut self.command())?;
        running.label = format!("`{self}`");
        Ok(running)
    }

    /// Runs it to its end; its standard output is the answer, both outputs are shown if it fails.
    pub(crate) fn output(self) -> Result<String> {
        let (status, output, errors) = self.capture()?;
        if !status.success() {
            bail!(
                "`{self}` failed: {status}\n{}{}",
                output.trim_start(),
                errors
            );
        }
        Ok(output)
    }

    /// Runs it to its end with its messages on ours; its standard output is the answer.
    pub(crate) fn output_beside_messages(self) -> Result<String> {
        let mut output = tempfile::tempfile().context("making a temporary file")?;
        let mut command = self.command();
        command.stdout(output.try_clone()?);
        let mut running = self.start(&mut command)?;
        running.label = format!("`{self}`");
        running.finish()?;
        let mut text = String::new();
        output.rewind()?;
        output.read_to_string(&mut text)?;
        Ok(text)
    }

    /// Like [`Cmd::output`] for a command whose output matters only when it fails.
    pub(crate) fn quiet(self) -> Result<()> {
        self.output().map(drop)
    }

    /// Runs it to its end; answers its exit status, standard output and standard error.
    pub(crate) fn capture(&self) -> Result<(ExitStatus, String, String)> {
        // Files, not pipes: nothing can block, however much is written.
        let mut output = tempfile::tempfile().context("making a temporary file")?;
        let mut errors = tempfile::tempfile().context("making a temporary file")?;
        let mut command = self.command();
        command
            .stdout(output.try_clone()?)
            .stderr(errors.try_clone()?);
        let status = self.start(&mut command)?.wait()?;
        let read = |file: &mut File| -> Result<String> {
            let mut bytes = Vec::new();
            file.rewind()?;
            file.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok((status, read(&mut output)?, read(&mut errors)?))
    }

    /// Runs it to its end with its standard output going to the new file `path`.
    pub(crate) fn output_to(self, path: &Path) -> Result<()> {
        let mut errors = tempfile::tempfile().context("making a temporary file")?;
        let mut command = self.command();
        command
            .stdout(File::create(path).with_context(|| format!("creating {}", path.display()))?)
            .stderr(errors.try_clone()?);
        let status = self.start(&mut command)?.wait()?;
        if !status.success() {
            let mut text = String::new();
            errors.rewind()?;
            errors.read_to_string(&mut text)?;
            bail!("`{self}` failed: {status}\n{text}");
        }
        Ok(())
    }

    /// Runs it to its end even when a signal has told us to end: for cleaning up.
    pub(crate) fn run_regardless(&self) -> Result<()> {
        let output = self
            .command()
            .output()
            .with_context(|| format!("starting `{self}`"))?;
        if !output.status.success() {
            bail!(
                "`{self}` failed: {}\n{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    /// Starts it and lets it run; both outputs are appended to `log`. It is killed when we die
    /// without a chance to clean up (`setpriv --pdeathsig`).
    pub(crate) fn spawn(self, label: &str, log: &Path) -> Result<Running> {
        let this = self.started_by("setpriv", &["--pdeathsig", "KILL", "--"]);
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("opening {}", log.display()))?;
        let mut command = this.command();
        command.stdout(file.try_clone()?).stderr(file);
        let mut running = this.start(&mut command)?;
        running.label = label.to_owned();
        running.log = Some(log.to_owned());
        Ok(running)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).stdin(Stdio::null());
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        // A group of its own: Ctrl-C reaches us alone, and we end the whole group.
        command.process_group(0);
        command
    }

    fn start(&self, command: &mut Command) -> Result<Running> {
        signals::check()?;
        let child = command
            .spawn()
            .with_context(|| format!("starting `{self}`"))?;
        let group = Pid::from_raw(i32::try_from(child.id()).context("process id")?);
        Ok(Running {
            child,
            group,
            label: self.program.to_string_lossy().into_owned(),
            log: None,
            status: None,
            cpu: None,
        })
    }
}

impl std::fmt::Display for Cmd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.program.to_string_lossy())?;
        for arg in &self.args {
            write!(f, " {}", arg.to_string_lossy())?;
        }
        Ok(())
    }
}

/// A running command. Dropping it ends its whole process group: politely, then by force.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    group: Pid,
    label: String,
    log: Option<PathBuf>,
    status: Option<ExitStatus>,
    cpu: Option<Duration>,
}

impl Running {
    /// How it ended, if it has. What it left running in its group ends with it.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_some() {
            return Ok(self.status);
        }
        // Look before reaping: as long as the dead leader is not reaped, nobody else can get the
        // number of its group.
        let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let waiting = || format!("waiting for {}", self.label);
        match waitid(Id::Pid(self.group), peek).with_context(waiting)? {
            WaitStatus::StillAlive => Ok(None),
            _ => {
                self.cpu = cpu_time(self.group);
                self.signal(Signal::SIGKILL);
                self.status = Some(self.child.wait().with_context(waiting)?);
                Ok(self.status)
            }
        }
    }

    /// Processor time that it took, with all that it had started and waited for; once it has ended.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        self.cpu
    }

    /// Number of the process, as long as it runs.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails, with the end of its log, when it is no longer running.
    pub(crate) fn must_run(&mut self) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!(
                "{} ended too early: {status}\n{}",
                self.label,
                self.log_tail()
            );
        }
        Ok(())
    }

    /// The end of its log, for error messages.
    pub(crate) fn log_tail(&self) -> String {
        self.log.as_deref().map(tail).unwrap_or_default()
    }

    /// Kills it and its group at once, as a power failure would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL);
        self.wait().map(drop)
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// It does not end with 0, or a signal tells us to end.
    pub(crate) fn finish(mut self) -> Result<()> {
        let status = self.wait()?;
        if !status.success() {
            bail!("{} failed: {status}", self.label);
        }
        Ok(())
    }

    /// Waits for its end, whatever we are told.
    fn finish_whole(mut self, what: &str, is_told_to_end: impl Fn() -> bool) -> Result<()> {
        let mut is_said = false;
        let status = loop {
            if let Some(status) = self.ended()? {
                break status;
            }
            if is_told_to_end() && !is_said {
                eprintln!("==> waiting until {what}");
                is_said = true;
            }
            thread::sleep(Duration::from_millis(10));
        };
        if !status.success() {
            bail!("{} failed: {status}", self.label);
        }
        Ok(())
    }

    /// Waits for its end; a signal to us ends it and the wait.
    fn wait(&mut self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            signals::check()?;
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: Signal) {
        match killpg(self.group, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => eprintln!("xtask: sending {signal} to {}: {error}", self.label),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.ended(), Ok(None)) {
            return;
        }
        self.signal(Signal::SIGTERM);
        let begin = Instant::now();
        while matches!(self.ended(), Ok(None)) && begin.elapsed() < POLITE {
            thread::sleep(Duration::from_millis(10));
        }
        if matches!(self.ended(), Ok(None)) {
            self.signal(Signal::SIGKILL);
            if let Err(error) = self.child.wait() {
                eprintln!("xtask: waiting for {}: {error}", self.label);
            }
        }
    }
}

/// Processor time of a process that is there, and of its children that it has waited for.
fn cpu_time(process: Pid) -> Option<Duration> {
    // The kernel's unit for programs, whatever its own is (proc(5)).
    const TICKS_PER_SECOND: u64 = 100;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program, in parentheses, may contain anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    // `utime`, `stime`, `cutime` and `cstime`.
    let ticks = fields.split_whitespace().skip(11).take(4);
    let ticks: u64 = ticks.map(str::parse::<u64>).sum::<Result<_, _>>().ok()?;
    Some(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// The last lines of a text file, indented, for error messages.
pub(crate) fn tail(path: &Path) -> String {
    const LINES: usize = 25;
    let Ok(bytes) = fs::read(path) else {
        return format!("  (no log {})", path.display());
    };
    let text = String::from_utf8_lossy(&bytes);
    // Progress lines end with a carriage return.
    let ends = ['\n', '\r'];
    let lines: Vec<&str> = text.split(ends).filter(|line| !line.is_empty()).collect();
    let mut answer = format!("  the end of {}:\n", path.display());
    for line in &lines[lines.len().saturating_sub(LINES)..] {
        answer.push_str("  | ");
        answer.extend(line.chars().filter(|c| !c.is_control()));
        answer.push('\n');
    }
    answer
}

/// How long a process may take to end after SIGTERM.
const POLITE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::wait_for;

    const LIMIT: Duration = Duration::from_secs(30);

    /// Gone, or dead and only waiting for whoever has to reap it.
    fn is_dead(pid: &str) -> bool {
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .map_or(true, |stat| stat.contains(") Z ") || stat.contains(") X "))
    }

    /// A shell that ignores polite requests, with a child; answers both process ids.
    fn start(log: &Path) -> (Running, Vec<String>) {
        let script = "trap '' TERM; sleep 1000 & echo $! $$; wait; sleep 1000";
        let running = Cmd::new("bash")
            .args(["-c", script])
            .spawn("a stubborn shell", log)
            .unwrap();
        let pids = wait_for("the shell to speak", LIMIT, || {
            let text = fs::read_to_string(log)?;
            let pids: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            Ok((pids.len() == 2).then_some(pids))
        })
        .unwrap();
        (running, pids)
    }

    #[test]
    fn killing_reaches_the_whole_group() {
        let dir = tempfile::tempdir().unwrap();
        let (mut running, pids) = start(&dir.path().join("log"));
        assert!(running.ended().unwrap().is_none());
        running.kill().unwrap();
        wait_for("both to be dead", LIMIT, || {
            Ok(pids.iter().all(|pid| is_dead(pid)).then_some(()))
        })
        .unwrap();
    }

    #[test]
    fn dropping_the_guard_ends_even_who_ignores_requests() {
        let dir = tempfile::tempdir().unwrap();
        let (running, pids) = start(&dir.path().join("log"));
        drop(running);
        wait_for("both to be dead", LIMIT, || {
            Ok(pids.iter().all(|pid| is_dead(pid)).then_some(()))
        })
        .unwrap();
    }

    #[test]
    fn what_must_not_be_left_half_done_is_not_ended_by_a_signal_to_us() {
        let dir = tempfile::tempdir().unwrap();
        let (begun, end, done) = ("begun", "end", "done");
        let script =
            format!("touch {begun}; until [ -e {end} ]; do sleep 0.01; done; touch {done}");
        let running = Cmd::new("sh").args(["-c", &script]).dir(dir.path()).begin();
        // Told to end from the beginning; the program goes on when that has been looked at.
        let tell = || {
            if dir.path().join(begun).exists() {
                fs::write(dir.path().join(end), "").unwrap();
            }
            true
        };
        running.unwrap().finish_whole("it is done", tell).unwrap();
        assert!(dir.path().join(done).exists());

        let failing = Cmd::new("false").begin().unwrap();
        let error = failing.finish_whole("it is done", || false).unwrap_err();
        assert!(error.to_string().contains("exit status: 1"), "{error}");
    }

    #[test]
    fn processor_time_is_that_of_the_children_too() {
        let dir = tempfile::tempdir().unwrap();
        let script = "sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done'; echo done";
        let log = dir.path().join("log");
        let mut running = Cmd::new("sh")
            .args(["-c", script])
            .in_background()
            .spawn("a shell", &log)
            .unwrap();
        assert_eq!(running.cpu(), None);
        wait_for("its end", LIMIT, || running.ended()).unwrap();
        assert!(running.cpu().unwrap() > Duration::ZERO);
        assert_eq!(fs::read_to_string(&log).unwrap(), "done\n");
    }

    #[test]
    fn a_failure_shows_what_the_program_said() {
        let error = Cmd::new("sh")
            .args(["-c", "echo out; echo err >&2; exit 3"])
            .output()
            .unwrap_err()
            .to_string();
        for part in ["exit status: 3", "out", "err"] {
            assert!(error.contains(part), "{error}");
        }
        let error = Cmd::new("/nonexistent/program").run().unwrap_err();
        assert!(error.to_string().contains("/nonexistent/program"));
    }

    #[test]
    fn what_cargo_set_for_us_is_not_handed_on_to_cargo() {
        let set_for_us = [
            "CARGO_PKG_NAME",
            "CARGO_PKG_VERSION_MAJOR",
            "CARGO_MANIFEST_DIR",
        ];
        let command = Cmd::cargo().command();
        for name in set_for_us {
            assert!(
                std::env::var_os(name).is_some(),
                "{name}: run by cargo test"
            );
            let is_removed = command
                .get_envs()
                .any(|(removed, value)| removed == name && value.is_none());
            assert!(is_removed, "{name}");
        }
    }

    #[test]
    fn a_tail_is_short_whatever_ends_the_lines() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let progress: String = (0..1000).map(|n| format!("bytes={n}\r")).collect();
        fs::write(&log, format!("first\n{progress}\n\nlast\n")).unwrap();
        let tail = tail(&log);
        assert!(tail.lines().count() < 30, "{tail}");
        assert!(tail.ends_with("  | bytes=999\n  | last\n"), "{tail}");
    }

    #[test]
    fn large_outputs_do_not_block() {
        let text = Cmd::new("sh")
            .args(["-c", "head -c 3000000 /dev/zero | tr '\\0' x; echo end"])
            .output()
            .unwrap();
        assert_eq!(text.len(), 3_000_004);
    }
}
