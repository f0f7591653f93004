//! `multicastSessions` with its associations, and what is ours beside them.

use std::net::Ipv4Addr;
use std::time::Duration;

use fog::status::ReceivedStatus;
use fog::task::{State, TASK_TYPE_MULTICAST};

use super::row::{ACTIVE, Arg, Cells, Row, args, unless_broken};
use super::tx::{Columns, Tx};
use super::{claims, events, follow_ups, hosts, settings};
use crate::domain::follow_up::FollowUp;
use crate::domain::handout::Ticket;
use crate::domain::session::{Client, ClientKind, Member, Note, Session};
use crate::domain::{HostId, ImageId, Reason, SessionId, TaskId, Timestamp};
use crate::store::node::Held;
use crate::store::{Change, CreateError, NewSession, Result};

/// Base ports of active sessions.
pub(super) async fn held_ports(tx: &mut Tx) -> Result<Vec<i64>> {
    let sql = format!(
        "SELECT msID, msBasePort FROM multicastSessions WHERE msState IN {ACTIVE} ORDER BY msID"
    );
    let rows = tx.rows(&sql, Vec::new()).await?;
    let ports = rows
        .iter()
        .map(|row| unless_broken(row.of(TABLE, &["msID"]).int("msBasePort")));
    ports.filter_map(Result::transpose).collect()
}

/// Creates a session as FOG does for a group: state 0, a queued task and an association per host.
pub(super) async fn create(
    tx: &mut Tx,
    at: Timestamp,
    new: NewSession,
) -> std::result::Result<SessionId, CreateError> {
    let sql = "SELECT imageID, imagePath, imageTypeID, imageName FROM images WHERE imageID = ?";
    let image = tx.row(sql, args![new.image]).await?;
    let image = image.ok_or(CreateError::NoImage(new.image))?;
    let sql = "SELECT COUNT(*) FROM fos_images WHERE imageID = ? AND checkedAt = ?";
    if tx.number(sql, args![new.image, new.checked_at]).await? != Some(1) {
        return Err(CreateError::NoImage(new.image));
    }
    let name = fog::encoding::printable(&new.name, 250);
    if let Some(former) = new.follows
        && let Some(id) = follow_ups::begin(tx, at, former).await?
    {
        return Ok(id);
    }
    if tx.has_left_something()
        && let Some(id) = first_try(tx, at, &new, &name).await?
    {
        begin_whole(tx, id).await?;
        tx.changed(Change::Session(id));
        return Ok(id);
    }
    let hosts = check_hosts(tx, &new.hosts).await?;
    check_room(tx, &new).await?;

    let image = image.of("images", &["imageID"]);
    let shutdown = if new.is_shutdown { "1" } else { "0" };
    let wait = u32::try_from(new.max_wait.as_secs()).unwrap_or(u32::MAX);
    let (group, node) = settings::group_and_node(tx, new.image).await?;
    // What cannot be undone must do nothing until it is whole.
    let of_session = match tx.is_undone() {
        true => State::New,
        false => State::Cancelled,
    };
    let row = vec![
        ("msName", name.as_str().into()),
        ("msBasePort", new.port.into()),
        ("msLogPath", image.text("imagePath")?.into()),
        ("msImage", new.image.to_string().into()),
        // As FOG marks a session whose hosts join it by its name.
        (
            "msClients",
            if new.expected > 0 { -2_i64 } else { 0 }.into(),
        ),
        ("msSessClients", i64::from(new.expected).into()),
        ("msStartDateTime", at.into()),
        ("msState", of_session.into()),
        ("msIsDD", image.int("imageTypeID")?.into()),
        ("msNFSGroupID", group.into()),
        ("msShutdown", shutdown.into()),
        ("msMaxwait", wait.into()),
    ];
    let id = SessionId(tx.add(TABLE, row).await?);
    if tx.numbers_come_again() {
        forget(tx, id).await?;
    }
    adopt(tx, id).await?;
    let sql = "UPDATE fos_sessions SET maxWait = ?, follows = ?, followUps = ?, shutdown = ?, debug = ? \
        WHERE msID = ?";
    let follows = new.follows.map_or(0, |former| former.0);
    let of_tasks = (new.is_shutdown, new.is_debug);
    let values = args![wait, follows, new.follow_ups, of_tasks.0, of_tasks.1, id];
    tx.run(sql, values).await?;
    let of = TaskOf {
        session: id,
        name: &name,
        image: new.image,
        group,
        node,
        is_shutdown: new.is_shutdown,
        is_debug: new.is_debug,
    };
    for (host, host_name) in &hosts {
        add_member(tx, at, &of, *host, host_name).await?;
    }
    let note = Note::Created {
        image: image.text("imageName")?,
        hosts: hosts.len(),
        port: new.port,
    };
    events::add(tx, at, Some(id), None, &note).await?;
    if !tx.is_undone() {
        begin_whole(tx, id).await?;
    }
    if let Some(former) = new.follows {
        follow_ups::end(tx, at, former, id).await?;
    }
    tx.changed(Change::Session(id));
    Ok(id)
}

