//! Which disk is written.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use disk::{Choice, Disk, Labelled, Overwrites, Shape, Target, Wish};
use fog::KernelArgs;
use readable::{Count, Size};

use crate::screen::Board;

/// Where the choice comes from.
#[derive(Debug, Clone)]
pub(crate) enum TargetChoice {
    /// By FOG's rules: `fdrive`, `largesize`, `smallsize`, else the first disk; for an image of several disks
    /// `fdrive`, recorded sizes, else their order.
    ByArguments,
    /// Block devices or regular files, in the order of the image's disks.
    Paths(Vec<PathBuf>),
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
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

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

/// The disks, for people.
pub(crate) fn names(chosen: &[Chosen]) -> String {
    let names: Vec<String> = chosen.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// The disks that an image is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// One, whichever the machine's rules give.
    One,
    /// Those of the machine with these numbers, counted from 1, and the sizes in bytes that they had, if recorded.
    Numbered(Vec<(u32, Option<u64>)>),
}

impl Wanted {
    fn count(&self) -> usize {
        match self {
            Self::One => 1,
            Self::Numbered(disks) => disks.len(),
        }
    }

    fn choose<'a>(
        &self,
        disks: &'a [Disk],
        wish: &Wish,
    ) -> Result<Vec<Choice<'a>>, disk::ChooseError> {
        let resolve = &disk::resolve_link;
        match self {
            Self::One => disk::choose(disks, wish, resolve).map(|choice| vec![choice]),
            Self::Numbered(wanted) => disk::choose_several(disks, wish, wanted, resolve),
        }
    }

    /// The recorded size that no disk has, where the sizes decide: its disk may be late.
    fn missing_size(&self, disks: &[Disk], wish: &Wish) -> Option<u64> {
        let (Self::Numbered(wanted), None | Some("")) =
            (self, wish.fdrive.as_deref().map(str::trim))
        else {
            return None;
        };
        let mut sizes = wanted.iter().filter_map(|(_, size)| *size);
        sizes.find(|size| disks.iter().all(|disk| disk.size != *size))
    }
}

/// Chooses a disk for each one that the image is of; waits a while for them to appear.
pub(crate) async fn choose(
    choice: &TargetChoice,
    args: &KernelArgs,
    wanted: &Wanted,
    board: &Board,
) -> anyhow::Result<Vec<Chosen>> {
    match choice {
        TargetChoice::Paths(paths) if paths.len() == wanted.count() => {
            paths.iter().map(|path| given(path)).collect()
        }
        TargetChoice::Paths(paths) => bail!(
            "the image is of {}, but {} given as target",
            Count(u64::try_from(wanted.count()).unwrap_or(u64::MAX), "disk"),
            match paths.len() {
                1 => "1 is".to_owned(),
                count => format!("{count} are"),
            }
        ),
        TargetChoice::ByArguments => by_arguments(args, wanted, board).await,
    }
}

async fn by_arguments(
    args: &KernelArgs,
    wanted: &Wanted,
    board: &Board,
) -> anyhow::Result<Vec<Chosen>> {
    let wish = wish(args);
    let start = Instant::now();
    loop {
        let mut disks = disk::probe().context("looking for disks")?;
        look_at_what_matters(&mut disks, &wish, wanted);
        if let Some(size) = wanted.missing_size(&disks, &wish)
            && start.elapsed() < PATIENCE
        {
            let advice = "the image was captured from such a disk; without it the disks are taken in their order";
            board.wait_for(
                format!("a disk of {size} bytes to appear"),
                vec![advice.to_owned()],
            );
            tokio::time::sleep(POLL).await;
            continue;
        }
        let error = match wanted.choose(&disks, &wish) {
            Ok(choices) => {
                for warning in choices.iter().flat_map(|choice| &choice.warnings) {
                    board.say(format!("disks: {warning}"));
                }
                for choice in &choices {
                    board.say(format!("disk: {} ({})", choice.disk, choice.reason));
                }
                board.go_on();
                return Ok(choices.into_iter().map(Chosen::of).collect());
            }
            Err(error) => error,
        };
        // Controllers and USB take their time; a wrong name will not become right.
        let may_come = matches!(
            error,
            disk::ChooseError::NoCandidate { .. }
                | disk::ChooseError::NoMatch { .. }
                | disk::ChooseError::TooFew { .. }
        );
        if !may_come || start.elapsed() >= PATIENCE {
            return Err(error).context("choosing the disk");
        }
        board.wait_for("a disk to appear", vec![error.to_string()]);
        tokio::time::sleep(POLL).await;
    }
}

/// Reads what is on disks, as far as the choice depends on it: reading wakes disks up, and some take long.
fn look_at_what_matters(disks: &mut [Disk], wish: &Wish, wanted: &Wanted) {
    // A disk may be named by what is on it, and the first name counts.
    let is_any_unknown = !disk::knows_all_names(disks, wish, &disk::resolve_link);
    let looked_at = match wanted.choose(disks, wish) {
        _ if is_any_unknown => None,
        Ok(choices) => {
            let refuses = wish.labelled == Labelled::Refuse;
            let matters = |choice: &&Choice<'_>| choice.is_one_of_several || refuses;
            let names = choices.iter().filter(matters);
            Some(
                names
                    .map(|choice| choice.disk.name.clone())
                    .collect::<Vec<_>>(),
            )
        }
        Err(_) => return,
    };
    for disk in disks {
        if looked_at
            .as_ref()
            .is_none_or(|names| names.contains(&disk.name))
        {
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

    fn disk(name: &str, size: u64) -> Disk {
        Disk {
            path: format!("/dev/{name}").into(),
            name: name.to_owned(),
            major: 8,
            minor: 0,
            size,
            logical_sector: 512,
            physical_sector: 512,
            is_removable: false,
            is_read_only: false,
            transport: disk::Transport::Scsi,
            model: None,
            serial: None,
            usb_serial: None,
            wwn: None,
            in_use: Vec::new(),
            labels: Vec::new(),
        }
    }

    /// An image of all disks of a machine with one disk is not one of a machine's first disk.
    #[test]
    fn a_recorded_size_names_the_disk_also_of_a_single_one() {
        let disks = [disk("sda", 2000), disk("sdb", 500)];
        let names = |wanted: &Wanted, wish: &Wish| {
            let chosen = wanted.choose(&disks, wish).unwrap();
            let names = chosen.iter().map(|choice| choice.disk.name.clone());
            names.collect::<Vec<_>>()
        };
        let any = Wish::default();
        assert_eq!(names(&Wanted::One, &any), ["sda"]);
        assert_eq!(
            names(&Wanted::Numbered(vec![(1, Some(500))]), &any),
            ["sdb"]
        );
        assert_eq!(names(&Wanted::Numbered(vec![(2, None)]), &any), ["sdb"]);
        // Its disk may be late.
        let late = Wanted::Numbered(vec![(1, Some(500)), (2, Some(700))]);
        assert_eq!(late.missing_size(&disks, &any), Some(700));
        assert_eq!(
            late.missing_size(&[disk("sdc", 500), disk("sdd", 700)], &any),
            None
        );
        let named = Wish {
            fdrive: Some("sda,sdb".into()),
            ..Wish::default()
        };
        assert_eq!(late.missing_size(&disks, &named), None);
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
