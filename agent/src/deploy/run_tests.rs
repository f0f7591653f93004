//! Whole deploys in one process: a web server in a thread, a sender on loopback, a file as disk.

use std::io::Cursor;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::JoinHandle;

use cast_net::{Interface, SendControl, SendOptions, send};
use fog::native::{FILE_PATH, MANIFEST_PATH, SESSION_PATH, SessionView, Stage};
use fog::record;
use fog::store::StreamName;
use fog::task;

use super::samples::{self, DISK_LEN};
use super::*;
use crate::control::test_server::{Reply, Request, TestServer};

const CAPS: &str = "mcstreamid fosnative1";

/// A port base whose two ports are free on loopback.
fn port_base() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = NEXT.fetch_add(2, Ordering::Relaxed);
    let start = 40_000 + u16::try_from(std::process::id() % 400).unwrap() * 50;
    let is_free = |port: &u16| {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()
            && UdpSocket::bind((Ipv4Addr::LOCALHOST, *port + 1)).is_ok()
    };
    (start + offset..start + 5000)
        .step_by(50)
        .find(is_free)
        .unwrap()
}

fn job(web: &str, port: u16, target: &Path) -> Job {
    let line = format!(
        "web={web} mac=00:1b:21:aa:bb:cc storageip=127.0.0.1 img=lab imgType=mps \
         imgPartitionType=all port={port} type=down mc=yes"
    );
    Job {
        args: KernelArgs::parse(&line),
        target: TargetChoice::Path(target.to_owned()),
        interface: None,
        cards: Vec::new(),
        patience: Patience {
            pause: Duration::from_millis(1),
            silence: Duration::ZERO,
            ..Patience::default()
        },
    }
}

fn session(state: task::State, text: &str) -> SessionView {
    SessionView {
        session: 1,
        state,
        stage: Stage::Gathering,
        expected: 1,
        checked_in: 1,
        connected: 1,
        missing: Vec::new(),
        stream: None,
        records: Some(true),
        stage_seconds: 0,
        starts_in_seconds: None,
        your_task: state,
        text: text.into(),
        your_stream: None,
        refusal: None,
    }
}

/// Answers as our server does for the sample image.
fn answer(request: &Request, view: &SessionView) -> Reply {
    let path = request.path.trim_start_matches("/fog/");
    match path {
        "service/getversion.php" => Reply::text(CAPS),
        "service/mc_checkin.php" => Reply::text("##@GO"),
        "service/Post_Stage3.php" | "service/taskerror.php" => Reply::text("##"),
        MANIFEST_PATH => Reply::text(&serde_json::to_string(&samples::manifest()).unwrap()),
        SESSION_PATH => Reply::text(&serde_json::to_string(view).unwrap()),
        FILE_PATH => {
            let name = request.field("name").unwrap();
            Reply::bytes(&samples::small_files()[&name])
        }
        _ => Reply::text("done"),
    }
}

/// Sends these streams one after the other, each with its record, to one receiver.
fn sender(port: u16, streams: Vec<(u32, Vec<u8>)>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for (number, stored) in streams {
            let name = StreamName::of_file(&format!("d1p{number}.img"));
            let bytes = [&record::emit(&name).unwrap()[..], &stored].concat();
            let lo = Interface::towards(Ipv4Addr::LOCALHOST).unwrap();
            let mut options = SendOptions::new(lo);
            options.port_base = port;
            options.rendezvous = Some(Ipv4Addr::LOCALHOST);
            options.ttl = 32;
            options.transfer.start.min_receivers = 1;
            options.transfer.start.start_timeout = Some(Duration::from_secs(60));
            let control = SendControl::new().unwrap();
            // The receiver may leave early; that is what some tests are about.
            if send(&options, Cursor::new(bytes), &control, &mut |_| {}).is_err() {
                return;
            }
        }
    })
}

fn disk() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![0; usize::try_from(DISK_LEN).unwrap()]).unwrap();
    file
}

fn paths(server: &TestServer) -> Vec<String> {
    let requests = server.requests();
    requests
        .iter()
        .map(|request| request.path.trim_start_matches("/fog/service/").to_owned())
        .collect()
}

#[tokio::test]
async fn a_deploy_goes_from_the_check_in_to_the_report() {
    let server =
        TestServer::start(|request| answer(request, &session(task::State::InProgress, "")));
    let disk = disk();
    let port = port_base();
    let sending = sender(port, vec![(1, samples::stored(1)), (2, samples::stored(2))]);
    let board = Board::default();
    let job = job(server.web(), port, disk.path());
    let told = run(job, &server.client(), &board).await.unwrap();
    assert_eq!(told, Told::Yes);
    sending.join().unwrap();

    let written = std::fs::read(disk.path()).unwrap();
    for (number, ..) in samples::PARTITIONS {
        assert!(written[samples::region(number)] == samples::restored(number));
    }
    assert_eq!(written[446..512], samples::mbr()[446..512]);

    let paths = paths(&server);
    let at = |name: &str| paths.iter().position(|path| path == name).unwrap();
    assert!(at("getversion.php") < at("mc_checkin.php"));
    assert!(at("mc_checkin.php") < at("fos/manifest"));
    assert!(at("fos/file") < at("progress.php"));
    assert!(paths.contains(&"inventory.php".to_owned()));
    assert_eq!(paths.last().unwrap(), "Post_Stage3.php");
    assert!(!paths.contains(&"taskerror.php".to_owned()));
}

