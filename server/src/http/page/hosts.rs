//! The hosts, and machines that asked and are not registered.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use fog::Mac;
use maud::{Markup, html};

use super::layout::{Place, key, page};
use super::part;
use super::visitor::{At, Fields, PageError, Posted, Visitor};
use crate::api::{
    Api, ApiError, ApiErrorKind, GroupHosts, GroupRow, HostAccept, HostAdd, HostRow, ImageShown,
    PendingHost,
};
use crate::domain::account::Role;
use crate::ops::Ops;

/// The page.
pub(super) async fn list(
    visitor: Visitor,
    State(ops): State<Arc<Ops>>,
) -> Result<Html<String>, PageError> {
    let hosts = ops.host_list().await?;
    let pending = ops.host_pending().await?;
    let images = ops.image_list().await?;
    let groups = ops.group_list().await?;
    let steers = visitor.may(Role::Operator);
    let body = html! {
        @if hosts.is_empty() { p { "No host is registered yet." } } @else {
            (table(&hosts, &images, steers))
        }
        @if !groups.is_empty() { h2 { "Groups" } (group_table(&groups)) }
        @if steers && !hosts.is_empty() { (group_form(&visitor)) }
        h2 { "Machines that asked and are not registered" }
        @if pending.is_empty() { p { "None." } } @else { (pending_table(&visitor, &pending)) }
        @if steers {
            h2 id="add" { "Register a host" }
            form.stack method="post" action="/hosts" aria-labelledby="add" {
                (key(&visitor))
                (fields(None, &images))
                button type="submit" { "Register" }
            }
        }
    };
    Ok(page("Hosts", &visitor, Place::Hosts, &body))
}

fn table(hosts: &[HostRow], images: &[ImageShown], steers: bool) -> Markup {
    html! {
        div.wide role="region" aria-label="Hosts" tabindex="0" { table {
            thead { tr {
                th scope="col" { "Host" }
                th scope="col" { "MAC addresses" }
                th scope="col" { "Image" }
                th scope="col" { "Last deploy (UTC)" }
                th scope="col" { "State" }
            } }
            tbody { @for host in hosts { tr {
                th scope="row" {
                    @if steers { a href={ "/hosts/" (part(&host.name)) } { (host.name) } }
                    @else { (host.name) }
                }
                td { @for mac in &host.macs { span.mac { (mac.to_string()) } " " } }
                td { (image_name(host, images)) }
                td { (host.last_deploy.as_deref().unwrap_or("never")) }
                td { @match host.session {
                    Some(session) => a href={ "/sessions/" (session) } { "in session " (session) },
                    None => (host.state),
                } }
            } } }
        } }
    }
}

fn group_table(groups: &[GroupRow]) -> Markup {
    html! {
        div.wide role="region" aria-label="Groups" tabindex="0" { table {
            thead { tr { th scope="col" { "Group" } th scope="col" { "Hosts" } } }
            tbody { @for group in groups { tr {
                th scope="row" { (group.name) }
                td { (group.hosts.join(" ")) }
            } } }
        } }
    }
}

fn group_form(visitor: &Visitor) -> Markup {
    html! {
        details {
            summary { "Change a group …" }
            form.stack method="post" action="/groups" {
                (key(visitor))
                label for="group" { "Group, as the machines of a room" }
                input id="group" name="group" required maxlength="40" aria-describedby="group-hint";
                p.note id="group-hint" {
                    "Letters, digits, blanks and the signs . _ -; a group that is not there is made"
                }
                label for="group-hosts" { "Names of hosts" }
                textarea id="group-hosts" name="hosts" rows="3" {}
                label for="group-what" { "What to do" }
                select id="group-what" name="what" {
                    option value="add" { "put them in" }
                    option value="take" { "take them out" }
                    option value="remove" { "remove the group" }
                }
                button type="submit" { "Change the group" }
            }
        }
    }
}

