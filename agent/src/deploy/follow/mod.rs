//! Follows the data path for the screen and the server: rates, waits, and when to give up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cast_net::{Interface, ReceiveNotice, ReceivePhase, ReceiveSnapshot, ReceiveStatus};
use deploy_plan::DeployPlan;
use readable::{NAMED_AFTER, Size, Time};
use udpcast_cli::Link;

use super::evidence::{Evidence, evidence};
use super::grow::AtWork;
use super::receive::{Current, Receiving};
use super::resume::{Attempt, Next, Progress, Run, wanted, what_next};
use super::unicast::SHARE_LIMIT;
use crate::control::Server;
use crate::control::session::{self, Latest, News};
use crate::screen::{Board, Part, State, Transfer};
use imaging::tap::meter::{DiskStep, Flow, Meter};

/// What is followed.
pub(crate) struct Follower {
    pub(crate) board: Board,
    pub(crate) flow: Arc<Flow>,
    pub(crate) current: Current,
    pub(crate) news: News,
    pub(crate) server: Server,
    /// The server says nothing of the session.
    pub(crate) is_stock: bool,
    /// The card that the streams come by.
    pub(crate) interface: Interface,
    /// Address and port of the rendezvous, or the image share, for people.
    pub(crate) rendezvous: String,
    /// Names of all streams.
    pub(crate) names: Vec<String>,
    pub(crate) totals: Totals,
    /// Bytes that the disks have taken.
    pub(crate) written: Vec<Arc<AtomicU64>>,
    /// All is on the disk already: what comes is only compared.
    pub(crate) is_repeat: bool,
    /// The program that works on a file system.
    pub(crate) at_work: AtWork,
}

/// What 100 % is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Totals {
    /// Bytes of used blocks.
    Used(u64),
    /// Stored bytes, where the server did not count used blocks.
    Stored(u64),
}

impl Totals {
    /// The streams of the plan, in the same unit.
    pub(crate) fn parts(self, plan: &DeployPlan) -> Vec<Part> {
        let parts = plan.streams.iter().map(|stream| {
            let blocks = stream.facts.used_blocks.unwrap_or(0);
            let len = match self {
                Self::Used(_) => blocks.saturating_mul(stream.facts.block_size.into()),
                Self::Stored(_) => stream.stored_len,
            };
            let name = stream.name.to_string();
            Part { name, len }
        });
        parts.collect()
    }

    pub(crate) fn of(plan: &DeployPlan) -> Self {
        let used = plan.streams.iter().try_fold(0_u64, |sum, stream| {
            let blocks = stream.facts.used_blocks?;
            let bytes = blocks.checked_mul(u64::from(stream.facts.block_size))?;
            sum.checked_add(bytes)
        });
        used.map_or_else(
            || {
                let stored = plan.streams.iter().map(|stream| stream.stored_len);
                Self::Stored(stored.fold(0, u64::saturating_add))
            },
            Self::Used,
        )
    }
}

impl Follower {
    /// Shows that everything is there; the last look was a little before.
    pub(crate) fn finish(&self) {
        let now = Instant::now();
        let (Totals::Used(total) | Totals::Stored(total)) = self.totals;
        self.board.update(|state| {
            state.wait = None;
            // Data that came between two looks has never been shown.
            let transfer = state.transfer.get_or_insert_with(|| Transfer {
                stream: self.names.len(),
                streams: self.names.len(),
                name: self.names.last().cloned().unwrap_or_default(),
                copied: total,
                total,
                rate: 0.0,
                wire_rate: 0.0,
                elapsed: Duration::ZERO,
                at: now,
                is_done: false,
                remaining: None,
                bottleneck: None,
            });
            transfer.finish(now);
        });
    }

    fn hopeless(
        &self,
        number: usize,
        snapshot: &ReceiveSnapshot,
        latest: &Latest,
        now: Instant,
    ) -> Option<String> {
        if self.is_stock {
            hopeless_at_stock(number, snapshot, now)
        } else {
            hopeless(number, snapshot, latest, now)
        }
    }

    /// Whether a receiver without data waits at a server that the session has left: the one that goes on with it sends
    /// from another address.
    fn is_elsewhere(
        &self,
        receiving: &Receiving,
        snapshot: &ReceiveSnapshot,
        latest: &Latest,
    ) -> bool {
        let Some(address) = self.server.places().address() else {
            return false;
        };
        let is_waiting = matches!(
            snapshot.phase,
            ReceivePhase::Asking { .. } | ReceivePhase::Connected { .. }
        );
        let goes_on = latest.error.is_none() && latest.view.as_ref().and_then(wanted).is_some();
        is_waiting && goes_on && receiving.rendezvous != Some(address)
    }

