use proptest::prelude::*;

use super::*;
use crate::native::geometry::ChunkId;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn data() -> DataHeader {
    DataHeader {
        epoch: 0xfe,
        class: 0x21,
        is_sealed: true,
        burst: 3,
        tag: Tag([0xa, 0xb, 0xc, 0xd]),
        seq: 0x0102_0304,
        chunk: ChunkId::part(7),
        symbol: 0x1122,
        left: 0x3344,
    }
}

fn beacon() -> Beacon {
    Beacon {
        epoch: EpochId(0x0102_0304_0506_0708),
        counter: 0x1112_1314,
        sender: 2,
        state: SenderState::Draining,
        flags: BeaconFlags {
            is_sealed: true,
            asks: true,
            is_near_end: true,
        },
        salt: [0x5a; 16],
        next_seq: 0x2122_2324,
        rate: 0x3132_3334,
        unfinished: 5,
        clients: 6,
        window_ms: 30,
        usual_need: 40,
        cap: 50,
        status_interval: 10,
        session_ms: 1234,
        planned: 77,
        announced: vec![Announcement {
            chunk: ChunkId::chunk(9),
            burst: 1,
            state: Announced::Queued,
            need: 33,
        }],
        ended: vec![Ended {
            chunk: ChunkId::chunk(8),
            burst: 255,
        }],
        plan: Some(Plan {
            from: 5,
            count: 1000,
            runs: vec![PlanRun {
                run: Run {
                    first: 7,
                    count: 300,
                },
                priority: Priority(254),
            }],
        }),
        text: Some("hello".into()),
        senders: vec![0, 2],
        is_beyond_us: false,
    }
}

fn need() -> NeedBody {
    NeedBody {
        needs: vec![Need {
            chunk: ChunkId::chunk(9),
            burst: 1,
            need: 33,
        }],
        lacks: vec![Lacks {
            drain: None,
            chunks: Runs::of([3, 4, 5, 300]),
        }],
        polluted: vec![ChunkId::chunk(2)],
    }
}

fn status() -> Status {
    Status {
        flags: StatusFlags {
            is_done: true,
            is_bound_by_network: true,
            ..StatusFlags::default()
        },
        pool_used: 1,
        link: 10,
        chunks_done: 2,
        chunks_all: 3,
        loss_ppm: 4,
        peak: 5,
        socket_drops: 6,
        network: 7,
        drain: None,
        read_back: 8,
        waits: [9, 10, 11],
        error: 12,
        refused: 13,
        repaired: 14,
        by_unicast: 15,
    }
}

#[test]
fn version_1_of_data_stays_what_it_is() {
    let mut bytes = Vec::new();
    data().emit(&mut bytes);
    assert_eq!(hex(&bytes), "10fe61030a0b0c0d040302010700008022114433");
    assert_eq!(DATA_LEN, 1444);
}

#[test]
fn version_1_of_beacons_stays_what_it_is() {
    let head = BeaconHead {
        epoch: 9,
        tag: Tag([1, 2, 3, 4]),
        nonce: [7; NONCE_LEN],
    };
    let mut bytes = Vec::new();
    head.emit(&mut bytes);
    assert_eq!(bytes.len(), BEACON_HEAD_LEN);
    beacon().emit(&mut bytes);
    let expected = concat!(
        "1109000001020304070707070707070707070707",
        "080706050403020114131211020207005a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a",
        "242322213433323105000000060000001e00280032000a00d20400004d000000",
        "0108000900000001012100",
        "02050008000000ff",
        "030c0005000000e803000002ac02fe",
        "0502000002",
        "04050068656c6c6f",
    );
    assert_eq!(hex(&bytes), expected);
}

#[test]
fn version_1_of_feedback_stays_what_it_is() {
    let head = FeedbackHead {
        kind: FeedbackKind::Need,
        tag: Tag([1, 2, 3, 4]),
        client: ClientNo(0x0506_0708),
        counter: 0x0a0b_0c0d,
    };
    let mut bytes = Vec::new();
    head.emit(&mut bytes);
    assert_eq!(bytes.len(), FEEDBACK_HEAD_LEN);
    need().emit(&mut bytes);
    let expected = concat!(
        "1300000001020304080706050d0c0b0a",
        "1008000900000001002100",
        "12040002000000",
        "110900ffffffff0303a60201",
    );
    assert_eq!(hex(&bytes), expected);
    let mut bytes = Vec::new();
    status().emit(&mut bytes);
    let expected = concat!(
        "2100010a0200000003000000040000000500060000000700",
        "0000ffffffff0800000009000a000b000c000d0000000e0000000f000000",
    );
    assert_eq!(hex(&bytes), expected);
    assert_eq!(STATUS_LEN, 54);
}

