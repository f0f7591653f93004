//! Follow-up sessions, and sessions that hosts join by name.

use super::*;
use crate::domain::follow_up::FollowUp;

fn late() -> Reason {
    Reason::Late {
        stream: fog::store::StreamName::of_file("d1p1.img"),
    }
}

fn ended(state: State) -> Fact {
    let reason = Reason::AllCancelled;
    Fact::Ended { state, reason }
}

/// It is due from the end of a session until it is made or given up, and made once.
pub(crate) async fn a_follow_up_is_made_once(store: SharedStore) {
    let (id, image, hosts) = session_of(&*store, 2).await;
    assert_eq!(store.due_follow_ups().await.unwrap(), []);
    let facts = vec![
        checked_in(hosts[0], 1, 1),
        member_ended(hosts[0], State::Complete, Reason::Written),
        member_ended(hosts[1], State::Failed, late()),
        Fact::FollowUpDue,
        ended(State::Failed),
    ];
    stored(&*store, id, facts.clone()).await;
    // The journal stores again what it does not know to be stored.
    let again = store.apply(at(2), id, facts[3..].to_vec()).await;
    assert_eq!(again.unwrap(), []);
    assert_eq!(store.due_follow_ups().await.unwrap(), [id]);
    let awaited = async |host| store.awaited_follow_up(host).await.unwrap();
    assert_eq!(awaited(hosts[1]).await, Some(id));

    let mut new = new_session(image, &hosts[1..], 63100);
    new.follows = Some(id);
    new.follow_ups = Some(1);
    let next = store.create_session(at(3), new.clone()).await.unwrap();
    let found = store.session(next).await.unwrap().unwrap();
    assert_eq!((found.follows, found.follow_ups), (Some(id), Some(1)));
    assert_eq!(found.follow_up, FollowUp::None);
    let former = store.session(id).await.unwrap().unwrap();
    assert_eq!(former.follow_up, FollowUp::Made(next));
    assert_eq!(former.follow_ups, None);
    assert_eq!(store.due_follow_ups().await.unwrap(), []);
    assert_eq!(awaited(hosts[1]).await, None);
    new.port = 63102;
    let twice = store.create_session(at(4), new.clone()).await.unwrap_err();
    assert!(matches!(twice, CreateError::Followed(_)), "{twice}");
    assert_eq!(store.active_sessions().await.unwrap(), [next]);

    // Given up, it is not made any more.
    stored(&*store, next, vec![Fact::FollowUpDue, ended(State::Failed)]).await;
    assert_eq!(store.due_follow_ups().await.unwrap(), [next]);
    let why = Some("x".to_owned());
    let given_up = async |why| store.give_up_follow_up(at(5), next, why).await.unwrap();
    assert!(given_up(why.clone()).await);
    assert!(!given_up(why).await);
    new.follows = Some(next);
    let late = store.create_session(at(6), new).await.unwrap_err();
    assert!(matches!(late, CreateError::Followed(_)), "{late}");
    let notes = store.events(next, 0, 100).await.unwrap();
    let given_up = notes
        .iter()
        .filter(|event| matches!(event.note, Note::NotFollowed { .. }));
    assert_eq!(given_up.count(), 1);
}

/// A person who cancels a session wants no other one in its place.
pub(crate) async fn a_cancelled_session_is_not_followed(store: SharedStore) {
    let (id, ..) = session_of(&*store, 1).await;
    stored(&*store, id, vec![Fact::FollowUpDue]).await;
    stored(&*store, id, vec![ended(State::Cancelled)]).await;
    assert_eq!(store.due_follow_ups().await.unwrap(), []);
}

/// Hosts join a session that was made without them.
pub(crate) async fn hosts_join_a_session(store: SharedStore) {
    let (other, image, hosts) = session_of(&*store, 1).await;
    let address = IpAddr::from([10, 0, 0, 1]);
    let mut new = new_session(image, &[], 63110);
    new.name = "Room 101".into();
    new.expected = 2;
    new.is_shutdown = true;
    new.is_debug = true;
    let id = store.create_session(NOW, new).await.unwrap();
    let open = store.open_sessions().await.unwrap();
    let expected = OpenSession {
        session: id,
        name: "Room 101".into(),
        image_name: "win".into(),
        expected: 2,
        joined: 0,
        has_started: false,
    };
    assert_eq!(open, [expected]);
    let session = store.session(id).await.unwrap().unwrap();
    assert!(session.is_unjoined() && session.is_shutdown && session.is_debug);

    let join = async |host| store.join_session(at(1), id, host, address).await;
    // In another session, in none that there is, and in one whose hosts are known.
    let busy = join(hosts[0]).await.unwrap_err();
    assert!(
        matches!(busy, JoinError::Busy { session: Some(found), .. } if found == other),
        "{busy}"
    );
    let nobody = join(HostId(99)).await.unwrap_err();
    assert!(matches!(nobody, JoinError::NoHost), "{nobody}");
    let free = store.add_host(NOW, new_host(7)).await.unwrap();
    for wrong in [other, SessionId(99)] {
        let wrong = store.join_session(at(1), wrong, free, address).await;
        assert!(matches!(wrong.unwrap_err(), JoinError::NotOpen(_)));
    }
    join(free).await.unwrap();
    join(free).await.unwrap();
    let session = store.session(id).await.unwrap().unwrap();
    let [member] = &session.members[..] else {
        panic!("{session:?}");
    };
    assert_eq!((member.host, member.state), (free, State::Queued));
    let task = store.active_task(free).await.unwrap();
    assert_eq!(task, Some((member.task, Some(id))));
    assert_eq!(store.open_sessions().await.unwrap()[0].joined, 1);

    // Once data flow, it is too late.
    let begun = Fact::StreamStarting {
        stream: 0,
        run: 0,
        has_records: true,
    };
    stored(&*store, id, vec![checked_in(free, 1, 1), begun]).await;
    let second = store.add_host(NOW, new_host(8)).await.unwrap();
    let late = join(second).await.unwrap_err();
    assert!(matches!(late, JoinError::Started(_)), "{late}");
    assert!(store.open_sessions().await.unwrap()[0].has_started);
    stored(&*store, id, vec![ended(State::Cancelled)]).await;
    assert_eq!(store.open_sessions().await.unwrap(), []);
    let over = join(second).await.unwrap_err();
    assert!(matches!(over, JoinError::NotOpen(_)), "{over}");
}
