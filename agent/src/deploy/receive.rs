//! Streams from the network: one udpcast receiver per stream on the session's port.

use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use cast_net::{Interface, ReceiveOptions, ReceiveStatus, ReceivedStream, Stop};
use fog::KernelArgs;
use fog::checkin::caps;
use tokio::sync::mpsc;

use super::failure::causes;
use super::streams::{Source, Sources, StreamError};
use crate::control::session::News;
use crate::pieces::Piece;

/// The receiver in use now, or the last one, for whoever explains what is waited for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Current(Arc<Mutex<Option<Receiving>>>);

/// One receiver.
#[derive(Debug, Clone)]
pub(crate) struct Receiving {
    /// Counted from 0.
    pub(crate) index: usize,
    pub(crate) status: Arc<ReceiveStatus>,
}

impl Current {
    pub(crate) fn get(&self) -> Option<Receiving> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, receiving: Receiving) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(receiving);
    }
}

/// Opens a receiver per stream.
#[derive(Debug)]
pub(crate) struct NetworkSources {
    pub(crate) options: ReceiveOptions,
    pub(crate) stop: Stop,
    pub(crate) current: Current,
    pub(crate) news: News,
    /// `getversion.php?caps=1` lists the stream record.
    pub(crate) has_record_capability: bool,
    pub(crate) farewells: mpsc::UnboundedSender<Farewell>,
    /// Whether the server knows why the transfer was left.
    pub(crate) is_server_told: bool,
}

/// Why a transfer is being left, on its way to the server. The sender notices that a receiver leaves
/// within milliseconds; the reason must be there before.
#[derive(Debug)]
pub(crate) struct Farewell {
    pub(crate) text: String,
    /// Answers whether the server knows.
    pub(crate) told: std::sync::mpsc::Sender<bool>,
}

/// Where and how to receive: as FOG's client calls `udp-receiver`, on the given interface or the
/// one that routes to the rendezvous address.
pub(crate) fn options(
    args: &KernelArgs,
    interface: Option<&str>,
) -> anyhow::Result<ReceiveOptions> {
    let rendezvous = args.rendezvous()?;
    let interface = choose_interface(interface, rendezvous)?;
    let mut options = ReceiveOptions::new(interface);
    options.port_base = args.port()?;
    options.rendezvous = Some(rendezvous);
    options.ttl = TTL;
    options.start_timeout = None;
    options.receive_timeout = Some(RECEIVE_TIMEOUT);
    options.exit_wait = EXIT_WAIT;
    Ok(options)
}

fn choose_interface(wanted: Option<&str>, rendezvous: Ipv4Addr) -> anyhow::Result<Interface> {
    let chosen = match wanted {
        Some(wanted) => {
            let list = Interface::list()?;
            Interface::choose(&list, Some(wanted)).cloned()
        }
        None => Interface::towards(rendezvous),
    };
    chosen.with_context(|| format!("choosing the network interface to receive from {rendezvous}"))
}

/// Whether a token is in the blank-separated list of a server's features.
pub(crate) fn has_capability(list: &str, token: &str) -> bool {
    list.split_whitespace().any(|have| have == token)
}

/// Whether the server promises stream records by its capabilities alone.
pub(crate) fn promises_records(capabilities: &str) -> bool {
    has_capability(capabilities, caps::STREAM_RECORD)
}

impl Sources for NetworkSources {
    fn open(&mut self, index: usize) -> io::Result<Box<dyn Source>> {
        let stream = cast_net::receive(self.options.clone(), self.stop.clone())
            .map_err(|error| io::Error::other(causes(&error)))?;
        self.current.set(Receiving {
            index,
            status: stream.status(),
        });
        Ok(Box::new(NetworkSource(stream)))
    }

    fn is_record_promised(&self) -> bool {
        let latest = self.news.latest();
        let promised = latest.view.is_some_and(|view| view.records == Some(true));
        self.has_record_capability || promised
    }

    fn leaving(&mut self, error: &StreamError) {
        let (told, answer) = std::sync::mpsc::channel();
        let text = causes(error);
        // Nobody listens when it is the server that ended it.
        if self.farewells.send(Farewell { text, told }).is_ok() {
            self.is_server_told = answer.recv_timeout(FAREWELL_PATIENCE).unwrap_or(false);
        }
    }
}

struct NetworkSource(ReceivedStream);

impl Read for NetworkSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0
            .read(buffer)
            .map_err(|error| io::Error::other(causes(&error)))
    }
}

impl Source for NetworkSource {
    fn next_piece(&mut self, spare: Vec<u8>) -> io::Result<Piece> {
        let slice = self.0.take_slice(spare);
        slice
            .map(Piece::from)
            .map_err(|error| io::Error::other(causes(&error)))
    }

    fn close(self: Box<Self>) -> io::Result<()> {
        self.0
            .finish()
            .map(drop)
            .map_err(|error| io::Error::other(causes(&error)))
    }
}

/// FOG's client and server use this for every stream.
const TTL: u8 = 32;
/// A sender that is silent for so long is taken for dead. A server may restart within a minute.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(180);
/// How long others are held up, at most, for the sake of a reason.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(2);
/// How long a receiver answers after the end, in case the sender lost its last word. The next stream
/// uses the same port and waits for this.
const EXIT_WAIT: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_whole_words() {
        assert!(has_capability("mclvm mcstreamid fosnative1", "fosnative1"));
        assert!(!has_capability("1.5.10", "fosnative1"));
        assert!(!has_capability("fosnative10", "fosnative1"));
        assert!(promises_records("mclvm mcstreamid"));
        assert!(!promises_records(""));
    }

    #[test]
    fn receivers_are_set_up_as_fog_calls_them() {
        let args = KernelArgs::parse("storageip=127.0.0.1 port=63100");
        let options = options(&args, None).unwrap();
        assert!(options.interface.is_loopback);
        assert_eq!(options.port_base, 63100);
        assert_eq!(options.rendezvous, Some(Ipv4Addr::LOCALHOST));
        assert_eq!(options.ttl, 32);
        let error = super::options(&args, Some("nosuch0")).unwrap_err();
        assert!(format!("{error:#}").contains("nosuch0"), "{error:#}");
    }
}
