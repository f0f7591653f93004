//! A standard library for musl, compiled once for each processor from Debian's library source by Debian's
//! compiler (rustup's cannot compile it: the versions differ) and laid out as rustup does,
//! so that afterwards only `--sysroot` is needed.
//!
//! Rust links musl programs "self-contained": it wants the C start files, `libc.a` and `libunwind.a`
//! beside its own libraries. The first come from musl and gcc; `start.c` is put before musl's own start, so that the
//! relocations can be packed. Panics abort, so nothing is unwound, and there are no tables for it: `no_unwinder.c` is
//! all there is of libunwind. `libgcc.a` has what C code compiled by gcc may ask for (`__popcountdi2`).

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{paths, process::Cmd};

/// Part of the cache's name: a new number when what is built here changes.
const RECIPE: u32 = 3;
const RUSTC: &str = "/usr/bin/rustc";
const LIBRARY_SOURCE: &str = "/usr/lib/rustlib/src/rust/library";

/// What there is for a processor beside Rust's library.
#[derive(Debug)]
pub(super) struct CParts {
    pub(super) triple: &'static str,
    /// gcc and its tools.
    pub(super) gcc: &'static str,
    pub(super) ar: &'static str,
    pub(super) objcopy: &'static str,
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

impl MuslStd {
    /// For rustc, to compile for this library. The shipped program does not name directories of this machine.
    pub(super) fn flags(&self) -> String {
        format!(
            "--sysroot={} -Cpanic=abort -Cforce-unwind-tables=no --remap-path-prefix={}/registry/src/=",
            self.prefix.display(),
            paths::cargo_home().display(),
        )
    }
}

/// For rustc, to link the agent small. The linker is the one that rustup's compiler brings: gcc's cannot pack
/// relocations for each processor, nor fold equal functions.
///
/// # Errors
///
/// It is not there.
pub(super) fn link_args() -> Result<Vec<String>> {
    let library = Cmd::new("rustc")
        .args(["--print", "target-libdir"])
        .output()?;
    let linker = Path::new(library.trim()).with_file_name("bin/gcc-ld");
    if !linker.join("ld.lld").exists() {
        bail!(
            "there is no ld.lld in {}, where the compiler of rust-toolchain.toml has it",
            linker.display()
        );
    }
    let of_gcc = ["-fuse-ld=lld".to_owned(), format!("-B{}", linker.display())];
    let of_linker = LINK_ARGS.iter().map(|&arg| arg.to_owned());
    let left_out = WITH_DICTIONARIES.iter().flat_map(|name| {
        let name = format!("ZSTD_compressBlock_{name}");
        [
            format!("--wrap={name}"),
            format!("--defsym=__wrap_{name}=abort"),
        ]
    });
    let of_linker = of_linker.chain(left_out).map(|arg| format!("-Wl,{arg}"));
    Ok(of_gcc
        .into_iter()
        .chain(of_linker)
        .map(|arg| format!("-Clink-arg={arg}"))
        .collect())
}

/// Packed relocations; equal functions once, as Rust promises no function an address of its own, and the C in the
/// agent compares none; equal ends of texts once.
const LINK_ARGS: [&str; 5] = [
    "--pack-dyn-relocs=relr",
    "--icf=all",
    "--build-id=none",
    "--no-eh-frame-hdr",
    "-O2",
];

/// How zstd compresses where a dictionary is attached: a table of functions leads to it, and the agent has no
/// dictionary. In the table is `abort` instead. Names that zstd no longer has make the agent larger, and
/// nothing else.
const WITH_DICTIONARIES: [&str; 17] = [
    "btlazy2_dictMatchState",
    "btopt_dictMatchState",
    "btultra_dictMatchState",
    "doubleFast_dictMatchState",
    "fast_dictMatchState",
    "greedy_dedicatedDictSearch",
    "greedy_dedicatedDictSearch_row",
    "greedy_dictMatchState",
    "greedy_dictMatchState_row",
    "lazy2_dedicatedDictSearch",
    "lazy2_dedicatedDictSearch_row",
    "lazy2_dictMatchState",
    "lazy2_dictMatchState_row",
    "lazy_dedicatedDictSearch",
    "lazy_dedicatedDictSearch_row",
    "lazy_dictMatchState",
    "lazy_dictMatchState_row",
];

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
    for name in ["crt1.o", "Scrt1.o", "crti.o", "crtn.o", "libc.a"] {
        copy(&parts.lib.join(name), &own.join(name))?;
    }
    for name in ["crtbegin.o", "crtbeginS.o", "crtend.o", "crtendS.o"] {
        copy(&parts.of_gcc(name)?, &own.join(name))?;
    }
    start(parts, work, own)?;
    let shim = compile(parts, work, "no_unwinder")?;
    // One archive out of two; `ar -M` reads its orders from standard input, which ours is not.
    let objects_dir = work.join("libgcc");
    fs::create_dir_all(&objects_dir)?;
    let libgcc = parts.of_gcc("libgcc.a")?;
    Cmd::new(parts.ar)
        .arg("x")
        .arg(&libgcc)
        .dir(&objects_dir)
        .quiet()?;
    let mut members: Vec<PathBuf> = fs::read_dir(&objects_dir)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    members.sort();
    members.insert(0, shim);
    Cmd::new(parts.ar)
        .arg("qcsD")
        .arg(own.join("libunwind.a"))
        .args(&members)
        .quiet()
}

