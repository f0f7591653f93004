//! Follows the data path for the screen and the server: rates, waits, and when to give up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cast_net::{ReceivePhase, ReceiveSnapshot};
use deploy_plan::DeployPlan;
use fos_api::Stage;

use super::flow::{DiskStep, Flow, Meter};
use super::receive::Current;
use crate::control::session::{self, Latest, News};
use crate::screen::{Board, State, Transfer, size};

/// What is followed.
pub(crate) struct Follower {
    pub(crate) board: Board,
    pub(crate) flow: Arc<Flow>,
    pub(crate) current: Current,
    pub(crate) news: News,
    /// Address and port of the rendezvous, for people.
    pub(crate) rendezvous: String,
    /// Names of all streams.
    pub(crate) names: Vec<String>,
    pub(crate) totals: Totals,
    /// Bytes that the disk has taken.
    pub(crate) written: Arc<AtomicU64>,
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
    /// Updates the board until dropped; returns only to say why the deploy must be given up.
    pub(crate) async fn follow(&self) -> String {
        let mut meter = Meter::default();
        let mut begin: Option<Instant> = None;
        loop {
            let now = Instant::now();
            let sample = self.flow.sample();
            let reading = meter.read(now, sample);
            let (copied, total) = match self.totals {
                Totals::Used(total) => (sample.used, total),
                Totals::Stored(total) => (sample.stored, total),
            };
            if sample.stored > 0 && begin.is_none() {
                begin = Some(now);
            }
            let receiving = self.current.get();
            let snapshot = receiving
                .as_ref()
                .map(|receiving| receiving.status.snapshot());
            let latest = self.news.latest();
            if let (Some(receiving), Some(snapshot)) = (&receiving, &snapshot)
                && let Some(reason) = hopeless(receiving.index + 1, snapshot, &latest, now)
            {
                return reason;
            }
            let written = self.written.load(Ordering::Relaxed);
            let pending = sample.used.saturating_sub(written);
            let waiting = explain_disk(self.flow.disk_step(), pending, now);
            let waiting = waiting.or_else(|| {
                let snapshot = snapshot.as_ref()?;
                let number = receiving
                    .as_ref()
                    .map_or(0, |receiving| receiving.index + 1);
                explain(snapshot, &latest, number, &self.rendezvous, now)
            });
            let transfer = begin.map(|begin| {
                let rate = match self.totals {
                    Totals::Used(_) => reading.used_rate,
                    Totals::Stored(_) => reading.stored_rate,
                };
                let index = receiving.as_ref().map_or_else(
                    || self.names.len().saturating_sub(1),
                    |receiving| receiving.index,
                );
                Transfer {
                    stream: index + 1,
                    streams: self.names.len(),
                    name: self.names.get(index).cloned().unwrap_or_default(),
                    copied,
                    total,
                    rate: reading.used_rate,
                    wire_rate: reading.stored_rate,
                    elapsed: now.saturating_duration_since(begin),
                    remaining: remaining(total.saturating_sub(copied), rate),
                    bottleneck: reading.bottleneck,
                }
            });
            self.board
                .update(|state| show(state, now, transfer, waiting));
            tokio::time::sleep(TICK).await;
        }
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
fn explain_disk(step: Option<(DiskStep, Instant)>, pending: u64, now: Instant) -> Option<Waiting> {
    let (step, since) = step?;
    if now.saturating_duration_since(since) < DISK_SHOWN {
        return None;
    }
    let what = match step {
        DiskStep::Write => "the DISK to write",
        DiskStep::Sync => "the DISK to write and sync the rest of a stream",
        DiskStep::Table => "the DISK to write and sync the partition table",
    };
    let mut advice = Vec::new();
    if pending > 0 {
        advice.push(format!("{} are still to be written", size(pending)));
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

/// What is waited for, if data does not flow. `number` is the stream's, from 1.
fn explain(
    snapshot: &ReceiveSnapshot,
    latest: &Latest,
    number: usize,
    rendezvous: &str,
    now: Instant,
) -> Option<Waiting> {
    let is_sending = latest.view.as_ref().is_some_and(|view| {
        let at = view.stream.as_ref().map(|stream| stream.number);
        view.stage == Stage::Sending && at == u32::try_from(number).ok()
    });
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
            let waited = now.saturating_duration_since(*since);
            let mut advice = session::explain(latest, *since, now);
            if is_sending && waited >= FIRST_ADVICE {
                advice.push(
                    "the server is sending, but no data reaches this machine although it is \
                     connected: a switch filters multicast (IGMP snooping without a querier?)"
                        .into(),
                );
            }
            Some(Waiting {
                phase: "wait",
                what: format!("the start of stream {number} by {sender}"),
                advice,
            })
        }
        ReceivePhase::Receiving { since, sender, .. } => {
            let last = snapshot.last_packet.unwrap_or(*since);
            let silent = now.saturating_duration_since(last);
            // A slow disk makes the sender wait too; that is no silence of the network.
            let is_stalled = silent >= SILENCE_SHOWN && snapshot.slices_waiting == 0;
            is_stalled.then(|| {
                let mut advice = vec![format!(
                    "nothing heard from it since {} bytes of this stream; check the server and \
                     the network",
                    snapshot.bytes
                )];
                advice.extend(session::explain_silence(latest, now));
                Waiting {
                    phase: "wait",
                    what: format!("more data from {sender} (stream {number})"),
                    advice,
                }
            })
        }
        ReceivePhase::Complete | ReceivePhase::Failed => None,
    }
}

fn asking_advice(snapshot: &ReceiveSnapshot, waited: Duration) -> String {
    if snapshot.datagrams > 0 {
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
    let ReceivePhase::Asking { since, .. } = &snapshot.phase else {
        return None;
    };
    if let Some(view) = &latest.view
        && latest.answered > *since
        && let Some(reason) = session::left_behind(view, number)
    {
        return Some(reason);
    }
    let last_sign = latest
        .answered
        .max(*since)
        .max(snapshot.last_packet.unwrap_or(*since));
    let silent = now.saturating_duration_since(last_sign);
    (silent >= GIVE_UP).then(|| {
        format!(
            "neither the web server nor the sender has been heard for {} s; check that the server \
             runs{}",
            silent.as_secs(),
            latest
                .error
                .as_ref()
                .map(|error| format!(" ({error})"))
                .unwrap_or_default()
        )
    })
}

const TICK: Duration = Duration::from_millis(500);
const FIRST_ADVICE: Duration = Duration::from_secs(5);
const SECOND_ADVICE: Duration = Duration::from_secs(20);
/// A healthy disk takes a buffer within this time.
const DISK_SHOWN: Duration = Duration::from_secs(5);
/// Longer than a disk needs to wake up or to empty its cache.
const DISK_SUSPECT: Duration = Duration::from_secs(60);
const SILENCE_SHOWN: Duration = Duration::from_secs(3);
/// Without any sign of the server for so long, there is nothing to wait for.
const GIVE_UP: Duration = Duration::from_secs(600);

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
