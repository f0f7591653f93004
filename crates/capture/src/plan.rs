//! From what is on disks to what is read, and into which files.

use std::collections::BTreeMap;

use deploy_plan::{MAX_DISKS, SmallFiles, WhichDisk, WhichPlace};
use disk::{CapturedTable, DiskLabel, Kind, Placed, PlanError, PlannedPartition, Shape};
use fog::store::StreamName;
use fog::task::ImageType;
use fos_api::capture::CapturedDisk;
use fos_api::{Blake3, ImageFacts, MANIFEST_VERSION, Manifest, SmallFile, StreamFacts};

use crate::{
    Condition, Content, FileSystem, Group, RawCause, Refusal, Shrinkable, Shrunken, Warning,
    raw_block,
};

/// A disk that was looked at.
#[derive(Debug, Clone)]
pub struct SurveyedDisk {
    /// Its name, for people.
    pub name: String,
    /// Size and sectors.
    pub shape: Shape,
    /// Model as the disk says it; may be empty.
    pub model: String,
    /// Serial number as the disk says it; may be empty.
    pub serial: String,
    /// Its partition table, if it has one.
    pub table: Option<CapturedTable>,
    /// What it holds without a table.
    pub labels: Vec<DiskLabel>,
    /// What its partitions hold, by number; extended ones are left out.
    pub contents: BTreeMap<u32, SurveyedPartition>,
}

/// A partition that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyedPartition {
    /// What it holds.
    pub content: Content,
    /// In which state that is.
    pub condition: Condition,
}

/// What is asked for.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// What the image is to hold.
    pub image_type: ImageType,
    /// Name of the image: that of the file of a whole disk.
    pub image: &'a str,
    /// Whether this machine has a program.
    pub has_program: &'a dyn Fn(&str) -> bool,
}

/// A capture that can be carried out.
#[derive(Debug, Clone)]
pub struct CapturePlan {
    /// What the image holds.
    pub image_type: ImageType,
    /// The disks in their order.
    pub disks: Vec<SurveyedDisk>,
    /// What is read, in the order of reading.
    pub streams: Vec<PlannedStream>,
    /// What people should know.
    pub warnings: Vec<Warning>,
}

/// A file of the image, and what is read for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStream {
    /// Its name in the image.
    pub name: StreamName,
    /// Place of the disk in [`CapturePlan::disks`].
    pub disk: usize,
    /// Which partition or volume; `None` for all of the disk.
    pub place: Option<WhichPlace>,
    /// Where it is: offset and length of its pieces in bytes, counted from the start of the disk.
    pub runs: Vec<(u64, u64)>,
    /// Bytes in all.
    pub len: u64,
    /// How it is read.
    pub method: Method,
    /// Whether and how its file system is shrunk first.
    pub shrink: Option<Shrinkable>,
}

/// How something is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Used blocks, by a program that knows the file system.
    Program(FileSystem),
    /// Every byte.
    Raw,
}

/// Plans a capture of disks, in their order in the image.
///
/// # Errors
/// [`Refusal`]
pub fn plan(disks: Vec<SurveyedDisk>, request: &Request<'_>) -> Result<CapturePlan, Refusal> {
    let image_type = request.image_type;
    if disks.len() > 1 && image_type != ImageType::AllDisks {
        return Err(Refusal::SeveralDisks {
            image_type,
            count: disks.len(),
        });
    }
    if disks.len() > MAX_DISKS {
        return Err(Refusal::TooManyDisks {
            max: MAX_DISKS,
            count: disks.len(),
        });
    }
    let mut plan = CapturePlan {
        image_type,
        disks,
        streams: Vec::new(),
        warnings: Vec::new(),
    };
    if image_type == ImageType::Raw {
        let len = plan.disks.first().map_or(0, |disk| disk.shape.size);
        plan.streams.push(PlannedStream {
            name: StreamName::of_file(request.image),
            disk: 0,
            place: None,
            runs: vec![(0, len)],
            len,
            method: Method::Raw,
            shrink: None,
        });
        return Ok(plan);
    }
    let disks = std::mem::take(&mut plan.disks);
    let is_only = disks.len() == 1;
    for (index, disk) in disks.iter().enumerate() {
        let number = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
        let which = WhichDisk {
            index,
            number,
            is_only,
        };
        plan.add_disk(which, disk, request)?;
    }
    plan.disks = disks;
    Ok(plan)
}

