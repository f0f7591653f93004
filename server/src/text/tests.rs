//! Every variant and its words.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use fog::Mac;
use fog::store::StreamName;
use fog::task::State;
use proptest::prelude::*;

use super::*;
use crate::domain::reason::{BrokenRow, Defect, Evidence, Standstill, Summary};
use crate::domain::refusal::AskAgain;
use crate::domain::session::core::Phase;
use crate::domain::session::{
    Client, Event, Member, MemberSnapshot, Note, SeatStatus, Session, Snapshot,
};
use crate::domain::{HostId, ImageId, Reason, Refusal, SessionId, TaskId, Timestamp};

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

fn reasons() -> Vec<(Reason, &'static str)> {
    let stream = stream();
    vec![
        (Reason::Written, "the client reported that all is written"),
        (
            Reason::WrittenLate,
            "the client reported, late, that all is written",
        ),
        (
            client_failed(None),
            "the client reports: no space on /dev/sda",
        ),
        (
            client_failed(Some(Reason::Left {
                stream: stream.clone(),
            })),
            "the client reports: no space on /dev/sda (left during d1p1.img, before its end, and gave no reason; its disk is not complete)",
        ),
        (
            client_failed(Some(Reason::Written)),
            "the client first reported that all is written, then that it failed: no space on /dev/sda. Check this machine before it is used",
        ),
        (
            client_failed(Some(Reason::Overdue { seconds: 600 })),
            "the client reports: no space on /dev/sda (received all streams, but did not report its end within 10 min; its disk may not be complete)",
        ),
        (
            Reason::Restarted {
                stream: stream.clone(),
            },
            "restarted while d1p1.img was sent, after it had received data; its disk is not complete. It cannot join again; deploy it after the session",
        ),
        (
            Reason::Late {
                stream: stream.clone(),
            },
            "checked in after the session had started (it now sends d1p1.img); nothing was written",
        ),
        (
            Reason::Missing,
            "did not check in before the session started; nothing was written",
        ),
        (
            Reason::NotConnected,
            "checked in, but did not connect to the sender before the session started; its disk may not be complete. Check the network between server and host (UDP, the session's two ports)",
        ),
        (
            Reason::NotConnectedFor {
                stream: stream.clone(),
                seconds: Some(600),
            },
            "did not connect for d1p1.img within 10 min; its disk is not complete",
        ),
        (
            Reason::NotConnectedFor {
                stream: stream.clone(),
                seconds: None,
            },
            "d1p1.img began before it had connected; its disk is not complete",
        ),
        (
            Reason::ShareUnusable,
            "the client could not mount the image share or found no .mntcheck in it; nothing was written. Check the NFS export, or boot this project's agent, which needs no share",
        ),
        (
            Reason::Incomplete { done: 1, total: 3 },
            "the client reported its end, but the sender saw it receive only 1 of 3 streams; its disk is not complete. Look at its screen",
        ),
        (
            dropped(Evidence::Gone),
            "dropped in d1p1.img after 16 s of silence: neither the sender nor the web server heard it; it was switched off, stopped, or lost its network; its disk is not complete",
        ),
        (
            dropped(Evidence::HeardByHttp),
            "dropped in d1p1.img after 16 s of silence: the machine runs and asks over HTTP, but its receiver fell silent; its disk is not complete. Look at its screen: its disk may hang, or a switch passes no multicast to it any more",
        ),
        (
            dropped(Evidence::HeardByHttpNeverData),
            "dropped in d1p1.img after 16 s of silence: the machine runs and asks over HTTP, but multicast does not reach it; nothing of d1p1.img was written. Check the switches: one filters multicast (IGMP snooping without a querier?)",
        ),
        (
            dropped(Evidence::NotListening),
            "dropped in d1p1.img: its receiver program has ended; its disk is not complete. Look at its screen",
        ),
        (
            dropped(Evidence::AnswersWithoutData),
            "dropped in d1p1.img after 16 s without progress: it answers, but no data block reaches it; its disk may not be complete. The network does not carry large datagrams to it: check the MTU of every VLAN and VPN on the way",
        ),
        (
            dropped(Evidence::AnswersWithLoss),
            "dropped in d1p1.img after 16 s without progress: it answers, but some data blocks never reach it; its disk is not complete. Check its cable, its switch port and its network card",
        ),
        (
            Reason::Dropped {
                stream: stream.clone(),
                seconds: 0,
                evidence: Evidence::Gone,
            },
            "dropped in d1p1.img: neither the sender nor the web server heard it; it was switched off, stopped, or lost its network; its disk is not complete",
        ),
        (
            Reason::Stalled {
                stream: stream.clone(),
                seconds: 300,
            },
            "dropped in d1p1.img: it took no data for 5 min while the others waited for it; its disk is not complete. Look at its screen, its disk may hang",
        ),
        (
            Reason::Left {
                stream: stream.clone(),
            },
            "left during d1p1.img, before its end, and gave no reason; its disk is not complete. Look at its screen",
        ),
        (
            Reason::TookNoPart {
                stream: stream.clone(),
            },
            "took no part in d1p1.img; its disk is not complete. Look at its screen",
        ),
        (
            Reason::SilentBefore {
                stream: stream.clone(),
                seconds: 60,
            },
            "silent for 1 min before d1p1.img: it was switched off or lost its network; its disk is not complete",
        ),
        (
            Reason::Overdue { seconds: 600 },
            "received all streams, but did not report its end within 10 min; its disk may not be complete. Look at its screen; a late report is still accepted",
        ),
        (
            session_failed(nobody_connected()),
            "the session failed: no host connected to the sender within 10 min (missing: LAB-01, LAB-02); its disk may not be complete. Check that the clients reach the session's two ports (UDP) and that no firewall is in between",
        ),
        (
            session_failed(Reason::Unusable(Defect::NoImage)),
            "the session failed: its image is not in the database any more; its disk may not be complete. Add the image (fos-server image add), then deploy again",
        ),
        (
            session_failed(Reason::Unusable(Defect::OtherStreams)),
            "the session failed: its image has other streams than when the session began to send; its disk may not be complete. Deploy again",
        ),
        (
            session_failed(Reason::Internal {
                text: "index 7".into(),
            }),
            "the session failed: an error in the server itself: index 7; its disk may not be complete. Please report it with the server's log",
        ),
        (Reason::SessionCancelled, "the session was cancelled"),
        (Reason::TaskCancelled, "its task was cancelled"),
        (
            Reason::ServerStopped {
                stream: stream.clone(),
            },
            "the server stopped while d1p1.img was sent or waited for, and this client cannot begin a stream again; its disk may not be complete. Restart it, then deploy it again",
        ),
        (sum(0, 0), "1 of 1 host complete"),
        (
            sum(2, 3),
            "1 of 6 hosts complete. LAB-02: left during d1p1.img, before its end, and gave no reason; its disk is not complete. Look at its screen. LAB-03: left during d1p1.img, before its end, and gave no reason; its disk is not complete. Look at its screen. And 3 more",
        ),
        (
            Reason::Summary(Summary {
                complete: 2,
                total: 3,
                cancelled: 1,
                ..Summary::default()
            }),
            "2 of 3 hosts complete, 1 cancelled",
        ),
        (Reason::AllCancelled, "every host was cancelled"),
        (
            nobody_connected(),
            "no host connected to the sender within 10 min (missing: LAB-01, LAB-02). Check that the clients reach the session's two ports (UDP) and that no firewall is in between",
        ),
        (
            Reason::SenderFailed {
                stream: stream.clone(),
                text: "network is down".into(),
            },
            "the sender failed in d1p1.img: network is down",
        ),
        (
            stood_still(Standstill::Sender),
            "nothing of d1p1.img moved for 5 min: the sender did not begin. Look at the server's log",
        ),
        (
            stood_still(Standstill::ImageStore),
            "nothing of d1p1.img moved for 5 min: no data came from the image store. Check whether the disk or mount of the images hangs",
        ),
        (
            stood_still(Standstill::Receivers),
            "nothing of d1p1.img moved for 5 min: no receiver took any data, although they answer. Look at the screens of the hosts, their disks may hang",
        ),
        (
            Reason::ImageChanged {
                text: "d1p1.img has 7 bytes instead of 9".into(),
            },
            "the image's files are not those that were verified: d1p1.img has 7 bytes instead of 9. Put the files back, or take what is there now with fos-server image update",
        ),
        (
            Reason::Unusable(Defect::NoImage),
            "its image is not in the database any more. Add the image (fos-server image add), then deploy again",
        ),
        (
            Reason::Unusable(Defect::NotVerified),
            "its image was never verified by this server. Verify it with fos-server image update, then deploy again",
        ),
        (
            Reason::Unusable(Defect::NoHosts),
            "it has no hosts. Deploy again",
        ),
        (
            Reason::Unusable(Defect::Port { port: 63101 }),
            "its base port 63101 is not an even number from 1024 to 65534. Correct multicastSessions.msBasePort, or deploy again",
        ),
        (
            Reason::Unusable(Defect::OtherStreams),
            "its image has other streams than when the session began to send. Deploy again",
        ),
        (
            Reason::BrokenRow(Box::new(broken_row())),
            "the database holds a value that the server cannot understand: table tasks, row 12: column taskStateID holds \"99\", expected a number from 0 to 6. Correct the row, or deploy again",
        ),
        (
            Reason::Internal {
                text: "index 7".into(),
            },
            "an error in the server itself: index 7. Please report it with the server's log",
        ),
        (
            Reason::Words {
                text: "what an older server stored".into(),
            },
            "what an older server stored",
        ),
        (
            Reason::Unknown {
                code: "of-the-future".into(),
                details: "{\"a\":1}".into(),
            },
            "of-the-future {\"a\":1} (stored by another program, or another version of fos-server)",
        ),
        (
            Reason::Unknown {
                code: "of-the-future".into(),
                details: String::new(),
            },
            "of-the-future (stored by another program, or another version of fos-server)",
        ),
    ]
}

