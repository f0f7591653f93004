//! Sessions that go on after a restart of the server.

use super::model::Stored;
use super::*;
use crate::domain::Timestamp;
use crate::domain::reason::Evidence;
use crate::domain::refusal::AskAgain;
use crate::domain::session::core::facts_of;

const STREAMS: [&str; 3] = ["d1p1.img", "d1p2.img", "d1p3.img"];

fn name(stream: usize) -> StreamName {
    StreamName::of_file(STREAMS[stream])
}

/// A session and what was stored of it.
struct Pair {
    bench: Bench,
    stored: Stored,
}

impl Pair {
    /// With these clients, none of which is heard yet.
    fn new(agents: &[&str]) -> Self {
        let hosts = i64::try_from(agents.len()).unwrap();
        let bench = bench(hosts, &STREAMS);
        let stored = Stored::new(&bench.core.plan);
        Self { bench, stored }
    }

    /// In the middle of a stream.
    fn sending(agents: &[&str], stream: usize) -> Self {
        let mut pair = Self::new(agents);
        for (host, agent) in (1..).zip(agents) {
            pair.bench.check_in_as(host, agent);
        }
        for sent in 0..=stream {
            if sent > 0 {
                pair.ended();
            }
            pair.begin();
        }
        pair
    }

    /// Everybody who is let in joins, and the stream begins.
    #[track_caller]
    fn begin(&mut self) {
        for address in self.bench.core.addresses() {
            self.bench.core.joined(self.bench.now, address);
        }
        self.store();
        assert!(matches!(self.bench.core.phase, Phase::Starting { .. }));
        self.bench.core.transfer_started(self.bench.now);
        self.store();
    }

    /// Everybody who receives has the stream.
    fn ended(&mut self) {
        let participants = self.bench.core.addresses().into_iter();
        let participants: Vec<_> = participants.map(|at| (at, Completed)).collect();
        self.bench.core.stream_ended(self.bench.now, &participants);
    }

    #[track_caller]
    fn store(&mut self) -> Vec<Action> {
        let actions = self.bench.actions();
        self.stored.apply_all(&actions);
        actions
    }

    /// The server is killed and started again, and what was not stored is lost.
    #[track_caller]
    fn restart(&mut self) -> Vec<Action> {
        self.bench = self.stored.resume(self.bench.now + seconds(30));
        self.store()
    }

    /// From the present stream to the end.
    #[track_caller]
    fn finish(&mut self, hosts: i64) {
        while self.bench.core.phase != Phase::Finishing {
            self.begin();
            self.ended();
            self.store();
        }
        for host in 1..=hosts {
            assert_eq!(self.bench.complete(host), Completion::Accepted);
        }
        let (state, sum) = summary_of(end_of(&self.store()));
        assert_eq!(state, State::Complete);
        assert_eq!(sum.complete, usize::try_from(hosts).unwrap());
    }
}

fn opened(actions: &[Action]) -> Vec<usize> {
    let open = |action: &Action| match action {
        Action::OpenStream(stream) => Some(*stream),
        _ => None,
    };
    actions.iter().filter_map(open).collect()
}

fn run_of(pair: &Pair) -> u32 {
    pair.bench.core.snapshot(pair.bench.now).run
}

#[test]
fn before_any_check_in_nothing_changes() {
    let mut pair = Pair::new(&[AGENT]);
    assert_eq!(pair.restart(), []);
    pair.bench.wait(10_000, &[]);
    assert_eq!(pair.store(), []);
    pair.bench.check_in(1);
    pair.finish(1);
}

#[test]
fn before_the_start_all_are_awaited_again() {
    let mut pair = Pair::new(&[AGENT, STOCK, AGENT]);
    pair.bench.check_in(1);
    pair.bench.check_in_as(2, STOCK);
    pair.bench.join(1);
    pair.store();
    let actions = pair.restart();
    let expected = [Action::OpenStream(0), Action::Admit(vec![ip(1), ip(2)])];
    assert_eq!(actions, expected);
    assert_eq!(run_of(&pair), 0);
    assert!(pair.bench.core.awaits_check_ins());
    pair.bench.check_in(3);
    let begin = |pair: &mut Pair| {
        for host in 1..=3 {
            pair.bench.join(host);
        }
        pair.store()
    };
    let start = Action::StartTransfer { has_record: false };
    assert!(begin(&mut pair).contains(&start), "one is a stock client");
}