/// What the tasks of a session have in common.
pub(super) struct TaskOf<'a> {
    pub(super) session: SessionId,
    pub(super) name: &'a str,
    pub(super) image: ImageId,
    pub(super) group: i64,
    pub(super) node: i64,
    pub(super) is_shutdown: bool,
    pub(super) is_debug: bool,
}

/// Puts a host into a session: a task, which is queued at once or born cancelled where nothing is undone, an
/// association, and a row of ours.
pub(super) async fn add_member(
    tx: &mut Tx,
    at: Timestamp,
    of: &TaskOf<'_>,
    host: HostId,
    host_name: &str,
) -> Result<TaskId> {
    let state = match tx.is_undone() {
        true => State::Queued,
        false => State::Cancelled,
    };
    let row = vec![
        ("taskName", of.name.into()),
        ("taskCreateTime", at.into()),
        ("taskHostID", host.into()),
        ("taskImageID", of.image.into()),
        ("taskStateID", state.into()),
        ("taskTypeID", TASK_TYPE_MULTICAST.into()),
        ("taskIsDebug", i64::from(of.is_debug).into()),
        ("taskCreateBy", "fos-server".into()),
        ("taskNFSGroupID", of.group.into()),
        ("taskNFSMemberID", of.node.into()),
        (
            "taskShutdown",
            if of.is_shutdown { "1" } else { "0" }.into(),
        ),
    ];
    let task = TaskId(tx.add("tasks", row).await?);
    let row = vec![("msID", of.session.into()), ("tID", task.into())];
    tx.add("multicastSessionsAssoc", row).await?;
    let sql = "INSERT INTO fos_sessionHosts (msID, hostID, taskID, hostName, state) \
        VALUES (?, ?, ?, ?, ?)";
    let values = args![of.session, host, task, host_name, State::Queued];
    tx.run(sql, values).await?;
    Ok(task)
}

/// Makes a task what it is to be, once all its rows are there.
pub(super) async fn begin_task(tx: &mut Tx, task: TaskId) -> Result<()> {
    let state = vec![("taskStateID", State::Queued.into())];
    let born = args![task, State::Cancelled];
    tx.set("tasks", state, "taskID = ? AND taskStateID = ?", born)
        .await?;
    Ok(())
}

/// The session that this very operation created before its connection broke, if all of its rows are there: ours
/// are stored with the last of them.
async fn first_try(
    tx: &mut Tx,
    at: Timestamp,
    new: &NewSession,
    name: &str,
) -> Result<Option<SessionId>> {
    let sql = "SELECT multicastSessions.msID AS msID, msStartDateTime FROM multicastSessions \
        JOIN fos_sessions ON fos_sessions.msID = multicastSessions.msID AND fogStart = msStartDateTime \
        WHERE msBasePort = ? AND TRIM(msImage) = ? AND name = ? AND reasonCode = '' \
        ORDER BY multicastSessions.msID DESC";
    let values = args![new.port, new.image.to_string(), name];
    for row in tx.rows(sql, values).await? {
        let cells = row.of(TABLE, &["msID"]);
        if unless_broken(cells.time("msStartDateTime"))? == Some(at) {
            return Ok(Some(SessionId(cells.int("msID")?)));
        }
    }
    Ok(None)
}

