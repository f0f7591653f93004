//! `image show`.

use readable::Size;

use super::super::Places;
use super::super::client::Client;
use crate::api::{DiskInspection, ImageInspection, PartitionInspection};
use crate::output;

/// What there is to say of an image.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Show {
    /// Name or number
    #[arg(value_parser = super::super::image)]
    image: String,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

impl Show {
    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let client = Client::connect(places).await?;
        let found = client.api().image_inspect(&self.image).await;
        client.close().await;
        let found = found?;
        match self.json {
            true => output::result(&serde_json::to_string_pretty(&found)?),
            false => output::result(&describe(&found)),
        }
        Ok(true)
    }
}

fn describe(image: &ImageInspection) -> String {
    let verified = match (&image.verified_at, image.is_verified) {
        (Some(at), true) => format!("verified {at} UTC"),
        (Some(at), false) => format!("headers read {at} UTC"),
        (None, _) => "never read".to_owned(),
    };
    let mut lines = vec![
        format!("image {}: {}", image.id, image.name),
        format!(
            "  directory {}, type {}, operating system {}, {} in the store, {verified}",
            image.path,
            image.image_type,
            image.os_id,
            Size(image.stored_size)
        ),
    ];
    let told = |kind: &str, texts: &[String]| -> Vec<String> {
        texts
            .iter()
            .map(|text| format!("  {kind}: {text}"))
            .collect()
    };
    lines.extend(told("problem", &image.problems));
    lines.extend(told("warning", &image.warnings));
    if let Some(verification) = &image.verification {
        lines.push(format!("  last verification: {}", verification.text));
        lines.extend(
            verification
                .details
                .iter()
                .map(|line| format!("    {line}")),
        );
    }
    for disk in &image.disks {
        lines.extend(disk_lines(disk));
    }
    let rows: Vec<Vec<String>> = image
        .streams
        .iter()
        .map(|stream| {
            vec![
                format!("  {}", stream.name),
                Size(stream.stored_size).to_string(),
                format!("{} {}", stream.format, stream.compression),
                stream.blake3.clone(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        lines.push(output::table(
            &["  STREAM", "STORED", "FORMAT", "BLAKE3"],
            &rows,
        ));
    }
    let rows: Vec<Vec<String>> = image
        .files
        .iter()
        .map(|file| {
            vec![
                format!("  {}", file.name),
                Size(file.size).to_string(),
                file.blake3.clone(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        lines.push(output::table(&["  FILE", "SIZE", "BLAKE3"], &rows));
    }
    lines.join("\n")
}

fn disk_lines(disk: &DiskInspection) -> Vec<String> {
    let what = match (&disk.table, &disk.stream) {
        (Some(table), _) => table.clone(),
        (None, Some(stream)) => format!("all of it in {stream}"),
        (None, None) => "no table".to_owned(),
    };
    let mut lines = vec![format!(
        "  disk {}: {what}, captured from {}, needs a disk of {} ({} bytes) at least",
        disk.number,
        Size(disk.captured_size),
        Size(disk.least_size),
        disk.least_size
    )];
    if !disk.partitions.is_empty() {
        let rows: Vec<_> = disk.partitions.iter().map(partition).collect();
        let head = [
            "    PARTITION",
            "TYPE",
            "START",
            "SIZE",
            "USED",
            "CONTENT",
            "STREAM",
        ];
        lines.push(output::table(&head, &rows));
    }
    lines
}

fn partition(row: &PartitionInspection) -> Vec<String> {
    let which = match &row.volume {
        Some(volume) => format!("    {} {volume}", row.number),
        None => format!("    {}", row.number),
    };
    let dash = || "-".to_owned();
    let kind = match row.is_bootable {
        true => format!("{}, active", row.kind),
        false => row.kind.clone(),
    };
    vec![
        which,
        kind,
        Size(row.offset).to_string(),
        Size(row.size).to_string(),
        row.used_size
            .map_or_else(dash, |used| Size(used).to_string()),
        content(row),
        row.stream.clone().unwrap_or_else(dash),
    ]
}

/// What is in a partition when it is deployed.
fn content(row: &PartitionInspection) -> String {
    match (row.stream.is_some(), row.is_swap) {
        (true, _) => row.filesystem.clone(),
        (false, true) => "swap".to_owned(),
        (false, false) => "-".to_owned(),
    }
}
