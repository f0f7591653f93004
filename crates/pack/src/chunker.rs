//! Cuts the extents of a stream into chunks (3.4).

use crate::CHUNK_RAW;
use crate::extents::Extent;

/// The data of a chunk, not yet compressed.
#[derive(Debug, Default)]
pub(crate) struct RawChunk {
    /// Ascending; the data is theirs, one after the other.
    pub(crate) extents: Vec<Extent>,
    pub(crate) data: Vec<u8>,
}

/// Extents do not ascend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "an extent at byte {offset} comes after one that ends at byte {end}, so no pack can be made of this image"
)]
pub struct NotAscending {
    offset: u64,
    end: u64,
}

/// Gathers one chunk after the other.
pub(crate) struct Chunker {
    /// Where extents are cut: at its multiples. A power of two.
    granule: u64,
    chunk: RawChunk,
    end: u64,
}

impl Chunker {
    /// Of a stream whose extents are multiples of `granule` bytes as far as they can be; `buffer` becomes the data of
    /// the first chunk.
    pub(crate) fn new(granule: u64, buffer: Vec<u8>) -> Self {
        let mut chunker = Self {
            granule,
            chunk: RawChunk::default(),
            end: 0,
        };
        chunker.chunk.data = cleared(buffer);
        chunker
    }

    /// Takes as much from the front of an extent as the chunk in work has room for: how many bytes that are. When it
    /// is not all, or the chunk is [full](Self::is_full), the chunk has to be [taken](Self::take).
    ///
    /// # Errors
    /// The extent does not begin behind the one before, or ends beyond 2^64.
    pub(crate) fn push(&mut self, offset: u64, data: &[u8]) -> Result<usize, NotAscending> {
        let not_ascending = NotAscending {
            offset,
            end: self.end,
        };
        let end = offset.checked_add(data.len() as u64);
        if offset < self.end || end.is_none() {
            return Err(not_ascending);
        }
        let room = CHUNK_LEN - self.chunk.data.len();
        let (now, _) = data.split_at(match data.len() <= room {
            true => data.len(),
            false => {
                let cut = (offset.saturating_add(room as u64)) & !(self.granule - 1);
                let len = usize::try_from(cut.saturating_sub(offset)).unwrap_or(usize::MAX);
                // An empty chunk takes something whatever the granule, so that there is an end.
                if len == 0 && self.chunk.data.is_empty() {
                    room
                } else {
                    len.min(room)
                }
            }
        });
        if now.is_empty() {
            return Ok(0);
        }
        let len = now.len() as u64;
        match self.chunk.extents.last_mut() {
            Some(last) if last.end() == offset => last.len += len,
            _ => self.chunk.extents.push(Extent { offset, len }),
        }
        self.chunk.data.extend_from_slice(now);
        self.end = offset + len;
        Ok(now.len())
    }

    pub(crate) fn is_full(&self) -> bool {
        self.chunk.data.len() == CHUNK_LEN
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.chunk.data.is_empty()
    }

    /// The chunk in work; the next one's data goes to `buffer`.
    pub(crate) fn take(&mut self, buffer: Vec<u8>) -> RawChunk {
        let next = RawChunk {
            extents: Vec::new(),
            data: cleared(buffer),
        };
        std::mem::replace(&mut self.chunk, next)
    }

    /// The last chunk; it may have nothing.
    pub(crate) fn into_chunk(self) -> RawChunk {
        self.chunk
    }
}

fn cleared(mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.clear();
    buffer.reserve_exact(CHUNK_LEN);
    buffer
}

const CHUNK_LEN: usize = CHUNK_RAW as usize;

