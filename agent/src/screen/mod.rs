//! The console: what the user sees, and the machine-readable lines beside it.
//!
//! Everybody writes into a [`Board`]; one thread shows it. A terminal gets a block that is
//! redrawn in place, a serial console or a pipe one line per change and one every few seconds:
//! each printed line costs time on a serial port.

mod draw;
mod keys;
mod output;
mod state;

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(crate) use draw::{COUNTDOWN, done, one_line, summary};
pub(crate) use keys::Keys;
pub(crate) use output::{Console, Line};
pub(crate) use state::{Outcome, State, Transfer, Warning, word};

/// The shared state of the screen and the lines that are still to be printed.
#[derive(Clone, Default)]
pub(crate) struct Board(Arc<Shared>);

#[derive(Default)]
struct Shared {
    content: Mutex<Content>,
    changed: Condvar,
}

#[derive(Default)]
struct Content {
    state: State,
    lines: Vec<Line>,
    is_changed: bool,
    is_closed: bool,
}

impl Board {
    /// Changes what is shown and shows it soon.
    pub(crate) fn update(&self, change: impl FnOnce(&mut State)) {
        let mut content = self.lock();
        change(&mut content.state);
        content.is_changed = true;
        self.0.changed.notify_one();
    }

    /// Reads from the state.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.lock().state)
    }

    /// Prints a line that stays.
    pub(crate) fn say(&self, line: impl Into<String>) {
        self.print(line.into(), false);
    }

    /// Prints a line whose content the state has, too: a terminal shows that already.
    pub(crate) fn say_of_state(&self, line: impl Into<String>) {
        self.print(line.into(), true);
    }

    fn print(&self, text: String, is_in_block: bool) {
        let mut content = self.lock();
        content.lines.push(Line { text, is_in_block });
        content.is_changed = true;
        self.0.changed.notify_one();
    }

    /// The lines that nobody has printed yet.
    #[cfg(test)]
    pub(crate) fn said(&self) -> Vec<String> {
        let content = self.lock();
        content.lines.iter().map(|line| line.text.clone()).collect()
    }

    /// Shows a warning for a while, and again at the end, and prints it.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let is_new = {
            let mut content = self.lock();
            let warnings = &mut content.state.warnings;
            let is_new = warnings.iter().all(|warning| warning.text != text);
            if is_new {
                warnings.push(Warning {
                    text: text.clone(),
                    at: Instant::now(),
                });
            }
            is_new
        };
        if is_new {
            self.say_of_state(format!("warning: {text}"));
        }
    }

    /// Names the part of the job that runs now (one word, and for people) and ends any wait.
    pub(crate) fn activity(&self, phase: &'static str, text: impl Into<String>) {
        self.update(|state| {
            state.phase = phase;
            state.activity = text.into();
            state.wait = None;
        });
    }

    /// Says what is waited for; see [`State::wait_for`].
    pub(crate) fn wait_for(&self, what: impl Into<String>, advice: Vec<String>) {
        self.update(|state| state.wait_for(Instant::now(), what, advice));
    }

    /// Ends the wait.
    pub(crate) fn go_on(&self) {
        self.update(|state| state.wait = None);
    }

    /// Begins a phase; it ends when the value is dropped.
    pub(crate) fn phase(&self, name: &str) -> Phase {
        self.mark(name, "start");
        Phase {
            board: self.clone(),
            name: name.to_owned(),
        }
    }

    fn mark(&self, name: &str, edge: &str) {
        self.say(format!(
            "fos-agent: phase {name} {edge} t={}",
            monotonic_ms()
        ));
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        // A panic while holding the lock leaves nothing half done that matters for display.
        self.0
            .content
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of the job whose begin and end are printed with their times.
#[must_use = "the phase ends when this is dropped"]
pub(crate) struct Phase {
    board: Board,
    name: String,
}

impl Drop for Phase {
    fn drop(&mut self) {
        self.board.mark(&self.name, "end");
    }
}

/// The thread that shows a [`Board`]; prints what is left when dropped.
pub(crate) struct Screen {
    board: Board,
    thread: Option<JoinHandle<()>>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
    /// How long the last lines may take.
    patience: Duration,
}

impl Screen {
    /// Starts to show `board` on `console`.
    pub(crate) fn start(board: &Board, console: Console) -> std::io::Result<Self> {
        let shown = board.clone();
        let (end, ended) = channel();
        let thread = std::thread::Builder::new()
            .name("screen".into())
            .spawn(move || {
                show(&shown, console);
                drop::<Sender<()>>(end);
            })?;
        Ok(Self {
            board: board.clone(),
            thread: Some(thread),
            ended,
            patience: CLOSE_PATIENCE,
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.board.lock().is_closed = true;
        self.board.0.changed.notify_one();
        // Somebody may have stopped the output with Scroll Lock or a serial line's flow control: that
        // must not keep the machine. The thread is left to itself then.
        let is_stuck = self.ended.recv_timeout(self.patience) == Err(RecvTimeoutError::Timeout);
        if let Some(thread) = self.thread.take().filter(|_| !is_stuck) {
            // A panicked screen has nothing left to show.
            drop(thread.join());
        }
    }
}

fn show(board: &Board, mut console: Console) {
    loop {
        let mut content = board.lock();
        if !content.is_changed && !content.is_closed {
            content = board
                .0
                .changed
                .wait_timeout(content, TICK)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        content.is_changed = false;
        let lines = std::mem::take(&mut content.lines);
        let state = content.state.clone();
        let is_closed = content.is_closed;
        drop(content);
        console.show(&lines, &state, Instant::now(), is_closed);
        if is_closed {
            return;
        }
    }
}

/// Milliseconds since the machine booted.
pub(crate) fn monotonic_ms() -> u128 {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC)
        .map(|time| Duration::from(time).as_millis())
        .unwrap_or_default()
}

/// How often times and rates on the screen move.
const TICK: Duration = Duration::from_millis(500);
/// A screenful takes two seconds at 9600 baud.
const CLOSE_PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_and_lines_reach_a_plain_console_in_order() {
        let board = Board::default();
        let (console, text) = Console::to_memory();
        let screen = Screen::start(&board, console).unwrap();
        let phase = board.phase("network");
        board.say("eth0: address 10.0.0.7");
        board.warn("no swap");
        board.warn("no swap");
        drop(phase);
        drop(screen);
        let text = text.lock().unwrap().clone();
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("fos-agent: phase network start t="));
        assert_eq!(lines[1..3], ["eth0: address 10.0.0.7", "warning: no swap"]);
        assert!(lines[3].starts_with("fos-agent: phase network end t="));
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn a_console_that_is_stopped_keeps_nobody() {
        struct Stopped(Receiver<()>);
        impl std::io::Write for Stopped {
            fn write(&mut self, _bytes: &[u8]) -> std::io::Result<usize> {
                self.0.recv().unwrap_err();
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (go_on, stop) = channel();
        let console = Console::new(Box::new(Stopped(stop)), output::Kind::Plain);
        let board = Board::default();
        let mut screen = Screen::start(&board, console).unwrap();
        screen.patience = Duration::from_millis(1);
        board.say("never seen");
        drop(screen);
        drop(go_on);
    }

    #[test]
    fn a_panic_elsewhere_does_not_silence_the_screen() {
        let board = Board::default();
        let other = board.clone();
        std::thread::spawn(move || other.update(|_| panic!("on purpose")))
            .join()
            .unwrap_err();
        board.say("still there");
        let (console, text) = Console::to_memory();
        drop(Screen::start(&board, console).unwrap());
        assert_eq!(*text.lock().unwrap(), b"still there\n");
    }
}
