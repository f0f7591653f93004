//! What every store must do, whatever database is behind it. Run by the tests of each database with a
//! factory of empty stores.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use fog::Mac;
use fog::task::{ImageType, State};

use super::*;
use crate::domain::Reason;
use crate::domain::handout::Ticket;
use crate::domain::handouts::{Change as HandoutChange, Row as HandoutRow};
use crate::domain::host::StationMac;
use crate::domain::image::tests::sample_facts;

mod alone;
mod captures;
mod follow_ups;
mod groups;
mod model;
pub(super) mod operations;
mod pending;
mod random;
mod schedules;
mod site;

/// A time.
pub(crate) const NOW: Timestamp = Timestamp(1_790_000_000);

/// `seconds` after [`NOW`].
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp(NOW.0 + seconds)
}

pub(crate) fn mac(number: u16) -> Mac {
    let [high, low] = number.to_be_bytes();
    Mac([0, 0x1b, 0x21, 0, high, low])
}

pub(crate) fn new_host(number: u16) -> NewHost {
    NewHost {
        name: format!("pc{number:03}").parse().unwrap(),
        macs: vec![StationMac::try_from(mac(number)).unwrap()],
        image: None,
        device: String::new(),
    }
}

pub(crate) fn new_image(name: &str) -> NewImage {
    NewImage {
        name: name.parse().unwrap(),
        path: format!("{name}-dir"),
        image_type: ImageType::Resizable,
        os_id: 50,
        format: 5,
    }
}

pub(crate) fn new_session(image: ImageId, hosts: &[HostId], port: u16) -> NewSession {
    NewSession {
        name: "lab".into(),
        image,
        checked_at: sample_facts(&[]).checked_at,
        hosts: hosts.to_vec(),
        port,
        max_sessions: 0,
        max_wait: Duration::from_secs(600),
        is_shutdown: false,
        is_debug: false,
        expected: 0,
        follows: None,
        follow_ups: None,
    }
}

pub(crate) fn new_unicast(image: ImageId, hosts: &[HostId]) -> NewUnicast {
    NewUnicast {
        name: "lab".into(),
        image,
        checked_at: sample_facts(&[]).checked_at,
        hosts: hosts.to_vec(),
        is_shutdown: false,
        is_debug: false,
        is_forced: false,
    }
}

pub(crate) fn new_capture(host: HostId, image: &str) -> NewCapture {
    NewCapture {
        host,
        image: CapturedImage {
            image: new_image(image),
            compression: Some(7),
        },
        is_shutdown: false,
        is_debug: false,
    }
}

pub(crate) fn checked_in(host: HostId, last: u8, count: u32) -> Fact {
    Fact::CheckedIn {
        host,
        address: Ipv4Addr::new(10, 0, 0, last),
        ticket: Some(Ticket([last; 16])),
        agent: "fos-agent/0.1.0".into(),
        count,
    }
}

pub(crate) fn member_ended(host: HostId, state: State, reason: Reason) -> Fact {
    Fact::MemberEnded {
        host,
        state,
        reason,
    }
}

/// An image, hosts and a session of them at port 63100.
pub(crate) async fn session_of(store: &dyn Store, count: u16) -> (SessionId, ImageId, Vec<HostId>) {
    let facts = sample_facts(&["d1p1.img", "d1p2.img"]);
    let image = store.add_image(new_image("win"), facts).await.unwrap();
    let mut hosts = Vec::new();
    for number in 1..=count {
        hosts.push(store.add_host(NOW, new_host(number)).await.unwrap());
    }
    let new = new_session(image, &hosts, 63100);
    let id = store.create_session(NOW, new).await.unwrap();
    (id, image, hosts)
}

/// Stores facts that meet no conflict.
pub(crate) async fn stored(store: &dyn Store, session: SessionId, facts: Vec<Fact>) {
    let conflicts = store.apply(at(1), session, facts).await.unwrap();
    assert_eq!(conflicts, []);
}

