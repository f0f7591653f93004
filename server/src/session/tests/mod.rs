//! The state machine, driven by hand.

mod random;

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use fog::store::StreamName;
use fog::task::State;
use fos_api::Stage;

use super::core::{Action, CheckIn, Completion, Core, Movement, Plan, StreamOutcome};
use crate::store::HostId;

/// A session with hosts 1..=n at 10.0.0.n and its time.
struct Bench {
    core: Core,
    now: Instant,
}

const MAX_WAIT: u64 = 300;
const STALL_LIMIT: u64 = 300;

fn bench(hosts: i64, streams: &[&str]) -> Bench {
    let now = Instant::now();
    let plan = Plan {
        streams: streams
            .iter()
            .map(|name| StreamName::of_file(name))
            .collect(),
        hosts: (1..=hosts)
            .map(|id| (HostId(id), format!("LAB-{id:02}")))
            .collect(),
        max_wait: Duration::from_secs(MAX_WAIT),
        stream_wait: Duration::from_secs(600),
        grace: Duration::from_secs(600),
        agent_silence: Duration::from_secs(60),
        stall_limit: Duration::from_secs(STALL_LIMIT),
    };
    Bench {
        core: Core::new(plan, now),
        now,
    }
}

fn ip(host: i64) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(host).unwrap())
}

impl Bench {
    fn check_in(&mut self, host: i64) -> CheckIn {
        self.core.check_in(self.now, HostId(host), ip(host), true)
    }

    fn join(&mut self, host: i64) {
        self.core.joined(self.now, ip(host));
    }

    fn complete(&mut self, host: i64) -> Completion {
        self.core.complete(self.now, HostId(host))
    }

    fn ended(&mut self, outcomes: &[(i64, StreamOutcome)]) {
        let participants: Vec<_> = outcomes.iter().map(|(host, o)| (ip(*host), *o)).collect();
        self.core.stream_ended(self.now, &participants);
    }

    /// Seconds pass, a tick each; the hosts named are heard each second.
    fn wait(&mut self, seconds: u64, heard: &[i64]) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            for host in heard {
                self.core.contact(self.now, HostId(*host));
            }
            self.core.tick(self.now);
        }
    }

    fn actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.core.poll_action()).collect()
    }

    /// All hosts check in, join, and the first stream begins.
    #[track_caller]
    fn started(hosts: i64, streams: &[&str]) -> Self {
        let mut bench = bench(hosts, streams);
        for host in 1..=hosts {
            assert_eq!(bench.check_in(host), CheckIn::Accepted);
        }
        for host in 1..=hosts {
            bench.join(host);
        }
        assert!(bench.actions().contains(&Action::StartTransfer));
        bench.core.transfer_started(bench.now);
        assert_eq!(bench.actions(), [Action::Started]);
        bench
    }
}

fn end_of(actions: &[Action]) -> Option<(State, &str)> {
    actions.iter().find_map(|action| match action {
        Action::End { state, text } => Some((*state, text.as_str())),
        _ => None,
    })
}

fn host_end(actions: &[Action], host: i64) -> Option<(State, &str)> {
    actions.iter().find_map(|action| match action {
        Action::HostEnded {
            host: id,
            state,
            text,
        } if id.0 == host => Some((*state, text.as_str())),
        _ => None,
    })
}

use StreamOutcome::{Completed, Dropped, Left};

