//! Clock, disks, memory.

use crate::cause::Cause;
use crate::evidence::{DiskLook, Evidence, Memory, ReadTest};

pub(super) fn look(evidence: &Evidence) -> Vec<Cause> {
    let mut found = Vec::new();
    if let Ok(clock) = &evidence.clock
        && clock.ahead.unsigned_abs() > CLOCK_LIMIT
    {
        found.push(Cause::ClockOff { ahead: clock.ahead });
    }
    if let Ok(disks) = &evidence.disks {
        if disks.is_empty() {
            found.push(Cause::NoDisk);
        }
        found.extend(disks.iter().filter_map(disk));
    }
    if let Ok(boot) = &evidence.boot {
        found.extend(Cause::of_boot(boot));
    }
    if let Ok(memory) = &evidence.memory {
        found.extend(little(memory));
        let errors = memory.errors.filter(|errors| *errors > 0);
        found.extend(errors.map(|errors| Cause::MemoryErrors { errors }));
    }
    found
}

/// The gravest trouble of a disk.
fn disk(disk: &DiskLook) -> Option<Cause> {
    let name = disk.name.clone();
    if !disk.is_live {
        return Some(Cause::DiskGone { name });
    }
    let test = match &disk.read {
        Ok(test) => *test,
        Err(error) => {
            let error = error.clone();
            return Some(Cause::DiskUnreadable { name, error });
        }
    };
    if let Ok(health) = disk.health
        && health.is_bad()
    {
        return Some(Cause::DiskFailing { name, health });
    }
    if let Some((failed, all)) = disk.commands
        && failed >= MANY_FAILED
        && failed.saturating_mul(PER_FAILED) > all
    {
        return Some(Cause::DiskErrors { name, failed, all });
    }
    let rate = rate(test)?;
    (rate < SLOW).then_some(Cause::SlowDisk {
        name,
        rate,
        bytes: test.bytes,
    })
}

/// Bytes per second; `None` where too little was read to say.
#[expect(
    clippy::cast_precision_loss,
    reason = "to be compared with a round number"
)]
pub(crate) fn rate(test: ReadTest) -> Option<f64> {
    let is_enough = test.bytes >= ENOUGH && !test.time.is_zero();
    is_enough.then(|| test.bytes as f64 / test.time.as_secs_f64())
}

fn little(memory: &Memory) -> Option<Cause> {
    let is_little = memory.total < TOTAL || memory.available < AVAILABLE;
    is_little.then_some(Cause::LittleMemory {
        total: memory.total,
        available: memory.available,
    })
}

/// Seconds. Windows leaves local time in the machine's clock, up to 14 h from UTC, and nothing here depends on
/// less.
const CLOCK_LIMIT: u64 = 15 * 3600;
/// Disks refuse a few commands of every start that they do not know.
const MANY_FAILED: u64 = 50;
/// One in so many commands.
const PER_FAILED: u64 = 100;
const ENOUGH: u64 = 1 << 20;
/// Bytes per second; the slowest disks that are sound have twice as much at their inner end.
const SLOW: f64 = 10e6;
/// Of 512 MB, FOG's minimum, the kernel keeps some.
const TOTAL: u64 = 400_000_000;
const AVAILABLE: u64 = 100_000_000;
