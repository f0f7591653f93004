use std::collections::VecDeque;
use std::io::{Cursor, Read};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use deploy_plan::Destination;
use disk::{Shape, Target, WriteError};
use fog::store::StreamName;
use image::{ImageError, SinkError};
use imaging::Piece;
use imaging::tap::meter::{Bottleneck, Meter, Reading};

use super::super::resume::Cause;
use super::super::samples::{self, DISK_LEN};
use super::promised::OtherImage;
use super::*;

/// Streams from memory.
struct Canned {
    streams: VecDeque<Vec<u8>>,
    /// Fails after so many bytes of each stream.
    breaks_after: Option<usize>,
    /// The same for the streams in the order of opening, where there is one.
    breaks: VecDeque<Option<usize>>,
    is_record_promised: bool,
    /// With which streams it goes on after failures, in order.
    resumes: VecDeque<usize>,
    /// What was asked to be resumed.
    failed: Vec<(usize, Cause)>,
    /// What the server says to streams without records, in order.
    confirms: VecDeque<usize>,
    /// Streams break only when something of them has gone to the disk.
    breaks_late: bool,
    flow: Arc<Flow>,
    /// A source that stands still in its middle notes there what is shown meanwhile.
    shown_in_stall: Option<Arc<OnceLock<Reading>>>,
    /// For what streams were opened, and what they carried.
    opened: Vec<usize>,
    carried: Vec<usize>,
    /// What was said when leaving.
    told: Option<String>,
}

struct CannedSource {
    bytes: Cursor<Vec<u8>>,
    breaks_after: Option<usize>,
    /// What has gone to the disk before, and what goes.
    breaks_late: Option<(u64, Arc<Flow>)>,
    stall: Option<(Arc<Flow>, Arc<OnceLock<Reading>>)>,
}

impl Sources for Canned {
    fn open(&mut self, index: usize) -> io::Result<Box<dyn Source>> {
        self.opened.push(index);
        Ok(Box::new(CannedSource {
            bytes: Cursor::new(self.streams.pop_front().unwrap()),
            breaks_after: self.breaks.pop_front().unwrap_or(self.breaks_after),
            breaks_late: self
                .breaks_late
                .then(|| (self.flow.sample().used, Arc::clone(&self.flow))),
            stall: self
                .shown_in_stall
                .take()
                .map(|shown| (Arc::clone(&self.flow), shown)),
        }))
    }

    fn is_record_promised(&self) -> bool {
        self.is_record_promised
    }

    fn confirm(&mut self, index: usize) -> usize {
        self.confirms.pop_front().unwrap_or(index)
    }

    fn carries(&mut self, index: usize) {
        self.carried.push(index);
    }

    fn resume(&mut self, index: usize, cause: Cause) -> Option<usize> {
        self.failed.push((index, cause));
        self.resumes.pop_front()
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
            if let Some((before, flow)) = &self.breaks_late {
                while flow.sample().used <= *before {
                    std::thread::yield_now();
                }
            }
            return Err(io::Error::other("the cable was pulled"));
        }
        if at > STALLS_AT
            && let Some((flow, shown)) = self.stall.take()
        {
            shown.set(reading_of_a_stall(&flow)).unwrap();
        }
        // Pieces of odd lengths, as they come from slices.
        let len = buffer.len().min(1000 + at % 777);
        self.bytes.read(&mut buffer[..len])
    }
}

const STALLS_AT: usize = 5000;

/// What a meter shows after two seconds of the read that is under way.
fn reading_of_a_stall(flow: &Flow) -> Reading {
    let (start, first) = (Instant::now(), flow.sample());
    let mut meter = Meter::default();
    meter.read(start, first);
    let mut sample = flow.sample();
    while sample.network_wait == first.network_wait && start.elapsed() < PATIENCE {
        sample = flow.sample();
    }
    // As if it went on.
    if sample.network_wait > first.network_wait {
        sample.network_wait += Duration::from_secs(2);
    }
    meter.read(start + Duration::from_secs(2), sample)
}

/// Only a defect takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

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
    let plan = deploy_plan::plan(&samples::manifest(), &samples::small_files(), &[SHAPE]).unwrap();
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
    let run = Outcome::of(plan, streams, change);
    (run.disk, run.result)
}

/// How a pipeline ended.
struct Outcome {
    disk: Vec<u8>,
    result: Result<(), StreamError>,
    sources: Canned,
    /// Bytes stored and used that count.
    progress: (u64, u64),
    /// Bytes that the disk has taken.
    written: u64,
}

