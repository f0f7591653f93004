//! Follow-up sessions: `fos_sessions` has what is still to be done after the end of a session.

use super::row::{Row, args};
use super::sessions::{self, OF_SESSION};
use super::tx::Tx;
use super::{events, hosts};
use crate::domain::follow_up::FollowUp;
use crate::domain::session::Note;
use crate::domain::{HostId, SessionId, Timestamp};
use crate::store::{Change, CreateError, Result};

/// Not made yet.
const DUE: i64 = -1;

/// What `fos_sessions.followUp` says.
pub(super) fn parse(stored: i64) -> FollowUp {
    match stored {
        DUE => FollowUp::Due,
        number if number > 0 => FollowUp::Made(SessionId(number)),
        _ => FollowUp::None,
    }
}

/// What is stored of a session's.
pub(super) async fn of(tx: &mut Tx, session: SessionId) -> Result<FollowUp> {
    let sql = "SELECT followUp FROM fos_sessions WHERE msID = ?";
    Ok(parse(tx.number(sql, args![session]).await?.unwrap_or(0)))
}

/// Keeps that a session is to have one.
pub(super) async fn set_due(tx: &mut Tx, session: SessionId) -> Result<()> {
    let sql = "UPDATE fos_sessions SET followUp = ? WHERE msID = ?";
    tx.run(sql, args![DUE, session]).await?;
    Ok(())
}

/// A person has ended the session after all.
pub(super) async fn unset(tx: &mut Tx, session: SessionId) -> Result<()> {
    let sql = "UPDATE fos_sessions SET followUp = 0 WHERE msID = ? AND followUp = ?";
    tx.run(sql, args![session, DUE]).await?;
    Ok(())
}

/// Sessions that are to have one, the oldest first; some of them may not have ended yet.
pub(super) async fn due(tx: &mut Tx) -> Result<Vec<SessionId>> {
    let sql = "SELECT ours.msID AS msID FROM fos_sessions AS ours JOIN multicastSessions AS fogs \
        ON fogs.msID = ours.msID AND (fogStart IS NULL OR fogStart = msStartDateTime) \
        WHERE followUp = ? ORDER BY ours.msID";
    let rows = tx.rows(sql, args![DUE]).await?;
    let id = |row: &Row| row.of("fos_sessions", &["msID"]).int("msID");
    rows.iter().map(|row| id(row).map(SessionId)).collect()
}

/// The session that a host was in last, if it is to have one.
pub(super) async fn awaited_by(tx: &mut Tx, host: HostId) -> Result<Option<SessionId>> {
    let sql = format!(
        "SELECT fos_sessionHosts.msID AS msID, followUp FROM fos_sessionHosts {OF_SESSION} \
         WHERE hostID = ? ORDER BY fos_sessionHosts.msID DESC LIMIT 1"
    );
    let Some(row) = tx.row(&sql, args![host]).await? else {
        return Ok(None);
    };
    let cells = row.of("fos_sessions", &["msID"]);
    let is_due = parse(cells.int("followUp")?) == FollowUp::Due;
    let session = SessionId(cells.int("msID")?);
    Ok(Some(session).filter(|_| is_due))
}

/// There will be none; whether it was still to be made.
pub(super) async fn give_up(
    tx: &mut Tx,
    at: Timestamp,
    session: SessionId,
    why: Option<String>,
) -> Result<bool> {
    let sql = "UPDATE fos_sessions SET followUp = 0 WHERE msID = ? AND followUp = ?";
    if tx.run(sql, args![session, DUE]).await? == 0 {
        return Ok(false);
    }
    if let Some(text) = why {
        let note = Note::NotFollowed { text };
        events::add(tx, at, Some(session), None, &note).await?;
    }
    tx.changed(Change::Session(session));
    Ok(true)
}

/// Before the follow-up of `former` is created: whether that is still to be done. Where FOG's tables undo nothing, a
/// server that died in the middle may have left it whole or in parts: then it is finished, and answered.
pub(super) async fn begin(
    tx: &mut Tx,
    at: Timestamp,
    former: SessionId,
) -> std::result::Result<Option<SessionId>, CreateError> {
    if of(tx, former).await? != FollowUp::Due {
        return Err(CreateError::Followed(former));
    }
    let sql = "SELECT ours.msID FROM fos_sessions AS ours JOIN multicastSessions AS fogs \
        ON fogs.msID = ours.msID AND (fogStart IS NULL OR fogStart = msStartDateTime) \
        WHERE follows = ? ORDER BY ours.msID DESC LIMIT 1";
    let Some(left) = tx.number(sql, args![former]).await?.map(SessionId) else {
        return Ok(None);
    };
    let sql = "SELECT hostID FROM fos_sessionHosts WHERE msID = ?";
    for row in tx.rows(sql, args![left]).await? {
        let host = HostId(row.of("fos_sessionHosts", &["hostID"]).int("hostID")?);
        if let Some((_, session)) = hosts::active_task(tx, host).await?
            && session != Some(left)
        {
            // It has something else to do by now: what was left stays cancelled, as it was born.
            let sql = "UPDATE fos_sessions SET follows = 0 WHERE msID = ?";
            tx.run(sql, args![left]).await?;
            return Ok(None);
        }
    }
    sessions::begin_whole(tx, left).await?;
    end(tx, at, former, left).await?;
    tx.changed(Change::Session(left));
    Ok(Some(left))
}

/// The follow-up is there.
pub(super) async fn end(
    tx: &mut Tx,
    at: Timestamp,
    former: SessionId,
    session: SessionId,
) -> Result<()> {
    let sql = "UPDATE fos_sessions SET followUp = ? WHERE msID = ?";
    tx.run(sql, args![session, former]).await?;
    let note = Note::FollowedBy { session };
    events::add(tx, at, Some(former), None, &note).await?;
    let note = Note::Follows { session: former };
    events::add(tx, at, Some(session), None, &note).await?;
    tx.changed(Change::Session(former));
    Ok(())
}
