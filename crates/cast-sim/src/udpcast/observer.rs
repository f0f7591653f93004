//! What any receiver, the original included, relies on in what a sender sends.

#![expect(clippy::unwrap_used, reason = "what a sender sends can be read")]

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use cast_proto::udpcast::wire::Message;

/// Watches the datagrams of a synchronous sender and panics when one breaks the rules.
#[derive(Default)]
pub(crate) struct Observer {
    to: Option<SocketAddrV4>,
    /// Length of each slice heard of.
    slice_lens: BTreeMap<u32, u32>,
    /// The last round asked, by slice.
    rounds: BTreeMap<u32, u32>,
    block_size: usize,
    /// Slices may be left out from now on.
    pub(crate) is_aborted: bool,
}

impl Observer {
    pub(crate) fn new(block_size: u16) -> Self {
        Self {
            block_size: block_size.into(),
            ..Self::default()
        }
    }

    pub(crate) fn see(&mut self, to: SocketAddrV4, bytes: &[u8]) {
        match Message::parse(bytes).unwrap() {
            Message::Data(data) => {
                self.see_slice(to, data.slice.0, data.slice_len);
                let slice_len = data.slice_len as usize;
                let before = usize::from(data.block.0) * self.block_size;
                assert!(
                    data.block.0 < 1024 && before < slice_len,
                    "block out of its slice"
                );
                assert_eq!(data.payload.len(), self.block_size.min(slice_len - before));
                self.assert_not_ahead(data.slice.0);
            }
            Message::Fec(fec) => {
                self.see_slice(to, fec.slice.0, fec.slice_len);
                assert_eq!(fec.payload.len(), self.block_size);
                self.assert_not_ahead(fec.slice.0);
            }
            // A receiver that was given up is sent away alone.
            Message::ReqAck(request) if request.slice.0 >= DISMISSAL => {
                assert!(!to.ip().is_multicast() && request.slice_len == 0);
            }
            Message::ReqAck(request) => {
                assert_eq!(bytes.len(), 144);
                let slice = request.slice.0;
                self.see_slice(to, slice, request.slice_len);
                let next = self.rounds.get(&slice).map_or(0, |round| round + 1);
                assert_eq!(request.round, next, "rounds of a slice count up");
                if slice > 0 {
                    assert!(
                        self.is_aborted || self.rounds.contains_key(&(slice - 1)),
                        "slices are asked in order"
                    );
                }
                assert!(
                    !self.rounds.contains_key(&(slice + 1)),
                    "a slice is asked about although the next one was"
                );
                self.rounds.insert(slice, request.round);
            }
            Message::Hello(_) => assert_eq!(bytes.len(), 28),
            Message::ConnectReply(_) => assert_eq!(bytes.len(), 32),
            other => panic!("a sender does not send {other}"),
        }
    }

    /// Blocks of a slice come once the slice before it is being asked about, and no sooner.
    fn assert_not_ahead(&self, slice: u32) {
        if slice > 0 {
            assert!(
                self.rounds.contains_key(&(slice - 1)),
                "slice {slice} is too far ahead"
            );
        }
        assert!(
            !self.rounds.contains_key(&(slice + 1)),
            "slice {slice} is over"
        );
    }

    fn see_slice(&mut self, to: SocketAddrV4, slice: u32, slice_len: u32) {
        assert_eq!(
            *self.to.get_or_insert(to),
            to,
            "all data goes to one address"
        );
        let known = *self.slice_lens.entry(slice).or_insert(slice_len);
        assert_eq!(known, slice_len, "a slice keeps its length");
        let len = slice_len as usize;
        let is_cut_as_usual = len.is_multiple_of(self.block_size) || len < self.block_size;
        assert!(
            is_cut_as_usual && len <= 1024 * self.block_size,
            "slice of {len} bytes"
        );
    }
}

/// Slices from here on are further ahead than any transfer here gets.
const DISMISSAL: u32 = 1 << 16;
