//! One key press, as the start signal of a transfer.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

/// What was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// `q`: end the program.
    Quit,
    /// Any other key, or the end of the input.
    Any,
}

/// Watches for one key until dropped; a terminal then is as it was before.
pub(super) struct Keyboard {
    terminal: Option<(OwnedFd, Termios)>,
}

impl Keyboard {
    /// Watches standard input.
    ///
    /// # Errors
    /// It is closed, or no thread can be started.
    pub(super) fn on_stdin(pressed: impl FnOnce(Key) + Send + 'static) -> io::Result<Self> {
        Self::watch(io::stdin().as_fd().try_clone_to_owned()?, pressed)
    }

    /// Watches the controlling terminal, as standard input is the stream.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn on_terminal(pressed: impl FnOnce(Key) + Send + 'static) -> io::Result<Self> {
        Self::watch(File::open("/dev/tty")?.into(), pressed)
    }

    fn watch(input: OwnedFd, pressed: impl FnOnce(Key) + Send + 'static) -> io::Result<Self> {
        // Not a terminal: a pipe or a file works as it is.
        let terminal = match tcgetattr(&input) {
            Ok(before) => {
                let mut single = before.clone();
                single
                    .local_flags
                    .remove(LocalFlags::ICANON | LocalFlags::ECHO);
                tcsetattr(&input, SetArg::TCSANOW, &single)?;
                Some((input.try_clone()?, before))
            }
            Err(_) => None,
        };
        let keyboard = Self { terminal };
        let work = move || {
            let mut byte = [0];
            let key = match File::from(input).read(&mut byte) {
                Ok(1) if byte == *b"q" => Key::Quit,
                Ok(_) => Key::Any,
                Err(_) => return,
            };
            pressed(key);
        };
        // It may wait for a key for ever; the end of the program ends it.
        std::thread::Builder::new()
            .name("keyboard".into())
            .spawn(work)?;
        Ok(keyboard)
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        if let Some((terminal, before)) = &self.terminal {
            let restored = tcsetattr(terminal, SetArg::TCSANOW, before);
            if let Err(errno) = restored {
                super::messages::say(&format!("the terminal may need `stty sane` ({errno})"));
            }
        }
    }
}