impl Outcome {
    fn of(plan: &DeployPlan, streams: &[Vec<u8>], change: impl FnOnce(&mut Canned)) -> Self {
        Self::on(&full(), plan, streams, change)
    }

    /// On a disk with this content.
    fn on(
        content: &[u8],
        plan: &DeployPlan,
        streams: &[Vec<u8>],
        change: impl FnOnce(&mut Canned),
    ) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let target = Target::open(file.path(), &SHAPE).unwrap();
        let flow: Arc<Flow> = Arc::default();
        let mut sources = Canned {
            streams: streams.to_vec().into(),
            breaks_after: None,
            breaks: VecDeque::new(),
            is_record_promised: false,
            resumes: VecDeque::new(),
            failed: Vec::new(),
            confirms: VecDeque::new(),
            breaks_late: false,
            flow: Arc::clone(&flow),
            shown_in_stall: None,
            opened: Vec::new(),
            carried: Vec::new(),
            told: None,
        };
        change(&mut sources);
        let targets = [target];
        let disks = Disks::new(plan, &targets, Arc::clone(&flow));
        let pipeline = Pipeline {
            plan,
            disks: &disks,
            flow: Arc::clone(&flow),
            board: Board::default(),
            window_log_max: 27,
            done: 0,
            starts: None,
        };
        let result = pipeline.run(0, &mut sources);
        if let Some(told) = &sources.told {
            assert_eq!(*told, result.as_ref().unwrap_err().to_string());
        }
        let written = targets[0].bytes_written().load(Ordering::Relaxed);
        if result.is_ok() {
            disks.remove_old_tables().unwrap();
            disks.make_bootable(&plan.disks[0]).unwrap();
        } else {
            disks.make_bootable(&plan.disks[0]).unwrap_err();
        }

        drop(targets);
        Self {
            disk: std::fs::read(file.path()).unwrap(),
            result,
            sources,
            progress: flow.progress(),
            written,
        }
    }

    /// Of the sample image.
    fn of_samples(streams: &[Vec<u8>], change: impl FnOnce(&mut Canned)) -> Self {
        let plan =
            deploy_plan::plan(&samples::manifest(), &samples::small_files(), &[SHAPE]).unwrap();
        Self::of(&plan, streams, change)
    }

    /// Everything is as if nothing had happened on the way.
    #[track_caller]
    fn assert_restored(&self) {
        self.result.as_ref().unwrap();
        assert_restored(&self.disk);
        assert_eq!(self.sources.told, None);
        let used: u64 = samples::PARTITIONS
            .iter()
            .map(|(number, ..)| used_len(*number))
            .sum();
        assert_eq!(self.progress.1, used);
    }
}

fn full() -> Vec<u8> {
    vec![0xee; usize::try_from(DISK_LEN).unwrap()]
}

#[test]
fn what_no_stream_comes_for_stays_where_the_disk_has_it() {
    let mut manifest = samples::manifest();
    manifest.streams.pop();
    let plan = deploy_plan::plan(&manifest, &samples::small_files(), &[SHAPE]).unwrap();
    let mut disk = full();
    disk[..512].copy_from_slice(&samples::mbr());
    for (disk, is_kept) in [(disk, true), (full(), false)] {
        let run = Outcome::on(&disk, &plan, &[samples::stored(1)], |_| {});
        run.result.unwrap();
        let found = &run.disk[samples::region(2)];
        assert_eq!(found.iter().all(|byte| *byte == 0xee), is_kept);
        assert_eq!(run.disk[446..512], samples::mbr()[446..512]);
        let first = samples::region(1).start;
        assert_eq!(run.disk[first..first + 100], samples::restored(1)[..100]);
    }
}

/// Bytes of the used blocks of a partition.
fn used_len(number: u32) -> u64 {
    let facts = samples::facts(number).image;
    facts.used_blocks.unwrap() * u64::from(facts.block_size)
}

