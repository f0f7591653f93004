//! What a capture reads of a disk before it starts anything: tables, signs of file systems, and their states.

use std::collections::BTreeMap;
use std::io;

use capture::{Condition, Content, RawCause, Request, SurveyedDisk, SurveyedPartition, plan};
use disk::{CapturedTable, GroupBackup, PhysicalVolume, PlanError, Shape};
use fog::task::ImageType;

use super::feed::Feed;
use super::mend;

/// Any bytes as the beginning of a disk whose rest is zero: what is found is planned, and the plan stays on the disk.
pub fn captured_disk(data: &[u8]) {
    let mut feed = Feed(data);
    let logical_sector: u32 = feed.one_of(&[512, 512, 4096]);
    let sectors = u64::from(feed.byte()) * 2048 + u64::from(feed.byte());
    let shape = Shape {
        size: sectors * u64::from(logical_sector),
        logical_sector,
    };
    let image_type = feed.one_of(&[
        ImageType::Resizable,
        ImageType::SingleDisk,
        ImageType::AllDisks,
        ImageType::Raw,
    ]);
    let is_mended = feed.flag();
    let mut disk = feed.rest().to_vec();
    if is_mended {
        mend::gpt(&mut disk, |lba| lba.checked_mul(logical_sector.into()));
    }
    let disk = Bytes {
        first: &disk,
        shape,
    };
    let mut read = |offset, len| disk.read(offset, len);
    let table = match image_type {
        ImageType::Raw => None,
        _ => match CapturedTable::read(&shape, "/dev/sda", &mut read) {
            Ok(table) => table,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return;
            }
        },
    };
    let mut contents = BTreeMap::new();
    for partition in table.iter().flat_map(|table| &table.table().partitions) {
        if !partition.is_extended && partition.end() <= shape.size {
            let found = disk.look_at(partition.offset, partition.len);
            contents.insert(partition.number, found);
        }
    }
    let surveyed = SurveyedDisk {
        name: "/dev/sda".into(),
        shape,
        model: String::new(),
        serial: String::new(),
        table,
        labels: disk::labels_in(shape.size, &mut |offset, len| disk.within(offset, len)),
        contents,
    };
    let request = Request {
        image_type,
        image: "lab",
        has_program: &|_| true,
    };
    let plan = match plan(vec![surveyed], &request) {
        Ok(plan) => plan,
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty());
            return;
        }
    };
    for stream in &plan.streams {
        let mut len = 0_u64;
        for (offset, run) in &stream.runs {
            let end = offset.checked_add(*run);
            assert!(
                end.is_some_and(|end| end <= shape.size),
                "{} leaves the disk",
                stream.name
            );
            len += run;
        }
        assert_eq!(len, stream.len, "{}", stream.name);
    }
    for warning in &plan.warnings {
        assert!(!warning.to_string().is_empty());
    }
    drop(plan.small_files(&[]));
}

struct Bytes<'a> {
    first: &'a [u8],
    shape: Shape,
}

impl Bytes<'_> {
    /// For who must know where the disk ends.
    fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, PlanError> {
        let found = self.within(offset, len);
        Ok(found.unwrap_or_else(|| panic!("{len} bytes at {offset} are not on the disk")))
    }

    fn within(&self, offset: u64, len: usize) -> Option<Vec<u8>> {
        assert!(len <= 16 << 20, "{len} bytes at a time");
        let end = offset.checked_add(len as u64)?;
        if end > self.shape.size {
            return None;
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let start = start.min(self.first.len());
        let stop = start.saturating_add(len).min(self.first.len());
        let mut bytes = self.first[start..stop].to_vec();
        bytes.resize(len, 0);
        Some(bytes)
    }

    /// As the agent does it with a partition.
    fn look_at(&self, offset: u64, len: u64) -> SurveyedPartition {
        let within = |at: u64, count: usize| {
            let end = at.checked_add(count as u64)?;
            (end <= len).then(|| self.within(offset.checked_add(at)?, count))?
        };
        let labels = disk::labels_in(len, &mut |at, count| within(at, count));
        let mut content = Content::of(&labels);
        let marks = disk::ntfs_marks(|at, buffer| {
            let found = within(at, buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(&found);
            Ok(())
        });
        let superblock = within(1024, 1024).unwrap_or_default();
        let condition = match marks {
            Ok(Some(marks)) => Condition::from(marks),
            _ => capture::ext_state(&superblock).unwrap_or_default(),
        };
        let sleeps = capture::is_hibernation(&superblock);
        assert!(!sleeps || superblock.len() >= 4);
        if let Content::Raw(RawCause::Lvm(_)) = content
            && let Some(physical) = PhysicalVolume::read(&mut |at, count| within(at, count))
        {
            content = match GroupBackup::parse(&physical.metadata) {
                Ok(backup) => {
                    for volume in &backup.volumes {
                        assert!(!backup.runs(volume).is_empty(), "{}", volume.name);
                    }
                    Content::Raw(RawCause::Lvm("a group".into()))
                }
                Err(error) => Content::Raw(RawCause::Lvm(error.to_string())),
            };
        }
        SurveyedPartition { content, condition }
    }
}
