//! Writes what a session decided into the database.

use std::net::Ipv4Addr;

use fog::task::State;

use crate::clock::Timestamp;
use crate::store::events::TaskLogEntry;
use crate::store::{
    HostId, ImageId, SessionId, Store, TaskId, events, hosts, images, session_hosts, sessions,
    tasks,
};

/// Who a host is in the database.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) task: TaskId,
    pub(super) name: String,
}

/// A decision to be stored, with the time at which it was taken.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) at: Timestamp,
    pub(super) fact: Fact,
}

/// What was decided.
#[derive(Debug, Clone)]
pub(super) enum Fact {
    CheckedIn {
        host: HostId,
        member: Member,
        address: Ipv4Addr,
        agent: String,
        count: u32,
    },
    Started {
        has_records: bool,
    },
    StreamsDone {
        host: HostId,
        count: u32,
    },
    HostEnded {
        host: HostId,
        member: Member,
        address: String,
        state: State,
        text: String,
    },
    Ended {
        state: State,
        text: String,
    },
    Note(String),
}

/// What belongs to every record of a session.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) session: SessionId,
    pub(super) image: ImageId,
    pub(super) image_name: String,
}

/// Stores a record, all or nothing.
pub(super) async fn store(store: &Store, subject: &Subject, record: &Record) -> sqlx::Result<()> {
    let Record { at: now, fact } = record;
    let (now, session) = (*now, subject.session);
    let mut conn = store.begin().await?;
    match fact {
        Fact::CheckedIn {
            host,
            member,
            address,
            agent,
            count,
        } => {
            let ip = address.to_string();
            tasks::check_in(&mut conn, now, member.task, subject.image).await?;
            sessions::set_checked_in(&mut conn, session, *count).await?;
            session_hosts::set_checked_in(&mut conn, now, session, *host, &ip, agent).await?;
            hosts::set_ip(&mut conn, *host, &ip).await?;
            let text = format!("{} checked in from {ip}", member.name);
            events::add(
                &mut conn,
                now,
                Some(session),
                Some(*host),
                "check-in",
                &text,
            )
            .await?;
            let entry = log_entry(subject, *host, member, State::InProgress, &ip, "state", "");
            events::log_task(&mut conn, now, &entry).await?;
        }
        Fact::Started { has_records } => {
            sessions::set_started(&mut conn, now, session, *has_records).await?;
            events::add(&mut conn, now, Some(session), None, "started", "data flows").await?;
        }
        Fact::StreamsDone { host, count } => {
            session_hosts::set_streams_done(&mut conn, session, *host, *count).await?;
        }
        Fact::HostEnded {
            host,
            member,
            address,
            state,
            text,
        } => {
            session_hosts::set_result(&mut conn, session, *host, *state, text).await?;
            if *state == State::Complete {
                tasks::set_complete(&mut conn, member.task).await?;
                hosts::set_deployed(&mut conn, now, *host).await?;
                images::set_deployed(&mut conn, now, subject.image).await?;
            } else {
                tasks::set_state(&mut conn, member.task, *state).await?;
            }
            let kind = if *state == State::Failed {
                "error"
            } else {
                "state"
            };
            let line = format!("{}: {state}: {text}", member.name);
            events::add(&mut conn, now, Some(session), Some(*host), kind, &line).await?;
            let entry = log_entry(subject, *host, member, *state, address, kind, text);
            events::log_task(&mut conn, now, &entry).await?;
        }
        Fact::Ended { state, text } => {
            sessions::update_percent(&mut conn, session).await?;
            for task in sessions::task_ids(&mut conn, session).await? {
                // Every host has its result by now; this is for rows of other programs.
                let found = tasks::by_id(&mut conn, task).await?;
                if found.is_some_and(|task| task.state.is_active()) {
                    tasks::set_state(&mut conn, task, State::Cancelled).await?;
                }
            }
            sessions::end(&mut conn, now, session, *state, text).await?;
            let line = format!("{state}: {text}");
            events::add(&mut conn, now, Some(session), None, "ended", &line).await?;
        }
        Fact::Note(text) => {
            events::add(&mut conn, now, Some(session), None, "note", text).await?;
        }
    }
    conn.commit().await
}

fn log_entry<'a>(
    subject: &'a Subject,
    host: HostId,
    member: &'a Member,
    state: State,
    ip: &'a str,
    kind: &'a str,
    text: &'a str,
) -> TaskLogEntry<'a> {
    TaskLogEntry {
        task: member.task,
        state,
        ip,
        kind,
        text,
        host,
        host_name: &member.name,
        image_name: &subject.image_name,
    }
}