/// That no variant is forgotten: a new one does not compile until it is here, and in the table.
fn number_of(reason: &Reason) -> usize {
    match reason {
        Reason::Written => 0,
        Reason::WrittenLate => 1,
        Reason::ClientFailed { .. } => 2,
        Reason::Restarted { .. } => 3,
        Reason::Late { .. } => 4,
        Reason::Missing => 5,
        Reason::NotConnected => 6,
        Reason::NotConnectedFor { .. } => 7,
        Reason::ShareUnusable => 8,
        Reason::Incomplete { .. } => 9,
        Reason::Dropped { .. } => 10,
        Reason::Stalled { .. } => 11,
        Reason::Left { .. } => 12,
        Reason::TookNoPart { .. } => 13,
        Reason::SilentBefore { .. } => 14,
        Reason::Overdue { .. } => 15,
        Reason::SessionFailed(_) => 16,
        Reason::SessionCancelled => 17,
        Reason::TaskCancelled => 18,
        Reason::ServerStopped { .. } => 19,
        Reason::Summary(_) => 20,
        Reason::AllCancelled => 21,
        Reason::NobodyConnected { .. } => 22,
        Reason::SenderFailed { .. } => 23,
        Reason::StoodStill { .. } => 24,
        Reason::ImageChanged { .. } => 25,
        Reason::Unusable(_) => 26,
        Reason::BrokenRow(_) => 27,
        Reason::Internal { .. } => 28,
        Reason::Words { .. } => 29,
        Reason::Unknown { .. } => 30,
    }
}

