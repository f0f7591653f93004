//! Streams from the network: one udpcast receiver per stream on the session's port.

use std::io::{self, Read};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use cast_net::{Interface, ReceiveOptions, ReceivePhase, ReceiveStatus, ReceivedStream, Stop};
use fog::KernelArgs;
use imaging::Piece;
use readable::chain;
use tokio::sync::mpsc;

use super::ending::Ending;
use super::evidence::{Evidence, at_the_end, evidence};
use super::failure::Touched;
use super::resume::{Attempt, Cause, Next, Progress, Run, what_next};
use super::streams::{DeploySources, Source, Sources, StreamError};
use crate::control::Server;
use crate::control::session::{self, Latest, News};
use crate::screen::Board;

/// The receiver in use now, or the last one, for whoever explains what is waited for, and steers it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Current {
    inner: Arc<Mutex<Inner>>,
    /// Shared with what works on the disk.
    pub(crate) ending: Ending,
}

#[derive(Debug, Default)]
struct Inner {
    receiving: Option<Receiving>,
    /// Since when the server is asked how to go on.
    undecided_since: Option<Instant>,
    /// Why no data comes, as it was shown last; `None` once data has come.
    shown: Option<Evidence>,
    /// The stream that is read without a receiver, from the image share.
    read: Option<usize>,
    /// Why the share does not answer, as long as it is waited for.
    share_trouble: Option<String>,
}

/// One receiver.
#[derive(Debug, Clone)]
pub(crate) struct Receiving {
    /// Of the stream that it is for, counted from 0.
    pub(crate) index: usize,
    pub(crate) status: Arc<ReceiveStatus>,
    /// What the server said that it was sending while data came.
    pub(crate) under: Option<Run>,
    /// Since when the server has said that it sends this stream, this machine being connected.
    pub(crate) due_since: Option<Instant>,
    /// The rendezvous that it was opened for.
    pub(crate) rendezvous: Option<Ipv4Addr>,
    stop: Stop,
}

impl Receiving {
    pub(crate) fn new(index: usize, status: Arc<ReceiveStatus>, stop: Stop) -> Self {
        Self {
            index,
            status,
            under: None,
            due_since: None,
            rendezvous: None,
            stop,
        }
    }

    /// The same at this rendezvous.
    fn at(mut self, rendezvous: Option<Ipv4Addr>) -> Self {
        self.rendezvous = rendezvous;
        self
    }

    /// Ends this receiver alone.
    pub(crate) fn abandon(&self) {
        self.stop.stop();
    }

    /// Of the stream, from 1.
    pub(crate) fn number(&self) -> u32 {
        u32::try_from(self.index + 1).unwrap_or(u32::MAX)
    }
}

impl Current {
    pub(crate) fn get(&self) -> Option<Receiving> {
        self.lock().receiving.clone()
    }

    pub(crate) fn undecided_since(&self) -> Option<Instant> {
        self.lock().undecided_since
    }

    /// The stream that comes, counted from 0.
    pub(crate) fn index(&self) -> Option<usize> {
        let inner = self.lock();
        let receiving = inner.receiving.as_ref();
        receiving.map(|receiving| receiving.index).or(inner.read)
    }

    /// A stream is read without a receiver.
    pub(crate) fn set_read(&self, index: usize) {
        self.lock().read = Some(index);
    }

    /// The stream that is read without a receiver, counted from 0.
    pub(crate) fn read_index(&self) -> Option<usize> {
        self.lock().read
    }

    pub(crate) fn set_share_trouble(&self, trouble: Option<String>) {
        self.lock().share_trouble = trouble;
    }

    pub(crate) fn share_trouble(&self) -> Option<String> {
        self.lock().share_trouble.clone()
    }

    /// Ends the receiver, and every later one at once. `false`: all has come, and the table is being
    /// written.
    #[must_use]
    pub(crate) fn give_up(&self) -> bool {
        let is_given_up = self.ending.give_up();
        if is_given_up && let Some(receiving) = &self.lock().receiving {
            receiving.stop.stop();
        }
        is_given_up
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.ending.is_given_up()
    }

    /// Notes why no data comes, which is shown now. `None` with data of this receiver: it comes.
    pub(crate) fn note_shown(&self, evidence: Option<Evidence>, has_data: bool) {
        let mut inner = self.lock();
        if evidence.is_some() || has_data {
            inner.shown = evidence;
        }
    }

