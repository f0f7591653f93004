//! What the two ends of a test stream say to each other, beside it: over a TCP connection to the port number that the sender
//! has for UDP. Each message is a line of JSON.
//!
//! A receiver says [`Hello`] when it begins, the sender [`TestEnd`] when nothing more is sent; then the receiver says
//! [`Seen`], and when all have, each gets the same [`Room`].

use std::io::{self, BufRead, Read as _};
use std::net::Ipv4Addr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The first message of a receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`HELLO`]
    pub fostest: String,
    /// The sender has let it in already. One that comes without that when the test is over waits for the next one.
    #[serde(default)]
    pub is_let_in: bool,
}

/// What [`Hello::fostest`] is.
pub const HELLO: &str = "receiver";

/// The sender sends nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestEnd {
    /// Whether the test was sent at all.
    pub is_sent: bool,
}

/// What a receiver has seen of a test.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Seen {
    /// The sender has let it in.
    pub is_let_in: bool,
    /// Requests of the sender, which are small and go where data goes.
    pub requests: u64,
    /// Datagrams with data.
    pub datagrams: u64,
    /// Bytes of such a datagram, IP header included.
    pub datagram_len: Option<u32>,
    /// The largest datagram that passes between the two, and the one that was tried, as far as that was found out.
    pub path: Option<(u32, u32)>,
    /// Blocks that had to be sent again.
    pub lost: u64,
    /// Bytes of the stream that came.
    pub bytes: u64,
    /// Milliseconds from the first to the last of them.
    pub millis: u64,
    /// All of it came, and every byte was right.
    pub is_whole: bool,
    /// Other bytes came than were sent.
    pub is_damaged: bool,
    /// Codes of the causes that it names, at most [`MAX_CODES`].
    pub causes: Vec<String>,
}

/// What both ends know of a test together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Room {
    /// The card of the sender, and its address.
    pub card: String,
    /// The address of the sender.
    pub sender: Option<Ipv4Addr>,
    /// Where data was sent to.
    pub group: Option<Ipv4Addr>,
    /// Bytes of a datagram with data, IP header included.
    pub datagram_len: u32,
    /// At most [`MAX_SEATS`].
    pub seats: Vec<Seat>,
}

/// A machine of the test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// Its address, as the sender sees it.
    pub address: Ipv4Addr,
    /// What the sender has seen of it, if it let it in.
    #[serde(default)]
    pub sent: Option<SentTo>,
    /// The card at which it asked, if that is another one.
    #[serde(default)]
    pub elsewhere: Option<String>,
    /// What it says itself; programs of others say nothing.
    #[serde(default)]
    pub seen: Option<Seen>,
}

/// What the sender has seen of a receiver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SentTo {
    /// It has answered what was sent to the group.
    pub has_answered: bool,
    /// It has had data.
    pub has_data: bool,
    /// It has acknowledged the end.
    pub has_all: bool,
}

/// Most codes of [`Seen`].
pub const MAX_CODES: usize = 16;
/// Most seats of a [`Room`].
pub const MAX_SEATS: usize = 256;
/// Bytes of the longest message of a receiver.
pub const MAX_SEEN: u64 = 4 << 10;
/// Bytes of the longest message of a sender: [`MAX_SEATS`] of [`MAX_SEEN`] at most, in practice a quarter of that.
pub const MAX_ROOM: u64 = 1 << 20;

impl Default for Hello {
    fn default() -> Self {
        Self {
            fostest: HELLO.to_owned(),
            is_let_in: false,
        }
    }
}

impl Hello {
    /// Whether it is that of a receiver.
    #[must_use]
    pub fn is_receiver(&self) -> bool {
        self.fostest == HELLO
    }
}

impl Seen {
    /// What of it is fit to be kept and shown, whoever said it.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.causes.truncate(MAX_CODES);
        let is_code = |code: &String| {
            code.len() <= 40 && code.bytes().all(|it| it.is_ascii_lowercase() || it == b'-')
        };
        self.causes.retain(is_code);
        self
    }
}

