//! Sender and receiver of one process over loopback: what happens beside a plain transfer.

#![expect(
    clippy::unwrap_used,
    reason = "tests and their helpers fail by panicking"
)]

use std::io::{self, Cursor, Read};
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use cast_proto::bitmap::Bitmap;

use cast_net::udpcast::receiver::ReceiveFailure;
use cast_net::udpcast::sender::{GiveUpReason, Outcome, SenderEvent};
use cast_net::udpcast::wire::{Capabilities, ConnectReply, Data, Message, ReqAck};
use cast_net::udpcast::{BlockNo, ClientNo, SliceNo};
use cast_net::{
    Interface, NetworkNotice, ReceiveError, ReceiveNotice, ReceiveOptions, ReceivePhase,
    ReceiveStatus, SendControl, SendError, SendEvent, SendOptions, SendReport, Stop, receive, send,
};

/// A port base whose two ports are free on loopback: below those that Linux gives to sockets without a port.
fn port_base() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = NEXT.fetch_add(2, Ordering::Relaxed);
    let start = 10_000 + u16::try_from(std::process::id() % 240).unwrap() * 50;
    let is_free = |port: &u16| {
        UdpSocket::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()
            && UdpSocket::bind((Ipv4Addr::LOCALHOST, *port + 1)).is_ok()
    };
    (start + offset..start + 10_000)
        .step_by(50)
        .find(is_free)
        .unwrap()
}

fn lo() -> Interface {
    Interface::towards(Ipv4Addr::LOCALHOST).unwrap()
}

fn send_options(port_base: u16) -> SendOptions {
    let mut options = SendOptions::new(lo());
    options.port_base = port_base;
    options.transfer.start.min_receivers = 1;
    options.transfer.hello_interval = Some(Duration::from_millis(50));
    options
}

fn receive_options(port_base: u16) -> ReceiveOptions {
    let mut options = ReceiveOptions::new(lo());
    options.port_base = port_base;
    options.transfer.exit_wait = Duration::from_millis(20);
    options
}

fn start_sending(
    options: SendOptions,
    source: impl Read + Send + 'static,
) -> (
    SendControl,
    thread::JoinHandle<Result<SendReport, SendError>>,
) {
    let control = SendControl::new().unwrap();
    let handle = control.clone();
    let work = move || send::open(options, source, handle)?.finish();
    (control, thread::spawn(work))
}

fn payload(len: usize) -> Vec<u8> {
    (0..len)
        .map(|n| (n / 7).to_le_bytes()[0] ^ (n >> 9).to_le_bytes()[0])
        .collect()
}

/// The failure inside the error of a read.
fn failure(error: &io::Error) -> &ReceiveError {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref())
        .unwrap()
}

#[test]
fn a_stream_arrives_and_both_reports_agree() {
    let port = port_base();
    let bytes = payload(3_000_001);
    let mut stream = receive::open(receive_options(port), Stop::new().unwrap()).unwrap();
    let (_, sender) = start_sending(send_options(port), Cursor::new(bytes.clone()));
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert!(got == bytes);
    let status = stream.status();
    // The sender does not know it yet, and has not gone on.
    let phase = status.snapshot().phase;
    assert!(matches!(phase, ReceivePhase::Arrived { .. }), "{phase:?}");
    let received = stream.finish().unwrap();
    assert_eq!(status.snapshot().phase, ReceivePhase::Complete);
    let sent = sender.join().unwrap().unwrap();
    assert_eq!((received.bytes, sent.bytes), (3_000_001, 3_000_001));
    assert_eq!(sent.participants.len(), 1);
    assert_eq!(sent.participants[0].outcome, Outcome::Completed);
    assert_eq!(sent.participants[0].addr, Ipv4Addr::LOCALHOST);
}

#[test]
fn events_tell_who_joins_and_when_it_starts() {
    let port = port_base();
    let stream = receive::open(receive_options(port), Stop::new().unwrap()).unwrap();
    let control = SendControl::new().unwrap();
    let reader = thread::spawn(move || {
        let mut stream = stream;
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        stream.finish().map(|_| got.len())
    });
    let mut sent = send::open(send_options(port), Cursor::new(payload(5_000)), control).unwrap();
    let mut told = Vec::new();
    while let Some(event) = sent.next_event() {
        if let SendEvent::Protocol(event) = event {
            told.push(event);
        }
    }
    let report = sent.finish().unwrap();
    assert_eq!(reader.join().unwrap().unwrap(), 5_000);
    assert_eq!(report.statistics.bytes_acked, 5_000);
    assert!(
        matches!(told.first(), Some(SenderEvent::Joined { addr, .. }) if addr.is_loopback()),
        "{told:?}"
    );
    assert!(
        told.iter()
            .any(|event| matches!(event, SenderEvent::Started { .. })),
        "{told:?}"
    );
    assert!(
        matches!(told.last(), Some(SenderEvent::Finished)),
        "{told:?}"
    );
}

