//! LVM: what a backup of a volume group says (vgcfgbackup(8)), and where its volumes go on another partition.
//!
//! Every volume becomes one run of extents, so a stream that is written to it needs one place of the disk and no device
//! mapper. UUIDs, names and all else of the backup stay. Labels and metadata of LVM are written by LVM's own programs,
//! out of [`GroupPlan::metadata`].

use readable::{Count, Size};

mod label;
mod text;

pub use label::PhysicalVolume;
pub use text::LvmTextError;
use text::{Node, Section, Value, is_of_name};

/// Why a volume group cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The backup is no text of LVM's format.
    #[error(transparent)]
    Text(#[from] LvmTextError),
    /// The backup has no such value, or an impossible one.
    #[error("{of} has no usable {what}")]
    Value {
        /// Which part of the backup.
        of: String,
        /// Which value.
        what: &'static str,
    },
    /// A group on several disks or partitions.
    #[error(
        "the volume group {group} is on {count} physical volumes; only groups on one are restored"
    )]
    PhysicalVolumes {
        /// Name of the group.
        group: String,
        /// How many there are.
        count: usize,
    },
    /// A volume that is not simply a part of the partition.
    #[error(
        "the volume {volume} is of the type {kind}; only linear volumes are restored (no thin pools, mirrors, \
         snapshots, caches)"
    )]
    Kind {
        /// Name of the volume.
        volume: String,
        /// LVM's word for it.
        kind: String,
    },
    /// Two volumes share extents, or one leaves the group.
    #[error("the places of the volumes in the backup contradict each other")]
    Overlap,
    /// Extents or their start are no whole sectors of the disk.
    #[error(
        "the extents of the volume group are no whole number of {sector}-byte sectors on this disk"
    )]
    Sectors {
        /// Bytes of a sector.
        sector: u32,
    },
    /// A volume is smaller than what is in it.
    #[error("the volume {volume} has {:#}, but its content needs {:#}", Size(*.len), Size(*.needed))]
    Content {
        /// Name of the volume.
        volume: String,
        /// Its length in bytes, as captured.
        len: u64,
        /// What its content needs.
        needed: u64,
    },
    /// The partition is too small.
    #[error(
        "the partition has {}, the volume group {group} needs {} ({} missing){}",
        Size(*.len), Size(*.needed), Count(.needed.saturating_sub(*.len), "byte"),
        if *.is_fixed { ": this image says no smaller sizes of its volumes" } else { "" }
    )]
    TooSmall {
        /// Name of the group.
        group: String,
        /// The partition's length in bytes.
        len: u64,
        /// Bytes that are needed.
        needed: u64,
        /// Whether its volumes may not become smaller.
        is_fixed: bool,
    },
}

/// A volume group on one partition, as it was captured.
#[derive(Debug, Clone)]
pub struct GroupBackup {
    root: Section,
    /// Its name.
    pub name: String,
    /// Its UUID, as LVM writes it.
    pub uuid: String,
    /// Bytes of an extent.
    pub extent_len: u64,
    /// UUID of its physical volume.
    pub physical_uuid: String,
    /// Name of the physical volume in the backup.
    physical_name: String,
    /// Bytes in front of the first extent.
    pub head_len: u64,
    /// Extents in all.
    extents: u64,
    /// Its volumes, in the order of their places.
    pub volumes: Vec<BackupVolume>,
}

/// A volume as it was captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupVolume {
    /// Its name.
    pub name: String,
    /// Its UUID, as LVM writes it.
    pub uuid: String,
    /// Its extents.
    extents: u64,
    /// Its bytes.
    pub len: u64,
    /// First extent.
    first: u64,
    is_in_one_piece: bool,
    /// First extent and number of each piece, in their order in the volume.
    pieces: Vec<(u64, u64)>,
}

/// What a volume needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VolumeDemand {
    /// Bytes that it may be shrunk to.
    pub minimum: u64,
    /// Bytes of the image that is written to it.
    pub content: u64,
    /// Whether its size stays: swap space.
    pub is_fixed: bool,
}

/// What may be done with the sizes of volumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sizing {
    /// All stay, whatever the partition's size.
    Keep,
    /// They follow the partition's size.
    Fit,
}

/// A volume group laid out on a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPlan {
    /// Name of the group.
    pub name: String,
    /// UUID of its physical volume.
    pub physical_uuid: String,
    /// Bytes of an extent.
    pub extent_len: u64,
    /// Bytes in front of the first extent: the label and the metadata.
    pub head_len: u64,
    /// The volumes in the order of the backup's places.
    pub volumes: Vec<VolumePlace>,
    /// The new metadata, as vgcfgrestore(8) reads it.
    pub metadata: String,
}

