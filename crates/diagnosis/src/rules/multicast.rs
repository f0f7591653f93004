//! Whether the session's data can come.

use std::net::Ipv4Addr;

use crate::cause::{Cause, Silence};
use crate::evidence::{
    Evidence, Look, Multicast, NextHop, PathLook, Querier, Rendezvous, Route, Sending,
};

pub(super) fn look(evidence: &Evidence) -> Vec<Cause> {
    let mut found = Vec::new();
    let hole = evidence.path.as_ref().ok().and_then(black_hole);
    if let Ok(multicast) = &evidence.multicast {
        found.extend(trouble(evidence, multicast, hole.is_some()));
    }
    found.extend(hole);
    found
}

fn trouble(evidence: &Evidence, seen: &Multicast, has_hole: bool) -> Option<Cause> {
    if let Ok(Route::Missing) = &seen.route {
        return Some(Cause::NoRoute {
            to: seen.sender,
            own: Vec::new(),
        });
    }
    if let (Some(wanted), Ok(Route::Through { card, .. })) = (&evidence.wanted, &seen.route)
        && wanted != card
    {
        return Some(Cause::WrongCard {
            to: seen.sender,
            by: card.clone(),
            wanted: wanted.clone(),
        });
    }
    let port = seen.port.saturating_add(1);
    match (seen.rendezvous, seen.sending) {
        // A port that closes while the sender ends is no trouble; a sender that is at work has it.
        (Rendezvous::Refused, Sending::Now) if seen.data == 0 => {
            return Some(Cause::NoSender {
                address: seen.sender,
                port,
            });
        }
        (Rendezvous::Prohibited, _) => {
            return Some(Cause::RendezvousBlocked {
                address: seen.sender,
                port,
            });
        }
        _ => {}
    }
    if seen.data > 0 {
        return None;
    }
    if seen.requests > 0 {
        // Where receivers have taken some, the sender may be waiting for a slow disk. The path shows the same,
        // with a size.
        let is_small_only = seen.acknowledged == Some(0) && !has_hole;
        return is_small_only.then_some(Cause::SmallOnly {
            requests: seen.requests,
            over: seen.listened,
        });
    }
    if seen.sending != Sending::Now {
        return None;
    }
    Some(silent(evidence, seen))
}

/// The sender sends, and nothing comes.
fn silent(evidence: &Evidence, seen: &Multicast) -> Cause {
    let card = match &seen.route {
        Ok(Route::Through { card, .. }) => card.clone(),
        _ => evidence.used.clone().unwrap_or_default(),
    };
    let silence = Silence {
        card,
        groups: seen.groups.clone(),
        port: seen.port,
        over: seen.listened,
    };
    undelivered(seen.sender, &seen.route, seen.querier, silence)
}

/// Why nothing comes of what is sent to groups.
pub(crate) fn undelivered(
    sender: Ipv4Addr,
    route: &Look<Route>,
    querier: Option<Querier>,
    silence: Silence,
) -> Cause {
    match (route, querier) {
        (
            Ok(Route::Through {
                own,
                next: NextHop::Router(router),
                ..
            }),
            _,
        ) => Cause::NotRouted {
            sender,
            router: *router,
            own: *own,
            silence,
        },
        (_, None) => Cause::NoQuerier { silence },
        (_, Some(querier)) => Cause::Filtered {
            silence,
            querier: querier.address,
        },
    }
}

fn black_hole(path: &PathLook) -> Option<Cause> {
    let passed = path.passed?;
    (passed < path.tried).then_some(Cause::BlackHole {
        to: path.to,
        tried: path.tried,
        passed,
    })
}
