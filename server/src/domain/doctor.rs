//! What keeps a server from deploying: from evidence to causes. Probes gather the evidence (`crate::doctor`), words are made
//! in `crate::text`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::Timestamp;
use super::certificate::{Certificate, Worry};

use super::multicast::OddSetting;

/// What a probe found, or why it did not look.
pub type Look<T> = Result<T, String>;

/// Everything that was seen.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// IPv4 addresses of this machine, the loopback among them.
    pub cards: Vec<Card>,
    /// What the server was told to use.
    pub wanted: Wanted,
    /// The running server's process, if one answers.
    pub server: Look<Option<u32>>,
    /// Who has the port of HTTP.
    pub http: Option<Held>,
    /// HTTPS, if it is to be served.
    pub https: Option<HttpsLook>,
    /// Who has ports of sessions.
    pub sessions: Vec<Held>,
    /// Programs `udp-sender`.
    pub senders: Vec<Sender>,
    /// FOG's own manager.
    pub fog_manager: Option<u32>,
    /// The image directory.
    pub images: ImagesLook,
    /// The boot directory.
    pub boot: BootLook,
    /// The data directory.
    pub data: DataLook,
    /// The database.
    pub database: Look<DatabaseLook>,
    /// Settings in it that make no sense.
    pub odd_settings: Vec<OddSetting>,
    /// The card that FOG's page names; empty if it names none.
    pub interface_setting: String,
    /// Seconds since 1970.
    pub clock: i64,
    /// Name of this machine, and where it leads.
    pub name: NameLook,
    /// DHCP servers that made an offer on the card of the PCs.
    pub offers: Look<Vec<Offer>>,
    /// A datagram to a group by this card, and back.
    pub multicast: Look<Multicast>,
}

/// An address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// With a carrier.
    pub is_up: bool,
    /// The loopback.
    pub is_loopback: bool,
}

/// What the server was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// `--interface`.
    pub interface: Option<String>,
    /// `--address`, or that of `--listen`.
    pub address: Option<Ipv4Addr>,
    /// `--listen`.
    pub listen: SocketAddr,
}

/// A port with its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The port.
    pub port: u16,
    /// Its process.
    pub pid: u32,
    /// The name of its program.
    pub program: String,
}

/// HTTPS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpsLook {
    /// Who has its port.
    pub held: Option<Held>,
    /// What its certificate says; nothing if there is none yet, as the server makes it at its first start.
    pub certificate: Look<Option<Certificate>>,
}

/// A program `udp-sender`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// Its process.
    pub pid: i32,
    /// What it sends.
    pub file: Option<PathBuf>,
}

/// What became of an attempt to look into a directory or file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// It can be used.
    Good,
    /// It is not there.
    Absent,
    /// It is there, and cannot be used.
    Refused(String),
}

/// The image directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagesLook {
    /// Where.
    pub path: PathBuf,
    /// Whether it can be read.
    pub access: Access,
    /// Why nothing can be stored in it; empty if something can.
    pub unwritable: String,
    /// Whether `.mntcheck` is in it, which FOG's clients look for.
    pub has_mark: bool,
}

/// Kernel and initramfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootLook {
    /// The files with what became of opening them.
    pub files: Vec<(PathBuf, Access)>,
}

/// The data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataLook {
    /// Where.
    pub path: PathBuf,
    /// Whether it is there.
    pub access: Access,
    /// Bytes that are free there, if they can be asked for.
    pub free: Option<u64>,
    /// Files of it that its owner cannot use: they are another user's.
    pub foreign: Vec<PathBuf>,
}

/// A database that was opened.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DatabaseLook {
    /// It is FOG's.
    pub is_fogs: bool,
    /// What fails in the middle is undone.
    pub undoes: bool,
    /// The cluster that has it, if one does.
    #[serde(default)]
    pub cluster: Option<ClusterLook>,
}

/// A cluster of databases, as the node sees it that is used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ClusterLook {
    /// What the node is called.
    pub node: String,
    /// Whether it is with most of the others, and takes something.
    pub is_primary: bool,
    /// What it says of itself.
    pub state: String,
    /// Nodes that it sees, itself among them.
    pub size: u32,
}

/// The name of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameLook {
    /// It.
    pub name: String,
    /// The addresses that it leads to, or why it leads to none.
    pub addresses: Look<Vec<Ipv4Addr>>,
}

