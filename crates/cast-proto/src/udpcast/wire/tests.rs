//! Bytes of real programs in both directions, and properties.

use proptest::prelude::*;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .bytes()
        .filter(|c| !c.is_ascii_whitespace())
        .map(|c| u8::try_from(char::from(c).to_digit(16).unwrap()).unwrap())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn padded(hex: &str, len: usize) -> Vec<u8> {
    let mut bytes = bytes(hex);
    bytes.resize(len, 0);
    bytes
}

/// `wire` means `message`, and `message` is written as `wire`.
#[track_caller]
fn same(wire: &[u8], message: &Message<'_>, text: &str) {
    assert_eq!(Message::parse(wire).as_ref(), Ok(message));
    let mut written = Vec::new();
    message.emit(&mut written);
    assert_eq!(written, wire);
    assert_eq!(message.to_string(), text);
}

fn set(items: impl IntoIterator<Item = u16>) -> Bitmap {
    let mut set = Bitmap::new();
    for item in items {
        set.insert(item);
    }
    set
}

const GROUP: Ipv4Addr = Ipv4Addr::new(234, 99, 0, 1);

#[test]
fn connect_req_of_20120424() {
    let request = ConnectReq {
        capabilities: Capabilities::CURRENT,
        rcvbuf: 212_992,
    };
    let text = "CONNECT_REQ 0x00000009, rcvbuf 212992";
    same(
        &bytes("0003 0000 00000009 00034000"),
        &Message::ConnectReq(request),
        text,
    );
}

#[test]
fn hello_of_20120424() {
    let hello = Hello {
        kind: HelloKind::Plain,
        capabilities: Capabilities::CURRENT,
        data_address: GROUP,
        block_size: 1456,
    };
    let wire = bytes("0500 0000 00000009 ea630001 000000000000000000000000 05b0 0000");
    let text = "HELLO 0x00000009, data to 234.99.0.1, block size 1456";
    same(&wire, &Message::Hello(hello), text);
    assert_eq!(Message::parse(&wire[..26]), Ok(Message::Hello(hello)));
    assert_eq!(
        Message::parse(&wire[..25]),
        Err(ParseError::TooShort {
            message: "HELLO",
            needed: 26,
            found: 25
        })
    );
    let newer = Hello {
        kind: HelloKind::PlainNew,
        ..hello
    };
    let wire = bytes("000a 0000 00000009 ea630001 000000000000000000000000 05b0 0000");
    let text = "HELLO (0x000a) 0x00000009, data to 234.99.0.1, block size 1456";
    same(&wire, &Message::Hello(newer), text);
}

#[test]
fn hello_streaming_of_20120424() {
    let hello = Hello {
        kind: HelloKind::Streaming,
        capabilities: Capabilities::CURRENT | Capabilities::ASYNCHRONOUS,
        data_address: GROUP,
        block_size: 1456,
    };
    let wire = bytes("000b 0000 00000029 ea630001 000000000000000000000000 05b0 0000");
    let text = "HELLO_STREAMING 0x00000029, data to 234.99.0.1, block size 1456, asynchronous";
    same(&wire, &Message::Hello(hello), text);
}

#[test]
fn connect_reply_of_20120424() {
    let reply = ConnectReply {
        client: Some(ClientNo(0)),
        block_size: 1456,
        capabilities: Capabilities::CURRENT,
        data_address: GROUP,
    };
    let wire = bytes("0007 0000 00000000 000005b0 00000009 ea630001 000000000000000000000000");
    let text = "CONNECT_REPLY #0, 0x00000009, data to 234.99.0.1, block size 1456";
    same(&wire, &Message::ConnectReply(reply), text);
    assert_eq!(
        Message::parse(&wire[..20]),
        Ok(Message::ConnectReply(reply))
    );
    let refused = ConnectReply {
        client: None,
        ..reply
    };
    let wire = bytes("0007 0000 ffffffff 000005b0 00000009 ea630001 000000000000000000000000");
    let text = "CONNECT_REPLY refused, 0x00000009, data to 234.99.0.1, block size 1456";
    same(&wire, &Message::ConnectReply(refused), text);
    let wire = bytes("0007 0000 00000400 000005b0 00000009 ea630001 000000000000000000000000");
    assert_eq!(Message::parse(&wire), Err(ParseError::ClientNumber(1024)));
}

