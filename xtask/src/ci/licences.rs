//! Every dependency's licence must be allowed by `deny.toml`, and none may be banned there.
//!
//! The same file serves cargo-deny, which is asked as well where it is installed; this check needs
//! nothing but cargo.

use std::fs;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{paths, process::Cmd, setup};

#[derive(Debug, Deserialize)]
struct Deny {
    licenses: Licences,
    bans: Bans,
}

#[derive(Debug, Deserialize)]
struct Licences {
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
}

pub(super) fn check() -> Result<()> {
    let text = fs::read_to_string(paths::root().join("deny.toml")).context("reading deny.toml")?;
    let deny: Deny = toml::from_str(&text).context("parsing deny.toml")?;
    let mut problems = Vec::new();
    let mut count = 0;
    // Only what is compiled for Linux; cargo knows the others' dependencies too.
    for platform in ["x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl"] {
        let output = Cmd::cargo()
            .args([
                "metadata",
                "--format-version",
                "1",
                "--filter-platform",
                platform,
            ])
            .output()?;
        let metadata: Metadata =
            serde_json::from_str(&output).context("reading the answer of `cargo metadata`")?;
        count = count.max(metadata.packages.len());
        for package in &metadata.packages {
            if let Some(problem) = problem(package, &deny)
                && !problems.contains(&problem)
            {
                problems.push(problem);
            }
        }
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("\n"));
    }
    println!("{count} packages, all with allowed licences");
    if setup::find_program("cargo-deny").is_some() {
        Cmd::cargo()
            .args(["deny", "check", "licenses", "bans", "sources"])
            .run()?;
    }
    Ok(())
}

fn problem(package: &Package, deny: &Deny) -> Option<String> {
    let Package { name, version, .. } = package;
    if deny.bans.deny.iter().any(|ban| ban.name == *name) {
        return Some(format!("{name} {version} is banned by deny.toml"));
    }
    let Some(licence) = &package.license else {
        return Some(format!("{name} {version} names no licence"));
    };
    match is_allowed(licence, &deny.licenses.allow) {
        Some(true) => None,
        Some(false) => Some(format!(
            "{name} {version}: {licence} is not allowed by deny.toml"
        )),
        None => Some(format!(
            "{name} {version}: cannot read the licence {licence:?}"
        )),
    }
}

/// Whether an SPDX expression (<https://spdx.github.io/spdx-spec/v2.3/SPDX-license-expressions/>) is
/// met by the licences in `allow`; `None` if it is malformed. A slash is an older way to write `OR`.
fn is_allowed(expression: &str, allow: &[String]) -> Option<bool> {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser {
        words: &words,
        allow,
    };
    let answer = parser.either()?;
    parser.words.is_empty().then_some(answer)
}

struct Parser<'a> {
    words: &'a [&'a str],
    allow: &'a [String],
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first)
    }

    fn eat(&mut self, word: &str) -> bool {
        let is_next = self.words.first() == Some(&word);
        if is_next {
            self.words = &self.words[1..];
        }
        is_next
    }

    fn either(&mut self) -> Option<bool> {
        let mut answer = self.both()?;
        while self.eat("OR") {
            answer |= self.both()?;
        }
        Some(answer)
    }

    fn both(&mut self) -> Option<bool> {
        let mut answer = self.one()?;
        while self.eat("AND") {
            answer &= self.one()?;
        }
        Some(answer)
    }

    fn one(&mut self) -> Option<bool> {
        if self.eat("(") {
            let answer = self.either()?;
            return self.eat(")").then_some(answer);
        }
        let mut name = self.next()?.to_owned();
        if matches!(name.as_str(), ")" | "OR" | "AND" | "WITH") {
            return None;
        }
        if self.eat("WITH") {
            name = format!("{name} WITH {}", self.next()?);
        }
        Some(self.allow.contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(expression: &str) -> Option<bool> {
        let allow = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"].map(String::from);
        is_allowed(expression, &allow)
    }

    #[test]
    fn one_branch_of_or_is_enough_and_both_of_and_are_needed() {
        assert_eq!(allowed("MIT"), Some(true));
        assert_eq!(allowed("GPL-3.0-only"), Some(false));
        assert_eq!(allowed("GPL-2.0-only OR MIT"), Some(true));
        assert_eq!(allowed("Unlicense/MIT"), Some(true));
        assert_eq!(allowed("MIT AND Unicode-3.0"), Some(false));
        assert_eq!(allowed("(MIT OR Apache-2.0) AND Unicode-3.0"), Some(false));
        assert_eq!(allowed("GPL-2.0-only OR MIT AND Apache-2.0"), Some(true));
        assert_eq!(allowed("Apache-2.0 WITH LLVM-exception"), Some(true));
        assert_eq!(allowed("MIT WITH LLVM-exception"), Some(false));
    }

    #[test]
    fn malformed_expressions_are_not_allowed_by_accident() {
        for text in [
            "", "(MIT", "MIT)", "OR MIT", "MIT OR", "MIT MIT", "MIT WITH",
        ] {
            assert_eq!(allowed(text), None, "{text:?}");
        }
    }
}
