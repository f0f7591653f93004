//! `blame.php`: the image share is not usable, so the server shall choose another storage node.

use std::time::Duration;

use super::http::CALL_TIMEOUT;
use super::{Server, answer};
use crate::screen::Board;

/// Reports the share; answers whether the server has put the task back to its queue. As FOG's client, it is
/// asked ten times.
pub(crate) async fn report(server: &Server, board: &Board, pause: Duration) -> bool {
    for attempt in 1..=TRIES {
        let report = server.post("blame.php", &[("type", "down")], CALL_TIMEOUT);
        let said = match answer(board, WHAT, report).await {
            Ok(body) if fog::checkin::is_done(&body) => {
                board.go_on();
                return true;
            }
            Ok(body) => {
                let text = fog::encoding::unescape_html(&body);
                format!("the server says: {}", fog::encoding::printable(&text, 200))
            }
            // No other answer will come.
            Err(error) if !error.is_temporary() => break,
            Err(error) => error.to_string(),
        };
        if attempt < TRIES {
            board.wait_for(WHAT, vec![said]);
            tokio::time::sleep(pause).await;
        }
    }
    board.go_on();
    false
}

const WHAT: &str = "the server to take the report that its image share cannot be used";
const TRIES: u32 = 10;
pub(crate) const PAUSE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::super::test_server::{Reply, TestServer};
    use super::*;

    const QUICK: Duration = Duration::from_millis(1);

    #[tokio::test]
    async fn a_bad_share_is_reported_until_that_is_stored() {
        let count = AtomicU32::new(0);
        let server = TestServer::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::text("No Active Task found"),
            1 => Reply::text("## "),
            2 => Reply::status(500, ""),
            _ => Reply::text("##"),
        });
        assert!(report(&server.client(), &Board::default(), QUICK).await);
        let requests = server.requests();
        assert_eq!(requests.len(), 4);
        assert_eq!(requests[0].path, "/fog/service/blame.php");
        assert_eq!(requests[0].field("type").as_deref(), Some("down"));
    }

    #[tokio::test]
    async fn it_is_not_reported_for_ever() {
        for (reply, expected) in [
            (Reply::text("No Active Task found"), 10),
            (Reply::redirect("/fog/management/index.php"), 1),
            (Reply::status(403, ""), 1),
        ] {
            let server = TestServer::start(move |_| reply.clone());
            assert!(!report(&server.client(), &Board::default(), QUICK).await);
            assert_eq!(server.requests().len(), expected);
        }
    }
}
