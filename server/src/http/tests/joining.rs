//! Sessions that machines join by name, and the boot menu.

use axum::http::StatusCode;
use fog::task::State;

use super::boot::ticket;
use crate::api::{Api, ApiErrorKind, Deploy};
use crate::domain::session::Note;
use crate::domain::{Reason, SessionId};
use crate::testing::{Bench, bench, bench_with, ip, mac, name, wait_for};

fn wanted(name: Option<&str>, expected: u32) -> Deploy {
    Deploy {
        image: "lab image".into(),
        hosts: Vec::new(),
        name: name.map(str::to_owned),
        max_wait_seconds: None,
        is_shutdown: true,
        is_debug: false,
        is_woken: false,
        expected,
        follow_ups: None,
    }
}

async fn open(bench: &Bench, name: &str, expected: u32) -> SessionId {
    let deployed = Api::deploy(&*bench.ops, wanted(Some(name), expected)).await;
    SessionId(deployed.unwrap().session)
}

/// What a machine hears that asks for a session by its name, as FOG's menu does.
async fn join(bench: &Bench, host: u8, name: &str) -> String {
    let body = format!(
        "mac0={}&arch=x86_64&sessionJoin=1&sessname={name}",
        mac(host)
    );
    bench.post(ip(host), "ipxe/boot.php", body).await
}

#[tokio::test]
async fn hosts_join_a_session_by_its_name_and_are_its_members() {
    let bench = bench().await;
    let id = open(&bench, "Room 101", 2).await;
    let status = bench.status(Some(id)).await.sessions.remove(0);
    assert_eq!((status.state, status.expected), (State::New, 2));
    assert!(
        status.text.contains("to join by the name Room 101"),
        "{}",
        status.text
    );

    let script = bench.boot(1).await;
    assert!(script.contains("Press m"), "{script}");
    assert!(script.contains("item fosjoin"), "{script}");
    // It waits for the other one.
    ticket(&join(&bench, 1, "room%20101").await);
    assert_eq!(bench.member(id, 1).await.state, State::Queued);
    assert_eq!(bench.check_in(1).await, "##@GO");
    bench.ordered(&crate::testing::Order::Open(0)).await;
    bench.sender.tell(crate::sender::SenderEvent::Joined(ip(1)));
    bench.until(id, |live| live.snapshot.connected == 1).await;
    let status = bench.status(Some(id)).await.sessions.remove(0);
    assert_eq!((status.expected, status.checked_in), (2, 1));
    assert!(status.text.contains("join by name"), "{}", status.text);

    // FOG before 1.5.10 says the name alone.
    let body = format!("mac0={}&arch=x86_64&sessname=Room+101", mac(2));
    let script = bench.post(ip(2), "ipxe/boot.php", body).await;
    ticket(&script);
    assert!(script.contains(" shutdown=1 "), "{script}");
    let events = bench.events(id).await;
    let joined = events
        .iter()
        .filter(|e| matches!(e.note, Note::Joined { .. }));
    assert_eq!(joined.count(), 2);
    // Asked again, nothing changes.
    ticket(&join(&bench, 2, "room%20101").await);
    assert_eq!(bench.session(id).await.members.len(), 2);
    assert_eq!(bench.check_in(2).await, "##@GO");
    bench.start_stream(0, &[2]).await;
    bench.end_stream(&[1, 2]);
    bench.send_stream(1, &[1, 2]).await;
    for host in [1, 2] {
        assert_eq!(bench.complete(host).await, "##");
    }
    assert_eq!(bench.ended(id).await.state, State::Complete);
    let text = join(&bench, 1, "room%20101").await;
    assert!(text.contains("There is no session room 101"), "{text}");
}

