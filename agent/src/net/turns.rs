//! Which of several cards is tried, and for how long: each is first tried shortly, then at length.
//!
//! Pure: the caller has the clock, and looks at the cards. A port may pass nothing for 30 s after its link came up
//! (spanning tree), so the cards whose turn it is not are listened on meanwhile (see [`mod@super::search`]).

use std::time::Duration;

use tokio::time::Instant;

use super::Nic;

/// The times of a search.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    /// How long the card that the server knows is waited for, for its link and for its first answer by DHCP, before
    /// another one is used.
    pub(super) head_start: Duration,
    /// How long a link is waited for.
    pub(super) link: Duration,
    /// How long a usable card is waited for, where none can be switched on.
    pub(super) card: Duration,
    /// The longest turn. Longer than a port needs with the slowest spanning tree.
    pub(super) turn: Duration,
    /// A turn, while another card has an answer that it had no turn with.
    pub(super) short: Slice,
    /// A turn, while another card has an answer.
    pub(super) long: Slice,
    /// How long the server may be silent before other DHCP servers of the same network are looked for.
    pub(super) doubt: Duration,
    /// For the address of another DHCP server, and again for the server by it.
    pub(super) other_server: Duration,
    /// A search gives up when every card has had two turns, not before this.
    pub(super) search: Duration,
    /// Between two looks at the cards.
    pub(super) poll: Duration,
    /// Between two questions to the server.
    pub(super) probe_pause: Duration,
}

/// How long a turn lasts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slice {
    /// From its begin, while there is no address.
    pub(super) for_address: Duration,
    /// From the address on.
    pub(super) for_server: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            head_start: seconds(12),
            link: seconds(300),
            card: seconds(120),
            turn: seconds(75),
            short: Slice {
                for_address: seconds(4),
                for_server: seconds(4),
            },
            long: Slice {
                for_address: seconds(12),
                for_server: seconds(30),
            },
            doubt: seconds(6),
            other_server: seconds(20),
            search: seconds(150),
            poll: Duration::from_millis(200),
            probe_pause: seconds(1),
        }
    }
}

/// The cards that have a link, and what is known of each.
#[derive(Debug)]
pub(super) struct Turns {
    begun: Instant,
    /// In the order of preference.
    linked: Vec<Linked>,
}

#[derive(Debug)]
struct Linked {
    card: Nic,
    since: Instant,
    turns: u32,
    /// When its last turn began.
    last: Option<Instant>,
    /// A DHCP server has answered on it.
    has_answer: bool,
    /// It has answered since the last turn.
    has_news: bool,
}

/// The turn of a card.
#[derive(Debug, Clone)]
pub(super) struct Turn {
    pub(super) card: Nic,
    /// Since when the card has its link.
    pub(super) linked: Instant,
    pub(super) begun: Instant,
    /// Since when it has an address.
    leased: Option<Instant>,
    /// Whether the server knows this card.
    is_known: bool,
}

