//! What is on a disk that is to be captured.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use capture::{
    Condition, Content, FileSystem, Group, GroupVolume, RawCause, SurveyedDisk, SurveyedPartition,
};
use disk::{
    CapturedTable, Disk, GroupBackup, PhysicalVolume, PlanError, PlannedPartition, SourceDisk,
};
use fog::encoding::printable;
use fog::task::ImageType;
use readable::Time;

use super::view::{Manner, Shown, shown};
use crate::deploy::{HANGS_AFTER, Tools, attend_working};

/// Looks at a disk: its table, and what its partitions hold. `known` is what the machine says of it.
///
/// # Errors
/// The disk cannot be read, or its table is damaged.
pub(super) fn survey(
    disk: &Arc<SourceDisk>,
    known: Option<&Disk>,
    image_type: ImageType,
    tools: &Tools,
) -> anyhow::Result<SurveyedDisk> {
    let path = disk.path();
    let name = path.display().to_string();
    let text = |text: Option<&String>| text.map(|text| printable(text, 80)).unwrap_or_default();
    let mut surveyed = SurveyedDisk {
        shape: disk.shape(),
        model: text(known.and_then(|known| known.model.as_ref())),
        serial: text(known.and_then(|known| known.serial.as_ref())),
        table: None,
        labels: disk::labels_in(disk.shape().size, &mut |offset, len| {
            bytes(disk, offset, len).ok()
        }),
        contents: BTreeMap::new(),
        name,
    };
    if image_type == ImageType::Raw {
        // Its table is read as all else.
        return Ok(surveyed);
    }
    let table = CapturedTable::read(&disk.shape(), &device_name(path), &mut |offset, len| {
        bytes(disk, offset, len).map_err(|cause| NoTable::Read { offset, cause })
    });
    let table = table.with_context(|| format!("the partition table of {}", surveyed.name))?;
    for partition in table.iter().flat_map(|table| &table.table().partitions) {
        // What is not on the disk is refused with the plan.
        if partition.is_extended || partition.end() > disk.shape().size {
            continue;
        }
        let found = look_into(disk, partition, tools)
            .with_context(|| format!("partition {} of {}", partition.number, surveyed.name))?;
        surveyed.contents.insert(partition.number, found);
    }
    surveyed.table = table;
    Ok(surveyed)
}

/// Why there is no table.
#[derive(Debug, thiserror::Error)]
enum NoTable {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("reading at byte {offset}: {cause}")]
    Read { offset: u64, cause: io::Error },
}

fn bytes(disk: &SourceDisk, offset: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    disk.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// The disk's name in its dump. Programs that read dumps know plain names alone, and go by the digits at their ends.
fn device_name(path: &Path) -> String {
    let name = path.to_str().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    match name.starts_with("/dev/") && name.chars().all(is_plain) {
        true => name.to_owned(),
        false => "/dev/sda".to_owned(),
    }
}

/// What a partition or volume holds, which is at these places of the disk.
fn look_at(
    disk: &Arc<SourceDisk>,
    runs: &[(u64, u64)],
    tools: &Tools,
) -> anyhow::Result<SurveyedPartition> {
    let view = Shown::new(disk, runs, Manner::Strict, None);
    let read = |offset: u64, len: usize| -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        view.read(offset, &mut bytes)?;
        Ok(bytes)
    };
    let labels = disk::labels_in(view.len(), &mut |offset, len| read(offset, len).ok());
    let content = Content::of(&labels);
    let condition = match content.file_system() {
        Some(FileSystem::Ext) => {
            let superblock = read(SUPERBLOCK, 1024).context("reading its superblock")?;
            capture::ext_state(&superblock).unwrap_or_default()
        }
        Some(FileSystem::Ntfs) => {
            let marks = disk::ntfs_marks(|offset, buffer| view.read(offset, buffer));
            // One that this does not understand is judged by the program that reads it.
            let marks = marks.context("reading its state")?;
            let is_hibernated = is_hibernated(&view, tools, HANGS_AFTER)?;
            Condition {
                is_hibernated: is_hibernated == Some(true),
                is_hibernation_unknown: is_hibernated.is_none(),
                ..marks.map(Condition::from).unwrap_or_default()
            }
        }
        _ => Condition::default(),
    };
    Ok(SurveyedPartition { content, condition })
}

