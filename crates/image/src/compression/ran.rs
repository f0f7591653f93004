//! What a decompressor has done.

/// What one call of a decompressor did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ran {
    /// Bytes of the input that were taken.
    pub(crate) consumed: usize,
    /// Bytes of the output that were written.
    pub(crate) produced: usize,
}

impl Ran {
    /// What a call on `input` and `output` did, by the totals (in, out) that a library counts.
    pub(crate) fn between(
        before: (u64, u64),
        after: (u64, u64),
        input: &[u8],
        output: &[u8],
    ) -> Self {
        // The differences are no longer than the slices.
        Self {
            consumed: usize::try_from(after.0 - before.0).unwrap_or(input.len()),
            produced: usize::try_from(after.1 - before.1).unwrap_or(output.len()),
        }
    }

    /// Nothing happened although there was something to do and room for it.
    pub(crate) fn is_stuck(self, input: &[u8], output: &[u8]) -> bool {
        self.consumed == 0 && self.produced == 0 && !input.is_empty() && !output.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_call_that_could_have_done_something_is_stuck() {
        let ran = Ran::between((5, 7), (6, 7), &[1, 2], &[0]);
        assert_eq!((ran.consumed, ran.produced), (1, 0));
        assert!(!ran.is_stuck(&[1, 2], &[0]));
        let nothing = Ran::default();
        assert!(nothing.is_stuck(&[1], &[0]));
        assert!(!nothing.is_stuck(&[], &[0]) && !nothing.is_stuck(&[1], &[]));
    }
}
