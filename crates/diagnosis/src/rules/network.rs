//! From the card to an answer of the server: the first break explains all that comes after it.

use std::time::Duration;

use dhcp::Reply;

use crate::cause::Cause;
use crate::evidence::{
    Card, Evidence, FirstAnswer, Neighbour, NextHop, Reach, Resolution, Route, ServerLook,
    WebAnswer,
};

pub(super) fn look(evidence: &Evidence) -> Vec<Cause> {
    let Ok(cards) = &evidence.cards else {
        return Vec::new();
    };
    let Some(card) = evidence.card().or_else(|| cards.first()) else {
        return vec![Cause::NoCard];
    };
    if !card.has_link {
        return vec![Cause::NoLink {
            card: card.name.clone(),
            mac: card.mac.clone(),
        }];
    }
    let mut found = Vec::new();
    found.extend(second_dhcp(evidence));
    if let Some(broken) = no_address(evidence, card) {
        found.push(broken);
        return found;
    }
    if let Ok(server) = &evidence.server {
        match no_way(evidence, card, server) {
            Some(broken) => found.push(broken),
            None => {
                found.extend(wrong_card(evidence, server));
                found.extend(wrong_answer(server));
                found.extend(no_store(server));
            }
        }
    }
    if !is_cut_off(&found) {
        found.extend(evidence.first_answer.and_then(late_answer));
    }
    found
}

/// Whether these causes keep the machine from reaching the server.
#[must_use]
pub fn is_cut_off(found: &[Cause]) -> bool {
    found.iter().any(|cause| {
        cause.is_silence()
            || matches!(
                cause,
                Cause::NoCard
                    | Cause::NoLink { .. }
                    | Cause::NoAddress { .. }
                    | Cause::HungCard { .. }
                    | Cause::NoRoute { .. }
                    | Cause::WrongCard { .. }
            )
    })
}

fn late_answer(first: FirstAnswer) -> Option<Cause> {
    match first {
        FirstAnswer::SinceLink(after) => (after >= LATE).then_some(Cause::LateAnswer {
            after,
            is_since_link: true,
        }),
        FirstAnswer::Watched(after) => Some(Cause::LateAnswer {
            after,
            is_since_link: false,
        }),
    }
}

/// Two servers that say the same are one service.
fn second_dhcp(evidence: &Evidence) -> Option<Cause> {
    let offers = evidence.offers.as_ref().ok()?;
    let mut servers: Vec<Reply> = Vec::new();
    for offer in offers {
        if servers.iter().all(|known| known.server != offer.server) {
            servers.push(offer.clone());
        }
    }
    let (first, others) = servers.split_first()?;
    let agrees = |offer: &Reply| meaning(offer) == meaning(first);
    (!others.iter().all(agrees)).then_some(Cause::SecondDhcp { offers: servers })
}

/// What two servers of one network must agree on.
fn meaning(offer: &Reply) -> impl PartialEq + use<> {
    let network = offer
        .prefix_len()
        .map(|len| (dhcp::network(offer.address, len), len));
    (
        network,
        offer.router(),
        offer.next_server.filter(|next| *next != offer.server),
        offer.boot_file.clone(),
    )
}

fn no_address(evidence: &Evidence, card: &Card) -> Option<Cause> {
    let own = evidence.addresses.as_ref().ok()?;
    if own.iter().any(|own| !own.address.is_link_local()) {
        return None;
    }
    if let Some(deaf) = deaf(evidence, card) {
        return Some(deaf);
    }
    let offers = evidence.offers.as_deref().unwrap_or_default();
    if evidence.offers.is_ok() && offers.is_empty() {
        return Some(Cause::NoDhcp {
            card: card.name.clone(),
            awaited: evidence.offers_awaited,
            own: own.clone(),
        });
    }
    Some(Cause::NoAddress {
        card: card.name.clone(),
        offers: offers.to_vec(),
    })
}

