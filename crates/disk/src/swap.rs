//! Swap spaces: the image records their UUIDs, the restore makes them anew.

use thiserror::Error;
use uuid::Uuid;

/// Least length of a swap space in bytes: ten pages, mkswap's own limit.
pub const SWAP_LEN_MIN: u64 = 10 * SWAP_PAGE as u64;
/// Page size of x86 and nearly all other machines, in bytes.
pub const SWAP_PAGE: u32 = 4096;

/// Why a swap space cannot be described.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SwapError {
    /// A line is not a partition number and a UUID.
    #[error("line {line} is {text:?}, expected a partition number and a UUID")]
    Line {
        /// Line number, from one.
        line: usize,
        /// The line.
        text: String,
    },
    /// The partition cannot hold a swap space.
    #[error("{len} bytes are too few for swap space (ten pages of {page_size} bytes at least)")]
    TooSmall {
        /// Length of the partition in bytes.
        len: u64,
        /// Page size in bytes.
        page_size: u32,
    },
}

/// Parses `dN.original.swapuuids`: lines of a partition number and a UUID. A number without a UUID is
/// kept without one.
///
/// # Errors
///
/// [`SwapError::Line`].
pub fn swap_uuids(text: &str) -> Result<Vec<(u32, Option<Uuid>)>, SwapError> {
    let mut entries = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut fields = line.split_whitespace();
        let Some(number) = fields.next() else {
            continue;
        };
        let bad = || SwapError::Line {
            line: index + 1,
            text: line.trim().chars().take(80).collect(),
        };
        let number = number.parse().map_err(|_| bad())?;
        let uuid = match fields.next() {
            None => None,
            Some(text) => Some(Uuid::parse_str(text).map_err(|_| bad())?),
        };
        if fields.next().is_some() {
            return Err(bad());
        }
        entries.push((number, uuid));
    }
    Ok(entries)
}

/// The first page of a swap space of `len` bytes, as `mkswap` writes it (`linux/swap.h`,
/// `union swap_header`, version 1). Everything else in the space may stay as it is.
///
/// `page_size` is the one of the machine that will swap: 4096 on x86 and nearly all others.
///
/// # Errors
///
/// [`SwapError::TooSmall`] for fewer than ten pages, mkswap's own limit.
pub fn swap_header(len: u64, uuid: Uuid, page_size: u32) -> Result<Vec<u8>, SwapError> {
    let too_small = SwapError::TooSmall { len, page_size };
    let (Ok(page), true) = (usize::try_from(page_size), page_size >= 4096) else {
        return Err(too_small);
    };
    let pages = len / u64::from(page_size);
    if pages < 10 {
        return Err(too_small);
    }
    // The field has 32 bits; mkswap caps in the same way.
    let last_page = u32::try_from(pages - 1).unwrap_or(u32::MAX);
    let mut out = vec![0; page];
    let fields: [(usize, &[u8]); 4] = [
        (1024, &1_u32.to_le_bytes()),
        (1028, &last_page.to_le_bytes()),
        (1036, uuid.as_bytes()),
        (page - 10, b"SWAPSPACE2"),
    ];
    for (at, bytes) in fields {
        out[at..at + bytes.len()].copy_from_slice(bytes);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_parsed_and_junk_is_refused() {
        let uuid = Uuid::parse_str("8c1f1f8e-0f4b-4b6b-a5a3-0d9a2f1c2b3d").unwrap();
        let text = "5 8c1f1f8e-0f4b-4b6b-a5a3-0d9a2f1c2b3d\n\n 12\n";
        assert_eq!(swap_uuids(text).unwrap(), vec![(5, Some(uuid)), (12, None)]);
        assert!(swap_uuids("five x").is_err());
        assert!(swap_uuids("5 nonsense").is_err());
        assert!(swap_uuids("").unwrap().is_empty());
        // What cannot be seen is written out, and a terminal gets no commands.
        let error = swap_uuids("\u{feff}5\n").unwrap_err().to_string();
        assert!(error.contains(r#"is "\u{feff}5""#), "{error}");
        let error = swap_uuids("5 \u{1b}[2J\u{202e}\n").unwrap_err().to_string();
        assert!(error.contains(r#""5 \u{1b}[2J\u{202e}""#), "{error}");
    }

    #[test]
    fn header_has_the_kernels_layout() {
        let page = swap_header(1 << 20, Uuid::from_bytes([7; 16]), 4096).unwrap();
        assert_eq!(page.len(), 4096);
        assert_eq!(&page[4086..], b"SWAPSPACE2");
        assert_eq!(page[1024..1028], [1, 0, 0, 0]);
        assert_eq!(page[1028..1032], [255, 0, 0, 0]);
        assert_eq!(page[1036..1052], [7; 16]);
        assert!(swap_header(9 * 4096, Uuid::nil(), 4096).is_err());
        assert!(swap_header(1 << 20, Uuid::nil(), 7).is_err());
    }
}
