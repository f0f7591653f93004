//! Who missed a session is deployed once more.

use std::time::Duration;

use fog::task::State;

use super::boot::ticket;
use crate::api::Api;
use crate::domain::follow_up::FollowUp;
use crate::domain::session::core::Phase;
use crate::domain::session::{Departure, DropCause, Note, Session};
use crate::domain::{Reason, SessionId};
use crate::sender::SenderEvent;
use crate::testing::{Bench, Order, bench_with, ip, wait_for};

/// Three hosts; one follow-up unless a deploy says otherwise.
async fn room() -> Bench {
    let bench = bench_with(|config| config.follow_ups = 1).await;
    bench.add_host(3).await;
    bench
}

/// A session that begins without the third host, and loses the second one.
async fn begun(bench: &Bench) -> SessionId {
    let id = bench.deploy(&[1, 2, 3]).await;
    begin(bench, id).await;
    id
}

async fn begin(bench: &Bench, id: SessionId) {
    assert_eq!(bench.check_in(1).await, "##@GO");
    assert_eq!(bench.check_in(2).await, "##@GO");
    bench.ordered(&Order::Open(0)).await;
    for host in [1, 2] {
        bench.sender.tell(SenderEvent::Joined(ip(host)));
    }
    bench.until(id, |live| live.snapshot.connected == 2).await;
    Api::start(&*bench.ops, id.0).await.unwrap();
    wait_for("the start", async || {
        let orders = bench.sender.orders();
        (orders
            .iter()
            .filter(|order| **order == Order::Start)
            .count()
            > 0)
        .then_some(())
    })
    .await;
    bench.sender.tell(SenderEvent::Started);
    bench
        .until(id, |live| {
            matches!(live.snapshot.phase, Phase::Sending { .. })
        })
        .await;
    let cause = DropCause::Silent {
        has_acknowledged: false,
    };
    drop_second(bench, id, cause).await;
}

/// The sender drops the second host, whose client reports that its stream broke off.
async fn drop_second(bench: &Bench, id: SessionId, cause: DropCause) {
    let handle = bench.ops.sessions().running(id).unwrap();
    let before = handle.live().snapshot.connected;
    let dropped = Departure::Dropped(Duration::from_secs(15), cause);
    bench.sender.tell(SenderEvent::Departed(ip(2), dropped));
    bench
        .until(id, |live| live.snapshot.connected < before)
        .await;
    assert_eq!(bench.fail(2, "the stream broke off").await, "##");
}

/// The rest of such a session.
async fn end(bench: &Bench, id: SessionId) -> Session {
    bench.end_stream(&[1]);
    bench.send_stream(1, &[1]).await;
    assert_eq!(bench.complete(1).await, "##");
    bench.ended(id).await
}

async fn newest(bench: &Bench) -> SessionId {
    bench.store.newest_sessions(1).await.unwrap()[0]
}

async fn names(bench: &Bench, id: SessionId) -> Vec<String> {
    let members = bench.session(id).await.members.into_iter();
    members.map(|member| member.name).collect()
}

#[tokio::test]
async fn who_came_late_or_was_dropped_is_deployed_when_the_session_has_ended() {
    let bench = room().await;
    let id = begun(&bench).await;
    // It is switched on late, and asks again for as long as the session goes on.
    let script = bench.boot(3).await;
    assert!(script.contains("Another session follows"), "{script}");
    assert!(script.contains("chain --replace boot.php?"), "{script}");
    wait_for("a late host", async || {
        let reason = bench.member(id, 3).await.reason;
        matches!(reason, Some(Reason::Late { .. })).then_some(())
    })
    .await;
    bench.ops.make_follow_ups().await.unwrap();
    assert_eq!(newest(&bench).await, id);
    // An agent hears it, too.
    wait_for("the end of a dropped host", async || {
        let view = bench.view(2).await;
        (!view.your_task.is_active()).then_some(view)
    })
    .await;
    assert!(bench.view(2).await.text.contains("another session follows"));

    let former = end(&bench, id).await;
    assert_eq!(former.state, State::Failed);
    assert_eq!(former.follow_up, FollowUp::Due);
    let status = bench.status(Some(id)).await.sessions.remove(0);
    assert!(status.is_follow_up_due && status.followed_by.is_none());
    assert!(
        status.text.contains("another session follows"),
        "{}",
        status.text
    );
    let script = bench.boot(3).await;
    assert!(script.contains("Another session follows"), "{script}");
    let text = bench.check_in(2).await;
    assert!(text.contains("Another session follows"), "{text}");

    bench.ops.make_follow_ups().await.unwrap();
    let next = newest(&bench).await;
    assert_ne!(next, id);
    let session = bench.session(next).await;
    assert_eq!(session.follows, Some(id));
    assert_eq!(session.follow_ups, Some(0));
    assert_eq!((session.port, session.image), (former.port, former.image));
    assert_eq!(names(&bench, next).await, ["LAB-02", "LAB-03"]);
    assert_eq!(bench.session(id).await.follow_up, FollowUp::Made(next));
    let status = bench.status(Some(id)).await.sessions.remove(0);
    assert_eq!(status.followed_by, Some(next.0));
    let notes: Vec<Note> = bench
        .events(next)
        .await
        .into_iter()
        .map(|e| e.note)
        .collect();
    assert!(notes.contains(&Note::Follows { session: id }), "{notes:?}");

    // Once, however often somebody looks.
    bench.ops.make_follow_ups().await.unwrap();
    assert_eq!(newest(&bench).await, next);
    ticket(&bench.boot(3).await);
    assert_eq!(bench.check_in(3).await, "##@GO");
    let status = bench.status(Some(next)).await.sessions.remove(0);
    assert_eq!(status.follows, Some(id.0));
}

