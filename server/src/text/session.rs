//! What a session and its hosts do.

use std::time::Duration;

use fog::task::State;
use readable::NAMED_AFTER;

use super::reason::{Disk, disk, with_disk};
use super::{count, duration, foreign, names, reason, refusal};
use crate::domain::follow_up::FollowUp;
use crate::domain::session::core::Phase;
use crate::domain::session::{Member, MemberSnapshot, SeatStatus, Session, Snapshot};
use crate::domain::{BootGiven, Reason};

/// What a running session does or waits for, since when, and until when.
#[must_use]
pub fn phase(session: &Snapshot) -> String {
    let age = duration(session.age);
    let stream = stream(session);
    match &session.phase {
        Phase::Gathering { stream: 0 } if !session.has_check_in && session.expected == 1 => {
            format!(
                "waiting for {} to check in, for {age}; boot it from the network. This wait has no limit",
                names(&session.missing)
            )
        }
        Phase::Gathering { stream: 0 } if !session.has_check_in => format!(
            "waiting for the first of {} to check in, for {age}: {}; boot them from the network. This \
             wait has no limit",
            count_u32(session.expected, "host", "hosts"),
            lacking(session)
        ),
        Phase::Gathering { .. } => gathering(session, &stream, &age),
        Phase::Starting { .. } => {
            let mut text = format!("starting {stream} for {age}");
            if !session.missing.is_empty() {
                text.push_str(&format!(", without {}", names(&session.missing)));
            }
            text
        }
        Phase::Sending { .. } => {
            let hosts = count_u32(session.connected, "host", "hosts");
            let mut text = format!("sending {stream} to {hosts} for {age}");
            if session.stands_still >= NAMED_AFTER {
                let still = duration(session.stands_still);
                text.push_str(&format!("; nothing has moved for {still}"));
            }
            text
        }
        Phase::Finishing => finishing(session, &age),
        Phase::Ended { state, reason: why } => format!("{state}: {}", reason(why)),
    }
}

fn gathering(session: &Snapshot, stream: &str, age: &str) -> String {
    if session.missing.is_empty() && session.joiners == 0 {
        return format!("about to start {stream}");
    }
    let count = u32::try_from(session.missing.len()).unwrap_or(u32::MAX);
    let mut text = format!(
        "waiting for {} of {} before {stream} for {age}: {}",
        count.saturating_add(session.joiners),
        count_u32(session.expected, "host", "hosts"),
        lacking(session)
    );
    if let Some(left) = session.starts_in {
        let left = duration(left);
        let has_started = session.members.iter().any(|member| member.has_received);
        text.push_str(&match (has_started, session.connected) {
            (false, 0) => format!("; the session fails in {left} if no host connects"),
            (false, _) => format!("; it starts without them in {left}"),
            (true, _) => format!("; it goes on without them in {left}"),
        });
    }
    text
}

/// Hosts that are not at the rendezvous, and how many are still to join.
fn lacking(session: &Snapshot) -> String {
    let names = names(&session.missing);
    let joiners = match session.joiners {
        0 => return names,
        1 => "1 host that is to join by name, from the boot menu".to_owned(),
        more => format!("{more} hosts that are to join by name, from the boot menu"),
    };
    match session.missing.is_empty() {
        true => joiners,
        false => format!("{names}; {joiners}"),
    }
}

fn finishing(session: &Snapshot, age: &str) -> String {
    let open = || {
        let members = session.members.iter();
        members.filter(|member| !matches!(member.status, SeatStatus::Ended(..)))
    };
    let is_leaving = open().all(|member| matches!(member.status, SeatStatus::Leaving(_)));
    let sent = if is_leaving {
        "the last receivers left".to_owned()
    } else {
        format!(
            "all is sent ({})",
            count(session.streams, "stream", "streams")
        )
    };
    let open: Vec<&str> = open().map(|member| member.name.as_str()).collect();
    let mut text = format!(
        "{sent}; waiting for the {} of {} for {age}: {}",
        if open.len() == 1 { "report" } else { "reports" },
        count(open.len(), "host", "hosts"),
        names(&open)
    );
    if let Some(left) = session.gives_up_in {
        let left = duration(left);
        text.push_str(&format!(
            "; a host that stays silent fails, the first in {left}"
        ));
    }
    text
}

