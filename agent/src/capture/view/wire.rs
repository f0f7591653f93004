//! What the kernel's FUSE says and is answered (kernel `include/uapi/linux/fuse.h`, protocol 7.31), as far as a file
//! system of one file needs it. Numbers have the byte order of the machine.

/// Of the directory, and of the file in it.
pub(super) const ROOT: u64 = 1;
pub(super) const FILE: u64 = 2;

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request<'a> {
    pub(super) unique: u64,
    pub(super) node: u64,
    pub(super) operation: Operation<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation<'a> {
    Init {
        flags: u32,
        readahead: u32,
    },
    Lookup(&'a [u8]),
    GetAttributes,
    /// `size`: what the file shall have, if that is to be changed.
    SetAttributes {
        size: Option<u64>,
    },
    Open,
    OpenDirectory,
    Read {
        offset: u64,
        len: u32,
    },
    Write {
        offset: u64,
        data: &'a [u8],
    },
    ReadDirectory,
    Statistics,
    /// Nothing to do, and that went well.
    Nothing,
    /// Nobody waits for an answer.
    Unanswered,
    Unknown,
}

/// `None`: that is no request.
pub(super) fn parse(bytes: &[u8]) -> Option<Request<'_>> {
    let (head, body) = bytes.split_at_checked(HEAD_LEN)?;
    let len = usize::try_from(u32_at(head, 0)?).ok()?;
    let body = body.get(..len.checked_sub(HEAD_LEN)?)?;
    let operation = match u32_at(head, 4)? {
        1 => Operation::Lookup(body.split(|octet| *octet == 0).next()?),
        // FORGET, INTERRUPT, BATCH_FORGET
        2 | 36 | 42 => Operation::Unanswered,
        3 => Operation::GetAttributes,
        4 => Operation::SetAttributes {
            // FATTR_SIZE
            size: (u32_at(body, 0)? & 8 != 0).then_some(u64_at(body, 16)?),
        },
        14 => Operation::Open,
        15 => Operation::Read {
            offset: u64_at(body, 8)?,
            len: u32_at(body, 16)?,
        },
        16 => Operation::Write {
            offset: u64_at(body, 8)?,
            data: {
                let len = usize::try_from(u32_at(body, 16)?).ok()?;
                body.get(40..)?.get(..len)?
            },
        },
        17 => Operation::Statistics,
        // RELEASE, FSYNC, FLUSH, RELEASEDIR, FSYNCDIR, ACCESS, DESTROY
        18 | 20 | 25 | 29 | 30 | 34 | 38 => Operation::Nothing,
        26 => Operation::Init {
            readahead: u32_at(body, 8)?,
            flags: u32_at(body, 12)?,
        },
        27 => Operation::OpenDirectory,
        28 => Operation::ReadDirectory,
        _ => Operation::Unknown,
    };
    Some(Request {
        unique: u64_at(head, 8)?,
        node: u64_at(head, 16)?,
        operation,
    })
}

/// Attributes of the directory or the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) node: u64,
    pub(super) size: u64,
    pub(super) is_writable: bool,
}

impl Attributes {
    fn emit(&self, out: &mut Vec<u8>) {
        let (mode, links) = match (self.node, self.is_writable) {
            (ROOT, _) => (0o040_500_u32, 2_u32),
            (_, true) => (0o100_600, 1),
            (_, false) => (0o100_400, 1),
        };
        for number in [self.node, self.size, self.size.div_ceil(512), 0, 0, 0] {
            out.extend(number.to_ne_bytes());
        }
        // Three times in nanoseconds, mode, links, owner, group, device, block size, flags.
        for number in [0, 0, 0, mode, links, 0, 0, 0, 4096, 0] {
            out.extend(number.to_ne_bytes());
        }
    }
}

/// The answer that a request has failed.
pub(super) fn error(unique: u64, errno: i32) -> Vec<u8> {
    answer(unique, -errno, &[])
}

/// The answer that there is nothing to say.
pub(super) fn done(unique: u64) -> Vec<u8> {
    answer(unique, 0, &[])
}

/// To [`Operation::Init`].
pub(super) fn init(unique: u64, flags: u32, readahead: u32) -> Vec<u8> {
    let mut body = Vec::with_capacity(64);
    for number in [7, 31, readahead, flags & FLAGS] {
        body.extend(number.to_ne_bytes());
    }
    // Requests that may wait, and from when on there are many; the longest write; times; pages of a request.
    body.extend(12_u16.to_ne_bytes());
    body.extend(9_u16.to_ne_bytes());
    body.extend(WRITE_MAX.to_ne_bytes());
    body.extend(1_u32.to_ne_bytes());
    body.extend(PAGES_MAX.to_ne_bytes());
    body.resize(64, 0);
    answer(unique, 0, &body)
}

/// To [`Operation::Lookup`].
pub(super) fn entry(unique: u64, attributes: &Attributes) -> Vec<u8> {
    let mut body = Vec::with_capacity(128);
    for number in [attributes.node, 0, KEPT, KEPT, 0] {
        body.extend(number.to_ne_bytes());
    }
    attributes.emit(&mut body);
    answer(unique, 0, &body)
}

/// To [`Operation::GetAttributes`].
pub(super) fn attributes(unique: u64, attributes: &Attributes) -> Vec<u8> {
    let mut body = Vec::with_capacity(104);
    for number in [KEPT, 0] {
        body.extend(number.to_ne_bytes());
    }
    attributes.emit(&mut body);
    answer(unique, 0, &body)
}

