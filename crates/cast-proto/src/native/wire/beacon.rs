//! BEACON: the state of a sender (5.3), inside its seal.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{AEAD_TAG_LEN, BEACON_HEAD_LEN, EpochId, ParseError, Plan, Reader, SIGNATURE_LEN, tlv};
use crate::native::geometry::ChunkId;

/// Bytes of the longest beacon.
pub const BEACON_MAX: usize = 1444;

/// Announcements in one beacon.
pub const ANNOUNCED_MAX: usize = 100;

/// Ended bursts in one beacon.
pub const ENDED_MAX: usize = 64;

/// Bytes of body and TLVs of the longest beacon.
const BODY_MAX: usize = BEACON_MAX - BEACON_HEAD_LEN - SIGNATURE_LEN - AEAD_TAG_LEN;

/// Fixed part, 64 octets.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct BodyView {
    epoch: U64,
    counter: U32,
    sender: u8,
    state: u8,
    flags: U16,
    salt: [u8; 16],
    next_seq: U32,
    rate: U32,
    unfinished: U32,
    clients: U32,
    window_ms: U16,
    usual_need: U16,
    cap: U16,
    status_interval: U16,
    session_ms: U32,
    planned: U32,
}

/// What a sender does (8.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenderState {
    /// Waits for clients.
    Gathering,
    /// Sends its plan and repairs.
    Sending,
    /// Has nothing to send, and asks.
    Draining,
    /// Has nothing to send, and was asked for nothing.
    Idle,
    /// All is done.
    Ended,
}

/// Flags of a beacon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BeaconFlags {
    /// Sealed mode is on (12.3).
    pub is_sealed: bool,
    /// Whoever needs or lacks something says so now.
    pub asks: bool,
    /// Few chunks are planned.
    pub is_near_end: bool,
}

/// A need that the sender has heard of (8.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Of which chunk.
    pub chunk: ChunkId,
    /// After which burst of it.
    pub burst: u8,
    /// What becomes of it.
    pub state: Announced,
    /// The greatest need that was heard, in symbols; of a deferred one the least that is deferred.
    pub need: u16,
}

/// What becomes of a need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// The sender collects needs.
    Asked,
    /// The repair will be sent.
    Queued,
    /// The chunk is planned again, behind others.
    Deferred,
}

/// A burst that ended in the last 300 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Of which chunk.
    pub chunk: ChunkId,
    /// Its last burst.
    pub burst: u8,
}

/// What a BEACON says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beacon {
    /// The sender's life.
    pub epoch: EpochId,
    /// Counts beacons of the epoch from 1.
    pub counter: u32,
    /// Which sender of the session.
    pub sender: u8,
    /// What it does.
    pub state: SenderState,
    /// Flags.
    pub flags: BeaconFlags,
    /// From which the epoch's key is derived (4.5).
    pub salt: [u8; 16],
    /// Number of the next DATA.
    pub next_seq: u32,
    /// R in kB/s of the cable.
    pub rate: u32,
    /// Clients that are not done.
    pub unfinished: u32,
    /// All clients.
    pub clients: u32,
    /// T in ms (7.3).
    pub window_ms: u16,
    /// E: the usual highest need after a first burst (7.3).
    pub usual_need: u16,
    /// Repair of a chunk that everybody pays for, in symbols (8.5).
    pub cap: u16,
    /// Interval of STATUS in 0.1 s.
    pub status_interval: u16,
    /// Since the session began, in ms.
    pub session_ms: u32,
    /// Chunks that are planned.
    pub planned: u32,
    /// At most [`ANNOUNCED_MAX`].
    pub announced: Vec<Announcement>,
    /// At most [`ENDED_MAX`].
    pub ended: Vec<Ended>,
    /// A part of the plan.
    pub plan: Option<Plan>,
    /// A sentence for users.
    pub text: Option<String>,
    /// The live senders of the session, if there are several.
    pub senders: Vec<u8>,
    /// It says something that this version must understand and does not: leave multicast, go on by unicast
    /// (5.4). Never written.
    pub is_beyond_us: bool,
}

