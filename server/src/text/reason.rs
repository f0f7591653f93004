//! Why a host's part in a session, or a session, ended.

use super::{count, foreign, names, seconds};
use crate::domain::Reason;
use crate::domain::reason::{BrokenRow, Defect, Evidence, Standstill, Summary};

/// A reason as a phrase without a subject and a full stop, to follow the name of a host or session and
/// a colon: what happened, what is known of the disk of a host that failed, and what to do.
#[must_use]
pub fn reason(reason: &Reason) -> String {
    with_disk(reason, disk(reason))
}

/// The same, where more may be known of the disk than the reason tells.
pub(super) fn with_disk(reason: &Reason, disk: Option<Disk>) -> String {
    let mut text = outcome(reason, disk);
    if let Some(advice) = advice(reason) {
        text.push_str(". ");
        text.push_str(advice);
    }
    text
}

fn outcome(reason: &Reason, disk: Option<Disk>) -> String {
    match disk {
        Some(disk) => format!("{}; {}", cause(reason), disk.words(reason)),
        None => cause(reason),
    }
}

/// What is known of a failed host's disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disk {
    /// As it was.
    Untouched,
    /// Nothing of the stream that the reason names was written.
    StreamUntouched,
    /// Written in part.
    Incomplete,
    /// Written in part, or as it was.
    Unknown,
}

impl Disk {
    fn words(self, reason: &Reason) -> String {
        match (self, reason) {
            (Self::Untouched, _) => "nothing was written".into(),
            (Self::StreamUntouched, Reason::Dropped { stream, .. }) => {
                format!("nothing of {} was written", foreign(stream.as_str()))
            }
            (Self::Incomplete, _) => "its disk is not complete".into(),
            (Self::StreamUntouched | Self::Unknown, _) => "its disk may not be complete".into(),
        }
    }
}

/// What a reason tells of the disk; `None` if it tells nothing, or says it in its own words.
pub(super) fn disk(reason: &Reason) -> Option<Disk> {
    Some(match reason {
        Reason::Late { .. } | Reason::Missing | Reason::ShareUnusable => Disk::Untouched,
        // A client of FOG writes the partition table before it connects.
        Reason::NotConnected => Disk::Unknown,
        Reason::Dropped { evidence, .. } => match evidence {
            Evidence::HeardByHttpNeverData => Disk::StreamUntouched,
            Evidence::AnswersWithoutData => Disk::Unknown,
            Evidence::Gone
            | Evidence::HeardByHttp
            | Evidence::NotListening
            | Evidence::AnswersWithLoss
            | Evidence::DiskStandsStill => Disk::Incomplete,
        },
        Reason::Restarted { .. }
        | Reason::NotConnectedFor { .. }
        | Reason::Incomplete { .. }
        | Reason::LeftBehind { .. }
        | Reason::Stalled { .. }
        | Reason::Left { .. }
        | Reason::TookNoPart { .. }
        | Reason::SilentBefore { .. } => Disk::Incomplete,
        Reason::Overdue { .. } | Reason::ServerStopped { .. } => Disk::Unknown,
        Reason::SessionFailed(why) => disk(why).unwrap_or(Disk::Unknown),
        Reason::Written
        | Reason::WrittenLate
        | Reason::Captured
        | Reason::CaptureFailed { .. }
        | Reason::ClientFailed { .. }
        | Reason::SessionCancelled
        | Reason::TaskCancelled
        | Reason::Summary(_)
        | Reason::AllCancelled
        | Reason::NobodyConnected { .. }
        | Reason::SenderFailed { .. }
        | Reason::StoodStill { .. }
        | Reason::ImageChanged { .. }
        | Reason::Unusable(_)
        | Reason::BrokenRow(_)
        | Reason::Internal { .. }
        | Reason::Words { .. }
        | Reason::Unknown { .. } => return None,
    })
}

