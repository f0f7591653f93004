//! What is in a certificate.

use std::net::IpAddr;
use std::path::Path;

use ring::digest::{SHA256, digest};
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::{IdentityError, KeyHash};
use crate::domain::Timestamp;
use crate::domain::certificate::Certificate;

fn unusable(path: &Path, cause: impl ToString) -> IdentityError {
    IdentityError::Certificate {
        path: path.to_owned(),
        cause: cause.to_string(),
    }
}

/// What it says. `wanted` are the names and addresses that it should be for.
pub(super) fn certificate(
    path: &Path,
    der: &CertificateDer<'_>,
    wanted: &[String],
) -> Result<Certificate, IdentityError> {
    let found = x509_cert::Certificate::from_der(der).map_err(|cause| unusable(path, cause))?;
    let found = found.tbs_certificate;
    let names = found.get::<SubjectAltName>();
    let names = names.map_err(|cause| unusable(path, cause))?;
    let names = names.map_or_else(Vec::new, |(_, names)| names.0);
    let parsed = ParsedCertificate::try_from(der).map_err(|cause| unusable(path, cause))?;
    let is_missing = |name: &&String| {
        ServerName::try_from(name.as_str())
            .is_ok_and(|name| verify_server_name(&parsed, &name).is_err())
    };
    let validity = found.validity;
    Ok(Certificate {
        not_before: Timestamp::from(validity.not_before.to_system_time()),
        not_after: Timestamp::from(validity.not_after.to_system_time()),
        names: names.iter().filter_map(name).collect(),
        missing: wanted.iter().filter(is_missing).cloned().collect(),
    })
}

/// A name that a server can have.
fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.as_str().to_owned()),
        GeneralName::IpAddress(octets) => {
            let octets = octets.as_bytes();
            let short = <[u8; 4]>::try_from(octets).map(IpAddr::from);
            let long = <[u8; 16]>::try_from(octets).map(IpAddr::from);
            short.or(long).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// The hash of its key.
pub(super) fn key_hash(path: &Path, der: &CertificateDer<'_>) -> Result<KeyHash, IdentityError> {
    let parsed = ParsedCertificate::try_from(der).map_err(|cause| unusable(path, cause))?;
    let hash = digest(&SHA256, &parsed.subject_public_key_info());
    let hash = hash.as_ref().try_into();
    hash.map(KeyHash).map_err(|cause| unusable(path, cause))
}
