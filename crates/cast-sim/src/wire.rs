//! What is between hosts.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use crate::Rng;

/// The way from and to a host; both directions alike.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// From one end to the other.
    pub delay: Duration,
    /// Up to so much more, at random: what makes datagrams overtake each other.
    pub jitter: Duration,
    /// So many of a thousand are lost.
    pub loss_per_mille: u32,
    /// So many of a thousand arrive twice.
    pub duplicate_per_mille: u32,
    /// Damaged so that no checksum notices, but the form does: cut short, or of another kind. (What
    /// is damaged within cannot be told by anybody; the images have checksums of their own.)
    pub damage_per_mille: u32,
    /// Bit/s toward the host, with a queue of so many bytes before it; what does not fit is lost.
    pub rate: Option<(u64, u64)>,
    /// Longer datagrams toward the host are lost without notice.
    pub longest: usize,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: Duration::from_micros(100),
            jitter: Duration::ZERO,
            loss_per_mille: 0,
            duplicate_per_mille: 0,
            damage_per_mille: 0,
            rate: None,
            longest: usize::MAX,
        }
    }
}

/// A datagram on its way to host `node`.
#[derive(Clone, Debug)]
pub struct Delivery<N> {
    /// Its source address.
    pub from: SocketAddrV4,
    /// Its destination address, perhaps of a group.
    pub to: SocketAddrV4,
    /// The host that gets this copy.
    pub node: N,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// All datagrams on their way.
#[derive(Debug)]
pub struct Wire<N> {
    rng: Rng,
    /// Opcodes of which a damaged datagram gets one.
    opcodes: &'static [u16],
    /// When the queue before each host is empty.
    queue_free: BTreeMap<N, Instant>,
    on_the_way: BTreeMap<(Instant, u64), Delivery<N>>,
    sequence: u64,
}

impl<N: Copy + Ord> Wire<N> {
    /// An empty one. `opcodes`: what the first two octets of a damaged datagram become.
    #[must_use]
    pub fn new(rng: Rng, opcodes: &'static [u16]) -> Self {
        Self {
            rng,
            opcodes,
            queue_free: BTreeMap::new(),
            on_the_way: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// Puts a datagram on its way. `is_toward`: in the direction that has a rate and a longest datagram.
    pub fn send(&mut self, now: Instant, link: Link, is_toward: bool, delivery: &Delivery<N>) {
        let len = delivery.bytes.len();
        let copies = 1 + u32::from(self.rng.chance(link.duplicate_per_mille));
        for _ in 0..copies {
            let is_too_long = is_toward && len > link.longest;
            if self.rng.chance(link.loss_per_mille) || is_too_long {
                continue;
            }
            let mut at = now;
            if let Some((rate, queue)) = link.rate.filter(|_| is_toward) {
                let free = self.queue_free.entry(delivery.node).or_insert(now);
                *free = (*free).max(now);
                let backlog = (*free - now).as_nanos() * u128::from(rate) / 8_000_000_000;
                if backlog + len as u128 > u128::from(queue) {
                    continue;
                }
                *free += Duration::from_nanos(len as u64 * 8_000_000_000 / rate);
                at = *free;
            }
            let jitter = u64::try_from(link.jitter.as_nanos()).unwrap_or(u64::MAX - 1);
            at += link.delay + Duration::from_nanos(self.rng.below(jitter + 1));
            self.sequence += 1;
            let mut copy = delivery.clone();
            if self.rng.chance(link.damage_per_mille) {
                self.damage(&mut copy.bytes);
            }
            self.on_the_way.insert((at, self.sequence), copy);
        }
    }

    /// When the next datagram arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Instant> {
        self.on_the_way.first_key_value().map(|((at, _), _)| *at)
    }

    /// The next datagram that has arrived by now.
    pub fn arrive(&mut self, now: Instant) -> Option<Delivery<N>> {
        let entry = self.on_the_way.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    fn damage(&mut self, bytes: &mut Vec<u8>) {
        if self.rng.chance(500) {
            let len = self.rng.below(bytes.len() as u64);
            bytes.truncate(usize::try_from(len).unwrap_or(0));
        } else if let Some(opcode) = bytes.first_chunk_mut() {
            *opcode = self.rng.pick(self.opcodes).to_be_bytes();
        }
    }
}
