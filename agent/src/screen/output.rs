//! Where the screen goes: a terminal that is redrawn, or lines.

use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use nix::sys::termios::{InputFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};

use super::draw;
use super::state::State;

/// What the output can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A block is redrawn in place.
    Terminal,
    /// A serial console, a pipe or a file: only lines.
    Plain,
}

/// The output and what was printed there last.
pub(crate) struct Console {
    out: Box<dyn Write + Send>,
    kind: Kind,
    size: Size,
    /// Lines of the block on the terminal now.
    drawn: usize,
    last_block: Vec<String>,
    last_subject: String,
    last_line: Option<Instant>,
    /// Until the end of the screen.
    _flow_control: Option<FlowControlOff>,
}

/// A line that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// The block of a terminal says so, too.
    pub(crate) is_in_block: bool,
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
/// would stop the screen, and wonder.
struct FlowControlOff(OwnedFd);

impl FlowControlOff {
    /// `None` if `terminal` is none, has it off already, or belongs to others now.
    fn of(terminal: BorrowedFd<'_>) -> Option<Self> {
        if is_background(terminal) {
            return None;
        }
        let mut settings = tcgetattr(terminal).ok()?;
        if !settings.input_flags.contains(InputFlags::IXON) {
            return None;
        }
        settings.input_flags.remove(InputFlags::IXON);
        let kept = terminal.try_clone_to_owned().ok()?;
        tcsetattr(terminal, SetArg::TCSANOW, &settings).ok()?;
        Some(Self(kept))
    }
}

/// Whether changing the terminal would stop this process (SIGTTOU).
pub(super) fn is_background(terminal: BorrowedFd<'_>) -> bool {
    tcgetpgrp(terminal).is_ok_and(|foreground| foreground != getpgrp())
}

impl Drop for FlowControlOff {
    fn drop(&mut self) {
        if is_background(self.0.as_fd()) {
            return;
        }
        if let Ok(mut settings) = tcgetattr(&self.0) {
            settings.input_flags.insert(InputFlags::IXON);
            // The terminal may be gone.
            tcsetattr(&self.0, SetArg::TCSANOW, &settings).unwrap_or_default();
        }
    }
}

impl Console {
    /// Standard output; which kind it is, is found out.
    pub(crate) fn stdout() -> Self {
        let mut console = Self::new(Box::new(std::io::stdout()), kind_of_stdout());
        console.size = Size::OfStdout;
        console._flow_control = FlowControlOff::of(std::io::stdout().as_fd());
        console
    }

    pub(crate) fn new(out: Box<dyn Write + Send>, kind: Kind) -> Self {
        Self {
            out,
            kind,
            size: Size::Fixed(USUAL.0, USUAL.1),
            drawn: 0,
            last_block: Vec::new(),
            last_subject: String::new(),
            last_line: None,
            _flow_control: None,
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
            Kind::Terminal => self.redraw(lines, state, now),
            Kind::Plain => self.append(lines, state, now, is_last),
        };
        if !text.is_empty() {
            drop(self.out.write_all(text.as_bytes()));
            drop(self.out.flush());
        }
    }

    fn redraw(&mut self, lines: &[Line], state: &State, now: Instant) -> String {
        let (columns, rows) = self.size.now();
        // The last column would make the terminal break the line by itself.
        let width = columns.saturating_sub(1);
        let mut block = draw::block(state, now, width);
        // What has left the top of the screen cannot be drawn again. The result is at the end.
        block.drain(..block.len().saturating_sub(rows.saturating_sub(1).max(1)));
        let kept: Vec<String> = lines
            .iter()
            .filter(|line| !line.is_in_block && !line.text.starts_with(MACHINE_PREFIX))
            .flat_map(|line| draw::wrap(&line.text, width, 2))
            .collect();
        if kept.is_empty() && block == self.last_block {
            return String::new();
        }
        let mut text = String::new();
        if self.drawn > 0 {
            // Up to the first line of the block, then clear to the end of the screen.
            text.push_str(&format!("\x1b[{}A\r\x1b[J", self.drawn));
        }
        for line in kept.iter().chain(&block) {
            text.push_str(line);
            text.push_str("\r\n");
        }
        self.drawn = block.len();
        self.last_block = block;
        text
    }

    fn append(&mut self, lines: &[Line], state: &State, now: Instant, is_last: bool) -> String {
        let mut text: String = lines
            .iter()
            .flat_map(|line| [line.text.as_str(), "\n"])
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
/// Lines for programs; on a terminal they would only disturb.
const MACHINE_PREFIX: &str = "fos-agent: ";

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line {
            text: text.into(),
            is_in_block: false,
        }
    }

    #[test]
    fn a_terminal_shows_nothing_twice_and_breaks_lines_between_words() {
        let (mut console, text) = Console::to_memory();
        console.kind = Kind::Terminal;
        console.size = Size::Fixed(41, 25);
        let now = Instant::now();
        let state = State {
            activity: "receiving".into(),
            warnings: vec![super::super::Warning {
                text: "no swap".into(),
                at: now,
            }],
            ..State::default()
        };
        let lines = [
            Line {
                text: "warning: no swap".into(),
                is_in_block: true,
            },
            line("eth0: address 10.0.0.7/24 from DHCP server 10.0.0.1"),
        ];
        console.show(&lines, &state, now, false);
        let text = String::from_utf8(text.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "eth0: address 10.0.0.7/24 from DHCP",
                "  server 10.0.0.1",
                concat!("fos-agent ", env!("CARGO_PKG_VERSION")),
                "now      receiving",
                "warning  no swap",
            ]
        );
    }

    #[test]
    fn a_block_that_is_higher_than_the_terminal_keeps_its_end() {
        let (mut console, text) = Console::to_memory();
        console.kind = Kind::Terminal;
        console.size = Size::Fixed(80, 4);
        let state = State {
            disk: "/dev/sda".into(),
            activity: "receiving".into(),
            result: Some(super::super::Outcome::Failed("x ".repeat(80))),
            ..State::default()
        };
        console.show(&[], &state, Instant::now(), false);
        let text = String::from_utf8(text.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert!(!text.contains("fos-agent"), "{text}");
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

    #[test]
    fn a_terminal_is_redrawn_only_when_something_moved() {
        let (mut console, text) = Console::to_memory();
        console.kind = Kind::Terminal;
        let now = Instant::now();
        let mut state = State {
            activity: "network".into(),
            ..State::default()
        };
        console.show(
            &[line("fos-agent: phase network start t=1")],
            &state,
            now,
            false,
        );
        console.show(&[], &state, now, false);
        state.activity = "check-in".into();
        console.show(&[], &state, now, false);
        let text = String::from_utf8(text.lock().unwrap().clone()).unwrap();
        let head = format!("fos-agent {}\r\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(
            text,
            format!("{head}now      network\r\n\x1b[2A\r\x1b[J{head}now      check-in\r\n")
        );
    }

    #[test]
    fn ctrl_s_is_off_while_the_screen_is_shown() {
        let pty = nix::pty::openpty(None, None).unwrap();
        let terminal = &pty.slave;
        let is_on = || {
            let flags = tcgetattr(terminal).unwrap().input_flags;
            flags.contains(InputFlags::IXON)
        };
        assert!(is_on());
        let off = FlowControlOff::of(terminal.as_fd());
        assert!(!is_on());
        drop(off);
        assert!(is_on());
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
