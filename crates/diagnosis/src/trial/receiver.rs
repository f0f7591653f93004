//! The receiver's side: from the name of the server to the last byte.

use std::net::Ipv4Addr;

use fos_api::room::Room;
use readable::{Count, Rate, Size, Time};

use super::{End, Received, line, quality, rate};
use crate::cause::{Cause, Silence};
use crate::checks::{Area, Check, Verdict, checks};
use crate::evidence::{Evidence, Rendezvous, Route, Skipped};
use crate::rules::{diagnose, undelivered};

/// What was looked at, a line each, and the causes of what does not work. `test` is `None` where what comes before
/// a test does not work.
#[must_use]
pub fn received(evidence: &Evidence, test: Option<&Received>) -> (Vec<Check>, Vec<Cause>) {
    let mut causes = diagnose(evidence);
    let mut lines = checks(evidence, &causes);
    lines.retain(|check| WAY.contains(&check.area));
    match test {
        Some(test) => {
            let has_hole = causes
                .iter()
                .any(|cause| matches!(cause, Cause::BlackHole { .. }));
            lines.extend(steps(test));
            causes.extend(found(test, has_hole));
        }
        None => {
            let untested = |area| line(area, Verdict::Skipped, Skipped::Unreached.to_string());
            lines.extend(STEPS.map(untested));
        }
    }
    (lines, causes)
}

/// The causes that a receiver has found, with what the sender says: one that asked where nothing is sent need not guess
/// why there is no answer.
#[must_use]
pub fn explained(mut causes: Vec<Cause>, test: &Received, room: &Room) -> Vec<Cause> {
    let Ok(Route::Through { own, .. }) = &test.route else {
        return causes;
    };
    let seat = room.seats.iter().find(|seat| seat.address == *own);
    let elsewhere = seat.and_then(|seat| seat.elsewhere.clone());
    if let (Some(card), End::NotLetIn) = (elsewhere, &test.end) {
        causes.retain(|cause| {
            !matches!(
                cause,
                Cause::RequestsLost { .. } | Cause::NoTestAnswer { .. }
            )
        });
        causes.push(Cause::OtherCard {
            card: room.card.clone(),
            own: room.sender.unwrap_or(test.sender),
            asked: vec![(*own, card)],
        });
    }
    causes
}

fn found(test: &Received, has_hole: bool) -> Vec<Cause> {
    let address = test.sender;
    let port = test.port.saturating_add(1);
    let cause = match &test.end {
        End::Whole => {
            let blocks = test.data.saturating_add(test.lost);
            return quality(blocks, test.lost, test.bytes, test.time);
        }
        End::NotLetIn => match (test.rendezvous, test.is_heard) {
            (Rendezvous::Refused, _) => Cause::NoTestSender { address, port },
            (Rendezvous::Prohibited, _) => Cause::RendezvousBlocked { address, port },
            (Rendezvous::Silent, true) => Cause::RequestsLost {
                address,
                port,
                over: test.asked,
            },
            (Rendezvous::Silent, false) => Cause::NoTestAnswer {
                address,
                port,
                over: test.asked,
            },
        },
        End::Refused => Cause::TestRefused { address },
        // The path shows the same, with a size.
        End::NoData if test.requests > 0 && has_hole => return Vec::new(),
        End::NoData if test.requests > 0 => Cause::SmallOnly {
            requests: test.requests,
            over: test.listened,
        },
        End::NoData => undelivered(address, &test.route, test.querier, silence(test)),
        End::StoodStill(over) => Cause::TestStoodStill {
            bytes: test.bytes,
            over: *over,
        },
        End::Cut => Cause::TestCut { bytes: test.bytes },
        End::Foreign => Cause::ForeignStream { address, port },
        End::Damaged(offset) => Cause::TestDamaged { offset: *offset },
        End::Failed(error) => Cause::TestFailed {
            error: error.clone(),
        },
    };
    vec![cause]
}

fn silence(test: &Received) -> Silence {
    Silence {
        card: test.card.clone(),
        groups: test.group.into_iter().collect::<Vec<Ipv4Addr>>(),
        port: test.port,
        over: test.listened,
    }
}

fn steps(test: &Received) -> Vec<Check> {
    let is_let_in = test.group.is_some();
    let reached = |is_fine: bool, is_tried: bool| match (is_fine, is_tried) {
        (true, _) => Verdict::Fine,
        (false, true) => Verdict::Problem,
        (false, false) => Verdict::Skipped,
    };
    let sender = format!("{} port {}", test.sender, test.port.saturating_add(1));
    let rendezvous = match (is_let_in, test.rendezvous, test.is_heard) {
        (true, ..) => format!("{sender} has let this machine in"),
        (false, Rendezvous::Refused, _) => format!("{sender}: no program has the port"),
        (false, Rendezvous::Prohibited, _) => format!("{sender}: a packet filter says no"),
        (false, Rendezvous::Silent, true) => {
            format!("{sender} is heard, but does not let this machine in")
        }
        (false, Rendezvous::Silent, false) => {
            format!("{sender} did not answer for {}", Time(test.asked))
        }
    };
    let group = test
        .group
        .map_or_else(String::new, |group| format!(" by {group}"));
    let len = test
        .datagram_len
        .map_or_else(String::new, |len| format!(" of {len} bytes"));
    let small = format!(
        "{} of the sender came{group}",
        Count(test.requests, "request")
    );
    let large = format!("{}{len} came{group}", Count(test.data, "datagram"));
    // A short stream may come whole before the first request.
    let has_small = test.requests > 0 || test.data > 0;
    let is_whole = test.end == End::Whole;
    let content = match &test.end {
        End::Whole => format!("{} came, every byte as sent", Size(test.bytes)),
        End::Foreign => "what came is no test stream".to_owned(),
        End::Damaged(offset) => format!("other bytes than were sent from {} on", Size(*offset)),
        _ => format!("{} came, and not the end", Size(test.bytes)),
    };
    let lost = format!(
        "{} of {} had to be sent again",
        test.lost,
        Count(test.data.saturating_add(test.lost), "block")
    );
    let of = |causes: &[Cause], area: Area| causes.iter().any(|cause| Area::of(cause) == area);
    let poor = match is_whole {
        true => quality(
            test.data.saturating_add(test.lost),
            test.lost,
            test.bytes,
            test.time,
        ),
        false => Vec::new(),
    };
    let rate = match rate(test.bytes, test.time) {
        Some(rate) => Rate(rate).to_string(),
        None if is_whole => "too short to say".to_owned(),
        None => Skipped::Unreached.to_string(),
    };
    vec![
        line(Area::Rendezvous, reached(is_let_in, true), rendezvous),
        line(Area::Small, reached(has_small, is_let_in), small),
        line(Area::Large, reached(test.data > 0, is_let_in), large),
        line(Area::Content, reached(is_whole, test.data > 0), content),
        line(
            Area::Loss,
            reached(test.data > 0 && !of(&poor, Area::Loss), test.data > 0),
            lost,
        ),
        line(
            Area::Rate,
            reached(is_whole && !of(&poor, Area::Rate), is_whole),
            rate,
        ),
    ]
}

/// What comes before the test.
const WAY: [Area; 4] = [Area::Link, Area::Address, Area::Server, Area::Path];
const STEPS: [Area; 6] = [
    Area::Rendezvous,
    Area::Small,
    Area::Large,
    Area::Content,
    Area::Loss,
    Area::Rate,
];
