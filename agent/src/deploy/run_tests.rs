//! Whole deploys in one process: a web server in a thread, a sender on loopback, a file as disk.

use std::io::{self, Cursor, Read};
use std::path::Path;
use std::sync::mpsc as thread_mpsc;
use std::thread::JoinHandle;

use cast_net::udpcast::sender::{Outcome, SenderEvent};
use cast_net::{SendControl, SendError, SendEvent, SendReport, SentStream};
use fog::task;
use fos_api::{FILE_PATH, MANIFEST_PATH, SESSION_PATH, SessionView, Stage};

use super::test_room::{
    assert_image_is_on, disk, open_sender, open_sender_for, paths, port_base, sender, with_record,
};
use super::*;
use crate::control::test_server::{Reply, Request, TestServer};

const CAPS: &str = "mcstreamid fosnative1";

fn job(web: &str, port: u16, target: &Path) -> Job {
    let line = format!(
        "web={web} mac=00:1b:21:aa:bb:cc storageip=127.0.0.1 img=lab imgType=mps \
         imgPartitionType=all port={port} type=down mc=yes"
    );
    Job {
        args: KernelArgs::parse(&line),
        target: TargetChoice::Paths(vec![target.to_owned()]),
        interface: None,
        share: None,
        runs_scripts: false,
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
        your_stream: None,
        records: Some(true),
        stage_seconds: 0,
        starts_in_seconds: None,
        ask_again_seconds: None,
        site: None,
        your_task: state,
        text: text.into(),
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

/// Both streams of the sample image, with their records.
fn both(second: &[u8]) -> Vec<Vec<u8>> {
    vec![with_record(1, &samples::stored(1)), with_record(2, second)]
}

#[tokio::test]
async fn a_deploy_goes_from_the_check_in_to_the_report() {
    let server =
        TestServer::start(|request| answer(request, &session(task::State::InProgress, "")));
    let disk = disk();
    let port = port_base();
    let sending = sender(port, both(&samples::stored(2)));
    let board = Board::default();
    let job = job(server.web(), port, disk.path());
    let told = run(job, &server.client(), &board).await.unwrap();
    assert_eq!(told, Told::Yes);
    sending.join().unwrap();

    assert_image_is_on(disk.path());

    let paths = paths(&server);
    let at = |name: &str| paths.iter().position(|path| path == name).unwrap();
    assert!(at("getversion.php") < at("mc_checkin.php"));
    assert!(at("mc_checkin.php") < at("fos/manifest"));
    assert!(at("fos/file") < at("progress.php"));
    assert!(paths.contains(&"inventory.php".to_owned()));
    // What is seen at the end is the end.
    let transfer = board.read(|state| state.transfer.clone()).unwrap();
    assert!(transfer.is_done && transfer.remaining.is_none());
    assert_eq!((transfer.stream, transfer.streams), (2, 2));
    assert_eq!(transfer.copied, transfer.total);
    // The session is watched to the end.
    let last = paths.iter().rfind(|path| *path != "fos/session");
    assert_eq!(last.unwrap(), "Post_Stage3.php");
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
    let sending = sender(port, both(&samples::stored(2)));
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
async fn a_page_in_place_of_the_features_is_refused_before_the_check_in() {
    let (failure, paths) = refused(|_| Reply::text("<!DOCTYPE html><html>")).await;
    assert!(
        failure.text.contains("address of a FOG server"),
        "{}",
        failure.text
    );
    assert_eq!(paths, ["getversion.php"]);
}

/// Alone: nothing is sent, all is read, and a connection that breaks is no end.
#[tokio::test]
async fn a_machine_alone_reads_from_our_own_server() {
    let breaks = std::sync::atomic::AtomicBool::new(true);
    let server = TestServer::start(move |request| match request.path.as_str() {
        "/fog/service/Pre_Stage1.php" => Reply::text("##@GO"),
        "/fog/service/fos/data" => {
            assert_eq!(request.field("part").as_deref(), Some("0"));
            let stream = request.field("stream").unwrap();
            let number = if stream == "d1p1.img" { 1 } else { 2 };
            let range = request.range.clone().unwrap();
            let from: usize = range["bytes=".len()..range.len() - 1].parse().unwrap();
            let stored = samples::stored(number);
            let is_cut = from == 0 && breaks.swap(false, std::sync::atomic::Ordering::SeqCst);
            match is_cut {
                true => Reply::partial(&stored[..stored.len() / 2]).cut(),
                false => Reply::partial(&stored[from..]),
            }
        }
        _ => answer(request, &session(task::State::InProgress, "")),
    });
    let disk = disk();
    let mut job = job(server.web(), port_base(), disk.path());
    job.args = KernelArgs::parse(&format!(
        "web={} mac=00:1b:21:aa:bb:cc storageip=127.0.0.1 img=lab imgType=mps type=down",
        server.web()
    ));
    let told = run(job, &server.client(), &Board::default()).await.unwrap();
    assert_eq!(told, Told::Yes);
    assert_image_is_on(disk.path());
    let paths = paths(&server);
    assert_eq!(paths.iter().filter(|path| *path == "fos/data").count(), 3);
    assert!(!paths.contains(&"mc_checkin.php".to_owned()));
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
    let sending = sender(port, both(&damaged));
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

/// A server that is killed and started again by a test.
#[derive(Clone)]
struct Script(Arc<Mutex<ScriptState>>);

struct ScriptState {
    view: SessionView,
    is_up: bool,
    /// Whether streams carry records, and the server says so.
    has_records: bool,
    /// The answer to the completion report.
    completion: &'static str,
    /// Sessions that were asked for since the last change.
    asked: u32,
}

impl Script {
    fn start(has_records: bool) -> (Self, TestServer) {
        let view = resume::tests::view(Stage::Gathering, 1, 0, Some(1));
        let script = Self(Arc::new(Mutex::new(ScriptState {
            view,
            is_up: true,
            has_records,
            completion: "##",
            asked: 0,
        })));
        let served = script.clone();
        let server = TestServer::start(move |request| {
            let mut state = served.0.lock().unwrap();
            if request.path.ends_with("fos/session") {
                state.asked += 1;
            }
            if !state.is_up {
                return Reply::none();
            }
            match request.path.as_str() {
                "/fog/service/getversion.php" if !state.has_records => Reply::text("fosnative1"),
                "/fog/service/Post_Stage3.php" => Reply::text(state.completion),
                _ => answer(request, &state.view),
            }
        });
        (script, server)
    }

    fn set(&self, change: impl FnOnce(&mut ScriptState)) {
        let mut state = self.0.lock().unwrap();
        change(&mut state);
        state.asked = 0;
    }

    fn say(&self, stage: Stage, number: u32, run: u32, your_stream: Option<u32>) {
        self.set(|state| state.view = resume::tests::view(stage, number, run, your_stream));
    }

    /// Waits until the session was asked for so often since the last change.
    async fn asked(&self, times: u32) {
        while self.0.lock().unwrap().asked < times {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends these streams, each as this attempt, and says in the session what goes on; answers how
    /// each ended.
    fn send(&self, port: u16, streams: Vec<(u32, u32)>) -> JoinHandle<Vec<SendReport>> {
        let script = self.clone();
        std::thread::spawn(move || {
            let has_records = script.0.lock().unwrap().has_records;
            let mut reports = Vec::new();
            for (number, run) in streams {
                script.say(Stage::Gathering, number, run, Some(number));
                let stored = Cursor::new(stream(number, has_records));
                let control = SendControl::new().unwrap();
                reports.push(
                    script
                        .transmit(port, (number, run), stored, &control)
                        .unwrap(),
                );
            }
            script.say(Stage::Finishing, 2, 0, None);
            reports
        })
    }

    fn transmit(
        &self,
        port: u16,
        (number, run): (u32, u32),
        input: impl Read + Send + 'static,
        control: &SendControl,
    ) -> Result<SendReport, SendError> {
        let mut sent = open_sender(port, input, control.clone())?;
        while let Some(event) = sent.next_event() {
            if matches!(event, SendEvent::Protocol(SenderEvent::Started { .. })) {
                self.say(Stage::Sending, number, run, Some(number));
            }
        }
        sent.finish()
    }
}

fn stream(number: u32, has_record: bool) -> Vec<u8> {
    let stored = samples::stored(number);
    match has_record {
        true => with_record(number, &stored),
        false => stored,
    }
}

/// Everything went well, as far as the receiver said.
#[track_caller]
fn assert_completed(reports: &[SendReport]) {
    for report in reports {
        let outcomes: Vec<Outcome> = report.participants.iter().map(|p| p.outcome).collect();
        assert_eq!(outcomes, [Outcome::Completed]);
    }
}

#[track_caller]
fn assert_deployed(disk: &Path, server: &TestServer) {
    assert_image_is_on(disk);
    assert!(!paths(server).contains(&"taskerror.php".to_owned()));
}

/// An input that stops in the middle until the sender is killed.
struct Stuck {
    bytes: io::Take<Cursor<Vec<u8>>>,
    killed: thread_mpsc::Receiver<()>,
}

impl Read for Stuck {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.bytes.read(buffer)?;
        if len == 0 {
            self.killed.recv().unwrap_err();
            return Err(io::Error::other("killed"));
        }
        Ok(len)
    }
}

#[tokio::test]
async fn a_server_killed_in_the_middle_of_a_stream_is_waited_for_and_begins_again() {
    for broken in [1, 2] {
        let (script, server) = Script::start(true);
        let disk = disk();
        let port = port_base();
        let board = Board::default();
        let job = job(server.web(), port, disk.path());
        let client = server.client();
        let deploy = run(job, &client, &board);
        let life = async {
            if broken == 2 {
                let first = script.clone();
                let sent = tokio::task::spawn_blocking(move || {
                    let control = SendControl::new().unwrap();
                    let stored = Cursor::new(stream(1, true));
                    first.transmit(port, (1, 0), stored, &control).unwrap()
                });
                assert_completed(&[sent.await.unwrap()]);
            }
            script.say(Stage::Gathering, broken, 0, Some(broken));
            let control = SendControl::new().unwrap();
            let (alive, killed) = thread_mpsc::channel();
            let input = Stuck {
                bytes: Cursor::new(stream(broken, true)).take(400_000),
                killed,
            };
            let (sender, steered) = (script.clone(), control.clone());
            let sending = std::thread::spawn(move || {
                sender
                    .transmit(port, (broken, 0), input, &steered)
                    .unwrap_err()
            });
            let name = format!("d1p{broken}.img");
            let flows = |state: &crate::screen::State| {
                let transfer = state.transfer.as_ref();
                transfer.is_some_and(|transfer| transfer.name == name)
            };
            while !board.read(flows) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // It hears of the attempt under which the data comes.
            script.asked(2).await;
            script.set(|state| state.is_up = false);
            control.stop();
            drop(alive);
            sending.join().unwrap();
            script.asked(2).await;
            // It is back.
            let rest = (broken..=2).map(|number| (number, u32::from(number == broken)));
            let sending = script.send(port, rest.collect());
            script.set(|state| state.is_up = true);
            sending
        };
        let (told, sending) = tokio::join!(deploy, life);
        assert_eq!(told.unwrap(), Told::Yes);
        assert_completed(&sending.join().unwrap());
        assert_deployed(disk.path(), &server);
    }
}

#[tokio::test]
async fn a_server_that_lost_the_last_acknowledgement_gets_it_again() {
    for has_records in [true, false] {
        let (script, server) = Script::start(has_records);
        let disk = disk();
        let port = port_base();
        let job = job(server.web(), port, disk.path());
        let sending = script.send(port, vec![(1, 0), (1, 1), (2, 0)]);
        let told = run(job, &server.client(), &Board::default()).await.unwrap();
        assert_eq!(told, Told::Yes);
        assert_completed(&sending.join().unwrap());
        assert_deployed(disk.path(), &server);
    }
}

#[tokio::test]
async fn a_machine_that_is_done_helps_a_server_that_does_not_know_it() {
    let (script, server) = Script::start(true);
    script.set(|state| state.completion = "the sender has not yet seen the end of the last stream");
    let disk = disk();
    let port = port_base();
    let job = job(server.web(), port, disk.path());
    let client = server.client();
    let board = Board::default();
    let life = async {
        let streams = script.send(port, vec![(1, 0), (2, 0)]);
        let sent = tokio::task::spawn_blocking(move || streams.join().unwrap());
        assert_completed(&sent.await.unwrap());
        while !paths(&server).contains(&"Post_Stage3.php".to_owned()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // It is restarted, and has not stored the acknowledgement of the last stream.
        let streams = script.send(port, vec![(2, 1)]);
        let sent = tokio::task::spawn_blocking(move || streams.join().unwrap());
        assert_completed(&sent.await.unwrap());
        script.set(|state| state.completion = "##");
    };
    let (told, ()) = tokio::join!(run(job, &client, &board), life);
    assert_eq!(told.unwrap(), Told::Yes);
    assert_deployed(disk.path(), &server);
}

#[tokio::test]
async fn a_job_that_has_changed_needs_a_restart() {
    let refusal = fos_api::Refusal {
        code: fos_api::RefusalCode::Restart,
        text: "these kernel arguments are of session 1, this machine is in session 2".into(),
    };
    for is_late in [false, true] {
        let mut view = session(task::State::InProgress, "");
        view.refusal = Some(refusal.clone());
        let (failure, paths) = refused(move |request| {
            if request.path.ends_with("mc_checkin.php") && !is_late {
                return Reply::text("this machine is to restart");
            }
            answer(request, &view)
        })
        .await;
        assert!(failure.needs_restart && failure.is_known_to_server);
        assert!(failure.text.starts_with(&refusal.text), "{}", failure.text);
        assert!(!paths.contains(&"taskerror.php".to_owned()));
    }
}

#[tokio::test]
async fn the_last_word_comes_from_all_that_is_known() {
    let (script, server) = Script::start(true);
    let disk = disk();
    let port = port_base();
    let job = job(server.web(), port, disk.path());
    let client = server.client();
    let board = Board::default();
    // A sender that lets this machine in, and of which nothing is heard any more.
    let control = SendControl::new().unwrap();
    let steered = control.clone();
    let sending = std::thread::spawn(move || {
        let sent = open_sender_for(2, port, Cursor::new(Vec::new()), steered);
        sent.and_then(SentStream::finish).unwrap_err()
    });
    let is_diagnosed = |state: &crate::screen::State| {
        let advice = state.wait.as_ref().map(|wait| wait.advice.join("\n"));
        advice.is_some_and(|advice| advice.contains("IGMP snooping"))
    };
    let life = async {
        script.say(Stage::Sending, 1, 0, Some(1));
        while !board.read(is_diagnosed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        script.set(|state| {
            state.view.your_task = task::State::Failed;
            state.view.text = "16 s of silence: the machine was switched off".into();
        });
    };
    let (failure, ()) = tokio::join!(run(job, &client, &board), life);
    let failure = failure.unwrap_err();
    control.stop();
    sending.join().unwrap();
    assert!(failure.is_known_to_server);
    for words in ["IGMP snooping", "nothing was written"] {
        assert!(failure.text.contains(words), "{}", failure.text);
    }
    assert!(!failure.text.contains("switched off"), "{}", failure.text);
    assert!(
        std::fs::read(disk.path())
            .unwrap()
            .iter()
            .all(|byte| *byte == 0)
    );
}
