//! The search for a card that leads to the server. One card at a time has an address; on the others that have a link
//! it is asked for offers, so that a card whose port begins to pass data is used soon, whichever has its turn.
//!
//! Generic over the machine, so that tests run it in virtual time.

use std::cell::RefCell;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::dhcp::Lease;
use super::turns::{Limits, Turn, Turns};
use super::{NetworkError, Nic};
use crate::screen::Board;

/// What a search does to a machine.
pub(super) trait Machine {
    type Client: Client;
    type Ear: Ear;

    /// Looks for cards again and switches new ones on. Answers lines for people about those that do not work.
    ///
    /// # Errors
    /// If the cards cannot be listed.
    fn look(&self) -> Result<Vec<String>, NetworkError>;

    /// The cards that are switched on, the ones that the server knows first.
    fn cards(&self) -> Vec<Nic>;

    /// Why others are not.
    fn troubles(&self) -> Vec<String>;

    fn has_link(&self, card: &Nic) -> bool;

    /// Whether the server knows this card.
    fn is_known(&self, card: &Nic) -> bool;

    /// The card as it is used: within its VLAN, if there is one.
    ///
    /// # Errors
    /// The kernel cannot do that. The reason is for people.
    fn enter(&self, card: &Nic) -> Result<Nic, String>;

    /// Begins to ask for an address; all servers, or this one alone.
    ///
    /// # Errors
    /// The client cannot be started.
    fn ask(&self, card: &Nic, server: Option<Ipv4Addr>) -> io::Result<Self::Client>;

    /// Begins to ask for offers, and takes none.
    ///
    /// # Errors
    /// The card cannot be used.
    fn listen(&self, card: &Nic) -> io::Result<Self::Ear>;

    /// The address and the routes of the card are no longer used.
    fn forget_address(&self, card: &Nic);

    /// Keeps how long after its link the card has had its first answer.
    fn note_first_answer(&self, card: &Nic, after: Duration);

    /// The server, for people.
    fn server(&self) -> String;

    /// Asks the server once. The reason of a failure is for people.
    async fn probe(&self, board: &Board, lease: &Lease) -> Result<(), String>;

    /// DHCP servers of this network that say something else than the one that gave the lease.
    async fn other_servers(&self, card: &Nic, lease: &Lease) -> Vec<Ipv4Addr>;
}

/// A DHCP client at work. It ends when it is dropped.
pub(super) trait Client {
    /// The lease, once there is one.
    ///
    /// # Errors
    /// The client has ended.
    fn lease(&mut self) -> io::Result<Option<Lease>>;

    /// What could not be done with the last answer, for people.
    fn trouble(&self) -> Option<String>;
}

/// Asks for offers.
pub(super) trait Ear {
    /// Whether a server has answered. To be called every now and then.
    fn has_heard(&mut self) -> bool;
}

/// An address by which the server is reached.
#[derive(Debug)]
pub(super) struct Reached<C> {
    /// As it is used.
    pub(super) card: Nic,
    pub(super) client: C,
    pub(super) lease: Lease,
    /// What the user shall know of other DHCP servers.
    pub(super) warning: Option<String>,
}

/// Tries the cards until one reaches the server.
///
/// # Errors
/// No card has a link, or none leads to the server.
pub(super) async fn search<M: Machine>(
    board: &Board,
    machine: &M,
    limits: &Limits,
) -> Result<Reached<M::Client>, NetworkError> {
    let search = Search {
        board,
        machine,
        limits,
        turns: RefCell::new(Turns::new(Instant::now())),
    };
    let mut ears = Vec::new();
    // The last one of each card.
    let mut failures: Vec<(String, String)> = Vec::new();
    loop {
        search.links(&mut ears).await?;
        let now = Instant::now();
        if search.turns.borrow().is_hopeless(now, limits) {
            break;
        }
        let begun = {
            let mut turns = search.turns.borrow_mut();
            turns.begin(now, |card| machine.is_known(card))
        };
        let Some(turn) = begun else {
            // All links were lost just now.
            continue;
        };
        let (card, failed) = match search.turn(turn, &mut ears).await {
            Ok(reached) => return Ok(reached),
            Err(failed) => failed,
        };
        let (Failed::Itself(reason) | Failed::Left(reason)) = &failed;
        let failure = (card.name, reason.clone());
        if !failures.contains(&failure) {
            board.say(format!("{}: {}", failure.0, failure.1));
            failures.retain(|(name, _)| *name != failure.0);
            failures.push(failure);
        }
        if let Failed::Itself(reason) = failed {
            // What fails at once is not tried without a pause.
            board.wait_for("another try by each network card", vec![reason]);
            sleep(limits.probe_pause).await;
        }
    }
    let failures = failures.into_iter();
    let mut failures: Vec<String> = failures
        .map(|(card, reason)| format!("{card}: {reason}"))
        .collect();
    failures.extend(machine.troubles());
    Err(NetworkError::NoServer(failures))
}

