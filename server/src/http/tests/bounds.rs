//! What clients can make grow, and what they can make people read.

use crate::testing::{Bench, DEADLINE, bench, bench_with, ip, mac};

/// Requests of somebody who does not stop.
const MANY: u32 = 10_000;

/// What the logs and the database may grow by such requests, in bytes and rows.
const MAX_LOGS: u64 = 200_000;
const MAX_ROWS: i64 = 300;

async fn assert_small(bench: &Bench) {
    let log = bench.ops.log().clone();
    let is_written = tokio::task::spawn_blocking(move || log.close(DEADLINE));
    assert!(is_written.await.unwrap());
    let files = std::fs::read_dir(bench.config.log_dir()).unwrap();
    let size: u64 = files
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!(size < MAX_LOGS, "{size} bytes of logs");
    for table in ["fos_events", "taskLog", "fos_handouts", "fos_strangers"] {
        let rows = bench.number(&format!("SELECT COUNT(*) FROM {table}")).await;
        assert!(rows < MAX_ROWS, "{rows} rows in {table}");
    }
}

#[tokio::test]
async fn a_known_address_from_two_places_in_turn_does_not_fill_the_logs() {
    // So that both are let in, in turn.
    let bench = bench_with(|config| config.timing.rebind_after = std::time::Duration::ZERO).await;
    bench.deploy(&[1]).await;
    for round in 0..MANY / 4 {
        let from = if round % 2 == 0 { ip(1) } else { ip(7) };
        bench.check_in_from(from, 1).await;
    }
    assert_small(&bench).await;
}

#[tokio::test]
async fn refused_check_ins_and_foreign_reports_do_not_fill_the_logs() {
    let bench = bench().await;
    bench.deploy(&[1]).await;
    bench.check_in(1).await;
    for round in 0..MANY {
        match round % 4 {
            0 => drop(bench.check_in_from(ip(7), 1).await),
            1 => drop(bench.fail_from(ip(7), 1, "x").await),
            2 => drop(bench.complete_from(ip(7), 1).await),
            _ => drop(bench.check_in(1).await),
        }
    }
    assert_small(&bench).await;
}

#[tokio::test]
async fn a_client_with_ever_new_names_does_not_fill_the_logs() {
    let bench = bench().await;
    bench.deploy(&[1]).await;
    for round in 0..MANY / 4 {
        let body = format!("mac={}&type=down&agent=fos-agent/{round}", mac(1));
        assert_eq!(bench.post(ip(1), "mc_checkin.php", body).await, "##@GO");
    }
    assert_small(&bench).await;
}

#[tokio::test]
async fn strangers_and_missing_boot_files_do_not_fill_the_logs() {
    let bench = bench().await;
    std::fs::remove_file(bench.config.boot.join("init.xz")).unwrap();
    bench.deploy(&[2]).await;
    for round in 0..MANY {
        match round % 5 {
            0 => drop(bench.fail_from(ip(9), 9, "x").await),
            1 => drop(bench.get(ip(9), "/fog/service/ipxe/init.xz").await),
            2 => drop(bench.boot(9).await),
            3 => drop(bench.boot(2).await),
            // Known, but in no session.
            _ => drop(bench.fail_from(ip(7), 1, "x").await),
        }
    }
    assert_small(&bench).await;
    let waiting = bench.ops.waiting().await.unwrap();
    assert_eq!(waiting.len(), 1);
}

#[tokio::test]
async fn boot_scripts_for_ever_new_addresses_are_few_rows() {
    let bench = bench().await;
    bench.deploy(&[1]).await;
    for round in 0..250 {
        let body = format!("mac0={}", mac(1));
        bench.post(ip(round), "ipxe/boot.php", body).await;
    }
    let rows = bench.number("SELECT COUNT(*) FROM fos_handouts").await;
    // And one that stands for all whose addresses are forgotten.
    assert!(rows <= 64 + 1, "{rows}");
    assert_small(&bench).await;
}

