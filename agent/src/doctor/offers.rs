//! Which DHCP servers there are.

use std::time::Duration;

use dhcp::Reply;
use diagnosis::{Card, Look, Skipped};
use fog::Mac;

use crate::net;

/// Offers on this card that come in `time`.
pub(super) fn collect(card: &Card, time: Duration) -> Look<Vec<Reply>> {
    let Ok(mac) = card.mac.parse::<Mac>() else {
        let why = format!("{} has no Ethernet address: {}", card.name, card.mac);
        return Err(Skipped::Failed(why));
    };
    net::dhcp_offers(&card.name, mac, time)
        .map_err(|error| Skipped::Failed(format!("asking for offers: {error}")))
}
