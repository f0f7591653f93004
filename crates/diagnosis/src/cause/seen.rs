//! What was seen, for people.

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use dhcp::Reply;
use readable::{Count, Rate, Size, Time};

use super::{Cause, Silence};
use crate::evidence::{Neighbour, Reach, WebAnswer};

impl Cause {
    /// What was seen, a sentence each.
    #[must_use]
    pub fn evidence(&self) -> Vec<String> {
        match self {
            Self::NoCard => vec!["the kernel shows no wired network card".into()],
            Self::NoLink { card, mac } => vec![format!("{card} ({mac}) has no carrier")],
            Self::UnsteadyLink {
                changes,
                over: Some(over),
                ..
            } => {
                vec![format!(
                    "the link changed {} in {}",
                    times(*changes),
                    Time(*over)
                )]
            }
            Self::UnsteadyLink {
                changes,
                over: None,
                ..
            } => {
                vec![format!(
                    "the link changed {} since this machine started",
                    times(*changes)
                )]
            }
            Self::SilentPort {
                sent,
                control,
                over,
                ..
            } => {
                let said = match control {
                    0 => "0 received".to_owned(),
                    _ => format!("only {control} for groups received"),
                };
                let sent = Count(*sent, "frame");
                vec![format!(
                    "there is a link; {sent} sent, {said} in {}",
                    Time(*over)
                )]
            }
            Self::HungCard {
                timeouts: timeouts @ 1..,
                ..
            } => vec![format!(
                "the kernel has started its queue again {}, as nothing was sent in time",
                times(*timeouts)
            )],
            Self::HungCard { over, .. } => vec![format!(
                "there is a link; 0 frames sent and 0 received in {}, though this machine asked for an address",
                Time(*over)
            )],
            Self::LateAnswer {
                after,
                is_since_link: true,
            } => {
                vec![format!(
                    "the first answer came {} after the link",
                    Time(*after)
                )]
            }
            Self::LateAnswer {
                after,
                is_since_link: false,
            } => {
                vec![format!(
                    "nothing answered for {}, then it did; the link was up",
                    Time(*after)
                )]
            }
            Self::NoDhcp { card, awaited, own } => {
                let mut seen = vec![format!("no offer on {card} in {}", Time(*awaited))];
                seen.extend(own.iter().map(|own| format!("{card} has only {own}")));
                seen
            }
            Self::NoAddress { card, offers } if offers.is_empty() => vec![format!(
                "{card} has no IPv4 address; DHCP servers could not be asked"
            )],
            Self::NoAddress { offers, .. } | Self::SecondDhcp { offers } => {
                offers.iter().map(describe).collect()
            }
            Self::NoName {
                name_servers,
                error,
                ..
            } => {
                let servers = match name_servers.as_slice() {
                    [] => "this machine has no name server".to_owned(),
                    servers => format!("name servers: {}", servers.join(", ")),
                };
                vec![servers, error.clone()]
            }
            Self::NoRoute { own, .. } => vec![format!("own addresses: {}", list(own))],
            Self::WrongCard { to, by, wanted } => {
                vec![format!(
                    "the route to {to} is by {by}; {wanted} is to receive"
                )]
            }
            Self::NoServer { address, card }
            | Self::NoRouter {
                router: address,
                card,
                ..
            } => {
                vec![format!("no answer to ARP for {address} on {card}")]
            }
            Self::NoWebServer { address, port } => {
                vec![format!("{address} refuses connections to TCP port {port}")]
            }
            Self::WebBlocked {
                address,
                port,
                reach,
            } => vec![reached(*address, *port, *reach)],
            Self::ServerSilent {
                address,
                port,
                router,
            } => {
                let mut seen = vec![format!(
                    "{address} answers neither at TCP port {port} nor to echoes"
                )];
                seen.extend(router.map(|router| format!("the way leads by the router {router}")));
                seen
            }
            Self::Redirect { url, to } => vec![format!("{url} sends on to {to}")],
            Self::ServerFails { url, status } => {
                vec![format!("{url} answers with HTTP status {status}")]
            }
            Self::NotFog { url, answer } => vec![answered(url, answer)],
            Self::NoStore { address, reach } => vec![reached(*address, NFS_PORT, *reach)],
            Self::NoSender { address, port } => vec![
                "the server says that the session's sender is at work".into(),
                format!("{address} says that no program has UDP port {port}"),
            ],
            Self::RendezvousBlocked { address, port } => {
                vec![format!(
                    "a packet filter rejects UDP to {address} port {port}"
                )]
            }
            Self::NotRouted {
                sender,
                router,
                own,
                silence,
            } => vec![
                silence.to_string(),
                format!("the sender {sender} is reached by the router {router}, from {own}"),
            ],
            Self::NoQuerier { silence } => vec![
                silence.to_string(),
                "no IGMP querier asks in this network, nor answers when a group is left".into(),
            ],
            Self::Filtered { silence, querier } => vec![
                silence.to_string(),
                format!("there is an IGMP querier: {querier}"),
            ],
            Self::SmallOnly { requests, over } => vec![format!(
                "{} of the sender came in {}, and no datagram with data",
                Count(*requests, "request"),
                Time(*over)
            )],
            Self::BlackHole { to, tried, passed } => vec![format!(
                "echoes of {passed} bytes come back from {to}, those of {tried} bytes do not"
            )],
            Self::SmallMtu { card, mtu } => vec![format!("the MTU of {card} is {mtu} bytes")],
            Self::HalfDuplex { card, speed } => {
                let speed = speed.map_or_else(String::new, |speed| format!(" at {speed} Mbit/s"));
                vec![format!("{card} has agreed on half duplex{speed}")]
            }
            Self::SlowLink { card, speed } => vec![format!("{card} runs at {speed} Mbit/s")],
            Self::CardErrors {
                card,
                counters,
                new,
            } => vec![format!(
                "{card}: {} received damaged and {} not sent of {}, {new} of them just now",
                counters.receive_errors,
                counters.send_errors,
                Count(counters.received.saturating_add(counters.sent), "frame")
            )],
            Self::ClockOff { ahead } => {
                let side = if *ahead < 0 { "behind" } else { "ahead of" };
                let time = Time(Duration::from_secs(ahead.unsigned_abs()));
                vec![format!("it is {time} {side} the server's")]
            }
            Self::NoDisk => vec!["the kernel shows no disk".into()],
            Self::DiskGone { name } => vec![format!("the kernel has given {name} up")],
            Self::DiskUnreadable { name, error } => vec![format!("reading {name}: {error}")],
            Self::DiskErrors { name, failed, all } => {
                vec![format!(
                    "{name}: {failed} of {} failed",
                    Count(*all, "command")
                )]
            }
            Self::DiskFailing { name, health } => {
                vec![format!("{name}: {}", health.words().join(", "))]
            }
            Self::SlowDisk { name, rate, bytes } => {
                vec![format!(
                    "{name}: {} were read at {}",
                    Size(*bytes),
                    Rate(*rate)
                )]
            }
            Self::NoEfiPartition { disk } => vec![format!(
                "{disk} has partitions, and no disk has one of the type EFI system"
            )],
            Self::NoBootEntry {
                disk,
                partition,
                default,
                entries,
            } => vec![
                match entries.as_slice() {
                    [] => "the firmware has no boot entries".to_owned(),
                    entries => format!(
                        "no active boot entry of the firmware is for partition {partition} of {disk}; it has {}",
                        list(entries)
                    ),
                },
                format!("{default} is not in that partition"),
            ],
            Self::LittleMemory { total, available } => vec![format!(
                "{} in all, {} of it available",
                Size(*total),
                Size(*available)
            )],
            Self::MemoryErrors { errors } => vec![format!(
                "its checksums have found {} that they could not mend",
                Count(*errors, "error")
            )],
            Self::NoTestSender { address, port } => {
                vec![format!(
                    "{address} says that no program has UDP port {port}"
                )]
            }
            Self::RequestsLost {
                address,
                port,
                over,
            } => vec![format!(
                "{address} announces itself, and has not answered at UDP port {port} for {}",
                Time(*over)
            )],
            Self::NoTestAnswer {
                address,
                port,
                over,
            } => vec![format!(
                "nothing came of {address} in {}, not even that UDP port {port} is closed",
                Time(*over)
            )],
            Self::TestRefused { address } => {
                vec![format!(
                    "{address} answers that this machine cannot take part"
                )]
            }
            Self::TestStoodStill { bytes, over } => vec![format!(
                "{} came, and then no more data for {}",
                Size(*bytes),
                Time(*over)
            )],
            Self::TestCut { bytes } => vec![format!("{} came until then", Size(*bytes))],
            Self::ForeignStream { address, port } => vec![format!(
                "a stream of another kind came from {address} port {port}"
            )],
            Self::TestDamaged { offset } => {
                vec![format!(
                    "the first wrong bytes are behind {}",
                    Size(*offset)
                )]
            }
            Self::TestFailed { error } => vec![error.clone()],
            Self::HighLoss { lost, blocks } => vec![format!(
                "{lost} of {} had to be sent again",
                Count(*blocks, "block")
            )],
            Self::SlowTransfer { rate, bytes } => {
                vec![format!("{} went at {}", Size(*bytes), Rate(*rate))]
            }
            Self::OwnWeb { url, error } => vec![format!("{url}: {error}")],
            Self::OtherCard { card, own, asked } => {
                let mut seen = vec![format!("the test is sent by {card} ({own})")];
                seen.extend(
                    asked
                        .iter()
                        .map(|(address, card)| format!("{address} asked at {card}")),
                );
                seen
            }
            Self::NoReceiver {
                card,
                own,
                port,
                over,
            } => vec![format!(
                "not one request came to UDP port {port} of {own} ({card}) in {}",
                Time(*over)
            )],
            Self::FewReceivers { wanted, over, .. } => {
                vec![format!("{wanted} were waited for, for {}", Time(*over))]
            }
            Self::GroupUnheard { receivers, group } => vec![format!(
                "{} asked to be let in, and has answered nothing that was sent to {group}",
                list(receivers)
            )],
            Self::LargeLost { receivers, len } => vec![format!(
                "{} answers, and has not one datagram of {len} bytes",
                list(receivers)
            )],
            Self::ReceiversLeft { receivers } => vec![format!(
                "{} left, or fell silent, before the end",
                list(receivers)
            )],
        }
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the sender sends, and not one datagram came to {} port {} on {} in {}",
            list(&self.groups),
            self.port,
            self.card,
            Time(self.over)
        )
    }
}