/// What a DHCP server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The server.
    pub server: Ipv4Addr,
    /// Where PCs shall boot from.
    pub next_server: Option<Ipv4Addr>,
}

/// What became of a datagram to a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Multicast {
    /// It left, and this machine heard it.
    Heard,
    /// It left, and was not heard here.
    Silent,
    /// The kernel refused.
    Refused(String),
}

/// What keeps a server from deploying.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// No card has an address and a link.
    NoCard {
        /// What there is.
        present: Vec<Card>,
    },
    /// The card that was named is not there, or has no address.
    CardMissing {
        /// Its name.
        interface: String,
        /// What there is.
        present: Vec<Card>,
    },
    /// It has no link.
    CardDown {
        /// It.
        card: Card,
    },
    /// The address that was named is not of this machine.
    AddressForeign {
        /// It.
        address: Ipv4Addr,
        /// What there is.
        present: Vec<Card>,
    },
    /// It reaches no other machine.
    OnlyLoopback {
        /// It.
        card: Card,
    },
    /// Another program has the port of HTTP.
    HttpTaken(Held),
    /// Certificate or key of HTTPS cannot be used.
    Https {
        /// Why.
        why: String,
    },
    /// The certificate of HTTPS is not right.
    Certificate(Worry),
    /// No server runs.
    NotRunning {
        /// Of which directory.
        data: PathBuf,
    },
    /// A server runs and does not answer.
    Unanswered {
        /// Why.
        why: String,
    },
    /// Other programs have ports of sessions.
    SessionPorts(Vec<Held>),
    /// Senders that no session knows.
    Senders(Vec<Sender>),
    /// FOG's manager would send the same sessions.
    FogManager {
        /// Its process.
        pid: u32,
    },
    /// The images cannot be read.
    Images {
        /// Where.
        path: PathBuf,
        /// How.
        access: Access,
    },
    /// Images can be sent, and not captured.
    ImagesReadOnly {
        /// Where.
        path: PathBuf,
        /// What keeps the server from it.
        why: String,
    },
    /// FOG's clients refuse a share without this mark.
    NoMark {
        /// Where it has to be.
        path: PathBuf,
    },
    /// PCs cannot boot from here.
    Boot(Vec<(PathBuf, Access)>),
    /// The data directory cannot be used.
    Data {
        /// Where.
        path: PathBuf,
        /// How.
        access: Access,
    },
    /// The database will not be able to grow.
    LittleSpace {
        /// Where.
        path: PathBuf,
        /// Bytes.
        free: u64,
    },
    /// The server's user cannot use files of its own directory.
    ForeignFiles {
        /// Its directory.
        path: PathBuf,
        /// They.
        files: Vec<PathBuf>,
    },
    /// The database cannot be opened.
    Database {
        /// Why.
        why: String,
    },
    /// What fails in the middle is not undone.
    NotUndone,
    /// Settings make no sense, so their defaults count.
    OddSettings(Vec<OddSetting>),
    /// FOG's page names a card that is not the one of the sessions.
    OtherCardSet {
        /// What it names.
        setting: String,
        /// The card that counts, if it is known.
        card: Option<String>,
    },
    /// The node of the cluster takes nothing.
    NodeCutOff(ClusterLook),
    /// One more node that is gone, and the database takes nothing.
    FewNodes(ClusterLook),
    /// The clock is before this program was made.
    Clock {
        /// Seconds since 1970.
        now: i64,
    },
    /// The name of this machine leads to another one.
    NameElsewhere {
        /// The name.
        name: String,
        /// Where it leads.
        addresses: Vec<Ipv4Addr>,
    },
    /// The name of this machine leads nowhere.
    NameUnknown {
        /// The name.
        name: String,
        /// Why.
        why: String,
    },
    /// PCs get no address.
    NoDhcp {
        /// On which card.
        interface: String,
    },
    /// Whoever answers first decides where PCs boot from.
    SeveralDhcp(Vec<Offer>),
    /// PCs are led to another machine.
    BootElsewhere(Offer),
    /// Nothing can be sent to a group by this card.
    NoMulticast {
        /// The card.
        interface: String,
        /// The kernel's reason; without it the datagram only was not heard.
        why: Option<String>,
    },
}

/// For logs and database until somebody comes.
pub const LEAST_FREE: u64 = 500_000_000;

