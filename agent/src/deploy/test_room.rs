//! What whole deploys in one process need: a file as disk, free ports, senders on loopback.

use std::io::{Cursor, Read};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::JoinHandle;

use cast_net::{Interface, SendControl, SendError, SendOptions, SentStream, send};
use fog::record;
use fog::store::StreamName;

use super::samples::{self, DISK_LEN};
use crate::control::test_server::TestServer;

/// A port base whose two ports are free on loopback: below those that Linux gives to sockets without a port, of which one
/// could be taken between two streams.
pub(super) fn port_base() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = NEXT.fetch_add(2, Ordering::Relaxed);
    let start = 10_000 + u16::try_from(std::process::id() % 340).unwrap() * 50;
    let is_free = |port: &u16| {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()
            && UdpSocket::bind((Ipv4Addr::LOCALHOST, *port + 1)).is_ok()
    };
    (start + offset..start + 5000)
        .step_by(50)
        .find(is_free)
        .unwrap()
}

pub(super) fn disk() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![0; usize::try_from(DISK_LEN).unwrap()]).unwrap();
    file
}

/// The disk has both partitions and the table of the sample image.
#[track_caller]
pub(super) fn assert_image_is_on(disk: &Path) {
    let written = std::fs::read(disk).unwrap();
    for (number, ..) in samples::PARTITIONS {
        assert!(written[samples::region(number)] == samples::restored(number));
    }
    assert_eq!(written[446..512], samples::mbr()[446..512]);
}

/// What was asked for, without the part that all have.
pub(super) fn paths(server: &TestServer) -> Vec<String> {
    let requests = server.requests();
    requests
        .iter()
        .map(|request| request.path.trim_start_matches("/fog/service/").to_owned())
        .collect()
}

/// `stored` as the stream of partition `number`, with its record in front.
pub(super) fn with_record(number: u32, stored: &[u8]) -> Vec<u8> {
    let name = StreamName::of_file(&format!("d1p{number}.img"));
    [&record::emit(&name).unwrap()[..], stored].concat()
}

/// Begins to send `input` to one receiver.
pub(super) fn open_sender(
    port: u16,
    input: impl Read + Send + 'static,
    control: SendControl,
) -> Result<SentStream, SendError> {
    open_sender_for(1, port, input, control)
}

/// The same to so many, which are waited for.
pub(super) fn open_sender_for(
    receivers: u32,
    port: u16,
    input: impl Read + Send + 'static,
    control: SendControl,
) -> Result<SentStream, SendError> {
    let lo = Interface::towards(Ipv4Addr::LOCALHOST).unwrap();
    let mut options = SendOptions::new(lo);
    options.port_base = port;
    options.rendezvous = Some(Ipv4Addr::LOCALHOST);
    options.ttl = 32;
    options.transfer.start.min_receivers = receivers;
    options.transfer.start.start_timeout = Some(std::time::Duration::from_secs(60));
    send::open(options, input, control)
}

/// Sends these streams one after the other to one receiver, until it does not take one.
pub(super) fn sender(port: u16, streams: Vec<Vec<u8>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for bytes in streams {
            let control = SendControl::new().unwrap();
            // The receiver may leave early; that is what some tests are about.
            let sent = open_sender(port, Cursor::new(bytes), control);
            if sent.and_then(SentStream::finish).is_err() {
                return;
            }
        }
    })
}
