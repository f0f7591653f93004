//! Sessions as people and agents see them.

use std::time::Instant;

use fog::task::State;
use fos_api::{SessionView, Site, Stage, StreamNow};

use super::{
    BootStatus, HostStatus, ImageVerification, RateCourse, SessionStatus, TaskStatus,
    VerificationState,
};
use crate::domain::session::core::Phase;
use crate::domain::session::{Member, MemberSnapshot, SeatStatus, Session};
use crate::domain::{BootGiven, HostId, Reason, Refusal};
use crate::imagestore::Verdict;
use crate::ops::{SessionState, TaskState, Verification, VerifyStage};
use crate::session::{Live, LiveMember, Wait};
use crate::text;

/// A session for people.
#[must_use]
pub fn session_status(state: &SessionState) -> SessionStatus {
    match state {
        SessionState::Live(live) => of_live(live),
        SessionState::Starting(session) => SessionStatus {
            text: text::starting_session(session),
            ..of_stored(session)
        },
        SessionState::NotHere(session, why) => SessionStatus {
            text: text::not_here(session.id, why),
            ..of_stored(session)
        },
        SessionState::Stored(session) => of_stored(session),
        SessionState::Broken(id, row) => SessionStatus {
            session: id.0,
            name: String::new(),
            image: String::new(),
            state: State::Failed,
            stage: Stage::Ended,
            port: 0,
            expected: 0,
            checked_in: 0,
            connected: 0,
            missing: Vec::new(),
            stream: None,
            rate: 0,
            course: RateCourse::default(),
            repeated_percent: 0.0,
            records: None,
            stage_seconds: 0,
            starts_in_seconds: None,
            reason: code(&Reason::BrokenRow(row.clone())),
            text: text::reason(&Reason::BrokenRow(row.clone())),
            created_at: String::new(),
            ended_at: None,
            hosts: Vec::new(),
        },
    }
}

/// A task of a host that is deployed alone, for people.
#[must_use]
pub fn task_status(state: &TaskState) -> TaskStatus {
    let task = &state.task;
    let machine = task.machine.as_ref();
    let time = |at: Option<crate::domain::Timestamp>| at.map(|at| at.to_string());
    TaskStatus {
        task: task.id.0,
        host: fog::encoding::printable(&task.host_name, 80),
        image: fog::encoding::printable(&task.image_name, 80),
        node: task.node.0,
        state: task.state,
        is_forced: task.is_forced,
        in_front: state.in_front,
        in_line_since: time(task.entered_at),
        slot_since: time(task.went_at),
        ip: machine.map(|machine| machine.address.into()),
        agent: machine.map_or_else(String::new, |machine| machine.client.name.clone()),
        client: state.report.clone(),
        percent: task.percent,
        silent_seconds: state.silent_seconds,
        created_at: task.created_at.to_string(),
        ended_at: time(task.ended_at),
        reason: task.reason.as_ref().map(code).unwrap_or_default(),
        text: text::unicast_task(task, state.in_front),
    }
}

/// The verification of an image for people.
#[must_use]
pub fn image_verification(image: &str, found: &Verification) -> ImageVerification {
    let (state, percent, ended_at, text, details) = match &found.stage {
        VerifyStage::Reading {
            stream,
            done,
            total,
        } => {
            let percent = u128::from(*done) * 100 / u128::from((*total).max(1));
            let percent = u64::try_from(percent.min(100)).unwrap_or(100);
            let text = match stream.as_str() {
                "" => "its directory is read".to_owned(),
                stream => format!("{stream} is read and decoded"),
            };
            (VerificationState::Reading, percent, None, text, Vec::new())
        }
        VerifyStage::Ended {
            at,
            outcome,
            details,
        } => {
            let (state, text) = match outcome {
                Ok(verdict @ (Verdict::OtherContent | Verdict::Unknown)) => {
                    (VerificationState::Other, text::verdict(image, verdict))
                }
                Ok(verdict) => (VerificationState::Good, text::verdict(image, verdict)),
                Err(text) => {
                    let text = format!("image {image} is not good: {text}");
                    (VerificationState::Damaged, text)
                }
            };
            let text = fog::encoding::printable(&text, 1000);
            (state, 100, Some(at.to_string()), text, details.clone())
        }
    };
    let details = details.iter();
    ImageVerification {
        image: image.to_owned(),
        state,
        percent,
        began_at: found.began_at.to_string(),
        ended_at,
        text,
        details: details
            .map(|line| fog::encoding::printable(line, 500))
            .collect(),
    }
}