#[test]
fn a_source_that_fails_ends_the_transfer_and_never_the_stream() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(5))
        }
    }
    let port = port_base();
    let mut options = receive_options(port);
    // For a sender that has gone before its first data arrived. Longer than a busy machine needs to start it.
    options.transfer.start_timeout = Some(Duration::from_secs(3));
    let mut stream = receive::open(options, Stop::new().unwrap()).unwrap();
    let (_, sender) = start_sending(
        send_options(port),
        Cursor::new(payload(2_000_000)).chain(Fails),
    );
    let error = io::copy(&mut stream, &mut io::sink()).unwrap_err();
    assert!(
        matches!(failure(&error), ReceiveError::Failed(_)),
        "{error:?}"
    );
    let error = sender.join().unwrap().unwrap_err();
    assert!(
        matches!(&error, SendError::Input(input) if input.offset <= 2_000_000),
        "{error:?}"
    );
    // A second read fails again, and so does the end.
    assert!(stream.read(&mut [0]).is_err());
    assert!(stream.finish().is_err());
}

#[test]
fn a_stream_let_go_early_leaves_the_transfer() {
    let port = port_base();
    let mut stream = receive::open(receive_options(port), Stop::new().unwrap()).unwrap();
    let (_, sender) = start_sending(send_options(port), io::repeat(7));
    stream.read_exact(&mut [0; 100_000]).unwrap();
    drop(stream);
    let error = sender.join().unwrap().unwrap_err();
    let SendError::GaveUp { reason, report } = error else {
        panic!("{error:?}")
    };
    assert_eq!(reason, GiveUpReason::AllGone);
    assert!(
        matches!(report.participants[0].outcome, Outcome::Left { .. }),
        "{report:?}"
    );
    // The port is free again.
    drop(receive::open(receive_options(port), Stop::new().unwrap()).unwrap());
}

#[test]
fn the_sender_does_not_report_what_the_reader_could_not_keep() {
    let port = port_base();
    let mut stream = receive::open(receive_options(port), Stop::new().unwrap()).unwrap();
    // One slice: all of it is acknowledged before anything can be written.
    let (_, sender) = start_sending(send_options(port), Cursor::new(payload(5_000)));
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), 5_000);
    // As a reader does whose disk is full.
    drop(stream);
    let error = sender.join().unwrap().unwrap_err();
    let SendError::GaveUp { reason, report } = error else {
        panic!("{error:?}")
    };
    assert_eq!(reason, GiveUpReason::AllGone);
    assert!(
        matches!(report.participants[0].outcome, Outcome::Left { .. }),
        "{report:?}"
    );
}

#[test]
fn the_sender_waits_until_the_reader_has_finished() {
    let port = port_base();
    let mut stream = receive::open(receive_options(port), Stop::new().unwrap()).unwrap();
    let status = stream.status();
    let (_, sender) = start_sending(send_options(port), Cursor::new(payload(5_000)));
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    // It goes on asking, and is answered, for as long as the disk takes.
    let asked = status.snapshot().datagrams;
    while status.snapshot().datagrams < asked + 20 {
        assert!(!sender.is_finished());
        thread::yield_now();
    }
    assert_eq!(stream.finish().unwrap().bytes, 5_000);
    let report = sender.join().unwrap().unwrap();
    assert_eq!(report.participants[0].outcome, Outcome::Completed);
}

#[test]
fn finishing_before_the_end_is_no_success() {
    let port = port_base();
    let mut stream = receive::open(receive_options(port), Stop::new().unwrap()).unwrap();
    // Far more than fits into the receiver's window, which is acknowledged without being read.
    let (_, sender) = start_sending(send_options(port), io::repeat(7).take(100_000_000));
    stream.read_exact(&mut [0; 1_000]).unwrap();
    let error = stream.finish().unwrap_err();
    assert!(
        matches!(error, ReceiveError::Abandoned { bytes: 1_000 }),
        "{error:?}"
    );
    assert!(sender.join().unwrap().is_err());
}

