//! The programs that `cargo test` would run, built together with those that they test.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::pool::{Job, Prints};
use crate::{paths, process::Cmd, programs::Programs};

/// Everything that the workspace consists of.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) tests: Vec<TestProgram>,
    pub(super) programs: Programs,
}

/// A file with tests, or the unit tests of a crate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TestProgram {
    program: PathBuf,
    source: PathBuf,
    manifest: PathBuf,
    package: String,
}

/// Builds the workspace once, with one set of features.
pub(super) fn build() -> Result<Built> {
    let messages = Cmd::cargo()
        .args(["build", "--workspace", "--all-targets"])
        .arg("--message-format=json-render-diagnostics")
        .output_beside_messages()?;
    let artifacts = parse(&messages)?;
    let program = |name: &str| {
        let mut programs = artifacts.iter().filter(|built| !built.profile.test);
        let found = programs.find(|built| built.target.name == name);
        let found = found.and_then(|built| built.executable.clone());
        found.with_context(|| format!("cargo has built no program {name}"))
    };
    Ok(Built {
        programs: Programs {
            agent: program("fos-agent")?,
            server: program("fos-server")?,
        },
        tests: artifacts.into_iter().filter_map(TestProgram::of).collect(),
    })
}

impl TestProgram {
    fn of(built: Artifact) -> Option<Self> {
        if !built.profile.test {
            return None;
        }
        let source = paths::short(&built.target.src_path);
        // path+file:///PATH/server#fos-server@0.1.0, or without the name if it is that of the directory.
        let directory = built.manifest_path.parent()?.file_name()?;
        let (_, id) = built.package_id.rsplit_once('#')?;
        let package = match id.split_once('@') {
            Some((name, _)) => name.to_owned(),
            None => directory.to_str()?.to_owned(),
        };
        Some(Self {
            program: built.executable?,
            source: source.into(),
            manifest: built.manifest_path,
            package,
        })
    }

    /// As cargo runs it.
    pub(super) fn job(&self) -> Job {
        let directory = self.manifest.parent().unwrap_or_else(|| Path::new("/"));
        Job {
            name: self.source.display().to_string(),
            command: Cmd::new(&self.program)
                .dir(directory)
                .env("CARGO_MANIFEST_DIR", directory)
                .env("CARGO_MANIFEST_PATH", &self.manifest)
                .env("CARGO_PKG_NAME", &self.package),
            prints: Prints::Results,
            after: None,
        }
    }

    /// Relative to the workspace.
    pub(super) fn source(&self) -> &Path {
        &self.source
    }
}

/// What cargo says about each thing that it has built, or found built.
#[derive(Debug, Deserialize)]
struct Artifact {
    package_id: String,
    manifest_path: PathBuf,
    target: Target,
    profile: Profile,
    executable: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct Target {
    name: String,
    src_path: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact(Artifact),
    #[serde(other)]
    Other,
}

fn parse(messages: &str) -> Result<Vec<Artifact>> {
    let mut artifacts = Vec::new();
    for line in messages.lines() {
        let message = serde_json::from_str(line)
            .with_context(|| format!("cargo has written something unknown: {line}"))?;
        if let Message::CompilerArtifact(artifact) = message {
            artifacts.push(artifact);
        }
    }
    Ok(artifacts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_programs_are_found_among_what_cargo_has_built() {
        let artifact = |id: &str, source: &str, is_test: bool, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","package_id":"path+file:///w/{id}","manifest_path":"/w/server/Cargo.toml","target":{{"kind":["bin"],"name":"fos-server","src_path":"/w/server/{source}"}},"profile":{{"test":{is_test}}},"executable":{executable},"fresh":true}}"#
            )
        };
        let messages = [
            artifact("server#0.1.0", "src/lib.rs", false, "null"),
            r#"{"reason":"build-script-executed","env":[]}"#.to_owned(),
            artifact(
                "x#fos-server@0.1.0",
                "src/main.rs",
                false,
                r#""/t/fos-server""#,
            ),
            artifact("x#fos-server@0.1.0", "tests/cli.rs", true, r#""/t/cli-1""#),
            artifact("server#0.1.0", "src/main.rs", true, r#""/t/fos_server-2""#),
            r#"{"reason":"build-finished","success":true}"#.to_owned(),
        ];
        let artifacts = parse(&messages.join("\n")).unwrap();
        let tests: Vec<_> = artifacts.into_iter().filter_map(TestProgram::of).collect();
        let expected = [
            ("fos-server", "tests/cli.rs", "cli-1"),
            ("server", "src/main.rs", "fos_server-2"),
        ]
        .map(|(package, source, program)| TestProgram {
            program: Path::new("/t").join(program),
            source: Path::new("/w/server").join(source),
            manifest: "/w/server/Cargo.toml".into(),
            package: package.to_owned(),
        });
        assert_eq!(tests, expected);
        assert!(parse("no JSON").is_err());
    }
}
