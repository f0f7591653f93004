//! Sets of chunks as runs: what LACK lists, and what PLAN shows (5.4).

use super::{ParseError, Reader, write_leb128};

/// Chunks `first..first + count` by their numbers on the wire; `count` is not 0, and the end at most 2^32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub first: u32,
    /// How many.
    pub count: u32,
}

impl Run {
    /// The number after the last.
    #[must_use]
    pub fn end(self) -> u64 {
        u64::from(self.first) + u64::from(self.count)
    }
}

/// Runs in ascending order that do not overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs(Vec<Run>);

impl Runs {
    /// Of numbers in ascending order.
    #[must_use]
    pub fn of(numbers: impl IntoIterator<Item = u32>) -> Self {
        let mut runs: Vec<Run> = Vec::new();
        for number in numbers {
            match runs.last_mut() {
                Some(run) if run.end() == u64::from(number) => {
                    run.count = run.count.saturating_add(1);
                }
                Some(run) if run.end() > u64::from(number) => {}
                _ => runs.push(Run {
                    first: number,
                    count: 1,
                }),
            }
        }
        Self(runs)
    }

    /// Them.
    #[must_use]
    pub fn as_slice(&self) -> &[Run] {
        &self.0
    }

    /// Whether there is no run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends as many as fit in `room` bytes, from the first on.
    pub(super) fn emit(&self, mut room: usize, bytes: &mut Vec<u8>) {
        let mut at = 0;
        let mut piece = Vec::new();
        for run in &self.0 {
            piece.clear();
            write_leb128(u64::from(run.first) - at, &mut piece);
            write_leb128(u64::from(run.count), &mut piece);
            let Some(left) = room.checked_sub(piece.len()) else {
                break;
            };
            room = left;
            bytes.extend_from_slice(&piece);
            at = run.end();
        }
    }

    pub(super) fn parse(value: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(value, "runs of LACK");
        let mut runs = Vec::new();
        let mut at = 0;
        while !reader.is_empty() {
            let run = run_after(at, &mut reader)?;
            at = run.end();
            runs.push(run);
        }
        Ok(Self(runs))
    }
}

/// Reads skip and length of the run that follows number `at`.
fn run_after(at: u64, reader: &mut Reader<'_>) -> Result<Run, ParseError> {
    let bounds = ParseError::Bounds { what: "a run" };
    let first = at.checked_add(reader.leb128()?).ok_or(bounds)?;
    let count = reader.leb128()?;
    let end = first.checked_add(count).ok_or(bounds)?;
    if count == 0 || end > 1 << 32 {
        return Err(bounds);
    }
    Ok(Run {
        first: u32::try_from(first).map_err(|_| bounds)?,
        count: u32::try_from(count).map_err(|_| bounds)?,
    })
}

/// How soon a planned chunk comes: `⌈8·log2(κ in kB/s)⌉`, 255 for chunks that everybody lacks (5.4, 8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(pub u8);

impl Priority {
    /// Of chunks that everybody, or somebody whose disk is not the limit, lacks.
    pub const HIGHEST: Self = Self(255);

    /// Of κ in kB of frame bytes per second; `None`: not limited.
    #[must_use]
    pub fn of(kappa: Option<u32>) -> Self {
        let Some(kappa) = kappa else {
            return Self::HIGHEST;
        };
        // The least n with 2^(n/8) ≥ κ. 32 bits have logarithms below 256, which is kept for "not limited".
        let exponent = (f64::from(kappa.max(1)).log2() * 8.0).ceil();
        let steps = (0..255_u8).rev().find(|n| f64::from(*n) <= exponent);
        Self(steps.unwrap_or(0).min(254))
    }
}

/// Planned chunks with one priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanRun {
    /// Which.
    pub run: Run,
    /// Of all of them.
    pub priority: Priority,
}

/// What of the sender's plan a beacon shows: chunks `from..from + count`, of which those in `runs` are planned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The first number that is shown.
    pub from: u32,
    /// So many are shown.
    pub count: u32,
    /// Those that are planned, ascending.
    pub runs: Vec<PlanRun>,
}

impl Plan {
    /// Of pairs of numbers and priorities in ascending order, as many from `from` on as fit in `room` bytes of
    /// a value. What lies between the last one and `end` is shown as not planned, if all fit.
    #[must_use]
    pub fn of(
        from: u32,
        end: u64,
        planned: impl IntoIterator<Item = (u32, Priority)>,
        room: usize,
    ) -> Self {
        let mut runs: Vec<PlanRun> = Vec::new();
        let mut used = 8;
        let mut piece = Vec::new();
        let mut shown = end.max(u64::from(from));
        for (number, priority) in planned {
            if let Some(last) = runs.last_mut()
                && last.priority == priority
                && last.run.end() == u64::from(number)
            {
                last.run.count += 1;
                continue;
            }
            let start = u64::from(from);
            let at = runs.last().map_or(start, |last| last.run.end());
            piece.clear();
            write_leb128(u64::from(number).saturating_sub(at), &mut piece);
            // Room for a run that grows to any length.
            used += piece.len() + 5 + 1;
            if used > room {
                shown = at;
                break;
            }
            runs.push(PlanRun {
                run: Run {
                    first: number,
                    count: 1,
                },
                priority,
            });
        }
        Self {
            from,
            count: u32::try_from(shown - u64::from(from)).unwrap_or(u32::MAX),
            runs,
        }
    }

    /// The number after the last that is shown.
    #[must_use]
    pub fn end(&self) -> u64 {
        u64::from(self.from) + u64::from(self.count)
    }

    pub(super) fn emit(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.from.to_le_bytes());
        bytes.extend(self.count.to_le_bytes());
        let mut at = u64::from(self.from);
        for PlanRun { run, priority } in &self.runs {
            write_leb128(u64::from(run.first) - at, bytes);
            write_leb128(u64::from(run.count), bytes);
            bytes.push(priority.0);
            at = run.end();
        }
    }

    pub(super) fn parse(value: &[u8]) -> Result<Self, ParseError> {
        let mut reader = Reader::new(value, "PLAN");
        let mut plan = Self {
            from: reader.u32()?,
            count: reader.u32()?,
            runs: Vec::new(),
        };
        let mut at = u64::from(plan.from);
        while !reader.is_empty() {
            let run = run_after(at, &mut reader)?;
            let priority = Priority(reader.u8()?);
            at = run.end();
            if at > plan.end() {
                return Err(ParseError::Bounds { what: "PLAN" });
            }
            plan.runs.push(PlanRun { run, priority });
        }
        Ok(plan)
    }
}
