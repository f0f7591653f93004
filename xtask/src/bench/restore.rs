//! Compressed partclone images onto a disk that is a file in memory.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};

use super::{
    Plan, random_file,
    room::{Measured, Usage},
    table::{Report, Row, median},
};
use crate::process::Cmd;

pub(super) fn measure(
    agent: &Path,
    former: Option<&Path>,
    plan: &Plan,
    directory: &Path,
    report: &mut Report,
) -> Result<()> {
    println!("==> an ext4 image to restore");
    let bench = Bench {
        agent,
        former,
        image: &Image::make(plan.size, directory)?,
        directory,
    };
    let goals = Goals {
        unchecked: 1.5,
        checked: Some(3.0),
    };
    bench.compare("zstd", "zstdmt -dc", plan.rounds, &goals, report)?;
    let goals = Goals {
        unchecked: 1.2,
        checked: None,
    };
    bench.compare("gzip", "pigz -dc", plan.rounds, &goals, report)?;
    bench.large_window(report)?;
    bench.pack(plan.rounds, report)
}

/// Factors by which ours is to be faster than the original with and without its check.
struct Goals {
    unchecked: f64,
    checked: Option<f64>,
}

struct Bench<'a> {
    agent: &'a Path,
    /// An earlier version of it.
    former: Option<&'a Path>,
    image: &'a Image,
    directory: &'a Path,
}

/// What one restore took.
#[derive(Clone, Copy, Debug)]
struct Run {
    usage: Usage,
    /// From the start to the last change of the disk.
    last_write: Duration,
}

