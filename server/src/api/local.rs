//! The operations within the server's process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fog::Mac;

use super::error::{changed, error, invalid, not_found};
use super::{
    AccountRow, Added, Api, ApiError, ApiErrorKind, ApiResult, Capture, Deploy, DeployAlone,
    Deployed, Done, EventLine, EventsQuery, GroupHosts, GroupRow, HostAccept, HostAdd, HostRow,
    ImageAdd, ImageDescribe, ImageInspection, ImageRoot, ImageShown, ImageUpdate, MAX_EVENT_WAIT,
    MAX_EVENTS, MAX_SESSIONS, MAX_TASKS, Named, NodeList, NodeStatus, PendingHost, ReplicaStatus,
    Replicate, RootQuery, ScheduleAdd, ScheduleRow, ServerStatus, TaskList, TasksCreated, Token,
    TokenAdd, UserAdd, UserChange, VersionRow, image_inspection, node_list, session_status,
    task_status,
};
use crate::clock;
use crate::domain::account::{AccountKind, AccountName};
use crate::domain::follow_up::MAX_FOLLOW_UPS;
use crate::domain::groups::GroupName;
use crate::domain::host::{Host, HostActivity, NewHost, StationMac};
use crate::domain::image::{Facts, Image};
use crate::domain::schedule::{Cron, Outcome, Planned, Schedule, When};
use crate::domain::{ScheduleId, SessionId, TaskId};
use crate::imagestore::Replace;
use crate::ops::{
    AcceptError, Accepted, CaptureRequest, CaptureWarning, DeployRequest, DeployWarning,
    ImageVersion, Membership, Ops, RevertError, UnicastRequest,
};
use crate::store::{DescribeError, EditHostError, MAX_JOINED};
use crate::text;

#[async_trait]
impl Api for Ops {
    async fn host_add(&self, request: HostAdd) -> ApiResult<Added> {
        let host = self.new_host(request).await?;
        let id = self.add_host(host).await?.0;
        Ok(Added { id })
    }

    async fn host_edit(&self, host: &str, request: HostAdd) -> ApiResult<Named> {
        let new = self.new_host(request).await?;
        let name = new.name.to_string();
        match self.edit_host(host, new).await {
            Ok(true) => Ok(Named { name }),
            Ok(false) => Err(no_host(host)),
            Err(EditHostError::New(error)) => Err(error.into()),
            Err(EditHostError::Change(error)) => {
                Err(changed(&format!("host {}", shown(host)), error))
            }
        }
    }

    async fn host_list(&self) -> ApiResult<Vec<HostRow>> {
        let rows = self.hosts().await?.into_iter();
        Ok(rows
            .map(|(host, activity)| HostRow {
                id: host.id.0,
                name: host.name.clone(),
                macs: host.macs.clone(),
                image: host.image.map(|image| image.0),
                device: host.device.clone(),
                last_deploy: host.last_deploy.map(|at| at.to_string()),
                session: match activity {
                    HostActivity::Task { session, .. } => session.map(|session| session.0),
                    _ => None,
                },
                state: activity_text(&activity),
            })
            .collect())
    }

    async fn host_remove(&self, host: &str) -> ApiResult<Named> {
        match self.remove_host(host).await {
            Ok(Some(host)) => Ok(named(&host.name)),
            Ok(None) => Err(no_host(host)),
            Err(error) => Err(changed(&format!("host {}", shown(host)), error)),
        }
    }

    async fn host_forget(&self, host: &str) -> ApiResult<Named> {
        match self.forget_boots(host).await? {
            Some(host) => Ok(named(&host.name)),
            None => Err(no_host(host)),
        }
    }

    async fn host_pending(&self) -> ApiResult<Vec<PendingHost>> {
        let waiting = self.waiting().await?.into_iter();
        let rows = waiting.filter_map(|machine| {
            Some(PendingHost {
                mac: *machine.macs.first()?,
                proposal: machine.proposal,
                about: machine.about.into(),
                is_wish: machine.is_wish,
                address: machine.address,
                first_at: machine.first_at.to_string(),
                last_at: machine.last_at.to_string(),
                requests: machine.requests,
            })
        });
        Ok(rows.collect())
    }

