use proptest::prelude::*;

use super::super::dump::{DumpLabel, DumpPartition, MAX_PARTITIONS};
use super::*;

fn dump(label: DumpLabel, ends: Option<(u64, u64)>, rows: &[(u32, &str, u64, u64)]) -> Dump {
    Dump {
        label: Some(label),
        first_lba: ends.map(|ends| ends.0),
        last_lba: ends.map(|ends| ends.1),
        partitions: rows
            .iter()
            .map(|&(number, kind, start, size)| DumpPartition {
                number,
                kind: kind.to_owned(),
                start,
                size,
                ..DumpPartition::default()
            })
            .collect(),
        ..Dump::default()
    }
}

fn disk(sectors: u64, logical_sector: u32) -> Shape {
    Shape {
        size: sectors * u64::from(logical_sector),
        logical_sector,
    }
}

#[track_caller]
fn layout(
    original: &Dump,
    minimum: &Dump,
    fixed: &str,
    disk: Shape,
) -> Result<Vec<(u32, u64, u64)>, FillError> {
    let fixed = parse_fixed(fixed).unwrap();
    let filled = fill(original, Some(minimum), &fixed, &disk)?;
    Ok(filled.iter().map(|p| (p.number, p.start, p.size)).collect())
}

/// ESP, MSR, data, recovery on a disk of 134217728 sectors; only the data partition varies.
fn windows() -> (Dump, Dump) {
    let rows = |data| {
        [
            (1, "ESP", 2048, 204_800),
            (2, "MSR", 206_848, 32_768),
            (3, "data", 239_616, data),
            (4, "recovery", 133_144_576, 1_071_104),
        ]
    };
    let ends = Some((34, 134_217_694));
    (
        dump(DumpLabel::Gpt, ends, &rows(132_904_960)),
        dump(DumpLabel::Gpt, ends, &rows(60_000_000)),
    )
}

#[test]
fn gpt_data_partition_takes_what_is_there() {
    let (original, minimum) = windows();
    for (sectors, data, recovery) in [
        (268_435_456, 267_124_224, 267_363_840),
        (134_217_728, 132_906_496, 133_146_112),
        (100_000_000, 98_689_024, 98_928_640),
        (61_400_000, 60_088_832, 60_328_448),
    ] {
        assert_eq!(
            layout(&original, &minimum, "1:2:4", disk(sectors, 512)).unwrap(),
            [
                (1, 2048, 204_800),
                (2, 206_848, 32_768),
                (3, 239_616, data),
                (4, recovery, 1_071_104),
            ],
            "{sectors}"
        );
    }
}

#[test]
fn a_disk_that_would_truncate_data_is_refused_with_figures() {
    let (original, minimum) = windows();
    for sectors in [61_000_000, 50_000_000] {
        let error = layout(&original, &minimum, "1:2:4", disk(sectors, 512)).unwrap_err();
        let FillError::TooSmall {
            number,
            needed,
            got,
            disk: found,
            required,
        } = error.clone()
        else {
            panic!("{error}");
        };
        assert!(number == 3 || number == 4);
        assert!(got < needed);
        assert_eq!(found, sectors * 512);
        let required = required / 512;
        let sum = 2048 + 34 + 204_800 + 32_768 + 1_071_104 + 60_000_000;
        assert!((sum..=sum + 512).contains(&required), "{required}");
        layout(&original, &minimum, "1:2:4", disk(required, 512)).unwrap();
        layout(&original, &minimum, "1:2:4", disk(required - 1, 512)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("about 31.4 GB are needed"), "{text}");
        assert!(!text.contains("sector"), "{text}");
    }
}

