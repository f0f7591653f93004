//! A standard library for musl, compiled once for each processor from Debian's library source by Debian's
//! compiler (rustup's cannot compile it: the versions differ) and laid out as rustup does,
//! so that afterwards only `--sysroot` is needed.
//!
//! Rust links musl programs "self-contained": it wants the C start files, `libc.a` and `libunwind.a`
//! beside its own libraries. The first come from musl and gcc. There is no libunwind for musl; gcc's
//! `libgcc_eh.a` with the small `unwind_shim.c` does its work, and `libgcc.a` has what C code compiled
//! by gcc may ask for (`__popcountdi2`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{paths, process::Cmd};

/// Part of the cache's name: a new number when what is built here changes.
const RECIPE: u32 = 2;
const RUSTC: &str = "/usr/bin/rustc";
const LIBRARY_SOURCE: &str = "/usr/lib/rustlib/src/rust/library";

/// What there is for a processor beside Rust's library.
#[derive(Debug)]
pub(super) struct CParts {
    pub(super) triple: &'static str,
    /// gcc and its `ar`.
    pub(super) gcc: &'static str,
    pub(super) ar: &'static str,
    /// musl's libraries and headers.
    pub(super) lib: PathBuf,
    pub(super) include: PathBuf,
}

/// A finished library.
#[derive(Debug)]
pub(super) struct MuslStd {
    pub(super) rustc: &'static str,
    /// What `rustc --version` says.
    pub(super) version: String,
    /// For `--sysroot`.
    pub(super) prefix: PathBuf,
}

/// Finds the library, or builds it (about a minute and a half).
pub(super) fn prepare(parts: &CParts) -> Result<MuslStd> {
    let version = Cmd::new(RUSTC)
        .arg("--version")
        .output()
        .context("Debian's compiler (package rustc-web) is missing")?;
    let version = version.trim();
    check_version(version)?;
    for need in [Path::new(LIBRARY_SOURCE), &parts.lib, &parts.include] {
        if !need.exists() {
            bail!(
                "{} is missing (packages rust-web-src, musl-dev)",
                need.display()
            );
        }
    }
    let key: String = version
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        })
        .collect();
    let cache = paths::target().join("musl-std");
    // Beside each other for all processors.
    let prefix = cache.join(format!("{key}.{RECIPE}"));
    let library = Path::new("lib/rustlib").join(parts.triple);
    if !prefix.join(&library).exists() {
        println!(
            "==> building the standard library for {}, once ({version})",
            parts.triple
        );
        fs::create_dir_all(&cache).with_context(|| format!("creating {}", cache.display()))?;
        // Built aside and renamed: a half-made library is never found.
        let work = tempfile::Builder::new()
            .prefix("building-")
            .tempdir_in(&cache)
            .context("making a directory to build in")?;
        let made = work.path().join("prefix").join(&library);
        build(parts, work.path(), &made)?;
        let place = prefix.join(&library);
        fs::create_dir_all(prefix.join("lib/rustlib"))
            .with_context(|| format!("creating {}", prefix.display()))?;
        if let Err(error) = fs::rename(&made, &place)
            // Another run may have been quicker; its library is as good.
            && !place.exists()
        {
            return Err(error)
                .with_context(|| format!("moving the library to {}", place.display()));
        }
    }
    Ok(MuslStd {
        rustc: RUSTC,
        version: version.to_owned(),
        prefix,
    })
}

/// Debian's ordinary `rustc` is older than what this workspace accepts.
fn check_version(version: &str) -> Result<()> {
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    let number = version.split_whitespace().nth(1).unwrap_or_default();
    let parts = |text: &str| -> Vec<u32> {
        text.split(['.', '-'])
            .map_while(|part| part.parse().ok())
            .collect()
    };
    if parts(number) < parts(wanted) {
        bail!("{RUSTC} is {number}, and {wanted} is needed (package rustc-web)");
    }
    Ok(())
}

fn build(parts: &CParts, work: &Path, made: &Path) -> Result<()> {
    let lib = made.join("lib");
    let own = lib.join("self-contained");
    fs::create_dir_all(&own).with_context(|| format!("creating {}", own.display()))?;
    c_parts(parts, work, &own).context("collecting the C parts")?;
    rust_parts(parts, work, &lib).context("compiling the standard library")
}

