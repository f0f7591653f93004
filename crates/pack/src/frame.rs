//! Frames: one zstd frame each, and the only form of it that is taken (3.4).

use std::io;

use zstd::zstd_safe;

use crate::CHUNK_RAW;

/// Makes frames.
pub(crate) struct Packer(zstd::bulk::Compressor<'static>);

impl Packer {
    pub(crate) fn new(level: i32) -> io::Result<Self> {
        zstd::bulk::Compressor::new(level).map(Self)
    }

    /// One frame with its content's size, without dictionary and checksum; the window is no larger than the content.
    pub(crate) fn pack(&mut self, raw: &[u8]) -> io::Result<Vec<u8>> {
        self.0.compress(raw)
    }
}

/// Unpacks frames.
#[derive(Default)]
pub(crate) struct Unpacker(zstd_safe::DCtx<'static>);

impl Unpacker {
    /// Unpacks a frame that has exactly `len` bytes into `out`, whatever was there.
    ///
    /// # Errors
    /// It is damaged, or in a form that no writer of frames uses.
    pub(crate) fn unpack(
        &mut self,
        frame: &[u8],
        len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), &'static str> {
        check_form(frame, len)?;
        out.clear();
        out.reserve_exact(len);
        match self.0.decompress(out, frame) {
            Ok(made) if made == len => Ok(()),
            Ok(_) => Err("it ends too early"),
            Err(code) => Err(zstd_safe::get_error_name(code)),
        }
    }
}

fn check_form(frame: &[u8], len: usize) -> Result<(), &'static str> {
    let malformed = "it is no zstd frame";
    let header = Header::parse(frame).ok_or(malformed)?;
    if header.has_dictionary {
        return Err("it needs a dictionary");
    }
    if header.content_len != Some(len as u64) {
        return Err("it says another length of its content");
    }
    if header.window > u64::from(CHUNK_RAW).max(len as u64) {
        return Err("its window is too large");
    }
    match zstd_safe::find_frame_compressed_size(frame) {
        Ok(size) if size == frame.len() => Ok(()),
        Ok(_) => Err("there is more behind it"),
        Err(_) => Err(malformed),
    }
}

/// What the header of a frame says (RFC 8878, 3.1.1.1).
struct Header {
    content_len: Option<u64>,
    window: u64,
    has_dictionary: bool,
}

impl Header {
    fn parse(frame: &[u8]) -> Option<Self> {
        let rest = frame.strip_prefix(&[0x28, 0xb5, 0x2f, 0xfd])?;
        let (descriptor, mut rest) = rest.split_first()?;
        let is_single = descriptor & 0x20 != 0;
        let mut window = None;
        if !is_single {
            let (octet, behind) = rest.split_first()?;
            rest = behind;
            let base = 1_u64 << (10 + (octet >> 3));
            window = Some(base + base / 8 * u64::from(octet & 7));
        }
        let dictionary_len = [0, 1, 2, 4].get(usize::from(descriptor & 3))?;
        rest = rest.get(*dictionary_len..)?;
        let content_len = match (descriptor >> 6, is_single) {
            (0, false) => None,
            (0, true) => Some(u64::from(*rest.first()?)),
            (1, _) => Some(u64::from(u16::from_le_bytes(*rest.first_chunk()?)) + 256),
            (2, _) => Some(u32::from_le_bytes(*rest.first_chunk()?).into()),
            _ => Some(u64::from_le_bytes(*rest.first_chunk()?)),
        };
        Some(Self {
            content_len,
            window: window.or(content_len)?,
            has_dictionary: *dictionary_len != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;

    fn packed(raw: &[u8]) -> Vec<u8> {
        Packer::new(3).unwrap().pack(raw).unwrap()
    }

    fn unpack(frame: &[u8], len: usize) -> Result<Vec<u8>, &'static str> {
        let mut out = vec![1, 2, 3];
        Unpacker::default().unpack(frame, len, &mut out)?;
        Ok(out)
    }

    #[test]
    fn frames_come_back() {
        for len in [0, 1, 255, 256, 70_000, 1 << 20] {
            let raw = noise(len, 1);
            assert_eq!(unpack(&packed(&raw), len), Ok(raw));
        }
    }

    /// 3.4: one frame, content size, no dictionary, window of at most 8 MiB.
    #[test]
    fn frames_have_the_form_of_the_specification() {
        for level in [-5, 1, 3, 9, 19] {
            let raw = vec![7; CHUNK_RAW as usize];
            let frame = Packer::new(level).unwrap().pack(&raw).unwrap();
            let header = Header::parse(&frame).unwrap();
            assert_eq!(header.content_len, Some(raw.len() as u64));
            assert!(header.window <= u64::from(CHUNK_RAW) && !header.has_dictionary);
            assert_eq!(check_form(&frame, raw.len()), Ok(()));
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let raw = noise(1000, 1);
        let frame = packed(&raw);
        assert!(unpack(&frame, 999).unwrap_err().contains("another length"));
        let twice = [frame.as_slice(), &frame].concat();
        assert_eq!(unpack(&twice, 1000), Err("there is more behind it"));
        for len in 0..frame.len() {
            unpack(&frame[..len], 1000).unwrap_err();
        }
        let mut stream = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
        io::copy(&mut raw.as_slice(), &mut stream).unwrap();
        let unsized_frame = stream.finish().unwrap();
        assert!(
            unpack(&unsized_frame, 1000)
                .unwrap_err()
                .contains("another length")
        );
        let mut dictionary = zstd::bulk::Compressor::with_dictionary(3, &raw).unwrap();
        let frame = dictionary.compress(&raw).unwrap();
        // A dictionary without a number shows in what comes out.
        assert!(unpack(&frame, 1000) != Ok(raw));
        let with_number = [&[0x28, 0xb5, 0x2f, 0xfd, 0x21, 9, 1][..], &frame].concat();
        assert_eq!(unpack(&with_number, 1), Err("it needs a dictionary"));
        // A window of 16 MiB, content of 256 bytes.
        let large = [0x28, 0xb5, 0x2f, 0xfd, 0x40, 14 << 3, 0, 0, 1, 0, 0];
        assert_eq!(unpack(&large, 256), Err("its window is too large"));
    }
}
