//! Real sockets of this machine. No test depends on how long something takes: what waits for a limit
//! does so on a clock that jumps, once everything else has come to rest.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Bytes;
use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use hyper::body::Frame;
use tokio::io::DuplexStream;
use tokio::net::TcpSocket;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;

/// A server and what ends it.
struct Server {
    address: SocketAddr,
    shutdown: CancellationToken,
    ended: JoinHandle<io::Result<()>>,
    gate: Arc<Gate>,
}

/// What a handler waits for, and how many do.
#[derive(Default)]
struct Gate {
    open: Notify,
    inside: AtomicUsize,
    entered: Notify,
}

impl Gate {
    async fn pass(&self) {
        self.inside.fetch_add(1, Ordering::SeqCst);
        self.entered.notify_waiters();
        self.open.notified().await;
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }

    async fn entered_by(&self, count: usize) {
        loop {
            let entered = self.entered.notified();
            if self.inside.load(Ordering::SeqCst) == count {
                return;
            }
            entered.await;
        }
    }
}

fn limits() -> Limits {
    Limits {
        connections: 8,
        connections_per_address: 100,
        ..Limits::default()
    }
}

async fn start(limits: Limits) -> Server {
    start_with(limits, Router::new()).await
}

async fn start_with(limits: Limits, more: Router) -> Server {
    let gate = Arc::new(Gate::default());
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route(
            "/who",
            get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move { peer.to_string() }),
        )
        .route("/panic", get(panics))
        .route(
            "/form",
            post(|body: Bytes| async move { body.len().to_string() }),
        )
        .route(
            "/gate",
            get({
                let gate = Arc::clone(&gate);
                || async move {
                    gate.pass().await;
                    "through"
                }
            }),
        )
        .merge(more);
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shutdown = CancellationToken::new();
    Server {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        ended: tokio::spawn(serve(listener, router, limits, shutdown.clone())),
        shutdown,
        gate,
    }
}

async fn panics() -> &'static str {
    panic!("of purpose")
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn connect_from(&self, own: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((own, 0))).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// A connection on which `text` was sent.
    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    async fn get(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        rest(self.send(&request).await).await
    }
}

/// Everything until the other side closes; what it had sent before a reset counts.
async fn rest(mut stream: impl AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes).await;
    if let Err(error) = read {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
    }
    String::from_utf8(bytes).unwrap()
}

/// One answer of a connection that stays open; all bodies here end with their last byte.
async fn answer(stream: &mut TcpStream, last: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(last.as_bytes()) {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).await.unwrap(), 1, "closed too early");
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const GATE: &str = "GET /gate HTTP/1.1\r\nhost: x\r\n\r\n";
const HALF: &str = "GET / HTTP/1.1\r\nhost: x\r\nx-more: ";

#[tokio::test]
async fn handlers_know_the_address_of_the_client() {
    let server = start(limits()).await;
    let mut stream = server.connect_from(Ipv4Addr::new(127, 0, 5, 6)).await;
    let own = stream.local_addr().unwrap().to_string();
    let request = "GET /who HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let text = rest(stream).await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.ends_with(&own), "{text}");
}

#[tokio::test]
async fn half_headers_do_not_keep_a_client_out() {
    let server = start(limits()).await;
    let mut halves = Vec::new();
    for _ in 0..8 {
        halves.push(server.send(HALF).await);
    }
    for _ in 0..20 {
        let text = server.get("/").await;
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }
    // The oldest had to go.
    assert_eq!(rest(halves.remove(0)).await, "");
}