#[test]
fn the_size_that_is_needed_counts_how_the_room_is_shared() {
    // The first gets three quarters of the room, so that the second lacks what the first has too much.
    let rows = |one, two| [(1, "a", 2048, one), (2, "b", 10_000_000, two)];
    let ends = Some((34, 20_000_000));
    let original = dump(DumpLabel::Gpt, ends, &rows(6_000_128, 2_000_384));
    let minimum = dump(DumpLabel::Gpt, ends, &rows(10_240, 2_000_384));
    let error = layout(&original, &minimum, "", disk(4_000_000, 512)).unwrap_err();
    let FillError::TooSmall {
        disk: found,
        required,
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(found, 4_000_000 * 512);
    assert!(required > found, "{required}");
    layout(&original, &minimum, "", disk(required / 512, 512)).unwrap();
}

fn linux() -> (Dump, Dump) {
    let rows = |p5, p7| {
        [
            (1, "83", 2048, 1_024_000),
            (2, "5", 1_028_094, 40_912_898),
            (5, "83", 1_028_096, p5),
            (6, "82", 21_030_912, 4_194_304),
            (7, "83", 25_227_264, p7),
        ]
    };
    (
        dump(DumpLabel::Dos, None, &rows(20_000_768, 16_713_728)),
        dump(DumpLabel::Dos, None, &rows(8_000_512, 2_000_896)),
    )
}

#[test]
fn logical_partitions_share_and_the_container_follows() {
    let (original, minimum) = linux();
    for (sectors, expected) in [
        (
            41_943_040,
            [
                (1, 2048, 1_024_000),
                (2, 1_028_094, 40_912_898),
                (5, 1_028_096, 20_000_768),
                (6, 21_030_912, 4_194_304),
                (7, 25_227_264, 16_713_728),
            ],
        ),
        (
            83_886_080,
            [
                (1, 2048, 2_161_664),
                (2, 2_165_758, 81_717_250),
                (5, 2_165_760, 42_229_760),
                (6, 44_397_568, 4_194_304),
                (7, 48_593_920, 35_289_088),
            ],
        ),
        (
            20_000_000,
            [
                (1, 2048, 1_024_000),
                (2, 1_028_094, 18_971_650),
                (5, 1_028_096, 8_371_200),
                (6, 9_401_344, 4_194_304),
                (7, 13_597_696, 6_402_048),
            ],
        ),
    ] {
        assert_eq!(
            layout(&original, &minimum, "6", disk(sectors, 512)).unwrap(),
            expected,
            "{sectors}"
        );
    }
}

#[test]
fn large_sectors_have_a_quantum_of_their_own() {
    let rows = |p3| {
        [
            (1, "ESP", 256, 25_600),
            (2, "data", 25_856, 262_144),
            (3, "data", 288_000, p3),
        ]
    };
    let ends = Some((6, 16_777_210));
    let original = dump(DumpLabel::Gpt, ends, &rows(16_489_210));
    let minimum = dump(DumpLabel::Gpt, ends, &rows(3_000_000));
    assert_eq!(
        layout(&original, &minimum, "1", disk(33_554_432, 4096)).unwrap(),
        [
            (1, 256, 25_600),
            (2, 25_856, 524_672),
            (3, 550_528, 33_003_712),
        ]
    );
}

#[test]
fn a_minimum_between_quanta_is_kept() {
    // 1000001 sectors are needed; FOG would give 1000000 rounded down to 999936.
    let original = dump(
        DumpLabel::Gpt,
        Some((34, 9_999_966)),
        &[(1, "a", 2048, 1_500_000), (2, "b", 1_502_048, 8_000_000)],
    );
    let minimum = dump(
        DumpLabel::Gpt,
        None,
        &[(1, "a", 2048, 1_000_001), (2, "b", 1_502_048, 10_000)],
    );
    let out = layout(&original, &minimum, "", disk(4_000_000, 512)).unwrap();
    assert!(out[0].2 >= 1_000_001, "{out:?}");
}

#[test]
fn lists_of_fixed_partitions_may_be_ragged() {
    assert_eq!(parse_fixed("1:2:4\n").unwrap(), [1, 2, 4]);
    assert_eq!(parse_fixed(":3").unwrap(), [3]);
    assert_eq!(parse_fixed("").unwrap(), [0_u32; 0]);
    assert!(parse_fixed("1,2").is_err());
}

#[test]
fn nothing_to_lay_out_is_an_error() {
    let empty = dump(DumpLabel::Gpt, None, &[]);
    assert_eq!(
        fill(&empty, None, &[], &disk(1000, 512)),
        Err(FillError::Empty)
    );
}

#[test]
fn an_empty_container_stays_on_the_disk() {
    let rows = [(1, "83", 2048, 100_000), (2, "5", 102_048, 9_000_000)];
    let original = dump(DumpLabel::Dos, None, &rows);
    let out = layout(&original, &original, "1", disk(200_000, 512)).unwrap();
    assert_eq!(out, [(1, 2048, 100_000), (2, 104_094, 95_906)]);
    let error = layout(&original, &original, "1", disk(102_500, 512)).unwrap_err();
    assert!(
        matches!(error, FillError::TooSmall { number: 2, .. }),
        "{error}"
    );
    // And does not swallow what comes behind it.
    let rows = [
        (1, "5", 2048, 50_000),
        (2, "83", 60_000, 1000),
        (3, "0", 900_000, 0),
    ];
    let original = dump(DumpLabel::Dos, None, &rows);
    let out = layout(&original, &original, "2", disk(200_000, 512)).unwrap();
    assert!(out[0].1 + out[0].2 <= out[1].1, "{out:?}");
}

#[test]
fn no_partition_vanishes_behind_the_end() {
    // The minimum says nothing is needed, and there is no room at all.
    let original = dump(
        DumpLabel::Gpt,
        Some((34, 9_999_966)),
        &[(1, "a", 2048, 1_500_000), (2, "b", 1_502_048, 8_000_000)],
    );
    let minimum = dump(
        DumpLabel::Gpt,
        None,
        &[(1, "a", 2048, 1_500_000), (2, "b", 1_502_048, 0)],
    );
    let error = layout(&original, &minimum, "1", disk(1_502_082, 512)).unwrap_err();
    assert!(
        matches!(error, FillError::TooSmall { number: 2, .. }),
        "{error}"
    );
}

#[test]
fn logical_partitions_outside_their_container_are_refused() {
    let rows = [(5, "83", 2048, 1000), (1, "5", 500_000, 20_000)];
    let original = dump(DumpLabel::Dos, None, &rows);
    assert_eq!(
        layout(&original, &original, "5", disk(2_000_000, 512)),
        Err(FillError::Container { number: 1 })
    );
}

proptest! {
    /// Whatever the image and the disk: a layout keeps every need, overlaps nothing and ends in time,
    /// or there is none.
    #[test]
    fn layouts_are_sound(
        sizes in prop::collection::vec((1_u64..5_000_000, 1_u64..100, any::<bool>()), 1..8),
        sectors in 2048_u64..20_000_000,
    ) {
        let mut start = 2048;
        let mut rows = Vec::new();
        let mut least = Vec::new();
        let mut fixed = Vec::new();
        for (index, (size, percent, is_fixed)) in sizes.iter().enumerate() {
            let number = u32::try_from(index + 1).unwrap();
            rows.push((number, "x", start, *size));
            least.push((number, "x", start, if *is_fixed { *size } else { (size * percent / 100).max(1) }));
            if *is_fixed {
                fixed.push(number);
            }
            start += size;
        }
        let ends = Some((34, start + 100));
        let original = dump(DumpLabel::Gpt, ends, &rows);
        let minimum = dump(DumpLabel::Gpt, ends, &least);
        if let Ok(out) = fill(&original, Some(&minimum), &fixed, &disk(sectors, 512)) {
            let mut end = 2048;
            for (p, need) in out.iter().zip(&least) {
                prop_assert!(p.start >= end);
                prop_assert!(p.size >= need.3);
                end = p.start + p.size;
            }
            prop_assert!(end <= sectors - 34);
        }
    }
}

#[test]
fn the_list_of_fixed_partitions_has_an_end() {
    let list = "1:".repeat(MAX_PARTITIONS);
    assert_eq!(parse_fixed(&list).unwrap().len(), MAX_PARTITIONS);
    let error = parse_fixed(&format!("{list}1")).unwrap_err();
    assert!(matches!(error, FillError::FixedList(_)), "{error}");
    let error = parse_fixed("\u{feff}:1\n").unwrap_err().to_string();
    assert!(error.contains(r#"holds "\u{feff}:1""#), "{error}");
}
