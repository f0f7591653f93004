//! Numbers as udpcast reads and prints them.

use std::net::Ipv4Addr;

use cast_net::udpcast::fec::FecParams;

/// A decimal number, or a hexadecimal one behind `0x`.
pub(crate) fn number<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => radix(digits, 16),
        None => radix(text, 10),
    };
    let number = number.ok_or_else(|| format!("\"{text}\" is no number"))?;
    T::try_from(number).map_err(|_| format!("{text} is too large"))
}

/// A number as C writes it: a leading `0` makes it octal, `0x` hexadecimal.
pub(crate) fn c_number<T: TryFrom<u64>>(text: &str) -> Result<T, String> {
    match text.strip_prefix('0') {
        Some(digits) if radix(digits, 8).is_some() => {
            let number = radix(digits, 8).unwrap_or(0);
            T::try_from(number).map_err(|_| format!("{text} is too large"))
        }
        _ => number(text),
    }
}

/// The port of the receivers; the next one is the sender's.
pub(crate) fn port(text: &str) -> Result<u16, String> {
    match number(text)? {
        0 | u16::MAX => Err("the port base is within 1 and 65534".into()),
        port => Ok(port),
    }
}

/// An address in any of the forms of the C library: up to four numbers, each as C writes it, the last
/// one filling the octets that are left (`10.1` is 10.0.0.1).
pub(crate) fn address(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u64> = text
        .split('.')
        .map(|part| c_number(part).ok())
        .collect::<Option<_>>()?;
    let (last, front) = parts.split_last()?;
    if front.len() > 3 || front.iter().any(|octet| *octet > 255) {
        return None;
    }
    let left = 8 * (4 - front.len());
    if *last >> left != 0 {
        return None;
    }
    let front = front
        .iter()
        .zip([24, 16, 8])
        .fold(0, |sum, (octet, shift)| sum | octet << shift);
    u32::try_from(front | *last).ok().map(Ipv4Addr::from)
}

/// `STRIPESxREDUNDANCY/STRIPESIZE`; stripes (8) and stripe size (128) may be left out with their sign.
pub(crate) fn fec(text: &str) -> Result<FecParams, String> {
    let (shape, size) = match text.split_once('/') {
        Some((shape, size)) => (shape, number::<u16>(size)?.min(128)),
        None => (text, 128),
    };
    let (stripes, redundancy) = match shape.split_once('x') {
        Some((stripes, redundancy)) => (number(stripes)?, number(redundancy)?),
        None => (8, number(shape)?),
    };
    FecParams::new(stripes, redundancy, size).ok_or_else(|| {
        "1 to 256 stripes, 1 to 128 repair blocks each but 1024 together, 1 to 128 data blocks each"
            .into()
    })
}

fn radix(digits: &str, radix: u32) -> Option<u64> {
    // A sign is for the library, but not for us.
    let is_plain = digits.chars().all(|digit| digit.is_digit(radix));
    is_plain
        .then(|| u64::from_str_radix(digits, radix).ok())
        .flatten()
}

/// A rate in bit/s: `k`, `m` and `g` are powers of 1000.
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    match scaled(text, 1000)? {
        0 => Err("the rate must be greater than 0".into()),
        rate => Ok(rate),
    }
}

/// A size in bytes: `k`, `m` and `g` are powers of 1024.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    usize::try_from(scaled(text, 1024)?).map_err(|_| format!("{text} is too large"))
}

fn scaled(text: &str, unit: u64) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let power = match text.get(digits.len()..).unwrap_or_default() {
        "" => 0,
        "k" | "K" => 1,
        "m" | "M" => 2,
        "g" | "G" => 3,
        other => return Err(format!("\"{other}\" is no unit; there are k, m and g")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("\"{text}\" is no number"))?;
    number
        .checked_mul(unit.pow(power))
        .ok_or_else(|| format!("{text} is too large"))
}

/// A rate for people.
pub(crate) fn megabytes(bytes_per_second: u64) -> String {
    let tenths = bytes_per_second / 100_000;
    format!("{}.{} MB/s", tenths / 10, tenths % 10)
}

