//! Causes in words: what it is, what was seen, what to do.

use std::net::Ipv4Addr;
use std::path::Path;

use super::{certificate_advice, certificate_fault, foreign};
use crate::domain::certificate::Worry;
use crate::domain::doctor::{Access, Card, Cause, Held, Offer, Sender};

/// What is wrong, in a sentence.
#[must_use]
pub fn sentence(cause: &Cause) -> String {
    match cause {
        Cause::NoCard { .. } => "no network card has a link and an IPv4 address".to_owned(),
        Cause::CardMissing { interface, .. } => {
            format!(
                "there is no network card {} with an IPv4 address",
                foreign(interface)
            )
        }
        Cause::CardDown { card } => format!("{} has no link", foreign(&card.name)),
        Cause::AddressForeign { address, .. } => {
            format!("this machine does not have the address {address}")
        }
        Cause::OnlyLoopback { card } => {
            format!("{} reaches no other machine", foreign(&card.name))
        }
        Cause::HttpTaken(held) => format!("another program has port {} of HTTP", held.port),
        Cause::Https { .. } => "HTTPS cannot be served".to_owned(),
        Cause::Certificate(worry) => certificate_fault(worry),
        Cause::NotRunning { data } => format!("no server runs on {}", shown(data)),
        Cause::Unanswered { .. } => "the server runs and does not answer".to_owned(),
        Cause::SessionPorts(_) => "other programs have ports of the sessions".to_owned(),
        Cause::Senders(senders) => match senders.len() {
            1 => "a sender runs that no session knows".to_owned(),
            count => format!("{count} senders run that no session knows"),
        },
        Cause::FogManager { .. } => "FOG's own FOGMulticastManager runs here".to_owned(),
        Cause::Images { path, access } => match access {
            Access::Absent => format!("the image directory {} does not exist", shown(path)),
            _ => format!("the image directory {} cannot be read", shown(path)),
        },
        Cause::ImagesReadOnly { path, .. } => {
            format!(
                "captures cannot arrive in the image directory {}",
                shown(path)
            )
        }
        Cause::NoMark { .. } => "the image directory lacks .mntcheck".to_owned(),
        Cause::Boot(_) => "PCs cannot boot from here".to_owned(),
        Cause::Data { path, .. } => format!("the data directory {} cannot be used", shown(path)),
        Cause::LittleSpace { path, .. } => format!("there is little space left in {}", shown(path)),
        Cause::ForeignFiles { path, .. } => {
            format!("the owner of {} cannot use all files in it", shown(path))
        }
        Cause::Database { .. } => "the database cannot be opened".to_owned(),
        Cause::NotUndone => "FOG's tables are MyISAM".to_owned(),
        Cause::OddSettings(_) => "settings in the database make no sense".to_owned(),
        Cause::OtherCardSet { .. } => {
            "FOG's page names another network card than the sessions have".to_owned()
        }
        Cause::NodeCutOff(_) => "the node of the database's cluster takes nothing".to_owned(),
        Cause::FewNodes(_) => {
            "the database's cluster stops when one more of its nodes is gone".to_owned()
        }
        Cause::Clock { .. } => "the clock is wrong".to_owned(),
        Cause::NameElsewhere { name, .. } => {
            format!(
                "the name of this machine, {}, leads to another one",
                foreign(name)
            )
        }
        Cause::NameUnknown { name, .. } => {
            format!("the name of this machine, {}, leads nowhere", foreign(name))
        }
        Cause::NoDhcp { interface } => {
            format!("no DHCP server answers on {}", foreign(interface))
        }
        Cause::SeveralDhcp(_) => "several DHCP servers answer".to_owned(),
        Cause::BootElsewhere(_) => "the DHCP server leads PCs to another machine".to_owned(),
        Cause::NoMulticast { interface, .. } => {
            format!("nothing can be sent by multicast on {}", foreign(interface))
        }
    }
}

