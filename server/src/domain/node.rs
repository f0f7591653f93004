//! Several servers with one database: who runs which session, and for how long that is sure.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::SessionId;

/// What people call a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeName(String);

/// Why a text is no name of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a name of 1 to {MAX_NAME} letters, digits, '-', '_' and '.'")]
pub struct BadNodeName;

impl FromStr for NodeName {
    type Err = BadNodeName;

    fn from_str(text: &str) -> Result<Self, BadNodeName> {
        let is_good = |found: char| found.is_ascii_alphanumeric() || "-_.".contains(found);
        match (1..=MAX_NAME).contains(&text.len()) && text.chars().all(is_good) {
            true => Ok(Self(text.to_owned())),
            false => Err(BadNodeName),
        }
    }
}

impl Default for NodeName {
    fn default() -> Self {
        Self("fos-server".to_owned())
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Characters of a name.
const MAX_NAME: usize = 64;

/// Grows with each claim of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence(pub i64);

/// Another server with the same database.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Name.
    pub name: String,
    /// Where boot loaders reach it, ending with `/`; empty where that is not known.
    pub url: String,
    /// Where clients that run reach it, by HTTPS if they are led there.
    #[serde(default)]
    pub client_url: String,
    /// SHA-256 of the key by which they know it, in hexadecimal digits; empty without HTTPS for clients.
    #[serde(default)]
    pub key: String,
}

/// How a server shows itself to the others. What is not known is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// See [`Server::url`].
    pub url: String,
    /// See [`Server::client_url`].
    pub client_url: String,
    /// See [`Server::key`].
    pub key: String,
    /// Where other servers reach it.
    pub peer: String,
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// The session is this server's: as long as its lease lasts, or for good where no other server can have it.
    Ours(Option<Fence>),
    /// Another one has it.
    Theirs(Server),
}

/// A claim of another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherClaim {
    /// Whose.
    pub server: Server,
    /// Whether its lease is not over.
    pub lasts: bool,
}

/// The claims of a server as they were renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// For how long.
    pub lease: Duration,
    /// Those that are still its own.
    pub held: Vec<(SessionId, Fence)>,
    /// Other servers that were seen a moment ago.
    pub others: u32,
}

/// Why an active session does not run on this server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotHere {
    /// Another server runs it.
    OtherServer(Server),
    /// This server may not.
    Held {
        /// Why.
        text: String,
    },
}

/// A claim lasts so long after it was made or renewed, while there are other servers.
pub const LEASE: Duration = Duration::from_secs(15);

/// The same while there are none: nobody waits for it, and a restart of the database interrupts nothing.
pub const LEASE_ALONE: Duration = Duration::from_secs(120);

/// The same where the database is a cluster: it stores nothing until it has found out that one of its nodes is gone,
/// which takes 5 to 15 s, and that shall interrupt nothing.
pub const LEASE_CLUSTER: Duration = Duration::from_secs(30);

/// Between two renewals.
pub const RENEW: Duration = Duration::from_secs(3);

/// So long before its claim ends a server stops: for a clock that is slow, and what is still on its way.
pub const MARGIN: Duration = Duration::from_secs(5);

/// Servers with one database that can be told apart in the numbers that they give.
pub const MAX_NODES: i64 = 1024;

/// The claims of this server, by its own clock.
#[derive(Debug, Default)]
pub struct Leases(BTreeMap<SessionId, Lease>);

#[derive(Debug)]
struct Lease {
    fence: Fence,
    /// When it was asked for.
    since: Instant,
    /// When it is not sure any more.
    until: Instant,
}

impl Leases {
    /// A claim was made that was asked for at this time.
    pub fn claimed(&mut self, asked: Instant, session: SessionId, fence: Fence) {
        let lease = Lease {
            fence,
            since: asked,
            until: asked + (LEASE - MARGIN),
        };
        self.0.insert(session, lease);
    }

