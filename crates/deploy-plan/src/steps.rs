//! What a deploy does to the disks, in order.

use std::fmt;

use fog::encoding::printable;
use readable::Size;

use crate::{
    ComputerName, DeployPlan, Destination, DiskPlan, Growable, Place, PlannedGroup, PlannedStream,
    WhichPartition,
};

/// One thing that a deploy does to a disk. It goes through these, and `fos-agent plan` prints them.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// Removes the old partition table and boot code, and the labels at both ends of the disk and of each
    /// new partition. A partition without an image that the disk has already, at the same place, is spared.
    Clear(&'a DiskPlan),
    /// Receives a stream, verifies it, and writes it to its place.
    Stream(&'a PlannedStream),
    /// Makes a file system as large as its partition.
    Grow(Place<'a>, Growable),
    /// Makes the copies of the boot sector that images of NTFS lack, where the partition has an NTFS.
    NtfsCopies(Place<'a>),
    /// Writes a computer's name into the registry of each Windows.
    Name(&'a ComputerName),
    /// Makes swap space.
    Swap(Place<'a>),
    /// Writes the label and the metadata of a volume group, in front of its volumes.
    Volumes(&'a PlannedGroup),
    /// Writes what makes the disk bootable: its partition table, or the first part of an image of all of the disk.
    Table(&'a DiskPlan),
}

impl Step<'_> {
    /// The step as programs know it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Clear(_) => "clear",
            Self::Stream(_) => "stream",
            Self::Grow(..) => "grow",
            Self::NtfsCopies(_) => "ntfs-copies",
            Self::Name(_) => "computer-name",
            Self::Swap(_) => "swap",
            Self::Volumes(_) => "volumes",
            Self::Table(disk) if disk.table.is_none() => "head",
            Self::Table(_) => "table",
        }
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clear(disk) => clear(disk, f),
            Self::Stream(stream) => receive(stream, f),
            Self::Grow(place, kind) => write!(
                f,
                "grow the {kind} of {} to {}, if this boot image has the programs for it",
                place.which(),
                Size(place.len())
            ),
            Self::NtfsCopies(place) => write!(
                f,
                "complete the copies of the boot sector in {}, if it has an NTFS, and clear its dirty flag, if this \
                 boot image has ntfsfix",
                place.which()
            ),
            Self::Name(name) => write!(
                f,
                "write the computer name {name} into the registry of Windows, if this boot image has the programs for it"
            ),
            Self::Swap(place) => {
                write!(f, "make swap space in {} ", place.which())?;
                match place.swap_uuid() {
                    Some(uuid) => write!(f, "with the UUID {uuid}"),
                    None => f.write_str("with a new UUID"),
                }
            }
            Self::Volumes(group) => {
                let names = group.volumes.iter();
                let sizes = names.map(|volume| format!("{} ({})", volume.name, Size(volume.len)));
                write!(
                    f,
                    "make the volume group {} in {}, with the program lvm of the boot image: {}",
                    group.layout.name,
                    group.which,
                    sizes.collect::<Vec<_>>().join(", ")
                )
            }
            Self::Table(disk) if disk.table.is_none() => write!(
                f,
                "write the first MiB of the image, sector 0 last: {} becomes bootable with it",
                disk.which
            ),
            Self::Table(disk) if disk.which.is_only => f.write_str(
                "write the partition table, sector 0 last: the disk becomes bootable with it",
            ),
            Self::Table(disk) => write!(
                f,
                "write the partition table of {0}, sector 0 last: {0} becomes bootable with it",
                disk.which
            ),
        }
    }
}

fn clear(disk: &DiskPlan, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("remove the old partition table")?;
    if !disk.which.is_only {
        write!(f, " of {}", disk.which)?;
    }
    f.write_str(match disk.table {
        Some(_) => {
            ", the boot code, and the labels of earlier uses at both ends of the disk and of each new partition; \
             a partition without an image keeps its content if the disk has it with the same start and size"
        }
        None => {
            ", the boot code, and the labels of earlier uses at both ends of the disk"
        }
    })
}

fn receive(stream: &PlannedStream, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let facts = &stream.facts;
    let name = match stream.destination {
        Destination::Disk { .. } => "a disk".to_owned(),
        _ => printable(&facts.filesystem, 32),
    };
    let what = format!(
        "{} ({} stored, {}, {name} of {})",
        stream.name,
        Size(stream.stored_len),
        facts.compression,
        Size(facts.device_size)
    );
    match stream.destination {
        Destination::Partition { which, len, .. } => {
            write!(f, "write {what} to {which} of {}", Size(len))
        }
        Destination::Volume { which, len, .. } => {
            write!(f, "write {what} to its volume of {} on {which}", Size(len))
        }
        Destination::Disk { which, len } => write!(
            f,
            "write {what} to {which} of {}, without its first MiB",
            Size(len)
        ),
        Destination::Nowhere => {
            write!(f, "verify {what} and write it nowhere: it is a container")
        }
    }
}

impl DeployPlan {
    /// What is done to the disks, in order.
    pub fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let clear = self.disks.iter().map(Step::Clear);
        let streams = self.streams.iter().map(Step::Stream);
        // While nothing boots yet: a machine that is switched off in the middle must not start from it.
        let grow = self.written().filter_map(|place| {
            let stream = self.stream_of(place)?;
            Some(Step::Grow(place, stream.growth?))
        });
        // Behind the growth, with which their places change.
        let ntfs = self.maybe_ntfs().map(Step::NtfsCopies);
        let name = self.computer_name.iter().map(Step::Name);
        let swap = self.swap_spaces().map(Step::Swap);
        let volumes = self.groups.iter().map(Step::Volumes);
        // The first disk, from which the machine starts, is the last one.
        let tables = self.disks.iter().rev().map(Step::Table);
        clear
            .chain(streams)
            .chain(grow)
            .chain(ntfs)
            .chain(name)
            .chain(swap)
            .chain(volumes)
            .chain(tables)
    }

    /// Partitions whose stream may be an NTFS.
    pub fn maybe_ntfs(&self) -> impl Iterator<Item = Place<'_>> {
        self.partitions_of(PlannedStream::may_be_ntfs)
    }

    /// Partitions whose stream is of this kind.
    fn partitions_of(
        &self,
        is_wanted: fn(&PlannedStream) -> bool,
    ) -> impl Iterator<Item = Place<'_>> {
        self.written()
            .filter(move |place| self.stream_of(*place).is_some_and(is_wanted))
    }
}

