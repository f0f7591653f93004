use proptest::prelude::*;

use super::*;

/// As vgcfgbackup of LVM 2.03.16 wrote it, without its long comments: `root` is in two pieces, extents 182 and up are free.
const BACKUP: &str = include_str!("../../testdata/lvm/vg0.vgcfg");

const MIB: u64 = 1 << 20;
/// Of the captured partition: 511 extents of 4 MiB.
const LEN: u64 = 2048 * MIB;

/// `root`, `swap`, `home`.
fn demands() -> [VolumeDemand; 3] {
    let data = |minimum| VolumeDemand {
        minimum: minimum * MIB,
        content: 8 * MIB,
        is_fixed: false,
    };
    let swap = VolumeDemand {
        is_fixed: true,
        ..VolumeDemand::default()
    };
    [data(99), swap, data(50)]
}

fn places(plan: &GroupPlan) -> Vec<(&str, u64, u64)> {
    let places = plan.volumes.iter();
    places
        .map(|place| (place.name.as_str(), place.first_extent, place.extents))
        .collect()
}

#[test]
fn a_backup_of_lvm_is_understood() {
    let backup = GroupBackup::parse(BACKUP).unwrap();
    assert_eq!(backup.name, "vg0");
    assert_eq!(backup.uuid, "CkSU3a-dsN9-bRRx-vEFA-gV7g-mNVw-ZFkvNA");
    assert_eq!(
        backup.physical_uuid,
        "mV1gsO-RiAg-LK9G-LCUe-7Aug-tRFH-cCbmB3"
    );
    assert_eq!((backup.extent_len, backup.head_len), (4 * MIB, MIB));
    let volumes: Vec<_> = (backup.volumes.iter())
        .map(|volume| (volume.name.as_str(), volume.len / MIB))
        .collect();
    assert_eq!(volumes, [("root", 400), ("swap", 128), ("home", 200)]);
}

#[test]
fn volumes_in_pieces_are_put_together() {
    let backup = GroupBackup::parse(BACKUP).unwrap();
    for sizing in [Sizing::Keep, Sizing::Fit] {
        let plan = backup.plan(LEN, 512, &demands(), sizing).unwrap();
        let expected = [("root", 0, 100), ("swap", 100, 32), ("home", 132, 50)];
        assert_eq!(places(&plan), expected);
        assert_eq!(plan.volumes[1].offset, MIB + 400 * MIB);
        let again = GroupBackup::parse(&plan.metadata).unwrap();
        assert_eq!(again.extents, 511);
        assert!(again.volumes.iter().all(|volume| volume.is_in_one_piece));
        // And what is in one piece stays where it is.
        let mut moved = again.clone();
        moved.volumes[2].first = 300;
        let plan = moved.plan(LEN, 512, &demands(), sizing).unwrap();
        assert_eq!(plan.volumes[2].first_extent, 300);
    }
}

#[test]
fn a_larger_partition_is_shared_out() {
    let backup = GroupBackup::parse(BACKUP).unwrap();
    let plan = backup.plan(2 * LEN, 512, &demands(), Sizing::Fit).unwrap();
    // 1023 extents; 841 are free, of which root gets two thirds.
    let expected = [("root", 0, 660), ("swap", 660, 32), ("home", 692, 331)];
    assert_eq!(places(&plan), expected);
    let again = GroupBackup::parse(&plan.metadata).unwrap();
    assert_eq!(again.extents, 1023);
    assert!(plan.metadata.contains("dev_size = 8388608"));
    let kept = backup.plan(2 * LEN, 512, &demands(), Sizing::Keep).unwrap();
    assert_eq!(kept.volumes[2].len, 200 * MIB);
}

#[test]
fn a_smaller_partition_gets_the_minimum_and_shares() {
    let backup = GroupBackup::parse(BACKUP).unwrap();
    // 25 + 32 + 13 extents are the least; 29 are left.
    let len = MIB + 4 * MIB * 100 - 1;
    let plan = backup.plan(len, 512, &demands(), Sizing::Fit).unwrap();
    let expected = [("root", 0, 44), ("swap", 44, 32), ("home", 76, 23)];
    assert_eq!(places(&plan), expected);
    let least = MIB + 4 * MIB * (25 + 32 + 13);
    backup.plan(least, 512, &demands(), Sizing::Fit).unwrap();
    let refused = backup.plan(least - 1, 512, &demands(), Sizing::Fit);
    assert!(
        matches!(refused, Err(GroupError::TooSmall { needed, is_fixed: false, .. }) if needed == least),
        "{refused:?}"
    );
    let refused = backup.plan(LEN - 4 * MIB, 512, &demands(), Sizing::Keep);
    assert!(
        matches!(refused, Err(GroupError::TooSmall { needed, is_fixed: true, .. }) if needed == MIB + 511 * 4 * MIB),
        "{refused:?}"
    );
}

