//! One connection: hyper, and around it what bounds it.

use std::any::Any;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse as _;
use hyper::body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tower_http::catch_panic::{CatchPanic, ResponseForPanic};

use super::room::{Connection, Cut, Guest};
use super::{HttpService, Stream};

/// How a server ends.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    /// Answer what is in work, begin nothing.
    pub(super) stop: CancellationToken,
    /// Cut all.
    pub(super) abort: CancellationToken,
}

/// How long an answer that brings nothing new may wait: an extension of each request.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    seat: Arc<Connection>,
    stop: CancellationToken,
}

impl Patience {
    /// Nothing, while connections run out.
    pub(crate) fn longest(&self) -> Duration {
        self.seat.longest_hold()
    }

    /// Cancelled when the server ends: what waits is answered.
    pub(crate) fn ending(&self) -> &CancellationToken {
        &self.stop
    }
}

/// Serves a connection until its end; answers why it was cut.
pub(super) async fn run<IO, P, S>(
    guest: Guest,
    stream: IO,
    peer: P,
    service: S,
    ending: Ending,
) -> Option<Cut>
where
    IO: Stream,
    P: Clone + Send + Sync + 'static,
    S: HttpService,
{
    let seat = Arc::clone(&guest.0);
    let io = TokioIo::new(Watched {
        stream,
        seat: Arc::clone(&seat),
    });
    let answers = Answers {
        service,
        peer,
        seat: Arc::clone(&seat),
        stop: ending.stop.clone(),
    };
    let limits = seat.limits();
    let connection = http1::Builder::new()
        // All times are watched here.
        .header_read_timeout(None)
        .max_header_size(limits.request_head)
        .max_buf_size(limits.request_head)
        .serve_connection(io, answers);
    let mut connection = pin!(connection);
    let mut leave = pin!(seat.leave.cancelled());
    let mut stop = pin!(ending.stop.cancelled());
    let mut abort = pin!(ending.abort.cancelled());
    let mut timer = pin!(sleep_until(Instant::now() + limits.header_timeout));
    let mut is_stopping = false;
    let cut = poll_fn(|cx| {
        if leave.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Cut::Evicted));
        }
        if abort.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Cut::Shutdown));
        }
        if !is_stopping && stop.as_mut().poll(cx).is_ready() {
            is_stopping = true;
            connection.as_mut().graceful_shutdown();
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            if let Err(error) = ended {
                tracing::debug!("a connection failed: {error}");
            }
            return Poll::Ready(None);
        }
        // All that moves a deadline happens in the poll above.
        while let Some((at, cut)) = seat.deadline() {
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(cx).is_pending() {
                break;
            }
            if at <= Instant::now() {
                return Poll::Ready(Some(cut));
            }
        }
        Poll::Pending
    })
    .await;
    if matches!(cut, Some(Cut::Blocked | Cut::Shutdown)) {
        seat.resets.store(true, Ordering::Relaxed);
    }
    cut
}

/// A socket that notes what its peer does.
struct Watched<IO: Stream> {
    stream: IO,
    seat: Arc<Connection>,
}

impl<IO: Stream> Drop for Watched<IO> {
    fn drop(&mut self) {
        if self.seat.resets.load(Ordering::Relaxed) {
            self.stream.reset_at_close();
        }
    }
}

impl<IO: Stream> AsyncRead for Watched<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.seat.on_read();
        }
        read
    }
}

impl<IO: Stream> Watched<IO> {
    fn note(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(len)) if *len > 0 => self.seat.on_write(true),
            Poll::Ready(_) => {}
            Poll::Pending => self.seat.on_write(false),
        }
        written
    }
}

impl<IO: Stream> AsyncWrite for Watched<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.seat.on_flush(flushed.is_ready());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What answers the requests of one connection.
struct Answers<S, P> {
    service: S,
    peer: P,
    seat: Arc<Connection>,
    stop: CancellationToken,
}

impl<S, P> hyper::service::Service<Request<Incoming>> for Answers<S, P>
where
    S: HttpService,
    P: Clone + Send + Sync + 'static,
{
    type Response = Response<Answer>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        // What has no body is whole.
        if request.body().is_end_stream() {
            if !self.seat.begin() {
                return Box::pin(std::future::ready(Err(made_place())));
            }
        } else {
            self.seat.receive();
        }
        let seat = Arc::clone(&self.seat);
        let mut request = request.map(|incoming| Body::new(Timed::new(incoming, seat)));
        request
            .extensions_mut()
            .insert(ConnectInfo(self.peer.clone()));
        request.extensions_mut().insert(Patience {
            seat: Arc::clone(&self.seat),
            stop: self.stop.clone(),
        });
        let service = CatchPanic::custom(self.service.clone(), Panicked);
        let seat = Arc::clone(&self.seat);
        Box::pin(async move {
            let answered: Result<_, Infallible> = service.oneshot(request).await;
            let response = answered.unwrap_or_else(|never| match never {});
            // A handler may answer without the whole body.
            if !seat.begin() {
                return Err(made_place());
            }
            Ok(response.map(|body| Answer {
                body: Body::new(body),
                seat,
            }))
        })
    }
}

fn made_place() -> io::Error {
    io::Error::other("the connection had to make place for another one")
}

/// Answers in place of a handler that panicked.
#[derive(Debug, Clone, Copy)]
struct Panicked;

impl ResponseForPanic for Panicked {
    type ResponseBody = Body;

    fn response_for_panic(&mut self, cause: Box<dyn Any + Send>) -> Response<Body> {
        let text = cause
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| cause.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        tracing::error!("server: answering a request panicked: {text}");
        (StatusCode::INTERNAL_SERVER_ERROR, INTERNAL_ERROR).into_response()
    }
}

const INTERNAL_ERROR: &str =
    "the server could not answer because of an internal error; its log has the cause\n";

/// The body of an answer: when it is dropped, the connection waits for its next request.
struct Answer {
    body: Body,
    seat: Arc<Connection>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.seat.end();
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request, which must be there in time. The request begins when it is whole: until then
/// its connection may have to make place.
struct Timed {
    body: Incoming,
    seat: Arc<Connection>,
    limit: Duration,
    until: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    fn new(body: Incoming, seat: Arc<Connection>) -> Self {
        let limit = seat.limits().body_timeout;
        Self {
            body,
            seat,
            limit,
            until: Instant::now() + limit,
            timer: None,
        }
    }

    fn arrived(
        &self,
        frame: Option<Result<Frame<Bytes>, hyper::Error>>,
    ) -> Option<Result<Frame<Bytes>, axum::Error>> {
        let is_whole = match &frame {
            None => true,
            Some(Ok(_)) => self.body.is_end_stream(),
            Some(Err(_)) => false,
        };
        if is_whole && !self.seat.begin() {
            return Some(Err(axum::Error::new(made_place())));
        }
        frame.map(|frame| frame.map_err(axum::Error::new))
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let until = self.until;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(until)));
        timer.as_mut().poll(cx).is_ready()
    }
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(self.arrived(frame)),
            Poll::Pending if self.is_over(cx) => {
                let text = format!("it was not there after {} s", self.limit.as_secs());
                let error = io::Error::new(io::ErrorKind::TimedOut, text);
                Poll::Ready(Some(Err(axum::Error::new(error))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
