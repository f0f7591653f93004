//! The settings of FOG's page "multicast". One that makes no sense has no effect: its default counts, and people are told.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ports::PortPool;

/// What the settings say; `None` and 0 as each says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multicast {
    /// Where the sessions' ports begin.
    pub starting_port: u16,
    /// Base ports in their place; empty if there are none.
    pub port_override: Vec<u16>,
    /// Sessions that may be active; 0 for any number.
    pub max_sessions: u32,
    /// Wait for missing hosts of sessions that say nothing else.
    pub max_wait: Duration,
    /// The groups of the sessions are behind this one; without it each has the one that udpcast derives from the address
    /// of the card.
    pub address: Option<Ipv4Addr>,
    /// Whether a slice is sent while the one before is acknowledged.
    pub duplex: Duplex,
    /// The card that FOG's page names. FOG's own manager does not go by it, and neither do we: an address is sure.
    pub interface: String,
}

/// As udpcast has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Duplex {
    /// One slice is sent while the one before is acknowledged.
    #[default]
    Full,
    /// One after the other.
    Half,
}

impl Default for Multicast {
    fn default() -> Self {
        Self {
            starting_port: PortPool::DEFAULT.first(),
            port_override: Vec::new(),
            max_sessions: 64,
            max_wait: Duration::from_secs(600),
            address: None,
            duplex: Duplex::Full,
            interface: String::new(),
        }
    }
}

/// A setting that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("the setting {key} is {value:?}, expected {expected}; {used}")]
pub struct OddSetting {
    /// Its name.
    pub key: String,
    /// What it says, cut.
    pub value: String,
    /// What it could say.
    pub expected: String,
    /// What counts in its place.
    pub used: String,
}

/// Reads the settings by key; what makes no sense is put into `odd`.
pub fn read(get: impl Fn(&str) -> String, odd: &mut Vec<OddSetting>) -> Multicast {
    let default = Multicast::default();
    let mut complain = |key: &str, value: &str, expected: &str, used: &str| {
        odd.push(OddSetting {
            key: key.to_owned(),
            value: fog::encoding::printable(value, MAX_SHOWN),
            expected: expected.to_owned(),
            used: used.to_owned(),
        });
    };
    let mut value = |key: &str, expected: &str, used: &str, parse: &dyn Fn(&str) -> Option<u32>| {
        let text = get(key);
        match text.trim() {
            "" => None,
            trimmed => parse(trimmed).or_else(|| {
                complain(key, trimmed, expected, used);
                None
            }),
        }
    };
    let starting_port = value(
        STARTING_PORT,
        "an even port from 1024 to 65534",
        "63100 counts",
        &|text| base_port(text).map(u32::from),
    );
    let max_sessions = value(
        MAX_SESSIONS,
        "a number of sessions, or 0 for any number",
        "64 counts",
        &|text| {
            text.parse()
                .ok()
                .filter(|sessions| *sessions <= MOST_SESSIONS)
        },
    );
    let max_wait = value(
        MAX_WAIT,
        "minutes from 1 to 1440",
        "10 minutes count",
        &|text| text.parse().ok().filter(|minutes| *minutes <= LONGEST_WAIT),
    );
    let duplex = match get(DUPLEX).trim() {
        "" | "--full-duplex" => Duplex::Full,
        "--half-duplex" => Duplex::Half,
        other => {
            complain(
                DUPLEX,
                other,
                "--full-duplex or --half-duplex",
                "--full-duplex counts",
            );
            Duplex::Full
        }
    };
    let address = match get(ADDRESS).trim() {
        "" | "0" => None,
        text => {
            let found = text.parse().ok().filter(|address| is_base(*address));
            if found.is_none() {
                complain(ADDRESS, text, BASE_EXPECTED, "udpcast's own group counts");
            }
            found
        }
    };
    let mut port_override = Vec::new();
    match get(PORT_OVERRIDE).trim() {
        "" | "0" => {}
        text => {
            let words = text.split([',', ' ', ';']).filter(|word| !word.is_empty());
            let mut is_odd = false;
            for word in words {
                match base_port(word) {
                    Some(port) if !port_override.contains(&port) => port_override.push(port),
                    Some(_) => {}
                    None => is_odd = true,
                }
            }
            if is_odd {
                let used = match port_override.is_empty() {
                    true => "the ports from the starting port on count",
                    false => "the others of its ports count",
                };
                complain(
                    PORT_OVERRIDE,
                    text,
                    "even ports from 1024 to 65534, with commas between them",
                    used,
                );
            }
        }
    }
    Multicast {
        starting_port: starting_port
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(default.starting_port),
        port_override,
        max_sessions: max_sessions.unwrap_or(default.max_sessions),
        max_wait: match max_wait {
            None | Some(0) => default.max_wait,
            Some(minutes) => Duration::from_secs(u64::from(minutes) * 60),
        },
        address,
        duplex,
        interface: fog::encoding::printable(get(INTERFACE).trim(), 40),
    }
}