#[test]
fn the_wait_for_a_connection_goes_on_whoever_checked_in() {
    let mut pair = Pair::new(&[AGENT, AGENT]);
    pair.bench.check_in(1);
    pair.bench.fail(1, "no disk");
    pair.store();
    pair.restart();
    pair.bench.wait(CONNECT_WAIT, &[]);
    let end = end_of(&pair.store()).unwrap().1;
    assert!(matches!(end, Reason::NobodyConnected { .. }), "{end:?}");
}

#[test]
fn a_stream_is_begun_again() {
    for stream in [0, 1, 2] {
        let mut pair = Pair::sending(&[AGENT, AGENT], stream);
        let actions = pair.restart();
        let resumed = Note::Resumed {
            stream: name(stream),
        };
        assert_eq!(notes(&actions), [(None, resumed)]);
        assert_eq!(opened(&actions), [stream]);
        assert_eq!(admitted(&actions), Some(&[ip(1), ip(2)][..]));
        let phase = Phase::Gathering { stream };
        assert_eq!(pair.bench.core.phase, phase);
        assert_eq!(run_of(&pair), 1, "greater than the one before");
        assert!(!pair.bench.core.awaits_check_ins());
        pair.bench.join(1);
        pair.bench.join(2);
        let start = Fact::StreamStarting {
            stream,
            run: 1,
            has_records: true,
        };
        assert_eq!(pair.bench.actions()[0], Action::Store(start));
        pair.bench.core.transfer_started(pair.bench.now);
        pair.ended();
        pair.store();
        pair.finish(2);
    }
}

#[test]
fn a_machine_that_restarts_meanwhile_cannot_join_again() {
    let mut pair = Pair::sending(&[AGENT, AGENT], 0);
    pair.restart();
    let restarted = Reason::Restarted { stream: name(0) };
    assert_eq!(pair.bench.refused(1), Refusal::Over(restarted));
}

#[test]
fn a_silent_agent_is_given_up_also_before_the_first_stream_begins_again() {
    let mut pair = Pair::sending(&[AGENT, AGENT], 0);
    pair.restart();
    pair.bench.join(1);
    pair.bench.wait(AGENT_SILENCE, &[1]);
    let actions = pair.store();
    let silent = Reason::SilentBefore {
        stream: name(0),
        seconds: AGENT_SILENCE,
    };
    assert_eq!(host_end(&actions, 2), failed(silent));
    assert!(is_started(&actions));
}

#[test]
fn those_who_are_ahead_wait() {
    let mut pair = Pair::sending(&[AGENT, AGENT, AGENT], 1);
    pair.ended();
    // Only one acknowledgement was stored.
    let facts: Vec<Fact> = facts(&pair.bench.actions()).cloned().collect();
    assert_eq!(facts.len(), 3);
    pair.stored.apply(&facts[1]);
    let actions = pair.restart();
    assert_eq!(opened(&actions), [1]);
    assert_eq!(admitted(&actions), Some(&[ip(1), ip(3)][..]));
    pair.bench.join(2);
    assert_eq!(pair.store(), [Action::Remove(ip(2))]);
    assert_eq!(
        pair.bench.core.snapshot(pair.bench.now).missing,
        ["LAB-01", "LAB-03"]
    );
    pair.bench.join(1);
    pair.bench.wait(STREAM_WAIT - 1, &[1, 3]);
    assert_eq!(pair.store(), [], "who is ahead need not be heard");
    pair.bench.join(3);
    assert!(is_started(&pair.store()));
    pair.bench.core.transfer_started(pair.bench.now);
    assert_eq!(pair.store(), []);
    pair.ended();
    let actions = pair.store();
    assert_eq!(opened(&actions), [2]);
    assert_eq!(admitted(&actions), Some(&[ip(1), ip(2), ip(3)][..]));
    pair.finish(3);
}