#[test]
fn a_session_goes_its_way() {
    let mut bench = bench(2, &["d1p1.img", "d1p2.img"]);
    assert_eq!(bench.check_in(1), CheckIn::Accepted);
    assert_eq!(
        bench.actions(),
        [
            Action::CheckedIn {
                host: HostId(1),
                count: 1
            },
            Action::OpenStream(0),
            Action::Admit(vec![ip(1)]),
        ]
    );
    bench.join(1);
    assert_eq!(bench.actions(), []);
    assert_eq!(bench.check_in(2), CheckIn::Accepted);
    assert_eq!(
        bench.actions(),
        [
            Action::CheckedIn {
                host: HostId(2),
                count: 2
            },
            Action::Admit(vec![ip(1), ip(2)]),
        ]
    );
    bench.join(2);
    assert_eq!(bench.actions(), [Action::StartTransfer]);
    assert_eq!(bench.core.stage(), Stage::Gathering);
    bench.core.transfer_started(bench.now);
    assert_eq!(bench.actions(), [Action::Started]);
    bench.ended(&[(1, Completed), (2, Completed)]);
    let done = |host, count| Action::StreamsDone {
        host: HostId(host),
        count,
    };
    assert_eq!(
        bench.actions(),
        [
            done(1, 1),
            done(2, 1),
            Action::OpenStream(1),
            Action::Admit(vec![ip(1), ip(2)]),
        ]
    );
    bench.join(2);
    bench.join(1);
    assert_eq!(bench.actions(), [Action::StartTransfer]);
    bench.core.transfer_started(bench.now);
    assert_eq!(bench.complete(1), Completion::NotYet);
    bench.ended(&[(1, Completed), (2, Completed)]);
    assert_eq!(bench.actions(), [done(1, 2), done(2, 2)]);
    assert_eq!(bench.core.stage(), Stage::Finishing);
    assert_eq!(bench.complete(1), Completion::Accepted);
    assert_eq!(bench.complete(1), Completion::Accepted);
    assert_eq!(bench.complete(2), Completion::Accepted);
    let actions = bench.actions();
    assert_eq!(host_end(&actions, 1).unwrap().0, State::Complete);
    assert_eq!(
        end_of(&actions).unwrap(),
        (State::Complete, "2 of 2 hosts complete")
    );
}

#[test]
fn a_repeated_check_in_is_accepted_and_counted_once() {
    let mut bench = bench(2, &["d1p1.img"]);
    for _ in 0..3 {
        assert_eq!(bench.check_in(1), CheckIn::Accepted);
    }
    assert_eq!(bench.actions().len(), 3);
    // It had joined: it restarted, and its old place must not start the session.
    bench.join(1);
    assert_eq!(bench.check_in(1), CheckIn::Accepted);
    assert_eq!(bench.actions(), [Action::Remove(ip(1))]);
    bench.check_in(2);
    bench.join(2);
    assert!(!bench.actions().contains(&Action::StartTransfer));
    bench.join(1);
    assert!(bench.actions().contains(&Action::StartTransfer));
}

#[test]
fn max_wait_starts_without_the_missing() {
    let mut bench = bench(3, &["d1p1.img"]);
    bench.wait(1000, &[]);
    assert_eq!(
        bench.actions(),
        [],
        "nothing runs before the first check-in"
    );
    bench.check_in(1);
    bench.join(1);
    bench.check_in(2);
    bench.wait(MAX_WAIT - 1, &[]);
    assert!(!bench.actions().contains(&Action::StartTransfer));
    let view = bench.core.view(bench.now);
    assert_eq!(view.missing, ["LAB-02", "LAB-03"]);
    assert_eq!(view.starts_in, Some(Duration::from_secs(1)));
    bench.wait(1, &[]);
    assert!(bench.actions().contains(&Action::StartTransfer));
    bench.core.transfer_started(bench.now);
    let actions = bench.actions();
    let (state, text) = host_end(&actions, 2).unwrap();
    assert!(
        state == State::Failed && text.contains("did not connect"),
        "{text}"
    );
    let (state, text) = host_end(&actions, 3).unwrap();
    assert!(
        state == State::Cancelled && text.contains("did not check in"),
        "{text}"
    );
    bench.ended(&[(1, Completed)]);
    bench.complete(1);
    let actions = bench.actions();
    let (state, text) = end_of(&actions).unwrap();
    assert_eq!(state, State::Failed);
    assert!(
        text.starts_with("1 of 3 hosts complete") && text.contains("LAB-03"),
        "{text}"
    );
}

