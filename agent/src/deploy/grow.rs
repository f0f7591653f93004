//! File systems of resizable images are grown to their partitions, by the programs that belong to them.
//!
//! This is done before the partition table is written, on a loop device that shows the partition alone.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deploy_plan::{DeployPlan, Growable, Place, Step, Warning, WhichPlace};
use disk::{Target, WriteError};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};

use readable::Time;

use super::ending::{Ending, Next};
use super::pulse::{self, HANGS_AFTER, PERIOD, Pulse, Verdict};

/// Why a file system was not grown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GrowError {
    /// The disk has the partition as it was captured.
    #[error("{0}")]
    Lacking(Lack),
    /// The partition's content cannot be relied on any more.
    #[error("growing the {kind} of {which}: {cause}")]
    Failed {
        which: WhichPlace,
        kind: Growable,
        cause: Cause,
    },
}

/// What this machine does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lack {
    Program(&'static str),
    LoopDevices,
    FileSystem(&'static str),
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(name) => write!(f, "program {name}"),
            Self::LoopDevices => f.write_str("loop devices"),
            Self::FileSystem(name) => write!(f, "driver of the file system {name}"),
        }
    }
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error("starting {program}: {source}")]
    Start {
        program: &'static str,
        source: io::Error,
    },
    #[error("{program} failed ({status}): {said}")]
    Program {
        program: &'static str,
        status: ExitStatus,
        /// The end of what it printed.
        said: String,
    },
    #[error(
        "{program} hung and was ended: it had no output, no time on the processor and no I/O for {}: {said}; the \
         disk may be defective",
        Time(*.silent)
    )]
    Hung {
        program: &'static str,
        silent: Duration,
        /// The end of what it printed.
        said: String,
    },
    #[error("making a loop device of it: {0}")]
    LoopDevice(io::Error),
    #[error("working on a copy of its files: {0}")]
    Copy(io::Error),
    #[error("mounting it: {0}")]
    Mount(io::Error),
    #[error("unmounting it: {0}")]
    Unmount(Errno),
    #[error("{0}")]
    Disk(#[from] WriteError),
}

/// One program to run. `DEVICE` stands for the device, `MOUNT` for where it is mounted.
struct Call {
    program: &'static str,
    args: &'static [&'static str],
    /// Exit statuses that mean success.
    good: &'static [i32],
}

const DEVICE: &str = "{device}";
const MOUNT: &str = "{mount}";

/// How one kind is grown.
struct Recipe {
    /// Name for the mount system call, if it is grown while it is mounted.
    mounted_as: Option<&'static str>,
    calls: &'static [Call],
}

/// e2fsck: 1 is "errors corrected", 2 asks for a restart, which comes anyway.
const CHECKED: &[i32] = &[0, 1, 2];

fn recipe(kind: Growable) -> Recipe {
    match kind {
        Growable::Ext => Recipe {
            mounted_as: None,
            calls: &[
                Call {
                    program: "e2fsck",
                    args: &["-f", "-y", DEVICE],
                    good: CHECKED,
                },
                Call {
                    program: "resize2fs",
                    args: &[DEVICE],
                    good: &[0],
                },
                Call {
                    program: "e2fsck",
                    args: &["-f", "-y", DEVICE],
                    good: CHECKED,
                },
            ],
        },
        Growable::Ntfs => Recipe {
            mounted_as: None,
            calls: &[
                // Twice forced: no question. Bad sectors in its list are those of the captured disk.
                Call {
                    program: "ntfsresize",
                    args: &["-f", "-f", "-b", "-P", DEVICE],
                    good: &[0],
                },
                // The resize asks for a check at the next start of Windows, which nothing needs.
                NTFS_FLAGS,
            ],
        },
        Growable::Btrfs => Recipe {
            mounted_as: Some("btrfs"),
            calls: &[Call {
                program: "btrfs",
                args: &["filesystem", "resize", "max", MOUNT],
                good: &[0],
            }],
        },
        Growable::Xfs => Recipe {
            mounted_as: Some("xfs"),
            calls: &[Call {
                program: "xfs_growfs",
                args: &[MOUNT],
                good: &[0],
            }],
        },
        Growable::F2fs => Recipe {
            mounted_as: None,
            calls: &[Call {
                program: "resize.f2fs",
                args: &[DEVICE],
                good: &[0],
            }],
        },
    }
}

