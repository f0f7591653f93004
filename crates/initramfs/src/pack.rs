//! What is in an initramfs, and how it is put together.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::{
    archive::{self, Compression, Tree},
    find_program,
    modules::{Kernel, ModuleSet},
    programs::Programs,
};

/// What is in an initramfs beside what every client needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Content {
    /// The programs that grow file systems.
    pub has_resize_tools: bool,
    /// Those for debug mode that busybox lacks.
    pub has_debug_tools: bool,
    /// Those of scripts of an image share.
    pub has_script_tools: bool,
    /// Those that capture a disk.
    pub has_capture_tools: bool,
    /// Kernel modules beside those of the manifest.
    pub modules: Vec<String>,
    /// Certificates of authorities.
    pub authorities: Option<Vec<u8>>,
    /// Public keys that the client trusts, by the names of their files.
    pub trusted: BTreeMap<String, Vec<u8>>,
    /// A shell for whoever stands before the client.
    pub has_shell: bool,
}

/// The certificates in a file, and nothing that must not go to every client.
///
/// # Errors
/// There is none, or something secret beside it.
pub fn authorities(file: &Path) -> Result<Vec<u8>> {
    let bytes = read(file)?;
    let text = String::from_utf8_lossy(&bytes);
    if text.contains("PRIVATE KEY-----") {
        bail!(
            "{} has a private key: whoever boots from the network could read it; give a file with the certificate alone",
            file.display()
        );
    }
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        bail!("{} has no certificate in PEM", file.display());
    }
    Ok(bytes)
}

/// The public keys in these files, as the server's `keys/server.pub`, by their names in an initramfs.
///
/// # Errors
/// One has no public key, something secret, or the name of another.
pub fn trusted(files: &[PathBuf]) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut keys = BTreeMap::new();
    for file in files {
        let bytes = read(file)?;
        let text = String::from_utf8_lossy(&bytes);
        if text.contains("PRIVATE KEY-----") {
            bail!(
                "{} has a private key: whoever boots from the network could read it; give the public half, \
                 keys/server.pub of the server's data directory",
                file.display()
            );
        }
        if !text.lines().any(|line| line.starts_with("fos-key-v1 ")) {
            bail!(
                "{} has no public key; give a file as keys/server.pub of the server's data directory",
                file.display()
            );
        }
        let name = file.file_stem().and_then(|name| name.to_str());
        let name = name.with_context(|| format!("{} has no plain name", file.display()))?;
        if keys.insert(format!("{name}.pub"), bytes).is_some() {
            bail!("two keys are called {name}; rename the file of one");
        }
    }
    Ok(keys)
}

/// A finished archive, compressed.
#[derive(Debug)]
pub struct Packed {
    /// The archive.
    pub bytes: Vec<u8>,
    /// What is in it, by kind, uncompressed.
    pub parts: Vec<(&'static str, Vec<u8>)>,
    /// Sizes in words, for people.
    pub summary: String,
}

impl Packed {
    /// Bytes of the archive.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never, as it has an agent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Writes the archive to `file`, making its directory.
    ///
    /// # Errors
    /// There is no room or no right.
    pub fn write(&self, file: &Path) -> Result<()> {
        if let Some(dir) = file.parent() {
            fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        }
        fs::write(file, &self.bytes).with_context(|| format!("writing {}", file.display()))
    }
}

/// `initramfs/manifest.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Directories that would otherwise not exist: mount points and the like.
    pub directories: Vec<String>,
    /// What is linked to it.
    pub busybox: Busybox,
    /// Symbolic links: path and what it points to.
    pub links: BTreeMap<String, String>,
    /// Kernel modules, in the order wanted; their dependencies follow by themselves.
    pub modules: Vec<ModuleGroup>,
    /// Only with `--resize-tools`.
    pub resize: Part,
    /// Only with `--debug-tools`.
    pub debug: Debug,
    /// Only with `--scripts`.
    pub scripts: Part,
    /// Only with `--capture`.
    pub capture: Part,
}

fn missing(programs: &[String]) -> Vec<&str> {
    let names = programs.iter().map(String::as_str);
    names.filter(|name| find_program(name).is_none()).collect()
}

/// What `--debug-tools` packs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Debug {
    /// Programs of the building machine, packed with their libraries.
    pub programs: Vec<String>,
}

/// What an option packs.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Programs of the building machine, packed with their libraries.
    pub programs: Vec<String>,
    /// Symbolic links that they need.
    pub links: BTreeMap<String, String>,
    /// Kernel modules, loaded after the others.
    pub modules: Vec<String>,
}

/// Modules for one purpose.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleGroup {
    /// For the reader of the manifest.
    pub purpose: String,
    /// Theirs.
    pub names: Vec<String>,
}

/// How busybox is called.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Busybox {
    /// Applets that get a link in /bin.
    pub links: Vec<String>,
}

const MANIFEST: &str = include_str!("../../../initramfs/manifest.toml");