/// What was seen of it.
#[must_use]
pub fn seen(cause: &Cause) -> Vec<String> {
    match cause {
        Cause::NoCard { present }
        | Cause::CardMissing { present, .. }
        | Cause::AddressForeign { present, .. } => match &present[..] {
            [] => vec!["the kernel shows no address".to_owned()],
            present => present.iter().map(card).collect(),
        },
        Cause::CardDown { card: found } | Cause::OnlyLoopback { card: found } => vec![card(found)],
        Cause::HttpTaken(found) => vec![held("TCP", found)],
        Cause::NotRunning { data } => {
            vec![format!(
                "nothing answers at {}",
                shown(&data.join("server.sock"))
            )]
        }
        Cause::SessionPorts(found) => found.iter().map(|found| held("UDP", found)).collect(),
        Cause::Senders(senders) => senders.iter().map(sender).collect(),
        Cause::FogManager { pid } => vec![format!("process {pid}")],
        Cause::Images { path, access } | Cause::Data { path, access } => {
            vec![file(path, access)]
        }
        Cause::NoMark { path } => vec![file(path, &Access::Absent)],
        Cause::Boot(files) => files
            .iter()
            .map(|(path, access)| file(path, access))
            .collect(),
        Cause::LittleSpace { free, .. } => vec![format!("{} are free", readable::Size(*free))],
        Cause::ForeignFiles { files, .. } => {
            files.iter().take(SHOWN).map(|path| shown(path)).collect()
        }
        Cause::Unanswered { why }
        | Cause::ImagesReadOnly { why, .. }
        | Cause::Https { why }
        | Cause::Database { why }
        | Cause::NameUnknown { why, .. } => {
            vec![foreign(why)]
        }
        Cause::Certificate(worry) => vec![match worry {
            Worry::Early { not_before } => format!("it is valid from {not_before} UTC on"),
            Worry::Expired { not_after } | Worry::EndsSoon { not_after } => {
                format!("it is valid until {not_after} UTC")
            }
            Worry::Names { names, .. } => {
                let names: Vec<String> = names.iter().take(SHOWN).map(foreign).collect();
                format!("it names {}", names.join(", "))
            }
        }],
        Cause::NodeCutOff(look) | Cause::FewNodes(look) => vec![format!(
            "{}: {}; {}",
            foreign(&look.node),
            foreign(&look.state),
            readable::Count(u64::from(look.size), "node")
        )],
        Cause::NotUndone => vec!["a table of FOG's has an engine without transactions".to_owned()],
        Cause::OddSettings(odd) => odd.iter().map(|odd| foreign(odd.to_string())).collect(),
        Cause::OtherCardSet { setting, card } => vec![format!(
            "FOG_UDPCAST_INTERFACE is {}, sessions are sent by {}",
            foreign(setting),
            card.as_ref()
                .map_or_else(|| "the card that leads to each client".to_owned(), foreign)
        )],
        Cause::Clock { now } => vec![format!("it is {now} s after the beginning of 1970")],
        Cause::NameElsewhere { addresses, .. } => {
            let addresses: Vec<String> = addresses.iter().map(Ipv4Addr::to_string).collect();
            vec![format!("it leads to {}", addresses.join(", "))]
        }
        Cause::NoDhcp { .. } => vec!["no offer within some seconds".to_owned()],
        Cause::SeveralDhcp(offers) => offers.iter().map(offer).collect(),
        Cause::BootElsewhere(found) => vec![offer(found)],
        Cause::NoMulticast { why, .. } => vec![match why {
            Some(why) => foreign(why),
            None => "a datagram to a group did not come back to this machine".to_owned(),
        }],
    }
}