/// What this machine can grow file systems with.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    /// Where programs are found.
    places: Vec<PathBuf>,
    has_loop_devices: bool,
}

impl Tools {
    /// Those of this machine.
    pub(crate) fn installed() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
        places.extend(["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from));
        Self {
            places,
            has_loop_devices: Path::new("/dev/loop-control").exists(),
        }
    }

    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self {
            places: Vec::new(),
            has_loop_devices: true,
        }
    }

    /// Those of a directory, before those of this machine.
    #[cfg(test)]
    pub(crate) fn with(dir: &Path) -> Self {
        let mut tools = Self::installed();
        tools.places.insert(0, dir.into());
        tools
    }

    pub(crate) fn find(&self, name: &str) -> Option<PathBuf> {
        let mut paths = self.places.iter().map(|place| place.join(name));
        paths.find(|path| {
            path.metadata()
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
    }

    /// The first thing that is missing for this kind, as far as that can be known beforehand.
    fn lack(&self, kind: Growable) -> Option<Lack> {
        let calls = recipe(kind).calls.iter();
        calls
            .map(|call| call.program)
            .find(|program| self.find(program).is_none())
            .map(Lack::Program)
            .or_else(|| (!self.has_loop_devices).then_some(Lack::LoopDevices))
    }

    /// What this machine will leave as it was captured.
    pub(crate) fn warnings(&self, plan: &DeployPlan) -> Vec<Warning> {
        let steps = plan.steps();
        let lacking = steps.filter_map(|step| match step {
            Step::Grow(place, kind) => Some(cannot(place.which(), kind, &self.lack(kind)?)),
            _ => None,
        });
        lacking.collect()
    }
}

/// How programs are run.
pub(crate) struct Programs<'a> {
    /// Where they are.
    pub(crate) tools: &'a Tools,
    /// What ends them.
    pub(crate) ending: &'a Ending,
    /// Hears of the one that runs, again and again: some run for minutes and print nothing.
    pub(crate) running: &'a (dyn Fn(Running<'_>) + Sync),
    /// How long a program may give no sign of work.
    pub(crate) limit: Duration,
}

impl<'a> Programs<'a> {
    pub(crate) fn new(
        tools: &'a Tools,
        ending: &'a Ending,
        running: &'a (dyn Fn(Running<'_>) + Sync),
    ) -> Self {
        Self {
            tools,
            ending,
            running,
            limit: HANGS_AFTER,
        }
    }
}

/// A program at work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Running<'a> {
    pub(crate) program: &'a str,
    /// How far it is, if it says so.
    pub(crate) percent: Option<f64>,
    /// For how long it has given no sign of work, once that is worth a word.
    pub(crate) silent: Option<Duration>,
}

impl<'a> Running<'a> {
    pub(super) fn begun(program: &'a str) -> Self {
        Self {
            program,
            percent: None,
            silent: None,
        }
    }

    /// What is being done; `what` is the work that the program is for.
    pub(crate) fn activity(&self, what: &str) -> String {
        let runs = format!("{what}: {} runs", self.program);
        match self.percent {
            Some(percent) => format!("{runs}, {percent:.0} %"),
            None => runs,
        }
    }

    /// What is waited for.
    pub(crate) fn awaited(&self, what: &str) -> String {
        match self.silent {
            Some(_) => format!("a sign of work of {} ({what})", self.program),
            None => format!("{} ({what})", self.program),
        }
    }