/// Nothing is in work for a request of which a part is still on its way.
#[tokio::test]
async fn half_bodies_do_not_keep_a_client_out() {
    let reached = Arc::new(Gate::default());
    let handler = {
        let reached = Arc::clone(&reached);
        move |request: Request<Body>| async move {
            reached.inside.fetch_add(1, Ordering::SeqCst);
            reached.entered.notify_waiters();
            let body = axum::body::to_bytes(request.into_body(), 1000).await;
            body.map_or(0, |body| body.len()).to_string()
        }
    };
    let limits = Limits {
        body_timeout: Duration::from_secs(3600),
        ..limits()
    };
    let server = start_with(limits, Router::new().route("/slow", post(handler))).await;
    let mut halves = VecDeque::new();
    for _ in 0..8 {
        let head = "POST /slow HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\na";
        halves.push_back(server.send(head).await);
    }
    reached.entered_by(8).await;
    let asked = tokio::time::timeout(DEADLINE, server.get("/")).await;
    let text = asked.expect("no answer while bodies are awaited");
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    // The oldest had to go, the newest is answered.
    assert_eq!(rest(halves.pop_front().unwrap()).await, "");
    let mut newest = halves.pop_back().unwrap();
    newest.write_all(b"bc").await.unwrap();
    let text = answer(&mut newest, "\r\n\r\n3").await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
}

/// Whatever takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_connection_that_becomes_idle_makes_place_for_who_waits() {
    let limits = Limits {
        connections: 2,
        ..limits()
    };
    let server = start(limits).await;
    let mut first = server.send(GATE).await;
    let _second = server.send(GATE).await;
    server.gate.entered_by(2).await;
    let third = tokio::spawn({
        let stream = server
            .send("GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
            .await;
        rest(stream)
    });
    // The first of both in line.
    server.gate.open.notify_one();
    assert!(
        answer(&mut first, "through")
            .await
            .starts_with("HTTP/1.1 200")
    );
    assert!(third.await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(rest(first).await, "");
}

#[tokio::test]
async fn an_address_has_its_limit_and_others_are_served() {
    let limits = Limits {
        connections: 100,
        connections_per_address: 2,
        ..limits()
    };
    let server = start(limits).await;
    let _busy = server.send(GATE).await;
    server.gate.entered_by(1).await;
    let _half = server.send(HALF).await;
    for _ in 0..REFUSALS * 2 {
        let text = rest(server.send(REQUEST).await).await;
        assert!(text.starts_with("HTTP/1.1 503"), "{text}");
        assert!(text.contains("\r\nretry-after: 5\r\n"), "{text}");
        assert!(text.ends_with("asking again may help"), "{text}");
    }
    let mut other = server.connect_from(Ipv4Addr::new(127, 0, 0, 2)).await;
    other.write_all(REQUEST.as_bytes()).await.unwrap();
    assert!(
        answer(&mut other, "hello")
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server = start(limits()).await;
    let mut stream = server.send(REQUEST).await;
    answer(&mut stream, "hello").await;
    tokio::time::pause();
    let before = Instant::now();
    assert_eq!(rest(stream).await, "");
    assert!(before.elapsed() <= limits().idle_timeout + Duration::from_secs(1));
}

#[tokio::test]
async fn a_header_that_does_not_end_is_cut() {
    let server = start(limits()).await;
    let mut stream = server.send(REQUEST).await;
    answer(&mut stream, "hello").await;
    tokio::time::pause();
    let before = Instant::now();
    stream.write_all(HALF.as_bytes()).await.unwrap();
    let (reader, mut writer) = stream.into_split();
    let drip = async {
        // A byte each second does not help.
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let (text, ()) = tokio::join!(rest(reader), drip);
    assert_eq!(text, "");
    assert!(before.elapsed() <= limits().header_timeout + Duration::from_secs(2));
}

#[tokio::test]
async fn a_body_that_drips_is_cut() {
    let server = start(limits()).await;
    let head = "POST /form HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n";
    let stream = server.send(head).await;
    tokio::time::pause();
    let before = Instant::now();
    let (reader, mut writer) = stream.into_split();
    let drip = async {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let (text, ()) = tokio::join!(rest(reader), drip);
    assert!(text.starts_with("HTTP/1.1 400"), "{text}");
    assert!(text.contains("not there after 30 s"), "{text}");
    assert!(before.elapsed() <= limits().body_timeout + Duration::from_secs(2));
}

#[tokio::test]
async fn a_whole_body_is_taken() {
    let server = start(limits()).await;
    let head = "POST /form HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n";
    let mut stream = server.send(head).await;
    stream.write_all(b"abc").await.unwrap();
    assert!(
        answer(&mut stream, "\r\n\r\n3")
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn a_header_that_is_too_long_is_refused() {
    let server = start(limits()).await;
    let long = "x".repeat(limits().request_head);
    let text = rest(server.send(&format!("{HALF}{long}\r\n\r\n")).await).await;
    assert!(text.starts_with("HTTP/1.1 431"), "{text}");
}

/// A body without end that counts what is taken of it.
#[derive(Clone, Default)]
struct Endless {
    bytes: Arc<AtomicU64>,
    is_dropped: Arc<AtomicBool>,
}

const PIECE: &[u8] = &[7; 64 << 10];

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.bytes.fetch_add(PIECE.len() as u64, Ordering::SeqCst);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(PIECE)))))
    }
}

