//! Who may act for a host: the machine that checked in, from its address, with its ticket.

use std::net::Ipv4Addr;
use std::time::Duration;

use fog::task::State;
use fos_api::RefusalCode;

use super::assert_refused;
use super::boot::ticket;
use crate::config::Timing;
use crate::domain::host::{NewHost, StationMac};
use crate::domain::session::core::Phase;
use crate::domain::session::{Member, Note};
use crate::domain::{Reason, Refusal, SessionId};
use crate::sender::SenderEvent;
use crate::testing::{Bench, bench, bench_with, ip, mac, wait_for};

/// Where somebody else is.
const STRANGER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 66);

fn another() -> Refusal {
    Refusal::AnotherMachine { address: ip(1) }
}

async fn stored(bench: &Bench, id: SessionId) -> Member {
    bench.member(id, 1).await
}

/// What a stranger may not change.
async fn part(bench: &Bench, id: SessionId) -> (State, Option<Reason>, Option<Ipv4Addr>) {
    let member = stored(bench, id).await;
    (member.state, member.reason, member.address)
}

fn foreign_reports(notes: impl IntoIterator<Item = Note>) -> usize {
    let is_foreign =
        |note: &Note| matches!(note, Note::ForeignReport { address, .. } if *address == STRANGER);
    notes.into_iter().filter(is_foreign).count()
}

async fn notes(bench: &Bench, id: SessionId) -> Vec<Note> {
    let events = bench.events(id).await.into_iter();
    events.map(|event| event.note).collect()
}

#[tokio::test]
async fn a_stranger_ends_no_part_of_a_running_session() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    let blame = format!("mac={}&type=down", mac(1));
    let inventory = format!("mac={}&sysman=WA==", mac(1));
    let progress = format!("mac={}&phase=idle&detail=x", mac(1));
    for stage in 0..3 {
        let before = part(&bench, id).await;
        assert_refused(&bench.complete_from(STRANGER, 1).await, &another());
        assert_refused(&bench.fail_from(STRANGER, 1, "x").await, &another());
        assert_refused(&bench.check_in_from(STRANGER, 1).await, &another());
        let text = bench.post(STRANGER, "blame.php", blame.as_str()).await;
        assert_refused(&text, &another());
        let text = bench
            .post(STRANGER, "inventory.php", inventory.as_str())
            .await;
        assert_refused(&text, &another());
        bench
            .post(STRANGER, "progress.php", progress.as_str())
            .await;
        assert_eq!(part(&bench, id).await, before);
        let live = bench.ops.sessions().running(id).unwrap().live();
        assert_eq!(live.members[0].report.phase, "", "stage {stage}");
        match stage {
            0 | 1 => drop(bench.send_stream(stage, &[1]).await),
            _ => {}
        }
        bench
            .until(id, |live| {
                live.snapshot.members[0].streams_done > stage || stage == 2
            })
            .await;
    }
    assert_eq!(bench.number("SELECT COUNT(*) FROM inventory").await, 0);
    wait_for("the notes", async || {
        (foreign_reports(notes(&bench, id).await) == 3).then_some(())
    })
    .await;
    // Its own machine has the last word.
    assert_eq!(bench.fail(1, "the%20disk%20is%20bad").await, "##");
    let session = bench.ended(id).await;
    assert_eq!(session.state, State::Failed);
    assert!(matches!(
        &session.members[0].reason,
        Some(Reason::ClientFailed { text, .. }) if text == "the disk is bad"
    ));
}

#[tokio::test]
async fn a_stranger_changes_nothing_of_a_session_that_is_over() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    for index in [0, 1] {
        bench.send_stream(index, &[1]).await;
    }
    assert_eq!(bench.complete(1).await, "##");
    let before = bench.ended(id).await;
    assert_refused(&bench.fail_from(STRANGER, 1, "x").await, &another());
    assert_refused(&bench.complete_from(STRANGER, 1).await, &another());
    assert_eq!(bench.session(id).await, before);
    assert_eq!(foreign_reports(notes(&bench, id).await), 1);
}

#[tokio::test]
async fn a_stranger_completes_nothing_that_is_overdue() {
    let bench = bench_with(|config| config.timing.grace = Duration::ZERO).await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    for index in [0, 1] {
        bench.send_stream(index, &[1]).await;
    }
    let before = bench.ended(id).await;
    assert_refused(&bench.complete_from(STRANGER, 1).await, &another());
    assert_eq!(bench.session(id).await, before);
    assert_eq!(bench.complete(1).await, "##");
}

#[tokio::test]
async fn before_the_check_in_no_machine_acts_for_a_host() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    let before = stored(&bench, id).await;
    let blame = format!("mac={}&type=down", mac(1));
    for _ in 0..5 {
        assert_refused(
            &bench.fail_from(STRANGER, 1, "x").await,
            &Refusal::NotCheckedIn,
        );
        assert_refused(
            &bench.complete_from(STRANGER, 1).await,
            &Refusal::NotCheckedIn,
        );
        let text = bench.post(STRANGER, "blame.php", blame.as_str()).await;
        assert_refused(&text, &Refusal::NotCheckedIn);
    }
    assert_eq!(stored(&bench, id).await, before);
    // Whoever names the address gets a boot script: that proves too little.
    bench.boot(1).await;
    assert_refused(&bench.complete(1).await, &Refusal::NotCheckedIn);
    assert_eq!(stored(&bench, id).await, before);
}