/// A card that sends and hears nothing of anybody. What a switch says of itself goes to groups (spanning tree,
/// LLDP, 802.1X), and comes even by a port that forwards nothing.
fn deaf(evidence: &Evidence, card: &Card) -> Option<Cause> {
    let traffic = evidence.traffic.as_ref().ok()?;
    let (before, after) = (&traffic.before, &traffic.after);
    let sent = after.sent.saturating_sub(before.sent);
    let received = after.received.saturating_sub(before.received);
    let control = after.multicast.saturating_sub(before.multicast);
    let (card, over) = (card.name.clone(), traffic.over);
    match (received.saturating_sub(control), sent) {
        // It was given questions for DHCP servers.
        (0, 0) if received == 0 && evidence.offers.is_ok() => Some(Cause::HungCard {
            card,
            timeouts: after.timeouts,
            over,
        }),
        (0, 1..) => Some(Cause::SilentPort {
            card,
            sent,
            control: received,
            over,
        }),
        _ => None,
    }
}

fn no_way(evidence: &Evidence, card: &Card, server: &ServerLook) -> Option<Cause> {
    let address = match &server.resolution {
        Resolution::Address(address) => *address,
        Resolution::Unknown {
            name_servers,
            error,
        } => {
            return Some(Cause::NoName {
                host: server.host.clone(),
                name_servers: name_servers.clone(),
                error: error.clone(),
            });
        }
    };
    let (by, router) = match server.route.as_ref().ok()? {
        Route::Missing => {
            return Some(Cause::NoRoute {
                to: address,
                own: evidence.addresses.clone().unwrap_or_default(),
            });
        }
        Route::Through { card, next, .. } => match next {
            NextHop::Direct => (card.clone(), None),
            NextHop::Router(router) => (card.clone(), Some(*router)),
        },
    };
    let port = server.port;
    let reach = *server.reach.as_ref().ok()?;
    if let Reach::Silent(_) = reach
        && let Some(deaf) = deaf(evidence, card)
    {
        return Some(deaf);
    }
    match reach {
        Reach::Open => None,
        Reach::Refused => Some(Cause::NoWebServer { address, port }),
        Reach::Silent(Neighbour::Silent) => Some(match router {
            Some(router) => Cause::NoRouter {
                router,
                address,
                card: by,
            },
            None => Cause::NoServer { address, card: by },
        }),
        // A firewall that drops one port mostly lets echoes pass. Of a machine of which was heard a moment ago, the
        // kernel still says that it is there.
        Reach::Silent(_) if has_no_echo(evidence) => Some(Cause::ServerSilent {
            address,
            port,
            router,
        }),
        Reach::Prohibited | Reach::Silent(_) => Some(Cause::WebBlocked {
            address,
            port,
            reach,
        }),
    }
}

/// Echoes were sent, and not one came back.
fn has_no_echo(evidence: &Evidence) -> bool {
    let path = evidence.path.as_ref();
    path.is_ok_and(|path| path.passed.is_none())
}

fn wrong_card(evidence: &Evidence, server: &ServerLook) -> Option<Cause> {
    let wanted = evidence.wanted.as_ref()?;
    match (&server.resolution, server.route.as_ref().ok()?) {
        (Resolution::Address(to), Route::Through { card, .. }) if card != wanted => {
            Some(Cause::WrongCard {
                to: *to,
                by: card.clone(),
                wanted: wanted.clone(),
            })
        }
        _ => None,
    }
}

fn wrong_answer(server: &ServerLook) -> Option<Cause> {
    let url = server.url.clone();
    match server.answer.as_ref().ok()? {
        WebAnswer::Fog { .. } => None,
        WebAnswer::Redirect { to } => Some(Cause::Redirect {
            url,
            to: to.clone(),
        }),
        WebAnswer::Status(status @ 500..) => Some(Cause::ServerFails {
            url,
            status: *status,
        }),
        answer => Some(Cause::NotFog {
            url,
            answer: answer.clone(),
        }),
    }
}

fn no_store(server: &ServerLook) -> Option<Cause> {
    let (address, reach) = *server.store.as_ref().ok()?;
    (reach != Reach::Open).then_some(Cause::NoStore { address, reach })
}

/// Even a DHCP client that asks every 3 s, of a server that first looks whether an address is free, has one
/// before that.
const LATE: Duration = Duration::from_secs(10);