/// An [`Endless`] that notes its end.
struct Noting(Endless);

impl Drop for Noting {
    fn drop(&mut self) {
        self.0.is_dropped.store(true, Ordering::SeqCst);
    }
}

impl hyper::body::Body for Noting {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(cx)
    }
}

fn endless(endless: &Endless) -> Router {
    let endless = endless.clone();
    Router::new().route(
        "/endless",
        get(|| async move { Body::new(Noting(endless)) }),
    )
}

#[tokio::test]
async fn a_download_that_is_not_read_is_cut_and_costs_little() {
    let body = Endless::default();
    let server = start_with(limits(), endless(&body)).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    stream
        .write_all(b"GET /endless HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    // The beginning is read, so that the answer is known to be on its way.
    answer(&mut stream, "\r\n\r\n").await;
    tokio::time::pause();
    let before = Instant::now();
    while !body.is_dropped.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(before.elapsed() <= limits().write_timeout + Duration::from_secs(2));
    // Ours: what hyper holds, and the kernel's two buffers, each twice what was asked for.
    let most = PIECE.len() + limits().request_head + 2 * limits().write_buffer + (32 << 10);
    let most = (most + PIECE.len()) as u64;
    let taken = body.bytes.load(Ordering::SeqCst);
    assert!(taken <= most, "{taken} of {most}");
    // What the kernel had is thrown away.
    let mut bytes = Vec::new();
    let error = stream.read_to_end(&mut bytes).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_slow_reader_is_served_as_long_as_it_reads() {
    let body = Endless::default();
    let server = start_with(limits(), endless(&body)).await;
    let mut stream = server.send("GET /endless HTTP/1.1\r\n\r\n").await;
    answer(&mut stream, "\r\n\r\n").await;
    tokio::time::pause();
    let mut buffer = vec![0; 256 << 10];
    for _ in 0..20 {
        // Half of the time allowed, ten times the limit in all.
        tokio::time::sleep(limits().write_timeout / 2).await;
        let mut left = buffer.len();
        while left > 0 {
            left -= stream.read(&mut buffer[..left]).await.unwrap();
        }
    }
    assert!(!body.is_dropped.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let server = start(limits()).await;
    let text = server.get("/panic").await;
    assert!(text.starts_with("HTTP/1.1 500"), "{text}");
    assert!(text.contains("its log has the cause"), "{text}");
    assert!(server.get("/").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn running_requests_are_answered_at_the_end() {
    let server = start(limits()).await;
    let stream = server.send(GATE).await;
    let idle = server.connect().await;
    server.gate.entered_by(1).await;
    server.shutdown.cancel();
    assert_eq!(rest(idle).await, "");
    server.gate.open.notify_one();
    let text = rest(stream).await;
    assert!(text.ends_with("through"), "{text}");
    server.ended.await.unwrap().unwrap();
    let error = TcpStream::connect(server.address).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn stuck_clients_do_not_hinder_the_end() {
    let body = Endless::default();
    let server = start_with(limits(), endless(&body)).await;
    let _busy = server.send(GATE).await;
    let _half = server.send(HALF).await;
    let _body = server
        .send("POST /form HTTP/1.1\r\ncontent-length: 10\r\n\r\n")
        .await;
    let mut unread = server.send("GET /endless HTTP/1.1\r\n\r\n").await;
    answer(&mut unread, "\r\n\r\n").await;
    server.gate.entered_by(1).await;
    tokio::time::pause();
    let before = Instant::now();
    server.shutdown.cancel();
    server.ended.await.unwrap().unwrap();
    assert!(before.elapsed() <= limits().shutdown_grace + LAST_GRACE);
    assert!(body.is_dropped.load(Ordering::SeqCst));
}

/// A listener whose every step is told by the test.
struct Scripted(Mutex<VecDeque<io::Result<DuplexStream>>>);

impl Stream for DuplexStream {}

impl Listen for Scripted {
    type Stream = DuplexStream;
    type Peer = SocketAddr;

    async fn accept(&self) -> io::Result<(DuplexStream, SocketAddr)> {
        let next = self.0.lock().unwrap().pop_front();
        match next {
            Some(next) => next.map(|stream| (stream, SocketAddr::from(([10, 0, 0, 1], 1)))),
            None => std::future::pending().await,
        }
    }

    fn address(peer: &SocketAddr) -> Option<IpAddr> {
        Some(peer.ip())
    }

    fn prepare(&self, _: &DuplexStream, _: &SocketAddr, _: &Limits) -> Result<(), About> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_lack_of_files_closes_what_waits_and_is_waited_out() {
    let no_files = || Err(io::Error::from_raw_os_error(nix::libc::EMFILE));
    let (idle, idle_end) = tokio::io::duplex(1 << 10);
    let (mut client, client_end) = tokio::io::duplex(1 << 10);
    let mut script = VecDeque::from([Ok(idle_end)]);
    script.extend((0..1000).map(|_| no_files()));
    script.push_back(Err(io::ErrorKind::ConnectionAborted.into()));
    script.push_back(Ok(client_end));
    let listener = Scripted(Mutex::new(script));
    let shutdown = CancellationToken::new();
    let router = Router::new().route("/", get(|| async { "hello" }));
    let before = Instant::now();
    let server = tokio::spawn({
        let shutdown = shutdown.clone();
        async move { run(listener, router, &Connections::new(limits()), shutdown).await }
    });
    client
        .write_all(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    assert!(rest(client).await.starts_with("HTTP/1.1 200"));
    assert_eq!(rest(idle).await, "");
    // A thousand failures were not a loop that keeps a processor busy.
    assert!(before.elapsed() > Duration::from_secs(900));
    shutdown.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn the_local_socket_answers_and_names_its_user() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let socket = LocalSocket::bind(&path).unwrap();
    let router = Router::new().route(
        "/",
        get(|ConnectInfo(peer): ConnectInfo<LocalPeer>| async move { peer.uid.to_string() }),
    );
    let shutdown = CancellationToken::new();
    let limits = Limits {
        connections_per_address: 1,
        ..limits()
    };
    let server = tokio::spawn(serve_local(socket, router, limits, shutdown.clone()));
    let own = nix::unistd::geteuid().as_raw().to_string();
    let _other = tokio::net::UnixStream::connect(&path).await.unwrap();
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let text = rest(stream).await;
    assert!(text.ends_with(&format!("\r\n\r\n{own}")), "{text}");
    shutdown.cancel();
    server.await.unwrap().unwrap();
    assert!(!path.exists());
}