/// It would report for ever, where a restart helps.
#[tokio::test]
async fn a_failure_before_the_check_in_is_heard_of_a_machine_with_its_ticket_and_changes_nothing() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    let ticket = ticket(&bench.boot(1).await);
    let before = stored(&bench, id).await;
    let text = format!("mac={}&type=error&text=no%20disk&ticket={ticket}", mac(1));
    assert_eq!(
        bench.post(ip(1), "taskerror.php", text.as_str()).await,
        "##"
    );
    assert_eq!(stored(&bench, id).await, before);
    let notes = notes(&bench, id).await.into_iter();
    let mut reports = notes.filter(|note| matches!(note, Note::ForeignReport { .. }));
    assert!(reports.next().is_some());
    // Nobody completes it so.
    let claim = format!("mac={}&type=down&ticket={ticket}", mac(1));
    let answer = bench.post(ip(1), "Post_Stage3.php", claim.as_str()).await;
    assert_refused(&answer, &Refusal::NotCheckedIn);
}

/// The same image on the same port is the same job for a check-in, not for a report: that of a machine
/// which still runs for the old session must not fail the new one.
#[tokio::test]
async fn a_report_of_an_old_session_fails_no_new_one() {
    let bench = bench().await;
    let first = bench.deploy(&[1]).await;
    bench.boot(1).await;
    bench.check_in_stock(1).await;
    bench.ops.cancel(first, None).await.unwrap();
    bench.ended(first).await;
    let second = bench.deploy(&[1]).await;
    let before = stored(&bench, second).await;
    bench.fail(1, "late").await;
    let body = format!("mac={}&type=down", mac(1));
    bench.post(ip(1), "blame.php", body).await;
    assert_eq!(stored(&bench, second).await, before);
    // Its check-in counts: all that it was told is still right.
    assert_eq!(bench.check_in_stock(1).await, "##@GO");
}

/// A client that waits with old kernel arguments is still known when many others asked.
#[tokio::test]
async fn boot_scripts_for_others_do_not_hide_an_old_job() {
    let bench = bench().await;
    let first = bench.deploy(&[1]).await;
    bench.boot(1).await;
    bench.check_in_stock(1).await;
    bench.ops.cancel(first, None).await.unwrap();
    bench.ended(first).await;
    let second = bench.deploy_image("other image", &[1], None).await.session;
    for last in 100..200 {
        let body = format!("mac0={}", mac(1));
        bench.post(ip(last), "ipxe/boot.php", body).await;
    }
    let refusal = Refusal::OtherJob {
        told: first,
        now: second,
    };
    assert_refused(&bench.check_in_stock(1).await, &refusal);
}

async fn check_in_with(bench: &Bench, ticket: &str) -> String {
    let body = format!(
        "mac={}&type=down&agent=fos-agent/0.1.0&ticket={ticket}",
        mac(1)
    );
    bench.post(ip(1), "mc_checkin.php", body).await
}

#[tokio::test]
async fn a_machine_with_a_ticket_is_known_by_it() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    let own = ticket(&bench.boot(1).await).to_string();
    assert_eq!(check_in_with(&bench, &own).await, "##@GO");
    for index in [0, 1] {
        bench.send_stream(index, &[1]).await;
    }
    bench
        .until(id, |live| live.snapshot.phase == Phase::Finishing)
        .await;
    // Whoever has its address, for example behind the same router, lacks the ticket.
    assert_refused(&bench.complete(1).await, &another());
    assert_refused(&bench.fail(1, "x").await, &another());
    let invented = "0".repeat(32);
    let body = format!("mac={}&ticket={invented}", mac(1));
    let text = bench.post(ip(1), "Post_Stage3.php", body).await;
    assert_ne!(text, "##");
    assert!(stored(&bench, id).await.state.is_active());
    let body = format!("mac={}&ticket={own}", mac(1));
    assert_eq!(
        bench.post(ip(1), "Post_Stage3.php", body.as_str()).await,
        "##"
    );
    bench.ended(id).await;
    assert_refused(&bench.fail(1, "x").await, &another());
    assert_refused(&bench.complete(1).await, &another());
    assert_eq!(bench.post(ip(1), "Post_Stage3.php", body).await, "##");
}

