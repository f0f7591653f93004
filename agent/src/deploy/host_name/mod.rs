//! The computer's name in the registry of a restored Windows.
//!
//! As in FOG's client `reged` changes it, but on a copy of the hive, which the programs of ntfs-3g take out of
//! the file system and put back: nothing is mounted, and what was put back is read again and compared.

mod registry;

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use super::grow::{Cause, Programs, Tools};
use anyhow::Context as _;
use deploy_plan::{ComputerName, DeployPlan, Place, Warning};
use disk::Target;
use registry::Value;

/// What became of it in one partition.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    /// Windows has the name.
    Done,
    /// There is no Windows.
    NoWindows,
    /// Windows has the name that was captured.
    Left(Why),
}

/// Why the name was left as it was.
#[derive(Debug, PartialEq, Eq)]
enum Why {
    /// The partition cannot be had as a device.
    NoDevice,
    /// The file is none, or was being written when it was captured.
    NoHive,
    /// The hive is larger than is taken into memory.
    Huge,
    /// No value has the name.
    NoValue,
    /// `reged` did not change it.
    NotEdited,
    /// The file system did not take the new hive, and has the old one.
    NotTaken,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDevice => "there are no loop devices",
            Self::NoHive => "its registry was not closed when the image was captured; shut the master computer down",
            Self::Huge => "its registry is larger than 512 MB",
            Self::NoValue => "its registry has no computer name",
            Self::NotEdited => "reged did not change its registry",
            Self::NotTaken => "ntfscp did not write its registry",
        })
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
/// Directory of copies.
const COPIES: &str = "/run/fos-agent/registry";
/// Usual are 10 to 30 MB.
const MAX_HIVE: u64 = 512_000_000;
/// What `reged` ends with when it has written a hive.
const EDITED: i32 = 2;

/// What this machine will not do for want of programs.
pub(crate) fn warning(plan: &DeployPlan, tools: &Tools) -> Option<Warning> {
    let name = plan.computer_name.as_ref()?;
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
/// The content of a partition cannot be relied on any more; the disk cannot become bootable then. So it ends when the
/// deploy is given up.
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
        left.push("no partition has a Windows".into());
    }
    Ok((!left.is_empty()).then(|| not_written(name, left.join("; "))))
}

