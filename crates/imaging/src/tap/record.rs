//! The record in front of a stream, which names it.

use anyhow::bail;
use fog::record::{Found, look};

/// First bytes of a stream that are looked at: the length of a record.
pub const LEN: usize = fog::record::RECORD_LEN;

/// The name in the record that a stream begins with; `None` if the bytes belong to the image. `start` has
/// [`LEN`] bytes, fewer only if the stream has no more.
///
/// # Errors
/// There is a record of a version that this program does not know.
pub fn name_in(start: &[u8]) -> anyhow::Result<Option<String>> {
    match look(start) {
        Found::None => Ok(None),
        Found::Record(name) => Ok(Some(name)),
        Found::Newer(tag) => {
            bail!("the stream begins with a record of version {tag:?}: this program is too old")
        }
    }
}

#[cfg(test)]
mod tests {
    use fog::store::StreamName;

    use super::*;

    #[test]
    fn only_a_whole_record_is_taken_for_one() {
        let record = fog::record::emit(&StreamName::of_file("d1p2.img")).unwrap();
        assert_eq!(record.len(), LEN);
        assert_eq!(name_in(&record).unwrap().as_deref(), Some("d1p2.img"));
        for start in [&b""[..], b"partclone-image", &record[..5], &[0; LEN]] {
            assert_eq!(name_in(start).unwrap(), None);
        }
        assert!(name_in(&record[..LEN - 1]).is_err());
        assert!(name_in(b"FOGMC2 x").is_err());
    }
}