#[tokio::test]
async fn boot_scripts_for_others_do_not_take_the_place_of_a_machine() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    let own = ticket(&bench.boot(1).await).to_string();
    assert_eq!(check_in_with(&bench, &own).await, "##@GO");
    for stranger in 60..80 {
        let body = format!("mac0={}", mac(1));
        bench.post(ip(stranger), "ipxe/boot.php", body).await;
        assert_refused(&bench.check_in_from(ip(stranger), 1).await, &another());
    }
    let path = format!("/fog/service/fos/session?mac={}&ticket={own}", mac(1));
    let (_, view) = bench.get(ip(1), &path).await;
    let view: fos_api::SessionView = serde_json::from_str(&view).unwrap();
    assert_eq!(view.refusal, None);
    assert_eq!(check_in_with(&bench, &own).await, "##@GO");
    for index in [0, 1] {
        bench.send_stream(index, &[1]).await;
    }
    let body = format!("mac={}&ticket={own}", mac(1));
    assert_eq!(bench.post(ip(1), "Post_Stage3.php", body).await, "##");
    assert_eq!(bench.ended(id).await.state, State::Complete);
}

/// A stranger's questions must not keep a dead host alive.
#[tokio::test]
async fn a_strangers_request_is_no_sign_of_life() {
    let bench = bench().await;
    let id = bench.deploy(&[1, 2]).await;
    for host in [1, 2] {
        bench.check_in(host).await;
    }
    let heard = |host: usize| {
        let live = bench.ops.sessions().running(id).unwrap().live();
        live.at - live.snapshot.members[host].silent.unwrap()
    };
    let (of_one, of_two) = (heard(0), heard(1));
    let path = format!("/fog/service/fos/session?mac={}", mac(1));
    let (_, text) = bench.get(STRANGER, &path).await;
    let view: fos_api::SessionView = serde_json::from_str(&text).unwrap();
    assert!(view.refusal.is_some(), "{text}");
    bench.view(2).await;
    // What came before has been served when this shows.
    wait_for("the sign of life of the other", async || {
        (heard(1) > of_two).then_some(())
    })
    .await;
    assert_eq!(heard(0), of_one);
}

#[tokio::test]
async fn a_failure_after_a_completion_is_never_ignored() {
    let bench = bench().await;
    let id = bench.deploy(&[1, 2]).await;
    for host in [1, 2] {
        bench.check_in(host).await;
    }
    for index in [0, 1] {
        bench.send_stream(index, &[1, 2]).await;
    }
    let failed = |text: &str| {
        Some(Reason::ClientFailed {
            text: text.into(),
            before: Some(Box::new(Reason::Written)),
        })
    };
    assert_eq!(bench.complete(1).await, "##");
    // While the session still runs.
    assert_eq!(bench.fail(1, "boot%20entry").await, "##");
    assert_eq!(stored(&bench, id).await.state, State::Failed);
    assert_eq!(stored(&bench, id).await.reason, failed("boot entry"));
    assert_eq!(bench.complete(2).await, "##");
    let session = bench.ended(id).await;
    assert_eq!(session.state, State::Failed);
    // After its end.
    assert_eq!(bench.fail(2, "late").await, "##");
    let member = bench.member(id, 2).await;
    assert_eq!(member.state, State::Failed);
    assert_eq!(member.reason, failed("late"));
    let Some(Reason::Summary(summary)) = bench.session(id).await.reason else {
        panic!("a summary");
    };
    assert_eq!((summary.complete, summary.troubles.len()), (0, 2));
    // A completion does not undo it.
    assert_ne!(bench.complete(2).await, "##");
    assert_eq!(bench.member(id, 2).await.state, State::Failed);
}

#[tokio::test]
async fn two_machines_with_one_mac_are_told_apart() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    assert_eq!(bench.check_in(1).await, "##@GO");
    for _ in 0..3 {
        assert_refused(&bench.check_in_from(STRANGER, 1).await, &another());
        assert_eq!(bench.sender.admitted(), [ip(1)]);
    }
    for index in [0, 1] {
        bench.send_stream(index, &[1]).await;
        assert_refused(&bench.check_in_from(STRANGER, 1).await, &another());
    }
    assert_eq!(bench.complete(1).await, "##");
    assert_eq!(bench.ended(id).await.state, State::Complete);
}

#[tokio::test]
async fn a_machine_that_comes_back_with_another_address_is_let_in_when_the_old_one_is_silent() {
    let bench = bench_with(|config| config.timing.rebind_after = Duration::ZERO).await;
    let id = bench.deploy(&[1]).await;
    assert_eq!(bench.check_in(1).await, "##@GO");
    assert_eq!(bench.check_in_from(ip(7), 1).await, "##@GO");
    assert_eq!(stored(&bench, id).await.address, Some(ip(7)));
    assert_refused(
        &bench.complete(1).await,
        &Refusal::AnotherMachine { address: ip(7) },
    );
}

async fn wrong_image(bench: &Bench) -> SessionId {
    let first = bench.deploy(&[1]).await;
    bench.boot(1).await;
    first
}

