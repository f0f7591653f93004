//! Reasons.

use super::*;

fn reasons() -> Vec<(Reason, &'static str)> {
    let stream = stream();
    vec![
        (Reason::Written, "the client reported that all is written"),
        (
            Reason::WrittenLate,
            "the client reported, late, that all is written",
        ),
        (
            Reason::Captured,
            "its disk is captured, and the image is verified and published",
        ),
        (
            Reason::CaptureFailed {
                text: "d1p1.img is damaged".into(),
            },
            "what was captured cannot be used, and the former image is as it was: d1p1.img is damaged",
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
            dropped(Evidence::DiskStandsStill),
            "dropped in d1p1.img after 16 s in which the stream waited for it: it answers, but its disk stands still; its disk is not complete. Check its disk; if it is only slow, start the server with a longer --disk-limit",
        ),
        (
            Reason::LeftBehind {
                stream: stream.clone(),
                bytes_per_second: 4_830_000,
                waited_percent: 92,
            },
            "left behind in d1p1.img, because it was too slow: it got 4.8 MB/s, and the others waited for it 92 % of the time; its disk is not complete. Deploy it again by itself (fos-server deploy IMAGE HOST); check its cable and the speed of its switch port",
        ),
        (
            Reason::Stalled {
                stream: stream.clone(),
                seconds: 300,
            },
            "dropped in d1p1.img: it took no data for 5 min while the stream waited for it; its disk is not complete. Look at its screen, its disk may hang",
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
        Reason::LeftBehind { .. } => 31,
        Reason::Captured => 32,
        Reason::CaptureFailed { .. } => 33,
    }
}

#[test]
fn reasons_have_words() {
    let mut seen = std::collections::BTreeSet::new();
    for (value, text) in reasons() {
        assert_eq!(reason(&value), text, "{value:?}");
        seen.insert(number_of(&value));
    }
    assert_eq!(seen.len(), 34, "{seen:?}");
}
