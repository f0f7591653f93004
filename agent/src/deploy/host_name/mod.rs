//! The computer's name in the registry of a restored Windows.
//!
//! As in FOG's client `reged` changes it, but on a copy of the hive, which the programs of ntfs-3g take out of
//! the file system and put back: nothing is mounted, and what was put back is read again and compared. Until it is put
//! back nothing is changed, and what goes wrong is a warning.

mod registry;

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use deploy_plan::{ComputerName, DeployPlan, Place, Warning};
use disk::Target;
use readable::Size;

use super::grow::{Cause, Programs, Running, Tools};
use super::in_memory::InMemory;
use registry::Value;

/// What became of it in one partition.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    /// Windows has the name.
    Done,
    /// No file of this name could be read.
    NoWindows,
    /// Windows has the name that was captured.
    Left(Why),
}

/// Why the name was left as it was.
#[derive(Debug, PartialEq, Eq)]
enum Why {
    /// The partition cannot be had as a device.
    NoDevice(String),
    /// The file is none, was cut, or was being written when it was captured.
    NoHive,
    /// The hive is larger than is taken into memory.
    Huge,
    /// No value has the name.
    NoValue,
    /// The values cannot be named to `reged`.
    Unfit,
    /// `reged` did not change it.
    NotEdited,
    /// The file system did not take the new hive, and has the old one.
    NotTaken,
    /// A program could not be run, or memory is short.
    Failed(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDevice(error) => write!(f, "it cannot be had as a loop device: {error}"),
            Self::NoHive => f.write_str(
                "its registry is not whole: shut the master computer down before it is captured",
            ),
            Self::Huge => write!(f, "its registry is larger than {}", Size(MAX_HIVE)),
            Self::NoValue => f.write_str("its registry has no computer name"),
            Self::Unfit => f.write_str("its registry has a computer name of more than 64 characters"),
            Self::NotEdited => f.write_str("reged did not change its registry"),
            Self::NotTaken => f.write_str(
                "ntfscp did not write its registry; it takes no Windows that hibernates or was captured with Fast \
                 Startup on",
            ),
            Self::Failed(error) => f.write_str(error),
        }
    }
}

/// The programs that are needed.
const PROGRAMS: [&str; 3] = [TAKE_OUT, EDIT, PUT_BACK];

const TAKE_OUT: &str = "ntfscat";
const EDIT: &str = "reged";
const PUT_BACK: &str = "ntfscp";

/// The registry's part that has the name; the second one is that of Windows XP.
const HIVES: [&str; 2] = [
    "Windows/System32/config/SYSTEM",
    "WINDOWS/system32/config/system",
];
/// Usual are 10 to 30 MB. Up to four times as much memory is taken for a moment.
const MAX_HIVE: u64 = 128_000_000;
/// What `reged` ends with when it has written a hive.
const EDITED: i32 = 2;
/// Each program takes seconds. One that takes so long hangs.
const LIMIT: Duration = Duration::from_secs(180);

/// What this machine will not do, as far as that is known beforehand.
pub(crate) fn warning(plan: &DeployPlan, tools: &Tools) -> Option<Warning> {
    let name = plan.computer_name.as_ref()?;
    if plan.maybe_ntfs().next().is_none() {
        let why = "the image has no partition with an NTFS of its own";
        return Some(not_written(name, why.into()));
    }
    let lacking = PROGRAMS
        .into_iter()
        .find(|program| tools.find(program).is_none());
    lacking.map(|program| not_written(name, format!("this boot image lacks the program {program}")))
}

fn not_written(name: &ComputerName, why: String) -> Warning {
    Warning::ComputerName {
        name: name.to_string(),
        why,
    }
}