impl CapturePlan {
    fn add_disk(
        &mut self,
        disk: WhichDisk,
        surveyed: &SurveyedDisk,
        request: &Request<'_>,
    ) -> Result<(), Refusal> {
        let Some(table) = &surveyed.table else {
            return Err(Refusal::NoTable {
                disk: surveyed.name.clone(),
                label: surveyed.labels.first().map(ToString::to_string),
            });
        };
        let before = self.streams.len();
        let mut has_swap = false;
        for partition in &table.table().partitions {
            if partition.is_extended {
                continue;
            }
            let which = WhichPlace::from(disk.partition(partition.number));
            if partition.len == 0 || partition.end() > surveyed.shape.size {
                return Err(Refusal::BeyondDisk { which });
            }
            let Some(found) = surveyed.contents.get(&partition.number) else {
                continue;
            };
            let stem = format!("d{}p{}", disk.number, partition.number);
            if let Content::Group(group) = &found.content {
                has_swap = true;
                for volume in &group.volumes {
                    let which = WhichPlace {
                        volume: Some(volume.name.clone()),
                        ..which.clone()
                    };
                    let method = self.method(
                        &which,
                        &volume.content,
                        volume.condition,
                        volume.len(),
                        request,
                    )?;
                    let runs = volume.runs.iter();
                    let runs = runs.map(|(at, len)| (partition.offset.saturating_add(*at), *len));
                    self.streams.extend(method.map(|method| PlannedStream {
                        name: StreamName::of_file(&format!("{stem}.{}.img", volume.name)),
                        disk: disk.index,
                        place: Some(which),
                        runs: runs.collect(),
                        len: volume.len(),
                        method,
                        shrink: None,
                    }));
                }
                continue;
            }
            let method = self.method(
                &which,
                &found.content,
                found.condition,
                partition.len,
                request,
            )?;
            let Some(method) = method else {
                has_swap = true;
                continue;
            };
            let is_fixed = is_fixed(table, partition, found);
            let shrink = match method {
                Method::Program(kind) if self.image_type == ImageType::Resizable && !is_fixed => {
                    Shrinkable::of(kind)
                }
                _ => None,
            };
            self.streams.push(PlannedStream {
                name: StreamName::of_file(&format!("{stem}.img")),
                disk: disk.index,
                place: Some(which),
                runs: vec![(partition.offset, partition.len)],
                len: partition.len,
                method,
                shrink,
            });
        }
        if self.streams.len() == before && !has_swap {
            return Err(Refusal::NoData {
                disk: surveyed.name.clone(),
            });
        }
        Ok(())
    }

    /// How a partition or volume is read; `None` if it is not.
    fn method(
        &mut self,
        which: &WhichPlace,
        content: &Content,
        condition: Condition,
        len: u64,
        request: &Request<'_>,
    ) -> Result<Option<Method>, Refusal> {
        let which = which.clone();
        match content {
            Content::FileSystem(kind) => {
                self.check(which, *kind, condition, request)?;
                Ok(Some(Method::Program(*kind)))
            }
            Content::Swap(uuid) => {
                if uuid.is_none() {
                    self.warnings.push(Warning::SwapWithoutUuid { which });
                }
                Ok(None)
            }
            Content::Encrypted(format) => Err(Refusal::Encrypted { which, format }),
            Content::Member(kind) => Err(Refusal::Member { which, kind: *kind }),
            // A group within a volume of another one.
            Content::Group(_) => Ok(Some(Method::Raw)),
            Content::Raw(cause) => {
                if len >= LARGE || matches!(cause, RawCause::Lvm(_)) {
                    self.warnings.push(Warning::ReadWhole {
                        which,
                        len,
                        cause: cause.clone(),
                    });
                }
                Ok(Some(Method::Raw))
            }
        }
    }

    fn check(
        &mut self,
        which: WhichPlace,
        kind: FileSystem,
        condition: Condition,
        request: &Request<'_>,
    ) -> Result<(), Refusal> {
        if condition.is_hibernated {
            return Err(Refusal::Hibernated { which });
        }
        if condition.is_dirty {
            return Err(Refusal::Dirty { which, kind });
        }
        let program = kind.program();
        if !(request.has_program)(program) {
            return Err(Refusal::Program {
                which,
                kind,
                program,
            });
        }
        if condition.is_hibernation_unknown {
            let which = which.clone();
            self.warnings.push(Warning::HibernationUnknown { which });
        }
        if condition.has_bad_clusters {
            self.warnings.push(Warning::BadClusters { which });
        }
        Ok(())
    }

