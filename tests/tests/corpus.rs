//! Our decoder against the original programs, over images that these made.

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use std::fs;

use fos_tests::corpus::{Corpus, Image};
use image::{Decoder, Geometry, Options, PEEK_LEN, Sink, SinkError, Summary, Verify, peek};
use image_writer::verify;

/// A target in memory.
struct Memory(Vec<u8>);

impl Sink for Memory {
    fn begin(&mut self, geometry: &Geometry) -> Result<(), SinkError> {
        assert!(geometry.data_end <= self.0.len() as u64);
        Ok(())
    }

    fn extent(&mut self, offset: u64, data: &[u8]) -> Result<(), SinkError> {
        let start = usize::try_from(offset)?;
        let place = self.0.get_mut(start..start + data.len());
        place.ok_or("beyond the target")?.copy_from_slice(data);
        Ok(())
    }
}

/// What we leave in a target of `size` bytes full of `fill`.
#[track_caller]
fn restored_by_us(
    what: &str,
    stored: &[u8],
    piece: usize,
    size: u64,
    fill: u8,
) -> (Vec<u8>, Summary) {
    let mut target = Memory(vec![fill; usize::try_from(size).unwrap()]);
    let mut decoder = Decoder::new(Options {
        target_size: Some(size),
        ..Options::default()
    });
    for piece in stored.chunks(piece) {
        decoder
            .push(piece, &mut target)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    let summary = decoder
        .finish(&mut target)
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(summary.warnings, [], "{what}");
    (target.0, summary)
}

/// The device size that the image's header gives.
fn device_size(image: &Image, stored: &[u8]) -> u64 {
    // What FOG stores gives its header early; blocks of bzip2 and lz4 are longer.
    let len = match stored {
        [b'B', b'Z', ..] | [4, 0x22, 0x4D, 0x18, ..] => stored.len(),
        _ => stored.len().min(PEEK_LEN),
    };
    let header = peek(&stored[..len]);
    let header = header.unwrap_or_else(|error| panic!("{}: {error}", image.name));
    header.expect("enough bytes").device_size
}

#[test]
fn every_image_is_restored_as_by_the_original() {
    let Some(corpus) = Corpus::new() else {
        return;
    };
    for image in &corpus.images {
        let stored = fs::read(&image.path).unwrap();
        let size = device_size(image, &stored);
        let mut summary = None;
        for (fill, piece) in [(0, 1 << 20), (0xA5, 60_001)] {
            let expected = corpus.restored_by_original(image, size, fill);
            let (found, done) = restored_by_us(&image.name, &stored, piece, size, fill);
            assert_eq!(found.len(), expected.len(), "{}", image.name);
            if found != expected {
                let at = found.iter().zip(&expected).position(|(a, b)| a != b);
                panic!("{}: the first different byte is {at:?}", image.name);
            }
            summary = Some(done);
        }
        let summary = summary.expect("restored twice");
        assert_eq!(summary.image_len, stored.len() as u64, "{}", image.name);
        println!(
            "{:18} {}; {} used blocks, {} extents, {} checksums",
            image.name,
            summary.geometry.header,
            summary.geometry.used_blocks,
            summary.extents,
            summary.checksums
        );
    }
    every_wrapping_gives_the_same(&corpus);
    partimage_may_store_in_its_own_way(&corpus);
    damage_is_found(&corpus);
}

/// The corpus is dear, so the other checks share it.
fn every_wrapping_gives_the_same(corpus: &Corpus) {
    for name in ["ext4-a1", "ntfs-a0", "holes-0001", "pi-fat16"] {
        let image = corpus.image(name);
        let stored = fs::read(&image.path).unwrap();
        let size = device_size(image, &stored);
        let expected = corpus.restored_by_original(image, size, 0xA5);
        for wrapped in corpus.wrapped(image) {
            let what = format!("{name}, {}", wrapped.name);
            assert_eq!(device_size(image, &wrapped.bytes), size, "{what}");
            for piece in [1 << 20, 1000] {
                let (found, summary) = restored_by_us(&what, &wrapped.bytes, piece, size, 0xA5);
                assert!(found == expected, "{what}: other bytes");
                assert_eq!(summary.image_len, stored.len() as u64, "{what}");
            }
            let cut = &wrapped.bytes[..wrapped.bytes.len() * 9 / 10];
            let error = verify(cut).expect_err(&what);
            assert_eq!(error.kind(), image::ErrorKind::Truncated, "{what}: {error}");
        }
    }
}

/// The original's own compression and volumes. It counts what it stored when it made each image, so
/// only what is restored is the same.
fn partimage_may_store_in_its_own_way(corpus: &Corpus) {
    let image = corpus.image("pi-ext3");
    let size = device_size(image, &fs::read(&image.path).unwrap());
    let expected = corpus.restored_by_original(image, size, 0xA5);
    for (name, files) in corpus.stored_by_partimage() {
        let read = |path| fs::read(path).unwrap();
        let pieces: Vec<Vec<u8>> = files.iter().map(read).collect();
        let (found, _) = restored_by_us(name, &pieces.concat(), 60_001, size, 0xA5);
        assert!(found == expected, "{name}: other bytes");
        if files.len() > 2 {
            let error = verify(&[&pieces[0][..], &pieces[2]].concat()[..]).expect_err(name);
            assert_eq!(
                error.kind(),
                image::ErrorKind::MissingVolume,
                "{name}: {error}"
            );
        }
    }
}

/// Real images with checksums, damaged: never a success, and nothing wrong is written.
fn damage_is_found(corpus: &Corpus) {
    const STEPS: usize = 15;
    for name in ["ext4-a1-k7", "ext4-a1-running", "imager-a1", "pi-ntfs"] {
        let image = corpus.image(name);
        let good = fs::read(&image.path).unwrap();
        let size = device_size(image, &good);
        let (expected, _) = restored_by_us(name, &good, 1 << 20, size, 0xA5);
        for step in 1..STEPS {
            let mut bad = good.clone();
            let at = good.len() * step / STEPS;
            bad[at] ^= 1 << (step % 8);
            let mut target = Memory(vec![0xA5; expected.len()]);
            let options = Options {
                target_size: Some(size),
                ..Options::default()
            };
            let result = image_writer::decode(&bad[..], options, &mut target);
            let error = result.expect_err("a flipped bit");
            assert_eq!(
                error.kind(),
                image::ErrorKind::BlockChecksum,
                "{name} at {at}: {error}"
            );
            // Strips are made of whole blocks, and those of whole sectors.
            for (found, good) in target.0.chunks(512).zip(expected.chunks(512)) {
                let is_untouched = *found == [0xA5; 512][..found.len()];
                assert!(is_untouched || found == good, "{name} at {at}");
            }

            let options = Options {
                verify: Verify::Warn,
                ..options
            };
            let summary = image_writer::decode(&bad[..], options, &mut target).unwrap();
            assert!(summary.checksum_errors > 0, "{name} at {at}");
        }
    }
}
