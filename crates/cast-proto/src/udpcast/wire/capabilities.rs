//! Capability words.

use std::fmt;
use std::ops::BitOr;

/// Capability word of HELLO, CONNECT_REQ and CONNECT_REPLY. Unknown bits are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capabilities(pub u32);

impl Capabilities {
    /// Understands capability words, multicast data addresses and asynchronous transfers.
    pub const NEW_GENERATION: Self = Self(0x0001);
    /// Speaks network byte order.
    pub const BIG_ENDIAN: Self = Self(0x0008);
    /// The transfer has no return channel (sender only).
    pub const ASYNCHRONOUS: Self = Self(0x0020);
    /// What both ends send: new generation, big-endian.
    pub const CURRENT: Self = Self(0x0009);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Capabilities {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}
