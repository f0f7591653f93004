//! Hosts: registered machines, and machines that asked without being registered.

use std::fmt;
use std::net::IpAddr;

use fog::Mac;

use super::image::is_safe_in_boot_script;
use super::{HostId, ImageId, Reason, SessionId, TaskId, Timestamp};

/// A registered machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Number.
    pub id: HostId,
    /// Name.
    pub name: String,
    /// Addresses that count for deploys, the primary one first.
    pub macs: Vec<Mac>,
    /// Default image.
    pub image: Option<ImageId>,
    /// Kernel arguments of this host alone.
    pub kernel_args: String,
    /// Target disk (`fdrive=`); empty for the automatic choice.
    pub device: String,
    /// End of the last deploy.
    pub last_deploy: Option<Timestamp>,
}

/// What a new host is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NewHost {
    /// Name.
    pub name: HostName,
    /// Addresses, the first is the primary one.
    pub macs: Vec<StationMac>,
    /// Default image.
    pub image: Option<ImageId>,
    /// Target disk, FOG's `fdrive` syntax.
    pub device: String,
}

/// A name that can be a computer name: 1 to 15 letters, digits or hyphens.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

/// Why a text is no host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot be a host name: 1 to 15 letters, digits or hyphens are needed (it becomes the \
     computer name)"
)]
pub struct BadHostName(String);

impl HostName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for HostName {
    type Err = BadHostName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = (1..=15).contains(&text.len())
            && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
            && !text.starts_with('-');
        if is_name {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadHostName(fog::encoding::printable(text, 40)))
        }
    }
}

impl TryFrom<String> for HostName {
    type Error = BadHostName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the disk of a machine is named: by what FOG's `fdrive` takes, in characters that reach the client unchanged.
/// Empty for the automatic choice. A name that is changed on its way could be that of another disk.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TargetDisk(String);

/// Why a text names no disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTargetDisk {
    /// It would not reach the client as it is.
    #[error(
        "the disk name {text:?} contains {character:?}, which cannot be passed to a client; name the disk by \
         another of its names (path, size in bytes, WWN, serial number, UUID)"
    )]
    Character {
        /// The name, cut.
        text: String,
        /// The first one that is not possible.
        character: char,
    },
    /// Blanks are written as this.
    #[error("the disk name {0:?} contains \"+_+\", which stands for a blank in kernel arguments")]
    Blank(String),
    /// FOG's database has no room for it.
    #[error("a disk name has {0} characters, {max} at most", max = TargetDisk::LEN_MAX)]
    TooLong(usize),
}

impl TargetDisk {
    /// Characters, as many as FOG's `hostDevice` takes.
    pub const LEN_MAX: usize = 250;
}

impl std::str::FromStr for TargetDisk {
    type Err = BadTargetDisk;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || fog::encoding::printable(text, 80);
        // A second equals sign ends the value of a kernel argument; a blank is written as "+_+".
        let is_safe = |c: char| c == ' ' || c != '=' && is_safe_in_boot_script(c);
        if let Some(character) = text.chars().find(|c| !is_safe(*c)) {
            return Err(BadTargetDisk::Character {
                text: shown(),
                character,
            });
        }
        if text.contains("+_+") {
            return Err(BadTargetDisk::Blank(shown()));
        }
        match text.len() {
            0..=Self::LEN_MAX => Ok(Self(text.to_owned())),
            len => Err(BadTargetDisk::TooLong(len)),
        }
    }
}

impl TryFrom<String> for TargetDisk {
    type Error = BadTargetDisk;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TargetDisk> for String {
    fn from(disk: TargetDisk) -> Self {
        disk.0
    }
}

/// An address that one network card can have: neither zero nor for several stations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "Mac", into = "Mac")]
pub struct StationMac(Mac);

/// Why an address cannot be that of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadStationMac {
    /// All zero.
    #[error("00:00:00:00:00:00 is the address of no network card")]
    Zero,
    /// Broadcast or multicast.
    #[error("{0} is a broadcast or multicast address; a network card has none such")]
    Group(Mac),
}

impl StationMac {
    /// The address.
    #[must_use]
    pub fn mac(self) -> Mac {
        self.0
    }
}

impl TryFrom<Mac> for StationMac {
    type Error = BadStationMac;

