//! What is on the target of a restore afterwards.

/// A target that was full of `fill`: `restored(fill)` is what the image makes of it, but free space at
/// both ends is cleared, where labels of earlier uses might be.
///
/// # Panics
/// It does not fit in memory.
#[must_use]
pub fn left_by_restore(restored: impl Fn(u8) -> Vec<u8>, fill: u8) -> Vec<u8> {
    let mut expected = restored(fill);
    let cleared = restored(0);
    for range in disk::label_ranges(expected.len() as u64, []) {
        let index = |at: u64| usize::try_from(at).expect("a target of a test is small");
        let range = index(range.start)..index(range.end);
        expected[range.clone()].copy_from_slice(&cleared[range]);
    }
    expected
}