/// Where a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumePlace {
    /// Its name.
    pub name: String,
    /// Its UUID, as LVM writes it.
    pub uuid: String,
    /// Its first extent.
    pub first_extent: u64,
    /// How many it has.
    pub extents: u64,
    /// First byte, counted from the start of the partition.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// Length in bytes when it was captured.
    pub original_len: u64,
}

/// LVM counts in these, whatever the disk's sectors are.
const SECTOR: u64 = 512;
/// Most bytes in front of the first extent, which are held in memory. LVM's own choice is 1 MiB.
const MAX_HEAD: u64 = 64 << 20;
/// As LVM itself has it.
const MAX_NAME: usize = 127;
/// Groups of letters in a UUID of LVM.
const UUID_GROUPS: [usize; 7] = [6, 4, 4, 4, 4, 4, 6];

impl GroupBackup {
    /// Reads the output of `vgcfgbackup`.
    ///
    /// # Errors
    /// [`GroupError`] for whatever is not a group of linear volumes on one physical volume.
    pub fn parse(text: &str) -> Result<Self, GroupError> {
        let root = Section::parse(text)?;
        let backup = || "the backup of the volume group".to_owned();
        let groups: Vec<_> = root.sections().collect();
        let &[(name, group)] = groups.as_slice() else {
            return Err(lacks(backup(), "volume group"));
        };
        let of = || format!("the volume group {}", shown(name));
        if !is_name(name) {
            return Err(lacks(of(), "name"));
        }
        let extent_len = group.count("extent_size").and_then(bytes);
        let extent_len = extent_len.filter(|len| *len > 0);
        let extent_len = extent_len.ok_or_else(|| lacks(of(), "extent size"))?;
        let physical = group.section("physical_volumes");
        let physical: Vec<_> = physical.iter().flat_map(|all| all.sections()).collect();
        let [(physical_name, physical)] = physical.as_slice() else {
            return Err(GroupError::PhysicalVolumes {
                group: name.to_owned(),
                count: physical.len(),
            });
        };
        let head_len = physical.count("pe_start").and_then(bytes);
        let head_len = head_len.filter(|len| (1..=MAX_HEAD).contains(len));
        let extents = physical.count("pe_count");
        let extents = extents.filter(|count| count.checked_mul(extent_len).is_some());
        let mut backup = Self {
            name: name.to_owned(),
            uuid: uuid(group, of)?,
            extent_len,
            physical_uuid: uuid(physical, || format!("the physical volume of {name}"))?,
            physical_name: (*physical_name).to_owned(),
            head_len: head_len.ok_or_else(|| lacks(of(), "start of extents (pe_start)"))?,
            extents: extents.ok_or_else(|| lacks(of(), "number of extents (pe_count)"))?,
            volumes: Vec::new(),
            root: Section::default(),
        };
        let mut pieces = Vec::new();
        let volumes = group.section("logical_volumes");
        for (name, volume) in volumes.iter().flat_map(|all| all.sections()) {
            let volume = backup.volume(name, volume, &mut pieces)?;
            if backup.volumes.iter().any(|other| other.name == volume.name) {
                return Err(lacks(
                    format!("the volume {}", volume.name),
                    "name of its own",
                ));
            }
            backup.volumes.push(volume);
        }
        pieces.sort_unstable();
        let meet = pieces.windows(2).any(|two| match two {
            [(start, count), (next, _)] => start.saturating_add(*count) > *next,
            _ => false,
        });
        let end = pieces
            .last()
            .map_or(0, |(start, count)| start.saturating_add(*count));
        if meet || end > backup.extents {
            return Err(GroupError::Overlap);
        }
        backup.volumes.sort_by_key(|volume| volume.first);
        backup.root = root;
        Ok(backup)
    }

