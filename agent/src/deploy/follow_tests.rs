use std::net::{Ipv4Addr, SocketAddrV4};

use cast_net::udpcast::ClientNo;
use fog::native::{SessionView, StreamNow};
use fog::store::StreamName;
use fog::task;

use super::*;

const SENDER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 5), 9001);

fn snapshot(phase: ReceivePhase) -> ReceiveSnapshot {
    ReceiveSnapshot {
        phase,
        connection: None,
        capabilities: None,
        data_group: None,
        bytes: 0,
        block_size: None,
        datagrams: 0,
        data_datagrams: 0,
        requests: 0,
        lost_blocks: 0,
        ignored: 0,
        slices_waiting: 0,
        last_packet: None,
    }
}

fn asking(since: Instant) -> ReceiveSnapshot {
    snapshot(ReceivePhase::Asking {
        since,
        to: SENDER,
        requests: 3,
    })
}

fn connected(since: Instant) -> ReceiveSnapshot {
    snapshot(ReceivePhase::Connected {
        since,
        sender: SENDER,
        client: ClientNo(0),
    })
}

fn receiving(since: Instant) -> ReceiveSnapshot {
    snapshot(ReceivePhase::Receiving {
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
                acked: 0,
                len: 1,
                run: 0,
            }),
            records: None,
            stage_seconds: 0,
            starts_in_seconds: None,
            your_task: task::State::InProgress,
            text: String::new(),
            your_stream: None,
            refusal: None,
        }),
        answered,
        error: None,
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn waiting_for_the_sender_says_where_and_who_is_missing() {
    let start = Instant::now();
    let latest = latest(start, Stage::Gathering, 1);
    let waiting = |after| {
        let now = start + seconds(after);
        explain(&asking(start), &latest, 1, "10.0.0.5:9000", now).unwrap()
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
    let explained = |stage, number| {
        explain(&connected(start), &latest(now, stage, number), 2, "x", now)
            .unwrap()
            .advice
            .join("\n")
    };
    assert!(explained(Stage::Sending, 2).contains("IGMP"));
    assert!(!explained(Stage::Gathering, 2).contains("IGMP"));
    assert!(!explained(Stage::Sending, 1).contains("IGMP"));
}

#[test]
fn a_silent_stream_is_a_wait_but_a_slow_disk_is_not() {
    let start = Instant::now();
    let now = start + seconds(10);
    let latest = latest(now, Stage::Sending, 1);
    let mut snapshot = receiving(start);
    snapshot.last_packet = Some(now);
    assert_eq!(explain(&snapshot, &latest, 1, "x", now), None);
    snapshot.last_packet = Some(start);
    let waiting = explain(&snapshot, &latest, 1, "x", now).unwrap();
    assert!(
        waiting.what.contains("more data from 10.0.0.5:9001"),
        "{waiting:?}"
    );
    snapshot.slices_waiting = 1;
    assert_eq!(explain(&snapshot, &latest, 1, "x", now), None);
    snapshot.phase = ReceivePhase::Complete;
    assert_eq!(explain(&snapshot, &latest, 1, "x", now), None);
}

#[test]
fn a_disk_that_takes_nothing_is_a_wait() {
    let start = Instant::now();
    let after = |step, time| explain_disk(Some((step, start)), 16 << 20, start + seconds(time));
    assert_eq!(explain_disk(None, 1, start), None);
    assert_eq!(after(DiskStep::Write, 4), None);
    let waiting = after(DiskStep::Write, 5).unwrap();
    assert_eq!(waiting.what, "the DISK to write");
    assert_eq!(waiting.advice, ["16.0 MiB are still to be written"]);
    assert!(after(DiskStep::Sync, 5).unwrap().what.contains("sync"));
    assert!(after(DiskStep::Write, 60).unwrap().advice[1].contains("defective"));
    let table = explain_disk(Some((DiskStep::Table, start)), 0, start + seconds(5)).unwrap();
    assert!(table.what.contains("partition table") && table.advice.is_empty());
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
