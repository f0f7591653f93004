//! Machines that are deployed alone.

use fog::status::ReceivedStatus;

use super::*;
use crate::domain::unicast::{Machine, UnicastFact, UnicastTask};

/// An image, hosts, and a task for each.
async fn tasks_of(store: &dyn Store, count: u16) -> (ImageId, Vec<HostId>, Vec<TaskId>) {
    let facts = sample_facts(&["d1p1.img"]);
    let image = store.add_image(new_image("win"), facts).await.unwrap();
    let mut hosts = Vec::new();
    for number in 1..=count {
        hosts.push(store.add_host(NOW, new_host(number)).await.unwrap());
    }
    let tasks = store.create_unicast(NOW, new_unicast(image, &hosts));
    (image, hosts.clone(), tasks.await.unwrap())
}

async fn one(store: &dyn Store, task: TaskId) -> UnicastTask {
    let found = store.unicast(UnicastQuery::One(task)).await.unwrap();
    found.into_iter().next().unwrap()
}

fn machine(last: u8) -> Machine {
    Machine {
        address: Ipv4Addr::new(10, 0, 0, last),
        ticket: (last > 1).then_some(Ticket([last; 16])),
        client: "fos-agent/0.1.0".into(),
    }
}

fn entered(place: u64, last: u8) -> UnicastFact {
    UnicastFact::Entered {
        place,
        machine: machine(last),
    }
}

fn ended(state: State, reason: Reason) -> UnicastFact {
    UnicastFact::Ended { state, reason }
}

async fn stored(store: &dyn Store, seconds: i64, task: TaskId, fact: UnicastFact) {
    let conflicts = store.apply_unicast(at(seconds), vec![(task, fact)]).await;
    assert_eq!(conflicts.unwrap(), []);
}

/// Each fact makes of the rows what it makes of the task in memory.
pub(super) async fn machines_alone_go_their_way(store: SharedStore) {
    let (image, hosts, tasks) = tasks_of(&*store, 2).await;
    let mut known = one(&*store, tasks[0]).await;
    assert_eq!((known.host, known.image), (hosts[0], image));
    assert_eq!(
        (known.host_name.as_str(), known.image_name.as_str()),
        ("pc001", "win")
    );
    assert_eq!((known.state, known.created_at), (State::Queued, NOW));
    assert_eq!((known.machine.as_ref(), known.went_at), (None, None));
    assert!(!known.is_forced && !known.is_debug && !known.is_shutdown);
    let facts = [
        entered(3, 1),
        // Another machine in the same place.
        entered(3, 2),
        UnicastFact::Went {
            machine: machine(2),
        },
        // Asked again.
        UnicastFact::Went {
            machine: machine(2),
        },
        UnicastFact::Left,
        UnicastFact::Resumed,
        UnicastFact::Left,
        entered(5, 2),
        UnicastFact::Left,
        entered(6, 2),
        UnicastFact::Went {
            machine: machine(2),
        },
        ended(State::Complete, Reason::Written),
    ];
    for (second, fact) in (1..).zip(facts) {
        let mut changes = store.changes();
        stored(&*store, second, tasks[0], fact.clone()).await;
        known.apply(at(second), &fact);
        assert_eq!(one(&*store, tasks[0]).await, known, "{fact:?}");
        let mut told = Vec::new();
        while let Ok(change) = changes.try_recv() {
            told.push(change);
        }
        assert!(told.contains(&Change::Tasks), "{fact:?}: {told:?}");
    }
    let (all, _) = store.hosts().await.unwrap();
    assert_eq!(all[0].last_deploy, Some(at(12)));
    assert_eq!(all[1].last_deploy, None);

    let active = store.unicast(UnicastQuery::Active).await.unwrap();
    assert_eq!(active, [one(&*store, tasks[1]).await]);
    let newest = store.unicast(UnicastQuery::Newest(1)).await.unwrap();
    assert_eq!(newest, active);
    for (last, ticket, expected) in [
        (2, Some(2), Some(tasks[0])),
        (2, None, None),
        (2, Some(3), None),
    ] {
        let query = UnicastQuery::OfMachine {
            host: hosts[0],
            address: Ipv4Addr::new(10, 0, 0, last),
            ticket: ticket.map(|ticket| Ticket([ticket; 16])),
        };
        let found = store.unicast(query).await.unwrap();
        assert_eq!(found.first().map(|task| task.id), expected);
    }
}

