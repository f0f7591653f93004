//! A whole transfer over a network that loses, repeats, delays and reorders as the input says: whoever
//! says that it has everything has exactly what was sent, and where nothing goes wrong all say so.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use cast_proto::udpcast::fec::FecParams;
use cast_proto::udpcast::receiver::{Receiver, ReceiverConfig, ReceiverEvent};
use cast_proto::udpcast::sender::{
    DropPolicy, Duplex, Outcome, Sender, SenderConfig, SliceLimits, StartRule,
};

use super::feed::Feed;

/// One sender, one to three receivers.
pub fn udpcast_pair(data: &[u8]) {
    let mut feed = Feed(data);
    let mut now = super::udpcast::epoch();
    let flags = feed.byte();
    let receivers = feed.byte();
    let (count, originals) = (receivers % 3 + 1, receivers / 3);
    let block_size = u16::from(feed.byte() % 60) + 4;
    let len = usize::from(feed.u16()) % 6000;
    let content = content(len);

    let mut sender = sender(flags, block_size, count, now);
    let mut receivers: Vec<Node> = (0..count)
        .map(|index| {
            let reader = match originals >> (3 + index) & 1 {
                0 => Reader::Ignored,
                _ => Reader::new(feed.byte()),
            };
            Node::new(index, originals >> index & 1 == 0, reader, now)
        })
        .collect();
    let (mut sent, mut has_fault) = (0, false);
    let mut queue: VecDeque<Datagram> = VecDeque::new();
    let mut held: Vec<Datagram> = Vec::new();
    let mut bytes = Vec::new();
    for _ in 0..STEPS {
        let room = sender.input_room().min(content.len() - sent);
        sender.push_input(&content[sent..sent + room]);
        sent += room;
        if sent == content.len() {
            sender.finish_input();
        }
        while let Some(transmit) = sender.poll_transmit(now, &mut bytes) {
            // To one, or to all.
            for index in 0..count {
                let addr = address(index);
                if transmit.to == addr || !is_receiver(*transmit.to.ip()) {
                    queue.push_back((Some(index), SENDER, bytes.clone()));
                }
            }
        }
        while sender.poll_event().is_some() {}
        for (index, node) in (0..).zip(&mut receivers) {
            node.settle(now, &mut bytes, |datagram| {
                queue.push_back((None, address(index), datagram));
            });
        }
        if let Some(datagram) = queue.pop_front() {
            // When the input has run out, everything arrives.
            let fate = feed.byte();
            has_fault |= matches!(fate, 1..=60 | 91..=128);
            match fate {
                1..=60 => continue,
                61..=90 => queue.push_back(datagram.clone()),
                91..=120 => {
                    held.push(datagram);
                    continue;
                }
                121..=128 => now += Duration::from_millis(feed.byte().into()),
                _ => {}
            }
            let (to, from, bytes) = datagram;
            match to {
                None => sender.handle_datagram(now, from, &bytes),
                Some(index) => receivers[usize::from(index)].hear(now, from, &bytes),
            }
            continue;
        }
        if !held.is_empty() {
            queue.extend(held.drain(..).rev());
            continue;
        }
        let timeouts = receivers.iter().map(Node::next_wakeup);
        let Some(next) = timeouts.chain([sender.poll_timeout()]).flatten().min() else {
            break;
        };
        now = now.max(next);
        sender.handle_timeout(now);
        for node in &mut receivers {
            node.core.handle_timeout(now);
        }
    }
    assert!(sender.is_closed(), "the sender does not end");
    for (index, node) in (0..count).zip(&receivers) {
        assert!(node.core.is_closed(), "receiver {index} does not end");
        let taken = &node.taken[..];
        // Whoever joins a stream late has what came from then on.
        let is_late = node.is_late;
        assert!(
            !is_late || flags & (ASYNCHRONOUS | STREAMING) == ASYNCHRONOUS | STREAMING,
            "nobody is left behind where receivers answer"
        );
        let is_part = match node.complete {
            None if content.starts_with(taken) => true,
            None => is_late && content.windows(taken.len()).any(|part| part == taken),
            Some(_) if is_late => content.ends_with(taken),
            Some(_) => content == taken,
        };
        assert!(is_part, "receiver {index} has other bytes");
        let bytes = node.complete.unwrap_or(taken.len() as u64);
        assert_eq!(bytes, taken.len() as u64);
        assert!(
            has_fault || (node.complete.is_some() && !is_late),
            "receiver {index} has not everything, though nothing was lost"
        );
    }
    for participant in sender.participants() {
        let node = receivers
            .iter()
            .find(|node| node.addr == participant.addr)
            .expect("nobody else asked");
        let is_believed = participant.outcome == Outcome::Completed && flags & ASYNCHRONOUS == 0;
        assert!(
            !is_believed || (node.complete.is_some() && node.is_safe()),
            "{participant:?} has not everything"
        );
        assert!(
            has_fault || node.must_fail() || participant.outcome == Outcome::Completed,
            "{participant:?}, though nothing was lost"
        );
        let is_spared = is_believed && !node.is_attentive && flags & FEC == 0;
        assert!(
            !is_spared || node.core.statistics().rebuilt_blocks == 0,
            "{participant:?} needed repair blocks"
        );
    }
}

/// For whom (`None`: the sender), from whom, what.
type Datagram = (Option<u8>, SocketAddrV4, Vec<u8>);

