//! Who may act for a host.

use super::*;

/// A session of hosts 1 and 2 in each phase.
fn in_every_phase() -> Vec<(&'static str, Bench)> {
    let streams = ["d1p1.img", "d1p2.img"];
    let checked_in = || {
        let mut bench = bench(2, &streams);
        bench.check_in(1);
        bench
    };
    let connected = || {
        let mut bench = checked_in();
        bench.join(1);
        bench
    };
    let starting = || {
        let mut bench = connected();
        bench.check_in(2);
        bench.join(2);
        bench
    };
    let between = || {
        let mut bench = Bench::started(2, &streams);
        bench.ended(&[(1, Completed), (2, Completed)]);
        bench
    };
    let finishing = || {
        let mut bench = between();
        bench.join(1);
        bench.join(2);
        bench.core.transfer_started(bench.now);
        bench.ended(&[(1, Completed), (2, Completed)]);
        bench
    };
    let leaving = || {
        let mut bench = Bench::started(2, &streams);
        bench.leave(1);
        bench
    };
    let overdue = || {
        let mut bench = finishing();
        bench.wait(GRACE, &[2]);
        bench
    };
    let complete = || {
        let mut bench = finishing();
        assert_eq!(bench.complete(1), Completion::Accepted);
        bench
    };
    let ended = || {
        let mut bench = complete();
        assert_eq!(bench.complete(2), Completion::Accepted);
        bench
    };
    let failed = || {
        let mut bench = Bench::started(2, &streams);
        bench.fail(1, "trouble");
        bench
    };
    let mut all = vec![
        ("checked in", checked_in()),
        ("connected", connected()),
        ("starting", starting()),
        ("receiving", Bench::started(2, &streams)),
        ("between", between()),
        ("leaving", leaving()),
        ("finishing", finishing()),
        ("overdue", overdue()),
        ("complete", complete()),
        ("ended", ended()),
        ("failed", failed()),
    ];
    for (_, bench) in &mut all {
        bench.actions();
    }
    all
}

/// Not the machine of host 1 that checked in.
fn others() -> [Peer; 3] {
    [
        twin(1),
        Peer {
            address: ip(1),
            ..twin(1)
        },
        Peer {
            ticket: None,
            ..own(1)
        },
    ]
}

const HOST: HostId = HostId(1);

#[test]
fn a_refused_check_in_is_noted_once_and_shown_until_one_is_accepted() {
    let mut bench = bench(2, &["d1p1.img"]);
    let now = bench.now;
    let why = Refusal::OtherNetwork {
        client: "eth1".into(),
        session: "eth0".into(),
    };
    let elsewhere = ip(7).into();
    for _ in 0..3 {
        bench.core.refused(HOST, elsewhere, &why);
        // Nobody has to do anything about these.
        let later = Refusal::AskAgain(crate::domain::refusal::AskAgain::NotStored);
        bench.core.refused(HOST, elsewhere, &later);
    }
    let noted = Note::Refused {
        address: elsewhere,
        why: Box::new(why.clone()),
    };
    assert_eq!(notes(&bench.actions()), [(Some(1), noted)]);
    let shown = |bench: &Bench| bench.core.snapshot(now).members[0].refused.clone();
    assert_eq!(shown(&bench), Some((elsewhere, why.clone())));
    bench.check_in(1);
    assert_eq!(shown(&bench), None);
    bench.actions();
    // Two that ask in turn are news each time, but not without end.
    for _ in 0..1000 {
        for other in [8, 9] {
            bench.core.refused(HOST, ip(other).into(), &why);
        }
    }
    assert!(bench.actions().len() < 10);
}

#[test]
fn another_machine_is_refused_and_changes_nothing() {
    for peer in others() {
        for (phase, mut bench) in in_every_phase() {
            let Bench { core, now } = &mut bench;
            let now = *now;
            let before = core.snapshot(now);
            let refusal = Refusal::AnotherMachine { address: ip(1) };
            assert_eq!(core.recognise(HOST, &peer), Err(refusal.clone()), "{phase}");
            assert_eq!(
                core.check_in(now, HOST, &peer, AGENT),
                Err(refusal.clone()),
                "{phase}"
            );
            assert_eq!(
                core.complete(now, HOST, &peer),
                Completion::Refused(refusal.clone()),
                "{phase}"
            );
            assert_eq!(
                core.client_blamed(now, HOST, &peer),
                Err(refusal.clone()),
                "{phase}"
            );
            let refused = Note::Refused {
                address: peer.address.into(),
                why: Box::new(refusal.clone()),
            };
            let actions = bench.actions();
            assert_eq!(actions.len(), 1, "{phase}");
            assert_eq!(notes(&actions), [(Some(1), refused)], "{phase}");
            let Bench { core, .. } = &mut bench;
            for failed in [
                core.client_failed(now, HOST, &peer, "trouble"),
                core.client_warned(now, HOST, &peer, "trouble"),
            ] {
                assert_eq!(failed, Err(refusal.clone()), "{phase}");
            }
            let note = Note::ForeignReport {
                address: peer.address.into(),
                text: "trouble".into(),
            };
            let actions = bench.actions();
            assert_eq!(actions.len(), 2, "{phase}");
            let expected = [(Some(1), note.clone()), (Some(1), note)];
            assert_eq!(notes(&actions), expected, "{phase}");
            assert_eq!(bench.core.snapshot(now), before, "{phase}");
        }
    }
}