fn cause(reason: &Reason) -> String {
    match reason {
        Reason::Written => "the client reported that all is written".into(),
        Reason::WrittenLate => "the client reported, late, that all is written".into(),
        Reason::Captured => "its disk is captured, and the image is verified and published".into(),
        Reason::CaptureFailed { text } => format!(
            "what was captured cannot be used, and the former image is as it was: {}",
            foreign(text)
        ),
        Reason::ClientFailed { text, before } => client_failed(text, before.as_deref()),
        Reason::Restarted { stream } => format!(
            "restarted while {} was sent, after it had received data",
            foreign(stream.as_str())
        ),
        Reason::Late { stream } => format!(
            "checked in after the session had started (it now sends {})",
            foreign(stream.as_str())
        ),
        Reason::Missing => "did not check in before the session started".into(),
        Reason::NotConnected => {
            "checked in, but did not connect to the sender before the session started".into()
        }
        Reason::NotConnectedFor { stream, seconds } => not_connected_for(stream.as_str(), *seconds),
        Reason::ShareUnusable => {
            "the client could not mount the image share or found no .mntcheck in it".into()
        }
        Reason::Incomplete { done, total } => format!(
            "the client reported its end, but the sender saw it receive only {done} of {}",
            count(*total, "stream", "streams")
        ),
        Reason::Dropped {
            stream,
            seconds,
            evidence,
        } => dropped(stream.as_str(), *seconds, *evidence),
        Reason::LeftBehind {
            stream,
            bytes_per_second,
            waited_percent,
        } => format!(
            "left behind in {}, because it was too slow: it got {}/s, and the others waited for it \
             {waited_percent} % of the time",
            foreign(stream.as_str()),
            readable::Size(*bytes_per_second)
        ),
        Reason::Stalled { stream, seconds } => format!(
            "dropped in {}: it took no data for {} while the stream waited for it",
            foreign(stream.as_str()),
            super::seconds(*seconds)
        ),
        Reason::Left { stream } => format!(
            "left during {}, before its end, and gave no reason",
            foreign(stream.as_str())
        ),
        Reason::TookNoPart { stream } => format!("took no part in {}", foreign(stream.as_str())),
        Reason::SilentBefore { stream, seconds } => format!(
            "silent for {} before {}: it was switched off or lost its network",
            super::seconds(*seconds),
            foreign(stream.as_str())
        ),
        Reason::Overdue { seconds } => format!(
            "received all streams, but did not report its end within {}",
            super::seconds(*seconds)
        ),
        Reason::SessionFailed(why) => format!("the session failed: {}", cause(why)),
        Reason::SessionCancelled => "the session was cancelled".into(),
        Reason::TaskCancelled => "its task was cancelled".into(),
        Reason::ServerStopped { stream } => format!(
            "the server stopped while {} was sent or waited for, and this client cannot begin a \
             stream again",
            foreign(stream.as_str())
        ),
        Reason::Summary(sum) => summary(sum),
        Reason::AllCancelled => "every host was cancelled".into(),
        Reason::NobodyConnected { seconds, missing } => format!(
            "no host connected to the sender within {} (missing: {})",
            super::seconds(*seconds),
            names(missing)
        ),
        Reason::SenderFailed { stream, text } => format!(
            "the sender failed in {}: {}",
            foreign(stream.as_str()),
            foreign(text)
        ),
        Reason::StoodStill {
            stream,
            seconds,
            cause,
        } => format!(
            "nothing of {} moved for {}: {}",
            foreign(stream.as_str()),
            super::seconds(*seconds),
            standstill(*cause)
        ),
        Reason::ImageChanged { text } => format!(
            "the image's files are not those that were verified: {}",
            foreign(text)
        ),
        Reason::Unusable(defect) => unusable(defect),
        Reason::BrokenRow(row) => broken(row),
        Reason::Internal { text } => format!("an error in the server itself: {}", foreign(text)),
        Reason::Words { text } => foreign(text),
        Reason::Unknown { code, details } => unknown(code, details),
    }
}