/// Writes a name into the registry of each Windows of the plan. `Ok(Some(..))`: there is one that has not got it, or
/// none, which no earlier warning says.
///
/// # Errors
/// The content of a partition cannot be relied on any more; the disk cannot become bootable then.
pub(crate) fn write(
    plan: &DeployPlan,
    name: &ComputerName,
    targets: &[Target],
    programs: &Programs<'_>,
) -> anyhow::Result<Option<Warning>> {
    if warning(plan, programs.tools).is_some() {
        // It was warned of before the first write.
        return Ok(None);
    }
    let mut is_written = false;
    let mut left = Vec::new();
    for place in plan.maybe_ntfs() {
        let named = set(place, name, &targets[place.disk.index], programs);
        match named.with_context(|| format!("writing the computer name into {}", place.which()))? {
            Named::Done => is_written = true,
            Named::NoWindows => {}
            Named::Left(why) => left.push(format!("{}: {why}", place.which())),
        }
    }
    if left.is_empty() && !is_written {
        left.push("no partition has a Windows that could be read".into());
    }
    Ok((!left.is_empty()).then(|| not_written(name, left.join("; "))))
}

/// Gives the Windows of a partition, if it is one, a name.
///
/// # Errors
/// The content of the partition cannot be relied on any more.
fn set(
    place: Place<'_>,
    name: &ComputerName,
    target: &Target,
    programs: &Programs<'_>,
) -> Result<Named, Cause> {
    let device = match target.region_device(place.offset(), place.len()) {
        Ok(device) => device,
        Err(error) => return Ok(Named::Left(Why::NoDevice(error.to_string()))),
    };
    let windows = Windows {
        device: device.path(),
        programs,
    };
    let done = match windows.edited(name) {
        Ok(Edited::Has) => Ok(Named::Done),
        Ok(Edited::No) => Ok(Named::NoWindows),
        Ok(Edited::Changed(change)) => windows.put_back(&change),
        Err(why) => Ok(Named::Left(why)),
    };
    match done {
        Ok(named) => {
            device.finish()?;
            Ok(named)
        }
        Err(error) => {
            device.spoil(&error);
            Err(error)
        }
    }
}

/// The file system in which a Windows may be.
struct Windows<'a> {
    device: &'a Path,
    programs: &'a Programs<'a>,
}

/// A hive that is to be put back.
struct Change {
    path: &'static str,
    before: Vec<u8>,
    after: InMemory,
}

/// What the registry is like, and nothing is changed yet.
enum Edited {
    No,
    /// It has the name already.
    Has,
    Changed(Change),
}