/// Makes a session and its tasks what they are to be, once all their rows are there. A session whose tasks
/// are still cancelled ends by itself; tasks without a session would keep their hosts.
pub(super) async fn begin_whole(tx: &mut Tx, id: SessionId) -> Result<()> {
    tx.checkpoint().await?;
    // In another state it was begun before.
    let born = State::Cancelled;
    let state = vec![("msState", State::New.into())];
    let condition = "msID = ? AND msState = ?";
    tx.set(TABLE, state, condition, args![id, born]).await?;
    let state = vec![("taskStateID", State::Queued.into())];
    let of_session = "taskStateID = ? AND taskID IN \
        (SELECT tID FROM multicastSessionsAssoc WHERE msID = ?)";
    tx.set("tasks", state, of_session, args![born, id]).await?;
    Ok(())
}

/// The hosts, each once, with their names: all are there and have nothing else to do.
pub(super) async fn check_hosts(
    tx: &mut Tx,
    wanted: &[HostId],
) -> std::result::Result<Vec<(HostId, String)>, CreateError> {
    let mut found: Vec<(HostId, String)> = Vec::with_capacity(wanted.len());
    for host in wanted {
        if found.iter().any(|(known, _)| known == host) {
            continue;
        }
        let sql = format!(
            "SELECT hostID, hostName FROM hosts WHERE hostID = ? AND {}",
            hosts::REGISTERED
        );
        let row = tx.row(&sql, args![*host]).await?;
        let row = row.ok_or(CreateError::NoHost(*host))?;
        let name = row.of("hosts", &["hostID"]).text("hostName")?;
        if let Some((task, session)) = hosts::active_task(tx, *host).await? {
            return Err(CreateError::HostBusy {
                host: name,
                task,
                session,
            });
        }
        found.push((*host, name));
    }
    Ok(found)
}

async fn check_room(tx: &mut Tx, new: &NewSession) -> std::result::Result<(), CreateError> {
    let sql = format!("SELECT COUNT(*) FROM multicastSessions WHERE msState IN {ACTIVE}");
    let active = tx.number(&sql, Vec::new()).await?.unwrap_or(0);
    let active = u32::try_from(active).unwrap_or(u32::MAX);
    if new.max_sessions != 0 && active >= new.max_sessions {
        return Err(CreateError::TooMany {
            active,
            limit: new.max_sessions,
        });
    }
    // A session uses its base port and the one behind it.
    let sql = format!(
        "SELECT COUNT(*) FROM multicastSessions WHERE msState IN {ACTIVE} \
         AND msBasePort BETWEEN ? AND ?"
    );
    let port = i64::from(new.port);
    match tx.number(&sql, args![port - 1, port + 1]).await? {
        Some(0) => Ok(()),
        _ => Err(CreateError::PortTaken(new.port)),
    }
}

/// Sessions in states 0 to 3. One that FOG's page is just making has no hosts yet: begun now, it would end for
/// want of them. Nor has one that nobody has joined.
pub(in crate::store) async fn active(tx: &mut Tx) -> Result<Vec<SessionId>> {
    let is_whole = match tx.is_fogs() {
        true => {
            "AND (msID IN (SELECT msID FROM multicastSessionsAssoc) \
             OR EXISTS (SELECT 1 FROM fos_sessions AS ours WHERE ours.msID = multicastSessions.msID \
             AND (ours.fogStart IS NULL OR ours.fogStart = multicastSessions.msStartDateTime)))"
        }
        false => "",
    };
    let sql = format!(
        "SELECT msID FROM multicastSessions WHERE msState IN {ACTIVE} {is_whole} ORDER BY msID"
    );
    ids(tx, &sql, Vec::new()).await
}

/// The newest sessions, newest first.
pub(super) async fn newest(tx: &mut Tx, limit: u32) -> Result<Vec<SessionId>> {
    let sql = "SELECT msID FROM multicastSessions ORDER BY msID DESC LIMIT ?";
    ids(tx, sql, args![limit]).await
}

async fn ids(tx: &mut Tx, sql: &str, values: Vec<Arg>) -> Result<Vec<SessionId>> {
    let rows = tx.rows(sql, values).await?;
    let id = |row: &Row| row.of(TABLE, &["msID"]).int("msID").map(SessionId);
    rows.iter().map(id).collect()
}