#[test]
fn leftovers_in_filler_are_ignored() {
    let old = bytes("0007 0000 00000000 000005b0 00000009 ea630001 0000000005b0000000000000");
    let new = bytes("0007 0000 00000000 000005b0 00000009 e9ff0001 00000000c04a7345627f0000");
    let hello = bytes("0500 0000 00000009 e9ff0001 627f00000000000000000000 05b0 0000");
    let group = Ipv4Addr::new(233, 255, 0, 1);
    assert!(
        matches!(Message::parse(&old), Ok(Message::ConnectReply(r)) if r.data_address == GROUP)
    );
    assert!(
        matches!(Message::parse(&new), Ok(Message::ConnectReply(r)) if r.data_address == group)
    );
    assert!(matches!(Message::parse(&hello), Ok(Message::Hello(h)) if h.block_size == 1456));
}

#[test]
fn data_of_20120424() {
    let mut wire = bytes("0008 0000 00000000 0000 0000 00001110");
    wire.extend([7; 1456]);
    let data = Data {
        slice: SliceNo(0),
        block: BlockNo(0),
        slice_len: 4368,
        payload: &[7; 1456],
    };
    let text = "DATA slice 0, block 0, slice length 4368, length 1456";
    same(&wire, &Message::Data(data), text);
    assert!(Message::parse(&wire[..15]).is_err());
}

#[test]
fn fec_of_20120424() {
    let mut wire = bytes("0009 0008 00000000 0000 0000 00009990");
    wire.extend([9; 1456]);
    let fec = Fec {
        stripes: 8,
        slice: SliceNo(0),
        block: BlockNo(0),
        slice_len: 39_312,
        payload: &[9; 1456],
    };
    let text = "FEC slice 0, block 0, stripes 8, slice length 39312, length 1456";
    same(&wire, &Message::Fec(fec), text);
}

#[test]
fn reqack_of_20120424() {
    let wire = padded("0006 0000 00000000 00005b00 00000002 01", 144);
    let request = ReqAck::new(SliceNo(0), 23_296, 2, set([0]));
    let text = "REQACK slice 0, round 2, slice length 23296, ready 0";
    same(&wire, &Message::ReqAck(request), text);
    let Ok(Message::ReqAck(cut)) = Message::parse(&wire[..17]) else {
        panic!()
    };
    assert_eq!(cut.is_ready(ClientNo(0)), Some(true));
    assert_eq!(cut.is_ready(ClientNo(7)), Some(false));
    assert_eq!(cut.is_ready(ClientNo(8)), None);
}

#[test]
fn retransmit_of_20120424() {
    let wire = padded("0001 0000 00000000 00000000 dd ff", 140);
    let received = set([0, 2, 3, 4].into_iter().chain(6..16));
    let retransmit = Retransmit {
        slice: SliceNo(0),
        round: 0,
        received,
    };
    let text = "RETRANSMIT slice 0, round 0, has 0,2-4,6-15";
    same(&wire, &Message::Retransmit(retransmit), text);
    assert_eq!(
        Message::parse(&wire[..14]),
        Ok(Message::Retransmit(retransmit))
    );
    let Ok(Message::Retransmit(cut)) = Message::parse(&wire[..12]) else {
        panic!()
    };
    assert!(cut.received.is_empty());
}

#[test]
fn ok_go_and_disconnect_of_20120424() {
    same(
        &bytes("0000 0000 00000000"),
        &Message::Ok(SliceNo(0)),
        "OK slice 0",
    );
    same(&bytes("0002 0000"), &Message::Go, "GO");
    same(&bytes("0004 0000"), &Message::Disconnect, "DISCONNECT");
    assert_eq!(Message::parse(&bytes("0002")), Ok(Message::Go));
    assert_eq!(Message::parse(&bytes("0004")), Ok(Message::Disconnect));
}

#[test]
fn short_connect_req_has_zeroes_at_its_end() {
    let request = |capabilities, rcvbuf| {
        Ok(Message::ConnectReq(ConnectReq {
            capabilities: Capabilities(capabilities),
            rcvbuf,
        }))
    };
    assert_eq!(Message::parse(&bytes("0003 0000")), request(0, 0));
    assert_eq!(Message::parse(&bytes("0003 0000 00000009")), request(9, 0));
    assert_eq!(
        Message::parse(&bytes("0003 0000 00000009 0003")),
        request(9, 0x0003_0000)
    );
    assert!(Message::parse(&bytes("0003")).is_err());
}

#[test]
fn opcodes_never_seen_stay_unknown() {
    assert_eq!(Message::parse(&bytes("0005 0000")), Ok(Message::Unknown(5)));
    assert_eq!(
        Message::parse(&bytes("dead beef")),
        Ok(Message::Unknown(0xdead))
    );
    assert_eq!(
        Message::Unknown(0xdead).to_string(),
        "unknown opcode 0xdead"
    );
    assert!(Message::parse(&[0]).is_err());
    assert!(Message::parse(&[]).is_err());
}

