//! Sessions of the original programs, replayed: every message is read and written back, a receiver
//! rebuilds the stream and answers as the original did, and a sender sends what the original sent.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use cast_proto::udpcast::receiver::{Receiver, ReceiverConfig, ReceiverEvent};
use cast_proto::udpcast::sender::{DataRouting, Duplex, Outcome, Sender, SenderConfig};
use cast_proto::udpcast::wire::{Hello, Message};
use cast_sim::{epoch, payload};
use common::{Packet, capture};

const R1: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 11);
const R2: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 12);
const SENDER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 1), 9001);
const BROADCAST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 99, 0, 255), 9001);

const ALL: [(&str, usize); 12] = [
    ("01-fullduplex-1recv.pcap", 5000),
    ("02-halfduplex-2recv.pcap", 60_000),
    ("03-fec-async.pcap", 40_000),
    ("04-loss-fullduplex-2recv-at-r1.pcap", 60_000),
    ("04-loss-fullduplex-2recv-at-r2.pcap", 60_000),
    ("04-loss-fullduplex-2recv-at-sender.pcap", 60_000),
    ("05-fec-async-loss-at-r1.pcap", 40_000),
    ("07-halfduplex-slice-shrink-at-sender.pcap", 300_000),
    ("08-client-dropped-at-sender.pcap", 5000),
    ("09-streaming-late-join.pcap", 60_000),
    ("10-receiver-go.pcap", 5000),
    ("12-v20250223-2recv.pcap", 60_000),
];

#[test]
fn every_message_is_understood_and_written_as_the_original_wrote_it() {
    for (name, _) in ALL {
        for packet in capture(name) {
            let message = Message::parse(&packet.payload).unwrap();
            assert!(!matches!(message, Message::Unknown(_)), "{name}: {message}");
            let mut written = Vec::new();
            message.emit(&mut written);
            let mut original = packet.payload.clone();
            match message {
                // Leftovers in the filler.
                Message::Hello(_) => {
                    original[12..24].fill(0);
                    original[26..28].fill(0);
                }
                Message::ConnectReply(_) => original[20..32].fill(0),
                _ => {}
            }
            assert_eq!(written, original, "{name}: {message}");
        }
    }
}

/// A receiver in the place of one of the capture.
struct Replay {
    receiver: Receiver,
    own: Ipv4Addr,
    stream: Vec<u8>,
    sent: Vec<(SocketAddrV4, Vec<u8>)>,
    events: Vec<ReceiverEvent>,
}

impl Replay {
    fn new(own: Ipv4Addr, passive: bool, now: Instant) -> Self {
        let config = ReceiverConfig {
            passive,
            tell_attentive: false,
            ..ReceiverConfig::new(BROADCAST, own)
        };
        let receiver = Receiver::new(config, now).unwrap();
        Self {
            receiver,
            own,
            stream: Vec::new(),
            sent: Vec::new(),
            events: Vec::new(),
        }
    }

    fn poll(&mut self, now: Instant) {
        let mut buf = Vec::new();
        while let Some(transmit) = self.receiver.poll_transmit(now, &mut buf) {
            self.sent.push((transmit.to, buf.clone()));
        }
        while let Some(slice) = self.receiver.take_slice() {
            self.stream.extend_from_slice(&slice);
            self.receiver.return_buffer(slice);
        }
        self.events
            .extend(std::iter::from_fn(|| self.receiver.poll_event()));
    }

    /// Feeds what reaches this receiver.
    fn run(&mut self, start: Instant, packets: &[Packet]) {
        self.poll(start);
        for packet in packets.iter().filter(|p| p.from == SENDER) {
            let to = *packet.to.ip();
            if to == self.own || to.is_multicast() || to == *BROADCAST.ip() {
                let now = start + packet.at;
                self.receiver
                    .handle_datagram(now, packet.from, &packet.payload);
                self.poll(now);
            }
        }
    }