#[test]
fn reasons_have_words() {
    let mut seen = std::collections::BTreeSet::new();
    for (value, text) in reasons() {
        assert_eq!(reason(&value), text, "{value:?}");
        seen.insert(number_of(&value));
    }
    assert_eq!(seen.len(), 31, "{seen:?}");
}

fn mac() -> Mac {
    "00:1b:21:aa:bb:cc".parse().unwrap()
}

fn refusals() -> Vec<(Refusal, &'static str, &'static str)> {
    vec![
        (
            Refusal::NoMac,
            "no-mac",
            "The request names no MAC address of a network card.",
        ),
        (
            Refusal::Unknown(mac()),
            "unknown",
            "The machine 00:1b:21:aa:bb:cc is not registered here. Register it with: fos-server host add NAME 00:1b:21:aa:bb:cc",
        ),
        (
            Refusal::NoTask {
                host: "LAB-01".into(),
                mac: mac(),
                last: None,
            },
            "no-task",
            "No active task for LAB-01 (00:1b:21:aa:bb:cc).",
        ),
        (
            Refusal::NoTask {
                host: "LAB-01".into(),
                mac: mac(),
                last: Some((SessionId(4), Reason::Written)),
            },
            "no-task",
            "No active task for LAB-01 (00:1b:21:aa:bb:cc). Session 4: the client reported that all is written.",
        ),
        (
            Refusal::NoSession(TaskId(12)),
            "no-session",
            "Task 12 of this host is in no multicast session, and this server serves no other tasks. Cancel the task and deploy the host again.",
        ),
        (
            Refusal::OtherType { found: "up".into() },
            "other-type",
            "This machine was booted for another task (type=up), and its task is now a multicast deploy. Restart it to fetch the present boot script.",
        ),
        (
            Refusal::Over(Reason::Missing),
            "over",
            "The part of this host in the session is over: did not check in before the session started; nothing was written. Deploy the host again.",
        ),
        (
            Refusal::Over(Reason::Written),
            "over",
            "The part of this host in the session is over: the client reported that all is written.",
        ),
        (
            Refusal::Over(Reason::TaskCancelled),
            "over",
            "The part of this host in the session is over: its task was cancelled.",
        ),
        (
            Refusal::AnotherMachine { address: ADDRESS },
            "another-machine",
            "A machine at 10.0.0.7 already takes part, as this host or as another one with this address. If two machines have one MAC address, switch one of them off. If it is this machine, booted again, leave it on: it is let in when the server has not heard the earlier one for a while, as long as the session has not started.",
        ),
        (
            Refusal::NotCheckedIn,
            "not-checked-in",
            "This machine has not checked in for a session, so nothing that it reports counts. Restart it if it is to be deployed.",
        ),
        (
            Refusal::OtherJob {
                told: SessionId(3),
                now: SessionId(4),
            },
            "restart",
            "Restart this machine: it was booted for session 3, its task is now in session 4. After the restart it fetches the present boot script. If a restart does not help, switch it off, and on the server: fos-server host forget NAME",
        ),
        (
            Refusal::OtherJob {
                told: SessionId(4),
                now: SessionId(4),
            },
            "restart",
            "Restart this machine: its kernel arguments are not the ones that session 4 has now. After the restart it fetches the present boot script. If a restart does not help, switch it off, and on the server: fos-server host forget NAME",
        ),
        (
            Refusal::UnknownTicket,
            "restart",
            "Restart this machine: this server does not know the ticket in its kernel arguments (fosticket=). After the restart it fetches the present boot script.",
        ),
        (
            Refusal::UnknownJob(Box::new(broken_row())),
            "restart",
            "Restart this machine: what it was booted for cannot be read any more (the database holds a value that the server cannot understand: table tasks, row 12: column taskStateID holds \"99\", expected a number from 0 to 6). After the restart it fetches the present boot script. If a restart does not help, switch it off, and on the server: fos-server host forget NAME",
        ),
        (
            Refusal::TooManyMachines,
            "too-many-machines",
            "Machines with this MAC address were booted for too many sessions within a day. Look which machines have it. When all of them are switched off: fos-server host forget NAME",
        ),
        (
            Refusal::Over(session_failed(Reason::ImageChanged {
                text: "d1p1.img was changed".into(),
            })),
            "over",
            "The part of this host in the session is over: the session failed: the image's files are not those that were verified: d1p1.img was changed. Put the files back, or take what is there now with fos-server image update. Deploy the host again.",
        ),
        (
            Refusal::Ipv6(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])),
            "ipv6",
            "The request came from ::1, and multicast needs IPv4. Give the machine an IPv4 address and boot it from the server's IPv4 address.",
        ),
        (
            Refusal::Proxied {
                peer: ADDRESS.into(),
                own: Some(Ipv4Addr::new(192, 168, 1, 2)),
            },
            "proxied",
            "The request came from 10.0.0.7, which is not this machine's own (192.168.1.2): an HTTP proxy or NAT is on the way, and the server knows receivers by their addresses. Let the machine reach the server directly.",
        ),
        (
            Refusal::Proxied {
                peer: ADDRESS.into(),
                own: None,
            },
            "proxied",
            "The request came from 10.0.0.7, which is not this machine's own: an HTTP proxy or NAT is on the way, and the server knows receivers by their addresses. Let the machine reach the server directly.",
        ),
        (
            Refusal::OtherNetwork {
                client: "eth1".into(),
                session: "eth0".into(),
            },
            "other-network",
            "This machine is reached over eth1, the session sends on eth0. Deploy the hosts of each network in a session of their own, or connect the machine to the network of eth0.",
        ),
        (
            Refusal::NoNetwork {
                text: "no route to host".into(),
            },
            "no-network",
            "The server has no network card that leads to this machine: no route to host. Check the server's addresses and routes.",
        ),
        (
            Refusal::NothingSent,
            "nothing-sent",
            "This machine reports that it is done, but the session has sent nothing to it. The report is ignored; restart the machine if it is to be deployed.",
        ),
        (
            Refusal::AskAgain(AskAgain::LastStream),
            "ask-again",
            "Not yet: the sender has not yet seen the end of the last stream. Ask again in a few seconds.",
        ),
        (
            Refusal::AskAgain(AskAgain::NotStored),
            "ask-again",
            "Not yet: the server's database cannot store it now. Ask again in a few seconds.",
        ),
        (
            Refusal::AskAgain(AskAgain::ImageStore),
            "ask-again",
            "Not yet: the server is looking at the image's files. Ask again in a few seconds.",
        ),
        (
            Refusal::AskAgain(AskAgain::NoAnswer(SessionId(3))),
            "ask-again",
            "Not yet: session 3 does not answer. Ask again in a few seconds.",
        ),
        (
            Refusal::AskAgain(AskAgain::ShuttingDown),
            "ask-again",
            "Not yet: the server is shutting down. Ask again in a few seconds.",
        ),
    ]
}

