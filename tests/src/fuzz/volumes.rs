//! Volume groups, laid out on partitions of any size: volumes are on the partition, and apart.

use deploy_plan::SmallFiles;
use disk::{GroupBackup, Sizing, VolumeDemand};

use super::feed::Feed;

/// Any sidecar, and any backup of LVM with any sizes.
pub fn volume_group(data: &[u8]) {
    let mut feed = Feed(data);
    let len = u64::from(feed.u32()) << (feed.byte() % 20);
    let sector = feed.one_of(&[512, 512, 4096]);
    let sizing = feed.one_of(&[Sizing::Fit, Sizing::Fit, Sizing::Keep]);
    let demands: Vec<VolumeDemand> = (0..feed.number() % 8)
        .map(|_| VolumeDemand {
            minimum: u64::from(feed.u32()) << (feed.byte() % 16),
            content: u64::from(feed.u16()),
            is_fixed: feed.byte() & 1 == 1,
        })
        .collect();
    let text = feed.0;
    let files = SmallFiles::from([("d1p2.lvm".to_owned(), text.to_vec())]);
    if let Err(refusal) = deploy_plan::sidecars(&files) {
        assert!(!refusal.to_string().is_empty());
    }
    let Ok(text) = str::from_utf8(text) else {
        return;
    };
    let backup = match GroupBackup::parse(text) {
        Ok(backup) => backup,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let mut demands = demands;
    demands.resize(backup.volumes.len(), VolumeDemand::default());
    let Ok(plan) = backup.plan(len, sector, &demands, sizing) else {
        return;
    };
    let mut places: Vec<(u64, u64)> = plan
        .volumes
        .iter()
        .map(|volume| (volume.offset, volume.len))
        .collect();
    places.sort_unstable();
    let mut end = plan.head_len;
    for (offset, volume_len) in places {
        assert!(offset >= end && volume_len > 0, "volumes share bytes");
        end = offset.checked_add(volume_len).expect("an end of a volume");
    }
    assert!(end <= len, "a volume leaves the partition");
    for (volume, demand) in plan.volumes.iter().zip(&demands) {
        assert!(volume.len >= demand.content, "a volume is too small");
    }
    let again = GroupBackup::parse(&plan.metadata).expect("what was written is read again");
    assert_eq!(again.volumes.len(), plan.volumes.len());
}
