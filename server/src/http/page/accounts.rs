//! Accounts of people and programs.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use maud::{Markup, html};

use super::layout::{Place, key, page};
use super::visitor::{Fields, PageError, Posted, Visitor};
use crate::api::{AccountRow, Api as _, TokenAdd, UserAdd};
use crate::domain::account::{NewPassword, Role};
use crate::ops::Ops;

/// The page.
pub(super) async fn list(
    visitor: Visitor,
    State(ops): State<Arc<Ops>>,
) -> Result<Html<String>, PageError> {
    visitor.needs(Role::Admin)?;
    let users = ops.user_list().await?;
    let tokens = ops.token_list().await?;
    let body = html! {
        h2 { "People" }
        (table(&visitor, "user", &users))
        h3 id="add-user" { "Make an account for a person" }
        form.stack method="post" action="/accounts/users" aria-labelledby="add-user" {
            (key(&visitor))
            label for="name" { "Name: small letters, digits, or the signs . _ - @" }
            input id="name" name="name" required maxlength="40" autocomplete="off";
            (role_choice("role"))
            label for="password" { "Password, at least " (NewPassword::LEN_MIN) " characters" }
            input id="password" name="password" type="password" required
                minlength=(NewPassword::LEN_MIN) maxlength=(NewPassword::LEN_MAX) autocomplete="new-password";
            button type="submit" { "Make the account" }
        }
        h2 { "Programs" }
        (table(&visitor, "token", &tokens))
        h3 id="add-token" { "Make a token for a program" }
        form.stack method="post" action="/accounts/tokens" aria-labelledby="add-token" {
            (key(&visitor))
            label for="token-name" { "Name: small letters, digits, or the signs . _ - @" }
            input id="token-name" name="name" required maxlength="40" autocomplete="off";
            (role_choice("token-role"))
            button type="submit" { "Make the token" }
        }
    };
    Ok(page("Accounts", &visitor, Place::Accounts, &body))
}

fn role_choice(id: &str) -> Markup {
    html! {
        label for=(id) { "Role" }
        select id=(id) name="role" {
            @for role in Role::ALL { option value=(role) { (role) } }
        }
    }
}

fn table(visitor: &Visitor, kind: &str, rows: &[AccountRow]) -> Markup {
    if rows.is_empty() {
        return html! { p { "None." } };
    }
    html! {
        div.wide role="region" aria-label={ "Accounts: " (kind) } tabindex="0" { table {
            thead { tr {
                th scope="col" { "Name" }
                th scope="col" { "Role" }
                th scope="col" { "Made (UTC)" }
                th scope="col" { "Remove" }
            } }
            tbody { @for row in rows { tr {
                th scope="row" { (row.name) }
                td { (row.role) }
                td { (row.created_at) }
                td { details {
                    summary { "Remove " (row.name) " …" }
                    form method="post" action="/accounts/remove" {
                        (key(visitor))
                        input type="hidden" name="kind" value=(kind);
                        input type="hidden" name="name" value=(row.name);
                        button.danger type="submit" { "Remove " (kind) " " (row.name) }
                    }
                } }
            } } }
        } }
    }
}

fn role(fields: &Fields) -> Result<Role, PageError> {
    fields.get("role").parse().map_err(PageError::invalid)
}

/// Makes an account for a person.
pub(super) async fn add_user(
    State(ops): State<Arc<Ops>>,
    form: Posted,
) -> Result<Response, PageError> {
    let (_, fields) = form.by(Role::Admin)?;
    let password = NewPassword::try_from(fields.exact("password"));
    let request = UserAdd {
        name: fields.get("name").parse().map_err(PageError::invalid)?,
        role: role(&fields)?,
        password: password.map_err(PageError::invalid)?,
    };
    ops.user_add(request).await?;
    Ok(Redirect::to("/accounts").into_response())
}

/// Makes an account for a program, and shows its token this once.
pub(super) async fn add_token(
    State(ops): State<Arc<Ops>>,
    form: Posted,
) -> Result<Html<String>, PageError> {
    let (visitor, fields) = form.by(Role::Admin)?;
    let request = TokenAdd {
        name: fields.get("name").parse().map_err(PageError::invalid)?,
        role: role(&fields)?,
    };
    let made = ops.token_add(request).await?;
    let body = html! {
        p { "This is the token of " strong { (made.name) } ". It is not kept, so note it now:" }
        p { code.token { (made.token) } }
        p { "Programs show it as " code { "Authorization: Bearer TOKEN" } "." }
        p { a href="/accounts" { "To the accounts" } }
    };
    Ok(page("A token is made", &visitor, Place::Accounts, &body))
}

/// Removes an account.
pub(super) async fn remove(
    State(ops): State<Arc<Ops>>,
    form: Posted,
) -> Result<Response, PageError> {
    let (_, fields) = form.by(Role::Admin)?;
    let name = fields.get("name");
    match fields.get("kind") {
        "user" => ops.user_remove(name).await?,
        "token" => ops.token_remove(name).await?,
        _ => return Err(PageError::invalid("an account is a user or a token")),
    };
    Ok(Redirect::to("/accounts").into_response())
}
