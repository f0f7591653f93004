//! The control plane: FOG's HTTP endpoints and our server's own.
//!
//! Runs on tokio, one thread; nothing here ever blocks the data threads.

pub(crate) mod backoff;
pub(crate) mod blame;
pub(crate) mod boot_script;
pub(crate) mod checkin;
pub(crate) mod completion;
pub(crate) mod features;
pub(crate) mod http;
pub(crate) mod image;
pub(crate) mod inventory;
pub(crate) mod places;
pub(crate) mod progress;
pub(crate) mod session;
pub(crate) mod trouble;
pub(crate) mod trust;
pub(crate) mod usb;

#[cfg(test)]
pub(crate) mod test_server;

use std::pin::pin;

use readable::NAMED_AFTER;

use crate::screen::Board;
pub(crate) use http::{CallError, Identity, Kind, Server};
pub(crate) use trust::Trust;

/// Waits for an answer of the server. If it takes long, that is shown as a wait for `what`; the reason of an earlier
/// failure is worth more.
pub(crate) async fn answer<T>(board: &Board, what: &str, call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    tokio::select! {
        biased;
        answer = &mut call => return answer,
        () = tokio::time::sleep(NAMED_AFTER) => {}
    }
    if board.read(|state| state.wait.is_none()) {
        board.wait_for(what, vec![NO_ANSWER.into()]);
    }
    call.await
}

const NO_ANSWER: &str = "it has not answered yet";
