//! Logs: for people in files as FOG has them, for the machine on standard error.
//!
//! `multicast.log` has a line for every event, `multicast.log.udpcast.<id>` the details of one session.
//! What is kept of them is in `rotate.rs`; they may be renamed at any time. No caller ever waits for a disk.

mod queue;
mod rotate;
mod stderr;
mod tail;

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fog::encoding::printable;

use self::queue::{Queue, QueueLimits};
use self::rotate::{KEEP, Keep};
use crate::config::Config;
use crate::domain::Timestamp;
use crate::repeats::Repeats;

pub use self::stderr::{StderrLog, init_stderr};
pub use self::tail::{MOST, Tail, tail};

/// With lines of 100 bytes, costs 1 MB while the disk takes nothing (the longest ones: 32 MB), and 2 MB of
/// disk a minute. The start of a session of 1,000 hosts has some 5,000 lines.
const LIMITS: QueueLimits = QueueLimits {
    lines: 8192,
    lines_a_minute: 20_000,
};

/// Characters of a line that are kept.
const MAX_CHARS: usize = 1000;

/// Matters that are counted at a time, see [`MulticastLog::repeated`]; some 200 bytes each.
const MAX_MATTERS: usize = 2000;

const MINUTE: Duration = Duration::from_secs(60);

/// What a line is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// The server as a whole.
    Server,
    /// A host, by its name or, if it has none, its address.
    Host(String),
    /// A session.
    Session {
        /// Its number.
        id: i64,
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("server"),
            Self::Host(name) => write!(f, "host {}", printable(name, MAX_NAME)),
            Self::Session { id, .. } => write!(f, "session {id}"),
        }
    }
}

const MAX_NAME: usize = 80;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Level {
    /// What happened.
    Info,
    /// What somebody should look at.
    Warn,
    /// What went wrong inside the server.
    Error,
}

/// The log of all sessions. Clones are the same log; it ends with the last one.
#[derive(Debug, Clone)]
pub struct MulticastLog(Arc<Handle>);

/// Held by those who write; the thread has the rest.
#[derive(Debug)]
struct Handle(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Queue<Line>,
    repeats: Mutex<Repeats<Matter>>,
}

/// What is said again and again.
type Matter = (Level, Subject, &'static str);

#[derive(Debug)]
struct Line {
    /// The session whose details these are; `None` is the log of all.
    session: Option<i64>,
    text: String,
}

impl MulticastLog {
    /// A log in `dir`, which is created, and its thread.
    ///
    /// # Errors
    /// If the directory cannot be created, or the thread not started.
    pub fn new(dir: &Path) -> io::Result<Self> {
        Self::with(dir, LIMITS, KEEP)
    }

    /// The log of a server: in a directory of others it is as open as they have it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of(config: &Config) -> io::Result<Self> {
        match &config.log {
            Some(dir) => {
                std::fs::create_dir_all(dir)?;
                Self::begin(dir, LIMITS, KEEP)
            }
            None => Self::new(&config.log_dir()),
        }
    }

    fn with(dir: &Path, limits: QueueLimits, keep: Keep) -> io::Result<Self> {
        crate::private::create_dir(dir)?;
        Self::begin(dir, limits, keep)
    }

    fn begin(dir: &Path, limits: QueueLimits, keep: Keep) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Queue::new(limits),
            repeats: Mutex::new(Repeats::new(MINUTE, MAX_MATTERS)),
        });
        let mut writer = Writer {
            dir: dir.to_owned(),
            keep,
            shared: Arc::clone(&shared),
            complained: None,
        };
        std::thread::Builder::new()
            .name("log-files".into())
            .spawn(move || writer.run())?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// A message of the service.
    pub fn service(&self, now: Timestamp, text: &str) {
        self.line(now, Level::Info, &Subject::Server, text);
    }

    /// An event of a session, in both files.
    pub fn session(&self, now: Timestamp, id: i64, name: &str, text: &str) {
        let name = name.to_owned();
        self.line(now, Level::Info, &Subject::Session { id, name }, text);
    }

    /// A detail of a session, only in its own file.
    pub fn detail(&self, now: Timestamp, id: i64, text: &str) {
        let text = stamped(now, &printable(text, MAX_CHARS));
        let session = Some(id);
        self.shared()
            .queue
            .push(Instant::now(), Line { session, text });
    }

    /// Something that happened.
    pub fn info(&self, now: Timestamp, subject: &Subject, text: &str) {
        self.line(now, Level::Info, subject, text);
    }

    /// Something that somebody should look at.
    pub fn warn(&self, now: Timestamp, subject: &Subject, text: &str) {
        self.line(now, Level::Warn, subject, text);
    }

    /// Something that went wrong inside the server.
    pub fn error(&self, now: Timestamp, subject: &Subject, text: &str) {
        self.line(now, Level::Error, subject, text);
    }

    /// A line that a client can cause as often as it likes: of each subject, one a minute is written, and
    /// "`what`: N times more in the last minute". Answers whether this one was.
    ///
    /// `what` reads as the beginning of such a line: "it checked in from two addresses in turn".
    pub fn repeated(
        &self,
        now: Timestamp,
        level: Level,
        subject: &Subject,
        what: &'static str,
        text: &str,
    ) -> bool {
        let matter = (level, subject.clone(), what);
        let is_first = self.shared().repeats().is_first(Instant::now(), &matter);
        if is_first {
            self.line(now, level, subject, text);
        }
        is_first
    }

    /// A line of any level, in the log of all and, if it is about a session, in that of the session.
    pub fn line(&self, now: Timestamp, level: Level, subject: &Subject, text: &str) {
        let shared = self.shared();
        for line in lines(now, level, subject, text) {
            shared.queue.push(Instant::now(), line);
        }
    }

    /// Writes what is left and ends; answers whether all was written in time. Lines that follow are only
    /// on standard error. Blocks: call it where nothing else has to run any more.
    pub fn close(&self, wait: Duration) -> bool {
        self.shared().queue.close(wait)
    }

    fn shared(&self) -> &Shared {
        &self.0.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.queue.close(Duration::ZERO);
    }
}

