//! The scripts of an image share that FOG's client runs: when it has started, and behind the data. They are bash's, and are
//! run where this boot image has it.
//!
//! FOG's client sources them: its variables are theirs, and `exit` in them is its own end. So a script that ends with
//! another status than 0 is a failure of the deploy, and one that only has a last command that fails is none. What they
//! mount is seen by them alone, and is gone with them. A script that gives no sign of work, or takes too long, is ended.

use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use fog::KernelArgs;
use fog::encoding::printable;
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use readable::Time;

use super::grow::alone;
use super::pulse::{HANGS_AFTER, PERIOD, Place, Pulse, Verdict};
use crate::screen::Board;

/// When a script is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Before the disk is chosen.
    Init,
    /// When all is written and verified.
    Download,
}

impl When {
    /// The script below the root of the share.
    fn script(self) -> &'static str {
        let [init, download] = fog::store::SCRIPTS;
        match self {
            Self::Init => init,
            Self::Download => download,
        }
    }

    /// FOG's variable with the script's directory.
    fn variable(self) -> &'static str {
        match self {
            Self::Init => "postinitpath",
            Self::Download => "postdownpath",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Init => "post-init script",
            Self::Download => "post-download script",
        }
    }
}

/// How long scripts may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Without any sign of work.
    silent: Duration,
    all: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            silent: HANGS_AFTER,
            all: Duration::from_secs(3600),
        }
    }
}

/// The scripts of a share, and what runs them.
#[derive(Debug, Clone)]
pub(super) struct Scripts {
    bash: PathBuf,
    /// Where the share is.
    root: PathBuf,
    /// Names of those that have commands.
    names: Vec<String>,
    args: KernelArgs,
    /// Where scripts of FOG find the share, if it may be put there.
    point: Option<&'static Path>,
    limits: Limits,
}

/// Why a script has failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScriptError {
    #[error("it cannot be run: {0}")]
    Start(#[from] io::Error),
    #[error("{}{said}", how(*.status))]
    Ended {
        status: ExitStatus,
        /// The end of what it printed.
        said: Last,
    },
    #[error(
        "it hung and was ended: it had no output, no time on the processor and no I/O for {}{said}",
        Time(*.silent)
    )]
    Hung { silent: Duration, said: Last },
    #[error("it was ended, because it took longer than {}{said}", Time(*.limit))]
    TooLong { limit: Duration, said: Last },
}

fn how(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("it ended with exit status {code}"),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => "it ended".to_owned(),
    }
}

/// The last lines that a script printed.
#[derive(Debug, Clone, Default)]
pub(super) struct Last(Vec<String>);

impl Last {
    fn add(&mut self, line: &str) {
        if self.0.len() == LAST_LINES {
            self.0.remove(0);
        }
        self.0.push(line.to_owned());
    }
}

impl std::fmt::Display for Last {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.as_slice() {
            [] => f.write_str("; it printed nothing"),
            lines => write!(f, "; it printed last: {}", lines.join("; ")),
        }
    }
}

impl Scripts {
    /// Those with these names in the share at `root`. `is_client`: this machine is the client itself, so that FOG's
    /// place of the share is free.
    pub(super) fn new(
        bash: PathBuf,
        root: PathBuf,
        names: &[String],
        args: &KernelArgs,
        is_client: bool,
    ) -> Self {
        Self {
            bash,
            root,
            names: names.to_vec(),
            args: args.clone(),
            point: is_client.then_some(Path::new(IMAGES)),
            limits: Limits::default(),
        }
    }

    /// Whether there is a script for this moment.
    pub(super) fn has(&self, when: When) -> bool {
        self.names.iter().any(|name| name == when.script())
    }

    /// Runs the script for this moment, if there is one, and shows what it prints. `disks` are those that are deployed
    /// to, as far as that is known. Blocks.
    ///
    /// # Errors
    /// What went wrong, with the name of the script.
    pub(super) fn run(&self, when: When, disks: &[PathBuf], board: &Board) -> anyhow::Result<()> {
        if !self.has(when) {
            return Ok(());
        }
        let name = when.script();
        board.say(format!(
            "running the {} {name} of the image store",
            when.word()
        ));
        // In a thread of its own that sees its mounts alone, and so do the script's processes.
        let done = alone(|| self.run_alone(when, disks, board))
            .map_err(ScriptError::Start)
            .flatten();
        board.go_on();
        done.map_err(|error| {
            anyhow::anyhow!(
                "the {} {name} of the image store failed: {error}",
                when.word()
            )
        })
    }

