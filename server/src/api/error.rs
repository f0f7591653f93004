//! Why something was not done, as people and programs hear it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ops::{
    AcceptError, CancelError, CancelTaskError, CaptureTaskError, ChangeGroupError, DeployError,
    LogError, LoginError, NameError, ReplicateError, ScheduleError, StartError, VerifyRefused,
    WakeError,
};
use crate::store::{
    AddAccountError, AddHostError, AddImageError, AddScheduleError, ChangeError, CreateError,
    GroupError, StoreError,
};
use crate::text;

/// Answer to a person.
pub type ApiResult<T> = Result<T, ApiError>;

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ApiError {
    /// What kind of trouble it is.
    pub kind: ApiErrorKind,
    /// For people: what is wrong, and what to do.
    pub text: String,
    /// Seconds after which it may be asked again, where that is known.
    pub retry_after: Option<u64>,
}

/// Kinds of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ApiErrorKind {
    /// Nobody is logged in, and there is no token that is known.
    Unauthenticated,
    /// The role does not allow it, or the request comes from another page.
    Forbidden,
    /// Something named does not exist.
    NotFound,
    /// There is such a place, but not for this method.
    MethodNotAllowed,
    /// It does not go together with what there is.
    Conflict,
    /// The request is larger than is read.
    TooLarge,
    /// The body is no JSON, or does not say that it is.
    UnsupportedMediaType,
    /// It makes no sense.
    Invalid,
    /// Too many of this kind were asked.
    TooMany,
    /// The database or the image store cannot do it now.
    Unavailable,
    /// A programming error.
    Internal,
}

impl ApiErrorKind {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::Invalid,
        Self::TooMany,
        Self::Unavailable,
        Self::Internal,
    ];

    /// Its status in HTTP.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Invalid => 422,
            Self::TooMany => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Unauthenticated => "Not logged in",
            Self::Forbidden => "Not allowed",
            Self::NotFound => "Not found",
            Self::MethodNotAllowed => "Wrong method",
            Self::Conflict => "Conflict",
            Self::TooLarge => "Too large",
            Self::UnsupportedMediaType => "No JSON",
            Self::Invalid => "Invalid",
            Self::TooMany => "Too many requests",
            Self::Internal => "Internal error",
            Self::Unavailable => "Unavailable at present",
        }
    }
}

/// Why something was not done (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: `code` says what kind of trouble it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The code in words.
    pub title: String,
    /// Status of the answer.
    pub status: u16,
    /// What to decide by.
    pub code: ApiErrorKind,
    /// For people: what is wrong, and what to do.
    pub detail: String,
}

impl From<&ApiError> for Problem {
    fn from(error: &ApiError) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: error.kind.title().to_owned(),
            status: error.kind.status(),
            code: error.kind,
            detail: error.text.clone(),
        }
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self::new(problem.code, problem.detail)
    }
}

impl ApiError {
    /// Without a time after which it may be asked again.
    #[must_use]
    pub fn new(kind: ApiErrorKind, text: impl ToString) -> Self {
        Self {
            kind,
            text: text.to_string(),
            retry_after: None,
        }
    }
}

pub(super) fn error(kind: ApiErrorKind, text: impl ToString) -> ApiError {
    ApiError::new(kind, text)
}

pub(super) fn not_found(text: String) -> ApiError {
    error(ApiErrorKind::NotFound, text)
}

pub(super) fn invalid(cause: impl ToString) -> ApiError {
    error(ApiErrorKind::Invalid, cause)
}

pub(super) fn changed(what: &str, cause: ChangeError) -> ApiError {
    match cause {
        ChangeError::Store(cause) => cause.into(),
        ChangeError::Gone => not_found(format!("{what}: it does not exist any more")),
        ChangeError::InUse(_) | ChangeError::InTask(_) | ChangeError::TaskOver(_) => {
            error(ApiErrorKind::Conflict, format!("{what}: {cause}"))
        }
    }
}

impl From<CaptureTaskError> for ApiError {
    fn from(cause: CaptureTaskError) -> Self {
        let kind = match cause {
            CaptureTaskError::Store(cause)
            | CaptureTaskError::Create(CreateError::Store(cause)) => return cause.into(),
            CaptureTaskError::Host(cause) => return cause.into(),
            CaptureTaskError::NotOne(_)
            | CaptureTaskError::Image(_)
            | CaptureTaskError::Path(_)
            | CaptureTaskError::Undeployable { .. }
            | CaptureTaskError::Level(_) => ApiErrorKind::Invalid,
            CaptureTaskError::Type { .. }
            | CaptureTaskError::System { .. }
            | CaptureTaskError::Place(_)
            | CaptureTaskError::Create(_) => ApiErrorKind::Conflict,
            CaptureTaskError::StoreHangs(_) => ApiErrorKind::Unavailable,
        };
        error(kind, cause)
    }
}

