//! The ways out of PID 1.

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{SigSet, Signal};

use super::button;

/// How the machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    Reboot,
    Off,
    Halt,
}

impl Power {
    /// What busybox' `reboot`, `poweroff` and `halt` ask PID 1 for (busybox `init/halt.c`).
    fn asked_by(signal: Signal) -> Option<Self> {
        match signal {
            Signal::SIGTERM => Some(Self::Reboot),
            Signal::SIGUSR2 => Some(Self::Off),
            Signal::SIGUSR1 => Some(Self::Halt),
            _ => None,
        }
    }
}

/// From now on the signals of `reboot` and its like are obeyed, whatever PID 1 is doing. Called
/// before there is any thread: a signal without a handler is dropped by the kernel if it is PID 1's,
/// unless all its threads block it. Children start with an empty mask (`std::process` sees to that).
pub(super) fn obey_signals() -> Result<(), String> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2] {
        signals.add(signal);
    }
    let fail = |error: String| format!("reboot and poweroff do nothing here: {error}");
    signals
        .thread_block()
        .map_err(|errno| fail(errno.desc().to_owned()))?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            loop {
                let asked = signals.wait().ok().and_then(Power::asked_by);
                if let Some(power) = asked {
                    go(power);
                }
            }
        })
        .map(drop)
        .map_err(|error| fail(error.to_string()))
}

/// From now on a press of the power button switches the machine off. A second press, held, is the
/// firmware's own and needs nothing of this.
pub(super) fn obey_button() -> Result<(), String> {
    let fail = |error: io::Error| format!("the power button does nothing here: {error}");
    std::thread::Builder::new()
        .name("power button".into())
        .spawn(|| {
            if button::wait_for_press(&button::Places::default()).is_ok() {
                go(Power::Off);
            }
        })
        .map(drop)
        .map_err(fail)
}

/// Writes back everything and reboots, switches off or halts. Never returns.
pub(super) fn go(power: Power) -> ! {
    sync();
    let mode = match power {
        Power::Reboot => RebootMode::RB_AUTOBOOT,
        Power::Off => RebootMode::RB_POWER_OFF,
        Power::Halt => RebootMode::RB_HALT_SYSTEM,
    };
    match reboot(mode) {
        Ok(never) => match never {},
        // Only without CAP_SYS_BOOT (a container, say); PID 1 must not return in any case.
        Err(_) => loop {
            std::thread::park();
        },
    }
}

/// Writes back everything, but a disk that hangs does not hang the machine.
fn sync() {
    let (say, done) = mpsc::channel::<()>();
    let thread = std::thread::Builder::new()
        .name("sync".into())
        .spawn(move || {
            nix::unistd::sync();
            drop(say);
        });
    if thread.is_ok() {
        // Both ends of the wait are the same to us.
        done.recv_timeout(SYNC_PATIENCE).unwrap_or_default();
    }
}

/// As long as a disk gets to end its writes after a failure.
const SYNC_PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busybox_signals_are_understood() {
        assert_eq!(Power::asked_by(Signal::SIGTERM), Some(Power::Reboot));
        assert_eq!(Power::asked_by(Signal::SIGUSR2), Some(Power::Off));
        assert_eq!(Power::asked_by(Signal::SIGUSR1), Some(Power::Halt));
        assert_eq!(Power::asked_by(Signal::SIGHUP), None);
    }
}