/// A session for one of its hosts: where its own part is over, that is what it is told.
#[must_use]
pub fn agent_view(
    state: &SessionState,
    host: HostId,
    refusal: Option<&Refusal>,
    site: Option<Site>,
) -> SessionView {
    let mut view = match state {
        SessionState::Live(live) => live_view(live, host),
        SessionState::Starting(_)
        | SessionState::NotHere(..)
        | SessionState::Stored(_)
        | SessionState::Broken(..) => {
            let status = session_status(state);
            let own = status.hosts.iter().find(|own| own.host == host.0);
            SessionView {
                session: status.session,
                state: status.state,
                stage: status.stage,
                expected: status.expected,
                checked_in: status.checked_in,
                connected: status.connected,
                missing: Vec::new(),
                stream: None,
                your_stream: None,
                records: status.records,
                stage_seconds: status.stage_seconds,
                starts_in_seconds: None,
                ask_again_seconds: None,
                site: None,
                your_task: own.map_or(State::Cancelled, |own| own.state),
                text: own.map_or(status.text, |own| own.text.clone()),
                refusal: None,
            }
        }
    };
    view.refusal = refusal.map(|refusal| fos_api::Refusal {
        code: text::refusal_code(refusal).into(),
        text: text::refusal(refusal),
    });
    view.site = site;
    view
}

fn live_view(live: &Live, host: HostId) -> SessionView {
    let snapshot = &live.snapshot;
    let own = live.member(host);
    let your_task = own.map_or(State::Cancelled, |(own, _)| own.state());
    let text = match own {
        Some((own, _)) if !your_task.is_active() => text::member(own, snapshot),
        _ => sentence(live),
    };
    let next = own
        .filter(|_| your_task.is_active())
        .map(|(own, _)| own.streams_done);
    SessionView {
        session: live.id.0,
        state: live_state(live),
        stage: stage(&snapshot.phase),
        expected: snapshot.expected,
        checked_in: snapshot.checked_in,
        connected: snapshot.connected,
        missing: snapshot.missing.iter().take(MAX_NAMES).cloned().collect(),
        stream: Some(stream_now(live)),
        your_stream: next
            .filter(|next| *next < snapshot.streams)
            .map(|next| number(next.saturating_add(1))),
        records: snapshot.has_records,
        stage_seconds: age(live).as_secs() + snapshot.age.as_secs(),
        starts_in_seconds: snapshot.starts_in.map(|left| left.as_secs()),
        ask_again_seconds: ask_again(stage(&snapshot.phase), snapshot.expected),
        site: None,
        your_task,
        text,
        refusal: None,
    }
}

/// Waiting hosts only show what they hear, so that a thousand of them need not be served twice a second
/// each. Where data flows, an agent decides by it.
fn ask_again(stage: Stage, hosts: u32) -> Option<u32> {
    let pause = hosts / WAITING_HOSTS_PER_SECOND;
    (stage == Stage::Gathering && pause > 2).then_some(pause)
}

/// Questions of waiting hosts of a session that are welcome in a second.
const WAITING_HOSTS_PER_SECOND: u32 = 60;

fn of_live(live: &Live) -> SessionStatus {
    let snapshot = &live.snapshot;
    let state = live_state(live);
    let reason = match &snapshot.phase {
        Phase::Ended { reason, .. } => code(reason),
        _ => String::new(),
    };
    let members = snapshot.members.iter().zip(&live.members);
    SessionStatus {
        session: live.id.0,
        name: live.name.clone(),
        image: live.image_name.clone(),
        state,
        stage: stage(&snapshot.phase),
        port: live.port.into(),
        expected: snapshot.expected,
        checked_in: snapshot.checked_in,
        connected: snapshot.connected,
        missing: snapshot.missing.clone(),
        stream: Some(stream_now(live)),
        rate: live.rate,
        course: RateCourse {
            step_seconds: live.course.step_seconds(),
            bytes_per_second: live.course.per_second().collect(),
        },
        repeated_percent: live.counters.repeated_percent(),
        records: snapshot.has_records,
        stage_seconds: (age(live) + snapshot.age).as_secs(),
        starts_in_seconds: snapshot.starts_in.map(|left| left.as_secs()),
        reason,
        text: sentence(live),
        created_at: live.created_at.to_string(),
        ended_at: live.ended_at.map(|at| at.to_string()),
        hosts: members
            .map(|(member, more)| host_status(live, member, more))
            .collect(),
    }
}

fn host_status(live: &Live, member: &MemberSnapshot, more: &LiveMember) -> HostStatus {
    let snapshot = &live.snapshot;
    let mut text = text::member(member, snapshot);
    if let Some(silent) = more.holds_up {
        text.push_str("; ");
        text.push_str(&text::holds_up(
            silent,
            snapshot.stands_still,
            snapshot.expected == 1,
        ));
    }
    let reason = match &member.status {
        SeatStatus::Ended(_, reason) => code(reason),
        _ => String::new(),
    };
    HostStatus {
        host: member.host.0,
        name: member.name.clone(),
        ip: member.address.map(Into::into),
        agent: member.agent.name.clone(),
        state: member.state(),
        reason,
        text,
        seconds: Some((age(live) + member.age).as_secs()),
        boot: match (&member.status, &more.boot) {
            (SeatStatus::Expected, Some(boot)) => Some(BootStatus {
                seconds: boot.at.elapsed().as_secs(),
                count: boot.count,
                is_given: boot.given == BootGiven::Kernel,
                text: text::boot_given(&boot.given),
            }),
            _ => None,
        },
        streams_done: number(member.streams_done),
        client: more.report.clone(),
        silent_seconds: member.silent.map(|silent| (age(live) + silent).as_secs()),
    }
}

