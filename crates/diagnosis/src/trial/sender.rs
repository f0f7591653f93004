//! The sender's side.

use std::net::Ipv4Addr;

use readable::{Count, Rate, Size, Time};

use super::{Receiver, Sent, line, quality, rate};
use crate::cause::{Cause, list};
use crate::checks::{Area, Check, Verdict};
use crate::evidence::Skipped;

/// What was looked at, a line each, and the causes of what does not work.
#[must_use]
pub fn sent(test: &Sent) -> (Vec<Check>, Vec<Cause>) {
    (steps(test), found(test))
}

fn found(test: &Sent) -> Vec<Cause> {
    let mut found = Vec::new();
    if let Ok(Err((url, error))) = &test.web {
        found.push(Cause::OwnWeb {
            url: url.clone(),
            error: error.clone(),
        });
    }
    if let Some(error) = &test.failure {
        found.push(Cause::TestFailed {
            error: error.clone(),
        });
        return found;
    }
    if !test.elsewhere.is_empty() {
        found.push(Cause::OtherCard {
            card: test.card.clone(),
            own: test.own,
            asked: test.elsewhere.clone(),
        });
    }
    let have = count(&test.receivers);
    if have == 0 {
        if test.elsewhere.is_empty() {
            found.push(Cause::NoReceiver {
                card: test.card.clone(),
                own: test.own,
                port: test.port.saturating_add(1),
                over: test.waited,
            });
        }
        return found;
    }
    if have < u64::from(test.wanted) {
        found.push(Cause::FewReceivers {
            have,
            wanted: test.wanted,
            over: test.waited,
        });
    }
    let those = |is_meant: fn(&Receiver) -> bool| -> Vec<Ipv4Addr> {
        let meant = test.receivers.iter().filter(|receiver| is_meant(receiver));
        meant.map(|receiver| receiver.address).collect()
    };
    let unheard = those(|it| !it.has_all && !it.has_answered);
    if !unheard.is_empty() {
        found.push(Cause::GroupUnheard {
            receivers: unheard,
            group: test.group,
        });
    }
    let small = those(|it| !it.has_all && it.has_answered && !it.has_data);
    if !small.is_empty() {
        found.push(Cause::LargeLost {
            receivers: small,
            len: test.datagram_len,
        });
    }
    let left = those(|it| !it.has_all && it.has_answered && it.has_data);
    if !left.is_empty() {
        found.push(Cause::ReceiversLeft { receivers: left });
    }
    if test.receivers.iter().any(|receiver| receiver.has_all) {
        found.extend(quality(test.blocks, test.repeated, test.bytes, test.time));
    }
    found
}

fn steps(test: &Sent) -> Vec<Check> {
    let causes = found(test);
    let has = |area: Area| causes.iter().any(|cause| Area::of(cause) == area);
    let have = count(&test.receivers);
    let is_tried = have > 0 && test.failure.is_none();
    let of_all = |is_there: fn(&Receiver) -> bool| {
        let there = test.receivers.iter().filter(|receiver| is_there(receiver));
        (u64::try_from(there.count()).unwrap_or(u64::MAX), is_tried)
    };
    let share = |(there, is_tried): (u64, bool)| match is_tried {
        false => Verdict::Skipped,
        true if there < have => Verdict::Problem,
        true => Verdict::Fine,
    };
    let web = match &test.web {
        Ok(Ok(url)) => line(Area::Web, Verdict::Fine, format!("{url} answers")),
        Ok(Err((url, error))) => line(Area::Web, Verdict::Problem, format!("{url}: {error}")),
        Err(why) => line(Area::Web, Verdict::Skipped, why.to_string()),
    };
    let sender = format!("by {} ({})", test.card, test.own);
    let rendezvous = match have {
        0 => format!(
            "{sender}: no receiver asked at port {} for {}",
            test.port.saturating_add(1),
            Time(test.waited)
        ),
        _ => {
            let names: Vec<Ipv4Addr> = test.receivers.iter().map(|it| it.address).collect();
            format!("{sender}: {} asked", list(&names))
        }
    };
    let answered = of_all(|receiver| receiver.has_answered || receiver.has_all);
    let with_data = of_all(|receiver| receiver.has_data || receiver.has_all);
    let whole = of_all(|receiver| receiver.has_all);
    let text = |(there, _): (u64, bool), what: &str| format!("{there} of {have} {what}");
    let is_whole = whole.0 > 0;
    let poor = |area| match (is_whole, has(area)) {
        (false, _) => Verdict::Skipped,
        (true, true) => Verdict::Problem,
        (true, false) => Verdict::Fine,
    };
    let rendezvous_verdict = match have < u64::from(test.wanted) || has(Area::Rendezvous) {
        true => Verdict::Problem,
        false => Verdict::Fine,
    };
    let rate = rate(test.bytes, test.time).map_or_else(
        || match is_whole {
            true => "too short to say".to_owned(),
            false => Skipped::Unreached.to_string(),
        },
        |rate| Rate(rate).to_string(),
    );
    let large = format!(
        "had datagrams of {} bytes, and have acknowledged them",
        test.datagram_len
    );
    let small = format!("have answered what was sent to {}", test.group);
    let content = format!("have acknowledged the end of {}", Size(test.bytes));
    vec![
        web,
        line(Area::Rendezvous, rendezvous_verdict, rendezvous),
        line(Area::Small, share(answered), text(answered, &small)),
        line(Area::Large, share(with_data), text(with_data, &large)),
        line(Area::Content, share(whole), text(whole, &content)),
        line(
            Area::Loss,
            poor(Area::Loss),
            format!(
                "{} of {} replaced lost ones",
                test.repeated,
                Count(test.blocks, "datagram")
            ),
        ),
        line(Area::Rate, poor(Area::Rate), rate),
    ]
}

fn count(receivers: &[Receiver]) -> u64 {
    u64::try_from(receivers.len()).unwrap_or(u64::MAX)
}