#[test]
fn nobody_connected_is_a_failure_not_a_hang() {
    let mut bench = bench(2, &["d1p1.img"]);
    bench.check_in(1);
    bench.wait(MAX_WAIT, &[1]);
    let actions = bench.actions();
    assert!(actions.contains(&Action::StopSender));
    let (state, text) = end_of(&actions).unwrap();
    assert!(
        state == State::Failed && text.contains("nobody connected"),
        "{text}"
    );
    assert!(text.contains("LAB-01, LAB-02"), "{text}");
    assert_eq!(host_end(&actions, 2).unwrap().0, State::Failed);
}

#[test]
fn late_and_restarted_hosts_are_refused_with_the_reason() {
    let mut bench = bench(3, &["d1p1.img", "d1p2.img"]);
    bench.check_in(1);
    bench.check_in(2);
    bench.join(1);
    bench.join(2);
    bench.wait(MAX_WAIT, &[]);
    bench.core.transfer_started(bench.now);
    bench.actions();
    let CheckIn::Refused(text) = bench.check_in(3) else {
        panic!("accepted late")
    };
    assert!(text.contains("before the session started"), "{text}");
    let CheckIn::Refused(text) = bench.check_in(2) else {
        panic!("accepted again")
    };
    assert!(
        text.contains("restarted during the session (in d1p1.img)"),
        "{text}"
    );
    let actions = bench.actions();
    assert!(actions.contains(&Action::Remove(ip(2))));
    assert_eq!(host_end(&actions, 2).unwrap().0, State::Failed);
    // The other one is not disturbed.
    bench.ended(&[(1, Completed), (2, Left)]);
    bench.join(1);
    assert!(bench.actions().contains(&Action::StartTransfer));
}

#[test]
fn a_dropped_host_does_not_hold_the_others() {
    let mut bench = Bench::started(2, &["d1p1.img", "d1p2.img"]);
    bench
        .core
        .departed(bench.now, ip(2), Some(Duration::from_secs(17)));
    let actions = bench.actions();
    let (state, text) = host_end(&actions, 2).unwrap();
    assert!(
        state == State::Failed && text.starts_with("dropped in d1p1.img after 17 s"),
        "{text}"
    );
    bench.ended(&[(1, Completed), (2, Dropped)]);
    bench.join(1);
    assert!(bench.actions().contains(&Action::StartTransfer));
    // What is left of it cannot come back.
    bench.join(2);
    assert_eq!(bench.actions(), [Action::Remove(ip(2))]);
}

#[test]
fn a_failure_report_ends_only_that_host() {
    let mut bench = Bench::started(2, &["d1p1.img", "d1p2.img"]);
    bench.ended(&[(1, Completed), (2, Completed)]);
    bench.join(1);
    bench.actions();
    bench.core.client_failed(bench.now, HostId(2), "disk full");
    let actions = bench.actions();
    assert!(host_end(&actions, 2).unwrap().1.ends_with("disk full"));
    assert!(
        actions.contains(&Action::StartTransfer),
        "the other one was waiting only for it"
    );
}

#[test]
fn all_hosts_failing_ends_the_session() {
    let mut bench = Bench::started(2, &["d1p1.img"]);
    for host in [1, 2] {
        bench
            .core
            .client_failed(bench.now, HostId(host), "checksum error");
    }
    let actions = bench.actions();
    assert!(actions.contains(&Action::StopSender));
    assert_eq!(end_of(&actions).unwrap().0, State::Failed);
    assert!(bench.core.is_ended());
}

#[test]
fn between_streams_known_receivers_are_waited_for() {
    let mut bench = Bench::started(2, &["d1p1.img", "d1p2.img"]);
    bench.ended(&[(1, Completed), (2, Completed)]);
    bench.join(1);
    bench.actions();
    bench.wait(599, &[1, 2]);
    assert_eq!(bench.actions(), []);
    bench.wait(1, &[1, 2]);
    let actions = bench.actions();
    let (_, text) = host_end(&actions, 2).unwrap();
    assert!(
        text.contains("did not connect for d1p2.img within 600 s"),
        "{text}"
    );
    assert!(actions.contains(&Action::StartTransfer));
}

