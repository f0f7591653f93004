//! The keys that matter: Enter, which lets a machine go on, and `s` and Enter, which opens a shell.

use std::io::{BufRead, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fog::KernelArgs;
use nix::sys::termios::{FlushArg, tcflush};
use tokio::sync::mpsc;

use super::Board;
use super::output::is_background;
use super::shell::Shell;

/// An input with its one reader. A thread that waits for a line cannot be stopped: a second one beside it
/// would get only every other line.
#[derive(Debug, Clone, Default)]
struct Keyboard(Arc<Mutex<Listeners>>);

#[derive(Debug, Default)]
struct Listeners {
    waiting: Vec<mpsc::UnboundedSender<()>>,
    /// The input has ended.
    is_over: bool,
}

impl Keyboard {
    /// Reads `input` from now on. Without a thread for it, Enter is never seen. Each line that asks for a
    /// shell has `shell` run, if there is one, and then the next line is read.
    fn read(
        &self,
        input: impl BufRead + Send + 'static,
        shell: Option<impl Fn() + Send + 'static>,
    ) {
        let own = self.clone();
        let thread = std::thread::Builder::new()
            .name("keys".into())
            .spawn(move || {
                for line in input.split(b'\n').map_while(Result::ok) {
                    match &shell {
                        Some(shell) if line.trim_ascii().eq_ignore_ascii_case(SHELL) => shell(),
                        _ => own.with(|to| to.waiting.retain(|keys| keys.send(()).is_ok())),
                    }
                }
                own.with(|to| {
                    *to = Listeners {
                        is_over: true,
                        ..Listeners::default()
                    }
                });
            });
        drop(thread);
    }

    /// What is typed from now on.
    fn keys(&self) -> Keys {
        let (pressed, keys) = mpsc::unbounded_channel();
        self.with(|to| {
            to.waiting.retain(|keys| !keys.is_closed());
            if !to.is_over {
                to.waiting.push(pressed);
            }
        });
        Keys(keys)
    }

    fn with(&self, change: impl FnOnce(&mut Listeners)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Waits for Enter. An input that ends, or that there is not, never has it.
#[derive(Debug)]
pub(crate) struct Keys(mpsc::UnboundedReceiver<()>);

impl Keys {
    /// From now on a shell can be had on the console, if that is this program's own, and `args` allow it.
    pub(crate) fn offer_shell(board: &Board, args: &KernelArgs) {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() || is_background(stdin.as_fd()) {
            return;
        }
        let Some(shell) = Shell::of_boot(board, args) else {
            return;
        };
        CONSOLE.get_or_init(|| {
            let keyboard = Keyboard::default();
            keyboard.read(std::io::BufReader::new(stdin), Some(move || shell.open()));
            keyboard
        });
        board.update(|state| state.has_shell = true);
        board.say_of_state("s and Enter opens a shell; the job goes on meanwhile");
    }

    /// Of the console. What was typed before does not count.
    pub(crate) fn of_console() -> Self {
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            if is_background(stdin.as_fd()) {
                // To read would stop this process.
                return Self::of(std::io::empty());
            }
            // What cannot be thrown away is an early Enter at worst.
            tcflush(&stdin, FlushArg::TCIFLUSH).unwrap_or_default();
        }
        let keyboard = CONSOLE.get_or_init(|| {
            let keyboard = Keyboard::default();
            keyboard.read(std::io::BufReader::new(stdin), NO_SHELL);
            keyboard
        });
        keyboard.keys()
    }

    /// Of any input.
    pub(crate) fn of(input: impl BufRead + Send + 'static) -> Self {
        let keyboard = Keyboard::default();
        let keys = keyboard.keys();
        keyboard.read(input, NO_SHELL);
        keys
    }

    /// Returns when Enter was pressed.
    pub(crate) async fn enter(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// The same where there is no runtime.
    pub(crate) fn wait_for_enter(&mut self) {
        while self.0.blocking_recv().is_none() {
            std::thread::park();
        }
    }

    /// Forgets what was typed before.
    pub(super) fn forget(&mut self) {
        while self.0.try_recv().is_ok() {}
    }
}

/// The console's, from the first time that it is asked for.
static CONSOLE: OnceLock<Keyboard> = OnceLock::new();
/// The line that opens a shell, in lower case.
const SHELL: &[u8] = b"s";
const NO_SHELL: Option<fn()> = None;

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write as _};

    use super::*;

    #[tokio::test]
    async fn enter_is_seen_and_the_end_of_the_input_is_none() {
        let (input, mut typist) = std::io::pipe().unwrap();
        let mut keys = Keys::of(BufReader::new(input));
        typist.write_all(b"x").unwrap();
        tokio::select! {
            biased;
            () = keys.enter() => panic!("half a line"),
            () = tokio::task::yield_now() => {}
        }
        typist.write_all(b"\n").unwrap();
        keys.enter().await;
        drop(typist);
        // The thread is gone, so nothing can come any more.
        assert_eq!(keys.0.recv().await, None);
        let mut nobody = Keys::of(std::io::empty());
        tokio::select! {
            biased;
            () = nobody.enter() => panic!("the end is no key"),
            () = tokio::task::yield_now() => {}
        }
    }

    #[tokio::test]
    async fn the_first_enter_reaches_the_second_who_waits() {
        let (input, mut typist) = std::io::pipe().unwrap();
        let keyboard = Keyboard::default();
        keyboard.read(BufReader::new(input), NO_SHELL);
        // As after a retry of the network: its wait is over without a key.
        drop(keyboard.keys());
        let mut keys = keyboard.keys();
        typist.write_all(b"\n").unwrap();
        keys.enter().await;
        // What was typed before a wait is none of its keys.
        let mut late = keyboard.keys();
        typist.write_all(b"\n").unwrap();
        late.enter().await;
        assert!(late.0.try_recv().is_err());
        drop(typist);
        assert_eq!(late.0.recv().await, None);
    }

    #[tokio::test]
    async fn an_s_opens_a_shell_and_is_no_enter() {
        let (input, mut typist) = std::io::pipe().unwrap();
        let keyboard = Keyboard::default();
        let mut keys = keyboard.keys();
        let (opened, mut shells) = mpsc::unbounded_channel();
        let shell = move || opened.send(()).unwrap_or_default();
        keyboard.read(BufReader::new(input), Some(shell));
        typist.write_all(b"s\nS\r\nss\n").unwrap();
        // The third line is none, but it ends with Enter.
        keys.enter().await;
        drop(typist);
        assert_eq!(keys.0.recv().await, None);
        let mut count = 0;
        while shells.recv().await.is_some() {
            count += 1;
        }
        assert_eq!(count, 2);
    }

    #[test]
    fn enter_is_waited_for_without_a_runtime() {
        Keys::of(&b"\n"[..]).wait_for_enter();
    }
}