    async fn host_accept(&self, mac: Mac, request: HostAccept) -> ApiResult<Named> {
        let image = match &request.image {
            Some(wanted) => Some(self.image(wanted).await?.0.id),
            None => None,
        };
        let wanted = Accepted {
            name: request.name,
            image,
            device: request.device.into(),
        };
        let name = self.accept_host(mac, wanted).await?;
        Ok(named(name.as_str()))
    }

    async fn pending_forget(&self, mac: Option<Mac>) -> ApiResult<Done> {
        let forgotten = self.forget_waiting(mac).await?;
        match (mac, forgotten) {
            (Some(mac), 0) => Err(AcceptError::NotWaiting(mac).into()),
            (Some(mac), _) => Ok(Done {
                text: format!("machine {mac} is forgotten"),
            }),
            (None, count) => Ok(Done {
                text: format!("{count} machines are forgotten"),
            }),
        }
    }

    async fn group_list(&self) -> ApiResult<Vec<GroupRow>> {
        let groups = self.groups().await?.into_iter();
        let row = |(name, hosts): (GroupName, Vec<Arc<Host>>)| GroupRow {
            name: name.into(),
            hosts: hosts.iter().map(|host| host.name.clone()).collect(),
        };
        Ok(groups.map(row).collect())
    }

    async fn group_add(&self, group: &str, request: GroupHosts) -> ApiResult<Named> {
        let group: GroupName = group.parse().map_err(invalid)?;
        let name = group.to_string();
        self.change_members(group, Membership::Add, &request.hosts)
            .await?;
        Ok(Named { name })
    }

    async fn group_take(&self, group: &str, request: GroupHosts) -> ApiResult<Named> {
        let group = group_name(group)?;
        let name = group.to_string();
        self.change_members(group, Membership::Take, &request.hosts)
            .await?;
        Ok(Named { name })
    }

    async fn group_remove(&self, group: &str) -> ApiResult<Named> {
        let group = group_name(group)?;
        let name = group.to_string();
        self.remove_group(group).await?;
        Ok(Named { name })
    }

    async fn image_root(&self, request: RootQuery) -> ApiResult<ImageRoot> {
        let served = self.config().images.display().to_string();
        match request.given {
            Some(given) if given != served => Err(error(
                ApiErrorKind::Conflict,
                format!(
                    "the server has its images in {}, not in {}; start it anew with fos-server serve \
                     --images to change that",
                    shown(&served),
                    shown(&given)
                ),
            )),
            _ => Ok(ImageRoot { path: served }),
        }
    }

    async fn image_add(&self, request: ImageAdd) -> ApiResult<Added> {
        // Whoever asks from the network names no directory elsewhere.
        let path = crate::imagestore::image_path(&request.image.path).map_err(invalid)?;
        if path != request.image.path {
            return Err(invalid(format!("the directory is to be called {path}")));
        }
        let id = self.add_image(request.image, request.facts).await?.0;
        Ok(Added { id })
    }

    async fn image_update(&self, image: &str, request: ImageUpdate) -> ApiResult<Named> {
        let (image, _) = self.image(image).await?;
        let updated = self.update_image(image.id, request.format, request.facts);
        updated
            .await
            .map_err(|error| changed(&format!("image {}", image.name), error))?;
        Ok(named(&image.name))
    }

    async fn image_show(&self, image: &str) -> ApiResult<ImageShown> {
        let (image, facts) = self.image(image).await?;
        Ok(shown_image(self, image, facts))
    }

    async fn image_inspect(&self, image: &str) -> ApiResult<ImageInspection> {
        let found = self.inspect_image(image).await?;
        found
            .as_ref()
            .map(image_inspection)
            .ok_or_else(|| no_image(image))
    }

    async fn image_list(&self) -> ApiResult<Vec<ImageShown>> {
        let images = self.images().await?.into_iter();
        Ok(images
            .map(|(image, facts)| shown_image(self, image, facts))
            .collect())
    }

    async fn image_check(&self, image: &str) -> ApiResult<Done> {
        let name = Self::check_image(self, image).await?;
        let text = format!("the files of image {name} are those that were verified");
        Ok(Done { text })
    }

