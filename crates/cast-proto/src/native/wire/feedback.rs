//! NEED: what a receiver needs and lacks (5.4, 5.6), inside its seal.

use super::{AEAD_TAG_LEN, FEEDBACK_HEAD_LEN, ParseError, Reader, Runs, tlv};
use crate::native::geometry::ChunkId;

/// Bytes of the longest NEED or STATUS: that of a DATA.
pub const FEEDBACK_MAX: usize = 1444;

/// Needs in one datagram.
pub const NEEDS_MAX: usize = 64;

/// LACKs in one datagram: one of a receiver's own drain, one of what was deferred.
pub const LACKS_MAX: usize = 4;

/// Polluted chunks in one datagram.
pub const POLLUTED_MAX: usize = 64;

const BODY_MAX: usize = FEEDBACK_MAX - FEEDBACK_HEAD_LEN - AEAD_TAG_LEN;

/// Symbols that a receiver lacks of a chunk that it holds in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Of which chunk.
    pub chunk: ChunkId,
    /// The last burst of it that the receiver knows of; 0 before the first one of an epoch.
    pub burst: u8,
    /// In symbols, not 0.
    pub need: u16,
}

/// Chunks of which a receiver holds nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacks {
    /// Frame bytes that the receiver can take, in kB/s; `None`: its disk is not the limit.
    pub drain: Option<u32>,
    /// Which.
    pub chunks: Runs,
}

/// What a NEED says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NeedBody {
    /// At most [`NEEDS_MAX`].
    pub needs: Vec<Need>,
    /// At most [`LACKS_MAX`].
    pub lacks: Vec<Lacks>,
    /// Chunks whose frame had a wrong hash (12.3), at most [`POLLUTED_MAX`].
    pub polluted: Vec<ChunkId>,
}

const NOT_THE_LIMIT: u32 = u32::MAX;

impl NeedBody {
    /// Of the opened body.
    ///
    /// # Errors
    /// If it ends too early, or a list or number is out of bounds.
    pub fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let mut need = Self::default();
        let mut reader = Reader::new(body, "TLV of NEED");
        while let Some(tlv) = tlv::next(&mut reader)? {
            need.take(tlv)?;
        }
        Ok(need)
    }

    fn take(&mut self, tlv: tlv::Tlv<'_>) -> Result<(), ParseError> {
        match tlv.kind {
            tlv::NEEDS => {
                let mut reader = Reader::new(tlv.value, "NEEDS");
                while !reader.is_empty() {
                    let chunk = ChunkId::from_wire(reader.u32()?);
                    let burst = reader.u8()?;
                    reader.u8()?;
                    let need = reader.u16()?;
                    if need == 0 {
                        return Err(ParseError::Bounds { what: "a need" });
                    }
                    self.needs.push(Need { chunk, burst, need });
                }
                bound(self.needs.len(), NEEDS_MAX, "NEEDS")
            }
            tlv::LACK => {
                let mut reader = Reader::new(tlv.value, "LACK");
                let drain = reader.u32()?;
                self.lacks.push(Lacks {
                    drain: (drain != NOT_THE_LIMIT).then_some(drain),
                    chunks: Runs::parse(reader.bytes)?,
                });
                bound(self.lacks.len(), LACKS_MAX, "LACK")
            }
            tlv::POLLUTED => {
                let mut reader = Reader::new(tlv.value, "POLLUTED");
                while !reader.is_empty() {
                    self.polluted.push(ChunkId::from_wire(reader.u32()?));
                }
                bound(self.polluted.len(), POLLUTED_MAX, "POLLUTED")
            }
            // What a receiver adds in a later version is never critical for a sender.
            _ => Ok(()),
        }
    }

    /// Appends the body. Lists are cut to their bounds, and runs of lacks to what fits.
    pub fn emit(&self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        if !self.needs.is_empty() {
            tlv::write(tlv::NEEDS, bytes, |bytes| {
                for need in self.needs.iter().take(NEEDS_MAX) {
                    bytes.extend(need.chunk.to_wire().to_le_bytes());
                    bytes.extend([need.burst, 0]);
                    bytes.extend(need.need.to_le_bytes());
                }
            });
        }
        if !self.polluted.is_empty() {
            tlv::write(tlv::POLLUTED, bytes, |bytes| {
                for chunk in self.polluted.iter().take(POLLUTED_MAX) {
                    bytes.extend(chunk.to_wire().to_le_bytes());
                }
            });
        }
        for lacks in self.lacks.iter().take(LACKS_MAX) {
            let room = BODY_MAX.saturating_sub(bytes.len() - start + tlv::TLV_HEAD + 4);
            if room == 0 {
                break;
            }
            tlv::write(tlv::LACK, bytes, |bytes| {
                let drain = lacks
                    .drain
                    .map_or(NOT_THE_LIMIT, |drain| drain.min(NOT_THE_LIMIT - 1));
                bytes.extend(drain.to_le_bytes());
                lacks.chunks.emit(room, bytes);
            });
        }
    }
}

fn bound(count: usize, max: usize, what: &'static str) -> Result<(), ParseError> {
    if count > max {
        return Err(ParseError::Bounds { what });
    }
    Ok(())
}
