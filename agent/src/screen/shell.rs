//! A shell in place of the screen, while the job goes on.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;

use nix::sys::termios::{InputFlags, LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use super::Board;

/// Opens shells on the console of a booted machine.
#[derive(Clone)]
pub(super) struct Shell {
    board: Board,
}

impl Shell {
    /// `None` where the console belongs to others: then its shell is there already.
    pub(super) fn of_boot(board: &Board) -> Option<Self> {
        let is_boot = std::process::id() == 1 || nix::unistd::getppid().as_raw() == 1;
        (is_boot && !has_controlling_terminal() && Path::new(BUSYBOX).exists()).then(|| Self {
            board: board.clone(),
        })
    }

    /// Runs one to its end. The screen stands still meanwhile.
    #[expect(clippy::print_stdout, reason = "the screen is hidden")]
    pub(super) fn open(&self) {
        let hidden = self.board.hide();
        let stdin = std::io::stdin();
        let before = tcgetattr(stdin.as_fd()).ok();
        if let Some(settings) = before.clone() {
            apply(&usual(settings));
        }
        println!("{WELCOME}");
        let status = Command::new(BUSYBOX)
            .args(["setsid", "-c", BUSYBOX, "sh"])
            .status();
        // The end of the shell's session is a hang-up of its terminal; to open it again ends that.
        drop(std::fs::File::open("/dev/console"));
        if let Some(settings) = before {
            apply(&settings);
        }
        drop(hidden);
        if let Err(error) = status {
            self.board
                .say(format!("the shell cannot be started: {error}"));
        }
    }
}

/// What a shell and its programs expect of a terminal.
fn usual(mut settings: Termios) -> Termios {
    settings.input_flags |= InputFlags::ICRNL | InputFlags::IXON;
    settings.local_flags |=
        LocalFlags::ECHO | LocalFlags::ECHOE | LocalFlags::ICANON | LocalFlags::ISIG;
    settings
}

fn apply(settings: &Termios) {
    // A terminal that does not take them is as usable as before.
    tcsetattr(std::io::stdin(), SetArg::TCSANOW, settings).unwrap_or_default();
}

/// Whether this process is one of a session on a terminal, as with a shell.
pub(super) fn has_controlling_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

const BUSYBOX: &str = "/bin/busybox";
/// Clears a terminal; on a serial line it is a few strange characters at worst.
const WELCOME: &str = "\x1b[0m\x1b[2J\x1b[H\n\
    A shell. The job goes on meanwhile; exit leads back to it.";
