//! What a deploy does to the disk, in order.

use std::fmt;

use disk::PlannedPartition;
use fog::encoding::printable;
use readable::Size;

use crate::{DeployPlan, Destination, Growable, PlannedStream};

/// One thing that a deploy does to the disk. It goes through these, and `fos-agent plan` prints them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// Removes the old partition table and boot code, and the labels at both ends of the disk and of each
    /// new partition. A partition without an image that the disk has already, at the same place, is spared.
    Clear,
    /// Receives a stream, verifies it, and writes it to its place.
    Stream(&'a PlannedStream),
    /// Makes a file system as large as its partition.
    Grow(&'a PlannedPartition, Growable),
    /// Makes the copies of the boot sector that images of NTFS lack, where the partition has an NTFS.
    NtfsCopies(&'a PlannedPartition),
    /// Makes swap space.
    Swap(&'a PlannedPartition),
    /// Writes the partition table, which makes the disk bootable.
    Table,
}

impl Step<'_> {
    /// The step as programs know it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Stream(_) => "stream",
            Self::Grow(..) => "grow",
            Self::NtfsCopies(_) => "ntfs-copies",
            Self::Swap(_) => "swap",
            Self::Table => "table",
        }
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clear => f.write_str(
                "remove the old partition table, the boot code, and the labels of earlier uses at both \
                 ends of the disk and of each new partition; a partition without an image keeps its \
                 content if the disk has it with the same start and size",
            ),
            Self::Stream(stream) => {
                let facts = &stream.facts;
                let what = format!(
                    "{} ({} stored, {}, {} of {})",
                    stream.name,
                    Size(stream.stored_len),
                    facts.compression,
                    printable(&facts.filesystem, 32),
                    Size(facts.device_size)
                );
                match stream.destination {
                    Destination::Partition { number, len, .. } => write!(
                        f,
                        "write {what} to partition {number} of {}",
                        Size(len)
                    ),
                    Destination::Nowhere => {
                        write!(f, "verify {what} and write it nowhere: it is a container")
                    }
                }
            }
            Self::Grow(partition, kind) => write!(
                f,
                "grow the {kind} of partition {} to {}, if this boot image has the programs for it",
                partition.number,
                Size(partition.len)
            ),
            Self::NtfsCopies(partition) => write!(
                f,
                "complete the copies of the boot sector in partition {}, if it has an NTFS",
                partition.number
            ),
            Self::Swap(partition) => {
                write!(f, "make swap space in partition {} ", partition.number)?;
                match partition.swap_uuid {
                    Some(uuid) => write!(f, "with the UUID {uuid}"),
                    None => f.write_str("with a new UUID"),
                }
            }
            Self::Table => f.write_str(
                "write the partition table, sector 0 last: the disk becomes bootable with it",
            ),
        }
    }
}

impl DeployPlan {
    /// What is done to the disk, in order.
    pub fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let streams = self.streams.iter().map(Step::Stream);
        // While nothing boots yet: a machine that is switched off in the middle must not start from it.
        let grow = self.written().filter_map(|partition| {
            let mut streams = self.streams.iter();
            let stream = streams.find(|stream| stream.partition() == Some(partition.number))?;
            Some(Step::Grow(partition, stream.growth?))
        });
        // Behind the growth, with which their places change.
        let ntfs = self.partitions_of(PlannedStream::may_be_ntfs);
        let ntfs = ntfs.map(Step::NtfsCopies);
        let swap = self.swap_spaces().map(Step::Swap);
        std::iter::once(Step::Clear)
            .chain(streams)
            .chain(grow)
            .chain(ntfs)
            .chain(swap)
            .chain(std::iter::once(Step::Table))
    }
}

impl DeployPlan {
    /// Partitions whose stream is of this kind.
    fn partitions_of(
        &self,
        is_wanted: fn(&PlannedStream) -> bool,
    ) -> impl Iterator<Item = &PlannedPartition> {
        self.written().filter(move |partition| {
            let mut streams = self.streams.iter();
            streams.any(|stream| stream.partition() == Some(partition.number) && is_wanted(stream))
        })
    }
}

impl PlannedStream {
    /// The partition that it goes to.
    #[must_use]
    pub fn partition(&self) -> Option<u32> {
        match self.destination {
            Destination::Partition { number, .. } => Some(number),
            Destination::Nowhere => None,
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
        let plan = crate::plan(&manifest, &files, &samples::SHAPE).unwrap();
        let codes: Vec<_> = plan.steps().map(|step| step.code()).collect();
        assert_eq!(codes, ["clear", "stream", "swap", "table"]);
        let text: Vec<_> = plan.steps().map(|step| step.to_string()).collect();
        assert!(text[0].contains("without an image keeps"), "{text:?}");
        assert!(text[1].contains("d1p1.img"), "{text:?}");
        assert!(text[2].contains("with a new UUID"), "{text:?}");
        for name in ["NTFS", "raw"] {
            manifest.streams[0].image.filesystem = name.into();
            let plan = crate::plan(&manifest, &files, &samples::SHAPE).unwrap();
            let codes: Vec<_> = plan.steps().map(|step| step.code()).collect();
            assert_eq!(codes, ["clear", "stream", "ntfs-copies", "swap", "table"]);
        }
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
        let plan = crate::plan(&manifest, &files, &large).unwrap();
        let codes: Vec<_> = plan.steps().map(|step| step.code()).collect();
        assert_eq!(codes, ["clear", "stream", "stream", "grow", "table"]);
        let warned: Vec<_> = plan.warnings.iter().map(crate::Warning::code).collect();
        assert_eq!(warned, ["not-grown"], "FAT is not grown");
        // On a disk like the captured one nothing is to be done.
        let plan = crate::plan(&manifest, &files, &samples::SHAPE).unwrap();
        assert!(plan.steps().all(|step| step.code() != "grow"));
        // And the partitions of other images keep their sizes.
        manifest.image_type = fog::task::ImageType::SingleDisk;
        manifest.streams[0].image.device_size -= 4096;
        let plan = crate::plan(&manifest, &files, &large).unwrap();
        assert!(plan.steps().all(|step| step.code() != "grow"));
    }
}
