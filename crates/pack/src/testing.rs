//! What the tests of this crate share.

use fog::store::StreamName;
use fog::task::ImageType;
use fos_api::{Compression, ImageFacts, ImageFormat};
use image::{BitmapMode, ChecksumMode, Geometry, Header, Sink as _};

use crate::{ImageHead, PackWriter, SourceFile, StreamFacts, WriterOptions, Written};

/// Bytes that do not compress.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A stream to be packed.
pub(crate) struct Stream {
    pub(crate) device_size: u64,
    pub(crate) block_size: u32,
    pub(crate) extents: Vec<(u64, Vec<u8>)>,
}

impl Stream {
    pub(crate) fn new(device_size: u64, extents: Vec<(u64, Vec<u8>)>) -> Self {
        Self {
            device_size,
            block_size: 4096,
            extents,
        }
    }

    pub(crate) fn geometry(&self) -> Geometry {
        let facts = facts(self.device_size, self.block_size);
        Geometry {
            header: Header {
                format: image::ImageFormat::Partclone0002,
                compression: image::Compression::Zstd,
                writer: None,
                word_bits: None,
                filesystem: facts.filesystem,
                device_size: self.device_size,
                block_size: self.block_size,
                total_blocks: facts.total_blocks,
                claimed_used_blocks: 0,
                checksum: ChecksumMode::Crc32,
                strip_blocks: 1,
                is_reseeded: true,
                bitmap: BitmapMode::Bit,
            },
            used_blocks: 0,
            data_end: 0,
        }
    }

    /// The target as it should be, zero where nothing is written.
    pub(crate) fn restored(&self) -> Vec<u8> {
        let mut disk = vec![0; usize::try_from(self.device_size).unwrap()];
        for (offset, data) in &self.extents {
            let at = usize::try_from(*offset).unwrap();
            disk[at..at + data.len()].copy_from_slice(data);
        }
        disk
    }
}

pub(crate) fn facts(device_size: u64, block_size: u32) -> ImageFacts {
    ImageFacts {
        format: ImageFormat::Partclone0002,
        compression: Compression::Zstd,
        filesystem: "EXTFS".into(),
        device_size,
        block_size,
        total_blocks: device_size / u64::from(block_size),
        used_blocks: None,
    }
}

pub(crate) fn image() -> ImageHead {
    ImageHead {
        image_id: 7,
        image_name: "lab".into(),
        image_path: "lab".into(),
        image_type: ImageType::SingleDisk,
        os_id: 50,
        scripts: Vec::new(),
    }
}

pub(crate) fn stream_facts(number: usize, device_size: u64, block_size: u32) -> StreamFacts {
    let name = format!("d1p{}.img", number + 1);
    StreamFacts {
        name: StreamName::of_file(&name),
        stored_len: 10,
        blake3: blake3::hash(name.as_bytes()).into(),
        sources: vec![SourceFile {
            name,
            size: 10,
            mtime: 1_790_000_000_000_000_001,
            blake3: blake3::hash(b"stored").into(),
        }],
        facts: facts(device_size, block_size),
    }
}

pub(crate) fn files() -> Vec<(String, Vec<u8>)> {
    vec![
        ("d1.mbr".into(), noise(512, 9)),
        ("d1.partitions".into(), b"label: gpt\n".to_vec()),
        ("empty".into(), Vec::new()),
    ]
}

/// A pack of these streams, made by `threads`.
pub(crate) fn pack(streams: &[Stream], threads: usize) -> Written<Vec<u8>> {
    let options = WriterOptions {
        threads,
        ..WriterOptions::usual()
    };
    let mut writer = PackWriter::start(Vec::new(), &options).unwrap();
    let mut facts = Vec::new();
    for (number, stream) in streams.iter().enumerate() {
        let mut sink = writer.stream();
        sink.begin(&stream.geometry()).unwrap();
        for (offset, data) in &stream.extents {
            sink.extent(*offset, data).unwrap();
        }
        sink.finish().unwrap();
        facts.push(stream_facts(number, stream.device_size, stream.block_size));
    }
    writer.finish(image(), facts, &files()).unwrap()
}

/// Two streams with data and one without.
pub(crate) fn streams() -> Vec<Stream> {
    vec![
        Stream::new(1 << 20, vec![(0, noise(8192, 1)), (65_536, vec![7; 4096])]),
        Stream::new(4096, vec![]),
        Stream::new(
            20 << 20,
            vec![(4096, noise(9 << 20, 2)), (12 << 20, vec![0; 6 << 20])],
        ),
    ]
}