#[test]
fn refusals_have_words_and_codes() {
    for (value, code, text) in refusals() {
        assert_eq!(refusal(&value), text, "{value:?}");
        assert_eq!(refusal_code(&value), code, "{value:?}");
    }
}

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

fn snapshot(phase: Phase) -> Snapshot {
    Snapshot {
        phase,
        stream: 0,
        streams: 2,
        stream_name: stream(),
        run: 0,
        expected: 3,
        checked_in: 2,
        connected: 1,
        missing: Vec::new(),
        has_check_in: true,
        age: Duration::from_secs(130),
        starts_in: None,
        gives_up_in: None,
        has_records: None,
        stands_still: Duration::ZERO,
        members: Vec::new(),
    }
}

fn missing() -> Vec<String> {
    vec!["LAB-02".into(), "LAB-03".into()]
}

fn sat(status: SeatStatus, streams_done: usize) -> MemberSnapshot {
    MemberSnapshot {
        host: HostId(1),
        name: "LAB-01".into(),
        address: Some(ADDRESS),
        agent: AGENT.into(),
        status,
        age: Duration::ZERO,
        has_received: true,
        may_have_written: true,
        streams_done,
        refused: None,
        silent: None,
    }
}

fn phases() -> Vec<(Snapshot, &'static str)> {
    let gathering = snapshot(Phase::Gathering { stream: 0 });
    let later = snapshot(Phase::Gathering { stream: 1 });
    let sending = snapshot(Phase::Sending { stream: 0 });
    let starts_in = Some(Duration::from_secs(70));
    vec![
        (
            Snapshot {
                has_check_in: false,
                expected: 1,
                missing: vec!["LAB-02".into()],
                ..gathering.clone()
            },
            "waiting for LAB-02 to check in, for 2 min 10 s; boot it from the network. This wait has no limit",
        ),
        (
            Snapshot {
                has_check_in: false,
                missing: missing(),
                ..gathering.clone()
            },
            "waiting for the first of 3 hosts to check in, for 2 min 10 s: LAB-02, LAB-03; boot them from the network. This wait has no limit",
        ),
        (
            Snapshot {
                missing: missing(),
                starts_in,
                ..gathering.clone()
            },
            "waiting for 2 of 3 hosts before d1p1.img (stream 1 of 2) for 2 min 10 s: LAB-02, LAB-03; it starts without them in 1 min 10 s",
        ),
        (
            Snapshot {
                missing: missing(),
                starts_in,
                connected: 0,
                ..gathering.clone()
            },
            "waiting for 2 of 3 hosts before d1p1.img (stream 1 of 2) for 2 min 10 s: LAB-02, LAB-03; the session fails in 1 min 10 s if no host connects",
        ),
        (gathering, "about to start d1p1.img (stream 1 of 2)"),
        (
            Snapshot {
                stream: 1,
                missing: missing(),
                starts_in,
                members: vec![sat(SeatStatus::Between, 1)],
                ..later
            },
            "waiting for 2 of 3 hosts before d1p1.img (stream 2 of 2) for 2 min 10 s: LAB-02, LAB-03; it goes on without them in 1 min 10 s",
        ),
        (
            snapshot(Phase::Starting { stream: 0 }),
            "starting d1p1.img (stream 1 of 2) for 2 min 10 s",
        ),
        (
            Snapshot {
                missing: missing(),
                ..snapshot(Phase::Starting { stream: 0 })
            },
            "starting d1p1.img (stream 1 of 2) for 2 min 10 s, without LAB-02, LAB-03",
        ),
        (
            Snapshot {
                stands_still: Duration::from_secs(12),
                ..sending.clone()
            },
            "sending d1p1.img (stream 1 of 2) to 1 host for 2 min 10 s; nothing has moved for 12 s",
        ),
        (
            sending,
            "sending d1p1.img (stream 1 of 2) to 1 host for 2 min 10 s",
        ),
        (
            Snapshot {
                members: vec![
                    sat(SeatStatus::Between, 2),
                    sat(SeatStatus::Ended(State::Complete, Reason::Written), 2),
                ],
                gives_up_in: Some(Duration::from_secs(600)),
                ..snapshot(Phase::Finishing)
            },
            "all is sent (2 streams); waiting for the report of 1 host for 2 min 10 s: LAB-01; a host that stays silent fails, the first in 10 min",
        ),
        (
            Snapshot {
                members: vec![sat(
                    SeatStatus::Leaving(Reason::Left { stream: stream() }),
                    0,
                )],
                ..snapshot(Phase::Finishing)
            },
            "the last receivers left; waiting for the report of 1 host for 2 min 10 s: LAB-01",
        ),
        (
            snapshot(Phase::Ended {
                state: State::Cancelled,
                reason: Reason::SessionCancelled,
            }),
            "cancelled: the session was cancelled",
        ),
    ]
}

