//! Sends a test stream to whoever asks, and says how it went. It is sent as sessions send, but at once, and to any
//! receiver, udpcast's own among them.

mod decoy;
mod exchange;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver as Queue, RecvTimeoutError, Sender as Way, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cast_net::udpcast::sender::{Outcome, SenderEvent, StartRule};
use cast_net::udpcast::wire::data_datagram_len;
use cast_net::{Interface, SendControl, SendError, SendEvent, SendOptions, SendReport};
use diagnosis::Skipped;
use diagnosis::trial::{Receiver, Sent};
use exchange::Exchange;
use fos_api::TestStream;
use fos_api::room::{MAX_SEATS, Room, Seat, Seen, SentTo, TestEnd};
use readable::{NAMED_AFTER, Size, Time, chain};

use crate::output;
use crate::sender::udpcast::TTL;

/// What is to be sent.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The card, by name or address; `None`: the one at which the first receiver asks.
    pub interface: Option<String>,
    /// How many receivers are waited for.
    pub receivers: u32,
    /// For how long.
    pub wait: Duration,
    /// Bytes of the test.
    pub len: u64,
    /// Port of the receivers.
    pub port: u16,
}

/// Sends the test, to its end or until it is clear that it does not arrive. The web server is not looked at. Answers, too,
/// what both ends have seen together; or why receivers were not heard.
///
/// # Errors
/// There is no such card.
pub fn run(plan: &Plan) -> anyhow::Result<(Sent, Result<Room, String>)> {
    let cards = Cards::choose(&Interface::list()?, plan.interface.as_deref())?;
    // Before the first receiver can be let in.
    let exchange = Exchange::open(plan.port.saturating_add(1));
    let is_over = Arc::new(AtomicBool::new(false));
    let (way, events) = channel();
    let mut trial = Trial::new(plan, cards.by, &cards.all, Instant::now());
    let mut controls = Vec::new();
    for (number, card) in cards.all.iter().enumerate() {
        if trial.is_decoy(number) {
            let is_over = Arc::new(AtomicBool::new(false));
            controls.push(Control::Decoy(Arc::clone(&is_over)));
            let (card, way) = (card.clone(), way.clone());
            let port = plan.port.saturating_add(1);
            thread::Builder::new()
                .name(format!("decoy-{}", card.name))
                .spawn(move || {
                    let asked = |from| drop(way.send((number, Told::Asked(from))));
                    // Without it less is known.
                    drop(decoy::listen(&card, port, &is_over, asked));
                })
                .context("starting a thread")?;
            continue;
        }
        let control = SendControl::new().context("preparing the sender")?;
        controls.push(Control::Sender(control.clone()));
        let options = options(plan, card);
        let source = TestStream::new(seed()?, plan.len, Arc::clone(&is_over));
        let way = way.clone();
        thread::Builder::new()
            .name(format!("send-{}", card.name))
            .spawn(move || follow(number, options, source, control, &way))
            .context("starting a thread")?;
    }
    drop(way);
    let asking: Vec<&Interface> = cards
        .all
        .iter()
        .enumerate()
        .filter_map(|(number, card)| (!trial.is_decoy(number)).then_some(card))
        .collect();
    announce(plan, &asking);
    serve(&mut trial, &events, &controls, &is_over);
    let sent = trial.conclude(Instant::now());
    let room = exchange.map_err(|error| error.to_string()).map(|exchange| {
        let is_sent = sent.receivers.iter().any(|receiver| receiver.has_data);
        let seen = exchange.gather(TestEnd { is_sent }, sent.receivers.len());
        let room = room(&sent, &seen);
        exchange.publish(&room);
        room
    });
    Ok((sent, room))
}

/// What is known of all who took part, or wanted to.
fn room(sent: &Sent, seen: &[(Ipv4Addr, Seen)]) -> Room {
    let seat = |address| Seat {
        address,
        sent: None,
        elsewhere: None,
        seen: seen
            .iter()
            .find_map(|(of, seen)| (*of == address).then(|| seen.clone())),
    };
    let mut seats: Vec<Seat> = Vec::new();
    for receiver in &sent.receivers {
        let sent = SentTo {
            has_answered: receiver.has_answered,
            has_data: receiver.has_data,
            has_all: receiver.has_all,
        };
        seats.push(Seat {
            sent: Some(sent),
            ..seat(receiver.address)
        });
    }
    let is_new = |seats: &[Seat], address| seats.iter().all(|seat| seat.address != address);
    for (address, card) in &sent.elsewhere {
        if is_new(&seats, *address) {
            seats.push(Seat {
                elsewhere: Some(card.clone()),
                ..seat(*address)
            });
        }
    }
    for (address, _) in seen {
        if is_new(&seats, *address) {
            seats.push(seat(*address));
        }
    }
    seats.truncate(MAX_SEATS);
    Room {
        card: sent.card.clone(),
        sender: Some(sent.own),
        group: Some(sent.group),
        datagram_len: sent.datagram_len,
        seats,
    }
}

