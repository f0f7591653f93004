//! Waits of a receiver and of a sender that would otherwise say nothing: for what, since when, and what to
//! check. The originals are silent then.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use cast_net::{Interface, ReceivePhase, ReceiveSnapshot};
use readable::{NAMED_AFTER, Time};

/// When a wait is worth a line: when it has lasted, after 10 s, and then every half minute.
#[derive(Debug, Default)]
struct Repeats {
    next: Option<Duration>,
}

impl Repeats {
    /// `waited`: for how long, at this look.
    fn is_due(&mut self, waited: Duration) -> bool {
        let mut next = self.next.unwrap_or(NAMED_AFTER);
        if waited < next {
            return false;
        }
        while next <= waited {
            next = if next < SECOND { SECOND } else { next + LATER };
        }
        self.next = Some(next);
        true
    }
}

const SECOND: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(30);

/// Whether the network card has a link, as the kernel says now. A card that is gone, and one that cannot
/// be asked for, are not said to have none.
#[derive(Debug)]
pub struct Link {
    interface: Interface,
    looked: Option<Instant>,
    is_down: bool,
}

impl Link {
    /// Of the card that a transfer uses.
    #[must_use]
    pub fn of(interface: &Interface) -> Self {
        Self {
            interface: interface.clone(),
            looked: None,
            is_down: false,
        }
    }

    /// Looks, not more often than once a second. What has changed, if anything has.
    pub fn look(&mut self, now: Instant) -> Option<String> {
        let is_old = self
            .looked
            .is_none_or(|at| now.saturating_duration_since(at) >= LOOK);
        if !is_old {
            return None;
        }
        self.looked = Some(now);
        let list = Interface::list().unwrap_or_default();
        let present = list
            .iter()
            .find(|interface| interface.name == self.interface.name);
        self.see(present.is_some_and(|interface| !interface.is_up))
    }

    /// Whether it was down at the last look.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.is_down
    }

    pub(crate) fn see(&mut self, is_down: bool) -> Option<String> {
        if std::mem::replace(&mut self.is_down, is_down) == is_down {
            return None;
        }
        let name = &self.interface.name;
        Some(if is_down {
            format!("the link of {name} is down: check the cable and the switch port")
        } else {
            format!("the link of {name} is up again")
        })
    }
}

const LOOK: Duration = Duration::from_secs(1);

/// The waits of a receiver before data comes, and when all of it has come.
#[derive(Debug, Default)]
pub struct ReceiverWaits {
    stage: Option<(Stage, Instant)>,
    repeats: Repeats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Asking(SocketAddrV4),
    Connected(SocketAddrV4),
    Arrived,
}

impl ReceiverWaits {
    /// What to say of a wait that has lasted, if it is time for a line.
    pub fn look(
        &mut self,
        snapshot: &ReceiveSnapshot,
        link: &Link,
        now: Instant,
    ) -> Option<String> {
        let stage = match snapshot.phase {
            ReceivePhase::Asking { to, .. } => Stage::Asking(to),
            ReceivePhase::Connected { sender, .. } => Stage::Connected(sender),
            ReceivePhase::Arrived { .. } => Stage::Arrived,
            ReceivePhase::Receiving { .. } | ReceivePhase::Complete | ReceivePhase::Failed => {
                return None;
            }
        };
        let since = match self.stage {
            Some((known, since)) if known == stage => since,
            _ => {
                self.repeats = Repeats::default();
                now
            }
        };
        self.stage = Some((stage, since));
        let waited = now.saturating_duration_since(since);
        if !self.repeats.is_due(waited) {
            return None;
        }
        let time = Time(waited);
        let name = &link.interface.name;
        Some(match stage {
            Stage::Arrived => format!(
                "waiting for {time}: the whole stream is here, but not yet written; the sender waits, too"
            ),
            _ if link.is_down => {
                format!("waiting for {time}: the link of {name} is down; check the cable")
            }
            Stage::Asking(to) if snapshot.last_packet.is_some() => format!(
                "waiting for {time}: a sender is heard, but does not let this receiver in (asking {to} on {name}); \
                 it may have started already, or expect others"
            ),
            Stage::Asking(to) => format!(
                "waiting for {time}: no sender answers (asking {to} on {name}); check that it runs, that it \
                 uses the same ports, and that no firewall drops UDP between"
            ),
            Stage::Connected(sender) => format!(
                "waiting for {time}: connected to {}, which has not started yet; it waits for other \
                 receivers or for its operator",
                sender.ip()
            ),
        })
    }
}

/// The wait of a sender for its receivers.
#[derive(Debug)]
pub(crate) struct SenderWait {
    since: Instant,
    repeats: Repeats,
    /// Least number of receivers; 0: none is set.
    min_receivers: u32,
    /// From the first connection.
    max_wait: Option<Duration>,
    first_joined: Option<Instant>,
}

impl SenderWait {
    pub(crate) fn new(min_receivers: u32, max_wait: Option<Duration>, now: Instant) -> Self {
        Self {
            since: now,
            repeats: Repeats::default(),
            min_receivers,
            max_wait,
            first_joined: None,
        }
    }

