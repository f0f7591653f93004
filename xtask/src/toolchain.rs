//! Which compiler and C library make the static agent.
//!
//! In this order: rustup's musl target if it is installed; else Debian's compiler with a standard
//! library built once for musl (module [`musl`]); else glibc, linked statically, with a warning.
//! A demonstration passes over the second: it installs no second compiler, and says so.
//! `FOS_TARGET=musl` or `FOS_TARGET=glibc` leaves no choice. For another processor than this machine's there is musl
//! alone.

mod musl;

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use self::musl::CParts;
use crate::{foreign, paths, process::Cmd};

/// Which C library the agent is to be linked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Libc {
    Musl,
    Glibc,
}

/// Processor of the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arch {
    #[value(name = "x86_64")]
    X86_64,
    Arm64,
}

impl Arch {
    /// As Debian calls it.
    pub(crate) const fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    const fn musl_triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }

    /// The C compiler and musl. What is not installed on this machine is unpacked beside it.
    fn c_parts(self) -> Result<CParts> {
        let ([gcc, ar, objcopy], name, root) = match self {
            Self::X86_64 => (
                ["gcc", "ar", "objcopy"],
                "x86_64-linux-musl",
                PathBuf::from("/"),
            ),
            Self::Arm64 => (
                [
                    "aarch64-linux-gnu-gcc",
                    "aarch64-linux-gnu-ar",
                    "aarch64-linux-gnu-objcopy",
                ],
                "aarch64-linux-musl",
                foreign::unpacked(self, "musl-dev")?,
            ),
        };
        Ok(CParts {
            triple: self.musl_triple(),
            gcc,
            ar,
            objcopy,
            lib: root.join("usr/lib").join(name),
            include: root.join("usr/include").join(name),
        })
    }
}

/// The options of every command that builds the agent.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct BuildOptions {
    /// C library to link the agent with; without it musl where it is to be had (a demonstration installs
    /// no compiler for it), else glibc
    #[arg(long, env = "FOS_TARGET", value_name = "LIBC")]
    pub(crate) target: Option<Libc>,
    /// Processor of the clients
    #[arg(long, value_enum, default_value_t = Arch::X86_64)]
    pub(crate) arch: Arch,
    /// Build as for a release: slower to build (fat LTO), smaller
    #[arg(long)]
    pub(crate) dist: bool,
    /// Use this static program as the agent, and do not build it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["target", "dist"])]
    pub(crate) agent: Option<PathBuf>,
}

/// What the agent is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// To be taken elsewhere, or to be tested as such.
    Shipping,
    /// To be looked at once, soon: what compiles quickly.
    Demo,
}

impl BuildOptions {
    /// Whether an agent for this use is linked with musl if rustup has no musl target.
    pub(crate) fn wants_musl_std(&self, purpose: Use) -> bool {
        let is_quick = purpose == Use::Demo && !self.dist && self.arch == Arch::X86_64;
        self.agent.is_none()
            && match self.target {
                Some(libc) => libc == Libc::Musl,
                None => !is_quick,
            }
    }

    fn profile(&self, purpose: Use) -> Profile {
        match purpose {
            _ if self.dist => Profile::Dist,
            Use::Shipping => Profile::Release,
            Use::Demo => Profile::Dev,
        }
    }
}

/// Cargo's profile of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Profile {
    Dev,
    Release,
    Dist,
}

impl Profile {
    /// Cargo's name of it, and of the directory that it fills.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Dev => ("dev", "debug"),
            Self::Release => ("release", "release"),
            Self::Dist => ("dist", "dist"),
        }
    }
}