/// The wrong image is cancelled and the right one deployed, while a client of FOG waits in its check-in
/// loop with the kernel arguments of the wrong one.
#[tokio::test]
async fn a_client_with_the_arguments_of_another_job_is_told_to_restart() {
    for is_restarted in [false, true] {
        let mut bench = bench().await;
        let first = wrong_image(&bench).await;
        if is_restarted {
            bench = bench.restart().await;
        }
        bench.ops.cancel(first, None).await.unwrap();
        bench.ended(first).await;
        let second = bench.deploy_image("other image", &[1], None).await.session;
        let refusal = Refusal::OtherJob {
            told: first,
            now: second,
        };
        for _ in 0..3 {
            let (_, text) = bench
                .send(ip(1), "mc_checkin.php", format!("mac={}", mac(1)))
                .await;
            assert_refused(&text, &refusal);
        }
        // Its address has changed meanwhile.
        let body = format!("mac={}&type=down", mac(1));
        let text = bench.post(ip(7), "mc_checkin.php", body).await;
        assert_refused(&text, &refusal);
        let view = bench.view(1).await;
        let code = view.refusal.map(|refusal| refusal.code);
        assert_eq!(code, Some(RefusalCode::Restart));
        assert_eq!(stored(&bench, second).await.state, State::Queued);
        bench.boot(1).await;
        assert_eq!(bench.check_in_stock(1).await, "##@GO");
    }
}

/// It was booted from a stick: nobody told it anything but its first session.
#[tokio::test]
async fn a_client_that_was_booted_otherwise_keeps_the_job_of_its_first_check_in() {
    for is_restarted in [false, true] {
        let mut bench = bench().await;
        let first = bench.deploy(&[1]).await;
        assert_eq!(bench.check_in_stock(1).await, "##@GO");
        if is_restarted {
            bench = bench.restart().await;
        }
        bench.ops.cancel(first, None).await.unwrap();
        bench.ended(first).await;
        let second = bench.deploy_image("other image", &[1], None).await.session;
        assert_refused(
            &bench.check_in_stock(1).await,
            &Refusal::OtherJob {
                told: first,
                now: second,
            },
        );
        bench.boot(1).await;
        assert_eq!(bench.check_in_stock(1).await, "##@GO");
    }
}

#[tokio::test]
async fn the_same_job_again_needs_no_restart() {
    let bench = bench().await;
    let first = wrong_image(&bench).await;
    bench.ops.cancel(first, None).await.unwrap();
    bench.ended(first).await;
    let second = bench.deploy(&[1]).await;
    assert_ne!(first, second);
    assert_eq!(bench.check_in_stock(1).await, "##@GO");
}

/// It would write the name that it was told.
#[tokio::test]
async fn the_same_job_under_another_name_needs_a_restart() {
    for is_renamed in [false, true] {
        let bench = bench().await;
        let first = bench.deploy(&[1]).await;
        bench.boot(1).await;
        bench.ops.cancel(first, None).await.unwrap();
        bench.ended(first).await;
        if is_renamed {
            bench.ops.remove_host("LAB-01").await.unwrap().unwrap();
            let new = NewHost {
                name: "LAB-09".parse().unwrap(),
                macs: vec![StationMac::try_from(mac(1).parse::<fog::Mac>().unwrap()).unwrap()],
                image: None,
                device: String::new(),
            };
            bench.ops.add_host(new).await.unwrap();
        } else {
            bench
                .sql(
                    "INSERT INTO globalSettings (settingKey, settingValue) \
                     VALUES ('FOG_CHANGE_HOSTNAME_EARLY', '0')",
                )
                .await;
        }
        let second = bench.deploy(&[if is_renamed { 9 } else { 1 }]).await;
        assert_refused(
            &bench.check_in_stock(1).await,
            &Refusal::OtherJob {
                told: first,
                now: second,
            },
        );
        bench.boot(1).await;
        assert_eq!(bench.check_in_stock(1).await, "##@GO");
    }
}

/// Our agents tell their ticket, so for them even the same image is another job.
#[tokio::test]
async fn an_agent_with_an_old_ticket_is_told_to_restart() {
    let bench = bench().await;
    let first = bench.deploy(&[1]).await;
    let old = ticket(&bench.boot(1).await).to_string();
    bench.ops.cancel(first, None).await.unwrap();
    bench.ended(first).await;
    let second = bench.deploy(&[1]).await;
    assert_refused(
        &check_in_with(&bench, &old).await,
        &Refusal::OtherJob {
            told: first,
            now: second,
        },
    );
    let new = ticket(&bench.boot(1).await).to_string();
    assert_eq!(check_in_with(&bench, &new).await, "##@GO");
}

/// A machine that still runs for an old session says why that failed; the new one is not touched.
#[tokio::test]
async fn a_failure_of_an_old_job_is_that_of_its_own_session() {
    let bench = bench().await;
    let first = bench.deploy(&[1]).await;
    bench.boot(1).await;
    bench.check_in_stock(1).await;
    bench.send_stream(0, &[1]).await;
    bench.ordered(&crate::testing::Order::Open(1)).await;
    bench.sender.tell(SenderEvent::Failed("no route".into()));
    bench.ended(first).await;
    let second = bench.deploy_image("other image", &[1], None).await.session;
    assert_eq!(bench.fail(1, "gave%20up").await, "##");
    let reason = stored(&bench, first).await.reason;
    assert!(
        matches!(&reason, Some(Reason::ClientFailed { text, .. }) if text == "gave up"),
        "{reason:?}"
    );
    assert_eq!(stored(&bench, second).await.state, State::Queued);
}

