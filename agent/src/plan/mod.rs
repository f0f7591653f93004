//! `plan`: what a deploy of an image directory would do to a disk. Nothing is written.
//!
//! The plan is the one that a deploy makes ([`deploy_plan`]); only where image and disk come from differs.

mod report;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use clap::Args;
use deploy_plan::{ComputerName, DeployPlan, DiskPlan, Warning};
use disk::{Dump, Shape};
use fog::task::ImageType;

use crate::image_dir::{self, Depth, ImageDirectory, Stop};

/// What `--help` says last.
const AFTER_HELP: &str = "The directory is one of FOG's image store (/images/NAME), or of Clonezilla. The files with the data \
    (d1p1.img, ...) may be missing: then the table is planned, and the sizes of the data are not compared with it.\n\
    Exit status: 0 there is a plan, 1 something could not be read, 2 wrong usage, 3 a deploy would refuse this.\n\
    --json prints \"ok\": true with image (directory, type, os, has_data), disk (path, size, sector_size), table \
    (label, id, first_lba, last_lba, partitions; null for the image of a whole disk), disks (number, disk, table, of all \
    disks), steps (step, text, and disk, partition, stream, stored_len where there is one) and warnings (code, text). A partition has number, start and size (in sectors), offset and len (in \
    bytes), original_size (in sectors, in the image's own table), type, uuid, name, attrs, bootable, extended, swap \
    and swap_uuid. Or it prints \"ok\": false with error (the text), and refusal (code, and disk: whether another \
    disk could make it possible) if a deploy would refuse this.";

/// `fos-agent plan`.
#[derive(Debug, Clone, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct PlanArgs {
    /// The directory of an image
    #[arg(value_name = "IMAGE_DIR")]
    directory: PathBuf,
    /// Plan for this disk, or for a file that stands for one; it is not written to. Given several times for an image of
    /// several disks, in their order
    #[arg(
        long = "disk",
        value_name = "DEVICE|FILE",
        required_unless_present = "disk_sizes",
        conflicts_with_all = ["disk_sizes", "sector_size"]
    )]
    disks: Vec<PathBuf>,
    /// Plan for a disk of this size; several times for an image of several disks
    #[arg(long = "disk-size", value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    disk_sizes: Vec<u64>,
    /// Logical sector size of these disks in bytes: 512 or 4096 as a rule
    #[arg(long, value_name = "BYTES", default_value_t = 512, value_parser = sector_size)]
    sector_size: u32,
    /// Type of the image: n (one disk, fitted to its size), mps (one disk), mpa (all disks), dd (raw).
    /// Without it: n if the directory has the files of a shrunken image, else mpa, dd or mps by the names of its files
    #[arg(long = "type", value_name = "n|mps|mpa|dd")]
    image_type: Option<ImageType>,
    /// FOG's number of the operating system in the image
    #[arg(long, value_name = "NUMBER", default_value_t = 9)]
    os: i64,
    /// Plan with this computer name for Windows, as the kernel arguments hostname= and hostearly=1 ask for it
    #[arg(long, value_name = "NAME", value_parser = computer_name)]
    computer_name: Option<ComputerName>,
    /// Print the plan as one JSON object
    #[arg(long, conflicts_with = "sfdisk")]
    json: bool,
    /// Print only the resulting partition table, as `sfdisk -d` would; warnings go to standard error
    #[arg(long)]
    sfdisk: bool,
}

fn computer_name(text: &str) -> Result<ComputerName, String> {
    ComputerName::new(text).ok_or_else(|| {
        "Windows takes 1 to 15 letters, digits and hyphens, and not digits alone".into()
    })
}

fn sector_size(text: &str) -> Result<u32, String> {
    let number = text.parse().map_err(|_| "not a number".to_owned())?;
    if u32::is_power_of_two(number) && (512..=65_536).contains(&number) {
        Ok(number)
    } else {
        Err("not a power of two from 512 to 65536".to_owned())
    }
}

/// What came out.
struct Planned {
    image: ImageDirectory,
    /// The disks, if they are some that are there.
    paths: Vec<String>,
    plan: DeployPlan,
    warnings: Vec<Warning>,
    /// What uses the disk now: a deploy would refuse it until that has ended.
    uses: Vec<String>,
}