impl PlannedStream {
    /// The partition that it goes to, or whose volume it does.
    #[must_use]
    pub fn partition(&self) -> Option<WhichPartition> {
        match self.destination {
            Destination::Partition { which, .. } | Destination::Volume { which, .. } => Some(which),
            Destination::Disk { .. } | Destination::Nowhere => None,
        }
    }

    /// Whether its content may be an NTFS: an image of all sectors does not name a file system.
    fn may_be_ntfs(&self) -> bool {
        let name = self.facts.filesystem.as_str();
        name.is_empty()
            || ["ntfs", "raw"]
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
    }
}

#[cfg(test)]
mod tests {
    use crate::samples;

    #[test]
    fn the_table_comes_last() {
        let (mut manifest, files) = samples::with_swap(None);
        let plan = crate::plan(&manifest, &files, &[samples::SHAPE]).unwrap();
        let codes: Vec<_> = plan.steps().map(|step| step.code()).collect();
        assert_eq!(codes, ["clear", "stream", "swap", "table"]);
        let text: Vec<_> = plan.steps().map(|step| step.to_string()).collect();
        assert!(text[0].contains("without an image keeps"), "{text:?}");
        assert!(text[1].contains("d1p1.img"), "{text:?}");
        assert!(text[2].contains("with a new UUID"), "{text:?}");
        for name in ["NTFS", "raw"] {
            manifest.streams[0].image.filesystem = name.into();
            let plan = crate::plan(&manifest, &files, &[samples::SHAPE]).unwrap();
            let codes: Vec<_> = plan.steps().map(|step| step.code()).collect();
            assert_eq!(codes, ["clear", "stream", "ntfs-copies", "swap", "table"]);
        }
    }

    #[test]
    fn the_first_of_several_disks_becomes_bootable_last() {
        let (manifest, files) = samples::two_disks();
        let shapes = [samples::SHAPE; 2];
        let plan = crate::plan(&manifest, &files, &shapes).unwrap();
        let text: Vec<_> = plan.steps().map(|step| step.to_string()).collect();
        let codes: Vec<_> = plan.steps().map(|step| step.code()).collect();
        let streams = ["stream"; 4];
        assert_eq!(codes[..2], ["clear"; 2]);
        assert_eq!(codes[2..6], streams);
        assert_eq!(codes[6..], ["table"; 2]);
        assert!(text[1].contains("of disk 2"), "{text:?}");
        assert!(text[5].contains("to partition 2 of disk 2"), "{text:?}");
        assert!(text[6].contains("of disk 2"), "{text:?}");
        assert!(text[7].contains("of disk 1"), "{text:?}");
    }

    #[test]
    fn what_became_larger_is_grown_before_the_table() {
        let mut manifest = samples::manifest();
        manifest.image_type = fog::task::ImageType::Resizable;
        manifest.streams[1].image.filesystem = "FAT32".into();
        let files = samples::small_files();
        let large = disk::Shape {
            size: 16 << 20,
            logical_sector: 512,
        };
        let plan = crate::plan(&manifest, &files, &[large]).unwrap();
        let codes: Vec<_> = plan.steps().map(|step| step.code()).collect();
        assert_eq!(codes, ["clear", "stream", "stream", "grow", "table"]);
        let warned: Vec<_> = plan.warnings.iter().map(crate::Warning::code).collect();
        assert_eq!(warned, ["not-grown"], "FAT is not grown");
        // On a disk like the captured one nothing is to be done.
        let plan = crate::plan(&manifest, &files, &[samples::SHAPE]).unwrap();
        assert!(plan.steps().all(|step| step.code() != "grow"));
        // And the partitions of other images keep their sizes.
        manifest.image_type = fog::task::ImageType::SingleDisk;
        manifest.streams[0].image.device_size -= 4096;
        let plan = crate::plan(&manifest, &files, &[large]).unwrap();
        assert!(plan.steps().all(|step| step.code() != "grow"));
    }
}
