//! Labels and metadata of volume groups, made by LVM's own program.
//!
//! It works on a device of memory that is as long as the partition, before anything is written to a disk: what it cannot
//! do, or does otherwise than planned, is known then. What it has written there (in front of the volumes, and nowhere
//! else) is written to the disk as it is, behind the streams. The program sees no disk of the machine.

use std::ffi::OsString;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use deploy_plan::{DeployPlan, PlannedGroup, WhichPartition};
use disk::{Shape, Target, WriteError};
use nix::errno::Errno;
use nix::unistd::{Whence, lseek64};
use serde::Deserialize;

use super::ending::Ending;
use super::grow::Tools;
use super::in_memory::InMemory;

/// Why a volume group is not made.
#[derive(Debug, thiserror::Error)]
#[error("the volume group {name} of {which}: {cause}")]
pub(crate) struct VolumesError {
    name: String,
    which: WhichPartition,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(
        "this boot image has no {0} to make it: boot one that was made with --resize-tools, or FOG's own client"
    )]
    Lacking(&'static str),
    #[error("making a device of memory: {0}")]
    Memory(io::Error),
    #[error("starting lvm {command}: {source}")]
    Start {
        command: &'static str,
        source: io::Error,
    },
    #[error("lvm {command} failed ({status}): {said}")]
    Program {
        command: &'static str,
        status: ExitStatus,
        said: String,
    },
    #[error("lvm made something else than planned: {0}")]
    Otherwise(String),
    #[error("{0}")]
    Disk(#[from] WriteError),
}

/// What is in front of the volumes of a group.
#[derive(Debug)]
pub(crate) struct Head {
    which: WhichPartition,
    offset: u64,
    bytes: Vec<u8>,
}

/// Makes the heads of all groups of a plan. No disk is written to.
///
/// # Errors
/// If LVM's program is missing, or refuses, or makes something else than what the plan says.
pub(crate) fn heads(plan: &DeployPlan, tools: &Tools) -> Result<Vec<Head>, VolumesError> {
    let groups = plan.groups.iter();
    groups
        .map(|group| {
            let bytes = head(group, tools).map_err(|cause| failed(group, cause))?;
            Ok(Head {
                which: group.which,
                offset: group.offset,
                bytes,
            })
        })
        .collect()
}

/// Writes the head of a group to its partition.
pub(crate) fn write(
    group: &PlannedGroup,
    heads: &[Head],
    target: &Target,
) -> Result<(), VolumesError> {
    let head = heads.iter().find(|head| head.which == group.which);
    let head = head.ok_or_else(|| failed(group, Cause::Otherwise("nothing".into())))?;
    let len = u64::try_from(head.bytes.len()).unwrap_or(u64::MAX);
    target
        .writer(head.offset, len)
        .and_then(|mut writer| {
            writer.write_at(0, &head.bytes)?;
            writer.finish()
        })
        .map(drop)
        .map_err(|error| failed(group, error.into()))
}

fn failed(group: &PlannedGroup, cause: Cause) -> VolumesError {
    VolumesError {
        name: group.layout.name.clone(),
        which: group.which,
        cause,
    }
}

fn head(group: &PlannedGroup, tools: &Tools) -> Result<Vec<u8>, Cause> {
    let program = tools.find(PROGRAM);
    let program = program.ok_or(Cause::Lacking("program lvm"))?;
    let layout = &group.layout;
    let partition = InMemory::new(group.len).map_err(Cause::Memory)?;
    let metadata = InMemory::new(0).map_err(Cause::Memory)?;
    (&metadata.0)
        .write_all(layout.metadata.as_bytes())
        .map_err(Cause::Memory)?;
    let shape = Shape {
        size: group.len,
        logical_sector: group.logical_sector,
    };
    let memory = |error| Cause::Memory(io::Error::other(error));
    let target = Target::open(&partition.path(), &shape).map_err(memory)?;
    let device = target.region_device(0, group.len).map_err(|error| {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ENODEV | Errno::ENXIO) => Cause::Lacking("loop devices"),
            _ => Cause::Memory(error),
        }
    })?;
    let lvm = Lvm {
        program,
        device: device.path(),
    };
    let (file, node) = (metadata.path().into_os_string(), device.path().into());
    let uuid = layout.physical_uuid.as_str().into();
    lvm.run(
        "pvcreate",
        &["-ff", "-y", "--uuid"],
        vec![uuid, "--restorefile".into(), file.clone(), node],
    )?;
    let name = layout.name.as_str().into();
    lvm.run("vgcfgrestore", &["-y", "-f"], vec![file, name])?;
    lvm.check(group)?;
    device.finish()?;
    drop(target);
    partition.only_data_in_front(layout.head_len)?;
    let len = usize::try_from(layout.head_len).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len];
    (partition.0.read_exact_at(&mut bytes, 0)).map_err(Cause::Memory)?;
    Ok(bytes)
}