/// Until every sender has ended.
fn serve(
    trial: &mut Trial,
    events: &Queue<(usize, Told)>,
    controls: &[Control],
    is_over: &AtomicBool,
) {
    loop {
        let told = match events.recv_timeout(LOOK) {
            Ok(told) => Some(told),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let now = Instant::now();
        let mut orders = trial.look(now);
        if let Some((card, told)) = told {
            orders.extend(trial.handle(card, told, now));
        }
        for order in orders {
            match order {
                Order::Say(text) => output::explain(&text),
                Order::Start(card) => control(controls, card, SendControl::start_now),
                Order::Stop(card) => control(controls, card, SendControl::stop),
                Order::Interrupt(card) => control(controls, card, SendControl::interrupt),
                Order::EndStream => is_over.store(true, Ordering::Relaxed),
            }
        }
    }
}

/// What runs for a card.
enum Control {
    Sender(SendControl),
    /// Set when it is to end.
    Decoy(Arc<AtomicBool>),
}

fn control(controls: &[Control], card: usize, order: fn(&SendControl)) {
    match controls.get(card) {
        Some(Control::Sender(sender)) => order(sender),
        Some(Control::Decoy(is_over)) => is_over.store(true, Ordering::Relaxed),
        None => {}
    }
}

fn announce(plan: &Plan, cards: &[&Interface]) {
    let names: Vec<String> = cards.iter().map(ToString::to_string).collect();
    let count = readable::Count(plan.receivers.into(), "receiver");
    let address = cards
        .first()
        .map_or(Ipv4Addr::UNSPECIFIED, |card| card.addr);
    output::explain(&format!(
        "port {}, card {}: waiting for {count}, at most {}; on the client `fos-agent selftest {address}`, or \
         `udp-receiver > /dev/null`",
        plan.port,
        names.join(" or "),
        Time(plan.wait)
    ));
}

/// What comes of a card.
enum Told {
    /// A machine asks where nothing is sent.
    Asked(Ipv4Addr),
    Event(Box<SendEvent>),
    Over(Box<Result<SendReport, SendError>>),
}

/// On a thread of each card.
fn follow(
    card: usize,
    options: SendOptions,
    source: TestStream,
    control: SendControl,
    way: &Way<(usize, Told)>,
) {
    let sent = cast_net::send::open(options, source, control).and_then(|mut stream| {
        while let Some(event) = stream.next_event() {
            // Whoever does not listen any more has the end of the program before it.
            drop(way.send((card, Told::Event(Box::new(event)))));
        }
        stream.finish()
    });
    drop(way.send((card, Told::Over(Box::new(sent)))));
}

fn options(plan: &Plan, card: &Interface) -> SendOptions {
    let mut options = SendOptions::new(card.clone());
    options.port_base = plan.port;
    options.ttl = TTL;
    options.transfer.start = StartRule {
        min_receivers: plan.receivers,
        ..StartRule::default()
    };
    options
}

fn seed() -> anyhow::Result<u64> {
    let mut octets = [0; 8];
    getrandom::fill(&mut octets).map_err(|error| anyhow::anyhow!("random numbers: {error}"))?;
    Ok(u64::from_ne_bytes(octets))
}

/// The cards of a test.
#[derive(Debug, PartialEq, Eq)]
struct Cards {
    all: Vec<Interface>,
    by: By,
}

/// By which card it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The first of them, as a person said. At the others is listened.
    First,
    /// The one at which a receiver asks first.
    Asked,
}

