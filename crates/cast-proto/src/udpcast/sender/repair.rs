//! Repair blocks on demand: one makes up for a different missing block at each receiver.

use crate::bitmap::Bitmap;
use crate::udpcast::BlockNo;
use crate::udpcast::fec::MAX_STRIPE_BLOCKS;

/// Repair blocks are numbered below this: an original receiver keeps so many descriptors, and no
/// attentive one minds.
const MAX_REPAIR_BLOCKS: u16 = 1024;

/// After so many rounds with repair blocks a slice is finished by repeating what is missing.
const MAX_ROUNDS: u32 = 4;

/// The repair blocks of one slice. A row, once sent, is not sent again.
pub(super) struct RepairQueue {
    by_stripe: Vec<StripeQueue>,
    /// Rows there are for each stripe: `next_row` + `due` never exceeds it.
    rows: u16,
    /// Rounds in which some were sent.
    rounds: u32,
}

struct StripeQueue {
    /// Data blocks of this stripe.
    members: Bitmap,
    next_row: u16,
    /// To be sent in this round.
    due: u16,
    sent: u16,
}

/// How the needs of receivers are met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// To be repeated as they are.
    pub(super) repeat: Bitmap,
    /// Made up for by repair blocks.
    pub(super) repaired: Bitmap,
}

impl RepairQueue {
    /// For a slice of `blocks` data blocks in `stripes` stripes, rows below `first_row` being used.
    pub(super) fn new(blocks: u16, stripes: u16, first_row: u16) -> Self {
        let stripes = stripes.max(1);
        let by_stripe = (0..stripes)
            .map(|number| {
                let mut members = Bitmap::new();
                for block in (number..blocks).step_by(stripes.into()) {
                    members.insert(block);
                }
                StripeQueue {
                    members,
                    next_row: first_row,
                    due: 0,
                    sent: 0,
                }
            })
            .collect();
        Self {
            by_stripe,
            rows: MAX_STRIPE_BLOCKS.min(MAX_REPAIR_BLOCKS / stripes),
            rounds: 0,
        }
    }

    /// Meets what each receiver still lacks (`needs`) beside what has been sent in this round: with
    /// as many repair blocks as the neediest lacks, unless that saves less than a quarter.
    pub(super) fn plan(&mut self, needs: &[Bitmap]) -> Plan {
        let mut plan = Plan::default();
        let needed = needs
            .iter()
            .fold(Bitmap::new(), |all, need| all.union(need));
        for stripe in &mut self.by_stripe {
            if needed.intersection(&stripe.members).is_empty() {
                stripe.due = 0;
                continue;
            }
            let (mut most, mut all) = (0, Bitmap::new());
            for need in needs {
                let here = need.intersection(&stripe.members);
                let left = here.count().saturating_sub(stripe.sent);
                if left > 0 {
                    most = most.max(left);
                    all = all.union(&here);
                }
            }
            let has_rows = stripe.next_row.saturating_add(most) <= self.rows;
            let is_saving = u32::from(most) * 4 <= u32::from(all.count()) * 3;
            if has_rows && is_saving && self.rounds < MAX_ROUNDS {
                stripe.due = most;
                plan.repaired = plan.repaired.union(&all);
            } else {
                stripe.due = 0;
                plan.repeat = plan.repeat.union(&all);
            }
        }
        plan
    }

    pub(super) fn is_due(&self) -> bool {
        self.by_stripe.iter().any(|stripe| stripe.due > 0)
    }

    /// The number of the next repair block to send, and the number of stripes.
    pub(super) fn take(&mut self) -> Option<(BlockNo, u16)> {
        let stripes = u16::try_from(self.by_stripe.len()).ok()?;
        let (number, stripe) = (0..)
            .zip(&mut self.by_stripe)
            .find(|(_, stripe)| stripe.due > 0)?;
        // Below MAX_REPAIR_BLOCKS, as `rows` bounds the row.
        let block = stripe.next_row * stripes + number;
        stripe.due -= 1;
        stripe.sent += 1;
        stripe.next_row += 1;
        Some((BlockNo(block), stripes))
    }

    /// A new round: answers tell what those sent have done. Says whether there were any.
    pub(super) fn next_round(&mut self) -> bool {
        let is_used = self.by_stripe.iter().any(|stripe| stripe.sent > 0);
        for stripe in &mut self.by_stripe {
            (stripe.due, stripe.sent) = (0, 0);
        }
        self.rounds += u32::from(is_used);
        is_used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(blocks: &[u16]) -> Bitmap {
        let mut set = Bitmap::new();
        for block in blocks {
            set.insert(*block);
        }
        set
    }

    fn taken(repairs: &mut RepairQueue) -> Vec<u16> {
        std::iter::from_fn(|| repairs.take())
            .map(|(block, _)| block.0)
            .collect()
    }

    #[test]
    fn as_many_repair_blocks_as_the_neediest_lacks_in_each_stripe() {
        let mut repairs = RepairQueue::new(16, 2, 0);
        let plan = repairs.plan(&[set(&[0, 2, 1]), set(&[4, 6, 8]), set(&[10, 3]), set(&[5])]);
        assert_eq!(plan.repeat, Bitmap::new());
        assert_eq!(plan.repaired, set(&[0, 1, 2, 3, 4, 5, 6, 8, 10]));
        // StripeQueue 0: rows 0 to 2; stripe 1: row 0.
        assert_eq!(taken(&mut repairs), [0, 2, 4, 1]);
        assert!(repairs.next_round());
        repairs.plan(&[set(&[0]), set(&[4])]);
        assert_eq!(taken(&mut repairs), [6], "a fresh row");
    }

    #[test]
    fn what_one_alone_lacks_is_repeated() {
        let mut repairs = RepairQueue::new(16, 1, 0);
        let plan = repairs.plan(&[set(&[1, 2, 3, 4]), set(&[4])]);
        assert_eq!(plan.repeat, set(&[1, 2, 3, 4]));
        assert!(!repairs.is_due() && !repairs.next_round());
    }

    #[test]
    fn a_late_answer_counts_what_is_on_its_way() {
        let mut repairs = RepairQueue::new(16, 1, 0);
        repairs.plan(&[set(&[1]), set(&[2])]);
        assert_eq!(taken(&mut repairs), [0]);
        let plan = repairs.plan(&[set(&[1]), set(&[2]), set(&[5, 6])]);
        assert_eq!(plan.repaired, set(&[5, 6]), "the one sent, and one more");
        assert_eq!(taken(&mut repairs), [1]);
        assert_eq!(repairs.plan(&[set(&[1]), set(&[5, 6])]), Plan::default());
    }

    #[test]
    fn rows_and_rounds_come_to_an_end() {
        // 256 stripes leave 4 rows, of which 3 are used.
        let mut repairs = RepairQueue::new(1024, 256, 3);
        let needs = [set(&[0]), set(&[256])];
        assert_eq!(repairs.plan(&needs).repaired, set(&[0, 256]));
        assert_eq!(taken(&mut repairs), [3 * 256]);
        repairs.next_round();
        assert_eq!(repairs.plan(&needs).repeat, set(&[0, 256]), "no row left");

        let mut repairs = RepairQueue::new(128, 1, 0);
        let needs = [set(&[0]), set(&[1])];
        for row in 0..4 {
            assert_eq!(repairs.plan(&needs).repeat, Bitmap::new());
            assert_eq!(taken(&mut repairs), [row]);
            assert!(repairs.next_round());
        }
        assert_eq!(repairs.plan(&needs).repeat, set(&[0, 1]));
    }
}
