//! What a decompressor has done.

/// What one call of a decompressor did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ran {
    /// Bytes of the input that were taken.
    pub(crate) consumed: usize,
    /// Bytes of the output that were written.
    pub(crate) produced: usize,
}
