//! gzip (RFC 1952): any number of members, each with its CRC-32 and length verified.

use flate2::{Decompress, FlushDecompress, Status};

use crate::compression::ran::Ran;
use crate::error::ImageError;
use crate::geometry::Compression;

pub(crate) struct Gzip {
    state: State,
    inflate: Decompress,
    /// CRC-32 of the member's output so far, and its length.
    crc: crc32fast::Hasher,
    member_len: u64,
    /// CRC-32 of the member's header, for those that carry one.
    header_crc: crc32fast::Hasher,
    header_flags: u8,
    /// Compressed bytes taken.
    offset: u64,
    trailing_len: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Byte `at` of the fixed part of a member's header.
    Header {
        at: u8,
        is_first: bool,
    },
    ExtraLen {
        low: Option<u8>,
    },
    Extra {
        left: u16,
    },
    Text {
        flag: u8,
    },
    HeaderCrc {
        low: Option<u8>,
    },
    Body,
    Trailer {
        at: u8,
        bytes: [u8; 8],
    },
    /// What follows is not gzip.
    Trailing,
}

const FLAG_HEADER_CRC: u8 = 2;
const FLAG_EXTRA: u8 = 4;
const FLAG_NAME: u8 = 8;
const FLAG_COMMENT: u8 = 16;
const FLAGS_RESERVED: u8 = 0xE0;