    fn try_from(mac: Mac) -> Result<Self, Self::Error> {
        match mac.0 {
            [0, 0, 0, 0, 0, 0] => Err(BadStationMac::Zero),
            [first, ..] if first & 1 != 0 => Err(BadStationMac::Group(mac)),
            _ => Ok(Self(mac)),
        }
    }
}

impl From<StationMac> for Mac {
    fn from(mac: StationMac) -> Self {
        mac.0
    }
}

impl fmt::Display for StationMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a host does, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostActivity {
    /// Never in a session.
    Idle,
    /// Has an active task.
    Task {
        /// The task.
        task: TaskId,
        /// Its session, if it has one.
        session: Option<SessionId>,
    },
    /// Was last in this session.
    Last {
        /// Which.
        session: SessionId,
        /// How its part ended.
        reason: Option<Reason>,
    },
}

/// What a machine says of itself (manufacturer, product): a few words that people can read.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(from = "String", into = "String")]
pub struct About(String);

impl About {
    /// Characters.
    pub const LEN_MAX: usize = 80;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whatever is no text for people is made one.
impl From<String> for About {
    fn from(text: String) -> Self {
        Self(fog::encoding::printable(text.trim(), Self::LEN_MAX))
    }
}

impl From<About> for String {
    fn from(about: About) -> Self {
        about.0
    }
}

/// A machine that asked to be registered: it is nothing else until a person accepts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingHost {
    /// Number, which it keeps.
    pub id: HostId,
    /// The name that it has until then.
    pub name: String,
    /// Addresses, the primary one first.
    pub macs: Vec<Mac>,
    /// What it says of itself.
    pub about: About,
    /// When it asked.
    pub at: Timestamp,
}

/// What became of the wish to be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It waits for a person.
    Kept,
    /// So it did before.
    Known,
    /// It is registered.
    Registered,
    /// Too many wait, of this address or at all.
    Crowded,
}

/// A machine that asked and is not registered.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stranger {
    /// The first usable address that it named.
    pub mac: Mac,
    /// Where it asked from.
    pub address: IpAddr,
    /// First and last time.
    pub first_at: Timestamp,
    /// Last time.
    pub last_at: Timestamp,
    /// How often.
    pub requests: u64,
    /// What it said of itself.
    pub about: About,
}

/// A machine that a person can accept: it asked, or asked to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its addresses as far as they are known, the primary one first; at least one.
    pub macs: Vec<Mac>,
    /// The name that it gets if a person gives none.
    pub proposal: String,
    /// What it said of itself.
    pub about: About,
    /// Whether it asked to be registered.
    pub is_wish: bool,
    /// From where it asked, if that is known.
    pub address: Option<IpAddr>,
    /// First time.
    pub first_at: Timestamp,
    /// Last time.
    pub last_at: Timestamp,
    /// How often.
    pub requests: u64,
}

/// The machines that can be accepted, each once: those that asked to be registered first.
#[must_use]
pub fn waiting(pending: Vec<PendingHost>, mut strangers: Vec<Stranger>) -> Vec<Waiting> {
    let wishes = pending.into_iter().filter(|host| !host.macs.is_empty());
    let mut all: Vec<Waiting> = wishes
        .map(|host| {
            let mut waiting = Waiting {
                macs: host.macs,
                proposal: host.name,
                about: host.about,
                is_wish: true,
                address: None,
                first_at: host.at,
                last_at: host.at,
                requests: 0,
            };
            strangers.retain(|stranger| {
                let is_same = waiting.macs.contains(&stranger.mac);
                if is_same {
                    waiting.asked_as(stranger);
                }
                !is_same
            });
            waiting
        })
        .collect();
    all.extend(strangers.into_iter().map(|stranger| Waiting {
        proposal: proposal(stranger.mac),
        macs: vec![stranger.mac],
        about: stranger.about,
        is_wish: false,
        address: Some(stranger.address),
        first_at: stranger.first_at,
        last_at: stranger.last_at,
        requests: stranger.requests,
    }));
    all
}

impl Waiting {
    fn asked_as(&mut self, stranger: &Stranger) {
        if self.address.is_none() || stranger.last_at > self.last_at {
            self.address = Some(stranger.address);
        }
        self.first_at = self.first_at.min(stranger.first_at);
        self.last_at = self.last_at.max(stranger.last_at);
        self.requests = self.requests.saturating_add(stranger.requests);
        if self.about == About::default() {
            self.about = stranger.about.clone();
        }
    }
}

