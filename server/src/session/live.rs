//! A running session for whoever asks.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::rate::Course;
use crate::domain::handout::Arguments;
use crate::domain::multicast::Duplex;
use crate::domain::session::{MemberSnapshot, Snapshot};
use crate::domain::{BootGiven, HostId, ImageId, SessionId, Timestamp};
use crate::sender::{Counters, Received};

/// A session at one moment.
#[derive(Debug, Clone)]
pub struct Live {
    /// Number.
    pub id: SessionId,
    /// Name.
    pub name: String,
    /// Image.
    pub image: ImageId,
    /// Its display name.
    pub image_name: String,
    /// Base port.
    pub port: u16,
    /// Creation.
    pub created_at: Timestamp,
    /// The session that it follows.
    pub follows: Option<SessionId>,
    /// Whether another session follows it, for hosts that miss it.
    pub is_followed: bool,
    /// The state machine.
    pub snapshot: Snapshot,
    /// Stored bytes of the present stream.
    pub stream_len: u64,
    /// The sender of the present stream.
    pub counters: Counters,
    /// Bytes per second, acknowledged by all.
    pub rate: u64,
    /// The same from the first byte on.
    pub course: Course,
    /// The hosts, in the order of the snapshot.
    pub members: Vec<LiveMember>,
    by_host: HashMap<HostId, usize>,
    /// What the session waits for besides its hosts.
    pub waits: Vec<Wait>,
    /// When the session ended, if it has.
    pub ended_at: Option<Timestamp>,
    /// When this was so.
    pub at: Instant,
}

/// What is known of a host besides its part in the state machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LiveMember {
    /// What the client last said.
    pub report: ClientReport,
    /// When it last asked what to boot, if it did since the server was started.
    pub boot: Option<Boot>,
    /// How long the sender has waited for it, if it does.
    pub holds_up: Option<Duration>,
    /// What it got of the present stream, if it receives.
    pub received: Option<Received>,
}

/// A host that asked what to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boot {
    /// The last time.
    pub at: Instant,
    /// The answer then.
    pub given: BootGiven,
    /// How often it has asked.
    pub count: u32,
}

/// What a client last said of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ClientReport {
    /// Phase, one word.
    pub phase: String,
    /// Stream in work.
    pub stream: String,
    /// A sentence.
    pub detail: String,
    /// Percent of the present partition.
    pub percent: u8,
    /// Rate in its own words.
    pub rate: String,
}

/// Something on the server that a session waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// The image's files are being looked at.
    ImageStore {
        /// Since.
        since: Instant,
    },
    /// The present stream has no network card to be sent on.
    Network {
        /// Since.
        since: Instant,
        /// What the system says.
        text: String,
    },
    /// The database cannot store what was decided.
    Database {
        /// Since.
        since: Instant,
        /// What it says.
        text: String,
    },
}

impl Live {
    /// Puts the parts together.
    #[expect(clippy::too_many_arguments, reason = "each is a field of its own")]
    pub(super) fn new(
        head: &Head,
        snapshot: Snapshot,
        stream_len: u64,
        counters: Counters,
        (rate, course): (u64, Course),
        members: Vec<LiveMember>,
        waits: Vec<Wait>,
        at: Instant,
    ) -> Self {
        let by_host = snapshot.members.iter().map(|member| member.host);
        let by_host = by_host.zip(0..).collect();
        Self {
            id: head.id,
            name: head.name.clone(),
            image: head.image,
            image_name: head.image_name.clone(),
            port: head.port,
            created_at: head.created_at,
            follows: head.follows,
            is_followed: head.is_followed,
            snapshot,
            stream_len,
            counters,
            rate,
            course,
            members,
            by_host,
            waits,
            ended_at: None,
            at,
        }
    }

    /// A host of the session.
    #[must_use]
    pub fn member(&self, host: HostId) -> Option<(&MemberSnapshot, &LiveMember)> {
        let index = *self.by_host.get(&host)?;
        self.snapshot
            .members
            .get(index)
            .zip(self.members.get(index))
    }

    /// Where a host checked in from.
    #[must_use]
    pub fn address_of(&self, host: HostId) -> Option<Ipv4Addr> {
        self.member(host)?.0.address
    }

    /// Whether the image's files are being looked at.
    #[must_use]
    pub fn is_looking_at_files(&self) -> bool {
        self.waits
            .iter()
            .any(|wait| matches!(wait, Wait::ImageStore { .. }))
    }
}

/// What of a session never changes.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) id: SessionId,
    pub(super) name: String,
    pub(super) image: ImageId,
    pub(super) image_name: String,
    /// Image directory below the root.
    pub(super) path: String,
    pub(super) port: u16,
    /// What kernel arguments tell besides.
    pub(super) arguments: Arguments,
    pub(super) created_at: Timestamp,
    pub(super) follows: Option<SessionId>,
    pub(super) is_followed: bool,
    /// The group of its data; `None` for udpcast's choice.
    pub(super) group: Option<Ipv4Addr>,
    pub(super) duplex: Duplex,
}
