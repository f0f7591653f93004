//! Tasks of machines that are deployed alone, or captured: `tasks`, and what is ours beside them.

use std::collections::BTreeMap;
use std::time::Duration;

use fog::status::ReceivedStatus;
use fog::task::State;

use super::apply::{parts, set_deployed};
use super::events::{self, TaskLog};
use super::images;
use super::queue;
use super::row::{ACTIVE, Arg, Row, args, unless_broken};
use super::sessions::{self, check_hosts, client_kind, client_number};
use super::settings;
use super::tx::Tx;
use crate::domain::queue::Rules;
use crate::domain::session::{Client, Note};
use crate::domain::unicast::{Machine, TaskKind, UnicastFact, UnicastTask};
use crate::domain::{HostId, ImageId, NodeId, TaskId, Timestamp};
use crate::store::{Change, CreateError, NewCapture, NewUnicast, Result, StoreError, UnicastQuery};

/// FOG's types: deploy, capture, both for debugging, deploy without snap-ins.
const TYPES: &str = "(1, 2, 15, 16, 17)";
const CAPTURES: &str = "(2, 16)";
const DEPLOY: i64 = 1;
const CAPTURE: i64 = 2;
const DEPLOY_DEBUG: i64 = 15;
const CAPTURE_DEBUG: i64 = 16;

/// Creates a task for each host, as FOG does.
pub(super) async fn create(
    tx: &mut Tx,
    at: Timestamp,
    new: NewUnicast,
) -> std::result::Result<Vec<TaskId>, CreateError> {
    let sql = "SELECT COUNT(*) FROM fos_images JOIN images ON images.imageID = fos_images.imageID \
        WHERE fos_images.imageID = ? AND checkedAt = ?";
    if tx.number(sql, args![new.image, new.checked_at]).await? != Some(1) {
        return Err(CreateError::NoImage(new.image));
    }
    add_tasks(tx, at, &new, TaskKind::Deploy).await
}

/// Creates the task of a capture, and its image where there is none.
pub(super) async fn create_capture(
    tx: &mut Tx,
    at: Timestamp,
    new: NewCapture,
) -> std::result::Result<TaskId, CreateError> {
    if tx.has_left_something()
        && let Some(task) = first_try(tx, at, &new).await?
    {
        adopt(tx, task).await?;
        tx.changed(Change::Tasks);
        return Ok(task);
    }
    // Before an image is made for nothing.
    check_hosts(tx, &[new.host]).await?;
    let image = images::for_capture(tx, at, &new.image).await?;
    if image.image_type != new.image.image.image_type || image.path != new.image.image.path {
        return Err(CreateError::NoImage(image.id));
    }
    let sql = format!(
        "SELECT MIN(taskID) FROM tasks WHERE taskImageID = ? AND taskStateID IN {ACTIVE} AND taskTypeID IN {CAPTURES}"
    );
    if let Some(task) = tx.number(&sql, args![image.id]).await? {
        return Err(CreateError::Captured {
            image: image.name,
            task: TaskId(task),
        });
    }
    let tasks = NewUnicast {
        name: image.name,
        image: image.id,
        checked_at: at,
        hosts: vec![new.host],
        is_shutdown: new.is_shutdown,
        is_debug: new.is_debug,
        is_forced: false,
    };
    let tasks = add_tasks(tx, at, &tasks, TaskKind::Capture).await?;
    let task = tasks.first().copied();
    Ok(task.ok_or_else(|| StoreError::Internal("a capture without a task".to_owned()))?)
}

/// The task that this very operation made before its connection broke.
async fn first_try(tx: &mut Tx, at: Timestamp, new: &NewCapture) -> Result<Option<TaskId>> {
    let sql = format!(
        "SELECT taskID, taskCreateTime, taskCreateBy FROM tasks JOIN images ON imageID = taskImageID \
         WHERE taskHostID = ? AND imageName = ? AND taskTypeID IN {CAPTURES} AND taskStateID IN {ACTIVE}"
    );
    let values = args![new.host, new.image.image.name.as_str()];
    for row in tx.rows(&sql, values).await? {
        let cells = row.of(TABLE, &["taskID"]);
        let is_ours = cells.optional_text("taskCreateBy")? == "fos-server"
            && unless_broken(cells.optional_time("taskCreateTime"))?.flatten() == Some(at);
        if is_ours {
            return Ok(Some(TaskId(cells.int("taskID")?)));
        }
    }
    Ok(None)
}