#[tokio::test]
async fn a_wrong_name_is_answered_with_those_that_there_are() {
    let bench = bench().await;
    let text = join(&bench, 1, "lab").await;
    assert!(text.contains("No session can be joined now"), "{text}");
    open(&bench, "one", 3).await;
    open(&bench, "two", 4).await;
    let text = join(&bench, 1, "three").await;
    for part in [
        "There is no session three",
        "one (lab image, 0 of 3 hosts), two (lab image, 0 of 4 hosts)",
        "read sessname",
        "&sessionJoin=1&sessname=${sessname:uristring}",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Without a name it is asked for; nothing of a name gets into the script as a command.
    let text = join(&bench, 1, "").await;
    assert!(text.contains("joined by its name"), "{text}");
    let text = join(&bench, 1, "a%0Areboot%20%7C%7C%20${x}").await;
    assert!(
        !text.contains("\nreboot") && !text.contains("${x}"),
        "{text}"
    );
    assert_eq!(bench.number("SELECT COUNT(*) FROM tasks").await, 0);
}

#[tokio::test]
async fn who_may_not_join_hears_why() {
    let bench = bench().await;
    bench.add_host(3).await;
    let id = open(&bench, "one", 1).await;
    // Not registered.
    let text = join(&bench, 9, "one").await;
    assert!(text.contains("not registered"), "{text}");
    // With a task, it is that one that it boots.
    let other = bench.deploy(&[2]).await;
    ticket(&join(&bench, 2, "one").await);
    assert!(bench.session(id).await.members.is_empty());
    assert_eq!(bench.member(other, 2).await.state, State::Queued);
    // Too late.
    ticket(&join(&bench, 1, "one").await);
    assert_eq!(bench.check_in(1).await, "##@GO");
    bench.start_stream(0, &[1]).await;
    wait_for("the start to be stored", async || {
        bench.session(id).await.started_at
    })
    .await;
    let text = join(&bench, 3, "one").await;
    assert!(text.contains("has started already"), "{text}");
    // Dropped by a person: not again.
    Api::cancel(&*bench.ops, id.0, Some(&name(1)))
        .await
        .unwrap();
    let text = join(&bench, 1, "one").await;
    assert!(
        text.contains("has not joined") || text.contains("no session one"),
        "{text}"
    );
    assert_eq!(
        bench.member(id, 1).await.reason,
        Some(Reason::TaskCancelled)
    );
}

#[tokio::test]
async fn a_session_to_be_joined_has_a_name_of_its_own() {
    let bench = bench().await;
    let try_it = async |name: Option<&str>| Api::deploy(&*bench.ops, wanted(name, 2)).await;
    for (name, kind) in [
        (None, ApiErrorKind::Invalid),
        (Some(" "), ApiErrorKind::Invalid),
        (Some("a\nb"), ApiErrorKind::Invalid),
        (Some("lab-01"), ApiErrorKind::Conflict),
    ] {
        assert_eq!(try_it(name).await.unwrap_err().kind, kind, "{name:?}");
    }
    try_it(Some("room")).await.unwrap();
    assert_eq!(
        try_it(Some("ROOM")).await.unwrap_err().kind,
        ApiErrorKind::Conflict
    );
    let none = Api::deploy(&*bench.ops, wanted(Some("x"), 0)).await;
    assert_eq!(none.unwrap_err().kind, ApiErrorKind::Invalid);
    let many = Api::deploy(&*bench.ops, wanted(Some("x"), 2001)).await;
    assert_eq!(many.unwrap_err().kind, ApiErrorKind::Invalid);
}

/// Nobody has joined: nothing runs, and a restart changes nothing.
#[tokio::test]
async fn a_session_that_waits_to_be_joined_outlasts_a_restart_and_can_be_cancelled() {
    let bench = bench().await;
    let id = open(&bench, "one", 2).await;
    let bench = bench.restart().await;
    ticket(&join(&bench, 1, "one").await);
    // Killed after the host has joined.
    let bench = bench.crash().await;
    ticket(&bench.boot(1).await);
    assert_eq!(bench.check_in(1).await, "##@GO");
    ticket(&join(&bench, 2, "one").await);
    assert_eq!(bench.check_in(2).await, "##@GO");
    assert_eq!(bench.session(id).await.members.len(), 2);

    let other = open(&bench, "other", 2).await;
    Api::cancel(&*bench.ops, other.0, None).await.unwrap();
    assert_eq!(bench.session(other).await.state, State::Cancelled);
    let text = join(&bench, 3, "other").await;
    assert!(!text.contains("kernel"), "{text}");
}

#[tokio::test]
async fn the_menu_has_what_there_is() {
    let bench = bench().await;
    assert!(!bench.boot(1).await.contains("Press m"));
    let ask = async |platform: &str, host: u8| {
        let body = format!("mac0={}&arch=x86_64&platform={platform}", mac(host));
        bench.post(ip(host), "ipxe/boot.php", body).await
    };
    // The file for this firmware decides.
    std::fs::write(bench.config.boot.join("memtest.efi"), b"test").unwrap();
    assert!(!ask("pcbios", 1).await.contains("Press m"));
    let script = ask("efi", 1).await;
    assert!(
        script.contains("item fosmemtest Test the memory\n"),
        "{script}"
    );
    assert!(script.contains("kernel memtest.efi && boot"), "{script}");
    assert!(
        script.contains("item nomenu Boot from the local disk\n"),
        "{script}"
    );
    assert!(!script.contains("item fosjoin"), "{script}");
    let (status, text) = bench.get(ip(1), "/fog/service/ipxe/memtest.efi").await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, "test"));
    let (status, _) = bench.get(ip(1), "/fog/service/ipxe/memtest.bin").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    // One that is not registered can say that it wants to be.
    open(&bench, "one", 1).await;
    let script = ask("efi", 9).await;
    assert!(script.contains("item fosregister"), "{script}");
    assert!(!script.contains("item fosjoin"), "{script}");

    let registration = crate::config::Registration::Off;
    let bench = bench_with(|config| config.registration = registration).await;
    std::fs::write(bench.config.boot.join("memtest.bin"), b"test").unwrap();
    let script = bench.boot(9).await;
    assert!(script.contains("item fosmemtest"), "{script}");
    assert!(!script.contains("item fosregister"), "{script}");
}