    /// The small files of the image. Of a resizable one, `shrunken` are the partitions whose file systems were
    /// made smaller.
    ///
    /// # Errors
    /// The table cannot hold a partition at its new place.
    pub fn small_files(&self, shrunken: &[Shrunken]) -> Result<SmallFiles, PlanError> {
        let mut files = SmallFiles::new();
        if self.image_type == ImageType::Raw {
            return Ok(files);
        }
        for (disk, number) in self.disks.iter().zip(1_u32..) {
            let Some(table) = &disk.table else { continue };
            let mut add = |ending: &str, bytes: Vec<u8>| {
                files.insert(format!("d{number}.{ending}"), bytes);
            };
            add("partitions", table.to_string().into_bytes());
            if self.image_type == ImageType::Resizable {
                let places = places(table, &disk.shape, shrunken);
                let minimum = table.with_places(&places)?;
                if table.is_gpt() {
                    let sizes = places
                        .iter()
                        .map(|place| in_place(table, &disk.shape, *place));
                    let shrunken = table.with_places(&sizes.collect::<Vec<_>>())?;
                    add("shrunken.partitions", shrunken.to_string().into_bytes());
                }
                add("minimum.partitions", minimum.to_string().into_bytes());
                add("fixed_size_partitions", disk.fixed().into_bytes());
                add("original.fstypes", disk.fstypes().into_bytes());
                // As FOG's client saves it: its GPT has to fit on the smaller disk, too.
                add("mbr", minimum.mbr());
            } else {
                add("mbr", table.mbr());
            }
            if let Some(area) = table.grub_mbr() {
                add("grub.mbr", area.to_vec());
            } else if table.has_grub() {
                add("has_grub", Vec::new());
            }
            let swap = disk.swap_uuids();
            if !swap.is_empty() {
                add("original.swapuuids", swap.into_bytes());
            }
            if self.image_type == ImageType::AllDisks {
                add(
                    "size",
                    format!("{number}:{}\n", disk.shape.size).into_bytes(),
                );
            }
            for partition in &table.table().partitions {
                let found = disk.contents.get(&partition.number);
                if let Some(Content::Group(group)) = found.map(|found| &found.content) {
                    let stem = format!("d{number}p{}", partition.number);
                    let sidecar = sidecar(group, &stem, &disk.name, partition.len);
                    files.insert(format!("{stem}.lvm"), sidecar.into_bytes());
                    let metadata = group.metadata.clone().into_bytes();
                    files.insert(format!("{stem}.lvm.vgcfg"), metadata);
                }
            }
            for (partition, record) in table.ebrs() {
                files.insert(format!("d{number}p{partition}.ebr"), record.clone());
            }
        }
        Ok(files)
    }

    /// Checks that what is captured can be deployed again, with the facts of the streams in their order; answers what
    /// a deploy would warn of. `os_id` is FOG's number of the operating system.
    ///
    /// # Errors
    /// [`Refusal::NotDeployable`]
    pub fn check_deployable(
        &self,
        image: &str,
        os_id: i64,
        files: &SmallFiles,
        facts: &[ImageFacts],
    ) -> Result<Vec<Warning>, Refusal> {
        let listed = files.iter().map(|(name, bytes)| SmallFile {
            name: name.clone(),
            len: bytes.len() as u64,
            blake3: None,
        });
        let streams = self
            .streams
            .iter()
            .zip(facts)
            .map(|(stream, facts)| StreamFacts {
                name: stream.name.clone(),
                stored_len: 1,
                blake3: no_hash(),
                image: facts.clone(),
            });
        let manifest = Manifest {
            version: MANIFEST_VERSION,
            image_id: 0,
            image_name: image.to_owned(),
            image_path: image.to_owned(),
            image_type: self.image_type,
            os_id,
            scripts: Vec::new(),
            files: listed.collect(),
            streams: streams.collect(),
        };
        let plan = deploy_plan::plan_for_source(&manifest, files)
            .map_err(|refusal| Refusal::NotDeployable(refusal.to_string()))?;
        let warnings = plan.warnings.iter();
        Ok(warnings
            .map(|warning| Warning::Deploy(warning.to_string()))
            .collect())
    }

