//! `partimage`: restores a partition from an image on standard input or in a file.
//!
//! Of the original's actions only `restore` is here. No questions are asked and nothing is drawn,
//! whatever the options, so that it runs in scripts as the original does with `-b`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{bail, ensure};
use clap::Parser;
use clap::error::ErrorKind;

use image::Verify;
use imaging::{Creation, Manner, Place, Source, Trace};

use super::messages::say;
use super::partclone::figures::Figures;
use super::partclone::status::{amount, rate};
use crate::restore::{Job, run};

/// Restores a partition from an image made by partimage (or partclone).
#[derive(Debug, Parser)]
#[command(
    name = "partimage",
    no_binary_name = true,
    infer_long_args = true,
    args_override_self = true,
    disable_version_flag = true,
    after_help = "Accepted and of no effect: -b -B -c -d -o -w -M -V -z -g -i -y -m (a mounted target is \
    refused always). Exit status: 0 restored and synced, 1 failed or wrong usage."
)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the switches of a command line"
)]
struct Arguments {
    /// What to do: restore
    action: String,
    /// The partition's device (for imginfo and restmbr: the image)
    device: PathBuf,
    /// The image, or its first volume (NAME.000); "stdin" is standard input
    image: Option<PathBuf>,
    /// What to do at the end: 3, quit. Nothing else is done: no waiting, power off or reboot
    #[arg(short, long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=3))]
    finish: u8,
    /// Verify the image, but do not write
    #[arg(short = 'S', long)]
    simulate: bool,
    #[arg(short, long, hide = true)]
    erase: bool,
    #[arg(short, long, hide = true)]
    batch: bool,
    #[arg(short = 'B', long, hide = true)]
    fully_batch: Option<String>,
    #[arg(short = 'c', long, hide = true)]
    nocheck: bool,
    #[arg(short = 'd', long, hide = true)]
    nodesc: bool,
    #[arg(short, long, hide = true)]
    overwrite: bool,
    #[arg(short, long, hide = true)]
    waitvol: bool,
    #[arg(short = 'M', long, hide = true)]
    nombr: bool,
    #[arg(short = 'm', long, hide = true)]
    allowmnt: bool,
    #[arg(short = 'y', long, hide = true)]
    nosync: bool,
    #[arg(short = 'V', long, hide = true)]
    volume: Option<String>,
    #[arg(short = 'z', long, hide = true)]
    compress: Option<String>,
    #[arg(short = 'g', long, hide = true)]
    debug: Option<String>,
    #[arg(short = 'i', long, hide = true)]
    compilinfo: bool,
    #[arg(short = 's', long, hide = true)]
    server: Option<String>,
    #[arg(short = 'a', long, hide = true)]
    automnt: Option<String>,
}

