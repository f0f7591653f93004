//! Images of every format through a pack and back: what is restored is what the image's own decoder restores (3.4).

#![expect(clippy::unwrap_used, reason = "test helpers fail by panicking")]

use fog::store::StreamName;
use fog::task::ImageType;
use fos_api::{Compression, ImageFacts, ImageFormat};
use image::{Content, Decoder, Geometry, Options, Sink, SinkError};
use image_writer::{PartimageRecipe, Recipe, wrap};
use pack::{
    Frames, ImageHead, Manifest, PackWriter, StreamFacts, WriterOptions, Written, decode_stream,
};

/// A disk in memory, each byte of it with how often it was written.
#[derive(Default)]
struct Disk {
    content: Vec<u8>,
    writes: Vec<u8>,
}

impl Disk {
    fn write(&mut self, offset: u64, data: &[u8]) {
        let at = usize::try_from(offset).unwrap();
        let end = at + data.len();
        if self.content.len() < end {
            self.content.resize(end, 0xee);
            self.writes.resize(end, 0);
        }
        self.content[at..end].copy_from_slice(data);
        self.writes[at..end]
            .iter_mut()
            .for_each(|count| *count += 1);
    }
}

impl Sink for Disk {
    fn begin(&mut self, _: &Geometry) -> Result<(), SinkError> {
        Ok(())
    }

    fn extent(&mut self, offset: u64, data: &[u8]) -> Result<(), SinkError> {
        self.write(offset, data);
        Ok(())
    }
}

struct Memory(Vec<u8>);

impl Frames for Memory {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&self.0[at..at + buffer.len()]);
        Ok(())
    }
}

fn options(content: Content) -> Options {
    Options {
        content,
        ..Options::default()
    }
}

/// Through its decoder into a pack, in pieces of this many bytes.
fn packed(stored: &[u8], content: Content, piece: usize) -> (Written<Vec<u8>>, Geometry) {
    let mut usual = WriterOptions::usual();
    usual.threads = 2;
    let mut writer = PackWriter::start(Vec::new(), &usual).unwrap();
    let mut sink = writer.stream();
    let mut decoder = Decoder::new(options(content));
    for bytes in stored.chunks(piece) {
        decoder.push(bytes, &mut sink).unwrap();
    }
    let geometry = decoder.finish(&mut sink).unwrap().geometry;
    sink.finish().unwrap();
    let image = ImageHead {
        image_id: 1,
        image_name: "lab".into(),
        image_path: "lab".into(),
        image_type: ImageType::SingleDisk,
        os_id: 50,
        scripts: vec![],
    };
    let facts = StreamFacts {
        name: StreamName::of_file("d1p1.img"),
        stored_len: stored.len() as u64,
        blake3: blake3::hash(stored).into(),
        sources: vec![],
        facts: ImageFacts {
            format: ImageFormat::from(geometry.format.to_string()),
            compression: Compression::Plain,
            filesystem: geometry.filesystem.clone(),
            device_size: geometry.device_size,
            block_size: geometry.block_size,
            total_blocks: geometry.total_blocks,
            used_blocks: Some(geometry.used_blocks),
        },
    };
    let written = writer.finish(image, vec![facts], &[]).unwrap();
    (written, geometry)
}

#[track_caller]
fn check(stored: &[u8], content: Content) {
    let mut expected = Disk::default();
    let mut decoder = Decoder::new(options(content));
    decoder.push(stored, &mut expected).unwrap();
    drop(decoder.finish(&mut expected).unwrap());
    let mut root = None;
    for piece in [stored.len(), 70_001, 4096] {
        let (written, geometry) = packed(stored, content, piece);
        // Neither pieces nor threads show.
        assert_eq!(*root.get_or_insert(written.root), written.root);
        let manifest = Manifest::parse(&written.manifest).unwrap();
        let found = manifest.geometry(0).unwrap();
        assert_eq!(found.format, geometry.format);
        assert_eq!(found.device_size, geometry.device_size);
        assert_eq!(found.data_end, expected.content.len() as u64);
        let mut disk = Disk::default();
        let frames = Memory(written.frames);
        decode_stream::<()>(&manifest, &frames, 0, 2, &mut |decoded| {
            let mut data = decoded.data;
            for extent in manifest.extents(decoded.chunk) {
                let (now, rest) = data.split_at(usize::try_from(extent.len).unwrap());
                disk.write(extent.offset, now);
                data = rest;
            }
            Ok(())
        })
        .unwrap();
        assert!(disk.content == expected.content, "other content");
        assert!(
            disk.writes == expected.writes,
            "a byte twice, or not at all"
        );
    }
}

/// Used blocks in runs of all lengths.
fn used(count: u64) -> Vec<bool> {
    (0..count)
        .map(|block| block % 7 != 3 && (block / 50) % 3 != 1)
        .collect()
}

fn block(number: u64, size: usize) -> Vec<u8> {
    let mut bytes = blake3::hash(&number.to_le_bytes())
        .as_bytes()
        .repeat(size.div_ceil(32));
    bytes.truncate(size);
    bytes
}

#[test]
fn partclone_0002() {
    for (size, count) in [(4096, 6000), (1024, 900), (512, 900), (65_536, 300)] {
        let recipe = Recipe::v2(size, used(count));
        let image = recipe.write(|number| block(number, size as usize));
        check(&wrap(image::Compression::Zstd, &image), Content::Image);
        check(&image, Content::Image);
    }
}

#[test]
fn partclone_0001() {
    for (size, count) in [(4096, 3000), (1024, 900)] {
        let recipe = Recipe::v1(size, used(count));
        let image = recipe.write(|number| block(number, size as usize));
        check(&wrap(image::Compression::Gzip, &image), Content::Image);
    }
}

#[test]
fn partimage() {
    let recipe = PartimageRecipe::new(1024, used(20_000));
    let image = recipe.write(|number| block(number, 1024));
    check(&wrap(image::Compression::Gzip, &image), Content::Image);
}

#[test]
fn raw_data_of_known_and_unknown_length() {
    let mut disk: Vec<u8> = (0..9_500).flat_map(|number| block(number, 1024)).collect();
    // 3.4: zeroes of a raw image are data.
    disk[1 << 20..3 << 20].fill(0);
    disk.truncate(disk.len() - 512);
    let len = Some(disk.len() as u64);
    check(&disk, Content::Raw { len });
    check(
        &wrap(image::Compression::Zstd, &disk),
        Content::Raw { len: None },
    );
    check(&disk[..1000], Content::Raw { len: None });
}

#[test]
fn an_image_without_used_blocks() {
    let recipe = Recipe::v2(4096, vec![false; 100]);
    let image = recipe.write(|number| block(number, 4096));
    check(&image, Content::Image);
}

/// 3.2: an image whose own checksum is wrong does not come to its end.
#[test]
fn a_damaged_image_makes_no_pack() {
    let mut recipe = Recipe::v2(4096, used(600));
    recipe.spoil_block = Some(400);
    let image = recipe.write(|number| block(number, 4096));
    let mut writer = PackWriter::start(Vec::new(), &WriterOptions::usual()).unwrap();
    let mut sink = writer.stream();
    let mut decoder = Decoder::new(options(Content::Image));
    let pushed = decoder.push(&image, &mut sink);
    assert!(pushed.and_then(|()| decoder.finish(&mut sink)).is_err());
}