/// What is ours of a host belongs to a session that is there, not to a former one of its number.
pub(super) const OF_SESSION: &str = "JOIN fos_sessions ON fos_sessions.msID = fos_sessionHosts.msID \
    JOIN multicastSessions ON multicastSessions.msID = fos_sessionHosts.msID \
    AND (fogStart IS NULL OR fogStart = msStartDateTime)";

/// The newest session that a host was in.
pub(super) async fn last_of_host(tx: &mut Tx, host: HostId) -> Result<Option<Session>> {
    let sql = format!(
        "SELECT MAX(fos_sessionHosts.msID) FROM fos_sessionHosts {OF_SESSION} WHERE hostID = ?"
    );
    match tx.number(&sql, args![host]).await? {
        Some(id) => by_id(tx, SessionId(id)).await,
        None => Ok(None),
    }
}

/// How it ended for the host.
pub(super) async fn last_end(tx: &mut Tx, host: HostId) -> Result<Option<(SessionId, Reason)>> {
    let sql = format!(
        "SELECT fos_sessionHosts.msID AS msID, hostID, fos_sessionHosts.reasonCode AS reasonCode, \
         fos_sessionHosts.reasonDetails AS reasonDetails FROM fos_sessionHosts {OF_SESSION} \
         WHERE hostID = ? ORDER BY fos_sessionHosts.msID DESC LIMIT 1"
    );
    let Some(row) = tx.row(&sql, args![host]).await? else {
        return Ok(None);
    };
    let cells = row.of("fos_sessionHosts", &["msID", "hostID"]);
    let session = SessionId(cells.int("msID")?);
    Ok(cells.reason()?.map(|reason| (session, reason)))
}

/// The newest session that a machine checked in for.
pub(super) async fn of_machine(
    tx: &mut Tx,
    host: HostId,
    address: Ipv4Addr,
    ticket: Option<Ticket>,
) -> Result<Option<Session>> {
    let ticket = ticket.map(|ticket| ticket.to_string()).unwrap_or_default();
    let sql = format!(
        "SELECT fos_sessionHosts.msID FROM fos_sessionHosts {OF_SESSION} \
         WHERE hostID = ? AND ip = ? AND ticket = ? ORDER BY fos_sessionHosts.msID DESC LIMIT 1"
    );
    let values = args![host, address.to_string(), ticket];
    match tx.number(&sql, values).await? {
        Some(id) => by_id(tx, SessionId(id)).await,
        None => Ok(None),
    }
}

/// A session with its hosts.
pub(super) async fn by_id(tx: &mut Tx, id: SessionId) -> Result<Option<Session>> {
    let columns = [
        "msID",
        "msName",
        "msBasePort",
        "msLogPath",
        "msImage",
        "msState",
        "msMaxwait",
        "msSessClients",
        "msShutdown",
        "msStartDateTime",
        "msCompleteDateTime",
    ];
    let columns = tx.list(TABLE, &columns);
    let sql = format!("SELECT {columns} FROM multicastSessions WHERE msID = ?");
    let Some(row) = tx.row(&sql, args![id]).await? else {
        return Ok(None);
    };
    let ours = own_row(tx, id).await?;
    let fog = row.of(TABLE, &["msID"]);
    let image = image_id(&row)?;
    let mut session = Session {
        id,
        name: fog.text("msName")?,
        image,
        image_name: image_name(tx, image).await?,
        path: fog.text("msLogPath")?,
        port: fog.int("msBasePort")?,
        state: state(tx, &row, ours.as_ref())?,
        max_wait: max_wait(tx, &row, ours.as_ref()).await?,
        is_shutdown: match tx.lacks(TABLE, "msShutdown") {
            true => has_task(tx, id, "taskShutdown = '1'").await?,
            false => fog.flag("msShutdown")?,
        },
        // All of ours are, or none.
        is_debug: has_task(tx, id, "taskIsDebug <> 0").await?,
        created_at: fog.time("msStartDateTime")?,
        started_at: None,
        ended_at: fog.optional_time("msCompleteDateTime")?,
        has_records: None,
        runs: 0,
        reason: None,
        expected: match fog.int("msSessClients")? {
            clients if clients > 0 => u32::try_from(clients).unwrap_or(u32::MAX),
            _ => 0,
        },
        follows: None,
        follow_ups: None,
        follow_up: FollowUp::None,
        members: Vec::new(),
    };
    // FOG's own sessions have no such row.
    if let Some(row) = &ours {
        let cells = row.of("fos_sessions", &["msID"]);
        let name = cells.text("name")?;
        if !name.is_empty() {
            session.name = name;
        }
        session.started_at = cells.optional_time("startedAt")?;
        let has_records = cells.flag("records")?;
        session.has_records = session.started_at.map(|_| has_records);
        session.runs = cells.number("runs", "a number from 0 to 4294967295")?;
        session.reason = cells.reason()?;
        let follows = cells.int("follows")?;
        session.follows = (follows > 0).then_some(SessionId(follows));
        session.follow_ups = cells.optional("followUps", "a number from 0 on", |text| {
            text.trim().parse().ok()
        })?;
        session.follow_up = follow_ups::parse(cells.int("followUp")?);
        // A session that nobody has joined has no tasks that would say it.
        session.is_shutdown |= cells.flag("shutdown")?;
        session.is_debug |= cells.flag("debug")?;
    }
    session.members = members(tx, id, ours.is_some()).await?;
    Ok(Some(session))
}