impl Shared {
    fn repeats(&self) -> MutexGuard<'_, Repeats<Matter>> {
        self.repeats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the machine, and answers what goes into files.
fn lines(now: Timestamp, level: Level, subject: &Subject, text: &str) -> Vec<Line> {
    let text = printable(text, MAX_CHARS);
    let mark = match level {
        Level::Info => {
            tracing::info!("{subject}: {text}");
            ""
        }
        Level::Warn => {
            tracing::warn!("{subject}: {text}");
            "WARNING: "
        }
        Level::Error => {
            tracing::error!("{subject}: {text}");
            "ERROR: "
        }
    };
    let all = |line: &str| Line {
        session: None,
        text: stamped(now, line),
    };
    match subject {
        Subject::Server => vec![all(&format!(" * {mark}{text}"))],
        Subject::Host(name) => {
            let name = printable(name, MAX_NAME);
            vec![all(&format!(" * {name}: {mark}{text}"))]
        }
        Subject::Session { id, name } => {
            let name = printable(name, MAX_NAME);
            let own = Line {
                session: Some(*id),
                text: stamped(now, &format!("{mark}{text}")),
            };
            vec![
                all(&format!(" | Task ID: {id} Name: {name} {mark}{text}")),
                own,
            ]
        }
    }
}

fn stamped(now: Timestamp, text: &str) -> String {
    format!("[{}] {text}\n", now.to_log_stamp())
}

/// The thread that writes.
struct Writer {
    dir: PathBuf,
    keep: Keep,
    shared: Arc<Shared>,
    /// When standard error was told last that something is missing in the files.
    complained: Option<Instant>,
}

impl Writer {
    fn run(&mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            let until = shared.repeats().next_end();
            let work = shared.queue.take(until);
            let mut batch = Vec::new();
            if work.dropped > 0 {
                let text = format!(
                    "{} log lines are missing: too many at a time, or the disk took none",
                    work.dropped
                );
                self.complain(&text);
                batch.push(Line {
                    session: None,
                    text: stamped(crate::clock::now(), &format!(" * WARNING: {text}")),
                });
            }
            batch.extend(work.lines);
            let repeated = if work.is_last {
                shared.repeats().finish()
            } else {
                shared.repeats().ended(Instant::now())
            };
            for repeated in repeated {
                batch.extend(numbers(repeated.key, repeated.count));
            }
            self.write(&batch);
            if work.is_last {
                break;
            }
        }
        shared.queue.end();
    }

