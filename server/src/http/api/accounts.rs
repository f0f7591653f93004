//! Accounts of people and programs.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::authority::{Admin, Viewer};
use super::body::{Body, Place};
use super::{Answer, SharedOps};
use crate::api::{AccountRow, Api as _, ApiError, Me, Named, Token, TokenAdd, UserAdd, UserChange};

/// Who asks, and what that one may do.
///
/// Role: viewer.
#[utoipa::path(get, path = "/me", tag = "accounts", operation_id = "showMe",
    responses((status = 200, description = "Who asks", body = Me)))]
pub(super) async fn me(Viewer(caller): Viewer) -> Json<Me> {
    Json(Me {
        who: caller.who.to_string(),
        role: caller.role,
    })
}

/// The accounts of people, by name.
///
/// Role: admin.
#[utoipa::path(get, path = "/users", tag = "accounts", operation_id = "listUsers",
    responses((status = 200, description = "By name", body = Vec<AccountRow>)))]
pub(super) async fn users(_: Admin, State(ops): State<SharedOps>) -> Answer<Vec<AccountRow>> {
    ops.user_list().await.map(Json)
}

/// Makes an account for a person.
///
/// Role: admin.
#[utoipa::path(post, path = "/users", tag = "accounts", operation_id = "addUser", request_body = UserAdd,
    responses((status = 201, description = "It is made", body = Named)))]
pub(super) async fn add_user(
    _: Admin,
    State(ops): State<SharedOps>,
    Body(request): Body<UserAdd>,
) -> Result<(StatusCode, Json<Named>), ApiError> {
    let added = ops.user_add(request).await?;
    Ok((StatusCode::CREATED, Json(added)))
}

/// Changes role or password of a person.
///
/// With another password every login of the account is over. Role: admin.
#[utoipa::path(put, path = "/users/{user}", tag = "accounts", operation_id = "changeUser",
    request_body = UserChange,
    params(("user" = String, Path, description = "Name of the account")),
    responses((status = 200, description = "It is changed", body = Named)))]
pub(super) async fn change_user(
    _: Admin,
    State(ops): State<SharedOps>,
    Place(user): Place<String>,
    Body(request): Body<UserChange>,
) -> Answer<Named> {
    ops.user_change(&user, request).await.map(Json)
}

/// Removes the account of a person, who is logged out at once.
///
/// Role: admin.
#[utoipa::path(delete, path = "/users/{user}", tag = "accounts", operation_id = "removeUser",
    params(("user" = String, Path, description = "Name of the account")),
    responses((status = 200, description = "It is removed", body = Named)))]
pub(super) async fn remove_user(
    _: Admin,
    State(ops): State<SharedOps>,
    Place(user): Place<String>,
) -> Answer<Named> {
    ops.user_remove(&user).await.map(Json)
}

/// The accounts of programs, by name.
///
/// Role: admin.
#[utoipa::path(get, path = "/tokens", tag = "accounts", operation_id = "listTokens",
    responses((status = 200, description = "By name", body = Vec<AccountRow>)))]
pub(super) async fn tokens(_: Admin, State(ops): State<SharedOps>) -> Answer<Vec<AccountRow>> {
    ops.token_list().await.map(Json)
}

/// Makes an account for a program; its token is shown this once.
///
/// Role: admin.
#[utoipa::path(post, path = "/tokens", tag = "accounts", operation_id = "addToken", request_body = TokenAdd,
    responses((status = 201, description = "It is made", body = Token)))]
pub(super) async fn add_token(
    _: Admin,
    State(ops): State<SharedOps>,
    Body(request): Body<TokenAdd>,
) -> Result<(StatusCode, Json<Token>), ApiError> {
    let added = ops.token_add(request).await?;
    Ok((StatusCode::CREATED, Json(added)))
}

/// Removes the account of a program, whose token is good for nothing from now on.
///
/// Role: admin.
#[utoipa::path(delete, path = "/tokens/{token}", tag = "accounts", operation_id = "removeToken",
    params(("token" = String, Path, description = "Name of the account")),
    responses((status = 200, description = "It is removed", body = Named)))]
pub(super) async fn remove_token(
    _: Admin,
    State(ops): State<SharedOps>,
    Place(token): Place<String>,
) -> Answer<Named> {
    ops.token_remove(&token).await.map(Json)
}