fn image_name(host: &HostRow, images: &[ImageShown]) -> String {
    let Some(id) = host.image else {
        return "-".to_owned();
    };
    let found = images.iter().find(|image| image.id == id);
    found.map_or_else(
        || format!("{id}, which is gone"),
        |image| image.name.clone(),
    )
}

fn pending_table(visitor: &Visitor, pending: &[PendingHost]) -> Markup {
    let steers = visitor.may(Role::Operator);
    html! {
        div.wide role="region" aria-label="Machines that are not registered" tabindex="0" { table {
            thead { tr {
                th scope="col" { "MAC address" }
                th scope="col" { "Machine" }
                th scope="col" { "Asked from" }
                th scope="col" { "Last asked (UTC)" }
                th scope="col" { "Times" }
                @if steers { th scope="col" { "Accept as" } }
            } }
            tbody { @for machine in pending { tr {
                th.mac scope="row" { (machine.mac.to_string()) }
                td { (machine.about) @if machine.is_wish { " " strong { "wants to be registered" } } }
                td { @if let Some(address) = machine.address { (address.to_string()) } }
                td { (machine.last_at) }
                td { (machine.requests) }
                @if steers { td { form.row method="post" action="/pending/accept" {
                    (key(visitor))
                    input type="hidden" name="mac" value=(machine.mac.to_string());
                    input name="name" maxlength="15" placeholder=(machine.proposal)
                        aria-label={ "Name for " (machine.mac.to_string()) };
                    button type="submit" { "Accept" }
                } } }
            } } }
        } }
        @if steers { details {
            summary { "Forget them …" }
            form method="post" action="/pending/forget" {
                (key(visitor))
                p { "A machine that asks again is shown again. Pending hosts of FOG's own stay." }
                button.danger type="submit" { "Forget these machines" }
            }
        } }
    }
}

fn fields(host: Option<&HostRow>, images: &[ImageShown]) -> Markup {
    let macs = host.map_or_else(String::new, |host| {
        let macs: Vec<String> = host.macs.iter().map(Mac::to_string).collect();
        macs.join("\n")
    });
    html! {
        label for="name" { "Name" }
        input id="name" name="name" required maxlength="15" value=[host.map(|host| &host.name)]
            aria-describedby="name-hint";
        p.note id="name-hint" { "At most 15 letters, digits and hyphens: it becomes the computer name" }
        label for="macs" { "MAC addresses, one a line, the first is the primary one" }
        textarea id="macs" name="macs" rows="3" required { (macs) }
        label for="image" { "Image" }
        select id="image" name="image" {
            option value="" { "none" }
            @for image in images {
                option value=(image.name) selected[host.and_then(|host| host.image) == Some(image.id)] {
                    (image.name)
                }
            }
        }
        label for="device" { "Target disk: path, size in bytes, WWN, serial number or UUID; empty for the first fixed disk" }
        input id="device" name="device" maxlength="250" value=[host.map(|host| &host.device)];
    }
}

/// What was typed of a host.
fn typed(fields: &Fields) -> Result<HostAdd, PageError> {
    let macs = fields.get("macs").split([' ', '\n', '\r', '\t', ',']);
    let macs = macs.filter(|mac| !mac.is_empty());
    let macs: Result<Vec<Mac>, _> = macs.map(str::parse).collect();
    Ok(HostAdd {
        name: fields.get("name").parse().map_err(PageError::invalid)?,
        macs: macs.map_err(PageError::invalid)?,
        image: fields.optional("image"),
        device: fields.get("device").parse().map_err(PageError::invalid)?,
    })
}

/// Registers a host.
pub(super) async fn add(State(ops): State<Arc<Ops>>, form: Posted) -> Result<Response, PageError> {
    let (_, fields) = form.by(Role::Operator)?;
    ops.host_add(typed(&fields)?).await?;
    Ok(Redirect::to("/hosts").into_response())
}