    /// Why no data came to the present receiver, or to the one before it. The server has given up this
    /// machine because it does not hear it.
    pub(crate) fn evidence_at_the_end(&self, now: Instant) -> Option<Evidence> {
        let inner = self.lock();
        let receiving = inner.receiving.as_ref()?;
        let found = at_the_end(&receiving.status.snapshot(), receiving.due_since, now);
        found.or(inner.shown)
    }

    /// Notes what the server says of the present receiver.
    pub(crate) fn note(&self, latest: &Latest) {
        let mut inner = self.lock();
        if let Some(receiving) = &mut inner.receiving {
            note(receiving, latest);
        }
    }

    pub(crate) fn set(&self, receiving: Receiving) {
        let mut inner = self.lock();
        if self.ending.is_given_up() {
            receiving.stop.stop();
        }
        inner.receiving = Some(receiving);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(receiving: &mut Receiving, latest: &Latest) {
    let sent = |since| {
        let view = latest.view_after(since)?;
        let stream = view.stream.as_ref()?;
        let (number, run) = (stream.number, stream.run);
        (view.stage == fos_api::Stage::Sending).then_some(Run { number, run })
    };
    match receiving.status.snapshot().phase {
        ReceivePhase::Connected { since, .. } => {
            let is_due = sent(since).is_some_and(|run| run.number == receiving.number());
            if is_due && receiving.due_since.is_none() {
                receiving.due_since = latest.asked;
            }
        }
        ReceivePhase::Receiving { since, .. } | ReceivePhase::Arrived { since, .. }
            if receiving.under.is_none() =>
        {
            receiving.under = sent(since);
        }
        _ => {}
    }
}

/// Opens a receiver per stream.
pub(crate) struct NetworkSources {
    pub(crate) options: ReceiveOptions,
    pub(crate) current: Current,
    pub(crate) news: News,
    pub(crate) server: Server,
    pub(crate) board: Board,
    /// `getversion.php?caps=1` lists the stream record.
    pub(crate) has_record_capability: bool,
    /// The server says nothing of the session, so nobody can say how it goes on after a failure.
    pub(crate) is_stock: bool,
    pub(crate) farewells: mpsc::UnboundedSender<Farewell>,
    /// Whether the server knows why the transfer was left.
    pub(crate) is_server_told: bool,
    pub(crate) touched: Touched,
    pub(crate) patience: ResumePatience,
    /// What was begun last, how often, and when.
    pub(crate) begun: Option<(Run, u32, Instant)>,
    /// The receiver before the present one.
    pub(crate) last: Option<Receiving>,
}

/// How long the server is waited for when a stream has failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResumePatience {
    /// Without any answer. It may be restarted, or its machine.
    pub(crate) server: Duration,
    /// Without any answer, while it goes on sending what is of no use here: others wait for us.
    pub(crate) sender: Duration,
    /// Between two attempts at the same run of a stream.
    pub(crate) pause: Duration,
    /// Attempts at the same run of a stream.
    pub(crate) tries: u32,
}

impl Default for ResumePatience {
    fn default() -> Self {
        Self {
            server: Duration::from_secs(600),
            sender: Duration::from_secs(10),
            pause: Duration::from_secs(2),
            tries: 5,
        }
    }
}

/// Why a transfer is being left, on its way to the server. The sender notices that a receiver leaves
/// within milliseconds; the reason must be there before.
#[derive(Debug)]
pub(crate) struct Farewell {
    pub(crate) text: String,
    /// Answers whether the server knows.
    pub(crate) told: std::sync::mpsc::Sender<bool>,
}

impl Farewell {
    /// Says why, and waits a little for the answer.
    pub(crate) fn send(farewells: &mpsc::UnboundedSender<Self>, text: String) -> bool {
        let (told, answer) = std::sync::mpsc::channel();
        // Nobody listens when it is the server that ended it.
        farewells.send(Self { text, told }).is_ok()
            && answer.recv_timeout(FAREWELL_PATIENCE).unwrap_or(false)
    }
}

/// Where and how to receive: as FOG's client calls `udp-receiver`, on the given interface or the
/// one that routes to the rendezvous address.
pub(crate) fn options(
    args: &KernelArgs,
    interface: Option<&str>,
) -> anyhow::Result<ReceiveOptions> {
    let rendezvous = args.rendezvous()?;
    let interface = self::interface(interface, rendezvous)?;
    let mut options = ReceiveOptions::new(interface);
    options.port_base = args.port()?;
    options.rendezvous = Some(rendezvous);
    options.ttl = TTL;
    options.transfer.start_timeout = None;
    // Whoever follows decides that, knowing whether the server is heard otherwise.
    options.transfer.receive_timeout = None;
    options.transfer.exit_wait = EXIT_WAIT;
    Ok(options)
}

/// The interface of the given name, or the one that routes to where the data come from.
pub(crate) fn interface(wanted: Option<&str>, from: Ipv4Addr) -> anyhow::Result<Interface> {
    let chosen = match wanted {
        Some(wanted) => {
            let list = Interface::list()?;
            Interface::choose(&list, Some(wanted)).cloned()
        }
        None => Interface::towards(from),
    };
    chosen.with_context(|| format!("choosing the network interface to receive from {from}"))
}

impl Sources for NetworkSources {
    fn open(&mut self, index: usize) -> io::Result<Box<dyn Source>> {
        self.last = self.current.get();
        // One of its own: it may have to end alone.
        let stop = Stop::new()?;
        let mut options = self.options.clone();
        if let Some(address) = self.server.places().address() {
            // Another server goes on with the session, and sends from its own address.
            options.rendezvous = Some(address);
            if let Ok(interface) = Interface::towards(address) {
                options.interface = interface;
            }
        }
        let rendezvous = options.rendezvous;
        let stream = cast_net::receive::open(options, stop.clone())
            .map_err(|error| io::Error::other(chain(&error)))?;
        let receiving = Receiving::new(index, stream.status(), stop);
        self.current.set(receiving.at(rendezvous));
        Ok(Box::new(NetworkSource(stream)))
    }