    async fn image_versions(&self, image: &str) -> ApiResult<Vec<VersionRow>> {
        let (image, facts) = self.image(image).await?;
        let versions = self.versions_of(&image, facts).await;
        let versions = versions.map_err(|error| reverted(&image.name, error))?;
        Ok(versions.iter().map(version_row).collect())
    }

    async fn image_revert(&self, image: &str, version: u32) -> ApiResult<Named> {
        let (image, _) = self.image(image).await?;
        self.revert_image(&image, version)
            .await
            .map_err(|error| reverted(&image.name, error))?;
        Ok(named(&image.name))
    }

    async fn image_describe(&self, image: &str, request: ImageDescribe) -> ApiResult<Named> {
        let (image, _) = self.image(image).await?;
        let note = request.note.map(|note| note.trim().to_owned());
        if let Some(note) = &note {
            let is_text =
                |c: char| c == '\n' || !(c.is_control() || fog::encoding::is_invisible(c));
            if note.chars().count() > MAX_NOTE || !note.chars().all(is_text) {
                return Err(invalid(format!(
                    "a note has at most {MAX_NOTE} characters that can be seen"
                )));
            }
        }
        let name = request.name.clone();
        let described = self.describe_image(&image, request.name, note).await;
        described.map_err(|cause| match cause {
            DescribeError::Store(cause) => cause.into(),
            DescribeError::Gone => not_found(format!("image {}: {cause}", shown(&image.name))),
            DescribeError::NameTaken(_) => error(ApiErrorKind::Conflict, cause),
        })?;
        Ok(named(
            name.as_ref().map_or(&image.name, |name| name.as_str()),
        ))
    }

    async fn image_delete(&self, image: &str) -> ApiResult<Named> {
        let (image, _) = self.image(image).await?;
        self.delete_image(&image)
            .await
            .map_err(|error| reverted(&image.name, error))?;
        Ok(named(&image.name))
    }

    async fn image_replicate(&self, image: &str, request: Replicate) -> ApiResult<Named> {
        let replace = match request.replace {
            true => Replace::Other,
            false => Replace::Never,
        };
        let name = self.replicate(image, request.to.as_deref(), replace);
        Ok(Named { name: name.await? })
    }

    async fn image_replicas(&self, image: &str) -> ApiResult<Vec<ReplicaStatus>> {
        Ok(self.replicas(image).await?)
    }

    async fn image_remove(&self, image: &str) -> ApiResult<Named> {
        let (image, _) = self.image(image).await?;
        let removed = self.remove_image(image.id).await;
        removed.map_err(|error| changed(&format!("image {}", image.name), error))?;
        Ok(named(&image.name))
    }

    async fn deploy(&self, request: Deploy) -> ApiResult<Deployed> {
        let max_wait = request.max_wait_seconds;
        check_wait(max_wait)?;
        check_follow_ups(request.follow_ups)?;
        if request.hosts.is_empty() && request.expected == 0 {
            return Err(invalid(
                "hosts is empty: name at least one host, or say in expected how many join by name",
            ));
        }
        if request.expected > MAX_JOINED {
            let text = format!("expected has to be {MAX_JOINED} at most");
            return Err(invalid(text));
        }
        let wanted = DeployRequest {
            image: request.image,
            hosts: request.hosts,
            name: request.name,
            max_wait: max_wait.map(Duration::from_secs),
            is_shutdown: request.is_shutdown,
            is_debug: request.is_debug,
            is_woken: request.is_woken,
            expected: request.expected,
            follow_ups: request.follow_ups,
        };
        let done = Self::deploy(self, &wanted).await?;
        Ok(Deployed {
            session: done.session.0,
            name: done.name,
            hosts: done.hosts,
            port: done.port,
            max_wait_seconds: done.max_wait.as_secs(),
            warnings: done.warnings.iter().map(warning).collect(),
        })
    }

    async fn deploy_alone(&self, request: DeployAlone) -> ApiResult<TasksCreated> {
        if request.hosts.is_empty() {
            return Err(invalid("hosts is empty: name at least one host"));
        }
        let deploy = DeployRequest {
            image: request.image,
            hosts: request.hosts,
            name: request.name,
            max_wait: None,
            is_shutdown: request.is_shutdown,
            is_debug: request.is_debug,
            is_woken: request.is_woken,
            expected: 0,
            follow_ups: None,
        };
        let wanted = UnicastRequest {
            deploy,
            is_forced: request.is_forced,
        };
        let created = Self::deploy_alone(self, &wanted).await?;
        Ok(TasksCreated {
            tasks: created.tasks.iter().map(|task| task.0).collect(),
            warnings: created.warnings.iter().map(warning).collect(),
        })
    }

