//! What the kernel arguments ask for.

use fog::KernelArgs;
use fog::encoding::printable;
use fog::task::ImageType;
use fos_api::Manifest;

use crate::{Refusal, Warning};

/// Checks that the kernel arguments ask for something this version does.
///
/// # Errors
/// The first argument that is not supported.
pub fn check_arguments(args: &KernelArgs) -> Result<(), Refusal> {
    args.web()?;
    if !args.is_deploy() {
        return Err(other_task(args));
    }
    if args.is_multicast_deploy() {
        args.port()?;
        args.rendezvous()?;
    }
    match args.value("imgType") {
        Some(other) if other.parse::<ImageType>().is_err() => {
            return Err(Refusal::ImageType {
                found: printable(other, 40),
            });
        }
        _ => {}
    }
    match args.value("imgPartitionType") {
        None | Some("all") => {}
        Some(other) => {
            return Err(Refusal::PartitionType {
                found: other.into(),
            });
        }
    }
    if args.has_word("nombr") {
        return Err(Refusal::KeepTable);
    }
    Ok(())
}

/// Checks that the kernel arguments ask for a deploy by multicast.
///
/// # Errors
/// If they ask for something else.
pub fn check_multicast(args: &KernelArgs) -> Result<(), Refusal> {
    if args.is_multicast_deploy() {
        Ok(())
    } else {
        Err(other_task(args))
    }
}

fn other_task(args: &KernelArgs) -> Refusal {
    let found = ["type", "mc", "mode"]
        .iter()
        .filter_map(|name| args.value(name).map(|value| format!("{name}={value}")))
        .collect::<Vec<_>>()
        .join(" ");
    let found = if found.is_empty() {
        "no task at all".to_owned()
    } else {
        found
    };
    Refusal::Task { found }
}

/// Checks that the manifest is of the image that the kernel arguments name.
///
/// # Errors
/// If it is another one.
pub fn check_same_image(args: &KernelArgs, manifest: &Manifest) -> Result<(), Refusal> {
    match args.value("img") {
        Some(asked) if asked != manifest.image_path => Err(Refusal::OtherImage {
            arguments: asked.into(),
            manifest: manifest.image_path.clone(),
        }),
        _ => Ok(()),
    }
}

/// What to say where FOG's client would write the computer's name into the restored Windows
/// (`hostname=` and `hostearly=1`), which is not done here.
#[must_use]
pub fn computer_name(args: &KernelArgs, os_id: i64) -> Option<Warning> {
    let name = args.value("hostname")?;
    let is_wanted = args.value("hostearly").is_some_and(|value| value != "0");
    (is_wanted && WINDOWS_SYSTEMS.contains(&os_id))
        .then(|| Warning::ComputerName { name: name.into() })
}

/// FOG's numbers of the Windows versions whose registry its client changes.
const WINDOWS_SYSTEMS: [i64; 9] = [1, 2, 4, 5, 6, 7, 9, 10, 11];
