//! Captures.

use super::*;
use crate::domain::image::ImageSettings;
use crate::domain::unicast::{Machine, TaskKind, UnicastFact};

fn facts(at: i64, image_type: ImageType) -> Facts {
    Facts {
        checked_at: Timestamp(at),
        settings: Some(ImageSettings {
            path: "fresh-dir".into(),
            image_type,
            os_id: 9,
            format: 5,
        }),
        ..sample_facts(&["d1p1.img"])
    }
}

/// The image of a capture is made once, replaced once by its task, and then as often as it is said.
pub(super) async fn a_capture_makes_its_image_and_takes_its_place(store: SharedStore) {
    let first = store.add_host(NOW, new_host(1)).await.unwrap();
    let second = store.add_host(NOW, new_host(2)).await.unwrap();
    let task = store.create_capture(NOW, new_capture(first, "fresh"));
    let task = task.await.unwrap();
    let image = store.find_image("fresh").await.unwrap().unwrap();
    assert_eq!(
        (image.path.as_str(), image.compression),
        ("fresh-dir", Some(7))
    );
    assert_eq!(store.facts(image.id).await.unwrap(), None);
    let found = store.unicast(UnicastQuery::One(task)).await.unwrap();
    assert_eq!(
        (found[0].kind, found[0].state),
        (TaskKind::Capture, State::Queued)
    );
    assert_eq!((found[0].image, found[0].host), (image.id, first));

    // One at a time, and each host has one task.
    let busy = store
        .create_capture(NOW, new_capture(second, "fresh"))
        .await;
    assert!(
        matches!(&busy, Err(CreateError::Captured { task: own, .. }) if *own == task),
        "{busy:?}"
    );
    let busy = store.create_capture(NOW, new_capture(first, "other")).await;
    assert!(
        matches!(&busy, Err(CreateError::HostBusy { .. })),
        "{busy:?}"
    );
    assert!(store.find_image("other").await.unwrap().is_none());
    let gone = store
        .create_capture(NOW, new_capture(HostId(99), "other"))
        .await;
    assert!(matches!(&gone, Err(CreateError::NoHost(_))), "{gone:?}");

    // Its own task is no hindrance, others are; what is over does nothing.
    let good = facts(NOW.0, ImageType::Resizable);
    let other = store.replace_image(image.id, good.clone(), None).await;
    assert!(
        matches!(&other, Err(ChangeError::InTask(own)) if *own == task),
        "{other:?}"
    );
    for _ in 0..2 {
        let replaced = store
            .replace_image(image.id, good.clone(), Some(task))
            .await;
        replaced.unwrap();
    }
    assert_eq!(store.facts(image.id).await.unwrap(), Some(good));
    let row = store.image(image.id).await.unwrap().unwrap();
    assert_eq!((row.image_type, row.os_id), (ImageType::Resizable, 9));
    let machine = Machine {
        address: Ipv4Addr::new(10, 0, 0, 1),
        ticket: Some(Ticket([1; 16])),
        client: "fos-agent/0.1.0".into(),
    };
    let went = UnicastFact::Went { machine };
    let ended = UnicastFact::Ended {
        state: State::Complete,
        reason: Reason::Captured,
    };
    for fact in [went, ended] {
        let conflicts = store.apply_unicast(at(1), vec![(task, fact)]).await;
        assert_eq!(conflicts.unwrap(), []);
    }
    let (hosts, _) = store.hosts().await.unwrap();
    assert_eq!(hosts[0].last_deploy, None, "nothing was written to it");
    let late = facts(NOW.0 + 5, ImageType::Raw);
    let over = store
        .replace_image(image.id, late.clone(), Some(task))
        .await;
    assert!(
        matches!(&over, Err(ChangeError::TaskOver(own)) if *own == task),
        "{over:?}"
    );
    store
        .replace_image(image.id, late.clone(), None)
        .await
        .unwrap();
    let row = store.image(image.id).await.unwrap().unwrap();
    assert_eq!(row.image_type, ImageType::Raw);

    // A session sends it.
    let new = NewSession {
        checked_at: late.checked_at,
        ..new_session(image.id, &[second], 63100)
    };
    let session = store.create_session(NOW, new).await.unwrap();
    let used = store.replace_image(image.id, late, None).await;
    assert!(
        matches!(&used, Err(ChangeError::InUse(own)) if *own == session),
        "{used:?}"
    );
    let gone = store
        .replace_image(ImageId(99), facts(1, ImageType::Raw), None)
        .await;
    assert!(matches!(&gone, Err(ChangeError::Gone)), "{gone:?}");

    // Names and notes do not wait for that.
    let name = |text: &str| Some(text.parse().unwrap());
    let note = Some("with the new driver".to_owned());
    store
        .describe_image(image.id, name("renamed"), note)
        .await
        .unwrap();
    let row = store.find_image("renamed").await.unwrap().unwrap();
    assert_eq!(
        (row.id, row.note.as_str()),
        (image.id, "with the new driver")
    );
    store
        .add_image(new_image("taken"), sample_facts(&["d1p1.img"]))
        .await
        .unwrap();
    let taken = store.describe_image(image.id, name("taken"), None).await;
    assert!(
        matches!(&taken, Err(DescribeError::NameTaken(_))),
        "{taken:?}"
    );
    let gone = store.describe_image(ImageId(99), name("x"), None).await;
    assert!(matches!(&gone, Err(DescribeError::Gone)), "{gone:?}");
}