impl Cards {
    fn choose(list: &[Interface], wanted: Option<&str>) -> anyhow::Result<Self> {
        let usable = list.iter().filter(|card| card.is_up && !card.is_loopback);
        let Some(wanted) = wanted else {
            let all: Vec<Interface> = usable.take(CARDS_MAX).cloned().collect();
            anyhow::ensure!(
                !all.is_empty(),
                "no network card has a link and an IPv4 address; plug one in, or name one with --interface"
            );
            return Ok(Self { all, by: By::Asked });
        };
        let chosen = Interface::choose(list, Some(wanted))?;
        // In its own network a decoy would be quicker now and then.
        let is_near = |card: &Interface| {
            network(card.addr, chosen) == network(chosen.addr, chosen)
                || network(chosen.addr, card) == network(card.addr, card)
        };
        let others = usable.filter(|card| !is_near(card)).take(CARDS_MAX);
        Ok(Self {
            all: std::iter::once(chosen).chain(others).cloned().collect(),
            by: By::First,
        })
    }
}

fn network(address: Ipv4Addr, of: &Interface) -> u32 {
    let host_bits = 32_u32.saturating_sub(of.prefix_len.into());
    address.to_bits() & u32::MAX.checked_shl(host_bits).unwrap_or(0)
}

/// What is done next.
#[derive(Debug, PartialEq, Eq)]
enum Order {
    Say(String),
    /// With those that are there.
    Start(usize),
    Stop(usize),
    /// Receivers are sent away.
    Interrupt(usize),
    /// The stream has been long enough.
    EndStream,
}

/// The course of a test. The caller has the clock and the senders.
#[derive(Debug)]
struct Trial {
    plan: Plan,
    cards: Vec<Interface>,
    /// The card by which is sent, once that is known.
    chosen: Option<usize>,
    by: By,
    began: Instant,
    next_line: Duration,
    joined: Vec<Ipv4Addr>,
    elsewhere: Vec<(Ipv4Addr, String)>,
    waited: Duration,
    sending: Option<Sending>,
    is_giving_up: bool,
    report: Option<SendReport>,
    failures: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct Sending {
    since: Instant,
    bytes: u64,
    moved_at: Instant,
    is_long_enough: bool,
}

impl Trial {
    fn new(plan: &Plan, by: By, cards: &[Interface], now: Instant) -> Self {
        let is_known = by == By::First || cards.len() == 1;
        Self {
            plan: plan.clone(),
            cards: cards.to_vec(),
            chosen: is_known.then_some(0),
            by,
            began: now,
            next_line: NAMED_AFTER,
            joined: Vec::new(),
            elsewhere: Vec::new(),
            waited: Duration::ZERO,
            sending: None,
            is_giving_up: false,
            report: None,
            failures: Vec::new(),
        }
    }

    /// A card at which is only listened.
    fn is_decoy(&self, card: usize) -> bool {
        self.by == By::First && card != 0
    }

    /// What the time demands.
    fn look(&mut self, now: Instant) -> Vec<Order> {
        let mut orders = Vec::new();
        if self.is_giving_up || self.report.is_some() {
            return orders;
        }
        let Some(sending) = &mut self.sending else {
            let waited = now.saturating_duration_since(self.began);
            self.waited = waited;
            if waited >= self.plan.wait {
                self.is_giving_up = self.joined.is_empty();
                match (self.chosen, self.is_giving_up) {
                    (Some(card), false) => orders.push(Order::Start(card)),
                    _ => orders.extend((0..self.cards.len()).map(Order::Stop)),
                }
                // Once.
                self.began = now;
            } else if waited >= self.next_line {
                self.next_line = waited + LINES;
                orders.push(Order::Say(format!(
                    "waiting for {}: {} of {} receivers have asked; at most {} more",
                    Time(waited),
                    self.joined.len(),
                    self.plan.receivers,
                    Time(self.plan.wait.saturating_sub(waited))
                )));
            }
            return orders;
        };
        let Some(card) = self.chosen else {
            return orders;
        };
        let lasts = now.saturating_duration_since(sending.since);
        if lasts >= SENDING && !sending.is_long_enough {
            sending.is_long_enough = true;
            orders.push(Order::EndStream);
        }
        let still = now.saturating_duration_since(sending.moved_at);
        if still >= STILL || lasts >= LONGEST {
            self.is_giving_up = true;
            let why = match still >= STILL {
                true => format!("nobody has acknowledged more for {}", Time(still)),
                false => format!("the test has lasted {}", Time(lasts)),
            };
            orders.push(Order::Say(format!("{why}: the receivers are sent away")));
            orders.push(Order::Interrupt(card));
        }
        orders
    }