    /// What was asked for at this time was renewed. A claim from before that was not is lost.
    pub fn renewed(&mut self, asked: Instant, renewal: &Renewal) {
        let until = asked + renewal.lease.saturating_sub(MARGIN);
        for (session, lease) in &mut self.0 {
            if renewal.held.contains(&(*session, lease.fence)) {
                lease.until = until;
            } else if lease.since < asked {
                lease.until = lease.since;
            }
        }
    }

    /// No claim is sure any more.
    pub fn lose_all(&mut self) {
        for lease in self.0.values_mut() {
            lease.until = lease.since;
        }
    }

    /// A claim is given back.
    pub fn released(&mut self, session: SessionId, fence: Fence) {
        if self
            .0
            .get(&session)
            .is_some_and(|lease| lease.fence == fence)
        {
            self.0.remove(&session);
        }
    }

    /// Whether a session is sure to be this server's.
    #[must_use]
    pub fn has(&self, now: Instant, session: SessionId, fence: Fence) -> bool {
        let lease = self.0.get(&session);
        lease.is_some_and(|lease| lease.fence == fence && now < lease.until)
    }
}

/// A claim as it was seen: each renewal is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its number.
    pub fence: Fence,
    /// The end of its lease by some clock; 0 if it was given back.
    pub lease_end: i64,
}

/// Since when the claims of active sessions were seen as they are, by the clock of this server. Where no clock is the
/// same for all servers, a lease is over that was not renewed for as long as it lasts: whoever holds it counts from when it
/// asked, which was earlier.
#[derive(Debug, Default)]
pub struct Sightings(BTreeMap<SessionId, (Seen, Instant)>);

impl Sightings {
    /// These are all claims of active sessions, as they are now; answers those that are over.
    pub fn see(&mut self, now: Instant, claims: &[(SessionId, Seen)]) -> Vec<(SessionId, Seen)> {
        let former = std::mem::take(&mut self.0);
        let since = |session: &SessionId, seen: &Seen| match former.get(session) {
            Some((same, since)) if same == seen => *since,
            _ => now,
        };
        self.0 = claims
            .iter()
            .map(|(session, seen)| (*session, (*seen, since(session, seen))))
            .collect();
        let is_over = |(seen, since): &(Seen, Instant)| {
            seen.lease_end == 0 || now.saturating_duration_since(*since) >= LEASE_CLUSTER
        };
        let over = self.0.iter().filter(|(_, sighting)| is_over(sighting));
        over.map(|(session, (seen, _))| (*session, *seen)).collect()
    }
}

/// Which servers are gone. Each shows itself by changing a number, and only looks at the numbers count: no clock is the
/// same everywhere, and while nothing can be stored nobody can show itself.
#[derive(Debug, Default)]
pub struct Presence(BTreeMap<String, (i64, u32)>);

impl Presence {
    /// These are the numbers of all servers, by what names them, as they are now.
    pub fn look(&mut self, shown: &BTreeMap<String, i64>) {
        let former = std::mem::take(&mut self.0);
        let looks = |holder: &String, number: i64| match former.get(holder) {
            Some((same, looks)) if *same == number => looks.saturating_add(1),
            _ => 0,
        };
        self.0 = shown
            .iter()
            .map(|(holder, number)| (holder.clone(), (*number, looks(holder, *number))))
            .collect();
    }

    /// Whether a server has not shown itself for so many looks, or is not known any more.
    #[must_use]
    pub fn is_gone(&self, holder: &str) -> bool {
        let found = self.0.get(holder);
        found.is_none_or(|(_, looks)| *looks >= GONE_LOOKS)
    }
}

