//! Where the screen goes: a terminal that is redrawn, or lines.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use nix::sys::termios::{InputFlags, LocalFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};

use super::page::{View, page};
use super::state::State;
use super::style::Row;
use super::{draw, shell};

/// What the output can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All of it is drawn, and again where it changes.
    Terminal,
    /// A serial console, a pipe or a file: only lines.
    Plain,
}

/// The output and what was printed there last.
pub(crate) struct Console {
    out: Box<dyn Write + Send>,
    kind: Kind,
    size: Size,
    /// The rows on the terminal now, and its columns; empty where that is not known.
    drawn: (Vec<Row>, usize),
    /// When all of them were drawn, whatever was there.
    drawn_whole: Option<Instant>,
    /// The last lines that were printed, for a terminal.
    log: VecDeque<String>,
    last_subject: String,
    last_line: Option<Instant>,
    /// Until the end of the screen.
    _settings: Option<Settings>,
}

/// A line that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) shown: Shown,
}

/// On which kind of output a line is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    Everywhere,
    /// The page of a terminal says so without it.
    OnLines,
    /// Where there are only lines, others have printed it.
    OnPages,
}

/// Columns and lines of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// As far as is known; it may not even be a terminal.
    Fixed(usize, usize),
    /// Those of standard output, which may change.
    OfStdout,
}

impl Size {
    fn now(self) -> (usize, usize) {
        match self {
            Self::Fixed(columns, rows) => (columns, rows),
            Self::OfStdout => terminal_size::terminal_size_of(std::io::stdout())
                .map(|(columns, rows)| (columns.0.into(), rows.0.into()))
                // A terminal that does not know is not of size 0.
                .filter(|(columns, rows)| *columns > 0 && *rows > 0)
                .unwrap_or(USUAL),
        }
    }
}

/// Columns and lines of a text console.
const USUAL: (usize, usize) = (80, 25);

/// Ctrl-S (IXON, termios(3)) does nothing on a terminal while this lives: who hits it by accident
/// would stop the screen, and wonder. What is typed on a page is not shown (ECHO) if the terminal is this
/// program's own.
struct Settings {
    terminal: OwnedFd,
    input: InputFlags,
    local: LocalFlags,
}

impl Settings {
    /// `None` if `terminal` is none, needs no change, or belongs to others now.
    fn of(terminal: BorrowedFd<'_>, local: LocalFlags) -> Option<Self> {
        if is_background(terminal) {
            return None;
        }
        let mut settings = tcgetattr(terminal).ok()?;
        let kept = Self {
            terminal: terminal.try_clone_to_owned().ok()?,
            input: settings.input_flags & InputFlags::IXON,
            local: settings.local_flags & local,
        };
        if kept.input.is_empty() && kept.local.is_empty() {
            return None;
        }
        settings.input_flags.remove(kept.input);
        settings.local_flags.remove(kept.local);
        tcsetattr(terminal, SetArg::TCSANOW, &settings).ok()?;
        Some(kept)
    }
}

/// Whether changing the terminal would stop this process (SIGTTOU).
pub(super) fn is_background(terminal: BorrowedFd<'_>) -> bool {
    tcgetpgrp(terminal).is_ok_and(|foreground| foreground != getpgrp())
}

impl Drop for Settings {
    fn drop(&mut self) {
        if is_background(self.terminal.as_fd()) {
            return;
        }
        if let Ok(mut settings) = tcgetattr(&self.terminal) {
            settings.input_flags.insert(self.input);
            settings.local_flags.insert(self.local);
            // The terminal may be gone.
            tcsetattr(&self.terminal, SetArg::TCSANOW, &settings).unwrap_or_default();
        }
    }
}

impl Console {
    /// Standard output; which kind it is, is found out.
    pub(crate) fn stdout() -> Self {
        let kind = kind_of_stdout();
        let unseen = if kind == Kind::Terminal && !shell::has_controlling_terminal() {
            LocalFlags::ECHO
        } else {
            LocalFlags::empty()
        };
        let mut console = Self::new(Box::new(std::io::stdout()), kind);
        console.size = Size::OfStdout;
        console._settings = Settings::of(std::io::stdout().as_fd(), unseen);
        console
    }

    pub(crate) fn new(out: Box<dyn Write + Send>, kind: Kind) -> Self {
        Self {
            out,
            kind,
            size: Size::Fixed(USUAL.0, USUAL.1),
            drawn: (Vec::new(), 0),
            drawn_whole: None,
            log: VecDeque::new(),
            last_subject: String::new(),
            last_line: None,
            _settings: None,
        }
    }

