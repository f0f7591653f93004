use std::net::{Ipv4Addr, SocketAddrV4};

use cast_net::udpcast::ClientNo;
use cast_net::udpcast::receiver::SmallOnly;
use fog::store::StreamName;
use fog::task;
use fos_api::{SessionView, Stage, StreamNow};

use super::super::grow::Running;
use super::*;

const SENDER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 5), 9001);

fn asking(since: Instant) -> ReceiveSnapshot {
    ReceiveSnapshot::new(ReceivePhase::Asking {
        since,
        to: SENDER,
        requests: 3,
    })
}

fn arrived(since: Instant) -> ReceiveSnapshot {
    ReceiveSnapshot::new(ReceivePhase::Arrived {
        since,
        sender: SENDER,
        client: ClientNo(0),
    })
}

fn connected(since: Instant) -> ReceiveSnapshot {
    ReceiveSnapshot::new(ReceivePhase::Connected {
        since,
        sender: SENDER,
        client: ClientNo(0),
    })
}

fn receiving(since: Instant) -> ReceiveSnapshot {
    ReceiveSnapshot::new(ReceivePhase::Receiving {
        since,
        sender: SENDER,
        client: ClientNo(0),
    })
}

fn latest(answered: Instant, stage: Stage, number: u32) -> Latest {
    Latest {
        view: Some(SessionView {
            session: 3,
            state: task::State::InProgress,
            stage,
            expected: 3,
            checked_in: 3,
            connected: 2,
            missing: vec!["LAB-03".into()],
            stream: Some(StreamNow {
                number,
                count: 3,
                name: StreamName::of_file("d1p1.img"),
                run: 0,
                acked: 0,
                len: 1,
            }),
            your_stream: None,
            records: None,
            stage_seconds: 0,
            starts_in_seconds: None,
            ask_again_seconds: None,
            site: None,
            your_task: task::State::InProgress,
            text: String::new(),
            refusal: None,
        }),
        asked: Some(answered),
        answered,
        back_since: answered,
        denied_since: None,
        error: None,
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// FOG's manager may have no free place for hours, and a session may be waited for as long as people take.
#[test]
fn a_server_that_says_nothing_is_waited_for_until_its_sender_falls_silent() {
    let start = Instant::now();
    let hours = start + Duration::from_secs(4 * 3600);
    for snapshot in [asking(start), connected(start), arrived(start)] {
        assert_eq!(hopeless_at_stock(1, &snapshot, hours), None);
    }
    let mut snapshot = receiving(start);
    assert_eq!(
        hopeless_at_stock(1, &snapshot, start + Duration::from_secs(599)),
        None
    );
    let late = start + Duration::from_secs(600);
    let reason = hopeless_at_stock(2, &snapshot, late).unwrap();
    assert!(
        reason.contains("stream 2") && reason.contains("10 min"),
        "{reason}"
    );
    // The own disk may be what holds it up.
    snapshot.slices_waiting = 1;
    assert_eq!(hopeless_at_stock(1, &snapshot, late), None);
}

#[test]
fn waiting_for_the_sender_says_where_and_who_is_missing() {
    let start = Instant::now();
    let latest = latest(start, Stage::Gathering, 1);
    let waiting = |after| {
        let now = start + seconds(after);
        explain(&asking(start), &latest, 1, "10.0.0.5:9000", None, now).unwrap()
    };
    let early = waiting(1);
    assert_eq!(early.what, "the sender at 10.0.0.5:9000 (stream 1)");
    assert_eq!(early.advice, ["2 of 3 clients are in; missing: LAB-03"]);
    assert!(waiting(60).advice[1].contains("firewall"));
    assert_eq!(waiting(1).what, waiting(60).what);
}

#[test]
fn data_that_does_not_arrive_points_to_the_switch() {
    let start = Instant::now();
    let now = start + seconds(10);
    let latest = latest(now, Stage::Sending, 2);
    let explained = |snapshot: &ReceiveSnapshot, evidence| {
        explain(snapshot, &latest, 2, "x", evidence, now).unwrap()
    };
    let filtered = Some(Evidence::NoMulticast {
        sending: seconds(10),
    });
    let waiting = explained(&connected(start), filtered);
    assert!(waiting.advice.join("\n").contains("IGMP"));
    let waiting = explained(&connected(start), None);
    assert!(!waiting.advice.join("\n").contains("IGMP"));

    // Requests make it look as if it were receiving, and are no silence.
    let mut snapshot = receiving(start);
    snapshot.last_packet = Some(now);
    let cut = Some(Evidence::NoLargeDatagrams(SmallOnly {
        requests: 9,
        datagram_len: 1500,
    }));
    let waiting = explained(&snapshot, cut);
    assert_eq!(waiting.what, "the data of stream 2 from 10.0.0.5:9001");
    assert!(waiting.advice[0].contains("1500 bytes"), "{waiting:?}");
}

#[test]
fn a_server_that_is_being_restarted_is_waited_for() {
    let start = Instant::now();
    let mut latest = latest(start, Stage::Sending, 1);
    latest.error = Some("connection refused".into());
    let snapshot = receiving(start);
    let now = start + seconds(200);
    assert_eq!(hopeless(1, &snapshot, &latest, now), None);
    let waiting = explain(&snapshot, &latest, 1, "x", None, now).unwrap();
    assert_eq!(waiting.what, "the server to come back (stream 1)");
    let advice = waiting.advice.join("\n");
    for words in ["connection refused", "goes on by itself", "switched on"] {
        assert!(advice.contains(words), "{advice}");
    }
    let waiting = explain_undecided(&latest, 1, now);
    assert!(waiting.what.contains("stream 1"), "{waiting:?}");
    assert_eq!(waiting.advice.len(), 3);

    // Not for ever, whatever the receiver was at.
    let now = start + seconds(601);
    for snapshot in [&asking(start), &connected(start), &snapshot] {
        let reason = hopeless(1, snapshot, &latest, now).unwrap();
        assert!(reason.contains("neither"), "{reason}");
    }
}

#[test]
fn a_sender_that_is_silent_although_the_server_answers_is_given_up() {
    let start = Instant::now();
    let mut snapshot = receiving(start);
    let at = |after| {
        let mut latest = latest(start + seconds(after), Stage::Sending, 1);
        latest.back_since = start;
        latest
    };
    let now = start + seconds(180);
    let reason = hopeless(1, &snapshot, &at(180), now).unwrap();
    assert!(reason.contains("although the server answers"), "{reason}");
    // Since it is back, it has not had the time to begin again.
    let mut back = at(180);
    back.back_since = start + seconds(100);
    assert_eq!(hopeless(1, &snapshot, &back, now), None);
    snapshot.slices_waiting = 1;
    assert_eq!(hopeless(1, &snapshot, &at(180), now), None);
    snapshot.slices_waiting = 0;
    snapshot.last_packet = Some(start + seconds(1));
    assert_eq!(hopeless(1, &snapshot, &at(180), now), None);
}

#[test]
fn a_server_that_has_no_session_any_more_is_believed_after_a_while() {
    let start = Instant::now();
    let mut latest = latest(start, Stage::Sending, 1);
    latest.error = Some("answered HTTP status 404: no active task".into());
    latest.denied_since = Some(start);
    let mut snapshot = receiving(start);
    assert_eq!(hopeless(1, &snapshot, &latest, start + seconds(59)), None);
    let reason = hopeless(1, &snapshot, &latest, start + seconds(60)).unwrap();
    assert!(reason.contains("no active task"), "{reason}");
    // The data comes all the same.
    snapshot.last_packet = Some(start + seconds(59));
    assert_eq!(hopeless(1, &snapshot, &latest, start + seconds(60)), None);
}

#[test]
fn a_silent_stream_is_a_wait_but_a_slow_disk_is_not() {
    let start = Instant::now();
    let now = start + seconds(10);
    let latest = latest(now, Stage::Sending, 1);
    let mut snapshot = receiving(start);
    snapshot.last_packet = Some(now);
    assert_eq!(explain(&snapshot, &latest, 1, "x", None, now), None);
    snapshot.last_packet = Some(start);
    let waiting = explain(&snapshot, &latest, 1, "x", None, now).unwrap();
    assert!(
        waiting.what.contains("more data from 10.0.0.5:9001"),
        "{waiting:?}"
    );
    snapshot.slices_waiting = 1;
    assert_eq!(explain(&snapshot, &latest, 1, "x", None, now), None);
    snapshot.phase = ReceivePhase::Complete;
    assert_eq!(explain(&snapshot, &latest, 1, "x", None, now), None);
}

#[test]
fn what_strangers_send_does_not_mean_that_the_sender_is_heard() {
    let start = Instant::now();
    let mut snapshot = asking(start);
    snapshot.datagrams = 100;
    let advice = |snapshot: &ReceiveSnapshot| asking_advice(snapshot, SECOND_ADVICE);
    assert!(advice(&snapshot).starts_with("nothing is heard"));
    snapshot.last_packet = Some(start);
    assert!(advice(&snapshot).starts_with("a sender is heard"));
}

#[test]
fn a_disk_that_takes_nothing_is_a_wait() {
    let start = Instant::now();
    let at_work = AtWork::default();
    let after = |step, time| {
        explain_disk(
            Some((step, start)),
            &at_work,
            16 << 20,
            start + seconds(time),
        )
    };
    assert_eq!(explain_disk(None, &at_work, 1, start), None);
    assert_eq!(after(DiskStep::Write, 1), None);
    let waiting = after(DiskStep::Write, 2).unwrap();
    assert_eq!(waiting.what, "the DISK to write");
    assert_eq!(waiting.advice, ["16.8 MB are still to be written"]);
    assert!(after(DiskStep::Sync, 5).unwrap().what.contains("sync"));
    assert!(after(DiskStep::Write, 60).unwrap().advice[1].contains("defective"));
    let step = Some((DiskStep::Table, start));
    let table = explain_disk(step, &at_work, 0, start + seconds(5)).unwrap();
    assert!(table.what.contains("partition table") && table.advice.is_empty());
    let grow = after(DiskStep::Grow, 600).unwrap();
    assert!(grow.what.contains("file system"), "{grow:?}");
}

#[test]
fn a_program_at_work_is_a_wait_with_what_it_says_of_itself() {
    let start = Instant::now();
    let at_work = AtWork::default();
    let step = Some((DiskStep::Grow, start));
    let shown = |percent, silent| {
        let program = "ntfsresize";
        let running = Running {
            program,
            percent,
            silent,
        };
        at_work.set("growing the NTFS of partition 3", running);
        let waiting = explain_disk(step, &at_work, 0, start + seconds(600)).unwrap();
        (waiting.what, waiting.advice.concat())
    };
    let (what, advice) = shown(None, None);
    assert_eq!(what, "ntfsresize (growing the NTFS of partition 3)");
    assert!(
        advice.contains("minutes") && advice.contains("cancel"),
        "{advice}"
    );
    let (_, advice) = shown(Some(47.9), None);
    assert!(advice.contains("more than 40 %"), "{advice}");
    let (what, advice) = shown(Some(47.9), Some(seconds(7)));
    assert!(what.contains("a sign of work of ntfsresize"), "{what}");
    assert!(
        advice.contains("no time on the processor") && advice.contains("10 min"),
        "{advice}"
    );
}

#[test]
fn a_missed_stream_or_a_dead_server_is_given_up() {
    let start = Instant::now();
    let now = start + seconds(20);
    let gathering = latest(now, Stage::Gathering, 1);
    assert_eq!(hopeless(1, &asking(start), &gathering, now), None);
    let later = latest(now, Stage::Sending, 2);
    assert!(
        hopeless(1, &asking(start), &later, now)
            .unwrap()
            .contains("missed stream 1")
    );
    // News from before the question prove nothing.
    let old = latest(start, Stage::Sending, 2);
    assert_eq!(hopeless(1, &asking(start), &old, now), None);
    // Connected or receiving: the sender decides.
    assert_eq!(hopeless(1, &connected(start), &later, now), None);

    let later = start + seconds(601);
    assert!(
        hopeless(
            1,
            &asking(start),
            &latest(start, Stage::Gathering, 1),
            later
        )
        .is_some()
    );
    assert_eq!(
        hopeless(
            1,
            &asking(start),
            &latest(later, Stage::Gathering, 1),
            later
        ),
        None
    );
}

#[test]
fn time_left_follows_the_rate() {
    assert_eq!(remaining(1000, 100.0), Some(seconds(10)));
    assert_eq!(remaining(1000, 0.0), None);
}

#[test]
fn a_receiver_whose_sender_is_begun_again_is_outdated() {
    let start = Instant::now();
    let view_at = |after, stage, number, run| {
        let mut latest = latest(start + seconds(after), stage, number);
        let view = latest.view.as_mut().unwrap();
        view.your_stream = Some(number);
        view.stream.as_mut().unwrap().run = run;
        latest
    };
    let first = Some(Run { number: 2, run: 0 });
    let mut flowing = receiving(start);
    flowing.data_datagrams = 9;
    let mut steering = Steering::default();
    let mut outdated = |under, snapshot: &ReceiveSnapshot, latest: &Latest, after| {
        steering.is_outdated(1, under, snapshot, latest, start + seconds(after))
    };
    let sending = view_at(1, Stage::Sending, 2, 0);
    assert!(!outdated(first, &flowing, &sending, 1));
    let again = view_at(2, Stage::Gathering, 2, 1);
    assert!(outdated(first, &flowing, &again, 2));
    // What it came from is not known, and perhaps it still comes.
    assert!(!outdated(None, &flowing, &again, 5));
    // The server's word is older than that.
    assert!(!outdated(None, &flowing, &again, 60));
    let now = view_at(60, Stage::Gathering, 2, 1);
    assert!(outdated(None, &flowing, &now, 60));
    flowing.data_datagrams = 10;
    assert!(!outdated(None, &flowing, &now, 60));
    // Nobody is told by news from before its own data, or while the server is not heard.
    let mut later = receiving(start + seconds(61));
    later.data_datagrams = 11;
    assert!(!outdated(first, &later, &now, 61));
    let mut lost = view_at(62, Stage::Gathering, 2, 1);
    lost.error = Some("connection refused".into());
    assert!(!outdated(first, &flowing, &lost, 62));
    // One that waits, has all, or has failed is not left from here.
    let now = view_at(63, Stage::Gathering, 2, 1);
    for other in [
        asking(start),
        connected(start),
        arrived(start),
        ReceiveSnapshot::new(ReceivePhase::Complete),
        ReceiveSnapshot::new(ReceivePhase::Failed),
    ] {
        assert!(!outdated(first, &other, &now, 63));
    }
}

#[test]
fn a_share_that_is_silent_is_named_as_soon_as_a_sender() {
    let explained = |waited, trouble: Option<&str>| {
        let trouble = trouble.map(str::to_owned);
        explain_share(
            (Origin::Share, "10.0.0.5:/images"),
            2,
            12_300_000,
            waited,
            trouble,
        )
    };
    assert_eq!(explained(None, None), None);
    assert_eq!(explained(Some(Duration::from_millis(1999)), None), None);
    let waiting = explained(Some(NAMED_AFTER), None).unwrap();
    assert_eq!(waiting.what, "the image share 10.0.0.5:/images (stream 2)");
    assert!(waiting.advice[0].contains("since 12.3 MB"), "{waiting:?}");
    assert!(waiting.advice[1].contains("10 min"), "{waiting:?}");
    // An error is no silence, and is waited after just the same.
    let waiting = explained(None, Some("d1p2.img: Input/output error")).unwrap();
    assert_eq!(waiting.advice[0], "d1p2.img: Input/output error");
}