/// A value that makes no sense, and what to do.
#[must_use]
pub fn broken_row(row: &BrokenRow) -> String {
    format!("{}. Correct the row", broken(row))
}

pub(super) fn broken(row: &BrokenRow) -> String {
    format!(
        "the database holds a value that the server cannot understand: table {}, row {}: column {} \
         holds \"{}\", expected {}",
        foreign(&row.table),
        foreign(&row.row),
        foreign(&row.column),
        foreign(&row.value),
        foreign(&row.expected)
    )
}

/// A code that another version stored.
pub(super) fn unknown(code: &str, details: &str) -> String {
    let (code, details) = (foreign(code), foreign(details));
    let blank = if details.is_empty() { "" } else { " " };
    format!("{code}{blank}{details} (stored by another program, or another version of fos-server)")
}

fn client_failed(text: &str, before: Option<&Reason>) -> String {
    let text = foreign(text);
    match before {
        None => format!("the client reports: {text}"),
        Some(Reason::Written | Reason::WrittenLate) => {
            format!("the client first reported that all is written, then that it failed: {text}")
        }
        Some(before) => format!(
            "the client reports: {text} ({})",
            outcome(before, disk(before))
        ),
    }
}

fn not_connected_for(stream: &str, waited: Option<u64>) -> String {
    let stream = foreign(stream);
    match waited {
        Some(waited) => format!("did not connect for {stream} within {}", seconds(waited)),
        None => format!("{stream} began before it had connected"),
    }
}

fn dropped(stream: &str, time: u64, evidence: Evidence) -> String {
    let (how, what) = match evidence {
        Evidence::Gone => (
            "of silence",
            "neither the sender nor the web server heard it; it was switched off, stopped, or lost \
             its network",
        ),
        Evidence::HeardByHttp => (
            "of silence",
            "the machine runs and asks over HTTP, but its receiver fell silent",
        ),
        Evidence::HeardByHttpNeverData => (
            "of silence",
            "the machine runs and asks over HTTP, but multicast does not reach it",
        ),
        Evidence::NotListening => ("", "its receiver program has ended"),
        Evidence::AnswersWithoutData => (
            "without progress",
            "it answers, but no data block reaches it",
        ),
        Evidence::AnswersWithLoss => (
            "without progress",
            "it answers, but some data blocks never reach it",
        ),
        Evidence::DiskStandsStill => (
            "in which the stream waited for it",
            "it answers, but its disk stands still",
        ),
    };
    let stream = foreign(stream);
    if time == 0 || how.is_empty() {
        format!("dropped in {stream}: {what}")
    } else {
        format!("dropped in {stream} after {} {how}: {what}", seconds(time))
    }
}

fn standstill(cause: Standstill) -> &'static str {
    match cause {
        Standstill::Sender => "the sender did not begin",
        Standstill::ImageStore => "no data came from the image store",
        Standstill::Receivers => "no receiver took any data, although they answer",
    }
}

fn unusable(defect: &Defect) -> String {
    match defect {
        Defect::NoImage => "its image is not in the database any more".into(),
        Defect::NotVerified => "its image was never verified by this server".into(),
        Defect::NoHosts => "it has no hosts".into(),
        Defect::Port { port } => {
            format!("its base port {port} is not an even number from 1024 to 65534")
        }
        Defect::OtherDirectory => {
            "its image has another directory than when the session was made".into()
        }
        Defect::OtherStreams => {
            "its image has other streams than when the session began to send".into()
        }
    }
}

