//! Network bring-up: find a card, wait for the link, get an address, reach the server.
//!
//! A switch port may forward nothing for some 30 s after the link comes up (spanning tree), so
//! every card is tried for at least a minute from its carrier, without fixed sleeps: what works at
//! once is used at once. With several cards, that of the server is found within a minute of its carrier.

mod cards;
mod dhcp;
mod linux;
mod name;
mod nic;
mod search;
#[cfg(test)]
mod simulation;
mod turns;
mod vlan;

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use fog::{KernelArgs, Mac};
use tokio::time::sleep;

use crate::control::Server;
use crate::screen::Board;
pub(crate) use dhcp::first_answer;
pub(crate) use dhcp::{OWN_COMMAND as DHCP_COMMAND, offers as dhcp_offers, serve as serve_dhcp};
use linux::Linux;
pub(crate) use nic::Nic;
use search::{Reached, search};
use turns::Limits;
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
    let machine = Linux::new(Path::new(CLASS), args.macs(), vlan, server);
    let mut reached = search(board, &machine, &Limits::default()).await?;
    reached.client.keep();
    announce(board, &reached);
    if let Some(note) = setmacto_note(&reached.card, args) {
        board.say(note);
    }
    Ok(Uplink {
        card: reached.card.name,
    })
}

fn announce(board: &Board, reached: &Reached<dhcp::Client>) {
    let (card, lease) = (&reached.card, &reached.lease);
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
const CARD_LIMIT: Duration = Duration::from_secs(120);

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
}