#[test]
fn the_requests_of_another_machine_are_no_sign_of_life() {
    let mut bench = bench(2, &["d1p1.img"]);
    bench.check_in(1);
    // Both ask every second: the host's own machine is the one that is gone.
    for second in 1..=REBIND_AFTER {
        bench.wait(1, &[]);
        let answer = bench.core.check_in(bench.now, HOST, &twin(1), AGENT);
        assert_eq!(answer.is_ok(), second == REBIND_AFTER, "{second}");
    }
}

#[test]
fn a_machine_that_is_gone_is_replaced_while_the_session_gathers() {
    let mut bench = bench(2, &["d1p1.img"]);
    bench.check_in(1);
    bench.actions();
    let check_in = |bench: &mut Bench, peer: &Peer| {
        let answer = bench.core.check_in(bench.now, HOST, peer, AGENT);
        (answer, bench.actions())
    };
    let at = |address| Err(Refusal::AnotherMachine { address });
    bench.wait(REBIND_AFTER - 1, &[]);
    let (answer, actions) = check_in(&mut bench, &twin(1));
    assert_eq!(answer, at(ip(1)));
    assert_eq!((actions.len(), notes(&actions).len()), (1, 1));
    bench.wait(1, &[]);
    let (answer, actions) = check_in(&mut bench, &twin(1));
    assert_eq!(answer, Ok(()));
    let fact = Fact::CheckedIn {
        host: HOST,
        address: ip(101),
        ticket: ticket(101),
        agent: AGENT.into(),
        count: 1,
    };
    let expected = [Action::Store(fact), Action::Admit(vec![ip(101)])];
    assert_eq!(actions, expected);
    // The first one is the stranger now.
    let (answer, actions) = check_in(&mut bench, &own(1));
    assert_eq!(answer, at(ip(101)));
    assert_eq!((actions.len(), notes(&actions).len()), (1, 1));
    assert_eq!(bench.core.recognise(HOST, &own(1)), at(ip(101)));
    bench.join(1);
    assert_eq!(bench.actions(), [Action::Remove(ip(1))]);
}

#[test]
fn a_connected_machine_is_not_replaced() {
    let mut bench = bench(2, &["d1p1.img"]);
    bench.check_in_as(1, STOCK);
    bench.join(1);
    // Stock clients that wait for the sender ask nothing.
    bench.wait(2 * REBIND_AFTER, &[]);
    let at = |address| Err(Refusal::AnotherMachine { address });
    let answer = bench.core.check_in(bench.now, HOST, &twin(1), STOCK);
    assert_eq!(answer, at(ip(1)));
    bench.leave(1);
    let answer = bench.core.check_in(bench.now, HOST, &twin(1), STOCK);
    assert_eq!(answer, Ok(()));
}

#[test]
fn after_a_restart_of_the_server_a_machine_has_time_to_be_heard() {
    let mut bench = bench(2, &["d1p1.img"]);
    let mut stored = model::Stored::new(&bench.core.plan);
    bench.check_in(1);
    stored.apply_all(&bench.actions());
    let mut bench = stored.resume(bench.now + seconds(3600));
    let at = |address| Err(Refusal::AnotherMachine { address });
    bench.wait(REBIND_AFTER - 1, &[]);
    let answer = bench.core.check_in(bench.now, HOST, &twin(1), AGENT);
    assert_eq!(answer, at(ip(1)));
    bench.wait(1, &[]);
    let answer = bench.core.check_in(bench.now, HOST, &twin(1), AGENT);
    assert_eq!(answer, Ok(()));
}

#[test]
fn before_the_check_in_no_machine_acts_for_a_host() {
    let peer = own(1);
    let mut bench = bench(2, &["d1p1.img"]);
    let refusal = Err(Refusal::NotCheckedIn);
    let now = bench.now;
    // One that has the ticket of a boot script is heard, but nothing else follows.
    let heard = bench.core.client_failed(now, HOST, &peer, "no disk");
    assert_eq!(heard, Ok(()));
    let unproved = Peer {
        is_proved: false,
        ..peer
    };
    assert_eq!(
        bench.core.client_failed(now, HOST, &unproved, "no disk"),
        refusal
    );
    let note = Note::ForeignReport {
        address: ip(1).into(),
        text: "no disk".into(),
    };
    let actions = bench.actions();
    assert_eq!(actions.len(), 2);
    assert_eq!(notes(&actions), [(Some(1), note.clone()), (Some(1), note)]);
    assert_eq!(bench.core.client_blamed(now, HOST, &peer), refusal);
    assert_eq!(
        bench.core.complete(now, HOST, &peer),
        Completion::Refused(Refusal::NotCheckedIn)
    );
    assert_eq!(bench.actions(), []);
}