/// A partition; the volumes of a group on it are looked at, too.
fn look_into(
    disk: &Arc<SourceDisk>,
    partition: &PlannedPartition,
    tools: &Tools,
) -> anyhow::Result<SurveyedPartition> {
    let mut found = look_at(disk, &[(partition.offset, partition.len)], tools)?;
    if let Content::Raw(RawCause::Lvm(_)) = found.content {
        found.content = match group(disk, partition, tools)? {
            Ok(group) => Content::Group(Box::new(group)),
            Err(why) => Content::Raw(RawCause::Lvm(why)),
        };
    }
    Ok(found)
}

/// The volume group on a physical volume, or why its volumes are not read by themselves.
fn group(
    disk: &Arc<SourceDisk>,
    partition: &PlannedPartition,
    tools: &Tools,
) -> anyhow::Result<Result<Group, String>> {
    let physical = PhysicalVolume::read(&mut |offset, len| {
        bytes(disk, partition.offset.checked_add(offset)?, len).ok()
    });
    let Some(physical) = physical else {
        return Ok(Err("it is in no volume group".into()));
    };
    let backup = match GroupBackup::parse(&physical.metadata) {
        Ok(backup) => backup,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let mut volumes = Vec::new();
    for volume in &backup.volumes {
        let runs = backup.runs(volume);
        let is_within = |(at, len): &(u64, u64)| at.saturating_add(*len) <= partition.len;
        if !runs.iter().all(is_within) {
            return Ok(Err(format!(
                "the volume {} is not on the partition",
                volume.name
            )));
        }
        let on_disk: Vec<(u64, u64)> = runs
            .iter()
            .map(|(at, len)| (partition.offset.saturating_add(*at), *len))
            .collect();
        let found = look_at(disk, &on_disk, tools);
        let found = found.with_context(|| format!("the volume {}", volume.name))?;
        volumes.push(GroupVolume {
            name: volume.name.clone(),
            uuid: volume.uuid.clone(),
            runs,
            content: found.content,
            condition: found.condition,
        });
    }
    Ok(Ok(Group {
        name: backup.name.clone(),
        uuid: backup.uuid.clone(),
        extent_len: backup.extent_len,
        physical_uuid: backup.physical_uuid.clone(),
        metadata: physical.metadata,
        volumes,
    }))
}

/// Whether a Windows sleeps on an NTFS; `None` without the program that finds its file.
fn is_hibernated(view: &Shown, tools: &Tools, limit: Duration) -> anyhow::Result<Option<bool>> {
    let Some(program) = tools.find("ntfscat") else {
        return Ok(None);
    };
    let first = shown(view, |path| -> anyhow::Result<Vec<u8>> {
        let mut child = Command::new(program)
            .arg("--force")
            .arg(path)
            .arg("hiberfil.sys")
            .env("LC_ALL", "C")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = child.stdout.take().context("it has no pipe")?;
        let mut first = Vec::new();
        // It may have gigabytes more to say, or no such file: it ends when nobody reads on.
        let (read, _) = attend_working(limit, child, || {
            output.take(FIRST_LEN).read_to_end(&mut first)
        })?
        .map_err(|silent| anyhow!("ntfscat has shown no sign of work for {}", Time(silent)))?;
        read?;
        Ok(first)
    })?;
    let first = first.context("looking for a Windows that hibernates")?;
    Ok(Some(capture::is_hibernation(&first)))
}

/// Bytes of a file that say what it is.
const FIRST_LEN: u64 = 16;
/// Where ext2, ext3 and ext4 describe themselves.
const SUPERBLOCK: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_names_devices_that_its_readers_understand() {
        for (path, expected) in [
            ("/dev/nvme0n1", "/dev/nvme0n1"),
            ("/dev/disk/by-id/ata-X_1", "/dev/disk/by-id/ata-X_1"),
            ("/tmp/a disk", "/dev/sda"),
            ("disk.raw", "/dev/sda"),
            ("/dev/a b", "/dev/sda"),
        ] {
            assert_eq!(device_name(Path::new(path)), expected);
        }
    }
}
