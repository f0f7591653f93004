use std::collections::VecDeque;
use std::io::Cursor;

use disk::Shape;

use super::super::samples::{self, DISK_LEN};
use super::*;

/// Streams from memory.
struct Canned {
    streams: VecDeque<Vec<u8>>,
    /// Fails after so many bytes of each stream.
    breaks_after: Option<usize>,
    is_record_promised: bool,
    /// What was said when leaving.
    told: Option<String>,
}

struct CannedSource {
    bytes: Cursor<Vec<u8>>,
    breaks_after: Option<usize>,
}

impl Sources for Canned {
    fn open(&mut self, _index: usize) -> io::Result<Box<dyn Source>> {
        Ok(Box::new(CannedSource {
            bytes: Cursor::new(self.streams.pop_front().unwrap()),
            breaks_after: self.breaks_after,
        }))
    }

    fn is_record_promised(&self) -> bool {
        self.is_record_promised
    }

    fn leaving(&mut self, error: &StreamError) {
        assert!(self.told.is_none(), "a transfer is left once");
        self.told = Some(error.to_string());
    }
}

impl Read for CannedSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let at = usize::try_from(self.bytes.position()).unwrap();
        if self.breaks_after.is_some_and(|limit| at >= limit) {
            return Err(io::Error::other("the cable was pulled"));
        }
        // Pieces of odd lengths, as they come from slices.
        let len = buffer.len().min(1000 + at % 777);
        self.bytes.read(&mut buffer[..len])
    }
}

impl Source for CannedSource {
    fn next_piece(&mut self, spare: Vec<u8>) -> io::Result<Piece> {
        Piece::read(self, spare, 256 << 10)
    }