struct Node {
    core: Receiver,
    addr: Ipv4Addr,
    is_attentive: bool,
    /// It got in by an announcement in the middle of the stream.
    is_late: bool,
    taken: Vec<u8>,
    complete: Option<u64>,
    reader: Reader,
    /// When the reader says how it went; known once it has everything.
    confirm_at: Option<Instant>,
}

/// Whoever makes the stream safe.
#[derive(Clone, Copy, PartialEq)]
enum Reader {
    /// Is not waited for.
    Ignored,
    /// Will say that all is safe, or fail, so long after it has everything.
    Working {
        fails: bool,
        wait: Duration,
    },
    Confirmed,
    Failed,
}

impl Reader {
    fn new(byte: u8) -> Self {
        Self::Working {
            fails: byte & 1 == 1,
            wait: Duration::from_millis(u64::from(byte >> 1) * 300),
        }
    }
}

impl Node {
    fn new(index: u8, is_attentive: bool, reader: Reader, now: Instant) -> Self {
        let addr = *address(index).ip();
        let control = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 255), 9001);
        let mut config = ReceiverConfig::new(control, addr);
        config.tell_attentive = is_attentive;
        config.is_confirmed_by_reader = reader != Reader::Ignored;
        config.receive_timeout = Some(Duration::from_secs(30));
        config.start_timeout = Some(Duration::from_secs(100));
        Self {
            core: Receiver::new(config, now).expect("a good configuration"),
            addr,
            is_attentive,
            is_late: false,
            taken: Vec::new(),
            complete: None,
            reader,
            confirm_at: None,
        }
    }

    /// Whether the sender may take it for one that has everything.
    fn is_safe(&self) -> bool {
        matches!(self.reader, Reader::Ignored | Reader::Confirmed)
    }

    fn must_fail(&self) -> bool {
        matches!(
            self.reader,
            Reader::Failed | Reader::Working { fails: true, .. }
        )
    }

    fn confirm(&mut self, now: Instant) {
        let Reader::Working { fails, wait } = self.reader else {
            return;
        };
        if self.complete.is_none() || now < *self.confirm_at.get_or_insert(now + wait) {
            return;
        }
        self.confirm_at = None;
        if fails {
            self.reader = Reader::Failed;
            self.core.abort(now);
        } else {
            self.reader = Reader::Confirmed;
            self.core.confirm(now);
        }
    }

    fn next_wakeup(&self) -> Option<Instant> {
        self.core
            .poll_timeout()
            .into_iter()
            .chain(self.confirm_at)
            .min()
    }

    fn settle(&mut self, now: Instant, bytes: &mut Vec<u8>, mut send: impl FnMut(Vec<u8>)) {
        while let Some(slice) = self.core.take_slice() {
            self.taken.extend_from_slice(&slice);
            self.core.return_buffer(slice);
        }
        self.confirm(now);
        while self.core.poll_transmit(now, bytes).is_some() {
            send(bytes.clone());
        }
        self.note_events(false);
    }

    fn hear(&mut self, now: Instant, from: SocketAddrV4, datagram: &[u8]) {
        self.core.handle_datagram(now, from, datagram);
        self.note_events(datagram.starts_with(&HELLO_STREAMING));
    }

    fn note_events(&mut self, is_late: bool) {
        while let Some(event) = self.core.poll_event() {
            match event {
                ReceiverEvent::Connected { .. } => self.is_late = is_late,
                ReceiverEvent::Complete { bytes } => {
                    assert_eq!(self.complete, None, "complete once");
                    self.complete = Some(bytes);
                }
                _ => {}
            }
        }
    }
}

const SENDER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 9001);
const STEPS: usize = 30_000;
/// Opcode.
const HELLO_STREAMING: [u8; 2] = [0x00, 0x0b];
const ASYNCHRONOUS: u8 = 1;
const FEC: u8 = 2;
const STREAMING: u8 = 16;

/// Bytes that are nowhere the same.
fn content(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(len)
    .collect()
}

fn address(index: u8) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2 + index), 9000)
}

fn is_receiver(addr: Ipv4Addr) -> bool {
    let [a, _, _, d] = addr.octets();
    a == 10 && d < 10
}

fn sender(flags: u8, block_size: u16, count: u8, now: Instant) -> Sender {
    let control = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 255), 9000);
    let group = SocketAddrV4::new(Ipv4Addr::new(233, 254, 0, 1), 9000);
    let mut config = SenderConfig::new(control, group);
    config.block_size = block_size;
    config.asynchronous = flags & ASYNCHRONOUS != 0;
    config.max_bitrate = config.asynchronous.then_some(10_000_000);
    config.fec = FecParams::new(2, 2, 8).filter(|_| flags & FEC != 0);
    config.duplex = if flags & 4 != 0 {
        Duplex::Half
    } else {
        Duplex::Full
    };
    config.slice = SliceLimits {
        initial: Some(16),
        min: 1,
        max: if flags & 8 != 0 { 16 } else { 1024 },
    };
    config.streaming = (flags & STREAMING != 0).then_some(u16::from(flags >> 5));
    config.drop = DropPolicy {
        retries: 20,
        silence: Duration::from_secs(10),
        ..DropPolicy::default()
    };
    config.drop_attentive = config.drop;
    config.start = StartRule {
        min_receivers: u32::from(count),
        start_timeout: Some(Duration::from_secs(100)),
        autostart: config.asynchronous.then_some(3),
        max_wait: Some(Duration::from_secs(20)),
        ..StartRule::default()
    };
    Sender::new(config, now).expect("a good configuration")
}
