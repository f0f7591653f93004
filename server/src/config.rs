//! What a running server was told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use cast_net::Interface;
use cast_net::udpcast::sender::SlowPolicy;

use crate::domain::multicast::{Duplex, Multicast};
use crate::domain::node::Shown;
use crate::domain::ports::PortPool;
use crate::https::{Https, KeyHash};
use crate::sender::Sender;

/// Settings of `fos-server serve`.
#[derive(Debug, Clone)]
pub struct Config {
    /// Database, logs, run-time files.
    pub data: PathBuf,
    /// Where the images are, a directory each.
    pub images: PathBuf,
    /// Where `bzImage` and `init.xz` are.
    pub boot: PathBuf,
    /// Where the logs are; in the data directory if not set.
    pub log: Option<PathBuf>,
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// Where and how HTTPS is served, if it is.
    pub https: Option<Https>,
    /// Own address as clients know it; found by the route to the client if not set.
    pub address: Option<Ipv4Addr>,
    /// Interface for multicast; found by address or route if not set.
    pub interface: Option<String>,
    /// Whether streams begin with a record.
    pub stream_records: StreamRecords,
    /// Limit of each session in bit/s.
    pub max_bitrate: Option<u64>,
    /// What becomes of a host that is much slower than the others.
    pub slow: Slow,
    /// Ports of the sessions; FOG's settings count if not set.
    pub ports: Option<PortPool>,
    /// Base ports in place of [`ports`](Self::ports); empty if there are none.
    pub port_override: Vec<u16>,
    /// Sessions that may be active, 0 for any number; FOG's setting counts if not set.
    pub max_sessions: Option<u32>,
    /// Wait for missing hosts of sessions that say nothing else; FOG's setting counts if not set.
    pub max_wait: Option<Duration>,
    /// The groups of the sessions are behind this one; FOG's setting counts if not set.
    pub multicast_address: Option<Ipv4Addr>,
    /// Whether a slice is sent while the one before is acknowledged; FOG's setting counts if not set.
    pub duplex: Option<Duplex>,
    /// Machines that a storage node serves alone at a time; what the database says (`ngmMaxClients`) if not set.
    pub slots: Option<u32>,
    /// Former versions of each image that are kept when another one takes its place.
    pub image_versions: usize,
    /// Bytes that these have together, of each image; any number if not set.
    pub image_versions_size: Option<u64>,
    /// How long what has arrived of an image is kept after its client was heard last.
    pub capture_keep: Duration,
    /// Follow-up sessions of a multicast session that says nothing else.
    pub follow_ups: u32,
    /// Where other servers with the same database reach this one; where HTTP listens if not set.
    pub peer_address: Option<SocketAddr>,
    /// Whether images that are missing here are copied from other servers by themselves.
    pub replicate: bool,
    /// Limit of such a copy in bit/s.
    pub replicate_rate: Option<u64>,
    /// Further kernel arguments for every client.
    pub kernel_args: String,
    /// Opens the debug menu of machines without a task; there is none without it.
    pub debug_password: Option<DebugPassword>,
    /// What becomes of machines of which somebody says, at the machine, that they are to be registered.
    pub registration: Registration,
    /// Waits of the sessions.
    pub timing: Timing,
    /// Whose settings these are.
    pub origin: Origin,
}

/// What somebody has to type at a machine for a shell on it.
#[derive(Clone, PartialEq, Eq)]
pub struct DebugPassword(String);

impl DebugPassword {
    /// The first line of a file.
    ///
    /// # Errors
    /// If there is none, or none that is long enough.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let context = || format!("reading the password in {}", path.display());
        let text = std::fs::read_to_string(path).with_context(context)?;
        let line = text.lines().next().unwrap_or_default();
        let is_plain = line.chars().all(|c| c.is_ascii_graphic());
        if line.len() < SHORTEST_PASSWORD || !is_plain {
            anyhow::bail!(
                "the first line of {} is no password: it takes at least {SHORTEST_PASSWORD} letters, digits and signs \
                 of ASCII, without blanks",
                path.display()
            );
        }
        Ok(Self(line.to_owned()))
    }

    /// What is to be typed.
    pub(crate) fn secret(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for DebugPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DebugPassword")
    }
}

