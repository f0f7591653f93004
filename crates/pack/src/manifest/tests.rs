use serde_json::{Value, json};

use super::*;
use crate::keys::{Roles, SecretKey, TrustedKey};
use crate::testing::{self, Stream, noise, pack, streams};
use crate::{Mode, Root, Signature, Trust};

/// A manifest in parts that can be changed one by one.
#[derive(Clone)]
struct Draft {
    head: Value,
    records: Vec<Vec<u8>>,
    frames_len: u64,
    extents: Vec<u8>,
    files: Vec<u8>,
}

impl Draft {
    fn new() -> Self {
        Self::of(&pack(&streams(), 2).manifest)
    }

    fn of(bytes: &[u8]) -> Self {
        let parts = Parts::cut(bytes).unwrap();
        Self {
            head: serde_json::from_slice(parts.head).unwrap(),
            records: parts.records.chunks(RECORD).map(<[u8]>::to_vec).collect(),
            frames_len: parts.frames_len,
            extents: parts.extents.to_vec(),
            files: parts.files.to_vec(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let head = serde_json::to_vec(&self.head).unwrap();
        let mut bytes = MAGIC.to_vec();
        let len = |len: usize| u32::try_from(len).unwrap().to_le_bytes();
        bytes.extend(len(head.len()));
        bytes.extend(len(self.records.len()));
        bytes.extend(self.frames_len.to_le_bytes());
        bytes.extend(len(self.extents.len()));
        bytes.extend(len(self.files.len()));
        bytes.extend(head);
        bytes.extend(self.records.concat());
        bytes.extend(&self.extents);
        bytes.extend(&self.files);
        bytes
    }

    #[track_caller]
    fn error(&self) -> ManifestError {
        Manifest::parse(&self.bytes()).unwrap_err()
    }

    /// Sets bytes of a record.
    fn record(&mut self, chunk: usize, at: usize, bytes: &[u8]) {
        self.records[chunk][at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// One stream of 64 units with these extents in chunks; frames and hashes are of nothing.
    fn with_extents(chunks: &[&[(u64, u64)]], device_units: u64) -> Self {
        let mut draft = Self::of(&pack(&[Stream::new(4096 * device_units, vec![])], 1).manifest);
        let mut used = 0;
        for extents in chunks {
            let at = u32::try_from(draft.extents.len()).unwrap();
            let (mut end, mut len) = (0_u64, 0);
            crate::leb128::put(extents.len() as u64, &mut draft.extents);
            for (offset, units) in *extents {
                crate::leb128::put(offset.wrapping_sub(end), &mut draft.extents);
                crate::leb128::put(*units, &mut draft.extents);
                end = offset + units;
                len += units * 4096;
            }
            used += len;
            let chunk = Chunk {
                frame_at: 0,
                frame_len: 10,
                raw_len: u32::try_from(len).unwrap(),
                stream: 0,
                frame_hash: [1; 32],
                raw_hash: [2; 32],
                extents_at: at,
            };
            let mut record = Vec::new();
            put_record(&chunk, &mut record);
            draft.records.push(record);
            draft.frames_len += 10;
        }
        draft.head["streams"][0]["used"] = used.into();
        draft.head["streams"][0]["unit"] = 4096.into();
        draft
    }
}

fn of_chunk(error: &ManifestError, number: usize) -> &'static str {
    match error {
        ManifestError::Chunk { chunk, what } if *chunk == number => what,
        other => panic!("{other:?}"),
    }
}

/// 3.6, number by number.
#[test]
fn the_file_is_laid_out_as_specified() {
    let written = pack(&streams(), 2);
    let bytes = written.manifest.as_slice();
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!(&bytes[..8], b"FOSPACK1");
    let (head, chunks, extents, files) = (number(8), number(12), number(24), number(28));
    let frames_len = u64::from_le_bytes(bytes[16..24].try_into().unwrap());
    assert_eq!(frames_len, written.frames.len() as u64);
    assert_eq!(bytes.len(), 32 + head + 80 * chunks + extents + files);
    let json: Value = serde_json::from_slice(&bytes[32..32 + head]).unwrap();
    assert_eq!(json["image"]["image_name"], "lab");
    assert_eq!(json["streams"][2]["unit"], 4096);
    assert_eq!(json["streams"][2]["used"], 15 << 20);
    assert_eq!(json["streams"][0]["sources"][0]["name"], "d1p1.img");
    assert_eq!(json["streams"][0]["facts"]["format"], "partclone 0002");
    assert_eq!(json["files"][0]["len"], 512);
    // The first stream has one chunk, the second none; noise of 8 MiB had to be halved.
    assert_eq!(chunks, 4);
    let records = &bytes[32 + head..][..80 * chunks];
    let mut at = 0;
    for (record, stream) in records.chunks(80).zip([0_u8, 2, 2, 2]) {
        let frame_len = u32::from_le_bytes(record[..4].try_into().unwrap()) as usize;
        let frame = &written.frames[at..at + frame_len];
        assert_eq!(record[12..16], [stream, 0, 0, 0]);
        assert_eq!(record[16..48], *blake3::hash(frame).as_bytes());
        let raw = zstd::bulk::decompress(frame, 8 << 20).unwrap();
        let raw_len = u32::from_le_bytes(record[4..8].try_into().unwrap());
        assert_eq!(raw.len(), raw_len as usize);
        assert_eq!(record[48..80], *blake3::hash(&raw).as_bytes());
        at += frame_len;
    }
    // Two extents: 2 units at 0, 1 unit 14 behind its end.
    let table = &bytes[32 + head + 80 * chunks..][..extents];
    assert_eq!(table[..5], [2, 0, 2, 14, 1]);
    let packed = &bytes[bytes.len() - files..];
    let small = zstd::bulk::decompress(packed, 1 << 20).unwrap();
    let expected: Vec<u8> = testing::files()
        .into_iter()
        .flat_map(|(_, bytes)| bytes)
        .collect();
    assert_eq!(small, expected);
}

#[test]
fn what_is_written_is_read() {
    let written = pack(&streams(), 2);
    let manifest = Manifest::parse(&written.manifest).unwrap();
    assert_eq!(manifest.frames_len(), written.frames_len);
    let ranges: Vec<_> = (0..3).map(|stream| manifest.chunks_of(stream)).collect();
    assert_eq!(ranges, [0..1, 1..1, 1..4]);
    let files: Vec<(String, Vec<u8>)> = manifest.files().clone().into_iter().collect();
    assert_eq!(files, testing::files());
    let geometry = manifest.geometry(2).unwrap();
    assert_eq!(
        (geometry.data_end, geometry.device_size),
        (18 << 20, 20 << 20)
    );
    assert_eq!(geometry.used_blocks, (15 << 20) / 4096);
    assert_eq!(manifest.geometry(1).unwrap().data_end, 0);
    let deploy = manifest.head().to_manifest();
    assert_eq!(deploy.streams.len(), 3);
    assert_eq!(
        deploy.files[0].blake3,
        Some(blake3::hash(&testing::files()[0].1).into())
    );
    let symbols: Vec<u32> = manifest.chunks().iter().map(Chunk::symbols).collect();
    assert!(
        symbols.iter().all(|k| (1..=crate::K_MAX).contains(k)),
        "{symbols:?}"
    );
}

/// 3.8: lengths add up exactly.
#[test]
fn a_cut_or_longer_file_is_refused() {
    let mut bytes = Draft::new().bytes();
    for len in 0..bytes.len() {
        Manifest::parse(&bytes[..len]).unwrap_err();
    }
    bytes.push(0);
    let error = Manifest::parse(&bytes).unwrap_err();
    assert!(matches!(error, ManifestError::Length { .. }), "{error}");
    let mut draft = Draft::new();
    draft.frames_len += 1;
    assert!(matches!(draft.error(), ManifestError::FramesLen { .. }));
    let mut draft = Draft::new();
    draft.extents.push(0);
    assert_eq!(draft.error(), ManifestError::ExtentsLeft(1));
}

/// 3.8: counts within bounds, before anything is made of them.
#[test]
fn numbers_beyond_the_bounds_are_refused() {
    let bytes = Draft::new().bytes();
    for (at, limit) in [(8, MAX_HEAD), (12, MAX_CHUNKS)] {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&(limit + 1).to_le_bytes());
        let error = Manifest::parse(&bytes).unwrap_err();
        assert!(matches!(error, ManifestError::TooMuch { .. }), "{error}");
    }
    let mut draft = Draft::new();
    let file = draft.head["files"][0].clone();
    draft.head["files"] = vec![file; MAX_FILES + 1].into();
    assert!(matches!(
        draft.error(),
        ManifestError::TooMuch {
            what: "small files",
            ..
        }
    ));
    let mut draft = Draft::new();
    draft.head["files"][0]["len"] = u64::MAX.into();
    assert!(matches!(draft.error(), ManifestError::TooMuch { .. }));
    let mut draft = Draft::new();
    draft.head["files"] =
        vec![json!({"name": "x", "len": MAX_SMALL_FILE, "blake3": "0".repeat(64)}); 5].into();
    let all = "bytes of all small files";
    assert!(matches!(draft.error(), ManifestError::TooMuch { what, .. } if what == all));
    let mut draft = Draft::new();
    let stream = draft.head["streams"][0].clone();
    draft.head["streams"] = vec![stream; MAX_STREAMS + 1].into();
    assert!(matches!(
        draft.error(),
        ManifestError::TooMuch {
            what: "streams",
            ..
        }
    ));
}

/// 3.8: frames and data have lengths that can be; flags are 0; streams exist.
#[test]
fn a_record_that_makes_no_sense_is_refused() {
    let last = 3;
    for (at, bytes, what) in [
        (0, &0_u32.to_le_bytes()[..], "frame is empty"),
        (0, &(FRAME_MAX + 1).to_le_bytes(), "too long"),
        (4, &0_u32.to_le_bytes(), "data is empty"),
        (4, &(CHUNK_RAW + 1).to_le_bytes(), "too long"),
        (4, &4096_u32.to_le_bytes(), "more or fewer"),
        (8, &0_u32.to_le_bytes(), "do not begin"),
        (8, &u32::MAX.to_le_bytes(), "do not begin"),
        (12, &3_u16.to_le_bytes(), "no such stream"),
        (12, &0_u16.to_le_bytes(), "is over"),
        (14, &1_u16.to_le_bytes(), "flags"),
    ] {
        let mut draft = Draft::new();
        draft.record(last, at, bytes);
        let error = draft.error();
        let found = of_chunk(&error, last);
        assert!(found.contains(what), "{found} instead of {what}");
    }
    let mut draft = Draft::new();
    draft.head["streams"][2]["used"] = 0.into();
    assert!(matches!(
        draft.error(),
        ManifestError::Stream { stream: 2, .. }
    ));
    let mut draft = Draft::new();
    draft.head["streams"][1]["used"] = 4096.into();
    assert!(matches!(
        draft.error(),
        ManifestError::Stream { stream: 1, .. }
    ));
}

/// 3.8: extents ascend over all chunks of a stream, do not overlap, and end on the device.
#[test]
fn extents_that_cannot_be_are_refused() {
    let good: [&[(u64, u64)]; 2] = [&[(0, 2), (4, 1)], &[(5, 3)]];
    Manifest::parse(&Draft::with_extents(&good, 8).bytes()).unwrap();
    let beyond = Draft::with_extents(&good, 7).error();
    assert_eq!(of_chunk(&beyond, 1), "an extent ends beyond the device");
    let overlap = Draft::with_extents(&[&[(0, 2), (4, 1)], &[(4, 3)]], 8).error();
    assert_eq!(of_chunk(&overlap, 1), "its extents do not ascend");
    let empty = Draft::with_extents(&[&[(0, 2), (4, 0)]], 8).error();
    assert_eq!(of_chunk(&empty, 0), "an extent has no bytes");
    // Backwards within a chunk: the gap wraps.
    let back = Draft::with_extents(&[&[(4, 1), (0, 2)]], 8).error();
    assert_eq!(of_chunk(&back, 0), "its extents are malformed");
    // A count that goes on beyond the table.
    let mut draft = Draft::with_extents(&[&[(0, 2)]], 8);
    draft.extents[0] = 2;
    assert_eq!(of_chunk(&draft.error(), 0), "its extents are malformed");
    let mut draft = Draft::with_extents(&[&[(0, 2)]], 8);
    draft.extents = vec![0x81];
    assert_eq!(of_chunk(&draft.error(), 0), "its extents are malformed");
}

#[test]
fn a_stream_that_makes_no_sense_is_refused() {
    for unit in [0, 3, 8192] {
        let mut draft = Draft::new();
        draft.head["streams"][1]["unit"] = unit.into();
        assert!(matches!(
            draft.error(),
            ManifestError::Stream { stream: 1, .. }
        ));
    }
    for (field, value) in [("device_size", 1), ("block_size", 0)] {
        let mut draft = Draft::new();
        draft.head["streams"][1]["facts"][field] = value.into();
        assert!(matches!(
            draft.error(),
            ManifestError::Stream { stream: 1, .. }
        ));
    }
    let mut draft = Draft::new();
    draft.head["streams"][1]["name"] = "d1p1.img".into();
    assert_eq!(draft.error(), ManifestError::Twice("d1p1.img".into()));
    for head in [
        json!(7),
        json!({}),
        json!({"image": {}, "streams": [], "files": []}),
    ] {
        let draft = Draft {
            head,
            ..Draft::new()
        };
        assert!(matches!(draft.error(), ManifestError::Head(_)));
    }
    let mut draft = Draft::new();
    draft.head["later"] = 1.into();
    draft.head["streams"][0]["later"] = 1.into();
    Manifest::parse(&draft.bytes()).unwrap();
}

/// 3.8: files' hashes.
#[test]
fn small_files_are_compared() {
    let mut draft = Draft::new();
    draft.head["files"][1]["blake3"] = "0".repeat(64).into();
    assert_eq!(
        draft.error(),
        ManifestError::FileHash("d1.partitions".into())
    );
    let mut draft = Draft::new();
    draft.head["files"][1]["len"] = 10.into();
    assert!(matches!(draft.error(), ManifestError::Files(_)));
    let mut draft = Draft::new();
    draft.files = zstd::bulk::compress(&noise(10, 1), 3).unwrap();
    assert!(matches!(draft.error(), ManifestError::Files(_)));
    let mut draft = Draft::new();
    draft.head["files"][1]["name"] = "d1.mbr".into();
    assert_eq!(draft.error(), ManifestError::Twice("d1.mbr".into()));
}

/// 3.7, 3.8: the signature is checked first, and a change of any bit makes it wrong; nothing panics.
#[test]
fn a_manifest_that_was_changed_at_any_byte_is_refused() {
    let written = pack(
        &[Stream::new(
            1 << 20,
            vec![(0, noise(8192, 1)), (65_536, vec![7; 4096])],
        )],
        1,
    );
    let key = SecretKey::from_seed(&[1; 32]);
    let signature = Signature::sign(&written.root, &key);
    let key = TrustedKey {
        key: *key.public(),
        roles: Roles::IMAGE,
    };
    let trust = Trust::new(Mode::Require, vec![key]);
    trust
        .check(&Root::of(&written.manifest), Some(&signature))
        .unwrap();
    for at in 0..written.manifest.len() {
        let mut changed = written.manifest.clone();
        changed[at] ^= 1 << (at % 8);
        let found = trust.check(&Root::of(&changed), Some(&signature));
        assert!(found.is_err(), "byte {at}");
        // Whoever trusts anybody reads it, and may find nothing wrong in a name.
        drop(Manifest::parse(&changed));
    }
}

#[test]
fn a_format_of_later_is_named() {
    let mut draft = Draft::new();
    draft.head["streams"][0]["facts"]["format"] = "partclone 0003".into();
    let manifest = Manifest::parse(&draft.bytes()).unwrap();
    assert_eq!(
        manifest.geometry(0),
        Err(UnknownFormat("partclone 0003".into()))
    );
}