    /// Each file is opened once for all its lines, and not kept open: it may be renamed.
    fn write(&mut self, batch: &[Line]) {
        let mut sessions: Vec<Option<i64>> = batch.iter().map(|line| line.session).collect();
        sessions.sort_unstable();
        sessions.dedup();
        for session in sessions {
            let lines = batch.iter().filter(|line| line.session == session);
            let texts: Vec<&str> = lines.map(|line| line.text.as_str()).collect();
            let path = self.path(session);
            self.make_room(session, &path);
            let written = OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .and_then(|mut file| file.write_all(texts.concat().as_bytes()));
            if let Err(error) = written {
                self.shared.queue.lose(texts.len() as u64);
                self.complain(&format!("cannot write to {}: {error}", path.display()));
            }
        }
    }

    /// What is too much goes, before there is more.
    fn make_room(&mut self, session: Option<i64>, path: &Path) {
        let done = match session {
            None => rotate::rotate(path, self.keep),
            Some(_) if path.exists() => Ok(()),
            Some(_) => {
                // With the one that begins there are as many as are kept.
                let sessions = self.keep.sessions.saturating_sub(1);
                let keep = Keep {
                    sessions,
                    ..self.keep
                };
                rotate::prune(&self.dir, SESSION_PREFIX, keep)
            }
        };
        if let Err(error) = done
            && error.kind() != io::ErrorKind::NotFound
        {
            let dir = self.dir.display();
            self.complain(&format!("cannot remove old logs in {dir}: {error}"));
        }
    }

    fn path(&self, session: Option<i64>) -> PathBuf {
        match session {
            None => self.dir.join(FILE),
            Some(id) => self.dir.join(format!("{SESSION_PREFIX}{id}")),
        }
    }

    /// A log that cannot be written stops nothing; once a minute the reason goes to standard error.
    fn complain(&mut self, text: &str) {
        let now = Instant::now();
        let is_new = |at| now.saturating_duration_since(at) >= MINUTE;
        if self.complained.is_none_or(is_new) {
            self.complained = Some(now);
            tracing::warn!("server: {text}");
        }
    }
}

/// The line at the end of a minute.
fn numbers(matter: Option<Matter>, count: u64) -> Vec<Line> {
    let now = crate::clock::now();
    match matter {
        Some((level, subject, what)) => {
            let text = format!("{what}: {count} times more in the last minute");
            lines(now, level, &subject, &text)
        }
        None => {
            let text =
                format!("{count} further warnings in the last minute are not listed one by one");
            lines(now, Level::Warn, &Subject::Server, &text)
        }
    }
}

const FILE: &str = "multicast.log";

