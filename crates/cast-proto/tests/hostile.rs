//! Any datagrams from anybody at any time, in any order with everything else a driver may do:
//! nothing panics, memory stays within its bound, no timer spins.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use cast_proto::bitmap::Bitmap;
use cast_proto::udpcast::fec::FecParams;
use cast_proto::udpcast::receiver::{Receiver, ReceiverConfig};
use cast_proto::udpcast::sender::{
    DataRouting, DropPolicy, Duplex, Outcome, Sender, SenderConfig, StartRule,
};
use cast_proto::udpcast::wire::{
    Capabilities, ConnectReply, ConnectReq, Data, Fec, Hello, HelloKind, Message, ReqAck,
    Retransmit,
};
use cast_proto::udpcast::{BlockNo, ClientNo, SliceNo};
use proptest::prelude::*;

const SENDER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 9001);

#[derive(Clone, Debug)]
enum Op {
    /// From one of a few addresses.
    Datagram(u8, Vec<u8>),
    Timeout,
    Pass(Duration),
    /// The rest of what a machine can be told.
    Call(u8),
}

fn any_datagram() -> impl Strategy<Value = Vec<u8>> {
    let slice = prop_oneof![8 => 0u32..6, 1 => any::<u32>()].prop_map(SliceNo);
    let slice_len = prop_oneof![
        Just(0u32),
        Just(4),
        Just(10),
        Just(32),
        Just(4096),
        any::<u32>()
    ];
    let block = prop_oneof![8 => 0u16..10, 1 => any::<u16>()].prop_map(BlockNo);
    let payload = prop_oneof![Just(vec![7; 4]), prop::collection::vec(any::<u8>(), 0..20)];
    let set = prop::collection::vec(any::<u8>(), 0..128).prop_map(|b| Bitmap::from_bytes(&b));
    let round = prop_oneof![0u32..4, any::<u32>()];
    let capabilities = prop_oneof![Just(9u32), Just(0x29), any::<u32>()].prop_map(Capabilities);
    let address = prop_oneof![
        Just(Ipv4Addr::new(233, 254, 0, 1)),
        any::<u32>().prop_map(Into::into)
    ];
    let block_size = prop_oneof![4 => Just(4u32), 1 => any::<u32>()];
    let kind = prop::sample::select(&[HelloKind::Plain, HelloKind::PlainNew, HelloKind::Streaming]);
    let client = prop::option::of((0u16..1024).prop_map(ClientNo));
    let header = (slice, slice_len, block, round, payload, 0u16..300);
    let control = (capabilities, address, block_size, kind, client, set);
    (
        0u8..12,
        header,
        control,
        prop::option::weighted(0.2, 0usize..160),
    )
        .prop_map(
            |(what, (slice, slice_len, block, round, payload, stripes), control, cut)| {
                let (capabilities, data_address, block_size, kind, client, set) = control;
                let payload = &payload[..];
                let message = match what {
                    0 => Message::Ok(slice),
                    1 => Message::Retransmit(Retransmit {
                        slice,
                        round,
                        received: set,
                    }),
                    2 => Message::Go,
                    3 => Message::ConnectReq(ConnectReq {
                        capabilities,
                        rcvbuf: round,
                    }),
                    4 => Message::Disconnect,
                    5 | 6 => Message::ReqAck(ReqAck::new(slice, slice_len, round, set)),
                    7 => Message::ConnectReply(ConnectReply {
                        client,
                        block_size,
                        capabilities,
                        data_address,
                    }),
                    8 | 9 => Message::Data(Data {
                        slice,
                        block,
                        slice_len,
                        payload,
                    }),
                    10 => Message::Fec(Fec {
                        stripes,
                        slice,
                        block,
                        slice_len,
                        payload,
                    }),
                    _ => Message::Hello(Hello {
                        kind,
                        capabilities,
                        data_address,
                        block_size: u16::try_from(block_size).unwrap_or(4),
                    }),
                };
                let mut bytes = Vec::new();
                message.emit(&mut bytes);
                bytes.truncate(cut.unwrap_or(usize::MAX));
                bytes
            },
        )
}

fn any_op() -> impl Strategy<Value = Op> {
    let bytes = prop_oneof![
        9 => any_datagram(),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop_oneof![
        6 => (0u8..5, bytes).prop_map(|(from, bytes)| Op::Datagram(from, bytes)),
        2 => Just(Op::Timeout),
        1 => (0u64..3_000_000).prop_map(|micros| Op::Pass(Duration::from_micros(micros))),
        1 => (0u64..200).prop_map(|secs| Op::Pass(Duration::from_secs(secs))),
        2 => (0u8..7).prop_map(Op::Call),
    ]
}

fn addr(index: u8) -> SocketAddrV4 {
    match index {
        0 | 1 => SENDER,
        n => SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, n), 9000),
    }
}

fn control() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 255), 9000)
}

/// Polls everything, as documented; nothing may go on for ever.
fn settle_receiver(receiver: &mut Receiver, now: Instant) {
    let mut buf = Vec::new();
    for sent in 0.. {
        if receiver.poll_transmit(now, &mut buf).is_none() {
            break;
        }
        assert!(sent < 100, "a receiver answers, it does not flood");
        assert!(Message::parse(&buf).is_ok());
    }
    while receiver.poll_event().is_some() {}
    let waiting = receiver.statistics().waiting_blocks;
    assert!(waiting <= 3072, "{waiting} blocks of memory");
}

