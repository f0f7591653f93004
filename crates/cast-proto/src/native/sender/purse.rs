//! What repair beyond the usual one is paid from (8.5).

/// Symbols that may still be spent on somebody's needs. They grow with what is sent, and are never less than 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purse {
    /// In thousandths of a symbol.
    held: u64,
    /// Earned of each symbol sent, in thousandths.
    share: u64,
    /// At most, in symbols.
    most: u64,
    /// Symbols sent when it was counted last.
    counted_at: u64,
}

const THOUSAND: u64 = 1000;

impl Purse {
    /// Of a client: 1 % of all symbols, at most K; it begins with K/2. `sent`: symbols sent so far.
    pub(super) fn of_client(source_count: u16, sent: u64) -> Self {
        Self::new(10, u64::from(source_count), sent)
    }

    /// Of all together: 2 %, at most 2K; it begins with K.
    pub(super) fn common(source_count: u16, sent: u64) -> Self {
        Self::new(20, 2 * u64::from(source_count), sent)
    }

    fn new(share: u64, most: u64, sent: u64) -> Self {
        Self {
            held: most * THOUSAND / 2,
            share,
            most,
            counted_at: sent,
        }
    }

    /// Symbols in it after `sent` symbols.
    pub(super) fn held(&mut self, sent: u64) -> u64 {
        let earned = sent.saturating_sub(self.counted_at) * self.share;
        self.held = (self.held + earned).min(self.most * THOUSAND);
        self.counted_at = self.counted_at.max(sent);
        self.held / THOUSAND
    }

    /// Takes so many symbols out. What is not there cannot be taken: ask [`held`](Self::held) before.
    pub(super) fn pay(&mut self, symbols: u64) {
        self.held = self.held.saturating_sub(symbols * THOUSAND);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purses_grow_with_what_is_sent_up_to_their_most() {
        // 8.5
        let mut purse = Purse::of_client(3000, 0);
        assert_eq!(purse.held(0), 1500);
        assert_eq!(purse.held(10_000), 1600);
        purse.pay(1600);
        assert_eq!(purse.held(10_000), 0);
        assert_eq!(purse.held(10_100), 1);
        assert_eq!(purse.held(u64::MAX / 1000), 3000);
        let mut common = Purse::common(3000, 5);
        assert_eq!(common.held(5), 3000);
        assert_eq!(common.held(u64::MAX / 1000), 6000);
        common.pay(7000);
        assert_eq!(common.held(0), 0);
    }
}