    /// `joined`: receivers that are in. What to say, if it is time for a line.
    pub(crate) fn look(&mut self, joined: usize, link: &Link, now: Instant) -> Option<String> {
        if joined > 0 {
            self.first_joined.get_or_insert(now);
        }
        let waited = now.saturating_duration_since(self.since);
        if !self.repeats.is_due(waited) {
            return None;
        }
        let mut text = match (joined, self.min_receivers) {
            (_, 2..) => format!("{joined} of {} receivers", self.min_receivers),
            (0, _) => "no receiver yet".to_owned(),
            (1, _) => "1 receiver".to_owned(),
            (count, _) => format!("{count} receivers"),
        };
        text += &format!(", waiting for {}", Time(waited));
        if let (Some(limit), Some(first)) = (self.max_wait, self.first_joined) {
            let left = limit.saturating_sub(now.saturating_duration_since(first));
            text += &format!("; starts at the latest in {}", Time(left));
        }
        if link.is_down {
            let name = &link.interface.name;
            text += &format!("; the link of {name} is down, check the cable");
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use cast_net::udpcast::ClientNo;

    use super::*;

    fn link() -> Link {
        Link::of(&Interface {
            name: "eth0".into(),
            index: 2,
            addr: Ipv4Addr::new(10, 0, 0, 7),
            prefix_len: 24,
            broadcast: None,
            is_up: true,
            is_loopback: false,
        })
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_link_is_named_when_it_goes_and_when_it_comes() {
        let mut link = link();
        assert_eq!(link.see(false), None);
        let text = link.see(true).unwrap();
        assert!(text.contains("eth0 is down") && link.is_down(), "{text}");
        assert_eq!(link.see(true), None);
        assert_eq!(link.see(false).unwrap(), "the link of eth0 is up again");
        // That of loopback is up, and asked for once a second.
        let mut lo = Interface::choose(&Interface::list().unwrap(), Some("lo"))
            .unwrap()
            .clone();
        let now = Instant::now();
        assert_eq!(Link::of(&lo).look(now), None);
        let mut known = Link::of(&lo);
        known.is_down = true;
        assert!(known.look(now).unwrap().contains("up again"));
        known.is_down = true;
        assert_eq!(known.look(now), None);
        lo.name = "gone0".into();
        assert_eq!(Link::of(&lo).look(now), None);
    }

    /// What is said of a wait in this state that has lasted.
    fn when_it_has_lasted(snapshot: &ReceiveSnapshot, link: &Link) -> String {
        let start = Instant::now();
        let mut waits = ReceiverWaits::default();
        assert_eq!(waits.look(snapshot, link, start), None);
        waits.look(snapshot, link, start + NAMED_AFTER).unwrap()
    }

    #[test]
    fn a_wait_is_named_when_it_has_lasted_and_then_ever_more_seldom() {
        let mut repeats = Repeats::default();
        let due: Vec<u64> = (0..110).filter(|it| repeats.is_due(seconds(*it))).collect();
        assert_eq!(due, [NAMED_AFTER.as_secs(), 10, 40, 70, 100]);
    }

    #[test]
    fn a_sender_is_heard_only_if_it_is_one_that_may_be_taken() {
        let asking = ReceivePhase::Asking {
            since: Instant::now(),
            to: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 5), 9001),
            requests: 3,
        };
        let mut asking = ReceiveSnapshot::new(asking);
        // Others may be at work on the port.
        asking.datagrams = 100;
        let text = when_it_has_lasted(&asking, &link());
        assert!(text.contains("no sender answers"), "{text}");
        asking.last_packet = Some(Instant::now());
        let text = when_it_has_lasted(&asking, &link());
        assert!(text.contains("a sender is heard"), "{text}");
    }

    #[test]
    fn where_all_has_come_the_target_is_waited_for_and_not_the_sender() {
        let mut link = link();
        link.see(true);
        let arrived = ReceiveSnapshot::new(ReceivePhase::Arrived {
            since: Instant::now(),
            sender: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 5), 9001),
            client: ClientNo(0),
        });
        let text = when_it_has_lasted(&arrived, &link);
        assert!(text.contains("the whole stream is here"), "{text}");
    }

    #[test]
    fn a_sender_says_how_many_are_in_and_for_how_long() {
        let start = Instant::now();
        let mut wait = SenderWait::new(20, Some(seconds(60)), start);
        let mut link = link();
        let mut look = |joined, at, link: &Link| wait.look(joined, link, start + seconds(at));
        assert_eq!(look(0, 1, &link), None);
        assert_eq!(
            look(0, 2, &link).unwrap(),
            "0 of 20 receivers, waiting for 2 s"
        );
        assert_eq!(look(0, 9, &link), None);
        assert_eq!(
            look(0, 10, &link).unwrap(),
            "0 of 20 receivers, waiting for 10 s"
        );
        assert_eq!((look(0, 11, &link), look(3, 30, &link)), (None, None));
        assert_eq!(
            look(3, 40, &link).unwrap(),
            "3 of 20 receivers, waiting for 40 s; starts at the latest in 50 s"
        );
        link.see(true);
        let text = look(3, 300, &link).unwrap();
        assert!(
            text.starts_with("3 of 20 receivers, waiting for 5 min")
                && text.contains("eth0 is down"),
            "{text}"
        );
        // Looks that were missed are not made up for.
        assert_eq!(look(3, 301, &link), None);

        let mut wait = SenderWait::new(0, None, start);
        assert_eq!(
            wait.look(0, &link, start + seconds(10)).unwrap(),
            "no receiver yet, waiting for 10 s; the link of eth0 is down, check the cable"
        );
    }
}