/// What to do, if that is special to the reason: most hosts that failed are just deployed again.
fn advice(reason: &Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::ClientFailed { before, .. } => match before.as_deref() {
            Some(Reason::Written | Reason::WrittenLate) => "Check this machine before it is used",
            _ => return None,
        },
        Reason::Restarted { .. } => "It cannot join again; deploy it after the session",
        Reason::NotConnected => {
            "Check the network between server and host (UDP, the session's two ports)"
        }
        Reason::ShareUnusable => {
            "Check the NFS export, or boot this project's agent, which needs no share"
        }
        Reason::Dropped { evidence, .. } => match evidence {
            Evidence::Gone => return None,
            Evidence::HeardByHttp => {
                "Look at its screen: its disk may hang, or a switch passes no multicast to it any \
                 more"
            }
            Evidence::HeardByHttpNeverData => {
                "Check the switches: one filters multicast (IGMP snooping without a querier?)"
            }
            Evidence::NotListening => LOOK,
            Evidence::AnswersWithoutData => {
                "The network does not carry large datagrams to it: check the MTU of every VLAN and \
                 VPN on the way"
            }
            Evidence::AnswersWithLoss => "Check its cable, its switch port and its network card",
            Evidence::DiskStandsStill => {
                "Check its disk; if it is only slow, start the server with a longer --disk-limit"
            }
        },
        Reason::LeftBehind { .. } => {
            "Deploy it again by itself (fos-server deploy IMAGE HOST); check its cable and the speed of its switch port"
        }
        Reason::Stalled { .. } => "Look at its screen, its disk may hang",
        Reason::Incomplete { .. } | Reason::Left { .. } | Reason::TookNoPart { .. } => LOOK,
        Reason::Overdue { .. } => "Look at its screen; a late report is still accepted",
        Reason::ServerStopped { .. } => "Restart it, then deploy it again",
        Reason::SessionFailed(why) => return advice(why),
        Reason::NobodyConnected { .. } => {
            "Check that the clients reach the session's two ports (UDP) and that no firewall is in \
             between"
        }
        Reason::StoodStill { cause, .. } => match cause {
            Standstill::Sender => "Look at the server's log",
            Standstill::ImageStore => "Check whether the disk or mount of the images hangs",
            Standstill::Receivers => "Look at the screens of the hosts, their disks may hang",
        },
        Reason::ImageChanged { .. } => {
            "Put the files back, or take what is there now with fos-server image update"
        }
        Reason::Unusable(defect) => match defect {
            Defect::NoImage => "Add the image (fos-server image add), then deploy again",
            Defect::NotVerified => "Verify it with fos-server image update, then deploy again",
            Defect::NoHosts | Defect::OtherDirectory | Defect::OtherStreams => "Deploy again",
            Defect::Port { .. } => "Correct multicastSessions.msBasePort, or deploy again",
        },
        Reason::BrokenRow(_) => "Correct the row, or deploy again",
        Reason::Internal { .. } => "Please report it with the server's log",
        Reason::Written
        | Reason::WrittenLate
        | Reason::Captured
        | Reason::CaptureFailed { .. }
        | Reason::Late { .. }
        | Reason::Missing
        | Reason::NotConnectedFor { .. }
        | Reason::SilentBefore { .. }
        | Reason::SessionCancelled
        | Reason::TaskCancelled
        | Reason::Summary(_)
        | Reason::AllCancelled
        | Reason::SenderFailed { .. }
        | Reason::Words { .. }
        | Reason::Unknown { .. } => return None,
    })
}

fn summary(sum: &Summary) -> String {
    let mut text = format!(
        "{} of {} complete",
        sum.complete,
        count(sum.total, "host", "hosts")
    );
    if sum.cancelled > 0 {
        text.push_str(&format!(", {} cancelled", sum.cancelled));
    }
    for (name, trouble) in sum.troubles.iter().take(Summary::MAX_TROUBLES) {
        text.push_str(&format!(". {}: {}", foreign(name), reason(trouble)));
    }
    let hidden = sum.troubles.len().saturating_sub(Summary::MAX_TROUBLES);
    match sum.more.saturating_add(hidden) {
        0 => {}
        more => text.push_str(&format!(". And {more} more")),
    }
    text
}

const LOOK: &str = "Look at its screen";
