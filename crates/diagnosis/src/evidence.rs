//! What probes have seen. Values only.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use dhcp::Reply;

use crate::firmware::Boot;
use crate::health::Health;

/// Everything that was looked at.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Wired network cards.
    pub cards: Look<Vec<Card>>,
    /// Name of the card that leads, or is to lead, to the server.
    pub used: Option<String>,
    /// The card that is to receive, where that was said.
    pub wanted: Option<String>,
    /// What the card in use counted while all this was looked at.
    pub traffic: Look<Traffic>,
    /// How long the network kept silent, where that is known.
    pub first_answer: Option<FirstAnswer>,
    /// What DHCP servers offer on the card in use.
    pub offers: Look<Vec<Reply>>,
    /// For how long offers were awaited.
    pub offers_awaited: Duration,
    /// IPv4 addresses of the card in use.
    pub addresses: Look<Vec<Address>>,
    /// The way to the server, and the server.
    pub server: Look<ServerLook>,
    /// The multicast session.
    pub multicast: Look<Multicast>,
    /// How large a datagram may be.
    pub path: Look<PathLook>,
    /// The clock of this machine.
    pub clock: Look<Clock>,
    /// Disks.
    pub disks: Look<Vec<DiskLook>>,
    /// What the firmware would start.
    pub boot: Look<Boot>,
    /// Memory.
    pub memory: Look<Memory>,
}

impl Default for Evidence {
    /// Nothing was looked at.
    fn default() -> Self {
        Self {
            cards: Err(Skipped::NotAsked),
            used: None,
            wanted: None,
            traffic: Err(Skipped::NotAsked),
            first_answer: None,
            offers: Err(Skipped::NotAsked),
            offers_awaited: Duration::ZERO,
            addresses: Err(Skipped::NotAsked),
            server: Err(Skipped::NotAsked),
            multicast: Err(Skipped::NotAsked),
            path: Err(Skipped::NotAsked),
            clock: Err(Skipped::NotAsked),
            disks: Err(Skipped::NotAsked),
            boot: Err(Skipped::NotAsked),
            memory: Err(Skipped::NotAsked),
        }
    }
}

impl Evidence {
    /// The card in use.
    #[must_use]
    pub fn card(&self) -> Option<&Card> {
        let cards = self.cards.as_ref().ok()?;
        let used = self.used.as_deref();
        cards.iter().find(|card| Some(card.name.as_str()) == used)
    }
}

/// What was seen, or why nothing was looked at.
pub type Look<T> = Result<T, Skipped>;

/// Why something was not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skipped {
    /// It was not asked for.
    NotAsked,
    /// The kernel arguments name no server.
    NoServerNamed,
    /// Something that comes before it does not work.
    Unreached,
    /// There is no multicast deploy in the kernel arguments.
    NoMulticastJob,
    /// It could not be done; why.
    Failed(String),
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAsked => "not asked for",
            Self::NoServerNamed => "the kernel arguments name no server (web=)",
            Self::Unreached => "what it needs does not work",
            Self::NoMulticastJob => "the kernel arguments are not those of a multicast deploy",
            Self::Failed(why) => why,
        })
    }
}

/// A wired network card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Name in the kernel.
    pub name: String,
    /// Its address.
    pub mac: String,
    /// Whether there is a link.
    pub has_link: bool,
    /// Mbit/s; `None` where the card does not say.
    pub speed: Option<u32>,
    /// As the card says.
    pub duplex: Duplex,
    /// Largest IP datagram in bytes that it sends.
    pub mtu: u32,
}

/// Whether a card sends and receives at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duplex {
    /// It does.
    Full,
    /// It does not.
    Half,
    /// It does not say.
    Unknown,
}

/// Counters of a card, since it was switched on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames received.
    pub received: u64,
    /// Those of them that went to a group, where the card counts them.
    pub multicast: u64,
    /// Frames sent.
    pub sent: u64,
    /// Frames received damaged, of any kind.
    pub receive_errors: u64,
    /// Frames that could not be sent.
    pub send_errors: u64,
    /// Collisions after the time in which they may be.
    pub collisions: u64,
    /// How often the link came or went.
    pub link_changes: u64,
    /// How often the card did not send what it was given, until the kernel started it again.
    pub timeouts: u64,
}

/// Counters before and after a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// At its beginning.
    pub before: Counters,
    /// At its end.
    pub after: Counters,
    /// How long it was.
    pub over: Duration,
}

/// How long a network with a link kept silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstAnswer {
    /// From the link to the first answer, at the start of this machine.
    SinceLink(Duration),
    /// It was watched: silent for so long, and then it answered. The link was up all the time.
    Watched(Duration),
}

/// An IPv4 address of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub address: Ipv4Addr,
    /// Length of the network prefix in bits.
    pub prefix_len: u8,
}