/// A session from its creation to its end.
pub(crate) async fn a_session_goes_its_way(store: SharedStore) {
    let (id, image, hosts) = session_of(&*store, 2).await;
    let created = store.session(id).await.unwrap().unwrap();
    assert_eq!((created.name.as_str(), created.state), ("lab", State::New));
    assert_eq!((created.image, created.image_name.as_str()), (image, "win"));
    assert_eq!((created.port, created.runs), (63100, 0));
    assert_eq!((created.started_at, created.has_records), (None, None));
    assert_eq!((created.created_at, created.ended_at), (NOW, None));
    assert_eq!(created.members.len(), 2);
    assert_eq!(created.members[0].state, State::Queued);
    assert_eq!(created.members[0].address, None);

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
            count: 2,
        },
        Fact::StreamsDone {
            host: hosts[0],
            count: 1,
        },
        member_ended(hosts[0], State::Complete, Reason::Written),
    ];
    stored(&*store, id, facts).await;
    let running = store.session(id).await.unwrap().unwrap();
    assert_eq!((running.state, running.runs), (State::InProgress, 1));
    assert_eq!(running.started_at, Some(at(1)));
    assert_eq!(running.has_records, Some(true));
    let [first, second] = &running.members[..] else {
        panic!("two members");
    };
    assert_eq!((first.streams_done, first.state), (2, State::Complete));
    assert_eq!(first.reason, Some(Reason::Written));
    assert_eq!(second.address, Some(Ipv4Addr::new(10, 0, 0, 2)));
    assert_eq!(second.ticket, Some(Ticket([2; 16])));
    assert_eq!(second.agent.name, "fos-agent/0.1.0");
    assert_eq!(second.checked_in_at, Some(at(1)));
    let (known, _) = store.hosts().await.unwrap();
    assert_eq!(known[0].last_deploy, Some(at(1)));

    let ended = Fact::Ended {
        state: State::Cancelled,
        reason: Reason::SessionCancelled,
    };
    stored(&*store, id, vec![ended]).await;
    let ended = store.session(id).await.unwrap().unwrap();
    assert_eq!(ended.name, "lab");
    assert_eq!(
        (ended.state, ended.ended_at),
        (State::Cancelled, Some(at(1)))
    );
    assert_eq!(ended.reason, Some(Reason::SessionCancelled));
    assert_eq!(ended.members[1].state, State::Cancelled);
    assert!(store.active_sessions().await.unwrap().is_empty());
    assert_eq!(store.active_task(hosts[1]).await.unwrap(), None);
    let last = store.last_session(hosts[0]).await.unwrap().unwrap();
    assert_eq!(last, ended);
}

/// What ends a host's part, and what may follow it.
pub(crate) async fn an_end_may_be_seen_in_another_light(store: SharedStore) {
    let (id, _, hosts) = session_of(&*store, 4).await;
    let [late, failed, cancelled, complete] = hosts[..] else {
        panic!("four hosts");
    };
    let overdue = Reason::Overdue { seconds: 600 };
    let failure = |before: Option<Reason>| Reason::ClientFailed {
        text: "bad disk".into(),
        before: before.map(Box::new),
    };
    let facts = (1..).zip(&hosts).map(|(n, host)| checked_in(*host, n, 1));
    stored(&*store, id, facts.collect()).await;
    let facts = vec![
        member_ended(late, State::Failed, overdue.clone()),
        member_ended(failed, State::Failed, overdue.clone()),
        member_ended(cancelled, State::Cancelled, Reason::TaskCancelled),
        member_ended(complete, State::Complete, Reason::Written),
        // From here on in another light.
        member_ended(late, State::Complete, Reason::WrittenLate),
        member_ended(failed, State::Failed, failure(Some(overdue))),
        member_ended(complete, State::Failed, failure(Some(Reason::Written))),
    ];
    stored(&*store, id, facts.clone()).await;
    let facts = vec![
        member_ended(failed, State::Complete, Reason::WrittenLate),
        member_ended(failed, State::Cancelled, Reason::TaskCancelled),
        member_ended(cancelled, State::Complete, Reason::Written),
        member_ended(cancelled, State::Failed, failure(None)),
        checked_in(cancelled, 3, 1),
        checked_in(complete, 4, 1),
        // Stored already.
        member_ended(late, State::Complete, Reason::WrittenLate),
    ];
    let conflict = |fact, found| Conflict {
        fact,
        found: Found::Task(Some(found)),
    };
    assert_eq!(
        store.apply(at(2), id, facts).await.unwrap(),
        [
            conflict(0, State::Failed),
            conflict(1, State::Failed),
            conflict(2, State::Cancelled),
            conflict(3, State::Cancelled),
            conflict(4, State::Cancelled),
            conflict(5, State::Failed),
        ]
    );
    let session = store.session(id).await.unwrap().unwrap();
    let found: Vec<_> = session
        .members
        .into_iter()
        .map(|member| (member.state, member.reason.unwrap()))
        .collect();
    assert_eq!(
        found,
        [
            (State::Complete, Reason::WrittenLate),
            (
                State::Failed,
                failure(Some(Reason::Overdue { seconds: 600 }))
            ),
            (State::Cancelled, Reason::TaskCancelled),
            (State::Failed, failure(Some(Reason::Written))),
        ]
    );
    let ended = |state, reason| Fact::Ended { state, reason };
    let facts = vec![
        ended(State::Complete, Reason::Written),
        ended(State::Failed, failure(None)),
        ended(State::Failed, Reason::AllCancelled),
        ended(State::Cancelled, Reason::SessionCancelled),
    ];
    let conflicts = store.apply(at(3), id, facts).await.unwrap();
    let over = Conflict {
        fact: 3,
        found: Found::Session(Some(State::Failed)),
    };
    assert_eq!(conflicts, [over]);
    let session = store.session(id).await.unwrap().unwrap();
    assert_eq!(
        (session.state, session.reason),
        (State::Failed, Some(Reason::AllCancelled))
    );
}

