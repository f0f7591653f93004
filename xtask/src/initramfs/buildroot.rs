//! The external tree for Buildroot says the same as the manifest: its system has the files of ours.

use std::{collections::BTreeSet, fs, path::PathBuf};

use initramfs::Manifest;

use crate::paths;

fn tree() -> PathBuf {
    paths::root().join("buildroot")
}

#[track_caller]
fn text(name: &str) -> String {
    let file = tree().join(name);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The lines of `define NAME` in a makefile.
fn definition<'a>(makefile: &'a str, name: &str) -> Vec<&'a str> {
    let (_, rest) = makefile.split_once(&format!("define {name}\n")).unwrap();
    let (body, _) = rest.split_once("endef").unwrap();
    body.lines().map(str::trim).collect()
}

/// The words of `NAME = ...` in a makefile.
fn words<'a>(makefile: &'a str, name: &str) -> Vec<&'a str> {
    let (_, rest) = makefile.split_once(&format!("{name} = \\\n")).unwrap();
    let mut words = Vec::new();
    for line in rest.lines() {
        words.extend(line.split_whitespace().filter(|word| *word != "\\"));
        if !line.ends_with('\\') {
            break;
        }
    }
    words
}

/// Whether a configuration has this line.
fn has(configuration: &str, line: &str) -> bool {
    configuration.lines().any(|have| have == line)
}

/// Everything but the kernel modules, which are built in there, and the programs that are further packages.
#[test]
fn its_system_has_the_files_of_ours() {
    let manifest = Manifest::read().unwrap();
    let ours = manifest.tree().unwrap();
    let mut ours: BTreeSet<String> = ours.paths().into_iter().map(str::to_owned).collect();
    ours.extend(["init", "bin/busybox"].map(str::to_owned));

    let makefile = text("package/fos-agent/fos-agent.mk");
    let mut theirs: BTreeSet<String> = BTreeSet::new();
    // Directories and devices, and those that Buildroot's own skeleton or the kernel's configuration makes.
    let tables = definition(&makefile, "FOS_AGENT_PERMISSIONS");
    let made = tables.iter().map(|line| line.split_whitespace().next());
    theirs.extend(made.map(|path| path.unwrap().trim_start_matches('/').to_owned()));
    theirs.extend(["lib", "var", "dev/console"].map(str::to_owned));
    // The agent and its names.
    theirs.insert("init".to_owned());
    theirs.extend(
        words(&makefile, "FOS_AGENT_LINKS")
            .into_iter()
            .map(str::to_owned),
    );
    // The overlay is our skeleton itself.
    for name in [
        "configs/fos_x86_64_defconfig",
        "configs/fos_arm64_defconfig",
    ] {
        let overlay = "BR2_ROOTFS_OVERLAY=\"$(BR2_EXTERNAL_FOS_PATH)/../initramfs/skeleton\"";
        assert!(has(&text(name), overlay), "{name}");
    }
    for entry in fs::read_dir(paths::root().join("initramfs/skeleton/etc")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        theirs.insert(format!("etc/{name}"));
    }
    // busybox and its commands. In which directory of the search path the links are does not matter.
    theirs.insert("bin/busybox".to_owned());
    let busybox = text("board/fos/busybox.fragment");
    for applet in &manifest.busybox.links {
        let option = match applet.as_str() {
            "sh" => "SH_IS_ASH".to_owned(),
            applet => applet.to_uppercase(),
        };
        if has(&busybox, &format!("CONFIG_{option}=y")) {
            theirs.insert(format!("bin/{applet}"));
        }
    }
    assert_eq!(ours, theirs);

    let modes: Vec<&str> = tables
        .iter()
        .filter(|line| line.contains("dev/null"))
        .copied()
        .collect();
    assert_eq!(modes, ["/dev/null c 666 0 0 1 3 0 0 -"]);
    assert!(manifest.links.values().all(|to| to == "/init"));
}