/// The end is there, but not all of the last slice was read.
#[test]
fn finishing_within_the_last_slice_is_no_success() {
    let port = port_base();
    let mut stream = receive::open(receive_options(port), Stop::new().unwrap()).unwrap();
    let (_, sender) = start_sending(send_options(port), Cursor::new(payload(5_000)));
    stream.read_exact(&mut [0; 4_990]).unwrap();
    let error = stream.finish().unwrap_err();
    assert!(
        matches!(error, ReceiveError::Abandoned { bytes: 4_990 }),
        "{error:?}"
    );
    assert!(sender.join().unwrap().is_err());
}

#[test]
fn a_stop_is_heard_while_nobody_answers() {
    let stop = Stop::new().unwrap();
    let mut stream = receive::open(receive_options(port_base()), stop.clone()).unwrap();
    assert!(matches!(
        stream.status().snapshot().phase,
        ReceivePhase::Asking { .. }
    ));
    let stopper = thread::spawn(move || stop.stop());
    let error = stream.read(&mut [0]).unwrap_err();
    assert!(
        matches!(failure(&error), ReceiveError::Stopped { bytes: 0 }),
        "{error:?}"
    );
    stopper.join().unwrap();

    let (control, sender) = start_sending(send_options(port_base()), io::empty());
    control.stop();
    assert!(matches!(
        sender.join().unwrap(),
        Err(SendError::Stopped { .. })
    ));
}

#[test]
fn an_interrupted_sender_sends_its_receiver_away() {
    let port = port_base();
    let mut stream = receive::open(receive_options(port), Stop::new().unwrap()).unwrap();
    let mut options = send_options(port);
    options.transfer.max_bitrate = Some(80_000_000);
    let (control, sender) = start_sending(options, io::repeat(7));
    stream.read_exact(&mut [0; 100_000]).unwrap();
    control.interrupt();
    // Without a limit for silence it would read for ever.
    let error = io::copy(&mut stream, &mut io::sink()).unwrap_err();
    assert!(
        matches!(
            failure(&error),
            ReceiveError::Failed(ReceiveFailure::Lost { is_over: true, .. })
        ),
        "{error:?}"
    );
    let error = sender.join().unwrap().unwrap_err();
    assert!(
        matches!(error, SendError::Aborted { ended: true, .. }),
        "{error:?}"
    );
}

#[test]
fn a_source_that_blocks_does_not_keep_the_sender_from_stopping() {
    let (_open, blocks) = mpsc::channel();
    let port = port_base();
    let stream = receive::open(receive_options(port), Stop::new().unwrap()).unwrap();
    let status = stream.status();
    let (control, sender) = start_sending(send_options(port), Blocks(blocks));
    while !matches!(status.snapshot().phase, ReceivePhase::Connected { .. }) {
        thread::yield_now();
    }
    control.stop();
    assert!(matches!(
        sender.join().unwrap(),
        Err(SendError::Stopped { .. })
    ));
    drop(stream);
}

/// Blocks until the other end of the channel is gone.
struct Blocks(mpsc::Receiver<()>);

impl Read for Blocks {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.recv().map_or(Ok(0), |()| Ok(0))
    }
}

#[test]
fn an_abort_ends_the_stream_early_though_the_source_blocks() {
    const LEN: usize = 2_000_000;
    for bytes in [payload(LEN), Vec::new()] {
        let (_open, blocks) = mpsc::channel();
        let port = port_base();
        let mut stream = receive::open(receive_options(port), Stop::new().unwrap()).unwrap();
        let status = stream.status();
        let source = Cursor::new(bytes.clone()).chain(Blocks(blocks));
        let (control, sender) = start_sending(send_options(port), source);
        let mut got = Vec::new();
        let most = bytes.len().saturating_sub(20 * 1456);
        let mut start = vec![0; most];
        stream.read_exact(&mut start).unwrap();
        got.extend_from_slice(&start);
        while !matches!(status.snapshot().phase, ReceivePhase::Connected { .. }) && got.is_empty() {
            thread::yield_now();
        }
        control.abort();
        stream.read_to_end(&mut got).unwrap();
        assert!(got.len() < LEN && bytes.starts_with(&got), "{}", got.len());
        let error = sender.join().unwrap().unwrap_err();
        let SendError::Aborted {
            ended: true,
            cause: None,
            report,
        } = error
        else {
            panic!("{error:?}")
        };
        let outcome = report.participants[0].outcome;
        assert!(matches!(outcome, Outcome::Removed { .. }), "{outcome:?}");
    }
}

