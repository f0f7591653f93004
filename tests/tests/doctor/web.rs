//! What runs on hosts of the network in threads of the test: a web server whose answers come from a closure, and
//! broadcasts.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use nix::sched::{CloneFlags, setns};

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: u16,
    location: Option<String>,
    /// Now, if not given.
    date: Option<&'static str>,
    body: String,
}

impl Answer {
    pub(crate) fn text(body: &str) -> Self {
        Self {
            status: 200,
            location: None,
            date: None,
            body: body.into(),
        }
    }

    pub(crate) fn status(status: u16) -> Self {
        Self {
            status,
            ..Self::text("")
        }
    }

    pub(crate) fn redirect(to: &str) -> Self {
        Self {
            location: Some(to.into()),
            ..Self::status(302)
        }
    }

    pub(crate) fn at(self, date: &'static str) -> Self {
        Self {
            date: Some(date),
            ..self
        }
    }

    fn bytes(&self) -> String {
        let date = self.date.map_or_else(now, str::to_owned);
        let mut head = format!(
            "HTTP/1.1 {} X\r\nDate: {date}\r\nConnection: close\r\nContent-Length: {}\r\n",
            self.status,
            self.body.len()
        );
        if let Some(to) = &self.location {
            head += &format!("Location: {to}\r\n");
        }
        format!("{head}\r\n{}", self.body)
    }
}

fn now() -> String {
    httpdate::fmt_http_date(SystemTime::now())
}

/// A thread with the network of a host. It ends when this is dropped.
struct Resident {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Resident {
    /// Does `turn` with what `open` has opened, again and again.
    #[track_caller]
    fn start<T>(
        namespace: &str,
        open: impl FnOnce() -> T + Send + 'static,
        mut turn: impl FnMut(&T) + Send + 'static,
    ) -> Self {
        let namespace = File::open(format!("/run/netns/{namespace}")).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let (ready, is_ready) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            // This thread alone.
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            let opened = open();
            ready.send(()).unwrap();
            while !over.load(Ordering::SeqCst) {
                turn(&opened);
                std::thread::sleep(TURN);
            }
        });
        is_ready.recv().unwrap();
        Self {
            is_over,
            thread: Some(thread),
        }
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Serves until it is dropped.
pub(crate) struct Web {
    _resident: Resident,
}

impl Web {
    /// On this port of the host with this namespace. `answer` gets the path without the query.
    #[track_caller]
    pub(crate) fn start(
        namespace: &str,
        port: u16,
        answer: impl Fn(&str) -> Answer + Send + 'static,
    ) -> Self {
        let open = move || {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        };
        let serve = move |listener: &TcpListener| {
            while let Ok((stream, _)) = listener.accept() {
                serve(stream, &answer);
            }
        };
        Self {
            _resident: Resident::start(namespace, open, serve),
        }
    }
}

fn serve(mut stream: TcpStream, answer: impl Fn(&str) -> Answer) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    // A port that is only tried says nothing.
    let Some(first) = lines.next() else { return };
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let target = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let path = target.split('?').next().unwrap_or_default();
    // It may have gone.
    drop(stream.write_all(answer(path).bytes().as_bytes()));
}

/// Sends broadcasts until it is dropped.
pub(crate) struct Chatter {
    _resident: Resident,
}

impl Chatter {
    /// From the host with this namespace.
    #[track_caller]
    pub(crate) fn start(namespace: &str) -> Self {
        let open = || {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            socket.set_broadcast(true).unwrap();
            socket
        };
        let chat = |socket: &UdpSocket| {
            // A link may be down for a moment.
            drop(socket.send_to(b"hello", (Ipv4Addr::new(10, 99, 0, 255), 9)));
        };
        Self {
            _resident: Resident::start(namespace, open, chat),
        }
    }
}

const TURN: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(5);
