//! Both ends with keys, symbols and hashes.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cast_proto::native::code::{Decoder, Encoder};
use cast_proto::native::endpoint::{
    Dropped, ReceiverEndpoint, ReceiverEndpointConfig, ReceiverEvent, SenderEndpoint,
    SenderEndpointConfig, Symbols,
};
use cast_proto::native::geometry::{ChunkId, FrameLen, Table};
use cast_proto::native::keys::{
    Cipher, ClientKey, SessionId, SessionKeys, SessionSecret, SigningKey,
};
use cast_proto::native::receiver::{self, Event, ReceiverConfig};
use cast_proto::native::sender::{self, Epoch, RateLimits, SenderConfig, Start};
use cast_proto::native::wire::{ClientNo, EpochId, Tag};

use crate::{Delivery, Host, Link, Rng, Wire};

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Bytes {
    /// All chance comes from it.
    pub seed: u64,
    /// Lengths of the frames.
    pub frames: Vec<FrameLen>,
    /// Lengths of the parts of the manifest that go by multicast; a receiver knows the chunks when it has them all.
    pub parts: Vec<FrameLen>,
    /// When each receiver joins, and its link.
    pub receivers: Vec<(Duration, Link)>,
    /// Of the session.
    pub cipher: Cipher,
    /// Speed of the sender in kB/s.
    pub rate: u32,
    /// So many of a thousand datagrams that arrive have a bit turned.
    pub flips_per_mille: u32,
    /// So many of a thousand datagrams are sent again, later, by somebody who has no key.
    pub replays_per_mille: u32,
    /// The sender is killed at the first time, and another one begins after the second.
    pub restart: Option<(Duration, Duration)>,
    /// Receivers that die, and when.
    pub deaths: Vec<(usize, Duration)>,
}

/// How it went.
#[derive(Clone, Debug)]
pub struct BytesReport {
    /// Of each receiver: whether all its frames are the sender's, and what it counted.
    pub receivers: Vec<(bool, receiver::Counts, Dropped)>,
    /// What the last sender counted.
    pub sender: sender::Counts,
    /// What the last sender dropped.
    pub dropped: Dropped,
    /// How long it took until the session was closed.
    pub elapsed: Duration,
}

const SENDER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 63_201);
const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 3, 9), 63_200);
const MASTER: [u8; 32] = [9; 32];
const ID: SessionId = SessionId([1, 2, 3, 4, 5, 6, 7, 8]);

/// What a damaged datagram begins with.
const OPCODES: &[u16] = &[0x1001, 0x1101, 0x1200, 0x1300, 0x1400, 0x2000];

impl Bytes {
    /// Receivers with equal links, that join at once.
    #[must_use]
    pub fn new(seed: u64, frames: Vec<FrameLen>, receivers: usize, link: Link) -> Self {
        Self {
            seed,
            frames,
            parts: Vec::new(),
            receivers: vec![(Duration::ZERO, link); receivers],
            cipher: Cipher::Aes128Gcm,
            rate: 125_000,
            flips_per_mille: 0,
            replays_per_mille: 0,
            restart: None,
            deaths: Vec::new(),
        }
    }

    /// Runs until all receivers have everything and the sender has closed the session.
    ///
    /// # Panics
    /// If nothing happens any more while a receiver misses something, virtual time passes an hour, or a frame is taken whose
    /// bytes are not the sender's.
    #[must_use]
    pub fn run(&self) -> BytesReport {
        let mut run = Run::new(self);
        while run.step() {}
        run.report()
    }
}

/// A host of the wire: 0 is the sender, the others are receivers.
type Node = usize;

struct Run<'a> {
    scenario: &'a Bytes,
    rng: Rng,
    start: Instant,
    now: Instant,
    contents: BTreeMap<ChunkId, Symbols>,
    sender: Option<Host<SenderEndpoint>>,
    lives: u8,
    restart: Option<(Instant, Instant)>,
    receivers: Vec<Seat>,
    wire: Wire<Node>,
    decoder: Decoder,
}

