//! STATUS: how a receiver fares (5.6), inside its seal.

use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{ParseError, Reader, tlv};

/// Bytes of the body before its TLVs.
pub const STATUS_LEN: usize = size_of::<StatusView>();

#[derive(FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned)]
#[repr(C)]
struct StatusView {
    flags: U16,
    pool_used: u8,
    link: u8,
    chunks_done: U32,
    chunks_all: U32,
    loss_ppm: U32,
    peak: U16,
    socket_drops: U32,
    network: U32,
    drain: U32,
    read_back: U32,
    waits: [U16; 3],
    error: U16,
    refused: U32,
    repaired: U32,
    by_unicast: U32,
}

/// Flags of a STATUS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatusFlags {
    /// All is on the disk.
    pub is_done: bool,
    /// The receiver leaves.
    pub is_leaving: bool,
    /// It goes on by unicast.
    pub is_by_unicast: bool,
    /// Its disk is the limit.
    pub is_bound_by_disk: bool,
    /// Its processors are the limit.
    pub is_bound_by_cpu: bool,
    /// Its network is the limit.
    pub is_bound_by_network: bool,
}

/// What a STATUS says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Flags.
    pub flags: StatusFlags,
    /// Of the pool, in per cent.
    pub pool_used: u8,
    /// Speed of the link in 100 Mb/s.
    pub link: u8,
    /// Chunks on the disk.
    pub chunks_done: u32,
    /// Chunks of the image.
    pub chunks_all: u32,
    /// Lost of a million since the last STATUS, without `socket_drops`.
    pub loss_ppm: u32,
    /// The most symbols of one instance that it lost (8.5).
    pub peak: u16,
    /// Datagrams that the socket's buffer had no room for.
    pub socket_drops: u32,
    /// What arrives, in kB/s.
    pub network: u32,
    /// Frame bytes through decoding and writing, in kB/s; `None`: not the limit.
    pub drain: Option<u32>,
    /// What is read back, in kB/s.
    pub read_back: u32,
    /// Waits for network, processors and disk, in thousandths of the time.
    pub waits: [u16; 3],
    /// Why it failed; 0: it did not.
    pub error: u16,
    /// Chunks that had a wrong hash.
    pub refused: u32,
    /// Chunks that were repaired.
    pub repaired: u32,
    /// Chunks by unicast.
    pub by_unicast: u32,
}

const NOT_THE_LIMIT: u32 = u32::MAX;

impl Status {
    /// Of the opened body. TLVs after it are not looked at.
    ///
    /// # Errors
    /// If it ends too early, or its TLVs do.
    pub fn parse(body: &[u8]) -> Result<Self, ParseError> {
        let (view, tlvs) = StatusView::read_from_prefix(body)
            .map_err(|_| ParseError::Length { what: "STATUS" })?;
        let mut reader = Reader::new(tlvs, "TLV of STATUS");
        while tlv::next(&mut reader)?.is_some() {}
        let drain = view.drain.get();
        Ok(Self {
            flags: StatusFlags::from_bits(view.flags.get()),
            pool_used: view.pool_used,
            link: view.link,
            chunks_done: view.chunks_done.get(),
            chunks_all: view.chunks_all.get(),
            loss_ppm: view.loss_ppm.get(),
            peak: view.peak.get(),
            socket_drops: view.socket_drops.get(),
            network: view.network.get(),
            drain: (drain != NOT_THE_LIMIT).then_some(drain),
            read_back: view.read_back.get(),
            waits: view.waits.map(U16::get),
            error: view.error.get(),
            refused: view.refused.get(),
            repaired: view.repaired.get(),
            by_unicast: view.by_unicast.get(),
        })
    }

    /// Appends the body.
    pub fn emit(&self, bytes: &mut Vec<u8>) {
        let drain = self
            .drain
            .map_or(NOT_THE_LIMIT, |drain| drain.min(NOT_THE_LIMIT - 1));
        let view = StatusView {
            flags: self.flags.bits().into(),
            pool_used: self.pool_used,
            link: self.link,
            chunks_done: self.chunks_done.into(),
            chunks_all: self.chunks_all.into(),
            loss_ppm: self.loss_ppm.into(),
            peak: self.peak.into(),
            socket_drops: self.socket_drops.into(),
            network: self.network.into(),
            drain: drain.into(),
            read_back: self.read_back.into(),
            waits: self.waits.map(U16::new),
            error: self.error.into(),
            refused: self.refused.into(),
            repaired: self.repaired.into(),
            by_unicast: self.by_unicast.into(),
        };
        bytes.extend(view.as_bytes());
    }
}

impl StatusFlags {
    fn bits(self) -> u16 {
        let flags = [
            self.is_done,
            self.is_leaving,
            self.is_by_unicast,
            self.is_bound_by_disk,
            self.is_bound_by_cpu,
            self.is_bound_by_network,
        ];
        flags
            .into_iter()
            .rev()
            .fold(0, |bits, flag| bits << 1 | u16::from(flag))
    }

    fn from_bits(bits: u16) -> Self {
        let flag = |at: u16| bits >> at & 1 != 0;
        Self {
            is_done: flag(0),
            is_leaving: flag(1),
            is_by_unicast: flag(2),
            is_bound_by_disk: flag(3),
            is_bound_by_cpu: flag(4),
            is_bound_by_network: flag(5),
        }
    }
}