    fn is_record_promised(&self) -> bool {
        let latest = self.news.latest();
        let promised = latest.view.is_some_and(|view| view.records == Some(true));
        self.has_record_capability || promised
    }

    fn confirm(&mut self, index: usize) -> usize {
        let Some(receiving) = self.current.get() else {
            return index;
        };
        let begin = Instant::now();
        let (ReceivePhase::Receiving { since, .. } | ReceivePhase::Arrived { since, .. }) =
            receiving.status.snapshot().phase
        else {
            // It has ended already: what the server says now may be of the next one.
            return index;
        };
        let mut then = since;
        // One question, and one more if the server's word lags behind its data.
        for _ in 0..2 {
            self.news.ask();
            let left = CONFIRM_PATIENCE.saturating_sub(begin.elapsed());
            let latest = self.news.wait_for_view(then, left);
            let Some(asked) = latest.asked.filter(|asked| *asked > then) else {
                break;
            };
            self.current.note(&latest);
            let found = self.current.get().and_then(|now| now.under);
            if let Some(run) = found {
                return usize::try_from(run.number)
                    .unwrap_or(usize::MAX)
                    .saturating_sub(1);
            }
            then = asked;
        }
        index
    }

    fn carries(&mut self, index: usize) {
        if let Some(receiving) = &mut self.current.lock().receiving {
            receiving.index = index;
        }
    }

    fn resume(&mut self, index: usize, cause: Cause) -> Option<usize> {
        if cause == Cause::Machine || self.is_stock {
            return None;
        }
        self.current.lock().undecided_since = Some(Instant::now());
        let run = self.decide(index, cause);
        let run = run.and_then(|run| self.begin(run));
        self.current.lock().undecided_since = None;
        let run = run?;
        self.board.say(format!(
            "stream {}: receiving it again from its beginning; the server sends it again (attempt {})",
            run.number,
            run.run.saturating_add(1)
        ));
        usize::try_from(run.number).ok()?.checked_sub(1)
    }

    fn leaving(&mut self, error: &StreamError) {
        let latest = self.news.latest();
        if latest
            .view
            .is_some_and(|view| session::over(&view).is_some())
        {
            // The server knows more; whoever watches the session says it.
            return;
        }
        let text = self.touched.complete(&self.explain(error));
        self.is_server_told = Farewell::send(&self.farewells, text);
    }
}

impl DeploySources for NetworkSources {
    fn explain(&self, error: &StreamError) -> String {
        Self::explain(self, error)
    }

    fn is_server_told(&self) -> bool {
        self.is_server_told
    }

