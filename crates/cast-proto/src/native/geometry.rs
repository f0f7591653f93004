//! Chunks and their symbols: numbers and sizes (2.2, 5.2).

use std::fmt;

/// Bytes of a symbol, and of the payload of each DATA.
pub const SYMBOL: usize = 1408;

/// Source symbols of the longest frame.
pub const K_MAX: u16 = 3072;

/// Bytes of the longest frame: `K_MAX` symbols.
pub const FRAME_MAX: u32 = 4_325_376;

/// A DATA on an Ethernet cable, with all that belongs to it.
pub const DATA_ON_CABLE: u64 = 1510;

/// What Ethernet, IP and UDP add to a payload on the cable, preamble and gap included.
pub const CABLE_OVERHEAD: u64 = 66;

const PART_BIT: u32 = 1 << 31;

/// A chunk of the image, or a part of the manifest, as DATA, NEED and LACK name it (5.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(u32);

impl ChunkId {
    /// Chunk `number` of the image. The highest bit is not part of the number.
    #[must_use]
    pub fn chunk(number: u32) -> Self {
        Self(number & !PART_BIT)
    }

    /// Part `number` of the manifest. The highest bit is not part of the number.
    #[must_use]
    pub fn part(number: u32) -> Self {
        Self(number | PART_BIT)
    }

    /// As it is on the wire.
    #[must_use]
    pub fn from_wire(bits: u32) -> Self {
        Self(bits)
    }

    /// As it is on the wire.
    #[must_use]
    pub fn to_wire(self) -> u32 {
        self.0
    }

    /// Whether it is a part of the manifest.
    #[must_use]
    pub fn is_part(self) -> bool {
        self.0 & PART_BIT != 0
    }

    /// Its number among the chunks, or among the parts.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0 & !PART_BIT
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_part() { "part" } else { "chunk" };
        write!(f, "{kind} {}", self.number())
    }
}

/// Bytes of a frame: 1 to [`FRAME_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLen(u32);

impl FrameLen {
    /// `None` if no frame has this length.
    #[must_use]
    pub fn new(len: u32) -> Option<Self> {
        (1..=FRAME_MAX).contains(&len).then_some(Self(len))
    }

    /// In bytes.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// K: source symbols, 1 to [`K_MAX`].
    #[must_use]
    pub fn source_count(self) -> u16 {
        let symbol = u32::try_from(SYMBOL).unwrap_or(u32::MAX);
        u16::try_from(self.0.div_ceil(symbol)).unwrap_or(K_MAX)
    }

    /// R(K): repair symbols that there are.
    #[must_use]
    pub fn repair_count(self) -> u16 {
        repair_count(self.source_count())
    }

    /// Bytes of a buffer that holds all source symbols.
    #[must_use]
    pub fn buffer_len(self) -> usize {
        usize::from(self.source_count()) * SYMBOL
    }
}

/// R(K): the next power of two from K/3 on, within 64 to 1024. The code depends on it (6.1).
#[must_use]
pub fn repair_count(source_count: u16) -> u16 {
    source_count.div_ceil(3).next_power_of_two().clamp(64, 1024)
}

/// What both ends know of all that is sent: the lengths of the frames.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Parts of the manifest, if they travel by multicast.
    parts: Vec<FrameLen>,
    /// Chunks of the image; empty as long as a receiver has no manifest.
    chunks: Vec<FrameLen>,
}

/// Place of a chunk in a [`Table`]: parts of the manifest first, then the chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub(crate) usize);

impl Table {
    /// At most 2^24 of each count; more are not looked at (3.6).
    #[must_use]
    pub fn new(parts: Vec<FrameLen>, chunks: Vec<FrameLen>) -> Self {
        let mut table = Self { parts, chunks };
        table.parts.truncate(TABLE_MAX);
        table.chunks.truncate(TABLE_MAX);
        table
    }

    /// The same parts with the chunks, which were not known before.
    #[must_use]
    pub(crate) fn with_chunks(&self, chunks: Vec<FrameLen>) -> Self {
        Self::new(self.parts.clone(), chunks)
    }

