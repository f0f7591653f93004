//! How a restore ended, for people and for programs.

use std::time::Duration;

use image::{Geometry, ImageError};
use imaging::Trace;
use pack::{ChunkError, ManifestError, TrustError};
use readable::{Count, Size, Time};
use serde_json::{Value, json};

use super::engine::Report;

/// Something that went well.
pub(super) trait Outcome {
    /// What people are told.
    fn lines(&self) -> Vec<String>;

    /// What programs are told.
    fn json(&self) -> Value;
}

/// A job that went well, and where.
pub(super) struct Done {
    pub(super) report: Report,
    /// `None`: it was only checked.
    pub(super) target: Option<String>,
    pub(super) bottleneck: Option<&'static str>,
}

impl Outcome for Done {
    fn lines(&self) -> Vec<String> {
        let Report {
            summary,
            source,
            record,
            warnings,
            elapsed,
        } = &self.report;
        let mut lines = vec![format!("image: {}", summary.geometry.header)];
        if let Some(name) = record {
            lines.push(format!("stream record: {name}"));
        }
        lines.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
        if summary.checksum_errors > 0 {
            let what = if self.target.is_some() {
                "the target holds damaged blocks"
            } else {
                "the data is damaged"
            };
            lines.push(format!(
                "WARNING: {} checksums were wrong and ignored as asked: {what}",
                summary.checksum_errors
            ));
        }
        let checksums = match summary.checksums {
            0 => "no checksums inside".to_owned(),
            count => format!("{} compared", Count(count, "checksum")),
        };
        let time = format!("{:.1}", Time(*elapsed));
        lines.push(match &self.target {
            Some(target) => format!(
                "{source} restored to {target}: {} written and synced in {time}, {checksums}",
                Size(summary.output_len)
            ),
            None => format!(
                "{source} is complete: {} verified in {time}, {checksums}",
                Size(summary.output_len)
            ),
        });
        lines
    }

    fn json(&self) -> Value {
        let Report {
            summary,
            source,
            record,
            warnings,
            elapsed,
        } = &self.report;
        json!({
            "ok": true,
            "source": source,
            "target": self.target,
            "record": record,
            "image": image_facts(&summary.geometry),
            "stored_bytes": summary.input_len,
            "image_bytes": summary.image_len,
            "written_bytes": summary.output_len,
            "checksums": summary.checksums,
            "checksum_errors": summary.checksum_errors,
            "warnings": warnings,
            "bottleneck": self.bottleneck,
            "elapsed_ms": milliseconds(*elapsed),
        })
    }
}

/// The one object that programs read. `ok` tells success; with it comes what was done, without it
/// `error`, the `kind` of it, and whether the target was touched.
pub(super) fn json<T: Outcome>(result: &anyhow::Result<T>, trace: &Trace) -> Value {
    match result {
        Ok(done) => done.json(),
        Err(error) => json!({
            "ok": false,
            "error": readable::chain(error.as_ref()),
            "kind": kind(error).unwrap_or_else(|| "other".to_owned()),
            "target_touched": trace.is_touched(),
            "target_complete": trace.is_complete(),
        }),
    }
}

pub(super) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn image_facts(geometry: &Geometry) -> Value {
    json!({
        "format": geometry.format.to_string(),
        "compression": geometry.compression.to_string(),
        "writer": geometry.writer,
        "filesystem": geometry.filesystem,
        "device_size": geometry.device_size,
        "block_size": geometry.block_size,
        "total_blocks": geometry.total_blocks,
        "used_blocks": geometry.used_blocks,
        "checksum": geometry.checksum.to_string(),
    })
}

/// The kind of an error that the image is to blame for.
fn kind(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<ImageError>() {
            return Some(error.kind().to_string());
        }
        if let Some(ChunkError::Damaged { .. }) = cause.downcast_ref() {
            return Some("chunk-hash".into());
        }
        if cause.is::<ManifestError>() {
            return Some("manifest".into());
        }
        cause.is::<TrustError>().then(|| "untrusted".into())
    })
}
