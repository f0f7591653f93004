//! Settings of packs, the form in which the native protocol sends images.

use std::path::PathBuf;

use anyhow::Context as _;
use pack::Store;

use super::Places;
use crate::imagestore;

/// When packs are made, and how.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Packs")]
pub(super) struct PackArgs {
    /// Make a pack of every image that is added or updated, while it is read. It takes about the room of the image once
    /// more, and a minute of a processor for 8 GB of data
    #[arg(long, global = true)]
    pub(super) packs: bool,
    /// Most bytes of all packs together; K, M, G and T may follow (1000, ...). The packs used longest ago give way
    /// [default: half of what is free without them]
    #[arg(long, global = true, value_name = "BYTES", value_parser = bytes)]
    pub(super) pack_quota: Option<u64>,
    /// Level of compression of packs, 1 to 19: higher is smaller and takes longer to make, not to deploy
    #[arg(long, global = true, value_name = "LEVEL", default_value_t = pack::LEVEL, value_parser = level)]
    pub(super) pack_level: i32,
}

impl Places {
    /// The packs of this server, whose directory is made where it is missing.
    pub(super) fn packs(&self) -> anyhow::Result<Store> {
        let directory = self.packs_dir();
        Store::open(&directory).context("the directory of packs")
    }

    pub(super) fn packs_dir(&self) -> PathBuf {
        imagestore::packs_dir(&self.data)
    }
}

/// A level of compression.
pub(super) fn level(text: &str) -> Result<i32, String> {
    let level = text.parse().ok().filter(|level| (1..=19).contains(level));
    level.ok_or_else(|| "expected a level, 1 to 19".to_owned())
}

fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text.get(digits.len()..) {
        Some("") => 1,
        Some("K") => 1000,
        Some("M") => 1_000_000,
        Some("G") => 1_000_000_000,
        Some("T") => 1_000_000_000_000,
        _ => 0,
    };
    let number = digits.parse::<u64>().ok().filter(|_| unit > 0);
    let bytes = number.and_then(|number| number.checked_mul(unit));
    bytes.ok_or_else(|| "expected bytes, for example 500G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_decimal_units() {
        assert_eq!(bytes("0"), Ok(0));
        assert_eq!(bytes("12"), Ok(12));
        assert_eq!(bytes("500G"), Ok(500_000_000_000));
        for text in ["", "G", "1Gi", "-1", "1.5G", "99999999T", "1 G"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert_eq!((level("3"), level("20").is_err()), (Ok(3), true));
    }
}