    fn run_alone(&self, when: When, disks: &[PathBuf], board: &Board) -> Result<(), ScriptError> {
        let root = match self.point {
            Some(point) => {
                show_at(&self.root, point)?;
                point
            }
            None => &self.root,
        };
        let script = root.join(when.script());
        let mut command = Command::new(&self.bash);
        command
            .args(["--noprofile", "--norc", "-c", WRAPPER, "bash"])
            .arg(&script)
            .current_dir("/")
            .env_clear()
            .envs(variables(&self.args))
            .envs([("PATH", SEARCH), ("HOME", "/root"), ("TERM", "linux")])
            .env(when.variable(), directory(&script))
            // By which its processes are found.
            .process_group(0)
            .stdin(Stdio::null());
        if !disks.is_empty() {
            let names: Vec<String> = disks
                .iter()
                .map(|disk| disk.display().to_string())
                .collect();
            command.env("hd", &names[0]).env("disks", names.join(" "));
        }
        let (output, input) = io::pipe()?;
        command.stdout(input.try_clone()?).stderr(input);
        let child = command.spawn()?;
        // Its copies of the pipe's end are closed with it.
        drop(command);
        attend(child, output, self.limits, when, board)
    }
}

/// Puts the share where FOG's client has it. There programs in it can be started, too.
fn show_at(root: &Path, point: &Path) -> io::Result<()> {
    std::fs::create_dir_all(point)?;
    let none = None::<&Path>;
    mount(Some(root), point, none, MsFlags::MS_BIND, none)?;
    let flags = MsFlags::MS_BIND
        | MsFlags::MS_REMOUNT
        | MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV
        | MsFlags::MS_NOATIME;
    mount(none, point, none, flags, none)?;
    Ok(())
}

/// The directory of a script, as FOG's variables have it: with a slash at the end.
fn directory(script: &Path) -> String {
    let directory = script.parent().unwrap_or_else(|| Path::new("/"));
    format!("{}/", directory.display())
}

/// FOG's client has each kernel argument as a variable. Those that decide what a shell starts or does are not theirs to set.
fn variables(args: &KernelArgs) -> Vec<(String, String)> {
    let all = args.values();
    let given = all.filter(|(name, value)| is_variable(name) && !value.contains('\0'));
    given
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn is_variable(name: &str) -> bool {
    let mut letters = name.chars();
    let is_name = letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    let is_shells = ["PATH", "HOME", "IFS", "ENV", "SHELLOPTS", "PS4", "TERM"].contains(&name)
        || ["BASH", "LD_"].iter().any(|start| name.starts_with(start));
    is_name && !is_shells
}

/// Follows a script to its end.
fn attend(
    mut child: Child,
    output: impl Read + Send + 'static,
    limits: Limits,
    when: When,
    board: &Board,
) -> Result<(), ScriptError> {
    let group = Pid::from_raw(child.id().cast_signed());
    let lines = lines_of(output)?;
    let begin = Instant::now();
    let mut looked = begin;
    let mut pulse = Pulse::new(begin, limits.silent);
    let place = Place::default();
    let mut said = Said {
        board,
        shown: 0,
        bytes: 0,
        last: Last::default(),
    };
    let mut ended = None;
    let status = loop {
        match lines.recv_timeout(TICK) {
            Ok(line) => said.hear(&line),
            Err(RecvTimeoutError::Timeout) => {}
            // It has closed its output, and goes on.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(TICK),
        }
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if looked.elapsed() < PERIOD.min(limits.silent) {
            continue;
        }
        looked = Instant::now();
        let verdict = pulse.feel(place.signs(group.as_raw(), said.bytes), looked);
        match verdict {
            Verdict::Works => board.go_on(),
            Verdict::Silent(_) | Verdict::Hangs(_) => board.wait_for(
                format!("a sign of work of the {}", when.word()),
                vec![said.last_line(), SILENT.to_owned()],
            ),
        }
        let is_late = begin.elapsed() >= limits.all;
        if ended.is_none() {
            ended = match verdict {
                Verdict::Hangs(silent) => Some(End::Hung(silent)),
                _ if is_late => Some(End::TooLong),
                _ => None,
            };
        }
        if ended.is_some() {
            // It may have ended by itself.
            killpg(group, Signal::SIGKILL).unwrap_or_default();
        }
    };
    // What was printed before the end may still be on its way. A process that it left in the background may hold the
    // output for ever.
    let late = Instant::now() + LAST_WORDS;
    while let Ok(line) = lines.recv_timeout(late.saturating_duration_since(Instant::now())) {
        said.hear(&line);
    }
    let said = said.last;
    match ended {
        Some(End::Hung(silent)) => Err(ScriptError::Hung { silent, said }),
        Some(End::TooLong) => Err(ScriptError::TooLong {
            limit: limits.all,
            said,
        }),
        None if status.success() => Ok(()),
        None => Err(ScriptError::Ended { status, said }),
    }
}

/// Why a script was ended.
#[derive(Debug, Clone, Copy)]
enum End {
    Hung(Duration),
    TooLong,
}

/// What a script prints, as it is shown.
struct Said<'a> {
    board: &'a Board,
    /// Lines that were shown.
    shown: u32,
    bytes: u64,
    last: Last,
}

