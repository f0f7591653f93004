//! Steering a transfer from other threads.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::io::wake::Bell;

/// Steers one [`SentStream`](super::SentStream) from other threads. Clones belong together. What is asked before
/// the transfer begins counts as soon as it does.
#[derive(Clone, Debug)]
pub struct SendControl {
    commands: Arc<Mutex<Vec<Command>>>,
    pub(super) bell: Bell,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Stop,
    Abort,
    Interrupt,
    Start,
    Expect(Vec<Ipv4Addr>),
    Remove(Ipv4Addr),
}

impl SendControl {
    /// One for a transfer to come.
    ///
    /// # Errors
    /// The kernel has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            commands: Arc::default(),
            bell: Bell::new()?,
        })
    }

    /// Ends the transfer now, whatever the receivers have got.
    pub fn stop(&self) {
        self.command(Command::Stop);
    }

    /// Ends the stream early, so that receivers come to their end with too few bytes and fail, where
    /// [`stop`](Self::stop) leaves original ones waiting for ever. A source that blocks does not hold it up;
    /// receivers that do not answer do, for some ten seconds ([`SenderConfig::abort_time`]).
    /// [`SendError::Aborted`] says whether the stream could be ended. If all receivers turn out to have
    /// the whole stream already, the transfer is a success.
    ///
    /// Not for a stream of which a part cannot be told from the whole.
    ///
    /// [`SendError::Aborted`]: crate::SendError::Aborted
    /// [`SenderConfig::abort_time`]: crate::udpcast::sender::SenderConfig::abort_time
    pub fn abort(&self) {
        self.command(Command::Abort);
    }

    /// Ends the transfer for whoever interrupts it: receivers, original ones too, are made to fail within a
    /// second, whatever they have got, where [`stop`](Self::stop) lets them wait. [`SendError::Aborted`]
    /// comes then, or success if all receivers turn out to have the whole stream.
    ///
    /// [`SendError::Aborted`]: crate::SendError::Aborted
    pub fn interrupt(&self) {
        self.command(Command::Interrupt);
    }

    /// Starts the transfer with the participants there are.
    pub fn start_now(&self) {
        self.command(Command::Start);
    }

    /// Replaces the receivers that are waited for; the transfer may start at once.
    pub fn set_expected(&self, expected: Vec<Ipv4Addr>) {
        self.command(Command::Expect(expected));
    }

    /// Goes on without that participant.
    pub fn remove(&self, participant: Ipv4Addr) {
        self.command(Command::Remove(participant));
    }

    fn command(&self, command: Command) {
        self.lock().push(command);
        self.bell.ring();
    }

    pub(super) fn take(&self) -> Vec<Command> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Command>> {
        // A panic elsewhere cannot leave a list half pushed.
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
