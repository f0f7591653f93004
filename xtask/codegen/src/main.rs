//! Generates `partclone-sys`' bindings from its C header, or checks that they are fresh.
//!
//! A package of its own, outside the default members: it needs libclang at run time, which nothing
//! else does, and its output is committed.

use std::env;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use bindgen::callbacks::{DeriveInfo, ParseCallbacks};
use bindgen::{Formatter, MacroTypeVariation, RustTarget};

fn main() -> Result<ExitCode> {
    let is_check = match env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [arg] if arg == "--check" => true,
        other => bail!("usage: codegen [--check] (got {})", other.join(" ")),
    };
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/partclone-sys");
    let header = package.join("include/partclone_format.h");
    let output = package.join("src/bindings.rs");
    let fresh = generate(&header)?;
    if !is_check {
        fs::write(&output, fresh).with_context(|| format!("writing {}", output.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let committed = fs::read_to_string(&output).with_context(|| {
        format!(
            "reading {}; make it with `cargo xtask codegen`",
            output.display()
        )
    })?;
    if let Some(difference) = first_difference(&committed, &fresh) {
        bail!(
            "crates/partclone-sys/src/bindings.rs is stale: {difference}; \
             run `cargo xtask codegen` and commit the result"
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// What is put above the generated items: the meaning of the header's number types.
const PREAMBLE: &[&str] = &[
    "// Generated from include/partclone_format.h by `cargo xtask codegen`. Do not edit.",
    "",
    "use zerocopy::little_endian::{I32 as les32, U16 as le16, U32 as le32, U64 as le64};",
    "use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};",
];

/// The bindings of the header at `path`, the same text for the same header.
fn generate(path: &Path) -> Result<String> {
    ensure!(path.is_file(), "{} is missing", path.display());
    let target = RustTarget::stable(85, 0)
        .map_err(|error| anyhow::anyhow!("bindgen does not know Rust 1.85: {error}"))?;
    let mut builder = bindgen::builder()
        .header(path.to_string_lossy())
        // One target for everyone, and C's own headers only: the output must not depend on the host.
        .clang_arg("--target=x86_64-unknown-linux-gnu")
        .allowlist_type("partclone_.*")
        .allowlist_var("PARTCLONE_.*")
        .blocklist_type("les?[0-9]+")
        .default_macro_constant_type(MacroTypeVariation::Unsigned)
        .derive_debug(false)
        .derive_copy(false)
        .layout_tests(false)
        .use_core()
        .rust_target(target)
        .disable_header_comment()
        .formatter(Formatter::Prettyplease)
        .parse_callbacks(Box::new(Derives));
    for line in PREAMBLE {
        builder = builder.raw_line(*line);
    }
    let bindings = builder
        .generate()
        .with_context(|| format!("generating bindings of {}", path.display()))?;
    Ok(bindings.to_string())
}

/// Adds the traits by which the structures are read from and written to bytes without `unsafe`.
#[derive(Debug)]
struct Derives;

impl ParseCallbacks for Derives {
    fn add_derives(&self, _info: &DeriveInfo<'_>) -> Vec<String> {
        [
            "FromBytes",
            "Immutable",
            "IntoBytes",
            "KnownLayout",
            "Unaligned",
        ]
        .map(str::to_owned)
        .into()
    }
}

/// The first line that differs, in words; `None` when the texts are equal.
fn first_difference(committed: &str, fresh: &str) -> Option<String> {
    if committed == fresh {
        return None;
    }
    let (mut old, mut new) = (committed.lines(), fresh.lines());
    for number in 1.. {
        match (old.next(), new.next()) {
            (Some(a), Some(b)) if a == b => {}
            (None, None) => break,
            (a, b) => {
                return Some(format!(
                    "line {number} is {:?}, should be {:?}",
                    a.unwrap_or("missing"),
                    b.unwrap_or("missing")
                ));
            }
        }
    }
    Some("only line ends differ".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn difference_names_the_first_line() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        let text = first_difference("a\nb\n", "a\nc\n").expect("differs");
        assert!(text.contains("line 2") && text.contains("\"b\"") && text.contains("\"c\""));
        assert!(
            first_difference("a\n", "a\nb\n")
                .expect("differs")
                .contains("missing")
        );
        assert!(
            first_difference("a\n", "a")
                .expect("differs")
                .contains("line ends")
        );
    }
}
