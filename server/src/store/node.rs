//! This server among those that have the same database.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Context as _;

use crate::domain::SessionId;
use crate::domain::node::{Fence, NodeName, Seen, Shown, Sightings};
use crate::private;

/// This server.
#[derive(Debug)]
pub(crate) struct Node {
    name: String,
    holder: String,
    run: String,
    shown: Mutex<Shown>,
    claims: Mutex<BTreeMap<SessionId, Fence>>,
    sightings: Mutex<Sightings>,
}

/// A claim of this server's that must still be in the database when something is stored by it.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(in crate::store) holder: String,
    pub(in crate::store) fence: Fence,
}

impl Node {
    /// The server that has this data directory: started again it has its claims at once.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub(in crate::store) fn load(data: &Path, name: &NodeName) -> anyhow::Result<Self> {
        let path = data.join(FILE);
        let holder = match std::fs::read_to_string(&path) {
            Ok(text) if is_number(text.trim()) => text.trim().to_owned(),
            Ok(_) => make(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => make(&path)?,
            Err(error) => {
                return Err(error).with_context(|| format!("reading {}", path.display()));
            }
        };
        Self::new(name, holder)
    }

    /// One that no other server is, and that is not the same next time.
    ///
    /// # Errors
    /// If there is no chance.
    #[cfg(test)]
    pub(in crate::store) fn passing(name: &NodeName) -> anyhow::Result<Self> {
        Self::new(name, number()?)
    }

    fn new(name: &NodeName, holder: String) -> anyhow::Result<Self> {
        Ok(Self {
            name: name.to_string(),
            holder,
            run: number()?,
            shown: Mutex::default(),
            claims: Mutex::default(),
            sightings: Mutex::default(),
        })
    }

    pub(in crate::store) fn name(&self) -> &str {
        &self.name
    }

    /// The same at each start.
    pub(in crate::store) fn holder(&self) -> &str {
        &self.holder
    }

    /// Another one at each start.
    pub(in crate::store) fn run(&self) -> &str {
        &self.run
    }

    /// How it shows itself; empty as long as it runs no sessions.
    pub(in crate::store) fn shown(&self) -> Shown {
        lock(&self.shown).clone()
    }

    pub(in crate::store) fn show(&self, shown: Shown) {
        *lock(&self.shown) = shown;
    }

    /// From now on what is stored of a session has to be stored by this claim.
    pub(in crate::store) fn claimed(&self, session: SessionId, fence: Fence) {
        lock(&self.claims).insert(session, fence);
    }

    pub(in crate::store) fn released(&self, session: SessionId, fence: Fence) {
        let mut claims = lock(&self.claims);
        if claims.get(&session) == Some(&fence) {
            claims.remove(&session);
        }
    }

    /// The claim by which something of a session is stored; `None` if this server does not run it.
    pub(in crate::store) fn held(&self, session: SessionId) -> Option<Held> {
        let fence = *lock(&self.claims).get(&session)?;
        Some(Held {
            holder: self.holder.clone(),
            fence,
        })
    }

    /// The claims of active sessions were seen like this; answers those that are over.
    pub(in crate::store) fn see(
        &self,
        now: Instant,
        claims: &[(SessionId, Seen)],
    ) -> Vec<(SessionId, Seen)> {
        lock(&self.sightings).see(now, claims)
    }

    /// The sessions that it runs.
    pub(in crate::store) fn sessions(&self) -> Vec<SessionId> {
        lock(&self.claims).keys().copied().collect()
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole at any time.
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

fn make(path: &Path) -> anyhow::Result<String> {
    let holder = number()?;
    let write = || {
        if let Some(data) = path.parent() {
            private::create_dir(data)?;
        }
        let new = path.with_extension("new");
        std::fs::write(&new, format!("{holder}\n"))?;
        std::fs::rename(&new, path)
    };
    write().with_context(|| format!("writing {}", path.display()))?;
    Ok(holder)
}

fn number() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("drawing a random number")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn is_number(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// In the data directory: by it a server has its claims again after a restart. A copy of it is another server.
const FILE: &str = "node-id";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_is_the_same_server_at_each_start_and_another_run() {
        let dir = tempfile::tempdir().unwrap();
        let load = || Node::load(&dir.path().join("data"), &NodeName::default()).unwrap();
        let (first, again) = (load(), load());
        assert_eq!(first.holder(), again.holder());
        assert_ne!(first.run(), again.run());
        std::fs::write(dir.path().join("data").join(FILE), "x").unwrap();
        assert_ne!(load().holder(), first.holder());
    }

    #[test]
    fn only_the_claim_that_is_held_is_given_back() {
        let node = Node::passing(&NodeName::default()).unwrap();
        let session = SessionId(1);
        assert!(node.held(session).is_none());
        node.claimed(session, Fence(2));
        node.released(session, Fence(1));
        assert_eq!(node.held(session).unwrap().fence, Fence(2));
        assert_eq!(node.sessions(), [session]);
        node.released(session, Fence(2));
        assert!(node.held(session).is_none());
    }
}