/// The number of an attempt is never used again.
pub(crate) async fn attempts_are_numbered(store: SharedStore) {
    let (id, ..) = session_of(&*store, 1).await;
    let start = |stream, run| Fact::StreamStarting {
        stream,
        run,
        has_records: true,
    };
    for (facts, runs) in [
        (vec![start(0, 0)], 1),
        (vec![start(1, 0)], 1),
        (vec![start(1, 1), start(2, 0)], 2),
        (vec![start(2, 7)], 8),
        (vec![start(2, 7)], 8),
        (vec![start(3, u32::MAX)], u32::MAX),
    ] {
        stored(&*store, id, facts).await;
        assert_eq!(store.session(id).await.unwrap().unwrap().runs, runs);
    }
    let starts = store.events(id, 0, 99).await.unwrap();
    assert_eq!(starts.len(), 1 + 6, "one of them came twice");
}

/// A flood of what clients say neither grows without end nor hides what was decided.
pub(crate) async fn events_are_bounded(store: SharedStore) {
    let (id, _, hosts) = session_of(&*store, 1).await;
    let note = |number: usize| Note::ForeignReport {
        address: IpAddr::from([10, 9, 9, 9]),
        text: "\u{1}".repeat(if number == 0 { 50_000 } else { 10 }),
    };
    let max = usize::try_from(MAX_EVENTS_OF_HOST).unwrap();
    for host in [Some(hosts[0]), None] {
        let facts = (0..max + 50).map(|number| Fact::Noted {
            host,
            note: note(number),
        });
        stored(&*store, id, facts.collect()).await;
        store.add_event(NOW, Some(id), host, note(0)).await.unwrap();
        store.add_event(NOW, None, host, note(0)).await.unwrap();
    }
    let facts = vec![
        checked_in(hosts[0], 1, 1),
        Fact::StreamStarting {
            stream: 0,
            run: 0,
            has_records: true,
        },
        member_ended(hosts[0], State::Complete, Reason::Written),
        Fact::Ended {
            state: State::Complete,
            reason: Reason::Written,
        },
    ];
    stored(&*store, id, facts).await;
    let events = store.events(id, 0, 9999).await.unwrap();
    for host in [Some(hosts[0]), None] {
        let of_host = events.iter().filter(|event| event.host == host);
        assert_eq!(of_host.count(), max);
    }
    assert!(
        events
            .iter()
            .all(|event| event.note.to_parts().1.len() <= 8192)
    );
    let decided = |event: &&Event| !matches!(event.note, Note::ForeignReport { .. });
    assert_eq!(events.iter().filter(decided).count(), 1 + 4);
    assert!(matches!(events.last().unwrap().note, Note::Ended { .. }));
    // A machine with two addresses that checks in again and again.
    let image = store.images().await.unwrap()[0].id;
    let new = new_session(image, &hosts, 63100);
    let other = store.create_session(NOW, new).await.unwrap();
    let mut facts: Vec<Fact> = (0..max + 50)
        .map(|number| checked_in(hosts[0], u8::from(number % 2 == 0), 1))
        .collect();
    facts.push(member_ended(hosts[0], State::Failed, Reason::Missing));
    stored(&*store, other, facts).await;
    let events = store.events(other, 0, 9999).await.unwrap();
    assert_eq!(events.len(), 1 + max);
    assert!(matches!(
        events.last().unwrap().note,
        Note::MemberEnded { .. }
    ));
}