/// A ticket that no machine was given is no machine's: it does not take the host's place.
#[tokio::test]
async fn an_invented_ticket_is_refused() {
    for is_booted in [false, true] {
        let bench = bench().await;
        let id = bench.deploy(&[1]).await;
        let own = match is_booted {
            true => Some(ticket(&bench.boot(1).await).to_string()),
            false => None,
        };
        let invented = "0".repeat(32);
        let answer = check_in_with(&bench, &invented).await;
        assert_ne!(answer, "##@GO");
        let path = format!("/fog/service/fos/session?mac={}&ticket={invented}", mac(1));
        let (_, view) = bench.get(ip(1), &path).await;
        let view: fos_api::SessionView = serde_json::from_str(&view).unwrap();
        let code = view.refusal.map(|refusal| refusal.code);
        assert_eq!(code, Some(RefusalCode::Restart));
        assert_eq!(stored(&bench, id).await.address, None);
        let rows = bench.number("SELECT COUNT(*) FROM fos_handouts").await;
        assert_eq!(rows, i64::from(is_booted));
        let own = match own {
            Some(own) => own,
            None => ticket(&bench.boot(1).await).to_string(),
        };
        assert_eq!(check_in_with(&bench, &own).await, "##@GO");
    }
}

/// Whoever checks in without a ticket is remembered, but proves nothing against the machine that has one.
#[tokio::test]
async fn a_machine_with_a_ticket_takes_its_place_back() {
    for is_restarted in [false, true] {
        let mut bench = bench().await;
        let id = bench.deploy(&[1]).await;
        let own = ticket(&bench.boot(1).await).to_string();
        for _ in 0..2 {
            assert_eq!(bench.check_in_from(STRANGER, 1).await, "##@GO");
        }
        if is_restarted {
            bench = bench.restart().await;
        }
        assert_eq!(check_in_with(&bench, &own).await, "##@GO");
        assert_eq!(stored(&bench, id).await.address, Some(ip(1)));
        assert_refused(&bench.check_in_from(STRANGER, 1).await, &another());
        // Not again.
        let bench = bench.restart().await;
        assert_refused(&bench.check_in_from(STRANGER, 1).await, &another());
        assert_eq!(stored(&bench, id).await.address, Some(ip(1)));
    }
}

async fn stranger_boots(bench: &Bench) -> String {
    let body = format!("mac0={}&arch=x86_64", mac(1));
    bench.post(STRANGER, "ipxe/boot.php", body).await
}

/// It was booted from a stick. Whoever asks for its boot script meanwhile is no restart of it: it goes on asking.
#[tokio::test]
async fn a_machine_that_was_booted_otherwise_keeps_its_place() {
    for is_restarted in [false, true] {
        let mut bench = bench_with(|config| config.timing = Timing::default()).await;
        let id = bench.deploy(&[1]).await;
        assert_eq!(bench.check_in_stock(1).await, "##@GO");
        let own = ticket(&stranger_boots(&bench).await).to_string();
        if is_restarted {
            bench = bench.restart().await;
        }
        for _ in 0..2 {
            let body = format!(
                "mac={}&type=down&agent=fos-agent/0.1.0&ticket={own}",
                mac(1)
            );
            let answer = bench.post(STRANGER, "mc_checkin.php", body).await;
            assert_refused(&answer, &another());
            assert_eq!(bench.check_in_stock(1).await, "##@GO");
        }
        assert_eq!(stored(&bench, id).await.address, Some(ip(1)));
        assert_eq!(bench.sender.admitted(), [ip(1)]);
    }
}

/// The same with a stranger that asked before it too, as if it were its boot loader.
#[tokio::test]
async fn a_machine_that_goes_on_asking_was_not_restarted() {
    for is_restarted in [false, true] {
        let mut bench = bench_with(|config| config.timing = Timing::default()).await;
        let first = bench.deploy(&[1]).await;
        stranger_boots(&bench).await;
        assert_eq!(bench.check_in_stock(1).await, "##@GO");
        bench.ops.cancel(first, None).await.unwrap();
        bench.ended(first).await;
        let second = bench.deploy_image("other image", &[1], None).await.session;
        stranger_boots(&bench).await;
        if is_restarted {
            bench = bench.restart().await;
        }
        let refusal = Refusal::OtherJob {
            told: first,
            now: second,
        };
        for _ in 0..3 {
            assert_refused(&bench.check_in_stock(1).await, &refusal);
            stranger_boots(&bench).await;
        }
        bench.boot(1).await;
        assert_eq!(bench.check_in_stock(1).await, "##@GO");
    }
}