impl InMemory {
    /// Whether nothing was written behind the first `len` bytes, where the volumes are.
    fn only_data_in_front(&self, len: u64) -> Result<(), Cause> {
        let from = i64::try_from(len).unwrap_or(i64::MAX);
        match lseek64(&self.0, from, Whence::SeekData) {
            // Nothing but a hole up to the end.
            Err(Errno::ENXIO) => Ok(()),
            Err(errno) => Err(Cause::Memory(errno.into())),
            Ok(at) => {
                let text = format!("something at byte {at} of the partition, among the volumes");
                Err(Cause::Otherwise(text))
            }
        }
    }
}

/// LVM's program, which sees one device.
struct Lvm<'a> {
    program: PathBuf,
    device: &'a Path,
}

impl Lvm<'_> {
    fn run(
        &self,
        command: &'static str,
        options: &[&str],
        args: Vec<OsString>,
    ) -> Result<Vec<u8>, Cause> {
        let start = |source| Cause::Start { command, source };
        let device = self.device.display();
        let config = format!(
            "devices {{ use_devicesfile=0 filter=[\"a|^{device}$|\", \"r|.*|\"] global_filter=[\"a|^{device}$|\", \
             \"r|.*|\"] obtain_device_list_from_udev=0 external_device_info_source=\"none\" hints=\"none\" }} \
             backup {{ backup=0 archive=0 }} \
             activation {{ udev_sync=0 udev_rules=0 monitoring=0 }}"
        );
        let mut asked = Command::new(&self.program);
        asked
            .arg(command)
            // No volume is made active: without the device mapper it works as well.
            .args(["--driverloaded", "n", "--nolocking", "--config", &config])
            .args(options)
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LC_ALL", "C")
            // No configuration of this machine, and no warning of descriptors.
            .env("LVM_SYSTEM_DIR", "")
            .env("LVM_SUPPRESS_FD_WARNINGS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = asked.spawn().map_err(start)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // Nothing else is under way that could be given up.
        let attended = Ending::default().attend_for(LIMIT, child, || {
            thread::scope(|scope| {
                let errors = scope.spawn(|| all(stderr));
                (all(stdout), errors.join().unwrap_or_default())
            })
        });
        let ((answer, errors), status) = attended.map_err(start)?;
        if status.success() {
            return Ok(answer);
        }
        Err(Cause::Program {
            command,
            status,
            said: said(&errors),
        })
    }

    /// Compares what LVM finds with what was planned: streams are written by the plan.
    fn check(&self, group: &PlannedGroup) -> Result<(), Cause> {
        let layout = &group.layout;
        let report = self.run("pvs", &REPORT, vec!["pv_uuid,vg_name,pe_start".into()])?;
        let report: Report = understood(&report)?;
        let found: Vec<FoundPhysical> = report.report.into_iter().flat_map(|one| one.pv).collect();
        let expected = [FoundPhysical {
            pv_uuid: layout.physical_uuid.clone(),
            vg_name: layout.name.clone(),
            pe_start: layout.head_len.to_string(),
        }];
        if found != expected {
            return Err(Cause::Otherwise(format!("{found:?}, not {expected:?}")));
        }
        let fields = "lv_name,lv_uuid,vg_name,vg_extent_size,seg_start_pe,seg_pe_ranges";
        let options = [&["-a", "--segments"][..], &REPORT].concat();
        let report = self.run("lvs", &options, vec![fields.into()])?;
        let report: Report = understood(&report)?;
        let mut found: Vec<Found> = report.report.into_iter().flat_map(|one| one.seg).collect();
        found.sort();
        let mut expected: Vec<Found> = (layout.volumes.iter())
            .map(|place| Found {
                lv_name: place.name.clone(),
                lv_uuid: place.uuid.clone(),
                vg_name: layout.name.clone(),
                vg_extent_size: layout.extent_len.to_string(),
                seg_start_pe: "0".into(),
                seg_pe_ranges: format!(
                    "{}:{}-{}",
                    self.device.display(),
                    place.first_extent,
                    place.first_extent + place.extents - 1
                ),
            })
            .collect();
        expected.sort();
        if found == expected {
            return Ok(());
        }
        let differs = found
            .iter()
            .zip(&expected)
            .find(|(found, wanted)| found != wanted);
        Err(Cause::Otherwise(match differs {
            Some((found, wanted)) => format!("{found:?}, not {wanted:?}"),
            None => format!("{} segments, not {}", found.len(), expected.len()),
        }))
    }
}

/// A segment of a volume, in the words of `lvs`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Found {
    lv_name: String,
    lv_uuid: String,
    vg_name: String,
    vg_extent_size: String,
    seg_start_pe: String,
    seg_pe_ranges: String,
}

/// A physical volume, in the words of `pvs`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct FoundPhysical {
    pv_uuid: String,
    vg_name: String,
    pe_start: String,
}