/// Progress belongs to active tasks of the session.
pub(crate) async fn progress_is_no_state(store: SharedStore) {
    let (id, _, hosts) = session_of(&*store, 1).await;
    let task = store.session(id).await.unwrap().unwrap().members[0].task;
    let line = "108.53MB/min@00:01:23@00:04:17@12.50 GiB@44.20 GiB@ 28.28@47458910208";
    let status = fog::status::parse(line).unwrap();
    let before = store.session(id).await.unwrap();
    let mut changes = store.changes();
    store
        .store_progress(id, vec![(TaskId(999), status.clone())])
        .await
        .unwrap();
    store
        .store_progress(SessionId(999), vec![(task, status.clone())])
        .await
        .unwrap();
    assert!(changes.try_recv().is_err());
    store
        .store_progress(id, vec![(task, status)])
        .await
        .unwrap();
    assert_eq!(changes.try_recv(), Ok(Change::Session(id)));
    assert_eq!(store.session(id).await.unwrap(), before);
    assert!(store.active_task(hosts[0]).await.unwrap().is_some());
}

/// Everybody may ask at the same time; each gets all or nothing.
pub(crate) async fn many_at_once(store: SharedStore) {
    let (id, _, hosts) = session_of(&*store, 20).await;
    let mut all = tokio::task::JoinSet::new();
    for (number, host) in (1..).zip(hosts.clone()) {
        let store = SharedStore::clone(&store);
        all.spawn(async move {
            stored(&*store, id, vec![checked_in(host, number, 1)]).await;
            let session = store.session(id).await.unwrap().unwrap();
            let member = session.members.iter().find(|member| member.host == host);
            assert_eq!(member.unwrap().state, State::InProgress);
            for member in session.members {
                let is_in = member.state == State::InProgress;
                assert_eq!(is_in, member.address.is_some());
            }
        });
    }
    all.join_all().await;
    let events = store.events(id, 0, 99).await.unwrap();
    assert_eq!(events.len(), 1 + hosts.len());
}

/// What is not there is no error.
pub(crate) async fn what_is_absent_is_absent(store: SharedStore) {
    let (session, host, image) = (SessionId(9), HostId(9), ImageId(9));
    assert_eq!(store.session(session).await.unwrap(), None);
    assert_eq!(store.last_session(host).await.unwrap(), None);
    assert_eq!(store.last_end(host).await.unwrap(), None);
    assert_eq!(store.active_task(host).await.unwrap(), None);
    assert_eq!(store.image(image).await.unwrap(), None);
    assert_eq!(store.facts(image).await.unwrap(), None);
    assert_eq!(store.find_image("9").await.unwrap(), None);
    assert_eq!(store.image_root().await.unwrap(), None);
    assert_eq!(store.events(session, 0, 9).await.unwrap(), []);
    let gone = store.remove_host(host).await;
    assert!(matches!(gone, Err(ChangeError::Gone)));
    let reason = Reason::SessionCancelled;
    store
        .fail_broken(NOW, session, reason.clone())
        .await
        .unwrap();
    let state = State::Failed;
    let facts = vec![Fact::Ended { state, reason }];
    let conflict = Conflict {
        fact: 0,
        found: Found::Session(None),
    };
    assert_eq!(store.apply(NOW, session, facts).await.unwrap(), [conflict]);
    let defaults = store.settings().await.unwrap();
    assert_eq!(defaults.multicast, Multicast::default());
    assert_eq!(defaults.odd, []);
}

