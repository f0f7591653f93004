//! Single receivers that are sent away.

use super::*;

/// What is sent from now until nothing is left to wait for, and when; REQACK only, with its destination.
fn requests(bench: &mut Bench, lasts: Duration) -> Vec<(Ipv4Addr, u32)> {
    let until = bench.now + lasts;
    let mut requests = Vec::new();
    let mut buf = Vec::new();
    loop {
        while let Some(transmit) = bench.sender.poll_transmit(bench.now, &mut buf) {
            if let Message::ReqAck(request) = Message::parse(&buf).unwrap() {
                requests.push((*transmit.to.ip(), request.slice.0));
            }
        }
        bench
            .events
            .extend(std::iter::from_fn(|| bench.sender.poll_event()));
        match bench.sender.poll_timeout() {
            Some(at) if at <= until && !bench.sender.is_closed() => {
                bench.now = bench.now.max(at);
                bench.sender.handle_timeout(bench.now);
            }
            _ => return requests,
        }
    }
}

fn count(requests: &[(Ipv4Addr, u32)], number: u8) -> usize {
    let addr = *host(number).ip();
    requests.iter().filter(|(to, _)| *to == addr).count()
}

fn attentive(bench: &mut Bench, number: u8) {
    let request = ConnectReq {
        capabilities: Capabilities::CURRENT,
        rcvbuf: ConnectReq::ATTENTIVE,
    };
    bench.say(host(number), &Message::ConnectReq(request));
}

#[test]
fn who_is_removed_before_the_start_is_sent_away_and_nobody_else() {
    let mut config = config();
    config.hello_interval = Some(Duration::from_secs(1));
    let mut bench = Bench::new(config);
    for number in [11, 12] {
        bench.join(number);
    }
    attentive(&mut bench, 13);
    for number in [11, 13] {
        bench.sender.remove(bench.now, *host(number).ip());
    }
    let sent = requests(&mut bench, Duration::from_secs(5));
    let to = *host(11).ip();
    assert!(
        sent.iter()
            .all(|(addr, slice)| *addr == to && *slice > 1000)
    );
    // Often at first, seldom then: its output may be held up.
    assert!((20..=30).contains(&sent.len()), "{}", sent.len());
    // Let in again.
    bench.join(11);
    assert!(requests(&mut bench, Duration::from_secs(5)).is_empty());
}

#[test]
fn who_is_removed_in_mid_stream_is_sent_away_until_it_leaves() {
    let mut bench = Bench::started(config(), 2);
    bench.push(16);
    bench.sent();
    bench.sender.remove(bench.now, *host(11).ip());
    let sent = requests(&mut bench, Duration::from_secs(1));
    assert!(count(&sent, 11) >= 20 && count(&sent, 12) == 0, "{sent:?}");
    // It answers what everybody is asked, so it reads: again, but no flood.
    bench.now += Duration::from_millis(100);
    for _ in 0..50 {
        bench.ok(11, 0);
    }
    let sent = requests(&mut bench, Duration::from_millis(40));
    assert_eq!(count(&sent, 11), 1, "{sent:?}");
    bench.say(host(11), &Message::Disconnect);
    let sent = requests(&mut bench, Duration::from_secs(3));
    assert_eq!(count(&sent, 11), 0, "{sent:?}");
}

#[test]
fn who_has_been_started_again_is_refused_instead() {
    let mut bench = Bench::started(config(), 2);
    bench.push(16);
    bench.sent();
    bench.sender.remove(bench.now, *host(11).ip());
    bench.sent();
    bench.events.clear();
    bench.join(11);
    let sent = bench.sent();
    let replies = |sent: &[String]| {
        sent.iter()
            .filter(|it| it.starts_with("CONNECT_REPLY"))
            .count()
    };
    assert_eq!(replies(&sent), 1, "{sent:?}");
    let refused = SenderEvent::Refused {
        addr: *host(11).ip(),
        reason: RefuseReason::Late,
    };
    assert_eq!(bench.events, [refused]);
    let sent = requests(&mut bench, Duration::from_secs(3));
    assert_eq!(count(&sent, 11), 0, "{sent:?}");
    // One that is through asks for the next transfer.
    bench.ok(12, 0);
    bench.sender.finish_input();
    bench.sent();
    bench.ok(12, 1);
    bench.join(12);
    assert_eq!(replies(&bench.sent()), 0);
}

#[test]
fn a_minute_after_the_last_sign_of_life_it_is_over() {
    let mut config = config();
    config.drop.silence = Duration::from_secs(600);
    let mut bench = Bench::started(config, 2);
    bench.push(16);
    bench.sent();
    bench.sender.remove(bench.now, *host(11).ip());
    let sent = requests(&mut bench, Duration::from_secs(30));
    assert!(count(&sent, 11) >= 45, "{}", sent.len());
    bench.ok(11, 0);
    let sent = requests(&mut bench, Duration::from_secs(58));
    assert!(count(&sent, 11) >= 55, "{}", sent.len());
    requests(&mut bench, Duration::from_secs(4));
    let sent = requests(&mut bench, Duration::from_secs(30));
    assert_eq!(count(&sent, 11), 0, "{sent:?}");
}

/// The end of the transfer waits for it, for a second at most.
#[test]
fn the_last_one_is_sent_away_too() {
    let mut bench = Bench::started(config(), 1);
    bench.push(16);
    bench.sent();
    bench.sender.remove(bench.now, *host(11).ip());
    let began = bench.now;
    let sent = requests(&mut bench, Duration::from_secs(60));
    assert_eq!(count(&sent, 11), 20, "{sent:?}");
    assert!(bench.sender.is_closed());
    assert!(bench.now - began <= Duration::from_secs(1));
    let all_gone = SenderEvent::GaveUp(GiveUpReason::AllGone);
    assert_eq!(bench.events.last(), Some(&all_gone));
}

#[test]
fn who_makes_no_progress_is_sent_away_too_and_who_has_everything_is_not() {
    let mut config = config();
    config.drop.no_progress = Some(Duration::from_secs(10));
    let mut bench = Bench::started(config, 2);
    bench.push(16);
    bench.sender.finish_input();
    bench.sent();
    bench.ok(12, 0);
    let all: Vec<u16> = (0..16).collect();
    let mut sent = Vec::new();
    for round in 0..200 {
        bench.missing(11, 0, round, &all);
        sent.extend(requests(&mut bench, Duration::from_millis(100)));
        bench.now += Duration::from_millis(100);
    }
    let is_dropped = |event: &SenderEvent| matches!(event, SenderEvent::Dropped { .. });
    assert!(bench.events.iter().any(is_dropped), "{:?}", bench.events);
    assert!(count(&sent, 11) > 0, "{sent:?}");
    bench.ok(12, 1);
    bench.sender.remove(bench.now, *host(12).ip());
    let sent = requests(&mut bench, Duration::from_secs(5));
    assert_eq!(count(&sent, 12), 0, "{sent:?}");
}