fn c_parts(parts: &CParts, work: &Path, own: &Path) -> Result<()> {
    for name in ["rcrt1.o", "crt1.o", "Scrt1.o", "crti.o", "crtn.o", "libc.a"] {
        copy(&parts.lib.join(name), &own.join(name))?;
    }
    for name in ["crtbegin.o", "crtbeginS.o", "crtend.o", "crtendS.o"] {
        copy(&parts.of_gcc(name)?, &own.join(name))?;
    }
    let shim = work.join("unwind_shim.o");
    Cmd::new(parts.gcc)
        .args(["-O2", "-Wall", "-fPIC", "-nostdinc", "-isystem"])
        .arg(&parts.include)
        .arg("-isystem")
        .arg(parts.of_gcc("include")?)
        .arg("-c")
        .arg(recipe_file("unwind_shim.c"))
        .arg("-o")
        .arg(&shim)
        .quiet()?;
    // One archive out of three; `ar -M` reads its orders from standard input, which ours is not.
    let unwind = work.join("unwind");
    fs::create_dir_all(&unwind)?;
    let archive = own.join("libunwind.a");
    let mut members: Vec<PathBuf> = vec![shim];
    for name in ["libgcc_eh.a", "libgcc.a"] {
        let source = parts.of_gcc(name)?;
        let dir = unwind.join(name);
        fs::create_dir_all(&dir)?;
        Cmd::new(parts.ar).arg("x").arg(&source).dir(&dir).quiet()?;
        let mut objects: Vec<PathBuf> = fs::read_dir(&dir)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        objects.sort();
        members.append(&mut objects);
    }
    Cmd::new(parts.ar)
        .arg("qcsD")
        .arg(&archive)
        .args(&members)
        .quiet()
}

fn rust_parts(parts: &CParts, work: &Path, lib: &Path) -> Result<()> {
    let stub = work.join("stub");
    fs::create_dir_all(stub.join("src"))?;
    fs::write(stub.join("src/lib.rs"), "")?;
    fs::write(
        stub.join("Cargo.toml"),
        "[package]\nname = \"stub\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n",
    )?;
    let build_dir = work.join("target");
    Cmd::cargo()
        .dir(&stub)
        .env("RUSTC", RUSTC)
        .env("RUSTC_WRAPPER", recipe_file("rustc-wrapper.sh"))
        // The library uses unstable features; so does building it.
        .env("RUSTC_BOOTSTRAP", "1")
        // Bitcode: fat LTO over the standard library stays possible.
        .env(
            "RUSTFLAGS",
            format!(
                "-Cembed-bitcode=yes --remap-path-prefix={}=.",
                work.display()
            ),
        )
        .without_env("CARGO_ENCODED_RUSTFLAGS")
        // Nothing that the data passes through spends its time in here. What names the places of a backtrace is
        // left out: programs that are shipped have no symbols.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s")
        .args([
            "build",
            "--release",
            "--target",
            parts.triple,
            "--target-dir",
        ])
        .arg(&build_dir)
        .arg("-Zbuild-std=std,panic_abort,panic_unwind,proc_macro,test")
        .arg("-Zbuild-std-features=panic-unwind,optimize_for_size")
        // The library's own dependencies lie beside it; no registry is asked.
        .args(["--config", "source.crates-io.replace-with='library'"])
        .arg("--config")
        .arg(format!(
            "source.library.directory='{LIBRARY_SOURCE}/vendor'"
        ))
        .run()?;
    let made = build_dir.join(parts.triple).join("release/deps");
    let mut count = 0;
    for entry in fs::read_dir(&made).with_context(|| format!("reading {}", made.display()))? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        if name.ends_with(".rlib") && !name.starts_with("libstub-") {
            copy(&path, &lib.join(name))?;
            count += 1;
        }
    }
    if count == 0 {
        bail!("the build left no libraries in {}", made.display());
    }
    Ok(())
}

impl CParts {
    /// Where gcc keeps one of its own files.
    pub(super) fn of_gcc(&self, name: &str) -> Result<PathBuf> {
        let answer = Cmd::new(self.gcc)
            .arg(format!("-print-file-name={name}"))
            .output()?;
        let path = PathBuf::from(answer.trim());
        if !path.is_absolute() {
            bail!("{} has no {name}", self.gcc);
        }
        Ok(path)
    }
}

fn recipe_file(name: &str) -> PathBuf {
    paths::root().join("xtask/musl").join(name)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)
        .with_context(|| format!("copying {} to {}", from.display(), to.display()))
        .map(drop)
}