/// An image of the same shape as the stored one, with other bytes, cut in the middle.
fn half_of_another(number: u32) -> Vec<u8> {
    let len = samples::region(number).len() / usize::try_from(samples::BLOCK).unwrap();
    let used = (0..len).map(|block| block % 3 != 2).collect();
    let mut recipe = image_writer::Recipe::v2(samples::BLOCK, used);
    // Data goes to the disk as soon as its checksum is there.
    recipe.strip_blocks = 8;
    let mut stream = recipe.write(|at| samples::block(number + 7, at));
    stream.truncate(stream.len() / 2);
    stream
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
fn a_sender_that_stands_still_is_shown_as_what_is_waited_for() {
    let shown = Arc::new(OnceLock::new());
    let (disk, result) = run_with(&[samples::stored(1), samples::stored(2)], |canned| {
        canned.shown_in_stall = Some(Arc::clone(&shown));
    });
    result.unwrap();
    assert_restored(&disk);
    let reading = shown.get().expect("the first stream is long enough");
    assert_eq!(reading.bottleneck, Some(Bottleneck::Network));
    assert!(reading.stored_rate < 1.0, "{reading:?}");
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
    assert_untouched(&[vec![], vec![]], false, "ended after 0 bytes of");
}

/// A zstd frame (RFC 8878) of blocks that are not compressed, which asks for a window of so many bits.
fn zstd(window_log: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x28, 0xB5, 0x2F, 0xFD, 0, (window_log - 10) << 3];
    let mut blocks = content.chunks(100_000).peekable();
    while let Some(block) = blocks.next() {
        let is_last = u32::from(blocks.peek().is_none());
        let header = is_last | u32::try_from(block.len()).unwrap() << 3;
        frame.extend(&header.to_le_bytes()[..3]);
        frame.extend(block);
    }
    frame
}

#[test]
fn a_window_beyond_the_memory_writes_nothing() {
    let run = |window_log| {
        let stored = zstd(window_log, &samples::stored(1));
        let mut manifest = samples::manifest();
        manifest.streams[0].stored_len = stored.len() as u64;
        manifest.streams[0].blake3 = blake3::hash(&stored).into();
        let plan = deploy_plan::plan(&manifest, &samples::small_files(), &[SHAPE]).unwrap();
        run_plan(&plan, &[stored, samples::stored(2)], |_| {})
    };
    let (disk, result) = run(28);
    let text = result.unwrap_err().to_string();
    assert!(text.contains("needs a window of 268.4 MB"), "{text}");
    assert!(disk.iter().all(|byte| *byte == 0xee));
    let (disk, result) = run(27);
    result.unwrap();
    assert_restored(&disk);
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
    let foreign = image_writer::Recipe::v2(1, used).write(|_| vec![1]);
    let mut manifest = samples::manifest();
    manifest.streams[0].stored_len = foreign.len() as u64;
    let plan = deploy_plan::plan(&manifest, &samples::small_files(), &[SHAPE]).unwrap();
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
        deploy_plan::plan(&samples::manifest(), &samples::small_files(), &[SHAPE]).unwrap();
    for stream in &mut plan.streams {
        stream.destination = Destination::Nowhere;
    }
    let streams = [samples::stored(1), samples::stored(2)];
    let (disk, result) = run_plan(&plan, &streams, |_| {});
    result.unwrap();
    assert_eq!(disk[446..512], samples::mbr()[446..512]);
    // Nothing is written to its partitions, but no old label is left in them.
    assert!(disk[samples::region(1)].iter().all(|byte| *byte == 0));
}

#[test]
fn a_stream_that_is_begun_again_owes_nothing_to_the_first_attempt() {
    for broken in [0, 1] {
        let mut streams = vec![samples::stored(1), samples::stored(2)];
        // What comes of another server's image is overwritten to the last byte.
        let half = half_of_another(if broken == 0 { 1 } else { 2 });
        let mut breaks = vec![None; broken];
        breaks.push(Some(half.len()));
        streams.insert(broken, half);
        let run = Outcome::of_samples(&streams, |sources| {
            sources.breaks = breaks.into();
            sources.breaks_late = true;
            sources.resumes = [broken].into();
        });
        run.assert_restored();
        assert_eq!(run.sources.failed, [(broken, Cause::Transfer)]);
        // What was taken in vain was written, too: no byte is waited for in vain.
        assert!(run.written > used_len(1) + used_len(2));
    }
}

#[test]
fn a_server_may_be_restarted_twice_in_a_row() {
    let streams = [
        half_of_another(1),
        half_of_another(1),
        samples::stored(1),
        half_of_another(2),
        samples::stored(2),
    ];
    let cut = |number| Some(half_of_another(number).len());
    let run = Outcome::of_samples(&streams, |sources| {
        sources.breaks = [cut(1), Some(9000), None, Some(0), None].into();
        sources.resumes = [0, 0, 1].into();
    });
    run.assert_restored();
    assert_eq!(run.sources.opened, [0, 0, 0, 1, 1]);
}

