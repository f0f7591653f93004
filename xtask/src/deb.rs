//! `cargo xtask deb`: Debian's package of the server, with the agent and everything that makes boot files of it.
//!
//! It is put together as `server/debian` says and built by `dpkg-deb`. Manual pages, completions and the example of a
//! configuration are printed by the server itself.

mod check;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    paths,
    process::Cmd,
    programs,
    setup::{self, Purpose},
    toolchain::{self, BuildOptions, Use},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    #[command(flatten)]
    build: BuildOptions,
    /// Use this program as the server, and do not build it
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Version of the package; without it that of the workspace
    #[arg(long, value_name = "VERSION")]
    package_version: Option<String>,
    /// Compress quickly, for tests
    #[arg(long)]
    quick: bool,
    /// Where the package is to be; without it target/debian
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Install, start, upgrade, remove and purge it in a root of its own; root alone can
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    setup::install(&[Purpose::Build, Purpose::Package])?;
    let server = match &options.server {
        Some(server) => server.clone(),
        None => programs::build(programs::Profile::Release)?.server,
    };
    if options.build.wants_musl_std(Use::Shipping) {
        setup::install(&[Purpose::MuslStd])?;
    }
    let agent = toolchain::build_agent(&options.build, Use::Shipping)?;
    let out = options.out.clone();
    let out = out.unwrap_or_else(|| paths::target().join("debian"));
    let package = Package {
        server: &server,
        agent: &agent,
        is_quick: options.quick,
        out: &out,
    };
    let version = options.package_version.as_deref();
    let version = version.unwrap_or(env!("CARGO_PKG_VERSION"));
    let file = package.build(version)?;
    println!("wrote {}", file.display());
    if options.check {
        let next = package.build(&format!("{version}+next"))?;
        check::run(&file, &next)?;
    }
    Ok(())
}

/// Fetches what `--check` needs: tests do not fetch.
pub(crate) fn prepare() -> Result<()> {
    check::debian().map(drop)
}

/// What goes in.
struct Package<'a> {
    server: &'a Path,
    agent: &'a Path,
    is_quick: bool,
    out: &'a Path,
}