    /// Parts and chunks together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.len() + self.chunks.len()
    }

    /// Whether there is neither part nor chunk.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Count of the parts, which have the first slots.
    #[must_use]
    pub fn part_count(&self) -> usize {
        self.parts.len()
    }

    /// Count of the chunks.
    #[must_use]
    pub fn chunk_count(&self) -> usize {
        self.chunks.len()
    }

    /// All slots in sending order.
    pub fn slots(&self) -> impl DoubleEndedIterator<Item = Slot> + use<> {
        (0..self.len()).map(Slot)
    }

    /// `None` if there is no such chunk.
    #[must_use]
    pub fn slot(&self, id: ChunkId) -> Option<Slot> {
        let number = usize::try_from(id.number()).ok()?;
        if id.is_part() {
            (number < self.parts.len()).then_some(Slot(number))
        } else {
            (number < self.chunks.len()).then_some(Slot(self.parts.len() + number))
        }
    }

    /// How the wire names it.
    #[must_use]
    pub fn id(&self, slot: Slot) -> ChunkId {
        let number = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        match slot.0.checked_sub(self.parts.len()) {
            Some(at) => ChunkId::chunk(number(at)),
            None => ChunkId::part(number(slot.0)),
        }
    }

    /// Slots of the chunks or parts whose numbers on the wire are within `first..end`.
    pub fn slots_of(&self, first: u32, end: u64) -> impl Iterator<Item = Slot> + use<> {
        let parts = self.parts.len();
        let part_bit = u64::from(PART_BIT);
        let within = |from: u64, count: usize| {
            let start = u64::from(first).saturating_sub(from);
            let end = end.saturating_sub(from);
            let bounded = |at: u64| usize::try_from(at).unwrap_or(count).min(count);
            bounded(start)..bounded(end)
        };
        let chunks = within(0, self.chunks.len()).map(move |at| Slot(parts + at));
        chunks.chain(within(part_bit, parts).map(Slot))
    }

    /// Whether it is a part of the manifest.
    #[must_use]
    pub fn is_part(&self, slot: Slot) -> bool {
        slot.0 < self.parts.len()
    }

    /// Its length.
    ///
    /// # Panics
    /// If the slot is of another table.
    #[must_use]
    pub fn frame_len(&self, slot: Slot) -> FrameLen {
        match slot.0.checked_sub(self.parts.len()) {
            Some(at) => self.chunks.get(at).copied(),
            None => self.parts.get(slot.0).copied(),
        }
        .unwrap_or_else(|| panic!("slot {} of a table of {}", slot.0, self.len()))
    }

    /// Source symbols of all parts and chunks.
    #[must_use]
    pub fn source_symbols(&self) -> u64 {
        let count = |len: &FrameLen| u64::from(len.source_count());
        self.parts.iter().chain(&self.chunks).map(count).sum()
    }
}

const TABLE_MAX: usize = 1 << 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repair_counts_are_those_of_the_specification() {
        // 2.2: the next power of two from K/3 on, within 64..=1024.
        let cases = [(1, 64), (192, 64), (193, 128), (372, 128), (745, 256)];
        let long = [(1490, 512), (1536, 512), (1537, 1024), (2980, 1024)];
        for (source, repair) in cases.into_iter().chain(long).chain([(K_MAX, 1024)]) {
            assert_eq!(repair_count(source), repair, "K = {source}");
        }
    }

    #[test]
    fn frames_have_a_length_that_the_code_can_carry() {
        assert_eq!(FrameLen::new(0), None);
        assert_eq!(FrameLen::new(FRAME_MAX + 1), None);
        let longest = FrameLen::new(FRAME_MAX).unwrap();
        assert_eq!(longest.source_count(), K_MAX);
        assert_eq!(longest.buffer_len(), FRAME_MAX as usize);
        let counts = [1, 1407, 1408, 1409].map(|len| FrameLen::new(len).unwrap().source_count());
        assert_eq!(counts, [1, 1, 1, 2]);
    }

    #[test]
    fn parts_come_before_chunks_and_each_has_its_name() {
        let len = |len| FrameLen::new(len).unwrap();
        let table = Table::new(vec![len(5), len(6)], vec![len(7), len(3000)]);
        let ids: Vec<_> = table.slots().map(|slot| table.id(slot)).collect();
        let expected = [
            ChunkId::part(0),
            ChunkId::part(1),
            ChunkId::chunk(0),
            ChunkId::chunk(1),
        ];
        assert_eq!(ids, expected);
        for (slot, id) in table.slots().zip(ids) {
            assert_eq!(table.slot(id), Some(slot));
            assert_eq!(ChunkId::from_wire(id.to_wire()), id);
        }
        assert_eq!(table.slot(ChunkId::chunk(2)), None);
        assert_eq!(table.slot(ChunkId::part(2)), None);
        assert_eq!(table.source_symbols(), 6);
        let slots = |first, end| table.slots_of(first, end).map(|s| s.0).collect::<Vec<_>>();
        assert_eq!(slots(0, 1 << 32), [2, 3, 0, 1]);
        assert_eq!(slots(1, 1 << 31), [3]);
        assert_eq!(slots((1 << 31) + 1, 1 << 32), [1]);
        assert_eq!(slots(7, 9), []);
        assert!(ChunkId::part(1).to_wire() >> 31 == 1);
    }
}