/// What to do.
#[must_use]
pub fn advice(cause: &Cause) -> String {
    match cause {
        Cause::NoCard { .. } => "look at the cable and give the card an address".to_owned(),
        Cause::CardMissing { .. } | Cause::OnlyLoopback { .. } => {
            "name the card of the PCs with --interface, or interface in the configuration".to_owned()
        }
        Cause::CardDown { card } => format!(
            "look at the cable and the switch port; ip link set {} up",
            foreign(&card.name)
        ),
        Cause::AddressForeign { .. } => {
            "correct --address and --listen, or address and listen in the configuration".to_owned()
        }
        Cause::HttpTaken(held) => format!(
            "stop {} (pid {}), or choose another port with --listen",
            foreign(&held.program),
            held.pid
        ),
        Cause::NotRunning { .. } => {
            "start it: systemctl start fos-server; journalctl -u fos-server says why it ended"
                .to_owned()
        }
        Cause::Unanswered { .. } => "look at its log; systemctl restart fos-server".to_owned(),
        Cause::SessionPorts(_) => {
            "stop these programs, or choose other ports with --ports FIRST-LAST".to_owned()
        }
        Cause::Https { .. } => {
            "correct --https-certificate and --https-key; user fos has to be able to read both files".to_owned()
        }
        Cause::Certificate(worry) => certificate_advice(worry),
        Cause::Senders(_) => "fos-server senders --end ends them".to_owned(),
        Cause::FogManager { .. } => {
            "both would send FOG's sessions: fos-server setup --take-over-fog takes its place"
                .to_owned()
        }
        Cause::Images { .. } => {
            "mount it, name another with --images, or give user fos the right to read it".to_owned()
        }
        Cause::ImagesReadOnly { path, .. } => format!(
            "to capture, let user fos write there (chown fos {0}, and, with systemd, ReadWritePaths={0}); who only \
             deploys needs nothing",
            shown(path)
        ),
        Cause::NoMark { path } => format!(
            "FOG's clients refuse a share without it: is it mounted? If so: touch {}",
            shown(path)
        ),
        Cause::Boot(_) => {
            "fos-server boot-files makes kernel and initramfs from the installed kernel".to_owned()
        }
        Cause::Data { .. } => "make it, or name another with --data; doctor needs root".to_owned(),
        Cause::LittleSpace { .. } => "make room: database and logs are there".to_owned(),
        Cause::ForeignFiles { path, .. } => format!(
            "a command made them before the server ran: chown -R --reference={0} {0}",
            shown(path)
        ),
        Cause::Database { .. } => {
            "look at the database, and at --database and its password in the configuration".to_owned()
        }
        Cause::NodeCutOff(_) => "look whether this node reaches the others (TCP 4567). If most of them are gone for good, \
             make this one the cluster (SET GLOBAL wsrep_provider_options='pc.bootstrap=YES'), and never two of them. Name \
             all nodes in --database, and another one is used"
            .to_owned(),
        Cause::FewNodes(_) => {
            "start the nodes that are missing; a cluster needs three, so that two are a majority".to_owned()
        }
        Cause::NotUndone => "it works; what fails in the middle is not undone, and Galera does not copy these tables. \
             Nothing has to be done"
            .to_owned(),
        Cause::OddSettings(_) => {
            "correct them on FOG's page, or empty them for the defaults; until then the defaults count".to_owned()
        }
        Cause::OtherCardSet { .. } => "it has no effect, neither here nor in FOG's own manager; name the card of the PCs \
             with --interface if it is the wrong one that counts"
            .to_owned(),
        Cause::Clock { .. } => {
            "set it: timedatectl set-ntp true; logs and sessions go by it".to_owned()
        }
        Cause::NameElsewhere { .. } | Cause::NameUnknown { .. } => {
            "correct /etc/hosts or the name server".to_owned()
        }
        Cause::NoDhcp { .. } => {
            "PCs get no address: look at the DHCP server, and whether it serves this network".to_owned()
        }
        Cause::SeveralDhcp(_) => {
            "whichever answers first decides where PCs boot from: leave one".to_owned()
        }
        Cause::BootElsewhere(_) => {
            "fos-server setup prints what it must say, or answers beside it with --proxy-dhcp".to_owned()
        }
        Cause::NoMulticast { .. } => {
            "look at the packet filter (nft list ruleset) and the routes (ip route get 239.0.0.1)"
                .to_owned()
        }
    }
}

/// Paths of a list.
const SHOWN: usize = 5;

fn shown(path: &Path) -> String {
    foreign(path.to_string_lossy())
}

fn card(card: &Card) -> String {
    let state = match (card.is_loopback, card.is_up) {
        (true, _) => "loopback",
        (false, true) => "up",
        (false, false) => "no link",
    };
    format!("{} has {} ({state})", foreign(&card.name), card.address)
}

fn held(kind: &str, held: &Held) -> String {
    format!(
        "{kind} port {} is in use by {} (pid {})",
        held.port,
        foreign(&held.program),
        held.pid
    )
}

fn sender(sender: &Sender) -> String {
    let file = sender.file.as_deref().map(shown);
    let file = file.unwrap_or_else(|| "standard input".to_owned());
    format!("udp-sender (pid {}) sends {file}", sender.pid)
}

fn file(path: &Path, access: &Access) -> String {
    match access {
        Access::Good => format!("{} is there", shown(path)),
        Access::Absent => format!("{} is missing", shown(path)),
        Access::Refused(why) => format!("{}: {}", shown(path), foreign(why)),
    }
}