impl Said<'_> {
    fn hear(&mut self, line: &[u8]) {
        let len = u64::try_from(line.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(len);
        let line = printable(&String::from_utf8_lossy(line), LINE_MAX);
        if line.is_empty() {
            return;
        }
        self.last.add(&line);
        self.shown = self.shown.saturating_add(1);
        match self.shown {
            ..LINES_MAX => self.board.say(format!("| {line}")),
            LINES_MAX => self.board.say("| (it prints more than is shown)"),
            _ => {}
        }
    }

    fn last_line(&self) -> String {
        match self.last.0.last() {
            Some(line) => format!("it printed last: {line}"),
            None => "it has printed nothing".to_owned(),
        }
    }
}

/// The lines of an output, read by a thread that is left to itself: nobody knows how long others hold it.
fn lines_of(output: impl Read + Send + 'static) -> io::Result<Receiver<Vec<u8>>> {
    let (say, lines) = mpsc::sync_channel(64);
    let read = std::thread::Builder::new().name("script".into());
    read.spawn(move || pass_lines(BufReader::new(output), &say))?;
    Ok(lines)
}

/// Lines end where one can be shown, too: at a carriage return, and when they are too long.
fn pass_lines(mut output: BufReader<impl Read>, say: &SyncSender<Vec<u8>>) {
    let mut line = Vec::new();
    loop {
        let buffer = match output.fill_buf() {
            Ok([]) => break,
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        let room = LINE_BYTES - line.len();
        let piece = &buffer[..buffer.len().min(room)];
        let end = piece.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let count = end.map_or(piece.len(), |at| at + 1);
        line.extend_from_slice(&piece[..count]);
        output.consume(count);
        let is_complete = end.is_some() || line.len() == LINE_BYTES;
        if is_complete && say.send(std::mem::take(&mut line)).is_err() {
            return;
        }
    }
    if !line.is_empty() {
        // The end may have been heard of already.
        say.send(line).unwrap_or_default();
    }
}

/// Some of what FOG's client has beside variables, under the names that its documentation has for scripts. The script is
/// read twice: an error of syntax is found before its first command.
const WRAPPER: &str = r#"
dots() { local text=" * $1"; printf '%s' "$text"; printf '%*s' $((60 - ${#text})) '' | tr ' ' .; }
handleError() { echo "$*"; exit 1; }
handleWarning() { echo "warning: $*"; }
debugPause() { :; }
bash_script=$1
shift
"$BASH" -n "$bash_script" || exit 2
. "$bash_script"
last=$?
[ $last -eq 0 ] || echo "(its last command ended with exit status $last)"
exit 0
"#;

/// Where FOG's client has the share.
const IMAGES: &str = "/images";
const SEARCH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const SILENT: &str = "it takes no time on the processor and moves no data";
const TICK: Duration = Duration::from_millis(100);
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Bytes of a line that are read at once.
const LINE_BYTES: usize = 4096;
/// Characters of a line that are shown.
const LINE_MAX: usize = 200;
/// Lines that are shown.
const LINES_MAX: u32 = 1000;
/// Lines that a report has.
const LAST_LINES: usize = 5;

/// Whether this machine has booted this program: then all of it is for the deploy.
pub(super) fn is_client() -> bool {
    let program = |process: &str| std::fs::read_link(format!("/proc/{process}/exe")).ok();
    program("1").is_some_and(|first| Some(first) == program("self"))
}

/// Runs one of them beside this task.
pub(super) async fn run(
    scripts: &Scripts,
    when: When,
    disks: Vec<PathBuf>,
    board: &Board,
) -> anyhow::Result<()> {
    let (scripts, board) = (scripts.clone(), board.clone());
    let run = move || scripts.run(when, &disks, &board);
    tokio::task::spawn_blocking(run).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARGS: &str = "img=lab osid=9 hostname=PC-7 mac=00:1b:21:aa:bb:cc LD_PRELOAD=/x PATH=/x x-y=1 web=http://a/ \
                        name=two+_+words";

    /// A share with this script behind the data, and what came of it: the result, and what was shown.
    fn run(script: &str, limits: Limits) -> Option<(Result<(), String>, Vec<String>)> {
        let is_root = super::super::samples::sh("id -u").trim() == "0";
        if !is_root || !Path::new("/bin/bash").exists() {
            let is_strict = std::env::var_os("FOS_TEST_REQUIRE_ALL").is_some_and(|v| v != "0");
            assert!(!is_strict, "needs root and bash");
            return None;
        }
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(When::Download.script());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, script).unwrap();
        let scripts = Scripts {
            limits,
            ..Scripts::new(
                "/bin/bash".into(),
                root.path().into(),
                &[When::Download.script().into()],
                &KernelArgs::parse(ARGS),
                false,
            )
        };
        let board = Board::default();
        let disks: [PathBuf; 2] = ["/dev/sda".into(), "/dev/sdb".into()];
        scripts.run(When::Init, &disks, &board).unwrap();
        let done = scripts.run(When::Download, &disks, &board);
        let said = board.said().into_iter();
        let said = said.filter_map(|line| Some(line.strip_prefix("| ")?.to_owned()));
        let done = done.map_err(|error| readable::chain(error.as_ref()));
        Some((done, said.collect()))
    }

    #[test]
    fn a_script_has_fogs_variables_and_its_output_is_shown() {
        let script = "#!/bin/bash\n\
            echo \"$hd|$disks|$img|$osid|$hostname|$mac|$name|$LD_PRELOAD\"\n\
            [[ $PATH == /usr/local/sbin:* && $postdownpath == */postdownloadscripts/ ]] && echo fine\n\
            [ -f ${postdownpath}fog.postdownload ] && echo there\n\
            dots 'Copying drivers'; echo Done\n\
            printf 'one\\rtwo\\e[31m\\n' >&2\n\
            mkdir -p /tmp; mount -t tmpfs none /tmp && touch /tmp/seen-by-the-script\n\
            read -r line || echo 'no input'\n\
            false\n";
        let Some((done, said)) = run(script, Limits::default()) else {
            return;
        };
        done.unwrap();
        let dots = format!("* Copying drivers{}Done", ".".repeat(42));
        assert_eq!(
            said,
            [
                "/dev/sda|/dev/sda /dev/sdb|lab|9|PC-7|00:1b:21:aa:bb:cc|two words|",
                "fine",
                "there",
                &dots,
                "one",
                "two [31m",
                "no input",
                "(its last command ended with exit status 1)",
            ]
        );
        assert!(!Path::new("/tmp/seen-by-the-script").exists());
    }

    #[test]
    fn a_script_that_gives_up_has_its_last_words_in_the_report() {
        for (script, expected) in [
            (
                "echo a\necho b\nexit 3\necho c",
                "it ended with exit status 3; it printed last: a; b",
            ),
            (
                "handleError no drivers for this model",
                "it printed last: no drivers for this model",
            ),
            ("kill -9 $$", "it was ended by signal 9; it printed nothing"),
            ("echo a\nif true; then", "it ended with exit status 2"),
        ] {
            let Some((done, _)) = run(script, Limits::default()) else {
                return;
            };
            let text = done.unwrap_err();
            assert!(text.contains(expected), "{text}");
            assert!(
                text.contains("postdownloadscripts/fog.postdownload"),
                "{text}"
            );
        }
        // FOG's client would not go on, but not for a failure.
        let Some((done, _)) = run("exit 0\nexit 1", Limits::default()) else {
            return;
        };
        done.unwrap();
    }

    #[test]
    fn a_script_that_hangs_or_takes_too_long_is_ended() {
        let second = Duration::from_secs(1);
        let limits = Limits {
            silent: second,
            all: Duration::from_secs(3600),
        };
        let Some((done, _)) = run("echo begun\nsleep infinity", limits) else {
            return;
        };
        let text = done.unwrap_err();
        assert!(text.contains("it hung") && text.contains("begun"), "{text}");
        let limits = Limits {
            silent: Duration::from_secs(3600),
            all: second,
        };
        let (done, _) = run("while true; do :; done", limits).unwrap();
        assert!(done.unwrap_err().contains("longer than 1 s"));
    }

    #[test]
    fn what_a_script_leaves_in_the_background_keeps_nobody() {
        let script = "sleep 1000 & echo $!";
        let Some((done, said)) = run(script, Limits::default()) else {
            return;
        };
        done.unwrap();
        let left = Pid::from_raw(said[0].parse().unwrap());
        nix::sys::signal::kill(left, Signal::SIGKILL).unwrap();
    }

    #[test]
    fn output_without_end_is_passed_on_in_lines_with_a_bound() {
        let endless = io::repeat(b'x').take(3 * 4096 + 5);
        let lines: Vec<Vec<u8>> = lines_of(endless).unwrap().iter().collect();
        let lens: Vec<usize> = lines.iter().map(Vec::len).collect();
        assert_eq!(lens, [4096, 4096, 4096, 5]);
        let board = Board::default();
        let mut said = Said {
            board: &board,
            shown: 0,
            bytes: 0,
            last: Last::default(),
        };
        for _ in 0..5000 {
            said.hear(b"line\n");
        }
        assert_eq!(board.said().len(), 1000);
        assert_eq!(said.bytes, 25_000);
        assert_eq!(said.last.0.len(), LAST_LINES);
    }
}
