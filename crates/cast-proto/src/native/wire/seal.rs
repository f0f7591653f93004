//! SEAL: digests of DATA (5.5), inside its seal.

use super::{ParseError, SIGNATURE_LEN};

/// Digests in one SEAL.
pub const DIGESTS_MAX: u16 = 128;

/// Bytes of the BLAKE3 of a whole DATA that a SEAL has.
pub const DIGEST_LEN: usize = 8;

/// What a SEAL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealBody {
    /// Of consecutive DATA.
    pub digests: Vec<[u8; DIGEST_LEN]>,
    /// Over them, and what the keys' module puts in front.
    pub signature: [u8; SIGNATURE_LEN],
}

impl SealBody {
    /// Of the opened body; `count` is that of its head.
    ///
    /// # Errors
    /// If there are too many digests, or the length is not that of so many.
    pub fn parse(count: u16, body: &[u8]) -> Result<Self, ParseError> {
        if count == 0 || count > DIGESTS_MAX {
            return Err(ParseError::Bounds {
                what: "count of SEAL",
            });
        }
        let wrong = ParseError::Length { what: "SEAL" };
        let (digests, signature) = body.split_last_chunk().ok_or(wrong)?;
        let (digests, rest) = digests.as_chunks();
        if digests.len() != usize::from(count) || !rest.is_empty() {
            return Err(wrong);
        }
        Ok(Self {
            digests: digests.to_vec(),
            signature: *signature,
        })
    }

    /// Appends the body.
    pub fn emit(&self, bytes: &mut Vec<u8>) {
        for digest in &self.digests {
            bytes.extend(digest);
        }
        bytes.extend(self.signature);
    }
}