#[test]
fn an_abort_without_receivers_only_stops() {
    let (control, sender) = start_sending(send_options(port_base()), io::empty());
    control.abort();
    let error = sender.join().unwrap().unwrap_err();
    assert!(
        matches!(error, SendError::Aborted { ended: false, .. }),
        "{error:?}"
    );
}

#[test]
fn a_source_that_fails_can_end_the_stream_early() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(5))
        }
    }
    // Also when it fails where its end should be.
    for len in [2_000_000, 14_560] {
        let port = port_base();
        let mut stream = receive::open(receive_options(port), Stop::new().unwrap()).unwrap();
        let mut options = send_options(port);
        options.abort_on_input_error = true;
        let bytes = payload(len);
        let (_, sender) = start_sending(options, Cursor::new(bytes.clone()).chain(Fails));
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        assert!(got.len() < len && bytes.starts_with(&got), "{}", got.len());
        let error = sender.join().unwrap().unwrap_err();
        let SendError::Aborted {
            ended: true,
            cause: Some(cause),
            ..
        } = &error
        else {
            panic!("{error:?}")
        };
        assert_eq!(cause.offset, len as u64);
        assert!(std::error::Error::source(&error).is_some());
    }
}

#[test]
fn without_a_sender_the_start_timeout_says_so() {
    let mut options = receive_options(port_base());
    options.transfer.start_timeout = Some(Duration::from_millis(50));
    let mut stream = receive::open(options, Stop::new().unwrap()).unwrap();
    let error = stream.read(&mut [0]).unwrap_err();
    assert!(
        matches!(
            failure(&error),
            ReceiveError::Failed(ReceiveFailure::NoSender(..))
        ),
        "{error:?}"
    );
    assert_eq!(stream.status().snapshot().phase, ReceivePhase::Failed);
}

#[test]
fn a_slow_reader_gets_everything() {
    let port = port_base();
    let bytes = payload(12_000_000);
    let mut stream = receive::open(receive_options(port), Stop::new().unwrap()).unwrap();
    let (_, sender) = start_sending(send_options(port), Cursor::new(bytes.clone()));
    let mut got = Vec::new();
    let mut buffer = vec![0; 1_000_000];
    loop {
        let count = stream.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        got.extend_from_slice(&buffer[..count]);
        thread::sleep(Duration::from_millis(5));
    }
    assert!(got == bytes);
    stream.finish().unwrap();
    assert!(sender.join().unwrap().is_ok());
}

#[test]
fn whole_slices_can_be_taken_between_reads() {
    let port = port_base();
    let bytes = payload(7_000_001);
    let mut stream = receive::open(receive_options(port), Stop::new().unwrap()).unwrap();
    let (_, sender) = start_sending(send_options(port), Cursor::new(bytes.clone()));
    let mut got = Vec::new();
    let mut spare = Vec::new();
    let mut start = [0; 128];
    loop {
        // What is left of a slice that was read in part, and whole ones.
        stream.read_exact(&mut start).unwrap();
        got.extend_from_slice(&start);
        let Some(slice) = stream.take_slice(spare).unwrap() else {
            break;
        };
        got.extend_from_slice(&slice);
        spare = slice.into_buffer();
        let Some(slice) = stream.take_slice(spare).unwrap() else {
            break;
        };
        got.extend_from_slice(&slice);
        spare = slice.into_buffer();
        if got.len() + start.len() > bytes.len() {
            break;
        }
    }
    while let Some(slice) = stream.take_slice(Vec::new()).unwrap() {
        got.extend_from_slice(&slice);
    }
    assert!(got == bytes);
    assert!(stream.take_slice(Vec::new()).unwrap().is_none());
    assert_eq!(stream.finish().unwrap().bytes, 7_000_001);
    assert!(sender.join().unwrap().is_ok());
}

#[test]
fn an_operator_starts_and_removes() {
    let port = port_base();
    let mut options = send_options(port);
    // Would wait for ever.
    options.transfer.start.expected = vec![Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 255, 255, 1)];
    options.transfer.start.min_receivers = 0;
    let mut stream = receive::open(receive_options(port), Stop::new().unwrap()).unwrap();
    let status = stream.status();
    let (control, sender) = start_sending(options, Cursor::new(payload(10_000)));
    while !matches!(status.snapshot().phase, ReceivePhase::Connected { .. }) {
        thread::yield_now();
    }
    control.set_expected(vec![Ipv4Addr::LOCALHOST]);
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), 10_000);
    stream.finish().unwrap();
    assert!(sender.join().unwrap().is_ok());
}

/// A sender's port on another address of this host, for what a stranger sends.
fn stranger(port: u16) -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), port + 1)).unwrap()
}

