//! `memmove` for programs that are linked with musl on x86_64.
//!
//! musl's moves bytes one by one where it has to begin at the end: that is where the target begins inside the source.
//! zstd does so with the literals of each large block. The decompression of a zstd image took twice as
//! long with it. A move that may begin at the front is `memcpy`, which musl does well, as its own `memmove` has it.

#![expect(
    unsafe_code,
    reason = "it is a part of the C library, which is called with pointers"
)]

/// Defines it under a name.
macro_rules! define {
    ($name:literal) => {
        std::arch::global_asm!(
            concat!(".globl ", $name),
            concat!(".type ", $name, ", @function"),
            concat!($name, ":"),
            "mov rcx, rdi",
            "sub rcx, rsi",
            "cmp rcx, rdx",
            // As numbers without a sign: the target is before the source, or behind its end.
            "jae memcpy",
            "mov rax, rdi",
            "2:",
            "cmp rdx, 32",
            "jb 3f",
            // Both are read before either is written.
            "movups xmm0, [rsi + rdx - 16]",
            "movups xmm1, [rsi + rdx - 32]",
            "movups [rdi + rdx - 16], xmm0",
            "movups [rdi + rdx - 32], xmm1",
            "sub rdx, 32",
            "jmp 2b",
            "3:",
            "test rdx, rdx",
            "jz 4f",
            "mov cl, [rsi + rdx - 1]",
            "mov [rdi + rdx - 1], cl",
            "dec rdx",
            "jmp 3b",
            "4:",
            "ret",
            concat!(".size ", $name, ", . - ", $name),
        );
    };
}

#[cfg(not(test))]
define!("memmove");

#[cfg(test)]
define!("fos_tested_memmove");

#[cfg(test)]
mod tests {
    unsafe extern "C" {
        fn fos_tested_memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8;
    }

    #[test]
    fn every_overlap_is_moved_as_a_copy_would_be() {
        const ROOM: usize = 400;
        let pattern: Vec<u8> = (0..=250).cycle().take(ROOM).collect();
        for len in (0..140).chain([160, 199]) {
            for from in [0, 1, 15, 100, 200] {
                for to in 0..=200 {
                    let mut expected = pattern.clone();
                    expected.copy_within(from..from + len, to);
                    let mut found = pattern.clone();
                    let start = found.as_mut_ptr();
                    // SAFETY: both ranges lie in the vector.
                    let answer = unsafe { fos_tested_memmove(start.add(to), start.add(from), len) };
                    assert_eq!(answer.addr() - start.addr(), to);
                    assert_eq!(found, expected, "{len} bytes from {from} to {to}");
                }
            }
        }
    }
}
