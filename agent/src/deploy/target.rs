//! Which disk is written.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use disk::{Choice, Disk, Labelled, Overwrites, Shape, Target, Wish};
use fog::KernelArgs;
use readable::Size;

use crate::screen::Board;

/// Where the choice comes from.
#[derive(Debug, Clone)]
pub(crate) enum TargetChoice {
    /// By FOG's rules: `fdrive`, `largesize`, `smallsize`, else the first disk.
    ByArguments,
    /// A block device or a regular file.
    Path(PathBuf),
}

/// The disk that is going to be overwritten. Nothing is open yet.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    path: PathBuf,
    pub(crate) shape: Shape,
    disk: Option<Disk>,
    /// What is on it and goes, where nobody named it.
    pub(crate) overwrites: Option<Overwrites>,
}

impl Chosen {
    fn of(choice: Choice<'_>) -> Self {
        Self {
            path: choice.disk.path.clone(),
            shape: choice.disk.shape(),
            disk: Some(choice.disk.clone()),
            overwrites: choice.overwrites,
        }
    }

    /// Opens it exclusively, if it still is what was chosen.
    pub(crate) fn open(&self) -> Result<Target, disk::OpenError> {
        match &self.disk {
            Some(disk) => Target::open_disk(disk),
            None => Target::open(&self.path, &self.shape),
        }
    }

    /// The disk in the form of FOG's inventory.
    pub(crate) fn inventory(&self) -> String {
        let Some(disk) = &self.disk else {
            return String::new();
        };
        let known = |text: &Option<String>| text.clone().unwrap_or_default();
        format!(
            "Model={}, FwRev=, SerialNo={}",
            known(&disk.model),
            known(&disk.serial)
        )
    }
}

impl std::fmt::Display for Chosen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.disk {
            Some(disk) => write!(f, "{disk}"),
            None => write!(f, "{} ({})", self.path.display(), Size(self.shape.size)),
        }
    }
}

/// Chooses the disk; waits a while for one to appear.
pub(crate) async fn choose(
    choice: &TargetChoice,
    args: &KernelArgs,
    board: &Board,
) -> anyhow::Result<Chosen> {
    match choice {
        TargetChoice::Path(path) => given(path),
        TargetChoice::ByArguments => by_arguments(args, board).await,
    }
}

async fn by_arguments(args: &KernelArgs, board: &Board) -> anyhow::Result<Chosen> {
    let wish = wish(args);
    let start = Instant::now();
    loop {
        let mut disks = disk::probe().context("looking for disks")?;
        look_at_what_matters(&mut disks, &wish);
        let error = match disk::choose(&disks, &wish, &disk::resolve_link) {
            Ok(choice) => {
                for warning in &choice.warnings {
                    board.say(format!("disks: {warning}"));
                }
                board.say(format!("disk: {} ({})", choice.disk, choice.reason));
                board.go_on();
                return Ok(Chosen::of(choice));
            }
            Err(error) => error,
        };
        // Controllers and USB take their time; a wrong name will not become right.
        let may_come = matches!(
            error,
            disk::ChooseError::NoCandidate { .. } | disk::ChooseError::NoMatch { .. }
        );
        if !may_come || start.elapsed() >= PATIENCE {
            return Err(error).context("choosing the disk");
        }
        board.wait_for("a disk to appear", vec![error.to_string()]);
        tokio::time::sleep(POLL).await;
    }
}

/// Reads what is on disks, as far as the choice depends on it: reading wakes disks up, and some take long.
fn look_at_what_matters(disks: &mut [Disk], wish: &Wish) {
    let looked_at = match disk::choose(disks, wish, &disk::resolve_link) {
        Ok(choice) if choice.is_one_of_several || wish.labelled == Labelled::Refuse => {
            Some(choice.disk.name.clone())
        }
        // A disk may be named by what is on it.
        Err(disk::ChooseError::NoMatch { .. }) => None,
        _ => return,
    };
    for disk in disks {
        if looked_at.as_ref().is_none_or(|name| *name == disk.name) {
            disk.look_for_labels();
        }
    }
}

fn wish(args: &KernelArgs) -> Wish {
    let is_set = |name| args.value(name).is_some_and(|value| value != "0");
    Wish {
        fdrive: args.value("fdrive").map(str::to_owned),
        largest: is_set("largesize"),
        smallest: is_set("smallsize"),
        labelled: match args.value(LABELLED) {
            Some("refuse") => Labelled::Refuse,
            _ => Labelled::Warn,
        },
    }
}

fn given(path: &Path) -> anyhow::Result<Chosen> {
    let meta = path
        .metadata()
        .with_context(|| format!("looking at the target {}", path.display()))?;
    if meta.is_file() {
        return Ok(Chosen {
            path: path.to_owned(),
            shape: Shape {
                size: meta.len(),
                logical_sector: FILE_SECTOR,
            },
            disk: None,
            overwrites: None,
        });
    }
    if !meta.file_type().is_block_device() {
        bail!(
            "the target {} is neither a disk nor a regular file",
            path.display()
        );
    }
    let disks = disk::probe().context("looking for disks")?;
    let wish = Wish {
        fdrive: Some(path.display().to_string()),
        ..Wish::default()
    };
    let choice = disk::choose(&disks, &wish, &disk::resolve_link).context("choosing the disk")?;
    Ok(Chosen::of(choice))
}

/// Kernel argument: `refuse` spares a disk that was not named and holds something.
const LABELLED: &str = "foslabelled";
/// A file has no sectors of its own.
const FILE_SECTOR: u32 = 512;
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_come_from_the_kernel_arguments() {
        let of = |line| wish(&KernelArgs::parse(line));
        assert_eq!(of("type=down"), Wish::default());
        let all = of("fdrive=/dev/sdb,XYZ largesize=1 smallsize=0");
        assert_eq!(all.fdrive.as_deref(), Some("/dev/sdb,XYZ"));
        assert!(all.largest && !all.smallest);
        assert_eq!(of("foslabelled=refuse").labelled, Labelled::Refuse);
        assert_eq!(of("foslabelled=warn").labelled, Labelled::Warn);
    }

    #[test]
    fn a_file_stands_for_a_disk_of_its_size() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        let chosen = given(file.path()).unwrap();
        assert_eq!(
            (chosen.shape.size, chosen.shape.logical_sector),
            (1 << 20, 512)
        );
        assert!(chosen.to_string().ends_with("(1.0 MB)"));
        assert_eq!(chosen.inventory(), "");
        given(Path::new("/dev/null")).unwrap_err();
        given(Path::new("/nonexistent")).unwrap_err();
    }
}
