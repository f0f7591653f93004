//! Which program a machine runs.

/// What a machine runs that restores its disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Client {
    /// Whose it is.
    pub kind: ClientKind,
    /// What it calls itself, for people; FOG's clients do not.
    pub name: String,
}

/// Whose program it is: what it can do depends on that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientKind {
    /// FOG's, or one like it.
    #[default]
    Stock,
    /// One of our agents, which can begin a stream again.
    Agent,
}

impl Client {
    /// Whether it is one of our agents.
    #[must_use]
    pub fn is_agent(&self) -> bool {
        self.kind == ClientKind::Agent
    }
}

/// As it calls itself at its check-in.
impl From<&str> for Client {
    fn from(name: &str) -> Self {
        let kind = match name.starts_with("fos-agent/") {
            true => ClientKind::Agent,
            false => ClientKind::Stock,
        };
        Self {
            kind,
            name: name.to_owned(),
        }
    }
}
