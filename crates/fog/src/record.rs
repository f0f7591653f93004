//! The record that names a multicast stream: 128 octets of ASCII in front of the image bytes.
//!
//! Octets 0 to 6 are `FOGMC1` and a blank, 7 to 126 the name padded with blanks, 127 is a line
//! feed. FOG 1.6 servers that announce `mcstreamid` begin every stream with it.

use std::fmt;

use crate::store::StreamName;

/// Length of a record in bytes.
pub const RECORD_LEN: usize = 128;

/// Longest name that fits, in bytes.
pub const MAX_NAME_LEN: usize = 120;

const TAG: &[u8] = b"FOGMC1 ";

/// What the first bytes of a stream say about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A record with this name; the image follows after [`RECORD_LEN`] bytes.
    Record(String),
    /// No record: image data from the first byte on.
    None,
    /// A record of a version that this program does not know (the tag is given).
    Newer(String),
}

/// Why a record is not the wanted one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The name does not fit or is not printable ASCII without blanks.
    #[error(
        "{0:?} cannot be put into a stream record: it needs 1 to 120 printable ASCII characters without blanks"
    )]
    Name(String),
    /// The stream is another one.
    #[error(
        "out of step: this stream is {found}, expected {wanted}; nothing of it was written. \
         A client that missed a stream cannot catch up in this session: deploy it again"
    )]
    OutOfStep {
        /// Name in the record.
        found: String,
        /// Name that was due.
        wanted: String,
    },
    /// The server promised records and the stream has none.
    #[error(
        "the server promised a record in front of each stream, but {wanted} begins with {found}. \
         Check that no older sender is running on this port"
    )]
    Missing {
        /// Name that was due.
        wanted: String,
        /// The first bytes, escaped.
        found: String,
    },
    /// A newer record.
    #[error(
        "the stream begins with a record of version {0:?}: this client is too old for the server"
    )]
    Newer(String),
}

/// Makes the record for a stream.
///
/// # Errors
/// If the name is longer than 120 bytes or holds anything but printable ASCII: such an image
/// cannot be sent with records.
pub fn emit(name: &StreamName) -> Result<[u8; RECORD_LEN], RecordError> {
    let bytes = name.as_str().as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_NAME_LEN || !bytes.iter().all(u8::is_ascii_graphic) {
        return Err(RecordError::Name(name.as_str().chars().take(200).collect()));
    }
    let mut record = [b' '; RECORD_LEN];
    record[..TAG.len()].copy_from_slice(TAG);
    record[TAG.len()..TAG.len() + bytes.len()].copy_from_slice(bytes);
    record[RECORD_LEN - 1] = b'\n';
    Ok(record)
}

/// Looks at the first bytes of a stream: give it 128 if the stream has as many.
///
/// No image format and no compression begins with the tag, so the answer is certain.
#[must_use]
pub fn look(start: &[u8]) -> Found {
    let word_len = start
        .iter()
        .take(20)
        .position(|byte| byte.is_ascii_whitespace())
        .unwrap_or_else(|| start.len().min(20));
    let (word, _) = start.split_at(word_len);
    let Some(version) = word.strip_prefix(b"FOGMC") else {
        return Found::None;
    };
    if version.is_empty() || !version.iter().all(u8::is_ascii_digit) {
        return Found::None;
    }
    if version != b"1" || start.len() < RECORD_LEN {
        return Found::Newer(String::from_utf8_lossy(word).into_owned());
    }
    let name: Vec<u8> = start[TAG.len()..RECORD_LEN]
        .iter()
        .copied()
        .take_while(|byte| !byte.is_ascii_whitespace())
        .collect();
    let text = String::from_utf8_lossy(&name);
    Found::Record(if name.iter().all(u8::is_ascii_graphic) {
        text.into_owned()
    } else {
        text.escape_debug().to_string()
    })
}

/// Checks the first bytes of a stream against the one that is due.
///
/// Returns how many bytes to strip: [`RECORD_LEN`] or 0.
///
/// # Errors
/// When the stream is another one, or has no record although the server promised one.
pub fn check(start: &[u8], wanted: &StreamName, promised: bool) -> Result<usize, RecordError> {
    match look(start) {
        Found::Record(name) if name == wanted.as_str() => Ok(RECORD_LEN),
        Found::Record(found) => Err(RecordError::OutOfStep {
            found,
            wanted: wanted.to_string(),
        }),
        Found::Newer(tag) => Err(RecordError::Newer(tag)),
        Found::None if promised => Err(RecordError::Missing {
            wanted: wanted.to_string(),
            found: Escaped(start).to_string(),
        }),
        Found::None => Ok(0),
    }
}

struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("nothing"),
            bytes => {
                for byte in bytes.iter().take(8) {
                    write!(f, "{byte:02x}")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> StreamName {
        StreamName::of_file(text)
    }

    #[test]
    fn record_has_the_exact_bytes() {
        let record = emit(&name("d1p2.img")).unwrap();
        assert_eq!(&record[..16], b"FOGMC1 d1p2.img ");
        assert!(record[15..127].iter().all(|&byte| byte == b' '));
        assert_eq!(record[127], b'\n');
        assert_eq!(check(&record, &name("d1p2.img"), true), Ok(RECORD_LEN));
        let odd = name(r#"it's_"d1".img"#);
        assert_eq!(check(&emit(&odd).unwrap(), &odd, true), Ok(RECORD_LEN));
        assert!(emit(&name(&"x".repeat(121))).is_err());
        assert!(emit(&name(&"x".repeat(120))).is_ok());
    }

    #[test]
    fn other_streams_are_refused() {
        let record = emit(&name("d1p2.img")).unwrap();
        assert!(matches!(
            check(&record, &name("d1p3.img"), false),
            Err(RecordError::OutOfStep { .. })
        ));
        let mut newer = record;
        newer[5] = b'2';
        assert_eq!(
            check(&newer, &name("d1p2.img"), true),
            Err(RecordError::Newer("FOGMC2".into()))
        );
        for plain in [&b"\x28\xb5\x2f\xfd"[..], b"\x1f\x8b", b"", b"FOGMC"] {
            assert!(matches!(
                check(plain, &name("d1p2.img"), true),
                Err(RecordError::Missing { .. })
            ));
            assert_eq!(check(plain, &name("d1p2.img"), false), Ok(0));
        }
    }
}
