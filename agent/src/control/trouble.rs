//! Failures and warnings for the server, `taskerror.php` (FOG 1.6 and ours; 404 elsewhere).

use std::time::Duration;

use super::{CallError, Server};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// The task has failed.
    Error,
    /// It goes on, but somebody should know.
    Warning,
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// Tells the server; one try, as the contract has it.
///
/// # Errors
/// If the server could not be told.
pub(crate) async fn tell(
    server: &Server,
    severity: Severity,
    text: &str,
    part: &str,
) -> Result<(), CallError> {
    // The server keeps 8192 bytes; cut at a character.
    let cut = text.floor_char_boundary(8000);
    let fields = [
        ("type", severity.word()),
        ("text", &text[..cut]),
        ("script", part),
    ];
    server
        .post("taskerror.php", &fields, TIMEOUT)
        .await
        .map(drop)
}

/// Tells the server of a failure, and tries harder: an unreported one is started again.
pub(crate) async fn tell_failure(server: &Server, text: &str, part: &str) -> Result<(), CallError> {
    let mut tries = 1;
    loop {
        match tell(server, Severity::Error, text, part).await {
            Err(error) if error.is_temporary() && tries < FAILURE_TRIES => {
                tries += 1;
                tokio::time::sleep(FAILURE_PAUSE).await;
            }
            done => return done,
        }
    }
}

const TIMEOUT: Duration = Duration::from_secs(5);
const FAILURE_TRIES: u32 = 5;
const FAILURE_PAUSE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::super::test_server::{Reply, TestServer};
    use super::*;

    #[tokio::test]
    async fn failures_are_told_in_fogs_fields() {
        let server = TestServer::start(|_| Reply::text("##"));
        let long = "ä".repeat(6000);
        tell_failure(&server.client(), &long, "streams")
            .await
            .unwrap();
        let request = server.requests().remove(0);
        assert_eq!(request.path, "/fog/service/taskerror.php");
        assert_eq!(request.field("type").as_deref(), Some("error"));
        assert_eq!(request.field("script").as_deref(), Some("streams"));
        assert_eq!(request.field("text").unwrap(), "ä".repeat(4000));
    }

    #[tokio::test]
    async fn a_server_without_the_endpoint_is_asked_once() {
        let server = TestServer::start(|_| Reply::status(404, "not here"));
        tell_failure(&server.client(), "x", "y").await.unwrap_err();
        assert_eq!(server.requests().len(), 1);
    }
}