    /// Updates the board until dropped; returns only to say why the deploy must be given up.
    pub(crate) async fn follow(&self) -> String {
        let mut meter = Meter::default();
        let mut begin: Option<Instant> = None;
        let mut steering = Steering::default();
        let mut noticed = Noticed::default();
        let mut link = Link::of(&self.interface);
        loop {
            let now = Instant::now();
            if let Some(change) = link.look(now) {
                self.board.say(change);
            }
            let sample = self.flow.sample();
            let reading = meter.read(now, sample);
            let (stored, used) = self.flow.progress();
            let (copied, total) = match self.totals {
                Totals::Used(total) | Totals::Stored(total) if self.is_repeat => (total, total),
                Totals::Used(total) => (used, total),
                Totals::Stored(total) => (stored, total),
            };
            if sample.stored > 0 && begin.is_none() {
                begin = Some(now);
            }
            let latest = self.news.latest();
            self.current.note(&latest);
            let receiving = self.current.get();
            let snapshot = receiving
                .as_ref()
                .map(|receiving| receiving.status.snapshot());
            if let Some(receiving) = &receiving {
                noticed.print(&self.board, &receiving.status);
            }
            if let (Some(receiving), Some(snapshot)) = (&receiving, &snapshot) {
                let (index, under) = (receiving.index, receiving.under);
                let is_elsewhere = self.is_elsewhere(receiving, snapshot, &latest);
                if is_elsewhere || steering.is_outdated(index, under, snapshot, &latest, now) {
                    receiving.abandon();
                } else if let Some(reason) =
                    self.hopeless(receiving.index + 1, snapshot, &latest, now)
                {
                    return reason;
                }
            }
            let written = self.written.iter();
            let written = written.fold(0_u64, |sum, disk| {
                sum.saturating_add(disk.load(Ordering::Relaxed))
            });
            let pending = sample.used.saturating_sub(written);
            let waiting = explain_disk(self.flow.disk_step(), &self.at_work, pending, now);
            // Whatever else seems to be waited for, nothing can come.
            let is_silent = |waited: Duration| waited >= NAMED_AFTER;
            let is_expecting = match &snapshot {
                Some(snapshot) => !matches!(
                    snapshot.phase,
                    ReceivePhase::Arrived { .. } | ReceivePhase::Complete | ReceivePhase::Failed
                ),
                None => self.flow.source_wait().is_some_and(is_silent),
            };
            let no_link =
                (link.is_down() && is_expecting).then(|| explain_link(&self.interface.name));
            let waiting = waiting.or(no_link).or_else(|| {
                if let Some(index) = self.current.read_index() {
                    let trouble = self.current.share_trouble();
                    let waited = self.flow.source_wait();
                    let origin = match self.is_stock {
                        true => Origin::Share,
                        false => Origin::Server,
                    };
                    let from = (origin, self.rendezvous.as_str());
                    return explain_share(from, index + 1, stored, waited, trouble);
                }
                let (receiving, snapshot) = (receiving.as_ref()?, snapshot.as_ref()?);
                let number = receiving.index + 1;
                if self.current.undecided_since().is_some() {
                    return Some(explain_undecided(&latest, number, now));
                }
                let evidence = evidence(snapshot, receiving.due_since, now);
                self.current
                    .note_shown(evidence, snapshot.data_datagrams > 0);
                explain(snapshot, &latest, number, &self.rendezvous, evidence, now)
            });
            let transfer = begin.map(|begin| {
                let rate = match self.totals {
                    Totals::Used(_) => reading.used_rate,
                    Totals::Stored(_) => reading.stored_rate,
                };
                let index = self.current.index();
                let index = index.unwrap_or_else(|| self.names.len().saturating_sub(1));
                Transfer {
                    stream: index + 1,
                    streams: self.names.len(),
                    name: self.names.get(index).cloned().unwrap_or_default(),
                    copied,
                    total,
                    rate: reading.used_rate,
                    wire_rate: reading.stored_rate,
                    elapsed: now.saturating_duration_since(begin),
                    at: now,
                    is_done: false,
                    remaining: remaining(total.saturating_sub(copied), rate),
                    bottleneck: reading.bottleneck,
                }
            });
            let machines = latest.view.as_ref().map_or(0, |view| view.expected);
            self.board.update(|state| {
                state.machines = machines;
                show(state, now, transfer, waiting);
            });
            tokio::time::sleep(TICK).await;
        }
    }
}

