//! The bytes of a frame while its symbols come.

use crate::native::code::{CodeError, Decoder, NO_SYMBOL};
use crate::native::geometry::{ChunkId, FrameLen, SYMBOL};

/// K places of a symbol each: as much memory as the frame needs, and no more. Source symbols are at their own places; repair
/// symbols wait at those of source symbols that are missing, of which there are enough, as K symbols make a frame.
#[derive(Debug)]
pub(super) struct Assembly {
    len: FrameLen,
    buffer: Vec<u8>,
    held: Vec<u16>,
    /// No place above it is empty.
    top: usize,
}

/// A frame with K symbols, before it is decoded.
#[derive(Debug)]
pub struct Frame {
    chunk: ChunkId,
    assembly: Assembly,
}

impl Assembly {
    pub(super) fn new(len: FrameLen) -> Self {
        let places = usize::from(len.source_count());
        Self {
            len,
            buffer: vec![0; len.buffer_len()],
            held: vec![NO_SYMBOL; places],
            top: places,
        }
    }

    /// Takes in a symbol that is not there yet, of which there are fewer than K.
    pub(super) fn insert(&mut self, number: u16, symbol: &[u8]) {
        let own = usize::from(number);
        let is_source = own < self.held.len();
        if !is_source {
            if let Some(place) = self.empty_place() {
                self.put(place, number, symbol);
            }
            return;
        }
        let occupant = self.held.get(own).copied().unwrap_or(NO_SYMBOL);
        if occupant != NO_SYMBOL
            && let Some(place) = self.empty_place()
        {
            let start = own * SYMBOL;
            self.buffer
                .copy_within(start..start + SYMBOL, place * SYMBOL);
            if let Some(held) = self.held.get_mut(place) {
                *held = occupant;
            }
        }
        self.put(own, number, symbol);
    }

    /// The highest empty place.
    fn empty_place(&mut self) -> Option<usize> {
        let below = self.held.get(..self.top)?;
        let place = below.iter().rposition(|held| *held == NO_SYMBOL)?;
        self.top = place + 1;
        Some(place)
    }

    fn put(&mut self, place: usize, number: u16, symbol: &[u8]) {
        let bytes = self.buffer.chunks_exact_mut(SYMBOL).nth(place);
        if let (Some(bytes), Some(held)) = (bytes, self.held.get_mut(place))
            && symbol.len() == SYMBOL
        {
            bytes.copy_from_slice(symbol);
            *held = number;
        }
    }
}

impl Frame {
    pub(super) fn new(chunk: ChunkId, assembly: Assembly) -> Self {
        Self { chunk, assembly }
    }

    /// Of which chunk.
    #[must_use]
    pub fn chunk(&self) -> ChunkId {
        self.chunk
    }

    /// Whether source symbols are missing, so that decoding has work to do.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        !self
            .assembly
            .held
            .iter()
            .copied()
            .eq(0..self.assembly.len.source_count())
    }

    /// The frame's bytes. Whether they have the signed hash is for the caller to check.
    ///
    /// # Errors
    /// If symbols are missing: a fault of this program.
    pub fn decode(mut self, decoder: &mut Decoder) -> Result<Vec<u8>, CodeError> {
        let Assembly {
            len, buffer, held, ..
        } = &mut self.assembly;
        decoder.decode(*len, buffer, held)?;
        let len = usize::try_from(len.get()).unwrap_or(usize::MAX);
        self.assembly.buffer.truncate(len);
        Ok(self.assembly.buffer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::native::code::{Encoder, source_symbol};

    proptest! {
        #[test]
        fn any_symbols_in_any_order_make_the_frame(
            order in Just((0u16..12 + 64).collect::<Vec<_>>()).prop_shuffle(),
            short in 0u32..1408,
        ) {
            let len = FrameLen::new(12 * 1408 - short).unwrap();
            let bytes: Vec<u8> = (0..len.get()).map(|at| (at * 7 % 251).to_le_bytes()[0]).collect();
            let repair = Encoder::default().encode(len, &bytes).unwrap();
            let mut assembly = Assembly::new(len);
            for number in order.into_iter().take(12) {
                let symbol = match number.checked_sub(12) {
                    None => source_symbol(&bytes, number).to_vec(),
                    Some(at) => repair.chunks_exact(SYMBOL).nth(usize::from(at)).unwrap().to_vec(),
                };
                assembly.insert(number, &symbol);
            }
            let frame = Frame::new(ChunkId::chunk(0), assembly);
            prop_assert_eq!(frame.decode(&mut Decoder::default()), Ok(bytes));
        }
    }
}
