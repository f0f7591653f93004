//! The search in virtual time: how long it takes from the link of the right card until the server is reached.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::{Instant, sleep};

use super::dhcp::Lease;
use super::search::{Client, Ear, Machine, Reached, search};
use super::turns::Limits;
use super::{NetworkError, Nic, nic};
use crate::screen::Board;

/// Checklist of FOG's contract, 8.1: from the link to the server, also with the slowest spanning tree.
const BOUND: Duration = Duration::from_secs(60);

/// Listening and learning, 15 s each: the defaults of IEEE 802.1D.
const SPANNING_TREE: Duration = Duration::from_secs(30);

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);

/// A network card and what it is plugged into. Times in milliseconds.
#[derive(Debug, Clone)]
struct Port {
    /// When the link comes up, from the begin.
    link: u64,
    /// How long the port passes nothing after that.
    silence: u64,
    /// DHCP servers: how long each thinks before it answers, and whether its address leads to the server.
    servers: Vec<(u64, bool)>,
}

impl Port {
    fn leads(&self) -> bool {
        self.servers.iter().any(|(_, leads)| *leads)
    }
}

/// A machine with ports `eth0`, `eth1` and so on.
struct Simulated {
    ports: Vec<Port>,
    cards: Vec<Nic>,
    begun: Instant,
    /// The server knows the first card.
    is_first_known: bool,
    /// How long a question takes to a server that is not there.
    probe: Duration,
}

impl Simulated {
    fn new(ports: Vec<Port>) -> Self {
        let card = |number| {
            nic::tests::at(
                &format!("eth{number}"),
                &format!("02:00:00:00:00:0{number}"),
            )
        };
        Self {
            cards: (0..ports.len()).map(card).collect(),
            ports,
            begun: Instant::now(),
            is_first_known: false,
            probe: Duration::from_secs(8),
        }
    }

    fn port(&self, card: &Nic) -> &Port {
        let at = self.cards.iter().position(|known| known == card);
        &self.ports[at.unwrap()]
    }

    /// When the port begins to pass data.
    fn passes(&self, port: &Port) -> Instant {
        self.begun + Duration::from_millis(port.link + port.silence)
    }

    /// What a client hears that asks every so often, from now on.
    fn questions(&self, card: &Nic, pause: Duration, only: Option<usize>) -> Questions {
        let port = self.port(card);
        let is_asked = |at: usize| only.is_none_or(|only| only == at);
        let servers = port.servers.iter().enumerate();
        let servers = servers.filter(|(at, _)| is_asked(*at));
        let first = servers.min_by_key(|(_, (delay, _))| *delay);
        Questions {
            next: Instant::now(),
            pause,
            passes: self.passes(port),
            answer: first.map(|(at, (delay, leads))| (Duration::from_millis(*delay), at, *leads)),
            due: None,
        }
    }
}

/// A client, or an ear: it asks now and then, and an answer comes to the first question that the port lets through.
struct Questions {
    next: Instant,
    pause: Duration,
    passes: Instant,
    /// After which time, by which server, and whether its address leads to ours.
    answer: Option<(Duration, usize, bool)>,
    due: Option<Instant>,
}

impl Questions {
    fn answer(&mut self) -> Option<(usize, bool)> {
        let now = Instant::now();
        let (delay, server, leads) = self.answer?;
        while self.due.is_none() && self.next <= now {
            if self.next >= self.passes {
                self.due = Some(self.next + delay);
            }
            self.next += self.pause;
        }
        (self.due? <= now).then_some((server, leads))
    }
}

impl Client for Questions {
    fn lease(&mut self) -> io::Result<Option<Lease>> {
        Ok(self.answer().map(|(server, leads)| Lease {
            // What leads to the server is in its network.
            address: Ipv4Addr::new(10, u8::from(!leads), 0, 7),
            prefix_len: 24,
            router: None,
            name_servers: Vec::new(),
            server: Some(Ipv4Addr::new(10, 9, 9, u8::try_from(server).unwrap())),
        }))
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}

impl Ear for Questions {
    fn has_heard(&mut self) -> bool {
        self.answer().is_some()
    }
}

impl Machine for Simulated {
    type Client = Questions;
    type Ear = Questions;

    fn look(&self) -> Result<Vec<String>, NetworkError> {
        Ok(Vec::new())
    }

    fn cards(&self) -> Vec<Nic> {
        self.cards.clone()
    }

    fn troubles(&self) -> Vec<String> {
        Vec::new()
    }

    fn has_link(&self, card: &Nic) -> bool {
        Instant::now() >= self.begun + Duration::from_millis(self.port(card).link)
    }

    fn is_known(&self, card: &Nic) -> bool {
        self.is_first_known && self.cards.first() == Some(card)
    }

    fn enter(&self, card: &Nic) -> Result<Nic, String> {
        Ok(card.clone())
    }

    fn ask(&self, card: &Nic, server: Option<Ipv4Addr>) -> io::Result<Questions> {
        let server = server.map(|server| usize::from(server.octets()[3]));
        // As `udhcpc` is told to.
        Ok(self.questions(card, Duration::from_secs(3), server))
    }

    fn listen(&self, card: &Nic) -> io::Result<Questions> {
        Ok(self.questions(card, Duration::from_secs(2), None))
    }

    fn forget_address(&self, _: &Nic) {}

    fn note_first_answer(&self, _: &Nic, _: Duration) {}

    fn server(&self) -> String {
        format!("the server at {SERVER}")
    }

    async fn probe(&self, _: &Board, lease: &Lease) -> Result<(), String> {
        if ::dhcp::network(lease.address, 24) == ::dhcp::network(SERVER, 24) {
            sleep(Duration::from_millis(50)).await;
            return Ok(());
        }
        sleep(self.probe).await;
        Err("no answer".to_owned())
    }