enum Seat {
    Waiting(Instant),
    Running(Box<Host<ReceiverEndpoint>>, BTreeMap<ChunkId, Arc<[u8]>>),
    Dead,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Bytes) -> Self {
        let start = crate::epoch();
        let mut rng = Rng(scenario.seed);
        let table = Table::new(scenario.parts.clone(), scenario.frames.clone());
        let mut encoder = Encoder::default();
        let mut contents = BTreeMap::new();
        for slot in table.slots() {
            let len = table.frame_len(slot);
            let frame: Vec<u8> = (0..len.get())
                .map(|_| rng.next_u64().to_le_bytes()[0])
                .collect();
            let repair = encoder.encode(len, &frame).expect("a frame of its length");
            let symbols = Symbols {
                frame: frame.into(),
                repair: repair.into(),
            };
            contents.insert(table.id(slot), symbols);
        }
        let receivers = scenario.receivers.iter();
        let receivers = receivers
            .map(|(joins, _)| Seat::Waiting(start + *joins))
            .collect();
        let mut run = Self {
            scenario,
            wire: Wire::new(Rng(rng.next_u64()), OPCODES),
            rng,
            start,
            now: start,
            contents,
            sender: None,
            lives: 0,
            restart: (scenario.restart).map(|(at, down)| (start + at, start + at + down)),
            receivers,
            decoder: Decoder::default(),
        };
        run.begin_sender();
        run
    }

    fn keys(&self) -> SessionKeys {
        SessionKeys::new(ID, SessionSecret([3; 32]), self.scenario.cipher)
    }

    fn client_key(&self, client: ClientNo) -> ClientKey {
        ClientKey::derive(&MASTER, ID, client, self.scenario.cipher)
    }

    fn begin_sender(&mut self) {
        self.lives += 1;
        let is_first = self.lives == 1;
        let config = SenderConfig {
            table: Table::new(self.scenario.parts.clone(), self.scenario.frames.clone()),
            sender: 0,
            tag: Tag([0; 4]),
            epoch: Epoch {
                id: EpochId(u64::from(self.lives)),
                salt: [self.lives; 16],
                byte: self.lives,
            },
            start: if is_first {
                Start::Gather {
                    expected: self.receivers.len(),
                    gather: Duration::from_millis(20),
                }
            } else {
                Start::Again
            },
            limits: RateLimits {
                max: self.scenario.rate,
                is_known: true,
            },
            share: 0.9,
            round_trip: Duration::from_millis(1),
            interleave_max: 4,
            session_age: self.now - self.start,
            seed: self.rng.next_u64(),
        };
        let session = SenderEndpointConfig {
            keys: self.keys(),
            signing: SigningKey::from_seed(&[5; 32]),
            nonce_seed: [self.lives; 32],
            group: GROUP,
        };
        let mut sender = SenderEndpoint::new(config, session, self.now);
        for (seat, number) in self.receivers.iter().zip(0..) {
            if matches!(seat, Seat::Running(..)) {
                let client = ClientNo(number);
                assert!(sender.join_again(self.now, client, &self.client_key(client)));
            }
        }
        self.sender = Some(Host::new(self.now, sender));
    }

    fn begin_receiver(&mut self, index: usize) {
        let client = ClientNo(u32::try_from(index).expect("few receivers"));
        let chunks = if self.scenario.parts.is_empty() {
            self.scenario.frames.clone()
        } else {
            Vec::new()
        };
        let config = ReceiverConfig {
            table: Table::new(self.scenario.parts.clone(), chunks),
            sender: 0,
            pool_len: 1 << 20,
            link: 10,
            seed: self.rng.next_u64(),
        };
        let session = ReceiverEndpointConfig {
            keys: self.keys(),
            verifying: SigningKey::from_seed(&[5; 32]).verifying_key(),
            client,
            client_key: self.client_key(client),
            sender: SENDER,
        };
        let receiver = ReceiverEndpoint::new(config, session, self.now).expect("a good key");
        let host = Box::new(Host::new(self.now, receiver));
        if let Some(seat) = self.receivers.get_mut(index) {
            *seat = Seat::Running(host, BTreeMap::new());
        }
        let key = self.client_key(client);
        if let Some(sender) = &mut self.sender {
            assert!(sender.core.join(self.now, client, &key));
        }
    }

    fn step(&mut self) -> bool {
        let is_closed = (self.sender.as_ref()).is_some_and(|host| host.core.core().is_closed());
        let is_done = self.receivers.iter().all(|seat| match seat {
            Seat::Waiting(_) => false,
            Seat::Running(host, _) => host.core.core().is_finished(),
            Seat::Dead => true,
        });
        if is_done && is_closed {
            return false;
        }
        let seed = self.scenario.seed;
        let next = self
            .next()
            .unwrap_or_else(|| panic!("seed {seed}: nothing happens any more"));
        self.now = self.now.max(next);
        let age = self.now - self.start;
        assert!(age < Duration::from_secs(3600), "seed {seed}: {age:?}");
        self.come_and_go();
        self.arrive();
        self.serve();
        self.transmit();
        true
    }

    fn next(&self) -> Option<Instant> {
        let seats = self.receivers.iter().filter_map(|seat| match seat {
            // Nobody can join while there is no sender.
            Seat::Waiting(at) => self.sender.is_some().then_some(*at),
            Seat::Running(host, _) => host.next_wakeup(self.now),
            Seat::Dead => None,
        });
        let restart = self.restart.map(
            |(dies, begins)| {
                if self.sender.is_some() { dies } else { begins }
            },
        );
        let deaths = self.scenario.deaths.iter().map(|(_, at)| self.start + *at);
        let deaths = deaths.filter(|at| *at > self.now).min();
        let sender = self.sender.as_ref();
        let sender = sender.and_then(|host| host.next_wakeup(self.now));
        let times = [
            sender,
            restart,
            deaths,
            self.wire.next_arrival(),
            seats.min(),
        ];
        times.into_iter().flatten().min()
    }

    fn come_and_go(&mut self) {
        if let Some((dies, begins)) = self.restart {
            if dies <= self.now && begins > self.now {
                self.sender = None;
            }
            if begins <= self.now {
                self.restart = None;
                self.begin_sender();
            }
        }
        for (index, at) in &self.scenario.deaths {
            if self.start + *at <= self.now
                && let Some(seat) = self.receivers.get_mut(*index)
            {
                *seat = Seat::Dead;
            }
        }
        for index in 0..self.receivers.len() {
            let joins = match self.receivers.get(index) {
                Some(Seat::Waiting(at)) => *at <= self.now && self.sender.is_some(),
                _ => false,
            };
            if joins {
                self.begin_receiver(index);
            }
        }
    }

    fn arrive(&mut self) {
        while let Some(mut delivery) = self.wire.arrive(self.now) {
            if self.rng.chance(self.scenario.flips_per_mille) {
                let at = usize::try_from(self.rng.below(delivery.bytes.len() as u64));
                if let Some(byte) = delivery.bytes.get_mut(at.expect("a short datagram")) {
                    *byte ^= 1 << self.rng.below(8);
                }
            }
            if self.rng.chance(self.scenario.replays_per_mille) {
                let link = Link {
                    delay: Duration::from_millis(self.rng.below(200)),
                    ..Link::default()
                };
                self.wire.send(self.now, link, false, &delivery);
            }
            let (from, bytes) = (delivery.from, delivery.bytes);
            match delivery.node.checked_sub(1) {
                None => {
                    if let Some(host) = &mut self.sender {
                        host.take_in(self.now, from, bytes);
                    }
                }
                Some(index) => {
                    if let Some(Seat::Running(host, _)) = self.receivers.get_mut(index) {
                        host.take_in(self.now, from, bytes);
                    }
                }
            }
        }
    }

    fn serve(&mut self) {
        if let Some(host) = &mut self.sender {
            host.serve(self.now);
        }
        for seat in &mut self.receivers {
            let Seat::Running(host, disk) = seat else {
                continue;
            };
            host.serve(self.now);
            while let Some(event) = host.core.poll_event() {
                match event {
                    ReceiverEvent::Frame(frame) => {
                        let (chunk, is_damaged) = (frame.chunk(), frame.is_damaged());
                        let bytes = frame.decode(&mut self.decoder).expect("K symbols");
                        let sent = &self.contents[&chunk].frame;
                        // In place of the hash.
                        if blake3::hash(&bytes) == blake3::hash(sent) {
                            host.core.frame_right(chunk, is_damaged);
                            disk.insert(chunk, bytes.into());
                            host.core.written(self.now, chunk);
                        } else {
                            host.core.frame_wrong(self.now, chunk);
                        }
                        let parts = disk.keys().filter(|id| id.is_part()).count();
                        if chunk.is_part() && parts == self.scenario.parts.len() {
                            let frames = self.scenario.frames.clone();
                            host.core.handle_manifest(self.now, frames, |_| false);
                        }
                    }
                    ReceiverEvent::Other(Event::AllWritten) => {
                        host.core.finish(self.now);
                        host.core.handle_timeout(self.now);
                    }
                    ReceiverEvent::Other(Event::NothingComes) => {
                        let missing: Vec<ChunkId> = host.core.core().missing().collect();
                        for chunk in missing {
                            let sent = &self.contents[&chunk].frame;
                            disk.insert(chunk, Arc::clone(sent));
                            host.core.written(self.now, chunk);
                        }
                        let frames = self.scenario.frames.clone();
                        host.core.handle_manifest(self.now, frames, |_| false);
                    }
                    ReceiverEvent::Other(_) => {}
                }
            }
        }
    }

    fn transmit(&mut self) {
        let mut sent = Vec::new();
        if let Some(host) = &mut self.sender {
            loop {
                let datagram = host.poll(self.now);
                let mut is_any_frame = false;
                while let Some(request) = host.core.poll_frame() {
                    is_any_frame = true;
                    let symbols = self.contents[&request.chunk].clone();
                    host.core.handle_frame(request, symbols);
                }
                match datagram {
                    Some((transmit, bytes)) => {
                        assert_eq!(transmit.to, GROUP);
                        sent.push(bytes);
                    }
                    None if is_any_frame => {}
                    None => break,
                }
            }
        }
        for bytes in sent {
            for (index, (_, link)) in self.scenario.receivers.iter().enumerate() {
                let delivery = Delivery {
                    from: SENDER,
                    to: GROUP,
                    node: index + 1,
                    bytes: bytes.clone(),
                };
                self.wire.send(self.now, *link, true, &delivery);
            }
        }
        for (index, seat) in self.receivers.iter_mut().enumerate() {
            let Seat::Running(host, _) = seat else {
                continue;
            };
            let (_, link) = self.scenario.receivers[index];
            while let Some((transmit, bytes)) = host.poll(self.now) {
                let delivery = Delivery {
                    from: SocketAddrV4::new(Ipv4Addr::new(10, 0, 1, 1), 63_200),
                    to: transmit.to,
                    node: 0,
                    bytes,
                };
                self.wire.send(self.now, link, false, &delivery);
            }
        }
    }

    fn report(self) -> BytesReport {
        let count = self.contents.len();
        let receivers = self.receivers.iter().map(|seat| match seat {
            Seat::Running(host, disk) => {
                let is_whole = disk.len() == count
                    && (disk.iter()).all(|(chunk, bytes)| *bytes == self.contents[chunk].frame);
                (is_whole, host.core.core().counts(), host.core.dropped())
            }
            Seat::Waiting(_) | Seat::Dead => Default::default(),
        });
        let sender = self.sender.as_ref();
        BytesReport {
            receivers: receivers.collect(),
            sender: sender
                .map(|host| host.core.core().counts())
                .unwrap_or_default(),
            dropped: sender.map(|host| host.core.dropped()).unwrap_or_default(),
            elapsed: self.now - self.start,
        }
    }
}