impl From<CancelTaskError> for ApiError {
    fn from(cause: CancelTaskError) -> Self {
        let kind = match cause {
            CancelTaskError::Store(cause) => return cause.into(),
            CancelTaskError::NoTask(_) => ApiErrorKind::NotFound,
            CancelTaskError::Over(..) | CancelTaskError::Changed(_) => ApiErrorKind::Conflict,
        };
        error(kind, cause)
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

impl From<NameError> for ApiError {
    fn from(cause: NameError) -> Self {
        match cause {
            NameError::Store(cause) => cause.into(),
            NameError::NoHost(_) | NameError::NoGroup(_) => error(ApiErrorKind::NotFound, cause),
            NameError::Empty(_) => error(ApiErrorKind::Conflict, cause),
        }
    }
}

impl From<ScheduleError> for ApiError {
    fn from(cause: ScheduleError) -> Self {
        match cause {
            ScheduleError::When(cause) => invalid(cause),
            ScheduleError::Name(cause) => cause.into(),
            ScheduleError::Deploy(cause) => cause.into(),
            ScheduleError::Add(AddScheduleError::Store(cause)) => cause.into(),
            ScheduleError::Add(cause) => error(ApiErrorKind::Conflict, cause),
        }
    }
}

impl From<WakeError> for ApiError {
    fn from(cause: WakeError) -> Self {
        match cause {
            WakeError::Name(cause) => cause.into(),
            WakeError::NotSent(_) => error(ApiErrorKind::Unavailable, cause),
        }
    }
}

impl From<GroupError> for ApiError {
    fn from(cause: GroupError) -> Self {
        match cause {
            GroupError::Store(cause) => cause.into(),
            GroupError::NoGroup(_) | GroupError::NoHost(_) => error(ApiErrorKind::NotFound, cause),
            GroupError::TooMany | GroupError::Full => error(ApiErrorKind::Conflict, cause),
        }
    }
}

impl From<ChangeGroupError> for ApiError {
    fn from(cause: ChangeGroupError) -> Self {
        match cause {
            ChangeGroupError::Name(cause) => cause.into(),
            ChangeGroupError::Group(cause) => cause.into(),
        }
    }
}

impl From<AcceptError> for ApiError {
    fn from(cause: AcceptError) -> Self {
        match cause {
            AcceptError::Store(cause) => cause.into(),
            AcceptError::Add(cause) => cause.into(),
            AcceptError::NotWaiting(_) => error(ApiErrorKind::NotFound, cause),
            AcceptError::Name(_) | AcceptError::Station(_) => error(ApiErrorKind::Invalid, cause),
        }
    }
}

impl From<AddAccountError> for ApiError {
    fn from(cause: AddAccountError) -> Self {
        match cause {
            AddAccountError::Store(cause) => cause.into(),
            AddAccountError::NameTaken { .. } | AddAccountError::TooMany => {
                error(ApiErrorKind::Conflict, cause)
            }
        }
    }
}

impl From<LoginError> for ApiError {
    fn from(cause: LoginError) -> Self {
        match cause {
            LoginError::Store(cause) => cause.into(),
            LoginError::Add(cause) => cause.into(),
            LoginError::Wrong | LoginError::NoSetup => error(ApiErrorKind::Unauthenticated, cause),
            LoginError::Wait(seconds) => Self {
                retry_after: Some(seconds),
                ..error(ApiErrorKind::TooMany, cause)
            },
            LoginError::Internal(_) => error(ApiErrorKind::Internal, cause),
        }
    }
}

impl From<StartError> for ApiError {
    fn from(cause: StartError) -> Self {
        let kind = match &cause {
            StartError::NoSession(_) => ApiErrorKind::NotFound,
            StartError::Over(..) | StartError::Started(_) | StartError::NobodyConnected(_) => {
                ApiErrorKind::Conflict
            }
            StartError::NotRunning(_) | StartError::NotHere(_) | StartError::NoAnswer(_) => {
                ApiErrorKind::Unavailable
            }
            StartError::Store(_) => ApiErrorKind::Internal,
        };
        match cause {
            StartError::Store(cause) => cause.into(),
            cause => error(kind, cause),
        }
    }
}

impl From<LogError> for ApiError {
    fn from(cause: LogError) -> Self {
        let kind = match &cause {
            LogError::Read { .. } | LogError::Hangs(_) => ApiErrorKind::Unavailable,
            LogError::Internal(_) => ApiErrorKind::Internal,
        };
        error(kind, cause)
    }
}

impl From<ReplicateError> for ApiError {
    fn from(error: ReplicateError) -> Self {
        let kind = match error {
            ReplicateError::Store(error) => return error.into(),
            ReplicateError::NoImage(_) | ReplicateError::NoServer { .. } => ApiErrorKind::NotFound,
            ReplicateError::NotVerified(_)
            | ReplicateError::Alone
            | ReplicateError::Refused { .. } => ApiErrorKind::Conflict,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<VerifyRefused> for ApiError {
    fn from(cause: VerifyRefused) -> Self {
        match cause {
            VerifyRefused::Store(cause) => cause.into(),
            VerifyRefused::NoImage(_) => error(ApiErrorKind::NotFound, cause),
            VerifyRefused::Busy(_) => error(ApiErrorKind::Conflict, cause),
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
            DeployError::Name(cause) => return cause.into(),
            cause => cause,
        };
        let kind = match &cause {
            DeployError::NoImage(_) => ApiErrorKind::NotFound,
            DeployError::NeverVerified(_)
            | DeployError::OtherSettings { .. }
            | DeployError::Changed(_)
            | DeployError::NoName
            | DeployError::OddName(_) => ApiErrorKind::Invalid,
            DeployError::StoreHangs(_) | DeployError::BootHangs(_) => ApiErrorKind::Unavailable,
            DeployError::NoPort { .. } | DeployError::NameTaken(..) => ApiErrorKind::Conflict,
            DeployError::Internal(_) | DeployError::Store(_) | DeployError::Name(_) => {
                ApiErrorKind::Internal
            }
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
