//! What stands in clear before the sealed part of all datagrams but DATA.

use super::{ClientNo, Kind, ParseError, Reader, Tag};

/// Bytes of the head of a BEACON.
pub const BEACON_HEAD_LEN: usize = 20;

/// Bytes of the head of a SEAL.
pub const SEAL_HEAD_LEN: usize = 24;

/// Bytes of the head of NEED and STATUS.
pub const FEEDBACK_HEAD_LEN: usize = 16;

/// Bytes of a nonce of the AEAD.
pub const NONCE_LEN: usize = 12;

/// Head of a BEACON (5.3); the additional data of its AEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeaconHead {
    /// Low byte of the epoch, as in DATA.
    pub epoch: u8,
    /// Session and sender.
    pub tag: Tag,
    /// Of the AEAD; never the same twice under one key.
    pub nonce: [u8; NONCE_LEN],
}

/// Head of a SEAL (5.5); the additional data of its AEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealHead {
    /// Low byte of the epoch, as in DATA.
    pub epoch: u8,
    /// Digests in it.
    pub count: u16,
    /// Session and sender.
    pub tag: Tag,
    /// Number of the DATA that the first digest is of.
    pub first_seq: u32,
    /// Of the AEAD; never the same twice under one key.
    pub nonce: [u8; NONCE_LEN],
}

/// Head of a NEED or a STATUS (5.6); the additional data of its AEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedbackHead {
    /// Which of the two.
    pub kind: FeedbackKind,
    /// Session and sender.
    pub tag: Tag,
    /// Who speaks.
    pub client: ClientNo,
    /// Counts both kinds from 1; the nonce of the AEAD.
    pub counter: u32,
}

/// The two kinds of a receiver's datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedbackKind {
    /// NEED.
    Need,
    /// STATUS.
    Status,
}

impl BeaconHead {
    /// The head, and the sealed rest.
    ///
    /// # Errors
    /// If it is no BEACON or ends too early. Bytes that are 0 in this version are not looked at: the AEAD is over them.
    pub fn parse(datagram: &[u8]) -> Result<(Self, &[u8]), ParseError> {
        let mut reader = open(datagram, Kind::Beacon, "BEACON")?;
        let epoch = reader.u8()?;
        reader.u16()?;
        let tag = Tag(reader.array()?);
        let nonce = reader.array()?;
        Ok((Self { epoch, tag, nonce }, reader.bytes))
    }

    /// Appends it.
    pub fn emit(&self, bytes: &mut Vec<u8>) {
        bytes.extend([Kind::Beacon.first_byte(), self.epoch, 0, 0]);
        bytes.extend(self.tag.0);
        bytes.extend(self.nonce);
    }
}

impl SealHead {
    /// The head, and the sealed rest.
    ///
    /// # Errors
    /// If it is no SEAL or ends too early.
    pub fn parse(datagram: &[u8]) -> Result<(Self, &[u8]), ParseError> {
        let mut reader = open(datagram, Kind::Seal, "SEAL")?;
        let head = Self {
            epoch: reader.u8()?,
            count: reader.u16()?,
            tag: Tag(reader.array()?),
            first_seq: reader.u32()?,
            nonce: reader.array()?,
        };
        Ok((head, reader.bytes))
    }

    /// Appends it.
    pub fn emit(&self, bytes: &mut Vec<u8>) {
        bytes.extend([Kind::Seal.first_byte(), self.epoch]);
        bytes.extend(self.count.to_le_bytes());
        bytes.extend(self.tag.0);
        bytes.extend(self.first_seq.to_le_bytes());
        bytes.extend(self.nonce);
    }
}

impl FeedbackHead {
    /// The head, and the sealed rest.
    ///
    /// # Errors
    /// If it is neither NEED nor STATUS, or ends too early.
    pub fn parse(datagram: &[u8]) -> Result<(Self, &[u8]), ParseError> {
        let (kind, what) = match super::kind(datagram)? {
            Kind::Need => (FeedbackKind::Need, "NEED"),
            Kind::Status => (FeedbackKind::Status, "STATUS"),
            Kind::Data | Kind::Beacon | Kind::Seal => {
                return Err(ParseError::Code { what: "feedback" });
            }
        };
        let mut reader = Reader::new(datagram, what);
        reader.take(4)?;
        let head = Self {
            kind,
            tag: Tag(reader.array()?),
            client: ClientNo(reader.u32()?),
            counter: reader.u32()?,
        };
        Ok((head, reader.bytes))
    }

    /// Appends it.
    pub fn emit(&self, bytes: &mut Vec<u8>) {
        let kind = match self.kind {
            FeedbackKind::Need => Kind::Need,
            FeedbackKind::Status => Kind::Status,
        };
        bytes.extend([kind.first_byte(), 0, 0, 0]);
        bytes.extend(self.tag.0);
        bytes.extend(self.client.0.to_le_bytes());
        bytes.extend(self.counter.to_le_bytes());
    }
}

fn open<'a>(
    datagram: &'a [u8],
    expected: Kind,
    what: &'static str,
) -> Result<Reader<'a>, ParseError> {
    if super::kind(datagram)? != expected {
        return Err(ParseError::Code { what });
    }
    let mut reader = Reader::new(datagram, what);
    reader.take(1)?;
    Ok(reader)
}
