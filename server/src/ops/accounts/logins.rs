//! Who is logged in: kept in memory, so a restart of the server logs everybody out.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use blake3::Hash;

use crate::domain::account::{AccountName, StoredSecret};

/// Logins, some 300 bytes each.
#[derive(Debug, Default)]
pub(super) struct Logins {
    /// By the hash of what the browser sends.
    logins: HashMap<Hash, Login>,
}

#[derive(Debug, Clone)]
struct Login {
    user: AccountName,
    /// What was stored of the password then: with another password everybody logs in anew.
    secret: StoredSecret,
    used: Instant,
    since: Instant,
}

/// Unused for as long, and it is over.
const IDLE: Duration = Duration::from_secs(8 * 3600);

/// It is over in any case.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Logins in all, and of one user: the one that was used least goes.
const MOST: usize = 1000;
const MOST_EACH: usize = 20;

impl Logins {
    pub(super) fn add(&mut self, now: Instant, key: Hash, user: AccountName, secret: StoredSecret) {
        self.logins.retain(|_, login| login.is_valid(now));
        let own = |login: &Login| login.user == user;
        if self.logins.values().filter(|login| own(login)).count() >= MOST_EACH {
            self.drop_least_used(own);
        }
        if self.logins.len() >= MOST {
            self.drop_least_used(|_| true);
        }
        let login = Login {
            user,
            secret,
            used: now,
            since: now,
        };
        self.logins.insert(key, login);
    }

    /// Whose login this is, and what was stored of the password then. Somebody uses it.
    pub(super) fn user(&mut self, now: Instant, key: &Hash) -> Option<(AccountName, StoredSecret)> {
        let found = self.watching(now, key)?;
        if let Some(login) = self.logins.get_mut(key) {
            login.used = now;
        }
        Some(found)
    }

    /// The same for a page that is open, whether or not somebody sits before it.
    pub(super) fn watching(
        &mut self,
        now: Instant,
        key: &Hash,
    ) -> Option<(AccountName, StoredSecret)> {
        let login = self.logins.get(key)?;
        if !login.is_valid(now) {
            self.logins.remove(key);
            return None;
        }
        Some((login.user.clone(), login.secret.clone()))
    }

    pub(super) fn remove(&mut self, key: &Hash) {
        self.logins.remove(key);
    }

    fn drop_least_used(&mut self, of: impl Fn(&Login) -> bool) {
        let all = self.logins.iter().filter(|(_, login)| of(login));
        let oldest = all.min_by_key(|(_, login)| login.used).map(|(key, _)| *key);
        if let Some(oldest) = oldest {
            self.logins.remove(&oldest);
        }
    }
}

impl Login {
    fn is_valid(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.used) < IDLE
            && now.saturating_duration_since(self.since) < LONGEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Hash {
        blake3::hash(&number.to_be_bytes())
    }

    fn user(name: &str) -> AccountName {
        name.parse().unwrap()
    }

    fn secret() -> StoredSecret {
        StoredSecret("x".into())
    }

    #[test]
    fn a_login_ends_by_itself() {
        let mut logins = Logins::default();
        let start = Instant::now();
        logins.add(start, key(1), user("a"), secret());
        assert_eq!(logins.user(start, &key(1)), Some((user("a"), secret())));
        assert_eq!(logins.user(start, &key(2)), None);
        let mut now = start;
        // In use it lasts for a day.
        while now.duration_since(start) + IDLE / 2 < LONGEST {
            now += IDLE / 2;
            assert!(logins.user(now, &key(1)).is_some());
        }
        assert_eq!(logins.user(start + LONGEST, &key(1)), None);
        logins.add(start, key(3), user("a"), secret());
        assert_eq!(logins.user(start + IDLE, &key(3)), None);
        // An open page is no use of it.
        logins.add(start, key(3), user("a"), secret());
        assert!(logins.watching(start + IDLE / 2, &key(3)).is_some());
        assert_eq!(logins.watching(start + IDLE, &key(3)), None);
        logins.add(start, key(4), user("a"), secret());
        logins.remove(&key(4));
        assert_eq!(logins.user(start, &key(4)), None);
    }

    #[test]
    fn logins_are_bounded_in_all_and_for_each_user() {
        let mut logins = Logins::default();
        let start = Instant::now();
        logins.add(start, key(0), user("b"), secret());
        for number in 1..100 {
            let now = start + Duration::from_secs(number.into());
            logins.add(now, key(number), user("a"), secret());
        }
        assert_eq!(logins.logins.len(), MOST_EACH + 1);
        assert!(logins.user(start, &key(0)).is_some() && logins.user(start, &key(99)).is_some());
        for number in 100..3000 {
            logins.add(start, key(number), user(&format!("u{number}")), secret());
        }
        assert_eq!(logins.logins.len(), MOST);
    }
}
