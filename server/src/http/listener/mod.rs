//! The sockets that clients connect to, and what each of them may cost us.
//!
//! A connection waits for a whole request, or has one in work. The first kind costs nothing when it is
//! closed: it has deadlines, and makes place when there are too many. The second kind ends with its
//! answer, as long as the client takes it.

mod complaints;
mod connection;
mod limits;
mod local;
mod room;
#[cfg(test)]
mod tests;
mod tls;

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::complaints::{About, Complaints};
use self::connection::Ending;
use self::room::{Admission, Cut, Guest, Room};

pub(crate) use self::connection::Patience;
pub use self::limits::{FileLimit, Limits, raise_file_limit};
pub use self::local::{LocalPeer, LocalSocket, serve_local};
pub use self::tls::serve_tls;

/// What answers requests: a [`Router`](axum::Router), or one in a layer.
pub trait HttpService:
    tower::Service<
        Request<Body>,
        Response = Response<Body>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
{
}

impl<S> HttpService for S where
    S: tower::Service<
            Request<Body>,
            Response = Response<Body>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static
{
}

/// Serves HTTP/1 until `shutdown`, and returns at most [`Limits::shutdown_grace`] and a second after it.
///
/// Handlers find the client's address as `ConnectInfo<SocketAddr>`.
///
/// # Errors
/// None at present: a listener goes on whatever happens to one connection.
pub async fn serve<S: HttpService>(
    listener: TcpListener,
    service: S,
    limits: Limits,
    shutdown: CancellationToken,
) -> io::Result<()> {
    serve_among(listener, service, &Connections::new(limits), shutdown).await
}

/// The same, of several listeners whose connections are counted together.
///
/// # Errors
/// None at present.
pub async fn serve_among<S: HttpService>(
    listener: TcpListener,
    service: S,
    connections: &Connections,
    shutdown: CancellationToken,
) -> io::Result<()> {
    run(listener, service, connections, shutdown).await;
    Ok(())
}

/// The connections of one or several listeners, and how many there may be.
#[derive(Debug, Clone)]
pub struct Connections(Arc<Room>);

impl Connections {
    /// None yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Room::new(limits)))
    }
}

/// A listening socket.
trait Listen: Send + Sync + 'static {
    type Stream: Stream;
    type Peer: Clone + Send + Sync + 'static;

    /// The next connection; dropping the future loses none.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;

    /// The address whose connections are counted.
    fn address(peer: &Self::Peer) -> Option<IpAddr>;

    /// Prepares a new connection, or says why it is not wanted.
    fn prepare(
        &self,
        stream: &Self::Stream,
        peer: &Self::Peer,
        limits: &Limits,
    ) -> Result<(), About>;
}

/// A connected socket.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// What the kernel has not sent yet is thrown away when the socket is closed.
    fn reset_at_close(&self) {}
}

impl Stream for TcpStream {
    fn reset_at_close(&self) {
        note(SockRef::from(self).set_linger(Some(Duration::ZERO)));
    }
}

impl Listen for TcpListener {
    type Stream = TcpStream;
    type Peer = SocketAddr;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        Self::accept(self).await
    }

    fn address(peer: &SocketAddr) -> Option<IpAddr> {
        Some(peer.ip())
    }

    fn prepare(&self, stream: &TcpStream, _: &SocketAddr, limits: &Limits) -> Result<(), About> {
        let socket = SockRef::from(stream);
        note(socket.set_tcp_nodelay(true));
        note(socket.set_send_buffer_size(limits.write_buffer));
        // The end of an answer that a vanished client never takes is the kernel's to keep.
        note(socket.set_tcp_user_timeout(Some(limits.write_timeout)));
        Ok(())
    }
}

/// An option that a socket does not take costs speed or memory, no correctness.
fn note(set: io::Result<()>) {
    if let Err(error) = set {
        tracing::debug!("setting a socket option: {error}");
    }
}

