//! Ctrl-C, SIGTERM and SIGHUP set a flag. Every wait of this program looks at it, returns an error,
//! and the guards on the way out clean up; so no signal leaves a process or a namespace behind.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static CAUGHT: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// Installs the handlers. Called once, before anything is started.
pub(crate) fn install() -> Result<()> {
    let flag = CAUGHT.get_or_init(Arc::default);
    for (signal, value) in [(SIGHUP, 1), (SIGINT, 2), (SIGTERM, 15)] {
        signal_hook::flag::register_usize(signal, Arc::clone(flag), value)
            .with_context(|| format!("installing the handler of signal {signal}"))?;
    }
    Ok(())
}

/// The number of the signal that asked us to end, if any.
pub(crate) fn caught() -> Option<usize> {
    let number = CAUGHT.get()?.load(Ordering::Relaxed);
    (number != 0).then_some(number)
}

/// Fails once a signal has asked us to end.
pub(crate) fn check() -> Result<()> {
    match caught() {
        None => Ok(()),
        Some(signal) => Err(Interrupted { signal }.into()),
    }
}

/// A signal asked us to end: what was waited for neither failed nor succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interrupted {
    pub(crate) signal: usize,
}

impl std::error::Error for Interrupted {}

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.signal {
            2 => write!(f, "interrupted; cleaned up"),
            number => write!(f, "ended by signal {number}; cleaned up"),
        }
    }
}

/// Asks `condition` again and again until it answers; fails when `limit` is over or on a signal.
///
/// `what` completes the sentence "waited 30 s for …".
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begin = Instant::now();
    loop {
        check()?;
        if let Some(answer) = condition()? {
            return Ok(answer);
        }
        if begin.elapsed() > limit {
            bail!("waited {} s for {what}", limit.as_secs());
        }
        thread::sleep(POLL);
    }
}

/// How often a condition is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(50);