#[derive(Deserialize)]
struct Report {
    report: Vec<Rows>,
}

#[derive(Deserialize)]
struct Rows {
    #[serde(default)]
    pv: Vec<FoundPhysical>,
    #[serde(default)]
    seg: Vec<Found>,
}

fn understood(json: &[u8]) -> Result<Report, Cause> {
    serde_json::from_slice(json)
        .map_err(|error| Cause::Otherwise(format!("a report that is not understood: {error}")))
}

/// What the program says of its options in any case.
fn is_expected(line: &str) -> bool {
    [
        "Activation disabled",
        "will NOT be backed up",
        "NOT backed up",
    ]
    .iter()
    .any(|words| line.contains(words))
}

/// What a program writes, until it ends or is killed.
fn all(output: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(output) = output {
        // What cannot be read is missing, and is not understood then.
        output
            .take(MAX_REPORT)
            .read_to_end(&mut bytes)
            .unwrap_or_default();
    }
    bytes
}

/// A program that has taken so long hangs: it works on memory alone.
const LIMIT: Duration = Duration::from_secs(60);
/// Longest report in bytes: a group has at most some hundred volumes.
const MAX_REPORT: u64 = 16 << 20;

/// The end of what a program said.
fn said(output: &[u8]) -> String {
    let from = output.len().saturating_sub(MAX_SAID);
    let text = String::from_utf8_lossy(output.get(from..).unwrap_or_default());
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !is_expected(line));
    fog::encoding::printable(&lines.collect::<Vec<_>>().join("; "), 2 * MAX_SAID)
}

const PROGRAM: &str = "lvm";
/// Sizes as plain numbers of bytes; the names of the fields follow.
const REPORT: [&str; 6] = ["--units", "b", "--nosuffix", "--reportformat", "json", "-o"];
/// Bytes of the program's words that a report has.
const MAX_SAID: usize = 600;

#[cfg(test)]
mod tests {
    use deploy_plan::WhichDisk;
    use disk::{GroupBackup, Sizing, VolumeDemand};

    use super::*;

    const BACKUP: &str = include_str!("../../../crates/disk/testdata/lvm/vg0.vgcfg");

    fn group(len: u64, logical_sector: u32) -> PlannedGroup {
        let backup = GroupBackup::parse(BACKUP).unwrap();
        let demands = vec![VolumeDemand::default(); backup.volumes.len()];
        let layout = backup.plan(len, logical_sector, &demands, Sizing::Fit);
        PlannedGroup {
            which: WhichDisk::ONLY.partition(3),
            offset: 1 << 20,
            len,
            logical_sector,
            layout: layout.unwrap(),
            volumes: Vec::new(),
        }
    }

    fn can_make(group: &PlannedGroup) -> bool {
        let made = head(group, &Tools::installed());
        let lacks_what = match made {
            Ok(_) => return true,
            Err(Cause::Lacking(what)) => what.to_owned(),
            // Only root may make loop devices.
            Err(Cause::Memory(error)) => error.to_string(),
            Err(error) => panic!("{error}"),
        };
        let is_strict = std::env::var_os("FOS_TEST_REQUIRE_ALL").is_some();
        assert!(!is_strict, "nothing may be skipped here: {lacks_what}");
        false
    }

    /// A partition of 600 GB takes no memory of that size.
    #[test]
    fn lvm_makes_the_head_of_a_group_of_any_size() {
        for (len, sector) in [(2 << 30, 512), (600_000_000_000 / 4096 * 4096, 4096)] {
            let group = group(len, sector);
            if !can_make(&group) {
                return;
            }
            let bytes = head(&group, &Tools::installed()).unwrap();
            assert_eq!(bytes.len(), 1 << 20);
            assert_eq!(bytes[512..520], *b"LABELONE");
            let text = String::from_utf8_lossy(&bytes);
            assert!(text.contains(&format!("dev_size = {}", len / 512)));
            assert!(text.contains("QFrLeQ-1ZST-ctzj-Xfjl-3IMf-ItxZ-YVwgyw"));
        }
    }

    #[test]
    fn what_lvm_does_not_take_or_does_otherwise_is_an_error() {
        let mut other = group(2 << 30, 512);
        if !can_make(&other) {
            return;
        }
        let tools = Tools::installed();
        other.layout.volumes[0].first_extent += 1;
        let error = head(&other, &tools).unwrap_err();
        assert!(matches!(error, Cause::Otherwise(_)), "{error}");
        let mut bad = group(2 << 30, 512);
        bad.layout.metadata = bad.layout.metadata.replace("extent_size", "extent_sise");
        let error = head(&bad, &tools).unwrap_err();
        assert!(matches!(error, Cause::Program { .. }), "{error}");
    }

    #[test]
    fn without_lvm_nothing_is_made() {
        let error = head(&group(2 << 30, 512), &Tools::none()).unwrap_err();
        assert!(error.to_string().contains("--resize-tools"), "{error}");
    }
}