/// The files of `initramfs/skeleton`: path, mode, contents.
const SKELETON: &[(&str, u32, &[u8])] = &[
    (
        "etc/group",
        0o644,
        include_bytes!("../../../initramfs/skeleton/etc/group"),
    ),
    (
        "etc/hosts",
        0o644,
        include_bytes!("../../../initramfs/skeleton/etc/hosts"),
    ),
    (
        "etc/passwd",
        0o644,
        include_bytes!("../../../initramfs/skeleton/etc/passwd"),
    ),
    (
        "etc/udhcpc.script",
        0o755,
        include_bytes!("../../../initramfs/skeleton/etc/udhcpc.script"),
    ),
];

/// The agent looks whether this is there.
const SHELL_FOR_ALL: &str = "etc/fos-agent/shell";

impl Manifest {
    /// The project's own.
    ///
    /// # Errors
    /// It is damaged.
    pub fn read() -> Result<Self> {
        toml::from_str(MANIFEST).context("parsing initramfs/manifest.toml")
    }

    /// Programs that grow file systems and are not on this machine.
    #[must_use]
    pub fn missing_resize_programs(&self) -> Vec<&str> {
        missing(&self.resize.programs)
    }

    /// Programs that capture a disk and are not on this machine.
    #[must_use]
    pub fn missing_capture_programs(&self) -> Vec<&str> {
        missing(&self.capture.programs)
    }

    /// The programs that read file systems, without which nothing is captured.
    pub fn partclone_programs(&self) -> impl Iterator<Item = &str> {
        let names = self.capture.programs.iter().map(String::as_str);
        names.filter(|name| name.starts_with("partclone."))
    }

    /// What every initramfs has, without the programs themselves.
    ///
    /// # Errors
    /// Two things have one name.
    pub fn tree(&self) -> Result<Tree> {
        let mut tree = Tree::default();
        for path in &self.directories {
            tree.directory(path, 0o755)?;
        }
        tree.directory("tmp", 0o1777)?;
        tree.character_device("dev/console", 0o600, 5, 1)?;
        // Rust's start-up code opens it in place of standard files that are closed, and aborts without it:
        // a kernel that cannot open its console closes all three, and `/init` would never get to mount /dev.
        tree.character_device("dev/null", 0o666, 1, 3)?;
        for (path, mode, bytes) in SKELETON {
            tree.file(path, *mode, bytes.to_vec())?;
        }
        for applet in &self.busybox.links {
            tree.link(&format!("bin/{applet}"), "busybox")?;
        }
        for (path, to) in &self.links {
            tree.link(path, to)?;
        }
        Ok(tree)
    }
}

/// Packs an agent for a kernel.
///
/// # Errors
/// A file is missing, or a program that packs.
pub fn pack(
    agent: &Path,
    busybox: &Path,
    kernel: &Kernel,
    compression: Compression,
    content: &Content,
) -> Result<Packed> {
    let manifest = Manifest::read()?;

    let mut tree = manifest.tree()?;
    if let Some(bytes) = &content.authorities {
        tree.file("etc/fos-agent/ca.pem", 0o644, bytes.clone())?;
    }
    for (name, bytes) in &content.trusted {
        tree.file(&format!("etc/fos/trust.d/{name}"), 0o644, bytes.clone())?;
    }
    let busybox_bytes = read(busybox)?;
    tree.file("bin/busybox", 0o755, busybox_bytes.clone())?;
    let agent_bytes = read(agent)?;
    tree.file("init", 0o755, agent_bytes.clone())?;

    if content.has_shell {
        tree.file(SHELL_FOR_ALL, 0o644, Vec::new())?;
    }
    let mut programs = Programs::default();
    if content.has_resize_tools {
        programs.add_all(&manifest.resize.programs)?;
    }
    if content.has_debug_tools {
        programs.add_all(&manifest.debug.programs)?;
    }
    if content.has_script_tools {
        programs.add_all(&manifest.scripts.programs)?;
    }
    if content.has_capture_tools {
        programs.add_all(&manifest.capture.programs)?;
    }
    let programs_len = programs.total_len();
    let all_programs = programs.files.values().flatten().copied().collect();
    for (path, bytes) in programs.files {
        tree.file(&path, 0o755, bytes)?;
    }
    let mut wanted: Vec<&str> = manifest
        .modules
        .iter()
        .flat_map(|group| &group.names)
        .map(String::as_str)
        .collect();
    let parts = [
        (content.has_resize_tools, &manifest.resize),
        (content.has_script_tools, &manifest.scripts),
        (content.has_capture_tools, &manifest.capture),
    ];
    let mut links = BTreeMap::new();
    for (_, part) in parts.into_iter().filter(|(is_wanted, _)| *is_wanted) {
        links.extend(&part.links);
        wanted.extend(part.modules.iter().map(String::as_str));
    }
    for (path, to) in links {
        tree.link(path, to)?;
    }
    wanted.extend(content.modules.iter().map(String::as_str));
    let set = kernel.modules(&wanted)?;
    // Of the manifest's, kernels have what they have.
    if let Some(name) = content
        .modules
        .iter()
        .find(|name| set.absent.contains(name))
    {
        bail!("kernel {} has no module {name}", kernel.version);
    }
    let all_modules = add_modules(&mut tree, kernel, &set)?;

    let archive = tree.to_newc()?;
    let bytes = archive::compress(&archive, compression)?;
    let mut summary = format!(
        "agent {}, busybox {}, further programs {}, {} modules of {} with {}; packed {}, \
         compressed {}",
        size(agent_bytes.len()),
        size(busybox_bytes.len()),
        size(programs_len),
        set.in_load_order.len(),
        kernel.version,
        size(all_modules.len()),
        size(archive.len()),
        size(bytes.len()),
    );
    if !set.absent.is_empty() {
        summary.push_str(&format!(
            "\nnot in this kernel, left out: {}",
            set.absent.join(" ")
        ));
    }
    let parts = vec![
        ("agent", agent_bytes),
        ("busybox", busybox_bytes),
        ("kernel modules", all_modules),
        ("further programs", all_programs),
    ];
    Ok(Packed {
        bytes,
        parts,
        summary,
    })
}

