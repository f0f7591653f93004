//! Which frames have to be at hand.

use std::collections::BTreeMap;

use crate::native::geometry::{ChunkId, Slot, Table};

/// A frame that is to be read, and its repair symbols computed if they will be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRequest {
    /// Of which chunk.
    pub chunk: ChunkId,
    /// Whether repair symbols will be sent.
    pub with_repair: bool,
}

/// Frames that are there or on their way: those that are sent, and the next of each kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Frames(BTreeMap<Slot, Frame>);

#[derive(Clone, Copy, Debug)]
struct Frame {
    is_asked: bool,
    with_repair: bool,
    is_there: bool,
    has_repair: bool,
}

impl Frames {
    /// Keeps those in `turns`, and wants the next repair and the next planned one.
    pub(super) fn want(
        &mut self,
        turns: impl Iterator<Item = Slot>,
        repair: Option<Slot>,
        planned: Option<(Slot, bool)>,
    ) {
        let kept: Vec<Slot> = turns.collect();
        let wanted = repair.map(|slot| (slot, true)).into_iter().chain(planned);
        let wanted: Vec<(Slot, bool)> = wanted.collect();
        self.0.retain(|slot, _| {
            kept.contains(slot) || wanted.iter().any(|(wanted, _)| wanted == slot)
        });
        for (slot, with_repair) in wanted {
            let frame = self.0.entry(slot).or_insert(Frame {
                is_asked: false,
                with_repair,
                is_there: false,
                has_repair: false,
            });
            if with_repair && !frame.with_repair {
                frame.with_repair = true;
                frame.is_asked = false;
            }
        }
    }

    pub(super) fn poll(&mut self, table: &Table) -> Option<FrameRequest> {
        let (slot, frame) = self.0.iter_mut().find(|(_, frame)| !frame.is_asked)?;
        frame.is_asked = true;
        Some(FrameRequest {
            chunk: table.id(*slot),
            with_repair: frame.with_repair,
        })
    }

    pub(super) fn arrived(&mut self, slot: Slot, has_repair: bool) {
        if let Some(frame) = self.0.get_mut(&slot) {
            frame.is_there = true;
            frame.has_repair |= has_repair;
        }
    }

    pub(super) fn is_ready(&self, slot: Slot, with_repair: bool) -> bool {
        let frame = self.0.get(&slot);
        frame.is_some_and(|frame| frame.is_there && (frame.has_repair || !with_repair))
    }

    pub(super) fn uses(&self, slot: Slot) -> bool {
        self.0.contains_key(&slot)
    }
}
