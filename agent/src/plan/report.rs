//! A plan for people, and for programs.

use std::fmt::Write as _;

use deploy_plan::{Destination, DiskPlan, Step};
use disk::{DumpPartition, PlannedPartition};
use readable::Size;
use serde::Serialize;

use super::Planned;
use crate::image_dir::{Reason, Stop};

/// For people.
pub(super) fn text(planned: &Planned) -> String {
    let Planned { image, plan, .. } = planned;
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!(
        "image {}, type {}{}",
        image.manifest.image_name,
        image.manifest.image_type,
        if image.has_data() {
            ""
        } else {
            "; its directory has no files with data (d1p1.img, ...): only the table is planned"
        }
    ));
    for disk in &plan.disks {
        line(format!(
            "{} {}, {}, {}-byte sectors",
            match disk.which.is_only {
                true => "disk".to_owned(),
                false => format!("{}:", disk.which),
            },
            planned.path(disk).unwrap_or("of this size"),
            Size(disk.shape.size),
            disk.shape.logical_sector
        ));
    }
    for disk in &plan.disks {
        let whose = match disk.which.is_only {
            true => String::new(),
            false => format!(" of {}", disk.which),
        };
        let Some(table) = &disk.table else {
            line(format!(
                "\nThe partition table{whose} is in the data of the image."
            ));
            continue;
        };
        line(format!("\nThe partition table{whose}:"));
        // Its own warnings are among the plan's.
        let table = table.to_string();
        for row in table.lines().filter(|row| !row.starts_with("warning: ")) {
            line(format!("  {row}"));
        }
    }
    line("\nA deploy would, in this order:".into());
    for (number, step) in (1..).zip(plan.steps()) {
        line(format!("{number:>3}. {step}"));
    }
    for (number, (_, text)) in planned.notes().enumerate() {
        if number == 0 {
            line("\nWarnings:".into());
        }
        line(format!("  {text}"));
    }
    // Writing to a String does not fail.
    writeln!(out, "\nNothing was written.").unwrap_or_default();
    out
}

/// For programs.
pub(super) fn json(result: &Result<Planned, Stop>) -> String {
    let document = match result {
        Ok(planned) => Document::Plan(Box::new(plan(planned))),
        Err(Stop::Refused(Reason {
            code,
            is_about_disk,
            text,
        })) => Document::Failure(Failure {
            ok: false,
            error: text.clone(),
            refusal: Some(Refused {
                code,
                disk: *is_about_disk,
            }),
        }),
        Err(Stop::Failed(error)) => Document::Failure(Failure {
            ok: false,
            error: readable::chain(error.as_ref()),
            refusal: None,
        }),
    };
    serde_json::to_string(&document).expect("all keys are texts")
}

#[derive(Serialize)]
#[serde(untagged)]
enum Document {
    Plan(Box<Plan>),
    Failure(Failure),
}

#[derive(Serialize)]
struct Failure {
    ok: bool,
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<Refused>,
}

#[derive(Serialize)]
struct Refused {
    code: &'static str,
    disk: bool,
}

#[derive(Serialize)]
struct Plan {
    ok: bool,
    image: Image,
    /// Of the first disk.
    disk: Disk,
    table: Option<Table>,
    disks: Vec<DiskView>,
    steps: Vec<StepView>,
    warnings: Vec<WarningView>,
}

#[derive(Serialize)]
struct Image {
    directory: String,
    #[serde(rename = "type")]
    image_type: String,
    os: i64,
    has_data: bool,
}

#[derive(Default, Serialize)]
struct Disk {
    path: Option<String>,
    size: u64,
    sector_size: u32,
}

#[derive(Serialize)]
struct DiskView {
    number: u32,
    disk: Disk,
    table: Option<Table>,
}

#[derive(Serialize)]
struct Table {
    label: Option<String>,
    id: Option<String>,
    first_lba: Option<u64>,
    last_lba: Option<u64>,
    partitions: Vec<Partition>,
}

