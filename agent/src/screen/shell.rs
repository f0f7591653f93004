//! A shell in place of the screen, while the job goes on.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::Command;

use fog::KernelArgs;
use fog::encoding::printable;
use nix::sys::termios::{InputFlags, LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use super::Board;

/// Opens shells on the console of a booted machine.
#[derive(Clone)]
pub(super) struct Shell {
    board: Board,
}

impl Shell {
    /// `None` where it is not wanted, and where the console belongs to others: then its shell is there already.
    pub(super) fn of_boot(board: &Board, args: &KernelArgs) -> Option<Self> {
        let is_wanted = is_wanted(args, Path::new(BUILT_IN).exists()).unwrap_or_else(|problem| {
            board.warn(problem);
            false
        });
        if !is_wanted {
            return None;
        }
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

/// Whether whoever stands before the machine may have a shell, which is root's: the kernel arguments say so, else the
/// initramfs, and else only in debug mode.
///
/// # Errors
/// The argument is neither yes nor no: then there is none.
fn is_wanted(args: &KernelArgs, is_built_in: bool) -> Result<bool, String> {
    match args.value(ARGUMENT) {
        None => Ok(is_built_in || args.is_debug()),
        Some("yes") => Ok(true),
        Some("no") => Ok(false),
        Some(other) => Err(format!(
            "the kernel argument {ARGUMENT}={} is neither yes nor no: there is no shell on this console",
            printable(other, 20)
        )),
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

const ARGUMENT: &str = "fosshell";
/// In an initramfs that was made with a shell for everybody.
const BUILT_IN: &str = "/etc/fos-agent/shell";
const BUSYBOX: &str = "/bin/busybox";
/// Clears a terminal; on a serial line it is a few strange characters at worst.
const WELCOME: &str = "\x1b[0m\x1b[2J\x1b[H\n\
    A shell. The job goes on meanwhile; exit leads back to it.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_for_those_who_were_given_one() {
        let of = |line: &str, is_built_in| is_wanted(&KernelArgs::parse(line), is_built_in);
        for (line, plain, built_in) in [
            ("type=down", false, true),
            ("type=down fosshell=", false, true),
            ("type=down fosshell=no", false, false),
            ("type=down fosshell=yes", true, true),
            ("type=down isdebug=yes", true, true),
            ("type=down isdebug=yes fosshell=no", false, false),
            // The last one counts, as for all arguments.
            ("fosshell=yes fosshell=no", false, false),
        ] {
            assert_eq!(of(line, false), Ok(plain), "{line}");
            assert_eq!(of(line, true), Ok(built_in), "{line}");
        }
        let problem = of("fosshell=1", true).unwrap_err();
        assert!(problem.contains("fosshell=1"), "{problem}");
    }
}