impl Address {
    /// Whether `other` is in the same network.
    #[must_use]
    pub fn is_near(&self, other: Ipv4Addr) -> bool {
        dhcp::network(self.address, self.prefix_len) == dhcp::network(other, self.prefix_len)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// The server and the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLook {
    /// Base URL.
    pub url: String,
    /// Name or address in it.
    pub host: String,
    /// Port in it.
    pub port: u16,
    /// What its name means.
    pub resolution: Resolution,
    /// Which way leads there.
    pub route: Look<Route>,
    /// Whether the port answers.
    pub reach: Look<Reach>,
    /// What it says.
    pub answer: Look<WebAnswer>,
    /// The port of the image store, where it is needed.
    pub store: Look<(Ipv4Addr, Reach)>,
}

/// What the server's name means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// It is an address, or stands for this one.
    Address(Ipv4Addr),
    /// It means nothing to this machine.
    Unknown {
        /// The name servers of this machine.
        name_servers: Vec<String>,
        /// What was answered.
        error: String,
    },
}

/// The kernel's route to an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// There is one.
    Through {
        /// Name of the card.
        card: String,
        /// Own address on the way.
        own: Ipv4Addr,
        /// Which machine is next.
        next: NextHop,
    },
    /// There is no route.
    Missing,
}

/// The machine that a route names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextHop {
    /// The destination itself.
    Direct,
    /// A router.
    Router(Ipv4Addr),
}

/// What a TCP port answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// A program has accepted.
    Open,
    /// No program has it.
    Refused,
    /// A packet filter says no.
    Prohibited,
    /// Nothing.
    Silent(Neighbour),
}

/// Whether the next machine on a way answers at all (ARP).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbour {
    /// It does.
    Answers,
    /// It does not.
    Silent,
    /// The kernel does not say.
    Unknown,
}

/// What the web server answers where FOG's server has its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebAnswer {
    /// What a FOG server answers.
    Fog {
        /// Whether it is a `fos-server`.
        is_native: bool,
    },
    /// It sends elsewhere.
    Redirect {
        /// Where.
        to: String,
    },
    /// Another status than success.
    Status(u16),
    /// A page for people, or nothing.
    NoVersion,
    /// No answer that is HTTP; what happened.
    Broken(String),
}

/// The multicast session, as heard on the card in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multicast {
    /// Where the sender is asked.
    pub sender: Ipv4Addr,
    /// The port that receivers have.
    pub port: u16,
    /// Groups that were joined for the data.
    pub groups: Vec<Ipv4Addr>,
    /// How long was listened.
    pub listened: Duration,
    /// Announcements of a sender.
    pub announcements: u64,
    /// Datagrams with data.
    pub data: u64,
    /// Requests of the sender, which are small and go where data goes.
    pub requests: u64,
    /// Who asks in this network which groups are wanted.
    pub querier: Option<Querier>,
    /// What the sender does.
    pub sending: Sending,
    /// What the sender's port answers.
    pub rendezvous: Rendezvous,
    /// Bytes of the present stream that all receivers have, where the server says so.
    pub acknowledged: Option<u64>,
    /// The way to the sender.
    pub route: Look<Route>,
}

/// An IGMP querier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Querier {
    /// Its address; 0.0.0.0 for a switch without one.
    pub address: Ipv4Addr,
}

/// Whether the sender sends, as the server or a person says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// It does, by multicast.
    Now,
    /// It waits for receivers.
    Waits,
    /// It is not known.
    Unknown,
}

/// What the port of the sender answers to a datagram without meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rendezvous {
    /// Its host says that no program has the port.
    Refused,
    /// A packet filter says no.
    Prohibited,
    /// Nothing, as a sender does.
    Silent,
}

/// How large a datagram may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathLook {
    /// The other end.
    pub to: Ipv4Addr,
    /// The largest one that was tried, in bytes with the IP header: the MTU of the card.
    pub tried: u32,
    /// The largest one that went there and back; `None`: not even a small one, so nothing is known.
    pub passed: Option<u32>,
}

/// The clock of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Seconds that it is ahead of the server's; negative: behind.
    pub ahead: i64,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskLook {
    /// Path and model.
    pub name: String,
    /// Whether the kernel still has it in use; `false`: it gave it up.
    pub is_live: bool,
    /// Commands that failed, and all, where the kernel counts them.
    pub commands: Option<(u64, u64)>,
    /// Reading some of it.
    pub read: Result<ReadTest, String>,
    /// What it says of itself.
    pub health: Look<Health>,
}

/// A test of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadTest {
    /// Bytes read.
    pub bytes: u64,
    /// In this time.
    pub time: Duration,
}

/// Memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Of the machine.
    pub total: u64,
    /// What programs can have.
    pub available: u64,
    /// Errors that its checksums found and could not mend, where it has any and counts them.
    pub errors: Option<u64>,
}