    /// What is known of it, and what could be done. The same as long as little changes.
    pub(super) fn news(&self) -> String {
        match (self.silent, self.percent) {
            (Some(_), _) => format!("{SILENT}. It is ended after {} of this", Time(HANGS_AFTER)),
            (None, Some(percent)) if percent >= 10.0 => {
                let tens = (percent / 10.0).floor() * 10.0;
                format!("more than {tens:.0} % is done; {CANCEL}")
            }
            (None, _) => format!("it may take minutes where there are many files; {CANCEL}"),
        }
    }
}

/// The program that works on a disk now, for those who follow the deploy.
#[derive(Debug, Clone, Default)]
pub(crate) struct AtWork(Arc<Mutex<Option<Work>>>);

#[derive(Debug, Clone)]
struct Work {
    what: String,
    program: String,
    percent: Option<f64>,
    silent: Option<Duration>,
}

impl AtWork {
    pub(super) fn set(&self, what: &str, running: Running<'_>) {
        let work = Work {
            what: what.to_owned(),
            program: running.program.to_owned(),
            percent: running.percent,
            silent: running.silent,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(work);
    }

    /// What is waited for, and what is known of it.
    pub(super) fn look(&self) -> Option<(String, String)> {
        let work = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let work = work.as_ref()?;
        let running = Running {
            program: &work.program,
            percent: work.percent,
            silent: work.silent,
        };
        Some((running.awaited(&work.what), running.news()))
    }
}

const CANCEL: &str = "a cancel on the server ends it";

/// What is known of a program that gives no sign of work.
const SILENT: &str = "it prints nothing, takes no time on the processor and moves no data; a disk that fails \
    makes programs wait like this";

/// For people: the partition keeps its size for want of something.
fn cannot(which: WhichPlace, kind: Growable, lack: &Lack) -> Warning {
    Warning::CannotGrow {
        which,
        kind,
        lacks: lack.to_string(),
    }
}

/// Grows the file system of a partition that is completely written. `Ok(Some(..))`: it was left as it is,
/// which no earlier warning says.
///
/// # Errors
/// [`GrowError::Failed`]; the disk cannot become bootable then. So it ends when the deploy is given up.
pub(crate) fn grow(
    place: Place<'_>,
    kind: Growable,
    target: &Target,
    programs: &Programs<'_>,
) -> Result<Option<Warning>, GrowError> {
    if programs.tools.lack(kind).is_some() {
        // It was warned of before the first write.
        return Ok(None);
    }
    match grow_with(place, kind, target, programs) {
        Ok(()) => Ok(None),
        Err(GrowError::Lacking(lack)) => Ok(Some(cannot(place.which(), kind, &lack))),
        Err(error) => Err(error),
    }
}

fn grow_with(
    place: Place<'_>,
    kind: Growable,
    target: &Target,
    programs: &Programs<'_>,
) -> Result<(), GrowError> {
    let failed = |cause| GrowError::Failed {
        which: place.which(),
        kind,
        cause,
    };
    let device = target
        .region_device(place.offset(), place.len())
        .map_err(|error| match error.raw_os_error().map(Errno::from_raw) {
            // The node may be there without the driver.
            Some(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO) => {
                GrowError::Lacking(Lack::LoopDevices)
            }
            _ => failed(Cause::LoopDevice(error)),
        })?;
    let recipe = recipe(kind);
    let done = match recipe.mounted_as {
        None => run_all(recipe.calls, device.path(), Path::new(""), programs).map_err(failed),
        Some(name) => alone(|| match Mounted::new(device.path(), name) {
            Ok(mounted) => run_all(recipe.calls, device.path(), mounted.path(), programs)
                .and_then(|()| mounted.finish())
                .map_err(failed),
            Err(error) if error.raw_os_error().map(Errno::from_raw) == Some(Errno::ENODEV) => {
                Err(GrowError::Lacking(Lack::FileSystem(name)))
            }
            Err(error) => Err(failed(Cause::Mount(error))),
        })
        .map_err(|error| failed(Cause::Mount(error)))
        .flatten(),
    };
    match done {
        Ok(()) | Err(GrowError::Lacking(_)) => {
            device.finish().map_err(|error| failed(error.into()))?;
        }
        Err(ref error @ GrowError::Failed { .. }) => device.spoil(error),
    }
    done
}

/// Clears the dirty flag and the list of bad sectors of an NTFS, which are those of the captured disk. FOG's client does
/// that, and goes on if it fails, so what is answered is only for people. Without the program they stay.
pub(crate) fn clear_ntfs_flags(
    place: Place<'_>,
    target: &Target,
    programs: &Programs<'_>,
) -> Option<String> {
    let tools = programs.tools;
    if tools.find(NTFS_FLAGS.program).is_none() || !tools.has_loop_devices {
        return None;
    }
    let device = target.region_device(place.offset(), place.len());
    // Without loop devices it is as without the program.
    let device = device.ok()?;
    let done = match has_old_marks(device.path()) {
        false => Ok(()),
        true => run(&NTFS_FLAGS, device.path(), Path::new(""), programs),
    };
    // A disk that fails here cannot become bootable, and says why then.
    let finished = device.finish().map_err(Cause::from);
    done.and(finished).err().map(|cause| {
        format!(
            "the dirty flag of the NTFS in {} was not cleared, so Windows may check it at the first start: {cause}",
            place.which()
        )
    })
}

/// The program changes an NTFS that needs nothing, too: such a one is left as it was captured. What cannot be found out is
/// the program's matter.
fn has_old_marks(device: &Path) -> bool {
    let Ok(file) = File::open(device) else {
        return true;
    };
    let found = disk::has_old_marks(|at, buffer| file.read_exact_at(buffer, at));
    !matches!(found, Ok(Some(false)))
}

const NTFS_FLAGS: Call = Call {
    program: "ntfsfix",
    args: &["-b", "-d", DEVICE],
    good: &[0],
};

fn run_all(
    calls: &[Call],
    device: &Path,
    mount: &Path,
    programs: &Programs<'_>,
) -> Result<(), Cause> {
    calls
        .iter()
        .try_for_each(|call| run(call, device, mount, programs))
}

fn run(call: &Call, device: &Path, mount: &Path, programs: &Programs<'_>) -> Result<(), Cause> {
    let program = call.program;
    let start = |source| Cause::Start { program, source };
    let path = programs.tools.find(program);
    let path = path.ok_or_else(|| start(io::ErrorKind::NotFound.into()))?;
    (programs.running)(Running::begun(program));
    let (mut output, input) = io::pipe().map_err(start)?;
    let mut command = Command::new(path);
    let args = call.args.iter().map(|&arg| match arg {
        DEVICE => device.as_os_str(),
        MOUNT => mount.as_os_str(),
        arg => arg.as_ref(),
    });
    command
        .args(args)
        // What it prints is for a report; a translation would be of no use there.
        .env("LC_ALL", "C")
        // By which its processes are found.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(input.try_clone().map_err(start)?)
        .stderr(input);
    let child = command.spawn().map_err(start)?;
    // Its copies of the pipe's end are closed with it.
    drop(command);
    let group = child.id().cast_signed();
    let said = Said::default();
    let hung = Mutex::new(None);
    let place = pulse::Place::of_device(device);
    let mut pulse = Pulse::new(Instant::now(), programs.limit);
    let is_silent = AtomicBool::new(false);
    let look = || {
        let (count, percent) = said.look();
        let verdict = pulse.feel(place.signs(group, count), Instant::now());
        let silent = match verdict {
            Verdict::Works => None,
            Verdict::Silent(silent) | Verdict::Hangs(silent) => Some(silent),
        };
        is_silent.store(silent.is_some(), Ordering::Relaxed);
        (programs.running)(Running {
            program,
            percent,
            silent,
        });
        match verdict {
            Verdict::Hangs(silent) => {
                *hung.lock().unwrap_or_else(PoisonError::into_inner) = Some(silent);
                Next::End
            }
            Verdict::Works | Verdict::Silent(_) => Next::GoesOn,
        }
    };
    let period = PERIOD.min(programs.limit);
    let attended = (programs.ending).attend_while(period, look, child, || said.read(&mut output));
    let ((), status) = attended.map_err(start)?;
    if is_silent.load(Ordering::Relaxed) {
        (programs.running)(Running::begun(program));
    }
    if status.code().is_some_and(|code| call.good.contains(&code)) {
        return Ok(());
    }
    let said = said.words();
    let hung = hung.into_inner().unwrap_or_else(PoisonError::into_inner);
    Err(match hung {
        Some(silent) => Cause::Hung {
            program,
            silent,
            said,
        },
        None => Cause::Program {
            program,
            status,
            said,
        },
    })
}

/// What a program prints, of which there may be any amount: its end is kept.
#[derive(Debug, Default)]
pub(crate) struct Said(Mutex<(u64, Vec<u8>)>);

impl Said {
    /// Reads to the end.
    pub(crate) fn read(&self, output: &mut impl Read) {
        let mut buffer = [0; 4096];
        loop {
            match output.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                    let (all, kept) = &mut *said;
                    *all = all.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
                    kept.extend_from_slice(&buffer[..count]);
                    kept.drain(..kept.len().saturating_sub(MAX_SAID));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }

    /// How many bytes came, and how far the program says that it is.
    fn look(&self) -> (u64, Option<f64>) {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (said.0, pulse::percent(&said.1))
    }

    /// The last lines.
    pub(crate) fn words(&self) -> String {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&said.1);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        // Blanks were added to the lines, at most as many as there are octets.
        fog::encoding::printable(&lines.collect::<Vec<_>>().join("; "), 2 * MAX_SAID)
    }
}

/// Runs `work` where no other process sees its mounts. One that is started at that moment would keep a file
/// system mounted in a namespace of its own, and what it has not written would be missing on the disk.
pub(crate) fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let own = std::thread::Builder::new().name("grow".into());
        let own = own.spawn_scoped(scope, || {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&Path>, "/", None::<&Path>, flags, None::<&Path>)?;
            Ok(work())
        })?;
        own.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A file system that is mounted while it is grown.