pub(super) async fn what_is_over_stays_over(store: SharedStore) {
    let (_, _, tasks) = tasks_of(&*store, 2).await;
    let (done, gone) = (tasks[0], tasks[1]);
    let absent = TaskId(999);
    // It did not begin.
    let early = vec![
        (done, ended(State::Complete, Reason::Written)),
        (absent, UnicastFact::Left),
        (gone, UnicastFact::Left),
    ];
    let conflicts = store.apply_unicast(at(1), early).await.unwrap();
    assert_eq!(conflicts, [done, absent, gone]);
    stored(&*store, 2, done, entered(1, 1)).await;
    stored(
        &*store,
        2,
        done,
        UnicastFact::Went {
            machine: machine(1),
        },
    )
    .await;
    stored(&*store, 3, done, ended(State::Complete, Reason::Written)).await;
    stored(
        &*store,
        3,
        gone,
        ended(State::Cancelled, Reason::TaskCancelled),
    )
    .await;
    let before = (one(&*store, done).await, one(&*store, gone).await);
    for task in [done, gone] {
        for fact in [
            entered(1, 2),
            UnicastFact::Went {
                machine: machine(2),
            },
            UnicastFact::Left,
            UnicastFact::Resumed,
            ended(State::Cancelled, Reason::TaskCancelled),
        ] {
            let conflicts = store.apply_unicast(at(4), vec![(task, fact)]).await;
            assert_eq!(conflicts.unwrap(), [task]);
        }
    }
    assert_eq!((one(&*store, done).await, one(&*store, gone).await), before);
    // A failure that is reported after the end is never ignored; who was cancelled stays so.
    let failed = || {
        let reason = Reason::ClientFailed {
            text: "no disk".into(),
            before: None,
        };
        ended(State::Failed, reason)
    };
    let facts = vec![(done, failed()), (gone, failed())];
    let conflicts = store.apply_unicast(at(5), facts).await.unwrap();
    assert_eq!(conflicts, [gone]);
    assert_eq!(one(&*store, done).await.state, State::Failed);
    assert_eq!(one(&*store, gone).await.state, State::Cancelled);
    let active = ended(State::InProgress, Reason::Written);
    let error = store.apply_unicast(at(6), vec![(done, active)]).await;
    assert!(matches!(error, Err(StoreError::Internal(_))), "{error:?}");
    let status = ReceivedStatus {
        rate: "1 MB".into(),
        elapsed: "1".into(),
        remaining: "2".into(),
        copied: "3".into(),
        total: "4".into(),
        percent_text: "40".into(),
        percent: 40,
    };
    // Of a task that is over nothing changes.
    store.store_unicast_progress(gone, status).await.unwrap();
    assert_eq!(one(&*store, gone).await.percent, 0);
}

pub(super) async fn a_task_alone_keeps_its_host(store: SharedStore) {
    let (image, hosts, tasks) = tasks_of(&*store, 1).await;
    let again = store.create_unicast(NOW, new_unicast(image, &hosts)).await;
    assert!(
        matches!(&again, Err(CreateError::HostBusy { task, session: None, .. }) if *task == tasks[0]),
        "{again:?}"
    );
    let session = store
        .create_session(NOW, new_session(image, &hosts, 63100))
        .await;
    assert!(
        matches!(session, Err(CreateError::HostBusy { .. })),
        "{session:?}"
    );
    let removed = store.remove_host(hosts[0]).await;
    assert!(matches!(removed, Err(ChangeError::InTask(task)) if task == tasks[0]));
    let removed = store.remove_image(image).await;
    assert!(matches!(removed, Err(ChangeError::InTask(task)) if task == tasks[0]));
    let mut other = new_unicast(image, &hosts);
    other.checked_at = at(100);
    let changed = store.create_unicast(NOW, other).await;
    assert!(
        matches!(changed, Err(CreateError::NoImage(_))),
        "{changed:?}"
    );
    assert_eq!(
        store.active_task(hosts[0]).await.unwrap(),
        Some((tasks[0], None))
    );
    let rules = store.queue_rules().await.unwrap();
    assert!(rules.slots.values().all(|slots| *slots > 0), "{rules:?}");
}

/// A host that could not use a node's share: one row for each task, as FOG has it.
pub(crate) async fn a_failure_of_a_node_is_kept(store: SharedStore) {
    let facts = sample_facts(&["d1p1.img"]);
    let image = store.add_image(new_image("win"), facts).await.unwrap();
    let host = store.add_host(NOW, new_host(1)).await.unwrap();
    let new = new_unicast(image, &[host]);
    let task = store.create_unicast(NOW, new).await.unwrap()[0];
    assert_eq!(store.node_failures().await.unwrap(), []);
    let node = store.unicast(UnicastQuery::One(task)).await.unwrap()[0].node;
    for seconds in [300, 600] {
        let until = at(seconds);
        let failure = NodeFailure { node, host, until };
        let noted = store.note_node_failure(task, until).await.unwrap();
        assert_eq!(noted, Some(failure));
        assert_eq!(store.node_failures().await.unwrap(), [failure]);
    }
    let gone = store.note_node_failure(TaskId(99), at(1)).await.unwrap();
    assert_eq!(gone, None);
}
