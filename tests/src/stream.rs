//! What is sent through a network, and whether it arrived.

use crate::netns::Running;

/// Bytes that never repeat at any block or slice distance.
#[must_use]
pub fn payload(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ len as u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(len)
    .collect()
}

/// Says where two streams part, instead of printing megabytes.
///
/// # Panics
/// They are not the same; what `receiver` said is in the panic.
#[track_caller]
pub fn assert_same(got: &[u8], expected: &[u8], receiver: &Running) {
    let same = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let (got, expected) = (got.len(), expected.len());
    let messages = receiver.messages();
    assert!(
        same == got && got == expected,
        "{got} bytes of {expected}, equal up to {same}:\n{messages}"
    );
}
