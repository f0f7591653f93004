//! What programs write to a partition that must not change: kept beside it, in bounded memory.

use std::collections::BTreeMap;

/// Bytes that are kept together.
const PAGE: usize = 4096;

/// Fills a buffer from an offset in what is read elsewhere.
pub type Base<'a, E> = dyn FnMut(u64, &mut [u8]) -> Result<(), E> + 'a;

/// There is no room for what would be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what is to be changed does not fit in memory")]
pub struct Full;

/// Changed pages of something that is read elsewhere.
#[derive(Debug)]
pub struct Overlay {
    pages: BTreeMap<u64, Box<[u8; PAGE]>>,
    /// Each costs a page of memory, and some ten bytes beside it.
    pages_max: usize,
    /// Length of what is read elsewhere.
    len: u64,
}

impl Overlay {
    /// Of `len` bytes, with room for `memory` bytes of changes.
    #[must_use]
    pub fn new(len: u64, memory: u64) -> Self {
        let pages = memory / PAGE as u64;
        Self {
            pages: BTreeMap::new(),
            pages_max: usize::try_from(pages).unwrap_or(usize::MAX),
            len,
        }
    }

    /// Bytes of memory in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        (self.pages.len() * PAGE) as u64
    }

    /// Whether anything was changed.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.pages.is_empty()
    }

    /// Fills a buffer from an offset: what was changed, and else what `base` gives.
    ///
    /// # Errors
    /// Those of `base`.
    pub fn read<E>(&self, offset: u64, buffer: &mut [u8], base: &mut Base<'_, E>) -> Result<(), E> {
        let end = offset.saturating_add(buffer.len() as u64);
        let (first, last) = (page_of(offset), page_of(end.saturating_sub(1)));
        // The most common case: nothing was changed here.
        if buffer.is_empty() || self.pages.range(first..=last).next().is_none() {
            return base(offset, buffer);
        }
        let mut rest = buffer;
        let mut at = offset;
        while !rest.is_empty() {
            let (within, count) = part(at, rest.len());
            let (now, later) = rest.split_at_mut(count);
            match self.pages.get(&page_of(at)) {
                Some(page) => {
                    let from = page.get(within..).unwrap_or_default();
                    now.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                }
                None => base(at, now)?,
            }
            at = at.saturating_add(count as u64);
            rest = later;
        }
        Ok(())
    }

    /// Keeps what is written. Of pages that are not written whole, `base` gives the rest.
    ///
    /// # Errors
    /// [`Full`], and those of `base`; what fitted is kept.
    pub fn write<E: From<Full>>(
        &mut self,
        offset: u64,
        data: &[u8],
        base: &mut Base<'_, E>,
    ) -> Result<(), E> {
        let mut rest = data;
        let mut at = offset;
        while !rest.is_empty() {
            let (within, count) = part(at, rest.len());
            let (now, later) = rest.split_at(count);
            let number = page_of(at);
            if !self.pages.contains_key(&number) {
                if self.pages.len() >= self.pages_max {
                    return Err(Full.into());
                }
                let mut page = Box::new([0; PAGE]);
                if count < PAGE {
                    let begin = number.saturating_mul(PAGE as u64);
                    let there = self.len.saturating_sub(begin).min(PAGE as u64);
                    let there = usize::try_from(there).unwrap_or(PAGE);
                    if let Some(buffer) = page.get_mut(..there)
                        && !buffer.is_empty()
                    {
                        base(begin, buffer)?;
                    }
                }
                self.pages.insert(number, page);
            }
            if let Some(page) = self.pages.get_mut(&number) {
                let to = page.get_mut(within..).unwrap_or_default();
                to.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            }
            at = at.saturating_add(count as u64);
            rest = later;
        }
        Ok(())
    }
}

fn page_of(offset: u64) -> u64 {
    offset / PAGE as u64
}

/// Where in its page a place is, and how many of `len` bytes belong to that page.
fn part(at: u64, len: usize) -> (usize, usize) {
    let within = usize::try_from(at % PAGE as u64).unwrap_or(0);
    (within, len.min(PAGE - within))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LEN: usize = 5 * PAGE + 512;

    fn base(from: &[u8]) -> impl FnMut(u64, &mut [u8]) -> Result<(), Full> {
        move |at, buffer| {
            let at = usize::try_from(at).unwrap();
            buffer.copy_from_slice(&from[at..at + buffer.len()]);
            Ok(())
        }
    }

    #[test]
    fn memory_is_bounded_and_what_is_there_can_be_changed_again() {
        let under = vec![1; LEN];
        let mut overlay = Overlay::new(LEN as u64, 2 * PAGE as u64 + 1);
        overlay.write(100, &[2; PAGE], &mut base(&under)).unwrap();
        assert_eq!(overlay.used(), 2 * PAGE as u64);
        let full = overlay.write(3 * PAGE as u64, &[2], &mut base(&under));
        assert_eq!(full, Err(Full));
        overlay.write(100, &[3; 10], &mut base(&under)).unwrap();
        let mut buffer = [0; 12];
        overlay.read(99, &mut buffer, &mut base(&under)).unwrap();
        assert_eq!(buffer, [1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2]);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            writes in prop::collection::vec((0..LEN, 1..2 * PAGE, any::<u8>()), 0..20),
            reads in prop::collection::vec((0..LEN, 1..3 * PAGE), 1..20),
        ) {
            let under: Vec<u8> = (0..LEN).map(|at| u8::try_from(at % 253).unwrap()).collect();
            let mut model = under.clone();
            let mut overlay = Overlay::new(LEN as u64, u64::MAX);
            for (at, len, value) in writes {
                let len = len.min(LEN - at);
                model[at..at + len].fill(value);
                overlay.write(at as u64, &vec![value; len], &mut base(&under)).unwrap();
            }
            for (at, len) in reads {
                let mut buffer = vec![0; len.min(LEN - at)];
                overlay.read(at as u64, &mut buffer, &mut base(&under)).unwrap();
                prop_assert!(buffer == model[at..at + buffer.len()]);
            }
        }
    }
}