/// The way udpcast's progress lines show a count: three groups of three digits and a suffix, always
/// of the same width.
pub(crate) fn grouped(count: u64) -> String {
    let (number, suffix) = match count {
        0..1_000_000_000 => (count, ' '),
        1_000_000_000..=1_000_000_000_000 => (count / 1024, 'K'),
        _ => (count / 1_048_576, 'M'),
    };
    let mut text = String::new();
    let mut has_begun = false;
    for divisor in [1_000_000, 1_000, 1] {
        let group = number / divisor % 1_000;
        let rest = number / divisor;
        text += &if has_begun {
            format!("{group:03}")
        } else if rest == 0 {
            "    ".to_owned()
        } else {
            // The first group takes what three digits do not hold, too.
            format!("{rest:3}")
        };
        has_begun |= rest > 0;
        text.push(if divisor == 1 { suffix } else { ' ' });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_look_as_in_udpcast() {
        assert_eq!(grouped(0), " ".repeat(15));
        assert_eq!(grouped(632), format!("{}632 ", " ".repeat(10)));
        assert_eq!(grouped(5_000), format!("{}  5 000 ", " ".repeat(5)));
        assert_eq!(grouped(12_000_000), " 12 000 000 ");
        assert_eq!(grouped(300_000), format!("{}300 000 ", " ".repeat(5)));
        assert_eq!(grouped(2_048_000_000), "  2 000 000K");
    }

    #[test]
    fn rates_and_sizes_take_suffixes_of_their_own() {
        assert_eq!(rate("20m"), Ok(20_000_000));
        assert_eq!(rate("3G"), Ok(3_000_000_000));
        assert_eq!(rate("512"), Ok(512));
        assert_eq!(size("64k"), Ok(65_536));
        for wrong in ["", "m", "12q", "0", "-1", "99999999999g", "1.5m"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal_and_never_guessed() {
        assert_eq!(number("010"), Ok(10_u16));
        assert_eq!(number("0x1F"), Ok(31_u16));
        assert_eq!(c_number("010"), Ok(8_u16));
        assert_eq!(c_number("0"), Ok(0_u16));
        assert_eq!(c_number("1456"), Ok(1456_u16));
        for wrong in ["", "x", "10s", "-1", "+1", "0x", "65536"] {
            assert!(number::<u16>(wrong).is_err(), "{wrong}");
        }
        assert!(port("0").is_err() && port("65535").is_err());
        assert_eq!(port("65534"), Ok(65_534));
    }

    #[test]
    fn addresses_take_the_forms_of_the_c_library() {
        for (text, octets) in [
            ("10.99.0.1", [10, 99, 0, 1]),
            ("1.2.3", [1, 2, 0, 3]),
            ("10.1", [10, 0, 0, 1]),
            ("0x0a000001", [10, 0, 0, 1]),
            ("010.0.0.1", [8, 0, 0, 1]),
            ("1.65535", [1, 0, 255, 255]),
        ] {
            assert_eq!(address(text), Some(octets.into()), "{text}");
        }
        for wrong in [
            "",
            "host",
            "1.2.3.4.5",
            "256.0.0.1",
            "1.2.3.256",
            "1..2",
            "1.2.3.4 ",
        ] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn fec_has_four_forms() {
        for (text, shape) in [
            ("8x2/64", (8, 2, 512)),
            ("4x3", (4, 3, 512)),
            ("2/16", (8, 2, 128)),
            ("1", (8, 1, 1024)),
            ("16x1/128", (16, 1, 1024)),
            ("2x1/200", (2, 1, 256)),
        ] {
            let fec = fec(text).unwrap();
            assert_eq!(
                (fec.stripes(), fec.redundancy(), fec.slice_size()),
                shape,
                "{text}"
            );
        }
        for wrong in ["", "x", "0", "8x", "8x2/", "8x2/0", "257x1", "8x129", "8y2"] {
            assert!(fec(wrong).is_err(), "{wrong}");
        }
    }
}
