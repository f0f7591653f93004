//! The field GF(2^8) of the polynomial x^8 + x^4 + x^3 + x^2 + 1: its products, and sums of them over
//! whole blocks.

#[cfg(target_arch = "x86_64")]
use super::shuffle;

/// `sum += factor * data`, as far as both reach. As fast as the processor allows.
pub(super) fn add_product(sum: &mut [u8], data: &[u8], factor: u8) {
    let len = sum.len().min(data.len());
    let (Some(sum), Some(data)) = (sum.get_mut(..len), data.get(..len)) else {
        return;
    };
    match factor {
        0 => {}
        1 => sum.iter_mut().zip(data).for_each(|(to, from)| *to ^= from),
        _ => add_multiple(sum, data, factor),
    }
}

#[cfg(target_arch = "x86_64")]
fn add_multiple(sum: &mut [u8], data: &[u8], factor: u8) {
    if let Some(halves) = HALVES.get(usize::from(factor)) {
        let done = shuffle::add_multiple(sum, data, halves);
        if let (Some(sum), Some(data)) = (sum.get_mut(done..), data.get(done..)) {
            add_multiple_by_table(sum, data, factor);
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn add_multiple(sum: &mut [u8], data: &[u8], factor: u8) {
    add_multiple_by_table(sum, data, factor);
}

/// Tells the processor that `data` will be read soon, if it can be told.
pub(super) fn prefetch(data: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    shuffle::prefetch(data);
    #[cfg(not(target_arch = "x86_64"))]
    let _: &[u8] = data;
}

/// For any processor.
fn add_multiple_by_table(sum: &mut [u8], data: &[u8], factor: u8) {
    let Some(products) = PRODUCTS.get(usize::from(factor)) else {
        return;
    };
    for (to, from) in sum.iter_mut().zip(data) {
        *to ^= products.get(usize::from(*from)).copied().unwrap_or(0);
    }
}

pub(super) fn product(a: u8, b: u8) -> u8 {
    PRODUCTS
        .get(usize::from(a))
        .and_then(|row| row.get(usize::from(b)))
        .copied()
        .unwrap_or(0)
}

/// Multiplicative inverse; 0 for 0, which has none.
pub(super) fn inverse(a: u8) -> u8 {
    INVERSES.get(usize::from(a)).copied().unwrap_or(0)
}

static PRODUCTS: [[u8; 256]; 256] = products();

static INVERSES: [u8; 256] = inverses();

/// x^8 = x^4 + x^3 + x^2 + 1.
const REDUCTION: u8 = 0x1d;

const fn products() -> [[u8; 256]; 256] {
    let mut table = [[0; 256]; 256];
    let mut b = 0;
    while b < 256 {
        // Row a is row a / 2 times x, plus b if a is odd.
        let mut a = 1;
        while a < 256 {
            let half: u8 = table[a / 2][b];
            let double = (half << 1) ^ if half & 0x80 != 0 { REDUCTION } else { 0 };
            #[expect(clippy::cast_possible_truncation, reason = "b is below 256")]
            let odd = if a % 2 == 1 { b as u8 } else { 0 };
            table[a][b] = double ^ odd;
            a += 1;
        }
        b += 1;
    }
    table
}

const fn inverses() -> [u8; 256] {
    // The powers of x run through all of the field: the inverse of x^n is x^(255-n).
    let mut powers: [u8; 256] = [1; 256];
    let mut n = 1;
    while n < 256 {
        let half = powers[n - 1];
        powers[n] = (half << 1) ^ if half & 0x80 != 0 { REDUCTION } else { 0 };
        n += 1;
    }
    let mut table = [0; 256];
    n = 0;
    while n < 255 {
        table[powers[n] as usize] = powers[255 - n];
        n += 1;
    }
    table
}

/// A factor's products with 0 to 15, and with 0, 16, 32 to 240: as multiplication distributes over
/// exclusive or, any product is the sum of one of each.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub(super) struct Halves {
    pub(super) low: [u8; 16],
    pub(super) high: [u8; 16],
}

#[cfg(target_arch = "x86_64")]
static HALVES: [Halves; 256] = halves();

#[cfg(target_arch = "x86_64")]
const fn halves() -> [Halves; 256] {
    let none = Halves {
        low: [0; 16],
        high: [0; 16],
    };
    let mut table = [none; 256];
    let mut factor = 0;
    while factor < 256 {
        let mut n = 0;
        while n < 16 {
            table[factor].low[n] = PRODUCTS[factor][n];
            table[factor].high[n] = PRODUCTS[factor][n << 4];
            n += 1;
        }
        factor += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn field_has_the_published_values() {
        assert_eq!(product(0x80, 2), 0x1d);
        assert_eq!(product(0x53, 0xca), 0x8f);
        assert_eq!(product(0xff, 0xff), 0xe2);
        for (a, b) in [
            (2, 0x8e),
            (3, 0xf4),
            (0x53, 0x8c),
            (0x80, 0x1b),
            (0x81, 0x54),
            (0xff, 0xfd),
            (1, 1),
        ] {
            assert_eq!(inverse(a), b);
        }
        for a in 1..=255 {
            assert_eq!(product(a, inverse(a)), 1);
        }
    }

    /// Byte by byte, by the table that is tested above.
    fn expected(sum: &[u8], data: &[u8], factor: u8) -> Vec<u8> {
        let mut sum = sum.to_vec();
        for (to, from) in sum.iter_mut().zip(data) {
            *to ^= product(factor, *from);
        }
        sum
    }

    #[test]
    fn every_factor_and_byte_is_multiplied_rightly() {
        let data: Vec<u8> = (0..=255).collect();
        let sum: Vec<u8> = data.iter().map(|byte| byte.reverse_bits()).collect();
        for factor in 0..=255 {
            let mut ours = sum.clone();
            add_product(&mut ours, &data, factor);
            assert_eq!(ours, expected(&sum, &data, factor), "factor {factor}");
            let mut ours = sum.clone();
            add_multiple_by_table(&mut ours, &data, factor);
            assert_eq!(ours, expected(&sum, &data, factor), "factor {factor}");
        }
    }

    #[test]
    fn every_length_is_multiplied_and_nothing_behind_it() {
        let data: Vec<u8> = (0..200).collect();
        for len in 0..=200 {
            let mut ours = vec![0x5a; 210];
            add_product(&mut ours, &data[..len], 0x1d);
            assert_eq!(ours, expected(&[0x5a; 210], &data[..len], 0x1d), "{len}");
            let mut ours = vec![0x5a; len];
            add_product(&mut ours, &data, 0x1d);
            assert_eq!(ours, expected(&vec![0x5a; len], &data, 0x1d), "{len}");
        }
    }

    proptest! {
        #[test]
        fn all_ways_to_multiply_agree(
            memory in prop::collection::vec(any::<u8>(), 600), factor in any::<u8>(),
            to in 0usize..64, from in 300usize..364, len in 0usize..230,
        ) {
            let data = memory[from..from + len].to_vec();
            let mut ours = memory.clone();
            let (front, back) = ours.split_at_mut(300);
            add_product(&mut front[to..to + len], &back[from - 300..from - 300 + len], factor);
            let mut oracle = memory.clone();
            oracle[to..to + len].copy_from_slice(&expected(&memory[to..to + len], &data, factor));
            prop_assert_eq!(&ours, &oracle);

            let mut ours = memory.clone();
            add_multiple_by_table(&mut ours[to..to + len], &data, factor);
            prop_assert_eq!(&ours, &oracle);

            #[cfg(target_arch = "x86_64")]
            for way in shuffle::ways() {
                let mut ours = memory.clone();
                let done = way(&mut ours[to..to + len], &data, &HALVES[usize::from(factor)]);
                prop_assert!(len - done < 16, "{} of {}", done, len);
                oracle[to + done..to + len].copy_from_slice(&memory[to + done..to + len]);
                prop_assert_eq!(&ours, &oracle);
            }
        }
    }
}