#[test]
fn when_those_who_lack_a_stream_are_out_the_others_go_on() {
    let mut pair = Pair::sending(&[AGENT, AGENT], 1);
    pair.ended();
    pair.store();
    pair.stored.member(1).streams_done = 0;
    assert_eq!(opened(&pair.restart()), [0]);
    pair.bench.fail(1, "trouble");
    let actions = pair.store();
    assert_eq!(stops(&actions), [StopKind::Plain]);
    assert_eq!(opened(&actions), [2]);
    assert_eq!(admitted(&actions), Some(&[ip(2)][..]));
    // The same while the stream is being sent.
    let mut pair = Pair::sending(&[AGENT, AGENT], 1);
    pair.ended();
    pair.store();
    pair.stored.member(1).streams_done = 0;
    pair.restart();
    pair.begin();
    pair.bench.fail(1, "trouble");
    assert!(pair.store().contains(&Action::Remove(ip(1))));
    pair.bench.ended(&[(1, Dropped)]);
    let actions = pair.store();
    assert_eq!(opened(&actions), [2]);
    assert_eq!(end_of(&actions), None);
}

#[test]
fn stock_clients_fail_and_agents_go_on() {
    let mut pair = Pair::sending(&[AGENT, STOCK], 1);
    let actions = pair.restart();
    let stopped = Reason::ServerStopped { stream: name(1) };
    assert_eq!(host_end(&actions, 2), failed(stopped.clone()));
    assert_eq!(host_end(&actions, 1), None);
    assert_eq!(admitted(&actions), Some(&[ip(1)][..]));
    // The client fails itself in a moment, and reports it.
    pair.bench.fail(2, "no data");
    let actions = pair.store();
    assert_eq!(
        host_end(&actions, 2),
        failed(reported("no data", Some(stopped.clone())))
    );
    pair.bench.join(1);
    let start = Action::StartTransfer { has_record: false };
    assert!(pair.store().contains(&start), "as it was decided before");
    // With stock clients alone the session is over.
    let mut pair = Pair::sending(&[STOCK], 1);
    let actions = pair.restart();
    let (state, sum) = summary_of(end_of(&actions));
    assert_eq!((state, sum.troubles.len()), (State::Failed, 1));
    assert_eq!(opened(&actions), [0_usize; 0]);
}

#[test]
fn a_stock_client_that_has_everything_may_report_it() {
    let mut pair = Pair::sending(&[AGENT, STOCK], 2);
    pair.ended();
    pair.store();
    let actions = pair.restart();
    assert_eq!(actions, []);
    assert_eq!(pair.bench.core.phase, Phase::Finishing);
    pair.finish(2);
}

#[test]
fn all_done_is_finishing_with_a_new_time_of_grace() {
    let mut pair = Pair::sending(&[AGENT, AGENT], 2);
    pair.ended();
    pair.store();
    pair.bench.wait(GRACE - 1, &[]);
    pair.restart();
    assert_eq!(pair.bench.core.phase, Phase::Finishing);
    assert_eq!(pair.bench.complete(1), Completion::Accepted);
    pair.bench.wait(GRACE - 1, &[]);
    assert_eq!(end_of(&pair.store()), None);
    pair.bench.wait(1, &[]);
    let (state, sum) = summary_of(end_of(&pair.store()));
    assert_eq!((state, sum.complete), (State::Failed, 1));
}

#[test]
fn who_is_out_stays_out() {
    let mut pair = Pair::sending(&[AGENT, AGENT, AGENT, AGENT], 1);
    pair.bench.fail(1, "trouble");
    pair.bench.core.host_cancelled(pair.bench.now, HostId(2));
    pair.bench.wait(20, &[4]);
    pair.bench.drop(3, 20, SILENT);
    pair.store();
    let actions = pair.restart();
    assert_eq!(admitted(&actions), Some(&[ip(4)][..]));
    for host in 1..=3 {
        assert_eq!(host_end(&actions, host), None);
        assert!(matches!(pair.bench.refused(host), Refusal::Over(_)));
        assert!(matches!(pair.bench.complete(host), Completion::Refused(_)));
        pair.bench.join(host);
    }
    pair.bench.core.host_cancelled(pair.bench.now, HostId(1));
    let removed = (1..=3).map(|host| Action::Remove(ip(host)));
    assert_eq!(pair.store(), Vec::from_iter(removed));
    pair.ended();
    let end = pair.bench.actions();
    assert_eq!(end_of(&end), None);
}

#[test]
fn what_is_complete_stays_complete() {
    let mut pair = Pair::sending(&[AGENT, AGENT], 2);
    pair.ended();
    assert_eq!(pair.bench.complete(1), Completion::Accepted);
    pair.store();
    pair.restart();
    assert_eq!(pair.bench.complete(1), Completion::Accepted);
    assert_eq!(pair.store(), []);
    pair.bench.fail(1, "trouble");
    let reason = reported("trouble", Some(Reason::Written));
    assert_eq!(host_end(&pair.store(), 1), failed(reason));
}