async fn add_tasks(
    tx: &mut Tx,
    at: Timestamp,
    new: &NewUnicast,
    what: TaskKind,
) -> std::result::Result<Vec<TaskId>, CreateError> {
    let hosts = check_hosts(tx, &new.hosts).await?;
    let (group, node) = settings::group_and_node(tx, new.image).await?;
    // What cannot be undone must do nothing until it is whole.
    let state = match tx.is_undone() {
        true => State::Queued,
        false => State::Cancelled,
    };
    let kind = match (what, new.is_debug) {
        (TaskKind::Deploy, false) => DEPLOY,
        (TaskKind::Deploy, true) => DEPLOY_DEBUG,
        (TaskKind::Capture, false) => CAPTURE,
        (TaskKind::Capture, true) => CAPTURE_DEBUG,
    };
    let mut tasks = Vec::with_capacity(hosts.len());
    queue::begin(tx).await?;
    for (host, host_name) in &hosts {
        let name = fog::encoding::printable(&format!("{} - {host_name}", new.name), 250);
        let row = vec![
            ("taskName", name.into()),
            ("taskCreateTime", at.into()),
            ("taskHostID", (*host).into()),
            ("taskImageID", new.image.into()),
            ("taskStateID", state.into()),
            ("taskTypeID", kind.into()),
            ("taskIsDebug", i64::from(new.is_debug).into()),
            ("taskCreateBy", "fos-server".into()),
            ("taskForce", if new.is_forced { "1" } else { "0" }.into()),
            ("taskNFSGroupID", group.into()),
            ("taskNFSMemberID", node.into()),
            (
                "taskShutdown",
                if new.is_shutdown { "1" } else { "0" }.into(),
            ),
        ];
        let task = TaskId(tx.add(TABLE, row).await?);
        if tx.numbers_come_again() {
            forget(tx, task).await?;
        }
        adopt(tx, task).await?;
        tasks.push(task);
    }
    if !tx.is_undone() {
        tx.checkpoint().await?;
        for task in &tasks {
            let columns = vec![("taskStateID", State::Queued.into())];
            tx.set(TABLE, columns, "taskID = ?", args![*task]).await?;
        }
    }
    queue::end(tx).await?;
    tx.changed(Change::Tasks);
    Ok(tasks)
}

/// The tasks that are asked for, by number.
pub(super) async fn find(tx: &mut Tx, query: UnicastQuery) -> Result<Vec<UnicastTask>> {
    let (condition, order, values): (String, &str, Vec<Arg>) = match query {
        UnicastQuery::Active => (
            format!("taskStateID IN {ACTIVE}"),
            "ORDER BY tasks.taskID",
            Vec::new(),
        ),
        UnicastQuery::Newest(limit) => (
            "1 = 1".to_owned(),
            "ORDER BY tasks.taskID DESC LIMIT ?",
            args![limit],
        ),
        UnicastQuery::One(task) => ("tasks.taskID = ?".to_owned(), "", args![task]),
        UnicastQuery::OfMachine {
            host,
            address,
            ticket,
        } => {
            let ticket = ticket.map(|ticket| ticket.to_string()).unwrap_or_default();
            (
                "taskHostID = ? AND ip = ? AND ticket = ?".to_owned(),
                "ORDER BY tasks.taskID DESC LIMIT 1",
                args![host, address.to_string(), ticket],
            )
        }
    };
    let fogs = tx.list(TABLE, &["taskForce", "taskNFSMemberID", "taskShutdown"]);
    let sql = format!(
        "SELECT tasks.taskID AS taskID, taskHostID, taskImageID, taskStateID, taskIsDebug, taskTypeID, \
         taskCreateTime, taskPCT, {fogs}, COALESCE(hosts.hostName, ours.hostName) AS hostName, imageName, \
         ours.taskID AS ownID, place, enteredAt, wentAt, endedAt, ip, ticket, client, agent, state, \
         reasonCode, reasonDetails FROM tasks LEFT JOIN fos_tasks AS ours ON ours.taskID = tasks.taskID \
         AND (fogStart IS NULL OR fogStart = taskCreateTime) LEFT JOIN hosts ON hosts.hostID = taskHostID \
         LEFT JOIN images ON images.imageID = taskImageID \
         WHERE taskTypeID IN {TYPES} AND {condition} {order}"
    );
    let knows_failed = tx.knows_failed();
    let rows = tx.rows(&sql, values).await?;
    // One row that makes no sense keeps no other machine waiting.
    let tasks = rows
        .iter()
        .map(|row| unless_broken(task(row, knows_failed)));
    tasks.filter_map(Result::transpose).collect()
}

