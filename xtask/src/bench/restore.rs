//! A compressed partclone image onto a disk that is a file in memory.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{
    Plan,
    room::{Measured, Usage},
    table::{Report, Row, median},
};
use crate::process::Cmd;

pub(super) fn measure(
    agent: &Path,
    plan: &Plan,
    directory: &Path,
    report: &mut Report,
) -> Result<()> {
    println!("==> an ext4 image to restore");
    let image = Image::make(plan.size, directory)?;
    let quoted = |path: &Path| format!("'{}'", path.display());
    let (file, target) = (quoted(&image.file), quoted(&image.target));
    let log = quoted(&directory.join("partclone.log"));
    let original = |options: &str| {
        format!(
            "set -o pipefail; zstdmt -dc {file} | partclone.restore {options} -q -L {log} -O {target}"
        )
    };
    let unchecked = original("--ignore_crc");
    let checked = original("");
    let ours = format!(
        "exec {} partclone.restore -q -L {log} -s {file} -O {target}",
        quoted(agent)
    );
    let (mut of_unchecked, mut of_checked, mut of_ours) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        of_unchecked.push(image.restore("original, unchecked", &unchecked, directory)?);
        fs::rename(&image.target, directory.join("expected")).context("keeping the disk")?;
        of_checked.push(image.restore("original, checked", &checked, directory)?);
        of_ours.push(image.restore("ours, checked", &ours, directory)?);
        Cmd::new("cmp")
            .arg(directory.join("expected"))
            .arg(&image.target)
            .quiet()
            .context("comparing our disk with the original's")?;
    }
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let rate = |all: &[Usage]| {
        median(
            all.iter()
                .map(|usage| image.used as f64 / 1e6 / usage.wall.as_secs_f64()),
        )
    };
    let cpu = |all: &[Usage]| median(all.iter().map(|usage| usage.cpu));
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let memory = |all: &[Usage]| median(all.iter().map(|usage| usage.memory as f64 / 1e6));
    let title = "restore of a zstd image, verified";
    let (ours, of_unchecked, of_checked) = (&of_ours[..], &of_unchecked[..], &of_checked[..]);
    report.add(Row::higher(
        &format!("{title}; original: --ignore_crc"),
        "MB/s",
        rate(of_unchecked),
        rate(ours),
        Some(1.5),
    ));
    report.add(Row::higher(
        &format!("{title}; original: with its check"),
        "MB/s",
        rate(of_checked),
        rate(ours),
        Some(3.0),
    ));
    report.add(Row::lower(
        &format!("{title}; original: --ignore_crc"),
        "CPU s",
        cpu(of_unchecked),
        cpu(ours),
        None,
    ));
    report.add(Row::ours(title, "MB of memory", memory(ours)).limit_at_most(128.0));
    Ok(())
}

struct Image {
    /// Compressed.
    file: PathBuf,
    /// Where it is restored to.
    target: PathBuf,
    /// Bytes of the file system.
    disk: u64,
    /// Bytes of data in it.
    used: u64,
}

impl Image {
    /// A file system that holds what is found below `/usr`, `len` bytes of it at most.
    fn make(len: u64, directory: &Path) -> Result<Self> {
        let content = directory.join("content");
        fs::create_dir_all(&content).context("making a directory")?;
        let used = content.join("usr.tar");
        let tar = format!("tar -C / -c usr 2>/dev/null | head -c {len}");
        Cmd::new("sh").args(["-c", &tar]).output_to(&used)?;
        let disk = len + len / 4 + (32 << 20);
        let disk = disk.next_multiple_of(1 << 20);
        let [system, image, file, log] =
            ["system", "image", "image.zst", "make.log"].map(|name| directory.join(name));
        Cmd::new("mkfs.ext4")
            .args(["-q", "-F", "-d"])
            .args([&content, &system])
            .arg(format!("{}k", disk >> 10))
            .quiet()?;
        Cmd::new("partclone.ext4")
            .args(["-c", "-q", "-L"])
            .arg(&log)
            .arg("-s")
            .arg(&system)
            .arg("-o")
            .arg(&image)
            .quiet()?;
        Cmd::new("zstdmt")
            .args(["-q", "-3"])
            .arg(&image)
            .arg("-o")
            .arg(&file)
            .quiet()?;
        let used = fs::metadata(&used).context("looking at the content")?.len();
        for path in [&system, &image] {
            fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?;
        }
        fs::remove_dir_all(&content).context("removing the content")?;
        Ok(Self {
            file,
            target: directory.join("disk"),
            disk,
            used,
        })
    }

    fn restore(&self, who: &str, script: &str, directory: &Path) -> Result<Usage> {
        if self.target.exists() {
            fs::remove_file(&self.target).context("removing the last disk")?;
        }
        File::create(&self.target)
            .and_then(|file| file.set_len(self.disk))
            .context("making a disk")?;
        let command = ["bash", "-c", script].map(str::to_owned);
        let running = Measured::start("restore", None, &command, directory)?;
        let usage = Measured::wait_all(vec![running]).with_context(|| who.to_owned())?;
        let usage = usage.first().copied().unwrap_or_default();
        println!(
            "    {who}: {:.2} s, {:.2} s CPU",
            usage.wall.as_secs_f64(),
            usage.cpu
        );
        Ok(usage)
    }
}
