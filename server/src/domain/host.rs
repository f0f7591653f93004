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
}

#[cfg(test)]
mod tests {
    use super::*;

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