/// Looks without a sign of a server after which it is gone. With those of the queue, 5 s apart, 30 s, as long as the longest
/// lease while there are several servers.
const GONE_LOOKS: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId(1);

    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do; only differences count"
    )]
    fn begin() -> Instant {
        Instant::now()
    }

    fn renewal(held: &[(SessionId, Fence)], lease: Duration) -> Renewal {
        Renewal {
            lease,
            held: held.to_vec(),
            others: 1,
        }
    }

    #[test]
    fn a_claim_is_sure_until_shortly_before_its_lease_ends_counted_from_the_question() {
        let begin = begin();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut leases = Leases::default();
        let is_held = |leases: &Leases, seconds| leases.has(at(seconds), SESSION, Fence(1));
        assert!(!is_held(&leases, 0));
        leases.claimed(at(0), SESSION, Fence(1));
        assert!(is_held(&leases, 9));
        assert!(!is_held(&leases, 10));
        leases.renewed(at(6), &renewal(&[(SESSION, Fence(1))], LEASE));
        assert!(is_held(&leases, 15));
        assert!(!is_held(&leases, 16));
        leases.renewed(at(9), &renewal(&[(SESSION, Fence(1))], LEASE_ALONE));
        assert!(is_held(&leases, 123));
        // Another server has come.
        leases.renewed(at(12), &renewal(&[(SESSION, Fence(1))], LEASE));
        assert!(!is_held(&leases, 22));
        leases.released(SESSION, Fence(2));
        assert!(is_held(&leases, 21));
        leases.released(SESSION, Fence(1));
        assert!(!is_held(&leases, 21));
    }

    #[test]
    fn a_claim_that_another_server_has_is_lost_at_once() {
        let begin = begin();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut leases = Leases::default();
        leases.claimed(at(0), SESSION, Fence(1));
        leases.renewed(at(3), &renewal(&[(SESSION, Fence(2))], LEASE));
        assert!(!leases.has(at(3), SESSION, Fence(1)));
        assert!(!leases.has(at(3), SESSION, Fence(2)));
        // One that was made while the renewal was on its way is not.
        leases.claimed(at(5), SESSION, Fence(3));
        leases.renewed(at(4), &renewal(&[], LEASE));
        assert!(leases.has(at(6), SESSION, Fence(3)));
    }

    #[test]
    fn a_claim_is_over_that_was_not_renewed_for_as_long_as_a_lease_lasts_whatever_clocks_say() {
        let begin = begin();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut sightings = Sightings::default();
        let seen = |fence, lease_end| {
            let fence = Fence(fence);
            (SESSION, Seen { fence, lease_end })
        };
        assert_eq!(sightings.see(at(0), &[seen(1, 5)]), []);
        assert_eq!(sightings.see(at(29), &[seen(1, 5)]), []);
        // Renewed, by a clock that was put back.
        assert_eq!(sightings.see(at(30), &[seen(1, 4)]), []);
        assert_eq!(sightings.see(at(59), &[seen(1, 4)]), []);
        assert_eq!(sightings.see(at(60), &[seen(1, 4)]), [seen(1, 4)]);
        // Another server was faster.
        assert_eq!(sightings.see(at(61), &[seen(2, 4)]), []);
        assert_eq!(sightings.see(at(62), &[seen(2, 0)]), [seen(2, 0)]);
        // What was forgotten begins anew.
        assert_eq!(sightings.see(at(63), &[]), []);
        assert_eq!(sightings.see(at(99), &[seen(2, 7)]), []);
    }

    #[test]
    fn a_server_is_gone_that_shows_itself_in_none_of_several_looks() {
        let shown = |number| BTreeMap::from([("a".to_owned(), number), ("b".to_owned(), 1)]);
        let mut presence = Presence::default();
        for number in 0..=i64::from(GONE_LOOKS) {
            assert!(!presence.is_gone("b") || number == 0);
            presence.look(&shown(number));
        }
        assert!(!presence.is_gone("a"));
        assert!(presence.is_gone("b"));
        assert!(presence.is_gone("c"));
        // By a clock that was put back.
        presence.look(&BTreeMap::from([("b".to_owned(), 0)]));
        assert!(!presence.is_gone("b"));
        assert!(presence.is_gone("a"));
    }

    #[test]
    fn names_are_short_words() {
        for good in ["a", "server-1.school_b", &"x".repeat(64)] {
            assert_eq!(good.parse::<NodeName>().unwrap().to_string(), *good);
        }
        for bad in ["", "a b", "a\n", "ä", &"x".repeat(65)] {
            assert_eq!(bad.parse::<NodeName>(), Err(BadNodeName), "{bad:?}");
        }
    }
}