    async fn capture(&self, request: Capture) -> ApiResult<TasksCreated> {
        if let Some(os_id) = request.os_id
            && !(0..=MAX_SYSTEM).contains(&os_id)
        {
            return Err(invalid(
                "os_id is no number of an operating system of FOG's",
            ));
        }
        let wanted = CaptureRequest {
            host: request.host,
            image: request.image,
            image_type: request.image_type,
            os_id: request.os_id,
            level: request.zstd_level,
            is_shutdown: request.is_shutdown,
            is_debug: request.is_debug,
        };
        let task = Self::capture(self, &wanted).await?;
        let warnings = self.capture_warnings().await;
        Ok(TasksCreated {
            tasks: vec![task.0],
            warnings: warnings.iter().map(capture_warning).collect(),
        })
    }

    async fn cancel_task(&self, task: i64) -> ApiResult<Done> {
        let id = TaskId(task);
        Self::cancel_task(self, id).await?;
        Ok(Done {
            text: format!("task {id} is cancelled"),
        })
    }

    async fn tasks(&self) -> ApiResult<TaskList> {
        let status = self.unicast_status(MAX_TASKS).await?;
        let nodes = status.nodes.iter().map(|(node, of_node)| NodeStatus {
            node: node.0,
            slots: of_node.slots,
            used: of_node.used,
            waiting: of_node.waiting,
        });
        Ok(TaskList {
            tasks: status.tasks.iter().map(task_status).collect(),
            nodes: nodes.collect(),
        })
    }

    async fn node_list(&self) -> ApiResult<NodeList> {
        Ok(node_list(&self.site().await?))
    }

    async fn schedule_add(&self, request: ScheduleAdd) -> ApiResult<ScheduleRow> {
        let deploy = request.deploy;
        check_wait(deploy.max_wait_seconds)?;
        check_follow_ups(deploy.follow_ups)?;
        if deploy.expected > 0 {
            return Err(invalid(
                "a session that hosts join by its name cannot begin later: expected has to be 0",
            ));
        }
        if deploy.hosts.is_empty() {
            return Err(invalid("hosts is empty: name at least one host"));
        }
        let zone = request.zone.or_else(clock::zone).ok_or_else(|| {
            invalid("the time zone of the server has no name; name one, as in --zone Europe/Berlin")
        })?;
        let when = match (request.at, request.cron) {
            (Some(at), None) => When::once(&at, &zone),
            (None, Some(fields)) => {
                Cron::new(&fields, &zone).map(|cron| When::Cron(Box::new(cron)))
            }
            _ => return Err(invalid("say when it begins, either by at or by cron")),
        };
        let planned = Planned {
            image: deploy.image,
            hosts: deploy.hosts,
            name: deploy.name,
            max_wait_seconds: deploy.max_wait_seconds,
            is_shutdown: deploy.is_shutdown,
            is_debug: deploy.is_debug,
            follow_ups: deploy.follow_ups,
        };
        let when = when.map_err(invalid)?;
        Ok(schedule_row(self.add_schedule(when, planned).await?))
    }

    async fn schedule_list(&self) -> ApiResult<Vec<ScheduleRow>> {
        let schedules = self.schedules().await?.into_iter();
        Ok(schedules.map(schedule_row).collect())
    }

    async fn schedule_remove(&self, schedule: i64) -> ApiResult<Done> {
        match self.remove_schedule(ScheduleId(schedule)).await? {
            true => Ok(Done {
                text: format!("deploy {schedule} does not begin any more"),
            }),
            false => Err(not_found(format!(
                "there is no deploy {schedule} that begins later; fos-server schedule list shows them"
            ))),
        }
    }