impl Package<'_> {
    /// Builds a version of it; answers its file.
    fn build(&self, version: &str) -> Result<PathBuf> {
        let dir = tempfile::tempdir().context("making a directory for the package")?;
        let root = dir.path().join("root");
        self.fill(&root)?;
        self.control(&root, version)?;
        fs::create_dir_all(self.out).with_context(|| format!("making {}", self.out.display()))?;
        let file = self.out.join(format!("fos-server_{version}_amd64.deb"));
        let compression: &[&str] = match self.is_quick {
            true => &["-Zgzip", "-z1"],
            false => &["-Zxz"],
        };
        Cmd::new("dpkg-deb")
            .env("SOURCE_DATE_EPOCH", time()?)
            .args(compression)
            .args(["--root-owner-group", "--build"])
            .arg(&root)
            .arg(&file)
            .quiet()
            .context("building the package")?;
        Ok(file)
    }

    fn fill(&self, root: &Path) -> Result<()> {
        let packaging = paths::root().join("server/debian");
        let doc = "usr/share/doc/fos-server";
        let workspace = paths::root();
        for (from, to, mode) in [
            (
                self.server.to_owned(),
                "usr/bin/fos-server".to_owned(),
                0o755,
            ),
            (
                self.agent.to_owned(),
                "usr/lib/fos-server/fos-agent".to_owned(),
                0o755,
            ),
            (
                packaging.join("fos-server.service"),
                "usr/lib/systemd/system/fos-server.service".to_owned(),
                0o644,
            ),
            (
                packaging.join("copyright"),
                format!("{doc}/copyright"),
                0o644,
            ),
            (
                workspace.join("LICENSE-MIT"),
                format!("{doc}/LICENSE-MIT"),
                0o644,
            ),
            (
                workspace.join("LICENSE-APACHE"),
                format!("{doc}/LICENSE-APACHE"),
                0o644,
            ),
            (
                workspace.join("CHANGELOG.md"),
                format!("{doc}/changelog"),
                0o644,
            ),
            (
                workspace.join("README.md"),
                format!("{doc}/README.md"),
                0o644,
            ),
            (
                workspace.join("docs/grafana.json"),
                format!("{doc}/examples/grafana.json"),
                0o644,
            ),
        ] {
            let bytes = fs::read(&from).with_context(|| format!("reading {}", from.display()))?;
            place(&root.join(to), &bytes, mode)?;
        }
        if self.is_quick {
            // Symbols of a quick build are most of it.
            let program = root.join("usr/bin/fos-server");
            Cmd::new("strip").arg(program).quiet()?;
        }
        self.written_by_the_server(root, doc)
    }

    /// Manual pages, completions, the example.
    fn written_by_the_server(&self, root: &Path, doc: &str) -> Result<()> {
        let ask = |arguments: &[&str]| Cmd::new(self.server).args(arguments).output();
        let example = format!("{doc}/examples/config.toml");
        for (arguments, to) in [
            (&["config"][..], example.as_str()),
            (
                &["completions", "bash"],
                "usr/share/bash-completion/completions/fos-server",
            ),
            (
                &["completions", "zsh"],
                "usr/share/zsh/vendor-completions/_fos-server",
            ),
            (
                &["completions", "fish"],
                "usr/share/fish/vendor_completions.d/fos-server.fish",
            ),
        ] {
            place(&root.join(to), ask(arguments)?.as_bytes(), 0o644)?;
        }
        let manual = root.join("usr/share/man/man1");
        Cmd::new(self.server).arg("man").arg(&manual).quiet()?;
        for entry in fs::read_dir(&manual)? {
            let path = entry?.path();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
            Cmd::new("gzip").args(["-9n"]).arg(&path).quiet()?;
        }
        Cmd::new("gzip")
            .args(["-9n"])
            .arg(root.join(doc).join("changelog"))
            .quiet()
    }

    fn control(&self, root: &Path, version: &str) -> Result<()> {
        let packaging = paths::root().join("server/debian");
        let control = root.join("DEBIAN");
        let (size, sums) = contents(root)?;
        let template = fs::read_to_string(packaging.join("control.in"))?;
        let text = template
            .replace("@VERSION@", version)
            .replace("@SIZE@", &size.div_ceil(1024).to_string())
            .replace("@LIBC@", &needed_libc(self.server)?);
        place(&control.join("control"), text.as_bytes(), 0o644)?;
        place(&control.join("md5sums"), sums.as_bytes(), 0o644)?;
        for name in ["postinst", "prerm", "postrm"] {
            let bytes = fs::read(packaging.join(name))?;
            place(&control.join(name), &bytes, 0o755)?;
        }
        Ok(())
    }
}

