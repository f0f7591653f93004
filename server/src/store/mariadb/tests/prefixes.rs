//! FOG's tables undo nothing: whatever an operation has done when its server dies must do no harm.

use fog::task::State;

use super::conformance::{
    NOW, at, checked_in, member_ended, new_host, new_image, new_session, new_unicast,
};
use super::*;
use crate::domain::SessionId;
use crate::domain::image::tests::sample_facts;
use crate::domain::session::{Fact, Session};
use crate::domain::unicast::{Machine, UnicastFact};
use crate::domain::{HostId, ImageId, Reason, TaskId, Timestamp};
use crate::store::UnicastQuery;

/// Hosts and an image.
async fn world(store: &MariaDb) -> (ImageId, Vec<HostId>) {
    let facts = sample_facts(&["d1p1.img"]);
    let image = store.add_image(new_image("win"), facts).await.unwrap();
    let mut hosts = Vec::new();
    for number in 1..=3 {
        hosts.push(store.add_host(NOW, new_host(number)).await.unwrap());
    }
    (image, hosts)
}

/// Ends a session for which nobody works any more.
async fn end(store: &MariaDb, id: SessionId) {
    let ended = Fact::Ended {
        state: State::Cancelled,
        reason: Reason::AllCancelled,
    };
    assert_eq!(store.apply(at(9), id, vec![ended]).await.unwrap(), []);
}

#[tokio::test]
async fn a_session_is_whole_or_does_nothing() {
    let Some(server) = server() else { return };
    let store = in_fogs(&server, "").await;
    let (image, hosts) = world(&store).await;
    let mut wholes = 0;
    for statements in 0_u32.. {
        store.engine.fuse().set(Some(statements));
        let new = new_session(image, &hosts, 63100);
        let created = store.create_session(NOW, new).await;
        store.engine.fuse().set(None);
        for id in store.active_sessions().await.unwrap() {
            let session = store.session(id).await.unwrap().unwrap();
            assert_eq!(session.members.len(), 3, "{statements}: half of the hosts");
            let mut states: Vec<State> = session.members.iter().map(|m| m.state).collect();
            states.dedup();
            match states[..] {
                [State::Queued] => wholes += 1,
                // It ends by itself.
                [State::Cancelled] => {}
                _ => panic!("{statements}: {states:?}"),
            }
            end(&store, id).await;
        }
        for host in &hosts {
            let task = store.active_task(*host).await.unwrap();
            assert_eq!(task, None, "{statements}: a task that nobody ends");
        }
        assert!(store.held_ports().await.unwrap().is_empty());
        if created.is_ok() {
            assert!(statements > 20, "{statements}");
            break;
        }
    }
    assert!(wholes > 0);
}

#[tokio::test]
async fn a_follow_up_is_made_once_wherever_it_was_cut_off() {
    let Some(server) = server() else { return };
    let store = in_fogs(&server, "").await;
    let (image, hosts) = world(&store).await;
    let late = || Reason::Late {
        stream: fog::store::StreamName::of_file("d1p1.img"),
    };
    let (mut news, mut finished) = (0, 0);
    for statements in 0_u32.. {
        let new = new_session(image, &hosts[..2], 63100);
        let id = store.create_session(NOW, new).await.unwrap();
        let facts = vec![
            checked_in(hosts[0], 1, 1),
            member_ended(hosts[0], State::Complete, Reason::Written),
            member_ended(hosts[1], State::Failed, late()),
            Fact::FollowUpDue,
            Fact::Ended {
                state: State::Failed,
                reason: Reason::AllCancelled,
            },
        ];
        assert_eq!(store.apply(at(1), id, facts).await.unwrap(), []);
        let mut new = new_session(image, &hosts[1..2], 63104);
        new.follows = Some(id);
        store.engine.fuse().set(Some(statements));
        let first = store.create_session(at(2), new.clone()).await;
        store.engine.fuse().set(None);
        // The next server looks what is still to be done.
        let before = store.newest_sessions(1).await.unwrap()[0];
        if !store.due_follow_ups().await.unwrap().is_empty() {
            let made = store.create_session(at(3), new).await.unwrap();
            match made == before {
                true => finished += 1,
                false => news += 1,
            }
        }
        let active = store.active_sessions().await.unwrap();
        let [next] = active[..] else {
            panic!("{statements}: {active:?}");
        };
        let session = store.session(next).await.unwrap().unwrap();
        assert_eq!(session.follows, Some(id), "{statements}");
        let states: Vec<State> = session.members.iter().map(|m| m.state).collect();
        assert_eq!(states, [State::Queued], "{statements}");
        let task = store.active_task(hosts[1]).await.unwrap();
        assert_eq!(task.and_then(|(_, session)| session), Some(next));
        assert!(store.due_follow_ups().await.unwrap().is_empty());
        end(&store, next).await;
        if first.is_ok() {
            assert!(statements > 20, "{statements}");
            break;
        }
    }
    assert!(news > 0 && finished > 0, "{news} {finished}");
}