impl Turns {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            begun: now,
            linked: Vec::new(),
        }
    }

    /// Takes the cards that have a link now, in the order of preference. What was known of one that lost its link is
    /// forgotten.
    pub(super) fn update(&mut self, now: Instant, linked: Vec<Nic>) {
        let mut before = std::mem::take(&mut self.linked);
        let known = |card: Nic| match before.iter().position(|known| known.card == card) {
            Some(at) => before.swap_remove(at),
            None => Linked {
                card,
                since: now,
                turns: 0,
                last: None,
                has_answer: false,
                has_news: false,
            },
        };
        self.linked = linked.into_iter().map(known).collect();
    }

    /// A DHCP server has answered on this card, whose turn it is or not. The first time: since when the card has its
    /// link.
    pub(super) fn note_answer(&mut self, card: &Nic, has_turn: bool) -> Option<Instant> {
        let linked = self.linked.iter_mut().find(|it| it.card == *card)?;
        let is_first = !std::mem::replace(&mut linked.has_answer, true);
        linked.has_news = !has_turn;
        is_first.then_some(linked.since)
    }

    /// Cards to listen on: no server has answered there, and it is not their turn.
    pub(super) fn silent<'a>(&'a self, turn: Option<&'a Turn>) -> impl Iterator<Item = &'a Nic> {
        let has_turn = move |card: &Nic| turn.is_some_and(|turn| turn.card == *card);
        let silent = self.linked.iter().filter(|linked| !linked.has_answer);
        silent
            .map(|linked| &linked.card)
            .filter(move |card| !has_turn(card))
    }

    /// Gives the next card its turn: one that has had an answer since its last one, else the one that had the fewest. The
    /// very first turn is that of the card that the server knows.
    pub(super) fn begin(&mut self, now: Instant, is_known: impl Fn(&Nic) -> bool) -> Option<Turn> {
        let is_first = self.linked.iter().all(|linked| linked.turns == 0);
        let order = |it: &&mut Linked| {
            let is_preferred = is_first && is_known(&it.card);
            (
                !is_preferred,
                !it.has_news,
                it.turns,
                !it.has_answer,
                it.last,
            )
        };
        // Of equals the first one.
        let next = self.linked.iter_mut().min_by_key(order)?;
        next.turns += 1;
        next.last = Some(now);
        next.has_news = false;
        Some(Turn {
            card: next.card.clone(),
            linked: next.since,
            begun: now,
            leased: None,
            is_known: is_known(&next.card),
        })
    }

    /// Whether the turn is over because another card promises more.
    pub(super) fn is_over(&self, turn: &Turn, now: Instant, limits: &Limits) -> bool {
        let others = self.linked.iter().filter(|it| it.card != turn.card);
        let mut answered = others.filter(|other| other.has_answer).peekable();
        if answered.peek().is_none() {
            return false;
        }
        let slice = match answered.any(|other| other.has_news) {
            true => limits.short,
            false => limits.long,
        };
        match turn.leased {
            Some(leased) => now >= leased + slice.for_server,
            None if turn.is_known => now >= turn.begun + slice.for_address.max(limits.head_start),
            None => now >= turn.begun + slice.for_address,
        }
    }

    /// Whether enough was tried. A link that comes and goes has its first turn again and again.
    pub(super) fn is_hopeless(&self, now: Instant, limits: &Limits) -> bool {
        let time = now.saturating_duration_since(self.begun);
        let are_tried = self.linked.iter().all(|it| it.turns >= 2);
        (time >= limits.search && are_tried) || time >= limits.search * 2
    }
}

impl Turn {
    /// The card has an address now.
    pub(super) fn note_lease(&mut self, now: Instant) {
        self.leased.get_or_insert(now);
    }