/// What FOG calls those of its sessions.
const SESSION_PREFIX: &str = "multicast.log.udpcast.";

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn now() -> Timestamp {
        Timestamp::parse("2026-03-12 17:35:49").unwrap()
    }

    fn host() -> Subject {
        Subject::Host("LAB-01".into())
    }

    struct Bench {
        dir: tempfile::TempDir,
        log: MulticastLog,
    }

    fn bench() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let log = MulticastLog::new(&dir.path().join("log")).unwrap();
        Bench { dir, log }
    }

    impl Bench {
        fn read(&self, name: &str) -> String {
            assert!(self.log.close(LONG), "the writer does not end");
            std::fs::read_to_string(self.dir.path().join("log").join(name)).unwrap()
        }
    }

    #[test]
    fn lines_are_as_fog_has_them_and_have_a_subject() {
        let bench = bench();
        bench.log.service(now(), "begins");
        bench.log.session(now(), 3, "lab", "is new");
        bench.log.warn(now(), &host(), "asks too often");
        bench
            .log
            .error(now(), &Subject::Server, "the database is gone");
        assert_eq!(
            bench.read("multicast.log"),
            "[03-12-26 5:35:49 pm]  * begins\n\
             [03-12-26 5:35:49 pm]  | Task ID: 3 Name: lab is new\n\
             [03-12-26 5:35:49 pm]  * LAB-01: WARNING: asks too often\n\
             [03-12-26 5:35:49 pm]  * ERROR: the database is gone\n"
        );
        assert_eq!(
            bench.read("multicast.log.udpcast.3"),
            "[03-12-26 5:35:49 pm] is new\n"
        );
    }

    #[test]
    fn a_text_stays_one_line_that_reads_as_it_is() {
        let bench = bench();
        bench
            .log
            .session(now(), 3, "l\u{202e}ab", "one\ntwo\x1b[2J\u{2028}three");
        bench.log.detail(now(), 3, "four\rfive");
        assert_eq!(
            bench.read("multicast.log"),
            "[03-12-26 5:35:49 pm]  | Task ID: 3 Name: l\u{fffd}ab one two [2J\u{fffd}three\n"
        );
        assert_eq!(
            bench.read("multicast.log.udpcast.3"),
            "[03-12-26 5:35:49 pm] one two [2J\u{fffd}three\n\
             [03-12-26 5:35:49 pm] four five\n"
        );
    }

    #[test]
    fn what_a_client_can_repeat_is_written_once_and_counted() {
        let bench = bench();
        let what = "it checked in from two addresses in turn";
        let again = |address: &str| {
            let text = format!("checks in from {address}");
            bench.log.repeated(now(), Level::Warn, &host(), what, &text)
        };
        assert!(again("10.0.0.1"));
        for _ in 0..5000 {
            assert!(!again("10.0.0.2"));
        }
        let text = bench.read("multicast.log");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].ends_with("LAB-01: WARNING: checks in from 10.0.0.1"));
        assert!(
            lines[1].ends_with(
                "LAB-01: WARNING: it checked in from two addresses in turn: \
                 5000 times more in the last minute"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_flood_of_lines_is_bounded_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let limits = QueueLimits {
            lines: 100_000,
            lines_a_minute: 50,
        };
        let log = MulticastLog::with(dir.path(), limits, KEEP).unwrap();
        for number in 0..1000 {
            log.service(now(), &format!("line {number}"));
        }
        assert!(log.close(LONG));
        let text = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        let (told, kept): (Vec<&str>, Vec<&str>) = text
            .lines()
            .partition(|line| line.contains("lines are missing"));
        assert_eq!(kept.len(), 50);
        let missing: u64 = told
            .iter()
            .map(|line| {
                let (_, rest) = line.split_once("WARNING: ").unwrap();
                rest.split_once(' ').unwrap().0.parse::<u64>().unwrap()
            })
            .sum();
        assert_eq!(missing, 950);
    }

    #[test]
    fn a_log_that_cannot_be_written_stops_nobody() {
        let bench = bench();
        std::fs::remove_dir(bench.dir.path().join("log")).unwrap();
        for _ in 0..10 {
            bench.log.service(now(), "lost");
        }
        assert!(bench.log.close(LONG));
        bench.log.service(now(), "after the end");
    }

    #[test]
    fn logs_do_not_grow_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let keep = Keep {
            bytes: 2000,
            earlier: 2,
            sessions: 5,
        };
        let log = MulticastLog::with(dir.path(), LIMITS, keep).unwrap();
        for id in 0..100 {
            log.session(now(), id, "lab", &"x".repeat(100));
            // Each is a batch of its own.
            while !dir.path().join(format!("{SESSION_PREFIX}{id}")).exists() {
                std::thread::yield_now();
            }
        }
        assert!(log.close(LONG));
        let count = |prefix: &str| {
            let entries = std::fs::read_dir(dir.path()).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.starts_with(prefix)).count()
        };
        assert_eq!(count(SESSION_PREFIX), 5);
        assert_eq!(count(FILE), 5 + 3);
        assert!(dir.path().join(format!("{SESSION_PREFIX}99")).exists());
    }

    #[test]
    fn a_renamed_file_is_begun_anew() {
        let bench = bench();
        let dir = bench.dir.path().join("log");
        bench.log.service(now(), "one");
        while !dir.join(FILE).exists() {
            std::thread::yield_now();
        }
        std::fs::rename(dir.join(FILE), dir.join("old")).unwrap();
        bench.log.service(now(), "two");
        assert!(bench.read(FILE).ends_with("* two\n"));
    }
}