fn offer(offer: &Offer) -> String {
    match offer.next_server {
        Some(next) => format!(
            "{} offers an address, and {next} to boot from",
            offer.server
        ),
        None => format!("{} offers an address", offer.server),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::*;
    use crate::domain::Timestamp;
    use crate::domain::doctor::ClusterLook;

    fn cluster() -> ClusterLook {
        ClusterLook {
            node: "MariaDB at a\u{1b}[31m:3306".to_owned(),
            is_primary: false,
            state: "non-Primary, Init".to_owned(),
            size: 1,
        }
    }

    fn all() -> Vec<Cause> {
        let card = Card {
            name: "eth\u{1b}[31m0".to_owned(),
            address: Ipv4Addr::new(10, 0, 0, 5),
            is_up: false,
            is_loopback: false,
        };
        let held = Held {
            port: 80,
            pid: 7,
            program: "apache2".to_owned(),
        };
        let offer = Offer {
            server: Ipv4Addr::new(10, 0, 0, 1),
            next_server: None,
        };
        let path = PathBuf::from("/data\n/x");
        let why = "refused\u{7}".to_owned();
        let present = vec![card.clone()];
        let interface = card.name.clone();
        let access = Access::Refused(why.clone());
        vec![
            Cause::NoCard {
                present: Vec::new(),
            },
            Cause::CardMissing {
                interface: interface.clone(),
                present: present.clone(),
            },
            Cause::CardDown { card: card.clone() },
            Cause::AddressForeign {
                address: card.address,
                present,
            },
            Cause::OnlyLoopback { card },
            Cause::HttpTaken(held.clone()),
            Cause::Https { why: why.clone() },
            Cause::Certificate(Worry::Early {
                not_before: Timestamp(1),
            }),
            Cause::Certificate(Worry::Expired {
                not_after: Timestamp(1),
            }),
            Cause::Certificate(Worry::EndsSoon {
                not_after: Timestamp(1),
            }),
            Cause::Certificate(Worry::Names {
                names: vec!["a\u{1b}b".to_owned()],
                missing: vec!["10.0.0.5".to_owned()],
            }),
            Cause::NotRunning { data: path.clone() },
            Cause::Unanswered { why: why.clone() },
            Cause::SessionPorts(vec![held]),
            Cause::Senders(vec![Sender {
                pid: 5,
                file: Some(path.clone()),
            }]),
            Cause::FogManager { pid: 3 },
            Cause::Images {
                path: path.clone(),
                access: access.clone(),
            },
            Cause::ImagesReadOnly {
                path: path.clone(),
                why: "no".into(),
            },
            Cause::NoMark { path: path.clone() },
            Cause::Boot(vec![(path.clone(), Access::Absent)]),
            Cause::Data {
                path: path.clone(),
                access,
            },
            Cause::LittleSpace {
                path: path.clone(),
                free: 7,
            },
            Cause::ForeignFiles {
                path: path.clone(),
                files: vec![path],
            },
            Cause::Database { why: why.clone() },
            Cause::NotUndone,
            Cause::OddSettings(vec![crate::domain::multicast::OddSetting {
                key: "FOG_MULTICAST_DUPLEX".into(),
                value: "\u{1b}[2J".into(),
                expected: "y".into(),
                used: "z".into(),
            }]),
            Cause::OtherCardSet {
                setting: "eth7".into(),
                card: None,
            },
            Cause::NodeCutOff(cluster()),
            Cause::FewNodes(cluster()),
            Cause::Clock { now: 1 },
            Cause::NameElsewhere {
                name: "server".to_owned(),
                addresses: vec![offer.server],
            },
            Cause::NameUnknown {
                name: "server".to_owned(),
                why: why.clone(),
            },
            Cause::NoDhcp {
                interface: interface.clone(),
            },
            Cause::SeveralDhcp(vec![offer.clone(), offer.clone()]),
            Cause::BootElsewhere(offer),
            Cause::NoMulticast {
                interface,
                why: Some(why),
            },
        ]
    }

    #[test]
    fn every_cause_has_a_code_evidence_and_advice_that_a_terminal_can_show() {
        let all = all();
        let codes: BTreeSet<&str> = all.iter().map(Cause::code).collect();
        assert_eq!(codes.len(), all.len());
        for cause in &all {
            let mut texts = seen(cause);
            assert!(!texts.is_empty(), "{cause:?}");
            texts.extend([sentence(cause), advice(cause)]);
            for text in texts {
                assert!(!text.is_empty(), "{cause:?}");
                assert!(!text.chars().any(char::is_control), "{text:?}");
            }
        }
    }
}
