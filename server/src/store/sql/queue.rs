//! `fos_queue`: the turn of the queue of machines that are deployed alone, where several servers have it. MariaDB alone
//! has the table: another database has one server.

use std::collections::BTreeMap;

use super::row::{ACTIVE, Arg, args};
use super::tx::Tx;
use super::unicast;
use crate::domain::queue::Turn;
use crate::domain::unicast::UnicastFact;
use crate::domain::{TaskId, Timestamp};
use crate::store::{Decided, QueueApplied, QueueLook, QueueSigns, Result, UnicastQuery};

/// The active tasks, with the turn that they are of.
pub(super) async fn look(tx: &mut Tx) -> Result<QueueLook> {
    // First: what is stored meanwhile belongs to a later one.
    let turn = turn(tx).await?;
    let tasks = unicast::find(tx, UnicastQuery::Active).await?;
    Ok(QueueLook { turn, tasks })
}

/// Stores what becomes of tasks, if nothing was stored since it was decided.
pub(super) async fn apply(
    tx: &mut Tx,
    at: Timestamp,
    decided: Decided,
    holder: Option<String>,
    facts: Vec<(TaskId, UnicastFact)>,
) -> Result<QueueApplied> {
    let before = turn(tx).await?;
    if let Decided::In(seen) = decided
        && (seen != before || is_under_way(before))
    {
        // Nobody else stores anything now: who did it last was cut off.
        end(tx).await?;
        return Ok(QueueApplied::Behind);
    }
    let tasks: Vec<TaskId> = facts
        .iter()
        .filter(|(_, fact)| has_machine(fact))
        .map(|(task, _)| *task)
        .collect();
    let conflicts = unicast::apply(tx, at, facts).await?;
    if let Some(holder) = holder {
        hear(tx, holder, tasks).await?;
    }
    let after = turn(tx).await?;
    Ok(QueueApplied::Stored {
        conflicts,
        before,
        after,
    })
}

/// Something of the queue is about to change.
pub(super) async fn begin(tx: &mut Tx) -> Result<()> {
    if tx.mariadb().is_some() {
        let sql = "INSERT INTO fos_queue (one, turn) VALUES (1, 1) \
            ON DUPLICATE KEY UPDATE turn = turn + 1 + MOD(turn, 2)";
        tx.run(sql, Vec::new()).await?;
        tx.checkpoint().await?;
    }
    Ok(())
}

/// All of it is changed.
pub(super) async fn end(tx: &mut Tx) -> Result<()> {
    if tx.mariadb().is_some() {
        let sql = "UPDATE fos_queue SET turn = turn + MOD(turn, 2)";
        tx.run(sql, Vec::new()).await?;
    }
    Ok(())
}

/// The server with this number hears the machines of these tasks from now on.
pub(super) async fn hear(tx: &mut Tx, holder: String, tasks: Vec<TaskId>) -> Result<()> {
    for some in tasks.chunks(AT_A_TIME) {
        let marks = vec!["?"; some.len()].join(", ");
        let sql = format!("UPDATE fos_tasks SET holder = ? WHERE taskID IN ({marks})");
        let mut values: Vec<Arg> = args![holder.as_str()];
        values.extend(some.iter().map(|task| Arg::from(*task)));
        tx.run(&sql, values).await?;
    }
    Ok(())
}

/// What servers see of each other, and whose machines they hear.
pub(super) async fn signs(tx: &mut Tx, own: String) -> Result<QueueSigns> {
    let mut signs = QueueSigns {
        turn: turn(tx).await?,
        own,
        shown: BTreeMap::new(),
        hearers: BTreeMap::new(),
    };
    let sql = "SELECT number, holder, seenAt FROM fos_nodes";
    for row in tx.rows(sql, Vec::new()).await? {
        let cells = row.of("fos_nodes", &["number"]);
        let shown = (cells.text("holder")?, cells.int("seenAt")?);
        signs.shown.insert(shown.0, shown.1);
    }
    let sql = format!(
        "SELECT fos_tasks.taskID AS taskID, holder FROM fos_tasks JOIN tasks ON tasks.taskID = fos_tasks.taskID \
         WHERE holder <> '' AND taskStateID IN {ACTIVE} AND (fogStart IS NULL OR fogStart = taskCreateTime)"
    );
    for row in tx.rows(&sql, Vec::new()).await? {
        let cells = row.of("fos_tasks", &["taskID"]);
        let task = TaskId(cells.int("taskID")?);
        signs.hearers.insert(task, cells.text("holder")?);
    }
    Ok(signs)
}

async fn turn(tx: &mut Tx) -> Result<Turn> {
    if tx.mariadb().is_none() {
        return Ok(Turn(0));
    }
    let sql = "SELECT turn FROM fos_queue WHERE one = 1";
    Ok(Turn(tx.number(sql, Vec::new()).await?.unwrap_or(0)))
}

fn is_under_way(turn: Turn) -> bool {
    turn.0 % 2 != 0
}

fn has_machine(fact: &UnicastFact) -> bool {
    match fact {
        UnicastFact::Entered { .. } | UnicastFact::Went { .. } | UnicastFact::Resumed => true,
        UnicastFact::Left | UnicastFact::Ended { .. } => false,
    }
}

/// Tasks in one statement.
const AT_A_TIME: usize = 200;