    fn ending(&self) -> Ending {
        self.current.ending.clone()
    }
}

impl NetworkSources {
    /// The error, and why it came to that if this is known.
    fn explain(&self, error: &StreamError) -> String {
        let evidence = self.current.get().and_then(|receiving| {
            let snapshot = receiving.status.snapshot();
            evidence(&snapshot, receiving.due_since, Instant::now())
        });
        match evidence.filter(|_| error.cause() == Cause::Transfer) {
            Some(evidence) => format!("{}: {evidence} ({})", error.name(), chain(error)),
            None => chain(error),
        }
    }

    /// Waits until the server says how to go on; `None` if it stays failed.
    fn decide(&self, index: usize, cause: Cause) -> Option<Run> {
        let begin = Instant::now();
        // A stream may turn out bad when the receiver of the next one is open already.
        let receivers = [self.current.get(), self.last.clone()];
        let own = receivers.into_iter().flatten();
        let own = own.into_iter().find(|receiving| receiving.index == index);
        let mut then = begin;
        self.news.ask();
        while !self.current.is_given_up() {
            let latest = self.news.wait_for_view(then, POLL);
            let Some(view) = latest.view_after(then) else {
                if self.is_hopeless(&latest, cause, begin) {
                    return None;
                }
                continue;
            };
            if session::over(view).is_some() {
                return None;
            }
            let attempt = Attempt {
                number: u32::try_from(index + 1).unwrap_or(u32::MAX),
                under: own.as_ref().and_then(|receiving| receiving.under),
                progress: Progress::Failed {
                    cause,
                    since: begin.elapsed(),
                },
            };
            match what_next(&attempt, view) {
                Next::Begin(run) => return Some(run),
                Next::Fail => return None,
                Next::Stay => then = latest.asked.unwrap_or(then),
            }
        }
        None
    }

    /// Whether an answer need not be waited for any longer.
    fn is_hopeless(&self, latest: &Latest, cause: Cause, begin: Instant) -> bool {
        let now = Instant::now();
        let asked_for = now.saturating_duration_since(begin);
        let silent = now.saturating_duration_since(latest.answered.max(begin));
        let is_denied = latest.denied_since.is_some_and(|since| {
            now.saturating_duration_since(since.max(begin)) >= self.patience.sender
        });
        let heard = self.current.get().is_some_and(|receiving| {
            let last = receiving.status.snapshot().last_packet;
            last.is_some_and(|last| now.saturating_duration_since(last) < self.patience.sender)
        });
        let holds_up = cause == Cause::Content && heard && asked_for >= self.patience.sender;
        silent >= self.patience.server || is_denied || holds_up
    }

    /// Counts an attempt; `None` if there were too many.
    fn begin(&mut self, run: Run) -> Option<Run> {
        let mut count = 1;
        if let Some((last, tries, at)) = self.begun
            && last == run
        {
            count = tries + 1;
            if count > self.patience.tries {
                return None;
            }
            while at.elapsed() < self.patience.pause && !self.current.is_given_up() {
                std::thread::sleep(POLL.min(self.patience.pause.saturating_sub(at.elapsed())));
            }
        }
        self.begun = Some((run, count, Instant::now()));
        Some(run)
    }
}

struct NetworkSource(ReceivedStream);

impl Read for NetworkSource {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0
            .read(buffer)
            .map_err(|error| io::Error::other(chain(&error)))
    }
}

impl Source for NetworkSource {
    fn next_piece(&mut self, spare: Vec<u8>) -> io::Result<Piece> {
        let slice = self.0.take_slice(spare);
        slice
            .map(Piece::from)
            .map_err(|error| io::Error::other(chain(&error)))
    }

    fn close(self: Box<Self>) -> io::Result<()> {
        self.0
            .finish()
            .map(drop)
            .map_err(|error| io::Error::other(chain(&error)))
    }
}

