use reed_solomon_simd::ReedSolomonEncoder;

use super::*;

/// K of the tests: those that the specification names (6.1, B.2).
const COUNTS: [u16; 5] = [1, 5, 100, 1490, 2980];

fn frame(source: u16, seed: u64) -> (FrameLen, Vec<u8>) {
    // The last symbol is not full.
    let len = u32::from(source) * 1408 - 7;
    let mut state = seed;
    let bytes = (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .collect();
    (FrameLen::new(len).unwrap(), bytes)
}

/// Decodes with the source symbols that `keep` names, and the given repair symbols at the places of the others.
fn decode(
    (len, bytes): &(FrameLen, Vec<u8>),
    repair: &[u8],
    keep: impl Fn(u16) -> bool,
    numbers: &[u16],
) -> Result<Vec<u8>, CodeError> {
    let k = len.source_count();
    let mut buffer = vec![0xee; len.buffer_len()];
    let mut numbers = numbers.iter().copied();
    let mut held = Vec::new();
    for (place, symbol) in buffer.chunks_exact_mut(SYMBOL).zip(0..k) {
        if keep(symbol) {
            place.copy_from_slice(&source_symbol(bytes, symbol));
            held.push(symbol);
        } else if let Some(number) = numbers.next() {
            let at = usize::from(number - k) * SYMBOL;
            place.copy_from_slice(&repair[at..at + SYMBOL]);
            held.push(number);
        } else {
            held.push(NO_SYMBOL);
        }
    }
    Decoder::default().decode(*len, &mut buffer, &held)?;
    buffer.truncate(bytes.len());
    Ok(buffer)
}

#[test]
fn any_k_symbols_give_the_frame() {
    // 6.1: any K different symbols.
    let mut encoder = Encoder::default();
    for k in COUNTS {
        let frame = frame(k, u64::from(k));
        let repair = encoder.encode(frame.0, &frame.1).unwrap();
        let r = frame.0.repair_count();
        assert_eq!(repair.len(), usize::from(r) * SYMBOL);
        // The most that repair can stand for: its first ones, its last ones, every other.
        let lost = k.min(r);
        let first: Vec<u16> = (k..k + lost).collect();
        let last: Vec<u16> = (k + r - lost..k + r).collect();
        for numbers in [&first, &last] {
            let tail = decode(&frame, &repair, |s| s >= lost, numbers).unwrap();
            assert!(tail == frame.1, "K = {k}, first symbols lost");
            let head = decode(&frame, &repair, |s| s < k - lost, numbers).unwrap();
            assert!(head == frame.1, "K = {k}, last symbols lost");
        }
        let odd = (0..k).filter(|s| s % 8 == 3).count();
        let some: Vec<u16> = (k..k + r).step_by(2).take(odd).collect();
        let every = decode(&frame, &repair, |s| s % 8 != 3, &some).unwrap();
        assert!(every == frame.1, "K = {k}, every eighth lost");
    }
}

#[test]
fn a_prefix_of_the_repair_symbols_is_the_same_code() {
    // 6.1: counts with the same next power of two have the same code, so that a library that is asked for
    // fewer gives a prefix.
    for k in COUNTS {
        let (len, bytes) = frame(k, 1);
        let r = usize::from(len.repair_count());
        let all = Encoder::default().encode(len, &bytes).unwrap();
        let engine = DefaultEngine::new();
        let fewer = r / 2 + 1;
        let mut coder = HighRateEncoder::new(usize::from(k), fewer, SYMBOL, engine, None).unwrap();
        for symbol in 0..k {
            coder
                .add_original_shard(source_symbol(&bytes, symbol))
                .unwrap();
        }
        let prefix: Vec<u8> = coder
            .encode()
            .unwrap()
            .recovery_iter()
            .flatten()
            .copied()
            .collect();
        assert_eq!(prefix.len(), fewer * SYMBOL);
        assert!(all.starts_with(&prefix), "K = {k}");
    }
}

#[test]
fn the_types_that_choose_make_another_code() {
    // 6.1: both ends MUST use the high-rate types. This is why: with K = 5 and R = 64 the library chooses low rate.
    let (len, bytes) = frame(5, 1);
    let ours = Encoder::default().encode(len, &bytes).unwrap();
    let mut chosen = ReedSolomonEncoder::new(5, 64, SYMBOL).unwrap();
    for symbol in 0..5 {
        chosen
            .add_original_shard(source_symbol(&bytes, symbol))
            .unwrap();
    }
    let theirs: Vec<u8> = chosen
        .encode()
        .unwrap()
        .recovery_iter()
        .flatten()
        .copied()
        .collect();
    assert_ne!(ours, theirs);
}

#[test]
fn the_code_stays_what_it_is() {
    // A server and an agent of different versions must have the same code.
    let hashes = COUNTS.map(|k| {
        let (len, bytes) = frame(k, 7);
        let repair = Encoder::default().encode(len, &bytes).unwrap();
        blake3::hash(&repair).to_hex()[..16].to_owned()
    });
    assert_eq!(hashes, GOLDEN);
}

const GOLDEN: [&str; 5] = [
    "f2270f6484112f4d",
    "42556f743e9d4514",
    "d121b33a3e4cf496",
    "90323daacfc767c2",
    "4e8f1c56a315c546",
];

#[test]
fn too_few_symbols_and_strange_numbers_are_errors() {
    let (len, bytes) = frame(5, 1);
    let repair = Encoder::default().encode(len, &bytes).unwrap();
    let frame = (len, bytes);
    let few = decode(&frame, &repair, |s| s < 3, &[5]);
    assert_eq!(
        few,
        Err(CodeError::TooFew {
            needed: 5,
            found: 4
        })
    );
    let twice = decode(&frame, &repair, |s| s < 3, &[5, 5]);
    assert_eq!(twice, Err(CodeError::Symbol { symbol: 5 }));
    let mut buffer = vec![0; len.buffer_len()];
    for number in [4, 5 + 64] {
        let mut decoder = Decoder::default();
        let error = decoder.decode(len, &mut buffer, &[number, 1, 2, 3, 5]);
        assert_eq!(error, Err(CodeError::Symbol { symbol: number }));
        // It can be used again.
        let rest = decoder.decode(len, &mut buffer, &[5, 1, 2, 3, 4]);
        assert_eq!(rest, Ok(()));
    }
    let wrong = Encoder::default().encode(len, &[0; 5]);
    assert!(matches!(wrong, Err(CodeError::FrameLen { found: 5, .. })));
}