#[test]
fn version_1_of_seals_stays_what_it_is() {
    let head = SealHead {
        epoch: 9,
        count: 2,
        tag: Tag([1, 2, 3, 4]),
        first_seq: 0x0506_0708,
        nonce: [7; NONCE_LEN],
    };
    let mut bytes = Vec::new();
    head.emit(&mut bytes);
    assert_eq!(
        hex(&bytes),
        "120902000102030408070605070707070707070707070707"
    );
    let (again, rest) = SealHead::parse(&bytes).unwrap();
    assert_eq!((again, rest.len()), (head, 0));
    let body = SealBody {
        digests: vec![[1; 8], [2; 8]],
        signature: [3; SIGNATURE_LEN],
    };
    let mut bytes = Vec::new();
    body.emit(&mut bytes);
    assert_eq!(SealBody::parse(2, &bytes), Ok(body));
    for count in [0, 1, 3, DIGESTS_MAX + 1] {
        assert!(SealBody::parse(count, &bytes).is_err());
    }
}

#[test]
fn unknown_versions_and_types_are_dropped() {
    // 5.1
    for first in 0..=u8::MAX {
        let known = (0x10..=0x14).contains(&first);
        assert_eq!(kind(&[first]).is_ok(), known, "{first:#x}");
    }
    assert!(kind(&[]).is_err());
}

#[test]
fn unknown_tlvs_are_skipped_and_critical_ones_said() {
    // 5.4
    let parse = |kind: u8| {
        let mut bytes = Vec::new();
        beacon().emit(&mut bytes);
        tlv::write(kind, &mut bytes, |bytes| bytes.extend([1, 2, 3]));
        Beacon::parse(&bytes).unwrap()
    };
    assert_eq!(parse(0x7f), beacon());
    assert!(parse(0xff).is_beyond_us);
    let mut bytes = Vec::new();
    need().emit(&mut bytes);
    tlv::write(0xff, &mut bytes, |bytes| bytes.push(0));
    assert_eq!(NeedBody::parse(&bytes), Ok(need()));
    let mut bytes = Vec::new();
    status().emit(&mut bytes);
    tlv::write(1, &mut bytes, |bytes| bytes.push(0));
    assert_eq!(Status::parse(&bytes), Ok(status()));
}

#[test]
fn bytes_that_end_anywhere_are_errors_or_mean_less() {
    let mut bytes = Vec::new();
    data().emit(&mut bytes);
    bytes.resize(DATA_LEN, 0);
    for len in 0..DATA_LEN {
        assert!(DataHeader::parse(&bytes[..len]).is_err());
    }
    let mut bytes = Vec::new();
    beacon().emit(&mut bytes);
    let whole = (0..bytes.len()).filter(|len| Beacon::parse(&bytes[..*len]).is_ok());
    // Only between TLVs.
    assert_eq!(whole.count(), 5);
    let mut bytes = Vec::new();
    need().emit(&mut bytes);
    let whole = (0..bytes.len()).filter(|len| NeedBody::parse(&bytes[..*len]).is_ok());
    assert_eq!(whole.count(), 3);
    let mut bytes = Vec::new();
    status().emit(&mut bytes);
    for len in 0..bytes.len() {
        assert!(Status::parse(&bytes[..len]).is_err());
    }
}

#[test]
fn lists_that_are_too_long_are_refused() {
    let many = |kind: u8, len: usize, count: usize| {
        let mut bytes = Vec::new();
        beacon().emit(&mut bytes);
        tlv::write(kind, &mut bytes, |bytes| {
            for _ in 0..count {
                let start = bytes.len();
                bytes.resize(start + len, 0);
            }
        });
        Beacon::parse(&bytes).is_ok()
    };
    // One of each is there already.
    assert!(many(tlv::ANNOUNCE, 8, ANNOUNCED_MAX - 1) && !many(tlv::ANNOUNCE, 8, ANNOUNCED_MAX));
    assert!(many(tlv::ENDED, 5, ENDED_MAX - 1) && !many(tlv::ENDED, 5, ENDED_MAX));
    let mut bytes = Vec::new();
    tlv::write(tlv::NEEDS, &mut bytes, |bytes| {
        bytes.extend([1, 0, 0, 0, 0, 0, 1, 0].repeat(NEEDS_MAX + 1));
    });
    assert!(NeedBody::parse(&bytes).is_err());
}

