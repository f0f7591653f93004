//! The other way to a target: a stream of a pack, whose chunks are verified on all cores and come in about their order.

use std::sync::Arc;
use std::time::Duration;

use image::{Geometry, ImageError, Progress, Sink as _, SinkError, Summary};
use pack::{Frames, Manifest, ReadError};

use crate::failure::Failure;
use crate::run::{Done, MeteredSink};
use crate::tap::meter::{DiskStep, Flow};
use crate::target::Target;

/// What is to be done.
pub struct PackedJob<'a, T> {
    /// What the pack is; somebody vouches for it.
    pub manifest: &'a Manifest,
    /// Its frames.
    pub frames: &'a dyn Frames,
    /// Which of its streams.
    pub stream: usize,
    /// How many threads decode.
    pub threads: usize,
    /// Bytes that the target has, if that is known.
    pub target_size: Option<u64>,
    /// Where the data goes.
    pub target: T,
    /// Counts what flows.
    pub flow: Arc<Flow>,
}

/// From the first chunk to the sync. `look` is called after each chunk.
///
/// # Errors
/// The first thing that went wrong. A target that was begun is left without what makes it bootable.
///
/// # Panics
/// There is no such stream.
pub fn run_packed<T: Target>(
    job: PackedJob<'_, T>,
    look: &mut dyn FnMut(&Progress, &Geometry),
) -> Result<Done, Failure> {
    let (manifest, flow, mut target) = (job.manifest, job.flow, job.target);
    let geometry = manifest.geometry(job.stream).map_err(Failure::Format)?;
    check_size(&geometry, job.target_size)?;
    let mut progress = Progress {
        blocks_total: geometry.used_blocks,
        ..Progress::default()
    };
    let mut extents = 0_u64;
    let refused = |error: SinkError| Failure::Image(ImageError::Sink(error));
    let mut sink = MeteredSink {
        sink: &mut target,
        flow: &flow,
    };
    sink.begin(&geometry).map_err(refused)?;
    look(&progress, &geometry);
    let decoded = pack::decode_stream::<SinkError>(
        manifest,
        job.frames,
        job.stream,
        job.threads,
        &mut |decoded| {
            let chunk = decoded.chunk;
            flow.stored(len(chunk.frame_len), Duration::ZERO);
            let mut data = decoded.data;
            for extent in manifest.extents(chunk) {
                let len = usize::try_from(extent.len).unwrap_or(usize::MAX);
                // The manifest was found right, so both are equally long.
                let (now, rest) = data.split_at(len.min(data.len()));
                sink.extent(extent.offset, now)?;
                data = rest;
                extents += 1;
            }
            progress.input_len += u64::from(chunk.frame_len);
            progress.image_len += u64::from(chunk.raw_len);
            progress.output_len += u64::from(chunk.raw_len);
            progress.blocks_done = progress.output_len / u64::from(geometry.block_size);
            look(&progress, &geometry);
            Ok(())
        },
    );
    decoded.map_err(|error| match error {
        ReadError::Sink(error) => refused(error),
        ReadError::Chunk(error) => Failure::Chunk(error),
    })?;
    let warnings = flow
        .on_disk(DiskStep::Sync, || target.commit(&geometry))
        .map_err(Failure::Commit)?;
    let summary = Summary {
        input_len: progress.input_len,
        image_len: progress.image_len,
        output_len: progress.output_len,
        extents,
        checksums: manifest.chunks_of(job.stream).len() as u64,
        checksum_errors: 0,
        warnings: Vec::new(),
        geometry,
    };
    Ok(Done { summary, warnings })
}

/// As the decoders of images do.
fn check_size(geometry: &Geometry, target_size: Option<u64>) -> Result<(), Failure> {
    match target_size {
        Some(target_size) if geometry.device_size > target_size => {
            Err(Failure::Image(ImageError::BeyondTarget {
                device_size: geometry.device_size,
                target_size,
            }))
        }
        _ => Ok(()),
    }
}

