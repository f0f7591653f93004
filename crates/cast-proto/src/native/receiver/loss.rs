//! What the network lost (5.6: loss in STATUS, from seq).

/// Counts DATA of one epoch between beacons, whose count of them is signed.
#[derive(Clone, Debug, Default)]
pub(super) struct LossMeter {
    /// Number of the next DATA by the last beacon; `None` before the first one of an epoch.
    next_seq: Option<u32>,
    /// Arrived since the last beacon.
    arrived: u32,
    /// Sent and arrived between beacons since the last report.
    sent_reported: u64,
    arrived_reported: u64,
}

impl LossMeter {
    /// A DATA arrived.
    pub(super) fn arrived(&mut self) {
        self.arrived = self.arrived.saturating_add(1);
    }

    /// A beacon of the same epoch says which DATA is next.
    pub(super) fn beacon(&mut self, next_seq: u32) {
        if let Some(last) = self.next_seq {
            let sent = next_seq.saturating_sub(last);
            self.sent_reported += u64::from(sent);
            self.arrived_reported += u64::from(self.arrived.min(sent));
        }
        self.next_seq = Some(next_seq);
        self.arrived = 0;
    }

    /// A new epoch counts from 0.
    pub(super) fn new_epoch(&mut self) {
        self.next_seq = None;
    }

    /// Lost of a million since this was asked last, without those that the own socket dropped.
    pub(super) fn take_ppm(&mut self, socket_drops: u64) -> u32 {
        let sent = std::mem::take(&mut self.sent_reported);
        let arrived = std::mem::take(&mut self.arrived_reported);
        if sent == 0 {
            return 0;
        }
        let lost = sent.saturating_sub(arrived.saturating_add(socket_drops));
        let ppm = u128::from(lost) * 1_000_000 / u128::from(sent);
        u32::try_from(ppm).unwrap_or(1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_counted_between_beacons() {
        let mut meter = LossMeter::default();
        meter.arrived();
        meter.beacon(100);
        assert_eq!(meter.take_ppm(0), 0);
        (0..90).for_each(|_| meter.arrived());
        meter.beacon(200);
        assert_eq!(meter.take_ppm(0), 100_000);
        (0..90).for_each(|_| meter.arrived());
        meter.beacon(300);
        assert_eq!(meter.take_ppm(4), 60_000);
        // Duplicates do not hide what comes later.
        (0..150).for_each(|_| meter.arrived());
        meter.beacon(400);
        (0..50).for_each(|_| meter.arrived());
        meter.beacon(500);
        assert_eq!(meter.take_ppm(0), 250_000);
        meter.new_epoch();
        meter.beacon(5);
        assert_eq!(meter.take_ppm(0), 0);
    }
}