/// An end that is none is a mistake of the caller, and nothing of its call is stored.
pub(crate) async fn nothing_ends_in_an_active_state(store: SharedStore) {
    let (id, _, hosts) = session_of(&*store, 1).await;
    let facts = vec![
        checked_in(hosts[0], 1, 1),
        member_ended(hosts[0], State::Queued, Reason::Written),
    ];
    let refused = store.apply(NOW, id, facts).await;
    assert!(matches!(refused, Err(StoreError::Internal(_))));
    let session = store.session(id).await.unwrap().unwrap();
    assert_eq!(
        (session.state, session.members[0].state),
        (State::New, State::Queued)
    );
}

/// After the end nothing is stored.
pub(crate) async fn a_closed_store_is_unavailable(store: SharedStore) {
    store.set_image_root("/a".into()).await.unwrap();
    store.close().await;
    let refused = store.set_image_root("/b".into()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))));
    let refused = store.image_root().await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))));
    store.close().await;
}

/// Random operations have the same outcome as with a model.
///
/// # Panics
/// If they have not; the shortest such list of operations is shown.
pub(crate) fn random<F>(cases: u32, factory: impl Fn() -> F)
where
    F: Future<Output = SharedStore>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut runner = proptest::test_runner::TestRunner::new(proptest::test_runner::Config {
        cases,
        failure_persistence: None,
        ..Default::default()
    });
    let outcome = runner.run(&random::ops(), |ops| {
        runtime.block_on(async { random::walk(factory().await, ops).await });
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// A host becomes another one, but for its number and its past.
async fn hosts_are_edited(store: SharedStore) {
    let (id, image, hosts) = session_of(&*store, 3).await;
    let [first, second, third] = hosts[..] else {
        panic!("three hosts");
    };
    let busy = store.edit_host(at(1), first, new_host(1)).await;
    let in_use = |found: &std::result::Result<(), EditHostError>| matches!(found, Err(EditHostError::Change(ChangeError::InUse(session))) if *session == id);
    assert!(in_use(&busy), "{busy:?}");
    let ended = Fact::Ended {
        state: State::Cancelled,
        reason: Reason::SessionCancelled,
    };
    let ends = hosts
        .iter()
        .map(|host| member_ended(*host, State::Cancelled, Reason::TaskCancelled));
    stored(&*store, id, ends.chain([ended]).collect()).await;

    let taken = store.edit_host(at(2), first, new_host(2)).await;
    let expected = AddHostError::NameTaken("pc002".into());
    assert_eq!(taken.unwrap_err().to_string(), expected.to_string());
    let mut other = new_host(1);
    other.macs = new_host(2).macs;
    let taken = store.edit_host(at(2), first, other).await;
    let new_is_taken = |found: &std::result::Result<(), EditHostError>| {
        matches!(
            found,
            Err(EditHostError::New(AddHostError::MacTaken { .. }))
        )
    };
    assert!(new_is_taken(&taken), "{taken:?}");
    let mut other = new_host(1);
    other.image = Some(ImageId(image.0 + 1));
    let absent = store.edit_host(at(2), first, other).await;
    let absent = absent.unwrap_err();
    assert!(
        matches!(absent, EditHostError::New(AddHostError::NoImage(_))),
        "{absent:?}"
    );

    // Its own name in other letters, an address more, the old one not the first.
    let new = NewHost {
        name: "PC001".parse().unwrap(),
        macs: [9, 1].map(|n| StationMac::try_from(mac(n)).unwrap()).into(),
        image: Some(image),
        device: "/dev/vdb".into(),
    };
    store.edit_host(at(3), first, new).await.unwrap();
    let (known, broken) = store.hosts().await.unwrap();
    assert_eq!(broken, []);
    let found = known.iter().find(|host| host.id == first).unwrap();
    assert_eq!(
        (found.name.as_str(), found.device.as_str()),
        ("PC001", "/dev/vdb")
    );
    assert_eq!(
        (&found.macs[..], found.image),
        (&[mac(9), mac(1)][..], Some(image))
    );
    assert_eq!(known.len(), 3);
    let others = [second, third].map(|id| known.iter().find(|host| host.id == id).unwrap());
    assert_eq!(others.map(|host| host.macs.len()), [1, 1]);
    assert_eq!(store.last_session(first).await.unwrap().unwrap().id, id);

    store.remove_host(first).await.unwrap();
    let gone = store
        .edit_host(at(4), first, new_host(1))
        .await
        .unwrap_err();
    assert!(
        matches!(gone, EditHostError::Change(ChangeError::Gone)),
        "{gone:?}"
    );
    // What it left is free.
    store.add_host(at(5), new_host(9)).await.unwrap();
}

/// Accounts of people and programs.
/// The accounts of a store in which none is broken.
async fn listed(store: &SharedStore) -> Vec<Account> {
    let (accounts, broken) = store.accounts().await.unwrap();
    assert_eq!(broken, []);
    accounts
}

async fn accounts_are_kept(store: SharedStore) {
    use crate::domain::account::{Account, AccountKind, Role, StoredSecret};
    let account = |kind, name: &str, role| Account {
        kind,
        name: name.parse().unwrap(),
        role,
        secret: StoredSecret(format!("$argon2id$'; DROP TABLE fos_accounts; -- {name}")),
        created_at: NOW,
    };
    assert_eq!(listed(&store).await, []);
    let (user, token) = (AccountKind::User, AccountKind::Token);
    let root = account(user, "root", Role::Admin);
    let same_name = account(token, "root", Role::Viewer);
    store.add_account(root.clone()).await.unwrap();
    store.add_account(same_name.clone()).await.unwrap();
    let again = store.add_account(account(user, "root", Role::Viewer)).await;
    assert!(
        matches!(again, Err(AddAccountError::NameTaken { .. })),
        "{again:?}"
    );
    assert_eq!(listed(&store).await, [same_name.clone(), root.clone()]);

    let name = root.name.clone();
    let secret = StoredSecret("other".into());
    let change = |kind, role, secret| store.change_account(kind, name.clone(), role, secret);
    assert!(change(user, Some(Role::Operator), None).await.unwrap());
    assert!(change(user, None, Some(secret.clone())).await.unwrap());
    assert!(change(token, None, None).await.unwrap());
    let changed = Account {
        role: Role::Operator,
        secret,
        ..root.clone()
    };
    assert_eq!(listed(&store).await, [same_name.clone(), changed]);
    assert!(store.remove_account(user, name.clone()).await.unwrap());
    assert!(!store.remove_account(user, name.clone()).await.unwrap());
    assert!(!change(user, Some(Role::Admin), None).await.unwrap());
    assert_eq!(listed(&store).await, [same_name]);

    for number in 1..MAX_ACCOUNTS {
        let account = account(user, &format!("u{number}"), Role::Viewer);
        store.add_account(account).await.unwrap();
    }
    let last = store.add_account(root).await;
    assert!(matches!(last, Err(AddAccountError::TooMany)), "{last:?}");
}

/// Runs everything else, each on a store of its own.
pub(crate) async fn all<F>(factory: impl Fn() -> F)
where
    F: Future<Output = SharedStore>,
{
    a_session_goes_its_way(factory().await).await;
    an_end_may_be_seen_in_another_light(factory().await).await;
    attempts_are_numbered(factory().await).await;
    events_are_bounded(factory().await).await;
    pending::strangers_are_bounded(factory().await).await;
    pending::a_flood_pushes_out_what_came_from_its_address(factory().await).await;
    pending::a_wish_waits_for_a_person(factory().await).await;
    pending::wishes_are_bounded(factory().await).await;
    pending::what_waits_can_be_forgotten(factory().await).await;
    groups::a_group_keeps_its_order(factory().await).await;
    groups::groups_are_bounded(factory().await).await;
    site::a_storage_node_is_there(factory().await).await;
    schedules::a_start_is_claimed_once(factory().await).await;
    follow_ups::a_follow_up_is_made_once(factory().await).await;
    follow_ups::a_cancelled_session_is_not_followed(factory().await).await;
    follow_ups::hosts_join_a_session(factory().await).await;
    progress_is_no_state(factory().await).await;
    many_at_once(factory().await).await;
    what_is_absent_is_absent(factory().await).await;
    nothing_ends_in_an_active_state(factory().await).await;
    hosts_are_edited(factory().await).await;
    accounts_are_kept(factory().await).await;
    alone::machines_alone_go_their_way(factory().await).await;
    captures::a_capture_makes_its_image_and_takes_its_place(factory().await).await;
    alone::what_is_over_stays_over(factory().await).await;
    alone::a_task_alone_keeps_its_host(factory().await).await;
    alone::a_failure_of_a_node_is_kept(factory().await).await;
    a_closed_store_is_unavailable(factory().await).await;
}
