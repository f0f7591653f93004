//! What is asked of a decoder.

/// What a [`Decoder`](crate::Decoder) checks and how much memory it may take.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What the stream holds, inside its compression.
    pub content: Content,
    /// What a wrong block checksum does.
    pub verify: Verify,
    /// Bytes of the target. With it, nothing is ever handed out that ends beyond, and an image with
    /// such a block is refused before [`Sink::begin`](crate::Sink::begin).
    pub target_size: Option<u64>,
    /// Whether the target must be as large as the image's source device. Without this it is enough
    /// that every used block fits.
    pub check_size: bool,
    /// log2 of the largest zstd window or xz dictionary in bytes, 10 to 31. It is allocated as the
    /// stream asks, up to this. `zstd --ultra -22` needs 27, which is also the reference decoder's
    /// limit.
    pub window_log_max: u32,
    /// Most bytes that the bitmap may take: a bit per block, less where long stretches are all used
    /// or all free.
    pub bitmap_memory_max: u64,
}

impl Default for Options {
    /// Everything enforced, target unknown, windows up to 128 MiB, bitmaps up to 2 GiB.
    fn default() -> Self {
        Self {
            content: Content::Image,
            verify: Verify::Enforce,
            target_size: None,
            check_size: true,
            window_log_max: 27,
            bitmap_memory_max: 2 << 30,
        }
    }
}

/// What a stream holds, inside its compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// An image of one of the known formats.
    Image,
    /// A disk or partition as it is. Anything could be that, so it must be asked for. Every byte is
    /// handed out, zeroes too. There is no header and no checksum; the compression may have one.
    Raw {
        /// Bytes that there should be, where that is known. They are compared.
        len: Option<u64>,
    },
}

/// What a wrong block checksum does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// It ends the decoding before the strip is handed out.
    Enforce,
    /// It is counted and reported as a [`Warning`](crate::Warning); the blocks are handed out. Header, bitmap, sizes
    /// and compression are verified all the same.
    Warn,
}
