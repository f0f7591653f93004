//! What a key may do.

use std::fmt;
use std::str::FromStr;

/// One thing that a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sign manifests.
    Image,
    /// Be the server.
    Server,
}

/// What a key may do, at least one thing. As text: `image`, `server` or `image,server`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles(u8);

const IMAGE: u8 = 1;
const SERVER: u8 = 2;

impl Roles {
    /// Both.
    pub const ALL: Self = Self(IMAGE | SERVER);
    /// To sign manifests only.
    pub const IMAGE: Self = Self(IMAGE);
    /// To be the server only.
    pub const SERVER: Self = Self(SERVER);

    /// Whether this is among them.
    #[must_use]
    pub fn has(self, role: Role) -> bool {
        let bit = match role {
            Role::Image => IMAGE,
            Role::Server => SERVER,
        };
        self.0 & bit != 0
    }

    /// Whether all of `other` are among them.
    #[must_use]
    pub fn has_all(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// As one octet: bit 0 image, bit 1 server.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Of that octet; `None` if it has no role, or one that this version does not know.
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        let roles = Self(bits);
        (bits != 0 && Self::ALL.has_all(roles)).then_some(roles)
    }

    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.has(Role::Image), self.has(Role::Server)) {
            (true, true) => "image,server",
            (true, false) => "image",
            _ => "server",
        })
    }
}

impl FromStr for Roles {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        text.split(',').try_fold(Self(0), |roles, word| match word {
            "image" => Ok(roles.and(Self::IMAGE)),
            "server" => Ok(roles.and(Self::SERVER)),
            _ => Err(UnknownRole),
        })
    }
}

/// A role that there is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown role: expected image, server, or image,server")]
pub struct UnknownRole;