fn len(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use fog::store::StreamName;
    use fog::task::ImageType;
    use image::{Decoder, Options};
    use image_writer::Recipe;
    use pack::{ImageHead, PackWriter, StreamFacts, WriterOptions};

    use super::*;
    use crate::target::{Creation, Demands, Manner, Nowhere, Output, Place, Trace};

    const BLOCK: usize = 4096;

    fn block(number: u64) -> Vec<u8> {
        let hash = blake3::hash(&number.to_le_bytes());
        hash.as_bytes().repeat(BLOCK / 32)
    }

    fn recipe() -> Recipe {
        Recipe::v2(4096, (0..6000).map(|block| block % 5 != 2).collect())
    }

    /// A pack of that image: its manifest, and its frames in a file.
    fn pack() -> (Manifest, File) {
        let stored = recipe().write(block);
        let mut writer = PackWriter::start(Vec::new(), &WriterOptions::usual()).unwrap();
        let mut sink = writer.stream();
        let mut decoder = Decoder::new(Options::default());
        decoder.push(&stored, &mut sink).unwrap();
        let geometry = decoder.finish(&mut sink).unwrap().geometry;
        sink.finish().unwrap();
        let facts = StreamFacts {
            name: StreamName::of_file("d1p1.img"),
            stored_len: stored.len() as u64,
            blake3: blake3::hash(&stored).into(),
            sources: vec![],
            facts: crate::facts(&geometry, Some(geometry.used_blocks)),
        };
        let image = ImageHead {
            image_id: 1,
            image_name: "lab".into(),
            image_path: "lab".into(),
            image_type: ImageType::SingleDisk,
            os_id: 50,
            scripts: vec![],
        };
        let written = writer.finish(image, vec![facts], &[]).unwrap();
        let mut frames = tempfile::tempfile().unwrap();
        frames.write_all(&written.frames).unwrap();
        (Manifest::parse(&written.manifest).unwrap(), frames)
    }

    fn job<'a, T>(manifest: &'a Manifest, frames: &'a File, target: T) -> PackedJob<'a, T> {
        PackedJob {
            manifest,
            frames,
            stream: 0,
            threads: 2,
            target_size: None,
            target,
            flow: Arc::default(),
        }
    }

    #[test]
    fn a_target_gets_what_the_image_holds() {
        let (manifest, frames) = pack();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let place = Place::Path {
            path: path.clone(),
            creation: Creation::WhenNeeded,
            is_discarded: false,
            manner: Manner::Original,
        };
        let trace = Trace::default();
        let target = Output::open(&place, &Demands::default(), &trace).unwrap();
        let mut last = Progress::default();
        let done = run_packed(job(&manifest, &frames, target), &mut |progress, _| {
            last = *progress;
        })
        .unwrap();
        assert!(trace.is_complete());
        let written = recipe().used_blocks().count() as u64 * BLOCK as u64;
        assert_eq!(
            (done.summary.output_len, last.output_len),
            (written, written)
        );
        assert_eq!(last.input_len, manifest.frames_len());
        let expected = recipe().restored(block, 6000 * BLOCK, 0);
        assert!(std::fs::read(&path).unwrap() == expected);
    }

    #[test]
    fn a_rotten_chunk_and_a_small_target_are_no_success() {
        let (manifest, mut frames) = pack();
        let small = PackedJob {
            target_size: Some(4096),
            ..job(&manifest, &frames, Nowhere)
        };
        let failure = run_packed(small, &mut |_, _| panic!("it was begun")).unwrap_err();
        assert!(matches!(
            failure,
            Failure::Image(ImageError::BeyondTarget { .. })
        ));
        frames.set_len(manifest.frames_len() - 1).unwrap();
        let failure = run_packed(job(&manifest, &frames, Nowhere), &mut |_, _| {}).unwrap_err();
        assert!(matches!(failure, Failure::Chunk(_)), "{failure}");
        frames.write_all(&[0; 1]).unwrap();
        let failure = run_packed(job(&manifest, &frames, Nowhere), &mut |_, _| {}).unwrap_err();
        assert!(readable::chain(&failure).contains("BLAKE3"), "{failure}");
    }
}
