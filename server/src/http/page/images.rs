//! The images, and what is in them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use readable::Size;

use super::layout::{Place, key, page};
use super::live::{self, Live, Parts, Source};
use super::overview::warned;
use super::part;
use super::visitor::{At, PageError, Posted, Visitor};
use crate::api::{
    Api, Capture, HostRow, ImageCopy, ImageDescribe, ImageShown, ImageVerification, ReplicaState,
    VerificationState, VersionRow, image_verification,
};
use crate::domain::ImageId;
use crate::domain::account::Role;
use crate::domain::image::{Facts, ImageName};
use crate::http::to_the_end;
use crate::ops::Ops;

/// The page.
pub(super) async fn list(
    visitor: Visitor,
    State(ops): State<Arc<Ops>>,
) -> Result<Html<String>, PageError> {
    let images = ops.image_list().await?;
    let live = view(&ops, &images);
    let mut versions = Vec::with_capacity(images.len());
    for image in &images {
        // A store that hangs keeps nobody from seeing the images.
        let read = Api::image_versions(&*ops, &image.name);
        let read = tokio::time::timeout(VERSIONS_LIMIT, read).await;
        versions.push(read.ok().and_then(Result::ok).unwrap_or_default());
    }
    let hosts = match visitor.may(Role::Admin) {
        true => ops.host_list().await?,
        false => Vec::new(),
    };
    let body = html! {
        div data-live=(live.address("/images/live")) {}
        @if images.is_empty() { p { "There is no image yet." } }
        p.note { "Images are added on the server: " code { "fos-server image add NAME" } " reads and verifies all of it." }
        @for (image, versions) in images.iter().zip(&versions) { (shown(&visitor, image, versions, &live)) }
        @if visitor.may(Role::Admin) { (capture_form(&visitor, &hosts, &images)) }
    };
    Ok(page("Images", &visitor, Place::Images, &body))
}

/// How long the versions of an image may take to be read.
const VERSIONS_LIMIT: Duration = Duration::from_secs(2);

/// What of it changes.
pub(super) async fn live(State(ops): State<Arc<Ops>>, watcher: live::Watcher) -> Response {
    watcher.follow(ops, Source::Images)
}

/// What of the page changes: how images are verified, and copied from other servers.
pub(super) fn view(ops: &Ops, images: &[ImageShown]) -> Live {
    let mut parts = Parts::default();
    for image in images {
        let found = ops.verification(ImageId(image.id));
        let found = found.map(|found| image_verification(&image.name, &found));
        let part = found.map_or_else(|| html! {}, |found| verification(&found));
        parts.add(&format!("v{}", image.id), &part);
        let copied = image
            .copy
            .as_ref()
            .map_or_else(|| html! {}, |found| copy(&image.name, found));
        parts.add(&format!("c{}", image.id), &copied);
    }
    let ids: Vec<String> = images.iter().map(|image| image.id.to_string()).collect();
    Live::new(parts, &ids.join(" "))
}

pub(super) fn verification(found: &ImageVerification) -> Markup {
    let class = match found.state {
        VerificationState::Reading => "active",
        VerificationState::Good => "complete",
        VerificationState::Other | VerificationState::Damaged => "failed",
    };
    html! {
        div class={ "headline " (class) } {
            p { (found.text) @if let Some(ended) = &found.ended_at { " (" (ended) " UTC)" } }
            @if found.state == VerificationState::Reading {
                p { progress.whole max="100" value=(found.percent) aria-label={ "Image " (found.image) } {}
                    " " (found.percent) " %" }
            }
            @if !found.details.is_empty() { ul { @for line in &found.details { li { (line) } } } }
        }
    }
}

/// How an image is copied from another server; nothing once it was.
fn copy(name: &str, found: &ImageCopy) -> Markup {
    let class = match found.state {
        ReplicaState::Failed => "failed",
        state if state.is_at_work() => "active",
        _ => return html! {},
    };
    html! {
        div class={ "headline " (class) } {
            p { "This image " (found.line()) }
            @if matches!(found.state, ReplicaState::Copying | ReplicaState::Comparing) {
                p { progress.whole max=(found.total) value=(found.done) aria-label={ "Copy of image " (name) } {} }
            }
        }
    }
}