/// The beginning of 2026: no later than this program.
const MADE: i64 = 1_767_225_600;

/// The causes, the one that explains others first.
#[must_use]
pub fn diagnose(evidence: &Evidence) -> Vec<Cause> {
    let mut causes = Vec::new();
    network(evidence, &mut causes);
    programs(evidence, &mut causes);
    places(evidence, &mut causes);
    others(evidence, &mut causes);
    causes
}

/// The card that sessions are sent by, if that does not depend on the client.
#[must_use]
pub fn card(evidence: &Evidence) -> Option<&Card> {
    let Wanted {
        interface, address, ..
    } = &evidence.wanted;
    let fits = |card: &&Card| {
        interface.as_ref().is_none_or(|name| card.name == *name)
            && address.is_none_or(|address| card.address == address)
    };
    match (interface, address) {
        (None, None) => evidence
            .cards
            .iter()
            .find(|card| card.is_up && !card.is_loopback),
        _ => evidence.cards.iter().find(fits),
    }
}

fn network(evidence: &Evidence, causes: &mut Vec<Cause>) {
    let Wanted {
        interface, address, ..
    } = &evidence.wanted;
    let present = evidence.cards.clone();
    let Some(card) = card(evidence) else {
        causes.push(match (interface, address) {
            (Some(interface), _) if present.iter().all(|card| card.name != *interface) => {
                Cause::CardMissing {
                    interface: interface.clone(),
                    present,
                }
            }
            (_, Some(address)) => Cause::AddressForeign {
                address: *address,
                present,
            },
            _ => Cause::NoCard { present },
        });
        return;
    };
    match (card.is_loopback, card.is_up) {
        (true, _) => causes.push(Cause::OnlyLoopback { card: card.clone() }),
        (false, false) => causes.push(Cause::CardDown { card: card.clone() }),
        (false, true) => match &evidence.multicast {
            Ok(Multicast::Heard) | Err(_) => {}
            Ok(Multicast::Silent) => causes.push(Cause::NoMulticast {
                interface: card.name.clone(),
                why: None,
            }),
            Ok(Multicast::Refused(why)) => causes.push(Cause::NoMulticast {
                interface: card.name.clone(),
                why: Some(why.clone()),
            }),
        },
    }
}

fn programs(evidence: &Evidence, causes: &mut Vec<Cause>) {
    let own = evidence.server.as_ref().ok().copied().flatten();
    let is_other = |held: &&Held| Some(held.pid) != own;
    let http = evidence.http.as_ref().filter(is_other);
    if let Some(held) = http {
        causes.push(Cause::HttpTaken(held.clone()));
    }
    if let Some(https) = &evidence.https {
        if let Some(held) = https.held.as_ref().filter(is_other) {
            causes.push(Cause::HttpTaken(held.clone()));
        }
        match &https.certificate {
            Err(why) => causes.push(Cause::Https { why: why.clone() }),
            // A wrong clock is named by itself, and says nothing of a certificate.
            Ok(_) if evidence.clock < MADE => {}
            Ok(certificate) => {
                let now = Timestamp(evidence.clock);
                let worry = certificate.as_ref().and_then(|found| found.worry(now));
                causes.extend(worry.map(Cause::Certificate));
            }
        }
    }
    match &evidence.server {
        Ok(Some(_)) => {}
        // The port that is taken explains it.
        Ok(None) if http.is_some() => {}
        Ok(None) => causes.push(Cause::NotRunning {
            data: evidence.data.path.clone(),
        }),
        Err(why) => causes.push(Cause::Unanswered { why: why.clone() }),
    }
    if let Some(pid) = evidence.fog_manager {
        causes.push(Cause::FogManager { pid });
    }
    let senders = &evidence.senders;
    if !senders.is_empty() {
        causes.push(Cause::Senders(senders.clone()));
    }
    // A sender is named already.
    let is_sender = |held: &&Held| {
        senders
            .iter()
            .any(|sender| u32::try_from(sender.pid) == Ok(held.pid))
    };
    let sessions: Vec<Held> = evidence
        .sessions
        .iter()
        .filter(|held| is_other(held) && !is_sender(held))
        .cloned()
        .collect();
    if !sessions.is_empty() {
        causes.push(Cause::SessionPorts(sessions));
    }
}

