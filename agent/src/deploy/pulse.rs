//! Whether a program that works on a disk still works: some run for minutes and print nothing.
//!
//! Any sign of work counts: output, time on a processor, reading and writing, and what its device has finished, as some
//! let the kernel do the work. A program that has none of them for [`HANGS_AFTER`] hangs. One that works is never ended.

use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, io};

use readable::NAMED_AFTER;

use super::ending::{Ending, Next};

/// What grows while a program works. What cannot be read is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Signs {
    /// Bytes of output.
    pub(super) output: u64,
    /// Of all its processes, in the kernel's ticks.
    processor: Option<u64>,
    /// Bytes that they read and wrote, wherever.
    io: Option<u64>,
    /// Requests that its device has finished.
    device: Option<u64>,
}

/// What is to be said of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Works,
    /// No sign of work for so long.
    Silent(Duration),
    /// It would stay like this for ever.
    Hangs(Duration),
}

/// The last change of the signs.
#[derive(Debug)]
pub(super) struct Pulse {
    signs: Signs,
    since: Instant,
    limit: Duration,
}

impl Pulse {
    pub(super) fn new(now: Instant, limit: Duration) -> Self {
        Self {
            signs: Signs::default(),
            since: now,
            limit,
        }
    }

    /// Judges by the present signs.
    pub(super) fn feel(&mut self, signs: Signs, now: Instant) -> Verdict {
        if signs != self.signs {
            self.signs = signs;
            self.since = now;
        }
        let silent = now.saturating_duration_since(self.since);
        // Without both it may compute or copy, unseen.
        let is_known = signs.processor.is_some() && signs.io.is_some();
        if silent >= self.limit && is_known {
            Verdict::Hangs(silent)
        } else if silent >= NAMED_AFTER {
            Verdict::Silent(silent)
        } else {
            Verdict::Works
        }
    }
}

/// Where the signs of a program are read.
#[derive(Debug, Clone)]
pub(super) struct Place {
    proc: PathBuf,
    /// What the kernel counts of its device, if it has one.
    device: Option<PathBuf>,
}

impl Place {
    /// Of a program that works on this device.
    pub(super) fn of_device(device: &Path) -> Self {
        let name = device.file_name();
        let stat = name.map(|name| Path::new("/sys/class/block").join(name).join("stat"));
        Self {
            device: stat,
            ..Self::default()
        }
    }

    /// The signs of all processes of a group.
    pub(super) fn signs(&self, group: i32, output: u64) -> Signs {
        let mut signs = Signs {
            output,
            device: self.device.as_deref().and_then(finished),
            ..Signs::default()
        };
        for entry in fs::read_dir(&self.proc).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let is_process = name
                .to_str()
                .is_some_and(|name| name.parse::<i32>().is_ok());
            if !is_process {
                continue;
            }
            let dir = entry.path();
            // It may end while it is looked at.
            let stat = fs::read_to_string(dir.join("stat")).unwrap_or_default();
            let Some(ticks) = ticks_in_group(&stat, group) else {
                continue;
            };
            signs.processor = Some(signs.processor.unwrap_or(0).saturating_add(ticks));
            let io = fs::read_to_string(dir.join("io")).ok();
            if let Some(bytes) = io.as_deref().and_then(bytes_moved) {
                signs.io = Some(signs.io.unwrap_or(0).saturating_add(bytes));
            }
        }
        signs
    }
}

impl Default for Place {
    /// Of a program without a device.
    fn default() -> Self {
        Self {
            proc: "/proc".into(),
            device: None,
        }
    }
}

/// Runs `work` and waits for the end of `child`, which is the first of a group of its own, with its status. One that
/// shows no sign of work for `limit` is killed with its group: how long that was is in the inner error.
///
/// # Errors
/// It cannot be waited for.
pub(crate) fn attend_working<T>(
    limit: Duration,
    child: Child,
    work: impl FnOnce() -> T,
) -> io::Result<Result<(T, ExitStatus), Duration>> {
    attend_reading(limit, &Ending::default(), &Waiting::always(), child, work)
}

/// Whether somebody waits for what a program writes: it may rest as long as nobody does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiting(Arc<AtomicU64>);

impl Waiting {
    /// From the beginning to the end.
    pub(crate) fn always() -> Self {
        let waiting = Self::default();
        waiting.begin();
        waiting
    }

