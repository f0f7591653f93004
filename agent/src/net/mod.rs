//! Network bring-up: find a card, wait for the link, get an address, reach the server.
//!
//! A switch port may forward nothing for some 30 s after the link comes up (spanning tree), so
//! every card is tried for at least a minute from its carrier, without fixed sleeps: what works at
//! once is used at once.

mod cards;
mod dhcp;
mod name;
mod nic;
mod vlan;

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ::dhcp::Reply;
use fog::{KernelArgs, Mac};
use tokio::time::sleep;

use crate::control::{self, CallError, Server};
use crate::screen::Board;
use cards::Cards;
pub(crate) use dhcp::first_answer;
use dhcp::{Client, Lease};
pub(crate) use dhcp::{OWN_COMMAND as DHCP_COMMAND, offers as dhcp_offers, serve as serve_dhcp};
pub(crate) use nic::Nic;
pub(crate) use vlan::Vlan;

/// The way to the server. The lease is renewed from now on.
#[derive(Debug)]
pub(crate) struct Uplink {
    /// The card in use.
    pub(crate) card: String,
}

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error(
        "no wired network card was found within {seconds} s; its driver or firmware is missing \
         from this boot image, or it is switched off in the firmware setup"
    )]
    NoCard { seconds: u64 },
    #[error("the list of network cards cannot be read: {0}")]
    List(io::Error),
    #[error("no network card works: {}", .0.join("; "))]
    Broken(Vec<String>),
    #[error(
        "no network card has a link ({cards}); check the cable and the switch port, and whether \
         the card is off until the power is removed for 10 s"
    )]
    NoCarrier { cards: String },
    #[error("the server was not reached through any network card: {}", .0.join("; "))]
    NoServer(Vec<String>),
}

/// Waits until the kernel shows at least one wired card.
///
/// # Errors
/// If there is none after two minutes.
pub(crate) async fn find_cards(board: &Board) -> Result<Vec<Nic>, NetworkError> {
    let start = Instant::now();
    loop {
        let cards = nic::list(Path::new(CLASS)).map_err(NetworkError::List)?;
        if !cards.is_empty() {
            board.go_on();
            return Ok(cards);
        }
        if start.elapsed() >= CARD_LIMIT {
            return Err(NetworkError::NoCard {
                seconds: CARD_LIMIT.as_secs(),
            });
        }
        let advice = if start.elapsed() > Duration::from_secs(10) {
            vec!["a USB adapter may be plugged in now; a missing driver cannot be helped".into()]
        } else {
            Vec::new()
        };
        board.wait_for("a wired network card", advice);
        sleep(POLL).await;
    }
}

/// Addresses of the wired cards that are there now; none if they cannot be listed.
pub(crate) fn cards_now() -> Vec<Mac> {
    nic::list(Path::new(CLASS))
        .map(|cards| cards.iter().map(|card| card.mac).collect())
        .unwrap_or_default()
}

/// Names of the wired cards that are there now; none if they cannot be listed.
pub(crate) fn card_names() -> Vec<String> {
    nic::list(Path::new(CLASS))
        .map(|cards| cards.into_iter().map(|card| card.name).collect())
        .unwrap_or_default()
}