    /// The disks as the server hears of them.
    #[must_use]
    pub fn captured_disks(&self) -> Vec<CapturedDisk> {
        let disks = self.disks.iter();
        disks
            .map(|disk| CapturedDisk {
                size: disk.shape.size,
                sector_size: disk.shape.logical_sector,
                model: disk.model.clone(),
                serial: disk.serial.clone(),
            })
            .collect()
    }

    /// FOG's number of an operating system that an image like this may be of, where nothing says it: Windows 10 if
    /// there is an NTFS, else Linux.
    #[must_use]
    pub fn likely_os(&self) -> i64 {
        let is_ntfs = |stream: &PlannedStream| stream.method == Method::Program(FileSystem::Ntfs);
        if self.streams.iter().any(is_ntfs) {
            WINDOWS_10
        } else {
            LINUX
        }
    }
}

impl SurveyedDisk {
    /// Numbers of the partitions that keep their size: `1:2:5`.
    fn fixed(&self) -> String {
        let table = self.table.iter();
        let numbers = table.flat_map(|table| {
            let partitions = table.table().partitions.iter();
            partitions.filter(|partition| {
                let found = self.contents.get(&partition.number);
                !partition.is_extended
                    && found.is_none_or(|found| is_fixed(table, partition, found))
            })
        });
        let numbers: Vec<String> = numbers
            .map(|partition| partition.number.to_string())
            .collect();
        format!("{}\n", numbers.join(":"))
    }

    /// `d1.original.fstypes`: the partitions that could be made smaller.
    fn fstypes(&self) -> String {
        let device = self
            .table
            .as_ref()
            .and_then(|table| table.dump().device.clone());
        let device = device.unwrap_or_default();
        let infix = if device.ends_with(|c: char| c.is_ascii_digit()) {
            "p"
        } else {
            ""
        };
        let mut lines = String::new();
        for partition in self
            .table
            .iter()
            .flat_map(|table| &table.table().partitions)
        {
            let number = partition.number;
            if let (Some(table), Some(found)) = (&self.table, self.contents.get(&number))
                && let Some(kind) = found.content.file_system()
                && Shrinkable::of(kind).is_some()
                && !is_fixed(table, partition, found)
            {
                lines.push_str(&format!("{device}{infix}{number} {}\n", kind.word()));
            }
        }
        lines
    }

    /// `dN.original.swapuuids`
    fn swap_uuids(&self) -> String {
        let mut lines = String::new();
        for (number, found) in &self.contents {
            if let Content::Swap(Some(uuid)) = &found.content {
                lines.push_str(&format!("{number} {uuid}\n"));
            }
        }
        lines
    }
}

/// `dNpM.lvm`. Volumes may grow, and not become smaller.
fn sidecar(group: &Group, stem: &str, disk: &str, len: u64) -> String {
    let sectors = |len: u64| len / LVM_SECTOR;
    let mut text = format!(
        "LVMFORMAT 2\nPV {} {} {2} {2}\nVG {3} {4} {5}\n",
        group.physical_uuid,
        disk.split_whitespace().next().unwrap_or("-"),
        sectors(len),
        group.name,
        group.uuid,
        sectors(group.extent_len)
    );
    for volume in &group.volumes {
        let image = format!("{stem}.{}.img", volume.name);
        let (kind, image, swap) = match &volume.content {
            Content::FileSystem(kind) => (kind.word(), image, "-".to_owned()),
            Content::Swap(uuid) => {
                let uuid = uuid.map(|uuid| uuid.to_string());
                ("swap", "-".to_owned(), uuid.unwrap_or_else(|| "-".into()))
            }
            _ => ("unknown", image, "-".to_owned()),
        };
        let len = sectors(volume.len());
        text.push_str(&format!(
            "LV {} {} {len} {len} {kind} {image} {swap}\n",
            volume.name, volume.uuid
        ));
    }
    text
}