/// Bytes of all files below `root`, and their sums as `dpkg --verify` reads them.
fn contents(root: &Path) -> Result<(u64, String)> {
    let mut above = vec![root.to_owned()];
    let mut files = Vec::new();
    while let Some(directory) = above.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            match path.is_dir() {
                true => above.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    let mut size = 0;
    let mut names = Vec::new();
    for file in &files {
        size += fs::metadata(file)?.len();
        names.push(file.strip_prefix(root)?.to_owned());
    }
    let sums = Cmd::new("md5sum").dir(root).args(names).output()?;
    Ok((size, sums))
}

/// Writes a file, with its directories as every package has them.
fn place(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        for directory in directory
            .ancestors()
            .take_while(|dir| !dir.ends_with("root"))
        {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
        }
    }
    fs::write(path, bytes).with_context(|| format!("writing {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// The newest version of the C library whose functions a program calls.
fn needed_libc(program: &Path) -> Result<String> {
    let listing = Cmd::new("readelf")
        .args(["--wide", "--version-info"])
        .arg(program)
        .output()?;
    newest_libc(&listing)
        .with_context(|| format!("{} needs no version of the C library", program.display()))
}

fn newest_libc(listing: &str) -> Option<String> {
    let number = |version: &str| -> Vec<u32> {
        version
            .split('.')
            .filter_map(|part| part.parse().ok())
            .collect()
    };
    let versions = listing.split_whitespace();
    let versions = versions.filter_map(|word| word.strip_prefix("GLIBC_"));
    let newest = versions.max_by_key(|version| number(version))?;
    Some(newest.to_owned())
}

/// The time of the sources, so that the same ones give the same package.
fn time() -> Result<String> {
    if let Ok(time) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(time);
    }
    let asked = Cmd::new("git")
        .dir(paths::root())
        .args(["log", "-1", "--format=%ct"])
        .output();
    Ok(asked.map_or_else(|_| "1767225600".to_owned(), |time| time.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_of_the_c_library_counts() {
        let listing = "  0x0010: Name: GLIBC_2.9  Flags: none\n  0x0020: Name: GLIBC_2.34  Flags: none  Version: 5\n  \
                       Name: GLIBC_2.3.4\n  Name: GCC_3.0";
        assert_eq!(newest_libc(listing).as_deref(), Some("2.34"));
        assert_eq!(newest_libc("Name: GCC_3.0"), None);
    }

    fn unit() -> PathBuf {
        paths::root().join("server/debian/fos-server.service")
    }

    fn has_systemd() -> bool {
        let is_there = setup::find_program("systemd-analyze").is_some();
        assert!(is_there || std::env::var_os("FOS_TEST_REQUIRE_ALL").is_none());
        is_there
    }

    /// What it complains about beside the program and its manual, which are not installed here, would be a fault.
    #[test]
    fn systemd_takes_the_unit_and_the_one_for_proxy_dhcp() {
        if !has_systemd() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let beside = dir.path().join("fos-server.service.d");
        fs::create_dir(&beside).unwrap();
        let packaging = paths::root().join("server/debian");
        fs::copy(
            packaging.join("proxy-dhcp.conf"),
            beside.join("proxy-dhcp.conf"),
        )
        .unwrap();
        let text = fs::read_to_string(unit()).unwrap();
        let text = text.replace("/usr/bin/fos-server", "/bin/true");
        let text = text.replace("Documentation=man:fos-server(1)\n", "");
        let copy = dir.path().join("fos-server.service");
        fs::write(&copy, text).unwrap();
        let (status, output, errors) = Cmd::new("systemd-analyze")
            .arg("verify")
            .arg(&copy)
            .capture()
            .unwrap();
        let ours = |line: &&str| line.contains("fos-server");
        let complaints: Vec<&str> = output.lines().chain(errors.lines()).filter(ours).collect();
        assert!(
            status.success() && complaints.is_empty(),
            "{complaints:?}\n{errors}"
        );
        // It does notice what is wrong.
        let broken = fs::read_to_string(&copy)
            .unwrap()
            .replace("Type=notify", "Type=nonsense");
        fs::write(&copy, broken).unwrap();
        let (_, output, errors) = Cmd::new("systemd-analyze")
            .arg("verify")
            .arg(&copy)
            .capture()
            .unwrap();
        assert!(format!("{output}{errors}").contains("nonsense"));
    }

    #[test]
    fn the_unit_is_as_closed_as_its_work_allows() {
        if !has_systemd() {
            return;
        }
        let (status, output, errors) = Cmd::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold=25"])
            .arg(unit())
            .capture()
            .unwrap();
        assert!(status.success(), "{output}{errors}");
    }

    #[test]
    fn maintainer_scripts_are_shell() {
        for name in ["postinst", "prerm", "postrm"] {
            let script = paths::root().join("server/debian").join(name);
            Cmd::new("sh").arg("-n").arg(&script).quiet().unwrap();
        }
    }
}