#[test]
fn runs_beyond_the_numbers_are_refused() {
    let lack = |runs: &[u64]| {
        let mut bytes = Vec::new();
        tlv::write(tlv::LACK, &mut bytes, |bytes| {
            bytes.extend([0; 4]);
            for number in runs {
                write_leb128(*number, bytes);
            }
        });
        NeedBody::parse(&bytes).is_ok()
    };
    assert!(lack(&[0, 1]) && lack(&[5, 10, 0, 1]));
    assert!(lack(&[(1 << 32) - 1, 1]) && lack(&[1, (1 << 32) - 1]));
    assert!(!lack(&[1 << 32, 1]) && !lack(&[1, 1 << 32]));
    assert!(!lack(&[0, 0]) && !lack(&[u64::MAX, 1]) && !lack(&[1, u64::MAX]));
    assert!(!lack(&[0]));
}

#[test]
fn the_fullest_beacon_fits() {
    // 5.3: at most 1444 bytes.
    let mut full = beacon();
    full.announced = vec![full.announced[0]; 200];
    full.ended = vec![full.ended[0]; 200];
    let room = Beacon::room_for_plan(200, 200);
    let scattered = (0..10_000_u32).map(|n| (n * 3, Priority(n.to_le_bytes()[0])));
    let plan = Plan::of(0, 40_000, scattered, room);
    assert!(plan.runs.len() > 5 && plan.end() < 40_000);
    full.plan = Some(plan.clone());
    full.text = Some("x".repeat(1000));
    let mut bytes = Vec::new();
    full.emit(&mut bytes);
    assert!(bytes.len() + BEACON_HEAD_LEN + SIGNATURE_LEN + AEAD_TAG_LEN <= BEACON_MAX);
    let again = Beacon::parse(&bytes).unwrap();
    assert_eq!(again.plan, Some(plan));
    assert_eq!((again.announced.len(), again.ended.len()), (100, 64));
    assert_eq!(again.text, None);
}

#[test]
fn priorities_grow_with_kappa() {
    assert_eq!(Priority::of(None), Priority(255));
    assert_eq!(Priority::of(Some(u32::MAX)), Priority(254));
    // 8·log2(1000) = 79.7
    assert_eq!(Priority::of(Some(1000)), Priority(80));
    assert_eq!([0, 1, 2, 3].map(|k| Priority::of(Some(k)).0), [0, 0, 8, 13]);
}

prop_compose! {
    fn any_beacon()(
        numbers in any::<[u32; 6]>(),
        small in any::<[u16; 4]>(),
        (epoch, counter, sender, salt) in any::<(u64, u32, u8, [u8; 16])>(),
        (state, flags) in (0u8..5, 0u8..8),
        announced in prop::collection::vec((any::<u32>(), any::<u8>(), 0u8..3, any::<u16>()), 0..100),
        ended in prop::collection::vec((any::<u32>(), any::<u8>()), 0..64),
        planned in prop::collection::btree_map(0u32..5000, any::<u8>(), 0..50),
    ) -> Beacon {
        let room = Beacon::room_for_plan(announced.len(), ended.len());
        let planned = planned.into_iter().map(|(n, p)| (n, Priority(p)));
        Beacon {
            epoch: EpochId(epoch),
            counter,
            sender,
            state: [SenderState::Gathering, SenderState::Sending, SenderState::Draining, SenderState::Idle, SenderState::Ended][usize::from(state)],
            flags: BeaconFlags { is_sealed: flags & 1 != 0, asks: flags & 2 != 0, is_near_end: flags & 4 != 0 },
            salt,
            next_seq: numbers[0],
            rate: numbers[1],
            unfinished: numbers[2],
            clients: numbers[3],
            window_ms: small[0],
            usual_need: small[1],
            cap: small[2],
            status_interval: small[3],
            session_ms: numbers[4],
            planned: numbers[5],
            announced: announced.into_iter().map(|(chunk, burst, state, need)| Announcement {
                chunk: ChunkId::from_wire(chunk),
                burst,
                state: [Announced::Asked, Announced::Queued, Announced::Deferred][usize::from(state)],
                need,
            }).collect(),
            ended: ended.into_iter().map(|(chunk, burst)| Ended { chunk: ChunkId::from_wire(chunk), burst }).collect(),
            plan: Some(Plan::of(0, 5000, planned, room)),
            text: None,
            senders: Vec::new(),
            is_beyond_us: false,
        }
    }
}