const SHORTEST_PASSWORD: usize = 8;

/// Whose settings there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This process is the server and runs the sessions.
    Running,
    /// A command; the server was started like this the last time.
    Remembered,
    /// A command, with the defaults: how the server is started is not known.
    Defaults,
}

/// When streams begin with the 128-octet record that names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum StreamRecords {
    /// If every client of the session is one of ours.
    #[default]
    Auto,
    /// Always; `getversion.php?caps=1` says so. FOG clients before late 2026 cannot read them.
    Always,
    /// Never.
    Never,
}

/// What becomes of a host whose path is much slower than that of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Slow {
    /// All receive at its pace: a deploy that takes longer is better than a host that is not complete.
    #[default]
    Wait,
    /// It is dropped, and fails.
    Leave,
}

impl From<Slow> for SlowPolicy {
    fn from(slow: Slow) -> Self {
        match slow {
            Slow::Wait => Self::Wait,
            Slow::Leave => Self::Leave,
        }
    }
}

/// What becomes of a machine that somebody wants to be registered who stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Registration {
    /// There is no such entry in the boot menu.
    Off,
    /// It waits until a person at the server accepts it.
    #[default]
    Pending,
    /// It is registered at once, with the digits of its address as its name.
    Accept,
}

/// Waits that are not a property of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Least wait for known receivers between two streams; a longer first wait counts here too.
    pub stream_wait: Duration,
    /// From a client's last sign until it is given up after the last stream.
    pub grace: Duration,
    /// How long one of our clients may be silent between two streams.
    pub agent_silence: Duration,
    /// Silence after which a receiver is dropped while others answer, if all clients are ours:
    /// they always answer.
    pub drop_agents: Duration,
    /// The same if there are others, which fall silent while their disk is busy.
    pub drop_others: Duration,
    /// From the first check-in until a session fails if no host connects; a longer first wait counts
    /// here too.
    pub connect_wait: Duration,
    /// How long a host must have been silent before another address is taken for it.
    pub rebind_after: Duration,
    /// A machine that asks again sooner was not restarted meanwhile: longer than FOG's client pauses, and than
    /// answers to it are held back.
    pub restart_takes: Duration,
    /// Until what keeps a captured image from its place is looked at again.
    pub capture_again: Duration,
    /// How long a stream may stand still, even if receivers answer; what holds it up is reported twice a minute.
    pub stall_limit: Duration,
    /// How long the disk of one receiver may hold up all others in mid-stream, though it answers. Zero:
    /// for as long as [`stall_limit`](Self::stall_limit).
    pub disk_limit: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            stream_wait: Duration::from_secs(600),
            connect_wait: Duration::from_secs(120),
            capture_again: Duration::from_secs(5),
            rebind_after: Duration::from_secs(40),
            restart_takes: Duration::from_secs(12),
            grace: Duration::from_secs(600),
            agent_silence: Duration::from_secs(60),
            drop_agents: Duration::from_secs(15),
            drop_others: Duration::from_secs(60),
            stall_limit: Duration::from_secs(300),
            disk_limit: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// See [`image_versions`](Self::image_versions).
    pub const IMAGE_VERSIONS: usize = 2;
    /// See [`capture_keep`](Self::capture_keep).
    pub const CAPTURE_KEEP: Duration = Duration::from_secs(24 * 3600);

    /// The defaults, for a server or for none.
    #[must_use]
    pub fn idle(data: &Path, images: PathBuf) -> Self {
        Self {
            data: data.to_owned(),
            images,
            boot: data.join("boot"),
            log: None,
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80)),
            https: None,
            address: None,
            interface: None,
            stream_records: StreamRecords::default(),
            max_bitrate: None,
            slow: Slow::default(),
            port_override: Vec::new(),
            max_sessions: None,
            max_wait: None,
            multicast_address: None,
            duplex: None,
            slots: None,
            image_versions: Self::IMAGE_VERSIONS,
            image_versions_size: None,
            capture_keep: Self::CAPTURE_KEEP,
            follow_ups: 0,
            peer_address: None,
            replicate: false,
            replicate_rate: None,
            kernel_args: String::new(),
            debug_password: None,
            registration: Registration::default(),
            ports: None,
            timing: Timing::default(),
            origin: Origin::Defaults,
        }
    }

    /// Own address as clients are told it: as configured, else the one that HTTP listens on, else the
    /// one from which packets reach the client.
    ///
    /// # Errors
    /// If the interface is not there or no route leads to the client.
    pub fn address_for(&self, sender: &dyn Sender, client: IpAddr) -> anyhow::Result<Ipv4Addr> {
        match self.known_address() {
            Some(address) => Ok(address),
            None => Ok(self.interface_for(sender, client)?.addr),
        }
    }

    /// Own address, if it does not depend on the client.
    #[must_use]
    pub fn known_address(&self) -> Option<Ipv4Addr> {
        let listen = match self.listen.ip() {
            IpAddr::V4(listen) if !listen.is_unspecified() => Some(listen),
            _ => None,
        };
        self.address.or(listen)
    }

    /// The interface for multicast to a client.
    ///
    /// # Errors
    /// As [`Self::address_for`].
    pub fn interface_for(&self, sender: &dyn Sender, client: IpAddr) -> anyhow::Result<Interface> {
        match self.known_interface()? {
            Some(interface) => Ok(interface),
            None => sender.route_to(client),
        }
    }

    /// The interface for multicast, if it does not depend on the client.
    ///
    /// # Errors
    /// If it is not there.
    pub fn known_interface(&self) -> anyhow::Result<Option<Interface>> {
        let wanted = match (&self.interface, self.known_address()) {
            (Some(name), Some(address)) => {
                return entry(&Interface::list()?, name, address).map(|found| Some(found.clone()));
            }
            (Some(name), None) => name.clone(),
            (None, Some(address)) => address.to_string(),
            (None, None) => return Ok(None),
        };
        let list = Interface::list()?;
        Ok(Some(Interface::choose(&list, Some(&wanted))?.clone()))
    }

    /// Base URL that a client is told to work with, ending with `/`.
    #[must_use]
    pub fn client_url(&self, address: Ipv4Addr) -> String {
        let https = self.https.as_ref().filter(|https| https.is_for_clients);
        match https {
            Some(https) => https.web_url(address),
            None => self.web_url(address),
        }
    }

    /// The settings of sessions: the database's, except for what this server was told.
    #[must_use]
    pub fn multicast(&self, stored: Multicast) -> Multicast {
        Multicast {
            port_override: match (&self.port_override[..], self.ports) {
                ([], None) => stored.port_override,
                ([], Some(pool)) => pool.bases().collect(),
                (wanted, _) => wanted.to_vec(),
            },
            max_sessions: self.max_sessions.unwrap_or(stored.max_sessions),
            max_wait: self.max_wait.unwrap_or(stored.max_wait),
            address: self.multicast_address.or(stored.address),
            duplex: self.duplex.unwrap_or(stored.duplex),
            starting_port: stored.starting_port,
            interface: stored.interface,
        }
    }

    /// Base URL for a boot loader, ending with `/`: those speak HTTP.
    #[must_use]
    pub fn web_url(&self, address: Ipv4Addr) -> String {
        match self.listen.port() {
            80 => format!("http://{address}/fog/"),
            port => format!("http://{address}:{port}/fog/"),
        }
    }

    /// SHA-256 of the key by which clients are to know this server, if they are led to HTTPS.
    #[must_use]
    pub fn client_key(&self) -> Option<KeyHash> {
        let https = self.https.as_ref().filter(|https| https.is_for_clients);
        https.and_then(|https| https.identity.hash())
    }

    /// How this server shows itself to the others.
    #[must_use]
    pub fn shown(&self) -> Shown {
        let address = self.known_address();
        let key = self.client_key();
        Shown {
            url: address.map_or_else(String::new, |address| self.web_url(address)),
            client_url: address.map_or_else(String::new, |address| self.client_url(address)),
            key: key.map_or_else(String::new, |key| key.to_string()),
            peer: self.peer_url().unwrap_or_default(),
        }
    }

    /// Where other servers reach this one; `None` if that is not known.
    #[must_use]
    pub fn peer_url(&self) -> Option<String> {
        let listen = Some(self.listen).filter(|listen| !listen.ip().is_unspecified());
        let address = self.peer_address.or(listen)?;
        Some(format!("http://{address}"))
    }

    /// Where the logs are.
    #[must_use]
    pub fn log_dir(&self) -> PathBuf {
        match &self.log {
            Some(log) => log.clone(),
            None => self.data.join("log"),
        }
    }
}

