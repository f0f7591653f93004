//! udpcast: any datagrams from anybody at any time, in any order with everything else that a driver may
//! do.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use cast_proto::bitmap::Bitmap;
use cast_proto::udpcast::fec::FecParams;
use cast_proto::udpcast::receiver::{Receiver, ReceiverConfig, ReceiverEvent};
use cast_proto::udpcast::sender::{
    DataRouting, DropPolicy, Duplex, Outcome, Sender, SenderConfig, SlowPolicy, StartRule,
};
use cast_proto::udpcast::wire::{
    Capabilities, ConnectReply, ConnectReq, Data, Fec, Hello, HelloKind, Message, ReqAck,
    Retransmit,
};
use cast_proto::udpcast::{BlockNo, ClientNo, SliceNo};

use super::feed::Feed;

/// Any bytes as a datagram: what is understood says the same when it is written again.
pub fn udpcast_wire(data: &[u8]) {
    let Ok(message) = Message::parse(data) else {
        return;
    };
    let mut bytes = Vec::new();
    message.emit(&mut bytes);
    // Written in full, whatever was left out; from then on it stays the same.
    let again = Message::parse(&bytes).expect("what was written is understood");
    assert_eq!(again.to_string(), message.to_string());
    let mut twice = Vec::new();
    again.emit(&mut twice);
    assert_eq!(twice, bytes);
    // It can be shown, too.
    assert!(!message.to_string().is_empty());
}

/// A receiver keeps its bounds, and comes to an end.
pub fn udpcast_receiver(data: &[u8]) {
    let mut feed = Feed(data);
    let mut now = epoch();
    let mut config = ReceiverConfig::new(control(), Ipv4Addr::new(10, 0, 0, 9));
    let flags = feed.byte();
    config.window_blocks = 3072;
    config.passive = flags & 1 != 0;
    config.ignore_lost_data = flags & 2 != 0;
    config.is_confirmed_by_reader = flags & 8 != 0;
    config.receive_timeout = Some(Duration::from_secs(60));
    config.start_timeout = Some(Duration::from_secs(100));
    let receiver = Receiver::new(config, now).expect("a good configuration");
    let mut watched = Watched {
        receiver,
        may_leave: flags & 8 == 0,
        has_arrived: false,
        has_said_goodbye: false,
    };
    if flags & 4 != 0 {
        let reply = ConnectReply {
            client: Some(ClientNo(3)),
            block_size: 4,
            capabilities: Capabilities::CURRENT,
            data_address: Ipv4Addr::new(233, 254, 0, 1),
        };
        let mut bytes = Vec::new();
        Message::ConnectReply(reply).emit(&mut bytes);
        watched.receiver.handle_datagram(now, address(0), &bytes);
    }
    for _ in 0..OPERATIONS {
        if feed.is_empty() {
            break;
        }
        match feed.byte() % 8 {
            0..=2 => {
                let from = address(feed.byte());
                let bytes = datagram(&mut feed);
                watched.receiver.handle_datagram(now, from, &bytes);
            }
            3 => {
                now = watched
                    .receiver
                    .poll_timeout()
                    .map_or(now, |at| at.max(now));
                watched.receiver.handle_timeout(now);
                watched.settle(now);
                assert!(watched.receiver.poll_timeout().is_none_or(|at| at > now));
            }
            4 => now += pass(&mut feed),
            // Each counts where the other one does not.
            5 => {
                watched.receiver.go(now);
                watched.confirm(now);
            }
            6 => {
                while let Some(slice) = watched.receiver.take_slice() {
                    watched.receiver.return_buffer(slice);
                }
            }
            _ => watched.receiver.abort(now),
        }
        watched.settle(now);
    }
    watched.run_down(&mut now);
    if !watched.receiver.is_closed() {
        // A reader may take as long as it likes, and then say how it went.
        assert!(!watched.may_leave);
        if feed.flag() {
            watched.receiver.abort(now);
        } else {
            watched.confirm(now);
        }
        watched.settle(now);
        watched.run_down(&mut now);
    }
    assert!(watched.receiver.is_closed());
}

