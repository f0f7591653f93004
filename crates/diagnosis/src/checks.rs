//! What was looked at, a line each.

use std::fmt;

use readable::{Rate, Size, Time};

use crate::cause::{Cause, describe, list};
use crate::evidence::{
    Card, Clock, DiskLook, Duplex, Evidence, Look, Memory, Multicast, NextHop, PathLook, Reach,
    Resolution, Route, Sending, ServerLook, Traffic, WebAnswer,
};
use crate::firmware::Boot;
use crate::rules::rate;

/// A part of the machine or the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Card and link.
    Link,
    /// Counters of the card.
    Counters,
    /// DHCP servers.
    Dhcp,
    /// Own address.
    Address,
    /// Name of the server, route, web server.
    Server,
    /// NFS.
    Store,
    /// Multicast session.
    Multicast,
    /// Size of datagrams.
    Path,
    /// Clock.
    Clock,
    /// Disks.
    Disks,
    /// What the firmware would start.
    Boot,
    /// Memory.
    Memory,
    /// The web server of this machine.
    Web,
    /// Asking for a stream, and being let in.
    Rendezvous,
    /// Small datagrams to the group.
    Small,
    /// Datagrams with data.
    Large,
    /// The bytes of a stream, to its end.
    Content,
    /// Lost datagrams.
    Loss,
    /// How fast a stream came.
    Rate,
}

impl Area {
    /// The name, for people and programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Counters => "counters",
            Self::Dhcp => "dhcp",
            Self::Address => "address",
            Self::Server => "server",
            Self::Store => "store",
            Self::Multicast => "multicast",
            Self::Path => "path",
            Self::Clock => "clock",
            Self::Disks => "disks",
            Self::Boot => "boot",
            Self::Memory => "memory",
            Self::Web => "web",
            Self::Rendezvous => "rendezvous",
            Self::Small => "small",
            Self::Large => "large",
            Self::Content => "content",
            Self::Loss => "loss",
            Self::Rate => "rate",
        }
    }

    /// Where a cause lies.
    #[must_use]
    pub fn of(cause: &Cause) -> Self {
        match cause {
            Cause::NoCard
            | Cause::NoLink { .. }
            | Cause::SilentPort { .. }
            | Cause::HungCard { .. }
            | Cause::LateAnswer { .. }
            | Cause::HalfDuplex { .. }
            | Cause::SlowLink { .. }
            | Cause::SmallMtu { .. } => Self::Link,
            Cause::UnsteadyLink { .. } | Cause::CardErrors { .. } => Self::Counters,
            Cause::NoDhcp { .. } | Cause::SecondDhcp { .. } => Self::Dhcp,
            Cause::NoAddress { .. } => Self::Address,
            Cause::NoName { .. }
            | Cause::NoRoute { .. }
            | Cause::NoServer { .. }
            | Cause::NoRouter { .. }
            | Cause::NoWebServer { .. }
            | Cause::WebBlocked { .. }
            | Cause::ServerSilent { .. }
            | Cause::Redirect { .. }
            | Cause::ServerFails { .. }
            | Cause::NotFog { .. } => Self::Server,
            Cause::NoStore { .. } => Self::Store,
            Cause::WrongCard { .. }
            | Cause::NoSender { .. }
            | Cause::RendezvousBlocked { .. }
            | Cause::NotRouted { .. }
            | Cause::NoQuerier { .. }
            | Cause::Filtered { .. }
            | Cause::SmallOnly { .. } => Self::Multicast,
            Cause::BlackHole { .. } => Self::Path,
            Cause::ClockOff { .. } => Self::Clock,
            Cause::NoDisk
            | Cause::DiskGone { .. }
            | Cause::DiskUnreadable { .. }
            | Cause::DiskErrors { .. }
            | Cause::DiskFailing { .. }
            | Cause::SlowDisk { .. } => Self::Disks,
            Cause::NoEfiPartition { .. } | Cause::NoBootEntry { .. } => Self::Boot,
            Cause::LittleMemory { .. } | Cause::MemoryErrors { .. } => Self::Memory,
            Cause::OwnWeb { .. } => Self::Web,
            Cause::NoTestSender { .. }
            | Cause::RequestsLost { .. }
            | Cause::NoTestAnswer { .. }
            | Cause::TestRefused { .. }
            | Cause::OtherCard { .. }
            | Cause::NoReceiver { .. }
            | Cause::FewReceivers { .. } => Self::Rendezvous,
            Cause::GroupUnheard { .. } => Self::Small,
            Cause::LargeLost { .. } => Self::Large,
            Cause::TestStoodStill { .. }
            | Cause::TestCut { .. }
            | Cause::ForeignStream { .. }
            | Cause::TestDamaged { .. }
            | Cause::TestFailed { .. }
            | Cause::ReceiversLeft { .. } => Self::Content,
            Cause::HighLoss { .. } => Self::Loss,
            Cause::SlowTransfer { .. } => Self::Rate,
        }
    }
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Of what.
    pub area: Area,
    /// What came out.
    pub verdict: Verdict,
    /// What was seen, or why nothing was.
    pub text: String,
}

