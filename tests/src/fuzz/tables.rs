//! Partition tables: as they are on disks, in dumps, and planned from an image's files.

use disk::{
    Dump, Layout, PlanError, Shape, TableFiles, fill, plan_table, read_table, source_shape,
};

use super::feed::Feed;
use super::mend;

/// Any bytes as the beginning of a disk whose rest is zero.
pub fn partition_table(data: &[u8]) {
    let mut feed = Feed(data);
    let is_mended = feed.0.first().is_some_and(|first| first & 0x80 != 0);
    let shape = shape(&mut feed);
    let mut disk = feed.rest().to_vec();
    if is_mended {
        mend::gpt(&mut disk, |lba| {
            lba.checked_mul(shape.logical_sector.into())
        });
    }
    let mut read = |offset: u64, len: usize| -> Result<Vec<u8>, PlanError> {
        assert!(len <= 1 << 20, "a table of {len} bytes");
        let end = offset.checked_add(len as u64);
        assert!(
            end.is_some_and(|end| end <= shape.size),
            "read beyond the disk: {len} bytes at {offset}"
        );
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(disk.len());
        let mut bytes = disk[start..].to_vec();
        bytes.resize(len, 0);
        Ok(bytes)
    };
    drop(read_table(&shape, &mut read));
}

/// Any text as a dump of sfdisk, laid out on disks.
pub fn partition_dump(data: &[u8]) {
    let mut feed = Feed(data);
    let shape = shape(&mut feed);
    let fixed = [u32::from(feed.byte() % 6)];
    let text = String::from_utf8_lossy(feed.rest());
    let Ok(dump) = Dump::parse(&text) else {
        return;
    };
    let Ok(partitions) = fill(&dump, None, &fixed, &shape) else {
        return;
    };
    assert_eq!(partitions.len(), dump.partitions.len());
    for partition in &partitions {
        let original = dump.partition(partition.number).expect("no other ones");
        assert_eq!(partition.size == 0, original.size == 0, "{partition:?}");
        let end = partition.start.checked_add(partition.size);
        assert!(
            partition.size == 0 || end.is_some_and(|end| end <= shape.sectors()),
            "{partition:?} leaves the disk"
        );
    }
}

/// Any files of an image: a plan writes inside its disk, and its partitions do not overlap.
pub fn partition_plan(data: &[u8]) {
    let mut feed = Feed(data);
    let shape = shape(&mut feed);
    let layout = feed.one_of(&[Layout::Keep, Layout::Fill]);
    let has = feed.byte();
    let mut mbr = feed.bytes(2048).to_vec();
    if has & 1 != 0 && mbr.len() >= 512 {
        mbr[510..512].copy_from_slice(&[0x55, 0xAA]);
    }
    if has & 64 != 0 {
        // A backup of gdisk: two headers, and the entries behind them.
        mend::gpt(&mut mbr, |_| Some(1536));
    }
    let mut text = || String::from_utf8_lossy(feed.bytes(1024)).into_owned();
    let (partitions, minimum, fixed) = (text(), text(), text());
    let ebr = feed.bytes(512);
    let files = TableFiles {
        mbr: &mbr,
        grub_mbr: None,
        partitions: (has & 2 != 0).then_some(&*partitions),
        minimum: (has & 4 != 0).then_some(&*minimum),
        fixed: (has & 8 != 0).then_some(&*fixed),
        swap_uuids: (has & 16 != 0).then_some(&*fixed),
        ebrs: if has & 32 != 0 {
            vec![(5, ebr)]
        } else {
            Vec::new()
        },
    };
    let source = source_shape(&files);
    assert!(source.sectors() > 0, "{source:?}");
    check_plan(&files, &source, layout);
    check_plan(&files, &shape, layout);
}

fn check_plan(files: &TableFiles<'_>, shape: &Shape, layout: Layout) {
    let Ok(plan) = plan_table(files, shape, layout) else {
        return;
    };
    assert!(!plan.to_string().is_empty());
    let dump = plan.dump(None);
    let read = Dump::parse(&dump.to_string()).expect("a dump that was written can be read");
    let places = |dump: &Dump| -> Vec<_> {
        let lines = dump.partitions.iter();
        lines.map(|p| (p.number, p.start, p.size)).collect()
    };
    assert_eq!(places(&read), places(&dump));
    for partition in &plan.partitions {
        let end = partition.offset.checked_add(partition.len);
        assert!(
            end.is_some_and(|end| end <= shape.size),
            "{partition:?} leaves the disk"
        );
    }
    let mut places: Vec<_> = plan
        .partitions
        .iter()
        .filter(|partition| !partition.is_extended)
        .map(|partition| partition.offset..partition.end())
        .collect();
    for write in plan.writes() {
        let end = write.offset.checked_add(write.bytes.len() as u64);
        assert!(end.is_some_and(|end| end <= shape.size), "{}", write.what);
        places.push(write.offset..write.offset + write.bytes.len() as u64);
    }
    places.retain(|place| !place.is_empty());
    places.sort_by_key(|place| place.start);
    for pair in places.windows(2) {
        assert!(pair[0].end <= pair[1].start, "{places:?} overlap");
    }
}

fn shape(feed: &mut Feed<'_>) -> Shape {
    let logical_sector = feed.one_of(&[512, 512, 4096]);
    let sectors = match feed.byte() {
        0 => feed.u64() >> 14,
        small => u64::from(small) * 2048,
    };
    Shape {
        size: sectors * u64::from(logical_sector),
        logical_sector,
    }
}