/// A sender waits for answers, and comes to an end without them.
pub fn udpcast_sender(data: &[u8]) {
    let mut feed = Feed(data);
    let mut now = epoch();
    let group = SocketAddrV4::new(Ipv4Addr::new(233, 254, 0, 1), 9000);
    let mut config = SenderConfig::new(control(), group);
    let flags = feed.byte();
    let is_asynchronous = flags & 1 != 0;
    config.block_size = 4;
    config.duplex = if flags & 2 != 0 {
        Duplex::Half
    } else {
        Duplex::Full
    };
    config.fec = FecParams::new(2, 1, 8).filter(|_| flags & 4 != 0);
    config.routing = feed.one_of(&[
        DataRouting::Multicast,
        DataRouting::AutoPointToPoint,
        DataRouting::PointToPoint,
        DataRouting::Broadcast,
    ]);
    config.asynchronous = is_asynchronous && config.routing != DataRouting::PointToPoint;
    config.max_bitrate = is_asynchronous.then_some(10_000_000);
    config.drop = DropPolicy {
        retries: 5,
        silence: Duration::from_secs(2),
        ..DropPolicy::default()
    };
    config.drop_attentive = config.drop;
    config.drop_gone = config.drop;
    if flags & 16 != 0 {
        config.slow = SlowPolicy::Leave;
    }
    let is_started = flags & 8 != 0;
    config.start = StartRule {
        min_receivers: if is_started { 1 } else { 3 },
        start_timeout: Some(Duration::from_secs(100)),
        autostart: is_asynchronous.then_some(2),
        max_wait: Some(Duration::from_secs(500)),
        ..StartRule::default()
    };
    let mut sender = Sender::new(config, now).expect("a good configuration");
    if is_started {
        sender.handle_datagram(now, address(3), &[0, 3, 0, 0, 0, 0, 0, 9]);
    }
    for _ in 0..OPERATIONS {
        if feed.is_empty() {
            break;
        }
        // One value of a byte, so that the inputs found so far mostly keep their meaning.
        match feed.byte() {
            255 => sender.abort(now),
            operation => match operation % 10 {
                0..=2 => {
                    let from = address(feed.byte());
                    let bytes = datagram(&mut feed);
                    sender.handle_datagram(now, from, &bytes);
                }
                3 => {
                    now = sender.poll_timeout().map_or(now, |at| at.max(now));
                    sender.handle_timeout(now);
                    settle_sender(&mut sender, now);
                    assert!(sender.poll_timeout().is_none_or(|at| at > now));
                }
                4 => now += pass(&mut feed),
                5 => sender.start(now),
                6 => sender.remove(now, *address(feed.byte()).ip()),
                7 => sender.set_expected(now, &[*address(feed.byte()).ip()]),
                8 => sender.handle_unreachable(now, *address(feed.byte()).ip()),
                _ => {
                    let room = sender.input_room();
                    assert!(room <= 1024 * 4);
                    sender.push_input(&vec![1; room]);
                    if feed.flag() {
                        sender.finish_input();
                    }
                }
            },
        }
        settle_sender(&mut sender, now);
    }
    // Nobody answers any more.
    sender.finish_input();
    settle_sender(&mut sender, now);
    for _ in 0..10_000 {
        let Some(at) = sender.poll_timeout().filter(|_| !sender.is_closed()) else {
            break;
        };
        now = now.max(at);
        sender.handle_timeout(now);
        settle_sender(&mut sender, now);
        sender.start(now);
        settle_sender(&mut sender, now);
    }
    assert!(sender.is_closed());
    let mut participants = sender.participants();
    assert!(participants.all(|p| p.outcome != Outcome::Connected));
}

const OPERATIONS: usize = 300;