fn say(from: &UdpSocket, port: u16, message: &Message<'_>) {
    let mut bytes = Vec::new();
    message.emit(&mut bytes);
    from.send_to(&bytes, (Ipv4Addr::LOCALHOST, port)).unwrap();
}

fn reply(client: Option<u16>) -> Message<'static> {
    Message::ConnectReply(ConnectReply {
        client: client.map(ClientNo),
        block_size: 1456,
        capabilities: Capabilities::CURRENT,
        data_address: Ipv4Addr::LOCALHOST,
    })
}

/// Waits for a notice that `is_meant`.
#[track_caller]
fn wait_for_notice(status: &ReceiveStatus, is_meant: impl Fn(&ReceiveNotice) -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !status.notices_after(0).iter().any(&is_meant) {
        assert!(Instant::now() < until, "{:?}", status.notices_after(0));
        thread::yield_now();
    }
}

#[test]
fn at_the_address_of_one_host_no_other_sender_is_heard() {
    for client in [None, Some(0)] {
        let port = port_base();
        let bytes = payload(50_000);
        let mut options = receive_options(port);
        options.rendezvous = Some(Ipv4Addr::LOCALHOST);
        let mut stream = receive::open(options, Stop::new().unwrap()).unwrap();
        say(&stranger(port), port, &reply(client));
        let is_other = |notice: &ReceiveNotice| {
            matches!(notice, ReceiveNotice::OtherSender { other, ours: Some(_) }
                if *other.ip() == Ipv4Addr::new(127, 0, 0, 2))
        };
        wait_for_notice(&stream.status(), is_other);
        // A stranger is no sign of life.
        assert_eq!(stream.status().snapshot().last_packet, None);
        let (_, sender) = start_sending(send_options(port), Cursor::new(bytes.clone()));
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        assert!(got == bytes);
        let status = stream.status();
        stream.finish().unwrap();
        assert_eq!(sender.join().unwrap().unwrap().bytes, 50_000);
        assert_eq!(status.notices_after(0).len(), 1, "the known one is no news");
    }
}

#[test]
fn the_first_sender_is_shown_where_it_is_not_known_and_the_second_one_too() {
    let port = port_base();
    let stream = receive::open(receive_options(port), Stop::new().unwrap()).unwrap();
    let first = stranger(port);
    say(&first, port, &reply(Some(0)));
    wait_for_notice(
        &stream.status(),
        |notice| matches!(notice, ReceiveNotice::FirstSender(sender) if sender.ip().octets()[3] == 2),
    );
    let second = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 3), port + 1)).unwrap();
    say(&second, port, &reply(None));
    wait_for_notice(&stream.status(), |notice| {
        matches!(notice, ReceiveNotice::OtherSender { other, ours: Some(ours) }
            if other.ip().octets()[3] == 3 && ours.octets()[3] == 2)
    });
}

#[test]
fn requests_without_data_are_noticed() {
    let port = port_base();
    let stream = receive::open(receive_options(port), Stop::new().unwrap()).unwrap();
    let sender = stranger(port);
    say(&sender, port, &reply(Some(0)));
    for round in 0..4 {
        let request = ReqAck::new(SliceNo(0), 100_000, round, Bitmap::new());
        say(&sender, port, &Message::ReqAck(request));
    }
    let status = stream.status();
    wait_for_notice(
        &status,
        |notice| matches!(notice, ReceiveNotice::SmallOnly(found) if found.datagram_len == 1500),
    );
    assert!(status.snapshot().small_only.is_some());
    let block = [7; 1456];
    let data = Data {
        slice: SliceNo(0),
        block: BlockNo(0),
        slice_len: 100_000,
        payload: &block,
    };
    say(&sender, port, &Message::Data(data));
    let until = Instant::now() + Duration::from_secs(60);
    while status.snapshot().small_only.is_some() {
        assert!(Instant::now() < until, "{:?}", status.snapshot());
        thread::yield_now();
    }
}

#[test]
fn a_receiver_whose_requests_cannot_leave_says_so_at_once() {
    let port = port_base();
    let mut options = receive_options(port);
    // Nothing on loopback leads there.
    options.rendezvous = Some(Ipv4Addr::new(240, 0, 0, 1));
    let stream = receive::open(options, Stop::new().unwrap()).unwrap();
    wait_for_notice(&stream.status(), |notice| {
        matches!(notice, ReceiveNotice::Network(NetworkNotice::Trouble(trouble))
            if trouble.to.port() == port + 1)
    });
}
