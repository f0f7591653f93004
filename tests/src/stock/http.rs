//! A web server that can break HTTP: it closes too early, sends half a page, or sends on to another one.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use nix::sched::{CloneFlags, setns};

/// What was asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`, `POST`, `HEAD`.
    pub method: String,
    /// Without host and query.
    pub path: String,
    /// Fields of the query and of the form, decoded.
    pub fields: Vec<(String, String)>,
    /// The program that asks, if it says so.
    pub user_agent: Option<String>,
}

impl Request {
    /// The first value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let (_, value) = fields.find(|(have, _)| have == name)?;
        Some(value)
    }
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Status 200 with this body.
    Text(String),
    /// Another status, and a body.
    Status(u16, String),
    /// To FOG's login page, as for a path that is not there.
    LoginPage,
    /// The beginning of a longer body, and the end of the connection.
    Half(String),
    /// The end of the connection.
    Nothing,
}

impl Reply {
    /// Status 200 with this body.
    #[must_use]
    pub fn text(body: &str) -> Self {
        Self::Text(body.to_owned())
    }
}

/// Serves from the network of namespace `namespace` until the process ends.
///
/// # Panics
/// The namespace or the address is not there.
pub(super) fn serve(
    namespace: &Path,
    address: SocketAddr,
    answer: impl Fn(Request) -> Reply + Send + Sync + 'static,
) {
    let file = File::open(namespace).unwrap();
    let (ready, is_ready) = mpsc::channel();
    let answer = Arc::new(answer);
    // A namespace belongs to a thread, and to those that it starts.
    std::thread::spawn(move || {
        setns(file, CloneFlags::CLONE_NEWNET).unwrap();
        let listener = TcpListener::bind(address).unwrap();
        ready.send(()).unwrap();
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || {
                if let Some(request) = read(&stream) {
                    let is_head = request.method == "HEAD";
                    // Whoever asked may be gone.
                    drop(write(stream, &answer(request), is_head));
                }
            });
        }
    });
    is_ready.recv().expect("the server listens");
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream.take(REQUEST_MAX));
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut len, mut user_agent) = (0, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim();
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':')?;
        match name.to_ascii_lowercase().as_str() {
            "content-length" => len = value.trim().parse().ok()?,
            "user-agent" => user_agent = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; len];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).ok()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pairs = query.split('&').chain(body.split('&'));
    let fields = pairs
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect();
    Some(Request {
        method,
        path: path.to_owned(),
        fields,
        user_agent,
    })
}

/// Undoes the encoding of a form.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let digits = String::from_utf8_lossy(&digits).into_owned();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn write(mut stream: TcpStream, reply: &Reply, is_head: bool) -> std::io::Result<()> {
    let (status, body, len) = match reply {
        Reply::Text(body) => (200, body.as_str(), body.len()),
        Reply::Status(status, body) => (*status, body.as_str(), body.len()),
        Reply::LoginPage => (302, "", 0),
        Reply::Half(body) => (200, body.as_str(), body.len() + 1000),
        Reply::Nothing => return Ok(()),
    };
    let location = match reply {
        Reply::LoginPage => "Location: http://10.99.0.1/fog/management/index.php\r\n",
        _ => "",
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: text/html; charset=UTF-8\r\nContent-Length: {len}\r\n{location}\
         Connection: close\r\n\r\n"
    );
    let body = if is_head { "" } else { body };
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())
}

/// Much more than any request here has.
const REQUEST_MAX: u64 = 1 << 20;