    /// Why it ended, where [`Turns::is_over`] says so. For people.
    pub(super) fn why_over(&self, now: Instant) -> String {
        match self.leased {
            Some(leased) => format!(
                "with its address the server was not reached in {} s, and a DHCP server answers on another card",
                now.duration_since(leased).as_secs()
            ),
            None => format!(
                "no DHCP answer in {} s, and there is one on another card",
                now.duration_since(self.begun).as_secs()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::nic::tests::at;
    use super::*;

    fn cards() -> [Nic; 3] {
        [
            at("eth0", "02:00:00:00:00:00"),
            at("eth1", "02:00:00:00:00:01"),
            at("eth2", "02:00:00:00:00:02"),
        ]
    }

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    fn begin(turns: &mut Turns, now: Instant) -> Turn {
        turns.begin(now, |_| false).unwrap()
    }

    #[test]
    fn a_card_with_an_answer_comes_before_those_without() {
        let start = Instant::now();
        let limits = Limits::default();
        let mut turns = Turns::new(start);
        assert!(turns.begin(start, |_| false).is_none());
        turns.update(start, cards().to_vec());
        let turn = begin(&mut turns, start);
        assert_eq!(turn.card.name, "eth0");
        // However long it takes, as long as no other has more to offer.
        assert!(!turns.is_over(&turn, after(start, 70), &limits));
        turns.note_answer(&cards()[2], false);
        assert!(turns.is_over(&turn, after(start, 70), &limits));
        assert!(!turns.is_over(&turn, after(start, 3), &limits));
        assert_eq!(begin(&mut turns, start).card.name, "eth2");
        assert_eq!(begin(&mut turns, start).card.name, "eth1");
        // In the second round, too.
        assert_eq!(begin(&mut turns, start).card.name, "eth2");
    }

    #[test]
    fn a_card_without_the_server_is_left_soon_for_a_new_one_and_later_for_a_known_one() {
        let start = Instant::now();
        let limits = Limits::default();
        let mut turns = Turns::new(start);
        turns.update(start, cards()[..2].to_vec());
        let mut turn = begin(&mut turns, start);
        turn.note_lease(after(start, 2));
        turns.note_answer(&cards()[0], true);
        assert!(!turns.is_over(&turn, after(start, 60), &limits));
        turns.note_answer(&cards()[1], false);
        assert!(!turns.is_over(&turn, after(start, 5), &limits));
        assert!(turns.is_over(&turn, after(start, 6), &limits));
        let mut turn = begin(&mut turns, after(start, 6));
        assert_eq!(turn.card.name, "eth1");
        turn.note_lease(after(start, 7));
        assert!(!turns.is_over(&turn, after(start, 36), &limits));
        assert!(turns.is_over(&turn, after(start, 37), &limits));
        assert!(!turns.is_hopeless(after(start, 299), &limits));
        // They take turns.
        assert_eq!(begin(&mut turns, after(start, 40)).card.name, "eth0");
        assert_eq!(begin(&mut turns, after(start, 50)).card.name, "eth1");
        assert!(!turns.is_hopeless(after(start, 149), &limits));
        assert!(turns.is_hopeless(after(start, 150), &limits));
        // It has a first turn again, but not for ever.
        turns.update(after(start, 200), Vec::new());
        turns.update(after(start, 200), cards().to_vec());
        assert!(!turns.is_hopeless(after(start, 299), &limits));
        assert!(turns.is_hopeless(after(start, 300), &limits));
    }

    #[test]
    fn an_answer_that_comes_after_the_turn_is_soon_made_use_of() {
        let start = Instant::now();
        let limits = Limits::default();
        let mut turns = Turns::new(start);
        turns.update(start, cards()[..2].to_vec());
        begin(&mut turns, start);
        let mut turn = begin(&mut turns, after(start, 4));
        assert_eq!(turn.card.name, "eth1");
        turn.note_lease(after(start, 5));
        turns.note_answer(&cards()[1], true);
        turns.note_answer(&cards()[0], false);
        assert!(turns.is_over(&turn, after(start, 9), &limits));
        assert_eq!(begin(&mut turns, after(start, 9)).card.name, "eth0");
    }

    #[test]
    fn the_card_that_the_server_knows_has_a_head_start() {
        let start = Instant::now();
        let limits = Limits::default();
        let mut turns = Turns::new(start);
        turns.update(start, cards()[..2].to_vec());
        turns.note_answer(&cards()[1], false);
        let turn = turns.begin(start, |card| card.name == "eth0").unwrap();
        assert_eq!(turn.card.name, "eth0");
        assert!(!turns.is_over(&turn, after(start, 11), &limits));
        assert!(turns.is_over(&turn, after(start, 12), &limits));
    }

    #[test]
    fn a_link_that_comes_back_is_a_new_one() {
        let start = Instant::now();
        let mut turns = Turns::new(start);
        turns.update(start, cards().to_vec());
        assert_eq!(turns.note_answer(&cards()[0], false), Some(start));
        assert_eq!(turns.note_answer(&cards()[0], false), None);
        begin(&mut turns, start);
        turns.update(after(start, 1), cards()[1..].to_vec());
        turns.update(after(start, 2), cards().to_vec());
        let silent: Vec<&str> = turns.silent(None).map(|card| &*card.name).collect();
        assert_eq!(silent, ["eth0", "eth1", "eth2"]);
        let turn = begin(&mut turns, after(start, 3));
        assert_eq!((&*turn.card.name, turn.linked), ("eth0", after(start, 2)));
        let silent: Vec<&str> = turns.silent(Some(&turn)).map(|card| &*card.name).collect();
        assert_eq!(silent, ["eth1", "eth2"]);
    }
}