    fn handle(&mut self, card: usize, told: Told, now: Instant) -> Vec<Order> {
        let event = match told {
            Told::Event(event) => *event,
            Told::Asked(from) => {
                return match self.stray(card, from) {
                    true => vec![Order::Say(format!(
                        "{from} asks at another card ({})",
                        self.name(card)
                    ))],
                    false => Vec::new(),
                };
            }
            Told::Over(result) => {
                self.over(card, *result);
                return self.after_failure(card);
            }
        };
        match event {
            SendEvent::Protocol(event) => self.protocol(card, &event, now),
            SendEvent::Progress { statistics, .. } => {
                if let Some(sending) = &mut self.sending
                    && statistics.bytes_acked > sending.bytes
                {
                    sending.bytes = statistics.bytes_acked;
                    sending.moved_at = now;
                }
                Vec::new()
            }
            SendEvent::Network(notice) => vec![Order::Say(notice.to_string())],
        }
    }

    fn protocol(&mut self, card: usize, event: &SenderEvent, now: Instant) -> Vec<Order> {
        match event {
            SenderEvent::Joined { addr, .. } => match self.chosen {
                Some(chosen) if chosen != card => {
                    self.stray(card, *addr);
                    Vec::new()
                }
                known => {
                    self.joined.push(*addr);
                    let mut orders = vec![Order::Say(format!("{addr} asks for the test"))];
                    if known.is_none() {
                        self.chosen = Some(card);
                        let others = (0..self.cards.len()).filter(|other| *other != card);
                        orders.extend(others.map(Order::Stop));
                    }
                    orders
                }
            },
            SenderEvent::Refused { addr, .. } => {
                vec![Order::Say(format!("{addr} is too late for this test"))]
            }
            SenderEvent::Started { participants, .. } if self.chosen == Some(card) => {
                self.waited = now.saturating_duration_since(self.began).max(self.waited);
                self.sending = Some(Sending {
                    since: now,
                    bytes: 0,
                    moved_at: now,
                    is_long_enough: false,
                });
                let count = readable::Count((*participants).into(), "receiver");
                let mut orders = vec![Order::Say(format!(
                    "sending {} to {count}",
                    Size(self.plan.len)
                ))];
                let others = (0..self.cards.len()).filter(|other| *other != card);
                orders.extend(others.map(Order::Stop));
                orders
            }
            SenderEvent::Dropped { addr, .. } => {
                vec![Order::Say(format!(
                    "{addr} has fallen silent and is left out"
                ))]
            }
            _ => Vec::new(),
        }
    }

    /// Whether that was not known.
    fn stray(&mut self, card: usize, address: Ipv4Addr) -> bool {
        let stray = (address, self.name(card));
        let is_new = !self.elsewhere.contains(&stray) && self.elsewhere.len() < STRAYS_MAX;
        if is_new {
            self.elsewhere.push(stray);
        }
        is_new
    }

    fn name(&self, card: usize) -> String {
        let card = self.cards.get(card);
        card.map_or_else(String::new, |card| format!("{} ({})", card.name, card.addr))
    }

    fn over(&mut self, card: usize, result: Result<SendReport, SendError>) {
        let is_meant = self.chosen.is_none_or(|chosen| chosen == card);
        let report = match result {
            Ok(report) => report,
            Err(
                SendError::GaveUp { report, .. }
                | SendError::Stopped { report }
                | SendError::Aborted { report, .. },
            ) => *report,
            Err(error) => {
                if is_meant {
                    self.failures.push(chain(&error));
                }
                return;
            }
        };
        if self.chosen == Some(card) {
            self.report = Some(report);
        }
    }

    /// If the card by which is sent fails, nothing is left to wait for.
    fn after_failure(&mut self, card: usize) -> Vec<Order> {
        let is_last = self.failures.len() >= self.cards.len();
        if self.chosen == Some(card) || (self.chosen.is_none() && is_last) {
            self.is_giving_up = true;
            return (0..self.cards.len()).map(Order::Stop).collect();
        }
        Vec::new()
    }

