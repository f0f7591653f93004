//! A receiver over sealed datagrams.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddrV4;
use std::time::Instant;

use super::Dropped;
use super::assembly::{Assembly, Frame};
use crate::core::Transmit;
use crate::native::geometry::{ChunkId, FrameLen, SYMBOL};
use crate::native::keys::{ClientKey, Forged, Key, SessionKeys, VerifyingKey, counted_nonce};
use crate::native::receiver::{Event, Feedback, Receiver, ReceiverConfig, Taken};
use crate::native::wire::{
    Beacon, BeaconHead, ClientNo, DATA_HEADER_LEN, DataHeader, EpochId, FeedbackHead, FeedbackKind,
    Kind, Tag, kind,
};

/// What it has to know beside [`ReceiverConfig`]: from the join answer.
#[derive(Debug)]
pub struct ReceiverEndpointConfig {
    /// Of the session.
    pub keys: SessionKeys,
    /// Of beacons.
    pub verifying: VerifyingKey,
    /// Its number.
    pub client: ClientNo,
    /// Of its feedback.
    pub client_key: ClientKey,
    /// Where feedback goes.
    pub sender: SocketAddrV4,
}

/// What happened.
#[derive(Debug)]
pub enum ReceiverEvent {
    /// K symbols of a chunk: decode it, compare the hash, and call [`ReceiverEndpoint::frame_right`] or
    /// [`ReceiverEndpoint::frame_wrong`].
    Frame(Frame),
    /// Anything else; never [`Event::Whole`] or [`Event::Dropped`].
    Other(Event),
}

/// A receiver, as a [`Core`](crate::core::Core).
#[derive(Debug)]
pub struct ReceiverEndpoint {
    core: Receiver,
    keys: SessionKeys,
    verifying: VerifyingKey,
    client: ClientNo,
    feedback_key: Key,
    sender: SocketAddrV4,
    sender_index: u8,
    tag: Tag,
    epoch: Option<OpenEpoch>,
    counter: u32,
    frames: BTreeMap<ChunkId, Assembly>,
    events: VecDeque<ReceiverEvent>,
    dropped: Dropped,
    scratch: Vec<u8>,
}

/// The epoch whose DATA are taken.
#[derive(Debug)]
struct OpenEpoch {
    id: EpochId,
    /// Its byte, as the head of the beacon has it.
    byte: u8,
    key: Key,
}

impl ReceiverEndpoint {
    /// One that begins to listen.
    ///
    /// # Errors
    /// If the client's key is not one of the session's cipher.
    pub fn new(
        config: ReceiverConfig,
        session: ReceiverEndpointConfig,
        now: Instant,
    ) -> Result<Self, Forged> {
        let feedback_key = session.keys.feedback(&session.client_key)?;
        Ok(Self {
            sender_index: config.sender,
            tag: session.keys.id().tag(config.sender),
            core: Receiver::new(config, now),
            keys: session.keys,
            verifying: session.verifying,
            client: session.client,
            feedback_key,
            sender: session.sender,
            epoch: None,
            counter: 0,
            frames: BTreeMap::new(),
            events: VecDeque::new(),
            dropped: Dropped::default(),
            scratch: Vec::new(),
        })
    }

    /// See [`Receiver::handle_manifest`].
    pub fn handle_manifest(
        &mut self,
        now: Instant,
        chunks: Vec<FrameLen>,
        is_done: impl Fn(u32) -> bool,
    ) {
        self.core.handle_manifest(now, chunks, is_done);
        self.take_events();
    }

    /// See [`Receiver::frame_right`].
    pub fn frame_right(&mut self, chunk: ChunkId, is_repaired: bool) {
        self.core.frame_right(chunk, is_repaired);
    }

    /// See [`Receiver::frame_wrong`].
    pub fn frame_wrong(&mut self, now: Instant, chunk: ChunkId) {
        self.core.frame_wrong(now, chunk);
    }

    /// See [`Receiver::written`].
    pub fn written(&mut self, now: Instant, chunk: ChunkId) {
        self.core.written(now, chunk);
        self.take_events();
    }

    /// See [`Receiver::unwritten`].
    pub fn unwritten(&mut self, now: Instant, chunk: ChunkId) {
        self.core.unwritten(now, chunk);
    }

