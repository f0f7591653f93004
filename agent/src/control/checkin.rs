//! The check-in loop: asks until the server says go, and never gives up by itself.

use std::time::Duration;

use fog::KernelArgs;
use fog::checkin::CheckinAnswer;
use fos_api::{FIELD_ADDRESS, FIELD_AGENT};
use tokio::sync::Notify;

use super::http::{AGENT, CALL_TIMEOUT};
use super::session::{self, News, Over, OverKind};
use super::{CallError, Server, answer, boot_script};
use crate::screen::Board;

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rhythm {
    /// Between two check-ins.
    pub(crate) pause: Duration,
    /// Between two looks at the boot script of a server that says nothing else of the task.
    pub(crate) look: Duration,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self {
            pause: Duration::from_secs(5),
            look: boot_script::LOOK,
        }
    }
}

/// Waits until this machine is let in for the job `args`. A task that is over will never be.
///
/// # Errors
/// Why it will never be.
pub(crate) async fn let_in(
    server: &Server,
    args: &KernelArgs,
    board: &Board,
    rhythm: Rhythm,
) -> Result<(), Over> {
    let refused = Notify::new();
    let over = async {
        refused.notified().await;
        over(server, args, rhythm).await
    };
    tokio::select! {
        () = check_in(server, endpoint(args), board, rhythm.pause, &refused) => {}
        over = over => return Err(over),
    }
    if !server.is_stock() {
        return Ok(());
    }
    still_own(server, args, board, rhythm.pause).await
}

/// Whether one of FOG's own servers has said GO for the job `args`, and not for another one that the host has by then.
///
/// # Errors
/// If it has not. Where that cannot be found out, data that come by multicast are compared with the image; a machine
/// that reads them alone would believe itself.
async fn still_own(
    server: &Server,
    args: &KernelArgs,
    board: &Board,
    pause: Duration,
) -> Result<(), Over> {
    let mut doubts = 0;
    loop {
        let error = match answer(board, WHICH, boot_script::job(server)).await {
            Ok(Some(now)) => {
                board.go_on();
                return boot_script::replaced(args, &now).map_or(Ok(()), Err);
            }
            Ok(None) | Err(_) if args.is_multicast_deploy() => return Ok(()),
            Ok(None) => return Err(boot_script::gone()),
            Err(error) => error,
        };
        doubts += 1;
        if doubts >= DOUBTS {
            return Err(Over {
                text: format!(
                    "the server has let this machine in, but does not say for which task: {error}"
                ),
                kind: OverKind::Ended,
                tells_of_disk: false,
            });
        }
        board.wait_for(WHICH, vec![error.to_string()]);
        tokio::time::sleep(pause).await;
    }
}

/// So often the server may fail to say: for a minute.
const DOUBTS: u32 = 12;

/// Why this machine will not be let in. What our own server says of a session counts only once it has not let
/// this machine in: a check-in without a ticket may be the beginning of another session.
async fn over(server: &Server, args: &KernelArgs, rhythm: Rhythm) -> Over {
    if server.is_stock() {
        return boot_script::over(server, args, rhythm.look).await.into();
    }
    let news = News::new();
    tokio::select! {
        over = session::watch(server, &news, rhythm.pause) => over,
        over = never(&news, NEVER) => over,
    }
}

/// The queue of multicast deploys, or the one for the places of a storage node.
fn endpoint(args: &KernelArgs) -> &'static str {
    if args.is_multicast_deploy() {
        "mc_checkin.php"
    } else {
        "Pre_Stage1.php"
    }
}

/// Asks every `pause` until the answer is `##@GO`. Whatever else the server says is shown, and `refused` is
/// told of it.
async fn check_in(
    server: &Server,
    endpoint: &str,
    board: &Board,
    pause: Duration,
    refused: &Notify,
) {
    loop {
        match answer(board, WHAT, ask(server, endpoint)).await {
            Ok(CheckinAnswer::Go) => break,
            Ok(CheckinAnswer::Wait(text)) => {
                refused.notify_one();
                let said = if text.is_empty() {
                    "the server answered with an empty text; look into its error log".to_owned()
                } else {
                    format!("the server says: {text}")
                };
                board.wait_for(WHAT, vec![said]);
            }
            Err(error) => board.wait_for(WHAT, vec![error.to_string(), hint(&error)]),
        }
        tokio::time::sleep(pause).await;
    }
    board.go_on();
}