/// An even port that has one behind it, and needs no right.
fn base_port(text: &str) -> Option<u16> {
    let port = text.parse::<u16>().ok()?;
    (port >= 1024 && port % 2 == 0).then_some(port)
}

/// Whether sessions can have the groups behind an address: not those of the routers' own protocols, and none that is no
/// group.
#[must_use]
pub fn is_base(address: Ipv4Addr) -> bool {
    let first = u32::from(Ipv4Addr::new(224, 0, 1, 0));
    let last = u32::from(Ipv4Addr::new(239, 255, 255, 255));
    let address = u32::from(address);
    (first..=last - MOST_SESSIONS).contains(&address)
}

/// For people.
pub const BASE_EXPECTED: &str = "a group from 224.0.1.0 to 239.255.127.255";

impl Multicast {
    /// The base ports that sessions may have, in order.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        if !self.port_override.is_empty() {
            return self.port_override.clone();
        }
        let pairs = match self.max_sessions {
            0 => MOST_SESSIONS,
            sessions => sessions,
        };
        let pairs = usize::try_from(pairs).unwrap_or(usize::MAX);
        (self.starting_port..=65534)
            .step_by(2)
            .take(pairs)
            .collect()
    }

    /// The group that a session at this port sends its data to; `None` for udpcast's own choice. As FOG counts them: by
    /// the place of the port in the pool, and without one by the port itself.
    #[must_use]
    pub fn group(&self, port: u16, pool: &[u16]) -> Option<Ipv4Addr> {
        let base = u32::from(self.address?);
        let place = pool.iter().position(|base| *base == port);
        let offset = match place.and_then(|place| u32::try_from(place).ok()) {
            Some(place) => place + 1,
            None => (u32::from(port) / 2 + 1) % self.max_sessions.max(1),
        };
        base.checked_add(offset.min(MOST_SESSIONS))
            .map(Ipv4Addr::from)
    }
}

const INTERFACE: &str = "FOG_UDPCAST_INTERFACE";
const STARTING_PORT: &str = "FOG_UDPCAST_STARTINGPORT";
const MAX_SESSIONS: &str = "FOG_MULTICAST_MAX_SESSIONS";
const MAX_WAIT: &str = "FOG_UDPCAST_MAXWAIT";
const ADDRESS: &str = "FOG_MULTICAST_ADDRESS";
const PORT_OVERRIDE: &str = "FOG_MULTICAST_PORT_OVERRIDE";
const DUPLEX: &str = "FOG_MULTICAST_DUPLEX";

/// The settings that are read.
pub const KEYS: [&str; 7] = [
    INTERFACE,
    STARTING_PORT,
    MAX_SESSIONS,
    MAX_WAIT,
    ADDRESS,
    PORT_OVERRIDE,
    DUPLEX,
];

/// More have no ports.
pub const MOST_SESSIONS: u32 = 32_768;

/// In minutes: a day.
pub const LONGEST_WAIT: u32 = 1440;

