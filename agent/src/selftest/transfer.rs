//! The transfer of a test, by the code that receives the streams of a deploy.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cast_net::udpcast::receiver::ReceiveFailure;
use cast_net::udpcast::wire::data_datagram_len;
use cast_net::{
    Interface, ReceiveError, ReceivePhase, ReceiveSnapshot, ReceiveStatus, ReceivedStream, Stop,
};
use diagnosis::Rendezvous;
use diagnosis::trial::{End, Received};
use fog::KernelArgs;
use fos_api::Mismatch;
use imaging::Source;
use imaging::source::Cast;
use readable::{Size, Time, chain};
use udpcast_cli::{Link, ReceiverWaits};

use super::exchange::Exchange;
use super::target::{Compared, Facts, Seen};
use crate::deploy;
use crate::doctor::{self, tell};

/// What is to be received.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) sender: Ipv4Addr,
    pub(super) port: u16,
    /// The card, where one was named.
    pub(super) interface: Option<String>,
    /// For being let in, and again for data.
    pub(super) wait: Duration,
}

/// Receives the test, to its end or until it is clear that it does not come.
///
/// # Errors
/// The card or its sockets cannot be used.
pub(super) fn receive(plan: &Plan, exchange: &Exchange) -> anyhow::Result<Received> {
    let Plan { sender, port, .. } = plan;
    let args = KernelArgs::parse(&format!("storageip={sender} port={port}"));
    let options = deploy::receive_options(&args, plan.interface.as_deref())?;
    let interface = options.interface.clone();
    let stop = Stop::new().context("preparing the transfer")?;
    let stream = cast_net::receive::open(options, stop.clone()).context("receiving")?;
    let status = stream.status();
    tell(&format!(
        "receiving on {} ({}), port {port}: asking {sender} port {} for a test, at most {}; \
         `fos-server selftest` sends it",
        interface.name,
        interface.addr,
        port.saturating_add(1),
        Time(plan.wait)
    ));
    let facts = Facts::default();
    let (result, watched) = thread::scope(|scope| {
        let (done, is_done) = channel::<()>();
        let (status, interface, stop) = (&status, &interface, &stop);
        let watch = move || watch(&is_done, plan, status, interface, stop, exchange);
        let watching = thread::Builder::new()
            .name("selftest".into())
            .spawn_scoped(scope, watch)
            .context("starting a thread")?;
        let result = carry_out(stream, stop, &facts);
        drop(done);
        let watched = watching.join();
        let watched = watched.map_err(|_| anyhow::anyhow!("the watch stopped"))?;
        anyhow::Ok((result, watched))
    })?;
    let end = end(result.as_ref().err(), &watched, &facts.seen());
    Ok(look_back(
        plan,
        &interface,
        &status.snapshot(),
        &watched,
        &facts.seen(),
        end,
    ))
}

/// The pipeline of every image, with bytes that are compared in place of a disk.
fn carry_out(stream: ReceivedStream, stop: &Stop, facts: &Facts) -> anyhow::Result<()> {
    let source = Source::cast(Cast::new(stream, stop.clone(), None), "the test".into())?;
    let job = imaging::Job {
        source,
        image: content(),
        target: Compared::new(facts.clone()),
        flow: Arc::default(),
    };
    imaging::run(job, &mut ()).map_err(imaging::Failure::into_error)?;
    Ok(())
}

/// No image: bytes as they are.
pub(super) fn content() -> image::Options {
    image::Options {
        content: image::Content::Raw { len: None },
        ..image::Options::default()
    }
}

/// What was seen while the transfer ran.
#[derive(Debug, Default, Clone)]
struct Watched {
    asked: Duration,
    listened: Duration,
    /// The last look at a time when a sender had let this machine in.
    group: Option<Ipv4Addr>,
    given_up: Option<End>,
    /// The sender has said that nothing more is sent.
    is_over: bool,
}

/// Says what is waited for, and ends what has no chance.
fn watch(
    is_done: &Receiver<()>,
    plan: &Plan,
    status: &ReceiveStatus,
    interface: &Interface,
    stop: &Stop,
    exchange: &Exchange,
) -> Watched {
    let mut link = Link::of(interface);
    let mut waits = ReceiverWaits::default();
    let mut patience = Patience::new(plan.wait);
    let mut told = Instant::now();
    loop {
        let is_over = is_done.recv_timeout(PERIOD) != Err(RecvTimeoutError::Timeout);
        let (now, snapshot) = (Instant::now(), status.snapshot());
        if !matches!(snapshot.phase, ReceivePhase::Asking { .. }) {
            exchange.note_let_in();
        }
        let given_up = patience.look(&snapshot, now, exchange.is_over());
        if is_over {
            return patience.watched;
        }
        if let Some(end) = given_up {
            patience.watched.given_up = Some(end);
            stop.stop();
            return patience.watched;
        }
        let change = link.look(now);
        let wait = waits.look(&snapshot, &link, now);
        for text in change.into_iter().chain(wait) {
            tell(&text);
        }
        if let ReceivePhase::Receiving { .. } = snapshot.phase
            && now.saturating_duration_since(told) >= TELL
        {
            told = now;
            tell(&format!(
                "receiving the test: {} so far",
                Size(snapshot.bytes)
            ));
        }
    }
}

