//! What a receiver is doing, for whoever has to explain a wait.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cast_proto::udpcast::ClientNo;
use cast_proto::udpcast::receiver::SmallOnly;
use cast_proto::udpcast::wire::Capabilities;
use readable::{Size, Time};

use crate::io::driver::NetworkNotice;

/// What a receive thread is doing; share it and look at it whenever you like.
#[derive(Debug)]
pub struct ReceiveStatus {
    snapshot: Mutex<ReceiveSnapshot>,
    notices: Mutex<Vec<ReceiveNotice>>,
}

/// A [`ReceiveStatus`] at one time. Its `Display` is a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveSnapshot {
    /// How far it is.
    pub phase: ReceivePhase,
    /// The sender that let us in, and our number there, if any did.
    pub connection: Option<(SocketAddrV4, ClientNo)>,
    /// What the sender's reply announced, if there was one.
    pub capabilities: Option<Capabilities>,
    /// Where data may come beside the own addresses; known once connected.
    pub data_group: Option<Ipv4Addr>,
    /// Bytes of the stream in complete slices.
    pub bytes: u64,
    /// Bytes of a block, as the sender announced; known once connected.
    pub block_size: Option<u16>,
    /// Datagrams heard, of any kind.
    pub datagrams: u64,
    /// Of these, those of our sender with data or repair blocks: the large ones.
    pub data_datagrams: u64,
    /// Of these, requests of our sender for acknowledgement: small ones of the same way.
    pub requests: u64,
    /// Blocks that had to be asked for again.
    pub lost_blocks: u64,
    /// Requests come and their data does not.
    pub small_only: Option<SmallOnly>,
    /// Datagrams that meant nothing here.
    pub ignored: u64,
    /// Complete slices that wait because the reader is slow.
    pub slices_waiting: usize,
    /// When the last datagram of our sender came, or of one that we may take.
    pub last_packet: Option<Instant>,
}

/// How far a receiver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceivePhase {
    /// Asking for a sender.
    Asking {
        /// Since when.
        since: Instant,
        /// Where the last request went.
        to: SocketAddrV4,
        /// How many requests have been sent.
        requests: u32,
    },
    /// A sender knows us; nothing has been sent yet.
    Connected {
        /// Since when.
        since: Instant,
        /// The sender.
        sender: SocketAddrV4,
        /// Our number there.
        client: ClientNo,
    },
    /// Data flows.
    Receiving {
        /// Since when.
        since: Instant,
        /// The sender.
        sender: SocketAddrV4,
        /// Our number there.
        client: ClientNo,
    },
    /// The whole stream is here. The sender waits until the reader says that it is safe; nothing else is
    /// waited for.
    Arrived {
        /// Since when data flowed.
        since: Instant,
        /// The sender.
        sender: SocketAddrV4,
        /// Our number there.
        client: ClientNo,
    },
    /// The whole stream is here and safe, which the sender may know.
    Complete,
    /// It ended early.
    Failed,
}

impl ReceiveSnapshot {
    /// One in which nothing is known but how far it is.
    #[must_use]
    pub fn new(phase: ReceivePhase) -> Self {
        Self {
            phase,
            connection: None,
            capabilities: None,
            data_group: None,
            bytes: 0,
            block_size: None,
            datagrams: 0,
            data_datagrams: 0,
            requests: 0,
            lost_blocks: 0,
            small_only: None,
            ignored: 0,
            slices_waiting: 0,
            last_packet: None,
        }
    }
}

impl ReceiveStatus {
    pub(super) fn new(to: SocketAddrV4) -> Self {
        let snapshot = ReceiveSnapshot::new(ReceivePhase::Asking {
            since: Instant::now(),
            to,
            requests: 0,
        });
        Self {
            snapshot: Mutex::new(snapshot),
            notices: Mutex::default(),
        }
    }

    /// How it stands now.
    #[must_use]
    pub fn snapshot(&self) -> ReceiveSnapshot {
        self.lock().clone()
    }

    /// What people should know that has come up since the first `seen` notices, in order; there are at
    /// most 100. Each is a fact that is given once.
    #[must_use]
    pub fn notices_after(&self, seen: usize) -> Vec<ReceiveNotice> {
        let notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        notices.get(seen..).unwrap_or_default().to_vec()
    }

    pub(super) fn notice(&self, notice: ReceiveNotice) {
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        if notices.len() < NOTICES_MAX {
            notices.push(notice);
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ReceiveSnapshot> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A network that comes and goes has nothing new to say after that many.
const NOTICES_MAX: usize = 100;

/// Something that people should know while a stream is received. Its `Display` is a sentence for them.
#[derive(Clone, Debug)]
pub enum ReceiveNotice {
    /// No sender was named; this one was the first that let us in, and is the only one from now on.
    FirstSender(SocketAddrV4),
    /// Another sender is at work on our port. It is not heard. If it is the one that is meant, it has to be
    /// [named](super::SenderChoice::Only).
    OtherSender {
        /// The other one.
        other: SocketAddrV4,
        /// The address of ours, if it is known.
        ours: Option<Ipv4Addr>,
    },
    /// Large datagrams do not come through.
    SmallOnly(SmallOnly),
    /// Of this host's network.
    Network(NetworkNotice),
}

impl fmt::Display for ReceiveNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstSender(sender) => write!(
                f,
                "the sender is {}, the first one that answered; only it is heard from now on",
                sender.ip()
            ),
            Self::OtherSender { other, ours } => {
                write!(
                    f,
                    "another sender, {other}, uses this port; it is not heard"
                )?;
                if let Some(ours) = ours {
                    write!(f, ", as the sender is {ours}")?;
                }
                f.write_str("; end it, or use another port base")
            }
            Self::SmallOnly(SmallOnly { datagram_len, .. }) => write!(
                f,
                "requests of the sender reach this machine, but none of its data: the path does not \
                 carry datagrams of {datagram_len} bytes (a smaller MTU of a switch, VLAN or VPN on \
                 the way?)"
            ),
            Self::Network(notice) => notice.fmt(f),
        }
    }
}

impl fmt::Display for ReceiveSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.phase {
            ReceivePhase::Asking {
                since,
                to,
                requests,
            } => {
                let waited = Time(since.elapsed());
                write!(
                    f,
                    "asking {to} for a sender for {waited} ({requests} requests, "
                )?;
                match self.datagrams {
                    0 => write!(f, "nothing heard)"),
                    heard => write!(f, "{heard} datagrams heard, none of them lets us in)"),
                }
            }
            ReceivePhase::Connected {
                since,
                sender,
                client,
            } => {
                let waited = Time(since.elapsed());
                write!(
                    f,
                    "connected to {sender} as {client}, waiting for its start for {waited}"
                )
            }
            ReceivePhase::Receiving { sender, .. } => {
                write!(f, "receiving from {sender}, {} so far", Size(self.bytes))?;
                if let Some(last) = self.last_packet {
                    write!(f, ", last datagram {} ago", Time(last.elapsed()))?;
                }
                if self.slices_waiting > 0 {
                    write!(f, ", {} slices wait to be written", self.slices_waiting)?;
                }
                Ok(())
            }
            ReceivePhase::Arrived { .. } => {
                write!(f, "all {} bytes are here and being written", self.bytes)
            }
            ReceivePhase::Complete => write!(f, "all {} bytes received", self.bytes),
            ReceivePhase::Failed => write!(f, "failed after {} bytes", self.bytes),
        }
    }
}
