//! Streams from our own server over HTTP, for a deploy to this machine alone. A connection that breaks is made again,
//! and goes on with the next byte.

use std::io::{self, Read};

use imaging::Piece;
use readable::Time;
use reqwest::Response;
use tokio::runtime::Handle;

use super::alone::{Origin, PIECE_LEN, Patient};
use super::streams::Source;
use crate::control::{CallError, Server};

/// Our server, and what it has.
pub(crate) struct Served {
    pub(crate) server: Server,
    /// Where calls to the server run: the streams are read in threads of their own.
    pub(crate) runtime: Handle,
    /// Name and stored length of each stream, in order.
    pub(crate) streams: Vec<(String, u64)>,
}

impl Origin for Served {
    fn open(&self, index: usize, patient: Patient) -> Box<dyn Source> {
        let (name, len) = self.streams.get(index).cloned().unwrap_or_default();
        Box::new(ServedStream {
            server: self.server.clone(),
            runtime: self.runtime.clone(),
            name,
            left: len,
            part: 0,
            at: 0,
            answer: None,
            bytes: Vec::new(),
            taken: 0,
            patient,
        })
    }
}

/// The bytes of a stream, part after part.
struct ServedStream {
    server: Server,
    runtime: Handle,
    name: String,
    /// Bytes of the stream that have not come.
    left: u64,
    part: u32,
    /// Bytes of the part that have come.
    at: u64,
    answer: Option<Response>,
    /// What has come at once, of which `taken` bytes were read.
    bytes: Vec<u8>,
    taken: usize,
    patient: Patient,
}

/// What came of asking for bytes.
enum Came {
    Bytes(Vec<u8>),
    /// The part has no more of them.
    EndOfPart,
}

impl ServedStream {
    /// The next bytes of the part, of whatever length.
    async fn fetch(&mut self) -> Result<Came, CallError> {
        let mut answer = match self.answer.take() {
            Some(answer) => answer,
            None => match self.server.data(&self.name, self.part, self.at).await? {
                Some(answer) => answer,
                None => return Ok(Came::EndOfPart),
            },
        };
        match self.server.next_bytes(&mut answer).await? {
            Some(bytes) => {
                self.answer = Some(answer);
                Ok(Came::Bytes(bytes))
            }
            None => Ok(Came::EndOfPart),
        }
    }

    /// Takes what has come.
    fn take(&mut self, came: Came) -> io::Result<()> {
        match came {
            Came::EndOfPart => {
                self.part = self.part.saturating_add(1);
                self.at = 0;
                // As many as a stream can have.
                if self.part > MAX_PARTS {
                    let text = format!("{} has more than {MAX_PARTS} files", self.name);
                    return Err(io::Error::other(text));
                }
            }
            Came::Bytes(bytes) => {
                let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                let left = self.left.checked_sub(len).ok_or_else(|| {
                    io::Error::other(format!(
                        "the server sends more of {} than its description of the image says; was the image \
                         changed just now?",
                        self.name
                    ))
                })?;
                self.left = left;
                self.at = self.at.saturating_add(len);
                (self.bytes, self.taken) = (bytes, 0);
            }
        }
        Ok(())
    }
}

impl Read for ServedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.patient.check()?;
            let ready = self.bytes.get(self.taken..).unwrap_or_default();
            if !ready.is_empty() || buffer.is_empty() {
                let len = ready.len().min(buffer.len());
                buffer[..len].copy_from_slice(&ready[..len]);
                self.taken += len;
                return Ok(len);
            }
            if self.left == 0 {
                return Ok(0);
            }
            let runtime = self.runtime.clone();
            let error = match runtime.block_on(self.fetch()) {
                Ok(came) => {
                    self.patient.answered();
                    self.take(came)?;
                    continue;
                }
                Err(error) => error,
            };
            self.answer = None;
            let (lost, is_too_long) = self.patient.lost();
            if !error.is_temporary() || is_too_long {
                let waited = match error.is_temporary() {
                    true => format!(
                        "; the server was waited for, for {}: check that it runs, and the network",
                        Time(lost)
                    ),
                    false => String::new(),
                };
                return Err(io::Error::other(format!("{}: {error}{waited}", self.name)));
            }
            self.patient.pause(format!("{}: {error}", self.name));
        }
    }
}

impl Source for ServedStream {
    fn next_piece(&mut self, spare: Vec<u8>) -> io::Result<Piece> {
        Piece::read(self, spare, PIECE_LEN)
    }

