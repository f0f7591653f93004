//! Volume groups of LVM that were captured volume by volume.

use disk::{GroupBackup, GroupError, GroupPlan, Layout, Sizing, Uuid, VolumeDemand};
use fog::encoding::printable;
use fog::lvm::{Format, Sidecar, SidecarError, Volume};
use fog::store::{PartitionId, Sidecars, StreamName};
use fos_api::Manifest;

use crate::{DiskPlan, Refusal, SmallFiles, WhichPartition};

/// A volume group and the partition that it is made on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedGroup {
    /// The partition.
    pub which: WhichPartition,
    /// Its first byte, counted from the start of the disk.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Bytes of a logical sector of the disk.
    pub logical_sector: u32,
    /// How the group is laid out on it.
    pub layout: GroupPlan,
    /// The volumes, in the order of the layout's.
    pub volumes: Vec<PlannedVolume>,
}

/// A volume and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedVolume {
    /// Its place in [`PlannedGroup::volumes`].
    pub index: usize,
    /// Its name.
    pub name: String,
    /// First byte, counted from the start of the disk.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// To be made swap space.
    pub is_swap: bool,
    /// UUID that the swap space had, if it was recorded.
    pub swap_uuid: Option<Uuid>,
    /// The stream with its content.
    pub image: Option<StreamName>,
}

/// Why volumes cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VolumesError {
    /// The name is not that of a partition.
    #[error("its name is not that of a partition")]
    Name,
    /// A file is not UTF-8.
    #[error("it is not text")]
    NotText,
    /// The file that says which volumes there are.
    #[error(transparent)]
    Sidecar(#[from] SidecarError),
    /// LVM's own backup is missing.
    #[error("LVM's backup {0} is missing; was the capture complete?")]
    MissingBackup(String),
    /// LVM's own backup.
    #[error("{0}")]
    Group(#[from] GroupError),
    /// Both files are of different groups.
    #[error("it and LVM's backup differ in {what}: the files do not belong together")]
    Differ {
        /// In what.
        what: String,
    },
    /// The table has no such partition, or it is a container.
    #[error("the image's partition table has no partition {0} with room for volumes")]
    NoPartition(u32),
    /// An image of a volume did not come with the others.
    #[error("there is no stream {0}, which it names")]
    NoStream(String),
    /// The partition was captured in both ways, and one would overwrite the other.
    #[error(
        "the stream {0} brings all of the partition, too: remove the files of the earlier capture"
    )]
    Both(StreamName),
}

/// What the image says of partitions that were captured volume by volume.
///
/// # Errors
/// [`Refusal::Volumes`].
pub fn sidecars(files: &SmallFiles) -> Result<Sidecars, Refusal> {
    let files = files.iter().filter(|(name, _)| name.ends_with(SIDECAR));
    files
        .map(|(name, bytes)| {
            sidecar(name, bytes).map_err(|cause| Refusal::Volumes {
                name: printable(name, 64),
                cause: Box::new(cause),
            })
        })
        .collect()
}

fn sidecar(name: &str, bytes: &[u8]) -> Result<(PartitionId, Sidecar), VolumesError> {
    let id = PartitionId::of_sidecar(name).ok_or(VolumesError::Name)?;
    let text = str::from_utf8(bytes).map_err(|_| VolumesError::NotText)?;
    Ok((id, Sidecar::parse(id, text)?))
}

/// Lays the groups out on the partitions of disks.
pub(crate) fn groups(
    manifest: &Manifest,
    files: &SmallFiles,
    disks: &[DiskPlan],
    layout: Layout,
) -> Result<Vec<PlannedGroup>, Refusal> {
    let mut groups = Vec::new();
    for (id, sidecar) in sidecars(files)? {
        let Some(disk) = disks.iter().find(|disk| disk.which.number == id.disk) else {
            // FOG's server sends nothing of it.
            continue;
        };
        let name = format!("{id}{SIDECAR}");
        let on_partition = GroupOnPartition {
            manifest,
            files,
            disk,
            layout,
            sidecar: &sidecar,
        };
        let planned = on_partition.plan(id);
        groups.extend(planned.map_err(|cause| {
            let cause = Box::new(cause);
            Refusal::Volumes { name, cause }.of_disk(disk.which)
        })?);
    }
    Ok(groups)
}

struct GroupOnPartition<'a> {
    manifest: &'a Manifest,
    files: &'a SmallFiles,
    disk: &'a DiskPlan,
    layout: Layout,
    sidecar: &'a Sidecar,
}

