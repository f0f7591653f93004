//! Every variant and its words.

mod notes;
mod reasons;
mod refusals;
mod sessions;
mod unicast;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use fog::Mac;
use fog::store::StreamName;
use fog::task::State;
use proptest::prelude::*;

use self::sessions::{missing, sat, snapshot};
use super::*;
use crate::domain::reason::{BrokenRow, Defect, Evidence, Standstill, Summary};
use crate::domain::refusal::{AskAgain, Line};
use crate::domain::session::core::Phase;
use crate::domain::session::{
    Client, Event, Member, MemberSnapshot, Note, SeatStatus, Session, Snapshot,
};
use crate::domain::unicast::{Machine, TaskKind, UnicastFact, UnicastTask};
use crate::domain::{HostId, ImageId, NodeId, Reason, Refusal, SessionId, TaskId, Timestamp};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

const AGENT: &str = "fos-agent/0.1.0";

fn stream() -> StreamName {
    StreamName::of_file("d1p1.img")
}

fn dropped(evidence: Evidence) -> Reason {
    Reason::Dropped {
        stream: stream(),
        seconds: 16,
        evidence,
    }
}

fn client_failed(before: Option<Reason>) -> Reason {
    Reason::ClientFailed {
        text: "no space on /dev/sda".into(),
        before: before.map(Box::new),
    }
}

fn stood_still(cause: Standstill) -> Reason {
    Reason::StoodStill {
        stream: stream(),
        seconds: 300,
        cause,
    }
}

fn session_failed(cause: Reason) -> Reason {
    Reason::SessionFailed(Box::new(cause))
}

fn sum(troubles: usize, more: usize) -> Reason {
    let trouble = |number| {
        (
            format!("LAB-{number:02}"),
            Box::new(Reason::Left { stream: stream() }),
        )
    };
    Reason::Summary(Summary {
        complete: 1,
        total: 1 + troubles + more,
        cancelled: 0,
        troubles: (2..).take(troubles).map(trouble).collect(),
        more,
    })
}

fn nobody_connected() -> Reason {
    Reason::NobodyConnected {
        seconds: 600,
        missing: vec!["LAB-01".into(), "LAB-02".into()],
    }
}

fn broken_row() -> BrokenRow {
    BrokenRow {
        table: "tasks".into(),
        row: "12".into(),
        column: "taskStateID".into(),
        value: "99".into(),
        expected: "a number from 0 to 6".into(),
    }
}

fn mac() -> Mac {
    "00:1b:21:aa:bb:cc".parse().unwrap()
}

#[test]
fn long_lists_are_cut() {
    let many: Vec<String> = (1..=25).map(|n| format!("LAB-{n:02}")).collect();
    assert!(names(&many).ends_with("LAB-10 and 15 more"));
    let text = reason(&sum(30, 5));
    assert!(text.ends_with(". And 15 more"), "{text}");
    assert!(
        text.contains("LAB-21") && !text.contains("LAB-22"),
        "{text}"
    );
}

fn hostile() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![any::<char>(), Just('\x1b'), Just('\n'), Just('\u{9b}')],
        0..20,
    )
    .prop_map(String::from_iter)
}

proptest! {
    #[test]
    fn nothing_from_outside_controls_a_terminal(text in hostile(), name in hostile()) {
        let stream = StreamName::of_file(&name);
        let list = || vec![name.clone(), text.clone()];
        let row = BrokenRow {
            table: text.clone(),
            row: text.clone(),
            column: text.clone(),
            value: text.clone(),
            expected: text.clone(),
        };
        let reasons = vec![
            Reason::ClientFailed { text: text.clone(), before: Some(Box::new(Reason::Words { text: text.clone() })) },
            Reason::Restarted { stream: stream.clone() },
            Reason::Late { stream: stream.clone() },
            Reason::NotConnectedFor { stream: stream.clone(), seconds: None },
            Reason::Dropped { stream: stream.clone(), seconds: 1, evidence: Evidence::HeardByHttpNeverData },
            Reason::LeftBehind { stream: stream.clone(), bytes_per_second: 1, waited_percent: 90 },
            Reason::Stalled { stream: stream.clone(), seconds: 1 },
            Reason::Left { stream: stream.clone() },
            Reason::TookNoPart { stream: stream.clone() },
            Reason::SilentBefore { stream: stream.clone(), seconds: 1 },
            Reason::ServerStopped { stream: stream.clone() },
            Reason::NobodyConnected { seconds: 1, missing: list() },
            Reason::SenderFailed { stream: stream.clone(), text: text.clone() },
            Reason::StoodStill { stream: stream.clone(), seconds: 1, cause: Standstill::Sender },
            Reason::ImageChanged { text: text.clone() },
            Reason::BrokenRow(Box::new(row)),
            Reason::Internal { text: text.clone() },
            Reason::Unknown { code: text.clone(), details: name.clone() },
        ];
        let sum = Reason::Summary(Summary {
            troubles: reasons.iter().map(|r| (name.clone(), Box::new(r.clone()))).collect(),
            ..Summary::default()
        });
        let mut texts: Vec<String> = reasons.iter().map(reason).collect();
        texts.push(reason(&sum));
        texts.push(reason(&session_failed(sum.clone())));
        texts.extend([
            Refusal::NoTask { host: name.clone(), mac: mac(), last: Some((SessionId(1), sum.clone())) },
            Refusal::OtherType { found: text.clone() },
            Refusal::OtherNetwork { client: text.clone(), session: name.clone() },
            Refusal::NoNetwork { text: text.clone() },
        ].iter().map(refusal));
        let notes = [
            Note::Created { image: text.clone(), hosts: 1, port: 63100 },
            Note::StartingWithout { seconds: 1, missing: list() },
            Note::StartedByHand { missing: list() },
            Note::LeftRendezvous { address: ADDRESS, stream: stream.clone() },
            Note::Resumed { stream: stream.clone() },
            Note::Warning { text: text.clone() },
            Note::ForeignReport { address: ADDRESS.into(), text: text.clone() },
            Note::Refused {
                address: ADDRESS.into(),
                why: Box::new(Refusal::NoNetwork { text: text.clone() }),
            },
            Note::PortHeld { text: text.clone() },
            Note::Words { text: text.clone() },
            Note::Unknown { code: text.clone(), details: name.clone() },
        ];
        texts.extend(notes.into_iter().map(|note| event(&Event {
            id: 1,
            at: Timestamp(0),
            session: None,
            host: Some(HostId(1)),
            host_name: name.clone(),
            note,
        })));
        for phase_now in [Phase::Gathering { stream: 0 }, Phase::Starting { stream: 0 }, Phase::Finishing] {
            let session = Snapshot {
                stream_name: stream.clone(),
                missing: list(),
                members: vec![MemberSnapshot { name: name.clone(), ..sat(SeatStatus::Between, 2) }],
                ..snapshot(phase_now)
            };
            texts.push(phase(&session));
            texts.push(member(&sat(SeatStatus::Receiving, 0), &session));
        }
        texts.push(held_up_by(&[(&name, Duration::ZERO)]));
        for text in texts {
            prop_assert!(!text.chars().any(char::is_control), "{:?}", text);
        }
    }
}
