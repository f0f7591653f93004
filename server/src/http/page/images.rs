//! The images, and what is in them.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use readable::Size;

use super::layout::{Place, key, page};
use super::live::{self, Live, Parts, Source};
use super::part;
use super::visitor::{At, PageError, Posted, Visitor};
use crate::api::{Api as _, ImageShown, ImageVerification, VerificationState, image_verification};
use crate::domain::ImageId;
use crate::domain::account::Role;
use crate::domain::image::Facts;
use crate::ops::Ops;

/// The page.
pub(super) async fn list(
    visitor: Visitor,
    State(ops): State<Arc<Ops>>,
) -> Result<Html<String>, PageError> {
    let images = ops.image_list().await?;
    let live = view(&ops, &images);
    let body = html! {
        div data-live=(live.address("/images/live")) {}
        @if images.is_empty() { p { "There is no image yet." } }
        p.note { "Images are added on the server: " code { "fos-server image add NAME" } " reads and verifies all of it." }
        @for image in &images { (shown(&visitor, image, &live)) }
    };
    Ok(page("Images", &visitor, Place::Images, &body))
}

/// What of it changes.
pub(super) async fn live(State(ops): State<Arc<Ops>>, watcher: live::Watcher) -> Response {
    watcher.follow(ops, Source::Images)
}

/// What of the page changes: how images are verified.
pub(super) fn view(ops: &Ops, images: &[ImageShown]) -> Live {
    let mut parts = Parts::default();
    for image in images {
        let found = ops.verification(ImageId(image.id));
        let found = found.map(|found| image_verification(&image.name, &found));
        let part = found.map_or_else(|| html! {}, |found| verification(&found));
        parts.add(&format!("v{}", image.id), &part);
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

fn shown(visitor: &Visitor, image: &ImageShown, live: &Live) -> Markup {
    html! {
        section {
            h2 { a href={ "/images/" (part(&image.name)) } { (image.name) } }
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
            @if let Some(facts) = &image.facts { (partitions(image, facts)) }
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