/// Our row beside a session: not that of a former session, whose number this one was given.
async fn own_row(tx: &mut Tx, id: SessionId) -> Result<Option<Row>> {
    let sql = "SELECT ours.msID AS msID, ours.name AS name, startedAt, records, runs, reasonCode, \
        reasonDetails, maxWait, failed, follows, followUps, followUp, shutdown, debug \
        FROM fos_sessions AS ours \
        JOIN multicastSessions AS fogs ON fogs.msID = ours.msID WHERE ours.msID = ? \
        AND (fogStart IS NULL OR fogStart = msStartDateTime)";
    tx.row(sql, args![id]).await
}

/// The state of a row of `multicastSessions`, told apart by ours where it cannot say "failed".
fn state(tx: &Tx, fogs: &Row, ours: Option<&Row>) -> Result<State> {
    let state = fogs.of(TABLE, &["msID"]).state("msState")?;
    let Some(ours) = ours else {
        return Ok(state);
    };
    let has_failed = ours.of("fos_sessions", &["msID"]).flag("failed")?;
    Ok(match state {
        State::Cancelled if has_failed && !tx.knows_failed() => State::Failed,
        state => state,
    })
}

/// The state of a session as it is stored now; `None` if it is gone.
pub(super) async fn stored_state(tx: &mut Tx, id: SessionId) -> Result<Option<State>> {
    let sql = "SELECT msID, msState FROM multicastSessions WHERE msID = ?";
    let Some(row) = tx.row(sql, args![id]).await? else {
        return Ok(None);
    };
    let ours = own_row(tx, id).await?;
    state(tx, &row, ours.as_ref()).map(Some)
}

/// How long a session waits: as its row says, else ours, else FOG's setting.
async fn max_wait(tx: &mut Tx, fogs: &Row, ours: Option<&Row>) -> Result<Duration> {
    const EXPECTED: &str = "a number of seconds from 0 on";
    let seconds = match (tx.lacks(TABLE, "msMaxwait"), ours) {
        (false, _) => fogs.of(TABLE, &["msID"]).number("msMaxwait", EXPECTED)?,
        (true, Some(ours)) => ours
            .of("fos_sessions", &["msID"])
            .number("maxWait", EXPECTED)?,
        (true, None) => 0,
    };
    match seconds {
        0 => settings::max_wait(tx).await,
        seconds => Ok(Duration::from_secs(u32::into(seconds))),
    }
}

/// Whether a task of the session meets a condition.
async fn has_task(tx: &mut Tx, id: SessionId, condition: &str) -> Result<bool> {
    let sql = format!(
        "SELECT (SELECT COUNT(*) FROM fos_sessionHosts \
         JOIN tasks ON tasks.taskID = fos_sessionHosts.taskID WHERE msID = ? AND {condition}) \
         + (SELECT COUNT(*) FROM multicastSessionsAssoc JOIN tasks ON taskID = tID \
         WHERE msID = ? AND {condition})"
    );
    let count = tx.number(&sql, args![id, id]).await?;
    Ok(count.is_some_and(|count| count > 0))
}