/// What has been printed of the present receiver's notices.
#[derive(Debug, Default)]
struct Noticed {
    status: Option<Arc<ReceiveStatus>>,
    count: usize,
}

impl Noticed {
    fn print(&mut self, board: &Board, status: &Arc<ReceiveStatus>) {
        let is_same = self
            .status
            .as_ref()
            .is_some_and(|last| Arc::ptr_eq(last, status));
        if !is_same {
            *self = Self {
                status: Some(Arc::clone(status)),
                count: 0,
            };
        }
        for notice in status.notices_after(self.count) {
            self.count += 1;
            // Datagrams that are too large are among what explains a wait.
            if !matches!(notice, ReceiveNotice::SmallOnly(_)) {
                board.say(notice.to_string());
            }
        }
    }
}

/// Watches whether the present receiver still hears the sender that counts.
#[derive(Debug, Default)]
struct Steering {
    /// Datagrams with data that the receiver of this stream had, and since when.
    moved: Option<(usize, u64, Instant)>,
}

impl Steering {
    /// Whether the receiver must be left, because the server begins its stream again.
    fn is_outdated(
        &mut self,
        index: usize,
        under: Option<Run>,
        snapshot: &ReceiveSnapshot,
        latest: &Latest,
        now: Instant,
    ) -> bool {
        let at = (index, snapshot.data_datagrams);
        let moved = match self.moved {
            Some((was_index, was, moved)) if (was_index, was) == at => moved,
            _ => now,
        };
        self.moved = Some((at.0, at.1, moved));
        let (since, progress) = match snapshot.phase {
            ReceivePhase::Asking { since, .. } | ReceivePhase::Connected { since, .. } => {
                (since, Progress::Waiting)
            }
            // The server's word must be of the time in which nothing came.
            ReceivePhase::Receiving { since, .. } => {
                let asked = latest.asked.unwrap_or(moved);
                let stalled = asked.min(now).saturating_duration_since(moved);
                (since, Progress::Receiving { stalled })
            }
            ReceivePhase::Arrived { .. } | ReceivePhase::Complete => (moved, Progress::Complete),
            // The data thread knows, and decides.
            ReceivePhase::Failed => return false,
        };
        let Some(view) = latest.view_after(since) else {
            return false;
        };
        let attempt = Attempt {
            number: u32::try_from(index + 1).unwrap_or(u32::MAX),
            under,
            progress,
        };
        matches!(what_next(&attempt, view), Next::Begin(_))
    }
}