#[tokio::test]
async fn a_host_is_followed_up_as_often_as_was_said_and_no_more() {
    let bench = room().await;
    let id = begun(&bench).await;
    end(&bench, id).await;
    bench.ops.make_follow_ups().await.unwrap();
    let next = newest(&bench).await;
    assert_eq!(names(&bench, next).await, ["LAB-02"]);
    // Dropped once more.
    assert_eq!(bench.check_in(2).await, "##@GO");
    bench.start_stream(0, &[2]).await;
    bench
        .until(next, |live| {
            matches!(live.snapshot.phase, Phase::Sending { .. })
        })
        .await;
    // It was the only one: the session is over with it.
    let dropped = Departure::Dropped(Duration::from_secs(1), DropCause::NotListening);
    bench.sender.tell(SenderEvent::Departed(ip(2), dropped));
    let ended = bench.ended(next).await;
    assert_eq!(ended.follow_up, FollowUp::None);
    bench.ops.make_follow_ups().await.unwrap();
    assert_eq!(newest(&bench).await, next);
}

/// What is still to be done is in the row of the session that ended.
#[tokio::test]
async fn a_crash_between_end_and_follow_up_loses_nothing_and_makes_nothing_twice() {
    let bench = room().await;
    let id = begun(&bench).await;
    end(&bench, id).await;
    let bench = bench.crash().await;
    bench.ops.make_follow_ups().await.unwrap();
    let next = newest(&bench).await;
    assert_eq!(bench.session(next).await.follows, Some(id));
    let bench = bench.crash().await;
    bench.ops.make_follow_ups().await.unwrap();
    assert_eq!(newest(&bench).await, next);
}

#[tokio::test]
async fn neither_a_cancelled_session_nor_a_host_with_something_else_to_do_is_followed_up() {
    let bench = room().await;
    let id = begun(&bench).await;
    Api::cancel(&*bench.ops, id.0, None).await.unwrap();
    let ended = bench.ended(id).await;
    assert_eq!(
        (ended.state, ended.follow_up),
        (State::Cancelled, FollowUp::None)
    );
    bench.ops.make_follow_ups().await.unwrap();
    assert_eq!(newest(&bench).await, id);

    let bench = room().await;
    let id = begun(&bench).await;
    end(&bench, id).await;
    let other = bench.deploy(&[2]).await;
    bench.ops.make_follow_ups().await.unwrap();
    assert_eq!(newest(&bench).await, other);
    assert_eq!(bench.session(id).await.follow_up, FollowUp::None);
}

#[tokio::test]
async fn who_never_came_is_not_followed_up_and_nobody_is_without_the_setting() {
    let bench = bench_with(|_| {}).await;
    bench.add_host(3).await;
    let id = begun(&bench).await;
    let ended = end(&bench, id).await;
    assert_eq!(ended.follow_up, FollowUp::None);

    let bench = room().await;
    let id = begun(&bench).await;
    end(&bench, id).await;
    bench.ops.make_follow_ups().await.unwrap();
    assert_eq!(names(&bench, newest(&bench).await).await, ["LAB-02"]);
}

/// The image may be back in a moment, and not for ever.
#[tokio::test]
async fn a_follow_up_that_cannot_be_made_is_tried_again_and_given_up_in_the_end() {
    let bench = room().await;
    let id = begun(&bench).await;
    end(&bench, id).await;
    let file = bench.config.images.join("img/d1p1.img");
    let aside = bench.config.images.join("aside");
    std::fs::rename(&file, &aside).unwrap();
    bench.ops.make_follow_ups().await.unwrap();
    assert_eq!(bench.session(id).await.follow_up, FollowUp::Due);
    bench
        .sql("UPDATE multicastSessions SET msCompleteDateTime = '2026-01-01 00:00:00'")
        .await;
    bench.ops.make_follow_ups().await.unwrap();
    assert_eq!(bench.session(id).await.follow_up, FollowUp::None);
    std::fs::rename(&aside, &file).unwrap();
    bench.ops.make_follow_ups().await.unwrap();
    assert_eq!(newest(&bench).await, id);
    let mut notes = bench.events(id).await.into_iter().map(|event| event.note);
    assert!(notes.any(|note| matches!(note, Note::NotFollowed { .. })));
}

/// While the database stores nothing, nothing is made; afterwards one.
#[tokio::test]
async fn a_follow_up_that_is_not_stored_is_made_later() {
    let bench = room().await;
    let id = begun(&bench).await;
    end(&bench, id).await;
    bench.faults.fail();
    bench.ops.make_follow_ups().await.unwrap();
    assert_eq!(newest(&bench).await, id);
    bench.faults.release();
    bench.ops.make_follow_ups().await.unwrap();
    assert_eq!(bench.session(newest(&bench).await).await.follows, Some(id));
}
