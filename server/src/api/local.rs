//! The operations within the server's process.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    Api, ApiError, ApiErrorKind, ApiResult, Cancel, Deploy, Deployed, EventLine, EventsQuery,
    HostAdd, HostRow, ImageAdd, ImageRoot, ImageShown, ImageUpdate, MAX_EVENT_WAIT, MAX_SESSIONS,
    Named, Nothing, ServerStatus, StatusQuery, session_status,
};
use crate::clock;
use crate::domain::host::{HostActivity, NewHost, StationMac, Stranger};
use crate::domain::image::{Facts, Image};
use crate::domain::{ImageId, SessionId};
use crate::ops::{CancelError, DeployError, DeployRequest, DeployWarning, Ops};
use crate::store::{AddHostError, AddImageError, ChangeError, CreateError, StoreError};
use crate::text;

#[async_trait]
impl Api for Ops {
    async fn host_add(&self, request: HostAdd) -> ApiResult<i64> {
        let image = match &request.image {
            Some(wanted) => Some(self.image(wanted).await?.0.id),
            None => None,
        };
        let macs = request.macs.iter().map(|mac| StationMac::try_from(*mac));
        let macs: Result<Vec<_>, _> = macs.collect();
        let host = NewHost {
            name: request.name,
            macs: macs.map_err(invalid)?,
            image,
            device: request.device.into(),
        };
        Ok(self.add_host(host).await?.0)
    }

    async fn host_list(&self, _: Nothing) -> ApiResult<Vec<HostRow>> {
        let rows = self.hosts().await?.into_iter();
        Ok(rows
            .map(|(host, activity)| HostRow {
                id: host.id.0,
                name: host.name.clone(),
                macs: host.macs.clone(),
                last_deploy: host.last_deploy.map(|at| at.to_string()),
                state: activity_text(&activity),
            })
            .collect())
    }

    async fn host_remove(&self, request: Named) -> ApiResult<String> {
        match self.remove_host(&request.name).await {
            Ok(Some(host)) => Ok(host.name.clone()),
            Ok(None) => Err(not_found(format!(
                "there is no host {}; fos-server host list shows them",
                shown(&request.name)
            ))),
            Err(error) => Err(changed(&format!("host {}", shown(&request.name)), error)),
        }
    }

    async fn host_forget(&self, request: Named) -> ApiResult<String> {
        match self.forget_boots(&request.name).await? {
            Some(host) => Ok(host.name.clone()),
            None => Err(not_found(format!(
                "there is no host {}; fos-server host list shows them",
                shown(&request.name)
            ))),
        }
    }

    async fn host_pending(&self, _: Nothing) -> ApiResult<Vec<Stranger>> {
        Ok(self.strangers().await?)
    }