/// The image of a row of `multicastSessions`.
pub(super) fn image_id(row: &Row) -> Result<ImageId> {
    let cells = row.of(TABLE, &["msID"]);
    let number = |text: &str| text.trim().parse().ok();
    cells
        .parsed("msImage", "the number of an image", number)
        .map(ImageId)
}

/// An image's name; empty if it is gone.
pub(super) async fn image_name(tx: &mut Tx, image: ImageId) -> Result<String> {
    let sql = "SELECT imageID, imageName FROM images WHERE imageID = ?";
    match tx.row(sql, args![image]).await? {
        Some(row) => row.of("images", &["imageID"]).text("imageName"),
        None => Ok(String::new()),
    }
}

async fn members(tx: &mut Tx, id: SessionId, has_ours: bool) -> Result<Vec<Member>> {
    let sql = "SELECT msID, hostID, fos_sessionHosts.taskID, hostName, ip, ticket, agent, client, \
        checkedInAt, streamsDone, state, reasonCode, reasonDetails, taskStateID, \
        tasks.taskID AS foundID FROM fos_sessionHosts \
        LEFT JOIN tasks ON tasks.taskID = fos_sessionHosts.taskID WHERE msID = ?";
    let rows = match has_ours {
        true => tx.rows(sql, args![id]).await?,
        false => Vec::new(),
    };
    let knows_failed = tx.knows_failed();
    let members = rows.iter().map(|row| member(row, knows_failed));
    let mut members: Vec<Member> = members.collect::<Result<_>>()?;
    // Hosts of FOG's own sessions.
    let sql = "SELECT taskID, taskHostID, taskStateID, hostName FROM multicastSessionsAssoc \
        JOIN tasks ON taskID = tID LEFT JOIN hosts ON hostID = taskHostID \
        WHERE msID = ? ORDER BY taskID";
    for row in tx.rows(sql, args![id]).await? {
        let cells = row.of("tasks", &["taskID"]);
        let host = HostId(cells.int("taskHostID")?);
        if members.iter().any(|member| member.host == host) {
            continue;
        }
        members.push(Member {
            host,
            task: TaskId(cells.int("taskID")?),
            name: cells.optional_text("hostName")?,
            address: None,
            ticket: None,
            agent: Client::default(),
            checked_in_at: None,
            streams_done: 0,
            state: cells.state("taskStateID")?,
            reason: None,
        });
    }
    members.sort_by(|a, b| (&a.name, a.host).cmp(&(&b.name, b.host)));
    Ok(members)
}

fn member(row: &Row, knows_failed: bool) -> Result<Member> {
    let cells = row.of("fos_sessionHosts", &["msID", "hostID"]);
    // The state is the task's, which other programs may change; ours is for tasks that are gone.
    let task = row.of("tasks", &["taskID"]);
    let state = if task.optional_text("foundID")?.is_empty() {
        cells.state("state")?
    } else {
        task_state(task.state("taskStateID")?, &cells, knows_failed)?
    };
    Ok(Member {
        host: HostId(cells.int("hostID")?),
        task: TaskId(cells.int("taskID")?),
        name: cells.text("hostName")?,
        address: cells.optional_ipv4("ip")?,
        ticket: cells.ticket("ticket")?,
        agent: Client {
            kind: client_kind(&cells)?,
            name: cells.text("agent")?,
        },
        checked_in_at: cells.optional_time("checkedInAt")?,
        streams_done: cells.number("streamsDone", "a number from 0 to 4294967295")?,
        state,
        reason: cells.reason()?,
    })
}

/// The state of a task, told apart by our row where it cannot say "failed".
pub(super) fn task_state(task: State, ours: &Cells<'_>, knows_failed: bool) -> Result<State> {
    Ok(match task {
        State::Cancelled if !knows_failed && ours.state("state")? == State::Failed => State::Failed,
        state => state,
    })
}

pub(super) fn client_kind(cells: &Cells<'_>) -> Result<ClientKind> {
    match cells.int("client") {
        Ok(STOCK) => Ok(ClientKind::Stock),
        Ok(AGENT) => Ok(ClientKind::Agent),
        _ => Err(cells.broken("client", "0 (FOG's) or 1 (an agent)")),
    }
}

