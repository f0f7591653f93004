//! What a receiver knows of each chunk.

use std::time::Instant;

use super::Priority;
use crate::native::symbol_set::SymbolSet;

/// One chunk.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) progress: Progress,
    /// Since when it is a lack, in ms; 0: from the beginning, so that any PLAN counts.
    pub(super) lack_since: u32,
    /// When PLAN last showed it, in ms, and with which priority it was planned.
    pub(super) planned: Option<(u32, Option<Priority>)>,
    /// The burst that was passed by: what comes of it later would only be a great need.
    pub(super) passed: Option<u8>,
    /// The sender serves it later, with half of its rate as priority (7.5).
    pub(super) is_deferred: bool,
}

/// How far a chunk is.
#[derive(Debug, Default)]
pub(super) enum Progress {
    /// Nothing of it is there.
    #[default]
    Lack,
    /// Symbols of it are there.
    Part(Box<Part>),
    /// There are K symbols; it is decoded, verified and written elsewhere.
    Whole,
    /// It is on the disk.
    Written,
}

/// A chunk in part.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) symbols: SymbolSet,
    /// The last burst that is known of; `None` if it was of an epoch that is over.
    pub(super) burst: Option<u8>,
    /// That burst has ended.
    pub(super) is_over: bool,
    /// That burst began with all source symbols.
    pub(super) is_instance: bool,
    /// Symbols of that burst that came, that were sent so far, and that it has, if it is an instance.
    pub(super) came: u16,
    pub(super) sent: u16,
    pub(super) total: u16,
    /// Nothing was there before that burst.
    pub(super) is_first: bool,
    /// When the last symbol came.
    pub(super) last_at: Instant,
    /// When to ask.
    pub(super) ask_at: Option<Instant>,
    /// So many times it was asked, or would have been, for this burst.
    pub(super) tries: u8,
}

impl Part {
    pub(super) fn new(now: Instant, symbols: SymbolSet) -> Self {
        Self {
            symbols,
            burst: None,
            is_over: false,
            is_instance: false,
            came: 0,
            sent: 0,
            total: 0,
            is_first: true,
            last_at: now,
            ask_at: None,
            tries: 0,
        }
    }

    /// Symbols that are missing of `source_count`.
    pub(super) fn need(&self, source_count: u16) -> u16 {
        source_count.saturating_sub(self.symbols.count())
    }

    /// Whether `burst` is later than the one that is known of. They wrap.
    pub(super) fn is_later(&self, burst: u8) -> bool {
        self.burst
            .is_none_or(|known| burst != known && burst.wrapping_sub(known) < 128)
    }

    /// Another burst begins, or is heard of.
    pub(super) fn begin(&mut self, burst: u8) {
        self.is_first = self.burst.is_none() && self.symbols.count() == 0;
        self.burst = Some(burst);
        self.is_over = false;
        self.is_instance = false;
        self.came = 0;
        self.sent = 0;
        self.total = 0;
        self.ask_at = None;
        self.tries = 0;
    }
}