const SEALED: u16 = 1;
const ASK: u16 = 2;
const NEAR_END: u16 = 4;

impl Beacon {
    /// Of the opened body without the signature.
    ///
    /// # Errors
    /// If it ends too early, a list is too long, or a code has no meaning.
    pub fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let (view, tlvs) = BodyView::read_from_prefix(body).map_err(|_| ParseError::Length {
            what: "body of BEACON",
        })?;
        let flags = view.flags.get();
        let mut beacon = Self {
            epoch: EpochId(view.epoch.get()),
            counter: view.counter.get(),
            sender: view.sender,
            state: SenderState::from_code(view.state)?,
            flags: BeaconFlags {
                is_sealed: flags & SEALED != 0,
                asks: flags & ASK != 0,
                is_near_end: flags & NEAR_END != 0,
            },
            salt: view.salt,
            next_seq: view.next_seq.get(),
            rate: view.rate.get(),
            unfinished: view.unfinished.get(),
            clients: view.clients.get(),
            window_ms: view.window_ms.get(),
            usual_need: view.usual_need.get(),
            cap: view.cap.get(),
            status_interval: view.status_interval.get(),
            session_ms: view.session_ms.get(),
            planned: view.planned.get(),
            announced: Vec::new(),
            ended: Vec::new(),
            plan: None,
            text: None,
            senders: Vec::new(),
            is_beyond_us: false,
        };
        let mut reader = Reader::new(tlvs, "TLV of BEACON");
        while let Some(tlv) = tlv::next(&mut reader)? {
            beacon.take(tlv)?;
        }
        Ok(beacon)
    }

    fn take(&mut self, tlv: tlv::Tlv<'_>) -> Result<(), ParseError> {
        match tlv.kind {
            tlv::ANNOUNCE => {
                let mut reader = Reader::new(tlv.value, "ANNOUNCE");
                while !reader.is_empty() {
                    self.announced.push(Announcement {
                        chunk: ChunkId::from_wire(reader.u32()?),
                        burst: reader.u8()?,
                        state: Announced::from_code(reader.u8()?)?,
                        need: reader.u16()?,
                    });
                }
                bound(self.announced.len(), ANNOUNCED_MAX, "ANNOUNCE")
            }
            tlv::ENDED => {
                let mut reader = Reader::new(tlv.value, "ENDED");
                while !reader.is_empty() {
                    self.ended.push(Ended {
                        chunk: ChunkId::from_wire(reader.u32()?),
                        burst: reader.u8()?,
                    });
                }
                bound(self.ended.len(), ENDED_MAX, "ENDED")
            }
            tlv::PLAN => {
                self.plan = Some(Plan::parse(tlv.value)?);
                Ok(())
            }
            tlv::TEXT => {
                self.text = Some(String::from_utf8_lossy(tlv.value).into_owned());
                Ok(())
            }
            tlv::SENDERS => {
                self.senders = tlv.value.to_vec();
                bound(self.senders.len(), usize::from(u8::MAX), "SENDERS")
            }
            _ => {
                self.is_beyond_us |= tlv.is_critical();
                Ok(())
            }
        }
    }

    /// Appends the body without the signature. Lists are cut to their bounds; a text that does not fit is left out,
    /// then senders, then the plan.
    pub fn emit(&self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        let view = BodyView {
            epoch: self.epoch.0.into(),
            counter: self.counter.into(),
            sender: self.sender,
            state: self.state.code(),
            flags: self.flags.bits().into(),
            salt: self.salt,
            next_seq: self.next_seq.into(),
            rate: self.rate.into(),
            unfinished: self.unfinished.into(),
            clients: self.clients.into(),
            window_ms: self.window_ms.into(),
            usual_need: self.usual_need.into(),
            cap: self.cap.into(),
            status_interval: self.status_interval.into(),
            session_ms: self.session_ms.into(),
            planned: self.planned.into(),
        };
        bytes.extend(view.as_bytes());
        if !self.announced.is_empty() {
            tlv::write(tlv::ANNOUNCE, bytes, |bytes| {
                for announcement in self.announced.iter().take(ANNOUNCED_MAX) {
                    bytes.extend(announcement.chunk.to_wire().to_le_bytes());
                    bytes.extend([announcement.burst, announcement.state.code()]);
                    bytes.extend(announcement.need.to_le_bytes());
                }
            });
        }
        if !self.ended.is_empty() {
            tlv::write(tlv::ENDED, bytes, |bytes| {
                for ended in self.ended.iter().take(ENDED_MAX) {
                    bytes.extend(ended.chunk.to_wire().to_le_bytes());
                    bytes.push(ended.burst);
                }
            });
        }
        let mut fitting = |write: &dyn Fn(&mut Vec<u8>)| {
            let len = bytes.len();
            write(bytes);
            if bytes.len() - start > BODY_MAX {
                bytes.truncate(len);
            }
        };
        if let Some(plan) = &self.plan {
            fitting(&|bytes| tlv::write(tlv::PLAN, bytes, |bytes| plan.emit(bytes)));
        }
        if !self.senders.is_empty() {
            fitting(&|bytes| {
                tlv::write(tlv::SENDERS, bytes, |bytes| {
                    bytes.extend(self.senders.iter().take(usize::from(u8::MAX)));
                });
            });
        }
        if let Some(text) = self.text.as_ref().filter(|text| text.len() <= BODY_MAX) {
            fitting(&|bytes| tlv::write(tlv::TEXT, bytes, |bytes| bytes.extend(text.bytes())));
        }
    }

    /// Bytes that are left for the value of PLAN beside announcements and ended bursts.
    #[must_use]
    pub fn room_for_plan(announced: usize, ended: usize) -> usize {
        let lists = [(announced.min(ANNOUNCED_MAX), 8), (ended.min(ENDED_MAX), 5)];
        let used: usize = lists
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, len)| tlv::TLV_HEAD + count * len)
            .sum();
        BODY_MAX - size_of::<BodyView>() - used - tlv::TLV_HEAD
    }
}

