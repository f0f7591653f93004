//! Who may use the page and the API, and what.

use std::fmt;
use std::str::FromStr;

use super::Timestamp;

/// What somebody may do. Each role may do what those before it may.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Sees everything, changes nothing.
    Viewer,
    /// Deploys, cancels, and registers hosts.
    Operator,
    /// Everything: images and accounts, too.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// As it is stored and written.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// The role of this code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.code() == code)
    }
}

impl FromStr for Role {
    type Err = BadRole;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_code(text).ok_or_else(|| BadRole(fog::encoding::printable(text, 40)))
    }
}

/// Why a text is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no role: viewer, operator or admin is needed")]
pub struct BadRole(String);

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Who has an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccountKind {
    /// A person with a password.
    User,
    /// A program with a token.
    Token,
}

impl AccountKind {
    /// As it is stored.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Token => "token",
        }
    }

    /// The kind of this code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        let mut kinds = [Self::User, Self::Token].into_iter();
        kinds.find(|kind| kind.code() == code)
    }
}

impl fmt::Display for AccountKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// The name of an account: 1 to 40 small letters, digits, or `.`, `_`, `-`, `@`. No capitals: databases differ
/// in whether those are the same.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct AccountName(String);

/// Why a text is no name of an account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot be the name of an account: 1 to 40 small letters, digits, or the signs . _ - @ are \
     needed, the first one a letter or digit"
)]
pub struct BadAccountName(String);

impl AccountName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountName {
    type Err = BadAccountName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
        let is_name = (1..=40).contains(&text.len())
            && text.bytes().all(|c| is_plain(c) || b"._-@".contains(&c))
            && text.bytes().next().is_some_and(is_plain);
        match is_name {
            true => Ok(Self(text.to_owned())),
            false => Err(BadAccountName(fog::encoding::printable(text, 60))),
        }
    }
}

impl TryFrom<String> for AccountName {
    type Error = BadAccountName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AccountName> for String {
    fn from(name: AccountName) -> Self {
        name.0
    }
}

impl fmt::Display for AccountName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A password that somebody chooses.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NewPassword(String);

/// Why a text is no password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password has {min} to {max} characters", min = NewPassword::LEN_MIN, max = NewPassword::LEN_MAX)]
pub struct BadPassword;

impl NewPassword {
    /// Fewest characters.
    pub const LEN_MIN: usize = 10;
    /// Most characters. More would only cost time.
    pub const LEN_MAX: usize = 200;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NewPassword {
    type Error = BadPassword;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match (Self::LEN_MIN..=Self::LEN_MAX).contains(&text.chars().count()) {
            true => Ok(Self(text)),
            false => Err(BadPassword),
        }
    }
}

impl From<NewPassword> for String {
    fn from(password: NewPassword) -> Self {
        password.0
    }
}

/// Not shown.
impl fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewPassword(..)")
    }
}

/// What is stored to recognise somebody by; nobody can log in with it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredSecret(pub String);

/// Not shown: it can be tried out elsewhere.
impl fmt::Debug for StoredSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredSecret(..)")
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Whose.
    pub kind: AccountKind,
    /// Name, once for each kind.
    pub name: AccountName,
    /// What it may do.
    pub role: Role,
    /// Of a user the hashed password, of a token its hash.
    pub secret: StoredSecret,
    /// When it was made.
    pub created_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_for_every_database() {
        for good in ["admin", "a", "lab.1_x-y@z", &"a".repeat(40)] {
            assert_eq!(good.parse::<AccountName>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "Admin",
            "a b",
            "-a",
            ".a",
            "a/b",
            "a'--",
            "\u{1b}[2J",
            "ä",
            &"a".repeat(41),
        ] {
            assert!(bad.parse::<AccountName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_password_is_neither_short_nor_endless_nor_shown() {
        let of = |len| NewPassword::try_from("ä".repeat(len));
        assert!(of(9).is_err() && of(10).is_ok() && of(200).is_ok() && of(201).is_err());
        assert_eq!(format!("{:?}", of(10).unwrap()), "NewPassword(..)");
    }

    #[test]
    fn codes_are_those_that_are_read() {
        for role in Role::ALL {
            assert_eq!(Role::from_code(role.code()), Some(role));
        }
        for kind in [AccountKind::User, AccountKind::Token] {
            assert_eq!(AccountKind::from_code(kind.code()), Some(kind));
        }
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
        assert_eq!(
            (Role::from_code("root"), AccountKind::from_code("")),
            (None, None)
        );
    }
}
