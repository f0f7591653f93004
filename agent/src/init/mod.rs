//! PID 1: prepares the system, runs the worker, and outlives whatever happens to it.
//!
//! Returning from here would panic the kernel, so nothing does: every path ends in a reboot or a
//! power-off. The worker is never restarted blindly; a failure is reported to the server (so that it
//! does not hand out the same task again) and shown. A machine whose failure the server has not stored
//! stays as it is until somebody presses Enter: a restart would bring the same failure again.

mod button;
mod children;
mod modules;
mod mounts;
mod power;

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::exit::{Ending, FailureNote, Verdict};
use crate::panics;
use crate::screen::{Board, Console, Keys, Outcome, Screen};
use children::Children;
use fog::KernelArgs;
use power::Power;

/// Runs the machine until it reboots or is switched off.
pub(crate) fn main() -> ! {
    panics::before_end(|_| {
        // To read the text, which was printed.
        pause(Duration::from_secs(30));
        power::go(Power::Reboot)
    });
    power::go(live())
}

fn live() -> Power {
    let mut problems: Vec<String> = power::obey_signals().err().into_iter().collect();
    problems.extend(mounts::mount_early());
    let board = Board::default();
    let Ok(screen) = Screen::start(&board, Console::stdout()) else {
        return Power::Reboot;
    };
    for problem in problems {
        board.warn(problem);
    }
    board.activity("modules", "loading drivers");
    {
        let _phase = board.phase("modules");
        let loaded = modules::load_listed(Path::new(MODULE_LIST));
        for problem in loaded.problems {
            board.say(problem);
        }
        if loaded.count > 0 {
            board.say(format!("{} kernel modules loaded", loaded.count));
        }
    }
    mounts::mount_firmware();
    if let Err(problem) = power::obey_button() {
        board.warn(problem);
    }
    let args = KernelArgs::parse(&std::fs::read_to_string("/proc/cmdline").unwrap_or_default());
    // From here on the console belongs to the worker.
    drop(screen);

    let mut children = Children::default();
    if args.is_debug() {
        debug(&mut children, &args);
        return Power::Reboot;
    }
    let verdict = children.run(&mut own(&["run"]));
    match verdict {
        Verdict::Said(Ending::PowerOff) => Power::Off,
        Verdict::Said(Ending::DoneUnreported) if args.is_shutdown() => Power::Off,
        // The worker has shown whatever there was to see for as long as it had to.
        Verdict::Said(
            Ending::Reboot
            | Ending::DoneUnreported
            | Ending::FailedReported
            | Ending::FailedUnreported,
        ) => Power::Reboot,
        Verdict::Said(Ending::Restart) => {
            let text = FailureNote::of_boot().read();
            restart(&text.unwrap_or_else(|| NO_REASON.into()))
        }
        Verdict::Died(how) => {
            let text = match FailureNote::of_boot().read() {
                Some(reason) => format!("{how}: {reason}"),
                None => how,
            };
            report_and_fail(&mut children, &args, &text)
        }
    }
}

/// After a worker that died without a word.
fn report_and_fail(children: &mut Children, args: &KernelArgs, text: &str) -> Power {
    match children.run(&mut own(&["report-failure", "--stay", "--text", text])) {
        Verdict::Said(Ending::FailedReported | Ending::FailedUnreported) => Power::Reboot,
        _ => fail(args, text),
    }
}

/// Shows a failure that cannot be reported, until somebody presses Enter.
fn fail(args: &KernelArgs, text: &str) -> Power {
    let board = Board::default();
    let screen = Screen::start(&board, Console::stdout()).ok();
    board.update(|state| state.result = Some(Outcome::Failed(text.to_owned())));
    board.say_of_state(format!("FAILED: {text}"));
    board.warn(
        "the server does not know of it: if the task is still active, this machine will start it \
         again after a restart",
    );
    board.activity("failed", "press Enter to restart this machine");
    Keys::offer_shell(&board, args);
    Keys::of_console().wait_for_enter();
    board.wait_until_shown();
    drop(screen);
    Power::Reboot
}