fn places(evidence: &Evidence, causes: &mut Vec<Cause>) {
    let DataLook {
        path,
        access,
        free,
        foreign,
    } = &evidence.data;
    if *access != Access::Good {
        causes.push(Cause::Data {
            path: path.clone(),
            access: access.clone(),
        });
    }
    if !foreign.is_empty() {
        causes.push(Cause::ForeignFiles {
            path: path.clone(),
            files: foreign.clone(),
        });
    }
    if let Some(free) = free.filter(|free| *free < LEAST_FREE) {
        causes.push(Cause::LittleSpace {
            path: path.clone(),
            free,
        });
    }
    match &evidence.database {
        Ok(look) if look.undoes => {}
        Ok(_) => causes.push(Cause::NotUndone),
        // A directory that is not there has no database.
        Err(why) if *access == Access::Good => causes.push(Cause::Database { why: why.clone() }),
        Err(_) => {}
    }
    if !evidence.odd_settings.is_empty() {
        causes.push(Cause::OddSettings(evidence.odd_settings.clone()));
    }
    let setting = &evidence.interface_setting;
    let card = card(evidence).map(|card| card.name.clone());
    if !setting.is_empty() && card.as_ref() != Some(setting) {
        causes.push(Cause::OtherCardSet {
            setting: setting.clone(),
            card,
        });
    }
    let look = evidence.database.as_ref().ok();
    match look.and_then(|look| look.cluster.as_ref()) {
        Some(cluster) if !cluster.is_primary => causes.push(Cause::NodeCutOff(cluster.clone())),
        // Of two that are left, neither has a majority without the other.
        Some(cluster) if cluster.size < 3 => causes.push(Cause::FewNodes(cluster.clone())),
        _ => {}
    }
    let images = &evidence.images;
    let is_fogs = evidence.database.as_ref().is_ok_and(|look| look.is_fogs);
    if images.access == Access::Good && !images.unwritable.is_empty() {
        causes.push(Cause::ImagesReadOnly {
            path: images.path.clone(),
            why: images.unwritable.clone(),
        });
    }
    match images.access {
        Access::Good if is_fogs && !images.has_mark => causes.push(Cause::NoMark {
            path: images.path.join(".mntcheck"),
        }),
        Access::Good => {}
        _ => causes.push(Cause::Images {
            path: images.path.clone(),
            access: images.access.clone(),
        }),
    }
    let boot = evidence.boot.files.iter();
    let boot: Vec<_> = boot
        .filter(|(_, access)| *access != Access::Good)
        .cloned()
        .collect();
    if !boot.is_empty() {
        causes.push(Cause::Boot(boot));
    }
}

fn others(evidence: &Evidence, causes: &mut Vec<Cause>) {
    if evidence.clock < MADE {
        causes.push(Cause::Clock {
            now: evidence.clock,
        });
    }
    let NameLook { name, addresses } = &evidence.name;
    let is_own = |address: &Ipv4Addr| {
        address.is_loopback() || evidence.cards.iter().any(|card| card.address == *address)
    };
    match addresses {
        Ok(addresses) if !addresses.is_empty() && !addresses.iter().any(is_own) => {
            causes.push(Cause::NameElsewhere {
                name: name.clone(),
                addresses: addresses.clone(),
            });
        }
        Ok(_) => {}
        Err(why) => causes.push(Cause::NameUnknown {
            name: name.clone(),
            why: why.clone(),
        }),
    }
    let Some(card) = card(evidence).filter(|card| card.is_up && !card.is_loopback) else {
        return;
    };
    match evidence.offers.as_deref() {
        Err(_) => {}
        Ok([]) => causes.push(Cause::NoDhcp {
            interface: card.name.clone(),
        }),
        Ok([only]) => {
            // Without a word of it, the server that gives the address is meant, or a proxy.
            let is_ours = |next: Ipv4Addr| next.is_unspecified() || is_own(&next);
            if only
                .next_server
                .is_some_and(|next| !is_ours(next) && next != only.server)
            {
                causes.push(Cause::BootElsewhere(only.clone()));
            }
        }
        Ok(several) => causes.push(Cause::SeveralDhcp(several.to_vec())),
    }
}

impl Cause {
    /// Whether everything works all the same.
    #[must_use]
    pub fn is_warning(&self) -> bool {
        matches!(
            self,
            Self::NotUndone
                | Self::OddSettings(_)
                | Self::OtherCardSet { .. }
                | Self::Certificate(Worry::EndsSoon { .. })
                | Self::FewNodes(_)
                | Self::ImagesReadOnly { .. }
        )
    }

