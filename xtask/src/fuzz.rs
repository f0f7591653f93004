//! `cargo xtask fuzz`: builds the fuzz targets and runs each for a while from the committed corpus.
//!
//! A stable compiler and g++ (for libFuzzer) are all that this needs: coverage comes from LLVM's own
//! pass, which stable rustc runs too. cargo-fuzz uses the same directories, with a nightly compiler and
//! the address sanitizer.

use std::{
    fs,
    num::NonZero,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{
    paths,
    process::{self, Cmd},
    setup::{self, Purpose},
    signals,
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Seconds for each target
    #[arg(long, default_value_t = SECONDS)]
    seconds: u64,
    /// Targets that run at the same time [default: as many as there are processors]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Only this target (may be repeated)
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<String>,
    /// Go on with the inputs that earlier runs found, beside the committed ones
    #[arg(long)]
    resume: bool,
    /// Build the targets without running them
    #[arg(long, conflicts_with_all = ["seconds", "resume"])]
    build: bool,
}

/// The check of `cargo xtask ci` and `cargo xtask test`.
pub(crate) fn ci() -> Result<()> {
    run(&Options {
        seconds: SECONDS,
        jobs: None,
        targets: Vec::new(),
        resume: false,
        build: false,
    })
}

pub(crate) fn run(options: &Options) -> Result<()> {
    setup::install(&[Purpose::Build, Purpose::Fuzz])?;
    let targets = chosen(&options.targets)?;
    let programs = build(&targets)?;
    if options.build {
        println!("built: {}", programs.display());
        return Ok(());
    }
    println!(
        "==> {} targets, {} s each; inputs that count as new are kept in {}",
        targets.len(),
        options.seconds,
        paths::short(&place("inputs", ""))
    );
    let cores = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let jobs = options.jobs.unwrap_or(cores).get().min(targets.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut failed = Vec::new();
        while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed))
            && signals::caught().is_none()
        {
            match fuzz(target, &programs.join(target), options) {
                Ok(figures) => println!("{target:<18} {figures}"),
                // It was us who ended it.
                Err(_) if signals::caught().is_some() => break,
                Err(error) => {
                    println!("{target:<18} FAILED: {error:#}");
                    failed.push(target.as_str());
                }
            }
        }
        failed
    };
    let failed: Vec<&str> = thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().map(thread::ScopedJoinHandle::join);
        ended
            .flat_map(|failed| failed.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    signals::check()?;
    if !failed.is_empty() {
        bail!("fuzzing found something in: {}", failed.join(", "));
    }
    Ok(())
}

/// What each target gets unless something else is asked for: some minutes for all.
const SECONDS: u64 = 8;
/// Bounds of one input. The slowest machine needs a fraction of them.
const INPUT_SECONDS: u32 = 20;
const MEMORY_MB: u32 = 1024;