#[test]
fn its_kernel_has_every_driver_built_in() {
    let manifest = Manifest::read().unwrap();
    let groups = manifest.modules.iter().flat_map(|group| &group.names);
    let ours: BTreeSet<&str> = groups
        .chain(&manifest.resize.modules)
        .map(String::as_str)
        .collect();
    let mut theirs = BTreeSet::new();
    for name in [
        "board/fos/drivers.fragment",
        "board/fos/drivers-x86_64.fragment",
    ] {
        let fragment = text(name);
        let lines: Vec<&str> = fragment.lines().collect();
        for pair in lines.windows(2) {
            let &[first, second] = pair else { continue };
            if let Some(module) = first.strip_prefix("# module ") {
                let is_built_in = second.starts_with("CONFIG_") && second.ends_with("=y");
                assert!(is_built_in, "{module}: {second}");
                assert!(theirs.insert(module.to_owned()), "{module} is there twice");
            }
        }
        // Nothing that the manifest does not know.
        let options = lines.iter().filter(|line| line.starts_with("CONFIG_"));
        let named = lines.iter().filter(|line| line.starts_with("# module "));
        assert_eq!(options.count(), named.count(), "{name}");
    }
    let theirs: BTreeSet<&str> = theirs.iter().map(String::as_str).collect();
    assert_eq!(ours, theirs);
    for name in [
        "board/fos/linux-x86_64.config",
        "board/fos/linux-arm64.config",
    ] {
        let kernel = text(name);
        for line in [
            "# CONFIG_MODULES is not set",
            "CONFIG_RD_XZ=y",
            "CONFIG_RD_ZSTD=y",
            "CONFIG_BINFMT_SCRIPT=y",
        ] {
            assert!(has(&kernel, line), "{name}: {line}");
        }
    }
}

#[test]
fn its_packages_have_the_further_programs() {
    let manifest = Manifest::read().unwrap();
    let packages = text("package/fos-agent/Config.in");
    let programs = manifest
        .resize
        .programs
        .iter()
        .chain(&manifest.debug.programs);
    for program in programs {
        let option = match program.as_str() {
            "e2fsck" => "E2FSPROGS",
            "resize2fs" => "E2FSPROGS_RESIZE2FS",
            "ntfsresize" | "ntfsfix" | "ntfscat" | "ntfscp" => "NTFS_3G_NTFSPROGS",
            "btrfs" => "BTRFS_PROGS",
            "xfs_growfs" => "XFSPROGS",
            "resize.f2fs" => "F2FS_TOOLS",
            "lvm" => "LVM2_STANDARD_INSTALL",
            "reged" => "REGED",
            "tcpdump" => "TCPDUMP",
            other => panic!("which package of Buildroot has {other}?"),
        };
        let line = format!("\tselect BR2_PACKAGE_{option}");
        assert!(has(&packages, &line), "{program}: {line}");
    }
    let makefile = text("package/fos-agent/fos-agent.mk");
    for (path, to) in &manifest.resize.links {
        let line = format!("ln -sf {to} $(TARGET_DIR)/{path}");
        assert!(
            definition(&makefile, "FOS_AGENT_LINK_MTAB").contains(&line.as_str()),
            "{line}"
        );
    }
}

/// FOG's kernels take an archive of xz or zstd, and no other.
#[test]
fn its_archive_is_one_that_kernels_of_fog_take() {
    for name in [
        "configs/fos_x86_64_defconfig",
        "configs/fos_arm64_defconfig",
    ] {
        let configuration = text(name);
        assert!(has(&configuration, "BR2_TARGET_ROOTFS_CPIO_XZ=y"), "{name}");
        for package in [
            "BR2_PACKAGE_FOS_AGENT=y",
            "BR2_PACKAGE_FOS_AGENT_RESIZE_TOOLS=y",
        ] {
            assert!(has(&configuration, package), "{name}: {package}");
        }
        // Each file that it names is there.
        let files = configuration
            .split("$(BR2_EXTERNAL_FOS_PATH)/")
            .skip(1)
            .map(|rest| rest.split(['"', ' ']).next().unwrap());
        for file in files {
            assert!(tree().join(file).exists(), "{name}: {file}");
        }
    }
}