/// What came out of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was found.
    Fine,
    /// A cause was found there.
    Problem,
    /// It was not looked at.
    Skipped,
}

/// All areas in order, with what was seen.
#[must_use]
pub fn checks(evidence: &Evidence, causes: &[Cause]) -> Vec<Check> {
    let server = evidence.server.as_ref();
    let store = server.map_err(Clone::clone);
    let store = store.and_then(|server| server.store.clone());
    let lines = [
        (
            Area::Link,
            text(&evidence.cards, |cards| link(evidence, cards)),
        ),
        (Area::Counters, text(&evidence.traffic, counters)),
        (Area::Dhcp, text(&evidence.offers, |offers| dhcp(offers))),
        (
            Area::Address,
            text(&evidence.addresses, |own| own_addresses(own)),
        ),
        (Area::Server, text(&evidence.server, server_line)),
        (
            Area::Store,
            text(&store, |(address, reach)| {
                format!("{address} port 2049 (NFS): {}", reach_word(*reach))
            }),
        ),
        (Area::Multicast, text(&evidence.multicast, multicast)),
        (Area::Path, text(&evidence.path, path)),
        (Area::Clock, text(&evidence.clock, clock)),
        (Area::Disks, text(&evidence.disks, |disks| all_disks(disks))),
        (Area::Boot, text(&evidence.boot, boot)),
        (Area::Memory, text(&evidence.memory, memory)),
    ];
    let checks = lines.into_iter().map(|(area, (is_seen, text))| {
        let is_problem = causes.iter().any(|cause| Area::of(cause) == area);
        let verdict = match (is_problem, is_seen) {
            (true, _) => Verdict::Problem,
            (false, true) => Verdict::Fine,
            (false, false) => Verdict::Skipped,
        };
        Check {
            area,
            verdict,
            text,
        }
    });
    checks.collect()
}

fn text<T>(look: &Look<T>, show: impl FnOnce(&T) -> String) -> (bool, String) {
    match look {
        Ok(seen) => (true, show(seen)),
        Err(why) => (false, why.to_string()),
    }
}

fn link(evidence: &Evidence, cards: &[Card]) -> String {
    let card = evidence.card().or_else(|| cards.first());
    let Some(card) = card else {
        return "no wired card".to_owned();
    };
    let mut text = format!("{} ({})", card.name, card.mac);
    if !card.has_link {
        return text + ": no link";
    }
    text += ": link";
    if let Some(speed) = card.speed {
        text += &format!(", {speed} Mbit/s");
    }
    text += match card.duplex {
        Duplex::Full => ", full duplex",
        Duplex::Half => ", half duplex",
        Duplex::Unknown => "",
    };
    text + &format!(", MTU {}", card.mtu)
}

fn counters(traffic: &Traffic) -> String {
    let (before, after) = (&traffic.before, &traffic.after);
    format!(
        "{} received and {} sent in {}; damaged or not sent since the start: {}; link changes: {}",
        after.received.saturating_sub(before.received),
        after.sent.saturating_sub(before.sent),
        Time(traffic.over),
        after.receive_errors.saturating_add(after.send_errors),
        after.link_changes
    )
}

fn dhcp(offers: &[dhcp::Reply]) -> String {
    if offers.is_empty() {
        return "no offer".to_owned();
    }
    let offers: Vec<String> = offers.iter().map(describe).collect();
    offers.join("; ")
}

fn own_addresses(own: &[impl fmt::Display]) -> String {
    match own {
        [] => "no address".to_owned(),
        own => list(own),
    }
}