/// Runs `partimage` with `args` (without the program's name). Ends with 0 when everything was verified,
/// written and synced, else with 1.
pub(crate) fn partimage(args: &[OsString]) -> ExitCode {
    // Before anything else is asked for.
    if let [only] = args
        && (only == "-v" || only == "--version")
    {
        say(VERSION);
        return ExitCode::SUCCESS;
    }
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            say(error.render().to_string().trim_end());
            return match error.kind() {
                ErrorKind::DisplayHelp => ExitCode::SUCCESS,
                _ => ExitCode::FAILURE,
            };
        }
    };
    match restore(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("partimage: {}", readable::chain(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

const VERSION: &str = concat!("partimage of fos-agent ", env!("CARGO_PKG_VERSION"));

fn restore(arguments: &Arguments) -> anyhow::Result<()> {
    match arguments.action.as_str() {
        "restore" => {}
        "save" | "restmbr" | "imginfo" => bail!(
            "{} is not supported, only restore; use the original partimage for this",
            arguments.action
        ),
        other => bail!("unknown action {other:?}; there is restore"),
    }
    for (option, is_given) in [
        ("--erase", arguments.erase),
        ("--server", arguments.server.is_some()),
        ("--automnt", arguments.automnt.is_some()),
    ] {
        ensure!(
            !is_given,
            "{option} is not supported; leave it out, or use the original partimage"
        );
    }
    let Some(image) = &arguments.image else {
        bail!("no image is given: partimage restore DEVICE IMAGE|stdin");
    };
    if matches!(arguments.finish, 1 | 2) {
        say("this program neither powers off nor reboots; -f is taken for -f3");
    }
    let source = if image == Path::new("stdin") {
        Source::open(&["-".into()])?
    } else {
        Source::open(&volumes(image))?
    };
    let has_statistics = std::env::var_os("FOGSTATS").is_some_and(|value| !value.is_empty());
    let job = Job {
        source,
        place: if arguments.simulate {
            Place::Nowhere
        } else {
            Place::Path {
                path: arguments.device.clone(),
                creation: Creation::Never,
                is_discarded: false,
                manner: Manner::Original,
            }
        },
        trace: Trace::default(),
        is_raw: false,
        verify: Verify::Enforce,
        window_log: 27,
        period: STATISTICS_PERIOD,
    };
    let report = run(job, |view| {
        if has_statistics
            && view.sync.is_none()
            && let Some(geometry) = &view.geometry
        {
            let figures = Figures::of(&view.progress, view.elapsed);
            let percent = format!("{}.{:02}", figures.percent / 100, figures.percent % 100);
            say(&format!(
                "{}@{}@{}@{}@{}@{percent:>6}",
                rate(figures.rate),
                figures.elapsed,
                figures.remaining,
                amount(view.progress.output_len),
                amount(geometry.used_len()),
            ));
        }
    })?;
    for warning in &report.warnings {
        say(&format!("warning: {warning}"));
    }
    say(&format!(
        "{} of {} restored and synced",
        report.summary.geometry.header, report.source
    ));
    Ok(())
}

const STATISTICS_PERIOD: Duration = Duration::from_secs(1);

/// The volumes that follow the one that is named, as far as they are there.
fn volumes(first: &Path) -> Vec<PathBuf> {
    let mut volumes = vec![first.to_owned()];
    if first
        .extension()
        .is_some_and(|extension| extension == "000")
    {
        let next = |number: u32| first.with_extension(format!("{number:03}"));
        volumes.extend((1..1000).map(next).take_while(|path| path.exists()));
    }
    volumes
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image_writer::PartimageRecipe;

    use super::*;

    fn content(number: u64) -> Vec<u8> {
        number.to_le_bytes().repeat(128)
    }

    fn run_line(line: &[&str]) -> ExitCode {
        partimage(&line.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn volumes_are_restored_by_the_name_of_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let recipe = PartimageRecipe::new(1024, (0..200).map(|n| n % 3 > 0).collect());
        for (number, volume) in recipe.write_volumes(content, &[100_000]).iter().enumerate() {
            fs::write(path(&format!("image.{number:03}")), volume).unwrap();
        }
        let target = path("target");
        fs::write(&target, vec![0xA5; 204_800]).unwrap();
        let code = run_line(&["-f3", "-b", "restore", &target, &path("image.000")]);
        assert_eq!(code, ExitCode::SUCCESS);
        assert!(fs::read(&target).unwrap() == recipe.restored(content, 204_800, 0xA5));
        // The second volume alone is no image, and a simulation writes nothing.
        let code = run_line(&["-b", "restore", &target, &path("image.001"), "-f3"]);
        assert_eq!(code, ExitCode::FAILURE);
        fs::write(&target, b"short").unwrap();
        let code = run_line(&["restore", &target, &path("image.000"), "--simul"]);
        assert_eq!(code, ExitCode::SUCCESS);
        assert_eq!(fs::read(&target).unwrap(), b"short");
    }

    #[test]
    fn other_actions_are_refused() {
        let text = |line: &[&str]| {
            let arguments = Arguments::try_parse_from(line).unwrap();
            restore(&arguments).unwrap_err().to_string()
        };
        assert!(text(&["save", "/dev/sda1", "x"]).contains("save is not supported"));
        assert!(text(&["imginfo", "x"]).contains("imginfo is not supported"));
        assert!(text(&["explode", "x"]).contains("unknown action"));
        assert!(text(&["-e", "restore", "/dev/sda1", "stdin"]).contains("--erase"));
        assert!(text(&["restore", "/dev/sda1"]).contains("no image"));
        assert!(Arguments::try_parse_from(["-f7", "restore", "x", "y"]).is_err());
    }
}
