//! TLS in front of HTTP. The handshake is a part of the time that the head of the first request may take, and whoever is
//! in it waits for a request: that one makes place when there are too many.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};
use tokio_util::sync::CancellationToken;

use super::complaints::About;
use super::{Connections, HttpService, Limits, Listen, Stream, run};

/// As [`serve_among`](super::serve_among), over TLS.
///
/// # Errors
/// None at present.
pub async fn serve_tls<S: HttpService>(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    service: S,
    connections: &Connections,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let listener = TlsListener {
        listener,
        acceptor: TlsAcceptor::from(tls),
    };
    run(listener, service, connections, shutdown).await;
    Ok(())
}

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listen for TlsListener {
    type Stream = Tls;
    type Peer = SocketAddr;

    async fn accept(&self) -> io::Result<(Tls, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        let tls = Tls(Stage::Shaking(Box::new(self.acceptor.accept(stream))));
        Ok((tls, peer))
    }

    fn address(peer: &SocketAddr) -> Option<IpAddr> {
        Some(peer.ip())
    }

    fn prepare(&self, stream: &Tls, peer: &SocketAddr, limits: &Limits) -> Result<(), About> {
        match stream.tcp() {
            Some(tcp) => self.listener.prepare(tcp, peer, limits),
            None => Ok(()),
        }
    }
}

/// A connection whose handshake goes on as somebody reads or writes.
struct Tls(Stage);

enum Stage {
    Shaking(Box<Accept<TcpStream>>),
    Open(Box<TlsStream<TcpStream>>),
    /// The handshake has failed.
    Failed,
}

impl Tls {
    fn tcp(&self) -> Option<&TcpStream> {
        match &self.0 {
            Stage::Shaking(accept) => accept.get_ref(),
            Stage::Open(stream) => Some(stream.get_ref().0),
            Stage::Failed => None,
        }
    }

    fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Pin<&mut TlsStream<TcpStream>>>> {
        if let Stage::Shaking(accept) = &mut self.0 {
            match ready!(Pin::new(&mut **accept).poll(cx)) {
                Ok(stream) => self.0 = Stage::Open(Box::new(stream)),
                Err(error) => {
                    self.0 = Stage::Failed;
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(match &mut self.0 {
            Stage::Open(stream) => Ok(Pin::new(&mut **stream)),
            Stage::Shaking(_) | Stage::Failed => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

impl Stream for Tls {
    fn reset_at_close(&self) {
        if let Some(tcp) = self.tcp() {
            tcp.reset_at_close();
        }
    }
}

impl AsyncRead for Tls {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx))?.poll_read(cx, buf)
    }
}

impl AsyncWrite for Tls {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Stage::Open(stream) => Pin::new(&mut **stream).poll_flush(cx),
            // There is nothing of ours to be sent yet.
            Stage::Shaking(_) | Stage::Failed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Stage::Open(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            // The socket is closed when this is dropped.
            Stage::Shaking(_) | Stage::Failed => Poll::Ready(Ok(())),
        }
    }
}

#[cfg(test)]
mod tests {
    //! As the tests of the listener: what waits for a limit does so on a clock that jumps.

    use std::net::Ipv4Addr;
    use std::time::Duration;

    use axum::Router;
    use axum::routing::get;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, RootCertStore};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio_rustls::{TlsConnector, client};

    use super::*;
    use crate::https::{Identity, Source, server_config};

    /// Of this many bytes is the long answer: more than all buffers on its way.
    const LONG: usize = 16 << 20;

    struct Server {
        address: SocketAddr,
        plain: SocketAddr,
        client: TlsConnector,
        shutdown: CancellationToken,
        _dir: tempfile::TempDir,
    }

    fn limits() -> Limits {
        Limits {
            connections: 4,
            connections_per_address: 100,
            ..Limits::default()
        }
    }

    /// HTTP and HTTPS that count together.
    async fn start(limits: Limits) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let source = Source::Own {
            directory: dir.path().join("https"),
        };
        let identity = Arc::new(Identity::new(source, Vec::new()));
        identity.load().unwrap();
        let [certificate, _] = identity.source().files();
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(certificate).unwrap();
        roots.add(certificate).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let router = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/long", get(|| async { vec![b'x'; LONG] }));
        let connections = Connections::new(limits);
        let shutdown = CancellationToken::new();
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let (listener, plain) = (bind().await.unwrap(), bind().await.unwrap());
        let server = Server {
            address: listener.local_addr().unwrap(),
            plain: plain.local_addr().unwrap(),
            client: TlsConnector::from(Arc::new(config)),
            shutdown: shutdown.clone(),
            _dir: dir,
        };
        let tls = server_config(&identity).unwrap();
        tokio::spawn({
            let (router, connections) = (router.clone(), connections.clone());
            let shutdown = shutdown.clone();
            async move { serve_tls(listener, tls, router, &connections, shutdown).await }
        });
        tokio::spawn(async move {
            super::super::serve_among(plain, router, &connections, shutdown).await
        });
        server
    }

    impl Drop for Server {
        fn drop(&mut self) {
            self.shutdown.cancel();
        }
    }

    impl Server {
        async fn connect(&self) -> client::TlsStream<TcpStream> {
            let tcp = TcpStream::connect(self.address).await.unwrap();
            let name = ServerName::try_from("127.0.0.1").unwrap();
            self.client.connect(name, tcp).await.unwrap()
        }

        async fn get(&self) -> String {
            let mut stream = self.connect().await;
            let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            text
        }
    }

    #[tokio::test]
    async fn a_request_is_answered_and_the_connection_is_kept() {
        let server = start(limits()).await;
        let mut stream = server.connect().await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), None);
        for _ in 0..3 {
            let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
            stream.write_all(request).await.unwrap();
            let mut text = Vec::new();
            while !text.ends_with(b"hello") {
                text.push(stream.read_u8().await.unwrap());
            }
            assert!(text.starts_with(b"HTTP/1.1 200"));
        }
        // What is no TLS gets nothing but an end.
        let mut plain = TcpStream::connect(server.address).await.unwrap();
        plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut bytes = Vec::new();
        drop(plain.read_to_end(&mut bytes).await);
        assert!(!bytes.starts_with(b"HTTP"), "{bytes:?}");
        assert!(server.get().await.ends_with("hello"));
    }

    #[tokio::test]
    async fn a_handshake_that_does_not_end_is_cut() {
        let server = start(limits()).await;
        let mut silent = TcpStream::connect(server.address).await.unwrap();
        // The beginning of a record of a handshake.
        let mut half = TcpStream::connect(server.address).await.unwrap();
        half.write_all(&[22, 3, 1, 1, 0, 1]).await.unwrap();
        // Both were taken in, as others are after them.
        assert!(server.get().await.ends_with("hello"));
        tokio::time::pause();
        let before = tokio::time::Instant::now();
        for stream in [&mut silent, &mut half] {
            let mut bytes = Vec::new();
            drop(stream.read_to_end(&mut bytes).await);
        }
        assert!(before.elapsed() <= limits().header_timeout + Duration::from_secs(2));
    }

    #[tokio::test]
    async fn half_handshakes_keep_nobody_out_on_either_port() {
        let server = start(limits()).await;
        let mut halves = Vec::new();
        for _ in 0..4 {
            let mut half = TcpStream::connect(server.address).await.unwrap();
            half.write_all(&[22, 3, 1]).await.unwrap();
            halves.push(half);
        }
        for _ in 0..5 {
            assert!(server.get().await.ends_with("hello"));
            let mut plain = TcpStream::connect(server.plain).await.unwrap();
            let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            plain.write_all(request).await.unwrap();
            let mut text = String::new();
            plain.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with("HTTP/1.1 200"), "{text}");
        }
        // They are counted together: the oldest had to go.
        let mut bytes = Vec::new();
        drop(halves.remove(0).read_to_end(&mut bytes).await);
    }

    #[tokio::test]
    async fn who_does_not_read_is_cut() {
        let server = start(limits()).await;
        let mut stream = server.connect().await;
        let request = b"GET /long HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all(request).await.unwrap();
        // The answer is on its way.
        stream.read_u8().await.unwrap();
        tokio::time::pause();
        let all = limits().write_timeout + Duration::from_secs(5);
        tokio::time::sleep(all).await;
        tokio::time::resume();
        let mut read = 0;
        let mut buffer = vec![0; 1 << 20];
        while let Ok(len @ 1..) = stream.read(&mut buffer).await {
            read += len;
        }
        assert!(read < LONG, "all of it was sent");
    }
}
