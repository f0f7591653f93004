//! Whose manifests count (4.2, 4.3).

use std::fmt;
use std::str::FromStr;

use crate::keys::{KeyId, Role, Roles, Succession, TrustedKey};
use crate::root::{Root, Signature};

/// What is asked of a signature (4.3); the file `/etc/fos/trust.mode` has one word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// `require`: only trusted keys.
    Require,
    /// `prefer`: only trusted keys, if there are any.
    #[default]
    Prefer,
    /// `open`: any key.
    Open,
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        match text.trim() {
            "require" => Ok(Self::Require),
            "prefer" => Ok(Self::Prefer),
            "open" => Ok(Self::Open),
            _ => Err(UnknownMode),
        }
    }
}

/// A mode that there is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown mode of trust: expected require, prefer or open")]
pub struct UnknownMode;

/// The keys that count, and how much.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    mode: Mode,
    keys: Vec<TrustedKey>,
}

/// Who vouches for a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authenticity {
    /// A trusted key signed it.
    Signed(KeyId),
    /// It counts all the same; somebody else may have made it. With the key that is said to have signed it.
    NotAuthenticated(Option<KeyId>),
}

impl fmt::Display for Authenticity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signed(key) => write!(f, "signed by the key {key}"),
            Self::NotAuthenticated(_) => f.write_str("not authenticated"),
        }
    }
}

/// Why a manifest does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// No trusted key signed it (14, E1).
    #[error(
        "the image is not signed by a key that this initramfs trusts (signed by {}; trusted: {}); build the initramfs \
         with the server's key, or sign the image",
        .by.as_ref().map_or_else(|| "no key".to_owned(), ToString::to_string),
        ids(.trusted)
    )]
    Untrusted {
        /// Who is said to have signed it.
        by: Option<KeyId>,
        /// The keys that would count.
        trusted: Vec<KeyId>,
    },
    /// It is said to be signed by a trusted key, and is not.
    #[error(
        "the signature by the key {by} is not of this image: the manifest, or the signature, was changed; copy both \
         again, or sign the image again"
    )]
    Wrong {
        /// That key.
        by: KeyId,
    },
}

fn ids(keys: &[KeyId]) -> String {
    if keys.is_empty() {
        return "no key".to_owned();
    }
    let ids: Vec<String> = keys.iter().map(ToString::to_string).collect();
    ids.join(", ")
}

/// Most steps from a trusted key to the one that counts now.
const STEPS: usize = 4;

impl Trust {
    /// These keys, as much as the mode says.
    #[must_use]
    pub fn new(mode: Mode, keys: Vec<TrustedKey>) -> Self {
        Self { mode, keys }
    }

    /// With the keys that follow the trusted ones, at most four steps away. A key passes on only what it may do
    /// itself.
    #[must_use]
    pub fn followed(mut self, records: &[Succession]) -> Self {
        for _ in 0..STEPS {
            let mut added = Vec::new();
            for record in records {
                let is_by =
                    |old: &&TrustedKey| old.roles.has_all(record.roles) && record.is_by(&old.key);
                // What is known already is not verified again.
                if self.trusts(record.new.id(), record.roles)
                    || !self.keys.iter().any(|old| is_by(&old))
                {
                    continue;
                }
                added.push(TrustedKey {
                    key: record.new,
                    roles: record.roles,
                });
            }
            if added.is_empty() {
                break;
            }
            self.keys.extend(added);
        }
        self
    }

    fn trusts(&self, id: KeyId, roles: Roles) -> bool {
        let mut keys = self.keys.iter();
        keys.any(|trusted| trusted.key.id() == id && trusted.roles.has_all(roles))
    }

