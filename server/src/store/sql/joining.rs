//! Sessions whose hosts are not known beforehand: they join by its name, from the boot menu.

use std::net::IpAddr;

use super::row::{ACTIVE, Row, args, unless_broken};
use super::sessions::{self, TaskOf};
use super::tx::Tx;
use super::{events, hosts, settings};
use crate::domain::session::Note;
use crate::domain::{HostId, SessionId, Timestamp};
use crate::store::{Change, JoinError, MAX_JOINED, MAX_OPEN_SESSIONS, OpenSession, Result};

/// Sessions that can be joined, the oldest first.
pub(super) async fn open(tx: &mut Tx) -> Result<Vec<OpenSession>> {
    let sql = format!(
        "SELECT fogs.msID AS msID, msName, msSessClients, imageName, startedAt, \
         (SELECT COUNT(*) FROM multicastSessionsAssoc AS assoc WHERE assoc.msID = fogs.msID) AS joined \
         FROM multicastSessions AS fogs \
         LEFT JOIN fos_sessions AS ours ON ours.msID = fogs.msID \
         AND (fogStart IS NULL OR fogStart = msStartDateTime) \
         LEFT JOIN images ON imageID = msImage \
         WHERE msState IN {ACTIVE} AND msSessClients > 0 ORDER BY fogs.msID LIMIT ?"
    );
    let rows = tx.rows(&sql, args![MAX_OPEN_SESSIONS]).await?;
    let found = rows.iter().map(|row| unless_broken(open_session(row)));
    found.filter_map(Result::transpose).collect()
}

fn open_session(row: &Row) -> Result<OpenSession> {
    let cells = row.of(sessions::TABLE, &["msID"]);
    let count = "a number from 0 to 4294967295";
    Ok(OpenSession {
        session: SessionId(cells.int("msID")?),
        name: cells.text("msName")?.trim().to_owned(),
        image_name: cells.optional_text("imageName")?,
        expected: cells.number("msSessClients", count)?,
        joined: cells.number("joined", count)?,
        has_started: !cells.optional_text("startedAt")?.is_empty(),
    })
}

/// Puts a host into a session with a task of its own, as FOG does.
pub(super) async fn join(
    tx: &mut Tx,
    at: Timestamp,
    id: SessionId,
    host: HostId,
    address: IpAddr,
) -> std::result::Result<(), JoinError> {
    sessions::adopt(tx, id).await?;
    let session = sessions::by_id(tx, id).await?;
    let session = session.ok_or(JoinError::NotOpen(id))?;
    if !session.state.is_active() || session.expected == 0 {
        return Err(JoinError::NotOpen(id));
    }
    if let Some((task, other)) = hosts::active_task(tx, host).await? {
        return match other == Some(id) {
            true => Ok(()),
            false => Err(JoinError::Busy {
                task,
                session: other,
            }),
        };
    }
    if session.started_at.is_some() {
        return Err(JoinError::Started(id));
    }
    let former = session.members.iter().find(|member| member.host == host);
    match former.map(|member| &member.reason) {
        // What a server has left that died in the middle, where FOG's tables undo nothing.
        Some(None) if !tx.is_undone() => {
            let sql = "DELETE FROM fos_sessionHosts WHERE msID = ? AND hostID = ?";
            tx.run(sql, args![id, host]).await?;
        }
        Some(_) => return Err(JoinError::Over(id)),
        None => {}
    }
    let limit = usize::try_from(MAX_JOINED).unwrap_or(usize::MAX);
    if session.members.len() >= limit {
        return Err(JoinError::Full(id));
    }
    let sql = format!(
        "SELECT hostID, hostName FROM hosts WHERE hostID = ? AND {}",
        hosts::REGISTERED
    );
    let row = tx.row(&sql, args![host]).await?;
    let row = row.ok_or(JoinError::NoHost)?;
    let host_name = row.of("hosts", &["hostID"]).text("hostName")?;
    let (group, node) = settings::group_and_node(tx, session.image).await?;
    let of = TaskOf {
        session: id,
        name: &session.name,
        image: session.image,
        group,
        node,
        is_shutdown: session.is_shutdown,
        is_debug: session.is_debug,
    };
    let task = sessions::add_member(tx, at, &of, host, &host_name).await?;
    let note = Note::Joined { address };
    events::add(tx, at, Some(id), Some(host), &note).await?;
    if !tx.is_undone() {
        tx.checkpoint().await?;
        sessions::begin_task(tx, task).await?;
    }
    tx.changed(Change::Foreign(id));
    Ok(())
}