    fn conclude(self, now: Instant) -> Sent {
        let card = self.cards.get(self.chosen.unwrap_or(0));
        let (name, own) = card.map_or_else(
            || (String::new(), Ipv4Addr::UNSPECIFIED),
            |card| (card.name.clone(), card.addr),
        );
        let options = card.map(|card| options(&self.plan, card));
        let report = self.report.as_ref();
        let statistics = report.map(|report| report.statistics).unwrap_or_default();
        let participants = report.map(|report| report.participants.clone());
        let receivers = participants
            .unwrap_or_default()
            .into_iter()
            .map(|it| Receiver {
                address: it.addr,
                has_answered: it.evidence.has_answered,
                has_data: it.evidence.has_data,
                has_all: it.outcome == Outcome::Completed,
                bytes: it.evidence.bytes_acked,
            });
        let receivers: Vec<Receiver> = receivers.collect();
        let time = report.and_then(|report| report.transfer_time);
        let is_failed = report.is_none() && !self.failures.is_empty();
        let waited = match self.sending {
            Some(_) => self.waited,
            None => self.waited.max(
                now.saturating_duration_since(self.began)
                    .min(self.plan.wait),
            ),
        };
        Sent {
            card: name,
            own,
            port: self.plan.port,
            group: options
                .as_ref()
                .map_or(Ipv4Addr::UNSPECIFIED, SendOptions::data_group),
            wanted: self.plan.receivers,
            waited,
            receivers,
            elsewhere: self.elsewhere,
            web: Err(Skipped::NotAsked),
            datagram_len: options
                .map_or(0, |options| data_datagram_len(options.transfer.block_size)),
            bytes: statistics.bytes_acked,
            blocks: statistics.blocks_sent.saturating_add(statistics.fec_sent),
            repeated: statistics
                .blocks_repeated
                .saturating_add(statistics.repairs_sent),
            time: time.unwrap_or_default(),
            failure: is_failed.then(|| self.failures.join("; ")),
        }
    }
}

const LOOK: Duration = Duration::from_millis(200);
/// Between two lines about a wait.
const LINES: Duration = Duration::from_secs(10);
/// How long is sent.
const SENDING: Duration = Duration::from_secs(10);
/// Longer than a receiver that gets on needs for anything.
const STILL: Duration = Duration::from_secs(15);
/// Whatever the path is like.
const LONGEST: Duration = Duration::from_secs(120);
/// A sender each, with some MB.
const CARDS_MAX: usize = 8;
/// Shown.
const STRAYS_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use cast_net::udpcast::ClientNo;
    use cast_net::udpcast::sender::{SenderStatistics, StartReason};
    use cast_net::udpcast::wire::Capabilities;
    use std::net::SocketAddrV4;