/// Gives the Windows of a partition, if it is one, a name.
///
/// # Errors
/// The content of the partition cannot be relied on any more; the disk cannot become bootable then.
fn set(
    place: Place<'_>,
    name: &ComputerName,
    target: &Target,
    programs: &Programs<'_>,
) -> Result<Named, Cause> {
    let Ok(device) = target.region_device(place.offset(), place.len()) else {
        return Ok(Named::Left(Why::NoDevice));
    };
    match rename(device.path(), name, programs) {
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

fn rename(device: &Path, name: &ComputerName, programs: &Programs<'_>) -> Result<Named, Cause> {
    let copy = Copy::new(device, programs)?;
    for path in HIVES {
        match copy.take_out(path)? {
            Taken::Whole(before) => return copy.change(path, &before, name),
            Taken::Nothing => {}
            Taken::TooMuch => return Ok(Named::Left(Why::Huge)),
        }
    }
    Ok(Named::NoWindows)
}

/// A copy of a hive, in a directory of its own.
struct Copy<'a> {
    device: &'a Path,
    programs: &'a Programs<'a>,
    dir: PathBuf,
}

enum Taken {
    Whole(Vec<u8>),
    Nothing,
    TooMuch,
}

impl<'a> Copy<'a> {
    fn new(device: &'a Path, programs: &'a Programs<'a>) -> Result<Self, Cause> {
        // One for each device, whatever else is there.
        let dir = Path::new(COPIES).join(device.file_name().unwrap_or_default());
        match fs::remove_dir_all(&dir) {
            // Left over by a process that was killed.
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Cause::Copy(error)),
        }
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&dir);
        made.map_err(Cause::Copy)?;
        Ok(Self {
            device,
            programs,
            dir,
        })
    }

    fn hive(&self) -> PathBuf {
        self.dir.join("hive")
    }

    /// A file of the NTFS.
    fn take_out(&self, path: &str) -> Result<Taken, Cause> {
        let mut content = Vec::new();
        let args = [self.device.as_os_str(), path.as_ref()];
        let status = self.run(TAKE_OUT, &args, None, Some(&mut content))?;
        Ok(if content.len() as u64 > MAX_HIVE {
            Taken::TooMuch
        } else if status.success() {
            Taken::Whole(content)
        } else {
            Taken::Nothing
        })
    }

    fn change(&self, path: &str, before: &[u8], name: &ComputerName) -> Result<Named, Cause> {
        if !is_closed_hive(before) {
            return Ok(Named::Left(Why::NoHive));
        }
        fs::write(self.hive(), before).map_err(Cause::Copy)?;
        let values = self.values()?;
        if values.is_empty() {
            return Ok(Named::Left(Why::NoValue));
        }
        let has_name = |values: &[Value]| values.iter().all(|value| value.text == name.as_str());
        if has_name(&values) {
            return Ok(Named::Done);
        }
        let script = registry::script(&values, name.as_str());
        let args = [OsStr::new("-e"), self.hive().as_os_str()].map(OsStr::to_os_string);
        let args = args.each_ref().map(|arg| arg.as_os_str());
        let status = self.run(EDIT, &args, Some(&script), None)?;
        let changed = self.values()?;
        if status.code() != Some(EDITED) || changed.len() != values.len() || !has_name(&changed) {
            return Ok(Named::Left(Why::NotEdited));
        }
        self.put_back(path, before)
    }

    /// The values that the copy has.
    fn values(&self) -> Result<Vec<Value>, Cause> {
        let (hive, export) = (self.hive(), self.dir.join("export"));
        let mut found = Vec::new();
        for key in registry::keys() {
            let args = [
                OsStr::new("-x"),
                hive.as_os_str(),
                registry::ROOT.as_ref(),
                key.as_ref(),
                export.as_os_str(),
            ];
            // It says with the same status that there is no such key.
            self.run(EDIT, &args, None, None)?;
            let mut text = Vec::new();
            match File::open(&export) {
                Ok(file) => file
                    .take(MAX_HIVE)
                    .read_to_end(&mut text)
                    .map_err(Cause::Copy)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Cause::Copy(error)),
            };
            fs::remove_file(&export).map_err(Cause::Copy)?;
            found.extend(registry::computer_names(&String::from_utf8_lossy(&text)));
        }
        Ok(found)
    }

    fn put_back(&self, path: &str, before: &[u8]) -> Result<Named, Cause> {
        let after = fs::read(self.hive()).map_err(Cause::Copy)?;
        let hive = self.hive();
        let args = [self.device.as_os_str(), hive.as_os_str(), path.as_ref()];
        let status = self.run(PUT_BACK, &args, None, None)?;
        match self.take_out(path)? {
            Taken::Whole(now) if now == after => Ok(Named::Done),
            Taken::Whole(now) if now == before => Ok(Named::Left(Why::NotTaken)),
            _ => Err(Cause::Program {
                program: PUT_BACK,
                status,
                said: format!("{path} has neither its old content nor the new one"),
            }),
        }
    }

    /// Runs a program to its end. Of what it writes at most one octet more than [`MAX_HIVE`] is kept.
    fn run(
        &self,
        program: &'static str,
        args: &[&OsStr],
        typed: Option<&str>,
        output: Option<&mut Vec<u8>>,
    ) -> Result<ExitStatus, Cause> {
        let start = |source| Cause::Start { program, source };
        let path = self.programs.tools.find(program);
        let path = path.ok_or_else(|| start(io::ErrorKind::NotFound.into()))?;
        (self.programs.running)(program);
        let (read, write) = io::pipe().map_err(start)?;
        let stdin = match typed {
            None => Stdio::null(),
            Some(typed) => {
                let path = self.dir.join("typed");
                fs::write(&path, typed).map_err(Cause::Copy)?;
                File::open(path).map_err(Cause::Copy)?.into()
            }
        };
        let mut command = Command::new(path);
        command
            .args(args)
            .current_dir(&self.dir)
            .env("LC_ALL", "C")
            .stdin(stdin)
            .stdout(write)
            .stderr(Stdio::null());
        let child = command.spawn().map_err(start)?;
        // Its copy of the pipe's end is closed with it.
        drop(command);
        let attended = self.programs.ending.attend(child, || match output {
            Some(output) => read.take(MAX_HIVE + 1).read_to_end(output),
            None => io::copy(&mut { read }, &mut io::sink()).map(|_| 0),
        });
        let (done, status) = attended.map_err(start)?;
        done.map_err(Cause::Copy)?;
        Ok(status)
    }
}

impl Drop for Copy<'_> {
    fn drop(&mut self) {
        // What stays takes memory until the restart.
        fs::remove_dir_all(&self.dir).unwrap_or_default();
    }
}

/// Whether it is a hive that no log has to complete: both sequence numbers of its header are equal.
fn is_closed_hive(content: &[u8]) -> bool {
    content.starts_with(b"regf") && content.len() > 12 && content[4..8] == content[8..12]
}

#[cfg(test)]
mod tests;