    /// Whether a manifest counts that nobody trusted has signed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match self.mode {
            Mode::Require => false,
            Mode::Prefer => self.keys.is_empty(),
            Mode::Open => true,
        }
    }

    /// Whether the manifest with this root counts, which is asked before anything of it is believed (3.8).
    ///
    /// # Errors
    /// It does not. A wrong signature in the name of a trusted key never counts.
    pub fn check(
        &self,
        root: &Root,
        signature: Option<&Signature>,
    ) -> Result<Authenticity, TrustError> {
        let mut named = None;
        if let Some(signature) = signature {
            named = Some(signature.key);
            let keys = self.keys.iter();
            let mut keys = keys.filter(|trusted| trusted.key.id() == signature.key);
            if let Some(trusted) = keys.find(|trusted| trusted.roles.has(Role::Image)) {
                return match signature.is_by(&trusted.key, root) {
                    true => Ok(Authenticity::Signed(signature.key)),
                    false => Err(TrustError::Wrong { by: signature.key }),
                };
            }
        }
        if self.is_open() {
            return Ok(Authenticity::NotAuthenticated(named));
        }
        let keys = self.keys.iter();
        let keys = keys.filter(|trusted| trusted.roles.has(Role::Image));
        Err(TrustError::Untrusted {
            by: named,
            trusted: keys.map(|trusted| trusted.key.id()).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn trusted(seed: u8, roles: Roles) -> TrustedKey {
        TrustedKey {
            key: *key(seed).public(),
            roles,
        }
    }

    fn signed(seed: u8) -> (Root, Signature) {
        let root = Root::of(b"manifest");
        (root, Signature::sign(&root, &key(seed)))
    }

    /// 3.8, 4.3: each mode, with and without keys, against each kind of signature.
    #[test]
    fn what_counts_is_what_the_mode_says() {
        let (root, mine) = signed(1);
        let (_, other) = signed(2);
        let wrong = Signature {
            signature: other.signature,
            ..mine
        };
        let by = |signature: &Signature| Some(signature.key);
        for (mode, keys, is_open) in [
            (Mode::Require, true, false),
            (Mode::Require, false, false),
            (Mode::Prefer, true, false),
            (Mode::Prefer, false, true),
            (Mode::Open, true, true),
            (Mode::Open, false, true),
        ] {
            let keys = if keys {
                vec![trusted(1, Roles::ALL)]
            } else {
                vec![]
            };
            let has_key = !keys.is_empty();
            let trust = Trust::new(mode, keys);
            assert_eq!(trust.is_open(), is_open, "{trust:?}");
            let open = |by| match is_open {
                true => Ok(Authenticity::NotAuthenticated(by)),
                false => Err(TrustError::Untrusted {
                    by,
                    trusted: has_key.then_some(mine.key).into_iter().collect(),
                }),
            };
            assert_eq!(trust.check(&root, None), open(None));
            assert_eq!(trust.check(&root, Some(&other)), open(by(&other)));
            let found = trust.check(&root, Some(&mine));
            let found_wrong = trust.check(&root, Some(&wrong));
            if has_key {
                assert_eq!(found, Ok(Authenticity::Signed(mine.key)));
                assert_eq!(found_wrong, Err(TrustError::Wrong { by: mine.key }));
            } else {
                assert_eq!(found, open(by(&mine)));
                assert_eq!(found_wrong, open(by(&mine)));
            }
        }
    }

    /// 4.1: a server's key that may not sign images does not.
    #[test]
    fn a_key_counts_for_its_roles_only() {
        let (root, signature) = signed(1);
        let trust = Trust::new(Mode::Prefer, vec![trusted(1, Roles::SERVER)]);
        let error = trust.check(&root, Some(&signature)).unwrap_err();
        let untrusted = TrustError::Untrusted {
            by: Some(signature.key),
            trusted: vec![],
        };
        assert_eq!(error, untrusted);
        let text = error.to_string();
        assert!(text.contains(&signature.key.to_string()), "{text}");
        assert!(text.contains("trusted: no key"), "{text}");
    }

    /// 4.2: at most four steps, from whatever end the records come.
    #[test]
    fn keys_are_followed_four_steps() {
        let chain = |last: u8| -> Vec<Succession> {
            (1..last)
                .map(|old| Succession::sign(&key(old), key(old + 1).public(), Roles::IMAGE))
                .rev()
                .collect()
        };
        let trust = || Trust::new(Mode::Require, vec![trusted(1, Roles::ALL)]);
        for (last, counts) in [(2, true), (5, true), (6, false)] {
            let (root, signature) = signed(last);
            let found = trust()
                .followed(&chain(last))
                .check(&root, Some(&signature));
            assert_eq!(found.is_ok(), counts, "{last}");
        }
    }

    /// 4.2: records of others, and of roles that a key does not have itself, change nothing.
    #[test]
    fn a_key_passes_on_only_what_it_may_do() {
        let (root, signature) = signed(3);
        let server = Trust::new(Mode::Require, vec![trusted(1, Roles::SERVER)]);
        for record in [
            Succession::sign(&key(1), key(3).public(), Roles::IMAGE),
            Succession::sign(&key(1), key(3).public(), Roles::ALL),
            Succession::sign(&key(2), key(3).public(), Roles::IMAGE),
        ] {
            let trust = server.clone().followed(&[record]);
            assert!(trust.check(&root, Some(&signature)).is_err());
            assert_eq!(trust.keys.len(), 1);
        }
    }

    #[test]
    fn a_mode_is_a_word() {
        assert_eq!("require\n".parse(), Ok(Mode::Require));
        assert_eq!("open".parse(), Ok(Mode::Open));
        assert_eq!("prefer".parse(), Ok(Mode::default()));
        assert_eq!("".parse::<Mode>(), Err(UnknownMode));
    }
}
