//! Deploys that begin later.

use super::*;
use crate::domain::schedule::Cron;

fn planned(image: &str) -> Planned {
    Planned {
        image: image.to_owned(),
        hosts: vec!["LAB-01".into(), "@room'; DROP TABLE hosts; --".into()],
        name: Some("Freitag ä".into()),
        max_wait_seconds: Some(60),
        is_shutdown: true,
        is_debug: false,
        follow_ups: None,
    }
}

/// Whoever is first does it; it is kept and found as it was made.
pub(super) async fn a_start_is_claimed_once(store: SharedStore) {
    assert_eq!(store.schedules().await.unwrap(), []);
    let cron = Cron::new("0 18 * * 5", "Europe/Berlin").unwrap();
    let (once, weekly) = (When::Once(at(100)), When::Cron(Box::new(cron)));
    let add = |when: &When, image: &str| store.add_schedule(NOW, when.clone(), planned(image));
    let first = add(&once, "a").await.unwrap();
    let second = add(&weekly, "b").await.unwrap();
    let all = store.schedules().await.unwrap();
    let expected = |id, when: &When, image: &str| Schedule {
        id,
        when: when.clone(),
        planned: planned(image),
        created_at: NOW,
        done_until: NOW,
        outcome: None,
    };
    assert_eq!(
        all,
        [expected(first, &once, "a"), expected(second, &weekly, "b")]
    );

    let begun = Outcome::Begun { at: at(100) };
    let claim = |seen, until| store.claim_schedule(first, seen, until, begun.clone());
    assert!(claim(NOW, at(101)).await.unwrap());
    assert!(!claim(NOW, at(101)).await.unwrap());
    assert!(!claim(NOW, at(102)).await.unwrap());
    let session = Outcome::Session {
        at: at(101),
        session: SessionId(7),
    };
    let failed = Outcome::Failed {
        at: at(5),
        text: "x".repeat(3000),
    };
    store.end_schedule(first, session.clone()).await.unwrap();
    store.end_schedule(second, failed.clone()).await.unwrap();
    let all = store.schedules().await.unwrap();
    assert_eq!(
        (all[0].done_until, &all[0].outcome),
        (at(101), &Some(session))
    );
    assert_eq!(
        (all[1].done_until, &all[1].outcome),
        (NOW, &Some(failed.clone()))
    );

    assert!(store.remove_schedule(first).await.unwrap());
    assert!(!store.remove_schedule(first).await.unwrap());
    assert!(!claim(at(101), at(200)).await.unwrap());
    store.end_schedule(first, failed).await.unwrap();
    assert_eq!(store.schedules().await.unwrap().len(), 1);

    for _ in 1..MAX_SCHEDULES {
        add(&once, "c").await.unwrap();
    }
    let more = add(&once, "c").await.unwrap_err();
    assert!(matches!(more, AddScheduleError::TooMany), "{more:?}");
}
