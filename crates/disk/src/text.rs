//! How quantities are shown to people.

use std::fmt;

/// A number of bytes, shown in decimal units as disk vendors count them and exactly behind it.
///
/// The exact figure is there because sizes that differ by a few sectors are what goes wrong when an
/// image meets another disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
        if self.0 < 1000 {
            return write!(f, "{} bytes", self.0);
        }
        let mut divisor: u64 = 1000;
        let mut unit = 0;
        while unit + 1 < UNITS.len() && self.0 / divisor >= 1000 {
            divisor *= 1000;
            unit += 1;
        }
        let tenths = (self.0 % divisor) / (divisor / 10);
        let whole = self.0 / divisor;
        write!(f, "{whole}.{tenths} {} ({} bytes)", UNITS[unit], self.0)
    }
}

/// A number of bytes in binary units with one decimal, as disks and memory are shown on a screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut unit = 1;
        let mut divisor: u64 = 1024;
        while unit < UNITS.len() && self.0 / divisor >= 1024 {
            divisor *= 1024;
            unit += 1;
        }
        // Tenths, rounded, so that no floating point is needed.
        let tenths = (u128::from(self.0) * 10 + u128::from(divisor / 2)) / u128::from(divisor);
        write!(f, "{}.{} {}", tenths / 10, tenths % 10, UNITS[unit - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_sizes_have_one_decimal() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1 << 20, "1.0 MiB"),
            ((2 << 30) + (400 << 20), "2.4 GiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    #[test]
    fn sizes_are_readable_and_exact() {
        assert_eq!(Bytes(512).to_string(), "512 bytes");
        assert_eq!(Bytes(1000).to_string(), "1.0 kB (1000 bytes)");
        assert_eq!(
            Bytes(64_023_257_088).to_string(),
            "64.0 GB (64023257088 bytes)"
        );
        assert_eq!(
            Bytes(u64::MAX).to_string(),
            "18.4 EB (18446744073709551615 bytes)"
        );
    }
}