async fn run<L: Listen, S: HttpService>(
    listener: L,
    service: S,
    connections: &Connections,
    shutdown: CancellationToken,
) {
    let room = Arc::clone(&connections.0);
    let limits = room.limits;
    let complaints = Arc::new(Complaints::new(limits));
    let teller = tokio::spawn({
        let complaints = Arc::clone(&complaints);
        async move { complaints.tell().await }
    });
    let ending = Ending {
        stop: shutdown.clone(),
        abort: CancellationToken::new(),
    };
    let tasks = TaskTracker::new();
    let acceptor = Acceptor {
        listener,
        room: Arc::clone(&room),
        complaints: Arc::clone(&complaints),
        service,
        ending: ending.clone(),
        tasks: tasks.clone(),
        refusals: Arc::new(Semaphore::new(REFUSALS)),
    };
    // Either way the socket is closed here.
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = acceptor.run() => {}
    }
    room.evict_all();
    tasks.close();
    let grace = limits.shutdown_grace;
    if tokio::time::timeout(grace, tasks.wait()).await.is_err() {
        let held = room.held();
        tracing::info!(
            "server: {held} connections did not end within {} s",
            grace.as_secs()
        );
        ending.abort.cancel();
        // They end as soon as they run; this is for a handler that does not give its thread back.
        if tokio::time::timeout(LAST_GRACE, tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("server: {} requests do not end", room.held());
        }
    }
    teller.abort();
    complaints.finish();
}

/// Refusals that are written at a time; further ones are connections that are closed.
const REFUSALS: usize = 32;

pub(crate) const LAST_GRACE: Duration = Duration::from_secs(1);

struct Acceptor<L, S> {
    listener: L,
    room: Arc<Room>,
    complaints: Arc<Complaints>,
    service: S,
    ending: Ending,
    tasks: TaskTracker,
    refusals: Arc<Semaphore>,
}

impl<L: Listen, S: HttpService> Acceptor<L, S> {
    /// Accepts for ever; may be dropped at any time.
    async fn run(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    pause = FIRST_PAUSE;
                    self.take_in(stream, peer).await;
                }
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    // Mostly: no more files can be opened. The next call would fail as well.
                    self.complaints.about(About::Accept(error.to_string()));
                    self.room.evict();
                    let changed = self.room.changed.notified();
                    drop(tokio::time::timeout(pause, changed).await);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn take_in(&self, stream: L::Stream, peer: L::Peer) {
        let address = L::address(&peer);
        if let Some(address) = address
            && self.room.is_full_for(address)
        {
            self.complaints.about(About::Address(address));
            self.refuse(stream);
            return;
        }
        if let Err(about) = self.listener.prepare(&stream, &peer, &self.room.limits) {
            self.complaints.about(about);
            return;
        }
        let guest = self.place(address).await;
        let service = self.service.clone();
        let ending = self.ending.clone();
        let complaints = Arc::clone(&self.complaints);
        self.tasks.spawn(async move {
            match connection::run(guest, stream, peer, service, ending).await {
                Some(Cut::Blocked) => complaints.about(About::Blocked(address)),
                Some(cut) => tracing::debug!(?address, "a connection was cut: {cut:?}"),
                None => {}
            }
        });
    }

    /// Waits for a place among the connections.
    async fn place(&self, address: Option<IpAddr>) -> Guest {
        loop {
            match self.room.enter(address) {
                Admission::In(guest) => return guest,
                Admission::Leaving => self.complaints.about(About::Evicted),
                Admission::Full => self.complaints.about(About::Full),
            }
            // Another listener of this room may have been told in place of this one.
            let changed = self.room.changed.notified();
            drop(tokio::time::timeout(LONGEST_PAUSE, changed).await);
        }
    }

    /// Says that the address has too many connections.
    fn refuse(&self, mut stream: L::Stream) {
        let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else {
            return;
        };
        let abort = self.ending.abort.clone();
        self.tasks.spawn(async move {
            let refusal = async {
                stream.write_all(REFUSAL.as_bytes()).await?;
                stream.shutdown().await?;
                // A socket that is closed before its input was read takes back what was said.
                let mut request = stream.take(MAX_UNREAD);
                tokio::io::copy(&mut request, &mut tokio::io::sink()).await
            };
            tokio::select! {
                () = abort.cancelled() => {}
                refused = tokio::time::timeout(REFUSAL_TIME, refusal) => {
                    if let Ok(Err(error)) = refused {
                        tracing::debug!("refusing a connection: {error}");
                    }
                }
            }
            drop(permit);
        });
    }
}

/// Errors that `accept` reports of a connection that is gone already.
fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

const REFUSAL: &str = "HTTP/1.1 503 Service Unavailable\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 76\r\n\
    retry-after: 5\r\n\
    connection: close\r\n\
    \r\n\
    # this address has too many connections to the server; asking again may help";

const REFUSAL_TIME: Duration = Duration::from_secs(2);
const MAX_UNREAD: u64 = 16 << 10;
