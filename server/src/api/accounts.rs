//! Accounts of people and programs, as they are asked for.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::account::{AccountName, NewPassword, Role};

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountRow {
    /// Name.
    pub name: String,
    /// What it may do.
    #[schema(value_type = String, example = "viewer", pattern = "^(viewer|operator|admin)$")]
    pub role: Role,
    /// When it was made, UTC.
    pub created_at: String,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// Kind and name of the account.
    pub who: String,
    /// What it may do.
    #[schema(value_type = String, example = "viewer", pattern = "^(viewer|operator|admin)$")]
    pub role: Role,
}

/// An account for a person.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UserAdd {
    /// Name.
    #[schema(value_type = String, example = "ann", pattern = "^[a-z0-9][a-z0-9._@-]{0,39}$")]
    pub name: AccountName,
    /// What it may do: viewer, operator or admin.
    #[schema(value_type = String, example = "operator", pattern = "^(viewer|operator|admin)$")]
    pub role: Role,
    /// Password, 10 to 200 characters.
    #[schema(value_type = String, min_length = 10, max_length = 200)]
    pub password: NewPassword,
}

/// What changes of an account.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UserChange {
    /// Another role.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub role: Option<Role>,
    /// Another password: every login of the account is over.
    #[serde(default)]
    #[schema(value_type = Option<String>, min_length = 10, max_length = 200)]
    pub password: Option<NewPassword>,
}

/// An account for a program.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenAdd {
    /// Name.
    #[schema(value_type = String, example = "grafana", pattern = "^[a-z0-9][a-z0-9._@-]{0,39}$")]
    pub name: AccountName,
    /// What it may do: viewer, operator or admin.
    #[schema(value_type = String, example = "viewer", pattern = "^(viewer|operator|admin)$")]
    pub role: Role,
}

/// What a program shows in `Authorization: Bearer`.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Name of the account.
    pub name: String,
    /// The token. It is not kept, so nobody can find it out later.
    pub token: String,
}

/// The token is not shown.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