#[test]
fn content_larger_than_its_volume_is_refused() {
    let backup = GroupBackup::parse(BACKUP).unwrap();
    let mut demands = demands();
    demands[2].content = 200 * MIB + 1;
    let refused = backup
        .plan(2 * LEN, 512, &demands, Sizing::Fit)
        .unwrap_err();
    assert!(matches!(refused, GroupError::Content { .. }), "{refused}");
}

#[test]
fn extents_are_whole_sectors() {
    let text = BACKUP.replace("pe_start = 2048", "pe_start = 2047");
    let backup = GroupBackup::parse(&text).unwrap();
    backup.plan(LEN, 512, &demands(), Sizing::Fit).unwrap();
    let refused = backup.plan(LEN, 4096, &demands(), Sizing::Fit).unwrap_err();
    assert_eq!(refused, GroupError::Sectors { sector: 4096 });
}

#[test]
fn what_is_not_simply_a_part_of_one_partition_is_refused() {
    for (from, to, expected) in [
        ("type = \"striped\"", "type = \"thin-pool\"", "thin-pool"),
        ("stripe_count = 1", "stripe_count = 2", "striped"),
        ("\"READ\", \"WRITE\", \"VISIBLE\"", "\"READ\"", "hidden"),
        ("\"pv0\", 107", "\"pv0\", 50", "contradict"),
        ("\"pv0\", 157", "\"pv0\", 490", "contradict"),
        ("\"pv0\", 157", "\"pv1\", 157", "place"),
        ("\"pv0\", 157", "\"pv0\", -1", "place"),
        (
            "start_extent = 75",
            "start_extent = 76",
            "order of segments",
        ),
        ("extent_count = 50", "extent_count = 0", "extents"),
        ("extent_size = 8192", "extent_size = 0", "extent size"),
        ("pe_start = 2048", "pe_start = 0", "pe_start"),
        ("pe_start = 2048", "pe_start = 999999", "pe_start"),
        (
            "pe_count = 511",
            "pe_count = 9223372036854775807",
            "pe_count",
        ),
        ("id = \"66dGdd", "id = \"66dGd/", "UUID"),
        ("home {", "root {", "name of its own"),
        ("home {", "-home {", "name"),
        ("pv0 {", "pv9 { }\npv0 {", "2 physical volumes"),
        ("vg0 {", "x { }\nvg0 {", "no usable volume group"),
        ("vg0 {", "vg0 ", "line"),
    ] {
        let text = BACKUP.replacen(from, to, 1);
        assert_ne!(text, BACKUP, "{from}");
        let refused = GroupBackup::parse(&text).unwrap_err().to_string();
        assert!(refused.contains(expected), "{to}: {refused}");
    }
}

proptest! {
    #[test]
    fn places_are_apart_and_on_the_partition(
        len in 0..4 * LEN,
        minimum in prop::array::uniform3(0..500_u64),
        fixed in prop::array::uniform3(any::<bool>()),
        is_fit in any::<bool>(),
    ) {
        let backup = GroupBackup::parse(BACKUP).unwrap();
        let mut demands = [VolumeDemand::default(); 3];
        for (at, demand) in demands.iter_mut().enumerate() {
            *demand = VolumeDemand { minimum: minimum[at] * MIB, content: MIB, is_fixed: fixed[at] };
        }
        let sizing = if is_fit { Sizing::Fit } else { Sizing::Keep };
        let Ok(plan) = backup.plan(len, 512, &demands, sizing) else { return Ok(()) };
        let mut end = plan.head_len;
        for (place, (captured, demand)) in plan.volumes.iter().zip(backup.volumes.iter().zip(&demands)) {
            prop_assert!(place.offset >= end && place.len >= demand.content.max(1));
            end = place.offset + place.len;
            prop_assert!(!(demand.is_fixed || sizing == Sizing::Keep) || place.len == captured.len);
            prop_assert!(place.len >= demand.minimum.min(captured.len));
        }
        prop_assert!(end <= len);
        let again = GroupBackup::parse(&plan.metadata).unwrap();
        prop_assert!(again.extents * again.extent_len + again.head_len <= len);
        for (place, found) in plan.volumes.iter().zip(&again.volumes) {
            prop_assert_eq!((&place.name, &place.uuid, place.first_extent), (&found.name, &found.uuid, found.first));
        }
    }
}