/// What a host of a running session does or waits for, or why its part ended.
#[must_use]
pub fn member(member: &MemberSnapshot, session: &Snapshot) -> String {
    let stream = foreign(session.stream_name.as_str());
    match &member.status {
        SeatStatus::Expected => match &member.refused {
            Some((address, why)) => format!(
                "not checked in: its check-in from {address} is refused: {}",
                refusal(why)
            ),
            None => "not checked in".into(),
        },
        SeatStatus::CheckedIn => "checked in; not yet connected to the sender".into(),
        SeatStatus::Connected => format!("connected for {stream}"),
        SeatStatus::Receiving => format!("receiving {stream}"),
        SeatStatus::Between if member.streams_done >= session.streams => {
            "received everything; has not reported its end".into()
        }
        SeatStatus::Between if member.streams_done > session.stream => match session.expected {
            1 => format!("has {stream} already; waiting for the next stream"),
            _ => format!("has {stream} already; waiting for the others"),
        },
        SeatStatus::Between => format!("not yet connected for {stream}"),
        SeatStatus::Leaving(Reason::Left { stream }) => format!(
            "left during {}, before its end; waiting for its report of the reason",
            foreign(stream.as_str())
        ),
        SeatStatus::Leaving(why) => format!("{}; waiting for its report", reason(why)),
        SeatStatus::Ended(_, why) => member_end(member, session.streams, why),
    }
}

/// What a machine was answered that asked what to boot: `asked to boot 3 s ago, ` goes before it.
#[must_use]
pub fn boot_given(given: &BootGiven) -> String {
    let why = match given {
        BootGiven::Kernel => return "was given the kernel".to_owned(),
        BootGiven::NoFile(path) => format!(
            "{} is missing on the server; put kernel and initramfs there and start the machine again",
            foreign(path.to_string_lossy())
        ),
        BootGiven::Hang(dir) => format!(
            "the server's boot directory {} does not answer; look whether its disk or mount hangs",
            foreign(dir.to_string_lossy())
        ),
        BootGiven::NoImage => "the image of the session does not exist any more".to_owned(),
        BootGiven::OtherImage => {
            "the image of the session was changed since the session began; cancel the session and deploy again".to_owned()
        }
        BootGiven::Refused(why) => refusal(why),
        BootGiven::Failed(cause) => format!("the server failed: {}", foreign(cause)),
    };
    format!("turned away: {why}")
}

/// Why the part of a host ended, of a session with so many streams.
#[must_use]
pub fn member_end(member: &MemberSnapshot, streams: usize, why: &Reason) -> String {
    let received = match member.streams_done {
        0 if !member.may_have_written => Received::Nothing,
        0 if !member.agent.is_agent() => Received::Table,
        done if done > 0 && done < streams => Received::Streams,
        _ => Received::Something,
    };
    ended(why, received)
}

/// Names hosts that hold up all others, with the time since they were last heard; empty if there are
/// none.
#[must_use]
pub fn held_up_by(hosts: &[(&str, Duration)]) -> String {
    if hosts.is_empty() {
        return String::new();
    }
    let hosts: Vec<String> = hosts
        .iter()
        .map(|(name, silent)| format!("{} ({})", foreign(name), duration(*silent)))
        .collect();
    format!("held up by {}", names(&hosts))
}

/// What is said of a host that slows the others down, as it loses what is sent.
#[must_use]
pub fn asks_again(blocks: u64, percent: f64) -> String {
    format!("it asked for {blocks} blocks again, {percent:.1} % of the stream so far")
}

/// What is said of such a host: how long it has been silent, and for how long the stream has stood
/// still. Alone it holds up nobody else.
#[must_use]
pub fn holds_up(silent: Duration, stands_still: Duration, is_alone: bool) -> String {
    let who = match is_alone {
        true => "the stream waits",
        false => "the others wait",
    };
    if silent < NAMED_AFTER {
        let still = duration(stands_still);
        format!("{who} for it: it answers, but took no data for {still}")
    } else {
        format!("{who} for it: silent for {}", duration(silent))
    }
}

/// What is known of a session that no server runs.
#[must_use]
pub fn stored_session(session: &Session) -> String {
    if !session.state.is_active() {
        let mut text = match &session.reason {
            Some(why) => format!("{}: {}", session.state, reason(why)),
            None => session.state.to_string(),
        };
        match session.follow_up {
            FollowUp::None => {}
            FollowUp::Due => {
                text.push_str("; another session follows for the hosts that missed it")
            }
            FollowUp::Made(next) => text.push_str(&format!(
                "; session {next} follows for the hosts that missed it"
            )),
        }
        return text;
    }
    if session.is_unjoined() {
        return unjoined(session);
    }
    match session.started_at {
        None => {
            let here = checked_in(session);
            format!("waiting ({here}); no server is running that could send it")
        }
        Some(at) => format!(
            "started at {at} (UTC); the server that sent it is not running. It goes on when a server \
             is started"
        ),
    }
}