    #[track_caller]
    fn assert_complete(&self, expected: &[u8]) {
        let complete = ReceiverEvent::Complete {
            bytes: expected.len() as u64,
        };
        assert!(self.events.contains(&complete), "{:?}", self.events);
        assert!(self.stream == expected, "the stream differs");
        assert_eq!(self.receiver.statistics().bytes, expected.len() as u64);
    }
}

#[test]
fn every_session_rebuilds_the_stream() {
    for (name, len) in ALL {
        let packets = capture(name);
        for own in [R1, R2] {
            let is_joined = packets.iter().any(|p| *p.from.ip() == own);
            // Taken at one receiver, the file lacks what the other one got.
            if !is_joined
                || name.contains("at-r1") && own == R2
                || name.contains("at-r2") && own == R1
            {
                continue;
            }
            let start = epoch();
            let mut replay = Replay::new(own, false, start);
            let joined = packets.iter().position(|p| *p.from.ip() == own).unwrap();
            replay.run(start, &packets[joined..]);
            let from = if name.starts_with("09") && own == R2 {
                46_592
            } else {
                0
            };
            replay.assert_complete(&payload(len)[from..]);
        }
    }
}

#[test]
fn a_silent_copy_needs_no_place() {
    for (name, len) in ALL {
        if name.contains("04-loss") || name.starts_with("01") || name.starts_with("10") {
            // Lost on the way to one, or sent to one only.
            continue;
        }
        let start = epoch();
        let mut replay = Replay::new(Ipv4Addr::new(10, 99, 0, 77), true, start);
        replay.run(start, &capture(name));
        replay.assert_complete(&payload(len));
        assert_eq!(replay.sent, [], "{name}");
    }
}

#[test]
fn answers_are_those_of_the_original_byte_for_byte() {
    for (name, own) in [
        ("04-loss-fullduplex-2recv-at-r1.pcap", R1),
        ("04-loss-fullduplex-2recv-at-r2.pcap", R2),
    ] {
        let packets = capture(name);
        let is_answer = |bytes: &[u8]| {
            matches!(
                Message::parse(bytes),
                Ok(Message::Ok(_) | Message::Retransmit(_))
            )
        };
        let original: Vec<_> = packets
            .iter()
            .filter(|p| *p.from.ip() == own && is_answer(&p.payload))
            .map(|p| (p.to, p.payload.clone()))
            .collect();
        assert!(original.len() >= 6);
        let start = epoch();
        let mut replay = Replay::new(own, false, start);
        replay.run(start, &packets);
        let ours: Vec<_> = replay
            .sent
            .iter()
            .filter(|(_, p)| is_answer(p))
            .cloned()
            .collect();
        assert_eq!(ours, original, "{name}");
        let last = replay.sent.last().unwrap();
        assert_eq!(Message::parse(&last.1), Ok(Message::Disconnect));
    }
}

#[test]
fn requests_are_those_of_the_original_byte_for_byte() {
    let packets = capture("01-fullduplex-1recv.pcap");
    let start = epoch();
    let mut replay = Replay::new(R1, false, start);
    replay.run(start, &packets);
    let original: Vec<_> = packets
        .iter()
        .filter(|p| *p.from.ip() == R1)
        .map(|p| (p.to, p.payload.clone()))
        .collect();
    // CONNECT_REQ to the broadcast address and to the sender, three times OK, DISCONNECT.
    assert_eq!(replay.sent, original);
}

#[test]
fn slices_are_cut_as_the_original_cut_them() {
    let slices = |name| {
        let mut slices = BTreeMap::new();
        for packet in capture(name) {
            if let Ok(Message::ReqAck(request)) = Message::parse(&packet.payload) {
                slices.insert(request.slice, request.slice_len);
            }
        }
        slices.into_values().collect::<Vec<_>>()
    };
    assert_eq!(slices("01-fullduplex-1recv.pcap"), [4368, 632, 0]);
    assert_eq!(slices("02-halfduplex-2recv.pcap"), [59_696, 304, 0]);
    let shrunk = [189_280, 100_464, 10_192, 64, 0];
    assert_eq!(slices("07-halfduplex-slice-shrink-at-sender.pcap"), shrunk);
}