/// Tries the cards, the one that the server knows first, until one reaches the server. Cards that
/// are plugged in meanwhile are tried too.
///
/// # Errors
/// If no card has a link for five minutes, or every card with a link failed twice.
pub(crate) async fn bring_up(
    board: &Board,
    args: &KernelArgs,
    vlan: Option<&Vlan>,
    server: &Server,
) -> Result<Uplink, NetworkError> {
    let switch_on = |card: &str| dhcp::ip(&["link", "set", "dev", card, "up"]);
    let mut cards = Cards::new(PathBuf::from(CLASS), args.macs(), switch_on);
    let mut failures: Vec<String> = Vec::new();
    for _ in 0..ROUNDS {
        for card in with_carrier(board, &mut cards).await? {
            board.say(format!("{}: link is up ({})", card.name, card.mac));
            let inner = match vlan {
                Some(vlan) => vlan.enter(&card, Path::new(CLASS)),
                None => Ok(card.clone()),
            };
            let reached = match &inner {
                Ok(inner) => attempt(board, inner, server).await,
                Err(reason) => Err(reason.clone()),
            };
            let card = inner.unwrap_or(card);
            match reached {
                Ok(mut reached) => {
                    reached.client.keep();
                    announce(board, &card, &reached);
                    if let Some(note) = setmacto_note(&card, args) {
                        board.say(note);
                    }
                    return Ok(Uplink { card: card.name });
                }
                Err(reason) => {
                    let text = format!("{}: {reason}", card.name);
                    board.say(text.clone());
                    failures.push(text);
                    // Its address must not get in the way of the next card.
                    drop(dhcp::ip(&["addr", "flush", "dev", &card.name]));
                }
            }
        }
    }
    failures.extend(cards.troubles());
    failures.dedup();
    Err(NetworkError::NoServer(failures))
}

/// Waits for links: the preferred card gets a head start, then whatever has one is taken.
async fn with_carrier<S: Fn(&str) -> io::Result<()>>(
    board: &Board,
    cards: &mut Cards<S>,
) -> Result<Vec<Nic>, NetworkError> {
    let start = Instant::now();
    loop {
        for trouble in cards.refresh()? {
            board.warn(trouble);
        }
        let usable = cards.usable();
        let linked: Vec<Nic> = usable
            .iter()
            .filter(|card| card.has_carrier())
            .cloned()
            .collect();
        let has_preferred = linked.first() == usable.first();
        if !linked.is_empty() && (has_preferred || start.elapsed() >= HEAD_START) {
            board.go_on();
            return Ok(linked);
        }
        if usable.is_empty() {
            // All that is left is that one is plugged in.
            if start.elapsed() >= CARD_LIMIT {
                return Err(NetworkError::Broken(cards.troubles()));
            }
            board.wait_for("a network card that works", cards.troubles());
            sleep(POLL).await;
            continue;
        }
        let names: Vec<&str> = usable.iter().map(|card| card.name.as_str()).collect();
        let names = names.join(", ");
        if start.elapsed() >= CARRIER_LIMIT {
            return Err(NetworkError::NoCarrier { cards: names });
        }
        let advice = if start.elapsed() > Duration::from_secs(10) {
            vec!["check the cable and the switch port".into()]
        } else {
            Vec::new()
        };
        board.wait_for(format!("a link on {names}"), advice);
        sleep(POLL).await;
    }
}

/// An address by which the server is reached.
struct Reached {
    client: Client,
    lease: Lease,
    /// What the user shall know of other DHCP servers.
    warning: Option<String>,
}

