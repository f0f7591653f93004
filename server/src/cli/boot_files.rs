//! `boot-files`: kernel and initramfs for clients, from what is installed here. No compiler, no download.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use initramfs::{Compression, Content, Kernel, Manifest};

use super::Places;
use crate::output;

/// Make the files that clients boot, from the kernel of this machine
#[derive(Debug, Default, clap::Args)]
pub(super) struct BootFiles {
    /// Where bzImage and init.xz are to be [default: DATA/boot]
    #[arg(long, value_name = "DIR")]
    boot: Option<PathBuf>,
    /// Version of a kernel in /boot [default: the newest one for PCs]
    #[arg(long, value_name = "VERSION")]
    kernel: Option<String>,
    /// The static agent [default: /usr/lib/fos-server/fos-agent]
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Pack this kernel module, too, with what it depends on (may be given several times)
    #[arg(long = "module", value_name = "NAME")]
    modules: Vec<String>,
    /// Leave out the programs that grow file systems; images of type n are then not grown
    #[arg(long)]
    no_resize_tools: bool,
    /// Pack bash and programs for the post-init and post-download scripts of FOG's image shares, too
    #[arg(long)]
    scripts: bool,
    /// Pack partclone's programs and those that make file systems smaller, too, so that clients can capture disks
    #[arg(long)]
    capture: bool,
    /// Certificates (PEM) of the authorities that a server must have its own from, where it is asked over HTTPS
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A public key that clients trust, DATA/keys/server.pub of the server (may be given several times)
    #[arg(long, value_name = "FILE")]
    trust: Vec<PathBuf>,
    /// Whoever stands before a client may open a root shell with s and Enter, unless it boots with fosshell=no
    #[arg(long)]
    shell: bool,
}

/// Where the package has the agent.
const AGENT: &str = "/usr/lib/fos-server/fos-agent";

impl BootFiles {
    /// Those that `setup` makes, of this kernel or the newest.
    pub(super) fn with(kernel: Option<String>, has_resize_tools: bool) -> Self {
        Self {
            kernel,
            no_resize_tools: !has_resize_tools,
            ..Self::default()
        }
    }

    pub(super) async fn run(self, places: &Places) -> anyhow::Result<bool> {
        let directory = self.boot.clone();
        let directory = directory.unwrap_or_else(|| places.data.join("boot"));
        tokio::task::spawn_blocking(move || self.make(&directory)).await??;
        Ok(true)
    }

    /// Makes both files in `directory`; each is replaced whole, while clients may read the old one.
    pub(super) fn make(&self, directory: &Path) -> anyhow::Result<()> {
        let root = Path::new("/");
        let kernel = match self.kernel.as_deref() {
            Some(version) => Kernel::find(root, "-amd64", Some(version))?,
            None => Kernel::for_pcs(root)?,
        };
        if kernel.is_cloud() {
            output::explain(
                "WARNING: this kernel has drivers for virtual machines only. For ordinary PCs install \
                 linux-image-amd64 and make the files again",
            );
        }
        let agent = self.agent.as_deref().unwrap_or_else(|| AGENT.as_ref());
        if !agent.is_file() {
            bail!(
                "there is no agent at {}; it comes with Debian's package of this server, or name a static one with \
                 --agent",
                agent.display()
            );
        }
        let manifest = Manifest::read()?;
        let missing = manifest.missing_resize_programs();
        if !self.no_resize_tools && !missing.is_empty() {
            bail!(
                "programs that grow file systems on clients are missing: {}; install e2fsprogs, ntfs-3g, btrfs-progs, \
                 xfsprogs, lvm2, chntpw and f2fs-tools, or leave them out with --no-resize-tools",
                missing.join(", ")
            );
        }
        let missing = manifest.missing_capture_programs();
        if self.capture && !missing.is_empty() {
            bail!(
                "programs that capture disks are missing: {}; install partclone, e2fsprogs and ntfs-3g, or leave out \
                 --capture",
                missing.join(", ")
            );
        }
        let content = Content {
            has_resize_tools: !self.no_resize_tools,
            has_script_tools: self.scripts,
            has_capture_tools: self.capture,
            modules: self.modules.clone(),
            authorities: self.ca.as_deref().map(initramfs::authorities).transpose()?,
            trusted: initramfs::trusted(&self.trust)?,
            has_shell: self.shell,
            ..Content::default()
        };
        let busybox = initramfs::find_busybox()?;
        output::explain(&format!(
            "packing for kernel {}; this takes some seconds",
            kernel.version
        ));
        let packed = initramfs::pack(agent, &busybox, &kernel, Compression::Xz, &content)?;
        let image = fs::read(&kernel.image)
            .with_context(|| format!("reading {}", kernel.image.display()))?;
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        // They belong together: the time between the two is short.
        replace(&directory.join("init.xz"), &packed.bytes)?;
        replace(&directory.join("bzImage"), &image)?;
        output::result(&format!(
            "{}\nwrote bzImage and init.xz in {}",
            packed.summary,
            directory.display()
        ));
        Ok(())
    }
}

/// A file that everybody may read, whole.
fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    crate::runfile::write_whole(path, bytes)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
        .with_context(|| format!("opening {} for all", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_agent_is_named_before_anything_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let files = BootFiles {
            kernel: Some("0.0.0-absent".to_owned()),
            ..BootFiles::default()
        };
        let error = files.make(&dir.path().join("boot")).unwrap_err();
        assert!(error.to_string().contains("0.0.0-absent"), "{error}");
        if Kernel::for_pcs("/".as_ref()).is_ok() {
            let files = BootFiles {
                agent: Some(dir.path().join("agent")),
                ..BootFiles::default()
            };
            let error = files.make(&dir.path().join("boot")).unwrap_err();
            assert!(error.to_string().contains("no agent"), "{error}");
        }
        assert!(!dir.path().join("boot").exists());
    }

    /// Without a compiler: an archive that the kernel's own format is read from again, with the agent as `/init`.
    #[test]
    fn boot_files_are_made_from_the_installed_kernel() {
        let Ok(kernel) = Kernel::for_pcs("/".as_ref()) else {
            assert!(std::env::var_os("FOS_TEST_REQUIRE_ALL").is_none());
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let agent = dir.path().join("agent");
        fs::write(&agent, b"this is the agent").unwrap();
        let boot = dir.path().join("boot");
        let files = BootFiles {
            agent: Some(agent),
            no_resize_tools: true,
            ..BootFiles::default()
        };
        files.make(&boot).unwrap();
        assert_eq!(
            fs::read(boot.join("bzImage")).unwrap(),
            fs::read(&kernel.image).unwrap()
        );
        let packed = fs::read(boot.join("init.xz")).unwrap();
        assert!(packed.starts_with(b"\xfd7zXZ"));
        let mode = boot
            .join("init.xz")
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o644);
        let listed = std::process::Command::new("sh")
            .args([
                "-c",
                "xz -dc \"$1\" | cpio -i --to-stdout --quiet init",
                "sh",
            ])
            .arg(boot.join("init.xz"))
            .output()
            .unwrap();
        assert_eq!(listed.stdout, b"this is the agent");
        // No half files are left.
        assert_eq!(fs::read_dir(&boot).unwrap().count(), 2);
    }
}
