//! Gathers the evidence: what takes time at the same time.

use std::net::Ipv4Addr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use cast_net::Interface;
use diagnosis::{
    Card, Evidence, FirstAnswer, Look, Memory, Multicast, Neighbour, PathLook, Reach, Rendezvous,
    Resolution, Route, Sending, Skipped, Traffic,
};
use fog::KernelArgs;
use fog::args::ArgsError;

use super::machine::{self, Wish};
use super::server::Seen;
use super::{cards, multicast, offers, path, route, server};
use crate::control::{Identity, Server, Trust};
use crate::net;

/// What this machine is to do.
#[derive(Debug, Clone)]
pub(crate) struct Situation {
    pub(crate) args: KernelArgs,
    /// The card that is to receive, by name or address.
    pub(crate) interface: Option<String>,
    /// A person says that the sender sends.
    pub(crate) is_sending: bool,
    pub(crate) disks: Wish,
}

/// Looks at what is the same however often one looks.
pub(super) fn machine(situation: &Situation) -> Evidence {
    let memory = std::fs::read_to_string("/proc/meminfo");
    let memory = memory.map_err(|error| Skipped::Failed(format!("/proc/meminfo: {error}")));
    Evidence {
        disks: machine::disks(&situation.disks),
        boot: machine::boot(&situation.disks),
        memory: memory.and_then(|text| {
            let memory = machine::memory(&text)?;
            let errors = machine::memory_errors(Path::new(CONTROLLERS));
            Ok(Memory { errors, ..memory })
        }),
        ..Evidence::default()
    }
}

/// Looks at the network, anew.
///
/// # Errors
/// There is no such card.
pub(crate) fn network(situation: &Situation, evidence: &mut Evidence) -> anyhow::Result<()> {
    let class = Path::new(CLASS);
    let list = Interface::list().unwrap_or_default();
    let wanted = wanted_card(situation, &list, class)?;
    let mut names = net::card_names();
    let used = used_card(situation, wanted.clone(), &names, class);
    names.extend(used.clone().filter(|used| !names.contains(used)));
    let all = names.iter().filter_map(|name| cards::look(class, name));
    let all: Vec<Card> = all.collect();
    let card = all.iter().find(|card| Some(&card.name) == used.as_ref());
    let card = card.cloned();
    // What an earlier look has seen is over.
    *evidence = Evidence {
        cards: Ok(all),
        used,
        wanted,
        disks: evidence.disks.clone(),
        boot: evidence.boot.clone(),
        memory: evidence.memory.clone(),
        ..Evidence::default()
    };
    let Some(card) = card.filter(|card| card.has_link) else {
        let unreached = || Skipped::Unreached;
        evidence.traffic = Err(unreached());
        evidence.offers = Err(unreached());
        evidence.addresses = Err(unreached());
        evidence.server = Err(unreached());
        evidence.multicast = Err(unreached());
        evidence.path = Err(unreached());
        evidence.clock = Err(unreached());
        return Ok(());
    };
    evidence.first_answer = net::first_answer(&card.name).map(FirstAnswer::SinceLink);
    evidence.addresses = Ok(cards::addresses(&list, &card.name));
    evidence.offers_awaited = OFFERS_TIME;
    let before = cards::counters(class, &card.name);
    let begin = Instant::now();
    thread::scope(|scope| {
        let offers = scope.spawn(|| offers::collect(&card, OFFERS_TIME));
        let heard = scope.spawn(|| hear(situation, &list, &card));
        let (server, path) = reach(situation, class);
        match server {
            Ok(seen) => {
                evidence.server = Ok(seen.look);
                evidence.clock = seen.clock;
            }
            Err(why) => {
                evidence.server = Err(why.clone());
                evidence.clock = Err(why);
            }
        }
        evidence.path = path;
        let lost = || Skipped::Failed("it stopped by a programming error".into());
        evidence.offers = offers.join().unwrap_or_else(|_| Err(lost()));
        evidence.multicast = heard.join().unwrap_or_else(|_| Err(lost()));
    });
    let after = cards::counters(class, &card.name);
    let counted = before.zip(after).map(|(before, after)| Traffic {
        before,
        after,
        over: begin.elapsed(),
    });
    evidence.traffic = counted.ok_or_else(|| Skipped::Failed("the card counts nothing".into()));
    // It may have gone meanwhile.
    if let Ok(all) = &mut evidence.cards {
        for card in all {
            if let Some(now) = cards::look(class, &card.name) {
                *card = now;
            }
        }
    }
    Ok(())
}

/// The card that is to receive, by its name.
fn wanted_card(
    situation: &Situation,
    list: &[Interface],
    class: &Path,
) -> anyhow::Result<Option<String>> {
    let Some(wanted) = situation.interface.as_deref() else {
        return Ok(None);
    };
    let by_address = list.iter().find(|own| wanted.parse() == Ok(own.addr));
    let name = by_address.map_or(wanted, |own| cards::without_label(&own.name));
    let is_name = !name.contains('/') && !name.starts_with('.');
    if !is_name || cards::look(class, name).is_none() {
        bail!("there is no network card with the name or address {wanted:?}; `ip addr` lists them");
    }
    Ok(Some(name.to_owned()))
}

