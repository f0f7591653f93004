//! Why no data comes, from all that this machine knows: what it heard, and what the server says.

use std::fmt;
use std::time::{Duration, Instant};

use cast_net::udpcast::receiver::SmallOnly;
use cast_net::{ReceiveNotice, ReceivePhase, ReceiveSnapshot};
use readable::{Size, Time};

/// What is certain about a stream of which nothing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// The server has been sending for so long, and nothing that it sends by multicast is heard.
    NoMulticast { sending: Duration },
    /// Its small datagrams are heard, its large ones are not.
    NoLargeDatagrams(SmallOnly),
    /// It was heard, and then nothing came any more.
    Silence { quiet: Duration, bytes: u64 },
}

/// Looks at a receiver. `due_since`: since when the server has said that it sends this very stream,
/// this machine being connected.
pub(crate) fn evidence(
    snapshot: &ReceiveSnapshot,
    due_since: Option<Instant>,
    now: Instant,
) -> Option<Evidence> {
    after(snapshot, due_since, now, ENOUGH_TIME)
}

/// Looks at a receiver that the server has given up because it does not hear it. That is evidence of its
/// own: less silence is enough.
pub(crate) fn at_the_end(
    snapshot: &ReceiveSnapshot,
    due_since: Option<Instant>,
    now: Instant,
) -> Option<Evidence> {
    let found = after(snapshot, due_since, now, Duration::ZERO);
    found.or_else(|| {
        let (ReceivePhase::Receiving { .. } | ReceivePhase::Failed) = snapshot.phase else {
            return None;
        };
        // Slices that wait for the disk are no silence of the network.
        let quiet = now.saturating_duration_since(snapshot.last_packet?);
        let bytes = snapshot.bytes;
        (quiet >= QUIET && snapshot.slices_waiting == 0)
            .then_some(Evidence::Silence { quiet, bytes })
    })
}

fn after(
    snapshot: &ReceiveSnapshot,
    due_since: Option<Instant>,
    now: Instant,
    enough: Duration,
) -> Option<Evidence> {
    snapshot.connection?;
    if let ReceivePhase::Arrived { .. } | ReceivePhase::Complete = snapshot.phase {
        return None;
    }
    if let Some(found) = snapshot.small_only {
        return Some(Evidence::NoLargeDatagrams(found));
    }
    if snapshot.data_datagrams > 0 {
        return None;
    }
    let sending = now.saturating_duration_since(due_since?);
    (snapshot.requests == 0 && sending >= enough).then_some(Evidence::NoMulticast { sending })
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMulticast { .. } => f.write_str(
                "the server is sending, but no data reaches this machine although it is connected: \
                 a switch filters multicast (IGMP snooping without a querier?)",
            ),
            Self::NoLargeDatagrams(found) => ReceiveNotice::SmallOnly(*found).fmt(f),
            Self::Silence { .. } => f.write_str(
                "the sender is not heard any more: the network between stopped to carry its datagrams; \
                 check the cable, and whether a switch forgets multicast groups (IGMP snooping without a \
                 querier?)",
            ),
        }
    }
}

impl Evidence {
    /// The same in numbers, for the end.
    pub(crate) fn last_word(&self) -> String {
        match self {
            Self::NoMulticast { sending } => format!(
                "no datagram of the data has come in the {} since the server began to send",
                Time(*sending)
            ),
            Self::NoLargeDatagrams(SmallOnly { requests, .. }) => {
                format!("{requests} requests have come, and no datagram with data")
            }
            Self::Silence { quiet, bytes } => format!(
                "nothing has come for {}, after {} of the stream",
                Time(*quiet),
                Size(*bytes)
            ),
        }
    }
}

const ENOUGH_TIME: Duration = Duration::from_secs(5);
/// A sender that works is heard several times a second.
const QUIET: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use cast_net::udpcast::ClientNo;

    use super::*;

    const SENDER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 5), 9001);

    fn connected(now: Instant) -> ReceiveSnapshot {
        ReceiveSnapshot {
            connection: Some((SENDER, ClientNo(0))),
            block_size: Some(1456),
            datagrams: 1,
            last_packet: Some(now),
            ..ReceiveSnapshot::new(ReceivePhase::Connected {
                since: now,
                sender: SENDER,
                client: ClientNo(0),
            })
        }
    }

    #[test]
    fn silence_while_the_server_sends_is_filtered_multicast() {
        let start = Instant::now();
        let snapshot = connected(start);
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(evidence(&snapshot, None, after(60)), None);
        assert_eq!(evidence(&snapshot, Some(start), after(4)), None);
        let found = evidence(&snapshot, Some(start), after(16)).unwrap();
        assert!(found.to_string().contains("IGMP snooping"), "{found}");
        assert!(found.last_word().contains("16 s"), "{found:?}");
        // It has failed meanwhile; what was heard stays true.
        let mut failed = snapshot.clone();
        failed.phase = ReceivePhase::Failed;
        assert_eq!(evidence(&failed, Some(start), after(16)), Some(found));
        // Nobody has let this machine in: that is another trouble.
        failed.connection = None;
        assert_eq!(evidence(&failed, Some(start), after(16)), None);
    }

    #[test]
    fn requests_without_data_are_a_path_for_small_datagrams_only() {
        let start = Instant::now();
        let mut snapshot = connected(start);
        snapshot.requests = 4;
        snapshot.small_only = Some(SmallOnly {
            requests: 4,
            datagram_len: 1500,
        });
        let found = evidence(&snapshot, None, start).unwrap();
        assert!(found.to_string().contains("1500 bytes"), "{found}");
        // In the middle of a stream, too.
        snapshot.data_datagrams = 1;
        assert_eq!(evidence(&snapshot, None, start), Some(found));
        snapshot.small_only = None;
        assert_eq!(evidence(&snapshot, Some(start), start + ENOUGH_TIME), None);
    }

    #[test]
    fn a_machine_that_the_server_has_given_up_needs_less_silence() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut snapshot = connected(start);
        assert_eq!(evidence(&snapshot, Some(start), after(3)), None);
        let found = at_the_end(&snapshot, Some(start), after(3)).unwrap();
        assert_eq!(
            found,
            Evidence::NoMulticast {
                sending: Duration::from_secs(3)
            }
        );
        assert_eq!(at_the_end(&snapshot, None, after(3)), None);

        // It stopped in the middle.
        snapshot.phase = ReceivePhase::Receiving {
            since: start,
            sender: SENDER,
            client: ClientNo(0),
        };
        (snapshot.data_datagrams, snapshot.requests, snapshot.bytes) = (9000, 70, 12_300_000);
        assert_eq!(at_the_end(&snapshot, Some(start), after(1)), None);
        let found = at_the_end(&snapshot, Some(start), after(8)).unwrap();
        assert!(
            found.last_word().contains("8 s, after 12.3 MB"),
            "{found:?}"
        );
        // It is the disk that stands still.
        snapshot.slices_waiting = 1;
        assert_eq!(at_the_end(&snapshot, Some(start), after(8)), None);
    }
}
