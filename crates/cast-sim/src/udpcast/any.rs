//! Networks and datagrams made up by chance.

use std::net::SocketAddrV4;
use std::time::Duration;

use cast_proto::bitmap::Bitmap;
use cast_proto::udpcast::fec::FecParams;
use cast_proto::udpcast::sender::{DataRouting, DropPolicy, Duplex};
use cast_proto::udpcast::wire::{
    Capabilities, ConnectReply, Data, Hello, HelloKind, Message, ReqAck, Retransmit,
};
use cast_proto::udpcast::{BlockNo, ClientNo, SliceNo};

use super::{Action, BROADCAST, Confirm, GROUP, PORT, Reader, SENDER, Scenario};
use crate::{Link, Rng};

/// Bytes of a block, and of a slice of the size that original senders start with.
const BLOCK: usize = 100;
const SLICE: usize = 112 * BLOCK;

/// A network with everything that can happen to datagrams.
pub fn any_network(seed: u64) -> Scenario {
    let mut rng = Rng(seed);
    let receivers = rng.pick(&[1, 1, 2, 2, 3, 8]);
    let len = match rng.below(4) {
        0 => rng.pick(&[0, 1, BLOCK - 1, BLOCK, BLOCK + 1, SLICE, SLICE + 1]),
        _ => usize::try_from(rng.below(20 * SLICE as u64)).unwrap(),
    };
    let mut scenario = Scenario::new(seed, len, receivers);
    scenario.sender.duplex = rng.pick(&[Duplex::Full, Duplex::Half]);
    scenario.sender.routing = rng.pick(&[
        DataRouting::Multicast,
        DataRouting::AutoPointToPoint,
        DataRouting::Broadcast,
    ]);
    if rng.chance(200) {
        scenario.sender.fec = FecParams::new(4, 2, 16);
    }
    if rng.chance(200) {
        scenario.sender.max_bitrate = Some(rng.pick(&[1_000_000, 20_000_000]));
    }
    scenario.sender.slice.initial = rng.pick(&[None, None, Some(1), Some(16), Some(1024)]);
    scenario.sender.slice.min = 1;
    scenario.sender.start.accept_go = false;
    for receiver in &mut scenario.receivers {
        receiver.reader = rng.pick(&[
            Reader::Immediate,
            Reader::Immediate,
            Reader::Every(Duration::from_millis(20)),
            Reader::After(Duration::from_secs(30)),
        ]);
        receiver.config.is_confirmed_by_reader = rng.chance(300);
        receiver.confirm = rng.pick(&[
            Confirm::AtOnce,
            Confirm::After(Duration::from_millis(30)),
            Confirm::After(Duration::from_secs(40)),
        ]);
        receiver.config.window_blocks = 3072;
        receiver.config.sender = Some(*SENDER.ip());
        receiver.config.tell_attentive = rng.chance(700);
        receiver.config.rcvbuf = rng.pick(&[212_992, 16 << 20]);
        receiver.link = Link {
            delay: Duration::from_micros(50 + rng.below(rng.clone().pick(&[100, 20_000]))),
            jitter: Duration::from_micros(rng.pick(&[0, 10, 500, 30_000])),
            loss_per_mille: rng.pick(&[0, 5, 50, 150, 300]),
            duplicate_per_mille: rng.pick(&[0, 0, 20, 200]),
            damage_per_mille: rng.pick(&[0, 0, 5, 50]),
            rate: rng.pick(&[None, Some((50_000_000, 30_000))]),
            longest: usize::MAX,
        };
    }
    if scenario
        .receivers
        .iter()
        .any(|it| it.link.loss_per_mille > 50)
    {
        // Sixteen rounds in a row are lost now and then, where every second one is.
        scenario.sender.drop_attentive = DropPolicy::default();
    }
    for _ in 0..rng.pick(&[0, 40]) {
        let at = Duration::from_micros(rng.below(200_000));
        let action = Action::Inject {
            from: SocketAddrV4::new([10, 0, 3, 9].into(), rng.pick(&[PORT, PORT + 1, 4711])),
            to: rng.pick(&[SENDER, SocketAddrV4::new(GROUP, PORT)]),
            bytes: forged(&mut rng),
        };
        scenario.actions.push((at, action));
    }
    scenario
}

/// A datagram that means something, of a host that is no part of the transfer.
pub fn forged(rng: &mut Rng) -> Vec<u8> {
    let garbage: Vec<u8> = (0..rng.below(200))
        .map(|_| u8::try_from(rng.below(256)).unwrap())
        .collect();
    let slice = SliceNo(u32::try_from(rng.below(60)).unwrap());
    let round = u32::try_from(rng.below(5)).unwrap();
    let block = BlockNo(u16::try_from(rng.below(2000)).unwrap());
    let set = Bitmap::from_bytes(&garbage);
    let slice_len = rng.pick(&[0, 1, 11_200, u32::MAX]);
    let capabilities = Capabilities(u32::try_from(rng.below(64)).unwrap());
    let data_address = rng.pick(&[GROUP, BROADCAST]);
    let forged = [
        Message::Ok(slice),
        Message::Retransmit(Retransmit {
            slice,
            round,
            received: set,
        }),
        Message::Go,
        Message::Disconnect,
        Message::ReqAck(ReqAck::new(slice, slice_len, round, set)),
        Message::ConnectReply(ConnectReply {
            client: rng.pick(&[None, Some(ClientNo(7))]),
            block_size: rng.pick(&[0, 100, 1456, u32::MAX]),
            capabilities,
            data_address,
        }),
        Message::Data(Data {
            slice,
            block,
            slice_len,
            payload: &garbage,
        }),
        Message::Hello(Hello {
            kind: HelloKind::Streaming,
            capabilities,
            data_address,
            block_size: 77,
        }),
        Message::Unknown(5),
    ];
    let message = &forged[usize::try_from(rng.below(forged.len() as u64)).unwrap()];
    let mut bytes = Vec::new();
    message.emit(&mut bytes);
    if rng.chance(300) {
        bytes.truncate(usize::try_from(rng.below(bytes.len() as u64)).unwrap());
    }
    bytes
}