/// A session that this server begins to run, or takes up again, at this moment.
#[must_use]
pub fn starting_session(session: &Session) -> String {
    if session.is_unjoined() {
        return unjoined(session);
    }
    let here = checked_in(session);
    match session.started_at {
        None => format!("being prepared ({here})"),
        Some(at) => format!("started at {at} (UTC); the server is about to go on with it ({here})"),
    }
}

/// Nobody has joined it yet.
fn unjoined(session: &Session) -> String {
    format!(
        "waiting for the first of {} to join by the name {}, from the boot menu. This wait has no limit",
        count_u32(session.expected, "host", "hosts"),
        foreign(&session.name)
    )
}

fn checked_in(session: &Session) -> String {
    let here = session.members.iter();
    let here = here.filter(|member| member.checked_in_at.is_some()).count();
    let all = count(session.members.len(), "host", "hosts");
    format!("{here} of {all} checked in")
}

/// What is known of a host of such a session, which has begun to send or not.
#[must_use]
pub fn stored_member(member: &Member, has_started: bool) -> String {
    match (&member.reason, member.checked_in_at) {
        (Some(why), _) if !member.state.is_active() => {
            // How many streams there are is not known here, but whoever failed lacks one, unless its
            // report alone is missing.
            let lacks_one = member.state == State::Failed && !why.awaits_report();
            let received = match member.streams_done {
                0 if member.address.is_none() => Received::Nothing,
                0 if !member.agent.is_agent() => Received::Table,
                0 if !has_started || is_before_data(why) => Received::Nothing,
                done if done > 0 && lacks_one => Received::Streams,
                _ => Received::Something,
            };
            ended(why, received)
        }
        (None, _) if !member.state.is_active() => member.state.to_string(),
        (_, Some(at)) => match member.streams_done {
            0 => format!("checked in at {at} (UTC)"),
            done => {
                let done = count(done as usize, "stream", "streams");
                format!("checked in at {at} (UTC); received {done}")
            }
        },
        (_, None) => "not checked in".into(),
    }
}

/// What a host has received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Received {
    Nothing,
    /// A client of FOG: perhaps nothing, perhaps a part of the first stream, but it writes the partition table
    /// before.
    Table,
    /// Perhaps a part of the first stream, perhaps everything.
    Something,
    /// At least one stream, but not all.
    Streams,
}

/// Why a host's part ended, with all that is known of its disk: the seat may know more than the
/// reason.
fn ended(why: &Reason, received: Received) -> String {
    let tells_itself = match why {
        Reason::Written | Reason::WrittenLate => true,
        Reason::ClientFailed { before, .. } => before.is_some(),
        _ => false,
    };
    let known = match (disk(why), received) {
        (None, _) if tells_itself => None,
        (Some(known @ (Disk::Untouched | Disk::Incomplete)), _) => Some(known),
        (Some(Disk::StreamUntouched), Received::Table) => Some(Disk::Unknown),
        (Some(Disk::StreamUntouched), Received::Something) | (_, Received::Nothing) => {
            Some(Disk::Untouched)
        }
        (_, Received::Streams) => Some(Disk::Incomplete),
        // Its own words may say it.
        (None, Received::Table | Received::Something)
            if matches!(why, Reason::ClientFailed { .. }) =>
        {
            None
        }
        (_, Received::Table | Received::Something) => Some(Disk::Unknown),
    };
    with_disk(why, known)
}

/// Whether a host that ended for this reason had received nothing of any stream.
fn is_before_data(why: &Reason) -> bool {
    match why {
        Reason::NotConnected | Reason::NobodyConnected { .. } => true,
        Reason::SessionFailed(why) => is_before_data(why),
        _ => false,
    }
}

/// `d1p1.img (stream 1 of 2)`.
fn stream(session: &Snapshot) -> String {
    format!(
        "{} (stream {} of {})",
        foreign(session.stream_name.as_str()),
        session.stream.saturating_add(1),
        session.streams
    )
}

fn count_u32(items: u32, one: &str, more: &str) -> String {
    count(usize::try_from(items).unwrap_or(usize::MAX), one, more)
}
