//! A test as both of its ends have seen it, in the words that both of them print.

use fos_api::room::{Room, Seat, Seen, SentTo};
use readable::{Count, Size};
use serde_json::{Value, json};

use crate::cause::list;

/// What is known of each machine of the test, a line each.
#[must_use]
pub fn together(room: &Room) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(sender) = room.sender {
        let group = room
            .group
            .map_or_else(String::new, |group| format!(" to {group}"));
        lines.push(format!(
            "{} ({sender}) sends{group}, data in datagrams of {} bytes",
            room.card, room.datagram_len
        ));
    }
    let seats = room.seats.iter();
    lines.extend(seats.map(|seat| format!("{}: {}", seat.address, of_seat(room, seat))));
    let deaf = room.seats.iter().filter(|seat| has_heard_nothing(seat));
    let deaf: Vec<_> = deaf.map(|seat| seat.address).collect();
    if !deaf.is_empty() {
        lines.push(format!(
            "nothing of what was sent to the group is heard by {}",
            list(&deaf)
        ));
    }
    lines
}

/// The same for a program: the lines, and what they were made of.
#[must_use]
pub fn together_json(room: &Room) -> Value {
    json!({ "lines": together(room), "facts": room })
}

fn of_seat(room: &Room, seat: &Seat) -> String {
    match (&seat.sent, &seat.seen, &seat.elsewhere) {
        (Some(sent), Some(seen), _) => seen_by_both(room, sent, seen),
        (Some(sent), None, _) => seen_by_sender(room, sent),
        (None, _, Some(card)) => format!("it asks at {card}, where nothing is sent"),
        (None, Some(seen), None) if seen.is_let_in => "another sender has let it in".to_owned(),
        (None, Some(_), None) => "its requests do not come to the sender".to_owned(),
        (None, None, None) => "nothing is known".to_owned(),
    }
}

fn seen_by_both(room: &Room, sent: &SentTo, seen: &Seen) -> String {
    let small = match (seen.requests, sent.has_answered) {
        (0, _) => "no request came".to_owned(),
        (count, true) => format!("{} came (answered)", Count(count, "request")),
        (count, false) => format!(
            "{} came (no answer reaches the sender)",
            Count(count, "request")
        ),
    };
    let len = seen.datagram_len.unwrap_or(room.datagram_len);
    let large = match seen.datagrams {
        0 => format!("no datagram of {len} bytes came"),
        count => format!("{} of {len} bytes came", Count(count, "datagram")),
    };
    let path = match seen.path {
        Some((passed, tried)) if passed < tried => {
            format!(", datagrams pass up to {passed} of {tried} bytes")
        }
        _ => String::new(),
    };
    let loss = match seen.datagrams {
        0 => String::new(),
        count => format!(
            "; {} of {} had to be sent again",
            seen.lost,
            Count(count.saturating_add(seen.lost), "block")
        ),
    };
    let content = match (seen.is_whole, seen.is_damaged) {
        (true, _) => format!("{} came, every byte as sent", Size(seen.bytes)),
        (false, true) => "other bytes came than were sent".to_owned(),
        (false, false) => format!("{} came, and not the end", Size(seen.bytes)),
    };
    let causes = match seen.causes.is_empty() {
        true => String::new(),
        false => format!(" ({})", seen.causes.join(", ")),
    };
    format!("{small}; {large}{path}{loss}; {content}{causes}")
}

fn seen_by_sender(room: &Room, sent: &SentTo) -> String {
    let len = room.datagram_len;
    let what = match sent {
        SentTo { has_all: true, .. } => "it has acknowledged the end".to_owned(),
        SentTo { has_data: true, .. } => format!("datagrams of {len} bytes came, and not the end"),
        SentTo {
            has_answered: true, ..
        } => {
            format!("requests came (answered); no datagram of {len} bytes came")
        }
        _ => "no answer reaches the sender".to_owned(),
    };
    format!("{what}; its program does not say what it has seen")
}

fn has_heard_nothing(seat: &Seat) -> bool {
    match (&seat.sent, &seat.seen) {
        (Some(_), Some(seen)) => seen.requests == 0 && seen.datagrams == 0,
        (Some(sent), None) => !sent.has_answered && !sent.has_all,
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn seat(last: u8, sent: Option<SentTo>, seen: Option<Seen>) -> Seat {
        Seat {
            address: Ipv4Addr::new(10, 0, 0, last),
            sent,
            elsewhere: None,
            seen,
        }
    }

    #[test]
    fn each_machine_has_a_line_and_who_hears_nothing_is_named() {
        let all = SentTo {
            has_answered: true,
            has_data: true,
            has_all: true,
        };
        let small = SentTo {
            has_answered: true,
            ..SentTo::default()
        };
        let whole = Seen {
            is_let_in: true,
            requests: 5,
            datagrams: 2750,
            datagram_len: Some(1500),
            path: Some((1500, 1500)),
            lost: 3,
            bytes: 4_000_000,
            is_whole: true,
            ..Seen::default()
        };
        let holes = Seen {
            is_let_in: true,
            requests: 1,
            path: Some((1400, 1500)),
            causes: vec!["mtu-black-hole".into()],
            ..Seen::default()
        };
        let deaf = Seen {
            is_let_in: true,
            ..Seen::default()
        };
        let mut other = seat(12, None, None);
        other.elsewhere = Some("eth1 (10.1.0.1)".into());
        let room = Room {
            card: "eth0".into(),
            sender: Some(Ipv4Addr::new(10, 0, 0, 5)),
            group: Some(Ipv4Addr::new(232, 0, 0, 5)),
            datagram_len: 1500,
            seats: vec![
                seat(7, Some(all), Some(whole)),
                seat(8, Some(small), Some(holes)),
                seat(9, Some(SentTo::default()), Some(deaf)),
                seat(10, Some(all), None),
                seat(11, Some(SentTo::default()), None),
                other,
                seat(13, None, Some(Seen::default())),
            ],
        };
        let expected = [
            "eth0 (10.0.0.5) sends to 232.0.0.5, data in datagrams of 1500 bytes",
            "10.0.0.7: 5 requests came (answered); 2750 datagrams of 1500 bytes came; 3 of 2753 blocks had to be \
             sent again; 4.0 MB came, every byte as sent",
            "10.0.0.8: 1 request came (answered); no datagram of 1500 bytes came, datagrams pass up to 1400 of \
             1500 bytes; 0 B came, and not the end (mtu-black-hole)",
            "10.0.0.9: no request came; no datagram of 1500 bytes came; 0 B came, and not the end",
            "10.0.0.10: it has acknowledged the end; its program does not say what it has seen",
            "10.0.0.11: no answer reaches the sender; its program does not say what it has seen",
            "10.0.0.12: it asks at eth1 (10.1.0.1), where nothing is sent",
            "10.0.0.13: its requests do not come to the sender",
            "nothing of what was sent to the group is heard by 10.0.0.9, 10.0.0.11",
        ];
        assert_eq!(together(&room), expected);
        assert_eq!(together_json(&room)["facts"]["seats"][0]["seen"]["lost"], 3);
    }
}