/// Adds the modules, and the list of them; answers all their bytes.
///
/// # Errors
/// One is there already.
pub fn add_modules(tree: &mut Tree, kernel: &Kernel, set: &ModuleSet) -> Result<Vec<u8>> {
    let mut list = String::new();
    let mut all = Vec::new();
    for module in &set.in_load_order {
        let path = format!("lib/modules/{}/{}", kernel.version, module.path);
        all.extend_from_slice(&module.bytes);
        list.push_str(&format!("/{path}\n"));
        tree.file(&path, 0o644, module.bytes.clone())?;
    }
    tree.file("lib/modules/list", 0o644, list.into_bytes())?;
    Ok(all)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// A length in MB, as people say it.
#[must_use]
pub fn size(len: usize) -> String {
    format!("{}.{:02} MB", len / 1_000_000, len % 1_000_000 / 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest::read().unwrap()
    }

    /// A file that is added there has to be added here.
    #[test]
    fn the_whole_skeleton_is_packed() {
        use std::os::unix::fs::PermissionsExt as _;

        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../initramfs/skeleton");
        let mut above = vec![root.clone()];
        let mut found = Vec::new();
        while let Some(directory) = above.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    above.push(path);
                    continue;
                }
                let is_program = path.metadata().unwrap().permissions().mode() & 0o111 != 0;
                let inside = path
                    .strip_prefix(&root)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned();
                found.push((inside, if is_program { 0o755 } else { 0o644 }));
            }
        }
        found.sort();
        let packed: Vec<_> = SKELETON
            .iter()
            .map(|(path, mode, _)| ((*path).to_owned(), *mode))
            .collect();
        assert_eq!(found, packed);
    }

    /// Somebody who stands before a machine can type, and switch it off.
    #[test]
    fn trusted_keys_are_public_and_have_names_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            path
        };
        let good = file("server.pub", "# a\nfos-key-v1 00 image\n");
        let found = trusted(std::slice::from_ref(&good)).unwrap();
        assert_eq!(found.keys().collect::<Vec<_>>(), ["server.pub"]);
        let twin = file("b/server.pub", "fos-key-v1 00 image\n");
        assert!(trusted(&[good, twin]).is_err());
        let secret = file("server.key", "-----BEGIN PRIVATE KEY-----\nfos-key-v1 x\n");
        let error = trusted(&[secret]).unwrap_err().to_string();
        assert!(error.contains("private key"), "{error}");
        let other = file("x", "something");
        assert!(trusted(&[other]).is_err());
    }

    #[test]
    fn keyboards_and_the_power_button_have_their_drivers() {
        let manifest = manifest();
        let names: Vec<&String> = manifest
            .modules
            .iter()
            .flat_map(|group| &group.names)
            .collect();
        for wanted in ["usbhid", "hid_generic", "evdev", "button"] {
            assert!(names.iter().any(|name| *name == wanted), "{wanted}");
        }
    }

    /// As in FOG's kernel, which has them built in: another order would make another disk the first one.
    #[test]
    fn disks_are_found_in_the_order_of_a_kernel_that_has_all_drivers_built_in() {
        let manifest = manifest();
        let mut names = manifest.modules.iter().flat_map(|group| &group.names);
        for next in [
            "megaraid_sas",
            "mpt3sas",
            "virtio_scsi",
            "vmw_pvscsi",
            "hv_storvsc",
            "sd_mod",
            "ahci",
            "ata_piix",
            "ata_generic",
            "mptspi",
            "mptsas",
            "usb_storage",
            "uas",
        ] {
            assert!(
                names.any(|name| name == next),
                "{next} is missing, or too early"
            );
        }
    }
}
