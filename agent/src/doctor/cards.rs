//! Network cards, from sysfs.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use cast_net::Interface;
use diagnosis::{Address, Card, Counters, Duplex};

/// How a card stands; `None` if there is none of this name.
pub(super) fn look(class: &Path, name: &str) -> Option<Card> {
    let dir = class.join(name);
    Some(Card {
        name: name.to_owned(),
        mac: read(&dir, "address")?,
        // Of a card that is down the kernel gives no answer.
        has_link: read(&dir, "carrier").as_deref() == Some("1"),
        // -1 where it is not known.
        speed: number::<u32>(&dir, "speed").filter(|&speed| speed > 0),
        duplex: match read(&dir, "duplex").as_deref() {
            Some("full") => Duplex::Full,
            Some("half") => Duplex::Half,
            _ => Duplex::Unknown,
        },
        mtu: number(&dir, "mtu")?,
    })
}

/// What a card has counted.
pub(super) fn counters(class: &Path, name: &str) -> Option<Counters> {
    let dir = class.join(name);
    let count = |file| number(&dir.join("statistics"), file);
    Some(Counters {
        received: count("rx_packets")?,
        multicast: count("multicast").unwrap_or_default(),
        sent: count("tx_packets")?,
        receive_errors: count("rx_errors")?,
        send_errors: count("tx_errors")?,
        collisions: count("collisions").unwrap_or_default(),
        link_changes: number(&dir, "carrier_changes").unwrap_or_default(),
        timeouts: timeouts(&dir.join("queues")),
    })
}

/// Of all its queues.
fn timeouts(queues: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(queues) else {
        return 0;
    };
    let counts = entries
        .flatten()
        .filter_map(|queue| number::<u64>(&queue.path(), "tx_timeout"));
    counts.fold(0, u64::saturating_add)
}

/// IPv4 addresses of a card.
pub(super) fn addresses(list: &[Interface], name: &str) -> Vec<Address> {
    let own = list.iter().filter(|own| without_label(&own.name) == name);
    own.map(|own| Address {
        address: own.addr,
        prefix_len: own.prefix_len,
    })
    .collect()
}

/// A second address may have a label (`eth0:1`).
pub(super) fn without_label(name: &str) -> &str {
    name.split(':').next().unwrap_or(name)
}

fn number<T: FromStr>(dir: &Path, file: &str) -> Option<T> {
    read(dir, file)?.parse().ok()
}

fn read(dir: &Path, file: &str) -> Option<String> {
    let text = fs::read_to_string(dir.join(file)).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_is_read_as_far_as_it_says_something() {
        let class = tempfile::tempdir().unwrap();
        let dir = class.path().join("eth0");
        fs::create_dir_all(dir.join("statistics")).unwrap();
        for queue in ["rx-0", "tx-0", "tx-1"] {
            fs::create_dir_all(dir.join("queues").join(queue)).unwrap();
        }
        let write = |file: &str, text: &str| fs::write(dir.join(file), text).unwrap();
        write("address", "02:00:00:00:00:01\n");
        write("mtu", "1500\n");
        let bare = look(class.path(), "eth0").unwrap();
        assert!(!bare.has_link && bare.speed.is_none() && bare.duplex == Duplex::Unknown);
        assert_eq!(counters(class.path(), "eth0"), None);
        for (file, text) in [
            ("carrier", "1\n"),
            ("speed", "100\n"),
            ("duplex", "half\n"),
            ("carrier_changes", "3\n"),
            ("statistics/rx_packets", "10\n"),
            ("statistics/tx_packets", "11\n"),
            ("statistics/rx_errors", "12\n"),
            ("statistics/tx_errors", "13\n"),
            ("statistics/multicast", "4\n"),
            ("queues/tx-0/tx_timeout", "1\n"),
            ("queues/tx-1/tx_timeout", "2\n"),
        ] {
            write(file, text);
        }
        let card = look(class.path(), "eth0").unwrap();
        assert_eq!(
            (card.has_link, card.speed, card.duplex, card.mtu),
            (true, Some(100), Duplex::Half, 1500)
        );
        let counted = counters(class.path(), "eth0").unwrap();
        let expected = Counters {
            received: 10,
            multicast: 4,
            sent: 11,
            receive_errors: 12,
            send_errors: 13,
            collisions: 0,
            link_changes: 3,
            timeouts: 3,
        };
        assert_eq!(counted, expected);
        write("speed", "-1\n");
        assert_eq!(look(class.path(), "eth0").unwrap().speed, None);
        assert_eq!(look(class.path(), "eth1"), None);
    }
}