#[test]
fn phases_have_words() {
    for (value, text) in phases() {
        assert_eq!(phase(&value), text, "{value:?}");
    }
}

fn members() -> Vec<(MemberSnapshot, &'static str)> {
    let failed = |reason| SeatStatus::Ended(State::Failed, reason);
    let cancelled = || SeatStatus::Ended(State::Cancelled, Reason::TaskCancelled);
    let untouched = |status| MemberSnapshot {
        has_received: false,
        may_have_written: false,
        ..sat(status, 0)
    };
    let never_data = || dropped(Evidence::HeardByHttpNeverData);
    vec![
        (sat(SeatStatus::Expected, 0), "not checked in"),
        (
            MemberSnapshot {
                refused: Some((
                    ADDRESS.into(),
                    Refusal::OtherNetwork {
                        client: "eth1".into(),
                        session: "eth0".into(),
                    },
                )),
                ..untouched(SeatStatus::Expected)
            },
            "not checked in: its check-in from 10.0.0.7 is refused: This machine is reached over eth1, \
             the session sends on eth0. Deploy the hosts of each network in a session of their own, or \
             connect the machine to the network of eth0.",
        ),
        (
            sat(SeatStatus::CheckedIn, 0),
            "checked in; not yet connected to the sender",
        ),
        (sat(SeatStatus::Connected, 1), "connected for d1p2.img"),
        (sat(SeatStatus::Receiving, 1), "receiving d1p2.img"),
        (
            sat(SeatStatus::Between, 1),
            "not yet connected for d1p2.img",
        ),
        (
            sat(SeatStatus::Between, 2),
            "has d1p2.img already; waiting for the others",
        ),
        (
            sat(SeatStatus::Between, 3),
            "received everything; has not reported its end",
        ),
        (
            sat(SeatStatus::Leaving(Reason::Left { stream: stream() }), 1),
            "left during d1p1.img, before its end; waiting for its report of the reason",
        ),
        (
            sat(SeatStatus::Ended(State::Complete, Reason::Written), 3),
            "the client reported that all is written",
        ),
        (
            sat(failed(client_failed(Some(Reason::Written))), 3),
            "the client first reported that all is written, then that it failed: no space on /dev/sda. Check this machine before it is used",
        ),
        (
            sat(
                failed(client_failed(Some(Reason::Left { stream: stream() }))),
                1,
            ),
            "the client reports: no space on /dev/sda (left during d1p1.img, before its end, and gave no reason; its disk is not complete)",
        ),
        (
            untouched(failed(client_failed(None))),
            "the client reports: no space on /dev/sda; nothing was written",
        ),
        (
            sat(failed(client_failed(None)), 0),
            "the client reports: no space on /dev/sda",
        ),
        (
            sat(failed(client_failed(None)), 1),
            "the client reports: no space on /dev/sda; its disk is not complete",
        ),
        (
            sat(failed(client_failed(None)), 3),
            "the client reports: no space on /dev/sda",
        ),
        (
            untouched(failed(session_failed(Reason::SenderFailed {
                stream: stream(),
                text: "trouble".into(),
            }))),
            "the session failed: the sender failed in d1p1.img: trouble; nothing was written",
        ),
        (
            sat(failed(never_data()), 0),
            "dropped in d1p1.img after 16 s of silence: the machine runs and asks over HTTP, but multicast does not reach it; nothing was written. Check the switches: one filters multicast (IGMP snooping without a querier?)",
        ),
        (
            sat(failed(never_data()), 1),
            "dropped in d1p1.img after 16 s of silence: the machine runs and asks over HTTP, but multicast does not reach it; its disk is not complete. Check the switches: one filters multicast (IGMP snooping without a querier?)",
        ),
        (
            untouched(cancelled()),
            "its task was cancelled; nothing was written",
        ),
        (
            sat(cancelled(), 0),
            "its task was cancelled; its disk may not be complete",
        ),
        (
            sat(cancelled(), 2),
            "its task was cancelled; its disk is not complete",
        ),
        (
            sat(failed(Reason::Overdue { seconds: 600 }), 3),
            "received all streams, but did not report its end within 10 min; its disk may not be complete. Look at its screen; a late report is still accepted",
        ),
        (
            untouched(SeatStatus::Ended(State::Cancelled, Reason::Missing)),
            "did not check in before the session started; nothing was written",
        ),
    ]
}