/// FOG's client and server use this for every stream.
const TTL: u8 = 32;
/// How often a thread that waits for the server looks whether all is given up.
const POLL: Duration = Duration::from_millis(250);
/// How long the server is asked which stream it sends, where the stream itself does not say so. What
/// comes meanwhile waits in the receiver's memory.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(5);
/// How long others are held up, at most, for the sake of a reason.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(2);
/// How long a receiver answers after the end, in case the sender lost its last word. The next stream
/// uses the same port and waits for this.
const EXIT_WAIT: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use fos_api::Stage;

    use super::super::resume::tests::view;
    use super::*;

    #[test]
    fn receivers_are_set_up_as_fog_calls_them() {
        let args = KernelArgs::parse("storageip=127.0.0.1 port=63100");
        let options = options(&args, None).unwrap();
        assert!(options.interface.is_loopback);
        assert_eq!(options.port_base, 63100);
        assert_eq!(options.rendezvous, Some(Ipv4Addr::LOCALHOST));
        assert_eq!(options.ttl, 32);
        let error = super::options(&args, Some("nosuch0")).unwrap_err();
        assert!(format!("{error:#}").contains("nosuch0"), "{error:#}");
    }

    fn network_sources() -> (NetworkSources, mpsc::UnboundedReceiver<Farewell>) {
        let args = KernelArgs::parse("storageip=127.0.0.1 port=63100");
        let (farewells, heard) = mpsc::unbounded_channel();
        let sources = NetworkSources {
            options: options(&args, None).unwrap(),
            current: Current::default(),
            news: News::new(),
            server: crate::control::test_server::TestServer::dead_client(),
            board: Board::default(),
            has_record_capability: false,
            is_stock: false,
            farewells,
            is_server_told: false,
            touched: Touched::default(),
            patience: ResumePatience {
                pause: Duration::ZERO,
                ..ResumePatience::default()
            },
            begun: None,
            last: None,
        };
        (sources, heard)
    }

    /// Asks how it goes on while the server keeps saying this.
    fn resume(
        sources: &mut NetworkSources,
        cause: Cause,
        say: impl Fn(&News) + Sync,
    ) -> Option<usize> {
        let news = sources.news.clone();
        let is_over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    say(&news);
                    std::thread::yield_now();
                }
            });
            let next = sources.resume(1, cause);
            is_over.store(true, std::sync::atomic::Ordering::Relaxed);
            next
        })
    }

    fn unreachable() -> crate::control::CallError {
        crate::control::CallError::Unreachable {
            url: "http://10.0.0.5/".into(),
            cause: "connection refused".into(),
        }
    }

    fn gathering(number: u32, run: u32) -> fos_api::SessionView {
        view(Stage::Gathering, number, run, Some(number))
    }

    #[test]
    fn the_server_says_with_which_stream_it_goes_on() {
        let (mut sources, _heard) = network_sources();
        let next = resume(&mut sources, Cause::Transfer, |news| {
            news.put(gathering(2, 1))
        });
        assert_eq!(next, Some(1));
        let next = resume(&mut sources, Cause::Content, |news| {
            news.put(gathering(1, 1))
        });
        assert_eq!(next, Some(0));
        assert_eq!(sources.current.undecided_since(), None);
        // A disk that has failed needs nobody's word.
        assert_eq!(sources.resume(1, Cause::Machine), None);
    }

    #[test]
    fn a_run_is_not_begun_for_ever() {
        let (mut sources, _heard) = network_sources();
        let tries = sources.patience.tries;
        let mut again = |run| {
            let say = move |news: &News| news.put(gathering(2, run));
            resume(&mut sources, Cause::Transfer, say)
        };
        for run in 0..2 {
            for _ in 0..tries {
                assert_eq!(again(run), Some(1));
            }
            assert_eq!(again(run), None);
        }
    }

    #[test]
    fn a_server_that_does_not_come_back_is_waited_for_so_long() {
        let (mut sources, _heard) = network_sources();
        sources.patience.server = Duration::ZERO;
        let next = resume(&mut sources, Cause::Transfer, |news| {
            news.fail(unreachable())
        });
        assert_eq!(next, None);
    }

    #[test]
    fn a_server_that_says_nothing_is_not_waited_for() {
        let (mut sources, _heard) = network_sources();
        sources.is_stock = true;
        assert_eq!(sources.resume(1, Cause::Transfer), None);
        assert_eq!(sources.resume(1, Cause::Content), None);
    }

    #[test]
    fn nothing_is_begun_when_all_is_over() {
        let (mut sources, mut heard) = network_sources();
        let next = resume(&mut sources, Cause::Transfer, |news| {
            let mut view = gathering(2, 1);
            view.your_task = fog::task::State::Cancelled;
            news.put(view);
        });
        assert_eq!(next, None);
        // The server knows why; what the end looked like from here is no news.
        let name = fog::store::StreamName::of_file("d1p2.img");
        let error = StreamError::Panic { name };
        sources.leaving(&error);
        assert!(heard.try_recv().is_err());

        let (mut sources, _heard) = network_sources();
        assert!(sources.current.give_up());
        assert_eq!(sources.resume(1, Cause::Transfer), None);
    }
}