/// The number of a kind of client.
pub(super) fn client_number(kind: ClientKind) -> i64 {
    match kind {
        ClientKind::Stock => STOCK,
        ClientKind::Agent => AGENT,
    }
}

const STOCK: i64 = 0;
const AGENT: i64 = 1;

/// A status as `tasks` holds it.
pub(super) fn progress_columns(status: ReceivedStatus) -> Columns {
    vec![
        ("taskBPM", status.rate.into()),
        ("taskTimeElapsed", status.elapsed.into()),
        ("taskTimeRemaining", status.remaining.into()),
        ("taskDataCopied", status.copied.into()),
        ("taskDataTotal", status.total.into()),
        ("taskPercentText", status.percent_text.into()),
        ("taskPCT", i64::from(status.percent).into()),
    ]
}

/// Stores what clients say of their progress, of tasks of this session that are still active.
pub(super) async fn store_progress(
    tx: &mut Tx,
    session: SessionId,
    held: Option<Held>,
    progress: Vec<(TaskId, ReceivedStatus)>,
) -> Result<()> {
    if !claims::may_store(tx, session, held.as_ref()).await? {
        return Ok(());
    }
    let mut stored = 0;
    for (task, status) in progress {
        let columns = progress_columns(status);
        let condition = format!(
            "taskID = ? AND taskStateID IN {ACTIVE} AND taskID IN \
             (SELECT tID FROM multicastSessionsAssoc WHERE msID = ?)"
        );
        let of_session = args![task, session];
        stored += tx.set("tasks", columns, &condition, of_session).await?;
    }
    if stored > 0 {
        update_percent(tx, session).await?;
        tx.changed(Change::Session(session));
    }
    Ok(())
}

/// Stores the highest percent of the session's tasks.
pub(super) async fn update_percent(tx: &mut Tx, session: SessionId) -> Result<()> {
    let sql = "SELECT MAX(taskPCT) FROM tasks JOIN multicastSessionsAssoc ON tID = taskID \
        WHERE msID = ? AND taskPCT BETWEEN 0 AND 100";
    let percent = tx.number(sql, args![session]).await?.unwrap_or(0);
    let sql = "UPDATE multicastSessions SET msPercent = ? WHERE msID = ?";
    tx.run(sql, args![percent, session]).await?;
    Ok(())
}

/// A row of ours beside a session.
pub(super) async fn adopt(tx: &mut Tx, session: SessionId) -> Result<()> {
    let mut start = "NULL";
    if tx.numbers_come_again() {
        start = "msStartDateTime";
        let sql = "SELECT COUNT(*) FROM fos_sessions JOIN multicastSessions USING (msID) \
            WHERE msID = ? AND fogStart <> msStartDateTime";
        if tx.number(sql, args![session]).await? != Some(0) {
            forget(tx, session).await?;
        }
    }
    let sql = format!(
        "INSERT INTO fos_sessions (msID, name, fogStart) SELECT msID, msName, {start} \
         FROM multicastSessions WHERE msID = ? AND msID NOT IN (SELECT msID FROM fos_sessions)"
    );
    tx.run(&sql, args![session]).await?;
    Ok(())
}

/// Forgets what is ours of a former session of this number.
async fn forget(tx: &mut Tx, session: SessionId) -> Result<()> {
    for sql in [
        "DELETE FROM fos_events WHERE msID = ?",
        "DELETE FROM fos_sessionHosts WHERE msID = ?",
        "DELETE FROM fos_sessions WHERE msID = ?",
    ] {
        tx.run(sql, args![session]).await?;
    }
    Ok(())
}

/// The same for a host.
pub(super) async fn adopt_member(tx: &mut Tx, session: SessionId, host: HostId) -> Result<()> {
    let sql = "INSERT INTO fos_sessionHosts (msID, hostID, taskID, hostName, state) \
        SELECT msID, taskHostID, taskID, COALESCE(hostName, ''), taskStateID \
        FROM multicastSessionsAssoc JOIN tasks ON taskID = tID \
        LEFT JOIN hosts ON hostID = taskHostID \
        WHERE msID = ? AND taskHostID = ? ORDER BY taskID LIMIT 1";
    tx.run(sql, args![session, host]).await?;
    Ok(())
}

pub(super) const TABLE: &str = "multicastSessions";