#[test]
fn a_silent_agent_is_given_up_between_streams() {
    let mut bench = Bench::started(2, &["d1p1.img", "d1p2.img"]);
    bench.ended(&[(1, Completed), (2, Completed)]);
    bench.join(1);
    bench.actions();
    bench.wait(59, &[1]);
    assert_eq!(bench.actions(), []);
    bench.wait(1, &[1]);
    let actions = bench.actions();
    let (_, text) = host_end(&actions, 2).unwrap();
    assert!(
        text.starts_with("silent for 60 s before d1p2.img"),
        "{text}"
    );
    assert!(actions.contains(&Action::StartTransfer));
}

#[test]
fn silence_of_all_is_not_held_against_one() {
    let mut bench = Bench::started(2, &["d1p1.img", "d1p2.img"]);
    bench.ended(&[(1, Completed), (2, Completed)]);
    bench.join(1);
    bench.actions();
    // The network is gone for 50 s: nobody is heard.
    bench.wait(50, &[]);
    bench.wait(59, &[1]);
    assert_eq!(bench.actions(), []);
    // The process was stopped for an hour.
    bench.now += Duration::from_secs(30);
    bench.core.tick(bench.now);
    bench.wait(30, &[1]);
    assert_eq!(bench.actions(), []);
    bench.core.contact(bench.now, HostId(2));
    bench.join(2);
    assert_eq!(bench.actions(), [Action::StartTransfer]);
}

#[test]
fn completion_must_agree_with_what_the_sender_saw() {
    let mut bench = Bench::started(2, &["d1p1.img", "d1p2.img"]);
    let Completion::Refused(text) = bench.complete(1) else {
        panic!("accepted")
    };
    assert!(text.contains("0 of 2 streams"), "{text}");
    assert_eq!(host_end(&bench.actions(), 1).unwrap().0, State::Failed);
    bench.ended(&[(2, Completed)]);
    bench.join(2);
    bench.core.transfer_started(bench.now);
    bench.ended(&[(2, Left)]);
    bench.wait(10, &[]);
    let actions = bench.actions();
    assert!(
        host_end(&actions, 2)
            .unwrap()
            .1
            .contains("left during d1p2.img")
    );
    assert!(matches!(bench.complete(2), Completion::Refused(_)));
    assert_eq!(end_of(&actions).unwrap().0, State::Failed);
}

#[test]
fn the_time_of_grace_counts_from_the_last_sign() {
    let mut bench = Bench::started(2, &["d1p1.img"]);
    bench.ended(&[(1, Completed), (2, Completed)]);
    bench.actions();
    bench.wait(5000, &[1, 2]);
    assert_eq!(bench.actions(), []);
    bench.wait(599, &[1]);
    assert_eq!(bench.actions(), []);
    bench.wait(1, &[1]);
    let actions = bench.actions();
    assert!(
        host_end(&actions, 2)
            .unwrap()
            .1
            .starts_with(super::core::OVERDUE)
    );
    // Its report comes late, and counts.
    assert_eq!(bench.complete(2), Completion::Accepted);
    assert_eq!(host_end(&bench.actions(), 2).unwrap().0, State::Complete);
    assert_eq!(bench.complete(1), Completion::Accepted);
    assert_eq!(
        end_of(&bench.actions()).unwrap(),
        (State::Complete, "2 of 2 hosts complete")
    );
}

#[test]
fn a_report_that_never_came_is_a_failure() {
    let mut bench = Bench::started(1, &["d1p1.img"]);
    bench.ended(&[(1, Completed)]);
    bench.wait(600, &[]);
    assert_eq!(end_of(&bench.actions()).unwrap().0, State::Failed);
    assert_eq!(bench.complete(1), Completion::NotYet);
    assert_eq!(bench.actions(), [], "nothing follows the end");
}