fn task(row: &Row, knows_failed: bool) -> Result<UnicastTask> {
    let fogs = row.of(TABLE, &["taskID"]);
    let ours = row.of(OURS, &["taskID"]);
    let has_ours = !ours.optional_text("ownID")?.is_empty();
    let number = fogs.int("taskTypeID")?;
    let mut task = UnicastTask {
        id: TaskId(fogs.int("taskID")?),
        kind: match number {
            CAPTURE | CAPTURE_DEBUG => TaskKind::Capture,
            _ => TaskKind::Deploy,
        },
        host: HostId(fogs.int("taskHostID")?),
        host_name: fogs.optional_text("hostName")?,
        image: ImageId(fogs.int("taskImageID")?),
        image_name: fogs.optional_text("imageName")?,
        node: NodeId(fogs.reference("taskNFSMemberID")?.unwrap_or(FIRST_NODE)),
        state: fogs.state("taskStateID")?,
        // FOG writes a number or nothing.
        is_forced: !matches!(fogs.optional_text("taskForce")?.trim(), "" | "0"),
        is_shutdown: fogs.flag("taskShutdown")?,
        is_debug: fogs.int("taskIsDebug")? != 0 || [DEPLOY_DEBUG, CAPTURE_DEBUG].contains(&number),
        created_at: fogs.time("taskCreateTime")?,
        place: 0,
        entered_at: None,
        went_at: None,
        ended_at: None,
        reason: None,
        machine: None,
        percent: fogs
            .number("taskPCT", "a number from 0 to 255")
            .unwrap_or(0),
    };
    if !has_ours {
        return Ok(task);
    }
    task.state = sessions::task_state(task.state, &ours, knows_failed)?;
    task.place = ours.number("place", "a number from 0 on")?;
    task.entered_at = ours.optional_time("enteredAt")?;
    task.went_at = ours.optional_time("wentAt")?;
    task.ended_at = ours.optional_time("endedAt")?;
    task.reason = ours.reason()?;
    task.machine = match ours.optional_ipv4("ip")? {
        None => None,
        Some(address) => Some(Machine {
            address,
            ticket: ours.ticket("ticket")?,
            client: Client {
                kind: client_kind(&ours)?,
                name: ours.text("agent")?,
            },
        }),
    };
    Ok(task)
}

/// Stores what becomes of tasks; those of which a row does not allow it are answered, and nothing of them is stored.
pub(super) async fn apply(
    tx: &mut Tx,
    at: Timestamp,
    facts: Vec<(TaskId, UnicastFact)>,
) -> Result<Vec<TaskId>> {
    let ends_in = |fact: &UnicastFact| match fact {
        UnicastFact::Ended { state, .. } if state.is_active() => Err(StoreError::Internal(
            format!("{state} is no state to end in"),
        )),
        _ => Ok(()),
    };
    // A mistake of the caller's must not be found when half of it is stored.
    facts.iter().try_for_each(|(_, fact)| ends_in(fact))?;
    let mut conflicts = Vec::new();
    queue::begin(tx).await?;
    for (task, fact) in facts {
        if apply_one(tx, at, task, &fact).await? {
            tx.changed(Change::Tasks);
            // Where FOG's tables undo nothing, ours keep up with them.
            tx.checkpoint().await?;
        } else {
            conflicts.push(task);
        }
    }
    queue::end(tx).await?;
    Ok(conflicts)
}

