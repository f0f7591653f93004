//! The life of the package in a Debian of its own: installed, set up, started, upgraded, removed, purged. No service
//! manager runs there: the service is started as the unit says, by the script.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{debian::Root, paths, process::Cmd};

/// Debian 12 with what the package depends on, and what the script needs.
const PACKAGES: &str = "adduser,busybox-static,curl,iproute2,kmod,libc-bin,procps,xz-utils";

pub(super) fn run(package: &Path, next: &Path) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("a root of its own needs root: run it as root, or leave out --check");
    }
    let archive = debian()?;
    let dir = tempfile::tempdir().context("making a directory for the root")?;
    let root = dir.path().join("root");
    fs::create_dir(&root)?;
    Cmd::new("tar")
        .args(["--numeric-owner", "-xf"])
        .arg(&archive)
        .arg("-C")
        .arg(&root)
        .run()?;
    for (from, to) in [(package, "first.deb"), (next, "next.deb")] {
        let to = root.join("tmp").join(to);
        fs::copy(from, &to).with_context(|| format!("copying to {}", to.display()))?;
    }
    let script = paths::root().join("server/debian/check.sh");
    fs::copy(&script, root.join("tmp/check.sh"))?;
    println!("==> the package in a root of its own");
    // The kernel of this machine stands for an installed one. Everything ends with the namespaces.
    Cmd::new("unshare")
        .args([
            "--mount",
            "--pid",
            "--net",
            "--uts",
            "--ipc",
            "--fork",
            "--kill-child",
        ])
        .args(["sh", "-euc", ENTER, "sh"])
        .arg(&root)
        .run()
        .context("the package in a root of its own")
}

/// Within the namespaces.
const ENTER: &str = r#"
root=$1
mount --make-rprivate /
for place in boot lib/modules; do
    mkdir -p "$root/$place"
    mount --bind "/$place" "$root/$place"
    mount -o remount,ro,bind "$root/$place"
done
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --bind /dev "$root/dev"
ip link set lo up
ip link add eth0 type veth peer name switch
ip addr add 10.77.0.1/24 dev eth0
ip link set eth0 up
ip link set switch up
hostname fos-package
exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C sh -eu /tmp/check.sh
"#;

/// An archive of a small Debian; it is made once.
pub(super) fn debian() -> Result<PathBuf> {
    Root {
        name: "root",
        packages: PACKAGES,
        options: &[],
        script: "",
    }
    .archive()
}
