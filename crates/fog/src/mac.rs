//! Hardware addresses as FOG writes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An Ethernet address; shown lower case with colons, as FOG stores it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

/// Why a text is no hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a MAC address (expected six pairs of hex digits such as 00:1b:21:aa:bb:cc)")]
pub struct ParseMacError(String);

impl FromStr for Mac {
    type Err = ParseMacError;

    /// Takes `:`, `-` or nothing between the pairs, any case, blanks around.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParseMacError(text.chars().take(64).collect());
        let digits: Vec<u8> = text
            .trim()
            .bytes()
            .filter(|byte| !matches!(byte, b':' | b'-'))
            .collect();
        let separators = text.trim().len() - digits.len();
        let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
        if digits.len() != 12 || !is_hex || !(separators == 0 || separators == 5) {
            return Err(fail());
        }
        let mut octets = [0; 6];
        for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = str::from_utf8(pair).map_err(|_| fail())?;
            *octet = u8::from_str_radix(pair, 16).map_err(|_| fail())?;
        }
        Ok(Self(octets))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Mac {
    type Error = ParseMacError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

/// Most addresses of a machine that are looked at.
pub const MAX_LIST: usize = 16;

/// Splits a `|`-separated list; what is no address is left out, doubles are merged, and there is an
/// end after [`MAX_LIST`].
///
/// FOG's clients send such lists in every `mac*` field.
#[must_use]
pub fn parse_list(text: &str) -> Vec<Mac> {
    let mut found = Vec::new();
    for mac in text.split('|').filter_map(|part| part.parse().ok()) {
        if found.len() == MAX_LIST {
            break;
        }
        if !found.contains(&mac) {
            found.push(mac);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_normalised() {
        for text in ["00:1B:21:AA:BB:CC", "00-1b-21-aa-bb-cc", " 001b21aabbcc\n"] {
            assert_eq!(
                text.parse::<Mac>().unwrap().to_string(),
                "00:1b:21:aa:bb:cc"
            );
        }
        for text in [
            "",
            "00:1b",
            "00:1b:21:aa:bb:cg",
            "00:1b:21:aa:bb:cc:dd",
            "+0:1b:21:aa:bb:cc",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }

    #[test]
    fn lists_drop_rubbish_and_doubles() {
        let list = parse_list("AA:BB:CC:DD:EE:FF||nonsense|aa-bb-cc-dd-ee-ff|11:22:33:44:55:66");
        assert_eq!(list.len(), 2);
        assert_eq!(list[1].to_string(), "11:22:33:44:55:66");
        let many: Vec<String> = (0..1000).map(|n| format!("00000000{n:04}")).collect();
        assert_eq!(parse_list(&many.join("|")).len(), MAX_LIST);
    }
}