/// The name of a machine of which nothing else is known: the digits of its address.
#[must_use]
pub fn proposal(mac: Mac) -> String {
    mac.to_string().replace(':', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_waits_once_whatever_it_asked() {
        let mac = |last| Mac([0, 0x1b, 0x21, 0, 0, last]);
        let stranger = |last, second| Stranger {
            mac: mac(last),
            address: IpAddr::from([10, 0, 0, last]),
            first_at: Timestamp(second),
            last_at: Timestamp(second + 5),
            requests: 2,
            about: About::from("ACME Box".to_owned()),
        };
        let wish = PendingHost {
            id: HostId(7),
            name: "lab".into(),
            macs: vec![mac(1), mac(2)],
            about: About::default(),
            at: Timestamp(50),
        };
        let strangers = vec![stranger(1, 10), stranger(2, 100), stranger(3, 30)];
        let all = waiting(vec![wish], strangers);
        assert_eq!(all.len(), 2);
        let [first, second] = &all[..] else { panic!() };
        assert_eq!((first.proposal.as_str(), first.is_wish), ("lab", true));
        assert_eq!(
            (first.first_at, first.last_at),
            (Timestamp(10), Timestamp(105))
        );
        assert_eq!((first.requests, first.about.as_str()), (4, "ACME Box"));
        assert_eq!(first.address, Some(IpAddr::from([10, 0, 0, 2])));
        assert_eq!(
            (second.proposal.as_str(), second.is_wish),
            ("001b21000003", false)
        );
        second.proposal.parse::<HostName>().unwrap();
    }

    #[test]
    fn what_a_machine_says_of_itself_is_made_readable() {
        let about = About::from(format!("  \u{1b}[2JBox\n{}", "x".repeat(500)));
        assert!(about.as_str().chars().all(|c| !c.is_control()), "{about:?}");
        assert!(
            about.as_str().chars().count() <= About::LEN_MAX,
            "{about:?}"
        );
    }

    #[test]
    fn names_become_computer_names() {
        for name in ["a", "LAB-01", "123456789012345"] {
            assert_eq!(name.parse::<HostName>().unwrap().as_str(), name);
        }
        for name in ["", "a b", "-a", "sixteen-letters-", "ä", "a/"] {
            assert!(name.parse::<HostName>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_card_has_an_address_of_its_own() {
        let station = |text: &str| StationMac::try_from(text.parse::<Mac>().unwrap());
        assert!(station("00:1b:21:aa:bb:cc").is_ok());
        assert_eq!(station("00:00:00:00:00:00"), Err(BadStationMac::Zero));
        for group in [
            "ff:ff:ff:ff:ff:ff",
            "01:00:5e:00:00:01",
            "33:33:00:00:00:01",
        ] {
            assert!(matches!(station(group), Err(BadStationMac::Group(_))));
        }
    }

    #[test]
    fn a_disk_name_that_would_be_changed_on_its_way_is_refused() {
        for name in [
            "",
            "/dev/disk/by-id/ata-WDC_WD10EZEX-08WN4A0_WD-WCC6Y3LHTJ1N",
            "0x5002538f41234567,nvme-eui.0025385b01234567",
            "SanDisk 3.2 Gen1",
            "500107862016",
            &"x".repeat(250),
        ] {
            let disk = name.parse::<TargetDisk>().unwrap();
            assert_eq!(String::from(disk.clone()), name);
            // It arrives as it is.
            let line = fog::args::ArgsWriter::default()
                .set("fdrive", name)
                .finish();
            let args = fog::KernelArgs::parse(&line);
            assert_eq!(args.value("fdrive").unwrap_or_default(), name);
        }
        for (name, bad) in [
            ("a$b", '$'),
            ("a\nb", '\n'),
            ("a\"b", '"'),
            ("a=b", '='),
            ("Gerät", 'ä'),
            ("a#1", '#'),
        ] {
            let error = name.parse::<TargetDisk>().unwrap_err();
            let is_found =
                matches!(error, BadTargetDisk::Character { character, .. } if character == bad);
            assert!(is_found, "{error}");
        }
        assert!(matches!(
            "a+_+b".parse::<TargetDisk>(),
            Err(BadTargetDisk::Blank(_))
        ));
        let long = "x".repeat(251);
        assert_eq!(long.parse::<TargetDisk>(), Err(BadTargetDisk::TooLong(251)));
    }
}