/// Runs `plan`.
pub(crate) fn run(args: &PlanArgs) -> ExitCode {
    let result = plan(args).and_then(|planned| {
        if args.sfdisk && planned.plan.disks.iter().any(|disk| disk.table.is_none()) {
            let text = "an image of a whole disk (type dd) has its partition table in its data: --sfdisk cannot print it";
            return Err(Stop::Failed(anyhow!("{text}")));
        }
        Ok(planned)
    });
    let status = match &result {
        Ok(_) => ExitCode::SUCCESS,
        Err(Stop::Refused(_)) => ExitCode::from(REFUSED),
        Err(Stop::Failed(_)) => ExitCode::FAILURE,
    };
    let (mut output, mut errors) = (String::new(), Vec::new());
    match &result {
        Ok(planned) if args.sfdisk => {
            output = planned.dumps();
            errors.extend(planned.notes().map(|(_, text)| format!("warning: {text}")));
        }
        Ok(planned) if !args.json => output = report::text(planned),
        Ok(_) => {}
        Err(Stop::Refused(reason)) => errors.push(format!("refused: {}", reason.text)),
        Err(Stop::Failed(error)) => {
            errors.push(format!("error: {}", readable::chain(error.as_ref())));
        }
    }
    if args.json {
        output = format!("{}\n", report::json(&result));
    }
    for line in errors {
        // A closed standard error is no reason to fail.
        drop(writeln!(io::stderr(), "{line}"));
    }
    let mut stdout = io::stdout();
    let written = stdout
        .write_all(output.as_bytes())
        .and_then(|()| stdout.flush());
    written.map_or(ExitCode::FAILURE, |()| status)
}

fn plan(args: &PlanArgs) -> Result<Planned, Stop> {
    let image = image_dir::read(&args.directory, args.image_type, Some(args.os), Depth::All)?;
    let sizes = args.disk_sizes.iter();
    let mut shapes: Vec<Shape> = sizes
        .map(|&size| Shape {
            size,
            logical_sector: args.sector_size,
        })
        .collect();
    for path in &args.disks {
        let shape = disk::shape_of(path);
        shapes.push(shape.with_context(|| format!("looking at the disk {}", path.display()))?);
    }
    let numbers = deploy_plan::image_disks(&image.manifest)?;
    deploy_plan::recorded_sizes(&numbers, &image.files)?;
    let mut plan = deploy_plan::plan(&image.manifest, &image.files, &shapes)?;
    plan.computer_name.clone_from(&args.computer_name);
    let mut warnings = std::mem::take(&mut plan.warnings);
    warnings.extend(deploy_plan::scripts(&image.manifest, SCRIPTS_NEED));
    if !image.has_data() {
        // That no partition has data says nothing of the image.
        warnings.retain(|warning| !matches!(warning, Warning::NoStream { .. }));
    }
    let mut uses = Vec::new();
    for path in &args.disks {
        let found = disk::uses_of(path).context("looking at who uses the disk")?;
        uses.extend(found.iter().map(ToString::to_string));
    }
    let paths = args.disks.iter();
    Ok(Planned {
        image,
        paths: paths.map(|path| path.display().to_string()).collect(),
        plan,
        warnings,
        uses,
    })
}

impl Planned {
    /// What people should know, with a code for programs.
    fn notes(&self) -> impl Iterator<Item = (&'static str, String)> {
        let uses = self.uses.join(", ");
        let in_use = (!uses.is_empty()).then(|| {
            let text = format!("a deploy would refuse this disk now, because it is in use: {uses}");
            ("in-use", text)
        });
        let warnings = self.warnings.iter();
        in_use
            .into_iter()
            .chain(warnings.map(|warning| (warning.code(), warning.to_string())))
    }

    /// The resulting table, of the disk that is planned for, else of the one that the image names. `None` if a stream
    /// brings it.
    fn dump(&self, disk: &DiskPlan) -> Option<Dump> {
        let path = self.paths.get(disk.which.index).cloned();
        let device = path.or_else(|| self.image.device(disk.which.number));
        Some(disk.table.as_ref()?.dump(device.as_deref()))
    }

    /// The disk that is there, if it is one.
    fn path(&self, disk: &DiskPlan) -> Option<&str> {
        self.paths.get(disk.which.index).map(String::as_str)
    }

    /// All resulting tables, as `sfdisk -d` prints them.
    fn dumps(&self) -> String {
        let dumps = self.plan.disks.iter().filter_map(|disk| self.dump(disk));
        let texts: Vec<String> = dumps.map(|dump| dump.to_string()).collect();
        texts.join("\n")
    }
}

/// A deploy would refuse the image, or this disk.
const REFUSED: u8 = 3;
/// Why scripts of the store are not part of the plan.
const SCRIPTS_NEED: &str =
    "only a client at one of FOG's own servers runs it, if its boot image was made with --scripts";
