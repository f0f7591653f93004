//! Why a client's request is refused now. Its words are made at the edge (`crate::text`).

use std::net::{IpAddr, Ipv4Addr};

use fog::Mac;
use serde::{Deserialize, Serialize};

use super::node::NotHere;
use super::reason::BrokenRow;
use super::{ImageId, NodeId, Reason, SessionId, TaskId, Timestamp};

/// Why a request is refused. Codes and fields are stored in databases, as a note of the session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", content = "details", rename_all = "kebab-case")]
pub enum Refusal {
    /// The request names no usable MAC address.
    NoMac,
    /// The machine is not registered.
    Unknown(Mac),
    /// The host has nothing to do; how its last session ended for it.
    NoTask {
        /// Host.
        host: String,
        /// The address that it asked with.
        mac: Mac,
        /// Its last session.
        last: Option<(SessionId, Reason)>,
    },
    /// The task is in no multicast session.
    NoSession(TaskId),
    /// The image of its session is not known any more.
    NoImage(ImageId),
    /// The image's row says something else than when this session began.
    OtherImage(SessionId),
    /// The client was booted for something else than a multicast deploy.
    OtherType {
        /// What it says (`type=`).
        found: String,
    },
    /// The client was booted for a deploy, and its task is a capture.
    CaptureNow {
        /// What it says (`type=`).
        found: String,
    },
    /// FOG's own client cannot capture here: it writes to a share that this server does not have.
    CaptureNeedsAgent,
    /// This server takes no captures.
    NoCaptures {
        /// Why.
        text: String,
    },
    /// The machine reports the end of a capture of which the image is not here.
    NotCaptured,
    /// The host's part in the session is over.
    Over(Reason),
    /// The host's part in the session is over, and another session is made for it.
    FollowUp {
        /// The session.
        session: SessionId,
        /// Why its part is over.
        over: Reason,
    },
    /// Another machine with this MAC address takes part.
    AnotherMachine {
        /// Where that one is.
        address: Ipv4Addr,
    },
    /// Machines with this MAC address were told more different jobs than can be remembered.
    TooManyMachines,
    /// This machine did not check in, so it cannot report for the host.
    NotCheckedIn,
    /// The machine's kernel arguments are of another job: it must be restarted.
    OtherJob {
        /// The session that they are of.
        told: SessionId,
        /// The session of its task now.
        now: SessionId,
    },
    /// The machine has a ticket that no machine was told for this host, or that is forgotten: it must be
    /// restarted.
    UnknownTicket,
    /// What this machine was told when it booted cannot be read any more: it must be restarted.
    UnknownJob(Box<BrokenRow>),
    /// Multicast needs IPv4.
    Ipv6(IpAddr),
    /// The request came through a proxy or NAT, so the receiver cannot be known by its address.
    Proxied {
        /// Where the request came from.
        peer: IpAddr,
        /// What the client calls its own address, if it does.
        own: Option<Ipv4Addr>,
    },
    /// The client is behind another network card than the session's.
    OtherNetwork {
        /// The card that leads to it.
        client: String,
        /// The card that the session sends on.
        session: String,
    },
    /// No network card leads to the client.
    NoNetwork {
        /// What the system said.
        text: String,
    },
    /// The report contradicts what the sender saw.
    NothingSent,
    /// The machine's kernel arguments are of another task, of this machine alone or of a session: it must be
    /// restarted.
    OtherTask {
        /// Its task now.
        now: Option<TaskId>,
    },
    /// A machine that is deployed alone waits for a slot.
    InLine(Line),
    /// The host could not use the share of its storage node, which is not asked again for a while.
    NodeFailed {
        /// The node.
        node: NodeId,
        /// Until when.
        until: Timestamp,
    },
    /// The files of its image are not those that were verified, or nothing is known of them.
    ImageUnusable {
        /// What is wrong, and what to do.
        text: String,
    },
    /// Not decided yet: ask again.
    AskAgain(AskAgain),
}

/// How a machine stands in line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The node that it waits for.
    pub node: NodeId,
    /// Machines that wait before it.
    pub in_front: u32,
    /// Free slots of the node.
    pub open: u32,
    /// Slots of the node.
    pub slots: u32,
    /// Since when it waits.
    pub since: Timestamp,
}

/// What an answer waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AskAgain {
    /// The sender has not seen the end of the last stream.
    LastStream,
    /// The database cannot store it.
    NotStored,
    /// The image's files are being looked at.
    ImageStore,
    /// The session does not answer.
    NoAnswer(SessionId),
    /// The server ends.
    ShuttingDown,
    /// The session is not run by this server.
    NotHere(SessionId, NotHere),
}

impl Refusal {
    /// Whether nothing but a restart of the machine helps.
    #[must_use]
    pub fn needs_restart(&self) -> bool {
        matches!(
            self,
            Self::OtherJob { .. }
                | Self::OtherTask { .. }
                | Self::UnknownTicket
                | Self::UnknownJob(_)
        )
    }

    /// Whether a person has to do something about the machine or its network before it is let in.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        matches!(
            self,
            Self::OtherType { .. }
                | Self::CaptureNow { .. }
                | Self::CaptureNeedsAgent
                | Self::NoCaptures { .. }
                | Self::AnotherMachine { .. }
                | Self::TooManyMachines
                | Self::OtherJob { .. }
                | Self::OtherTask { .. }
                | Self::ImageUnusable { .. }
                | Self::UnknownTicket
                | Self::UnknownJob(_)
                | Self::Ipv6(_)
                | Self::Proxied { .. }
                | Self::OtherNetwork { .. }
                | Self::NoNetwork { .. }
        )
    }
}