#[test]
fn cancelling_one_host_leaves_the_rest() {
    let mut bench = bench(2, &["d1p1.img"]);
    bench.check_in(1);
    bench.join(1);
    bench.actions();
    bench.core.host_cancelled(bench.now, HostId(2));
    let actions = bench.actions();
    assert_eq!(host_end(&actions, 2).unwrap().0, State::Cancelled);
    assert!(actions.contains(&Action::StartTransfer));
    bench.core.transfer_started(bench.now);
    bench.ended(&[(1, Completed)]);
    bench.complete(1);
    let actions = bench.actions();
    assert_eq!(
        end_of(&actions).unwrap(),
        (State::Complete, "1 of 2 hosts complete, 1 cancelled")
    );
}

#[test]
fn cancelling_the_session_stops_the_sender() {
    let mut bench = Bench::started(2, &["d1p1.img"]);
    bench.core.cancelled(bench.now);
    let actions = bench.actions();
    assert!(actions.contains(&Action::StopSender));
    assert_eq!(end_of(&actions).unwrap().0, State::Cancelled);
    assert!(matches!(bench.check_in(1), CheckIn::Refused(_)));
    bench.core.cancelled(bench.now);
    bench.core.sender_failed(bench.now, "stopped");
    assert_eq!(bench.actions(), []);
}

#[test]
fn a_failing_sender_ends_the_session_with_its_reason() {
    let mut bench = Bench::started(1, &["d1p1.img"]);
    bench
        .core
        .sender_failed(bench.now, "the disk of the server is failing");
    let actions = bench.actions();
    let (state, text) = end_of(&actions).unwrap();
    assert_eq!(state, State::Failed);
    assert!(
        text.contains("d1p1.img") && text.contains("disk of the server"),
        "{text}"
    );
    assert!(
        host_end(&actions, 1)
            .unwrap()
            .1
            .contains("disk of the server")
    );
}

#[test]
fn a_stranger_starts_nothing_and_stands_for_nobody() {
    let stranger = Ipv4Addr::new(192, 168, 0, 9);
    let mut bench = bench(2, &["d1p1.img"]);
    bench.check_in(1);
    bench.join(1);
    bench.check_in(2);
    bench.actions();
    // It had asked before the sender was told whom to let in.
    bench.core.joined(bench.now, stranger);
    assert_eq!(bench.actions(), [Action::Remove(stranger)]);
    assert_eq!(bench.core.view(bench.now).connected, 1);
    bench.wait(MAX_WAIT, &[1, 2]);
    bench.core.transfer_started(bench.now);
    let actions = bench.actions();
    let (_, text) = host_end(&actions, 2).unwrap();
    assert!(text.contains("did not connect to the sender"), "{text}");
    bench
        .core
        .stream_ended(bench.now, &[(ip(1), Completed), (stranger, Completed)]);
    assert!(matches!(bench.complete(2), Completion::Refused(_)));
    assert_eq!(bench.complete(1), Completion::Accepted);
    assert_eq!(end_of(&bench.actions()).unwrap().0, State::Failed);
}

#[test]
fn a_stranger_alone_does_not_begin_after_the_wait() {
    let mut bench = bench(1, &["d1p1.img"]);
    bench.check_in(1);
    bench.core.joined(bench.now, Ipv4Addr::new(192, 168, 0, 9));
    bench.wait(MAX_WAIT, &[1]);
    let actions = bench.actions();
    assert!(!actions.contains(&Action::StartTransfer));
    assert!(end_of(&actions).unwrap().1.contains("nobody connected"));
}