#[test]
fn repair_blocks_are_those_of_the_original() {
    for (name, stripes, redundancy) in [
        ("03-fec-async.pcap", 8, 1),
        ("05-fec-async-loss-at-r1.pcap", 4, 2),
    ] {
        let stream = payload(40_000);
        let mut compared = 0;
        for packet in capture(name) {
            let Ok(Message::Fec(fec)) = Message::parse(&packet.payload) else {
                continue;
            };
            assert_eq!(fec.stripes, stripes);
            let slice = match fec.slice.0 {
                0 => &stream[..39_312],
                1 => &stream[39_312..],
                _ => continue,
            };
            assert_eq!(fec.slice_len as usize, slice.len());
            let blocks = slice.len().div_ceil(1456);
            if usize::from(fec.block.0 % stripes) >= blocks {
                continue;
            }
            let mut ours = Vec::new();
            cast_proto::udpcast::fec::encode(slice, 1456, stripes, fec.block.0, &mut ours);
            assert_eq!(ours, fec.payload, "{name}: {fec:?}");
            compared += 1;
        }
        assert!(compared >= stripes * redundancy - 1, "{compared}");
    }
}

#[test]
fn a_lost_session_without_return_channel_fails_with_what_is_missing() {
    let packets = capture("03-fec-async.pcap");
    let start = epoch();
    let is_lost = |p: &Packet| match Message::parse(&p.payload) {
        Ok(Message::Data(data)) => data.slice.0 == 0 && data.block.0 % 8 == 3,
        _ => false,
    };
    let kept: Vec<Packet> = packets.into_iter().filter(|p| !is_lost(p)).collect();
    let mut replay = Replay::new(R1, false, start);
    replay.run(start, &kept);
    while let Some(at) = replay.receiver.poll_timeout() {
        replay.receiver.handle_timeout(at);
        replay.poll(at);
    }
    let last = replay.events.last().unwrap().clone();
    let ReceiverEvent::Failed(failure) = last else {
        panic!("{last:?}")
    };
    let text = "slice 0 lacks 3 blocks (after 0 bytes), but the sender is at slice 2";
    assert_eq!(failure.to_string(), text);
    assert!(replay.receiver.is_closed() && replay.stream.is_empty());
}

#[test]
fn a_late_joiner_of_a_streaming_transfer_is_connected_by_hello() {
    let packets = capture("09-streaming-late-join.pcap");
    let hellos: Vec<Hello> = packets
        .iter()
        .filter_map(|p| match Message::parse(&p.payload) {
            Ok(Message::Hello(hello)) => Some(hello),
            _ => None,
        })
        .collect();
    assert!(hellos.iter().all(|hello| hello.block_size == 1456));
    let start = epoch();
    let mut replay = Replay::new(R2, false, start);
    let joined = packets.iter().position(|p| *p.from.ip() == R2).unwrap();
    replay.run(start, &packets[joined..]);
    assert!(replay.events.iter().any(|e| {
        matches!(
            e,
            ReceiverEvent::Connected {
                asynchronous: true,
                ..
            }
        )
    }));
    assert!(replay.receiver.is_closed());
    assert_eq!(replay.receiver.poll_timeout(), None);
    assert!(Duration::ZERO < packets.last().unwrap().at);
}

/// What a sender says in the data phase.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    /// First copy of each block, as datagrams, in order.
    first: Vec<Vec<u8>>,
    /// Blocks sent again, by slice and block, each as often as it was.
    repeated: BTreeMap<(u32, u16), u32>,
    /// Slices asked about, with their length, in order.
    asked: Vec<(u32, u32)>,
}

impl Said {
    fn note(&mut self, seen: &mut BTreeSet<(u32, u16)>, datagram: &[u8]) {
        match Message::parse(datagram).unwrap() {
            Message::Data(data) => {
                let block = (data.slice.0, data.block.0);
                if seen.insert(block) {
                    self.first.push(datagram.to_vec());
                } else {
                    *self.repeated.entry(block).or_default() += 1;
                }
            }
            Message::ReqAck(request) => self.asked.push((request.slice.0, request.slice_len)),
            _ => {}
        }
        self.asked.dedup();
    }
}