fn show(state: &mut State, now: Instant, transfer: Option<Transfer>, waiting: Option<Waiting>) {
    state.transfer = transfer;
    match waiting {
        Some(waiting) => {
            state.phase = waiting.phase;
            state.wait_for(now, waiting.what, waiting.advice);
        }
        None => {
            state.phase = "receive";
            state.wait = None;
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an estimate; the quotient is positive and the conversion saturates"
)]
fn remaining(left: u64, rate: f64) -> Option<Duration> {
    (rate > 1.0).then(|| Duration::from_secs((left as f64 / rate) as u64))
}

/// A wait for the network or the disk.
#[derive(Debug, PartialEq, Eq)]
struct Waiting {
    /// Only without data from the network this machine counts as waiting.
    phase: &'static str,
    what: String,
    advice: Vec<String>,
}

/// What is waited for, if one call of the disk takes long. Each returns as soon as one buffer is
/// written, the last one of a stream when all is on the medium.
fn explain_disk(
    step: Option<(DiskStep, Instant)>,
    at_work: &AtWork,
    pending: u64,
    now: Instant,
) -> Option<Waiting> {
    let (step, since) = step?;
    if now.saturating_duration_since(since) < NAMED_AFTER {
        return None;
    }
    let what = match step {
        DiskStep::Write => "the DISK to write",
        DiskStep::Sync => "the DISK to write and sync the rest of a stream",
        DiskStep::Table => "the DISK to write and sync the partition table",
        DiskStep::Grow => "the program that works on a file system",
    };
    if step == DiskStep::Grow
        && let Some((what, news)) = at_work.look()
    {
        return Some(Waiting {
            phase: "receive",
            what,
            advice: vec![news],
        });
    }
    let mut advice = Vec::new();
    if pending > 0 {
        advice.push(format!("{} are still to be written", Size(pending)));
    }
    if now.saturating_duration_since(since) >= DISK_SUSPECT {
        advice.push(
            "it is busy with one call for so long that it may be defective: look for errors of \
             the disk on this console"
                .into(),
        );
    }
    Some(Waiting {
        phase: "receive",
        what: what.into(),
        advice,
    })
}

fn explain_link(card: &str) -> Waiting {
    Waiting {
        phase: "wait",
        what: format!("the link of {card}, which is down"),
        advice: vec![
            "check the cable and the switch port; it goes on when the link is back".into(),
        ],
    }
}

/// What is waited for, if data does not flow. `number` is the stream's, from 1.
fn explain(
    snapshot: &ReceiveSnapshot,
    latest: &Latest,
    number: usize,
    rendezvous: &str,
    evidence: Option<Evidence>,
    now: Instant,
) -> Option<Waiting> {
    match &snapshot.phase {
        ReceivePhase::Asking { since, .. } => {
            let waited = now.saturating_duration_since(*since);
            let mut advice = session::explain(latest, *since, now);
            if waited >= FIRST_ADVICE {
                advice.push(asking_advice(snapshot, waited));
            }
            Some(Waiting {
                phase: "wait",
                what: format!("the sender at {rendezvous} (stream {number})"),
                advice,
            })
        }
        ReceivePhase::Connected { since, sender, .. } => {
            let mut advice = session::explain(latest, *since, now);
            advice.extend(evidence.map(|evidence| evidence.to_string()));
            Some(Waiting {
                phase: "wait",
                what: format!("the start of stream {number} by {sender}"),
                advice,
            })
        }
        ReceivePhase::Receiving { sender, .. } if evidence.is_some() => Some(Waiting {
            phase: "wait",
            what: format!("the data of stream {number} from {sender}"),
            advice: evidence
                .map(|evidence| evidence.to_string())
                .into_iter()
                .chain(session::explain_silence(latest, now))
                .collect(),
        }),
        ReceivePhase::Receiving { since, sender, .. } => {
            let last = snapshot.last_packet.unwrap_or(*since);
            let silent = now.saturating_duration_since(last);
            // A slow disk makes the sender wait too; that is no silence of the network.
            let is_stalled = silent >= NAMED_AFTER && snapshot.slices_waiting == 0;
            is_stalled.then(|| {
                let said = format!(
                    "nothing heard from it since {} bytes of this stream",
                    snapshot.bytes
                );
                match session::explain_silence(latest, now) {
                    Some(silence) => Waiting {
                        phase: "wait",
                        what: format!("the server to come back (stream {number})"),
                        advice: vec![silence, said, GOES_ON.into(), CHECK_SERVER.into()],
                    },
                    None => Waiting {
                        phase: "wait",
                        what: format!("more data from {sender} (stream {number})"),
                        advice: vec![format!("{said}; check the server and the network")],
                    },
                }
            })
        }
        ReceivePhase::Arrived { .. } | ReceivePhase::Complete | ReceivePhase::Failed => None,
    }
}

/// Where the data come from of a machine that is deployed alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The image share of one of FOG's own servers.
    Share,
    /// Our own server.
    Server,
}

/// What is waited for, if the image's data do not come. `stored` bytes of the image have come.
fn explain_share(
    (origin, from): (Origin, &str),
    number: usize,
    stored: u64,
    waited: Option<Duration>,
    trouble: Option<String>,
) -> Option<Waiting> {
    let is_silent = waited.is_some_and(|waited| waited >= NAMED_AFTER);
    if !is_silent && trouble.is_none() {
        return None;
    }
    let mut advice: Vec<String> = trouble.into_iter().collect();
    advice.push(format!(
        "nothing has come from it since {} of the image; check {} and the network",
        Size(stored),
        match origin {
            Origin::Share => "the NFS server",
            Origin::Server => "that the server runs",
        }
    ));
    advice.push(format!(
        "this machine goes on by itself as soon as {} is back; it is waited for {}",
        match origin {
            Origin::Share => "the share",
            Origin::Server => "the server",
        },
        Time(SHARE_LIMIT)
    ));
    let what = match origin {
        Origin::Share => format!("the image share {from} (stream {number})"),
        Origin::Server => format!("the image's data from {from} (stream {number})"),
    };
    Some(Waiting {
        phase: "wait",
        what,
        advice,
    })
}

