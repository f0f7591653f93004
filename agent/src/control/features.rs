//! What the server can, by its answer to `getversion.php?caps=1`.

use std::time::Duration;

use fog::encoding::printable;

use super::{CallError, Kind, Server, image};
use crate::screen::Board;

/// The tokens of the server's answer. FOG's own servers before 1.6 answer their version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Features(Vec<String>);

impl Features {
    /// `None` if the text is neither a list of tokens nor a version.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+');
        let tokens: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let are_tokens = tokens.iter().all(|token| token.chars().all(is_part));
        (text.len() <= LEN_MAX && !tokens.is_empty() && are_tokens).then_some(Self(tokens))
    }

    pub(crate) fn has(&self, token: &str) -> bool {
        self.0.iter().any(|have| have == token)
    }

    /// Which program gives these.
    pub(crate) fn kind(&self) -> Kind {
        if self.has(fos_api::CAPABILITY) {
            Kind::Own
        } else {
            Kind::Stock
        }
    }
}

/// Asks the server, and remembers which program it is.
///
/// # Errors
/// If it gives no answer in time, or one that no server of FOG would give.
pub(crate) async fn ask(server: &Server, board: &Board) -> Result<Features, CallError> {
    let list = image::persist(board, "the server's list of features", PATIENCE, || {
        server.capabilities()
    })
    .await?;
    let features = Features::parse(&list).ok_or_else(|| CallError::Unexpected {
        url: format!("{}service/getversion.php?caps=1", server.web()),
        detail: format!(
            "{:?} is neither a version nor a list of features; is web= the address of a FOG server?",
            printable(&list, 80)
        ),
    })?;
    server.learn(features.kind());
    Ok(features)
}

/// Which program the server is: asks every `pause` until it is known. For a machine that has nothing else to do.
pub(crate) async fn kind(server: &Server, pause: Duration) -> Kind {
    loop {
        if let Some(kind) = server.kind() {
            return kind;
        }
        let list = server.capabilities().await;
        if let Some(features) = list.ok().as_deref().and_then(Features::parse) {
            return server.learn(features.kind());
        }
        tokio::time::sleep(pause).await;
    }
}

/// A version or a list is much shorter.
const LEN_MAX: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::super::test_server::{Reply, TestServer};
    use super::*;

    #[test]
    fn features_are_whole_words() {
        let features = Features::parse("mclvm mcstreamid fosnative1\n").unwrap();
        assert!(features.has("fosnative1") && !features.has("fosnative"));
        assert_eq!(features.kind(), Kind::Own);
        for stock in [
            "1.5.8",
            "1.5.10.2253\n",
            "1.6.0-beta.5334",
            "mclvm mcstreamid",
            "fosnative10",
        ] {
            assert_eq!(Features::parse(stock).unwrap().kind(), Kind::Stock);
        }
    }

    #[test]
    fn a_page_is_no_list_of_features() {
        for text in [
            "",
            " \n",
            "<html>",
            "Forbidden!",
            "a/b",
            "\u{0}",
            "1.5.8 <br>",
        ] {
            assert_eq!(Features::parse(text), None, "{text}");
        }
        assert_eq!(Features::parse(&"a ".repeat(501)), None);
    }

    #[tokio::test]
    async fn the_kind_of_a_server_is_remembered() {
        let server = TestServer::start(|_| Reply::text("1.5.8"));
        let client = server.client();
        assert_eq!(client.kind(), None);
        ask(&client.clone(), &Board::default()).await.unwrap();
        assert!(client.is_stock());
        for reply in [
            Reply::redirect("/fog/management/index.php"),
            Reply::status(403, ""),
            Reply::text("<!DOCTYPE html><html>"),
        ] {
            let server = TestServer::start(move |_| reply.clone());
            let client = server.client();
            ask(&client, &Board::default()).await.unwrap_err();
            assert_eq!(client.kind(), None);
        }
    }
}
