//! Sockets, interfaces and threads around the protocol cores of `cast-proto`.
//!
//! [`send::open`] and [`receive::open`] begin one transfer each; what they return follows it to its end. The driver between the sockets and a core takes
//! datagrams in, serves the core's timer and sends what the core wants sent; it knows nothing of the
//! protocol. Datagrams move in batches. Reading the stream (sender) and writing it (receiver) happen
//! on other threads than the protocol, behind bounded queues, so that neither a slow file nor a slow
//! disk keeps a peer waiting for an answer.

#![warn(missing_docs)]

mod io;
pub mod udpcast;

pub use io::driver::{NetworkNotice, SendTrouble};
pub use io::interface::{Available, Interface, InterfaceError};
pub use io::ports;
pub use io::socket::SocketError;
pub use io::wake::Stop;
pub use udpcast::address::{control_address, further_hello_addresses};
pub use udpcast::receive::{
    ReceiveControl, ReceiveError, ReceiveNotice, ReceiveOptions, ReceivePhase, ReceiveReport,
    ReceiveSnapshot, ReceiveStatus, ReceivedStream, SenderChoice, TakenSlice,
};
pub use udpcast::send::{
    InputError, NextEvent, ParticipantResult, SendControl, SendError, SendEvent, SendOptions,
    SendReport, SentStream,
};
pub use udpcast::{receive, send};

/// What a panic said.
fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without text").to_owned()
}
