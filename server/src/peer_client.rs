//! Asking another server of the site.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, Uri, header};
use futures_util::StreamExt as _;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::clock;
use crate::domain::peer::{Asked, SiteSecret};

/// The header with the token.
pub(crate) const TOKEN: &str = "fos-peer";

/// A question.
pub(crate) struct Asking<'a> {
    pub(crate) secret: &'a SiteSecret,
    /// Of the server: `http://ADDRESS:PORT`.
    pub(crate) url: &'a str,
    pub(crate) method: Method,
    /// Path with what is behind the question mark.
    pub(crate) path: &'a str,
    /// The first byte that is wanted.
    pub(crate) from: Option<u64>,
}

/// An answer whose body comes while this is there.
pub(crate) struct Answer {
    response: Response<Body>,
    connection: Connection,
}

/// Ends with this value.
struct Connection(tokio::task::JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Answer {
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// What a server says that does not do what was asked.
    pub(crate) async fn complaint(self) -> String {
        let status = self.status();
        let text = match self.bytes().await {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => error,
        };
        let text = fog::encoding::printable(text.trim(), 300);
        match text.is_empty() {
            true => format!("it answers {status}"),
            false => text,
        }
    }

    /// A short body.
    pub(crate) async fn bytes(self) -> Result<axum::body::Bytes, String> {
        let _connection = self.connection;
        let read = axum::body::to_bytes(self.response.into_body(), MAX_ANSWER);
        match tokio::time::timeout(ANSWER_LIMIT, read).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(error)) => Err(readable::chain(&error)),
            Err(_) => Err(late()),
        }
    }

    /// The body, with what keeps it coming.
    pub(crate) fn into_body(self) -> Body {
        let Self {
            response,
            connection,
        } = self;
        let pieces = response.into_body().into_data_stream();
        Body::from_stream(pieces.map(move |piece| {
            let _held = &connection;
            piece
        }))
    }
}

/// Asks; returns with the head of the answer.
///
/// # Errors
/// If there is none.
pub(crate) async fn ask(asking: Asking<'_>) -> Result<Answer, String> {
    match tokio::time::timeout(ANSWER_LIMIT, exchange(asking)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(format!("{error:#}")),
        Err(_) => Err(late()),
    }
}

async fn exchange(asking: Asking<'_>) -> anyhow::Result<Answer> {
    let uri: Uri = asking.url.parse()?;
    let authority = uri.authority();
    let authority = authority.ok_or_else(|| anyhow::anyhow!("{} has no address", asking.url))?;
    let address = (authority.host(), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // It says what is wrong with it through the answer.
    let connection = Connection(tokio::spawn(async move { drop(connection.await) }));
    let range = asking.from.map(|from| format!("bytes={from}-"));
    let asked = Asked {
        server: asking.url,
        method: asking.method.as_str(),
        path: asking.path,
        range: range.as_deref().unwrap_or_default(),
    };
    let mut number = [0; 8];
    getrandom::fill(&mut number)?;
    let now = u64::try_from(clock::now().0).unwrap_or(0);
    let token = asking.secret.sign(asked, now, u64::from_le_bytes(number));
    let mut head = Request::builder()
        .method(asking.method.clone())
        .uri(asking.path)
        .header(header::HOST, authority.as_str())
        .header(TOKEN, token);
    if let Some(range) = &range {
        head = head.header(header::RANGE, range);
    }
    let response = sender.send_request(head.body(Body::empty())?).await?;
    Ok(Answer {
        response: response.map(Body::new),
        connection,
    })
}

fn late() -> String {
    format!("it did not answer for {} s", ANSWER_LIMIT.as_secs())
}

/// How long a server may take for the head of an answer, or for a short one.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Bytes of a short answer.
const MAX_ANSWER: usize = 1 << 20;
