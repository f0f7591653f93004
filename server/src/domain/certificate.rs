//! What the server's certificate says, and what is wrong with it.

use super::Timestamp;

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// It is not valid earlier.
    pub not_before: Timestamp,
    /// It is not valid later.
    pub not_after: Timestamp,
    /// Names and addresses that it is for.
    pub names: Vec<String>,
    /// Names and addresses of the server that it is not for.
    pub missing: Vec<String>,
}

/// What is wrong with a certificate that can be used all the same: browsers warn of it, and agents with an authority
/// in their boot image refuse it. Agents with a pinned key do not mind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Worry {
    /// It is not valid yet.
    Early {
        /// From when on it is.
        not_before: Timestamp,
    },
    /// It is not valid any more.
    Expired {
        /// Until when it was.
        not_after: Timestamp,
    },
    /// It will not be valid much longer.
    EndsSoon {
        /// Until when it is.
        not_after: Timestamp,
    },
    /// It is for other names than those of the server.
    Names {
        /// Those that it is for.
        names: Vec<String>,
        /// Those of the server.
        missing: Vec<String>,
    },
}

impl Certificate {
    /// The worst that is wrong with it.
    #[must_use]
    pub fn worry(&self, now: Timestamp) -> Option<Worry> {
        let Self {
            not_before,
            not_after,
            ..
        } = *self;
        if now < not_before {
            return Some(Worry::Early { not_before });
        }
        if now > not_after {
            return Some(Worry::Expired { not_after });
        }
        if !self.missing.is_empty() {
            return Some(Worry::Names {
                names: self.names.clone(),
                missing: self.missing.clone(),
            });
        }
        let left = not_after.seconds_since(now);
        (left < SOON).then_some(Worry::EndsSoon { not_after })
    }
}

/// Two weeks before its end, in seconds: programs that renew certificates do so a month before.
const SOON: u64 = 14 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_the_worst_first() {
        let day = |day: i64| Timestamp(day * 86_400);
        let good = Certificate {
            not_before: day(100),
            not_after: day(200),
            names: vec!["a".to_owned()],
            missing: Vec::new(),
        };
        let not_after = day(200);
        assert_eq!(good.worry(day(100)), None);
        assert_eq!(good.worry(day(186)), None);
        assert_eq!(good.worry(day(187)), Some(Worry::EndsSoon { not_after }));
        assert_eq!(good.worry(day(200)), Some(Worry::EndsSoon { not_after }));
        assert_eq!(good.worry(day(201)), Some(Worry::Expired { not_after }));
        let early = good.worry(day(99));
        assert_eq!(
            early,
            Some(Worry::Early {
                not_before: day(100)
            })
        );
        let other = Certificate {
            missing: vec!["b".to_owned()],
            ..good
        };
        assert!(matches!(other.worry(day(150)), Some(Worry::Names { .. })));
        assert!(matches!(other.worry(day(199)), Some(Worry::Names { .. })));
        assert!(matches!(other.worry(day(201)), Some(Worry::Expired { .. })));
    }
}
