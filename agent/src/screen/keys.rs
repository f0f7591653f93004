//! The one key that matters to a machine without a job: Enter, which lets it go on.

use std::io::{BufRead, IsTerminal as _};
use std::os::fd::AsFd as _;

use nix::sys::termios::{FlushArg, tcflush};
use tokio::sync::mpsc;

use super::output::is_background;

/// Waits for Enter. An input that ends, or that there is not, never has it: nobody is there.
#[derive(Debug)]
pub(crate) struct Keys(mpsc::UnboundedReceiver<()>);

impl Keys {
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
        Self::of(std::io::BufReader::new(stdin))
    }

    /// Of any input. Without a thread for it, Enter is never seen.
    pub(crate) fn of(input: impl BufRead + Send + 'static) -> Self {
        let (pressed, keys) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("keys".into())
            .spawn(move || {
                for line in input.split(b'\n') {
                    if line.is_err() || pressed.send(()).is_err() {
                        return;
                    }
                }
            });
        drop(thread);
        Self(keys)
    }

    /// Returns when Enter was pressed.
    pub(crate) async fn enter(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// The same where there is no runtime.
    pub(crate) fn wait_for_enter(mut self) {
        while self.0.blocking_recv().is_none() {
            std::thread::park();
        }
    }
}

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

    #[test]
    fn enter_is_waited_for_without_a_runtime() {
        Keys::of(&b"\n"[..]).wait_for_enter();
    }
}