/// `rcrt1.o`, which a position independent static program begins with: ours, and then musl's.
fn start(parts: &CParts, work: &Path, own: &Path) -> Result<()> {
    let ours = compile(parts, work, "start")?;
    let theirs = work.join("musl_start.o");
    Cmd::new(parts.objcopy)
        .arg("--redefine-sym=_start=musl_start")
        .arg(parts.lib.join("rcrt1.o"))
        .arg(&theirs)
        .quiet()?;
    Cmd::new(parts.gcc)
        .args(["-r", "-nostdlib", "-o"])
        .arg(own.join("rcrt1.o"))
        .args([&ours, &theirs])
        .quiet()
}

/// The object of one of the C files beside this crate.
fn compile(parts: &CParts, work: &Path, name: &str) -> Result<PathBuf> {
    let object = work.join(name).with_extension("o");
    Cmd::new(parts.gcc)
        .args(["-O2", "-Wall", "-fPIC", "-fno-stack-protector"])
        .args([
            "-ffunction-sections",
            NO_UNWIND_TABLES[0],
            NO_UNWIND_TABLES[1],
        ])
        .args(["-nostdinc", "-isystem"])
        .arg(&parts.include)
        .arg("-isystem")
        .arg(parts.of_gcc("include")?)
        .arg("-c")
        .arg(recipe_file(&format!("{name}.c")))
        .arg("-o")
        .arg(&object)
        .quiet()?;
    Ok(object)
}

/// Options of gcc.
pub(super) const NO_UNWIND_TABLES: [&str; 2] =
    ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"];

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
        // The library uses unstable features; so does building it.
        .env("RUSTC_BOOTSTRAP", "1")
        // Bitcode: fat LTO over the standard library stays possible.
        .env(
            "RUSTFLAGS",
            format!(
                "-Cembed-bitcode=yes -Cforce-unwind-tables=no --remap-path-prefix={}=.",
                work.display()
            ),
        )
        .without_env("CARGO_ENCODED_RUSTFLAGS")
        // Nothing that the data passes through spends its time in here. What names the places of a backtrace is
        // left out: programs that are shipped have no symbols.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .args([
            "build",
            "--release",
            "--target",
            parts.triple,
            "--target-dir",
        ])
        .arg(&build_dir)
        .arg("-Zbuild-std=std,panic_abort")
        .arg("-Zbuild-std-features=optimize_for_size")
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