    async fn wake(&self, request: GroupHosts) -> ApiResult<Done> {
        if request.hosts.is_empty() {
            return Err(invalid("hosts is empty: name at least one host"));
        }
        let woken = Self::wake(self, &request.hosts).await?;
        let hosts = match woken.hosts {
            1 => "1 host".to_owned(),
            more => format!("{more} hosts"),
        };
        let cards = woken.cards.join(", ");
        Ok(Done {
            text: format!("{hosts} were called by {cards}; nothing says whether they wake up"),
        })
    }

    async fn start(&self, session: i64) -> ApiResult<Done> {
        let id = SessionId(session);
        self.start_now(id).await?;
        Ok(Done {
            text: format!("session {id} starts with the hosts that are connected"),
        })
    }

    async fn cancel(&self, session: i64, host: Option<&str>) -> ApiResult<Done> {
        let id = SessionId(session);
        Self::cancel(self, id, host).await?;
        let text = match host {
            Some(host) => format!("host {} is out of session {id}", shown(host)),
            None => format!("session {id} is cancelled"),
        };
        Ok(Done { text })
    }

    async fn cancel_all(&self) -> ApiResult<Done> {
        let (sessions, failed) = Self::cancel_all(self).await?;
        let (tasks, tasks_failed) = self.cancel_all_tasks().await?;
        let failed = failed.into_iter().map(ApiError::from);
        let failed: Vec<ApiError> = failed
            .chain(tasks_failed.into_iter().map(ApiError::from))
            .collect();
        let count = failed.len();
        if let Some(mut error) = failed.into_iter().next() {
            if count > 1 {
                error.text = format!(
                    "{count} sessions and tasks are not cancelled; of the first: {}",
                    error.text
                );
            }
            return Err(error);
        }
        let sessions = match sessions.as_slice() {
            [] => None,
            [one] => Some(format!("session {one}")),
            many => Some(format!("{} sessions", many.len())),
        };
        let tasks = match tasks.as_slice() {
            [] => None,
            [one] => Some(format!("task {one}")),
            many => Some(format!("{} tasks", many.len())),
        };
        let text = match (sessions, tasks) {
            (None, None) => "no session and no task is active".to_owned(),
            (Some(what), None) | (None, Some(what)) => format!("cancelled: {what}"),
            (Some(sessions), Some(tasks)) => format!("cancelled: {sessions} and {tasks}"),
        };
        Ok(Done { text })
    }

    async fn status(&self, session: Option<i64>) -> ApiResult<ServerStatus> {
        // Each answer reads all members of many sessions.
        let _one_at_a_time = self.status_turn().await;
        let sessions = match session {
            Some(id) => self.session(SessionId(id)).await?.into_iter().collect(),
            None => self.newest_sessions(MAX_SESSIONS).await?,
        };
        Ok(ServerStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now: clock::now().to_string(),
            sessions: sessions.iter().map(session_status).collect(),
        })
    }

    async fn events(&self, session: i64, request: EventsQuery) -> ApiResult<Vec<EventLine>> {
        let session = SessionId(session);
        let wait = Duration::from_secs(request.wait_seconds).min(MAX_EVENT_WAIT);
        let limit = request.limit.min(MAX_EVENTS);
        let events = Self::events(self, session, request.after, limit, wait).await?;
        let lines = events.into_iter().map(|event| EventLine {
            id: event.id,
            at: event.at.to_string(),
            code: event.note.to_parts().0,
            text: text::event(&event),
        });
        Ok(lines.collect())
    }

    async fn user_list(&self) -> ApiResult<Vec<AccountRow>> {
        self.account_rows(AccountKind::User).await
    }

    async fn user_add(&self, request: UserAdd) -> ApiResult<Named> {
        let name = request.name.to_string();
        self.add_user(request.name, request.role, request.password)
            .await?;
        Ok(Named { name })
    }

    async fn user_change(&self, user: &str, request: UserChange) -> ApiResult<Named> {
        let name = account_name(user)?;
        let is_there = self
            .change_user(name, request.role, request.password)
            .await?;
        found(is_there, AccountKind::User, user)
    }

    async fn user_remove(&self, user: &str) -> ApiResult<Named> {
        let removed = self.remove_account(AccountKind::User, account_name(user)?);
        found(removed.await?, AccountKind::User, user)
    }

    async fn token_list(&self) -> ApiResult<Vec<AccountRow>> {
        self.account_rows(AccountKind::Token).await
    }

    async fn token_add(&self, request: TokenAdd) -> ApiResult<Token> {
        let name = request.name.to_string();
        let token = self.add_token(request.name, request.role).await?;
        Ok(Token { name, token })
    }

    async fn token_remove(&self, token: &str) -> ApiResult<Named> {
        let removed = self.remove_account(AccountKind::Token, account_name(token)?);
        found(removed.await?, AccountKind::Token, token)
    }
}