/// What matters of a session, but its numbers and the time of its facts.
fn outcome(mut session: Session, now: Timestamp) -> Session {
    let at_that_time = |time: &mut Option<Timestamp>| {
        *time = time.map(|time| if time == now { NOW } else { time });
    };
    session.id = SessionId(0);
    at_that_time(&mut session.started_at);
    at_that_time(&mut session.ended_at);
    for member in &mut session.members {
        member.task = TaskId(0);
        at_that_time(&mut member.checked_in_at);
    }
    session
}

#[tokio::test]
async fn what_was_cut_off_is_stored_when_it_comes_again() {
    let Some(server) = server() else { return };
    let store = in_fogs(&server, "").await;
    let (image, hosts) = world(&store).await;
    let facts = vec![
        checked_in(hosts[0], 1, 1),
        checked_in(hosts[1], 2, 2),
        Fact::StreamStarting {
            stream: 0,
            run: 0,
            has_records: true,
        },
        Fact::StreamsDone {
            host: hosts[0],
            count: 1,
        },
        member_ended(hosts[0], State::Complete, Reason::Written),
        member_ended(hosts[1], State::Failed, Reason::Missing),
        member_ended(hosts[2], State::Cancelled, Reason::TaskCancelled),
        Fact::Ended {
            state: State::Failed,
            reason: Reason::AllCancelled,
        },
    ];
    let mut expected = None;
    for statements in 0_u32.. {
        let new = new_session(image, &hosts, 63100);
        let id = store.create_session(NOW, new).await.unwrap();
        if expected.is_none() {
            assert_eq!(store.apply(at(1), id, facts.clone()).await.unwrap(), []);
            let session = store.session(id).await.unwrap().unwrap();
            expected = Some(outcome(session, at(1)));
            continue;
        }
        let now = at(2 + i64::from(statements));
        store.engine.fuse().set(Some(statements));
        let first = store.apply(now, id, facts.clone()).await;
        store.engine.fuse().set(None);
        if first.is_err() {
            // The journal offers again what it does not know to be stored.
            store.apply(now, id, facts.clone()).await.unwrap();
        }
        let session = store.session(id).await.unwrap().unwrap();
        let found = Some(outcome(session, now));
        assert_eq!(found, expected, "after {statements} statements");
        assert!(store.active_sessions().await.unwrap().is_empty());
        let (known, _) = store.hosts().await.unwrap();
        assert_eq!(known[0].last_deploy, Some(now), "after {statements}");
        if first.is_ok() {
            assert!(statements > 40, "{statements}");
            break;
        }
    }
}

#[tokio::test]
async fn tasks_of_machines_alone_are_whole_or_do_nothing() {
    let Some(server) = server() else { return };
    let store = in_fogs(&server, "").await;
    let (image, hosts) = world(&store).await;
    let machine = || Machine {
        address: [10, 0, 0, 7].into(),
        ticket: None,
        client: "fos-agent/0.1.0".into(),
    };
    let facts = |task| {
        let facts = [
            UnicastFact::Entered {
                place: 4,
                machine: machine(),
            },
            UnicastFact::Went { machine: machine() },
            UnicastFact::Left,
            UnicastFact::Resumed,
            UnicastFact::Ended {
                state: State::Complete,
                reason: Reason::Written,
            },
        ];
        facts.map(|fact| vec![(task, fact)])
    };
    for statements in 0_u32.. {
        store.engine.fuse().set(Some(statements));
        let created = store.create_unicast(NOW, new_unicast(image, &hosts)).await;
        store.engine.fuse().set(None);
        // What was cut off before it was whole has no active task.
        for task in store.unicast(UnicastQuery::Active).await.unwrap() {
            for fact in facts(task.id) {
                store.engine.fuse().set(Some(statements));
                let first = store.apply_unicast(at(1), fact.clone()).await;
                store.engine.fuse().set(None);
                if first.is_err() {
                    // Who does not know what is stored looks, and decides anew.
                    store.apply_unicast(at(1), fact).await.unwrap();
                }
            }
            let query = UnicastQuery::One(task.id);
            let done = store.unicast(query).await.unwrap().remove(0);
            assert_eq!(done.state, State::Complete, "{statements}");
            assert_eq!(done.reason, Some(Reason::Written), "{statements}");
            assert_eq!(done.machine, Some(machine()), "{statements}");
            assert_eq!(done.ended_at, Some(at(1)), "{statements}");
        }
        if created.is_ok() {
            assert!(statements > 12, "{statements}");
            break;
        }
    }
    let (known, _) = store.hosts().await.unwrap();
    assert!(known.iter().all(|host| host.last_deploy == Some(at(1))));
}