impl Room {
    /// What of it is fit to be shown, whoever said it.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.seats.truncate(MAX_SEATS);
        self.card = fog::encoding::printable(&self.card, 64);
        for seat in &mut self.seats {
            seat.seen = seat.seen.take().map(Seen::bounded);
            let elsewhere = seat.elsewhere.take();
            seat.elsewhere = elsewhere.map(|card| fog::encoding::printable(&card, 64));
        }
        self
    }
}

/// A message as a line.
#[must_use]
pub fn to_line(message: &impl Serialize) -> Vec<u8> {
    // Of these types it never fails; an empty line is refused by the other end.
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// Reads a message of at most `max` bytes.
///
/// # Errors
/// It is longer, cut off, or another one.
pub fn from_line<T: DeserializeOwned>(from: &mut impl BufRead, max: u64) -> io::Result<T> {
    let mut line = Vec::new();
    from.by_ref().take(max).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&line).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_as_they_were_sent_and_unknown_fields_are_passed_over() {
        let seen = Seen {
            is_let_in: true,
            path: Some((1400, 1500)),
            causes: vec!["mtu-black-hole".into()],
            ..Seen::default()
        };
        let room = Room {
            card: "eth0".into(),
            seats: vec![Seat {
                address: Ipv4Addr::new(10, 0, 0, 7),
                sent: Some(SentTo::default()),
                elsewhere: None,
                seen: Some(seen.clone()),
            }],
            ..Room::default()
        };
        let mut lines = to_line(&Hello::default());
        lines.extend(to_line(&seen));
        lines.extend(to_line(&room));
        lines.extend(
            b"{\"is_sent\":true,\"later\":[1]}\n{\"bytes\":7}\n{\"bytes\":-7}\n{\"is_sent\":true}",
        );
        let mut from = &lines[..];
        assert!(
            from_line::<Hello>(&mut from, MAX_SEEN)
                .unwrap()
                .is_receiver()
        );
        assert_eq!(from_line::<Seen>(&mut from, MAX_SEEN).unwrap(), seen);
        assert_eq!(from_line::<Room>(&mut from, MAX_ROOM).unwrap(), room);
        assert!(from_line::<TestEnd>(&mut from, MAX_ROOM).unwrap().is_sent);
        assert_eq!(from_line::<Seen>(&mut from, MAX_SEEN).unwrap().bytes, 7);
        from_line::<Seen>(&mut from, MAX_SEEN).unwrap_err();
        // Cut off, and at its end.
        from_line::<TestEnd>(&mut from, MAX_ROOM).unwrap_err();
        from_line::<TestEnd>(&mut from, MAX_ROOM).unwrap_err();
    }

    #[test]
    fn what_is_too_long_is_refused_and_what_is_unfit_is_left_out() {
        let causes = |code: &str, count| Seen {
            causes: vec![code.to_owned(); count],
            ..Seen::default()
        };
        let long = to_line(&causes("no-link", 1000));
        from_line::<Seen>(&mut &long[..], MAX_SEEN).unwrap_err();
        assert_eq!(causes("no-link", 100).bounded().causes.len(), MAX_CODES);
        for code in ["no link", "NO-LINK", "a\u{1b}[2J", &"a".repeat(41)] {
            assert_eq!(causes(code, 1).bounded().causes, [""; 0]);
        }
        let seat = Seat {
            address: Ipv4Addr::LOCALHOST,
            sent: None,
            elsewhere: Some("eth1\n\u{7}".into()),
            seen: Some(causes("NO-LINK", 1)),
        };
        let room = Room {
            card: "\u{1b}[2J".into(),
            seats: vec![seat; MAX_SEATS + 1],
            ..Room::default()
        };
        let room = room.bounded();
        assert_eq!(room.seats.len(), MAX_SEATS);
        let is_plain = |text: &str| text.chars().all(|c| !c.is_control());
        assert!(is_plain(&room.card) && is_plain(room.seats[0].elsewhere.as_deref().unwrap()));
        assert_eq!(room.seats[0].seen, Some(Seen::default()));
        assert!(to_line(&room).len() < 1 << 20);
    }
}
