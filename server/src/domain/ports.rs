//! The pool of port pairs: a session uses an even base port and the one behind it.

use serde::{Deserialize, Serialize};

/// A range of base ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortPool {
    first: u16,
    pairs: u16,
}

/// Why numbers are no pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "ports from {first} to {last} are no usable range: it must begin with an even port from 1024 on, \
     end at 65535 at most, and hold at least two ports"
)]
pub struct BadPortPool {
    first: u32,
    last: u32,
}

impl PortPool {
    /// FOG's default: 64 pairs from 63100 on.
    pub const DEFAULT: Self = Self {
        first: 63100,
        pairs: 64,
    };

    /// The pairs within these ports, both included.
    ///
    /// # Errors
    /// If there is no pair.
    pub fn new(first: u32, last: u32) -> Result<Self, BadPortPool> {
        let bad = BadPortPool { first, last };
        let base = u16::try_from(first).map_err(|_| bad)?;
        let last = u16::try_from(last).map_err(|_| bad)?;
        let pairs = last.checked_sub(base).ok_or(bad)?.div_ceil(2);
        if base % 2 == 1 || base < 1024 || pairs == 0 {
            return Err(bad);
        }
        Ok(Self { first: base, pairs })
    }

    /// Base ports in order.
    pub fn bases(self) -> impl Iterator<Item = u16> {
        (self.first..=65534)
            .step_by(2)
            .take(usize::from(self.pairs))
    }

    /// First port.
    #[must_use]
    pub fn first(self) -> u16 {
        self.first
    }

    /// Pairs of ports.
    #[must_use]
    pub fn pairs(self) -> u16 {
        self.pairs
    }
}

/// Base ports, each once, in the order in which they are taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortList(pub Vec<u16>);

impl std::str::FromStr for PortList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut ports = Vec::new();
        for word in text.split(',') {
            let word = word.trim();
            let port = word.parse::<u16>().ok();
            let port = port.filter(|port| *port >= 1024 && port % 2 == 0);
            let port = port.ok_or_else(|| {
                format!("{word:?} is no base port: expected even ports from 1024 to 65534, with commas between them")
            })?;
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        Ok(Self(ports))
    }
}

impl std::str::FromStr for PortPool {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text
            .split_once('-')
            .ok_or("expected FIRST-LAST, for example 63100-63227")?;
        let number = |text: &str| {
            text.parse::<u32>()
                .map_err(|_| format!("{text:?} is not a port number"))
        };
        Self::new(number(first)?, number(last)?).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_base_ports() {
        assert_eq!(
            "50002, 50000,50002".parse(),
            Ok(PortList(vec![50002, 50000]))
        );
        for text in ["", "50001", "80", "65536", "50000,", "x"] {
            assert!(text.parse::<PortList>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pool_has_whole_pairs() {
        let bases = |first, last| {
            PortPool::new(first, last)
                .unwrap()
                .bases()
                .collect::<Vec<_>>()
        };
        assert_eq!(bases(63100, 63103), [63100, 63102]);
        assert_eq!(bases(63100, 63102), [63100]);
        assert_eq!(bases(65534, 65535), [65534]);
        assert_eq!(PortPool::DEFAULT.bases().count(), 64);
        for (first, last) in [
            (63101, 63104),
            (0, 10),
            (2000, 2000),
            (3000, 2000),
            (65536, 65540),
        ] {
            assert!(PortPool::new(first, last).is_err(), "{first} {last}");
        }
        assert_eq!("63100-63227".parse(), Ok(PortPool::DEFAULT));
        assert!("63100".parse::<PortPool>().is_err());
    }
}
