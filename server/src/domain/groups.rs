//! Groups of hosts, as the machines of a room.

use std::fmt;

use super::HostId;

/// Hosts in an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Name.
    pub name: GroupName,
    /// Each once, in the order in which they were put in.
    pub hosts: Vec<HostId>,
}

/// What becomes of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupChange {
    /// These are put at its end, as far as they are not in it; a group that is not there is made.
    Add(Vec<HostId>),
    /// These are taken out; an empty group stays.
    Take(Vec<HostId>),
    /// There is no such group any more; the hosts stay.
    Remove,
}

/// 1 to 40 letters, digits, blanks or the signs `. _ -`; letter case does not tell two groups apart.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupName(String);

/// Why a text is no name of a group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot be the name of a group: 1 to 40 letters, digits, blanks or the signs . _ - are needed"
)]
pub struct BadGroupName(String);

impl GroupName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for GroupName {
    type Err = BadGroupName;

    /// With or without the `@` that stands before it among hosts.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_prefix('@').unwrap_or(text);
        let is_sign = |c: u8| matches!(c, b'.' | b'_' | b'-' | b' ');
        let is_name = (1..=40).contains(&name.len())
            && name
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || is_sign(c))
            && !name.starts_with(['-', ' '])
            && !name.ends_with(' ');
        match is_name {
            true => Ok(Self(name.to_owned())),
            false => Err(BadGroupName(fog::encoding::printable(text, 60))),
        }
    }
}

impl TryFrom<String> for GroupName {
    type Error = BadGroupName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<GroupName> for String {
    fn from(name: GroupName) -> Self {
        name.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a person names where hosts are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named<'t> {
    /// A host.
    Host(&'t str),
    /// All hosts of a group.
    Group(&'t str),
}

impl<'t> Named<'t> {
    /// `@` stands before the name of a group; no host has it in its name.
    #[must_use]
    pub fn of(text: &'t str) -> Self {
        match text.strip_prefix('@') {
            Some(group) => Self::Group(group),
            None => Self::Host(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_groups_are_words() {
        for name in ["room101", "Room-1.01_b", "1", "@lab", "Lab A"] {
            let parsed = name.parse::<GroupName>().unwrap();
            assert_eq!(parsed.as_str(), name.trim_start_matches('@'));
        }
        for name in [
            "",
            "@",
            "@@a",
            "-a",
            " a",
            "a ",
            "a\tb",
            "ä",
            "a/b",
            &"x".repeat(41),
        ] {
            assert!(name.parse::<GroupName>().is_err(), "{name}");
        }
        assert_eq!(Named::of("@lab"), Named::Group("lab"));
        assert_eq!(Named::of("LAB-01"), Named::Host("LAB-01"));
    }
}