/// How old the state is: nobody made a new one, as nothing happened.
fn age(live: &Live) -> std::time::Duration {
    Instant::now().saturating_duration_since(live.at)
}

fn live_state(live: &Live) -> State {
    match &live.snapshot.phase {
        Phase::Ended { state, .. } => *state,
        _ if live.snapshot.has_check_in => State::InProgress,
        _ => State::New,
    }
}

/// What a running session does, and what holds it up.
fn sentence(live: &Live) -> String {
    let mut sentence = text::phase(&live.snapshot);
    let slow: Vec<_> = live
        .snapshot
        .members
        .iter()
        .zip(&live.members)
        .filter_map(|(member, more)| Some((member.name.as_str(), more.holds_up?)))
        .collect();
    if !slow.is_empty() {
        sentence.push_str("; ");
        sentence.push_str(&text::held_up_by(&slow));
    }
    for wait in &live.waits {
        sentence.push_str("; ");
        sentence.push_str(&match wait {
            Wait::ImageStore { since } => text::waits_for_image_store(since.elapsed()),
            Wait::Network { since, text } => text::waits_for_network(since.elapsed(), text),
            Wait::Database { since, text } => text::waits_for_database(since.elapsed(), text),
        });
    }
    sentence
}

fn stream_now(live: &Live) -> StreamNow {
    let snapshot = &live.snapshot;
    StreamNow {
        number: number(snapshot.stream.saturating_add(1)),
        count: number(snapshot.streams),
        name: snapshot.stream_name.clone(),
        run: snapshot.run,
        acked: live.counters.bytes_acked.min(live.stream_len),
        len: live.stream_len,
    }
}

fn stage(phase: &Phase) -> Stage {
    match phase {
        Phase::Gathering { .. } | Phase::Starting { .. } => Stage::Gathering,
        Phase::Sending { .. } => Stage::Sending,
        Phase::Finishing => Stage::Finishing,
        Phase::Ended { .. } => Stage::Ended,
    }
}

fn of_stored(session: &Session) -> SessionStatus {
    let is_over = !session.state.is_active();
    let members = &session.members;
    let count = |is: fn(&Member) -> bool| number(members.iter().filter(|m| is(m)).count());
    SessionStatus {
        session: session.id.0,
        name: session.name.clone(),
        image: session.image_name.clone(),
        state: session.state,
        stage: match is_over {
            true => Stage::Ended,
            false => Stage::Gathering,
        },
        port: session.port,
        expected: count(|member| member.state.is_active()),
        checked_in: count(|member| member.state.is_active() && member.checked_in_at.is_some()),
        connected: 0,
        missing: Vec::new(),
        stream: None,
        rate: 0,
        course: RateCourse::default(),
        repeated_percent: 0.0,
        records: session.has_records,
        stage_seconds: 0,
        starts_in_seconds: None,
        reason: session.reason.as_ref().map(code).unwrap_or_default(),
        text: text::stored_session(session),
        created_at: session.created_at.to_string(),
        ended_at: session.ended_at.map(|at| at.to_string()),
        hosts: members
            .iter()
            .map(|member| stored_host(member, session.started_at.is_some()))
            .collect(),
    }
}

fn stored_host(member: &Member, has_started: bool) -> HostStatus {
    HostStatus {
        host: member.host.0,
        name: member.name.clone(),
        ip: member.address.map(Into::into),
        agent: member.agent.name.clone(),
        state: member.state,
        reason: member.reason.as_ref().map(code).unwrap_or_default(),
        text: text::stored_member(member, has_started),
        seconds: None,
        boot: None,
        streams_done: member.streams_done,
        client: Default::default(),
        silent_seconds: None,
    }
}

fn code(reason: &Reason) -> String {
    reason.to_parts().0
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Names of missing hosts that an agent is told.
const MAX_NAMES: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_rooms_that_wait_ask_less_often() {
        assert_eq!(ask_again(Stage::Gathering, 30), None);
        assert_eq!(ask_again(Stage::Gathering, 179), None);
        assert_eq!(ask_again(Stage::Gathering, 1000), Some(16));
        assert_eq!(ask_again(Stage::Sending, 1000), None);
    }
}