#[test]
fn a_proved_machine_takes_the_place_of_one_that_is_not() {
    let unproved = Peer {
        is_proved: false,
        address: ip(9),
        ticket: None,
    };
    let mut bench = bench(2, &["d1p1.img"]);
    let now = bench.now;
    assert_eq!(bench.core.check_in(now, HOST, &unproved, STOCK), Ok(()));
    bench.core.joined(now, ip(9));
    bench.actions();
    assert_eq!(bench.core.check_in(now, HOST, &own(1), AGENT), Ok(()));
    assert!(bench.actions().contains(&Action::Remove(ip(9))));
    let refusal = Err(Refusal::AnotherMachine { address: ip(1) });
    assert_eq!(bench.core.check_in(now, HOST, &unproved, STOCK), refusal);
}

#[test]
fn a_host_of_another_session_is_not_even_noted() {
    let mut bench = bench(1, &["d1p1.img"]);
    let now = bench.now;
    let core = &mut bench.core;
    let refusal = Err(Refusal::NotCheckedIn);
    assert_eq!(core.check_in(now, HostId(7), &own(7), AGENT), refusal);
    assert_eq!(
        core.client_failed(now, HostId(7), &own(7), "trouble"),
        refusal
    );
    assert_eq!(bench.actions(), []);
}

#[test]
fn a_machine_without_a_ticket_is_known_by_its_address() {
    let bare = |host| Peer {
        ticket: None,
        is_proved: false,
        ..own(host)
    };
    let mut bench = bench(2, &["d1p1.img"]);
    let now = bench.now;
    assert_eq!(bench.core.check_in(now, HOST, &bare(1), STOCK), Ok(()));
    assert_eq!(bench.core.recognise(HOST, &bare(1)), Ok(()));
    let elsewhere = Peer {
        address: ip(9),
        ..bare(1)
    };
    let refusal = Err(Refusal::AnotherMachine { address: ip(1) });
    assert_eq!(bench.core.recognise(HOST, &elsewhere), refusal);
    // Booted again, with a ticket.
    assert_eq!(bench.core.check_in(now, HOST, &own(1), AGENT), Ok(()));
    assert_eq!(bench.core.recognise(HOST, &bare(1)), refusal);
}

#[test]
fn two_hosts_never_have_one_address() {
    let mut bench = bench(2, &["d1p1.img"]);
    bench.check_in(1);
    let guest = Peer {
        address: ip(1),
        ..own(2)
    };
    let second = HostId(2);
    let refusal = Err(Refusal::AnotherMachine { address: ip(1) });
    bench.actions();
    let answer = bench.core.check_in(bench.now, second, &guest, AGENT);
    assert_eq!(answer, refusal);
    let actions = bench.actions();
    assert_eq!((actions.len(), notes(&actions).len()), (1, 1));
    // The first host is switched off, and its address is given to the second one.
    bench.wait(REBIND_AFTER, &[]);
    let answer = bench.core.check_in(bench.now, second, &guest, AGENT);
    assert_eq!(answer, Ok(()));
    assert_eq!(admitted(&bench.actions()), Some(&[ip(1)][..]));
    bench.join(1);
    let snapshot = bench.core.snapshot(bench.now);
    assert_eq!(
        snapshot.missing,
        ["LAB-01"],
        "the receiver is the second one"
    );
    // The first one comes back with a new address.
    let answer = bench.core.check_in(bench.now, HOST, &twin(1), AGENT);
    assert_eq!(answer, Ok(()));
    assert_eq!(admitted(&bench.actions()), Some(&[ip(101), ip(1)][..]));
}

/// Between its check-in and its receiver a stock client is silent while it writes the partition table.
#[test]
fn a_silent_stock_machine_keeps_its_place_as_long_as_it_is_waited_for() {
    for (agent, limit) in [(STOCK, CONNECT_WAIT), (AGENT, REBIND_AFTER)] {
        let mut bench = bench(2, &["d1p1.img"]);
        bench.check_in(2);
        bench.join(2);
        bench.check_in_as(1, agent);
        let check_in = |bench: &mut Bench, id, peer: Peer| {
            let now = bench.now;
            bench.core.check_in(now, HostId(id), &peer, AGENT)
        };
        bench.wait(limit - 1, &[2]);
        assert!(check_in(&mut bench, 1, twin(1)).is_err(), "{agent:?}");
        // Nor does another host get its address.
        let guest = Peer {
            address: ip(1),
            ..own(2)
        };
        bench.leave(2);
        assert!(check_in(&mut bench, 2, guest).is_err(), "{agent:?}");
        bench.join(2);
        bench.wait(1, &[2]);
        assert_eq!(check_in(&mut bench, 1, twin(1)), Ok(()), "{agent:?}");
    }
}