/// Waits until the server has denied for `limit` that this machine has a session: then its kernel
/// arguments are of a job that is no more, and nothing but a restart brings others.
async fn never(news: &News, limit: Duration) -> Over {
    loop {
        let latest = news.latest();
        if let (Some(since), Some(error)) = (latest.denied_since, latest.error)
            && since.elapsed() >= limit
        {
            return Over {
                text: format!("the server has no session for this machine: {error}"),
                kind: OverKind::Restart,
                tells_of_disk: false,
            };
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn ask(server: &Server, endpoint: &str) -> Result<CheckinAnswer, CallError> {
    let address = server.own_address().map(|address| address.to_string());
    let mut fields = vec![("type", "down"), (FIELD_AGENT, AGENT)];
    if let Some(address) = &address {
        fields.push((FIELD_ADDRESS, address));
    }
    let body = server.post(endpoint, &fields, CALL_TIMEOUT).await?;
    Ok(CheckinAnswer::parse(&body))
}

fn hint(error: &CallError) -> String {
    match error {
        CallError::Unreachable { .. } => {
            "check that the server runs and that nothing blocks the way to its web port".into()
        }
        _ => "look into the server's error log".into(),
    }
}

/// Longer than a server needs to set up a session.
const NEVER: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(500);
/// Does not change while waiting, so that the clock on the screen is the time in line.
const WHAT: &str = "the server's go-ahead";
const WHICH: &str = "the server to say for which task this machine was let in";

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use fog::task::State;
    use fos_api::{Refusal, RefusalCode, SessionView, Stage};

    use super::super::test_server::{Reply, TestServer};
    use super::*;

    const QUICK: Duration = Duration::from_millis(1);
    const MULTICAST: &str = "mc_checkin.php";

    /// Enters the queue of one of FOG's own servers, which answers like this.
    async fn enter_stock(
        args: &str,
        answer: impl Fn(&super::super::test_server::Request) -> Reply + Send + 'static,
    ) -> (Result<(), Over>, TestServer) {
        let server = TestServer::start(answer);
        let client = server.client();
        client.learn(super::super::Kind::Stock);
        let rhythm = Rhythm {
            pause: QUICK,
            look: QUICK,
        };
        let args = KernelArgs::parse(args);
        let let_in = let_in(&client, &args, &Board::default(), rhythm).await;
        (let_in, server)
    }

    #[tokio::test]
    async fn each_kind_of_deploy_has_its_queue() {
        for (args, path) in [
            ("type=down", "/fog/service/Pre_Stage1.php"),
            ("type=down mc=yes", "/fog/service/mc_checkin.php"),
        ] {
            let (count, looks) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let (let_in, server) = enter_stock(args, move |request| {
                if request.path.ends_with("boot.php") {
                    return match looks.fetch_add(1, Ordering::SeqCst) {
                        0..3 => Reply::status(500, ""),
                        _ => Reply::text("#!ipxe\nkernel bzImage type=down\n"),
                    };
                }
                match count.fetch_add(1, Ordering::SeqCst) {
                    0 => Reply::text("No open slots, There are 0 before me."),
                    1 => Reply::text("There are open slots, but 2 before me on this node."),
                    _ => Reply::text("##@GO"),
                }
            })
            .await;
            assert_eq!(let_in, Ok(()));
            let mut asked: Vec<String> = server.requests().into_iter().map(|r| r.path).collect();
            asked.retain(|path| !path.ends_with("boot.php"));
            assert_eq!(asked, [path; 3]);
        }
    }

    /// Nothing but the boot script says which image a machine is to read.
    #[tokio::test]
    async fn a_machine_that_reads_alone_is_sure_of_its_task() {
        for (script, kind) in [
            (Reply::status(500, ""), OverKind::Ended),
            (Reply::text("#!ipxe\nmenu\n"), OverKind::Restart),
            (
                Reply::text("#!ipxe\nkernel bzImage img=other type=down\n"),
                OverKind::Restart,
            ),
        ] {
            let (let_in, _) = enter_stock("img=lab type=down", move |request| {
                match request.path.ends_with("boot.php") {
                    true => script.clone(),
                    false => Reply::text("##@GO"),
                }
            })
            .await;
            assert_eq!(let_in.unwrap_err().kind, kind);
        }
    }

    /// The kernel arguments are of the first task; the server lets the machine in for the second one.
    #[tokio::test]
    async fn a_machine_that_is_let_in_for_another_task_restarts() {
        for (port, expected) in [("63100", Ok(())), ("63102", Err(OverKind::Restart))] {
            let script = format!("#!ipxe\nkernel bzImage img=lab port={port} type=down mc=yes\n");
            let args = "img=lab port=63100 type=down mc=yes";
            let (let_in, _) = enter_stock(args, move |request| {
                Reply::text(if request.path.ends_with("boot.php") {
                    &script
                } else {
                    "##@GO"
                })
            })
            .await;
            assert_eq!(let_in.map_err(|over| over.kind), expected);
        }
    }

    #[tokio::test]
    async fn a_machine_whose_task_was_cancelled_restarts() {
        let (let_in, _) = enter_stock("type=down mc=yes", |request| {
            Reply::text(if request.path.ends_with("boot.php") {
                "#!ipxe\nmenu\n"
            } else {
                "No Active Task found for Host: LAB-01 (00:1b:21:aa:bb:cc)"
            })
        })
        .await;
        assert_eq!(let_in.unwrap_err().kind, OverKind::Restart);
    }

    #[tokio::test]
    async fn only_the_exact_token_ends_the_loop() {
        let count = AtomicUsize::new(0);
        let server = TestServer::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::text("No open slots, There&#039;s one before me"),
            1 => Reply::text("#!@GO"),
            2 => Reply::status(500, "<html>oops</html>"),
            3 => Reply::text(""),
            4 => Reply::text("##@GO later"),
            _ => Reply::text("##@GO\n"),
        });
        let board = Board::default();
        check_in(&server.client(), MULTICAST, &board, QUICK, &Notify::new()).await;
        let requests = server.requests();
        assert_eq!(requests.len(), 6);
        for request in requests {
            assert_eq!(request.path, "/fog/service/mc_checkin.php");
            assert_eq!(request.field("type").as_deref(), Some("down"));
            assert_eq!(request.field("agent").as_deref(), Some(AGENT));
        }
        board.read(|state| assert_eq!(state.wait, None));
    }

    /// A machine whose kernel arguments have no ticket, booted for a session that is over: the same image is
    /// deployed again. The server lets it in, and refuses it for as long as it has not asked.
    #[tokio::test]
    async fn only_a_machine_that_was_not_let_in_is_told_to_restart() {
        for (answer, is_let_in) in [("##@GO", true), ("Restart this machine", false)] {
            let view = serde_json::to_string(&refused()).unwrap();
            let server =
                TestServer::start(
                    move |request| match request.path.ends_with("mc_checkin.php") {
                        true => Reply::text(answer),
                        false => Reply::text(&view),
                    },
                );
            let rhythm = Rhythm {
                pause: QUICK,
                look: QUICK,
            };
            let args = KernelArgs::parse("type=down mc=yes");
            let let_in = let_in(&server.client(), &args, &Board::default(), rhythm).await;
            let kind = let_in.map_err(|over| over.kind);
            let expected = is_let_in.then_some(()).ok_or(OverKind::Restart);
            assert_eq!(kind, expected, "{answer}");
        }
    }

    fn refused() -> SessionView {
        SessionView {
            session: 2,
            state: State::New,
            stage: Stage::Gathering,
            expected: 1,
            checked_in: 0,
            connected: 0,
            missing: Vec::new(),
            stream: None,
            your_stream: None,
            records: None,
            stage_seconds: 0,
            starts_in_seconds: None,
            ask_again_seconds: None,
            site: None,
            your_task: State::Queued,
            text: String::new(),
            refusal: Some(Refusal {
                code: RefusalCode::Restart,
                text: "it was booted for session 1".into(),
            }),
        }
    }

    #[tokio::test]
    async fn a_session_that_is_denied_for_long_needs_a_restart() {
        let news = News::new();
        let unreachable = CallError::Unreachable {
            url: "http://10.0.0.5/".into(),
            cause: "connection refused".into(),
        };
        news.fail(unreachable);
        let denied = CallError::Status {
            url: "http://10.0.0.5/fog/service/fos/session".into(),
            status: 404,
            text: "host LAB-01 was never in a session".into(),
        };
        let deny = async {
            tokio::task::yield_now().await;
            news.fail(denied);
        };
        let (over, ()) = tokio::join!(never(&news, Duration::ZERO), deny);
        assert_eq!(over.kind, OverKind::Restart);
        assert!(over.text.contains("never in a session"), "{over:?}");
    }

    #[tokio::test]
    async fn the_own_address_is_said_once_it_is_known() {
        let server = TestServer::start(|request| {
            let is_checkin = request.path.ends_with("mc_checkin.php");
            Reply::text(if is_checkin { "##@GO" } else { "fosnative1" })
        });
        let client = server.client();
        client.capabilities().await.unwrap();
        check_in(&client, MULTICAST, &Board::default(), QUICK, &Notify::new()).await;
        let request = server.requests().remove(1);
        assert_eq!(request.field("address").as_deref(), Some("127.0.0.1"));
    }

    #[tokio::test]
    async fn every_other_answer_is_shown_unescaped() {
        let server = TestServer::start(|_| Reply::text("There&#039;s no slot"));
        let board = Board::default();
        let shown = async {
            loop {
                if let Some(wait) = board.read(|state| state.wait.clone()) {
                    break wait;
                }
                tokio::task::yield_now().await;
            }
        };
        let client = server.client();
        let never_heard = Notify::new();
        let wait = tokio::select! {
            () = check_in(&client, MULTICAST, &board, QUICK, &never_heard) => panic!("no go was given"),
            wait = shown => wait,
        };
        assert_eq!(wait.what, "the server's go-ahead");
        assert_eq!(wait.advice, ["the server says: There's no slot"]);
    }

    #[tokio::test]
    async fn a_dead_server_is_not_an_answer() {
        let board = Board::default();
        let shown = async {
            loop {
                if let Some(wait) = board.read(|state| state.wait.clone()) {
                    break wait;
                }
                tokio::task::yield_now().await;
            }
        };
        let client = TestServer::dead_client();
        let never_heard = Notify::new();
        let wait = tokio::select! {
            () = check_in(&client, MULTICAST, &board, QUICK, &never_heard) => panic!("no go was given"),
            wait = shown => wait,
        };
        assert!(wait.advice[0].contains("cannot be reached"), "{wait:?}");
    }
}