    /// Reads one volume, and adds its pieces (first extent, count).
    fn volume(
        &self,
        name: &str,
        volume: &Section,
        pieces: &mut Vec<(u64, u64)>,
    ) -> Result<BackupVolume, GroupError> {
        let of = || format!("the volume {}", shown(name));
        let kind = |kind: &str| GroupError::Kind {
            volume: shown(name),
            kind: shown(kind),
        };
        if !is_name(name) {
            return Err(lacks(of(), "name"));
        }
        if !volume.lists("status", "VISIBLE") {
            return Err(kind("hidden"));
        }
        let mut segments: Vec<(u64, u64, u64)> = Vec::new();
        for (_, segment) in volume.sections() {
            let found = segment.text("type").unwrap_or("unknown");
            let is_one = found == "linear" || segment.count("stripe_count") == Some(1);
            if !(matches!(found, "striped" | "linear") && is_one) {
                return Err(kind(found));
            }
            let place = match segment.value("stripes") {
                Some(Value::List(list)) => match list.as_slice() {
                    [Value::Text(physical), Value::Number(first)]
                        if *physical == self.physical_name =>
                    {
                        u64::try_from(*first).ok()
                    }
                    _ => None,
                },
                _ => None,
            };
            let place = place.ok_or_else(|| lacks(of(), "place (stripes)"))?;
            let (start, count) = (segment.count("start_extent"), segment.count("extent_count"));
            let count = count.filter(|count| *count > 0);
            let (Some(start), Some(count)) = (start, count) else {
                return Err(lacks(of(), "extents"));
            };
            segments.push((start, count, place));
        }
        segments.sort_unstable();
        let mut extents: u64 = 0;
        let mut first = None;
        for (start, count, place) in &segments {
            if *start != extents {
                return Err(lacks(of(), "order of segments"));
            }
            extents = extents.saturating_add(*count);
            first.get_or_insert(*place);
            pieces.push((*place, *count));
        }
        let len = extents.checked_mul(self.extent_len);
        let (Some(first), Some(len)) = (first, len) else {
            return Err(lacks(of(), "segment"));
        };
        Ok(BackupVolume {
            name: name.to_owned(),
            uuid: uuid(volume, of)?,
            extents,
            len,
            first,
            is_in_one_piece: segments.len() == 1,
            pieces: segments
                .iter()
                .map(|(_, count, place)| (*place, *count))
                .collect(),
        })
    }

    /// Where a volume of this group is: offset and length of its pieces in bytes, counted from the start of the
    /// partition, in their order in the volume.
    #[must_use]
    pub fn runs(&self, volume: &BackupVolume) -> Vec<(u64, u64)> {
        let pieces = volume.pieces.iter();
        pieces
            .map(|(first, count)| {
                let offset = first.saturating_mul(self.extent_len);
                (
                    self.head_len.saturating_add(offset),
                    count.saturating_mul(self.extent_len),
                )
            })
            .collect()
    }

    /// Lays the group out on a partition of `len` bytes of a disk with such sectors. `demands` are those of
    /// [`Self::volumes`], in their order.
    ///
    /// A partition that holds the group as it was: with [`Sizing::Fit`], extents that it has more, and those that were
    /// free, go to the volumes whose size is not fixed, in proportion to their captured sizes; the last one gets the
    /// rest. A smaller one, with [`Sizing::Fit`]: fixed volumes keep their sizes, the others get their minimum and a
    /// share of what is left.
    ///
    /// # Errors
    /// If they do not fit.
    pub fn plan(
        &self,
        len: u64,
        sector: u32,
        demands: &[VolumeDemand],
        sizing: Sizing,
    ) -> Result<GroupPlan, GroupError> {
        let unit = u64::from(sector.max(1));
        let is_whole = |len: u64| len.is_multiple_of(unit);
        if !(is_whole(self.extent_len) && is_whole(self.head_len)) {
            return Err(GroupError::Sectors { sector });
        }
        let volumes = || self.volumes.iter().zip(demands);
        if let Some((volume, demand)) =
            volumes().find(|(volume, demand)| demand.content > volume.len)
        {
            return Err(GroupError::Content {
                volume: volume.name.clone(),
                len: volume.len,
                needed: demand.content,
            });
        }
        let room = len.saturating_sub(self.head_len) / self.extent_len;
        let captured: Vec<u64> = self.volumes.iter().map(|volume| volume.extents).collect();
        let is_fixed: Vec<bool> = demands.iter().map(|demand| demand.is_fixed).collect();
        let too_small = |extents: u64, is_fixed| GroupError::TooSmall {
            group: self.name.clone(),
            len,
            needed: (self.head_len).saturating_add(extents.saturating_mul(self.extent_len)),
            is_fixed,
        };
        if len < self.head_len {
            // A group may have no volume, and room for nothing.
            return Err(too_small(0, sizing == Sizing::Keep));
        }
        let (total, sizes) = if room < self.extents {
            if sizing == Sizing::Keep {
                return Err(too_small(self.extents, true));
            }
            let least = volumes().map(|(volume, demand)| {
                let needed = demand.minimum.max(demand.content);
                let needed = needed.div_ceil(self.extent_len).clamp(1, volume.extents);
                match demand.is_fixed {
                    true => volume.extents,
                    false => needed,
                }
            });
            let least: Vec<u64> = least.collect();
            let needed = least
                .iter()
                .fold(0, |sum: u64, size| sum.saturating_add(*size));
            let left = room.checked_sub(needed);
            let left = left.ok_or_else(|| too_small(needed, false))?;
            (room, shared_out(left, &least, &captured, &is_fixed))
        } else if sizing == Sizing::Fit && room > self.extents {
            // Of the captured group, so the sum is below its number of extents.
            let left = room.saturating_sub(captured.iter().sum());
            (room, shared_out(left, &captured, &captured, &is_fixed))
        } else {
            (self.extents, captured.clone())
        };
        let stays = sizes == captured && self.volumes.iter().all(|volume| volume.is_in_one_piece);
        let mut next = 0;
        let places = self.volumes.iter().zip(&sizes).map(|(volume, &extents)| {
            let first_extent = match stays && total == self.extents {
                true => volume.first,
                false => next,
            };
            next += extents;
            VolumePlace {
                name: volume.name.clone(),
                uuid: volume.uuid.clone(),
                first_extent,
                extents,
                offset: self.head_len + first_extent * self.extent_len,
                len: extents * self.extent_len,
                original_len: volume.len,
            }
        });
        let places: Vec<VolumePlace> = places.collect();
        Ok(GroupPlan {
            name: self.name.clone(),
            physical_uuid: self.physical_uuid.clone(),
            extent_len: self.extent_len,
            head_len: self.head_len,
            metadata: self.metadata(len, total, &places),
            volumes: places,
        })
    }

