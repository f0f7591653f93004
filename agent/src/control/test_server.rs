//! A web server for tests: one thread, one request per connection, answers from a closure.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Identity, Server, Trust};

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Without the query.
    pub(crate) path: String,
    /// Fields of the query and of a form, decoded.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) user_agent: Option<String>,
    /// `Range`.
    pub(crate) range: Option<String>,
    /// `Authorization`, in lower case.
    pub(crate) authorization: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        self.fields
            .iter()
            .find(|(have, _)| have == name)
            .map(|(_, value)| value.clone())
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    location: Option<String>,
    body: Vec<u8>,
    end: End,
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Proper,
    /// The connection is closed before all of it has come.
    Early,
    /// It goes on, a byte at a time.
    Never,
}

impl Reply {
    /// The beginning of a longer answer.
    pub(crate) fn half(body: &str) -> Self {
        Self {
            end: End::Early,
            ..Self::text(body)
        }
    }

    /// This and blanks, for ever.
    pub(crate) fn endless(body: &str) -> Self {
        Self {
            end: End::Never,
            ..Self::text(body)
        }
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self {
            location: Some(to.to_owned()),
            ..Self::status(302, "")
        }
    }

    /// The connection is closed without an answer, as by a server that is killed.
    pub(crate) fn none() -> Self {
        Self::status(0, "")
    }

    pub(crate) fn text(body: &str) -> Self {
        Self::status(200, body)
    }

    pub(crate) fn bytes(body: &[u8]) -> Self {
        Self {
            status: 200,
            location: None,
            body: body.to_vec(),
            end: End::Proper,
        }
    }

    /// Some of the bytes that there are.
    pub(crate) fn partial(body: &[u8]) -> Self {
        Self {
            status: 206,
            ..Self::bytes(body)
        }
    }

    /// The same, and the connection is closed before all of it has come.
    pub(crate) fn cut(self) -> Self {
        Self {
            end: End::Early,
            ..self
        }
    }

    pub(crate) fn status(status: u16, body: &str) -> Self {
        Self {
            status,
            location: None,
            body: body.as_bytes().to_vec(),
            end: End::Proper,
        }
    }
}

pub(crate) struct TestServer {
    web: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl TestServer {
    /// Serves until the process ends.
    pub(crate) fn start(answer: impl Fn(&Request) -> Reply + Send + 'static) -> Self {
        Self::listen("http", Ok, answer)
    }

    /// The same over HTTPS.
    pub(crate) fn start_tls(
        tls: Arc<ServerConfig>,
        answer: impl Fn(&Request) -> Reply + Send + 'static,
    ) -> Self {
        let wrap = move |stream| {
            let connection = ServerConnection::new(Arc::clone(&tls)).map_err(io::Error::other)?;
            Ok(StreamOwned::new(connection, stream))
        };
        Self::listen("https", wrap, answer)
    }

    fn listen<S: Read + Write + Send + 'static>(
        scheme: &str,
        wrap: impl Fn(TcpStream) -> io::Result<S> + Send + 'static,
        answer: impl Fn(&Request) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let web = format!("{scheme}://{}/fog/", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = wrap(stream.unwrap()).unwrap();
                if let Some(request) = read(&mut stream) {
                    let reply = answer(&request);
                    let is_head = request.method == "HEAD";
                    seen.lock().unwrap().push(request);
                    if reply.status == 0 {
                        continue;
                    }
                    write(stream, &reply, is_head);
                }
            }
        });
        Self { web, requests }
    }

    pub(crate) fn client(&self) -> Server {
        self.client_with_ticket(None)
    }

    pub(crate) fn client_with_ticket(&self, ticket: Option<&str>) -> Server {
        let mut identity = identity();
        identity.ticket = ticket.map(str::to_owned);
        Server::new(self.web.clone(), identity, &Trust::Unverified).unwrap()
    }

    pub(crate) fn web(&self) -> &str {
        &self.web
    }

    /// All requests so far, in order.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// A client of a server that does not exist.
    pub(crate) fn dead_client() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let web = format!("http://{}/fog/", listener.local_addr().unwrap());
        drop(listener);
        Server::new(web, identity(), &Trust::Unverified).unwrap()
    }
}

fn identity() -> Identity {
    Identity {
        mac: "00:1b:21:aa:bb:cc".into(),
        sysuuid: None,
        ticket: None,
    }
}

fn read(stream: &mut impl Read) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let method = words.next()?.to_owned();
    let target = words.next()?.to_owned();
    let mut len = 0;
    let (mut user_agent, mut range, mut authorization) = (None, None, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            len = value.trim().parse().ok()?;
        }
        if let Some(value) = header.strip_prefix("user-agent:") {
            user_agent = Some(value.trim().to_owned());
        }
        if let Some(value) = header.strip_prefix("range:") {
            range = Some(value.trim().to_owned());
        }
        if let Some(value) = header.strip_prefix("authorization:") {
            authorization = Some(value.trim().to_owned());
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    // Anything but a form has no fields that anybody asks for.
    let form = str::from_utf8(&body).unwrap_or_default();
    let fields = [query, form].into_iter().flat_map(decode).collect();
    Some(Request {
        method,
        path: path.to_owned(),
        fields,
        user_agent,
        range,
        authorization,
        body,
    })
}

fn decode(form: &str) -> Vec<(String, String)> {
    let url = reqwest::Url::parse(&format!("http://x/?{form}")).unwrap();
    url.query_pairs()
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

fn write(mut stream: impl Write + Send + 'static, reply: &Reply, is_head: bool) {
    let location = reply.location.as_ref();
    let location = location.map(|to| format!("Location: {to}\r\n"));
    let len = match reply.end {
        End::Proper => Some(reply.body.len()),
        End::Early => Some(reply.body.len() + 1),
        End::Never => None,
    };
    let len = len.map(|len| format!("Content-Length: {len}\r\n"));
    let head = format!(
        "HTTP/1.1 {} X\r\n{}{}Connection: close\r\n\r\n",
        reply.status,
        len.unwrap_or_default(),
        location.unwrap_or_default()
    );
    let body: &[u8] = if is_head { b"" } else { &reply.body };
    // The client may have given up already.
    let written = stream.write_all(&[head.as_bytes(), body].concat());
    if written.is_ok() && reply.end == End::Never {
        std::thread::spawn(move || {
            while stream.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
    }
}
