//! The machine of a search: its cards, busybox' DHCP client, and the server over HTTP.

use std::cell::RefCell;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::dhcp::Reply;
use fog::Mac;

use super::cards::Cards;
use super::dhcp::{self, Lease, Listener};
use super::search::{Client, Ear, Machine};
use super::{NetworkError, Nic, Vlan, name};
use crate::control::{self, CallError, Server};
use crate::screen::Board;

/// Switches the card of this name on.
type SwitchOn = fn(&str) -> io::Result<()>;

/// This machine.
pub(super) struct Linux<'a> {
    /// `/sys/class/net`.
    class: PathBuf,
    cards: RefCell<Cards<SwitchOn>>,
    /// Addresses that the server knows.
    known: Vec<Mac>,
    vlan: Option<&'a Vlan>,
    server: &'a Server,
}

impl<'a> Linux<'a> {
    pub(super) fn new(
        class: &Path,
        known: Vec<Mac>,
        vlan: Option<&'a Vlan>,
        server: &'a Server,
    ) -> Self {
        let switch_on: SwitchOn = |card| dhcp::ip(&["link", "set", "dev", card, "up"]);
        Self {
            class: class.to_owned(),
            cards: RefCell::new(Cards::new(class.to_owned(), known.clone(), switch_on)),
            known,
            vlan,
            server,
        }
    }
}

impl Machine for Linux<'_> {
    type Client = dhcp::Client;
    type Ear = Listener;

    fn look(&self) -> Result<Vec<String>, NetworkError> {
        self.cards.borrow_mut().refresh()
    }

    fn cards(&self) -> Vec<Nic> {
        self.cards.borrow().usable().to_vec()
    }

    fn troubles(&self) -> Vec<String> {
        self.cards.borrow().troubles()
    }

    fn has_link(&self, card: &Nic) -> bool {
        card.has_carrier()
    }

    fn is_known(&self, card: &Nic) -> bool {
        self.known.contains(&card.mac)
    }

    fn enter(&self, card: &Nic) -> Result<Nic, String> {
        match self.vlan {
            Some(vlan) => vlan.enter(card, &self.class),
            None => Ok(card.clone()),
        }
    }

    fn ask(&self, card: &Nic, server: Option<Ipv4Addr>) -> io::Result<dhcp::Client> {
        match server {
            None => dhcp::Client::start(&card.name),
            Some(server) => dhcp::Client::start_with(&card.name, card.mac, server),
        }
    }

    fn listen(&self, card: &Nic) -> io::Result<Listener> {
        Listener::new(&card.name, card.mac)
    }

    fn forget_address(&self, card: &Nic) {
        // It may have none, or be gone.
        drop(dhcp::ip(&["addr", "flush", "dev", &card.name]));
    }

    fn note_first_answer(&self, card: &Nic, after: Duration) {
        dhcp::note_first_answer(&card.name, after);
    }

    fn server(&self) -> String {
        format!("the server at {}", self.server.web())
    }

    async fn probe(&self, board: &Board, lease: &Lease) -> Result<(), String> {
        let Err(error) = control::answer(board, &self.server(), self.server.probe()).await else {
            return Ok(());
        };
        let unresolved = name::unresolved(self.server.web(), lease).await;
        Err(unresolved.unwrap_or_else(|| explain(&error, lease)))
    }

    async fn other_servers(&self, card: &Nic, lease: &Lease) -> Vec<Ipv4Addr> {
        let (name, mac) = (card.name.clone(), card.mac);
        let asked = tokio::task::spawn_blocking(move || dhcp::offers(&name, mac, SURVEY)).await;
        // That they cannot be asked is no further trouble.
        let mut offers = asked.ok().and_then(Result::ok).unwrap_or_default();
        // Two servers that say the same of the network are one service.
        offers.retain(|offer| Some(offer.server) != lease.server && !agrees(offer, lease));
        offers.into_iter().map(|offer| offer.server).collect()
    }
}

impl Client for dhcp::Client {
    fn lease(&mut self) -> io::Result<Option<Lease>> {
        Self::lease(self)
    }

    fn trouble(&self) -> Option<String> {
        Self::trouble(self)
    }
}

impl Ear for Listener {
    fn has_heard(&mut self) -> bool {
        Self::has_heard(self)
    }
}

/// Whether an offer leads into the same network, and out of it by the same way, as the lease does.
fn agrees(offer: &Reply, lease: &Lease) -> bool {
    let network = |address| ::dhcp::network(address, lease.prefix_len);
    offer.prefix_len() == Some(lease.prefix_len)
        && network(offer.address) == network(lease.address)
        && offer.router() == lease.router
        && offer.name_servers == lease.name_servers
}

fn explain(error: &CallError, lease: &Lease) -> String {
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

/// How long answers of DHCP servers are gathered.
const SURVEY: Duration = Duration::from_secs(5);
