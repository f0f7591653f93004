//! Numbers out of bytes, and bytes for people.

use std::fmt::Write as _;

/// The little-endian number in the first four bytes; missing ones count as 0.
pub(crate) fn u32_le(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .take(4)
        .rev()
        .fold(0, |value, &byte| value << 8 | u32::from(byte))
}

/// The little-endian number at `at`; missing bytes count as 0.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let field = bytes.get(at..at + 4).and_then(<[u8]>::first_chunk);
    u32::from_le_bytes(field.copied().unwrap_or_default())
}

/// The little-endian number at `at`; missing bytes count as 0.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let field = bytes.get(at..at + 8).and_then(<[u8]>::first_chunk);
    u64::from_le_bytes(field.copied().unwrap_or_default())
}

/// `bytes` in hexadecimal, with blanks between.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let gap = if text.is_empty() { "" } else { " " };
        // Writing to a string cannot fail.
        _ = write!(text, "{gap}{byte:02x}");
    }
    text
}
