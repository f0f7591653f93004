//! One key press, as the start signal of a transfer.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{
    LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use nix::unistd::{getpgrp, tcgetpgrp};

use cast_net::Stop;

/// What was pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// `q`: end the program.
    Quit,
    /// Any other key.
    Any,
    /// The input has ended. The originals take it for a key press.
    End,
}

/// Watches for one key until dropped; a terminal then is as it was before.
#[derive(Debug)]
pub(crate) struct Keyboard {
    released: Stop,
}

impl Keyboard {
    /// Watches standard input. Its end counts as a key.
    ///
    /// # Errors
    /// It is closed, or no thread can be started.
    pub(crate) fn on_stdin(pressed: impl FnOnce(Key) + Send + 'static) -> io::Result<Self> {
        Self::watch(io::stdin().as_fd().try_clone_to_owned()?, pressed)
    }

    /// Watches the controlling terminal, as standard input is the stream.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn on_terminal(pressed: impl FnOnce(Key) + Send + 'static) -> io::Result<Self> {
        Self::watch(File::open("/dev/tty")?.into(), pressed)
    }

    fn watch(input: OwnedFd, pressed: impl FnOnce(Key) + Send + 'static) -> io::Result<Self> {
        let released = Stop::new()?;
        // Not a terminal: a pipe or a file works as it is.
        if let Ok(before) = tcgetattr(&input) {
            // The kernel would stop a background job that touches its terminal.
            if tcgetpgrp(&input).is_ok_and(|foreground| foreground != getpgrp()) {
                return Err(io::Error::other("running in the background"));
            }
            let mut single = before.clone();
            single
                .local_flags
                .remove(LocalFlags::ICANON | LocalFlags::ECHO);
            single.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
            single.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
            let terminal = input.try_clone()?;
            *lock() = Some((terminal, before));
            tcsetattr(&input, SetArg::TCSANOW, &single)?;
        }
        let keyboard = Self { released };
        let released = keyboard.released.clone();
        let work = move || {
            if let Some(key) = wait_for_key(input, &released) {
                restore_terminal();
                pressed(key);
            }
        };
        std::thread::Builder::new()
            .name("keyboard".into())
            .spawn(work)?;
        Ok(keyboard)
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.released.stop();
        restore_terminal();
    }
}

/// `None`: released before, or the input cannot be read.
fn wait_for_key(input: OwnedFd, released: &Stop) -> Option<Key> {
    loop {
        let mut fds = [
            PollFd::new(input.as_fd(), PollFlags::POLLIN),
            PollFd::new(released.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
    // What is typed after that is for others.
    if released.is_stopped() {
        return None;
    }
    let mut byte = [0];
    match File::from(input).read(&mut byte) {
        Ok(1) if byte == *b"q" => Some(Key::Quit),
        Ok(0) => Some(Key::End),
        Ok(_) => Some(Key::Any),
        Err(_) => None,
    }
}

/// The terminal and how it was, while it is not so.
static TERMINAL: Mutex<Option<(OwnedFd, Termios)>> = Mutex::new(None);

/// Makes the terminal what it was before, if a program of this crate has changed it to read single keys. For whoever
/// ends the process in another way than by returning from that program.
pub fn restore_terminal() {
    if let Some((terminal, before)) = lock().take()
        && let Err(errno) = tcsetattr(&terminal, SetArg::TCSANOW, &before)
    {
        crate::messages::say(&format!("the terminal may need `stty sane` ({errno})"));
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<(OwnedFd, Termios)>> {
    TERMINAL.lock().unwrap_or_else(PoisonError::into_inner)
}
