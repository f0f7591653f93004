//! Refusals.

use super::*;

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
            "Task 12 of this host is neither in a multicast session nor a deploy of the host alone, and this server serves no other tasks. Cancel the task and deploy the host again.",
        ),
        (
            Refusal::OtherImage(SessionId(4)),
            "other-image",
            "The image of session 4 was changed since the session began. Cancel the session, then deploy the host again.",
        ),
        (
            Refusal::OtherType { found: "up".into() },
            "other-type",
            "This machine was booted for another task (type=up), and its task is now a deploy. Restart it to fetch the present boot script.",
        ),
        (
            Refusal::CaptureNow {
                found: "down".into(),
            },
            "other-type",
            "This machine was booted for another task (type=down), and its task is now a capture of its disk. Restart it to fetch the present boot script.",
        ),
        (
            Refusal::CaptureNeedsAgent,
            "capture-needs-agent",
            "The task of this machine is a capture, and FOG's own client cannot do it here: it writes to a share and moves the files by FTP, which this server does not have. Boot fos-agent (its initramfs) on this machine. Nothing of its disk or of the image was changed.",
        ),
        (
            Refusal::NoCaptures {
                text: "it is read-only".into(),
            },
            "no-captures",
            "This server cannot take a capture: it is read-only.",
        ),
        (
            Refusal::NotCaptured,
            "not-captured",
            "This machine reports the end of a capture, but its image is not published here. The report is ignored; restart the machine to capture it again.",
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
            Refusal::OtherTask {
                now: Some(TaskId(7)),
            },
            "restart",
            "Restart this machine: it was booted for another task than it has now (task 7, a deploy of this machine alone). After the restart it fetches the present boot script. If a restart does not help, switch it off, and on the server: fos-server host forget NAME",
        ),
        (
            Refusal::OtherTask { now: None },
            "restart",
            "Restart this machine: it was booted for another task than it has now (a multicast session). After the restart it fetches the present boot script. If a restart does not help, switch it off, and on the server: fos-server host forget NAME",
        ),
        (
            line(2, 0, 10),
            "in-line",
            "No open slots, There are 2 before me on this node. Got in line at 1970-01-02 00:00:00 (UTC).",
        ),
        (
            line(1, 1, 2),
            "in-line",
            "There are open slots, but 1 before me on this node. Got in line at 1970-01-02 00:00:00 (UTC).",
        ),
        (
            line(0, 0, 0),
            "in-line",
            "Storage node 1 has no slots (its setting \"max clients\" is 0), so this machine waits until somebody changes that. Got in line at 1970-01-02 00:00:00 (UTC).",
        ),
        (
            Refusal::ImageUnusable {
                text: "d1p1.img was changed".into(),
            },
            "image-unusable",
            "The image of this host cannot be deployed: d1p1.img was changed.",
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

fn line(in_front: u32, open: u32, slots: u32) -> Refusal {
    Refusal::InLine(Line {
        node: NodeId(1),
        in_front,
        open,
        slots,
        since: Timestamp(86400),
    })
}

#[test]
fn refusals_have_words_and_codes() {
    for (value, code, text) in refusals() {
        assert_eq!(refusal(&value), text, "{value:?}");
        assert_eq!(refusal_code(&value), code, "{value:?}");
    }
}