    fn close(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

/// FOG's parts are numbered with three digits.
const MAX_PARTS: u32 = 1000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::control::test_server::{Reply, Request, TestServer};
    use crate::deploy::alone::Patience;
    use crate::deploy::receive::Current;

    const QUICK: Patience = Patience {
        limit: Duration::from_secs(600),
        pause: Duration::from_millis(1),
    };

    /// Reads stream `d1p1.img`, of which so many bytes are promised.
    fn read(
        len: u64,
        patience: Patience,
        answer: impl Fn(&Request) -> Reply + Send + 'static,
    ) -> (io::Result<Vec<u8>>, TestServer) {
        let server = TestServer::start(answer);
        let client = server.client_with_ticket(Some("0123456789abcdef0123456789abcdef"));
        let read = move |runtime: Handle| {
            let served = Served {
                server: client,
                runtime,
                streams: vec![("d1p1.img".to_owned(), len)],
            };
            let mut bytes = Vec::new();
            let mut source = served.open(0, Patient::new(Current::default(), patience));
            source.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        // As in a deploy: one thread for the calls, another one that reads.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let read = runtime
            .block_on(async { tokio::task::spawn_blocking(|| read(Handle::current())).await });
        (read.unwrap(), server)
    }

    /// The part that is asked for, and from which byte on.
    fn asked(request: &Request) -> (String, String) {
        assert_eq!(request.path, "/fog/service/fos/data");
        assert_eq!(request.field("stream").as_deref(), Some("d1p1.img"));
        assert!(request.field("ticket").is_some());
        let range = request.range.clone().unwrap_or_default();
        (request.field("part").unwrap(), range)
    }

    fn part(request: &Request) -> Reply {
        let (part, range) = asked(request);
        let bytes: &[u8] = match part.as_str() {
            "0" => b"one",
            "1" => b"",
            "2" => b"two",
            _ => return Reply::status(404, "no such part"),
        };
        let from: usize = range["bytes=".len()..range.len() - 1].parse().unwrap();
        Reply::partial(&bytes[from..])
    }

    #[test]
    fn the_parts_of_a_stream_are_one() {
        let (bytes, server) = read(6, QUICK, part);
        assert_eq!(bytes.unwrap(), b"onetwo");
        let parts: Vec<String> = server.requests().iter().map(|r| asked(r).0).collect();
        assert_eq!(parts, ["0", "1", "2"]);
    }

    #[test]
    fn a_connection_that_breaks_goes_on_with_the_next_byte() {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let (bytes, server) = read(10, QUICK, move |request| {
            match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => Reply::partial(b"01234").cut(),
                1 => Reply::none(),
                2 => Reply::status(503, "not now"),
                _ => {
                    assert_eq!(asked(request).1, "bytes=5-");
                    Reply::partial(b"56789")
                }
            }
        });
        assert_eq!(bytes.unwrap(), b"0123456789");
        let ranges: Vec<String> = server.requests().iter().map(|r| asked(r).1).collect();
        assert_eq!(ranges, ["bytes=0-", "bytes=5-", "bytes=5-", "bytes=5-"]);
    }

    #[test]
    fn a_refusal_is_final_and_a_silent_server_is_not_waited_for_for_ever() {
        let (error, server) = read(6, QUICK, |_| Reply::status(409, "it was changed"));
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("d1p1.img") && error.contains("it was changed"),
            "{error}"
        );
        assert_eq!(server.requests().len(), 1);
        let none = Patience {
            limit: Duration::ZERO,
            ..QUICK
        };
        let (error, _) = read(6, none, |_| Reply::none());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("was waited for"), "{error}");
    }

    #[test]
    fn more_or_less_than_was_promised_is_an_error() {
        let (error, _) = read(5, QUICK, part);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("more of d1p1.img"), "{error}");
        let (error, _) = read(7, QUICK, part);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("no such part"), "{error}");
    }

    /// From the first byte on instead of the one that was asked for.
    #[test]
    fn a_server_that_ignores_the_range_is_not_believed() {
        let count = std::sync::atomic::AtomicUsize::new(0);
        let (error, _) = read(10, QUICK, move |_| {
            match count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
                0 => Reply::partial(b"01234").cut(),
                _ => Reply::text("0123456789"),
            }
        });
        let error = error.unwrap_err().to_string();
        assert!(error.contains("unexpected"), "{error}");
    }
}
