//! Products of 16 or 32 bytes at once on x86-64: a shuffle looks 16 bytes up in a table of 16 at once.
//!
//! The only unsafe code of this crate: calls of functions that need an instruction set, each behind
//! the question whether this processor has it, and a hint to its caches.
#![expect(
    unsafe_code,
    reason = "functions for a certain instruction set, and prefetching, are unsafe to call"
)]

use std::{
    arch::{
        is_x86_feature_detected,
        x86_64::{
            __m128i, __m256i, _MM_HINT_T0, _mm_and_si128, _mm_prefetch, _mm_set1_epi8,
            _mm_shuffle_epi8, _mm_srli_epi64, _mm_xor_si128, _mm256_and_si256,
            _mm256_broadcastsi128_si256, _mm256_set1_epi8, _mm256_shuffle_epi8, _mm256_srli_epi64,
            _mm256_xor_si256,
        },
    },
    iter::zip,
};

use zerocopy::transmute;

use super::field::Halves;

/// Adds a multiple of `data` to `sum`, both of one length, from their front on.
///
/// Answers how many bytes are done: all but fewer than 16, or 0 on a processor without SSSE3.
pub(super) fn add_multiple(sum: &mut [u8], data: &[u8], halves: &Halves) -> usize {
    if is_x86_feature_detected!("avx2") {
        // SAFETY: this processor has AVX2.
        unsafe { by_32(sum, data, halves) }
    } else if is_x86_feature_detected!("ssse3") {
        // SAFETY: this processor has SSSE3.
        unsafe { by_16(sum, data, halves) }
    } else {
        0
    }
}

#[target_feature(enable = "avx2")]
fn by_32(sum: &mut [u8], data: &[u8], halves: &Halves) -> usize {
    let low: __m128i = transmute!(halves.low);
    let high: __m128i = transmute!(halves.high);
    let (low, high) = (
        _mm256_broadcastsi128_si256(low),
        _mm256_broadcastsi128_si256(high),
    );
    let nibble = _mm256_set1_epi8(0x0f);
    let (chunks, rest) = sum.as_chunks_mut::<32>();
    let (data, data_rest) = data.as_chunks::<32>();
    let done = size_of_val(chunks);
    for (to, from) in zip(chunks, data) {
        let from: __m256i = transmute!(*from);
        let lower = _mm256_and_si256(from, nibble);
        let upper = _mm256_and_si256(_mm256_srli_epi64::<4>(from), nibble);
        let product = _mm256_xor_si256(
            _mm256_shuffle_epi8(low, lower),
            _mm256_shuffle_epi8(high, upper),
        );
        *to = transmute!(_mm256_xor_si256(transmute!(*to), product));
    }
    done + by_16(rest, data_rest, halves)
}

#[target_feature(enable = "ssse3")]
fn by_16(sum: &mut [u8], data: &[u8], halves: &Halves) -> usize {
    let low: __m128i = transmute!(halves.low);
    let high: __m128i = transmute!(halves.high);
    let nibble = _mm_set1_epi8(0x0f);
    let (chunks, _) = sum.as_chunks_mut::<16>();
    let (data, _) = data.as_chunks::<16>();
    let done = size_of_val(chunks);
    for (to, from) in zip(chunks, data) {
        let from: __m128i = transmute!(*from);
        let lower = _mm_and_si128(from, nibble);
        let upper = _mm_and_si128(_mm_srli_epi64::<4>(from), nibble);
        let product = _mm_xor_si128(_mm_shuffle_epi8(low, lower), _mm_shuffle_epi8(high, upper));
        *to = transmute!(_mm_xor_si128(transmute!(*to), product));
    }
    done
}

/// Asks for all of `data` to be brought into the first cache.
pub(super) fn prefetch(data: &[u8]) {
    for line in data.chunks(CACHE_LINE) {
        // SAFETY: every x86-64 processor has it, and it is but a hint, which no address makes fail.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
}

/// In bytes.
const CACHE_LINE: usize = 64;

/// Like [`add_multiple`].
#[cfg(test)]
pub(super) type Way = fn(&mut [u8], &[u8], &Halves) -> usize;

/// All that this processor can, to be compared.
#[cfg(test)]
pub(super) fn ways() -> Vec<Way> {
    let mut ways: Vec<Way> = Vec::new();
    if is_x86_feature_detected!("avx2") {
        // SAFETY: this processor has AVX2.
        ways.push(|sum, data, halves| unsafe { by_32(sum, data, halves) });
    }
    if is_x86_feature_detected!("ssse3") {
        // SAFETY: this processor has SSSE3.
        ways.push(|sum, data, halves| unsafe { by_16(sum, data, halves) });
    }
    ways
}