    async fn other_servers(&self, card: &Nic, lease: &Lease) -> Vec<Ipv4Addr> {
        sleep(Duration::from_secs(5)).await;
        let count = self.port(card).servers.len();
        (0..count)
            .map(|server| Ipv4Addr::new(10, 9, 9, u8::try_from(server).unwrap()))
            .filter(|server| Some(*server) != lease.server)
            .collect()
    }
}

/// Runs a search; answers what came of it, and when, from the begin.
fn run(world: impl FnOnce() -> Simulated) -> (Result<Reached<Questions>, NetworkError>, Duration) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = world();
        let result = search(&Board::default(), &world, &Limits::default()).await;
        (result, world.begun.elapsed())
    })
}

/// How long it takes from the link of the only card that leads to the server.
#[track_caller]
fn time_to_server(ports: &[Port], change: impl FnOnce(&mut Simulated)) -> Duration {
    let right = ports.iter().position(Port::leads).unwrap();
    let (result, time) = run(|| {
        let mut world = Simulated::new(ports.to_vec());
        change(&mut world);
        world
    });
    let reached = result.unwrap_or_else(|error| panic!("{error} after {time:?}: {ports:#?}"));
    assert_eq!(reached.card.name, format!("eth{right}"));
    time - Duration::from_millis(ports[right].link)
}

fn port(silence: Duration, servers: &[(u64, bool)]) -> Port {
    Port {
        link: 0,
        silence: u64::try_from(silence.as_millis()).unwrap(),
        servers: servers.to_vec(),
    }
}

#[test]
fn one_card_behind_spanning_tree_is_in_time() {
    let time = time_to_server(&[port(SPANNING_TREE, &[(1000, true)])], |_| ());
    assert!(time > SPANNING_TREE && time <= BOUND, "{time:?}");
    // What works at once is used at once.
    let time = time_to_server(&[port(Duration::ZERO, &[(0, true)])], |_| ());
    assert!(time < Duration::from_secs(1), "{time:?}");
}

#[test]
fn a_dead_card_does_not_keep_the_right_one() {
    let dead = port(Duration::ZERO, &[]);
    let right = port(Duration::ZERO, &[(0, true)]);
    let ports = [dead, right];
    let time = time_to_server(&ports, |_| ());
    assert!(time < Duration::from_secs(10), "{time:?}");
    let time = time_to_server(&ports, |world| world.is_first_known = true);
    assert!(time < Duration::from_secs(20), "{time:?}");
}

#[test]
fn a_card_whose_dhcp_leads_elsewhere_does_not_keep_the_right_one() {
    let wrong = port(Duration::ZERO, &[(0, false)]);
    let right = port(SPANNING_TREE, &[(1000, true)]);
    let time = time_to_server(&[wrong.clone(), wrong, right], |_| ());
    assert!(time <= BOUND, "{time:?}");
}

#[test]
fn the_right_one_of_two_dhcp_servers_is_found_on_the_right_card() {
    let wrong = port(Duration::ZERO, &[(0, false)]);
    let right = port(Duration::ZERO, &[(0, false), (500, true)]);
    let time = time_to_server(&[wrong, right], |_| ());
    assert!(time <= BOUND, "{time:?}");
}

#[test]
fn without_a_way_it_ends_with_the_reason_of_each_card() {
    let ports = vec![
        port(Duration::ZERO, &[(0, false)]),
        port(Duration::ZERO, &[]),
        port(Duration::ZERO, &[(0, false)]),
    ];
    let (result, time) = run(|| Simulated::new(ports));
    let NetworkError::NoServer(reasons) = result.err().unwrap() else {
        panic!("another error");
    };
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(
        reasons
            .iter()
            .any(|reason| reason.starts_with("eth1: no DHCP answer")),
        "{reasons:?}"
    );
    assert!(
        time >= Duration::from_secs(150) && time <= Duration::from_secs(400),
        "{time:?}"
    );
}

#[test]
fn without_a_link_it_ends_and_names_the_cards() {
    let far = Port {
        link: u64::from(u32::MAX),
        ..port(Duration::ZERO, &[])
    };
    let (result, _) = run(|| Simulated::new(vec![far.clone(), far]));
    let NetworkError::NoCarrier { cards } = result.err().unwrap() else {
        panic!("another error");
    };
    assert_eq!(cards, "eth0, eth1");
}

/// A port of any kind that leads nowhere.
fn elsewhere() -> impl Strategy<Value = Port> {
    let servers = proptest::collection::vec((0..3000_u64, Just(false)), 0..3);
    (0..40_000_u64, 0..=30_000_u64, servers).prop_map(|(link, silence, servers)| Port {
        link,
        silence,
        servers,
    })
}

proptest! {
    /// Up to four cards, of which one leads to the server; each may be behind spanning tree, and come up at any time.
    #[test]
    fn the_right_card_is_in_time(
        others in proptest::collection::vec(elsewhere(), 0..=3),
        at in 0..4_usize,
        (link, silence, delay) in (0..40_000_u64, 0..=30_000_u64, 0..=1000_u64),
        is_first_known: bool,
        probe in 0..=8_u64,
    ) {
        let mut ports = others;
        let right = Port { link, silence, servers: vec![(delay, true)] };
        ports.insert(at.min(ports.len()), right);
        let time = time_to_server(&ports, |world| {
            world.is_first_known = is_first_known;
            world.probe = Duration::from_secs(probe);
        });
        prop_assert!(time <= BOUND, "{time:?}");
    }
}
