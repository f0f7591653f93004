//! What `fos-agent doctor` hears: IGMP queries, echoes.

use std::net::Ipv4Addr;

use diagnosis::packet::{echo_reply, igmp_query};

use super::feed::Feed;

/// Any bytes as each of them.
pub fn packets(data: &[u8]) {
    let mut feed = Feed(data);
    let what = feed.byte() % 2;
    let bytes = feed.rest();
    let from = Ipv4Addr::new(10, 0, 0, 1);
    if what == 1 {
        if igmp_query(bytes).is_some() {
            assert!(bytes.len() >= 28);
        }
    } else if echo_reply(bytes, 0, from).is_some() {
        assert!(bytes.len() >= 28 && bytes[12..16] == from.octets());
    }
}