#[test]
fn members_have_words() {
    let session = Snapshot {
        stream: 1,
        stream_name: StreamName::of_file("d1p2.img"),
        streams: 3,
        ..snapshot(Phase::Sending { stream: 1 })
    };
    for (value, text) in members() {
        assert_eq!(member(&value, &session), text, "{value:?}");
    }
}

/// A client of FOG writes the partition table after it was told to go, before its first receiver.
#[test]
fn of_a_stock_client_that_was_told_to_go_it_is_never_said_that_nothing_was_written() {
    let lost = [
        Reason::NotConnected,
        session_failed(nobody_connected()),
        Reason::SessionCancelled,
        Reason::TaskCancelled,
        dropped(Evidence::HeardByHttpNeverData),
    ];
    for why in lost {
        let status = SeatStatus::Ended(State::Failed, why.clone());
        let stock = MemberSnapshot {
            agent: Client::default(),
            has_received: false,
            ..sat(status, 0)
        };
        let agent = MemberSnapshot {
            agent: AGENT.into(),
            may_have_written: false,
            ..stock.clone()
        };
        let text = |seat: &MemberSnapshot| member(seat, &snapshot(Phase::Finishing));
        assert!(
            text(&stock).contains("; its disk may not be complete"),
            "{why:?}"
        );
        assert!(text(&agent).contains("; nothing was written"), "{why:?}");
    }
    for why in [Reason::NotConnected, session_failed(nobody_connected())] {
        let stock = Member {
            state: State::Failed,
            reason: Some(why),
            ..stored_host()
        };
        let agent = Member {
            agent: AGENT.into(),
            ..stock.clone()
        };
        assert!(stored_member(&stock).contains("; its disk may not be complete"));
        assert!(stored_member(&agent).contains("; nothing was written"));
    }
}