/// The job has changed since this machine booted. A restart is its ordinary way to the present one, and
/// one that fetches the same job again comes back here no faster than it can boot.
fn restart(text: &str) -> Power {
    let board = Board::default();
    let screen = Screen::start(&board, Console::stdout()).ok();
    board.update(|state| state.result = Some(Outcome::Failed(text.to_owned())));
    board.count_down("this machine restarts", Instant::now() + RESTART_PAUSE, "");
    pause(RESTART_PAUSE);
    drop(screen);
    Power::Reboot
}

/// Those of the kernel arguments that say what the task is, one a line.
fn job(args: &KernelArgs) -> String {
    let lines = JOB_ARGUMENTS.iter().filter_map(|name| {
        let value = fog::encoding::printable(args.value(name)?, 60);
        (!value.is_empty()).then(|| format!("  {name}={value}\n"))
    });
    lines.collect()
}

/// Network up, then a shell in place of the automatic run.
fn debug(children: &mut Children, args: &KernelArgs) {
    let network = children.run(&mut own(&["run", "--network-only"]));
    let shell = Command::new("/bin/busybox");
    let network = match network {
        Verdict::Said(Ending::Reboot) => "The network is up.".to_owned(),
        _ => format!(
            "The network is NOT up: {}",
            FailureNote::of_boot().read().unwrap_or_default()
        ),
    };
    FailureNote::of_boot().clear();
    say_directly(&format!(
        "\nDebug mode. {network}\n{}\
         \x20 fos-agent run --step  runs the task of this machine, and waits for Enter before each step\n\
         \x20 fos-agent run         runs it at once\n\
         \x20 fos-agent --help      lists everything else; busybox --list the shell's commands\n\
         udp-receiver, udp-sender, partclone.restore, partclone.info, partclone.chkimg and partimage are\n\
         there under these names. Leave the shell (exit) to reboot; reboot, poweroff and halt work too.\n",
        job(args)
    ));
    let mut shell = shell;
    shell.args(["setsid", "-c", "/bin/busybox", "sh"]);
    children.run(&mut shell);
}

/// This program again, with other arguments.
fn own(args: &[&str]) -> Command {
    // Not current_exe(): it needs /proc, which may be the very thing that failed.
    let mut command = Command::new("/init");
    command.arg0("fos-agent").args(args).envs(ENVIRONMENT);
    command
}

#[expect(
    clippy::print_stdout,
    reason = "the shell that follows owns the console"
)]
fn say_directly(text: &str) {
    println!("{text}");
}

fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// What FOG's own debug mode shows.
const JOB_ARGUMENTS: [&str; 12] = [
    "hostname",
    "web",
    "storage",
    "type",
    "mc",
    "port",
    "img",
    "imgType",
    "imgFormat",
    "imgPartitionType",
    "osid",
    "fdrive",
];
const MODULE_LIST: &str = "/lib/modules/list";
const NO_REASON: &str = "the imaging program failed without giving a reason";
/// To read why.
const RESTART_PAUSE: Duration = Duration::from_secs(10);
const ENVIRONMENT: [(&str, &str); 3] = [
    ("PATH", "/bin:/sbin:/usr/bin:/usr/sbin"),
    ("HOME", "/"),
    ("TERM", "linux"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_is_shown_and_nothing_else() {
        let line =
            "quiet web=http://10.0.0.5/fog/ hostname=LAB-01 fosticket=0123 img=win\x1b[2J fdrive=";
        let shown = job(&KernelArgs::parse(line));
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines[..2],
            ["  hostname=LAB-01", "  web=http://10.0.0.5/fog/"]
        );
        assert!(
            lines.len() == 3 && lines[2].starts_with("  img=win"),
            "{shown:?}"
        );
        assert!(!shown.contains('\x1b'), "{shown:?}");
    }
}