fn server_line(server: &ServerLook) -> String {
    let mut text = server.url.clone();
    match &server.resolution {
        Resolution::Address(address) if address.to_string() != server.host => {
            text += &format!(" is {address}");
        }
        Resolution::Address(_) => {}
        Resolution::Unknown { .. } => return text + ": the name cannot be resolved",
    }
    match &server.route {
        Ok(Route::Missing) => return text + ": no route",
        Ok(route) => text += &format!(", {}", route_words(route)),
        Err(_) => {}
    }
    if let Ok(reach) = &server.reach {
        text += &format!(", port {} {}", server.port, reach_word(*reach));
    }
    match &server.answer {
        Ok(WebAnswer::Fog { is_native: true }) => text += ", a fos-server",
        Ok(WebAnswer::Fog { is_native: false }) => text += ", a FOG server",
        Ok(_) => text += ", not the answer of a FOG server",
        Err(_) => {}
    }
    text
}

fn route_words(route: &Route) -> String {
    match route {
        Route::Missing => "no route".to_owned(),
        Route::Through { card, next, .. } => match next {
            NextHop::Direct => format!("directly by {card}"),
            NextHop::Router(router) => format!("by {card} and the router {router}"),
        },
    }
}

fn reach_word(reach: Reach) -> &'static str {
    match reach {
        Reach::Open => "answers",
        Reach::Refused => "refuses",
        Reach::Prohibited => "is blocked by a packet filter",
        Reach::Silent(_) => "is silent",
    }
}

fn multicast(seen: &Multicast) -> String {
    let mut text = format!(
        "sender {} port {}: {} announcements, {} datagrams with data, {} requests in {}",
        seen.sender,
        seen.port,
        seen.announcements,
        seen.data,
        seen.requests,
        Time(seen.listened)
    );
    text += match seen.sending {
        Sending::Now => "; it is sending",
        Sending::Waits => "; it waits",
        Sending::Unknown => "",
    };
    match seen.querier {
        Some(querier) => text + &format!("; IGMP querier {}", querier.address),
        // Without snooping none is needed.
        None => text + "; no IGMP querier",
    }
}

fn path(path: &PathLook) -> String {
    match path.passed {
        None => format!("{} answers no echo", path.to),
        Some(passed) => format!("datagrams of {passed} bytes go to {} and back", path.to),
    }
}

fn clock(clock: &Clock) -> String {
    match clock.ahead {
        0 => "as the server's".to_owned(),
        ahead => format!("{ahead} s ahead of the server's"),
    }
}

fn all_disks(disks: &[DiskLook]) -> String {
    if disks.is_empty() {
        return "no disk".to_owned();
    }
    let lines: Vec<String> = disks
        .iter()
        .map(|disk| {
            let read = match &disk.read {
                Ok(test) => match rate(*test) {
                    Some(rate) => format!("{} reads {}", disk.name, Rate(rate)),
                    None => format!("{} can be read", disk.name),
                },
                Err(error) => format!("{}: {error}", disk.name),
            };
            match &disk.health {
                Ok(health) => format!("{read}, {}", health.words().join(", ")),
                Err(why) => format!("{read}, health not available ({why})"),
            }
        })
        .collect();
    lines.join("; ")
}

fn boot(boot: &Boot) -> String {
    let entries: Vec<String> = boot.entries.iter().map(ToString::to_string).collect();
    let entries = match entries.as_slice() {
        [] => "no boot entries".to_owned(),
        entries => format!("boot entries {}", list(entries)),
    };
    let partitions = boot.disks.iter().flat_map(|disk| {
        let name = &disk.name;
        let all = disk.partitions.iter();
        all.map(move |partition| {
            let number = partition.number;
            let default = match partition.has_default {
                Some(true) => "with",
                Some(false) => "without",
                None => "unreadable",
            };
            format!("{name} {number} ({default} {})", boot.default)
        })
    });
    let partitions: Vec<String> = partitions.collect();
    match partitions.as_slice() {
        [] => format!("UEFI, {entries}; no EFI system partition"),
        partitions => format!(
            "UEFI, {entries}; EFI system partitions: {}",
            list(partitions)
        ),
    }
}

fn memory(memory: &Memory) -> String {
    format!(
        "{}, {} available",
        Size(memory.total),
        Size(memory.available)
    )
}
