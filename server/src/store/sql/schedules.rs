//! `fos_schedules`.

use super::row::{Row, args, unless_broken};
use super::tx::Tx;
use crate::domain::schedule::{Cron, Outcome, Planned, Schedule, When};
use crate::domain::{ScheduleId, Timestamp};
use crate::store::{AddScheduleError, MAX_SCHEDULES, Result, StoreError};

/// Adds a deploy that begins later.
pub(super) async fn add(
    tx: &mut Tx,
    at: Timestamp,
    when: When,
    planned: Planned,
) -> std::result::Result<ScheduleId, AddScheduleError> {
    let count = tx.number("SELECT COUNT(*) FROM fos_schedules", Vec::new());
    if count.await?.unwrap_or(0) >= i64::from(MAX_SCHEDULES) {
        return Err(AddScheduleError::TooMany);
    }
    let (once, cron, zone) = match &when {
        When::Once(at) => (at.to_string(), "", ""),
        When::Cron(cron) => (String::new(), cron.fields(), cron.zone()),
    };
    let sql = "INSERT INTO fos_schedules (onceAt, cron, zone, planned, createdAt, doneUntil) \
        VALUES (?, ?, ?, ?, ?, ?)";
    let values = args![once, cron, zone, json(&planned)?, at, at];
    tx.run(sql, values).await?;
    let id = tx.number("SELECT MAX(id) FROM fos_schedules", Vec::new());
    Ok(ScheduleId(id.await?.unwrap_or(0)))
}

fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| StoreError::Internal(error.to_string()))
}

/// All of them, the oldest first.
pub(super) async fn all(tx: &mut Tx) -> Result<Vec<Schedule>> {
    let sql = "SELECT id, onceAt, cron, zone, planned, createdAt, doneUntil, outcome \
        FROM fos_schedules ORDER BY id";
    let rows = tx.rows(sql, Vec::new()).await?;
    let schedules = rows.iter().map(|row| unless_broken(schedule(row)));
    schedules.filter_map(Result::transpose).collect()
}

fn schedule(row: &Row) -> Result<Schedule> {
    let cells = row.of("fos_schedules", &["id"]);
    let when = match cells.optional_time("onceAt")? {
        Some(at) => When::Once(at),
        None => {
            let zone = cells.text("zone")?;
            let cron = cells.parsed("cron", "five fields of cron, and a time zone", |fields| {
                Cron::new(fields, &zone).ok()
            })?;
            When::Cron(Box::new(cron))
        }
    };
    let outcome = cells.optional("outcome", "JSON, or nothing", |text| {
        serde_json::from_str::<Outcome>(text).ok()
    })?;
    Ok(Schedule {
        id: ScheduleId(cells.int("id")?),
        when,
        planned: cells.parsed("planned", "JSON", |text| serde_json::from_str(text).ok())?,
        created_at: cells.time("createdAt")?,
        done_until: cells.time("doneUntil")?,
        outcome,
    })
}

/// Removes one; `false` if there is none.
pub(super) async fn remove(tx: &mut Tx, id: ScheduleId) -> Result<bool> {
    let sql = "DELETE FROM fos_schedules WHERE id = ?";
    Ok(tx.run(sql, args![id.0]).await? > 0)
}

/// Its starts up to a time are dealt with, unless somebody else does so.
pub(super) async fn claim(
    tx: &mut Tx,
    id: ScheduleId,
    seen: Timestamp,
    until: Timestamp,
    outcome: Outcome,
) -> Result<bool> {
    let sql = "UPDATE fos_schedules SET doneUntil = ?, outcome = ? WHERE id = ? AND doneUntil = ?";
    let values = args![until, json(&outcome)?, id.0, seen];
    Ok(tx.run(sql, values).await? > 0)
}

/// Stores what became of its last start.
pub(super) async fn end(tx: &mut Tx, id: ScheduleId, outcome: Outcome) -> Result<()> {
    let sql = "UPDATE fos_schedules SET outcome = ? WHERE id = ?";
    let values = args![json(&outcome)?, id.0];
    tx.run(sql, values).await.map(drop)
}