/// A message that makes sense most of the time, or any bytes.
fn datagram(feed: &mut Feed<'_>) -> Vec<u8> {
    let what = feed.byte() % 13;
    if what == 12 {
        return feed.bytes(60).to_vec();
    }
    let slice = SliceNo(feed.number());
    let small = feed.byte();
    let round = feed.number();
    let block = BlockNo(u16::from(small % 12));
    let slice_len = match feed.byte() {
        255 => feed.u32(),
        other => u32::from(other),
    };
    let capabilities = Capabilities(feed.number());
    let data_address = if feed.flag() {
        Ipv4Addr::new(233, 254, 0, 1)
    } else {
        feed.u32().into()
    };
    let bytes = feed.bytes(64);
    let received = Bitmap::from_bytes(bytes);
    let message = match what {
        0 => Message::Ok(slice),
        1 => Message::Retransmit(Retransmit {
            slice,
            round,
            received,
        }),
        2 => Message::Go,
        3 => Message::ConnectReq(ConnectReq {
            capabilities,
            rcvbuf: round,
        }),
        4 => Message::Disconnect,
        5 | 6 => Message::ReqAck(ReqAck::new(slice, slice_len, round, received)),
        7 => Message::ConnectReply(ConnectReply {
            client: (small < 250).then_some(ClientNo(u16::from(small))),
            block_size: if small & 1 == 0 { 4 } else { slice_len },
            capabilities,
            data_address,
        }),
        8 | 9 => Message::Data(Data {
            slice,
            block,
            slice_len,
            payload: bytes.get(..4).unwrap_or(bytes),
        }),
        10 => Message::Fec(Fec {
            stripes: u16::from(small),
            slice,
            block,
            slice_len,
            payload: bytes.get(..4).unwrap_or(bytes),
        }),
        _ => Message::Hello(Hello {
            kind: feed.one_of(&[HelloKind::Plain, HelloKind::PlainNew, HelloKind::Streaming]),
            capabilities,
            data_address,
            block_size: u16::from(small),
        }),
    };
    let mut bytes = Vec::new();
    message.emit(&mut bytes);
    bytes
}

fn pass(feed: &mut Feed<'_>) -> Duration {
    if feed.flag() {
        Duration::from_secs(feed.byte().into())
    } else {
        Duration::from_micros(feed.u32().into())
    }
}

/// A receiver that leaves its transfer in order only when it may: it has failed, or its reader has said
/// that all is safe.
struct Watched {
    receiver: Receiver,
    may_leave: bool,
    has_arrived: bool,
    has_said_goodbye: bool,
}

impl Watched {
    fn confirm(&mut self, now: Instant) {
        self.receiver.confirm(now);
        self.may_leave |= self.has_arrived;
    }

    fn settle(&mut self, now: Instant) {
        let mut bytes = Vec::new();
        for sent in 0.. {
            if self.receiver.poll_transmit(now, &mut bytes).is_none() {
                break;
            }
            assert!(sent < 100, "a receiver answers, it does not flood");
            let message = Message::parse(&bytes).expect("what a receiver sends is understood");
            if let Message::Disconnect = message {
                self.has_said_goodbye = true;
            }
        }
        while let Some(event) = self.receiver.poll_event() {
            match event {
                ReceiverEvent::Complete { .. } => self.has_arrived = true,
                ReceiverEvent::Failed(_) => self.may_leave = true,
                _ => {}
            }
        }
        assert!(
            self.may_leave || !self.has_said_goodbye,
            "nobody has said that all is safe"
        );
        let waiting = self.receiver.statistics().waiting_blocks;
        assert!(waiting <= 3072, "{waiting} blocks of memory");
    }

    /// Serves timers until there is none.
    fn run_down(&mut self, now: &mut Instant) {
        for _ in 0..10_000 {
            let Some(at) = self.receiver.poll_timeout() else {
                break;
            };
            *now = at.max(*now);
            self.receiver.handle_timeout(*now);
            self.settle(*now);
        }
    }
}

fn settle_sender(sender: &mut Sender, now: Instant) {
    let mut bytes = Vec::new();
    for sent in 0.. {
        if sender.poll_transmit(now, &mut bytes).is_none() {
            break;
        }
        assert!(sent < 20_000, "a sender waits for answers");
        assert!(Message::parse(&bytes).is_ok());
    }
    while sender.poll_event().is_some() {}
}

fn address(index: u8) -> SocketAddrV4 {
    match index % 6 {
        0 | 1 => SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 9001),
        n => SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, n), 9000),
    }
}

fn control() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 255), 9000)
}

/// The machines read no clock; any instant will do.
pub(super) fn epoch() -> Instant {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}