fn settle_sender(sender: &mut Sender, now: Instant) {
    let mut buf = Vec::new();
    for sent in 0.. {
        if sender.poll_transmit(now, &mut buf).is_none() {
            break;
        }
        assert!(sent < 20_000, "a sender waits for answers");
        assert!(Message::parse(&buf).is_ok());
    }
    while sender.poll_event().is_some() {}
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_receiver_stands_anything(
        ops in prop::collection::vec(any_op(), 1..150), passive: bool, ignore_lost_data: bool,
        is_connected: bool,
    ) {
        let mut now = cast_sim::epoch();
        let mut config = ReceiverConfig::new(control(), Ipv4Addr::new(10, 0, 0, 9));
        config.window_blocks = 3072;
        config.passive = passive;
        config.ignore_lost_data = ignore_lost_data;
        config.receive_timeout = Some(Duration::from_secs(60));
        config.start_timeout = Some(Duration::from_secs(100));
        let mut receiver = Receiver::new(config, now).expect("a good configuration");
        if is_connected {
            let reply = ConnectReply {
                client: Some(ClientNo(3)),
                block_size: 4,
                capabilities: Capabilities::CURRENT,
                data_address: Ipv4Addr::new(233, 254, 0, 1),
            };
            let mut bytes = Vec::new();
            Message::ConnectReply(reply).emit(&mut bytes);
            receiver.handle_datagram(now, SENDER, &bytes);
        }
        for op in ops {
            match op {
                Op::Datagram(from, bytes) => receiver.handle_datagram(now, addr(from), &bytes),
                Op::Timeout => {
                    now = receiver.poll_timeout().map_or(now, |at| at.max(now));
                    receiver.handle_timeout(now);
                    settle_receiver(&mut receiver, now);
                    prop_assert!(receiver.poll_timeout().is_none_or(|at| at > now));
                }
                Op::Pass(time) => now += time,
                Op::Call(0) => receiver.go(now),
                Op::Call(1) => receiver.abort(now),
                Op::Call(_) => {
                    while let Some(slice) = receiver.take_slice() {
                        receiver.return_buffer(slice);
                    }
                }
            }
            settle_receiver(&mut receiver, now);
        }
        // With its timeouts it comes to an end by itself.
        while let Some(at) = receiver.poll_timeout() {
            now = now.max(at);
            receiver.handle_timeout(now);
            settle_receiver(&mut receiver, now);
        }
        prop_assert!(receiver.is_closed());
    }

    #[test]
    fn a_sender_stands_anything(
        ops in prop::collection::vec(any_op(), 1..150), half_duplex: bool, with_fec: bool,
        asynchronous: bool, is_started: bool,
        routing in prop::sample::select(&[
            DataRouting::Multicast, DataRouting::AutoPointToPoint, DataRouting::PointToPoint,
            DataRouting::Broadcast,
        ]),
    ) {
        let mut now = cast_sim::epoch();
        let group = SocketAddrV4::new(Ipv4Addr::new(233, 254, 0, 1), 9000);
        let mut config = SenderConfig::new(control(), group);
        config.block_size = 4;
        config.duplex = if half_duplex { Duplex::Half } else { Duplex::Full };
        config.fec = FecParams::new(2, 1, 8).filter(|_| with_fec);
        config.routing = routing;
        config.asynchronous = asynchronous && routing != DataRouting::PointToPoint;
        config.max_bitrate = asynchronous.then_some(10_000_000);
        config.drop = DropPolicy { retries: 5, silence: Duration::from_secs(2), ..DropPolicy::default() };
        config.start = StartRule {
            min_receivers: if is_started { 1 } else { 3 },
            start_timeout: Some(Duration::from_secs(100)),
            autostart: asynchronous.then_some(2),
            max_wait: Some(Duration::from_secs(500)),
            ..StartRule::default()
        };
        let mut sender = Sender::new(config, now).expect("a good configuration");
        if is_started {
            sender.handle_datagram(now, addr(3), &[0, 3, 0, 0, 0, 0, 0, 9]);
        }
        for op in ops {
            match op {
                Op::Datagram(from, bytes) => sender.handle_datagram(now, addr(from), &bytes),
                Op::Timeout => {
                    now = sender.poll_timeout().map_or(now, |at| at.max(now));
                    sender.handle_timeout(now);
                    settle_sender(&mut sender, now);
                    prop_assert!(sender.poll_timeout().is_none_or(|at| at > now));
                }
                Op::Pass(time) => now += time,
                Op::Call(0) => sender.start(now),
                Op::Call(1) => sender.remove(now, *addr(2).ip()),
                Op::Call(2) => sender.set_expected(now, &[*addr(3).ip()]),
                Op::Call(3) => sender.finish_input(),
                Op::Call(4) => sender.abort(now),
                Op::Call(_) => {
                    let room = sender.input_room();
                    prop_assert!(room <= 1024 * 4);
                    sender.push_input(&vec![1; room]);
                }
            }
            settle_sender(&mut sender, now);
        }
        // Nobody answers any more: it comes to an end by itself.
        sender.finish_input();
        settle_sender(&mut sender, now);
        for _ in 0..10_000 {
            let Some(at) = sender.poll_timeout().filter(|_| !sender.is_closed()) else { break };
            now = now.max(at);
            sender.handle_timeout(now);
            settle_sender(&mut sender, now);
            sender.start(now);
            settle_sender(&mut sender, now);
        }
        prop_assert!(sender.is_closed());
        prop_assert!(sender.participants().all(|p| p.outcome != Outcome::Connected));
    }
}