#[test]
fn a_stream_whose_end_came_too_early_is_begun_again_with_the_receiver_that_is_open() {
    // The sender ended properly in the middle. That shows when the next receiver is open already,
    // and the sender that begins again may have let it in.
    let mut cut = samples::stored(1);
    cut.truncate(100_000);
    let streams = [cut, samples::stored(1), samples::stored(2)];
    let run = Outcome::of_samples(&streams, |sources| sources.resumes = [0].into());
    run.assert_restored();
    assert_eq!(run.sources.failed, [(0, Cause::Transfer)]);
    assert_eq!(run.sources.opened, [0, 1, 1]);
    assert_eq!(run.sources.carried, [0, 0, 1]);
}

#[test]
fn the_last_stream_can_be_begun_again_too() {
    let mut cut = samples::stored(2);
    cut.truncate(100_000);
    let streams = [samples::stored(1), cut, samples::stored(2)];
    let run = Outcome::of_samples(&streams, |sources| sources.resumes = [1].into());
    run.assert_restored();
    // One that ended before it could be told what it is.
    let streams = [samples::stored(1), vec![], samples::stored(2)];
    let run = Outcome::of_samples(&streams, |sources| {
        sources.is_record_promised = false;
        sources.resumes = [1].into();
    });
    run.assert_restored();
    assert_eq!(run.sources.failed, [(1, Cause::Transfer)]);
}

#[test]
fn a_stream_that_was_done_is_received_again_but_not_written() {
    // The last acknowledgement was lost with the server: what comes next is the same stream again. Its
    // record says so, or the server.
    let plain = [samples::stored(1), samples::stored(1), samples::stored(2)];
    let named = [with_record(1), with_record(1), with_record(2)];
    for (streams, confirms) in [(plain, vec![0, 0, 1]), (named, vec![])] {
        let run = Outcome::of_samples(&streams, |sources| sources.confirms = confirms.into());
        run.assert_restored();
        assert_eq!(run.sources.opened, [0, 1, 1]);
        assert_eq!(run.sources.carried, [0, 0, 1]);
        assert_eq!(run.written, used_len(1) + used_len(2));
    }
}

#[test]
fn a_stream_that_was_done_and_comes_damaged_is_a_failure_of_the_transfer_only() {
    let mut damaged = samples::stored(1);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let streams = [with_record(1), damaged, with_record(1), with_record(2)];
    let run = Outcome::of_samples(&streams, |sources| {
        sources.confirms = [0].into();
        sources.resumes = [0].into();
    });
    // The open receiver serves for the third attempt.
    run.assert_restored();
    assert_eq!(run.sources.failed, [(0, Cause::Content)]);
    assert_eq!(run.written, used_len(1) + used_len(2));
}

#[test]
fn going_back_from_the_middle_of_a_stream_is_possible() {
    let streams = [
        samples::stored(1),
        half_of_another(2),
        samples::stored(1),
        samples::stored(2),
    ];
    let run = Outcome::of_samples(&streams, |sources| {
        sources.breaks = [None, Some(half_of_another(2).len()), None, None].into();
        sources.resumes = [0].into();
    });
    run.assert_restored();
    assert_eq!(run.sources.opened, [0, 1, 0, 1]);
}

#[test]
fn a_stream_that_is_never_whole_leaves_no_table() {
    let streams = [samples::stored(1), half_of_another(2), half_of_another(2)];
    let len = half_of_another(2).len();
    let run = Outcome::of_samples(&streams, |sources| {
        sources.breaks = [None, Some(len), Some(len)].into();
        sources.resumes = [1].into();
    });
    assert!(run.result.is_err() && run.sources.told.is_some());
    assert!(run.disk[..512].iter().all(|byte| *byte == 0));
    assert_eq!(run.progress.1, used_len(1));
}

#[test]
fn failures_have_a_cause() {
    let name = || StreamName::of_file("d1p1.img");
    let write = || WriteError::Thread {
        device: "/dev/sda".into(),
        reason: "died".into(),
    };
    let image = |error: SinkError| StreamError::Image {
        name: name(),
        source: Box::new(ImageError::Sink(error)),
    };
    let other = OtherImage {
        found: "x".into(),
        expected: "y".into(),
    };
    assert_eq!(image(Box::new(write())).cause(), Cause::Machine);
    assert_eq!(image(Box::new(other)).cause(), Cause::Content);
    let source = write();
    let error = StreamError::Write {
        name: name(),
        source,
    };
    assert_eq!(error.cause(), Cause::Machine);
    let source = io::Error::other("x");
    let error = StreamError::Receive {
        name: name(),
        bytes: 0,
        source,
    };
    assert_eq!(error.cause(), Cause::Transfer);
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
