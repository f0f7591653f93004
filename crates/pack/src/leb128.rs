//! Unsigned LEB128: seven bits an octet, the lowest first.

/// Appends a number.
pub(crate) fn put(mut number: u64, out: &mut Vec<u8>) {
    loop {
        let octet = number.to_le_bytes()[0] & 0x7f;
        number >>= 7;
        if number == 0 {
            return out.push(octet);
        }
        out.push(octet | 0x80);
    }
}

/// Takes a number from the front of `bytes`. `None` if it is cut off, does not fit in 64 bits, or has a shorter form:
/// what is signed has one form only.
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (octet, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(octet & 0x7f);
        if bits << shift >> shift != bits {
            return None;
        }
        number |= bits << shift;
        if octet & 0x80 == 0 {
            return (*octet != 0 || shift == 0).then_some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_octets_are_those_of_the_standard() {
        for (number, octets) in [
            (0, &[0][..]),
            (127, &[0x7f]),
            (128, &[0x80, 1]),
            (624_485, &[0xe5, 0x8e, 0x26]),
            (u64::MAX, &[255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
        ] {
            let mut out = Vec::new();
            put(number, &mut out);
            assert_eq!(out, octets, "{number}");
        }
    }

    #[test]
    fn what_is_cut_long_or_too_large_is_refused() {
        for mut octets in [
            &[][..],
            &[0x80],
            &[0x80, 0],
            &[0xff, 0x80, 0],
            &[255, 255, 255, 255, 255, 255, 255, 255, 255, 2],
            &[255; 11],
        ] {
            assert_eq!(take(&mut octets), None);
        }
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(numbers: Vec<u64>) {
            let mut out = Vec::new();
            numbers.iter().for_each(|number| put(*number, &mut out));
            let mut rest = out.as_slice();
            for number in numbers {
                prop_assert_eq!(take(&mut rest), Some(number));
            }
            prop_assert!(rest.is_empty());
        }
    }
}