    fn close(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

/// Runs the pipeline over a disk that was full of 0xEE; answers the disk and the result.
fn run(streams: &[Vec<u8>]) -> (Vec<u8>, Result<(), StreamError>) {
    run_with(streams, |_| {})
}

fn run_with(
    streams: &[Vec<u8>],
    change: impl FnOnce(&mut Canned),
) -> (Vec<u8>, Result<(), StreamError>) {
    let plan = deploy_plan::plan(&samples::manifest(), &samples::small_files(), &SHAPE).unwrap();
    run_plan(&plan, streams, change)
}

const SHAPE: Shape = Shape {
    size: DISK_LEN,
    logical_sector: 512,
};

fn run_plan(
    plan: &DeployPlan,
    streams: &[Vec<u8>],
    change: impl FnOnce(&mut Canned),
) -> (Vec<u8>, Result<(), StreamError>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![0xee; usize::try_from(DISK_LEN).unwrap()]).unwrap();
    let target = Target::open(file.path(), &SHAPE).unwrap();
    let mut sources = Canned {
        streams: streams.to_vec().into(),
        breaks_after: None,
        is_record_promised: false,
        told: None,
    };
    change(&mut sources);
    let pipeline = Pipeline {
        plan,
        target: &target,
        flow: Arc::default(),
        board: Board::default(),
        window_log_max: 27,
        is_table_gone: Mutex::new(false),
    };
    let result = pipeline.run(&mut sources);
    if let Some(told) = &sources.told {
        assert_eq!(*told, result.as_ref().unwrap_err().to_string());
    }
    if result.is_ok() {
        pipeline.remove_old_table().unwrap();
        target.make_bootable(&plan.table).unwrap();
    } else {
        target.make_bootable(&plan.table).unwrap_err();
    }
    drop(target);
    (std::fs::read(file.path()).unwrap(), result)
}

fn with_record(number: u32) -> Vec<u8> {
    let name = StreamName::of_file(&format!("d1p{number}.img"));
    let mut stream = record::emit(&name).unwrap().to_vec();
    stream.extend(samples::stored(number));
    stream
}

/// The used blocks are there, the free ones untouched.
#[track_caller]
fn assert_restored(disk: &[u8]) {
    for (number, ..) in samples::PARTITIONS {
        let found = &disk[samples::region(number)];
        let block_len = usize::try_from(samples::BLOCK).unwrap();
        let expected = samples::restored(number);
        let pairs = found.chunks(block_len).zip(expected.chunks(block_len));
        for (at, (found, expected)) in pairs.enumerate() {
            if at % 3 == 2 {
                // The second partition ends with the disk, where a backup GPT would be: cleared
                // before the data came.
                assert!(
                    found.iter().all(|byte| [0xee, 0].contains(byte)),
                    "free block {at} was written"
                );
            } else {
                assert!(found == expected, "block {at} of partition {number}");
            }
        }
    }
    assert_eq!(disk[..440], samples::mbr()[..440]);
    assert_eq!(disk[446..512], samples::mbr()[446..512]);
}

#[test]
fn streams_end_in_their_partitions_and_the_table_comes_last() {
    let (disk, result) = run(&[samples::stored(1), samples::stored(2)]);
    result.unwrap();
    assert_restored(&disk);
}

#[test]
fn records_are_taken_off() {
    let streams = [with_record(1), with_record(2)];
    let (disk, result) = run_with(&streams, |sources| sources.is_record_promised = true);
    result.unwrap();
    assert_restored(&disk);
    // Also when the promise was not heard.
    let (disk, result) = run(&streams);
    result.unwrap();
    assert_restored(&disk);
}

/// Everything is refused with these words, and nothing at all was written.
#[track_caller]
fn assert_untouched(streams: &[Vec<u8>], is_record_promised: bool, word: &str) {
    let (disk, result) = run_with(streams, |sources| {
        sources.is_record_promised = is_record_promised;
    });
    let text = result.unwrap_err().to_string();
    assert!(text.contains(word), "{text}");
    assert!(
        disk.iter().all(|byte| *byte == 0xee),
        "the disk was written to"
    );
}

#[test]
fn a_stream_out_of_order_writes_nothing() {
    let swapped = [samples::stored(2), samples::stored(1)];
    assert_untouched(&swapped, false, "out of step");
    let swapped = [with_record(2), with_record(1)];
    assert_untouched(&swapped, false, "out of step");
    assert_untouched(&swapped, true, "out of step");
}

#[test]
fn a_missing_record_writes_nothing() {
    let streams = [samples::stored(1), samples::stored(2)];
    assert_untouched(&streams, true, "promised a record");
}

#[test]
fn no_image_at_all_writes_nothing() {
    assert_untouched(&[vec![b'x'; 5000], vec![]], false, "d1p1.img");
    assert_untouched(&[vec![], vec![]], false, "ended after 0 of");
}

/// Fails with these words; the disk has no partition table any more.
#[track_caller]
fn assert_no_table(streams: &[Vec<u8>], words: &str) {
    let (disk, result) = run(streams);
    let text = result.unwrap_err().to_string();
    assert!(text.contains(words), "{text}");
    assert!(
        disk[..512].iter().all(|byte| *byte == 0),
        "there is something in sector 0"
    );
}

#[test]
fn damage_is_found_and_leaves_no_table() {
    let mut damaged = samples::stored(2);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    assert_no_table(&[samples::stored(1), damaged], "d1p2.img");
}

#[test]
fn damage_outside_the_image_is_found_by_the_hash() {
    // The checksum of the last strip is followed by nothing that partclone would check.
    let mut longer = samples::stored(1);
    longer.push(0);
    assert_no_table(&[longer, samples::stored(2)], "more than the");
}

#[test]
fn a_stream_that_ends_early_is_found() {
    let mut cut = samples::stored(2);
    cut.truncate(cut.len() - 10_000);
    assert_no_table(&[samples::stored(1), cut], "ended after");
}

#[test]
fn a_bitmap_larger_than_the_promised_one_is_not_taken_into_memory() {
    // 1.1 MB of bitmap with so many runs of used blocks that nothing is shorter than its bits.
    let used: Vec<bool> = (0..9_000_000).map(|block| block % 16 == 0).collect();
    let foreign = image::writer::Recipe::v2(1, used).write(|_| vec![1]);
    let mut manifest = samples::manifest();
    manifest.streams[0].stored_len = foreign.len() as u64;
    let plan = deploy_plan::plan(&manifest, &samples::small_files(), &SHAPE).unwrap();
    let (disk, result) = run_plan(&plan, &[foreign, vec![]], |_| {});
    let text = result.unwrap_err().to_string();
    assert!(
        text.contains("out of step") && text.contains("9000000 blocks"),
        "{text}"
    );
    assert!(disk.iter().all(|byte| *byte == 0xee));
}

#[test]
fn an_image_without_data_still_replaces_the_table() {
    let mut plan =
        deploy_plan::plan(&samples::manifest(), &samples::small_files(), &SHAPE).unwrap();
    for stream in &mut plan.streams {
        stream.destination = Destination::Nowhere;
    }
    let streams = [samples::stored(1), samples::stored(2)];
    let (disk, result) = run_plan(&plan, &streams, |_| {});
    result.unwrap();
    assert_eq!(disk[446..512], samples::mbr()[446..512]);
    assert!(disk[samples::region(1)].iter().all(|byte| *byte == 0xee));
}

#[test]
fn a_broken_transfer_says_where() {
    let streams = [samples::stored(1), samples::stored(2)];
    let (_, result) = run_with(&streams, |sources| sources.breaks_after = Some(100_000));
    let text = result.unwrap_err().to_string();
    assert!(
        text.contains("d1p1.img") && text.contains("the cable was pulled"),
        "{text}"
    );
}