/// While the server is asked what becomes of a stream that has failed.
fn explain_undecided(latest: &Latest, number: usize, now: Instant) -> Waiting {
    let silence = session::explain_silence(latest, now);
    let mut advice: Vec<String> = silence.into_iter().collect();
    if !advice.is_empty() {
        advice.extend([GOES_ON.into(), CHECK_SERVER.into()]);
    }
    Waiting {
        phase: "wait",
        what: format!("the server to say how stream {number} goes on, which ended early"),
        advice,
    }
}

fn asking_advice(snapshot: &ReceiveSnapshot, waited: Duration) -> String {
    if snapshot.last_packet.is_some() {
        return "a sender is heard but does not let this machine in: it may have started without \
                it, or expect others"
            .into();
    }
    if waited < SECOND_ADVICE {
        return "the sender has not answered yet".into();
    }
    "nothing is heard from the sender: check that it runs, that the address and port are its own, \
     and that no firewall drops UDP on this port and the next"
        .into()
}

/// Why the stream will never come, if that is certain.
fn hopeless(
    number: usize,
    snapshot: &ReceiveSnapshot,
    latest: &Latest,
    now: Instant,
) -> Option<String> {
    let (ReceivePhase::Asking { since, .. }
    | ReceivePhase::Connected { since, .. }
    | ReceivePhase::Receiving { since, .. }) = &snapshot.phase
    else {
        return None;
    };
    if let ReceivePhase::Asking { .. } = &snapshot.phase
        && let Some(view) = &latest.view
        && latest.answered > *since
        && let Some(reason) = session::left_behind(view, number)
    {
        return Some(reason);
    }
    let error = latest.error.as_deref().unwrap_or_default();
    let last_packet = snapshot.last_packet.unwrap_or(*since).max(*since);
    let silent = now.saturating_duration_since(latest.answered.max(last_packet));
    if silent >= GIVE_UP {
        return Some(format!(
            "neither the web server nor the sender has been heard for {}; check that the server runs \
             ({error})",
            Time(silent)
        ));
    }
    let quiet = now.saturating_duration_since(last_packet);
    let denied = latest
        .denied_since
        .map(|since| now.saturating_duration_since(since).min(quiet));
    if denied.is_some_and(|denied| denied >= DENIED) {
        return Some(format!(
            "the server does not know of a session for this machine any more: {error}"
        ));
    }
    // Only a server that is there, and has been for as long, is known not to send.
    let since_back = now.saturating_duration_since(latest.back_since);
    let is_silent = latest.error.is_none() && quiet.min(since_back) >= SILENT_SENDER;
    match &snapshot.phase {
        ReceivePhase::Receiving { sender, .. } if is_silent && snapshot.slices_waiting == 0 => {
            Some(format!(
                "stream {number}: {sender} has been silent for {}, after {}, although the server answers; check \
                 its log, and whether the network carries its datagrams",
                Time(quiet),
                Size(snapshot.bytes)
            ))
        }
        _ => None,
    }
}

/// The same where the server says nothing of the session. Its sender may start at any time, even after hours, when
/// it has a free place; only one that was heard and is silent now will not go on.
fn hopeless_at_stock(number: usize, snapshot: &ReceiveSnapshot, now: Instant) -> Option<String> {
    let ReceivePhase::Receiving { since, sender, .. } = &snapshot.phase else {
        return None;
    };
    let quiet = now.saturating_duration_since(snapshot.last_packet.unwrap_or(*since).max(*since));
    (quiet >= GIVE_UP && snapshot.slices_waiting == 0).then(|| {
        format!(
            "stream {number}: {sender} has been silent for {}, after {}; look into the multicast log on the server",
            Time(quiet),
            Size(snapshot.bytes)
        )
    })
}

const GOES_ON: &str = "if it is being restarted, this machine goes on by itself as soon as it is \
                       back; it is waited for 10 minutes";
const CHECK_SERVER: &str = "check that the server is switched on, connected, and runs fos-server";
const TICK: Duration = Duration::from_millis(500);
const FIRST_ADVICE: Duration = Duration::from_secs(5);
const SECOND_ADVICE: Duration = Duration::from_secs(20);
/// Longer than a disk needs to wake up or to empty its cache.
const DISK_SUSPECT: Duration = Duration::from_secs(60);
/// A sender that is silent for so long is dead, if the server is alive.
const SILENT_SENDER: Duration = Duration::from_secs(180);
/// How long a server may deny the session before that is believed.
const DENIED: Duration = Duration::from_secs(60);
/// Without any sign of the server for so long, there is nothing to wait for.
const GIVE_UP: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests;