fn fuzz(target: &str, program: &Path, options: &Options) -> Result<String> {
    let inputs = place("inputs", target);
    if !options.resume && inputs.exists() {
        fs::remove_dir_all(&inputs)
            .with_context(|| format!("emptying {}", paths::short(&inputs)))?;
    }
    let artifacts = place("artifacts", target);
    for dir in [&inputs, &artifacts, &place("logs", "")] {
        fs::create_dir_all(dir).with_context(|| format!("making {}", paths::short(dir)))?;
    }
    let log = place("logs", &format!("{target}.log"));
    // It would be appended to.
    fs::write(&log, "").with_context(|| format!("emptying {}", paths::short(&log)))?;
    let corpus = paths::root().join("fuzz/corpus").join(target);
    let mut running = Cmd::new(program)
        .arg(format!("-max_total_time={}", options.seconds))
        .arg(format!("-timeout={INPUT_SECONDS}"))
        .arg(format!("-rss_limit_mb={MEMORY_MB}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg("-print_final_stats=1")
        // What is found goes into the first directory; the second is only read.
        .args([&inputs, &corpus])
        .dir(paths::root())
        .spawn(target, &log)?;
    // The fuzzer ends by itself: at its time, or when an input takes too long.
    let limit = Duration::from_secs(options.seconds + 600);
    let status = signals::wait_for(&format!("{target} to end"), limit, || running.ended())?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if !status.success() {
        bail!("{}", complaint(&text, &log, program));
    }
    figures(&text).with_context(|| format!("no figures in {}", paths::short(&log)))
}

/// What failed, and how to see it again.
fn complaint(text: &str, log: &Path, program: &Path) -> String {
    let written = text
        .lines()
        .find_map(|line| line.split_once("Test unit written to "))
        .map(|(_, file)| file.trim());
    let again = match written {
        Some(file) => format!(
            "the input is kept; see it fail again with\n    {} {file}\n\
             and, once it is mended, keep it in fuzz/corpus",
            program.display()
        ),
        None => "it left no input".to_owned(),
    };
    // What the panic said; the backtrace behind it is the fuzzer's own.
    let mut lines = text
        .lines()
        .skip_while(|line| !line.contains("panicked at"));
    let Some(first) = lines.next() else {
        return format!("{again}\n{}", process::tail(log));
    };
    let said: Vec<&str> = std::iter::once(first)
        .chain(lines.take_while(|line| !line.contains("stack backtrace")))
        .take(20)
        .collect();
    format!("{again}\n  | {}", said.join("\n  | "))
}

/// The summary of a run, from what libFuzzer printed.
fn figures(text: &str) -> Option<String> {
    let number = |name: &str| {
        let (_, rest) = text.rsplit_once(name)?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    };
    // `ft` counts features: edges, how often they were taken, and comparisons.
    let (_, start) = text.split_once("INITED")?;
    let (_, start) = start.split_once(" ft: ")?;
    let start: u64 = start.split_whitespace().next()?.parse().ok()?;
    let features = number(" ft: ")?;
    let runs = number("stat::number_of_executed_units:")?;
    let seconds = text.rsplit_once(" runs in ")?.1.split_whitespace().next()?;
    Some(format!(
        "{runs:>9} runs in {seconds:>4} s, {:>5} new features ({features} in all), {:>4} MB",
        features.saturating_sub(start),
        number("stat::peak_rss_mb:")?
    ))
}

/// Builds the targets; answers the directory with the programs.
fn build(targets: &[String]) -> Result<PathBuf> {
    let host = host()?;
    let dir = place("", "");
    println!("==> building {} fuzz targets", targets.len());
    let flags_of_target = format!(
        "CARGO_TARGET_{}_RUSTFLAGS",
        host.to_uppercase().replace('-', "_")
    );
    Cmd::cargo()
        .dir(paths::root().join("fuzz"))
        .args(["build", "--release", "--target", &host])
        .arg("--target-dir")
        .arg(&dir)
        .args(targets.iter().flat_map(|target| ["--bin", target]))
        // They would replace the flags given below.
        .without_env("RUSTFLAGS")
        .without_env("CARGO_ENCODED_RUSTFLAGS")
        // With --target the flags reach neither build scripts nor procedural macros.
        .env(flags_of_target, FLAGS.join(" "))
        .run()
        .context("building the fuzz targets")?;
    Ok(dir.join(host).join("release"))
}

/// What libFuzzer needs to see which code an input reached and what it was compared with.
const FLAGS: [&str; 5] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// The platform of the compiler, which is the one to fuzz on.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = Cmd::new(rustc)
        .args(["--version", "--verbose"])
        .dir(paths::root())
        .output()?;
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("rustc does not say which platform it runs on")
}

/// The targets to run: all of `fuzz/Cargo.toml`, or those that were asked for.
fn chosen(wanted: &[String]) -> Result<Vec<String>> {
    let path = paths::root().join("fuzz/Cargo.toml");
    let text = fs::read_to_string(&path).context("reading fuzz/Cargo.toml")?;
    let manifest: Manifest = toml::from_str(&text).context("parsing fuzz/Cargo.toml")?;
    let all: Vec<String> = manifest.bin.into_iter().map(|bin| bin.name).collect();
    if let Some(stranger) = wanted.iter().find(|name| !all.contains(name)) {
        bail!(
            "there is no fuzz target {stranger}; there are: {}",
            all.join(", ")
        );
    }
    if wanted.is_empty() {
        return Ok(all);
    }
    Ok(wanted.to_vec())
}

#[derive(Debug, Deserialize)]
struct Manifest {
    bin: Vec<Bin>,
}

#[derive(Debug, Deserialize)]
struct Bin {
    name: String,
}

/// A place of ours below cargo's target directory, so that the tree stays clean.
fn place(what: &str, name: &str) -> PathBuf {
    let mut place = paths::target().join("fuzz");
    for part in [what, name] {
        if !part.is_empty() {
            place.push(part);
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read() {
        let text = "#13\tINITED cov: 400 ft: 612 corp: 12/1Kb exec/s: 0 rss: 30Mb\n\
                    #99\tNEW    cov: 410 ft: 640 corp: 13/1Kb lim: 4 exec/s: 0 rss: 31Mb\n\
                    #417403\tDONE   cov: 500 ft: 700 corp: 90/2Kb lim: 60 exec/s: 9 rss: 31Mb\n\
                    Done 417403 runs in 6 second(s)\n\
                    stat::number_of_executed_units: 417403\n\
                    stat::peak_rss_mb:              31\n";
        let figures = figures(text).unwrap();
        assert_eq!(
            figures,
            "   417403 runs in    6 s,    88 new features (700 in all),   31 MB"
        );
        assert!(super::figures("killed").is_none());
    }

    #[test]
    fn a_crash_is_told_with_the_line_that_repeats_it() {
        let text = "thread 'x' panicked at a.rs:1:2:\nout of reach\nstack backtrace:\n  0: main\n\
                    artifact_prefix='/a/'; Test unit written to /a/crash-1\nBase64: AA==";
        let told = complaint(text, Path::new("/no/log"), Path::new("/b/image"));
        assert!(told.contains("    /b/image /a/crash-1\n"), "{told}");
        assert!(
            told.ends_with("panicked at a.rs:1:2:\n  | out of reach"),
            "{told}"
        );
    }

    #[test]
    fn only_known_targets_are_taken() {
        let all = chosen(&[]).unwrap();
        assert!(all.len() > 10);
        assert_eq!(chosen(&["image".to_owned()]).unwrap(), ["image"]);
        assert!(chosen(&["nothing".to_owned()]).is_err());
    }
}