/// The interface of this name with this address: it may have others too.
fn entry<'a>(
    list: &'a [Interface],
    name: &str,
    address: Ipv4Addr,
) -> anyhow::Result<&'a Interface> {
    let found = list
        .iter()
        .find(|entry| entry.name == name && entry.addr == address);
    found.with_context(|| {
        let present: Vec<String> = list
            .iter()
            .map(|entry| format!("{} {}", entry.name, entry.addr))
            .collect();
        format!(
            "interface {name} has no address {address}; there are: {}",
            present.join(", ")
        )
    })
}

/// A rate limit: a number of bit/s, with `k`, `m` or `g` for powers of 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bitrate(pub u64);

impl FromStr for Bitrate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, factor) = match text.as_bytes().last() {
            Some(b'k' | b'K') => (&text[..text.len() - 1], 1_000),
            Some(b'm' | b'M') => (&text[..text.len() - 1], 1_000_000),
            Some(b'g' | b'G') => (&text[..text.len() - 1], 1_000_000_000),
            _ => (text, 1),
        };
        let number = digits
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(factor));
        match number {
            Some(rate) if rate >= 10_000 => Ok(Self(rate)),
            _ => Err("expected bits per second such as 900m, 1g or 50000k, at least 10k".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_a_line_that_can_be_typed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            DebugPassword::read(&file)
        };
        let password = read("correct-horse\nsecond line").unwrap();
        assert_eq!(password.secret(), "correct-horse");
        assert!(!format!("{password:?}").contains("horse"));
        for bad in ["", "\n12345678", "1234567", "12345 678", "pässwörter"] {
            read(bad).unwrap_err();
        }
    }

    #[test]
    fn an_interface_is_taken_with_the_address_that_was_named() {
        let entry_of = |name: &str, last| Interface {
            name: name.into(),
            index: 2,
            addr: Ipv4Addr::new(10, 0, 0, last),
            prefix_len: 24,
            broadcast: None,
            is_up: true,
            is_loopback: false,
        };
        let list = [
            entry_of("eth0", 1),
            entry_of("eth0", 2),
            entry_of("eth1", 3),
        ];
        let find = |name, last| entry(&list, name, Ipv4Addr::new(10, 0, 0, last));
        assert_eq!(find("eth0", 2).unwrap().addr, list[1].addr);
        let error = find("eth1", 2).unwrap_err().to_string();
        assert!(error.contains("eth0 10.0.0.2"), "{error}");
    }

    #[test]
    fn rates_have_suffixes() {
        for (text, rate) in [
            ("900m", 900_000_000),
            ("1G", 1_000_000_000),
            ("50000", 50_000),
        ] {
            assert_eq!(text.parse(), Ok(Bitrate(rate)));
        }
        for text in ["", "m", "-1m", "0", "1.5g", "99999999999999999999g", "ä"] {
            assert!(text.parse::<Bitrate>().is_err(), "{text}");
        }
    }
}
