//! The header of an image from the first bytes of its file.

use crate::compression::{Codec, Sniffer};
use crate::engine::Core;
use crate::error::ImageError;
use crate::geometry::{Geometry, Header};
use crate::magic::{bad_magic, could_be_image};
use crate::options::Options;
use crate::sink::{Sink, SinkError};

/// Bytes of a stream that are enough for [`peek`] to give an answer, whatever the compression: nothing
/// comes out of lz4 before a whole block, of up to 4 MiB, and the header of a partimage may stand behind
/// half a MiB of boot sectors. Only skippable frames in front may need more.
pub const PEEK_LEN: usize = 5 << 20;

/// What the header of the image says that begins with `prefix`, compressed or not. `None`: more bytes
/// are needed.
///
/// The facts are checked as [`Decoder`](crate::Decoder) checks them, except against a target.
///
/// # Errors
/// The image is of no known kind, or its header is bad.
pub fn peek(prefix: &[u8]) -> Result<Option<Header>, ImageError> {
    let mut sniffer = Sniffer::default();
    let (_, Some(compression)) = sniffer.push(prefix)? else {
        return Ok(None);
    };
    let prefix = usize::try_from(sniffer.offset())
        .ok()
        .and_then(|offset| prefix.get(offset..))
        .unwrap_or_default();
    let mut core = Core::new(Options::default(), compression);
    // The window is of no matter: it is not touched for a few kilobytes.
    let Some(mut codec) = Codec::new(compression, 31, sniffer.offset())? else {
        take(&mut core, prefix)?;
        return Ok(core.header().cloned());
    };
    let mut decoded = Vec::new();
    let (mut input, mut len, mut start) = (prefix, 0, 0);
    while len < DECODED_MAX {
        decoded.resize(len + PIECE, 0);
        let room = decoded.get_mut(len..).unwrap_or_default();
        let ran = codec.run(input, room)?;
        input = input.get(ran.consumed..).unwrap_or_default();
        len += ran.produced;
        start += take(&mut core, decoded.get(start..len).unwrap_or_default())?;
        if let Some(header) = core.header() {
            return Ok(Some(header.clone()));
        }
        if ran.produced == 0 && (input.is_empty() || ran.consumed == 0) {
            break;
        }
    }
    Ok(None)
}

/// Decoded at once.
const PIECE: usize = 4 << 10;
/// Most bytes that are decoded. A partimage with the most boot sectors has half of it before its
/// header.
const DECODED_MAX: usize = 1 << 20;

/// Gives `bytes` to the decoder, in steps as small as can be, until the header is known. Returns how
/// many it took.
fn take(core: &mut Core, bytes: &[u8]) -> Result<usize, ImageError> {
    if !could_be_image(bytes) && core.offset() == 0 {
        return Err(bad_magic(bytes));
    }
    let mut taken = 0_usize;
    while core.header().is_none() {
        let Some(end) = taken.checked_add(core.need()) else {
            break;
        };
        let Some(next) = bytes.get(taken..end) else {
            break;
        };
        taken += core.step(next, &mut Nobody)?;
    }
    Ok(taken)
}

/// The header comes before the data, or together with it.
struct Nobody;

impl Sink for Nobody {
    fn begin(&mut self, _geometry: &Geometry) -> Result<(), SinkError> {
        Ok(())
    }

    fn extent(&mut self, _offset: u64, _data: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }
}