/// How to compile for the target.
#[derive(Debug)]
struct Toolchain {
    /// For messages.
    name: String,
    triple: &'static str,
    env: Vec<(&'static str, OsString)>,
    /// For the last step alone: with other ones nothing else is compiled again.
    link_args: Vec<String>,
    target_dir: PathBuf,
    strip: &'static str,
    /// Whether the standard library was made for this program ([`musl`]).
    has_own_std: bool,
}

/// Builds the static `fos-agent` and answers where it is.
///
/// # Errors
///
/// No way to build a static binary is found, the build fails, or its result is not static.
pub(crate) fn build_agent(options: &BuildOptions, purpose: Use) -> Result<PathBuf> {
    if let Some(agent) = &options.agent {
        check_static(agent)?;
        return Ok(agent.clone());
    }
    let toolchain = choose(options, purpose)?;
    let (profile, directory) = options.profile(purpose).names();
    println!(
        "==> building fos-agent for the virtual machines and PCs ({}, profile {profile})",
        toolchain.name
    );
    let mut cargo = Cmd::cargo()
        .args(["rustc", "--package", "fos-agent", "--bin", "fos-agent"])
        .args(["--profile", profile])
        .args(["--target", toolchain.triple])
        .arg("--target-dir")
        .arg(&toolchain.target_dir)
        // They would replace the flags given below.
        .without_env("RUSTFLAGS")
        .without_env("CARGO_ENCODED_RUSTFLAGS");
    for (name, value) in &toolchain.env {
        cargo = cargo.env(name, value);
    }
    cargo = cargo.arg("--").args(&toolchain.link_args);
    cargo.run().context("building the agent")?;
    let agent = toolchain
        .target_dir
        .join(toolchain.triple)
        .join(directory)
        .join("fos-agent");
    check_static(&agent)?;
    match options.profile(purpose) {
        Profile::Dev => return strip(toolchain.strip, &agent),
        Profile::Release => {}
        Profile::Dist => check_size(&agent, toolchain.has_own_std)?,
    }
    Ok(agent)
}

/// The shipped agent, in bytes: each client fetches it before anything else can happen.
const LIMIT: u64 = 5_000_000;

/// Fails where the agent is larger than it may be. Another standard library than ours is not made to be small: with it
/// there is a warning.
fn check_size(agent: &Path, has_own_std: bool) -> Result<()> {
    let len = fs::metadata(agent)
        .with_context(|| format!("examining {}", agent.display()))?
        .len();
    if len <= LIMIT {
        return Ok(());
    }
    let text = format!(
        "{} has {len} bytes, and {LIMIT} are the limit: docs/agent-size.md says what it is made of",
        agent.display()
    );
    if has_own_std {
        bail!(text);
    }
    eprintln!("WARNING: {text}");
    Ok(())
}

/// A copy of `program` without symbols, beside it: with them it is several times as large.
fn strip(with: &str, program: &Path) -> Result<PathBuf> {
    let stripped = program.with_extension("stripped");
    Cmd::new(with)
        .arg("-o")
        .arg(&stripped)
        .arg(program)
        .quiet()
        .with_context(|| format!("removing the symbols of {}", program.display()))?;
    Ok(stripped)
}

/// Fails unless the program `file` runs without a loader and without shared libraries.
pub(crate) fn check_static(file: &Path) -> Result<()> {
    let listing = Cmd::new("readelf")
        .args(["--wide", "--program-headers", "--dynamic"])
        .arg(file)
        .output()
        .with_context(|| format!("examining {}", file.display()))?;
    for line in listing.lines() {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if first == "INTERP" || line.contains("(NEEDED)") {
            bail!(
                "{} is not a static program; readelf says: {}",
                file.display(),
                line.trim()
            );
        }
    }
    Ok(())
}

/// Whether a musl build here goes through a standard library of our own making.
pub(crate) fn wants_own_std() -> Result<bool> {
    let wants_glibc = std::env::var_os("FOS_TARGET").is_some_and(|value| value == "glibc");
    Ok(!wants_glibc && rustup_musl(Arch::X86_64)?.is_none())
}

fn choose(options: &BuildOptions, purpose: Use) -> Result<Toolchain> {
    let arch = options.arch;
    if arch != Arch::X86_64 {
        if options.target == Some(Libc::Glibc) {
            bail!("an agent for {arch:?} is linked with musl only: leave out --target glibc");
        }
        return cross(arch);
    }
    if options.target == Some(Libc::Glibc) {
        return Ok(glibc());
    }
    if let Some(libdir) = rustup_musl(arch)? {
        return Ok(Toolchain {
            name: format!("musl, {}", libdir.display()),
            triple: arch.musl_triple(),
            env: Vec::new(),
            link_args: Vec::new(),
            target_dir: paths::target(),
            strip: "strip",
            has_own_std: false,
        });
    }
    if !options.wants_musl_std(purpose) {
        println!(
            "==> linking the agent with glibc, which this machine's compiler can; what is shipped is \
             linked with musl, as --target musl does here (with a second compiler, Debian's)"
        );
        return Ok(glibc());
    }
    let prepared = || {
        let std = musl::prepare(&arch.c_parts()?)?;
        anyhow::Ok((std, musl::link_args()?))
    };
    match prepared() {
        Ok((std, link_args)) => Ok(Toolchain {
            name: format!("musl, {}", std.version),
            triple: arch.musl_triple(),
            env: vec![
                ("RUSTC", std.rustc.into()),
                (
                    "CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS",
                    std.flags().into(),
                ),
                (
                    "CFLAGS_x86_64_unknown_linux_musl",
                    musl::NO_UNWIND_TABLES.join(" ").into(),
                ),
            ],
            link_args,
            target_dir: paths::target().join("musl"),
            strip: "strip",
            has_own_std: true,
        }),
        Err(error) if options.target == Some(Libc::Musl) => Err(error),
        Err(error) => {
            crate::signals::check()?;
            eprintln!(
                "WARNING: no musl: {error:#}\n\
                 WARNING: the agent is linked statically with glibc instead. It works, but it is \
                 larger; see `cargo xtask setup`."
            );
            Ok(glibc())
        }
    }
}

/// For arm64: gcc's cross compiler links, and compiles C with musl's headers. The standard library is rustup's, if it
/// has that target, else of our own making.
fn cross(arch: Arch) -> Result<Toolchain> {
    let parts = arch.c_parts()?;
    let work = paths::target().join("musl");
    let compiler = work.join("aarch64-linux-musl-gcc");
    write_program(
        &compiler,
        &format!(
            "#!/bin/sh\nexec {} -nostdinc -isystem '{}' -isystem '{}' \"$@\"\n",
            parts.gcc,
            parts.include.display(),
            parts.of_gcc("include")?.display()
        ),
    )?;
    let mut env: Vec<(&'static str, OsString)> = vec![
        (
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER",
            parts.gcc.into(),
        ),
        ("CC_aarch64_unknown_linux_musl", compiler.into()),
        ("AR_aarch64_unknown_linux_musl", parts.ar.into()),
    ];
    let rustup = rustup_musl(arch)?;
    let has_own_std = rustup.is_none();
    let mut link_args = Vec::new();
    let name = match rustup {
        Some(libdir) => format!("musl, {}", libdir.display()),
        None => {
            let std = musl::prepare(&parts)?;
            link_args = musl::link_args()?;
            env.push(("RUSTC", std.rustc.into()));
            env.push((
                "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUSTFLAGS",
                std.flags().into(),
            ));
            env.push((
                "CFLAGS_aarch64_unknown_linux_musl",
                musl::NO_UNWIND_TABLES.join(" ").into(),
            ));
            format!("musl for {}, {}", arch.debian(), std.version)
        }
    };
    Ok(Toolchain {
        name,
        triple: arch.musl_triple(),
        env,
        link_args,
        target_dir: work,
        strip: "aarch64-linux-gnu-strip",
        has_own_std,
    })
}

/// Writes a script that may be run; one that is as it should be stays, as what was made with it is newer.
fn write_program(file: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    if fs::read_to_string(file).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let context = || format!("writing {}", file.display());
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir).with_context(context)?;
    }
    fs::write(file, text).with_context(context)?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755)).with_context(context)
}

fn glibc() -> Toolchain {
    Toolchain {
        name: "static glibc".to_owned(),
        triple: "x86_64-unknown-linux-gnu",
        // With --target the flag reaches neither build scripts nor procedural macros.
        env: vec![(
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "-Ctarget-feature=+crt-static".into(),
        )],
        link_args: Vec::new(),
        // Build scripts and macros are those of the other builds.
        target_dir: paths::target(),
        strip: "strip",
        has_own_std: false,
    }
}

/// The library directory of the current compiler's musl target, if its standard library is there.
fn rustup_musl(arch: Arch) -> Result<Option<PathBuf>> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&rustc)
        .args(["--print", "target-libdir", "--target", arch.musl_triple()])
        .output()
        .with_context(|| format!("asking {} for its targets", rustc.to_string_lossy()))?;
    let libdir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let has_std = fs::read_dir(&libdir).is_ok_and(|entries| {
        entries
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
    });
    Ok((output.status.success() && has_std).then_some(libdir))
}
