//! What is wrong with the server's certificate.

use super::names;
use crate::domain::certificate::Worry;

/// A sentence, with what to do.
#[must_use]
pub fn certificate_worry(worry: &Worry) -> String {
    format!(
        "{}: {}",
        certificate_fault(worry),
        certificate_advice(worry)
    )
}

/// What is wrong.
#[must_use]
pub fn certificate_fault(worry: &Worry) -> String {
    match worry {
        Worry::Early { not_before } => {
            format!("the certificate of HTTPS is not valid before {not_before} UTC")
        }
        Worry::Expired { not_after } => {
            format!("the certificate of HTTPS has expired at {not_after} UTC")
        }
        Worry::EndsSoon { not_after } => {
            format!("the certificate of HTTPS expires at {not_after} UTC")
        }
        Worry::Names {
            names: found,
            missing,
        } => format!(
            "the certificate of HTTPS is for {}, and not for {}",
            match found.is_empty() {
                true => "no name".to_owned(),
                false => names(found),
            },
            names(missing)
        ),
    }
}

/// What to do.
#[must_use]
pub fn certificate_advice(worry: &Worry) -> String {
    match worry {
        Worry::Early { .. } => {
            "set the clock of this machine, or put a certificate that is valid now in its place"
        }
        Worry::Expired { .. } => {
            "browsers and agents with an authority refuse it; put a renewed one in its place, it is taken without a \
             restart"
        }
        Worry::EndsSoon { .. } => {
            "put a renewed one in its place, it is taken without a restart"
        }
        Worry::Names { .. } => {
            "browsers warn of it; let a certificate be issued for the name or address that is in the address of the page"
        }
    }
    .to_owned()
}