fn capture_form(visitor: &Visitor, hosts: &[HostRow], images: &[ImageShown]) -> Markup {
    html! {
        section {
            h2 { "Capture a disk" }
            p.note { "The machine captures its disk when it boots from the network. The present files of an image stay until \
                the new ones are verified, and are kept as a version." }
            form method="post" action="/capture" {
                (key(visitor))
                label for="capture-host" { "Host" }
                select id="capture-host" name="host" required {
                    @for host in hosts { option value=(host.name) { (host.name) } }
                }
                label for="capture-image" { "Image; a new name makes a new one" }
                input id="capture-image" name="image" maxlength="40" required list="capture-images";
                datalist id="capture-images" { @for image in images { option value=(image.name) {} } }
                label for="capture-type" { "What a new image holds" }
                select id="capture-type" name="type" {
                    option value="" { "As the image; one disk as it is for a new one" }
                    option value="n" { "n: one disk, fitted to the target" }
                    option value="mps" { "mps: one disk as it is" }
                    option value="mpa" { "mpa: several disks as they are" }
                    option value="dd" { "dd: a whole disk as one stream" }
                }
                label for="capture-os" { "Operating system of a new image; type n needs it" }
                select id="capture-os" name="os" {
                    option value="" { "As the image; another one for a new one" }
                    @for (number, name) in SYSTEMS { option value=(number) { (name) } }
                }
                p.check {
                    input id="capture-shutdown" type="checkbox" name="shutdown" value="1";
                    label for="capture-shutdown" { "Switch the machine off at the end" }
                }
                button type="submit" { "Capture" }
            }
        }
    }
}

/// FOG's numbers of operating systems.
const SYSTEMS: [(i64, &str); 5] = [
    (5, "Windows 7"),
    (6, "Windows 8"),
    (9, "Windows 10"),
    (10, "Windows 11"),
    (50, "Linux"),
];

fn history(visitor: &Visitor, image: &ImageShown, versions: &[VersionRow]) -> Markup {
    let former: Vec<_> = versions
        .iter()
        .filter_map(|row| Some((row.version?, row)))
        .collect();
    html! {
        @if let Some(present) = versions.first().filter(|row| !row.origin.is_empty()) { p { (present.origin) } }
        @if !former.is_empty() {
            div.wide role="region" aria-label={ "Versions of " (image.name) } tabindex="0" { table {
                thead { tr {
                    th scope="col" { "Version" }
                    th scope="col" { "Replaced" }
                    th scope="col" { "Stored" }
                    th scope="col" { "From" }
                    @if visitor.may(Role::Admin) { th scope="col" { "" } }
                } }
                tbody { @for (number, row) in &former { tr {
                    th scope="row" { (number) }
                    td { @if let Some(at) = &row.replaced_at { (at) " UTC" } }
                    td { (Size(row.stored_size)) }
                    td { (row.origin) }
                    @if visitor.may(Role::Admin) { td {
                        form method="post" action={ "/images/" (part(&image.name)) "/revert" } {
                            (key(visitor))
                            input type="hidden" name="version" value=(number);
                            button type="submit" { "Bring version " (number) " of " (image.name) " back" }
                        }
                    } }
                } } }
            } }
        }
    }
}

fn describe_form(visitor: &Visitor, image: &ImageShown) -> Markup {
    html! {
        details {
            summary { "Name and note of " (image.name) }
            form method="post" action={ "/images/" (part(&image.name)) "/describe" } {
                (key(visitor))
                label for={ "name-" (image.id) } { "Name" }
                input id={ "name-" (image.id) } name="name" maxlength="40" required value=(image.name);
                label for={ "note-" (image.id) } { "Note" }
                textarea id={ "note-" (image.id) } name="note" maxlength="1000" { (image.note) }
                button type="submit" { "Store" }
            }
        }
    }
}

fn shown(visitor: &Visitor, image: &ImageShown, versions: &[VersionRow], live: &Live) -> Markup {
    html! {
        section {
            h2 { a href={ "/images/" (part(&image.name)) } { (image.name) } }
            @if !image.note.is_empty() { p { (image.note) } }
            dl.numbers {
                div { dt { "Directory" } dd { (image.path) } }
                div { dt { "Type" } dd { (image.image_type) } }
                div { dt { "Operating system" } dd { (image.os_id) } }
                div { dt { "In the store" } dd { (Size(image.stored_size)) } }
                @if let Some(facts) = &image.facts {
                    div { dt { "Verified" } dd {
                        (facts.checked_at) " UTC"
                        @if !facts.is_verified { ", headers only" }
                    } }
                } @else { div { dt { "Verified" } dd { "never" } } }
            }
            (live.slot(&format!("v{}", image.id)))
            (live.slot(&format!("c{}", image.id)))
            @if let Some(facts) = &image.facts { (partitions(image, facts)) }
            (history(visitor, image, versions))
            @if visitor.may(Role::Admin) { (describe_form(visitor, image)) }
            @if visitor.may(Role::Operator) { (steering(visitor, &image.name)) }
        }
    }
}