impl Ops {
    async fn new_host(&self, request: HostAdd) -> ApiResult<NewHost> {
        if !(1..=MAX_MACS).contains(&request.macs.len()) {
            let text = format!("a host has 1 to {MAX_MACS} MAC addresses");
            return Err(invalid(text));
        }
        let image = match &request.image {
            Some(wanted) => Some(self.image(wanted).await?.0.id),
            None => None,
        };
        let macs = request.macs.iter().map(|mac| StationMac::try_from(*mac));
        let macs: Result<Vec<_>, _> = macs.collect();
        Ok(NewHost {
            name: request.name,
            macs: macs.map_err(invalid)?,
            image,
            device: request.device.into(),
        })
    }

    async fn account_rows(&self, kind: AccountKind) -> ApiResult<Vec<AccountRow>> {
        let accounts = self.accounts().await?.into_iter();
        Ok(accounts
            .filter(|account| account.kind == kind)
            .map(|account| AccountRow {
                name: account.name.into(),
                role: account.role,
                created_at: account.created_at.to_string(),
            })
            .collect())
    }
    async fn image(&self, wanted: &str) -> ApiResult<(Image, Option<Facts>)> {
        let found = self.find_image(wanted).await?;
        found.ok_or_else(|| no_image(wanted))
    }
}

fn check_wait(seconds: Option<u64>) -> ApiResult<()> {
    match seconds {
        Some(seconds) if !(1..=LONGEST_WAIT).contains(&seconds) => Err(invalid(format!(
            "max_wait_seconds has to be 1 to {LONGEST_WAIT}, a day"
        ))),
        _ => Ok(()),
    }
}

/// Numbers of operating systems: what FOG's column takes.
const MAX_SYSTEM: i64 = 8_000_000;

/// Characters of a note.
const MAX_NOTE: usize = 1000;

fn version_row(version: &ImageVersion) -> VersionRow {
    let facts = version.facts.as_ref();
    let sizes = facts.map(|facts| facts.files.iter().map(|file| file.size));
    VersionRow {
        version: version.number,
        verified_at: facts.map(|facts| facts.checked_at.to_string()),
        stored_size: sizes.map_or(0, |sizes| sizes.fold(0, u64::saturating_add)),
        origin: version
            .origin
            .as_ref()
            .map(text::origin)
            .unwrap_or_default(),
        replaced_at: version.replaced_at.map(|at| at.to_string()),
    }
}

fn reverted(name: &str, cause: RevertError) -> ApiError {
    let kind = match cause {
        RevertError::Store(cause) => return cause.into(),
        RevertError::Change(cause) => return changed(&format!("image {}", shown(name)), cause),
        RevertError::NoVersion { .. } => ApiErrorKind::NotFound,
        RevertError::NotVerified { .. }
        | RevertError::Changed(_)
        | RevertError::Captured(_)
        | RevertError::Shared(_)
        | RevertError::NotHere(_) => ApiErrorKind::Conflict,
        RevertError::File(_) => ApiErrorKind::Unavailable,
        RevertError::Internal(_) => ApiErrorKind::Internal,
    };
    error(kind, cause)
}

fn check_follow_ups(wanted: Option<u32>) -> ApiResult<()> {
    match wanted {
        Some(wanted) if wanted > MAX_FOLLOW_UPS => Err(invalid(format!(
            "follow_ups has to be 0 to {MAX_FOLLOW_UPS}"
        ))),
        _ => Ok(()),
    }
}

