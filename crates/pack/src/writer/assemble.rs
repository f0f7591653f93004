//! The manifest of a pack whose frames are written (3.6).

use fos_api::Blake3;

use super::frames::Framed;
use super::{PackError, StreamFacts, Written};
use crate::extents;
use crate::frame::Packer;
use crate::head::{Head, ImageHead, PackFile, PackStream};
use crate::manifest::{Chunk, FIXED, MAGIC, MAX_MANIFEST_LEN, Manifest, put_record};
use crate::root::Root;
use crate::{LEVEL, MAX_HEAD, UNIT_MAX};

pub(super) struct Parts<'a> {
    pub(super) image: ImageHead,
    pub(super) streams: Vec<StreamFacts>,
    pub(super) framed: Vec<Framed>,
    pub(super) files: &'a [(String, Vec<u8>)],
}

pub(super) fn assemble<W>(frames: W, parts: Parts<'_>) -> Result<Written<W>, PackError> {
    let units: Vec<u32> = (0..parts.streams.len())
        .map(|stream| unit(&parts.framed, stream))
        .collect();
    let (mut records, mut table) = (Vec::new(), Vec::new());
    let (mut frames_len, mut raw_len) = (0_u64, 0_u64);
    let mut used = vec![0_u64; units.len()];
    for framed in &parts.framed {
        let stream = usize::from(framed.stream);
        let extents_at = u32::try_from(table.len()).map_err(|_| too_large())?;
        let unit = units.get(stream).copied().unwrap_or(1);
        extents::put(&framed.extents, unit, &mut table);
        let chunk = Chunk {
            frame_at: frames_len,
            frame_len: framed.frame_len,
            raw_len: framed.raw_len,
            stream: framed.stream,
            frame_hash: framed.frame_hash,
            raw_hash: framed.raw_hash,
            extents_at,
        };
        put_record(&chunk, &mut records);
        frames_len += u64::from(framed.frame_len);
        raw_len += u64::from(framed.raw_len);
        if let Some(used) = used.get_mut(stream) {
            *used += u64::from(framed.raw_len);
        }
    }
    let files: Vec<u8> = parts
        .files
        .iter()
        .flat_map(|(_, bytes)| bytes)
        .copied()
        .collect();
    let packed = Packer::new(LEVEL).and_then(|mut packer| packer.pack(&files));
    let packed = packed.map_err(PackError::Compress)?;
    let head = head(&parts, &units, &used);
    let head = serde_json::to_vec(&head).map_err(|error| PackError::Compress(error.into()))?;
    if head.len() > MAX_HEAD as usize {
        return Err(PackError::TooMuch {
            what: "bytes of description",
            limit: MAX_HEAD.into(),
        });
    }
    let mut manifest = Vec::new();
    manifest.extend_from_slice(&MAGIC);
    let put = |len: usize, out: &mut Vec<u8>| -> Result<(), PackError> {
        let len = u32::try_from(len).map_err(|_| too_large())?;
        out.extend_from_slice(&len.to_le_bytes());
        Ok(())
    };
    put(head.len(), &mut manifest)?;
    put(parts.framed.len(), &mut manifest)?;
    manifest.extend_from_slice(&frames_len.to_le_bytes());
    put(table.len(), &mut manifest)?;
    put(packed.len(), &mut manifest)?;
    debug_assert_eq!(manifest.len(), FIXED);
    for part in [head, records, table, packed] {
        manifest.extend_from_slice(&part);
    }
    if manifest.len() as u64 > MAX_MANIFEST_LEN {
        return Err(too_large());
    }
    // What contradicts itself is found here, and not by a room of machines.
    Manifest::parse(&manifest)?;
    Ok(Written {
        frames,
        root: Root::of(&manifest),
        manifest,
        frames_len,
        raw_len,
    })
}

fn too_large() -> PackError {
    PackError::TooMuch {
        what: "bytes of a manifest",
        limit: MAX_MANIFEST_LEN,
    }
}

/// The largest power of two that divides every offset and length of the stream, at most 4096.
fn unit(framed: &[Framed], stream: usize) -> u32 {
    let of_stream = framed
        .iter()
        .filter(|framed| usize::from(framed.stream) == stream);
    let extents = of_stream.flat_map(|framed| &framed.extents);
    let bits = extents.fold(u64::from(UNIT_MAX), |bits, extent| {
        bits | extent.offset | extent.len
    });
    // Of a number with that bit set, the lowest one is no higher.
    1 << bits.trailing_zeros()
}

fn head(parts: &Parts<'_>, units: &[u32], used: &[u64]) -> Head {
    let streams = parts.streams.iter().zip(units.iter().zip(used));
    let streams = streams.map(|(stream, (unit, used))| PackStream {
        name: stream.name.clone(),
        unit: *unit,
        device_size: stream.facts.device_size,
        used: *used,
        stored_len: stream.stored_len,
        blake3: stream.blake3,
        sources: stream.sources.clone(),
        facts: stream.facts.clone(),
    });
    let files = parts.files.iter().map(|(name, bytes)| PackFile {
        name: name.clone(),
        len: bytes.len() as u64,
        blake3: Blake3::from(blake3::hash(bytes)),
    });
    Head {
        image: parts.image.clone(),
        streams: streams.collect(),
        files: files.collect(),
    }
}
