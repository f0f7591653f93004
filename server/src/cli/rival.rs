//! FOG's own multicast manager: it and this server would both send the sessions of FOG's database.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::bail;

use crate::store::ManagerLog;

/// Where signs of FOG's manager are looked for.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// Where processes are.
    pub(super) processes: PathBuf,
    /// What it writes to. A process in a container is not seen from outside, nor the other way round; its log is.
    pub(super) log: Option<ManagerLog>,
}

/// By what it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sign {
    /// The number of its process.
    Process(u32),
    /// It writes to this file.
    Log(PathBuf),
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(number) => write!(f, "process {number}"),
            Self::Log(path) => write!(
                f,
                "it writes to {}, perhaps from a container",
                path.display()
            ),
        }
    }
}

impl Places {
    /// Of this machine. Where this server writes its own log, that is no sign.
    pub(super) fn new(log: Option<ManagerLog>, own_logs: &Path) -> Self {
        let is_own = |log: &ManagerLog| {
            let theirs = log.path.parent().map(Path::canonicalize);
            let own = own_logs.canonicalize();
            matches!((theirs, own), (Some(Ok(theirs)), Ok(own)) if theirs == own)
        };
        Self {
            processes: PROCESSES.into(),
            log: log.filter(|log| !is_own(log)),
        }
    }
}

/// Makes sure that FOG's manager does not run on this machine. Where its log was written to a moment ago, that is known
/// when it has had the time to write again.
///
/// # Errors
/// If it does.
pub(super) async fn check(places: &Places) -> anyhow::Result<()> {
    let mut found = find(&places.processes).map(Sign::Process);
    if found.is_none()
        && let Some(log) = &places.log
        && is_fresh(log)
    {
        tracing::info!(
            "server: {} was written to a moment ago; waiting {} s to see whether FOG's own {MANAGER} still does",
            log.path.display(),
            log.silence().as_secs()
        );
        let mut growth = Growth::new(log.silence());
        let began = tokio::time::Instant::now();
        while found.is_none() && began.elapsed() < log.silence() {
            let now = tokio::time::Instant::now().into_std();
            if growth.look(now, stamp(&log.path)) {
                found = Some(Sign::Log(log.path.clone()));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    match found {
        Some(sign) => bail!(
            "FOG's own {MANAGER} runs here ({sign}): both would send the sessions of FOG's database. Stop it first, \
             for good: systemctl disable --now {MANAGER}"
        ),
        None => Ok(()),
    }
}

/// Looks again and again whether it runs, as it may be started later, and says so when that changes.
pub(super) async fn watch(places: Places, period: Duration, mut tell: impl FnMut(Option<String>)) {
    let mut known = None;
    let mut growth = places.log.as_ref().map(|log| Growth::new(log.silence()));
    loop {
        tokio::time::sleep(period).await;
        let look = places.clone();
        let seen = tokio::task::spawn_blocking(move || {
            let stamp = look.log.and_then(|log| stamp(&log.path));
            (find(&look.processes), stamp)
        });
        let Ok((process, stamp)) = seen.await else {
            continue;
        };
        let grows = growth
            .as_mut()
            .is_some_and(|growth| growth.look(Instant::now(), stamp));
        let log = places.log.as_ref().filter(|_| grows);
        let log = log.map(|log| Sign::Log(log.path.clone()));
        let found = process.map(Sign::Process).or(log);
        if found != known {
            tell(found.as_ref().map(|sign| {
                format!(
                    "FOG's own {MANAGER} runs here, too ({sign}): what is begun now would be sent twice. \
                     Stop it, for good: systemctl disable --now {MANAGER}"
                )
            }));
            known = found;
        }
    }
}

/// What changes when a file is written or replaced: inode, length, seconds and nanoseconds.
type Stamp = (u64, u64, i64, i64);

fn stamp(path: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec()))
}

fn is_fresh(log: &ManagerLog) -> bool {
    let written = std::fs::metadata(&log.path).and_then(|meta| meta.modified());
    // A time to come is as fresh.
    written.is_ok_and(|at| at.elapsed().unwrap_or_default() <= log.silence())
}

/// Whether a file is written to.
#[derive(Debug)]
struct Growth {
    silence: Duration,
    last: Option<Option<Stamp>>,
    /// When it was seen to have changed.
    changed: Option<Instant>,
}

impl Growth {
    /// It is not any more after this silence.
    fn new(silence: Duration) -> Self {
        Self {
            silence,
            last: None,
            changed: None,
        }
    }

    fn look(&mut self, now: Instant, stamp: Option<Stamp>) -> bool {
        let last = self.last.replace(stamp);
        // One that is removed is not written to.
        if stamp.is_some() && last.is_some_and(|last| last != stamp) {
            self.changed = Some(now);
        }
        let changed = self.changed;
        changed.is_some_and(|at| now.saturating_duration_since(at) <= self.silence)
    }
}

/// The number of its process, or of one of them.
pub(super) fn find(processes: &Path) -> Option<u32> {
    let entries = std::fs::read_dir(processes).ok()?;
    let is_manager = |directory: &Path| {
        let line = std::fs::read(directory.join("cmdline")).unwrap_or_default();
        // Its interpreter, options, itself; not a file that a person looks at.
        let mut words = line.split(|byte| *byte == 0);
        let interpreter = words.next().map(|word| Path::new(OsStr::from_bytes(word)));
        let interpreter = interpreter.and_then(Path::file_name).unwrap_or_default();
        let is_php = interpreter.as_bytes().starts_with(b"php");
        let is_name = |word: &[u8]| {
            Path::new(OsStr::from_bytes(word)).file_name() == Some(OsStr::new(MANAGER))
        };
        interpreter == MANAGER || (is_php && words.any(is_name))
    };
    let mut found: Vec<u32> = entries
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            is_manager(&entry.path()).then_some(number)
        })
        .collect();
    found.sort_unstable();
    found.first().copied()
}