fn schedule_row(schedule: Schedule) -> ScheduleRow {
    // A clock that was put back does not bring starts back.
    let next = schedule.when.next(schedule.done_until);
    let session = match &schedule.outcome {
        Some(Outcome::Session { session, .. }) => Some(session.0),
        _ => None,
    };
    ScheduleRow {
        id: schedule.id.0,
        image: schedule.planned.image,
        hosts: schedule.planned.hosts,
        when: schedule.when.to_string(),
        next_at: next.map(|next| next.to_string()),
        session,
        last: schedule.outcome.as_ref().map(outcome).unwrap_or_default(),
    }
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Begun { at } => {
            format!(
                "{at}: it was begun, and the server ended meanwhile; fos-server status shows whether there is a session"
            )
        }
        Outcome::Session { at, session } => format!("{at}: session {session}"),
        Outcome::Failed { at, text } => format!("{at}: {text}"),
        Outcome::Missed { at } => format!("{at}: missed, the server did not run"),
    }
}

/// Addresses of a host.
const MAX_MACS: usize = 32;

/// Longest wait for missing hosts, in seconds.
const LONGEST_WAIT: u64 = 86_400;

fn named(name: &str) -> Named {
    Named {
        name: name.to_owned(),
    }
}

fn no_image(name: &str) -> ApiError {
    let name = shown(name);
    not_found(format!(
        "there is no image {name}; fos-server image list shows them"
    ))
}

fn no_host(name: &str) -> ApiError {
    let name = shown(name);
    not_found(format!(
        "there is no host {name}; fos-server host list shows them"
    ))
}

/// What is no name is nobody's.
fn account_name(name: &str) -> ApiResult<AccountName> {
    name.parse().map_err(|error| not_found(format!("{error}")))
}

/// What is no name is none of a group.
fn group_name(name: &str) -> ApiResult<GroupName> {
    name.parse().map_err(|_| {
        let name = shown(name);
        not_found(format!(
            "there is no group {name}; fos-server group list shows them"
        ))
    })
}

fn found(is_there: bool, kind: AccountKind, name: &str) -> ApiResult<Named> {
    match is_there {
        true => Ok(named(name)),
        false => {
            let name = shown(name);
            let text = format!("there is no {kind} {name}; fos-server {kind} list shows them");
            Err(not_found(text))
        }
    }
}

fn shown_image(ops: &Ops, image: Image, facts: Option<Facts>) -> ImageShown {
    ImageShown {
        copy: ops.image_copy(image.id, facts.as_ref()),
        id: image.id.0,
        name: image.name,
        path: image.path,
        image_type: image.image_type,
        os_id: image.os_id,
        stored_size: image.stored_size,
        note: image.note,
        facts,
    }
}

fn activity_text(activity: &HostActivity) -> String {
    match activity {
        HostActivity::Idle => "-".to_owned(),
        HostActivity::Task {
            session: Some(session),
            ..
        } => format!("in session {session}"),
        HostActivity::Task {
            task,
            session: None,
        } => format!("task {task} without a session"),
        HostActivity::Last { session, reason } => match reason {
            Some(reason) => format!("session {session}: {}", text::reason(reason)),
            None => format!("session {session}"),
        },
    }
}

fn warning(warning: &DeployWarning) -> String {
    match warning {
        DeployWarning::NotVerified => {
            "the image was added without verifying it; fos-server image verify does that".to_owned()
        }
        DeployWarning::NoBootFile(path) => no_boot_file(path),
        DeployWarning::NotWoken(cause) => cause.clone(),
        DeployWarning::PortHeld(held) => format!("{held}; the session has other ports"),
        DeployWarning::Setting(text) => text.clone(),
        DeployWarning::Script(name) => format!(
            "hosts that boot fos-agent do not run the script {name} of the image store; do by hand what it does, \
             or boot FOG's client on them"
        ),
    }
}

fn capture_warning(warning: &CaptureWarning) -> String {
    match warning {
        CaptureWarning::NoBootFile(path) => no_boot_file(path),
        CaptureWarning::NoPrograms { path, lacking } => format!(
            "{} lacks the programs that read file systems ({}), so a machine that boots it cannot capture; make the \
             boot files with fos-server boot-files --capture",
            path.display(),
            lacking.join(", ")
        ),
    }
}

fn no_boot_file(path: &Path) -> String {
    format!(
        "{} is missing, so no machine can boot from this server; put kernel and initramfs there",
        path.display()
    )
}

fn shown(text: &str) -> String {
    fog::encoding::printable(text, 80)
}
