//! The card in use: what it has agreed on with the switch, and what it counts.

use crate::cause::Cause;
use crate::evidence::{Card, Counters, Duplex, Evidence, Traffic};

pub(super) fn look(evidence: &Evidence) -> Vec<Cause> {
    let Some(card) = evidence.card() else {
        return Vec::new();
    };
    let name = || card.name.clone();
    let mut found = Vec::new();
    if let Ok(traffic) = &evidence.traffic {
        found.extend(unsteady(card, traffic));
        found.extend(errors(card, traffic));
        found.extend(hung(card, traffic));
    }
    if card.duplex == Duplex::Half {
        found.push(Cause::HalfDuplex {
            card: name(),
            speed: card.speed,
        });
    }
    if let Some(speed) = card.speed.filter(|&speed| speed < SLOW) {
        found.push(Cause::SlowLink {
            card: name(),
            speed,
        });
    }
    if card.mtu < ETHERNET_MTU {
        found.push(Cause::SmallMtu {
            card: name(),
            mtu: card.mtu,
        });
    }
    found
}

fn unsteady(card: &Card, traffic: &Traffic) -> Option<Cause> {
    let all = traffic.after.link_changes;
    let new = all.saturating_sub(traffic.before.link_changes);
    let (changes, over) = match new {
        0 if all < MANY_CHANGES => return None,
        0 => (all, None),
        _ => (new, Some(traffic.over)),
    };
    Some(Cause::UnsteadyLink {
        card: card.name.clone(),
        changes,
        over,
    })
}

/// It was started again since this machine started, which mostly helps for a while only.
fn hung(card: &Card, traffic: &Traffic) -> Option<Cause> {
    let timeouts = traffic.after.timeouts;
    let is_deaf = traffic.after.sent == traffic.before.sent
        && traffic.after.received == traffic.before.received;
    // Else it is named already.
    (timeouts > 0 && !is_deaf).then(|| Cause::HungCard {
        card: card.name.clone(),
        timeouts,
        over: traffic.over,
    })
}

fn errors(card: &Card, traffic: &Traffic) -> Option<Cause> {
    let bad = |counters: &Counters| counters.receive_errors.saturating_add(counters.send_errors);
    let all = bad(&traffic.after);
    let new = all.saturating_sub(bad(&traffic.before));
    let frames = traffic.after.received.saturating_add(traffic.after.sent);
    // A few from the time when the cable was put in are nothing.
    let is_bad = new >= FEW || all >= FEW && all.saturating_mul(PER_ERROR) > frames;
    is_bad.then(|| Cause::CardErrors {
        card: card.name.clone(),
        counters: traffic.after,
        new,
    })
}

const ETHERNET_MTU: u32 = 1500;
/// Mbit/s. At 100 Mbit/s many a room works as it was built.
const SLOW: u32 = 100;
/// A start has two or three of them, and each restart of the switch two more.
const MANY_CHANGES: u64 = 20;
const FEW: u64 = 20;
/// One in so many frames.
const PER_ERROR: u64 = 1000;
