//! What `fos-agent doctor` hears: offers of DHCP servers, IGMP queries, echoes.

use std::net::Ipv4Addr;

use diagnosis::dhcp::{self, TransactionId};
use diagnosis::packet::{echo_reply, igmp_query};

use super::feed::Feed;

/// Any bytes as each of them, and as the options of an offer that is right before them.
pub fn packets(data: &[u8]) {
    let mut feed = Feed(data);
    let what = feed.byte() % 3;
    let bytes = feed.rest();
    let from = Ipv4Addr::new(10, 0, 0, 1);
    match what {
        0 => {
            drop(dhcp::parse_offer(bytes, ID, from));
            let mut whole = dhcp::discover(ID, [2, 0, 0, 0, 0, 1]);
            whole.truncate(240);
            if let Some(kind) = whole.first_mut() {
                *kind = 2;
            }
            if let Some(address) = whole.get_mut(16..20) {
                address.copy_from_slice(&[10, 0, 0, 7]);
            }
            whole.extend_from_slice(bytes);
            if let Some(offer) = dhcp::parse_offer(&whole, ID, from) {
                assert!(offer.prefix_len.is_none_or(|len| len <= 32));
                assert!(!offer.server.is_unspecified());
                assert!(
                    offer
                        .boot_file
                        .is_none_or(|file| file.chars().count() <= 80)
                );
            }
        }
        1 => {
            if igmp_query(bytes).is_some() {
                assert!(bytes.len() >= 28);
            }
        }
        _ => {
            if echo_reply(bytes, 0, from).is_some() {
                assert!(bytes.len() >= 28 && bytes[12..16] == from.octets());
            }
        }
    }
}

const ID: TransactionId = TransactionId(1);
