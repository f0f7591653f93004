//! The ways out of PID 1.

use nix::sys::reboot::{RebootMode, reboot};

/// How the machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    Reboot,
    Off,
}

/// Writes back everything and reboots or switches off. Never returns.
pub(super) fn go(power: Power) -> ! {
    nix::unistd::sync();
    let mode = match power {
        Power::Reboot => RebootMode::RB_AUTOBOOT,
        Power::Off => RebootMode::RB_POWER_OFF,
    };
    match reboot(mode) {
        Ok(never) => match never {},
        // Only without CAP_SYS_BOOT (a container, say); PID 1 must not return in any case.
        Err(_) => loop {
            std::thread::park();
        },
    }
}