/// Others that ask for its boot script lock no machine out, not for this session and not for later ones; and what
/// it was told before is not hidden by them.
#[tokio::test]
async fn strangers_that_ask_for_boot_scripts_lock_no_machine_out() {
    let mut bench = bench().await;
    let first = bench.deploy(&[1]).await;
    bench.boot(1).await;
    for round in 0..2 {
        for last in 100..=u8::MAX {
            let body = format!("mac0={}", mac(1));
            let (_, script) = bench.send(ip(last), "ipxe/boot.php", body).await;
            assert!(script.contains("fosticket="), "{script}");
        }
        if round == 0 {
            bench = bench.restart().await;
        }
    }
    // Without and with a ticket.
    assert_eq!(bench.check_in_stock(1).await, "##@GO");
    bench.ops.cancel(first, None).await.unwrap();
    bench.ended(first).await;
    let second = bench.deploy_image("other image", &[1], None).await.session;
    for last in 100..=u8::MAX {
        let body = format!("mac0={}", mac(1));
        bench.post(ip(last), "ipxe/boot.php", body).await;
    }
    let refusal = Refusal::OtherJob {
        told: first,
        now: second,
    };
    assert_refused(&bench.check_in_stock(1).await, &refusal);
    let own = ticket(&bench.boot(1).await).to_string();
    assert_eq!(check_in_with(&bench, &own).await, "##@GO");
    let addresses = "SELECT address FROM fos_handouts ORDER BY address";
    assert!(bench.words(addresses).await.len() <= 64 + 2);
}

/// The same card is another host now, and its machine still runs for the image of the old one.
#[tokio::test]
async fn a_machine_of_a_removed_host_keeps_what_it_was_told() {
    for is_restarted in [false, true] {
        let mut bench = bench().await;
        let first = wrong_image(&bench).await;
        bench.ops.cancel(first, None).await.unwrap();
        bench.ended(first).await;
        bench.ops.remove_host("LAB-01").await.unwrap().unwrap();
        if is_restarted {
            bench = bench.restart().await;
        }
        let host = NewHost {
            name: "LAB-77".parse().unwrap(),
            macs: vec![mac(1).parse::<fog::Mac>().unwrap().try_into().unwrap()],
            image: None,
            device: String::new(),
        };
        bench.ops.add_host(host).await.unwrap();
        let wanted = crate::ops::DeployRequest {
            image: "other image".into(),
            hosts: vec!["LAB-77".into()],
            name: None,
            max_wait: None,
            is_shutdown: false,
            is_debug: false,
            is_woken: false,
            expected: 0,
            follow_ups: None,
        };
        let second = bench.ops.deploy(&wanted).await.unwrap().session;
        let refusal = Refusal::OtherJob {
            told: first,
            now: second,
        };
        assert_refused(&bench.check_in_stock(1).await, &refusal);
        bench.boot(1).await;
        assert_eq!(bench.check_in_stock(1).await, "##@GO");
    }
}

async fn check_in_stock_from(bench: &Bench, last: u8) -> String {
    let body = format!("mac={}&type=down", mac(1));
    bench.post(ip(last), "mc_checkin.php", body).await
}

/// Boot loader and Linux have an address each: usual with DHCP client identifiers.
#[tokio::test]
async fn a_client_with_another_address_than_its_boot_loader_is_let_in_after_each_restart() {
    let mut bench = bench().await;
    let mut before = bench.deploy(&[1]).await;
    bench.boot(1).await;
    assert_eq!(check_in_stock_from(&bench, 7).await, "##@GO");
    for (round, image) in ["other image", "lab image", "other image"]
        .into_iter()
        .enumerate()
    {
        bench.ops.cancel(before, None).await.unwrap();
        bench.ended(before).await;
        let now = bench.deploy_image(image, &[1], None).await.session;
        if round == 1 {
            bench = bench.restart().await;
        }
        let refusal = Refusal::OtherJob { told: before, now };
        assert_refused(&check_in_stock_from(&bench, 7).await, &refusal);
        // A stranger's question is no restart of it.
        let body = format!("mac0={}", mac(1));
        bench.post(STRANGER, "ipxe/boot.php", body).await;
        assert_refused(&check_in_stock_from(&bench, 7).await, &refusal);
        bench.boot(1).await;
        assert_eq!(check_in_stock_from(&bench, 7).await, "##@GO");
        before = now;
    }
    // Whether it was restarted before the server was is not known; another restart helps.
    bench.ops.cancel(before, None).await.unwrap();
    bench.ended(before).await;
    let now = bench.deploy(&[1]).await;
    stranger_boots(&bench).await;
    bench.boot(1).await;
    let bench = bench.restart().await;
    let refusal = Refusal::OtherJob { told: before, now };
    assert_refused(&check_in_stock_from(&bench, 7).await, &refusal);
    bench.boot(1).await;
    assert_eq!(check_in_stock_from(&bench, 7).await, "##@GO");
}