    /// See [`Receiver::finish`].
    pub fn finish(&mut self, now: Instant) {
        self.core.finish(now);
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<ReceiverEvent> {
        self.events.pop_front()
    }

    /// The state machine.
    #[must_use]
    pub fn core(&self) -> &Receiver {
        &self.core
    }

    /// Datagrams that were not taken in.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// Takes in a DATA or BEACON.
    pub fn handle_datagram(&mut self, now: Instant, _from: SocketAddrV4, datagram: &[u8]) {
        match kind(datagram) {
            Ok(Kind::Data) => self.on_data(now, datagram),
            Ok(Kind::Beacon) => self.on_beacon(now, datagram),
            // A SEAL counts in sealed mode alone, which a sender of this version never turns on.
            Ok(Kind::Seal | Kind::Need | Kind::Status) | Err(_) => self.dropped.foreign += 1,
        }
        self.take_events();
    }

    /// Serves the timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.core.handle_timeout(now);
        self.take_events();
    }

    /// Writes the next datagram.
    pub fn poll_transmit(&mut self, _now: Instant, buffer: &mut Vec<u8>) -> Option<Transmit> {
        buffer.clear();
        let feedback = self.core.poll_feedback()?;
        // A number is used for one nonce. At 50 a second they last for years.
        self.counter = self.counter.checked_add(1)?;
        let kind = match feedback {
            Feedback::Need(_) => FeedbackKind::Need,
            Feedback::Status(_) => FeedbackKind::Status,
        };
        let head = FeedbackHead {
            kind,
            tag: self.tag,
            client: self.client,
            counter: self.counter,
        };
        head.emit(buffer);
        let from = buffer.len();
        match feedback {
            Feedback::Need(need) => need.emit(buffer),
            Feedback::Status(status) => status.emit(buffer),
        }
        self.feedback_key
            .seal(counted_nonce(self.counter), buffer, from);
        Some(Transmit::main(self.sender))
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.core.poll_timeout()
    }

    fn on_data(&mut self, now: Instant, datagram: &[u8]) {
        let Ok(header) = DataHeader::parse(datagram) else {
            self.dropped.foreign += 1;
            return;
        };
        if header.tag != self.tag {
            self.dropped.foreign += 1;
            return;
        }
        let Some(epoch) = self.epoch.as_ref().filter(|one| one.byte == header.epoch) else {
            self.dropped.epoch += 1;
            return;
        };
        // Before decryption: most of what is not wanted is not worth it (6.4).
        if !self.core.wants(now, &header) {
            return;
        }
        let (head, sealed) = datagram.split_at(DATA_HEADER_LEN);
        self.scratch.clear();
        self.scratch.extend_from_slice(sealed);
        let nonce = counted_nonce(header.seq);
        let Ok(symbol) = epoch.key.open(nonce, head, &mut self.scratch) else {
            self.dropped.forged += 1;
            return;
        };
        if self.core.handle_data(now, &header) == Taken::Kept
            && symbol.len() == SYMBOL
            && let Some(slot) = self.core.table().slot(header.chunk)
        {
            let len = self.core.table().frame_len(slot);
            let frame = self.frames.entry(header.chunk);
            frame
                .or_insert_with(|| Assembly::new(len))
                .insert(header.symbol, symbol);
        }
    }

    fn on_beacon(&mut self, now: Instant, datagram: &[u8]) {
        let Ok((head, sealed)) = BeaconHead::parse(datagram) else {
            self.dropped.foreign += 1;
            return;
        };
        if head.tag != self.tag {
            self.dropped.foreign += 1;
            return;
        }
        let aad = datagram.get(..datagram.len() - sealed.len());
        let mut body = sealed.to_vec();
        // First what costs least.
        let opened = (self.keys.control()).open(head.nonce, aad.unwrap_or_default(), &mut body);
        let Some((body, signature)) = opened.ok().and_then(|body| body.split_last_chunk()) else {
            self.dropped.forged += 1;
            return;
        };
        if (self
            .verifying
            .verify_beacon(self.keys.id(), body, signature))
        .is_err()
        {
            self.dropped.forged += 1;
            return;
        }
        let Ok(beacon) = Beacon::parse(body) else {
            self.dropped.malformed += 1;
            return;
        };
        if !self.core.handle_beacon(now, &beacon) {
            self.dropped.replayed += 1;
            return;
        }
        if self
            .epoch
            .as_ref()
            .is_none_or(|epoch| epoch.id != beacon.epoch)
        {
            self.epoch = Some(OpenEpoch {
                id: beacon.epoch,
                byte: head.epoch,
                key: (self.keys).data(self.sender_index, beacon.epoch, &beacon.salt),
            });
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.core.poll_event() {
            let event = match event {
                Event::Whole(chunk) => match self.frames.remove(&chunk) {
                    Some(assembly) => ReceiverEvent::Frame(Frame::new(chunk, assembly)),
                    None => continue,
                },
                Event::Dropped(chunk) => {
                    self.frames.remove(&chunk);
                    continue;
                }
                other => ReceiverEvent::Other(other),
            };
            self.events.push_back(event);
        }
    }
}

crate::core::core_of!(ReceiverEndpoint);
