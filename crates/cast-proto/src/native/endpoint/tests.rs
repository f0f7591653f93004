use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::native::code::{Decoder, Encoder};
use crate::native::geometry::{ChunkId, FrameLen, Table};
use crate::native::keys::{Cipher, ClientKey, SessionId, SessionKeys, SessionSecret, SigningKey};
use crate::native::receiver::{Event, ReceiverConfig};
use crate::native::sender::{Epoch, RateLimits, SenderConfig, Start};
use crate::native::wire::{ClientNo, DATA_LEN, EpochId, Tag};

const ANY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 1);

struct Pair {
    sender: SenderEndpoint,
    receiver: ReceiverEndpoint,
    now: Instant,
    frame: Arc<[u8]>,
    repair: Arc<[u8]>,
}

impl Pair {
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do; only differences count"
    )]
    fn new(cipher: Cipher) -> Self {
        let now = Instant::now();
        let id = SessionId([1; 8]);
        let keys = SessionKeys::new(id, SessionSecret([2; 32]), cipher);
        let len = FrameLen::new(10 * 1408 - 5).unwrap();
        let table = Table::new(Vec::new(), vec![len]);
        let config = SenderConfig {
            table: table.clone(),
            sender: 0,
            tag: Tag([0; 4]),
            epoch: Epoch {
                id: EpochId(1),
                salt: [4; 16],
                byte: 1,
            },
            start: Start::Gather {
                expected: 1,
                gather: Duration::from_secs(5),
            },
            limits: RateLimits {
                max: 125_000,
                is_known: true,
            },
            share: 0.9,
            round_trip: Duration::from_millis(1),
            interleave_max: 1,
            session_age: Duration::ZERO,
            seed: 1,
        };
        let signing = SigningKey::from_seed(&[5; 32]);
        let verifying = signing.verifying_key();
        let session = SenderEndpointConfig {
            keys: keys.clone(),
            signing,
            nonce_seed: [6; 32],
            group: ANY,
        };
        let mut sender = SenderEndpoint::new(config, session, now);
        let client = ClientNo(7);
        let client_key = ClientKey::derive(&[8; 32], id, client, cipher);
        assert!(sender.join(now, client, &client_key));
        let config = ReceiverConfig {
            table,
            sender: 0,
            pool_len: 1 << 20,
            link: 10,
            seed: 1,
        };
        let session = ReceiverEndpointConfig {
            keys,
            verifying,
            client,
            client_key,
            sender: ANY,
        };
        let receiver = ReceiverEndpoint::new(config, session, now).unwrap();
        let frame: Vec<u8> = (0..len.get())
            .map(|at| (at % 241).to_le_bytes()[0])
            .collect();
        let repair = Encoder::default().encode(len, &frame).unwrap();
        Self {
            sender,
            receiver,
            now,
            frame: frame.into(),
            repair: repair.into(),
        }
    }

    /// The next datagram to the group.
    fn next_sent(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            while let Some(request) = self.sender.poll_frame() {
                let symbols = Symbols {
                    frame: Arc::clone(&self.frame),
                    repair: Arc::clone(&self.repair),
                };
                self.sender.handle_frame(request, symbols);
            }
            if self.sender.poll_transmit(self.now, &mut bytes).is_some() {
                return bytes;
            }
            if let Some(at) = self.sender.poll_timeout().filter(|at| *at > self.now) {
                self.now = at;
                self.sender.handle_timeout(at);
            }
        }
    }

    fn hears(&mut self, datagram: &[u8]) {
        self.receiver.handle_datagram(self.now, ANY, datagram);
    }

    /// What the receiver says when it has to.
    fn next_said(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.receiver.poll_transmit(self.now, &mut bytes).is_none() {
            self.now = self.receiver.poll_timeout().expect("something to say");
            self.receiver.handle_timeout(self.now);
        }
        bytes
    }
}