/// `start`, `size` and `original_size` are sectors, `offset` and `len` bytes.
#[derive(Serialize)]
struct Partition {
    number: u32,
    start: u64,
    size: u64,
    offset: u64,
    len: u64,
    original_size: u64,
    #[serde(rename = "type")]
    kind: String,
    uuid: Option<String>,
    name: Option<String>,
    attrs: Option<String>,
    bootable: bool,
    extended: bool,
    swap: bool,
    swap_uuid: Option<String>,
}

#[derive(Serialize)]
struct StepView {
    step: &'static str,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stored_len: Option<u64>,
}

#[derive(Serialize)]
struct WarningView {
    code: &'static str,
    text: String,
}

fn plan(planned: &Planned) -> Plan {
    let Planned { image, plan, .. } = planned;
    let first = plan.disks.first();
    Plan {
        ok: true,
        image: Image {
            directory: image.manifest.image_name.clone(),
            image_type: image.manifest.image_type.to_string(),
            os: image.manifest.os_id,
            has_data: image.has_data(),
        },
        disk: first.map(|first| disk(planned, first)).unwrap_or_default(),
        table: first.and_then(|first| table(planned, first)),
        disks: plan
            .disks
            .iter()
            .map(|planned_disk| DiskView {
                number: planned_disk.which.number,
                disk: disk(planned, planned_disk),
                table: table(planned, planned_disk),
            })
            .collect(),
        steps: plan.steps().map(step).collect(),
        warnings: planned
            .notes()
            .map(|(code, text)| WarningView { code, text })
            .collect(),
    }
}

fn disk(planned: &Planned, disk: &DiskPlan) -> Disk {
    Disk {
        path: planned.path(disk).map(str::to_owned),
        size: disk.shape.size,
        sector_size: disk.shape.logical_sector,
    }
}

fn table(planned: &Planned, disk: &DiskPlan) -> Option<Table> {
    let plan = disk.table.as_ref()?;
    let dump = planned.dump(disk)?;
    let sector = u64::from(disk.shape.logical_sector.max(1));
    // Both are in the order of the plan.
    let partitions = plan.partitions.iter().zip(dump.partitions);
    Some(Table {
        label: dump.label.map(|label| label.to_string()),
        id: dump.label_id,
        first_lba: dump.first_lba,
        last_lba: dump.last_lba,
        partitions: partitions
            .map(|(planned, line)| partition(planned, line, sector))
            .collect(),
    })
}

fn partition(planned: &PlannedPartition, line: DumpPartition, sector: u64) -> Partition {
    Partition {
        number: planned.number,
        start: line.start,
        size: line.size,
        offset: planned.offset,
        len: planned.len,
        original_size: planned.original_len / sector,
        kind: line.kind,
        uuid: line.uuid.map(|uuid| format!("{uuid:X}")),
        name: line.name,
        attrs: line.attrs,
        bootable: planned.is_bootable,
        extended: planned.is_extended,
        swap: planned.is_swap,
        swap_uuid: planned.swap_uuid.map(|uuid| uuid.to_string()),
    }
}

fn step(step: Step<'_>) -> StepView {
    let (disk, partition, stream) = match step {
        Step::Clear(disk) | Step::Table(disk) => (Some(disk.which.number), None, None),
        Step::Stream(stream) => {
            let disk = match stream.destination {
                Destination::Partition { which, .. } | Destination::Volume { which, .. } => {
                    Some(which.disk.number)
                }
                Destination::Disk { which, .. } => Some(which.number),
                Destination::Nowhere => None,
            };
            let partition = stream.partition().map(|which| which.number);
            (disk, partition, Some(stream))
        }
        Step::Grow(place, _) | Step::NtfsCopies(place) | Step::Swap(place) => {
            (Some(place.disk.number), Some(place.partition.number), None)
        }
        Step::Name(_) => (None, None, None),
        Step::Volumes(group) => {
            let which = group.which;
            (Some(which.disk.number), Some(which.number), None)
        }
    };
    StepView {
        step: step.code(),
        text: step.to_string(),
        disk,
        partition,
        stream: stream.map(|stream| stream.name.to_string()),
        stored_len: stream.map(|stream| stream.stored_len),
    }
}