/// Why a turn ended.
enum Failed {
    Itself(String),
    /// Another card promises more.
    Left(String),
}

struct Search<'a, M> {
    board: &'a Board,
    machine: &'a M,
    limits: &'a Limits,
    turns: RefCell<Turns>,
}

/// A card without an answer, the name that it is used by, and what listens on it, if it can be listened on.
struct Listening<E> {
    card: Nic,
    inner: Nic,
    ear: Option<E>,
}

impl<M: Machine> Search<'_, M> {
    /// Waits for links: the preferred card gets a head start, then whatever has one is taken.
    async fn links(&self, ears: &mut Vec<Listening<M::Ear>>) -> Result<(), NetworkError> {
        let start = Instant::now();
        loop {
            self.look()?;
            self.listen(None, ears);
            let usable = self.machine.cards();
            let linked = usable.iter().find(|card| self.machine.has_link(card));
            if let Some(linked) = linked
                && (usable.first() == Some(linked) || start.elapsed() >= self.limits.head_start)
            {
                self.board.go_on();
                return Ok(());
            }
            if usable.is_empty() {
                // All that is left is that one is plugged in.
                let troubles = self.machine.troubles();
                if start.elapsed() >= self.limits.card {
                    return Err(NetworkError::Broken(troubles));
                }
                self.board.wait_for("a network card that works", troubles);
                sleep(self.limits.poll).await;
                continue;
            }
            let names: Vec<&str> = usable.iter().map(|card| card.name.as_str()).collect();
            let names = names.join(", ");
            if start.elapsed() >= self.limits.link {
                return Err(NetworkError::NoCarrier { cards: names });
            }
            let advice = if start.elapsed() > Duration::from_secs(10) {
                vec!["check the cable and the switch port".into()]
            } else {
                Vec::new()
            };
            self.board.wait_for(format!("a link on {names}"), advice);
            sleep(self.limits.poll).await;
        }
    }

    /// Looks which cards there are and have a link.
    fn look(&self) -> Result<(), NetworkError> {
        for trouble in self.machine.look()? {
            self.board.warn(trouble);
        }
        let mut cards = self.machine.cards();
        cards.retain(|card| self.machine.has_link(card));
        self.turns.borrow_mut().update(Instant::now(), cards);
        Ok(())
    }

    /// Listens on the cards that have no answer.
    fn listen(&self, turn: Option<&Turn>, ears: &mut Vec<Listening<M::Ear>>) {
        let mut turns = self.turns.borrow_mut();
        let silent: Vec<Nic> = turns.silent(turn).cloned().collect();
        ears.retain(|it| silent.contains(&it.card));
        for card in silent {
            if ears.iter().all(|it| it.card != card) {
                // One that cannot be listened on says why when it has its turn.
                let inner = self.machine.enter(&card).unwrap_or_else(|_| card.clone());
                let ear = self.machine.listen(&inner).ok();
                ears.push(Listening { card, inner, ear });
            }
        }
        for Listening { card, inner, ear } in ears {
            if ear.as_mut().is_some_and(Ear::has_heard)
                && let Some(linked) = turns.note_answer(card, false)
            {
                self.machine.note_first_answer(inner, linked.elapsed());
            }
        }
    }

    /// Tries one card for as long as no other one promises more.
    async fn turn(
        &self,
        turn: Turn,
        ears: &mut Vec<Listening<M::Ear>>,
    ) -> Result<Reached<M::Client>, (Nic, Failed)> {
        let card = &turn.card;
        self.board
            .say(format!("{}: link is up ({})", card.name, card.mac));
        let card = match self.machine.enter(card) {
            Ok(card) => card,
            Err(reason) => return Err((card.clone(), Failed::Itself(reason))),
        };
        let turn = RefCell::new(turn);
        let result = tokio::select! {
            biased;
            result = self.attempt(&card, &turn) => result.map_err(Failed::Itself),
            reason = self.left(&turn, ears) => Err(Failed::Left(reason)),
        };
        result.map_err(|failed| {
            // Its address must not get in the way of the next card.
            self.machine.forget_address(&card);
            (card, failed)
        })
    }

    /// Waits until another card promises more; answers why this one is left.
    async fn left(&self, turn: &RefCell<Turn>, ears: &mut Vec<Listening<M::Ear>>) -> String {
        loop {
            // That the cards cannot be listed ends the search when this turn is over.
            if self.look().is_ok() {
                self.listen(Some(&turn.borrow()), ears);
            }
            let now = Instant::now();
            let over = {
                let turn = turn.borrow();
                let is_over = self.turns.borrow().is_over(&turn, now, self.limits);
                is_over.then(|| turn.why_over(now))
            };
            if let Some(reason) = over {
                return reason;
            }
            sleep(self.limits.poll).await;
        }
    }

    /// DHCP and the test of the server, on one card. The reason of a failure is for people.
    ///
    /// An address that does not lead to the server may be that of a DHCP server which does not belong here and
    /// was quicker: then those of the others are tried.
    async fn attempt(
        &self,
        card: &Nic,
        turn: &RefCell<Turn>,
    ) -> Result<Reached<M::Client>, String> {
        let text = |error: io::Error| error.to_string();
        let end = turn.borrow().begun + self.limits.turn;
        let mut client = self.machine.ask(card, None).map_err(text)?;
        let lease = self
            .obtain(card, turn, &mut client, self.limits.turn)
            .await?;
        let reached = |client, lease, warning| Reached {
            card: card.clone(),
            client,
            lease,
            warning,
        };
        let doubt = Instant::now() + self.limits.doubt;
        let Err(first) = self.reach(&lease, doubt).await else {
            return Ok(reached(client, lease, None));
        };
        let others = self.machine.other_servers(card, &lease).await;
        if others.is_empty() {
            self.reach(&lease, end).await?;
            return Ok(reached(client, lease, None));
        }
        let server = lease.server;
        let mut wrong = vec![server.map_or_else(|| "unknown".to_owned(), |it| it.to_string())];
        let mut reasons = vec![first];
        for other in others {
            self.board.say(format!(
                "{}: several DHCP servers answer here. With the address of {} the server is not reached ({}); \
                 now the one at {other} is asked",
                card.name,
                wrong.join(" and "),
                reasons.join("; "),
            ));
            // Its address and routes must not get in the way.
            drop(client);
            self.machine.forget_address(card);
            client = self.machine.ask(card, Some(other)).map_err(text)?;
            let patience = self.limits.other_server;
            let tried = async {
                let lease = self.obtain(card, turn, &mut client, patience).await?;
                let reached = self.reach(&lease, Instant::now() + patience).await;
                reached.map(|()| lease)
            };
            match tried.await {
                Ok(lease) => {
                    let warning = format!(
                        "several DHCP servers answer here: with the address of {wrong} the server is not \
                         reached, with that of {other} it is. Switch off {wrong}, which probably is a router or \
                         PC that does not belong here, or correct it",
                        wrong = wrong.join(" and ")
                    );
                    return Ok(reached(client, lease, Some(warning)));
                }
                Err(reason) => {
                    wrong.push(other.to_string());
                    reasons.push(format!("DHCP server {other}: {reason}"));
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
        &self,
        card: &Nic,
        turn: &RefCell<Turn>,
        client: &mut M::Client,
        patience: Duration,
    ) -> Result<Lease, String> {
        let start = Instant::now();
        let (outer, linked) = {
            let turn = turn.borrow();
            (turn.card.clone(), turn.linked)
        };
        loop {
            if let Some(lease) = client.lease().map_err(|error| error.to_string())? {
                self.board.go_on();
                turn.borrow_mut().note_lease(Instant::now());
                if let Some(linked) = self.turns.borrow_mut().note_answer(&outer, true) {
                    self.machine.note_first_answer(card, linked.elapsed());
                }
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
            if !self.machine.has_link(&outer) && start.elapsed() >= self.limits.head_start {
                return Err("the link went down again; check the cable".into());
            }
            let advice = match trouble {
                Some(trouble) => vec![trouble],
                None => spanning_tree(linked.elapsed()),
            };
            self.board
                .wait_for(format!("an address by DHCP on {}", card.name), advice);
            sleep(self.limits.poll).await;
        }
    }

    /// Tests whether the server is reached, at least once and until `end`.
    async fn reach(&self, lease: &Lease, end: Instant) -> Result<(), String> {
        loop {
            let Err(reason) = self.machine.probe(self.board, lease).await else {
                self.board.go_on();
                return Ok(());
            };
            if Instant::now() >= end {
                return Err(reason);
            }
            self.board.wait_for(self.machine.server(), vec![reason]);
            sleep(self.limits.probe_pause).await;
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_follows_the_time_since_the_link() {
        let advice = |seconds| spanning_tree(Duration::from_secs(seconds));
        assert!(advice(0).is_empty());
        assert!(advice(20)[0].contains("PortFast"));
        assert!(advice(60)[0].contains("DHCP server"));
    }
}
