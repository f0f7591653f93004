//! Rates: kB/s of the cable and of frame bytes.

use std::time::Duration;

use super::geometry::{DATA_ON_CABLE, SYMBOL};

/// Frame bytes per second in kB/s that a rate of the cable in kB/s carries.
pub(crate) fn frame_rate(cable: u32) -> u32 {
    scale(cable, SYMBOL as u64, DATA_ON_CABLE)
}

/// The rate of the cable in kB/s that carries so many kB/s of frame bytes.
pub(crate) fn cable_rate(frame: u32) -> u32 {
    scale(frame, DATA_ON_CABLE, SYMBOL as u64)
}

fn scale(rate: u32, by: u64, of: u64) -> u32 {
    u32::try_from(u64::from(rate) * by / of).unwrap_or(u32::MAX)
}

/// Rounded toward 0, within the range of a `u16`.
pub(crate) fn round_u16(value: f64) -> u16 {
    round_u32(value.min(65_535.0))
        .try_into()
        .unwrap_or(u16::MAX)
}

/// Rounded toward 0, within the range of a `u32`; 0 for what is no number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked, and a fraction is meant to go"
)]
pub(crate) fn round_u32(value: f64) -> u32 {
    if value.is_nan() {
        return 0;
    }
    value.clamp(0.0, f64::from(u32::MAX)) as u32
}

/// Whole milliseconds, at most those that a `u32` has: 49 days.
pub(crate) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gigabit_carries_116_6_mb_of_frame_bytes() {
        // 5.2
        assert_eq!(frame_rate(125_000), 116_556);
        assert_eq!(cable_rate(116_556), 124_999);
        assert_eq!(round_u16(1e9), u16::MAX);
        assert_eq!(round_u16(-1.0), 0);
        assert_eq!(round_u32(f64::NAN), 0);
        assert_eq!(round_u32(2.9), 2);
    }
}