#[test]
fn only_hosts_of_the_session_are_let_in_at_their_present_address() {
    let mut bench = bench(3, &["d1p1.img", "d1p2.img"]);
    let admitted = |bench: &mut Bench| {
        bench
            .actions()
            .into_iter()
            .rev()
            .find_map(|action| match action {
                Action::Admit(addresses) => Some(addresses),
                _ => None,
            })
    };
    bench.check_in(1);
    assert_eq!(admitted(&mut bench), Some(vec![ip(1)]));
    bench.check_in(2);
    assert_eq!(admitted(&mut bench), Some(vec![ip(1), ip(2)]));
    bench.core.check_in(bench.now, HostId(2), ip(22), true);
    assert_eq!(admitted(&mut bench), Some(vec![ip(1), ip(22)]));
    bench.core.client_failed(bench.now, HostId(2), "no disk");
    assert_eq!(admitted(&mut bench), Some(vec![ip(1)]));
    bench.check_in(3);
    bench.join(1);
    bench.join(3);
    bench.core.transfer_started(bench.now);
    bench.core.departed(bench.now, ip(3), None);
    bench.ended(&[(1, Completed), (3, Left)]);
    assert_eq!(admitted(&mut bench), Some(vec![ip(1)]));
}

#[test]
fn a_client_without_share_may_try_again_a_few_times() {
    let mut bench = bench(1, &["d1p1.img"]);
    for _ in 0..2 {
        assert_eq!(bench.check_in(1), CheckIn::Accepted);
        bench.core.client_blamed(bench.now, HostId(1));
        assert!(!bench.core.is_ended());
    }
    bench.check_in(1);
    bench.core.client_blamed(bench.now, HostId(1));
    assert!(
        host_end(&bench.actions(), 1)
            .unwrap()
            .1
            .contains(".mntcheck")
    );
    assert!(bench.core.is_ended());
}

#[test]
fn records_need_clients_that_know_them() {
    let mut bench = bench(2, &["d1p1.img"]);
    assert!(!bench.core.are_all_agents());
    bench.check_in(1);
    assert!(bench.core.are_all_agents());
    bench.core.check_in(bench.now, HostId(2), ip(2), false);
    assert!(!bench.core.are_all_agents());
}

#[test]
fn who_leaves_is_asked_for_the_reason_and_holds_nobody() {
    let mut bench = Bench::started(2, &["d1p1.img", "d1p2.img"]);
    bench.core.departed(bench.now, ip(2), None);
    assert_eq!(bench.actions(), []);
    bench.ended(&[(1, Completed), (2, Left)]);
    bench.join(1);
    assert!(bench.actions().contains(&Action::StartTransfer));
    bench.wait(1, &[1]);
    bench
        .core
        .client_failed(bench.now, HostId(2), "checksum error in d1p1.img");
    let actions = bench.actions();
    let (_, text) = host_end(&actions, 2).unwrap();
    assert_eq!(text, "the client reports: checksum error in d1p1.img");
}

#[test]
fn when_all_leave_their_reasons_come_before_the_end() {
    let mut bench = Bench::started(2, &["d1p1.img", "d1p2.img"]);
    bench.core.departed(bench.now, ip(1), None);
    bench.core.departed(bench.now, ip(2), None);
    bench.ended(&[(1, Left), (2, Left)]);
    assert_eq!(bench.actions(), [], "no further stream without hosts");
    bench.core.client_failed(bench.now, HostId(1), "disk full");
    bench.wait(9, &[]);
    assert!(!bench.core.is_ended());
    bench.wait(1, &[]);
    let actions = bench.actions();
    let (state, text) = end_of(&actions).unwrap();
    assert_eq!(state, State::Failed);
    assert!(
        text.contains("disk full") && text.contains("LAB-02: left during d1p1.img"),
        "{text}"
    );
}

#[test]
fn a_reason_that_comes_late_is_added() {
    let mut bench = Bench::started(2, &["d1p1.img"]);
    bench
        .core
        .departed(bench.now, ip(2), Some(Duration::from_secs(20)));
    bench.actions();
    for text in ["network cable pulled", "and more"] {
        bench.core.client_failed(bench.now, HostId(2), text);
    }
    let actions = bench.actions();
    assert_eq!(actions.len(), 1);
    let (_, text) = host_end(&actions, 2).unwrap();
    assert!(
        text.starts_with("the client reports: network cable pulled (dropped in"),
        "{text}"
    );
}

