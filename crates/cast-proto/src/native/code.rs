//! The code of a frame: systematic Reed-Solomon over GF(2^16), high rate (6.1).
//!
//! Both ends name the high-rate types of the library with a count of exactly R(K), as the library derives the
//! code from the next power of two of that number; the types that choose a rate would choose another code for
//! some counts.

use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{HighRateDecoder, HighRateEncoder, RateDecoder, RateEncoder};
use thiserror::Error;

use super::geometry::{FrameLen, SYMBOL};

/// Makes repair symbols. It keeps its working memory (about 4 MB for the longest frame) from frame to frame.
#[derive(Default)]
pub struct Encoder {
    coder: Option<HighRateEncoder<DefaultEngine>>,
}

/// Makes frames of any K symbols. It keeps its working memory (about 6 MB for the longest frame).
#[derive(Default)]
pub struct Decoder {
    coder: Option<HighRateDecoder<DefaultEngine>>,
}

/// Why there is no frame.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CodeError {
    /// The frame has not the length of its entry in the manifest.
    #[error("the frame has {found} bytes, not {expected}")]
    FrameLen {
        /// By the manifest.
        expected: u32,
        /// What was given.
        found: usize,
    },
    /// Fewer than K different symbols.
    #[error("{found} symbols of {needed} that the frame needs")]
    TooFew {
        /// K.
        needed: u16,
        /// Different ones that were given.
        found: usize,
    },
    /// A number beyond K + R, or a number twice.
    #[error("symbol {symbol} is not one of this frame, or is there twice")]
    Symbol {
        /// Its number.
        symbol: u16,
    },
}

impl Encoder {
    /// All R(K) repair symbols of `frame`, one after the other.
    ///
    /// # Errors
    /// If the frame is not `len` long.
    ///
    /// # Panics
    /// Never: the library has K and R of every frame.
    pub fn encode(&mut self, len: FrameLen, frame: &[u8]) -> Result<Vec<u8>, CodeError> {
        if usize::try_from(len.get()) != Ok(frame.len()) {
            return Err(CodeError::FrameLen {
                expected: len.get(),
                found: frame.len(),
            });
        }
        let (source, repair) = counts(len);
        let coder = match &mut self.coder {
            Some(coder) => {
                coder.reset(source, repair, SYMBOL).expect(SUPPORTED);
                coder
            }
            none => none.insert(
                HighRateEncoder::new(source, repair, SYMBOL, DefaultEngine::new(), None)
                    .expect(SUPPORTED),
            ),
        };
        for symbol in 0..len.source_count() {
            coder
                .add_original_shard(source_symbol(frame, symbol))
                .expect("as many symbols of this size as were announced");
        }
        let result = coder.encode().expect("all symbols are there");
        let mut all = Vec::with_capacity(repair * SYMBOL);
        for symbol in result.recovery_iter() {
            all.extend_from_slice(symbol);
        }
        Ok(all)
    }
}

/// Source symbol `symbol` of a frame, padded with zeros (5.2).
#[must_use]
pub fn source_symbol(frame: &[u8], symbol: u16) -> [u8; SYMBOL] {
    let mut padded = [0; SYMBOL];
    let start = usize::from(symbol) * SYMBOL;
    let bytes = frame.get(start..).unwrap_or_default();
    let bytes = bytes.get(..SYMBOL).unwrap_or(bytes);
    for (to, from) in padded.iter_mut().zip(bytes) {
        *to = *from;
    }
    padded
}

impl Decoder {
    /// Computes the source symbols that are missing. `buffer` has [`FrameLen::buffer_len`] bytes: K places, of which place
    /// `i` holds the symbol with number `held[i]`, [`NO_SYMBOL`] if it is empty. Source symbols are at their own
    /// places. Afterwards all are.
    ///
    /// # Errors
    /// If fewer than K symbols are held, one is not of this frame, not at its place, or there twice. The buffer is as it was
    /// then.
    ///
    /// # Panics
    /// If the buffer has another length.
    pub fn decode(
        &mut self,
        len: FrameLen,
        buffer: &mut [u8],
        held: &[u16],
    ) -> Result<(), CodeError> {
        assert_eq!(buffer.len(), len.buffer_len(), "buffer of a frame");
        let needed = len.source_count();
        if held.iter().copied().eq(0..needed) {
            return Ok(());
        }
        let found = held.iter().filter(|symbol| **symbol != NO_SYMBOL).count();
        let (source, repair) = counts(len);
        if found < source {
            return Err(CodeError::TooFew { needed, found });
        }
        let coder = match &mut self.coder {
            Some(coder) => {
                coder.reset(source, repair, SYMBOL).expect(SUPPORTED);
                coder
            }
            none => none.insert(
                HighRateDecoder::new(source, repair, SYMBOL, DefaultEngine::new(), None)
                    .expect(SUPPORTED),
            ),
        };
        for ((place, symbol), bytes) in (0..needed).zip(held).zip(buffer.chunks_exact(SYMBOL)) {
            let wrong = CodeError::Symbol { symbol: *symbol };
            let added = match symbol.checked_sub(needed) {
                Some(at) => coder.add_recovery_shard(usize::from(at), bytes),
                None if *symbol == place => coder.add_original_shard(usize::from(place), bytes),
                None => return Err(wrong),
            };
            added.map_err(|_| wrong)?;
        }
        let result = coder.decode().expect("enough symbols are there");
        for (at, symbol) in result.restored_original_iter() {
            if let Some(place) = buffer.chunks_exact_mut(SYMBOL).nth(at) {
                place.copy_from_slice(symbol);
            }
        }
        Ok(())
    }
}

/// In a list of symbols: there is none at this place.
pub const NO_SYMBOL: u16 = u16::MAX;

fn counts(len: FrameLen) -> (usize, usize) {
    (
        usize::from(len.source_count()),
        usize::from(len.repair_count()),
    )
}

const SUPPORTED: &str = "K up to 3072 with R up to 1024 is within GF(2^16)";

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
