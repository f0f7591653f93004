use super::*;
use crate::testing::{Stream, image, noise, pack, stream_facts, streams};
use crate::{FRAME_MAX, Manifest};

fn options(max_len: u64) -> WriterOptions {
    WriterOptions {
        threads: 2,
        max_len,
        ..WriterOptions::usual()
    }
}

fn fill(writer: &mut PackWriter<Vec<u8>>, stream: &Stream) -> Result<(), PackError> {
    let fine = |result: Result<(), SinkError>| {
        result.map_err(|error| *error.downcast::<PackError>().unwrap())
    };
    let mut sink = writer.stream();
    fine(sink.begin(&stream.geometry()))?;
    for (offset, data) in &stream.extents {
        fine(sink.extent(*offset, data))?;
    }
    sink.finish()
}

/// 3.4: a frame that would be too long is halved, and no half is.
#[test]
fn what_does_not_compress_is_halved() {
    let written = pack(&[Stream::new(64 << 20, vec![(0, noise(20 << 20, 1))])], 2);
    let manifest = Manifest::parse(&written.manifest).unwrap();
    let lens: Vec<u32> = manifest
        .chunks()
        .iter()
        .map(|chunk| chunk.raw_len >> 20)
        .collect();
    assert_eq!(lens, [4, 4, 4, 4, 4]);
    assert!(
        manifest
            .chunks()
            .iter()
            .all(|chunk| chunk.frame_len <= FRAME_MAX)
    );
}

/// 3.6: the unit is the largest power of two up to 4096 that divides all offsets and lengths.
#[test]
fn the_unit_is_as_large_as_can_be() {
    for (offset, len, unit) in [
        (0, 4096, 4096),
        (1 << 20, 8192, 4096),
        (512, 1024, 512),
        (4096, 5120, 1024),
        (4096, 4097, 1),
        (3, 3, 1),
    ] {
        let stream = Stream {
            block_size: 1,
            ..Stream::new(4 << 20, vec![(offset, noise(len, 1))])
        };
        let written = pack(&[stream], 1);
        let manifest = Manifest::parse(&written.manifest).unwrap();
        assert_eq!(manifest.head().streams[0].unit, unit, "{offset} {len}");
    }
    let manifest = Manifest::parse(&pack(&streams(), 1).manifest).unwrap();
    assert_eq!(manifest.head().streams[1].unit, 4096, "without extents");
}

/// 3.2: a stream that did not come to its good end makes no pack.
#[test]
fn a_stream_that_was_not_finished_makes_no_pack() {
    let stream = &streams()[0];
    let mut writer = PackWriter::start(Vec::new(), &options(u64::MAX)).unwrap();
    let mut sink = writer.stream();
    sink.begin(&stream.geometry()).unwrap();
    sink.extent(0, &[1; 4096]).unwrap();
    drop(sink);
    let next = fill(&mut writer, stream).unwrap_err();
    assert!(matches!(next, PackError::Incomplete(0)), "{next}");
    let facts = vec![stream_facts(0, stream.device_size, 4096)];
    let error = writer.finish(image(), facts, &[]).unwrap_err();
    assert!(matches!(error, PackError::Incomplete(0)), "{error}");
    let mut writer = PackWriter::start(Vec::new(), &options(u64::MAX)).unwrap();
    let never_begun = writer.stream().finish().unwrap_err();
    assert!(
        matches!(never_begun, PackError::Incomplete(0)),
        "{never_begun}"
    );
}

#[test]
fn a_pack_that_grows_too_large_ends() {
    let stream = Stream::new(64 << 20, vec![(0, noise(40 << 20, 1))]);
    let mut writer = PackWriter::start(Vec::new(), &options(6 << 20)).unwrap();
    let error = fill(&mut writer, &stream).unwrap_err();
    assert!(
        matches!(error, PackError::TooLarge(limit) if limit == 6 << 20),
        "{error}"
    );
}

#[test]
fn extents_that_do_not_ascend_are_refused() {
    let stream = Stream::new(1 << 20, vec![(8192, vec![1; 4096]), (4096, vec![1; 4096])]);
    let mut writer = PackWriter::start(Vec::new(), &options(u64::MAX)).unwrap();
    let error = fill(&mut writer, &stream).unwrap_err();
    assert!(matches!(error, PackError::NotAscending(_)), "{error}");
}

/// What contradicts itself does not become a manifest.
#[test]
fn data_beyond_the_device_makes_no_pack() {
    let stream = Stream::new(8192, vec![(0, vec![1; 8192])]);
    let mut writer = PackWriter::start(Vec::new(), &options(u64::MAX)).unwrap();
    fill(&mut writer, &stream).unwrap();
    let facts = vec![stream_facts(0, 4096, 4096)];
    let error = writer.finish(image(), facts, &[]).unwrap_err();
    assert!(matches!(error, PackError::Manifest(_)), "{error}");
}

/// A stream without data gives back what it was given: more of them than there are buffers hold nothing up.
#[test]
fn many_streams_without_data_hold_nothing_up() {
    let mut many: Vec<Stream> = (0..9).map(|_| Stream::new(8192, vec![])).collect();
    many.push(Stream::new(64 << 20, vec![(0, noise(20 << 20, 1))]));
    let manifest = Manifest::parse(&pack(&many, 1).manifest).unwrap();
    assert_eq!(manifest.chunks_of(9).len(), 5);
}

/// A writer that goes while threads are at work stops them.
#[test]
fn a_writer_that_is_dropped_ends() {
    let mut writer = PackWriter::start(Vec::new(), &options(u64::MAX)).unwrap();
    let stream = &streams()[2];
    let mut sink = writer.stream();
    sink.begin(&stream.geometry()).unwrap();
    sink.extent(0, &stream.extents[0].1).unwrap();
    drop(sink);
    drop(writer);
}
