//! The job of a machine that booted from USB: `hostgetkey.php` and `hostinfo.php`.

use std::time::Duration;

use fog::KernelArgs;
use fog::encoding::{encode_base64_line, printable, unescape_html};
use fog::hostinfo;

use super::http::CALL_TIMEOUT;
use super::{CallError, Server};
use crate::screen::Board;

/// Adds the job that the server has for this machine to `args`, which win over it. Waits until there is one.
///
/// # Errors
/// If the server cannot say, whatever is done there.
pub(crate) async fn ask(
    server: &Server,
    args: &mut KernelArgs,
    board: &Board,
    pause: Duration,
) -> Result<(), CallError> {
    let mut last = None;
    loop {
        let said = match super::answer(board, WHAT, task(server, &mut last)).await {
            Ok(Answer::Job(job)) => {
                board.go_on();
                args.fill_from(&job);
                return Ok(());
            }
            Ok(Answer::Text(text)) => format!("the server says: {text}"),
            Err(error) if error.is_temporary() => error.to_string(),
            Err(error) => {
                board.go_on();
                return Err(error);
            }
        };
        board.wait_for(WHAT, vec![said, ADVICE.into()]);
        tokio::time::sleep(pause).await;
    }
}

enum Answer {
    Job(KernelArgs),
    /// There is no job; why, in the server's words.
    Text(String),
}

/// The server gives no second token before the first one is used, which an error may have prevented: it is kept in
/// `last`.
async fn task(server: &Server, last: &mut Option<String>) -> Result<Answer, CallError> {
    let token = match (token(server).await?, &last) {
        (Token::Given(token), _) => last.insert(token).clone(),
        (Token::Text(_), Some(token)) => token.clone(),
        (Token::Text(text), None) => return Ok(Answer::Text(text)),
    };
    let body = server
        .post_nameless("service/hostinfo.php", &[("hosttoken", &token)])
        .await?;
    match hostinfo::parse(&body) {
        Ok(job) => Ok(Answer::Job(job)),
        Err(hostinfo::HostInfoError::NoJob(text)) => {
            Ok(Answer::Text(printable(&unescape_html(&text), 300)))
        }
        // The text is not shown: it has passwords.
        Err(error) => Err(CallError::Unexpected {
            url: format!("{}service/hostinfo.php", server.web()),
            detail: error.to_string(),
        }),
    }
}

enum Token {
    /// Empty where the server knows none.
    Given(String),
    Text(String),
}

async fn token(server: &Server) -> Result<Token, CallError> {
    let macs = encode_base64_line(&server.identity().mac);
    let answer = server
        .post_at("status/hostgetkey.php", &[("mac", &macs)], CALL_TIMEOUT)
        .await;
    let body = match answer {
        Ok(body) => body,
        // FOG before 1.5.10 has no tokens: the page is missing.
        Err(error) if error.denies() => return Ok(Token::Given(String::new())),
        Err(error) => return Err(error),
    };
    let body = body.trim();
    let is_token = body.len() <= 512 && body.bytes().all(|byte| byte.is_ascii_alphanumeric());
    Ok(if is_token {
        Token::Given(body.to_owned())
    } else {
        Token::Text(printable(&unescape_html(body), 300))
    })
}

const WHAT: &str = "the server's task for this machine, which booted from USB";
const ADVICE: &str = "create a task for this host on the server, or register the host first";
pub(crate) const PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::test_server::{Reply, TestServer};
    use super::*;

    const QUICK: Duration = Duration::from_millis(1);
    const JOB: &str = "[[ -z $img ]] && export img='lab'\n[[ -z $port ]] && export port='63100'\n\
        [[ -z $hostadpass ]] && export hostadpass='secret'\n[[ -z $type ]] && export type='down'\n\
        [[ -z $mc ]] && export mc='yes'\n";

    #[tokio::test]
    async fn the_job_comes_with_the_token_and_without_a_name_of_the_program() {
        let server = TestServer::start(|request| {
            Reply::text(if request.path.ends_with("hostgetkey.php") {
                "0a1b2c\n"
            } else {
                JOB
            })
        });
        let mut args = KernelArgs::parse("web=http://x/fog/ port=9000");
        ask(&server.client(), &mut args, &Board::default(), QUICK)
            .await
            .unwrap();
        assert!(args.is_multicast_deploy());
        // The kernel arguments win.
        assert_eq!(
            (args.value("img"), args.value("port")),
            (Some("lab"), Some("9000"))
        );
        let requests = server.requests();
        assert_eq!(requests[0].path, "/fog/status/hostgetkey.php");
        let macs = fog::encoding::decode_base64_text(&requests[0].field("mac").unwrap());
        assert_eq!(macs.as_deref(), Some("00:1b:21:aa:bb:cc"));
        assert_eq!(requests[1].path, "/fog/service/hostinfo.php");
        assert_eq!(
            requests[1].field("mac").as_deref(),
            Some("00:1b:21:aa:bb:cc")
        );
        assert_eq!(requests[1].field("hosttoken").as_deref(), Some("0a1b2c"));
        assert_eq!(requests[1].user_agent, None);
        assert!(requests[0].user_agent.is_some());
    }

    /// As FOG 1.5.8, which has no tokens and whose script fails for a unicast task.
    #[tokio::test]
    async fn a_server_without_tokens_and_one_without_a_task_are_asked_on() {
        let count = AtomicU32::new(0);
        let server = TestServer::start(move |request| {
            if request.path.ends_with("hostgetkey.php") {
                return Reply::redirect("http://198.51.100.5/fog/management/index.php");
            }
            match count.fetch_add(1, Ordering::SeqCst) {
                0 => Reply::text("#!ipxe no task"),
                1 => Reply::status(500, ""),
                2 => Reply::text("Invalid Host"),
                _ => Reply::text(JOB),
            }
        });
        let mut args = KernelArgs::default();
        ask(&server.client(), &mut args, &Board::default(), QUICK)
            .await
            .unwrap();
        assert_eq!(args.value("img"), Some("lab"));
        assert_eq!(server.requests().len(), 8);
    }

    #[tokio::test]
    async fn a_text_in_place_of_a_token_is_shown() {
        let count = AtomicU32::new(0);
        let server = TestServer::start(move |request| {
            if request.path.ends_with("hostinfo.php") {
                return Reply::text(JOB);
            }
            match count.fetch_add(1, Ordering::SeqCst) {
                0 => Reply::text("There&#039;s no active task"),
                _ => Reply::text("0a1b2c"),
            }
        });
        let board = Board::default();
        let mut args = KernelArgs::default();
        ask(&server.client(), &mut args, &board, QUICK)
            .await
            .unwrap();
        let paths: Vec<String> = server.requests().into_iter().map(|r| r.path).collect();
        assert_eq!(paths.len(), 3);
        assert!(paths[1].ends_with("hostgetkey.php"));
    }

    #[tokio::test]
    async fn what_only_a_shell_could_read_is_refused_without_showing_it() {
        let server = TestServer::start(|request| {
            Reply::text(if request.path.ends_with("hostgetkey.php") {
                ""
            } else {
                "export hostadpass='secret'\nexport img=$(reboot)\n"
            })
        });
        let error = ask(
            &server.client(),
            &mut KernelArgs::default(),
            &Board::default(),
            QUICK,
        )
        .await
        .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("line 2") && !text.contains("secret"),
            "{text}"
        );

        let missing = TestServer::start(|_| Reply::status(404, ""));
        let mut args = KernelArgs::default();
        ask(&missing.client(), &mut args, &Board::default(), QUICK)
            .await
            .unwrap_err();
    }
}