    /// For programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoCard { .. } => "no-card",
            Self::CardMissing { .. } => "card-missing",
            Self::CardDown { .. } => "card-down",
            Self::AddressForeign { .. } => "address-foreign",
            Self::OnlyLoopback { .. } => "only-loopback",
            Self::HttpTaken(_) => "http-port-taken",
            Self::Https { .. } => "https-unusable",
            Self::Certificate(Worry::Early { .. }) => "certificate-early",
            Self::Certificate(Worry::Expired { .. }) => "certificate-expired",
            Self::Certificate(Worry::EndsSoon { .. }) => "certificate-ends-soon",
            Self::Certificate(Worry::Names { .. }) => "certificate-names",
            Self::NotRunning { .. } => "server-not-running",
            Self::Unanswered { .. } => "server-does-not-answer",
            Self::SessionPorts(_) => "session-ports-taken",
            Self::Senders(_) => "leftover-senders",
            Self::FogManager { .. } => "fog-manager",
            Self::Images { .. } => "images-unusable",
            Self::ImagesReadOnly { .. } => "images-read-only",
            Self::NoMark { .. } => "no-mntcheck",
            Self::Boot(_) => "boot-files",
            Self::Data { .. } => "data-unusable",
            Self::LittleSpace { .. } => "little-space",
            Self::ForeignFiles { .. } => "foreign-files",
            Self::Database { .. } => "database",
            Self::NotUndone => "database-not-undone",
            Self::OddSettings(_) => "odd-settings",
            Self::OtherCardSet { .. } => "other-card-set",
            Self::NodeCutOff(_) => "database-node-cut-off",
            Self::FewNodes(_) => "database-few-nodes",
            Self::Clock { .. } => "clock",
            Self::NameElsewhere { .. } => "name-elsewhere",
            Self::NameUnknown { .. } => "name-unknown",
            Self::NoDhcp { .. } => "no-dhcp",
            Self::SeveralDhcp(_) => "several-dhcp",
            Self::BootElsewhere(_) => "boot-elsewhere",
            Self::NoMulticast { .. } => "no-multicast",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, last)
    }

    fn held(port: u16, pid: u32) -> Held {
        Held {
            port,
            pid,
            program: "apache2".to_owned(),
        }
    }

    fn eth0() -> Card {
        Card {
            name: "eth0".to_owned(),
            address: ip(5),
            is_up: true,
            is_loopback: false,
        }
    }

    /// Valid for 100 days.
    fn certificate() -> Certificate {
        Certificate {
            not_before: Timestamp(MADE),
            not_after: Timestamp(MADE + 100 * 86_400),
            names: vec!["server".to_owned()],
            missing: Vec::new(),
        }
    }

    /// Server 7 on eth0.
    fn healthy() -> Evidence {
        let loopback = Card {
            name: "lo".to_owned(),
            address: Ipv4Addr::LOCALHOST,
            is_up: true,
            is_loopback: true,
        };
        Evidence {
            cards: vec![loopback, eth0()],
            wanted: Wanted {
                interface: None,
                address: None,
                listen: "0.0.0.0:80".parse().unwrap(),
            },
            server: Ok(Some(7)),
            http: Some(held(80, 7)),
            https: Some(HttpsLook {
                held: Some(held(443, 7)),
                certificate: Ok(Some(certificate())),
            }),
            sessions: vec![held(63100, 7)],
            senders: Vec::new(),
            fog_manager: None,
            images: ImagesLook {
                path: "/images".into(),
                access: Access::Good,
                unwritable: String::new(),
                has_mark: false,
            },
            boot: BootLook {
                files: vec![("/boot/init.xz".into(), Access::Good)],
            },
            data: DataLook {
                path: "/data".into(),
                access: Access::Good,
                free: Some(LEAST_FREE),
                foreign: Vec::new(),
            },
            database: Ok(DatabaseLook {
                is_fogs: false,
                undoes: true,
                cluster: None,
            }),
            odd_settings: Vec::new(),
            interface_setting: String::new(),
            clock: MADE,
            name: NameLook {
                name: "server".to_owned(),
                addresses: Ok(vec![Ipv4Addr::new(127, 0, 1, 1)]),
            },
            offers: Ok(vec![Offer {
                server: ip(1),
                next_server: Some(ip(5)),
            }]),
            multicast: Ok(Multicast::Heard),
        }
    }

    /// The codes of what `change` makes of a server that is well.
    fn codes(change: impl FnOnce(&mut Evidence)) -> Vec<&'static str> {
        let mut evidence = healthy();
        change(&mut evidence);
        diagnose(&evidence).iter().map(Cause::code).collect()
    }

    #[test]
    fn settings_without_effect_are_named_and_are_no_trouble() {
        let odd = OddSetting {
            key: "FOG_MULTICAST_DUPLEX".into(),
            value: "x".into(),
            expected: "y".into(),
            used: "z".into(),
        };
        assert_eq!(codes(|seen| seen.odd_settings.push(odd)), ["odd-settings"]);
        let set = |name: &str| codes(|seen| seen.interface_setting = name.into());
        assert_eq!(set("nosuch0"), ["other-card-set"]);
        let card = card(&healthy()).unwrap().name.clone();
        assert_eq!(set(&card), [""; 0]);
        assert!(Cause::OddSettings(Vec::new()).is_warning());
    }

    #[test]
    fn nothing_is_named_when_all_is_well() {
        assert!(codes(|_| {}).is_empty());
        // What could not be looked at is no cause.
        let unseen = codes(|seen| {
            seen.offers = Err("no right".to_owned());
            seen.multicast = Err("no right".to_owned());
            seen.data.free = None;
        });
        assert!(unseen.is_empty(), "{unseen:?}");
    }

    #[test]
    fn cards_and_addresses() {
        assert_eq!(codes(|seen| seen.cards.truncate(1)), ["no-card"]);
        let missing = codes(|seen| seen.wanted.interface = Some("eth7".to_owned()));
        assert_eq!(missing, ["card-missing"]);
        let foreign = codes(|seen| seen.wanted.address = Some(ip(77)));
        assert_eq!(foreign, ["address-foreign"]);
        let both = codes(|seen| {
            seen.wanted.interface = Some("eth0".to_owned());
            seen.wanted.address = Some(ip(77));
        });
        assert_eq!(both, ["address-foreign"]);
        let down = codes(|seen| {
            seen.wanted.interface = Some("eth0".to_owned());
            seen.cards[1].is_up = false;
        });
        assert_eq!(down, ["card-down"]);
        let loopback = codes(|seen| seen.wanted.interface = Some("lo".to_owned()));
        assert_eq!(loopback, ["only-loopback"]);
    }

    #[test]
    fn programs_that_are_in_the_way() {
        let taken = codes(|seen| {
            seen.server = Ok(None);
            seen.http = Some(held(80, 99));
            seen.https = None;
            seen.sessions.clear();
        });
        assert_eq!(taken, ["http-port-taken"]);
        let stopped = codes(|seen| {
            seen.server = Ok(None);
            seen.http = None;
            seen.https = None;
            seen.sessions.clear();
        });
        assert_eq!(stopped, ["server-not-running"]);
        assert_eq!(codes(|seen| seen.fog_manager = Some(4)), ["fog-manager"]);
        // A sender that has a port of a session is named once.
        let sender = codes(|seen| {
            seen.senders = vec![Sender {
                pid: 55,
                file: None,
            }];
            seen.sessions = vec![held(63100, 55)];
        });
        assert_eq!(sender, ["leftover-senders"]);
        let port = codes(|seen| seen.sessions = vec![held(63100, 56)]);
        assert_eq!(port, ["session-ports-taken"]);
        let hangs = codes(|seen| seen.server = Err("nothing within 5 s".to_owned()));
        assert_eq!(hangs[..1], ["http-port-taken"]);
        assert!(hangs.contains(&"server-does-not-answer"));
    }

    #[test]
    fn https_and_its_certificate() {
        let of = |change: fn(&mut HttpsLook)| codes(|seen| change(seen.https.as_mut().unwrap()));
        assert!(codes(|seen| seen.https = None).is_empty());
        assert!(of(|https| https.certificate = Ok(None)).is_empty());
        let taken = of(|https| https.held = Some(held(443, 99)));
        assert_eq!(taken, ["http-port-taken"]);
        let broken = of(|https| https.certificate = Err("no key".to_owned()));
        assert_eq!(broken, ["https-unusable"]);
        let with = |change: fn(&mut Certificate)| {
            codes(|seen| {
                let mut found = certificate();
                change(&mut found);
                seen.https.as_mut().unwrap().certificate = Ok(Some(found));
            })
        };
        let early = with(|found| found.not_before = Timestamp(MADE + 1));
        assert_eq!(early, ["certificate-early"]);
        let over = with(|found| found.not_after = Timestamp(MADE - 1));
        assert_eq!(over, ["certificate-expired"]);
        let soon = with(|found| found.not_after = Timestamp(MADE + 86_400));
        assert_eq!(soon, ["certificate-ends-soon"]);
        let other = with(|found| found.missing = vec!["10.0.0.5".to_owned()]);
        assert_eq!(other, ["certificate-names"]);
    }

    #[test]
    fn directories_and_the_database() {
        let absent = codes(|seen| seen.images.access = Access::Absent);
        assert_eq!(absent, ["images-unusable"]);
        let read_only = codes(|seen| seen.images.unwritable = "it is mounted read-only".into());
        assert_eq!(read_only, ["images-read-only"]);
        // It is not there at all, which explains it.
        let neither = codes(|seen| {
            seen.images.access = Access::Absent;
            seen.images.unwritable = "it is absent".into();
        });
        assert_eq!(neither, ["images-unusable"]);
        let boot = codes(|seen| seen.boot.files[0].1 = Access::Absent);
        assert_eq!(boot, ["boot-files"]);
        assert_eq!(codes(|seen| seen.data.free = Some(7)), ["little-space"]);
        let foreign = codes(|seen| seen.data.foreign = vec!["/data/x".into()]);
        assert_eq!(foreign, ["foreign-files"]);
        let broken = codes(|seen| seen.database = Err("refused".to_owned()));
        assert_eq!(broken, ["database"]);
        // One cause for a directory that is not there.
        let gone = codes(|seen| {
            seen.data.access = Access::Absent;
            seen.database = Err("no directory".to_owned());
        });
        assert_eq!(gone, ["data-unusable"]);
        let fogs = codes(|seen| {
            seen.database = Ok(DatabaseLook {
                is_fogs: true,
                undoes: false,
                cluster: None,
            });
        });
        assert_eq!(fogs, ["database-not-undone", "no-mntcheck"]);
        let cluster = |is_primary, size| {
            codes(|seen| {
                seen.database = Ok(DatabaseLook {
                    is_fogs: false,
                    undoes: true,
                    cluster: Some(ClusterLook {
                        node: "a".to_owned(),
                        is_primary,
                        state: String::new(),
                        size,
                    }),
                });
            })
        };
        assert!(cluster(true, 3).is_empty());
        assert_eq!(cluster(true, 2), ["database-few-nodes"]);
        assert_eq!(cluster(false, 1), ["database-node-cut-off"]);
    }

    #[test]
    fn the_clock_the_name_and_other_servers() {
        assert_eq!(codes(|seen| seen.clock = MADE - 1), ["clock"]);
        let elsewhere = codes(|seen| seen.name.addresses = Ok(vec![ip(99)]));
        assert_eq!(elsewhere, ["name-elsewhere"]);
        let unknown = codes(|seen| seen.name.addresses = Err("not found".to_owned()));
        assert_eq!(unknown, ["name-unknown"]);
        assert_eq!(codes(|seen| seen.offers = Ok(Vec::new())), ["no-dhcp"]);
        let offer = |server, next| Offer {
            server: ip(server),
            next_server: next,
        };
        let several = codes(|seen| seen.offers = Ok(vec![offer(1, None), offer(2, None)]));
        assert_eq!(several, ["several-dhcp"]);
        let away = codes(|seen| seen.offers = Ok(vec![offer(1, Some(ip(9)))]));
        assert_eq!(away, ["boot-elsewhere"]);
        for next in [None, Some(ip(1)), Some(ip(5))] {
            assert!(codes(|seen| seen.offers = Ok(vec![offer(1, next)])).is_empty());
        }
        let refused = codes(|seen| seen.multicast = Ok(Multicast::Refused("EPERM".to_owned())));
        assert_eq!(refused, ["no-multicast"]);
        assert_eq!(
            codes(|seen| seen.multicast = Ok(Multicast::Silent)),
            ["no-multicast"]
        );
    }
}
