//! `serve.json`: how the server was started last, for commands that work without it.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::config::{Config, Origin};
use crate::domain::ports::PortPool;
use crate::https::{Https, Identity, Source};
use crate::runfile::write_whole;

/// What of the server's settings matters for a session that is made without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    boot: PathBuf,
    listen: SocketAddr,
    address: Option<Ipv4Addr>,
    interface: Option<String>,
    ports: Option<PortPool>,
    /// Absent where an older version wrote it; these four.
    #[serde(default)]
    port_override: Vec<u16>,
    #[serde(default)]
    max_sessions: Option<u32>,
    #[serde(default)]
    max_wait: Option<Duration>,
    #[serde(default)]
    follow_ups: u32,
    /// Absent where it is in the data directory.
    #[serde(default)]
    log: Option<PathBuf>,
    /// Absent where it is the file in the data directory.
    #[serde(default)]
    stored_in: Option<StoredIn>,
    /// Absent without HTTPS.
    #[serde(default)]
    https: Option<Encrypted>,
}

/// Where HTTPS was served, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Encrypted {
    listen: SocketAddr,
    source: Source,
    names: Vec<String>,
    is_for_clients: bool,
    is_for_people: bool,
}

impl From<&Https> for Encrypted {
    fn from(https: &Https) -> Self {
        Self {
            listen: https.listen,
            source: https.identity.source().clone(),
            names: https.identity.names().to_vec(),
            is_for_clients: https.is_for_clients,
            is_for_people: https.is_for_people,
        }
    }
}

impl From<Encrypted> for Https {
    fn from(https: Encrypted) -> Self {
        Self {
            listen: https.listen,
            is_for_clients: https.is_for_clients,
            is_for_people: https.is_for_people,
            identity: Arc::new(Identity::new(https.source, https.names)),
        }
    }
}

/// Where a database is that is no file in the data directory; its password is not here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredIn {
    /// As it was named: its location, or the path of FOG's configuration.
    pub database: String,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
}

impl Served {
    /// Remembers the settings of a server, and its database.
    ///
    /// # Errors
    /// If the data directory is not writable.
    pub fn write(config: &Config, stored_in: Option<StoredIn>) -> anyhow::Result<()> {
        let served = Self {
            boot: std::path::absolute(&config.boot)?,
            listen: config.listen,
            address: config.address,
            interface: config.interface.clone(),
            ports: config.ports,
            port_override: config.port_override.clone(),
            max_sessions: config.max_sessions,
            max_wait: config.max_wait,
            follow_ups: config.follow_ups,
            log: config.log.as_deref().map(std::path::absolute).transpose()?,
            stored_in,
            https: config.https.as_ref().map(Encrypted::from),
        };
        write_whole(&config.data.join(NAME), &serde_json::to_vec(&served)?)
    }

    /// The settings of the last server, if there was one.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read(data: &Path) -> anyhow::Result<Option<Self>> {
        let path = data.join(NAME);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        serde_json::from_slice(&text).with_context(|| {
            format!(
                "reading {}; remove it, the next start of the server writes it again",
                path.display()
            )
        })
    }

    /// Where its database is, if that is no file in the data directory.
    #[must_use]
    pub fn stored_in(&self) -> Option<&StoredIn> {
        self.stored_in.as_ref()
    }

    /// Where the server served HTTP, as clients on `own` reach it.
    #[must_use]
    pub fn web(&self, own: Ipv4Addr) -> SocketAddr {
        match self.listen.ip() {
            ip if ip.is_unspecified() => SocketAddr::new(own.into(), self.listen.port()),
            _ => self.listen,
        }
    }

    /// These settings in place of the defaults.
    #[must_use]
    pub fn applied(self, config: Config) -> Config {
        Config {
            boot: self.boot,
            listen: self.listen,
            address: self.address,
            interface: self.interface,
            ports: self.ports,
            port_override: self.port_override,
            max_sessions: self.max_sessions,
            max_wait: self.max_wait,
            follow_ups: self.follow_ups,
            log: self.log,
            https: self.https.map(Https::from),
            origin: Origin::Remembered,
            ..config
        }
    }
}

const NAME: &str = "serve.json";
