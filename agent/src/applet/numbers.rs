//! Numbers as udpcast reads and prints them.

/// A rate in bit/s: `k`, `m` and `g` are powers of 1000.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    match scaled(text, 1000)? {
        0 => Err("the rate must be greater than 0".into()),
        rate => Ok(rate),
    }
}

/// A size in bytes: `k`, `m` and `g` are powers of 1024.
pub(super) fn size(text: &str) -> Result<usize, String> {
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

/// The way udpcast's progress lines show a count: three groups of three digits and a suffix, always
/// of the same width.
pub(super) fn grouped(count: u64) -> String {
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
}