    pub(crate) fn begin(&self) {
        self.0.fetch_or(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Grows with each end, and is odd while somebody waits.
    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The same, while somebody reads from the program, and giving up kills it, too.
///
/// # Errors
/// It cannot be waited for.
pub(crate) fn attend_reading<T>(
    limit: Duration,
    ending: &Ending,
    waiting: &Waiting,
    child: Child,
    work: impl FnOnce() -> T,
) -> io::Result<Result<(T, ExitStatus), Duration>> {
    let group = child.id().cast_signed();
    let hung = Mutex::new(None);
    let mut pulse = Pulse::new(Instant::now(), limit);
    let look = || {
        let (now, count) = (Instant::now(), waiting.count());
        if count % 2 == 0 {
            pulse = Pulse::new(now, limit);
            return Next::GoesOn;
        }
        let signs = Place::default().signs(group, count);
        let Verdict::Hangs(silent) = pulse.feel(signs, now) else {
            return Next::GoesOn;
        };
        *hung.lock().unwrap_or_else(PoisonError::into_inner) = Some(silent);
        Next::End
    };
    let attended = ending.attend_while(PERIOD.min(limit), look, child, work)?;
    let hung = hung.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(hung.map_or(Ok(attended), Err))
}

/// Time on a processor, of a process of this group and of its children that have ended (`/proc/PID/stat`).
fn ticks_in_group(stat: &str, group: i32) -> Option<u64> {
    // The name of the program, in brackets, may have blanks and brackets in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // Behind the name: state, parent, group.
    if fields.get(2)?.parse() != Ok(group) {
        return None;
    }
    let ticks = fields.get(11..15)?.iter();
    Some(ticks.filter_map(|ticks| ticks.parse::<u64>().ok()).sum())
}

/// `rchar`, `wchar`, `read_bytes` and `write_bytes` of `/proc/PID/io`.
fn bytes_moved(io: &str) -> Option<u64> {
    let counted = io.lines().filter_map(|line| {
        let (name, count) = line.split_once(": ")?;
        matches!(name, "rchar" | "wchar" | "read_bytes" | "write_bytes")
            .then(|| count.trim().parse::<u64>().ok())?
    });
    counted.reduce(u64::saturating_add)
}

/// Reads, writes, discards and flushes that a block device has finished (`stat` in sysfs).
fn finished(stat: &Path) -> Option<u64> {
    let text = fs::read_to_string(stat).ok()?;
    let fields: Vec<u64> = text
        .split_whitespace()
        .filter_map(|field| field.parse().ok())
        .collect();
    let counts = [0, 4, 11, 15].into_iter().filter_map(|at| fields.get(at));
    counts.copied().reduce(u64::saturating_add)
}

/// How far a program says that it is, in percent: the last number before `%` or `percent` in its output.
pub(super) fn percent(output: &[u8]) -> Option<f64> {
    let text = String::from_utf8_lossy(output);
    let end = ["%", " percent"]
        .into_iter()
        .filter_map(|sign| text.rfind(sign))
        .max()?;
    let before = text.get(..end)?;
    let start = before
        .rfind(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .map_or(0, |at| at + 1);
    // The start of the number may not be there any more.
    let is_whole = start > 0 || !text.starts_with(|letter: char| letter.is_ascii_digit());
    let percent: f64 = before.get(start..).filter(|_| is_whole)?.parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent)
}

/// Far more than a program waits for anything: a disk that answers so late is given up by the kernel before.
pub(crate) const HANGS_AFTER: Duration = Duration::from_secs(600);
/// Between two looks.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn signs(output: u64, processor: u64, io: u64, device: u64) -> Signs {
        Signs {
            output,
            processor: Some(processor),
            io: Some(io),
            device: Some(device),
        }
    }

    #[test]
    fn any_sign_of_work_counts() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let limit = Duration::from_secs(60);
        let mut pulse = Pulse::new(start, limit);
        let mut now = 0;
        for sign in [
            signs(1, 0, 0, 0),
            signs(1, 1, 0, 0),
            signs(1, 1, 1, 0),
            signs(1, 1, 1, 1),
            // One of its processes has ended.
            signs(1, 0, 0, 1),
        ] {
            now += 59;
            assert_eq!(pulse.feel(sign, at(now)), Verdict::Works);
        }
        let last = signs(1, 0, 0, 1);
        let silent = |seconds| Duration::from_secs(seconds);
        assert_eq!(pulse.feel(last, at(now + 1)), Verdict::Works);
        assert_eq!(pulse.feel(last, at(now + 59)), Verdict::Silent(silent(59)));
        assert_eq!(pulse.feel(last, at(now + 60)), Verdict::Hangs(silent(60)));
        assert_eq!(pulse.feel(signs(2, 0, 0, 1), at(now + 61)), Verdict::Works);
    }