impl Windows<'_> {
    fn edited(&self, name: &ComputerName) -> Result<Edited, Why> {
        for path in HIVES {
            if let Some(before) = self.take_out(path).map_err(failed)? {
                return self.edited_hive(path, before, name);
            }
        }
        Ok(Edited::No)
    }

    fn edited_hive(
        &self,
        path: &'static str,
        before: Vec<u8>,
        name: &ComputerName,
    ) -> Result<Edited, Why> {
        if before.len() as u64 > MAX_HIVE {
            return Err(Why::Huge);
        }
        if !is_whole_hive(&before) {
            return Err(Why::NoHive);
        }
        let after = InMemory::new(0).map_err(failed)?;
        after.0.write_all_at(&before, 0).map_err(failed)?;
        let values = self.values(&after).map_err(failed)?;
        if values.is_empty() {
            return Err(Why::NoValue);
        }
        let has_name = |values: &[Value]| values.iter().all(|value| value.text == name.as_str());
        if has_name(&values) {
            return Ok(Edited::Has);
        }
        let script = registry::script(&values, name.as_str()).ok_or(Why::Unfit)?;
        let typed = InMemory::new(0).map_err(failed)?;
        typed.0.write_all_at(script.as_bytes(), 0).map_err(failed)?;
        let hive = after.path();
        let args = ["-e".as_ref(), hive.as_os_str()];
        let status = self.run(EDIT, &args, Some(&typed), None).map_err(failed)?;
        let changed = self.values(&after).map_err(failed)?;
        let is_as_before =
            |(old, new): (&Value, &Value)| old.key == new.key && old.name == new.name;
        let is_edited = status.code() == Some(EDITED)
            && changed.len() == values.len()
            && values.iter().zip(&changed).all(is_as_before)
            && has_name(&changed)
            && is_whole_hive(&content(&after).map_err(failed)?);
        if !is_edited {
            return Err(Why::NotEdited);
        }
        Ok(Edited::Changed(Change {
            path,
            before,
            after,
        }))
    }

    /// A file of the NTFS; `None` if there is none, or it cannot be read.
    fn take_out(&self, path: &str) -> Result<Option<Vec<u8>>, Cause> {
        let mut content = Vec::new();
        let args = [self.device.as_os_str(), path.as_ref()];
        let status = self.run(TAKE_OUT, &args, None, Some(&mut content))?;
        let is_cut = content.len() as u64 > MAX_HIVE;
        Ok((is_cut || status.success()).then_some(content))
    }

    /// The values that a hive has.
    fn values(&self, hive: &InMemory) -> Result<Vec<Value>, Cause> {
        let mut found = Vec::new();
        for key in registry::keys() {
            let export = InMemory::new(0).map_err(Cause::Copy)?;
            let (hive, to) = (hive.path(), export.path());
            let args = [
                "-x".as_ref(),
                hive.as_os_str(),
                registry::ROOT.as_ref(),
                key.as_ref(),
                to.as_os_str(),
            ];
            // It says with the same status that there is no such key.
            self.run(EDIT, &args, None, None)?;
            let text = content(&export).map_err(Cause::Copy)?;
            found.extend(registry::computer_names(&String::from_utf8_lossy(&text)));
        }
        Ok(found)
    }

    fn put_back(&self, change: &Change) -> Result<Named, Cause> {
        let after = content(&change.after).map_err(Cause::Copy)?;
        let hive = change.after.path();
        let args = [
            self.device.as_os_str(),
            hive.as_os_str(),
            change.path.as_ref(),
        ];
        let status = self.run(PUT_BACK, &args, None, None)?;
        let now = self.take_out(change.path)?;
        let error = |said: &str| Cause::Program {
            program: PUT_BACK,
            status,
            said: format!("{} {said}", change.path),
        };
        match now {
            // What it has written besides is not known.
            _ if status.code().is_none() => Err(error("may be half written")),
            Some(now) if now == after => Ok(Named::Done),
            Some(now) if now == change.before => Ok(Named::Left(Why::NotTaken)),
            _ => Err(error("has neither its old content nor the new one")),
        }
    }

    /// Runs a program to its end. Of what it writes at most one octet more than [`MAX_HIVE`] is kept.
    fn run(
        &self,
        program: &'static str,
        args: &[&OsStr],
        typed: Option<&InMemory>,
        output: Option<&mut Vec<u8>>,
    ) -> Result<ExitStatus, Cause> {
        let start = |source| Cause::Start { program, source };
        let path = self.programs.tools.find(program);
        let path = path.ok_or_else(|| start(io::ErrorKind::NotFound.into()))?;
        (self.programs.running)(Running::begun(program));
        let (read, write) = io::pipe().map_err(start)?;
        let stdin = match typed {
            None => Stdio::null(),
            Some(typed) => File::open(typed.path()).map_err(Cause::Copy)?.into(),
        };
        let mut command = Command::new(path);
        command
            .args(args)
            .env("LC_ALL", "C")
            .stdin(stdin)
            .stdout(write)
            .stderr(Stdio::null());
        let child = command.spawn().map_err(start)?;
        // Its copy of the pipe's end is closed with it.
        drop(command);
        let attended = (self.programs.ending).attend_for(LIMIT, child, || match output {
            Some(output) => read.take(MAX_HIVE + 1).read_to_end(output),
            None => io::copy(&mut { read }, &mut io::sink()).map(|_| 0),
        });
        let (done, status) = attended.map_err(start)?;
        done.map_err(Cause::Copy)?;
        Ok(status)
    }
}

fn failed(error: impl Into<anyhow::Error>) -> Why {
    Why::Failed(readable::chain(error.into().as_ref()))
}

/// What a program has written, whatever the place of the file is.
fn content(file: &InMemory) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file.path())?
        .take(MAX_HIVE + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether it is a hive with all its bins, which no log has to complete: both sequence numbers of its header are equal.
fn is_whole_hive(content: &[u8]) -> bool {
    let word = |at: usize| {
        let bytes = content.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    };
    let bins = word(0x28).and_then(|len| usize::try_from(len).ok());
    content.starts_with(b"regf")
        && word(4) == word(8)
        && bins.is_some_and(|len| len > 0 && content.len() >= HEADER.saturating_add(len))
}

/// Bytes in front of the bins of a hive.
const HEADER: usize = 4096;

#[cfg(test)]
mod tests;