const MANAGER: &str = "FOGMulticastManager";

/// Where processes are.
const PROCESSES: &str = "/proc";

/// Between two looks.
pub(super) const PERIOD: Duration = Duration::from_secs(10);

/// Between two looks at a log that was written to a moment ago.
const LOOK: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manager_that_comes_later_is_told_until_it_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        let log = ManagerLog {
            path: dir.path().join("multicast.log"),
            period: Duration::ZERO,
        };
        let places = Places {
            processes: dir.path().into(),
            log: Some(log.clone()),
        };
        let watch = watch(places, Duration::from_millis(1), move |found| {
            told.send(found).unwrap();
        });
        let watch = tokio::spawn(watch);
        let process = dir.path().join("77");
        std::fs::create_dir(&process).unwrap();
        std::fs::write(process.join("cmdline"), MANAGER).unwrap();
        let text = heard.recv().await.unwrap().unwrap();
        assert!(text.contains("process 77"), "{text}");
        std::fs::remove_dir_all(&process).unwrap();
        assert_eq!(heard.recv().await.unwrap(), None);
        // In a container: its log alone is seen, for as long as it is written to.
        std::fs::write(&log.path, "a line").unwrap();
        let text = heard.recv().await.unwrap().unwrap();
        assert!(text.contains("multicast.log, perhaps from"), "{text}");
        watch.abort();
    }

    #[test]
    fn a_log_is_written_to_until_it_is_silent_for_long() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut growth = Growth::new(Duration::from_secs(25));
        let stamp = |len| Some((1, len, 0, 0));
        assert!(!growth.look(at(0), stamp(5)));
        assert!(!growth.look(at(10), stamp(5)));
        assert!(!growth.look(at(20), None));
        assert!(growth.look(at(30), stamp(1)));
        assert!(growth.look(at(55), stamp(1)));
        assert!(!growth.look(at(56), stamp(1)));
        assert!(growth.look(at(57), Some((1, 1, 0, 1))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_stays_as_it_is_keeps_no_server_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("multicast.log");
        let period = Duration::ZERO;
        let log = ManagerLog { path, period };
        let places = Places {
            processes: dir.path().into(),
            log: Some(log.clone()),
        };
        check(&places).await.unwrap();
        std::fs::write(&log.path, "a line").unwrap();
        let old = std::time::SystemTime::now() - Duration::from_secs(3600);
        let file = std::fs::File::options().write(true).open(&log.path);
        file.unwrap().set_modified(old).unwrap();
        assert!(!is_fresh(&log));
        check(&places).await.unwrap();
        // Written to again and again.
        let writer = {
            let path = log.path.clone();
            std::fs::write(&path, "").unwrap();
            tokio::spawn(async move {
                for count in 1.. {
                    std::fs::write(&path, "x".repeat(count % 1000)).unwrap();
                    tokio::time::sleep(LOOK / 2).await;
                }
            })
        };
        let refused = check(&places).await.unwrap_err().to_string();
        assert!(refused.contains("it writes to"), "{refused}");
        writer.abort();
        // Where this server writes its own log, that is no sign.
        let places = Places::new(Some(log), dir.path());
        assert!(places.log.is_none());
    }

    #[test]
    fn the_manager_is_found_among_processes() {
        let dir = tempfile::tempdir().unwrap();
        let process = |number: &str, words: &[&str]| {
            let place = dir.path().join(number);
            std::fs::create_dir(&place).unwrap();
            std::fs::write(place.join("cmdline"), words.join("\0") + "\0").unwrap();
        };
        process("1", &["/sbin/init"]);
        process("2", &[]);
        process(
            "7",
            &[
                "vi",
                "/opt/fog/service/FOGMulticastManager/FOGMulticastManager",
            ],
        );
        process(
            "8",
            &["php", "-q", "/opt/fog/service/FOGImageSize/FOGImageSize"],
        );
        process("sys", &["php", "FOGMulticastManager"]);
        assert_eq!(find(dir.path()), None);
        let manager = "/opt/fog/service/FOGMulticastManager/FOGMulticastManager";
        process("30", &["/usr/bin/php8.2", "-q", manager]);
        process("4", &["/usr/bin/php", "-q", manager]);
        assert_eq!(find(dir.path()), Some(4));
        assert_eq!(find(&dir.path().join("missing")), None);
    }
}