/// What a machine was told stands in a row that makes no sense now.
#[tokio::test]
async fn a_machine_of_which_a_row_makes_no_sense_is_told_to_restart() {
    let bench = bench().await;
    let first = bench.deploy(&[1, 2]).await;
    for host in [1, 2] {
        bench.boot(host).await;
        bench.check_in_stock(host).await;
    }
    bench.ops.cancel(first, None).await.unwrap();
    bench.ended(first).await;
    bench
        .sql("UPDATE fos_handouts SET port = 'odd' WHERE address = '10.0.0.1'")
        .await;
    let bench = bench.restart().await;
    let second = bench.deploy(&[1, 2]).await;
    for _ in 0..2 {
        let text = bench.check_in_stock(1).await;
        for part in ["Restart this machine", "fos_handouts", "port", "odd"] {
            assert!(text.contains(part), "{text}");
        }
    }
    let code = bench.view(1).await.refusal.map(|refusal| refusal.code);
    assert_eq!(code, Some(RefusalCode::Restart));
    let is_named = |note: &Note| matches!(note, Note::Refused { why, .. } if matches!(**why, Refusal::UnknownJob(_)));
    wait_for("the note", async || {
        let notes = notes(&bench, second).await;
        (notes.iter().filter(|note| is_named(note)).count() == 1).then_some(())
    })
    .await;
    // Others are not concerned, and it is let in when it was restarted.
    assert_eq!(bench.check_in_stock(2).await, "##@GO");
    bench.boot(1).await;
    assert_eq!(bench.check_in_stock(1).await, "##@GO");
}

/// A person says that a machine is switched off, where nothing else helps.
#[tokio::test]
async fn what_a_machine_was_told_is_forgotten_if_a_person_says_so() {
    let bench = bench().await;
    let first = bench.deploy(&[1]).await;
    // Booted by other means.
    assert_eq!(check_in_stock_from(&bench, 7).await, "##@GO");
    bench.ops.cancel(first, None).await.unwrap();
    bench.ended(first).await;
    let second = bench.deploy_image("other image", &[1], None).await.session;
    bench.boot(1).await;
    let refusal = Refusal::OtherJob {
        told: first,
        now: second,
    };
    assert_refused(&check_in_stock_from(&bench, 7).await, &refusal);
    bench.ops.forget_boots("LAB-01").await.unwrap().unwrap();
    assert_eq!(bench.number("SELECT COUNT(*) FROM fos_handouts").await, 0);
    bench.boot(1).await;
    assert_eq!(check_in_stock_from(&bench, 7).await, "##@GO");
    // The one that takes part is not forgotten.
    bench.ops.forget_boots("LAB-01").await.unwrap().unwrap();
    assert_eq!(bench.number("SELECT COUNT(*) FROM fos_handouts").await, 1);
    assert!(bench.ops.forget_boots("LAB-99").await.unwrap().is_none());
}

/// Its boot loader had another address than the machine has now, and no driver runs that knows it.
#[tokio::test]
async fn the_machine_that_takes_part_is_not_forgotten_with_its_boot_loader() {
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    let body = format!("mac0={}&arch=x86_64", mac(1));
    let own = ticket(&bench.post(ip(7), "ipxe/boot.php", body).await).to_string();
    assert_eq!(check_in_with(&bench, &own).await, "##@GO");
    let bench = bench.restart_without_supervisor().await;
    assert!(bench.ops.sessions().running(id).is_none());
    bench.ops.forget_boots("LAB-01").await.unwrap().unwrap();
    assert_eq!(check_in_with(&bench, &own).await, "##@GO");
}

/// Its session is the one that its ticket names, whatever the host was in since.
#[tokio::test]
async fn a_report_counts_for_the_session_of_its_machine() {
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Later {
        Over,
        Active,
        BootedFor,
    }
    for later in [Later::Over, Later::Active, Later::BootedFor] {
        let bench = bench().await;
        let first = bench.deploy(&[1]).await;
        let own = ticket(&bench.boot(1).await).to_string();
        assert_eq!(check_in_with(&bench, &own).await, "##@GO");
        for index in [0, 1] {
            bench.send_stream(index, &[1]).await;
        }
        let report = format!("mac={}&ticket={own}", mac(1));
        let complete = async || bench.post(ip(1), "Post_Stage3.php", report.as_str()).await;
        assert_eq!(complete().await, "##");
        bench.ended(first).await;
        let second = bench.deploy(&[1]).await;
        if later == Later::Over {
            bench.ops.cancel(second, None).await.unwrap();
            bench.ended(second).await;
        }
        if later == Later::BootedFor {
            bench.boot(1).await;
        }
        let before = stored(&bench, second).await;
        assert_eq!(complete().await, "##", "{later:?}");
        let failure = format!("{report}&type=error&text=boot%20entry");
        let said = bench
            .post(STRANGER, "taskerror.php", failure.as_str())
            .await;
        assert_ne!(said, "##", "{later:?}");
        assert_eq!(stored(&bench, first).await.state, State::Complete);
        let said = bench.post(ip(1), "taskerror.php", failure.as_str()).await;
        assert_eq!(said, "##", "{later:?}");
        let member = stored(&bench, first).await;
        assert_eq!(member.state, State::Failed, "{later:?}");
        assert!(
            matches!(&member.reason, Some(Reason::ClientFailed { text, .. }) if text == "boot entry"),
            "{member:?}"
        );
        assert_eq!(stored(&bench, second).await, before, "{later:?}");
        assert_ne!(complete().await, "##", "{later:?}");
    }
}