#[test]
fn an_agent_whose_last_acknowledgement_was_not_stored_receives_again() {
    let mut pair = Pair::sending(&[AGENT, AGENT], 2);
    pair.ended();
    pair.bench.actions();
    pair.restart();
    assert_eq!(pair.bench.core.phase, Phase::Gathering { stream: 2 });
    // It is already reporting its end.
    let again = Completion::Refused(Refusal::AskAgain(AskAgain::LastStream));
    assert_eq!(pair.bench.complete(1), again);
    pair.bench.join(1);
    assert_eq!(pair.bench.complete(1), again);
    assert_eq!(pair.store(), []);
    pair.finish(2);
    // In an earlier stream a report of the end is wrong whatever was stored.
    let mut pair = Pair::sending(&[AGENT], 1);
    pair.restart();
    let incomplete = Reason::Incomplete { done: 1, total: 3 };
    assert_eq!(
        pair.bench.complete(1),
        Completion::Refused(Refusal::Over(incomplete))
    );
}

#[test]
fn twice_in_a_row() {
    let mut pair = Pair::sending(&[AGENT, AGENT], 1);
    for _ in 0..2 {
        let actions = pair.restart();
        assert_eq!(opened(&actions), [1]);
        assert_eq!(run_of(&pair), 1, "nothing was begun meanwhile");
    }
    pair.begin();
    pair.restart();
    assert_eq!(run_of(&pair), 2);
    // Ordered, but not begun.
    pair.bench.join(1);
    pair.bench.join(2);
    pair.store();
    pair.restart();
    assert_eq!(run_of(&pair), 3);
    pair.finish(2);
}

#[test]
fn a_run_has_its_number_for_all_further_streams() {
    let mut pair = Pair::sending(&[AGENT], 0);
    pair.restart();
    for stream in 0..3 {
        assert_eq!(run_of(&pair), 1);
        assert_eq!(pair.bench.core.stream_index(), stream);
        pair.begin();
        pair.ended();
        pair.store();
    }
}

#[test]
fn when_all_were_cancelled_meanwhile_the_session_is_over() {
    let begun = |stream: usize| Pair::sending(&[AGENT, STOCK], stream);
    let mut waiting = Pair::new(&[AGENT, AGENT]);
    waiting.bench.check_in(1);
    waiting.store();
    for mut pair in [waiting, begun(0), begun(2)] {
        for host in [1, 2] {
            let member = pair.stored.member(host);
            member.state = State::Cancelled;
            member.reason = None;
        }
        let end = end_of(&pair.restart());
        assert_eq!(end, Some((State::Cancelled, Reason::AllCancelled)));
    }
}

#[test]
fn the_last_one_who_was_awaited_may_have_been_cancelled() {
    let mut pair = Pair::new(&[AGENT, AGENT]);
    pair.bench.check_in(1);
    pair.store();
    pair.stored.member(2).state = State::Cancelled;
    pair.restart();
    pair.bench.join(1);
    assert!(is_started(&pair.store()));
}

#[test]
fn results_that_other_programs_stored_are_kept() {
    let mut pair = Pair::sending(&[AGENT, AGENT, AGENT], 1);
    pair.stored.member(1).state = State::Complete;
    pair.stored.member(2).state = State::Failed;
    pair.restart();
    assert_eq!(pair.bench.complete(1), Completion::Accepted);
    pair.bench.fail(3, "trouble");
    let (state, sum) = summary_of(end_of(&pair.store()));
    assert_eq!((state, sum.complete), (State::Failed, 1));
    assert_eq!(sum.troubles.len(), 2, "a failure is not taken for a wish");
}

#[test]
fn hosts_that_were_not_there_at_the_start_are_missing() {
    let mut pair = Pair::new(&[AGENT, AGENT]);
    pair.bench.check_in(1);
    pair.bench.join(1);
    pair.bench.wait(MAX_WAIT, &[1]);
    pair.store();
    // It is killed before it has stored who was not there.
    pair.bench.core.transfer_started(pair.bench.now);
    let actions = pair.restart();
    let missing = Some((State::Cancelled, Reason::Missing));
    assert_eq!(host_end(&actions, 2), missing);
    assert_eq!(admitted(&actions), Some(&[ip(1)][..]));
}