    /// The backup with these places.
    fn metadata(&self, len: u64, extents: u64, places: &[VolumePlace]) -> String {
        let mut root = self.root.clone();
        root.set("description", Value::Text("restored by fos-agent".into()));
        if let Some(group) = root.section_mut(&self.name) {
            let physical = group.section_mut("physical_volumes");
            if let Some(physical) = physical.and_then(|all| all.section_mut(&self.physical_name)) {
                physical.set("dev_size", number(len / SECTOR));
                physical.set("pe_count", number(extents));
            }
            for place in places {
                let volumes = group.section_mut("logical_volumes");
                if let Some(volume) = volumes.and_then(|all| all.section_mut(&place.name)) {
                    volume.0.retain(|(_, node)| matches!(node, Node::Value(_)));
                    volume.set("segment_count", number(1));
                    let segment = self.segment(place);
                    (volume.0).push(("segment1".into(), Node::Section(segment)));
                }
            }
        }
        root.to_string()
    }

    fn segment(&self, place: &VolumePlace) -> Section {
        let mut segment = Section::default();
        segment.set("start_extent", number(0));
        segment.set("extent_count", number(place.extents));
        segment.set("type", Value::Text("striped".into()));
        segment.set("stripe_count", number(1));
        let first = number(place.first_extent);
        let place = vec![Value::Text(self.physical_name.clone()), first];
        segment.set("stripes", Value::List(place));
        segment
    }
}

/// `base`, and `left` shared out in proportion to `weights` to those that are not fixed; the last one gets the rest.
fn shared_out(left: u64, base: &[u64], weights: &[u64], is_fixed: &[bool]) -> Vec<u64> {
    let free = || (0..base.len()).filter(|&index| !is_fixed[index]);
    let sum: u128 = free().map(|index| u128::from(weights[index])).sum();
    let mut sizes = base.to_vec();
    let mut given = 0;
    for index in free() {
        let share = u128::from(left) * u128::from(weights[index]) / sum.max(1);
        // At most `left`.
        let share = u64::try_from(share).unwrap_or(left);
        given += share;
        sizes[index] += share;
    }
    if let Some(last) = free().next_back() {
        sizes[last] += left - given;
    }
    sizes
}

fn bytes(sectors: u64) -> Option<u64> {
    sectors.checked_mul(SECTOR)
}

fn number(count: u64) -> Value {
    // Counts of sectors and extents of a disk.
    Value::Number(i64::try_from(count).unwrap_or(i64::MAX))
}

fn lacks(of: String, what: &'static str) -> GroupError {
    GroupError::Value { of, what }
}

fn uuid(section: &Section, of: impl Fn() -> String) -> Result<String, GroupError> {
    let found = section.text("id").filter(|text| is_uuid(text));
    found
        .map(str::to_owned)
        .ok_or_else(|| lacks(of(), "UUID (id)"))
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq(UUID_GROUPS)
        && groups
            .iter()
            .all(|group| group.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Whether LVM takes it as the name of a group or a volume (lvm(8), "Valid names").
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len())
        && text.chars().all(is_of_name)
        && !text.starts_with('-')
        && !matches!(text, "." | "..")
}

/// For people.
fn shown(text: &str) -> String {
    text.chars().take(64).filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests;
