//! What every store must do, whatever database is behind it. Run by the tests of each database with a
//! factory of empty stores.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use fog::Mac;
use fog::task::{ImageType, State};

use super::*;
use crate::domain::Reason;
use crate::domain::handout::{Handouts, Ticket};
use crate::domain::host::StationMac;
use crate::domain::image::tests::sample_facts;

mod model;
mod random;

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
#[track_caller]
pub(crate) fn stored(
    store: &dyn Store,
    session: SessionId,
    facts: Vec<Fact>,
) -> impl Future<Output = ()> {
    async move {
        let conflicts = store.apply(at(1), session, facts).await.unwrap();
        assert_eq!(conflicts, []);
    }
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
    assert_eq!(second.agent, "fos-agent/0.1.0");
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

/// Runs everything else, each on a store of its own.
pub(crate) async fn all<F>(factory: impl Fn() -> F)
where
    F: Future<Output = SharedStore>,
{
    a_session_goes_its_way(factory().await).await;
}
