//! Notes and events.

use super::*;

fn notes() -> Vec<(Note, &'static str)> {
    let stream = stream();
    vec![
        (
            Note::Created {
                image: "win11".into(),
                hosts: 3,
                port: 63100,
            },
            "session created: image win11 for 3 hosts, ports 63100 and 63101",
        ),
        (
            Note::CheckedIn { address: ADDRESS },
            "checked in from 10.0.0.7",
        ),
        (
            Note::StreamStarting { stream: 0, run: 0 },
            "stream 1 begins",
        ),
        (
            Note::StreamStarting { stream: 1, run: 1 },
            "stream 2 begins (run 2)",
        ),
        (
            Note::StartRevoked { stream: 0, run: 0 },
            "stream 1 did not begin, because no receiver was left; the hosts are waited for again",
        ),
        (
            Note::MemberEnded {
                state: State::Cancelled,
                reason: Reason::Missing,
            },
            "cancelled: did not check in before the session started; nothing was written",
        ),
        (
            Note::Ended {
                state: State::Complete,
                reason: sum(0, 0),
            },
            "session complete: 1 of 1 host complete",
        ),
        (
            Note::StartingWithout {
                seconds: 600,
                missing: missing(),
            },
            "the wait of 10 min is over; starting without LAB-02, LAB-03",
        ),
        (
            Note::StartedByHand { missing: missing() },
            "started by hand, without LAB-02, LAB-03",
        ),
        (
            Note::StartedByHand {
                missing: Vec::new(),
            },
            "started by hand",
        ),
        (
            Note::LeftRendezvous {
                address: ADDRESS,
                stream: stream.clone(),
            },
            "left the rendezvous of d1p1.img (from 10.0.0.7); it may come again",
        ),
        (
            Note::ShareUnusable,
            "could not use the image share and starts again",
        ),
        (
            Note::Resumed { stream },
            "the server was restarted; the session goes on with the beginning of d1p1.img",
        ),
        (
            Note::Warning {
                text: "the disk is slow".into(),
            },
            "warning: the disk is slow",
        ),
        (
            Note::ForeignReport {
                address: ADDRESS.into(),
                text: "no disk".into(),
            },
            "ignored a report from 10.0.0.7, since this host did not check in there: no disk",
        ),
        (
            Note::Refused {
                address: ADDRESS.into(),
                why: Box::new(Refusal::AnotherMachine {
                    address: Ipv4Addr::new(10, 0, 0, 8),
                }),
            },
            "its check-in from 10.0.0.7 is refused: A machine at 10.0.0.8 already takes part, as this \
             host or as another one with this address. If two machines have one MAC address, switch one \
             of them off. If it is this machine, booted again, leave it on: it is let in when the server \
             has not heard the earlier one for a while, as long as the session has not started.",
        ),
        (
            Note::PortHeld {
                text: "UDP port 63101 is in use by udp-sender (process 7)".into(),
            },
            "UDP port 63101 is in use by udp-sender (process 7); the session has other ports",
        ),
        (
            Note::Words {
                text: "check-in: LAB-01 checked in".into(),
            },
            "check-in: LAB-01 checked in",
        ),
        (
            Note::Unknown {
                code: "of-the-future".into(),
                details: "{}".into(),
            },
            "of-the-future {} (stored by another program, or another version of fos-server)",
        ),
    ]
}

#[test]
fn notes_have_words() {
    for (value, text) in notes() {
        assert_eq!(note(&value), text, "{value:?}");
    }
}

#[test]
fn an_event_has_a_subject() {
    let event_of = |host: Option<i64>, name: &str| {
        event(&Event {
            id: 1,
            at: Timestamp(0),
            session: Some(SessionId(3)),
            host: host.map(HostId),
            host_name: name.into(),
            note: Note::CheckedIn { address: ADDRESS },
        })
    };
    assert_eq!(
        event_of(Some(1), "LAB-01"),
        "LAB-01: checked in from 10.0.0.7"
    );
    assert_eq!(event_of(Some(1), ""), "host 1: checked in from 10.0.0.7");
    assert_eq!(event_of(None, ""), "checked in from 10.0.0.7");
}