    #[cfg(test)]
    pub(crate) fn to_memory() -> (Self, std::sync::Arc<std::sync::Mutex<Vec<u8>>>) {
        #[derive(Clone, Default)]
        struct Memory(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
        impl Write for Memory {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let memory = Memory::default();
        let text = std::sync::Arc::clone(&memory.0);
        (Self::new(Box::new(memory), Kind::Plain), text)
    }

    /// Prints `lines`, then the state if it is due. A console that cannot be written to is no
    /// reason to stop: errors are ignored.
    pub(crate) fn show(&mut self, lines: &[Line], state: &State, now: Instant, is_last: bool) {
        let text = match self.kind {
            Kind::Terminal => self.redraw(lines, state, now, is_last),
            Kind::Plain => self.append(lines, state, now, is_last),
        };
        if !text.is_empty() {
            drop(self.out.write_all(text.as_bytes()));
            drop(self.out.flush());
        }
    }

    /// What is on the terminal is not what was drawn any more.
    pub(super) fn spoil(&mut self) {
        self.drawn = (Vec::new(), 0);
    }

    fn redraw(&mut self, lines: &[Line], state: &State, now: Instant, is_last: bool) -> String {
        let new = lines
            .iter()
            .filter(|line| line.shown != Shown::OnLines)
            .filter(|line| !line.text.starts_with(MACHINE_PREFIX))
            .flat_map(|line| line.text.lines())
            .map(str::to_owned);
        self.log.extend(new);
        self.log.drain(..self.log.len().saturating_sub(LOG_LINES));
        let (columns, rows) = self.size.now();
        let drawn = page(View {
            state,
            log: &self.log,
            now,
            columns,
            rows,
        });
        let mut text = String::new();
        let is_same_place = self.drawn.1 == columns && self.drawn.0.len() == drawn.len();
        if !is_same_place {
            text.push_str(CLEAR);
        }
        // Others write on the terminal, too.
        let is_whole = !is_same_place
            || lines.iter().any(|line| line.shown == Shown::OnPages)
            || self
                .drawn_whole
                .is_none_or(|at| now.saturating_duration_since(at) >= REPAINT);
        for (index, row) in drawn.iter().enumerate() {
            if is_whole || self.drawn.0.get(index) != Some(row) {
                let line = index + 1;
                text.push_str(&format!("\x1b[{line};1H\x1b[2K{}", row.to_ansi()));
            }
        }
        if !text.is_empty() {
            // The cursor rests where it disturbs least.
            text.push_str(&format!("\x1b[{};1H", drawn.len()));
        }
        if is_last {
            // Whatever comes next comes below.
            text.push_str(&format!("\x1b[{};1H\r\n", drawn.len()));
        }
        if is_whole {
            self.drawn_whole = Some(now);
        }
        self.drawn = (drawn, columns);
        text
    }

    fn append(&mut self, lines: &[Line], state: &State, now: Instant, is_last: bool) -> String {
        let mut text: String = lines
            .iter()
            .filter(|line| line.shown != Shown::OnPages)
            .flat_map(|line| [plain(&line.text), "\n".to_owned()])
            .collect();
        let subject = draw::subject(state);
        let is_new = subject != self.last_subject;
        let repeat = if state.wait.is_some() {
            REPEAT_WAIT
        } else {
            REPEAT
        };
        let is_old = self
            .last_line
            .is_none_or(|last| now.saturating_duration_since(last) >= repeat);
        let is_due = is_new || (is_old && state.phase != draw::COUNTDOWN);
        let detail = if is_new {
            draw::Detail::Full
        } else {
            draw::Detail::Short
        };
        if is_due && !is_last {
            if let Some(line) = draw::line(state, now, detail) {
                text.push_str(&line);
                text.push('\n');
            }
            self.last_subject = subject;
            self.last_line = Some(now);
        }
        text
    }
}

/// What is printed: whatever is in a name of others, it moves no cursor.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// A virtual terminal or a pseudo terminal can be redrawn; a serial line would be too slow.
fn kind_of_stdout() -> Kind {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return Kind::Plain;
    }
    let device = stdout
        .as_fd()
        .try_clone_to_owned()
        .and_then(|fd| std::fs::File::from(fd).metadata())
        .map(|meta| meta.rdev());
    let Ok(device) = device else {
        return Kind::Plain;
    };
    let console = std::fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    kind_of(
        nix::sys::stat::major(device),
        nix::sys::stat::minor(device),
        &console,
    )
}

/// Device numbers: Linux `Documentation/admin-guide/devices.txt`. `/dev/console` (5:1) is the
/// last of the active consoles.
fn kind_of(major: u64, minor: u64, active_consoles: &str) -> Kind {
    match (major, minor) {
        (4, 0..=63) | (136..=143, _) => Kind::Terminal,
        (5, 1) => {
            let last = active_consoles
                .split_whitespace()
                .last()
                .unwrap_or_default();
            match last.strip_prefix("tty") {
                Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => Kind::Terminal,
                _ => Kind::Plain,
            }
        }
        _ => Kind::Plain,
    }
}

/// How often progress gets another line.
const REPEAT: Duration = Duration::from_secs(5);
/// How often an unchanged wait gets another line.
const REPEAT_WAIT: Duration = Duration::from_secs(15);
/// How often all rows are drawn, whatever has changed.
const REPAINT: Duration = Duration::from_secs(5);
/// More than any terminal shows.
const LOG_LINES: usize = 200;
/// All of the terminal, in the usual colours.
const CLEAR: &str = "\x1b[0m\x1b[2J";
/// Lines for programs; on a terminal they would only disturb.
const MACHINE_PREFIX: &str = "fos-agent: ";

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line {
            text: text.into(),
            shown: Shown::Everywhere,
        }
    }

    #[test]
    fn serial_lines_come_on_change_and_every_few_seconds() {
        let (mut console, text) = Console::to_memory();
        let start = Instant::now();
        let mut state = State::default();
        state.wait_for(start, "the server", Vec::new());
        for second in 0..=31 {
            console.show(&[], &state, start + Duration::from_secs(second), false);
        }
        state.wait_for(start, "the server", vec!["it answers 500".into()]);
        console.show(
            &[line("a line")],
            &state,
            start + Duration::from_secs(32),
            false,
        );
        let text = String::from_utf8(text.lock().unwrap().clone()).unwrap();
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "waiting for the server (0 s)",
                "waiting for the server (15 s)",
                "waiting for the server (30 s)",
                "a line",
                "waiting for the server (32 s); it answers 500",
            ]
        );
    }

    /// What a terminal of this size shows of everything that was written.
    fn seen(written: &std::sync::Mutex<Vec<u8>>, columns: u16, rows: u16) -> vt100::Parser {
        let mut parser = vt100::Parser::new(rows, columns, 0);
        parser.process(&written.lock().unwrap());
        parser
    }

    #[test]
    fn only_rows_that_change_are_drawn_again() {
        let (mut console, text) = Console::to_memory();
        console.kind = Kind::Terminal;
        let now = Instant::now();
        let mut state = State {
            activity: "network".into(),
            ..State::default()
        };
        let machine = line("fos-agent: phase network start t=1");
        console.show(&[machine, line("eth0 is up\nagain")], &state, now, false);
        let first = seen(&text, 80, 25).screen().contents();
        assert!(first.contains("now      network"), "{first}");
        assert!(first.contains("eth0 is up\n again"), "{first}");
        assert!(!first.contains("phase network"), "{first}");

        let len = |text: &std::sync::Mutex<Vec<u8>>| text.lock().unwrap().len();
        let before = len(&text);
        console.show(&[], &state, now, false);
        assert_eq!(len(&text), before);
        state.activity = "check-in".into();
        console.show(&[], &state, now, false);
        let change = text.lock().unwrap()[before..].to_vec();
        let change = String::from_utf8(change).unwrap();
        assert_eq!(change.matches("\x1b[2K").count(), 1, "{change:?}");
        let second = seen(&text, 80, 25).screen().contents();
        assert_eq!(
            second,
            first.replace("now      network", "now      check-in")
        );
    }

    #[test]
    fn what_others_write_on_the_terminal_does_not_stay() {
        let (mut console, text) = Console::to_memory();
        console.kind = Kind::Terminal;
        let now = Instant::now();
        let state = State {
            activity: "network".into(),
            ..State::default()
        };
        console.show(&[], &state, now, false);
        let good = seen(&text, 80, 25).screen().contents();
        let noise = b"\r\n[  12.3] usb 1-1: device descriptor read/64, error -71\r\n";
        text.lock().unwrap().extend(noise);
        assert_ne!(seen(&text, 80, 25).screen().contents(), good);
        console.show(&[], &state, now + REPAINT, false);
        assert_eq!(seen(&text, 80, 25).screen().contents(), good);
        // After a shell nothing is left of it, at once.
        text.lock()
            .unwrap()
            .extend(b"\x1b[2J\x1b[H# ls\r\nbin\r\n# exit\r\n");
        console.spoil();
        console.show(&[], &state, now + REPAINT, false);
        assert_eq!(seen(&text, 80, 25).screen().contents(), good);
    }

    #[test]
    fn ctrl_s_and_what_is_typed_are_off_while_the_screen_is_shown() {
        let pty = nix::pty::openpty(None, None).unwrap();
        let terminal = &pty.slave;
        let are_on = || {
            let settings = tcgetattr(terminal).unwrap();
            (
                settings.input_flags.contains(InputFlags::IXON),
                settings.local_flags.contains(LocalFlags::ECHO),
            )
        };
        assert_eq!(are_on(), (true, true));
        let off = Settings::of(terminal.as_fd(), LocalFlags::empty());
        assert_eq!(are_on(), (false, true));
        drop(off);
        let off = Settings::of(terminal.as_fd(), LocalFlags::ECHO);
        assert_eq!(are_on(), (false, false));
        assert!(Settings::of(terminal.as_fd(), LocalFlags::ECHO).is_none());
        drop(off);
        assert_eq!(are_on(), (true, true));
    }

    #[test]
    fn serial_consoles_are_told_from_terminals() {
        assert_eq!(kind_of(4, 1, ""), Kind::Terminal);
        assert_eq!(kind_of(136, 0, ""), Kind::Terminal);
        assert_eq!(kind_of(4, 64, ""), Kind::Plain);
        assert_eq!(kind_of(5, 1, "tty0 ttyS0\n"), Kind::Plain);
        assert_eq!(kind_of(5, 1, "ttyS0 tty0\n"), Kind::Terminal);
        assert_eq!(kind_of(5, 1, "ttyAMA0"), Kind::Plain);
        assert_eq!(kind_of(5, 1, ""), Kind::Plain);
    }
}