/// Whether it is stored.
async fn apply_one(tx: &mut Tx, at: Timestamp, id: TaskId, fact: &UnicastFact) -> Result<bool> {
    let found = find(tx, UnicastQuery::One(id)).await?;
    let Some(task) = found.into_iter().next() else {
        return Ok(false);
    };
    let to = fact.state();
    if !fact.sources().contains(&task.state) {
        return Ok(false);
    }
    adopt(tx, id).await?;
    if to == State::Failed && !tx.knows_failed() {
        // What FOG's row cannot say has to be known before it says something else.
        tx.run(
            "UPDATE fos_tasks SET state = ? WHERE taskID = ?",
            args![to, id],
        )
        .await?;
        tx.checkpoint().await?;
    }
    let mut columns = vec![("taskStateID", tx.fogs_state(to).into())];
    match fact {
        UnicastFact::Entered { .. } => {
            columns.push(("taskCheckIn", at.into()));
            columns.push(("taskScheduledStartTime", at.into()));
        }
        UnicastFact::Went { .. } => columns.push(("taskCheckIn", at.into())),
        UnicastFact::Ended {
            state: State::Complete,
            ..
        } => {
            columns.push(("taskPCT", 100_i64.into()));
            columns.push(("taskPercentText", "100".into()));
        }
        _ => {}
    }
    let condition = format!("taskID = ? AND taskStateID = ? AND taskTypeID IN {TYPES}");
    let as_read = args![id, tx.fogs_state(task.state)];
    // Where FOG's tables undo nothing, what is cut off before this row says so is done again.
    let is_undone = tx.is_undone();
    if !is_undone {
        keep(tx, at, &task, fact).await?;
        tx.checkpoint().await?;
    }
    if tx.set(TABLE, columns, &condition, as_read).await? == 0 {
        return Ok(false);
    }
    if is_undone {
        keep(tx, at, &task, fact).await?;
    }
    let ip = match fact {
        UnicastFact::Entered { machine, .. } | UnicastFact::Went { machine } => {
            machine.address.to_string()
        }
        _ => {
            let machine = task.machine.as_ref();
            machine.map_or_else(String::new, |machine| machine.address.to_string())
        }
    };
    match fact {
        UnicastFact::Went { .. } => {
            let columns = vec![("hostIP", ip.as_str().into())];
            tx.set("hosts", columns, "hostID = ?", args![task.host])
                .await?;
            events::log_start(tx, at, task.host, &task.image_name, task.kind.word()).await?;
        }
        UnicastFact::Ended { state, reason } => {
            let note = Note::MemberEnded {
                state: *state,
                reason: reason.clone(),
            };
            events::add(tx, at, None, Some(task.host), &note).await?;
        }
        _ => {}
    }
    let reason = match fact {
        UnicastFact::Ended { reason, .. } => Some(reason),
        _ => None,
    };
    if task.state != to {
        let entry = TaskLog {
            task: id,
            state: to,
            ip: &ip,
            reason,
            host: task.host,
            host_name: &task.host_name,
            image_name: &task.image_name,
            type_name: match task.kind {
                TaskKind::Deploy => "Deploy",
                TaskKind::Capture => "Capture",
            },
        };
        events::log_task(tx, at, &entry).await?;
    }
    Ok(true)
}

/// What is ours of a fact, and what of it may be done twice.
async fn keep(tx: &mut Tx, at: Timestamp, task: &UnicastTask, fact: &UnicastFact) -> Result<()> {
    let (id, to) = (task.id, fact.state());
    match fact {
        UnicastFact::Entered { place, machine } => {
            let place = i64::try_from(*place).unwrap_or(i64::MAX);
            keep_machine(tx, id, machine).await?;
            // Who takes the place of another machine has waited as long as that one.
            let sql = "UPDATE fos_tasks SET enteredAt = CASE WHEN state = ? AND place = ? \
                THEN COALESCE(enteredAt, ?) ELSE ? END, wentAt = NULL, place = ?, state = ? WHERE taskID = ?";
            let values = args![State::CheckedIn, place, at, at, place, to, id];
            tx.run(sql, values).await?;
        }
        UnicastFact::Went { machine } => {
            keep_machine(tx, id, machine).await?;
            let sql = "UPDATE fos_tasks SET wentAt = CASE WHEN state = ? THEN COALESCE(wentAt, ?) ELSE ? END, \
                state = ? WHERE taskID = ?";
            tx.run(sql, args![State::InProgress, at, at, to, id])
                .await?;
        }
        UnicastFact::Left | UnicastFact::Resumed => {
            let sql = "UPDATE fos_tasks SET state = ? WHERE taskID = ?";
            tx.run(sql, args![to, id]).await?;
        }
        UnicastFact::Ended { state, reason } => {
            let (code, details) = parts(reason);
            let sql = "UPDATE fos_tasks SET state = ?, endedAt = ?, reasonCode = ?, reasonDetails = ? \
                WHERE taskID = ?";
            tx.run(sql, args![*state, at, code, details, id]).await?;
            match task.kind {
                TaskKind::Deploy if *state == State::Complete => {
                    set_deployed(tx, at, task.host, task.image).await?;
                }
                TaskKind::Capture if *state == State::Complete => {
                    events::log_finish(tx, at, task.host).await?;
                }
                TaskKind::Deploy | TaskKind::Capture => {}
            }
        }
    }
    Ok(())
}