impl Bench<'_> {
    /// Ours against the original behind `unpack`, for the image compressed by `name`.
    fn compare(
        &self,
        name: &str,
        unpack: &str,
        rounds: u8,
        goals: &Goals,
        report: &mut Report,
    ) -> Result<()> {
        let file = quoted(self.image.compressed(name));
        let target = quoted(&self.image.target);
        let log = quoted(self.directory.join("partclone.log"));
        let agent = quoted(self.agent);
        // As FOG calls it, without the picture.
        let behind = |program: &str| {
            format!(
                "set -o pipefail; {unpack} {file} | {program} -q -f 1 -L {log} -O {target} -n bench"
            )
        };
        let restore = |agent: &str| format!("exec {agent} restore -q {file} {target}");
        let mut scripts = vec![
            (
                "original, unchecked",
                behind("partclone.restore --ignore_crc"),
            ),
            ("original, checked", behind("partclone.restore")),
            ("ours, checked", restore(&agent)),
            (
                "ours, drop-in",
                behind(&format!("{agent} partclone.restore")),
            ),
        ];
        if let Some(former) = self.former.map(quoted) {
            let drop_in = behind(&format!("{former} partclone.restore"));
            scripts.push(("former, checked", restore(&former)));
            scripts.push(("former, drop-in", drop_in));
        }
        let mut runs: [Vec<Run>; 6] = Default::default();
        for round in 0..rounds {
            let mut turns: Vec<usize> = (0..scripts.len()).collect();
            if round % 2 == 1 {
                match self.former {
                    // What runs right after the originals is slower. That is ours in one round, and
                    // its former version in the next.
                    Some(_) => turns[2..].rotate_left(2),
                    None => turns.reverse(),
                }
            }
            for turn in turns {
                let (who, script) = &scripts[turn];
                runs[turn].push(self.restore(&format!("{name}: {who}"), script)?);
                self.image.keep_or_compare(who)?;
            }
        }
        let [unchecked, checked, ours, drop_in, former, former_drop_in] = &runs;
        let rate = |runs: &[Run], time: fn(&Run) -> Duration| {
            let used = megabytes(self.image.used);
            median(runs.iter().map(|run| used / time(run).as_secs_f64()))
        };
        let before = |figure: f64| self.former.map(|_| figure);
        let whole = |run: &Run| run.usage.wall;
        let last_write = |run: &Run| run.last_write;
        let title = format!("restore of a {name} image, verified");
        for (runs, options, goal) in [
            (unchecked, "--ignore_crc", Some(goals.unchecked)),
            (checked, "with its check", goals.checked),
        ] {
            for (time, scope) in [
                (whole as fn(&Run) -> Duration, "whole time"),
                (last_write, "original's until its last write"),
            ] {
                let row = Row::higher(
                    &format!("{title}; {scope}; original: {options}"),
                    "MB/s",
                    rate(runs, time),
                    rate(ours, whole),
                    goal,
                );
                report.add(row.former(before(rate(former, whole))));
            }
        }
        let gigabytes = megabytes(self.image.used) / 1e3;
        let cpu = |runs: &[Run]| median(runs.iter().map(|run| run.usage.cpu / gigabytes));
        for (runs, options) in [(unchecked, "--ignore_crc"), (checked, "with its check")] {
            let title = format!("{title}; original: {options}");
            let row = Row::lower(&title, "CPU s/GB", cpu(runs), cpu(ours), None);
            report.add(row.former(before(cpu(former))));
        }
        let row = Row::ours(&title, "MB of memory", memory(ours)).limit_at_most(MEMORY_GOAL);
        report.add(row.former(before(memory(former))));
        let row = Row::higher(
            &format!(
                "`partclone.restore` behind `{unpack}`, ours verified; each until its last \
                 write; original: --ignore_crc"
            ),
            "MB/s",
            rate(unchecked, last_write),
            rate(drop_in, last_write),
            None,
        );
        report.add(row.former(before(rate(former_drop_in, last_write))));
        Ok(())
    }

    /// The memory that an image with the largest usual window takes, beside that window.
    fn large_window(&self, report: &mut Report) -> Result<()> {
        let [agent, file, target] =
            [self.agent, &self.image.compressed(LONG), &self.image.target].map(quoted);
        let script = format!("exec {agent} restore -q {file} {target}");
        let run = self.restore("zstd --long=27: ours, checked", &script)?;
        self.image.keep_or_compare("ours")?;
        report.add(
            Row::ours(
                "restore of a `zstd --long=27` image: beside its window of 134 MB",
                "MB of memory",
                memory(&[run]) - megabytes(1 << 27),
            )
            .limit_at_most(MEMORY_GOAL),
        );
        Ok(())
    }

    /// A pack of the zstd image, which all processors decode, against its one frame. Both are an image of a whole disk.
    fn pack(&self, rounds: u8, report: &mut Report) -> Result<()> {
        let server = self.agent.with_file_name("fos-server");
        if !server.exists() {
            println!("==> no {}: packs are not measured", server.display());
            return Ok(());
        }
        let [data, images] = ["data", "images"].map(|name| self.directory.join(name));
        let image = images.join("bench");
        fs::create_dir_all(&image).context("making a directory")?;
        fs::rename(self.image.compressed("zstd"), image.join("whole.000"))
            .context("moving the image")?;
        Cmd::new(&server)
            .arg("--data")
            .arg(&data)
            .arg("--images")
            .arg(&images)
            .args(["image", "add", "bench", "--type", "dd", "--packs"])
            .quiet()?;
        let [agent, target] = [self.agent, &self.image.target].map(quoted);
        let [image, packs] = [image, data.join("packs")].map(quoted);
        let restore = |from: &str| format!("exec {agent} restore -q {from} {target}");
        let scripts = [
            ("one zstd frame", restore(&image)),
            ("a pack", restore(&packs)),
        ];
        let mut runs: [Vec<Run>; 2] = Default::default();
        for round in 0..rounds {
            for turn in 0..scripts.len() {
                let turn = (turn + usize::from(round)) % scripts.len();
                let (who, script) = &scripts[turn];
                runs[turn].push(self.restore(who, script)?);
                self.image.keep_or_compare(who)?;
            }
        }
        let used = megabytes(self.image.used);
        let [frame, pack] = &runs;
        let rate =
            |runs: &[Run]| median(runs.iter().map(|run| used / run.usage.wall.as_secs_f64()));
        let title =
            "restore of a pack on all processors (ours), and of the zstd image that it was made of";
        report.add(Row::higher(
            title,
            "MB/s",
            rate(frame),
            rate(pack),
            Some(1.7),
        ));
        report.add(
            Row::ours("restore of a pack", "MB of memory", memory(pack)).limit_at_most(MEMORY_GOAL),
        );
        Ok(())
    }

    fn restore(&self, who: &str, script: &str) -> Result<Run> {
        let target = &self.image.target;
        if target.exists() {
            fs::remove_file(target).context("removing the last disk")?;
        }
        File::create(target)
            .and_then(|file| file.set_len(self.image.disk))
            .context("making a disk")?;
        let command = ["bash", "-c", script].map(str::to_owned);
        let began = SystemTime::now();
        let running = Measured::start("restore", None, &command, self.directory)?;
        let usage = Measured::wait_all(vec![running]).with_context(|| who.to_owned())?;
        let usage = usage.first().copied().unwrap_or_default();
        let changed = fs::metadata(target).and_then(|disk| disk.modified());
        let changed = changed.context("looking at the disk")?;
        let last_write = changed.duration_since(began).unwrap_or_default();
        println!(
            "    {who}: {:.2} s (last write after {:.2} s), {:.2} s CPU",
            usage.wall.as_secs_f64(),
            last_write.as_secs_f64(),
            usage.cpu
        );
        Ok(Run { usage, last_write })
    }
}

