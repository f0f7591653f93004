//! DATA: one symbol of a frame (5.2).

use super::{AEAD_TAG_LEN, Kind, ParseError, Reader, Tag};
use crate::native::geometry::{ChunkId, SYMBOL};

/// Bytes in clear before the symbol; the additional data of the AEAD.
pub const DATA_HEADER_LEN: usize = 20;

/// Bytes of each DATA.
pub const DATA_LEN: usize = DATA_HEADER_LEN + SYMBOL + AEAD_TAG_LEN;

/// Header of a DATA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataHeader {
    /// Low byte of the epoch's count.
    pub epoch: u8,
    /// Nested class of the instance (8.4): 0 to 63.
    pub class: u8,
    /// Sealed mode: the symbol counts only when a SEAL has its digest (12.3).
    pub is_sealed: bool,
    /// Burst of the chunk; wraps.
    pub burst: u8,
    /// Session and sender.
    pub tag: Tag,
    /// Counts all DATA of the epoch from 0; the nonce of the AEAD.
    pub seq: u32,
    /// Which frame the symbol is of.
    pub chunk: ChunkId,
    /// 0..K source, K..K+R repair.
    pub symbol: u16,
    /// Symbols of this burst that are still to come.
    pub left: u16,
}

const CLASS_BITS: u8 = 0x3f;
const SEALED_BIT: u8 = 0x40;
const ZERO_BIT: u8 = 0x80;

impl DataHeader {
    /// The header of a datagram of exactly [`DATA_LEN`] bytes.
    ///
    /// # Errors
    /// If it has another length, is no DATA, or a bit is set that is 0 in this version.
    pub fn parse(datagram: &[u8]) -> Result<Self, ParseError> {
        if datagram.len() != DATA_LEN {
            return Err(ParseError::Length { what: "DATA" });
        }
        if super::kind(datagram)? != Kind::Data {
            return Err(ParseError::Code { what: "DATA" });
        }
        let mut reader = Reader::new(datagram, "DATA");
        reader.take(1)?;
        let epoch = reader.u8()?;
        let flags = reader.u8()?;
        if flags & ZERO_BIT != 0 {
            return Err(ParseError::Code {
                what: "bit 7 of DATA",
            });
        }
        Ok(Self {
            epoch,
            class: flags & CLASS_BITS,
            is_sealed: flags & SEALED_BIT != 0,
            burst: reader.u8()?,
            tag: Tag(reader.array()?),
            seq: reader.u32()?,
            chunk: ChunkId::from_wire(reader.u32()?),
            symbol: reader.u16()?,
            left: reader.u16()?,
        })
    }

    /// Appends its 20 bytes.
    pub fn emit(&self, bytes: &mut Vec<u8>) {
        let sealed = if self.is_sealed { SEALED_BIT } else { 0 };
        let flags = self.class & CLASS_BITS | sealed;
        bytes.extend([Kind::Data.first_byte(), self.epoch, flags, self.burst]);
        bytes.extend(self.tag.0);
        bytes.extend(self.seq.to_le_bytes());
        bytes.extend(self.chunk.to_wire().to_le_bytes());
        bytes.extend(self.symbol.to_le_bytes());
        bytes.extend(self.left.to_le_bytes());
    }
}