impl Gzip {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Header {
                at: 0,
                is_first: true,
            },
            inflate: Decompress::new(false),
            crc: crc32fast::Hasher::new(),
            member_len: 0,
            header_crc: crc32fast::Hasher::new(),
            header_flags: 0,
            offset: 0,
            trailing_len: 0,
        }
    }

    pub(crate) fn run(&mut self, input: &[u8], output: &mut [u8]) -> Result<Ran, ImageError> {
        let mut ran = Ran::default();
        loop {
            let rest = input.get(ran.consumed..).unwrap_or_default();
            match self.state {
                State::Body => {
                    let room = output.get_mut(ran.produced..).unwrap_or_default();
                    let step = self.inflate(rest, room)?;
                    ran.consumed += step.consumed;
                    ran.produced += step.produced;
                    if self.state == State::Body {
                        return Ok(ran);
                    }
                }
                State::Trailing => {
                    self.trailing_len += rest.len() as u64;
                    ran.consumed += rest.len();
                    return Ok(ran);
                }
                _ => {
                    let Some(&byte) = rest.first() else {
                        return Ok(ran);
                    };
                    self.state = self.next_state(byte)?;
                    self.offset += 1;
                    ran.consumed += 1;
                }
            }
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        matches!(
            self.state,
            State::Trailing
                | State::Header {
                    at: 0 | 1,
                    is_first: false
                }
        )
    }

    pub(crate) fn trailing_len(&self) -> u64 {
        match self.state {
            // A byte that might have begun another member.
            State::Header {
                at: 1,
                is_first: false,
            } => 1,
            _ => self.trailing_len,
        }
    }

    fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> Result<Ran, ImageError> {
        let totals = |it: &Decompress| (it.total_in(), it.total_out());
        let before = totals(&self.inflate);
        let status = self
            .inflate
            .decompress(input, output, FlushDecompress::None)
            .map_err(|error| self.corrupt(format!("{error}")))?;
        let ran = Ran::between(before, totals(&self.inflate), input, output);
        let produced = output.get(..ran.produced).unwrap_or_default();
        self.crc.update(produced);
        self.member_len = self.member_len.wrapping_add(ran.produced as u64);
        self.offset += ran.consumed as u64;
        if status == Status::StreamEnd {
            self.state = State::Trailer {
                at: 0,
                bytes: [0; 8],
            };
        } else if ran.is_stuck(input, output) {
            return Err(self.corrupt("the decompressor makes no progress".to_owned()));
        }
        Ok(ran)
    }

    /// What comes after `byte`, which is outside the compressed data.
    fn next_state(&mut self, byte: u8) -> Result<State, ImageError> {
        if !matches!(self.state, State::Trailer { .. } | State::HeaderCrc { .. }) {
            self.header_crc.update(&[byte]);
        }
        Ok(match self.state {
            State::Header { at, is_first } => {
                let is_good = match at {
                    0 => byte == 0x1F,
                    1 => byte == 0x8B,
                    2 => byte == 8,
                    3 => byte & FLAGS_RESERVED == 0,
                    _ => true,
                };
                match (is_good, at) {
                    (false, 0 | 1) if !is_first => {
                        // The caller counts this byte; the one before is ours to count.
                        self.trailing_len = u64::from(at) + 1;
                        return Ok(State::Trailing);
                    }
                    (false, 0 | 1) => return Err(self.corrupt("not a gzip header".to_owned())),
                    (false, 2) => {
                        return Err(self.corrupt(format!("unknown compression method {byte}")));
                    }
                    (false, _) => return Err(self.corrupt(format!("unknown flags {byte:#04x}"))),
                    (true, 3) => self.header_flags = byte,
                    (true, _) => {}
                }
                if at < 9 {
                    State::Header {
                        at: at + 1,
                        is_first,
                    }
                } else {
                    self.after_fields(FLAG_EXTRA)
                }
            }
            State::ExtraLen { low: None } => State::ExtraLen { low: Some(byte) },
            State::ExtraLen { low: Some(low) } => match u16::from_le_bytes([low, byte]) {
                0 => self.after_fields(FLAG_NAME),
                left => State::Extra { left },
            },
            State::Extra { left: 1 } => self.after_fields(FLAG_NAME),
            State::Extra { left } => State::Extra { left: left - 1 },
            State::Text { flag } if byte != 0 => State::Text { flag },
            State::Text { flag: FLAG_NAME } => self.after_fields(FLAG_COMMENT),
            State::Text { .. } => self.after_fields(FLAG_HEADER_CRC),
            State::HeaderCrc { low: None } => State::HeaderCrc { low: Some(byte) },
            State::HeaderCrc { low: Some(low) } => {
                let stored = u16::from_le_bytes([low, byte]);
                let [a, b, ..] = self.header_crc.clone().finalize().to_le_bytes();
                if stored != u16::from_le_bytes([a, b]) {
                    return Err(self.corrupt("the header's checksum is wrong".to_owned()));
                }
                self.begin_body()
            }
            State::Trailer { at, mut bytes } => {
                if let Some(place) = bytes.get_mut(usize::from(at)) {
                    *place = byte;
                }
                if at < 7 {
                    State::Trailer { at: at + 1, bytes }
                } else {
                    self.end_member(bytes)?
                }
            }
            State::Body | State::Trailing => self.state,
        })
    }

    /// The state for the first optional field of the header from `flag` on, in the order in which
    /// they come: extra, name, comment, CRC.
    fn after_fields(&mut self, flag: u8) -> State {
        for (field, state) in [
            (FLAG_EXTRA, State::ExtraLen { low: None }),
            (FLAG_NAME, State::Text { flag: FLAG_NAME }),
            (FLAG_COMMENT, State::Text { flag: FLAG_COMMENT }),
            (FLAG_HEADER_CRC, State::HeaderCrc { low: None }),
        ]
        .into_iter()
        .skip_while(|(field, _)| *field != flag)
        {
            if self.header_flags & field != 0 {
                return state;
            }
        }
        self.begin_body()
    }

    fn begin_body(&mut self) -> State {
        self.inflate.reset(false);
        self.crc = crc32fast::Hasher::new();
        self.member_len = 0;
        State::Body
    }

    fn end_member(&mut self, trailer: [u8; 8]) -> Result<State, ImageError> {
        let [a, b, c, d, e, f, g, h] = trailer;
        let stored = u32::from_le_bytes([a, b, c, d]);
        let computed = self.crc.clone().finalize();
        if stored != computed {
            return Err(self.corrupt(format!(
                "wrong checksum: stored {stored:#010x}, computed {computed:#010x}"
            )));
        }
        let stored = u32::from_le_bytes([e, f, g, h]);
        if u64::from(stored) != self.member_len & 0xFFFF_FFFF {
            return Err(self.corrupt(format!(
                "wrong length: stored {stored}, decoded {} (modulo 2^32)",
                self.member_len
            )));
        }
        self.header_crc = crc32fast::Hasher::new();
        Ok(State::Header {
            at: 0,
            is_first: false,
        })
    }

    fn corrupt(&self, detail: String) -> ImageError {
        ImageError::Corrupt {
            compression: Compression::Gzip,
            offset: self.offset,
            detail,
        }
    }
}