/// To [`Operation::Open`]. `is_direct`: every read comes here, and none that nobody asked for.
pub(super) fn opened(unique: u64, is_direct: bool) -> Vec<u8> {
    let flags = if is_direct { OPEN_DIRECT } else { OPEN_KEEPS };
    let mut body = 0_u64.to_ne_bytes().to_vec();
    body.extend(flags.to_ne_bytes());
    body.extend([0; 4]);
    answer(unique, 0, &body)
}

/// To [`Operation::Write`].
pub(super) fn written(unique: u64, len: usize) -> Vec<u8> {
    let mut body = u32::try_from(len)
        .unwrap_or(u32::MAX)
        .to_ne_bytes()
        .to_vec();
    body.extend([0; 4]);
    answer(unique, 0, &body)
}

/// To [`Operation::Statistics`]: an empty file system.
pub(super) fn statistics(unique: u64) -> Vec<u8> {
    let mut body = vec![0; 80];
    let fields = [(40, 4096_u32), (44, 255), (48, 4096)];
    for (at, number) in fields {
        let to: &mut [u8] = &mut body[at..at + 4];
        to.copy_from_slice(&number.to_ne_bytes());
    }
    answer(unique, 0, &body)
}

/// The head of an answer with `len` bytes behind it.
pub(super) fn head(unique: u64, error: i32, len: usize) -> [u8; ANSWER_HEAD_LEN] {
    let mut head = [0; ANSWER_HEAD_LEN];
    let all = u32::try_from(ANSWER_HEAD_LEN + len).unwrap_or(u32::MAX);
    head[..4].copy_from_slice(&all.to_ne_bytes());
    head[4..8].copy_from_slice(&error.to_ne_bytes());
    head[8..].copy_from_slice(&unique.to_ne_bytes());
    head
}

fn answer(unique: u64, error: i32, body: &[u8]) -> Vec<u8> {
    let mut bytes = head(unique, error, body.len()).to_vec();
    bytes.extend_from_slice(body);
    bytes
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let octets = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*octets))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let octets = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*octets))
}

const HEAD_LEN: usize = 40;
pub(super) const ANSWER_HEAD_LEN: usize = 16;
/// Reads need not wait for each other; writes of more than a page; requests of more than 32 pages.
const FLAGS: u32 = 1 | 1 << 5 | 1 << 22;
/// Longest write in bytes.
pub(super) const WRITE_MAX: u32 = 1 << 20;
const PAGES_MAX: u16 = 256;
/// For how long the kernel need not ask again, in seconds: nothing changes but through it.
const KEPT: u64 = 3600;
const OPEN_DIRECT: u32 = 1;
/// What the kernel has read stays when the file is opened again.
const OPEN_KEEPS: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(code: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(HEAD_LEN + body.len())
            .unwrap()
            .to_ne_bytes()
            .to_vec();
        bytes.extend(code.to_ne_bytes());
        bytes.extend(77_u64.to_ne_bytes());
        bytes.extend(FILE.to_ne_bytes());
        bytes.resize(HEAD_LEN, 0);
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn requests_are_understood_and_cut_ones_are_none() {
        let read = [
            &[0; 8][..],
            &4096_u64.to_ne_bytes(),
            &512_u32.to_ne_bytes(),
            &[0; 20],
        ]
        .concat();
        let write = [
            &[0; 8][..],
            &4096_u64.to_ne_bytes(),
            &3_u32.to_ne_bytes(),
            &[0; 20],
            b"abc",
        ]
        .concat();
        for (code, body, expected) in [
            (1, &b"partition\0"[..], Operation::Lookup(b"partition")),
            (
                15,
                &read,
                Operation::Read {
                    offset: 4096,
                    len: 512,
                },
            ),
            (
                16,
                &write,
                Operation::Write {
                    offset: 4096,
                    data: b"abc",
                },
            ),
            (3, &[0; 16], Operation::GetAttributes),
            (42, &[0; 8], Operation::Unanswered),
            (99, &[], Operation::Unknown),
        ] {
            let bytes = request(code, body);
            let found = parse(&bytes).unwrap();
            assert_eq!((found.unique, found.node), (77, FILE));
            assert_eq!(found.operation, expected);
            for len in 0..bytes.len() {
                assert_eq!(parse(&bytes[..len]), None, "{code} {len}");
            }
        }
    }

    #[test]
    fn answers_have_the_lengths_that_the_kernel_expects() {
        let file = Attributes {
            node: FILE,
            size: 5,
            is_writable: false,
        };
        for (answer, len) in [
            (init(1, u32::MAX, 4096), 64),
            (entry(1, &file), 128),
            (attributes(1, &file), 104),
            (opened(1, true), 16),
            (written(1, 9), 8),
            (statistics(1), 80),
            (done(1), 0),
            (error(1, 5), 0),
        ] {
            assert_eq!(answer.len(), ANSWER_HEAD_LEN + len);
            assert_eq!(u32_at(&answer, 0), u32::try_from(answer.len()).ok());
            assert_eq!(u64_at(&answer, 8), Some(1));
        }
        assert_eq!(error(1, 5)[4..8], (-5_i32).to_ne_bytes());
    }
}
