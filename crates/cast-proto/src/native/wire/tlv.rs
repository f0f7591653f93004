//! Type, length and value: what a later version may add to (5.4).

use super::{ParseError, Reader};

pub(super) const ANNOUNCE: u8 = 1;
pub(super) const ENDED: u8 = 2;
pub(super) const PLAN: u8 = 3;
pub(super) const TEXT: u8 = 4;
pub(super) const SENDERS: u8 = 5;
pub(super) const NEEDS: u8 = 16;
pub(super) const LACK: u8 = 17;
pub(super) const POLLUTED: u8 = 18;

/// Bytes before the value.
pub(super) const TLV_HEAD: usize = 3;

/// A type with this bit that is not understood: leave multicast, go on by unicast.
const CRITICAL: u8 = 0x80;

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tlv<'a> {
    pub(super) kind: u8,
    pub(super) value: &'a [u8],
}

impl Tlv<'_> {
    /// Whether a receiver that does not understand it must leave.
    pub(super) fn is_critical(&self) -> bool {
        self.kind & CRITICAL != 0
    }
}

/// The next one; `None` at the end.
pub(super) fn next<'a>(reader: &mut Reader<'a>) -> Result<Option<Tlv<'a>>, ParseError> {
    if reader.is_empty() {
        return Ok(None);
    }
    let kind = reader.u8()?;
    let len = reader.u16()?;
    let value = reader.take(usize::from(len))?;
    Ok(Some(Tlv { kind, value }))
}

/// Appends one whose value `write` appends. What it writes has to be shorter than 64 KiB.
pub(super) fn write(kind: u8, bytes: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    bytes.push(kind);
    let at = bytes.len();
    bytes.extend([0; 2]);
    write(bytes);
    let len = u16::try_from(bytes.len() - at - 2).expect("a value fits in a datagram");
    for (to, from) in bytes.iter_mut().skip(at).zip(len.to_le_bytes()) {
        *to = from;
    }
}