/// DHCP and the test of the server, on one card. The reason of a failure is for people.
///
/// An address that does not lead to the server may be that of a DHCP server which does not belong here and
/// was quicker: then those of the others are tried.
async fn attempt(board: &Board, card: &Nic, server: &Server) -> Result<Reached, String> {
    let end = Instant::now() + ATTEMPT;
    let text = |error: io::Error| error.to_string();
    let mut client = Client::start(&card.name).map_err(text)?;
    let lease = obtain(board, card, &mut client, ATTEMPT).await?;
    let Err(first) = probe(board, server, &lease, Instant::now() + DOUBT).await else {
        let warning = None;
        return Ok(Reached {
            client,
            lease,
            warning,
        });
    };
    let others = other_servers(card, &lease).await;
    if others.is_empty() {
        probe(board, server, &lease, end).await?;
        let warning = None;
        return Ok(Reached {
            client,
            lease,
            warning,
        });
    }
    let mut wrong = vec![
        lease
            .server
            .map_or_else(|| "unknown".to_owned(), |it| it.to_string()),
    ];
    let mut reasons = vec![first];
    for other in others {
        board.say(format!(
            "{}: several DHCP servers answer here. With the address of {} the server is not reached ({}); \
             now the one at {} is asked",
            card.name,
            wrong.join(" and "),
            reasons.join("; "),
            other.server
        ));
        // Its address and routes must not get in the way.
        drop(client);
        drop(dhcp::ip(&["addr", "flush", "dev", &card.name]));
        client = Client::start_with(&card.name, card.mac, other.server).map_err(text)?;
        let tried = async {
            let lease = obtain(board, card, &mut client, OTHER_ATTEMPT).await?;
            let reached = probe(board, server, &lease, Instant::now() + OTHER_ATTEMPT).await;
            reached.map(|()| lease)
        };
        match tried.await {
            Ok(lease) => {
                let warning = Some(format!(
                    "several DHCP servers answer here: with the address of {wrong} the server is not \
                     reached, with that of {} it is. Switch off {wrong}, which probably is a router or PC that \
                     does not belong here, or correct it",
                    other.server,
                    wrong = wrong.join(" and ")
                ));
                return Ok(Reached {
                    client,
                    lease,
                    warning,
                });
            }
            Err(reason) => {
                wrong.push(other.server.to_string());
                reasons.push(format!("DHCP server {}: {reason}", other.server));
            }
        }
    }
    Err(format!(
        "several DHCP servers answer here ({}), and the server is reached with the address of none of them: \
         {}; only one of them belongs here",
        wrong.join(", "),
        reasons.join("; ")
    ))
}

/// The lease, once the client has one.
async fn obtain(
    board: &Board,
    card: &Nic,
    client: &mut Client,
    patience: Duration,
) -> Result<Lease, String> {
    let start = Instant::now();
    loop {
        if let Some(lease) = client.lease().map_err(|error| error.to_string())? {
            board.go_on();
            dhcp::note_first_answer(&card.name, start.elapsed());
            return Ok(lease);
        }
        let trouble = client.trouble();
        if start.elapsed() >= patience {
            if let Some(trouble) = trouble {
                return Err(trouble);
            }
            return Err(format!(
                "no DHCP answer in {} s; check that a DHCP server serves this network segment",
                patience.as_secs()
            ));
        }
        if !card.has_carrier() && start.elapsed() >= HEAD_START {
            return Err("the link went down again; check the cable".into());
        }
        let advice = match trouble {
            Some(trouble) => vec![trouble],
            None => spanning_tree(start.elapsed()),
        };
        board.wait_for(format!("an address by DHCP on {}", card.name), advice);
        sleep(POLL).await;
    }
}

/// Tests whether the server is reached, at least once and until `end`.
async fn probe(board: &Board, server: &Server, lease: &Lease, end: Instant) -> Result<(), String> {
    let what = format!("the server at {}", server.web());
    loop {
        let Err(error) = control::answer(board, &what, server.probe()).await else {
            board.go_on();
            return Ok(());
        };
        let unresolved = name::unresolved(server.web(), lease).await;
        let reason = unresolved.unwrap_or_else(|| explain_probe(&error, lease));
        if Instant::now() >= end {
            return Err(reason);
        }
        board.wait_for(what.as_str(), vec![reason]);
        sleep(PROBE_PAUSE).await;
    }
}

/// Whether an offer leads into the same network, and out of it by the same way, as the lease does.
fn agrees(offer: &Reply, lease: &Lease) -> bool {
    let prefix_len = offer.mask.map(|mask| mask.to_bits().leading_ones());
    let network = |address| ::dhcp::network(address, lease.prefix_len);
    prefix_len == Some(lease.prefix_len.into())
        && network(offer.address) == network(lease.address)
        && offer.router() == lease.router
        && offer.name_servers == lease.name_servers
}

/// DHCP servers of this network other than the one that gave the lease. That they cannot be asked is no
/// further trouble.
async fn other_servers(card: &Nic, lease: &Lease) -> Vec<Reply> {
    let (name, mac) = (card.name.clone(), card.mac);
    let asked = tokio::task::spawn_blocking(move || dhcp::offers(&name, mac, SURVEY)).await;
    let mut offers = asked.ok().and_then(Result::ok).unwrap_or_default();
    // Two servers that say the same of the network are one service.
    offers.retain(|offer| Some(offer.server) != lease.server && !agrees(offer, lease));
    offers
}