struct Mounted {
    /// `None` when it was unmounted.
    at: Option<PathBuf>,
    path: PathBuf,
}

impl Mounted {
    fn new(device: &Path, name: &str) -> io::Result<Self> {
        // One for each device, whatever else is mounted.
        let path = Path::new(MOUNT_POINTS).join(device.file_name().unwrap_or_default());
        std::fs::create_dir_all(&path)?;
        let flags = MsFlags::MS_NOATIME | MsFlags::MS_NOEXEC | MsFlags::MS_NODEV;
        // A disk that was cloned may be in this machine, too.
        let options = (name == "xfs").then_some("nouuid");
        mount(Some(device), &path, Some(name), flags, options)?;
        Ok(Self {
            at: Some(path.clone()),
            path,
        })
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn finish(mut self) -> Result<(), Cause> {
        match self.at.take() {
            Some(path) => unmount(&path).map_err(Cause::Unmount),
            None => Ok(()),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(path) = self.at.take() {
            // It was not grown; that is what is reported.
            unmount(&path).unwrap_or_default();
        }
    }
}

fn unmount(path: &Path) -> nix::Result<()> {
    umount(path)?;
    // An empty directory is in nobody's way.
    std::fs::remove_dir(path).unwrap_or_default();
    Ok(())
}

/// Directory of mount points.
const MOUNT_POINTS: &str = "/run/fos-agent/grow";
/// Bytes of a program's output that a report has.
const MAX_SAID: usize = 600;

#[cfg(test)]
#[path = "grow_tests.rs"]
mod tests;
