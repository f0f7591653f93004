//! What was asked of the server, what it promised, and whether what it says later agrees.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use serde_json::Value;

/// Something that the server was asked for, and may have promised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    AddHost {
        name: String,
    },
    RemoveHost {
        name: String,
    },
    AddImage {
        name: String,
    },
    RemoveImage {
        name: String,
    },
    /// The number is known with the answer.
    Deploy {
        hosts: Vec<String>,
        session: i64,
    },
    Cancel {
        session: i64,
    },
    /// One host is taken out.
    Drop {
        session: i64,
        host: String,
    },
    /// `##@GO`.
    Go {
        session: i64,
        host: String,
        address: String,
    },
    /// `##` for a report of the end.
    Complete {
        session: i64,
        host: String,
    },
    /// `##` for an error.
    Fail {
        session: i64,
        host: String,
        text: String,
    },
    /// `##` for a warning.
    Warn {
        session: i64,
        text: String,
    },
    Inventory {
        host: String,
        serial: String,
    },
    /// A boot script; the ticket is known with the answer.
    Boot {
        host: String,
        ticket: String,
    },
}

/// A deed and what was answered.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) deed: Deed,
    /// It may have been done without a promise.
    pub(crate) is_promised: bool,
    /// Seconds since 1970 when the answer was there.
    pub(crate) at: f64,
}

/// All deeds in the order in which they were begun.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: Mutex<Vec<Entry>>,
    violations: Mutex<Vec<String>>,
    refused: AtomicU64,
}

/// What the server says after all.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Of `status`.
    pub(crate) sessions: BTreeMap<i64, Value>,
    /// Texts of their events.
    pub(crate) events: BTreeMap<i64, Vec<String>>,
    pub(crate) hosts: BTreeSet<String>,
    pub(crate) images: BTreeSet<String>,
    /// Serial numbers by host.
    pub(crate) inventory: BTreeMap<String, String>,
    /// Hosts and tickets.
    pub(crate) tickets: BTreeSet<(String, String)>,
}

impl Ledger {
    /// Notes that something is about to be asked; its number, from 1.
    pub(crate) fn begin(&self, deed: Deed) -> u64 {
        let mut entries = self.lock();
        entries.push(Entry {
            deed,
            is_promised: false,
            at: f64::INFINITY,
        });
        entries.len() as u64
    }

    /// Notes that it was promised; the deed may say more now.
    pub(crate) fn promised(&self, number: u64, complete: impl FnOnce(&mut Deed)) {
        let mut entries = self.lock();
        let entry = &mut entries[usize::try_from(number).unwrap() - 1];
        complete(&mut entry.deed);
        entry.is_promised = true;
        entry.at = now();
    }

    /// Notes what must not be, seen by a client.
    pub(crate) fn violated(&self, text: String) {
        self.violations.lock().unwrap().push(text);
    }

    /// Notes that a machine was told to ask again (503).
    pub(crate) fn asked_again(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// How often that was.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    pub(crate) fn promises(&self) -> usize {
        let entries = self.lock();
        entries.iter().filter(|entry| entry.is_promised).count()
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap()
    }
}

/// Sessions that entries speak of: the newest `limit` of those that were promised.
pub(crate) fn sessions(entries: &[Entry], limit: usize) -> Vec<i64> {
    let promised = entries.iter().filter(|entry| entry.is_promised);
    let numbers: BTreeSet<i64> = promised
        .filter_map(|entry| match &entry.deed {
            Deed::Deploy { session, .. }
            | Deed::Cancel { session }
            | Deed::Drop { session, .. }
            | Deed::Go { session, .. }
            | Deed::Complete { session, .. }
            | Deed::Fail { session, .. }
            | Deed::Warn { session, .. } => Some(*session),
            _ => None,
        })
        .collect();
    numbers.into_iter().rev().take(limit).collect()
}

/// Promises that what is seen does not keep. Sessions that were not looked at are passed over.
pub(crate) fn broken(entries: &[Entry], looked_at: &[i64], seen: &Seen) -> Vec<String> {
    let mut broken = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        if !entry.is_promised {
            continue;
        }
        let after = &entries[index + 1..];
        if let Err(found) = kept(&entry.deed, entries, after, looked_at, seen) {
            broken.push(format!("{:?} was promised, but {found}", entry.deed));
        }
    }
    broken
}

