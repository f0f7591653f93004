//! Why a client's request is refused, and what to do: the texts that stand on its screen.

use super::reason::{broken, with_disk};
use super::{foreign, reason};
use crate::domain::node::NotHere;
use crate::domain::refusal::{AskAgain, Line};
use crate::domain::{Reason, Refusal, SessionId};

/// A refusal in full sentences.
#[must_use]
pub fn refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::NoMac => "The request names no MAC address of a network card.".into(),
        Refusal::Unknown(mac) => format!(
            "The machine {mac} is not registered here. Register it with: fos-server host add NAME \
             {mac}"
        ),
        Refusal::NoTask { host, mac, last } => {
            let mut text = format!("No active task for {} ({mac}).", foreign(host));
            if let Some((session, last)) = last {
                text.push_str(&format!(" Session {session}: {}.", of_client(last)));
            }
            text
        }
        Refusal::NoSession(task) => format!(
            "Task {task} of this host is neither in a multicast session nor a deploy of the host alone, and \
             this server serves no other tasks. Cancel the task and deploy the host again."
        ),
        Refusal::NoImage(image) => format!(
            "Image {image} of this host's session is not known any more. Add it again with \
             fos-server image add, then deploy the host again."
        ),
        Refusal::OtherImage(session) => format!(
            "The image of session {session} was changed since the session began. Cancel the session, then \
             deploy the host again."
        ),
        Refusal::OtherType { found } => format!(
            "This machine was booted for another task (type={}), and its task is now a \
             deploy. Restart it to fetch the present boot script.",
            foreign(found)
        ),
        Refusal::CaptureNow { found } => format!(
            "This machine was booted for another task (type={}), and its task is now a capture of its disk. \
             Restart it to fetch the present boot script.",
            foreign(found)
        ),
        Refusal::CaptureNeedsAgent => "The task of this machine is a capture, and FOG's own client cannot do it \
             here: it writes to a share and moves the files by FTP, which this server does not have. Boot \
             fos-agent (its initramfs) on this machine. Nothing of its disk or of the image was changed."
            .into(),
        Refusal::NoCaptures { text } => {
            format!("This server cannot take a capture: {}.", foreign(text))
        }
        Refusal::NotCaptured => "This machine reports the end of a capture, but its image is not published here. \
             The report is ignored; restart the machine to capture it again."
            .into(),
        Refusal::Over(over) => over_text(over),
        Refusal::FollowUp { session, over } => format!(
            "The part of this host in session {session} is over: {}. Another session follows for the hosts that missed \
             it, when session {session} has ended: leave this machine on.",
            of_client(over)
        ),
        Refusal::AnotherMachine { address } => format!(
            "A machine at {address} already takes part, as this host or as another one with this \
             address. If two machines have one MAC address, switch one of them off. If it is this \
             machine, booted again, leave it on: it is let in when the server has not heard the \
             earlier one for a while, as long as the session has not started."
        ),
        Refusal::TooManyMachines => "Machines with this MAC address were booted for too many sessions \
             within a day. Look which machines have it. When all of them are switched off: fos-server host \
             forget NAME"
            .into(),
        Refusal::NotCheckedIn => {
            "This machine has not checked in for a session, so nothing that it \
             reports counts. Restart it if it is to be deployed."
                .into()
        }
        Refusal::OtherJob { told, now } if told == now => format!(
            "Restart this machine: its kernel arguments are not the ones that session {now} has now. \
             {AFTER_RESTART}"
        ),
        Refusal::OtherJob { told, now } => format!(
            "Restart this machine: it was booted for session {told}, its task is now in session \
             {now}. {AFTER_RESTART}"
        ),
        Refusal::UnknownJob(row) => format!(
            "Restart this machine: what it was booted for cannot be read any more ({}). {AFTER_RESTART}",
            broken(row)
        ),
        Refusal::UnknownTicket => "Restart this machine: this server does not know the ticket in its kernel \
             arguments (fosticket=). After the restart it fetches the present boot script."
            .into(),
        Refusal::Ipv6(address) => format!(
            "The request came from {address}, and multicast needs IPv4. Give the machine an IPv4 \
             address and boot it from the server's IPv4 address."
        ),
        Refusal::Proxied { peer, own } => {
            let own = own.map_or_else(
                || "is not this machine's own".into(),
                |own| format!("is not this machine's own ({own})"),
            );
            format!(
                "The request came from {peer}, which {own}: an HTTP proxy or NAT is on the way, and \
                 the server knows receivers by their addresses. Let the machine reach the server \
                 directly."
            )
        }
        Refusal::OtherNetwork { client, session } => {
            let (client, session) = (foreign(client), foreign(session));
            format!(
                "This machine is reached over {client}, the session sends on {session}. Deploy the \
                 hosts of each network in a session of their own, or connect the machine to the \
                 network of {session}."
            )
        }
        Refusal::NoNetwork { text } => format!(
            "The server has no network card that leads to this machine: {}. Check the server's \
             addresses and routes.",
            foreign(text)
        ),
        Refusal::NothingSent => "This machine reports that it is done, but the session has sent \
             nothing to it. The report is ignored; restart the machine if it is to be deployed."
            .into(),
        Refusal::OtherTask { now } => {
            let now = now.map_or_else(
                || "a multicast session".to_owned(),
                |task| format!("task {task}, a deploy of this machine alone"),
            );
            format!(
                "Restart this machine: it was booted for another task than it has now ({now}). \
                 {AFTER_RESTART}"
            )
        }
        Refusal::InLine(line) => in_line(line),
        Refusal::NodeFailed { node, until } => format!(
            "This machine could not use the image share of storage node {node}: it is asked again at {until} (UTC). Look \
             whether that node exports its images over NFS, with the file .mntcheck in them. After a restart another \
             node may be picked."
        ),
        Refusal::ImageUnusable { text } => format!("The image of this host cannot be deployed: {text}."),
        Refusal::AskAgain(cause) => ask_again(cause),
    }
}