/// Characters of a value that people are shown.
const MAX_SHOWN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(settings: &[(&str, &str)]) -> (Multicast, Vec<String>) {
        let get = |key: &str| {
            let found = settings.iter().find(|(known, _)| *known == key);
            found.map_or_else(String::new, |(_, value)| (*value).to_owned())
        };
        let mut odd = Vec::new();
        let found = read(get, &mut odd);
        (found, odd.into_iter().map(|odd| odd.key).collect())
    }

    #[test]
    fn nothing_and_fogs_defaults_are_the_defaults() {
        assert_eq!(of(&[]), (Multicast::default(), Vec::new()));
        let fogs = [
            (STARTING_PORT, "63100"),
            (MAX_SESSIONS, "64"),
            (MAX_WAIT, "10"),
            (ADDRESS, "0"),
            (PORT_OVERRIDE, "0"),
            (DUPLEX, "--full-duplex"),
        ];
        assert_eq!(of(&fogs), (Multicast::default(), Vec::new()));
    }

    #[test]
    fn each_setting_counts() {
        let (found, odd) = of(&[
            (INTERFACE, " eth7 "),
            (STARTING_PORT, " 61866 "),
            (MAX_SESSIONS, "0"),
            (MAX_WAIT, "1440"),
            (ADDRESS, "239.1.2.3"),
            (PORT_OVERRIDE, "50000, 50010;50000 50002"),
            (DUPLEX, "--half-duplex"),
        ]);
        assert_eq!(odd, [""; 0]);
        let wanted = Multicast {
            starting_port: 61866,
            port_override: vec![50000, 50010, 50002],
            max_sessions: 0,
            max_wait: Duration::from_secs(86_400),
            address: Some(Ipv4Addr::new(239, 1, 2, 3)),
            duplex: Duplex::Half,
            interface: "eth7".into(),
        };
        assert_eq!(found, wanted);
        assert_eq!(found.ports(), [50000, 50010, 50002]);
    }

    #[test]
    fn what_makes_no_sense_is_named_and_its_default_counts() {
        for (key, values) in [
            (
                STARTING_PORT,
                &["abc", "-2", "63101", "1000", "65536", "0"][..],
            ),
            (MAX_SESSIONS, &["many", "-1", "32769", "4294967296"][..]),
            (MAX_WAIT, &["1441", "1.5", "-1"][..]),
            (
                ADDRESS,
                &["10.0.0.1", "224.0.0.1", "239.255.255.255", "::1", "x"][..],
            ),
            (PORT_OVERRIDE, &["63101", "x", "80,66000"][..]),
            (DUPLEX, &["--file", "full"][..]),
        ] {
            for value in values {
                let (found, odd) = of(&[(key, value)]);
                assert_eq!(found, Multicast::default(), "{key} {value}");
                assert_eq!(odd, [key], "{key} {value}");
            }
        }
        // What is good of a list counts.
        let (found, odd) = of(&[(PORT_OVERRIDE, "50000,50001")]);
        assert_eq!((found.port_override, odd.len()), (vec![50000], 1));
        let (found, odd) = of(&[(MAX_WAIT, "0")]);
        assert_eq!((found.max_wait.as_secs(), odd.len()), (600, 0));
    }

    #[test]
    fn each_session_has_a_group_of_its_own() {
        let (found, _) = of(&[(ADDRESS, "239.1.2.254")]);
        let pool = found.ports();
        assert_eq!((pool.len(), pool[0], pool[63]), (64, 63100, 63226));
        let group = |port| found.group(port, &pool).unwrap().to_string();
        assert_eq!(group(63100), "239.1.2.255");
        assert_eq!(group(63102), "239.1.3.0");
        // As FOG before its pool: 63300 / 2 + 1, modulo 64.
        assert_eq!(group(63300), "239.1.3.33");
        assert_eq!(Multicast::default().group(63100, &pool), None);
        let (highest, _) = of(&[(ADDRESS, "239.255.127.255"), (MAX_SESSIONS, "0")]);
        let pool = highest.ports();
        assert!(
            pool.iter()
                .all(|port| highest.group(*port, &pool).unwrap().is_multicast())
        );
    }
}