/// Changes a group.
pub(super) async fn change_group(
    State(ops): State<Arc<Ops>>,
    form: Posted,
) -> Result<Response, PageError> {
    let (_, fields) = form.by(Role::Operator)?;
    let hosts = fields.get("hosts").split([' ', '\n', '\r', '\t', ',']);
    let hosts = hosts.filter(|host| !host.is_empty()).map(str::to_owned);
    let request = GroupHosts {
        hosts: hosts.collect(),
    };
    let group = fields.get("group");
    match fields.get("what") {
        "add" => ops.group_add(group, request).await?,
        "take" => ops.group_take(group, request).await?,
        "remove" => ops.group_remove(group).await?,
        _ => return Err(PageError::invalid("say what to do with the group")),
    };
    Ok(Redirect::to("/hosts").into_response())
}

/// Registers a machine that asked.
pub(super) async fn accept(
    State(ops): State<Arc<Ops>>,
    form: Posted,
) -> Result<Response, PageError> {
    let (_, fields) = form.by(Role::Operator)?;
    let mac: Mac = fields.get("mac").parse().map_err(PageError::invalid)?;
    let name = fields.optional("name").map(|name| name.parse());
    let request = HostAccept {
        name: name.transpose().map_err(PageError::invalid)?,
        ..HostAccept::default()
    };
    Api::host_accept(&*ops, mac, request).await?;
    Ok(Redirect::to("/hosts").into_response())
}

/// Forgets all machines that asked.
pub(super) async fn forget_pending(
    State(ops): State<Arc<Ops>>,
    form: Posted,
) -> Result<Response, PageError> {
    form.by(Role::Operator)?;
    ops.pending_forget(None).await?;
    Ok(Redirect::to("/hosts").into_response())
}

/// A page for one host.
pub(super) async fn show(
    visitor: Visitor,
    State(ops): State<Arc<Ops>>,
    At(name): At<String>,
) -> Result<Html<String>, PageError> {
    visitor.needs(Role::Operator)?;
    let hosts = ops.host_list().await?;
    let host = hosts.iter().find(|host| host.name == name);
    let host = host.ok_or_else(|| no_host(&name))?;
    let images = ops.image_list().await?;
    let place = format!("/hosts/{}", part(&host.name));
    let body = html! {
        p { (host.state) }
        form.stack method="post" action=(place) {
            (key(&visitor))
            (fields(Some(host), &images))
            button type="submit" { "Change" }
        }
        details {
            summary { "Forget what it was told …" }
            form method="post" action={ (place) "/forget" } {
                (key(&visitor))
                p { "Only if all machines with its addresses are switched off: one that still runs would write the "
                    "wrong image." }
                button.danger type="submit" { "Forget what " (host.name) " was told" }
            }
        }
        details {
            summary { "Remove host …" }
            form method="post" action={ (place) "/remove" } {
                (key(&visitor))
                button.danger type="submit" { "Remove " (host.name) }
            }
        }
    };
    let title = format!("Host {}", host.name);
    Ok(page(&title, &visitor, Place::Hosts, &body))
}

fn no_host(name: &str) -> ApiError {
    let name = fog::encoding::printable(name, 60);
    ApiError::new(ApiErrorKind::NotFound, format!("there is no host {name}"))
}

/// Changes a host.
pub(super) async fn edit(
    State(ops): State<Arc<Ops>>,
    At(name): At<String>,
    form: Posted,
) -> Result<Response, PageError> {
    let (_, fields) = form.by(Role::Operator)?;
    ops.host_edit(&name, typed(&fields)?).await?;
    Ok(Redirect::to("/hosts").into_response())
}

/// Removes a host.
pub(super) async fn remove(
    State(ops): State<Arc<Ops>>,
    At(name): At<String>,
    form: Posted,
) -> Result<Response, PageError> {
    form.by(Role::Operator)?;
    ops.host_remove(&name).await?;
    Ok(Redirect::to("/hosts").into_response())
}

/// Forgets what its machines were told.
pub(super) async fn forget(
    State(ops): State<Arc<Ops>>,
    At(name): At<String>,
    form: Posted,
) -> Result<Response, PageError> {
    form.by(Role::Operator)?;
    ops.host_forget(&name).await?;
    Ok(Redirect::to("/hosts").into_response())
}