#[tokio::test]
async fn waiting_completions_of_clients_that_hang_up_are_not_kept() {
    use std::future::Future as _;
    use std::task::{Context, Waker};
    let bench = bench().await;
    let id = bench.deploy(&[1]).await;
    bench.check_in(1).await;
    bench.send_stream(0, &[1]).await;
    bench.start_stream(1, &[1]).await;
    bench
        .until(id, |live| {
            live.snapshot.phase == crate::domain::session::core::Phase::Sending { stream: 1 }
        })
        .await;
    for _ in 0..2000 {
        let mut answer = std::pin::pin!(bench.complete(1));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..4 {
            assert!(answer.as_mut().poll(&mut context).is_pending());
            tokio::task::yield_now().await;
        }
    }
    assert_small(&bench).await;
    bench.end_stream(&[1]);
    assert_eq!(bench.complete(1).await, "##");
}

/// Characters that move the cursor, turn a text round, or cannot be seen.
const HOSTILE: [char; 9] = [
    '\u{1b}', '\u{7}', '\r', '\u{202e}', '\u{2066}', '\u{2028}', '\u{200b}', '\u{feff}', '\u{9b}',
];

fn assert_harmless(what: &str, text: &str) {
    for c in HOSTILE {
        assert!(!text.contains(c), "{what}: {c:?} in {text}");
    }
}

#[tokio::test]
async fn what_clients_say_cannot_change_what_people_see() {
    let bench = bench().await;
    let id = bench.deploy(&[1, 2]).await;
    let hostile: String = HOSTILE.iter().collect();
    let odd: String = hostile.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let mut answers = Vec::new();
    let said = format!("&agent=a{odd}b&type=c{odd}d");
    let body = format!("mac={}{said}", mac(1));
    answers.push(bench.post(ip(1), "mc_checkin.php", body).await);
    let body = format!("mac={}&agent=a{odd}b&type=down", mac(1));
    assert_eq!(bench.post(ip(1), "mc_checkin.php", body).await, "##@GO");
    let body = format!(
        "mac={}&phase=p{odd}q&stream=s{odd}t&detail=u{odd}v&status={odd}",
        mac(1)
    );
    bench.post(ip(1), "progress.php", body).await;
    let report = format!("x{odd}y&script=z{odd}z");
    for kind in ["warning", "error"] {
        let body = format!("mac={}&type={kind}&text={report}", mac(1));
        assert_eq!(bench.post(ip(1), "taskerror.php", body).await, "##");
    }
    answers.push(bench.fail_from(ip(7), 2, &report).await);
    answers.push(bench.get(ip(1), &format!("/fog/{odd}")).await.1);
    let file = format!("/fog/service/fos/file?mac={}&name=n{odd}m", mac(2));
    answers.push(bench.get(ip(2), &file).await.1);
    answers.push(bench.boot(1).await);
    for (number, answer) in answers.iter().enumerate() {
        assert_harmless(&format!("answer {number}"), answer);
    }
    let status = bench.status(Some(id)).await;
    assert_harmless("status", &format!("{status:?}").replace("\\u{", "\u{1b}"));
    let events = crate::api::EventsQuery {
        after: 0,
        limit: 1000,
        wait_seconds: 0,
    };
    let events = crate::api::Api::events(&*bench.ops, id.0, events)
        .await
        .unwrap();
    assert!(events.len() >= 4);
    for event in events {
        assert_harmless("event", &event.text);
    }
    let view = bench.view(1).await;
    assert_harmless("view", &view.text);
    let log = bench.ops.log().clone();
    let written = tokio::task::spawn_blocking(move || log.close(DEADLINE)).await;
    assert!(written.unwrap());
    for file in std::fs::read_dir(bench.config.log_dir()).unwrap() {
        let log = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert_harmless("log", &log.replace("\r\n", "\n"));
    }
}