/// What may be done with an image.
pub(super) fn steering(visitor: &Visitor, image: &str) -> Markup {
    html! {
        div.steer {
            form method="post" action={ "/images/" (part(image)) "/check" } {
                (key(visitor))
                button type="submit" { "Look at the files of " (image) }
            }
            form method="post" action={ "/images/" (part(image)) "/verify" } {
                (key(visitor))
                button type="submit" { "Read and verify all of " (image) }
            }
        }
    }
}

fn partitions(image: &ImageShown, facts: &Facts) -> Markup {
    html! {
        div.wide role="region" aria-label={ "Partitions of " (image.name) } tabindex="0" { table {
            thead { tr {
                th scope="col" { "Stream" }
                th scope="col" { "File system" }
                th scope="col" { "Size" }
                th scope="col" { "Used" }
                th scope="col" { "Stored" }
                th scope="col" { "Format" }
            } }
            tbody { @for stream in &facts.streams { tr {
                th scope="row" { (stream.name.as_str()) }
                td { (stream.image.filesystem) }
                td { (Size(stream.image.device_size)) }
                td { @match stream.image.used_blocks {
                    Some(used) => (Size(used.saturating_mul(u64::from(stream.image.block_size)))),
                    None => "-",
                } }
                td { (Size(stream.stored_len)) }
                td { (stream.image.format) " " (stream.image.compression) }
            } } }
        } }
    }
}

/// Looks whether its files are those that were verified.
pub(super) async fn check(
    State(ops): State<Arc<Ops>>,
    At(image): At<String>,
    form: Posted,
) -> Result<Html<String>, PageError> {
    let (visitor, _) = form.by(Role::Operator)?;
    let done = ops.image_check(&image).await?;
    let body = html! {
        p role="status" { (done.text) ", by size and date." }
        p { a href="/images" { "To the images" } }
    };
    Ok(page("Image looked at", &visitor, Place::Images, &body))
}

/// Begins to read all of it.
pub(super) async fn verify(
    State(ops): State<Arc<Ops>>,
    At(image): At<String>,
    form: Posted,
) -> Result<Response, PageError> {
    form.by(Role::Operator)?;
    ops.begin_verification(&image).await?;
    Ok(Redirect::to("/images").into_response())
}

/// Brings a former version back.
pub(super) async fn revert(
    State(ops): State<Arc<Ops>>,
    At(image): At<String>,
    form: Posted,
) -> Result<Response, PageError> {
    let (_, fields) = form.by(Role::Admin)?;
    let Ok(version) = fields.get("version").parse() else {
        return Err(PageError::invalid(
            "no version was chosen; go back and choose one",
        ));
    };
    to_the_end(async move { ops.image_revert(&image, version).await }).await?;
    Ok(Redirect::to("/images").into_response())
}

/// Changes name and note.
pub(super) async fn describe(
    State(ops): State<Arc<Ops>>,
    At(image): At<String>,
    form: Posted,
) -> Result<Response, PageError> {
    let (_, fields) = form.by(Role::Admin)?;
    let name = fields.get("name").parse::<ImageName>();
    let request = ImageDescribe {
        name: Some(name.map_err(PageError::invalid)?),
        // A browser ends lines with both.
        note: Some(fields.get("note").replace("\r\n", "\n")),
    };
    ops.image_describe(&image, request).await?;
    Ok(Redirect::to("/images").into_response())
}

/// Makes the task of a capture.
pub(super) async fn capture(
    State(ops): State<Arc<Ops>>,
    form: Posted,
) -> Result<Response, PageError> {
    let (visitor, fields) = form.by(Role::Admin)?;
    let image_type = match fields.get("type") {
        "" => None,
        text => match text.parse() {
            Ok(found) => Some(found),
            Err(_) => return Err(PageError::invalid("there is no such type of an image")),
        },
    };
    let os_id = match fields.get("os") {
        "" => None,
        text => match text.parse() {
            Ok(found) => Some(found),
            Err(_) => return Err(PageError::invalid("an operating system has a number")),
        },
    };
    let request = Capture {
        host: fields.get("host").to_owned(),
        image: fields.get("image").to_owned(),
        image_type,
        os_id,
        zstd_level: None,
        is_shutdown: fields.get("shutdown") == "1",
        is_debug: false,
    };
    let created = Api::capture(&*ops, request).await?;
    if created.warnings.is_empty() {
        return Ok(Redirect::to("/").into_response());
    }
    let (made, title) = ("The task is made.", "A capture, with warnings");
    let on = ("/", "To the task");
    Ok(warned(&visitor, (title, made), &created.warnings, on).into_response())
}
