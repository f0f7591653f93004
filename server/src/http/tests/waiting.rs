//! Many clients of FOG ask again and again whether they may begin.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::domain::host::{About, NewHost, StationMac};
use crate::domain::{HostId, Reason, Refusal};
use crate::ops::{CheckInRequest, ClientError, ClientRequest, ClientResult};
use crate::testing::{Bench, DEADLINE, bench, ip, mac};

/// So many others ask again and again that an answer is held for longer than any test lasts.
fn crowd(bench: &Bench) {
    let askers = bench.ops.sessions().askers();
    let now = Instant::now();
    // Later than the test lasts, so that they are not forgotten.
    for ahead in [3600, 3602, 3604] {
        let then = now + Duration::from_secs(ahead);
        for host in 1000..41_000 {
            let caller = (ip(200).into(), None);
            let turn = askers.ask(then, HostId(host), caller, Duration::ZERO);
            turn.refused(then);
        }
    }
}

/// A check-in of a host, which may be held for very long.
fn asks(
    bench: &Bench,
    host: u8,
    agent: &str,
    end: &CancellationToken,
) -> JoinHandle<ClientResult<()>> {
    let ops = Arc::clone(&bench.ops);
    let request = ClientRequest {
        macs: vec![mac(host).parse().unwrap()],
        address: ip(host).into(),
        ticket: None,
        is_forwarded: false,
        about: About::default(),
    };
    let asked = CheckInRequest {
        agent: agent.to_owned(),
        ..CheckInRequest::default()
    };
    let end = end.clone();
    tokio::spawn(async move {
        let known = ops.identify(request).await?;
        let longest = Duration::from_secs(3600);
        ops.ask_to_begin(&known, &asked, longest, &end).await
    })
}

async fn answer(asked: JoinHandle<ClientResult<()>>) -> ClientResult<()> {
    let answered = tokio::time::timeout(DEADLINE, asked).await;
    answered.expect("it is still held").unwrap()
}

/// Others are answered meanwhile; this one is not.
async fn is_held(bench: &Bench, asked: &JoinHandle<ClientResult<()>>) {
    for _ in 0..20 {
        let other = asks(bench, 2, AGENT, &CancellationToken::new());
        drop(answer(other).await);
    }
    assert!(!asked.is_finished());
}

const AGENT: &str = "fos-agent/0.1.0";

#[tokio::test]
async fn a_client_without_a_task_is_answered_as_soon_as_it_has_one() {
    let bench = bench().await;
    crowd(&bench);
    let end = CancellationToken::new();
    let first = answer(asks(&bench, 1, "", &end)).await;
    assert!(
        matches!(&first, Err(ClientError::Refused(Refusal::NoTask { .. }))),
        "{first:?}"
    );
    let again = asks(&bench, 1, "", &end);
    is_held(&bench, &again).await;
    bench.deploy(&[1]).await;
    answer(again).await.unwrap();
}

#[tokio::test]
async fn a_client_that_is_held_hears_of_the_end_of_its_part() {
    let bench = bench().await;
    let first = bench.deploy(&[1]).await;
    bench.boot(1).await;
    bench.ops.cancel(first, None).await.unwrap();
    bench.ended(first).await;
    let deployed = bench.deploy_image("other image", &[1, 2], None).await;
    let session = deployed.session;
    crowd(&bench);
    let end = CancellationToken::new();
    // It was booted for another job. The first answers may be of before a change was known.
    for _ in 0..2 {
        let refused = answer(asks(&bench, 1, "", &end)).await;
        assert!(
            matches!(
                &refused,
                Err(ClientError::Refused(Refusal::OtherJob { .. }))
            ),
            "{refused:?}"
        );
    }
    let again = asks(&bench, 1, "", &end);
    is_held(&bench, &again).await;
    bench.ops.cancel(session, None).await.unwrap();
    // This answer may be of before the end.
    drop(answer(again).await);
    bench.ended(session).await;
    let refused = answer(asks(&bench, 1, "", &end)).await;
    let is_over = matches!(
        &refused,
        Err(ClientError::Refused(
            Refusal::Over(Reason::SessionCancelled)
                | Refusal::NoTask {
                    last: Some((_, Reason::SessionCancelled)),
                    ..
                }
        ))
    );
    assert!(is_over, "{refused:?}");
}

/// It was booted for a session that is over.
#[tokio::test]
async fn a_client_that_is_held_is_answered_when_what_it_was_told_is_forgotten() {
    let bench = bench().await;
    let first = bench.deploy(&[1]).await;
    bench.boot(1).await;
    bench.ops.cancel(first, None).await.unwrap();
    bench.ended(first).await;
    bench.add_host(3).await;
    bench.deploy_image("other image", &[1, 3], None).await;
    crowd(&bench);
    for _ in 0..2 {
        assert!(
            answer(asks(&bench, 1, "", &CancellationToken::new()))
                .await
                .is_err()
        );
    }
    let again = asks(&bench, 1, "", &CancellationToken::new());
    is_held(&bench, &again).await;
    bench.ops.forget_boots("LAB-01").await.unwrap().unwrap();
    answer(again).await.unwrap();
}

/// It is another host by now.
#[tokio::test]
async fn a_client_that_is_held_is_answered_as_the_host_that_it_is_then() {
    let bench = bench().await;
    crowd(&bench);
    let end = CancellationToken::new();
    drop(answer(asks(&bench, 1, "", &end)).await);
    let again = asks(&bench, 1, "", &end);
    is_held(&bench, &again).await;
    bench.ops.remove_host("LAB-01").await.unwrap().unwrap();
    let card: fog::Mac = mac(1).parse().unwrap();
    let new = NewHost {
        name: "LAB-09".parse().unwrap(),
        macs: vec![StationMac::try_from(card).unwrap()],
        image: None,
        device: String::new(),
    };
    bench.ops.add_host(new).await.unwrap();
    end.cancel();
    let refused = answer(again).await;
    assert!(
        matches!(&refused, Err(ClientError::Refused(Refusal::NoTask { host, .. })) if host == "LAB-09"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_end_of_the_server_answers_who_is_held() {
    let bench = bench().await;
    crowd(&bench);
    drop(answer(asks(&bench, 1, "", &CancellationToken::new())).await);
    for is_listener in [true, false] {
        let end = CancellationToken::new();
        let again = asks(&bench, 1, "", &end);
        is_held(&bench, &again).await;
        match is_listener {
            true => end.cancel(),
            false => bench.ops.sessions().shut_down().await,
        }
        assert!(answer(again).await.is_err());
    }
}

/// Its answer was lost.
#[tokio::test]
async fn a_client_that_lost_its_answer_gets_it_again_at_once_but_not_for_ever() {
    let bench = bench().await;
    bench.add_host(3).await;
    bench.deploy(&[1, 3]).await;
    crowd(&bench);
    // The first answer changes something.
    for _ in 0..4 {
        let again = asks(&bench, 1, "", &CancellationToken::new());
        answer(again).await.unwrap();
    }
    let again = asks(&bench, 1, "", &CancellationToken::new());
    is_held(&bench, &again).await;
    bench.ops.sessions().askers().changed([HostId(1)]);
    answer(again).await.unwrap();
}

/// It asks for its session besides, and is not one of many that only wait.
#[tokio::test]
async fn an_agent_is_never_held() {
    let bench = bench().await;
    crowd(&bench);
    for _ in 0..3 {
        drop(answer(asks(&bench, 1, AGENT, &CancellationToken::new())).await);
    }
}