#[test]
fn those_who_hold_up_the_others_are_named() {
    let second = Duration::from_secs(1);
    assert_eq!(held_up_by(&[]), "");
    assert_eq!(
        held_up_by(&[("LAB-01", 12 * second), ("LAB-02", 90 * second)]),
        "held up by LAB-01 (12 s), LAB-02 (1 min 30 s)"
    );
    assert_eq!(
        holds_up(second, 40 * second, false),
        "the others wait for it: it answers, but took no data for 40 s"
    );
    assert_eq!(
        holds_up(40 * second, 40 * second, false),
        "the others wait for it: silent for 40 s"
    );
    assert_eq!(
        holds_up(40 * second, 40 * second, true),
        "the stream waits for it: silent for 40 s"
    );
}

fn stored_host() -> Member {
    Member {
        host: HostId(1),
        task: TaskId(1),
        name: "LAB-01".into(),
        address: Some(ADDRESS),
        ticket: None,
        agent: Client::default(),
        checked_in_at: Some(Timestamp(0)),
        streams_done: 0,
        state: State::InProgress,
        reason: None,
    }
}

fn stored() -> Session {
    Session {
        id: SessionId(3),
        name: "lab".into(),
        image: ImageId(1),
        image_name: "win11".into(),
        path: "win11".into(),
        port: 63100,
        state: State::InProgress,
        max_wait: Duration::from_secs(600),
        is_shutdown: false,
        created_at: Timestamp(0),
        started_at: None,
        ended_at: None,
        has_records: None,
        runs: 0,
        reason: None,
        members: vec![stored_host()],
    }
}