async fn keep_machine(tx: &mut Tx, id: TaskId, machine: &Machine) -> Result<()> {
    let ticket = machine.ticket.map(|ticket| ticket.to_string());
    let sql = "UPDATE fos_tasks SET ip = ?, ticket = ?, client = ?, agent = ? WHERE taskID = ?";
    let values = args![
        machine.address.to_string(),
        ticket.unwrap_or_default(),
        client_number(machine.client.kind),
        fog::encoding::printable(&machine.client.name, 80),
        id
    ];
    tx.run(sql, values).await?;
    Ok(())
}

/// Stores what a client says of its progress.
pub(super) async fn store_progress(
    tx: &mut Tx,
    task: TaskId,
    status: ReceivedStatus,
) -> Result<()> {
    let condition = format!("taskID = ? AND taskStateID IN {ACTIVE} AND taskTypeID IN {TYPES}");
    let columns = sessions::progress_columns(status);
    tx.set(TABLE, columns, &condition, args![task]).await?;
    Ok(())
}

/// The slots of the nodes, and how long a silence may be.
pub(super) async fn rules(tx: &mut Tx) -> Result<Rules> {
    let seconds = settings::checkin_timeout(tx).await?;
    let mut rules = Rules {
        timeout: Duration::from_secs(seconds.into()).max(Rules::LEAST_TIMEOUT),
        slots: BTreeMap::new(),
    };
    let sql = "SELECT ngmID, ngmMaxClients FROM nfsGroupMembers ORDER BY ngmID";
    for row in tx.rows(sql, Vec::new()).await? {
        let cells = row.of("nfsGroupMembers", &["ngmID"]);
        let read = || Ok((cells.int("ngmID")?, cells.int("ngmMaxClients")?));
        if let Some((node, slots)) = unless_broken(read())? {
            // Less than none is none.
            let slots = u32::try_from(slots.max(0)).unwrap_or(u32::MAX);
            rules.slots.insert(NodeId(node), slots);
        }
    }
    Ok(rules)
}

/// A row of ours beside a task.
async fn adopt(tx: &mut Tx, task: TaskId) -> Result<()> {
    let mut start = "NULL";
    if tx.numbers_come_again() {
        start = "taskCreateTime";
        let sql = "SELECT COUNT(*) FROM fos_tasks JOIN tasks ON tasks.taskID = fos_tasks.taskID \
            WHERE tasks.taskID = ? AND fogStart <> taskCreateTime";
        if tx.number(sql, args![task]).await? != Some(0) {
            forget(tx, task).await?;
        }
    }
    let sql = format!(
        "INSERT INTO fos_tasks (taskID, hostName, state, fogStart) \
         SELECT tasks.taskID, COALESCE(hosts.hostName, ''), taskStateID, {start} FROM tasks \
         LEFT JOIN hosts ON hosts.hostID = taskHostID \
         WHERE tasks.taskID = ? AND tasks.taskID NOT IN (SELECT known.taskID FROM fos_tasks AS known)"
    );
    tx.run(&sql, args![task]).await?;
    Ok(())
}

async fn forget(tx: &mut Tx, task: TaskId) -> Result<()> {
    tx.run("DELETE FROM fos_tasks WHERE taskID = ?", args![task])
        .await?;
    Ok(())
}

/// The node of a server without FOG's groups.
const FIRST_NODE: i64 = 1;

const TABLE: &str = "tasks";
const OURS: &str = "fos_tasks";