/// Whether a partition of a resizable image keeps its size: what cannot grow, and small ones with a purpose of their own,
/// which would only take room from the others.
fn is_fixed(
    table: &CapturedTable,
    partition: &PlannedPartition,
    found: &SurveyedPartition,
) -> bool {
    let kind = match found.content {
        Content::FileSystem(kind) => kind,
        Content::Group(_) => return false,
        _ => return true,
    };
    match kind {
        FileSystem::Ntfs => {
            let is_alone = table
                .table()
                .partitions
                .iter()
                .filter(|p| !p.is_extended)
                .count()
                == 1;
            let is_special = partition.is_bootable
                || partition.is_reserved()
                || partition.kind.is_efi_system()
                || is_recovery(&partition.kind)
                || partition.attributes & (ATTRIBUTE_REQUIRED | ATTRIBUTE_HIDDEN) != 0;
            is_special && !is_alone
        }
        FileSystem::Ext | FileSystem::Btrfs | FileSystem::F2fs | FileSystem::Xfs => false,
        FileSystem::Fat | FileSystem::ExFat | FileSystem::HfsPlus | FileSystem::Apfs => true,
    }
}

/// Hidden partitions of Windows: recovery, and the hidden NTFS of old tools.
fn is_recovery(kind: &Kind) -> bool {
    match kind {
        Kind::Mbr(code) => matches!(code, 0x27 | 0x17),
        Kind::Gpt(guid) => guid.to_string() == "de94bba4-06d1-4d40-a16a-bfd50179d6ac",
    }
}

/// Of a GPT entry (UEFI specification 2.10, table 5-8; Microsoft's bits for basic data).
const ATTRIBUTE_REQUIRED: u64 = 1;
const ATTRIBUTE_HIDDEN: u64 = 1 << 62;

/// Where partitions are once they are no larger than they must be. Those of a GPT are moved together, at multiples of 256 KiB,
/// never behind their places; those of an MBR stay, as their boot loaders may know where they are.
fn places(table: &CapturedTable, shape: &Shape, shrunken: &[Shrunken]) -> Vec<Placed> {
    let sector = u64::from(shape.logical_sector.max(1));
    let quantum = (MOVE_UNIT / sector).max(1);
    let mut partitions: Vec<&PlannedPartition> = table.table().partitions.iter().collect();
    partitions.sort_by_key(|partition| partition.offset);
    let is_gpt = table.is_gpt();
    let mut end = 0_u64;
    let mut placed = Vec::new();
    for partition in partitions {
        let (old, size) = (partition.offset / sector, partition.len / sector);
        let new = shrunken.iter().find(|new| new.number == partition.number);
        let size = new.map_or(size, |new| new.len.div_ceil(sector).min(size));
        let start = match is_gpt && !placed.is_empty() {
            true => end.next_multiple_of(quantum).min(old),
            false => old,
        };
        end = start.saturating_add(size);
        placed.push(Placed {
            number: partition.number,
            start,
            size,
        });
    }
    placed
}

/// The new size at the old place.
fn in_place(table: &CapturedTable, shape: &Shape, place: Placed) -> Placed {
    let sector = u64::from(shape.logical_sector.max(1));
    let mut partitions = table.table().partitions.iter();
    let old = partitions.find(|partition| partition.number == place.number);
    Placed {
        start: old.map_or(place.start, |old| old.offset / sector),
        ..place
    }
}

/// Most bytes that zstd makes of `len` bytes, whatever they are, in as many jobs as there may be.
#[must_use]
pub fn compressed_bound(len: u64) -> u64 {
    len.saturating_add(len / 128).saturating_add(1 << 16)
}

impl PlannedStream {
    /// Most bytes of the image before it is compressed, where nothing more is known.
    #[must_use]
    pub fn image_len_max(&self) -> u64 {
        match self.method {
            Method::Raw => {
                let block = u64::from(raw_block(self.len));
                self.len
                    .saturating_add(self.len / block / 8)
                    .saturating_add(HEAD_MAX)
            }
            // The smallest block that a file system has.
            Method::Program(_) => self
                .len
                .saturating_add(self.len / 512 / 8)
                .saturating_add(HEAD_MAX),
        }
    }
}

/// LVM counts in these.
const LVM_SECTOR: u64 = 512;
/// A partition that is read whole is worth a word if it has so many bytes.
const LARGE: u64 = 1 << 30;
/// Bytes of header and checksum, with some to spare.
const HEAD_MAX: u64 = 4096;
const MOVE_UNIT: u64 = 256 << 10;
/// FOG's numbers of operating systems.
const WINDOWS_10: i64 = 9;
const LINUX: i64 = 50;

/// A plan depends on no hash.
fn no_hash() -> Blake3 {
    "0".repeat(64)
        .parse()
        .unwrap_or_else(|_| unreachable!("64 hexadecimal digits are a hash"))
}

#[cfg(test)]
mod tests;