/// The card that was said, else the one that leads to the server, else the first with a link.
fn used_card(
    situation: &Situation,
    wanted: Option<String>,
    names: &[String],
    class: &Path,
) -> Option<String> {
    let by_route = || {
        let host = situation.args.web().ok().and_then(|web| {
            let url = reqwest::Url::parse(&web).ok()?;
            url.host_str()?.parse::<Ipv4Addr>().ok()
        });
        let to = host.or_else(|| situation.args.rendezvous().ok())?;
        let interface = Interface::towards(to).ok()?;
        let name = cards::without_label(&interface.name).to_owned();
        (!interface.is_loopback).then_some(name)
    };
    let with_link = || {
        let mut linked = names
            .iter()
            .filter(|name| cards::look(class, name).is_some_and(|card| card.has_link));
        linked.next().or_else(|| names.first()).cloned()
    };
    wanted.or_else(by_route).or_else(with_link)
}

/// The server, and the way there and back.
fn reach(situation: &Situation, class: &Path) -> (Look<Seen>, Look<PathLook>) {
    let seen = connection(&situation.args).and_then(|connection| {
        let store = situation.args.value("storageip");
        let store = store.and_then(|store| store.parse().ok());
        server::look(&connection, store)
    });
    let path = match &seen {
        Ok(seen) => way_back(seen, class),
        Err(why) => Err(why.clone()),
    };
    (seen, path)
}

fn way_back(seen: &Seen, class: &Path) -> Look<PathLook> {
    let look = &seen.look;
    let (Resolution::Address(to), Ok(Route::Through { card, .. })) =
        (&look.resolution, &look.route)
    else {
        return Err(Skipped::Unreached);
    };
    // A machine that is not there answers no echo, and that takes time.
    if let Err(_) | Ok(Reach::Silent(Neighbour::Silent)) = look.reach {
        return Err(Skipped::Unreached);
    }
    match cards::look(class, card) {
        Some(card) => path::measure(*to, card.mtu),
        None => Err(Skipped::Unreached),
    }
}

fn connection(args: &KernelArgs) -> Look<Server> {
    let web = args.web().map_err(|error| match error {
        ArgsError::Missing { .. } => Skipped::NoServerNamed,
        ArgsError::Invalid { .. } => Skipped::Failed(error.to_string()),
    })?;
    let identity = Identity::new(args, &net::cards_now());
    let failed = |error: &dyn std::fmt::Display| Skipped::Failed(format!("{error:#}"));
    let trust = Trust::of_boot(args).map_err(|error| failed(&error))?;
    Server::new(web, identity, &trust).map_err(|error| failed(&error))
}

/// Listens for the session.
fn hear(situation: &Situation, list: &[Interface], card: &Card) -> Look<Multicast> {
    let args = &situation.args;
    if !args.is_multicast_deploy() {
        return Err(Skipped::NoMulticastJob);
    }
    let failed = |error: ArgsError| Skipped::Failed(error.to_string());
    let port = args.port().map_err(failed)?;
    let rendezvous = args.rendezvous().map_err(failed)?;
    let is_host = |address: &Ipv4Addr| !address.is_multicast() && !address.is_broadcast();
    let storage = || args.value("storageip")?.parse::<Ipv4Addr>().ok();
    let Some(sender) = Some(rendezvous).filter(is_host).or_else(storage) else {
        return Err(Skipped::Failed(
            "the kernel arguments name no sender".into(),
        ));
    };
    let own = list
        .iter()
        .find(|own| cards::without_label(&own.name) == card.name);
    let own = own.ok_or(Skipped::Unreached)?;
    let server = connection(args).ok();
    let session = || server.as_ref().and_then(server::session);
    let before = session();
    let groups = multicast::groups(sender);
    let listening = |error: std::io::Error| Skipped::Failed(format!("listening: {error}"));
    let begin = Instant::now();
    let heard = multicast::listen(own, port, &groups, LISTENING).map_err(listening)?;
    let listened = begin.elapsed();
    let after = before.and_then(|_| session());
    let (sending, acknowledged) = match (before, after) {
        // At both ends of the time: a sender at work is never silent for so long.
        (Some((Sending::Now, _)), Some((Sending::Now, acked))) => (Sending::Now, acked),
        (Some((Sending::Waits, _)), Some((Sending::Waits, _))) => (Sending::Waits, None),
        _ if situation.is_sending => (Sending::Now, None),
        _ => (Sending::Unknown, None),
    };
    let asked = multicast::ask(sender, port.saturating_add(1));
    Ok(Multicast {
        sender,
        port,
        groups,
        listened,
        announcements: heard.announcements,
        data: heard.data,
        requests: heard.requests,
        querier: heard.querier,
        sending,
        rendezvous: asked.unwrap_or(Rendezvous::Silent),
        acknowledged,
        route: route::towards(sender),
    })
}

const CLASS: &str = "/sys/class/net";
const CONTROLLERS: &str = "/sys/devices/system/edac/mc";
/// A server may look first whether an address is free.
const OFFERS_TIME: Duration = Duration::from_secs(4);
/// A sender at work asks at least once a second.
const LISTENING: Duration = Duration::from_secs(4);