impl SenderState {
    fn code(self) -> u8 {
        match self {
            Self::Gathering => 0,
            Self::Sending => 1,
            Self::Draining => 2,
            Self::Idle => 3,
            Self::Ended => 4,
        }
    }

    fn from_code(code: u8) -> Result<Self, ParseError> {
        match code {
            0 => Ok(Self::Gathering),
            1 => Ok(Self::Sending),
            2 => Ok(Self::Draining),
            3 => Ok(Self::Idle),
            4 => Ok(Self::Ended),
            _ => Err(ParseError::Code {
                what: "state of BEACON",
            }),
        }
    }
}

impl Announced {
    fn code(self) -> u8 {
        match self {
            Self::Asked => 0,
            Self::Queued => 1,
            Self::Deferred => 2,
        }
    }

    fn from_code(code: u8) -> Result<Self, ParseError> {
        match code {
            0 => Ok(Self::Asked),
            1 => Ok(Self::Queued),
            2 => Ok(Self::Deferred),
            _ => Err(ParseError::Code {
                what: "state in ANNOUNCE",
            }),
        }
    }
}

impl BeaconFlags {
    fn bits(self) -> u16 {
        let bit = |is_set: bool, bit| if is_set { bit } else { 0 };
        bit(self.is_sealed, SEALED) | bit(self.asks, ASK) | bit(self.is_near_end, NEAR_END)
    }
}

fn bound(count: usize, max: usize, what: &'static str) -> Result<(), ParseError> {
    if count > max {
        return Err(ParseError::Bounds { what });
    }
    Ok(())
}