    use super::*;
    use crate::testing::card;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 9);

    fn plan(receivers: u32) -> Plan {
        Plan {
            interface: None,
            receivers,
            wait: Duration::from_secs(60),
            len: 1000,
            port: 9000,
        }
    }

    fn joined(addr: Ipv4Addr) -> Told {
        told(SenderEvent::Joined {
            client: ClientNo(0),
            addr,
            capabilities: Capabilities::CURRENT,
        })
    }

    fn started() -> Told {
        told(SenderEvent::Started {
            reason: StartReason::Complete,
            data: SocketAddrV4::new(CLIENT, 9000),
            participants: 1,
        })
    }

    fn told(event: SenderEvent) -> Told {
        Told::Event(Box::new(SendEvent::Protocol(event)))
    }

    fn progress(bytes_acked: u64) -> Told {
        Told::Event(Box::new(SendEvent::Progress {
            statistics: SenderStatistics {
                bytes_acked,
                ..SenderStatistics::default()
            },
            participants: Vec::new(),
        }))
    }

    /// All but what is said.
    fn acts(orders: Vec<Order>) -> Vec<Order> {
        let is_act = |order: &Order| !matches!(order, Order::Say(_));
        orders.into_iter().filter(is_act).collect()
    }

    /// One for two cards.
    fn trial(by: By, now: Instant) -> Trial {
        Trial::new(&plan(1), by, &[card(1), card(2)], now)
    }

    #[test]
    fn the_card_at_which_a_receiver_asks_is_taken() {
        let now = Instant::now();
        let mut trial = trial(By::Asked, now);
        assert!(!trial.is_decoy(0) && !trial.is_decoy(1));
        let orders = acts(trial.handle(1, joined(CLIENT), now));
        assert_eq!(orders, [Order::Stop(0)]);
        // One that asks at another card at the same moment is named.
        assert_eq!(acts(trial.handle(0, joined(CLIENT), now)), Vec::new());
        let sent = trial.conclude(now);
        assert_eq!(sent.own, card(2).addr);
        assert_eq!(sent.elsewhere.len(), 1);
    }

    #[test]
    fn a_request_at_another_card_than_the_named_one_is_named_once() {
        let now = Instant::now();
        let mut trial = trial(By::First, now);
        assert!(!trial.is_decoy(0) && trial.is_decoy(1));
        for _ in 0..3 {
            let asked = Told::Asked(CLIENT);
            assert_eq!(acts(trial.handle(1, asked, now)), Vec::new());
        }
        let end = now + Duration::from_secs(60);
        assert_eq!(acts(trial.look(end)), [Order::Stop(0), Order::Stop(1)]);
        assert_eq!(acts(trial.look(end)), Vec::new());
        let sent = trial.conclude(end);
        assert_eq!(sent.elsewhere.len(), 1);
        assert_eq!(sent.waited, Duration::from_secs(60));
    }

    #[test]
    fn every_wait_has_an_end() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut trial = Trial::new(&plan(2), By::First, &[card(1)], begin);
        trial.handle(0, joined(CLIENT), at(1));
        assert_eq!(acts(trial.look(at(59))), Vec::new());
        // With those that are there.
        assert_eq!(acts(trial.look(at(60))), [Order::Start(0)]);
        trial.handle(0, started(), at(61));
        assert_eq!(acts(trial.look(at(70))), Vec::new());
        trial.handle(0, progress(5), at(70));
        assert_eq!(acts(trial.look(at(71))), [Order::EndStream]);
        assert_eq!(acts(trial.look(at(84))), Vec::new());
        trial.handle(0, progress(5), at(84));
        assert_eq!(acts(trial.look(at(85))), [Order::Interrupt(0)]);
        assert_eq!(acts(trial.look(at(200))), Vec::new());
    }

    #[test]
    fn a_test_that_hardly_moves_ends_too() {
        let begin = Instant::now();
        let mut trial = Trial::new(&plan(1), By::First, &[card(1)], begin);
        trial.handle(0, joined(CLIENT), begin);
        trial.handle(0, started(), begin);
        let mut orders = Vec::new();
        for second in 1..=120 {
            let now = begin + Duration::from_secs(second);
            trial.handle(0, progress(second), now);
            orders.extend(acts(trial.look(now)));
        }
        assert_eq!(orders, [Order::EndStream, Order::Interrupt(0)]);
    }

    #[test]
    fn a_named_card_has_decoys_in_other_networks_only() {
        let mut near = card(1);
        near.name = "eth1:1".into();
        let list = [card(1), near, card(2)];
        let cards = Cards::choose(&list, Some(&card(1).name)).unwrap();
        let addresses: Vec<_> = cards.all.iter().map(|card| card.addr).collect();
        assert_eq!(addresses, [card(1).addr, card(2).addr]);
        assert_eq!(cards.by, By::First);
        assert_eq!(Cards::choose(&list, None).unwrap().all.len(), 3);
        let mut down = card(1);
        down.is_up = false;
        assert!(Cards::choose(&[down], None).is_err());
    }

    #[test]
    fn each_machine_has_one_seat_with_what_both_sides_know() {
        let now = Instant::now();
        let mut trial = trial(By::Asked, now);
        trial.handle(1, joined(CLIENT), now);
        let other = Ipv4Addr::new(10, 1, 0, 10);
        trial.handle(0, joined(other), now);
        let mut sent = trial.conclude(now);
        sent.receivers = vec![Receiver {
            address: CLIENT,
            has_answered: true,
            has_data: true,
            has_all: false,
            bytes: 7,
        }];
        let silent = Ipv4Addr::new(10, 1, 0, 11);
        let seen = |requests| Seen {
            requests,
            ..Seen::default()
        };
        let room = room(
            &sent,
            &[(CLIENT, seen(1)), (silent, seen(2)), (other, seen(3))],
        );
        let seats: Vec<_> = room
            .seats
            .iter()
            .map(|seat| {
                let seen = seat.seen.as_ref().map(|seen| seen.requests);
                (
                    seat.address,
                    seat.sent.is_some(),
                    seat.elsewhere.is_some(),
                    seen,
                )
            })
            .collect();
        let expected = [
            (CLIENT, true, false, Some(1)),
            (other, false, true, Some(3)),
            (silent, false, false, Some(2)),
        ];
        assert_eq!(seats, expected);
    }

    #[test]
    fn a_port_that_is_in_use_is_a_failure_of_the_test() {
        let now = Instant::now();
        let mut trial = Trial::new(&plan(1), By::First, &[card(1)], now);
        let panic = SendError::Panicked("the port is in use".into());
        trial.handle(0, Told::Over(Box::new(Err(panic))), now);
        let sent = trial.conclude(now);
        assert!(sent.failure.unwrap().contains("the port is in use"));
    }
}