#[test]
fn a_sender_that_ends_before_it_began_is_opened_again() {
    let mut bench = bench(1, &["d1p1.img"]);
    bench.check_in(1);
    bench.join(1);
    bench.actions();
    bench.core.departed(bench.now, ip(1), None);
    bench.ended(&[]);
    assert!(bench.actions().contains(&Action::OpenStream(0)));
    bench.join(1);
    assert_eq!(bench.actions(), [Action::StartTransfer]);
    bench.core.transfer_started(bench.now);
    assert_eq!(bench.core.stage(), Stage::Sending);
}

#[test]
fn who_is_silent_while_others_are_heard_is_dropped() {
    let mut bench = Bench::started(2, &["d1p1.img"]);
    let limit = Duration::from_secs(15);
    let slow = |bench: &mut Bench, silent| {
        bench
            .core
            .slow(bench.now, ip(2), Duration::from_secs(silent), limit);
        host_end(&bench.actions(), 2).map(|(state, _)| state)
    };
    bench.wait(20, &[1]);
    assert_eq!(slow(&mut bench, 14), None);
    // Nobody is heard for a while: the network.
    bench.wait(40, &[]);
    assert_eq!(slow(&mut bench, 60), None);
    bench.wait(15, &[1]);
    assert_eq!(
        slow(&mut bench, 74),
        None,
        "it has as long as the others had before"
    );
    bench.wait(1, &[1]);
    assert_eq!(slow(&mut bench, 76), Some(State::Failed));
}

fn acked(bytes: u64) -> Movement {
    Movement {
        acked: bytes,
        ..Movement::default()
    }
}

#[test]
fn who_answers_but_takes_no_data_is_dropped_for_the_others() {
    let mut bench = Bench::started(3, &["d1p1.img"]);
    for bytes in 1..=3 {
        bench.core.moved(bench.now, acked(bytes));
        bench.core.behind([ip(1), ip(2)]);
        bench.wait(STALL_LIMIT - 1, &[1, 2, 3]);
        assert_eq!(bench.actions(), [], "it still moves");
    }
    bench.core.behind([ip(2)]);
    bench.wait(1, &[1, 2, 3]);
    let actions = bench.actions();
    let (state, text) = host_end(&actions, 2).unwrap();
    assert!(
        state == State::Failed && text.contains("took no data for 300 s"),
        "{text}"
    );
    assert!(actions.contains(&Action::Remove(ip(2))));
    assert_eq!(end_of(&actions), None);
    // The others have their own time.
    bench.wait(STALL_LIMIT - 1, &[1, 3]);
    assert_eq!(bench.actions(), []);
}

#[test]
fn a_stream_that_stands_still_fails_with_the_cause() {
    for (behind, expected) in [
        (vec![], "no data came from the image store"),
        (vec![ip(1), ip(2)], "no receiver took any data"),
    ] {
        let mut bench = Bench::started(2, &["d1p1.img"]);
        bench.core.moved(bench.now, acked(7));
        bench.core.behind(behind);
        bench.wait(STALL_LIMIT - 1, &[1, 2]);
        assert_eq!(bench.actions(), []);
        bench.wait(1, &[1, 2]);
        let actions = bench.actions();
        let (state, text) = end_of(&actions).unwrap();
        assert_eq!(state, State::Failed);
        assert!(
            text.contains(expected) && text.contains("d1p1.img"),
            "{text}"
        );
        assert!(actions.contains(&Action::StopSender));
    }
}

#[test]
fn a_stop_of_the_server_is_no_standstill() {
    let mut bench = Bench::started(1, &["d1p1.img"]);
    bench.now += Duration::from_secs(3 * STALL_LIMIT);
    bench.wait(STALL_LIMIT - 1, &[1]);
    assert_eq!(bench.actions(), []);
}
