//! A transfer of a test stream, as each of its ends has seen it.

mod receiver;
mod room;
mod sender;

#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::cause::Cause;
use crate::checks::{Area, Check, Verdict};
use crate::evidence::{Look, Querier, Rendezvous, Route, Skipped};

pub use receiver::{explained, received};
pub use room::{together, together_json};
pub use sender::sent;

/// What the receiver of a test stream has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Where the sender was asked.
    pub sender: Ipv4Addr,
    /// The port that receivers have; the sender has the next.
    pub port: u16,
    /// The card.
    pub card: String,
    /// The way to the sender.
    pub route: Look<Route>,
    /// For how long it was asked.
    pub asked: Duration,
    /// Whether anything of the sender came at all.
    pub is_heard: bool,
    /// What its port answered to a datagram without meaning, where it did not let this machine in.
    pub rendezvous: Rendezvous,
    /// The group for the data, since the sender let this machine in.
    pub group: Option<Ipv4Addr>,
    /// For how long data was awaited then.
    pub listened: Duration,
    /// Requests of the sender, which are small and go where data goes.
    pub requests: u64,
    /// Datagrams with data.
    pub data: u64,
    /// Bytes of a datagram with data, IP header included.
    pub datagram_len: Option<u32>,
    /// Blocks that had to be asked for again.
    pub lost: u64,
    /// Bytes of the stream that came.
    pub bytes: u64,
    /// From the first to the last of them.
    pub time: Duration,
    /// Who asks in this network which groups are wanted; looked for where no data came.
    pub querier: Option<Querier>,
    /// How it ended.
    pub end: End,
}

/// How a test ended at a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// All has come, and every byte is right.
    Whole,
    /// No sender let this machine in.
    NotLetIn,
    /// The sender refused this machine.
    Refused,
    /// It was let in, and no data came.
    NoData,
    /// Data came, and then nothing more for so long.
    StoodStill(Duration),
    /// The sender ended it before its end.
    Cut,
    /// What came is no test stream.
    Foreign,
    /// From this byte on others came than were sent.
    Damaged(u64),
    /// Something else, in words.
    Failed(String),
}

/// What the sender of a test stream has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The card.
    pub card: String,
    /// Its address.
    pub own: Ipv4Addr,
    /// The port that receivers have; the sender has the next.
    pub port: u16,
    /// The group for the data.
    pub group: Ipv4Addr,
    /// How many receivers were to come.
    pub wanted: u32,
    /// How long they were waited for.
    pub waited: Duration,
    /// Those that came.
    pub receivers: Vec<Receiver>,
    /// Machines that asked at another card.
    pub elsewhere: Vec<(Ipv4Addr, String)>,
    /// The web server of this machine, by its address: its URL, and what was wrong.
    pub web: Look<Result<String, (String, String)>>,
    /// Datagrams with data, IP header included, in bytes.
    pub datagram_len: u32,
    /// Bytes of the stream that all receivers have.
    pub bytes: u64,
    /// Datagrams with data, those for repair among them.
    pub blocks: u64,
    /// Of them those that replaced lost ones.
    pub repeated: u64,
    /// Since the first of them.
    pub time: Duration,
    /// It could not be sent; why.
    pub failure: Option<String>,
}

/// A receiver, as the sender sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// Its address.
    pub address: Ipv4Addr,
    /// It has answered what was sent to the group: small datagrams reach it.
    pub has_answered: bool,
    /// It has had data.
    pub has_data: bool,
    /// It has acknowledged the end.
    pub has_all: bool,
    /// Bytes that it has acknowledged.
    pub bytes: u64,
}

/// Of what was not tried there is nothing to be said but that.
fn line(area: Area, verdict: Verdict, text: String) -> Check {
    let text = match verdict {
        Verdict::Skipped if area != Area::Web => Skipped::Unreached.to_string(),
        _ => text,
    };
    Check {
        area,
        verdict,
        text,
    }
}

/// What of a transfer can be too little although all of it came.
fn quality(blocks: u64, lost: u64, bytes: u64, time: Duration) -> Vec<Cause> {
    let mut found = Vec::new();
    if bytes < JUDGED {
        return found;
    }
    if lost.saturating_mul(100) > blocks.saturating_mul(LOSS_PERCENT) {
        found.push(Cause::HighLoss { lost, blocks });
    }
    if let Some(rate) = rate(bytes, time).filter(|rate| *rate < SLOW) {
        found.push(Cause::SlowTransfer { rate, bytes });
    }
    found
}

/// Bytes per second; `None` where too little was sent to say.
#[expect(clippy::cast_precision_loss, reason = "to be shown")]
fn rate(bytes: u64, time: Duration) -> Option<f64> {
    let is_enough = time >= ENOUGH && bytes > 0;
    is_enough.then(|| bytes as f64 / time.as_secs_f64())
}

/// Bytes. Of less one burst of bad luck is a large part.
const JUDGED: u64 = 20_000_000;
/// A busy receiver loses one in a hundred.
const LOSS_PERCENT: u64 = 3;
const ENOUGH: Duration = Duration::from_millis(200);
/// Bytes per second. An image of 20 GB takes more than an hour so.
const SLOW: f64 = 5e6;