/// How long each part may take. Pure: the caller has the clock.
#[derive(Debug)]
struct Patience {
    wait: Duration,
    watched: Watched,
    /// Bytes, and since when there are no more.
    still: Option<(u64, Instant)>,
}

impl Patience {
    fn new(wait: Duration) -> Self {
        Self {
            wait,
            watched: Watched::default(),
            still: None,
        }
    }

    /// How it ends, if there is no more point in it. `is_over`: the sender has said that nothing more is sent.
    fn look(&mut self, snapshot: &ReceiveSnapshot, now: Instant, is_over: bool) -> Option<End> {
        let lasts = |since: Instant| now.saturating_duration_since(since);
        self.watched.group = snapshot.data_group.or(self.watched.group);
        self.watched.is_over = is_over;
        match snapshot.phase {
            ReceivePhase::Asking { since, .. } => {
                self.watched.asked = lasts(since);
                (is_over || self.watched.asked >= self.wait).then_some(End::NotLetIn)
            }
            ReceivePhase::Connected { since, .. } => {
                self.watched.listened = lasts(since);
                (is_over || self.watched.listened >= self.wait).then_some(End::NoData)
            }
            ReceivePhase::Receiving { since, .. } if snapshot.data_datagrams == 0 => {
                self.watched.listened = lasts(since);
                (is_over || self.watched.listened >= SMALL_ONLY).then_some(End::NoData)
            }
            ReceivePhase::Receiving { .. } => {
                let (bytes, since) = self.still.unwrap_or((snapshot.bytes, now));
                let is_moving = bytes != snapshot.bytes;
                let since = if is_moving { now } else { since };
                self.still = Some((snapshot.bytes, since));
                (lasts(since) >= STILL).then(|| End::StoodStill(lasts(since)))
            }
            ReceivePhase::Arrived { .. } | ReceivePhase::Complete | ReceivePhase::Failed => None,
        }
    }
}

/// How it ended.
fn end(error: Option<&anyhow::Error>, watched: &Watched, seen: &Seen) -> End {
    match (error, seen.mismatch, &watched.given_up) {
        (None, ..) => End::Whole,
        (_, Some(Mismatch::Foreign), _) => End::Foreign,
        (_, Some(Mismatch::Damaged { offset }), _) => End::Damaged(offset),
        (_, Some(Mismatch::Surplus { len }), _) => End::Damaged(len),
        (_, Some(Mismatch::Cut { .. }), _) => End::Cut,
        (_, _, Some(given_up)) => given_up.clone(),
        (Some(error), None, None) => of_failure(error),
    }
}

fn of_failure(error: &anyhow::Error) -> End {
    let failure = error.chain().find_map(|cause| {
        let inner = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        inner.map_or_else(
            || cause.downcast_ref::<ReceiveError>(),
            |inner| inner.downcast_ref::<ReceiveError>(),
        )
    });
    match failure {
        Some(ReceiveError::Failed(ReceiveFailure::Refused(_))) => End::Refused,
        Some(ReceiveError::Failed(
            ReceiveFailure::Lost { .. } | ReceiveFailure::Restarted { .. },
        )) => End::Cut,
        _ => End::Failed(chain(error.as_ref())),
    }
}

/// Puts together what is known, and looks for what explains that nothing came.
fn look_back(
    plan: &Plan,
    interface: &Interface,
    snapshot: &ReceiveSnapshot,
    watched: &Watched,
    seen: &Seen,
    end: End,
) -> Received {
    let group = snapshot.data_group.or(watched.group);
    // Sent away before anything came: it is the way that lacks something.
    let end = match end {
        End::Cut if snapshot.data_datagrams == 0 => End::NoData,
        end => end,
    };
    let mut received = Received {
        sender: plan.sender,
        port: plan.port,
        card: interface.name.clone(),
        route: doctor::towards(plan.sender),
        asked: watched.asked,
        is_heard: snapshot.last_packet.is_some(),
        rendezvous: Rendezvous::Silent,
        group,
        listened: watched.listened,
        requests: snapshot.requests,
        data: snapshot.data_datagrams,
        datagram_len: snapshot.block_size.map(data_datagram_len),
        lost: snapshot.lost_blocks,
        bytes: seen.bytes,
        time: seen
            .span
            .map_or(Duration::ZERO, |(first, last)| last - first),
        querier: None,
        end,
    };
    match received.end {
        // Of a sender that has ended its port says nothing.
        End::NotLetIn if !watched.is_over => {
            let asked = doctor::ask(plan.sender, plan.port.saturating_add(1));
            received.rendezvous = asked.unwrap_or(Rendezvous::Silent);
        }
        End::NoData => {
            tell("no data came; looking for an IGMP querier");
            let groups: Vec<Ipv4Addr> = group.into_iter().collect();
            if let Ok(heard) = doctor::listen(interface, plan.port, &groups, LISTENING) {
                received.querier = heard.querier;
                received.requests += heard.requests;
                received.data += heard.data;
            }
        }
        _ => {}
    }
    received
}