fn any_bitmap() -> impl Strategy<Value = Bitmap> {
    prop::collection::vec(0u16..1024, 0..40).prop_map(set)
}

fn any_message() -> impl Strategy<Value = Message<'static>> {
    const PAYLOAD: &[u8] = &[0x5a; 2000];
    let payload = (0..=PAYLOAD.len()).prop_map(|len| PAYLOAD.split_at(len).0);
    let address = any::<u32>().prop_map(Ipv4Addr::from_bits);
    let kind = prop::sample::select(&[HelloKind::Plain, HelloKind::PlainNew, HelloKind::Streaming]);
    let block = (
        any::<u16>(),
        any::<u32>(),
        any::<u16>(),
        any::<u32>(),
        payload,
    );
    prop_oneof![
        any::<u32>().prop_map(|slice| Message::Ok(SliceNo(slice))),
        (any::<u32>(), any::<u32>(), any_bitmap()).prop_map(|(slice, round, received)| {
            Message::Retransmit(Retransmit {
                slice: SliceNo(slice),
                round,
                received,
            })
        }),
        Just(Message::Go),
        Just(Message::Disconnect),
        (any::<u32>(), any::<u32>()).prop_map(|(capabilities, rcvbuf)| {
            Message::ConnectReq(ConnectReq {
                capabilities: Capabilities(capabilities),
                rcvbuf,
            })
        }),
        (any::<u32>(), any::<u32>(), any::<u32>(), any_bitmap()).prop_map(
            |(slice, slice_len, round, ready)| {
                Message::ReqAck(ReqAck::new(SliceNo(slice), slice_len, round, ready))
            }
        ),
        (
            prop::option::of(0u16..1024),
            any::<u32>(),
            any::<u32>(),
            address.clone()
        )
            .prop_map(|(client, block_size, capabilities, data_address)| {
                Message::ConnectReply(ConnectReply {
                    client: client.map(ClientNo),
                    block_size,
                    capabilities: Capabilities(capabilities),
                    data_address,
                })
            }),
        block
            .clone()
            .prop_map(|(_, slice, block, slice_len, payload)| {
                Message::Data(Data {
                    slice: SliceNo(slice),
                    block: BlockNo(block),
                    slice_len,
                    payload,
                })
            }),
        block.prop_map(|(stripes, slice, block, slice_len, payload)| {
            let (slice, block) = (SliceNo(slice), BlockNo(block));
            Message::Fec(Fec {
                stripes,
                slice,
                block,
                slice_len,
                payload,
            })
        }),
        (kind, any::<u32>(), address, any::<u16>()).prop_map(
            |(kind, capabilities, data_address, block_size)| {
                let capabilities = Capabilities(capabilities);
                Message::Hello(Hello {
                    kind,
                    capabilities,
                    data_address,
                    block_size,
                })
            }
        ),
    ]
}

proptest! {
    #[test]
    fn what_is_written_reads_back(message in any_message()) {
        let mut wire = Vec::new();
        message.emit(&mut wire);
        prop_assert_eq!(Message::parse(&wire), Ok(message));
    }

    #[test]
    fn any_bytes_are_read_without_panic(wire in prop::collection::vec(any::<u8>(), 0..200), opcode in 0u16..16) {
        let mut wire = wire;
        for opcode in [None, Some(opcode), Some(0x0500)] {
            if let (Some(opcode), Some(first)) = (opcode, wire.first_chunk_mut()) {
                *first = opcode.to_be_bytes();
            }
            if let Ok(message) = Message::parse(&wire) {
                prop_assert!(!message.to_string().is_empty());
            }
        }
    }

    #[test]
    fn every_cut_of_a_message_is_read_without_panic(message in any_message()) {
        let mut wire = Vec::new();
        message.emit(&mut wire);
        for len in 0..wire.len().min(160) {
            if let Ok(cut) = Message::parse(&wire[..len]) {
                prop_assert!(!cut.to_string().is_empty());
            }
        }
    }
}

#[test]
fn a_block_travels_with_the_headers_that_the_pace_counts() {
    let block = [7; 1456];
    let mut datagram = Vec::new();
    Message::Data(Data {
        slice: SliceNo(0),
        block: BlockNo(0),
        slice_len: 1456,
        payload: &block,
    })
    .emit(&mut datagram);
    let headers = usize::try_from(crate::pacing::HEADER_LEN).unwrap();
    let len = usize::try_from(data_datagram_len(1456)).unwrap();
    assert_eq!(len, datagram.len() + headers);
}