#[test]
fn a_frame_arrives_through_both_ciphers_though_symbols_are_lost() {
    for cipher in [Cipher::Aes128Gcm, Cipher::ChaCha20Poly1305] {
        let mut pair = Pair::new(cipher);
        let mut frame = None;
        for number in 0..100 {
            let datagram = pair.next_sent();
            if datagram.len() == DATA_LEN && number % 4 == 1 {
                continue;
            }
            pair.hears(&datagram);
            if let Some(ReceiverEvent::Frame(whole)) = pair.receiver.poll_event() {
                frame = Some(whole);
                break;
            }
        }
        let frame = frame.expect("10 of 14 symbols");
        assert!(frame.is_damaged());
        assert_eq!(frame.chunk(), ChunkId::chunk(0));
        let bytes = frame.decode(&mut Decoder::default()).unwrap();
        assert_eq!(bytes, *pair.frame);
        pair.receiver.frame_right(ChunkId::chunk(0), true);
        pair.receiver.written(pair.now, ChunkId::chunk(0));
        let last = pair.receiver.poll_event();
        assert!(matches!(
            last,
            Some(ReceiverEvent::Other(Event::AllWritten))
        ));
        pair.receiver.finish(pair.now);
        for _ in 0..3 {
            let said = pair.next_said();
            pair.sender.handle_datagram(pair.now, ANY, &said);
        }
        assert_eq!(pair.sender.dropped(), Dropped::default());
    }
}

#[test]
fn a_datagram_with_any_bit_turned_changes_nothing() {
    // 5, 12.1
    let mut pair = Pair::new(Cipher::Aes128Gcm);
    let beacon = pair.next_sent();
    for bit in 0..beacon.len() * 8 {
        let mut damaged = beacon.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        pair.hears(&damaged);
    }
    let flipped = u64::try_from(beacon.len() * 8).unwrap();
    let dropped = pair.receiver.dropped();
    assert_eq!(dropped.foreign + dropped.forged, flipped);
    pair.hears(&beacon);
    let data = std::iter::from_fn(|| Some(pair.next_sent())).find(|sent| sent.len() == DATA_LEN);
    let data = data.unwrap();
    for bit in (0..data.len() * 8).filter(|bit| *bit < 400 || bit % 97 == 0) {
        let mut damaged = data.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        pair.hears(&damaged);
    }
    assert_eq!(pair.receiver.core().counts().taken, 0);
    pair.hears(&data);
    assert_eq!(pair.receiver.core().counts().taken, 1);
}

#[test]
fn replayed_beacons_and_feedback_are_dropped() {
    // 5.3, 5.6, 12.2
    let mut pair = Pair::new(Cipher::Aes128Gcm);
    let beacon = pair.next_sent();
    pair.hears(&beacon);
    pair.hears(&beacon);
    assert_eq!(pair.receiver.dropped().replayed, 1);
    let said = pair.next_said();
    pair.sender.handle_datagram(pair.now, ANY, &said);
    assert_eq!(pair.sender.dropped().replayed, 0);
    pair.sender.handle_datagram(pair.now, ANY, &said);
    assert_eq!(pair.sender.dropped().replayed, 1);
}

#[test]
fn feedback_is_the_own_client_s_alone_and_is_never_answered() {
    // 4.5, 5.6
    let mut pair = Pair::new(Cipher::Aes128Gcm);
    let beacon = pair.next_sent();
    pair.hears(&beacon);
    let said = pair.next_said();
    for at in 8..said.len() {
        let mut forged = said.clone();
        forged[at] ^= 1;
        pair.sender.handle_datagram(pair.now, ANY, &forged);
    }
    let dropped = pair.sender.dropped();
    assert_eq!(dropped.unknown, 4);
    let others = u64::try_from(said.len()).unwrap() - 12;
    assert_eq!(dropped.forged + dropped.replayed, others);
    pair.sender.handle_datagram(pair.now, ANY, &said);
    assert_eq!(pair.sender.dropped(), dropped);
    // All that is sent goes to the group.
    let mut bytes = Vec::new();
    while let Some(transmit) = pair.sender.poll_transmit(pair.now, &mut bytes) {
        assert_eq!(transmit.to, ANY);
        assert!(bytes.len() == DATA_LEN || bytes[0] == 0x11);
    }
}

#[test]
fn data_before_the_first_beacon_cannot_be_opened() {
    let mut pair = Pair::new(Cipher::Aes128Gcm);
    let data = std::iter::from_fn(|| Some(pair.next_sent())).find(|sent| sent.len() == DATA_LEN);
    pair.hears(&data.unwrap());
    assert_eq!(pair.receiver.dropped().epoch, 1);
}