/// Lets our sender talk to the receivers of a capture: each of their answers comes when our sender
/// has asked what they answer.
fn replay_to_sender(packets: &[Packet], config: SenderConfig, stream: &[u8]) -> (Said, Sender) {
    let mut now = epoch();
    let mut sender = Sender::new(config, now).unwrap();
    let (mut said, mut seen, mut asked) = (Said::default(), BTreeSet::new(), BTreeSet::new());
    let (mut pushed, mut buf) = (0, Vec::new());
    let mut talk = |sender: &mut Sender, now, asked: &mut BTreeSet<(u32, u32)>| {
        loop {
            let room = sender.input_room().min(stream.len() - pushed);
            sender.push_input(&stream[pushed..pushed + room]);
            pushed += room;
            if pushed == stream.len() {
                sender.finish_input();
            }
            if sender.poll_transmit(now, &mut buf).is_none() {
                return;
            }
            said.note(&mut seen, &buf);
            if let Ok(Message::ReqAck(request)) = Message::parse(&buf) {
                asked.insert((request.slice.0, request.round));
            }
        }
    };
    let mut last_asked = (0, 0);
    for packet in packets {
        if packet.from == SENDER {
            if let Ok(Message::ReqAck(request)) = Message::parse(&packet.payload) {
                last_asked = (request.slice.0, request.round);
            }
            continue;
        }
        talk(&mut sender, now, &mut asked);
        let is_answer = matches!(
            Message::parse(&packet.payload),
            Ok(Message::Ok(_) | Message::Retransmit(_))
        );
        while is_answer && !asked.contains(&last_asked) {
            now = sender
                .poll_timeout()
                .unwrap_or_else(|| panic!("nothing is asked as in {last_asked:?}"));
            sender.handle_timeout(now);
            talk(&mut sender, now, &mut asked);
        }
        sender.handle_datagram(now, packet.from, &packet.payload);
    }
    talk(&mut sender, now, &mut asked);
    while !sender.is_closed() {
        now = sender.poll_timeout().unwrap();
        sender.handle_timeout(now);
        talk(&mut sender, now, &mut asked);
    }
    (said, sender)
}

#[test]
fn a_sender_sends_to_original_receivers_what_the_original_sent() {
    for (name, duplex, receivers, slice_size) in [
        ("01-fullduplex-1recv.pcap", Duplex::Full, 1, None),
        ("02-halfduplex-2recv.pcap", Duplex::Half, 2, None),
        (
            "04-loss-fullduplex-2recv-at-sender.pcap",
            Duplex::Full,
            2,
            Some(16),
        ),
        (
            "07-halfduplex-slice-shrink-at-sender.pcap",
            Duplex::Half,
            1,
            None,
        ),
        ("10-receiver-go.pcap", Duplex::Full, 0, None),
        ("12-v20250223-2recv.pcap", Duplex::Full, 2, Some(16)),
    ] {
        let len = ALL.iter().find(|(known, _)| *known == name).unwrap().1;
        let packets = capture(name);
        let mut original = Said::default();
        let mut seen = BTreeSet::new();
        for packet in packets.iter().filter(|packet| packet.from == SENDER) {
            original.note(&mut seen, &packet.payload);
        }
        let mut config = SenderConfig::new(
            SocketAddrV4::new(*BROADCAST.ip(), 9000),
            SocketAddrV4::new([234, 99, 0, 1].into(), 9000),
        );
        config.duplex = duplex;
        config.routing = DataRouting::AutoPointToPoint;
        config.start.min_receivers = receivers;
        config.slice.initial = slice_size;
        let (ours, sender) = replay_to_sender(&packets, config, &payload(len));
        assert!(ours == original, "{name}: {ours:?}\noriginal: {original:?}");
        for participant in sender.participants() {
            assert_eq!(participant.outcome, Outcome::Completed, "{name}");
        }
    }
}