/// The extents of a chunk up to the middle of its data, rounded down to a multiple of `granule` where that leaves
/// something, and the others.
pub(crate) fn halve(extents: &[Extent], granule: u64) -> (Vec<Extent>, Vec<Extent>) {
    let all: u64 = extents.iter().map(|extent| extent.len).sum();
    let mut left = all / 2;
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for extent in extents {
        if left >= extent.len {
            left -= extent.len;
            first.push(*extent);
            continue;
        }
        let mut cut = (extent.offset + left) & !(granule - 1);
        if cut <= extent.offset && first.is_empty() {
            cut = extent.offset + left;
        }
        if cut > extent.offset {
            let len = cut - extent.offset;
            first.push(Extent { len, ..*extent });
            second.push(Extent {
                offset: cut,
                len: extent.len - len,
            });
        } else {
            second.push(*extent);
        }
        left = 0;
    }
    (first, second)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The chunks of extents that are handed over in pieces of at most `piece` bytes.
    fn cut(extents: &[(u64, u64)], granule: u64, piece: usize) -> Vec<RawChunk> {
        let mut chunker = Chunker::new(granule, Vec::new());
        let mut chunks = Vec::new();
        for (offset, len) in extents {
            let data: Vec<u8> = (*offset..offset + len).map(|at| (at % 251) as u8).collect();
            let mut at = *offset;
            for mut rest in data.chunks(piece) {
                while !rest.is_empty() {
                    let taken = chunker.push(at, rest).unwrap();
                    at += taken as u64;
                    rest = &rest[taken..];
                    if chunker.is_full() || !rest.is_empty() {
                        chunks.push(chunker.take(Vec::new()));
                    }
                }
            }
        }
        if !chunker.is_empty() {
            chunks.push(chunker.take(Vec::new()));
        }
        chunks
    }

    const MIB: u64 = 1 << 20;

    /// 3.4: a chunk takes extents until it has 8 MiB, and the next one goes on in the same extent.
    #[test]
    fn chunks_are_full_and_runs_are_joined() {
        let chunks = cut(&[(4096, 5 * MIB), (8 * MIB, 12 * MIB)], 4096, 100_000);
        let extents: Vec<Vec<(u64, u64)>> = chunks
            .iter()
            .map(|chunk| chunk.extents.iter().map(|e| (e.offset, e.len)).collect())
            .collect();
        let expected = [
            vec![(4096, 5 * MIB), (8 * MIB, 3 * MIB)],
            vec![(11 * MIB, 8 * MIB)],
            vec![(19 * MIB, MIB)],
        ];
        assert_eq!(extents, expected);
    }

    /// 3.4: an extent that crosses is split at a multiple of the unit.
    #[test]
    fn an_extent_is_split_at_the_granule() {
        let chunks = cut(&[(512, 1024), (4096, 9 * MIB)], 4096, 9 << 20);
        let end = chunks[0].extents[1].end();
        assert_eq!((end, end % 4096), (8 * MIB, 0));
        assert_eq!(chunks[1].extents[0].offset, end);
        let chunks = cut(&[(1, 9 * MIB)], 4096, 9 << 20);
        assert_eq!(
            chunks[0].extents,
            [Extent {
                offset: 1,
                len: 8 * MIB - 1
            }]
        );
    }

    #[test]
    fn extents_have_to_ascend() {
        let mut chunker = Chunker::new(4096, Vec::new());
        assert_eq!(chunker.push(10, &[1, 2]), Ok(2));
        assert_eq!(
            chunker.push(11, &[1]),
            Err(NotAscending {
                offset: 11,
                end: 12
            })
        );
        assert!(chunker.push(u64::MAX, &[1, 2]).is_err());
        assert_eq!(chunker.push(12, &[3]), Ok(1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn nothing_is_lost(
            runs in prop::collection::vec((0_u64..5000, 1_u64..3_000_000), 1..12),
            granule in prop::sample::select(vec![1_u64, 512, 4096]),
            piece in 1000_usize..4_000_000,
        ) {
            let mut at = 0;
            let extents: Vec<(u64, u64)> = runs.iter().map(|(gap, len)| {
                let offset = at + gap;
                at = offset + len;
                (offset, *len)
            }).collect();
            let chunks = cut(&extents, granule, piece);
            let mut covered = Vec::new();
            for chunk in &chunks {
                prop_assert!(chunk.data.len() <= CHUNK_LEN && !chunk.data.is_empty());
                let mut data = chunk.data.as_slice();
                for extent in &chunk.extents {
                    let (now, rest) = data.split_at(usize::try_from(extent.len).unwrap());
                    prop_assert!((extent.offset..).zip(now).all(|(at, octet)| (at % 251) as u8 == *octet));
                    data = rest;
                    covered.push((extent.offset, extent.len));
                }
                prop_assert!(data.is_empty());
                let (first, second) = halve(&chunk.extents, granule);
                let len = |extents: &[Extent]| extents.iter().map(|e| e.len).sum::<u64>();
                let all = chunk.data.len() as u64;
                prop_assert_eq!(len(&first) + len(&second), all);
                if all > 2 * granule {
                    prop_assert!(len(&first) > 0 && len(&first) <= all / 2);
                    prop_assert!(len(&second) <= all / 2 + granule + 1);
                }
            }
            let joined = |runs: &[(u64, u64)]| {
                let mut joined: Vec<(u64, u64)> = Vec::new();
                for (offset, len) in runs {
                    match joined.last_mut() {
                        Some(last) if last.0 + last.1 == *offset => last.1 += len,
                        _ => joined.push((*offset, *len)),
                    }
                }
                joined
            };
            prop_assert_eq!(joined(&covered), joined(&extents));
        }
    }
}
