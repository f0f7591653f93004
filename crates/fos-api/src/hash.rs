//! BLAKE3 hashes as text.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A BLAKE3 hash. As text it has exactly 64 hexadecimal digits; written in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Blake3(blake3::Hash);

/// A text that is no BLAKE3 hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a BLAKE3 hash: it must have exactly 64 hexadecimal digits")]
pub struct NotBlake3;

impl FromStr for Blake3 {
    type Err = NotBlake3;

    fn from_str(text: &str) -> Result<Self, NotBlake3> {
        let hash = blake3::Hash::from_hex(text).map_err(|_| NotBlake3)?;
        Ok(Self(hash))
    }
}

impl TryFrom<String> for Blake3 {
    type Error = NotBlake3;

    fn try_from(text: String) -> Result<Self, NotBlake3> {
        text.parse()
    }
}

impl From<Blake3> for String {
    fn from(hash: Blake3) -> Self {
        hash.to_string()
    }
}

impl From<blake3::Hash> for Blake3 {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash)
    }
}

impl From<Blake3> for blake3::Hash {
    fn from(hash: Blake3) -> Self {
        hash.0
    }
}

impl fmt::Display for Blake3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Blake3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blake3({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_hexadecimal_digits_are_a_hash() {
        let digits = "0123456789abcdef".repeat(4);
        let hash: Blake3 = digits.parse().unwrap();
        assert_eq!(hash.to_string(), digits);
        assert_eq!(digits.to_uppercase().parse(), Ok(hash));
        assert_eq!(serde_json::to_value(hash).unwrap(), digits);
        for text in [
            "",
            &digits[1..],
            &format!("{digits}0"),
            &digits.replace('0', "g"),
            &format!(" {}", &digits[1..]),
            &"ä".repeat(32),
        ] {
            assert_eq!(text.parse::<Blake3>(), Err(NotBlake3), "{text}");
            serde_json::from_value::<Blake3>(text.into()).unwrap_err();
        }
    }
}
