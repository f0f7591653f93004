//! What the kernel arguments ask for.

use std::fmt;

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

/// A name that Windows takes for a computer: 1 to 15 letters, digits, hyphens and underscores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComputerName(String);

impl ComputerName {
    /// `None`: Windows does not take it.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let is_known = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        let is_name = (1..=NETBIOS_LEN).contains(&name.len())
            && name.bytes().all(is_known)
            && !name.bytes().all(|octet| octet.is_ascii_digit());
        is_name.then(|| Self(name.into()))
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ComputerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name that the restored Windows is to have (`hostname=` and `hostearly=1`), if the image has one.
///
/// # Errors
/// What to say if Windows does not take that name.
pub fn computer_name(args: &KernelArgs, os_id: i64) -> Result<Option<ComputerName>, Warning> {
    let is_wanted = args.value("hostearly").is_some_and(|value| value != "0");
    let name = args
        .value("hostname")
        .filter(|_| is_wanted && WINDOWS_SYSTEMS.contains(&os_id));
    let Some(name) = name else {
        return Ok(None);
    };
    let known = ComputerName::new(name).ok_or_else(|| Warning::ComputerName {
        name: name.into(),
        why: "Windows takes 1 to 15 letters, digits and hyphens, and not digits alone".into(),
    });
    known.map(Some)
}

/// Longest name of a computer in octets.
const NETBIOS_LEN: usize = 15;

/// FOG's numbers of the Windows versions whose registry its client changes.
const WINDOWS_SYSTEMS: [i64; 9] = [1, 2, 4, 5, 6, 7, 9, 10, 11];