/// The same for one of FOG's, which has no ticket.
#[tokio::test]
async fn a_report_of_a_stock_client_counts_though_a_later_session_is_over() {
    let bench = bench().await;
    let first = bench.deploy(&[1]).await;
    bench.boot(1).await;
    assert_eq!(bench.check_in_stock(1).await, "##@GO");
    for index in [0, 1] {
        bench.send_stream(index, &[1]).await;
    }
    assert_eq!(bench.complete(1).await, "##");
    bench.ended(first).await;
    let second = bench.deploy(&[1]).await;
    bench.ops.cancel(second, None).await.unwrap();
    bench.ended(second).await;
    assert_eq!(bench.complete(1).await, "##");
    assert_eq!(bench.fail(1, "boot%20entry").await, "##");
    assert_eq!(stored(&bench, first).await.state, State::Failed);
}

/// The driver of its session decides, also if that does not run yet.
#[tokio::test]
async fn a_failure_of_an_active_session_is_told_to_its_driver() {
    let bench = bench().await;
    let first = bench.deploy(&[1, 2]).await;
    bench.boot(1).await;
    for host in [1, 2] {
        bench.check_in_stock(host).await;
    }
    bench.ops.cancel(first, Some("LAB-01")).await.unwrap();
    bench.deploy_image("other image", &[1], None).await;
    let bench = bench.restart_without_supervisor().await;
    // The session that it was booted for is not asked for otherwise.
    assert_eq!(bench.fail(1, "gave%20up").await, "##");
    assert!(bench.ops.sessions().running(first).is_some());
}

/// All that a client was told has to be right still, not only the image and the port.
#[tokio::test]
async fn the_same_image_in_another_form_needs_a_restart() {
    for is_updated in [false, true] {
        let bench = bench().await;
        let first = wrong_image(&bench).await;
        bench.check_in_stock(1).await;
        let before = bench.session(first).await;
        bench.ops.cancel(first, None).await.unwrap();
        bench.ended(first).await;
        if is_updated {
            let mut facts = bench.store.facts(before.image).await.unwrap().unwrap();
            facts.settings.as_mut().unwrap().format = 0;
            bench
                .store
                .update_image(before.image, 0, facts)
                .await
                .unwrap();
        }
        let wanted = crate::ops::DeployRequest {
            image: "lab image".into(),
            hosts: vec!["LAB-01".into()],
            name: None,
            max_wait: None,
            is_shutdown: !is_updated,
            is_debug: false,
            is_woken: false,
            expected: 0,
            follow_ups: None,
        };
        let second = bench.ops.deploy(&wanted).await.unwrap().session;
        assert_eq!(bench.session(second).await.port, before.port);
        let refusal = Refusal::OtherJob {
            told: first,
            now: second,
        };
        assert_refused(&bench.check_in_stock(1).await, &refusal);
        bench.boot(1).await;
        assert_eq!(bench.check_in_stock(1).await, "##@GO");
    }
}

/// The disk to restore to is another one since the machine booted: it would write the wrong one.
#[tokio::test]
async fn a_target_disk_that_was_changed_needs_a_restart() {
    for column in [
        "hostDevice = '/dev/sdb'",
        "hostKernelArgs = 'fdrive=/dev/sdb'",
    ] {
        for is_agent in [false, true] {
            let bench = bench().await;
            let id = bench.deploy(&[1]).await;
            let own = ticket(&bench.boot(1).await).to_string();
            let check_in = async |own: &str| match is_agent {
                true => check_in_with(&bench, own).await,
                false => bench.check_in_stock(1).await,
            };
            let change = |to: &str| format!("UPDATE hosts SET {to} WHERE hostName = 'LAB-01'");
            // This changes nothing that matters.
            bench.sql(&change("hostKernelArgs = 'quiet'")).await;
            bench.add_host(8).await;
            assert_eq!(ticket(&bench.boot(1).await).to_string(), own);

            bench.sql(&change(column)).await;
            // The hosts are read anew.
            bench.add_host(9).await;
            let refusal = Refusal::OtherJob { told: id, now: id };
            assert_refused(&check_in(&own).await, &refusal);
            if is_agent {
                // Its check-in alone would not tell it that a restart helps.
                let path = format!("/fog/service/fos/session?mac={}&ticket={own}", mac(1));
                let (_, text) = bench.get(ip(1), &path).await;
                let view: fos_api::SessionView = serde_json::from_str(&text).unwrap();
                let code = view.refusal.map(|refusal| refusal.code);
                assert_eq!(code, Some(RefusalCode::Restart));
            }
            let script = bench.boot(1).await;
            assert!(script.contains("fdrive=/dev/sdb"), "{script}");
            let new = ticket(&script).to_string();
            assert_ne!(new, own);
            assert_eq!(check_in(&new).await, "##@GO");

            // One that was let in goes on.
            bench.sql(&change("hostDevice = '/dev/sdc'")).await;
            bench.add_host(10).await;
            if is_agent {
                let path = format!("/fog/service/fos/session?mac={}&ticket={new}", mac(1));
                let (_, text) = bench.get(ip(1), &path).await;
                let view: fos_api::SessionView = serde_json::from_str(&text).unwrap();
                assert_eq!(view.refusal, None);
            }
        }
    }
}