impl GroupOnPartition<'_> {
    /// `None` if the disk has no table of its own.
    fn plan(&self, id: PartitionId) -> Result<Option<PlannedGroup>, VolumesError> {
        let Some(table) = &self.disk.table else {
            return Ok(None);
        };
        let partition = table.partition(id.partition);
        let partition = partition.filter(|partition| !partition.is_extended);
        let partition = partition.ok_or(VolumesError::NoPartition(id.partition))?;
        let backup = self.backup(id)?;
        let volumes = self.volumes(&backup)?;
        let demands = volumes.iter().map(|volume| self.demand(volume));
        let demands = demands.collect::<Result<Vec<_>, _>>()?;
        let sizing = match (self.layout, self.sidecar.format) {
            (Layout::Fill, Format::Two) => Sizing::Fit,
            _ => Sizing::Keep,
        };
        let sector = self.disk.shape.logical_sector;
        let layout = backup.plan(partition.len, sector, &demands, sizing)?;
        let volumes = layout.volumes.iter().zip(&volumes).enumerate();
        let volumes = volumes.map(|(index, (place, volume))| PlannedVolume {
            index,
            name: place.name.clone(),
            offset: partition.offset + place.offset,
            len: place.len,
            is_swap: volume.is_swap(),
            swap_uuid: (volume.swap_uuid.as_deref()).and_then(|text| text.parse().ok()),
            image: image(volume).map(StreamName::of_file),
        });
        Ok(Some(PlannedGroup {
            which: self.disk.which.partition(id.partition),
            offset: partition.offset,
            len: partition.len,
            logical_sector: sector,
            volumes: volumes.collect(),
            layout,
        }))
    }

    fn backup(&self, id: PartitionId) -> Result<GroupBackup, VolumesError> {
        let name = format!("{id}{SIDECAR}.vgcfg");
        let bytes = self.files.get(&name);
        let bytes = bytes.ok_or(VolumesError::MissingBackup(name))?;
        let text = str::from_utf8(bytes).map_err(|_| VolumesError::NotText)?;
        Ok(GroupBackup::parse(text)?)
    }

    /// The sidecar's volumes in the order of the backup's, if both are of the same group.
    fn volumes(&self, backup: &GroupBackup) -> Result<Vec<&Volume>, VolumesError> {
        let Sidecar {
            physical, group, ..
        } = self.sidecar;
        let differ = |what: &str| VolumesError::Differ { what: what.into() };
        let same = [
            ("the name of the group", group.name == backup.name),
            ("the UUID of the group", is_same(&group.uuid, &backup.uuid)),
            ("the extent size", group.extent_len == backup.extent_len),
            (
                "the UUID of the physical volume",
                is_same(&physical.uuid, &backup.physical_uuid),
            ),
            (
                "the number of volumes",
                self.sidecar.volumes.len() == backup.volumes.len(),
            ),
        ];
        if let Some((what, _)) = same.into_iter().find(|(_, is_same)| !is_same) {
            return Err(differ(what));
        }
        let found = backup.volumes.iter().map(|volume| {
            let mut named = self.sidecar.volumes.iter();
            let named = named.find(|named| named.name == volume.name);
            let named = named.ok_or_else(|| differ("the names of the volumes"))?;
            if named.size != volume.len || !is_same(&named.uuid, &volume.uuid) {
                return Err(differ(&format!("the volume {}", volume.name)));
            }
            Ok(named)
        });
        found.collect()
    }

    fn demand(&self, volume: &Volume) -> Result<VolumeDemand, VolumesError> {
        let streams = &self.manifest.streams;
        let image = image(volume);
        let stream = image.and_then(|image| {
            let mut streams = streams.iter();
            streams.find(|stream| stream.name.as_str() == image)
        });
        if let (Some(image), None, false) = (image, stream, streams.is_empty()) {
            return Err(VolumesError::NoStream(printable(image, 64)));
        }
        Ok(VolumeDemand {
            minimum: volume.minimum,
            content: stream.map_or(0, |stream| stream.image.device_size),
            is_fixed: volume.is_swap(),
        })
    }
}

/// Of swap space FOG's server sends nothing, whatever the sidecar says.
fn image(volume: &Volume) -> Option<&str> {
    volume.image.as_deref().filter(|_| !volume.is_swap())
}

/// LVM writes its UUIDs with and without hyphens.
fn is_same(a: &str, b: &str) -> bool {
    a.replace('-', "") == b.replace('-', "")
}

pub(crate) const SIDECAR: &str = ".lvm";