/// A looker's step.
const PERIOD: Duration = Duration::from_millis(100);
const TELL: Duration = Duration::from_secs(2);
/// Requests without data. The sender repeats both several times in this time.
const SMALL_ONLY: Duration = Duration::from_secs(8);
/// A sender gives up a receiver that is stuck for 12 s.
const STILL: Duration = Duration::from_secs(14);
/// A querier asks at once when a group is left.
const LISTENING: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use cast_net::udpcast::ClientNo;

    use super::*;

    const SENDER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 5), 9001);

    fn looks(snapshots: &[(u64, ReceiveSnapshot)], start: Instant) -> Option<(u64, End)> {
        let mut patience = Patience::new(Duration::from_secs(60));
        snapshots.iter().find_map(|(second, snapshot)| {
            let now = start + Duration::from_secs(*second);
            Some((*second, patience.look(snapshot, now, false)?))
        })
    }

    #[test]
    fn every_wait_has_an_end() {
        let start = Instant::now();
        let client = ClientNo(0);
        let (since, sender) = (start, SENDER);
        let asking = ReceiveSnapshot::new(ReceivePhase::Asking {
            since,
            to: SENDER,
            requests: 1,
        });
        let connected = ReceiveSnapshot::new(ReceivePhase::Connected {
            since,
            sender,
            client,
        });
        let receiving = |bytes, data_datagrams| ReceiveSnapshot {
            bytes,
            data_datagrams,
            ..ReceiveSnapshot::new(ReceivePhase::Receiving {
                since,
                sender,
                client,
            })
        };
        let every = |snapshot: &ReceiveSnapshot| -> Vec<(u64, ReceiveSnapshot)> {
            (0..200).map(|second| (second, snapshot.clone())).collect()
        };
        assert_eq!(looks(&every(&asking), start), Some((60, End::NotLetIn)));
        assert_eq!(looks(&every(&connected), start), Some((60, End::NoData)));
        assert_eq!(
            looks(&every(&receiving(0, 0)), start),
            Some((8, End::NoData))
        );
        let still = End::StoodStill(STILL);
        assert_eq!(
            looks(&every(&receiving(5, 9)), start),
            Some((14, still.clone()))
        );
        // As long as it moves it may go on, but not for ever: the sender ends it.
        let moving: Vec<_> = (0..200).map(|n| (n, receiving(n / 10, n))).collect();
        assert_eq!(looks(&moving, start), None);
        // The sender says that it is over: who has data goes on, for the others there is no point in waiting.
        let mut patience = Patience::new(Duration::from_secs(60));
        let mut over = |snapshot: &ReceiveSnapshot| patience.look(snapshot, start, true);
        assert_eq!(over(&asking), Some(End::NotLetIn));
        assert_eq!(over(&connected), Some(End::NoData));
        assert_eq!(over(&receiving(0, 0)), Some(End::NoData));
        assert_eq!(over(&receiving(5, 9)), None);
        let stuck: Vec<_> = (0..200).map(|n| (n, receiving(n.min(20), 7))).collect();
        assert_eq!(looks(&stuck, start), Some((34, still)));
    }

    #[test]
    fn the_end_is_what_explains_most() {
        let failure =
            |failure| anyhow::Error::from(io::Error::other(ReceiveError::Failed(failure)));
        let refused = failure(ReceiveFailure::Refused(SENDER));
        let watched = Watched::default();
        let seen = Seen::default();
        assert_eq!(end(None, &watched, &seen), End::Whole);
        assert_eq!(end(Some(&refused), &watched, &seen), End::Refused);
        let wrapped = refused.context("reading the test");
        assert_eq!(end(Some(&wrapped), &watched, &seen), End::Refused);
        let other = anyhow::anyhow!("x");
        assert_eq!(end(Some(&other), &watched, &seen), End::Failed("x".into()));
        // It was this side that stopped.
        let given_up = Watched {
            given_up: Some(End::NotLetIn),
            ..Watched::default()
        };
        assert_eq!(end(Some(&other), &given_up, &seen), End::NotLetIn);
        let damaged = Seen {
            mismatch: Some(Mismatch::Damaged { offset: 9 }),
            ..Seen::default()
        };
        assert_eq!(end(Some(&other), &given_up, &damaged), End::Damaged(9));
    }
}
