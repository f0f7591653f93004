//! A sender over sealed datagrams.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Instant;

use super::Dropped;
use crate::core::Transmit;
use crate::native::code::source_symbol;
use crate::native::geometry::{ChunkId, SYMBOL};
use crate::native::keys::{ClientKey, Key, Nonces, SessionKeys, SigningKey, counted_nonce};
use crate::native::sender::{Epoch, FrameRequest, Outgoing, Sender, SenderConfig};
use crate::native::wire::{
    Beacon, BeaconHead, ClientNo, DataHeader, FeedbackHead, FeedbackKind, NeedBody, Status, Tag,
};

/// What it has to know beside [`SenderConfig`], whose tag it computes.
#[derive(Debug)]
pub struct SenderEndpointConfig {
    /// Of the session.
    pub keys: SessionKeys,
    /// Signs beacons.
    pub signing: SigningKey,
    /// 32 random bytes that were never used before.
    pub nonce_seed: [u8; 32],
    /// Where DATA and BEACON go.
    pub group: SocketAddrV4,
}

/// A frame as it is sent.
#[derive(Clone, Debug)]
pub struct Symbols {
    /// Its bytes, whose hash is right.
    pub frame: Arc<[u8]>,
    /// All its repair symbols, if they were asked for; else empty.
    pub repair: Arc<[u8]>,
}

/// A sender, as a [`Core`](crate::core::Core).
#[derive(Debug)]
pub struct SenderEndpoint {
    core: Sender,
    keys: SessionKeys,
    sender: u8,
    tag: Tag,
    data_key: Key,
    epoch: Epoch,
    signing: SigningKey,
    nonces: Nonces,
    group: SocketAddrV4,
    clients: BTreeMap<ClientNo, Client>,
    frames: BTreeMap<ChunkId, Symbols>,
    dropped: Dropped,
}

#[derive(Debug)]
struct Client {
    key: Key,
    last_counter: u32,
}

impl SenderEndpoint {
    /// One that begins to send beacons.
    #[must_use]
    pub fn new(mut config: SenderConfig, session: SenderEndpointConfig, now: Instant) -> Self {
        let tag = session.keys.id().tag(config.sender);
        config.tag = tag;
        let epoch = config.epoch;
        Self {
            sender: config.sender,
            tag,
            data_key: session.keys.data(config.sender, epoch.id, &epoch.salt),
            epoch,
            core: Sender::new(config, now),
            keys: session.keys,
            signing: session.signing,
            nonces: Nonces::new(session.nonce_seed),
            group: session.group,
            clients: BTreeMap::new(),
            frames: BTreeMap::new(),
            dropped: Dropped::default(),
        }
    }

    /// A client joined; whether there is room for it and its key is one of the session's cipher.
    pub fn join(&mut self, now: Instant, client: ClientNo, key: &ClientKey) -> bool {
        self.admit(client, key) && self.core.join(now, client)
    }

    /// A client that was there before a restart of the sender. Its next counter is taken as it is (5.6).
    pub fn join_again(&mut self, now: Instant, client: ClientNo, key: &ClientKey) -> bool {
        self.admit(client, key) && self.core.join_again(now, client)
    }

    /// The frame of a request is there.
    ///
    /// # Panics
    /// If the repair symbols that were asked for are not.
    pub fn handle_frame(&mut self, request: FrameRequest, symbols: Symbols) {
        assert!(
            !(request.with_repair && symbols.repair.is_empty()),
            "repair symbols of {:?}",
            request.chunk
        );
        self.frames.retain(|chunk, _| self.core.uses_frame(*chunk));
        if self.core.uses_frame(request.chunk) {
            self.frames.insert(request.chunk, symbols);
            self.core.handle_frame(request);
        }
    }

    /// The next frame that is wanted soon. Its hash has to be checked before it is handed in (6.3).
    pub fn poll_frame(&mut self) -> Option<FrameRequest> {
        self.core.poll_frame()
    }

    /// Begins another epoch; see [`Sender::begin_epoch`].
    pub fn begin_epoch(&mut self, now: Instant, epoch: Epoch) {
        self.core.begin_epoch(now, epoch);
        self.epoch = epoch;
        self.data_key = self.keys.data(self.sender, epoch.id, &epoch.salt);
    }