#[test]
fn one_address_is_that_of_the_last_host_that_checked_in_with_it() {
    let mut pair = Pair::new(&[AGENT, AGENT]);
    pair.bench.check_in(2);
    pair.bench.wait(REBIND_AFTER, &[]);
    let guest = Peer {
        address: ip(2),
        ..own(1)
    };
    let answer = pair
        .bench
        .core
        .check_in(pair.bench.now, HostId(1), &guest, AGENT);
    assert_eq!(answer, Ok(()));
    pair.store();
    assert_eq!(admitted(&pair.restart()), Some(&[ip(2)][..]));
    pair.bench.join(2);
    let missing = pair.bench.core.snapshot(pair.bench.now).missing;
    assert_eq!(missing, ["LAB-02"]);
}

#[test]
fn what_was_written_before_the_restart_counts_as_evidence() {
    let never = DropCause::Silent {
        has_acknowledged: false,
    };
    let mut pair = Pair::sending(&[AGENT, AGENT], 0);
    pair.restart();
    pair.begin();
    pair.bench.wait(20, &[1, 2]);
    pair.bench.drop(2, 20, never);
    let dropped = |stream, evidence| Reason::Dropped {
        stream: name(stream),
        seconds: 20,
        evidence,
    };
    assert_eq!(
        host_end(&pair.store(), 2),
        failed(dropped(0, Evidence::HeardByHttp)),
        "it may have received a part of the stream before"
    );
    pair.ended();
    pair.begin();
    pair.bench.wait(20, &[1]);
    pair.bench.drop(1, 20, never);
    assert_eq!(
        host_end(&pair.store(), 1),
        failed(dropped(1, Evidence::HeardByHttpNeverData))
    );
}

#[test]
fn a_session_that_is_over_is_not_begun_again() {
    let mut pair = Pair::sending(&[AGENT], 2);
    pair.ended();
    pair.bench.complete(1);
    pair.store();
    assert_eq!(pair.restart(), []);
    assert!(pair.bench.core.is_ended());
    assert_eq!(pair.bench.complete(1), Completion::Accepted);
    assert!(matches!(pair.bench.refused(1), Refusal::Over(_)));
    pair.bench.fail(1, "trouble");
    let actions = pair.store();
    assert_eq!(end_of(&actions).unwrap().0, State::Failed);
}

#[test]
fn a_session_that_no_server_runs_is_cancelled_by_its_facts() {
    let mut waiting = Pair::new(&[AGENT, STOCK]);
    waiting.bench.check_in(1);
    waiting.store();
    for mut pair in [waiting, Pair::sending(&[AGENT, STOCK], 1)] {
        let mut bench = pair.stored.resume(pair.bench.now);
        bench.core.cancelled(bench.now);
        let facts = facts_of(bench.core);
        for fact in &facts {
            pair.stored.apply(fact);
        }
        assert_eq!(facts.len(), 3, "nothing but the ends");
        assert_eq!(pair.stored.session.state, State::Cancelled);
    }
}

#[test]
fn a_wait_that_goes_on_after_a_restart_is_as_old_as_its_check_in() {
    let mut pair = Pair::new(&[AGENT, AGENT]);
    pair.bench.check_in_as(1, AGENT);
    pair.store();
    pair.restart();
    let stored = &pair.stored.session;
    let at = stored.members[0].checked_in_at.unwrap();
    let core = &mut pair.bench.core;
    core.count_waits_from_before(Timestamp(at.0 + 90), stored);
    let mut now = pair.bench.now;
    let ages = |core: &Core, now| {
        let snapshot = core.snapshot(now);
        [
            snapshot.age,
            snapshot.members[0].age,
            snapshot.members[1].age,
        ]
    };
    assert_eq!(ages(core, now), [90, 90, 0].map(seconds));
    // It has the whole time to connect all the same.
    let left = core.snapshot(now).starts_in;
    assert_eq!(left, Some(core.plan.connect_wait));
    now += seconds(1);
    core.joined(now, ip(1));
    assert_eq!(ages(core, now), [91, 0, 1].map(seconds));
    // A clock that was put back is no news.
    core.count_waits_from_before(Timestamp(0), stored);
    assert_eq!(core.snapshot(now).age, seconds(91));
}
