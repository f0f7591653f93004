//! The native protocol: what is inside its datagrams, after decryption.

use cast_proto::native::wire::{
    Beacon, BeaconHead, DataHeader, FeedbackHead, NeedBody, SealBody, SealHead, Status, kind,
    read_leb128, write_leb128,
};

/// Any bytes as each part of each datagram: what is understood says the same when it is written again.
pub fn native_wire(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else {
        return;
    };
    let mut again = Vec::new();
    match choice % 8 {
        0 => {
            if let Ok(header) = DataHeader::parse(bytes) {
                header.emit(&mut again);
                assert_eq!(bytes.get(..again.len()), Some(&again[..]));
            }
        }
        1 => {
            if let Ok(mut beacon) = Beacon::parse(bytes) {
                beacon.emit(&mut again);
                // What this version does not know is not written again, nor what does not fit.
                beacon.is_beyond_us = false;
                let mut rest = Beacon::parse(&again).expect("what was written is understood");
                if rest.text.is_none() {
                    beacon.text = None;
                }
                if rest.senders.is_empty() {
                    beacon.senders.clear();
                }
                if rest.plan.is_none() {
                    beacon.plan = None;
                }
                rest.is_beyond_us = false;
                assert_eq!(rest, beacon);
            }
        }
        2 => {
            if let Ok(need) = NeedBody::parse(bytes) {
                need.emit(&mut again);
                let rest = NeedBody::parse(&again).expect("what was written is understood");
                assert_eq!(rest.needs, need.needs);
            }
        }
        3 => {
            if let Ok(status) = Status::parse(bytes) {
                status.emit(&mut again);
                assert_eq!(Status::parse(&again), Ok(status));
            }
        }
        4 => {
            if let Ok((head, rest)) = SealHead::parse(bytes) {
                head.emit(&mut again);
                assert_eq!(SealHead::parse(&again), Ok((head, &[][..])));
                if let Ok(body) = SealBody::parse(head.count, rest) {
                    again.clear();
                    body.emit(&mut again);
                    assert_eq!(again, rest);
                }
            }
        }
        5 => {
            if let Ok((head, _)) = BeaconHead::parse(bytes) {
                head.emit(&mut again);
                assert_eq!(BeaconHead::parse(&again), Ok((head, &[][..])));
            }
        }
        6 => {
            if let Ok((head, _)) = FeedbackHead::parse(bytes) {
                head.emit(&mut again);
                assert_eq!(FeedbackHead::parse(&again), Ok((head, &[][..])));
            }
        }
        _ => {
            if let Ok((value, _)) = read_leb128(bytes) {
                write_leb128(value, &mut again);
                assert_eq!(read_leb128(&again), Ok((value, &[][..])));
            }
            assert_eq!(kind(bytes).is_ok(), matches!(bytes, [0x10..=0x14, ..]));
        }
    }
}