    #[test]
    fn a_program_that_cannot_be_seen_is_never_said_to_hang() {
        let start = Instant::now();
        let mut pulse = Pulse::new(start, Duration::from_secs(60));
        let unseen = Signs {
            processor: None,
            ..signs(0, 0, 0, 0)
        };
        let late = Duration::from_secs(3600);
        pulse.feel(unseen, start);
        assert_eq!(pulse.feel(unseen, start + late), Verdict::Silent(late));
    }

    /// The first of a group, with nothing to do for ever.
    fn sleeper() -> Child {
        use std::os::unix::process::CommandExt as _;

        let mut command = std::process::Command::new("sh");
        command
            .args(["-c", "sleep infinity & wait"])
            .process_group(0);
        command.spawn().unwrap()
    }

    #[test]
    fn a_program_that_does_nothing_is_ended_while_somebody_waits_for_it() {
        let limit = Duration::from_millis(20);
        let hung = attend_working(limit, sleeper(), || ()).unwrap();
        assert!(hung.unwrap_err() >= limit);
        // One that ends by itself has its own status.
        let done = std::process::Command::new("sh")
            .args(["-c", "exit 3"])
            .spawn();
        let done = attend_working(HANGS_AFTER, done.unwrap(), || 7).unwrap();
        let (seven, status) = done.unwrap();
        assert_eq!((seven, status.code()), (7, Some(3)));
    }

    #[test]
    fn a_program_that_nobody_reads_from_may_rest() {
        let limit = Duration::from_millis(1);
        let (ending, waiting) = (Ending::default(), Waiting::default());
        let (sleeper, looks) = (sleeper(), std::sync::Barrier::new(2));
        std::thread::scope(|scope| {
            let attended = scope.spawn(|| {
                attend_reading(limit, &ending, &waiting, sleeper, || looks.wait()).unwrap()
            });
            looks.wait();
            assert!(!attended.is_finished());
            waiting.begin();
            waiting.end();
            waiting.begin();
            assert!(attended.join().unwrap().is_err());
        });
    }

    #[test]
    fn the_kernels_counters_of_a_group_are_added() {
        let proc = tempfile::tempdir().unwrap();
        let process = |pid: i32, group: i32, ticks: u64| {
            let dir = proc.path().join(pid.to_string());
            fs::create_dir(&dir).unwrap();
            let stat =
                format!("{pid} (a (b) c) S 1 {group} 7 0 -1 0 1 2 3 4 {ticks} 20 3 4 20 0 1\n");
            fs::write(dir.join("stat"), stat).unwrap();
            let io = "rchar: 1\nwchar: 10\nsyscr: 5\nread_bytes: 100\nwrite_bytes: 1000\n\
                      cancelled_write_bytes: 7\n";
            fs::write(dir.join("io"), io).unwrap();
        };
        process(10, 10, 100);
        process(11, 10, 5);
        process(12, 12, 9);
        fs::create_dir(proc.path().join("self")).unwrap();
        let stat = proc.path().join("stat");
        fs::write(&stat, "  5 0 9 9  7 0 9 9 0 9 9 1 0 9 9 2 9\n").unwrap();
        let place = Place {
            proc: proc.path().into(),
            device: Some(stat),
        };
        assert_eq!(place.signs(10, 3), signs(3, 159, 2222, 15));
        let gone = Signs {
            output: 3,
            device: Some(15),
            ..Signs::default()
        };
        assert_eq!(place.signs(99, 3), gone);
    }

    #[test]
    fn progress_is_read_where_a_program_gives_it() {
        for (output, expected) in [
            (
                &b"Resizing ...\n  0.00 percent completed\r 12.57 percent completed\r"[..],
                Some(12.57),
            ),
            (b"pass 1\n 7%", Some(7.0)),
            (b"2 percent completed\r", None),
            (b"about 300 %", None),
            (b"12 things", None),
            (b"", None),
            (b"%", None),
        ] {
            assert_eq!(percent(output), expected, "{output:?}");
        }
    }
}