/// An offer, as evidence.
pub(crate) fn describe(offer: &Reply) -> String {
    let mut text = format!("DHCP server {} offers {}", offer.server, offer.address);
    if let Some(len) = offer.prefix_len() {
        text += &format!("/{len}");
    }
    if let Some(router) = offer.router() {
        text += &format!(", router {router}");
    }
    if let Some(next) = offer.next_server {
        text += &format!(", boot server {next}");
    }
    if let Some(file) = &offer.boot_file {
        text += &format!(", boot file {file}");
    }
    text
}

pub(crate) fn list(things: &[impl fmt::Display]) -> String {
    let texts: Vec<String> = things.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        _ => format!("{count} times"),
    }
}

fn reached(address: Ipv4Addr, port: u16, reach: Reach) -> String {
    match reach {
        Reach::Open => format!("{address} accepts connections to TCP port {port}"),
        Reach::Refused => format!("{address} refuses connections to TCP port {port}"),
        Reach::Prohibited => format!("a packet filter rejects TCP to {address} port {port}"),
        Reach::Silent(Neighbour::Answers) => format!(
            "{address} or the router to it answers to ARP, but TCP port {port} does not answer at all"
        ),
        Reach::Silent(_) => format!("TCP port {port} of {address} does not answer at all"),
    }
}

fn answered(url: &str, answer: &WebAnswer) -> String {
    match answer {
        WebAnswer::Fog { .. } => format!("{url} answers as FOG does"),
        WebAnswer::Redirect { to } => format!("{url} sends on to {to}"),
        WebAnswer::Status(status) => format!("{url} answers with HTTP status {status}"),
        WebAnswer::NoVersion => format!("{url} answers with a page that is not FOG's version"),
        WebAnswer::Broken(what) => format!("{url}: {what}"),
    }
}

const NFS_PORT: u16 = 2049;