fn announce(board: &Board, card: &Nic, reached: &Reached) {
    let lease = &reached.lease;
    for warning in reached.client.trouble().iter().chain(&reached.warning) {
        board.warn(format!("{}: {warning}", card.name));
    }
    let mut text = format!(
        "{}: address {}/{}",
        card.name, lease.address, lease.prefix_len
    );
    if let Some(server) = lease.server {
        text.push_str(&format!(" from DHCP server {server}"));
    }
    board.say(text);
}

/// What slow switches need to be known about, by the time since the link came up.
fn spanning_tree(since_link: Duration) -> Vec<String> {
    match since_link.as_secs() {
        0..5 => Vec::new(),
        5..40 => vec![
            "a switch port without PortFast/RSTP forwards nothing for about 30 s after the link \
             comes up"
                .into(),
        ],
        _ => vec![
            "check the DHCP server, the VLAN of this port, and 802.1X; unplugging power and \
             cable for 10 s wakes a hung network card"
                .into(),
        ],
    }
}

fn explain_probe(error: &CallError, lease: &Lease) -> String {
    let router = lease.router.map_or_else(
        || "no router".to_owned(),
        |router| format!("router {router}"),
    );
    let from = lease
        .server
        .map_or_else(String::new, |server| format!(" from DHCP server {server}"));
    let own = format!(
        "own address {}/{}{from}, {router}",
        lease.address, lease.prefix_len
    );
    match error {
        CallError::Status { .. } => {
            format!("{error}; is web= in the kernel arguments the FOG directory? ({own})")
        }
        _ => format!("{error} ({own}); check that the server runs and has this address"),
    }
}

/// What to say about `setmacto`. FOG's client gives that address to the card it uses; but FOG 1.5
/// always names the first card, plugged in or not, and a card that owned the address at boot still
/// has it. So no address is ever changed here.
fn setmacto_note(card: &Nic, args: &KernelArgs) -> Option<String> {
    let wanted: Mac = args.value("setmacto")?.parse().ok()?;
    (wanted != card.mac).then(|| {
        format!(
            "{}: setmacto={wanted} belongs to another card; {} stays",
            card.name, card.mac
        )
    })
}

const CLASS: &str = "/sys/class/net";
const POLL: Duration = Duration::from_millis(200);
const PROBE_PAUSE: Duration = Duration::from_secs(1);
/// How long the card that the server knows is waited for before another one is used.
const HEAD_START: Duration = Duration::from_secs(12);
const CARD_LIMIT: Duration = Duration::from_secs(120);
const CARRIER_LIMIT: Duration = Duration::from_secs(300);
/// Per card, from its link.
const ATTEMPT: Duration = Duration::from_secs(75);
const ROUNDS: u32 = 2;
/// How long the server may be silent before other DHCP servers are looked for.
const DOUBT: Duration = Duration::from_secs(6);
/// How long their answers are gathered.
const SURVEY: Duration = Duration::from_secs(5);
/// For the address of another DHCP server, and again for the server by it.
const OTHER_ATTEMPT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_setmacto_is_only_noted() {
        let card = nic::tests::at("eth0", "02:00:00:00:00:01");
        let note = |line| setmacto_note(&card, &KernelArgs::parse(line));
        assert_eq!(note(""), None);
        assert_eq!(note("setmacto=02:00:00:00:00:01"), None);
        assert!(
            note("setmacto=02:00:00:00:00:02")
                .unwrap()
                .contains("stays")
        );
    }

    #[test]
    fn advice_follows_the_time_since_the_link() {
        let advice = |seconds| spanning_tree(Duration::from_secs(seconds));
        assert!(advice(0).is_empty());
        assert!(advice(20)[0].contains("PortFast"));
        assert!(advice(60)[0].contains("DHCP server"));
    }
}
