//! How much memory the decoders of a deploy may take.

use anyhow::Context as _;
use fos_api::{ImageFormat, Manifest, StreamFacts};
use readable::Size;

use super::streams;

/// The largest decompression window that the memory allows, as a power of two.
pub(super) fn memory_for_windows(manifest: &Manifest) -> anyhow::Result<u32> {
    let info = std::fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    window_log(&info, decoder_memory(manifest))
}

/// Most bytes that the decoder of a stream takes beside its window: the bitmap, and what it must see
/// together.
fn decoder_memory(manifest: &Manifest) -> u64 {
    let memory = |stream: &StreamFacts| {
        let facts = &stream.image;
        let together = match facts.format {
            ImageFormat::Raw => 0,
            // A block of any size, with its checksum.
            ImageFormat::Partclone0001 => u64::from(facts.block_size).saturating_add(16),
            _ => ::image::STRIP_BUFFER as u64,
        };
        streams::bitmap_memory(facts).saturating_add(together)
    };
    manifest.streams.iter().map(memory).max().unwrap_or(0)
}

fn window_log(meminfo: &str, decoder: u64) -> anyhow::Result<u32> {
    let kib: u64 = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .context("/proc/meminfo has no MemAvailable")?;
    let available = kib.saturating_mul(1024);
    let needed = MEMORY_BESIDE.saturating_add(decoder);
    let left = available.saturating_sub(needed);
    if left < 1 << WINDOW_LOG_MIN {
        anyhow::bail!(
            "this machine has too little memory: {} are available, {} needed at least; FOG's \
             minimum is 512 MB",
            Size(available),
            Size(needed.saturating_add(1 << WINDOW_LOG_MIN))
        );
    }
    Ok(left.ilog2().min(WINDOW_LOG_MAX))
}

/// Buffers of network, decoder and disk: 12 + 15 + 8 MiB, rounded up generously.
const MEMORY_BESIDE: u64 = 40 << 20;
/// zstd's default window at FOG's levels is at most 8 MiB, `--ultra` has 128 MiB.
const WINDOW_LOG_MIN: u32 = 23;
const WINDOW_LOG_MAX: u32 = 27;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::samples;

    #[test]
    fn large_blocks_count() {
        let mut manifest = samples::manifest();
        let strip = decoder_memory(&manifest);
        assert!(strip >= 8 << 20, "{strip}");
        let facts = &mut manifest.streams[0].image;
        facts.format = ImageFormat::Partclone0001;
        facts.block_size = 64 << 20;
        let block = decoder_memory(&manifest);
        assert!(block >= 64 << 20, "{block}");
    }

    #[test]
    fn the_window_is_what_the_memory_allows() {
        let log = |mib: u64| window_log(&format!("MemAvailable: {} kB\n", mib << 10), 0);
        assert_eq!(log(4096).unwrap(), 27);
        assert_eq!(log(40 + 70).unwrap(), 26);
        assert_eq!(log(40 + 8).unwrap(), 23);
        let text = log(40 + 7).unwrap_err().to_string();
        assert!(text.contains("too little memory"), "{text}");
        assert!(window_log("", 0).is_err());
        assert!(window_log("MemAvailable: 100000 kB\n", 1 << 40).is_err());
    }
}