#[test]
fn stored_sessions_have_words() {
    let over = Session {
        state: State::Failed,
        reason: Some(Reason::SenderFailed {
            stream: stream(),
            text: "no route".into(),
        }),
        ..stored()
    };
    let foreign = Session {
        state: State::Cancelled,
        ..stored()
    };
    let started = Session {
        started_at: Some(Timestamp(0)),
        ..stored()
    };
    for (value, text) in [
        (
            stored(),
            "waiting (1 of 1 host checked in); no server is running that could send it",
        ),
        (
            started,
            "started at 1970-01-01 00:00:00 (UTC); the server that sent it is not running. It goes on when a server is started",
        ),
        (over, "failed: the sender failed in d1p1.img: no route"),
        (foreign, "cancelled"),
    ] {
        assert_eq!(stored_session(&value), text);
    }
}

#[test]
fn stored_members_have_words() {
    let ended = |state, reason: Reason, streams_done| Member {
        state,
        reason: Some(reason),
        streams_done,
        ..stored_host()
    };
    for (value, text) in [
        (stored_host(), "checked in at 1970-01-01 00:00:00 (UTC)"),
        (
            Member {
                streams_done: 2,
                ..stored_host()
            },
            "checked in at 1970-01-01 00:00:00 (UTC); received 2 streams",
        ),
        (
            Member {
                checked_in_at: None,
                state: State::Queued,
                ..stored_host()
            },
            "not checked in",
        ),
        (
            Member {
                state: State::Cancelled,
                ..stored_host()
            },
            "cancelled",
        ),
        (
            ended(State::Complete, Reason::Written, 2),
            "the client reported that all is written",
        ),
        (
            ended(State::Failed, client_failed(None), 1),
            "the client reports: no space on /dev/sda; its disk is not complete",
        ),
        (
            ended(State::Failed, Reason::Overdue { seconds: 600 }, 1),
            "received all streams, but did not report its end within 10 min; its disk may not be complete. Look at its screen; a late report is still accepted",
        ),
        (
            ended(State::Cancelled, Reason::TaskCancelled, 0),
            "its task was cancelled; its disk may not be complete",
        ),
        (
            Member {
                address: None,
                checked_in_at: None,
                ..ended(State::Cancelled, Reason::TaskCancelled, 0)
            },
            "its task was cancelled; nothing was written",
        ),
    ] {
        assert_eq!(stored_member(&value), text, "{value:?}");
    }
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