fn kept(
    deed: &Deed,
    all: &[Entry],
    after: &[Entry],
    looked_at: &[i64],
    seen: &Seen,
) -> Result<(), String> {
    let was_tried = |wanted: &Deed| all.iter().any(|entry| entry.deed == *wanted);
    let is_cancelled = |session: i64, host: &str| {
        let host = host.to_owned();
        was_tried(&Deed::Cancel { session }) || was_tried(&Deed::Drop { session, host })
    };
    match deed {
        Deed::AddHost { name } => {
            let name = name.clone();
            let is_there = seen.hosts.contains(&name) || was_tried(&Deed::RemoveHost { name });
            is_true(is_there, "it is not there")
        }
        Deed::RemoveHost { name } => is_true(!seen.hosts.contains(name), "it is there"),
        Deed::AddImage { name } => {
            let name = name.clone();
            let is_there = seen.images.contains(&name) || was_tried(&Deed::RemoveImage { name });
            is_true(is_there, "it is not there")
        }
        Deed::RemoveImage { name } => is_true(!seen.images.contains(name), "it is there"),
        Deed::Inventory { host, serial } => {
            let is_last = !after
                .iter()
                .any(|later| matches!(&later.deed, Deed::Inventory { host: of, .. } if of == host));
            let found = seen.inventory.get(host);
            is_true(
                !is_last || found == Some(serial),
                &format!("{found:?} is there"),
            )
        }
        Deed::Boot { host, ticket } => {
            let is_last = !after
                .iter()
                .any(|later| matches!(&later.deed, Deed::Boot { host: of, .. } if of == host));
            // No ticket: there was no job.
            let is_known = ticket.is_empty() || {
                let found = (host.clone(), ticket.clone());
                seen.tickets.contains(&found)
            };
            is_true(!is_last || is_known, "the ticket is not known")
        }
        Deed::Deploy { session, .. }
        | Deed::Cancel { session }
        | Deed::Drop { session, .. }
        | Deed::Go { session, .. }
        | Deed::Complete { session, .. }
        | Deed::Fail { session, .. }
        | Deed::Warn { session, .. }
            if !looked_at.contains(session) =>
        {
            Ok(())
        }
        Deed::Deploy { session, hosts } => {
            let found = members(&seen.sessions, *session);
            let found: BTreeSet<&str> = found.keys().copied().collect();
            let wanted: BTreeSet<&str> = hosts.iter().map(String::as_str).collect();
            is_true(found == wanted, &format!("its hosts are {found:?}"))
        }
        Deed::Cancel { session } => {
            let state = seen.sessions.get(session).map(|found| &found["state"]);
            let is_so = state.is_some_and(|state| state == "cancelled");
            is_true(is_so, &format!("it is {state:?}"))
        }
        Deed::Drop { session, host } => is_in(seen, *session, host, &["cancelled"], ""),
        Deed::Go {
            session,
            host,
            address,
        } => {
            let found = members(&seen.sessions, *session);
            let found = found.get(host.as_str()).map(|member| &member["ip"]);
            let is_so = found.is_some_and(|ip| ip == address);
            is_true(is_so, &format!("it checked in from {found:?}"))
        }
        Deed::Complete { session, host } => {
            let has_failed = all.iter().any(|entry| {
                matches!(&entry.deed, Deed::Fail { session: of, host: who, .. }
                    if of == session && who == host)
            });
            match has_failed {
                true => is_in(seen, *session, host, &["complete", "failed"], ""),
                false => is_in(seen, *session, host, &["complete"], ""),
            }
        }
        Deed::Fail {
            session,
            host,
            text,
        } => match is_cancelled(*session, host) {
            true => is_in(seen, *session, host, &["failed", "cancelled"], ""),
            false => is_in(seen, *session, host, &["failed"], text),
        },
        Deed::Warn { session, text } => {
            let events = seen.events.get(session);
            let is_there = events.is_some_and(|all| all.iter().any(|line| line.contains(text)));
            is_true(is_there, "no event says so")
        }
    }
}

/// Whether a host's part has one of these states, and its reason these words.
fn is_in(
    seen: &Seen,
    session: i64,
    host: &str,
    states: &[&str],
    words: &str,
) -> Result<(), String> {
    let found = members(&seen.sessions, session);
    let Some(member) = found.get(host) else {
        return Err("the host is not in the session".into());
    };
    let state = member["state"].as_str().unwrap_or_default();
    let text = member["text"].as_str().unwrap_or_default();
    let is_so = states.contains(&state) && text.contains(words);
    is_true(is_so, &format!("it is {state}: {text}"))
}

fn members(sessions: &BTreeMap<i64, Value>, session: i64) -> BTreeMap<&str, &Value> {
    let hosts = sessions
        .get(&session)
        .and_then(|found| found["hosts"].as_array());
    let hosts = hosts.into_iter().flatten();
    hosts
        .filter_map(|member| Some((member["name"].as_str()?, member)))
        .collect()
}

fn is_true(is_so: bool, else_text: &str) -> Result<(), String> {
    match is_so {
        true => Ok(()),
        false => Err(else_text.to_owned()),
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}