proptest! {
    #[test]
    fn data_comes_back(
        (epoch, class, is_sealed, burst) in (any::<u8>(), 0u8..64, any::<bool>(), any::<u8>()),
        (tag, seq, chunk, symbol, left) in any::<([u8; 4], u32, u32, u16, u16)>(),
    ) {
        let header = DataHeader {
            epoch, class, is_sealed, burst, tag: Tag(tag), seq,
            chunk: ChunkId::from_wire(chunk), symbol, left,
        };
        let mut bytes = Vec::new();
        header.emit(&mut bytes);
        prop_assert_eq!(bytes.len(), DATA_HEADER_LEN);
        bytes.resize(DATA_LEN, 0);
        prop_assert_eq!(DataHeader::parse(&bytes), Ok(header));
    }

    #[test]
    fn beacons_come_back(beacon in any_beacon()) {
        let mut bytes = Vec::new();
        beacon.emit(&mut bytes);
        prop_assert!(bytes.len() + BEACON_HEAD_LEN + SIGNATURE_LEN + AEAD_TAG_LEN <= BEACON_MAX);
        prop_assert_eq!(Beacon::parse(&bytes), Ok(beacon));
    }

    #[test]
    fn needs_come_back(
        needs in prop::collection::vec((any::<u32>(), any::<u8>(), 1..=u16::MAX), 0..64),
        lacks in prop::collection::btree_set(any::<u32>(), 0..50),
        drain in prop::option::of(0..u32::MAX),
    ) {
        let body = NeedBody {
            needs: needs.into_iter().map(|(chunk, burst, need)| Need { chunk: ChunkId::from_wire(chunk), burst, need }).collect(),
            lacks: vec![Lacks { drain, chunks: Runs::of(lacks) }],
            polluted: Vec::new(),
        };
        let mut bytes = Vec::new();
        body.emit(&mut bytes);
        prop_assert!(bytes.len() + FEEDBACK_HEAD_LEN + AEAD_TAG_LEN <= FEEDBACK_MAX);
        prop_assert_eq!(NeedBody::parse(&bytes), Ok(body));
    }

    #[test]
    fn lacks_that_do_not_fit_are_cut(numbers in prop::collection::btree_set(0u32..100_000, 900..1000)) {
        let all: Vec<u32> = numbers.into_iter().collect();
        let body = NeedBody { lacks: vec![Lacks { drain: Some(1), chunks: Runs::of(all.iter().copied()) }], ..NeedBody::default() };
        let mut bytes = Vec::new();
        body.emit(&mut bytes);
        prop_assert!(bytes.len() + FEEDBACK_HEAD_LEN + AEAD_TAG_LEN <= FEEDBACK_MAX);
        let again = NeedBody::parse(&bytes).unwrap();
        let runs = again.lacks[0].chunks.as_slice();
        let whole = body.lacks[0].chunks.as_slice();
        prop_assert!(runs.len() > 100);
        prop_assert_eq!(runs, &whole[..runs.len()]);
    }

    #[test]
    fn any_bytes_are_understood_alike_when_written_again(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(need) = NeedBody::parse(&bytes) {
            let mut again = Vec::new();
            need.emit(&mut again);
            prop_assert_eq!(NeedBody::parse(&again), Ok(need));
        }
    }

    #[test]
    fn a_plan_shows_what_is_planned_and_what_is_not(planned in prop::collection::btree_map(0u32..3000, 0u8..4, 0..400), room in 20usize..300) {
        let pairs = planned.iter().map(|(n, p)| (*n, Priority(*p)));
        let plan = Plan::of(0, 3000, pairs, room);
        let mut bytes = Vec::new();
        plan.emit(&mut bytes);
        prop_assert!(bytes.len() <= room);
        prop_assert_eq!(Plan::parse(&bytes), Ok(plan.clone()));
        let mut shown = std::collections::BTreeMap::new();
        for run in &plan.runs {
            for n in u64::from(run.run.first)..run.run.end() {
                shown.insert(u32::try_from(n).unwrap(), run.priority.0);
            }
        }
        let end = u32::try_from(plan.end()).unwrap();
        let expected: std::collections::BTreeMap<_, _> = planned.range(..end).map(|(n, p)| (*n, *p)).collect();
        prop_assert_eq!(shown, expected);
    }
}
