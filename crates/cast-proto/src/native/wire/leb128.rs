//! Numbers of variable length: seven bits a byte, lowest first.

use super::ParseError;

/// Appends `value`, in as few bytes as possible.
pub fn write_leb128(mut value: u64, bytes: &mut Vec<u8>) {
    loop {
        let low = value.to_le_bytes()[0] & 0x7f;
        value >>= 7;
        if value == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

/// The number at the front, and the bytes after it. Needless zeros at its end are accepted, up to the ten bytes of
/// the longest number.
///
/// # Errors
/// If the bytes end within the number, or it exceeds 64 bits.
pub fn read_leb128(bytes: &[u8]) -> Result<(u64, &[u8]), ParseError> {
    let mut value = 0_u64;
    let mut rest = bytes;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest
            .split_first()
            .ok_or(ParseError::Length { what: "LEB128" })?;
        rest = after;
        let bits = u64::from(byte & 0x7f);
        if bits << shift >> shift != bits {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok((value, rest));
        }
    }
    Err(ParseError::Bounds { what: "LEB128" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_numbers_have_known_bytes() {
        let cases: [(u64, &[u8]); 5] = [
            (0, &[0]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (624_485, &[0xe5, 0x8e, 0x26]),
            (
                u64::MAX,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            ),
        ];
        for (value, expected) in cases {
            let mut bytes = Vec::new();
            write_leb128(value, &mut bytes);
            assert_eq!(bytes, expected);
        }
    }

    #[test]
    fn numbers_that_are_too_long_are_refused() {
        let mut bytes = [0xff; 11];
        assert!(read_leb128(&bytes).is_err());
        bytes[9] = 2;
        assert!(read_leb128(&bytes).is_err());
        assert!(read_leb128(&[0x80]).is_err());
        assert!(read_leb128(&[]).is_err());
    }

    proptest! {
        #[test]
        fn numbers_come_back(value in any::<u64>(), shift in 0u32..64, tail in any::<[u8; 3]>()) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            write_leb128(value, &mut bytes);
            bytes.extend(tail);
            prop_assert_eq!(read_leb128(&bytes), Ok((value, &tail[..])));
        }
    }
}