    /// The state machine.
    #[must_use]
    pub fn core(&self) -> &Sender {
        &self.core
    }

    /// The state machine, to change its limits.
    pub fn core_mut(&mut self) -> &mut Sender {
        &mut self.core
    }

    /// Datagrams that were not taken in.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Takes in a NEED or STATUS. There is never an answer to it, so that nothing can be reflected (5.6).
    pub fn handle_datagram(&mut self, now: Instant, _from: SocketAddrV4, datagram: &[u8]) {
        let Ok((head, sealed)) = FeedbackHead::parse(datagram) else {
            self.dropped.foreign += 1;
            return;
        };
        if head.tag != self.tag {
            self.dropped.foreign += 1;
            return;
        }
        let Some(client) = self.clients.get_mut(&head.client) else {
            self.dropped.unknown += 1;
            return;
        };
        if head.counter <= client.last_counter {
            self.dropped.replayed += 1;
            return;
        }
        let aad = datagram.get(..datagram.len() - sealed.len());
        let mut body = sealed.to_vec();
        let opened = client.key.open(
            counted_nonce(head.counter),
            aad.unwrap_or_default(),
            &mut body,
        );
        let Ok(body) = opened else {
            self.dropped.forged += 1;
            return;
        };
        client.last_counter = head.counter;
        match head.kind {
            FeedbackKind::Need => match NeedBody::parse(body) {
                Ok(need) => self.core.handle_need(now, head.client, &need),
                Err(_) => self.dropped.malformed += 1,
            },
            FeedbackKind::Status => match Status::parse(body) {
                Ok(status) => self.core.handle_status(now, head.client, &status),
                Err(_) => self.dropped.malformed += 1,
            },
        }
    }

    /// Serves the timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.core.handle_timeout(now);
    }

    /// Writes the next datagram, if one may leave now. Frames that become wanted by it are asked for with
    /// [`poll_frame`](Self::poll_frame).
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut Vec<u8>) -> Option<Transmit> {
        buffer.clear();
        match self.core.poll_message(now)? {
            Outgoing::Data(header) => self.seal_data(header, buffer),
            Outgoing::Beacon(beacon) => self.seal_beacon(&beacon, buffer),
        }
        Some(Transmit::main(self.group))
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) and [`poll_transmit`](Self::poll_transmit).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.core.poll_timeout()
    }

    fn admit(&mut self, client: ClientNo, key: &ClientKey) -> bool {
        let Ok(key) = self.keys.feedback(key) else {
            return false;
        };
        let is_full = self.clients.len() >= crate::native::sender::CLIENTS_MAX;
        if is_full && !self.clients.contains_key(&client) {
            return false;
        }
        let client_state = Client {
            key,
            last_counter: 0,
        };
        self.clients.insert(client, client_state);
        true
    }

    fn seal_data(&mut self, header: DataHeader, buffer: &mut Vec<u8>) {
        header.emit(buffer);
        let from = buffer.len();
        let symbols = self
            .frames
            .get(&header.chunk)
            .expect("only symbols of frames that are there are sent");
        let slot = self.core.table().slot(header.chunk);
        let source = slot.map_or(0, |slot| self.core.table().frame_len(slot).source_count());
        match header.symbol.checked_sub(source) {
            None => buffer.extend(source_symbol(&symbols.frame, header.symbol)),
            Some(at) => {
                let symbol = symbols.repair.chunks_exact(SYMBOL).nth(usize::from(at));
                buffer.extend(symbol.expect("repair symbols are there if they are sent"));
            }
        }
        self.data_key.seal(counted_nonce(header.seq), buffer, from);
    }

    fn seal_beacon(&mut self, beacon: &Beacon, buffer: &mut Vec<u8>) {
        let head = BeaconHead {
            epoch: self.epoch.byte,
            tag: self.tag,
            nonce: self.nonces.next_nonce(),
        };
        head.emit(buffer);
        let from = buffer.len();
        let mut body = Vec::new();
        beacon.emit(&mut body);
        let signature = self.signing.sign_beacon(self.keys.id(), &body);
        buffer.extend(body);
        buffer.extend(signature);
        self.keys.control().seal(head.nonce, buffer, from);
    }
}

crate::core::core_of!(SenderEndpoint);