#[tokio::test]
async fn a_server_that_does_not_take_the_report_makes_no_failure_of_a_good_disk() {
    let server = TestServer::start(|request| {
        if request.path.ends_with("Post_Stage3.php") {
            return Reply::status(500, "down");
        }
        answer(request, &session(task::State::InProgress, ""))
    });
    let disk = disk();
    let port = port_base();
    let sending = sender(port, vec![(1, samples::stored(1)), (2, samples::stored(2))]);
    let job = job(server.web(), port, disk.path());
    let told = run(job, &server.client(), &Board::default()).await.unwrap();
    sending.join().unwrap();
    let Told::No(text) = told else {
        panic!("{told:?}")
    };
    assert!(text.contains("written and verified"), "{text}");
    let written = std::fs::read(disk.path()).unwrap();
    assert_eq!(written[446..512], samples::mbr()[446..512]);
    let requests = server.requests();
    assert!(
        requests
            .iter()
            .all(|request| request.field("type").as_deref() != Some("error"))
    );
}

/// Runs a deploy that must fail before anything is written; answers the failure and all calls.
async fn refused(answer: impl Fn(&Request) -> Reply + Send + 'static) -> (Failure, Vec<String>) {
    let server = TestServer::start(answer);
    let disk = disk();
    let job = job(server.web(), port_base(), disk.path());
    let failure = run(job, &server.client(), &Board::default())
        .await
        .unwrap_err();
    assert!(
        std::fs::read(disk.path())
            .unwrap()
            .iter()
            .all(|byte| *byte == 0)
    );
    (failure, paths(&server))
}

#[tokio::test]
async fn a_stock_server_is_refused_before_the_check_in() {
    let (failure, paths) = refused(|_| Reply::text("mclvm mcstreamid")).await;
    assert!(failure.text.contains("NFS"), "{}", failure.text);
    assert_eq!(paths, ["getversion.php"]);
}

#[tokio::test]
async fn a_session_that_is_over_ends_the_wait_for_the_go() {
    let (failure, _) = refused(|request| {
        if request.path.ends_with("mc_checkin.php") {
            return Reply::text("No active task");
        }
        answer(
            request,
            &session(task::State::Cancelled, "cancelled by admin"),
        )
    })
    .await;
    assert!(failure.is_known_to_server);
    assert!(
        failure.text.contains("cancelled by admin"),
        "{}",
        failure.text
    );
}

#[tokio::test]
async fn a_session_cancelled_while_waiting_for_the_sender_ends_the_deploy() {
    let (failure, _) = refused(|request| {
        answer(
            request,
            &session(task::State::Cancelled, "cancelled by admin"),
        )
    })
    .await;
    assert!(failure.is_known_to_server);
    assert!(
        failure.text.contains("cancelled by admin"),
        "{}",
        failure.text
    );
}

#[tokio::test]
async fn a_missing_file_is_named() {
    let (failure, _) = refused(|request| {
        if request.path.ends_with("fos/file") {
            return Reply::status(404, "image lab has no small file");
        }
        answer(request, &session(task::State::InProgress, ""))
    })
    .await;
    assert_eq!(failure.part, "prepare");
    assert!(failure.text.contains("small files"), "{}", failure.text);
    assert!(failure.text.contains("404"), "{}", failure.text);
}

#[tokio::test]
async fn a_damaged_image_fails_and_leaves_no_table() {
    let server =
        TestServer::start(|request| answer(request, &session(task::State::InProgress, "")));
    let disk = disk();
    let port = port_base();
    let mut damaged = samples::stored(2);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let sending = sender(port, vec![(1, samples::stored(1)), (2, damaged)]);
    let job = job(server.web(), port, disk.path());
    let failure = run(job, &server.client(), &Board::default())
        .await
        .unwrap_err();
    sending.join().unwrap();
    assert!(failure.text.contains("d1p2.img"), "{}", failure.text);
    // Told before the transfer was left.
    assert!(failure.is_known_to_server);
    let requests = server.requests();
    let told = requests
        .iter()
        .find(|request| request.path.ends_with("taskerror.php"));
    assert_eq!(told.unwrap().field("text").unwrap(), failure.text);
    let written = std::fs::read(disk.path()).unwrap();
    assert!(written[..512].iter().all(|byte| *byte == 0));
    assert!(!paths(&server).contains(&"Post_Stage3.php".to_owned()));
}
