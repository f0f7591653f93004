//! One image looked at: its disks, what is on them, and what is wrong with it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Html;
use maud::{Markup, html};
use readable::Size;

use super::images::{steering, verification};
use super::layout::{Place, page};
use super::visitor::{At, PageError, Visitor};
use crate::api::{Api as _, DiskInspection, ImageInspection, PartitionInspection};
use crate::domain::account::Role;
use crate::ops::Ops;

/// The page.
pub(super) async fn show(
    visitor: Visitor,
    State(ops): State<Arc<Ops>>,
    At(image): At<String>,
) -> Result<Html<String>, PageError> {
    let image = ops.image_inspect(&image).await?;
    let body = html! {
        (state(&image))
        (numbers(&image))
        @if let Some(found) = &image.verification { (verification(found)) }
        @if visitor.may(Role::Operator) { (steering(&visitor, &image.name)) }
        @for found in &image.disks { (disk(found)) }
        (streams(&image))
        (files(&image))
    };
    let title = format!("Image {}", image.name);
    Ok(page(&title, &visitor, Place::Images, &body))
}

fn state(image: &ImageInspection) -> Markup {
    html! {
        @if image.problems.is_empty() {
            div.headline.complete { p { "Its files are those that were verified, by size and date." } }
        } @else {
            div.headline.failed { ul { @for text in &image.problems { li { (text) } } } }
        }
        @if !image.warnings.is_empty() {
            h2 { "Clients will warn" }
            ul { @for text in &image.warnings { li { (text) } } }
        }
    }
}

fn numbers(image: &ImageInspection) -> Markup {
    html! {
        dl.numbers {
            div { dt { "Directory" } dd { (image.path) } }
            div { dt { "Type" } dd { (image.image_type) } }
            div { dt { "Operating system" } dd { (image.os_id) } }
            div { dt { "In the store" } dd { (Size(image.stored_size)) } }
            div { dt { "Verified" } dd { @match &image.verified_at {
                Some(at) => { (at) " UTC" }
                None => { "never" }
            } @if image.verified_at.is_some() && !image.is_verified { ", headers only" } } }
        }
    }
}

fn disk(disk: &DiskInspection) -> Markup {
    let name = format!("Disk {}", disk.number);
    html! {
        section {
            h2 { (name) }
            dl.numbers {
                div { dt { "Table" } dd { @match (&disk.table, &disk.stream) {
                    (Some(table), _) => { (table) }
                    (None, Some(stream)) => { "all of it is in " (stream) }
                    (None, None) => { "none" }
                } } }
                div { dt { "Captured from" } dd { (Size(disk.captured_size)) } }
                div { dt { "Needs at least" } dd { (Size(disk.least_size)) } }
            }
            @if !disk.partitions.is_empty() {
                (bar(disk))
                div.wide role="region" aria-label={ "Partitions of disk " (disk.number) } tabindex="0" { table {
                    thead { tr {
                        th scope="col" { "Partition" }
                        th scope="col" { "Type" }
                        th scope="col" { "Content" }
                        th scope="col" { "Start" }
                        th scope="col" { "Size" }
                        th scope="col" { "Used" }
                        th scope="col" { "Stream" }
                    } }
                    tbody { @for row in &disk.partitions { (partition(row)) } }
                } }
            }
        }
    }
}

/// The partitions as they lie on the disk; the table has the same in words.
fn bar(disk: &DiskInspection) -> Markup {
    let whole = disk.captured_size.max(1);
    let share = |bytes: u64| u128::from(bytes) * 1000 / u128::from(whole);
    let partitions = disk.partitions.iter().filter(|row| row.volume.is_none());
    html! {
        svg.disk viewBox="0 0 1000 40" preserveAspectRatio="none" aria-hidden="true" {
            @for row in partitions {
                @let (x, width) = (share(row.offset), share(row.size).max(2));
                @let used = row.used_size.map_or(0, share).min(width);
                rect.part x=(x) y="0" width=(width) height="40" {}
                rect.used x=(x) y="0" width=(used) height="40" {}
            }
        }
    }
}

fn partition(row: &PartitionInspection) -> Markup {
    html! {
        tr {
            th scope="row" {
                (row.number)
                @if let Some(volume) = &row.volume { ", volume " (volume) }
                @if !row.name.is_empty() { " " span.quiet { (row.name) } }
            }
            td { (row.kind) @if row.is_bootable { ", active" } }
            td { @match (row.stream.is_some(), row.is_swap) {
                (true, _) => { (row.filesystem) }
                (false, true) => { "swap space, made anew" }
                (false, false) => { "-" }
            } }
            td { (Size(row.offset)) }
            td { (Size(row.size)) }
            td { @match row.used_size { Some(used) => (Size(used)), None => "-" } }
            td { @match &row.stream { Some(stream) => (stream), None => "-" } }
        }
    }
}

fn streams(image: &ImageInspection) -> Markup {
    if image.streams.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Streams" }
        div.wide role="region" aria-label="Streams" tabindex="0" { table {
            thead { tr {
                th scope="col" { "Stream" }
                th scope="col" { "File system" }
                th scope="col" { "Stored" }
                th scope="col" { "Format" }
                th scope="col" { "BLAKE3" }
            } }
            tbody { @for stream in &image.streams { tr {
                th scope="row" { (stream.name) }
                td { (stream.filesystem) }
                td { (Size(stream.stored_size)) }
                td { (stream.format) " " (stream.compression) }
                td { code.hash { (stream.blake3) } }
            } } }
        } }
    }
}

fn files(image: &ImageInspection) -> Markup {
    if image.files.is_empty() {
        return html! {};
    }
    html! {
        h2 { "Other files" }
        div.wide role="region" aria-label="Other files" tabindex="0" { table {
            thead { tr {
                th scope="col" { "File" }
                th scope="col" { "Size" }
                th scope="col" { "BLAKE3" }
            } }
            tbody { @for file in &image.files { tr {
                th scope="row" { (file.name) }
                td { (Size(file.size)) }
                td { @if file.blake3.is_empty() { "-" } @else { code.hash { (file.blake3) } } }
            } } }
        } }
    }
}
