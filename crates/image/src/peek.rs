//! The header of an image from the first bytes of its file.

use crate::error::ImageError;
use crate::geometry::{Compression, Header};
use crate::partclone::{bad_magic, header_len, is_prefix_of_magic, parse_header};
use crate::wrapper::{Codec, SNIFF_LEN, sniff};

/// Bytes of a stream that are enough for [`peek`] to give an answer, whatever the compression does
/// (a zstd block is at most 128 KiB; skippable frames in front may need more).
pub const PEEK_LEN: usize = 256 << 10;

/// What the header of the image says that begins with `prefix`, compressed or not. `None`: more bytes
/// are needed.
///
/// The facts are checked as [`Decoder`](crate::Decoder) checks them, except against a target.
///
/// # Errors
/// The image is of no known kind, or its header is bad.
pub fn peek(prefix: &[u8]) -> Result<Option<Header>, ImageError> {
    let Some(first) = prefix.get(..SNIFF_LEN) else {
        return Ok(None);
    };
    let compression = sniff(first)?;
    // The window is of no matter: it is not touched for a few kilobytes.
    let Some(mut codec) = Codec::new(compression, 31)? else {
        return header(prefix, compression);
    };
    let mut decoded = vec![0; partclone_sys::HEADER_0001_LEN];
    let (mut input, mut len) = (prefix, 0);
    while let Some(room) = decoded.get_mut(len..)
        && !room.is_empty()
    {
        let ran = codec.run(input, room)?;
        input = input.get(ran.consumed..).unwrap_or_default();
        len += ran.produced;
        if ran.produced == 0 && (input.is_empty() || ran.consumed == 0) {
            break;
        }
    }
    header(decoded.get(..len).unwrap_or_default(), compression)
}

fn header(bytes: &[u8], compression: Compression) -> Result<Option<Header>, ImageError> {
    if !is_prefix_of_magic(bytes) {
        return Err(bad_magic(bytes));
    }
    match header_len(bytes)? {
        Some(len) if bytes.len() >= len => parse_header(bytes, compression).map(Some),
        _ => Ok(None),
    }
}