    async fn image_root(&self, request: ImageRoot) -> ApiResult<String> {
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
            _ => Ok(served),
        }
    }

    async fn image_add(&self, request: ImageAdd) -> ApiResult<i64> {
        Ok(self.add_image(request.image, request.facts).await?.0)
    }

    async fn image_update(&self, request: ImageUpdate) -> ApiResult<String> {
        let image = ImageId(request.image);
        let updated = self.update_image(image, request.format, request.facts);
        updated
            .await
            .map_err(|error| changed(&format!("image {image}"), error))?;
        Ok(self.image(&image.to_string()).await?.0.name)
    }

    async fn image_show(&self, request: Named) -> ApiResult<ImageShown> {
        let (image, facts) = self.image(&request.name).await?;
        Ok(shown_image(image, facts))
    }

    async fn image_list(&self, _: Nothing) -> ApiResult<Vec<ImageShown>> {
        let images = self.images().await?.into_iter();
        Ok(images
            .map(|(image, facts)| shown_image(image, facts))
            .collect())
    }

    async fn image_remove(&self, request: Named) -> ApiResult<String> {
        let (image, _) = self.image(&request.name).await?;
        let removed = self.remove_image(image.id).await;
        removed.map_err(|error| changed(&format!("image {}", image.name), error))?;
        Ok(image.name)
    }

    async fn deploy(&self, request: Deploy) -> ApiResult<Deployed> {
        let wanted = DeployRequest {
            image: request.image,
            hosts: request.hosts,
            name: request.name,
            max_wait: request.max_wait_seconds.map(Duration::from_secs),
            is_shutdown: request.is_shutdown,
            is_debug: request.is_debug,
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

    async fn cancel(&self, request: Cancel) -> ApiResult<String> {
        let id = SessionId(request.session);
        Self::cancel(self, id, request.host.as_deref()).await?;
        Ok(match request.host {
            Some(host) => format!("host {} is out of session {id}", shown(&host)),
            None => format!("session {id} is cancelled"),
        })
    }

    async fn status(&self, request: StatusQuery) -> ApiResult<ServerStatus> {
        let sessions = match request.session {
            Some(id) => self.session(SessionId(id)).await?.into_iter().collect(),
            None => self.newest_sessions(MAX_SESSIONS).await?,
        };
        Ok(ServerStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            now: clock::now().to_string(),
            sessions: sessions.iter().map(session_status).collect(),
        })
    }

    async fn events(&self, request: EventsQuery) -> ApiResult<Vec<EventLine>> {
        let session = SessionId(request.session);
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
}

impl Ops {
    async fn image(&self, wanted: &str) -> ApiResult<(Image, Option<Facts>)> {
        self.find_image(wanted).await?.ok_or_else(|| {
            not_found(format!(
                "there is no image {}; fos-server image list shows them",
                shown(wanted)
            ))
        })
    }
}

/// Events in an answer.
const MAX_EVENTS: u32 = 1000;

fn shown_image(image: Image, facts: Option<Facts>) -> ImageShown {
    ImageShown {
        id: image.id.0,
        name: image.name,
        path: image.path,
        image_type: image.image_type,
        os_id: image.os_id,
        stored_size: image.stored_size,
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
        DeployWarning::NoBootFile(path) => format!(
            "{} is missing, so no machine can boot from this server; put kernel and initramfs there",
            path.display()
        ),
        DeployWarning::PortHeld(held) => format!("{held}; the session has other ports"),
        DeployWarning::Script(name) => format!(
            "hosts that boot fos-agent do not run the script {name} of the image store; do by hand what it does, \
             or boot FOG's client on them"
        ),
    }
}

fn shown(text: &str) -> String {
    fog::encoding::printable(text, 80)
}

fn error(kind: ApiErrorKind, text: impl ToString) -> ApiError {
    ApiError {
        kind,
        text: text.to_string(),
    }
}

fn not_found(text: String) -> ApiError {
    error(ApiErrorKind::NotFound, text)
}

fn invalid(cause: impl ToString) -> ApiError {
    error(ApiErrorKind::Invalid, cause)
}

fn changed(what: &str, cause: ChangeError) -> ApiError {
    match cause {
        ChangeError::Store(cause) => cause.into(),
        ChangeError::Gone => not_found(format!("{what}: it does not exist any more")),
        ChangeError::InUse(_) | ChangeError::InTask(_) => {
            error(ApiErrorKind::Conflict, format!("{what}: {cause}"))
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(cause: StoreError) -> Self {
        let kind = match &cause {
            StoreError::Unavailable(_) => ApiErrorKind::Unavailable,
            StoreError::Broken(_) => ApiErrorKind::Invalid,
            StoreError::Internal(_) => ApiErrorKind::Internal,
        };
        match &cause {
            StoreError::Broken(row) => error(kind, text::broken_row(row)),
            _ => error(kind, cause),
        }
    }
}

impl From<AddHostError> for ApiError {
    fn from(cause: AddHostError) -> Self {
        match cause {
            AddHostError::Store(cause) => cause.into(),
            AddHostError::NoImage(_) => error(ApiErrorKind::NotFound, cause),
            AddHostError::NameTaken(_) | AddHostError::MacTaken { .. } => {
                error(ApiErrorKind::Conflict, cause)
            }
        }
    }
}

impl From<AddImageError> for ApiError {
    fn from(cause: AddImageError) -> Self {
        match cause {
            AddImageError::Store(cause) => cause.into(),
            AddImageError::NameTaken(_) => error(ApiErrorKind::Conflict, cause),
        }
    }
}

impl From<DeployError> for ApiError {
    fn from(cause: DeployError) -> Self {
        let cause = match cause {
            DeployError::Create(CreateError::Store(cause)) | DeployError::Store(cause) => {
                return cause.into();
            }
            cause => cause,
        };
        let kind = match &cause {
            DeployError::NoImage(_) | DeployError::NoHost(_) => ApiErrorKind::NotFound,
            DeployError::NeverVerified(_)
            | DeployError::OtherSettings { .. }
            | DeployError::Changed(_)
            | DeployError::Ports(_) => ApiErrorKind::Invalid,
            DeployError::StoreHangs(_) | DeployError::BootHangs(_) => ApiErrorKind::Unavailable,
            DeployError::NoPort { .. } => ApiErrorKind::Conflict,
            DeployError::Internal(_) | DeployError::Store(_) => ApiErrorKind::Internal,
            DeployError::Create(_) => ApiErrorKind::Conflict,
        };
        error(kind, cause)
    }
}

impl From<CancelError> for ApiError {
    fn from(cause: CancelError) -> Self {
        let cause = match cause {
            CancelError::Store(cause) => return cause.into(),
            cause => cause,
        };
        let kind = match &cause {
            CancelError::Store(_) => ApiErrorKind::Internal,
            CancelError::BrokenHosts(..) => ApiErrorKind::Invalid,
            CancelError::NoSession(_) | CancelError::NoHost(..) => ApiErrorKind::NotFound,
            CancelError::Over(..) | CancelError::HostOver(..) | CancelError::Changed(_) => {
                ApiErrorKind::Conflict
            }
            CancelError::NotStored(_) | CancelError::NoAnswer(_) => ApiErrorKind::Unavailable,
        };
        error(kind, cause)
    }
}