/// FOG's words, which people know from its clients.
fn in_line(line: &Line) -> String {
    let Line {
        node,
        in_front,
        open,
        slots,
        since,
    } = line;
    let since = format!("Got in line at {since} (UTC).");
    if *slots == 0 {
        return format!(
            "Storage node {node} has no slots (its setting \"max clients\" is 0), so this machine waits until \
             somebody changes that. {since}"
        );
    }
    match open {
        0 => format!("No open slots, There are {in_front} before me on this node. {since}"),
        _ => format!("There are open slots, but {in_front} before me on this node. {since}"),
    }
}

/// A machine whose boot loader has another address than its Linux may be taken for the one before.
const AFTER_RESTART: &str = "After the restart it fetches the present boot script. If a restart does not help, \
    switch it off, and on the server: fos-server host forget NAME";

/// A short code of it for programs; `restart` if nothing but a restart of the machine helps.
#[must_use]
pub fn refusal_code(refusal: &Refusal) -> &'static str {
    if refusal.needs_restart() {
        return "restart";
    }
    match refusal {
        Refusal::NoMac => "no-mac",
        Refusal::Unknown(_) => "unknown",
        Refusal::NoTask { .. } => "no-task",
        Refusal::NoSession(_) => "no-session",
        Refusal::NoImage(_) => "no-image",
        Refusal::OtherImage(_) => "other-image",
        Refusal::OtherType { .. } | Refusal::CaptureNow { .. } => "other-type",
        Refusal::CaptureNeedsAgent => "capture-needs-agent",
        Refusal::NoCaptures { .. } => "no-captures",
        Refusal::NotCaptured => "not-captured",
        Refusal::Over(_) => "over",
        Refusal::FollowUp { .. } => "follow-up",
        Refusal::AnotherMachine { .. } => "another-machine",
        Refusal::TooManyMachines => "too-many-machines",
        Refusal::NotCheckedIn => "not-checked-in",
        Refusal::OtherJob { .. } => "other-job",
        Refusal::UnknownTicket => "unknown-ticket",
        Refusal::UnknownJob(_) => "unknown-job",
        Refusal::Ipv6(_) => "ipv6",
        Refusal::Proxied { .. } => "proxied",
        Refusal::OtherNetwork { .. } => "other-network",
        Refusal::NoNetwork { .. } => "no-network",
        Refusal::NothingSent => "nothing-sent",
        Refusal::OtherTask { .. } => "other-task",
        Refusal::InLine(_) => "in-line",
        Refusal::NodeFailed { .. } => "node-failed",
        Refusal::ImageUnusable { .. } => "image-unusable",
        Refusal::AskAgain(_) => "ask-again",
    }
}

/// A session that failed says nothing of the disk of the machine that asks: it may never have begun.
fn of_client(why: &Reason) -> String {
    match why {
        Reason::SessionFailed(_) => with_disk(why, None),
        _ => reason(why),
    }
}

fn over_text(over: &Reason) -> String {
    let text = format!(
        "The part of this host in the session is over: {}.",
        of_client(over)
    );
    let is_done = matches!(
        over,
        Reason::Written | Reason::WrittenLate | Reason::Captured
    );
    if is_done || over.is_wish() {
        text
    } else {
        format!("{text} Deploy the host again.")
    }
}

/// Why an active session does not run on this server.
#[must_use]
pub fn not_here(session: SessionId, why: &NotHere) -> String {
    match why {
        NotHere::OtherServer(server) => {
            let name = foreign(&server.name);
            match server.url.as_str() {
                "" => format!("session {session} is run by another server, {name}"),
                url => format!(
                    "session {session} is run by another server, {name} at {}",
                    foreign(url)
                ),
            }
        }
        NotHere::Held { text } => {
            format!(
                "this server does not run session {session}: {}",
                foreign(text)
            )
        }
    }
}

fn ask_again(cause: &AskAgain) -> String {
    let cause = match cause {
        AskAgain::LastStream => "the sender has not yet seen the end of the last stream".into(),
        AskAgain::NotStored => "the server's database cannot store it now".into(),
        AskAgain::ImageStore => "the server is looking at the image's files".into(),
        AskAgain::NoAnswer(session) => format!("session {session} does not answer"),
        AskAgain::ShuttingDown => "the server is shutting down".into(),
        AskAgain::NotHere(session, why) => not_here(*session, why),
    };
    format!("Not yet: {cause}. Ask again in a few seconds.")
}