/// MB that the agent may take beside the window.
const MEMORY_GOAL: f64 = 128.0;
/// The name of the image that needs a large window.
const LONG: &str = "long.zstd";

struct Image {
    directory: PathBuf,
    /// Where it is restored to.
    target: PathBuf,
    /// Bytes of the file system.
    disk: u64,
    /// Bytes of data in it.
    used: u64,
}

impl Image {
    /// A file system with `len` bytes of data: one half is what is found below `/usr`, the other does
    /// not compress.
    fn make(len: u64, directory: &Path) -> Result<Self> {
        let content = directory.join("content");
        fs::create_dir_all(&content).context("making a directory")?;
        let half = len / 2;
        let [tar, random] = ["usr.tar", "random"].map(|name| content.join(name));
        let script = format!("tar -C / -c usr 2>/dev/null | head -c {half}");
        Cmd::new("sh").args(["-c", &script]).output_to(&tar)?;
        random_file(&random, len - half)?;
        let mut used = 0;
        for file in [&tar, &random] {
            used += fs::metadata(file).context("looking at the content")?.len();
        }
        let disk = len + len / 4 + (32 << 20);
        let disk = disk.next_multiple_of(1 << 20);
        let [system, plain, log] = ["system", "image", "make.log"].map(|name| directory.join(name));
        Cmd::new("mkfs.ext4")
            .args(["-q", "-F", "-d"])
            .args([&content, &system])
            .arg(format!("{}k", disk >> 10))
            .quiet()?;
        fs::remove_dir_all(&content).context("removing the content")?;
        Cmd::new("partclone.ext4")
            .args(["-c", "-q", "-L"])
            .arg(&log)
            .arg("-s")
            .arg(&system)
            .arg("-o")
            .arg(&plain)
            .quiet()?;
        let image = Self {
            directory: directory.to_owned(),
            target: directory.join("disk"),
            disk,
            used,
        };
        for (name, packer) in [
            ("zstd", "zstdmt -q -3 -c"),
            (LONG, "zstdmt -q -3 --long=27 -c"),
            ("gzip", "pigz -6 -c"),
        ] {
            let script = format!("{packer} {}", quoted(&plain));
            let file = image.compressed(name);
            Cmd::new("sh").args(["-c", &script]).output_to(&file)?;
        }
        for path in [&system, &plain] {
            fs::remove_file(path).with_context(|| format!("removing {}", path.display()))?;
        }
        Ok(image)
    }

    fn compressed(&self, name: &str) -> PathBuf {
        self.directory.join(format!("image.{name}"))
    }

    /// The first disk is kept, and every other one compared with it.
    fn keep_or_compare(&self, who: &str) -> Result<()> {
        let kept = self.directory.join("expected");
        if !kept.exists() {
            return fs::rename(&self.target, kept).context("keeping the disk");
        }
        Cmd::new("cmp")
            .args([&kept, &self.target])
            .quiet()
            .with_context(|| format!("comparing the disk of \"{who}\" with the original's"))
    }
}

fn quoted(path: impl AsRef<Path>) -> String {
    format!("'{}'", path.as_ref().display())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn memory(runs: &[Run]) -> f64 {
    median(runs.iter().map(|run| megabytes(run.usage.memory)))
}
