//! One request, one connection: whether an answer came whole is the question here.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    /// Whether it promises what the text says.
    pub(crate) fn says(&self, text: &str) -> bool {
        self.status == 200 && self.body == text
    }

    /// Whether an operation for people was done.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self.status, 200 | 201)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

/// Name of the header that tells a request apart in a trace of the server.
pub(crate) const MARK: &str = "x-crash-test";

/// A POST of a form to the clients' endpoints, from the namespace of the calling thread.
pub(crate) fn post(path: &str, mark: u64, form: &str) -> io::Result<Answer> {
    let line = format!("POST /fog/service/{path}");
    let kind = "application/x-www-form-urlencoded";
    exchange(connect()?, &line, mark, kind, form.as_bytes())
}

/// A GET of our own endpoints, from there too.
pub(crate) fn get(path: &str, query: &str) -> io::Result<Answer> {
    let line = format!("GET /fog/service/{path}?{query}");
    exchange(connect()?, &line, 0, "text/plain", &[])
}

fn connect() -> io::Result<TcpStream> {
    let server = SocketAddr::from((Ipv4Addr::new(10, 99, 0, 1), 80));
    let stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// An operation for people, on the server's own socket: method and path below `/api/v1`.
pub(crate) fn ask(
    data: &Path,
    operation: &str,
    mark: u64,
    request: &impl Serialize,
) -> io::Result<Answer> {
    let stream = UnixStream::connect(data.join("server.sock"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = serde_json::to_vec(request)?;
    exchange(
        stream,
        &operation.replacen(' ', " /api/v1", 1),
        mark,
        "application/json",
        &body,
    )
}

fn exchange(
    mut stream: impl Read + Write,
    line: &str,
    mark: u64,
    kind: &str,
    body: &[u8],
) -> io::Result<Answer> {
    let mut request = format!(
        "{line} HTTP/1.1\r\nhost: 10.99.0.1\r\nconnection: close\r\n{MARK}: {mark:09}\r\n\
         content-type: {kind}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    stream.write_all(&request)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| io::Error::other("half an answer"))
}

/// `None` if it was cut off: then nothing was promised.
fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let header = |name: &str| {
        let mut lines = head.lines();
        lines.find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let len: usize = header("content-length")?.parse().ok()?;
    (len == body.len()).then(|| Answer {
        status,
        body: body.to_owned(),
    })
}

/// For an answer. The server promises to answer within some seconds, whatever hangs.
const PATIENCE: Duration = Duration::from_secs(60);
